"""Flat pages: paper, grid, curves, pulses, strokes, lead names and text, each with its coverage plane."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.training.grids import GridStyle, draw_grid, draw_grid_style
from ecgkin.retrieval.ecg.page.training.layouts import Layout, Stretch
from ecgkin.retrieval.ecg.page.training.lettering import Lettering, draw_lettering, paste, text_mask
from ecgkin.retrieval.ecg.page.training.signals import FS_HZ, Signals
from ecgkin.retrieval.ecg.page.training.wording import footer_lines, header_lines, name_spelling, note

INKS = ("trace", "text", "pulse", "stroke")
_SUPER = 2  # planes of curves are drawn at twice the size and averaged down
_BITS = 4  # fractional bits of OpenCV's coordinates
_SURE = 1.6  # px; thinner strokes are labelled as if they were this wide

Plane = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class PrintedLead:
    """The truth about one printed stretch.

    Attributes:
        stretch: Place and time on the page.
        samples_mv: What is printed, at 500 Hz.
        points_px: Page pixels of the samples, shape (n, 2), x before y.
    """

    stretch: Stretch
    samples_mv: NDArray[np.float32]
    points_px: NDArray[np.float64]


@dataclass(slots=True, eq=False)
class Sheet:
    """A flat page.

    Attributes:
        rgb: uint8, shape (height, width, 3).
        inks: Coverage of `INKS`, uint8, shape (4, height, width).
        grid: Coverage of the 5 mm lines.
        gridded: 255 where the paper has a grid.
        names: Lead and box (x0, y0, x1, y1) in page pixels of each printed lead name.
        leads: What is printed.
        px_per_mm: Scale.
        origin_mm: Page place of the upper left corner of the upper left pixel.
    """

    rgb: NDArray[np.uint8]
    inks: NDArray[np.uint8]
    grid: Plane
    gridded: Plane
    names: list[tuple[str, tuple[float, float, float, float]]]
    leads: list[PrintedLead]
    px_per_mm: float
    origin_mm: tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Style:
    """What one machine does the same way all over a page."""

    grid: GridStyle
    trace_colour: tuple[int, int, int]
    text_colour: tuple[int, int, int]
    mark_colour: tuple[int, int, int]
    line_mm: float
    name_font: Lettering
    text_font: Lettering
    name_mm: float
    name_place: str
    name_dx_mm: float
    name_dy_mm: float
    name_scheme: int
    pulse_kind: str
    pulse_width_mm: float
    pulse_joined: bool
    stroke_kind: str
    stroke_mm: float
    fade: float
    strip_names: bool = True
    extra: dict[str, Any] = field(default_factory=dict)


def draw_sheet(
    layout: Layout, signals: Signals, window_mm: tuple[float, float, float, float], px_per_mm: float,
    rng: np.random.Generator,
) -> Sheet:  # fmt: skip
    """Print the part of a page inside `window_mm` (x0, y0, x1, y1), at `px_per_mm`.

    Args:
        layout: What stands where.
        signals: mV by lead.
        window_mm: Part of the page.
        px_per_mm: Resolution.
        rng: Draws paper and ink.

    Returns:
        Picture and coverages.
    """
    style = _legible(_draw_style(rng), px_per_mm)
    width = max(32, round((window_mm[2] - window_mm[0]) * px_per_mm))
    height = max(32, round((window_mm[3] - window_mm[1]) * px_per_mm))
    bench = _Bench(layout, style, (window_mm[0], window_mm[1]), px_per_mm, (height, width), rng)
    x0, y0 = bench.at(layout.area_mm[0], layout.area_mm[1])
    x1, y1 = bench.at(layout.area_mm[2], layout.area_mm[3])
    if rng.random() < 0.35:
        x0, y0, x1, y1 = -1.0, -1.0, width + 1.0, height + 1.0
    rgb, grid, gridded = draw_grid(style.grid, (height, width), (x0, y0, x1, y1), px_per_mm, rng)
    for stretch in layout.stretches:
        bench.trace(stretch, signals[stretch.lead])
    bench.pulses()
    bench.strokes()
    bench.names()
    bench.words()
    inks = bench.inks()
    # One printer writes all in one go: curves over strokes over text hardly matters, all are dark.
    for plane, colour in (
        (bench.text, style.text_colour), (bench.small("stroke"), style.mark_colour),
        (bench.small("pulse"), style.mark_colour), (bench.small("trace"), style.trace_colour),
    ):  # fmt: skip
        _ink(rgb, plane, colour, style.fade, rng)
    for plane, ink in bench.pen_planes:
        _ink(rgb, plane, ink, 0.0, rng)
    if rng.random() < 0.07:
        _redact(rgb, inks, bench.found_names, rng)
    return Sheet(rgb, inks, grid, gridded, bench.found_names, bench.leads, px_per_mm, (window_mm[0], window_mm[1]))


def _ink(
    rgb: NDArray[np.uint8], plane: Plane, colour: tuple[int, int, int], fade: float, rng: np.random.Generator
) -> None:
    """Blend a colour in where the plane covers; `fade` takes up to that share of it away, unevenly."""
    where = np.flatnonzero(plane)
    if not len(where):
        return
    alpha = plane.ravel()[where].astype(np.float32) / np.float32(255)
    if fade > 0:
        small = rng.uniform(1.0 - fade, 1.0 - 0.4 * fade, (6, 9)).astype(np.float32)
        alpha *= cv2.resize(small, (plane.shape[1], plane.shape[0])).ravel()[where]
    flat = rgb.reshape(-1, 3)
    under = flat[where].astype(np.float32)
    flat[where] = (under + (np.asarray(colour, np.float32) - under) * alpha[:, None] + 0.5).astype(np.uint8)


def _redact(
    rgb: NDArray[np.uint8], inks: NDArray[np.uint8], names: list[tuple[str, tuple[float, float, float, float]]],
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Bars and blots over what must not be read, mostly near the upper edge; nothing shows through."""
    height, width = rgb.shape[:2]
    for _ in range(int(rng.integers(1, 5))):
        w, h = rng.uniform(0.03, 0.25) * width, rng.uniform(0.015, 0.06) * height
        x, y = rng.uniform(0, width - w), rng.uniform(0, 0.15 if rng.random() < 0.75 else 0.95) * height
        x0, y0, x1, y1 = (int(v) for v in (x, y, x + w, min(height, y + h)))
        rgb[y0:y1, x0:x1] = int(rng.choice((0, 20, 255, 200, 225)))
        inks[:, y0:y1, x0:x1] = 0
        names[:] = [n for n in names if not (x0 < (n[1][0] + n[1][2]) / 2 < x1 and y0 < (n[1][1] + n[1][3]) / 2 < y1)]


