"""Where the paper lies in a photograph, which way the lines on it run, and how far apart the grid lines are."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.counts import byte_percentile

ByteImage = NDArray[np.uint8]
Matrix = NDArray[np.float64]
FloatArray = NDArray[np.float64]

# A page that fills less than this share of the picture is taken for something else on the page (a label, a window).
LEAST_SHARE = 0.25
# Otsu's split must separate paper and table by this much of the range, or the brightness does not show an edge.
LEAST_STEP = 0.12
# Steps of brightness (grey levels per px at a quarter of the working size) that an edge of paper shows and soft light
# does not: a fall of the light by half over the picture is under 1.
EDGE_WEAK, EDGE_STRONG = 16, 40
# Perspective is undone up to this change of scale over half the picture; more is a misfit, not a photograph.
LARGEST_PERSPECTIVE = 0.35
# Slopes that are tried about the coarse angle: 4.6 degrees either way in steps of 0.29. A 5 mm box of a page of 1100 px
# is 20 px: over the width of the page it is out of step after one degree.
SHEARS = np.arange(-16, 17) * 0.005
STRIPS = 24  # across the page, each with its own profile
LEAST_SHARPNESS = 0.15  # without a grid, upright lines are only the strokes of beats


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
    drawn = cv2.threshold(
        thin, max(12.0, byte_percentile(np.asarray(thin, dtype=np.uint8), 90)), 255, cv2.THRESH_BINARY
    )[1]
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


@dataclass(frozen=True, slots=True)
class LineField:
    """How the lines of a page run.

    Attributes:
        angle_deg: Turn of the page against the picture, clockwise, -45 to 45, at the centre.
        to_picture: Homography from straightened coordinates (origin at the picture's centre, px) to the picture's
            coordinates (same origin).
        support: How much sharper the profile across the level lines is than at wrong slopes, 0 for not at all.
        perspective: Largest change of scale across half the picture that `to_picture` undoes.
    """

    angle_deg: float
    to_picture: Matrix
    support: float
    perspective: float


def line_field(lines: ByteImage, mask: ByteImage | None = None) -> LineField:
    """Direction of the two families of lines (grid, baselines, strokes) and the perspective that bends them.

    Gradient directions give the turn to within two or three degrees. Then the page is sheared: at the right shear the
    strips of the page add up to the sharpest profile. Doing this for the upper and the lower half tells how level lines
    fan out, for the left and the right half how upright lines do.

    Args:
        lines: Darkness of everything drawn, uint8 (h, w).
        mask: 255 where the page is.

    Returns:
        Angle, homography, and how clear the lines are.
    """
    height, width = lines.shape
    half = cv2.resize(lines, (max(8, width // 2), max(8, height // 2)), interpolation=cv2.INTER_AREA)
    if mask is not None:
        inner = cv2.resize(mask, (half.shape[1], half.shape[0]), interpolation=cv2.INTER_NEAREST)
        half = cv2.bitwise_and(half, inner)
    coarse = _coarse_angle(np.asarray(half, dtype=np.uint8))
    if coarse is None:
        return LineField(0.0, np.eye(3), 0.0, 0.0)
    if abs(coarse) < 0.75:
        coarse, turned = 0.0, half
    else:
        centre = (half.shape[1] / 2 - 0.5, half.shape[0] / 2 - 0.5)
        turned = cv2.warpAffine(half, cv2.getRotationMatrix2D(centre, coarse, 1.0), (half.shape[1], half.shape[0]))
    # Capped, so that the many pale grid lines have as much say as the few dark strokes.
    cap = np.uint8(max(40.0, byte_percentile(np.asarray(turned[::3, ::3], dtype=np.uint8), 92)))
    capped = np.minimum(np.asarray(turned, dtype=np.uint8), cap)
    unit = max(height, width) / 2
    level = _shears(capped)
    upright = _shears(np.ascontiguousarray(capped.T))
    b1 = b2 = w1 = w2 = 0.0
    support = 0.0
    if level is not None:
        b1 = (level[0] + level[1]) / 2
        w1 = -(level[1] - level[0]) / (height / 2 / unit)
        support, b2 = level[2], -b1
    if upright is not None and upright[2] > LEAST_SHARPNESS:
        b2 = (upright[0] + upright[1]) / 2
        w2 = -(upright[1] - upright[0]) / (width / 2 / unit)
    if max(abs(w1), abs(w2)) > LARGEST_PERSPECTIVE:
        w1 = w2 = 0.0
    cos, sin = np.cos(np.radians(coarse)), np.sin(np.radians(coarse))
    rotation = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    # Columns are the vanishing points of the level lines (1, b1, w1) and of the upright lines (b2, 1, w2): a line
    # through (1, b, w) has the slope s = b + w (s x - y) at (x, y).
    bent = np.array([[1.0, b2, 0.0], [b1, 1.0, 0.0], [w1 / unit, w2 / unit, 1.0]])
    angle = float(coarse + np.degrees(np.arctan(b1)))
    return LineField(angle, rotation @ bent, support, float(max(abs(w1), abs(w2))))


def _coarse_angle(half: ByteImage) -> float | None:
    """Turn of the page in degrees, -45 to 45, from the histogram of gradient directions."""
    smooth = cv2.GaussianBlur(half, (0, 0), 1.0)
    dx = cv2.Sobel(smooth, cv2.CV_32F, 1, 0)
    dy = cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    # Averaged over a window, both directions of a dense grid cancel and its crossings, whose gradients point along the
    # diagonal, lose their say; what is left are lines longer than the window.
    across = cv2.multiply(dx, dy)
    xx, yy = cv2.blur(cv2.multiply(dx, dx, dst=dx), (9, 9)), cv2.blur(cv2.multiply(dy, dy, dst=dy), (9, 9))
    xy = cv2.blur(across, (9, 9))
    strength = cv2.addWeighted(cv2.absdiff(xx, yy, dst=dx), 1.0, np.abs(xy, out=across), 2.0, 0.0, dst=dy)
    cut = max(100.0, float(np.percentile(strength[::3, ::3], 75)))
    index = np.flatnonzero(strength > cut)
    if index.size < 200:
        return None
    index = index[:: max(1, index.size // 12000)]
    jxx, jyy, jxy = (plane.ravel()[index] for plane in (xx, yy, xy))
    angle = np.degrees(0.5 * np.arctan2(2 * jxy, jxx - jyy)) % 90.0
    weight = np.sqrt(np.minimum(strength.ravel()[index], 8 * cut))
    counts = np.bincount((angle * 2).astype(int) % 180, weights=weight, minlength=180)
    # Two degrees wide: robust against a second, weaker structure such as handwriting.
    kernel = np.array([0.25, 0.5, 1.0, 0.5, 0.25])
    rounded = np.convolve(np.concatenate([counts[-2:], counts, counts[:2]]), kernel, mode="valid")
    coarse = (int(np.argmax(rounded)) + 0.5) / 2
    return coarse - 90.0 if coarse > 45 else coarse


def _shears(image: ByteImage) -> tuple[float, float, float] | None:
    """Slope of the level lines in the upper and in the lower half, and how clearly they stand out.

    The strips' profiles are shifted as phases of their spectra, all shears at once.
    """
    height, width = image.shape
    if height < 64 or width < 64:
        return None
    strips = cv2.resize(image, (STRIPS, height), interpolation=cv2.INTER_AREA).T.astype(np.float64)
    ramp = np.clip((np.arange(height) / height - 0.5) * 2.5 + 0.5, 0.0, 1.0)
    # Periods from 7 px (5 mm boxes of a small picture, at half the working size) to a row of traces.
    first, last = max(2, height // 90), max(8, height // 7)
    wave = 2 * np.pi * np.arange(first, last) / height
    x = (np.arange(STRIPS) + 0.5) / STRIPS * width - width / 2
    # exp(i wave x slope) is a geometric series in the slopes: one exponential and repeated products.
    step = np.exp(1j * wave[None, :] * x[:, None] * SHEARS[0])
    growth = np.exp(1j * wave[None, :] * x[:, None] * (SHEARS[1] - SHEARS[0]))
    spectra = np.stack([np.fft.rfft(strips * w, axis=1)[:, first:last] for w in (1 - ramp, ramp)])
    sharp = np.zeros((SHEARS.size, 2))
    for index in range(SHEARS.size):
        sharp[index] = (np.abs((spectra * step).sum(axis=1)) ** 2).sum(axis=1)
        step = step * growth
    both = sharp.sum(axis=1)
    middle = int(np.argmax(both))
    slopes = []
    for column in sharp.T:
        # Each half may differ from the whole by the perspective of a page, not by more.
        low, high = max(0, middle - 4), min(SHEARS.size, middle + 5)
        slopes.append(_peak(column, low + int(np.argmax(column[low:high]))))
    return slopes[0], slopes[1], float(both[middle] / np.median(both)) - 1.0


def _peak(values: FloatArray, index: int) -> float:
    """Slope at the maximum of the parabola through three neighbouring values."""
    if not 0 < index < values.size - 1:
        return float(SHEARS[index])
    before, here, after = values[index - 1 : index + 2]
    bend = before - 2 * here + after
    offset = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float(SHEARS[index] + offset * (SHEARS[1] - SHEARS[0]))


def grid_pitch(lines: ByteImage, trace: ByteImage) -> float | None:
    """Distance of neighbouring grid lines in px (1 mm or 5 mm boxes, not told apart), or None without a grid.

    Args:
        lines: Straightened darkness of everything drawn.
        trace: Straightened trace ink, which is left out.

    Returns:
        Px, or None.
    """
    quiet = cv2.bitwise_and(lines, cv2.threshold(trace, 60, 255, cv2.THRESH_BINARY_INV)[1])
    found: list[tuple[float, float]] = []
    for axis in (0, 1):
        for part in np.array_split(quiet, 4, axis=axis):
            total = cv2.reduce(np.ascontiguousarray(part), axis, cv2.REDUCE_SUM, dtype=cv2.CV_32F)
            pitch = _period(total.ravel().astype(np.float64) / part.shape[axis])
            if pitch is not None:
                found.append(pitch)
    if len(found) < 3:
        return None
    pitches = np.array([pitch for pitch, _ in found])
    middle = float(np.median(pitches))
    agreeing = np.abs(pitches - middle) < 0.06 * middle
    if agreeing.sum() < max(3, 0.5 * len(found)):
        return None
    return float(pitches[agreeing].mean())


def _period(profile: FloatArray) -> tuple[float, float] | None:
    """Strongest period of a profile in px (3 to 80) and its normalised autocorrelation."""
    # A period of 19.7 px shows at lag 20 only when its lines are a little wider than a pixel.
    profile = np.convolve(np.pad(profile, 1, mode="edge"), np.array([0.25, 0.5, 0.25]), mode="valid")
    n = profile.size
    window = min(81, n // 4 * 2 + 1)
    padded = np.pad(profile, window // 2, mode="edge")
    high = profile - np.convolve(padded, np.ones(window) / window, mode="valid")
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(high, size)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[: min(400, n // 2)]
    if correlation[0] <= 0:
        return None
    correlation = correlation / correlation[0] * (n / (n - np.arange(correlation.size)))
    last = min(80, correlation.size - 2)
    here, before, after = correlation[3:last], correlation[2 : last - 1], correlation[4 : last + 1]
    peaks = 3 + np.flatnonzero((here >= before) & (here > after) & (here > 0.15))
    if not peaks.size:
        return None
    # The first peak that nearly reaches the highest: a multiple of the period correlates as well as the period.
    top = float(correlation[peaks].max())
    lag = int(peaks[correlation[peaks] >= 0.7 * top][0])
    # Refined on the farthest multiple that is still a clear peak.
    pitch = float(lag)
    for times in range(2, 400):
        centre = round(pitch * times)
        if centre + 2 >= correlation.size:
            break
        near = centre - 1 + int(np.argmax(correlation[centre - 1 : centre + 2]))
        if correlation[near] < 0.5 * correlation[lag]:
            break
        pitch = near / times
    return pitch, float(correlation[lag])
