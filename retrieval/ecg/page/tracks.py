"""Following each row's curve across a page: first roughly, as a cheapest path, then to a fraction of a pixel.

The path runs over the page at half the working size. A step to the right costs as much as the paper that it crosses,
a step up or down within a column of ink nearly nothing, so that the path climbs every beat whose sides stand apart, and
bridges gaps. The fine curve is read off the darkness of the picture in the columns' runs of ink that the path touches:
where the trace is flat its centre of mass, where it is steep the upper and lower edge of the stroke, from which a
closing and an opening with the pen's width give the curve back with peaks and valleys at their full height.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

ByteImage = NDArray[np.uint8]
FloatArray = NDArray[np.float64]
Floats = NDArray[np.float32]

# Costs of a step of one px at half the working size, on paper; ink costs nothing but `_ANY`.
_ACROSS = 1.0
_UPRIGHT = 0.12
_ANY = 0.004
_FOREIGN = 0.85  # being on the baseline of another row
# A column of px shows the mean of the time that it covers, which at a peak stays behind its end: by this share of the
# column's depth for an infinitely thin pen, and the less the more of that depth is the pen's width.
_BEHIND = 0.3
_HALF = 0.6  # of the darkest px beside it that a px must have to be ink
_BROKEN = 0.0025  # share of the width by which pieces of one upright stroke may lie apart
_GROWTH = 4  # columns that a row's ink may spread beyond its path
_STRIP = 64  # lines of the fine page that are worked on together: they fit into the cache
_REACH = 2.2  # how far from its baseline a row is looked for, in row distances


@dataclass(frozen=True, slots=True, eq=False)
class Paths:
    """Rough courses of the rows.

    Attributes:
        low, high: Smallest and largest y that a row's path takes in each column, (n_rows, w), px at the size of `ink`.
        left_at: y at which the path leaves each column for the next, same shape.
    """

    low: FloatArray
    high: FloatArray
    left_at: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class PathCosts:
    """What steps of a path cost, each row in a window of its own about its baseline.

    Attributes:
        across: Of coming from the column before at a height, (columns, rows, size).
        upright: Of passing a pixel within a column, same shape.
        home: Of beginning or ending at a height, (rows, size).
        offsets: y of the first line of each row's window, (rows,).
    """

    across: NDArray[np.float32]
    upright: NDArray[np.float32]
    home: NDArray[np.float32]
    offsets: NDArray[np.int64]

    def between(self, first: int, last: int) -> PathCosts:
        """Those of some columns, the last one exclusive."""
        return PathCosts(self.across[first:last], self.upright[first:last], self.home, self.offsets)


def path_costs(ink: ByteImage, baselines: FloatArray, left: int, right: int) -> PathCosts:
    """Costs of the paths of rows over columns `left` to `right` (exclusive) of `ink` (see `follow`)."""
    height, _ = ink.shape
    n_rows = baselines.size
    pitch = float(np.median(np.diff(baselines))) if n_rows > 1 else 0.5 * height
    reach = int(min(np.ceil(_REACH * pitch), height))
    size = 2 * reach + 1
    offsets = np.round(baselines).astype(np.int64) - reach
    paper = 1.0 - ink[:, left:right].astype(np.float32) / np.float32(255.0)
    y = np.arange(size) + offsets[:, None]
    place = np.full(y.shape, _ANY)
    if n_rows > 1:
        others = np.abs(y[:, :, None] - baselines[None, None, :])
        own = np.abs(y - baselines[:, None])
        gaps = np.concatenate([[pitch], np.diff(baselines), [pitch]])
        near = np.minimum(pitch, np.minimum(gaps[:-1], gaps[1:]))[:, None]
        foreign = (others.min(axis=2) < 0.16 * near) & (own > 0.6 * near)
        place += foreign * _FOREIGN
    outside = (y < 0) | (y >= height)
    place += outside * 4.0
    # A slight pull home, so that a path in the open returns.
    place += (np.abs(y - baselines[:, None]) / pitch) * 0.02
    across = row_windows(paper if _ACROSS == 1.0 else paper * np.float32(_ACROSS), offsets, size, _ACROSS)
    across += place.astype(np.float32)
    nothing = np.float32(_UPRIGHT) + np.float32(_ANY)
    upright = row_windows(paper * np.float32(_UPRIGHT) + np.float32(_ANY), offsets, size, float(nothing))
    home = (np.abs(y - baselines[:, None]) * np.float32(0.02)).astype(np.float32)
    return PathCosts(across, upright, home, offsets)


def row_windows(plane: NDArray[Any], offsets: NDArray[np.int64], size: int, outside: float = 0.0) -> NDArray[Any]:
    """`size` lines of a plane (h, columns) from each row's offset on, a column's windows together in memory.

    Args:
        plane: Of any type of number.
        offsets: y of the first line of each row's window, (rows,).
        size: Lines of a window.
        outside: What stands above and below the plane.

    Returns:
        Of the plane's type, (columns, rows, size).
    """
    height, columns = plane.shape
    # Turned before windows are cut, which overlap.
    padded = np.full((columns, height + 2 * size), outside, dtype=plane.dtype)
    padded[:, size : size + height] = plane.T
    out = np.empty((columns, offsets.size, size), dtype=plane.dtype)
    for row, offset in enumerate(offsets.tolist()):
        out[:, row] = padded[:, size + offset : 2 * size + offset]
    return out


def cheapest(
    across: NDArray[np.float32],
    rise: NDArray[np.float32],
    start: NDArray[np.float32],
    end: NDArray[np.float32],
    *,
    rising: bool = False,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Cheapest path of each row over some columns.

    Args:
        across: Of `PathCosts`, (columns, rows, size).
        rise: Sums of the costs of passing pixels, from the top, same shape; those may be negative.
        start, end: Cost of every height before the first and behind the last column, (rows, size).
        rising: Whether it is known that no pixel costs less than nothing, which saves a step.

    Returns:
        Heights at which the paths come into and leave each column, (rows, columns), and their costs, (rows,).
    """
    n, n_rows, size = across.shape
    best = np.empty((n, n_rows, size), dtype=np.float32)
    here = start
    # Of a column's many small steps the calls cost as much as the numbers: nothing is allocated.
    down, up = np.empty_like(start), np.empty_like(start)
    below = up[:, ::-1]
    for entered, stepped, passed in zip(best, across, rise, strict=True):
        np.add(here, stepped, out=entered)
        np.subtract(entered, passed, out=down)
        np.minimum.accumulate(down, axis=1, out=down)
        np.add(down, passed, out=down)
        np.add(entered, passed, out=up)
        np.minimum.accumulate(below, axis=1, out=below)
        np.subtract(up, passed, out=up)
        here = np.minimum(down, up, out=entered)
    rows = np.arange(n_rows)
    y = np.arange(size)[None]
    total = here + end
    at = total.argmin(axis=1)
    cost = total[rows, at]
    came, left = np.empty((n_rows, n), dtype=np.int64), np.empty((n_rows, n), dtype=np.int64)
    for x in range(n - 1, -1, -1):
        passed = rise[x]
        np.subtract(passed, passed[rows, at][:, None], out=up)
        if rising:
            np.abs(up, out=up)
        else:
            np.negative(up, out=up, where=y <= at[:, None])
        np.add(best[x - 1] if x else start, across[x], out=down)
        np.add(down, up, out=down)
        left[:, x] = at
        at = came[:, x] = down.argmin(axis=1)
    return came, left, cost


