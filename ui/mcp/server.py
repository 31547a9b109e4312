"""The MCP server around `Tools`: over stdio for an agent on this machine, over HTTP with the tokens of the API.

Nothing that a tool is asked or answers goes into a log: the library's own lines hold errors, and errors file names.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from ecgkin import __version__
from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.api import problems
from ecgkin.ui.api.security import Guard, Role, parse_tokens
from ecgkin.ui.mcp.tools import NOTICE, Tools

if TYPE_CHECKING:
    from mcp.server import MCPServer
    from pydantic import ValidationError
    from starlette.types import ASGIApp

    from ecgkin.ui.settings import Settings

_TOOLS = ("search", "compare", "measure", "draft", "case")
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
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp_types import ToolAnnotations
    from pydantic import ValidationError

    class Server(MCPServer[object]):
        """Says of arguments that do not fit which one it is and what is expected."""

        async def call_tool(self, name: str, arguments: dict[str, Any], context: Any = None) -> Any:
            known = {tool.name: tool.input_schema for tool in await self.list_tools()}.get(name)
            if known is None:
                raise ToolError(f"there is no tool {name[:80]!r}\nhint: the tools are {', '.join(_TOOLS)}")
            unknown = sorted(set(arguments) - set(known["properties"]))
            if unknown:
                raise ToolError(f"{name} takes no argument {unknown[0][:80]!r}\nhint: {_arguments(name, known)}")
            try:
                return await super().call_tool(name, arguments, context)
            except ToolError as error:
                if not isinstance(error.__cause__, ValidationError):
                    raise
                raise ToolError(f"{misfit(name, error.__cause__)}\nhint: {_arguments(name, known)}") from None

    made: MCPServer[object] = Server(
        "ecgkin", title="ecgkin", instructions=INSTRUCTIONS, version=__version__, log_level="ERROR"
    )
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
    reads = ToolAnnotations(read_only_hint=True, open_world_hint=False)
    for tool in (getattr(tools, name) for name in _TOOLS):
        made.add_tool(_told(tool), name=tool.__name__, annotations=reads, structured_output=True)
    return made


def misfit(tool: str, error: ValidationError) -> str:
    """Which argument of a call does not fit, and why, in one line.

    Args:
        tool: Its name.
        error: What pydantic found.

    >>> from pydantic import TypeAdapter, ValidationError
    >>> from typing_extensions import TypedDict
    >>> try:
    ...     TypeAdapter(TypedDict("Given", {"k": int})).validate_python({"k": "many"})
    ... except ValidationError as error:
    ...     misfit("search", error)
    "search: k is 'many' (it should be a valid integer, unable to parse string as an integer)"
    """
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "the whole"
    if first["type"] == "missing":
        return f"{tool} needs the argument {name}"
    given = first["input"] if isinstance(first["input"], str | int | float) else type(first["input"]).__name__
    said = first["msg"].replace("Input should", "it should")
    return f"{tool}: {name} is {given!r:.80} ({said[:1].lower()}{said[1:]})"


def _arguments(tool: str, schema: dict[str, Any]) -> str:
    needed = set(schema.get("required", ()))
    return f"arguments of {tool}: " + ", ".join(
        f"{name} (needed)" if name in needed else name for name in schema["properties"]
    )


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
