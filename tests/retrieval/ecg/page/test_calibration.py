"""Calibration pulses that the edge of the picture cuts."""

from __future__ import annotations

import numpy as np
import pytest

from ecgkin.retrieval.ecg.page.calibration import find_cut_pulse
from ecgkin.retrieval.ecg.page.tracks import Tracks

PX_PER_MM = 8.0
WIDTH = 2000
PER_MM = (PX_PER_MM, PX_PER_MM)


def rows(roof_mm: float, height_mm: float, at_end: bool = False, edge_off_mm: float = 0.0) -> tuple[Tracks, np.ndarray]:
    """Four rows with beats, the first `roof_mm` of which stand on a roof."""
    x = np.arange(WIDTH)
    curves = []
    for row in range(4):
        level = 200.0 * (row + 1)
        beats = 60 * np.exp(-(((x % 240) - 150) ** 2) / 60.0)
        y = level - beats
        stop = round((roof_mm + edge_off_mm * row) * PX_PER_MM)
        y[:stop] = level - height_mm * PX_PER_MM
        curves.append(y[::-1] if at_end else y)
    y = np.stack(curves)
    tracks = Tracks(y, y - 1.5, y + 1.5, np.ones_like(y), 3.0)
    return tracks, np.broadcast_to(x / PX_PER_MM, y.shape).copy()


@pytest.mark.parametrize("gain", [5.0, 10.0, 20.0])
@pytest.mark.parametrize("at_end", [False, True])
def test_a_roof_in_every_row_is_a_cut_pulse(gain: float, at_end: bool) -> None:
    tracks, x_mm = rows(3.0, gain, at_end)
    found = find_cut_pulse(tracks, x_mm, PER_MM, True)
    assert found is not None
    assert found.cut and found.rows == 4 and found.at_end == at_end
    assert found.height_px / PX_PER_MM == pytest.approx(gain, rel=0.03)
    edge = found.left if at_end else found.right
    assert edge == pytest.approx(WIDTH / PX_PER_MM - 3.0 if at_end else 3.0, abs=0.3)


def test_what_is_no_cut_pulse() -> None:
    assert find_cut_pulse(*rows(0.0, 10.0), PER_MM, True) is None  # nothing there
    assert find_cut_pulse(*rows(3.0, 7.1), PER_MM, True) is None  # of no usual height
    assert find_cut_pulse(*rows(3.0, 10.0, edge_off_mm=4.0), PER_MM, True) is None  # elsewhere in every row
    assert find_cut_pulse(*rows(60.0, 10.0), PER_MM, True) is None  # as long as an ST segment of nobody
