"""How a request gets through to a server: how long to wait, when to try again, what a failure is called."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ecgkin.generation.endpoint_wire import excerpt, read_limited, retry_after_s, status_hint
from ecgkin.retrieval.errors import BackendTimeoutError, GenerationError

if TYPE_CHECKING:
    import httpx

_log = logging.getLogger(__name__)

# "Too many requests" and the answers of a server that is starting, overloaded or behind a proxy that lost it.
_RETRIED = frozenset({429, 500, 502, 503, 504})


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
        import httpx

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
                f"{self.name} broke off {when}: {type(error).__name__}", hint="is the server still running?"
            ) from error

    @contextlib.asynccontextmanager
    async def send(
        self, client: httpx.AsyncClient, body: dict[str, Any], started: float
    ) -> AsyncIterator[httpx.Response]:
        """A response with status 200, body unread; tries again where that can help."""
        response = await self._accepted(client, body, started)
        try:
            yield response
        finally:
            await response.aclose()

    async def _accepted(self, client: httpx.AsyncClient, body: dict[str, Any], started: float) -> httpx.Response:
        import httpx

        tried = 0
        while True:
            tried += 1
            asked: float | None = None
            left = self.patience.total_s - (time.monotonic() - started)
            try:
                request = client.build_request("POST", self.url, json=body)
                with self.reading("before its answer began"):
                    try:
                        async with asyncio.timeout(left):
                            response = await client.send(request, stream=True)
                    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.RemoteProtocolError) as error:
                        problem = f"cannot be reached ({type(error).__name__})"
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
                raise GenerationError(f"{self.name} {problem}, {tried} times", hint="is the server running there?")
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
            raw = await read_limited(response, limit=64 * 1024)
        except GenerationError:
            raw = b"(a long page)"
        finally:
            await response.aclose()
        return f"answered {response.status_code}: {excerpt(raw, self.secret) or '(nothing)'}"
