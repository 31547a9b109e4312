"""The calibration pulses of a page: where they stand, and how high a millivolt is."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

ByteImage = NDArray[np.uint8]
FloatArray = NDArray[np.float64]

# Pulses are 5 mm wide (0.2 s at 25 mm/s) or 10 mm (at 50 mm/s, or 0.4 s) on rows of 250 or 500 mm: shares of the area.
_PULSE_WIDTH = (0.007, 0.055)
_LEAST_NARROW = 0.018  # height of a narrow one, likewise: 4.5 mm on 250 mm


@dataclass(frozen=True, slots=True)
class Pulse:
    """The calibration pulse of a page.

    Attributes:
        left, right: Its edges, px.
        height_px: Height of 1 mV.
        at_end: Whether it stands behind the traces.
        rows: In how many rows it was seen.
    """

    left: float
    right: float
    height_px: float
    at_end: bool
    rows: int


def find_pulse(solid: ByteImage, baselines: tuple[float, ...], left: int, right: int, stroke_px: float) -> Pulse | None:
    """The pulse that rows share at the beginning or at the end, or None.

    Args:
        solid: Binary ink, uint8 (h, w).
        baselines: y of the rows.
        left, right: Horizontal range of the traces; the pulse may lie just outside.
        stroke_px: Thickness of a stroke.

    Returns:
        Where it stands and how large it is, px.
    """
    span = right - left
    table = _candidates(solid, baselines, left, right, stroke_px)
    if not len(table):
        return None
    rows_y = np.asarray(baselines)
    best: NDArray[np.int64] = np.array([], dtype=np.int64)
    for entry in table:
        alike = (np.abs(table[:, :2] - entry[:2]) <= 0.006 * span + 1).all(axis=1)
        alike &= np.abs(table[:, 2] - entry[2]) <= 0.12 * entry[2] + 1.5
        members = np.flatnonzero(alike)
        if np.unique(table[members, 3]).size > (np.unique(table[best, 3]).size if best.size else 0):
            best = members
    rows = int(np.unique(table[best, 3]).size)
    if rows < max(2, 0.4 * rows_y.size):
        return None
    x0, x1, tall, _ = np.median(table[best], axis=0)
    inset = (stroke_px - 1) / 2
    # Beats with flat tops are narrower than any pulse and hardly rise; half a pulse at the edge of a picture is tall.
    if x1 - x0 - 2 * inset < _PULSE_WIDTH[0] * span and tall < _LEAST_NARROW * span:
        return None
    return Pulse(float(x0 + inset), float(x1 - inset), float(tall), bool(x0 > (left + right) / 2), rows)


def _candidates(solid: ByteImage, baselines: tuple[float, ...], left: int, right: int, stroke_px: float) -> FloatArray:
    """What has the shape of a pulse near either end of a row: left, right, height, row; shape (n, 4)."""
    height, width = solid.shape
    span = right - left
    least = max(4, round(_PULSE_WIDTH[0] * span))
    rows_y = np.asarray(baselines)
    pitch = float(np.median(np.diff(rows_y))) if rows_y.size > 1 else 0.25 * height
    found: list[tuple[float, float, float, int]] = []
    for first, last in (
        (max(0, left - round(0.1 * span)), left + round(0.08 * span)),
        (right - round(0.08 * span), min(width, right + round(0.1 * span))),
    ):
        part = np.ascontiguousarray(solid[:, first:last])
        if part.shape[1] < 2 * least:
            continue
        flat = cv2.morphologyEx(part, cv2.MORPH_OPEN, np.ones((1, least), np.uint8))
        flat = cv2.dilate(flat, np.ones((3, 1), np.uint8))
        count, _, stats, _ = cv2.connectedComponentsWithStats(flat, connectivity=8, ltype=cv2.CV_16U)
        for x, y, w, h, _ in stats[1:count].tolist():
            if w > _PULSE_WIDTH[1] * span + 2 * stroke_px or h > 3 * stroke_px + 5:
                continue
            top = y + h / 2
            feet = [_foot(part, x, top, stroke_px), _foot(part, x + w - 1, top, stroke_px)]
            if None in feet:
                continue
            deep = [foot for foot in feet if foot is not None]
            # A beat may hang on one of the edges: the shorter one ends on the baseline.
            foot = min(deep)
            row = int(np.abs(rows_y - foot).argmin())
            tall = foot - top - (stroke_px - 1) / 2
            if abs(rows_y[row] - foot) > 0.3 * pitch or tall < 0.006 * max(height, width) or tall < 0.2 * (w - 1):
                continue
            found.append((first + x, first + x + w - 1, tall, row))
    return np.array(found, dtype=np.float64).reshape(-1, 4)


def _foot(part: ByteImage, x: int, top: float, stroke_px: float) -> float | None:
    """Lower end of the upright stroke that hangs from (x, top), or None where none does."""
    reach = max(1, round(stroke_px / 2))
    strip = np.asarray(part[round(top) :, max(0, x - reach) : x + reach + 1].any(axis=1), dtype=np.bool_)
    gaps = np.flatnonzero(~(strip[:-1] | strip[1:]))
    length = int(gaps[0]) if gaps.size else strip.size
    if length < 2.5 * stroke_px + 3:
        return None
    return float(round(top) + length - 1 - (stroke_px - 1) / 2)
