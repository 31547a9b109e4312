"""Near copies among the neighbours: one recording with noise, other gains, rate, offset, length or order of leads.

They are one observation and vote once. Samples decide. Which pairs are compared: those of nearly equal vectors, and
all of the nearest recordings, for crops and noise move vectors far; of them those whose leads vary together in the same
way (`Outline`: the energy of each lead and what every two leads share, of which gain, offset, rate and length change
little). White noise is taken out of the energies: what is left of a correlation is that of the curves below it.

Three distances of outlines are looked at: with the energies as they are, with each lead scaled to itself (another gain
for each lead changes nothing), and with the leads in any order and either sign. Samples are compared likewise.

Measured on PTB-XL at 100 Hz (folds 1 to 9): of 2,600 pairs of two recordings of one patient, which are two
observations, two are taken for one (0.08 %). None of the pairs correlates by `SAME`, one by `SAME_SCALED` where each
lead is scaled to itself; copies with 50 uV of noise and gains of .7 to 1.3 in each lead do so by 0.974 and more, 95 of
100 by 1. Of 46,800 pairs among the forty nearest of 60 recordings 0.1 % have outlines nearer than 0.074 when scaled by
lead and 0.026 in any order: so few are compared. Copies stretched in time or turned round are told by outlines alone.
Found beside the original, of 60 each: all with other gains (.3 to 3), exchanged chest leads or turned signs, all turned
round, 0.9 of those stretched by up to 5 %, 0.7 with other gains and 100 uV of noise, 0.8 mixed with a tenth of another
recording; not those mixed with a fifth (0.3), nor with all twelve leads exchanged.

Where that finds nothing, the nearest recordings whose beats fall alike are compared lead by lead (`agreement`). Of
2,600 pairs of two recordings of one patient (folds 1 to 8) this takes none for one that the rules above do not (three),
of 424,320 pairs among the forty nearest of 544 recordings none either.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgkin.index.case import Case
from ecgkin.retrieval.ecg.likeness import averaged
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.search.agreement import (
    AGREEING,
    FEWEST,
    Singles,
    agreements,
    beats,
    enough,
    same_beats,
    steepness,
)

Doubles = NDArray[np.float64]
Integers = NDArray[np.int_]
Found = tuple[Case, float]
NEAR = 0.95  # cosine of two vectors from which samples are looked at
SAME = 0.99  # correlation of two recordings from which they are one
ALIKE = 0.12  # distance of two outlines up to which it is worth while to look closer
EQUAL = (
    0.02  # both distances of two outlines of eight leads from which down they are of one recording, stretched or not
)
EQUAL_SCALED = 0.01  # distance of them, each lead scaled to itself, that is enough alone
SAME_SCALED = 0.98  # correlation of two recordings, each lead scaled to itself, from which they are one
ALIKE_SCALED, ALIKE_IN_ANY_ORDER = 0.045, 0.018  # as `ALIKE`, for leads scaled to themselves, and in any order
MOST_PAIRS, MOST_READ = 200, 60  # pairs that are compared and recordings that are read for one search, nearest first
MOST_AGREEING = 60  # pairs of which every lead is compared for itself
NEAREST = 40  # recordings that are looked at whatever their vectors are: all others have small weights
_RATE_HZ, _LONGEST_S, _LEAST_S, _EDGE_S = 100, 60, 4.0, 0.3
_SMOOTHED_S, _DRIFT_S = 0.03, 0.6
_FINER = 4  # steps between two samples at which the best offset is looked for
_NOISE_LEFT = 0.7  # share of the energy that is never taken for noise
_INDEPENDENT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
_TELLING = 6  # leads in common from which the way they vary together says whose they are
_KEPT = 20_000  # outlines that are kept, two kilobytes each


@dataclass(frozen=True)
class _Shape:
    """Leads between 1 and 25 Hz, 100 samples a second: rows (leads, n), and the energy of a sample that is noise."""

    names: tuple[str, ...]
    rows: Doubles
    noise: Doubles
    steep: Doubles  # of the same leads

    def of(self, names: Sequence[str]) -> _Shape:
        """These leads alone."""
        at = [self.names.index(name) for name in names]
        return _Shape(tuple(names), self.rows[at], self.noise[at], self.steep[at])

    def scaled(self) -> _Shape:
        """Each lead of energy 1 without its noise; leads without energy are left out."""
        energy = _of_curve((self.rows**2).mean(axis=1), self.noise)
        there = np.flatnonzero(energy > 1e-9)
        gain = 1.0 / np.sqrt(energy[there])
        names = tuple(self.names[k] for k in there)
        return _Shape(names, self.rows[there] * gain[:, None], self.noise[there] * gain**2, self.steep[there])


class Outline(NamedTuple):
    """What is known of a recording without its samples.

    Attributes:
        shared: Covariance of the leads, (8, 8), NaN where a lead is missing.
        beats: When its leads are steep; None of too few leads.
    """

    shared: Doubles
    beats: Singles | None


class Outlines:
    """Outlines of cases that were looked at, so that the next search need not read their samples again.

    Cases are known by id and content: another recording under an old id has another outline.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Outline | None] = {}

    def of(self, case: Case, shape: Callable[[], _Shape | None]) -> Outline | None:
        """The outline of a case; None where it has no samples to speak of.

        Args:
            case: The case.
            shape: Gives its leads where they were not looked at before.
        """
        key = (case.case_id, case.content_hash)
        if case.content_hash and key in self._known:
            return self._known[key]
        made = shape()
        outline = None if made is None else Outline(_outline(made), beats(made.steep))
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
    seen: dict[int, Outline | None] = {}

    def shape_of(k: int) -> _Shape | None:
        if k not in read:
            record = record_of(found[k][0].case_id) if len(read) < MOST_READ else None
            read[k] = None if record is None else _shape_of(record)
        return read[k]

    def outline_of(k: int) -> Outline | None:
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

    def compare(i: int, j: int, in_any_order: bool) -> None:
        if root(i) == root(j):
            return
        a, b = shape_of(i), shape_of(j)
        if a is not None and b is not None and _same(a, b, in_any_order):
            join(i, j)

    table = np.triu(vectors @ vectors.T, 1)
    table[:NEAREST, :NEAREST] += np.triu(np.full((NEAREST, NEAREST), 2.0), 1)[: len(found), : len(found)]
    first, second = np.nonzero(table >= NEAR)
    order = np.argsort(-table[first, second], kind="stable")
    first, second = first[order], second[order]
    places = list(dict.fromkeys(np.stack([first, second], axis=1).ravel().tolist()))
    known = {k: outline for k in places if (outline := outline_of(k)) is not None}
    there = np.zeros(len(found), dtype=bool)
    there[list(known)] = True
    both = there[first] & there[second]
    first, second = first[both], second[both]
    by_energy, by_lead, in_any_order = (
        table[first, second] for table in _distances({k: outline.shared for k, outline in known.items()})
    )
    nearest = np.minimum(np.minimum(by_energy / ALIKE, by_lead / ALIKE_SCALED), in_any_order / ALIKE_IN_ANY_ORDER)
    equal = (np.maximum(by_energy, by_lead) <= EQUAL) | (by_lead <= EQUAL_SCALED)
    whole = {k for k, outline in known.items() if np.isfinite(outline.shared).all()}
    for k in np.argsort(nearest, kind="stable")[:MOST_PAIRS].tolist():
        i, j = int(first[k]), int(second[k])
        if nearest[k] > 1.0:
            break
        if equal[k] and i in whole and j in whole:
            join(i, j)
        else:
            compare(i, j, bool(in_any_order[k] <= ALIKE_IN_ANY_ORDER))
    near = {k: outline.beats for k, outline in known.items() if k < NEAREST and outline.beats is not None}
    for i, j in same_beats(near)[:MOST_AGREEING]:
        if root(i) != root(j):
            a, b = shape_of(i), shape_of(j)
            if a is not None and b is not None and _agree(a, b):
                join(i, j)
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


