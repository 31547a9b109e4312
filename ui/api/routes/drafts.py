"""/v1/drafts: a preliminary draft as JSON, as a stream of its words, or as a FHIR DiagnosticReport."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from fastapi import APIRouter, Request, Response
from pydantic import Field
from starlette.responses import StreamingResponse

from ecgkin.ui.api import intake, openapi, problems
from ecgkin.ui.api.answers import DraftAnswer, DraftOut, SearchOut
from ecgkin.ui.api.schemas import DraftBody, DraftOptions
from ecgkin.ui.api.state import State
from ecgkin.ui.fhir import draft as fhir

if TYPE_CHECKING:
    from ecgkin.generation.drafter import DraftResult

router = APIRouter(prefix="/v1", tags=["drafts"])

JSON, EVENTS = "application/json", "text/event-stream"
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The draft; `Accept` chooses the form",
        "content": {
            EVENTS: {
                "schema": {
                    "type": "string",
                    "description": "events `token` ({text}), then one `draft` (as JSON), or one `problem`",
                },
                "example": 'event: token\ndata: {"text": "Sinus rhythm [1]."}\n\n',
            },
            fhir.MEDIA_TYPE: {
                "schema": {"type": "object", "description": "FHIR R4 DiagnosticReport, status preliminary"}
            },
        },
    }
}


class DraftForm(DraftOptions, intake.FileOptions):
    """Fields beside the file of a draft."""

    where: Annotated[str | None, Field(max_length=20_000)] = Field(default=None, description="filter on the cases")


Asked: TypeAlias = intake.Intake[DraftForm, DraftBody]


@router.post(
    "/drafts",
    response_model=DraftAnswer,
    responses=_RESPONSES,
    openapi_extra=openapi.body(DraftBody, DraftForm),
    summary="Draft a report, with what carries each sentence",
)
async def drafts(request: Request) -> Any:
    """Preliminary, for a clinician to check. With `Accept: text/event-stream` words come as they are written."""
    state: State = request.app.state.ecgkin
    form = accepted(request.headers.get("accept", "*/*"))
    asked = await intake.taken(request, state, DraftForm, DraftBody)
    if form == EVENTS:
        return await _stream(state, asked)

    def write() -> DraftAnswer | str:
        with asked.with_ecg() as (query, options):
            drafted = _timed(asked, state.drafting.draft(query, options))
        if form == JSON:
            return _answer(state, drafted)
        _remember(state, drafted)
        return _fhir(state, drafted)

    content = await state.work.run(write, asked.close)
    return Response(content, media_type=fhir.MEDIA_TYPE) if isinstance(content, str) else content


def accepted(header: str) -> Literal["application/json", "text/event-stream", "application/fhir+json"]:
    """Which of the three forms an Accept header asks for; JSON where it does not care.

    Raises:
        NotAcceptableError: None of them.

    >>> accepted("application/fhir+json, */*;q=0.1"), accepted("*/*")
    ('application/fhir+json', 'application/json')
    """
    wanted: list[tuple[float, int, str]] = []
    for order, part in enumerate(header.lower().split(",")):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        if quality > 0:
            wanted.append((-quality, order, kind))
    for _, _, kind in sorted(wanted):
        if kind in ("*/*", "application/*", JSON):
            return "application/json"
        if kind in (EVENTS, "text/*"):
            return "text/event-stream"
        if kind == fhir.MEDIA_TYPE:
            return "application/fhir+json"
    raise problems.NotAcceptableError(
        "none of the kinds in Accept is made here", hint=f"ask for {JSON}, {EVENTS} or {fhir.MEDIA_TYPE}"
    )


def _remember(state: State, drafted: DraftResult) -> str:
    """The id of the search under a draft; its figures are counted whatever form the answer has."""
    state.metrics.stage("draft", drafted.draft.seconds)
    return state.remember(drafted.search)


def written(state: State, asked: Asked) -> DraftAnswer:
    """The draft as JSON; for threads.

    Args:
        state: Of the server.
        asked: Taken in.
    """
    with asked.with_ecg() as (query, options):
        drafted = _timed(asked, state.drafting.draft(query, options))
    return _answer(state, drafted)


def _timed(asked: Asked, drafted: DraftResult) -> DraftResult:
    return replace(drafted, search=asked.timed(drafted.search))


def _answer(state: State, drafted: DraftResult) -> DraftAnswer:
    query_id = _remember(state, drafted)
    return DraftAnswer(draft=DraftOut.of(drafted.draft), search=SearchOut.of(drafted.search, query_id))


def _fhir(state: State, drafted: DraftResult) -> str:
    encoder = state.encoder
    facts = state.base.info()
    return fhir.diagnostic_report(
        drafted.draft,
        base_id=facts["base_id"],
        encoder=f"{encoder.name} {encoder.fingerprint}",
        generation=facts["generation"],
        warnings=drafted.search.warnings,
    )


async def _stream(state: State, asked: Asked) -> Response:
    """Events from a thread. What fails before the first word is answered as a problem, with its status."""
    loop = asyncio.get_running_loop()
    events: asyncio.Queue[tuple[str, Any] | Exception | None] = asyncio.Queue()
    gone = threading.Event()

    def put(event: tuple[str, Any] | Exception | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(events.put_nowait, event)

    def write() -> None:
        try:
            with asked.with_ecg() as (query, options):
                for piece in state.drafting.stream(query, options):
                    if gone.is_set():
                        return
                    if isinstance(piece, str):
                        put(("token", {"text": piece}))
                    else:
                        put(("draft", _answer(state, _timed(asked, piece)).model_dump(mode="json")))
        except Exception as error:  # goes to the coroutine, which answers
            put(error)
        finally:
            put(None)

    state.work.start(write, asked.close)

    async def following() -> tuple[str, Any] | Exception | None:
        try:
            return await asyncio.wait_for(events.get(), state.limits.seconds)
        except TimeoutError:
            return problems.DeadlineError(f"nothing came for {state.limits.seconds:g} s", hint="try again")

    first = await following()
    if isinstance(first, Exception):
        gone.set()
        raise first

    async def send() -> AsyncIterator[bytes]:
        event: tuple[str, Any] | Exception | None = first
        try:
            while event is not None:
                if isinstance(event, Exception):
                    if problems.kind_of(event).slug == "internal":
                        problems.log_fault(event)
                    yield _event("problem", problems.body_of_error(event))
                    return
                yield _event(*event)
                event = await following()
        finally:
            gone.set()

    return StreamingResponse(send(), media_type=EVENTS, headers={"X-Accel-Buffering": "no"})


def _event(name: str, data: Any) -> bytes:
    """One server-sent event; JSON has no line ends of its own."""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode("utf-8", errors="replace")
