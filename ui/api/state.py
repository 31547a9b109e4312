"""`State`: what a server holds, loaded once: case base, encoder and its queue, drafter, feedback, limits, figures."""

from __future__ import annotations

import logging
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecgkin.ui.api import problems
from ecgkin.ui.api.drafting import Drafting
from ecgkin.ui.api.feedback import FeedbackStore, RecentQueries, refine
from ecgkin.ui.api.health import Metrics
from ecgkin.ui.api.limits import Limits, PixelBudget, Work
from ecgkin.ui.api.queue import EncoderQueue, QueuedEncoder
from ecgkin.ui.api.security import Token, parse_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ecgkin.index.casebase import CaseBase
    from ecgkin.retrieval.encoders.base import Encoder
    from ecgkin.retrieval.search import CaseSearch, SearchResult
    from ecgkin.ui.settings import Settings


_LOG = logging.getLogger(__name__)


class State:
    """Everything that requests share.

    Args:
        base: An open case base; this object closes it.
        encoder: The encoder that it was built with.
        settings: In force.

    Raises:
        EncoderMismatchError: The base was built with another encoder.
        QueryError: A token in the settings is malformed.
        GenerationError, ModelError: A drafter cannot be opened.
    """

    def __init__(self, base: CaseBase, encoder: Encoder, settings: Settings) -> None:
        from ecgkin.retrieval.search import CaseSearch

        self.base = base
        self.encoder = encoder
        self.limits = Limits.of(settings)
        self.tokens: tuple[Token, ...] = parse_tokens(settings.api_tokens)
        self.metrics = Metrics(f"{encoder.name} {encoder.fingerprint}")
        base.check_encoder(encoder)
        self.queue = EncoderQueue(
            encoder,
            batch=settings.api_batch,
            wait_s=settings.api_batch_wait_ms / 1e3,
            observe=self.metrics.encoded,
        )
        self.search: CaseSearch = CaseSearch.open(base, QueuedEncoder(self.queue))
        self.drafting = Drafting(self.search, settings.api_drafters, settings.device)
        self.work = Work(self.limits)
        self.budget = PixelBudget(self.limits.pixels)
        self.recent = RecentQueries()
        self.feedback = FeedbackStore(base.path)
        self.started = time.time()
        self.closing = False

    @classmethod
    def open(cls, base: str | Path, settings: Settings, encoder: Encoder | None = None) -> State:
        """Open a case base and load what belongs to it.

        Args:
            base: Its folder.
            settings: In force; the encoder's name and device are taken from them unless the base names another.
            encoder: None loads the one that the base's manifest names.

        Raises:
            CaseBaseError, ModelError, QueryError: As `CaseBase.open` and `load_encoder`.
        """
        from ecgkin.index.casebase import CaseBase

        opened = CaseBase.open(base)
        try:
            if encoder is None:
                from ecgkin.retrieval.encoders import load_encoder

                encoder = load_encoder(opened.encoder_name, device=settings.device)
            return cls(opened, encoder, settings)
        except BaseException:
            opened.close()
            raise

    def preload(self) -> None:
        """Do once what the first requests would wait seconds for: libraries that load on first use, first calls.

        A simulated ECG is drawn, read, encoded, searched for and measured; no answer is kept.
        """
        from ecgkin.retrieval.ecg.drawing import render
        from ecgkin.retrieval.ecg.simulate import simulate

        start = time.perf_counter()
        record = simulate(["SR"], np.random.default_rng(0)).record
        self.search.by_text("normal ECG", 1)
        self.search.by_ecg(record, 1)
        self.search.by_image(render(record), 1)
        if self.drafting.names:
            from ecgkin.generation.draft import Draft
            from ecgkin.generation.measures import measure
            from ecgkin.ui.api import fhir

            draft = Draft("", "en", self.drafting.names[0], measurements=measure(record).values)
            fhir.diagnostic_report(draft, base_id=self.base.info()["base_id"], encoder=self.encoder.name, generation=0)
        _LOG.info("preloaded ms=%.0f", 1e3 * (time.perf_counter() - start))

    def close(self) -> None:
        """Finish what was begun and let go of everything."""
        self.closing = True
        self.work.close()
        self.queue.close()
        self.feedback.close()
        self.base.close()

    def remember(self, result: SearchResult) -> str:
        """Keep the vector of a search under a new query id, and its timings in the figures."""
        for stage, ms in result.timings_ms.items():
            self.metrics.stage(stage, ms / 1e3)
        query_id = uuid.uuid4().hex
        self.recent.put(query_id, result.query, result.vector)
        return query_id

    def query(self, query_id: str) -> tuple[str, NDArray[np.float32]]:
        """What was asked in an earlier search, and its vector.

        Raises:
            NotFoundError: It is not known (any more).
        """
        found = self.recent.get(query_id) or self.feedback.query(query_id)
        if found is None:
            raise problems.NotFoundError("no such query_id", hint="search again and take the query_id of that answer")
        return found

    def refined(self, query_id: str, similar: Sequence[str], dissimilar: Sequence[str]) -> NDArray[np.float32]:
        """The vector of an earlier search after what was marked, in the store and here; the latter counts.

        Raises:
            NotFoundError: The query is not known.
            QueryError: A case that is named here is not in the base.
        """
        _, vector = self.query(query_id)
        marks = {m.case_id: m.similar for m in self.feedback.marks(query_id) if m.case_id in self.base}
        marks |= dict.fromkeys(dissimilar, False) | dict.fromkeys(similar, True)
        near, far = [c for c, yes in marks.items() if yes], [c for c, yes in marks.items() if not yes]
        empty = np.empty((0, self.base.dim), dtype=np.float32)
        return refine(vector, self.base.vectors(near) if near else empty, self.base.vectors(far) if far else empty)