def _distances(outlines: Mapping[int, Doubles]) -> tuple[Doubles, Doubles, Doubles]:
    """How far outlines are apart in the leads that both have, three times.

    With the energies as they are: 0 where they are equal but for one gain, to 2; 0 as well where they have no standard
    lead in common: nothing speaks against looking closer. With each lead scaled to itself, 0 where they are equal but
    for the gains of the leads; and with the leads in any order and sign: both infinite where there are few in common.

    Args:
        outlines: By place.

    Returns:
        Each by both places, as large as the largest place.
    """
    size = max(outlines, default=-1) + 1
    by_energy, by_lead, in_any_order = (
        np.zeros((size, size)),
        np.full((size, size), np.inf),
        np.full((size, size), np.inf),
    )
    groups: dict[bytes, list[int]] = {}
    for place, outline in outlines.items():
        groups.setdefault(np.isfinite(outline.diagonal()).tobytes(), []).append(place)
    stacks = {leads: np.stack([outlines[k] for k in places]) for leads, places in groups.items()}
    for one, other in itertools.product(groups, groups):
        both = np.flatnonzero(np.frombuffer(one, dtype=bool) & np.frombuffer(other, dtype=bool))
        a = stacks[one][:, both[:, None], both]
        b = a if one == other else stacks[other][:, both[:, None], both]
        at = np.ix_(groups[one], groups[other])
        by_energy[at] = _apart(_scaled(a), _scaled(b))
        if len(both) >= _TELLING:
            a, b = _scaled_by_lead(a), _scaled_by_lead(b)
            by_lead[at] = _apart(a.reshape(len(a), -1), b.reshape(len(b), -1))
            if one == other:
                in_any_order[at] = _apart(_of_any_order(a), _of_any_order(b))
    return by_energy, by_lead, in_any_order


