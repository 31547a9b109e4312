"""Cases out of a base as files: WFDB, EDF+ and CSV; DICOM is `export_dicom`, FHIR is in ui.

File names are made of the case id, with what is no letter, digit, dot, dash or underscore replaced.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np

from ecgkin.index.case import Case, digitised_words
from ecgkin.retrieval.ecg.formats.snomed import STATEMENT_OF
from ecgkin.retrieval.ecg.header import plain_text
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError

STEP_MV = 0.001
"""Resolution of what is written: that of the case base (see `waveform`)."""
_LONGEST_NAME = 100
Writer = Callable[[Path, Case, EcgRecord], Path]


def file_stem(case_id: str) -> str:
    """A file name, without suffix, for a case.

    >>> file_stem("clinic/2024/a b.scp"), file_stem("../..")
    ('clinic_2024_a_b.scp', 'case')
    """
    stem = re.sub(r"[^\w.-]+", "_", case_id, flags=re.ASCII).strip("._-")[:_LONGEST_NAME]
    return stem or "case"


def steps_of(record: EcgRecord, missing: int = -32768) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.int16]], float]:
    """Samples as 16-bit steps, shape (n_leads, n_samples), and the size of a step in mV.

    A step is 1 uV, or more where the largest sample would not fit. Missing samples become `missing`.

    Args:
        record: Samples in mV.
        missing: Value of a missing sample.

    Returns:
        Steps, int16 (n_leads, n_samples), and the size of one in mV.
    """
    signal = record.signal_mv.astype(np.float64)
    gaps = np.isnan(signal)
    if np.isinf(signal).any():
        raise RecordError(f"record {record.record_id!r} holds infinite samples (expected mV)")
    peak = float(np.abs(np.where(gaps, 0.0, signal)).max())
    step = max(STEP_MV, peak / 32767)
    return np.where(gaps, missing, np.rint(np.where(gaps, 0.0, signal) / step)).astype(np.int16), step


def write_wfdb(folder: Path, case: Case, record: EcgRecord) -> Path:
    """A WFDB record (.hea and .dat, format 16), with age, sex, SNOMED codes and report as comments.

    Args:
        folder: Where the files go.
        case: What is known of it.
        record: Its samples.

    Returns:
        The header.
    """
    import wfdb

    stem = file_stem(case.case_id).replace(".", "_")  # the package takes a dot for the beginning of a suffix
    steps, step = steps_of(record)
    codes = {name: code for code, name in reversed(STATEMENT_OF.items())}
    snomed = ",".join(codes[label] for label in case.labels if label in codes)
    comments = [
        f"Age: {case.age_years:g}" if case.age_years is not None else "Age: Unknown",
        f"Sex: {({'F': 'Female', 'M': 'Male'}).get(case.sex or '', 'Unknown')}",
        *([f"subject_id: {plain_text(case.patient_id, 60)}"] if case.patient_id else []),
        *([f"Dx: {snomed}"] if snomed else []),
        *([f"Labels: {json.dumps(case.labels)}"] if case.labels else []),
        *([f"Recorded: {case.recorded_at}"] if case.recorded_at else []),
        *(f"Report: {plain_text(line, 500)}" for line in case.report.splitlines() if line.strip()),
        *([f"Digitised: {digitised_words(case)}"] if case.is_digitised else []),
    ]
    wfdb.wrsamp(
        stem,
        fs=record.fs_hz,
        units=["mV"] * len(record.leads),
        sig_name=list(record.leads),
        d_signal=steps.T.astype(np.int64),
        fmt=["16"] * len(record.leads),
        adc_gain=[1 / step] * len(record.leads),
        baseline=[0] * len(record.leads),
        comments=comments,
        write_dir=str(folder),
    )
    return folder / f"{stem}.hea"


def write_csv(folder: Path, case: Case, record: EcgRecord) -> Path:
    """A table with a column of seconds and one of millivolts a lead; what is known of the case as comments above.

    Args:
        folder: Where the file goes.
        case: What is known of it.
        record: Its samples.

    Returns:
        The file.
    """
    path = folder / f"{file_stem(case.case_id)}.csv"
    about = {
        "case": case.case_id,
        "patient": case.patient_id,
        "age_years": case.age_years,
        "sex": case.sex,
        "recorded_at": case.recorded_at,
        "labels": " ".join(case.labels),
        "report": plain_text(case.report, 2000),
        "digitised": digitised_words(case),
        "fs_hz": f"{record.fs_hz:g}",
    }
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"# {name}: {plain_text(str(value), 2000)}\n" for name, value in about.items() if value)
        table = csv.writer(file)
        table.writerow(["time (s)", *(f"{lead} (mV)" for lead in record.leads)])
        for k, row in enumerate(record.signal_mv.T):
            table.writerow([f"{k / record.fs_hz:.6f}", *("" if np.isnan(v) else f"{v:.4f}" for v in row)])
    return path


def write_edf(folder: Path, case: Case, record: EcgRecord) -> Path:
    """An EDF+ file of 16-bit steps; stretches without samples are written as 0 mV and named in its annotations.

    EDF knows no missing sample: who reads it without its annotations takes such stretches for a straight line.

    Args:
        folder: Where the file goes.
        case: What is known of it.
        record: Its samples.

    Returns:
        The file.
    """
    from edfio import Edf, EdfAnnotation, EdfSignal, Patient, Recording

    steps, step = steps_of(record, missing=0)
    scale = 32767 * step
    signals = [
        EdfSignal(
            row.astype(np.float64) * step,
            sampling_frequency=record.fs_hz,
            label=f"ECG {lead}",
            physical_dimension="mV",
            physical_range=(-scale, scale),
            digital_range=(-32767, 32767),
        )
        for lead, row in zip(record.leads, steps, strict=True)
    ]
    gaps = [EdfAnnotation(0.0, record.duration_s, f"digitised: {digitised_words(case)}")] if case.is_digitised else []
    for lead, row in zip(record.leads, np.isnan(record.signal_mv), strict=True):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]).astype(np.int8))).reshape(-1, 2)
        for begin, end in edges[:100]:
            gaps.append(EdfAnnotation(begin / record.fs_hz, (end - begin) / record.fs_hz, f"{lead}: no samples"))
    code = plain_text(case.patient_id or "X", 20).replace(" ", "_")
    patient = Patient(code=code, sex="F" if case.sex == "F" else "M" if case.sex == "M" else "X")
    path = folder / f"{file_stem(case.case_id)}.edf"
    recorded = case.recorded_at or ""
    start = datetime.fromisoformat(recorded) if len(recorded) >= 10 else None
    if start is not None and not 1985 <= start.year <= 2084:  # EDF has two digits for the year
        start = None
    Edf(
        signals,
        patient=patient,
        recording=Recording(startdate=start.date() if start else None),
        starttime=start.time() if start else None,
        annotations=gaps,
    ).write(path)
    return path
