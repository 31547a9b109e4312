"""One look at a page: classes of pixels, lead names, local scale."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ecgkin.retrieval.beside import Beside
from ecgkin.retrieval.ecg.page.network.classes import CLASSES, LEADS, working_size
from ecgkin.retrieval.ecg.page.network.graphs import PAGE_OUTPUTS, bytes_graph, letters_graph, names_graph, page_graph
from ecgkin.retrieval.ecg.page.network.letters import ReadLine, decoded
from ecgkin.retrieval.ecg.page.network.model import NAME_STEP, in_channels_last
from ecgkin.retrieval.ecg.page.network.names import as_batch, cut_out, standardised
from ecgkin.retrieval.ecg.page.network.weights_file import load_letter_reader, load_name_reader, load_reader
from ecgkin.retrieval.errors import ImageError
from ecgkin.retrieval.graphs import Graph, threads_beside

if TYPE_CHECKING:
    import torch

__all__ = ["CLASSES", "LEADS", "FoundName", "PageLooks", "look", "read_lines"]

_PLACE_SCORE = 0.35  # places where a name may stand; the second network decides
_NAME_SCORE = 0.3
_MOST_NAMES = 32  # places looked at, surest first: a page has 12 to 15 names
_REACH = 0.8  # letter heights; of two places closer than this the surer one stays
_lock = Lock()
_usual: list[int] = []  # torch's threads as they were, and an entry for each caller that changed them

_Place = tuple[float, float, float, float, NDArray[np.float32]]  # x, y, height, score, scores by lead


@dataclass(frozen=True, slots=True, eq=False)
class FoundName:
    """A printed lead name.

    Attributes:
        lead: The likeliest of `LEADS`.
        x, y: Its middle in pixels of the picture that was given to `look` (the middle of the first pixel is 0.5).
        score: Probability that this name stands there, 0 to 1.
        height_px: Height of the letters in pixels of that picture.
        chances: Probability of each of `LEADS`, shape (n_leads,); the rest to 1 is "no lead name".
    """

    lead: str
    x: float
    y: float
    score: float
    height_px: float
    chances: NDArray[np.float32]


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
            (4, rows, columns), (4, 0, 0) where it was not asked for. Meaningful on gridded paper, a guess elsewhere.
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
    page: NDArray[np.uint8],
    *,
    threads: int | None = None,
    weights: Path | None = None,
    name_score: float = _NAME_SCORE,
    local: bool = True,
    beside: Callable[[], bool] | None = None,
) -> PageLooks:
    """Run the networks once over a picture, straightened or not.

    Args:
        page: RGB, uint8, shape (height, width, 3), upright within about 20 degrees.
        threads: Threads of the networks in this call; as torch or `graphs.default_threads` has it where None.
        weights: Folder of weights, or a file in it; that of the package where None.
        name_score: Least probability of a lead name.
        local: Whether the local scale is asked for; reading a page does without.
        beside: While it says True, the caller is at work beside the networks, and they keep to one thread: threads of
            torch wait for each other by turning, and would take the core that the caller needs.

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
    zoom = size[0] / width, size[1] / height
    fewer = threads_beside() if threads is None and beside is not None else threads
    quick = None if local else bytes_graph(weights, fewer)
    # Names come last, when the caller is mostly done.
    graphs = quick or page_graph(weights, fewer), names_graph(weights, threads, many=quick is not None)

    def between() -> None:
        if beside is not None and not beside():
            import torch

            torch.set_num_threads(_usual[0])

    one = (quick is not None and _has_torch()) or (not all(graphs) and beside is not None)
    with _threads(1 if one else None if all(graphs) else threads):
        if quick is not None:
            pixels, maps, frame = _run_bytes(page, size, quick)
        else:
            pixels, maps, frame = _run(page, size, weights, graphs[0], local, between)
        names = _read_names(page, _places(maps, zoom), weights, name_score, graphs[1])
    frame[:2] = np.exp(np.clip(frame[:2], -2.0, 5.0)) / np.array(zoom, dtype=np.float32)[:, None, None]
    return PageLooks(pixels, size, zoom, names, frame)


def suspected_places(page: NDArray[np.uint8], weights: Path | None = None) -> list[_Place]:
    """Where the first network alone suspects lead names: x, y, letter height, score, scores by lead; surest first.

    Args:
        page: What the network answered.
        weights: Of the reader of names.

    Returns:
        Places.
    """
    height, width = page.shape[:2]
    size = working_size(height, width)
    return _places(_run(page, size, weights, page_graph(weights, None))[1], (size[0] / width, size[1] / height))


