"""Statements found in free text, with negation and doubt: English, German and Swedish; of French, Italian, Spanish,
Portuguese and Dutch the names of the commonest (`abroad.json`).

Text and patterns are cut into the same tokens (lower case, umlauts folded, endings stripped), patterns stand in a tree
of tokens, and the longest pattern that begins at a token wins. What a clause says around a hit decides its polarity, in
the manner of NegEx (Chapman 2001): cue words before it within a few tokens, or after it.

>>> text = "Sinusrhythmus, kein Anhalt für Vorhofflimmern, möglicher Hinterwandinfarkt"
>>> [(f.code, f.polarity) for f in find_statements(text)]
[('SR', 'present'), ('AFIB', 'absent'), ('IMI', 'possible')]
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Literal

from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS
from ecgkin.retrieval.ecg.statements.cues import (
    AGAINST_BEFORE,
    AGAINST_BEHIND,
    ASIDE,
    BARE_NO,
    DENIED_LIST,
    EARLIER,
    EMPTY_BEFORE,
    EMPTY_BEHIND,
    MAYBE_AFTER,
    MAYBE_BEFORE,
    NO_AFTER,
    NO_BEFORE,
    NO_OF_ELSE,
    REFUSED,
)
from ecgkin.retrieval.ecg.statements.past import past_polarity
from ecgkin.retrieval.ecg.statements.report_text import fold

Polarity = Literal["present", "absent", "possible"]

# A word, with an optional plural in brackets as devices print it: "extrasystole(n)", "contraction(s)"; "a-v" is one.
_TOKEN = re.compile(r"\b[aA]-[vV]\b|[^\W_]+(?:_(?!\w))?(?:\((?:n|s|a|e|er|en)\)(?![^\W\d_]))?", re.UNICODE)
# Two compounds that share their end: "Links- und Rechtsschenkelblock", "höger- eller vänstergrenblock".
_SIDES = r"(?:links|rechts|linker|rechter|v[aä]nster|h[oö]ger|vorder|hinter|inferior|lateral)"
_SHARED_END = re.compile(
    rf"(?P<side>\b{_SIDES})-,? ?(?:noch|und|oder|bzw\.?|sowie|och|eller|en|of) {_SIDES}(?P<end>\w{{4,30}})",
    re.IGNORECASE,
)
_ENDINGS = ("erns", "ern", "ers", "en", "er", "es", "em", "e", "s", "n")
_MIN_STEM = 4
_CODES = frozenset(fold(s.code) for s in STATEMENTS)
_FILLERS = frozenset({"the", "a", "an", "der", "die", "das", "des", "dem", "den", "of"})
# Spellings of one word in three languages, after stemming.
_DEFINITE = {"blocket": "block", "flimret": "flimm", "fladdret": "fladd"}  # Swedish words with their article
_SAME = {
    "infarction": "infarct",
    "infarctions": "infarct",
    "abnormalities": "abnormality",
    "abnormalitie": "abnormality",
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
    "formaksflimret": "formaksflimm",
    "formaksfladdret": "formaksfladd",
    "pacemakrar": "pacemak",
    "hindret": "hind",
    "arret": "arr",
    "laga": "lag",
    "lagt": "lag",
    "hoga": "hog",
    "hogt": "hog",
    "flacka": "flack",
    "flackt": "flack",
    "djupa": "djup",
    "djupt": "djup",
    "negativa": "negativ",
    "negativt": "negativ",
    "inverterat": "inverterad",
}
# Plurals and definite forms that no ending of `_ENDINGS` gives, Swedish ones but for the first two.
_FORMS = re.compile(
    r"(?<=\w{3})(?P<y>ies)$|(?<=rhythm)us$|(?<=vag)(?:en|or|orna)$|(?<=[nr]ing)(?:ar|arna)$|"
    r"(?<=block)et$|(?<=slag)et$|(?<=komplex)et$|(?<=infarkt)erna$|(?<=isk)[at]$"
)
# Everyday words or syllables in one of the languages: count as abbreviation only in capitals, or alone.
_CAPITALS_ONLY = frozenset(
    "la el af dig pm es sb av ash pat sr mi tab std ste bre brd bbd bbg hve hvd hvi hvg lbtb rbtb bcri bcrd "
    "bdas".split()
)
_CLAUSE_END = re.compile(
    r"[.;:!]|\b(?:but|however|otherwise|aber|jedoch|sonst|sondern|vielmehr|men|except|ausser|außer|mais|pero|sino|"
    r"maar)\b",
    re.IGNORECASE,
)
_JOINED = re.compile(r"\b(?:or|nor|oder|noch|und|and|eller|ou|ni|nem|n\u00e9)\b", re.IGNORECASE)
# What stands between two hits that share the words after the second one ("LBBB and RBBB are not seen").
_SHARED = re.compile(
    r"\W*\b(?P<joint>or|nor|oder|noch|and|und|sowie|eller|och|ou|ni|nem)\b\W*"
    r"(?:\b(?:an?|the|eine?|der|die|das|une?|la|le|um|uma)\W+)?",
    re.IGNORECASE,
)
_PLURAL = re.compile(
    r"^\W*(?:are|were|have|sind|waren|wurden|haben|konnten|konnen|liegen|lagen|bestehen|bestanden|zeigen|finden|"
    r"fanden|"
    r"lassen|liessen|fehlen|fehlten|kunde|ar)\b"
)
# Tokens between a cue and its statement: NegEx takes five words, in which a German compound counts as one. A negation
# reaches further than a doubt: "no signs in any of the leads of this recording of ...".
_MAYBE_REACH, _NO_REACH = 6, 12
_LISTED = 12  # hits of one list that share what is said after the last
# A sentence of its own behind a comma: "no AF, there is LBBB or IVCD".
_AFFIRMED = re.compile(
    r",\W*(?:there (?:is|are)|but|with|mit|med|es (?:besteht|zeigt)|besteht|zeigt|shows?|jetzt|now)\b"
)
_NOT_SV, _BUT = re.compile(r"\b(?:inte|ej|icke)\b", re.IGNORECASE), re.compile(r"\A\s*utan\b", re.IGNORECASE)
_SIGHT = 200  # characters of a clause that are looked at on either side
# Dots of these words end no sentence; other short words ("AF.", "II.", "no.") end one.
_DOTTED = frozenset({"ca", "dd", "vs", "nr", "re", "li", "st", "zn", "va", "bd", "neg"})

# Of a form: "[x]", "[ ]", or a character of its own.
_BOX = r"(?:\[(?P<tick>[ xX]?)\]|(?P<sign>[☐☑☒□]))"
_LINE_OF_BOXES, _BOX_BEFORE, _BOX_BEHIND = (
    re.compile(pattern) for pattern in (rf"\s*{_BOX}", rf"{_BOX}\s{{0,3}}$", rf"\s{{0,3}}{_BOX}")
)
_NEW_LINE = re.compile(r"\n\s*(?=[A-ZÄÖÜ0-9•*-])")  # of a list or a new sentence; others are wrapped text
_MARK = re.compile(r"[.;,!](?=\s|$)")
_AFTER_END = re.compile(
    r"[.;,](?=\s|$)|(?<![\u2019'])\b(?:but|und|and|sonst|st|t|qrs|aber|with|mit|without|ohne|which|because|weil)\b"
)


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
class Names:
    """Names as a tree of stems, from the stem that stands first; see `tree_of`.

    Attributes:
        next: What may come next.
        code: What the names that end here stand for; None where none ends.
        short: One everyday word or syllable: counts in capitals, or alone.
    """

    next: dict[str, Names] = field(default_factory=dict)
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
        text: A report, a query or a sentence.

    Returns:
        One entry per mention; a longer wording hides shorter ones inside it ("incomplete right bundle branch block" is
        IRBBB alone). The same code may come several times, also with different polarities.
    """
    return find_names(unicodedata.normalize("NFC", text), _tree())


