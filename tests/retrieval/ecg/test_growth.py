"""Texts from strangers cost what their length costs: eight times the text takes about eight times as long, not 64.

Ratios of processor time within one run, with wide bounds: a quadratic pattern is at 64, a linear one at 8.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ecgkin.generation.prompt.grounding import without_marks
from ecgkin.generation.prompt.untrusted import quotable
from ecgkin.retrieval.ecg.formats.read import read_ecg
from ecgkin.retrieval.ecg.formats.snomed import codes_in
from ecgkin.retrieval.ecg.header import age_of, iso_time
from ecgkin.retrieval.ecg.leads import signed_lead
from ecgkin.retrieval.ecg.statements.find import find_statements
from ecgkin.retrieval.ecg.statements.report_text import clean_report, normalise_report, report_language
from ecgkin.retrieval.errors import EcgkinError

LINEAR, BOUND = 8, 26


def growth(work: Callable[[str], object], made: Callable[[int], str], least_s: float = 0.004) -> float:
    """Time for eight times the text over time for the text; the text grows until it takes long enough to be timed."""

    def seconds(text: str) -> float:
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            work(text)
            best = min(best, time.process_time() - start)
        return best

    n = 500
    while n < 100_000 and seconds(made(n)) < least_s:
        n *= 2
    return seconds(made(LINEAR * n)) / max(seconds(made(n)), least_s / 4)


def test_the_measure_tells_linear_from_quadratic() -> None:
    slow = re.compile(r"\s*x")
    assert growth(slow.search, lambda n: " " * n, 0.001) > BOUND
    assert growth(lambda text: text.split(), lambda n: "a " * n) < BOUND


TEXTS: dict[str, Callable[[int], str]] = {
    "blanks": lambda n: "sinus" + " " * n + "rhythm",
    "line ends": lambda n: "\n" * n + "x",
    "edit": lambda n: "edit " * n,
    "device": lambda n: "4.46 u" * n,
    "dots": lambda n: "a." * n,
    "letters": lambda n: "n" * n + " 4.4 u" + "n" * n,
    "quotes": lambda n: "> \n" * n,
}


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize(
    "work",
    [clean_report, normalise_report, report_language, find_statements, without_marks, quotable],
    ids=lambda f: f.__name__,
)
def test_texts(work: Callable[[str], object], kind: str) -> None:
    assert growth(work, TEXTS[kind]) < BOUND


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("work", [codes_in, age_of, iso_time, signed_lead], ids=lambda f: f.__name__)
def test_fields(work: Callable[[str], object], kind: str) -> None:
    assert growth(work, TEXTS[kind]) < BOUND


HEADERS: dict[str, Callable[[int], str]] = {
    "a.hea": lambda n: "\n" * n + "x",
    "dx.hea": lambda n: "#Dx: 1\n" * n + "x",
    "age.hea": lambda n: "r 1 100 5\nr.dat 16 200/mV 16 0 0 0 0 I\n" + "#age\n" * n,
    "blanks.csv": lambda n: "I" + " " * n + ",II\n1,2\n3,4\n",
    "units.csv": lambda n: "I (" + "(" * n + ",II\n1,2\n3,4\n",
    "sampl.csv": lambda n: "#" + "sampl" * n + "\nI,II\n1,2\n3,4\n",
    "rates.csv": lambda n: "# fs " * n + "\nI,II\n1,2\n3,4\n",
    "watch.csv": lambda n: "Lead,Lead I\nUnit,uV\n" + "1\n" * n + "x",
    "blanks.xml": lambda n: "<?xml encoding" + " " * n + "=?><a>\x0b</a>",
    "references.xml": lambda n: "<a>\x0b" + "&#" * n + "</a>",
}


@pytest.mark.parametrize("name", HEADERS)
def test_files(tmp_path: Path, name: str) -> None:
    def work(text: str) -> None:
        (tmp_path / name).write_bytes(text.encode())
        with contextlib.suppress(EcgkinError):
            read_ecg(tmp_path / name)

    assert growth(work, HEADERS[name]) < BOUND
