"""`ecgkin download ptbxl`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecgkin.ui import console
from ecgkin.ui.cli.commands import common


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Fetch open data.")
    group.command("ptbxl")(ptbxl)
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
