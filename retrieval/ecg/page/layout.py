"""Which layout a page with so many rows of traces has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.leads import LEADS

ByteImage = NDArray[np.uint8]
FloatArray = NDArray[np.float64]

_BY_ROWS = {3: "3x4", 4: "3x4+1R", 12: "12x1"}


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
