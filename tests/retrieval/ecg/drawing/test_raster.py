"""Pages as pictures: what is measured off the page in millimetres is what the record holds."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.drawing.geometry import LAYOUTS, GridColours, PageGeometry, Panel, RenderStyle, page_geometry
from ecgkin.retrieval.ecg.drawing.raster import background, render, render_array
from ecgkin.retrieval.ecg.leads import CABRERA_LEADS, LEADS
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import QueryError

BARE = RenderStyle(
    grid="none", calibration="none", lead_names=False, lead_separators=False, footer_text="", ink=(0, 0, 0)
)
FS_HZ = 500.0


def zeros(seconds: float = 10.0, fs_hz: float = FS_HZ, leads: tuple[str, ...] = LEADS) -> EcgRecord:
    return EcgRecord(np.zeros((len(leads), round(seconds * fs_hz)), np.float32), fs_hz, leads)


def ink(page: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Darkness of each pixel, 0 for paper and 1 for ink."""
    return np.asarray(1.0 - page.mean(axis=2) / 255.0)


def panel_of(geometry: PageGeometry, lead: str) -> Panel:
    """The panel of a lead, never its rhythm strip."""
    return next(panel for panel in geometry.panels if panel.lead == lead and not panel.is_rhythm)


def box(darkness: NDArray[np.float64], style: RenderStyle, panel: Panel) -> NDArray[np.float64]:
    """The part of the page where nothing but this panel's trace should be."""
    geometry = page_geometry(style)
    half = geometry.row_spacing_mm / 2
    rows = slice(*(round((panel.baseline_y_mm + d) * geometry.px_per_mm) for d in (-half, half)))
    first, last = panel.x_mm + 0.5, panel.x_mm + panel.width_mm - 0.5
    return darkness[rows, round(first * geometry.px_per_mm) : round(last * geometry.px_per_mm)]


def centre(weights: NDArray[np.float64]) -> float:
    """Centre of mass in continuous pixels (pixel i spans i to i + 1)."""
    return float((weights * (np.arange(len(weights)) + 0.5)).sum() / weights.sum())


def measure_pulse(style: RenderStyle, lead: str, height_mv: float) -> None:
    """Draw a rectangular pulse in one lead and measure its place, height and width off the picture."""
    geometry = page_geometry(style)
    panel = panel_of(geometry, lead)
    begin = round((panel.start_s + 0.4 * panel.length_s) * FS_HZ)
    end = round((panel.start_s + 0.7 * panel.length_s) * FS_HZ)
    signal = np.zeros((1, round((style.start_s + style.window_s) * FS_HZ)), np.float32)
    signal[0, begin:end] = height_mv
    darkness = ink(render_array(EcgRecord(signal, FS_HZ, (lead,)), style))

    scale = geometry.px_per_mm
    base_px = panel.baseline_y_mm * scale
    top_px = base_px - panel.sign * height_mv * panel.gain_mm_mv * scale
    # The edges rise between two samples: their middle is half a sample before the first and after the last.
    left_px, right_px = (
        (panel.x_mm + ((i - 0.5) / FS_HZ - panel.start_s) * style.speed_mm_s) * scale for i in (begin, end)
    )
    # Four pixels round the place keep out whatever else is on the page; away from it there is nothing to find.
    column, before = round((left_px + right_px) / 2), round(left_px - 0.15 * panel.width_mm * scale)
    assert measured(darkness[:, column], top_px) == pytest.approx(top_px, abs=0.5)
    assert measured(darkness[:, before], base_px) == pytest.approx(base_px, abs=0.5)
    row = round((base_px + top_px) / 2)
    assert measured(darkness[row], left_px) == pytest.approx(left_px, abs=0.75)
    assert measured(darkness[row], right_px) == pytest.approx(right_px, abs=0.75)


