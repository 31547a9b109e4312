"""A page found in a picture, straightened, with its traces marked: what every later step of reading works on.

Rows of traces are levelled by the traces themselves. Upright lines (grid, strokes between leads, edges of pulses) then
still fan out on a photograph (a view from the side, curled paper), and with them the rows: a beat stands elsewhere in
each of them, and its tip elsewhere than its foot. In tiles of the page the shear is found at which its upright lines
add up to the sharpest profile; a smooth field through the tiles moves every upright line back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.counts import byte_percentile
from ecgkin.retrieval.ecg.page.network.segment import FoundName, halved_towards
from ecgkin.retrieval.ecg.page.pieces import inked_pixels, page_side
from ecgkin.retrieval.ecg.page.rows import TraceRows, signal_ends

ByteImage = NDArray[np.uint8]
FloatArray = NDArray[np.float64]
Matrix = NDArray[np.float64]

_SHEARS = np.arange(-32, 33) * 0.01  # 18 degrees either way
_TILES = (3, 6)  # rows and columns of tiles
_STRIPS = 40  # of a tile
_LEAST_CLEAR = 5.0  # how far the best shear must stand out of the usual ones
_LEAST_TILES = 8
_OFF = 0.02  # slope by which a tile may miss the field before it loses its say
LEAST_PX = 1.0  # at working size: less is left alone
# Side of the fine picture: a page of 280 mm at 8 px/mm. More px than the sampling rate needs only cost time.
FINE_SIDE = 2200
_PLANES = 4  # OpenCV moves four planes together twice as fast as three
_STRIP = 64  # lines of the fine page that are worked on together
LEAST_FINE_SIDE = 1600  # small pictures are enlarged, so that strokes are a few px wide


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

    def moved(self, *planes: ByteImage, sharp: bool = False) -> tuple[ByteImage, ...]:
        """Up to four planes of the leaning page with its lines upright, `margin` columns wider on either side."""
        height, width = planes[0].shape
        x, y = self.places((width + 2 * self.margin, height), 1.0)
        kind = cv2.INTER_NEAREST if sharp else cv2.INTER_LINEAR
        if sharp:  # alone, which is quicker for nearest neighbours
            moved = tuple(cv2.remap(plane, x, y, kind, borderMode=cv2.BORDER_CONSTANT) for plane in planes)
        else:
            moved = tuple(cv2.split(cv2.remap(cv2.merge(planes), x, y, kind, borderMode=cv2.BORDER_CONSTANT)))
        return tuple(np.asarray(plane, dtype=np.uint8) for plane in moved)

    def places(
        self, size: tuple[int, int], factor: float, lines: slice | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Maps of a remapping onto the upright page of a size (width, height) that is `factor` times as fine; or of
        some of its lines only."""
        number = np.arange(size[1])[slice(None) if lines is None else lines]
        x = (np.arange(size[0], dtype=np.float64) + 0.5) / factor - 0.5
        y = (number + 0.5) / factor - 0.5
        u = (x - self.margin - self.centre[0]) / self.unit
        v = ((y - self.centre[1]) / self.unit).astype(np.float32)[:, None]
        slope = (_poly(self.slope, u) * self.unit * factor).astype(np.float32)
        bend = (0.5 * _poly(self.bend, u) * self.unit * factor).astype(np.float32)
        start = ((x - self.margin + 0.5) * factor - 0.5).astype(np.float32)
        across = start[None, :] + v * slope[None, :]
        if bend.any():
            across += (v * v) * bend[None, :]
        down = np.broadcast_to(number.astype(np.float32)[:, None], across.shape)
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
    capped = np.minimum(part, np.uint8(max(40.0, byte_percentile(part[::3, ::3], 92))))
    centre = ((left + right - 1) / 2, (top + bottom - 1) / 2)
    unit = (right - left) / 2
    found = []
    ys = np.linspace(0, part.shape[0], _TILES[0] + 1).astype(int)
    xs = np.linspace(0, part.shape[1], _TILES[1] + 1).astype(int)
    boxes = [(y0, y1, x0, x1) for y0, y1 in pairwise(ys) for x0, x1 in pairwise(xs)]
    shears = _shears([capped[y0:y1, x0:x1] for y0, y1, x0, x1 in boxes])
    for (y0, y1, x0, x1), (slope, clear) in zip(boxes, shears, strict=True):
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


