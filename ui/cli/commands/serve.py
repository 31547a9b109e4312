"""`ecgkin serve` and `ecgkin token`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from ecgkin.ui import console
from ecgkin.ui.cli.commands import common


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.command()(token)


def serve(
    base: common.Base,
    host: Annotated[
        str | None, typer.Option(help="Address. (setting: api_host, 127.0.0.1)", show_default=False)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port; 0 takes a free one. (setting: api_port, 8000)", show_default=False)
    ] = None,
    encoder: common.Encoder = None,
    witness: common.Witness = None,
    device: common.Device = None,
) -> None:
    """Serve a case base over HTTP; Ctrl-C ends it after the requests in flight."""
    settings = common.settings(api_host=host, api_port=port, witness=witness, device=device)
    common.service_logging(settings)
    from ecgkin.ui.server.serving import address, bind, server

    listener = bind(settings)  # first: a port that is taken is said before anything is loaded
    try:
        from ecgkin.ui.api.state import State
        from ecgkin.ui.server.app import create_app

        loaded = None
        if encoder is not None:
            from ecgkin.retrieval.encoders import load_encoder

            loaded = load_encoder(encoder, device=settings.device)
        state = State(base, settings, loaded)
        app = create_app(settings, state)
        state.preload()
        where = address(listener)
        console.out().print(f"{where}/docs", markup=False, soft_wrap=True)
        if state.tokens:
            console.say(f"{len(state.tokens)} tokens; every request but /healthz, /readyz and /docs needs one")
        else:
            console.say("no tokens: answers this machine alone (loopback)")
        console.say(f"{len(state.base)} cases, encoder {state.encoder.name}; Ctrl-C ends it")
        server(app, settings).run([listener])
    finally:
        listener.close()


def token(
    role: Annotated[Literal["read", "write"], typer.Argument(help="read: ask; write: also add, remove, mark.")],
    json: common.Json = False,
) -> None:
    """Make a token for the API. It is shown once; settings keep its hash."""
    from ecgkin.ui.api.security import new_token

    secret, setting = new_token(role)
    if json:
        console.emit({"token": secret, "setting": setting})
        return
    console.out().print(secret, markup=False, soft_wrap=True)
    console.say(f"add to api_tokens in config.toml, or set ECGKIN_API_TOKENS='[\"{setting}\"]'")
