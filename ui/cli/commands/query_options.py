"""The ECG that a command asks about: its file, and what a file may leave open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ecgkin.retrieval.errors import QueryError

if TYPE_CHECKING:
    from PIL import Image

    from ecgkin.retrieval.ecg.record import EcgRecord

Units = Literal["mV", "uV", "V"]
Kind = Literal["auto", "picture", "recording"]
Fs = Annotated[
    float | None, typer.Option(help="Samples a second, for a recording that does not say.", show_default=False)
]
InUnits = Annotated[
    Units | None, typer.Option(help="Units of the samples, for a recording that does not say.", show_default=False)
]
Start = Annotated[
    float | None,
    typer.Option(help="Where in a recording longer than a page the page begins, s.", show_default="0"),
]
Page = Annotated[int | None, typer.Option(min=1, help="Of a document.", show_default="the first that shows an ECG")]
As = Annotated[Kind, typer.Option("--as", help="What FILE is; auto looks at it.")]


def query_of(
    file: Path,
    kind: Kind = "auto",
    fs_hz: float | None = None,
    units: Units | None = None,
    start_s: float | None = None,
    page: int | None = None,
) -> EcgRecord | Image.Image | Path:
    """The record in a file, from `start_s` on, or its picture; the path of a picture of one page.

    Args:
        file: A recording, a picture or a document.
        kind: What it is; "auto" looks at it.
        fs_hz, units: Of samples, for a recording that does not say.
        start_s: Where in a recording the page begins; None for its beginning.
        page: Of a document, from 1; None for the first that shows an ECG.

    Raises:
        QueryError: An option is for the other kind of file.
        RecordError, ImageError: The file cannot be read.
    """
    from ecgkin.retrieval.ecg.formats.pictures import is_picture, open_ecg, open_picture
    from ecgkin.retrieval.ecg.formats.read import read_ecg
    from ecgkin.retrieval.ecg.formats.tried import check_file
    from ecgkin.retrieval.ecg.record import EcgRecord
    from ecgkin.retrieval.ecg.searchable import searchable

    check_file(file, page)
    if kind == "picture":
        query: Any = file if page is None else open_picture(file, page)
    elif kind == "auto" and is_picture(file):
        query = open_ecg(file, page)
    elif page is not None:
        raise QueryError(f"--page is given, and {file.name} is a recording", hint="--start takes another ten seconds")
    else:
        query = read_ecg(file, fs_hz=fs_hz, units=units)
        return query if start_s is None else searchable(query, start_s)
    for_samples = {"--fs": fs_hz, "--units": units, "--start": None if isinstance(query, EcgRecord) else start_s}
    given = [name for name, value in for_samples.items() if value is not None]
    if given:
        found = "draws its samples to scale" if isinstance(query, EcgRecord) else "is a picture"
        raise QueryError(
            f"{', '.join(given)} given for a recording, and {file.name} {found}", hint=f"leave out {', '.join(given)}"
        )
    # A document that draws its samples is a recording.
    return query if start_s is None else searchable(query, start_s)