def _draw_style(rng: np.random.Generator) -> _Style:
    grid = draw_grid_style(rng)
    ink = _trace_colour(grid.dark, rng)
    same = rng.random() < 0.75
    mark = ink if same else _trace_colour(grid.dark, rng)
    text = ink if same or rng.random() < 0.5 else _trace_colour(grid.dark, rng)
    places = ("above", "below", "on", "margin", "high", "none")
    pulses = ("left", "right", "both", "columns", "one", "none", "footer")
    strokes = ("none", "pair", "bar", "line", "dotted", "dashed", "tick", "start", "gap", "seconds")
    return _Style(
        grid=grid,
        trace_colour=ink,
        text_colour=text,
        mark_colour=mark,
        line_mm=float(np.exp(rng.uniform(np.log(0.1), np.log(0.75)))),
        name_font=draw_lettering(rng),
        text_font=draw_lettering(rng),
        name_mm=float(np.exp(rng.uniform(np.log(1.7), np.log(5.5)))),
        name_place=str(rng.choice(places, p=(0.42, 0.2, 0.18, 0.1, 0.07, 0.03))),
        name_dx_mm=float(rng.choice((rng.uniform(0.0, 1.5), rng.uniform(0.5, 6.0), rng.uniform(-2.0, 0.5)))),
        name_dy_mm=float(rng.uniform(1.0, 10.0)),
        name_scheme=int(rng.integers(1000)),
        pulse_kind=str(rng.choice(pulses, p=(0.42, 0.16, 0.04, 0.05, 0.06, 0.22, 0.05))),
        pulse_width_mm=float(rng.choice((5.0, 5.0, 2.5, rng.uniform(1.5, 8.0)))),
        pulse_joined=bool(rng.random() < 0.4),
        stroke_kind=str(rng.choice(strokes, p=(0.32, 0.15, 0.1, 0.1, 0.1, 0.06, 0.06, 0.05, 0.03, 0.03))),
        stroke_mm=float(np.exp(rng.uniform(np.log(0.12), np.log(0.9)))),
        fade=float(rng.choice((0.0, 0.0, rng.uniform(0.1, 0.5), rng.uniform(0.3, 0.75)), p=(0.35, 0.2, 0.3, 0.15))),
        strip_names=bool(rng.random() < 0.9),
    )


