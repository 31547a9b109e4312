"""Wild pages: any ECG on any paper, photographed, scanned, copied or shown on a screen, with exact labels.

Some show no ECG: text, charts, ruled paper, textures. Their curves and letters are marks, not traces.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.augment.photograph import draw_background
from ecgkin.retrieval.ecg.page.network.classes import CLASSES, working_size
from ecgkin.retrieval.ecg.page.training.camera import (
    KINDS,
    MAP_STEP,
    View,
    expose,
    lay_on_table,
    place,
    to_picture,
    warp,
)
from ecgkin.retrieval.ecg.page.training.grids import draw_grid, draw_grid_style
from ecgkin.retrieval.ecg.page.training.layouts import Layout, Stretch, draw_layout
from ecgkin.retrieval.ecg.page.training.lettering import draw_lettering, paste, text_mask
from ecgkin.retrieval.ecg.page.training.sheets import INKS, draw_sheet
from ecgkin.retrieval.ecg.page.training.signals import Signals, SignalSource
from ecgkin.retrieval.ecg.page.training.wording import header_lines

Plane = NDArray[np.uint8]

_KIND_SHARES = (0.26, 0.17, 0.40, 0.05, 0.12)
_NEGATIVES = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class ShownLead:
    """The truth about one printed stretch of a lead as it lies in the picture.

    Attributes:
        stretch: Lead, row, column, start on the time axis of the recording, place on the page in mm.
        samples_mv: What is printed, at 500 Hz.
        points_px: Picture coordinates of the samples (the middle of the first pixel is 0.5), shape (n, 2), x before y.
        visible: Which samples lie inside the picture, shape (n,).
    """

    stretch: Stretch
    samples_mv: NDArray[np.float32]
    points_px: NDArray[np.float64]
    visible: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class WildPage:
    """A picture of a page and what is true of it.

    Attributes:
        image: RGB, uint8, shape (height, width, 3).
        planes: Coverage of each of `CLASSES`, uint8, shape (n_classes, height, width); sums to 255.
        names: Lead and box of each printed lead name: corners in picture coordinates, shape (4, 2).
        frame: Local scale every 16 px (centres at 8, 24, ...): log px/mm along and across the rows, and the angles of
            both axes in radians; float32, shape (4, rows, columns).
        known: Weight of `frame`: 1 on gridded paper, less on plain paper, 0 outside; shape (rows, columns).
        leads: What is printed.
        layout: The plan of the page; None on pictures that show no ECG.
        kind: How the picture came about.
        page_to_picture: The map; None on pictures that show no ECG.
        page_px_per_mm, origin_mm: Page millimetres to the map's page pixels: (mm - origin) * scale.
    """

    image: NDArray[np.uint8]
    planes: NDArray[np.uint8]
    names: list[tuple[str, NDArray[np.float64]]]
    frame: NDArray[np.float32]
    known: NDArray[np.float32]
    leads: list[ShownLead]
    layout: Layout | None
    kind: str
    view: View | None
    page_px_per_mm: float
    origin_mm: tuple[float, float]

    @property
    def classes(self) -> NDArray[np.uint8]:
        """The class of each pixel: the one that covers most of it, shape (height, width)."""
        return np.asarray(self.planes.argmax(axis=0), dtype=np.uint8)


def wild_page(
    rng: np.random.Generator, source: SignalSource | Signals | None = None, *, negatives: float = _NEGATIVES,
    kind: str | None = None, size: float | None = None, layout: Layout | None = None,
    truth: bool = True,
) -> WildPage:  # fmt: skip
    """A random page.

    Args:
        rng: The only source of chance: the same state gives the same page (on a machine with the same fonts).
        source: Where signals come from, or the signals (lead -> mV at 500 Hz, 10 s); the simulator where None.
        negatives: Share of pictures that show no ECG.
        kind: One of `camera.KINDS`; drawn where None.
        size: Factor on the size of the picture, 1 for that at which the network looks at it; drawn where None.
        layout: The plan of the page; drawn where None.
        truth: Whether `leads` is wanted; the picture is the same without.

    Returns:
        Picture and truth.
    """
    if rng.random() < negatives:
        return _negative(rng)
    plan = layout or draw_layout(rng)
    signals = source if isinstance(source, dict) else (source or SignalSource()).draw(rng)
    how = kind or str(rng.choice(KINDS, p=_KIND_SHARES))
    window = _window(plan, rng)
    wide_mm, tall_mm = window[2] - window[0], window[3] - window[1]
    stretch = float(rng.choice((1.0, rng.uniform(0.82, 1.2)), p=(0.85, 0.15)))
    width, height = working_size(round(tall_mm * stretch * 10), round(wide_mm * 10), may_enlarge=True)
    factor = size or float(rng.choice((1.0, rng.uniform(0.6, 1.1)), p=(0.5, 0.5)))
    width, height = max(320, round(width * factor / 2) * 2), max(256, round(height * factor / 2) * 2)
    scale = min(width / wide_mm, height / tall_mm * 1.25)
    edge = 0.12 * max(wide_mm, tall_mm) if how in ("photo", "screen", "scan", "copy") else 0.0
    margin = float(rng.choice((0.0, rng.uniform(0, 12))))
    canvas = (max(window[0] - edge, min(-margin, window[0])), max(window[1] - edge, min(-margin, window[1])),
              min(window[2] + edge, max(plan.width_mm + margin, window[2])),
              min(window[3] + edge, max(plan.height_mm + margin, window[3])))  # fmt: skip
    sheet = draw_sheet(plan, signals, canvas, scale, rng)
    tall, wide = sheet.rgb.shape[:2]
    shown = tuple((v - o) * scale for v, o in zip(window, (canvas[0], canvas[1]) * 2, strict=True))
    view = place((wide, tall), (shown[0], shown[1], shown[2], shown[3]), (width, height), how, rng)
    picture, inside = lay_on_table(sheet.rgb, view, rng)
    inks = warp(np.ascontiguousarray(np.moveaxis(sheet.inks, 0, -1)), view)
    two = warp(np.stack([sheet.grid, sheet.gridded], axis=-1), view)
    picture = expose(picture, how, view, rng, np.ascontiguousarray(inks[..., INKS.index("trace")]))
    planes = _planes(inks, two[..., 0], inside)
    names = _names(sheet.names, view)
    frame, known = _frame(view, scale, two[..., 1], inside)
    leads = []
    for printed in sheet.leads if truth else []:
        points = to_picture(view, printed.points_px)
        seen = (points[:, 0] >= 0) & (points[:, 0] < width) & (points[:, 1] >= 0) & (points[:, 1] < height)
        leads.append(ShownLead(printed.stretch, printed.samples_mv, points, seen))
    return WildPage(picture, planes, names, frame, known, leads, plan, how, view, scale, sheet.origin_mm)


def _window(layout: Layout, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Which part of the page the picture is about, in mm."""
    width, height = layout.width_mm, layout.height_mm
    kind = rng.random()
    ys = layout.row_y_mm
    pitch = float(np.median(np.diff(ys))) if len(ys) > 1 else 25.0
    left = min(s.x_mm for s in layout.stretches)
    right = max(s.x_mm + s.duration_s * layout.speed_mm_s for s in layout.stretches)
    if kind < 0.45:
        room = float(rng.choice((0.0, rng.uniform(0.0, 12.0))))
        window = [-room, -room, width + room, height + room]
    elif kind < 0.8:  # cut to the curves
        window = [left - rng.uniform(-1, 14), max(0.0, ys[0] - pitch * rng.uniform(0.4, 0.9)),
                  right + rng.uniform(-1, 10), ys[-1] + pitch * rng.uniform(0.3, 0.8)]  # fmt: skip
    else:  # a part
        window = [rng.uniform(-5, 0.45 * width), rng.uniform(-5, 0.4 * height), 0.0, 0.0]
        window[2] = window[0] + rng.uniform(0.35, 0.9) * width
        window[3] = window[1] + rng.uniform(0.35, 0.9) * height
    if window[2] - window[0] < 90:
        window[2] = window[0] + 90
    if window[3] - window[1] < 38:
        window[3] = window[1] + 38
    return window[0], window[1], window[2], window[3]


