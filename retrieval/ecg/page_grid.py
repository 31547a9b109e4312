"""Which way the lines of a page run, and how far apart the grid lines are."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

ByteImage = NDArray[np.uint8]
FloatArray = NDArray[np.float64]
Matrix = NDArray[np.float64]

# Perspective is undone up to this change of scale over half the picture; more is a misfit, not a photograph.
LARGEST_PERSPECTIVE = 0.35


@dataclass(frozen=True, slots=True)
class LineField:
    """How the lines of a page run.

    Attributes:
        angle_deg: Turn of the page against the picture, clockwise, -45 to 45, at the centre.
        to_picture: Homography from straightened coordinates (origin at the picture's centre, px) to the picture's
            coordinates (same origin).
        support: Share of strong edges that follow the two directions, 0 to 1.
        perspective: Largest change of scale across half the picture that `to_picture` undoes.
    """

    angle_deg: float
    to_picture: Matrix
    support: float
    perspective: float


def line_field(lines: ByteImage, mask: ByteImage | None = None) -> LineField:
    """Direction of the two families of lines (grid, baselines, strokes) and the perspective that bends them.

    The gradient directions of a page cluster at two right angles. Each family runs towards a vanishing point; the
    slope at (x, y) of lines through the point (1, b, w) is s = b + w (s x - y), which is linear in b and w, so both
    follow from a robust regression over all strong edges.

    Args:
        lines: Darkness of everything drawn, uint8 (h, w).
        mask: 255 where the page is.
    """
    height, width = lines.shape
    half = cv2.resize(lines, (max(8, width // 2), max(8, height // 2)), interpolation=cv2.INTER_AREA)
    # Capped, so that the many pale grid lines have as much say as the few dark strokes.
    half = cv2.min(half, max(40.0, float(np.percentile(half[::3, ::3], 92))))
    dx = cv2.Sobel(half, cv2.CV_32F, 1, 0)
    dy = cv2.Sobel(half, cv2.CV_32F, 0, 1)
    # Averaged over 5 x 5, both directions of a dense grid cancel and its crossings, whose gradients point along the
    # diagonal, lose their say; what is left are lines longer than the window.
    xx, yy = cv2.blur(dx * dx, (5, 5)), cv2.blur(dy * dy, (5, 5))
    xy = cv2.blur(dx * dy, (5, 5))
    strength = cv2.addWeighted(cv2.absdiff(xx, yy), 1.0, cv2.absdiff(xy, 0.0), 2.0, 0.0)
    if mask is not None:
        inner = cv2.resize(
            cv2.erode(mask, np.ones((9, 9), np.uint8)), half.shape[::-1], interpolation=cv2.INTER_NEAREST
        )
        strength = np.where(inner > 0, strength, 0)
    cut = max(400.0, float(np.percentile(strength[::3, ::3], 85)))
    index = np.flatnonzero(strength > cut)
    if index.size < 200:
        return LineField(0.0, np.eye(3), 0.0, 0.0)
    index = index[:: max(1, index.size // 12000)]
    row, column = np.divmod(index, half.shape[1])
    unit = float(max(height, width)) / 2
    x = ((column + 0.5) * (width / half.shape[1]) - width / 2) / unit
    y = ((row + 0.5) * (height / half.shape[0]) - height / 2) / unit
    jxx, jyy, jxy = (plane.ravel()[index].astype(np.float64) for plane in (xx, yy, xy))

    # Half-degree histogram of the directions mod 90: robust against a second, weaker structure such as handwriting.
    angle = np.degrees(0.5 * np.arctan2(2 * jxy, jxx - jyy)) % 90.0
    weight = np.sqrt(np.minimum(strength.ravel()[index], 8 * cut))
    counts = np.bincount((angle * 2).astype(int) % 180, weights=weight, minlength=180)
    kernel = np.array([0.25, 0.5, 1.0, 0.5, 0.25])
    rounded = np.convolve(np.concatenate([counts[-2:], counts, counts[:2]]), kernel, mode="valid")
    coarse = (int(np.argmax(rounded)) + 0.5) / 2
    coarse = coarse - 90.0 if coarse > 45 else coarse
    cos, sin = np.cos(np.radians(coarse)), np.sin(np.radians(coarse))
    turned = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    jxx, jyy, jxy = (
        cos * cos * jxx + 2 * cos * sin * jxy + sin * sin * jyy,
        sin * sin * jxx - 2 * cos * sin * jxy + cos * cos * jyy,
        (cos * cos - sin * sin) * jxy + cos * sin * (jyy - jxx),
    )
    x, y = cos * x + sin * y, -sin * x + cos * y

    level, upright = jyy > 6.0 * jxx, jxx > 6.0 * jyy
    b1, w1, good1 = _vanishing(x[level], y[level], -jxy[level] / jyy[level])
    b2, w2, good2 = _vanishing(y[upright], x[upright], -jxy[upright] / jxx[upright])
    support = (good1 * level.sum() + good2 * upright.sum()) / index.size
    if max(abs(w1), abs(w2)) > LARGEST_PERSPECTIVE or min(level.sum(), upright.sum()) < 300:
        w1 = w2 = 0.0
        b2 = -b1
    bent = np.array([[1.0, b2, 0.0], [b1, 1.0, 0.0], [w1 / unit, w2 / unit, 1.0]])
    to_picture = turned @ bent
    return LineField(
        float(coarse + np.degrees(np.arctan(b1))), to_picture, float(support), float(max(abs(w1), abs(w2)))
    )


def _vanishing(x: FloatArray, y: FloatArray, slope: FloatArray) -> tuple[float, float, float]:
    """b and w of the vanishing point (1, b, w) of lines of this slope at (x, y), and the share that fits."""
    if x.size < 50:
        return 0.0, 0.0, 0.0
    counts = np.bincount(((slope + 0.45) * 100).astype(int).clip(0, 89), minlength=90)
    b = (int(np.argmax(np.convolve(counts, np.array([1, 2, 3, 2, 1]), mode="same"))) + 0.5) / 100 - 0.45
    w, spread = 0.0, 0.12
    keep = np.ones(x.size, dtype=bool)
    for _ in range(6):
        lever = slope * x - y
        keep = np.abs(slope - b - lever * w) < spread
        if keep.sum() < 50:
            break
        s, v = slope[keep], lever[keep]
        # The small diagonal keeps w at 0 where the lines do not spread over the page.
        system = np.array([[s.size * (1 + 1e-9), v.sum()], [v.sum(), v @ v + 0.01 * s.size]])
        b, w = (float(value) for value in np.linalg.solve(system, np.array([s.sum(), v @ s])))
        spread = max(0.04, spread * 0.6)
    return b, w, float(keep.mean())


def grid_pitch(lines: ByteImage, trace: ByteImage) -> float | None:
    """Distance of neighbouring grid lines in px (1 mm or 5 mm boxes, not told apart), or None without a grid.

    Args:
        lines: Straightened darkness of everything drawn.
        trace: Straightened trace ink, which is left out.
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
    lag = int(peaks[correlation[peaks] >= 0.85 * top][0])
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