def follow(ink: ByteImage, baselines: FloatArray, left: int, right: int, costs: PathCosts | None = None) -> Paths:
    """Cheapest path of every row from the left to the right end of the traces.

    Args:
        ink: Likelihood of trace, 255 = sure, uint8 (h, w).
        baselines: y of the rows, px, from the top.
        left, right: First and last column (exclusive) that are followed.
        costs: `path_costs` of these, where they are known.

    Returns:
        Paths over the columns of `ink`; NaN outside of `left` to `right`.
    """
    width = ink.shape[1]
    costs = costs or path_costs(ink, baselines, left, right)
    rise = np.cumsum(costs.upright, axis=2, dtype=np.float32)
    came, gone, _ = cheapest(costs.across, rise, costs.home, costs.home, rising=True)
    low, high, left_at = (np.full((baselines.size, width), np.nan) for _ in range(3))
    offsets = costs.offsets[:, None]
    low[:, left:right] = np.minimum(came, gone) + offsets
    high[:, left:right] = np.maximum(came, gone) + offsets
    left_at[:, left:right] = gone + offsets
    return Paths(low, high, left_at)


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """The rows' curves in the columns of the fine page.

    Attributes:
        y: Height of the curve, (n_rows, w), fine px; NaN where a row shows nothing.
        top, bottom: Upper and lower edge of its stroke, same shape.
        weight: How sure a column is, 0 to 1.
        stroke: Thickness of a level stroke, px.
    """

    y: FloatArray
    top: FloatArray
    bottom: FloatArray
    weight: FloatArray
    stroke: float


