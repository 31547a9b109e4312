"""One step beside another: OpenCV, Pillow and the networks leave the interpreter to others while they work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Beside(threading.Thread, Generic[T]):
    """A call in a thread of its own (a pool would not outlive the forks of an ingest).

    Args:
        call: What is called, at once.

    >>> Beside(lambda: 6 * 7).result()
    42
    """

    def __init__(self, call: Callable[[], T]) -> None:
        super().__init__(name="ecgkin-beside", daemon=True)
        self._call = call
        self._found: list[T] = []
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Call."""
        try:
            self._found.append(self._call())
        except BaseException as error:  # raised where it is waited for
            self._error = error

    def result(self) -> T:
        """What the call returned, once it has, or its error."""
        self.join()
        if self._error is not None:
            raise self._error
        return self._found[0]
