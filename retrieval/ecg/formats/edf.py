"""EDF, EDF+C and BDF (European Data Format), decoded by edfio."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.assemble import MAX_SAMPLES, assemble, checked_rate, millivolts_per
from ecgkin.retrieval.ecg.header import SourceHeader, age_at, iso_time, plain_text, scale_note, sex_of
from ecgkin.retrieval.ecg.leads import canonical_lead
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError, why

if TYPE_CHECKING:
    from edfio import Bdf, Edf

EDF_MAGIC, BDF_MAGIC = b"0       ", b"\xffBIOSEMI"
_MAX_SIGNALS = 256
_COARSE_UV = 20.0  # ECG recorders resolve 5 uV or better (IEC 60601-2-25): a coarser step is a wrong physical range
_CLIPPED_YEAR = 85  # two digits from here on are of the last century (EDF, 1992)


def read_edf(path: str | os.PathLike[str]) -> EcgRecord:
    """Read an EDF, EDF+C or BDF file.

    Returns:
        The signals that are leads, in mV by the physical range of the header; signals at another rate than most leads,
        or in no voltage, are left out and noted. So is a range that makes steps no recorder has.

    Raises:
        RecordError: It is none of these, it is interrupted (EDF+D), cut off, or holds no lead.
    """
    file = Path(path)
    is_bdf, head = _check(file)
    edf, said = _opened(file, is_bdf)
    form = ("BDF" if is_bdf else "EDF") + ("+" if edf.reserved.startswith(("EDF+", "BDF+")) else "")
    if edf.reserved.startswith(("EDF+D", "BDF+D")):
        raise RecordError(f"{file.name} is interrupted ({edf.reserved[:5]})", hint="export it as one stretch")
    rates = Counter(float(s.sampling_frequency) for s in edf.signals if canonical_lead(s.label) is not None)
    if not rates:
        names = ", ".join(repr(s.label[:16]) for s in edf.signals[:15]) or "annotations alone"
        raise RecordError(f"{file.name}: no signal is a standard lead (found {names})")
    fs_hz = checked_rate(rates.most_common(1)[0][0], file.name)
    channels: list[tuple[str, NDArray[np.float32]]] = []
    steps: list[float] = []
    filters: list[str] = []
    notes: list[str] = []
    for signal in edf.signals:
        factor = millivolts_per(signal.physical_dimension)
        lead = canonical_lead(signal.label) is not None
        if factor is None:
            notes.append(f"channel {signal.label[:16]!r} is in {signal.physical_dimension[:8]}, no voltage: left out")
            continue
        if not math.isclose(float(signal.sampling_frequency), fs_hz):
            notes.append(f"channel {signal.label[:16]!r} has {signal.sampling_frequency:g} Hz: left out")
            continue
        low, high = signal.physical_range
        bottom, top = signal.digital_range
        if bottom == top or low == high or not (math.isfinite(low) and math.isfinite(high)):
            # Unused inputs of EEG recorders, "-"; a lead without a range has no scale, the others are none the worse.
            notes.append(f"channel {signal.label[:16]!r} has an empty range: left out")
            continue
        if lead:
            steps.append(abs((high - low) / (top - bottom)) * factor * 1000)
            filters.append(plain_text(signal.prefiltering))
            if not signal.physical_dimension.strip():
                notes.append(f"channel {signal.label[:16]!r} states no unit: taken as mV")
        gain = (high - low) / (top - bottom)
        with np.errstate(over="ignore", invalid="ignore"):
            mv = ((signal.digital.astype(np.float64) - bottom) * gain + low) * factor
        channels.append((signal.label, mv.astype(np.float32)))
    header = _header(edf, head, form, "; ".join(dict.fromkeys(filter(None, filters))))
    notes = [scale_note(form, steps or [0.0], fs_hz, header.filters), *said, *notes]
    if steps and max(steps) > _COARSE_UV:
        notes.append(f"steps of {max(steps):.3g} uV are coarser than any recorder's: the physical range is doubtful")
    who = edf.local_patient_identification.split()
    coded = _is_coded(who)
    return assemble(
        channels,
        fs_hz,
        where=file.name,
        record_id=file.stem,
        patient_id=plain_text(who[0]) if coded and who[0] != "X" else None,
        age_years=age_at(header.birth_date, header.recorded_at),
        sex=sex_of(who[1]) if coded else None,
        notes=notes,
        header=header,
    )


def _check(file: Path) -> tuple[bool, bytes]:
    """Whether it is BDF, and its header; the sizes that the header states fit the file.

    Raises:
        RecordError: They do not, or it is neither.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            head = stream.read(256 * (_MAX_SIGNALS + 1))
    except (OSError, ValueError) as error:
        raise RecordError(f"{str(file)!r} cannot be read: {why(error)}") from error
    is_bdf = head.startswith(BDF_MAGIC)
    if not is_bdf and not head.startswith(EDF_MAGIC):
        raise RecordError(f"{file.name} is no EDF or BDF file (its first bytes are {head[:8]!r})")
    try:
        n_bytes, n_records, n_signals = (int(head[a:b]) for a, b in ((184, 192), (236, 244), (252, 256)))
        if not 1 <= n_signals <= _MAX_SIGNALS or n_bytes != 256 * (n_signals + 1) or n_records < -1:
            raise ValueError
        at = 256 + 216 * n_signals
        each = [int(head[at + 8 * k : at + 8 * k + 8]) for k in range(n_signals)]
        if min(each) < 0 or sum(each) < 1:
            raise ValueError
    except ValueError:
        raise RecordError(f"{file.name}: its header is damaged (sizes that cannot be)") from None
    there = (size - n_bytes) // (sum(each) * (3 if is_bdf else 2))
    if there < max(1, n_records):
        raise RecordError(f"{file.name} is cut off: {max(0, there)} of {n_records} data records")
    if there * sum(each) > MAX_SAMPLES:
        raise RecordError(f"{file.name} holds {there * sum(each)} samples (at most {MAX_SAMPLES} are read)")
    return is_bdf, head


