"""Curves that were drawn are found again to a fraction of a pixel."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgkin.retrieval.ecg.page.tracks import Tracks, follow, trace_tracks

WIDTH, HEIGHT = 900, 420


def _drawn(curves: list[np.ndarray], thick: int = 2) -> np.ndarray:
    page = np.zeros((HEIGHT * 4, WIDTH * 4), np.uint8)
    x = np.arange(WIDTH)
    for y in curves:
        points = np.stack([(x + 0.5) * 4 - 0.5, (y + 0.5) * 4 - 0.5], axis=1)
        cv2.polylines(page, [(points * 16).astype(np.int32)], False, 255, 4 * thick, cv2.LINE_AA, 4)
    return np.asarray(cv2.resize(page, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _found(page: np.ndarray, baselines: list[float]) -> Tracks:
    small = cv2.resize(page, (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA)
    half = np.asarray(cv2.convertScaleAbs(small, alpha=2.0), dtype=np.uint8)
    starts = np.asarray((np.array(baselines, dtype=np.float64) + 0.5) / 2 - 0.5, dtype=np.float64)
    paths = follow(half, starts, 0, WIDTH // 2)
    return trace_tracks(page, paths, 2.0)


def _beats(level: float, height: float, wide: float, every: int = 150) -> np.ndarray:
    x = np.arange(WIDTH, dtype=np.float64)
    y = np.full(WIDTH, level) + 3 * np.sin(x / 60)
    for centre in range(70, WIDTH, every):
        y -= height * np.exp(-(((x - centre) / wide) ** 2))
        y += 0.3 * height * np.exp(-(((x - centre - 3 * wide) / wide) ** 2))
        y -= 12 * np.exp(-(((x - centre - 45) / 12) ** 2))
    return np.asarray(y)


@settings(max_examples=12, deadline=None)
@given(st.floats(0.5, 12.0), st.floats(30.0, 120.0), st.floats(0.0, 6.0))
def test_a_smooth_curve_is_found_within_a_quarter_of_a_pixel(swing: float, length: float, phase: float) -> None:
    y = 210 + swing * np.sin(np.arange(WIDTH) / length * 2 * np.pi + phase)
    error = _found(_drawn([y]), [210.0]).y[0] - y
    assert np.isfinite(error[5:-5]).all()
    assert np.sqrt(np.mean(error[5:-5] ** 2)) < 0.25


@pytest.mark.parametrize("thick", [1, 2, 4])
def test_peaks_keep_their_height(thick: int) -> None:
    y = _beats(230, 110, 4.0)
    found = _found(_drawn([y], thick), [230.0]).y[0]
    for centre in range(70, WIDTH, 150):
        part = slice(centre - 4, centre + 5)
        assert found[part].min() == pytest.approx(y[part].min(), abs=0.09 * 110)
    assert np.sqrt(np.nanmean((found - y) ** 2)) < 4.0


def test_two_rows_keep_to_themselves_where_a_beat_crosses_the_other_row() -> None:
    upper, lower = _beats(120, 40, 5.0), _beats(270, 190, 5.0, every=300)
    found = _found(_drawn([upper, lower]), [120.0, 270.0]).y
    quiet = np.ones(WIDTH, bool)
    for centre in range(70, WIDTH, 150):
        quiet[max(0, centre - 14) : centre + 26] = False
    assert np.nanmax(np.abs(found[0] - upper)[quiet]) < 1.5
    assert np.nanmax(np.abs(found[1] - lower)[quiet]) < 1.5


def test_gaps_stay_empty() -> None:
    page = _drawn([np.full(WIDTH, 200.0)])
    page[:, 300:360] = 0
    found = _found(page, [200.0]).y[0]
    assert np.isnan(found[305:355]).all() and np.isfinite(found[:295]).all()
