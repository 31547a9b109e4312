"""Whether limb leads fit each other: Einthoven's law (I + III = II) and Goldberger's (aVR = -(I + II) / 2, and so on).

What a cart records obeys them but for rounding. Leads that are named wrongly, exchanged, turned over, of another gain
or recorded at another time do not. Exchanged electrodes obey them: the leads are then others, but fit each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.notes import Note, NoteCode

Samples = Mapping[str, NDArray[np.floating[Any]]]

# Sums of leads that are zero.
_LAWS: tuple[dict[str, float], ...] = (
    {"I": 1.0, "II": -1.0, "III": 1.0},
    {"aVR": 1.0, "aVL": 1.0, "aVF": 1.0},
    {"aVR": 1.0, "I": 0.5, "II": 0.5},
    {"aVL": 1.0, "I": -1.0, "II": 0.5},
    {"aVF": 1.0, "II": -1.0, "I": 0.5},
)
# Part of the signal that a law may leave unexplained: swapped names leave as much as there was. In PTB-XL (800
# records) it is 0.03 and less.
_LEFT = 0.35
_LEAST_MV = 0.02
_FEWEST, _MOST = 24, 20_000  # samples that are looked at


def unlawful(
    leads: Mapping[str, NDArray[np.floating[Any]]], *, by_column: bool = False
) -> tuple[tuple[str, ...], float] | None:
    """The limb leads that contradict each other most, and what their law leaves unexplained.

    Args:
        leads: Samples in mV by standard name, all as long; NaN where one is missing.
        by_column: I, II, III were recorded at one time, and aVR, aVL, aVF at one, perhaps another, as on paper.

    Returns:
        Names and the share of the signal, or None where no law is broken by more than a third, or none can be tested.

    >>> t = np.sin(np.arange(100.0))
    >>> unlawful({"I": t, "II": 2 * t, "III": t}), unlawful({"I": t, "II": 2 * t, "III": -t})
    (None, (('I', 'II', 'III'), 1.0))
    """
    worst: tuple[tuple[str, ...], float] | None = None
    for law in _LAWS[: 2 if by_column else None]:
        if not all(name in leads for name in law):
            continue
        step = max(1, len(next(iter(leads.values()))) // _MOST)
        rows = np.array([sign * leads[name][::step] for name, sign in law.items()], dtype=np.float64)
        rows = rows[:, np.isfinite(rows).all(axis=0)]
        if rows.shape[1] < _FEWEST:
            continue
        rows -= np.median(rows, axis=1, keepdims=True)
        rest = rows.sum(axis=0)  # a constant, where each row has a zero of its own
        whole, left = float(np.abs(rows).sum(axis=0).mean()) / 2, float(np.abs(rest - np.median(rest)).mean())
        if left > _LEFT * whole and left > _LEAST_MV and (worst is None or left / whole > worst[1]):
            worst = tuple(law), left / whole
    return worst


def law_notes(leads: Samples) -> list[Note]:
    """A note on limb leads that contradict each other; none where they fit.

    Args:
        leads: As in `unlawful`.

    Returns:
        One note at the most.
    """
    found = unlawful(leads)
    if found is None:
        return []
    names, left = found
    return [Note(NoteCode.LEADS_UNLAWFUL, leads=", ".join(names), percent=round(100 * left))]
