"""Figures for Prometheus, request ids, and the log line of each request."""

from __future__ import annotations

import logging
import re
import time
import uuid
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from ecgkin import __version__
from ecgkin.ui.api import problems
from ecgkin.ui.logs import request_id

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOG = logging.getLogger(__name__)
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
# Seconds; a search takes 10 ms with a small encoder on an idle machine and seconds with a large one under load.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The figures, in a registry of their own (two apps in one process do not mix)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # memory, processor time, open files of this process
        self._runs = Info("ecgkin", "What runs here", registry=self.registry)
        self.requests = Histogram(
            "ecgkin_request_seconds", "Time to answer", ["route", "method", "status"],
            buckets=_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self.stages = Histogram(
            "ecgkin_stage_seconds", "Time of each step of a request", ["stage"],
            buckets=_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self.batches = Histogram(
            "ecgkin_batch_size", "Inputs that were encoded together", ["method"],
            buckets=(1, 2, 4, 8, 16, 32, 64), registry=self.registry,
        )  # fmt: skip
        self.in_flight = Gauge("ecgkin_requests_in_flight", "Requests being answered", registry=self.registry)
        self.queue_depth = Gauge("ecgkin_queue_depth", "Inputs waiting for the encoder", registry=self.registry)
        self.cases = Gauge("ecgkin_index_cases", "Cases that can be found", registry=self.registry)
        self.problems = Counter("ecgkin_problems", "Answers that were problems", ["status"], registry=self.registry)

    def runs(self, encoder: str) -> None:
        """What runs here: the version, and an encoder by its name and fingerprint."""
        self._runs.info({"version": __version__, "encoder": encoder})

    def stage(self, name: str, seconds: float) -> None:
        """Count the time of one step of a request.

        Args:
            name: "read", "encode", "index", "vote", "draft", "encoder_call".
            seconds: How long it took.
        """
        self.stages.labels(name).observe(seconds)

    def encoded(self, method: str, n: int, seconds: float) -> None:
        """Count one call of the encoder.

        Args:
            method: "encode_texts", "encode_records", "encode_printed" or "encode_images".
            n: Inputs that were encoded together.
            seconds: How long it took.
        """
        self.batches.labels(method).observe(n)
        self.stage("encoder_call", seconds)


class Context:
    """Outermost ASGI middleware: request id, one log line and one measurement for each request, safe headers.

    The line names the route ("/v1/cases/{case_id}"), never the address, the query or anything that was sent.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        own = given if _ID.match(given) else uuid.uuid4().hex
        mark = request_id.set(own)
        start = time.perf_counter()
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name.lower() for name, _ in message["headers"]}
                extra = [(b"x-request-id", own.encode()), (b"x-content-type-options", b"nosniff")]
                extra.append((b"cross-origin-resource-policy", b"same-origin"))
                if b"cache-control" not in present:
                    extra.append((b"cache-control", b"no-store"))
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        self.metrics.in_flight.inc()
        try:
            await self.app(scope, receive, sending)
        except Exception as error:  # the last line: nobody behind it would answer in our form
            if status:
                problems.log_fault(error)
            else:
                await problems.of_error(error)(scope, receive, sending)
        finally:
            self.metrics.in_flight.dec()
            seconds = time.perf_counter() - start
            route = getattr(scope.get("route"), "path", "(none)")
            method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "DELETE", "OPTIONS") else "other"
            self.metrics.requests.labels(route, method, str(status)).observe(seconds)
            if status >= 400:
                self.metrics.problems.labels(str(status)).inc()
            _LOG.info("request method=%s route=%s status=%d ms=%.1f", method, route, status, 1e3 * seconds)
            request_id.reset(mark)
