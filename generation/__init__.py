"""From retrieved cases to a draft report. Public names, loaded when they are asked for: `Drafter`, `DraftResult`,
`Draft`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecgkin.generation.drafter import Drafter, DraftResult
    from ecgkin.generation.types.draft import Draft

__all__ = ["Draft", "DraftResult", "Drafter"]

_HOMES = {
    "Draft": "ecgkin.generation.types.draft",
    "DraftResult": "ecgkin.generation.drafter",
    "Drafter": "ecgkin.generation.drafter",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
