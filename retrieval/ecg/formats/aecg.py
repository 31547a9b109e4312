"""HL7 annotated ECG (aECG, V3, XML): the rhythm waveforms of the first series.

Sequences are lists of numbers with an origin and a scale (SLIST_PQ); anything else is refused by name. Leads come by
their MDC codes, never by position.
"""

from __future__ import annotations

import re
from datetime import datetime
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.assemble import (
    MAX_SAMPLES,
    assemble,
    checked_rate,
    levelled,
    millivolts_per,
    without_pulse,
)
from ecgkin.retrieval.ecg.formats.groups import Group, merged
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

_SECONDS_PER = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "": 1.0}
_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
_LEAD = re.compile(r"MDC_ECG_LEAD_(\w+)\Z")
_MEASURES = {
    "MDC_ECG_HEART_RATE": "rate_bpm",
    "MDC_ECG_TIME_PD_PR": "pr_ms",
    "MDC_ECG_TIME_PD_QRS": "qrs_ms",
    "MDC_ECG_TIME_PD_QT": "qt_ms",
    "MDC_ECG_TIME_PD_QTc": "qtc_ms",
}
_STATEMENTS = "MDC_ECG_INTERPRETATION"
_MAX_SCALE = 1e9
_MAX_SETS = 64
_STAMP = re.compile(r"(\d{14})(\.\d{1,6})?")
_PEOPLE = ("assignedPerson", "investigatorPerson", "location")


def record_from(root: Element, where: str, record_id: str) -> EcgRecord:
    """The record of a parsed file.

    All series of rhythm waveforms are read; sequence sets that belong together (limb and chest leads, the columns of a
    page) are put on one time axis, see `groups.merged`. Averaged beats are left alone.

    Args:
        root: `AnnotatedECG`, tags without namespaces.
        where: File name for messages.
        record_id: What to call the record.

    Returns:
        The leads in mV.

    Raises:
        RecordError: No rhythm waveform, no time increment, an encoding that is not read, values that are no numbers.
    """
    series = [s for s in root.iterfind("component/series") if _code(s) in ("RHYTHM", "")]
    sets = [found for s in series for found in s.iterfind("component/sequenceSet")]
    if not sets:
        raise RecordError(
            f"{where} holds no rhythm waveforms", hint="the document has annotations or averaged beats alone"
        )
    notes: list[str] = []
    groups: list[Group] = []
    steps: list[float] = []
    for found in sets[:_MAX_SETS]:
        fs_hz, start_s = _time(found, where)
        channels, some = _channels(found, where, notes)
        steps += some
        if channels:
            groups.append(Group(levelled(channels), checked_rate(fs_hz, where), start_s))
    if not groups:
        raise RecordError(f"{where}: no channel is a standard lead: {'; '.join(notes[:4])}")
    merged_channels, fs_hz = merged(groups, where, notes)
    kept = without_pulse([row for _, row in merged_channels], 1.0, 2.01 * max(steps) / 1000, fs_hz, notes)
    owner = max(series, key=lambda s: max(map(_length, s.iterfind("component/sequenceSet")), default=0))
    header = _header(root, owner)
    notes.insert(0, scale_note(header.format, steps or [0.0], fs_hz, header.filters))
    subject = root.find(".//trialSubject")
    stated = _related(root, "21612-7")
    age = age_of(_attribute(stated, "value"), _attribute(stated, "unit"))
    if age is None:
        age = age_at(header.birth_date, header.recorded_at)
    return assemble(
        [(name, row) for (name, _), row in zip(merged_channels, kept, strict=True)],
        fs_hz,
        where=where,
        record_id=record_id,
        patient_id=_patient(subject),
        age_years=age,
        sex=sex_of(_attribute(root.find(".//subjectDemographicPerson/administrativeGenderCode"), "code")),
        notes=notes,
        header=header,
    )


def _code(element: Element) -> str:
    return _attribute(element.find("code"), "code")


def _attribute(element: Element | None, name: str) -> str:
    return "" if element is None else element.get(name, "").strip()


def _length(found: Element) -> int:
    """How much a sequence set holds, by the length of its longest text."""
    return max((len(digits.text or "") for digits in found.iterfind("component/sequence/value/digits")), default=0)


def _time(found: Element, where: str) -> tuple[float, float | None]:
    """Rate in Hz, and the time of the first sample in seconds."""
    for sequence in found.iterfind("component/sequence"):
        if _code(sequence) in ("TIME_ABSOLUTE", "TIME_RELATIVE"):
            step, head = sequence.find("value/increment"), sequence.find("value/head")
            unit = _attribute(step, "unit")
            seconds = number(_attribute(step, "value"))
            if seconds is None or seconds <= 0 or unit not in _SECONDS_PER:
                told = f"{_attribute(step, 'value')[:20]!r} {unit[:10]!r}"
                raise RecordError(f"{where}: time increment is {told} (expected seconds above 0)")
            begin = _attribute(head, "value")
            if _code(sequence) == "TIME_ABSOLUTE":
                return 1.0 / (seconds * _SECONDS_PER[unit]), _clock_s(begin)
            relative, per = number(begin), _SECONDS_PER.get(_attribute(head, "unit") or unit)
            start = None if relative is None or per is None or abs(relative) > _MAX_SCALE else relative * per
            return 1.0 / (seconds * _SECONDS_PER[unit]), start
    raise RecordError(f"{where}: the waveforms come without a time sequence (TIME_ABSOLUTE or TIME_RELATIVE)")


