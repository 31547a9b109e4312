"""The calls of both clients: what is sent and what to make of the answer, without saying how it is waited for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

import httpx
from httpx_sse import ServerSentEvent
from pydantic import BaseModel, TypeAdapter

from ecgkin.retrieval.errors import NOBODY_LISTENS, EcgkinError, why_unreachable
from ecgkin.ui.api.addresses import case_address
from ecgkin.ui.api.answers import (
    CaseOut,
    CasesOut,
    DigitizedOut,
    DraftAnswer,
    EmbeddingOut,
    ExplanationOut,
    FeedbackOut,
    MapOut,
    MarkOut,
    SearchOut,
)
from ecgkin.ui.api.schemas import CaseFields, PageKnown, Signal

if TYPE_CHECKING:
    from ecgkin.retrieval.ecg.record import EcgRecord


class ApiError(EcgkinError):
    """The server answered with a problem (RFC 9457), or not at all.

    Attributes:
        status: HTTP status; 0 where no answer came.
        kind: Last part of the problem's type: "image", "busy", "unauthorized" ...; "" where there is none.
        request_id: Names the request in the server's log.
        refused: Nothing listens at the address: it may come.
    """

    def __init__(self, message: str, *, hint: str = "", status: int = 0, kind: str = "", request_id: str = "") -> None:
        super().__init__(message, hint=hint)
        self.refused = False
        self.status = status
        self.kind = kind
        self.request_id = request_id


@dataclass(frozen=True)
class DraftEvent:
    """One event of a streamed draft: a piece of text, or at the end the whole answer."""

    text: str = ""
    answer: DraftAnswer | None = None


def checked(response: httpx.Response) -> httpx.Response:
    """The response itself.

    Raises:
        ApiError: It is a problem.
    """
    if response.is_success:
        return response
    try:
        body = response.json()
        message = str(body.get("detail") or body.get("title"))
        hint, kind = str(body.get("hint") or ""), str(body.get("type", "")).rpartition("#")[2]
    except (ValueError, AttributeError):
        message, hint, kind = f"the server answered {response.status_code} {response.reason_phrase}", "", ""
    raise ApiError(
        message,
        hint=hint,
        status=response.status_code,
        kind=kind,
        request_id=response.headers.get("x-request-id", ""),
    )


def unreachable(base_url: str, error: httpx.HTTPError) -> ApiError:
    """The error for a server that did not answer.

    Args:
        base_url: Address of the server.
        error: What httpx said.

    Returns:
        The error, with a hint.
    """
    reason = why_unreachable(error)
    told = ApiError(f"{base_url} did not answer: {reason}", hint="does `ecgkin serve` run there?")
    told.refused = reason == NOBODY_LISTENS
    return told


def draft_event(event: ServerSentEvent) -> DraftEvent | None:
    """An event of a streamed draft; None for one of a kind that is not known.

    Raises:
        ApiError: The server broke off with a problem.
    """
    if event.event == "token":
        return DraftEvent(text=str(json.loads(event.data)["text"]))
    if event.event == "draft":
        return DraftEvent(answer=DraftAnswer.model_validate_json(event.data))
    if event.event == "problem":
        body = json.loads(event.data)
        kind = str(body["type"]).rpartition("#")[2]
        hint, request = str(body.get("hint", "")), str(body.get("request_id", ""))
        raise ApiError(str(body["detail"]), hint=hint, status=int(body["status"]), kind=kind, request_id=request)
    return None


T = TypeVar("T")
File: TypeAlias = "str | Path | tuple[str, bytes]"
Files: TypeAlias = "File | Sequence[File]"
_MARKS = TypeAdapter(list[MarkOut])
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and what to make of its answer."""

    method: str
    path: str
    take: Callable[[httpx.Response], T]
    json: Any = None
    files: Sequence[tuple[str, tuple[str, bytes]]] | None = None
    data: Mapping[str, str] | None = None
    params: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """For httpx."""
        given = {"json": self.json, "files": self.files, "data": self.data, "params": self.params}
        return {name: value for name, value in given.items() if value is not None} | {"headers": dict(self.headers)}


def parsed_as(model: type[Model]) -> Callable[[httpx.Response], Model]:
    """What reads an answer as that model."""
    return lambda response: model.model_validate_json(response.content)


def _opened(files: Files) -> list[tuple[str, tuple[str, bytes]]]:
    several: Iterable[File] = [files] if isinstance(files, str | Path | tuple) else files
    out = []
    for file in several:
        name, content = file if isinstance(file, tuple) else (Path(file).name, Path(file).read_bytes())
        out.append(("file", (name, content)))
    return out


def _question(
    path: str,
    take: Callable[[httpx.Response], T],
    file: Files | None,
    record: EcgRecord | None,
    values: dict[str, Any],
    headers: Mapping[str, str] | None = None,
) -> Call[T]:
    """A call with an ECG as files, as samples, or without one."""
    given = {name: value for name, value in values.items() if value is not None}
    if file is not None:
        fields = {n: v if isinstance(v, str) else json.dumps(v) for n, v in given.items()}
        return Call("POST", path, take, files=_opened(file), data=fields, headers=headers or {})
    if record is not None:
        given["signal"] = Signal.of(record).model_dump()
    return Call("POST", path, take, json=given, headers=headers or {})


