"""Where each lead of a page begins and ends."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.pulse import Pulse

FloatArray = NDArray[np.float64]

# A tick between leads is drawn alike in every row: its ends vary by less than this share of the longer side.
_ALIKE = 0.002
_COLUMNS = {"3x4": 4, "3x4+1R": 4, "3x4+3R": 4, "6x2": 2, "12x1": 1}
_STRIPS = {"3x4": 0, "3x4+1R": 1, "3x4+3R": 3, "6x2": 0, "12x1": 0}


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
