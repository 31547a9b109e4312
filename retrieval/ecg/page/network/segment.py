"""One look at a page: classes of pixels, lead names, local scale."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.network.classes import CLASSES, LEADS, working_size
from ecgkin.retrieval.ecg.page.network.model import NAME_STEP
from ecgkin.retrieval.ecg.page.network.weights_file import default_weights, load_reader
from ecgkin.retrieval.errors import ImageError

if TYPE_CHECKING:
    import torch

__all__ = ["CLASSES", "LEADS", "FoundName", "PageLooks", "look"]

_NAME_SCORE = 0.3
_NAME_REACH = 0.8  # letter heights; of two names closer than this the surer one stays
_lock = Lock()


@dataclass(frozen=True, slots=True)
class FoundName:
    """A printed lead name.

    Attributes:
        lead: One of `LEADS`.
        x, y: Its middle in pixels of the picture that was given to `look` (the middle of the first pixel is 0.5).
        score: 0 to 1.
        height_px: Height of the letters in pixels of that picture.
        runner_up, runner_up_score: The next likely lead at the same place.
    """

    lead: str
    x: float
    y: float
    score: float
    height_px: float
    runner_up: str
    runner_up_score: float


@dataclass(frozen=True, slots=True, eq=False)
class PageLooks:
    """What the network says about a picture.

    Attributes:
        probabilities: uint8, 255 = certain, shape (n_classes, h, w), in the order of `CLASSES`, of the picture at
            `size` / 2.
        size: (width, height) at which the network looked at the picture.
        zoom: (x, y) factors from the given picture to `size`: a point (x, y) of the given picture lies at
            (x * zoom[0] / 2, y * zoom[1] / 2) of `probabilities` (continuous pixels: the first one's middle is 0.5).
        lead_names: Names, surest first.
        frame: Local scale in cells of 16 px of the picture at `size`: px of the *given* picture per mm along and
            across the rows, and the angles of both axes in radians (positive: clockwise on the screen); shape
            (4, rows, columns). Meaningful on gridded paper, a guess elsewhere.
    """

    probabilities: NDArray[np.uint8]
    size: tuple[int, int]
    zoom: tuple[float, float]
    lead_names: tuple[FoundName, ...]
    frame: NDArray[np.float32]

    def of(self, name: str) -> NDArray[np.uint8]:
        """The map of one class, shape (h, w)."""
        return np.asarray(self.probabilities[CLASSES.index(name)], dtype=np.uint8)


def look(
    page: NDArray[np.uint8], *, threads: int | None = None, weights: Path | None = None, name_score: float = _NAME_SCORE
) -> PageLooks:
    """Run the network once over a picture, straightened or not.

    Args:
        page: RGB, uint8, shape (height, width, 3), upright within about 20 degrees.
        threads: Threads of the network; as torch is set up where None. Applies to this call alone.
        weights: File of weights; the packaged one where None.
        name_score: Least score of a lead name.

    Returns:
        Probabilities at half the working size, lead names and local scale.

    Raises:
        ImageError: The page is not uint8 RGB or under 32 px on a side.
        WeightsMissingError, ModelError: The weights are missing or damaged.
    """
    if page.dtype != np.uint8 or page.ndim != 3 or page.shape[2] != 3 or min(page.shape[:2]) < 32:
        raise ImageError(
            f"page is {page.dtype} of shape {page.shape} (expected uint8 (height, width, 3), 32 px or more)",
            hint="convert it with PIL: np.asarray(image.convert('RGB'))",
        )
    height, width = page.shape[:2]
    size = working_size(height, width)
    pixels, names, frame = _run(page, size, weights or default_weights(), threads)
    zoom = size[0] / width, size[1] / height
    return PageLooks(pixels, size, zoom, _names(names, zoom, name_score), _frame(frame, zoom))


def _resized(page: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture at `size` (width, height): smoothed first where it shrinks (four times faster than INTER_AREA)."""
    if size[0] >= page.shape[1]:
        return np.asarray(cv2.resize(page, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    import torch

    planes = torch.from_numpy(np.ascontiguousarray(page)).permute(2, 0, 1)[None]
    small = torch.nn.functional.interpolate(planes, size=(size[1], size[0]), mode="bilinear", antialias=True)
    return np.ascontiguousarray(small[0].permute(1, 2, 0).numpy())


def _run(
    picture: NDArray[np.uint8], size: tuple[int, int], weights: Path, threads: int | None
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities as bytes, name maps (scores 0 to 1, log height last) and frame."""
    import torch

    model, kind = _ready(weights)
    before = torch.get_num_threads()
    with _lock:
        if threads is not None and threads != before:
            torch.set_num_threads(threads)
        try:
            with torch.inference_mode():
                planes = torch.from_numpy(_resized(picture, size)).permute(2, 0, 1)[None]
                page = planes.to(kind).mul_(1 / 255).contiguous(memory_format=torch.channels_last)
                pixels, names, frame = model(page)
                shares = torch.softmax(pixels.float(), dim=1).mul_(255).add_(0.5).to(torch.uint8)
                found = names.float()
                found[:, :-1].sigmoid_()
        finally:
            if threads is not None and threads != before:
                torch.set_num_threads(before)
    return shares[0].contiguous().numpy(), found[0].contiguous().numpy(), frame[0].float().contiguous().numpy()


def _ready(weights: Path) -> tuple[torch.nn.Module, torch.dtype]:
    """The network in the number format that this machine multiplies fastest."""
    return _converted(load_reader(weights))


@lru_cache(maxsize=2)
def _converted(model: torch.nn.Module) -> tuple[torch.nn.Module, torch.dtype]:
    import copy

    import torch

    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    kind = torch.bfloat16 if fast else torch.float32
    return copy.deepcopy(model).to(kind).to(memory_format=torch.channels_last), kind


def _names(maps: NDArray[np.float32], zoom: tuple[float, float], least: float) -> tuple[FoundName, ...]:
    """Peaks of the name maps; at one place the surest lead."""
    scores, heights = maps[:-1], maps[-1]
    best = scores.max(axis=0)
    ring = cv2.dilate(best, np.ones((3, 3), np.uint8))
    rows, columns = np.nonzero((best >= least) & (best >= ring))
    order = np.argsort(-best[rows, columns], kind="stable")
    found: list[FoundName] = []
    for row, column in zip(rows[order], columns[order], strict=True):
        here = scores[:, row, column]
        first, second = (int(i) for i in np.argsort(-here, kind="stable")[:2])
        dx, dy = _beside(best, row, column)
        x = (column + 0.5 + dx) * NAME_STEP / zoom[0]
        y = (row + 0.5 + dy) * NAME_STEP / zoom[1]
        tall = float(np.exp(np.clip(heights[row, column], 0.0, 5.5))) / zoom[1]
        reach = [(f, _NAME_REACH * f.height_px) for f in found]
        if any(abs(x - f.x) < 1.6 * r and abs(y - f.y) < r for f, r in reach):
            continue
        found.append(FoundName(LEADS[first], x, y, float(here[first]), tall, LEADS[second], float(here[second])))
    return tuple(found)


def _beside(best: NDArray[np.float32], row: int, column: int) -> tuple[float, float]:
    """Where the peak lies between cells: the vertex of a parabola through the logs, -0.5 to 0.5."""

    def vertex(a: float, b: float, c: float) -> float:
        low = 1e-4
        p, q, r = (float(np.log(max(v, low))) for v in (a, b, c))
        bend = p - 2 * q + r
        return float(np.clip(0.5 * (p - r) / bend, -0.5, 0.5)) if bend < -1e-6 else 0.0

    h, w = best.shape
    dx = vertex(best[row, column - 1], best[row, column], best[row, column + 1]) if 0 < column < w - 1 else 0.0
    dy = vertex(best[row - 1, column], best[row, column], best[row + 1, column]) if 0 < row < h - 1 else 0.0
    return dx, dy


def _frame(frame: NDArray[np.float32], zoom: tuple[float, float]) -> NDArray[np.float32]:
    """Scale in the given picture's pixels per mm (both zooms are the same within a per cent), angles as they are."""
    out = frame.astype(np.float32)
    out[0] = np.exp(np.clip(frame[0], -2.0, 5.0)) / np.float32(zoom[0])
    out[1] = np.exp(np.clip(frame[1], -2.0, 5.0)) / np.float32(zoom[1])
    return out
