"""The table beside recordings (cases.csv): what it says of each file, as a case."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecgkin.index.case import Case
from ecgkin.retrieval.ecg.statements.report_text import report_language
from ecgkin.retrieval.errors import RecordError

TABLE = "cases.csv"
COLUMNS = ("file", "case_id", "patient_id", "age", "sex", "report", "labels", "date")
FULL_LIKELIHOOD = 100.0  # of a label that comes without a number: the table says it plainly
_SEXES = {"f": "F", "female": "F", "w": "F", "weiblich": "F", "m": "M", "male": "M", "männlich": "M"}


def read_table(path: Path) -> dict[str, dict[str, str]]:
    """The cells of each line by column, in small letters; the lines by file, without ".hea".

    Raises:
        RecordError: The table cannot be read, has no column `file`, or names a file twice.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            file.seek(0)
            delimiter = max(",;\t", key=head.count)
            reader = csv.DictReader(file, delimiter=delimiter, strict=True)
            columns = [name.strip().lower() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            if "file" not in columns:
                raise RecordError(f"{path} has no column 'file' (found {', '.join(columns) or 'nothing'})")
            rows: dict[str, dict[str, str]] = {}
            for cells in reader:
                name = Path((cells["file"] or "").strip()).as_posix().removesuffix(".hea")
                if name in rows:
                    raise RecordError(f"{path} line {reader.line_num} names {name} a second time")
                rows[name] = {key: (value or "").strip() for key, value in cells.items() if isinstance(key, str)}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecordError(f"{path} is not a readable table: {error}", hint="save it as CSV in UTF-8") from error
    return rows


def case_of(case_id: str, source: str, file: Path, cells: Mapping[str, str]) -> Case:
    """The case that a line of a table speaks of.

    Args:
        case_id: Where the line names none.
        source: Of the case.
        file: The recording, below the folder.
        cells: The line; empty for a file that the table does not name. Other columns than `COLUMNS` go into `meta`.

    Raises:
        RecordError: Age, sex or labels cannot be understood.
    """
    extra: dict[str, Any] = {key: value for key, value in cells.items() if key not in COLUMNS and value}
    report = cells.get("report", "")
    return Case(
        case_id=cells.get("case_id") or case_id,
        patient_id=cells.get("patient_id") or None,
        source=source,
        age_years=_age(cells.get("age", ""), case_id),
        sex=_sex(cells.get("sex", ""), case_id),
        recorded_at=cells.get("date") or None,
        labels=_labels(cells.get("labels", ""), case_id),
        report=report,
        language=report_language(report) or None,
        meta={**extra, "file": file.as_posix()},
    )


def _age(text: str, case_id: str) -> float | None:
    try:
        return float(text.replace(",", ".")) if text else None
    except ValueError:
        raise RecordError(f"age of {case_id} is {text!r} (expected years)") from None


def _sex(text: str, case_id: str) -> str | None:
    if text and text.lower() not in _SEXES:
        raise RecordError(f"sex of {case_id} is {text!r} (expected F or M, or nothing)")
    return _SEXES.get(text.lower())


def _labels(text: str, case_id: str) -> dict[str, float]:
    labels = {}
    for part in filter(None, (part.strip() for part in re.split(r"[;,|]", text))):
        code, colon, likelihood = part.partition(":")
        try:
            labels[code.strip()] = float(likelihood) if colon else FULL_LIKELIHOOD
        except ValueError:
            raise RecordError(f"label {part!r} of {case_id} has no number behind the colon") from None
    return labels
