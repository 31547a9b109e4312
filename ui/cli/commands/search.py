"""`ecgkin search`, `ecgkin render`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecgkin.retrieval.errors import QueryError, why
from ecgkin.ui import console
from ecgkin.ui.cli.commands import common, query_options

if TYPE_CHECKING:
    from PIL import Image
    from typing_extensions import TypeIs

    from ecgkin.generation.types.serial import Serial
    from ecgkin.retrieval.ecg.drawing.style import RenderStyle
    from ecgkin.retrieval.ecg.record import EcgRecord
    from ecgkin.retrieval.search.search import CaseSearch, SearchResult
    from ecgkin.ui.settings import Settings

REPORT_WIDTH = 300
SHOWN_STATEMENTS = 8


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(search)
    app.command()(render)


def search(
    base: common.Base,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Recording or picture of an ECG.", show_default=False)
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", "-t", help='Words: "LBBB", "Vorhofflimmern", a sentence. With FILE: both.')
    ] = None,
    k: Annotated[int | None, typer.Option("-k", help="Hits. (setting: k, 10)", show_default=False)] = None,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", "-w", help='Filter: "age>=60 and sex=F and not label:PACE". Several must all hold.'),
    ] = None,
    exclude_patient: Annotated[str | None, typer.Option(help="Leave out the cases of this patient.")] = None,
    previous: common.Previous = None,
    weight: Annotated[float, typer.Option(help="With FILE and --text: share of the ECG, 0 to 1.")] = 0.5,
    raw: Annotated[
        bool, typer.Option("--raw", help="With --text: only embed the words, do not understand them.")
    ] = False,
    kind: query_options.As = "auto",
    start: query_options.Start = None,
    page: query_options.Page = None,
    fs: query_options.Fs = None,
    units: query_options.InUnits = None,
    encoder: common.Encoder = None,
    witness: common.Witness = None,
    device: common.Device = None,
    calibration: Annotated[Path | None, typer.Option(help="Calibration file; without: the encoder's own.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Print whole reports.")] = False,
    json: common.Json = False,
) -> None:
    """Find the most similar cases to an ECG, to words, or to both together."""
    if file is None and text is None:
        raise QueryError("nothing to search for", hint='give a FILE, or words: ecgkin search BASE --text "LBBB"')
    from ecgkin.retrieval.search.search import MAX_K

    if k is not None and not 1 <= k <= MAX_K:
        raise QueryError(f"-k is {k} (expected 1 to {MAX_K})")
    settings = common.settings(k=k, encoder=encoder, witness=witness, device=device)
    where = [part for part in where or () if part.strip()]
    condition = " and ".join(f"({part})" for part in where) if where else None
    if condition is not None:
        from ecgkin.index.filters import Where

        for part in where:
            Where.parse(part)  # so that a mistake is shown in what was typed, before models are loaded
    query = query_options.query_of(file, kind, fs, units, start, page) if file is not None else None
    result: SearchResult
    serial: Serial | None = None
    if previous is not None and query is None:
        raise QueryError("--previous needs an ECG to compare with", hint="give a FILE")
    with open_search(base, settings, encoder, calibration) as engine:
        if previous is not None:
            from ecgkin.generation.serial import patient_of

            exclude_patient = exclude_patient or patient_of(engine.base, previous)
        if query is None:
            result = engine.by_text(text or "", settings.k, condition, exclude_patient, raw=raw)
        elif text is not None:
            result = engine.by_both(query, text, settings.k, condition, exclude_patient, weight=weight, raw=raw)
        elif is_record(query):
            result = engine.by_ecg(query, settings.k, condition, exclude_patient)
        else:
            result = engine.by_image(query, settings.k, condition, exclude_patient)
        if query is not None:
            from ecgkin.generation.consensus.thresholds import shipped_thresholds
            from ecgkin.generation.drafter import weighed
            from ecgkin.generation.prompt.pages import page_of
            from ecgkin.generation.serial import compare_with_earlier

            # What the search read off a picture is what is measured and compared.
            read = result.printed or page_of(query)
            if text is None:
                result = weighed(result, read, shipped_thresholds(engine.encoder))
            if previous is not None:
                serial = compare_with_earlier(engine.base, read, previous)
    if json:
        console.emit(result_json(result, serial))
        _say_notes(result)
        return
    if serial is not None:
        common.show_serial(serial, "en")
    show_result(result, full=full)


def open_search(base: Path, settings: Settings, encoder: str | None, calibration: Path | None = None) -> CaseSearch:
    """The search over a base, with the encoder it names unless another is given, and the witness of the settings."""
    from ecgkin.retrieval.search.search import CaseSearch

    loaded = None
    if encoder is not None:
        from ecgkin.retrieval.encoders import load_encoder

        loaded = load_encoder(encoder, device=settings.device)
    return CaseSearch.open(
        base, loaded, device=settings.device, calibration=calibration, witness=common.witness_of(settings)
    )


def is_record(query: EcgRecord | Image.Image | Path) -> TypeIs[EcgRecord]:
    """Whether a query is a recording."""
    from ecgkin.retrieval.ecg.record import EcgRecord

    return isinstance(query, EcgRecord)


def result_json(result: SearchResult, serial: Serial | None = None) -> dict[str, Any]:
    """A search result as the API answers it (`ecgkin.ui.api.answers.SearchOut`); no server keeps it: no query_id."""
    from ecgkin.ui.api.answers import SearchOut, SerialOut

    previous = None if serial is None else SerialOut.of(serial)
    return SearchOut.of(result).model_copy(update={"previous": previous}).model_dump(mode="json")


def show_result(result: SearchResult, *, full: bool = False, title: str = "") -> None:
    """Print hits and vote as tables; warnings go to stderr."""
    from ecgkin.ui.demo.html_page import person

    rows = []
    for hit in result.hits:
        case = hit.case
        report = " ".join(case.report.split())
        if not full and len(report) > REPORT_WIDTH:
            report = report[:REPORT_WIDTH].rsplit(" ", 1)[0] + " ..."
        who = person(case.age_years, case.sex).replace(" years", "").replace("female", "F").replace("male", "M")
        rows.append((hit.rank, f"{hit.score:.3f}", case.case_id, who, " ".join(case.labels), report))
    if result.understood is not None:
        from ecgkin.retrieval.search.words.shown import shown

        console.out().print(f"understood: {shown(result.understood)}", markup=False)
    console.table(title, ("#", "score", "case", "who", "statements", "report"), rows, right=("#", "score"))
    vote = result.vote
    what = "probability" if vote.calibrated else "share of the neighbours"
    top = vote.top(SHOWN_STATEMENTS, 0.02)
    if top:
        line = "  ".join(f"{code} {100 * share:.0f} %" for code, share in top)
        console.out().print(f"{what}, {vote.n_neighbours} neighbours:  {line}", markup=False)
    show_testimony(result)
    _say_notes(result)


def show_testimony(result: SearchResult) -> None:
    """Print what another classifier says, in a line; nothing where none was asked."""
    for name, said in result.testimony.items():
        most = sorted(said.items(), key=lambda item: -item[1])[:SHOWN_STATEMENTS]
        line = "  ".join(f"{code} {100 * p:.0f} %" for code, p in most if p >= 0.02) or "nothing from 2 %"
        console.out().print(f"{name} says, not fitted to these cases:  {line}", markup=False)


def _say_notes(result: SearchResult) -> None:
    for warning in (*result.warnings, *([result.vote.note] if result.vote.note else [])):
        console.say(f"note: {warning}")


def render(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Recording.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Picture to write: .png, .jpg, .webp, .tif, .pdf or .svg.")
    ],
    layout: Annotated[str, typer.Option(help="3x4, 3x4+1R, 3x4+3R, 6x2 or 12x1.")] = "3x4+1R",
    order: Annotated[str, typer.Option(help="standard or cabrera.")] = "standard",
    speed: Annotated[float, typer.Option(help="Paper speed, mm/s.")] = 25.0,
    gain: Annotated[float, typer.Option(help="Gain, mm/mV.")] = 10.0,
    px_per_mm: Annotated[float | None, typer.Option(help="Resolution; without: 200 dpi.", show_default=False)] = None,
    width: Annotated[int | None, typer.Option(help="Page width, px.", show_default=False)] = None,
    height: Annotated[int | None, typer.Option(help="Page height, px.", show_default=False)] = None,
    grid: Annotated[str, typer.Option(help="pink, red, blue, green, grey or none.")] = "pink",
    start: Annotated[float, typer.Option(help="Where in the recording the page begins, s.")] = 0.0,
    header: Annotated[str, typer.Option(help="Text at the top left.")] = "",
    fs: query_options.Fs = None,
    units: query_options.InUnits = None,
    json: common.Json = False,
) -> None:
    """Draw a recording as a page of ECG paper."""
    from ecgkin.retrieval.ecg.drawing.style import RenderStyle
    from ecgkin.retrieval.ecg.formats.read import read_ecg

    style = RenderStyle(
        layout=layout,
        order=order,
        speed_mm_s=speed,
        gain_mm_mv=gain,
        px_per_mm=px_per_mm,
        width_px=width,
        height_px=height,
        grid=grid,
        start_s=start,
        header_text=header,
    )
    writable = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".pdf", ".svg"}
    if output.suffix.lower() not in writable:
        raise QueryError(f"{output} ends in {output.suffix!r} (expected one of {', '.join(sorted(writable))})")
    record = read_ecg(file, fs_hz=fs, units=units)
    notes = (*record.notes, *_page_notes(record, style))
    size = _write_page(record, style, output)
    for note in notes:
        console.say(f"note: {note}")
    if json:
        console.emit(
            {
                "output": output,
                "size_px": size,
                "fs_hz": record.fs_hz,
                "seconds": record.duration_s,
                "missing_leads": record.missing_leads,
                "notes": notes,
            }
        )
    else:
        console.out().print(str(output), markup=False, soft_wrap=True)


def _page_notes(record: EcgRecord, style: RenderStyle) -> list[str]:
    """What of a record the page does not show, and what of the page stays blank."""
    total, start, end = record.duration_s, style.start_s, style.start_s + style.window_s
    if start >= total:
        raise QueryError(f"--start is {start:g} s (the record lasts {total:g} s)", hint="choose less")
    if start > 0 or total > end + 0.5:
        return [f"the record lasts {total:g} s: seconds {start:g} to {min(end, total):g} are drawn"]
    return [f"the record lasts {total:g} s: the rest of the page stays blank"] if total < end - 0.5 else []


def _write_page(record: EcgRecord, style: RenderStyle, output: Path) -> tuple[int, int] | None:
    """Write the picture; its size in px, None for SVG."""
    try:
        if output.suffix.lower() == ".svg":
            from ecgkin.retrieval.ecg.drawing.svg import render_svg

            output.write_text(render_svg(record, style), encoding="utf-8")
            return None
        from ecgkin.retrieval.ecg.drawing.raster import render as draw

        page = draw(record, style)
        page.save(output)
        return page.size
    except OSError as error:
        hint = "" if output.parent.is_dir() else f"make the folder {output.parent} first"
        raise QueryError(f"{output} cannot be written: {why(error)}", hint=hint) from None
