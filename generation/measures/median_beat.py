"""The median beat: the usual QRST in every lead, freed of the wandering baseline, with what is left as noise.

The baseline is the level just before QRS of every beat, joined by straight lines: what the J point is measured against
(Fourth Universal Definition of MI: the onset of QRS is the reference), and exact enough for 2.5 s of paper as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ecgkin.generation.measures.arrays import FS, Doubles, Ints, smoothed
from ecgkin.generation.measures.beats import Beats
from ecgkin.generation.measures.signals import Samples

BEFORE, AFTER = round(0.5 * FS), round(0.8 * FS)
_MOST_BEATS = 20  # more do not make the median better, only slower
_LEVEL = slice(-14, -4)  # samples from the onset of QRS at which the baseline is read
# Where ST stands off its level, what is slow and only grows slower is ST and no longer QRS. Shares of the fastest
# movement: below the first for 50 ms it may be ST, a rise by the second within 60 ms is a late part of QRS.
_CALM, _HUMP = 0.30, 0.07
_CALM_FOR, _HUMP_WITHIN, _TAIL = round(0.05 * FS), round(0.06 * FS), round(0.012 * FS)
_BEND, _SLOPE = 0.02, 0.25  # how clearly the speed stops falling, and how fast ST may then move the leads
_ST_OFF = 0.2  # of QRS, in two leads
_NARROW, _WIDE, _TOO_LONG = round(0.08 * FS), round(0.13 * FS), round(0.22 * FS)


@dataclass(frozen=True, slots=True, eq=False)
class MedianBeat:
    """The usual beat.

    Attributes:
        names: Of the leads.
        mv: Shape (n_leads, BEFORE + AFTER); NaN where no beat is known. Sample BEFORE is the fiducial point.
        single: The beats it is made of, shape (n_leads, BEFORE + AFTER, n_beats), NaN where unknown.
        noise_mv: By lead, how much single beats differ from the median in quiet stretches (standard deviation).
        onset, offset: First and last sample of QRS.
        n_beats: How many beats each lead is made of, shape (n_leads,).
        level: Baseline of the record that was taken off, shape (n_leads, n_samples).
    """

    names: tuple[str, ...]
    mv: Doubles
    single: Doubles
    noise_mv: Doubles
    onset: int
    offset: int
    n_beats: Ints
    level: Doubles

    def lead(self, name: str) -> Doubles | None:
        """One lead, None where it is missing or unknown about QRS."""
        if name not in self.names:
            return None
        row = self.mv[self.names.index(name)]
        return row if np.isfinite(row[self.onset - 5 : self.offset + 40]).all() else None


def median_beat(samples: Samples, beats: Beats) -> MedianBeat | None:
    """The median over the beats of kind "N"; None where there is none, or none that is known from P to T in any lead.

    Args:
        samples: The leads.
        beats: Found in them.

    Returns:
        The beat, (n_leads, n), mV.
    """
    rough = rough_beat(samples, beats)
    if rough is None:
        return None
    first, first_noise = rough
    if not np.isfinite(first[:, BEFORE - 60 : BEFORE + 100]).all(axis=1).any():
        return None
    chosen, padded = _chosen(beats), _padded(samples)
    windows = chosen[:, None] + np.arange(BEFORE + AFTER)[None, :]
    onset, _ = qrs_limits(first, first_noise)
    level = _baseline(samples, padded, chosen, onset)
    flattened = _pad(np.where(samples.known, samples.mv - level, np.nan))
    single = np.ascontiguousarray(flattened[:, windows].transpose(0, 2, 1))
    mv = _median(single)
    if not np.isfinite(mv[:, BEFORE - 60 : BEFORE + 100]).all(axis=1).any():
        return None
    noise = _noise(single, mv)
    onset, offset = qrs_limits(mv, noise)
    n_beats = np.isfinite(single[:, BEFORE, :]).sum(axis=1)
    return MedianBeat(samples.names, mv, single, noise, onset, offset, n_beats, level)


def rough_beat(samples: Samples, beats: Beats) -> tuple[Doubles, Doubles] | None:
    """The median beat before the baseline is taken off: each beat on its own level before QRS, enough to find QRS.

    Args:
        samples: The leads.
        beats: Found in them.

    Returns:
        mV, shape (n_leads, BEFORE + AFTER), and the noise of each lead; None without beats of kind "N".
    """
    chosen = _chosen(beats)
    if len(chosen) == 0:
        return None
    raw = _padded(samples)[:, chosen[:, None] + np.arange(BEFORE + AFTER)[None, :]]  # (leads, beats, times)
    single = (raw - _middle(raw[:, :, BEFORE - 60 : BEFORE - 30])[:, :, None]).transpose(0, 2, 1)
    mv = _median(single)
    return mv, _noise(single, mv)


def qrs_limits(mv: Doubles, noise_mv: Doubles) -> tuple[int, int]:
    """First and last sample of QRS in the median beat of all leads together: where the leads move fast.

    Each lead's speed counts as a share of its own fastest, so that the late R wave of right bundle branch block in V1
    is not lost beside a large QRS elsewhere. The limit is where the mean speed falls below 10 % of its peak (or 1.75
    times that of the rest of the beat) and stays there: of the limits tried the best to tell bundle branch block in
    2,442 records of PTB-XL folds 1-8 (AUC .986) that keeps simulated QRS of 80 to 170 ms within 11 ms (95 %).

    Args:
        mv: Shape (n_leads, n), NaN where unknown.
        noise_mv: Shape (n_leads,); leads with far more noise than the others do not count.

    Returns:
        Sample numbers.
    """
    usable = np.isfinite(mv[:, BEFORE - 60 : BEFORE + 100]).all(axis=1)
    if usable.sum() > 3:
        usable &= noise_mv <= 3.5 * np.median(noise_mv[usable])
    if not usable.any():
        usable = np.ones(len(mv), dtype=np.bool_)
    speed = _speed(mv[usable])
    top = BEFORE - 50 + int(np.argmax(speed[BEFORE - 50 : BEFORE + 50]))
    quiet = float(np.median(speed[BEFORE - 150 : BEFORE + 300]))
    slow = speed < max(0.10 * float(speed[top]), 1.75 * quiet)
    # A notch of bundle branch block is slow for up to 30 ms; before QRS lies a P wave, which a gap of 16 ms may part.
    start, end = top, top
    while start > BEFORE - 130 and not slow[start - 8 : start].all():
        start -= 1
    while end < BEFORE + 150 and not slow[end + 1 : end + 17].all():
        end += 1
    if end - start > _NARROW and _st_off(mv[usable], start, end):
        at = _j_point(speed, top, end, max(_CALM * float(speed[top]), 1.75 * quiet))
        # A QRS that is wide all the same is left whole, as its last part is what tells the block, unless absurdly long.
        if at - start < _WIDE or end - start > _TOO_LONG:
            end = max(at, start + _NARROW)
    return start, end


def _st_off(mv: Doubles, start: int, end: int) -> bool:
    """Whether two leads or more stand off the level before QRS, by a fifth of QRS, where it seems to end."""
    size = np.maximum(np.ptp(mv[:, start : end + 1], axis=1), 0.3)
    level = mv[:, start + _LEVEL.start : start + _LEVEL.stop].mean(axis=1)
    off = np.sort(np.abs(mv[:, min(end, start + round(0.15 * FS))] - level) / size)
    return bool(len(off) > 1 and off[-2] >= _ST_OFF)


def _j_point(speed: Doubles, top: int, end: int, calm_below: float) -> int:
    """The end of QRS before a raised or depressed ST segment, whose slope goes on moving the leads.

    It is where the speed, once it stays low for 50 ms, stops falling steeply: farthest below the line from there to
    `end`. On simulated records with ST raised by up to 1 mV QRS of normal conduction is measured within 15 ms by this
    (without it 40 ms too long), and of 1,318 records of PTB-XL folds 1-8 bundle branch block is told as before.

    Args:
        speed: Mean speed of the leads, shape (n,).
        top: Where it is highest.
        end: The end as far as speed alone tells.
        calm_below: Speed that a steep ST segment may have.

    Returns:
        A sample from `top` to `end`.
    """
    calm = speed < calm_below
    at = top
    while at < end:
        while at < end and not calm[at + 1 : at + 1 + _CALM_FOR].all():
            at += 1
        if end - at <= _TAIL:
            return end
        tail = speed[at : min(end, at + round(0.08 * FS)) + 1]
        rising = np.flatnonzero((tail - np.minimum.accumulate(tail))[:_HUMP_WITHIN] > _HUMP * speed[top])
        if len(rising) == 0:
            below = np.linspace(tail[0], tail[-1], len(tail)) - tail
            knee = int(np.argmax(below))
            # A block ends in a plateau and a fall: that is no slope of ST.
            bends = below[knee] >= max(_BEND * float(speed[top]), -float(below.min()))
            return at + knee if bends and tail[knee] < _SLOPE * speed[top] else end
        first = int(rising[0])  # a late part of QRS: from its top on again
        at += first + int(np.argmax(tail[first : first + 20])) + 1
    return end


def slow_start_ms(beat: MedianBeat) -> float:
    """From the onset of QRS to where it first moves at half of its fastest: long where a delta wave begins it."""
    usable = np.isfinite(beat.mv[:, BEFORE - 60 : BEFORE + 100]).all(axis=1)
    speed = _speed(beat.mv[usable])[beat.onset : beat.offset + 1]
    return float(np.argmax(speed >= speed.max() / 2)) * 1000.0 / FS if len(speed) else 0.0


def _speed(mv: Doubles) -> Doubles:
    """Mean speed of the leads, each as a share of its own fastest or of 0.7 of the usual one, shape (n,)."""
    moves = np.abs(np.gradient(smoothed(np.nan_to_num(mv), 5, axis=1), axis=1))
    fastest = moves[:, BEFORE - 50 : BEFORE + 50].max(axis=1)
    moves /= np.maximum(np.maximum(fastest, 0.7 * np.median(fastest)), 1e-9)[:, None]
    return np.asarray(np.sqrt(np.square(moves).mean(axis=0)))


def _chosen(beats: Beats) -> Ints:
    """Beats of kind "N", without those that a premature beat cuts short where enough others are left."""
    normal = np.array([kind == "N" for kind in beats.kinds], dtype=np.bool_)
    if not normal.any():
        return beats.at[:0]
    followed = np.r_[beats.early[1:], False] & np.r_[~normal[1:], False]
    calm = normal & ~followed
    at = beats.at[calm if calm.sum() >= 3 else normal]
    if len(at) > _MOST_BEATS:
        at = at[np.unique(np.linspace(0, len(at) - 1, _MOST_BEATS).round().astype(np.int64))]
    return at


def _padded(samples: Samples) -> Doubles:
    return _pad(samples.masked())


def _pad(mv: Doubles) -> Doubles:
    """With BEFORE and AFTER unknown samples at the ends, so that windows never leave the array."""
    return np.pad(mv, ((0, 0), (BEFORE, AFTER)), constant_values=np.nan)


def _middle(values: Doubles) -> Doubles:
    """Median along the last axis, NaN where any is unknown, without numpy's warnings about it."""
    return np.asarray(np.sort(values, axis=-1)[..., values.shape[-1] // 2])


def _median(single: Doubles) -> Doubles:
    """Median along the last axis of what is known; NaN where nothing is."""
    ordered = np.sort(single, axis=-1)  # NaN last
    counts = np.isfinite(ordered).sum(axis=-1)
    low, high = np.maximum(counts - 1, 0) // 2, np.maximum(counts // 2, 0)
    high = np.minimum(high, single.shape[-1] - 1)
    a = np.take_along_axis(ordered, low[..., None], axis=-1)[..., 0]
    b = np.take_along_axis(ordered, high[..., None], axis=-1)[..., 0]
    return np.asarray(np.where(counts > 0, (a + b) / 2, np.nan))


def _noise(single: Doubles, median: Doubles) -> Doubles:
    """Standard deviation of single beats about the median beat near QRS, from the median absolute deviation."""
    part = slice(BEFORE - 60, BEFORE + 120, 3)
    off = np.abs(single[:, part, :] - median[:, part, None]).reshape(len(single), -1)
    ordered = np.sort(off, axis=1)
    counts = np.isfinite(ordered).sum(axis=1)
    middle = ordered[np.arange(len(ordered)), np.maximum(counts - 1, 0) // 2]
    return np.asarray(np.where(counts > 0, 1.48 * middle, np.inf))


def _baseline(samples: Samples, padded: Doubles, at: Ints, onset: int) -> Doubles:
    """Level before QRS of each beat, joined by lines; level beyond the first and last, shape (n_leads, n_samples)."""
    where = onset + np.arange(_LEVEL.start, _LEVEL.stop)
    levels = padded[:, at[:, None] + where[None, :]].mean(axis=2)  # (leads, beats)
    places = np.arange(samples.mv.shape[1])
    knots = at - BEFORE + where.mean()
    out = np.zeros_like(samples.mv)
    for i, row in enumerate(levels):
        good = np.isfinite(row)
        if good.any():
            out[i] = np.interp(places, knots[good], row[good])
        elif samples.known[i].any():
            out[i] = np.median(samples.mv[i][samples.known[i]])
    return out