def _apart(a: Doubles, b: Doubles) -> Doubles:
    """Distances between the rows of two tables."""
    square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * a @ b.T
    return np.asarray(np.sqrt(np.maximum(square, 0.0)))


def _scaled(outlines: Doubles) -> Doubles:
    """Outlines (n, leads, leads) of one size of energy, flat; zeros where there is none."""
    energy = np.trace(outlines, axis1=1, axis2=2)[:, None]
    flat = outlines.reshape(len(outlines), -1)
    return np.asarray(np.divide(flat, energy, out=np.zeros_like(flat), where=energy > 0))


def _scaled_by_lead(outlines: Doubles) -> Doubles:
    """Outlines (n, leads, leads) as correlations of the leads over their number; zeros for leads without energy."""
    size = np.sqrt(np.maximum(np.diagonal(outlines, axis1=1, axis2=2), 0.0))
    pairs = size[:, :, None] * size[:, None, :]
    scaled = np.divide(outlines, pairs, out=np.zeros_like(outlines), where=pairs > 1e-12)
    return np.asarray(scaled / size.shape[1], dtype=np.float64)


def _of_any_order(scaled: Doubles) -> Doubles:
    """What correlations of leads (n, leads, leads) hold whatever the order and the signs of the leads, flat."""
    up, right = np.triu_indices(scaled.shape[1], 1)
    return np.asarray(np.sqrt(2.0) * np.sort(np.abs(scaled[:, up, right]), axis=1), dtype=np.float64)


def same_recording(one: EcgRecord, other: EcgRecord) -> bool:
    """Whether two records are one recording: at some offset, over 4 s at the least, up to gains, drift and noise.

    The order of the leads is looked at as well.

    Args:
        one, other: Of any rate, with leads in common.
    """
    a, b = _shape_of(one), _shape_of(other)
    return a is not None and b is not None and (_same(a, b, True) or _agree_alone(a, b))


def _same(one: _Shape, other: _Shape, in_any_order: bool) -> bool:
    """Whether the samples of two recordings are of one, up to gains; `in_any_order` asks for exchanged leads too."""
    if _correlation(one, other) >= SAME:
        return True
    one, other = one.scaled(), other.scaled()
    if len(set(one.names) & set(other.names)) >= _TELLING and _correlation(one, other) >= SAME_SCALED:
        return True
    return in_any_order and min(len(one.names), len(other.names)) >= _TELLING and _exchanged(one, other) >= SAME_SCALED


def _agree_alone(one: _Shape, other: _Shape) -> bool:
    """As `_agree`, where nobody has looked at the beats."""
    falls = {k: of_one for k, shape in enumerate((one, other)) if (of_one := beats(shape.steep)) is not None}
    return bool(same_beats(falls)) and _agree(one, other)


def _agree(one: _Shape, other: _Shape) -> bool:
    """Whether enough leads of two recordings are the same, each looked at for itself."""
    names = [name for name in one.names if name in other.names and name in _INDEPENDENT]
    if len(names) < FEWEST:
        return False
    found = agreements(one.of(names).steep, other.of(names).steep)
    return int((found >= AGREEING).sum()) >= max(FEWEST, enough(len(names)))


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
    smooth = averaged(rows, smoothed)
    band = smooth - averaged(rows, _DRIFT_S * record.fs_hz)
    at = edge + np.arange(n) * (record.fs_hz / _RATE_HZ)
    resampled, slow = (
        curves[:, edge : edge + n]
        if record.fs_hz == _RATE_HZ
        else np.stack([np.interp(at, np.arange(len(row)), row) for row in curves])
        for curves in (band, smooth)
    )
    return _Shape(names, resampled, white / max(1, round(smoothed)), steepness(slow))


