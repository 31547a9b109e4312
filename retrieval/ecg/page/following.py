"""The curves of a page: every row's ink followed from column to column."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.beside import Beside
from ecgkin.retrieval.ecg.page.claims import claim_ink
from ecgkin.retrieval.ecg.page.counts import byte_percentile, median
from ecgkin.retrieval.ecg.page.prepared import Box, Prepared, fine_box, scale_within
from ecgkin.retrieval.ecg.page.rows import signal_ends
from ecgkin.retrieval.ecg.page.scale import PaperScale
from ecgkin.retrieval.ecg.page.sheet import FineSheet, Marks, Sheet, with_marks
from ecgkin.retrieval.ecg.page.tracks import InkRuns, Tracks, follow, ink_runs, path_costs, trace_tracks

ByteImage = NDArray[np.uint8]
FloatArray = NDArray[np.float64]

_SURE_INK, _SEEN_TRACE = 200, 60  # of 255: likelihood of trace that ink has, and that the network gives
_HINT = 40  # of 255: likelihood of a trace under which ink is none


@dataclass(frozen=True, slots=True, eq=False)
class FineInk:
    """Darkness of the fine page, from which level on it is ink, and fine px per working px."""

    darkness: ByteImage
    level: float
    factor: float


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """A page with its curves.

    Attributes:
        sheet: The page with what the network marked on it.
        fine: Its fine picture.
        ink: What is ink on that.
        box: Left, top, right, bottom of the traces, fine px.
        tracks: Curves of the rows.
        scale: Millimetres of its paper.
    """

    sheet: Sheet
    fine: FineSheet
    ink: FineInk
    box: Box
    tracks: Tracks
    scale: PaperScale


def follow_rows(ready: Prepared, marks: Marks | None) -> Followed:
    """Follow the curves of a page.

    Args:
        ready: The page.
        marks: What the network marked on it as it was found.
    """
    fine, sheet = ready.fine, with_marks(ready.sheet, marks)
    width = sheet.shape[1]
    darkness = _without_marks(sheet, fine)
    half = _likely(sheet, darkness)
    baselines = (np.array(sheet.rows.baselines) + 0.5) / 2 - 0.5
    k = fine.factor
    box = fine_box(sheet, fine, _traced(sheet))
    aside = Beside(lambda: _beside_paths(sheet, fine, darkness, ready.scale, box))
    costs = path_costs(half, baselines, 0, width // 2)
    paths = claim_ink(follow(half, baselines, 0, width // 2, costs), costs, _surely(sheet, half), baselines)
    level, runs, scale = aside.result()
    tracks = trace_tracks(darkness, paths, 2 * k, level, runs)
    tracks = replace(tracks, weight=_supported(tracks, sheet, k))
    return Followed(sheet, fine, FineInk(fine.darkness, level, k), box, tracks, scale)


def _beside_paths(
    sheet: Sheet, fine: FineSheet, darkness: ByteImage, scale: PaperScale, box: Box
) -> tuple[float, InkRuns, PaperScale]:
    """What is found out about a page while the rough courses of its rows are: from which darkness on something is ink,
    the runs of that, and the scale within the box of its traces."""
    level = _ink_level(sheet, fine.darkness)
    return level, ink_runs(darkness, level), scale if scale.box == box else scale_within(sheet, fine, box)


def _supported(tracks: Tracks, sheet: Sheet, factor: float) -> FloatArray:
    """How sure each column of a curve is, 0 to 1: whether the network sees a trace where the ink was followed."""
    known = np.isfinite(tracks.y)
    if sheet.marks is None:
        return known.astype(np.float64)
    near = cv2.dilate(cv2.max(sheet.marks.trace, sheet.marks.pulse), np.ones((5, 5), np.uint8))
    rows, columns = np.nonzero(known)
    y = np.clip(((tracks.y[rows, columns] + 0.5) / factor).astype(int), 0, near.shape[0] - 1)
    x = np.clip(((columns + 0.5) / factor).astype(int), 0, near.shape[1] - 1)
    out = np.zeros(tracks.y.shape)
    out[rows, columns] = np.minimum(1.0, near[y, x] / 110.0)
    return out


def _traced(sheet: Sheet) -> tuple[int, int]:
    """First and last column (exclusive) of the traces, working px: as the network sees them, where it does."""
    rows = sheet.rows
    if sheet.marks is None:
        return rows.left, rows.right
    seen = np.asarray(cv2.threshold(sheet.marks.trace, 110, 255, cv2.THRESH_BINARY)[1], dtype=np.uint8)
    left, right = signal_ends(seen, rows.baselines, (rows.left, rows.right))
    near = max(abs(left - rows.left), abs(right - rows.right)) < 0.01 * (rows.right - rows.left)
    return (rows.left, rows.right) if near or right - left < 0.5 * (rows.right - rows.left) else (left, right)


def _likely(sheet: Sheet, darkness: ByteImage) -> ByteImage:
    """Likelihood of trace at half the working size: full for what was taken for traces, less for other ink."""
    height, width = sheet.shape
    size = (width // 2, height // 2)
    trace = cv2.resize(sheet.rows.trace, size, interpolation=cv2.INTER_AREA)
    solid = cv2.resize(sheet.rows.solid, size, interpolation=cv2.INTER_AREA)
    dark = cv2.resize(cv2.dilate(darkness, np.ones((3, 3), np.uint8)), size, interpolation=cv2.INTER_AREA)
    out = cv2.max(cv2.convertScaleAbs(solid, alpha=1.2), cv2.convertScaleAbs(dark, alpha=0.8))
    return np.asarray(
        cv2.max(cv2.min(out, np.full_like(out, 150)), cv2.convertScaleAbs(trace, alpha=2.0)), dtype=np.uint8
    )


def _surely(sheet: Sheet, likely: ByteImage) -> ByteImage:
    """255 where ink is taken for traces and the network does not object, at half the working size, else 0."""
    out = cv2.threshold(likely, _SURE_INK, 255, cv2.THRESH_BINARY)[1]
    if sheet.marks is not None:
        seen = cv2.resize(sheet.marks.trace, (likely.shape[1], likely.shape[0]), interpolation=cv2.INTER_AREA)
        near = cv2.dilate(seen, np.ones((3, 3), np.uint8))
        out = cv2.bitwise_and(out, cv2.threshold(near, _SEEN_TRACE, 255, cv2.THRESH_BINARY)[1])
    return np.asarray(out, dtype=np.uint8)


def _ink_level(sheet: Sheet, darkness: ByteImage) -> float:
    """Darkness from which on something is ink: above nearly all of the paper and its grid.

    Fast strokes are thin and pale, so that as little as stands out of the paper counts where a path touches it.
    """
    rows = sheet.rows
    free = cv2.bitwise_not(cv2.dilate(rows.solid, np.ones((9, 9), np.uint8)))
    size = (rows.solid.shape[1], rows.solid.shape[0])
    coarse = cv2.resize(darkness, size, interpolation=cv2.INTER_NEAREST)
    part = (slice(rows.top, rows.bottom), slice(rows.left, rows.right))
    paper = np.asarray(coarse, dtype=np.uint8)[part][free[part] > 0]
    return float(np.clip(1.2 * byte_percentile(paper, 99), 50.0, 115.0)) if paper.size > 100 else 100.0


def _without_marks(sheet: Sheet, fine: FineSheet) -> ByteImage:
    """Darkness where the network sees at least a hint of a trace or of a pulse."""
    if sheet.marks is None:
        return fine.darkness
    # Strokes between leads stay whole, so that they can be told from beats.
    hint = cv2.max(cv2.max(sheet.marks.trace, sheet.marks.pulse), sheet.marks.stroke)
    near = cv2.dilate(hint, np.ones((5, 5), np.uint8))
    size = (fine.darkness.shape[1], fine.darkness.shape[0])
    wide = cv2.resize(near, size, interpolation=cv2.INTER_LINEAR)
    keep = cv2.threshold(wide, _HINT, 255, cv2.THRESH_BINARY)[1]
    return np.asarray(cv2.bitwise_and(fine.darkness, keep), dtype=np.uint8)


def along(tracks: Tracks, scale: PaperScale) -> FloatArray:
    """Millimetres of every fine column in each row, (n_rows, w)."""
    x = np.arange(tracks.y.shape[1], dtype=np.float64)
    out = []
    for y in tracks.y:
        known = y[np.isfinite(y)]
        level = median(known) if known.size else 0.0
        out.append(np.maximum.accumulate(scale.x_mm(x, np.full(x.size, level))))
    return np.stack(out)
