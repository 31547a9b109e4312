"""A train of P waves that keeps time by itself, wherever it lies to the QRS complexes.

What every usual beat shows (QRS and T of the median beat) is taken off; in the rest a comb of one period and phase is
laid over the leads in which P is largest. A train counts where the waves under its teeth are like each other. P waves
more than QRS complexes, or P waves that wander through the cycle, are what tells AV block of higher degree (Kusumoto
2018, ACC/AHA/HRS guideline on bradycardia: second degree, a P wave that is not conducted; third degree, no P conducted,
atria and ventricles each at a rate of their own).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ecgkin.generation.measures.arrays import FS, Doubles, Ints, smoothed
from ecgkin.generation.measures.beats import Beats
from ecgkin.generation.measures.median_beat import BEFORE, MedianBeat
from ecgkin.generation.measures.signals import Samples

_STEP = 5  # P holds nothing above 50 Hz
_RATE = FS / _STEP
_LEADS = frozenset({"I", "II", "III", "aVF", "V1", "V2"})
_FASTEST_S, _SLOWEST_S = 0.30, 1.55  # period: 200 to 39/min
_OFF_S = 0.05  # a P wave may come so much beside its tooth
_HALF_S = 0.06  # P on either side of its top
_LIKE = 0.5  # correlation of one P with the mean of the others
_PRESENT = 0.75  # share of the teeth under which a P wave lies
_LEAST, _LEAST_CLEAR = 5, 4
_HIGH = 0.4  # height of a wave as a share of the larger ones; less is noise that happens to be like them
_ON_T = 0.4
_MOST_COMBS = 6
_NEARLY = 0.9


@dataclass(frozen=True, slots=True)
class PTrain:
    """P waves at one rate of their own.

    Attributes:
        bpm: Their rate.
        present: Share of the teeth, outside QRS, under which a wave lies that is like the others.
        like: Mean correlation of each wave with the mean of the others.
        at_s: When they come, those hidden by QRS included.
        per_cycle: How many of them lie in each RR interval.
        pr_spread_s: Middle half (interquartile range) of the times from the last P wave to QRS.
        extra_like: How like the waves that no QRS follows before the next one are to those that one follows:
            correlation of their means; 0 where there is only one kind.
        extra_height: Height of the former as a share of that of the latter.
    """

    bpm: float
    present: float
    like: float
    at_s: tuple[float, ...]
    per_cycle: tuple[int, ...]
    pr_spread_s: float
    extra_like: float = 0.0
    extra_height: float = 0.0


def p_train(samples: Samples, beats: Beats, beat: MedianBeat, t_end: int | None) -> PTrain | None:
    """The clearest train; None where none is.

    Args:
        samples: The leads.
        beats: Found in them.
        beat: Their median.
        t_end: Sample of the median beat at which T ends, None where it was not found.
    """
    complete = np.flatnonzero(samples.complete)
    rows = np.array([i for i in complete if samples.names[i] in _LEADS], dtype=np.int64)
    if len(rows) == 0 or samples.seconds < 5 or len(beats) < 3:
        return None
    quick, weight = _rest(samples.mv[rows] - beat.level[rows], rows, beats, beat, t_end)
    energy = np.maximum(smoothed(np.square(quick).sum(axis=0), 7), 0.0)
    energy[weight == 0] = 0.0
    if energy.max() <= 0:
        return None
    limit = float(np.percentile(energy[weight > 0], 97))
    size = np.sqrt(np.minimum(energy / max(limit, 1e-12), 1.0))
    judged = (
        _judged(quick, weight, _teeth(size, weight, period, phase), beats) for period, phase in _combs(size, weight)
    )
    trains = [train for train in judged if train is not None]
    if not trains:
        return None
    # Every second wave makes a train too: of those nearly as good as the best the fastest.
    best = max(train.present * train.like for train in trains)
    return max((t for t in trains if t.present * t.like >= _NEARLY * best), key=lambda train: train.bpm)


def _rest(mv: Doubles, rows: Ints, beats: Beats, beat: MedianBeat, t_end: int | None) -> tuple[Doubles, Doubles]:
    """Leads without the usual QRST, as quick as P, at `_RATE`; with what a wave there says, shape (n,).

    0 within QRS, where nothing can be seen; `_ON_T` where the usual T was taken off, and with it a P wave that always
    lies on it; 1 elsewhere.
    """
    n = mv.shape[1]
    end = beat.offset + round(0.28 * FS) if t_end is None else t_end + round(0.02 * FS)
    template = np.nan_to_num(beat.mv[rows])
    rest, weight = mv.copy(), np.ones(n)
    for at, kind in zip(beats.at, beats.kinds, strict=True):
        shift = int(at) - BEFORE
        first, last = max(0, shift + beat.onset - 4), min(n, shift + end)
        if last <= first:
            continue
        usual = kind != "V"
        if usual:
            # What is left of the template at its end is let out over 40 ms: a step would be as quick as a P wave.
            fading = min(n, last + 20) - last
            rest[:, first:last] -= template[:, first - shift : last - shift]
            rest[:, last : last + fading] -= template[:, [last - shift - 1]] * np.linspace(1, 0, fading)
        stop = min(n, shift + (beat.offset + 10 if usual else BEFORE + round(0.4 * FS)))
        left, right = rest[:, [max(0, first - 2)]], rest[:, [min(n - 1, stop)]]
        share = np.linspace(0.0, 1.0, max(0, stop - first))
        rest[:, first:stop] = left * (1 - share) + right * share
        weight[first:last] = np.minimum(weight[first:last], _ON_T)
        weight[first:stop] = 0.0
    whole = n // _STEP * _STEP
    low = rest[:, :whole].reshape(len(rest), -1, _STEP).mean(axis=2)
    quick = smoothed(low, 5, axis=1) - smoothed(low, 17, axis=1)
    size = 2.5 * np.sqrt(np.square(quick).mean(axis=1, keepdims=True))
    return np.clip(quick, -size, size), weight[:whole].reshape(-1, _STEP).min(axis=1)


def _combs(size: Doubles, weight: Doubles) -> list[tuple[int, int]]:
    """Period and phase, in samples, of the combs under which most lies, best first, no two alike."""
    from scipy.ndimage import maximum_filter1d

    pooled = maximum_filter1d(size, 2 * round(_OFF_S * _RATE) + 1) * weight
    n = len(size)
    usual = float(pooled.sum() / weight.sum())
    scores, combs = [], []
    for period in range(round(_FASTEST_S * _RATE), min(round(_SLOWEST_S * _RATE), n // 4) + 1):
        count = n // period
        seen = weight[: count * period].reshape(count, period).sum(axis=0)
        total = pooled[: count * period].reshape(count, period).sum(axis=0)
        mean = np.where(seen >= max(2.5, 0.4 * count), total / np.maximum(seen, 1e-9), 0.0)
        phase = int(np.argmax(mean))
        scores.append(float(mean[phase]) - usual)
        combs.append((period, phase))
    kept: list[tuple[int, int]] = []
    for i in np.argsort(-np.array(scores), kind="stable"):
        if scores[i] <= 0 or len(kept) >= _MOST_COMBS:
            break
        if all(abs(combs[i][0] / other - 1.0) > 0.08 for other, _ in kept):
            kept.append(combs[i])
    return kept


def _teeth(size: Doubles, weight: Doubles, period: int, phase: int) -> Ints:
    """Where the waves lie: each tooth moved to the highest point near it, the next one expected from there."""
    reach = round(_OFF_S * _RATE)
    n = len(size)
    # The period is known to one sample only: from the middle both ways the teeth lie off by least.
    start = phase + period * round((n / 2 - phase) / period)
    out = []
    for direction in (-1, 1):
        at = float(start if direction > 0 else start - period)
        while 0 <= at < n:
            low, high = max(0, round(at) - reach), min(n, round(at) + reach + 1)
            top = low + int(np.argmax(size[low:high]))
            seen = weight[top] > 0 and size[top] > 0
            out.append(top if seen else min(n - 1, round(at)))
            # What was found counts half: one wave beside its place does not lead the train astray.
            at = (0.5 * (top + at) if seen else at) + direction * period
    return np.array(sorted(out), dtype=np.int64)


def _judged(quick: Doubles, weight: Doubles, teeth: Ints, beats: Beats) -> PTrain | None:
    half, lag = round(_HALF_S * _RATE), round(0.04 * _RATE)
    n = quick.shape[1]
    inside = (teeth >= half + lag) & (teeth < n - half - lag)
    least = np.array([weight[max(0, t - half // 2) : t + half // 2 + 1].min() for t in teeth])
    seen = np.flatnonzero(inside & (least > 0))
    if len(seen) < _LEAST:
        return None
    offsets = np.arange(-half, half + 1)
    lags = np.arange(-lag, lag + 1)
    places = teeth[seen][None, :] + lags[:, None]  # (lags, waves)
    windows = quick[:, places[:, :, None] + offsets]  # (leads, lags, waves, times)
    flat = windows.transpose(1, 2, 0, 3).reshape(len(lags), len(seen), -1)
    flat = flat - flat.mean(axis=2, keepdims=True)
    norms = np.maximum(np.linalg.norm(flat, axis=2), 1e-12)
    flat /= norms[:, :, None]
    best = np.full(len(seen), lag)
    waves = np.arange(len(seen))
    for _ in range(2):  # each wave is moved to where it is most like the mean of the others
        chosen = flat[best, waves]
        others = chosen.sum(axis=0)[None, :] - chosen
        others /= np.maximum(np.linalg.norm(others, axis=1, keepdims=True), 1e-12)
        likes = np.einsum("lwt,wt->lw", flat, others)
        best = np.argmax(likes, axis=0)
    found = likes[best, waves]
    heights = found * norms[best, waves]
    clear = least[seen] >= 1
    if clear.sum() < _LEAST_CLEAR:
        return None
    shown = (found >= _LIKE) & (heights >= _HIGH * np.percentile(heights[clear], 75))
    # A wave that T hides speaks for the train where it shows and not against it where it does not.
    counted = clear | shown
    if counted.sum() < _LEAST:
        return None
    present, like = float(shown[counted].mean()), float(found[counted].mean())
    if present < _PRESENT or like < _LIKE:
        return None
    p_s, r_s = teeth / _RATE, beats.at / FS
    per_cycle = [int(((p_s > a) & (p_s <= b)).sum()) for a, b in pairwise(r_s)]
    before = [float(r - p_s[p_s < r - 0.04].max()) for r in r_s if (p_s < r - 0.04).any()]
    spread = float(np.subtract(*np.percentile(before, [75, 25]))) if len(before) >= 3 else 0.0
    rate = 60.0 * _RATE * (len(teeth) - 1) / float(teeth[-1] - teeth[0])
    following = np.array([(r_s[r_s > t].min(), p_s[p_s > t].min()) if t < min(r_s.max(), p_s.max()) else (0, 0)
                          for t in p_s[seen]])  # fmt: skip
    known = counted & (following[:, 0] > 0)
    followed = following[:, 0] < following[:, 1]
    waves_mv = flat[best, waves] * norms[best, waves][:, None]
    extra = (0.0, 0.0)
    if (known & followed).any() and (known & ~followed).any():
        usual, other = waves_mv[known & followed].mean(axis=0), waves_mv[known & ~followed].mean(axis=0)
        size = max(float(np.linalg.norm(usual)), 1e-12)
        extra = float(usual @ other) / max(size * float(np.linalg.norm(other)), 1e-12), float(usual @ other) / size**2
    return PTrain(rate, present, like, tuple(float(t) for t in p_s), tuple(per_cycle), spread, *extra)
