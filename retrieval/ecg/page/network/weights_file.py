"""Weights of the page reader on disk: read once, every tensor checked."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ecgkin.retrieval.ecg.page.network.classes import CLASSES, LEADS
from ecgkin.retrieval.ecg.page.network.model import ReaderConfig, build_reader
from ecgkin.retrieval.errors import ModelError, WeightsMissingError

if TYPE_CHECKING:
    import torch

FORMAT = "ecgkin-page-reader"
_HINT = "install ecgkin again, or name another file in ECGKIN_PAGE_READER"


def default_weights() -> Path:
    """The weights that come with the package, or the file that the variable ECGKIN_PAGE_READER names."""
    import os

    named = os.environ.get("ECGKIN_PAGE_READER")
    return Path(named) if named else Path(__file__).parent / "weights" / "reader.safetensors"


def load_reader(path: Path | None = None) -> torch.nn.Module:
    """The network with its weights, float32, in evaluation mode; read once per file and kept.

    Args:
        path: A file that `training.fit.export` wrote; the packaged one where None.

    Raises:
        WeightsMissingError: There is no such file.
        ModelError: The file is damaged, belongs to something else, lacks tensors, has others, or holds NaN.
    """
    chosen = (path or default_weights()).resolve()
    if not chosen.is_file():
        raise WeightsMissingError(f"no weights of the page reader at {chosen}", hint=_HINT)
    stat = chosen.stat()
    return _load(chosen, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=2)
def _load(path: Path, _changed_ns: int, _size: int) -> torch.nn.Module:
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} cannot be read as safetensors: {error}", hint=_HINT) from error
    if header.get("format") != FORMAT:
        raise ModelError(f"{path} has format {header.get('format')!r} (expected {FORMAT!r})", hint=_HINT)
    for key, expected in (("classes", CLASSES), ("leads", LEADS)):
        if header.get(key, "").split(",") != list(expected):
            known = header.get(key)
            raise ModelError(f"{path} was trained for {key} {known} (expected {','.join(expected)})", hint=_HINT)
    try:
        sizes = json.loads(header["config"])
        config = ReaderConfig(tuple(sizes["widths"]), sizes["n_classes"], sizes["n_leads"])
        model = build_reader(config)
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
