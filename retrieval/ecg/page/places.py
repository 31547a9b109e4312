"""Where on the picture each lead was read: its curve as lines in the picture's px, doubtful stretches apart."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.digitized import Digitized, Stretch
from ecgkin.retrieval.ecg.page.overlay import SURE

FloatArray = NDArray[np.float64]

_TOLERANCE_PX = 0.6  # of the straightened page: lines may leave the curve so far


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """Part of a curve.

    Attributes:
        points: x and y in the picture's px, (n, 2).
        doubtful: Whether it was followed where the ink does not show it well.
    """

    points: FloatArray
    doubtful: bool


def lines_of(found: Digitized, stretch: Stretch) -> tuple[Line, ...]:
    """The curve of one stretch of a lead on the picture that was given.

    Args:
        found: A digitised page.
        stretch: One of its stretches.

    Returns:
        Lines in px of the picture, sure and doubtful ones apart.
    """
    curves = found.curves
    first, last = max(0, round(stretch.left)), min(curves.y.shape[1], round(stretch.right) + 1)
    y, weight = curves.y[stretch.row, first:last], curves.weight[stretch.row, first:last]
    known, doubtful = np.isfinite(y), weight < SURE
    out = []
    # A run ends where ink is missing, and where sure and doubtful meet: there both share a point.
    edges = np.flatnonzero(np.diff(np.where(known, 1 + doubtful, 0), prepend=0, append=0))
    for begin, end in pairwise(edges):
        if not known[begin]:
            continue
        to = end + 1 if end < y.size and known[end] else end
        x = np.arange(first + begin, first + to, dtype=np.float64)
        line = np.stack([x, y[begin:to]], axis=1)
        if len(line) > 2:
            kept = cv2.approxPolyDP(line[:, None].astype(np.float32), _TOLERANCE_PX, False)[:, 0]
            line = np.asarray(kept, dtype=np.float64)
        if len(line) > 1:
            out.append(Line(found.on_picture(line[:, 0], line[:, 1]), bool(doubtful[begin])))
    return tuple(out)


def doubtful_share(found: Digitized, stretch: Stretch) -> float:
    """Share of a stretch that was not seen, or not seen well, 0 to 1.

    Args:
        found: What was read.
        stretch: One stretch of a lead.

    Returns:
        The share.
    """
    first, last = max(0, round(stretch.left)), min(found.curves.y.shape[1], round(stretch.right) + 1)
    y, weight = found.curves.y[stretch.row, first:last], found.curves.weight[stretch.row, first:last]
    return float((~np.isfinite(y) | (weight < SURE)).mean()) if y.size else 1.0
