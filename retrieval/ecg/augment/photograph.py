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

from ecgkin.retrieval.ecg.augment.geometry import Fold, PhotoGeometry, draw_geometry, warp_page
from ecgkin.retrieval.ecg.augment.style import STYLES, AugmentStyle, Damage, style_named
from ecgkin.retrieval.errors import ImageError

__all__ = ["STYLES", "AugmentStyle", "Damage", "Fold", "PhotoGeometry", "photograph", "photograph_with_geometry"]


_PENS = ((25, 35, 130), (20, 20, 30), (40, 40, 45), (150, 25, 30), (20, 90, 50))  # blue, black, pencil, red, green
_STAMP_INKS = ((120, 30, 110), (30, 50, 150), (170, 30, 40))
_STAMP_WORDS = ("SEEN", "GESEHEN", "COPY", "KOPIE", "RECEIVED", "EINGEGANGEN", "CARDIOLOGY", "AMBULANZ", "FILED")
_SHIFT = 3  # fractional bits of OpenCV's drawing coordinates


def mark_page(page: NDArray[np.uint8], rng: np.random.Generator, style: AugmentStyle) -> NDArray[np.uint8]:
    """A copy of the page (uint8, (height, width, 3)) with marks on it; the page itself where there are none.

    Args:
        page: uint8 (height, width, 3); not modified.
        rng: Decides which marks, and where.
        style: How many marks of each kind there may be.

    Returns:
        uint8, shape of the page; the page itself where there are no marks.
    """
    counts = [round(d.draw(rng)) for d in (style.handwriting, style.stamps, style.pen_marks, style.bars)]
    if not any(counts):
        return page
    marked = page.copy()
    for draw, count in zip((_word, _stamp, _pen_mark, _bar), counts, strict=True):
        for _ in range(count):
            draw(marked, rng)
    return marked


def _stroke(page: NDArray[np.uint8], points: NDArray[np.float64], colour: tuple[int, ...], thickness: int) -> None:
    fixed = np.rint(points * (1 << _SHIFT)).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(page, [fixed], False, colour, thickness, cv2.LINE_AA, _SHIFT)


def _pen(rng: np.random.Generator) -> tuple[int, ...]:
    return _PENS[int(rng.integers(len(_PENS)))]


