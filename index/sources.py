"""Where cases come from: a PTB-XL folder, or any folder of ECG files and pictures with an optional table."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from ecgkin.index.case import Case, content_hash
from ecgkin.index.ingest import IngestItem, Loaded
from ecgkin.retrieval.ecg.report_text import report_language
from ecgkin.retrieval.errors import QueryError, RecordError

TABLE = "cases.csv"
COLUMNS = ("file", "case_id", "patient_id", "age", "sex", "report", "labels", "date")
FULL_LIKELIHOOD = 100.0  # of a label that comes without a number: the table says it plainly
_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".heic")
_SEXES = {"f": "F", "female": "F", "w": "F", "weiblich": "F", "m": "M", "male": "M", "männlich": "M"}
_HEAD_BYTES = 512


def ptbxl_items(root: str | Path, folds: Collection[int] | None = None) -> list[IngestItem]:
    """The records of a PTB-XL folder (official layout, complete or in part), as cases "ptbxl/<ecg_id>".

    Args:
        root: The folder.
        folds: Only these, 1 to 10; None for all.

    Raises:
        RecordError: It is no PTB-XL folder.
        QueryError: There is no such fold, or no record in those that are asked for.
    """
    from ecgkin.retrieval.ecg.ptbxl import PtbXl, PtbXlRow

    wrong = [fold for fold in folds or () if not 1 <= fold <= 10]
    if wrong:
        raise QueryError(f"fold is {wrong[0]} (expected 1 to 10)")
    data = PtbXl(root)

    def item(row: PtbXlRow) -> IngestItem:
        case = Case(
            case_id=f"ptbxl/{row.ecg_id}",
            patient_id=row.patient_id or None,
            source="ptbxl",
            age_years=row.age_years,
            sex=row.sex,
            recorded_at=row.recording_date or None,
            labels=row.labels,
            report=row.report,
            language=report_language(row.report) or None,
            meta={"fold": row.fold, "device": row.device, "file": row.path.relative_to(data.root).as_posix()},
        )
        # The number counts as content: every line of the table is a case, even if two should hold the same samples.
        return IngestItem(
            case,
            load=lambda: data.record(row),
            content=lambda: file_content(row.path.with_name(row.path.name + ".hea"), salt=str(row.ecg_id)),
            name=str(row.path),
        )

    rows = data.rows if folds is None else data.select(folds)
    if not rows:
        raise QueryError(f"{root} holds no record of folds {sorted(folds or ())}")
    return [item(row) for row in rows]


def folder_items(directory: str | Path, table: str | Path | None = None) -> list[IngestItem]:
    """Every file below a folder, as cases "<folder>/<path>": records for `read_ecg`, pictures for the page reader.

    Hidden files, the table and the sample files of WFDB headers are left out; everything else is tried, and what is no
    ECG will stand in the ingest's report.

    Args:
        directory: The folder.
        table: CSV with a column `file` (path below the folder, with or without suffix) and any of the other `COLUMNS`;
            labels like "AFIB:100; LVH". None takes `cases.csv` in the folder, if there is one. Files that it does not
            name are taken without more knowledge; lines whose file is missing or whose values are wrong are reported.

    Raises:
        RecordError: No such folder, or a table that cannot be read.
    """
    root = Path(directory)
    if not root.is_dir():
        raise RecordError(f"{root} is not a folder")
    if table is None and (root / TABLE).is_file():
        table = root / TABLE
    lines = {} if table is None else _read_table(Path(table))
    source = root.resolve().name
    items = []
    for path in _files(root):
        if table is not None and path.samefile(table):
            continue
        relative = path.relative_to(root)
        wfdb = path.suffix == ".hea"
        name = (relative.with_suffix("") if wfdb else relative).as_posix()
        spellings = (relative.as_posix(), relative.with_suffix("").as_posix())
        key = next((spelling for spelling in spellings if spelling in lines), None)
        cells = lines.pop(key) if key is not None else {}
        try:
            case = _case(f"{source}/{name}", source, relative, cells)
        except RecordError as error:
            items.append(_failing(f"{source}/{name}", str(path), error))
            continue
        items.append(IngestItem(case, _loader(path), partial(file_content, path), str(path)))
    for file in lines:
        absent = RecordError(f"{table} names {file}, which is not below {root}")
        items.append(_failing(f"{source}/{file or '?'}", str(root / file), absent))
    return items


def file_content(path: Path, salt: str = "") -> str:
    """Hash of a file's bytes; for a WFDB header, of header and sample files together, whatever the record is called.

    Raises:
        RecordError: It cannot be read.
    """
    try:
        _check_regular(path)
        if path.suffix != ".hea":
            return content_hash(salt.encode() + path.read_bytes())
        stem = path.name.removesuffix(".hea")
        # The record's own name begins the first line and the name of each sample file.
        own_name = re.compile(rb"^%s(?=[\s./])" % re.escape(stem.encode()), re.MULTILINE)
        parts = [salt.encode(), own_name.sub(b"", path.read_bytes())]
        for suffix in (".dat", ".mat"):
            samples = path.with_name(stem + suffix)
            if samples.is_file():
                parts.append(samples.read_bytes())
        return content_hash(b"|".join(parts))
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror or error}") from error


def _files(root: Path) -> list[Path]:
    found = []
    for folder, folders, names in os.walk(root, onerror=lambda error: found.append(Path(error.filename))):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        headers = {name.removesuffix(".hea") for name in names if name.endswith(".hea")}
        for name in sorted(names):
            stem, suffix = os.path.splitext(name)
            if not name.startswith(".") and not (suffix in (".dat", ".mat") and stem in headers):
                found.append(Path(folder) / name)
    return found


def _loader(path: Path) -> Callable[[], Loaded]:
    def load() -> Loaded:
        from ecgkin.retrieval.ecg.page import load_image
        from ecgkin.retrieval.ecg.read import looks_like, read_ecg

        _check_regular(path)
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        if path.suffix.lower() in _PICTURES or (head and looks_like(head).endswith("picture")):
            return Image.fromarray(load_image(path))
        return read_ecg(path)

    return load


def _check_regular(path: Path) -> None:
    """Reading a pipe or a device might never end."""
    if path.is_dir():
        raise RecordError(f"folder {path} cannot be opened", hint="check its permissions")
    if path.exists() and not path.is_file():
        raise RecordError(f"{path} is a pipe or a device (expected a file)")


def _failing(case_id: str, name: str, error: RecordError) -> IngestItem:
    def load() -> Loaded:
        raise error

    return IngestItem(Case(case_id), load, name=name)


def _read_table(path: Path) -> dict[str, dict[str, str]]:
    """Lines by file."""
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


def _case(case_id: str, source: str, file: Path, cells: Mapping[str, str]) -> Case:
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
