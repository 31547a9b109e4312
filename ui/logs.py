"""Logging for people (plain) and for services (one JSON object a line), always to stderr. Libraries only emit."""

from __future__ import annotations

import json
import logging
import sys
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
