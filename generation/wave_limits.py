"""Limits of the waves of one beat: QRS, the end of T, the start of P, on the median beat of all leads together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

FS = 500  # Hz, the working rate: that of standard recordings
BEFORE, AFTER = round(0.45 * FS), round(0.6 * FS)  # window of the median beat about R


def median_beats(leads: Doubles, peaks: NDArray[np.int64]) -> Doubles | None:
    """Median over beats of the commonest shape, shape (n_leads, BEFORE + AFTER), or None."""
    inside = [p for p in peaks if p >= BEFORE and p + AFTER <= leads.shape[1]]
    if len(inside) < 2:
        return None
    beats = np.stack([leads[:, p - BEFORE : p + AFTER] for p in inside])
    core = slice(BEFORE - round(0.08 * FS), BEFORE + round(0.08 * FS))
    flat = beats[:, :, core].reshape(len(beats), -1)
    likeness = np.atleast_2d(np.corrcoef(flat))
    alike = likeness[int(np.argmax(np.median(likeness, axis=1)))] > 0.8  # extrasystoles fall out
    if alike.sum() < 2:
        return None
    return np.asarray(np.median(beats[alike], axis=0), dtype=np.float64)


def qrs_limits(beats: Doubles) -> tuple[int, int]:
    """First and last sample of QRS in the median beats, shape (n_leads, n): where the vector is fast.

    The limit is where the speed falls below 12 % of its peak (or twice the speed of the rest of the beat) and stays
    there for 24 ms: set so that simulated QRS of 92 to 160 ms come out within 12 ms at the median.
    """
    from scipy.ndimage import uniform_filter1d

    speed = np.sqrt(np.square(np.gradient(uniform_filter1d(beats, 5, axis=1), axis=1)).sum(axis=0))
    near = slice(BEFORE - 50, BEFORE + 50)
    top = BEFORE - 50 + int(np.argmax(speed[near]))
    quiet = float(np.median(speed))
    limit = max(0.12 * float(speed[top]), 2.0 * quiet)
    slow = speed < limit
    hold = 12  # a notch of bundle branch block is slow for up to 20 ms
    start, end = top, top
    while start > hold and not slow[start - hold : start].all():
        start -= 1
    while end < len(speed) - hold - 1 and not slow[end + 1 : end + 1 + hold].all():
        end += 1
    return start, end


def t_end(beats: Doubles, qrs_end: int, last: int) -> int | None:
    """Where the steepest tangent after the peak of T meets the baseline (Lepeschkin and Surawicz 1952)."""
    first = qrs_end + round(0.08 * FS)
    last = min(last, beats.shape[1] - 5)
    if last - first < 40:
        return None
    from scipy.ndimage import uniform_filter1d

    level = beats[:, last : last + 5].mean(axis=1, keepdims=True)
    size = uniform_filter1d(np.sqrt(np.square(beats - level).mean(axis=0)), 15)
    peak = first + int(np.argmax(size[first:last]))
    floor = float(size[peak:last].min()) if last > peak else 0.0
    if peak >= last - 10 or size[peak] - floor < 0.03:
        return None
    slope = np.gradient(size)
    steepest = peak + int(np.argmin(slope[peak:last]))
    if slope[steepest] >= 0:
        return None
    end = round(steepest + (size[steepest] - floor) / -slope[steepest])
    return end if end <= last else None  # a tangent that flat belongs to no T wave


def p_start(beats: Doubles, qrs_start: int, free_s: float) -> int | None:
    """Where the size of P falls to a tenth of its peak; None where there is no P that stands out."""
    from scipy.ndimage import uniform_filter1d

    first = max(5, qrs_start - round(min(0.4, free_s) * FS))
    last = qrs_start - round(0.03 * FS)
    if last - first < 30:
        return None
    speed = np.gradient(uniform_filter1d(beats, 11, axis=1), axis=1)
    size = uniform_filter1d(np.sqrt(np.square(speed).sum(axis=0)), 11)
    window = size[first:last]
    quiet = float(np.percentile(window, 20))
    fast = int(np.argmax(window))
    if window[fast] < 2.5 * quiet:
        return None
    limit = quiet + 0.25 * (float(window[fast]) - quiet)
    at = fast
    gap = 0
    # P has two fast flanks with a slow top between them: look back over slow stretches of up to 40 ms.
    start = fast
    while at > 0 and gap < round(0.04 * FS):
        at -= 1
        if window[at] >= limit:
            start, gap = at, 0
        else:
            gap += 1
    return None if start == 0 else first + start
