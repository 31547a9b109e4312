"""SCP-ECG files (EN 1064 / ISO 11073-91064, versions 1.x and 2.x).

Read: plain and Huffman-coded samples (the standard's table or the file's own), first and second differences, and
samples that are what is left after a reference beat was subtracted. Refused by name: bimodal compression, which no
sample file at hand uses. No library in Python reads the format.
"""

from __future__ import annotations

import binascii
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.assemble import MAX_SAMPLES, assemble, checked_rate, levelled
from ecgkin.retrieval.ecg.formats.huffman import Table, huffman, integrate, own_tables
from ecgkin.retrieval.ecg.header import (
    SourceHeader,
    age_at,
    band,
    iso_time,
    plain_text,
    plausible_age,
    report_lines,
    scale_note,
)
from ecgkin.retrieval.ecg.kinds import is_scp
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError, why

# Tags of section 1 (EN 1064, 5.4.3).
_LAST, _FIRST, _ID, _SECOND_LAST, _AGE, _BIRTH, _SEX, _DEVICE = 0, 1, 2, 3, 4, 5, 8, 14
_INSTITUTION, _DEPARTMENT, _REFERRING, _CONFIRMING, _TECHNICIAN, _ROOM = 16, 18, 20, 21, 22, 23
_DATE, _TIME, _HIGH_PASS, _LOW_PASS, _FILTERS, _SEQUENCE = 25, 26, 27, 28, 29, 31
_YEARS_PER = {1: 1.0, 2: 1 / 12, 3: 7 / 365.25, 4: 1 / 365.25, 5: 1 / 8766}  # years, months, weeks, days, hours
_MAX_STATEMENTS = 255


@dataclass(frozen=True, slots=True)
class Demographics:
    """Section 1.

    Attributes:
        patient_id, age_years, sex: As in `EcgRecord`.
        source: Everything else, without the report.
    """

    patient_id: str | None
    age_years: float | None
    sex: str | None
    source: SourceHeader

    def header(self, report: str) -> SourceHeader:
        """With the report of section 8."""
        return replace(self.source, report=report)


def demographics(body: bytes, form: str) -> Demographics:
    """What section 1 says; what is cut off or makes no sense is taken as not said.

    Args:
        body: The section behind its head.
        form: Format and version.

    Returns:
        Name, dates, age, sex, device and filters.
    """
    tags = dict(_tags(body))
    birth, when = _date(tags.get(_BIRTH, b"")), _date(tags.get(_DATE, b""))
    clock = tags.get(_TIME, b"")
    if when is not None and len(clock) == 3:
        when = iso_time(when, f"{clock[0]:02d}:{clock[1]:02d}:{clock[2]:02d}") or when
    age = _age(tags.get(_AGE, b""))
    name = " ".join(filter(None, (_text(tags.get(tag, b"")) for tag in (_FIRST, _LAST, _SECOND_LAST))))
    people = (_INSTITUTION, _DEPARTMENT, _REFERRING, _CONFIRMING, _TECHNICIAN, _ROOM)
    source = SourceHeader(
        form,
        patient_name=name,
        birth_date=birth,
        recorded_at=when,
        device=_device(tags.get(_DEVICE, b"")),
        filters=_filters(tags),
        people=tuple(filter(None, (_text(tags.get(tag, b"")) for tag in people))),
        identifiers=tuple(filter(None, [_text(tags.get(_SEQUENCE, b""))])),
    )
    sex = {1: "M", 2: "F"}.get(tags[_SEX][0]) if tags.get(_SEX) else None
    return Demographics(_text(tags.get(_ID, b"")) or None, age if age is not None else age_at(birth, when), sex, source)


def report_of(body: bytes) -> str:
    """The statements of section 8, one a line; what is cut off is left out."""
    if len(body) < 9:
        return ""
    lines, at = [], 9
    for _ in range(min(body[8], _MAX_STATEMENTS)):
        if at + 3 > len(body):
            break
        (size,) = struct.unpack_from("<H", body, at + 1)
        lines.append(_text(body[at + 3 : at + 3 + size], 500))
        at += 3 + size
    return report_lines(lines)


