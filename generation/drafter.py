"""`Drafter`: an ECG in, a draft with its evidence and the search under it out, whichever way the text is made."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from PIL.Image import Image

from ecgkin.generation.backends.base import MAX_NEW_TOKENS, DraftBackend, DraftSettings, TextBackend
from ecgkin.generation.backends.consensus import ConsensusBackend
from ecgkin.generation.backends.language_model import LanguageModelBackend, prompt_for
from ecgkin.generation.consensus.consensus import MODEL
from ecgkin.generation.consensus.findings import with_findings
from ecgkin.generation.consensus.measured import measured_findings
from ecgkin.generation.consensus.sections import P_VALUES, leaves_out_pr, without_p_values
from ecgkin.generation.consensus.thresholds import DraftThresholds, shipped_thresholds
from ecgkin.generation.measures import measure
from ecgkin.generation.measures.pages import measure_picture, measure_printed
from ecgkin.generation.measures.timing import time_note
from ecgkin.generation.measures.values import REASON_TEXTS, Reason
from ecgkin.generation.prompt.context import Context, Counter
from ecgkin.generation.prompt.pages import page_of
from ecgkin.generation.prompt.untrusted import question_line
from ecgkin.generation.types.draft import LANGUAGES, Draft, Language
from ecgkin.generation.types.task import Task
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import GenerationError, ModelError, QueryError

if TYPE_CHECKING:
    from ecgkin.index.base import CaseBase
    from ecgkin.index.filters import WhereLike
    from ecgkin.retrieval.ecg.page.printed import PrintedEcg
    from ecgkin.retrieval.search.hits import SearchResult
    from ecgkin.retrieval.search.search import CaseSearch

_LOG = logging.getLogger(__name__)

MAX_K = 20


def open_model(model: str, *, device: str = "auto", api_key: str | None = None) -> TextBackend:
    """The language model that a name means.

    Args:
        model: One of
            "mini" or "mini:DIR", the mini generator;
            "pulse:DIR", a PULSE checkpoint in this process;
            "http(s)://HOST/v1#NAME", model NAME behind an OpenAI-compatible server (without #NAME: "default");
            "pulse:DIR@http(s)://HOST/v1#NAME", a PULSE checkpoint behind a server, where DIR is the folder that
            `ecgkin pulse convert` wrote for that server (or its pulse.json): pictures are counted and cut by it.
        device: Where a model in this process runs.
        api_key: For a server.

    Returns:
        The backend, ready to answer.

    Raises:
        QueryError: It is none of these.
        WeightsMissingError, ModelError: The checkpoint is not there, or cannot be loaded.
        GenerationError: The address cannot be used.
    """
    kind, _, rest = model.partition(":")
    if kind == "mini":
        from ecgkin.generation.backends.mini.backend import MiniGenerator

        return MiniGenerator(Path(rest) if rest else None)
    folder, served, address = rest.partition("@http") if kind == "pulse" else ("", "", "")
    if folder and not served:
        from ecgkin.generation.backends.pulse.model import load_pulse

        return load_pulse(rest, device=None if device == "auto" else device)
    if folder or kind in ("http", "https"):
        from ecgkin.generation.backends.openai.endpoint import EndpointBackend

        url, _, name = (f"http{address}" if folder else model).partition("#")
        if folder:
            return EndpointBackend.for_pulse(url, name or "default", Path(folder), api_key=api_key)
        return EndpointBackend(url, name or "default", api_key=api_key)
    raise QueryError(
        f"model is {model!r:.80} (expected consensus, mini, pulse:DIR, pulse:DIR@http://HOST/v1#NAME or an address "
        "that begins with http:// or https://)"
    )


def open_backend(model: str, *, device: str = "auto", api_key: str | None = None) -> DraftBackend:
    """What writes drafts under a name: "consensus", or a model as `open_model` knows them, which says the arguments.

    Args:
        model: "consensus", or a name as `open_model` knows it.
        device: Where a model in this process runs.
        api_key: For a server.

    Returns:
        The backend.

    Raises:
        QueryError: It is none of these.
        GenerationError: The model cannot be opened, or its address cannot be used.
    """
    if model == MODEL:
        return ConsensusBackend()
    try:
        return LanguageModelBackend(open_model(model, device=device, api_key=api_key))
    except ModelError as error:  # the drafter is what is missing, not the encoder
        raise GenerationError(str(error), hint=error.hint) from error


@dataclass(frozen=True)
class DraftResult:
    """A draft, and the search that it stands on.

    Attributes:
        draft: What was written.
        search: As many hits as were asked for, and beyond them the cases that the draft cites, ranked by the number
            they are cited by; the neighbours that voted; and the probabilities that the draft states.
    """

    draft: Draft
    search: SearchResult


class DraftStream:
    """The text of a draft piece by piece; `result` is there once all pieces have been taken, None before."""

    def __init__(self, pieces: Iterator[str | DraftResult]) -> None:
        self._pieces = pieces
        self.result: DraftResult | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        piece = next(self._pieces)
        if isinstance(piece, DraftResult):
            self.result = piece
            return next(self)
        return piece

    def close(self) -> None:
        """Stop a model in mid-answer."""
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()


def write_draft(task: Task, backend: DraftBackend, settings: DraftSettings, started: float | None = None) -> Draft:
    """The draft for a query that was searched for; a refusal where nothing similar was found.

    Args:
        task: The query, its neighbours and what is asked.
        backend: What writes.
        settings: How.
        started: Reading of `time.perf_counter` from which the draft's seconds count; None for now.

    Returns:
        The draft.

    Raises:
        GenerationError: The model failed, or the prompt does not fit.
    """
    began = time.perf_counter() if started is None else started
    return _finished(_writer(task, backend).draft(task, settings), task, backend, began)


def _writer(task: Task, backend: DraftBackend) -> DraftBackend:
    """A model is not asked where there is no evidence: the consensus words the refusal."""
    return ConsensusBackend() if task.refused else backend


def _finished(draft: Draft, task: Task, backend: DraftBackend, started: float) -> Draft:
    """What every draft carries, whatever wrote it: flags, numbers that mean something in its rhythm, warnings."""
    seconds = time.perf_counter() - started
    doubt = time_note(task.measured)
    doubts = () if doubt is None else (doubt,)
    warnings = tuple(dict.fromkeys((*draft.warnings, *task.result.warnings, *doubts)))
    _LOG.info(
        "drafted model=%s sentences=%d cited=%d refused=%s seconds=%.3f",
        MODEL if isinstance(backend, ConsensusBackend) else "backend",
        len(draft.sentences), len(draft.citations), bool(draft.refusal), seconds,
    )  # fmt: skip
    found = measured_findings(task.measured)
    values, st_mv, unmeasured = draft.measurements, *_beside_numbers(task)
    if leaves_out_pr({item.code: item.polarity for item in draft.statements}, found.added):
        values = without_p_values(values)
    left_out = [name for name in P_VALUES if name in task.values and name not in values]
    unmeasured |= dict.fromkeys(left_out, REASON_TEXTS[Reason.P_NOT_OF_QRS][task.language])
    return replace(
        draft, model=backend.name, seconds=seconds, warnings=warnings, measurements=values, st_mv=st_mv,
        unmeasured=unmeasured, flags=draft.flags or found.drafted(task.language),
    )  # fmt: skip


def _beside_numbers(task: Task) -> tuple[dict[str, float], dict[str, str]]:
    """ST at the J point by lead, and why other numbers are missing."""
    measured = task.measured
    if measured is None:
        return {}, {}
    st_mv = {lead: round(values.st_j_mv, 3) for lead, values in measured.leads.items()}
    reasons = {name: REASON_TEXTS[reason][task.language] for name, reason in measured.reasons.items()}
    return st_mv, reasons


def weighed(result: SearchResult, query: object, thresholds: DraftThresholds) -> SearchResult:
    """A search with the probabilities that a draft of the same ECG states.

    Args:
        result: What was found.
        query: What was asked with; a record is measured, of a picture what the search read off its page.
        thresholds: Of the encoder.

    Returns:
        The search with other probabilities; as it is where words or a vector were asked with.
    """
    if result.query not in ("record", "image"):
        return result
    measured = measure(query) if isinstance(query, EcgRecord) else None
    if result.printed is not None:
        measured = measure_printed(result.printed)
    return replace(result, vote=with_findings(result.vote, thresholds, measured))


def _cards(result: SearchResult) -> tuple[str, ...]:
    return tuple(hit.case.case_id for hit in result.hits)


def _with_cards(draft: Draft, task: Task, settings: DraftSettings) -> DraftResult:
    """The draft, and the search as it is to be shown beside it: its bars, and a card for every case that is cited."""
    result = task.result
    numbers = {item.case_id: item.number for item in draft.evidence if item.number > len(result.hits)}
    places = {hit.case.case_id: hit for hit in result.neighbours if hit.case.case_id in numbers}
    more = tuple(replace(places[name], rank=numbers[name]) for name in numbers if name in places)
    vote = with_findings(result.vote, settings.thresholds, task.measured)
    return DraftResult(draft, replace(result, hits=(*result.hits, *more), vote=vote))


class Drafter:
    """Drafts from one case base.

    Args:
        search: The search over it.
        model: See `open_model`, or "consensus"; ignored where a backend is given.
        backend: A model or another writer of drafts that is open already.
        thresholds: Of the consensus; None takes those beside the encoder's weights, or the default.
        device: Where a model in this process runs.
        api_key: For a server.
        max_new_tokens: Longest answer of a model, 1 or more.
        temperature: 0 for greedy decoding.
        seed: Of a sampled answer; None lets the model choose.

    Raises:
        QueryError: Length or temperature is out of range, or the model's name means nothing.
        WeightsMissingError, ModelError, GenerationError: The model cannot be opened.
    """

    def __init__(
        self,
        search: CaseSearch,
        model: str = MODEL,
        *,
        backend: DraftBackend | TextBackend | None = None,
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
        if backend is None:
            backend = open_backend(model, device=device, api_key=api_key)
        self.backend = backend if isinstance(backend, DraftBackend) else LanguageModelBackend(backend)
        self.settings = DraftSettings(
            thresholds or shipped_thresholds(search.encoder), max_new_tokens, temperature, seed
        )

    @classmethod
    def open(
        cls, base: str | Path | CaseBase, model: str = MODEL, *, device: str = "cpu", api_key: str | None = None
    ) -> Drafter:
        """A drafter over a case base with the encoder that its manifest names; raises as `CaseSearch.open`.

        Args:
            base: Its folder or address, or the base itself.
            model: See `open_model`, or "consensus".
            device: Where the encoder runs.
            api_key: For a server that answers as a model.

        Returns:
            The drafter.
        """
        from ecgkin.retrieval.search.search import CaseSearch

        return cls(CaseSearch.open(base, device=device), model, api_key=api_key)

    @property
    def model(self) -> str:
        """What writes the text."""
        return self.backend.name

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
        query: EcgRecord | Image | PrintedEcg | str | Path,
        question: str | None = None,
        k: int = 3,
        lang: Language = "en",
        *,
        where: WhereLike = None,
        exclude_patient: str | None = None,
        hits: int | None = None,
        previous: str | None = None,
    ) -> DraftResult:
        """A draft for an ECG, and the search under it.

        Args:
            query: A record, a picture, what was read of one, or the file of any of them.
            question: What is asked; None for the whole report.
            k: Cases that a model is shown, or that are listed beside those cited, 0 to 20. 0 asks a model without
                retrieval.
            lang: "en" or "de".
            where: Filter on the cases.
            exclude_patient: Cases of this patient are left out.
            hits: Hits of the search that is returned, 1 to 1000; None for as many as `k`, at least one.
            previous: Case id of an earlier ECG of the person, or the person's id: the draft says what has changed, and
                cases of this person do not vote.

        Returns:
            Text, evidence, measurements and the search.

        Raises:
            QueryError: k, hits, language or filter cannot be used, or the base holds no such earlier ECG.
            InputError: The query cannot be read.
            GenerationError: The model failed, or the prompt does not fit.
        """
        started = time.perf_counter()
        own = self._own(exclude_patient, previous)
        task = self.task(query, question, k, lang, where=where, exclude_patient=own, hits=hits)
        written = write_draft(task, self.backend, self.settings, started)
        return _with_cards(self._compared(written, task, previous), task, self.settings)

    def stream(
        self,
        query: EcgRecord | Image | PrintedEcg | str | Path,
        question: str | None = None,
        k: int = 3,
        lang: Language = "en",
        *,
        where: WhereLike = None,
        exclude_patient: str | None = None,
        hits: int | None = None,
        previous: str | None = None,
    ) -> DraftStream:
        """The same draft with its text piece by piece; arguments and errors as in `draft`.

        Errors of the query are raised here, errors of the model while the pieces are taken.

        Args:
            query, question, k, lang, where, exclude_patient, hits, previous: As in `draft`.

        Returns:
            The pieces; the whole draft once they have been taken.
        """
        started = time.perf_counter()
        own = self._own(exclude_patient, previous)
        task = self.task(query, question, k, lang, where=where, exclude_patient=own, hits=hits)

        def pieces() -> Iterator[str | DraftResult]:
            for piece in _writer(task, self.backend).stream(task, self.settings):
                if isinstance(piece, Draft):
                    written = _finished(piece, task, self.backend, started)
                    yield _with_cards(self._compared(written, task, previous), task, self.settings)
                else:
                    yield piece

        return DraftStream(pieces())

    def _own(self, exclude_patient: str | None, previous: str | None) -> str | None:
        """Whose cases do not vote: those of the person whose earlier ECG is compared have a place of their own."""
        if exclude_patient is not None or previous is None:
            return exclude_patient
        from ecgkin.generation.serial import patient_of

        return patient_of(self.search.base, previous)

    def _compared(self, draft: Draft, task: Task, previous: str | None) -> Draft:
        """The draft with what has changed since an earlier ECG, where one was named."""
        if previous is None:
            return draft
        from ecgkin.generation.serial import compare_with_earlier

        # Of a picture that the search has read off its page the signals are there already.
        ecg = task.result.printed or task.ecg
        said = draft.codes("present")
        serial = compare_with_earlier(self.search.base, ecg, previous, statements=said, language=task.language)
        return replace(draft, comparison=serial, text=f"{draft.text}\n\n{serial.sentence}".strip())

    def prompt(
        self,
        query: EcgRecord | Image | PrintedEcg | str | Path,
        question: str | None = None,
        k: int = 3,
        lang: Language = "en",
        *,
        where: WhereLike = None,
        exclude_patient: str | None = None,
        counter: Counter | None = None,
    ) -> tuple[Context, Image]:
        """What a model would be asked, with its tokens counted, and the picture that would go along.

        Args:
            counter: Counts the tokens of a model that is not loaded (`pulse.counter`); None asks the model itself.
            query, question, k, lang, where, exclude_patient: As in `draft`.

        Returns:
            The prompt with its parts, and the picture.

        Raises:
            GenerationError: There is neither a model nor a counter, or the prompt does not fit.
            InputError: As in `draft`, whose arguments the others are.
        """
        if counter is None:
            if not isinstance(self.backend, LanguageModelBackend):
                raise GenerationError("the consensus has no model to prompt", hint="name one with --model")
            counter = self.backend.model
        task = self.task(query, question, k, lang, where=where, exclude_patient=exclude_patient)
        return prompt_for(task, counter, self.settings)

    def task(
        self,
        query: EcgRecord | Image | PrintedEcg | str | Path,
        question: str | None = None,
        k: int = 3,
        lang: Language = "en",
        *,
        where: WhereLike = None,
        exclude_patient: str | None = None,
        hits: int | None = None,
    ) -> Task:
        """The query read, searched for and measured; arguments and errors as in `draft`.

        Args:
            query, question, k, lang, where, exclude_patient, hits: As in `draft`.

        Returns:
            What a backend drafts from.
        """
        if isinstance(k, bool) or not isinstance(k, int) or not 0 <= k <= MAX_K:
            raise QueryError(f"k is {k!r} (expected a whole number from 0 to {MAX_K})")
        if lang not in LANGUAGES:
            raise QueryError(f"language is {lang!r} (expected {' or '.join(LANGUAGES)})")
        asked = question_line(question) if question is not None else None
        shown = max(1, k) if hits is None else hits
        # As deep as the vote looks: a rare finding may be carried by the thirtieth case only, and is to be cited.
        depth = self.search.depth
        ecg = page_of(query)
        if isinstance(ecg, EcgRecord):
            result = self.search.by_ecg(ecg, shown, where, exclude_patient, depth=depth)
            return Task(ecg, result, measure(ecg), asked, k, lang, _cards(result))
        result = self.search.by_image(ecg, shown, where, exclude_patient, depth=depth)
        picture = ecg if isinstance(ecg, Image) else ecg.picture
        # What the search read off the page is what is measured; an encoder of plain pictures has not read it.
        printed = result.printed
        measured = measure_picture(picture) if printed is None else measure_printed(printed)
        return Task(picture, result, measured, asked, k, lang, _cards(result))
