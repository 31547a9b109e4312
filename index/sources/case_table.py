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
from ecgkin.retrieval.errors import RecordError, why

TABLE = "cases.csv"
COLUMNS = ("file", "case_id", "patient_id", "source", "age", "sex", "report", "labels", "date", "fs")
_ALSO: dict[str, str] = {
    other: column
    for column, others in {
        "file": "filename file_name path recording datei dateiname fichier archivo fichero arquivo bestand",
        "patient_id": "patientid patient-id patienten-id patientnummer",
        "age": "age_years alter \u00e2ge edad et\u00e0 leeftijd idade \u00e5lder",
        "sex": "gender geschlecht sexe sexo sesso geslacht k\u00f6n",
        "date": "recorded_at datetime recording_date study_date datum fecha",
        "report": "befund finding findings interpretation informe referto",
        "labels": "label statements",
        "fs": "fs_hz sampling_rate sample_rate abtastrate",
    }.items()
    for other in others.split()
}
"""What others call a column; counts where the column itself is not there."""
FULL_LIKELIHOOD = 100.0  # of a label that comes without a number: the table says it plainly
_UNKNOWN = frozenset(
    "? - . / na n/a nan none null u un unk unknown unbekannt keine ohne o other divers diverse d x i intersex "
    "inter andere indeterminate undifferentiated".split()
)
"""Cells that say that nothing is known; of sex also what is neither of the two that an ECG's limits are made for."""
_SEPARATOR = re.compile(r"sep=([,;\t|])[ \t]*\r?\n", re.IGNORECASE)
_AMBIGUOUS = re.compile(r"\d{1,2}/\d{1,2}/(\d{4})\b")


def read_table(path: Path) -> dict[str, dict[str, str]]:
    """The cells of each line by column, in small letters; the lines by file, without ".hea".

    Raises:
        RecordError: The table cannot be read, has no column `file`, or names a file twice.
    """
    try:
        text = _decoded(path.read_bytes()).lstrip("\r\n\t ")
        said = _SEPARATOR.match(text)  # Excel's own first line
        text = text[said.end() :] if said else text
        delimiter = said[1] if said else max(",;\t|", key=text.partition("\n")[0].count)
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        columns = [name.strip().lower() for name in reader.fieldnames or ()]
        for at, name in enumerate(columns):
            if _ALSO.get(name, name) not in columns:
                columns[at] = _ALSO[name]
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
        raise RecordError(f"{path} is not a readable table: {why(error)}", hint="save it as CSV in UTF-8") from error
    return rows


def write_table(folder: Path, cases: Mapping[str, Case]) -> Path:
    """Write `cases.csv`, from which `ecgkin ingest folder` takes back what the files of an export cannot hold.

    Lines of an earlier export into the same folder stay, unless they name the same file.

    Args:
        folder: Where the exported files are.
        cases: The case of each file, by its name below the folder.

    Returns:
        The table.

    Raises:
        RecordError: A table that is there already cannot be read.
        OSError: It cannot be written.
    """
    table = folder / TABLE
    lines = read_table(table) if table.is_file() else {}
    for name, case in cases.items():
        labels = "; ".join(f"{code}:{likelihood:g}" for code, likelihood in case.labels.items())
        lines[spelling(name)] = {
            "file": name,
            "case_id": case.case_id,
            "patient_id": case.patient_id or "",
            "source": case.source,
            "age": "" if case.age_years is None else f"{case.age_years:g}",
            "sex": case.sex or "",
            "report": case.report,
            "labels": labels,
            "date": case.recorded_at or "",
        }
    columns = list(dict.fromkeys([*COLUMNS[:-1], *(name for cells in lines.values() for name in cells)]))
    partial = table.with_suffix(".partial")
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(lines.values())
    partial.replace(table)
    return table


def _decoded(raw: bytes) -> str:
    """Text in UTF-8 or UTF-16, or else as German Windows writes it."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16")
    if raw[1:20:2].strip(b"\0") == b"" and len(raw) > 20:  # of Latin letters every second byte is zero
        return raw.decode("utf-16-le")
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

    Returns:
        The case.

    Raises:
        RecordError: Age, sex, date or labels cannot be understood.
    """
    extra: dict[str, Any] = {key: value for key, value in cells.items() if key not in COLUMNS and value}
    report = cells.get("report", "")
    return Case(
        case_id=cells.get("case_id") or case_id,
        patient_id=cells.get("patient_id") or None,
        source=cells.get("source") or source,
        age_years=_age(cells.get("age", ""), case_id),
        sex=_sex(cells.get("sex", ""), case_id),
        recorded_at=_date(cells.get("date", ""), case_id),
        labels=_labels(cells.get("labels", ""), case_id),
        report=report,
        language=report_language(report) or None,
        meta={**extra, "file": file.as_posix()},
    )


def rate_of(cells: Mapping[str, str], case_id: str) -> float | None:
    """Samples a second that a line of a table names in its column `fs`; None where it names none.

    Raises:
        RecordError: It is no number above zero.
    """
    text = cells.get("fs", "")
    if not text or text.lower() in _UNKNOWN:
        return None
    try:
        rate = float(text.replace(",", "."))
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise RecordError(f"fs of {case_id} is {text[:40]!r} (expected samples a second, such as 500)")
    return rate


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
            percent = float(likelihood) if colon else FULL_LIKELIHOOD
        except ValueError:
            raise RecordError(f"label {part!r} of {case_id} has no number behind the colon") from None
        if not 0 <= percent <= FULL_LIKELIHOOD:
            raise RecordError(f"label {part!r:.60} of {case_id} has likelihood {percent:g} (expected 0 to 100 percent)")
        labels[code.strip()] = percent
    return labels
