"""A page found in a picture, straightened, with its traces marked: what every later step of reading works on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.lean import Lean, find_lean
from ecgkin.retrieval.ecg.page.network.segment import FoundName
from ecgkin.retrieval.ecg.page.pieces import page_side
from ecgkin.retrieval.ecg.page.rows import TraceRows, signal_ends

ByteImage = NDArray[np.uint8]
Matrix = NDArray[np.float64]

# Side of the fine picture: a page of 280 mm at 8 px/mm. More px than the sampling rate needs only cost time.
FINE_SIDE = 2200
LEAST_FINE_SIDE = 1600  # small pictures are enlarged, so that strokes are a few px wide


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
    """The page with its upright lines made upright, where they lean by a pixel or more."""
    rows = sheet.rows
    lean = find_lean(sheet.lines, (rows.left, rows.top, rows.right, rows.bottom))
    if lean is None:
        return sheet
    trace = lean.moved(rows.trace, sharp=True)
    level = (rows.top + rows.bottom) / 2
    ends = [
        float(lean.upright(np.array([float(x)]), np.array([y]))[0]) for x in (rows.left, rows.right) for y in (level,)
    ]
    left, right = signal_ends(trace, rows.baselines, (round(ends[0]), round(ends[1])))
    moved = replace(
        rows, ink=lean.moved(rows.ink), trace=trace, solid=lean.moved(rows.solid, sharp=True), left=left, right=right
    )
    marks = sheet.marks
    if marks is not None:
        names = tuple(
            replace(name, x=float(lean.upright(np.array([name.x]), np.array([name.y]))[0])) for name in marks.names
        )
        marks = Marks(
            lean.moved(marks.trace), lean.moved(marks.pulse), lean.moved(marks.text), lean.moved(marks.stroke), names
        )
    return replace(sheet, rows=moved, lines=lean.moved(sheet.lines), marks=marks, lean=lean)


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
        warped = cv2.warpPerspective(rgb, onto, size, flags=kind, borderMode=cv2.BORDER_REPLICATE)
        fine = np.asarray(warped, dtype=np.uint8)
    paper = _paper(fine)
    away = np.asarray(cv2.bitwise_not(cv2.divide(fine, paper, scale=255)), dtype=np.uint8)
    if sheet.bow is not None or sheet.lean is not None:
        bow = np.zeros((2, size[0]), dtype=np.float32)
        if sheet.bow is not None:
            bow = cv2.resize(sheet.bow.astype(np.float32), (size[0], 2), interpolation=cv2.INTER_LINEAR) * factor
        away = _levelled(away, bow, sheet.lean, factor)
    lines = cv2.max(cv2.max(away[..., 0], away[..., 1]), away[..., 2])
    weights, offset = _discriminant(away, sheet.rows, factor)
    darkness = cv2.transform(away, np.array([[*weights, offset]], dtype=np.float64))
    return FineSheet(
        np.asarray(darkness, dtype=np.uint8).reshape(away.shape[:2]), np.asarray(lines, dtype=np.uint8), factor
    )


def _levelled(image: ByteImage, bow: NDArray[np.float32], lean: Lean | None, factor: float) -> ByteImage:
    """`image` with each column moved up by the bow, linear between the page's top and bottom, and its lines upright."""
    height, width = image.shape[:2]
    ramp = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None]
    if lean is None:
        y = np.arange(height, dtype=np.float32)[:, None] + bow[0][None, :] + ramp * (bow[1] - bow[0])[None, :]
        x = np.ascontiguousarray(np.broadcast_to(np.arange(width, dtype=np.float32)[None, :], y.shape))
    else:
        x, y = lean.places((width + round(2 * lean.margin * factor), height), factor)
        if bow.any():
            column = np.clip(x, 0, width - 1).astype(np.int32)
            y += bow[0][column] + ramp * (bow[1] - bow[0])[column]
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8)


def _reduced(rgb: ByteImage, onto: Matrix, wanted: float) -> tuple[ByteImage, Matrix]:
    """The picture made smaller by averaging, and the homography from the smaller one."""
    height, width = rgb.shape[:2]
    size = (max(16, round(width * wanted)), max(16, round(height * wanted)))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    sx, sy = width / size[0], height / size[1]
    back = np.array([[sx, 0.0, 0.5 * sx - 0.5], [0.0, sy, 0.5 * sy - 0.5], [0.0, 0.0, 1.0]])
    return np.asarray(small, dtype=np.uint8), onto @ back


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
        ys, xs = np.nonzero(mask)
        step = max(1, ys.size // most)
        ys, xs = ys[::step], xs[::step]
        fy = np.clip(((ys + 0.5) * factor).astype(int), 0, height - 1)
        fx = np.clip(((xs + 0.5) * factor).astype(int), 0, width - 1)
        samples.append(away[fy, fx].astype(np.float64))
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
