"""`ecgkin demo`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ecgkin.ui import console
from ecgkin.ui.cli.commands import common


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    ptbxl: Annotated[Path | None, typer.Option(help="PTB-XL folder. (setting: ptbxl)", show_default=False)] = None,
    out: Annotated[Path, typer.Option(help="Folder for the page; made where it is missing.")] = Path("demo-out"),
    cases: Annotated[
        int | None,
        typer.Option(help="Cases to search. (setting: demo_cases, 1500; simulated: 400)", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Which held-out ECG is asked about.")] = 0,
    encoder: common.Encoder = None,
    device: common.Device = None,
    serve: Annotated[
        bool | None,
        typer.Option(
            "--serve/--no-serve",
            " /--page-only",
            help="Start the web page after that. Without a word: in a terminal, and not in CI.",
            show_default=False,
        ),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
    json: common.Json = False,
) -> None:
    """Show an ECG beside its ten most similar cases, with their reports; then ask about others on a web page.

    The cases come from the first of these that is there: a PTB-XL folder, an earlier download, a download of about
    1,500 records from PhysioNet, simulated cases.
    """
    from ecgkin.ui.cli.commands.search import result_json, show_result
    from ecgkin.ui.demo.demo import complete, run_demo

    settings = common.settings(ptbxl=ptbxl, encoder=encoder, device=device)
    with console.progress("demo") as moved:
        shown = run_demo(settings, out, n_cases=cases, seed=seed, say=console.say, moved=moved)
        serves = serve or (serve is None and not json and _has_company())
        if not serves and shown.rest is not None:
            console.say(f"first page, of {shown.n_cases} cases: {shown.page}")
            shown = complete(shown, say=console.say, moved=moved)
    if json:
        facts = {"page": shown.page, "source": shown.source, "query_id": shown.query_id, "n_cases": shown.n_cases}
        console.emit({**facts, "query_labels": shown.query_labels, "search": result_json(shown.result)})
    else:
        labels = " ".join(shown.query_labels)
        show_result(
            shown.result, title=f"{shown.query_id} ({labels}) among {shown.n_cases} cases, {shown.source.words}"
        )
        console.out().print(f"page: {shown.page}", markup=False, soft_wrap=True)
    if serves:
        from ecgkin.ui.demo.serve import serve_demo

        def ready(address: str) -> None:
            console.out().print(f"web page: {address}", markup=False, soft_wrap=True)
            if open_page:
                console.open_in_browser(address)

        serve_demo(settings, shown, say=console.say, ready=ready)
    elif open_page:
        console.open_in_browser(shown.page.resolve().as_uri())


def _has_company() -> bool:
    """Whether a person sits there: nobody would press Ctrl-C in a pipe or in CI."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("CI", "").lower() not in ("1", "true")
