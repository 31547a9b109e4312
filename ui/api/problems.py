"""Every error as RFC 9457 `application/problem+json`, from one table.

A problem's `type` is an address below /v1/problems, where the table can be read; `detail` says what was found and what
was expected, `hint` what to do about it. Details go to the caller alone: logs get the slug and the status.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from ecgkin.retrieval import errors
from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.logs import request_id

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

_LOG = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
ADDRESS = "/v1/problems"
# What the framework says about an address would tell nothing: ("Not Found", "Method Not Allowed").
_SAID = {
    404: ("no such address", "see /docs"),
    405: ("the address is there, but not for this method", "the header Allow names those that it takes; see /docs"),
}
_DRAIN_SECONDS = 2.0
_DRAIN_BYTES = 32_000_000


_PATH = re.compile(r"(?<![\w.:/])/([\w.+~-]+)(?:/[\w.+~@%-]+)+")
_ADDRESS_AT = re.compile(r" at https?://\S+")


def for_strangers(text: str) -> str:
    """A message without what only the server's owner should know: folders of this machine, addresses behind it.

    Of a path its last part stays; paths of the API are left as they are.

    >>> for_strangers("/tmp/base/cases.sqlite cannot be read; see limits in /v1/info")
    'cases.sqlite cannot be read; see limits in /v1/info'
    >>> for_strangers("pulse at http://10.0.0.7:8000/v1 cannot be reached")
    'pulse cannot be reached'
    """

    def last(found: re.Match[str]) -> str:
        return found[0].rpartition("/")[2] if os.path.isdir(f"/{found[1]}") else found[0]

    return _PATH.sub(last, _ADDRESS_AT.sub("", text))


class RequestError(EcgkinError):
    """A request that cannot be answered, for a reason that only exists between a client and a server."""


class MalformedError(RequestError):
    """The body cannot be taken apart."""


class UnauthorizedError(RequestError):
    """No token, or one that is not known."""


class ForbiddenError(RequestError):
    """Known, but not allowed to do this; or a web page of somebody else."""


class NotFoundError(RequestError):
    """There is no such thing here."""


class MethodError(RequestError):
    """The address is there, but not for this method."""


class NotAcceptableError(RequestError):
    """The client takes none of the forms that the answer can have."""


class ConflictError(RequestError):
    """It is there already."""


class TooLargeError(RequestError):
    """More bytes or pixels than the server takes."""


class SlowBodyError(RequestError):
    """The body did not arrive in time."""


class MediaTypeError(RequestError):
    """The body is of a kind that is not read here."""


class BusyError(RequestError):
    """Too many requests at once."""


class StorageFullError(RequestError):
    """The server's temporary folder is full."""


class DeadlineError(RequestError):
    """The answer took too long."""


class MissingDrafterError(RequestError):
    """This server writes no drafts."""


@dataclass(frozen=True)
class Kind:
    """One row of the table.

    Attributes:
        slug: Last part of the `type`.
        status: HTTP status.
        title: The same sentence for every problem of this kind.
        headers: Response headers that belong to it.
    """

    slug: str
    status: int
    title: str
    headers: Mapping[str, str] | None = None


# The nearest class of an error's own line of ancestors decides.
TABLE: dict[type[Exception], Kind] = {
    MalformedError: Kind("malformed", 400, "The request cannot be read"),
    UnauthorizedError: Kind("unauthorized", 401, "A valid token is needed", {"WWW-Authenticate": "Bearer"}),
    ForbiddenError: Kind("forbidden", 403, "This is not allowed"),
    NotFoundError: Kind("not-found", 404, "There is no such thing"),
    MethodError: Kind("method", 405, "The address does not take this method"),
    NotAcceptableError: Kind("not-acceptable", 406, "The answer cannot have that form"),
    SlowBodyError: Kind("slow-body", 408, "The body did not arrive in time", {"Connection": "close"}),
    ConflictError: Kind("conflict", 409, "It is there already"),
    TooLargeError: Kind("too-large", 413, "The upload is too large"),
    MediaTypeError: Kind("media-type", 415, "This kind of body is not read here"),
    errors.InputError: Kind("input", 422, "The input cannot be used"),
    errors.RecordError: Kind("record", 422, "The ECG record cannot be used"),
    errors.RateUnknownError: Kind("rate-unknown", 422, "The recording does not say its sampling rate"),
    errors.ImageError: Kind("image", 422, "The picture cannot be used"),
    errors.QueryError: Kind("query", 422, "The question cannot be used"),
    errors.CaseBaseError: Kind("case-base", 503, "The case base cannot answer"),
    errors.ModelError: Kind("model", 503, "The encoder cannot answer"),
    errors.GenerationError: Kind("generation", 502, "The drafter failed"),
    errors.BackendTimeoutError: Kind("generation-timeout", 504, "The drafter's model did not answer in time"),
    MissingDrafterError: Kind("no-drafter", 503, "This server writes no drafts"),
    BusyError: Kind("busy", 503, "The server is busy", {"Retry-After": "1"}),
    StorageFullError: Kind("storage-full", 507, "The server has no room for the upload", {"Retry-After": "60"}),
    DeadlineError: Kind("deadline", 504, "The answer took too long", {"Retry-After": "5"}),
    EcgkinError: Kind("error", 500, "The request failed"),
    Exception: Kind("internal", 500, "The request failed through a fault of the server"),
}


