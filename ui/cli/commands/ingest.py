"""`ecgkin ingest ptbxl` and `ecgkin ingest folder`, de-identified if asked."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecgkin.retrieval.errors import QueryError, RecordError
from ecgkin.ui import console
from ecgkin.ui.cli.commands import common

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ecgkin.index.base import CaseBase
    from ecgkin.index.sources.items import IngestItem
    from ecgkin.retrieval.encoders.base import Encoder

Batch = Annotated[int, typer.Option(min=1, help="Records encoded and committed together.")]
Records = Annotated[bool, typer.Option("--records/--no-records", help="Keep the samples, so that hits can be drawn.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that read and encode. Many machines: `ecgkin base fill`.")]
NAMES_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Fill a case base. What is there already is passed over.")
    group.command("ptbxl")(ptbxl)
    group.command("folder")(folder)
    app.add_typer(group, name="ingest")


def ptbxl(
    root: Annotated[Path, typer.Argument(metavar="DIR", help="PTB-XL folder.", show_default=False)],
    base: common.BaseOption,
    folds: Annotated[str | None, typer.Option(help="Only these folds: 1 2 3, or 1-8.", show_default="all")] = None,
    batch: Batch = 64,
    records: Records = True,
    workers: Workers = 1,
    encoder: common.Encoder = None,
    device: common.Device = None,
    json: common.Json = False,
) -> None:
    """Ingest a PTB-XL folder in its official layout; goes on where an earlier call was stopped."""
    from ecgkin.index.sources.ptbxl import ptbxl_items

    items = ptbxl_items(root, common.numbers(folds, "--folds") if folds is not None else None)
    _ingest(items, base, encoder, device, batch, records, workers, json)


def folder(
    root: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Folder, ZIP or DICOMDIR of ECG files and pictures.", show_default=False),
    ],
    base: common.BaseOption,
    table: Annotated[
        Path | None,
        typer.Option(
            help="CSV: file, case_id, patient_id, source, age, sex, report, labels, date, fs.",
            show_default="DIR/cases.csv",
        ),
    ] = None,
    fs: Annotated[
        float | None, typer.Option(min=1e-3, help="Samples a second of recordings that do not say.", show_default=False)
    ] = None,
    batch: Batch = 64,
    records: Records = True,
    workers: Workers = 1,
    deidentify: common.Deidentify = False,
    key_file: common.KeyFile = None,
    encoder: common.Encoder = None,
    device: common.Device = None,
    json: common.Json = False,
) -> None:
    """Ingest any mix of recordings, PDF documents and pictures; what cannot be read is reported, the rest goes on.

    Patient, date and report come from the table, or else from the headers of the files.
    """
    from ecgkin.index.sources.folder import items_of

    items = items_of(root, table, fs)
    if deidentify:
        from ecgkin.index.ingest.deidentify import deidentified, read_key

        items = deidentified(items, read_key(key_file or common.settings().home / "deidentify.key"))
    elif key_file is not None:
        raise QueryError("--key-file is given without --deidentify", hint="add --deidentify")
    _ingest(items, base, encoder, device, batch, records, workers, json)


@contextmanager
def _filled(base: Path, encoder: Encoder) -> Iterator[CaseBase]:
    """The case base, made where it is missing; one that was made and stayed empty is taken away again."""
    from ecgkin.index import base_exists, is_milvus
    from ecgkin.index.ingest.pipeline import open_or_create

    stood, folder = base_exists(base), base.is_dir()
    empty = False
    try:
        with open_or_create(base, encoder) as opened:
            try:
                yield opened
            finally:
                empty = len(opened) == 0
    finally:
        if empty and not stood and not is_milvus(base):
            shutil.rmtree(base)
            if folder:  # an empty folder was there before
                base.mkdir()


def _ingest(
    items: Sequence[IngestItem],
    base: Path,
    encoder_name: str | None,
    device: str | None,
    batch: int,
    records: bool,
    workers: int,
    json: bool,
) -> None:
    """Ingest, report on stdout; the status is that of RecordError where a file could not be read."""
    from ecgkin.index.ingest.pipeline import ingest_records
    from ecgkin.retrieval.encoders import load_encoder
    from ecgkin.retrieval.graphs import expect_many

    if not items:
        raise RecordError("there is no file to ingest", hint="is it the right folder?")
    settings = common.settings(encoder=encoder_name, device=device)
    expect_many(len(items))
    console.say(f"{len(items)} ECGs to look at; loading encoder {settings.encoder}")
    encoder = load_encoder(settings.encoder, device=settings.device)
    with _filled(base, encoder) as opened:
        try:
            with console.progress("ingest") as moved:
                report = ingest_records(
                    opened,
                    items,
                    encoder,
                    batch=batch,
                    keep_records=records,
                    progress=lambda now: moved(now.n_seen, len(items)),
                    workers=workers,
                )
        except KeyboardInterrupt:
            if kept := len(opened):
                console.say(f"kept: {kept} cases in {base}; the same command goes on from there")
            else:
                console.say("nothing was kept")
            raise
        n_cases = len(opened)
    for what, found in (("not read", report.failed), ("note", report.notes)):
        for name, words in found[:NAMES_SHOWN]:
            console.say(f"{what}: {console.named(name, words)}")
        if len(found) > NAMES_SHOWN:
            console.say(f"... and {len(found) - NAMES_SHOWN} more ({what}); --json names all")
    if json:
        console.emit({**vars(report), "n_cases": n_cases, "base": base})
    else:
        counts = f"{report.added} added, {report.updated} updated, {report.skipped} there already"
        rest = f"{len(report.duplicates)} duplicates, {len(report.failed)} not read"
        console.out().print(f"{counts}, {rest}; {base} holds {n_cases} cases", markup=False, soft_wrap=True)
    if report.failed and not (report.added or report.updated or report.skipped or report.duplicates):
        raise RecordError(f"none of the {len(items)} files could be read", hint="the lines above say why")
    if report.failed:
        raise RecordError(f"{len(report.failed)} of {len(items)} files could not be read", hint="the others are in")
