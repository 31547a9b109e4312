"""`ecgkin cases`: list, show and remove the cases of a base."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ecgkin.ui import console
from ecgkin.ui.cli.commands import common

REPORT_SHOWN = 90  # characters of a report in the list


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="List, show and remove cases.")
    group.command("list")(list_cases)
    group.command()(show)
    group.command()(remove)
    app.add_typer(group, name="cases")


def list_cases(
    base: common.Base,
    where: Annotated[str, typer.Option(help="Only cases that a filter lets through.", show_default="all")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    offset: Annotated[int, typer.Option(min=0, help="Pass over so many first.")] = 0,
    json: common.Json = False,
) -> None:
    """List cases in the order of the base."""
    from ecgkin.index import open_base

    with open_base(base) as opened:
        total = opened.count(where or None)
        found = opened.cases(where or None, offset=offset, limit=limit)
    if json:
        console.emit({"total": total, "cases": [case.as_dict() for case in found]})
        return
    rows = [
        (
            console.safe(case.case_id),
            " ".join(filter(None, [case.sex, "" if case.age_years is None else f"{case.age_years:g}"])),
            (case.recorded_at or "")[:10],
            console.safe(" ".join(case.labels)),
            console.safe(" ".join(case.report.split())[:REPORT_SHOWN]),
        )
        for case in found
    ]
    console.table("", ("case", "who", "date", "statements", "report"), rows)
    if total > len(found):
        console.say(f"{len(found)} of {total} cases; --offset and --limit show others")


def show(
    base: common.Base,
    case_id: Annotated[str, typer.Argument(metavar="CASE", help="Case id.", show_default=False)],
    json: common.Json = False,
) -> None:
    """Show everything that a case says, and whether its samples are there."""
    from ecgkin.index import open_base

    with open_base(base) as opened:
        case = opened.get(case_id)
        record = opened.record(case_id)
    facts: dict[str, Any] = {**case.as_dict(), "samples": None}
    if record is not None:
        facts["samples"] = {"leads": list(record.leads), "fs_hz": record.fs_hz, "seconds": record.duration_s}
    if json:
        console.emit(facts)
        return
    shown = [(name, console.safe(value)) for name, value in facts.items() if value not in (None, "", {}, [])]
    console.table("", ("what", "value"), shown)


def remove(
    base: common.Base,
    case_ids: Annotated[list[str], typer.Argument(metavar="CASE...", help="Case ids.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: common.Json = False,
) -> None:
    """Remove cases; their samples, reports and vectors go with them, `ecgkin base compact` gives the space back."""
    from ecgkin.index import open_base

    with open_base(base) as opened:
        for case_id in case_ids:
            opened.get(case_id)  # a slip of the pen removes nothing
        if not yes:
            typer.confirm(f"Remove {len(case_ids)} of {len(opened)} cases from {base}?", abort=True, err=True)
        opened.remove(case_ids)
        left = len(opened)
    if json:
        console.emit({"removed": case_ids, "n_cases": left})
    else:
        console.out().print(f"{len(case_ids)} removed; {base} holds {left} cases", markup=False, soft_wrap=True)
