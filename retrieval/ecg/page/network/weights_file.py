"""Weights of the page reader on disk: read once, every tensor checked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ecgkin.retrieval.ecg.page.network.classes import CLASSES, LEADS
from ecgkin.retrieval.ecg.page.network.model import ReaderConfig, build_reader
from ecgkin.retrieval.ecg.page.network.names import NAMES, build_name_reader
from ecgkin.retrieval.errors import ModelError, WeightsMissingError

if TYPE_CHECKING:
    import torch

READER_FORMAT = "ecgkin-page-reader"
NAMES_FORMAT = "ecgkin-lead-names"
_HINT = "install ecgkin again, or name a folder with other weights in ECGKIN_PAGE_READER"


def weights_folder() -> Path:
    """The folder of the weights that come with the package, or the one that the variable ECGKIN_PAGE_READER names."""
    named = os.environ.get("ECGKIN_PAGE_READER")
    return Path(named) if named else Path(__file__).parent / "weights"


def load_reader(folder: Path | None = None) -> torch.nn.Module:
    """The network for pages with its weights, float32, in evaluation mode; read once per file and kept.

    Args:
        folder: Where `reader.safetensors` lies; `weights_folder` where None.

    Raises:
        WeightsMissingError: There is no such file.
        ModelError: The file is damaged, belongs to something else, lacks tensors, has others, or holds NaN.
    """

    def build(header: Mapping[str, str]) -> torch.nn.Module:
        sizes = json.loads(header["config"])
        return build_reader(ReaderConfig(tuple(sizes["widths"]), sizes["n_classes"], sizes["n_leads"]))

    labels = {"classes": ",".join(CLASSES), "leads": ",".join(LEADS)}
    return _kept((folder or weights_folder()) / "reader.safetensors", READER_FORMAT, labels, build)


def load_name_reader(folder: Path | None = None) -> torch.nn.Module:
    """The network for lead names, as `load_reader` loads the one for pages (`names.safetensors`)."""
    path = (folder or weights_folder()) / "names.safetensors"
    return _kept(path, NAMES_FORMAT, {"names": ",".join(NAMES)}, lambda _: build_name_reader())


_Builder = Callable[[Mapping[str, str]], "torch.nn.Module"]


def _kept(path: Path, kind: str, labels: Mapping[str, str], build: _Builder) -> torch.nn.Module:
    if path.parent.is_file():  # a file of the folder was named
        path = path.parent.parent / path.name
    path = path.resolve()
    if not path.is_file():
        raise WeightsMissingError(f"no weights of the page reader at {path}", hint=_HINT)
    stat = path.stat()
    return _models(path, stat.st_mtime_ns, stat.st_size)(kind, labels, build)


class _Slot:
    """One file's network, once it has been read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._model: torch.nn.Module | None = None

    def __call__(self, kind: str, labels: Mapping[str, str], build: _Builder) -> torch.nn.Module:
        if self._model is None:
            self._model = _read(self._path, kind, labels, build)
        return self._model


@lru_cache(maxsize=4)
def _models(path: Path, _changed_ns: int, _size: int) -> _Slot:
    return _Slot(path)


def _read(path: Path, kind: str, labels: Mapping[str, str], build: _Builder) -> torch.nn.Module:
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} cannot be read as safetensors: {error}", hint=_HINT) from error
    if header.get("format") != kind:
        raise ModelError(f"{path} has format {header.get('format')!r} (expected {kind!r})", hint=_HINT)
    for key, expected in labels.items():
        if header.get(key) != expected:
            raise ModelError(f"{path} was trained for {key} {header.get(key)} (expected {expected})", hint=_HINT)
    try:
        model = build(header)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} names no sizes of the network: {error!r}", hint=_HINT) from error
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if wanted != found:
        odd = sorted({*wanted.items()} ^ {*found.items()})[:3]
        raise ModelError(f"{path}: {len(found)} tensors, expected {len(wanted)}; first that differ: {odd}", hint=_HINT)
    for name, tensor in state.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{path}: {name} holds values that are no numbers", hint=_HINT)
    model.load_state_dict(state)
    return model.eval()
