"""How much of everything: requests at once, bytes and seconds of a body, pixels being decoded, seconds of work."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ecgkin.retrieval.errors import QueryError
from ecgkin.ui.api import problems

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ecgkin.ui.settings import Settings

T = TypeVar("T")
MB = 1_000_000


@dataclass(frozen=True)
class Limits:
    """Limits in force.

    Attributes:
        body_bytes: Of an upload with pictures or records.
        text_bytes: Of a JSON body, and of a text table or a sampled record within an upload; they take some ten times
            as much memory as bytes while they are read.
        pixels: Of a picture.
        seconds: To receive a body, and again to answer.
        requests: In flight; one more is turned away.
        k: Hits.
        workers: Requests worked on at the same time; the others wait.
        decoders: Processes that decode uploads.
        decode_seconds: To decode one upload.
        decode_bytes: Memory of such a process, beyond what it starts with.
    """

    body_bytes: int = 64 * MB
    text_bytes: int = 8 * MB
    pixels: int = 60_000_000
    seconds: float = 30.0
    requests: int = 256
    k: int = 100
    workers: int = 16
    decoders: int = 2
    decode_seconds: float = 10.0
    decode_bytes: int = 1500 * MB

    @property
    def decoders_waiting(self) -> int:
        """Uploads that may wait for a decoder: never so many that no thread is left for other questions."""
        return max(self.decoders, self.workers // 2)

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """From settings."""
        return cls(
            body_bytes=int(settings.api_max_body_mb * MB),
            text_bytes=int(settings.api_max_json_mb * MB),
            pixels=int(settings.api_max_megapixels * 1e6),
            seconds=settings.api_max_seconds,
            requests=settings.api_max_requests,
            k=settings.api_max_k,
            workers=settings.api_workers,
            decoders=settings.api_decoders,
            decode_seconds=min(settings.api_decode_seconds, settings.api_max_seconds),
            decode_bytes=int(settings.api_decode_mb * MB),
        )

    def checked_k(self, k: int) -> int:
        """k itself.

        Raises:
            QueryError: More than this server gives.
        """
        if not 1 <= k <= self.k:
            raise QueryError(f"k is {k} (expected 1 to {self.k})", hint="see limits in /v1/info")
        return k


class Gate:
    """ASGI middleware: counts requests in flight, and the bytes and seconds of each body as it comes in.

    Args:
        app: What stands behind it.
        limits: Limits in force.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self.limits = limits
        self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        # Whether the server lives must be told when it is busiest.
        if scope["type"] != "http" or scope["path"] in ("/healthz", "/readyz", "/metrics"):
            await self.app(scope, receive, send)
            return
        body = _Body(receive, *self._sizes(scope), self.limits.seconds)
        try:
            if self.in_flight >= self.limits.requests:
                raise problems.BusyError(f"{self.in_flight} requests are in flight", hint="try again in a second")
            body.check_declared()
        except problems.RequestError as error:
            await problems.refuse(error, scope, receive, send)
            return
        self.in_flight += 1
        try:
            await self.app(scope, body.receive, send)
        finally:
            self.in_flight -= 1

    def _sizes(self, scope: Scope) -> tuple[int, int | None]:
        headers = dict(scope["headers"])
        kind = headers.get(b"content-type", b"").lower()
        length = headers.get(b"content-length", b"")
        largest = self.limits.body_bytes if kind.startswith(b"multipart/") else self.limits.text_bytes
        return largest, int(length) if length.isdigit() else None