@dataclass(frozen=True, slots=True, eq=False)
class InkRuns:
    """Upright runs of ink on the fine page, column by column from the top; each (n_runs,).

    Attributes:
        column: Their columns.
        begin, end: First and last y, px.
    """

    column: NDArray[np.int64]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]


def ink_runs(darkness: ByteImage, level: float = 100.0) -> InkRuns:
    """Where a page is inked.

    Args:
        darkness: 0 = paper, 255 = middle of a stroke, uint8 (h, w), fine px.
        level: Darkness from which on something is ink.

    Returns:
        Its runs.
    """
    # Beside a dark upright stroke its pale border is no stroke of its own: half of what is darkest nearby counts.
    solid = np.empty_like(darkness)
    pen = np.ones((1, 5), np.uint8)
    for line in range(0, darkness.shape[0], _STRIP):
        part = darkness[line : line + _STRIP]
        near = cv2.convertScaleAbs(cv2.dilate(part, pen), alpha=_HALF)
        np.maximum(near, np.uint8(round(level)), out=near)
        cv2.compare(part, near, cv2.CMP_GE, dst=solid[line : line + _STRIP])
    tall = max(3, round(_BROKEN * darkness.shape[1])) | 1
    closed = cv2.morphologyEx(solid, cv2.MORPH_CLOSE, np.ones((tall, 1), np.uint8), dst=solid)
    return _runs(np.asarray(closed, dtype=np.uint8))


def trace_tracks(
    darkness: ByteImage, paths: Paths, factor: float, level: float = 100.0, runs: InkRuns | None = None
) -> Tracks:
    """The rows' curves to a fraction of a pixel.

    Args:
        darkness: 0 = paper, 255 = middle of a stroke, uint8 (h, w), fine px.
        paths: Rough courses, at 1 / `factor` of the fine size.
        factor: Fine px per px of the paths.
        level: Darkness from which on something is ink.
        runs: `ink_runs` at this level, where they are known.

    Returns:
        Curves; a column has a value where the path of the row touches ink there.
    """
    width = darkness.shape[1]
    n_rows = paths.low.shape[0]
    runs = runs or ink_runs(darkness, level)
    column, begin, end = runs.column, runs.begin, runs.end
    low, high = _enlarged(paths, factor, width)
    slack = 0.6 * factor + 1.0
    touches = np.zeros((column.size, n_rows), dtype=bool)
    for row in range(n_rows):
        touches[:, row] = (begin <= high[row, column] + slack) & (end >= low[row, column] - slack)
    top = np.full((n_rows, width), np.inf)
    bottom = np.full((n_rows, width), -np.inf)
    many = touches.sum(axis=1) > 1
    for row in range(n_rows):
        mine = touches[:, row]
        first, last = begin.astype(np.float64), end.astype(np.float64)
        # A run that two rows touch: each keeps to what its own path visits.
        shared = mine & many
        first = np.where(shared, np.maximum(first, low[row, column] - slack), first)
        last = np.where(shared, np.minimum(last, high[row, column] + slack), last)
        np.minimum.at(top[row], column[mine], first[mine])
        np.maximum.at(bottom[row], column[mine], last[mine])
    _fill(top, bottom, column, begin, end, np.asarray(touches.any(axis=1)))
    missing = ~np.isfinite(top)
    top[missing] = bottom[missing] = np.nan
    depth = (bottom - top + 1)[~missing]
    stroke = float(np.percentile(depth, 25)) if depth.size else 1.0
    edge_top, edge_bottom, centre = _sub_pixel(darkness, top, bottom, stroke)
    thick = edge_bottom - edge_top
    if depth.size:
        stroke = max(1.0, float(np.nanpercentile(thick, 25)))
    y = _curve(edge_top, edge_bottom, centre, stroke)
    weight = np.where(missing, 0.0, 1.0)
    return Tracks(y, edge_top, edge_bottom, weight, stroke)


