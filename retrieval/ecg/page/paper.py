"""Where the paper lies in a photograph."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

ByteImage = NDArray[np.uint8]
Matrix = NDArray[np.float64]

# A page that fills less than this share of the picture is taken for something else on the page (a label, a window).
LEAST_SHARE = 0.25
# Otsu's split must separate paper and table by this much of the range, or the brightness does not show an edge.
LEAST_STEP = 0.12
# Steps of brightness (grey levels per px at a quarter of the working size) that an edge of paper shows and soft light
# does not: a fall of the light by half over the picture is under 1.
EDGE_WEAK, EDGE_STRONG = 16, 40


def find_paper(small: ByteImage) -> tuple[Matrix | None, ByteImage | None]:
    """The sheet of paper in a picture.

    Args:
        small: The picture at about 300 px, shape (h, w, 3).

    Returns:
        Corners (4, 2) as x, y from the top left one clockwise, in px of `small`, or None where no sheet with three
        free sides and four corners stands out; and a mask of the paper, 255 inside, or None where it fills the picture.
    """
    closed = cv2.blur(cv2.morphologyEx(small, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8)), (3, 3))
    red, green, blue = cv2.split(closed)
    darkest, lightest = cv2.min(cv2.min(red, green), blue), cv2.max(cv2.max(red, green), blue)
    thin = cv2.subtract(cv2.morphologyEx(small[..., 1], cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)), small[..., 1])
    drawn = cv2.threshold(thin, max(12.0, float(np.percentile(thin, 90))), 255, cv2.THRESH_BINARY)[1]
    mask: ByteImage | None = None
    largest = 0.995 * small.shape[0] * small.shape[1]
    for region in (_inside_edges(closed), _bright(darkest), _bright(lightest)):
        hull = None if region is None else _sheet(region)
        if hull is None:
            continue
        area = cv2.contourArea(hull)
        if area > largest:
            continue
        inside = np.zeros(small.shape[:2], dtype=np.uint8)
        cv2.fillConvexPoly(inside, hull, 255)
        # Lines are on paper: an outline that leaves many of them out is a shadow or a fold.
        if cv2.countNonZero(cv2.bitwise_and(drawn, inside)) < 0.95 * cv2.countNonZero(drawn):
            continue
        if mask is None:
            mask = inside
        corners = _four_corners(hull)
        if (
            corners is not None
            and abs(cv2.contourArea(corners.astype(np.float32)) - area) < 0.06 * area
            and _free_sides(corners, small.shape[1], small.shape[0]) >= 3
        ):
            return corners, mask
    return None, mask


def _bright(plane: ByteImage | cv2.typing.MatLike) -> ByteImage | None:
    """The brighter part of the picture, where there are clearly two parts."""
    cut, bright = cv2.threshold(plane, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    inside, outside = plane[plane > cut], plane[plane <= cut]
    if not inside.size or not outside.size or inside.mean() - outside.mean() < LEAST_STEP * 255:
        return None
    return np.asarray(cv2.morphologyEx(bright, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)), dtype=np.uint8)


def _inside_edges(closed: cv2.typing.MatLike) -> ByteImage | None:
    """The part round the centre that no edge divides. Shadows are soft and do not end it; the border of paper does."""
    edges = cv2.max(cv2.Canny(cv2.extractChannel(closed, 1), EDGE_WEAK, EDGE_STRONG, apertureSize=3),
                    cv2.Canny(cv2.extractChannel(closed, 2), EDGE_WEAK, EDGE_STRONG, apertureSize=3))  # fmt: skip
    free = cv2.bitwise_not(cv2.dilate(edges, np.ones((3, 3), np.uint8)))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(free, connectivity=4, ltype=cv2.CV_32S)
    if count < 2:
        return None
    label = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    if stats[label, cv2.CC_STAT_AREA] < LEAST_SHARE * free.size:
        return None
    return np.asarray(cv2.dilate(((labels == label) * np.uint8(255)), np.ones((3, 3), np.uint8)), dtype=np.uint8)


def _sheet(region: ByteImage) -> NDArray[np.int32] | None:
    """Convex outline of the largest part of a region, when that part is a large and nearly convex one."""
    contours, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return None
    largest = max(contours, key=cv2.contourArea)
    hull = cv2.convexHull(largest)
    area = cv2.contourArea(hull)
    if area < LEAST_SHARE * region.size or cv2.contourArea(largest) < 0.85 * area:
        return None
    return np.asarray(hull, dtype=np.int32)


def _free_sides(corners: Matrix, width: int, height: int) -> int:
    """Sides that do not lie on the edge of the picture: such a side is a cut and says nothing about the perspective."""
    low = corners <= 3.5
    high = corners >= np.array([width, height]) - 4.5
    free = 0
    for first, second in ((0, 1), (1, 2), (2, 3), (3, 0)):
        free += not bool((low[first] & low[second]).any() or (high[first] & high[second]).any())
    return free


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
    """Homography from the picture to the flat page with these corners, and the page's size (width, height) in px.

    The size is in multiples of four, so that the page can be halved twice.
    """
    sides = np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1)
    width, height = (max(4, round(side / 4) * 4) for side in (max(sides[0], sides[2]), max(sides[1], sides[3])))
    target = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], dtype=np.float32)
    return np.asarray(cv2.getPerspectiveTransform(corners.astype(np.float32), target), dtype=np.float64), (
        width,
        height,
    )


def inner_mask(paper: ByteImage, size: tuple[int, int]) -> ByteImage:
    """Mask of the paper at working size less a border, where its edge and the shadow under it would pass for ink.

    Args:
        paper: Where the paper lies.
        size: (width, height) at which the page is worked on.

    Returns:
        255 inside, else 0.
    """
    border = max(2, round(0.012 * max(paper.shape)))
    framed = cv2.copyMakeBorder(paper, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(framed, np.ones((2 * border + 1, 2 * border + 1), np.uint8), borderValue=0)[1:-1, 1:-1]
    return np.asarray(cv2.resize(eroded, size, interpolation=cv2.INTER_NEAREST), dtype=np.uint8)


def straighten(plane: ByteImage, to_picture: Matrix, angle_deg: float, perspective: float) -> tuple[ByteImage, Matrix]:
    """The plane turned upright, and the homography that did it.

    Args:
        plane: uint8 (h, w).
        to_picture: Working plane to picture, so far.
        angle_deg: By which level lines rise.
        perspective: Largest change of scale across half the picture.

    Returns:
        The plane, and working plane to picture, now.
    """
    height, width = plane.shape
    if abs(angle_deg) < 0.12 and perspective < 0.004:
        return plane, np.eye(3)
    centre = np.array([[1.0, 0.0, -(width - 1) / 2], [0.0, 1.0, -(height - 1) / 2], [0.0, 0.0, 1.0]])
    onto = np.linalg.inv(to_picture) @ centre
    frame = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64)
    moved = cv2.perspectiveTransform(frame[None], onto)[0]
    low, high = moved.min(axis=0), moved.max(axis=0)
    limit = 1.6 * max(height, width)
    low, high = np.maximum(low, -limit), np.minimum(high, limit)
    size = (int(np.ceil(high[0] - low[0])), int(np.ceil(high[1] - low[1])))
    onto = np.array([[1.0, 0.0, -low[0]], [0.0, 1.0, -low[1]], [0.0, 0.0, 1.0]]) @ onto
    return np.asarray(cv2.warpPerspective(plane, onto, size, flags=cv2.INTER_LINEAR), dtype=np.uint8), onto
