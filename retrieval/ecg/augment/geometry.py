"""Where a page lands in a picture: perspective, turn, curl and folds as one map, and that map applied to pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.augment.style import AugmentStyle

_MAP_STEP = 16  # px between exact points of the map; between them it is bilinear (error < 0.05 px at 1100 x 850)


@dataclass(frozen=True, slots=True)
class Fold:
    """A line on the page across which the paper is bent: n . p = offset, in page pixels."""

    normal: tuple[float, float]
    offset: float
    width: float


@dataclass(frozen=True, slots=True, eq=False)
class PhotoGeometry:
    """The map from page pixels to picture pixels.

    A page point is first shifted by the bend (curl, waves, folds), then projected by the homography.

    Attributes:
        homography: Page pixels to picture pixels without the bend, shape (3, 3), float64.
        page_size, photo_size: (width, height) in pixels.
        waves: Rows (direction x, direction y, cycles per page pixel, phase, shift x, shift y) of the bend's sine waves.
        folds: Lines along which the page was folded, with `fold_depth` pixels of shift each.
    """

    homography: NDArray[np.float64]
    page_size: tuple[int, int]
    photo_size: tuple[int, int]
    waves: NDArray[np.float64]
    folds: tuple[Fold, ...]
    fold_depth: float

    def bend(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shift in page pixels that takes flat coordinates to those of the drawn page, shapes (..., 2)."""
        shift = np.zeros_like(points)
        for kx, ky, cycles, phase, sx, sy in self.waves:
            along = kx * points[..., 0] + ky * points[..., 1]
            value = np.sin(2.0 * np.pi * cycles * along + phase)
            shift[..., 0] += sx * value
            shift[..., 1] += sy * value
        for fold in self.folds:
            nx, ny = fold.normal
            t = (nx * points[..., 0] + ny * points[..., 1] - fold.offset) / fold.width
            value = self.fold_depth * t * np.exp(-np.abs(t))
            shift[..., 0] += nx * value
            shift[..., 1] += ny * value
        return shift

    def to_photo(self, points_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """Picture coordinates of page points, both in pixels, shape (n, 2), x before y."""
        page: NDArray[np.float64] = np.asarray(points_px, dtype=np.float64)
        flat: NDArray[np.float64] = page.copy()
        for _ in range(30):  # the bend changes slowly (slope well below 1), so this converges
            flat = np.asarray(page - self.bend(flat), dtype=np.float64)
        return _project(self.homography, np.asarray(flat, dtype=np.float64))

    def to_page(self, points_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """Page coordinates of picture points, both in pixels, shape (n, 2), x before y."""
        inverse = np.asarray(np.linalg.inv(self.homography), dtype=np.float64)
        flat = _project(inverse, np.asarray(points_px, dtype=np.float64))
        return np.asarray(flat + self.bend(flat), dtype=np.float64)


def _project(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    w = matrix[2, 0] * points[..., 0] + matrix[2, 1] * points[..., 1] + matrix[2, 2]
    x = (matrix[0, 0] * points[..., 0] + matrix[0, 1] * points[..., 1] + matrix[0, 2]) / w
    y = (matrix[1, 0] * points[..., 0] + matrix[1, 1] * points[..., 1] + matrix[1, 2]) / w
    return np.stack([x, y], axis=-1)


def draw_geometry(page_size: tuple[int, int], rng: np.random.Generator, style: AugmentStyle) -> PhotoGeometry:
    """A random placing of a page of `page_size` (width, height) px in a picture.

    Args:
        page_size: (width, height) of the page in px.
        rng: Decides everything that is random.
        style: How far the page may be turned, tilted, curled and folded.

    Returns:
        Where each point of the page lies in the picture.
    """
    width, height = page_size
    longer = float(max(width, height))
    scale = style.scale.draw(rng)
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64)
    wander = style.perspective.draw(rng) * longer
    target = corners + rng.uniform(-wander, wander, (4, 2))
    angle = np.deg2rad(style.rotation_deg.draw(rng) * rng.choice((-1.0, 1.0)))
    middle = corners.mean(axis=0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    target = (target - middle) @ turn.T + middle
    # The frame is laid round the inner quadrangle: margin 0 keeps a wandering corner just about inside.
    room = style.margin.draw(rng) * longer
    low = np.array([(target[0, 0] + target[3, 0]) / 2, (target[0, 1] + target[1, 1]) / 2]) - room
    high = np.array([(target[1, 0] + target[2, 0]) / 2, (target[2, 1] + target[3, 1]) / 2]) + room
    jitter = rng.uniform(-0.5, 0.5, 2) * abs(room)
    size = np.maximum(16, np.rint((high - low) * scale)).astype(int)
    target = (target - low + jitter) * scale
    quarter = int(rng.integers(1, 4)) if style.turned.draw(rng) > 0 else 0
    for _ in range(quarter):  # a quarter turn: (x, y) -> (height - y, x)
        target = np.stack([size[1] - target[:, 1], target[:, 0]], axis=1)
        size = size[::-1]
    matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), target.astype(np.float32))

    curl = style.curl.draw(rng) * longer
    waves = np.zeros((0, 6))
    if curl > 0:
        # A bow along the page (half to one wave a page) that lifts rows, a weaker one across it.
        waves = np.array(
            [
                (1.0, 0.25 * rng.normal(), rng.uniform(0.35, 1.0) / width, rng.uniform(0, 2 * np.pi), 0.0, curl),
                (0.25 * rng.normal(), 1.0, rng.uniform(0.3, 0.8) / height, rng.uniform(0, 2 * np.pi), 0.4 * curl, 0.0),
                (1.0, 0.0, rng.uniform(0.4, 1.2) / width, rng.uniform(0, 2 * np.pi), 0.3 * curl, 0.0),
            ]
        )
    folds = []
    for _ in range(round(style.creases.draw(rng))):
        upright = rng.random() < 0.6  # pages are folded along a middle line more often than askew
        tilt = rng.normal(0.0, 0.04) + (0.0 if upright else np.pi / 2) + (rng.random() < 0.2) * rng.uniform(-0.7, 0.7)
        normal = (float(np.cos(tilt)), float(np.sin(tilt)))
        through = np.array([rng.uniform(0.15, 0.85) * width, rng.uniform(0.15, 0.85) * height])
        folds.append(Fold(normal, float(through @ np.array(normal)), longer * rng.uniform(0.01, 0.05)))
    depth = float(rng.uniform(0.0, 0.003) * longer)
    return PhotoGeometry(
        np.asarray(matrix, dtype=np.float64), page_size, (int(size[0]), int(size[1])), waves, tuple(folds), depth
    )


def warp_page(page: NDArray[np.uint8], geometry: PhotoGeometry, background: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Paint the page onto `background`, which is overwritten and returned; uint8, (height, width, 3) of the photo.

    Args:
        page: uint8 (height, width, 3).
        geometry: Where its points go.
        background: uint8 (height, width, 3) of the picture; overwritten.

    Returns:
        `background`, with the page painted on it.
    """
    width, height = geometry.photo_size
    columns, rows = width // _MAP_STEP + 2, height // _MAP_STEP + 2
    # Coarse nodes lie _MAP_STEP px apart; cv2.resize puts its sample centres at (i + 0.5) * step - 0.5.
    x = (np.arange(columns) + 0.5) * _MAP_STEP - 0.5
    y = (np.arange(rows) + 0.5) * _MAP_STEP - 0.5
    # The first and last half step would be flat (resize repeats its edge), so nodes start one step outside.
    grid = np.stack(np.meshgrid(np.r_[x[0] - _MAP_STEP, x], np.r_[y[0] - _MAP_STEP, y]), axis=-1)
    coarse = geometry.to_page(grid).astype(np.float32)
    shape = (coarse.shape[1] * _MAP_STEP, coarse.shape[0] * _MAP_STEP)
    fine = cv2.resize(coarse, shape, interpolation=cv2.INTER_LINEAR)
    fine = fine[_MAP_STEP : _MAP_STEP + height, _MAP_STEP : _MAP_STEP + width]
    shrink = float(np.sqrt(abs(np.linalg.det(geometry.homography[:2, :2]))))
    source = page
    if shrink < 0.75:  # thin lines would vanish between samples
        factor = max(shrink * 1.15, 0.1)
        smaller = (max(1, round(page.shape[1] * factor)), max(1, round(page.shape[0] * factor)))
        source = np.asarray(cv2.resize(page, smaller, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        ratio = np.array([smaller[0] / page.shape[1], smaller[1] / page.shape[0]], dtype=np.float32)
        fine = (fine + np.float32(0.5)) * ratio - np.float32(0.5)
    one_map: Any = None  # both coordinates are in the first map (OpenCV's annotations do not know this call)
    cv2.remap(source, fine, one_map, cv2.INTER_LINEAR, dst=background, borderMode=cv2.BORDER_TRANSPARENT)
    return background
