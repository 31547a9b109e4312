"""The twelve leads: names, order, spelling, and the identities between the limb leads.

Order is the one of PTB-XL (I, II, III, aVR, aVL, aVF, V1 to V6). MIMIC-IV-ECG stores aVF before aVL: readers go
by name, never by position.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

LEADS: tuple[str, ...] = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
LIMB_LEADS: tuple[str, ...] = LEADS[:6]
CHEST_LEADS: tuple[str, ...] = LEADS[6:]
CABRERA_LEADS: tuple[str, ...] = ("aVL", "I", "-aVR", "II", "aVF", "III", "V1", "V2", "V3", "V4", "V5", "V6")

# How makers, countries and standards spell the twelve, as one word in small letters: "DI" (Brazil, Spain, CODE-15).
_SPELLINGS: dict[str, str] = {
    **{name.lower(): name for name in LEADS},
    **{f"d{roman.lower()}": roman for roman in ("I", "II", "III")},
    **{f"d{k}": roman for k, roman in enumerate(("I", "II", "III"), 1)},
}
# Words that stand before or after a lead's name and say nothing about which one it is.
_BEFORE = frozenset(
    "lead leads ecg ekg mdc electrocardiogram channel ableitung abl kanal einthoven goldberger wilson limb chest "
    "precordial augmented unipolar extremitätenableitung brustwandableitung derivation dérivation derivación "
    "derivacion derivação derivacao derivazione afleiding avledning odprowadzenie svod отведение".split()
)
_AFTER = frozenset("ref lead ecg ekg ableitung derivation 导联 誘導 einthoven goldberger wilson".split())
_MINUS = frozenset({"-", "\u2212", "\u2013"})
_INVERTED = frozenset({"neg", "negative", "negativ", "inverted", "invertiert", "inverse"})
_LONGEST_NAME = 80  # characters of a name that are looked at
_BREAKS = re.compile(r"[\s_\-:./,()\[\]]+")


def canonical_lead(name: str) -> str | None:
    """The standard spelling of a lead name, or None if it is none of the twelve as it is recorded.

    >>> canonical_lead(" avr"), canonical_lead("MDC_ECG_LEAD_V1"), canonical_lead("Ableitung II"), canonical_lead("X")
    ('aVR', 'V1', 'II', None)
    >>> canonical_lead("DII"), canonical_lead("V5-Ref"), canonical_lead("CM5"), canonical_lead("-aVR")
    ('II', 'V5', None, None)
    """
    lead, sign = signed_lead(name)
    return lead if sign > 0 else None


def signed_lead(name: str) -> tuple[str | None, int]:
    """The lead that a name spells, and -1 where the name says that it is upside down.

    >>> signed_lead("-aVR"), signed_lead("MDC_ECG_LEAD_AVRneg"), signed_lead("ECG-aVR"), signed_lead("Frank Lead I")
    (('aVR', -1), ('aVR', -1), ('aVR', 1), (None, 1))
    """
    text = unicodedata.normalize("NFKC", name[:_LONGEST_NAME]).strip()  # Roman numerals of their own become letters
    sign = 1
    if text[:1] in _MINUS:
        sign, text = -1, text[1:]
    words = [word for word in _BREAKS.split(text.lower()) if word]
    while words and words[0] in _BEFORE:
        # "ECG -aVR" is upside down, "ECG-aVR" is not: there the dash joins.
        words = words[1:]
        if words and any(f" {minus}{words[0]}" in text.lower() for minus in _MINUS):
            sign = -1
    while len(words) > 1 and (words[-1] in _AFTER or words[-1] in _INVERTED):
        sign = -sign if words[-1] in _INVERTED else sign
        words = words[:-1]
    if len(words) == 2 and words[0] in ("av", "v") and words[0] + words[1] in _SPELLINGS:
        words = [words[0] + words[1]]
    if len(words) != 1:
        return None, 1
    word = words[0]
    if word not in _SPELLINGS and word.endswith("neg"):
        sign, word = -sign, word.removesuffix("neg")
    for mark in ("导联", "誘導"):
        word = word.removesuffix(mark).removeprefix("第")
    for glued in ("lead", "ecg", "ekg", "ableitung"):
        if word not in _SPELLINGS:
            word = word.removeprefix(glued)
    lead = _SPELLINGS.get(word)
    return lead, (sign if lead is not None else 1)


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
