"""The calibration pulses of a page, found on its curves: how high a millivolt is, and where the rows really begin."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.counts import median
from ecgkin.retrieval.ecg.page.tracks import Tracks

ByteImage = NDArray[np.uint8]
FloatArray = NDArray[np.float64]

GAINS_MM_MV = (10.0, 5.0, 20.0)
# Pulses stand in the first or last part of a row.
_ENDS = 0.14
_LEAST_EDGE_MM = 3.5
_WIDTH_MM = (1.6, 14.0)
_ASKEW_MM = 3.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """The calibration pulse of a page.

    Attributes:
        left, right: Its edges, mm of paper from the left.
        height_px: Height of 1 mV, fine px.
        at_end: Whether it stands behind the leads.
        rows: In how many rows it was seen.
        places: Middle of the pulse in each row, mm, NaN where none was seen, (n_rows,).
        cut: Whether one of its edges lies outside of the picture, so that its width says nothing.
    """

    left: float
    right: float
    height_px: float
    at_end: bool
    rows: int
    places: FloatArray
    cut: bool = False


def find_pulses(
    tracks: Tracks, x_mm: FloatArray, per_mm: tuple[float, float], area: tuple[float, float]
) -> Calibration | None:
    """The pulse that the rows share, or None.

    Args:
        tracks: Curves of the rows.
        x_mm: Millimetres of every fine column in each row, (n_rows, w).
        per_mm: Fine px per mm along and across the rows, as far as known.
        area: Left and right end of the traces, fine px.
    """
    n_rows, width = tracks.y.shape
    columns = np.arange(width)
    found: list[tuple[float, float, float, float]] = []
    for row in range(n_rows):
        for left, right, tall in _in_row(tracks, row, per_mm, area):
            ends = np.interp([left, right], columns, x_mm[row])
            found.append((float(ends[0]), float(ends[1]), tall, float(row)))
    if not found:
        return None
    table = np.array(found, dtype=np.float64)
    best, most = None, 0.0
    for entry in table:
        alike = (np.abs(table[:, :2] - entry[:2]) <= 1.4).all(axis=1)
        alike &= np.abs(np.log(table[:, 2] / entry[2])) < 0.09
        # One pulse a row counts; a pulse of a usual size counts more than any other shape.
        rows = np.unique(table[alike, 3]).size
        usual = min(abs(np.log(entry[2] / per_mm[1] / gain)) for gain in GAINS_MM_MV) < 0.08
        wide = max(0.1, entry[1] - entry[0])
        usual &= min(abs(np.log(wide / 5.0)), abs(np.log(wide / 10.0))) < 0.15
        rank = rows + (0.7 if usual else 0.0)
        if rank > most and (rows >= max(2, 0.4 * n_rows) or usual):
            most, best = rank, alike
    if best is None:
        return None
    left, right, tall = np.median(table[best, :3], axis=0)
    middle = float(np.median(x_mm[:, min(width - 1, max(0, round((area[0] + area[1]) / 2)))]))
    rows = int(np.unique(table[best, 3]).size)
    # The same pulse in rows that lie askew: of the same size, a little farther off.
    alike = (np.abs(table[:, :2] - (left, right)) <= _ASKEW_MM).all(axis=1) & (
        np.abs(np.log(table[:, 2] / tall)) < 0.15
    )
    places = np.full(n_rows, np.nan)
    for row in range(n_rows):
        mine = table[alike & (table[:, 3] == row)]
        if mine.size:
            nearest = mine[np.abs(mine[:, 0] - left).argmin()]
            places[row] = (nearest[0] + nearest[1]) / 2
    return Calibration(float(left), float(right), float(tall), bool(left > middle), rows, places)


def find_cut_pulse(tracks: Tracks, x_mm: FloatArray, per_mm: tuple[float, float], known: bool) -> Calibration | None:
    """The pulse whose one edge lies outside of the picture: all rows begin, or end, on a roof and fall at one place.

    Args:
        tracks: Curves of the rows.
        x_mm: Millimetres of every fine column in each row, (n_rows, w).
        per_mm: Scale along and across the rows.
        known: Whether the scale is known; else pulses of any height count.
    """
    n_rows, width = tracks.y.shape
    best: Calibration | None = None
    for at_end in (False, True):
        order = slice(None, None, -1) if at_end else slice(None)
        found: list[tuple[float, float, float, int]] = []
        for row in range(n_rows):
            shape = _cut_in_row(tracks.y[row, order], tracks.bottom[row, order] - tracks.stroke / 2, per_mm)
            if shape is not None:
                begin, stop, tall = shape
                ends = [width - 1 - x for x in (stop, begin)] if at_end else [begin, stop]
                left, right = np.interp(ends, np.arange(width), x_mm[row])
                found.append((float(left), float(right), tall, row))
        if len(found) < max(2, 0.4 * n_rows):
            continue
        table = np.array(found)
        edge = 0 if at_end else 1
        alike = np.abs(table[:, edge] - np.median(table[:, edge])) < 1.5
        alike &= np.abs(np.log(table[:, 2] / np.median(table[:, 2]))) < 0.12
        tall = float(np.median(table[alike, 2])) if alike.any() else 0.0
        rows = int(alike.sum())
        usual = min(abs(np.log(max(tall, 1e-9) / per_mm[1] / gain)) for gain in GAINS_MM_MV) < 0.1
        if rows < max(2, 0.5 * n_rows) or (known and not usual) or (best is not None and best.rows >= rows):
            continue
        places = np.full(n_rows, np.nan)
        places[table[alike, 3].astype(int)] = table[alike, :2].mean(axis=1)
        left, right = np.median(table[alike, :2], axis=0)
        best = Calibration(float(left), float(right), tall, at_end, rows, places, cut=True)
    return best


def marked_pulses(
    marked: ByteImage, baselines: FloatArray, x_mm: FloatArray, per_mm: tuple[float, float], factor: float
) -> Calibration | None:
    """The pulse that the network marked beside the rows, or None.

    Args:
        marked: Likelihood of pulses, working px, uint8 (h, w).
        baselines: y of the rows, working px.
        x_mm: Millimetres of every fine column in each row, (n_rows, w).
        per_mm: Scale along and across the rows, fine px.
        factor: Fine px per working px.
    """
    mask = cv2.threshold(marked, 110, 255, cv2.THRESH_BINARY)[1]
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_32S)
    n_rows, width = x_mm.shape
    pitch = float(np.median(np.diff(baselines))) if baselines.size > 1 else 0.3 * marked.shape[0]
    columns = np.arange(width)
    found = []
    for left, top, wide, tall, area in stats[1:count].tolist():
        high_mm, wide_mm = (tall - 1.5) * factor / per_mm[1], wide * factor / per_mm[0]
        gain = min(GAINS_MM_MV, key=lambda value: abs(np.log(max(high_mm, 0.1) / value)))
        if area < 0.5 * tall or abs(np.log(max(high_mm, 0.1) / gain)) > 0.15 or not 0.6 < wide_mm < _WIDTH_MM[1]:
            continue
        # A pulse stands on its row.
        row = int(np.abs(baselines - (top + tall)).argmin())
        if abs(baselines[row] - (top + tall)) > 0.35 * pitch + 0.1 * tall:
            continue
        ends = np.interp(((np.array([left, left + wide - 1]) + 0.5) * factor) - 0.5, columns, x_mm[row])
        found.append((float(ends[0]), float(ends[1]), high_mm, row, gain))
    if not found:
        return None
    table = np.array(found)
    best: Calibration | None = None
    for entry in table:
        alike = (table[:, 4] == entry[4]) & (np.abs(table[:, :2].mean(axis=1) - entry[:2].mean()) < 2 * _ASKEW_MM)
        rows = np.unique(table[alike, 3]).size
        # Half of a pulse looks like a pulse of half the gain.
        if entry[4] != GAINS_MM_MV[0] and rows < max(2, 0.5 * n_rows):
            continue
        if best is None or rows > best.rows:
            left_mm, right_mm, high = np.median(table[alike, :3], axis=0)
            places = np.full(n_rows, np.nan)
            places[table[alike, 3].astype(int)] = table[alike, :2].mean(axis=1)
            middle = float(np.median(x_mm[:, width // 2]))
            best = Calibration(
                float(left_mm), float(right_mm), float(high * per_mm[1]), bool(left_mm > middle), rows, places,
                cut=bool(right_mm - left_mm < 3.0),
            )  # fmt: skip
    return best


def _cut_in_row(y: FloatArray, foot: FloatArray, per_mm: tuple[float, float]) -> tuple[float, float, float] | None:
    """Columns and height, px, of the roof on which a curve begins."""
    mm_x, mm_y = per_mm
    known = np.flatnonzero(np.isfinite(y[: round(0.06 * y.size)]))
    if not known.size:
        return None
    begin = int(known[0])
    along = y[begin : begin + round(_WIDTH_MM[1] * mm_x)]
    # The highest level there; an edge may stand before it.
    level = float(np.nanpercentile(along[: max(3, round(1.2 * mm_x))], 30))
    off = ~(np.abs(along - level) < 0.3 * mm_y + 0.5)
    skipped = int((~off).argmax())
    if skipped > 1.0 * mm_x:
        return None
    along, off, begin = along[skipped:], off[skipped:], begin + skipped
    length = int(off.argmax()) if off.any() else along.size
    if not 0.5 * mm_x <= length < along.size:
        return None
    # Behind it the curve goes on for seconds, about its own level.
    rest = y[begin + length + round(mm_x) :]
    near = rest[: round(40 * mm_x)]
    if np.isfinite(near).sum() < 10 * mm_x:
        return None
    tall = float(np.nanmedian(near)) - level
    if tall < _LEAST_EDGE_MM * mm_y:
        return None
    # It falls at once, to its foot.
    edge = foot[begin + max(0, length - 2) : begin + length + round(0.8 * mm_x)]
    edge = edge[np.isfinite(edge)]
    if edge.size and float(edge.max()) < level + 0.6 * tall:
        return None
    if edge.size and abs(np.log((float(edge.max()) - level) / tall)) < 0.4:
        tall = float(edge.max()) - level
    return float(begin), float(begin + length), tall


def _in_row(
    tracks: Tracks, row: int, per_mm: tuple[float, float], area: tuple[float, float]
) -> list[tuple[float, float, float]]:
    """Left edge, right edge and height of what has the shape of a pulse near the ends of a row."""
    top, bottom = tracks.top[row], tracks.bottom[row]
    width = top.size
    mm_x, mm_y = per_mm
    span = area[1] - area[0]
    tall = np.nan_to_num(bottom - top) > _LEAST_EDGE_MM * mm_y
    near = np.zeros(width, dtype=bool)
    near[max(0, round(area[0] - _ENDS * span)) : round(area[0] + _ENDS * span)] = True
    near[max(0, round(area[1] - _ENDS * span)) : round(area[1] + _ENDS * span)] = True
    tall &= near
    groups = np.flatnonzero(np.diff(np.concatenate([[False], tall, [False]]).astype(np.int8))).reshape(-1, 2)
    groups = groups[groups[:, 1] - groups[:, 0] <= 1.3 * mm_x + tracks.stroke]
    out: list[tuple[float, float, float]] = []
    for a0, a1 in groups:
        for step in (1, -1):
            shape = _pulse_from(tracks, row, int(a0), int(a1) - 1, step, groups, per_mm)
            if shape is not None:
                out.append(shape)
    return out


def _pulse_from(
    tracks: Tracks, row: int, first: int, last: int, step: int, groups: NDArray[np.int64], per_mm: tuple[float, float]
) -> tuple[float, float, float] | None:
    """The pulse that an upright edge (columns `first` to `last`) begins in the direction `step`, if it is one.

    Behind the edge follows a level roof, then another edge that comes down, or the end of the curve (a pulse that the
    border of the picture cuts).
    """
    y, top, bottom = tracks.y[row], tracks.top[row], tracks.bottom[row]
    mm_x, mm_y = per_mm
    begin = (last if step > 0 else first) + step * max(1, round(0.15 * mm_x))
    reach = round(_WIDTH_MM[1] * mm_x)
    along = y[begin : begin + reach] if step > 0 else y[max(0, begin - reach + 1) : begin + 1][::-1]
    start = along[: max(3, round(1.0 * mm_x))]
    start = start[np.isfinite(start)]
    if not start.size:
        return None
    level = median(start)
    off = ~(np.abs(along - level) < 0.35 * mm_y + 0.5)
    length = int(off.argmax()) if off.any() else along.size
    if length < _WIDTH_MM[0] * mm_x or length >= reach:
        return None
    stop = begin + step * length
    peak = float(np.nanmin(top[first : last + 1]))
    if abs(peak + tracks.stroke / 2 - level) > 0.8 * mm_y + tracks.stroke:
        return None
    slack = 0.6 * mm_x + tracks.stroke + 2
    other = [g for g in groups if g[0] - slack <= stop <= g[1] - 1 + slack and not g[0] <= first < g[1]]
    ends = [float(np.nanmax(bottom[first : last + 1]))]
    feet = [_foot(tracks, row, first if step > 0 else last, -step, mm_x)]
    near, far = (first + last) / 2, float(stop)
    if other:
        group = min(other, key=lambda g: abs((g[0] + g[1] - 1) / 2 - stop))
        far = float(group[0] + group[1] - 1) / 2
        ends.append(float(np.nanmax(bottom[group[0] : group[1]])))
        feet.append(_foot(tracks, row, int(group[1]) - 1 if step > 0 else int(group[0]), step, mm_x))
    else:
        beyond = y[stop : stop + round(mm_x)] if step > 0 else y[max(0, stop - round(mm_x) + 1) : stop + 1]
        if np.isfinite(beyond).mean() > 0.5 if beyond.size else False:
            return None  # the curve goes on without an edge: a beat
    gaps = [abs(e - tracks.stroke / 2 - f) for e, f in zip(ends, feet, strict=True) if f is not None]
    known = [f for f in feet if f is not None]
    base = known[int(np.argmin(gaps))] if known else min(ends) - tracks.stroke / 2
    height = base - level
    # The edge must end at its foot: else it is a piece of a beat.
    if height < _LEAST_EDGE_MM * mm_y or (gaps and min(gaps) > 1.0 * mm_y):
        return None
    left, right = min(near, far), max(near, far)
    if not _WIDTH_MM[0] * mm_x <= right - left <= _WIDTH_MM[1] * mm_x:
        return None
    return left, right, height


def _foot(tracks: Tracks, row: int, edge: int, step: int, mm_x: float) -> float | None:
    """Level of the curve just outside of an edge, None where it shows nothing there."""
    begin, stop = edge + step * max(2, round(0.25 * mm_x)), edge + step * round(1.3 * mm_x)
    low, high = sorted((begin, stop))
    part = tracks.y[row, max(0, low) : max(0, high + 1)]
    part = part[np.isfinite(part)]
    return median(part) if part.size >= 2 else None
