"""From the ink of a page to one curve a row, how high and how low the trace is in each column of pixels, and its leads.

A row holds one lead or several: where each of them begins and ends is told by pulses, gaps, ticks and beats in step.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.pieces import inked_pixels
from ecgkin.retrieval.ecg.page.pulse import Pulse

ByteImage = NDArray[np.uint8]
IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

# A piece that has this much more ink on its second row than the stroke of a tall beat leaves there joins two rows.
_JOINED = 3.0
# Runs of ink that belong to one stroke may be this far apart (share of the page's side): a crease or a grid line.
_BROKEN = 0.004
# A tick between leads is drawn alike in every row: its ends vary by less than this share of the longer side.
_ALIKE = 0.002
_COLUMNS = {"3x4": 4, "3x4+1R": 4, "3x4+3R": 4, "6x2": 2, "12x1": 1}
_STRIPS = {"3x4": 0, "3x4+1R": 1, "3x4+3R": 3, "6x2": 0, "12x1": 0}


@dataclass(frozen=True, slots=True)
class Curves:
    """The rows of a page as curves.

    Attributes:
        top, bottom: Middle of the stroke at the upper and the lower end of each column, px, shape (n_rows, width);
            NaN where a row has no ink. They are equal where the trace is flat.
        stroke_px: Thickness of a level stroke.
    """

    top: FloatArray
    bottom: FloatArray
    stroke_px: float

    @property
    def middle(self) -> FloatArray:
        """Height of the trace in each column, NaN without ink."""
        return (self.top + self.bottom) / 2


def trace_curves(trace: ByteImage, baselines: tuple[float, ...], half: int) -> Curves:
    """Curves of the rows.

    A connected piece of ink goes to the row whose corridor holds most of it. Where traces of two rows touch, runs of
    ink follow the row that they overlap in the column before, and a run over both rows is cut where they met.

    Args:
        trace: Binary trace ink, uint8 (h, w).
        baselines: y of the rows, from the top, px.
        half: Half height of the corridor round a baseline, px.

    Returns:
        Upper and lower edge of each row's curve, px.
    """
    height, width = trace.shape
    n_rows = len(baselines)
    rows_y = np.asarray(baselines)
    count, labels, _, _ = cv2.connectedComponentsWithStats(trace, connectivity=8, ltype=cv2.CV_16U)
    on_row = np.zeros((n_rows, count))
    for row, y in enumerate(rows_y):
        first, last = max(0, round(y) - half), min(height, round(y) + half + 1)
        on_row[row] = np.bincount(labels[first:last].ravel(), minlength=count)
    # Upright transposed order: runs come column by column, from the top.
    upright = cv2.copyMakeBorder(cv2.transpose(trace), 0, 0, 1, 1, cv2.BORDER_CONSTANT, value=0)
    begun = np.asarray(cv2.subtract(upright[:, 1:], upright[:, :-1]), dtype=np.uint8)
    ended = np.asarray(cv2.subtract(upright[:, :-1], upright[:, 1:]), dtype=np.uint8)
    column, begin = np.divmod(inked_pixels(begun), height + 1)
    end = inked_pixels(ended) % (height + 1) - 1
    if not column.size:
        empty = np.full((n_rows, width), np.nan)
        return Curves(empty, empty.copy(), 1.0)
    piece = labels[begin, column]
    stroke = float(np.percentile(end - begin + 1, 30))
    owner = on_row.argmax(axis=0)
    ranked = np.sort(on_row, axis=0)
    untouched = ranked[-1] == 0
    second = ranked[-2] if n_rows > 1 else np.zeros(count)
    joined = second > _JOINED * stroke * (2 * half + 1)
    centre = (begin + end) / 2
    nearest = np.abs(centre[:, None] - rows_y[None, :]).argmin(axis=1)
    row_of = np.where(untouched[piece], nearest, owner[piece])
    if joined[1:].any():
        column, begin, end, row_of = _part(column, begin, end, row_of, joined[piece], nearest, rows_y, half)

    top = np.full((n_rows, width), np.inf)
    bottom = np.full((n_rows, width), -np.inf)
    np.minimum.at(top, (row_of, column), begin)
    np.maximum.at(bottom, (row_of, column), end)
    n_runs = np.zeros((n_rows, width), dtype=np.int64)
    np.add.at(n_runs, (row_of, column), 1)
    _choose(top, bottom, n_runs, column, begin, end, row_of, rows_y, _BROKEN * max(height, width))
    missing = ~np.isfinite(top)
    top[missing] = bottom[missing] = np.nan
    # Ends of a stroke lie half its thickness inside of its ink.
    inset = np.minimum((stroke - 1) / 2, (bottom - top) / 2)
    return Curves(top + inset, bottom - inset, stroke)


def _part(
    column: IntArray,
    begin: IntArray,
    end: IntArray,
    row_of: IntArray,
    joined: NDArray[np.bool_],
    nearest: IntArray,
    rows_y: FloatArray,
    half: int,
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Runs of pieces that join rows, each given to the row it follows; runs over two rows are cut."""
    out: list[tuple[int, int, int, int]] = []
    before: list[tuple[int, int, int]] = []  # (begin, end, row) in the column before
    here: list[tuple[int, int, int]] = []
    last_column = -1
    for x, first, last, near in zip(
        column[joined].tolist(), begin[joined].tolist(), end[joined].tolist(), nearest[joined].tolist(), strict=True
    ):
        if x != last_column:
            before, here = (here if x == last_column + 1 else []), []
            last_column = x
        touching = [run for run in before if run[0] <= last + 1 and run[1] >= first - 1]
        rows = sorted({run[2] for run in touching})
        if len(rows) < 2:
            held = [k for k in range(rows_y.size) if first - half <= rows_y[k] <= last + half]
            # A level run on a baseline belongs there, so that a wrong turn at a crossing ends with the beat.
            level = len(held) == 1 and last - first <= 2 * half
            row = held[0] if level else rows[0] if rows else near
            # A stroke that reaches another row's line, where that row has no ink of its own, may hold its trace.
            if len(held) < 2:
                here.append((first, last, row))
                out.append((x, first, last, row))
                continue
            rows = held
        cut = first
        for upper, lower in pairwise(rows):
            above = [run[1] for run in touching if run[2] == upper]
            below = [run[0] for run in touching if run[2] == lower]
            middle = (rows_y[upper] + rows_y[lower]) / 2
            if above and below:
                middle = (max(above) + min(below)) / 2
            stop = int(min(max(middle, cut), last))
            here.append((cut, stop, upper))
            out.append((x, cut, stop, upper))
            cut = min(stop + 1, last)
        here.append((cut, last, rows[-1]))
        out.append((x, cut, last, rows[-1]))
    parted = np.array(out, dtype=np.int64).reshape(-1, 4)
    rest = ~joined
    return (
        np.concatenate([column[rest], parted[:, 0]]),
        np.concatenate([begin[rest], parted[:, 1]]),
        np.concatenate([end[rest], parted[:, 2]]),
        np.concatenate([row_of[rest], parted[:, 3]]),
    )