def _legible(style: _Style, px_per_mm: float) -> _Style:
    """The style with lines wide and dark enough that a person could follow them, and a grid weaker than the curves."""
    grid = style.grid
    paper, ink = np.asarray(grid.paper, np.float64), np.asarray(style.trace_colour, np.float64)
    contrast = float(np.abs(paper - ink).mean())
    line_mm, fade = style.line_mm, style.fade
    if contrast * (1 - 0.7 * fade) * min(1.0, line_mm * px_per_mm / 1.3) < 60:
        fade = min(fade, 0.2)
        line_mm = max(line_mm, 1.3 / px_per_mm * min(1.0, 75 / max(contrast * (1 - 0.7 * fade), 1.0)))
    seen = contrast * (1 - 0.7 * fade) * min(1.0, line_mm * px_per_mm / 1.3)

    def strength(colour: tuple[int, int, int], alpha: float, width_mm: float) -> float:
        distance = float(np.abs(paper - np.asarray(colour, np.float64)).mean())
        return distance * alpha * min(1.0, width_mm * px_per_mm)

    minor, major = grid.minor_alpha, grid.major_alpha
    if (found := strength(grid.line, minor, grid.minor_mm)) > 0.6 * seen:
        minor *= 0.6 * seen / found
    if (found := strength(grid.major_line, major, grid.major_mm)) > 0.85 * seen:
        major *= 0.85 * seen / found
    return replace(style, line_mm=line_mm, fade=fade, grid=replace(grid, minor_alpha=minor, major_alpha=major))


def _trace_colour(dark: bool, rng: np.random.Generator) -> tuple[int, int, int]:
    if dark:
        glowing = ((80, 255, 100), (255, 255, 255), (255, 230, 90), (120, 200, 255), (0, 230, 230), (250, 120, 120),
                 (90, 100, 235), (60, 200, 60))  # fmt: skip
        base = np.array(glowing[int(rng.integers(len(glowing)))], dtype=np.float64) * rng.uniform(0.6, 1.0)
    elif rng.random() < 0.82:
        base = np.full(3, rng.choice((0.0, rng.uniform(0, 60), rng.uniform(40, 120)))) + rng.normal(0, 6, 3)
    else:
        tints = ((20, 30, 150), (0, 0, 120), (60, 20, 90), (20, 80, 60), (150, 20, 30), (90, 50, 30), (0, 0, 220))
        base = np.array(tints[int(rng.integers(len(tints)))], dtype=np.float64) * rng.uniform(0.6, 1.2)
    r, g, b = (int(v) for v in np.clip(base, 0, 255))
    return r, g, b


