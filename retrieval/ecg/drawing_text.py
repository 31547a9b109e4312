"""Text on pages: rendered once with a real font, kept, and blended in.

Pillow carries a sans serif for ASCII. Text with other letters is set in DejaVu Sans, which matplotlib (a dependency of
wfdb) carries as a file: only the file is used, matplotlib is not imported. Letters that no font at hand knows become
"?", never empty boxes.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

MAX_CHARACTERS = 400  # of one line; at 2 mm a letter three times the widest page
_MISSING = "\uffff"  # a code point that no font may map: its picture is the font's "missing letter" box

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw_text(
    page: NDArray[np.uint8], text: str, x_px: float, y_px: float, size_px: float, colour: tuple[int, int, int]
) -> None:
    """Write one line into a page, in place; what lies outside the page is cut off.

    Args:
        page: RGB, shape (height, width, 3).
        text: One line; control characters become blanks.
        x_px, y_px: Left end of the base line, in continuous pixels.
        size_px: Font size (em), at least 4 px are drawn.
        colour: Red, green, blue, 0 to 255.
    """
    mask, dx, dy = _mask(text, round(max(4.0, size_px), 2))
    left, top = round(x_px) + dx, round(y_px) + dy
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(page.shape[1], left + mask.shape[1]), min(page.shape[0], top + mask.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    alpha = mask[y0 - top : y1 - top, x0 - left : x1 - left, None]
    area = page[y0:y1, x0:x1].astype(np.float32)
    page[y0:y1, x0:x1] = np.rint(area + (np.asarray(colour, np.float32) - area) * alpha)


@lru_cache(maxsize=512)
def _mask(text: str, size_px: float) -> tuple[NDArray[np.float32], int, int]:
    """Coverage of a line, shape (height, width), 0 to 1, and its offset from the left end of the base line."""
    shown = "".join(c if c.isprintable() else " " for c in text[:MAX_CHARACTERS])
    font = _plain(size_px) if shown.isascii() else _wide(size_px)
    if not shown.isascii():
        shown = "".join(c if c.isascii() or _knows(font, c) else "?" for c in shown)
    left, top, right, bottom = (int(v) for v in font.getbbox(shown, anchor="ls"))
    image = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(image).text((-left, -top), shown, fill=255, font=font, anchor="ls")
    return np.asarray(image, dtype=np.float32) / np.float32(255), left, top


@lru_cache(maxsize=64)
def _plain(size_px: float) -> Font:
    return ImageFont.load_default(size_px)


@lru_cache(maxsize=64)
def _wide(size_px: float) -> Font:
    """DejaVu Sans from matplotlib's files or the system; Pillow's own font where there is neither."""
    found = find_spec("matplotlib")
    places = (
        [str(Path(p) / "mpl-data/fonts/ttf/DejaVuSans.ttf") for p in (found.submodule_search_locations or ())]
        if found
        else []
    )
    for name in (*places, "DejaVuSans.ttf"):
        try:
            return ImageFont.truetype(name, size_px)
        except OSError:
            continue
    return _plain(size_px)


@lru_cache(maxsize=4096)
def _knows(font: Font, letter: str) -> bool:
    return bytes(font.getmask(letter)) != bytes(font.getmask(_MISSING))
