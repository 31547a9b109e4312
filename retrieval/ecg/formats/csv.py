"""ECGs in text tables: commas, semicolons, tabs or blanks; with or without names, a time column, a stated unit.

Nothing is guessed in silence: an assumed unit or order of columns is in the record's notes, and a rate that no column
and no argument gives is an error.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.assemble import MAX_SAMPLES, assemble, checked_rate, millivolts_per
from ecgkin.retrieval.ecg.leads import LEADS, canonical_lead
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError

MAX_BYTES = 500_000_000
_MAX_PREAMBLE = 100  # lines before the table
_EMPTY = frozenset({"", "nan", "na", "n/a", "null", "none", "-", "inf", "-inf", "+inf"})
_TIME_NAMES = re.compile(r"(?:time|t|zeit|timestamp|sekunden|seconds|sec|s|ms|millis\w*|elapsed\w*)\Z", re.IGNORECASE)
_INDEX_NAMES = re.compile(r"(?:|index|idx|sample\w*|nr|no|n|#|row|zeile)\Z", re.IGNORECASE)
_UNIT_IN_NAME = re.compile(r"[\s_]*[\[(]\s*([^\])]+?)\s*[\])]\s*\Z|[\s_/]+([munµμ]?v|m?s)\s*\Z", re.IGNORECASE)
_RATE = re.compile(
    r"(?:sampl\w*[\s_-]*(?:rate|freq\w*)|abtastrate|abtastfrequenz|\bfs(?:_hz)?)\D{0,12}?(\d+(?:\.\d+)?)", re.IGNORECASE
)
_NUMBER = re.compile(r"[-+]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][-+]?\d+)?\Z")
_EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
# A twelve-lead ECG spans 1 to 5 mV from peak to peak, 1,000 to 5,000 as uV: anything above this is no mV.
_MV_SPAN = 20.0
_UNEVEN = 0.05  # share of a step by which single steps of a time column may differ (rounded to ms at 500 Hz and more)


@dataclass(slots=True)
class _Table:
    names: list[str] | None
    values: NDArray[np.float64]
    preamble: str
    notes: list[str]


def read_csv(
    path: str | os.PathLike[str], *, fs_hz: float | None = None, units: Literal["mV", "uV", "V"] | None = None
) -> EcgRecord:
    """Read a text table with one lead a column (or one a row).

    Args:
        path: The file. UTF-8, UTF-16 with mark, or Latin-1; lines that start with # are comments.
        fs_hz: Samples a second; needed when there is neither a time column nor a line that states the rate.
        units: Unit of the values; otherwise what the column names say ("V1 (uV)"), otherwise mV, or uV where the values
            are too large for mV (noted).

    Returns:
        The record in mV. Without names, 12 columns are taken as the standard order and 8 as I, II, V1 to V6 (noted).

    Raises:
        RecordError: No table of numbers, a cell that is no number (with its line), columns that cannot be told apart,
            no rate, uneven time steps, more than `MAX_BYTES`.
    """
    file = Path(path)
    table = _parse(_text(file), file.name)
    names, values, notes = table.names, table.values, table.notes
    if names is None and values.shape[0] in (8, 12) and values.shape[1] > 50:
        values = values.T
        notes.append("one lead a row: table turned")
    names, values, rate, unit_of = _columns(names, values, file.name, notes)
    stated = _RATE.search(table.preamble)
    declared = float(stated.group(1)) if stated else None
    used = fs_hz if fs_hz is not None else rate if rate is not None else declared
    if used is None:
        raise RecordError(f"{file.name} does not say its sampling rate", hint="pass fs_hz=..., or add a time column")
    for source, other in (("time column", rate), ("preamble", declared)):
        if other is not None and abs(other - used) > 0.01 * used:
            notes.append(f"the {source} says {other:g} Hz, {used:g} Hz is used")
    factors = _factors(units, unit_of, values, notes, file.name)
    with np.errstate(over="ignore"):  # what no float32 holds becomes infinite, as in WFDB files
        channels = [(name, (values[:, k] * factors[k]).astype(np.float32)) for k, name in enumerate(names)]
    return assemble(channels, checked_rate(used, file.name), where=file.name, record_id=file.stem, notes=notes)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecordError(f"{path.name} has {path.stat().st_size} bytes (at most {MAX_BYTES} are read)")
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        raise RecordError(f"{str(path)!r} cannot be read: {error}") from error
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", errors="replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _cells(line: str, delimiter: str | None) -> list[str]:
    return [cell.strip().strip("\"'").strip() for cell in line.split(delimiter)]


def _delimiter(lines: list[str]) -> str | None:
    """The separator of the table, told from a line in its middle; None for blanks."""
    line = lines[len(lines) // 2]
    for candidate in ("\t", ";", ","):
        if candidate in line:
            return candidate
    return None


def _is_data(cells: list[str]) -> bool:
    numbers = sum(bool(_NUMBER.match(cell)) for cell in cells)
    return numbers > 0 and all(_NUMBER.match(cell) or cell.lower() in _EMPTY for cell in cells)


def _parse(text: str, where: str) -> _Table:
    lines = [(k, line) for k, line in enumerate(text.splitlines(), 1) if line.strip()]
    comments = "\n".join(line for _, line in lines if line.lstrip().startswith("#"))
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
    preamble = comments + "\n" + "\n".join(line for _, line in lines[: max(0, first - (header is not None))])
    if (len(rows) - first) * width > MAX_SAMPLES:
        raise RecordError(f"{where} holds more than {MAX_SAMPLES} values")
    notes: list[str] = []
    # A trailing separator makes one empty column too many.
    no_last = width > 1 and not any(cells[-1] for _, cells in rows[first : first + 50] if len(cells) == width)
    if no_last and (not header[-1] if header is not None else width in (len(LEADS) + 1, len(_EIGHT) + 1)):
        width -= 1
        header = header[:width] if header is not None else None
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
            values[i] = [_number(cell) for cell in cells[:width]]
        except ValueError as error:
            raise RecordError(f"{where} line {number}: {error}") from None
    return _Table(header, values, preamble, notes)


def _number(cell: str) -> float:
    if cell.lower() in _EMPTY:
        return math.nan
    if not _NUMBER.match(cell):
        raise ValueError(f"{cell[:30]!r} is no number")
    return float(cell.replace(",", "."))


def _columns(
    names: list[str] | None, values: NDArray[np.float64], where: str, notes: list[str]
) -> tuple[list[str], NDArray[np.float64], float | None, list[str | None]]:
    """Lead names, their values, the rate of a time column, and the unit each name states."""
    rate: float | None = None
    if names is None:
        width = values.shape[1]
        if width in (len(LEADS) + 1, len(_EIGHT) + 1) and _rises(values[:, 0]):
            rate = _rate_of(values[:, 0], "", where, notes)
            values, width = values[:, 1:], width - 1
        order = {len(LEADS): LEADS, len(_EIGHT): _EIGHT}.get(width)
        if order is None:
            raise RecordError(f"{where} has {width} columns without names", hint="add a first line with lead names")
        notes.append(f"columns carry no names: taken as {', '.join(order)}")
        return list(order), values, rate, [None] * width
    plain, stated = zip(*(_split_unit(name) for name in names), strict=True)
    keep: list[int] = []
    for k, name in enumerate(plain):
        if canonical_lead(name) is not None:
            keep.append(k)
        elif _TIME_NAMES.match(name) and rate is None:
            unit = stated[k] or (name if name.lower() in ("s", "ms") else "")
            rate = _rate_of(values[:, k], unit, where, notes)
        elif not _INDEX_NAMES.match(name):
            notes.append(f"column {name!r} is none of the twelve leads: left out")
    if not keep:
        raise RecordError(
            f"{where}: no column is a standard lead (found {', '.join(map(repr, plain[:15]))})",
            hint=f"expected {', '.join(LEADS)}",
        )
    return [plain[k] for k in keep], values[:, keep], rate, [stated[k] for k in keep]


def _split_unit(name: str) -> tuple[str, str | None]:
    """("V1 (uV)") -> ("V1", "uV")."""
    match = _UNIT_IN_NAME.search(name)
    if match is None or (match.start() == 0):
        return name.strip(), None
    return name[: match.start()].strip(), (match.group(1) or match.group(2)).strip()


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
        raise RecordError(f"{where}: the time column does not rise throughout", hint="pass fs_hz= and drop the column")
    step = float((column[-1] - column[0]) / (column.size - 1))
    if float(np.abs(np.diff(column) - step).max()) > max(_UNEVEN * step, 1.01e-3 if step < 0.5 else 1.01):
        raise RecordError(f"{where}: the steps of the time column differ (mean {step:g})", hint="resample it first")
    lower = unit.lower()
    if lower in ("ms", "msec", "millisekunden"):
        return 1000.0 / step
    if lower in ("s", "sec", "sekunden", "seconds"):
        return 1.0 / step
    if step == 1.0:
        notes.append("a column that counts 1, 2, 3 is taken as sample number")
        return None
    assumed = "ms" if step >= 0.5 else "s"
    notes.append(f"unit of the time column not stated: taken as {assumed}")
    return (1000.0 if assumed == "ms" else 1.0) / step


def _factors(
    units: str | None, stated: list[str | None], values: NDArray[np.float64], notes: list[str], where: str
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
            raise RecordError(f"{where}: unit {unit!r} in a column name is no voltage", hint="pass units=")
    if all(factor is not None for factor in known):
        return [factor for factor in known if factor is not None]
    with np.errstate(invalid="ignore"):
        filled = values[:, ~np.isnan(values).all(axis=0)]
    span = float(np.median(np.nanmax(filled, axis=0) - np.nanmin(filled, axis=0))) if filled.size else 0.0
    guess = "uV" if span > _MV_SPAN else "mV"
    notes.append(f"unit not stated: taken as {guess} (the leads span {span:.4g})")
    return [millivolts_per(guess) or 1.0 if factor is None else factor for factor in known]
