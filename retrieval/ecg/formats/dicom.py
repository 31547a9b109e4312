"""DICOM by pydicom: waveforms of the 12-lead, general and ambulatory ECG objects, and wrapped PDF documents."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import MutableSequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.assemble import MAX_SAMPLES, assemble, checked_rate, millivolts_per
from ecgkin.retrieval.ecg.header import (
    SourceHeader,
    age_at,
    band,
    iso_time,
    number,
    plain_text,
    plausible_age,
    report_lines,
    scale_note,
    sex_of,
)
from ecgkin.retrieval.ecg.leads import LEADS, canonical_lead
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import EcgkinError, RecordError

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


MAX_BYTES = 500_000_000
_META_BYTES = 1024  # preamble and the group that names the class, which comes first
PDF_CLASS = "1.2.840.10008.5.1.4.1.1.104.1"
WAVEFORMS = {
    "1.2.840.10008.5.1.4.1.1.9.1.1": "12-lead ECG",
    "1.2.840.10008.5.1.4.1.1.9.1.2": "general ECG",
    "1.2.840.10008.5.1.4.1.1.9.1.3": "ambulatory ECG",
}
"""The storage classes that are read; other waveforms (haemodynamic, sound, EEG) are refused by their number."""
_DEFLATED = "1.2.840.10008.1.2.1.99"
_SAMPLES = {
    ("SB", 8): "i1",
    ("UB", 8): "u1",
    ("SS", 16): "<i2",
    ("US", 16): "<u2",
    ("SL", 32): "<i4",
    ("UL", 32): "<u4",
}
_MAX_CHANNELS, _MAX_GROUPS = 64, 64
# Both schemes number the leads as SCP-ECG does: "5.6.3-9-61" and "2:61" are lead III.
_CODE = re.compile(r"(?:5\.6\.3-9-|2:)(\d{1,3})\Z")
_BY_NUMBER = {1: "I", 2: "II", **{k + 2: f"V{k}" for k in range(1, 7)}, 61: "III", 62: "aVR", 63: "aVL", 64: "aVF"}
_FILTERS = ("FilterLow", "FilterHigh", "NotchFilter")
_WORD = re.compile(r"\b(aV[RLF]|V[1-6]|I{1,3})\b", re.IGNORECASE)


def read_dicom(path: str | os.PathLike[str]) -> EcgRecord:
    """Read a DICOM ECG waveform, or the first page of a wrapped PDF document whose traces are lines.

    The longest group of original samples is read; averaged beats and other stretches are noted.

    Raises:
        RecordError: It is no DICOM file, another object (a wrapped scan is a picture: `pictures.open_ecg`), samples
            or a packing that are not read, cut off, or damaged.
    """
    file = Path(path)
    data = _dataset(file)
    try:
        document = pdf_in(file) if may_wrap_pdf(file) else None
        return _record(data, file) if document is None else _drawn(document, file)
    except EcgkinError:
        raise
    except Exception as error:  # pydicom raises whatever the values it meets run into
        text = plain_text(str(error), 120)
        raise RecordError(f"{file.name} is a damaged DICOM file: {type(error).__name__}: {text}") from None


def _drawn(document: bytes, file: Path) -> EcgRecord:
    from ecgkin.retrieval.ecg.formats.pdf.traces import read_pdf

    try:
        return read_pdf(document)
    except RecordError as error:
        raise RecordError(f"{file.name} wraps a PDF document: {error}", hint=error.hint) from error


def may_wrap_pdf(path: str | os.PathLike[str]) -> bool:
    """Whether a DICOM file says in its first bytes (part 10, group 0002) that it wraps a PDF document."""
    try:
        with Path(path).open("rb") as stream:
            head = stream.read(_META_BYTES)
    except OSError:
        return False
    return head[128:132] == b"DICM" and PDF_CLASS.encode() in head


def pdf_in(path: str | os.PathLike[str]) -> bytes | None:
    """The PDF document that a DICOM file wraps, None where it wraps none.

    Raises:
        RecordError: It is no readable DICOM file.
    """
    file = Path(path)
    data = _dataset(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if str(data.get("SOPClassUID", "")) != PDF_CLASS:
                return None
            document = data.EncapsulatedDocument
    except Exception as error:  # as above
        raise RecordError(f"{file.name} is a damaged DICOM file: {type(error).__name__}") from None
    return bytes(document) if isinstance(document, bytes) else None


def _dataset(file: Path) -> Dataset:
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise RecordError(f"{file.name} has {size} bytes (at most {MAX_BYTES} are read as DICOM)")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            meta = pydicom.filereader.read_file_meta_info(file)
            if str(meta.get("TransferSyntaxUID", "")) == _DEFLATED:
                raise RecordError(f"{file.name} is deflated, which is not read", hint="store it uncompressed")
            return pydicom.dcmread(file)
    except EcgkinError:
        raise
    except InvalidDicomError:
        raise RecordError(f"{file.name} is no DICOM file (its head is missing)") from None
    except Exception as error:  # as above
        text = plain_text(str(error), 120)
        raise RecordError(f"{file.name} cannot be read as DICOM: {type(error).__name__}: {text}") from None


def _record(data: Dataset, file: Path) -> EcgRecord:
    kind = str(data.get("SOPClassUID", ""))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == PDF_CLASS:
            raise RecordError(f"{file.name} wraps a PDF document", hint="search it as a picture: its page is read")
        if kind not in WAVEFORMS or "WaveformSequence" not in data:
            what = plain_text(str(getattr(data.get("SOPClassUID", None), "name", kind))) or "an object of no class"
            raise RecordError(
                f"{file.name} is a DICOM file of {what} (read: waveforms of {', '.join(WAVEFORMS.values())})"
            )
        groups = list(data.WaveformSequence)[:_MAX_GROUPS]
        notes: list[str] = []
        group = _best(groups, file.name, notes)
        fs_hz = checked_rate(float(group.SamplingFrequency), file.name)
        channels, steps, filters = _channels(group, file.name, notes)
        header = header_of(data, f"DICOM {WAVEFORMS[kind]}", filters)
        age = patient_age(data, header)
    notes.insert(0, scale_note(header.format, steps or [0.0], fs_hz, header.filters))
    return assemble(
        channels,
        fs_hz,
        where=file.name,
        record_id=file.stem,
        patient_id=text_in(data, "PatientID") or None,
        age_years=age,
        sex=sex_of(text_in(data, "PatientSex")),
        notes=notes,
        header=header,
    )


def _best(groups: list[Dataset], where: str, notes: list[str]) -> Dataset:
    """The longest group that is not computed."""
    plain = [g for g in groups if str(g.get("WaveformOriginality", "ORIGINAL")) != "DERIVED"]
    if not plain:
        raise RecordError(f"{where} holds no original waveform ({len(groups)} computed ones, such as averaged beats)")
    best = max(plain, key=lambda g: int(g.NumberOfWaveformSamples) / float(g.SamplingFrequency))
    if len(plain) > 1:
        notes.append(f"{len(plain)} stretches in the file: the longest is used")
    return best


def _channels(
    group: Dataset, where: str, notes: list[str]
) -> tuple[list[tuple[str, NDArray[np.float32]]], list[float], list[tuple[float | None, float | None, float | None]]]:
    """Name and samples in mV of each channel, steps in uV, and the filters of each lead."""
    n_channels, n_samples = int(group.NumberOfWaveformChannels), int(group.NumberOfWaveformSamples)
    kind, bits = str(group.WaveformSampleInterpretation), int(group.WaveformBitsAllocated)
    if (kind, bits) not in _SAMPLES:
        known = ", ".join(f"{k} {b}" for k, b in _SAMPLES)
        raise RecordError(f"{where}: samples are {kind[:8]} of {bits} bits (read: {known})")
    if not 1 <= n_channels <= _MAX_CHANNELS or n_samples < 1 or n_channels * n_samples > MAX_SAMPLES:
        raise RecordError(f"{where} declares {n_channels} channels of {n_samples} samples")
    raw = group.WaveformData
    dtype = np.dtype(_SAMPLES[kind, bits])
    needed = n_channels * n_samples * dtype.itemsize
    if not isinstance(raw, bytes) or len(raw) < needed:
        raise RecordError(f"{where} is cut off: {len(raw or b'')} of {needed} bytes of samples")
    table = np.frombuffer(raw, dtype=dtype, count=n_channels * n_samples).reshape(n_samples, n_channels)
    padding = _padding(group, dtype)
    definitions = list(group.ChannelDefinitionSequence)
    if len(definitions) != n_channels:
        raise RecordError(f"{where} describes {len(definitions)} of {n_channels} channels")
    channels: list[tuple[str, NDArray[np.float32]]] = []
    steps: list[float] = []
    filters: list[tuple[float | None, float | None, float | None]] = []
    skewed = []
    for k, definition in enumerate(definitions):
        name = _name(definition)
        unit = text_in(_first(definition, "ChannelSensitivityUnitsSequence"), "CodeValue")
        factor = millivolts_per(unit)
        sensitivity = _float(definition, "ChannelSensitivity")
        if factor is None or (unit == "" and sensitivity is not None):
            notes.append(f"channel {name[:40]!r} is in {unit[:20] or 'no unit'}, no voltage: left out")
            continue
        if sensitivity is None or not 0 < abs(sensitivity) < 1e9:
            raise RecordError(f"{where}: channel {name[:40]!r} does not say its sensitivity (found {sensitivity})")
        correction = _float(definition, "ChannelSensitivityCorrectionFactor")
        step = sensitivity * (1.0 if correction is None else correction)
        baseline = _float(definition, "ChannelBaseline") or 0.0
        with np.errstate(over="ignore"):
            mv = ((table[:, k] * step + baseline) * factor).astype(np.float32)
        if padding is not None:
            mv[table[:, k] == padding] = np.nan
        if canonical_lead(name):
            steps.append(abs(step) * factor * 1000)
            low, high, notch = (_float(definition, f"{kind}Frequency") or None for kind in _FILTERS)
            filters.append((low, high, notch))
            if _float(definition, "ChannelTimeSkew") or _float(definition, "ChannelSampleSkew"):
                skewed.append(name)
        channels.append((name, mv))
    if skewed:
        notes.append(f"{len(skewed)} leads were sampled later than the first, by less than a sample: left as they are")
    return channels, steps, filters


def _first(data: Dataset, sequence: str) -> Any:
    items = data.get(sequence)
    return items[0] if items else None


def _name(definition: Dataset) -> str:
    """The lead a channel holds, by its code, or else by the words beside the code or its label."""
    source = _first(definition, "ChannelSourceSequence")
    code = _CODE.match(text_in(source, "CodeValue"))
    if code and int(code.group(1)) in _BY_NUMBER:
        return _BY_NUMBER[int(code.group(1))]
    said = [text_in(source, "CodeMeaning"), text_in(definition, "ChannelLabel")]
    for text in said:
        words = {canonical_lead(word) for word in _WORD.findall(text)} - {None}
        if canonical_lead(text) or len(words) == 1:
            return canonical_lead(text) or next(name for name in LEADS if name in words)
    return next(filter(None, said), "") or text_in(source, "CodeValue")


def _float(data: Dataset, keyword: str) -> float | None:
    value = data.get(keyword)
    try:
        number = float(value) if value is not None else None
    except (TypeError, ValueError):
        return None
    return number if number is not None and np.isfinite(number) else None


def _padding(group: Dataset, dtype: np.dtype[Any]) -> int | None:
    """The number that stands for "no sample"."""
    value = group.get("WaveformPaddingValue")
    if isinstance(value, bytes):
        return int(np.frombuffer(value, dtype=dtype, count=1)[0]) if len(value) >= dtype.itemsize else None
    return int(value) if isinstance(value, int) else None