def _opened(file: Path, is_bdf: bool) -> tuple[Edf | Bdf, list[str]]:
    import edfio

    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            reader = edfio.read_bdf if is_bdf else edfio.read_edf
            edf: Edf | Bdf = reader(file, header_encoding="latin-1")
            for signal in edf.signals:  # what is wrong with a signal shows when it is asked
                _ = signal.label, signal.physical_range, signal.digital_range, signal.sampling_frequency, signal.digital
            _ = edf.reserved, edf.local_patient_identification, edf.local_recording_identification
    except Exception as error:  # edfio raises whatever its parsing of fields runs into
        text = plain_text(str(error), 120)
        if isinstance(error, UnboundLocalError):  # edfio divides by the duration of a data record
            raise RecordError(f"{file.name} states data records of 0 s: its sampling rate is unknown") from None
        if isinstance(error, ValueError) and (number := re.search(r"[-+]?\d{1,8},\d{1,8}", text)) is not None:
            raise RecordError(
                f"{file.name}: its header writes {number[0]!r} with a decimal comma (EDF expects points)",
                hint="write it again by a program that keeps to EDF, or turn the commas of its header into points",
            ) from None
        raise RecordError(f"{file.name} cannot be decoded as EDF: {type(error).__name__}: {text}") from None
    return edf, list(dict.fromkeys(plain_text(str(w.message)) for w in said))


def _header(edf: Edf | Bdf, head: bytes, form: str, filters: str) -> SourceHeader:
    """Identification fields; EDF+ orders them: code, sex, birthday, name."""
    who = edf.local_patient_identification.split()
    where = edf.local_recording_identification.split()
    plus = _is_coded(who)
    name = who[3].replace("_", " ") if plus and who[3] != "X" else ""
    return SourceHeader(
        form,
        patient_name=plain_text(name if plus else edf.local_patient_identification),
        birth_date=_day(who[2]) if plus else None,
        # "Startdate X": the date of the fixed header is a stand-in, mostly 1985-01-01.
        recorded_at=None if where[:2] == ["Startdate", "X"] else _start(head),
        device=plain_text(where[4].replace("_", " ")) if plus and len(where) >= 5 and where[4] != "X" else "",
        filters=filters,
        people=tuple(part.replace("_", " ") for part in where[3:4] if part != "X"),
        identifiers=tuple(part for part in where[2:3] if part != "X"),
    )


def _is_coded(who: list[str]) -> bool:
    """Whether the patient's field has the subfields of EDF+; some writers fill them in without the mark EDF+C."""
    return len(who) >= 4 and who[1] in ("F", "M", "X") and (who[2] == "X" or _day(who[2]) is not None)


def _day(text: str) -> str | None:
    """ "02-MAY-1951" as ISO date."""
    return iso_time(text) if text[2:3] == "-" else None


def _start(head: bytes) -> str | None:
    """Date and time, from the header's own fields; EDF+ repeats the date with its century in the recording's field."""
    recording = head[88:168].decode("latin-1")
    clock = head[176:184].decode("latin-1").replace(".", ":")
    words = recording.split()
    stated = iso_time(words[1], clock) if len(words) > 1 and words[0] == "Startdate" else None
    if stated is not None:
        return stated
    day, _, rest = head[168:176].decode("latin-1").partition(".")
    month, _, year = rest.partition(".")
    if not (day.isdigit() and month.isdigit() and year.strip().isdigit()):
        return None
    century = 1900 if int(year) >= _CLIPPED_YEAR else 2000
    date = f"{century + int(year)}-{int(month):02d}-{int(day):02d}"
    return iso_time(date, clock) or iso_time(date)
