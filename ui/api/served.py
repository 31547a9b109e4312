"""`Served`: one case base as a server holds it, with all that must change when the server goes over to another one."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, cast

from ecgkin.retrieval.search import CaseSearch
from ecgkin.ui.api.drafting import Drafting
from ecgkin.ui.api.feedback import FeedbackStore, RecentQueries
from ecgkin.ui.api.queue import EncoderQueue, QueuedEncoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from ecgkin.index.casebase import CaseBase
    from ecgkin.retrieval.encoders.base import Encoder
    from ecgkin.ui.settings import Settings

__all__ = ["Served", "Serving"]


class Served(CaseSearch):
    """A search with what belongs to its base: the queue before its encoder, drafters, feedback, the last queries.

    Query ids are of one base: a vector of one encoder means nothing to another.
    """

    queue: EncoderQueue
    drafting: Drafting
    feedback: FeedbackStore
    recent: RecentQueries
    let_go: Callable[[], None]

    def close(self) -> None:
        """Let go of base, feedback and, where no other base uses it, the encoder."""
        self.feedback.close()
        super().close()
        self.let_go()


class Serving:
    """Makes `Served` of open bases; models and an encoder that is loaded are used again.

    Args:
        settings: In force.
        encoder: For bases that were built with it; None loads what a base's manifest names.
        observe: See `EncoderQueue`.
    """

    def __init__(self, settings: Settings, encoder: Encoder | None, observe: Callable[[str, int, float], None]) -> None:
        self._settings = settings
        self._given = encoder
        self._observe = observe
        self._turn = threading.Lock()
        self._users: Counter[EncoderQueue] = Counter()
        self._drafting: Drafting | None = None

    def __call__(self, base: CaseBase) -> Served:
        """Everything around this base.

        Raises:
            EncoderMismatchError, ModelError: Its encoder is another one than its name says, or cannot be loaded.
            QueryError, GenerationError: A drafter cannot be opened.
        """
        queue = self._queue_for(base)
        try:
            served = cast("Served", Served.open(base, QueuedEncoder(queue)))
            settings, before = self._settings, self._drafting
            if before is None:
                served.drafting = Drafting(served, settings.api_drafters, settings.device)
            else:
                served.drafting = before.over(served)
            self._drafting = served.drafting
        except BaseException:
            self._leave(queue)
            raise
        served.queue, served.let_go = queue, lambda: self._leave(queue)
        served.feedback, served.recent = FeedbackStore(base.path), RecentQueries()
        return served

    def _queue_for(self, base: CaseBase) -> EncoderQueue:
        """The queue of an encoder that is loaded already, else a new one."""
        with self._turn:
            for queue in self._users:
                if _fits(queue.encoder, base):
                    self._users[queue] += 1
                    return queue
        encoder = self._given
        # The first base must fit the encoder that was asked for; a later one may bring its own.
        if encoder is None or (self._drafting is not None and not _fits(encoder, base)):
            from ecgkin.retrieval.encoders import load_encoder

            encoder = load_encoder(base.encoder_name, device=self._settings.device)
        base.check_encoder(encoder)
        made = EncoderQueue(encoder, batch=self._settings.api_batch, observe=self._observe)
        with self._turn:
            self._users[made] = 1
        return made

    def _leave(self, queue: EncoderQueue) -> None:
        with self._turn:
            self._users[queue] -= 1
            last = self._users[queue] < 1
            if last:
                del self._users[queue]
        if last:
            queue.close()


def _fits(encoder: Encoder, base: CaseBase) -> bool:
    return (encoder.name, encoder.fingerprint) == (base.encoder_name, base.encoder_fingerprint)
