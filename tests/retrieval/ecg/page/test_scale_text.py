"""What a page says of its scale in print: lines found, cut out, read, and taken at their word or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecgkin.retrieval.ecg import RenderStyle, digitize, render_array, simulate
from ecgkin.retrieval.ecg.page import scale_text
from ecgkin.retrieval.ecg.page.calibration import Calibration
from ecgkin.retrieval.ecg.page.columns import Extent
from ecgkin.retrieval.ecg.page.corrections import Corrections
from ecgkin.retrieval.ecg.page.network.graphs import letters_graph
from ecgkin.retrieval.ecg.page.network.letters import (
    HEIGHT,
    LETTERS,
    ReadLine,
    build_letter_reader,
    cut_line,
    decoded,
    plain,
)
from ecgkin.retrieval.ecg.page.network.names import standardised
from ecgkin.retrieval.ecg.page.network.segment import read_lines
from ecgkin.retrieval.ecg.page.network.weights_file import load_letter_reader, weights_folder
from ecgkin.retrieval.ecg.page.reading import look_at
from ecgkin.retrieval.ecg.page.scale import PaperScale
from ecgkin.retrieval.ecg.page.scale_text import PrintedScale, lines_of_print, stated_scale
from ecgkin.retrieval.ecg.page.training.fit_letters import drawn_lines, fit_letters
from ecgkin.retrieval.ecg.page.units import Measured, find_units

needs_weights = pytest.mark.skipif(
    not (weights_folder() / "letters.safetensors").is_file(), reason="the weights for letters are not here"
)
ByteImage = NDArray[np.uint8]


def _line(text: str, sure: float = 0.99) -> ReadLine:
    return ReadLine(text, (sure,) * len(text))


@pytest.mark.parametrize(
    ("text", "speed", "gain"),
    [
        ("25mm/s 10mm/mv 0.05-150 hz", 25.0, 10.0),
        ("speed: 50 mm/sec limb: 5 mm/mv chest: 5.0 mm/mv", 50.0, 5.0),
        ("vel. 12.5 mm/seg", 12.5, None),
        ("25 mm/s 1 cm/mv", 25.0, 10.0),
        ("0.5cm/mv", None, 5.0),
        ("20.0 mm / mv f 50", None, 20.0),
        ("auto x1.0 hz 25 mm / sek.", 25.0, None),
        # Neither usual nor whole, and what only looks like it.
        ("125 mm/s", None, None),
        ("7 mm/mv 30 mm/s", None, None),
        ("3.25 mm/s", None, None),
        ("12:25 mm/s", None, None),
        ("2 5 mm/mv 6. 25 mm/s", None, None),
        ("25 mm/st 10 mm/mvc", None, None),
        ("25 mm 10 mv", None, None),
        ("25 m/s 10 m/mv", None, None),
        ("", None, None),
        # Two that contradict each other.
        ("10 mm/mv 25 mm/s 5 mm/mv", 25.0, None),
        ("25 mm/s 50 mm/s 10 mm/mv", None, 10.0),
    ],
)
def test_only_whole_statements_of_usual_scales_count(text: str, speed: float | None, gain: float | None) -> None:
    assert stated_scale([_line(text)]) == PrintedScale(speed, gain)


def test_a_letter_that_is_not_sure_leaves_a_statement_out() -> None:
    text = "25 mm/s 10 mm/mv"
    sure = [0.99] * len(text)
    sure[text.index("1")] = 0.5
    assert stated_scale([ReadLine(text, tuple(sure))]) == PrintedScale(25.0, None)
    # It says nothing for a value, but may speak against another.
    assert stated_scale([ReadLine(text, tuple(sure)), _line("5 mm/mv")]) == PrintedScale(25.0, None)
    assert stated_scale([ReadLine(text, tuple(sure)), _line("10 mm/mv")]) == PrintedScale(25.0, 10.0)


@given(st.lists(st.text(alphabet=LETTERS, max_size=40), max_size=6))
def test_whatever_is_read_the_scale_is_a_usual_one(texts: list[str]) -> None:
    found = stated_scale(_line(text) for text in texts)
    assert found.speed_mm_s in (None, 5.0, 6.25, 10.0, 12.5, 25.0, 50.0, 100.0)
    assert found.gain_mm_mv in (None, 2.5, 5.0, 10.0, 20.0, 40.0)


def test_letters_follow_one_another_once() -> None:
    steps = [0, 1 + LETTERS.index("m"), 1 + LETTERS.index("m"), 0, 1 + LETTERS.index("m"), 1 + LETTERS.index(" "), 0]
    chances = np.full((1 + len(LETTERS), len(steps)), 0.001, dtype=np.float32)
    chances[steps, np.arange(len(steps))] = (0.9, 0.6, 0.8, 0.9, 0.7, 0.9, 0.9)
    read = decoded(chances)
    assert read.text == "mm" and read.sure == pytest.approx((0.8, 0.7))


def test_capitals_and_commas_are_read_as_small_letters_and_full_stops() -> None:
    assert plain("12,5  MM/Sec ~ µ") == "12.5 mm/sec"


@pytest.mark.parametrize("angle", [0.0, 8.0, -15.0])
def test_a_line_is_cut_out_level_and_at_one_height(angle: float) -> None:
    picture = np.full((400, 600, 3), 230, np.uint8)
    cv2.putText(picture, "25 mm/s", (200, 200), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (20, 20, 20), 3, cv2.LINE_AA)
    straight = np.array([[200, 170], [360, 170], [360, 206], [200, 206]], dtype=np.float64)
    turn = cv2.getRotationMatrix2D((300, 200), angle, 1.0)
    turned = np.asarray(cv2.warpAffine(picture, turn, (600, 400), borderValue=(230, 230, 230)), dtype=np.uint8)
    corners = straight @ turn[:, :2].T + turn[:, 2]
    level, found = cut_line(picture, straight), cut_line(turned, corners)
    assert level is not None and found is not None and found.shape == level.shape and level.shape[0] == HEIGHT
    alike = np.corrcoef(level.astype(float).ravel(), found.astype(float).ravel())[0, 1]
    assert alike > 0.97


def test_a_blot_and_a_line_too_long_are_no_lines() -> None:
    picture = np.full((100, 4000, 3), 255, np.uint8)
    box = np.array([[10, 10], [20, 10], [20, 40], [10, 40]], dtype=np.float64)
    assert cut_line(picture, box) is None
    assert cut_line(picture, np.array([[10, 10], [3900, 10], [3900, 40], [10, 40]], dtype=np.float64)) is None


def test_a_few_steps_of_training_leave_weights_that_load(tmp_path: Path) -> None:
    cuts: list[ByteImage] = []
    texts: list[str] = []
    for number in range(12):
        for cut, text in drawn_lines(np.random.default_rng((3, number))):
            assert cut.shape[0] == HEIGHT and cut.dtype == np.uint8 and text == plain(text)
            cuts.append(cut)
            texts.append(text)
    assert any("mm/" in text for text in texts)
    path = tmp_path / "letters.safetensors"
    fit_letters(cuts, texts, path, epochs=1, seed=1)
    network = load_letter_reader(tmp_path)
    assert sum(p.numel() for p in network.parameters()) * 2 < 500_000
    assert len(read_lines(cuts[:3], tmp_path)) == 3


def test_half_a_step_is_two_pixels() -> None:
    with torch.no_grad():
        out = build_letter_reader()(standardised(torch.zeros(2, HEIGHT, 64, 3, dtype=torch.uint8)))
    assert out.shape == (2, 1 + len(LETTERS), 1, 32)


@needs_weights
def test_graph_and_torch_read_alike() -> None:
    graph = letters_graph(None, 1)
    if graph is None:
        pytest.skip("no graphs here")
    cut = drawn_lines(np.random.default_rng((5, 5)))[0][0]
    with torch.no_grad():
        expected = torch.softmax(load_letter_reader()(standardised(torch.from_numpy(cut)[None]))[0, :, 0], dim=0)
    assert np.allclose(graph.run(["chances"], line=cut)[0], expected.numpy(), atol=1e-4)


def _page(text: str) -> ByteImage:
    """A drawn page without pulses, 50 mm/s and 5 mm/mV, with a line of print in its lower margin."""
    record = simulate(["NORM"], np.random.default_rng(4)).record.resampled(500.0)
    style = RenderStyle(
        layout="3x4+1R", px_per_mm=8.0, calibration="none", speed_mm_s=50.0, gain_mm_mv=5.0, footer_text=text
    )
    return np.asarray(render_array(record, style), dtype=np.uint8)


@needs_weights
def test_a_page_without_a_pulse_is_taken_at_its_word() -> None:
    found = digitize(_page("50 mm/s   5 mm/mV   0.05-150 Hz")).page
    assert (found.speed_mm_s, found.gain_mm_mv) == (50.0, 5.0)
    found = digitize(_page("Sinus rhythm 25 ms")).page
    assert found.gain_mm_mv is None


@needs_weights
def test_weights_without_letters_leave_print_unread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(cuts: object) -> list[ReadLine]:
        return read_lines([np.zeros((HEIGHT, 64, 3), np.uint8)], tmp_path)

    sheet = look_at(_page("50 mm/s   5 mm/mV")).sheet
    monkeypatch.setattr(scale_text, "read_lines", missing)
    assert scale_text.printed_scale(sheet) == PrintedScale()


@needs_weights
def test_lines_are_found_where_print_is() -> None:
    sheet = look_at(_page("50 mm/s   5 mm/mV")).sheet
    assert any(bottom > 0.93 * sheet.shape[0] for _, _, _, bottom in lines_of_print(sheet))
    assert lines_of_print(replace(sheet, marks=None)) == []


def _paper(pulse: Calibration | None, found: bool = True, length: float = 250.0) -> Measured:
    scale = PaperScale((0, 0, 2000, 800), (8.0, 8.0), None, None, 5.0, (1.0, 1.0), found, found)
    return Measured(scale, np.zeros((4, 2000)), pulse, Extent(0.0, length, np.zeros((4, 2)), ()))


def _seen(tall_mm: float, wide_mm: float = 5.0, cut: bool = False) -> Calibration:
    return Calibration(0.0, wide_mm, 8.0 * tall_mm, False, 4, np.zeros(4), cut=cut)


@pytest.mark.parametrize(
    ("pulse", "expected"),
    [
        (None, (50.0, 5.0, 40.0)),
        (_seen(10.0), (25.0, 10.0, 80.0)),  # a whole pulse tells both
        (_seen(10.0, 1.0, cut=True), (50.0, 10.0, 80.0)),  # half of one tells the gain
        (_seen(7.0), (25.0, None, 80.0)),  # one of no usual height is none that print may explain
        (_seen(6.0), (25.0, 5.0, 40.0)),
    ],
)
def test_print_does_not_overrule_a_pulse(
    pulse: Calibration | None, expected: tuple[float, float | None, float]
) -> None:
    units = find_units(_paper(pulse), Corrections(), lambda: PrintedScale(50.0, 5.0))
    assert units.speed_mm_s == expected[0] and units.speed_known
    assert (units.gain_mm_mv if units.gain_known else None) == expected[1]
    assert units.per_mv == pytest.approx(expected[2])


def test_print_is_not_read_where_nothing_hangs_on_it() -> None:
    def fail() -> PrintedScale:
        raise AssertionError("asked")

    find_units(_paper(_seen(10.0)), Corrections(), fail)
    find_units(_paper(None, found=False), Corrections(), fail)
    find_units(_paper(None), Corrections(speed_mm_s=25.0, gain_mm_mv=10.0), fail)


def test_what_a_person_says_counts_more_than_print() -> None:
    units = find_units(_paper(None), Corrections(gain_mm_mv=20.0), lambda: PrintedScale(50.0, 5.0))
    assert (units.speed_mm_s, units.gain_mm_mv, units.duration_s) == (50.0, 20.0, 5.0)
