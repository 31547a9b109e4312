"""Light curves on a dark ground (monitors, dark modes of viewers), turned into dark ones on paper."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

ByteImage = NDArray[np.uint8]

_DARK, _BRIGHT = 90, 160  # of 255
# A sheet of paper on a dark table is bright in more of the picture than curves and letters are.
_MOST_BRIGHT = 0.12


def is_dark(rgb: ByteImage) -> bool:
    """Whether a picture is drawn in light lines on a dark ground.

    Args:
        rgb: uint8 (h, w, 3).

    >>> page = np.full((100, 100, 3), 20, np.uint8)
    >>> page[50] = 230
    >>> is_dark(page), is_dark(255 - page)
    (True, False)
    """
    small = rgb[:: max(1, rgb.shape[0] // 500), :: max(1, rgb.shape[1] // 500)]
    grey = cv2.cvtColor(np.ascontiguousarray(small), cv2.COLOR_RGB2GRAY)
    return bool(np.median(grey) < _DARK and (grey > _BRIGHT).mean() < _MOST_BRIGHT)


def on_paper(rgb: ByteImage) -> ByteImage:
    """The negative of a picture: each colour stays as far from the ground as it was, dark instead of light."""
    return np.asarray(cv2.bitwise_not(rgb), dtype=np.uint8)
