"""What a server holds, loaded once: `State`, and `Served`, one case base with its encoder, drafters, feedback, queries.

`Drafting` is the drafters as routes see them: an ECG in, a draft and the search under it out, at once or word by word.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ecgkin.retrieval.encoders.queue import EncoderQueue, QueuedEncoder
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.search.feedback import FeedbackStore, RecentQueries, refine
from ecgkin.retrieval.search.hits import Nearness
from ecgkin.retrieval.search.search import CaseSearch
from ecgkin.ui.api import problems
from ecgkin.ui.api.decoding import Decoders
from ecgkin.ui.api.jobs import Jobs, Webhooks
from ecgkin.ui.api.limits import Limits, PixelBudget, Work
from ecgkin.ui.api.metrics import Metrics
from ecgkin.ui.api.readings import MOST_PIXELS, Readings
from ecgkin.ui.api.security import Token, parse_tokens
from ecgkin.ui.api.uploads import leave_own_folder, remove_abandoned

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ecgkin.generation.drafter import Drafter, DraftResult
    from ecgkin.index.base import CaseBase
    from ecgkin.retrieval.encoders.base import Encoder
    from ecgkin.retrieval.encoders.witness import StatementWitness
    from ecgkin.retrieval.search.live import LiveSearch
    from ecgkin.retrieval.search.search import SearchResult
    from ecgkin.ui.api.decoding import Asked
    from ecgkin.ui.api.schemas import DraftOptions
    from ecgkin.ui.settings import Settings


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


_LOG = logging.getLogger(__name__)


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
        self._witness: StatementWitness | None = None

    def __call__(self, base: CaseBase) -> Served:
        """Everything around this base.

        Raises:
            EncoderMismatchError, ModelError: Its encoder is another one than its name says, or cannot be loaded.
            QueryError, GenerationError: A drafter cannot be opened.
        """
        queue = self._queue_for(base)
        try:
            settings, before = self._settings, self._drafting
            if settings.witness and self._witness is None:
                from ecgkin.retrieval.encoders.published import load_witness

                self._witness = load_witness(settings.witness, settings.device)
            served = cast("Served", Served.open(base, QueuedEncoder(queue), witness=self._witness))
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


class State:
    """Everything that requests share.

    The base may be given by a name that comes to mean another one (`ecgkin base switch`): requests that have begun end
    on the base on which they began, later ones are answered from the new base. What other processes write into a base
    that stays is seen by itself.

    Args:
        base: Folder of a case base, a link to one, or its address on Milvus.
        settings: In force.
        encoder: The encoder that it was built with; None loads the one that its manifest names.
        follow_s: How often it is looked up what the name means.

    Raises:
        CaseBaseError, EncoderMismatchError, ModelError: The base or its encoder cannot be opened, or do not fit.
        QueryError: A token in the settings is malformed.
        GenerationError, ModelError: A drafter cannot be opened.
    """

    def __init__(
        self, base: str | Path, settings: Settings, encoder: Encoder | None = None, *, follow_s: float = 1.0
    ) -> None:
        from ecgkin.retrieval.search.live import LiveSearch

        self.limits = Limits.of(settings)
        self.tokens: tuple[Token, ...] = parse_tokens(settings.api_tokens)
        self.metrics = Metrics()
        serving = Serving(settings, encoder, self.metrics.encoded)
        self._live: LiveSearch[Served] = LiveSearch(base, every_s=follow_s, serve=serving)
        self._pinned = threading.local()
        self.work = Work(self.limits, self.pinned)
        self.budget = PixelBudget(self.limits.pixels, self.limits.seconds)
        self.decoders = Decoders(self.limits)
        hooks = Webhooks(settings.api_webhook_hosts)
        self.jobs = Jobs(self.work, hooks, most=settings.api_max_jobs, hours=settings.api_job_hours)
        self.job_files = settings.api_job_files
        self.readings = Readings(most_pixels=min(MOST_PIXELS, self.limits.pixels))
        self.started = time.time()
        remove_abandoned(Path(tempfile.gettempdir()))
        self.closing = False

    @contextmanager
    def pinned(self) -> Iterator[Served]:
        """The base of this moment for all that this thread does while this lasts; it stays open until then."""
        before = getattr(self._pinned, "served", None)
        with self._live.current() as served:
            self._pinned.served = before or served
            try:
                yield self._pinned.served
            finally:
                self._pinned.served = before

    @property
    def search(self) -> Served:
        """The search of this thread's base, where it has pinned one, else of the newest one."""
        return getattr(self._pinned, "served", None) or self._live.newest

    @property
    def base(self) -> CaseBase:
        """The case base."""
        return self.search.base

    @property
    def encoder(self) -> Encoder:
        """The encoder behind its queue."""
        return self.search.encoder

    @property
    def queue(self) -> EncoderQueue:
        """What waits for the encoder."""
        return self.search.queue

    @property
    def drafting(self) -> Drafting:
        """The drafters."""
        return self.search.drafting

    @property
    def feedback(self) -> FeedbackStore:
        """What clinicians said about hits."""
        return self.search.feedback

    @property
    def recent(self) -> RecentQueries:
        """The last searches."""
        return self.search.recent

    def preload(self) -> None:
        """Do once what the first requests would wait seconds for: libraries that load on first use, first calls.

        A simulated ECG is drawn, read, encoded, searched for and measured; no answer is kept.
        """
        from ecgkin.retrieval.ecg.drawing.raster import render
        from ecgkin.retrieval.ecg.simulation.simulate import simulate

        start = time.perf_counter()
        record = simulate(["SR"], np.random.default_rng(0)).record
        self.decoders.start()
        self.search.by_text("normal ECG", 1)
        self.search.by_ecg(record, 1)
        self.search.by_image(render(record), 1)
        if self.drafting.names:
            from ecgkin.generation.measures import measure
            from ecgkin.generation.types.draft import Draft
            from ecgkin.ui.fhir import draft as fhir

            draft = Draft("", "en", self.drafting.names[0], measurements=measure(record).values)
            fhir.diagnostic_report(draft, base_id=self.base.info()["base_id"], encoder=self.encoder.name, generation=0)
        _LOG.info("preloaded ms=%.0f", 1e3 * (time.perf_counter() - start))

    def close(self) -> None:
        """Finish what was begun and let go of everything."""
        self.closing = True
        self.jobs.close()
        self.decoders.close()
        self.work.close()
        leave_own_folder()
        self._live.close()

    def remember(self, result: SearchResult, first: Nearness | None = None) -> str:
        """Keep the vector of a search under a new query id, and its timings in the figures.

        Args:
            result: What was found.
            first: Of the search that it refines.
        """
        for stage, ms in result.timings_ms.items():
            self.metrics.stage(stage, ms / 1e3)
        query_id = uuid.uuid4().hex
        self.recent.put(query_id, result.query, result.vector, first or Nearness.of(result))
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

    def refined(
        self, query_id: str, similar: Sequence[str], dissimilar: Sequence[str]
    ) -> tuple[NDArray[np.float32], frozenset[str]]:
        """The vector of an earlier search after what was marked, in the store and here; the latter counts.

        Args:
            query_id: Of the earlier search.
            similar: Case ids to move towards.
            dissimilar: Case ids to move away from.

        Returns:
            Unit vector, shape (dim,), and the cases that are not similar: they are not shown again.

        Raises:
            NotFoundError: The query is not known.
            QueryError: A case that is named here is not in the base.
        """
        _, vector = self.query(query_id)
        marks = {m.case_id: m.similar for m in self.feedback.marks(query_id) if m.case_id in self.base}
        marks |= dict.fromkeys(dissimilar, False) | dict.fromkeys(similar, True)
        near, far = [c for c, yes in marks.items() if yes], [c for c, yes in marks.items() if not yes]
        empty = np.empty((0, self.base.dim), dtype=np.float32)
        moved = refine(vector, self.base.vectors(near) if near else empty, self.base.vectors(far) if far else empty)
        return moved, frozenset(far)
