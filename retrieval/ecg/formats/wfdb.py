"""WFDB records: header read here, samples decoded by the wfdb package.

The header is parsed here alone: the package gets a header in strict form, written from what was understood, so that
nothing that was not checked (a mad length, a packing, a path) reaches its decoder. That also reads what the package
refuses: dates in other forms than dd/mm/yyyy (wfdb-python #415), folders in file names, names in capitals.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.assemble import MAX_SAMPLES, assemble, checked_rate, millivolts_per, named
from ecgkin.retrieval.ecg.formats.snomed import codes_in, statements_of
from ecgkin.retrieval.ecg.header import SourceHeader, age_of, iso_time, report_lines, sex_of
from ecgkin.retrieval.ecg.leads import canonical_lead, signed_lead
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.statements.catalogue import CODES
from ecgkin.retrieval.errors import RecordError, why

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
_NAME = re.compile(r"[\w.+-]+\Z")
_SEGMENTS = re.compile(r"[^/]+/\d+\Z")
_AGE = re.compile(r"\bage\b[^\w>\u2265]{0,40}([>\u2265]?[^\n]{0,40})", re.IGNORECASE)
_LONGEST_LINE = 10_000
_SUBJECT = re.compile(r"\bsubject[_ ]?id\W{1,3}([\w-]{1,64})", re.IGNORECASE)
_MIMIC = re.compile(r"p(\d{8})\Z")  # folder of a patient in MIMIC-IV-ECG: files/p1000/p10000032/s40689238/40689238.hea
_DEFAULT_HZ = 250.0  # of headers that state no rate (WFDB manual, header(5))
_SEX = re.compile(r"\b(?:sex|gender|geschlecht|sexe|sexo|sesso|geslacht)\b\W{1,40}([^\W\d_]{1,12})\b", re.IGNORECASE)
_FLAC = frozenset({"508", "516", "524"})
_MAX_FLAC = 10_000_000
"""Most samples of signals packed with FLAC, whose file says nothing about their number: 12 leads for half an hour."""


@dataclass(frozen=True, slots=True)
class _Signal:
    file: str  # without folders
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
    comment: str


@dataclass(frozen=True, slots=True)
class _Header:
    name: str
    fs_hz: float
    n_samples: int | None
    signals: tuple[_Signal, ...]
    comments: tuple[str, ...]
    recorded_at: str | None
    notes: tuple[str, ...]


def beside(folder: Path, name: str) -> Path | None:
    """The file of that name in a folder; where there is none, the one whose name differs in case or Unicode form alone.

    Records that went through Windows or a camera card have names in capitals, those from a Mac decomposed umlauts.

    Args:
        folder: Where to look.
        name: As a header or a person spells it.

    Returns:
        None where there is none, or several differ in case alone.
    """
    exact = folder / name
    try:
        if exact.is_file():
            return exact
        key = _key(name)
        alike = [entry.name for entry in os.scandir(folder) if _key(entry.name) == key and entry.is_file()]
    except (OSError, ValueError):
        return None
    return folder / alike[0] if len(alike) == 1 else None


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


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
    header_path = beside(base.parent, base.name + ".hea") or base.with_name(base.name + ".hea")
    header = _read_header(header_path)
    said = list(header.notes)
    signals, files = _files(header, header_path.parent, said)
    digital = _decode(signals, files, header, header_path.name)
    rates = Counter(s.per_frame for s in signals if signed_lead(s.name)[0] is not None and millivolts_per(s.unit))
    per_frame = rates.most_common(1)[0][0] if rates else 1
    channels = _channels(header, signals, digital, per_frame, said)
    comments = "\n".join(header.comments)
    age, sex = _AGE.search(comments), _SEX.search(comments)
    codes = codes_in(comments)
    days = filter(None, map(iso_time, _said(header.comments, "recorded")))
    return assemble(
        channels,
        checked_rate(header.fs_hz * per_frame, header_path.name),
        where=header_path.name,
        record_id=header.name,
        patient_id=_patient(comments, header_path),
        age_years=age_of(age.group(1)) if age else None,
        sex=sex_of(sex.group(1)) if sex else None,
        notes=said,
        header=SourceHeader(
            "WFDB",
            recorded_at=header.recorded_at or next(days, None),
            report=report_lines(_said(header.comments, "report")),
            labels=_labels(header.comments) or statements_of(codes),
            codes=tuple(f"SNOMED:{code}" for code in codes),
        ),
    )


def _channels(
    header: _Header, signals: list[_Signal], digital: list[NDArray[np.float64]], per_frame: int, said: list[str]
) -> list[tuple[str, NDArray[np.float32]]]:
    """Signals in volts at the rate of the leads, in mV; what is left out or doubtful is added to `said`."""
    uncalibrated: list[str] = []
    wrong_sum: list[str] = []
    channels: list[tuple[str, NDArray[np.float32]]] = []
    for k, (signal, values) in enumerate(zip(signals, digital, strict=True), 1):
        factor = millivolts_per(signal.unit)
        label = signal.name or f"signal {k}"
        if factor is None:
            said.append(f"channel {label!r} is in {signal.unit}, no voltage: left out")
            continue
        if signal.per_frame != per_frame:
            rate = signal.per_frame * header.fs_hz
            said.append(f"channel {label!r} has {rate:g} Hz, the leads {per_frame * header.fs_hz:g} Hz: left out")
            continue
        if signal.comment:
            said.append(f"channel {label!r}: the header remarks {signal.comment!r}")
        if signal.uncalibrated and canonical_lead(signal.name):
            uncalibrated.append(label)
        code = _MISSING.get(signal.fmt)
        if signal.checksum is not None:
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
    return channels


def is_packed(path: str | os.PathLike[str]) -> bool:
    """Whether a header says that signals are packed with FLAC: then the size of the files bounds nothing.

    Raises:
        RecordError: It is no WFDB header.
    """
    return any(signal.fmt in _FLAC for signal in _read_header(Path(path)).signals)


def _said(comments: tuple[str, ...], what: str) -> list[str]:
    """What comments of the form "What: words" say, one a line, as `export` writes them."""
    parts = (line.partition(":") for line in comments)
    return [words.strip() for name, _, words in parts if name.strip().lower() == what]


def _labels(comments: tuple[str, ...]) -> dict[str, float]:
    """Statements with their likelihoods in percent, as `export` writes them; empty where something else stands."""
    for text in _said(comments, "labels"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            known = {code: value for code, value in found.items() if code in CODES}
            return {
                code: float(value)
                for code, value in known.items()
                if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 100
            }
    return {}


def _patient(comments: str, header_path: Path) -> str | None:
    stated = _SUBJECT.search(comments)
    if stated:
        return stated.group(1)
    folder = _MIMIC.match(header_path.parent.parent.name)
    return folder.group(1) if folder else None


def _read_header(path: Path) -> _Header:
    try:
        size = path.stat().st_size
        if size > _MAX_HEADER_BYTES:
            raise RecordError(f"{path.name} has {size} bytes, too many for a WFDB header")
        raw = path.read_bytes()
    except FileNotFoundError:
        raise RecordError(
            f"no WFDB header {path.name} in {path.parent}", hint="a record is a .hea and its .dat"
        ) from None
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} cannot be read: {why(error)}") from error
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")  # a micro sign as Windows writes it
    # Lines end as WFDB's own library ends them: a vertical tab or form feed is a blank like others.
    lines = [line.strip() for line in text.replace("\r", "\n").split("\n")]
    if max(map(len, lines)) > _LONGEST_LINE:
        raise RecordError(f"{path.name} has a line of more than {_LONGEST_LINE} characters, it is no WFDB header")
    comments = tuple(line.lstrip("# ") for line in lines if line.startswith("#"))
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise RecordError(f"{path.name} is empty (expected a WFDB header)")
    head = lines[0].split()
    if _SEGMENTS.match(head[0]) and path.stem.casefold() != _plain(head[0]).casefold():
        raise RecordError(f"{path.name} describes a record of several segments", hint="pass one of its segments")
    name = _plain(head[0])
    try:
        n_signals = int(head[1])
        fs_hz = float(head[2].split("/")[0].split("(")[0]) if len(head) > 2 else _DEFAULT_HZ
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
    total = n_samples * sum(s.per_frame for s in signals)
    if total > MAX_SAMPLES:
        raise RecordError(f"{path.name} declares {total} samples (at most {MAX_SAMPLES} are read)")
    when = " ".join(head[4:])
    recorded_at = _recorded_at(head[4:])
    notes = (f"date and time {when[:40]!r} of the header are not understood",) if when and recorded_at is None else ()
    if len(head) < 3:
        notes = (*notes, f"no sampling rate is stated: taken as {_DEFAULT_HZ:g} Hz, WFDB's default")
    return _Header(name, checked_rate(fs_hz, path.name), n_samples or None, signals, comments, recorded_at, notes)


def _recorded_at(fields: list[str]) -> str | None:
    """Date and time behind the length: "09:49:17 05/05/2020" in the manual, the other way round in the Challenges."""
    clock = next((field for field in fields if ":" in field), "")
    day = " ".join(field for field in fields if ":" not in field)
    if clock[:2].isdigit() is False and clock[:1].isdigit():
        clock = f"0{clock}"
    return iso_time(day, clock, day_first=True) or iso_time(day, day_first=True)


def _plain(name: str) -> str:
    """A file or record name without the folders in front."""
    return name.replace("\\", "/").rpartition("/")[2]


def _signal(line: str, where: str) -> _Signal:
    fields = line.split(maxsplit=8)
    if not fields:
        raise RecordError(f"{where}: a signal line is empty")
    file = _plain(fields[0])
    try:
        layout = _FORMAT.match(fields[1])
        gain = _GAIN.match(fields[2]) if len(fields) > 2 else _GAIN.match("")
        if layout is None or gain is None or not _NAME.match(file) or ".." in fields[0]:
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
    # What stands behind a mark of comment is not part of the name.
    name, _, comment = (f" {fields[8]}" if len(fields) > 8 else "").partition(" #")
    uncalibrated = per_mv == 0
    gain_used = _DEFAULT_GAIN if uncalibrated else per_mv
    unit = (gain.group(3) or "").strip()
    return _Signal(
        file,
        fmt,
        per_frame,
        skew,
        offset,
        gain_used,
        baseline,
        unit,
        checksum,
        name.strip(),
        uncalibrated,
        comment.strip()[:80],
    )


def _files(header: _Header, folder: Path, notes: list[str]) -> tuple[list[_Signal], dict[str, Path]]:
    """The signals whose files are there, and those files, each long enough for what the header says.

    Raises:
        RecordError: A file with one of the twelve leads is missing, or one is too short.
    """
    files: dict[str, Path] = {}
    kept: list[_Signal] = []
    for name in dict.fromkeys(s.file for s in header.signals):
        group = [s for s in header.signals if s.file == name]
        found = beside(folder, name)
        if found is None:
            if any(signed_lead(s.name)[0] is not None for s in group) or len(group) == len(header.signals):
                raise RecordError(f"data file {name} of {header.name}.hea is missing in {folder}")
            left = ", ".join(s.name[:20] or "a signal" for s in group)
            notes.append(f"data file {name} is missing: {left} left out")
            continue
        _check_size(header, group, found)
        files[name] = found
        kept += group
    return kept, files


def _check_size(header: _Header, group: list[_Signal], file: Path) -> None:
    name = file.name
    try:
        size = file.stat().st_size
    except OSError as error:
        raise RecordError(f"{file} cannot be read: {why(error)}") from error
    if len({(s.fmt, s.offset) for s in group}) > 1:
        raise RecordError(f"{name} is described with several formats in {header.name}.hea")
    width = _BYTES[group[0].fmt]
    per_frame = sum(s.per_frame for s in group)
    if size == 0:
        raise RecordError(f"{name} is empty")
    if width is None:
        if header.n_samples is None or header.n_samples * per_frame > _MAX_FLAC:
            raise RecordError(
                f"{header.name}.hea declares {header.n_samples or 'no number of'} samples packed with FLAC "
                f"(at most {_MAX_FLAC} in all are unpacked)"
            )
        return
    available = int((size - group[0].offset) / width / per_frame)
    if available <= 0 or (header.n_samples is not None and available < header.n_samples):
        expected = header.n_samples if header.n_samples is not None else "at least one"
        raise RecordError(
            f"{name} is cut off: {max(0, available)} samples a lead, {header.name}.hea says {expected}",
            hint="fetch or export the record again",
        )
    if available * per_frame > MAX_SAMPLES and header.n_samples is None:
        raise RecordError(f"{name} holds {available * per_frame} samples (at most {MAX_SAMPLES} are read)")


def _decode(signals: list[_Signal], files: dict[str, Path], header: _Header, where: str) -> list[NDArray[np.float64]]:
    """Digital samples of each signal, `per_frame` times as many as there are frames, by the wfdb package."""
    import wfdb

    try:
        with tempfile.TemporaryDirectory() as folder:
            _write_strict(signals, files, header, Path(folder))
            record = wfdb.rdrecord(str(Path(folder) / "record"), physical=False, smooth_frames=False)
        values: list[NDArray[Any]] = record.e_d_signal
        if len(values) != len(signals):
            raise ValueError("no samples")
        return [np.asarray(row, dtype=np.float64) for row in values]
    except Exception as error:  # the package raises whatever its decoding runs into
        raise RecordError(f"{where} cannot be decoded: {type(error).__name__}: {error}") from error


def _write_strict(signals: list[_Signal], files: dict[str, Path], header: _Header, folder: Path) -> None:
    """The same record with a header of nothing but what decoding needs, data files linked under plain names."""
    names: dict[str, str] = {}
    for number, (name, file) in enumerate(files.items()):
        names[name] = f"data{number}{'.mat' if file.suffix.lower() == '.mat' else '.dat'}"
        (folder / names[name]).symlink_to(file.resolve())
    length = f" {header.n_samples}" if header.n_samples else ""
    lines = [f"record {len(signals)} {header.fs_hz}{length}"]
    for k, s in enumerate(signals):
        extra = (f"x{s.per_frame}" if s.per_frame > 1 else "") + (f":{s.skew}" if s.skew else "")
        extra += f"+{s.offset}" if s.offset else ""
        lines.append(f"{names[s.file]} {s.fmt}{extra} 200(0)/mV 16 0 0 0 0 lead{k}")
    (folder / "record.hea").write_text("\n".join(lines) + "\n", "ascii")
