"""Reports in plain English or German beside the original: a gloss word for word, by a vocabulary of our own.

Telegraphic reports use few words. The longest known phrase at each word is rendered, endings of adjectives aside; what
is not known stays as it is and is said to be unknown. A gloss helps to read the original and never replaces it: word
order is that of the original.

>>> gloss("überdrehter linkstyp, t abnorm in I, aVL, v.a. infarkt, qwertz").text
'marked left axis deviation, abnormal T in I, aVL, suspected infarction, qwertz'
>>> gloss("sinus rhythm. low limb lead voltages", "de").text
'Sinusrhythmus. periphere Niederspannung'
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from ecgkin.retrieval.ecg.statements.report_text import fold, has_findings, report_language

Target = Literal["en", "de"]

_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*(?:\([^\W\d_]{1,2}\))?|\d+(?:[.,]\d+)*")
_BETWEEN = re.compile(r"[\s().]{1,3}")  # what may stand inside a phrase: "v. a.", "QRS(T) abnorm"
_LONGEST = 6
_ENDINGS = ("e", "er", "es", "en", "em", "n", "s", "a", "t")
_LEAST_STEM = 3
# The same in all languages: leads, waves, numbers, ranges of leads.
_PLAIN = re.compile(
    r"\d+(?:[.,]\d+)*|i{1,3}|iv|av[rlf]|v\d?|[pqrstuabcdexn]|qrs|st|qt|pr|rr|qs|rs|st-t|qrs-t|qtc|qrs\(t\)|ms|mv|mm|bpm|hz|ekg|ecg"
)
_AS_WRITTEN = {"avr": "aVR", "avl": "aVL", "avf": "aVF"}
_LEAD_ONE = frozenset({"I", "AV"})  # in capitals; small ones are Swedish words
_CAPITALS = re.compile(r"i{1,3}|iv|v\d?|[pqrstu]|qrs|qrs\(t\)|st|qt|pr|rr|qs|rs|st-t|qrs-t")


@dataclass(frozen=True)
class Gloss:
    """A report rendered.

    Attributes:
        text: The rendering; unknown words as in the original.
        unknown: Those words, in order.
        n_words: Words and numbers of the original.
    """

    text: str
    unknown: tuple[str, ...]
    n_words: int

    @property
    def complete(self) -> bool:
        """Whether every word was known."""
        return not self.unknown


@lru_cache(maxsize=1)
def _tables() -> Mapping[str, Mapping[str, str]]:
    """Phrases in folded words joined by blanks -> rendering, by "de_en", "sv_en" and "en_de"."""
    raw = json.loads(Path(__file__).with_name("glossary.json").read_text(encoding="utf-8"))
    tables = {name: {_key(phrase): said for phrase, said in raw[name].items()} for name in ("de_en", "sv_en", "en_de")}
    return tables


@lru_cache(maxsize=1)
def abbreviations() -> Mapping[str, tuple[str, str]]:
    """Folded abbreviation -> what it stands for, English and German, for a page that explains them on hover."""
    raw = json.loads(Path(__file__).with_name("glossary.json").read_text(encoding="utf-8"))
    return {str(short): (str(long[0]), str(long[1])) for short, long in raw["abbreviations"].items()}


def _key(phrase: str) -> str:
    return " ".join(fold(word) for word in _WORD.findall(phrase))


def gloss(report: str, target: Target = "en") -> Gloss:
    """A report word for word in another language.

    Args:
        report: In German, English or Swedish, or a mixture.
        target: Language to read it in. Words that are in it already stay.

    Returns:
        The text, and which of its words stand in no table.
    """
    language = report_language(report)
    if target == "de" and language == "sv":
        # There is one table for Swedish, into English.
        first = _rendered(report, "en", "sv")
        second = _rendered(first.text, "de", "en")
        unknown = tuple(word for word in second.unknown if word in first.unknown or word in first.text.split())
        return Gloss(second.text, unknown, first.n_words)
    return _rendered(report, target, language)


def needs_gloss(report: str, target: Target) -> bool:
    """Whether a report says something, and in another language than the reader's.

    Args:
        report: Any.
        target: The reader's language.

    Returns:
        True or False; a report without words of the field needs none.
    """
    return has_findings(report) and report_language(report) not in ("", target)


def _rendered(report: str, target: Target, language: str) -> Gloss:
    tables = _tables()
    foreign = ("sv_en", "de_en") if language == "sv" else ("de_en", "sv_en")
    order = [tables[name] for name in (foreign if target == "en" else ("en_de",))]
    own = tables["en_de" if target == "en" else "de_en"]
    words = list(_WORD.finditer(report))
    folded = [fold(word[0]) for word in words]
    out: list[str] = []
    unknown: list[str] = []
    at, end = 0, 0
    while at < len(words):
        out.append(report[end : words[at].start()])
        n, said = (0, "") if words[at][0] in _LEAD_ONE else _longest(report, words, folded, at, order)
        if n == 0:
            n, plain = 1, _plain(words[at][0], folded[at])
            said = words[at][0] if plain is None else plain
            # Swedish and German words beside each other are told by either table; the reader's own need none.
            if plain is None and not _known(folded[at], own):
                unknown.append(said)
        end = words[at + n - 1].end()
        # The full stop of an abbreviation goes with it: "v. a." is "suspected".
        if n > 1 and len(folded[at + n - 1]) == 1 and report[end : end + 1] == ".":
            end += 1
        at += n
        if said:
            out.append(said)
        elif out and out[-1].isspace():
            out.pop()
    out.append(report[end:])
    return Gloss("".join(out).strip(), tuple(unknown), len(words))


def _longest(
    report: str, words: list[re.Match[str]], folded: list[str], at: int, order: list[Mapping[str, str]]
) -> tuple[int, str]:
    """How many words the longest known phrase here takes, and its rendering; 0 where none is known."""
    reach = 1
    while reach < _LONGEST and at + reach < len(words):
        between = report[words[at + reach - 1].end() : words[at + reach].start()]
        if not _BETWEEN.fullmatch(between):
            break
        reach += 1
    for n in range(reach, 0, -1):
        for table in order:
            said = _find(folded[at : at + n], table)
            if said is not None:
                return n, said
    return 0, ""


def _find(words: list[str], table: Mapping[str, str]) -> str | None:
    """The rendering of a phrase, its words as they are or without the endings of adjectives."""
    exact = table.get(" ".join(words))
    if exact is not None:
        return exact
    stems = [_stems(word) for word in words]
    if len(words) == 1:
        return next((table[stem] for stem in stems[0] if stem in table), None)
    if len(words) == 2:
        return next((table[f"{a} {b}"] for a in stems[0] for b in stems[1] if f"{a} {b}" in table), None)
    return None


def _stems(word: str) -> list[str]:
    """A word and what is left of it without an ending, the longest first."""
    whole = word.partition("(")[0]  # "extrasystole(n)" is either number
    out = [word, whole] if whole != word else [word]
    word = whole
    out += [word.removesuffix(e) for e in _ENDINGS if word.endswith(e) and len(word) - len(e) >= _LEAST_STEM]
    return out


def _known(word: str, table: Mapping[str, str]) -> bool:
    return _find([word], table) is not None or word in _words_of(frozenset(table))


@lru_cache(maxsize=4)
def _words_of(phrases: frozenset[str]) -> frozenset[str]:
    """Words that stand in any phrase of a table."""
    return frozenset(word for phrase in phrases for word in phrase.split())


def _plain(word: str, folded: str) -> str | None:
    """What reads the same in every language, in the usual capitals; None for other words."""
    if folded in _AS_WRITTEN:
        return _AS_WRITTEN[folded]
    if _CAPITALS.fullmatch(folded):
        return word.upper() if word.islower() and folded not in ("i",) else word
    return word if _PLAIN.fullmatch(folded) else None
