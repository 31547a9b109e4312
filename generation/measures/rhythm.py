"""Intervals from beat to beat, and what the atria do between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ecgkin.generation.measures.arrays import FS, Doubles, Ints, smoothed
from ecgkin.generation.measures.beats import Beats
from ecgkin.generation.measures.median_beat import BEFORE, MedianBeat
from ecgkin.generation.measures.signals import Samples

_STEP = 5  # every fifth sample: atrial waves hold nothing above 50 Hz
_RATE = FS / _STEP
_ATRIAL_LEADS = frozenset({"II", "III", "aVF", "V1", "V2"})  # where atrial waves are largest


@dataclass(frozen=True, slots=True)
class Intervals:
    """RR intervals in ms and what follows from them.

    Attributes:
        rr_ms: All of them.
        rate_bpm: From their mean.
        variation: Median change from one interval to the next as a share of the mean, 0 for a clock.
        normal_variation: The same among intervals between neighbouring beats of kind "N".
        usual_ms: These intervals; all of them where most beats are not of kind "N", as where a strip's level drifts.
        next_s, before_s: Usual interval after and before a beat of kind "N".
        pauses_ms: Intervals above 2 s.
        premature_ventricular, premature_atrial: Counts of early beats of another shape and of the usual one.
        longest_run: Most beats of another shape in a row.
    """

    rr_ms: tuple[float, ...]
    rate_bpm: float
    variation: float
    normal_variation: float
    usual_ms: tuple[float, ...]
    next_s: float
    before_s: float
    pauses_ms: tuple[float, ...]
    premature_ventricular: int
    premature_atrial: int
    longest_run: int


def intervals_of(beats: Beats) -> Intervals:
    """Intervals of two or more beats."""
    rr = np.diff(beats.at) * 1000.0 / FS
    normal = np.array([kind == "N" for kind in beats.kinds])
    mean = float(rr.mean())
    variation = float(np.median(np.abs(np.diff(rr)))) / mean if len(rr) > 1 else 0.0
    quiet = normal[:-1] & normal[1:]  # intervals between two usual beats
    pairs = quiet[:-1] & quiet[1:]
    changes = np.abs(np.diff(rr))[pairs]
    among = float(np.median(changes)) / mean if len(changes) >= 2 else variation
    after, before = rr[normal[:-1]], rr[normal[1:]]
    longest = run = 0
    for kind in beats.kinds:
        run = run + 1 if kind == "V" else 0
        longest = max(longest, run)
    return Intervals(
        rr_ms=tuple(float(v) for v in rr),
        rate_bpm=60_000.0 / mean,
        variation=variation,
        normal_variation=among,
        usual_ms=tuple(float(v) for v in (rr[quiet] if normal.mean() >= 0.5 else rr)),
        next_s=float(np.median(after)) / 1000.0 if len(after) else mean / 1000.0,
        before_s=float(np.median(before)) / 1000.0 if len(before) else mean / 1000.0,
        pauses_ms=tuple(float(v) for v in rr if v > 2000.0),
        premature_ventricular=sum(k == "V" and bool(e) for k, e in zip(beats.kinds, beats.early, strict=True)),
        premature_atrial=sum(k == "S" for k in beats.kinds),
        longest_run=longest,
    )


@dataclass(frozen=True, slots=True)
class AtrialActivity:
    """Periodic waves outside QRS.

    Attributes:
        flutter_bpm: Rate of the most regular train of waves from 190 to 400/min.
        flutter_strength: Correlation of the signal with itself one and two such cycles later (the smaller), -1 to 1.
        train_bpm: Rate of the most regular train of P-like waves from 40 to 190/min, QRS and T taken out.
        train_strength: Correlation with itself one cycle later.
    """

    flutter_bpm: float
    flutter_strength: float
    train_bpm: float
    train_strength: float


def atrial_activity(samples: Samples, beats: Beats, beat: MedianBeat, t_end: int | None) -> AtrialActivity | None:
    """Trains of atrial waves; None for records too short to show one.

    Args:
        samples: The leads.
        beats: Found in them.
        beat: Their median.
        t_end: Sample of the median beat at which T ends, None where it was not found.

    Returns:
        Rate, and how clear it is.
    """
    complete = np.flatnonzero(samples.complete)
    rows = np.array([i for i in complete if samples.names[i] in _ATRIAL_LEADS] or complete[:4], dtype=np.int64)
    n = samples.mv.shape[1]
    if len(rows) == 0 or n < 4 * FS:
        return None
    mv = samples.mv[rows] - beat.level[rows]
    bare = _without_qrs(mv, beats.at, beat)
    flutter = _autocorrelation(_decimated(bare))
    end = beat.offset + round(0.25 * FS) if t_end is None else t_end
    rest = mv.copy()
    template = np.nan_to_num(beat.mv[rows])
    for at, kind in zip(beats.at, beats.kinds, strict=True):
        if kind == "V":
            continue
        first, last = max(0, at - BEFORE + beat.onset - 4), min(n, at - BEFORE + end)
        shift = at - BEFORE
        rest[:, first:last] -= template[:, first - shift : last - shift]
    train = _autocorrelation(_decimated(_without_qrs(rest, beats.at, beat)))
    fast, fast_at = _best(flutter, 60 / 400, 60 / 190, twice=True)
    slow, slow_at = _best(train, 60 / 190, min(60 / 40, n / FS / 3), twice=False)
    return AtrialActivity(60.0 / fast_at, fast, 60.0 / slow_at, slow)


def _without_qrs(mv: Doubles, at: Ints, beat: MedianBeat) -> Doubles:
    """A line in place of every QRS."""
    out = mv.copy()
    n = mv.shape[1]
    for point in at:
        first, last = max(0, point - BEFORE + beat.onset - 5), min(n - 1, point - BEFORE + beat.offset + 8)
        if last <= first:
            continue
        share = np.linspace(0.0, 1.0, last - first + 1)
        out[:, first : last + 1] = mv[:, [first]] * (1 - share) + mv[:, [last]] * share
    return out


def _decimated(mv: Doubles) -> Doubles:
    """At 100 Hz, as quick as P and flutter waves: short means less long ones."""
    n = mv.shape[1] // _STEP * _STEP
    low = mv[:, :n].reshape(len(mv), -1, _STEP).mean(axis=2)
    quick = smoothed(low, 5, axis=1) - smoothed(low, 17, axis=1)
    # No single large wave decides.
    size = 2.5 * np.sqrt(np.square(quick).mean(axis=1, keepdims=True))
    return np.asarray(np.clip(quick, -size, size))


def _autocorrelation(rows: Doubles) -> Doubles:
    """Mean over the leads, those with more to show first, of the autocorrelation for lags up to 2 s."""
    n = rows.shape[1]
    padded = 1 << (2 * n - 1).bit_length()
    spectrum = np.square(np.abs(np.fft.rfft(rows, padded, axis=1)))
    lags = min(n - 1, round(2.0 * _RATE))
    sums = np.fft.irfft(spectrum, padded, axis=1)[:, : lags + 1]
    sums = sums / (n - np.arange(lags + 1))[None, :]
    total = sums.sum(axis=0)
    return np.asarray(total / max(float(total[0]), 1e-12))


def _best(curve: Doubles, low_s: float, high_s: float, *, twice: bool) -> tuple[float, float]:
    """Height and lag of the highest top between two lags; with `twice` the lower of it and that at twice the lag."""
    lags = np.arange(max(2, round(low_s * _RATE)), min(round(high_s * _RATE), len(curve) - 2) + 1)
    tops = lags[(curve[lags] >= curve[lags - 1]) & (curve[lags] > curve[lags + 1])]
    if len(tops) == 0:
        return 0.0, high_s
    heights = curve[tops]
    if twice:
        second = np.array([curve[2 * t - 2 : 2 * t + 3].max() if 2 * t + 3 <= len(curve) else 0.0 for t in tops])
        heights = np.minimum(heights, second)
    k = int(np.argmax(heights))
    return float(heights[k]), float(tops[k]) / _RATE
