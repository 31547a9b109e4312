"""A case as DICOM 12-lead ECG waveform (or general ECG, where it is no ten-second twelve-lead one), by pydicom."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecgkin.index.case import Case, digitised_words
from ecgkin.index.transfer.export import file_stem, steps_of
from ecgkin.retrieval.ecg.formats.dicom import NO_DATE
from ecgkin.retrieval.ecg.header import plain_text
from ecgkin.retrieval.ecg.record import EcgRecord

if TYPE_CHECKING:
    from pydicom import Dataset

# MDC lead codes (ISO 11073-10101, DICOM context group 3001), and the numbers of SCP-ECG behind them.
_NUMBERS = {"I": 1, "II": 2, **{f"V{k}": k + 2 for k in range(1, 7)}, "III": 61, "aVR": 62, "aVL": 63, "aVF": 64}
_TWELVE_LEAD, _GENERAL = "1.2.840.10008.5.1.4.1.1.9.1.1", "1.2.840.10008.5.1.4.1.1.9.1.2"
# The 12-lead object holds at most 16,384 samples a channel at 200 to 1,000 Hz (DICOM PS3.3, A.34.3).
_MAX_SAMPLES, _RATES = 16_384, (200.0, 1000.0)
_MISSING = -32768


def write_dicom(folder: Path, case: Case, record: EcgRecord) -> Path:
    """Write it; age, sex, patient, date and report stand where DICOM has them.

    Returns:
        The file.

    Args:
        folder: Where the file goes, named by the case id.
        case: What is known of it.
        record: Its samples, mV.
    """
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    path = folder / f"{file_stem(case.case_id)}.dcm"
    fits = len(record.leads) == 12 and record.n_samples <= _MAX_SAMPLES and _RATES[0] <= record.fs_hz <= _RATES[1]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(_TWELVE_LEAD if fits else _GENERAL)
    # The same case has the same number at every export.
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["ecgkin", case.case_id, case.content_hash])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SpecificCharacterSet = "ISO_IR 192"
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Modality = "ECG"
    data.Manufacturer = "ecgkin"
    data.PatientName = ""
    data.PatientID = plain_text(case.patient_id or "", 64)
    data.PatientBirthDate = ""
    data.PatientSex = case.sex or ""
    if case.age_years is not None:
        data.PatientAge = f"{min(999, int(case.age_years)):03d}Y"
    _dates(data, case)
    data.StudyInstanceUID = generate_uid(entropy_srcs=["ecgkin study", case.case_id])
    data.SeriesInstanceUID = generate_uid(entropy_srcs=["ecgkin series", case.case_id])
    data.StudyID, data.AccessionNumber, data.ReferringPhysicianName = "1", "", ""  # a DICOMDIR wants a study id
    data.SeriesNumber, data.InstanceNumber = 1, 1
    data.AcquisitionContextSequence = []
    notes = []
    digitised = digitised_words(case)
    for line in filter(None, [*case.report.splitlines(), f"Digitised: {digitised}" if digitised else ""]):
        note = Dataset()
        note.ReferencedWaveformChannels = [1, 0]
        note.AnnotationGroupNumber = 0
        note.UnformattedTextValue = plain_text(line, 1024)
        notes.append(note)
    if notes:
        data.WaveformAnnotationSequence = notes
    data.WaveformSequence = [_group(record)]
    data.save_as(path, enforce_file_format=True)
    return path


def _dates(data: Dataset, case: Case) -> None:
    digits = re.sub(r"\D", "", case.recorded_at or "")
    now = datetime.now(tz=UTC)
    data.InstanceCreationDate, data.InstanceCreationTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    data.StudyDate, data.StudyTime = (digits[:8], digits[8:14]) if len(digits) >= 8 else ("", "")
    # These may not be empty, whatever is known: a day without a clock begins at midnight, no day at all is NO_DATE.
    data.ContentDate = data.StudyDate or NO_DATE
    data.ContentTime = data.StudyTime or "000000"
    data.AcquisitionDateTime = digits[:14] or NO_DATE


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _group(record: EcgRecord) -> Dataset:
    from pydicom.dataset import Dataset

    steps, step = steps_of(record, _MISSING)
    group = Dataset()
    group.WaveformOriginality = "ORIGINAL"
    group.NumberOfWaveformChannels = len(record.leads)
    group.NumberOfWaveformSamples = record.n_samples
    group.SamplingFrequency = f"{record.fs_hz:.10g}"
    group.MultiplexGroupLabel = "RHYTHM"
    channels = []
    for lead in record.leads:
        channel = Dataset()
        channel.ChannelSourceSequence = [_code(f"2:{_NUMBERS[lead]}", "MDC", f"Lead {lead}")]
        channel.ChannelSensitivity = f"{step * 1000:.10g}"
        channel.ChannelSensitivityUnitsSequence = [_code("uV", "UCUM", "microvolt")]
        channel.ChannelSensitivityCorrectionFactor = 1
        channel.ChannelBaseline = 0
        channel.ChannelSampleSkew = 0
        channel.WaveformBitsStored = 16
        channels.append(channel)
    group.ChannelDefinitionSequence = channels
    group.WaveformBitsAllocated = 16
    group.WaveformSampleInterpretation = "SS"
    group.WaveformPaddingValue = np.int16(_MISSING).tobytes()
    group.WaveformData = steps.T.astype("<i2").tobytes()
    return group
