"""How `ecgkin.ui.client` takes what comes back: a problem as `ApiError`, a stream of events as pieces of a draft."""

from __future__ import annotations

import json
from dataclasses import dataclass

import httpx

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.api.draft_answers import DraftAnswer


class ApiError(EcgkinError):
    """The server answered with a problem (RFC 9457), or not at all.

    Attributes:
        status: HTTP status; 0 where no answer came.
        kind: Last part of the problem's type: "image", "busy", "unauthorized" ...; "" where there is none.
        request_id: Names the request in the server's log.
    """

    def __init__(self, message: str, *, hint: str = "", status: int = 0, kind: str = "", request_id: str = "") -> None:
        super().__init__(message, hint=hint)
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
    """The error for a server that did not answer."""
    return ApiError(f"{base_url} did not answer: {type(error).__name__}", hint="does `ecgkin serve` run there?")


class Events:
    """Lines of an event stream, one by one, to events."""

    def __init__(self) -> None:
        self._name = ""
        self._data: list[str] = []

    def feed(self, line: str) -> DraftEvent | None:
        """An event when the line ends one.

        Raises:
            ApiError: The server broke off with a problem.
        """
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                self._name = value
            elif name == "data":
                self._data.append(value)
            return None
        name, content = self._name, "\n".join(self._data)
        self._name, self._data = "", []
        if name == "token":
            return DraftEvent(text=str(json.loads(content)["text"]))
        if name == "draft":
            return DraftEvent(answer=DraftAnswer.model_validate_json(content))
        if name == "problem":
            body = json.loads(content)
            kind = str(body["type"]).rpartition("#")[2]
            hint, request = str(body.get("hint", "")), str(body.get("request_id", ""))
            raise ApiError(str(body["detail"]), hint=hint, status=int(body["status"]), kind=kind, request_id=request)
        return None
