"""The drafters as routes see them: an ECG in, a draft and the search under it out, at once or word by word."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ecgkin.retrieval.errors import QueryError
from ecgkin.ui.api import problems

if TYPE_CHECKING:
    from ecgkin.generation.drafter import Drafter, DraftResult
    from ecgkin.retrieval.search.hits import SearchResult
    from ecgkin.retrieval.search.search import CaseSearch
    from ecgkin.ui.api.decoding import Asked
    from ecgkin.ui.api.schemas import DraftOptions


def public_name(model: str) -> str:
    """The name of a drafter for callers: without the address of a model behind this server.

    >>> public_name("pulse-7b at http://10.0.0.7:8000/v1"), public_name("consensus")
    ('pulse-7b', 'consensus')
    """
    return model.partition(" at http")[0]


def _public(result: DraftResult) -> DraftResult:
    return replace(result, draft=replace(result.draft, model=public_name(result.draft.model)))


class Drafting:
    """What writes drafts here. For threads.

    Args:
        search: The search of this server.
        models: "consensus", or names as `ecgkin.generation.drafter.open_model` knows them; the first is the default.
        device: Where a model in this process runs.

    Raises:
        QueryError, ModelError, GenerationError: A model cannot be opened.
    """

    def __init__(self, search: CaseSearch, models: Sequence[str], device: str = "cpu") -> None:
        from ecgkin.generation.consensus.thresholds import shipped_thresholds

        self._thresholds = shipped_thresholds(search.encoder)
        self._drafters: dict[str, Drafter] = {}
        if models:
            from ecgkin.generation.drafter import Drafter

            for model in models:
                drafter = Drafter(search, model, device=device)
                self._drafters[public_name(drafter.model)] = drafter
        # A model in this process answers one at a time; the consensus has none.
        self._turns = {name: threading.Lock() for name, drafter in self._drafters.items() if drafter.backend.exclusive}

    def weighed(self, result: SearchResult, query: Asked | None) -> SearchResult:
        """A search with the probabilities that a draft of the same ECG states.

        Args:
            result: What was found.
            query: The record or the picture; None for words, and then nothing changes.
        """
        from ecgkin.generation.drafter import weighed

        return weighed(result, query, self._thresholds)

    def over(self, search: CaseSearch) -> Drafting:
        """The same models over another case base; they keep their turns."""
        other = Drafting(search, ())
        if self._drafters:
            from ecgkin.generation.drafter import Drafter

            for name, drafter in self._drafters.items():
                other._drafters[name] = Drafter(search, backend=drafter.backend)
            other._turns = self._turns
        return other

    @property
    def names(self) -> list[str]:
        """What there is to choose from, the default first."""
        return list(self._drafters)

    def draft(self, query: Asked, options: DraftOptions) -> DraftResult:
        """The whole draft, and the search with `options.k` hits.

        Args:
            query: The record, the picture, or what was read of one that was put right.
            options: Of the request: model, question, language, filter, cases to show, hits.

        Returns:
            Draft and search; the draft names its model without address.

        Raises:
            MissingDrafterError: There is no drafter here.
            QueryError: There is none of that name; and as `Drafter.draft`.
            GenerationError: The model failed.
        """
        name, drafter = self._chosen(options.model)
        with self._turns.get(name, nullcontext()):
            return _public(drafter.draft(query, **_arguments(options)))

    def stream(self, query: Asked, options: DraftOptions) -> Iterator[str | DraftResult]:
        """The draft in pieces as they are written, then the whole.

        Args:
            query: The record, the picture, or what was read of one that was put right.
            options: As for `draft`.

        Returns:
            Texts, and last the whole result.
        """
        name, drafter = self._chosen(options.model)
        with self._turns.get(name, nullcontext()):
            pieces = drafter.stream(query, **_arguments(options))
            try:
                yield from pieces
                if pieces.result is not None:
                    yield _public(pieces.result)
            finally:
                pieces.close()

    def _chosen(self, model: str | None) -> tuple[str, Drafter]:
        if not self._drafters:
            raise problems.MissingDrafterError("no drafter is set up here", hint="see the setting api_drafters")
        name = model or self.names[0]
        if name not in self._drafters:
            raise QueryError(f"model is {name[:80]!r} (expected {', '.join(self.names)})")
        return name, self._drafters[name]


def _arguments(options: DraftOptions) -> dict[str, Any]:
    """The options of a request as arguments of `Drafter.draft`."""
    return {
        "question": options.question,
        "k": options.evidence,
        "lang": options.language,
        "where": options.where,
        "exclude_patient": options.exclude_patient,
        "hits": options.k,
        "previous": options.previous,
    }
