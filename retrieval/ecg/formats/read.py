"""`read_ecg`: any file that holds an ECG as samples -> `EcgRecord`.

One reader a format, in `READERS`. A file goes to the reader of its suffix, or else to one that knows its content; a
format joins by one more entry. What is not an ECG record is named for what it looks like.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError

Units = Literal["mV", "uV", "V"]
_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Reader:
    """A format.

    Attributes:
        name: What it is called in messages.
        suffixes: Lower case, with dot.
        sniff: Whether the first bytes of a file look like it; asked only where no suffix fits.
        read: (path, fs_hz, units) -> record.
    """

    name: str
    suffixes: tuple[str, ...]
    sniff: Callable[[Path, bytes], bool]
    read: Callable[[Path, float | None, Units | None], EcgRecord]


def _read_wfdb(path: Path, fs_hz: float | None, units: Units | None) -> EcgRecord:
    from ecgkin.retrieval.ecg.formats.wfdb import read_wfdb

    if fs_hz is not None or units is not None:
        raise RecordError("fs_hz and units are for files that do not say; a WFDB header does")
    return read_wfdb(path)


def _read_csv(path: Path, fs_hz: float | None, units: Units | None) -> EcgRecord:
    from ecgkin.retrieval.ecg.formats.csv import read_csv

    return read_csv(path, fs_hz=fs_hz, units=units)


def _plain(module: str, function: str) -> Callable[[Path, float | None, Units | None], EcgRecord]:
    """A reader of files that say their rate and unit; its module is loaded when it is used."""

    def read(path: Path, fs_hz: float | None, units: Units | None) -> EcgRecord:
        if fs_hz is not None or units is not None:
            raise RecordError(f"fs_hz and units are for files that do not say; {path.name} does")
        found: EcgRecord = getattr(import_module(f"ecgkin.retrieval.ecg.formats.{module}"), function)(path)
        return found

    return read


def _begins(*magic: bytes, at: int = 0) -> Callable[[Path, bytes], bool]:
    return lambda path, head: head[at:].startswith(magic)


def _is_scp(path: Path, head: bytes) -> bool:
    from ecgkin.retrieval.ecg.formats.scp import is_scp

    return is_scp(head)


def _is_xml(path: Path, head: bytes) -> bool:
    return looks_like(head) == "XML"


def _has_header_beside(path: Path, head: bytes) -> bool:
    return path.with_name(path.name + ".hea").is_file()


def _looks_like_numbers(path: Path, head: bytes) -> bool:
    """Text whose later lines are mostly digits."""
    if looks_like(head) != "text":
        return False
    lines = head.decode("utf-8", errors="replace").splitlines()[1:-1] or head.decode("utf-8", "replace").splitlines()
    body = "".join(lines[-20:])
    return sum(c in "0123456789.,;-+eE \t" for c in body) >= 0.9 * max(1, len(body)) and any(c.isdigit() for c in body)


_WFDB = (".hea", ".dat", ".mat")
READERS: list[Reader] = [
    Reader("WFDB", _WFDB, _has_header_beside, _read_wfdb),
    Reader("DICOM", (".dcm", ".dicom"), _begins(b"DICM", at=128), _plain("dicom", "read_dicom")),
    Reader("SCP-ECG", (".scp",), _is_scp, _plain("scp", "read_scp")),
    Reader("HL7 aECG, GE MUSE or Philips Sierra XML", (".xml",), _is_xml, _plain("xml_roots", "read_xml")),
    Reader("EDF or BDF", (".edf", ".bdf"), _begins(b"0       ", b"\xffBIOSEMI"), _plain("edf", "read_edf")),
    Reader("ISHNE", (".ecg", ".ishne"), _begins(b"ISHNE1.0"), _plain("ishne", "read_ishne")),
    Reader("PDF with traces drawn as lines", (".pdf",), _begins(b"%PDF"), _plain("pdf.traces", "read_pdf")),
    Reader("CSV", (".csv", ".tsv", ".txt", ".asc"), _looks_like_numbers, _read_csv),
]

# First bytes -> what a file is. Formats that hold no samples, or none that is read here.
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"II*\x00", "a TIFF picture"),
    (0, b"MM\x00*", "a TIFF picture"),
    (8, b"WEBP", "a WebP picture"),
    (4, b"ftyp", "a HEIC picture or a film"),
    (0, b"%PDF", "a PDF document"),
    (128, b"DICM", "a DICOM file"),
    (16, b"SCPECG", "an SCP-ECG file"),
    (0, b"0       ", "an EDF file"),
    (0, b"\xffBIOSEMI", "a BDF file"),
    (0, b"ISHNE1.0", "an ISHNE file"),
    (0, b"\x89HDF\r\n", "an HDF5 file"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"MATLAB 5.0", "a MATLAB file"),
)
_PICTURES = ("picture", "PDF")


def looks_like(head: bytes) -> str:
    """What the first bytes of a file look like, in words: "a PNG picture", "XML", "text", "binary data".

    >>> looks_like(b"%PDF-1.7"), looks_like(b"I,II,III"), looks_like(b"")
    ('a PDF document', 'text', 'nothing (empty)')
    """
    if not head:
        return "nothing (empty)"
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":
        return "a BMP picture"
    for at, magic, name in _MAGIC:
        if head[at : at + len(magic)] == magic:
            return name
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16
        head = head[: len(head) // 2 * 2].decode("utf-16", errors="replace").encode()
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    if start.startswith((b"<?xml", b"<!doctype", b"<")):
        return "HTML" if b"<html" in start or b"<!doctype html" in start else "XML"
    control = sum(byte < 9 or 13 < byte < 32 for byte in head)
    return "text" if control == 0 else "binary data"


def read_ecg(path: str | os.PathLike[str], *, fs_hz: float | None = None, units: Units | None = None) -> EcgRecord:
    """Read an ECG from a file.

    Args:
        path: A WFDB record (with or without suffix, .hea, .dat or .mat), DICOM, SCP-ECG, HL7 aECG, GE MUSE XML, Philips
            Sierra XML, EDF, BDF, ISHNE, CSV, or a PDF document whose first page draws its traces as lines. Content goes
            before the name.
        fs_hz: Samples a second, for files that do not say (CSV without a time column).
        units: "mV", "uV" or "V", for files that do not say.

    Returns:
        The record in mV; what had to be guessed, computed or left out stands in its `notes`.

    Raises:
        RecordError: There is no such file, it is no ECG record (the message says what it looks like), or it is broken.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    try:
        if file.is_dir():
            raise RecordError(f"{file} is a folder (expected one record)")
        exists = file.is_file()
        head = b""
        if exists:
            with file.open("rb") as stream:
                head = stream.read(_HEAD_BYTES)
    except (OSError, ValueError) as error:
        raise RecordError(f"{str(file)!r} cannot be read: {error}") from error
    if not exists:
        if _has_header_beside(file, b""):
            return _read_wfdb(file, fs_hz, units)
        if file.exists():
            raise RecordError(f"{file} is a pipe or a device (expected a file)")
        record = "" if suffix in _WFDB else f", nor a WFDB record {file.name}.hea"
        raise RecordError(f"no file {file}{record}", hint="is the path right?")
    if not head:
        raise RecordError(f"{file.name} is empty")
    kind = looks_like(head)
    foreign = kind not in ("text", "binary data", "a MATLAB file") and not (suffix == ".dat" and _sibling(file))
    by_name = next((r for r in READERS if suffix in r.suffixes), None)
    reader = by_name
    if foreign or by_name is None or kind == "binary data":
        by_content = next((r for r in READERS if r.sniff(file, head)), None)
        reader = by_content if foreign else by_content or by_name
    if reader is by_name and reader is not None and reader.name == "WFDB" and not _sibling(file):
        raise RecordError(
            f"{file.name} looks like {kind} and has no WFDB header {file.stem}.hea beside it",
            hint="a table of numbers should be named .csv" if kind == "text" else "copy the .hea file next to it",
        )
    if reader is None:
        hint = "pictures are searched (`read_page`), not read as records" if any(w in kind for w in _PICTURES) else ""
        formats = ", ".join(f"{r.name} ({' '.join(r.suffixes)})" for r in READERS)
        raise RecordError(
            f"{file.name} looks like {kind}, not like an ECG record that is read here: {formats}", hint=hint
        )
    return reader.read(file, fs_hz, units)


def _sibling(path: Path) -> bool:
    return path.with_suffix(".hea").is_file()