def _choose(
    top: FloatArray,
    bottom: FloatArray,
    n_runs: IntArray,
    column: IntArray,
    begin: IntArray,
    end: IntArray,
    row_of: IntArray,
    rows_y: FloatArray,
    broken_px: float,
) -> None:
    """Where a row has several runs in a column, keep the one that continues the curve and what is close to it."""
    for row in range(top.shape[0]):
        many = n_runs[row] > 1
        if not many.any():
            continue
        single = np.flatnonzero(n_runs[row] == 1)
        xs = np.flatnonzero(many)
        low = high = np.full(xs.size, rows_y[row])
        if single.size:
            low = np.interp(xs, single, top[row, single])
            high = np.interp(xs, single, bottom[row, single])
        mine = (row_of == row) & many[column]
        runs: dict[int, list[tuple[int, int]]] = {}
        for x, first, last in zip(column[mine].tolist(), begin[mine].tolist(), end[mine].tolist(), strict=True):
            runs.setdefault(x, []).append((first, last))
        for x, upper, lower in zip(xs.tolist(), low.tolist(), high.tolist(), strict=True):
            stack = sorted(runs[x])
            groups = [list(stack[0])]
            for first, last in stack[1:]:
                if first - groups[-1][1] <= broken_px:
                    groups[-1][1] = max(groups[-1][1], last)
                else:
                    groups.append([first, last])
            # What lies at the height of the neighbours is one stroke, however broken; a name above or below is not.
            best = [g for g in groups if g[0] <= lower + broken_px and g[1] >= upper - broken_px]
            if not best:
                best = [min(groups, key=lambda g: max(g[0] - lower, upper - g[1]))]
            top[row, x], bottom[row, x] = best[0][0], best[-1][1]


