"""What commands share: options that mean the same in each, settings, logging, formats, how a comparison prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ecgkin.retrieval.errors import QueryError
from ecgkin.ui import console

if TYPE_CHECKING:
    from ecgkin.generation.types.serial import Serial
    from ecgkin.index.transfer.export import Writer
    from ecgkin.retrieval.encoders.witness import StatementWitness
    from ecgkin.ui.settings import Settings

FORMATS = ("wfdb", "dicom", "edf", "csv", "fhir")
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Base = Annotated[
    Path, typer.Argument(metavar="BASE", help="Case base: a folder, or milvus://host:port/name.", show_default=False)
]
BaseOption = Annotated[
    Path, typer.Option("--base", help="Case base, made where it is missing: a folder, or milvus://host/name")
]
Previous = Annotated[
    str | None,
    typer.Option(help="An earlier ECG of the person in the base, to compare: case id, or the person's id."),
]
Witness = Annotated[
    str | None,
    typer.Option(help="Classifier heard beside the vote: ecgfounder:FILE. (setting: witness)", show_default=False),
]
Encoder = Annotated[str | None, typer.Option(help="Encoder by name or folder. (setting: encoder)", show_default=False)]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1. (setting: device)", show_default=False)]

MODEL_HELP = (
    "consensus, mini, pulse:DIR, http(s)://HOST/v1#NAME of an OpenAI-compatible server, or "
    "pulse:DIR@http(s)://HOST/v1#NAME of a PULSE checkpoint that was converted into DIR and is served there."
)
Model = Annotated[str, typer.Option("--model", "-m", help=MODEL_HELP)]
Key = Annotated[
    str | None,
    typer.Option("--api-key", envvar="ECGKIN_DRAFT_KEY", help="Key for a server; better given in the environment.",
                 show_default=False, show_envvar=True),
]  # fmt: skip
Deidentify = Annotated[
    bool, typer.Option("--deidentify", help="Keyed hashes for identifiers; no names, birthdays or file names.")
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        help="Key of --deidentify; made where it is missing. Keep it.", show_default="deidentify.key in ECGKIN_HOME"
    ),
]


def settings(**given: Any) -> Settings:
    """The settings in force, options of the command line first; logging follows them, unless --debug was said."""
    from ecgkin.ui.logs import configure_logging, is_configured
    from ecgkin.ui.settings import load_settings, unknown_variables

    found = load_settings(**given)
    for name, meant in unknown_variables():
        console.say(f"note: {name} in the environment is no setting{f' (did you mean {meant}?)' if meant else ''}")
    if not is_configured():
        configure_logging(found.log_level, found.log_format)
    return found


def service_logging(found: Settings) -> None:
    """Logging of what runs for days: JSON lines from INFO on, unless the settings or --debug say otherwise."""
    from ecgkin.ui.logs import configure_logging
    from ecgkin.ui.settings import origins

    unset = {name for name, origin in origins(found).items() if origin == "default"}
    level = "INFO" if "log_level" in unset else found.log_level
    configure_logging(level, "json" if "log_format" in unset else found.log_format)


def ptbxl_root(found: Settings) -> Path:
    """The PTB-XL folder to measure on; networks are told that they will see many ECGs.

    Args:
        found: The settings in force.

    Raises:
        QueryError: None is set.
    """
    from ecgkin.retrieval.graphs import expect_many

    expect_many()
    if found.ptbxl is None:
        raise QueryError("there is no PTB-XL folder to measure on", hint="pass --ptbxl DIR, or set ECGKIN_PTBXL")
    return found.ptbxl


def numbers(text: str, option: str) -> list[int]:
    """Whole numbers written "1-8", "1,2,5" or "9".

    Raises:
        QueryError: It is none of these.

    >>> numbers("1-3,9", "--folds")
    [1, 2, 3, 9]
    """
    out: list[int] = []
    for part in text.replace(" ", ",").split(","):
        first, _, last = part.partition("-")
        if not first.isdecimal() or not (last or first).isdecimal():
            raise QueryError(f"{option} is {text!r} (expected numbers such as 9, 1-8 or 1,2,5)")
        out.extend(range(int(first), int(last or first) + 1))
    return sorted(set(out))


def witness_of(settings: Settings) -> StatementWitness | None:
    """The classifier that the settings want heard beside the vote.

    Raises:
        QueryError, WeightsMissingError, ModelError: As `load_witness`.
    """
    if not settings.witness:
        return None
    from ecgkin.retrieval.encoders.published import load_witness

    return load_witness(settings.witness, settings.device)


def writer_of(name: str) -> Writer:
    """The writer of a format.

    Raises:
        QueryError: There is no such format.
    """
    if name == "wfdb":
        from ecgkin.index.transfer.export import write_wfdb

        return write_wfdb
    if name == "edf":
        from ecgkin.index.transfer.export import write_edf

        return write_edf
    if name == "csv":
        from ecgkin.index.transfer.export import write_csv

        return write_csv
    if name == "dicom":
        from ecgkin.index.transfer.export_dicom import write_dicom

        return write_dicom
    if name == "fhir":
        from ecgkin.ui.fhir.cases import write_fhir

        return write_fhir
    raise QueryError(f"format is {name!r} (expected {', '.join(FORMATS)})")


def show_serial(done: Serial, lang: Literal["en", "de"]) -> None:
    """Print a comparison: the sentence, the table of values, the rules that were met."""
    from ecgkin.ui.serial.words import row_texts, state_name

    console.out().print(console.safe(done.sentence), markup=False, soft_wrap=True)
    head = ("value", "before", "after", "change", "") if lang == "en" else ("Wert", "vorher", "jetzt", "Änderung", "")
    rows = [(*row_texts(row, lang), "*" if row.beyond else "") for row in done.rows]
    if rows:
        console.table("", head, rows, right=head[1:4])
    for change in done.changes:
        console.say(f"* {change.text}: {change.rule}")
    for finding in done.findings:
        console.say(f"{state_name(finding.state, lang, finding.why)}: {finding.name}")
