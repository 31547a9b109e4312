"""What a text says of earlier times: "previously atrial fibrillation" is no finding of the ECG at hand.

After the "historical" class of ConText (Harkema et al. 2009), kept to what reports of ECGs say. Infarctions are not
asked here: an old one stands in the ECG of today.

>>> text = "previously af, now sinus rhythm"
>>> past_polarity("AFIB", text, 11, 13), past_polarity("SR", text, 19, 31)
('absent', 'present')
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS
from ecgkin.retrieval.ecg.statements.report_text import fold

_SIGHT = 160  # characters of the sentence on either side
_END = re.compile(r"[;!?\n]|\.(?=\s+[A-Z\u00c0-\u00de]|\s*$)")
# All below are for folded text, in which "aktuell" is "aktull".
_NOW = r"now|currently|today|at present|presently|jetzt|nun|aktull\w*|derzeit\w*|heute|momentan|nu|idag"
_SEEN_THEN = r"known|noted|described|reported|mentioned|bekannt\w*|beschrieben\w*|kand\w*|kant"
_EKG = r"(?:ecgs?|ekgs?|tracings?|recordings?|records?|aufnahmen?)"
_BEFORE = re.compile(
    rf"\b(?:(?:previously|formerly|in the past|fruher|vormals|ehemals|damals|zuvor|tidigare)(?!\W+(?:{_SEEN_THEN})\b)"
    rf"|(?:last|previous|prior|earlier|preceding|letzte[sn]?|vorherige[sn]?|fruhere[sn]?|tidigare) {_EKG}"
    rf"|vor-?ekg|voraufnahmen?)\b"
)
_HISTORY = re.compile(
    r"(?:\b(?:history of|hx of|h/o|s/p|status post|zustand nach|anamnes\w*|vorgeschichte|antecedents? (?:de|of))|"
    r"\bz\.? ?n\.?)(?=\W)"
)
_FAMILY = re.compile(
    r"\b(?:family (?:history|anamnesis)|familienanamnes\w*|arftlighet|familial history|"
    r"(?:mother|father|brother|sister|sibling|parent)s? (?:has|had|have|with)|"
    r"(?:mutter|vater|bruder|schwester) (?:hat|mit)\w*)\b"
)
_AFTER = re.compile(
    rf"^\W*(?:(?:was|were|is|had been|has been|seen|noted|present|documented|described|recorded|known|war|waren|"
    rf"bestand)\W+)*(?:(?:previously|formerly|in the past|earlier|by history|in (?:the |his |her )?history|"
    rf"in der (?:vorgeschichte|vergangenheit|anamnese|voraufnahme)|anamnestisch|fruher|damals|vormals|tidigare)\b"
    rf"(?!\W+(?:{_SEEN_THEN})\b)"
    rf"|(?:on|in|at|im|auf|bei)\W+(?:the |dem |der )?(?:last|previous|prior|earlier|preceding|letzten|vorherigen|"
    rf"fruheren)\W+{_EKG}\b|im vor-?ekg\b"
    r"|(?:replaced by|converted (?:in)?to|konvertiert|abgelost|given way to)\b)"
)
# "unchanged from the previous ECG", "compared with", "as in": what follows is of today.
_STILL = re.compile(
    r"\b(?:persist\w*|unchanged|still|again|continu\w*|remains?|stable|as|since|unlike|than|compar\w*|new|no change\w*|"
    r"vergl\w*|gegenuber|seit|wie|weiterhin|unverandert\w*|wieder|noch|bleibt|neu\w*|jamfor\w*|oforandra\w*|fortsatt)\b"
)
_SINUS_NOW = re.compile(
    rf"^[^\w]*(?:but|aber|men)?\W*(?:\w+\W+){{0,3}}?\b(?:{_NOW})\W+(?:\w+\W+){{0,3}}?(?:sinus\w*|sr|nsr)\b"
)
_OTHER_RHYTHMS = frozenset({"AFIB", "AFLT", "PSVT", "SVTAC", "SVARR", "PACE"})

_OF_TODAY = frozenset({"NORM", "SR"})  # no history: "anamnestisch Infarkt, normales EKG"


@lru_cache(maxsize=1)
def _infarctions() -> frozenset[str]:
    return frozenset(s.code for s in STATEMENTS if s.superclass == "MI")


def past_polarity(code: str, text: str, start: int, end: int) -> Literal["present", "absent", "possible"]:
    """What of a statement that is neither denied nor doubted is left when the words speak of earlier times.

    Args:
        code: The statement.
        text: The whole text.
        start, end: Its place.

    Returns:
        "absent" where the words speak of an earlier ECG, of a family, or of sinus rhythm now; "possible" where a
        history is all that they tell; else "present".
    """
    if code in _infarctions():
        return "present"
    ahead, behind = text[max(0, start - _SIGHT) : start], text[end : end + _SIGHT]
    ends = [m.end() for m in _END.finditer(ahead)]
    before = fold(ahead[ends[-1] if ends else 0 :])
    stop = _END.search(behind)
    sentence = fold(behind[: stop.start()] if stop else behind)
    if code in _OTHER_RHYTHMS and _SINUS_NOW.match(fold(behind)):
        return "absent"
    before = re.split(rf",|\b(?:{_NOW})\b", before)[-1]
    if _STILL.search(before) or _STILL.search(sentence[:60].split(",")[0]):
        return "present"
    if _BEFORE.search(before) or _FAMILY.search(before) or _AFTER.match(sentence):
        return "absent"
    return "possible" if code not in _OF_TODAY and _HISTORY.search(before) else "present"
