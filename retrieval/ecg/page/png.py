"""PNG files of the plain kind that programs write for pages, decoded by OpenCV: a fifth faster than by Pillow.

Only what both decode alike comes this way: 8 bits, grey or RGB, no transparency, not interlaced, whole, with sound
checksums, and without chunks that are compressed themselves or turn the picture. Everything else, and everything that
OpenCV will not decode, is left to Pillow, which also says what is wrong with it.
"""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HARMLESS = {b"pHYs", b"gAMA", b"sRGB", b"cHRM", b"tIME", b"tEXt", b"sBIT"}
_GREY, _RGB = 0, 2
_IN_RGB: int = getattr(cv2, "IMREAD_COLOR_RGB", 0)  # since OpenCV 4.11


def plain_png(raw: bytes, least_px: int, most_px: float) -> NDArray[np.uint8] | None:
    """The pixels of a plain PNG file.

    Args:
        raw: The file.
        least_px: Least width and height.
        most_px: Most pixels.

    Returns:
        RGB, uint8 (h, w, 3); None for any other file, of any other size, or a damaged one.
    """
    size = _plain_size(raw)
    if size is None or min(size) < least_px or size[0] * size[1] > most_px:
        return None
    try:
        found = cv2.imdecode(np.frombuffer(raw, dtype=np.uint8), _IN_RGB or cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    if found is None or found.shape != (size[1], size[0], 3):
        return None
    return np.asarray(found if _IN_RGB else cv2.cvtColor(found, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _plain_size(raw: bytes) -> tuple[int, int] | None:
    """Width and height of a whole and plain file, None of any other."""
    if not raw.startswith(_SIGNATURE):
        return None
    kinds: list[bytes] = []
    at = len(_SIGNATURE)
    view = memoryview(raw)
    while at + 12 <= len(raw):
        length = int.from_bytes(raw[at : at + 4], "big")
        kind, end = raw[at + 4 : at + 8], at + 8 + length
        if end + 4 > len(raw) or zlib.crc32(view[at + 4 : end]) != int.from_bytes(raw[end : end + 4], "big"):
            return None
        kinds.append(kind)
        at = end + 4
    between = [kind for kind in kinds[1:-1] if kind not in _HARMLESS]
    if at != len(raw) or len(kinds) < 3 or kinds[0] != b"IHDR" or kinds[-1] != b"IEND" or set(between) != {b"IDAT"}:
        return None
    if int.from_bytes(raw[8:12], "big") != 13:
        return None
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", raw[16:29])
    return (width, height) if depth == 8 and colour in (_GREY, _RGB) and not interlaced else None
