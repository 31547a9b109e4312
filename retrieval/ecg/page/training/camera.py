"""What scanners, copiers, phones and screens make of a flat page; labels and coordinates go the same way."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.augment.geometry import Fold, PhotoGeometry
from ecgkin.retrieval.ecg.augment.photograph import add_moire, add_streaks, draw_background

KINDS = ("screenshot", "scan", "photo", "screen", "copy")
MAP_STEP = 16  # px between exact points of the map

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """How a flat page lies in the picture.

    Attributes:
        geometry: Page pixels to picture pixels, both continuous (the middle of the first pixel is 0.5).
        nodes: Page coordinates of picture points every `MAP_STEP` px, from -8 px on, shape (rows, columns, 2).
        fine: The same for every pixel, shape (height, width, 2), float32, in OpenCV's coordinates.
    """

    geometry: PhotoGeometry
    nodes: NDArray[np.float64]
    fine: NDArray[np.float32]


def place(
    page_size: tuple[int, int], shown: tuple[float, float, float, float], size: tuple[int, int], kind: str,
    rng: np.random.Generator,
) -> View:  # fmt: skip
    """Lay a page into a picture.

    Args:
        page_size: (width, height) of the flat page in px.
        shown: (x0, y0, x1, y1) of the part that the picture is about, in page px.
        size: (width, height) of the picture.
        kind: One of `KINDS`.
        rng: Chance.

    Returns:
        Where each point of the page lies in the picture.
    """
    width, height = size
    x0, y0, x1, y1 = shown
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float64)
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64)
    sides = np.array(size, dtype=np.float64)
    waves = np.zeros((0, 6))
    folds: list[Fold] = []
    depth = 0.0
    if kind in ("photo", "screen"):
        room = float(rng.choice((rng.uniform(-0.02, 0.03), rng.uniform(0.0, 0.15))))
        turns = rng.normal(0.0, 1.5), rng.normal(0.0, 4.0), rng.uniform(-20.0, 20.0)
        angle = float(rng.choice(turns, p=(0.5, 0.35, 0.15)))
        wander = float(rng.choice((0.005, 0.02, 0.05, 0.09), p=(0.35, 0.35, 0.2, 0.1)))
        target = _turned(target, angle, 1.0 - 2.0 * room) + rng.uniform(-wander, wander, (4, 2)) * sides
    elif kind == "screenshot" and rng.random() < 0.12:  # a window with bars around the page
        low, high = rng.uniform(0.0, 0.12, 2), rng.uniform(0.88, 1.0, 2)
        target = target * (high - low) + low * (width, height)
    elif kind in ("scan", "copy"):
        room = float(rng.choice((0.0, 0.0, rng.uniform(-0.01, 0.03))))
        angle = float(rng.choice((0.0, rng.normal(0.0, 0.7), rng.normal(0.0, 2.0)), p=(0.3, 0.5, 0.2)))
        target = _turned(target, angle, 1.0 - 2.0 * room)
    if kind == "photo" and rng.random() < 0.75:
        wide, tall = page_size
        curl = float(np.exp(rng.uniform(np.log(0.0008), np.log(0.012)))) * max(page_size)
        waves = np.array(
            [
                (1.0, 0.25 * rng.normal(), rng.uniform(0.35, 1.2) / wide, rng.uniform(0, 6.3), 0.0, curl),
                (0.25 * rng.normal(), 1.0, rng.uniform(0.3, 0.9) / tall, rng.uniform(0, 6.3), 0.4 * curl, 0.0),
                (1.0, 0.0, rng.uniform(0.4, 1.4) / wide, rng.uniform(0, 6.3), 0.3 * curl, 0.0),
            ]
        )
    if kind in ("photo", "scan") and rng.random() < 0.25:
        for _ in range(int(rng.integers(1, 4))):
            tilt = rng.normal(0.0, 0.05) + (0.0 if rng.random() < 0.6 else np.pi / 2)
            normal = (float(np.cos(tilt)), float(np.sin(tilt)))
            through = np.array([rng.uniform(0.1, 0.9) * page_size[0], rng.uniform(0.1, 0.9) * page_size[1]])
            reach = float(max(page_size) * rng.uniform(0.01, 0.05))
            folds.append(Fold(normal, float(through @ np.array(normal)), reach))
        depth = float(rng.uniform(0.0, 0.003) * max(page_size))
    matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), target.astype(np.float32))
    geometry = PhotoGeometry(np.asarray(matrix, dtype=np.float64), page_size, size, waves, tuple(folds), depth)
    return view_of(geometry)


def view_of(geometry: PhotoGeometry) -> View:
    """The dense map of a geometry."""
    width, height = geometry.photo_size
    columns, rows = -(-width // MAP_STEP) + 2, -(-height // MAP_STEP) + 2
    x = (np.arange(columns) - 0.5) * MAP_STEP
    y = (np.arange(rows) - 0.5) * MAP_STEP
    nodes = geometry.to_page(np.stack(np.meshgrid(x, y), axis=-1))
    big = cv2.resize(nodes.astype(np.float32), (columns * MAP_STEP, rows * MAP_STEP), interpolation=cv2.INTER_LINEAR)
    fine = big[MAP_STEP : MAP_STEP + height, MAP_STEP : MAP_STEP + width] - np.float32(0.5)
    return View(geometry, nodes, np.ascontiguousarray(fine))


def to_picture(view: View, points_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """Picture coordinates of page points, shape (n, 2): the inverse of the map to well under a hundredth of a pixel.

    Args:
        view: Of `place`.
        points_px: Points of the page, (n, 2).

    Returns:
        (n, 2), px of the picture.
    """
    geometry = view.geometry
    page = np.asarray(points_px, dtype=np.float64)
    flat = page
    if len(geometry.waves) or geometry.folds:
        for _ in range(8):  # the bend's slope is a few hundredths: each round gains more than a decimal place
            flat = page - geometry.bend(flat)
    m = geometry.homography
    mapped = np.concatenate([flat, np.ones((len(flat), 1))], axis=1) @ m.T
    return np.asarray(mapped[:, :2] / mapped[:, 2:], dtype=np.float64)


def _turned(points: NDArray[np.float64], angle_deg: float, size: float) -> NDArray[np.float64]:
    angle = np.deg2rad(angle_deg)
    middle = points.mean(axis=0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray((points - middle) @ turn.T * size + middle, dtype=np.float64)


def warp(planes: Picture, view: View, border: int = 0) -> Picture:
    """Carry a picture or planes of shape (height, width[, channels]) into the picture.

    Args:
        planes: uint8 or float, (h, w[, channels]).
        view: Of `place`.
        border: Value outside of the page.

    Returns:
        The planes in the picture.
    """
    one_map: Any = None  # both coordinates are in the first map
    return np.asarray(
        cv2.remap(
            planes, view.fine, one_map, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=[border] * 4
        ),
        dtype=np.uint8,
    )


def lay_on_table(page: Picture, view: View, rng: np.random.Generator) -> tuple[Picture, Picture]:
    """The warped page on a table, and 255 where the page is.

    Args:
        page: RGB, uint8 (h, w, 3).
        view: Of `place`.
        rng: Draws the table.

    Returns:
        Picture, and mask.
    """
    width, height = view.geometry.photo_size
    if rng.random() < 0.25:
        table = np.empty((height, width, 3), dtype=np.uint8)
        kind = int(rng.choice(3, p=(0.4, 0.3, 0.3)))
        table[:] = ((0, 0, 0), (255, 255, 255), tuple(int(v) for v in rng.integers(0, 256, 3)))[kind]
    else:
        table = draw_background((width, height), rng)
    one_map: Any = None
    cv2.remap(page, view.fine, one_map, cv2.INTER_LINEAR, dst=table, borderMode=cv2.BORDER_TRANSPARENT)
    wide, tall = view.geometry.page_size
    x, y = view.fine[..., 0], view.fine[..., 1]
    inside = ((x > -0.5) & (x < wide - 0.5) & (y > -0.5) & (y < tall - 0.5)).astype(np.uint8) * np.uint8(255)
    return table, inside


def expose(
    picture: Picture, kind: str, view: View, rng: np.random.Generator, ink: NDArray[np.uint8] | None = None
) -> Picture:
    """Light, lens, sensor and file; the size stays. `ink` is the coverage of what a copy must not lose.

    Args:
        picture: RGB, uint8 (h, w, 3).
        kind: "clean", "scan", "photo" or "hard".
        view: Of `place`.
        rng: Draws light, blur, noise and file.
        ink: Coverage of the traces, uint8 (h, w).

    Returns:
        RGB, the same shape.
    """
    if kind == "photo":
        picture = _lit(picture, rng, strong=True, folds=view)
    elif kind == "screen":
        picture = add_moire(picture, float(rng.uniform(0.02, 0.15)), rng)
        picture = _lit(picture, rng, strong=False, folds=None)
    elif kind == "scan":
        if rng.random() < 0.6:
            picture = _lit(picture, rng, strong=False, folds=view)
        if rng.random() < 0.15:
            picture = add_streaks(picture, int(rng.integers(1, 6)), rng)
    if kind != "screenshot" or rng.random() < 0.3:
        picture = _toned(picture, rng)
    if kind in ("scan", "copy", "photo") and rng.random() < 0.25:
        picture = _mottled(picture, float(rng.uniform(4, 28)), rng)
    if kind == "copy":
        return _copied(picture, rng, ink)
    native = float(rng.choice((1.0, rng.uniform(0.62, 1.0), rng.uniform(0.38, 0.7)), p=(0.5, 0.32, 0.18)))
    height, width = picture.shape[:2]
    if native < 1.0:
        small = (max(16, round(width * native)), max(16, round(height * native)))
        picture = np.asarray(cv2.resize(picture, small, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    blur = rng.random()
    if (kind in ("photo", "screen") and blur < 0.6) or blur < 0.15:
        sigma = float(rng.uniform(0.35, 1.1) if rng.random() < 0.85 else rng.uniform(1.0, 1.8))
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), dtype=np.uint8)
    if kind == "photo" and rng.random() < 0.08:
        picture = _shaken(picture, rng)
    if kind != "screenshot" and rng.random() < 0.75:
        picture = _noisy(picture, float(rng.uniform(1, 10) if rng.random() < 0.9 else rng.uniform(8, 22)), rng)
    if rng.random() < 0.15:
        picture = _sharpened(picture, float(rng.uniform(0.3, 1.5)))
    if rng.random() < 0.12:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        picture = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
    if rng.random() < 0.65:
        quality = int(rng.uniform(25, 95))
        _, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        picture = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), dtype=np.uint8)
    if native < 1.0:
        how = cv2.INTER_CUBIC if rng.random() < 0.7 else cv2.INTER_LINEAR
        picture = np.asarray(cv2.resize(picture, (width, height), interpolation=how), dtype=np.uint8)
    return picture


def _field(shape: tuple[int, int], cells: int, rng: np.random.Generator) -> NDArray[np.float32]:
    noise = rng.normal(0.0, 1.0, (cells, cells + 2)).astype(np.float32)
    return np.asarray(cv2.resize(noise, shape[::-1], interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def _lit(picture: Picture, rng: np.random.Generator, strong: bool, folds: View | None) -> Picture:
    height, width = picture.shape[:2]
    shape = (height // 4 + 1, width // 4 + 1)
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    light = np.ones(shape, dtype=np.float32)
    power = 1.0 if strong else 0.35
    angle = rng.uniform(0, 6.3)
    slope = 1 + np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y
    light -= np.float32(power * rng.uniform(0.0, 0.3)) * slope
    light *= 1 + np.float32(power * rng.uniform(0.0, 0.12)) * _field(shape, 4, rng)
    if rng.random() < 0.35:  # crumpled
        light *= 1 + np.float32(power * rng.uniform(0.01, 0.08)) * _field(shape, int(rng.integers(8, 24)), rng)
    if rng.random() < 0.35 * power:  # a shadow with an edge
        angle = rng.uniform(0, 6.3)
        away = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y + np.float32(rng.uniform(-0.8, 0.5))
        light *= 1 - np.float32(rng.uniform(0.1, 0.5)) / (
            1 + np.exp(np.clip(-away * np.float32(rng.uniform(4, 60)), -40, 40))
        )
    if rng.random() < 0.12 * power:  # a finger, a hand or a glare spot
        cx, cy = rng.choice((-1.0, 1.0, rng.uniform(-1, 1))), rng.uniform(-1, 1)
        spot = np.exp(-((((x - cx) / rng.uniform(0.1, 0.4)) ** 2 + ((y - cy) / rng.uniform(0.1, 0.4)) ** 2) ** 2))
        light *= 1 + np.float32(rng.uniform(-0.6, 0.6)) * spot.astype(np.float32)
    if folds is not None:
        for fold in folds.geometry.folds:
            nodes = folds.nodes.astype(np.float32)
            t = (nodes[..., 0] * fold.normal[0] + nodes[..., 1] * fold.normal[1] - fold.offset) / fold.width
            t = np.asarray(cv2.resize(t, shape[::-1]), dtype=np.float32)
            light *= 1 + np.float32(rng.uniform(-0.2, 0.2)) * t * np.exp(-t * t)
            light *= 1 + np.float32(rng.uniform(-0.3, 0.15)) * np.exp(-np.square(t * np.float32(rng.uniform(8, 30))))
    casts = ((1, 0.92, 0.78), (1, 0.95, 0.87), (0.93, 0.98, 1.04), (0.96, 0.92, 1), (0.95, 1, 0.93), (1, 0.9, 0.9))
    cast = 1 + rng.uniform(0.0, 1.2) * (np.array(casts[int(rng.integers(len(casts)))]) - 1)
    exposure = rng.uniform(0.5, 1.1) if strong else rng.uniform(0.85, 1.05)
    factor = np.clip(light[..., None] * (cast * exposure).astype(np.float32) * 100, 0, 255).astype(np.uint8)
    large = cv2.resize(factor, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.multiply(picture, large, scale=0.01), dtype=np.uint8)


def _toned(picture: Picture, rng: np.random.Generator) -> Picture:
    """Contrast, black level and gamma."""
    low, high = rng.uniform(0, 60) * (rng.random() < 0.5), rng.uniform(200, 255) if rng.random() < 0.5 else 255.0
    gamma = float(np.exp(rng.normal(0, 0.25)))
    table = low + (high - low) * np.power(np.arange(256) / 255.0, gamma)
    return np.asarray(cv2.LUT(picture, np.clip(table, 0, 255).astype(np.uint8)), dtype=np.uint8)


@lru_cache(maxsize=1)
def _noise() -> NDArray[np.int16]:
    """Grain with a standard deviation of 64, the same in every process, shape (2048, 2048)."""
    return np.rint(64 * np.random.default_rng(77).standard_normal((2048, 2048), dtype=np.float32)).astype(np.int16)


def _noise_at(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.int16]:
    noise = _noise()
    y, x = int(rng.integers(0, 512)), int(rng.integers(0, 256))
    if shape[0] + y <= 2048 and shape[1] + x <= 2048:
        return noise[y : y + shape[0], x : x + shape[1]]
    return np.resize(noise, (shape[0] * shape[1],)).reshape(shape)


def _noisy(picture: Picture, sigma: float, rng: np.random.Generator) -> Picture:
    height, width = picture.shape[:2]
    if rng.random() < 0.5:
        grain = [_noise_at((height, width), rng)] * 3
    else:
        grain = [_noise_at((height, width), rng) for _ in range(3)]
    return _with_grain(picture, cv2.merge(grain), sigma)


def _with_grain(picture: Picture, grain: Any, sigma: float) -> Picture:
    """The picture plus noise whose standard deviation of 64 is scaled to `sigma` grey levels."""
    return np.asarray(cv2.addWeighted(picture, 1.0, grain, sigma / 64.0, 0.0, dtype=cv2.CV_8U), dtype=np.uint8)


def _mottled(picture: Picture, sigma: float, rng: np.random.Generator) -> Picture:
    """Coarse grain, as of halftone copies or rough paper."""
    height, width = picture.shape[:2]
    factor = float(rng.uniform(0.2, 0.7))
    small = _noise_at((max(2, round(height * factor)), max(2, round(width * factor))), rng)
    one = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return _with_grain(picture, cv2.merge([one, one, one]), sigma)


def _sharpened(picture: Picture, amount: float) -> Picture:
    soft = cv2.GaussianBlur(picture, (0, 0), 1.2)
    return np.asarray(cv2.addWeighted(picture, 1 + amount, soft, -amount, 0), dtype=np.uint8)


def _shaken(picture: Picture, rng: np.random.Generator) -> Picture:
    length, angle = rng.uniform(2, 6), rng.uniform(0, np.pi)
    kernel = np.zeros((9, 9), dtype=np.float32)
    for t in np.linspace(-length / 2, length / 2, 21):
        kernel[round(4 + t * np.sin(angle)), round(4 + t * np.cos(angle))] += 1
    return np.asarray(cv2.filter2D(picture, -1, kernel / kernel.sum()), dtype=np.uint8)


def _copied(picture: Picture, rng: np.random.Generator, ink: NDArray[np.uint8] | None) -> Picture:
    """A photocopy or a fax."""
    grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    middle = float(np.median(grey))
    dark = middle - 100.0
    if ink is not None and (ink > 180).any():
        dark = float(np.percentile(grey[ink > 180], 60))
    if dark > middle:  # copied the other way round, so that ink is dark again
        grey, middle, dark = 255 - grey, 255 - middle, 255 - dark
    if rng.random() < 0.6:
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), float(rng.uniform(0.4, 1.0))), dtype=np.uint8)
    if rng.random() < 0.45:  # one bit
        block = 2 * int(rng.integers(10, 40)) + 1
        share = float(rng.uniform(0.2, 0.7))
        if rng.random() < 0.5:
            offset = max(3.0, share * (middle - dark))
            how = cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY
            grey = np.asarray(cv2.adaptiveThreshold(grey, 255, *how, block, offset), dtype=np.uint8)
        else:
            grey = np.where(grey > middle + share * (dark - middle), np.uint8(255), np.uint8(0))
        factor = float(rng.uniform(0.6, 1.0))
        height, width = grey.shape
        small = cv2.resize(grey, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_NEAREST)
        grey = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    else:
        steep = rng.uniform(1.0, 3.0)
        turn = dark + rng.uniform(0.2, 1.0) * (middle - dark)
        table = np.clip((np.arange(256) - turn) * steep + turn, 0, 255).astype(np.uint8)
        grey = np.asarray(cv2.LUT(grey, table), dtype=np.uint8)
    if rng.random() < 0.4:  # specks
        n = int(rng.integers(20, 800))
        rows, columns = rng.integers(0, grey.shape[0], n), rng.integers(0, grey.shape[1], n)
        grey = grey.copy()
        grey[rows, columns] = rng.integers(0, 120)
    picture = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
    if rng.random() < 0.4:
        _, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(30, 90))])
        picture = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), dtype=np.uint8)
    return picture
