"""Which model a name means: none for the consensus, PULSE in this process, or a server."""

from __future__ import annotations

from ecgkin.generation.backends.base import TextBackend
from ecgkin.generation.consensus.consensus import MODEL
from ecgkin.retrieval.errors import QueryError


def open_backend(model: str, *, device: str = "auto", api_key: str | None = None) -> TextBackend | None:
    """What stands behind a model's name; None for the consensus.

    Args:
        model: "consensus", "mini", "mini:DIR", "pulse:DIR" or "http(s)://HOST/v1#NAME" (without #NAME: "default").
        device: Where a model in this process runs.
        api_key: For a server.

    Raises:
        QueryError: It is none of these.
        ModelError: The checkpoint cannot be loaded.
        GenerationError: The address cannot be used.
    """
    if model == MODEL:
        return None
    kind, _, rest = model.partition(":")
    if kind == "mini":
        from pathlib import Path

        from ecgkin.generation.backends.mini.backend import MiniGenerator

        return MiniGenerator(Path(rest) if rest else None)
    if kind == "pulse" and rest:
        from ecgkin.generation.backends.pulse.loading import load_pulse

        return load_pulse(rest, device=None if device == "auto" else device)
    if kind in ("http", "https"):
        from ecgkin.generation.backends.openai.endpoint import EndpointBackend

        address, _, name = model.partition("#")
        return EndpointBackend(address, name or "default", api_key=api_key)
    raise QueryError(
        f"model is {model!r:.80} (expected consensus, mini, pulse:DIR or an address that begins with http:// or "
        "https://)"
    )
