"""From a colour picture of a page to ink: shading, colour and grid taken away, strokes kept.

A page is divided by its local paper colour, channel by channel; what is dark in every channel is ink, so that red,
pink, orange and green grids on paper of the same hue vanish. A grey or dark grid is dark in every channel, too: it is
told from the trace by level. In a tile of the page most dark pixels are grid and few are trace, so a high percentile
of the tile is the level of the grid and a very high one the level of the trace, and ink begins between the two.
Light curves on a dark ground (monitors, dark modes of viewers) are first turned into dark ones on paper.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.counts import byte_percentile
from ecgkin.retrieval.ecg.page.pieces import page_side
from ecgkin.retrieval.errors import ImageError

ByteImage = NDArray[np.uint8]
FloatArray = NDArray[np.float64]

# Working width: a page of 280 mm at 4 px/mm, twice what the trace map keeps.
WORK_SIDE = 1100
# Tiles per side for the level statistics. A tile must be larger than a 5 mm box (1/50 of a page's width) and smaller
# than a fold or a shadow.
TILE_COLUMNS, TILE_ROWS = 10, 8
# Share of a tile's pixels that are lighter than the lines of a grey grid. 1 mm lines at 4 px/mm cover 40 % of the
# page, 5 mm lines a tenth, a trace 2 to 6 % (counted on drawings of 3x4 to 12x1).
GRID_SHARE = 0.90
TRACE_SHARE = 0.995
# Levels of 255 between grid and trace below which a picture shows no drawing: JPEG noise on blank paper stays
# under 12 after division by the local paper (measured on blank pages at quality 40).
LEAST_CONTRAST = 14.0
_DARK, _BRIGHT = 90, 160  # of 255
_BLACK = 10  # no camera leaves paper as dark
# A sheet of paper on a dark table is bright in more of the picture than curves and letters are.
_MOST_BRIGHT = 0.12


def working_copy(rgb: ByteImage) -> tuple[ByteImage, float]:
    """The picture at working size, and working px per picture px."""
    height, width = rgb.shape[:2]
    # A tall page of twelve rows has its 250 mm along the shorter side.
    side = page_side(rgb.shape)
    if side > 1.14 * WORK_SIDE:
        # Whole factors take OpenCV's fast path.
        factor = max(1, round(side / WORK_SIDE))
        scale = 1 / factor if factor > 1 else WORK_SIDE / side
        interpolation = cv2.INTER_AREA if factor > 1 else cv2.INTER_LINEAR
    elif max(height, width) < 0.75 * WORK_SIDE:
        scale, interpolation = WORK_SIDE / max(height, width), cv2.INTER_CUBIC
    else:
        return rgb[: height // 4 * 4, : width // 4 * 4], 1.0
    # Multiples of four, so that halving twice stays exact.
    size = (max(16, round(width * scale) // 4 * 4), max(16, round(height * scale) // 4 * 4))
    kept = rgb[: round(size[1] / scale), : round(size[0] / scale)]
    return np.asarray(cv2.resize(kept, size, interpolation=interpolation), dtype=np.uint8), scale


def quarter(image: ByteImage) -> ByteImage:
    """The picture at a quarter of its size by two exact halvings, which OpenCV does ten times as fast as any other."""
    for _ in range(2):
        height, width = image.shape[:2]
        size = (max(1, width // 2), max(1, height // 2))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return image


def paper_normalised(rgb: ByteImage, small: ByteImage) -> tuple[ByteImage, ByteImage]:
    """The page divided by its local paper colour.

    Args:
        rgb: Shape (h, w, 3).
        small: `quarter` of it.

    Returns:
        `ink`, what is dark in all channels, and `lines`, what is dark in any channel (ink and coloured grid), both
        uint8 (h, w), 0 = paper.
    """
    height, width = rgb.shape[:2]
    # The lightest value within about 2.5 % of the page is paper even under a dense grid; the blur hides its steps.
    paper = cv2.dilate(small, np.ones((7, 7), np.uint8))
    paper = cv2.blur(cv2.blur(paper, (7, 7)), (5, 5))
    paper = cv2.resize(np.maximum(paper, np.uint8(1)), (width, height), interpolation=cv2.INTER_LINEAR)
    # Fresh memory costs more than the arithmetic (a page fault every 4 KiB): each step writes where it may.
    ratio = cv2.divide(rgb, paper, dst=paper, scale=255)
    red, green, blue = (cv2.extractChannel(ratio, channel) for channel in range(3))
    lightest = cv2.max(red, green)
    lightest = cv2.max(lightest, blue, dst=lightest)
    darkest = cv2.min(red, green, dst=red)
    darkest = cv2.min(darkest, blue, dst=darkest)
    ink = cv2.bitwise_not(lightest, dst=lightest)
    lines = cv2.bitwise_not(darkest, dst=darkest)
    return np.asarray(ink, dtype=np.uint8), np.asarray(lines, dtype=np.uint8)


def sharpened(ink: ByteImage) -> ByteImage:
    """Darkness less that of its surroundings, stretched: out of focus, level stretches are paler than upright ones."""
    blurred = cv2.GaussianBlur(ink, (0, 0), 0.005 * max(ink.shape))
    out = cv2.subtract(ink, blurred)
    some = out[out > 2]
    gain = 0.9 * 255 / float(np.percentile(some, 99)) if some.size else 1.0
    return np.asarray(cv2.convertScaleAbs(out, alpha=gain), dtype=np.uint8)


def tile_levels(ink: ByteImage, mask: ByteImage | None = None) -> tuple[FloatArray, FloatArray]:
    """Grid level and trace level of each tile, shape (TILE_ROWS, TILE_COLUMNS), 0 to 255; NaN where no page is.

    Args:
        ink: uint8 (h, w).
        mask: 255 where paper is, the same shape.

    Returns:
        The two levels.
    """
    ink = np.ascontiguousarray(ink[::2])  # every other line is enough to count levels
    mask = None if mask is None else np.ascontiguousarray(mask[::2])
    height, width = ink.shape
    ys = np.linspace(0, height, TILE_ROWS + 1).astype(int)
    xs = np.linspace(0, width, TILE_COLUMNS + 1).astype(int)
    grid = np.full((TILE_ROWS, TILE_COLUMNS), np.nan)
    trace = np.full((TILE_ROWS, TILE_COLUMNS), np.nan)
    for row in range(TILE_ROWS):
        for column in range(TILE_COLUMNS):
            box = (slice(ys[row], ys[row + 1]), slice(xs[column], xs[column + 1]))
            part = None if mask is None else np.ascontiguousarray(mask[box])
            counts = cv2.calcHist([np.ascontiguousarray(ink[box])], [0], part, [256], [0, 256]).ravel().cumsum()
            if counts[-1] < 0.2 * (ys[row + 1] - ys[row]) * (xs[column + 1] - xs[column]) or counts[-1] < 50:
                continue
            grid[row, column] = np.searchsorted(counts, GRID_SHARE * counts[-1])
            trace[row, column] = np.searchsorted(counts, TRACE_SHARE * counts[-1])
    return grid, trace


def trace_ink(ink: ByteImage, mask: ByteImage | None = None) -> tuple[ByteImage, float]:
    """Ink above the level of a grey grid, stretched so that the middle of a stroke is 255.

    Args:
        ink: Output of `paper_normalised`.
        mask: 255 where the page is; None for everywhere.

    Returns:
        Ink (h, w), and how grey the grid is: its level as a share of the trace's, 0 on paper without a grey grid.

    Raises:
        ImageError: Nothing on the page is darker than the rest of it.
    """
    grid, trace = tile_levels(ink, mask)
    if not np.isfinite(grid).any():
        raise ImageError("no page was found in the picture", hint="photograph the page from above, in even light")
    overall = float(np.nanpercentile(trace, 70))
    grid = np.where(np.isfinite(grid), grid, np.nanmedian(grid))
    trace = np.where(np.isfinite(trace), trace, overall)
    grid32 = cv2.medianBlur(cv2.copyMakeBorder(grid.astype(np.float32), 1, 1, 1, 1, cv2.BORDER_REPLICATE), 3)[
        1:-1, 1:-1
    ]
    # A dark border or a blackened name is no grid.
    grid32 = np.minimum(grid32, 1.6 * float(np.median(grid32)) + 10.0)
    # A tile without trace has only grid in its top percentile: it takes the level of the page.
    trace32 = np.maximum(cv2.dilate(trace.astype(np.float32), np.ones((3, 3), np.uint8)), 0.8 * overall)
    trace32 = np.minimum(trace32, 1.3 * overall)
    contrast = trace32 - grid32
    if float(np.median(contrast)) < LEAST_CONTRAST:
        raise ImageError(
            f"the picture shows no drawn lines (contrast {float(np.median(contrast)):.0f} of 255, "
            f"expected at least {LEAST_CONTRAST:.0f})",
            hint="give a picture of an ECG page; a very pale copy needs a better scan",
        )
    contrast = np.maximum(contrast, LEAST_CONTRAST)
    # A grey grid varies with fold and focus: the closer its level is to the trace's, the more room it needs.
    grey = float(np.median(grid32 / np.maximum(trace32, 1.0)))
    start = 0.12 + 0.5 * min(0.4, max(0.0, grey - 0.25))
    low = np.maximum(grid32 + start * contrast, 10.0)
    rise = np.maximum(0.38 * contrast, 8.0)
    size = (ink.shape[1], ink.shape[0])
    # Bytes and sixteenths throughout: a float page costs four times as much.
    floor = cv2.resize(np.clip(low, 0, 255).astype(np.uint8), size, interpolation=cv2.INTER_LINEAR)
    gain = cv2.resize(np.clip(16 * 255.0 / rise, 16, 255).astype(np.uint8), size, interpolation=cv2.INTER_LINEAR)
    out = cv2.subtract(ink, floor, dst=floor)
    out = cv2.multiply(out, gain, dst=out, scale=1 / 16)
    if mask is not None:
        out = cv2.bitwise_and(out, mask, dst=out)
    return np.asarray(out, dtype=np.uint8), grey


def without_grid(ink: ByteImage) -> ByteImage:
    """Straightened darkness less the straight lines of a grey grid; the same picture where there are none.

    The mean of a column of pixels over a quarter of the page is the darkness of the line that it lies on, for traces
    cover little of any column. Along the rows of pixels a trace may lie level for long, so that there no more is taken
    off than upright lines have.
    """
    upright = _means(ink)
    strong = upright[upright > 25]
    # Grid lines every 5 mm, a pixel wide and widened by two, fill over a tenth; beats in step in all rows do not.
    if strong.size < 0.1 * upright.size:
        return ink
    cap = float(np.percentile(strong, 95))
    level = np.minimum(_means(np.ascontiguousarray(ink.T)), cap)
    height, width = ink.shape
    columns = cv2.resize(np.minimum(upright, cap).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    rows = cv2.resize(level.T.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.subtract(ink, cv2.max(columns, rows)), dtype=np.uint8)


def _means(ink: ByteImage) -> NDArray[np.float32]:
    """Darkness of the upright line in each column, for each of four bands, shape (4, w)."""
    edges = np.linspace(0, ink.shape[0], 5).astype(int)
    out = np.empty((4, ink.shape[1]), dtype=np.float32)
    for band, (first, last) in enumerate(pairwise(edges)):
        mean = cv2.reduce(np.ascontiguousarray(ink[first:last]), 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F)
        # Level lines, print and traces darken every column; a line is a little darker than its mean between crossings.
        above = 1.25 * np.maximum(mean - np.float32(np.percentile(mean, 20)), 0)
        out[band] = cv2.dilate(above.astype(np.float32), np.ones((1, 3), np.uint8)).ravel()
    return out


def has_upright_lines(trace: ByteImage) -> bool:
    """Whether straightened ink still holds lines of a grid from top to bottom.

    A camera or a JPEG file with coarse colours blurs the red of a thin line sideways and leaves its darkness. More than
    seven columns apart from each other that are faintly inked over half of the page are no trace and no frame; beats in
    step in twelve rows fill columns as well, but darkly.
    """
    counts = []
    for level in (40, 90):
        inked = cv2.threshold(trace, level, 255, cv2.THRESH_BINARY)[1]
        full = cv2.reduce(inked, 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel() > 255 / 2
        counts.append(int((full[1:] & ~full[:-1]).sum()))
    return counts[0] - counts[1] > 7


def without_lines(trace: ByteImage) -> ByteImage:
    """Straightened ink less what is left of a grey grid.

    A line of the grid runs through most of a band of the page; an upright stroke of a trace never does, a level stretch
    may, but is darker than the grid. So upright lines tell the level of the grid, and no more than that is taken off
    along level lines. Then straight runs that are faint all along go.
    """
    upright = _line_levels(trace)
    level = _line_levels(np.ascontiguousarray(trace.T)).T
    seen = upright[upright > 0]
    if seen.size > 0.01 * upright.size:
        level = np.minimum(level, np.uint8(np.percentile(seen, 75)))
        trace = np.asarray(cv2.subtract(trace, cv2.max(upright, np.ascontiguousarray(level))), dtype=np.uint8)
    length = max(25, round(0.05 * max(trace.shape)))
    runs = cv2.max(
        cv2.morphologyEx(trace, cv2.MORPH_OPEN, np.ones((1, length), np.uint8)),
        cv2.morphologyEx(trace, cv2.MORPH_OPEN, np.ones((length, 1), np.uint8)),
    )
    faint = cv2.threshold(runs, 120, 255, cv2.THRESH_TOZERO_INV)[1]
    return np.asarray(cv2.subtract(trace, faint), dtype=np.uint8)


def _line_levels(trace: ByteImage) -> ByteImage:
    """Level of the upright lines that fill most of one of four bands, spread over the band, else 0."""
    height = trace.shape[0]
    out = np.zeros_like(trace)
    inked = cv2.threshold(trace, 40, 255, cv2.THRESH_BINARY)[1]
    edges = np.linspace(0, height, 5).astype(int)
    for first, last in pairwise(edges):
        share = cv2.reduce(np.ascontiguousarray(inked[first:last]), 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel() / 255
        mean = cv2.reduce(np.ascontiguousarray(trace[first:last]), 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel()
        # Between its crossings a line is a little darker than its mean says.
        line = np.where(share > 0.5, np.minimum(255.0, 1.3 * mean / np.maximum(share, 0.5)), 0.0).astype(np.uint8)
        out[first:last] = cv2.dilate(line.reshape(1, -1), np.ones((1, 3), np.uint8))
    return out


def is_dark(rgb: ByteImage) -> bool:
    """Whether a picture is drawn in light lines on a dark ground.

    A dim photograph of paper is dark all over as well, but its thin lines are darker than what lies about them.

    Args:
        rgb: uint8 (h, w, 3).

    >>> page = np.full((100, 100, 3), 20, np.uint8)
    >>> page[50] = 60
    >>> is_dark(page), is_dark(255 - page), is_dark(80 - page)
    (True, False, False)
    """
    small = rgb[:: max(1, rgb.shape[0] // 500), :: max(1, rgb.shape[1] // 500)]
    grey = cv2.cvtColor(np.ascontiguousarray(small), cv2.COLOR_RGB2GRAY)
    middle = byte_percentile(np.asarray(grey, dtype=np.uint8), 50)
    if middle >= _DARK or (grey > _BRIGHT).mean() >= _MOST_BRIGHT:
        return False
    if middle < _BLACK:
        return True
    scale = min(1.0, WORK_SIDE / max(rgb.shape[:2]))
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    grey = cv2.cvtColor(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    square = np.ones((9, 9), np.uint8)
    light, dark = (cv2.morphologyEx(grey, how, square) for how in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT))
    return bool(cv2.norm(light) >= cv2.norm(dark))


def on_paper(rgb: ByteImage) -> ByteImage:
    """The negative of a picture: each colour stays as far from the ground as it was, dark instead of light."""
    return np.asarray(cv2.bitwise_not(rgb), dtype=np.uint8)