def _runs(solid: ByteImage) -> InkRuns:
    """Every upright run of ink."""
    height, width = solid.shape
    ink = solid != 0
    # Between lines of pixels ink begins and ends in turn.
    changed = np.empty((height + 1, width), dtype=np.bool_)
    changed[0], changed[-1] = ink[0], ink[-1]
    np.not_equal(ink[1:], ink[:-1], out=changed[1:-1])
    at = np.flatnonzero(changed)
    y = at // width
    # Few as they are, sorting them by columns is quicker than turning the picture.
    places = np.sort((at - y * width) * (height + 1) + y)
    column = places[0::2] // (height + 1)
    first = column * (height + 1)
    return InkRuns(column, places[0::2] - first, places[1::2] - first - 1)


def _enlarged(paths: Paths, factor: float, width: int) -> tuple[FloatArray, FloatArray]:
    """The paths' intervals in fine columns and fine px."""
    source = np.clip(((np.arange(width) + 0.5) / factor).astype(int), 0, paths.low.shape[1] - 1)
    low = paths.low[:, source] * factor
    high = (paths.high[:, source] + 1.0) * factor - 1.0
    return np.where(np.isnan(low), 1e9, low), np.where(np.isnan(high), -1e9, high)


def _fill(
    top: FloatArray,
    bottom: FloatArray,
    column: NDArray[np.int64],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    taken: NDArray[np.bool_],
) -> None:
    """Give empty columns, in place, the runs that hang together with the row's ink in a neighbouring column.

    Such are the caps of narrow beats, which the path crosses at their foot.
    """
    width = top.shape[1]
    column, begin, end = column[~taken], begin[~taken], end[~taken]
    for row in range(top.shape[0]):
        for _ in range(_GROWTH):
            empty = ~np.isfinite(top[row])
            mine = empty[column]
            if not mine.any():
                break
            c, first, last = column[mine], begin[mine], end[mine]
            touching = np.zeros(c.size, dtype=bool)
            for step in (-1, 1):
                beside = np.clip(c + step, 0, width - 1)
                touching |= (first <= bottom[row, beside] + 1) & (last >= top[row, beside] - 1)
            if not touching.any():
                break
            np.minimum.at(top[row], c[touching], first[touching])
            np.maximum.at(bottom[row], c[touching], last[touching])