def polylines(top: FloatArray, bottom: FloatArray, bridge_px: float) -> list[FloatArray]:
    """One row's curve as polylines (x, y) in px; breaks where ink is missing over more than `bridge_px`.

    On a slope the curve runs through the middle of each column's ink, whose height there is that of the pen. At a peak
    it reaches the end of the ink, and where a column holds a peak and a valley, both.

    Args:
        top: Upper edge by column, NaN where ink is missing, (w,).
        bottom: Lower edge, (w,).
        bridge_px: Longest gap that a line crosses.

    Returns:
        Lines, each (n, 2).
    """
    xs = np.flatnonzero(np.isfinite(top))
    if xs.size < 2:
        return []
    t, b = top[xs], bottom[xs]
    tall = np.concatenate([[False], b - t > 1.5, [False]])
    peak = tall[1:-1] & _extreme(-t, tall)
    valley = tall[1:-1] & _extreme(b, tall)
    middle = (t + b) / 2
    one = np.where(peak, t, np.where(valley, b, middle))
    both = peak & valley
    from_above = np.concatenate([[True], one[:-1] <= middle[1:]])
    first = np.where(both, np.where(from_above, t, b), one)
    second = np.where(both, np.where(from_above, b, t), one)
    points = np.stack([np.stack([xs, first], axis=1), np.stack([xs, second], axis=1)], axis=1)
    breaks = np.flatnonzero(np.diff(xs) > bridge_px) + 1
    return [part.reshape(-1, 2) for part in np.split(points, breaks) if part.shape[0] > 1]