def measured(line: NDArray[np.float64], near: float) -> float:
    first = round(near) - 6
    part = line[first : first + 12]
    assert part.max() > 0.6, "no ink within six pixels of the expected place"
    return first + centre(part)


@settings(max_examples=40, deadline=None)
@given(
    layout=st.sampled_from(sorted(LAYOUTS)),
    order=st.sampled_from(["standard", "cabrera"]),
    speed=st.sampled_from([12.5, 25.0, 50.0]) | st.floats(15, 60),
    gain=st.sampled_from([5.0, 10.0, 20.0]) | st.floats(4, 25),
    px_per_mm=st.floats(3.0, 8.0),
    lead=st.sampled_from(LEADS),
    height_mm=st.floats(4.5, 7.0),
    calibration=st.sampled_from(["left", "right", "none"]),
    simultaneous=st.booleans(),
    start_s=st.sampled_from([0.0, 1.234]),
    line_width_mm=st.floats(0.1, 0.4),
)
def test_a_pulse_is_measured_off_the_page(
    layout: str,
    order: str,
    speed: float,
    gain: float,
    px_per_mm: float,
    lead: str,
    height_mm: float,
    calibration: Literal["left", "right", "none"],
    simultaneous: bool,
    start_s: float,
    line_width_mm: float,
) -> None:
    style = replace(
        BARE, layout=layout, order=order, speed_mm_s=speed, gain_mm_mv=gain, px_per_mm=px_per_mm, start_s=start_s,
        calibration=calibration, simultaneous=simultaneous, line_width_mm=line_width_mm,
    )  # fmt: skip
    measure_pulse(style, lead, height_mm / gain)


def test_a_pulse_is_measured_with_separate_chest_gain() -> None:
    style = replace(BARE, gain_mm_mv=20.0, gain_chest_mm_mv=5.0)
    measure_pulse(style, "V3", 1.2)
    measure_pulse(style, "aVL", 0.3)


def test_a_triangle_keeps_its_height_on_a_small_page_of_a_fast_record() -> None:
    # One sample of 1 ms stands out of 18 samples that share a pixel column: reduction must not lose it.
    style = replace(BARE, width_px=512, height_px=256)
    geometry = page_geometry(style)
    record = zeros(fs_hz=1000.0)
    record.signal_mv[1, 1234] = 1.0
    darkness = box(ink(render_array(record, style)), style, panel_of(geometry, "II"))
    rows = np.flatnonzero(darkness.max(axis=1) > 0.3)
    height_px = rows.max() - rows.min()
    assert height_px == pytest.approx(10.0 * geometry.px_per_mm, abs=2.5)  # 1 mV, and a line one to two px thick


@pytest.mark.parametrize(
    ("width_mm", "tolerance_px"),
    [
        (0.02, 0.45),
        (0.125, 0.45),
        (0.2, 0.45),
        (0.23, 0.45),
        (0.3, 0.25),
        (0.35, 0.25),
        (0.4, 0.25),
        (0.5, 1.0),
        (0.75, 1.0),
    ],
)
def test_lines_are_as_wide_as_asked_for(width_mm: float, tolerance_px: float) -> None:
    style = replace(BARE, layout="12x1", line_width_mm=width_mm, px_per_mm=8.0)
    panel = page_geometry(style).panels[0]
    per_column = box(ink(render_array(zeros(), style)), style, panel).sum(axis=0)
    # OpenCV's thinnest line covers 1.4 px; above 3.35 px only every second width is at hand (see `stroke`).
    assert per_column.mean() == pytest.approx(max(1.0, width_mm * 8), abs=tolerance_px)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("order", ["standard", "cabrera"])
