"""R peaks and kinds of beats.

Detection works on one curve of all leads (how fast the heart vector moves), so that no single bad lead decides; kinds
come from the likeness of the QRS complexes and from the time at which they come.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ecgkin.generation.measures.arrays import FS, Bools, Doubles, Ints, smoothed
from ecgkin.generation.measures.signals import Samples

_SPAN = 4  # samples to either side of the difference: 16 ms, most sensitive near 30 Hz, a fifth of that for P and T
_SMOOTH_S = 0.07
_WHOLE = 0.85  # share of the time for which a rhythm strip is seen
# Weights of the other leads, of which the most regular beats are taken: less where what is fast in one of them is no
# QRS, more where QRS is small in the strip and T as fast.
_BESIDE_STRIP = (0.25, 1e-6, 4.0)
_STRIP_BEATS = (0.45, 1.2)  # beats of the strip as a share of those of all leads
_CLEARLY = 0.08  # less irregular by this
_APART_S = 0.17  # no two beats are nearer: 350/min
_REFRACTORY_S = 0.23  # extrasystoles come later
_T_WITHIN_S = 0.44  # a T wave peaks within this time of its QRS
_DOUBLE_S = (0.16, 0.46)  # from QRS to the top of a T wave, or from spike to QRS
_QUIET = 0.35  # level after a T wave as a share of T: P waves; an extrasystole has a T wave of its own
_ENOUGH_LEADS = 3
_T_LATEST = 0.36  # T is highest within this times the square root of the cycle, s; extrasystoles often come later
_SAME_DELAY = 0.045 * FS  # leads that are seen one after the other have their tops at different times
_CORE = round(0.09 * FS)  # QRS on either side of the fiducial point
_ALIKE = 0.85  # correlation of two QRS complexes of one kind
_EARLY = 0.85  # of the usual RR interval: earlier is premature


@dataclass(frozen=True, slots=True, eq=False)
class Beats:
    """The beats of a record, in order.

    Attributes:
        at: Fiducial points in samples at `FS`, shape (n,): the middle of QRS, the same point of every beat of a kind.
        kinds: "N" the beat that is measured, "V" another shape, "S" the same shape but premature.
        early: Whether it comes before its time, shape (n,).
        clearness: Height of the QRS complexes over what lies between them; below 1.6 there may be no beats at all.
    """

    at: Ints
    kinds: tuple[str, ...]
    early: Bools
    clearness: float

    def __len__(self) -> int:
        return len(self.at)

    def of(self, kind: str) -> Ints:
        """Fiducial points of one kind."""
        return self.at[[k == kind for k in self.kinds]]


def find_beats(samples: Samples, curve: Doubles | None = None) -> Beats:
    """Detect the beats and tell their kinds.

    Args:
        samples: The leads.
        curve: Their `qrs_activity`; None to compute it.

    Returns:
        Places, kinds and what they are told by.
    """
    if len(samples.names) == 0:
        return Beats(np.zeros(0, dtype=np.int64), (), np.zeros(0, dtype=np.bool_), 0.0)
    best = _beats_by(samples, qrs_activity(samples) if curve is None else curve)
    # A page shows most leads for a few beats and one, the rhythm strip, throughout. What is fast in one of the others
    # alone (the end of a raised ST segment) may be no QRS, and so may what is fast in the strip (T over a small QRS):
    # where one heard before the other has beats that are clearly more regular, those are the beats.
    share = samples.known.mean(axis=1)
    if (share >= _WHOLE).any() and (share < _WHOLE).any():
        for beside in _BESIDE_STRIP:
            other = _beats_by(samples, qrs_activity(samples, beside))
            fits = _STRIP_BEATS[0] * len(best) <= len(other) <= _STRIP_BEATS[1] * len(best)
            if fits and _irregularity(other.at) < _irregularity(best.at) - _CLEARLY:
                best = other
    return best


def _irregularity(at: Ints) -> float:
    """Mean change from one RR interval to the next, as a share of the mean interval."""
    rr = np.diff(at)
    return float(np.abs(np.diff(rr)).mean() / rr.mean()) if len(rr) > 2 else 1.0


def _beats_by(samples: Samples, curve: Doubles) -> Beats:
    """The beats that a curve of QRS activity shows."""
    at, clearness = _peaks(curve)
    if len(at) == 0:
        return Beats(at, (), np.zeros(0, dtype=np.bool_), clearness)
    at = _without_doubles(samples, at)
    at, likeness = _aligned(samples, at)
    # Two humps of one broad QRS that now lie on one point are one beat.
    twice = np.r_[False, np.diff(at) < 0.14 * FS]
    at, likeness = at[~twice], likeness[np.ix_(~twice, ~twice)]
    return _kinds(at, likeness, curve, clearness)


def spikes_with_qrs(spikes_s: tuple[float, ...], curve: Doubles) -> tuple[float, ...]:
    """Those spikes after which a QRS comes; the others were narrow R waves, taken for spikes.

    Args:
        spikes_s: In seconds.
        curve: `qrs_activity` of the samples without them.

    Returns:
        Seconds, ascending.
    """
    at, clearness = _peaks(curve)
    if len(at) < 2 or clearness < 2.0:
        return ()
    level = 0.5 * float(np.median(curve[at]))
    kept = []
    for spike in spikes_s:
        first, last = round((spike - 0.04) * FS), round((spike + 0.32) * FS)
        if last > len(curve) or curve[max(0, first) : last].max() >= level:
            kept.append(spike)
    return tuple(kept)


def qrs_activity(samples: Samples, beside_strip: float = 1.0) -> Doubles:
    """How fast the leads move, each scaled by its own QRS, smoothed: one hump for each QRS, shape (n_samples,).

    Args:
        samples: The leads.
        beside_strip: Weight of leads that are known for a while only, beside those that are known throughout.
    """
    smooth = smoothed(samples.mv, 5, axis=1)
    speed = np.zeros_like(smooth)
    np.subtract(smooth[:, 2 * _SPAN :], smooth[:, : -2 * _SPAN], out=speed[:, _SPAN:-_SPAN])
    np.abs(speed, out=speed)
    known = samples.known
    if not known.all():  # the edge of a known stretch is no QRS
        known = smoothed(known.astype(np.float64), 4 * _SPAN + 1, axis=1) > 0.999
        speed *= known
    sizes, quiet = np.zeros(len(speed)), np.zeros(len(speed))
    for i, row in enumerate(speed):
        inside = row[::3] if known[i].all() else row[known[i]][::3]
        sizes[i], quiet[i] = np.percentile(inside, [98, 50]) if len(inside) else (0.0, 1.0)
    # Noise has 3.5 times its median at the 98th percentile, an ECG 10 times and more.
    good = np.clip((sizes / np.maximum(quiet, 1e-9) - 3.0) / 6.0, 0.02, 1.0)
    good[known.mean(axis=1) < _WHOLE] *= beside_strip
    weights = good / good.max()
    scale = np.maximum(sizes, 0.35 * np.median(sizes[sizes > 0])) if (sizes > 0).any() else np.ones(len(sizes))
    speed *= 1.0 / scale[:, None]
    # A mean, capped: what moves one lead alone is an artefact of its electrode.
    np.minimum(speed, 2.0, out=speed)
    mean = weights @ speed
    if known.all():
        mean /= weights.sum()
    else:
        mean /= np.maximum(weights @ known, 0.02)
    # Beyond the ends lies nothing, so that a wave which the record cuts off does not count as a whole QRS.
    return np.asarray(smoothed(mean, round(_SMOOTH_S * FS), mode="constant"), dtype=np.float64)


def _peaks(curve: Doubles) -> tuple[Ints, float]:
    """Humps of the curve that are QRS complexes, and how clearly they stand out."""
    from scipy.signal import find_peaks

    found = find_peaks(np.r_[0.0, curve, 0.0], distance=round(_APART_S * FS))[0] - 1
    if len(found) == 0:
        return found.astype(np.int64), 0.0
    heights = curve[found]
    least = max(3, round(len(curve) / FS / 3.0))  # as many beats as 20/min gives
    top = float(np.median(np.sort(heights)[::-1][: 2 * least]))
    top = max(top, 0.95 * float(np.median(np.sort(heights)[::-1][:least])))
    # A wave that the record cuts off is no beat unless it is as fast as the others, and is of no height in between.
    cut = (found < 0.06 * FS) | (found > len(curve) - 0.06 * FS)
    limit = _level_between(heights[~cut], top)
    chosen = found[(heights >= limit) & (~cut | (heights >= 0.75 * top))]
    # The T wave of a beat before the record began has no higher hump before it.
    chosen = chosen[(chosen > 0.4 * FS) | (curve[chosen] >= 0.5 * top)]
    chosen = _without_t_waves(chosen, found, curve)
    chosen = _with_missed(chosen, found, curve, limit)
    floor = float(np.percentile(curve, 20))
    return chosen.astype(np.int64), float(np.median(curve[chosen])) / max(floor, 1e-6) if len(chosen) else 0.0


def _level_between(heights: Doubles, top: float) -> float:
    """The level that parts QRS complexes from other waves: in a wide gap of the heights, near 0.35 of the usual QRS."""
    inside = np.sort(heights[(heights > 0.15 * top) & (heights < top)])
    edges = np.log(np.r_[0.15 * top, inside, top])
    middles = (edges[:-1] + edges[1:]) / 2
    k = int(np.argmax(np.diff(edges) - np.abs(middles - np.log(0.35 * top))))
    return float(np.exp(middles[k]))


def _without_t_waves(at: Ints, found: Ints, curve: Doubles) -> Ints:
    """Drop humps that follow a higher one as T waves do: lower, soon, and after most beats alike.

    Args:
        at: Humps taken for QRS complexes.
        found: All humps of the curve, also those too low to be taken.
        curve: The curve.
    """
    while len(at) > 2:
        heights = curve[at]
        after = np.diff(at) / FS
        lower = heights[1:] < 0.62 * heights[:-1]
        follows = np.r_[False, (after < _T_WITHIN_S) & lower]
        if not follows.any():
            return at
        leaders = ~follows
        delays = np.diff(at)[follows[1:]]
        usual = np.abs(delays - np.median(delays)) < 0.08 * FS
        regular = usual.sum() >= 0.4 * leaders.sum()
        # Where only some beats are followed, an extrasystole may be what follows: it is nearly as fast as its leader.
        # But no beat comes within the refractory time of the one before.
        weak = np.r_[
            False, (heights[1:] < 0.4 * heights[:-1]) | ((after < _REFRACTORY_S) & (heights[1:] < 0.5 * heights[:-1]))
        ]
        out = follows if regular else follows & (weak | _one_of_many(at, follows, found, curve))
        if not out.any():
            return at
        at = at[~out]
    return at


def _one_of_many(at: Ints, follows: Bools, found: Ints, curve: Doubles) -> Bools:
    """Which followers come as late as a lower hump after most other beats: T waves of which only some are taken."""
    leaders = at[~follows]
    room = np.r_[np.diff(leaders), len(curve) - leaders[-1]]
    out = np.zeros(len(at), dtype=np.bool_)
    for i in np.flatnonzero(follows):
        delay, height = at[i] - at[i - 1], curve[at[i]]
        others = leaders[(room > delay + _APART_S * FS) & (leaders != at[i - 1])]
        low = found[(curve[found] >= 0.5 * height) & (curve[found] < 1.5 * height)]
        alike = [bool((np.abs(low - leader - delay) <= _SAME_DELAY).any()) for leader in others]
        out[i] = len(alike) >= 3 and float(np.mean(alike)) >= 0.6
    return out


def _without_doubles(samples: Samples, at: Ints) -> Ints:
    """Drop sharp tall T waves and what pacemaker spikes have left, where they were taken for beats of their own.

    A T wave comes at one delay after most beats, bends less than QRS and is followed by nothing but P; an extrasystole
    has a T wave of its own. What is left of a spike bends as QRS does but moves nothing: there is no slow part to it.
    """
    if len(at) < 6 or float(np.diff(at).min()) > _DOUBLE_S[1] * FS:
        return at
    usable = samples.complete
    if usable.sum() >= _ENOUGH_LEADS:
        bends, moves, level = _bends_and_moves(samples.mv[usable], samples.known[usable], at)
    else:  # on paper each lead is known for a while: at every moment some are
        bends, moves, level = _bends_and_moves(samples.mv, samples.known, at)
    if len(samples.spikes_s) >= 4:
        left = _left_of_spikes(at, moves)
        at, bends, moves = at[~left], bends[~left], moves[~left]
    if len(at) < 6:
        return at
    # The curve has a hump on either side of T: its top is where the leads are farthest from their level.
    near, n = round(0.07 * FS), samples.mv.shape[1]
    tops = np.array([max(0, a - near) + int(np.argmax(level[max(0, a - near) : a + near + 1])) for a in at])
    gaps = np.diff(tops)
    short = gaps[(gaps >= _DOUBLE_S[0] * FS) & (gaps <= _DOUBLE_S[1] * FS)]
    if len(short) < 3:
        return at
    usual = float(short[int(np.argmax([(np.abs(short - gap) <= _SAME_DELAY).sum() for gap in short]))])
    follows = np.r_[False, (np.abs(gaps - usual) <= _SAME_DELAY) & (bends[1:] < 0.75 * bends[:-1])]
    follows[2:] &= ~follows[1:-1]
    if follows.sum() < max(3, 0.35 * len(at)):
        return at
    leaders = tops[~follows]
    cycle_s = float(np.median(np.diff(leaders))) / FS if len(leaders) > 2 else 1.0
    if usual > _T_LATEST * np.sqrt(cycle_s) * FS:
        return at
    quiet = []
    for i in np.flatnonzero(follows):
        first = int(tops[i]) + round(0.14 * FS)
        last = min(n, int(at[i + 1]) - round(0.1 * FS) if i + 1 < len(at) else n, first + round(0.3 * FS))
        if last - first >= 10:
            quiet.append(float(level[first:last].max() / max(float(level[tops[i]]), 1e-9)))
    return at[~follows] if quiet and float(np.median(quiet)) < _QUIET else at


def _left_of_spikes(at: Ints, moves: Doubles) -> Bools:
    """Which points are the first of two at one short delay, time after time: a spike and the QRS that it makes.

    Of the two the one that moves far less is what was left of the spike, else the first.
    """
    out = np.zeros(len(at), dtype=np.bool_)
    for farthest in (0.27, 0.45):  # a ventricular spike before QRS, and an atrial one before that
        kept = np.flatnonzero(~out)
        gaps = np.diff(at[kept])
        # The next cycle is longer, else these are the beats of a tachycardia.
        next_gap = np.r_[gaps[1:], 1e9]
        short = np.flatnonzero((gaps > 0.06 * FS) & (gaps < farthest * FS) & (next_gap > 1.3 * gaps))
        if farthest > 0.3:  # nothing but a spike lies so far before QRS and moves so little
            short = short[moves[kept[short]] < 0.3 * moves[kept[short + 1]]]
        if len(short) < 3:
            break
        centre = gaps[short][int(np.argmax([(np.abs(gaps[short] - gap) <= 0.025 * FS).sum() for gap in gaps[short]]))]
        pairs = short[np.abs(gaps[short] - centre) <= 0.025 * FS]
        if len(pairs) < 0.25 * len(kept):
            break
        first, second = moves[kept[pairs]], moves[kept[pairs + 1]]
        later = float(np.median(second)) < 0.62 * float(np.median(first))
        out[kept[pairs + 1] if later else kept[pairs]] = True
    return out


def _bends_and_moves(mv: Doubles, known: Bools, at: Ints) -> tuple[Doubles, Doubles, Doubles]:
    """At each point how sharply the leads bend and how far they move slowly; and how far they are from their level.

    Leads count where they are known.

    Returns:
        Two of shape (n_beats,), mV: largest second difference over 8 ms near the point, size of the wave when smoothed
        over 80 ms; and the distance from the median of the neighbouring second, root mean square of the leads, (n,).
    """
    n = mv.shape[1]
    smooth = smoothed(mv, 5, axis=1)
    bend = np.zeros(n)
    second = smooth[:, 8:] - 2 * smooth[:, 4:-4] + smooth[:, :-8]
    slow = smoothed(mv, 41, axis=1)
    drift = smoothed(mv, 2 * FS + 1, axis=1)
    away = smooth - drift
    if not known.all():
        inside = smoothed(known.astype(np.float64), 31, axis=1) > 0.999  # no bend where a line bridges a gap
        second = second * inside[:, 4:-4]
        slow = slow * known
        # A lead that begins or ends here has no drift of two seconds: its own median is its level.
        middle = np.array([np.median(row[good]) if good.any() else 0.0 for row, good in zip(mv, known, strict=True)])
        away = (smooth - middle[:, None]) * known
    bend[4:-4] = np.sqrt(np.square(second).mean(axis=0))
    level = np.sqrt(np.square(away).mean(axis=0))
    near, wide = round(0.045 * FS), round(0.1 * FS)
    bends = np.array([bend[max(0, a - near) : a + near + 1].max() for a in at])
    parts = (slow[:, max(0, a - wide) : a + wide + 1] for a in at)
    moves = np.array([float(np.sqrt(np.square(np.ptp(part, axis=1)).mean())) for part in parts])
    return bends, moves, level


def _with_missed(at: Ints, found: Ints, curve: Doubles, limit: float) -> Ints:
    """Look again, half as strictly, where a gap is longer than 1.7 usual intervals."""
    if len(at) < 4:
        return at
    usual = float(np.median(np.diff(at)))
    more = []
    for start, end in pairwise(at):
        if end - start > 1.7 * usual:
            inside = found[(found > start + 0.6 * usual) & (found < end - 0.4 * usual) & (found - start > 0.3 * FS)]
            inside = inside[curve[inside] >= 0.6 * limit]
            more += inside.tolist()
    return np.sort(np.r_[at, np.array(more, dtype=np.int64)]) if more else at


def _aligned(samples: Samples, at: Ints) -> tuple[Ints, Doubles]:
    """Shift the points so that QRS complexes lie over each other; with their likeness, shape (n, n), NaN if unknown."""
    n = samples.mv.shape[1]
    usable = samples.complete
    reach = _CORE + 20
    inside = np.clip(at, reach, max(reach, n - reach - 1))
    if n <= 2 * reach + 1:
        return at, np.full((len(at), len(at)), np.nan)
    offsets = np.arange(-reach, reach + 1, 2)
    if not usable.any():
        return at, _piecewise_likeness(samples, inside)
    smooth = smoothed(samples.mv[usable], 5, axis=1)
    windows = smooth[:, inside[:, None] + offsets[None, :]]  # (leads, beats, times)
    windows = windows - np.median(windows, axis=2, keepdims=True)
    scale = np.sqrt(np.square(windows).mean(axis=(1, 2), keepdims=True))
    windows = windows / np.maximum(scale, 1e-6)
    core = slice(10, windows.shape[2] - 10)
    flat = _unit(windows[:, :, core])
    likeness = flat @ flat.T
    # The most typical beat is the template; lags of up to 20 samples, in steps of two.
    template = flat[int(np.argmax(np.median(likeness, axis=1)))]
    lags = range(-10, 11)
    scores = np.stack(
        [_unit(windows[:, :, core.start + lag : core.stop + lag]) @ template for lag in lags]
    )  # (lags, beats)
    best = np.argmax(scores, axis=0)
    best[scores.max(axis=0) < 0.6] = 10  # another shape stays where it is
    moved = np.clip(inside + 2 * (best - 10), reach, n - reach - 1)
    windows = smooth[:, moved[:, None] + offsets[None, 10:-10]]
    windows = (windows - np.median(windows, axis=2, keepdims=True)) / np.maximum(scale, 1e-6)
    flat = _unit(windows)
    likeness = flat @ flat.T
    # A complex that the record cuts off is like nothing: nothing can be said about its shape.
    cut = at != inside
    likeness[cut, :] = likeness[:, cut] = np.nan
    return np.where(cut, at, moved), likeness


def _unit(windows: Doubles) -> Doubles:
    """(leads, beats, times) to (beats, leads * times), each row without its mean and of length one."""
    flat = windows.transpose(1, 0, 2).reshape(windows.shape[1], -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9))


def _piecewise_likeness(samples: Samples, at: Ints) -> Doubles:
    """Likeness of beats that share known leads; NaN for those that share none."""
    offsets = np.arange(-_CORE, _CORE + 1, 2)
    places = at[:, None] + offsets[None, :]
    windows = samples.mv[:, places]
    known = np.asarray(samples.known[:, places].all(axis=2), dtype=np.bool_)
    windows = windows - windows.mean(axis=2, keepdims=True)
    out = np.full((len(at), len(at)), np.nan)
    for i in range(len(at)):
        for j in range(len(at)):
            both = known[:, i] & known[:, j]
            if both.any():
                a, b = windows[both, i].ravel(), windows[both, j].ravel()
                out[i, j] = float(a @ b / max(1e-9, np.linalg.norm(a) * np.linalg.norm(b)))
    return out


def _kinds(at: Ints, likeness: Doubles, curve: Doubles, clearness: float) -> Beats:
    """Group by likeness; the group that is measured is the largest, or of two large ones that which is not early."""
    n = len(at)
    rr = np.diff(at)
    usual = float(np.median(rr)) if len(rr) else float(FS)
    before = np.r_[usual, rr].astype(np.float64)
    # The local pace: the median of the neighbouring intervals, so that a rhythm that changes does not count as early.
    pace = np.array([np.median(rr[max(0, i - 4) : i + 4]) if len(rr) else usual for i in range(n)])
    if np.isnan(likeness).all():
        early = before < _EARLY * pace
        return Beats(at, tuple("N" for _ in range(n)), early, clearness)
    groups = _groups(likeness)
    sizes = np.bincount(groups)
    large = [g for g in range(len(sizes)) if sizes[g] >= max(2, 0.3 * n)] or [int(np.argmax(sizes))]

    # In bigeminy half of the beats are extrasystoles: the normal ones are those that come after the longer interval.
    def lateness(group: int) -> float:
        inside = (groups == group) & (np.arange(n) > 0)
        return float(np.median(before[inside])) if inside.any() else 0.0

    main = max(large, key=lambda g: (sizes[g] >= 0.62 * n, lateness(g) > 1.15 * usual * 0.9, lateness(g), sizes[g]))
    if sizes[main] < 0.62 * n and len(large) > 1 and max(map(lateness, large)) < 1.15 * min(map(lateness, large)):
        main = max(large, key=lambda g: sizes[g])  # neither is early: the commoner one
    normal = groups == main
    early = np.asarray(before < _EARLY * pace, dtype=np.bool_)
    # An extrasystole comes before the pause that follows it, where every second beat is one before no usual interval.
    after = np.r_[rr, usual].astype(np.float64)
    early |= ~normal & (before < _EARLY * after)
    early[0] = False
    kinds = ["N" if same else "V" for same in normal]
    irregular = _irregular(rr)
    for i in range(1, n):
        # In a rhythm that is irregular by itself no beat of the usual shape can be told to be premature.
        if normal[i] and early[i] and not irregular and (i + 1 >= n or rr[i] >= 0.95 * pace[i]):
            kinds[i] = "S"
    return Beats(at, tuple(kinds), early, clearness)


def _irregular(rr: Ints) -> bool:
    """Whether most intervals differ from the one before, as in atrial fibrillation."""
    if len(rr) < 3:
        return False
    changes = np.abs(np.diff(rr)) / np.median(rr)
    return float(np.median(changes)) > 0.1


def _groups(likeness: Doubles) -> Ints:
    """Number of the group of each beat: beats join the group whose first member they are most like."""
    n = len(likeness)
    seen = ~np.isnan(likeness).all(axis=1)
    typical = np.full(n, -2.0)
    typical[seen] = np.nanmedian(likeness[seen], axis=1)
    order = np.argsort(-typical, kind="stable")
    leaders: list[int] = []
    out = np.full(n, -1, dtype=np.int64)
    for i in order:
        likes = [likeness[i, leader] for leader in leaders]
        best = int(np.nanargmax(likes)) if likes and not np.isnan(likes).all() else -1
        if best >= 0 and likes[best] >= _ALIKE:
            out[i] = best
        elif best < 0 and leaders:
            out[i] = 0  # shares no lead with any leader: nothing speaks against the usual shape
        else:
            leaders.append(int(i))
            out[i] = len(leaders) - 1
    return out
