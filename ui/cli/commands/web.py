"""`ecgkin web`."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Annotated

import typer

from ecgkin.retrieval.errors import QueryError
from ecgkin.ui import console

if TYPE_CHECKING:
    from ecgkin.ui.api.answers import InfoOut
    from ecgkin.ui.client.client import Client

TOKEN_VARIABLE = "ECGKIN_WEB_TOKEN"
WAIT_S, _PAUSE_S = 60.0, 0.5


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(web)


def web(
    api: Annotated[str, typer.Option(help="Address of the server.")] = "http://127.0.0.1:8000",
    port: Annotated[
        int, typer.Option(help="Port of the page; a free one where it is taken.", min=0, max=65_535)
    ] = 8501,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for a server that is still loading.", min=0, max=3600)
    ] = WAIT_S,
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
        facts = when_it_answers(client, wait)
    with ending(), running(api, token=token, port=port) as (process, where):
        console.out().print(where, markup=False, soft_wrap=True)
        console.say(f"{facts.case_base.get('n_cases', '?')} cases of {api}; Ctrl-C ends it")
        if open_page:
            console.open_in_browser(where)
        process.wait()


def when_it_answers(client: Client, wait_s: float) -> InfoOut:
    """What a server says of itself; one that is still loading is waited for, with a bar or a line that says so.

    Args:
        client: Of the server.
        wait_s: At most.

    Raises:
        ApiError: It answers with a problem, its name is not known, or nothing listens there until then.
    """
    from ecgkin.ui.client.calls import ApiError

    begun, said = time.monotonic(), False
    with console.progress(f"wait for {client.base_url}") as moved:
        while True:
            try:
                return client.info()
            except ApiError as error:
                waited = time.monotonic() - begun
                if not error.refused or waited >= wait_s:
                    raise
                if not said:
                    console.say(f"nothing answers at {client.base_url} yet: waiting up to {wait_s:g} s for it to load")
                    said = True
                moved(round(waited), round(wait_s))
            time.sleep(_PAUSE_S)
