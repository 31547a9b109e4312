"""Any OpenAI-compatible endpoint (vLLM, SGLang, llama.cpp, transformers serve) as a `TextBackend`.

`EndpointBackend` is the back end, `Connection` sends a request with time limits and new tries as `Patience` allows, and
`LoopThread` runs the asynchronous work for synchronous callers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
from httpx_sse import EventSource, ServerSentEvent

from ecgkin.generation.backends.base import Completion, Request
from ecgkin.generation.backends.openai.wire import (
    NOT_THE_API,
    Answer,
    ChunkReader,
    excerpt,
    limit_body,
    read_answer,
    request_body,
    retry_after_s,
    status_hint,
)
from ecgkin.generation.backends.pulse.counter import PulseCounter
from ecgkin.generation.backends.pulse.images import cut_tiles
from ecgkin.generation.backends.pulse.prompt import plain_text
from ecgkin.retrieval.errors import BackendTimeoutError, BackendUnreachableError, GenerationError, why_unreachable

if TYPE_CHECKING:
    from PIL.Image import Image

_log = logging.getLogger(__name__)

__all__ = ["EndpointBackend", "Patience"]

_T = TypeVar("_T")
# "Too many requests" and the answers of a server that is starting, overloaded or behind a proxy that lost it.
_RETRIED = frozenset({429, 500, 502, 503, 504})


class LoopThread:
    """Runs awaitables in one daemon thread, so that synchronous calls work inside and outside of running loops."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def run(self, work: Awaitable[_T]) -> _T:
        """Result of `work`; a caller that is interrupted meanwhile (Ctrl-C) takes the work with it."""

        async def wrapped() -> _T:
            return await work

        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._serve, args=(self._loop,), name="ecgkin-loop", daemon=True).start()
            loop = self._loop
        future = asyncio.run_coroutine_threadsafe(wrapped(), loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.run_forever()
        finally:
            loop.close()

    def stop(self) -> None:
        """End the thread; the next `run` starts another."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)


async def aclose(pieces: AsyncIterator[Any]) -> None:
    """Close an asynchronous generator, and what it holds open, without waiting for the garbage collector."""
    close = getattr(pieces, "aclose", None)
    if close is not None:
        await close()


@dataclass(frozen=True)
class Patience:
    """How long to wait and how often to try, in seconds.

    Attributes:
        connect_s: For a connection.
        silence_s: For the next byte once the request is out; a model that reads a long prompt is silent for long.
        total_s: For the whole answer, waiting between tries included.
        tries: Requests sent at most.
        first_wait_s: Before the second try; doubled for each further one, and shortened at random by up to half, so
            that many clients do not come back together.
        longest_wait_s: Between two tries.
    """

    connect_s: float = 5.0
    silence_s: float = 120.0
    total_s: float = 600.0
    tries: int = 4
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0

    def wait_s(self, tries_done: int) -> float:
        """Seconds before the next try."""
        longest = min(self.first_wait_s * 2.0 ** (tries_done - 1), self.longest_wait_s)
        return longest * random.uniform(0.5, 1.0)


@dataclass(frozen=True)
class Connection:
    """Sends one request after another to one server.

    Attributes:
        name: Of the server, for messages; no secrets.
        url: Of its chat completions.
        secret: The key, taken out of whatever a server's answer repeats.
        patience: Time limits and tries.
    """

    name: str
    url: str
    secret: str
    patience: Patience

    @contextlib.asynccontextmanager
    async def deadline(self) -> AsyncIterator[None]:
        """Limits everything inside to `patience.total_s`."""
        with self.reading("before its answer was complete"):
            async with asyncio.timeout(self.patience.total_s):
                yield

    @contextlib.contextmanager
    def reading(self, when: str) -> Iterator[None]:
        """Turn what httpx raises while an answer is read into this project's errors."""
        try:
            yield
        except (httpx.TimeoutException, TimeoutError) as error:
            raise BackendTimeoutError(
                f"{self.name} was silent for too long, {when} (silence {self.patience.silence_s:g} s, in all "
                f"{self.patience.total_s:g} s)",
                hint="raise the time limits, or ask for fewer tokens",
            ) from error
        except httpx.HTTPError as error:
            raise GenerationError(
                f"{self.name} broke off {when}: {why_unreachable(error)}", hint="is the server still running?"
            ) from error

    @contextlib.asynccontextmanager
    async def send(
        self, client: httpx.AsyncClient, body: dict[str, Any], started: float
    ) -> AsyncIterator[httpx.Response]:
        """A response with status 200, body unread; tries again where that can help.

        Args:
            client: Open client with the key in its headers.
            body: JSON of the request.
            started: Reading of `time.monotonic` from which the total limit counts.
        """
        response = await self._accepted(client, body, started)
        try:
            yield response
        finally:
            await response.aclose()

    async def _accepted(self, client: httpx.AsyncClient, body: dict[str, Any], started: float) -> httpx.Response:
        tried = 0
        while True:
            tried += 1
            asked: float | None = None
            failed: type[GenerationError] = GenerationError
            left = self.patience.total_s - (time.monotonic() - started)
            try:
                request = client.build_request("POST", self.url, json=body)
                with self.reading("before its answer began"):
                    try:
                        async with asyncio.timeout(left):
                            response = await client.send(request, stream=True)
                    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.RemoteProtocolError) as error:
                        problem, failed = f"cannot be reached: {why_unreachable(error)}", BackendUnreachableError
                    else:
                        if response.status_code == 200:
                            return response
                        problem = await self._refusal(response)
                        asked = retry_after_s(response.headers.get("retry-after"))
                        if response.status_code not in _RETRIED:
                            raise GenerationError(f"{self.name} {problem}", hint=status_hint(response.status_code))
            except UnicodeError as error:
                raise GenerationError(
                    "the prompt or the key cannot be sent: it holds characters HTTP does not allow"
                ) from error
            wait = self.patience.wait_s(tried) if asked is None else asked
            if tried >= self.patience.tries:
                raise failed(f"{self.name} {problem}, {tried} times", hint="is the server running there?")
            if time.monotonic() - started + wait >= self.patience.total_s:
                raise BackendTimeoutError(
                    f"{self.name} {problem}; the next try in {wait:.0f} s would be after the limit of "
                    f"{self.patience.total_s:g} s",
                    hint="try again later",
                )
            _log.info("endpoint %s, next try in %.1f s", problem, wait)
            await asyncio.sleep(wait)

    async def _refusal(self, response: httpx.Response) -> str:
        try:
            raw = await limit_body(response, 64 * 1024).aread()
        except GenerationError:
            raw = b"(a long page)"
        finally:
            await response.aclose()
        return f"answered {response.status_code}: {excerpt(raw, self.secret) or '(nothing)'}"


