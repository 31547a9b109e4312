"""Instruction rows of `ecgkin instruct build`: made from labels and reports, written with their card, read back.

The layout is that of ECGInstruct. Kinds are closed (yes or no), multiple-choice, fill-in-the-blank and open questions
on features, rhythm and morphology, and whole reports. All wording was written for this project.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.generation.backends.mini.wording import findings_line
from ecgkin.generation.types.draft import Language
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXlRow
from ecgkin.retrieval.ecg.statements.catalogue import CODES, STATEMENTS, statement
from ecgkin.retrieval.ecg.statements.report_text import has_findings, report_language
from ecgkin.retrieval.errors import QueryError, why

SUBTASKS = ("feature", "rhythm", "morphology", "report")
TYPES = ("close-ended", "multiple-choice", "fill-in-the-blank", "open-ended")
SOURCE = "PTB-XL"
IMAGE_TOKEN = "<image>\n"
Row = dict[str, Any]

REPORT_REQUESTS: Mapping[Language, tuple[str, ...]] = {
    "en": (
        "Write the report of this ECG.",
        "Please write a short report of the ECG in this picture.",
        "Draft a report for this 12-lead ECG.",
        "Give the report of this tracing.",
        "Compose a diagnostic report of this ECG.",
    ),
    "de": (
        "Schreibe den Befund dieses EKGs.",
        "Bitte den Befund zu diesem EKG schreiben.",
        "Erstelle einen Befund zu diesem Ruhe-EKG.",
        "Verfasse den Befund dieser Ableitung.",
    ),
}
_YES_NO: Mapping[Language, tuple[str, ...]] = {
    "en": ("Does this ECG show {name}? Answer yes or no.", "Is there {name} in this tracing? Answer yes or no."),
    "de": (
        "Zeigt dieses EKG Folgendes: {name}? Antworte ja oder nein.",
        "Liegt im EKG Folgendes vor: {name}? Ja oder nein.",
    ),
}
_YES: Mapping[Language, tuple[str, str]] = {"en": ("yes", "no"), "de": ("ja", "nein")}
_CHOICE: Mapping[Language, str] = {
    "en": "Which of these does this ECG show? Give the letter and the text.\n{options}",
    "de": "Welches davon zeigt dieses EKG? Nenne Buchstabe und Text.\n{options}",
}
_FILL: Mapping[str, Mapping[Language, str]] = {
    "rhythm": {"en": "Fill in the blank: The rhythm is ____.", "de": "Ergänze die Lücke: Der Rhythmus ist ____."},
    "morphology": {
        "en": "Fill in the blank: Apart from the rhythm this ECG shows ____.",
        "de": "Ergänze die Lücke: Außer dem Rhythmus zeigt dieses EKG ____.",
    },
}
_OPEN: Mapping[str, Mapping[Language, tuple[str, ...]]] = {
    "rhythm": {
        "en": ("What is the rhythm of this ECG?", "Describe the rhythm."),
        "de": ("Welcher Rhythmus liegt vor?",),
    },
    "morphology": {
        "en": (
            "Which findings besides the rhythm does this ECG show?",
            "List what is abnormal in form and conduction.",
        ),
        "de": ("Welche Befunde außer dem Rhythmus zeigt dieses EKG?",),
    },
}
_FEATURES: Mapping[str, tuple[str, str, str]] = {
    "rate_bpm": ("heart rate", "Herzfrequenz", "{:.0f}/min"),
    "pr_ms": ("PR interval", "PQ-Zeit", "{:.0f} ms"),
    "qrs_ms": ("QRS duration", "QRS-Dauer", "{:.0f} ms"),
    "qtc_ms": ("corrected QT interval", "frequenzkorrigierte QT-Zeit", "{:.0f} ms"),
    "axis_deg": ("electrical axis", "elektrische Achse", "{:.0f}°"),
}
_FEATURE_OPEN: Mapping[Language, str] = {
    "en": "What is the {name} of this ECG?",
    "de": "Wie groß ist in diesem EKG: {name}?",
}
_LETTERS = "ABCDEFGH"
_RHYTHM = frozenset(s.code for s in STATEMENTS if "rhythm" in s.kinds)

FILE, CARD = "ecginstruct.json", "README.md"


def language_of(row: PtbXlRow) -> Language:
    """The language in which a record is asked about: that of its report; English for all but German ones."""
    return "de" if report_language(row.report) == "de" else "en"


def report_answer(row: PtbXlRow) -> str:
    """The report as written, and its statements on a line of their own."""
    return f"{row.report.strip()}\n{findings_line(row.labels.keys(), language_of(row))}"


def make_row(
    row: PtbXlRow, image: str, question: str, answer: str, subtask: str, kind: str, number: int, **more: Any
) -> Row:
    """One conversation of two turns.

    Args:
        row: The record.
        image: Relative path of its page.
        question, answer: The turns, without the image token.
        subtask, kind: One of `SUBTASKS` and `TYPES`.
        number: Tells the rows of a record apart.
        more: Further metadata.

    Returns:
        The row in ECGInstruct's layout.
    """
    return {
        "id": f"ptb-xl-{row.ecg_id:05d}-{number}",
        "image": image,
        "conversations": [
            {"from": "human", "value": IMAGE_TOKEN + question},
            {"from": "gpt", "value": answer},
        ],
        "metadata": {"subtask": subtask, "type": kind, **more},
        "source": SOURCE,
    }


def has_report(row: PtbXlRow) -> bool:
    """Whether the report says something that can be learnt."""
    return has_findings(row.report)


def label_questions(row: PtbXlRow, rng: np.random.Generator) -> list[tuple[str, str, str, str]]:
    """Questions on a record's statements: (question, answer, subtask, type).

    One yes-no question on something that it shows and one on something that it does not, so that yes and no are even;
    one choice, one blank and one open question, on rhythm or morphology by turns. Statements asked for without being
    there are drawn evenly over the 71, so that rare ones are asked about too.

    Args:
        row: The record.
        rng: Decides what is asked.

    Returns:
        (question, answer, subtask, type), up to five.
    """
    language = language_of(row)
    out: list[tuple[str, str, str, str]] = []
    own = [code for code in CODES if code in row.labels]
    absent = [code for code in CODES if code not in row.labels]
    for code, answer in ((_one(own, rng), 0), (_one(absent, rng), 1)):
        if code is not None:
            text = str(rng.choice(_YES_NO[language])).format(name=statement(code).name(language))
            out.append((text, _YES[language][answer], _subtask(code), "close-ended"))
    picked = _one(own, rng)
    if picked is not None:
        count = int(rng.choice((4, 8)))
        others = [str(c) for c in rng.choice(absent, count - 1, replace=False)]
        options = [str(c) for c in rng.permutation([picked, *others])]
        lines = [f"{_LETTERS[i]}. {statement(c).name(language)}" for i, c in enumerate(options)]
        question = _CHOICE[language].format(options="\n".join(lines))
        out.append((question, lines[options.index(picked)], _subtask(picked), "multiple-choice"))
    for subtask, codes in (("rhythm", _rhythms(own)), ("morphology", [c for c in own if c not in _RHYTHM])):
        if not codes:
            continue
        names = "; ".join(statement(c).name(language) for c in codes)
        blank = _FILL[subtask][language]
        out.append((blank, blank.split(": ", 1)[1].replace("____", names), subtask, "fill-in-the-blank"))
        out.append(
            (str(rng.choice(_OPEN[subtask][language])), names[0].upper() + names[1:] + ".", subtask, "open-ended")
        )
    return out


def feature_questions(
    row: PtbXlRow, values: Mapping[str, float], rng: np.random.Generator
) -> list[tuple[str, str, str, str]]:
    """Questions on measured numbers: (question, answer, subtask, type); two of those that could be measured.

    Args:
        row: The record.
        values: Measurements by name.
        rng: Decides which are asked.

    Returns:
        (question, answer, subtask, type), at most two.
    """
    language = language_of(row)
    known = [name for name in _FEATURES if name in values and np.isfinite(values[name])]
    out = []
    for name in rng.permutation(known)[:2]:
        english, german, form = _FEATURES[str(name)]
        question = _FEATURE_OPEN[language].format(name=german if language == "de" else english)
        out.append((question, form.format(values[str(name)]) + ".", "feature", "open-ended"))
    return out


def _subtask(code: str) -> str:
    return "rhythm" if code in _RHYTHM else "morphology"


def _rhythms(codes: Sequence[str]) -> list[str]:
    return [code for code in codes if code in _RHYTHM]


def _one(codes: Sequence[str], rng: np.random.Generator) -> str | None:
    return str(rng.choice(codes)) if codes else None


@dataclass(frozen=True)
class BuildResult:
    """What was written.

    Attributes:
        path: The rows, one JSON list with one row a line.
        n_rows, n_records: Sizes.
        counts: (subtask, type) to rows; retrieved rows are counted apart as (subtask, type + " with cases").
        dropped: Why rows or records were left out, with their number.
    """

    path: Path
    n_rows: int
    n_records: int
    counts: dict[tuple[str, str], int]
    dropped: dict[str, int]


def read_rows(path: Path) -> list[Row]:
    """Rows of an ECGInstruct file (a JSON list).

    Raises:
        QueryError: It is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise QueryError(
            f"{path} cannot be read as instruction rows: {why(error)}", hint="ecgkin instruct build"
        ) from error
    wrong = not isinstance(content, list) or not all(isinstance(r, dict) and "conversations" in r for r in content)
    if wrong:
        raise QueryError(f"{path} holds no list of rows with conversations", hint="ecgkin instruct build")
    return list(content)


