"""MFER (ISO 22077-1), the Japanese standard of carts, monitors and recorders (Nihon Kohden, Fukuda Denshi, Suzuken).

A file is a chain of tags, each with length and value; those before the waveform say how it is laid out, those for a
single channel stand inside of tag 63. Not read: compressed waveforms, samples other than whole numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.assemble import MAX_SAMPLES, assemble, checked_rate, levelled
from ecgkin.retrieval.ecg.formats.groups import Group, merged
from ecgkin.retrieval.ecg.header import SourceHeader, age_at, iso_time, plain_text, plausible_age, scale_note
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError, why

MAX_BYTES = 200_000_000
_MAX_TAGS = 100_000
_MAX_CHANNELS = 128
# Tags (ISO 22077-1, annex A).
_BYTE_ORDER, _BLOCK, _CHANNELS, _SEQUENCES, _LEAD, _TYPE, _INTERVAL, _SENSITIVITY = 1, 4, 5, 6, 9, 10, 11, 12
_OFFSET, _NULL, _FILTER, _COMPRESSION, _MAKER, _WAVE, _ATTRIBUTE, _END = 13, 14, 17, 18, 23, 30, 63, 128
_NAME, _ID, _AGE, _SEX, _TIME = 129, 130, 131, 132, 133
_DTYPES = {0: "i2", 1: "u2", 2: "i4", 3: "u1", 5: "i1", 6: "u4"}
# Lead codes of the standard are those of SCP-ECG.
_LEADS = {1: "I", 2: "II", **{k + 2: f"V{k}" for k in range(1, 7)}, 61: "III", 62: "aVR", 63: "aVL", 64: "aVF"}
_VOLT = 0
_LEAST = 1e-6  # of a rate in Hz or an interval in s; beyond it the field is damaged


@dataclass(frozen=True, slots=True)
class _Layout:
    """How samples are stored: what is said for all channels, or for one."""

    block: int = 1
    dtype: int = 0
    interval_s: float = 1e-3  # the standard's own value where none is given: 1,000 Hz
    step_v: float | None = None
    offset: int = 0
    null: int | None = None
    lead: str = ""


@dataclass(slots=True)
class _Frame:
    """A stretch of waveform with the layouts of its channels."""

    data: bytes
    channels: list[_Layout]


@dataclass(slots=True)
class _Content:
    frames: list[_Frame] = field(default_factory=list)
    said: dict[int, bytes] = field(default_factory=dict)
    order: str = ">"


def read_mfer(path: str | os.PathLike[str]) -> EcgRecord:
    """Read an MFER file.

    Returns:
        The leads in mV; channels at other rates than the longest ones are resampled and noted.

    Raises:
        RecordError: It is no MFER file, cut off, compressed, of a kind of samples that is not read, or without leads.
    """
    file = Path(path)
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise RecordError(f"{file.name} has {size} bytes (at most {MAX_BYTES} are read as MFER)")
        raw = file.read_bytes()
    except (OSError, ValueError) as error:
        raise RecordError(f"{str(file)!r} cannot be read: {why(error)}") from error
    content = _content(raw, file.name)
    if not content.frames:
        raise RecordError(f"{file.name} holds no waveform (tag {_WAVE})", hint="is it an MFER file, and complete?")
    notes: list[str] = []
    frame = max(content.frames, key=lambda f: len(f.data))
    if len(content.frames) > 1:
        notes.append(f"{len(content.frames)} stretches in the file: the longest is used")
    groups, steps_uv = _groups(frame, content.order, file.name, notes)
    channels, fs_hz = merged(groups, file.name, notes)
    header = _header(content)
    notes.insert(0, scale_note(header.format, steps_uv, fs_hz, header.filters))
    age = content.said.get(_AGE, b"")
    years = plausible_age(float(age[0])) if age and age[0] < 150 else None
    sex = content.said.get(_SEX, b"")
    return assemble(
        levelled(channels),
        fs_hz,
        where=file.name,
        record_id=file.stem,
        patient_id=_text(content.said.get(_ID, b"")) or None,
        age_years=years if years else age_at(header.birth_date, header.recorded_at),
        sex={1: "M", 2: "F"}.get(sex[0]) if sex else None,
        notes=notes,
        header=header,
    )


def _tags(raw: bytes, where: str) -> Iterator[tuple[int, int, bytes]]:
    """(tag, channel of tag 63 or -1, value)."""
    at = 0
    for _ in range(_MAX_TAGS):
        if at >= len(raw) or raw[at] == _END:
            return
        tag, channel = raw[at], -1
        at += 1
        if tag == 0:  # filling
            continue
        if tag == _ATTRIBUTE and at < len(raw):
            channel, at = raw[at], at + 1
            if channel & 0x80:
                raise RecordError(f"{where}: channel numbers above 127 are not read")
        if at >= len(raw):
            return
        size, at = raw[at], at + 1
        if size & 0x80:
            width = size & 0x7F
            if not 1 <= width <= 4:
                raise RecordError(f"{where}: tag {tag} has a length that is not read (of {width} bytes)")
            size, at = int.from_bytes(raw[at : at + width], "big"), at + width
        if at + size > len(raw):
            raise RecordError(f"{where} is cut off in tag {tag}: {len(raw) - at} of {size} bytes")
        yield tag, channel, raw[at : at + size]
        at += size
    raise RecordError(f"{where} holds more than {_MAX_TAGS} tags")


def _content(raw: bytes, where: str) -> _Content:
    content = _Content()
    common: dict[int, bytes] = {}
    single: dict[int, dict[int, bytes]] = {}
    for tag, channel, value in _tags(raw, where):
        if tag == _BYTE_ORDER and value:
            content.order = "<" if value[0] else ">"
        elif tag == _ATTRIBUTE:
            for inner, _, said in _tags(value, where):
                single.setdefault(channel, {})[inner] = said
        elif tag == _COMPRESSION and value and value[0]:
            raise RecordError(f"{where}: the waveform is compressed (method {value[0]}), which is not read")
        elif tag == _WAVE:
            n = _integer(common.get(_CHANNELS, b"\1"), content.order)
            if not 1 <= n <= _MAX_CHANNELS:
                raise RecordError(f"{where} declares {n} channels (expected 1 to {_MAX_CHANNELS})")
            layouts = [_layout({**common, **single.get(k, {})}, content.order, where) for k in range(n)]
            content.frames.append(_Frame(value, layouts))
        else:
            common[tag] = value
            content.said[tag] = value
    return content


def _layout(said: dict[int, bytes], order: str, where: str) -> _Layout:
    unit, interval = _scaled(said.get(_INTERVAL, b""), order)
    if interval is not None and not _LEAST < interval < 1 / _LEAST:
        raise RecordError(f"{where}: sampling rate or interval is {interval:g}")
    interval_s = 1e-3 if interval is None else 1 / interval if unit == 0 else interval
    measure, step = _scaled(said.get(_SENSITIVITY, b""), order)
    code = said.get(_LEAD, b"")
    number = _integer(code[:2], order) if code else 0
    words = _text(code[2:])
    null = said.get(_NULL, b"")
    return _Layout(
        block=_integer(said.get(_BLOCK, b"\1"), order),
        dtype=said.get(_TYPE, b"\0")[0] if said.get(_TYPE) else 0,
        interval_s=interval_s,
        step_v=step if measure == _VOLT else None,
        offset=_integer(said.get(_OFFSET, b""), order, signed=True),
        null=_integer(null, order, signed=True) if null else None,
        lead=_LEADS.get(number) or words or f"MFER lead {number}",
    )


def _groups(frame: _Frame, order: str, where: str, notes: list[str]) -> tuple[list[Group], list[float]]:
    """Channels by their rates, and the steps in uV of the leads."""
    widths = []
    for layout in frame.channels:
        if layout.dtype not in _DTYPES:
            raise RecordError(f"{where}: samples are of type {layout.dtype} (read: {', '.join(map(str, _DTYPES))})")
        if not 1 <= layout.block <= MAX_SAMPLES:
            raise RecordError(f"{where}: a block holds {layout.block} samples")
        widths.append(layout.block * np.dtype(_DTYPES[layout.dtype]).itemsize)
    n_sequences = len(frame.data) // sum(widths)
    if n_sequences < 1:
        raise RecordError(f"{where} is cut off: {len(frame.data)} of {sum(widths)} bytes of a sequence")
    if n_sequences * sum(layout.block for layout in frame.channels) > MAX_SAMPLES:
        raise RecordError(f"{where} holds more than {MAX_SAMPLES} samples")
    table = np.frombuffer(frame.data, np.uint8, n_sequences * sum(widths)).reshape(n_sequences, sum(widths))
    by_rate: dict[float, list[tuple[str, NDArray[np.float32]]]] = {}
    steps: list[float] = []
    at = 0
    for layout, width in zip(frame.channels, widths, strict=True):
        raw = np.ascontiguousarray(table[:, at : at + width]).view(f"{order}{_DTYPES[layout.dtype]}").ravel()
        at += width
        if layout.step_v is None or not 0 < abs(layout.step_v) < 1:
            notes.append(f"channel {layout.lead!r} has no scale in volts: left out")
            continue
        if layout.offset:
            notes.append(f"channel {layout.lead!r}: the file states an offset of {layout.offset}, which is left in")
        mv = (raw.astype(np.float64) * (layout.step_v * 1000)).astype(np.float32)
        limits = np.iinfo(raw.dtype)
        if layout.null in (limits.min, limits.max):  # zero is declared by some and is a sample
            mv[raw == layout.null] = np.nan
        steps.append(abs(layout.step_v) * 1e6)
        by_rate.setdefault(checked_rate(1 / layout.interval_s, where), []).append((layout.lead, mv))
    if not by_rate:
        raise RecordError(f"{where}: no channel is in volts: {'; '.join(notes[:4])}")
    return [Group(levelled(rows), fs_hz, 0.0) for fs_hz, rows in by_rate.items()], steps


def _integer(value: bytes, order: str, *, signed: bool = False) -> int:
    return int.from_bytes(value, "little" if order == "<" else "big", signed=signed) if value else 0


def _scaled(value: bytes, order: str) -> tuple[int, float | None]:
    """Unit, and mantissa times ten to the exponent; None where nothing is said."""
    if len(value) < 3:
        return 0, None
    exponent = int.from_bytes(value[1:2], "big", signed=True)
    return value[0], float(f"{_integer(value[2:10], order, signed=True)}e{exponent}")


def _text(value: bytes) -> str:
    """Text in UTF-8, or as Japanese Windows writes it."""
    for encoding in ("utf-8", "cp932"):
        try:
            return plain_text(value.split(b"\0")[0].decode(encoding))
        except UnicodeDecodeError:
            continue
    return plain_text(value.split(b"\0")[0].decode("latin-1"))


def _header(content: _Content) -> SourceHeader:
    said, order = content.said, content.order
    stamp, born = said.get(_TIME, b""), said.get(_AGE, b"")
    when = None
    if len(stamp) >= 7:
        year = _integer(stamp[:2], order)
        clock = f"{stamp[4]:02d}:{stamp[5]:02d}:{stamp[6]:02d}"
        when = iso_time(f"{year:04d}-{stamp[2]:02d}-{stamp[3]:02d}", clock)
    birth = None
    if len(born) >= 7:
        birth = iso_time(f"{_integer(born[3:5], order):04d}-{born[5]:02d}-{born[6]:02d}")
    return SourceHeader(
        "MFER",
        patient_name=_text(said.get(_NAME, b"")).replace("^", " ").strip(),
        birth_date=birth,
        recorded_at=when,
        device=_text(said.get(_MAKER, b"")).replace("^", " "),
        filters=_text(said.get(_FILTER, b"")),
    )
