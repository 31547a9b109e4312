"""ISHNE Holter files (Badilini, "The ISHNE Holter standard output file format", 1998)."""

from __future__ import annotations

import binascii
import os
import struct
from pathlib import Path

import numpy as np

from ecgkin.retrieval.ecg.assemble import MAX_SAMPLES, assemble, checked_rate
from ecgkin.retrieval.ecg.header import SourceHeader, age_at, iso_time, plain_text, scale_note
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError, why

MAGIC = b"ISHNE1.0"
_FIXED = 522  # bytes of magic number, checksum and the block of fixed length
_MAX_VARIABLE = 1 << 20
# Table of lead codes of the standard; 0 unknown, 1 bipolar, 2 to 4 X Y Z, 17 to 19 ES AS AI are none of the twelve.
_LEADS = {0: "unknown", 1: "bipolar", 2: "X", 3: "Y", 4: "Z", 5: "I", 6: "II", 7: "III", 8: "aVR", 9: "aVL", 10: "aVF",
          **{10 + k: f"V{k}" for k in range(1, 7)}, 17: "ES", 18: "AS", 19: "AI"}  # fmt: skip


def read_ishne(path: str | os.PathLike[str]) -> EcgRecord:
    """Read an ISHNE file.

    Returns:
        All standard leads in mV. A checksum that does not fit its header is noted.

    Raises:
        RecordError: It is no ISHNE file, it is cut off, larger than `MAX_SAMPLES`, or holds no standard lead.
    """
    file = Path(path)
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            fixed = stream.read(_FIXED)
            if not fixed.startswith(MAGIC):
                raise RecordError(f"{file.name} is no ISHNE file (its first bytes are {fixed[:8]!r})")
            if len(fixed) < _FIXED:
                raise RecordError(f"{file.name} is cut off in its header ({len(fixed)} of {_FIXED} bytes)")
            variable, declared, at_variable, at_samples = struct.unpack_from("<4i", fixed, 10)
            if not (0 <= variable <= _MAX_VARIABLE and at_variable >= _FIXED - 8 and at_samples >= _FIXED):
                raise RecordError(f"{file.name}: blocks of the header lie at impossible places")
            more = stream.read(variable)
    except (OSError, ValueError) as error:
        raise RecordError(f"{str(file)!r} cannot be read: {why(error)}") from error
    (n_leads,) = struct.unpack_from("<h", fixed, 156)
    if not 1 <= n_leads <= 12 or declared < 1:
        raise RecordError(f"{file.name} declares {n_leads} leads of {declared} samples (expected 1 to 12)")
    codes = struct.unpack_from("<12h", fixed, 158)[:n_leads]
    steps_nv = struct.unpack_from("<12h", fixed, 206)[:n_leads]
    (rate,) = struct.unpack_from("<h", fixed, 272)
    fs_hz = checked_rate(float(rate), file.name)
    if min(steps_nv) <= 0:
        raise RecordError(f"{file.name}: a lead has a resolution of {min(steps_nv)} nV (expected above 0)")
    available = max(0, size - at_samples) // (2 * n_leads)
    # The standard's "size in samples" is written by some recorders for all leads together: then the file ends there.
    together = size - at_samples == 2 * declared
    n_samples = declared // n_leads if together else declared
    if available < n_samples or n_samples < 1:
        raise RecordError(f"{file.name} is cut off: {available} samples a lead (expected {n_samples})")
    if n_samples * n_leads > MAX_SAMPLES:
        raise RecordError(f"{file.name} holds {n_samples * n_leads} samples (at most {MAX_SAMPLES} are read)")
    header = _header(fixed)
    notes = [scale_note("ISHNE 1.0", [step / 1000 for step in steps_nv], fs_hz, "")]
    if binascii.crc_hqx(fixed[10:] + more, 0xFFFF) != struct.unpack_from("<H", fixed, 8)[0]:
        notes.append("the checksum of the header does not fit its content")
    samples = np.memmap(file, dtype="<i2", mode="r", offset=at_samples, shape=(n_samples, n_leads))
    channels = [
        (_LEADS.get(code, f"lead code {code}"), samples[:, k].astype(np.float32) * np.float32(steps_nv[k] * 1e-6))
        for k, code in enumerate(codes)
    ]
    (sex,) = struct.unpack_from("<h", fixed, 128)
    return assemble(
        channels,
        fs_hz,
        where=file.name,
        record_id=file.stem,
        patient_id=_text(fixed, 108, 20) or None,
        age_years=age_at(header.birth_date, header.recorded_at),
        sex={1: "M", 2: "F"}.get(sex),
        notes=notes,
        header=header,
    )


def _text(fixed: bytes, at: int, size: int) -> str:
    return plain_text(fixed[at : at + size].split(b"\0")[0].decode("latin-1"))


def _header(fixed: bytes) -> SourceHeader:
    def day(at: int) -> str:
        d, m, y = struct.unpack_from("<3h", fixed, at)
        return f"{y:04d}-{m:02d}-{d:02d}" if 1000 <= y <= 9999 else ""

    hour, minute, second = struct.unpack_from("<3h", fixed, 150)
    date = day(138)
    clock = f"{hour:02d}:{minute:02d}:{second:02d}"
    return SourceHeader(
        "ISHNE 1.0",
        patient_name=f"{_text(fixed, 28, 40)} {_text(fixed, 68, 40)}".strip(),
        birth_date=iso_time(day(132)),
        recorded_at=iso_time(date, clock) or iso_time(date),
        device=_text(fixed, 232, 40),
    )
