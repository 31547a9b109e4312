"""Upright lines of a page whose rows are level."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgkin.retrieval.ecg.page.sheet import Lean, find_lean

WIDTH, HEIGHT, STEP = 900, 500, 18
BOX = (0, 0, WIDTH, HEIGHT)


def leaning_grid(slope: float, fan: float) -> np.ndarray:
    """A grid whose upright line through x0 at the middle height leans by slope + fan * x0 (x0 from -1 to 1)."""
    page = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    middle, unit = (HEIGHT - 1) / 2, WIDTH / 2
    for x0 in range(-10 * STEP, WIDTH + 10 * STEP, STEP):
        lean = slope + fan * (x0 - unit) / unit
        ends = [(x0 + lean * (y - middle), float(y)) for y in (0, HEIGHT - 1)]
        points = np.round(np.array(ends) * 16).astype(np.int32)
        cv2.line(page, tuple(points[0]), tuple(points[1]), 200, 1, cv2.LINE_AA, 4)
    page[::STEP] = np.maximum(page[::STEP], 120)
    return page


@pytest.mark.parametrize(("slope", "fan"), [(0.06, 0.0), (-0.1, 0.0), (0.02, 0.11), (-0.04, -0.14)])
def test_lines_that_fan_out_are_made_upright(slope: float, fan: float) -> None:
    page = leaning_grid(slope, fan)
    lean = find_lean(page, BOX)
    assert lean is not None
    (upright,) = lean.moved(page)
    inner = upright[:, lean.margin + 60 : -lean.margin - 60]
    inner = inner[[y for y in range(20, HEIGHT - 20) if y % STEP]].astype(np.float64)
    # Lines that stand upright add up to a profile as sharp as each of their own lines of pixels.
    assert inner.mean(axis=0).std() > 0.6 * inner.std(axis=1).mean()
    before = page[[y for y in range(20, HEIGHT - 20) if y % STEP], 60:-60].astype(np.float64)
    assert before.mean(axis=0).std() < 0.4 * before.std(axis=1).mean()


def test_upright_lines_and_blank_paper_are_left_alone() -> None:
    assert find_lean(leaning_grid(0.0, 0.0), BOX) is None
    assert find_lean(np.zeros((HEIGHT, WIDTH), dtype=np.uint8), BOX) is None


@settings(max_examples=40, deadline=None)
@given(
    st.floats(-0.15, 0.15), st.floats(-0.12, 0.12), st.floats(-0.05, 0.05), st.floats(-0.1, 0.1),
    st.floats(0, WIDTH - 1), st.floats(0, HEIGHT - 1),
)  # fmt: skip
def test_places_come_back(slope: float, fan: float, curl: float, bend: float, x: float, y: float) -> None:
    lean = Lean(np.array([slope, fan, curl]), np.array([bend, 0.0]), (WIDTH / 2, HEIGHT / 2), WIDTH / 2, 40)
    there = lean.upright(np.array([x]), np.array([y]))
    assert lean.leaning(there, np.array([y]))[0] == pytest.approx(x, abs=0.05)
