"""Philips Sierra ECG XML, versions 1.03 and 1.04 (PageWriter, HeartStart MRx, IntelliSpace).

Leads are Base64, plain 16-bit numbers or packed with Philips' XLI (`xli`). What the file stores for III, aVR, aVL and
aVF is only what its maker's prediction from I and II misses; the leads are put together here.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.assemble import MAX_SAMPLES, assemble, checked_rate, levelled, without_pulse
from ecgkin.retrieval.ecg.formats.huffman import integrate
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
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError

_BITS = 10
_LAST_CODE = (1 << _BITS) - 2  # the highest one is the end
_OFFSET = 64  # what is added to each correction
MAX_LEAD_SAMPLES = 2_000_000
"""Most samples of a lead: an hour at 500 Hz. A forged chunk may stand for hundreds of times its size."""


def xli_lead(chunk: bytes, correction: int) -> NDArray[np.int64] | None:
    """Samples of one lead.

    Args:
        chunk: Its packed bytes, without the 8 bytes in front.
        correction: What those say of the third sample: how far it lies below the line through the first two.

    Returns:
        Shape (n,), or None where the bytes are no such packing: fewer than two samples, more than `MAX_LEAD_SAMPLES`,
        samples beyond 16 bits.
    """
    data = _lzw(chunk)
    if data is None or len(data) < 4:
        return None
    if len(data) % 2:
        data += b"\0"
    # All high bytes come first, then all low ones.
    high, low = np.frombuffer(data, dtype=np.uint8).reshape(2, -1)
    stored = ((high.astype(np.uint16) << 8) | low).view(np.int16).astype(np.int64)
    bends = np.concatenate([[correction], stored[2:-1] - _OFFSET])[: stored.size - 2]
    samples = integrate(np.concatenate([stored[:2], -bends]), 2)
    return samples if np.abs(samples).max() <= 32768 else None


def _lzw(chunk: bytes) -> bytes | None:
    """Unpacked bytes; None beyond the largest size or where a code comes before its word."""
    size = len(chunk) * 8 // _BITS
    bits = np.unpackbits(np.frombuffer(chunk, dtype=np.uint8))[: size * _BITS].reshape(size, _BITS)
    codes = bits @ (1 << np.arange(_BITS - 1, -1, -1))
    words: dict[int, bytes] = {code: bytes([code]) for code in range(256)}
    out: list[bytes] = []
    before, following, total = b"", 256, 0
    for code in codes.tolist():
        if code > _LAST_CODE:
            break
        word = words.get(code)
        if word is None:
            if not before:
                return None
            word = words[code] = before + before[:1]
        if before and following <= _LAST_CODE:
            words[following] = before + word[:1]
            following += 1
        total += len(word)
        if total > 2 * MAX_LEAD_SAMPLES:
            return None
        out.append(word)
        before = word
    return b"".join(out)


VERSIONS = ("1.03", "1.04", "1.04.01", "1.04.02")
_MAX_LEADS = 18
_MAX_CHUNK = 1_000_000  # packed bytes of a lead: a lead of 11 s takes 3,000
_IDS = (".//userdefine/value", ".//ordernumber", ".//uniqueorderid", ".//encounterid")
_NO_NAME = {"---", "xxxxxx"}


def record_from(root: Element, where: str, record_id: str) -> EcgRecord:
    """The record of a parsed file.

    Args:
        root: `restingecgdata`, tags without namespaces.
        where: File name for messages.
        record_id: What to call the record.

    Returns:
        The leads in mV.

    Raises:
        RecordError: Another version, an encoding or a compression that is not read, leads that are cut off.
    """
    version = text_of(root, "documentinfo/documentversion")
    kind = text_of(root, "documentinfo/documenttype")
    if version not in VERSIONS or kind not in ("SierraECG", "PhilipsECG"):
        raise RecordError(
            f"{where} is {kind[:40] or 'no type'} {version[:20] or 'without version'} (read: {', '.join(VERSIONS)})"
        )
    waves = root.find(".//parsedwaveforms")
    if waves is None:
        raise RecordError(f"{where} holds no waveforms (parsedwaveforms)")
    signal = root.find("dataacquisition/signalcharacteristics")
    fs_hz = checked_rate(number(waves.get("samplespersecond") or text_of(signal, "samplingrate")) or 0.0, where)
    step_uv = number(waves.get("resolution") or text_of(signal, "resolution", "signalresolution"))
    if step_uv is None or not 0 < step_uv < 1e6:
        raise RecordError(f"{where} does not say the resolution of its samples")
    notes: list[str] = []
    names = _names(waves, signal, where)
    stored = _stored(waves, signal, names, fs_hz, where, notes)
    rows = _restored(dict(zip(names, stored, strict=True)), where) if _is_predicted(names) else stored
    rows = without_pulse(rows, round(1000 / step_uv), 1, fs_hz, notes)
    header = _header(root, f"Philips Sierra XML {version}")
    notes.insert(0, scale_note(header.format, step_uv, fs_hz, header.filters))
    channels = [(name, (row * (step_uv / 1000)).astype(np.float32)) for name, row in zip(names, rows, strict=True)]
    person = root.find("patient/generalpatientdata")
    years = age_of(text_of(person, "age/years"))
    return assemble(
        levelled(channels),
        fs_hz,
        where=where,
        record_id=record_id,
        patient_id=_named(text_of(person, "patientid")) or None,
        age_years=years if years is not None else age_at(header.birth_date, header.recorded_at),
        sex=sex_of(text_of(person, "sex")),
        notes=notes,
        header=header,
    )


def _names(waves: Element, signal: Element | None, where: str) -> list[str]:
    labels = waves.get("leadlabels", "").split()
    stated = number(waves.get("numberofleads") or text_of(signal, "numberchannelsvalid", "numberchannelsallocated"))
    count = int(stated) if stated is not None and 1 <= stated <= _MAX_LEADS else 0
    if not count:
        raise RecordError(f"{where} does not say how many leads it holds (expected 1 to {_MAX_LEADS})")
    if labels:
        return labels[:count]
    acquired = text_of(signal, "acquisitiontype")
    if acquired not in ("STD-12", "10-WIRE") or count != len(LEADS):
        raise RecordError(
            f"{where}: {count} leads of type {acquired[:20]!r} come without names (read: STD-12, 10-WIRE)"
        )
    return list(LEADS)


def _is_predicted(names: list[str]) -> bool:
    return names[:6] == list(LEADS[:6])


def _stored(
    waves: Element, signal: Element | None, names: list[str], fs_hz: float, where: str, notes: list[str]
) -> list[NDArray[np.int64]]:
    """Numbers as they are stored, one array a lead."""
    encoding = waves.get("dataencoding", "")
    if encoding != "Base64":
        raise RecordError(f"{where}: waveforms are encoded as {encoding[:40] or 'nothing'} (read: Base64)")
    bits = waves.get("bitspersample") or waves.get("nbitspersample") or text_of(signal, "bitspersample")
    if bits not in ("16", ""):
        raise RecordError(f"{where}: samples have {bits[:10]} bits (read: 16)")
    data = base64_bytes("".join(waves.itertext()), where, "the waveform")
    packed = waves.get("compressmethod") or waves.get("compression") or "Uncompressed"
    if waves.get("compressflag", "").lower() == "false":
        packed = "Uncompressed"
    length_ms = number(waves.get("durationperchannel")) or 0.0
    expected = round(length_ms * fs_hz / 1000) if 0 < length_ms < 1e8 else 0
    if expected * len(names) > MAX_SAMPLES:
        raise RecordError(f"{where} holds more than {MAX_SAMPLES} samples")
    if packed == "XLI":
        rows = _unpacked(data, len(names), where)
    elif packed == "Uncompressed":
        values = np.frombuffer(data[: len(data) // 2 * 2], dtype="<i2").astype(np.int64)
        each = expected or values.size // len(names)
        if not each or values.size < each * len(names):
            raise RecordError(f"{where} is cut off: {values.size} of {each * len(names)} samples")
        rows = [values[k * each : (k + 1) * each] for k in range(len(names))]
    else:
        raise RecordError(f"{where}: waveforms are compressed by {packed[:40]} (read: XLI)")
    if expected and min(row.size for row in rows) < expected:
        raise RecordError(f"{where}: a lead has {min(row.size for row in rows)} samples (expected {expected})")
    if expected:
        rows = [row[:expected] for row in rows]
    if max(row.size for row in rows) != min(row.size for row in rows):
        notes.append("leads differ in length")
    return rows


def _unpacked(data: bytes, n_leads: int, where: str) -> list[NDArray[np.int64]]:
    """XLI: a chunk a lead, each with its packed size and the first correction in front."""
    rows: list[NDArray[np.int64]] = []
    at = 0
    for k in range(n_leads):
        size = int.from_bytes(data[at : at + 4], "little", signed=True)
        if at + 8 > len(data) or not 0 < size <= min(_MAX_CHUNK, len(data) - at - 8):
            raise RecordError(f"{where}: packed lead {k + 1} is cut off", hint="is the file complete?")
        correction = int.from_bytes(data[at + 6 : at + 8], "little", signed=True)
        row = xli_lead(data[at + 8 : at + 8 + size], correction)
        if row is None:
            raise RecordError(f"{where}: packed lead {k + 1} is damaged")
        rows.append(row)
        at += 8 + size
    return rows


def _restored(stored: dict[str, NDArray[np.int64]], where: str) -> list[NDArray[np.int64]]:
    """Limb leads from what is stored of them: what the prediction from I and II misses, halves rounded down."""
    if len({stored[name].size for name in LEADS[:6]}) != 1:
        raise RecordError(f"{where}: the limb leads differ in length")
    one, two = stored["I"], stored["II"]
    three = two - one - stored["III"]
    limbs = {
        "I": one,
        "II": two,
        "III": three,
        "aVR": -stored["aVR"] - (one + two) // 2,
        "aVL": (one - three) // 2 - stored["aVL"],
        "aVF": (two + three) // 2 - stored["aVF"],
    }
    return [limbs.get(name, row) for name, row in stored.items()]


def _named(text: str) -> str:
    return "" if text.lower() in _NO_NAME else plain_text(text)


def _header(root: Element, form: str) -> SourceHeader:
    taken = root.find("dataacquisition")
    when = iso_time(taken.get("date", ""), taken.get("time", "")) if taken is not None else None
    person = root.find("patient/generalpatientdata")
    words = [_named(text_of(person, f"name/{part}")) for part in ("firstname", "middlename", "lastname")]
    signal = root.find("dataacquisition/signalcharacteristics")
    measured = {}
    told = root.find(".//interpretation")
    for name, paths in (
        ("rate_bpm", (".//heartrate",)),
        ("pr_ms", (".//print", ".//meanprint")),
        ("qrs_ms", (".//qrsdur", ".//meanqrsdur")),
        ("qt_ms", (".//qtint", ".//meanqtint")),
        ("qtc_ms", (".//qtcb", ".//meanqtc")),
    ):
        value = number(text_of(told, *paths))
        if value:
            measured[name] = value
    acquirer = root.find("dataacquisition/acquirer")
    people = {text_of(acquirer, tag) for tag in ("operatorid", "institutionname", "departmentname", "facilityname")}
    people |= {
        text_of(root, path) for path in (".//orderingclinician", ".//referringclinician", ".//overreadclinician")
    }
    others = {text_of(person, tag) for tag in ("MRN", "uniquepatientid")}
    others |= {text_of(e, ".") for path in _IDS for e in root.iterfind(path)}
    machine = root.find("dataacquisition/machine")
    device = "" if machine is None else f"{machine.text or ''} {machine.get('detaildescription', '')}"
    return SourceHeader(
        form,
        patient_name=" ".join(filter(None, words)),
        birth_date=iso_time(text_of(person, "age/dateofbirth")),
        recorded_at=when,
        report=report_lines(_statements(told)),
        measurements=measured,
        device=plain_text(device),
        filters=_filters(signal),
        people=tuple(sorted(plain_text(name) for name in people if name)),
        identifiers=tuple(sorted(plain_text(value) for value in others if _named(value))),
    )


def _statements(told: Element | None) -> list[str]:
    """Findings and severity, without what a reader deleted and without the criteria behind them."""
    if told is None:
        return []
    lines = []
    for statement in told.iter("codedstatement"):
        if statement.get("deleted", "False") != "True":
            modifiers = " ".join(text_of(m, ".") for m in statement.iterfind("modifiers/modifier"))
            lines.append(f"{modifiers} {text_of(statement, 'unparsedstatement/lhsstatement')}".strip())
    if not lines:
        lines = [text_of(statement, "leftstatement") for statement in told.iterfind("statement")]
    return [*lines, text_of(told, "severity").strip("- ")]


def _filters(signal: Element | None) -> str:
    """What the samples went through; what the print-out adds is not in them."""
    low, high = text_of(signal, "hipass"), text_of(signal, "lowpass")
    if not low:
        low, _, high = text_of(signal, "signalbandwidth").partition("-")
    notch = number(text_of(signal, "acsetting")) if text_of(signal, "notchfiltered") == "True" else None
    return band(number(low), number(high), notch)
