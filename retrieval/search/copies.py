"""Near copies among the neighbours: one recording with noise, another gain, rate, offset or length.

They are one observation and vote once. Samples decide. Which pairs are compared: those of nearly equal vectors, and
all of the nearest recordings, for crops and noise move vectors far; of them those whose leads vary together in the same
way (`Outline`: the energy of each lead and what every two leads share, of which gain, offset, rate and length change
little). White noise is taken out of the energies: what is left of a correlation is that of the curves below it.

On PTB-XL (folds 1 to 8, 100 Hz) two recordings of one patient correlate by at most 0.988 (1,200 pairs), a recording and
its nearest neighbour by at most 0.963 (800), copies with 20 to 100 uV of noise, drift or other gains by 0.993 and more
(60 each). Outlines of two of the forty nearest lie 0.10 apart and more in 999 of 1,000 pairs (60 searches), those of
halves 0.05 and less in 95 of 100, of copies with 50 uV of noise 0.03 and less; the least of 46,800 such pairs 0.051, of
copies stretched in time by 5 % 0.02 to 0.03: below `EQUAL` the outlines decide alone, where all eight leads are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
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
ALIKE = 0.12  # distance of two outlines up to which it is worth while to look closer
EQUAL = 0.03  # distance of two outlines of eight leads from which down they are of one recording, stretched or not
MOST_PAIRS, MOST_READ = 200, 60  # pairs that are compared and recordings that are read for one search, nearest first
NEAREST = 40  # recordings that are looked at whatever their vectors are: all others have small weights
_RATE_HZ, _LONGEST_S, _LEAST_S, _EDGE_S = 100, 60, 4.0, 0.3
_SMOOTHED_S, _DRIFT_S = 0.03, 0.6
_FINER = 4  # steps between two samples at which the best offset is looked for
_NOISE_LEFT = 0.7  # share of the energy that is never taken for noise
_INDEPENDENT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
_KEPT = 20_000  # outlines that are kept, 300 bytes each


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


class Outlines:
    """Outlines of cases that were looked at, so that the next search need not read their samples again.

    Cases are known by id and content: another recording under an old id has another outline.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Doubles | None] = {}

    def of(self, case: Case, shape: Callable[[], _Shape | None]) -> Doubles | None:
        """The outline of a case, (8, 8), NaN where a lead is missing; None where it has no samples to speak of.

        Args:
            case: The case.
            shape: Gives its leads where they were not looked at before.
        """
        key = (case.case_id, case.content_hash)
        if case.content_hash and key in self._known:
            return self._known[key]
        made = shape()
        outline = None if made is None else _outline(made)
        if case.content_hash:
            with suppress(RuntimeError, StopIteration, KeyError):  # another search was faster
                while len(self._known) >= _KEPT:
                    del self._known[next(iter(self._known))]
            self._known[key] = outline
        return outline


