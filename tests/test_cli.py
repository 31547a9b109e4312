"""The command line, called as a person would call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.ui.cli import joined_folds, main

HELP_CPU_S = 0.5


class Done(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Run `ecgkin WORDS` in this process."""
    monkeypatch.delenv("ECGKIN_PTBXL", raising=False)
    monkeypatch.setenv("ECGKIN_ENCODER", "hashing")

    def run(*words: object) -> Done:
        capsys.readouterr()
        status = 0
        try:
            main([str(word) for word in words])
        except SystemExit as stopped:
            status = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
        captured = capsys.readouterr()
        return Done(status, captured.out, captured.err)

    return run


@pytest.fixture(scope="module")
def record_csv(made_record: EcgRecord, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made record as a CSV file with a time column, in mV."""
    path = tmp_path_factory.mktemp("records") / "made.csv"
    t = np.arange(made_record.n_samples) / made_record.fs_hz
    table = np.column_stack([t, made_record.signal_mv.T])
    header = ",".join(("time_s", *(f"{name} (mV)" for name in made_record.leads)))
    np.savetxt(path, table, delimiter=",", header=header, comments="", fmt="%.6f")
    return path


def test_help_is_quick_and_light() -> None:
    """`ecgkin --help` takes under half a second of processor time and loads nothing heavy."""
    code = (
        "import sys, resource\nfrom ecgkin.ui.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "heavy = {'torch', 'cv2', 'pandas', 'scipy', 'faiss', 'transformers', 'sklearn', 'pydantic', 'jinja2'}\n"
        "print(used.ru_utime + used.ru_stime, sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    seconds = min(float(done.stderr.split()[0]) for done in runs)
    assert runs[0].stderr.split(maxsplit=1)[1].strip() == "[]"
    assert seconds < HELP_CPU_S, f"ecgkin --help took {seconds:.2f} s of processor time"
    for command in ("demo", "ingest", "search", "render", "train", "evaluate", "download", "info", "config"):
        assert command in runs[0].stdout


def test_folds_as_people_write_them() -> None:
    """`--folds 1 2 3` is one value; other words stay where they are."""
    assert (
        joined_folds("ingest ptbxl D --folds 1 2 3 --base B".split()) == "ingest ptbxl D --folds 1,2,3 --base B".split()
    )
    assert joined_folds("--query-folds 9 x 10".split()) == ["--query-folds", "9", "x", "10"]
    assert joined_folds(["-k", "5", "6"]) == ["-k", "5", "6"]


def test_unknown_command_and_option(call) -> None:  # type: ignore[no-untyped-def]
    """Usage mistakes end with 2 and say so on stderr."""
    for words in (["serach"], ["render", "--coulour", "red"], ["search"]):
        done = call(*words)
        assert done.status == 2 and done.out == "" and done.err


@pytest.mark.parametrize("suffix", ["png", "jpg", "svg", "pdf"])
def test_render_writes_a_page(call, record_csv: Path, tmp_path: Path, suffix: str) -> None:  # type: ignore[no-untyped-def]
    """A page in the format that the name asks for; its path on stdout."""
    page = tmp_path / f"page.{suffix}"
    done = call("render", record_csv, "-o", page, "--layout", "6x2", "--speed", "50", "--header", "A B")
    assert done.status == 0 and done.out.strip() == str(page)
    assert page.stat().st_size > 5_000
    if suffix == "png":
        with Image.open(page) as picture:
            assert picture.size[0] > 1000


def test_render_json(call, record_csv: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Facts about the page as JSON on stdout, and nothing else there."""
    done = call("render", record_csv, "-o", tmp_path / "p.png", "--json", "--width", "1100", "--height", "850")
    facts = json.loads(done.out)
    assert facts["size_px"] == [1100, 850] and facts["fs_hz"] == pytest.approx(500) and facts["missing_leads"] == []


def test_render_mistakes_are_one_line_and_a_hint(call, record_csv: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """No traceback, exit status 2, nothing on stdout, nothing written."""
    cases = [
        (tmp_path / "absent.hea", tmp_path / "p.png", []),
        (record_csv, tmp_path / "p.xyz", []),
        (record_csv, tmp_path / "no" / "folder" / "p.png", []),
        (record_csv, tmp_path / "p.png", ["--layout", "4x4"]),
        (record_csv, tmp_path / "p.png", ["--gain", "0"]),
        (record_csv, tmp_path / "p.png", ["--grid", "purple"]),
    ]
    for source, target, more in cases:
        done = call("render", source, "-o", target, *more)
        lines = done.err.strip().splitlines()
        assert done.status == 2 and done.out == "" and not target.exists()
        assert lines[0].startswith("ecgkin: ") and len(lines) <= 2 and "Traceback" not in done.err


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    """`ecgkin --debug` is for those who want to see where."""
    words = [sys.executable, "-m", "ecgkin.ui.cli", "--debug", "render", "absent.hea", "-o", str(tmp_path / "p.png")]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode != 0 and "Traceback" in done.stderr and "RecordError" in done.stderr


def test_config_show(call, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """Values with their origin."""
    monkeypatch.setenv("ECGKIN_K", "4")
    done = call("config", "show", "--json")
    shown = json.loads(done.out)
    assert (shown["k"]["value"], shown["k"]["from"]) == (4, "environment ECGKIN_K")
    assert shown["device"]["from"] == "default"
    assert "environment ECGKIN_K" in call("config", "show").out
    monkeypatch.setenv("ECGKIN_K", "many")
    done = call("config", "show")
    assert done.status == 2 and "setting k" in done.err
