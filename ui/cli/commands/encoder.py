"""`ecgkin encoder list` and `ecgkin encoder check`: published encoders with the user's own copy of their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecgkin.retrieval.errors import ModelError
from ecgkin.ui import console
from ecgkin.ui.cli.commands import common


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help="Published encoders, with your own copy of their weights.")
    group.command("list")(list_)
    group.command("check")(check)
    app.add_typer(group, name="encoder")


def list_(json: common.Json = False) -> None:
    """List the encoders that can be loaded, what each needs, where its weights are published, and its licence."""
    from ecgkin.retrieval.encoders.checkpoint import WEIGHTS
    from ecgkin.retrieval.encoders.published.check import list_systems

    shipped = sorted(p.name for p in WEIGHTS.glob("*") if p.is_dir())
    systems = list_systems()
    if json:
        console.emit({"shipped": [*shipped, "hashing"], "published": systems})
        return
    console.out().print(f"shipped: {', '.join(shipped)}; hashing (no weights, for tests)", markup=False)
    for one in systems:
        words = "ECGs and words" if one["text"] else "ECGs; no words"
        lines = [f"{one['key']}:{one['takes']}  {one['title']}, {one['dim']} dimensions, {words}"]
        facts = ("needs", "published_at", "licence", "trained_on", "input")
        lines += [f"  {name.replace('_', ' ')}: {one[name]}" for name in facts]
        lines.append(f"  pictures: {one['images']}")
        options = "; ".join(f"?{name}={'|'.join(values) or 'N'}" for name, values in one["options"].items())
        lines.append(f"  settings (first is the default): {options}")
        for line in lines:
            console.out().print(console.safe(line), markup=False, soft_wrap=True)


def check(
    encoder: Annotated[
        str,
        typer.Argument(
            metavar="SYSTEM:PLACE", help="merl:DIR, d-beta:DIR, ecgfounder:FILE, more:DIR.", show_default=False
        ),
    ],
    ecgs: Annotated[
        list[Path] | None,
        typer.Option("--ecg", help="ECG file to compare with others; simulated ones if none.", show_default=False),
    ] = None,
    device: common.Device = None,
    json: common.Json = False,
) -> None:
    """Say what a checkpoint is and what it needs, load it, and run what can be checked without labelled data."""
    from ecgkin.retrieval.encoders.published.check import check_encoder

    records = []
    if ecgs:
        from ecgkin.retrieval.ecg.formats.read import read_ecg

        records = [read_ecg(path) for path in ecgs]
    report = check_encoder(encoder, records=records, device=common.settings(device=device).device)
    if json:
        console.emit(report.to_dict())
    else:
        for line in report.lines():
            console.out().print(console.safe(line), markup=False, soft_wrap=True)
    if not report.ok:
        failed = ", ".join(finding.check for finding in report.findings if finding.status == "failed")
        raise ModelError(f"{encoder} cannot be used as it is: {failed}", hint="the lines above say why")
