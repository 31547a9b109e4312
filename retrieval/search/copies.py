"""Near copies among the neighbours: one recording with noise, another gain, rate, offset or length.

They are one observation and vote once. Samples decide. Which pairs are compared: those of nearly equal vectors, and
of the nearest recordings all that look alike at 25 samples a second, for crops and noise move vectors far. White noise
is taken out of the energies: what is left of a correlation is that of the curves below it. On PTB-XL (folds 1 to 8,
100 Hz) two recordings of one patient correlate by at most 0.988 (1,200 pairs), a recording and its nearest neighbour
by at most 0.963 (800), copies with 20 to 100 uV of noise, drift or other gains by 0.993 and more (60 each).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgkin.index.case import Case
from ecgkin.retrieval.ecg.likeness import averaged
from ecgkin.retrieval.ecg.record import EcgRecord

Doubles = NDArray[np.float64]
Found = tuple[Case, float]
NEAR = 0.95  # cosine of two vectors from which samples are looked at
SAME = 0.99  # correlation of two recordings from which they are one
ALIKE = 0.88  # the same at a quarter of the rate, in few leads, from which it is worth while to look closer
MOST_PAIRS, MOST_READ = 200, 60  # pairs that are compared and recordings that are read for one search, nearest first
NEAREST = 40  # recordings that are read whatever their vectors are: all others have small weights
_RATE_HZ, _LONGEST_S, _LEAST_S, _EDGE_S = 100, 60, 4.0, 0.3
_SMOOTHED_S, _DRIFT_S = 0.03, 0.6
_ROUGH = 4  # samples that the quick look takes together
_NOISE_LEFT = 0.7  # share of the energy that is never taken for noise
_INDEPENDENT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
_FEW = ("I", "II", "V2", "V5")


@dataclass(frozen=True)
class _Shape:
    """Leads between 1 and 25 Hz, 100 samples a second: rows (leads, n), and the energy of a sample that is noise."""

    names: tuple[str, ...]
    rows: Doubles
    noise: Doubles

    def of(self, names: Sequence[str]) -> _Shape:
        """These leads alone."""
        at = [self.names.index(name) for name in names]
        return _Shape(tuple(names), self.rows[at], self.noise[at])


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
    read: dict[int, _Shape | None] = {}

    def shape_of(k: int) -> _Shape | None:
        if k not in read:
            record = record_of(found[k][0].case_id) if len(read) < MOST_READ else None
            read[k] = None if record is None else _shape_of(record)
        return read[k]

    first_of = list(range(len(found)))  # the nearest recording that each is a copy of; copies of copies are copies

    def root(k: int) -> int:
        while first_of[k] != k:
            k = first_of[k]
        return k

    def compare(i: int, j: int) -> None:
        one, other = root(i), root(j)
        if one == other:
            return
        a, b = shape_of(i), shape_of(j)
        if a is not None and b is not None and _correlation(a, b) >= SAME:
            first_of[max(one, other)] = min(one, other)

    nearest = [(k, shape) for k in range(min(len(found), NEAREST)) if (shape := shape_of(k)) is not None]
    pairs = [(nearest[i][0], nearest[j][0]) for i, j in _alike([shape for _, shape in nearest])]
    table = np.triu(vectors @ vectors.T, 1)
    first, second = np.nonzero(table >= NEAR)
    order = np.argsort(-table[first, second], kind="stable")
    near = zip(first[order].tolist(), second[order].tolist(), strict=True)
    for i, j in [*pairs, *((i, j) for i, j in near if not (i in read and j in read))][:MOST_PAIRS]:
        compare(i, j)
    return [hit for k, hit in enumerate(found) if first_of[k] == k]


def _alike(shapes: Sequence[_Shape]) -> list[tuple[int, int]]:
    """Pairs, by their place, that a quick look finds alike; most alike first."""
    if len(shapes) < 2:
        return []
    longest = max(shape.rows.shape[1] for shape in shapes) // _ROUGH
    size = 1 << (2 * longest - 1).bit_length()
    sizes = np.array([shape.rows.shape[1] // _ROUGH for shape in shapes])
    rows = np.zeros((len(shapes), len(_FEW), longest))
    there = np.zeros((len(shapes), len(_FEW)), dtype=bool)
    for k, shape in enumerate(shapes):
        for at, name in enumerate(_FEW):
            if name in shape.names:
                row = shape.rows[shape.names.index(name)][: sizes[k] * _ROUGH]
                rows[k, at, : sizes[k]] = row.reshape(-1, _ROUGH).mean(axis=1)
                there[k, at] = True
    spectra = np.fft.rfft(rows, size)
    sums = np.concatenate([np.zeros((*rows.shape[:2], 1)), np.cumsum(rows**2, axis=2)], axis=2)
    found: list[tuple[float, int, int]] = []
    least = round(_LEAST_S * _RATE_HZ / _ROUGH)
    for i in range(len(shapes) - 1):
        common = there[i] & there[i + 1 :]  # (others, leads)
        shared = np.fft.irfft(np.einsum("lf,jlf->jf", spectra[i], spectra[i + 1 :].conj()), size)
        n, others = sizes[i], sizes[i + 1 :, None]
        lags = np.arange(-(longest - 1), n)[None]
        start, stop = np.maximum(lags, 0), np.minimum(n, lags + others)
        kept = stop - start >= least
        stop = np.maximum(stop, start)
        mine = sums[i][:, stop] - sums[i][:, start[0]][:, None]  # (leads, others, lags)
        of_i = np.einsum("jl,ljk->jk", common, mine)
        theirs = np.einsum("jl,jlk->jk", common, sums[i + 1 :])
        rest = np.arange(len(others))[:, None]
        of_j = theirs[rest, np.clip(stop - lags, 0, longest)] - theirs[rest, np.clip(start - lags, 0, longest)]
        energy = of_i * of_j
        usable = kept & (energy > 1e-12)
        agreed = np.where(usable, shared[:, lags[0]] / np.sqrt(np.where(usable, energy, 1.0)), -1.0).max(axis=1)
        found += [(float(agreed[k]), i, i + 1 + k) for k in np.flatnonzero(agreed >= ALIKE).tolist()]
    return [(i, j) for _, i, j in sorted(found, key=lambda entry: -entry[0])]


def same_recording(one: EcgRecord, other: EcgRecord) -> bool:
    """Whether two records are one recording: at some offset, over 4 s at the least, up to gain, drift and noise.

    Args:
        one, other: Of any rate, with leads in common.
    """
    a, b = _shape_of(one), _shape_of(other)
    return a is not None and b is not None and _correlation(a, b) >= SAME


def _shape_of(record: EcgRecord) -> _Shape | None:
    """What is compared of a record, without what the ends have spoilt; None where too little of it is there."""
    names = tuple(name for name in _INDEPENDENT if name in record.leads) or record.leads
    chosen = record.signal_mv[[record.leads.index(name) for name in names], : round(_LONGEST_S * record.fs_hz)]
    rows: Doubles = np.nan_to_num(chosen.astype(np.float64))
    edge, smoothed = round(_EDGE_S * record.fs_hz), _SMOOTHED_S * record.fs_hz
    n = int((rows.shape[1] - 2 * edge) / record.fs_hz * _RATE_HZ)
    if n < _LEAST_S * _RATE_HZ:
        return None
    # White noise from second differences, which a QRS complex spoils for a few samples; less by the smoothing.
    white = (np.median(np.abs(np.diff(rows, 2, axis=1)), axis=1) / 0.6745) ** 2 / 6.0
    band = averaged(rows, smoothed) - averaged(rows, _DRIFT_S * record.fs_hz)
    band = band[:, edge : band.shape[1] - edge]
    at = np.arange(n) * (record.fs_hz / _RATE_HZ)
    resampled = np.stack([np.interp(at, np.arange(len(row)), row) for row in band])
    return _Shape(names, resampled, white / max(1, round(smoothed)))


def _correlation(one: _Shape, other: _Shape) -> float:
    """The largest correlation of all common leads together, over every offset that leaves enough of both."""
    names = [name for name in one.names if name in other.names]
    if not names:
        return 0.0
    one, other = one.of(names), other.of(names)
    a, b = one.rows, other.rows
    n, m = a.shape[1], b.shape[1]
    size = 1 << (n + m - 1).bit_length()
    spectrum = (np.fft.rfft(a, size) * np.fft.rfft(b, size).conj()).sum(axis=0)
    lags = np.arange(-(m - 1), n)
    start, stop = np.maximum(lags, 0), np.minimum(n, m + lags)
    kept = stop - start >= _LEAST_S * _RATE_HZ
    lags, start, stop = lags[kept], start[kept], stop[kept]
    sums_a, sums_b = (np.concatenate([[0.0], np.cumsum((x**2).sum(axis=0))]) for x in (a, b))
    of_a = _of_curve(sums_a[stop] - sums_a[start], (stop - start) * float(one.noise.sum()))
    of_b = _of_curve(sums_b[stop - lags] - sums_b[start - lags], (stop - start) * float(other.noise.sum()))
    shared = np.fft.irfft(spectrum, size)[lags]
    energy = of_a * of_b
    return float(np.max(np.divide(shared, np.sqrt(energy), out=np.zeros_like(shared), where=energy > 1e-9)))


def _of_curve(energy: Doubles, noise: Doubles) -> Doubles:
    """Energy without that of the noise, of which no more than a part is believed."""
    return np.maximum(energy - noise, _NOISE_LEFT * energy)