class _Bench:
    """The planes of one page while it is printed."""

    def __init__(
        self, layout: Layout, style: _Style, origin_mm: tuple[float, float], px_per_mm: float, shape: tuple[int, int],
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        self.layout, self.style, self.origin, self.scale, self.shape, self.rng = (
            layout, style, origin_mm, px_per_mm, shape, rng,
        )  # fmt: skip
        big = (shape[0] * _SUPER, shape[1] * _SUPER)
        self._large: dict[str, Plane] = {n: np.zeros(big, dtype=np.uint8) for n in ("trace", "pulse", "stroke")}
        self._thickness: dict[str, float] = {}
        self._small: dict[str, Plane] = {}
        self.text = np.zeros(shape, dtype=np.uint8)
        self.pen_planes: list[tuple[Plane, tuple[int, int, int]]] = []
        self.found_names: list[tuple[str, tuple[float, float, float, float]]] = []
        self.leads: list[PrintedLead] = []

    def at(self, x_mm: float, y_mm: float) -> tuple[float, float]:
        """Continuous page pixels (0.5 is the middle of the first pixel) of a page place."""
        return (x_mm - self.origin[0]) * self.scale, (y_mm - self.origin[1]) * self.scale

    def small(self, name: str) -> Plane:
        """A plane at the size of the page, coverage 0 to 255."""
        if name not in self._small:
            self._small[name] = np.asarray(
                cv2.resize(self._large[name], self.shape[::-1], interpolation=cv2.INTER_AREA), dtype=np.uint8
            )
        return self._small[name]

    def inks(self) -> NDArray[np.uint8]:
        """Label planes: as drawn, thin strokes made as sure as strokes of `_SURE` px."""
        planes = []
        for name in INKS:
            if name == "text":
                plane = self.text
                for pen, _ in self.pen_planes:
                    plane = np.maximum(plane, pen)
            else:
                plane = self.small(name)
                wide = self._thickness.get(name, _SURE)
                if wide < _SURE:
                    table = np.minimum(255, np.arange(256) * (_SURE / wide)).astype(np.uint8)
                    plane = np.asarray(cv2.LUT(plane, table), dtype=np.uint8)
            planes.append(plane)
        return np.stack(planes)

    def _line(self, name: str, points_px: NDArray[np.float64], width_mm: float, closed: bool = False) -> None:
        """A polyline through page pixel coordinates into one of the large planes."""
        thick = max(1, round(width_mm * self.scale * _SUPER))
        self._thickness[name] = thick / _SUPER
        fixed = np.rint((points_px * _SUPER - 0.5) * (1 << _BITS))
        fixed = np.clip(fixed, -(2**20), 2**20).astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(self._large[name], [fixed], closed, 255, thick, cv2.LINE_AA, _BITS)

    def trace(self, stretch: Stretch, signal: NDArray[np.float32]) -> None:
        """One printed stretch of a lead."""
        layout = self.layout
        first = round(stretch.t0_s * FS_HZ)
        samples = signal[first : first + round(stretch.duration_s * FS_HZ)]
        x_mm = stretch.x_mm + np.arange(len(samples)) / FS_HZ * layout.speed_mm_s
        y_mm = stretch.y_mm - samples.astype(np.float64) * layout.gain_of(stretch.lead)
        x, y = self.at(0.0, 0.0)
        points = np.stack([x + x_mm * self.scale, y + y_mm * self.scale], axis=1)
        near = np.flatnonzero((points[:, 0] > -60) & (points[:, 0] < self.shape[1] + 60))
        if len(near) > 1:
            self._line("trace", points[near[0] : near[-1] + 1], self.style.line_mm)
        self.leads.append(PrintedLead(stretch, np.asarray(samples, dtype=np.float32), points))

    def _pulse(self, x_mm: float, y_mm: float, gain: float) -> None:
        """A calibration pulse of 1 mV whose left foot begins at x_mm."""
        style, rng = self.style, self.rng
        foot = style.extra.get("foot", 1.0)
        wide = style.pulse_width_mm
        lean = 0.15 if style.pulse_joined else 0.0
        path = [(0.0, 0.0), (foot, 0.0), (foot + lean, -gain), (foot + lean + wide, -gain),
                (foot + wide + 2 * lean, 0.0), (2 * foot + wide, 0.0)]  # fmt: skip
        points = np.array([self.at(x_mm + px, y_mm + py) for px, py in path])
        self._line("pulse", points, style.line_mm if rng.random() < 0.9 else style.line_mm * 1.6)

    def pulses(self) -> None:
        """Calibration pulses at the ends of the rows, between columns, or one for the page."""
        layout, style, rng = self.layout, self.style, self.rng
        kind = style.pulse_kind
        if kind == "none":
            return
        foot = float(rng.uniform(0.0, 2.0))
        style.extra["foot"] = foot
        wide = 2 * foot + style.pulse_width_mm
        before = layout.pulse_room_mm[0]
        last = max(s.x_mm + s.duration_s * layout.speed_mm_s for s in layout.stretches)
        first = min(s.x_mm for s in layout.stretches)
        near = 0.0 if style.pulse_joined else float(rng.uniform(0.0, 1.5))
        rows = range(len(layout.row_y_mm))
        lead_of = {s.row: s.lead for s in layout.stretches}
        if kind == "one":
            rows = range(rng.integers(len(layout.row_y_mm)), len(layout.row_y_mm))[:1]
            kind = "left" if rng.random() < 0.6 else "right"
        if kind == "footer":
            self._pulse(first + rng.uniform(0, 60), layout.height_mm - 2.0, layout.gain_mm_mv)
            return
        for row in rows:
            y = layout.row_y_mm[row]
            gain = layout.gain_of(lead_of.get(row, "II"))
            if kind in ("left", "both") and (before > wide - 2 or rng.random() < 0.5):
                self._pulse(first - near - wide, y, gain)
            if kind in ("right", "both"):
                self._pulse(last + near, y, gain)
            if kind == "columns":
                for x in layout.column_x_mm:
                    self._pulse(x - near - wide, y, gain)

    def strokes(self) -> None:
        """Marks where a column begins."""
        layout, style, rng = self.layout, self.style, self.rng
        kind = style.stroke_kind
        if kind == "none":
            return
        wide = style.stroke_mm
        columns = list(layout.column_x_mm) if rng.random() < 0.4 else list(layout.column_x_mm[1:])
        if rng.random() < 0.1:
            columns.append(max(s.x_mm + s.duration_s * layout.speed_mm_s for s in layout.stretches))
        rows = sorted({(s.row, s.y_mm) for s in layout.stretches if not s.strip})
        ys = [y for _, y in rows]
        pitch = float(np.median(np.diff(ys))) if len(ys) > 1 else 25.0
        long, gap = float(rng.uniform(1.5, 5.0)), float(rng.uniform(0.5, 6.0))
        shift = float(rng.normal(0.0, 0.4))
        if kind == "seconds":
            y = layout.height_mm - rng.uniform(1.0, 6.0) if rng.random() < 0.5 else ys[0] - 0.5 * pitch
            for x in np.arange(layout.column_x_mm[0], layout.width_mm, layout.speed_mm_s):
                self._segment(x, y, x, y + long, wide)
            return
        for x in columns:
            x += shift
            if kind in ("line", "dotted"):
                top, bottom = ys[0] - pitch * 0.5, ys[-1] + pitch * rng.uniform(0.2, 0.6)
                if rng.random() < 0.3:
                    bottom = layout.height_mm
                if kind == "line":
                    self._segment(x, top, x, bottom, wide)
                else:
                    self._dots(x, top, bottom, wide)
                continue
            for y in ys:
                if kind == "pair":
                    self._segment(x, y - gap - long, x, y - gap, wide)
                    self._segment(x, y + gap, x, y + gap + long, wide)
                elif kind == "bar":
                    self._segment(x, y - long * 1.2, x, y + long * 1.2, wide)
                elif kind == "dashed":
                    for k in range(int(rng.integers(4, 6))):
                        self._segment(x, y + (2 * k - 4) * 1.6, x, y + (2 * k - 3) * 1.6, wide)
                elif kind == "tick":
                    self._segment(x, y + gap, x, y + gap + long, wide)
                elif kind == "start":
                    self._segment(x, y - long, x, y, wide)
                else:
                    self._segment(x - 1, y - long, x - 1, y + long, wide)
                    self._segment(x + 1, y - long, x + 1, y + long, wide)

    def _segment(self, x0: float, y0: float, x1: float, y1: float, width_mm: float) -> None:
        self._line("stroke", np.array([self.at(x0, y0), self.at(x1, y1)]), width_mm)

    def _dots(self, x: float, top: float, bottom: float, width_mm: float) -> None:
        step, share = float(self.rng.uniform(0.8, 2.4)), float(self.rng.uniform(0.25, 0.7))
        wide = max(width_mm, 0.18)
        for y in np.arange(top, bottom, step):
            self._segment(x, y, x, y + share * step, wide)

    def names(self) -> None:
        """The lead names, at one kind of place for the whole page."""
        layout, style, rng = self.layout, self.style, self.rng
        if style.name_place == "none":
            return
        size = max(6, round(style.name_mm * self.scale / 0.72))
        for s in layout.stretches:
            if (s.strip and not style.strip_names) or rng.random() < 0.015:
                continue
            text = name_spelling(s.lead, style.name_scheme, rng)
            mask = text_mask(text, size, style.name_font)
            height, width = mask.shape
            x, y = self.at(s.x_mm, s.y_mm)
            dy = style.name_dy_mm * self.scale
            dx = style.name_dx_mm * self.scale
            if style.name_place == "margin":
                room = layout.pulse_room_mm[0] if rng.random() < 0.5 and s.column == 0 else 1.0
                left, top = x - room * self.scale - width - 0.5 * self.scale, y - height * rng.uniform(0.2, 1.4)
            elif style.name_place == "above":
                left, top = x + dx, y - dy - height
            elif style.name_place == "high":
                left, top = x + dx, y - dy - height - 6.0 * self.scale
            elif style.name_place == "below":
                left, top = x + dx, y + dy
            else:
                left, top = x + dx, y - height * rng.uniform(0.2, 0.8)
            self._name(s.lead, mask, left, top)

    def _name(self, lead: str, mask: Plane, left: float, top: float) -> None:
        box = paste(self.text, mask, left, top)
        height, width = self.shape
        inside = (min(box[2], width) - max(box[0], 0)) * (min(box[3], height) - max(box[1], 0))
        shown = inside / max(1, (box[2] - box[0]) * (box[3] - box[1]))
        on_page = min(box[2], width) > max(box[0], 0) and min(box[3], height) > max(box[1], 0)
        # Under 65 % shown the name cannot be told any more: it is text.
        if on_page and shown > 0.65:
            self.found_names.append((lead, (float(box[0]), float(box[1]), float(box[2]), float(box[3]))))

    def words(self) -> None:
        """Header, footer, notes among the curves, what people wrote."""
        layout, rng = self.layout, self.rng
        size_mm = float(rng.uniform(1.6, 3.2))
        size = max(6, round(size_mm * self.scale / 0.72))
        room = layout.row_y_mm[0] - 8.0
        if room > 6 and rng.random() < 0.85:
            for text, x, y in header_lines(layout.width_mm, room, size_mm * 1.6, rng):
                self._word(text, x, y, size)
            if rng.random() < 0.2:
                y = room * rng.uniform(0.3, 1.0)
                self._rule(0.0, y, layout.width_mm, y)
            if rng.random() < 0.15:
                x0, y0 = rng.uniform(0, 0.6) * layout.width_mm, rng.uniform(0, 0.4) * room
                self._box(x0, y0, x0 + rng.uniform(20, 90), room * rng.uniform(0.6, 1.0))
        if rng.random() < 0.75:
            for text, x, y in footer_lines(layout, rng):
                self._word(text, x, y, size)
        if rng.random() < 0.2:
            for _ in range(int(rng.integers(1, 4))):
                self._word(note(rng), rng.uniform(0, layout.width_mm), rng.uniform(room, layout.height_mm), size)
        if rng.random() < 0.06:  # a word over each beat
            y = layout.row_y_mm[-1] - rng.uniform(8, 14)
            for x in np.arange(layout.column_x_mm[0] + 8, layout.width_mm - 5, rng.uniform(15, 30)):
                self._word(str(rng.choice(("N", "V", "S", "N", "N"))), x, y, size)
        if rng.random() < 0.1:
            self._box(*layout.area_mm)
        if rng.random() < 0.14:
            self._pen_marks()

    def _word(self, text: str, x_mm: float, y_mm: float, size: int) -> None:
        x, y = self.at(x_mm, y_mm)
        if -600 < x < self.shape[1] and -size < y < self.shape[0]:
            paste(self.text, text_mask(text, size, self.style.text_font), x, y)

    def _rule(self, x0: float, y0: float, x1: float, y1: float) -> None:
        thick = max(1, round(self.rng.uniform(0.1, 0.6) * self.scale))
        a, b = self.at(x0, y0), self.at(x1, y1)
        cv2.line(self.text, (round(a[0]), round(a[1])), (round(b[0]), round(b[1])), 255, thick, cv2.LINE_AA)

    def _box(self, x0: float, y0: float, x1: float, y1: float) -> None:
        for a, b, c, d in ((x0, y0, x1, y0), (x1, y0, x1, y1), (x1, y1, x0, y1), (x0, y1, x0, y0)):
            self._rule(a, b, c, d)

    def _pen_marks(self) -> None:
        """Rings about beats, arrows, underlines and scribbled words in a pen's colour."""
        rng = self.rng
        pens = ((25, 35, 130), (20, 20, 30), (40, 40, 45), (190, 25, 30), (20, 90, 50), (250, 60, 60))
        plane = np.zeros(self.shape, dtype=np.uint8)
        height, width = self.shape
        thick = max(1, round(rng.uniform(0.2, 0.7) * self.scale))
        for _ in range(int(rng.integers(1, 5))):
            x, y = rng.uniform(0, width), rng.uniform(0, height)
            size = rng.uniform(3, 15) * self.scale
            kind = int(rng.integers(4))
            if kind == 0:
                t = np.linspace(0, 2 * np.pi * rng.uniform(0.9, 1.15), 40)
                points = np.stack([x + size * np.cos(t), y + rng.uniform(0.4, 1.4) * size * np.sin(t)], axis=1)
            elif kind == 1:
                angle = rng.uniform(0, 6.3)
                tip = (round(x + size * np.cos(angle)), round(y + size * np.sin(angle)))
                cv2.arrowedLine(plane, (round(x), round(y)), tip, 255, thick, cv2.LINE_AA, tipLength=0.3)
                continue
            elif kind == 2:
                t = np.linspace(0, 1, 12)
                points = np.stack([x + 2 * size * t, y + 0.05 * size * np.sin(9 * t)], axis=1)
            else:
                n = int(rng.integers(3, 9))
                t = np.linspace(0, n, n * 9)
                tall = np.repeat(rng.choice((0.3, 0.4, 0.9), n), 9)
                points = np.stack(
                    [x + 0.25 * size * (t + 0.4 * np.sin(6.28 * t)), y - 0.5 * size * tall * np.cos(6.28 * t)], axis=1
                )
            fixed = np.rint(points * 16).astype(np.int32).reshape(-1, 1, 2)
            cv2.polylines(plane, [fixed], False, 255, thick, cv2.LINE_AA, 4)
        self.pen_planes.append((plane, pens[int(rng.integers(len(pens)))]))
