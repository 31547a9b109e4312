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

_ROMAN = ("I", "II", "III")
# How makers, countries and standards spell the twelve, as one word in small letters: "DI" (Brazil, Spain, CODE-15).
_SPELLINGS: dict[str, str] = {
    **{name.lower(): name for name in LEADS},
    **{f"d{roman.lower()}": roman for roman in _ROMAN},
    **{f"d{k}": roman for k, roman in enumerate(_ROMAN, 1)},
    **{f"d0{k}": roman for k, roman in enumerate(_ROMAN, 1)},
    **{f"v0{k}": f"V{k}" for k in range(1, 7)},
}
# Potential differences by their electrodes, as sleep laboratories write them; the other way round is upside down.
_ELECTRODES = {("la", "ra"): "I", ("ll", "ra"): "II", ("ll", "la"): "III"}
# Words that stand before or after a lead's name and say nothing about which one it is.
_BESIDE = frozenset(
    "lead leads ecg ekg ekgs mdc elec potl electrocardiogram elektrokardiogramm channel ch chan kanal canal canale "
    "einthoven goldberger wilson standard bipolar bipolare limb chest precordial augmented unipolar unipolare "
    "filtered unfiltered filt raw clean cleaned gefiltert ungefiltert roh signal signals sig waveform wave samples "
    "data voltage values value ref mv uv μv nv v millivolt millivolts microvolt microvolts "
    # German
    "ableitung ableitungen abl abltg extremitätenableitung extremitätenabl extremitäten extremität standardableitung "
    "brustwandableitung brustwandabl brustwand brustableitung brust thoraxableitung "
    # French, Spanish, Portuguese, Italian, Dutch, Swedish, Danish and Norwegian, Finnish, Polish, Czech
    "derivation dérivation derivations voie piste derivación derivacion derivaciones derivada derivação derivacao "
    "precordiale precordiali périphérique précordiale derivazione derivazioni afleiding afleidingen avledning "
    "extremitetsavledning bröstavledning afledning brystavledning kytkentä rintakytkentä raajakytkentä odprowadzenie "
    "odprow svod "
    "afl avled deriv dériv dérivations bröst prekordial prekordiale prekordialna "
    # Hungarian, Romanian, Turkish, Greek, Russian and Ukrainian, Chinese, Japanese, Korean
    "elvezetés derivatia derivația derivasyon απαγωγή απαγωγη отведение отв відведення 导联 導聯 誘導 유도".split()
)
# Words behind which a bare number is a chest lead: "Brustwandableitung 3".
_CHEST = frozenset(
    "brustwandableitung brustwandabl brustwand brustableitung precordial precordiale précordiale precordiali "
    "prekordial bröst bröstavledning brystavledning rintakytkentä".split()
)
_MINUS = frozenset({"-", "\u2212", "\u2013"})
_INVERTED = frozenset(
    "neg negative negativ negated inv inverted invertiert inverse flipped minus upside-down umgepolt".split()
)
_LONGEST_NAME = 80  # characters of a name that are looked at
_BREAKS = re.compile(r"[\s_\-:./,()\[\]{}<>|;=+*#\"'‘’“”]+")
_GLUED = ("lead", "ecg", "ekg", "ableitung", "abl")
_NUMBERED = re.compile(r"(?:channel|chan|ch|kanal|canal|canale|voie|signal|sig)\d{1,3}")
# Letters of other alphabets that cannot be told from Latin ones on a screen: Cyrillic and Greek.
_LOOK_ALIKE = str.maketrans(
    "аАІіӀӏѴѵВРѕЅΑαΙινΡΓ",
    "aAIiIiVvBPsSAaIivPF",
)


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
    text = text.lstrip("\"'([{ ")
    if text[:1] in _MINUS:
        sign, text = -1, text[1:]
    if len(text) > 1 and text[-1] in _MINUS and (text[-2].isalnum()):  # "aVR-"
        sign, text = -sign, text[:-1]
    if text[:4].lower() == "avl." and text[4:].strip():  # Swedish for lead; aVL has no dot
        text = text[4:].lstrip()
    words = [word for word in _BREAKS.split(text.lower()) if word]
    if len(words) == 2 and words[1].isascii() and words[1].isdecimal():
        if words[0] == "einthoven" and words[1] in ("1", "2", "3"):
            return _ROMAN[int(words[1]) - 1], sign
        if words[0] in _CHEST and f"v{words[1]}" in _SPELLINGS:
            return _SPELLINGS[f"v{words[1]}"], sign
    while len(words) > 1 and (_NUMBERED.fullmatch(words[0]) or words[0] in _BESIDE or words[0] in _INVERTED):
        if words[0] in ("v", "μv") or (words[0] in _INVERTED and sign < 0):
            break
        sign = -sign if words[0] in _INVERTED else sign
        counted = words[0] in ("channel", "chan", "ch", "kanal", "canal", "canale") and words[1].isdecimal()
        words = words[2:] if counted and len(words) > 2 else words[1:]
        # "ECG -aVR" is upside down, "ECG-aVR" is not: there the dash joins.
        if words and any(f" {minus}{words[0]}" in text.lower() for minus in _MINUS):
            sign = -1
    while len(words) > 1 and (words[-1] in _BESIDE or words[-1] in _INVERTED):
        sign = -sign if words[-1] in _INVERTED else sign
        words = words[:-1]
    if len(words) == 2:
        for electrodes, upright in ((tuple(words), 1), (tuple(reversed(words)), -1)):
            if electrodes in _ELECTRODES:
                return _ELECTRODES[electrodes], sign * upright
    # "aV R", "a VR", "V 1", "D II": parts of one name.
    if len(words) == 2 and words[0] in ("av", "a", "v", "d") and words[0] + words[1] in _SPELLINGS:
        words = [words[0] + words[1]]
    if len(words) != 1:
        return None, 1
    word = words[0]
    for ending in ("neg", "inv"):
        if word not in _SPELLINGS and word.endswith(ending):
            sign, word = -sign, word.removesuffix(ending)
    for mark in ("导联", "導聯", "誘導", "유도"):
        word = word.removesuffix(mark).removeprefix(mark).removeprefix("第")
    for glued in _GLUED:
        if word not in _SPELLINGS:
            word = word.removeprefix(glued)
    lead = _SPELLINGS.get(word)
    return lead, (sign if lead is not None else 1)


def plainly_named(name: str) -> str | None:
    """The lead whose bare name this is, upright; None where words stand beside it or it is none.

    >>> plainly_named("avr"), plainly_named("DII"), plainly_named("II_filtered")
    ('aVR', 'II', None)
    """
    return _SPELLINGS.get(unicodedata.normalize("NFKC", name[:_LONGEST_NAME]).strip().lower())


def foreign_letters(name: str) -> str:
    """Letters of other alphabets through which a name looks like a lead's and is not; empty where it does not.

    >>> foreign_letters("аVR"), foreign_letters("aVR"), foreign_letters("Resp")
    ('CYRILLIC SMALL LETTER A', '', '')
    """
    if signed_lead(name)[0] is not None or signed_lead(name.translate(_LOOK_ALIKE))[0] is None:
        return ""
    return ", ".join(dict.fromkeys(unicodedata.name(c) for c in name[:_LONGEST_NAME] if ord(c) in _LOOK_ALIKE))


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
