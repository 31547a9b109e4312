"""When beats come, and what the atria do between them when they do not beat in order."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import numpy as np

from ecgkin.retrieval.ecg.simulation.model import FloatArray

NORMAL, VENTRICULAR, ATRIAL, PACED = "N", "V", "A", "P"


@dataclass(frozen=True, slots=True, eq=False)
class Rhythm:
    """Beats in time.

    Attributes:
        onsets_s: QRS onsets, ascending; some lie before 0 and after the end so that the edges are filled.
        kinds: "N" conducted, "V" ventricular extrasystole, "A" atrial extrasystole, "P" paced; one per onset.
        flutter_hz: Rate of the flutter waves; None without flutter.
    """

    onsets_s: FloatArray
    kinds: tuple[str, ...]
    flutter_hz: float | None = None


def draw_mean_rr(codes: Set[str], rng: np.random.Generator) -> float:
    """Mean RR interval in seconds that suits the statements (limits of rate: 60 and 100 a minute).

    Args:
        codes: Statements, of which those on the rate decide.
        rng: Decides within their limits.

    Returns:
        Seconds.
    """
    if "AFLT" in codes:  # 2:1 to 4:1 of 252 to 324 flutter waves a minute
        return int(rng.choice((2, 3, 4), p=(0.4, 0.2, 0.4))) / float(rng.uniform(4.2, 5.4))
    if "STACH" in codes:
        return 60.0 / float(rng.uniform(104, 142))
    if "SBRAD" in codes:
        return 60.0 / float(rng.uniform(41, 57))
    if "AFIB" in codes and "PACE" not in codes:
        return 60.0 / float(rng.uniform(62, 128))
    if "PACE" in codes:
        return 60.0 / float(rng.uniform(60, 78))
    if "BIGU" in codes or "PVC" in codes or "PAC" in codes or "SARRH" in codes:
        return 60.0 / float(rng.uniform(63, 86))
    return 60.0 / float(rng.uniform(62, 96 if "NORM" in codes or "1AVB" not in codes else 84))


def draw_rhythm(
    codes: Set[str], rr_s: float, qt_s: float, pr_s: float, duration_s: float, rng: np.random.Generator
) -> Rhythm:
    """Beats from before 0 to after `duration_s` for statements, mean RR, QT and PR (all in seconds).

    Args:
        codes: Statements, of which those on the rhythm decide.
        rr_s: Mean RR interval, seconds.
        qt_s: QT interval, seconds: no beat comes before the last one's T wave has ended.
        pr_s: PR interval, seconds.
        duration_s: Length of the recording, seconds.
        rng: Decides everything that is random.

    Returns:
        Times and kinds of all beats, and of P waves where they have times of their own.
    """
    start = -float(rng.uniform(0.0, rr_s)) - rr_s
    count = int(np.ceil((duration_s - start) / (0.5 * rr_s))) + 4
    end = duration_s + 2 * rr_s
    if "AFLT" in codes:
        ratio = int(np.clip(round(4.8 * rr_s), 2, 4))  # the inverse of what `draw_mean_rr` does
        flutter = ratio / rr_s
        rr = np.full(count, rr_s)
        if ratio > 2 and rng.random() < 0.3:  # conduction changes by whole flutter waves
            rr = rng.choice((ratio - 1, ratio, ratio + 1), count) / flutter
        onsets = _until(start, rr, end)
        return Rhythm(onsets, (NORMAL,) * len(onsets), flutter)
    if "PACE" in codes:
        onsets = _until(start, np.full(count, rr_s), end)
        return Rhythm(onsets, (PACED,) * len(onsets))
    if "AFIB" in codes:
        spread = float(rng.uniform(0.17, 0.26))
        rr = rr_s * np.exp(rng.normal(-0.5 * spread**2, spread, count))
        onsets = _until(start, np.maximum(rr, max(0.33, min(qt_s + 0.06, 0.8 * rr_s))), end)
        kinds = [NORMAL] * len(onsets)
        if "PVC" in codes:
            for k in _places(onsets, duration_s, rng):
                kinds[k] = VENTRICULAR
                onsets[k] = onsets[k - 1] + max(qt_s + 0.05, 0.55 * rr_s)
                onsets[k + 1 :] += max(0.0, onsets[k] + 1.25 * rr_s - onsets[k + 1])
        return Rhythm(onsets, tuple(kinds))

    times = start + rr_s * np.arange(count)
    if "SARRH" in codes:  # with the breath, by more than 120 ms between longest and shortest
        depth, breath = float(rng.uniform(0.13, 0.2)), float(rng.uniform(0.18, 0.28))
        rr = rr_s * (1 + depth * np.sin(2 * np.pi * breath * times + rng.uniform(0, 2 * np.pi)))
    else:
        rr = rr_s * (
            1 + rng.uniform(0.004, 0.016) * np.sin(1.5 * times + rng.uniform(0, 6)) + rng.normal(0, 0.004, count)
        )
    onsets = _until(start, rr, end)
    kinds = [NORMAL] * len(onsets)
    coupling = max(qt_s + 0.05, float(rng.uniform(0.54, 0.62)) * rr_s)
    if "BIGU" in codes:
        for k in range(int(rng.integers(1, 3)), len(onsets), 2):
            kinds[k] = VENTRICULAR
            onsets[k] = onsets[k - 1] + coupling + rng.normal(0, 0.004)
        return Rhythm(onsets, tuple(kinds))
    if "PVC" in codes:  # the sinus node keeps its beat: from before to after the extrasystole two whole intervals
        for k in _places(onsets, duration_s, rng, only_early="PAC" in codes):
            kinds[k] = VENTRICULAR
            onsets[k] = onsets[k - 1] + coupling + rng.normal(0, 0.006)
    if "PAC" in codes:  # the sinus node is reset: the next beat comes a normal interval later
        for k in _places(onsets, duration_s, rng, taken=kinds):
            kinds[k] = ATRIAL
            early = max(float(rng.uniform(0.62, 0.74)) * rr_s, 0.6 * qt_s + pr_s + 0.08)
            onsets[k:] -= onsets[k] - onsets[k - 1] - min(early, 0.8 * rr_s)
            onsets[k + 1 :] += 0.07 * rr_s
        last = onsets[-1]
        more = last + rr_s * np.arange(1, 5)
        onsets, kinds = np.r_[onsets, more], kinds + [NORMAL] * 4
    return Rhythm(onsets, tuple(kinds))


def _until(start: float, rr: FloatArray, end: float) -> FloatArray:
    onsets = start + np.r_[0.0, np.cumsum(rr)]
    return np.asarray(onsets[onsets < end], dtype=np.float64)


def _places(
    onsets: FloatArray,
    duration_s: float,
    rng: np.random.Generator,
    taken: list[str] | None = None,
    only_early: bool = False,
) -> list[int]:
    """One to three beats well inside the record, none beside another or beside one of `taken` that is not normal."""
    inside = [k for k in range(1, len(onsets) - 1) if onsets[k - 1] > 0.8 and onsets[k + 1] < duration_s - 0.3]
    if taken is not None:
        inside = [k for k in inside if all(kind == NORMAL for kind in taken[max(0, k - 2) : k + 3])]
    if only_early:  # leaves room for another kind later
        inside = inside[:1]
    most = 1 + int(rng.random() < 0.5) + int(rng.random() < 0.3)
    chosen: list[int] = []
    for k in rng.permutation(inside):
        if len(chosen) < most and all(abs(int(k) - other) > 2 for other in chosen):
            chosen.append(int(k))
    return sorted(chosen)


def fibrillation(times_s: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Fibrillatory waves as a heart vector, shape (3, n), mV: 4.5 to 8 waves a second, largest towards V1.

    Args:
        times_s: Sample times in seconds, (n,).
        rng: Decides frequencies and phases.

    Returns:
        Heart vector in mV, (3, n).
    """
    total = np.zeros((3, len(times_s)))
    size = float(rng.uniform(0.03, 0.085))
    for share in (1.0, 0.75):
        rate = float(rng.uniform(4.8, 7.5))
        drift = rng.uniform(0.5, 1.2) * np.sin(2 * np.pi * rng.uniform(0.1, 0.5) * times_s + rng.uniform(0, 6))
        phase = 2 * np.pi * rate * times_s + 2.0 * drift + rng.uniform(0, 6)
        swell = 1 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.15, 0.6) * times_s + rng.uniform(0, 6))
        shape = np.sin(phase) + 0.3 * np.sin(2 * phase + 1.0)
        way = np.array([rng.uniform(-0.35, 0.1), rng.uniform(0.2, 0.6), -rng.uniform(0.6, 1.0)])
        total += share * size * way[:, None] * (swell * shape)
    return total


def flutter(times_s: FloatArray, rate_hz: float, origin_s: float, rng: np.random.Generator) -> FloatArray:
    """Flutter waves as a heart vector, shape (3, n), mV: a saw, slowly down and quickly up in II, III, aVF.

    Args:
        times_s: Sample times in seconds, (n,).
        rate_hz: Flutter waves a second.
        origin_s: When one of them begins, seconds.
        rng: Decides size and shape.

    Returns:
        Heart vector in mV, (3, n).
    """
    size = float(rng.uniform(0.13, 0.22))
    phase = 2 * np.pi * rate_hz * (times_s - origin_s) + float(rng.uniform(0.6, 2.2))
    # First harmonics of a saw; damping (1, .8, .5, .25) rounds its corners as the body does.
    saw = sum(d * np.sin(k * phase) / k for k, d in enumerate((1.0, 0.8, 0.5, 0.25), start=1))
    way = np.array([-0.05, 1.0, -rng.uniform(0.05, 0.2)])
    positive_v1 = np.array([-0.25, 0.0, -0.30])
    return np.asarray(
        0.65 * size * (way[:, None] * saw - 0.6 * positive_v1[:, None] * np.sin(phase + 0.5)), dtype=np.float64
    )
