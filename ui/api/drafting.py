"""The drafters as routes see them: an ECG in, a draft and the search under it out, at once or word by word."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ecgkin.retrieval.errors import QueryError
from ecgkin.ui.api import problems

if TYPE_CHECKING:
    from PIL import Image

    from ecgkin.generation.draft import Draft
    from ecgkin.generation.drafter import Drafter
    from ecgkin.retrieval.ecg.record import EcgRecord
    from ecgkin.retrieval.search.search import CaseSearch, SearchResult
    from ecgkin.ui.api.decoding import Query
    from ecgkin.ui.api.schemas import DraftOptions


@dataclass(frozen=True)
class Drafted:
    """A draft, and the search that it stands on, with as many hits as were asked for."""

    draft: Draft
    result: SearchResult


class _KeepingSearch:
    """A `CaseSearch` that remembers what it found last in each thread: drafters keep that to themselves."""

    def __init__(self, search: CaseSearch) -> None:
        self._search = search
        self._local = threading.local()

    @property
    def last(self) -> SearchResult:
        """The last result in this thread."""
        result: SearchResult = self._local.result
        return result

    def by_ecg(self, record: EcgRecord | str | Path, *given: Any, **named: Any) -> SearchResult:
        """As `CaseSearch.by_ecg`."""
        self._local.result = self._search.by_ecg(record, *given, **named)
        return self.last

    def by_image(self, image: Image.Image | str | Path, *given: Any, **named: Any) -> SearchResult:
        """As `CaseSearch.by_image`."""
        self._local.result = self._search.by_image(image, *given, **named)
        return self.last

    def __getattr__(self, name: str) -> Any:
        return getattr(self._search, name)


class Drafting:
    """What writes drafts here. For threads.

    Args:
        search: The search of this server.
        models: Names as `ecgkin.generation.drafter.open_backend` knows them; the first is the default.
        device: Where a model in this process runs.

    Raises:
        QueryError, ModelError, GenerationError: A model cannot be opened.
    """

    def __init__(self, search: CaseSearch, models: Sequence[str], device: str = "cpu") -> None:
        self._search = _KeepingSearch(search)
        self._drafters: dict[str, Drafter] = {}
        if models:
            from ecgkin.generation.drafter import Drafter

            for model in models:
                drafter = Drafter(cast("CaseSearch", self._search), model, device=device)
                self._drafters[drafter.model] = drafter
        # A model in this process answers one at a time; the consensus has none.
        self._turns = {name: threading.Lock() for name, drafter in self._drafters.items() if drafter.backend}

    def over(self, search: CaseSearch) -> Drafting:
        """The same models over another case base; they keep their turns."""
        other = Drafting(search, ())
        if self._drafters:
            from ecgkin.generation.drafter import Drafter

            kept = cast("CaseSearch", other._search)
            for name, drafter in self._drafters.items():
                other._drafters[name] = Drafter(kept, backend=drafter.backend)
            other._turns = self._turns
        return other

    @property
    def names(self) -> list[str]:
        """What there is to choose from, the default first."""
        return list(self._drafters)

    def draft(self, query: Query, options: DraftOptions) -> Drafted:
        """The whole draft.

        Raises:
            MissingDrafterError: There is no drafter here.
            QueryError: There is none of that name; and as `Drafter.draft`.
            GenerationError: The model failed.
        """
        name, drafter = self._chosen(options.model)
        with self._turns.get(name, nullcontext()):
            draft = drafter.draft(
                query,
                options.question,
                options.evidence,
                options.language,
                where=options.where,
                exclude_patient=options.exclude_patient,
            )
        return self._with_hits(draft, options.k)

    def stream(self, query: Query, options: DraftOptions) -> Iterator[str | Drafted]:
        """Pieces of its text as they come, then the whole. Raises as `draft`."""
        name, drafter = self._chosen(options.model)
        with self._turns.get(name, nullcontext()):
            pieces = drafter.stream(
                query,
                options.question,
                options.evidence,
                options.language,
                where=options.where,
                exclude_patient=options.exclude_patient,
            )
            try:
                yield from pieces
                if pieces.draft is not None:
                    yield self._with_hits(pieces.draft, options.k)
            finally:
                pieces.close()

    def _with_hits(self, draft: Draft, k: int) -> Drafted:
        result = self._search.last
        return Drafted(draft, replace(result, hits=result.hits[:k]))

    def _chosen(self, model: str | None) -> tuple[str, Drafter]:
        if not self._drafters:
            raise problems.MissingDrafterError("no drafter is set up here", hint="see the setting api_drafters")
        name = model or self.names[0]
        if name not in self._drafters:
            raise QueryError(f"model is {name[:80]!r} (expected {', '.join(self.names)})")
        return name, self._drafters[name]
