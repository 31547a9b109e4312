"""An event loop in a thread of its own, for synchronous callers of asynchronous code."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

_T = TypeVar("_T")


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


async def aclose(pieces: AsyncIterator[str]) -> None:
    """Close an asynchronous generator, and what it holds open, without waiting for the garbage collector."""
    close = getattr(pieces, "aclose", None)
    if close is not None:
        await close()
