"""Agreement of digitised signals with the recording, and with Einthoven's law where no recording is known.

The first is the metric of the PhysioNet challenge on digitising ECG images (Kaggle, 2025/26): each lead is shifted in
time (at most 0.2 s) and in height to fit the recording best, samples that are missing count as zero, signal and error
energies are summed over the leads of a page, and the score is 10 log10 of the mean of the pages' linear ratios.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.leads import LEADS

FloatArray = NDArray[np.float64]

MAX_SHIFT_S = 0.2
PERFECT = 384.0  # dB; the challenge's ceiling for an error of zero


def aligned(truth: FloatArray, guess: FloatArray, max_shift: int) -> FloatArray:
    """A digitised lead moved onto the recording by the best lag and one vertical offset.

    Args:
        truth: Recording over the printed stretch, shape (n,), mV, finite.
        guess: Digitised samples of the same stretch, shape (n,), mV, NaN where missing.
        max_shift: Largest shift either way, samples.

    Returns:
        Shape (n,); NaN where nothing was digitised or the shift brought in nothing.
    """
    n = truth.size
    known = np.isfinite(guess)
    if not known.any():
        return np.full(n, np.nan)
    centred = truth - truth.mean()
    filled = np.where(known, guess - guess[known].mean(), 0.0)
    reach = min(max_shift, n - 1)
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(centred, size) * np.conj(np.fft.rfft(filled, size))
    lags = np.arange(-reach, reach + 1)
    correlation = np.fft.irfft(spectrum, size)[lags]
    top = correlation.max()
    best = lags[correlation >= top - 1e-12 * abs(top)]
    lag = int(best[np.abs(best).argmin()])
    moved = np.full(n, np.nan)
    if lag >= 0:
        moved[lag:] = guess[: n - lag]
    else:
        moved[:lag] = guess[-lag:]
    both = np.isfinite(moved)
    if both.any():
        moved += float(np.mean(truth[both] - moved[both]))
    return moved


def page_ratio(truth_mv: FloatArray, guess_mv: FloatArray, fs_hz: float = 500.0) -> float:
    """Linear ratio of signal to error energy of one page.

    Args:
        truth_mv: Recording, shape (n_leads, n), mV; NaN where the page does not print a lead.
        guess_mv: Digitised leads in the same order, same shape, NaN where missing.
        fs_hz: Samples a second of both.

    Returns:
        The ratio; larger is nearer to the truth.
    """
    signal = noise = 0.0
    for truth, guess in zip(truth_mv, guess_mv, strict=True):
        printed = np.flatnonzero(np.isfinite(truth))
        if not printed.size:
            continue
        part = slice(int(printed[0]), int(printed[-1]) + 1)
        wanted = np.asarray(truth[part], dtype=np.float64)
        moved = aligned(wanted, np.asarray(guess[part], dtype=np.float64), round(MAX_SHIFT_S * fs_hz))
        level = wanted.mean()
        wanted, moved = wanted - level, np.nan_to_num(moved - level)
        signal += float((wanted**2).sum())
        noise += float(((wanted - moved) ** 2).sum())
    if noise == 0.0:
        return 10 ** (PERFECT / 10)
    return signal / noise


@dataclass(frozen=True, slots=True)
class Score:
    """Agreement over a set of pages.

    Attributes:
        score_db: The challenge's score: 10 log10 of the mean linear ratio.
        mean_db, median_db, least_db: Over the pages' own decibels.
        under_10: Share of pages under 10 dB.
        pages: How many.
    """

    score_db: float
    mean_db: float
    median_db: float
    least_db: float
    under_10: float
    pages: int

    def __str__(self) -> str:
        return (
            f"score {self.score_db:5.1f}  mean {self.mean_db:5.1f}  median {self.median_db:5.1f}  "
            f"least {self.least_db:5.1f}  <10 dB {self.under_10:4.0%}  n {self.pages}"
        )


def score(ratios: Iterable[float]) -> Score:
    """Summary of the pages' linear ratios; a page that was not digitised at all has the ratio 1 (all zeros)."""
    values = np.maximum(np.asarray(list(ratios), dtype=np.float64), 1e-9)
    db = 10 * np.log10(values)
    return Score(
        float(10 * np.log10(values.mean())),
        float(db.mean()),
        float(np.median(db)),
        float(db.min()),
        float((db < 10).mean()),
        values.size,
    )


def einthoven_db(signals: Mapping[str, FloatArray]) -> tuple[float | None, float | None]:
    """How well the limb leads fulfil Einthoven's and Goldberger's laws, dB.

    Args:
        signals: Lead name -> samples, mV, NaN where missing, all on the same time axis.

    Returns:
        Energy of II over that of II - (I + III), and of aVR over that of aVR + aVL + aVF, each lead without its mean
        over the samples that all three have; None where they share less than half a second at 500 Hz.
    """
    return (
        _law_db(signals, "II", (("I", -1.0), ("III", -1.0))),
        _law_db(signals, "aVR", (("aVL", 1.0), ("aVF", 1.0))),
    )


def _law_db(signals: Mapping[str, FloatArray], lead: str, others: tuple[tuple[str, float], ...]) -> float | None:
    if lead not in signals or any(name not in signals for name, _ in others):
        return None
    parts = np.stack([signals[lead], *(sign * signals[name] for name, sign in others)]).astype(np.float64)
    parts = parts[:, np.isfinite(parts).all(axis=0)]
    if parts.shape[1] < 250:
        return None
    parts -= parts.mean(axis=1, keepdims=True)
    energy, error = float((parts[0] ** 2).sum()), float((parts.sum(axis=0) ** 2).sum())
    if energy == 0.0:
        return None
    return float(10 * np.log10(energy / max(error, 1e-12 * energy)))


def by_lead(signal_mv: FloatArray) -> dict[str, FloatArray]:
    """Rows of a standard (12, n) array by lead name, those without any sample left out."""
    return {name: row for name, row in zip(LEADS, signal_mv, strict=True) if np.isfinite(row).any()}
