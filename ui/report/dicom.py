"""An accepted report as DICOM: a wrapped PDF document by pydicom, a structured report by highdicom.

The structured report is an Enhanced SR with the outline of PS3.16's ECG report (TID 3700): waveform, global
measurements, findings, summary. It does not claim the template: that wants more of the acquisition than a report knows.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ecgkin import __version__
from ecgkin.retrieval.ecg.header import plain_text
from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS, statement
from ecgkin.retrieval.errors import QueryError
from ecgkin.ui.report.accepted import AcceptedReport

if TYPE_CHECKING:
    from pydicom import Dataset

ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
# Measurement -> code value, scheme, meaning (CID 3227 to 3229), unit. MDC is ISO 11073-10101.
_VALUES = {
    "rate_bpm": ("8867-4", "LN", "Heart rate", "/min"),
    "pr_ms": ("2:15872", "MDC", "PR interval global", "ms"),
    "qrs_ms": ("2:16156", "MDC", "QRS duration global", "ms"),
    "qt_ms": ("2:16160", "MDC", "QT interval global", "ms"),
    "qtc_ms": ("2:15880", "MDC", "QTc global using Bazett formula", "ms"),
    "axis_deg": ("2:16132", "MDC", "QRS axis", "deg"),
}
_REPORT = ("28010-7", "LN", "ECG Report")
_LANGUAGES = {"en": ("en", "RFC5646", "English"), "de": ("de", "RFC5646", "German")}
_POLARITIES = {"possible": ("possible: ", "möglich: "), "absent": ("no ", "kein Nachweis: ")}


def wrapped_pdf(report: AcceptedReport, document: bytes) -> Dataset:
    """The report's PDF as a DICOM Encapsulated PDF object (PS3.3, A.45.1).

    Args:
        report: Whom and what it is about, who signed.
        document: The PDF.

    Returns:
        A data set that `save_as(enforce_file_format=True)` writes.
    """
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(ENCAPSULATED_PDF)
    meta.MediaStorageSOPInstanceUID = UID(_uid(report, "pdf"))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.update(about(report))
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID, data.SeriesNumber, data.InstanceNumber = _uid(report, "pdf series"), 901, 1
    data.Modality, data.ConversionType, data.BurnedInAnnotation = "DOC", "WSD", "YES"
    data.Manufacturer, data.SoftwareVersions = "ecgkin", __version__
    signed = report.signed_at.astimezone(UTC)
    data.TimezoneOffsetFromUTC = "+0000"
    data.ContentDate, data.ContentTime = signed.strftime("%Y%m%d"), signed.strftime("%H%M%S")
    data.AcquisitionDateTime = _digits(report.study.performed_at)
    data.DocumentTitle = plain_text(report.title, 1024)
    data.ConceptNameCodeSequence = [_item(*_REPORT)]
    data.VerificationFlag = "VERIFIED"
    data.MIMETypeOfEncapsulatedDocument = "application/pdf"
    data.EncapsulatedDocumentLength = len(document)
    data.EncapsulatedDocument = document + b"\0" * (len(document) % 2)
    if report.study.sop_instance_uid:
        source = Dataset()
        source.ReferencedSOPClassUID = report.study.sop_class_uid
        source.ReferencedSOPInstanceUID = report.study.sop_instance_uid
        data.SourceInstanceSequence = [source]
    return data


def structured_report(report: AcceptedReport) -> Dataset:
    """The report as a DICOM Enhanced SR, complete, final and verified by who signed it.

    Args:
        report: With the organization of who signed: DICOM wants to know it.

    Returns:
        A data set that `save_as` writes.

    Raises:
        QueryError: The organization is missing.
    """
    if not report.organization:
        raise QueryError("a structured report names the organization of who signed", hint="--organization NAME")
    from highdicom.sr import (
        CodeContentItem,
        CompositeContentItem,
        ContainerContentItem,
        EnhancedSR,
        NumContentItem,
        PnameContentItem,
        RelationshipTypeValues,
        TextContentItem,
    )

    contains, modifies = RelationshipTypeValues.CONTAINS, RelationshipTypeValues.HAS_CONCEPT_MOD
    observes = RelationshipTypeValues.HAS_OBS_CONTEXT
    root: Any = ContainerContentItem(_coded(*_REPORT))
    content: list[Any] = [
        CodeContentItem(_coded("121049", "DCM", "Language of Content Item and Descendants"),
                        _coded(*_LANGUAGES[report.language]), modifies),
        CodeContentItem(_coded("121005", "DCM", "Observer Type"), _coded("121006", "DCM", "Person"), observes),
        PnameContentItem(_coded("121008", "DCM", "Person Observer Name"), _person(report.signed_by), observes),
    ]  # fmt: skip
    if report.study.sop_instance_uid:
        content.append(
            CompositeContentItem(  # highdicom 0.28 cannot read its own items of the kind WAVEFORM
                _coded("121112", "DCM", "Source of Measurement"), report.study.sop_class_uid,
                report.study.sop_instance_uid, relationship_type=contains,
            )
        )  # fmt: skip
    values = [(_VALUES[name], value) for name, value in report.values.items() if name in _VALUES]
    if values:
        name = _coded("122158", "DCM", "ECG Global Measurements")
        held: Any = ContainerContentItem(name, relationship_type=contains)
        held.ContentSequence = [
            NumContentItem(_coded(code, scheme, meaning), round(value), _coded(unit, "UCUM", unit), None, contains)
            for (code, scheme, meaning, unit), value in values
        ]
        content.append(held)
    findings: Any = ContainerContentItem(_coded("121070", "DCM", "Findings"), relationship_type=contains)
    findings.ContentSequence = [
        TextContentItem(_coded("121071", "DCM", "Finding"), line.text, contains) for line in report.lines
    ]
    for line in report.lines:
        findings.ContentSequence.extend(
            TextContentItem(_coded("121071", "DCM", "Finding"), words, contains)
            if coded is None
            else CodeContentItem(_coded("121071", "DCM", "Finding"), coded, contains)
            for words, coded in _findings(line.codes, report.language)
        )
    content.append(findings)
    content.append(TextContentItem(_coded("121111", "DCM", "Summary"), f"{report.text}\n{report.origin}", contains))
    root.ContentSequence = content
    made = EnhancedSR(
        evidence=[about(report, evidence=True)],
        content=root,
        series_instance_uid=_uid(report, "sr series"),
        series_number=902,
        sop_instance_uid=_uid(report, "sr"),
        instance_number=1,
        manufacturer="ecgkin",
        is_complete=True,
        is_final=True,
        is_verified=True,
        verifying_observer_name=_person(report.signed_by),
        verifying_organization=plain_text(report.organization, 64),
        manufacturer_model_name="ecgkin",
        software_versions=__version__,
        device_serial_number="0",
    )
    made.VerifyingObserverSequence[0].VerificationDateTime = report.signed_at.astimezone(UTC).strftime("%Y%m%d%H%M%S")
    if not report.study.sop_instance_uid:  # nothing in the archive that it could be about
        for name in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence"):
            if name in made:
                delattr(made, name)
    return made


def about(report: AcceptedReport, *, evidence: bool = False) -> Dataset:
    """Patient and study, with every field that DICOM wants to be there, empty where nothing is known.

    Args:
        report: Whom and what it is about.
        evidence: With the identity of the ECG object, real or (where there is none) stood in for.
    """
    from pydicom.dataset import Dataset

    patient, study = report.patient, report.study
    data = Dataset()
    data.SpecificCharacterSet = "ISO_IR 192"
    data.PatientName, data.PatientID = _person(patient.name), plain_text(patient.patient_id, 64)
    data.PatientBirthDate = "" if patient.birth_date is None else patient.birth_date.strftime("%Y%m%d")
    data.PatientSex = patient.sex
    data.StudyInstanceUID = study.study_instance_uid or _uid(report, "study")
    data.StudyID, data.AccessionNumber = plain_text(study.study_id, 16), plain_text(study.accession_number, 16)
    digits = _digits(study.performed_at)
    data.StudyDate, data.StudyTime, data.ReferringPhysicianName = digits[:8], digits[8:14], ""
    if evidence:
        data.SOPClassUID = study.sop_class_uid or "1.2.840.10008.5.1.4.1.1.9.1.1"
        data.SOPInstanceUID = study.sop_instance_uid or _uid(report, "no ECG")
        data.SeriesInstanceUID = study.series_instance_uid or _uid(report, "no ECG series")
    return data


def _findings(codes: list[tuple[str, str]], language: str) -> list[tuple[str, Any]]:
    """Words and code of each statement; what is possible or absent has words alone: a code would say that it is so."""
    known = {one.code for one in STATEMENTS}
    out: list[tuple[str, Any]] = []
    for code, polarity in codes:
        if code not in known:
            continue
        one = statement(code)
        if polarity == "present" and one.snomed:
            out.append((one.name_en, _coded(one.snomed, "SCT", plain_text(one.name_en, 64))))
        else:
            before = _POLARITIES.get(polarity, ("", ""))[language == "de"]
            out.append((before + one.name("de" if language == "de" else "en"), None))
    return out


def _coded(value: str, scheme: str, meaning: str) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(value=value, scheme_designator=scheme, meaning=meaning)


def _item(value: str, scheme: str, meaning: str) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _person(name: str) -> str:
    """A name as DICOM writes it; where it says no order, the whole is the family name."""
    plain = plain_text(name, 64)
    return plain if "^" in plain or not plain else f"{plain}^"


def _uid(report: AcceptedReport, what: str) -> str:
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=["ecgkin report", report.key, what]))


def _digits(iso: str) -> str:
    """An ISO date or time as DICOM's DT without separators."""
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return ""
    return moment.strftime("%Y%m%d" if len(iso) <= len("2000-01-01") else "%Y%m%d%H%M%S")
