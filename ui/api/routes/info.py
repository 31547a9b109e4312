"""/v1/info: what runs here; /v1/problems: the table of errors."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from ecgkin import __version__
from ecgkin.ui.api import problems
from ecgkin.ui.api.answers import InfoOut
from ecgkin.ui.api.limits import MB
from ecgkin.ui.api.state import State

router = APIRouter(prefix="/v1", tags=["health"])

NOTICE = "For research and education, not for diagnosis. Supports and does not replace a clinician."


@router.get("/info", response_model=InfoOut, summary="What runs here")
async def info(request: Request) -> InfoOut:
    """Version, encoder, case base, limits."""
    state: State = request.app.state.ecgkin
    limits = state.limits

    def look() -> InfoOut:
        facts = state.base.info()
        facts.pop("path")
        facts["bytes"] = sum(facts["bytes"].values())
        encoder = state.encoder
        return InfoOut(
            version=__version__,
            notice=NOTICE,
            encoder={"name": encoder.name, "fingerprint": encoder.fingerprint, "dim": encoder.dim},
            case_base=facts,
            drafters=state.drafting.names,
            limits={
                "body_mb": limits.body_bytes / MB,
                "json_mb": limits.text_bytes / MB,
                "megapixels": limits.pixels / 1e6,
                "seconds": limits.seconds,
                "requests": limits.requests,
                "k": limits.k,
            },
            tokens=bool(state.tokens),
        )

    return await state.work.run(look)


@router.get("/problems", summary="The table of errors")
async def table() -> list[dict[str, Any]]:
    """What the `type` of a problem means."""
    kinds = {kind.slug: kind for kind in problems.TABLE.values()}
    return [
        {"type": f"{problems.ADDRESS}#{kind.slug}", "status": kind.status, "title": kind.title}
        for kind in kinds.values()
    ]
