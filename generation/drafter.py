"""`Drafter`: an ECG in, a draft with its evidence out, whichever way the text is made.

consensus               no model: the calibrated vote of the neighbours in words
pulse:DIR               a PULSE checkpoint in this process
http(s)://HOST/v1#NAME  model NAME behind an OpenAI-compatible server
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ecgkin.generation.backends.base import Request, TextBackend
from ecgkin.generation.backends.open import open_backend
from ecgkin.generation.consensus.consensus import MODEL, write_consensus
from ecgkin.generation.consensus.thresholds import DraftThresholds, shipped_thresholds
from ecgkin.generation.draft import Draft, Language
from ecgkin.generation.prompt.context import Context, Counter, build_context
from ecgkin.generation.prompt.grounding import ground
from ecgkin.generation.prompt.pages import picture_for
from ecgkin.generation.prompt.untrusted import readable_answer
from ecgkin.generation.request import MAX_K, Task, neighbours_of, open_task
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import GenerationError, QueryError
from ecgkin.retrieval.notes import Note, NoteCode

if TYPE_CHECKING:
    from PIL import Image

    from ecgkin.index.base import CaseBase
    from ecgkin.index.filters import WhereLike
    from ecgkin.retrieval.search.search import CaseSearch

_LOG = logging.getLogger(__name__)

MAX_NEW_TOKENS = 512


__all__ = ["MAX_K", "MAX_NEW_TOKENS", "DraftStream", "Drafter", "neighbours_of", "open_backend"]


class DraftStream:
    """The text of a draft piece by piece; `draft` is there once all pieces have been taken."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces = pieces
        self.draft: Draft | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._pieces)

    def close(self) -> None:
        """Stop a model in mid-answer."""
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()