@contextmanager
def _threads(wanted: int | None) -> Iterator[None]:
    """Torch with another number of threads in the calling thread.

    Torch keeps a number for each thread that has used it, and one that others begin with: the last to leave puts that
    one back.
    """
    if wanted is None:
        yield
        return
    import torch

    with _lock:
        if not _usual:
            _usual.append(torch.get_num_threads())
        _usual.append(wanted)
        torch.set_num_threads(wanted)
    try:
        yield
    finally:
        with _lock:
            _usual.pop()
            torch.set_num_threads(_usual[0])
            if len(_usual) == 1:
                _usual.clear()


def _forked() -> None:
    """Begin anew in a child process: who held the lock is not there."""
    global _lock
    _lock = Lock()
    _usual.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def halved_towards(page: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture halved by averaging, as often as it stays at least as large as `size` (width, height)."""
    while page.shape[1] >= 2 * size[0] and page.shape[0] >= 2 * size[1]:
        height, width = page.shape[0] // 2, page.shape[1] // 2
        even = page[: 2 * height, : 2 * width]
        page = np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return page


def _resized(page: NDArray[np.uint8], size: tuple[int, int]) -> torch.Tensor:
    """The picture at `size` (width, height), (1, 3, height, width) bytes; smoothed first where it shrinks."""
    import torch

    if size[0] >= page.shape[1]:
        page = np.asarray(cv2.resize(page, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
        return torch.from_numpy(page).permute(2, 0, 1)[None]
    page = halved_towards(page, size)
    planes = torch.from_numpy(np.require(page, requirements=["C", "W"])).permute(2, 0, 1)[None]
    # Four times faster than OpenCV's INTER_AREA.
    return torch.nn.functional.interpolate(planes, size=(size[1], size[0]), mode="bilinear", antialias=True)


def _has_torch() -> bool:
    """Whether something has loaded torch before."""
    return "torch" in sys.modules


def resized_bytes(page: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture at `size`, (height, width, 3), without loading torch.

    Pillow smooths by the same rule as torch, differs by one step of 255 at most, and takes four times as long: 27 ms
    against 6 for a page of 2200 x 1700 px. So torch does it where it is there for something else; and without it the
    left half is made beside the right one, both as the whole would be.
    """
    if _has_torch():
        return np.asarray(cv2.merge(list(_resized(page, size)[0].numpy())), dtype=np.uint8)
    if size[0] >= page.shape[1]:
        return np.asarray(cv2.resize(page, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    page = halved_towards(page, size)
    picture, (width, height) = Image.fromarray(page), size
    middle = page.shape[1] / 2  # `size` is even, and Pillow looks beyond the edges of a box
    out = np.empty((height, width, 3), dtype=np.uint8)

    def make(columns: slice, left: float, right: float) -> None:
        part = picture.resize((width // 2, height), Image.Resampling.BILINEAR, box=(left, 0, right, page.shape[0]))
        out[:, columns] = np.asarray(part)

    begun = Beside(lambda: make(slice(0, width // 2), 0.0, middle))
    make(slice(width // 2, width), middle, float(page.shape[1]))
    begun.result()
    return out


def _run(
    page: NDArray[np.uint8],
    size: tuple[int, int],
    weights: Path | None,
    graph: Graph | None,
    local: bool = False,
    between: Callable[[], None] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities as bytes, name maps (scores 0 to 1, log height last) and frame."""
    if graph is not None:
        wanted = PAGE_OUTPUTS if local else PAGE_OUTPUTS[:2]
        pixels, names, *cells = graph.run(wanted, page=resized_bytes(page, size))
        return pixels, names, cells[0] if local else np.zeros((4, 0, 0), dtype=np.float32)
    import torch

    model, kind = _converted(load_reader(weights))
    with torch.inference_mode():
        picture = _resized(page, size).to(kind).mul_(1 / 255).contiguous(memory_format=torch.channels_last)
        pixels, names, frame = model(picture, local=local, between=between)
        # Plane by plane in memory, where both are several times as fast as across the channels of each pixel.
        logits, found, cells = (t[0].contiguous().float() for t in (pixels, names, frame))
        shares = torch.softmax(logits, dim=0).mul_(255).add_(0.5).to(torch.uint8)
        found[:-1].sigmoid_()
    return shares.numpy(), found.numpy(), cells.numpy()


def _run_bytes(
    page: NDArray[np.uint8], size: tuple[int, int], graph: Graph
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """As `_run`, by the network in bytes, which takes pairs of RGBA pixels and says nothing of the local scale."""
    pairs = cv2.cvtColor(resized_bytes(page, size), cv2.COLOR_RGB2RGBA).reshape(size[1], size[0] // 2, 8)
    pixels, names = graph.run(PAGE_OUTPUTS[:2], page=pairs)
    return pixels, names, np.zeros((4, 0, 0), dtype=np.float32)


@lru_cache(maxsize=4)
def _converted(model: torch.nn.Module) -> tuple[torch.nn.Module, torch.dtype]:
    """The network in the number format that this machine multiplies fastest."""
    import torch

    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    kind = torch.bfloat16 if fast else torch.float32
    fast_model = copy.deepcopy(model).to(kind)
    in_channels_last(fast_model)
    return fast_model, kind


def _places(maps: NDArray[np.float32], zoom: tuple[float, float]) -> list[_Place]:
    """Where names may stand, surest first: peaks of the probability that any name stands there."""
    scores, heights = maps[:-1], maps[-1]
    any_name = 1.0 - np.exp(np.log1p(-np.minimum(scores, 0.999)).sum(axis=0))
    ring = cv2.dilate(any_name, np.ones((3, 3), np.uint8))
    rows, columns = np.nonzero((any_name >= _PLACE_SCORE) & (any_name >= ring))
    order = np.argsort(-any_name[rows, columns], kind="stable")
    found: list[_Place] = []
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        dx, dy = _beside(any_name, row, column)
        x, y = (column + 0.5 + dx) * NAME_STEP / zoom[0], (row + 0.5 + dy) * NAME_STEP / zoom[1]
        tall = float(np.exp(np.clip(heights[row, column], 0.0, 5.5))) / zoom[1]
        if any(abs(x - f[0]) < 1.6 * _REACH * f[2] and abs(y - f[1]) < _REACH * f[2] for f in found):
            continue
        found.append((x, y, tall, float(any_name[row, column]), scores[:, row, column]))
        if len(found) == _MOST_NAMES:
            break
    return found


def _beside(peaks: NDArray[np.float32], row: int, column: int) -> tuple[float, float]:
    """Where the peak lies between cells: the vertex of a parabola through the logs, -0.5 to 0.5."""

    def vertex(a: float, b: float, c: float) -> float:
        p, q, r = (float(np.log(max(v, 1e-4))) for v in (a, b, c))
        bend = p - 2 * q + r
        return float(np.clip(0.5 * (p - r) / bend, -0.5, 0.5)) if bend < -1e-6 else 0.0

    h, w = peaks.shape
    here = peaks[row, column]
    dx = vertex(peaks[row, column - 1], here, peaks[row, column + 1]) if 0 < column < w - 1 else 0.0
    dy = vertex(peaks[row - 1, column], here, peaks[row + 1, column]) if 0 < row < h - 1 else 0.0
    return dx, dy


def _read_names(
    page: NDArray[np.uint8], places: list[_Place], weights: Path | None, least: float, graph: Graph | None
) -> tuple[FoundName, ...]:
    """What the second network reads at each place, with the first one's opinion as a mild prior."""
    if not places:
        return ()
    cuts = np.stack([cut_out(page, x, y, height) for x, y, height, _, _ in places])
    read = graph.run(["chances"], cuts=cuts)[0] if graph is not None else _chances(cuts, weights)
    found = []
    for (x, y, height, place, scores), chances in zip(places, read, strict=True):
        by_lead = scores / max(float(scores.sum()), 1e-6) + 0.1
        prior = np.append(place * by_lead / by_lead.sum() * len(by_lead) / 4, 1.1 - place)
        both = chances * prior
        both = (both / both.sum()).astype(np.float32)
        best = int(both[:-1].argmax())
        if both[best] >= least and both[best] > both[-1]:
            found.append(FoundName(LEADS[best], x, y, float(both[best]), height, both[:-1]))
    return tuple(sorted(found, key=lambda n: -n.score))


def _chances(cuts: NDArray[np.uint8], weights: Path | None) -> NDArray[np.float32]:
    """Probabilities of names, (n, n_names), by torch."""
    import torch

    model, kind = _converted(load_name_reader(weights))
    with torch.inference_mode():
        batch = as_batch(cuts).to(kind).contiguous(memory_format=torch.channels_last)
        return np.asarray(torch.softmax(model(batch).float(), dim=1).numpy(), dtype=np.float32)


def read_lines(cuts: Sequence[NDArray[np.uint8]], weights: Path | None = None) -> list[ReadLine]:
    """What lines of print say.

    Args:
        cuts: Of `letters.cut_line`.
        weights: Folder of weights, or a file in it; that of the package where None.

    Returns:
        A text for each.

    Raises:
        WeightsMissingError, ModelError: The weights are missing or damaged.
    """
    if not cuts:
        return []
    graph = letters_graph(weights, None)
    if graph is not None:
        return [decoded(graph.run(["chances"], line=cut)[0]) for cut in cuts]
    import torch

    model = load_letter_reader(weights)
    with torch.inference_mode():
        return [
            decoded(torch.softmax(model(standardised(torch.from_numpy(cut)[None]))[0, :, 0], dim=0).numpy())
            for cut in cuts
        ]
