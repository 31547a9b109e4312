"""`ecgkin web`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from ecgkin.retrieval.errors import QueryError
from ecgkin.ui import console

TOKEN_VARIABLE = "ECGKIN_WEB_TOKEN"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(web)


def web(
    api: Annotated[str, typer.Option(help="Address of the server.")] = "http://127.0.0.1:8000",
    port: Annotated[
        int, typer.Option(help="Port of the page; a free one where it is taken.", min=0, max=65_535)
    ] = 8501,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
) -> None:
    """Show the web page of a server that `ecgkin serve` runs here or elsewhere; Ctrl-C ends it.

    A token for the server comes from the environment, ECGKIN_WEB_TOKEN.
    """
    from ecgkin.ui.client.client import Client
    from ecgkin.ui.web.serving import ending, running

    if not api.startswith(("http://", "https://")):
        raise QueryError(f"--api is {api!r:.80} (expected an address such as http://127.0.0.1:8000)")
    token = os.environ.get(TOKEN_VARIABLE)
    with Client(api, token) as client:
        facts = client.info()
    with ending(), running(api, token=token, port=port) as (process, where):
        console.out().print(where, markup=False, soft_wrap=True)
        console.say(f"{facts.case_base.get('n_cases', '?')} cases of {api}; Ctrl-C ends it")
        if open_page:
            console.open_in_browser(where)
        process.wait()
