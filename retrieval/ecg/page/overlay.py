"""What was digitised, drawn over the page that it was read from: the check that a person makes before trusting it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ecgkin.retrieval.ecg.page.digitized import Digitized

# Colours that stay apart for most people with a colour vision deficiency (Okabe and Ito 2008), RGB; neighbours on a
# page differ.
COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233))
DOUBTFUL = (220, 0, 0)
SURE = 0.5
"""Columns of a curve that are less sure than this are marked."""


def check_overlay(found: Digitized) -> NDArray[np.uint8]:
    """The straightened page, pale, with the curves that were followed, a colour a lead, their names, and doubts in red.

    Args:
        found: What `digitize` gave.

    Returns:
        RGB, uint8 (h, w, 3).
    """
    grey = 255 - (found.fine.lines // 2)
    picture = np.ascontiguousarray(np.repeat(grey[:, :, None], 3, axis=2))
    curves, size = found.curves, max(1.0, found.curves.stroke)
    width = max(1, round(size / 2))
    for number, stretch in enumerate(found.stretches):
        colour = COLOURS[number % len(COLOURS)]
        first, last = max(0, round(stretch.left)), min(curves.y.shape[1], round(stretch.right) + 1)
        y, weight = curves.y[stretch.row, first:last], curves.weight[stretch.row, first:last]
        for begin, end in _runs(np.isfinite(y)):
            points = np.stack([np.arange(first + begin, first + end), y[begin:end]], axis=1)
            cv2.polylines(picture, [np.round(points * 16).astype(np.int32)], False, colour, width, cv2.LINE_AA, 4)
        for begin, end in _runs(np.isfinite(y) & (weight < SURE)):
            points = np.stack([np.arange(first + begin, first + end), y[begin:end]], axis=1)
            cv2.polylines(picture, [np.round(points * 16).astype(np.int32)], False, DOUBTFUL, width + 1, cv2.LINE_AA, 4)
        known = y[np.isfinite(y)]
        place = (first + 4, round(float(known.min())) - 6 if known.size else 20)
        name = f"{'-' if stretch.sign < 0 else ''}{stretch.lead} {100 * found.confidence.get(stretch.lead, 0):.0f} %"
        scale = picture.shape[1] / 2200
        cv2.putText(picture, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.9 * scale, colour, max(1, round(2 * scale)))
    return np.asarray(picture, dtype=np.uint8)


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Beginning and end (not included) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
