"""`ecgkin info`, `ecgkin base`: copy, snapshot, restore, reencode, switch, compact, fill; in folders and on Milvus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecgkin.ui import console
from ecgkin.ui.cli.commands import common

if TYPE_CHECKING:
    from ecgkin.index.transfer.copy import CopyReport

# A text, not a path: pathlib would swallow a slash of milvus://.
Source = Annotated[str, typer.Argument(metavar="SRC", help="Folder or milvus:// address.", show_default=False)]
Target = Annotated[str, typer.Argument(metavar="DST", help="Folder or milvus:// address.", show_default=False)]
Kind = Annotated[str, typer.Option(help="Kind of index of a target that is made; auto chooses by size.")]
Mirror = Annotated[bool, typer.Option("--mirror", help="Remove from DST what SRC does not hold.")]
Batch = Annotated[int, typer.Option(min=1, help="Cases read and written together.")]
INFO_ROWS = 20  # of each table


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Move, back up and change case bases, in folders and on Milvus.")
    for command in (copy, reencode, snapshot, restore, switch, compact, manifest, fill):
        group.command()(command)
    app.add_typer(group, name="base")
    app.command()(info)


def info(
    base: common.Base,
    verify: Annotated[bool, typer.Option("--verify", help="Read every file in full and compare.")] = False,
    json: common.Json = False,
) -> None:
    """Say what a case base holds, having checked that its files belong together."""
    from ecgkin.index import open_base

    with open_base(base) as opened:
        if verify:
            opened.verify()
        facts = opened.info()
    if json:
        console.emit({**facts, "verified": verify})
        return
    single = [(name, value) for name, value in facts.items() if not isinstance(value, dict)]
    console.table("", ("what", "value"), single)
    for name, counts in facts.items():
        if isinstance(counts, dict) and counts:
            shown = list(counts.items())[:INFO_ROWS]
            rest = [("...", f"{len(counts) - len(shown)} more, see --json")] if len(counts) > len(shown) else []
            console.table("", (name, "number"), [*shown, *rest], right=("number",))


def copy(
    source: Source,
    target: Target,
    kind: Kind = "auto",
    mirror: Mirror = False,
    batch: Batch = 500,
    json: common.Json = False,
) -> None:
    """Copy SRC to DST and prove it by checksums; goes on where an earlier call was stopped."""
    from ecgkin.index import open_base
    from ecgkin.index.transfer.copy import copy_base

    common.settings()
    with open_base(source) as base, console.progress("copy") as moved:
        report = copy_base(
            base, target, kind=kind, mirror=mirror, batch=batch,
            progress=lambda turn, done, total: moved(done, total, f"copy, pass {turn}"),
        )  # fmt: skip
    _say(report, target, json)


def reencode(
    source: Source,
    target: Target,
    kind: Kind = "auto",
    batch: Batch = 64,
    encoder: common.Encoder = None,
    device: common.Device = None,
    json: common.Json = False,
) -> None:
    """Copy SRC to DST with new vectors, while SRC goes on answering; `ecgkin base switch` puts DST in its place."""
    from ecgkin.index import open_base
    from ecgkin.index.transfer.copy import copy_base
    from ecgkin.retrieval.encoders import load_encoder
    from ecgkin.retrieval.graphs import expect_many

    settings = common.settings(encoder=encoder, device=device)
    expect_many()
    loaded = load_encoder(settings.encoder, device=settings.device)
    with open_base(source) as base, console.progress("encode") as moved:
        report = copy_base(
            base, target, kind=kind, encoder=loaded, batch=batch,
            progress=lambda turn, done, total: moved(done, total, f"encode, pass {turn}"),
        )  # fmt: skip
    _say(report, target, json)


def snapshot(
    source: Source,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the snapshot goes.", show_default=False)],
    json: common.Json = False,
) -> None:
    """Back up SRC as it is at one moment, also while others write to it."""
    from ecgkin.index.transfer.backup import take_snapshot

    common.settings()
    found = take_snapshot(source, folder)
    if json:
        console.emit(found.model_dump())
    else:
        _line(f"{found.n_cases} cases, checksum {found.digest}: {folder}")


def restore(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A snapshot.", show_default=False)],
    target: Target,
    json: common.Json = False,
) -> None:
    """Make a base from a snapshot whose checksums fit, and read it back."""
    from ecgkin.index.transfer.backup import restore_snapshot

    common.settings()
    found = restore_snapshot(folder, target)
    if json:
        console.emit({**vars(found), "target": target})
    else:
        _line(f"{found.n_cases} cases, checksum {found.digest}: {target}")


def switch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Link or alias that is searched.", show_default=False)],
    target: Target,
) -> None:
    """Let NAME mean DST from now on, in one step; bases that are open stay what they are."""
    from ecgkin.index.transfer.switching import meant_by
    from ecgkin.index.transfer.switching import switch as switch_name

    common.settings()
    switch_name(name, target)
    _line(f"{name} means {meant_by(name)}")


def compact(base: Source) -> None:
    """Shrink files and build the index that suits the size; on Milvus, searches wait while the index changes."""
    from ecgkin.index import open_base

    common.settings()
    with open_base(base) as opened:
        opened.compact()
        facts = opened.info()
    _line(f"{facts['n_cases']} cases, index {facts['index_kind']}")


def manifest(
    source: Annotated[str, typer.Argument(metavar="KIND", help="ptbxl or folder.", show_default=False)],
    root: Annotated[Path, typer.Argument(metavar="DIR", help="Its folder, on every machine.", show_default=False)],
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Where the manifest goes.", show_default=False)],
) -> None:
    """List records with hashes of their content, for `ecgkin base fill`."""
    from ecgkin.index.ingest.ray import write_manifest

    common.settings()
    _line(f"{len(write_manifest(source, root, path).content)} cases: {path}")


def fill(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Manifest of cases.", show_default=False)],
    target: Target,
    ray: Annotated[str | None, typer.Option(help="Head of a cluster: host:port, auto.", show_default="here")] = None,
    records: Annotated[bool, typer.Option("--records/--no-records", help="Keep the samples.")] = True,
    encoder: common.Encoder = None,
    json: common.Json = False,
) -> None:
    """Ingest the cases of a manifest on a Ray cluster; goes on where an earlier call was stopped."""
    from ecgkin.index.ingest.ray import ray_ingest

    settings = common.settings(encoder=encoder)
    with console.progress("ingest") as moved:
        report = ray_ingest(
            path, target, settings.encoder, address=ray, keep_records=records, progress=lambda now: moved(now.n_seen)
        )
    for name, reason in report.failed:
        console.say(f"not read: {name}: {reason}")
    if json:
        console.emit({**vars(report), "target": target})
        return
    counts = f"{report.added} added, {report.updated} updated, {report.skipped} there already"
    _line(f"{counts}, {len(report.duplicates)} duplicates, {len(report.failed)} not read: {target}")


def _say(report: CopyReport, target: str, json: bool) -> None:
    if json:
        console.emit({**vars(report), "target": target})
        return
    changed = f"{report.added} added, {report.updated} updated, {report.removed} removed in {report.passes} passes"
    _line(f"{changed}; {target} holds {report.n_cases} cases, checksum {report.digest}")


def _line(text: str) -> None:
    console.out().print(console.safe(text), markup=False, soft_wrap=True)
