"""Whether the intervals of an ECG are those of a record at its stated rate, or of one at another rate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ecgkin.retrieval.notes import Note, NoteCode

if TYPE_CHECKING:
    from ecgkin.generation.measures.values import Measurements

# Logarithms of QRS, QT, PR and RR in ms: medians, standard deviations and correlations in 1,130 records (700 of PTB-XL,
# the others of ten data bases with pacing, block, flutter and 23 children).
_MEDIAN_MS = (82.0, 362.0, 168.0, 837.0)
_SPREAD = (0.20, 0.11, 0.17, 0.20)
_CORRELATION = ((1.0, 0.36, 0.15, 0.08), (0.36, 1.0, 0.16, 0.71), (0.15, 0.16, 1.0, 0.13), (0.08, 0.71, 0.13, 1.0))
_COVARIANCE = np.outer(_SPREAD, _SPREAD) * np.array(_CORRELATION)
_FREEDOM = 5.0  # of Student's t, whose tails leave room for disease
_FACTORS = (0.2, 0.4, 0.5, 2.0, 2.5, 4.0, 5.0)  # 100, 200, 250, 400, 500, 1000 Hz taken for each other
_LEAST = 2  # values that have to be there
# Of those 1,130 records five reach 3, all of them tachycardias (a child's 5.4); of the factors above 1 none does.
_DOUBTFUL, _WRONG_FAST = 3.0, 4.6
_NARROW_MS = 60.0  # QRS of a record that is said to be faster than it is; children's tachycardias are wider


def time_factor(m: Measurements) -> tuple[float, float]:
    """By how much the time of a record is stretched, if it is.

    Args:
        m: Of the record.

    Returns:
        The most likely factor of `_FACTORS`, and the logarithm of how much likelier QRS, QT, PR and RR are with it than
        without; 1 and -inf where fewer than two of them are known.
    """
    rr = None if not m.rate_bpm else 60_000.0 / m.rate_bpm
    values = np.array([math.log(v) if v else math.nan for v in (m.qrs_ms, m.qt_ms, m.pr_ms, rr)])
    known = np.isfinite(values)
    if known.sum() < _LEAST or not known[3]:
        return 1.0, -math.inf
    precision = np.linalg.inv(_COVARIANCE[np.ix_(known, known)])
    away = values[known] - np.log(_MEDIAN_MS)[known]

    def likelihood(shift: float) -> float:
        moved = away - shift
        return -(_FREEDOM + int(known.sum())) / 2 * math.log1p(float(moved @ precision @ moved) / _FREEDOM)

    plain = likelihood(0.0)
    best, factor = max((likelihood(math.log(factor)) - plain, factor) for factor in _FACTORS)
    return factor, best


def time_note(m: Measurements | None) -> Note | None:
    """What is to be said where another rate is far likelier; None where the stated one is as good.

    Args:
        m: Of the record; None where nothing was measured.
    """
    if m is None:
        return None
    factor, likelier = time_factor(m)
    return None if likelier < _DOUBTFUL else Note(NoteCode.TIME_IMPLAUSIBLE, factor=factor)


def wrong_rate(m: Measurements) -> bool:
    """Whether only another rate explains the intervals; fast hearts get the benefit of the doubt.

    True of none of those 1,130 records; of 230 of PTB-XL said to be twice as fast as they are of 61 %, half as fast of
    86 %, 2.5 times of 32 and 59 %. At five times their rate intervals cannot be measured, and 4 % are found.

    Args:
        m: Of the record.
    """
    factor, likelier = time_factor(m)
    if factor > 1:
        return likelier > _DOUBTFUL
    return likelier > _WRONG_FAST and m.qrs_ms is not None and m.qrs_ms <= _NARROW_MS
