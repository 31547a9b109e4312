"""What the page reader tells apart, and the size at which it looks at a page."""

from __future__ import annotations

from ecgkin.retrieval.ecg.leads import LEADS as TWELVE

CLASSES: tuple[str, ...] = ("paper", "grid", "trace", "text", "pulse", "stroke", "outside")
LEADS: tuple[str, ...] = (*TWELVE, "-aVR", "V3R", "V4R", "V7", "V8", "V9")

_AREA = 1_400_000  # px of a working page
_LONGEST = 1664  # px of its longer side: wide pages gain width
_ENLARGED = 2.0  # no picture is enlarged beyond this
_STEP = 32  # both sides are multiples, so that five halvings leave no rest


def working_size(height: int, width: int, *, may_enlarge: bool = False) -> tuple[int, int]:
    """(width, height) at which the network looks at a picture: about 1.4 million pixels, multiples of 32.

    Args:
        height, width: Of the picture in pixels.
        may_enlarge: Without the bound on enlargement.

    Returns:
        (width, height), px.

    >>> working_size(1700, 2200), working_size(612, 1200)
    ((1344, 1056), (1664, 832))
    """
    factor = min((_AREA / (height * width)) ** 0.5, _LONGEST / max(height, width))
    if not may_enlarge:
        factor = min(factor, _ENLARGED)
    return (
        max(_STEP, round(width * factor / _STEP) * _STEP),
        max(_STEP, round(height * factor / _STEP) * _STEP),
    )
