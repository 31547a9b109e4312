"""ECG paper: what a page looks like, and which lead is drawn where, in millimetres and pixels.

Everything that draws or measures a page (raster, SVG, trace maps, tests) asks `page_geometry` and nothing else, so
that all of them agree. Millimetres count from the top left corner of the page, x to the right, y downwards.
Pixel `(column, row)` covers `[column, column + 1) x [row, row + 1)` of the plane `mm * px_per_mm`; its centre is
therefore at `mm * px_per_mm - 0.5` in the coordinates of OpenCV and Pillow, whose integers are pixel centres.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import floor
from typing import Literal

from ecgkin.retrieval.ecg.drawing.style import GRIDS, LAYOUTS, ORDERS, RHYTHM_LEADS, Colour, GridColours, RenderStyle
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.errors import QueryError

__all__ = [
    "GRIDS",
    "LAYOUTS",
    "ORDERS",
    "Colour",
    "GridColours",
    "PageGeometry",
    "Panel",
    "RenderStyle",
    "TextAnchor",
    "page_geometry",
]

PAGE_MM = (279.4, 215.9)  # US Letter, landscape; 2200 x 1700 px at 200 dpi
PX_PER_MM = 200 / 25.4  # 200 dpi, a usual office scan
MIN_SIDE_PX = 48  # less is refused by page reading, too
MAX_PAGE_PX = 100_000_000  # 300 MB as RGB; larger pages are a slip in the settings, not a picture
CALIBRATION_S = 0.2  # a standard calibration pulse: 1 mV for 0.2 s (5 mm at 25 mm/s), half of that before and after
MAX_SPACING_MM = 45.0  # rows farther apart than this look like separate recordings
_LINE_HEIGHT = 1.25  # of text, in font sizes
NAME_COLUMN = 2.25  # font sizes: "-aVR" and a blank


@dataclass(frozen=True, slots=True)
class Panel:
    """One stretch of one lead on the page.

    Attributes:
        lead: Standard lead name; `sign` is -1 where it is drawn upside down (-aVR), `label` is what is written.
        row: Row of the page, from 0 at the top.
        start_s, length_s: Part of the record that is shown.
        x_mm, width_mm: Place of `start_s`, and width of the stretch.
        baseline_y_mm: Height of 0 mV.
        gain_mm_mv: Height of one millivolt.
        is_rhythm: Whether this is a rhythm strip.
    """

    lead: str
    sign: int
    label: str
    row: int
    start_s: float
    length_s: float
    x_mm: float
    width_mm: float
    baseline_y_mm: float
    gain_mm_mv: float
    is_rhythm: bool


@dataclass(frozen=True, slots=True)
class TextAnchor:
    """One line of text: left end of its base line in mm, and what it is for ("lead", "header" or "footer")."""

    text: str
    x_mm: float
    y_mm: float
    kind: Literal["lead", "header", "footer"]


@dataclass(frozen=True, slots=True)
class PageGeometry:
    """Where everything is on a page.

    Attributes:
        panels: Leads in reading order of the layout, rhythm strips last.
        width_px, height_px, px_per_mm: The raster; `width_mm` and `height_mm` follow.
        trace_x_mm, trace_width_mm: Left end and width of the area of traces.
        row_y_mm: Baselines of the rows, from the top.
        row_spacing_mm: Their distance.
        calibrations: One open polyline of (x, y) points in mm for each row's pulse; empty without calibration.
        separators: Ticks between leads as (x, y top, y bottom) in mm.
        texts: Lead names, header and footer.
    """

    panels: tuple[Panel, ...]
    width_px: int
    height_px: int
    px_per_mm: float
    trace_x_mm: float
    trace_width_mm: float
    row_y_mm: tuple[float, ...]
    row_spacing_mm: float
    calibrations: tuple[tuple[tuple[float, float], ...], ...]
    separators: tuple[tuple[float, float, float], ...]
    texts: tuple[TextAnchor, ...]

    @property
    def width_mm(self) -> float:
        """Page width."""
        return self.width_px / self.px_per_mm

    @property
    def height_mm(self) -> float:
        """Page height."""
        return self.height_px / self.px_per_mm


@lru_cache(maxsize=256)
def page_geometry(style: RenderStyle = RenderStyle()) -> PageGeometry:
    """Where everything is on a page of this style. It does not depend on the record: short records leave it blank.

    Raises:
        QueryError: The page would have more than 100 million pixels, a side below 48, or no room for its rows.

    >>> geometry = page_geometry(RenderStyle(layout="3x4"))
    >>> geometry.width_px, geometry.height_px, [p.lead for p in geometry.panels if p.row == 0]
    (2200, 1700, ['I', 'aVR', 'V1', 'V4'])
    >>> [round(p.start_s, 1) for p in geometry.panels if p.row == 0]
    [0.0, 2.5, 5.0, 7.5]
    """
    n_columns, n_strips = LAYOUTS[style.layout]
    n_lead_rows = len(LEADS) // n_columns
    n_rows = n_lead_rows + n_strips
    pulse_mm = 0.0 if style.calibration == "none" else 2 * CALIBRATION_S * style.speed_mm_s
    trace_mm = style.window_s * style.speed_mm_s
    line_mm = _LINE_HEIGHT * style.font_size_mm
    # Where rows are close (12x1), names would cross the QRS complexes above: they get a column of their own.
    names_mm = NAME_COLUMN * style.font_size_mm if n_columns == 1 and style.lead_names else 0.0
    header = style.header_text.splitlines()
    header_mm = len(header) * line_mm
    footer_mm = line_mm if style.footer else 0.0

    # The least distance of rows at which a page is usual to read: 25 mm for 3x4, about half of that for 12x1.
    least_mm = style.row_spacing_mm or max(12.0, min(25.0, 110.0 / n_rows))
    need_w = 2 * style.margin_mm + names_mm + pulse_mm + trace_mm
    need_h = 2 * style.margin_mm + header_mm + footer_mm + n_rows * least_mm
    scale, width_px, height_px = _raster(style, need_w, need_h)
    page_w, page_h = width_px / scale, height_px / scale

    room = page_h - 2 * style.margin_mm - header_mm - footer_mm
    spacing = style.row_spacing_mm or min(MAX_SPACING_MM, float(max(1, floor(room / n_rows + 1e-6))))
    if style.row_spacing_mm is None and room < n_rows:
        raise QueryError(
            f"a page of {page_w:.0f} x {page_h:.0f} mm has no room for {n_rows} rows",
            hint="make the page higher, px_per_mm smaller, or the margin and the header smaller",
        )
    left = max(style.margin_mm, (page_w - names_mm - pulse_mm - trace_mm) / 2)
    trace_x = left + names_mm + (pulse_mm if style.calibration == "left" else 0.0)
    top = style.margin_mm + header_mm + max(0.0, (room - n_rows * spacing) / 2)
    rows = tuple(top + (row + 0.5) * spacing for row in range(n_rows))

    panels = _panels(style, trace_x, rows)
    texts = [TextAnchor(t, left, style.margin_mm + (i + 0.8) * line_mm, "header") for i, t in enumerate(header)]
    if style.footer:
        texts.append(TextAnchor(style.footer, left, page_h - style.margin_mm, "footer"))
    texts += _lead_names(style, panels, left if names_mm else None, spacing)
    separators = _separators(panels, trace_x, spacing) if style.lead_separators else ()
    pulse_x = left + names_mm if style.calibration == "left" else trace_x + trace_mm
    calibrations = () if style.calibration == "none" else tuple(
        _pulse(pulse_x, rows[row], style.speed_mm_s, [p.gain_mm_mv for p in panels if p.row == row])
        for row in range(n_rows)
    )  # fmt: skip
    return PageGeometry(
        tuple(panels),
        width_px,
        height_px,
        scale,
        trace_x,
        trace_mm,
        rows,
        spacing,
        calibrations,
        separators,
        tuple(texts),
    )


def _panels(style: RenderStyle, trace_x: float, rows: tuple[float, ...]) -> list[Panel]:
    """Leads in reading order, rhythm strips last.

    Args:
        style: Says layout, order, gain and which part of the record is shown.
        trace_x: Left end of the area of traces, mm.
        rows: Baselines from the top, mm.
    """
    n_columns, n_strips = LAYOUTS[style.layout]
    n_lead_rows = len(LEADS) // n_columns
    trace_mm = style.window_s * style.speed_mm_s
    panels = []
    length_s, width = style.window_s / n_columns, trace_mm / n_columns
    for index, label in enumerate(ORDERS[style.order]):
        column, row = divmod(index, n_lead_rows)
        lead = label.lstrip("-")
        begin = style.start_s + (0.0 if style.simultaneous else column * length_s)
        panels.append(
            Panel(
                lead, -1 if label != lead else 1, label, row, begin, length_s,
                trace_x + column * width, width, rows[row], style.gain_of(lead), False,
            )
        )  # fmt: skip
    strips = RHYTHM_LEADS[n_strips] if style.rhythm_leads is None else style.rhythm_leads
    for row, lead in enumerate(strips, start=n_lead_rows):
        panels.append(
            Panel(
                lead, 1, lead, row, style.start_s, style.window_s,
                trace_x, trace_mm, rows[row], style.gain_of(lead), True,
            )
        )  # fmt: skip
    return panels


def _lead_names(style: RenderStyle, panels: list[Panel], column: float | None, spacing: float) -> list[TextAnchor]:
    """Names of the leads, in a column of their own (its left end, mm) or above the beginning of each trace."""
    if column is not None:
        # 0.35 em below the baseline of the trace puts capitals (0.7 em high) at its height.
        drop = 0.35 * style.font_size_mm
        return [TextAnchor(p.label, column, p.baseline_y_mm + drop, "lead") for p in panels]
    if not style.lead_names:
        return []
    # A little above the baseline, where the P wave of the first beat leaves room; never in the row above.
    lift = min(0.3 * spacing, 9.0)
    return [TextAnchor(p.label, p.x_mm + 1.0, p.baseline_y_mm - lift, "lead") for p in panels]


def _separators(panels: list[Panel], trace_x: float, spacing: float) -> tuple[tuple[float, float, float], ...]:
    """Ticks where one lead of a row ends and the next begins."""
    tick = min(2.5, spacing / 4)
    return tuple(
        (p.x_mm, p.baseline_y_mm - tick, p.baseline_y_mm + tick) for p in panels if not p.is_rhythm and p.x_mm > trace_x
    )


def _raster(style: RenderStyle, need_w: float, need_h: float) -> tuple[float, int, int]:
    """Pixels per mm, width and height in pixels for content of `need_w` x `need_h` mm."""
    scale = style.px_per_mm
    if scale is None:
        fits = []
        if style.width_px is not None:
            fits.append(style.width_px / need_w)
        if style.height_px is not None:
            fits.append(style.height_px / need_h)
        scale = min(fits) if fits else PX_PER_MM
    width = style.width_px or round(max(PAGE_MM[0], need_w) * scale)
    # A page of which only the width is given keeps the proportions of the paper, unless the rows need more.
    paper_h = width / scale * PAGE_MM[1] / PAGE_MM[0] if style.width_px else PAGE_MM[1]
    height = style.height_px or round(max(paper_h, need_h) * scale)
    if min(width, height) < MIN_SIDE_PX or width * height > MAX_PAGE_PX:
        raise QueryError(
            f"the page would be {width} x {height} px "
            f"(expected at least {MIN_SIDE_PX} px each way and at most {MAX_PAGE_PX // 1_000_000} million pixels)",
            hint="choose another px_per_mm, another window_s or a page size",
        )
    return scale, width, height


def _pulse(x: float, y: float, speed: float, gains: list[float]) -> tuple[tuple[float, float], ...]:
    """The 1 mV pulse of a row; a row with two gains gets the step that machines print: limb first, then chest."""
    half = CALIBRATION_S * speed / 2
    first, last = gains[0], gains[-1]
    return (
        (x, y), (x + half, y), (x + half, y - first), (x + 2 * half, y - first),
        (x + 2 * half, y - last), (x + 3 * half, y - last), (x + 3 * half, y), (x + 4 * half, y),
    )  # fmt: skip