def _tags(body: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 3 <= len(body) and body[at] != 255:
        size = int.from_bytes(body[at + 1 : at + 3], "little")
        yield body[at], body[at + 3 : at + 3 + size]
        at += 3 + size


def _text(value: bytes, limit: int = 200) -> str:
    value = value.split(b"\0")[0]
    try:
        return plain_text(value.decode("utf-8"), limit)
    except UnicodeDecodeError:
        return plain_text(value.decode("latin-1"), limit)


def _date(value: bytes) -> str | None:
    if len(value) != 4:
        return None
    year, month, day = struct.unpack("<HBB", value)
    return iso_time(f"{year:04d}{month:02d}{day:02d}")


def _age(value: bytes) -> float | None:
    if len(value) != 3:
        return None
    amount, unit = struct.unpack("<HB", value)
    return plausible_age(amount * _YEARS_PER[unit]) if amount and unit in _YEARS_PER else None


def _device(value: bytes) -> str:
    """Model, from its fixed place in tag 14."""
    return _text(value[8:14])


def _filters(tags: dict[int, bytes]) -> str:
    high, low, others = (tags.get(tag, b"") for tag in (_HIGH_PASS, _LOW_PASS, _FILTERS))
    high_hz = int.from_bytes(high, "little") / 100 if len(high) == 2 else None  # in hundredths of a hertz
    low_hz = float(int.from_bytes(low, "little")) if len(low) == 2 else None
    bits = others[0] if others else 0
    return band(high_hz, low_hz, 60.0 if bits & 1 else None, 50.0 if bits & 2 else None)


MAX_BYTES = 100_000_000
_HEAD = 16  # bytes of a section before its body
_MAX_LEADS = 85  # lead codes of the standard's table
# Codes of the standard's lead table (EN 1064, table 7) for the leads that are drawn.
_LEADS = {1: "I", 2: "II", 3: "V1", 4: "V2", 5: "V3", 6: "V4", 7: "V5", 8: "V6", 61: "III", 62: "aVR", 63: "aVL",
          64: "aVF"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Rhythm:
    """Section 5 or 6."""

    step_uv: float
    fs_hz: float
    leads: tuple[NDArray[np.int64], ...]


def read_scp(path: str | os.PathLike[str]) -> EcgRecord:
    """Read an SCP-ECG file.

    Returns:
        All leads in mV with what the header says; leads that stop before the others are filled with NaN. A checksum
        that does not fit and samples that are not there are noted.

    Raises:
        RecordError: It is no SCP-ECG file, it is cut off, holds no rhythm data, or is packed in a way that is not read.
    """
    file = Path(path)
    raw = _bytes(file)
    notes: list[str] = []
    sections = _sections(raw, file.name)
    if 6 not in sections:
        some = ", ".join(str(number) for number in sections)
        raise RecordError(f"{file.name} holds no rhythm data (section 6; found sections {some or 'none'})")
    if binascii.crc_hqx(raw[2:], 0xFFFF) != int.from_bytes(raw[:2], "little"):
        notes.append("the checksum of the file does not fit its content")
    names, spans, flags = _lead_table(sections, file.name)
    tables = own_tables(sections[2], file.name) if 2 in sections else None
    counts = [last - first + 1 for first, last in spans]
    rhythm = _rhythm(sections[6], counts, tables, file.name, "section 6")
    mv = [row.astype(np.float64) * (rhythm.step_uv / 1000) for row in rhythm.leads]
    if flags & 1:
        _add_reference_beats(mv, spans, sections, tables, rhythm.fs_hz, file.name)
        notes.append("a reference beat had been subtracted: added again")
    short = [(name, row.size, n) for name, row, n in zip(names, mv, counts, strict=True) if row.size < n]
    if short:
        least = min(found for _, found, _ in short)
        notes.append(f"{len(short)} of {len(names)} leads are cut off: {least} of {short[0][2]} samples are there")
    starts = [first for first, _ in spans]
    if max(starts) - min(starts) > MAX_SAMPLES // len(starts):
        raise RecordError(f"{file.name}: leads begin {max(starts) - min(starts)} samples apart")
    # Leads that begin later than the first one have nothing before.
    rows = [
        np.pad(row, (first - min(starts), 0), constant_values=np.nan) for row, first in zip(mv, starts, strict=True)
    ]
    who = demographics(sections.get(1, b""), f"SCP-ECG {_version(raw)}")
    header = who.header(report_of(sections.get(8, b"")))
    notes.insert(0, scale_note(header.format, rhythm.step_uv, rhythm.fs_hz, header.filters))
    channels = [(name, row.astype(np.float32)) for name, row in zip(names, rows, strict=True)]
    return assemble(
        levelled(channels),
        rhythm.fs_hz,
        where=file.name,
        record_id=file.stem,
        patient_id=who.patient_id,
        age_years=who.age_years,
        sex=who.sex,
        notes=notes,
        header=header,
    )


def _bytes(file: Path) -> bytes:
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise RecordError(f"{file.name} has {size} bytes (at most {MAX_BYTES} are read as SCP-ECG)")
        raw = file.read_bytes()
    except (OSError, ValueError) as error:
        raise RecordError(f"{str(file)!r} cannot be read: {why(error)}") from error
    if not is_scp(raw):
        raise RecordError(f"{file.name} is no SCP-ECG file (its section 0 is not where it must be)")
    (stated,) = struct.unpack_from("<I", raw, 2)
    if stated > len(raw):
        raise RecordError(
            f"{file.name} is cut off: {len(raw)} of {stated} bytes", hint="fetch or export the recording again"
        )
    return raw


def _version(raw: bytes) -> str:
    version = raw[14]  # byte 9 of section 0: 13 is 1.3, 20 is 2.0
    return f"{version // 10}.{version % 10}" if 10 <= version < 100 else "of unknown version"


def _sections(raw: bytes, where: str) -> dict[int, bytes]:
    """Bodies of the sections that are there, by number."""
    (length,) = struct.unpack_from("<I", raw, 10)
    found: dict[int, bytes] = {}
    for at in range(6 + _HEAD, min(6 + length, len(raw)) - 9, 10):
        number, size, index = struct.unpack_from("<HII", raw, at)
        if size <= _HEAD or number == 0:
            continue
        if index < 1 or index - 1 + size > len(raw):
            raise RecordError(f"{where}: section {number} reaches beyond the end of the file")
        if struct.unpack_from("<H", raw, index + 1)[0] != number:
            raise RecordError(f"{where}: section {number} is not where the table says")
        found[number] = raw[index - 1 + _HEAD : index - 1 + size]
    return found


def _lead_table(sections: dict[int, bytes], where: str) -> tuple[list[str], list[tuple[int, int]], int]:
    """Names, first and last sample of each lead, flags."""
    body = sections.get(3, b"")
    if len(body) < 2 or not 1 <= body[0] <= _MAX_LEADS or len(body) < 2 + 9 * body[0]:
        raise RecordError(f"{where}: section 3 (leads) is missing or cut off")
    names, spans = [], []
    for k in range(body[0]):
        first, last, code = struct.unpack_from("<IIB", body, 2 + 9 * k)
        if first == 0:  # some writers count from 0 and give the number of samples as the last one
            first = 1
        if not first <= last <= MAX_SAMPLES:
            raise RecordError(f"{where}: lead {k + 1} goes from sample {first} to {last}")
        names.append(_LEADS.get(code, f"SCP lead {code}"))
        spans.append((first, last))
    if sum(last - first + 1 for first, last in spans) > MAX_SAMPLES:
        raise RecordError(f"{where}: the leads hold more than {MAX_SAMPLES} samples")
    return names, spans, body[1]


def _rhythm(body: bytes, counts: list[int], tables: tuple[Table, ...] | None, where: str, what: str) -> _Rhythm:
    n = len(counts)
    if len(body) < 6 + 2 * n:
        raise RecordError(f"{where}: {what} is cut off")
    step_nv, interval_us, order, bimodal = struct.unpack_from("<HHBB", body)
    if step_nv == 0 or interval_us == 0:
        raise RecordError(f"{where}: {what} has steps of {step_nv} nV every {interval_us} us (expected above 0)")
    if order > 2:
        raise RecordError(f"{where}: {what} holds differences of order {order} (read: 0, 1, 2)")
    if bimodal and what == "section 6":
        raise RecordError(f"{where}: bimodal compression is not read", hint="export the recording without it")
    sizes = struct.unpack_from(f"<{n}H", body, 6)
    at, leads = 6 + 2 * n, []
    for size, count in zip(sizes, counts, strict=True):
        data = body[at : at + size]
        at += size
        if tables is None:
            values = np.frombuffer(data[: len(data) // 2 * 2], dtype="<i2")[:count].astype(np.int64)
        else:
            values = huffman(data, count, tables, f"{where}, {what}")
        leads.append(integrate(values, order))
    return _Rhythm(step_nv / 1000, checked_rate(1e6 / interval_us, where), tuple(leads))


def _add_reference_beats(
    mv: list[NDArray[np.float64]],
    spans: list[tuple[int, int]],
    sections: dict[int, bytes],
    tables: tuple[Table, ...] | None,
    fs_hz: float,
    where: str,
) -> None:
    """Put the beat of section 5 back where section 4 says that it was taken out."""
    body = sections.get(4, b"")
    if len(body) < 6 or 5 not in sections:
        raise RecordError(f"{where}: a reference beat was subtracted, but sections 4 and 5 do not hold it")
    length_ms, fiducial, n_beats = struct.unpack_from("<HHH", body)
    if len(body) < 6 + 14 * n_beats:
        raise RecordError(f"{where}: section 4 (places of the beats) is cut off")
    beat = _rhythm(sections[5], [round(length_ms * fs_hz / 1000)] * len(mv), tables, where, "section 5")
    if not np.isclose(beat.fs_hz, fs_hz):
        raise RecordError(f"{where}: the reference beat has {beat.fs_hz:g} Hz, the rhythm {fs_hz:g} Hz")
    for k in range(n_beats):
        kind, first, place, last = struct.unpack_from("<HIII", body, 6 + 14 * k)
        if kind != 0:  # only beats of type 0 are like the reference
            continue
        for row, values, (begin, _) in zip(mv, beat.leads, spans, strict=True):
            # All counted from 1: sample `place` is the reference's sample `fiducial`.
            low = max(first, place - fiducial + 1, begin)
            high = min(last, place - fiducial + values.size, begin + row.size - 1)
            if low <= high:
                source = values[low - place + fiducial - 1 : high - place + fiducial]
                row[low - begin : high - begin + 1] += source * (beat.step_uv / 1000)
