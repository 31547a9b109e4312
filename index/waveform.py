"""The samples of a case as a small blob: 16-bit steps, first differences, zlib. About 1 byte a sample."""

from __future__ import annotations

import json
import zlib

import numpy as np

from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import CaseBaseError, RecordError

STEP_MV = 0.001  # the resolution of PTB-XL and of most carts' files: those come back to the microvolt
_LIMIT = 32767
_MISSING = -32768


def pack_record(record: EcgRecord) -> tuple[str, bytes]:
    """A JSON head and the packed samples.

    Samples are rounded to 1 uV; where the largest does not fit into 16 bits (beyond 32.767 mV), to the step that does.
    Missing samples stay missing.

    Raises:
        RecordError: A sample is infinite.
    """
    signal = record.signal_mv
    missing = np.isnan(signal)
    if np.isinf(signal).any():
        raise RecordError(f"record {record.record_id!r} holds infinite samples (expected mV, NaN where missing)")
    peak = float(np.abs(np.where(missing, 0.0, signal)).max())
    step = max(STEP_MV, peak / _LIMIT)
    steps = np.where(missing, _MISSING, np.rint(np.where(missing, 0.0, signal).astype(np.float64) / step))
    # Differences wrap around in 16 bits, and the sum wraps back: nothing is lost.
    deltas = np.diff(steps.astype(np.int64), axis=1, prepend=0).astype("<i2")
    head = {
        "shape": list(signal.shape),
        "step_mv": step,
        "fs_hz": record.fs_hz,
        "leads": list(record.leads),
        "record_id": record.record_id,
        "patient_id": record.patient_id,
        "age_years": record.age_years,
        "sex": record.sex,
        "notes": list(record.notes),
    }
    return json.dumps(head), zlib.compress(deltas.tobytes(), 6)


def unpack_record(head_json: str, blob: bytes) -> EcgRecord:
    """The record that `pack_record` packed.

    Args:
        head_json: The head.
        blob: The samples.

    Returns:
        The record, mV, shape (n_leads, n_samples).

    Raises:
        CaseBaseError: The blob is damaged.
    """
    try:
        head = json.loads(head_json)
        deltas = np.frombuffer(zlib.decompress(blob), dtype="<i2").reshape(head["shape"])
        steps = np.cumsum(deltas, axis=1, dtype=np.int64).astype(np.int16)
    except (ValueError, KeyError, zlib.error) as error:
        raise CaseBaseError(f"stored samples are damaged: {error}") from error
    signal = np.where(steps == _MISSING, np.nan, steps * head["step_mv"]).astype(np.float32)
    return EcgRecord(
        signal_mv=signal,
        fs_hz=head["fs_hz"],
        leads=tuple(head["leads"]),
        record_id=head["record_id"],
        patient_id=head["patient_id"],
        age_years=head["age_years"],
        sex=head["sex"],
        notes=tuple(head["notes"]),
    )
