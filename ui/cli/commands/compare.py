"""`ecgkin compare`: two ECGs of one person, value by value."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ecgkin.retrieval.errors import ImageError, QueryError, why
from ecgkin.ui import console
from ecgkin.ui.cli.commands import common

if TYPE_CHECKING:
    from ecgkin.index.base import CaseBase
    from ecgkin.retrieval.ecg.record import EcgRecord


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(compare)


def compare(
    earlier: Annotated[str, typer.Argument(metavar="A", help="The earlier ECG: a file, or with --base a case id.")],
    later: Annotated[str, typer.Argument(metavar="B", help="The later one, likewise.")],
    base: Annotated[Path | None, typer.Option(help="Case base that holds A or B.", show_default=False)] = None,
    lang: Annotated[Literal["en", "de"], typer.Option(help="Language of the words.")] = "en",
    overlay: Annotated[
        Path | None, typer.Option(help="Write the median beats, laid over each other, as this SVG.", show_default=False)
    ] = None,
    json: common.Json = False,
) -> None:
    """Say what has changed from one ECG of a person to the next, and which changes exceed repeatability."""
    from ecgkin.generation.serial import compare_records
    from ecgkin.index import open_base

    held = None if base is None else open_base(base)
    try:
        before, date = _record(earlier, held)
        after, _ = _record(later, held)
    finally:
        if held is not None:
            held.close()
    done = compare_records(before, after, name=earlier, recorded_at=date, language=lang)
    if overlay is not None:
        from ecgkin.ui.serial.beats import beats_svg

        try:
            overlay.write_text(beats_svg(done), encoding="utf-8")
        except OSError as error:
            raise QueryError(f"{overlay} cannot be written: {why(error)}") from error
    if json:
        console.emit(done)
    else:
        common.show_serial(done, lang)


def _record(name: str, base: CaseBase | None) -> tuple[EcgRecord, str | None]:
    """The samples that a name means and when they were recorded: of a case, of a recording, or off a picture."""
    from ecgkin.generation.prompt.pages import page_of
    from ecgkin.generation.serial import record_of

    if base is not None and name in base:
        record = base.record(name)
        if record is None:
            raise QueryError(f"the samples of {name} are not kept in the base", hint="name its file instead")
        return record, base.get(name).recorded_at
    if not Path(name).exists():
        known = "neither a file nor a case of the base" if base is not None else "no such file"
        raise QueryError(f"{name[:200]!r}: {known}", hint="" if base is not None else "for case ids name the --base")
    record = record_of(page_of(name))
    if record is None:
        raise ImageError(f"no signals could be read off {name}", hint="a scan at 200 dpi or more reads best")
    return record, None
