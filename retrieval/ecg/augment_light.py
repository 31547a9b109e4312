"""Light on a page and what disturbs it: uneven light, shadows, folds, stains, colour casts, tables under the page.

Everything that multiplies brightness is added up in one small field (a quarter of the picture's size) and applied in a
single 8-bit multiplication.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.augment_geometry import PhotoGeometry
from ecgkin.retrieval.ecg.augment_style import AugmentStyle

_FIELD_STEP = 4  # px of the picture per cell of the light field
_UNIT = 100  # 8-bit value of the light field that leaves brightness as it is

# RGB of white paper under lamps as met in photographs of print-outs: warm, beige, cold, lilac, greenish, rose, dusk.
_CASTS = np.array(
    [
        (1.0, 0.92, 0.78),
        (1.0, 0.95, 0.87),
        (0.93, 0.98, 1.04),
        (0.96, 0.92, 1.0),
        (0.95, 1.0, 0.93),
        (1.0, 0.90, 0.90),
        (0.96, 0.97, 1.0),
    ],
    dtype=np.float32,
)
_TABLES = np.array(
    [(120, 85, 55), (165, 130, 95), (45, 70, 100), (150, 185, 165), (40, 40, 42), (205, 205, 200), (90, 110, 95)]
)  # RGB of desks, blankets, scrubs, scanner lids


def draw_background(size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A table: one colour with cloudy and streaky texture; uint8 (height, width, 3) for `size` (width, height)."""
    width, height = size
    colour = _TABLES[int(rng.integers(len(_TABLES)))] * rng.uniform(0.7, 1.15)
    streaky = rng.random() < 0.5
    texture = rng.normal(0.0, 0.06, (24, 2 if streaky else 24)) + rng.normal(0.0, 0.04, (24, 1))
    small = np.clip(colour * (1.0 + texture[..., None]), 0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def light_field(geometry: PhotoGeometry, rng: np.random.Generator, style: AugmentStyle) -> NDArray[np.float32] | None:
    """Brightness factor per colour, shape (height // 4 + 1, width // 4 + 1, 3), float32; None when all is even."""
    width, height = (n // _FIELD_STEP + 1 for n in geometry.photo_size)
    x = np.linspace(-1.0, 1.0, width, dtype=np.float32)[None, :]
    y = np.linspace(-1.0, 1.0, height, dtype=np.float32)[:, None]
    light = np.ones((height, width), dtype=np.float32)
    slope = style.light_slope.draw(rng)
    if slope > 0:
        angle = rng.uniform(0, 2 * np.pi)
        light -= np.float32(slope / 2) * (1 + np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y)
    for strength, cells in ((style.light_spots.draw(rng), 4), (0.5 * style.crumple.draw(rng), 14)):
        if strength > 0:
            spots = rng.normal(0.0, 0.5, (cells, cells + 1)).astype(np.float32)
            light *= 1 + np.float32(strength) * cv2.resize(spots, (width, height), interpolation=cv2.INTER_CUBIC)
    dark = style.shadow.draw(rng)
    if dark > 0:
        angle = rng.uniform(0, 2 * np.pi)
        away = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y + np.float32(rng.uniform(-0.8, 0.3))
        light *= 1 - np.float32(dark) / (1 + np.exp(-away * np.float32(rng.uniform(4, 40))))
    if geometry.folds:
        light *= _fold_light(geometry, height, width, rng)
    exposure = style.exposure.draw(rng) or 1.0
    colour = np.ones(3, dtype=np.float32)
    cast = style.cast.draw(rng)
    if cast > 0:
        tint = _CASTS[int(rng.integers(len(_CASTS)))] + rng.normal(0.0, 0.015, 3).astype(np.float32)
        colour += np.float32(cast) * (tint - 1)
    stains = round(style.stains.draw(rng))
    even = exposure == 1.0 and cast == 0 and stains == 0 and bool((light == 1).all())
    if even:
        return None
    field = light[..., None] * (colour * np.float32(exposure))
    for _ in range(stains):
        _stain(field, rng)
    return np.asarray(field, dtype=np.float32)


def _fold_light(geometry: PhotoGeometry, height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Each fold: one flank light, the other dark, and a thin line along it; shape (height, width)."""
    back = np.linalg.inv(geometry.homography)
    corners = np.array([[0.0, 0.0], [width, 0.0], [0.0, height]]) * _FIELD_STEP
    flat = np.c_[corners, np.ones(3)] @ back.T
    flat = flat[:, :2] / flat[:, 2:]  # perspective is weak on the scale of a fold: three points give the affine part
    rows, columns = (np.arange(n, dtype=np.float32) / n for n in (height, width))
    result = np.ones((height, width), dtype=np.float32)
    for fold in geometry.folds:
        normal = np.array(fold.normal)
        start, right, down = flat @ normal - fold.offset
        t = (start + (right - start) * columns[None, :] + (down - start) * rows[:, None]).astype(np.float32)
        wide = t / np.float32(1.5 * fold.width)
        flank = wide * np.exp(-wide * wide)
        thin = np.exp(-np.square(t / np.float32(0.0015 * max(geometry.page_size))))
        result *= 1 + np.float32(rng.uniform(-0.16, 0.16)) * flank + np.float32(rng.uniform(-0.15, 0.08)) * thin
    return result


def _stain(field: NDArray[np.float32], rng: np.random.Generator) -> None:
    """A cup's ring with a faint inside, brown, multiplied into the field in place."""
    height, width = field.shape[:2]
    cx, cy = rng.uniform(0, width), rng.uniform(0, height)
    radius = rng.uniform(0.04, 0.12) * max(width, height)
    reach = radius * 1.4
    x0, x1 = max(0, int(cx - reach)), min(width, int(cx + reach) + 1)
    y0, y1 = max(0, int(cy - reach)), min(height, int(cy + reach) + 1)
    x = np.arange(x0, x1, dtype=np.float32)[None, :] - np.float32(cx)
    y = np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(cy)
    angle = np.arctan2(y, x)
    ragged = 1 + 0.03 * np.sin(3 * angle + rng.uniform(0, 6)) + 0.02 * np.sin(7 * angle + rng.uniform(0, 6))
    t = np.sqrt(x * x + y * y) / (np.float32(radius) * ragged)
    ring = np.exp(-np.square((t - 1) / 0.05)) * (0.7 + 0.3 * np.sin(angle + rng.uniform(0, 6)))
    inside = 0.25 / (1 + np.exp((t - 1) * 30))
    depth = (rng.uniform(0.3, 0.9) * (ring + inside)).astype(np.float32)
    field[y0:y1, x0:x1] *= 1 - depth[..., None] * np.array([0.20, 0.35, 0.55], dtype=np.float32)


def apply_light(picture: NDArray[np.uint8], field: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Picture times field, rounded and cut off at 255; same shape as the picture."""
    height, width = picture.shape[:2]
    small = np.clip(np.rint(field * _UNIT), 0, 255).astype(np.uint8)
    factor = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.multiply(picture, factor, scale=1.0 / _UNIT), dtype=np.uint8)


def fade_table(fade: float) -> NDArray[np.uint8]:
    """Grey-level table, shape (256,), that takes `fade` (0 to 1) of the contrast from ink and leaves white as it is."""
    return np.asarray(np.rint(255 - (1 - fade) * (255 - np.arange(256))), dtype=np.uint8)


def add_moire(picture: NDArray[np.uint8], depth: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Bands of interference as of a photographed screen: a fine and a wide pattern, each colour a little apart."""
    height, width = picture.shape[:2]
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    total = np.zeros((height, width), dtype=np.float32)
    for period, share in ((rng.uniform(2.5, 5.0), 0.4), (rng.uniform(15.0, 60.0), 0.6)):
        angle = rng.uniform(0, np.pi)
        kx, ky = 2 * np.pi / period * np.cos(angle), 2 * np.pi / period * np.sin(angle)
        # sin(a + b) as two outer products: no sine per pixel.
        total += share * (np.outer(np.sin(ky * y), np.cos(kx * x)) + np.outer(np.cos(ky * y), np.sin(kx * x)))
    shifted = [np.roll(total, int(s), axis=1) for s in (0, rng.integers(1, 4), -rng.integers(1, 4))]
    factor = np.clip((1 + depth * np.stack(shifted, axis=-1)) * _UNIT, 0, 255).astype(np.uint8)
    return np.asarray(cv2.multiply(picture, factor, scale=1.0 / _UNIT), dtype=np.uint8)


def add_streaks(picture: NDArray[np.uint8], count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Straight lines of one column each, lighter or darker, as dust on a scanner's line leaves; a new picture."""
    streaked = picture.copy()
    for _ in range(count):
        column = int(rng.integers(0, picture.shape[1]))
        wide = int(rng.integers(1, 3))
        factor = np.float32(rng.choice((rng.uniform(0.5, 0.92), rng.uniform(1.03, 1.15))))
        part = streaked[:, column : column + wide]
        part[...] = np.clip(part * factor, 0, 255).astype(np.uint8)
    return streaked
