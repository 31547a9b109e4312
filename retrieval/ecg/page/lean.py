"""How upright lines lean on a page whose rows are level: what is left of the view from the side and of curled paper.

Rows of traces are levelled by the traces themselves. Upright lines (grid, strokes between leads, edges of pulses) then
still fan out on a photograph, and with them the rows: a beat stands elsewhere in each of them, and its tip elsewhere
than its foot. In tiles of the page the shear is found at which its upright lines add up to the sharpest profile; a
smooth field through the tiles moves every upright line back.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

ByteImage = NDArray[np.uint8]
FloatArray = NDArray[np.float64]

_SHEARS = np.arange(-32, 33) * 0.01  # 18 degrees either way
_TILES = (3, 6)  # rows and columns of tiles
_STRIPS = 40  # of a tile
_LEAST_CLEAR = 5.0  # how far the best shear must stand out of the usual ones
_LEAST_TILES = 8
_OFF = 0.02  # slope by which a tile may miss the field before it loses its say
LEAST_PX = 1.0  # at working size: less is left alone


@dataclass(frozen=True, slots=True, eq=False)
class Lean:
    """Where upright lines run.

    A line that passes the middle height at x0 lies at x0 + v * slope(x0) + v^2 / 2 * bend(x0), v being the height
    below the middle; all in units of half the width from the centre.

    Attributes:
        slope: Coefficients of a polynomial, constant first, (3,).
        bend: The same, (2,).
        centre: x and y of the centre, working px.
        unit: Working px of a unit.
        margin: Columns added on either side of the page.
    """

    slope: FloatArray
    bend: FloatArray
    centre: tuple[float, float]
    unit: float
    margin: int

    def leaning(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Column of the leaning page, for places of the upright one, working px."""
        u = (x - self.margin - self.centre[0]) / self.unit
        v = (y - self.centre[1]) / self.unit
        out = u + v * _poly(self.slope, u) + 0.5 * v * v * _poly(self.bend, u)
        return np.asarray(out * self.unit + self.centre[0], dtype=np.float64)

    def upright(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Column of the upright page, for places of the leaning one, working px."""
        out = np.asarray(x, dtype=np.float64) + self.margin
        for _ in range(8):
            out = out + x - self.leaning(out, y)
        return out

    def moved(self, plane: ByteImage, *, sharp: bool = False) -> ByteImage:
        """A plane of the leaning page with its lines upright, `margin` columns wider on either side."""
        height, width = plane.shape
        x, y = self.places((width + 2 * self.margin, height), 1.0)
        kind = cv2.INTER_NEAREST if sharp else cv2.INTER_LINEAR
        return np.asarray(cv2.remap(plane, x, y, kind, borderMode=cv2.BORDER_CONSTANT), dtype=np.uint8)

    def places(self, size: tuple[int, int], factor: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Maps of a remapping onto the upright page of a size (width, height) that is `factor` times as fine."""
        x = (np.arange(size[0], dtype=np.float64) + 0.5) / factor - 0.5
        y = (np.arange(size[1], dtype=np.float64) + 0.5) / factor - 0.5
        u = (x - self.margin - self.centre[0]) / self.unit
        v = ((y - self.centre[1]) / self.unit).astype(np.float32)[:, None]
        slope = (_poly(self.slope, u) * self.unit * factor).astype(np.float32)
        bend = (0.5 * _poly(self.bend, u) * self.unit * factor).astype(np.float32)
        start = ((x - self.margin + 0.5) * factor - 0.5).astype(np.float32)
        across = start[None, :] + v * slope[None, :]
        if bend.any():
            across += (v * v) * bend[None, :]
        down = np.broadcast_to(np.arange(size[1], dtype=np.float32)[:, None], across.shape)
        return across, np.ascontiguousarray(down)


def _poly(coefficients: FloatArray, at: FloatArray) -> FloatArray:
    return np.asarray(np.polynomial.polynomial.polyval(at, coefficients), dtype=np.float64)


def find_lean(lines: ByteImage, box: tuple[int, int, int, int]) -> Lean | None:
    """The lean of upright lines, or None where they stand upright or are too few to tell.

    Args:
        lines: Darkness of everything drawn, rows level, uint8 (h, w).
        box: Left, top, right, bottom of the traces, px, ends exclusive.
    """
    left, top, right, bottom = box
    # Capped, so that the many pale grid lines have as much say as the few dark strokes.
    part = lines[top:bottom, left:right]
    if min(part.shape) < 96:
        return None
    capped = np.minimum(part, np.uint8(max(40.0, float(np.percentile(part[::3, ::3], 92)))))
    centre = ((left + right - 1) / 2, (top + bottom - 1) / 2)
    unit = (right - left) / 2
    found = []
    ys = np.linspace(0, part.shape[0], _TILES[0] + 1).astype(int)
    xs = np.linspace(0, part.shape[1], _TILES[1] + 1).astype(int)
    for y0, y1 in pairwise(ys):
        for x0, x1 in pairwise(xs):
            slope, clear = _shear(capped[y0:y1, x0:x1])
            if clear > _LEAST_CLEAR:
                x, y = left + (x0 + x1 - 1) / 2, top + (y0 + y1 - 1) / 2
                found.append(((x - centre[0]) / unit, (y - centre[1]) / unit, slope, min(clear, 40.0)))
    if len(found) < _LEAST_TILES:
        return None
    table = np.array(found)
    for degree, bent in ((2, True), (1, False)):
        lean = _fitted(table, degree, bent, centre, unit)
        if lean is not None:
            break
    if lean is None:
        return None
    v = (bottom - top) / 2 / unit
    u = np.linspace(-1, 1, 9)
    moves = [(s * v * _poly(lean[0], u) + 0.5 * v * v * _poly(lean[1], u)) * unit for s in (-1, 1)]
    most = float(np.abs(moves).max())
    if most < LEAST_PX:
        return None
    return Lean(lean[0], lean[1], centre, unit, int(np.ceil(most)) + 2)


def _fitted(
    table: FloatArray, degree: int, bent: bool, centre: tuple[float, float], unit: float
) -> tuple[FloatArray, FloatArray] | None:
    """Coefficients of slope and bend through the tiles, None where the tiles do not agree on such a field."""
    x, v, slopes, clear = table.T
    at = x.copy()
    slope, bend = np.zeros(3), np.zeros(2)
    weight = clear.copy()
    for _ in range(8):
        terms = [at**k for k in range(degree + 1)] + ([v, v * at] if bent else [])
        design = np.stack(terms, axis=1)
        # Terms of higher order must earn their place.
        ridge = np.diag([0.0, 0.0] + [0.004 * weight.sum()] * (design.shape[1] - 2))
        fit = np.linalg.solve(
            (design * weight[:, None]).T @ design + ridge + 1e-9 * np.eye(len(terms)),
            (design * weight[:, None]).T @ slopes,
        )
        slope = np.zeros(3)
        slope[: degree + 1] = fit[: degree + 1]
        bend = fit[degree + 1 :] if bent else np.zeros(2)
        lean = Lean(slope, bend, (0.0, 0.0), 1.0, 0)
        at = lean.upright(x, v)
        residual = np.abs(design @ fit - slopes)
        weight = clear / (1.0 + (residual / _OFF) ** 2)
    agree = clear[residual < 1.5 * _OFF].sum() / clear.sum()
    u = np.linspace(-1.1, 1.1, 12)
    if agree < 0.6 or np.abs(_poly(slope, u)).max() > -_SHEARS[0] or np.abs(_poly(bend, u)).max() > 0.6:
        return None
    return slope, bend


def _shear(tile: ByteImage) -> tuple[float, float]:
    """Slope (columns a line) of the upright lines of a tile, and how clearly it stands out, 0 for not at all.

    The strips' profiles are shifted as phases of their spectra.
    """
    height, width = tile.shape
    count = min(_STRIPS, height)
    strips = cv2.resize(tile, (width, count), interpolation=cv2.INTER_AREA).astype(np.float32)
    strips -= strips.mean(axis=1, keepdims=True)
    strips *= np.hanning(width).astype(np.float32)[None]
    # Periods from 3 px (1 mm boxes) to 40 px.
    first, last = max(2, width // 40), max(8, round(width / 3.2))
    spectra = np.fft.rfft(strips, axis=1)[:, first:last].astype(np.complex64)
    wave = 2 * np.pi * np.arange(first, first + spectra.shape[1]) / width
    y = (np.arange(count) + 0.5) / count * height - height / 2
    turn = np.exp(1j * wave[None, :] * y[:, None] * _SHEARS[0]).astype(np.complex64)
    growth = np.exp(1j * wave[None, :] * y[:, None] * (_SHEARS[1] - _SHEARS[0])).astype(np.complex64)
    sharp = np.zeros(_SHEARS.size)
    turned = spectra * turn
    for index in range(_SHEARS.size):
        sharp[index] = float((np.abs(turned.sum(axis=0)) ** 2).sum())
        turned *= growth
    best = int(sharp.argmax())
    usual = float(np.median(sharp))
    if usual <= 0.0 or not 0 < best < sharp.size - 1:
        return 0.0, 0.0
    before, here, after = sharp[best - 1 : best + 2]
    bend = before - 2 * here + after
    offset = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float(_SHEARS[best] + offset * (_SHEARS[1] - _SHEARS[0])), float(here / usual) - 1.0
