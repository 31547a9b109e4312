"""Whether a source calls an infarction fresh or old: its words and stages, in one vocabulary.

Stages are those of German reporting (Stadium I: monophasic ST elevation; II: ST back, T inverted, Q; III: scar). II-III
lies between the two and says neither.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from ecgkin.retrieval.ecg.statements.report_text import fold

Stage = Literal["acute", "recent", "old", ""]

_OF_STADIUM = {"I": "acute", "I-II": "recent", "II": "recent", "III": "old"}
# Folded words. "Alter" alone is age as often as it is old ("Infarkt Alter unbestimmt").
_ACUTE = re.compile(r"\b(?:\w*akut\w*|acute|evolving|stadium i(?![\w-])|frisch\w*|fresh|farska?)\b")
_RECENT = re.compile(
    r"\b(?:recent|subakut\w*|subacute|stadium (?:i-ii|ii)(?![\w-])|folgestadium|kurzlich\w*|nylig\w*)\b"
)
_OLD = re.compile(
    r"\b(?:old|alte[nrs]? infarkt\w*|infarkt\w*[\s,]+(?:\w+ ){0,2}alt|gam(?:mal|la)\w*|stadium iii|narbe\w*)\b"
)
_SUB = re.compile(r"\bsub(?:akut\w*|acute)\b")
# Without one of these the words speak of something else than an infarction. English and Swedish reports call it damage.
_INFARCT = re.compile(r"infar[ck]t|\bmi\b|stemi|stadium|\bdamage\b|myokardskada")
# "Keine Hinweise für frischen Infarkt", "recent infarction unlikely", "recent chest pain" call nothing fresh.
_NOT_BEFORE = re.compile(r"\b(?:kein\w*|no|without|ohne|inga?|inget)\b(?:[ /]+[\w-]+){0,5}[ /]*$")
_NOT_AFTER = re.compile(r"^(?:[ /]+[\w-]+){0,4}[ /]+(?:unlikely|unwahrscheinlich|osannolik)|^ (?:chest )?pain\b")


def stage_of_stadium(stages: Sequence[str]) -> Stage:
    """The freshest of the stages that a table gives ("Stadium II", "II-III", "unknown").

    Args:
        stages: As written.

    >>> stage_of_stadium(["Stadium III", "Stadium I"]), stage_of_stadium(["unknown"]), stage_of_stadium(["Stadium III"])
    ('acute', '', 'old')
    """
    found = {_OF_STADIUM.get(stage.removeprefix("Stadium").strip(), "") for stage in stages}
    return "acute" if "acute" in found else "recent" if "recent" in found else "old" if "old" in found else ""


def stage_of_report(report: str) -> Stage:
    """What a report calls its infarction; "" where it says nothing, or speaks of none.

    Args:
        report: In English, German or Swedish.

    >>> stage_of_report("Sehr frischer Infarkt nicht ausgeschlossen."), stage_of_report("Infarkt Alter unbest.")
    ('acute', '')
    >>> stage_of_report("old inferior infarction"), stage_of_report("subacute anterior infarction")
    ('old', 'recent')
    >>> stage_of_report("anterior infarkt möjligen färsk"), stage_of_report("kein Hinweis auf frischen Infarkt")
    ('acute', '')
    """
    text = fold(report)
    if not _INFARCT.search(text):
        return ""
    if _said(_RECENT, text):
        return "recent"
    if _said(_ACUTE, _SUB.sub(" ", text)):
        return "acute"
    return "old" if _said(_OLD, text) else ""


def _said(words: re.Pattern[str], text: str) -> bool:
    """Whether one of these words stands there and is not denied within its clause."""
    return any(
        not _NOT_BEFORE.search(text[: found.start()]) and not _NOT_AFTER.search(text[found.end() :])
        for found in words.finditer(text)
    )
