"""The table beside recordings (cases.csv): what it says of each file, as a case."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ecgkin.index.case import Case
from ecgkin.retrieval.ecg.header import age_of, iso_time, sex_of
from ecgkin.retrieval.ecg.statements.report_text import report_language
from ecgkin.retrieval.errors import RecordError

TABLE = "cases.csv"
COLUMNS = ("file", "case_id", "patient_id", "age", "sex", "report", "labels", "date")
FULL_LIKELIHOOD = 100.0  # of a label that comes without a number: the table says it plainly
_UNKNOWN = frozenset(
    "? - . / na n/a nan none null u un unk unknown unbekannt keine ohne o other divers diverse d x i intersex "
    "inter andere indeterminate undifferentiated".split()
)
"""Cells that say that nothing is known; of sex also what is neither of the two that an ECG's limits are made for."""
_AMBIGUOUS = re.compile(r"\d{1,2}/\d{1,2}/(\d{4})\b")


def read_table(path: Path) -> dict[str, dict[str, str]]:
    """The cells of each line by column, in small letters; the lines by file, without ".hea".

    Raises:
        RecordError: The table cannot be read, has no column `file`, or names a file twice.
    """
    try:
        text = _decoded(path.read_bytes())
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        columns = [name.strip().lower() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        if "file" not in columns:
            raise RecordError(f"{path} has no column 'file' (found {', '.join(columns) or 'nothing'})")
        rows: dict[str, dict[str, str]] = {}
        for cells in reader:
            name = spelling((cells["file"] or "").strip())
            if name in rows:
                raise RecordError(f"{path} line {reader.line_num} names {name} a second time")
            rows[name] = {key: (value or "").strip() for key, value in cells.items() if isinstance(key, str)}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecordError(f"{path} is not a readable table: {error}", hint="save it as CSV in UTF-8") from error
    return rows


def _decoded(raw: bytes) -> str:
    """Text in UTF-8 or UTF-16, or else as German Windows writes it."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252")


def spelling(name: str) -> str:
    """A file's name below the folder as tables are looked up by it: slashes, composed umlauts, no ".hea".

    >>> spelling("sub\\\\r1.HEA"), spelling("./Mu\\u0308ller.csv")
    ('sub/r1', 'Müller.csv')
    """
    path = PurePosixPath(unicodedata.normalize("NFC", name.replace("\\", "/")))
    return (path.with_suffix("") if path.suffix.lower() == ".hea" else path).as_posix()


def case_of(case_id: str, source: str, file: Path, cells: Mapping[str, str]) -> Case:
    """The case that a line of a table speaks of.

    Args:
        case_id: Where the line names none.
        source: Of the case.
        file: The recording, below the folder.
        cells: The line; empty for a file that the table does not name. Other columns than `COLUMNS` go into `meta`.

    Raises:
        RecordError: Age, sex, date or labels cannot be understood.
    """
    extra: dict[str, Any] = {key: value for key, value in cells.items() if key not in COLUMNS and value}
    report = cells.get("report", "")
    return Case(
        case_id=cells.get("case_id") or case_id,
        patient_id=cells.get("patient_id") or None,
        source=source,
        age_years=_age(cells.get("age", ""), case_id),
        sex=_sex(cells.get("sex", ""), case_id),
        recorded_at=_date(cells.get("date", ""), case_id),
        labels=_labels(cells.get("labels", ""), case_id),
        report=report,
        language=report_language(report) or None,
        meta={**extra, "file": file.as_posix()},
    )


def _age(text: str, case_id: str) -> float | None:
    """Years; None for what says nothing, and for what no age can be (999)."""
    if not text or text.lower() in _UNKNOWN:
        return None
    if not any(c.isdigit() for c in text) or text.startswith("-"):
        raise RecordError(f"age of {case_id} is {text[:40]!r} (expected years)")
    return age_of(text)


def _sex(text: str, case_id: str) -> str | None:
    if text and sex_of(text) is None and text.lower() not in _UNKNOWN:
        raise RecordError(f"sex of {case_id} is {text[:40]!r} (expected F or M, or nothing)")
    return sex_of(text)


def _date(text: str, case_id: str) -> str | None:
    """ISO date or date and time; of a date that may be two ("03/04/2020") the year."""
    if not text or text.lower() in _UNKNOWN:
        return None
    found = iso_time(text)
    if found is not None:
        return found
    year = _AMBIGUOUS.match(text) or re.fullmatch(r"(\d{4})(?:-\d{2})?", text)
    if year is None:
        raise RecordError(f"date of {case_id} is {text[:40]!r} (expected one like 2020-01-02)")
    return text if "/" not in text else year.group(1)


def _labels(text: str, case_id: str) -> dict[str, float]:
    labels = {}
    for part in filter(None, (part.strip() for part in re.split(r"[;,|]", text))):
        code, colon, likelihood = part.partition(":")
        try:
            labels[code.strip()] = float(likelihood) if colon else FULL_LIKELIHOOD
        except ValueError:
            raise RecordError(f"label {part!r} of {case_id} has no number behind the colon") from None
    return labels