def data_card(result: BuildResult, chosen: Sequence[PtbXlRow], pages: str, with_cases: bool, seed: int) -> str:
    """What is in a build, for those who train on it, in Markdown.

    Args:
        result: What was written.
        chosen: The records behind it.
        pages: How they were drawn; one of `instruct.PAGES`.
        with_cases: Whether some rows carry retrieved cases.
        seed: Of all choices.

    Returns:
        Markdown.
    """
    german = sum(language_of(row) == "de" for row in chosen)
    folds = sorted({row.fold for row in chosen})
    lines = [
        "# ECG instruction rows (ecgkin instruct build)",
        "",
        f"- {result.n_rows} rows on {result.n_records} records of {len({r.patient_id for r in chosen})} patients.",
        f"- Source: PTB-XL (Wagner et al. 2020, PhysioNet, CC BY 4.0), folds {folds}; folds 9 and 10 are never used.",
        "- Layout: ECGInstruct (Liu et al. 2024): `id`, `image`, `conversations`, `metadata`, `source`; a row a line.",
        f"- Languages, as the reports have them: {german} records are asked about in German, {len(chosen) - german} in "
        "English.",
        "- Answers: reports as written, after the clean-up of `report_text.clean_report` (device boilerplate and edit "
        "notes taken out: the notes name statement codes), then all statement keys whatever their likelihood.",
        f"- Pages: {pages}."
        + (
            " Report rows come twice: plain, and with retrieved cases (1, 3 or 5, half of them with the vote)."
            * with_cases
        ),
        "- Retrieved cases are never of the record's own patient. They come from the folds on which the encoder was "
        "trained, so they agree with their queries more than cases do for a new ECG.",
        f"- Seed {seed}. No generated text: no model wrote or judged these rows.",
        "- Not for: diagnosis, or tests on folds 1 to 8.",
        "",
        "| subtask | type | rows |",
        "|---|---|---|",
        *(f"| {s} | {t} | {n} |" for (s, t), n in sorted(result.counts.items())),
        "",
        "| left out | number |",
        "|---|---|",
        *(f"| {why} | {n} |" for why, n in sorted(result.dropped.items())),
    ]
    return "\n".join(lines) + "\n"
