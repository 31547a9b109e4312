"""`Drafter`: an ECG in, a draft with its evidence out, whichever way the text is made.

consensus               no model: the calibrated vote of the neighbours in words
pulse:DIR               a PULSE checkpoint in this process
http(s)://HOST/v1#NAME  model NAME behind an OpenAI-compatible server
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ecgkin.generation.backend import TextBackend
from ecgkin.generation.consensus import MODEL, Neighbour, write_consensus
from ecgkin.generation.context import Context, build_context
from ecgkin.generation.draft import LANGUAGES, Draft, Language
from ecgkin.generation.grounding import ground
from ecgkin.generation.measures import Measurements, measure
from ecgkin.generation.pages import page_of, picture_for
from ecgkin.generation.thresholds import DraftThresholds, shipped_thresholds
from ecgkin.generation.untrusted import readable_answer
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import GenerationError, QueryError
from ecgkin.retrieval.vote import DEFAULT_K

if TYPE_CHECKING:
    from PIL import Image

    from ecgkin.index.casebase import CaseBase
    from ecgkin.index.filters import WhereLike
    from ecgkin.retrieval.hits import SearchResult
    from ecgkin.retrieval.search import CaseSearch

_LOG = logging.getLogger(__name__)

MAX_K = 20
MAX_NEW_TOKENS = 512


def open_backend(model: str, *, device: str = "auto", api_key: str | None = None) -> TextBackend | None:
    """What stands behind a model's name; None for the consensus.

    Args:
        model: "consensus", "pulse:DIR" or "http(s)://HOST/v1#NAME" (without #NAME: "default").
        device: Where a model in this process runs.
        api_key: For a server.

    Raises:
        QueryError: It is none of these.
        ModelError: The checkpoint cannot be loaded.
        GenerationError: The address cannot be used.
    """
    if model == MODEL:
        return None
    kind, _, rest = model.partition(":")
    if kind == "pulse" and rest:
        from ecgkin.generation.pulse.loading import load_pulse

        return load_pulse(rest, device=None if device == "auto" else device)
    if kind in ("http", "https"):
        from ecgkin.generation.endpoint import EndpointBackend

        address, _, name = model.partition("#")
        return EndpointBackend(address, name or "default", api_key=api_key)
    raise QueryError(
        f"model is {model!r:.80} (expected consensus, pulse:DIR or an address that begins with http:// or https://)"
    )


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
        from ecgkin.retrieval.search import CaseSearch

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
        ecg, result, values = self._retrieve(query, k, lang, where, exclude_patient)
        if self.backend is None or self._refuses(result, k):
            return self._finished(self._consensus(result, values, question, k, lang), result, started)
        image, context = self._context(ecg, result, values, question, k, lang)
        done = self.backend.generate(
            context.prompt,
            image,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            seed=self.seed,
        )
        draft = self._grounded(done.text, context, result, values, question, lang)
        cut = ("the answer was cut at the longest length allowed",) if done.finish_reason == "length" else ()
        draft = replace(draft, tokens_in=done.tokens_in, tokens_out=done.tokens_out, warnings=(*draft.warnings, *cut))
        return self._finished(draft, result, started)

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
        ecg, result, values = self._retrieve(query, k, lang, where, exclude_patient)

        def pieces() -> Iterator[str]:
            if self.backend is None or self._refuses(result, k):
                written = self._consensus(result, values, question, k, lang)
                yield from written.text.splitlines(keepends=True)
            else:
                image, context = self._context(ecg, result, values, question, k, lang)
                parts: list[str] = []
                for piece in self.backend.stream(
                    context.prompt,
                    image,
                    max_new_tokens=self.max_new_tokens,
                    temperature=self.temperature,
                    seed=self.seed,
                ):
                    parts.append(piece)
                    yield piece
                written = self._grounded("".join(parts), context, result, values, question, lang)
            stream.draft = self._finished(written, result, started)

        stream = DraftStream(pieces())
        return stream

    def _retrieve(
        self,
        query: EcgRecord | Image.Image | str | Path,
        k: int,
        lang: Language,
        where: WhereLike,
        exclude_patient: str | None,
    ) -> tuple[EcgRecord | Image.Image, SearchResult, Measurements | None]:
        if isinstance(k, bool) or not isinstance(k, int) or not 0 <= k <= MAX_K:
            raise QueryError(f"k is {k!r} (expected a whole number from 0 to {MAX_K})")
        if lang not in LANGUAGES:
            raise QueryError(f"language is {lang!r} (expected {' or '.join(LANGUAGES)})")
        depth = self.search.calibration.depth if self.search.calibration else DEFAULT_K
        ecg = page_of(query)
        # As deep as the vote looks: a rare finding may be carried by the thirtieth case only, and is to be cited.
        if isinstance(ecg, EcgRecord):
            result = self.search.by_ecg(ecg, depth, where, exclude_patient)
            return ecg, result, measure(ecg)
        return ecg, self.search.by_image(ecg, depth, where, exclude_patient), None

    def _refuses(self, result: SearchResult, k: int) -> bool:
        """Nothing near: no evidence to condition on. With k = 0 a model was asked for without any."""
        return k > 0 and (result.nothing_similar or not result.hits)

    def _consensus(
        self, result: SearchResult, values: Measurements | None, question: str | None, k: int, lang: Language
    ) -> Draft:
        draft = write_consensus(
            result.vote,
            neighbours_of(result),
            language=lang,
            thresholds=self.thresholds,
            measurements=values,
            question=question,
            k=k,
            nothing_similar=result.nothing_similar or not result.hits,
        )
        return replace(draft, model=self.model)

    def _context(
        self,
        ecg: EcgRecord | Image.Image,
        result: SearchResult,
        values: Measurements | None,
        question: str | None,
        k: int,
        lang: Language,
    ) -> tuple[Image.Image, Context]:
        backend = self._backend()
        image = picture_for(ecg, backend, self.max_new_tokens)
        context = build_context(
            result.hits,
            result.vote if k else None,
            backend,
            k=k,
            question=question,
            language=lang,
            measured=values.values if values else None,
            image=image,
            max_new_tokens=self.max_new_tokens,
        )
        _LOG.info(
            "prompt name=%s cases=%d dropped=%d tokens=%d budget=%d",
            context.prompt_name, len(context.evidence), context.dropped, context.n_tokens, context.budget,
        )  # fmt: skip
        return image, context

    def _backend(self) -> TextBackend:
        if self.backend is None:
            raise GenerationError("the consensus has no model to prompt")
        return self.backend

    def _grounded(
        self,
        text: str,
        context: Context,
        result: SearchResult,
        values: Measurements | None,
        question: str | None,
        lang: Language,
    ) -> Draft:
        answer = readable_answer(text)
        found = ground(
            answer,
            context.evidence,
            vote=result.vote,
            neighbours=[hit.case.labels.keys() for hit in result.hits],
            thresholds=self.thresholds,
            picture=True,
        )
        empty = () if answer else ("the model answered nothing",)
        uncited = found.sentences and context.evidence and not any(s.citations for s in found.sentences)
        return Draft(
            text=answer,
            language=lang,
            model=self.model,
            question=question,
            sentences=found.sentences,
            statements=found.statements,
            evidence=context.evidence,
            unknown_citations=found.unknown_citations,
            warnings=(*empty, *found.warnings, *(("no sentence cites a case",) if uncited else ())),
            probabilities=result.vote.probabilities,
            calibrated=result.vote.calibrated,
            measurements=values.values if values else {},
            prompt=context.prompt_name,
        )

    def _finished(self, draft: Draft, result: SearchResult, started: float) -> Draft:
        seconds = time.perf_counter() - started
        warnings = tuple(dict.fromkeys((*draft.warnings, *result.warnings)))
        _LOG.info(
            "drafted model=%s sentences=%d cited=%d refused=%s seconds=%.3f",
            MODEL if self.backend is None else "backend",
            len(draft.sentences), len(draft.citations), bool(draft.refusal), seconds,
        )  # fmt: skip
        return replace(draft, seconds=seconds, warnings=warnings)


def neighbours_of(result: SearchResult) -> Sequence[Neighbour]:
    """The hits as the consensus reads them."""
    return [Neighbour(hit.case.case_id, hit.score, frozenset(hit.case.labels)) for hit in result.hits]
