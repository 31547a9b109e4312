"""Where leads begin and end on a page: drawn strokes, missing ink, and what stands there and is no curve."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ecgkin.retrieval.ecg import RenderStyle, render_array, simulate
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.page import digitize as digitizing
from ecgkin.retrieval.ecg.page import following
from ecgkin.retrieval.ecg.page.columns import Extent, boundaries
from ecgkin.retrieval.ecg.page.digitized import Stretch
from ecgkin.retrieval.ecg.page.network.weights_file import weights_folder
from ecgkin.retrieval.ecg.page.reading import look_at
from ecgkin.retrieval.ecg.page.sampling import Sampler
from ecgkin.retrieval.ecg.page.scale import PaperScale
from ecgkin.retrieval.ecg.page.tracks import Tracks, trace_tracks

MM = 4.0
SCALE = PaperScale((0, 0, 1100, 100), (MM, MM), None, None, 1.0, (0.0, 0.0), found=True, certain=True)


def _tracks(level: np.ndarray) -> Tracks:
    return Tracks(level, level - 1, level + 1, np.isfinite(level).astype(float), 2.0)


@pytest.mark.parametrize(
    ("late", "expected"),
    [
        ((1.6, 1.0, 0.4), (1.6, 1.0, 0.4)),  # a device whose columns are 61.9 mm long
        ((0.0, 0.1, -0.1), (0.0, 0.0, 0.0)),
        ((1.6, -1.5, 0.4), (0.0, 0.0, 0.0)),  # at uneven distances: beats
        ((1.6, 1.0, None), (0.0, 0.0, 0.0)),  # not at every border
    ],
)
def test_strokes_at_even_distances_are_the_borders(late: tuple[float | None, ...], expected: tuple[float, ...]) -> None:
    x_mm = np.tile(np.arange(1080) / MM, (3, 1))
    strokes = np.zeros((3, 1080))
    for k, off in enumerate(late, start=1):
        if off is not None:
            at = round((5.0 + 62.5 * k + off) * MM)
            strokes[:, at - 2 : at + 3] = 0.9
    tracks = _tracks(np.full((3, 1080), 50.0))
    parts = boundaries(tracks, x_mm, Extent(5.0, 255.0, np.zeros((3, 2)), ()), 4, 3, strokes)
    found = [begin - (5.0 + 62.5 * k) for k, (begin, _) in enumerate(parts)][1:]
    assert found == pytest.approx(expected, abs=0.35)
    assert [a[1] for a in parts[:-1]] == pytest.approx([b[0] for b in parts[1:]])
    assert parts[0][0] >= 5.0 and parts[-1][1] <= 255.0


def _samples(level: np.ndarray, foreign: np.ndarray | None = None) -> np.ndarray:
    sampler = Sampler(
        _tracks(level), np.arange(400.0)[None] / MM, SCALE, 25.0, 40.0, None,
        foreign=None if foreign is None else foreign[None],
    )  # fmt: skip
    return sampler.samples(Stretch("II", 1, 0, 20.0, 320.0, 0.0, 3.0, False))[1]


def test_beyond_its_last_ink_a_curve_goes_on_for_a_moment_only() -> None:
    level = np.full((1, 400), 50.0)
    level[0, :24] = level[0, 319:] = np.nan
    samples = _samples(level)
    # Three columns, .75 mm or 30 ms, hold nothing before it, and one behind it.
    assert np.isnan(samples[:10]).all() and np.isfinite(samples[25:]).all()


def test_what_is_foreign_near_the_end_of_a_lead_is_missing() -> None:
    level, foreign = np.full((1, 400), 50.0), np.zeros(400, dtype=bool)
    level[0, 25:33] = 10.0
    foreign[28:33] = foreign[200:210] = True
    assert np.isfinite(_samples(level)).all()
    samples = _samples(level, foreign)
    # With the foreign columns goes what lies between them and the end; what stands in the middle is not asked about.
    assert np.isnan(samples[:55]).all() and np.isfinite(samples[75:]).all()
    assert np.abs(samples[75:]).max() < 0.01


@pytest.mark.skipif(not (weights_folder() / "reader.safetensors").is_file(), reason="no weights of the page reader")
@pytest.mark.parametrize("by", ["_foreign", "_hardly"])
@pytest.mark.parametrize("blotted", [True, False])
def test_ends_are_left_out_only_where_the_limb_leads_say_so(
    monkeypatch: pytest.MonkeyPatch, blotted: bool, by: str
) -> None:
    style = RenderStyle(layout="3x4", px_per_mm=8.0, calibration="none")
    look = look_at(render_array(simulate(["NORM"], np.random.default_rng(7)).record, style))
    lead = next(s for s in digitizing.digitize_look(look).stretches if s.lead == "aVF")
    beginning = slice(round(lead.left) + 2, round(lead.left) + 20)

    def blot(*given: Any) -> Tracks:
        tracks = trace_tracks(*given)
        if blotted:
            tracks.y[lead.row, beginning] -= 60.0
        return tracks

    def mark(*given: Any) -> np.ndarray:
        out = np.zeros(next(g for g in given if isinstance(g, Tracks)).y.shape, dtype=bool)
        out[lead.row, beginning] = True
        return out

    monkeypatch.setattr(following, "trace_tracks", blot)
    for name in ("_foreign", "_hardly"):
        monkeypatch.setattr(digitizing, name, lambda *_: None)
    before = digitizing.digitize_look(look)
    monkeypatch.setattr(digitizing, by, mark)
    after = digitizing.digitize_look(look)
    assert before.einthoven_db is not None and after.einthoven_db is not None
    shown = [int(np.isfinite(found.record.standard()[5]).sum()) for found in (before, after)]
    if blotted:
        assert after.einthoven_db > before.einthoven_db + 3 and shown[0] - 60 < shown[1] < shown[0] - 10
    else:
        assert after.einthoven_db == before.einthoven_db and shown[1] == shown[0]


@pytest.mark.parametrize(
    ("tall_mm", "stroke", "weight", "struck"),
    [
        (12.0, 0.9, 0.1, True),
        (12.0, 0.1, 0.1, False),  # a beat cut by the border, hardly seen
        (12.0, 0.9, 0.9, False),  # a trace to the network as well
        (5.0, 0.9, 0.1, False),  # no taller than the lead's own beats
    ],
)
def test_a_stroke_taller_than_the_lead_is_no_part_of_it(
    tall_mm: float, stroke: float, weight: float, struck: bool
) -> None:
    level, strokes = np.full((1, 400), 50.0), np.zeros((1, 400))
    level[0, 150:154] -= 6.0 * MM
    level[0, 22:26] += tall_mm * MM
    strokes[0, 20:28] = stroke
    tracks = _tracks(level)
    tracks.weight[0, 20:28] = weight
    lead = Stretch("V2", 1, 0, 20.0, 320.0, 0.0, 3.0, False)
    found = digitizing._struck(tracks, strokes, (lead,), (MM, MM))
    assert found[0, 22:26].all() == struck and not found[0, 40:].any()
    # A strip's ends are none of columns.
    assert not digitizing._struck(tracks, strokes, (replace(lead, strip=True),), (MM, MM)).any()


def test_what_is_left_out_of_the_samples_is_known() -> None:
    level, foreign = np.full((1, 400), 50.0), np.zeros((1, 400), dtype=bool)
    foreign[0, 25:30] = foreign[0, 200:205] = True
    lead = Stretch("V2", 1, 0, 20.0, 320.0, 0.0, 3.0, False)
    x_mm = np.arange(400.0)[None] / MM
    found = Sampler(_tracks(level), x_mm, SCALE, 25.0, 40.0, None, foreign=foreign).left_out((lead,))
    assert found[0, 21:30].all() and not found[0, 30:].any()
    assert not Sampler(_tracks(level), x_mm, SCALE, 25.0, 40.0, None).left_out((lead,)).any()


@pytest.mark.parametrize(
    ("laws", "without", "mended"),
    [
        ((5.0, 6.0), (9.0, 9.0), set(LEADS)),
        ((30.0, 6.0), (30.0, 9.0), {"aVR", "aVL", "aVF"}),
        ((6.0, 30.0), (9.0, 12.0), {"I", "II", "III"}),
        ((20.0, 15.0), (25.0, 20.0), set()),  # lawful as they are
        ((5.0, 6.0), (6.0, 7.0), set()),
        ((None, 6.0), (None, 9.0), set(LEADS)),
        ((None, None), (None, None), set()),
    ],
)
def test_ends_are_mended_law_by_law(
    laws: tuple[float | None, ...], without: tuple[float | None, ...], mended: set[str]
) -> None:
    assert digitizing._leads_mended(laws, without, 1.5) == mended
