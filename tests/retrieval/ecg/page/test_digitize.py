"""From a drawn page back to its samples."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ecgkin.generation.research.digitising.metric import page_ratio
from ecgkin.generation.research.digitising.pages import shown
from ecgkin.retrieval.ecg import EcgRecord, RenderStyle, digitize, render_array, simulate
from ecgkin.retrieval.ecg.augment.photograph import photograph
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.page.arrangement import Columns
from ecgkin.retrieval.ecg.page.columns import Extent
from ecgkin.retrieval.ecg.page.digitize import digitize_look
from ecgkin.retrieval.ecg.page.digitized import Stretch
from ecgkin.retrieval.ecg.page.names import layouts_of
from ecgkin.retrieval.ecg.page.network.segment import FoundName
from ecgkin.retrieval.ecg.page.network.weights_file import weights_folder
from ecgkin.retrieval.ecg.page.overlay import check_overlay
from ecgkin.retrieval.ecg.page.placing import _placed_names, stretches_of
from ecgkin.retrieval.ecg.page.reading import look_at
from ecgkin.retrieval.ecg.page.sampling import Sampler
from ecgkin.retrieval.ecg.page.scale import PaperScale
from ecgkin.retrieval.ecg.page.tracks import Tracks
from ecgkin.retrieval.errors import ImageError

pytestmark = pytest.mark.skipif(
    not (weights_folder() / "reader.safetensors").is_file(), reason="no weights of the page reader"
)


def _record(seed: int) -> EcgRecord:
    return simulate(["NORM"], np.random.default_rng(seed)).record.resampled(500.0)


@pytest.mark.parametrize("layout", ["3x4+1R", "3x4", "6x2"])
def test_a_clean_page_comes_back(layout: str) -> None:
    record = _record(4)
    style = RenderStyle(layout=layout)
    found = digitize(render_array(record, style))
    guess = np.full((12, 5000), np.nan)
    part = found.record.standard()[:, :5000]
    guess[:, : part.shape[1]] = part
    assert found.page.layout == layout
    assert found.page.gain_mm_mv == 10.0 and found.page.speed_mm_s == 25.0
    assert 10 * np.log10(page_ratio(shown(record, style), guess)) > 18
    assert found.record.fs_hz == 500.0 and found.record.duration_s == pytest.approx(10.0, abs=0.05)


def test_leads_stand_at_their_time_and_the_rest_is_missing() -> None:
    found = digitize(render_array(_record(5), RenderStyle(layout="3x4+1R")))
    known = np.isfinite(found.record.standard())
    assert known[3, 1300:2450].all() and not known[3, :1200].any() and not known[3, 2550:].any()
    assert known[1, 20:4980].mean() > 0.98  # the strip fills lead II
    assert set(found.confidence) == set(found.page.leads) and min(found.confidence.values()) > 0.8


def test_a_blank_page_is_refused() -> None:
    with pytest.raises(ImageError):
        digitize(np.full((800, 1200, 3), 255, np.uint8))


@pytest.mark.parametrize("turns", [0, 1])
def test_the_overlay_lies_on_the_traces(turns: int) -> None:
    page = np.ascontiguousarray(np.rot90(render_array(_record(6), RenderStyle(layout="3x4")), -turns))
    found = digitize(page)
    y = found.curves.y[1]
    columns = np.flatnonzero(np.isfinite(y))[200:-200:7]
    places = found.on_picture(columns.astype(float), y[columns]).round().astype(int)
    darkness = 255 - page.max(axis=2)[places[:, 1], places[:, 0]]
    assert (darkness > 60).mean() > 0.9
    assert check_overlay(found).shape[:2] == found.fine.darkness.shape


def test_beats_keep_step_over_ten_seconds_where_the_pen_is_thick() -> None:
    # Ink reaches half a pen beyond the first and the last sample; time is the grid's all the same.
    record = _record(7)
    style = RenderStyle(layout="3x4+1R", line_width_mm=0.6, calibration="none", lead_separators=False)
    strip = np.nan_to_num(digitize(render_array(record, style)).record.standard()[1, :4990].astype(np.float64))
    truth = record.standard()[1, :4990].astype(np.float64)

    def lag(part: slice) -> float:
        a, b = truth[part] - truth[part].mean(), strip[part] - strip[part].mean()
        fine = [np.interp(np.arange(0, a.size - 1, 0.1), np.arange(a.size), v) for v in (a, b)]
        shifts = np.arange(-200, 201)
        return (
            float(shifts[np.argmax([np.dot(fine[0][200:-200], np.roll(fine[1], -s)[200:-200]) for s in shifts])]) / 10
        )

    assert abs(lag(slice(20, 1500)) - lag(slice(3490, 4970))) < 1.5  # samples of 2 ms


def test_what_was_made_ready_beside_the_network_changes_nothing() -> None:
    page = photograph(render_array(_record(6), RenderStyle(layout="3x4+1R")), np.random.default_rng(6), "photo")
    look = look_at(page)
    assert look.ready is not None
    ahead, later = digitize_look(look), digitize_look(replace(look, ready=None))
    assert np.array_equal(ahead.record.signal_mv, later.record.signal_mv, equal_nan=True)
    assert ahead.page.layout == later.page.layout and ahead.confidence == later.confidence


@pytest.mark.parametrize(("style", "least"), [(RenderStyle(), 0.905), (RenderStyle(px_per_mm=6), 0.95)])
def test_narrow_beats_keep_their_height(style: RenderStyle, least: float) -> None:
    time, width = np.arange(5000) / 500.0, 0.006
    beat = np.zeros(5000)
    for at in np.arange(0.4, 10, 0.8):
        beat += 1.2 * np.exp(-(((time - at - 0.0007) / width) ** 2) / 2)
        beat -= 0.35 * np.exp(-(((time - at - 2.6 * width) / width) ** 2) / 2)
    shares = (0.6, 1.0, 0.4, -0.8, 0.1, 0.7, -0.6, -0.9, 0.5, 1.0, 1.0, 0.8)
    record = EcgRecord(np.outer(shares, beat).astype(np.float32), 500.0, LEADS)
    strip, truth = digitize(render_array(record, style)).record.standard()[1], record.standard()[1]
    around = [slice(round((at - 0.06) * 500), round((at + 0.06) * 500)) for at in np.arange(1.2, 9.4, 0.8)]
    height = float(np.median([np.ptp(strip[part]) / np.ptp(truth[part]) for part in around]))
    assert least < height < 1.05


def test_a_stretch_whose_borders_cross_shows_nothing() -> None:
    level = np.full((1, 400), 50.0)
    tracks = Tracks(level, level - 1, level + 1, np.ones_like(level), 2.0)
    scale = PaperScale((0, 0, 400, 100), (4.0, 4.0), None, None, 1.0, (0.0, 0.0), found=True, certain=True)
    sampler = Sampler(tracks, np.arange(400.0)[None] / 4, scale, 25.0, 40.0, None)
    crossed, whole = (
        Stretch("II", 1, 0, left, 300.0, 0.0, length, False) for left, length in ((310.0, 1.0), (20.0, 2.5))
    )
    assert np.isnan(sampler.samples(crossed)[1]).all()
    assert np.isfinite(sampler.samples(whole)[1]).all()


def test_borders_that_cross_leave_no_time_between_them() -> None:
    x_mm = np.tile(np.arange(0.0, 260.0, 0.25), (3, 1))
    parts = ((0.0, 62.5), (70.0, 60.0), (125.0, 187.5), (187.5, 250.0))
    columns = Columns(parts, 62.5)
    found = stretches_of(layouts_of(3)[0], Extent(0.0, 250.0, np.zeros((3, 2)), ()), columns, 10.0, x_mm)
    lengths = {stretch.lead: stretch.length_s for stretch in found}
    assert lengths["aVR"] == 0.0 and lengths["I"] == pytest.approx(2.5)


@pytest.mark.parametrize("above", [58.0, 15.0, -20.0])
def test_names_belong_to_the_rows_that_make_a_layout(above: float) -> None:
    baselines = tuple(100.0 + 60.0 * row for row in range(12))
    chances = np.zeros(len(LEADS), dtype=np.float32)
    names = tuple(
        FoundName(lead, 12.0, y - above, 0.9, 14.0, chances) for lead, y in zip(LEADS, baselines, strict=True)
    )
    sheet: Any = SimpleNamespace(
        marks=SimpleNamespace(names=names), rows=SimpleNamespace(baselines=baselines), shape=(900, 1200)
    )
    x_mm = np.tile(np.arange(0.0, 260.0, 0.25), (12, 1))
    placed = _placed_names(sheet, x_mm, Extent(0.0, 250.0, np.zeros((12, 2)), ()), 1.0, layouts_of(12))
    assert [name.lead for name in sorted(placed, key=lambda name: name.row)] == list(LEADS)
    assert [name.row for name in placed] == list(range(12))
