"""Pacemaker spikes: deflections too narrow for a heart, found in all leads together and taken out before measuring.

A spike is back at its level after 6 ms (one sample at 100 Hz), an R wave is not: at twice the distance it has gone on
falling. Recorders clip and smear spikes, so height alone tells little; PTB-XL at 100 Hz still shows them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ecgkin.generation.measures.arrays import FS, Doubles, Ints

_HALF_S = 0.006
_LEAST_MV = 0.04  # mean over the leads
_NARROW = 0.8  # deflection at once the distance as a share of that at twice the distance; 0.5 for a triangle's tip
_NARROW_TWICE = 1.05
_SURE_MV = 0.06  # 1 % of the records of PTB-XL folds 1-8 without pacemaker reach this twice
_TWO_SAMPLES_BELOW_HZ = 200.0
_MOST_PER_S = 4.5  # two a beat at 135/min
_APART_S = 0.05
_CAPTURE_S = (0.0, 0.17)  # from spike to the middle of QRS
_ATRIAL_S = (0.17, 0.42)
_SAME_S = 0.012
# Share of the spikes that keep time with the beats, below which they are noise: of PTB-XL folds 8 and 9 all 43 paced
# records that were found reach it, and 5 of 18 others.
_IN_TIME = 0.4
PACED_SHARE = 0.15


@dataclass(frozen=True, slots=True)
class Pacing:
    """What the spikes say.

    Attributes:
        spikes_s: When they come.
        ventricular: Share of the beats with a spike right before QRS, always at the same distance.
        atrial: Share of the beats with a spike 170 to 420 ms before the middle of QRS, likewise.
        latency_s: From the ventricular spike to the middle of QRS.
    """

    spikes_s: tuple[float, ...] = ()
    ventricular: float = 0.0
    atrial: float = 0.0
    latency_s: float = 0.0

    @property
    def paced(self) -> bool:
        """Whether a pacemaker drives beats of this record."""
        share = max(self.ventricular, self.atrial)
        # Many spikes of which few keep time are noise.
        return len(self.spikes_s) >= 2 and share >= (PACED_SHARE if len(self.spikes_s) <= 15 else 2 * PACED_SHARE)


def find_spikes(signal: Doubles, fs_hz: float) -> Ints:
    """Samples at which spikes stand, ascending.

    Args:
        signal: Shape (n_leads, n), mV, NaN where unknown, at the rate it was recorded with.
        fs_hz: That rate.
    """
    k = max(1, round(_HALF_S * fs_hz))
    none = np.zeros(0, dtype=np.int64)
    if signal.shape[1] < 10 * k + 1:
        return none
    at, sizes = _narrow(signal, k, k)
    if len(at) < 2 or np.sort(sizes)[-2] < _SURE_MV:
        return none
    if fs_hz < _TWO_SAMPLES_BELOW_HZ:
        # A spike between two samples is as wide as a steep R wave: looked for only where others show a pacemaker.
        more, their = _narrow(signal, 2 * k, k)
        at, sizes = np.r_[at, more], np.r_[sizes, their]
    chosen: list[int] = []
    for i in np.argsort(-sizes, kind="stable"):
        if sizes[i] < 0.3 * sizes.max():
            break
        if all(abs(int(at[i]) - other) >= _APART_S * fs_hz for other in chosen):
            chosen.append(int(at[i]))
    if len(chosen) > _MOST_PER_S * signal.shape[1] / fs_hz:
        return none  # noise
    return np.array(sorted(chosen), dtype=np.int64)


def _narrow(signal: Doubles, near: int, more: int) -> tuple[Ints, Doubles]:
    """Where the leads deflect within `near` samples and no farther within `near + more`, and by how much."""
    n, edge = signal.shape[1], near + 2 * more
    centre = signal[:, edge : n - edge]
    left, right = signal[:, edge - near : n - edge - near], signal[:, edge + near : n - edge + near]
    with np.errstate(invalid="ignore"):
        deflection = _mean_size(centre - (left + right) / 2)
        candidates = np.flatnonzero(deflection >= _LEAST_MV)
        at = candidates + edge
        far = _mean_size(signal[:, at] - (signal[:, at - near - more] + signal[:, at + near + more]) / 2)
        good = deflection[candidates] >= (_NARROW if near == more else _NARROW_TWICE) * far
        step = _mean_size(signal[:, at + near] - signal[:, at - near])
        good &= step < (1.0 if near == more else 0.5) * deflection[candidates]
    return at[good], deflection[candidates][good]


def without_spikes(signal: Doubles, spikes: Ints, fs_hz: float) -> Doubles:
    """The signal with the level before it, then a line, in place of every spike.

    Args:
        signal: mV, (n_leads, n).
        spikes: Sample numbers.
        fs_hz: Samples a second.

    Returns:
        The same shape.
    """
    if len(spikes) == 0:
        return signal
    k = max(1, round(_HALF_S * fs_hz))
    # At a low rate the filter before sampling has left a trail on either side.
    reach = k + 1 if fs_hz >= _TWO_SAMPLES_BELOW_HZ else 2 * k
    out = signal.copy()
    for at in spikes:
        left, right = max(0, at - reach), min(signal.shape[1] - 1, at + reach)
        # QRS may begin right after the spike: the level before it is held, a slope would make QRS begin early.
        out[:, left : at + 1] = signal[:, [left]]
        share = np.linspace(0.0, 1.0, right - at + 1)
        out[:, at : right + 1] = signal[:, [left]] * (1 - share) + signal[:, [right]] * share
    return out


def pacing_of(spikes_s: tuple[float, ...], beats: Ints) -> Pacing:
    """How the spikes lie to the beats.

    A pacemaker fires at the same time before every beat that it drives, noise does not: spikes count that lie at one
    distance from QRS, within 12 ms; where most do not, none does.

    Args:
        spikes_s: In seconds.
        beats: Middle of QRS of every beat, in samples at `FS`.

    Returns:
        Chambers, and how many spikes have a QRS behind them.
    """
    if not spikes_s or len(beats) == 0:
        return Pacing(spikes_s)
    before = beats[:, None] / FS - np.asarray(spikes_s)[None, :]
    ventricular, latency = _at_one_distance(before, *_CAPTURE_S)
    atrial, _ = _at_one_distance(before, *_ATRIAL_S)
    if (ventricular + atrial) * len(beats) < _IN_TIME * len(spikes_s):
        return Pacing(spikes_s)
    return Pacing(spikes_s, ventricular, atrial, latency)


def _at_one_distance(before_s: Doubles, low: float, high: float) -> tuple[float, float]:
    """Share of the beats with a spike at the commonest distance between two limits, and that distance."""
    inside = before_s[(before_s > low) & (before_s <= high)]
    if len(inside) < 2:
        return 0.0, 0.0
    counts = [int((np.abs(inside - centre) <= _SAME_S).sum()) for centre in inside]
    centre = float(inside[int(np.argmax(counts))])
    near = np.abs(before_s - centre) <= _SAME_S
    share = float(near.any(axis=1).mean())
    return (share, centre) if near.sum() >= 2 else (0.0, 0.0)


def _mean_size(values: Doubles) -> Doubles:
    """Mean over the leads of the size, unknown leads left out; 0 where all are unknown."""
    size = np.abs(values)
    known = np.isfinite(size)
    if known.all():
        return np.asarray(size.mean(axis=0))
    return np.asarray(np.where(known, size, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1))
