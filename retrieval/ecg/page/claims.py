"""Ink that no row explains: tips of beats that the cheapest paths pass by are given to the row that reaches them.

Every stroke of a trace is part of some row. The cheapest path of a row alone takes a short cut where two limbs of a
narrow beat stand side by side, and where the tall beats of two rows run through each other one of them is left over. So
rows are asked again, about a piece of ink that none of them passes: a pixel that a path would be the only one to
explain is worth something, and less to rows that lie farther off. The row that gains most takes it, until none gains.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.tracks import PathCosts, Paths, cheapest, row_windows

ByteImage = NDArray[np.uint8]
FloatArray = NDArray[np.float64]

_WORTH = 0.03  # of a px of ink: four of them pay for one px of paper
_FAR, _LEAST_WORTH = 0.25, 0.5  # share of that worth that is lost with each row distance beyond the nearest row's
_PAPER = 3.0  # times the usual cost: gaps between tips of two rows are narrow
_LEAST_GAIN = 0.4
_NOISE = 0.01  # of sums in single precision
_LEAST_TALL, _LEAST_AREA = 5, 9  # px of a piece of ink
_MARGIN = 8  # columns beside it in which paths may change
_MOST_COLUMNS = 120  # a longer piece is a curve of its own
_MOST_ROUNDS = 6


def claim_ink(paths: Paths, costs: PathCosts, traces: ByteImage, baselines: FloatArray) -> Paths:
    """The paths with detours to ink that they left unexplained.

    Args:
        paths: Of `follow`, over all columns.
        costs: By which they were found.
        traces: Not 0 where ink is surely of a trace, uint8 (h, w).
        baselines: y of the rows, px.
    """
    low, high, left_at = paths.low.copy(), paths.high.copy(), paths.left_at.copy()
    height, width = traces.shape
    worth = traces > 0
    covered = _covered(low, high, height)
    left_over = (worth & (covered == 0)).view(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(left_over, connectivity=8)
    spans = sorted(
        (max(1, x - _MARGIN), min(width, x + wide + _MARGIN))
        for x, _, wide, tall, area in stats[1:count].tolist()
        if tall >= _LEAST_TALL and area >= _LEAST_AREA and wide <= _MOST_COLUMNS
    )
    merged: list[tuple[int, int]] = []
    for first, last in spans:
        if merged and first <= merged[-1][1] and last - merged[-1][0] <= 2 * _MOST_COLUMNS:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        elif last - first > 2:
            merged.append((first, last))
    price = _nearness(costs, baselines, height) * np.float32(_WORTH) if merged else np.zeros((0, 0), np.float32)
    for first, last in merged:
        _ask(first, last, costs, worth, covered, price, (low, high, left_at))
    return Paths(low, high, left_at)


def _nearness(costs: PathCosts, baselines: FloatArray, height: int) -> NDArray[np.float32]:
    """What ink is worth to each row at each height of its window, 1 where no row is nearer, (rows, size)."""
    y = np.arange(costs.home.shape[1])[None] + costs.offsets[:, None]
    distance = np.abs(y[:, :, None] - baselines[None, None, :])
    pitch = float(np.median(np.diff(baselines))) if baselines.size > 1 else float(height)
    farther = np.abs(y - baselines[:, None]) - distance.min(axis=2)
    return np.asarray(np.maximum(_LEAST_WORTH, 1.0 - _FAR * farther / pitch), dtype=np.float32)


def _covered(low: FloatArray, high: FloatArray, height: int) -> NDArray[np.int8]:
    """How many rows pass each pixel, with one px on either side, (height, w)."""
    n_rows, width = low.shape
    begin = np.clip(np.nan_to_num(low) - 1, 0, height).astype(int)
    end = np.clip(np.nan_to_num(high, nan=-2.0) + 2, 0, height).astype(int)
    steps = np.zeros((width, height + 1), dtype=np.int8)
    columns = np.arange(width)
    for row in range(n_rows):
        steps[columns, begin[row]] += 1
        steps[columns, np.maximum(begin[row], end[row])] -= 1
    return np.cumsum(steps[:, :-1], axis=1, dtype=np.int8).T


def _ask(
    first: int,
    last: int,
    every: PathCosts,
    worth: NDArray[np.bool_],
    covered: NDArray[np.int8],
    price: NDArray[np.float32],
    paths: tuple[FloatArray, FloatArray, FloatArray],
) -> None:
    """Change paths, in place, between two columns, the row that gains most first.

    Once every row was asked, a row is asked again only where it may gain: its cheapest course became cheaper by no more
    than what the ink is worth that others have left since.
    """
    low, high, left_at = (plane[:, first:last] for plane in paths)
    if np.isnan(left_at).any() or np.isnan(paths[2][:, first - 1]).any():
        return
    costs = every.between(first, last)
    n, n_rows, size = costs.across.shape
    offsets = costs.offsets[:, None]
    rows, columns = np.arange(n_rows), np.arange(n)[None]
    start, end = (np.full((n_rows, size), np.float32(1e6)) for _ in range(2))
    begun = np.clip(paths[2][:, first - 1].astype(int) - costs.offsets, 0, size - 1)
    start[rows, begun] = 0.0
    end[rows, np.clip(left_at[:, -1].astype(int) - costs.offsets, 0, size - 1)] = 0.0
    # Only some of the pixels are worth something: planes of flags are a quarter of the memory of planes of prices.
    worthy = row_windows(worth[:, first:last], costs.offsets, size)
    y = (np.arange(size) + offsets).astype(np.int16)
    passes = _PAPER * costs.upright
    rise = np.empty_like(passes)
    before = np.zeros(n_rows)
    least_cost = np.full(n_rows, -np.inf)  # no course of a row is cheaper
    passed = row_windows(covered[:, first:last], costs.offsets, size)
    begin, stop = ((edge + step).T[:, :, None].astype(np.int16) for edge, step in ((low, -1), (high, 1)))
    own = ((y >= begin) & (y <= stop)).view(np.int8)
    paid = (passed == own) & worthy  # passed by no other row
    changed = rows
    for _ in range(_MOST_ROUNDS):
        for row in changed.tolist():
            np.cumsum(passes[:, row] - price[row] * paid[:, row], axis=1, out=rise[:, row])
        left = (left_at - offsets).astype(int)
        entered = np.concatenate([begun[:, None], left[:, :-1]], axis=1)
        each = rows[:, None]
        tall = rise[columns, each, np.maximum(left, entered)] - rise[columns, each, np.minimum(left, entered)]
        before = (costs.across[columns, each, entered] + tall).sum(axis=1).astype(np.float64)
        asked = np.flatnonzero(before - least_cost > _LEAST_GAIN - _NOISE)
        if not asked.size:
            return
        across, passed_costs = (
            (costs.across, rise) if asked.size == n_rows else (costs.across[:, asked], rise[:, asked])
        )
        came, gone, cost = cheapest(across, passed_costs, start[asked], end[asked])
        least_cost[asked] = cost
        gain = before[asked] - cost
        k = int(gain.argmax())
        if gain[k] < _LEAST_GAIN:
            return
        best = asked[k]
        before_low, before_high = low[best].copy(), high[best].copy()
        low[best] = np.minimum(came[k], gone[k]) + costs.offsets[best]
        high[best] = np.maximum(came[k], gone[k]) + costs.offsets[best]
        left_at[best] = gone[k] + costs.offsets[best]
        # What the row passes now and did not before, and the other way round.
        lines = np.arange(worth.shape[0], dtype=np.int16)[:, None]
        now = ((lines >= low[best] - 1) & (lines <= high[best] + 1)).view(np.int8)
        change = now - ((lines >= before_low - 1) & (lines <= before_high + 1)).view(np.int8)
        moved = row_windows(change, costs.offsets, size)
        passed += moved
        own[:, best] += moved[:, best]
        was_paid = paid
        paid = (passed == own) & worthy
        _, gaining, line = np.nonzero(paid > was_paid)
        least_cost -= np.bincount(gaining, weights=price[gaining, line], minlength=n_rows)
        changed = np.flatnonzero((paid != was_paid).any(axis=(0, 2)))
