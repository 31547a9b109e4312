"""Draw an ECG as clinical paper, correct to the pixel and fast enough to draw anew in every epoch.

The paper (grid, lead names, calibration, footer) is painted once per style and copied; traces are OpenCV polylines
with 1/256 pixel positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ecgkin.retrieval.ecg.drawing.geometry import Colour, PageGeometry, RenderStyle, page_geometry
from ecgkin.retrieval.ecg.drawing.traces import drawable_leads, trace_groups
from ecgkin.retrieval.ecg.record import EcgRecord

MAX_CHARACTERS = 400  # of one line; at 2 mm a letter three times the widest page
_MISSING = "\uffff"  # a code point that no font may map: its picture is the font's "missing letter" box

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw_text(
    page: NDArray[np.uint8], text: str, x_px: float, y_px: float, size_px: float, colour: tuple[int, int, int]
) -> None:
    """Write one line into a page, in place; what lies outside the page is cut off.

    Args:
        page: RGB, shape (height, width, 3).
        text: One line; control characters become blanks.
        x_px, y_px: Left end of the base line, in continuous pixels.
        size_px: Font size (em), at least 4 px are drawn.
        colour: Red, green, blue, 0 to 255.
    """
    mask, dx, dy = _mask(text, round(max(4.0, size_px), 2))
    left, top = round(x_px) + dx, round(y_px) + dy
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(page.shape[1], left + mask.shape[1]), min(page.shape[0], top + mask.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    alpha = mask[y0 - top : y1 - top, x0 - left : x1 - left, None]
    area = page[y0:y1, x0:x1].astype(np.float32)
    page[y0:y1, x0:x1] = np.rint(area + (np.asarray(colour, np.float32) - area) * alpha)


@lru_cache(maxsize=512)
def _mask(text: str, size_px: float) -> tuple[NDArray[np.float32], int, int]:
    """Coverage of a line, shape (height, width), 0 to 1, and its offset from the left end of the base line."""
    shown = "".join(c if c.isprintable() else " " for c in text[:MAX_CHARACTERS])
    font = _plain(size_px) if shown.isascii() else _wide(size_px)
    if not shown.isascii():
        shown = "".join(c if c.isascii() or _knows(font, c) else "?" for c in shown)
    left, top, right, bottom = (int(v) for v in font.getbbox(shown, anchor="ls"))
    image = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(image).text((-left, -top), shown, fill=255, font=font, anchor="ls")
    return np.asarray(image, dtype=np.float32) / np.float32(255), left, top


@lru_cache(maxsize=64)
def _plain(size_px: float) -> Font:
    return ImageFont.load_default(size_px)


@lru_cache(maxsize=64)
def _wide(size_px: float) -> Font:
    """DejaVu Sans from matplotlib's files or the system; Pillow's own font where there is neither."""
    found = find_spec("matplotlib")
    places = (
        [str(Path(p) / "mpl-data/fonts/ttf/DejaVuSans.ttf") for p in (found.submodule_search_locations or ())]
        if found
        else []
    )
    for name in (*places, "DejaVuSans.ttf"):
        try:
            return ImageFont.truetype(name, size_px)
        except OSError:
            continue
    return _plain(size_px)


@lru_cache(maxsize=4096)
def _knows(font: Font, letter: str) -> bool:
    return bytes(font.getmask(letter)) != bytes(font.getmask(_MISSING))


DRAWING_VERSION = 1  # raise it with every change of what the same record and style look like; case bases record it
SHIFT = 8  # fractional bits of OpenCV's coordinates: 1/256 px
# Printed lines of the grid: 0.1 mm every millimetre, 0.2 mm every five, at least the given part of a pixel.
MINOR_MM, MINOR_PX = 0.1, 0.5
MAJOR_MM, MAJOR_PX = 0.2, 0.75
# Millimetre lines closer than this many pixels turn into moire instead of a grid, and are left out.
MINOR_FROM_PX_PER_MM = 2.5
CACHED_PAGE_PX = 6_000_000  # larger backgrounds are painted anew, so that the cache stays below 150 MB
NOT_AVAILABLE = "n/a"
# Measured with OpenCV 5.0: mean width (ink summed across the line) of level lines that are four one-pixel lines, moved
# by so many pixels to the right, left, top and bottom.
_REACH_PX = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 1.0)
_WIDTH_PX = (2.21, 2.26, 2.34, 2.45, 2.57, 2.72, 2.81, 2.94, 3.35)
_DOT_PX = np.array([0.5, 0.0])
_FAR_PX = 4e6  # amplitudes in a wrong unit lie far off the page: points stay within 32 bits
_LEVELS = 16  # steps of a grid line's coverage of a pixel


def render(record: EcgRecord, style: RenderStyle = RenderStyle()) -> Image.Image:
    """Draw one ECG as a page of paper.

    Leads that the record lacks stay blank and are marked "n/a"; a record shorter than the page leaves the rest of it
    blank, of a longer one the page shows `window_s` from `start_s` on; samples that are not finite break the line.

    Args:
        record: The ECG; not changed.
        style: What the page looks like.

    Returns:
        RGB picture; `page_geometry(style)` says where everything on it is.

    Raises:
        QueryError: The style asks for a page that cannot be (see `page_geometry`).
    """
    return Image.fromarray(render_array(record, style))


def render_array(record: EcgRecord, style: RenderStyle = RenderStyle()) -> NDArray[np.uint8]:
    """The same as `render`, as an array of shape (height, width, 3), RGB.

    Args:
        record: The ECG.
        style: Layout, speed, gain, grid and resolution.

    Returns:
        uint8 (height, width, 3), RGB; see `render` for the size.
    """
    geometry = page_geometry(style)
    page = background(style).copy()
    scale = geometry.px_per_mm
    if style.header_text:
        for text in geometry.texts:
            if text.kind == "header":
                draw_text(page, text.text, text.x_mm * scale, text.y_mm * scale, style.font_size_mm * scale, style.ink)

    lines: list[NDArray[np.int32]] = []
    for _, points in trace_groups(record, style, geometry, scale, finest=1.0):
        # One page beyond the borders is far enough to keep the slope of what leaves the page, and safe for integers.
        np.clip(points[..., 1], -geometry.height_px, 2 * geometry.height_px, out=points[..., 1])
        if points.shape[1] == 1:  # OpenCV draws nothing for a lone point: a pixel of line is a dot
            points = np.concatenate([points - _DOT_PX, points + _DOT_PX], axis=1)
        lines.extend(_to_fixed(points))
    stroke(page, lines, style.line_width_mm * scale, style.ink)

    known = drawable_leads(record)
    if not all(panel.lead in known for panel in geometry.panels):
        faint = _blend(style.background, style.ink, 0.6)
        for panel in geometry.panels:
            if panel.lead not in known:
                x, y = (panel.x_mm + 2.0) * scale, (panel.baseline_y_mm + 0.3 * style.font_size_mm) * scale
                draw_text(page, NOT_AVAILABLE, x, y, 0.8 * style.font_size_mm * scale, faint)
    return page


def stroke(page: NDArray[np.uint8], lines: Sequence[NDArray[np.int32]], width_px: float, colour: Colour | int) -> None:
    """Draw anti-aliased polylines into a page, in place.

    OpenCV's anti-aliased lines cover 1.4 px when asked for one, 3.5 px for two, 5.5 px for three or four, and those
    above one are ten times as slow. Between 1.8 and 3.35 px a line is therefore four one-pixel lines moved to all
    sides by what gives the width (`_REACH_PX`): twice as fast, and right to 0.2 px for level and upright lines
    (slanting ones come out up to 0.6 px thinner). Above that the nearest native width is taken, right to one pixel.

    Args:
        page: Shape (height, width) or (height, width, 3), uint8.
        lines: Points (x, y) in 1/256 px, integers on pixel centres, each of shape (n_points, 2), int32.
        width_px: Width of the line; the thinnest is OpenCV's one-pixel line.
        colour: Grey value, or red, green and blue.
    """
    if not lines:
        return
    ink = (colour,) if isinstance(colour, int) else colour
    if width_px < 1.8 or width_px > _WIDTH_PX[-1]:
        native = 1 if width_px < 1.8 else 2 * max(1, round((width_px - 1.5) / 2))
        cv2.polylines(page, lines, False, ink, native, cv2.LINE_AA, SHIFT)
        return
    reach = round(float(np.interp(width_px, _WIDTH_PX, _REACH_PX)) * (1 << SHIFT))
    for dx, dy in ((reach, 0), (-reach, 0), (0, reach), (0, -reach)):
        offset = np.array([dx, dy], np.int32)
        cv2.polylines(page, [line + offset for line in lines], False, ink, 1, cv2.LINE_AA, SHIFT)


def background(style: RenderStyle) -> NDArray[np.uint8]:
    """The paper before the first trace: grid, lead names, ticks, calibration and footer, but not the header.

    Returns:
        RGB, shape (height, width, 3), shared between calls: read-only.
    """
    # Neither where the record begins nor what the header says changes it (only the header's number of lines does).
    lines = "\n" * len(style.header_text.splitlines())
    if style.start_s or style.header_text != lines:
        style = replace(style, start_s=0.0, header_text=lines)
    geometry = page_geometry(style)
    if geometry.width_px * geometry.height_px > CACHED_PAGE_PX:
        return _paint(style, geometry)
    return _cached(style)


@lru_cache(maxsize=8)
def _cached(style: RenderStyle) -> NDArray[np.uint8]:
    return _paint(style, page_geometry(style))


def _paint(style: RenderStyle, geometry: PageGeometry) -> NDArray[np.uint8]:
    scale = geometry.px_per_mm
    page = _grid(style, geometry)
    for text in geometry.texts:
        if text.kind != "header":
            draw_text(page, text.text, text.x_mm * scale, text.y_mm * scale, style.font_size_mm * scale, style.ink)
    width = style.line_width_mm * scale
    stroke(page, [_to_fixed(np.array(pulse) * scale) for pulse in geometry.calibrations], width, style.ink)
    ticks = [_to_fixed(np.array([[x, top], [x, bottom]]) * scale) for x, top, bottom in geometry.separators]
    stroke(page, ticks, 1.5 * width, style.ink)
    page.flags.writeable = False
    return page


def _grid(style: RenderStyle, geometry: PageGeometry) -> NDArray[np.uint8]:
    """Blank paper with its grid; lines run through the beginning of the traces and through the first baseline."""
    shape = (geometry.height_px, geometry.width_px, 3)
    colours = style.grid_colours
    if colours is None:
        return np.full(shape, style.background, np.uint8)
    scale = geometry.px_per_mm
    codes = []
    for size, origin in ((geometry.height_px, geometry.row_y_mm[0]), (geometry.width_px, geometry.trace_x_mm)):
        major = _coverage(size, origin * scale, 5 * scale, max(MAJOR_PX, MAJOR_MM * scale))
        minor = np.zeros_like(major)
        if scale >= MINOR_FROM_PX_PER_MM:
            minor = _coverage(size, origin * scale, scale, max(MINOR_PX, MINOR_MM * scale))
        codes.append((minor, major))
    # Few kinds of rows differ: paint each kind once, then copy.
    (row_minor, row_major), (column_minor, column_major) = codes
    kinds, kind_of_row = np.unique(np.stack([row_minor, row_major], axis=1), axis=0, return_inverse=True)
    paper = np.asarray(style.background, np.float32)
    minor2 = np.maximum(kinds[:, 0, None], column_minor)[..., None] / np.float32(_LEVELS)
    major2 = np.maximum(kinds[:, 1, None], column_major)[..., None] / np.float32(_LEVELS)
    rows = paper + (np.asarray(colours.minor, np.float32) - paper) * minor2
    rows += (np.asarray(colours.major, np.float32) - rows) * major2
    return np.ascontiguousarray(np.rint(rows).astype(np.uint8)[kind_of_row.reshape(-1)])


def _coverage(size: int, origin: float, pitch: float, width: float) -> NDArray[np.int64]:
    """How much of each pixel lies under a line, in sixteenths, for lines of `width` px every `pitch` px."""
    edges = np.arange(size + 1) - (origin - width / 2)
    # The inked length between the origin and each edge; its growth over a pixel is the pixel's coverage.
    turns = np.floor(edges / pitch)
    inked = turns * width + np.minimum(edges - turns * pitch, width)
    sixteenths: NDArray[np.int64] = np.rint(np.diff(inked) * _LEVELS).astype(np.int64)
    return sixteenths


def _to_fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    """Continuous pixels to OpenCV's fixed point, whose integers are pixel centres."""
    return np.rint(np.clip(points - 0.5, -_FAR_PX, _FAR_PX) * (1 << SHIFT)).astype(np.int32)


def _blend(paper: Colour, ink: Colour, share: float) -> Colour:
    mixed = [round(p + (i - p) * share) for p, i in zip(paper, ink, strict=True)]
    return mixed[0], mixed[1], mixed[2]