def kind_of(error: Exception) -> Kind:
    """The row that an error belongs to.

    >>> kind_of(errors.WeightsMissingError("no weights")).slug
    'model'
    """
    return next(TABLE[cls] for cls in type(error).__mro__ if cls in TABLE)


def body_of(kind: Kind, detail: str, hint: str = "", **more: Any) -> dict[str, Any]:
    """The members of a problem (RFC 9457).

    Args:
        kind: Row of the table.
        detail: What was found and what was expected.
        hint: What to do about it; "" leaves it out.
        more: Further members.

    Returns:
        For JSON.
    """
    body = {"type": f"{ADDRESS}#{kind.slug}", "title": kind.title, "status": kind.status, "detail": detail}
    if hint:
        body["hint"] = hint
    if request_id.get():
        body["request_id"] = request_id.get()
    return body | more


def body_of_error(error: Exception) -> dict[str, Any]:
    """The members of the problem that an error makes; what is not meant for callers stays out."""
    if isinstance(error, EcgkinError):
        return body_of(kind_of(error), for_strangers(str(error)), for_strangers(error.hint))
    return body_of(kind_of(error), "something unexpected happened; the log knows it by request_id")


def response(body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """The problem as a response.

    Args:
        body: Members of the problem; its status is the status of the response.
        headers: Beside those that every response has.

    Returns:
        An `application/problem+json` answer.
    """
    content = json.dumps(body, ensure_ascii=False).encode("utf-8", errors="replace")
    return Response(content, body["status"], dict(headers or {}), MEDIA_TYPE)


def of_error(error: Exception) -> Response:
    """The response to an error."""
    if isinstance(error, EcgkinError):
        kind = kind_of(error)
        _LOG.info("problem kind=%s status=%d error=%s", kind.slug, kind.status, type(error).__name__)
    else:
        log_fault(error)
    return response(body_of_error(error), kind_of(error).headers)


async def refuse(error: EcgkinError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request whose body was not read, from ASGI middleware.

    What is being sent is taken in for a moment first: a connection that is closed on unread bytes is reset, and the
    answer is lost with it.

    Args:
        error: Why.
        scope: Of the request.
        receive: Its body, unread.
        send: Takes the answer.
    """
    if not any(name == b"expect" for name, _ in scope["headers"]):
        await drain(receive)
    await of_error(error)(scope, receive, send)


async def drain(receive: Receive) -> None:
    """Take in and forget the rest of a body, at most `_DRAIN_BYTES` and `_DRAIN_SECONDS` of it."""
    left, until = _DRAIN_BYTES, time.monotonic() + _DRAIN_SECONDS
    while left > 0:
        try:
            message = await asyncio.wait_for(receive(), max(0.0, until - time.monotonic()))
        except TimeoutError:
            return
        left -= len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            return


def log_fault(error: Exception) -> None:
    """Log where an unexpected error came from. Not what it says: that may quote a report or a name."""
    places = "; ".join(f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)[-12:])
    _LOG.error("fault error=%s at=%s", type(error).__name__, places)


def install(app: FastAPI) -> None:
    """Answer every error of an app by this table."""
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    async def on_error(request: Request, error: Exception) -> Response:
        return of_error(error)

    async def on_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return invalid(error.errors())

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        kinds = {kind.status: kind for kind in reversed(TABLE.values())}  # the first of a status is the general one
        kind = kinds.get(error.status_code, TABLE[MalformedError if error.status_code < 500 else Exception])
        said = _SAID.get(error.status_code, (str(error.detail), ""))
        return response(body_of(kind, *said) | {"status": error.status_code}, error.headers)

    app.add_exception_handler(EcgkinError, on_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)


def invalid(found: Any) -> Response:
    """The response to values that do not fit the schema; the values themselves are not repeated.

    Args:
        found: What pydantic found (`ValidationError.errors()`).
    """
    faults = [{"at": ".".join(str(part) for part in e["loc"]), "problem": errors.misfit(e)} for e in found][:20]
    detail = "; ".join(f"{f['at'] or 'body'}: {f['problem']}" for f in faults[:3])
    return response(body_of(TABLE[errors.InputError], detail, "see /docs for what is expected", errors=faults))
