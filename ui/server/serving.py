"""Running the API: a socket first, then uvicorn on it; in the foreground, or in a thread for the demo and the tests.

uvicorn bounds keep-alive and nothing else. Here a connection that has not sent the head of a request in time is
closed, one whose answer is not taken in time is cut, and when there are too many, the one that has waited longest
without a request makes room.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ecgkin.retrieval.errors import QueryError, why
from ecgkin.ui.hosts import is_loopback
from ecgkin.ui.logs import Repeats

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp

    from ecgkin.ui.settings import Settings

_START_SECONDS = 30.0
_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def bind(settings: Settings) -> socket.socket:
    """A listening socket at the address of the settings; port 0 takes a free one.

    Raises:
        QueryError: The address is not loopback and there are no tokens; or it cannot be had.
    """
    host, port = settings.api_host, settings.api_port
    if not settings.api_tokens and not is_loopback(host):
        raise QueryError(
            f"{host} can be reached by other machines, and there are no tokens (expected a loopback address)",
            hint="make tokens with `ecgkin token read` and `ecgkin token write`, or leave --host out",
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol in so many words: asyncio turns off Nagle's waiting (40 ms an answer) only where it is named.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise QueryError(
            f"{host}:{port} cannot be listened on: {why(error)}", hint="choose another --port; 0: any"
        ) from None
    return listener


def address(listener: socket.socket) -> str:
    """Where a socket listens, as http://host:port."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server(app: ASGIApp, settings: Settings) -> uvicorn.Server:
    """A uvicorn server with deadlines, which finishes requests in flight when it is told to stop.

    Its own access log stays off: addresses hold filters, and filters hold patients.

    Args:
        app: Of `create_app`, or another that speaks ASGI.
        settings: In force: seconds and connections.

    Returns:
        The server, not started.
    """
    for name in ("asyncio", "uvicorn.error"):  # strangers choose how often these speak
        logger = logging.getLogger(name)
        if not any(isinstance(known, Repeats) for known in logger.filters):
            logger.addFilter(Repeats())
    most = room_for_connections(settings.api_max_connections)
    config = uvicorn.Config(
        app,
        http=bounded(settings.api_header_seconds, settings.api_max_seconds, most),
        log_config=None,
        access_log=False,
        lifespan="on",
        ws="none",
        server_header=False,
        timeout_keep_alive=15,
        # A request may take its seconds twice, to come in and to be answered.
        timeout_graceful_shutdown=int(2 * settings.api_max_seconds) + 1,
    )
    return uvicorn.Server(config)


@contextmanager
def in_thread(app: FastAPI, settings: Settings, patience_s: int | None = None) -> Iterator[str]:
    """Serve from a thread while this lasts; the value is the address.

    Args:
        app: Of `create_app`.
        settings: In force; port 0 takes a free one.
        patience_s: How long requests in flight may take to end when this ends; None for as long as a request may take.

    Returns:
        The address while this lasts, "http://127.0.0.1:8000".
    """
    listener = bind(settings)
    running = server(app, settings)
    if patience_s is not None:
        running.config.timeout_graceful_shutdown = patience_s
    thread = threading.Thread(target=running.run, args=([listener],), name="ecgkin-server", daemon=True)
    thread.start()
    try:
        until = time.monotonic() + _START_SECONDS
        while not running.started:
            if not thread.is_alive() or time.monotonic() > until:
                raise QueryError("the server did not start", hint="the log says why")
            time.sleep(0.01)
        yield address(listener)
    finally:
        running.should_exit = True
        thread.join()
        listener.close()


class BoundedProtocol(H11Protocol):
    """uvicorn's protocol with deadlines; `bounded` sets them."""

    header_seconds = 10.0
    write_seconds = 30.0
    most = 1000

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head; one too many makes the one that has waited longest leave."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._head: asyncio.TimerHandle | None = self.loop.call_later(self.header_seconds, self._head_is_late)
        self._reader: asyncio.TimerHandle | None = None
        if len(self.connections) > self.most:
            others: list[Any] = [other for other in self.connections if getattr(other, "waits", False)]
            min(others, key=lambda other: other._since, default=self).transport.abort()

    @property
    def waits(self) -> bool:
        """Whether nothing is being answered here, nor has a whole head come."""
        return self.conn.their_state is h11.IDLE and (self.cycle is None or self.cycle.response_complete)

    def data_received(self, data: bytes) -> None:
        """The first byte of a head starts its deadline, the last one ends it."""
        if self.waits:
            self._since = self.loop.time() if self._head is None else self._since
            self._head = self._head or self.loop.call_later(self.header_seconds, self._head_is_late)
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop()

    def on_response_complete(self) -> None:
        """Wait for the next head."""
        super().on_response_complete()
        # The rest of a head may have come with the request before it.
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0] and self._head is None:
            self._head = self.loop.call_later(self.header_seconds, self._head_is_late)

    def timeout_keep_alive_handler(self) -> None:
        """Close, whether or not the answer is read."""
        super().timeout_keep_alive_handler()
        # `close` waits for what is not read yet; not for ever.
        self.loop.call_later(self.write_seconds, self.transport.abort)

    def pause_writing(self) -> None:
        """The reader is slow: his deadline begins."""
        super().pause_writing()
        self._reader = self._reader or self.loop.call_later(self.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """He reads again."""
        super().resume_writing()
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines."""
        self._stop()
        if self._reader is not None:
            self._reader.cancel()
        super().connection_lost(exc)

    def _stop(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _head_is_late(self) -> None:
        self._head = None
        if not self.waits or self.transport.is_closing():
            return
        self.transport.write(_TIMEOUT)
        self.transport.close()
        self.loop.call_later(self.write_seconds, self.transport.abort)


def bounded(header_seconds: float, write_seconds: float, most: int) -> type[BoundedProtocol]:
    """A protocol class for `uvicorn.Config(http=...)`.

    Args:
        header_seconds: For the head of a request, from the connection or its first byte on.
        write_seconds: An answer may wait so long for its reader.
        most: Connections.

    Returns:
        The class.
    """
    limits = {"header_seconds": header_seconds, "write_seconds": write_seconds, "most": most}
    return type("BoundedProtocol", (BoundedProtocol,), limits)


def room_for_connections(wanted: int) -> int:
    """So many connections as there are file descriptors for, after asking for more; at most `wanted`."""
    try:
        import resource
    except ImportError:
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = wanted + 512 if hard == resource.RLIM_INFINITY else min(hard, wanted + 512)
    if soft != resource.RLIM_INFINITY and soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
        soft = target
    return wanted if soft == resource.RLIM_INFINITY else max(16, min(wanted, soft - 256))
