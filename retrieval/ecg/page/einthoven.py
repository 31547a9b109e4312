"""Einthoven's and Goldberger's laws between the limb leads, to check what was read and to bring leads into step.

II = I + III, and aVR + aVL + aVF = 0, at every moment; a printed page obeys them to the accuracy of its reading, and
not at all where rows were mixed up. Limb leads of one column are brought into step with one another by them, and a
strip with its own lead by likeness.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.counts import variance

FloatArray = NDArray[np.float64]

Law = tuple[tuple[str, float], ...]
LAWS: tuple[Law, ...] = (
    (("II", 1.0), ("I", -1.0), ("III", -1.0)),
    (("aVR", 1.0), ("aVL", 1.0), ("aVF", 1.0)),
)
_STRIP_S = 0.3  # how far a strip may be off its lead
_LAW_S = 0.1  # how far limb leads of one column may be apart
_SAME = 0.8  # least correlation of a strip with its lead
_LEAST_DB, _GAIN_DB = 5.0, 1.0  # what a law must reach, and gain, to be evidence of a shift


def law_db(signals: Mapping[str, FloatArray], law: Law, least: int = 250) -> float | None:
    """Energy of a law's first lead over that of its residual, dB.

    Args:
        signals: Lead name -> samples, mV, NaN where missing, on one time axis.
        law: Names and signs of leads that add up to zero.
        least: Fewest samples that all of them must share.

    Returns:
        Decibels (each lead less its mean over the shared samples), None where a lead is missing.
    """
    if any(name not in signals for name, _ in law):
        return None
    parts = np.stack([sign * signals[name] for name, sign in law]).astype(np.float64)
    parts = parts[:, np.isfinite(parts).all(axis=0)]
    if parts.shape[1] < least:
        return None
    parts -= parts.mean(axis=1, keepdims=True)
    energy, error = float((parts[0] ** 2).sum()), float((parts.sum(axis=0) ** 2).sum())
    if energy <= 0.0:
        return None
    return float(10 * np.log10(energy / max(error, 1e-9 * energy)))


# Limb leads as sums of I and II.
_OF_I_AND_II = {
    "I": (1.0, 0.0), "II": (0.0, 1.0), "III": (-1.0, 1.0),
    "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0),
}  # fmt: skip


def triple_db(signals: Mapping[str, FloatArray], names: tuple[str, str, str]) -> float | None:
    """How well three limb leads of the same time fit together, dB (see `law_db`).

    All limb leads are sums of two, so any three of them fulfil one linear law: II = I + III, for example, or in
    Cabrera's order 1.5 I = aVL - aVR.

    Args:
        signals: Three leads, mV, NaN where missing, (3, n).
        names: Their names, in the same order.

    Returns:
        dB, or None where too little is shown of all three.
    """
    weights = triple_weights(names)
    largest = int(np.abs(weights).argmax())
    order = [largest, *(k for k in range(3) if k != largest)]
    return law_db(signals, tuple((names[k], float(weights[k] / weights[largest])) for k in order))


def triple_weights(names: tuple[str, str, str]) -> FloatArray:
    """Factors with which three limb leads add up to zero, (3,), of norm 1."""
    matrix = np.array([_OF_I_AND_II[name] for name in names])
    return np.asarray(np.linalg.svd(matrix.T)[2][-1], dtype=np.float64)


def einthoven_db(signals: Mapping[str, FloatArray]) -> float | None:
    """How well the limb leads fulfil both laws, dB: the mean of the two where both can be tested, else the one."""
    found = [value for law in LAWS if (value := law_db(signals, law)) is not None]
    return float(np.mean(found)) if found else None


def beside(shown: FloatArray, strip: FloatArray, fs_hz: float = 500.0) -> FloatArray:
    """A lead as far as it is shown, else the strip, moved in time and height to where both show the same.

    Args:
        shown: Samples of the lead, NaN where it is not shown, (n,).
        strip: Samples of its strip on the same time axis, (n,).
        fs_hz: Samples a second.

    Returns:
        The lead completed, (n,).
    """
    n = min(shown.size, strip.size)
    shown, strip = shown[:n], strip[:n]
    best, alike = match(shown, strip, fs_hz)
    if alike < _SAME:
        # Another stretch of time, or another lead: the strip alone is whole.
        return strip if np.isfinite(strip).any() else shown
    moved = np.full(n, np.nan)
    if best >= 0:
        moved[: n - best] = strip[best:]
    else:
        moved[-best:] = strip[:best]
    both = np.isfinite(moved) & np.isfinite(shown)
    moved += float(np.median(shown[both] - moved[both]))
    return np.where(np.isfinite(shown), shown, moved)


def match(shown: FloatArray, strip: FloatArray, fs_hz: float = 500.0) -> tuple[int, float]:
    """By how many samples a strip comes later than a lead, and their correlation; -1 where too little is shown of both.

    Args:
        shown: Samples of the lead, NaN where it is not shown, (n,).
        strip: Samples of its strip on the same time axis, (n,).
        fs_hz: Samples a second.

    Returns:
        Samples, and correlation.
    """
    n = min(shown.size, strip.size)
    known = np.flatnonzero(np.isfinite(shown[:n]))
    if known.size < 0.5 * fs_hz:
        return 0, -1.0
    first, last = int(known[0]), int(known[-1]) + 1
    reach = round(_STRIP_S * fs_hz)
    rough = 4
    lags = np.arange(-reach, reach + 1, rough)
    alike = _correlations(shown[first:last:rough], strip[:n], first, lags, rough, reach)
    near = int(lags[alike.argmax()])
    lags = np.arange(max(-reach, near - rough), min(reach, near + rough) + 1)
    alike = _correlations(shown[first:last], strip[:n], first, lags, 1, reach)
    best = int(alike.argmax())
    return int(lags[best]), float(alike[best])


def _correlations(
    lead: FloatArray, strip: FloatArray, first: int, lags: NDArray[np.int64], step: int, reach: int
) -> FloatArray:
    """Correlation of a lead with a strip at several lags, less a little for large ones; -1 where too little is shown.

    Args:
        lead: Every `step`-th sample from sample `first` on.
        strip: All samples.
        first: See `lead`.
        lags: By how many samples the strip is late.
        step: See `lead`.
        reach: The largest lag that is thought of.
    """
    at = first + np.arange(lead.size)[None, :] * step + lags[:, None]
    inside = (at >= 0) & (at < strip.size)
    other = strip[np.clip(at, 0, strip.size - 1)]
    both = inside & np.isfinite(other) & np.isfinite(lead)[None, :]
    count = np.maximum(both.sum(axis=1), 1)
    p = np.where(both, lead[None, :], 0.0)
    q = np.where(both, other, 0.0)
    mean_p, mean_q = p.sum(axis=1) / count, q.sum(axis=1) / count
    cross = (p * q).sum(axis=1) - count * mean_p * mean_q
    powers = ((p * p).sum(axis=1) - count * mean_p**2) * ((q * q).sum(axis=1) - count * mean_q**2)
    alike = cross / np.sqrt(np.maximum(powers, 1e-18)) - 0.02 * np.abs(lags) / reach
    enough = both.sum(axis=1) >= 0.6 * np.isfinite(lead).sum()
    return np.asarray(np.where(enough, alike, -1.0))


def law_shifts(
    parts: FloatArray, names: tuple[str, str, str], fs_hz: float = 500.0
) -> tuple[tuple[float, float], ...] | None:
    """Shifts in seconds that make three limb leads of one column fulfil their law; None without strong evidence.

    Args:
        parts: Samples over the column's time, (3, n), mV, NaN where missing.
        names: Their names.
        fs_hz: Samples a second.

    Returns:
        For each lead by how much it comes too late at the begin and at the end of the time; their median is 0.
    """
    weights = triple_weights(names)
    step = max(1, round(fs_hz / 250))
    # Enough for milliseconds, and quick.
    x = weights[:, None] * parts[:, ::step]
    rate = fs_hz / step
    n, reach = x.shape[1], round(_LAW_S * rate)
    if n < 4 * reach + 0.5 * rate:
        return None
    inner = slice(2 * reach, n - 2 * reach)
    known = np.isfinite(x[:, inner]).all(axis=0)
    if known.sum() < 0.5 * rate:
        return None
    at = np.arange(n)
    filled = np.stack([np.interp(at, at[np.isfinite(row)], row[np.isfinite(row)]) for row in x])
    base = filled[0, inner]
    lags = np.arange(-2 * reach, 2 * reach + 1)
    views = [np.lib.stride_tricks.sliding_window_view(filled[k], base.size) for k in (1, 2)]

    def centred(v: FloatArray) -> FloatArray:
        v = v[..., known]
        return np.asarray(v - v.mean(axis=-1, keepdims=True))

    a, b, c = centred(base), centred(views[0]), centred(views[1])
    # |a + b_i + c_j|^2 for all lags at once.
    aa, bb, cc = float(a @ a), (b * b).sum(axis=1), (c * c).sum(axis=1)
    rest = aa + bb[:, None] + cc[None, :] + 2 * (b @ a)[:, None] + 2 * (c @ a)[None, :] + 2 * (b @ c.T)
    total = aa + bb[:, None] + cc[None, :]
    apart = np.maximum(np.maximum(np.abs(lags)[:, None], np.abs(lags)[None, :]), np.abs(lags[:, None] - lags[None, :]))
    share = np.where(apart <= reach, rest / total, np.inf)
    # Shifts must earn something.
    share = share * (1.0 + 0.1 * apart / reach)
    i, j = divmod(int(share.argmin()), share.shape[1])
    late = np.array([0.0, float(lags[i]), float(lags[j])])
    # By one lag each, then by lags that change along the column; from no lag at all where one each gains nothing.
    found = [_stretched(x, start, reach) for start in ((late, np.zeros(3)) if late.any() else (late,))]
    line, left = min(found, key=lambda f: f[1])
    energy = float(sum(np.nanvar(row) for row in x))
    before = float(np.nanvar(x.sum(axis=0)))
    if not (energy > 0.0 and np.isfinite(left)):
        return None  # level lines, or leads that share too little time
    best_db, before_db = (10 * np.log10(energy / 1.5 / max(v, 1e-9 * energy)) for v in (left, before))
    if best_db < _LEAST_DB or best_db - before_db < _GAIN_DB:
        return None
    return tuple((float(a / rate), float(b / rate)) for a, b in line)


def _stretched(x: FloatArray, late: FloatArray, reach: int) -> tuple[FloatArray, float]:
    """Lags of three leads at the begin and the end of their time, samples, (3, 2), and the variance of what is left.

    Gauss-Newton steps on the sum of the leads, that their law makes zero; lags that change along the time must earn it.

    Args:
        x: Samples times their factors in the law, (3, n).
        late: Lags to begin with, samples, (3,).
        reach: Largest lag between two of them, samples.
    """
    n = x.shape[1]
    at = np.arange(n, dtype=np.float64)
    tau = 2 * at / (n - 1) - 1
    known = np.isfinite(x)
    complete = [bool(row.all()) for row in known]
    filled = np.stack([np.interp(at, at[k], row[k]) for row, k in zip(x, known, strict=True)])
    rise = np.gradient(filled, axis=1)
    middle, slope = late.copy(), np.zeros(3)

    def summed(middle: FloatArray, slope: FloatArray) -> tuple[FloatArray, list[FloatArray], NDArray[np.bool_], float]:
        """The sum at these lags, its places in each lead, where all are known, and the variance there."""
        places = [at + m + s * tau for m, s in zip(middle, slope, strict=True)]
        good = np.ones(n, dtype=bool)
        for p, k, whole in zip(places, known, complete, strict=True):
            good &= (p >= 0) & (p <= n - 1)
            if not whole:
                good &= np.interp(p, at, k.astype(float)) > 0.99
        total = filled[0].copy()  # the first lead stays where it is
        for p, row in zip(places[1:], filled[1:], strict=True):
            total += np.interp(p, at, row)
        left = variance(total[good]) if np.count_nonzero(good) > 0.5 * n else np.inf
        return total, places, good, left

    total, places, good, best = summed(middle, slope)
    for _ in range(8):
        if not np.isfinite(best):
            break
        columns = []
        for k in (1, 2):
            d = np.interp(places[k], at, rise[k])
            columns += [d, d * tau]
        design = np.stack(columns, axis=1)[good]
        design = design - design.mean(axis=0)
        target = total[good] - total[good].mean()
        ridge = np.diag([0.02, 0.1, 0.02, 0.1]) * float((design**2).sum(axis=0).mean())
        step = -np.linalg.solve(design.T @ design + ridge, design.T @ target)
        moved, turned = middle.copy(), slope.copy()
        moved[1:] += step[0::2]
        turned[1:] += step[1::2]
        ends = np.stack([moved - turned, moved + turned])
        if np.ptp(ends, axis=1).max() > 1.3 * reach:
            break
        again = summed(moved, turned)
        if again[3] > best:
            break
        middle, slope = moved, turned
        total, places, good, best = again
    out = np.stack([middle - slope, middle + slope], axis=1)
    return np.asarray(out - np.median(out, axis=0), dtype=np.float64), best
