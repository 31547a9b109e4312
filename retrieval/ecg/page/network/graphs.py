"""The page reader's networks as graphs: bytes of pictures in, probabilities out, without torch.

The network for pages is there twice: in float32 by its weights' file, and in bytes (`quantised`), which reads pages
where the processor multiplies bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.network.letters import HEIGHT
from ecgkin.retrieval.ecg.page.network.names import CUT, standardised
from ecgkin.retrieval.ecg.page.network.quantised import multiplies_bytes, write_quantised
from ecgkin.retrieval.ecg.page.network.weights_file import (
    LETTERS_FORMAT,
    NAMES_FORMAT,
    READER_FORMAT,
    check_header,
    check_numbers,
    load_letter_reader,
    load_name_reader,
    load_reader,
    weights_path,
)
from ecgkin.retrieval.graphs import Graph, default_threads, layout, open_graph, runs_graphs, serves_graphs, write_graph

if TYPE_CHECKING:
    import torch

PAGE_OUTPUTS = ("pixels", "names", "frame")
_BYTES = "reader_bytes.onnx"
_FILES = {READER_FORMAT: "reader", NAMES_FORMAT: "names", LETTERS_FORMAT: "letters"}


def page_graph(folder: Path | None, threads: int | None) -> Graph | None:
    """The network for pages: `page`, RGB bytes (height, width, 3), sides multiples of 32 -> `PAGE_OUTPUTS`.

    `pixels` are the probabilities of the classes in bytes, (n_classes, height / 2, width / 2); `names` the
    probabilities of the lead names and, last, the log of the letter height, (n_leads + 1, height / 4, width / 4);
    `frame` as the network has it, (4, height / 16, width / 16).

    Args:
        folder: Of the weights; `weights_folder` where None.
        threads: Of one call; None leaves it to `graphs.default_threads`.

    Returns:
        The graph, None where torch has to do it.

    Raises:
        WeightsMissingError, ModelError: The weights are missing or damaged.
    """
    return _opened(folder, READER_FORMAT, threads)


def names_graph(folder: Path | None, threads: int | None, *, many: bool = False) -> Graph | None:
    """The network for lead names: `cuts`, RGB bytes (n, 40, 80, 3) -> `chances`, (n, n_names); see `page_graph`.

    Args:
        folder, threads: See `page_graph`.
        many: Also where `expect_many` speaks for torch: a process whose pages are read in bytes does without it.
    """
    return _opened(folder, NAMES_FORMAT, threads, many)


def letters_graph(folder: Path | None, threads: int | None) -> Graph | None:
    """The network for lines of print: `line`, RGB bytes (24, width, 3) -> `chances`, (1 + letters, width / 2).

    It is small and seldom needed, so that it is taken wherever graphs may be used.

    Args:
        folder, threads: See `page_graph`.
    """
    return _opened(folder, LETTERS_FORMAT, threads, many=True)


def bytes_graph(folder: Path | None, threads: int | None) -> Graph | None:
    """The network for pages in bytes: `page`, RGBA bytes (height, width / 2, 8) -> the first two of `PAGE_OUTPUTS`.

    It is faster than torch on every processor that multiplies bytes, so that it is taken where many pages are read too.

    Args:
        folder: Of the weights; `weights_folder` where None.
        threads: Of one call; None leaves it to `graphs.default_threads`.

    Returns:
        The graph, None where there is none for these weights or this processor, or where torch was asked for.

    Raises:
        WeightsMissingError, ModelError: The weights are missing or damaged.
    """
    if not serves_graphs() or not multiplies_bytes():
        return None
    path = weights_path(folder, "reader.safetensors")
    stat = path.stat()
    return _kept_bytes(path, threads or default_threads(), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=8)
def _kept_bytes(path: Path, threads: int, _changed_ns: int, _size: int) -> Graph | None:
    about = check_header(path, READER_FORMAT)
    check_numbers(path)
    return open_graph(path.with_name(_BYTES), path, _with_values(path, about), threads)


def _with_values(path: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """What the graph in bytes belongs to: it holds weights itself, so their values count."""
    return {**about, "values": hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()}


def write_reader_bytes(folder: Path, pages: Iterable[NDArray[np.uint8]]) -> None:
    """Write the network for pages in bytes beside its weights.

    Args:
        folder: Holds `reader.safetensors`.
        pages: Pictures that the ranges of its activations are chosen by, RGB, at the size at which the network looks.

    Raises:
        WeightsMissingError, ModelError: See `load_reader`.
    """
    path = weights_path(folder, "reader.safetensors")
    about = _with_values(path, check_header(path, READER_FORMAT))
    write_quantised(path.with_name(_BYTES), load_reader(folder), pages, layout(path, about))


def _opened(folder: Path | None, kind: str, threads: int | None, many: bool = False) -> Graph | None:
    if not (serves_graphs() if many else runs_graphs()):
        return None
    path = weights_path(folder, f"{_FILES[kind]}.safetensors")
    stat = path.stat()
    return _kept(path, kind, threads or default_threads(), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=8)
def _kept(path: Path, kind: str, threads: int, _changed_ns: int, _size: int) -> Graph | None:
    about = check_header(path, kind)
    check_numbers(path)
    return open_graph(path.with_name(f"{_FILES[kind]}.onnx"), path, about, threads)


def write_reader_graphs(folder: Path) -> None:
    """Write the networks for pages, names and lines as graphs beside their weights.

    Args:
        folder: Holds `reader.safetensors`, `names.safetensors` and `letters.safetensors`.

    Raises:
        WeightsMissingError, ModelError: See `load_reader` and `graphs.write_graph`.
    """
    import torch
    from torch import nn

    reader, names, letters = load_reader(folder), load_name_reader(folder), load_letter_reader(folder)

    class Page(nn.Module):
        """Bytes of a page -> bytes and probabilities, see `page_graph`."""

        def forward(self, page: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            pixels, found, frame = reader(page.permute(2, 0, 1)[None].float() / 255)
            shares = (torch.softmax(pixels, dim=1) * 255 + 0.5).to(torch.uint8)
            return shares[0], torch.cat([found[0, :-1].sigmoid(), found[0, -1:]]), frame[0]

    class Cuts(nn.Module):
        """Bytes of cuts -> probabilities of names."""

        def forward(self, cuts: torch.Tensor) -> Any:
            return torch.softmax(names(standardised(cuts)), dim=1)

    class Line(nn.Module):
        """Bytes of a line -> probabilities of letters."""

        def forward(self, line: torch.Tensor) -> Any:
            return torch.softmax(letters(standardised(line[None]))[0, :, 0], dim=0)

    page, cuts, line = Page(), Cuts(), Line()
    _adopt(page, reader)
    _adopt(cuts, names)
    _adopt(line, letters)
    some_page, some_cuts = torch.zeros(96, 128, 3, dtype=torch.uint8), torch.zeros(2, CUT[1], CUT[0], 3).byte()
    path = weights_path(folder, "reader.safetensors")
    write_graph(
        path.with_suffix(".onnx"), page.eval(), {"page": some_page}, PAGE_OUTPUTS,
        {"page": {0: "height", 1: "width"}}, path, check_header(path, READER_FORMAT),
    )  # fmt: skip
    path = weights_path(folder, "names.safetensors")
    write_graph(
        path.with_suffix(".onnx"), cuts.eval(), {"cuts": some_cuts}, ["chances"], {"cuts": {0: "n"}},
        path, check_header(path, NAMES_FORMAT),
    )  # fmt: skip
    path = weights_path(folder, "letters.safetensors")
    write_graph(
        path.with_suffix(".onnx"), line.eval(), {"line": torch.zeros(HEIGHT, 96, 3, dtype=torch.uint8)}, ["chances"],
        {"line": {1: "width"}}, path, check_header(path, LETTERS_FORMAT),
    )  # fmt: skip


def _adopt(outer: torch.nn.Module, inner: torch.nn.Module) -> None:
    """Register the parts of `inner` with `outer` under their own names, so that tensors are called as in the file."""
    for name, part in inner.named_children():
        outer.add_module(name, part)
