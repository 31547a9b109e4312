"""Calibration pulses that are seen in the ink, where no curve runs along them."""

from __future__ import annotations

import numpy as np
import pytest

from ecgkin.retrieval.ecg.page.calibration import Calibration
from ecgkin.retrieval.ecg.page.roofs import find_roofs
from ecgkin.retrieval.ecg.page.scale import PaperScale
from ecgkin.retrieval.ecg.page.tracks import Tracks

MM = 8.0
WIDTH, HEIGHT = 2200, 1000
LEVELS = (220, 440, 660, 880)
START = 12.0  # mm: where the curves begin
SCALE = PaperScale((0, 0, WIDTH, HEIGHT), (MM, MM), None, None, 5.0, (0.0, 0.0), True, True)


def _page() -> tuple[np.ndarray, Tracks]:
    """Four rows of level curves without pulses."""
    ink = np.zeros((HEIGHT, WIDTH), np.uint8)
    y = np.full((4, WIDTH), np.nan)
    for row, level in enumerate(LEVELS):
        first, last = round(START * MM), round(262 * MM)
        y[row, first:last] = level
        ink[level - 1 : level + 2, first:last] = 255
    return ink, Tracks(y, y - 1.5, y + 1.5, np.isfinite(y).astype(float), 3.0)


def _pulse(
    ink: np.ndarray,
    level: int,
    left: float,
    right: float,
    tall: float,
    edges: str = "lr",
    lean: float = 0.0,
    dark: int = 255,
) -> None:
    """A roof from `left` to `right` mm, `tall` mm over a level, with upright edges that lean by `lean` mm."""
    x0, x1, top = round(left * MM), round(right * MM), round(level - tall * MM)
    ink[top - 1 : top + 2, max(0, x0) : x1 + 1] = 255
    for side, x in (("l", x0), ("r", x1)):
        for y in range(top, level) if side in edges else ():
            at = round(x - lean * MM * (y - top) / (level - top))
            ink[y, max(0, at - 1) : at + 2] = dark


def _found(ink: np.ndarray, tracks: Tracks) -> Calibration | None:
    x_mm = np.broadcast_to(np.arange(WIDTH) / MM, tracks.y.shape).copy()
    return find_roofs(ink, 100.0, tracks, x_mm, SCALE, (START * MM, 262 * MM))


@pytest.mark.parametrize("tall", [5.0, 10.0, 20.0])
def test_the_same_roof_over_most_rows_is_a_pulse(tall: float) -> None:
    ink, tracks = _page()
    for level in LEVELS[:3]:
        _pulse(ink, level, 5.0, 10.0, tall)
    found = _found(ink, tracks)
    assert found is not None and found.rows == 3 and not found.at_end and not found.cut
    assert found.height_px / MM == pytest.approx(tall, rel=0.03)
    assert (found.left, found.right) == pytest.approx((5.0, 10.0), abs=0.4)
    assert np.isfinite(found.places).tolist() == [True, True, True, False]


def test_roofs_that_the_border_cuts_need_no_edges() -> None:
    ink, tracks = _page()
    for level in LEVELS:
        _pulse(ink, level, -2.0, 4.0, 10.0, edges="")
    found = _found(ink, tracks)
    assert found is not None and found.rows == 4 and found.cut
    assert found.right == pytest.approx(4.0, abs=0.4) and found.height_px / MM == pytest.approx(10.0, rel=0.03)


@pytest.mark.parametrize(("lean", "dark"), [(0.0, 255), (1.0, 255), (0.0, 80)])
def test_one_whole_pulse_is_enough_though_its_edges_lean_or_are_pale(lean: float, dark: int) -> None:
    ink, tracks = _page()
    _pulse(ink, LEVELS[0], 4.0, 9.0, 10.0, lean=lean, dark=dark)
    found = _found(ink, tracks)
    assert found is not None and found.rows == 1 and not found.cut
    assert found.height_px / MM == pytest.approx(10.0, rel=0.06)


def test_what_is_no_pulse() -> None:
    ink, tracks = _page()
    assert _found(ink, tracks) is None
    _pulse(ink, LEVELS[0], 4.0, 9.0, 7.1)  # of no usual height
    _pulse(ink, LEVELS[1], 4.0, 20.0, 10.0)  # too long
    _pulse(ink, LEVELS[2], 4.0, 9.0, 10.0, edges="")  # a stroke of print
    _pulse(ink, LEVELS[3], 16.0, 17.5, 10.0)  # a beat
    assert _found(ink, tracks) is None


def test_waves_of_the_right_height_in_every_row_are_no_pulse() -> None:
    ink, tracks = _page()
    x = np.arange(round(14 * MM), round(24 * MM))
    for level in LEVELS:
        wave = level - 10.0 * MM * np.exp(-(((x / MM - 19.0) / 2.2) ** 2))
        for column, y in zip(x, wave.round().astype(int), strict=True):
            ink[y - 2 : y + 3, column] = 255
    assert _found(ink, tracks) is None


def test_narrow_beats_with_blunt_tops_are_no_pulse() -> None:
    ink, tracks = _page()
    for level in LEVELS:
        _pulse(ink, level, 14.0, 16.2, 10.0)
    assert _found(ink, tracks) is None
