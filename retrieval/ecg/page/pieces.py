"""Which ink of a page hangs together, less frames and filled areas, and which of it is long enough for a trace."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.errors import ImageError

ByteImage = NDArray[np.uint8]
LabelArray = NDArray[np.uint16]
IntArray = NDArray[np.int32]

NOT_ECG = "give a picture that shows the traces of an ECG page, upright and sharp, filling most of the picture"
# All lengths below are shares of the page's longer side (see `page_side`), so that they hold at any working resolution.
STRAND = 0.05  # a piece of trace: half a second at 25 mm/s on a page of 250 mm; longest word of 10 pt print is 0.07
LEAST_STRONG = 0.12  # of its pixels a piece of trace has dark; remains of a grid have next to none
MOST_FILLED = 4.0  # times the ink of the traces: a fold, a QR code or a blackened name stays under 2


def page_side(shape: tuple[int, ...]) -> int:
    """The longer side of a page in px, bounded by the shorter one: on a tall page rows run along the width."""
    height, width = shape[:2]
    return min(width, round(1.9 * height)) if width >= height else min(height, round(1.4 * width))


@dataclass(frozen=True, slots=True)
class Pieces:
    """Connected ink.

    Attributes:
        ink, solid: The ink, and what of it is no frame and no filled area (binary), uint8 (h, w).
        at: Places of the linked ink in the flattened picture.
        labels: Number of the piece at each of those places, same shape.
        stats: OpenCV's table of boxes, a row for each piece.
        dark: Which pieces are dark enough for a trace, by number.
        strands: The ink of the long pieces, uint8 (h, w).
    """

    ink: ByteImage
    solid: ByteImage
    at: NDArray[np.int64]
    labels: LabelArray
    stats: IntArray
    dark: NDArray[np.bool_]
    strands: ByteImage


def find_pieces(ink: ByteImage) -> Pieces:
    """Connected pieces of ink without frames and filled areas, and the long ones among them.

    Raises:
        ImageError: Nothing in the picture is long enough for a trace.
    """
    width = ink.shape[1]
    side = page_side(ink.shape)
    solid = np.asarray(cv2.threshold(ink, 90, 255, cv2.THRESH_BINARY)[1], dtype=np.uint8)
    other = _frames_and_blobs(solid, side)
    filled = cv2.countNonZero(cv2.bitwise_and(solid, other))
    solid = np.asarray(cv2.bitwise_and(solid, cv2.bitwise_not(other)), dtype=np.uint8)
    gap = max(3, round(0.006 * side)) | 1
    linked = cv2.morphologyEx(solid, cv2.MORPH_CLOSE, np.ones((3, gap), np.uint8))
    count, found, table, _ = cv2.connectedComponentsWithStats(linked, connectivity=8, ltype=cv2.CV_16U)
    # Ink is a twentieth of a page: what is looked up by label is looked up there only.
    at = inked_pixels(np.asarray(linked, dtype=np.uint8))
    labels, stats = np.asarray(found, dtype=np.uint16).ravel()[at], np.asarray(table, dtype=np.int32)
    wide, tall, area = (stats[:, k] for k in (cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT, cv2.CC_STAT_AREA))
    dark = np.bincount(labels[ink.ravel()[at] > 140], minlength=count) >= LEAST_STRONG * area
    long = (wide >= STRAND * side) & dark
    long[0] = False
    # The edge of a sheet is a thick straight band; a piece of trace as long as that has beats and is thin.
    if long.any():
        thickness = area / np.maximum(wide, 1)
        band = long & (wide > 0.12 * side) & (tall < 0.035 * side) & (thickness > 1.8 * np.median(thickness[long]))
        long &= ~band
        dark &= ~band
    strands = cv2.bitwise_and(picture_of(at[long[labels]], solid.shape), solid)
    if filled > MOST_FILLED * max(1, cv2.countNonZero(strands)):
        raise ImageError("the picture shows filled shapes, not traces", hint=NOT_ECG)
    columns = np.flatnonzero(strands.any(axis=0))
    if columns.size < 0.15 * side:
        raise ImageError(
            f"the picture shows no traces: long lines cover {columns.size / width:.0%} of its width "
            "(expected at least half)",
            hint=NOT_ECG,
        )
    return Pieces(ink, solid, at, labels, stats, dark, np.asarray(strands, dtype=np.uint8))


def inked_pixels(picture: ByteImage) -> NDArray[np.int64]:
    """Places that are not 0 in the flattened picture, line by line. Of flags NumPy finds them faster than OpenCV."""
    return np.flatnonzero(picture != 0)


def picture_of(at: NDArray[np.int64], shape: tuple[int, ...]) -> ByteImage:
    """255 at places of the flattened picture, else 0.

    Args:
        at: Indices of pixels.
        shape: (height, width).

    Returns:
        uint8 (height, width).
    """
    out = np.zeros(shape, dtype=np.uint8)
    out.ravel()[at] = 255
    return out


def _frames_and_blobs(solid: ByteImage, side: int) -> ByteImage:
    """Page borders, table lines and filled areas: straight runs and shapes that no trace draws.

    A level run counts only over nearly the whole width: the baseline of a calm trace is straight through its beats.
    """
    height, width = solid.shape
    # Of a long run every eighth pixel of the eroded picture is enough: long lines at an eighth of the work.
    blocks = np.ascontiguousarray(cv2.erode(solid, np.ones((8, 1), np.uint8))[4::8])
    tall = cv2.morphologyEx(blocks, cv2.MORPH_OPEN, np.ones((round(0.25 * side / 8), 1), np.uint8))
    blocks = np.ascontiguousarray(cv2.erode(solid, np.ones((1, 8), np.uint8))[:, 4::8])
    flat = _level_runs(np.asarray(blocks, dtype=np.uint8), round(0.8 * width / 8))
    thick = max(7, round(0.011 * side)) | 1
    out = cv2.morphologyEx(solid, cv2.MORPH_OPEN, np.ones((thick, thick), np.uint8))
    if cv2.countNonZero(out):
        out = cv2.dilate(out, np.ones((7, 7), np.uint8))
    for runs in (tall, flat):
        if cv2.countNonZero(runs):
            lines = cv2.resize(runs, (width, height), interpolation=cv2.INTER_NEAREST)
            out = cv2.bitwise_or(out, cv2.dilate(lines, np.ones((3, 3), np.uint8)), dst=out)
    _mark_boxes(solid, side, out)
    return np.asarray(out, dtype=np.uint8)


def _level_runs(solid: ByteImage, length: int) -> ByteImage:
    """Level runs of at least `length` px. They lie in the few lines of pixels that have so much ink at all."""
    out = np.zeros_like(solid)
    full = np.flatnonzero(cv2.reduce(solid, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel() >= 255 * length)
    if full.size:
        out[full] = cv2.morphologyEx(np.ascontiguousarray(solid[full]), cv2.MORPH_OPEN, np.ones((1, length), np.uint8))
    return out


def _mark_boxes(solid: ByteImage, side: int, out: cv2.typing.MatLike) -> None:
    """Add to `out` the frames of plotting axes: a level line with an equally long upright line at either end."""
    levels = _boxes(_level_runs(solid, round(0.2 * side)))
    if levels.shape[0] < 2:
        return
    upright = cv2.morphologyEx(solid, cv2.MORPH_OPEN, np.ones((round(0.03 * side), 1), np.uint8))
    posts = _boxes(np.asarray(upright, dtype=np.uint8))
    posts = posts[posts[:, 2] <= 0.01 * side]
    slack = max(3, round(0.004 * side))
    for x, y, wide, thick in levels.tolist():
        near = (y + thick >= posts[:, 1] - slack) & (y <= posts[:, 1] + posts[:, 3] + slack)
        first = posts[near & (np.abs(posts[:, 0] - x) <= slack)]
        last = posts[near & (np.abs(posts[:, 0] + posts[:, 2] - x - wide) <= slack)]
        for post in first.tolist():
            for other in last.tolist():
                if abs(post[1] - other[1]) <= slack and abs(post[3] - other[3]) <= slack:
                    for left, top, width, height in ((x, y, wide, thick), post, other):
                        corner = (left + width + 1, top + height + 1)
                        cv2.rectangle(out, (max(0, left - 2), max(0, top - 2)), corner, 255, -1)


def _boxes(picture: ByteImage) -> IntArray:
    """Boxes of the connected pieces, shape (n, 4): x, y, width, height. Sparse pictures are fast by their outlines."""
    outlines, family = cv2.findContours(picture, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if family is None:
        return np.zeros((0, 4), dtype=np.int32)
    kin = np.asarray(family).reshape(-1, 4)  # next, previous, child, parent
    outer = [cv2.boundingRect(line) for line, parent in zip(outlines, kin[:, 3], strict=True) if parent < 0]
    return np.array(outer, dtype=np.int32).reshape(-1, 4)