def _extreme(height: FloatArray, tall: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where a value is above both neighbours, or level with a neighbour that is part of the same blunt tip."""
    padded = np.concatenate([[-np.inf], height, [-np.inf]])
    before, after = padded[:-2], padded[2:]
    left = (height > before) | ((height == before) & tall[:-2])
    right = (height > after) | ((height == after) & tall[2:])
    return np.asarray(left & right)


@dataclass(frozen=True, slots=True)
class Spans:
    """Where the leads of a page lie.

    Attributes:
        panels: (row, column, left, right) of each stretch of a lead, px; rhythm strips are column 0 of their row.
        left, right: Range of a whole row.
        gaps: Whether blank paper parts the columns.
        in_step: Whether beats stand at the same places in all columns.
    """

    panels: tuple[tuple[int, int, float, float], ...]
    left: float
    right: float
    gaps: bool
    in_step: bool


def find_spans(
    middle: FloatArray,
    swing: FloatArray,
    layout: str,
    pulse: Pulse | None,
    stroke_px: float,
    scales: tuple[float, ...],
    area: tuple[int, int],
) -> Spans | None:
    """Beginning and end of the leads of a page of a known layout, or None where its rows do not agree on them.

    Args:
        middle: Height of each row's curve, NaN without ink, shape (n_rows, width).
        swing: Height of the stroke in each column, same shape.
        layout: As `guess_layout` says, not "other".
        pulse: The calibration pulse.
        stroke_px: Thickness of a stroke.
        scales: Px per mm that the grid allows, () without a grid.
        area: Left and right end of the traces, roughly; what lies outside counts only where a pulse explains it.

    Returns:
        Columns of px by lead, or None.
    """
    n_rows, width = middle.shape
    columns, strips = _COLUMNS[layout], _STRIPS[layout]
    n_lead_rows = n_rows - strips
    inked = np.isfinite(middle)
    if pulse is not None:
        edge = (round(pulse.left) - 1, width) if pulse.at_end else (0, round(pulse.right) + 2)
        inked[:, edge[0] : edge[1]] = False
    else:
        inked[:, : max(0, area[0] - 2)] = False
        inked[:, area[1] + 2 :] = False
    if not inked.any(axis=1).all():
        return None
    firsts = inked.argmax(axis=1).astype(np.float64)
    lasts = width - 1.0 - inked[:, ::-1].argmax(axis=1)
    # Most rows begin together; what comes before is the rest of a name, what comes later a lost stretch.
    left, right = float(np.median(firsts[:n_lead_rows])), float(np.median(lasts[:n_lead_rows]))
    if pulse is not None and not pulse.at_end:
        # Gaps between the leads are no time: then the length of a row says nothing of its beginning.
        gaps = _bounds(inked[:n_lead_rows], columns, left, right)[1]
        left = _after_pulse(middle, pulse, left, right, stroke_px, () if gaps else scales)
    if right - left < 0.2 * width:
        return None
    bounds, gaps = _bounds(inked[:n_lead_rows], columns, left, right)
    panels = [
        (row, column, bounds[column][0], bounds[column][1]) for column in range(columns) for row in range(n_lead_rows)
    ]
    for row in range(n_lead_rows, n_rows):
        end = float(lasts[row])
        # A strip may end before or after the leads, when gaps lie between those.
        sound = abs(end - right) < 0.12 * (right - left)
        panels.append((row, 0, left, end if sound else right))
    in_step = columns > 1 and strips == 0 and _in_step(swing[:n_lead_rows], bounds)
    return Spans(tuple(panels), left, right, gaps, in_step)


def _after_pulse(
    middle: FloatArray, pulse: Pulse, left: float, right: float, stroke_px: float, scales: tuple[float, ...]
) -> float:
    """Where the traces begin after a pulse: at its edge, behind a level foot, or behind a gap."""
    wide = pulse.right - pulse.left
    if left > pulse.right + 0.15 * wide + stroke_px + 2:
        return left  # a gap
    for scale in scales:
        # Ten seconds at 25 or 50 mm/s decide, where the grid tells the scale.
        for length in (250.0, 500.0):
            if -1.0 <= (right - pulse.right) / scale - length <= 1.3 * wide / scale:
                return max(pulse.right, right - length * scale)
    start = round(pulse.right + stroke_px) + 1
    reach = round(0.5 * wide)
    foot = middle[:, start : start + 3 * reach]
    if foot.shape[1] < 2:
        return float(pulse.right)
    missing = np.isnan(foot).mean(axis=0) > 0.5
    if missing[: 2 * reach].any():
        last = int(np.flatnonzero(missing[: 2 * reach])[-1])
        return float(start + last + 1)
    part = foot[:, : max(2, round(0.8 * reach - stroke_px))]
    # A row without a curve there has no say: infinities become a swing of zero.
    high = np.where(np.isnan(part), -np.inf, part).max(axis=1)
    low = np.where(np.isnan(part), np.inf, part).min(axis=1)
    level = np.where(high >= low, high - low, 0.0)
    return float(pulse.right + reach) if float(np.median(level)) <= 1.5 else float(pulse.right)


def _bounds(
    inked: NDArray[np.bool_], columns: int, left: float, right: float
) -> tuple[list[tuple[float, float]], bool]:
    """Left and right end of each column of leads: at gaps that the rows share, else in equal parts; any gaps?"""
    span = right - left
    share = inked.mean(axis=0)
    edges = [left]
    closing = []
    for index in range(1, columns):
        about = left + index / columns * span
        first, last = round(about - 0.045 * span), round(about + 0.045 * span)
        free = np.flatnonzero(share[first:last] <= 0.34)
        runs = np.split(free, np.flatnonzero(np.diff(free) > 1) + 1) if free.size else []
        runs = [run for run in runs if run.size >= 0.004 * span]
        if runs:
            run = max(runs, key=len)
            closing.append(float(first + run[0] - 1))
            edges.append(float(first + run[-1] + 1))
        else:
            closing.append(about)
            edges.append(about)
    closing.append(right)
    out = list(zip(edges, closing, strict=True))
    widths = np.array([end - begin for begin, end in out])
    if widths.max() > 1.12 * widths.min():
        # Lost ink, not a gap between leads.
        even = np.linspace(left, right, columns + 1)
        return [(float(even[k]), float(even[k + 1])) for k in range(columns)], False
    return out, any(after - end > 2 for (_, end), (after, _) in pairwise(out))


def _in_step(swing: FloatArray, bounds: list[tuple[float, float]]) -> bool:
    """Whether beats stand at the same places in all columns, as they do where all columns show the same seconds.

    Regular beats one after the other may also fall into step, but then they agree as well one beat later.
    """
    n = 500
    profiles = []
    for begin, end in bounds:
        part = swing[:, round(begin) : round(end)]
        tall = np.nansum(np.minimum(part, 60.0), axis=0)
        profile = np.interp(np.linspace(0, tall.size - 1, n), np.arange(tall.size), tall)
        profile = np.asarray(cv2.GaussianBlur(profile.reshape(1, -1), (0, 0), 2.0)).ravel()
        profile -= profile.mean()
        profiles.append(profile / max(1e-9, float(np.linalg.norm(profile))))
    agree = []
    for first, second in pairwise(profiles):
        lags = np.correlate(first, second, mode="full")
        here = float(lags[n - 1 - 2 : n + 2].max())
        far = float(np.concatenate([lags[: n - 12], lags[n + 11 :]]).max())
        agree.append((here, here - far))
    # Of three pairs one may be off: an end of a column that was lost moves all of its beats.
    here, ahead = np.median(agree, axis=0)
    return bool(here > 0.6 and ahead > 0.02)


def without_ticks(
    top: FloatArray, bottom: FloatArray, baselines: tuple[float, ...], edges: list[float], side: int
) -> None:
    """Take out, in place, the upright ticks that stand between the columns of leads, alike in every row.

    Args:
        top: Upper edges of the curves, (n_rows, w); changed.
        bottom: Lower edges, (n_rows, w); changed.
        baselines: y of the rows, px.
        edges: Columns at which leads meet.
        side: How far to either side ticks are looked for, px.
    """
    rows_y = np.asarray(baselines)[: top.shape[0], None]
    reach = max(3, round(0.008 * side))
    for edge in edges:
        first = max(0, round(edge) - 2 * reach)
        up = rows_y - top[:, first : first + 4 * reach]
        down = bottom[:, first : first + 4 * reach] - rows_y
        tall = (up + down > 0.008 * side) & (up > 1) & (down > 1)
        many = tall.sum(axis=0) >= max(2, 0.6 * tall.shape[0])
        for column in np.flatnonzero(many):
            rows = tall[:, column]
            if np.std((up + down)[rows, column]) <= _ALIKE * side:
                top[:, first + column] = bottom[:, first + column] = np.nan
