"""What the server and the cases say, as the page shows it: notes in its language, reports with their umlauts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ecgkin.retrieval.notes import NoteCode

if TYPE_CHECKING:
    from ecgkin.ui.api.answers import NoteOut
    from ecgkin.ui.web.shared.texts import Lang

_SAID_ELSEWHERE = {NoteCode.NOTHING_SIMILAR.value, NoteCode.PAGE_UNREADABLE.value}  # in a box of its own
_NONE_CARRIES = {
    NoteCode.WORDS_NOT_CARRIED.value, NoteCode.WORDS_NONE_WITHIN.value, NoteCode.WORDS_CONTRADICT.value,
    NoteCode.WORDS_NOT_MEASURED.value,
}  # fmt: skip
_LOST_CASE = re.compile(r"(?<=[a-zßäöü])[ÄÖÜ]")


def said(notes: Sequence[NoteOut], lang: Lang, known: Sequence[NoteOut] = ()) -> list[str]:
    """Notes for people, each once.

    Args:
        notes: From the API.
        lang: Language of the page.
        known: Notes that the page shows elsewhere: these are left out.

    Returns:
        The notes' texts.
    """
    new = [note for note in notes if note.code not in _SAID_ELSEWHERE and note not in known]
    return list(dict.fromkeys(note.in_language(lang) for note in new))


def not_carried(notes: Sequence[NoteOut], lang: Lang) -> str:
    """What a search by words says of cases that carry what was asked for: none, or none that passes the filters.

    Args:
        notes: From the API.
        lang: Language of the page.

    Returns:
        Sentences without the last full stop; "" where nothing is said of it.
    """
    found = [note.in_language(lang) for note in notes if note.code in _NONE_CARRIES]
    return ". ".join(text[:1].upper() + text[1:] for text in dict.fromkeys(found))


def as_said(report: str) -> str:
    """A report with small umlauts within small words: PTB-XL's reports were made small but for these.

    >>> as_said("mÖgliche ischÄmie, Übergang verzögert")
    'mögliche ischämie, Übergang verzögert'
    """
    return _LOST_CASE.sub(lambda match: match[0].lower(), report)
