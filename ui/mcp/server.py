"""The MCP server around `Tools`: over stdio for an agent on this machine, over HTTP with the tokens of the API.

Nothing that a tool is asked or answers goes into a log: the library's own lines hold errors, and errors file names.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from ecgkin import __version__
from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.api import problems
from ecgkin.ui.api.security import Guard, Role, parse_tokens
from ecgkin.ui.mcp.tools import NOTICE, Tools

if TYPE_CHECKING:
    from mcp.server import MCPServer
    from starlette.types import ASGIApp

    from ecgkin.ui.settings import Settings

PATH, HEALTH = "/mcp", "/healthz"
INSTRUCTIONS = (
    "Search, measurements and preliminary drafts for 12-lead ECGs from an archive of cases with signed reports. "
    f"{NOTICE} Cite cases by their id, keep what a draft refuses or leaves open, and say where nothing is similar."
)
P = ParamSpec("P")
T = TypeVar("T")


def make_server(tools: Tools) -> MCPServer[object]:
    """The server with the five tools, each with typed arguments and a typed answer.

    Args:
        tools: What they do.
    """
    from mcp.server import MCPServer
    from mcp_types import ToolAnnotations

    made: MCPServer[object] = MCPServer(
        "ecgkin", title="ecgkin", instructions=INSTRUCTIONS, version=__version__, log_level="ERROR"
    )
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
    reads = ToolAnnotations(read_only_hint=True, open_world_hint=False)
    for tool in (tools.search, tools.compare, tools.measure, tools.draft, tools.case):
        made.add_tool(_told(tool), name=tool.__name__, annotations=reads, structured_output=True)
    return made


def http_app(made: MCPServer[object], settings: Settings) -> ASGIApp:
    """Streamable HTTP at /mcp behind the guard of the API: bearer tokens, or this machine alone. No sessions are kept.

    Args:
        made: Of `make_server`.
        settings: In force: tokens, origins, size of a body.
    """
    from mcp.server.transport_security import TransportSecuritySettings
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    made.custom_route(HEALTH, methods=["GET"])(healthz)
    app = made.streamable_http_app(
        streamable_http_path=PATH,
        json_response=True,
        stateless_http=True,
        # A file in base64 is longer by a third; two of them are compared.
        max_request_body_size=int(settings.api_max_body_mb * 1e6 * 8 / 3) + 100_000,
        # The guard looks at Host and Origin itself.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    return Guard(app, parse_tokens(settings.api_tokens), settings.api_cors_origins, needed=_needed)


def _needed(method: str, path: str) -> Role | None:
    """All tools only ask."""
    return None if path == HEALTH and method in ("GET", "HEAD") else "read"


def _told(tool: Callable[P, T]) -> Callable[P, T]:
    """The tool, with its errors as an agent should read them: message and hint, no traceback."""
    from mcp.server.mcpserver.exceptions import ToolError

    @functools.wraps(tool)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return tool(*args, **kwargs)
        except EcgkinError as error:
            raise ToolError(f"{error}\nhint: {error.hint}" if error.hint else str(error)) from None
        except Exception as error:
            problems.log_fault(error)
            raise ToolError("a fault of ecgkin; its log says where") from None

    return run
