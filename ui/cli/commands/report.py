"""`ecgkin report`: sign for sentences of a draft, and let the report out as PDF, DICOM, FHIR and HL7 v2."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ecgkin.retrieval.errors import QueryError, why
from ecgkin.ui import console
from ecgkin.ui.cli.commands import common

if TYPE_CHECKING:
    from pydicom import Dataset

    from ecgkin.ui.api.answers import DraftOut

DraftFile = Annotated[
    Path, typer.Argument(metavar="DRAFT", help="Output of `ecgkin draft --json`.", show_default=False)
]
Report = Annotated[Path, typer.Argument(metavar="REPORT", help="File of `ecgkin report accept`.", show_default=False)]
TOKEN = "ECGKIN_FHIR_TOKEN"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        no_args_is_help=True, help="Sign for a draft's sentences; send the report to PACS, FHIR and HL7 v2."
    )
    group.command()(accept)
    group.command()(export)
    group.command()(post)
    group.command()(send)
    group.command()(cards)
    app.add_typer(group, name="report")


def accept(
    draft: DraftFile,
    signed_by: Annotated[
        str | None, typer.Option(help='Who signs: "Curie^Marie", or a name.', show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File of the report.", show_default=False)] = None,
    take: Annotated[
        str, typer.Option("--accept", help="Numbers of sentences taken as they stand: 1-3,5.", show_default="none")
    ] = "",
    change: Annotated[
        list[str] | None, typer.Option(help="'4=new words' for a sentence; may be given again.", show_default=False)
    ] = None,
    add: Annotated[list[str] | None, typer.Option(help="A sentence of one's own.", show_default=False)] = None,
    with_values: Annotated[
        bool, typer.Option("--with-values", help="The measured values were checked and belong to the report.")
    ] = False,
    organization: Annotated[str, typer.Option(help="Of who signs.", show_default=False)] = "",
    ecg: Annotated[
        Path | None, typer.Option(help="DICOM object of the ECG: patient, study, reference.", show_default=False)
    ] = None,
    patient_id: Annotated[str | None, typer.Option(show_default="of --ecg")] = None,
    patient_name: Annotated[str | None, typer.Option(help="Family^Given.", show_default="of --ecg")] = None,
    birth_date: Annotated[str | None, typer.Option(help="2000-12-31", show_default="of --ecg")] = None,
    sex: Annotated[Literal["F", "M", "O"] | None, typer.Option(show_default="of --ecg")] = None,
    accession: Annotated[str | None, typer.Option(help="Accession number.", show_default="of --ecg")] = None,
) -> None:
    """Make a signed report of the sentences of a draft that are accepted, one by one; without numbers, list them."""
    from ecgkin.ui.report.accepted import Patient, Study, about_dicom, read_draft
    from ecgkin.ui.report.accepted import accept as accepted

    done = read_draft(draft)
    if not take and not change and not add:
        for line in listed(done):
            console.say(line)
        return
    if signed_by is None or out is None:
        lacks = "--signed-by says who" if signed_by is None else "--out says where it is written"
        raise QueryError("a report is signed and written", hint=lacks)
    patient, study = (Patient(), Study()) if ecg is None else about_dicom(ecg)
    given = {"patient_id": patient_id, "name": patient_name, "birth_date": _day(birth_date), "sex": sex}
    patient = patient.model_copy(update={name: value for name, value in given.items() if value is not None})
    if accession is not None:
        study = study.model_copy(update={"accession_number": accession})
    report = accepted(
        done,
        accepted=common.numbers(take, "--accept") if take else [],
        changes=dict(_change(text) for text in change or ()),
        own=add or (),
        values=with_values,
        signed_by=signed_by,
        organization=organization,
        patient=patient,
        study=study,
    )
    _written(out, lambda: out.write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8"))
    console.out().print(f"{report.origin} {out}", markup=False, soft_wrap=True)


def listed(draft: DraftOut) -> Iterator[str]:
    """The sentences of a draft with their numbers, each section's heading above its own.

    Args:
        draft: Whose numbers are those of `--accept`.
    """
    titles = {section.name: section.title for section in draft.sections}
    last = ""
    for number, sentence in enumerate(draft.sentences, 1):
        if sentence.section != last and sentence.section in titles:
            last = sentence.section
            yield titles[last]
        yield f"  {number}. {sentence.text}"


def export(
    report: Report,
    pdf: Annotated[Path | None, typer.Option(help="Write a PDF document.", show_default=False)] = None,
    dicom_pdf: Annotated[Path | None, typer.Option(help="Write a DICOM Encapsulated PDF.", show_default=False)] = None,
    dicom_sr: Annotated[Path | None, typer.Option(help="Write a DICOM Enhanced SR.", show_default=False)] = None,
    fhir: Annotated[Path | None, typer.Option(help="Write the FHIR transaction.", show_default=False)] = None,
    hl7: Annotated[Path | None, typer.Option(help="Write an HL7 v2.5.1 ORU^R01.", show_default=False)] = None,
    json: common.Json = False,
) -> None:
    """Write a signed report as PDF, DICOM, FHIR and HL7 v2 files."""
    import json as texts

    from ecgkin.ui.report.accepted import read_report
    from ecgkin.ui.report.document import pdf_of

    signed = read_report(report)
    if not any((pdf, dicom_pdf, dicom_sr, fhir, hl7)):
        raise QueryError("nothing to write", hint="--pdf, --dicom-pdf, --dicom-sr, --fhir or --hl7 FILE")
    document = pdf_of(signed) if pdf or dicom_pdf or fhir else b""
    if pdf is not None:
        _written(pdf, lambda: pdf.write_bytes(document))
    if dicom_pdf is not None or dicom_sr is not None:
        from ecgkin.ui.report.dicom import structured_report, wrapped_pdf

        if dicom_pdf is not None:
            _save(wrapped_pdf(signed, document), dicom_pdf)
        if dicom_sr is not None:
            _save(structured_report(signed), dicom_sr)
    if fhir is not None:
        from ecgkin.ui.report.fhir import bundle

        content = texts.dumps(bundle(signed, document), ensure_ascii=False, indent=1)
        _written(fhir, lambda: fhir.write_text(content, encoding="utf-8"))
    if hl7 is not None:
        from ecgkin.ui.report.hl7v2 import oru

        message = oru(signed).encode()
        _written(hl7, lambda: hl7.write_bytes(message))
    written = [path for path in (pdf, dicom_pdf, dicom_sr, fhir, hl7) if path is not None]
    if json:
        console.emit({"written": written})
    else:
        console.out().print(" ".join(map(str, written)), markup=False, soft_wrap=True)


def post(
    report: Report,
    url: Annotated[str, typer.Argument(metavar="URL", help="Base address of a FHIR R4 server.", show_default=False)],
    with_pdf: Annotated[bool, typer.Option("--with-pdf/--no-pdf", help="Carry the PDF along.")] = True,
    json: common.Json = False,
) -> None:
    """Send a signed report to a FHIR server: a DiagnosticReport and its Observations, once however often it is sent.

    A bearer token is taken from ECGKIN_FHIR_TOKEN.
    """
    from ecgkin.ui.report.accepted import read_report
    from ecgkin.ui.report.document import pdf_of
    from ecgkin.ui.report.fhir import bundle
    from ecgkin.ui.report.fhir import post as sent

    signed = read_report(report)
    places = sent(url, bundle(signed, pdf_of(signed) if with_pdf else None), token=os.environ.get(TOKEN))
    if json:
        console.emit({"locations": places})
    else:
        console.out().print("\n".join(places), markup=False, soft_wrap=True)


def send(
    report: Report,
    url: Annotated[
        str, typer.Argument(metavar="URL", help="mllps://host:port, or mllp:// without encryption.", show_default=False)
    ],
    to: Annotated[str, typer.Option(help="Receiving application (MSH-5).", show_default=False)] = "",
    facility: Annotated[str, typer.Option(help="Receiving facility (MSH-6).", show_default=False)] = "",
    clear_text: Annotated[
        bool, typer.Option("--clear-text", help="Let mllp:// lead to another machine: that network is protected.")
    ] = False,
    ca_file: Annotated[
        Path | None, typer.Option(help="Certificates that may sign for the receiver.", show_default="the system's")
    ] = None,
    json: common.Json = False,
) -> None:
    """Send a signed report as HL7 v2.5.1 ORU^R01 over MLLP, and wait until it is acknowledged."""
    from ecgkin.ui.report.accepted import read_report
    from ecgkin.ui.report.hl7v2 import oru
    from ecgkin.ui.report.mllp import send as sent

    control_id = sent(url, oru(read_report(report), to=to, facility=facility), clear_text=clear_text, ca_file=ca_file)
    if json:
        console.emit({"acknowledged": control_id})
    else:
        console.out().print(f"acknowledged: {control_id}", markup=False, soft_wrap=True)


def cards(
    draft: DraftFile,
    link: Annotated[
        str | None, typer.Option(help="https address at which the ECG can be looked at.", show_default=False)
    ] = None,
) -> None:
    """Print a draft as cards in the form of CDS Hooks; preliminary, and nobody has signed for them."""
    from ecgkin.ui.report.accepted import read_draft
    from ecgkin.ui.report.cds import cards as made

    console.emit(made(read_draft(draft), link))


def _change(text: str) -> tuple[int, str]:
    number, equals, words = text.partition("=")
    if not equals or not number.strip().isdecimal():
        raise QueryError(f"--change is {text[:80]!r} (expected '4=new words')")
    return int(number), words


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise QueryError(f"--birth-date is {text!r} (expected one like 2000-12-31)") from None


def _save(made: Dataset, path: Path) -> None:
    _written(path, lambda: made.save_as(path, enforce_file_format=True))


def _written(path: Path, write: Callable[[], object]) -> None:
    try:
        write()
    except OSError as error:
        raise QueryError(f"{path} cannot be written: {why(error)}") from error
