"""Folds of the paper that run straight across the page and are dark: taken off, so that they are no traces.

A fold darkens a narrow band evenly from one edge of the page to the other. A trace does so nowhere: a column of pixels
has few strokes, and a row of traces has beats and ends before the edge.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

ByteImage = NDArray[np.uint8]

BANDS = 12  # a fold may lean by its own width in each, and another fold may have moved the paper in one of them
INKED = 28  # darkness of 255 that counts; paper and coloured grids stay under 15 after division by the local paper
FULL = 0.9  # share of a band's length that a fold darkens; a stroke of 25 mm fills less, beats leave more free
# Share of all columns or rows beyond which even dark lines are a grid and not folds.
MOST = 0.12
# Width of a fold as a share of the page's longer side, 1.7 to 9 mm; lines of a grid, frames and flat traces are 0.2 to
# 0.6 mm wide, what lies beside the paper is wider.
NARROWEST, WIDEST = 0.006, 0.03


def without_creases(ink: ByteImage) -> ByteImage:
    """Straightened darkness less the folds that cross it; the same picture where there are none.

    Args:
        ink: Darkness in every channel, uint8 (h, w), 0 = paper.
    """
    size = (ink.shape[1] // 2, ink.shape[0] // 2)
    half = np.asarray(cv2.resize(ink, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    if not (_may_have(half) or _may_have(np.ascontiguousarray(half.T))):
        return ink
    upright, level = _folds(ink), _folds(np.ascontiguousarray(ink.T))
    if upright is None and level is None:
        return ink
    out = ink.copy()
    if upright is not None:
        _take_off(out, upright)
    if level is not None:
        turned = np.ascontiguousarray(out.T)
        _take_off(turned, level)
        out = np.ascontiguousarray(turned.T)
    return out


def _may_have(half: ByteImage) -> bool:
    """Whether nearly every band of a page at half its size has a dark column: what most pages lack is found fast."""
    if min(half.shape) < 4 * BANDS:
        return False
    inked = cv2.threshold(half, 0.7 * INKED, 255, cv2.THRESH_BINARY)[1]
    shares = cv2.resize(inked, (half.shape[1], BANDS), interpolation=cv2.INTER_AREA)
    return bool((shares.max(axis=1) >= 255 * 0.7).sum() >= BANDS - 2)


def _folds(ink: ByteImage) -> NDArray[np.bool_] | None:
    """Which columns lie on an upright fold in each band, (BANDS, w); None where there is no fold."""
    height, width = ink.shape
    side = max(ink.shape)
    if height < 8 * BANDS or width < 64:
        return None
    inked = cv2.threshold(ink, INKED, 255, cv2.THRESH_BINARY)[1]
    inked = cv2.dilate(inked, np.ones((1, 3), np.uint8))
    full = _full(np.asarray(inked, dtype=np.uint8), _edges(height))
    if not full.any() or full.mean() > MOST:
        return None
    # A fold is one piece through the bands; it may lean, or be missed in one of them, so that neighbours touch nearby.
    wide = cv2.dilate(full.astype(np.uint8), np.ones((3, 7), np.uint8))
    _, at, stats, _ = cv2.connectedComponentsWithStats(wide, connectivity=8)
    long = stats[:, cv2.CC_STAT_HEIGHT] == BANDS
    long[0] = False
    for piece in np.flatnonzero(long):
        long[piece] = NARROWEST * side <= np.median((full & (at == piece)).sum(axis=1)) <= WIDEST * side
    if not long.any():
        return None
    return np.asarray(long[at])


def _edges(height: int) -> NDArray[np.int64]:
    return np.linspace(0, height, BANDS + 1).astype(np.int64)


def _full(inked: ByteImage, edges: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Columns that are inked over nearly all of a band, shape (bands, w)."""
    means = [
        cv2.reduce(np.ascontiguousarray(inked[a:b]), 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel()
        for a, b in pairwise(edges)
    ]
    return np.asarray(np.stack(means) >= 255 * FULL)


def _take_off(ink: ByteImage, folds: NDArray[np.bool_]) -> None:
    """Subtract each band's own darkness of the columns on a fold, in place.

    A trace that runs along a fold is narrower and darker than the fold, and stays.
    """
    edges = _edges(ink.shape[0])
    _, at = cv2.connectedComponents(folds.astype(np.uint8), connectivity=8)
    for band in range(BANDS):
        columns = np.flatnonzero(folds[band])
        if not columns.size:
            continue
        part = ink[edges[band] : edges[band + 1], columns]
        level = np.percentile(part, 40, axis=0)
        for piece in np.unique(at[band, columns]):
            of = at[band, columns] == piece
            core = level[of & (level > 10)]
            if core.size:
                level[of] = np.minimum(level[of], 1.3 * np.median(core) + 5)
        ink[edges[band] : edges[band + 1], columns] = np.clip(part - 1.1 * level, 0, 255)