def find_names(text: str, names: Names) -> list[FoundStatement]:
    """`find_statements` with other names.

    Args:
        text: In the normal form NFC.
        names: What is looked for.

    Returns:
        One entry per mention, as `find_statements`.
    """
    tokens = list(_tokens(text))
    spans: list[tuple[str, int, int]] = []
    i = 0
    while i < len(tokens):
        node, best, code = names, 0, None
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
        after, follower = _words_after(text, spans, k)
        polarity, used = _polarity(text, taken, start, end, after)
        if polarity == "present":
            polarity = past_polarity(code, text, start, end)
        found.append(FoundStatement(code, polarity, start, end, text[start:end]))
        if used and follower == k:
            # What was said after this hit is no cue before the next one; a new clause is.
            following = spans[k + 1][1] if k + 1 < len(spans) else len(text)
            ended = _MARK.search(text, end, following)
            taken = ended.end() if ended else following
    return found


def _words_after(text: str, spans: list[tuple[str, int, int]], k: int) -> tuple[str, int]:
    """What the clause says after hit k, folded, and the hit after which it stands.

    Hits that are joined without a comma share what is said after the last of them, "LBBB or RBBB is not seen"; of two
    joined by "and" only where a verb in the plural follows.
    """
    last, alternative = k, True
    while last + 1 < min(len(spans), k + _LISTED):
        joint = _SHARED.fullmatch(text, spans[last][2], spans[last + 1][1])
        if joint is None:
            break
        alternative &= joint["joint"].lower() not in ("and", "und", "sowie", "och")
        last += 1
    for follower in (last, k) if last > k else (k,):
        end = spans[follower][2]
        following = spans[follower + 1][1] if follower + 1 < len(spans) else None
        limit = end + 80 if following is None else min(following, end + 80)
        line = _NEW_LINE.search(text, end, limit + 1)
        after = fold(text[end : line.start()] + "." if line else text[end:limit])
        if follower != k and not alternative and not _PLURAL.match(after):
            continue
        mark = _AFTER_END.search(after)
        words = " ".join((after[: mark.start()] if mark else after).split())
        # Where the next hit follows without a mark, " >" keeps a word before it from counting as the clause's end.
        return (words if mark or following is None else words + " >"), follower
    return "", k


