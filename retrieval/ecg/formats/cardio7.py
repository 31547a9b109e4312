"""Bionet Cardio7 XML: samples as numbers in the text, one `WaveData` a lead."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from ecgkin.retrieval.ecg.assemble import assemble, checked_rate, levelled
from ecgkin.retrieval.ecg.formats.groups import Channels
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

_UV_PER = {"uV": 1.0, "mV": 1000.0, "nV": 0.001}
_MAX_LEADS = 64
_MEASURES = {
    "rate_bpm": "HeartRate",
    "pr_ms": "MeanPRint",
    "qrs_ms": "MeanQRSdur",
    "qt_ms": "MeanQTint",
    "qtc_ms": "MeanQTc",
}


def record_from(root: Element, where: str, record_id: str) -> EcgRecord:
    """The record of a parsed file.

    Args:
        root: `Cardio7`.
        where: File name for messages.
        record_id: What to call the record.

    Returns:
        The leads in mV.

    Raises:
        RecordError: No waveform, a rate or a scale that is not stated, an encoding, samples that are no numbers.
    """
    study = next((s for s in root.iter("StudyInfo") if s.find(".//WaveData") is not None), root)
    info = study.find(".//WaveInfo")
    leads = study.findall(".//WaveData")
    if not 1 <= len(leads) <= _MAX_LEADS:
        raise RecordError(f"{where} holds {len(leads)} leads (WaveData; expected 1 to {_MAX_LEADS})")
    if text_of(info, "Encoding"):
        raise RecordError(f"{where}: samples are encoded as {text_of(info, 'Encoding')[:40]} (read: plain numbers)")
    fs_hz = checked_rate(number(text_of(info, "SampleRate/Hz")) or 0.0, where)
    scales = [(number(text_of(info, f"DataUnit/{unit}")), per) for unit, per in _UV_PER.items()]
    step_uv = next((value * per for value, per in scales if value is not None), 0.0)
    if not 0 < step_uv < 1e6:
        raise RecordError(f"{where} does not say the unit of its samples (DataUnit)")
    channels: Channels = []
    for lead in leads:
        name = text_of(lead, "Channel")[:40]
        channels.append((name, numbers_in(text_of(lead, "Data"), step_uv / 1000, f"{where}: lead {name}")))
    header = _header(root, study)
    stated = age_of(text_of(root, "PatientInfo/Age"))
    return assemble(
        levelled(channels),
        fs_hz,
        where=where,
        record_id=record_id,
        patient_id=plain_text(text_of(root, "PatientInfo/Id")) or None,
        age_years=stated if stated is not None else age_at(header.birth_date, header.recorded_at),
        sex=sex_of(text_of(root, "PatientInfo/Gender")),
        notes=[scale_note(header.format, step_uv, fs_hz, header.filters)],
        header=header,
    )


def _header(root: Element, study: Element) -> SourceHeader:
    values = {name: number(text_of(study, f".//ShortMeasurementSegment/{tag}")) for name, tag in _MEASURES.items()}
    device = study.find(".//Device")
    day = text_of(study, "RecordInfo/AcqDate", "Date")
    clock = text_of(study, "RecordInfo/AcqTime", "Time")
    name = f"{text_of(root, 'PatientInfo/Name')} {text_of(root, 'PatientInfo/FamilyName')}"
    people = [text_of(study, path) for path in ("RecordInfo/Institution", "RecordInfo/StudyAuthor")]
    notch = number(text_of(device, "ACFilter").lower().removesuffix("hz"))
    return SourceHeader(
        "Bionet Cardio7 XML",
        patient_name=plain_text(name),
        birth_date=(iso_time(text_of(root, "PatientInfo/DOB")) or "")[:10] or None,
        recorded_at=iso_time(day, clock) or iso_time(day),
        report=report_lines([text_of(s, ".") for s in study.iterfind(".//Interpretation/statement")]),
        measurements={name: value for name, value in values.items() if value and value > 0},
        device=plain_text(" ".join(text_of(device, tag) for tag in ("Manufacturer", "Model", "Type"))),
        filters=band(
            number(text_of(device, "BaseLineFilter").lower().removesuffix("hz")),
            number(text_of(device, "LowpassFilter").lower().removesuffix("hz")),
            notch,
        ),
        people=tuple(filter(None, map(plain_text, people))),
        identifiers=tuple(filter(None, [plain_text(text_of(study, "Id"))])),
    )