def _word(page: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """A joined-up scribble: loops of changing height strung along a slightly rising line, mostly at the page's edge."""
    height, width = page.shape[:2]
    size = width * rng.uniform(0.005, 0.013)
    letters = int(rng.integers(3, 10))
    t = np.linspace(0.0, letters, letters * 10)
    tall = np.repeat(rng.choice((0.5, 0.6, 0.7, 1.5, 1.8), letters), 10)
    loop = np.repeat(rng.uniform(0.1, 0.5, letters), 10)
    x = 1.1 * t + loop * np.sin(2 * np.pi * t) + 0.3 * np.cos(1.3 * t)
    y = -tall * (0.5 - 0.5 * np.cos(2 * np.pi * t)) + np.repeat(rng.choice((0.0, 0.0, 0.0, 0.6), letters), 10) * np.sin(
        2 * np.pi * t
    )
    x = x - 0.3 * y  # written forward
    edge = rng.random() < 0.75
    left = rng.uniform(0.02, 0.85) * width
    top = (rng.choice((rng.uniform(0.03, 0.14), rng.uniform(0.9, 0.97))) if edge else rng.uniform(0.1, 0.9)) * height
    rise = rng.normal(0.0, 0.06)
    points = np.stack([left + size * x, top + size * (y + rise * x)], axis=1)
    _stroke(page, points, _pen(rng), max(1, round(width * rng.uniform(0.0008, 0.002))))


def _stamp(page: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """A framed word, turned a little, in thin ink."""
    height, width = page.shape[:2]
    w, h = round(width * rng.uniform(0.08, 0.16)), round(width * rng.uniform(0.03, 0.05))
    reach = w + 4
    cx, cy = (int(v) for v in (rng.uniform(0.1, 0.9) * width, rng.choice((0.08, 0.9, rng.uniform(0.1, 0.9))) * height))
    mask = np.zeros((2 * reach, 2 * reach), dtype=np.uint8)
    line = max(1, w // 60)
    corner = (reach - w // 2, reach - h // 2), (reach + w // 2, reach + h // 2)
    cv2.rectangle(mask, corner[0], corner[1], 255, line, cv2.LINE_AA)
    word = _STAMP_WORDS[int(rng.integers(len(_STAMP_WORDS)))]
    (tw, th), _ = cv2.getTextSize(word, cv2.FONT_HERSHEY_DUPLEX, 1.0, 1)
    font = min(0.85 * w / tw, 0.5 * h / th)
    origin = (round(reach - font * tw / 2), round(reach + font * th / 2))
    cv2.putText(mask, word, origin, cv2.FONT_HERSHEY_DUPLEX, font, 255, line, cv2.LINE_AA)
    turn = cv2.getRotationMatrix2D((reach, reach), rng.uniform(-25, 25), 1.0)
    mask = np.asarray(cv2.warpAffine(mask, turn, (2 * reach, 2 * reach)), dtype=np.uint8)
    y0, y1, x0, x1 = max(0, cy - reach), min(height, cy + reach), max(0, cx - reach), min(width, cx + reach)
    if y0 >= y1 or x0 >= x1:
        return
    part = mask[y0 - cy + reach : y1 - cy + reach, x0 - cx + reach : x1 - cx + reach]
    alpha = part[..., None].astype(np.float32) * np.float32(rng.uniform(0.35, 0.85) / 255.0)
    ink = np.array(_STAMP_INKS[int(rng.integers(len(_STAMP_INKS)))], dtype=np.float32)
    region = page[y0:y1, x0:x1]
    region[...] = np.rint(region * (1 - alpha) + ink * alpha).astype(np.uint8)


def _pen_mark(page: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """A ring, an arrow, an underline or a stroke of a highlighter, anywhere."""
    height, width = page.shape[:2]
    x, y = rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height
    size = width * rng.uniform(0.015, 0.06)
    thickness = max(1, round(width * rng.uniform(0.001, 0.0022)))
    kind = int(rng.integers(4))
    if kind == 0:
        t = np.linspace(0.0, 2 * np.pi * rng.uniform(0.9, 1.15), 50) + rng.uniform(0, 6)
        radius = size * (1 + 0.08 * np.sin(2 * t + rng.uniform(0, 6)))
        _stroke(page, np.stack([x + radius * np.cos(t), y + 0.7 * radius * np.sin(t)], axis=1), _pen(rng), thickness)
    elif kind == 1:
        angle = rng.uniform(0, 2 * np.pi)
        tip = (round(x + size * np.cos(angle)), round(y + size * np.sin(angle)))
        cv2.arrowedLine(page, (round(x), round(y)), tip, _pen(rng), thickness, cv2.LINE_AA, tipLength=0.25)
    elif kind == 2:
        t = np.linspace(0.0, 1.0, 20)
        wavy = 0.03 * size * np.sin(9 * t + rng.uniform(0, 6))
        _stroke(page, np.stack([x + 2 * size * t, y + wavy], axis=1), _pen(rng), thickness)
    else:
        y0, y1 = round(max(0.0, y)), round(min(height, y + 0.25 * size + 2))
        x0, x1 = round(x), round(min(width, x + 3 * size))
        tint = np.array(((1.0, 0.95, 0.35), (0.6, 1.0, 0.6), (1.0, 0.65, 0.85))[int(rng.integers(3))])
        page[y0:y1, x0:x1] = np.rint(page[y0:y1, x0:x1] * tint).astype(np.uint8)


def _bar(page: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """A black bar at the upper edge, where names stand."""
    height, width = page.shape[:2]
    x0, y0 = round(rng.uniform(0.0, 0.8) * width), round(rng.uniform(0.0, 0.06) * height)
    x1, y1 = x0 + round(rng.uniform(0.05, 0.2) * width), y0 + round(rng.uniform(0.01, 0.03) * height)
    page[y0:y1, x0:x1] = rng.integers(0, 30)


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
    """A table: one colour with cloudy and streaky texture; uint8 (height, width, 3) for `size` (width, height).

    Args:
        size: (width, height) in px.
        rng: Decides colour and texture.

    Returns:
        uint8 (height, width, 3).
    """
    width, height = size
    colour = _TABLES[int(rng.integers(len(_TABLES)))] * rng.uniform(0.7, 1.15)
    streaky = rng.random() < 0.5
    texture = rng.normal(0.0, 0.06, (24, 2 if streaky else 24)) + rng.normal(0.0, 0.04, (24, 1))
    small = np.clip(colour * (1.0 + texture[..., None]), 0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def light_field(geometry: PhotoGeometry, rng: np.random.Generator, style: AugmentStyle) -> NDArray[np.float32] | None:
    """Brightness factor per colour, shape (height // 4 + 1, width // 4 + 1, 3), float32; None when all is even.

    Args:
        geometry: Where the page lies; shadows of curls and folds follow it.
        rng: Decides shade, stains and colour casts.
        style: How strong they may be.

    Returns:
        Brightness factors at a quarter of the resolution, float32 (height // 4 + 1, width // 4 + 1, 3); None when
        all is even.
    """
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
    """Picture times field, rounded and cut off at 255; same shape as the picture.

    Args:
        picture: uint8 (height, width, 3).
        field: Brightness factors of `light_field`.

    Returns:
        uint8, shape of the picture, cut off at 255.
    """
    height, width = picture.shape[:2]
    small = np.clip(np.rint(field * _UNIT), 0, 255).astype(np.uint8)
    factor = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.multiply(picture, factor, scale=1.0 / _UNIT), dtype=np.uint8)


def fade_table(fade: float) -> NDArray[np.uint8]:
    """Grey-level table, shape (256,), that takes `fade` (0 to 1) of the contrast from ink and leaves white as it is."""
    return np.asarray(np.rint(255 - (1 - fade) * (255 - np.arange(256))), dtype=np.uint8)


def add_moire(picture: NDArray[np.uint8], depth: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Bands of interference as of a photographed screen: a fine and a wide pattern, each colour a little apart.

    Args:
        picture: uint8 (height, width, 3).
        depth: Share of the brightness that the bands take or add, 0 to 1.
        rng: Decides their directions and widths.

    Returns:
        uint8, shape of the picture.
    """
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
    """Straight lines of one column each, lighter or darker, as dust on a scanner's line leaves; a new picture.

    Args:
        picture: uint8 (height, width, 3).
        count: How many lines.
        rng: Decides where and how dark.

    Returns:
        A new picture, uint8, of the same shape.
    """
    streaked = picture.copy()
    for _ in range(count):
        column = int(rng.integers(0, picture.shape[1]))
        wide = int(rng.integers(1, 3))
        factor = np.float32(rng.choice((rng.uniform(0.5, 0.92), rng.uniform(1.03, 1.15))))
        part = streaked[:, column : column + wide]
        part[...] = np.clip(part * factor, 0, 255).astype(np.uint8)
    return streaked


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
    """Like `photograph`, and where each point of the page went.

    Args:
        page_rgb: uint8 (height, width, 3), RGB.
        rng: Decides everything that is random.
        style: An `AugmentStyle` or the name of a preset.

    Returns:
        The picture, uint8 (height, width, 3), and where each point of the page went.
    """
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