def _capitals(text: str, tokens: list[_Token]) -> bool:
    return text[tokens[0].start : tokens[-1].end].isupper()


def _polarity(text: str, taken: int, start: int, end: int, after: str) -> tuple[Polarity, bool]:
    """What the clause around text[start:end] says about it.

    Args:
        text: The whole text.
        taken: Words before here belong to an earlier hit.
        start, end: The hit.
        after: What the clause says after it, see `_words_after`.

    Returns:
        The polarity, and whether it was said after the hit.
    """
    if EMPTY_BEHIND.match(text, end) or REFUSED.match(text, end):
        return "absent", True
    if MAYBE_AFTER.match(after):
        return "possible", True
    denied = NO_AFTER.match(after)
    if denied and not EARLIER.search(after[: denied.end() + 20]):
        return "absent", True
    before = text[max(taken, start - _SIGHT) : start]
    ticked = _box(text, start, end)
    if ticked is not None:
        return ("present" if ticked else "absent"), False
    if before.endswith("?"):  # "?LVH"
        return "possible", False
    if EMPTY_BEFORE.search(before):
        return "absent", False
    if AGAINST_BEHIND.match(after) and AGAINST_BEFORE.search(" ".join(fold(before).split())):
        return "absent", True
    if DENIED_LIST.search(fold(before)):
        return "absent", False
    cut = max((m.end() for m in _CLAUSE_END.finditer(before) if not _is_abbreviation(before, m.start())), default=0)
    before = before[cut:]
    # "no fibrillation, flutter or block": a list carries the cue on, otherwise a comma ends it.
    stop = _CLAUSE_END.search(text, end, end + _SIGHT)
    clause_rest = text[end : stop.start() if stop else end + _SIGHT]
    if "," in before:
        item = before[before.rindex(",") :]
        if _AFFIRMED.search(fold(item)) or not _JOINED.search(item + clause_rest):
            # Swedish: "inte förmaksflimmer, utan vänstergrenblock" is "not ... but".
            before = _BUT.sub("", item[1:]) if _NOT_SV.search(before) else item[1:]
    words = fold(before).split()
    if "noch" in words and "noch" in fold(clause_rest).split():  # Dutch; in German it stands behind "weder"
        return "absent", False
    if BARE_NO.search(" ".join(words)) and not text[start:end].casefold().startswith("st"):
        return "absent", False
    near, before = " ".join(words[-_MAYBE_REACH:]), " ".join(words[-_NO_REACH:])
    aside = max((m.end() for m in ASIDE.finditer(before)), default=0)
    # "cannot exclude" and "nicht auszuschliessen" hold a negation but express doubt.
    spared = [*MAYBE_BEFORE.finditer(before), *NO_OF_ELSE.finditer(before)]
    for no in NO_BEFORE.finditer(before, aside):
        if not any(other.start() <= no.start() < other.end() for other in spared):
            return "absent", False
    return ("possible" if MAYBE_BEFORE.search(near) else "present"), False


