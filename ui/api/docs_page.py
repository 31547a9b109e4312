"""/docs: the OpenAPI document as a page on which everything can be tried, also where there is no internet.

FastAPI's own page fetches its script from another host; this one serves the copy that fastapi-offline brings.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

if TYPE_CHECKING:
    from fastapi import FastAPI

PAGE = "/docs"
ASSETS = "/docs/assets"
# The page's few lines of script and Swagger UI's styles stand in the page itself; nothing may come from elsewhere.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
}
_PARAMETERS: dict[str, Any] = {
    "defaultModelsExpandDepth": 0,
    "displayRequestDuration": True,
    "docExpansion": "list",
    "tryItOutEnabled": True,
}


def install(app: FastAPI) -> None:
    """Add the page and its files."""
    import fastapi_offline
    from fastapi.openapi.docs import get_swagger_ui_html

    async def docs(request: Request) -> HTMLResponse:
        # Addresses are relative, so that the page works behind a proxy that puts something before them.
        page = get_swagger_ui_html(
            openapi_url="openapi.json",
            title=f"{app.title} API",
            swagger_js_url="docs/assets/swagger-ui-bundle.js",
            swagger_css_url="docs/assets/swagger-ui.css",
            swagger_favicon_url="docs/assets/favicon.png",
            swagger_ui_parameters=_PARAMETERS,
        )
        page.headers.update(_HEADERS)
        return page

    async def home(request: Request) -> RedirectResponse:
        return RedirectResponse("docs", 307)

    app.add_route("/", home, include_in_schema=False)
    app.add_route(PAGE, docs, include_in_schema=False)
    app.mount(ASSETS, StaticFiles(directory=Path(fastapi_offline.__file__).parent / "static"), name="docs-assets")
