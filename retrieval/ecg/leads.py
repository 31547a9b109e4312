"""The twelve leads: names, order, spelling, and the identities between the limb leads.

Order is the one of PTB-XL (I, II, III, aVR, aVL, aVF, V1 to V6). MIMIC-IV-ECG stores aVF before aVL: readers go
by name, never by position.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

LEADS: tuple[str, ...] = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
LIMB_LEADS: tuple[str, ...] = LEADS[:6]
CHEST_LEADS: tuple[str, ...] = LEADS[6:]
CABRERA_LEADS: tuple[str, ...] = ("aVL", "I", "-aVR", "II", "aVF", "III", "V1", "V2", "V3", "V4", "V5", "V6")

_BY_UPPER = {name.upper(): name for name in LEADS}
_PREFIXES = ("LEAD", "ECG", "MDC_ECG_LEAD_", "MDC_ECG_", "EKG")


def canonical_lead(name: str) -> str | None:
    """The standard spelling of a lead name, or None if it is none of the twelve.

    >>> canonical_lead(" avr"), canonical_lead("MDC_ECG_LEAD_V1"), canonical_lead("Lead II"), canonical_lead("X")
    ('aVR', 'V1', 'II', None)
    """
    key = name.strip().upper().replace(" ", "")
    if key in _BY_UPPER:
        return _BY_UPPER[key]
    for prefix in sorted(_PREFIXES, key=len, reverse=True):
        if key.startswith(prefix):
            rest = key[len(prefix) :].strip("-_: ")
            if rest in _BY_UPPER:
                return _BY_UPPER[rest]
    return None


def derive_limb_leads(known: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """The limb leads that follow from two known ones by Einthoven's and Goldberger's definitions.

    III = II - I, aVR = -(I + II)/2, aVL = I - II/2, aVF = II - I/2.

    Args:
        known: Signals in mV by standard lead name, all of one shape.

    Returns:
        Only the limb leads that were missing and can be derived; empty when I and II cannot be had.

    >>> one, two = np.float32([0.4]), np.float32([1.0])
    >>> {k: round(float(v[0]), 2) for k, v in derive_limb_leads({"I": one, "II": two}).items()}
    {'III': 0.6, 'aVR': -0.7, 'aVL': -0.1, 'aVF': 0.8}
    """
    one, two = known.get("I"), known.get("II")
    three = known.get("III")
    if one is None and two is not None and three is not None:
        one = two - three
    if two is None and one is not None and three is not None:
        two = one + three
    if one is None or two is None:
        return {}
    full = {"I": one, "II": two, "III": two - one, "aVR": -(one + two) / 2, "aVL": one - two / 2, "aVF": two - one / 2}
    return {name: np.asarray(v, dtype=np.float32) for name, v in full.items() if name not in known}