def _box(text: str, start: int, end: int) -> bool | None:
    """Whether the box of a form beside text[start:end] is ticked; None where there is none.

    Forms have their boxes before or behind the words: what the line begins with says which.
    """
    line = text[text.rfind("\n", 0, start) + 1 : end + 20]
    if _LINE_OF_BOXES.match(line):
        box = _BOX_BEFORE.search(text[max(0, start - 10) : start])
    else:
        box = _BOX_BEHIND.match(text[end : end + 10])
    return None if box is None else (box["tick"] or box["sign"] or "") in ("x", "X", "☑", "☒")


def _is_abbreviation(text: str, dot: int) -> bool:
    """Whether the mark at `dot` is the dot of an abbreviation or an ordinal ("V.a.", "Z.n.", "ca.", "1.")."""
    if text[dot : dot + 1] != ".":
        return False
    found = re.search(r"[^\W_]*$", text[max(0, dot - 20) : dot])
    word = found.group() if found else ""
    return len(word) <= 1 or (word.isdigit() and len(word) <= 2) or word.lower() in _DOTTED


def _tokens(text: str) -> Iterator[_Token]:
    shortened = {m.start(): m["side"] + m["end"] for m in _SHARED_END.finditer(text)} if "-" in text else {}
    for match in _TOKEN.finditer(text):
        stem = _stem(shortened.get(match.start(), match.group()))
        if stem not in _FILLERS:
            yield _Token(stem, match.start(), match.end())


@lru_cache(maxsize=50_000)
def _stem(word: str) -> str:
    plain = fold(word.replace("(", "").replace(")", "").replace("-", ""))
    if plain in _CODES:  # "ISCAN" and "ISCAS" must not become one
        return plain
    if plain in _SAME:  # before an ending goes: "infarction" is none of "infarctio"
        return _SAME[plain]
    for with_article, bare in _DEFINITE.items():
        if plain.endswith(with_article):
            return plain.removesuffix(with_article) + bare
    plain = _FORMS.sub(lambda form: "y" if form["y"] else "", plain)
    if plain.endswith("ion"):  # "elevation" as "elevations"
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


def stem(word: str) -> str:
    """The form in which one word is compared: folded, without its ending, one spelling for three languages.

    >>> stem("Infarkte"), stem("infarction"), stem("blocks")
    ('infarct', 'infarct', 'block')
    """
    return _stem(word)


def tree_of(layers: Iterable[Iterable[tuple[str, str]]], capitals_only: Collection[str] = _CAPITALS_ONLY) -> Names:
    """Names and what they stand for, as `find_names` reads them.

    Args:
        layers: Pairs of text and code. The first code to claim a text keeps it.
        capitals_only: Stems that, on their own, count in capitals alone.

    Returns:
        The root of the tree.
    """
    root = Names()
    for layer in layers:
        for text, code in layer:
            stems = [token.stem for token in _tokens(text)]
            node = root
            for step in stems:
                node = node.next.setdefault(step, Names())
            if stems and node.code is None:
                node.code = code
                node.short = len(stems) == 1 and stems[0] in capitals_only
    return root


def statement_layers() -> list[list[tuple[str, str]]]:
    """Texts of the 71 statements with their codes: codes and names, abbreviations, synonyms, wordings.

    Names come before synonyms before wordings, so that a wording never takes another statement's name away.
    """
    return [
        [(name, s.code) for s in STATEMENTS for name in (s.code, s.name_en, s.name_de, s.name_sv)],
        [(short, s.code) for s in STATEMENTS for short in s.abbreviations],
        [(term, s.code) for s in STATEMENTS for term in s.terms()],
        [(text, s.code) for s in STATEMENTS for pattern in s.wording for text in expand(pattern)],
    ]


def abroad() -> list[tuple[str, str]]:
    """What the commonest statements are called in French, Italian, Spanish, Portuguese and Dutch, with their codes."""
    read = json.loads(files("ecgkin.retrieval.ecg.statements").joinpath("abroad.json").read_text("utf-8"))
    return [
        (text, code)
        for names in read.values()
        for code, patterns in names.items()
        for pattern in patterns
        for text in expand(pattern)
    ]


@lru_cache(maxsize=1)
def _tree() -> Names:
    return tree_of([*statement_layers(), abroad()])
