"""`ecgkin digitize`: the signals of printed ECGs, as files that other programs read."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecgkin.retrieval.errors import InputError, QueryError, why
from ecgkin.ui import console
from ecgkin.ui.cli.commands import common

if TYPE_CHECKING:
    from ecgkin.retrieval.ecg.page.corrections import Corrections
    from ecgkin.retrieval.ecg.page.digitized import Digitized

TABLE = "digitized.csv"
COLUMNS = (
    "file", "content", "output", "layout", "leads", "speed_mm_s", "gain_mm_mv", "seconds", "einthoven_db",
    "least_confidence", "notes", "error",
)  # fmt: skip
SIGNALS = ("wfdb", "csv", "dicom", "edf")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("digitize")(digitize)


def digitize(
    files: Annotated[list[Path], typer.Argument(help="Pictures of ECG pages, or folders of them.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the signals; made where it is missing.")],
    form: Annotated[str, typer.Option("--format", help="wfdb, csv, dicom or edf.")] = "wfdb",
    check: Annotated[
        Path | None, typer.Option(help="Picture (one file) or folder for the curves drawn over the page.")
    ] = None,
    layout: Annotated[str | None, typer.Option(help="Put right: 3x4, 3x4+1R, 6x2 ...", show_default=False)] = None,
    swap: Annotated[list[str] | None, typer.Option(help="Put right: leads that are swapped, V1=V2.")] = None,
    speed: Annotated[float | None, typer.Option(help="Put right: paper speed, mm/s.", show_default=False)] = None,
    gain: Annotated[float | None, typer.Option(help="Put right: gain, mm/mV.", show_default=False)] = None,
    corners: Annotated[
        str | None,
        typer.Option(
            help="Of the part to read, px: x,y of top left, top right, bottom right, bottom left.", show_default=False
        ),
    ] = None,
    json: common.Json = False,
) -> None:
    """Read the signals off pictures of ECG pages: 500 Hz, mV, a lead missing where the page does not show it.

    OUT/digitized.csv says of each picture what was understood, or why it could not be read; pictures that stand there
    already are passed over, so that a run which was stopped goes on. Each page of a TIFF or PDF document counts. The
    status is 2 where a picture could not be read.
    """
    if form not in SIGNALS:
        raise QueryError(f"format is {form!r} (expected {', '.join(SIGNALS)})")
    put_right = _corrections(layout, swap or [], speed, gain, corners)
    pictures = [(picture, page) for picture in _pictures(files) for page in _pages(picture)]
    single = check is not None and len(pictures) == 1 and check.suffix.lower() in (".png", ".jpg", ".jpeg")
    if check is not None and not single and check.suffix:
        raise QueryError(
            f"--check is {check} for {len(pictures)} pictures (expected a folder)", hint="name a .png for one picture"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        before = _rows(out / TABLE)
        there = {row["file"]: row for row in before if row["output"] and (out / row["output"]).exists()}
        named = {str(picture) if page is None else f"{picture}#{page}" for picture, page in pictures}
        others = [row for row in before if row["file"] not in named]
        kept: list[dict[str, Any]] = []  # what the table says: signals that are there stay named
        rows: list[dict[str, Any]] = []
        with console.progress("digitize") as moved:
            for number, (picture, page) in enumerate(pictures, 1):
                salt = repr(put_right).encode() if put_right else b""
                content = hashlib.blake2b(picture.read_bytes() + salt, digest_size=8).hexdigest()
                name = str(picture) if page is None else f"{picture}#{page}"
                earlier = there.get(name)
                row = earlier
                if row is None or row["content"] != content:
                    row = {"file": name, "content": content}
                    stem = picture.stem if page is None else f"{picture.stem}-{page}"
                    drawn = check if check is None or single else check / f"{stem}.png"
                    row |= _one(picture, page, out, form, drawn, put_right)
                rows.append(row)
                kept.append(earlier if earlier is not None and row.get("error") else row)
                _write(out / TABLE, [*others, *kept])
                moved(number, len(pictures), picture.name)
    except OSError as error:
        raise QueryError(f"{error.filename or out} cannot be read or written: {why(error)}") from error
    if json:
        console.emit(rows)
    else:
        shown = ("file", "layout", "seconds", "speed_mm_s", "gain_mm_mv", "einthoven_db", "error")
        console.table("", shown, [[Path(r["file"]).name, *(r.get(c, "") for c in shown[1:])] for r in rows])
    failed = [row for row in rows if row.get("error")]
    for row in failed[:20]:
        console.say(f"not read: {console.named(row['file'], row['error'])}")
    if len(failed) == len(rows):
        raise InputError("no picture could be read", hint=f"{out / TABLE} says why")
    if failed:
        raise InputError(f"{len(failed)} of {len(rows)} pictures could not be read", hint="the others are done")


def _corrections(
    layout: str | None, swaps: list[str], speed: float | None, gain: float | None, corners: str | None
) -> Corrections:
    """What the options put right.

    Raises:
        QueryError: One cannot be.
    """
    from ecgkin.retrieval.ecg.leads import canonical_lead
    from ecgkin.retrieval.ecg.page.corrections import Corrections

    leads: dict[str, str] = {}
    for pair in swaps:
        one, equals, other = pair.partition("=")
        first, second = canonical_lead(one.strip()) or one, canonical_lead(other.strip()) or other
        if not equals or first in leads or second in leads:
            raise QueryError(f"--swap is {pair!r} (expected two leads such as V1=V2, each named once)")
        leads |= {first: second, second: first}
    quad = None
    if corners is not None:
        try:
            numbers = [float(text) for text in corners.replace(",", " ").split()]
        except ValueError:
            numbers = []
        if len(numbers) != 8:
            raise QueryError(f"--corners is {corners!r:.60} (expected eight numbers: x,y of four corners)")
        quad = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    return Corrections(layout, leads, speed, gain, quad)


def _pages(picture: Path) -> list[int | None]:
    """Numbers of the pages of a document; None for a file of one."""
    from ecgkin.retrieval.ecg.formats.pictures import page_count_of
    from ecgkin.retrieval.ecg.formats.tried import check_file

    try:
        check_file(picture, 0)
        count = page_count_of(picture)
    except InputError:  # said when it is read
        count = 1
    return [None] if count == 1 else list(range(1, count + 1))


def _pictures(files: list[Path]) -> Iterator[Path]:
    """The files themselves, and the pictures below folders."""
    from ecgkin.retrieval.ecg.kinds import PICTURE_SUFFIXES

    for path in files:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file())
            if not found:
                raise InputError(f"{path} holds no picture (expected {', '.join(PICTURE_SUFFIXES)})")
            yield from found
        elif path.is_file():
            yield path
        else:
            raise InputError(f"no file {path}", hint="is the path right?")


def _one(
    picture: Path, page: int | None, out: Path, form: str, overlay: Path | None, put_right: Corrections
) -> dict[str, Any]:
    from ecgkin.index.case import DIGITISED, Case
    from ecgkin.retrieval.ecg.formats.pictures import open_picture, picture_notes
    from ecgkin.retrieval.ecg.formats.tried import check_file
    from ecgkin.retrieval.ecg.page.printed import read_printed
    from ecgkin.retrieval.notes import Note, NoteCode

    try:
        check_file(picture, page)
        opened = open_picture(picture, page)
        printed = read_printed(opened, put_right)
    except InputError as error:  # a missing network stops everything, a picture that is none does not
        return {"error": str(error)}
    found = printed.digitized
    if found is None or printed.record is None:
        return {"error": str(Note(NoteCode.NOT_DIGITISED))}
    # Two pictures of one name from different folders must not write over each other.
    place = str(picture.resolve()) + ("" if page is None else f"#{page}")
    stem = f"{picture.stem}-{hashlib.blake2b(place.encode(), digest_size=3).hexdigest()}"
    case = Case(stem, source="digitised picture", meta={DIGITISED: printed.mark()})
    written = common.writer_of(form)(out, case, found.record)
    if overlay is not None:
        from PIL import Image

        from ecgkin.retrieval.ecg.page.overlay import check_overlay

        overlay.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(check_overlay(found)).save(overlay)
    return {"output": written.name, **_facts(found, picture_notes(opened))}


def _facts(found: Digitized, said: Sequence[str]) -> dict[str, Any]:
    page = found.page
    return {
        "layout": page.layout,
        "leads": " ".join(page.leads),
        "speed_mm_s": page.speed_mm_s or "",
        "gain_mm_mv": page.gain_mm_mv or "",
        "seconds": round(found.record.duration_s, 2),
        "einthoven_db": "" if found.einthoven_db is None else round(found.einthoven_db, 1),
        "least_confidence": round(min(found.confidence.values(), default=0.0), 2),
        "notes": "; ".join(str(note) for note in dict.fromkeys((*said, *page.warnings))),
    }


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        if tuple(table.fieldnames or ()) != COLUMNS:
            raise InputError(f"{path} is no table of `ecgkin digitize`", hint="name another folder with --out")
        return list(table)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, restval="")
        table.writeheader()
        table.writerows(rows)
    partial.replace(path)
