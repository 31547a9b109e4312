"""Percentiles of bytes by counting them, many times as fast as by sorting."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def byte_percentile(values: NDArray[np.uint8], percent: float) -> float:
    """What `numpy.percentile` says of bytes.

    Args:
        values: Any shape, at least one.
        percent: 0 to 100.

    >>> some = np.array([3, 200, 7, 7, 90], dtype=np.uint8)
    >>> byte_percentile(some, 50), byte_percentile(some, 90)
    (7.0, 156.0)
    """
    upto = np.bincount(values.ravel(), minlength=256).cumsum()
    at = percent / 100.0 * (values.size - 1)
    low, high = np.searchsorted(upto, [int(np.floor(at)), int(np.ceil(at))], side="right").tolist()
    return float(low + (high - low) * (at - np.floor(at)))
