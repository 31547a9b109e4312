"""Tips of beats that cheapest paths pass by go to the row that they belong to."""

from __future__ import annotations

import cv2
import numpy as np

from ecgkin.retrieval.ecg.page.claims import claim_ink
from ecgkin.retrieval.ecg.page.tracks import Paths, follow, path_costs

WIDTH, HEIGHT = 300, 240
BASELINES = np.array([60.0, 110.0, 160.0])


def _page(beats: list[tuple[int, int, int, int]], thick: int = 3) -> np.ndarray:
    """Three level rows with beats (row, column, height upwards, half width), uint8."""
    page = np.zeros((HEIGHT, WIDTH), np.uint8)
    for y in BASELINES:
        cv2.line(page, (0, int(y)), (WIDTH - 1, int(y)), 255, 1)
    for row, x, tall, half in beats:
        y = int(BASELINES[row])
        cv2.polylines(page, [np.array([[x - half, y], [x, y - tall], [x + half, y]], np.int32)], False, 255, thick)
    return page


def _both(page: np.ndarray, traces: np.ndarray | None = None) -> tuple[Paths, Paths]:
    costs = path_costs(page, BASELINES, 0, WIDTH)
    paths = follow(page, BASELINES, 0, WIDTH, costs)
    return paths, claim_ink(paths, costs, page if traces is None else traces, BASELINES)


def test_a_narrow_beat_is_climbed_to_its_tip() -> None:
    before, after = _both(_page([(1, 150, 35, 1)]))
    assert before.low[1, 145:156].min() > 100  # the short cut across its foot
    assert after.low[1, 145:156].min() <= 76
    assert (after.low[2] > 150).all() and (after.high[0] < 70).all()


def test_a_beat_goes_to_the_row_that_gains_most() -> None:
    # Down from the first row to just above the second one, whose own beat is in step and goes down as well.
    before, after = _both(_page([(0, 150, -42, 1), (1, 150, -30, 1)]))
    assert before.high[0, 145:156].max() < 75 and before.high[1, 145:156].max() < 120
    assert 95 <= after.high[0, 145:156].max() <= 105
    assert 135 <= after.high[1, 145:156].max() <= 143
    assert after.low[1].min() >= 105


def test_ink_that_is_no_trace_is_left_alone() -> None:
    page = _page([(1, 150, 35, 1)])
    before, after = _both(page, np.zeros_like(page))
    assert (before.low == after.low).all() and (before.high == after.high).all()


def test_tips_of_neighbours_with_a_gap_between_them_are_not_exchanged() -> None:
    page = _page([(0, 150, -17, 1), (1, 150, 22, 1)])  # tips at 77 and 88
    _, after = _both(page)
    assert 75 <= after.high[0, 145:156].max() <= 80
    assert 85 <= after.low[1, 145:156].min() <= 90
