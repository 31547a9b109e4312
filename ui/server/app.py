"""`create_app`: the whole HTTP API around one `State`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.middleware.cors import CORSMiddleware

from ecgkin import __version__
from ecgkin.ui.api import docs_page, openapi, problems, schemas
from ecgkin.ui.api.limits import Gate
from ecgkin.ui.api.metrics import Context
from ecgkin.ui.api.routes import cases as routes_cases
from ecgkin.ui.api.routes import digitize as routes_digitize
from ecgkin.ui.api.routes import drafts as routes_drafts
from ecgkin.ui.api.routes import explain as routes_explain
from ecgkin.ui.api.routes import feedback as routes_feedback
from ecgkin.ui.api.routes import health as routes_health
from ecgkin.ui.api.routes import info as routes_info
from ecgkin.ui.api.routes import jobs as routes_jobs
from ecgkin.ui.api.routes import map as routes_map
from ecgkin.ui.api.routes import search as routes_search
from ecgkin.ui.api.security import Guard

if TYPE_CHECKING:
    from ecgkin.ui.api.state import State
    from ecgkin.ui.settings import Settings


_ROUTES = (
    routes_health,
    routes_search,
    routes_explain,
    routes_drafts,
    routes_digitize,
    routes_jobs,
    routes_cases,
    routes_feedback,
    routes_map,
    routes_info,
)
# What requests send: as JSON, and as fields beside a file.
_BODIES: list[type[BaseModel]] = [
    schemas.SearchBody,
    schemas.ExplanationBody,
    schemas.DraftBody,
    schemas.EmbeddingBody,
    schemas.CaseBody,
    schemas.FeedbackBody,
]
_FORMS: list[type[BaseModel]] = [
    routes_search.SearchForm,
    routes_search.EmbeddingForm,
    routes_explain.ExplanationForm,
    routes_drafts.DraftForm,
    routes_digitize.DigitizeForm,
    routes_jobs.JobForm,
    routes_cases.CaseForm,
]


def create_app(settings: Settings, state: State) -> FastAPI:
    """The app.

    Args:
        settings: In force.
        state: Loaded once, shared by all requests; closed when the server shuts down, after the last request.

    Returns:
        An ASGI application.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        state.close()

    def example() -> str | None:
        # The document is open to all: where there are tokens, it names no case.
        if state.tokens:
            return None
        with state.pinned() as served:
            return next((case.case_id for case in served.base.cases(limit=1)), None)

    app = FastAPI(
        title="ecgkin",
        version=__version__,
        summary="Retrieval-augmented ECG case search",
        description=openapi.DESCRIPTION,
        lifespan=lifespan,
        openapi_tags=openapi.TAGS,
        docs_url=None,
        redoc_url=None,
    )
    app.state.ecgkin = state
    for module in _ROUTES:
        app.include_router(module.router)
    docs_page.install(app)
    problems.install(app)
    openapi.install(app, bodies=_BODIES, forms=_FORMS, tokens=bool(state.tokens), case_id=example)
    _add_middleware(app, settings, state)
    return app


def _add_middleware(app: FastAPI, settings: Settings, state: State) -> None:
    """The last one added is the outermost: context, then who may, then other origins, then how much."""
    app.add_middleware(Gate, limits=state.limits)
    origins = list(settings.api_cors_origins)
    app.add_middleware(Guard, tokens=state.tokens, origins=origins)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Location"],
        )
    app.add_middleware(Context, metrics=state.metrics)
