"""Cases from any folder, ZIP archive or DICOMDIR of recordings and pictures, and the table beside them."""

from __future__ import annotations

import os
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from ecgkin.index.case import Case, safe_case_id
from ecgkin.index.sources.archives import Unpacked, dicomdir_files
from ecgkin.index.sources.case_table import TABLE, case_of, rate_of, read_table, spelling
from ecgkin.index.sources.items import IngestItem, Loaded, check_regular, file_content
from ecgkin.index.sources.mimic import is_mimic, mimic_items
from ecgkin.retrieval.errors import EcgkinError, RateUnknownError, RecordError

DICOMDIR = "DICOMDIR"


def items_of(path: str | Path, table: str | Path | None = None, fs_hz: float | None = None) -> list[IngestItem]:
    """The cases of a folder, a ZIP archive or a DICOMDIR; see `folder_items`.

    Args:
        path: The folder or file.
        table, fs_hz: See `folder_items`.

    Returns:
        One item a case.

    Raises:
        RecordError: It is none of these, or cannot be read.
    """
    place = Path(path)
    if place.is_file() and place.name == DICOMDIR:
        root = place.resolve().parent
        return [item for file in dicomdir_files(place) for item in _file_items(file, root.name, file.relative_to(root))]
    if place.is_file() and zipfile.is_zipfile(place):
        return _zip_items(place, table, fs_hz=fs_hz)
    if place.is_file():
        raise RecordError(f"{place} is a file (expected a folder, a ZIP archive or a DICOMDIR)")
    return folder_items(place, table, fs_hz)


def folder_items(
    directory: str | Path, table: str | Path | None = None, fs_hz: float | None = None
) -> list[IngestItem]:
    """Every file below a folder, as cases "<folder>/<path>": records for `read_ecg`, pictures for the page reader.

    Hidden files, the table, DICOMDIRs and the sample files of WFDB headers are left out; everything else is tried, and
    what is no ECG will stand in the ingest's report. ZIP archives are unpacked and count as folders; each page of a PDF
    document of several pages (wrapped into DICOM or not) is a case, "<path>#2". A folder in MIMIC-IV-ECG's layout is
    read by its lists.

    Args:
        directory: The folder.
        table: CSV with a column `file` (path below the folder, with or without suffix) and any of the other
            `case_table.COLUMNS`;
            labels like "AFIB:100; LVH". None takes `cases.csv` in the folder, if there is one; those of folders below
            it (exports, say) speak of the files beside them. Files that no table names are taken without more
            knowledge; lines whose file is missing or whose values are wrong are reported.
        fs_hz: Samples a second of recordings that do not say; a column `fs` of the table goes before it.

    Returns:
        One item a case; what cannot be read is an item that says so when it is loaded.

    Raises:
        RecordError: No such folder, or a table that cannot be read.
    """
    root = Path(directory)
    if not root.is_dir():
        raise RecordError(f"{root} is not a folder", hint="check the path and its permissions")
    if table is None and (root / TABLE).is_file():
        table = root / TABLE
    if table is None and is_mimic(root):
        return mimic_items(root)
    lines = {} if table is None else read_table(Path(table))
    source = root.resolve().name
    items: list[IngestItem] = []
    files = _files(root)
    inner = {path for path in files if path.name == TABLE and path.parent != root}
    for path in sorted(inner):
        try:
            below = read_table(path)
        except RecordError:  # a recording of that name, or a table that is reported as a file that cannot be read
            inner.remove(path)
            continue
        folder = path.parent.relative_to(root)
        lines = {spelling((folder / name).as_posix()): cells for name, cells in below.items()} | lines
    here = Counter(spelling(path.relative_to(root).as_posix()).casefold() for path in files)
    folded = {name.casefold(): name for name in lines if here[name.casefold()] < 2}
    for path in files:
        if path in inner:
            continue
        if path.name == DICOMDIR:
            continue
        if path.suffix.lower() == ".zip" and zipfile.is_zipfile(path):
            items += _zip_items(path, None, f"{source}/{path.relative_to(root).as_posix()}", fs_hz)
            continue
        if table is not None and path.samefile(table):
            continue
        relative = path.relative_to(root)
        wfdb = path.suffix.lower() == ".hea"
        name = (relative.with_suffix("") if wfdb else relative).as_posix()
        spellings = (spelling(relative.as_posix()), spelling(relative.with_suffix("").as_posix()))
        key = next((name for name in spellings if name in lines), None)
        if key is None:  # a table made where "R1.CSV" and "r1.csv" are one file
            key = next((folded[name.casefold()] for name in spellings if folded.get(name.casefold()) in lines), None)
        cells = lines.pop(key) if key is not None else {}
        try:
            case = case_of(f"{source}/{name}", source, relative, cells)
            rate = rate_of(cells, case.case_id) or fs_hz
        except RecordError as error:
            items.append(_failing(f"{source}/{name}", str(path), error))
            continue
        items += file_items(case, path, rate)
    for file in lines:
        absent = RecordError(f"{table} names {file}, which is not below {root}")
        items.append(_failing(f"{source}/{file or '?'}", str(root / file), absent))
    return items


