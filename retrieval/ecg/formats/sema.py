"""Schiller SEMA XML (`SchillerEDI`): samples as numbers in the text, one channel a lead, beside averaged beats."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from ecgkin.retrieval.ecg.assemble import assemble, checked_rate, levelled, millivolts_per
from ecgkin.retrieval.ecg.formats.groups import Channels, Group, merged
from ecgkin.retrieval.ecg.formats.xml import numbers_in, text_of
from ecgkin.retrieval.ecg.header import (
    SourceHeader,
    age_at,
    iso_time,
    number,
    plain_text,
    report_lines,
    scale_note,
    sex_of,
)
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError

_MAX_STRETCHES = 64
_MEASURES = {"HR": "rate_bpm", "PR": "pr_ms", "PQ": "pr_ms", "QRS": "qrs_ms", "QT": "qt_ms", "QTC": "qtc_ms"}
_PEOPLE = (
    *("examdescript/user_id", "examdescript/location/id"),
    *(f"examdescript/idu/{who}_{what}/name" for who in ("aquiring", "referring", "requesting", "analyzing")
      for what in ("user", "department", "institute")),
)  # fmt: skip


def record_from(root: Element, where: str, record_id: str) -> EcgRecord:
    """The record of a parsed file.

    Args:
        root: `SchillerEDI`.
        where: File name for messages.
        record_id: What to call the record.

    Returns:
        The leads in mV.

    Raises:
        RecordError: No rhythm, a rate or a scale that is not stated, samples that are no numbers.
    """
    waves = [w for w in root.iter("wavedata") if text_of(w, "type") == "ECG_RHYTHMS"][:_MAX_STRETCHES]
    if not waves:
        kinds = ", ".join(sorted({text_of(w, "type")[:20] for w in root.iter("wavedata")})) or "none"
        raise RecordError(f"{where} holds no rhythm (ECG_RHYTHMS; found: {kinds})")
    notes: list[str] = []
    steps: list[float] = []
    groups: list[Group] = []
    for wave in waves:
        rate = wave.find("resolution/samplerate")
        if text_of(rate, "exponent") not in ("", "0", "1"):
            raise RecordError(f"{where}: sampling rate with the exponent {text_of(rate, 'exponent')[:10]!r}")
        fs_hz = checked_rate(number(text_of(rate, "value")) or 0.0, where)
        step = number(text_of(wave, "resolution/yres/unitperbit"))
        factor = millivolts_per(text_of(wave, "resolution/yres/units") or "none")
        if step is None or not 0 < step < 1e9 or factor is None:
            raise RecordError(f"{where} does not say the scale of its samples (yres)")
        channels: Channels = []
        for channel in wave.iterfind("channel"):
            kind, name = text_of(channel, "datastype"), text_of(channel, "name")[:40]
            if kind not in ("COMMASEPARATE", ""):
                raise RecordError(f"{where}: samples are stored as {kind[:40]} (read: COMMASEPARATE)")
            channels.append((name, numbers_in(text_of(channel, "data"), step * factor, f"{where}: lead {name}")))
        if channels:
            groups.append(Group(levelled(channels), fs_hz))
            steps.append(step * factor * 1000)
    if not groups:
        raise RecordError(f"{where}: its rhythm holds no channel")
    rows, fs_hz = merged(groups, where, notes)
    header = _header(root)
    notes.insert(0, scale_note(header.format, steps, fs_hz, header.filters))
    return assemble(
        rows,
        fs_hz,
        where=where,
        record_id=record_id,
        patient_id=plain_text(text_of(root, "patdata/id")) or None,
        age_years=age_at(header.birth_date, header.recorded_at),
        sex=sex_of(text_of(root, "patdata/gender")),
        notes=notes,
        header=header,
    )


def _header(root: Element) -> SourceHeader:
    measured: dict[str, float] = {}
    for told in root.iter("annotation_global"):
        name, value = _MEASURES.get(text_of(told, "name").upper()), number(text_of(told, "value"))
        if name and value and value > 0:
            measured.setdefault(name, value)
    lines = [
        text_of(inner, ".")
        for outer in root.iter("textdata")
        if text_of(outer, "type") == "INTERPRETATION"
        for inner in outer.iterfind("textdata")
    ]
    device = " ".join(
        text_of(root, f"examdescript/aquiringdevice/{path}")
        for path in ("hardware/vendor", "hardware/model", "software/model", "software/version")
    )
    filters = [f"{text_of(f, 'name').lower()} {text_of(f, 'value')}" for f in root.iter("filter")]
    name = f"{text_of(root, 'patdata/firstname')} {text_of(root, 'patdata/lastname')}"
    start = root.find("examdescript/startdatetime")
    ids = ("examdescript/job_id", "examdescript/case_id", "examdescript/order_id")
    return SourceHeader(
        "Schiller SEMA XML",
        patient_name=plain_text(name),
        birth_date=(iso_time(text_of(root, "patdata/birthdate")) or "")[:10] or None,
        recorded_at=iso_time(text_of(start, "date"), text_of(start, "time")) or iso_time(text_of(start, "date")),
        report=report_lines([line for text in lines for line in text.splitlines()]),
        measurements=measured,
        device=plain_text(device),
        filters=plain_text(", ".join(text for text in filters if not text.endswith((" -", " ")))),
        people=tuple(dict.fromkeys(filter(None, (plain_text(text_of(root, path)) for path in _PEOPLE)))),
        identifiers=tuple(filter(None, (plain_text(text_of(root, path)) for path in ids))),
    )
