"""Near copies among the neighbours: one recording with a little noise, another gain, rate, offset or length.

They are one observation and vote once. Vectors that are nearly equal only point to them; the samples decide. On PTB-XL
(folds 1 to 8, 100 Hz) two recordings of one patient correlate by at most 0.988 (1,200 pairs), a recording and its
nearest neighbour by at most 0.963 (800), copies with 20 uV of noise, drift or other gains by 0.993 and more (60 each).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ecgkin.index.case import Case
from ecgkin.retrieval.ecg.likeness import averaged
from ecgkin.retrieval.ecg.record import EcgRecord

Doubles = NDArray[np.float64]
Found = tuple[Case, float]
NEAR = 0.95  # cosine of two vectors from which samples are looked at
SAME = 0.99  # correlation of two recordings from which they are one
MOST_PAIRS, MOST_READ = 200, 60  # pairs that are compared and recordings that are read for one search, nearest first
_RATE_HZ, _LONGEST_S, _LEAST_S, _EDGE_S = 100, 60, 4.0, 0.3
_INDEPENDENT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


def without_near_copies(
    found: Sequence[Found], vectors: NDArray[np.floating], record_of: Callable[[str], EcgRecord | None]
) -> list[Found]:
    """The neighbours, of near copies the first alone.

    Args:
        found: Cases and scores, best first.
        vectors: Their unit vectors, shape (len(found), dim).
        record_of: Gives the samples of a case; None where they were not kept: such cases stay.

    Returns:
        Those that are left, in order.
    """
    table = np.triu(vectors @ vectors.T, 1)
    first, second = np.nonzero(table >= NEAR)
    order = np.argsort(-table[first, second], kind="stable")[:MOST_PAIRS]
    read: dict[int, dict[str, Doubles]] = {}
    gone: set[int] = set()
    for i, j in zip(first[order].tolist(), second[order].tolist(), strict=True):
        if i in gone or j in gone:
            continue
        for k in {i, j} - read.keys():
            if len(read) >= MOST_READ:
                break
            record = record_of(found[k][0].case_id)
            read[k] = {} if record is None else _shape_of(record)
        if i in read and j in read and _correlation(read[i], read[j]) >= SAME:
            gone.add(j)
    return [hit for k, hit in enumerate(found) if k not in gone]


def same_recording(one: EcgRecord, other: EcgRecord) -> bool:
    """Whether two records are one recording: at some offset, over 4 s at the least, up to gain, drift and little noise.

    Args:
        one, other: Of any rate, with leads in common.
    """
    return _correlation(_shape_of(one), _shape_of(other)) >= SAME


def _shape_of(record: EcgRecord) -> dict[str, Doubles]:
    """Leads between 1 and 25 Hz, 100 samples a second, without what the ends have spoilt."""
    names = [name for name in _INDEPENDENT if name in record.leads] or list(record.leads)
    given = record.signal_mv[[record.leads.index(name) for name in names], : round(_LONGEST_S * record.fs_hz)]
    rows: Doubles = np.nan_to_num(given.astype(np.float64))
    band = averaged(rows, 0.03 * record.fs_hz) - averaged(rows, 0.6 * record.fs_hz)
    edge = round(_EDGE_S * record.fs_hz)
    band = band[:, edge : band.shape[1] - edge]
    n = int(band.shape[1] / record.fs_hz * _RATE_HZ)
    if n < _LEAST_S * _RATE_HZ:
        return {}
    at = np.arange(n) * (record.fs_hz / _RATE_HZ)
    return {name: np.interp(at, np.arange(len(row)), row) for name, row in zip(names, band, strict=True)}


def _correlation(one: dict[str, Doubles], other: dict[str, Doubles]) -> float:
    """The largest correlation of all common leads together, over every offset that leaves enough of both."""
    names = [name for name in one if name in other]
    if not names:
        return 0.0
    a, b = np.stack([one[name] for name in names]), np.stack([other[name] for name in names])
    n, m = a.shape[1], b.shape[1]
    size = 1 << (n + m - 1).bit_length()
    spectrum = (np.fft.rfft(a, size) * np.fft.rfft(b, size).conj()).sum(axis=0)
    lags = np.arange(-(m - 1), n)
    start, stop = np.maximum(lags, 0), np.minimum(n, m + lags)
    kept = stop - start >= _LEAST_S * _RATE_HZ
    lags, start, stop = lags[kept], start[kept], stop[kept]
    sums_a, sums_b = (np.concatenate([[0.0], np.cumsum((x**2).sum(axis=0))]) for x in (a, b))
    energy = (sums_a[stop] - sums_a[start]) * (sums_b[stop - lags] - sums_b[start - lags])
    shared = np.fft.irfft(spectrum, size)[lags]
    return float(np.max(np.divide(shared, np.sqrt(energy), out=np.zeros_like(shared), where=energy > 1e-9)))
