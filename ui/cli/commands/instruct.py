"""`ecgkin instruct`: instruction rows for models that read ECG pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecgkin.retrieval.errors import QueryError
from ecgkin.ui import console
from ecgkin.ui.cli.commands import common


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Instruction rows in ECGInstruct's layout.")
    group.command("build")(build)
    app.add_typer(group, name="instruct")


def build(
    out: Annotated[Path, typer.Argument(help="Folder for rows, data card and pages.", show_default=False)],
    ptbxl: Annotated[Path | None, typer.Option(help="PTB-XL folder. (setting: ptbxl)", show_default=False)] = None,
    encoder: common.Encoder = None,
    device: common.Device = None,
    folds: Annotated[str, typer.Option(help="Some of 1-8.")] = "1-8",
    cases: Annotated[bool, typer.Option(help="Also rows that carry retrieved cases.")] = True,
    pages: Annotated[str, typer.Option(help="none, standard or varied.")] = "none",
    measure_every: Annotated[
        int, typer.Option(help="Feature rows for every so-many-th record; 0 for none.", min=0)
    ] = 0,
    limit: Annotated[int | None, typer.Option(help="At most this many records.", show_default=False)] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder where embeddings are kept.", show_default=False)] = None,
    json: common.Json = False,
) -> None:
    """Make instruction rows from PTB-XL's training folds: feature, rhythm, morphology, report; with retrieved cases."""
    settings = common.settings(ptbxl=ptbxl, encoder=encoder, device=device)
    if settings.ptbxl is None:
        raise QueryError("there is no PTB-XL folder to build from", hint="pass --ptbxl DIR, or set ECGKIN_PTBXL")
    from ecgkin.generation.research.instruct.build import build_instructions
    from ecgkin.generation.research.retrieval.galleries import Embedder
    from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl
    from ecgkin.retrieval.encoders import load_encoder
    from ecgkin.retrieval.search.search import shipped_calibration

    data = PtbXl(settings.ptbxl, fs_hz=None)
    with console.progress("instruct") as bar:
        embedder = None
        if cases:
            chosen = load_encoder(settings.encoder, device=settings.device)
            embedder = Embedder(data, chosen, cache, lambda what, done, total: bar(done, total, what))
        result = build_instructions(
            data,
            out,
            folds=common.numbers(folds, "--folds"),
            vectors=embedder.gallery if embedder else None,
            calibration=shipped_calibration(embedder.encoder) if embedder else None,
            pages=pages,
            measure_every=measure_every,
            limit=limit,
            progress=lambda what, done, total: bar(done, total, what),
        )
    if json:
        counts = {f"{subtask}, {kind}": n for (subtask, kind), n in result.counts.items()}
        console.emit({"path": str(result.path), "rows": result.n_rows, "records": result.n_records, "counts": counts})
    else:
        rows = [(subtask, kind, n) for (subtask, kind), n in sorted(result.counts.items())]
        console.table(f"{result.path}: {result.n_rows} rows", ("subtask", "type", "rows"), rows, right=("rows",))