def _sub_pixel(
    darkness: ByteImage, top: FloatArray, bottom: FloatArray, stroke: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Edges of the strokes where darkness is half way between stroke and surroundings, and their centre of mass.

    Coordinates are those of pixel centres.
    """
    height, _ = darkness.shape
    rows, columns = np.nonzero(np.isfinite(top))
    edge_top, edge_bottom = top.copy(), bottom.copy()
    centre = np.full_like(top, np.nan)
    if not rows.size:
        return edge_top, edge_bottom, centre
    first, last = top[rows, columns].round().astype(int), bottom[rows, columns].round().astype(int)
    reach = max(3, round(0.6 * stroke) + 2)
    span = np.arange(-reach, reach + 1)

    flat = darkness.ravel()
    width = darkness.shape[1]

    # Along the first axis, so that each step is one over all columns.
    def window(at: NDArray[np.int64], around: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        places = np.clip(at + around[:, None], 0, height - 1)
        return places, flat.take(places * width + columns).astype(np.float32)

    (_, above), (_, below) = window(first, span), window(last, span)
    ground_above, ground_below = (above[0] + above[1]) / 2, (below[-2] + below[-1]) / 2
    peak = np.maximum(above[reach:].max(axis=0), below[: reach + 1].max(axis=0))
    edge_top[rows, columns] = first + _crossing(above, (ground_above + peak) / 2, reach)
    edge_bottom[rows, columns] = last - _crossing(below[::-1], (ground_below + peak) / 2, reach)
    flat_ones = last - first + 1 <= 2.2 * stroke + 2
    rows, columns, first, last = (values[flat_ones] for values in (rows, columns, first, last))
    middle = ((first + last) / 2).round().astype(int)
    far = max(4, round(1.1 * stroke + 3))
    wide = np.arange(-far, far + 1)
    places, values = window(middle, wide)
    ground = np.minimum((values[0] + values[1]) / 2, (values[-2] + values[-1]) / 2)
    # Sums of bytes and of halves of them: exact.
    mass = np.maximum(values - ground, np.float32(0))
    mass *= (places >= first - 2) & (places <= last + 2)
    total = mass.sum(axis=0, dtype=np.float64)
    found = total > 0
    value = middle + (mass * wide[:, None].astype(np.float32)).sum(axis=0, dtype=np.float64) / np.maximum(total, 1e-9)
    centre[rows[found], columns[found]] = value[found]
    return edge_top, edge_bottom, centre


def _crossing(profile: NDArray[np.float32], level: NDArray[np.float32], middle: int) -> FloatArray:
    """Where profiles that rise along their first axis cross a level last before `middle`, relative to it."""
    n = profile.shape[0]
    # The innermost sample below the level, at or before the middle + 1.
    below = np.full(level.size, -1)
    for index in range(min(n, middle + 2)):
        below[profile[index] < level] = index
    lower = np.clip(below, 0, n - 2)
    columns = np.arange(lower.size)
    p0, p1 = profile[lower, columns].astype(np.float64), profile[lower + 1, columns].astype(np.float64)
    share = np.clip((level - p0) / np.where(p1 > p0, p1 - p0, 1.0), 0.0, 1.0)
    found = lower + share - middle
    return np.where((below < 0) | (p1 <= p0), -0.5, found)


def _curve(top: FloatArray, bottom: FloatArray, centre: FloatArray, stroke: float) -> FloatArray:
    """The curve of a pen from the edges of its stroke.

    The upper edge is the smallest y within the pen's width, the lower edge the largest: an erosion and a dilation of
    the curve. Undoing them gives two curves that enclose it: the first is right at peaks, the second in valleys,
    their mean on slopes.
    """
    half = stroke / 2
    reach = int(half)
    shifts = np.arange(-reach, reach + 1)
    # A round pen reaches less high at its sides.
    lift = np.sqrt(np.maximum(half**2 - shifts.astype(np.float64) ** 2, 0.0))
    upper = _moving(top, shifts, lift, np.fmax)  # y grows downwards: undoing the upper edge is a maximum
    lower = _moving(bottom, shifts, -lift, np.fmin)
    middle = (upper + lower) / 2
    around = np.arange(-reach - 1, reach + 2)
    level = np.zeros(around.size)
    peak = top <= _moving(top, around, level, np.fmin) + 0.5
    valley = bottom >= _moving(bottom, around, level, np.fmax) - 0.5
    # Where a column holds both, the one that is farther from the course of the neighbours.
    both = peak & valley
    if both.any():
        wide = 4 * reach + 6
        smooth = cv2.blur(np.nan_to_num(middle).astype(np.float32), (2 * wide + 1, 1))
        share = cv2.blur(np.isfinite(middle).astype(np.float32), (2 * wide + 1, 1))
        smooth = smooth / np.maximum(share, 1e-6)
        up = np.abs(upper - smooth) >= np.abs(lower - smooth)
        peak, valley = peak & (~both | up), valley & (~both | ~up)
    apart = lower - upper > 0.5
    end = np.where(apart & peak, upper, np.where(apart & valley, lower, middle))
    out = end + min(0.6, _BEHIND / (0.5 * (half + 0.5))) * (middle - end)
    flat = np.isfinite(centre) & (bottom - top <= 1.5 * stroke + 1)
    return np.where(flat, centre, out)


def _moving(values: FloatArray, shifts: NDArray[np.int64], lift: FloatArray, take: np.ufunc) -> FloatArray:
    """`take` (fmin or fmax) over shifted copies of the rows, each lifted; NaN stays NaN."""
    n_rows, width = values.shape
    reach = int(np.abs(shifts).max())
    padded = np.full((n_rows, width + 2 * reach), np.nan)
    padded[:, reach : reach + width] = values
    out = np.full_like(values, np.nan)
    for shift, rise in zip(shifts, lift, strict=True):
        out = take(out, padded[:, reach + shift : reach + shift + width] + rise)
    return np.where(np.isnan(values), np.nan, out)
