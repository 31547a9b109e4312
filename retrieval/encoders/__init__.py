"""Encoders: pictures of ECGs and words in one space. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ecgkin.retrieval.errors import QueryError, WeightsMissingError

if TYPE_CHECKING:
    from ecgkin.retrieval.encoders.base import Encoder

__all__ = ["load_encoder"]

_DEVICE = re.compile(r"cpu|cuda(:\d{1,3})?")


def load_encoder(name: str = "default", device: str = "cpu") -> Encoder:
    """Load an encoder.

    Args:
        name: "default" (the trained dual encoder that is shipped), "hashing" (no weights, for tests), another folder
            of `retrieval/encoders/weights`, the path of a folder that training wrote, or a published encoder with the
            user's own copy of its weights: "merl:DIR", "d-beta:DIR", "ecgfounder:FILE", "more:DIR" (`published`).
        device: "cpu", "cuda" or "cuda:N".

    Returns:
        The encoder, ready to encode.

    Raises:
        QueryError: The device is none of these.
        WeightsMissingError: There is no such encoder.
        ModelError: It cannot be loaded.
    """
    if not _DEVICE.fullmatch(device):
        raise QueryError(f"device is {device!r} (expected cpu, cuda or cuda:1)", hint="leave it out: cpu")
    if name == "hashing":
        from ecgkin.retrieval.encoders.hashing import HashingEncoder

        return HashingEncoder()
    from ecgkin.retrieval.encoders.published import is_published, load_published

    if is_published(name):
        return load_published(name, device)
    from ecgkin.retrieval.encoders.checkpoint import WEIGHTS

    folder = WEIGHTS / name if not Path(name).is_absolute() and (WEIGHTS / name).is_dir() else Path(name)
    if not folder.is_dir():
        shipped = sorted(p.name for p in WEIGHTS.glob("*") if p.is_dir())
        raise WeightsMissingError(
            f"no encoder called {name!r} (shipped: {', '.join([*shipped, 'hashing'])})",
            hint="name one of these, or a folder with encoder.json",
        )
    from ecgkin.retrieval.encoders.dual import load_dual

    return load_dual(folder, device)
