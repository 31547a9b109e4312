"""`LiveSearch`: search by a name that may come to mean another case base, with no query failing over the change.

The name is a link to a folder or an alias on Milvus (`ecgkin.index.transfer.switching`), or a folder that may be
replaced. Queries that have begun end on the base on which they began; the new base is opened, with the encoder it
names, before the first query goes there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.retrieval.search.hits import SearchResult
from ecgkin.retrieval.search.search import CaseSearch

if TYPE_CHECKING:
    from ecgkin.index.base import CaseBase
    from ecgkin.retrieval.encoders.base import Encoder

_LOG = logging.getLogger(__name__)
Search = TypeVar("Search", bound=CaseSearch)


class _Held(Generic[Search]):
    """An open search with the number of queries that are using it."""

    def __init__(self, search: Search, meaning: str) -> None:
        self.search, self.meaning = search, meaning
        self.users = 0
        self.retired = False


class LiveSearch(Generic[Search]):
    """A `CaseSearch` that follows a name; for use by several threads.

    Args:
        name: Link or alias.
        load: Loads an encoder by its name; None takes `load_encoder`.
        every_s: How often it is looked up what the name means.
        serve: Makes the search over a base that was opened, instead of `load`; its `close` closes the base.

    Raises:
        CaseBaseError, EncoderMismatchError, ModelError: As `CaseSearch.open`.
    """

    def __init__(
        self,
        name: str | Path,
        load: Callable[[str], Encoder] | None = None,
        *,
        every_s: float = 1.0,
        serve: Callable[[CaseBase], Search] | None = None,
    ) -> None:
        self.name = name
        self.every_s = every_s
        self._load = load
        self._serve = serve
        self._turn = threading.Lock()
        self._changing = threading.Lock()
        self._looked = time.monotonic()
        self._held = self._opened()

    @property
    def newest(self) -> Search:
        """The search of this moment, which may be closed at the next; see `current`."""
        return self._held.search

    @contextmanager
    def current(self) -> Iterator[Search]:
        """The search of this moment; it stays open until the block ends."""
        if time.monotonic() - self._looked >= self.every_s:
            self.refresh()
        with self._turn:
            held = self._held
            held.users += 1
        try:
            yield held.search
        finally:
            with self._turn:
                held.users -= 1
                last = held.retired and not held.users
            if last:
                held.search.close()

    def refresh(self) -> bool:
        """Go over to the base that the name means now; whether it was another one.

        Where that base cannot be opened the old one goes on answering, and the log says why.
        """
        if not self._changing.acquire(blocking=False):
            return False  # another thread is at it; this one's query need not wait
        try:
            from ecgkin.index.transfer.switching import state_of

            self._looked = time.monotonic()
            if state_of(self.name) == self._held.meaning:
                return False
            new = self._opened()
            with self._turn:
                old, self._held = self._held, new
                old.retired = True
                idle = not old.users
            if idle:
                old.search.close()
            _LOG.info("switched base=%s encoder=%s", new.meaning, new.search.encoder.name)
            return True
        except EcgkinError as error:
            _LOG.warning("%s stays as it was: %s", self.name, error)
            return False
        finally:
            self._changing.release()

    def by_image(self, *args: Any, **options: Any) -> SearchResult:
        """See `CaseSearch.by_image`."""
        with self.current() as search:
            return search.by_image(*args, **options)

    def by_ecg(self, *args: Any, **options: Any) -> SearchResult:
        """See `CaseSearch.by_ecg`."""
        with self.current() as search:
            return search.by_ecg(*args, **options)

    def by_text(self, *args: Any, **options: Any) -> SearchResult:
        """See `CaseSearch.by_text`."""
        with self.current() as search:
            return search.by_text(*args, **options)

    def close(self) -> None:
        """Close the base."""
        self._held.search.close()

    def _opened(self) -> _Held[Search]:
        from ecgkin.index import open_base
        from ecgkin.index.transfer.switching import state_of

        # Opened twice over if it is switched in between: then the meaning is the older one, and is looked up again.
        meaning = state_of(self.name)
        base = open_base(self.name)
        try:
            if self._serve is not None:
                return _Held(self._serve(base), meaning)
            encoder = None if self._load is None else self._load(base.encoder_name)
            return _Held(cast("Search", CaseSearch.open(base, encoder)), meaning)
        except BaseException:
            base.close()
            raise