@dataclass
class EndpointBackend:
    """A model behind `base_url`.

    Attributes:
        base_url: With the version, `http://localhost:8000/v1`.
        model: Name that the server knows.
        context_length: Longest prompt plus answer in tokens; that of `counter` where there is one.
        api_key: Sent as bearer token; in no message, log or repr.
        counter: Counts tokens, those of pictures too, by the rules of a PULSE checkpoint. None takes PULSE-7B's
            published ones where `model` names PULSE; the text of other models is estimated, their pictures count
            nothing, and their server has the last word.
        send_tiles: True for a `flat` PULSE checkpoint converted for LLaVA-1.5 classes: the picture is cut here, and
            each tile goes out as a picture of its own. Needs `counter`.
        patience: Time limits and tries.
        extra_body: Further fields of the request, such as `{"add_special_tokens": True}` for vLLM.
    """

    base_url: str
    model: str
    context_length: int = 4096
    api_key: str | None = field(default=None, repr=False)
    counter: PulseCounter | None = None
    send_tiles: bool = False
    patience: Patience = field(default_factory=Patience)
    extra_body: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            url = httpx.URL(self.base_url)
        except httpx.InvalidURL as error:
            raise GenerationError(f"the address of the endpoint cannot be read: {error}") from error
        if url.scheme not in ("http", "https") or not url.host:
            raise GenerationError("the address of the endpoint must begin with http:// or https:// and name a host")
        if url.userinfo or url.query:
            raise GenerationError(
                "the address of the endpoint carries a user name, password or query", hint="give the key as api_key"
            )
        if self.api_key is not None and (
            not self.api_key.isascii() or not self.api_key.isprintable() or " " in self.api_key
        ):
            raise GenerationError("the API key holds a space or a character that HTTP headers do not allow")
        if self.send_tiles and self.counter is None:
            raise GenerationError(
                "send_tiles needs a counter, which says how pictures are cut", hint="see EndpointBackend.for_pulse"
            )
        if self.counter is None and "pulse" in self.model.lower():
            self.counter = PulseCounter.published()
        if self.counter is not None:
            self.context_length = self.counter.context_length
        self.base_url = str(url).rstrip("/")
        self._local = url.host in ("localhost", "127.0.0.1", "::1")
        self._loop = LoopThread()

    @classmethod
    def for_pulse(cls, base_url: str, model: str, settings: Path, **options: Any) -> EndpointBackend:
        """A backend for a checkpoint that `pulse.convert` wrote.

        Args:
            base_url: Address of the server, with the version.
            model: Name that the server knows.
            settings: The file pulse.json of the converted folder (or that folder).
            options: Further arguments of `EndpointBackend`.

        Returns:
            The backend; it counts picture tokens as the checkpoint does.

        Raises:
            WeightsMissingError: No such file.
            ModelError: It cannot be read.
        """
        counter, send_tiles = PulseCounter.of_converted(settings)
        known: dict[str, Any] = {"counter": counter, "send_tiles": send_tiles}
        return cls(base_url, model, **(known | options))

    @property
    def name(self) -> str:
        """Model and address."""
        return f"{self.model} at {self.base_url}"

    def close(self) -> None:
        """End the background thread; later calls start a new one."""
        self._loop.stop()

    # --- TextBackend -------------------------------------------------------------------------------------------------

    def generate(self, request: Request) -> Completion:
        """See `TextBackend.generate`; may be called from a thread that runs an event loop."""
        return self._loop.run(self.agenerate(request))

    def stream(self, request: Request) -> Iterator[str]:
        """See `TextBackend.stream`; closing the iterator closes the connection."""
        pieces = self.astream(request)
        try:
            while True:
                piece = self._loop.run(anext(pieces, None))
                if piece is None:
                    return
                yield piece
        finally:
            self._loop.run(aclose(pieces))

    def count_tokens(self, prompt: str, image: Image | None = None) -> int:
        """Tokens of a prompt, template and visual tokens included; by `counter` where there is one.

        Without it every two bytes count as one token. Llama's vocabulary takes three to four bytes of English or
        German a token, so this is high on purpose; the server's own count is in `Completion.tokens_in`.

        Args:
            prompt: The user's turn.
            image: The picture that goes along, or None.

        Returns:
            Tokens.
        """
        if self.counter is not None:
            return self.counter.count_tokens(prompt, image)
        # system text, role marks and BOS of PULSE's template: 42 tokens of Vicuna's vocabulary
        return math.ceil(len(plain_text(prompt).encode()) / 2) + 42

    # --- asynchronous ------------------------------------------------------------------------------------------------

    async def agenerate(self, request: Request) -> Completion:
        """`generate` for a running event loop."""
        started = time.monotonic()
        body = self._body(request, stream=False)
        to = self._connection()
        async with to.deadline(), self._client() as client, to.send(client, body, started) as response:
            with to.reading("before its answer was complete"):
                raw = await limit_body(response).aread()
        answer = read_answer(raw, self.api_key or "")
        return self._completion(answer, request.image, time.monotonic() - started)

    async def astream(self, request: Request) -> AsyncIterator[str]:
        """`stream` for a running event loop."""
        started = time.monotonic()
        body = self._body(request, stream=True)
        to = self._connection()
        chunks = ChunkReader(self.api_key or "")
        n_characters = 0
        async with self._client() as client, to.send(client, body, started) as response:
            kind = response.headers.get("content-type", "nothing")
            if "text/event-stream" not in kind:
                raise GenerationError(f"the server sent no event stream but {excerpt(kind)}", hint=NOT_THE_API)
            events: AsyncIterator[ServerSentEvent] = EventSource(limit_body(response)).aiter_sse()
            try:
                while not chunks.done:
                    left = self.patience.total_s - (time.monotonic() - started)
                    with to.reading(f"in mid-answer, after {n_characters} characters"):
                        async with asyncio.timeout(left):
                            event = await anext(events, None)
                    if event is None:
                        break
                    piece = chunks.read(event.data)
                    if piece:
                        n_characters += len(piece)
                        yield piece
            finally:
                await aclose(events)
        if not chunks.done and chunks.finish_reason is None:
            raise GenerationError(
                f"{self.name} ended the answer after {n_characters} characters without saying that it is complete",
                hint="what has come so far is a torso; ask again",
            )
        _log.info("streamed characters=%d seconds=%.2f", n_characters, time.monotonic() - started)

    # --- parts -------------------------------------------------------------------------------------------------------

    def _completion(self, answer: Answer, image: Image | None, seconds: float) -> Completion:
        _log.info("generated tokens_in=%s tokens_out=%s seconds=%.2f", answer.tokens_in, answer.tokens_out, seconds)
        return Completion(
            text=answer.text,
            tokens_in=answer.tokens_in,
            tokens_out=answer.tokens_out,
            image_tokens=0 if image is None else self.counter.image_tokens(image) if self.counter else None,
            seconds=seconds,
            finish_reason=answer.finish_reason,
        )

    def _connection(self) -> Connection:
        return Connection(self.name, f"{self.base_url}/chat/completions", self.api_key or "", self.patience)

    def _body(self, request: Request, *, stream: bool) -> dict[str, Any]:
        image = request.image
        images = [] if image is None else [image]
        if image is not None and self.send_tiles and self.counter is not None:
            images = cut_tiles(image, self.counter.rule)
        return request_body(self.model, request, images, stream=stream, extra=self.extra_body)

    def _client(self) -> httpx.AsyncClient:
        headers = {"Accept-Encoding": "identity"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        timeout = httpx.Timeout(self.patience.silence_s, connect=self.patience.connect_s)
        # no redirects: they would carry report text (and the key) to another host; no proxy for this machine
        return httpx.AsyncClient(headers=headers, timeout=timeout, follow_redirects=False, trust_env=not self._local)
