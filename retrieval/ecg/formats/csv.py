"""ECGs in text tables: commas, semicolons, tabs or blanks; with or without names, units, a time column, a stated unit.

Nothing is guessed in silence: an assumed unit or order of columns is in the record's notes, and a rate that no column
and no argument gives is an error. The one-lead export of a watch, a list of numbers below its facts, is read by
`watch_export`.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.assemble import MAX_SAMPLES, assemble, checked_rate, millivolts_per
from ecgkin.retrieval.ecg.formats.stated import RATE_HINT, UNITS_HINT, stated_rate, stated_scale
from ecgkin.retrieval.ecg.formats.watch_export import Export, export_in
from ecgkin.retrieval.ecg.header import SourceHeader, iso_time
from ecgkin.retrieval.ecg.leads import LEADS, foreign_letters, signed_lead
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RateUnknownError, RecordError, why

MAX_BYTES = 500_000_000
_MAX_PREAMBLE = 100  # lines before the table
_LONGEST_NAME = 100  # characters of a column's name that are looked at
_EMPTY = frozenset({"", "nan", "na", "n/a", "null", "none", "-", "inf", "-inf", "+inf"})
_TIME_NAMES = frozenset(
    "time t zeit timestamp zeitstempel datetime sekunden seconds sec s ms us \u00b5s elapsed elapsedtime timestamps "
    "datumzeit millis milliseconds millisekunden microseconds uhrzeit clock temps tiempo tempo tijd tid czas epoch "
    "время 时间 時間 시간".split()
)
_INDEX_NAMES = frozenset("index idx sample samples samplenumber sampleno nr no n # row zeile".split()) | {""}
_SECONDS_PER = {
    **dict.fromkeys("s sec secs second seconds sek sekunde sekunden".split(), 1.0),
    **dict.fromkeys("ms msec millisecond milliseconds millisekunden millis".split(), 1e-3),
    **dict.fromkeys("us \u00b5s \u03bcs usec microsecond microseconds mikrosekunden micros".split(), 1e-6),
    **dict.fromkeys("ns nsec nanoseconds".split(), 1e-9),
    **dict.fromkeys("min minutes minuten".split(), 60.0),
}
# From which numbers on a column without a unit counts from 1970, of dates after 2001.
_SINCE_1970 = (("ns", 1e18), ("us", 1e15), ("ms", 1e12), ("s", 1e9))
_CLOCK_UNITS = frozenset({"hh:mm:ss", "hh:mm:ss.mmm", "mm:ss.mmm", "h:mm:ss", "hh:mm:ss.sss", "mm:ss"})
_NUMBER = re.compile(r"[-+\u2212]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][-+]?\d+)?\Z")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?\Z")
# "0:00.004", "10:30:00,004", "2020-01-02 10:30:00.004Z", "02.01.2020 10:30:00"
_CLOCK = re.compile(
    r"(?:(\d{1,4}[-./]\d{1,2}[-./]\d{1,4})[T ])?(?:(\d{1,3}):)?(\d{1,2}):(\d{2})"
    r"(?:[.,](\d{1,9}))?(?:Z|[+-]\d{2}:?\d{2})?\Z"
)
_EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
# A twelve-lead ECG spans 1 to 5 mV from peak to peak, 1,000 to 5,000 as uV: anything above this is no mV.
_MV_SPAN = 20.0
_UNEVEN = 0.05  # share of a step by which single steps of a time column may differ (rounded to ms at 500 Hz and more)


@dataclass(slots=True)
class _Table:
    names: list[str] | None
    units: list[str] | None
    values: NDArray[np.float64]
    preamble: list[str]
    notes: list[str]
    clocks: set[int] = field(default_factory=set)
    begin: str | None = None


def read_csv(
    path: str | os.PathLike[str], *, fs_hz: float | None = None, units: Literal["mV", "uV", "V"] | None = None
) -> EcgRecord:
    """Read a text table with one lead a column (or one a row), or the export of a watch.

    Args:
        path: The file. UTF-8, UTF-16 with mark, or Latin-1; lines that start with # are comments.
        fs_hz: Samples a second; needed when there is neither a time column nor a line that states the rate.
        units: Unit of the values; otherwise what the column names or the line below them say ("V1 (uV)"), otherwise
            what the lines before the table say (`stated`), otherwise mV, or uV where the values are too large for mV
            (both noted).

    Returns:
        The record in mV. Without names, 12 columns are taken as the standard order and 8 as I, II, V1 to V6 (noted).

    Raises:
        RecordError: No table of numbers, a cell that is no number (with its line), columns that cannot be told apart,
            no rate or scale, or more than one, uneven time steps, a unit of time or voltage that is none, more than
            `MAX_BYTES`.
    """
    file = Path(path)
    text = _text(file)
    export = export_in(text, file.name)
    if export is not None:
        return _of_watch(export, fs_hz, units, file)
    table = _parse(text, file.name)
    names, values, notes = table.names, table.values, table.notes
    if names is None and values.shape[0] in (8, 12) and values.shape[1] > 50:
        values = values.T
        notes.append("one lead a row: table turned")
    names, values, rate, unit_of = _columns(table, names, values, file.name)
    declared: float | None = None
    try:
        declared = stated_rate(table.preamble, file.name)
    except RecordError as error:
        if fs_hz is None and rate is None:
            raise
        notes.append(str(error))
    used = fs_hz if fs_hz is not None else rate if rate is not None else declared
    if used is None:
        raise RateUnknownError(f"{file.name} does not say its sampling rate", hint=f"{RATE_HINT}; or add a time column")
    for source, other in (("time column", rate), ("preamble", declared)):
        if other is not None and abs(other - used) > 0.01 * used:
            notes.append(f"the {source} says {other:g} Hz, {used:g} Hz is used")
    factors = _factors(units, unit_of, table.preamble, values, notes, file.name)
    with np.errstate(over="ignore"):  # what no float32 holds becomes infinite, as in WFDB files
        channels = [(name, (values[:, k] * factors[k]).astype(np.float32)) for k, name in enumerate(names)]
    header = SourceHeader("CSV", recorded_at=table.begin) if table.begin else None
    return assemble(
        channels, checked_rate(used, file.name), where=file.name, record_id=file.stem, notes=notes, header=header
    )


def _of_watch(export: Export, fs_hz: float | None, units: str | None, file: Path) -> EcgRecord:
    rate = fs_hz if fs_hz is not None else export.fs_hz
    if rate is None:
        raise RateUnknownError(f"{file.name} does not say its sampling rate", hint=RATE_HINT)
    factor = millivolts_per(units or export.unit)
    if factor is None:
        raise RecordError(f"{file.name}: unit {export.unit!r} is no voltage", hint=UNITS_HINT)
    with np.errstate(over="ignore"):
        row = (np.asarray(export.values) * factor).astype(np.float32)
    return assemble(
        [(export.lead, row)],
        checked_rate(rate, file.name),
        where=file.name,
        record_id=file.stem,
        age_years=export.age_years,
        header=export.header,
    )


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecordError(f"{path.name} has {path.stat().st_size} bytes (at most {MAX_BYTES} are read)")
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        raise RecordError(f"{str(path)!r} cannot be read: {why(error)}") from error
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", errors="replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _cells(line: str, delimiter: str | None) -> list[str]:
    """The cells of a line, without blanks and quotation marks around them."""
    if delimiter is not None and ('"' in line or "'" in line):
        quote = min((mark for mark in "\"'" if mark in line), key=line.index)
        try:
            (cells,) = csv.reader([line], delimiter=delimiter, quotechar=quote, skipinitialspace=True)
        except (csv.Error, ValueError):
            cells = line.split(delimiter)
        return [cell.strip().strip("\"'").strip() for cell in cells]
    return [cell.strip().strip("\"'").strip() for cell in line.split(delimiter)]


def _delimiter(lines: list[str]) -> str | None:
    """The separator of the table, told from a line in its middle; None for blanks."""
    line = lines[len(lines) // 2]
    for candidate in ("\t", ";"):
        if candidate in line:
            return candidate
    if "," not in line:
        return None
    words = line.split()
    # Decimal commas between blanks: "0,032 0,078".
    return None if len(words) > 1 and all(_NUMBER.match(word) for word in words) else ","


def _is_data(cells: list[str]) -> bool:
    numbers = sum(bool(_NUMBER.match(cell)) for cell in cells)
    clocks = sum(bool(_CLOCK.match(cell)) for cell in cells if ":" in cell)
    empty = sum(cell.lower() in _EMPTY for cell in cells if not _NUMBER.match(cell))
    return numbers > 0 and clocks <= 1 and numbers + clocks + empty == len(cells)


def _is_units(cells: list[str]) -> bool:
    """Whether a line holds nothing but units, one a column."""
    said = [cell for cell in (cell.strip("()[] ") for cell in cells) if cell]
    return bool(said) and all(
        cell.lower() in _SECONDS_PER
        or cell.lower() in _CLOCK_UNITS
        or cell.lower() in ("hz", "bpm", "nu", "n/a", "-", "#")
        or millivolts_per(cell) is not None
        for cell in said
    )


def _parse(text: str, where: str) -> _Table:
    lines = [(k, line) for k, line in enumerate(text.splitlines(), 1) if line.strip()]
    comments = [line for _, line in lines if line.lstrip().startswith("#")][:_MAX_PREAMBLE]
    lines = [(k, line) for k, line in lines if not line.lstrip().startswith("#")]
    if not lines:
        raise RecordError(f"{where} is empty")
    delimiter = _delimiter([line for _, line in lines])
    rows = [(k, _cells(line, delimiter)) for k, line in lines]
    first = next((i for i, (_, cells) in enumerate(rows[:_MAX_PREAMBLE]) if _is_data(cells)), None)
    if first is None:
        raise RecordError(f"{where} holds no table of numbers (first line {lines[0][1][:60]!r})")
    width = len(rows[first][1])
    header = rows[first - 1][1] if first and len(rows[first - 1][1]) == width else None
    units: list[str] | None = None
    if header is not None and _is_units(header):
        above = rows[first - 2][1] if first > 1 and len(rows[first - 2][1]) == width else None
        units = [cell.strip("()[] ") for cell in header]
        header = above
    named_rows = (header is not None) + (units is not None)
    preamble = [*comments, *(line for _, line in lines[: max(0, first - named_rows)])]
    if (len(rows) - first) * width > MAX_SAMPLES:
        raise RecordError(f"{where} holds more than {MAX_SAMPLES} values")
    notes: list[str] = []
    # A trailing separator makes one empty column too many.
    no_last = width > 1 and not any(cells[-1] for _, cells in rows[first : first + 50] if len(cells) == width)
    if no_last and (not header[-1] if header is not None else width in (len(LEADS) + 1, len(_EIGHT) + 1)):
        width -= 1
        header = header[:width] if header is not None else None
        units = units[:width] if units is not None else None
    clocks = {k for k, cell in enumerate(rows[first][1][:width]) if ":" in cell}
    thousands = _by_thousands([cells for _, cells in rows[first : first + 500]], notes)
    begin = next((iso_time(rows[first][1][k], day_first=True) for k in sorted(clocks)), None)
    origin = datetime.fromisoformat(begin[:10]) if begin else datetime(2000, 1, 1)
    values = np.empty((len(rows) - first, width))
    last = len(rows) - 1
    for i, (number, cells) in enumerate(rows[first:]):
        if len(cells) < width and first + i == last and i > 0:
            notes.append(f"line {number} is cut off: left out")
            values = values[:i]
            break
        if len(cells) < width or any(cells[width:]):
            raise RecordError(f"{where} line {number} has {len(cells)} columns (expected {width})")
        try:
            values[i] = [
                _seconds(cell, origin) if k in clocks else _number(cell, thousands)
                for k, cell in enumerate(cells[:width])
            ]
        except ValueError as error:
            raise RecordError(f"{where} line {number}: {error}") from None
    for k in clocks:  # past midnight a clock begins anew
        values[:, k] += 86_400.0 * np.cumsum(np.diff(values[:, k], prepend=values[:1, k]) < -43_200.0)
    return _Table(header, units, values, preamble, notes, clocks, begin)


def _by_thousands(rows: list[list[str]], notes: list[str]) -> bool:
    """Whether commas inside cells separate thousands: "1,234.5", or "1,234" beside "987" without any decimals."""
    commas = [cell for cells in rows for cell in cells if "," in cell]
    if not commas or not all(_THOUSANDS.match(cell) for cell in commas):
        return False
    if any("." in cell for cell in commas):
        return True
    others = [cell for cells in rows for cell in cells if cell and "," not in cell]
    if any(cell.lstrip("-+").startswith("0") for cell in commas) or not others or any("." in cell for cell in others):
        return False
    notes.append("commas in numbers are taken as marks of thousands")
    return True


def _number(cell: str, thousands: bool = False) -> float:
    if cell.lower() in _EMPTY:
        return math.nan
    if thousands:
        cell = cell.replace(",", "")
    if not _NUMBER.match(cell):
        raise ValueError(f"{cell[:30]!r} is no number")
    return float(cell.replace(",", ".").replace("\u2212", "-"))


def _seconds(cell: str, origin: datetime) -> float:
    """Seconds of a clock time, or of a time stamp since the begin of a day."""
    match = _CLOCK.match(cell)
    if match is None:
        raise ValueError(f"{cell[:30]!r} is no time")
    date, hours, minutes, seconds, fraction = match.groups()
    days = 0.0
    if date is not None:
        day = iso_time(date, day_first=True)
        if day is None:
            raise ValueError(f"{cell[:30]!r} is no time")
        days = (datetime.fromisoformat(day) - origin).days
    return 86_400 * days + 3600 * int(hours or 0) + 60 * int(minutes) + int(seconds) + float(f"0.{fraction or 0}")


def _columns(
    table: _Table, names: list[str] | None, values: NDArray[np.float64], where: str
) -> tuple[list[str], NDArray[np.float64], float | None, list[str | None]]:
    """Lead names, their values, the rate of a time column, and the unit each name or the line below it states."""
    rate: float | None = None
    notes = table.notes
    if names is None:
        width = values.shape[1]
        clock = min(table.clocks, default=None)
        if clock == 0 or (width in (len(LEADS) + 1, len(_EIGHT) + 1) and _rises(values[:, 0])):
            rate = _rate_of(values[:, 0], "s" if clock == 0 else "", where, notes)
            values, width = values[:, 1:], width - 1
        order = {len(LEADS): LEADS, len(_EIGHT): _EIGHT}.get(width)
        if order is None:
            raise RecordError(f"{where} has {width} columns without names", hint="add a first line with lead names")
        notes.append(f"columns carry no names: taken as {', '.join(order)}")
        below = table.units[-width:] if table.units is not None and len(table.units) >= width else [""] * width
        return list(order), values, rate, [unit or None for unit in below]
    plain, stated = (list(part) for part in zip(*(_split_unit(name) for name in names), strict=True))
    if table.units is not None:
        stated = [said or below or None for said, below in zip(stated, table.units, strict=True)]
    keep: list[int] = []
    foreign = ""
    for k, name in enumerate(plain):
        word = name.lower().replace(" ", "").replace("_", "").replace("-", "")
        if signed_lead(name)[0] is not None:
            keep.append(k)
        elif (word in _TIME_NAMES or k in table.clocks) and rate is None:
            unit = "s" if k in table.clocks else stated[k] or (name if name.lower() in _SECONDS_PER else "")
            rate = _rate_of(values[:, k], unit, where, notes)
        elif word not in _INDEX_NAMES:
            letters = foreign_letters(name)
            told = f" (spelled with letters that are not Latin: {letters})" if letters else ""
            notes.append(f"column {name!r} is none of the twelve leads{told}: left out")
            foreign = foreign or told
    if not keep:
        raise RecordError(
            f"{where}: no column is a standard lead (found {', '.join(map(repr, plain[:15]))}){foreign}",
            hint=f"expected {', '.join(LEADS)}",
        )
    return [plain[k] for k in keep], values[:, keep], rate, [stated[k] for k in keep]


def _split_unit(name: str) -> tuple[str, str | None]:
    """ "V1 (uV)" -> ("V1", "uV"), "time_ms" -> ("time", "ms")."""
    name = name[:_LONGEST_NAME].strip()
    if name.endswith((")", "]")):
        at = max(name.rfind("("), name.rfind("["))
        if at > 0:
            return name[:at].strip(" _"), name[at + 1 : -1].strip()
        return name, None
    at = max(name.rfind(mark) for mark in " _/")
    last = name[at + 1 :].lower()
    if at > 0 and (last in _SECONDS_PER or (last.endswith("v") and millivolts_per(last) is not None)):
        return name[:at].removesuffix(" in").strip(" _/"), name[at + 1 :]
    return name, None


def _rises(column: NDArray[np.float64]) -> bool:
    return column.size > 2 and bool(np.all(np.diff(column) > 0))


def _rate_of(column: NDArray[np.float64], unit: str, where: str, notes: list[str]) -> float | None:
    """Rate from a time column; None for a mere counter of samples.

    Raises:
        RecordError: It does not rise, or its steps differ.
    """
    if column.size < 2 or np.isnan(column).all():
        return None
    if not np.isfinite(column).all() or not _rises(column):
        raise RecordError(
            f"{where}: the time column does not rise throughout", hint=f"drop the column, and {RATE_HINT}"
        )
    step = float((column[-1] - column[0]) / (column.size - 1))
    if not unit and (since := next((u for u, least in _SINCE_1970 if column[0] > least), "")):
        unit = since
        notes.append(f"the time column counts from 1970: taken as {unit}")
    known = _SECONDS_PER.get(unit.strip().lower())
    coarse = 1.01e-3 if known in (1.0, None) and step < 0.5 else 1.01  # stamps are rounded to milliseconds, or to units
    if float(np.abs(np.diff(column) - step).max()) > max(_UNEVEN * step, coarse):
        raise RecordError(f"{where}: the steps of the time column differ (mean {step:g})", hint="resample it first")
    if unit:
        if known is None:
            raise RecordError(
                f"{where}: unit {unit[:20]!r} of the time column is none of time (expected s, ms or us)",
                hint=f"drop the column, and {RATE_HINT}",
            )
        return 1.0 / (step * known)
    if step == 1.0:
        notes.append("a column that counts 1, 2, 3 is taken as sample number")
        return None
    assumed = "ms" if step >= 0.5 else "s"
    notes.append(f"unit of the time column not stated: taken as {assumed}")
    return (1000.0 if assumed == "ms" else 1.0) / step


def _factors(
    units: str | None,
    stated: list[str | None],
    preamble: Sequence[str],
    values: NDArray[np.float64],
    notes: list[str],
    where: str,
) -> list[float]:
    """Factor to mV of each column."""
    if units is not None:
        factor = millivolts_per(units)
        if factor is None:
            raise RecordError(f"units is {units!r} (expected mV, uV or V)")
        return [factor] * len(stated)
    known = [None if unit is None else millivolts_per(unit) for unit in stated]
    for unit, factor in zip(stated, known, strict=True):
        if unit is not None and factor is None:
            raise RecordError(f"{where}: unit {unit!r} in a column name is no voltage", hint=UNITS_HINT)
    if all(factor is not None for factor in known):
        return [factor for factor in known if factor is not None]
    scale = stated_scale(preamble, where)
    if scale is not None:
        factor, words = scale
        notes.append(f"unit of the values as the lines before the table say: {words}")
        return [factor if own is None else own for own in known]
    with np.errstate(invalid="ignore"):
        filled = values[:, ~np.isnan(values).all(axis=0)]
    span = float(np.median(np.nanmax(filled, axis=0) - np.nanmin(filled, axis=0))) if filled.size else 0.0
    guess = "uV" if span > _MV_SPAN else "mV"
    notes.append(f"unit not stated: taken as {guess} (the leads span {span:.4g})")
    return [millivolts_per(guess) or 1.0 if factor is None else factor for factor in known]
