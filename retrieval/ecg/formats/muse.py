"""GE MUSE XML (`RestingECG`): Base64 samples of the stored leads, usually I, II and V1 to V6; the rest is computed.

No sample file with a clear licence was at hand: the reader follows the published layout (element names as in MUSE's
restecg.dtd), and its tests write files of that layout.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.assemble import MAX_SAMPLES, assemble, checked_rate, levelled, millivolts_per, named
from ecgkin.retrieval.ecg.formats.xml import base64_bytes, text_of
from ecgkin.retrieval.ecg.header import (
    SourceHeader,
    age_at,
    age_of,
    band,
    iso_time,
    number,
    plain_text,
    report_lines,
    scale_note,
    sex_of,
)
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError

_MAX_LEADS = 20
_UNITS = {"MICROVOLTS": "uV", "MILLIVOLTS": "mV", "NANOVOLTS": "nV", "VOLTS": "V"}
_MEASURES = {
    "rate_bpm": "VentricularRate",
    "pr_ms": "PRInterval",
    "qrs_ms": "QRSDuration",
    "qt_ms": "QTInterval",
    "qtc_ms": "QTCorrected",
}
_PEOPLE = ("OverreaderLastName", "OverreaderFirstName", "EditorLastName", "EditorFirstName", "AcquisitionTechLastName",
           "AcquisitionTechFirstName", "ReferringMDLastName", "ReferringMDFirstName", "OrderingMDLastName",
           "OrderingMDFirstName", "AttendingMDLastName", "AttendingMDFirstName", "SiteName", "LocationName",
           "RoomID")  # fmt: skip
_IDS = ("HISAccountNumber", "AdmitNumber", "OrderNumber", "VisitNumber", "SecondaryID", "OverreaderID", "EditorID")


def record_from(root: Element, where: str, record_id: str) -> EcgRecord:
    """The record of a parsed file.

    Args:
        root: `RestingECG`.
        where: File name for messages.
        record_id: What to call the record.

    Returns:
        The leads in mV.

    Raises:
        RecordError: No rhythm waveform, samples of a kind that is not read, leads that are cut off or without a scale.
    """
    rhythms = [w for w in root.iterfind("Waveform") if text_of(w, "WaveformType").lower() == "rhythm"]
    if not rhythms:
        kinds = ", ".join(text_of(w, "WaveformType")[:20] for w in root.iterfind("Waveform")) or "none"
        raise RecordError(f"{where} holds no rhythm waveform (found: {kinds})")
    wave = rhythms[0]
    kind = text_of(wave, "SampleType")
    if kind not in ("CONTINUOUS_SAMPLES", ""):
        raise RecordError(f"{where}: samples are {kind[:40]} (read: CONTINUOUS_SAMPLES)")
    base, exponent = number(text_of(wave, "SampleBase")), number(text_of(wave, "SampleExponent") or "0")
    if base is None or exponent is None or not -6 <= exponent <= 6:
        raise RecordError(f"{where} does not say its sampling rate (SampleBase, SampleExponent)")
    fs_hz = checked_rate(base * 10.0**exponent, where)
    notes: list[str] = []
    if len(rhythms) > 1:
        notes.append(f"{len(rhythms)} rhythm waveforms in the file: the first is used")
    channels, steps = _channels(wave, where, notes)
    header = _header(root, wave)
    notes.insert(0, scale_note(header.format, steps, fs_hz, header.filters))
    person = root.find("PatientDemographics")
    years = age_of(text_of(person, "PatientAge"), text_of(person, "AgeUnits"))
    return assemble(
        levelled(channels),
        fs_hz,
        where=where,
        record_id=record_id,
        patient_id=plain_text(text_of(person, "PatientID")) or None,
        age_years=years if years is not None else age_at(header.birth_date, header.recorded_at),
        sex=sex_of(text_of(person, "Gender")),
        notes=notes,
        header=header,
    )


def _channels(wave: Element, where: str, notes: list[str]) -> tuple[list[tuple[str, NDArray[np.float32]]], list[float]]:
    leads = wave.findall("LeadData")
    if not 1 <= len(leads) <= _MAX_LEADS:
        raise RecordError(f"{where} holds {len(leads)} leads (expected 1 to {_MAX_LEADS})")
    channels: list[tuple[str, NDArray[np.float32]]] = []
    steps: list[float] = []
    off: list[str] = []
    for lead in leads:
        name = text_of(lead, "LeadID")[:20]
        what = f"lead {name}"
        if text_of(lead, "LeadSampleSize") not in ("2", ""):
            raise RecordError(f"{where}: {what} has samples of {text_of(lead, 'LeadSampleSize')[:10]} bytes (read: 2)")
        unit = text_of(lead, "LeadAmplitudeUnits").upper()
        factor = millivolts_per(_UNITS.get(unit, unit)) if unit else None
        step = number(text_of(lead, "LeadAmplitudeUnitsPerBit"))
        if factor is None or step is None or not 0 < step < 1e9:
            raise RecordError(f"{where}: {what} does not say its scale (found {step} {unit[:20] or 'without unit'})")
        data = base64_bytes(text_of(lead, "WaveFormData"), where, what)
        stated = number(text_of(lead, "LeadSampleCountTotal"))
        if not data or len(data) % 2 or (stated is not None and len(data) // 2 < stated):
            expected = f"{stated:.0f}" if stated is not None else "at least 1"
            raise RecordError(f"{where}: {what} is cut off: {len(data) // 2} samples (expected {expected})")
        if len(data) * len(leads) > 2 * MAX_SAMPLES:
            raise RecordError(f"{where} holds more than {MAX_SAMPLES} samples")
        baseline = number(text_of(lead, "FirstSampleBaseline")) or 0.0
        if baseline:
            notes.append(f"{what}: the file states a baseline of {baseline:g}, which is left in")
        if text_of(lead, "LeadOff").upper() == "TRUE":
            off.append(name)
        steps.append(step * factor * 1000)
        channels.append((name, (np.frombuffer(data, dtype="<i2") * (step * factor)).astype(np.float32)))
    if off:
        notes.append(f"{named(off)}: electrode off, says the machine")
    return channels, steps


def _day(text: str) -> str | None:
    """A date as MUSE writes it, month first: "09-22-2017"."""
    parts = text.strip().replace("/", "-").split("-")
    if len(parts) == 3 and len(parts[2]) == 4:
        return iso_time(f"{parts[2]}-{parts[0]:0>2}-{parts[1]:0>2}")
    return iso_time(text)


def _header(root: Element, wave: Element) -> SourceHeader:
    person, test = root.find("PatientDemographics"), root.find("TestDemographics")
    day, clock = _day(text_of(test, "AcquisitionDate")), text_of(test, "AcquisitionTime")
    measured = root.find("RestingECGMeasurements")
    values = {name: number(text_of(measured, tag)) for name, tag in _MEASURES.items()}
    high = text_of(wave, "HighPassFilter")
    low, notch = number(text_of(wave, "LowPassFilter")), text_of(wave, "ACFilter")
    # What the number of the high pass counts differs between releases: it is passed on as it stands.
    words = [f"high pass setting {plain_text(high, 20)}" if high else "", band(None, low, number(notch))]
    device = " ".join(text_of(test, tag) for tag in ("AcquisitionDevice", "AcquisitionSoftwareVersion"))
    name = [text_of(person, tag) for tag in ("PatientFirstName", "PatientMiddleName", "PatientLastName")]
    return SourceHeader(
        "GE MUSE XML",
        patient_name=plain_text(" ".join(filter(None, name))),
        birth_date=_day(text_of(person, "DateofBirth", "DateOfBirth")),
        recorded_at=(iso_time(day, clock) or day) if day else None,
        report=report_lines(_statements(root)),
        measurements={name: value for name, value in values.items() if value},
        device=plain_text(device),
        filters=", ".join(filter(None, words)),
        people=tuple(filter(None, (plain_text(text_of(root, f".//{tag}")) for tag in _PEOPLE))),
        identifiers=tuple(filter(None, (plain_text(text_of(root, f".//{tag}")) for tag in _IDS))),
    )


def _statements(root: Element) -> list[str]:
    """The confirmed diagnosis, or else the machine's; a statement goes on until its flag says ENDSLINE."""
    told = root.find("Diagnosis")
    if told is None:
        told = root.find("OriginalDiagnosis")
    lines, line = [], ""
    for statement in told.iterfind("DiagnosisStatement") if told is not None else ():
        line = f"{line} {text_of(statement, 'StmtText')}".strip()
        if "ENDSLINE" in {text_of(flag, ".").upper() for flag in statement.iterfind("StmtFlag")}:
            lines.append(line)
            line = ""
    return [*lines, line]
