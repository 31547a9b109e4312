"""Statements found in free text: English, German and Swedish, with negation and doubt.

Text and patterns are cut into the same tokens (lower case, umlauts folded, endings stripped), patterns stand in a tree
of tokens, and the longest pattern that begins at a token wins. What a clause says around a hit decides its polarity, in
the manner of NegEx (Chapman 2001): cue words before it within a few tokens, or after it.

>>> text = "Sinusrhythmus, kein Anhalt für Vorhofflimmern, möglicher Hinterwandinfarkt"
>>> [(f.code, f.polarity) for f in find_statements(text)]
[('SR', 'present'), ('AFIB', 'absent'), ('IMI', 'possible')]
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS
from ecgkin.retrieval.ecg.statements.report_text import fold

Polarity = Literal["present", "absent", "possible"]

# A word, with an optional plural in brackets as devices print it: "extrasystole(n)", "contraction(s)"; "a-v" is one.
_TOKEN = re.compile(r"\b[aA]-[vV]\b|[^\W_]+(?:_(?!\w))?(?:\((?:n|s|a|e|er|en)\)(?![^\W\d_]))?", re.UNICODE)
_ENDINGS = ("ern", "en", "er", "es", "em", "e", "s", "n")
_MIN_STEM = 4
_CODES = frozenset(fold(s.code) for s in STATEMENTS)
_FILLERS = frozenset({"the", "a", "an", "der", "die", "das", "des", "dem", "den", "of"})
# Spellings of one word in three languages, after stemming.
_SAME = {
    "infarction": "infarct",
    "infarkt": "infarct",
    "hjartinfarkt": "infarct",
    "myokardinfarkt": "infarct",
    "mi": "infarct",
    "stemi": "infarct",
    "nstemi": "infarct",
    "ischemia": "ischamia",
    "ischemic": "ischamic",
    "ekg": "ecg",
    "electrocardiogram": "ecg",
    "flimmrar": "flimm",
}
# Everyday words or syllables in one of the languages: count as abbreviation only in capitals, or alone.
_CAPITALS_ONLY = frozenset({"el", "af", "dig", "pm", "es", "sb", "av", "ash", "pat", "sr", "mi", "tab", "std", "ste"})
_CLAUSE_END = re.compile(
    r"[.;:!]|\b(?:but|however|otherwise|aber|jedoch|sonst|men|except|ausser|außer)\b", re.IGNORECASE
)
_JOINED = re.compile(r"\b(?:or|nor|oder|noch|und|and|eller)\b", re.IGNORECASE)
_REACH = 6  # tokens between a cue and its statement; NegEx takes five words, German compounds count as one here

_NO_BEFORE = re.compile(
    r"\b(?:no|not|without|never|negative for|absence of|free of|rules? out|ruled out|excludes?|"
    r"kein\w*|nicht|ohne|ausschluss|weder|fehlend\w*|nie|"
    r"ingen|inga|inget|ej|utan)\b"
)
_NO_AFTER = re.compile(
    r"^\W*(?:(?:is|are|was|were|has been|have been|can be|ist|sind|wurde\w*)\s+)?"
    r"(?:not (?:seen|present|evident|visible|found|detected)|absent|excluded|ruled out|unlikely|"
    r"nicht (?:nachweisbar|vorhanden|erkennbar|sichtbar|nachgewiesen)|ausgeschlossen|unwahrscheinlich|negativ$)"
)
_MAYBE_BEFORE = re.compile(
    r"\b(?:possibl[ey]|probabl[ey]|suspected|suspicion of|suggest\w*|consider|questionable|may be|might|could be|"
    r"likely|borderline|compatible with|consistent with|cannot (?:exclude|rule out)|query|"
    r"v\.? ?a\.?|verdacht\w*|fraglich\w*|moglich\w*|wahrscheinlich\w*|vermutlich\w*|evtl|eventuell\w*|dd|"
    r"hinweis\w* (?:auf|fur)|vereinbar mit|zeichen einer|misstank\w*|mojlig\w*|trolig\w*|sannolik\w*)(?=\W|$)"
)
# German and Swedish doubt follows bare ("inferiorer infarkt möglich"), English with a verb or at the clause's end.
_MAYBE_AFTER = re.compile(
    r"^.{0,40}?(?:\?|\b(?:(?:can ?not|can't|not|could not) be (?:excluded|ruled out)|not excluded|should be considered|"
    r"(?:is|are|seems?) (?:possible|probable|suspected|likely)|(?:possible|probable|suspected|likely)\W*$|"
    r"mogl(?:ich)?|wahrscheinlich(?= alt|\W*$)|fraglich|nicht (?:sicher )?(?:auszuschliessen|ausgeschlossen|"
    r"ausschliessbar)|zu erwagen|denkbar|kan ej uteslutas|bor overvagas|sannolikt)\b)"
)
_AFTER_END = re.compile(r"[.;,](?=\s|$)|\b(?:but|und|and|sonst|st|t|qrs|aber)\b")


@dataclass(frozen=True, slots=True)
class FoundStatement:
    """A statement in a text.

    Attributes:
        code: SCP code.
        polarity: "present", "absent" (negated) or "possible" (hedged: suspected, cannot be excluded).
        start, end: Place in the text, `text[start:end] == matched`.
        matched: The words that were recognised.
    """

    code: str
    polarity: Polarity
    start: int
    end: int
    matched: str


@dataclass(slots=True)
class _Node:
    next: dict[str, _Node] = field(default_factory=dict)
    code: str | None = None
    short: bool = False


@dataclass(frozen=True, slots=True)
class _Token:
    stem: str
    start: int
    end: int


def find_statements(text: str) -> list[FoundStatement]:
    """Every statement that a text names, in the order of the text.

    Args:
        text: A report, a query or a sentence in English, German or Swedish.

    Returns:
        One entry per mention; a longer wording hides shorter ones inside it ("incomplete right bundle branch block" is
        IRBBB alone). The same code may come several times, also with different polarities.
    """
    text = unicodedata.normalize("NFC", text)
    tokens = list(_tokens(text))
    spans: list[tuple[str, int, int]] = []
    i = 0
    while i < len(tokens):
        node, best, code = _tree(), 0, None
        for j in range(i, len(tokens)):
            step = node.next.get(tokens[j].stem)
            if step is None:
                break
            node = step
            alone = len(tokens) == j - i + 1
            if node.code is not None and (alone or not node.short or _capitals(text, tokens[i : j + 1])):
                best, code = j + 1, node.code
        if code is None:
            i += 1
            continue
        spans.append((code, tokens[i].start, tokens[best - 1].end))
        i = best
    found: list[FoundStatement] = []
    taken = 0  # what stands before here was about an earlier hit
    for k, (code, start, end) in enumerate(spans):
        limit = spans[k + 1][1] if k + 1 < len(spans) else None
        polarity, used = _polarity(text, taken, start, end, limit)
        found.append(FoundStatement(code, polarity, start, end, text[start:end]))
        taken = used or taken
    return found


def _capitals(text: str, tokens: list[_Token]) -> bool:
    return text[tokens[0].start : tokens[-1].end].isupper()


def _polarity(text: str, taken: int, start: int, end: int, following: int | None) -> tuple[Polarity, int]:
    """What the clause around text[start:end] says about it, and where the next hit's clause begins at the earliest.

    Args:
        text: The whole text.
        taken: Words before here belong to an earlier hit.
        start, end: The hit.
        following: Start of the next hit; None for the last one.

    Returns:
        The polarity, and the end of the hit where a cue after it was used up, else 0.
    """
    before = text[taken:start]
    cut = max((m.end() for m in _CLAUSE_END.finditer(before) if not _is_abbreviation(before, m.start())), default=0)
    before = before[cut:]
    # "no fibrillation, flutter or block": a list carries the cue on, otherwise a comma ends it.
    stop = _CLAUSE_END.search(text, end)
    clause_rest = text[end : stop.start() if stop else len(text)]
    if "," in before and not _JOINED.search(before[before.rindex(",") :] + clause_rest):
        before = before[before.rindex(",") + 1 :]
    before = " ".join(fold(before).split()[-_REACH:])
    after = fold(text[end : end + 80 if following is None else min(following, end + 80)])
    mark = _AFTER_END.search(after)
    # Where the next hit follows without a mark, " >" keeps a word before it from counting as the end of this clause.
    after = (
        " ".join(after[: mark.start()].split()) if mark else " ".join(after.split()) + " >" * (following is not None)
    )
    if _MAYBE_AFTER.match(after):
        return "possible", following or 0
    if _NO_AFTER.match(after):
        return "absent", following or 0
    maybe = list(_MAYBE_BEFORE.finditer(before))
    no = list(_NO_BEFORE.finditer(before))
    # "cannot exclude" and "nicht auszuschliessen" hold a negation but express doubt.
    no = [n for n in no if not any(m.start() <= n.start() < m.end() for m in maybe)]
    if no:
        return "absent", 0
    return ("possible" if maybe else "present"), 0


def _is_abbreviation(text: str, dot: int) -> bool:
    """Whether the mark at `dot` is the dot of a short word ("V.a.", "Z.n.", "ca.", "1.")."""
    if text[dot : dot + 1] != ".":
        return False
    start = dot
    while start > 0 and dot - start <= 2 and text[start - 1].isalnum():
        start -= 1
    return dot - start <= 2


def _tokens(text: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(text):
        stem = _stem(match.group())
        if stem not in _FILLERS:
            yield _Token(stem, match.start(), match.end())


@lru_cache(maxsize=50_000)
def _stem(word: str) -> str:
    plain = fold(word.replace("(", "").replace(")", "").replace("-", ""))
    if plain in _CODES:  # "ISCAN" and "ISCAS" must not become one
        return plain
    for ending in _ENDINGS:
        if plain.endswith(ending) and len(plain) - len(ending) >= _MIN_STEM:
            plain = plain[: -len(ending)]
            break
    return _SAME.get(plain, plain)


def expand(pattern: str) -> list[str]:
    """All texts of a pattern with `{a,b}` alternatives, which may be empty.

    >>> expand("{,old }infarct{, scar}")
    ['infarct', 'infarct scar', 'old infarct', 'old infarct scar']
    """
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    parts = match.group(1).split(",")
    return [text for part in parts for text in expand(pattern[: match.start()] + part + pattern[match.end() :])]


@lru_cache(maxsize=1)
def _tree() -> _Node:
    """All names, synonyms, abbreviations, codes and wordings as a tree of stems.

    The first statement to claim a text keeps it; names come before synonyms before wordings, so that a wording never
    takes another statement's name away.
    """
    root = _Node()
    layers: list[list[tuple[str, str]]] = [
        [(name, s.code) for s in STATEMENTS for name in (s.code, s.name_en, s.name_de, s.name_sv)],
        [(short, s.code) for s in STATEMENTS for short in s.abbreviations],
        [(term, s.code) for s in STATEMENTS for term in s.terms()],
        [(text, s.code) for s in STATEMENTS for pattern in s.wording for text in expand(pattern)],
    ]
    for layer in layers:
        for text, code in layer:
            stems = [token.stem for token in _tokens(text)]
            node = root
            for stem in stems:
                node = node.next.setdefault(stem, _Node())
            if stems and node.code is None:
                node.code = code
                node.short = len(stems) == 1 and stems[0] in _CAPITALS_ONLY
    return root