def test_every_layout_shows_each_lead_once(layout: str, order: str) -> None:
    geometry = page_geometry(RenderStyle(layout=layout, order=order))
    shown = [panel.label for panel in geometry.panels if not panel.is_rhythm]
    assert shown == list(LEADS if order == "standard" else CABRERA_LEADS)
    strips = [panel.lead for panel in geometry.panels if panel.is_rhythm]
    assert strips == {0: [], 1: ["II"], 3: ["V1", "II", "V5"]}[LAYOUTS[layout][1]]
    assert len({(panel.row, panel.x_mm) for panel in geometry.panels}) == len(geometry.panels)
    for panel in geometry.panels:
        assert panel.baseline_y_mm == geometry.row_y_mm[panel.row]
        assert panel.x_mm >= geometry.trace_x_mm
        assert panel.x_mm + panel.width_mm <= geometry.trace_x_mm + geometry.trace_width_mm + 1e-9
        assert geometry.trace_x_mm + geometry.trace_width_mm <= geometry.width_mm
    # And on the picture: a record in which one lead alone moves marks that lead's panels and no others.
    style = replace(BARE, layout=layout, order=order, px_per_mm=3.0)
    for index, lead in enumerate(LEADS):
        record = zeros(fs_hz=100.0)
        record.signal_mv[index, ::2] = 0.2
        darkness = ink(render_array(record, style))
        for panel in page_geometry(style).panels:
            is_thick = box(darkness, style, panel).sum(axis=0).mean() > 3.0
            assert is_thick == (panel.lead == lead), (lead, panel)


def test_rows_and_times_of_the_usual_page() -> None:
    geometry = page_geometry()
    assert (geometry.width_px, geometry.height_px) == (2200, 1700)
    rows = [[p.lead for p in geometry.panels if p.row == row] for row in range(4)]
    assert rows == [["I", "aVR", "V1", "V4"], ["II", "aVL", "V2", "V5"], ["III", "aVF", "V3", "V6"], ["II"]]
    assert [p.start_s for p in geometry.panels if p.row == 0] == [0.0, 2.5, 5.0, 7.5]
    together = page_geometry(RenderStyle(simultaneous=True, start_s=3.0))
    assert {p.start_s for p in together.panels} == {3.0}
    assert {p.length_s for p in together.panels} == {2.5, 10.0}


def test_cabrera_turns_avr_over() -> None:
    record = zeros()
    record.signal_mv[LEADS.index("aVR"), 700:900] = 0.5
    up, down = (replace(BARE, order=order, px_per_mm=4.0, simultaneous=True) for order in ("standard", "cabrera"))
    for style, sign in ((up, 1), (down, -1)):
        panel = panel_of(page_geometry(style), "aVR")
        assert panel.sign == sign
        darkness = box(ink(render_array(record, style)), style, panel)
        rows = np.flatnonzero(darkness.max(axis=1) > 0.5)
        middle = darkness.shape[0] / 2
        above, below = middle - rows.min(), rows.max() - middle
        assert (above > below + 15) if sign == 1 else (below > above + 15)  # 0.5 mV are 20 px


def test_missing_leads_stay_blank_and_say_so() -> None:
    kept = tuple(lead for lead in LEADS if lead not in ("V2", "II"))
    signal = np.zeros((len(kept), 1000), np.float32)
    signal[kept.index("V6")] = np.nan
    page = ink(render_array(EcgRecord(signal, 100.0, kept), BARE))
    for panel in page_geometry(BARE).panels:
        part = box(page, BARE, panel)
        is_missing = panel.lead in ("V2", "II", "V6")
        # The mark stands in the first 12 mm; after it the lead's place is bare paper.
        mark, rest = np.split(part, [round(12 * page_geometry(BARE).px_per_mm)], axis=1)
        assert (rest.max() == 0.0) == is_missing, panel
        assert mark.max() > 0.3
        if is_missing:
            letters = mark.sum()
            assert 20 < letters < 2000


