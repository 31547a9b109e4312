"""`read_ecg`: any file that holds an ECG as samples -> `EcgRecord`.

`READERS` is the table of formats: each with the kinds of content that it reads and the suffixes of files whose content
does not tell (text, numbers). Content goes before the name; a format joins by one more entry. XML files of machines are
one entry here, `xml_roots` tells them apart. What is not an ECG record is named for what it looks like.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

from ecgkin.retrieval.ecg.kinds import HEAD_BYTES, Kind, kind_of
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError, why

Units = Literal["mV", "uV", "V"]
Read = Callable[[Path, float | None, Units | None], EcgRecord]


@dataclass(frozen=True, slots=True)
class Reader:
    """A format.

    Attributes:
        name: What it is called in messages.
        suffixes: Lower case, with dot; they decide where the content does not tell.
        kinds: Content that is this format, whatever the name.
        read: (path, fs_hz, units) -> record.
    """

    name: str
    suffixes: tuple[str, ...]
    kinds: frozenset[Kind]
    read: Read


def _read_wfdb(path: Path, fs_hz: float | None, units: Units | None) -> EcgRecord:
    from ecgkin.retrieval.ecg.formats.wfdb import read_wfdb

    if fs_hz is not None or units is not None:
        raise RecordError("fs_hz and units are for files that do not say; a WFDB header does")
    return read_wfdb(path)


def _read_csv(path: Path, fs_hz: float | None, units: Units | None) -> EcgRecord:
    from ecgkin.retrieval.ecg.formats.csv import read_csv

    return read_csv(path, fs_hz=fs_hz, units=units)


def _plain(module: str, function: str) -> Read:
    """A reader of files that say their rate and unit; its module is loaded when it is used."""

    def read(path: Path, fs_hz: float | None, units: Units | None) -> EcgRecord:
        if fs_hz is not None or units is not None:
            raise RecordError(f"fs_hz and units are for files that do not say; {path.name} does")
        found: EcgRecord = getattr(import_module(f"ecgkin.retrieval.ecg.formats.{module}"), function)(path)
        return found

    return read


_WFDB = Reader("WFDB", (".hea", ".dat", ".mat"), frozenset(), _read_wfdb)
_CSV = Reader("CSV", (".csv", ".tsv", ".txt", ".asc"), frozenset(), _read_csv)
_XML_NAMES = "HL7 aECG, GE MUSE, Philips Sierra, GE CardioSoft, Schiller SEMA or Bionet Cardio7 XML"
READERS: list[Reader] = [
    _WFDB,
    Reader("DICOM", (".dcm", ".dicom"), frozenset({Kind.DICOM}), _plain("dicom", "read_dicom")),
    Reader("SCP-ECG", (".scp",), frozenset({Kind.SCP}), _plain("scp", "read_scp")),
    Reader(_XML_NAMES, (".xml",), frozenset({Kind.XML}), _plain("xml_roots", "read_xml")),
    Reader("EDF or BDF", (".edf", ".bdf"), frozenset({Kind.EDF, Kind.BDF}), _plain("edf", "read_edf")),
    Reader("MFER", (".mwf", ".mfr"), frozenset({Kind.MFER}), _plain("mfer", "read_mfer")),
    Reader("ISHNE", (".ecg", ".ishne"), frozenset({Kind.ISHNE}), _plain("ishne", "read_ishne")),
    Reader("PDF with traces drawn as lines", (".pdf",), frozenset({Kind.PDF}), _plain("pdf.traces", "read_pdf")),
    _CSV,
    Reader(
        "Mortara XML, Edan ARC, Kardia JSON or XLE with the extra [formats]",
        (".arc", ".xle"),
        frozenset({Kind.JSON}),
        _plain("datakit", "read_with_datakit"),
    ),
]
_UNTOLD = frozenset({Kind.TEXT, Kind.BINARY, Kind.MATLAB})
"""Content that may be several formats: the name decides."""


def read_ecg(path: str | os.PathLike[str], *, fs_hz: float | None = None, units: Units | None = None) -> EcgRecord:
    """Read an ECG from a file.

    Args:
        path: A WFDB record (with or without suffix, .hea, .dat or .mat), or a file of any other of the `READERS`.
            Content goes before the name.
        fs_hz: Samples a second, for files that do not say (CSV without a time column).
        units: "mV", "uV" or "V", for files that do not say.

    Returns:
        The record in mV; what had to be guessed, computed or left out stands in its `notes`.

    Raises:
        RecordError: There is no such file, it is no ECG record (the message says what it looks like), or it is broken.
    """
    file = Path(path)
    head = _head(file)
    if head is None:
        return _read_without_suffix(file, fs_hz, units)
    kind = kind_of(head)
    if kind is Kind.EMPTY:
        raise RecordError(f"{file.name} is empty")
    reader = _reader(file, kind, head)
    if reader is None:
        hint = (
            "a picture holds no samples: search with it, or turn it into signals (ecgkin digitize)"
            if kind.is_picture or kind is Kind.PDF
            else ""
        )
        formats = ", ".join(f"{r.name} ({' '.join(r.suffixes)})" for r in READERS)
        raise RecordError(
            f"{file.name} looks like {kind.words()}, not like an ECG record that is read here: {formats}", hint=hint
        )
    if reader is _WFDB and _header_of(file) is None:
        raise RecordError(
            f"{file.name} looks like {kind.words()} and has no WFDB header {file.stem}.hea beside it",
            hint="a table of numbers should be named .csv" if kind is Kind.TEXT else "copy the .hea file next to it",
        )
    return reader.read(file, fs_hz, units)


def _head(file: Path) -> bytes | None:
    """The first bytes; None where there is no such file."""
    try:
        if file.is_dir():
            raise RecordError(f"{file} is a folder (expected one record)")
        if not file.is_file():
            return None
        with file.open("rb") as stream:
            return stream.read(HEAD_BYTES)
    except (OSError, ValueError) as error:
        raise RecordError(
            f"{str(file)!r} cannot be read: {why(error)}", hint="check the path and its permissions"
        ) from error


def _read_without_suffix(file: Path, fs_hz: float | None, units: Units | None) -> EcgRecord:
    """A WFDB record named by its stem."""
    if _header_of(file.with_name(file.name + ".hea")) is not None:
        return _read_wfdb(file, fs_hz, units)
    if file.exists():
        raise RecordError(f"{file} is a pipe or a device (expected a file)")
    record = "" if file.suffix.lower() in _WFDB.suffixes else f", nor a WFDB record {file.name}.hea"
    raise RecordError(f"no file {file}{record}", hint="is the path right?")


def _reader(file: Path, kind: Kind, head: bytes) -> Reader | None:
    suffix = file.suffix.lower()
    if suffix == ".dat" and _header_of(file) is not None:
        return _WFDB  # samples may begin with whatever bytes
    if kind not in _UNTOLD:
        return next((r for r in READERS if kind in r.kinds), None)
    by_name = next((r for r in READERS if suffix in r.suffixes), None)
    if by_name is not None:
        return by_name
    if _header_of(file.with_name(file.name + ".hea")) is not None:
        return _WFDB
    return _CSV if kind is Kind.TEXT and _is_numbers(head) else None


def _header_of(file: Path) -> Path | None:
    from ecgkin.retrieval.ecg.formats.wfdb import beside

    return beside(file.parent, file.stem + ".hea")


def _is_numbers(head: bytes) -> bool:
    """Text whose later lines are mostly digits."""
    lines = head.decode("utf-8", errors="replace").splitlines()[1:-1] or head.decode("utf-8", "replace").splitlines()
    body = "".join(lines[-20:])
    return sum(c in "0123456789.,;-+eE \t" for c in body) >= 0.9 * max(1, len(body)) and any(c.isdigit() for c in body)
