"""The curves that were read, drawn over the picture, for people to check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ecgkin.retrieval.ecg.page.digitize import Digitized
from ecgkin.retrieval.ecg.page.image import load_image

FloatArray = NDArray[np.float64]

# One colour a lead, dark enough for white paper; neighbours on a page differ in hue.
COLOURS: dict[str, tuple[int, int, int]] = {
    "I": (200, 30, 30), "II": (30, 60, 200), "III": (20, 130, 40), "aVR": (170, 30, 170), "aVL": (190, 110, 10),
    "aVF": (10, 120, 140), "V1": (200, 30, 90), "V2": (70, 40, 200), "V3": (90, 130, 10), "V4": (140, 60, 150),
    "V5": (160, 80, 20), "V6": (20, 90, 170),
}  # fmt: skip
DOUBTFUL = (255, 140, 0)
_LEAST_CONFIDENCE = 0.7


def check_overlay(found: Digitized, picture: Image.Image | NDArray[Any] | str | Path | bytes) -> Image.Image:
    """The picture with the curves over it, each lead in its colour with its name; doubtful stretches orange and wide.

    Args:
        found: What `digitize` gave for the picture.
        picture: The same picture.

    Raises:
        ImageError: The picture cannot be read.
    """
    canvas = np.ascontiguousarray(load_image(picture))
    canvas = np.ascontiguousarray(cv2.addWeighted(canvas, 0.55, np.full_like(canvas, 255), 0.45, 0.0))
    wide = max(1, round(max(canvas.shape) / 1400))
    for stretch in found.stretches:
        y = found.curves.y[stretch.row]
        first, last = max(0, round(stretch.left)), min(y.size, round(stretch.right) + 1)
        columns = np.arange(first, last)[np.isfinite(y[first:last])]
        if not columns.size:
            continue
        doubtful = found.confidence.get(stretch.lead, 1.0) < _LEAST_CONFIDENCE
        points = found.on_picture(columns.astype(np.float64), y[columns])
        parts = np.split(points, np.flatnonzero(np.diff(columns) > 1) + 1)
        for colour, width in ((DOUBTFUL, 4 * wide), (COLOURS[stretch.lead], wide)):
            if colour == DOUBTFUL and not doubtful:
                continue
            for part in parts:
                cv2.polylines(canvas, [(part * 16).astype(np.int32)], False, colour, width, cv2.LINE_AA, 4)
        label = ("-" if stretch.sign < 0 else "") + stretch.lead
        at = points[0] + np.array([4.0, -12.0]) * wide
        cv2.putText(
            canvas, label, (int(at[0]), int(at[1])), cv2.FONT_HERSHEY_SIMPLEX, 0.5 * wide, COLOURS[stretch.lead], wide,
            cv2.LINE_AA,
        )  # fmt: skip
    return Image.fromarray(canvas)
