"""Who and what an SCP-ECG file is about: section 1 (patient and recording) and section 8 (interpretation)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ecgkin.retrieval.ecg.header import SourceHeader, age_at, band, iso_time, plain_text, plausible_age, report_lines

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
