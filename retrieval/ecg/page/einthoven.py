"""Einthoven's and Goldberger's laws between the limb leads, as a check of what was read from a page.

II = I + III, and aVR + aVL + aVF = 0, at every moment; a printed page obeys them to the accuracy of its reading, and
not at all where rows were mixed up.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

LAWS: tuple[tuple[tuple[str, float], ...], ...] = (
    (("II", 1.0), ("I", -1.0), ("III", -1.0)),
    (("aVR", 1.0), ("aVL", 1.0), ("aVF", 1.0)),
)


def law_db(signals: Mapping[str, FloatArray], law: tuple[tuple[str, float], ...], least: int = 250) -> float | None:
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
