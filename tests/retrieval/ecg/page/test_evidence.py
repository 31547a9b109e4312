"""What speaks for an ECG on a page: leads that beat together, names at their places, limb leads; and odd sheets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from ecgkin.generation.research.retrieval.protocol import stranger_records
from ecgkin.retrieval.ecg import EcgRecord, RenderStyle, render_array, simulate
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.page.evidence import PageEvidence, _repeated, doubts, synchrony
from ecgkin.retrieval.ecg.page.image import load_image
from ecgkin.retrieval.ecg.page.ink import is_dark, on_paper
from ecgkin.retrieval.ecg.page.network.segment import FoundName
from ecgkin.retrieval.ecg.page.printed import PrintedEcg, read_printed
from ecgkin.retrieval.notes import NoteCode


def ecg(seed: int, code: str = "NORM") -> EcgRecord:
    return simulate([code], np.random.default_rng(seed)).record


@pytest.mark.parametrize("code", ["NORM", "AFIB", "CLBBB", "PACE", "STACH"])
def test_leads_of_one_heart_are_steep_together(code: str) -> None:
    for seed in range(3):
        found = synchrony(ecg(seed, code).resampled(500.0).signal_mv, 500.0)
        assert found is not None and found > 0.5


def test_signals_without_a_heart_are_not() -> None:
    made = stranger_records([ecg(seed).resampled(500.0) for seed in range(10)])
    found = [synchrony(record.signal_mv, 500.0) for record in made]
    assert max(value for value in found if value is not None) < 0.3


def test_strokes_between_columns_are_no_beats() -> None:
    noise = np.random.default_rng(3).normal(0.0, 0.02, (12, 5000)).astype(np.float32)
    struck = noise.copy()
    for begin in range(0, 5000, 1250):
        struck[:, begin : begin + 15] += 1.0
    assert (synchrony(noise, 500.0) or 0.0) < 0.3 and (synchrony(struck, 500.0) or 0.0) < 0.3


def test_one_row_out_of_step_speaks_against_no_page() -> None:
    signal = ecg(5, "NORM").resampled(500.0).signal_mv[:4].copy()
    together = synchrony(signal, 500.0)
    signal[3] = np.roll(signal[3], 180)
    assert together is not None and (synchrony(signal, 500.0) or 0.0) > together - 0.1
    # Two of four are half of the page.
    signal[2] = np.roll(signal[2], -200)
    assert (synchrony(signal, 500.0) or 0.0) < together - 0.3


@pytest.mark.parametrize(("heights", "repeated"), [((10.0, 11.0), 6), ((10.0, 6.0), 0)])
def test_names_of_one_size_are_two_ecgs(heights: tuple[float, float], repeated: int) -> None:
    names = tuple(
        FoundName(lead, 100.0 * k, y, 0.9, tall, np.zeros(len(LEADS), np.float32))
        for k, lead in enumerate(LEADS[:6])
        for y, tall in zip((50.0, 400.0), heights, strict=True)
    )
    found: Any = SimpleNamespace(sheet=SimpleNamespace(marks=SimpleNamespace(names=names)))
    assert _repeated(found) == repeated


@given(some.integers(0, 20), some.floats(0.05, 20.0))
@settings(max_examples=15, deadline=None)
def test_synchrony_does_not_depend_on_the_scale_or_on_missing_leads(seed: int, scale: float) -> None:
    signal = ecg(seed).resampled(500.0).signal_mv
    one, two = synchrony(signal, 500.0), synchrony(np.float32(scale) * signal, 500.0)
    assert one is not None and two == pytest.approx(one, abs=1e-3)
    missing = signal.copy()
    missing[3:] = np.nan
    assert -1.0 <= (synchrony(missing, 500.0) or 0.0) <= 1.0
    assert synchrony(np.full_like(signal, np.nan), 500.0) is None


@pytest.mark.parametrize(
    ("evidence", "grade"),
    [
        (PageEvidence(0.9, 20.0, 0.9, 1.0, True), "sure"),
        (PageEvidence(0.4, 8.0, 0.9, 1.0, True), "sure"),
        (PageEvidence(0.9, None, 0.9, 1.0, True), "sure"),
        (PageEvidence(0.9, None, 0.9, 1.0, False), "fair"),
        (PageEvidence(0.9, None, 0.9, 1.0, True, dark=True), "fair"),
        (PageEvidence(0.9, 9.0, 0.9, 1.0, True, dark=True), "sure"),
        (PageEvidence(0.9, 20.0, 0.9, 1.0, True, repeated=9), "fair"),
        (PageEvidence(0.4, -3.0, 0.9, 1.0, True), "fair"),
        (PageEvidence(0.9, 20.0, 0.1, 1.0, True), "poor"),
        (PageEvidence(0.1, -3.0, 0.9, 1.0, True), "poor"),
    ],
)
def test_grades(evidence: PageEvidence, grade: str) -> None:
    assert evidence.grade == grade
    english, german = doubts(evidence)
    assert english and german and english.count(",") == german.count(",")


def test_doubts_are_named() -> None:
    assert "lead names" in doubts(PageEvidence(0.1, 20.0, 0.9, 1.0, True))[0]
    assert "curve" in doubts(None)[0] and "Kurve" in doubts(None)[1]


def test_transparent_pictures_lie_on_what_they_were_drawn_for() -> None:
    lines = np.zeros((100, 120, 4), np.uint8)
    lines[40:44, :, 3] = 255
    assert load_image(lines).max() == 255 and load_image(lines)[42, 5].max() == 0  # black lines: on white
    lines[..., :3] = 255
    assert load_image(lines)[0, 0].max() == 0 and load_image(lines)[42, 5].min() == 255  # white lines: on black


def test_a_dim_photograph_of_paper_is_not_dark() -> None:
    paper = np.full((300, 400, 3), 70, np.uint8)
    paper[::20] = paper[:, ::20] = 58
    paper[150, :] = 25
    assert not is_dark(paper)
    assert is_dark(128 - paper)
    screen = np.zeros((300, 400, 3), np.uint8)  # thick shapes and a faint curve
    screen[40:90, 20:160] = (0, 255, 0)
    screen[200, :] = (0, 0, 255)
    assert is_dark(screen)


def test_a_photograph_of_paper_on_a_dark_table_is_not_dark() -> None:
    table = np.full((300, 400, 3), 25, np.uint8)
    assert is_dark(table)
    table[100:220, 120:300] = 235
    assert not is_dark(table)
    assert (on_paper(on_paper(table)) == table).all()


@pytest.fixture(scope="module")
def page() -> np.ndarray:
    return render_array(ecg(4), RenderStyle(px_per_mm=6))


def codes(printed: PrintedEcg) -> set[NoteCode]:
    return {note.code for note in printed.page.warnings}


@pytest.mark.weights
def test_a_drawn_page_is_sure(page: np.ndarray) -> None:
    printed = read_printed(page)
    assert printed.grade == "sure" and printed.evidence is not None
    assert printed.evidence.named > 0.9 and (printed.evidence.law_db or 0) > 15 and printed.evidence.repeated < 3


@pytest.mark.weights
def test_light_curves_on_dark_are_read(page: np.ndarray) -> None:
    printed = read_printed(255 - page)
    assert NoteCode.PAGE_DARK in codes(printed) and printed.page.layout == "3x4+1R" and printed.grade == "sure"
    assert read_printed(page).page.trace_map.astype(int) == pytest.approx(printed.page.trace_map.astype(int), abs=2)


@pytest.mark.weights
@pytest.mark.parametrize("axis", [0, 1])
def test_two_ecgs_on_one_sheet_are_said(page: np.ndarray, axis: int) -> None:
    other = render_array(ecg(5, "AFIB"), RenderStyle(px_per_mm=6))
    printed = read_printed(np.concatenate([page[100:1200], other[100:1200]], axis=axis))
    assert NoteCode.TWO_ECGS in codes(printed) and printed.grade != "sure"


@pytest.mark.weights
def test_noise_on_ecg_paper_is_not_sure() -> None:
    (noise,) = stranger_records([ecg(3).resampled(500.0)])
    assert read_printed(render_array(noise, RenderStyle(px_per_mm=6))).grade == "poor"


@pytest.mark.parametrize(
    ("evidence", "nothing"),
    [
        (PageEvidence(0.0, None, None, 0.2, True), True),  # lines of a table
        (PageEvidence(0.1, -3.0, 0.1, 0.9, True), True),  # curves that share no beat
        (PageEvidence(0.0, 0.5, 0.5, 0.9, True), True),  # two curves of a chart
        (PageEvidence(0.7, None, 0.0, 0.9, False), True),  # names read in stains
        (PageEvidence(0.1, None, 0.34, 0.9, False), True),  # arrows of a diagram of the leads
        (PageEvidence(0.0, 2.0, 0.85, 0.6, False), False),  # a dim photograph whose names cannot be read
        (PageEvidence(1.0, None, 0.7, 1.0, False, dark=True), True),  # a map of a page, not the page
        (PageEvidence(0.9, 12.0, 0.8, 1.0, False, dark=True), False),  # a monitor whose leads are named and agree
        (PageEvidence(0.2, 12.0, 0.8, 1.0, False, dark=True), True),
        (PageEvidence(0.0, 9.0, 0.8, 0.9, True), False),  # an ECG without names
        (PageEvidence(0.9, 7.0, 0.1, 0.9, True), False),  # rows out of step, but named
        (PageEvidence(0.0, None, None, 1.0, True), False),  # a strip of one lead
        (PageEvidence(1.0, -5.0, 0.8, 0.7, False), False),  # traces in a dark grid
    ],
)
def test_pages_for_which_next_to_nothing_speaks(evidence: PageEvidence, nothing: bool) -> None:
    assert evidence.nothing is nothing
