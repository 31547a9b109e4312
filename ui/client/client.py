"""A typed client of the API: `Client` for plain code, `AsyncClient` for coroutines, the same methods in both.

For example:
    with Client("http://127.0.0.1:8000") as client:
        found = client.search("page.jpg", k=5, where="age>=60")
        found.hits[0].case.report
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import httpx
from httpx_sse import EventSource

from ecgkin.ui.api.addresses import case_address
from ecgkin.ui.api.answers import (
    CaseOut,
    CasesOut,
    DigitizedOut,
    DraftAnswer,
    EmbeddingOut,
    ExplanationOut,
    FeedbackOut,
    InfoOut,
    MapOut,
    MarkOut,
    SearchOut,
)
from ecgkin.ui.api.schemas import CaseFields, PageKnown, Signal
from ecgkin.ui.client import calls
from ecgkin.ui.client.calls import ApiError, DraftEvent, Files, checked, draft_event, unreachable

if TYPE_CHECKING:
    from ecgkin.retrieval.ecg.record import EcgRecord

__all__ = ["ApiError", "AsyncClient", "CaseFields", "Client", "DraftEvent", "PageKnown"]

T = TypeVar("T")
TIMEOUT_S = 60.0


class Client:
    """The API, method by method; every method raises `ApiError`.

    Args:
        base_url: Where the server is: "http://127.0.0.1:8000".
        token: Bearer token, where the server wants one.
        timeout_s: Seconds without a byte that end a call.
    """

    def __init__(self, base_url: str, token: str | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
        self.base_url = base_url
        self._http = httpx.Client(**calls.connection(base_url, token, timeout_s))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, call: calls.Call[T]) -> T:
        try:
            response = self._http.request(call.method, call.path, **call.arguments())
        except httpx.HTTPError as error:
            raise unreachable(self.base_url, error) from error
        return call.take(checked(response))

    def search(
        self,
        file: Files | None = None,
        record: EcgRecord | None = None,
        text: str | None = None,
        query_id: str | None = None,
        **options: Any,
    ) -> SearchOut:
        """Similar cases.

        Args:
            file: Picture, table, zip, or the files of a WFDB record: paths, or (name, content).
            record: Samples, instead of a file.
            text: Words; beside an ECG the search is for both.
            query_id: An earlier search, instead of all these: refined by its marks.
            options: k, where, exclude_patient, previous, weight, understood, raw, similar, not_similar,
                fs_hz, units, page, known.

        Returns:
            Hits, vote, warnings and the query's id.
        """
        return self._run(calls.search(file, record, text, query_id, **options))

    def draft(self, file: Files | None = None, record: EcgRecord | None = None, **options: Any) -> DraftAnswer:
        """A preliminary draft, and the search under it.

        Args:
            file: A path, its name and bytes, or several of these (the files of a WFDB record).
            record: A recording, in place of a file.
            options: k, model, evidence, question, language, where, exclude_patient, previous, fs_hz, units, page,
                known.

        Returns:
            The draft and the search.
        """
        return self._run(calls.draft(file, record, calls.parsed_as(DraftAnswer), "application/json", **options))

    def draft_fhir(self, file: Files | None = None, record: EcgRecord | None = None, **options: Any) -> dict[str, Any]:
        """The draft as a FHIR R4 DiagnosticReport, status preliminary.

        Args:
            file: A path, its name and bytes, or several of these (the files of a WFDB record).
            record: A recording, in place of a file.
            options: k, model, evidence, question, language, where, exclude_patient, previous, fs_hz, units, page,
                known.

        Returns:
            The resource as plain values.
        """
        return self._run(calls.draft(file, record, calls.report, "application/fhir+json", **options))

    def draft_events(
        self, file: Files | None = None, record: EcgRecord | None = None, **options: Any
    ) -> Iterator[DraftEvent]:
        """The draft word by word, the whole answer last.

        Args:
            file: A path, its name and bytes, or several of these (the files of a WFDB record).
            record: A recording, in place of a file.
            options: k, model, evidence, question, language, where, exclude_patient, previous, fs_hz, units, page,
                known.

        Returns:
            Pieces of text, then the answer.
        """
        call = calls.draft(file, record, calls.nothing, "text/event-stream", **options)
        try:
            with self._http.stream(call.method, call.path, **call.arguments()) as response:
                if not response.is_success:
                    response.read()
                checked(response)
                for sent in EventSource(response).iter_sse():
                    if (event := draft_event(sent)) is not None:
                        yield event
        except httpx.HTTPError as error:
            raise unreachable(self.base_url, error) from error

    def case(self, case_id: str) -> CaseOut:
        """One case."""
        return self._run(calls.Call("GET", case_address(case_id), calls.parsed_as(CaseOut)))

    def cases(self, where: str | None = None, offset: int = 0, limit: int = 20) -> CasesOut:
        """One page of the cases that a filter lets through, in the order in which they came.

        Args:
            where: Filter in the words of the API; None for all.
            offset: Cases to pass over.
            limit: Most of them.

        Returns:
            Cases, and how many there are in all.
        """
        return self._run(calls.cases(where, offset, limit))

    def page(self, case_id: str, form: Literal["svg", "png"] = "svg", **options: Any) -> bytes:
        """A case drawn on ECG paper.

        Args:
            case_id: Of the case.
            form: SVG or PNG.
            options: layout, order, speed, gain, grid, start, width.

        Returns:
            The picture.
        """
        return self._run(calls.page(case_id, form, options))

    def signal(self, case_id: str) -> EcgRecord:
        """The samples of a case."""
        return self._run(calls.Call("GET", case_address(case_id, "/signal"), calls.parsed_as(Signal))).record()

    def add_case(self, case: CaseFields, file: Files | None = None, record: EcgRecord | None = None) -> CaseOut:
        """Add a case; it is on the server's disk when this returns.

        Args:
            case: What is known of it.
            file: A path, its name and bytes, or several of these (the files of a WFDB record).
            record: A recording, in place of a file.

        Returns:
            The case as it was stored.
        """
        return self._run(calls.add_case(case, file, record))

    def remove_case(self, case_id: str) -> None:
        """Remove a case."""
        self._run(calls.Call("DELETE", case_address(case_id), calls.nothing))

    def embed(
        self, texts: Sequence[str] = (), file: Files | None = None, record: EcgRecord | None = None
    ) -> EmbeddingOut:
        """Unit vectors of texts, or of one ECG.

        Args:
            texts: Reports, names, abbreviations; or none, with an ECG.
            file: A path, its name and bytes, or several of these (the files of a WFDB record).
            record: A recording, in place of a file.

        Returns:
            Vectors, and whose they are.
        """
        return self._run(calls.embed(texts, file, record))

    def digitize(self, file: Files, **options: Any) -> DigitizedOut:
        """The signals of a picture, and what was understood of the page.

        Args:
            file: A path, or its name and bytes.
            options: known (`PageKnown`: what was misread, put right), samples, curves, page.
        """
        return self._run(calls.digitize(file, **options))

    def explain(
        self,
        case_id: str,
        file: Files | None = None,
        record: EcgRecord | None = None,
        fs_hz: float | None = None,
        known: PageKnown | None = None,
    ) -> ExplanationOut:
        """Which stretches of an ECG make a case near.

        Args:
            case_id: Of the case.
            file: A path, its name and bytes, or several of these (the files of a WFDB record).
            record: A recording, in place of a file.
            fs_hz: Samples a second, for a file that does not say.
            known: Of a picture: what its reading got wrong, put right.

        Returns:
            Those that cost most similarity first.
        """
        return self._run(calls.explain(case_id, file, record, fs_hz, known))

    def feedback(self, query_id: str, similar: Sequence[str] = (), not_similar: Sequence[str] = ()) -> FeedbackOut:
        """Mark hits of a search; `search(query_id=...)` then follows them.

        Args:
            query_id: Of an earlier search.
            similar: Case ids marked as similar.
            not_similar: Case ids marked as not similar.

        Returns:
            What is marked now.
        """
        return self._run(calls.feedback(query_id, similar, not_similar))

    def marks(self, query_id: str | None = None) -> list[MarkOut]:
        """All marks, or those of one search."""
        return self._run(calls.marks(query_id))

    def map(self, limit: int = 2000, query_id: str | None = None) -> MapOut:
        """The case base as points in a plane, and where a search lies among them.

        Args:
            limit: Most of them.
            query_id: Of an earlier search.

        Returns:
            Points by case.
        """
        return self._run(calls.case_map(limit, query_id))

    def info(self) -> InfoOut:
        """What runs there."""
        return self._run(calls.Call("GET", "/v1/info", calls.parsed_as(InfoOut)))


class AsyncClient:
    """`Client` for coroutines: the same methods, awaited; arguments and errors as there."""

    def __init__(self, base_url: str, token: str | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
        self.base_url = base_url
        self._http = httpx.AsyncClient(**calls.connection(base_url, token, timeout_s))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, call: calls.Call[T]) -> T:
        try:
            response = await self._http.request(call.method, call.path, **call.arguments())
        except httpx.HTTPError as error:
            raise unreachable(self.base_url, error) from error
        return call.take(checked(response))

    async def search(
        self,
        file: Files | None = None,
        record: EcgRecord | None = None,
        text: str | None = None,
        query_id: str | None = None,
        **options: Any,
    ) -> SearchOut:
        """The most similar cases to an ECG, to words, to both, or to an earlier search after its marks.

        Args:
            file: A path, its name and bytes, or several of these (the files of a WFDB record).
            record: A recording, in place of a file.
            text: Words; with an ECG the search is for both.
            query_id: Of an earlier search.
            options: k, where, exclude_patient, previous, weight, understood, raw, similar, not_similar,
                fs_hz, units, page, known.

        Returns:
            Hits, vote, what was read of the page, warnings.
        """
        return await self._run(calls.search(file, record, text, query_id, **options))

    async def draft(self, file: Files | None = None, record: EcgRecord | None = None, **options: Any) -> DraftAnswer:
        """A preliminary draft, and the search under it.

        Args:
            file: A path, its name and bytes, or several of these (the files of a WFDB record).
            record: A recording, in place of a file.
            options: k, model, evidence, question, language, where, exclude_patient, previous, fs_hz, units, page,
                known.

        Returns:
            The draft and the search.
        """
        return await self._run(calls.draft(file, record, calls.parsed_as(DraftAnswer), "application/json", **options))

    async def draft_fhir(
        self, file: Files | None = None, record: EcgRecord | None = None, **options: Any
    ) -> dict[str, Any]:
        """The draft as a FHIR R4 DiagnosticReport, status preliminary.

        Args:
            file: A path, its name and bytes, or several of these (the files of a WFDB record).
            record: A recording, in place of a file.
            options: k, model, evidence, question, language, where, exclude_patient, previous, fs_hz, units, page,
                known.

        Returns:
            The resource as plain values.
        """
        return await self._run(calls.draft(file, record, calls.report, "application/fhir+json", **options))

    async def draft_events(
        self, file: Files | None = None, record: EcgRecord | None = None, **options: Any
    ) -> AsyncIterator[DraftEvent]:
        """The draft word by word, the whole answer last.

        Args:
            file: A path, its name and bytes, or several of these (the files of a WFDB record).
            record: A recording, in place of a file.
            options: k, model, evidence, question, language, where, exclude_patient, previous, fs_hz, units, page,
                known.

        Returns:
            Pieces of text, then the answer.
        """
        call = calls.draft(file, record, calls.nothing, "text/event-stream", **options)
        try:
            async with self._http.stream(call.method, call.path, **call.arguments()) as response:
                if not response.is_success:
                    await response.aread()
                checked(response)
                async for sent in EventSource(response).aiter_sse():
                    if (event := draft_event(sent)) is not None:
                        yield event
        except httpx.HTTPError as error:
            raise unreachable(self.base_url, error) from error

    async def case(self, case_id: str) -> CaseOut:
        """One case."""
        return await self._run(calls.Call("GET", case_address(case_id), calls.parsed_as(CaseOut)))

    async def cases(self, where: str | None = None, offset: int = 0, limit: int = 20) -> CasesOut:
        """One page of the cases that a filter lets through, in the order in which they came.

        Args:
            where: Filter in the words of the API; None for all.
            offset: Cases to pass over.
            limit: Most of them.

        Returns:
            Cases, and how many there are in all.
        """
        return await self._run(calls.cases(where, offset, limit))

    async def page(self, case_id: str, form: Literal["svg", "png"] = "svg", **options: Any) -> bytes:
        """A case drawn on ECG paper.

        Args:
            case_id: Of the case.
            form: SVG or PNG.
            options: layout, order, speed, gain, grid, start, width.

        Returns:
            The picture.
        """
        return await self._run(calls.page(case_id, form, options))

    async def signal(self, case_id: str) -> EcgRecord:
        """The samples of a case."""
        return (await self._run(calls.Call("GET", case_address(case_id, "/signal"), calls.parsed_as(Signal)))).record()

    async def add_case(self, case: CaseFields, file: Files | None = None, record: EcgRecord | None = None) -> CaseOut:
        """Add a case.

        Args:
            case: What is known of it.
            file: A path, its name and bytes, or several of these (the files of a WFDB record).
            record: A recording, in place of a file.

        Returns:
            The case as it was stored.
        """
        return await self._run(calls.add_case(case, file, record))

    async def remove_case(self, case_id: str) -> None:
        """Remove a case."""
        await self._run(calls.Call("DELETE", case_address(case_id), calls.nothing))

    async def embed(
        self, texts: Sequence[str] = (), file: Files | None = None, record: EcgRecord | None = None
    ) -> EmbeddingOut:
        """Unit vectors of texts, or of one ECG.

        Args:
            texts: Reports, names, abbreviations; or none, with an ECG.
            file: A path, its name and bytes, or several of these (the files of a WFDB record).
            record: A recording, in place of a file.

        Returns:
            Vectors, and whose they are.
        """
        return await self._run(calls.embed(texts, file, record))

    async def digitize(self, file: Files, **options: Any) -> DigitizedOut:
        """The signals of a picture, and what was understood of the page.

        Args:
            file: A path, or its name and bytes.
            options: known (`PageKnown`: what was misread, put right), samples, curves, page.
        """
        return await self._run(calls.digitize(file, **options))

    async def explain(
        self,
        case_id: str,
        file: Files | None = None,
        record: EcgRecord | None = None,
        fs_hz: float | None = None,
        known: PageKnown | None = None,
    ) -> ExplanationOut:
        """Which stretches of an ECG make a case near.

        Args:
            case_id: Of the case.
            file: A path, its name and bytes, or several of these (the files of a WFDB record).
            record: A recording, in place of a file.
            fs_hz: Samples a second, for a file that does not say.
            known: Of a picture: what its reading got wrong, put right.

        Returns:
            Those that cost most similarity first.
        """
        return await self._run(calls.explain(case_id, file, record, fs_hz, known))

    async def feedback(
        self, query_id: str, similar: Sequence[str] = (), not_similar: Sequence[str] = ()
    ) -> FeedbackOut:
        """Mark hits of a search.

        Args:
            query_id: Of an earlier search.
            similar: Case ids marked as similar.
            not_similar: Case ids marked as not similar.

        Returns:
            What is marked now.
        """
        return await self._run(calls.feedback(query_id, similar, not_similar))

    async def marks(self, query_id: str | None = None) -> list[MarkOut]:
        """All marks, or those of one search."""
        return await self._run(calls.marks(query_id))

    async def map(self, limit: int = 2000, query_id: str | None = None) -> MapOut:
        """The case base as points in a plane.

        Args:
            limit: Most of them.
            query_id: Of an earlier search.

        Returns:
            Points by case.
        """
        return await self._run(calls.case_map(limit, query_id))

    async def info(self) -> InfoOut:
        """What runs there."""
        return await self._run(calls.Call("GET", "/v1/info", calls.parsed_as(InfoOut)))
