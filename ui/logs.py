"""Logging for people (plain) and for services (one JSON object a line), always to stderr. Libraries only emit."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO

request_id: ContextVar[str] = ContextVar("request_id", default="")
_OWN = "ecgkin"


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC, ISO), level, logger, message, and the request where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line = {
            "time": datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id.get():
            line["request_id"] = request_id.get()
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class Repeats(logging.Filter):
    """Lets the same message of a logger through a few times, then holds it back and counts.

    Args:
        most: Times within `seconds`.
        seconds: After which counting begins anew; the first line then says how many were held back.
        clock: For tests.
    """

    def __init__(self, most: int = 20, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._most, self._seconds, self._clock = most, seconds, clock
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        key, now = (record.name, str(record.msg)[:200]), self._clock()
        since, n = self._seen.get(key, (now, 0))
        if now - since >= self._seconds:
            if n > self._most:
                record.msg = f"{record.msg} ({n - self._most} more of these were not logged)"
            since, n = now, 0
        if len(self._seen) > 1000:
            self._seen.clear()
        self._seen[key] = (since, n + 1)
        return n < self._most


def is_configured() -> bool:
    """Whether `configure_logging` was called in this process."""
    return bool(logging.getLogger(_OWN).handlers)


def configure_logging(level: str = "WARNING", form: str = "plain", stream: TextIO | None = None) -> None:
    """Send the project's own log lines to `stream` (default stderr); a second call replaces the first.

    Args:
        level: Least level that is written: DEBUG, INFO, WARNING, ERROR.
        form: "plain" or "json".
        stream: Where to.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger(_OWN)
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False
