"""Whether the leads of two recordings agree one by one: copies of which each lead was altered for itself.

One correlation over all leads falls for a single one of them that is not the recording's. Here each lead is compared
for itself, near one offset of all, and `enough` of them must agree. What is compared is how steep a lead is, clipped
near its own steepest, so that no artefact weighs more than a QRS complex and a slow wave weighs nothing; of each lead
the one frequency or the one stretch of time in which the two differ most is left out (hum, an artefact).

Which pairs are compared at all is told by the beats: how steep the middle half of the leads is, 25 times a second. One
lead of another recording, leads moved against each other, hum and artefacts change it little.

Measured on PTB-XL at 100 Hz (folds 1 to 8): of 2,600 pairs of two recordings of one patient five have six leads of
0.965 and more, of which the beats of one fall alike, which the rules of `copies` take for one as well.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.likeness import averaged

Doubles = NDArray[np.float64]
Singles = NDArray[np.float32]
RATE_HZ = 100  # of the leads that are compared
LEAST_S = 4.0  # that two recordings share
AGREEING = 0.965  # correlation of a lead with its copy
FEWEST = 6  # leads in common from which is counted
_STEEP_S = 0.04  # between the two samples of which the difference is taken
_CLIPPED = 0.95  # quantile of the steepness of a lead at which it is clipped
_STILL_MV = 0.001  # steepness below which a lead is flat
_APART = 3  # samples between the offset of a lead and that of all
_LEAST = 0.4  # correlation of leads at that offset from which it is worth while to look closer
_LEFT_OUT_S, _LEFT_OUT_LINES = 0.25, 2  # stretch of time, and lines on either side of a frequency, that may differ
_BEATS_HZ, _LONGEST_S, _BLUR = 25, 20, 8
_RHYTHM = slice(4, 64)  # lags of 0.16 to 2.6 s in which rhythms are compared
_SAME_RHYTHM, _SAME_BEATS = 0.07, 0.95  # distance and correlation from which pairs are worth while to compare


def enough(leads: int) -> int:
    """How many of the leads in common must agree: three of four."""
    return -(-3 * leads // 4)


def steepness(rows: Doubles) -> Doubles:
    """How steep each lead is, clipped near its steepest.

    Args:
        rows: Leads at `RATE_HZ`, smoothed, mV, shape (leads, n).

    Returns:
        Shape (leads, n - 4), each row of mean square 1; zeros for flat leads.
    """
    apart = round(_STEEP_S * RATE_HZ)
    steep = rows[:, apart:] - rows[:, :-apart]
    limit = np.quantile(np.abs(steep), _CLIPPED, axis=1, keepdims=True)
    steep = np.clip(steep, -limit, limit)
    size = np.sqrt((steep**2).mean(axis=1, keepdims=True))
    scaled = np.divide(steep, size, out=np.zeros_like(steep), where=limit > _STILL_MV)
    return np.asarray(scaled, dtype=np.float64)


def beats(steep: Doubles) -> Singles | None:
    """When the leads are steep, `_BEATS_HZ` times a second and of energy 1; None for too few leads.

    Args:
        steep: From `steepness`.
    """
    moving = steep[np.any(steep, axis=1), : _LONGEST_S * RATE_HZ]
    n = len(moving)
    if n < FEWEST:
        return None
    size = np.abs(moving)
    size = np.sort(size / size.max(axis=1, keepdims=True), axis=0)[n // 4 : n - n // 4].mean(axis=0)
    seldom = averaged(size[None], _BLUR)[0, :: RATE_HZ // _BEATS_HZ]
    seldom = seldom - seldom.mean()
    energy = float(np.sqrt((seldom**2).sum()))
    return (seldom / energy).astype(np.float32) if energy > 1e-6 else None


def same_beats(known: Mapping[int, Singles]) -> list[tuple[int, int]]:
    """Pairs of recordings whose beats fall alike, most alike first.

    Args:
        known: Their `beats`, by place.

    Returns:
        Places, the smaller first.
    """
    places = sorted(known)
    if len(places) < 2:
        return []
    lengths = np.array([len(known[k]) for k in places])
    size = 1 << int(2 * lengths.max() - 1).bit_length()
    padded = np.zeros((len(places), size))
    for row, k in enumerate(places):
        padded[row, : lengths[row]] = known[k]
    spectra = np.fft.rfft(padded)
    rhythm = np.fft.irfft(np.abs(spectra) ** 2, size)[:, _RHYTHM]
    square = (rhythm**2).sum(axis=1)
    apart = square[:, None] + square - 2.0 * rhythm @ rhythm.T
    first, second = np.nonzero(np.triu(apart <= _SAME_RHYTHM**2 * rhythm.shape[1], 1))
    if not len(first):
        return []
    longest = int(lengths.max())
    lags = np.arange(1 - longest, longest)
    n, m = lengths[first][:, None], lengths[second][:, None]
    shared_n = np.minimum(n, m + lags) - np.maximum(lags, 0)
    shared = np.fft.irfft(spectra[first] * spectra[second].conj(), size)[:, lags]
    agreed = shared * np.sqrt(np.minimum(n, m) / np.maximum(shared_n, 1))
    agreed[shared_n < LEAST_S * _BEATS_HZ] = 0.0
    best = agreed.max(axis=1)
    order = [k for k in np.argsort(-best, kind="stable").tolist() if best[k] >= _SAME_BEATS]
    return [(places[first[k]], places[second[k]]) for k in order]


def agreements(one: Doubles, other: Doubles) -> Doubles:
    """The correlation of each lead with the same lead of another recording, up to a few samples from one offset.

    Args:
        one, other: `steepness` of the same leads, shapes (leads, n) and (leads, m).

    Returns:
        Shape (leads,), without the one frequency or the one stretch of time that differs most; as they are for the
        rest once too many are below `AGREEING`.
    """
    n, m = one.shape[1], other.shape[1]
    lags = np.arange(-(m - 1), n)
    start, stop = np.maximum(lags, 0), np.minimum(n, m + lags)
    kept = stop - start >= LEAST_S * RATE_HZ
    if not kept.any():
        return np.zeros(len(one))
    lags, start, stop = lags[kept], start[kept], stop[kept]
    size = 1 << int(n + m - 1).bit_length()
    shared = np.fft.irfft(np.fft.rfft(one, size) * np.fft.rfft(other, size).conj(), size)[:, lags]
    shared /= np.sqrt(stop - start)
    best = _APART + int(np.argmax(_largest_of_seven(shared).sum(axis=0)))
    low = best - _APART
    found: Doubles = np.asarray(shared[:, low : best + _APART + 1].max(axis=1), dtype=np.float64)
    order = np.argsort(found)
    spare = len(one) - enough(len(one))
    if found[order[spare]] < _LEAST:
        return found
    for lead in order.tolist():
        if spare < 0:
            break
        k = low + int(np.argmax(shared[lead, low : best + _APART + 1]))
        begin, end, lag = start[k], stop[k], lags[k]
        found[lead] = _but_for_one_place(one[lead, begin:end], other[lead, begin - lag : end - lag])
        spare -= int(found[lead] < AGREEING)
    return found


def _largest_of_seven(rows: Doubles) -> Doubles:
    """The largest of every 2 `_APART` + 1 = 7 that follow each other in a row."""
    two = np.maximum(rows[:, 1:], rows[:, :-1])
    four = np.maximum(two[:, 2:], two[:, :-2])
    return np.asarray(np.maximum(four[:, 3:], four[:, :-3]))


def _but_for_one_place(a: Doubles, b: Doubles) -> float:
    """Correlation of two curves of one length without the frequency, or the time, at which they differ most."""
    window = np.hanning(len(a))
    of_a, of_b = np.fft.rfft(a * window), np.fft.rfft(b * window)
    lines = _without(np.abs(of_a) ** 2, np.abs(of_b) ** 2, (of_a * of_b.conj()).real, _LEFT_OUT_LINES)
    return max(lines, _without(a * a, b * b, a * b, round(_LEFT_OUT_S * RATE_HZ / 2)))


def _without(of_a: Doubles, of_b: Doubles, shared: Doubles, half: int) -> float:
    """Correlation from energies, without the 2 half + 1 that lie together and differ most."""
    energy = float(of_b.sum())
    gain = float(shared.sum()) / energy if energy > 0 else 0.0
    differ = np.cumsum(np.pad(of_a - 2 * gain * shared + gain**2 * of_b, (half + 1, half), mode="constant"))
    at = int(np.argmax(differ[2 * half + 1 :] - differ[: -2 * half - 1]))
    out = slice(max(0, at - half), at + half + 1)
    left = (float(of_a.sum()) - float(of_a[out].sum())) * (energy - float(of_b[out].sum()))
    return (float(shared.sum()) - float(shared[out].sum())) / float(np.sqrt(left)) if left > 1e-9 else 0.0
