"""Which ink is trace, in how many rows it runs, where the signal area begins and ends, and which layout that is."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.page.pieces import NOT_ECG, STRAND, Pieces, page_side, picture_of
from ecgkin.retrieval.errors import ImageError

ByteImage = NDArray[np.uint8]
IntArray = NDArray[np.int32]
FloatArray = NDArray[np.float64]

# Lengths are shares of the page's longer side (see `page_side`).
CORRIDOR = 0.008  # half height of the band around a baseline: 2 mm on a page of 250 mm
MOST_ROWS = 15  # twelve leads and three rhythm strips
# Share of a row's width at which it has exactly one run of ink. Measured: print at most 0.48, map contours and scenes
# 0.44; foreign pages at least 0.55, nearly all above 0.8.
LEAST_CURVE = 0.5
LEAST_CURVE_OF_FEW = 0.75  # one or two lines without a grid may be the outlines of things: those reached 0.71
_BY_ROWS = {3: "3x4", 4: "3x4+1R", 12: "12x1"}


@dataclass(frozen=True, slots=True)
class TraceRows:
    """The rows of traces of a straightened page.

    Attributes:
        ink: Trace ink alone, uint8 (h, w).
        baselines: y of each row, top to bottom, px.
        left, top, right, bottom: Box of the signal area, px, end exclusive.
        cover: Share of each row's width that is inked.
        singleness: Share of inked columns in which a row has one run of ink, as a curve of time has.
        liveliness: Share of inked columns whose ink is clearly off the baseline.
        strand: Mean length of a piece of trace, weighted by its ink, as a share of the area's width.
        trace: `ink` as a binary picture, pieces that are no trace left out, uint8 (h, w).
        solid: All ink of the page but frames and filled areas, binary, uint8 (h, w).
    """

    ink: ByteImage
    baselines: tuple[float, ...]
    left: int
    top: int
    right: int
    bottom: int
    cover: tuple[float, ...]
    singleness: float
    liveliness: float
    strand: float
    trace: ByteImage
    solid: ByteImage


def find_rows(pieces: Pieces) -> TraceRows:
    """Keep what belongs to traces and find their rows.

    Raises:
        ImageError: No row of traces was found.
    """
    side = page_side(pieces.ink.shape)
    baselines = _baselines(pieces.strands, side)
    if not baselines:
        raise ImageError("the picture shows no row of traces", hint=NOT_ECG)
    return _collect(pieces, np.array(baselines), side)


def _baselines(strands: ByteImage, side: int) -> list[float]:
    """y of the rows: where a band of the page is inked over most of the traces' width."""
    height = strands.shape[0]
    columns = np.flatnonzero(strands.any(axis=0))
    span = int(columns[-1] - columns[0] + 1)
    half = max(3, round(CORRIDOR * side))
    band = cv2.dilate(strands, np.ones((2 * half + 1, 1), np.uint8))
    cover = cv2.reduce(band, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel() / 255.0 / span
    density = cv2.reduce(strands, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel() / 255.0 / span
    smooth = cv2.GaussianBlur((cover + density).reshape(-1, 1).astype(np.float32), (1, 0), sigmaX=0.5, sigmaY=half / 2)
    smooth = smooth.ravel().astype(np.float64)
    cut = max(0.22, 0.3 * float(smooth.max()))
    peaks = [
        y
        for y in range(height)
        if smooth[y] >= cut and smooth[y] == smooth[max(0, y - 2 * half) : y + 2 * half + 1].max()
    ]
    merged: list[int] = []
    for y in peaks:
        if merged and y - merged[-1] < 12 * half and _one_curve(strands, merged[-1], y, half):
            if smooth[y] > smooth[merged[-1]]:
                merged[-1] = y
        else:
            merged.append(y)
    return [float(y) for y in merged]


def _one_curve(strands: ByteImage, upper: int, lower: int, half: int) -> bool:
    """Whether the ink between two bands is one curve (a tall wave) and not two rows: most columns have one run."""
    part = strands[max(0, upper - half) : lower + half + 1] > 0
    runs = (part[1:] & ~part[:-1]).sum(axis=0) + part[0]
    inked = runs > 0
    near_upper = part[: 2 * half + 1].any(axis=0)
    near_lower = part[-2 * half - 1 :].any(axis=0)
    return bool((near_upper & near_lower & (runs > 1)).sum() < 0.3 * max(1, inked.sum()))


def _collect(pieces: Pieces, baselines: FloatArray, side: int) -> TraceRows:
    ink, solid, strands = pieces.ink, pieces.solid, pieces.strands
    stats, dark = pieces.stats, pieces.dark
    height = ink.shape[0]
    pitch = float(np.median(np.diff(baselines))) if baselines.size > 1 else 0.2 * height
    reach = 0.5 * min(pitch, 0.35 * height)
    inked = np.stack([_zone(strands, y, reach).any(axis=0) for y in baselines])
    # Rows start and end together: text above the traces, or a line of a table, does not share their ends.
    cover = np.array([row.mean() for row in inked])
    extent = np.array([np.ptp(np.flatnonzero(row)) + 1 if row.any() else 0 for row in inked])
    keep = (extent > 0.55 * extent.max()) & (cover > 0.4 * cover.max())
    # A block of print has several runs of ink in a column, and gaps between its words.
    single = np.array([_single(strands, y, 0.5 * reach) for y in baselines])
    keep &= (single > 0.55) | (cover > 0.7 * cover.max())
    keep &= _even(baselines, keep)
    keep &= _curves(baselines, keep, single)
    keep &= _like_others(strands, baselines, keep, reach)
    baselines, inked = baselines[keep], inked[keep]
    if baselines.size > 1:
        pitch = float(np.median(np.diff(baselines)))
        reach = 0.5 * min(pitch, 0.35 * height)

    left, right = _ends(inked, side)

    left_edge, top_edge = stats[:, cv2.CC_STAT_LEFT], stats[:, cv2.CC_STAT_TOP]
    wide, tall = stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT]
    bottom_edge = top_edge + tall
    # How far a piece stays away from the nearest baseline: a trace crosses its own, a line of print keeps off.
    away = np.maximum(top_edge[:, None] - baselines[None, :], baselines[None, :] - bottom_edge[:, None]).min(axis=1)
    away = np.maximum(away, 0) / pitch
    inside = (left_edge < right) & (left_edge + wide > left)
    strand = ((wide >= STRAND * side) & (away < 0.15)) | ((wide >= 3 * STRAND * side) & (away < 0.5))
    # Broken traces: what is larger than print and near a baseline, and specks on it.
    strand |= ((wide >= 0.4 * STRAND * side) | (tall >= 0.4 * STRAND * side)) & (away < 0.15)
    strand |= away < 0.06
    # Fast strokes are thin and pale and come loose: upright slivers, narrower than print.
    sliver = (tall >= 0.012 * side) & (tall >= 2.5 * wide) & (away < 0.45)
    good = inside & (strand | sliver) & dark
    # A speck outside of the corridor is a speck.
    good &= stats[:, cv2.CC_STAT_AREA] >= 6
    good[0] = False
    kept = picture_of(pieces.at[good[pieces.labels]], solid.shape)
    trace = np.asarray(cv2.bitwise_and(kept, solid), dtype=np.uint8)
    halo = cv2.dilate(kept, np.ones((3, 3), np.uint8))
    clean = cv2.bitwise_and(ink, halo)

    rows = np.flatnonzero(trace[:, left:right].any(axis=1))
    top, bottom = (int(rows[0]), int(rows[-1]) + 1) if rows.size else (0, height)
    top = max(top, int(baselines[0] - 1.2 * pitch))
    bottom = min(bottom, int(baselines[-1] + 1.2 * pitch))
    margin = round(0.006 * side)
    top, bottom = max(0, top - margin), min(height, bottom + margin)

    ink_of = np.where(good, stats[:, cv2.CC_STAT_AREA], 0).astype(np.float64)
    piece_length = float((ink_of * wide).sum() / max(1.0, ink_of.sum()) / (right - left))
    alone, lively, total = 0.0, 0.0, 0
    half = max(2, round(0.5 * CORRIDOR * side))
    cover_kept = []
    for y in baselines:
        zone = _zone(trace, y, reach)[:, left:right]
        runs = _runs(zone)
        alone += float((runs == 1).sum())
        centre = min(int(y), round(reach))
        above, below = zone[: max(0, centre - half)], zone[centre + half + 1 :]
        lively += float((above.any(axis=0) | below.any(axis=0)).sum())
        total += int((runs > 0).sum())
        cover_kept.append(float((runs > 0).mean()))
    return TraceRows(
        np.asarray(clean, dtype=np.uint8),
        tuple(float(y) for y in baselines),
        left,
        top,
        right,
        bottom,
        tuple(cover_kept),
        alone / max(1, total),
        lively / max(1, total),
        piece_length,
        trace,
        solid,
    )


def _ends(inked: NDArray[np.bool_], side: int) -> tuple[int, int]:
    """First and last column (exclusive) of the traces, by which columns of which rows are inked, (n_rows, w).

    Raises:
        ImageError: They cover too little of the picture.
    """
    width = inked.shape[1]
    share = inked.mean(axis=0)
    smooth = cv2.blur(share.reshape(1, -1).astype(np.float32), (max(3, round(0.012 * side)), 1)).ravel()
    used = np.flatnonzero(smooth >= 0.5 * min(1.0, float(np.percentile(smooth, 90))))
    if used.size < 0.2 * width:
        raise ImageError(f"traces cover {used.size / width:.0%} of the picture's width (expected half)", hint=NOT_ECG)
    left, right = int(used[0]), int(used[-1]) + 1
    # Names that stand in a column of their own before the traces end in a gap that all rows share.
    head = share[left : left + round(0.06 * (right - left))] < 0.12
    gaps = np.flatnonzero(cv2.erode(head.astype(np.uint8).reshape(1, -1), np.ones((1, 3), np.uint8)).ravel())
    if gaps.size:
        left += int(gaps[-1]) + 2
    return left, right


def signal_ends(trace: ByteImage, baselines: tuple[float, ...], otherwise: tuple[int, int]) -> tuple[int, int]:
    """First and last column (exclusive) of the traces of a page whose rows are known.

    Args:
        trace: Binary trace ink, uint8 (h, w).
        baselines: y of the rows, px.
        otherwise: What is returned where the traces do not tell.

    Returns:
        The columns, px.
    """
    rows = np.array(baselines)
    pitch = float(np.median(np.diff(rows))) if rows.size > 1 else 0.2 * trace.shape[0]
    reach = 0.5 * min(pitch, 0.35 * trace.shape[0])
    inked = np.stack([_zone(trace, y, reach).any(axis=0) for y in baselines])
    try:
        return _ends(inked, page_side(trace.shape))
    except ImageError:
        return otherwise


def _runs(binary: ByteImage) -> IntArray:
    """Runs of ink in each column of a binary picture of 0 and 255."""
    begun = cv2.subtract(binary[1:], binary[:-1])
    counts = cv2.reduce(begun, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel() // 255 + (binary[0] > 0)
    return np.asarray(counts, dtype=np.int32)


def _single(strands: ByteImage, y: float, reach: float) -> float:
    runs = _runs(_zone(strands, y, reach))
    return float((runs == 1).sum() / max(1, (runs > 0).sum()))


def _even(baselines: FloatArray, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """False for outermost rows that stand far off from at least three others: a page edge, a heading, a footer."""
    even = np.ones(baselines.size, dtype=bool)
    while (keep & even).sum() > 3:
        index = np.flatnonzero(keep & even)
        gaps = np.diff(baselines[index])
        limit = 2.1 * float(np.median(gaps))
        if gaps[0] > limit:
            even[index[0]] = False
        elif gaps[-1] > limit:
            even[index[-1]] = False
        else:
            break
    return even


def _curves(baselines: FloatArray, keep: NDArray[np.bool_], single: FloatArray) -> NDArray[np.bool_]:
    """False for rows that are hardly curves and stand out of line, as shade on a crumpled sheet above even rows."""
    every = np.ones(baselines.size, dtype=bool)
    if not keep.any():
        return every
    curves = single >= 0.5 * float(np.median(single[keep]))
    with_all, without = np.diff(baselines[keep]), np.diff(baselines[keep & curves])
    if without.size < 2 or without.max() > 1.3 * without.min() or with_all.max() < 1.5 * with_all.min():
        return every
    return curves


def _like_others(strands: ByteImage, baselines: FloatArray, keep: NDArray[np.bool_], reach: float) -> NDArray[np.bool_]:
    """False for outermost rows that are thicker than the rest or have no beats: the edge of the sheet, a ruled line."""
    alike = np.ones(baselines.size, dtype=bool)
    index = np.flatnonzero(keep)
    if index.size < 3:
        return alike
    thick, swing = np.zeros(baselines.size), np.zeros(baselines.size)
    for row in index:
        zone = _zone(strands, baselines[row], 0.6 * reach)
        part = zone > 0
        depth = cv2.reduce(zone, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel() // 255
        used = depth > 0
        if not used.any():
            continue
        thick[row] = np.median(depth[used])
        first = np.argmax(part, axis=0)[used]
        last = part.shape[0] - 1 - np.argmax(part[::-1], axis=0)[used]
        swing[row] = np.percentile(last, 97) - np.percentile(first, 3)
    # Out of focus every stroke is thick, a small beat is still a beat.
    limit = np.minimum(1.5 * thick + 2, thick + 4)
    for row in (index[0], index[-1]):
        others = index[index != row]
        if thick[row] > max(4.0, 2.2 * np.median(thick[others])) or swing[row] < limit[row]:
            alike[row] = False
    return alike


def check_rows(rows: TraceRows, has_grid: bool) -> float:
    """How much like curves of time the rows are, 0 to 1.

    Args:
        rows: What was found.
        has_grid: Whether the paper has a grid, without which one or two lines are little evidence.

    Returns:
        The likeness.

    Raises:
        ImageError: Not enough for an ECG.
    """
    if len(rows.baselines) > MOST_ROWS:
        raise ImageError(
            f"the picture shows {len(rows.baselines)} lines of print or drawing (an ECG page has at most {MOST_ROWS} "
            "rows of traces)",
            hint=NOT_ECG,
        )
    curve = float(np.mean(rows.cover)) * rows.singleness
    few = len(rows.baselines) < 3 and not has_grid
    least = LEAST_CURVE_OF_FEW if few else LEAST_CURVE
    if curve < least or rows.liveliness < 0.02:
        raise ImageError(
            f"what is drawn in the picture does not look like the traces of an ECG (curve score {curve:.2f}, "
            f"expected at least {least}; beats in {rows.liveliness:.0%} of the width)",
            hint=NOT_ECG,
        )
    return min(1.0, curve)


def _zone(image: ByteImage, y: float, reach: float) -> ByteImage:
    return image[max(0, round(y - reach)) : round(y + reach) + 1]


def has_layout(n_rows: int) -> bool:
    """Whether a known layout has so many rows."""
    return n_rows in _BY_ROWS or n_rows == 6


def guess_layout(ink: ByteImage, baselines: tuple[float, ...], left: int, right: int) -> tuple[str, tuple[str, ...]]:
    """Layout by the number of rows; among six rows by where the leads change.

    In 3x4+3R the upper rows change their lead at each quarter and the lower ones never; in 6x2 all rows change in the
    middle and nowhere else. A change of lead shows as a change of how far the trace reaches up and down.

    Args:
        ink: Trace ink, uint8 (h, w).
        baselines: y of each row, from the top.
        left, right: Horizontal range of the traces.

    Returns:
        "3x4", "3x4+1R", "3x4+3R", "6x2", "12x1" or "other", and the names of the leads on such a page.
    """
    if len(baselines) in _BY_ROWS:
        return _BY_ROWS[len(baselines)], LEADS
    if len(baselines) != 6:
        return "other", ()
    reach = _reaches(ink, np.array(baselines), left, right)
    steps = np.abs(np.diff(reach, axis=1)).sum(axis=2)  # (6, 3): at a quarter, half and three quarters
    return ("6x2" if steps[3:, 1].mean() > steps[:3, [0, 2]].mean() else "3x4+3R"), LEADS


def _reaches(ink: ByteImage, baselines: FloatArray, left: int, right: int) -> FloatArray:
    """Log reach of the trace above and below its baseline, shape (rows, 4 quarters, 2)."""
    pitch = float(np.median(np.diff(baselines)))
    edges = np.linspace(left, right, 5)
    out = np.zeros((baselines.size, 4, 2))
    for row, y in enumerate(baselines):
        top = max(0, round(y - 0.6 * pitch))
        zone = ink[top : round(y + 0.6 * pitch) + 1] > 90
        for quarter in range(4):
            # Ends of a quarter hold ticks and names, ends of the row the calibration pulse (0.4 s of 10).
            width = edges[quarter + 1] - edges[quarter]
            start = edges[quarter] + (0.2 if quarter == 0 else 0.1) * width
            end = edges[quarter + 1] - (0.2 if quarter == 3 else 0.04) * width
            part = zone[:, round(start) : round(end)]
            used = part.any(axis=0)
            if used.sum() < 5:
                continue
            first = np.argmax(part, axis=0)[used]
            last = part.shape[0] - 1 - np.argmax(part[::-1], axis=0)[used]
            middle = float(np.median((first + last) / 2))
            up = middle - np.percentile(first, 3)
            down = np.percentile(last, 97) - middle
            out[row, quarter] = np.log(0.05 * pitch + np.array([up, down]))
    return out
