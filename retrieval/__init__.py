"""Search for similar ECGs. Public names load on first use, because this package holds both ends of the import order.

>>> from ecgkin.retrieval import CaseSearch
>>> CaseSearch.__name__
'CaseSearch'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecgkin.retrieval.search.search import CaseSearch as CaseSearch
    from ecgkin.retrieval.search.search import Hit as Hit
    from ecgkin.retrieval.search.search import SearchResult as SearchResult

__all__ = ["CaseSearch", "Hit", "SearchResult"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from ecgkin.retrieval.search import search

        return getattr(search, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
