"""/healthz, /readyz, /metrics: whether the server lives, whether it can answer, its figures."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.api import problems
from ecgkin.ui.api.state import State

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Whether the server lives")
async def healthz() -> dict[str, str]:
    """Answers as long as the process does; asks nothing of the case base."""
    return {"status": "alive"}


@router.get(
    "/readyz", summary="Whether the server can answer", responses={503: {"description": "Not yet, or not any more"}}
)
async def readyz(request: Request) -> Response:
    """200 where the case base can be read, the encoder is there and uploads can be decoded, 503 otherwise."""
    state: State = request.app.state.ecgkin
    try:
        n_cases = await _n_cases(state)
    except EcgkinError as error:
        return problems.of_error(error)
    if state.closing:
        return problems.of_error(problems.BusyError("the server is shutting down"))
    content: dict[str, Any] = {"status": "ready", "cases": n_cases, "encoder": state.encoder.name}
    try:
        content["decoders"] = await asyncio.to_thread(state.decoders.state)
    except EcgkinError as error:
        return problems.of_error(error)
    return JSONResponse(content)


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    """Latencies by route and by step, batch sizes, queue depth, index size."""
    state: State = request.app.state.ecgkin
    figures = state.metrics
    figures.cases.set(await _n_cases(state))
    figures.queue_depth.set(state.queue.depth)
    figures.runs(f"{state.encoder.name} {state.encoder.fingerprint}")
    return Response(generate_latest(figures.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _n_cases(state: State) -> int:
    """Size of the base, in a thread beside those of the requests: a busy server must be able to tell that it is."""

    def look() -> int:
        with state.pinned() as served:
            return len(served.base)

    return await asyncio.to_thread(look)