def test_gaps_break_the_line_and_lone_samples_show() -> None:
    style = replace(BARE, layout="12x1", px_per_mm=4.0)  # one sample of 100 Hz is one pixel
    record = zeros(fs_hz=100.0)
    record.signal_mv[3, 300:600] = np.nan
    record.signal_mv[3, 450] = 0.0
    record.signal_mv[4, 300:600] = np.inf
    page = ink(render_array(record, style))
    for lead, dot in (("aVR", True), ("aVL", False)):
        part = box(page, style, panel_of(page_geometry(style), lead))
        offset = round(0.5 * 4)  # `box` leaves out the first half millimetre
        assert part[:, 100 : 300 - offset - 2].max(axis=0).min() > 0.5
        assert part[:, 600 - offset + 2 : 900].max(axis=0).min() > 0.5
        gap = part[:, 300 - offset + 3 : 600 - offset - 3].max(axis=0)
        assert (gap.max() > 0.4) == dot
        assert np.count_nonzero(gap) <= (5 if dot else 0)


def test_short_records_leave_the_rest_blank_and_long_ones_are_cut(made_record: EcgRecord) -> None:
    short = ink(render_array(made_record.window(0.0, 5.0), BARE))
    for panel in page_geometry(BARE).panels:
        part = box(short, BARE, panel)
        if panel.is_rhythm:
            assert part[:, : part.shape[1] // 2 - 8].max(axis=0).min() > 0.5
            assert part[:, part.shape[1] // 2 + 8 :].max() == 0.0
        else:
            # The sample at 5 s itself is absent, so that nothing of V1 to V6 is left.
            assert (part.max() > 0.5) == (panel.start_s < 5.0)
    minute = replace(made_record, signal_mv=np.tile(made_record.signal_mv, (1, 6)))
    long = replace(made_record, signal_mv=np.tile(made_record.signal_mv, (1, 6))[:, :5001])
    assert np.array_equal(render_array(minute, BARE), render_array(long, BARE))
    later = replace(minute, signal_mv=minute.signal_mv[:, 3500:8501])
    assert np.array_equal(render_array(minute, replace(BARE, start_s=7.0)), render_array(later, BARE))


def test_centring_moves_a_panel_and_changes_nothing_else() -> None:
    record = zeros()
    record.signal_mv[:, 2000:2100] = 0.5
    moved = replace(record, signal_mv=record.signal_mv + np.float32(0.75))
    assert np.array_equal(render_array(record, BARE), render_array(moved, BARE))
    as_it_is = replace(BARE, center=False)
    geometry = page_geometry(as_it_is)
    part = box(ink(render_array(moved, as_it_is)), as_it_is, panel_of(geometry, "V1"))
    offset_mm = (part.shape[0] / 2 - centre(part[:, 5])) / geometry.px_per_mm
    assert offset_mm == pytest.approx(7.5, abs=0.2)


def test_traces_that_leave_the_page_do_no_harm() -> None:
    record = zeros(fs_hz=100.0)
    record.signal_mv[:, 100::50] = 1e30
    record.signal_mv[:, 120::50] = -1e30
    page = render_array(record, RenderStyle(px_per_mm=2.0))
    assert page.shape == (432, 559, 3)
    assert ink(page)[:10].max() > 0.5 and ink(page)[-10:].max() > 0.5


def test_the_grid_has_its_lines_every_one_and_five_millimetres() -> None:
    colours = GridColours((200, 200, 200), (0, 0, 0))
    style = replace(BARE, grid=colours, px_per_mm=7.3, width_px=1000, height_px=700)
    page = ink(np.array(background(style)))
    geometry = page_geometry(style)
    for profile, origin_mm in ((page.min(axis=0), geometry.trace_x_mm), (page.min(axis=1), geometry.row_y_mm[0])):
        # What is dark along the whole page is a line across it.
        for pitch, low in ((1, 0.05), (5, 0.4)):
            first = int(np.ceil((1 - origin_mm) / pitch))
            for k in range(first, first + 12):
                at = (origin_mm + k * pitch) * 7.3
                part = profile[round(at) - 3 : round(at) + 3]
                assert part.max() > low
                if pitch == 5 or k % 5:
                    assert round(at) - 3 + centre(part) == pytest.approx(at, abs=0.3)
    blank = render_array(zeros(leads=("I",)), replace(BARE, background=(250, 240, 230), layout="3x4"))
    assert tuple(blank[0, 0]) == (250, 240, 230)
    # Too coarse for millimetres: the lines between the major ones are left out instead of turning into moire.
    coarse = background(RenderStyle(width_px=512, height_px=256, footer_text="", lead_names=False))
    assert (coarse == 255).all(axis=2).mean() > 0.6


@pytest.mark.parametrize(
    ("gain", "chest", "heights"), [(10.0, None, {10.0}), (20.0, None, {20.0}), (10.0, 5.0, {10.0, 5.0})]
)
def test_the_calibration_pulse_is_one_millivolt(gain: float, chest: float | None, heights: set[float]) -> None:
    style = replace(BARE, calibration="left", gain_mm_mv=gain, gain_chest_mm_mv=chest)
    geometry = page_geometry(style)
    assert len(geometry.calibrations) == 4
    page = ink(np.array(background(style)))
    pulse = geometry.calibrations[0]
    for height in heights:
        (x0, y), (x1, _) = next((a, b) for a, b in pairwise(pulse) if a[1] == b[1] == pulse[0][1] - height)
        column = page[: round((y + 3) * geometry.px_per_mm), round((x0 + x1) / 2 * geometry.px_per_mm)]
        assert centre(column) / geometry.px_per_mm == pytest.approx(pulse[0][1] - height, abs=0.5 / geometry.px_per_mm)
    assert pulse[-1][0] == pytest.approx(geometry.trace_x_mm)
    right = page_geometry(replace(style, calibration="right"))
    assert right.calibrations[0][0][0] == pytest.approx(right.trace_x_mm + right.trace_width_mm)


def test_text_is_written_whatever_it_is(made_record: EcgRecord) -> None:
    def header(text: str) -> NDArray[np.float64]:
        style = replace(BARE, header_text=text, px_per_mm=6.0)
        return ink(render_array(made_record, style))[:66]  # 11 mm: two lines of text

    assert header("Müller").sum() > header("Muller").sum() > 100
    assert not np.array_equal(header("ü"), header("ö"))
    assert not np.array_equal(header("Ж"), header("Я"))
    assert np.array_equal(header("ü患"), header("ü?"))  # no font at hand: a question mark, not an empty box
    assert header("a\tb\x00c").any() and header("x" * 100_000).any()
    assert not header("  ").any()
    named, bare = replace(BARE, lead_names=True), BARE
    assert np.count_nonzero(background(named) != background(bare)) > 500


def test_nothing_is_shared_between_pages(made_record: EcgRecord) -> None:
    before = made_record.signal_mv.copy()
    style = RenderStyle(px_per_mm=3.0)
    first = render_array(made_record, style)
    with_header = render_array(made_record, replace(style, header_text="one\ntwo"))
    first_copy = first.copy()
    first[:] = 7
    assert np.array_equal(render_array(made_record, style), first_copy)
    assert np.array_equal(render_array(made_record, replace(style, header_text="one\ntwo")), with_header)
    assert not np.array_equal(render_array(made_record, replace(style, header_text="three\nfour")), with_header)
    assert np.array_equal(made_record.signal_mv, before)
    with pytest.raises(ValueError, match="read-only"):
        background(style)[0, 0] = 0


def test_pages_have_the_size_asked_for(made_record: EcgRecord) -> None:
    for width, height in ((512, 256), (1344, 672), (300, 900), (2200, 1700)):
        for layout in LAYOUTS:
            style = RenderStyle(layout=layout, width_px=width, height_px=height)
            assert render(made_record, style).size == (width, height)
            geometry = page_geometry(style)
            assert geometry.trace_x_mm >= 0
            assert geometry.trace_x_mm + geometry.trace_width_mm <= geometry.width_mm
            assert geometry.row_y_mm[0] > 0 and geometry.row_y_mm[-1] < geometry.height_mm
    assert page_geometry(RenderStyle(width_px=1100)).height_px == pytest.approx(850, abs=1)
    assert page_geometry(RenderStyle(speed_mm_s=50.0)).width_mm > 500
    picture = render(made_record)
    assert picture.mode == "RGB"
    assert np.array_equal(np.asarray(picture), render_array(made_record))


@pytest.mark.parametrize(
    ("settings_", "says"),
    [
        ({"layout": "4x3"}, r"layout is '4x3' \(expected one of 3x4, 3x4\+1R"),
        ({"order": "reverse"}, "cabrera"),
        ({"gain_mm_mv": 0.0}, "gain_mm_mv is 0.0"),
        ({"speed_mm_s": float("nan")}, "speed_mm_s is nan"),
        ({"px_per_mm": -1.0}, "px_per_mm is -1.0"),
        ({"start_s": -1.0}, "start_s is -1.0"),
        ({"grid": "plaid"}, "pink"),
        ({"ink": (0, 0, 256)}, "colour is"),
        ({"calibration": "top"}, "left, right, none"),
        ({"rhythm_leads": ("II", "V1")}, "names 2 leads"),
        ({"rhythm_leads": ("V7",)}, "rhythm lead is 'V7'"),
        ({"px_per_mm": 1000.0}, "million pixels"),
        ({"layout": "12x1", "height_px": 60, "px_per_mm": 5.0}, "no room for 12 rows"),
    ],
)
def test_styles_that_cannot_be_are_refused(settings_: dict[str, object], says: str) -> None:
    with pytest.raises(QueryError, match=says):
        page_geometry(RenderStyle(**settings_))  # type: ignore[arg-type]


def test_styles_from_a_file_with_lists_are_hashable() -> None:
    style = RenderStyle(ink=[1, 2, 3], rhythm_leads=["V1"])  # type: ignore[arg-type]
    assert style == RenderStyle(ink=(1, 2, 3), rhythm_leads=("V1",))
    assert page_geometry(style).panels[-1].lead == "V1"


@pytest.mark.slow
def test_the_benchmark_runs(project_root: Path, tmp_path: Path) -> None:
    pytest.importorskip("ecg_plot")
    environment = {**os.environ, "MPLCONFIGDIR": str(tmp_path)}
    script = project_root / "scripts" / "bench_drawing.py"
    done = subprocess.run(
        [sys.executable, str(script), "--quick", "--json", str(tmp_path / "bench.json")],
        capture_output=True, text=True, env=environment, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "512 x 256" in done.stdout and (tmp_path / "bench.json").is_file()


def test_styles_of_training_are_pages_that_exist() -> None:
    """Gains that machines have, mostly 10 mm/mV; both paper speeds; every layout; now and then Cabrera's order."""
    from ecgkin.retrieval.ecg.drawing.trace_map import LAYOUT_SHARES, random_style

    rng = np.random.default_rng(0)
    styles = [random_style(rng) for _ in range(600)]
    gains = [style.gain_mm_mv for style in styles]
    assert set(gains) == {5.0, 10.0, 20.0} and gains.count(10.0) > 500
    assert 10 < gains.count(5.0) < 60 and 5 < gains.count(20.0) < 45
    assert {style.gain_chest_mm_mv for style in styles} == {None, 5.0}
    assert {style.speed_mm_s for style in styles} == {25.0, 50.0} and {style.layout for style in styles} == set(
        LAYOUT_SHARES
    )
    assert all(style.window_s == 10.0 for style in styles if style.speed_mm_s == 25.0)
    assert {style.order for style in styles} == {"standard", "cabrera"}
    assert all(page_geometry(style).panels for style in styles[:50])
