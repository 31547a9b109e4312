"""`ecgkin mcp`: tools for language-model agents over the Model Context Protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecgkin.ui import console
from ecgkin.ui.cli.commands import common


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("mcp")(mcp)


def mcp(
    base: common.Base,
    http: Annotated[bool, typer.Option("--http", help="Streamable HTTP instead of stdio.")] = False,
    host: Annotated[
        str | None,
        typer.Option(
            help="Address for --http; others than loopback want tokens. (setting: api_host)", show_default=False
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port for --http; 0 takes a free one.")] = 8010,
    files: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder whose files agents may name; may be given again.", show_default="stdio: all, --http: none"
        ),
    ] = None,
    model: common.Model = "consensus",
    encoder: common.Encoder = None,
    witness: common.Witness = None,
    device: common.Device = None,
    api_key: common.Key = None,
) -> None:
    """Serve search, compare, measure, draft and case as tools for language-model agents (MCP).

    Over HTTP the tokens of the API hold (`ecgkin token read`); files come in the call, or from --files folders.
    """
    from ecgkin.ui.mcp.files import Files
    from ecgkin.ui.mcp.server import PATH, http_app, make_server
    from ecgkin.ui.mcp.tools import Tools

    settings = common.settings(api_host=host, api_port=port, encoder=encoder, witness=witness, device=device)
    loaded = None
    if encoder is not None:
        from ecgkin.retrieval.encoders import load_encoder

        loaded = load_encoder(encoder, device=settings.device)
    allowed = Files(files or ([] if http else None), int(settings.api_max_body_mb * 1e6))
    tools = Tools(
        base,
        allowed,
        model=model,
        encoder=loaded,
        device=settings.device,
        api_key=api_key,
        witness=common.witness_of(settings),
    )
    try:
        made = make_server(tools)
        if not http:
            console.say(f"{tools.n_cases} cases; MCP over stdio")
            made.run("stdio")
            return
        from ecgkin.ui.server.serving import address, bind, server

        common.service_logging(settings)
        listener = bind(settings)
        try:
            console.out().print(f"{address(listener)}{PATH}", markup=False, soft_wrap=True)
            console.say(f"{tools.n_cases} cases; Ctrl-C ends it")
            server(http_app(made, settings), settings).run([listener])
        finally:
            listener.close()
    finally:
        tools.close()
