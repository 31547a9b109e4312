"""The files of `ecgkin instruct build`: rows read back, what a build wrote, and the card that says what is in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ecgkin.generation import instruct_rows as rows_of
from ecgkin.generation.instruct_rows import Row
from ecgkin.retrieval.ecg.ptbxl import PtbXlRow
from ecgkin.retrieval.errors import QueryError

FILE, CARD = "ecginstruct.json", "README.md"


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
        raise QueryError(f"{path} cannot be read as instruction rows: {error}", hint="ecgkin instruct build") from error
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
    """
    german = sum(rows_of.language_of(row) == "de" for row in chosen)
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
