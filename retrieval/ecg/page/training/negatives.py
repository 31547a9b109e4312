"""Pictures that show no ECG: text, charts, ruled paper, textures. Their curves and letters are marks, not traces."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.augment.photograph import draw_background
from ecgkin.retrieval.ecg.page.training.grids import draw_grid, draw_grid_style
from ecgkin.retrieval.ecg.page.training.lettering import draw_lettering, paste, text_mask
from ecgkin.retrieval.ecg.page.training.wording import header_lines

Plane = NDArray[np.uint8]


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
