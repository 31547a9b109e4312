"""What the tools do: plain functions with typed answers, the same models as those of the HTTP API."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from ecgkin.retrieval.errors import ImageError, InputError, QueryError
from ecgkin.ui.api.answers import CaseOut, DraftOut, FlagOut, SearchOut, SerialOut
from ecgkin.ui.mcp.files import Files

if TYPE_CHECKING:
    from ecgkin.generation.backends.base import DraftBackend
    from ecgkin.retrieval.encoders.base import Encoder
    from ecgkin.retrieval.encoders.witness import StatementWitness
    from ecgkin.retrieval.search.live import LiveSearch
    from ecgkin.retrieval.search.search import CaseSearch, SearchResult

MAX_K = 50
NOTICE = "Supports and does not replace a clinician."


class LeadsOut(BaseModel):
    """What a stored case has of samples."""

    leads: list[str]
    fs_hz: float
    seconds: float


class CaseAnswer(BaseModel):
    """One stored case, and its samples, if they are kept."""

    case: CaseOut
    samples: LeadsOut | None = Field(description="null: the base keeps none of this case")


class MeasuredOut(BaseModel):
    """What was measured on the samples; null where it could not be measured."""

    notice: str = NOTICE
    read_from: Literal["recording", "picture"] = Field(description="a picture's signals were read off it first")
    rate_bpm: float | None
    pr_ms: float | None
    qrs_ms: float | None
    qt_ms: float | None
    qtc_ms: float | None = Field(description="Bazett")
    axis_deg: float | None = Field(description="frontal QRS axis, -180 to 180")
    flags: list[FlagOut] = Field(description="red flags by published criteria, the most dangerous first")
    details: dict[str, Any] = Field(description="all values, by lead too, and why others are missing")


class Tools:
    """The tools over one case base; calls take turns.

    Args:
        base: Its folder, a link to one, or its address on Milvus; a name that is switched is followed.
        files: What may be opened.
        model: What drafts, see `ecgkin draft --model`.
        encoder: The one it was built with; None loads what its manifest names.
        device: Where encoder and model run.
        api_key: For a server that drafts.
        witness: Another classifier, heard beside the vote: `testimony` of a search.
    """

    def __init__(
        self,
        base: str | Path,
        files: Files,
        *,
        model: str = "consensus",
        encoder: Encoder | None = None,
        device: str = "cpu",
        api_key: str | None = None,
        witness: StatementWitness | None = None,
    ) -> None:
        from ecgkin.generation.drafter import open_backend
        from ecgkin.retrieval.search.live import LiveSearch
        from ecgkin.retrieval.search.search import CaseSearch

        self._files = files
        self._turn = threading.Lock()
        self._live: LiveSearch[CaseSearch] = LiveSearch(
            base, serve=lambda opened: CaseSearch.open(opened, encoder, device=device, witness=witness)
        )
        try:
            self._backend: DraftBackend = open_backend(model, device=device, api_key=api_key)
        except BaseException:
            self._live.close()
            raise

    def close(self) -> None:
        """Let go of the base."""
        self._live.close()

    @property
    def n_cases(self) -> int:
        """Cases in the base."""
        return len(self._live.newest.base)

    def search(
        self,
        file: str | None = None,
        text: str | None = None,
        k: int = 10,
        where: str | None = None,
        exclude_patient: str | None = None,
    ) -> SearchOut:
        """Find the cases most similar to an ECG, to words, or to both, with their reports and what they vote for.

        `abstention.nothing_similar` means that no case is like the query: say so instead of citing the hits.

        Args:
            file: Recording or picture of an ECG: a path on the server's machine, or a data URI with the content
                ("data:;name=ecg.xml;base64,...").
            text: Words: "LBBB", "Vorhofflimmern", a sentence.
            k: Hits, 1 to 50.
            where: Filter, for example "age>=60 and sex=F and not label:PACE".
            exclude_patient: Leave out the cases of this patient.
        """
        if not file and not text:
            raise QueryError("nothing to search for", hint="give a file, or text, or both")
        if not 1 <= k <= MAX_K:
            raise QueryError(f"k is {k} (expected 1 to {MAX_K})")
        with self._now() as (search, held):
            result: SearchResult
            if not file:
                result = search.by_text(text or "", k, where, exclude_patient)
            else:
                query: Any = _read(held.enter_context(self._files.opened(file)))
                if text:
                    result = search.by_both(query, text, k, where, exclude_patient)
                elif _is_record(query):
                    result = search.by_ecg(query, k, where, exclude_patient)
                else:
                    result = search.by_image(query, k, where, exclude_patient)
            return SearchOut.of(result)

    def compare(self, earlier: str, later: str, language: Literal["en", "de"] = "en") -> SerialOut:
        """Say what has changed from one ECG of a person to a later one, and which changes exceed repeatability.

        Args:
            earlier: File of the earlier ECG: a path, or a data URI with the content.
            later: File of the later one, likewise.
            language: Of the words.
        """
        from ecgkin.generation.serial import compare_records

        with self._turn, self._files.opened(earlier) as before, self._files.opened(later) as after:
            records = [_samples(path, name) for path, name in ((before, "earlier"), (after, "later"))]
        done = SerialOut.of(compare_records(records[0], records[1], name="earlier", language=language))
        # Median beats are thousands of numbers to be drawn; an agent reads the table.
        return done.model_copy(update={"beats_mv": {}})

    def measure(self, file: str, language: Literal["en", "de"] = "en") -> MeasuredOut:
        """Measure an ECG: rate, intervals, axis, ST by lead, rhythm; and red flags by published criteria.

        Args:
            file: Recording or picture of an ECG: a path, or a data URI with the content.
            language: Of the flags.
        """
        from dataclasses import asdict

        from ecgkin.generation.consensus.measured import measured_findings
        from ecgkin.generation.measures import measure

        with self._turn, self._files.opened(file) as path:
            read = _read(path)
            measured = measure(_samples(read, "the file"))
        known = measured.values
        return MeasuredOut(
            read_from="recording" if _is_record(read) else "picture",
            rate_bpm=known.get("rate_bpm"),
            pr_ms=known.get("pr_ms"),
            qrs_ms=known.get("qrs_ms"),
            qt_ms=known.get("qt_ms"),
            qtc_ms=known.get("qtc_ms"),
            axis_deg=known.get("axis_deg"),
            flags=[FlagOut.model_validate(asdict(flag)) for flag in measured_findings(measured).drafted(language)],
            details=measured.as_dict(),
        )

    def draft(
        self,
        file: str,
        question: str | None = None,
        language: Literal["en", "de"] = "en",
        where: str | None = None,
        exclude_patient: str | None = None,
        previous: str | None = None,
    ) -> DraftOut:
        """Draft a preliminary report in which every sentence says what carries it: cited cases or a measurement.

        Keep citations and `disclaimer` with the text. Where `refusal` is not empty there is no draft, and that is the
        answer. A clinician has to check it.

        Args:
            file: Recording or picture of an ECG: a path, or a data URI with the content.
            question: A question instead of the report: "is there atrial fibrillation?".
            language: Of the draft.
            where: Filter on the cases.
            exclude_patient: Leave out the cases of this patient.
            previous: An earlier ECG of the person in the base: case id, or the person's id.
        """
        from ecgkin.generation.drafter import Drafter

        with self._now() as (search, held):
            query = _read(held.enter_context(self._files.opened(file)))
            drafted = Drafter(search, backend=self._backend).draft(
                query, question, lang=language, where=where, exclude_patient=exclude_patient, previous=previous
            )
            return DraftOut.of(drafted.draft)

    def case(self, case_id: str) -> CaseAnswer:
        """Show a stored case: its report, statements, age, sex, date, and whether its samples are kept.

        Args:
            case_id: As hits and citations name it.
        """
        with self._now() as (search, _):
            if case_id not in search.base:
                raise QueryError(f"the base holds no case {case_id[:200]!r}", hint="ids stand in hits and evidence")
            record = search.base.record(case_id)
            samples = None
            if record is not None:
                samples = LeadsOut(leads=list(record.leads), fs_hz=record.fs_hz, seconds=record.duration_s)
            return CaseAnswer(case=CaseOut.of(search.base.get(case_id)), samples=samples)

    @contextmanager
    def _now(self) -> Iterator[tuple[CaseSearch, ExitStack]]:
        with self._turn, self._live.current() as search, ExitStack() as held:
            yield search, held


def _read(path: Path) -> Any:
    from ecgkin.retrieval.ecg.formats.tried import open_unattended

    return open_unattended(path)


def _is_record(read: object) -> bool:
    from ecgkin.retrieval.ecg.record import EcgRecord

    return isinstance(read, EcgRecord)


def _samples(source: Any, name: str) -> Any:
    """The samples of a recording, or those that can be read off a picture."""
    from ecgkin.generation.serial import record_of

    try:
        record = record_of(_read(source) if isinstance(source, Path) else source)
    except InputError as error:
        raise type(error)(f"{name}: {error}", hint=error.hint) from error
    if record is None:
        raise ImageError(f"{name}: no signals could be read off the picture", hint="a scan at 200 dpi reads best")
    return record
