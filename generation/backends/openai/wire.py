"""The wire side of an OpenAI-compatible endpoint: request bodies, answers and chunks of answers, of bounded size."""

from __future__ import annotations

import base64
import email.utils
import io
import json
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import httpx

from ecgkin.generation.backends.base import Request
from ecgkin.generation.backends.pulse.prompt import plain_text
from ecgkin.retrieval.errors import GenerationError

if TYPE_CHECKING:
    from PIL.Image import Image

# A drafted report is a few kilobytes; what is larger than this is no answer.
MAX_ANSWER_BYTES = 4 * 1024 * 1024
_EXCERPT = 300
NOT_THE_API = "is the address the /v1 of an OpenAI-compatible server?"
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


@dataclass(frozen=True)
class Answer:
    """What a server sent back: text, why it ended, and its own token counts (None where it gives none)."""

    text: str
    finish_reason: str
    tokens_in: int | None
    tokens_out: int | None


def data_url(image: Image) -> str:
    """A picture as a `data:` URL; PNG, because JPEG blurs thin traces."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def request_body(
    model: str, request: Request, images: Sequence[Image], *, stream: bool, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Body of a POST to /chat/completions: one user turn, pictures first.

    Args:
        model: Name that the server knows.
        request: Of it prompt, length, temperature and seed are sent.
        images: The picture of the request as it goes out: whole, in tiles, or none.
        stream: Whether the answer is to come in pieces.
        extra: Further fields, which win over those made here.

    Returns:
        For JSON.
    """
    prompt = plain_text(request.prompt)
    content: Any = prompt
    if images:
        content = [{"type": "image_url", "image_url": {"url": data_url(image)}} for image in images]
        content.append({"type": "text", "text": prompt})
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": request.max_new_tokens,
        "temperature": request.temperature,
        "stream": stream,
    }
    if request.seed is not None:
        body["seed"] = request.seed
    return body | dict(extra)


def excerpt(raw: bytes | str, secret: str = "") -> str:
    """A short printable piece of what a server sent, without the key even if the server echoes it.

    Args:
        raw: What was sent.
        secret: The key; "" without one.

    Returns:
        At most 300 characters on one line.
    """
    text = raw.decode("utf-8", errors="replace") if isinstance(raw, bytes) else raw
    if secret:
        text = text.replace(secret, "***")
    text = _UNPRINTABLE.sub(" ", text).strip()
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]} ..."


def read_answer(raw: bytes, secret: str = "") -> Answer:
    """Read the body of a complete (not streamed) answer.

    Args:
        raw: The body.
        secret: The key, which no message shows.

    Returns:
        Text, reason of its end and token counts.

    Raises:
        GenerationError: It is no JSON, no chat completion, or an error message.
    """
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise GenerationError(f"the server sent no JSON: {excerpt(raw, secret)!r}", hint=NOT_THE_API) from error
    _raise_error_field(value, secret)
    try:
        choice = value["choices"][0]
        text = choice["message"]["content"]
        reason = choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise GenerationError(
            f"the server sent no chat completion: {excerpt(raw, secret)!r}", hint=NOT_THE_API
        ) from error
    if text is not None and not isinstance(text, str):
        raise GenerationError(f"the server sent {type(text).__name__} instead of text", hint=NOT_THE_API)
    return Answer(text or "", reason if isinstance(reason, str) else "unknown", *read_usage(value))


def read_usage(value: Any) -> tuple[int | None, int | None]:
    """(prompt, completion) tokens of an answer or event, None where they are not given as whole numbers."""
    usage = value.get("usage") if isinstance(value, dict) else None
    if not isinstance(usage, dict):
        return None, None
    return _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _raise_error_field(value: Any, secret: str) -> None:
    if isinstance(value, dict) and value.get("error"):
        error = value["error"]
        text = error.get("message", error) if isinstance(error, dict) else error
        raise GenerationError(f"the server reports an error: {excerpt(str(text), secret)}")


class ChunkReader:
    """Reads the chunks of a streamed chat completion.

    Attributes:
        finish_reason: Given by the server so far, None before.
        done: True once the server said that the answer is complete.
        tokens_in, tokens_out: The server's own counts, None where it gives none.
    """

    def __init__(self, secret: str = "") -> None:
        self._secret = secret
        self.finish_reason: str | None = None
        self.done = False
        self.tokens_in: int | None = None
        self.tokens_out: int | None = None

    def read(self, data: str) -> str:
        """The text that the data of one server-sent event adds to the answer, possibly none.

        Raises:
            GenerationError: It is no chunk of an answer, or an error message.
        """
        if data.strip() == "[DONE]":
            self.done = True
        if self.done or not data:
            return ""
        try:
            value = json.loads(data)
            _raise_error_field(value, self._secret)
            choices = value.get("choices") or []
            delta = choices[0].get("delta") or {} if choices else {}
            reason = choices[0].get("finish_reason") if choices else None
            text = delta.get("content")
        except (ValueError, RecursionError, TypeError, AttributeError, KeyError, IndexError) as error:
            raise GenerationError(f"the server sent a broken event: {excerpt(data, self._secret)!r}") from error
        counts = read_usage(value)
        self.tokens_in, self.tokens_out = counts[0] or self.tokens_in, counts[1] or self.tokens_out
        if isinstance(reason, str):
            self.finish_reason = reason
        return text if isinstance(text, str) else ""


def retry_after_s(header: str | None) -> float | None:
    """Seconds that a Retry-After header asks for (a number or an HTTP date), None if there is none to read.

    >>> retry_after_s("2"), retry_after_s("soon")
    (2.0, None)
    """
    if not header:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d+)?", header.strip()):
        return float(header)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def status_hint(status: int) -> str:
    """What to look at after a status that is not 200."""
    if status in (401, 403):
        return "is the API key right?"
    if status == 404:
        return "is the address the /v1 of the server, and the model name one it knows?"
    if 300 <= status < 400:
        return "redirects are not followed; give the final address"
    return "the server does not accept this request"


class LimitedBody(httpx.AsyncByteStream):
    """The body of a response, refused where it grows beyond a number of bytes.

    Args:
        body: What the response holds.
        limit: Most bytes.
    """

    def __init__(self, body: httpx.AsyncByteStream, limit: int = MAX_ANSWER_BYTES) -> None:
        self._body, self._limit = body, limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._body:
            size += len(part)
            if size > self._limit:
                raise GenerationError(f"the server sent more than {self._limit} bytes for one answer")
            yield part

    async def aclose(self) -> None:
        """Close the connection."""
        await self._body.aclose()


def limit_body(response: httpx.Response, limit: int = MAX_ANSWER_BYTES) -> httpx.Response:
    """The response, whose body can be read up to a number of bytes.

    Args:
        response: With its body unread.
        limit: Most bytes; reading on raises GenerationError.

    Returns:
        The same response.

    Raises:
        GenerationError: The body is compressed, which nobody asked for; it may unpack to any size.
    """
    packed = response.headers.get("content-encoding", "identity")
    if packed != "identity":
        raise GenerationError(f"the server packed its answer as {excerpt(packed)!r}", hint="it was not asked to")
    response.stream = LimitedBody(cast("httpx.AsyncByteStream", response.stream), limit)
    return response
