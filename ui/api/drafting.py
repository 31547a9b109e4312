"""The drafter as routes see it: an ECG in, a draft and the search under it out, at once or word by word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ecgkin.generation.draft import Draft
    from ecgkin.retrieval.search import SearchResult
    from ecgkin.ui.api.schemas import DraftOptions
    from ecgkin.ui.api.uploads import Query


@dataclass(frozen=True)
class Drafted:
    """A draft, and the search that it stands on."""

    draft: Draft
    result: SearchResult


class Drafting(Protocol):
    """What writes drafts. For threads."""

    @property
    def name(self) -> str:
        """What it calls itself."""

    def draft(self, query: Query, options: DraftOptions) -> Drafted:
        """The whole draft.

        Raises:
            GenerationError: The drafter failed; and what a search raises.
        """

    def stream(self, query: Query, options: DraftOptions) -> Iterator[str | Drafted]:
        """Pieces of its text as they come, then the whole. Raises as `draft`."""
