"""Typed clients of the HTTP API: `Client`, and `AsyncClient` for coroutines. Loaded on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecgkin.ui.client.client import ApiError as ApiError
    from ecgkin.ui.client.client import AsyncClient as AsyncClient
    from ecgkin.ui.client.client import CaseFields as CaseFields
    from ecgkin.ui.client.client import Client as Client
    from ecgkin.ui.client.client import DraftEvent as DraftEvent

__all__ = ["ApiError", "AsyncClient", "CaseFields", "Client", "DraftEvent"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from ecgkin.ui.client import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
