"""Where the paper lies in a photograph."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

ByteImage = NDArray[np.uint8]
Matrix = NDArray[np.float64]

# A page that fills less than this share of the picture is taken for something else on the page (a label, a window).
LEAST_SHARE = 0.2
# Otsu's split must separate paper and table by this much of the range, or the brightness does not show an edge.
LEAST_STEP = 0.16


def find_paper(small: ByteImage) -> Matrix | None:
    """Corners of a bright sheet against a darker or more colourful background.

    Args:
        small: The picture at about 300 px, shape (h, w, 3).

    Returns:
        Corners (4, 2) as x, y from the top left one clockwise, in px of `small`, or None where the page fills the
        picture or no sheet with four sides stands out.
    """
    closed = cv2.blur(cv2.morphologyEx(small, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8)), (5, 5))
    red, green, blue = cv2.split(closed)
    for plane in (cv2.min(cv2.min(red, green), blue), cv2.max(cv2.max(red, green), blue)):
        corners = _sheet(np.asarray(plane, dtype=np.uint8))
        if corners is not None:
            return corners
    return None


def _sheet(plane: ByteImage) -> Matrix | None:
    height, width = plane.shape
    cut, bright = cv2.threshold(plane, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    inside, outside = plane[plane > cut], plane[plane <= cut]
    if not inside.size or not outside.size or inside.mean() - outside.mean() < LEAST_STEP * 255:
        return None
    bright = cv2.morphologyEx(bright, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    contours, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return None
    largest = max(contours, key=cv2.contourArea)
    hull = cv2.convexHull(largest)
    area = cv2.contourArea(hull)
    if area < LEAST_SHARE * height * width or cv2.contourArea(largest) < 0.85 * area:
        return None
    quad = _four_corners(hull)
    if quad is None or abs(cv2.contourArea(quad.astype(np.float32)) - area) > 0.06 * area:
        return None
    # A side on the edge of the picture is a cut, not a side of the paper: with fewer than three free sides the corners
    # say nothing about the perspective.
    edge = np.array([width - 1, height - 1])
    on_edge = (quad <= 2.5) | (quad >= edge - 2.5)
    free = 0
    for first, second in ((0, 1), (1, 2), (2, 3), (3, 0)):
        free += not bool((on_edge[first] & on_edge[second]).any())
    return quad if free >= 3 else None


def _four_corners(hull: NDArray[np.int32]) -> Matrix | None:
    length = cv2.arcLength(hull, True)
    for tolerance in (0.01, 0.02, 0.03, 0.05, 0.08):
        shape = cv2.approxPolyDP(hull, tolerance * length, True)
        if len(shape) == 4:
            return ordered_corners(shape.reshape(4, 2).astype(np.float64))
        if len(shape) < 4:
            return None
    return None


def ordered_corners(points: Matrix) -> Matrix:
    """Four points as top left, top right, bottom right, bottom left."""
    centre = points.mean(axis=0)
    angle = np.arctan2(points[:, 1] - centre[1], points[:, 0] - centre[0])
    points = points[np.argsort(angle)]
    return np.roll(points, -int(np.argmin(points.sum(axis=1))), axis=0)


def flatten(corners: Matrix) -> tuple[Matrix, tuple[int, int]]:
    """Homography from the picture to the flat page with these corners, and the page's size (width, height) in px."""
    sides = np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1)
    width, height = round(max(sides[0], sides[2])), round(max(sides[1], sides[3]))
    target = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], dtype=np.float32)
    return np.asarray(cv2.getPerspectiveTransform(corners.astype(np.float32), target), dtype=np.float64), (width, height)