class Drafter:
    """Drafts from one case base.

    Args:
        search: The search over it.
        model: See `open_backend`; ignored where a backend is given.
        backend: A model that is open already.
        thresholds: Of the consensus; None takes those beside the encoder's weights, or the default.
        device: Where a model in this process runs.
        api_key: For a server.
        max_new_tokens: Longest answer of a model.
        temperature, seed: 0 for greedy decoding.
    """

    def __init__(
        self,
        search: CaseSearch,
        model: str = MODEL,
        *,
        backend: TextBackend | None = None,
        thresholds: DraftThresholds | None = None,
        device: str = "auto",
        api_key: str | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> None:
        if max_new_tokens < 1 or temperature < 0:
            raise QueryError(f"max_new_tokens {max_new_tokens}, temperature {temperature} (expected >= 1 and >= 0)")
        self.search = search
        self.backend = backend if backend is not None else open_backend(model, device=device, api_key=api_key)
        self.thresholds = thresholds or shipped_thresholds(search.encoder)
        self.max_new_tokens = max_new_tokens
        self.temperature = temperature
        self.seed = seed

    @classmethod
    def open(
        cls, base: str | Path | CaseBase, model: str = MODEL, *, device: str = "cpu", api_key: str | None = None
    ) -> Drafter:
        """A drafter over a case base with the encoder that its manifest names; raises as `CaseSearch.open`."""
        from ecgkin.retrieval.search.search import CaseSearch

        return cls(CaseSearch.open(base, device=device), model, api_key=api_key)

    @property
    def model(self) -> str:
        """What writes the text."""
        return self.backend.name if self.backend is not None else MODEL

    def close(self) -> None:
        """Close the case base."""
        self.search.close()

    def __enter__(self) -> Drafter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def draft(
        self,
        query: EcgRecord | Image.Image | str | Path,
        question: str | None = None,
        k: int = 3,
        lang: Language = "en",
        *,
        where: WhereLike = None,
        exclude_patient: str | None = None,
    ) -> Draft:
        """A draft for an ECG.

        Args:
            query: A record, a picture, or the file of either.
            question: What is asked; None for the whole report.
            k: Cases that a model is shown, or that are listed beside those cited, 0 to 20. 0 asks a model without
                retrieval.
            lang: "en" or "de".
            where: Filter on the cases.
            exclude_patient: Cases of this patient are left out.

        Raises:
            QueryError: k, language or filter cannot be used.
            InputError: The query cannot be read.
            GenerationError: The model failed, or the prompt does not fit.
        """
        started = time.perf_counter()
        task = open_task(self.search, query, question, k, lang, where, exclude_patient)
        if self.backend is None or task.refused:
            return self._finished(self._consensus(task), task, started)
        request, context = self._request(task)
        done = self.backend.generate(request)
        draft = self._grounded(done.text, context, task)
        cut = (Note(NoteCode.DRAFT_CUT),) if done.finish_reason == "length" else ()
        draft = replace(draft, tokens_in=done.tokens_in, tokens_out=done.tokens_out, warnings=(*draft.warnings, *cut))
        return self._finished(draft, task, started)

    def stream(
        self,
        query: EcgRecord | Image.Image | str | Path,
        question: str | None = None,
        k: int = 3,
        lang: Language = "en",
        *,
        where: WhereLike = None,
        exclude_patient: str | None = None,
    ) -> DraftStream:
        """The same draft with its text piece by piece; arguments and errors as in `draft`.

        Errors of the query are raised here, errors of the model while the pieces are taken.
        """
        started = time.perf_counter()
        task = open_task(self.search, query, question, k, lang, where, exclude_patient)

        def pieces() -> Iterator[str]:
            if self.backend is None or task.refused:
                written = self._consensus(task)
                yield from written.text.splitlines(keepends=True)
            else:
                request, context = self._request(task)
                parts: list[str] = []
                for piece in self.backend.stream(request):
                    parts.append(piece)
                    yield piece
                written = self._grounded("".join(parts), context, task)
            stream.draft = self._finished(written, task, started)

        stream = DraftStream(pieces())
        return stream

    def prompt(
        self,
        query: EcgRecord | Image.Image | str | Path,
        question: str | None = None,
        k: int = 3,
        lang: Language = "en",
        *,
        where: WhereLike = None,
        exclude_patient: str | None = None,
        counter: Counter | None = None,
    ) -> tuple[Context, Image.Image]:
        """What a model would be asked, with its tokens counted, and the picture that would go along.

        Args:
            counter: Counts the tokens of a model that is not loaded (`pulse.counter`); None asks the model itself.

        Raises:
            GenerationError: There is neither a model nor a counter, or the prompt does not fit.
            InputError: As in `draft`, whose arguments the others are.
        """
        return self._context(open_task(self.search, query, question, k, lang, where, exclude_patient), counter)

    def _consensus(self, task: Task) -> Draft:
        draft = write_consensus(
            task.result.vote,
            neighbours_of(task.result),
            language=task.language,
            thresholds=self.thresholds,
            measurements=task.measured,
            question=task.question,
            k=task.k,
            nothing_similar=task.result.nothing_similar or not task.result.hits,
        )
        return replace(draft, model=self.model)

    def _context(self, task: Task, counter: Counter | None = None) -> tuple[Context, Image.Image]:
        counts = counter or self.backend
        if counts is None:
            raise GenerationError("the consensus has no model to prompt", hint="name one with --model")
        image = picture_for(task.ecg, counts, self.max_new_tokens)
        context = build_context(
            task.result.hits,
            task.result.vote if task.k else None,
            counts,
            k=task.k,
            question=task.question,
            language=task.language,
            measured=task.values,
            image=image,
            max_new_tokens=self.max_new_tokens,
        )
        _LOG.info(
            "prompt name=%s cases=%d dropped=%d tokens=%d budget=%d",
            context.prompt_name, len(context.evidence), context.dropped, context.n_tokens, context.budget,
        )  # fmt: skip
        return context, image

    def _request(self, task: Task) -> tuple[Request, Context]:
        context, image = self._context(task)
        return Request(context.prompt, image, self.max_new_tokens, self.temperature, self.seed), context

    def _grounded(self, text: str, context: Context, task: Task) -> Draft:
        answer = readable_answer(text)
        result = task.result
        found = ground(
            answer,
            context.evidence,
            vote=result.vote,
            neighbours=[hit.case.labels.keys() for hit in result.hits],
            thresholds=self.thresholds,
            picture=True,
        )
        empty = () if answer else (Note(NoteCode.DRAFT_EMPTY),)
        uncited = found.sentences and context.evidence and not any(s.citations for s in found.sentences)
        return Draft(
            text=answer,
            language=task.language,
            model=self.model,
            question=task.question,
            sentences=found.sentences,
            statements=found.statements,
            evidence=context.evidence,
            unknown_citations=found.unknown_citations,
            warnings=(*empty, *found.warnings, *((Note(NoteCode.DRAFT_UNCITED),) if uncited else ())),
            probabilities=result.vote.probabilities,
            calibrated=result.vote.calibrated,
            measurements=task.values,
            prompt=context.prompt_name,
        )

    def _finished(self, draft: Draft, task: Task, started: float) -> Draft:
        seconds = time.perf_counter() - started
        warnings = tuple(dict.fromkeys((*draft.warnings, *task.result.warnings)))
        _LOG.info(
            "drafted model=%s sentences=%d cited=%d refused=%s seconds=%.3f",
            MODEL if self.backend is None else "backend",
            len(draft.sentences), len(draft.citations), bool(draft.refusal), seconds,
        )  # fmt: skip
        return replace(draft, seconds=seconds, warnings=warnings)
