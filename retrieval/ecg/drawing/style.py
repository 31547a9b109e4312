"""`RenderStyle`: every choice about how an ECG page is drawn, checked when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Literal, TypeAlias

from ecgkin.retrieval.ecg.leads import CABRERA_LEADS, CHEST_LEADS, LEADS
from ecgkin.retrieval.errors import QueryError

Colour: TypeAlias = tuple[int, int, int]

# Columns of leads, and how many rhythm strips lie below them.
LAYOUTS: Mapping[str, tuple[int, int]] = {
    "3x4": (4, 0),
    "3x4+1R": (4, 1),
    "3x4+3R": (4, 3),
    "6x2": (2, 0),
    "12x1": (1, 0),
}
ORDERS: Mapping[str, tuple[str, ...]] = {"standard": LEADS, "cabrera": CABRERA_LEADS}
# The strips that machines print by default: II alone, or V1 (P waves), II (axis of P) and V5 (ST).
RHYTHM_LEADS: Mapping[int, tuple[str, ...]] = {0: (), 1: ("II",), 3: ("V1", "II", "V5")}


@dataclass(frozen=True, slots=True)
class GridColours:
    """Colours (red, green, blue, 0 to 255) of the lines every 1 mm and every 5 mm."""

    minor: Colour
    major: Colour


GRIDS: Mapping[str, GridColours | None] = {
    "pink": GridColours((250, 214, 214), (240, 160, 165)),
    "red": GridColours((248, 186, 180), (222, 84, 76)),
    "blue": GridColours((208, 222, 244), (142, 170, 220)),
    "green": GridColours((206, 232, 208), (136, 190, 142)),
    "grey": GridColours((224, 224, 224), (176, 176, 176)),
    "none": None,
}


@dataclass(frozen=True, slots=True)
class RenderStyle:
    """How a page is drawn. Frozen and hashable: pages of one style share their cached background.

    Attributes:
        layout: "3x4", "3x4+1R", "3x4+3R" (rhythm strips below), "6x2" or "12x1".
        order: "standard" (I, II, III, aVR, aVL, aVF) or "cabrera" (aVL, I, -aVR, II, aVF, III; aVR turned over).
        speed_mm_s: Paper speed.
        gain_mm_mv: Height of one millivolt.
        gain_chest_mm_mv: Height of one millivolt in V1 to V6; None where it is the same.
        start_s: Where in the record the page begins.
        window_s: Time that a whole row shows; the columns share it, a rhythm strip shows all of it.
        simultaneous: Whether all columns show the beginning of the window, instead of one part after the other.
        rhythm_leads: Leads of the rhythm strips, from top to bottom; None for II, or V1, II and V5.
        center: Whether each panel's median is subtracted, as the high-pass of a machine would do with an electrode
            offset. A constant only: drift and ST segments keep their shape.
        px_per_mm: Resolution; None for 200 dpi, or for what makes the content fit where a page size is given.
        width_px, height_px: Page size; None for US Letter landscape (larger where the content needs it).
        row_spacing_mm: Distance of the rows' baselines; None for what fills the page, whole mm, at most 45.
        margin_mm: Free border.
        grid: A name in `GRIDS`, or colours of one's own.
        ink, background: Colours of traces and text, and of the paper.
        line_width_mm: Width of a trace; never drawn thinner than one pixel.
        calibration: Side of the 1 mV pulse, "left", "right" or "none".
        lead_names: Whether leads are named.
        lead_separators: Whether short vertical ticks stand between the leads of a row.
        header_text: Lines at the top left ("" for none).
        footer_text: Line at the bottom left; None for speed and gain in words, "" for none.
        font_size_mm: Size of all text.

    Raises:
        QueryError: On construction, when a value is out of range.
    """

    layout: str = "3x4+1R"
    order: str = "standard"
    speed_mm_s: float = 25.0
    gain_mm_mv: float = 10.0
    gain_chest_mm_mv: float | None = None
    start_s: float = 0.0
    window_s: float = 10.0
    simultaneous: bool = False
    rhythm_leads: tuple[str, ...] | None = None
    center: bool = True
    px_per_mm: float | None = None
    width_px: int | None = None
    height_px: int | None = None
    row_spacing_mm: float | None = None
    margin_mm: float = 5.0
    grid: str | GridColours = "pink"
    ink: Colour = (16, 16, 24)
    background: Colour = (255, 255, 255)
    line_width_mm: float = 0.3
    calibration: Literal["left", "right", "none"] = "left"
    lead_names: bool = True
    lead_separators: bool = True
    header_text: str = ""
    footer_text: str | None = None
    font_size_mm: float = 4.0

    def __post_init__(self) -> None:
        # Settings read from JSON or YAML bring lists; the style must stay hashable.
        for name in ("ink", "background", "rhythm_leads"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        _one_of("layout", self.layout, tuple(LAYOUTS))
        _one_of("order", self.order, tuple(ORDERS))
        _one_of("calibration", self.calibration, ("left", "right", "none"))
        for name in ("speed_mm_s", "gain_mm_mv", "window_s", "line_width_mm", "font_size_mm"):
            _positive(name, getattr(self, name))
        for name in ("gain_chest_mm_mv", "px_per_mm", "width_px", "height_px", "row_spacing_mm"):
            if getattr(self, name) is not None:
                _positive(name, getattr(self, name))
        for name in ("start_s", "margin_mm"):
            value = getattr(self, name)
            if not isfinite(value) or value < 0:
                raise QueryError(f"{name} is {value!r} (expected a number from 0 on)")
        if isinstance(self.grid, str):
            _one_of("grid", self.grid, tuple(GRIDS))
        colours = self.grid_colours
        for colour in (self.ink, self.background, *((colours.minor, colours.major) if colours else ())):
            if len(colour) != 3 or not all(isinstance(c, int) and 0 <= c <= 255 for c in colour):
                raise QueryError(f"colour is {colour!r} (expected red, green and blue from 0 to 255)")
        strips = LAYOUTS[self.layout][1]
        if self.rhythm_leads is not None:
            if len(self.rhythm_leads) != strips:
                raise QueryError(
                    f"rhythm_leads names {len(self.rhythm_leads)} leads, layout {self.layout} has {strips} strips",
                    hint="choose the layout 3x4+1R or 3x4+3R, or leave rhythm_leads out",
                )
            for name in self.rhythm_leads:
                _one_of("rhythm lead", name, LEADS)

    @property
    def grid_colours(self) -> GridColours | None:
        """Colours of the grid, None where none is drawn."""
        return GRIDS[self.grid] if isinstance(self.grid, str) else self.grid

    @property
    def footer(self) -> str:
        """The line at the bottom: speed and gain in words unless `footer_text` says otherwise."""
        if self.footer_text is not None:
            return self.footer_text
        gains = f"{self.gain_mm_mv:g} mm/mV"
        if self.gain_chest_mm_mv is not None and self.gain_chest_mm_mv != self.gain_mm_mv:
            gains = f"limb {gains}   chest {self.gain_chest_mm_mv:g} mm/mV"
        return f"{self.speed_mm_s:g} mm/s   {gains}"

    def gain_of(self, lead: str) -> float:
        """mm per mV of one lead."""
        return self.gain_chest_mm_mv if self.gain_chest_mm_mv and lead in CHEST_LEADS else self.gain_mm_mv


def _one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise QueryError(f"{name} is {value!r} (expected one of {', '.join(choices)})")


def _positive(name: str, value: float) -> None:
    if not isfinite(value) or value <= 0:
        raise QueryError(f"{name} is {value!r} (expected a positive number)")