def _zip_items(archive: Path, table: str | Path | None, name: str = "", fs_hz: float | None = None) -> list[IngestItem]:
    """Cases "<archive>/<path>"; the unpacked files stay while one of them is there."""
    name = safe_case_id(name or archive.stem)
    try:
        unpacked = Unpacked(archive)
    except RecordError as error:
        return [_failing(name, str(archive), error)]

    def held(item: IngestItem) -> IngestItem:
        def load(_kept: Unpacked = unpacked) -> Loaded:
            return item.load()

        shown = str(archive / Path(item.name).relative_to(unpacked.folder)) if item.name else item.name
        case_id = f"{name}/{item.case.case_id.partition('/')[2]}"
        case = replace(item.case, case_id=case_id, source=name.partition("/")[0])
        return replace(item, case=case, load=load, name=shown)

    return [held(item) for item in folder_items(unpacked.folder, table, fs_hz)]


def _file_items(path: Path, source: str, relative: Path) -> list[IngestItem]:
    return file_items(case_of(f"{source}/{relative.as_posix()}", source, relative, {}), path)


def file_items(case: Case, path: Path, fs_hz: float | None = None) -> list[IngestItem]:
    """One item a file; for a document of several pages (PDF, PDF wrapped into DICOM, TIFF), one a page.

    Args:
        case: What is known of it; pages of a document have "#2" behind its id.
        path: The file.
        fs_hz: Samples a second of recordings that do not say.

    Returns:
        Items that read the file when they are loaded.
    """
    from ecgkin.retrieval.ecg.formats.dicom import may_wrap_pdf
    from ecgkin.retrieval.ecg.formats.pictures import page_count_of
    from ecgkin.retrieval.ecg.formats.tried import check_document

    count = 1
    if path.is_file() and (path.suffix.lower() in (".pdf", ".tif", ".tiff") or may_wrap_pdf(path)):
        try:
            check_document(path, 0)
            count = page_count_of(path)
        except EcgkinError:  # said when it is loaded
            count = 1
    if count == 1:
        return [IngestItem(case, _loader(path, fs_hz=fs_hz), partial(file_content, path), str(path))]
    return [
        IngestItem(
            replace(case, case_id=f"{case.case_id}#{k}"),
            _loader(path, k),
            partial(file_content, path, f"page {k}"),
            f"{path}#{k}",
        )
        for k in range(1, count + 1)
    ]


def _files(root: Path) -> list[Path]:
    found = []
    for folder, folders, names in os.walk(root, onerror=lambda error: found.append(Path(error.filename))):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        headers = {name[:-4].casefold() for name in names if name.lower().endswith(".hea")}
        for name in sorted(names):
            stem, suffix = os.path.splitext(name)
            if not name.startswith(".") and not (suffix.lower() in (".dat", ".mat") and stem.casefold() in headers):
                found.append(Path(folder) / name)
    return found


def _loader(path: Path, page: int = 1, fs_hz: float | None = None) -> Callable[[], Loaded]:
    def load() -> Loaded:
        from ecgkin.retrieval.ecg.formats.read import read_ecg
        from ecgkin.retrieval.ecg.formats.tried import open_unattended

        check_regular(path)
        try:
            return open_unattended(path, page)
        except RateUnknownError:
            if fs_hz is None:
                raise
            return read_ecg(path, fs_hz=fs_hz)

    return load


def _failing(case_id: str, name: str, error: RecordError) -> IngestItem:
    def load() -> Loaded:
        raise error

    return IngestItem(Case(safe_case_id(case_id)), load, name=name)
