"""`ecgkin export`: cases of a base as WFDB, DICOM, EDF, CSV or FHIR files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecgkin.retrieval.errors import CaseBaseError, QueryError, why
from ecgkin.ui import console
from ecgkin.ui.cli.commands import common

if TYPE_CHECKING:
    from ecgkin.index.case import Case


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    base: common.Base,
    out: Annotated[Path, typer.Option("--out", help="Folder for the files; made where it is missing.")],
    form: Annotated[str, typer.Option("--format", help="wfdb, dicom, edf, csv or fhir.")] = "wfdb",
    where: Annotated[str, typer.Option(help="Only cases that a filter lets through.", show_default="all")] = "",
    case: Annotated[list[str] | None, typer.Option(help="Only this case id; may be given again.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many cases.", show_default="all")] = None,
    json: common.Json = False,
) -> None:
    """Write cases with their samples as files that other programs read; cases without samples are named.

    `cases.csv` beside them says what the files cannot hold: `ecgkin ingest folder` reads both back (all but fhir).
    """
    from ecgkin.index import open_base
    from ecgkin.index.base import check_all_known
    from ecgkin.index.filters import Where
    from ecgkin.index.sources.case_table import write_table

    write = common.writer_of(form)
    filter_ = Where.parse(where) if where else None
    written: list[str] = []
    told: dict[str, Case] = {}
    without: list[str] = []
    with open_base(base) as opened, console.progress("export") as moved:
        if case:
            check_all_known(case, {case_id: 0 for case_id in case if opened.count({"case": case_id})})
        wanted = [opened.get(case_id) for case_id in case] if case else opened.cases(filter_, limit=limit)
        try:
            out.mkdir(parents=True, exist_ok=True)
            for found in wanted:
                record = opened.record(found.case_id)
                if record is None:
                    without.append(found.case_id)
                else:
                    file = write(out, found, record)
                    written.append(str(file))
                    told[file.relative_to(out).as_posix()] = found
                moved(len(written) + len(without), len(wanted))
            if told:
                write_table(out, told)
        except OSError as error:
            raise QueryError(f"{out} cannot be written: {why(error)}", hint="is it a folder of yours?") from error
    for case_id in without[:20]:
        console.say(f"no samples: {case_id}")
    if json:
        console.emit({"written": written, "without_samples": without, "format": form})
    else:
        console.out().print(f"{len(written)} cases as {form} in {out}, {len(without)} without samples", markup=False)
    if wanted and not written:
        raise CaseBaseError("no case of the selection has its samples in the base", hint="ingest with --records")
