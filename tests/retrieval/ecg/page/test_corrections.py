"""What a person puts right on a page: checked, and followed by the reading."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from ecgkin.retrieval.ecg import EcgRecord, RenderStyle, digitize, render_array, simulate
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.page.corrections import Corrections
from ecgkin.retrieval.errors import ImageError, QueryError

SQUARE = ((10.0, 20.0), (510.0, 20.0), (510.0, 420.0), (10.0, 420.0))


@pytest.fixture(scope="module")
def record() -> EcgRecord:
    return simulate(["NORM"], np.random.default_rng(4)).record.resampled(500.0)


@pytest.fixture(scope="module")
def page(record: EcgRecord) -> np.ndarray:
    return render_array(record, RenderStyle(px_per_mm=6))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"layout": "threebyfour"}, "layout"),
        ({"layout": "3x4+9R"}, "layout"),
        ({"speed_mm_s": float("nan")}, "speed"),
        ({"gain_mm_mv": 0.0}, "gain"),
        ({"leads": {"V1": "V2"}}, "one name"),
        ({"leads": {"V1": "X9", "X9": "V1"}}, "lead is"),
        ({"corners": ((0.0, 0.0),) * 4}, "outline"),
        ({"corners": SQUARE[:3]}, "four pairs"),
        ({"corners": tuple(reversed(SQUARE))}, "outline"),
        ({"corners": (*SQUARE[:3], (float("inf"), 1.0))}, "four pairs"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(QueryError, match=said):
        Corrections(**given)


def test_nothing_known_is_nothing() -> None:
    assert not Corrections() and Corrections(gain_mm_mv=5.0)
    rgb = np.zeros((60, 80, 3), np.uint8)
    part, onto = Corrections().cut(rgb)
    assert part is rgb and onto is None


@given(some.permutations(LEADS))
@settings(max_examples=30)
def test_names_that_are_exchanged_go_both_ways(names: list[str]) -> None:
    known = Corrections(leads=dict(zip(LEADS, names, strict=True)))
    assert all(known.read_as(known.called(lead)) == lead for lead in LEADS)


@given(some.floats(-0.2, 0.2), some.floats(0.7, 1.3))
@settings(max_examples=20, deadline=None)
def test_the_part_that_is_cut_has_its_corners_inside(lean: float, size: float) -> None:
    height, width = 600, 800
    middle = np.array([width / 2, height / 2])
    box = np.array([[-200, -150], [200, -150], [200, 150], [-200, 150]]) * size
    turn = np.array([[np.cos(lean), -np.sin(lean)], [np.sin(lean), np.cos(lean)]])
    quad = box @ turn.T + middle
    part, onto = Corrections(corners=tuple(map(tuple, quad.tolist()))).cut(np.zeros((height, width, 3), np.uint8))
    assert onto is not None
    moved = cv2.perspectiveTransform(quad[None], onto)[0]
    assert (moved > 0).all() and (moved < [part.shape[1], part.shape[0]]).all()
    # Straight, and as large as it was.
    assert abs(moved[0, 1] - moved[1, 1]) < 0.5 and abs(moved[1, 0] - moved[0, 0] - 400 * size) < 0.5


def test_corners_outside_of_the_picture_are_refused() -> None:
    with pytest.raises(QueryError, match="outside"):
        Corrections(corners=SQUARE).cut(np.zeros((300, 400, 3), np.uint8))


@pytest.mark.weights
def test_speed_and_gain_scale_the_signal(page: np.ndarray) -> None:
    as_read = digitize(page)
    put = digitize(page, speed=50.0, gain=5.0)
    assert put.page.speed_mm_s == 50.0 and put.page.gain_mm_mv == 5.0
    assert put.record.duration_s == pytest.approx(as_read.record.duration_s / 2, rel=0.01)
    high, low = (np.nanmax(one.record.signal_mv) for one in (put, as_read))
    assert high == pytest.approx(2 * low, rel=0.02)


@pytest.mark.weights
def test_leads_are_renamed_with_their_samples(page: np.ndarray) -> None:
    as_read, put = digitize(page), digitize(page, leads={"V1": "V6", "V6": "V1"})
    first, other = as_read.record.standard(), put.record.standard()
    np.testing.assert_array_equal(other[LEADS.index("V6")], first[LEADS.index("V1")])
    np.testing.assert_array_equal(other[LEADS.index("V1")], first[LEADS.index("V6")])
    assert [s.lead for s in put.stretches if s.row == 0][2:] == ["V6", "V4"]
    assert put.confidence["V6"] == as_read.confidence["V1"]


@pytest.mark.weights
def test_a_layout_with_other_rows_is_refused(page: np.ndarray) -> None:
    assert digitize(page, layout="3x4+1R").page.layout == "3x4+1R"
    with pytest.raises(ImageError, match="4 rows"):
        digitize(page, layout="6x2")


@pytest.mark.weights
def test_what_is_outlined_is_read_and_placed_in_the_whole_picture(record: EcgRecord, page: np.ndarray) -> None:
    other = render_array(simulate(["AFIB"], np.random.default_rng(8)).record, RenderStyle(px_per_mm=6))
    both = np.concatenate([other, page], axis=1)
    left, right = float(other.shape[1] + 40), float(both.shape[1] - 40)
    top, bottom = 130.0, float(page.shape[0] - 200)
    found = digitize(both, corners=((left, top), (right, top), (right, bottom), (left, bottom)))
    alone = digitize(page)
    assert found.page.layout == "3x4+1R" and found.page.corners[:, 0].min() > other.shape[1]
    one, two = found.record.standard()[1], alone.record.standard()[1]
    known = np.isfinite(one) & np.isfinite(two)
    assert known.mean() > 0.9 and np.corrcoef(one[known], two[known])[0, 1] > 0.98
    y = found.curves.y[1]
    columns = np.flatnonzero(np.isfinite(y))[200:-200:7]
    places = found.on_picture(columns.astype(float), y[columns]).round().astype(int)
    assert (both.max(axis=2)[places[:, 1], places[:, 0]] < 195).mean() > 0.9
