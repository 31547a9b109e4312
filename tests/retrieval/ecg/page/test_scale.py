"""Millimetres from the lines of a drawn grid."""

from __future__ import annotations

import numpy as np
import pytest

from ecgkin.retrieval.ecg.page.scale import evaluate, find_comb, followed, paper_scale, profiles


def _grid(width: int, height: int, px_per_mm: float, minor: int, major: int, bend: float = 0.0) -> np.ndarray:
    """Darkness of a grid; `bend` is how much wider a mm is at the right end than at the left one."""
    page = np.zeros((height, width))
    # Eight samples a pixel, averaged: as a scanner or a renderer with smooth lines sees them.
    x = (np.arange(8 * width) + 0.5) / 8 - 0.5
    y = (np.arange(8 * height) + 0.5) / 8 - 0.5
    mm_x = (x - bend * x**2 / (2 * width)) / px_per_mm
    for mm, upright in ((mm_x, True), (y / px_per_mm, False)):
        for step, dark in ((1.0, minor), (5.0, major)):
            away = np.abs((mm + step / 2) % step - step / 2) * px_per_mm
            line = (dark * np.clip(1.3 - away, 0, 1)).reshape(-1, 8).mean(axis=1)
            page = np.maximum(page, line[None, :] if upright else line[:, None])
    rng = np.random.default_rng(2)
    return np.asarray(np.clip(page + rng.normal(0, 4, page.shape), 0, 255), dtype=np.uint8)


@pytest.mark.parametrize("px_per_mm", [4.1, 6.0, 7.87])
@pytest.mark.parametrize(("minor", "major"), [(40, 90), (0, 90), (60, 60)])
def test_the_scale_is_within_two_thousandths(px_per_mm: float, minor: int, major: int) -> None:
    width = round(255 * px_per_mm)
    lines = _grid(width, round(120 * px_per_mm), px_per_mm, minor, major)
    scale = paper_scale(lines, np.zeros_like(lines), (0, 0, width, lines.shape[0]))
    assert scale.found
    assert scale.px_per_mm == pytest.approx((px_per_mm, px_per_mm), rel=2e-3)


def test_a_page_that_widens_has_its_own_millimetres_everywhere() -> None:
    width = 1800
    lines = _grid(width, 900, 7.0, 40, 90, bend=0.06)
    scale = paper_scale(lines, np.zeros_like(lines), (0, 0, width, 900))
    x = np.array([100.0, 900.0, 1700.0])
    wanted = (x - 0.06 * x**2 / (2 * width)) / 7.0
    assert np.diff(scale.x_mm(x, np.full(3, 450.0))) == pytest.approx(np.diff(wanted), abs=0.15)


def test_blank_paper_has_no_scale_of_its_own() -> None:
    rng = np.random.default_rng(1)
    lines = np.asarray(np.clip(rng.normal(5, 4, (700, 1500)), 0, 255), dtype=np.uint8)
    scale = paper_scale(lines, np.zeros_like(lines), (0, 0, 1500, 700))
    assert not scale.found and scale.px_per_mm[0] == pytest.approx(6.0)


def test_a_comb_of_every_fifth_line_is_told_from_a_plain_one() -> None:
    lines = _grid(1500, 600, 6.0, 40, 90)
    comb = find_comb(profiles(lines, np.zeros_like(lines), 0, 6)[0], 120.0)
    assert comb is not None and comb.fifth and comb.period == pytest.approx(30.0, rel=0.01)


@pytest.mark.parametrize("wander", [1.0, 2.0, -1.5])
def test_lines_that_are_all_alike_do_not_stretch_flat_paper(wander: float) -> None:
    # Where every millimetre is alike, what is left at 5 mm is the paper's, and its phase goes where it likes.
    period, n = 39.37, 2000
    x = np.arange(n)
    lines = 60.0 * (np.abs((x + period / 10) % (period / 5) - period / 10) < 1)
    slow = 6.0 * np.cos(2 * np.pi * (x / period + wander * (x / n) ** 2))
    rng = np.random.default_rng(3)
    profile = np.stack([lines - lines.mean() + slow + rng.normal(0, 1, n) for _ in range(6)])
    found = followed(profile, np.linspace(80.0, 880.0, 6), period, (3, 1))
    assert found is not None
    at = np.linspace(20.0, n - 20.0, 9)
    steps = np.diff(evaluate(found[0], at, np.full(9, 480.0), n, 880.0))
    assert steps == pytest.approx(np.diff(at) / period, rel=2e-3)