def search(
    file: Files | None = None,
    record: EcgRecord | None = None,
    text: str | None = None,
    query_id: str | None = None,
    *,
    k: int = 10,
    where: str | dict[str, Any] | None = None,
    exclude_patient: str | None = None,
    previous: str | None = None,
    weight: float = 0.5,
    understood: Sequence[dict[str, Any]] | None = None,
    raw: bool = False,
    similar: Sequence[str] = (),
    not_similar: Sequence[str] = (),
    fs_hz: float | None = None,
    units: str | None = None,
    page: int | None = None,
    known: PageKnown | None = None,
) -> Call[SearchOut]:
    """A call for a search.

    Args:
        file: A path, its name and bytes, or several of these (the files of a WFDB record).
        record: A recording, in place of a file.
        text: Words; with an ECG the search is for both.
        query_id: Of an earlier search.
        k: Hits.
        where: Filter in the words of the API; None for all.
        exclude_patient: Leave out the cases of this patient.
        previous: An earlier ECG of the person to compare with: its case id, or the person's id.
        weight: With an ECG and words: share of the ECG, 0 to 1.
        understood: Parts of an earlier answer, changed; only without files.
        raw: Whether the words are only embedded.
        similar: Case ids marked as similar.
        not_similar: Case ids marked as not similar.
        fs_hz: Samples a second, for a file that does not say.
        units: "mV", "uV" or "V", for a file that does not say.
        page: Of a document, from 1.
        known: Of a picture: what its reading got wrong, put right.

    Returns:
        The call; its answer is a `SearchOut`.
    """
    values = {
        "text": text, "query_id": query_id, "k": k, "where": where, "exclude_patient": exclude_patient,
        "weight": weight, "similar": list(similar) or None, "not_similar": list(not_similar) or None,
        "understood": None if understood is None else list(understood), "raw": raw or None,
        "previous": previous, "fs_hz": fs_hz, "units": units, "page": page, "known": _known(known),
    }  # fmt: skip
    return _question("/v1/search", parsed_as(SearchOut), file, record, values)


def draft(
    file: Files | None,
    record: EcgRecord | None,
    take: Callable[[httpx.Response], T],
    accept: str,
    *,
    k: int = 10,
    question: str | None = None,
    language: Literal["en", "de"] = "en",
    model: str | None = None,
    evidence: int = 3,
    where: str | dict[str, Any] | None = None,
    exclude_patient: str | None = None,
    previous: str | None = None,
    fs_hz: float | None = None,
    units: str | None = None,
    page: int | None = None,
    known: PageKnown | None = None,
) -> Call[T]:
    """A call for a draft.

    Args:
        file: A path, its name and bytes, or several of these (the files of a WFDB record).
        record: A recording, in place of a file.
        take: Reads the answer.
        accept: Media type of the answer.
        k: Hits.
        question: None for a report.
        language: Of the draft.
        model: One of the server's drafters; None for its first.
        evidence: Cases that a model is shown.
        where: Filter in the words of the API; None for all.
        exclude_patient: Leave out the cases of this patient.
        previous: An earlier ECG of the person to compare with: its case id, or the person's id.
        fs_hz: Samples a second, for a file that does not say.
        units: "mV", "uV" or "V", for a file that does not say.
        page: Of a document, from 1.
        known: Of a picture: what its reading got wrong, put right.

    Returns:
        The call; what `take` makes of its answer.
    """
    values = {
        "k": k, "question": question, "language": language, "model": model, "evidence": evidence, "where": where,
        "exclude_patient": exclude_patient, "previous": previous, "fs_hz": fs_hz, "units": units, "page": page,
        "known": _known(known),
    }  # fmt: skip
    return _question("/v1/drafts", take, file, record, values, {"Accept": accept})


def page(case_id: str, form: str, options: Mapping[str, Any]) -> Call[bytes]:
    """A call for a drawing of a case.

    Args:
        case_id: Of the case.
        form: "svg" or "png".
        options: layout, order, speed, gain, grid, start, width.

    Returns:
        The call; its answer is the file's bytes.
    """
    return Call("GET", case_address(case_id, f"/page.{form}"), lambda response: response.content, params=options)


def cases(where: str | None, offset: int, limit: int) -> Call[CasesOut]:
    """A call for one page of the stored cases.

    Args:
        where: Filter in the words of the API; None for all.
        offset: Cases to pass over.
        limit: Most of them.

    Returns:
        The call; its answer is a `CasesOut`.
    """
    params = {"offset": offset, "limit": limit} | ({"where": where} if where else {})
    return Call("GET", "/v1/cases", parsed_as(CasesOut), params=params)