def _shears(tiles: list[ByteImage]) -> list[tuple[float, float]]:
    """Slope (columns a line) of the upright lines of each tile, and how clearly it stands out, 0 for not at all.

    The strips' profiles are shifted as phases of their spectra, those of all tiles at once.
    """
    found = [_spectra(tile) for tile in tiles]
    shape = (len(tiles), max(s.shape[0] for s, _ in found), max(s.shape[1] for s, _ in found))
    turned, growth = np.zeros(shape, dtype=np.complex64), np.zeros(shape, dtype=np.complex64)
    for number, (spectra, phase) in enumerate(found):
        place = (number, slice(0, spectra.shape[0]), slice(0, spectra.shape[1]))
        turned[place] = spectra * np.exp(1j * phase * _SHEARS[0]).astype(np.complex64)
        growth[place] = np.exp(1j * phase * (_SHEARS[1] - _SHEARS[0]))
    sharp = np.zeros((_SHEARS.size, len(tiles)))
    for index in range(_SHEARS.size):
        total = turned.sum(axis=1)
        sharp[index] = (total.real**2 + total.imag**2).sum(axis=1)
        turned *= growth
    return [_sharpest(sharp[:, number]) for number in range(len(tiles))]


def _spectra(tile: ByteImage) -> tuple[NDArray[np.complex64], FloatArray]:
    """Spectra of a tile's strips, and by how much a shear of 1 turns each of their phases; both (strips, waves)."""
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
    return spectra, wave[None, :] * y[:, None]


