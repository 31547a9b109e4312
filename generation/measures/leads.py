"""Amplitudes by lead on the median beat: Q, R, S, ST at J, J+60 and J+80 ms, T."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from ecgkin.generation.measures.arrays import FS, Doubles, smoothed
from ecgkin.generation.measures.median_beat import MedianBeat

Polarity = Literal["positive", "negative", "positive-negative", "negative-positive", "flat"]

_LEAST_MV = 0.03  # a deflection of QRS smaller than this is none
_LEAST_MS = 8.0
_FLAT_T_MV = 0.05
_BIPHASIC = 0.4  # the smaller phase of T as a share of the larger


@dataclass(frozen=True, slots=True)
class LeadMeasures:
    """One lead, mV against the level before QRS; depths are positive numbers, 0 where there is no such wave.

    Attributes:
        q_mv, q_ms: Depth and width of an initial negative deflection; of a QS complex the whole.
        r_mv, s_mv, r2_mv: First positive deflection, the negative one after it, the second positive one.
        st_j_mv, st_60_mv, st_80_mv: Level at the J point and 60 and 80 ms after it.
        t_mv: T at its largest, negative where it points down.
        t_polarity: Its course; "flat" below 0.05 mV.
        noise_mv: Standard deviation of single beats about the median over the square root of their number: how far
            these values may be off by chance.
        n_beats: Beats that were averaged in this lead.
    """

    q_mv: float
    q_ms: float
    r_mv: float
    s_mv: float
    r2_mv: float
    st_j_mv: float
    st_60_mv: float
    st_80_mv: float
    t_mv: float
    t_polarity: Polarity
    noise_mv: float
    n_beats: int

    @property
    def qs(self) -> bool:
        """Whether QRS is one negative deflection."""
        return self.q_mv > 0 and self.r_mv == 0

    @property
    def net_mv(self) -> float:
        """Largest positive less largest negative deflection."""
        return max(self.r_mv, self.r2_mv) - max(self.q_mv, self.s_mv)


def lead_measures(beat: MedianBeat, t_end: int | None) -> Mapping[str, LeadMeasures]:
    """Amplitudes of every lead in which QRS and ST are known.

    Args:
        beat: The median beat.
        t_end: Sample at which T ends; None takes 400 ms after the onset of QRS.

    Returns:
        Lead -> amplitudes in mV and durations in ms.
    """
    out = {}
    last = beat.onset + round(0.4 * FS) if t_end is None else t_end
    last = max(last, beat.offset + round(0.1 * FS))
    for name, row, noise, n in zip(beat.names, beat.mv, beat.noise_mv, beat.n_beats, strict=True):
        part = row[beat.onset - 2 : min(len(row), last + 1)]
        if not np.isfinite(part[: beat.offset - beat.onset + 45]).all() or not np.isfinite(noise):
            continue
        known = np.nan_to_num(row)
        waves = _deflections(known, beat.onset, beat.offset)
        smooth = smoothed(known, 5)
        j = beat.offset + 1
        t, polarity = _t(smooth, j, last if np.isfinite(part).all() else j + 45)
        at_j, at_60, at_80 = (float(smooth[min(j + round(s * FS), len(smooth) - 1)]) for s in (0.0, 0.06, 0.08))
        spread = float(noise) / float(np.sqrt(max(1, int(n))))
        out[name] = LeadMeasures(*waves, at_j, at_60, at_80, t, polarity, spread, int(n))
    return out


def _deflections(row: Doubles, onset: int, offset: int) -> tuple[float, float, float, float, float]:
    """Depth and width of Q, then R, S, R'."""
    part = row[onset - 1 : offset + 2]
    sign = np.where(part > 0.01, 1, np.where(part < -0.01, -1, 0))
    edges = np.flatnonzero(np.diff(np.r_[0, sign, 0]))
    found: list[tuple[int, float, float]] = []  # sign, size, width in ms
    for start, end in pairwise(edges):
        if sign[start] == 0:
            continue
        size = float(np.abs(part[start:end]).max())
        width = (end - start) * 1000.0 / FS
        if size < _LEAST_MV or width < _LEAST_MS:
            continue
        if found and found[-1][0] == sign[start]:
            found[-1] = (found[-1][0], max(found[-1][1], size), found[-1][2] + width)
        else:
            found.append((int(sign[start]), size, width))
    q = q_ms = r = s = r2 = 0.0
    if found and found[0][0] < 0:
        _, q, q_ms = found.pop(0)
    if found:
        r = found.pop(0)[1]
    if found:
        s = found.pop(0)[1]
    if found:
        r2 = found.pop(0)[1]
    return q, q_ms, r, s, r2


def _t(smooth: Doubles, j: int, last: int) -> tuple[float, Polarity]:
    first = j + round(0.06 * FS)
    if last - first < 10:
        first = max(j, last - 10)
    part = smooth[first : last + 1]
    top, bottom = float(part.max()), float(part.min())
    size = top if top >= -bottom else bottom
    if max(top, -bottom) < _FLAT_T_MV:
        return size, "flat"
    smaller = min(max(top, 0.0), max(-bottom, 0.0))
    if smaller >= max(_FLAT_T_MV, _BIPHASIC * max(top, -bottom)):
        return size, "positive-negative" if int(part.argmax()) < int(part.argmin()) else "negative-positive"
    return size, "positive" if size > 0 else "negative"