def add_case(case: CaseFields, file: Files | None, record: EcgRecord | None) -> Call[CaseOut]:
    """A call that adds a case.

    Args:
        case: What is known of it.
        file: A path, its name and bytes, or several of these (the files of a WFDB record).
        record: A recording, in place of a file.

    Returns:
        The call; its answer is the stored case.
    """
    if file is not None:
        data = {"case": case.model_dump_json()}
        return Call("POST", "/v1/cases", parsed_as(CaseOut), files=_opened(file), data=data)
    signal = Signal.of(record).model_dump() if record is not None else None
    return Call("POST", "/v1/cases", parsed_as(CaseOut), json={"case": case.model_dump(), "signal": signal})


def embed(texts: Sequence[str], file: Files | None, record: EcgRecord | None) -> Call[EmbeddingOut]:
    """A call for vectors.

    Args:
        texts: Reports, names, abbreviations; or none, with an ECG.
        file: A path, its name and bytes, or several of these (the files of a WFDB record).
        record: A recording, in place of a file.

    Returns:
        The call; its answer holds the vectors.
    """
    values = {"texts": list(texts) or None}
    return _question("/v1/embeddings", parsed_as(EmbeddingOut), file, record, values)


def explain(
    case_id: str,
    file: Files | None,
    record: EcgRecord | None,
    fs_hz: float | None,
    known: PageKnown | None = None,
) -> Call[ExplanationOut]:
    """A call for what makes a case near.

    Args:
        case_id: Of the case.
        file: A path, its name and bytes, or several of these (the files of a WFDB record).
        record: A recording, in place of a file.
        fs_hz: Samples a second, for a file that does not say.
        known: Of a picture: what its reading got wrong, put right.

    Returns:
        The call; its answer holds the stretches.
    """
    values = {"case_id": case_id, "fs_hz": fs_hz, "known": _known(known)}
    return _question("/v1/explanations", parsed_as(ExplanationOut), file, record, values)


def digitize(
    file: Files,
    *,
    known: PageKnown | None = None,
    samples: bool = True,
    curves: bool = False,
    page: int | None = None,
) -> Call[DigitizedOut]:
    """A call for the signals of a picture.

    Args:
        file: A path, or its name and bytes.
        known: What its reading got wrong, put right; None for nothing.
        samples: Whether the answer holds the samples.
        curves: Whether it says where on the picture each curve was followed.
        page: Of a document, from 1.

    Returns:
        The call; its answer holds the signals.
    """
    values = {"known": _known(known), "samples": samples, "curves": curves, "page": page}
    return _question("/v1/digitize", parsed_as(DigitizedOut), file, None, values)


def _known(known: PageKnown | None) -> str | None:
    """As a field of a form."""
    return None if known is None else known.model_dump_json(exclude_defaults=True)


def feedback(query_id: str, similar: Sequence[str], not_similar: Sequence[str]) -> Call[FeedbackOut]:
    """A call that marks hits of a search.

    Args:
        query_id: Of an earlier search.
        similar: Case ids marked as similar.
        not_similar: Case ids marked as not similar.

    Returns:
        The call; its answer counts the marks.
    """
    given = [{"case_id": case, "similar": True} for case in similar]
    given += [{"case_id": case, "similar": False} for case in not_similar]
    return Call("POST", "/v1/feedback", parsed_as(FeedbackOut), json={"query_id": query_id, "marks": given})


def marks(query_id: str | None) -> Call[list[MarkOut]]:
    """Marks that were kept."""
    params = {"query_id": query_id} if query_id else None
    return Call("GET", "/v1/feedback", lambda response: _MARKS.validate_json(response.content), params=params)


def case_map(limit: int, query_id: str | None) -> Call[MapOut]:
    """A call for the case base as points in a plane.

    Args:
        limit: Most of them.
        query_id: Of an earlier search.

    Returns:
        The call; its answer holds the points.
    """
    params = {"limit": limit} | ({"query_id": query_id} if query_id else {})
    return Call("GET", "/v1/map", parsed_as(MapOut), params=params)


def report(response: httpx.Response) -> dict[str, Any]:
    """A FHIR resource."""
    content: dict[str, Any] = response.json()
    return content


def nothing(response: httpx.Response) -> None:
    """There is nothing in it."""


def connection(base_url: str, token: str | None, timeout_s: float) -> dict[str, Any]:
    """Arguments of both kinds of httpx client.

    Args:
        base_url: Address of the server.
        token: Bearer token; None for a server without.
        timeout_s: Seconds to wait for an answer.

    Returns:
        Keyword arguments.
    """
    return {
        "base_url": base_url,
        "headers": {"Authorization": f"Bearer {token}"} if token else {},
        "timeout": timeout_s,
        # A proxy from the environment must not see what goes to this machine.
        "trust_env": False,
        # Without TLS there is nothing to verify, and certificates are not loaded (30 of the 35 ms that a client costs).
        "verify": not base_url.lower().startswith("http://"),
    }
