"""Where the rows of a page begin and end, and where one lead follows another."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.calibration import Calibration
from ecgkin.retrieval.ecg.page.counts import median
from ecgkin.retrieval.ecg.page.tracks import Tracks
from ecgkin.retrieval.errors import ImageError

FloatArray = NDArray[np.float64]

TEN_SECONDS_MM = 250.0
_ASKEW_MM = 2.5  # how far a row may lie off the others along the page
_STEP_MM = 0.1
_IN_STEP_MM = 0.4  # 16 ms: leads differ as much in when they are steepest
_ALIKE = 0.35  # least correlation of steepness that tells a lag
_BEYOND_MM = 20.0  # ink beyond a pulse that ends or begins the rows is less
_FOOT_MM = 4.0  # level foot of a pulse before the trace begins
_EVEN_MM = 1.2  # strokes nearer than this to the even place leave it there
_SHARED_MM = 0.8  # ends nearer than this to each other are one
_CLEAR = 0.5  # likelihood of a stroke that decides where leads begin
_EVENLY_MM = 0.35  # how far such strokes may lie off even distances
_AS_EVEN_MM = 0.6  # strokes nearer than this to the even places all of them say nothing new
_BORDER_MM = 4.0  # how far a border of columns may lie from its even place


@dataclass(frozen=True, slots=True)
class Extent:
    """Time axis of a page's rows.

    Attributes:
        left, right: Ends of the rows of leads, mm of paper.
        rows: Ends of every row's ink, (n_rows, 2), mm; NaN for a row without ink.
        gaps: Where nearly all rows are blank between `left` and `right`, as (begin, end), mm.
    """

    left: float
    right: float
    rows: FloatArray
    gaps: tuple[tuple[float, float], ...]

    @property
    def length(self) -> float:
        """Length of the rows, mm."""
        return self.right - self.left


def find_extent(
    tracks: Tracks, x_mm: FloatArray, px_per_mm: float, pulse: Calibration | None, area: tuple[float, float]
) -> Extent:
    """Ends of the rows, without calibration pulses.

    Args:
        tracks: Curves of the rows.
        x_mm: Millimetres of every fine column in each row, (n_rows, w).
        px_per_mm: Scale along the rows.
        pulse: The calibration pulse.
        area: Left and right end of the traces as first seen, fine px.

    Returns:
        Left and right end, mm.
    """
    n_rows, width = tracks.y.shape
    mm = px_per_mm
    inked = np.isfinite(tracks.y)
    wide = 2 * max(1, round(1.5 * mm)) + 1
    cover = cv2.blur(inked.astype(np.float32), (wide, 1), borderType=cv2.BORDER_CONSTANT)
    solid = inked & (cover > 0.45)
    if pulse is not None:
        before, after = solid & (x_mm < pulse.left - 0.6), solid & (x_mm > pulse.right + 0.6)
        solid, beyond = (before, after) if pulse.at_end else (after, before)
        if np.median(beyond.sum(axis=1)) > _BEYOND_MM * mm:  # a pulse between columns of leads
            solid, pulse = solid | beyond, None
    rows = np.full((n_rows, 2), np.nan)
    columns = np.arange(width)
    for row in range(n_rows):
        rows[row] = np.interp(_ends(solid[row], area, 8.0 * mm, 1.0 * mm), columns, x_mm[row])
    known = rows[np.isfinite(rows[:, 0])]
    if not len(known):
        raise ImageError("no curve can be followed on the page", hint="use a sharper picture")
    left, right = _shared_ends(known, pulse)
    return Extent(left, right, rows, _gaps(inked, x_mm, left, right))


def _shared_ends(rows: FloatArray, pulse: Calibration | None) -> tuple[float, float]:
    """Ends that most rows share, those first that make the rows ten seconds long.

    Args:
        rows: Ends of each row's ink, (n, 2), mm; a row may begin or end too early or too late.
        pulse: The calibration pulse.
    """
    most, best = -1.0, (median(rows[:, 0]), median(rows[:, 1]))
    # Of each end as a candidate: the median of those near it, and how many those are.
    shared: list[list[tuple[float, int]]] = []
    for side in rows.T:
        near = np.abs(side - side[:, None]) <= _SHARED_MM
        shared.append([(median(side[mine]), int(mine.sum())) for mine in near])
    for left, of_left in shared[0]:
        for right, of_right in shared[1]:
            whole = _ten_seconds(left, right, pulse)
            support = of_left + of_right + (0.0 if whole is None else 0.6 * len(rows) + 0.5)
            if support > most:
                most, best = support, whole or (left, right)
    return best


def _gaps(inked: NDArray[np.bool_], x_mm: FloatArray, left: float, right: float) -> tuple[tuple[float, float], ...]:
    """Stretches of 0.8 mm or more in which at most three in ten rows have ink."""
    step = 0.1
    at = np.arange(left, right, step)
    if at.size < 2:
        return ()
    columns = np.arange(inked.shape[1])
    share = np.mean(
        [inked[row, np.round(np.interp(at, x_mm[row], columns)).astype(int)] for row in range(len(x_mm))], axis=0
    )
    edges = np.flatnonzero(np.diff(np.concatenate([[0], (share <= 0.3).astype(np.int8), [0]]))).reshape(-1, 2)
    return tuple((left + a * step, left + b * step) for a, b in edges if (b - a) * step >= 0.8)


def in_step(x_mm: FloatArray, curves: FloatArray, px_per_mm: float, extent: Extent) -> FloatArray:
    """Millimetres of the columns, so that beats stand at one place in every row.

    All rows of a page show the same time, and a beat is steep in every lead at once, to about 10 ms. Where the grid
    leaves a row askew by more than that, as it may on paper that does not lie flat, the row is moved: by the lag at
    which its steepness agrees best with that of all rows, found in five parts of the page and made a straight line.

    Args:
        x_mm: Millimetres of every fine column in each row, (n_rows, w).
        curves: Height of the curves, (n_rows, w), fine px.
        px_per_mm: Scale across the rows.
        extent: Ends of the rows.

    Returns:
        Millimetres, the shape of `x_mm`.
    """
    at = np.arange(extent.left, extent.right, _STEP_MM)
    if x_mm.shape[0] < 2 or at.size < 1000:
        return x_mm
    before = _steepness(x_mm, curves, px_per_mm, at)
    best, agreement = x_mm, _agreement(before)
    # A line along the page must earn its second figure.
    for degree, gain in ((0, 1.02), (1, 1.03)):
        moved = _moved(x_mm, before, at, extent, degree)
        found = _agreement(_steepness(moved, curves, px_per_mm, at))
        if found > gain * agreement:
            best, agreement = moved, found
    return best


def _steepness(x_mm: FloatArray, curves: FloatArray, px_per_mm: float, at: FloatArray) -> FloatArray:
    """Steepness of every row at places of the page (mm), smoothed over half a mm, of mean 0 and variance 1."""
    kernel = np.exp(-((np.arange(-20, 21) * _STEP_MM / 0.5) ** 2))
    out = np.zeros((x_mm.shape[0], at.size))
    for row in range(x_mm.shape[0]):
        known = np.isfinite(curves[row])
        if known.sum() > 100:
            height = np.interp(at, x_mm[row][known], curves[row][known]) / px_per_mm
            out[row] = np.convolve(np.minimum(np.abs(np.gradient(height, _STEP_MM)), 6.0), kernel, mode="same")
    out -= out.mean(axis=1, keepdims=True)
    return np.asarray(out / np.maximum(out.std(axis=1, keepdims=True), 1e-9))


def _agreement(steep: FloatArray) -> float:
    """Mean correlation of each row with the mean of the others."""
    rest = steep.sum(axis=0)[None] - steep
    rest /= np.maximum(rest.std(axis=1, keepdims=True), 1e-9)
    return float((steep * rest).mean())


def _moved(x_mm: FloatArray, steep: FloatArray, at: FloatArray, extent: Extent, degree: int) -> FloatArray:
    """Rows moved by the lags at which their steepness agrees best with that of the others, in five parts."""
    out = x_mm.copy()
    reach = round(_ASKEW_MM / _STEP_MM)
    edges = np.linspace(0, at.size, 6).astype(int)
    centre = (edges[:-1] + edges[1:]) / 2
    for row in range(x_mm.shape[0]):
        others = np.delete(steep, row, axis=0).mean(axis=0)
        shifts, sure = np.zeros(5), np.zeros(5)
        for part in range(5):
            first, last = max(reach, edges[part]), min(at.size - reach, edges[part + 1])
            template = others[first:last] - others[first:last].mean()
            own = steep[row, first - reach : last + reach]
            match = np.correlate(own - own.mean(), template, mode="valid")
            best = int(match.argmax())
            if 0 < best < match.size - 1 and match[best] > 0:
                shifts[part] = -(best - reach) * _STEP_MM
                sure[part] = match[best] / max(1e-9, float(np.linalg.norm(template) * np.linalg.norm(own)))
        good = sure > _ALIKE
        if good.sum() < 2:
            continue
        good &= np.abs(shifts - np.median(shifts[good])) < 1.2
        if not good.any():
            continue
        line = np.polyfit(centre[good], shifts[good], degree if good.sum() > 2 else 0, w=sure[good])
        ends = np.polyval(line, [0.0, float(at.size)])
        if np.abs(ends).max() > _IN_STEP_MM:
            out[row] += np.interp(out[row], [extent.left, extent.right], ends)
    return np.asarray(np.maximum.accumulate(out, axis=1), dtype=np.float64)


def _ends(solid: NDArray[np.bool_], area: tuple[float, float], margin: float, gap: float) -> tuple[float, float]:
    """First and last column of a row's ink: what lies outside of the area counts only where it goes on from inside."""
    index = np.flatnonzero(solid)
    inside = index[(index >= area[0]) & (index <= area[1])]
    if not inside.size:
        return np.nan, np.nan
    first, last = int(inside[0]), int(inside[-1])
    if first - area[0] <= gap:
        for x in index[(index < first) & (index >= area[0] - margin)][::-1]:
            if first - x > gap:
                break
            first = int(x)
    if area[1] - last <= gap:
        for x in index[(index > last) & (index <= area[1] + margin)]:
            if x - last > gap:
                break
            last = int(x)
    return float(first), float(last)


