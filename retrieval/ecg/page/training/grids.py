"""Paper and grid of drawn pages: lines, dots and dashes in every colour, or none."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_SURE = 1.6  # px; thinner lines are labelled as if they were this wide

Plane = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class GridStyle:
    """Look of the paper.

    Attributes:
        kind: "full" (1 mm and 5 mm lines), "dots" (5 mm lines, dots every millimetre), "dashes", "major" (5 mm alone),
            "even" (1 mm alone), "none".
        paper, line: Colours; `major_line` of the 5 mm lines.
        minor_mm, major_mm: Line widths.
        minor_alpha, major_alpha: How strongly lines are printed, 0 to 1.
        second: Every fifth 5 mm line stronger.
        dark: A dark page with light curves.
    """

    kind: str
    paper: tuple[int, int, int]
    line: tuple[int, int, int]
    major_line: tuple[int, int, int]
    minor_mm: float
    major_mm: float
    minor_alpha: float
    major_alpha: float
    second: bool
    dark: bool


_LINES = (
    (245, 130, 150), (250, 170, 185), (230, 60, 70), (240, 120, 80), (250, 180, 120), (225, 150, 60), (120, 190, 130),
    (60, 150, 90), (110, 150, 220), (120, 120, 120), (60, 60, 60), (20, 20, 20), (170, 120, 90), (200, 110, 190),
    (180, 160, 200), (235, 90, 140),
)  # fmt: skip
_PAPERS = (
    (255, 255, 255), (255, 255, 255), (255, 240, 243), (255, 228, 235), (254, 246, 232), (240, 250, 240),
    (225, 245, 230), (238, 238, 238), (225, 222, 215), (245, 220, 250), (250, 214, 222), (232, 240, 250),
)  # fmt: skip


def draw_grid_style(rng: np.random.Generator) -> GridStyle:
    """A random paper."""
    dark = bool(rng.random() < 0.07)
    kind = str(rng.choice(("full", "dots", "dashes", "major", "even", "none"), p=(0.58, 0.17, 0.05, 0.07, 0.03, 0.10)))
    if dark:
        paper = np.array(((0, 0, 0), (10, 16, 12), (20, 24, 40), (35, 35, 35))[int(rng.integers(4))], dtype=np.float64)
        line = np.array(((0, 70, 30), (50, 50, 50), (90, 30, 30), (40, 60, 90))[int(rng.integers(4))], dtype=np.float64)
    else:
        paper = np.array(_PAPERS[int(rng.integers(len(_PAPERS)))], dtype=np.float64)
        line = np.array(_LINES[int(rng.integers(len(_LINES)))], dtype=np.float64)
        line += rng.normal(0, 14, 3)
    major = line * rng.uniform(0.75, 1.0) if not dark else line * rng.uniform(1.0, 1.5)
    if rng.random() < 0.08:
        major = np.array(_LINES[int(rng.integers(len(_LINES)))], dtype=np.float64)
    strong = rng.uniform(0.25, 1.0)
    return GridStyle(
        kind=kind,
        paper=_colour(paper),
        line=_colour(line),
        major_line=_colour(major),
        minor_mm=float(rng.uniform(0.06, 0.22)),
        major_mm=float(rng.uniform(0.08, 0.4)),
        minor_alpha=float(strong * rng.uniform(0.25, 1.0)),
        major_alpha=float(min(1.0, strong * rng.uniform(0.9, 1.3))),
        second=bool(rng.random() < 0.12),
        dark=dark,
    )


def _colour(values: NDArray[np.float64]) -> tuple[int, int, int]:
    r, g, b = (int(v) for v in np.clip(values, 0, 255))
    return r, g, b


def _profile(length: int, first_px: float, step_px: float, width_px: float) -> NDArray[np.uint8]:
    """Coverage of pixels by lines at `first_px + k * step_px` (continuous coordinates), shape (length,), 0 to 255."""
    edges = np.arange(length + 1, dtype=np.float64)
    k = np.round((edges[:-1] + 0.5 - first_px) / step_px)
    centre = first_px + k * step_px
    low, high = centre - width_px / 2, centre + width_px / 2
    covered = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
    return np.asarray(np.rint(255 * np.clip(covered, 0.0, 1.0)), dtype=np.uint8)


def draw_grid(
    style: GridStyle, shape: tuple[int, int], area_px: tuple[float, float, float, float], px_per_mm: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], Plane, Plane]:  # fmt: skip
    """Paper with its grid.

    Args:
        style: Its look.
        shape: (height, width).
        area_px: (x0, y0, x1, y1) of the gridded part; the first lines stand on its edge.
        px_per_mm: Scale.
        rng: Chance.

    Returns:
        RGB page, coverage of the 5 mm lines (thin ones as sure as lines of 1.6 px), 255 where there is a grid.
    """
    height, width = shape
    gridded = np.zeros(shape, dtype=np.uint8)
    page = np.empty((height, width, 3), dtype=np.uint8)
    page[:] = style.paper
    if style.kind == "none":
        return page, np.zeros(shape, dtype=np.uint8), gridded
    x0, y0, x1, y1 = area_px
    ax, ay = max(0, round(x0)), max(0, round(y0))
    bx, by = min(width, round(x1) + 1), min(height, round(y1) + 1)
    if ax >= bx or ay >= by:
        return page, np.zeros(shape, dtype=np.uint8), gridded
    if style.paper != (255, 255, 255) and not style.dark and rng.random() < 0.3:
        page[:] = 255
        page[ay:by, ax:bx] = style.paper
    gridded[ay:by, ax:bx] = 255
    fx, fy = x0 + rng.uniform(0, 1) * px_per_mm, y0 + rng.uniform(0, 1) * px_per_mm
    major = np.zeros(shape, dtype=np.uint8)
    minor = np.zeros(shape, dtype=np.uint8)
    inner_major, inner_minor = major[ay:by, ax:bx], minor[ay:by, ax:bx]
    w, h = bx - ax, by - ay
    if style.kind != "even":
        wide = max(0.35, style.major_mm * px_per_mm)
        px, py = _profile(w, fx - ax, 5 * px_per_mm, wide), _profile(h, fy - ay, 5 * px_per_mm, wide)
        inner_major[:] = np.maximum(px[None, :], py[:, None])
    else:
        wide = 1.0
    if style.kind != "major":
        thin = max(0.3, style.minor_mm * px_per_mm)
        px, py = _profile(w, fx - ax, px_per_mm, thin), _profile(h, fy - ay, px_per_mm, thin)
        if style.kind == "dots":
            thick = max(0.6, 1.6 * style.minor_mm * px_per_mm)
            px, py = _profile(w, fx - ax, px_per_mm, thick), _profile(h, fy - ay, px_per_mm, thick)
            inner_minor[:] = np.minimum(px[None, :], py[:, None])
        elif style.kind == "dashes":
            step = px_per_mm / float(rng.choice((1.0, 2.0, 3.0)))
            dash_x = _profile(w, fx - ax, step, step * 0.5) > 127
            dash_y = _profile(h, fy - ay, step, step * 0.5) > 127
            inner_minor[:] = np.maximum(px[None, :] * dash_y[:, None], py[:, None] * dash_x[None, :])
        else:
            inner_minor[:] = np.maximum(px[None, :], py[:, None])
    page = _print(page, minor, style.line, style.minor_alpha)
    page = _print(page, major, style.major_line, style.major_alpha)
    if style.kind != "even":
        if style.second:
            strong = np.zeros(shape, dtype=np.uint8)
            px, py = _profile(w, fx - ax, 25 * px_per_mm, 1.6 * wide), _profile(h, fy - ay, 25 * px_per_mm, 1.6 * wide)
            strong[ay:by, ax:bx] = np.maximum(px[None, :], py[:, None])
            page = _print(page, strong, style.major_line, style.major_alpha)
        if wide < _SURE:
            table = np.minimum(255, np.arange(256) * (_SURE / wide)).astype(np.uint8)
            major = np.asarray(cv2.LUT(major, table), dtype=np.uint8)
    return page, major, gridded


def _print(page: NDArray[np.uint8], plane: Plane, colour: tuple[int, int, int], alpha: float) -> NDArray[np.uint8]:
    """Blend a colour over the page with `alpha` times the plane's coverage."""
    weight = np.asarray(cv2.LUT(plane, np.rint(np.arange(256) * alpha).astype(np.uint8)), dtype=np.uint8)
    three = cv2.merge([weight, weight, weight])
    ink = np.empty_like(page)
    ink[:] = colour
    kept = cv2.multiply(page, cv2.bitwise_not(three), scale=1 / 255.0)
    return np.asarray(cv2.add(kept, cv2.multiply(ink, three, scale=1 / 255.0)), dtype=np.uint8)
