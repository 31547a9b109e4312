"""ECG pages as other people's programs draw them: the proxy of `scripts/evaluate_foreign.py`.

Nothing here uses `ecgkin.retrieval.ecg.drawing.raster`. `PAGES` names every way of drawing; the pages of ecg-plot, WFDB
and NeuroKit2 are those packages' own, the rest is plain matplotlib with the habits of clinical pages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord

Picture = NDArray[np.uint8]

_COLUMNS = {"3x4": 4, "3x4+1R": 4, "3x4+3R": 4, "6x2": 2, "12x1": 1}
_STRIPS = {"3x4": (), "3x4+1R": ("II",), "3x4+3R": ("V1", "II", "V5"), "6x2": (), "12x1": ()}


@dataclass(frozen=True)
class Clinic:
    """How `clinical` draws. Lengths in mm, colours as matplotlib has them, `grid` as (minor, major) or None."""

    layout: str = "3x4+1R"
    dpi: int = 150
    grid: tuple[str, str] | None = ("#f7d5d5", "#ea9a9a")
    grid_width: tuple[float, float] = (0.1, 0.25)
    dotted: bool = False
    paper: str = "white"
    ink: str | tuple[str, ...] = "black"
    line: float = 0.3
    pitch: float = 28.0
    column_gap: float = 0.0
    margin: tuple[float, float, float, float] = (12.0, 12.0, 35.0, 18.0)  # left, right, top, bottom
    pulse: str = "none"  # "left", "flush", "right" or "none"
    pulse_mm: float = 5.0
    bars: bool = False
    names: str = "above"  # "above", "below", "inside", "column" or "none"
    speed: float = 25.0
    gain: float = 10.0
    seconds: float = 10.0
    simultaneous: bool = False
    whole: bool = False  # every column shows all seconds
    header: bool = True
    frame: bool = False
    ticks: bool = False
    page_grid: bool = True  # else the grid lies behind the traces alone


def clinical(record: EcgRecord, style: Clinic) -> Picture:
    """A page drawn by matplotlib in millimetres."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    columns, strips = _COLUMNS[style.layout], _STRIPS[style.layout]
    rows = 12 // columns + len(strips)
    left, right, top, bottom = style.margin
    span = style.seconds * style.speed / (1 if style.whole else columns)
    lead_in = {"left": style.pulse_mm + 5.0, "flush": style.pulse_mm}.get(style.pulse, 0.0)
    lead_in += 14.0 if style.names == "column" else 0.0
    lead_out = style.pulse_mm + 5.0 if style.pulse == "right" else 0.0
    area = columns * span + (columns - 1) * style.column_gap
    width, height = left + lead_in + area + lead_out + right, top + rows * style.pitch + bottom
    figure = Figure(figsize=(width / 25.4, height / 25.4), dpi=style.dpi, facecolor=style.paper)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    points = 72 / 25.4
    x0 = left + lead_in
    if style.grid is not None:
        box = (0.0, width, 0.0, height) if style.page_grid else (x0, x0 + area, top, top + rows * style.pitch)
        for step, colour, thick in zip((1.0, 5.0), style.grid, style.grid_width, strict=True):
            xs, ys = np.arange(box[0], box[1] + 0.01, step), np.arange(box[2], box[3] + 0.01, step)
            lines = [[(x, box[2]), (x, box[3])] for x in xs] + [[(box[0], y), (box[1], y)] for y in ys]
            axes.add_collection(
                LineCollection(
                    lines, colors=colour, linewidths=thick * points, linestyles=":" if style.dotted else "-", zorder=1
                )
            )
    inks = (style.ink,) if isinstance(style.ink, str) else style.ink
    text: dict[str, Any] = {"fontsize": 3.2 * points, "color": inks[0], "zorder": 4}
    pen: dict[str, Any] = {"linewidth": style.line * points, "zorder": 3, "solid_joinstyle": "round"}

    def trace(lead: str, row: int, x: float, start_s: float, length_s: float, colour: str) -> None:
        first, last = round(start_s * record.fs_hz), round((start_s + length_s) * record.fs_hz) + 1
        samples = record.signal_mv[record.leads.index(lead), first:last]
        y0 = top + (row + 0.5) * style.pitch
        at = x + np.arange(samples.size) / record.fs_hz * style.speed
        axes.plot(at, y0 - samples * style.gain, color=colour, **pen)
        if style.names == "column":
            axes.text(left, y0 + 1, lead, **text)
        elif style.names != "none":
            lift = {"above": -0.32 * style.pitch, "below": 6.0, "inside": -2.5}[style.names]
            axes.text(x + 1.0, y0 + lift, lead, **text)

    for index, lead in enumerate(LEADS):
        column, row = divmod(index, 12 // columns)
        x = x0 + column * (span + style.column_gap)
        length_s = span / style.speed
        start_s = 0.0 if style.simultaneous or style.whole else column * length_s
        trace(lead, row, x, start_s, length_s, inks[index % len(inks)])
        if style.bars and column:
            y0 = top + (row + 0.5) * style.pitch
            axes.plot([x, x], [y0 - 2.5, y0 + 2.5], color=inks[0], linewidth=0.6 * points, zorder=3)
    for index, lead in enumerate(strips):
        trace(lead, 12 // columns + index, x0, 0.0, style.seconds, inks[index % len(inks)])
    for row in range(rows if style.pulse != "none" else 0):
        y0, up, wide = top + (row + 0.5) * style.pitch, style.gain, style.pulse_mm
        x = x0 + area + 2.5 if style.pulse == "right" else x0 - wide - (0.0 if style.pulse == "flush" else 2.5)
        feet = (0.0, 0.0) if style.pulse == "flush" else (2.0, 2.0)
        axes.plot(
            [x - feet[0], x, x, x + wide, x + wide, x + wide + feet[1]],
            [y0, y0, y0 - up, y0 - up, y0, y0], color=inks[0], **pen,
        )  # fmt: skip
    if style.header:
        axes.text(left, 7, "ID: 000000    Name: ________    61 yrs   Male", **text)
        axes.text(left, 13, "Vent. rate 72 bpm    PR 160 ms    QRS 92 ms    QT/QTc 400/420 ms", **text)
        axes.text(left, height - 5, f"{style.speed:g} mm/s    {style.gain:g} mm/mV    0.05-150 Hz", **text)
    if style.frame:
        box_x, box_y = [x0 - 2, x0 + area + 2, x0 + area + 2, x0 - 2, x0 - 2], [top, top, height - bottom]
        axes.plot(box_x, [*box_y, height - bottom, top], color="black", linewidth=0.3 * points, zorder=2)
    if style.ticks:
        for second in range(int(area / style.speed) + 1):
            axes.text(x0 + second * style.speed - 1, height - bottom + 5, str(second), **text)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def subplots(record: EcgRecord, *, grid: bool, colours: bool, share: bool, dpi: int, columns: int = 1) -> Picture:
    """Axes with frames and ticks under each other, as a notebook shows them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 14 if columns == 1 else 9), dpi=dpi)
    canvas = FigureCanvasAgg(figure)
    every = figure.subplots(12 // columns, columns, sharey=share, squeeze=False)
    time_s = np.arange(record.n_samples) / record.fs_hz
    for index, lead in enumerate(LEADS):
        column, row = divmod(index, 12 // columns)
        axes = every[row, column]
        colour = f"C{index % 10}" if colours else "C0"
        axes.plot(time_s, record.signal_mv[record.leads.index(lead)], linewidth=1, color=colour)
        axes.set_ylabel(lead) if columns == 1 else axes.set_title(lead, fontsize=8)
        axes.grid(grid)
    figure.tight_layout()
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def ecg_plot_page(record: EcgRecord, *, dpi: int = 110, **options: Any) -> Picture:
    """A page of the package ecg-plot (0.3 or later)."""
    import ecg_plot
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    chart = ecg_plot.plot(
        np.asarray(record.signal_mv, dtype=np.float64),
        sample_rate=record.fs_hz,
        lead_names=list(record.leads),
        **options,
    )
    figure = chart.to_matplotlib()[0]
    return _raster(figure, dpi, FigureCanvasAgg)


def wfdb_page(record: EcgRecord, *, grids: bool, dpi: int = 100) -> Picture:
    """A page of `wfdb.plot.plot_items`."""
    import matplotlib.pyplot as plt
    import wfdb.plot
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = wfdb.plot.plot_items(
        np.asarray(record.signal_mv, dtype=np.float64).T, fs=record.fs_hz, time_units="seconds",
        sig_name=list(record.leads), sig_units=["mV"] * 12, ecg_grids="all" if grids else [],
        figsize=(14, 18), return_fig=True, title="record",
    )  # fmt: skip
    picture = _raster(figure, dpi, FigureCanvasAgg)
    plt.close(figure)
    return picture


def neurokit_page(record: EcgRecord, *, dpi: int = 100) -> Picture:
    """A page of `neurokit2.signal_plot` with one axes a lead."""
    import matplotlib.pyplot as plt
    import neurokit2
    import pandas as pd
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    plt.switch_backend("agg")
    frame = pd.DataFrame(np.asarray(record.signal_mv, dtype=np.float64).T, columns=list(record.leads))
    neurokit2.signal_plot(frame, sampling_rate=round(record.fs_hz), subplots=True)
    figure = plt.gcf()
    figure.set_size_inches(12, 14)
    picture = _raster(figure, dpi, FigureCanvasAgg)
    plt.close(figure)
    return picture


def _raster(figure: Any, dpi: int, canvas_class: Any) -> Picture:
    figure.set_dpi(dpi)
    canvas = canvas_class(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _clinic(**options: Any) -> Callable[[EcgRecord], Picture]:
    return partial(clinical, style=Clinic(**options))


_KIT: dict[str, Any] = {"pulse": "flush", "bars": True, "names": "below", "pitch": 36.0, "margin": (10, 10, 60, 20)}
PAGES: dict[str, Callable[[EcgRecord], Picture]] = {
    "ecg-plot 2 columns": partial(ecg_plot_page, dpi=70),
    "ecg-plot stacked bw": partial(ecg_plot_page, layout="stacked", style="bw", dpi=90),
    "ecg-plot 12lead": partial(ecg_plot_page, layout="12lead", time_mode="sequential", rhythm_lead="II"),
    "ecg-plot limb-chest": partial(ecg_plot_page, layout="limb-chest", dpi=70),
    "ecg-plot 12lead 10 s": partial(ecg_plot_page, layout="12lead", dpi=60),
    "ecg-plot sequential": partial(ecg_plot_page, layout="columns", columns=2, time_mode="sequential"),
    "wfdb": partial(wfdb_page, grids=False),
    "wfdb grid": partial(wfdb_page, grids=True),
    "neurokit2": neurokit_page,
    "subplots": partial(subplots, grid=False, colours=False, share=False, dpi=90),
    "subplots grid shared": partial(subplots, grid=True, colours=True, share=True, dpi=100),
    "subplots 2 columns": partial(subplots, grid=True, colours=False, share=True, dpi=100, columns=2),
    "kit red": _clinic(**_KIT, dpi=200, line=0.2),
    "kit grey": _clinic(**_KIT, grid=("#c8c8c8", "#909090"), paper="#e8e8e8", dpi=120),
    "kit blue": _clinic(**_KIT, grid=("#c4d4ee", "#6f92cc"), paper="#b7c6d6", dpi=150, line=0.25),
    "3x4 no grid": _clinic(layout="3x4", grid=None, dpi=100),
    "3x4 gaps": _clinic(layout="3x4", column_gap=5.0, names="inside", pulse="left"),
    "3x4+1R plain": _clinic(pitch=22, dpi=110),
    "3x4+1R tight": _clinic(pitch=16, names="inside", pulse="left"),
    "3x4+1R pulse right": _clinic(pulse="right", grid=("#d8ecd8", "#8fc08f")),
    "3x4+1R thick": _clinic(line=0.8, dpi=100, pulse="left"),
    "3x4+1R thin": _clinic(line=0.12, dpi=250, grid=("#e6e6e6", "#b0b0b0")),
    "3x4+1R dark grid": _clinic(grid=("#b0b0b0", "#707070"), dpi=150),
    "3x4+1R dotted": _clinic(dotted=True, grid=("#bbbbbb", "#777777"), pulse="left"),
    "3x4+1R frame": _clinic(frame=True, ticks=True, page_grid=False, bars=True),
    "3x4+1R coloured": _clinic(ink=("#1f3fbf", "#b02020", "#207020"), grid=("#eeeeee", "#cccccc")),
    "3x4+1R simultaneous": _clinic(simultaneous=True, pulse="left"),
    "3x4+3R": _clinic(layout="3x4+3R", pitch=22, pulse="left", bars=True),
    "6x2": _clinic(layout="6x2", pitch=20, pulse="left"),
    "6x2 gaps 20 s": _clinic(layout="6x2", pitch=25, column_gap=4.0, whole=True, dpi=100, names="inside"),
    "12x1": _clinic(layout="12x1", pitch=14, names="column", pulse="left"),
    "12x1 plain": _clinic(layout="12x1", pitch=20, grid=None, header=False),
    "50 mm/s": _clinic(speed=50.0, dpi=100, pulse="left", pulse_mm=10.0),
    "5 mm/mV": _clinic(gain=5.0, pulse="left", pitch=20),
}  # fmt: skip


def turned(page: Picture, degrees: float) -> Picture:
    """The page turned on white, grown so that nothing is cut."""
    height, width = page.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    cos, sin = abs(turn[0, 0]), abs(turn[0, 1])
    size = (int(height * sin + width * cos), int(height * cos + width * sin))
    turn[:, 2] += [(size[0] - width) / 2, (size[1] - height) / 2]
    return np.asarray(cv2.warpAffine(page, turn, size, borderValue=(235, 235, 235)), dtype=np.uint8)


def damaged(page: Picture, kind: str, rng: np.random.Generator) -> Picture:
    """Simple damage that is independent of `ecgkin.retrieval.ecg.augment.photograph`; `kind` is one of `DAMAGES`."""
    height, width = page.shape[:2]
    if kind == "turn":
        return turned(page, float(rng.uniform(1, 15)) * float(rng.choice([-1, 1])))
    if kind in ("turn 90", "turn 180", "turn 270"):
        return np.ascontiguousarray(np.rot90(page, int(kind.split()[1]) // 90))
    if kind == "perspective":
        square = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
        bent = (square + rng.uniform(0.0, 0.06, (4, 2)) * width * np.sign([width / 2, height / 2] - square)).astype(
            np.float32
        )
        return np.asarray(
            cv2.warpPerspective(
                page, cv2.getPerspectiveTransform(square, bent), (width, height), borderValue=(90, 80, 70)
            ),
            dtype=np.uint8,
        )
    if kind == "light":
        x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
        way = rng.uniform(0, 2 * np.pi)
        light = 0.75 + 0.25 * (np.cos(way) * x + np.sin(way) * y) / 1.2
        return np.asarray(page * light[..., None], dtype=np.uint8)
    if kind == "jpeg 20":
        coded = cv2.imencode(".jpg", page, [cv2.IMWRITE_JPEG_QUALITY, 20])[1]
        return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), dtype=np.uint8)
    if kind == "600 px":
        size = (600, round(600 * height / width))
        return np.asarray(cv2.resize(page, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    if kind == "cut":
        inner = page[round(0.02 * height) : round(0.98 * height), round(0.02 * width) : round(0.98 * width)]
        return np.ascontiguousarray(inner)
    raise ValueError(f"damage is {kind!r} (expected one of {', '.join(DAMAGES)})")


DAMAGES = ("turn", "turn 90", "turn 180", "perspective", "light", "jpeg 20", "600 px", "cut")