def _ten_seconds(left: float, right: float, pulse: Calibration | None) -> tuple[float, float] | None:
    """Ends of rows that are 250 or 500 mm long, None where they are not.

    The level foot of a pulse, or the ink lost at its edge, is no part of them.
    """
    for whole in (TEN_SECONDS_MM, 2 * TEN_SECONDS_MM):
        if pulse is None:
            if abs(right - left - whole) < 1.2:
                return left, right
        elif not pulse.at_end and pulse.right - 1.0 <= right - whole <= left + _FOOT_MM:
            return right - whole, right
        elif pulse.at_end and right - _FOOT_MM <= left + whole <= pulse.left + 1.0:
            return left, left + whole
    return None


def boundaries(
    tracks: Tracks, x_mm: FloatArray, extent: Extent, columns: int, rows: int, strokes: FloatArray | None
) -> tuple[tuple[float, float], ...]:
    """Begin and end of each column of leads, mm.

    Columns are of one length. Where a gap or a stroke stands in most rows near the border of two of them, that is the
    border.

    Args:
        tracks: Curves of the rows.
        x_mm: Millimetres of every fine column in each row.
        extent: Ends of the rows.
        columns, rows: Columns and rows of leads.
        strokes: Likelihood of a stroke in every fine column of each row, 0 to 1, (n_rows, w), or None.

    Returns:
        Pairs of millimetres, from left to right.
    """
    length = extent.length / columns
    step = 0.1
    places = np.arange(tracks.y.shape[1])
    drawn = None if strokes is None else _drawn_borders(x_mm, extent, columns, rows, strokes)
    if drawn is not None:
        inner = [(float(a), float(b)) for a, b in pairwise(drawn)]
        return tuple((max(a, extent.left), min(b, extent.right)) for a, b in inner)
    ends = [extent.left]
    begins = []
    for k in range(1, columns):
        about = extent.left + k * length
        at = about + np.arange(-_BORDER_MM, _BORDER_MM + step / 2, step)
        index = np.stack([np.interp(at, x_mm[row], places) for row in range(rows)]).round().astype(int)
        blank = np.mean([~np.isfinite(tracks.y[row, index[row]]) for row in range(rows)], axis=0) >= 0.6
        gap = _nearest_run(blank, max(1, round(0.35 / step)))
        if gap is not None and _whole(extent.length) and abs(float(at[gap[0]] + at[gap[1] - 1]) / 2 - about) > _EVEN_MM:
            gap = None  # ink that was lost: between leads there is no room
        if gap is not None:
            begins.append(float(at[gap[0]]))
            ends.append(float(at[gap[1] - 1]))
            continue
        border = about
        if strokes is not None and not _whole(extent.length):
            # A stroke stands in nearly every row; beats of one moment do not look like it in all of them.
            likely = np.sort([np.minimum(1.0, strokes[row, index[row]]) for row in range(rows)], axis=0)[rows // 3]
            likely = np.convolve(likely, np.ones(5) / 5, mode="same")
            if likely.max() > 0.35:
                stroke = float((at * likely**2).sum() / (likely**2).sum())
                border = stroke if abs(stroke - about) > _EVEN_MM else about
        begins.append(border)
        ends.append(border)
    begins.append(extent.right)
    return tuple(zip(ends, begins, strict=True))


def _drawn_borders(x_mm: FloatArray, extent: Extent, columns: int, rows: int, strokes: FloatArray) -> FloatArray | None:
    """Borders of the columns, mm, with both ends of the rows, by strokes that stand at even distances.

    Strokes are drawn where leads begin, whatever the length of the rows suggests: their ends may be a pulse's foot.

    Returns:
        Shape (columns + 1,); None unless there is a clear stroke at every border of three columns or more.
    """
    if columns < 3:
        return None
    places = np.arange(x_mm.shape[1])
    away = np.arange(-_BORDER_MM, _BORDER_MM + _STEP_MM / 2, _STEP_MM)
    found = []
    for k in range(1, columns):
        at = extent.left + k * extent.length / columns + away
        index = np.stack([np.interp(at, x_mm[row], places) for row in range(rows)]).round().astype(int)
        likely = np.sort([np.minimum(1.0, strokes[row, index[row]]) for row in range(rows)], axis=0)[rows // 3]
        likely = np.convolve(likely, np.ones(5) / 5, mode="same")
        peak = int(likely.argmax())
        if likely[peak] < _CLEAR:
            return None
        near = slice(max(0, peak - 6), peak + 7)
        found.append(float((away[near] * likely[near] ** 2).sum() / (likely[near] ** 2).sum()))
    order = np.arange(1, columns)
    line = np.polyfit(order, found, 1)
    fitted = np.polyval(line, order)
    if np.abs(fitted - found).max() > _EVENLY_MM or np.abs(fitted).max() < _AS_EVEN_MM:
        return None  # the even places are the more exact ones
    every = np.arange(columns + 1)
    return np.asarray(extent.left + every * extent.length / columns + np.polyval(line, every))


def _whole(length: float) -> bool:
    """Whether rows are as long as ten seconds are: then their quarters are where they should be."""
    return min(abs(length - whole) for whole in (TEN_SECONDS_MM, 2 * TEN_SECONDS_MM)) < 0.6


def _nearest_run(flags: NDArray[np.bool_], least: int) -> tuple[int, int] | None:
    """The run of True of at least that length that lies nearest to the middle."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))).reshape(-1, 2)
    runs = [(int(a), int(b)) for a, b in edges if b - a >= least]
    return min(runs, key=lambda run: abs((run[0] + run[1]) / 2 - flags.size / 2)) if runs else None