def _clock_s(stamp: str) -> float | None:
    """Seconds of a time stamp of HL7 ("20021122091000.250") since the year 1."""
    match = _STAMP.match(stamp)
    if match is None:
        return None
    try:
        at = datetime.strptime(match.group(1), "%Y%m%d%H%M%S")
    except ValueError:
        return None
    return (at - datetime.min).total_seconds() + float(match.group(2) or 0)


def _channels(
    found: Element, where: str, notes: list[str]
) -> tuple[list[tuple[str, NDArray[np.float32]]], list[float]]:
    """Name and samples in mV of each lead, and the steps in uV."""
    channels: list[tuple[str, NDArray[np.float32]]] = []
    steps: list[float] = []
    total = 0
    for sequence in found.iterfind("component/sequence"):
        code = _code(sequence)
        if code in ("TIME_ABSOLUTE", "TIME_RELATIVE"):
            continue
        value = sequence.find("value")
        kind = "" if value is None else value.get(_TYPE, "").rsplit(":", 1)[-1]
        if value is None or kind not in ("SLIST_PQ", ""):
            raise RecordError(f"{where}: sequence {code[:40]} is coded as {kind[:40] or 'nothing'} (read: SLIST_PQ)")
        scale, unit = number(_attribute(value.find("scale"), "value")), _attribute(value.find("scale"), "unit")
        origin = number(_attribute(value.find("origin"), "value")) or 0.0
        factor, origin_factor = millivolts_per(unit), millivolts_per(_attribute(value.find("origin"), "unit") or unit)
        if factor is None or origin_factor is None:
            notes.append(f"channel {code[:40]!r} is in {unit[:20]}, no voltage: left out")
            continue
        if scale is None or not 0 < abs(scale) < _MAX_SCALE or abs(origin) > _MAX_SCALE:
            raise RecordError(f"{where}: scale of {code[:40]} is missing or no number")
        digits = numbers_in(value.findtext("digits", ""), 1.0, f"{where}: {code[:40]}").astype(np.float64)
        total += digits.size
        if total > MAX_SAMPLES:
            raise RecordError(f"{where} holds more than {MAX_SAMPLES} samples")
        lead = _LEAD.match(code.replace("-", "_"))
        steps.append(abs(scale) * factor * 1000)
        with np.errstate(over="ignore"):
            mv = (digits * (scale * factor) + origin * origin_factor).astype(np.float32)
        channels.append((lead.group(1) if lead else code, mv))
    return channels, steps


def _patient(subject: Element | None) -> str | None:
    """The subject's id; some carts write their own element for it."""
    if subject is None:
        return None
    found = _attribute(subject.find("id"), "extension") or text_of(subject, ".//PatientID", ".//patientID")
    return plain_text(found) or None


def _related(root: Element, loinc: str) -> Element | None:
    for observation in root.iterfind("controlVariable/relatedObservation"):
        if _code(observation) == loinc:
            return observation.find("value")
    return None


def _header(root: Element, series: Element) -> SourceHeader:
    when = root.find("effectiveTime")
    stamp = next(
        (s for s in (_attribute(e, "value") for e in (when if when is not None else ())) if s),
        _attribute(series.find("effectiveTime/low"), "value"),
    )
    person = root.find(".//subjectDemographicPerson")
    maker = text_of(series, "author/seriesAuthor/manufacturerOrganization/name")
    device = series.find("author/seriesAuthor/manufacturedSeriesDevice")
    names = {text_of(e, ".") for tag in _PEOPLE for top in root.iter(tag) for e in top.iter("name")}
    names |= {text_of(e, ".") for tag in ("Bed", "Room", "PointOfCare") for e in root.iter(tag)}
    ids = {text_of(root, ".//SecondPatientID"), _attribute(root.find("id"), "extension")}
    measured: dict[str, float] = {}
    lines: list[str] = []
    for annotation in root.iter("annotation"):
        code, value = _code(annotation), annotation.find("value")
        amount = number(_attribute(value, "value"))
        if code in _MEASURES and amount:
            measured.setdefault(_MEASURES[code], amount)
        elif code.startswith(_STATEMENTS) and value is not None:
            lines.append(text_of(value, ".") or value.get("displayName", ""))
    return SourceHeader(
        "HL7 aECG",
        patient_name=plain_text(text_of(person, "name")),
        birth_date=(iso_time(_attribute(root.find(".//subjectDemographicPerson/birthTime"), "value")) or "")[:10]
        or None,
        recorded_at=iso_time(stamp),
        report=report_lines(lines),
        measurements=measured,
        device=plain_text(f"{maker} {text_of(device, 'manufacturerModelName')} {text_of(device, 'softwareName')}"),
        filters=_filters(series),
        people=tuple(sorted(plain_text(name) for name in names if name)),
        identifiers=tuple(sorted(plain_text(value) for value in ids if value)),
    )


def _filters(series: Element) -> str:
    found: dict[str, float | str] = {}
    for outer in series.iterfind("controlVariable/controlVariable"):
        code = _code(outer)
        for inner in outer.iterfind("component/controlVariable"):
            if _code(inner) in ("MDC_ECG_CTL_VBL_ATTR_FILTER_CUTOFF_FREQ", "MDC_ECG_CTL_VBL_ATTR_FILTER_NOTCH_FREQ"):
                amount = number(_attribute(inner.find("value"), "value"))
                if amount is not None:
                    found[code.rsplit("FILTER_", 1)[-1]] = amount
    high, low, notch = (found.get(name) for name in ("HIGH_PASS", "LOW_PASS", "NOTCH"))
    return band(high if isinstance(high, float) else None, low if isinstance(low, float) else None, notch)
