"""DICOM by pydicom: waveforms of the 12-lead, general and ambulatory ECG objects, and wrapped PDF documents."""

from __future__ import annotations

import io
import os
import re
import warnings
import zlib
from collections import Counter
from collections.abc import MutableSequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.assemble import MAX_SAMPLES, assemble, checked_rate, millivolts_per, named
from ecgkin.retrieval.ecg.formats.groups import Group, merged
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
from ecgkin.retrieval.ecg.kinds import HEAD_BYTES, is_bare_dicom
from ecgkin.retrieval.ecg.leads import canonical_lead, signed_lead
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import EcgkinError, RecordError

if TYPE_CHECKING:
    from pydicom import Dataset


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
    """A field as one line of text, "" where it is missing.

    Args:
        data: A data set.
        keyword: Name of the field in the dictionary, "PatientID".

    Returns:
        The text, without control characters.
    """
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

    Returns:
        Name, dates, report, device and filters, as far as they are there.
    """
    common = Counter(filters).most_common(1)
    when = iso_time(text_in(data, "AcquisitionDateTime")) or iso_time(
        text_in(data, "ContentDate") or text_in(data, "StudyDate"),
        text_in(data, "ContentTime") or text_in(data, "StudyTime"),
    )
    if when is not None and re.sub(r"\D", "", when).startswith(NO_DATE):
        when = None
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
    """Age in years from the age field ("042Y"), or else from the dates.

    Args:
        data: The data set.
        header: Dates that were read from it.

    Returns:
        Years, or None.
    """
    stated = age_of(text_in(data, "PatientAge"))
    if stated is not None:
        return stated
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
MAX_INFLATED = 100_000_000  # bytes of a deflated data set: an hour of twelve leads at 500 Hz are 43 MB
_META_BYTES = 1024  # preamble and the group that names the class, which comes first
PDF_CLASS = "1.2.840.10008.5.1.4.1.1.104.1"
WAVEFORMS = {
    "1.2.840.10008.5.1.4.1.1.9.1.1": "12-lead ECG",
    "1.2.840.10008.5.1.4.1.1.9.1.2": "general ECG",
    "1.2.840.10008.5.1.4.1.1.9.1.3": "ambulatory ECG",
    "1.2.840.10008.5.1.4.1.1.9.1.4": "general 32-bit ECG",
    "1.2.840.10008.5.1.4.1.1.9.2.1": "hemodynamic waveform",
    "1.2.840.10008.5.1.4.1.1.9.3.1": "cardiac electrophysiology",
}
"""The storage classes that are read; catheter laboratories keep the twelve leads beside pressures. Other waveforms
(sound, EEG, respiration) are refused by name."""
NO_DATE = "19000101"
"""What stands for a date that is not known: the time of acquisition may not be empty (PS3.3, C.10.8)."""
_DEFLATED = "1.2.840.10008.1.2.1.99"
_DAMAGE_HINT = "copy or export it once more"
_SAMPLES = {
    ("SB", 8): "i1",
    ("UB", 8): "u1",
    ("SS", 16): "<i2",
    ("US", 16): "<u2",
    ("SL", 32): "<i4",
    ("UL", 32): "<u4",
}
_MAX_CHANNELS, _MAX_GROUPS = 64, 64
# Both schemes number the leads as SCP-ECG does: "5.6.3-9-61" and "2:61" are lead III. Numbers beyond these are other
# leads (CM5, Frank's, right chest), whatever their words look like.
_CODE = re.compile(r"(?:5\.6\.3-9-|2:)(\d{1,3})\Z")
_BY_NUMBER = {1: "I", 2: "II", **{k + 2: f"V{k}" for k in range(1, 7)}, 61: "III", 62: "aVR", 63: "aVL", 64: "aVF",
              65: "-aVR"}  # fmt: skip
_FILTERS = ("FilterLow", "FilterHigh", "NotchFilter")
_PADDED_S = 0.1
"""How long all channels must show a padding value in the middle of their range before it counts as a gap."""


def read_dicom(path: str | os.PathLike[str]) -> EcgRecord:
    """Read a DICOM ECG waveform, or the first page of a wrapped PDF document whose traces are lines.

    Groups of original samples that belong together are put on one time axis (`groups.merged`); averaged beats are left
    alone, other stretches are noted.

    Raises:
        RecordError: It is no DICOM file, another object (a wrapped scan is a picture: `pictures.open_ecg`), samples
            or a packing that are not read, cut off, or damaged.
    """
    file = Path(path)
    data = _dataset(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom warns of values that it reads all the same
            document = pdf_in(file) if may_wrap_pdf(file) else None
            return _record(data, file) if document is None else _drawn(document, file)
    except EcgkinError:
        raise
    except Exception as error:  # pydicom raises whatever the values it meets run into
        raise RecordError(f"{file.name} is a damaged DICOM file: {_damage(error)}", hint=_DAMAGE_HINT) from None


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
        raise RecordError(f"{file.name} is a damaged DICOM file: {_damage(error)}", hint=_DAMAGE_HINT) from None
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
            with file.open("rb") as stream:
                if is_bare_dicom(stream.read(HEAD_BYTES)):
                    return pydicom.dcmread(file, force=True)  # pydicom tells the encoding by the first element
            meta = pydicom.filereader.read_file_meta_info(file)
            if str(meta.get("TransferSyntaxUID", "")) == _DEFLATED:
                return pydicom.dcmread(_inflated(file), force=True)
            return pydicom.dcmread(file)
    except EcgkinError:
        raise
    except InvalidDicomError:
        raise RecordError(f"{file.name} is no DICOM file (its head is missing)") from None
    except Exception as error:  # as above
        raise RecordError(f"{file.name} is a damaged DICOM file: {_damage(error)}", hint=_DAMAGE_HINT) from None


def _inflated(file: Path) -> io.BytesIO:
    """The data set behind the head of a deflated file (PS3.5, A.5), explicit little endian, at most `MAX_INFLATED`.

    Raises:
        RecordError: It unpacks to more, is cut off, or is damaged.
    """
    raw = file.read_bytes()
    if raw[132:140] != b"\x02\0\0\0UL\x04\0":
        raise RecordError(f"{file.name} is a damaged DICOM file: its head does not say how long it is")
    begins = 144 + int.from_bytes(raw[140:144], "little")
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        found = unpacker.decompress(raw[begins:], MAX_INFLATED + 1)
    except zlib.error:
        raise RecordError(f"{file.name} is deflated and damaged", hint=_DAMAGE_HINT) from None
    if len(found) > MAX_INFLATED:
        raise RecordError(f"{file.name} unpacks to more than {MAX_INFLATED} bytes", hint="store it uncompressed")
    if not unpacker.eof:
        raise RecordError(f"{file.name} is deflated and cut off", hint=_DAMAGE_HINT)
    return io.BytesIO(found)


def _damage(error: Exception) -> str:
    """What is wrong with a file, without the words of pydicom, which are advice for programmers."""
    if isinstance(error, AttributeError) and error.name and error.name[0].isupper():
        return f"it lacks {plain_text(error.name, 60)}"
    if isinstance(error, EOFError):
        return "it ends in the middle of a value"
    if isinstance(error, NotImplementedError):
        return "a value is of a kind that DICOM does not know"
    if type(error).__name__ == "BytesLengthException":
        return "a value is shorter or longer than its kind allows"
    return "its values cannot be made out"


def _record(data: Dataset, file: Path) -> EcgRecord:
    kind = str(data.get("SOPClassUID", ""))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == PDF_CLASS:
            raise RecordError(f"{file.name} wraps a PDF document", hint="search it as a picture: its page is read")
        if kind not in WAVEFORMS or "WaveformSequence" not in data:
            what = plain_text(str(getattr(data.get("SOPClassUID", None), "name", ""))) or "an object of no class"
            raise RecordError(
                f"{file.name} is a DICOM file of {what} (read: waveforms of {', '.join(WAVEFORMS.values())})"
            )
        notes: list[str] = []
        found = _groups(data, file.name, notes)
        channels, fs_hz = merged([group for group, _, _ in found], file.name, notes)
        steps = [step for _, some, _ in found for step in some]
        filters = [band for _, _, some in found for band in some]
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


Filters = list[tuple[float | None, float | None, float | None]]


def _groups(data: Dataset, where: str, notes: list[str]) -> list[tuple[Group, list[float], Filters]]:
    """The groups that are not computed, with the steps in uV and the filters of their leads."""
    groups = list(data.WaveformSequence)[:_MAX_GROUPS]
    plain = [g for g in groups if str(g.get("WaveformOriginality", "ORIGINAL")) != "DERIVED"]
    if not plain:
        raise RecordError(f"{where} holds no original waveform ({len(groups)} computed ones, such as averaged beats)")
    is_little = data.original_encoding[1] is not False
    found: list[tuple[Group, list[float], Filters]] = []
    no_unit: list[str] = []
    for group in plain:
        fs_hz = checked_rate(float(group.SamplingFrequency), where)
        channels, steps, filters = _channels(group, fs_hz, is_little, where, notes, no_unit)
        offset_ms = _float(group, "MultiplexGroupTimeOffset")
        if channels:
            found.append((Group(channels, fs_hz, None if offset_ms is None else offset_ms / 1000), steps, filters))
    if no_unit and not any(group.leads for group, _, _ in found):
        raise RecordError(
            f"{where}: {named(no_unit[:12])} state{'s' * (len(no_unit) == 1)} a sensitivity without its unit "
            "(ChannelSensitivityUnitsSequence)",
            hint="export it again, with units",
        )
    if not found:
        raise RecordError(f"{where}: no channel is a voltage: {'; '.join(notes)[:300]}")
    return found


def _channels(
    group: Dataset, fs_hz: float, is_little: bool, where: str, notes: list[str], no_unit: list[str]
) -> tuple[list[tuple[str, NDArray[np.float32]]], list[float], Filters]:
    """Name and samples in mV of each channel, steps in uV, and the filters of each lead."""
    n_channels, n_samples = int(group.NumberOfWaveformChannels), int(group.NumberOfWaveformSamples)
    kind, bits = str(group.WaveformSampleInterpretation), int(group.WaveformBitsAllocated)
    if (kind, bits) not in _SAMPLES:
        known = ", ".join(f"{k} {b}" for k, b in _SAMPLES)
        raise RecordError(f"{where}: samples are {kind[:8]} of {bits} bits (read: {known})")
    if not 1 <= n_channels <= _MAX_CHANNELS or n_samples < 1 or n_channels * n_samples > MAX_SAMPLES:
        raise RecordError(f"{where} declares {n_channels} channels of {n_samples} samples")
    raw = group.WaveformData
    dtype = np.dtype(_SAMPLES[kind, bits]).newbyteorder("<" if is_little else ">")
    needed = n_channels * n_samples * dtype.itemsize
    if not isinstance(raw, bytes) or len(raw) < needed:
        raise RecordError(f"{where} is cut off: {len(raw or b'')} of {needed} bytes of samples")
    table = np.frombuffer(raw, dtype=dtype, count=n_channels * n_samples).reshape(n_samples, n_channels)
    gaps = _gaps(table, _padding(group, dtype), fs_hz)
    definitions = list(group.ChannelDefinitionSequence)
    if len(definitions) != n_channels:
        raise RecordError(f"{where} describes {len(definitions)} of {n_channels} channels")
    channels: list[tuple[str, NDArray[np.float32]]] = []
    steps: list[float] = []
    filters: list[tuple[float | None, float | None, float | None]] = []
    skewed: list[float] = []
    turned: list[str] = []
    for k, definition in enumerate(definitions):
        name = _name(definition)
        unit = text_in(_first(definition, "ChannelSensitivityUnitsSequence"), "CodeValue")
        factor = millivolts_per(unit)
        sensitivity = _float(definition, "ChannelSensitivity")
        if unit == "" and sensitivity is not None and canonical_lead(name):
            no_unit.append(canonical_lead(name) or name)
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
        mv[gaps[:, k]] = np.nan
        if canonical_lead(name):
            steps.append(abs(step) * factor * 1000)
            if step < 0:
                turned.append(canonical_lead(name) or name)
            low, high, notch = (_float(definition, f"{kind}Frequency") or None for kind in _FILTERS)
            filters.append((low, high, notch))
            later_s = _float(definition, "ChannelTimeSkew") or 0.0
            skew = later_s * fs_hz or _float(definition, "ChannelSampleSkew") or 0.0
            if abs(skew) >= 1:
                mv = _shifted(mv, round(skew))
                notes.append(f"lead {canonical_lead(name)} begins {1000 * skew / fs_hz:g} ms later: put in its place")
            elif skew:
                skewed.append(abs(skew))
        channels.append((name, mv))
    if turned:
        notes.append(
            f"{named(turned)}: the sensitivity is negative, which turns the lead over; compare it with the original"
        )
    if skewed:
        most = 1000 * max(skewed) / fs_hz
        notes.append(f"{len(skewed)} leads lie up to {most:.2g} ms apart, less than a sample: left as they are")
    return channels, steps, filters


def _first(data: Dataset, sequence: str) -> Any:
    items = data.get(sequence)
    return items[0] if items else None


def _shifted(row: NDArray[np.float32], by: int) -> NDArray[np.float32]:
    """The row moved to later samples (earlier ones where `by` is negative); what is not known is NaN."""
    out = np.full_like(row, np.nan)
    by = max(-row.size, min(row.size, by))
    if by >= 0:
        out[by:] = row[: row.size - by]
    else:
        out[:by] = row[-by:]
    return out


def _name(definition: Dataset) -> str:
    """The lead a channel holds, by its code, or else by the words beside the code or its label.

    A code of one of the two schemes counts whatever the words say: what it numbers beyond the twelve is none of them.
    """
    source = _first(definition, "ChannelSourceSequence")
    said = [text_in(source, "CodeMeaning"), text_in(definition, "ChannelLabel")]
    value = text_in(source, "CodeValue")
    code = _CODE.match(value)
    if code and int(code.group(1)):
        number = int(code.group(1))
        return _BY_NUMBER.get(number) or f"{next(filter(None, said), 'lead')} (code {value})"
    return next((text for text in said if signed_lead(text)[0]), "") or next(filter(None, said), "") or value


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


def _gaps(table: NDArray[Any], padding: int | None, fs_hz: float) -> NDArray[np.bool_]:
    """Where there is no sample, shape of the table (n_samples, n_channels).

    A padding value at the end of the range is a gap wherever it stands. One in its middle (some writers declare 0) is a
    true sample as well: it counts where all channels show it for `_PADDED_S` or longer.
    """
    if padding is None:
        return np.zeros(table.shape, dtype=np.bool_)
    found: NDArray[np.bool_] = table == padding
    limits = np.iinfo(table.dtype)
    if padding in (limits.min, limits.max, limits.min + 1):
        return found
    together = np.r_[False, found.all(axis=1), False].astype(np.int8)
    steps = np.diff(together)
    keep = np.zeros(table.shape, dtype=np.bool_)
    for first, last in zip(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), strict=True):
        if last - first >= max(2, _PADDED_S * fs_hz):
            keep[first:last] = True
    return keep
