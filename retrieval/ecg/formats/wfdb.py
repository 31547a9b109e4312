"""WFDB records: header checked here, samples decoded by the wfdb package.

The header is parsed here first, for three reasons: a mad one must not make anyone allocate, a wrong one should be told
from a cut-off data file in words, and the wfdb package refuses headers that the PhysioNet Challenges ship (dates in
other forms than dd/mm/yyyy, wfdb-python #415). Where the package refuses, it gets the same header in strict form.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.assemble import MAX_SAMPLES, assemble, checked_rate, millivolts_per, named
from ecgkin.retrieval.ecg.formats.snomed import codes_in, statements_of
from ecgkin.retrieval.ecg.header import SourceHeader, iso_time
from ecgkin.retrieval.ecg.leads import canonical_lead
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError

SUFFIXES = (".hea", ".dat", ".mat")
_MAX_HEADER_BYTES = 1_000_000
_MAX_SIGNALS = 256
# Bytes a sample takes in the formats of the WFDB manual (signal(5)); None for the FLAC ones, whose size says nothing.
_BYTES = {
    "8": 1.0, "16": 2.0, "24": 3.0, "32": 4.0, "61": 2.0, "80": 1.0, "160": 2.0, "212": 1.5, "310": 4 / 3, "311": 4 / 3,
    "508": None, "516": None, "524": None,
}  # fmt: skip
# The code for "no sample" of each format (WFDB_INVALID_SAMPLE cut to its width).
_MISSING = {"16": -32768, "61": -32768, "516": -32768, "24": -8388608, "524": -8388608, "32": -2147483648, "80": -128,
            "508": -128, "160": -32768, "212": -2048, "310": -512, "311": -512}  # fmt: skip
_DEFAULT_GAIN = 200.0  # WFDB's own value for a gain that is 0 or left out: "uncalibrated"
_FORMAT = re.compile(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?\Z")
_GAIN = re.compile(r"([-+]?[\d.]+(?:[eE][-+]?\d+)?)?(?:\(([-+]?\d+)\))?(?:/(.+))?\Z")
_DATE = re.compile(r"(\d{2})/(\d{2})/(\d{4})\Z")  # the one form of the WFDB manual
_NAME = re.compile(r"[\w.-]+\Z")
_AGE = re.compile(r"\bage\W{1,3}(\d{1,3}(?:\.\d+)?)\b", re.IGNORECASE)
_SUBJECT = re.compile(r"\bsubject[_ ]?id\W{1,3}([\w-]{1,64})", re.IGNORECASE)
_MIMIC = re.compile(r"p(\d{8})\Z")  # folder of a patient in MIMIC-IV-ECG: files/p1000/p10000032/s40689238/40689238.hea
_SEX = re.compile(r"\b(?:sex|gender)\W{1,3}(f|m|female|male)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Signal:
    file: str
    fmt: str
    per_frame: int
    skew: int
    offset: int
    gain: float
    baseline: int
    unit: str
    checksum: int | None
    name: str
    uncalibrated: bool


@dataclass(frozen=True, slots=True)
class _Header:
    name: str
    fs_hz: float
    n_samples: int | None
    signals: tuple[_Signal, ...]
    comments: tuple[str, ...]
    clock: str
    date: str


def read_wfdb(path: str | os.PathLike[str]) -> EcgRecord:
    """Read a WFDB record.

    Args:
        path: The record without suffix, its header, or its .dat or .mat file (the header must lie beside it).

    Returns:
        All standard leads in mV; samples that the format marks as missing are NaN. A gain of 0 or none counts as WFDB's
        default of 200 per mV and is noted; channels in other units than volts are left out and noted. The header says
        date, SNOMED codes (`#Dx`) and their statements; the patient is the comment's subject id or MIMIC-IV's folder.

    Raises:
        RecordError: No header, a header that cannot be right, a missing or cut-off data file, more than
            `MAX_SAMPLES` samples, several segments, no standard lead.
    """
    base = Path(path)
    if base.suffix.lower() in SUFFIXES:
        base = base.with_suffix("")
    header_path = base.with_name(base.name + ".hea")
    header = _read_header(header_path)
    _check_files(header, base.parent)
    digital = _decode(header, base)
    said: list[str] = []
    uncalibrated: list[str] = []
    wrong_sum: list[str] = []
    channels: list[tuple[str, NDArray[np.float32]]] = []
    for signal, values in zip(header.signals, digital.T, strict=True):
        factor = millivolts_per(signal.unit)
        label = signal.name or f"signal {len(channels) + 1}"
        if factor is None:
            said.append(f"channel {label!r} is in {signal.unit}, no voltage: left out")
            continue
        if signal.uncalibrated and canonical_lead(signal.name):
            uncalibrated.append(label)
        code = _MISSING.get(signal.fmt)
        if signal.checksum is not None and signal.per_frame == 1:
            total = int(values.sum(dtype=np.int64)) & 0xFFFF
            if total != signal.checksum & 0xFFFF:
                wrong_sum.append(label)
        with np.errstate(over="ignore"):
            mv = ((values - signal.baseline) / signal.gain * factor).astype(np.float32)
        if code is not None:
            mv[values == code] = np.nan
        channels.append((signal.name, mv))
    if uncalibrated:
        gain = f"taken as {_DEFAULT_GAIN:.0f} per mV (WFDB's default)"
        said.append(f"{named(uncalibrated)}: gain is 0 or missing, {gain}")
    if wrong_sum:
        said.append(f"{named(wrong_sum)}: samples do not add up to the header's checksum")
    comments = "\n".join(header.comments)
    age, sex = _AGE.search(comments), _SEX.search(comments)
    years = float(age.group(1)) if age else None
    return assemble(
        channels,
        header.fs_hz,
        where=header_path.name,
        record_id=header.name,
        patient_id=_patient(comments, header_path),
        age_years=years if years is not None and years <= 150 else None,
        sex=sex.group(1)[0].upper() if sex else None,
        notes=said,
        header=_source(header, comments),
    )


def _patient(comments: str, header_path: Path) -> str | None:
    stated = _SUBJECT.search(comments)
    if stated:
        return stated.group(1)
    folder = _MIMIC.match(header_path.parent.parent.name)
    return folder.group(1) if folder else None


def _source(header: _Header, comments: str) -> SourceHeader:
    codes = codes_in(comments)
    day = _DATE.match(header.date)
    date = f"{day.group(3)}-{day.group(2)}-{day.group(1)}" if day else ""
    return SourceHeader(
        "WFDB",
        recorded_at=iso_time(date, header.clock) or iso_time(date),
        labels=statements_of(codes),
        codes=tuple(f"SNOMED:{code}" for code in codes),
    )


def _read_header(path: Path) -> _Header:
    try:
        size = path.stat().st_size
        if size > _MAX_HEADER_BYTES:
            raise RecordError(f"{path.name} has {size} bytes, too many for a WFDB header")
        text = path.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        raise RecordError(
            f"no WFDB header {path.name} in {path.parent}", hint="a record is a .hea and its .dat"
        ) from None
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} cannot be read: {error}") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    comments = tuple(line.lstrip("# ") for line in lines if line.startswith("#"))
    lines = [line for line in lines if not line.startswith("#")]
    if not lines:
        raise RecordError(f"{path.name} is empty (expected a WFDB header)")
    head = lines[0].split()
    name = head[0]
    if "/" in name:
        raise RecordError(f"{path.name} describes a record of several segments", hint="pass one of its segments")
    try:
        n_signals = int(head[1])
        fs_hz = float(head[2].split("/")[0].split("(")[0]) if len(head) > 2 else 250.0  # the WFDB default
        n_samples = int(head[3]) if len(head) > 3 else 0
    except (IndexError, ValueError):
        raise RecordError(f"{path.name} is no WFDB header (first line {lines[0][:60]!r})") from None
    if not 1 <= n_signals <= _MAX_SIGNALS or n_samples < 0:
        raise RecordError(f"{path.name} declares {n_signals} signals of {n_samples} samples")
    if n_signals * n_samples > MAX_SAMPLES:
        raise RecordError(f"{path.name} declares {n_signals * n_samples} samples (at most {MAX_SAMPLES} are read)")
    if len(lines) - 1 < n_signals:
        raise RecordError(
            f"{path.name} describes {len(lines) - 1} of {n_signals} signals", hint="the header is cut off"
        )
    signals = tuple(_signal(line, path.name) for line in lines[1 : n_signals + 1])
    clock, date = [*head[4:6], "", ""][:2]
    return _Header(name, checked_rate(fs_hz, path.name), n_samples or None, signals, comments, clock, date)


def _signal(line: str, where: str) -> _Signal:
    fields = line.split(maxsplit=8)
    try:
        layout = _FORMAT.match(fields[1])
        gain = _GAIN.match(fields[2]) if len(fields) > 2 else _GAIN.match("")
        if layout is None or gain is None or not _NAME.match(fields[0]) or fields[0].startswith(".."):
            raise ValueError
        fmt = layout.group(1)
        per_mv = float(gain.group(1) or 0.0)
        zero = int(fields[4]) if len(fields) > 4 else 0
        baseline = int(gain.group(2)) if gain.group(2) else zero
        checksum = int(fields[6]) if len(fields) > 6 else None
        per_frame, skew, offset = (int(layout.group(k) or d) for k, d in ((2, 1), (3, 0), (4, 0)))
        if fmt not in _BYTES:
            raise RecordError(f"{where}: sample format {fmt} is unknown (read: {', '.join(_BYTES)})")
        if per_mv < 0 or not np.isfinite(per_mv) or abs(baseline) > 2**31 or not 1 <= per_frame <= 1000:
            raise ValueError
        if skew > 100_000 or offset > 2**31:
            raise ValueError
    except (IndexError, ValueError):
        raise RecordError(f"{where}: signal line {line[:60]!r} is not WFDB") from None
    name = fields[8].strip() if len(fields) > 8 else ""
    uncalibrated = per_mv == 0
    gain_used = _DEFAULT_GAIN if uncalibrated else per_mv
    unit = (gain.group(3) or "").strip()
    return _Signal(fields[0], fmt, per_frame, skew, offset, gain_used, baseline, unit, checksum, name, uncalibrated)


def _check_files(header: _Header, folder: Path) -> None:
    """Every data file is there and long enough for what the header says."""
    for name in dict.fromkeys(s.file for s in header.signals):
        group = [s for s in header.signals if s.file == name]
        try:
            size = (folder / name).stat().st_size
        except (OSError, ValueError):
            raise RecordError(f"data file {name} of {header.name}.hea is missing in {folder}") from None
        if len({(s.fmt, s.offset) for s in group}) > 1:
            raise RecordError(f"{name} is described with several formats in {header.name}.hea")
        width = _BYTES[group[0].fmt]
        per_frame = sum(s.per_frame for s in group)
        if size == 0:
            raise RecordError(f"{name} is empty")
        if width is None:
            continue
        available = int((size - group[0].offset) / width / per_frame)
        if available <= 0 or (header.n_samples is not None and available < header.n_samples):
            expected = header.n_samples if header.n_samples is not None else "at least one"
            raise RecordError(
                f"{name} is cut off: {max(0, available)} samples a lead, {header.name}.hea says {expected}",
                hint="fetch or export the record again",
            )
        if available * per_frame > MAX_SAMPLES and header.n_samples is None:
            raise RecordError(f"{name} holds {available * per_frame} samples (at most {MAX_SAMPLES} are read)")


def _decode(header: _Header, base: Path) -> NDArray[np.float64]:
    """Digital samples, shape (n_samples, n_signals), by the wfdb package."""
    import wfdb

    def read(record: str) -> NDArray[Any]:
        values = wfdb.rdrecord(record, physical=False).d_signal
        if values is None or values.ndim != 2 or values.shape[1] != len(header.signals):
            raise ValueError("no samples")
        return np.asarray(values)

    try:
        values = read(str(base))
    except Exception:  # the package raises whatever its parsing runs into: try once more with a strict header
        try:
            with tempfile.TemporaryDirectory() as folder:
                _write_strict(header, base.parent, Path(folder))
                values = read(str(Path(folder) / "record"))
        except Exception as error:
            raise RecordError(f"{base.name} cannot be decoded: {type(error).__name__}: {error}") from error
    return values.astype(np.float64)


def _write_strict(header: _Header, source: Path, folder: Path) -> None:
    """The same record with a header of nothing but what decoding needs, data files linked under plain names."""
    names: dict[str, str] = {}
    for signal in header.signals:
        if signal.file not in names:
            names[signal.file] = f"data{len(names)}.dat"
            (folder / names[signal.file]).symlink_to((source / signal.file).resolve())
    length = f" {header.n_samples}" if header.n_samples else ""
    lines = [f"record {len(header.signals)} {header.fs_hz}{length}"]
    for k, s in enumerate(header.signals):
        extra = (f"x{s.per_frame}" if s.per_frame > 1 else "") + (f":{s.skew}" if s.skew else "")
        extra += f"+{s.offset}" if s.offset else ""
        lines.append(f"{names[s.file]} {s.fmt}{extra} 200(0)/mV 16 0 0 0 0 lead{k}")
    (folder / "record.hea").write_text("\n".join(lines) + "\n", "ascii")
