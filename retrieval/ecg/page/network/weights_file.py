"""Weights of the page reader on disk: read once, every tensor checked."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecgkin.retrieval.ecg.page.network.classes import CLASSES, LEADS
from ecgkin.retrieval.ecg.page.network.letters import LETTERS, build_letter_reader
from ecgkin.retrieval.ecg.page.network.model import ReaderConfig, build_reader
from ecgkin.retrieval.ecg.page.network.names import NAMES, build_name_reader
from ecgkin.retrieval.errors import ModelError, WeightsMissingError, why

if TYPE_CHECKING:
    import torch

READER_FORMAT = "ecgkin-page-reader"
NAMES_FORMAT = "ecgkin-lead-names"
LETTERS_FORMAT = "ecgkin-letters"
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
    return _kept(folder, "reader.safetensors", READER_FORMAT)


def load_name_reader(folder: Path | None = None) -> torch.nn.Module:
    """The network for lead names, as `load_reader` loads the one for pages (`names.safetensors`)."""
    return _kept(folder, "names.safetensors", NAMES_FORMAT)


def load_letter_reader(folder: Path | None = None) -> torch.nn.Module:
    """The network for lines of print, as `load_reader` loads the one for pages (`letters.safetensors`)."""
    return _kept(folder, "letters.safetensors", LETTERS_FORMAT)


def weights_path(folder: Path | None, name: str) -> Path:
    """Where a file of weights lies.

    Args:
        folder: Its folder, or another file in it; `weights_folder` where None.
        name: Of the file.

    Raises:
        WeightsMissingError: There is no such file.
    """
    where = folder or weights_folder()
    path = ((where.parent if where.is_file() else where) / name).resolve()
    if not path.is_file():
        raise WeightsMissingError(f"no weights of the page reader at {path}", hint=_HINT)
    return path


def check_header(path: Path, kind: str) -> dict[str, str]:
    """What the header of a file of weights says, without its tensors.

    Args:
        path: The file.
        kind: `READER_FORMAT`, `NAMES_FORMAT` or `LETTERS_FORMAT`.

    Raises:
        ModelError: The file is damaged, belongs to something else, or was trained for other classes or names.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            header = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} cannot be read as safetensors: {why(error)}", hint=_HINT) from error
    if header.get("format") != kind:
        raise ModelError(f"{path} has format {header.get('format')!r} (expected {kind!r})", hint=_HINT)
    for key, expected in _labels(kind).items():
        if header.get(key) != expected:
            raise ModelError(f"{path} was trained for {key} {header.get(key)} (expected {expected})", hint=_HINT)
    return header


def check_numbers(path: Path) -> None:
    """Raise a ModelError where a tensor of a file of weights holds NaN or infinity; the file's header is sound."""
    from safetensors.numpy import load_file

    for name, tensor in load_file(path).items():
        if not np.isfinite(tensor).all():
            raise ModelError(f"{path}: {name} holds values that are no numbers", hint=_HINT)


def _kept(folder: Path | None, name: str, kind: str) -> torch.nn.Module:
    path = weights_path(folder, name)
    stat = path.stat()
    return _read(path, kind, stat.st_mtime_ns, stat.st_size)


def _labels(kind: str) -> dict[str, str]:
    """What the header of a file must say beside its format."""
    if kind == NAMES_FORMAT:
        return {"names": ",".join(NAMES)}
    if kind == LETTERS_FORMAT:
        return {"letters": LETTERS}
    return {"classes": ",".join(CLASSES), "leads": ",".join(LEADS)}


def _built(kind: str, header: Mapping[str, str]) -> torch.nn.Module:
    if kind == NAMES_FORMAT:
        return build_name_reader()
    if kind == LETTERS_FORMAT:
        return build_letter_reader()
    sizes = json.loads(header["config"])
    return build_reader(ReaderConfig(tuple(sizes["widths"]), sizes["n_classes"], sizes["n_leads"]))


@lru_cache(maxsize=4)
def _read(path: Path, kind: str, _changed_ns: int, _size: int) -> torch.nn.Module:
    import torch
    from safetensors import SafetensorError, safe_open

    header = check_header(path, kind)
    try:
        with safe_open(str(path), framework="pt") as file:
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} cannot be read as safetensors: {why(error)}", hint=_HINT) from error
    try:
        model = _built(kind, header)
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
