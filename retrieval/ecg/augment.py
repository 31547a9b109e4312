"""What a phone or a scanner does to a page: `photograph` turns a drawn page into a picture somebody took of it.

The order is that of nature: people write on the page, it is folded and laid on a table, light falls on it, a lens and a
sensor see it, a file is written. One warp, one multiplication by a light field and one noise tile keep it fast enough
to be drawn on the fly in training.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.augment_geometry import Fold, PhotoGeometry, draw_geometry, warp_page
from ecgkin.retrieval.ecg.augment_light import (
    add_moire,
    add_streaks,
    apply_light,
    draw_background,
    fade_table,
    light_field,
)
from ecgkin.retrieval.ecg.augment_marks import mark_page
from ecgkin.retrieval.ecg.augment_style import STYLES, AugmentStyle, Damage, style_named
from ecgkin.retrieval.errors import ImageError

__all__ = [
    "STYLES",
    "AugmentStyle",
    "Damage",
    "Fold",
    "PhotoGeometry",
    "photograph",
    "photograph_with_geometry",
]

_TILE_SIDE = 1536  # px; larger pictures repeat the tile
_TILE_SIGMA = 24.0  # grey levels of the stored noise, scaled down when it is used


def photograph(
    page_rgb: NDArray[np.uint8], rng: np.random.Generator, style: AugmentStyle | str = "photo"
) -> NDArray[np.uint8]:
    """A picture of the page as a phone or a scanner would bring it.

    Args:
        page_rgb: Page, uint8, shape (height, width, 3), RGB. Not modified.
        rng: The only source of chance: the same state gives the same picture.
        style: An `AugmentStyle`, or the name of a preset: "clean", "scan", "photo", "hard".

    Returns:
        uint8, shape (height', width', 3), RGB; the size is the camera's, not the page's. "clean" gives an equal copy.

    Raises:
        ImageError: The page is not uint8 of shape (height, width, 3), or under 16 pixels on a side.
        QueryError: There is no preset of that name.
    """
    return photograph_with_geometry(page_rgb, rng, style)[0]


def photograph_with_geometry(
    page_rgb: NDArray[np.uint8], rng: np.random.Generator, style: AugmentStyle | str = "photo"
) -> tuple[NDArray[np.uint8], PhotoGeometry]:
    """Like `photograph`, and where each point of the page went."""
    chosen = style_named(style)
    if page_rgb.dtype != np.uint8 or page_rgb.ndim != 3 or page_rgb.shape[2] != 3 or min(page_rgb.shape[:2]) < 16:
        raise ImageError(
            f"page is {page_rgb.dtype} of shape {page_rgb.shape} (expected uint8 (height, width, 3), 16 px or more)",
            hint="convert it with PIL: np.asarray(image.convert('RGB'))",
        )
    height, width = page_rgb.shape[:2]
    page = mark_page(page_rgb, rng, chosen)
    fade = chosen.fade.draw(rng)
    geometry = draw_geometry((width, height), rng, chosen)
    flat = np.allclose(geometry.homography, np.eye(3), atol=1e-9) and not len(geometry.waves) and not geometry.folds
    if flat and geometry.photo_size == (width, height):
        picture = page.copy()
    else:
        picture = warp_page(page, geometry, draw_background(geometry.photo_size, rng))
    if fade > 0:
        picture = np.asarray(cv2.LUT(picture, fade_table(fade)), dtype=np.uint8)
    field = light_field(geometry, rng, chosen)
    if field is not None:
        picture = apply_light(picture, field)
    return _camera(picture, rng, chosen), geometry


def _camera(picture: NDArray[np.uint8], rng: np.random.Generator, style: AugmentStyle) -> NDArray[np.uint8]:
    """Screen, lens, sensor and file."""
    moire, streaks = style.moire.draw(rng), round(style.streaks.draw(rng))
    if moire > 0:
        picture = add_moire(picture, moire, rng)
    defocus, motion = style.defocus.draw(rng), style.motion.draw(rng)
    if defocus > 0:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), defocus), dtype=np.uint8)
    if motion > 1:
        picture = np.asarray(cv2.filter2D(picture, -1, _motion_kernel(motion, rng.uniform(0, np.pi))), dtype=np.uint8)
    noise = style.noise.draw(rng)
    if noise > 0:
        picture = _add_noise(picture, noise, rng)
    if streaks:
        picture = add_streaks(picture, streaks, rng)
    grey, bilevel, quality = style.grey.draw(rng), style.bilevel.draw(rng), round(style.jpeg.draw(rng))
    if grey > 0 or bilevel > 0:
        single = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        if bilevel > 0:
            block = max(picture.shape[:2]) // 40 * 2 + 1
            mean, binary = cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY
            single = cv2.adaptiveThreshold(single, 255, mean, binary, max(3, block), bilevel)
        picture = np.asarray(cv2.cvtColor(single, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
    if quality > 0:
        _, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        # Coded and decoded as it stands: JPEG would treat colours a little otherwise in BGR order, which is no matter.
        picture = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), dtype=np.uint8)
    return picture


def _motion_kernel(length: float, angle: float) -> NDArray[np.float32]:
    """A straight anti-aliased stroke of `length` px as a filter with sum 1."""
    side = int(np.ceil(length)) // 2 * 2 + 3
    kernel = np.zeros((side, side), dtype=np.uint8)
    middle, half = side / 2 - 0.5, length / 2
    ends = [tuple(round((middle + s * half * v) * 16) for v in (np.cos(angle), np.sin(angle))) for s in (-1.0, 1.0)]
    cv2.line(kernel, ends[0], ends[1], 255, 1, cv2.LINE_AA, 4)
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


@lru_cache(maxsize=1)
def _noise_tile() -> NDArray[np.uint8]:
    """Sensor noise about 128, the same in every process: grain of brightness with a weaker one of colour."""
    rng = np.random.default_rng(20230)
    shape = (_TILE_SIDE, _TILE_SIDE)
    grain = rng.standard_normal(shape, dtype=np.float32)
    soft = np.asarray(cv2.GaussianBlur(rng.standard_normal((*shape, 3), dtype=np.float32), (0, 0), 1.0))
    mixed = 0.8 * grain[..., None] + 0.6 * soft / soft.std()
    tile = np.asarray(np.clip(np.rint(128 + _TILE_SIGMA * mixed), 0, 255), dtype=np.uint8)
    tile.setflags(write=False)
    return tile


def _add_noise(picture: NDArray[np.uint8], sigma: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    tile = _noise_tile()
    if max(height, width) > _TILE_SIDE:
        tile = np.tile(tile, (height // _TILE_SIDE + 1, width // _TILE_SIDE + 1, 1))
    row = int(rng.integers(0, tile.shape[0] - height + 1))
    column = int(rng.integers(0, tile.shape[1] - width + 1))
    tile = tile[row : row + height, column : column + width]
    share = sigma / _TILE_SIGMA
    return np.asarray(cv2.addWeighted(picture, 1.0, tile, share, -128.0 * share), dtype=np.uint8)
