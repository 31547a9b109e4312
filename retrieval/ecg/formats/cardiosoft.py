"""GE CardioSoft XML (`CardiologyXML`): the rhythm strips, samples as numbers in the text, beside median beats."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from ecgkin.retrieval.ecg.assemble import assemble, checked_rate, levelled, millivolts_per
from ecgkin.retrieval.ecg.formats.groups import Channels, Group, merged
from ecgkin.retrieval.ecg.formats.xml import numbers_in, text_of
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

_MAX_STRIPS = 64
_MEASURES = {
    "rate_bpm": "VentricularRate",
    "pr_ms": "PQInterval",
    "qrs_ms": "QRSDuration",
    "qt_ms": "QTInterval",
    "qtc_ms": "QTCInterval",
}
_PLACES = ("Facility", "LocationName", "PatientRoom", "ServicingFacility/Name", "ServicingFacility/Address/Street1",
           "ServicingFacility/Address/City")  # fmt: skip


def record_from(root: Element, where: str, record_id: str) -> EcgRecord:
    """The record of a parsed file.

    Args:
        root: `CardiologyXML`.
        where: File name for messages.
        record_id: What to call the record.

    Returns:
        The leads in mV.

    Raises:
        RecordError: No strip, a rate or a resolution that is not stated, samples that are no numbers.
    """
    strips = list(root.iter("StripData"))[:_MAX_STRIPS]
    if not strips:
        raise RecordError(f"{where} holds no rhythm strip (StripData)", hint="export the resting ECG")
    groups: list[Group] = []
    steps: list[float] = []
    for strip in strips:
        fs_hz = checked_rate(number(text_of(strip, "SampleRate")) or 0.0, where)
        resolution = strip.find("Resolution")
        unit = "" if resolution is None else resolution.get("units", "").lower().removesuffix("perlsb")
        step, factor = number(text_of(strip, "Resolution")), millivolts_per(unit or "none")
        if step is None or not 0 < step < 1e9 or factor is None:
            raise RecordError(f"{where} does not say the resolution of its samples (found {unit[:20]!r})")
        channels: Channels = []
        for wave in strip.iterfind("WaveformData"):
            name = wave.get("lead", "")[:40]
            channels.append((name, numbers_in(text_of(wave, "."), step * factor, f"{where}: lead {name}")))
        if channels:
            groups.append(Group(levelled(channels), fs_hz))
            steps.append(step * factor * 1000)
    if not groups:
        raise RecordError(f"{where}: its rhythm strip holds no lead (WaveformData)")
    notes: list[str] = []
    rows, fs_hz = merged(groups, where, notes)
    header = _header(root)
    notes.insert(0, scale_note(header.format, steps, fs_hz, header.filters))
    person = root.find("PatientInfo")
    age = None if person is None else person.find("Age")
    stated = None if age is None else age_of(text_of(age, "."), age.get("units", ""))
    return assemble(
        rows,
        fs_hz,
        where=where,
        record_id=record_id,
        patient_id=plain_text(text_of(person, "PID")) or None,
        age_years=stated if stated is not None else age_at(header.birth_date, header.recorded_at),
        sex=sex_of(text_of(person, "Gender")),
        notes=notes,
        header=header,
    )


def _day(element: Element | None) -> str:
    parts = [number(text_of(element, tag)) for tag in ("Year", "Month", "Day")]
    return "-".join(f"{int(part):0{4 if k == 0 else 2}d}" if part else "00" for k, part in enumerate(parts))


def _header(root: Element) -> SourceHeader:
    taken, person = root.find("ObservationDateTime"), root.find("PatientInfo")
    clock = ":".join(f"{int(number(text_of(taken, tag)) or 0):02d}" for tag in ("Hour", "Minute", "Second"))
    measured = {
        name: number(text_of(root, f"RestingECGMeasurements/{tag}", f".//{tag}")) for name, tag in _MEASURES.items()
    }
    told = root.find("Interpretation")
    lines = [] if told is None else [text_of(e, ".") for e in told.iter() if e.tag in ("DiagnosisText", "Conclusion")]
    names = {
        f"{text_of(e, 'GivenName')} {text_of(e, 'FamilyName')}".strip()
        for place in ("ClinicalInfo", "PatientVisit")
        for top in root.iterfind(place)
        for e in top.iter()
        if e.find("FamilyName") is not None
    }
    names |= {text_of(root, f".//{path}") for path in _PLACES}
    ids = {
        text_of(e, ".") for tag in ("OrderNumber", "PersonID", "DICOMStudyUID", "VisitNumber") for e in root.iter(tag)
    }
    setting = root.find("FilterSetting")
    notches = [hz for hz in (50, 60) if text_of(setting, f"Filter{hz}Hz").lower() == "yes"]
    device = root.find("ClinicalInfo/DeviceInfo")
    patient = f"{text_of(person, './/GivenName')} {text_of(person, './/FamilyName')}"
    return SourceHeader(
        "GE CardioSoft XML",
        patient_name=plain_text(patient),
        birth_date=iso_time(_day(None if person is None else person.find("BirthDateTime"))),
        recorded_at=iso_time(_day(taken), clock),
        report=report_lines(lines),
        measurements={name: value for name, value in measured.items() if value and value > 0},
        device=plain_text(" ".join(text_of(device, tag) for tag in ("Desc", "SoftwareVer"))),
        filters=band(None, number(text_of(setting, "LowPass")), *notches),
        people=tuple(sorted(plain_text(name) for name in names if name.strip())),
        identifiers=tuple(sorted(plain_text(value) for value in ids if value)),
    )
