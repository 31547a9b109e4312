"""Pages that were folded, crumpled, or photographed out of focus are read as what was drawn on them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ecgkin.generation.research.retrieval.robustness import damaged_page
from ecgkin.retrieval.ecg.drawing.geometry import RenderStyle
from ecgkin.retrieval.ecg.drawing.raster import render_array
from ecgkin.retrieval.ecg.page.damage import BANDS, without_creases
from ecgkin.retrieval.ecg.page.ink import sharpened
from ecgkin.retrieval.ecg.page.pulse import find_pulse
from ecgkin.retrieval.ecg.page.reading import read_page
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.retrieval.errors import ImageError

ByteImage = NDArray[np.uint8]


@pytest.fixture(scope="module")
def records() -> list[EcgRecord]:
    return [simulate([code], np.random.default_rng(5)).record for code in ("NORM", "LVH", "CLBBB", "AFIB")]


def _alike(one: ByteImage, other: ByteImage) -> float:
    """Correlation of two trace maps, strokes widened to a millimetre."""
    wide = [cv2.GaussianBlur(m.astype(np.float32), (0, 0), 2.0).ravel() for m in (one, other)]
    return float(np.asarray(np.corrcoef(np.stack(wide).astype(np.float64)))[0, 1])


def _page_with_folds(height: int = 850, width: int = 1100) -> tuple[ByteImage, ByteImage]:
    """Darkness of four rows with beats, without and with two folds each way."""
    plain = np.zeros((height, width), dtype=np.uint8)
    for y in (150, 330, 510, 690):
        x = np.arange(60, 1040)
        shape = y + 3 * np.sin(x / 30) - 60 * np.exp(-0.5 * (((x % 90) - 45) / 3.0) ** 2)
        points = np.stack([x, shape], axis=1).round().astype(np.int32)
        cv2.polylines(plain, [points[:, None]], isClosed=False, color=220, thickness=2, lineType=cv2.LINE_AA)
    folded = plain.copy()
    for at, lean in ((300, 4), (760, -6)):
        cv2.line(folded, (at, 0), (at + lean, height - 1), 90, 9)
    for at, lean in ((240, 3), (600, -5)):
        cv2.line(folded, (0, at), (width - 1, at + lean), 90, 9)
    return plain, np.maximum(plain, folded)


def test_folds_are_taken_off_and_traces_stay() -> None:
    plain, folded = _page_with_folds()
    assert without_creases(plain) is plain, "beats in step in all rows are no fold"
    out = without_creases(folded)
    beside = (folded > plain) & (cv2.dilate(plain, np.ones((9, 9), np.uint8)) == 0)
    assert (folded[beside] > 60).mean() > 0.9 and (out[beside] > 30).mean() < 0.1
    away = (folded == plain) & (plain > 100)
    assert (out[away] > 100).mean() > 0.97


def test_lines_of_a_grid_frames_and_flat_traces_are_no_folds() -> None:
    plain, _ = _page_with_folds()
    flat = plain.copy()
    flat[505:508] = 0
    cv2.line(flat, (0, 420), (1099, 420), 220, 2)
    cv2.line(flat, (500, 0), (500, 849), 220, 2)
    assert without_creases(flat) is flat
    grid = plain.copy()
    grid[::22] = np.maximum(grid[::22], 120)
    grid[:, ::22] = np.maximum(grid[:, ::22], 120)
    assert without_creases(grid) is grid
    beside = plain.copy()
    beside[:, 1000:] = 200  # a table beside the paper
    assert without_creases(beside) is beside
    tiny = np.zeros((8 * BANDS - 1, 64), np.uint8)
    assert without_creases(tiny) is tiny


def test_folded_pages_are_read_in_their_layout(records: list[EcgRecord]) -> None:
    for record in records:
        clean = read_page(render_array(record, RenderStyle()))
        for strength in (3, 5):
            page = read_page(damaged_page(record, "creases", strength))
            assert page.layout == clean.layout == "3x4+1R", (record.record_id, strength)
            assert _alike(page.trace_map, clean.trace_map) > 0.5


def test_a_page_out_of_focus_is_sharpened(records: list[EcgRecord]) -> None:
    found = []
    for record in records:
        clean = read_page(render_array(record, RenderStyle()))
        for strength in (3, 4):
            page = read_page(damaged_page(record, "blur", strength))
            assert page.layout == "3x4+1R"
            found.append(_alike(page.trace_map, clean.trace_map))
    assert np.mean(found) > 0.6


def test_sharpening_raises_pale_lines_above_wide_shade() -> None:
    plain, _ = _page_with_folds()
    blurred = cv2.GaussianBlur(plain, (0, 0), 4)
    shade = np.asarray(blurred // 2 + np.linspace(0, 60, plain.shape[1]).astype(np.uint8)[None, :], dtype=np.uint8)
    out = sharpened(shade)
    on, off = plain > 150, cv2.dilate(plain, np.ones((31, 31), np.uint8)) == 0
    assert np.median(out[on]) > 60 and np.percentile(out[off], 95) < 12
    assert (sharpened(np.zeros((40, 50), np.uint8)) == 0).all()


def test_shade_on_a_crumpled_sheet_is_no_row(records: list[EcgRecord]) -> None:
    page = render_array(records[0], RenderStyle(grid="grey")).copy()
    clean = read_page(page)
    rng = np.random.default_rng(4)
    width = page.shape[1]
    # A broken band of dots above the traces: a grid that shows through a shadow.
    for x in range(60, width - 60, 5):
        if rng.random() < 0.6:
            for y in rng.integers(20, 60, 3):
                page[y : y + 2, x : x + 3] = 60
    found = read_page(page)
    assert (found.layout, len(found.leads)) == (clean.layout, len(clean.leads))


@pytest.mark.parametrize(
    ("wide", "tall", "seen"),
    [(21, 40, True), (21, 20, True), (40, 40, True), (5, 40, True), (5, 9, False), (5, 15, False)],
)
def test_pulses_are_told_from_beats_with_flat_tops(wide: int, tall: int, seen: bool) -> None:
    solid = np.zeros((850, 1100), dtype=np.uint8)
    baselines = (150.0, 330.0, 510.0, 690.0)
    for y in baselines:
        cv2.line(solid, (60, int(y)), (1040, int(y)), 255, 2)
        cv2.rectangle(solid, (70, int(y) - tall), (70 + wide, int(y)), 255, 2)
    pulse = find_pulse(solid, baselines, 60, 1040, 2.5)
    assert (pulse is not None) == seen
    if pulse is not None:
        assert pulse.height_px == pytest.approx(tall, abs=2) and pulse.rows == 4 and not pulse.at_end


@pytest.mark.parametrize("seed", range(4))
def test_a_curve_on_ruled_paper_is_not_sharpened_into_an_ecg(seed: int) -> None:
    rng = np.random.default_rng(seed)
    chart = np.full((800, 1100, 3), 255, np.uint8)
    chart[::40] = 200
    x = np.arange(60, 1040)
    y = 400 + 150 * np.sin(x / rng.uniform(60, 200) + rng.uniform(0, 6))
    cv2.polylines(
        chart, [np.stack([x, y], axis=1).astype(np.int32)[:, None]], isClosed=False, color=(0, 0, 0), thickness=2
    )
    with pytest.raises(ImageError):
        read_page(chart)
