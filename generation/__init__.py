"""From retrieved cases to a draft report. Public names, loaded when they are asked for: `Drafter`, `Draft`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecgkin.generation.draft import Draft
    from ecgkin.generation.drafter import Drafter

__all__ = ["Draft", "Drafter"]

_HOMES = {"Draft": "ecgkin.generation.draft", "Drafter": "ecgkin.generation.drafter"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
