"""P and T on the median beat of all leads together.

The peak of T is looked for first, then P between that peak and QRS, then the end of T before the next P: with a fast
rate or a long PR interval the two waves touch, and whichever is taken for the whole of it spoils both intervals. Limits
are where the steepest tangent meets the level beside it (Lepeschkin and Surawicz 1952, Circulation 6:378-388, for the
end of T).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ecgkin.generation.measures.arrays import FS, Bools, Doubles, smoothed
from ecgkin.generation.measures.median_beat import BEFORE, MedianBeat

_P_LONGEST_S = 0.42  # from the onset of P to that of QRS
_P_LEAST_MV = 0.015  # height of P in the composite lead over what is slower than P
_P_HALF_S = 0.11  # from the peak of P to its onset or end at most
_NARROW, _WIDE = round(0.05 * FS) | 1, round(0.17 * FS) | 1  # means whose difference lets P pass and stops slow drift
_T_HALF_S = 0.22
_FLANK = 0.25
_P_USUAL_HALF = round(0.055 * FS)
# P waves of sinus rhythm are alike by so much (`measure`): what is less alike is not looked for farther away.
_P_SURE = 0.85
_OFF_T_S = 0.04  # from 60 ms after the peak of T to the onset of P at least, where P begins far before QRS
_FROM_T_S = 0.04  # from the flank of T to the peak of P at least


@dataclass(frozen=True, slots=True, eq=False)
class PWave:
    """The P wave of the median beat.

    Attributes:
        onset, peak, end: Samples of the median beat.
        size_mv: Height in the composite lead over what is slower than a P wave.
        clear: That height over the noise of the median beat.
        constant: How like single beats are to the median in this stretch: mean correlation, near 1 for a P wave at the
            same place before every QRS, near 0.3 where there is none.
        limits: Whether both flanks are there, so that its limits can be told.
        direction: Weight of each lead in the composite, 0 for leads that were not used, shape (n_leads,).
    """

    onset: int
    peak: int
    end: int
    size_mv: float
    clear: float
    constant: float
    limits: bool
    direction: Doubles


@dataclass(frozen=True, slots=True)
class TWave:
    """The T wave of the median beat: samples of its peak and end, its height over the noise."""

    peak: int
    end: int
    clear: float


def t_peak(beat: MedianBeat, rr_s: float) -> int | None:
    """Sample at which T is highest in all leads together; None where the cycle leaves no room for it.

    Args:
        beat: The median beat.
        rr_s: From these beats to the next, in seconds.

    Returns:
        The sample, or None.
    """
    first = beat.offset + round(0.05 * FS)
    last = min(beat.onset + round(0.66 * rr_s * FS), beat.onset + round(0.62 * FS), beat.mv.shape[1] - 5)
    if last - first < 0.05 * FS:
        return None
    rows = _usable(beat, beat.offset, last)
    if not rows.any():
        return None
    size = smoothed(np.sqrt(np.square(beat.mv[rows, first:last]).mean(axis=0)), 15)
    # The usual place (QT of 0.42 * sqrt(RR), T peaks 80 ms before its end) weighs, so that P is not taken for T.
    place = (np.arange(first, last) - beat.onset) / FS / np.sqrt(rr_s)
    weighed = size * np.exp(-0.5 * np.square((place - 0.33) / 0.17))
    inner = slice(2, -2)
    return first + 2 + int(np.argmax(weighed[inner]))


def p_wave(beat: MedianBeat, free_s: float) -> PWave | None:
    """The P wave before QRS; None where the window is too short to hold one.

    Args:
        beat: The median beat.
        free_s: From 60 ms after the peak of T of the beat before to the onset of QRS, in seconds.

    Returns:
        Onset, end and amplitude, or None.
    """
    last = beat.onset - 1
    wanted = last - round(min(_P_LONGEST_S, free_s) * FS)
    first = max(_WIDE, wanted)
    found = _p_wave_in(beat, first, last)
    if found is None or found.limits or first == wanted or not found.constant >= _P_SURE:
        return found
    # The window was cut where the filter has no more samples, and P begins before: a long PR interval.
    longer = _p_wave_in(beat, max(0, wanted), last, from_onset=True)
    if longer is None or not longer.limits or longer.constant < _P_SURE or longer.onset < wanted + round(_OFF_T_S * FS):
        return found
    return longer


def _p_wave_in(beat: MedianBeat, first: int, last: int, *, from_onset: bool = False) -> PWave | None:
    """The P wave between two samples of the median beat.

    Args:
        beat: The median beat.
        first, last: Where it is looked for.
        from_onset: Whether beats are compared from the onset of P on; else from `first` on.
    """
    if last - first < 0.06 * FS:
        return None
    rows = _usable(beat, first, last)
    if not rows.any():
        return None
    margin = _WIDE // 2
    left = np.nan_to_num(beat.mv[rows, max(0, first - margin) : first], nan=0.0)
    mv = np.concatenate([left, beat.mv[rows, first:last]], axis=1)
    if left.shape[1] < margin:  # the median beat begins here
        mv = np.pad(mv, ((0, 0), (margin - left.shape[1], 0)), mode="edge")
    # QRS is replaced by the level before it, so that the filter does not see it coming.
    level = mv[:, -6:].mean(axis=1, keepdims=True)
    mv = np.concatenate([mv, np.repeat(level, margin, axis=1)], axis=1)
    quick = _quick(mv, 1)[:, margin:-margin]
    size = np.sqrt(np.square(quick).mean(axis=0))
    n = size.shape[0]
    to_qrs = (n - np.arange(n)) / FS
    weighed = size * np.clip(1.0 - 1.6 * (to_qrs - 0.2), 0.6, 1.0) * np.clip(to_qrs / 0.04, 0.2, 1.0)
    # The foot of T is no wave of its own: only tops count, and none right beside T.
    tops = 1 + np.flatnonzero((size[1:-1] >= size[:-2]) & (size[1:-1] > size[2:]))
    tops = tops[(tops >= round(_FROM_T_S * FS)) | (n == round(_P_LONGEST_S * FS))]
    tops = tops[tops < n - 3]
    if len(tops) == 0:
        return None
    peak = int(tops[np.argmax(weighed[tops])])
    direction = quick[:, peak] / max(float(np.linalg.norm(quick[:, peak])), 1e-9)
    height = float(direction @ quick[:, peak])
    noise = float(np.sqrt(np.square(direction * beat.noise_mv[rows]).sum()))
    noise /= float(np.sqrt(max(1.0, np.median(beat.n_beats[rows]))))
    onset, end, both = _flanks(mv[:, margin:-margin], peak)
    skipped = max(0, onset - _NARROW) if from_onset else 0
    constant = _constant(beat, rows, first + skipped, last, direction, quick[:, skipped:])
    whole = np.zeros(len(rows))
    whole[rows] = direction
    return PWave(
        first + onset, first + peak, first + end, height, height / max(noise, 1e-3), constant,
        both and height >= _P_LEAST_MV, whole,
    )  # fmt: skip


def _quick(values: Doubles, axis: int) -> Doubles:
    """What is as quick as a P wave: a short mean less a long one."""
    return np.asarray(smoothed(values, _NARROW, axis=axis) - smoothed(values, _WIDE, axis=axis))


def _flanks(mv: Doubles, peak: int) -> tuple[int, int, bool]:
    """Onset and end of the wave about `peak`, and whether it rises from a quiet stretch.

    The limits are where all leads together move at a quarter of their speed on the flanks of the wave; the slow top
    between the flanks, or between the two parts of a notched P, lasts up to 40 ms.
    """
    n = mv.shape[1]
    speed = np.gradient(smoothed(mv, 11, axis=1), axis=1)
    size = smoothed(np.sqrt(np.square(speed).sum(axis=0)), 11)
    reach, gap = round(_P_HALF_S * FS), round(0.04 * FS)
    low, high = max(0, peak - reach), min(n - 1, peak + reach)
    quiet = float(np.percentile(size, 20))
    left, right = size[low : peak + 1], size[peak : high + 1]
    limit = quiet + _FLANK * (float(left.max()) - quiet)
    moving = np.flatnonzero(left >= limit)
    onset, at = peak - 1, peak
    for k in moving[::-1]:
        if at - (low + k) > gap:
            break
        at = onset = low + int(k)
    limit = quiet + _FLANK * (float(right.max()) - quiet)
    end, at = peak + 1, peak
    for k in np.flatnonzero(right >= limit):
        if peak + int(k) - at > gap:
            break
        at = end = peak + int(k)
    rises = bool(peak - onset >= 8 and onset > 0 and float(left.max()) > 1.6 * quiet)
    if not rises:  # P stands on T: half of a usual P wave before its peak
        onset = peak - _P_USUAL_HALF
    return onset, end, rises


def _constant(beat: MedianBeat, rows: Bools, first: int, last: int, direction: Doubles, quick: Doubles) -> float:
    """Mean correlation of single beats with the median one; a beat counts with the leads in which it is known.

    Args:
        beat: The median beat and the beats it is made of.
        rows: Leads that are used, shape (n_leads,).
        first, last: Stretch before QRS.
        direction: Weight of each of the used leads.
        quick: Their median in this stretch, filtered, shape (n_used, last - first).
    """
    single = beat.single[rows, first:last]  # (leads, times, beats)
    known = np.asarray(np.isfinite(single).all(axis=1))
    some = known.any(axis=0)
    if some.sum() < 2:
        return float("nan")
    weights = direction[:, None] * known[:, some]  # (leads, beats)
    single = np.where(known[:, None, :], single, 0.0)[:, :, some]
    shown = _quick(np.einsum("lb,ltb->tb", weights, single), 0)[::2]
    shown = shown - shown.mean(axis=0)
    template = (weights.T @ quick).T[::2]
    template = template - template.mean(axis=0)
    norms = np.linalg.norm(shown, axis=0) * np.linalg.norm(template, axis=0)
    return float(np.mean((template * shown).sum(axis=0) / np.maximum(norms, 1e-9)))


def t_wave(beat: MedianBeat, peak: int, last: int) -> TWave | None:
    """The end of T; None where no T wave stands out or its end cannot be told.

    Args:
        beat: The median beat.
        peak: Of `t_peak`.
        last: Sample at which the next P wave or QRS begins.

    Returns:
        End and amplitude, or None.
    """
    last = min(last, peak + round(_T_HALF_S * FS), beat.mv.shape[1] - 5)
    if last - peak < 10:
        return None
    rows = _usable(beat, beat.offset, last + 5)
    if not rows.any():
        return None
    mv = np.nan_to_num(beat.mv[rows])  # a running mean would carry NaN from elsewhere into the window
    level = mv[:, last : last + 5].mean(axis=1, keepdims=True)
    size = smoothed(np.sqrt(np.square(mv - level).mean(axis=0)), 11)
    top = max(beat.offset + 10, peak - 20)
    peak = top + int(np.argmax(size[top : peak + 20]))
    if last - peak < 10:
        return None
    floor = float(size[peak:last].min())
    if size[peak] - floor < 0.03:
        return None
    slope = np.gradient(size)
    steepest = peak + int(np.argmin(slope[peak:last]))
    if slope[steepest] >= 0:
        return None
    end = round(steepest + (size[steepest] - floor) / -slope[steepest])
    if end > last:  # a tangent that flat belongs to no T wave
        return None
    noise = float(np.median(beat.noise_mv[rows])) / np.sqrt(max(1.0, float(np.median(beat.n_beats[rows]))))
    return TWave(peak, int(end), (float(size[peak]) - floor) / max(noise, 1e-3))


def _usable(beat: MedianBeat, first: int, last: int) -> Bools:
    """Leads known throughout and not far noisier than the others."""
    rows = np.isfinite(beat.mv[:, first:last]).all(axis=1)
    if rows.sum() > 3:
        rows &= beat.noise_mv <= 3.5 * np.median(beat.noise_mv[rows])
    return np.asarray(rows)


__all__ = ["BEFORE", "PWave", "TWave", "p_wave", "t_peak", "t_wave"]
