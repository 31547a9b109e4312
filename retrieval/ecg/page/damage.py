"""What paper that was rolled, bent or folded does to a page: rows that bow or still slope, and folds that are dark.

A fold darkens a narrow band evenly from one edge of the page to the other, and is taken off, so that it is no trace. A
trace does so nowhere: a column of pixels has few strokes, and a row of traces has beats and ends before the edge.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

ByteImage = NDArray[np.uint8]
FloatArray = NDArray[np.float64]

_STRIPS = 20  # across the page: half a second each, so that most of a strip is baseline
_REACH = 0.012  # shift from one strip to the next, share of the page's longer side: a slope of 13 degrees
# Below this share of the longer side (2 px of 1100) a shift is left alone: ST segments and drift move rows as much.
LEAST_BOW = 0.0022
BANDS = 12  # a fold may lean by its own width in each, and another fold may have moved the paper in one of them
INKED = 28  # darkness of 255 that counts; paper and coloured grids stay under 15 after division by the local paper
FULL = 0.9  # share of a band's length that a fold darkens; a stroke of 25 mm fills less, beats leave more free
# Share of all columns or rows beyond which even dark lines are a grid and not folds.
MOST = 0.12
# Width of a fold as a share of the page's longer side, 1.7 to 9 mm; lines of a grid, frames and flat traces are 0.2 to
# 0.6 mm wide, what lies beside the paper is wider.
NARROWEST, WIDEST = 0.006, 0.03


def row_bow(strands: ByteImage) -> FloatArray | None:
    """How far the rows of traces deviate from level, from their heights in strips of the page.

    Baselines give each strip of the page a profile with one peak a row. Neighbouring strips are slid over each other
    until the profiles agree; waves of single leads average out over the rows. The upper and the lower half of the page
    are weighted in turn, because the rows of a page in perspective fan out.

    Args:
        strands: Long pieces of trace, uint8 (h, w).

    Returns:
        Shift downwards in px at the top (first row) and the bottom (second) of the page, shape (2, w), or None where
        the rows are level or too few for an answer.
    """
    height, width = strands.shape
    side = max(height, width)
    edges = np.linspace(0, width, _STRIPS + 1).round().astype(int)
    thin = np.concatenate(
        [cv2.reduce(strands[:, a:b], 1, cv2.REDUCE_AVG, dtype=cv2.CV_32F) for a, b in pairwise(edges)], axis=1
    )
    blurred = cv2.GaussianBlur(thin, (1, 0), sigmaX=0.1, sigmaY=0.0035 * side)
    profiles = np.asarray(blurred, dtype=np.float64).T
    total = profiles.sum(axis=1)
    used = total > 0.35 * np.median(total[total > 0]) if (total > 0).any() else total > 0
    if used.sum() < _STRIPS // 2:
        return None
    x = (np.arange(_STRIPS) + 0.5) / _STRIPS * 2 - 1
    reach = max(4, round(_REACH * side))
    whole = _slide(profiles, used, reach)
    curve = _smooth(x, whole, used, 3)
    ramp = np.linspace(0.0, 1.0, height)
    ends = []
    for weight in (1.0 - ramp, ramp):
        rest = _fine(profiles * weight, used, curve, reach)
        ends.append(curve + _smooth(x, rest, used, 1))
    # Ends of the weighted halves lie at a third and two thirds of the page.
    upper, lower = ends[0] + (ends[0] - ends[1]), ends[1] + (ends[1] - ends[0])
    at = np.linspace(-1, 1, width)
    bow = np.stack([np.polyval(np.polyfit(x, end, 3), at) for end in (upper, lower)])
    before = float((profiles[used].mean(axis=0) ** 2).sum())
    moved = np.stack([_moved(p, s) for p, s in zip(profiles, (upper + lower) / 2, strict=True)])
    after = float((moved[used].mean(axis=0) ** 2).sum())
    first, last = int(np.argmax(used)), _STRIPS - int(np.argmax(used[::-1]))
    inner = bow[:, first * width // _STRIPS : last * width // _STRIPS]
    if np.abs(inner - inner.mean()).max() < LEAST_BOW * side or after < 1.03 * before:
        return None
    return np.asarray(bow - inner.mean(), dtype=np.float64)


def straighten_rows(ink: ByteImage, bow: FloatArray) -> ByteImage:
    """`ink` with each column moved up by the bow, linear between the page's top and bottom.

    Args:
        ink: uint8 (h, w) or (h, w, planes).
        bow: Of `find_bow`: how far the page bows at its top and bottom, px by column.

    Returns:
        uint8, the shape of `ink`.
    """
    height, width = ink.shape[:2]
    ramp = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None]
    top, bottom = bow.astype(np.float32)
    y = np.arange(height, dtype=np.float32)[:, None] + top[None, :] + ramp * (bottom - top)[None, :]
    x = np.broadcast_to(np.arange(width, dtype=np.float32)[None, :], y.shape)
    return np.asarray(cv2.remap(ink, np.ascontiguousarray(x), y, cv2.INTER_LINEAR), dtype=np.uint8)


def _moved(profile: FloatArray, shift: float) -> FloatArray:
    y = np.arange(profile.size)
    return np.asarray(np.interp(y + shift, y, profile, left=0.0, right=0.0), dtype=np.float64)


def _best(profile: FloatArray, template: FloatArray, guess: float, reach: int) -> float:
    """Shift near `guess` at which the profile lies on the template."""
    base = _moved(profile, guess)
    offsets = np.arange(-reach, reach + 1)
    padded = np.zeros(base.size + 2 * reach)
    padded[reach:-reach] = base
    agreement = np.correlate(padded, template, mode="valid")
    # A slight preference for no change keeps strips without baseline where they are.
    agreement = agreement * (1.0 - 0.06 * (offsets / reach) ** 2)
    return guess + float(offsets[int(np.argmax(agreement))])


def _slide(profiles: FloatArray, used: NDArray[np.bool_], reach: int) -> FloatArray:
    shifts = np.zeros(_STRIPS)
    middle = _STRIPS // 2
    for order in (range(middle + 1, _STRIPS), range(middle - 1, -1, -1)):
        template = profiles[middle].copy()
        guess, slope = 0.0, 0.0
        for strip in order:
            if not used[strip]:
                guess += slope
                shifts[strip] = guess
                continue
            found = _best(profiles[strip], template, guess + slope, reach)
            slope = 0.5 * slope + 0.5 * (found - guess)
            guess = found
            shifts[strip] = found
            template = 0.7 * template + 0.3 * _moved(profiles[strip], found)
    return shifts


def _fine(profiles: FloatArray, used: NDArray[np.bool_], curve: FloatArray, reach: int) -> FloatArray:
    template = np.mean([_moved(p, s) for p, s in zip(profiles[used], curve[used], strict=True)], axis=0)
    return np.array([_best(p, template, s, reach) - s for p, s in zip(profiles, curve, strict=True)])


def _smooth(x: FloatArray, shifts: FloatArray, used: NDArray[np.bool_], degree: int) -> FloatArray:
    """Robust polynomial through the shifts."""
    weight = used.astype(np.float64)
    fit = np.zeros(degree + 1)
    for _ in range(4):
        fit = np.polyfit(x, shifts, degree, w=weight + 1e-6)
        residual = np.abs(np.polyval(fit, x) - shifts)
        scale = max(1.0, 1.5 * float(np.median(residual[used])))
        weight = used / (1.0 + (residual / scale) ** 2)
    return np.asarray(np.polyval(fit, x), dtype=np.float64)


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
