"""Strips of a page in step with each other, and columns in step with the strips.

Machines print the strip some tenths of a second beside the columns over it, and paper that is curled or was
photographed aslant is read a little off; where a strip begins in the middle of a QRS its start may be read some
hundredths of a second beside that of the others. Of each lead only its own column is known, so that QRS of the median
beat would reach from the earliest column or strip to the latest.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ecgkin.generation.measures.arrays import FS, Bools, Doubles, smoothed
from ecgkin.generation.measures.beats import Beats
from ecgkin.generation.measures.median_beat import BEFORE, qrs_limits, rough_beat
from ecgkin.generation.measures.signals import Samples

# Both limits of QRS must be off the same way, by nearly the same: of 137 columns of pages in step one limit alone is
# off by more than 16 ms in 23 (a lead's QRS may begin level), both alike in none.
_LEAST, _MOST, _ALIKE = round(0.02 * FS), round(0.2 * FS), round(0.04 * FS)
_ONE_COLUMN_S = 0.6  # leads whose middles are nearer are one column


def in_step(samples: Samples, beats: Beats) -> Samples:
    """The samples with strips and columns moved in time so that their QRS lies where that of the strips does.

    Args:
        samples: Leads, some known throughout (a rhythm strip), some for a while.
        beats: Found in them.

    Returns:
        The samples as they are where every lead is known throughout, none is, or nothing is off.
    """
    strip = samples.complete
    if strip.all() or not strip.any():
        return samples
    rough = rough_beat(samples, beats)
    if rough is None:
        return samples
    mv, noise = rough
    late = _late_strips(mv, noise, strip)
    for row, by in late.items():
        mv[row] = np.roll(mv[row], -by)
    limits = _limits(mv, noise, strip)
    if limits is None:
        return samples
    moves: dict[int, int] = {}  # column -> samples by which it comes too late
    columns = _columns(samples.known, strip)
    off: dict[int, tuple[int, int]] = {}
    for number, rows in enumerate(columns):
        own = _limits(mv, noise, rows)
        if own is not None:
            off[number] = own[0] - limits[0], own[1] - limits[1]
    for number, (first, last) in off.items():
        if _beside(first, last):
            moves[number] = round((first + last) / 2)
    if not moves and not late:
        return samples
    # Columns of one row of paper are mostly off alike: what one limit says then counts for a column that is unclear.
    usual = round(float(np.median(list(moves.values())))) if moves else 0
    for number, (first, last) in off.items():
        if number not in moves and abs(usual) >= _LEAST and min(abs(first - usual), abs(last - usual)) < _LEAST:
            moves[number] = usual
    signal, known = samples.mv.copy(), samples.known.copy()
    all_late = late | {int(row): by for number, by in moves.items() for row in np.flatnonzero(columns[number])}
    for row, by in all_late.items():
        if abs(by) > _MOST:
            continue
        signal[row], known[row] = np.roll(signal[row], -by), np.roll(known[row], -by)
        gone = slice(-by, None) if by > 0 else slice(0, -by)
        known[row, gone] = False
    return replace(samples, mv=signal, known=known, stepped=True)


def _beside(first: int, last: int) -> bool:
    """Whether both limits of QRS are off the same way, by nearly the same."""
    return first * last > 0 and min(abs(first), abs(last)) >= _LEAST and abs(first - last) <= _ALIKE


def _late_strips(mv: Doubles, noise_mv: Doubles, strips: Bools) -> dict[int, int]:
    """Strip -> samples by which it comes later than the one whose QRS lies in the middle; only what is off."""
    own: dict[int, tuple[int, int]] = {}
    for row in np.flatnonzero(strips):
        limits = _limits(mv, noise_mv, np.arange(len(strips)) == row)
        if limits is not None:
            own[int(row)] = limits
    if len(own) < 2:
        return {}
    first, last = sorted(own.values(), key=lambda limits: limits[0] + limits[1])[(len(own) - 1) // 2]
    off = {row: (limits[0] - first, limits[1] - last) for row, limits in own.items()}
    return {row: round(sum(by) / 2) for row, by in off.items() if _beside(*by) and abs(sum(by)) <= 2 * _MOST}


def _columns(known: Bools, strip: Bools) -> list[Bools]:
    """Leads that are known at the same time, by middle of that time; each shape (n_leads,)."""
    middles: list[float] = []
    out: list[Bools] = []
    for row in np.flatnonzero(~strip):
        places = np.flatnonzero(known[row])
        if len(places) == 0:
            continue
        middle = (places[0] + places[-1]) / 2
        near = [i for i, other in enumerate(middles) if abs(other - middle) < _ONE_COLUMN_S * FS]
        if near:
            out[near[0]][row] = True
        else:
            middles.append(float(middle))
            out.append(np.arange(len(known)) == row)
    return out


def _limits(mv: Doubles, noise_mv: Doubles, rows: Bools) -> tuple[int, int] | None:
    """QRS in some of the leads, wherever it lies within 0.2 s; None where none of them is known about it."""
    own, noise = mv[rows], noise_mv[rows]
    near = own[:, BEFORE - _MOST - 25 : BEFORE + _MOST + 25]
    seen = np.isfinite(near).all(axis=1)
    if not seen.any():
        return None
    moves = np.abs(np.gradient(smoothed(near[seen], 5, axis=1), axis=1))
    moves /= np.maximum(moves.max(axis=1, keepdims=True), 1e-9)
    by = int(np.argmax(np.square(moves).mean(axis=0))) - _MOST - 25
    first, last = qrs_limits(np.roll(own, -by, axis=1), noise)
    return first + by, last + by
