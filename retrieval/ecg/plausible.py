"""Whether samples can be millivolts of an ECG: one rule for files, tables and samples that a client sends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.errors import RecordError
from ecgkin.retrieval.notes import Note, NoteCode

# The largest QRS complexes reach 6 to 8 mV, pacing spikes of analogue recorders 10; the smallest ECG that a cart still
# calls one has 0.1 mV in its largest lead (low voltage begins at 0.5).
_ODD_MV, _TINY_MV = 12.0, 0.05
# In 3,000 records of PTB-XL the median lead stays within 2.1 mV of its baseline for 98 % of the time (99.9th
# percentile: 2.0). Twice that is odd; ten times that, as of microvolts taken for millivolts, is no ECG.
_ODD_LEVEL_MV, _NO_LEVEL_MV = 4.0, 20.0
_LEVEL = 98.0
_NO_SAMPLE_MV = 10_000.0  # amplifiers of electrodes on the skin end at some 300 mV
_NO_SPAN_MV = 0.005  # below the step of any recorder, and below the noise of its amplifier


def amplitude_notes(signal_mv: NDArray[np.float32], where: str) -> list[Note]:
    """What is odd about the amplitudes of an ECG.

    Args:
        signal_mv: Shape (n_leads, n_samples), mV; NaN where a sample is missing, one number at the least.
        where: File or field, for messages.

    Returns:
        Notes; none where nothing is odd.

    Raises:
        RecordError: No ECG has such amplitudes: a sample beyond 10 V, half of the leads beyond 20 mV of their
            baseline for 2 % of the time, or no lead that spans 5 uV (and not all of them flat).

    >>> amplitude_notes(np.array([[0.0, 1.0], [0.0, 15.0]], dtype=np.float32), "x")
    ['amplitudes reach 15 mV: the unit or the gain is probably wrong']
    """
    known = signal_mv[np.isfinite(signal_mv).any(axis=1)]
    low, high = np.nanmin(known, axis=1), np.nanmax(known, axis=1)
    peak = float(high.max() if high.max() > -low.min() else low.min())
    if abs(peak) > _NO_SAMPLE_MV:
        raise RecordError(f"{where}: a sample is {peak:.3g} mV (no ECG is above {_NO_SAMPLE_MV:g})", hint=_HINT)
    span = float((high - low).max())
    if 0 < span < _NO_SPAN_MV:
        raise RecordError(
            f"{where}: no lead spans more than {span:.2g} mV (less than {_NO_SPAN_MV:g} is no ECG)", hint=_HINT
        )
    level = _level(known) if span > _ODD_LEVEL_MV else 0.0
    if level > _NO_LEVEL_MV:
        raise RecordError(
            f"{where}: half of the leads reach {level:.3g} mV from their baseline (no ECG reaches {_NO_LEVEL_MV:g})",
            hint=_HINT,
        )
    said = []
    if abs(peak) > _ODD_MV or level > _ODD_LEVEL_MV:
        said.append(Note(NoteCode.AMPLITUDE_IMPLAUSIBLE, mv=peak))
    if 0 < span < _TINY_MV:
        said.append(Note(NoteCode.AMPLITUDE_TINY, mv=span))
    return said


_HINT = "is the unit microvolts, or the gain another one?"


def _level(signal_mv: NDArray[np.float32]) -> float:
    """How far the median lead is from its baseline, but for 2 % of the time, mV."""
    away = np.abs(signal_mv - np.nanmedian(signal_mv, axis=1, keepdims=True))
    return float(np.median(np.nanpercentile(away, _LEVEL, axis=1)))
