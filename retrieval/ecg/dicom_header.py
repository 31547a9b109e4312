"""Who and what a DICOM ECG is about: patient and study modules, annotations of the waveform."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import MutableSequence
from typing import TYPE_CHECKING, Any

from ecgkin.retrieval.ecg.header import (
    SourceHeader,
    age_at,
    band,
    iso_time,
    number,
    plain_text,
    plausible_age,
    report_lines,
)

if TYPE_CHECKING:
    from pydicom import Dataset

_AGE = re.compile(r"(\d{1,3})([DWMY])\Z")
_YEARS_PER = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
_PEOPLE = ("ReferringPhysicianName", "NameOfPhysiciansReadingStudy", "OperatorsName", "PerformingPhysicianName",
           "RequestingPhysician", "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "StationName",
           "CurrentPatientLocation", "PatientAddress", "PatientMotherBirthName", "OtherPatientNames",
           "ResponsiblePerson")  # fmt: skip
_IDS = ("AccessionNumber", "AdmissionID", "OtherPatientIDs", "StudyID", "PatientTelephoneNumbers", "StudyInstanceUID",
        "SeriesInstanceUID", "SOPInstanceUID")  # fmt: skip
_MEASURES = {
    "pr interval": "pr_ms",
    "qrs duration": "qrs_ms",
    "qt interval": "qt_ms",
    "qtc interval": "qtc_ms",
    "ventricular heart rate": "rate_bpm",
    "heart rate": "rate_bpm",
    "rr interval": "rr_ms",
}
_MAX_ANNOTATIONS = 10_000


def text_in(data: Dataset | None, keyword: str) -> str:
    """A field as one line of text, "" where it is missing."""
    value = None if data is None else data.get(keyword)
    if value is None:
        return ""
    # Several values come as a sequence that can be changed; names and texts are sequences too, but of letters.
    return plain_text(" ".join(map(str, value)) if isinstance(value, MutableSequence) else str(value))


def header_of(data: Dataset, form: str, filters: list[tuple[float | None, float | None, float | None]]) -> SourceHeader:
    """What the data set says beside the samples.

    Args:
        data: The object.
        form: Format for messages.
        filters: High pass, low pass and notch in Hz of each lead; what most leads have is said.
    """
    common = Counter(filters).most_common(1)
    when = iso_time(text_in(data, "AcquisitionDateTime")) or iso_time(
        text_in(data, "ContentDate") or text_in(data, "StudyDate"),
        text_in(data, "ContentTime") or text_in(data, "StudyTime"),
    )
    lines, measured = _annotations(data)
    device = " ".join(text_in(data, k) for k in ("Manufacturer", "ManufacturerModelName", "SoftwareVersions"))
    return SourceHeader(
        form,
        patient_name=text_in(data, "PatientName").replace("^", " ").strip(),
        birth_date=iso_time(text_in(data, "PatientBirthDate")),
        recorded_at=when,
        report=report_lines(lines),
        measurements=measured,
        device=plain_text(device),
        filters=band(*common[0][0]) if common else "",
        people=tuple(filter(None, (text_in(data, k).replace("^", " ") for k in _PEOPLE))),
        identifiers=tuple(filter(None, (text_in(data, k) for k in _IDS))),
    )


def patient_age(data: Dataset, header: SourceHeader) -> float | None:
    """Age in years from the age field ("042Y"), or else from the dates."""
    match = _AGE.match(text_in(data, "PatientAge"))
    if match:
        return plausible_age(int(match.group(1)) * _YEARS_PER[match.group(2)])
    return age_at((header.birth_date or "")[:10] or None, header.recorded_at)


def _annotations(data: Dataset) -> tuple[list[str], dict[str, float]]:
    """Statements in words, and measurements of the whole ECG."""
    lines: list[str] = []
    measured: dict[str, float] = {}
    items: list[Any] = list(data.get("WaveformAnnotationSequence") or ())[:_MAX_ANNOTATIONS]
    for item in items:
        said = text_in(item, "UnformattedTextValue")
        if said:
            lines.append(said)
        names = item.get("ConceptNameCodeSequence")
        name = _MEASURES.get(text_in(names[0], "CodeMeaning").lower()) if names else None
        value = number(text_in(item, "NumericValue"))
        if name and value:
            measured.setdefault(name, value)
    interval = measured.pop("rr_ms", None)
    if interval and "rate_bpm" not in measured:
        measured["rate_bpm"] = round(60_000 / interval, 1)
    return lines, measured
