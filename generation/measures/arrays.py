"""Array types of the measuring modules, the rate at which they work, and the moving mean they share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

FS = 500  # Hz, the working rate: that of standard recordings


def smoothed(values: Doubles, width: int, axis: int = -1, mode: str = "reflect") -> Doubles:
    """Moving mean over `width` samples along an axis, centred; beyond the ends as `scipy.ndimage` names it.

    Args:
        values: Any shape.
        width: Samples.
        axis: Along which the mean moves.
        mode: "nearest", "constant", "reflect" ...

    Returns:
        The same shape.
    """
    from scipy.ndimage import uniform_filter1d

    return np.asarray(uniform_filter1d(values, width, axis=axis, mode=mode), dtype=np.float64)
