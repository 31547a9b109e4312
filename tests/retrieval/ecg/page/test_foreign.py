"""Pages that matplotlib draws, in the habits of other programs, from a record of bumps: what reading makes of them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.drawing.geometry import RenderStyle
from ecgkin.retrieval.ecg.drawing.trace_map import draw_trace_map
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.page.reading import PageReading, read_page
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.simulation.simulate import simulate

Picture = NDArray[np.uint8]
figures = pytest.importorskip("matplotlib.figure")
agg = pytest.importorskip("matplotlib.backends.backend_agg")


@dataclass(frozen=True)
class Habit:
    """How a program draws: lengths in mm, columns of leads, seconds of a whole row of one lead."""

    columns: int = 4
    strip: bool = True
    gap: float = 0.0
    pitch: float = 28.0
    grid: str | None = "#f2b8b8"
    paper: str = "white"
    ink: str = "black"
    pulse: bool = True
    whole: bool = False
    line: float = 0.8  # points


HABITS = {
    "flush": Habit(pitch=36.0),
    "narrow rows": Habit(pitch=20.0),
    "no pulse": Habit(pulse=False),
    "gaps": Habit(gap=5.0, strip=False),
    "grey grid": Habit(grid="#909090", paper="#e8e8e8"),
    "blue trace": Habit(ink="#1f5fbf", grid="#dddddd"),
    "20 s wide": Habit(columns=2, strip=False, whole=True, gap=6.0, pitch=30.0, pulse=False, line=1.6),
}


@pytest.fixture(scope="module")
def record() -> EcgRecord:
    return simulate(["NORM"], np.random.default_rng(3), fs_hz=250.0).record


def draw(record: EcgRecord, habit: Habit) -> Picture:
    rows = 12 // habit.columns + habit.strip
    span = 250.0 if habit.whole else 250.0 / habit.columns
    x0, area = 25.0, habit.columns * span + (habit.columns - 1) * habit.gap
    width, height = area + 40.0, rows * habit.pitch + 40.0
    figure = figures.Figure(figsize=(width / 25.4, height / 25.4), dpi=110, facecolor=habit.paper)
    canvas = agg.FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    if habit.grid:
        axes.vlines(np.arange(0, width, 5), 0, height, color=habit.grid, linewidth=0.6)
        axes.hlines(np.arange(0, height, 5), 0, width, color=habit.grid, linewidth=0.6)
    panels = [(lead, *divmod(index, 12 // habit.columns)) for index, lead in enumerate(LEADS)]
    for lead, column, row in [*panels, *([("II", 0, rows - 1)] if habit.strip else [])]:
        rhythm = habit.strip and row == rows - 1
        length_s = 10.0 if rhythm or habit.whole else 10.0 / habit.columns
        start_s = 0.0 if rhythm or habit.whole else column * length_s
        first, last = round(start_s * record.fs_hz), round((start_s + length_s) * record.fs_hz)
        samples = record.signal_mv[record.leads.index(lead), first:last]
        x, y = x0 + column * (span + habit.gap), 25.0 + (row + 0.5) * habit.pitch
        axes.plot(
            x + np.arange(samples.size) / record.fs_hz * 25, y - 10 * samples, color=habit.ink, linewidth=habit.line
        )
        axes.text(x + 1, y + 7, lead, fontsize=8, color=habit.ink)
        if habit.pulse and column == 0:
            axes.plot([x - 5, x - 5, x, x], [y, y - 10, y - 10, y], color=habit.ink, linewidth=habit.line)
    axes.text(20, 12, "Name: ______  Vent. rate 72 bpm  25 mm/s  10 mm/mV", fontsize=9)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def near(reading: PageReading, record: EcgRecord, layout: str, tolerance_px: int = 2) -> float:
    """Share of ink within a tolerance of the other map's, the smaller of both ways."""
    ideal = draw_trace_map(record, RenderStyle(layout=layout)) > 100
    found = reading.trace_map > 100
    kernel = np.ones((2 * tolerance_px + 1,) * 2, np.uint8)
    wide = [cv2.dilate(picture.astype(np.uint8), kernel) > 0 for picture in (ideal, found)]
    return float(min(wide[0][found].mean(), wide[1][ideal].mean()))


@pytest.mark.parametrize("name", list(HABITS))
def test_habits_of_other_programs_do_not_show_in_the_map(record: EcgRecord, name: str) -> None:
    habit = HABITS[name]
    reading = read_page(draw(record, habit))
    drawn = "12x1" if habit.whole else "3x4+1R" if habit.strip else "3x4"
    assert reading.layout == ("6x2" if habit.whole else drawn)
    assert near(reading, record, drawn) > 0.85


def test_speed_and_gain_are_said_where_pulse_and_grid_tell_them(record: EcgRecord) -> None:
    known = read_page(draw(record, HABITS["flush"]))
    assert known.speed_mm_s == 25.0 and known.gain_mm_mv == 10.0
    assert known.px_per_mm == pytest.approx(110 / 25.4, rel=0.02)
    unknown = read_page(draw(record, HABITS["no pulse"]))
    assert unknown.speed_mm_s is None and unknown.gain_mm_mv is None


def test_axes_of_a_notebook_are_read(record: EcgRecord) -> None:
    figure = figures.Figure(figsize=(11, 13), dpi=90)
    canvas = agg.FigureCanvasAgg(figure)
    for row, axes in enumerate(figure.subplots(12, 1, sharey=True)):
        axes.plot(np.arange(record.n_samples) / record.fs_hz, record.signal_mv[row], linewidth=1)
        axes.set_ylabel(record.leads[row])
    figure.tight_layout()
    canvas.draw()
    reading = read_page(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))
    assert reading.layout == "12x1" and reading.n_rows == 12
