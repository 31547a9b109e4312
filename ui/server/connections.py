"""Connections with deadlines: heads that come slowly, answers that nobody reads, more connections than there is room.

uvicorn bounds keep-alive and nothing else. Here a connection that has not sent the head of a request in time is
closed, one whose answer is not taken in time is cut, and when there are too many, the one that has waited longest
without a request makes room.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    pass

_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


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