def _sharpest(sharp: FloatArray) -> tuple[float, float]:
    """The shear at which a tile is sharpest, and how far it stands out; 0 and 0 where none does."""
    best = int(sharp.argmax())
    usual = float(np.median(sharp))
    if usual <= 0.0 or not 0 < best < sharp.size - 1:
        return 0.0, 0.0
    before, here, after = sharp[best - 1 : best + 2]
    bend = before - 2 * here + after
    offset = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float(_SHEARS[best] + offset * (_SHEARS[1] - _SHEARS[0])), float(here / usual) - 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """What the network found beside traces, straightened, uint8 (h, w), 255 = sure.

    Attributes:
        trace: Traces.
        pulse: Calibration pulses.
        text: Print, and what lies outside of the paper.
        stroke: Strokes between columns of leads.
        names: Lead names; x, y and height in working px of the straightened page.
    """

    trace: ByteImage
    pulse: ByteImage
    text: ByteImage
    stroke: ByteImage
    names: tuple[FoundName, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """A straightened page.

    Attributes:
        rgb: The picture as it came, uint8 (H, W, 3).
        onto: Homography from the picture's px to straightened px at working size.
        bow: Shift of each column at the top and the bottom of the straightened page, (2, w), or None.
        rows: Its rows of traces and their ink, straightened, working size (h, w).
        lines: Darkness of everything drawn, straightened, same shape.
        scale: Working px per picture px.
        quality: 0 (barely readable) to 1.
        marks: What the network found beside traces, None where the page was read without it.
        lean: How its upright lines leaned after that; rows, lines and marks have them upright.
        by_network: Whether the rows were found by the network's map alone, their ink telling none.
    """

    rgb: ByteImage
    onto: Matrix
    bow: Matrix | None
    rows: TraceRows
    lines: ByteImage
    scale: float
    quality: float
    marks: Marks | None = None
    lean: Lean | None = None
    by_network: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the straightened page at working size."""
        return self.rows.ink.shape[0], self.rows.ink.shape[1]

    def in_picture(self, column: FloatArray, line: FloatArray) -> FloatArray:
        """Places of the straightened page in the picture `rgb`, (n, 2), px; the middle of a px is a whole number.

        Args:
            column, line: Working px.
        """
        if self.lean is not None:
            column = self.lean.leaning(column, line)
        if self.bow is not None:
            top, bottom = (np.interp(column, np.arange(self.bow.shape[1]), side) for side in self.bow)
            line = line + top + (bottom - top) * line / max(1, self.shape[0] - 1)
        points = np.stack([column, line], axis=1)[None]
        return np.asarray(cv2.perspectiveTransform(points, np.linalg.inv(self.onto))[0], dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class FineSheet:
    """The straightened page at the resolution at which curves are followed.

    Attributes:
        darkness: 0 = paper and grid, 255 = middle of a trace, uint8 (h * factor, w * factor).
        lines: Darkness of everything drawn, same shape.
        factor: Fine px per working px.
    """

    darkness: ByteImage
    lines: ByteImage
    factor: float


def upright_sheet(sheet: Sheet) -> Sheet:
    """The page with its upright lines made upright, where they lean by a pixel or more; without marks.

    Args:
        sheet: The page as it was found.

    Returns:
        The page that `with_marks` adds marks to.
    """
    sheet = replace(sheet, marks=None)
    rows = sheet.rows
    lean = find_lean(sheet.lines, (rows.left, rows.top, rows.right, rows.bottom))
    if lean is None:
        return sheet
    trace, solid = lean.moved(rows.trace, rows.solid, sharp=True)
    level = (rows.top + rows.bottom) / 2
    ends = [
        float(lean.upright(np.array([float(x)]), np.array([y]))[0]) for x in (rows.left, rows.right) for y in (level,)
    ]
    left, right = signal_ends(trace, rows.baselines, (round(ends[0]), round(ends[1])))
    ink, lines = lean.moved(rows.ink, sheet.lines)
    moved = replace(rows, ink=ink, trace=trace, solid=solid, left=left, right=right)
    return replace(sheet, rows=moved, lines=lines, lean=lean)


def with_marks(sheet: Sheet, marks: Marks | None) -> Sheet:
    """An upright page with what the network marked on it.

    Args:
        sheet: From `upright_sheet`.
        marks: On the page as it was found.
    """
    if marks is None or sheet.lean is None:
        return replace(sheet, marks=marks)
    trace, pulse, text, stroke = sheet.lean.moved(marks.trace, marks.pulse, marks.text, marks.stroke)
    x, y = (np.array([getattr(name, axis) for name in marks.names], dtype=np.float64) for axis in ("x", "y"))
    upright = sheet.lean.upright(x, y).tolist()
    names = tuple(replace(name, x=to) for name, to in zip(marks.names, upright, strict=True))
    return replace(sheet, marks=Marks(trace, pulse, text, stroke, names))


def fine_sheet(sheet: Sheet) -> FineSheet:
    """The page once more, as fine as the picture allows, reduced to what tells traces from paper and grid.

    The colours of traces and of what lies beside them are taken from the page itself; darkness is the direction in
    which they differ most against the spread of paper and grid (Fisher's discriminant).
    """
    height, width = sheet.shape
    if sheet.lean is not None:
        width -= 2 * sheet.lean.margin
    side = page_side((height, width))
    native = side / sheet.scale
    target = min(max(native, LEAST_FINE_SIDE), FINE_SIDE)
    factor = target / side
    if 0.97 < factor * sheet.scale < 1.03:
        factor = 1.0 / sheet.scale
    size = (round(width * factor), round(height * factor))
    grow = np.diag([factor, factor, 1.0])
    # Pixel centres: working (x + 0.5) * factor = fine x + 0.5.
    grow[0, 2] = grow[1, 2] = 0.5 * factor - 0.5
    onto = grow @ sheet.onto
    rgb = sheet.rgb
    if factor * sheet.scale < 0.75:  # fewer px than the picture has: averaged first
        rgb, onto = _reduced(rgb, onto, factor * sheet.scale)
    if sheet.bow is None and np.allclose(onto, np.eye(3), atol=1e-6):
        fine = rgb[: size[1], : size[0]]
        if fine.shape[:2] != (size[1], size[0]):
            below, beside = size[1] - fine.shape[0], size[0] - fine.shape[1]
            fine = np.asarray(cv2.copyMakeBorder(fine, 0, below, 0, beside, cv2.BORDER_REPLICATE), dtype=np.uint8)
    else:
        enlarged = factor * sheet.scale > 1.3
        kind = cv2.INTER_CUBIC if enlarged else cv2.INTER_LINEAR
        if kind == cv2.INTER_LINEAR:
            rgb = _four_planes(rgb)
        warped = cv2.warpPerspective(rgb, onto, size, flags=kind, borderMode=cv2.BORDER_REPLICATE)
        fine = np.asarray(warped, dtype=np.uint8)
    paper = _paper(fine)
    away = np.asarray(cv2.divide(fine, paper, dst=paper, scale=255), dtype=np.uint8)
    cv2.bitwise_not(away, dst=away)
    if sheet.bow is not None or sheet.lean is not None:
        bow = np.zeros((2, size[0]), dtype=np.float32)
        if sheet.bow is not None:
            bow = cv2.resize(sheet.bow.astype(np.float32), (size[0], 2), interpolation=cv2.INTER_LINEAR) * factor
        away = _levelled(_four_planes(away), bow, sheet.lean, factor)
    weights, offset = _discriminant(away, sheet.rows, factor)
    return FineSheet(*_weighed(away, weights, offset), factor)


def _four_planes(image: ByteImage) -> ByteImage:
    """A picture with a plane more, which says nothing."""
    if image.shape[2] == _PLANES:
        return image
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA), dtype=np.uint8)


def _weighed(away: ByteImage, weights: NDArray[np.float64], offset: float) -> tuple[ByteImage, ByteImage]:
    """The weighted sum of the first three channels and an offset, and the largest of the three; strip by strip (see
    `_levelled`)."""
    total, most = np.empty(away.shape[:2], dtype=np.uint8), np.empty(away.shape[:2], dtype=np.uint8)
    red_share, green_share, blue_share = weights.tolist()
    for top in range(0, away.shape[0], _STRIP):
        lines = slice(top, min(away.shape[0], top + _STRIP))
        red, green, blue = cv2.split(away[lines])[:3]
        # In floats: what is below 0 on the way may come back.
        some = cv2.addWeighted(red, red_share, green, green_share, offset, dtype=cv2.CV_32F)
        some = np.maximum(cv2.scaleAdd(blue.astype(np.float32), blue_share, some), np.float32(0))
        cv2.convertScaleAbs(some, dst=total[lines])
        cv2.max(cv2.max(red, green, dst=red), blue, dst=most[lines])
    return total, most


def _levelled(image: ByteImage, bow: NDArray[np.float32], lean: Lean | None, factor: float) -> ByteImage:
    """`image` with each column moved up by the bow, linear between the page's top and bottom, and its lines upright."""
    height, width = image.shape[:2]
    ramp = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None]
    turn = bow[1] - bow[0]
    wide = width if lean is None else width + round(2 * lean.margin * factor)
    out = np.empty((height, wide, *image.shape[2:]), dtype=np.uint8)
    level = np.arange(width, dtype=np.float32)[None, :]
    # Strip by strip: maps of the whole page do not fit into the cache.
    for top in range(0, height, _STRIP):
        lines = slice(top, min(height, top + _STRIP))
        if lean is None:
            y = np.arange(lines.start, lines.stop, dtype=np.float32)[:, None] + bow[0][None, :]
            y += ramp[lines] * turn[None, :]
            x = np.broadcast_to(level, y.shape)
        else:
            x, y = lean.places((wide, height), factor, lines)
            if turn.any() or bow[0].any():
                column = np.clip(x, 0, width - 1).astype(np.int32)
                y += bow[0].take(column) + ramp[lines] * turn.take(column)
        cv2.remap(image, np.ascontiguousarray(x), y, cv2.INTER_LINEAR, dst=out[lines], borderMode=cv2.BORDER_REPLICATE)
    return out


def _reduced(rgb: ByteImage, onto: Matrix, wanted: float) -> tuple[ByteImage, Matrix]:
    """The picture made smaller by averaging, and the homography from the smaller one."""
    height, width = rgb.shape[:2]
    size = (max(16, round(width * wanted)), max(16, round(height * wanted)))
    # Halves, which are fast, and for the rest the mean of two by two; OpenCV's own mean is ten times as slow.
    small = halved_towards(rgb, size)
    if small.shape[:2] != (size[1], size[0]):
        small = np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    sx, sy = width / size[0], height / size[1]
    back = np.array([[sx, 0.0, 0.5 * sx - 0.5], [0.0, sy, 0.5 * sy - 0.5], [0.0, 0.0, 1.0]])
    return small, onto @ back


def _paper(fine: ByteImage) -> ByteImage:
    """Local colour of the paper, at the size of the picture."""
    height, width = fine.shape[:2]
    small = cv2.resize(fine, (max(8, width // 8), max(8, height // 8)), interpolation=cv2.INTER_AREA)
    paper = cv2.dilate(small, np.ones((7, 7), np.uint8))
    paper = cv2.blur(cv2.blur(paper, (7, 7)), (5, 5))
    paper = cv2.resize(np.maximum(paper, np.uint8(1)), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(paper, dtype=np.uint8)


def _discriminant(away: ByteImage, rows: TraceRows, factor: float) -> tuple[NDArray[np.float64], float]:
    """Weights of the three channels and an offset: 0 on paper and grid beside the traces, 230 in a trace's middle."""
    height, width = away.shape[:2]
    trace = rows.trace
    near = cv2.dilate(trace, np.ones((17, 17), np.uint8))
    beside = cv2.bitwise_and(near, cv2.bitwise_not(cv2.dilate(trace, np.ones((5, 5), np.uint8))))
    inside = cv2.bitwise_and(trace, cv2.threshold(rows.ink, 200, 255, cv2.THRESH_BINARY)[1])
    samples = []
    for mask, most in ((inside, 6000), (beside, 12000)):
        places = inked_pixels(np.asarray(mask, dtype=np.uint8))
        ys, xs = np.divmod(places[:: max(1, places.size // most)], trace.shape[1])
        fy = np.clip(((ys + 0.5) * factor).astype(int), 0, height - 1)
        fx = np.clip(((xs + 0.5) * factor).astype(int), 0, width - 1)
        samples.append(away[fy, fx, :3].astype(np.float64))
    on, off = samples
    if on.shape[0] < 50 or off.shape[0] < 50:
        return np.full(3, 1 / 3), 0.0
    # The middle of a stroke: the darker half of what was marked.
    total = on.sum(axis=1)
    on = on[total >= np.median(total)]
    mean_on, mean_off = on.mean(axis=0), off.mean(axis=0)
    spread = np.cov(off.T) + 0.1 * np.cov(on.T) + 20.0 * np.eye(3)
    weights = np.linalg.solve(spread, mean_on - mean_off)
    rise = float(weights @ (mean_on - mean_off))
    if rise <= 0:
        return np.full(3, 1 / 3), 0.0
    weights = weights * (230.0 / rise)
    return weights, float(-weights @ mean_off)