def without_near_copies(
    found: Sequence[Found],
    vectors: NDArray[np.floating],
    record_of: Callable[[str], EcgRecord | None],
    outlines: Outlines | None = None,
) -> list[Found]:
    """The neighbours, of near copies the first alone.

    Args:
        found: Cases and scores, best first.
        vectors: Their unit vectors, shape (len(found), dim).
        record_of: Gives the samples of a case; None where they were not kept: such cases stay.
        outlines: Of earlier searches in the same base; None keeps nothing.

    Returns:
        Those that are left, in order.
    """
    outlines = outlines or Outlines()
    read: dict[int, _Shape | None] = {}
    seen: dict[int, Doubles | None] = {}

    def shape_of(k: int) -> _Shape | None:
        if k not in read:
            record = record_of(found[k][0].case_id) if len(read) < MOST_READ else None
            read[k] = None if record is None else _shape_of(record)
        return read[k]

    def outline_of(k: int) -> Doubles | None:
        if k not in seen:
            seen[k] = None if len(read) >= MOST_READ else outlines.of(found[k][0], lambda: shape_of(k))
        return seen[k]

    first_of = list(range(len(found)))  # the nearest recording that each is a copy of; copies of copies are copies

    def root(k: int) -> int:
        while first_of[k] != k:
            k = first_of[k]
        return k

    def join(i: int, j: int) -> None:
        one, other = root(i), root(j)
        first_of[max(one, other)] = min(one, other)

    def compare(i: int, j: int) -> None:
        if root(i) == root(j):
            return
        a, b = shape_of(i), shape_of(j)
        if a is not None and b is not None and _correlation(a, b) >= SAME:
            join(i, j)

    table = np.triu(vectors @ vectors.T, 1)
    table[:NEAREST, :NEAREST] += np.triu(np.full((NEAREST, NEAREST), 2.0), 1)[: len(found), : len(found)]
    first, second = np.nonzero(table >= NEAR)
    order = np.argsort(-table[first, second], kind="stable")
    first, second = first[order], second[order]
    places = list(dict.fromkeys(np.stack([first, second], axis=1).ravel().tolist()))
    known = {k: outline for k in places if (outline := outline_of(k)) is not None}
    distances = _distances(known)
    apart = [
        (distances[i, j], i, j)
        for i, j in zip(first.tolist(), second.tolist(), strict=True)
        if i in known and j in known and distances[i, j] <= ALIKE
    ]
    whole = {k for k, outline in known.items() if np.isfinite(outline).all()}
    for distance, i, j in sorted(apart)[:MOST_PAIRS]:
        if distance <= EQUAL and i in whole and j in whole:
            join(i, j)
        else:
            compare(i, j)
    return [hit for k, hit in enumerate(found) if first_of[k] == k]


def _outline(shape: _Shape) -> Doubles:
    """Covariance of the leads without their noise, (8, 8); NaN for leads that are not there."""
    rows = shape.rows - shape.rows.mean(axis=1, keepdims=True)
    shared = rows @ rows.T / rows.shape[1]
    energy = np.diagonal(shared)
    np.fill_diagonal(shared, _of_curve(energy, shape.noise))
    out = np.full((len(_INDEPENDENT), len(_INDEPENDENT)), np.nan)
    at = [_INDEPENDENT.index(name) for name in shape.names if name in _INDEPENDENT]
    if at:
        out[np.ix_(at, at)] = shared
    return out


def _distances(outlines: Mapping[int, Doubles]) -> Doubles:
    """How far outlines are apart in the leads that both have: 0 where they are equal but for the gain, to 2.

    0 as well where they have no standard lead in common: nothing speaks against looking closer.

    Args:
        outlines: By place.

    Returns:
        By both places, as large as the largest place.
    """
    size = max(outlines, default=-1) + 1
    out = np.zeros((size, size))
    there: dict[bytes, list[int]] = {}
    for place, outline in outlines.items():
        there.setdefault(np.isfinite(np.diagonal(outline)).tobytes(), []).append(place)
    for one, rows in there.items():
        for other, columns in there.items():
            both = np.frombuffer(one, dtype=bool) & np.frombuffer(other, dtype=bool)
            a, b = (_scaled(np.stack([outlines[k][np.ix_(both, both)] for k in some])) for some in (rows, columns))
            square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * a @ b.T
            out[np.ix_(rows, columns)] = np.sqrt(np.maximum(square, 0.0))
    return out


def _scaled(outlines: Doubles) -> Doubles:
    """Outlines (n, leads, leads) of one size of energy, flat; zeros where there is none."""
    energy = np.trace(outlines, axis1=1, axis2=2)[:, None]
    flat = outlines.reshape(len(outlines), -1)
    return np.asarray(np.divide(flat, energy, out=np.zeros_like(flat), where=energy > 0))


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
    agreed = np.divide(shared, np.sqrt(energy), out=np.zeros_like(shared), where=energy > 1e-9)
    best = int(np.argmax(agreed))
    # A copy may begin between two samples.
    finer = np.fft.irfft(spectrum, _FINER * size) * _FINER
    between = finer[(_FINER * lags[best] + np.arange(1 - _FINER, _FINER)) % (_FINER * size)]
    return float(between.max() / np.sqrt(energy[best])) if energy[best] > 1e-9 else 0.0


def _of_curve(energy: Doubles, noise: Doubles) -> Doubles:
    """Energy without that of the noise, of which no more than a part is believed."""
    return np.maximum(energy - noise, _NOISE_LEFT * energy)
