"""Letters for drawn pages: fonts that are installed on this machine, OpenCV's stroke fonts and a dot-matrix look."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_SKIP = (
    "awesome", "symbol", "emoji", "dingbat", "math", "d050000l", "standardsymbols", "ornament", "signs", "music",
    "hieroglyph", "cuneiform", "noto", "isabella", "junicode",
)  # fmt: skip
_HERSHEY = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_PLAIN, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX,
            cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_COMPLEX_SMALL)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lettering:
    """One way to write.

    Attributes:
        font: File of a scalable font, or "hershey:N" for one of OpenCV's stroke fonts.
        matrix: Letters as a printer with few needles writes them: drawn small, then enlarged without smoothing.
        bold: Strokes thickened by about a tenth of the letter height.
    """

    font: str
    matrix: bool = False
    bold: bool = False


@lru_cache(maxsize=1)
def fonts() -> tuple[str, ...]:
    """Files of the installed scalable Latin fonts; OpenCV's stroke fonts where there are none."""
    try:
        listed = subprocess.run(
            ["fc-list", ":lang=en", "file"], capture_output=True, text=True, check=True, timeout=60
        ).stdout
    except (OSError, subprocess.SubprocessError):
        listed = ""
    files = sorted({line.split(":")[0].strip() for line in listed.splitlines()})
    kept = [f for f in files if f.endswith((".ttf", ".otf", ".t1")) and not any(s in f.lower() for s in _SKIP)]
    return tuple(f for f in kept if _writes(f)) or tuple(f"hershey:{n}" for n in _HERSHEY)


def _writes(path: str) -> bool:
    """Whether the font has distinct, non-empty pictures of the letters that lead names need."""
    try:
        font = ImageFont.truetype(path, 24)
        shapes = {bytes(font.getmask(letter)) for letter in "IVaRLF123456"}
        wide = font.getlength("aVR")
    except (OSError, ValueError):
        return False
    return len(shapes) == 12 and 12 < wide < 120


def draw_lettering(rng: np.random.Generator) -> Lettering:
    """A random way to write: plain sans serif and Times often, everything else now and then."""
    known = fonts()
    usual = [f for f in known if any(s in f.lower() for s in ("liberation", "arimo", "tinos", "cousine", "nimbus"))]
    kind = rng.random()
    if kind < 0.14:
        name = f"hershey:{_HERSHEY[int(rng.integers(len(_HERSHEY)))]}"
    elif usual and kind < 0.6:
        name = usual[int(rng.integers(len(usual)))]
    else:
        name = known[int(rng.integers(len(known)))]
    return Lettering(name, matrix=bool(rng.random() < 0.08), bold=bool(rng.random() < 0.15))


@lru_cache(maxsize=256)
def _font(path: str, size_px: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size_px)


@lru_cache(maxsize=4096)
def text_mask(text: str, size_px: int, lettering: Lettering) -> NDArray[np.uint8]:
    """Coverage of one line of text, cut to its ink, uint8, shape (height, width).

    Args:
        text: One line.
        size_px: Font size; capitals are about seven tenths of it.
        lettering: How to write.

    Returns:
        uint8 (height, width).
    """
    size = max(5, size_px)
    if lettering.matrix and size > 10:
        small = text_mask(text, 10, Lettering(lettering.font))
        small = np.where(small > 90, np.uint8(255), np.uint8(0))
        factor = size / 10.0
        shape = (max(1, round(small.shape[1] * factor)), max(1, round(small.shape[0] * factor)))
        mask = np.asarray(cv2.resize(small, shape, interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
    elif lettering.font.startswith("hershey:"):
        face = int(lettering.font.split(":")[1])
        scale = size / 30.0
        thick = max(1, round(size / (9 if lettering.bold else 18)))
        (width, height), base = cv2.getTextSize(text, face, scale, thick)
        mask = np.zeros((height + base + 2 * thick + 2, width + 2 * thick + 2), dtype=np.uint8)
        cv2.putText(mask, text, (thick, height + thick), face, scale, 255, thick, cv2.LINE_AA)
    else:
        font = _font(lettering.font, size)
        left, top, right, bottom = (int(v) for v in font.getbbox(text, anchor="ls"))
        image = Image.new("L", (max(1, right - left) + 4, max(1, bottom - top) + 4))
        ImageDraw.Draw(image).text((2 - left, 2 - top), text, fill=255, font=font, anchor="ls")
        mask = np.array(image)
        if lettering.bold:
            side = max(2, round(size / 12))
            mask = np.asarray(cv2.dilate(mask, np.ones((1, side), np.uint8)), dtype=np.uint8)
    rows, columns = np.flatnonzero(mask.max(axis=1) > 20), np.flatnonzero(mask.max(axis=0) > 20)
    if not len(rows) or not len(columns):
        return np.zeros((1, 1), dtype=np.uint8)
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def paste(plane: NDArray[np.uint8], mask: NDArray[np.uint8], x: float, y: float) -> tuple[int, int, int, int]:
    """Write a mask into a plane by maximum, its upper left corner at (x, y); returns the box (x0, y0, x1, y1).

    Args:
        plane: uint8 (h, w); changed.
        mask: uint8, cut off where it reaches over the plane.
        x: Of its left edge.
        y: Of its upper edge.

    Returns:
        The box, px.
    """
    left, top = round(x), round(y)
    height, width = mask.shape
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(plane.shape[1], left + width), min(plane.shape[0], top + height)
    if x0 < x1 and y0 < y1:
        part = plane[y0:y1, x0:x1]
        np.maximum(part, mask[y0 - top : y1 - top, x0 - left : x1 - left], out=part)
    return left, top, left + width, top + height
