"""`ecgkin download`."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from ecgkin.retrieval.errors import QueryError
from ecgkin.ui import console
from ecgkin.ui.cli.commands import common


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Fetch open data, or ECGs of an archive.")
    group.command("ptbxl")(ptbxl)
    group.command("dicomweb")(dicomweb)
    app.add_typer(group, name="download")


def ptbxl(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to.", show_default=False)],
    records: Annotated[
        int | None,
        typer.Option(help="Records, covering every statement. (setting: demo_cases, 1500)", show_default=False),
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Address of the official layout. (setting: physionet_url)", show_default=False)
    ] = None,
    workers: Annotated[int, typer.Option(help="Files fetched at the same time.")] = 4,
    json: common.Json = False,
) -> None:
    """Fetch part of PTB-XL from PhysioNet; goes on where an earlier call was stopped, and checks every file."""
    from ecgkin.ui.download.ptbxl import download_ptbxl

    settings = common.settings(demo_cases=records, physionet_url=url)
    with console.progress("download") as moved:
        report = download_ptbxl(
            folder,
            base_url=settings.physionet_url,
            records=settings.demo_cases,
            timeout_s=settings.download_timeout_s,
            workers=workers,
            progress=moved,
        )
    if json:
        console.emit(report)
        return
    megabytes = report.n_bytes / 1e6
    console.out().print(
        f"{report.records} records with {len(report.statements)} statements in {report.dest}; "
        f"{report.fetched} files fetched ({megabytes:.1f} MB), {report.skipped} were there, {report.seconds:.0f} s",
        markup=False,
        soft_wrap=True,
    )


def dicomweb(
    url: Annotated[str, typer.Argument(metavar="URL", help="Of a DICOMweb service.", show_default=False)],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to.", show_default=False)],
    since: Annotated[str | None, typer.Option(help="First study date: 2026-01-31.", show_default=False)] = None,
    until: Annotated[str | None, typer.Option(help="Last study date.", show_default=False)] = None,
    study: Annotated[str | None, typer.Option(help="This study alone.", show_default=False)] = None,
    json: common.Json = False,
) -> None:
    """Fetch ECG objects from an archive over DICOMweb; what is there already is passed over.

    A bearer token is taken from ECGKIN_DICOMWEB_TOKEN.
    """
    from ecgkin.ui.download.dicomweb import pull

    with console.progress("dicomweb") as moved:
        done = pull(
            url,
            folder,
            since=_day(since, "--since"),
            until=_day(until, "--until"),
            study=study,
            token=os.environ.get("ECGKIN_DICOMWEB_TOKEN"),
            moved=moved,
        )
    for name, reason in done.failed[:20]:
        console.say(f"not fetched: {name}: {reason}")
    if json:
        console.emit({"folder": folder, "fetched": done.fetched, "skipped": done.skipped, "failed": len(done.failed)})
    else:
        words = f"{done.fetched} objects fetched, {done.skipped} were there, {len(done.failed)} failed; {folder}"
        console.out().print(words, markup=False, soft_wrap=True)
    if done.failed:
        raise typer.Exit(5)


def _day(text: str | None, option: str) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise QueryError(f"{option} is {text!r} (expected one like 2026-01-31)") from None
