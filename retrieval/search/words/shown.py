"""What was understood of words, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ecgkin.retrieval.search.words.parts import (
    AgePart,
    Finding,
    MeasurePart,
    SexPart,
    StatementPart,
    Understood,
    parts_of,
)
from ecgkin.retrieval.search.words.plan import MEASURES, name_of


def shown(understood: Understood | Sequence[Any], language: str = "en") -> str:
    """One line, in "en" or "de".

    Args:
        understood: What was understood, or its parts as JSON values.
        language: Of the line.

    >>> from ecgkin.retrieval.search.words.understand import understand
    >>> shown(understand("LBBB without AF in women over 60"))
    'complete left bundle branch block (CLBBB); not atrial fibrillation (AFIB); age over 60; female'
    """
    de = language == "de"
    if not isinstance(understood, Understood):
        understood = Understood(parts_of(understood))
    wanted = (" oder " if de else " or ").join(
        (" und " if de else " and ").join(_finding(part, de) for part in group) for group in understood.wanted
    )
    said = [wanted] if wanted else []
    said += [f"{'nicht' if de else 'not'} {_finding(part, de)}" for part in understood.denied]
    for part in understood.parts:
        if isinstance(part, AgePart):
            said.append(f"{'Alter' if de else 'age'} {_bounds(part, de)}")
        elif isinstance(part, SexPart):
            said.append({"F": ("female", "weiblich"), "M": ("male", "männlich")}[part.sex][de])
        elif isinstance(part, MeasurePart):
            english, german, unit = MEASURES[part.name]
            said.append(f"{german if de else english} {_bounds(part, de)} {unit}")
    if not said:
        return "nur Wörter, ohne bekannten Befund" if de else "words alone, no finding that is known"
    return "; ".join(said)


def _finding(part: Finding, de: bool) -> str:
    name = name_of(part)[de]
    doubt = (" (possible)", " (möglich)")[de] if part.polarity == "possible" else ""
    return f"{name} ({part.code}){doubt}" if isinstance(part, StatementPart) else f"{name}{doubt}"


def _bounds(part: AgePart | MeasurePart, de: bool) -> str:
    low, high = part.low, part.high
    first = (
        (("über" if de else "over") if part.over else ("ab" if de else "from")) + f" {low:g}" if low is not None else ""
    )
    last = (
        (("unter" if de else "under") if part.under else ("bis" if de else "up to")) + f" {high:g}"
        if high is not None
        else ""
    )
    if low is not None and high is not None and not (part.over or part.under):
        return f"{low:g} {'bis' if de else 'to'} {high:g}"
    return ", ".join(side for side in (first, last) if side) or ("unbekannt" if de else "unknown")