def _planes(inks: NDArray[np.uint8], grid: NDArray[np.uint8], inside: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Coverage of each class: what is printed later hides what lies below; all sum to 255."""
    height, width = grid.shape
    planes = np.zeros((len(CLASSES), height, width), dtype=np.uint8)
    left = np.full((height, width), 255, dtype=np.uint8)
    for name in ("trace", "pulse", "text", "stroke"):
        cover = np.minimum(inks[..., INKS.index(name)], left)
        planes[CLASSES.index(name)] = cover
        left = left - cover
    outside = np.minimum(255 - inside, left)
    planes[CLASSES.index("outside")] = outside
    left = left - outside
    lines = np.minimum(grid, left)
    planes[CLASSES.index("grid")] = lines
    planes[CLASSES.index("paper")] = left - lines
    return planes


def _names(
    boxes: list[tuple[str, tuple[float, float, float, float]]], view: View
) -> list[tuple[str, NDArray[np.float64]]]:
    width, height = view.geometry.photo_size
    found = []
    flat = np.array([[(x0, y0), (x1, y0), (x1, y1), (x0, y1)] for _, (x0, y0, x1, y1) in boxes]).reshape(-1, 2)
    for (lead, _), corners in zip(boxes, to_picture(view, flat).reshape(-1, 4, 2), strict=True):
        cx, cy = corners.mean(axis=0)
        inside = ((corners >= 0) & (corners <= (width, height))).all(axis=1).mean()
        if 0 <= cx < width and 0 <= cy < height and inside >= 0.5:
            found.append((lead, corners))
    return found


def _frame(
    view: View, px_per_mm: float, gridded: NDArray[np.uint8], inside: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Local scale and axes from the map, and where they can be seen."""
    height, width = gridded.shape
    rows, columns = -(-height // MAP_STEP), -(-width // MAP_STEP)
    nodes = view.nodes  # page px at picture (k - 0.5) * 16
    d_dx = (nodes[:, 2:] - nodes[:, :-2])[1:-1] / (2 * MAP_STEP)
    d_dy = (nodes[2:] - nodes[:-2])[:, 1:-1] / (2 * MAP_STEP)
    jacobian = np.stack([d_dx, d_dy], axis=-1)[:rows, :columns]  # page px by picture px; columns d/dx, d/dy
    inverse = np.linalg.inv(jacobian) * px_per_mm
    along, across = inverse[..., :, 0], inverse[..., :, 1]
    frame = np.stack(
        [np.log(np.hypot(along[..., 0], along[..., 1])), np.log(np.hypot(across[..., 0], across[..., 1])),
         np.arctan2(along[..., 1], along[..., 0]), np.arctan2(-across[..., 0], across[..., 1])]
    )  # fmt: skip
    shape = (columns, rows)
    seen = cv2.resize(inside, shape, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    grid = cv2.resize(gridded, shape, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    known = np.where(seen > 0.9, 0.15 + 0.85 * grid, 0.0)
    return frame.astype(np.float32), known.astype(np.float32)


def _negative(rng: np.random.Generator) -> WildPage:
    factor = float(rng.uniform(0.5, 1.0))
    width, height = working_size(round(800 * rng.uniform(0.6, 1.4)), 1000, may_enlarge=True)
    width, height = max(320, round(width * factor / 2) * 2), max(256, round(height * factor / 2) * 2)
    picture, marks, grid = draw_negative((width, height), rng)
    kind = str(rng.choice(("photo", "scan", "copy", "screenshot")))
    view = place((width, height), (0.0, 0.0, float(width), float(height)), (width, height), kind, rng)
    picture, inside = lay_on_table(picture, view, rng)
    two = warp(np.stack([marks, grid], axis=-1), view)
    inks = np.zeros((height, width, len(INKS)), dtype=np.uint8)
    inks[..., INKS.index("text")] = two[..., 0]
    picture = expose(picture, kind, view, rng)
    rows, columns = -(-height // MAP_STEP), -(-width // MAP_STEP)
    return WildPage(
        picture, _planes(inks, two[..., 1], inside), [], np.zeros((4, rows, columns), np.float32),
        np.zeros((rows, columns), np.float32), [], None, "negative " + kind, None, 0.0, (0.0, 0.0),
    )  # fmt: skip


def draw_negative(size: tuple[int, int], rng: np.random.Generator) -> tuple[NDArray[np.uint8], Plane, Plane]:
    """A picture (RGB), the coverage of its marks, and of its 5 mm lines where it is on graph paper.

    Args:
        size: (width, height), px.
        rng: Draws.

    Returns:
        Picture and two coverages, uint8.
    """
    width, height = size
    kind = int(rng.integers(5))
    marks = np.zeros((height, width), dtype=np.uint8)
    grid = np.zeros((height, width), dtype=np.uint8)
    if kind == 0:  # clouds of colour at several sizes: a photograph of anything
        clouds = draw_background(size, rng).astype(np.float32)
        for cells in (3, 9, 27, 81):
            noise = rng.normal(0, 120 / np.sqrt(cells), (cells, cells + 1, 3)).astype(np.float32)
            clouds += cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC)
        page = np.clip(clouds, 0, 255).astype(np.uint8)
        for _ in range(int(rng.integers(0, 12))):
            points = (rng.uniform(-0.1, 1.1, (int(rng.integers(3, 6)), 2)) * size).astype(np.int32)
            cv2.fillPoly(page, [points], [int(v) for v in rng.integers(0, 256, 3)], cv2.LINE_AA)
        return page, marks, grid
    scale = float(rng.uniform(3.0, 7.0))
    if kind == 1:  # empty or crumpled paper, graph paper
        style = draw_grid_style(rng)
        page, grid, _ = draw_grid(style, (height, width), (-1, -1, width + 1, height + 1), scale, rng)
        return page, marks, grid
    page = np.full((height, width, 3), 255, dtype=np.uint8)
    if kind == 2:  # ruled paper with words
        step = scale * float(rng.uniform(6, 12))
        for y in np.arange(step, height, step):
            cv2.line(page, (0, round(y)), (width, round(y)), (150, 170, 220), 1, cv2.LINE_AA)
    font = draw_lettering(rng)
    em = max(8, round(scale * rng.uniform(2.5, 5.0)))
    for text, x, y in header_lines(width / scale, height / scale * 2, em / scale * 1.5, rng) + header_lines(
        width / scale, height / scale * 2, em / scale * 1.5, rng
    ):
        paste(marks, text_mask(text, em, font), x * scale, y * scale)
    if kind == 4:  # a chart with axes
        x0, y0 = rng.uniform(0.05, 0.2) * width, rng.uniform(0.05, 0.2) * height
        x1, y1 = rng.uniform(0.6, 0.97) * width, rng.uniform(0.6, 0.97) * height
        cv2.rectangle(marks, (round(x0), round(y0)), (round(x1), round(y1)), 255, 1 + int(rng.integers(3)), cv2.LINE_AA)
        for _ in range(int(rng.integers(1, 4))):
            n = int(rng.integers(4, 30))
            walk = np.cumsum(rng.normal(0, 1, n))
            walk = (walk - walk.min()) / (np.ptp(walk) + 1e-6)
            xs = np.linspace(x0, x1, 200)
            ys = y1 - (y1 - y0) * np.interp(xs, np.linspace(x0, x1, n), walk)
            points = np.rint(np.stack([xs, ys], axis=1) * 16).astype(np.int32).reshape(-1, 1, 2)
            cv2.polylines(marks, [points], False, 255, int(rng.integers(1, 5)), cv2.LINE_AA, 4)
    colour = np.array([int(v) for v in rng.integers(0, 110, 3)], dtype=np.float32)
    alpha = marks[..., None].astype(np.float32) / np.float32(255)
    page = (page + (colour - page) * alpha).astype(np.uint8)
    return page, marks, grid