class _Body:
    """A body on its way in."""

    def __init__(self, receive: Receive, largest: int, declared: int | None, seconds: float) -> None:
        self._receive = receive
        self.largest = largest
        self.declared = declared
        self.seconds = seconds
        self.until = time.monotonic() + seconds
        self.seen = 0
        self.complete = False

    def check_declared(self) -> None:
        if self.declared is not None and self.declared > self.largest:
            raise problems.TooLargeError(
                f"the body has {self.declared / MB:.1f} MB (expected at most {self.largest / MB:g})",
                hint="see limits in /v1/info",
            )

    async def receive(self) -> Message:
        if self.complete:  # from here on only "the client has gone" can come
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self.until - time.monotonic()))
        except TimeoutError:
            raise problems.SlowBodyError(f"{self.seen} bytes came in {self.seconds:g} s") from None
        if message["type"] != "http.request":
            return message
        self.seen += len(message.get("body", b""))
        self.complete = not message.get("more_body", False)
        if self.seen > self.largest:
            if not self.complete:
                await problems.drain(self._receive)
            raise problems.TooLargeError(
                f"the body has more than {self.largest / MB:g} MB", hint="see limits in /v1/info"
            )
        return message


class PixelBudget:
    """Lets pictures be decoded as long as they have no more pixels together than one of the largest.

    A picture of 60 megapixels takes 180 MB as RGB bytes, several times that while it is read: sixteen at once would
    take a server down that one does not trouble.
    """

    def __init__(self, pixels: int, seconds: float = 30.0) -> None:
        self.pixels = pixels
        self.seconds = seconds
        self._used = 0
        self._changed = threading.Condition()

    @contextmanager
    def take(self, pixels: int) -> Iterator[None]:
        """Wait until there is room for so many, and hold it.

        Raises:
            TooLargeError: There never will be.
            BusyError: There is none within `seconds`.
        """
        if pixels > self.pixels:
            raise problems.TooLargeError(
                f"the picture has {pixels / 1e6:.1f} megapixels (expected at most {self.pixels / 1e6:g})",
                hint="reduce it first; a page of 2200 x 1700 px is plenty",
            )
        with self._changed:
            if not self._changed.wait_for(lambda: self._used + pixels <= self.pixels, self.seconds):
                raise problems.BusyError("other pictures take all memory", hint="try again in a second")
            self._used += pixels
        try:
            yield
        finally:
            with self._changed:
                self._used -= pixels
                self._changed.notify_all()


class Work:
    """Runs what takes time in a few threads, each for no longer than a request may take.

    A thread cannot be stopped: after the deadline the caller gets his answer, and the thread's place is free again
    when it is done.

    Args:
        limits: Threads, and seconds of a task.
        around: Entered in the thread before each task, and left after it.
    """

    def __init__(self, limits: Limits, around: Callable[[], AbstractContextManager[Any]] = nullcontext) -> None:
        self.seconds = limits.seconds
        self._around = around
        self._pool = ThreadPoolExecutor(limits.workers, "ecgkin-work")

    async def run(self, task: Callable[[], T], cleanup: Callable[[], None] | None = None) -> T:
        """The result of a task.

        Args:
            task: Called in a thread, in the context of the caller (request id).
            cleanup: Called when the task is over, or was given up before it began.

        Returns:
            What the task returned.

        Raises:
            DeadlineError: It was not done in time.
        """
        waiting = asyncio.wrap_future(self.start(task, cleanup))
        done, _ = await asyncio.wait({waiting}, timeout=self.seconds)
        if not done:
            waiting.cancel()  # has an effect only where no thread has taken it up yet
            raise problems.DeadlineError(f"no answer within {self.seconds:g} s", hint="ask for less, or try again")
        return waiting.result()

    def start(self, task: Callable[[], T], cleanup: Callable[[], None] | None = None) -> Future[T]:
        """Begin a task as `run` does, without waiting for it.

        Args:
            task: Called in a thread, in the context of the caller.
            cleanup: Called when it is over, or was given up before it began.

        Returns:
            The future of its result.
        """
        context = contextvars.copy_context()
        future = self._pool.submit(context.run, self._within, task)
        if cleanup is not None:
            future.add_done_callback(lambda _: cleanup())
        return future

    def _within(self, task: Callable[[], T]) -> T:
        with self._around():
            return task()

    def close(self) -> None:
        """Wait for the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)
