"""Line directions and grid pitch against grids drawn through known geometry."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.paper import LARGEST_PERSPECTIVE, SHEARS, _peak, grid_pitch, line_field

WIDTH, HEIGHT, PITCH = 900, 640, 20.0


def grid(to_picture: NDArray[np.float64], pitch: float = PITCH) -> NDArray[np.uint8]:
    """Darkness of a grid whose lines run through `to_picture` (straight to picture, origin at the centre)."""
    canvas = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    centre = np.array([WIDTH / 2, HEIGHT / 2])
    reach = np.arange(-60, 61) * pitch
    along = np.linspace(-1500, 1500, 121)
    for place in reach:
        for points in (
            np.stack([along, np.full_like(along, place)], 1),
            np.stack([np.full_like(along, place), along], 1),
        ):
            moved = np.c_[points, np.ones(len(points))] @ to_picture.T
            keep = moved[:, 2] > 0.2
            xy = moved[keep, :2] / moved[keep, 2:] + centre
            cv2.polylines(canvas, [np.round(xy * 16).astype(np.int32)], False, 120, 1, cv2.LINE_AA, shift=4)
    return canvas


def spread(picture: NDArray[np.uint8], field_to_picture: NDArray[np.float64]) -> float:
    """How much the ink gathers in few rows and in few columns once a geometry is undone: the worse of the two."""
    onto = np.array([[1, 0, WIDTH / 2], [0, 1, HEIGHT / 2], [0, 0, 1.0]])
    straight = cv2.warpPerspective(
        picture, onto @ np.linalg.inv(field_to_picture) @ np.linalg.inv(onto), (WIDTH, HEIGHT)
    )
    middle = straight[120:-120, 160:-160].astype(float)
    return float(min(middle.mean(axis=0).std(), middle.mean(axis=1).std()))


@pytest.mark.parametrize("lean", [-0.05, -0.03, 0.03, 0.05])
def test_upright_lines_that_lean(lean: float) -> None:
    """Upright lines that lean are set upright, not leant twice as far."""
    to_picture = np.array([[1.0, lean, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    field = line_field(grid(to_picture))
    assert field.to_picture[0, 1] / field.to_picture[1, 1] == pytest.approx(lean, abs=0.004)
    assert abs(field.angle_deg) < 0.4


@pytest.mark.parametrize("slope", [-0.04, 0.02, 0.05])
def test_level_lines_that_slope(slope: float) -> None:
    """The same for level lines, whose slope is the page's turn."""
    to_picture = np.array([[1.0, 0.0, 0.0], [slope, 1.0, 0.0], [0.0, 0.0, 1.0]])
    field = line_field(grid(to_picture))
    assert field.angle_deg == pytest.approx(np.degrees(np.arctan(slope)), abs=0.25)


@pytest.mark.parametrize(("w1", "w2"), [(0.02, 0.0), (-0.02, 0.0), (0.0, 0.02), (0.0, -0.02)])
def test_perspective_is_undone(w1: float, w2: float) -> None:
    """The lines of a page in perspective run level and upright after it."""
    unit = WIDTH / 2
    to_picture = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [w1 / unit, w2 / unit, 1.0]])
    picture = grid(to_picture)
    field = line_field(picture)
    assert field.to_picture[2, :2] * unit == pytest.approx([w1, w2], abs=0.006)
    assert spread(picture, field.to_picture) > 1.1 * spread(picture, np.eye(3))


def test_too_much_perspective_is_a_misfit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound nothing is undone, however clear the two halves are."""
    import ecgkin.retrieval.ecg.page.paper as module

    monkeypatch.setattr(module, "_shears", lambda image: (0.2, -0.2, 1.0))
    field = line_field(grid(np.eye(3)))
    assert field.perspective == 0.0
    assert field.to_picture[2, :2] == pytest.approx([0.0, 0.0])
    monkeypatch.setattr(module, "_shears", lambda image: (0.05, -0.05, 1.0))
    assert 0.1 < line_field(grid(np.eye(3))).perspective < LARGEST_PERSPECTIVE


@given(st.floats(-0.49, 0.49), st.integers(2, SHEARS.size - 3), st.floats(0.5, 50))
@settings(max_examples=60, deadline=None)
def test_parabola_is_refined_to_its_vertex(offset: float, index: int, bend: float) -> None:
    """Samples of a parabola give its vertex back, on whichever side of the largest sample it lies."""
    values = np.asarray(100.0 - bend * (np.arange(SHEARS.size) - (index + offset)) ** 2, dtype=np.float64)
    step = SHEARS[1] - SHEARS[0]
    assert _peak(values, int(np.argmax(values))) == pytest.approx(SHEARS[0] + (index + offset) * step, abs=1e-9)


@pytest.mark.parametrize("pitch", [8.0, 13.3, 19.7, 31.0])
def test_pitch_of_a_grid(pitch: float) -> None:
    """The distance of the lines, to a hundredth."""
    found = grid_pitch(grid(np.eye(3), pitch), np.zeros((HEIGHT, WIDTH), dtype=np.uint8))
    assert found == pytest.approx(pitch, rel=0.01)


def test_one_ruled_strip_is_no_grid() -> None:
    """A ruler or a barcode along one edge has a period; a grid has it over the whole page, in both directions."""
    picture = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    picture[: HEIGHT // 4, ::20] = 120
    assert grid_pitch(picture, np.zeros_like(picture)) is None


def test_strips_that_disagree_are_no_grid() -> None:
    """Two quarters of a page that agree do not make a grid; three would."""
    picture = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for strip, pitch in enumerate((7, 17, 17, 29)):
        picture[strip * HEIGHT // 4 : (strip + 1) * HEIGHT // 4, ::pitch] = 120
    assert grid_pitch(picture, np.zeros_like(picture)) is None