def _correlation(one: _Shape, other: _Shape) -> float:
    """The largest correlation of all common leads together, over every offset that leaves enough of both."""
    names = [name for name in one.names if name in other.names]
    if not names:
        return 0.0
    one, other = one.of(names), other.of(names)
    a, b = one.rows, other.rows
    size = _size_of(a, b)
    spectrum = (np.fft.rfft(a, size) * np.fft.rfft(b, size).conj()).sum(axis=0)
    lags, start, stop = _offsets(a, b)
    sums_a, sums_b = (np.concatenate([[0.0], np.cumsum((x**2).sum(axis=0))]) for x in (a, b))
    span = (stop - start).astype(np.float64)
    of_a = _of_curve(sums_a[stop] - sums_a[start], span * float(one.noise.sum()))
    of_b = _of_curve(sums_b[stop - lags] - sums_b[start - lags], span * float(other.noise.sum()))
    shared = np.fft.irfft(spectrum, size)[lags]
    energy = of_a * of_b
    agreed = np.divide(shared, np.sqrt(energy), out=np.zeros_like(shared), where=energy > 1e-9)
    best = int(np.argmax(agreed))
    # A copy may begin between two samples.
    finer = np.fft.irfft(spectrum, _FINER * size) * _FINER
    between = finer[(_FINER * lags[best] + np.arange(1 - _FINER, _FINER)) % (_FINER * size)]
    return float(between.max() / np.sqrt(energy[best])) if energy[best] > 1e-9 else 0.0


def _size_of(a: Doubles, b: Doubles) -> int:
    """How long the transforms of two curves are, a power of two: no end of one meets the begin of the other."""
    return 1 << int(a.shape[1] + b.shape[1] - 1).bit_length()


def _offsets(a: Doubles, b: Doubles) -> tuple[Integers, Integers, Integers]:
    """Every offset that leaves enough of both, and where what they share begins and ends in the first."""
    n, m = a.shape[1], b.shape[1]
    lags = np.arange(-(m - 1), n)
    start, stop = np.maximum(lags, 0), np.minimum(n, m + lags)
    kept = stop - start >= _LEAST_S * _RATE_HZ
    return lags[kept], start[kept], stop[kept]


def _exchanged(one: _Shape, other: _Shape) -> float:
    """The largest correlation of leads in any order and of either sign, at an offset of whole samples.

    Args:
        one, other: Leads of energy 1.

    Returns:
        The mean over the leads of the one, each beside the lead of the other that is most like it; 0 where two of
        them would have the same partner.
    """
    a, b = one.rows, other.rows
    size = _size_of(a, b)
    of_a, of_b = np.fft.rfft(a, size), np.fft.rfft(b, size).conj()
    lags, start, stop = _offsets(a, b)
    sums_a, sums_b = (np.pad(np.cumsum(x**2, axis=1), ((0, 0), (1, 0))) for x in (a, b))
    span = stop - start
    energy_a = _of_curve(sums_a[:, stop] - sums_a[:, start], span * one.noise[:, None])
    energy_b = _of_curve(sums_b[:, stop - lags] - sums_b[:, start - lags], span * other.noise[:, None])
    agreed = np.empty((len(a), len(b), len(lags)))
    for i in range(len(a)):
        shared = np.abs(np.fft.irfft(of_a[i] * of_b, size)[:, lags])
        energy = energy_a[i] * energy_b
        agreed[i] = np.divide(shared, np.sqrt(energy), out=np.zeros_like(shared), where=energy > 1e-9)
    agreed = np.minimum(agreed, 1.0)
    best = agreed[:, :, int(np.argmax(agreed.max(axis=1).mean(axis=0)))]
    partners = best.argmax(axis=1)
    return float(best.max(axis=1).mean()) if len(set(partners.tolist())) == len(partners) else 0.0


def _of_curve(energy: Doubles, noise: Doubles) -> Doubles:
    """Energy without that of the noise, of which no more than a part is believed."""
    return np.maximum(energy - noise, _NOISE_LEFT * energy)
