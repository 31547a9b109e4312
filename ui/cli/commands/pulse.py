"""`ecgkin pulse check` and `ecgkin pulse convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecgkin.retrieval.errors import ModelError
from ecgkin.ui import console
from ecgkin.ui.cli.commands import common

Source = Annotated[
    str, typer.Argument(metavar="DIR", help="Folder of a PULSE checkpoint, or its hub id.", show_default=False)
]
Tower = Annotated[
    Path | None, typer.Option(help="Folder of the vision tower, for a checkpoint without one.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help="PULSE checkpoints in their original layout.")
    group.command("check")(check)
    group.command("convert")(convert)
    app.add_typer(group, name="pulse")


def check(
    source: Source,
    load: Annotated[bool, typer.Option("--load/--no-load", help="Load the weights and answer one question.")] = True,
    dtype: Annotated[str, typer.Option(help="auto, float32, float16, bfloat16.")] = "auto",
    tower: Tower = None,
    json: common.Json = False,
) -> None:
    """Say what a checkpoint is, what memory and how many tokens it will need, and whether it loads."""
    from ecgkin.generation.backends.pulse.check import check_checkpoint

    report = check_checkpoint(source, load=load, dtype=dtype, tower=tower)
    if json:
        console.emit(report.to_dict())
    else:
        for line in report.lines():
            console.out().print(console.safe(line), markup=False, soft_wrap=True)
    if not report.ok:
        failed = ", ".join(f.check for f in report.findings if f.status == "failed")
        raise ModelError(f"{source} cannot be used as it is: {failed}", hint="the lines above say why")


def convert(
    source: Source,
    target: Annotated[Path, typer.Argument(metavar="DST", help="New folder to write.", show_default=False)],
    tower: Tower = None,
    json: common.Json = False,
) -> None:
    """Write the Hugging Face layout that servers load, and say what a server could get wrong."""
    from ecgkin.generation.backends.pulse.convert import convert as run

    report = run(source, target, tower=tower)
    if json:
        console.emit(report.to_dict())
    else:
        for line in report.lines():
            console.out().print(console.safe(line), markup=False, soft_wrap=True)
