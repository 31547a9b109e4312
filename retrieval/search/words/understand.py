"""Words of a query -> what they ask for: findings asked for and denied, limits, words to embed, words not known.

Names are those of `lexicon`, found with the negation that reports are read with (`statements.find`). Words that are
not known are read as the nearest known one where one or two letters differ.

>>> found = understand("LBBB without atrial fibrilation in women over 60")
>>> [(p.kind, getattr(p, "code", ""), getattr(p, "polarity", "")) for p in found.parts][:2]
[('statement', 'CLBBB', 'present'), ('statement', 'AFIB', 'absent')]
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from itertools import islice, pairwise

from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS, statement
from ecgkin.retrieval.ecg.statements.find import FoundStatement, find_names, stem
from ecgkin.retrieval.ecg.statements.report_text import fold
from ecgkin.retrieval.search.words import lexicon
from ecgkin.retrieval.search.words.lexicon import LONGEST, nearest_word
from ecgkin.retrieval.search.words.parts import (
    MAX_PARTS,
    ConceptPart,
    Finding,
    Joint,
    Part,
    SpellingPart,
    StatementPart,
    Understood,
    UnknownPart,
    UnusedPart,
    WordsPart,
)
from ecgkin.retrieval.search.words.ranges import Limits, bare_ages, in_figures, is_denied, limits

MOST_SLIPS = 24  # unknown words that are looked up; a text with more is no query with slips
MOST_UNKNOWN = 20
MAX_FINDINGS = 60
SENTENCE = 6  # words with a meaning
LONG = 12  # letters of a word made of two in which two slips are forgiven as in others

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff]")
_WORD = re.compile(r"[^\W_]+(?:[-'’/][^\W_]+){0,3}°?")
# Cues of queries that reports do not use, as the cue that they stand for.
_REWRITES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), said)
    for pattern, said in (
        (
            r"\b(?:excluding|exclud(?:es?|ed)(?: all)?(?=\s\w)|except(?: for)?|other than|apart from|minus(?!\s\d)|"
            r"leav(?:e|ing) out)\s",
            "without ",
        ),
        (r"\bminus\s(?=\d)", "-"),
        (r"(?<!\w)w/?o(?:ut)?\.?\s|(?<!\w)w/out\s", "without "),
        (r"(?<!\w)w/\s?(?=\w)", "with "),
        (r"\bnon[- ](?=stemi\b)", "N"),
        (r"\bunpaced\b", "without pacing"),
        (r"\b(?:ausgenommen|außer|ausser|exklusive|abgesehen von)\s", "ohne "),
        (r"\b(?:förutom|utom|exklusive|exkludera)\s", "utan "),
        (
            r"\bnon[- ](?=(?:af|afib|afl|aflt|sinus|paced?|pacemaker|lbbb|rbbb|lvh|wpw|norm|normal|fibrillation)\b)",
            "without ",
        ),
        (r"(?<![^\s(,])[-!]([A-Za-z1-3][A-Za-z]{1,5})\b", r"without \1;"),
        (r"(?<!till )\b(?:and|und|och)\s(with|mit|med)\s", r"; \1 "),
        (r"&&?|\s\+\s", " and "),
        (r"\|\|?", " or "),
    )
)  # fmt: skip
_EITHER_WAY = re.compile(r"(?:with or without|mit oder ohne|med eller utan)\W*$", re.IGNORECASE)
_OR = re.compile(r"\b(?:or|oder|eller)\b|(?<=\w)/(?=\w)", re.IGNORECASE)
_AND = re.compile(r"\b(?:and|und|och|with|mit|med|plus|sowie)\b", re.IGNORECASE)
_DENYING = frozenset(
    """
    no not non without never neither nor none negative absence absent lack lacks lacking free denies exclude
    excluded rule ruled kein keine keinen keinem keiner keines nicht nichts ohne ausschluss weder noch fehlend
    fehlende fehlt frei ingen inga inget ej inte utan varken any sign signs evidence of for anhalt fur hinweis
    hinweise auf zeichen nachweis is are was be seen present found detected out ausgeschlossen nachweisbar vorhanden
    ausgeschlossene ausgeschlossenes unlikely unwahrscheinliches icke saknar saknas avsaknad av utesluten uteslutet
    uteslutna utesluter osannolik osannolikt pavisad pavisat
    ist sind wird werden tecken pa the a an der die das dem den ein eine or and und oder eller och with mit
    """.split()
)
# Words that lose an ending and become a name: German waves, Swedish ventricles.
_NOT_MEANT = {"+WELLENS": ("welle", "wellen"), "PVC": ("kammar", "kammare", "kammaren", "kammarens")}
_STANDS_ALONE = re.compile(
    r"\s*(?:$|[,;.!?)]|(?:and|but|or|without|with|no|und|aber|oder|ohne|mit|och|men|eller|utan|excluding|in|im|hos|bei)\b)",
    re.IGNORECASE,
)
_STEMI = re.compile(r"(?P<non>\bn|\bnon-?)?stemi", re.IGNORECASE)
_DENIAL = re.compile(
    r"(?<!\w)(?:no|not|without|never|lacking|kein\w{0,2}|nicht|ohne|ingen|inga|inget|ej|inte|icke|utan|sans|senza|geen|"
    r"zonder)(?=\s)",
    re.IGNORECASE,
)
_DENIAL_ENDS = re.compile(
    r"[.;,:!?()]|\b(?:but|and|with|or|in|on|und|aber|mit|oder|bei|im|och|men|med|eller|hos|i)\b", re.IGNORECASE
)
_MOST_DENIALS = 20
_INFARCTS = {one.code for one in STATEMENTS if one.superclass == "MI"} | {"ANY_MI", "ACUTE_MI"}
# Statements that say where something is, and not since when.
_OF_ANY_AGE = {one.code for one in STATEMENTS if one.superclass == "MI" or one.code.startswith(("ISC", "INJ"))}
_FRESH = re.compile(
    r"\b(?:hyper)?(?:acute|akute?[nrsm]?|akut|fresh|frische?[nrsm]?|recent|evolving|färskt?)\b", re.IGNORECASE
)
_FRESH_BEFORE = re.compile(r"\w+(?:[\s-]+\w+){0,2}\s+")
_NUMBER = re.compile(r"(?<![\w.,:/+-])\d{2,6}(?![\w.,:/°+-])(?!\s?-?\s?(?:lead|ableitung|avledning|kanal))")
_NORMAL = frozenset(
    "normal normales normaler normale normalt norm unauffallig unauffalliges gesund healthy unremarkable frisk "
    "normalbefund".split()
)
_NOT_NORMAL = re.compile(
    r"\b(?:not|nicht|ej|inte|isn['’]t)\s(?:\w+\s)?(?:normal\w{0,2}|unauffällig\w{0,2}|healthy)\b", re.IGNORECASE
)


def understand(text: str) -> Understood:
    """What words ask for.

    Args:
        text: At most 10,000 characters, in English, German or Swedish, or a mixture.

    Returns:
        Parts in the order of the text, then words that were read as others, unknown words, and the words to embed.
    """
    plain = in_figures(cleaned(text))
    found_limits = limits(plain)
    spans = [(a, b) for _, a, b in (*found_limits.measures, *found_limits.people, *found_limits.unused)]
    read, slips = _spelled(plain, spans)
    findings = _findings(_rewritten(read))
    if slips and not any(_is_domain(w) and not lexicon.is_weak(w) for w in _WORD.findall(plain)):
        # Nothing else speaks of ECGs: "brunch" is no "branch", unless the word names a finding.
        names = {piece for part, _, _ in findings for piece in fold(part.text).split()}
        slips = [(was, now) for was, now in slips if fold(now) in names]
        read = _spelled(plain, spans, frozenset(was for was, _ in slips))[0]
    read = _rewritten(read)
    if read != plain:
        found_limits = limits(read)
    findings = _findings(_masked(read, found_limits.denied))
    before, found_limits = found_limits.denied, bare_ages(read, [(a, b) for _, a, b in findings], found_limits)
    if found_limits.denied != before:
        findings = _findings(_masked(read, found_limits.denied))
    found_limits = _with_unused(read, findings, found_limits)
    words, known, unknown, (n_named, n_content) = _rest(read, findings, found_limits)
    said = {(part.code, part.polarity): part for part, _, _ in reversed(findings)}
    parts: list[Part] = [part for part, _, _ in findings if said.pop((part.code, part.polarity), None) is not None]
    parts += [part for part, _, _ in found_limits.measures]
    parts += list(dict.fromkeys(part for part, _, _ in found_limits.people))
    parts += list(dict.fromkeys(part for part, _, _ in found_limits.unused))
    parts += [SpellingPart(was, now) for was, now in slips]
    parts += [UnknownPart(word) for word in unknown[:MOST_UNKNOWN]]
    if words:
        parts.append(WordsPart(words))
    sentence = n_content >= SENTENCE and n_named <= n_content / 2
    return Understood(tuple(parts[:MAX_PARTS]), known, n_content, sentence)


def cleaned(text: str) -> str:
    """One line of text in the normal form NFC, without control characters and runs of blanks.

    >>> cleaned("AF\\x00  and\\n LBBB ")
    'AF and LBBB'
    """
    return " ".join(_CONTROL.sub(" ", unicodedata.normalize("NFC", text)).split())


def _is_exact(word: str) -> bool:
    """Whether a word, or its plural, belongs to the language of ECGs or to every day."""
    known = lexicon.domain_stems()
    return (
        lexicon.is_everyday(word)
        or lexicon.is_weak(word)
        or stem(word) in known
        or (word[-1:] in "sS" and len(word) > 3 and stem(word[:-1]) in known)
    )


def _is_domain(word: str) -> bool:
    """Whether a word, its pieces, or the words that it is made of belong to the language of ECGs."""
    known = lexicon.domain_stems()
    if not lexicon.is_everyday(word) and _is_exact(word):
        return True
    pieces = [piece for piece in re.split(r"[-'’/°]", word) if piece]
    if len(pieces) > 1:
        return all(piece.isdigit() or stem(piece) in known or lexicon.is_everyday(piece) for piece in pieces)
    return _is_compound(fold(word), known)


def _is_compound(word: str, known: dict[str, str]) -> bool:
    """A German or Swedish word made of two of ECG language: "Kammerkomplex"."""
    if not 8 <= len(word) <= LONGEST or not word.isalpha():
        return False
    for cut in range(4, len(word) - 3):
        first, second = word[:cut], word[cut:]
        if stem(second) in known and (stem(first) in known or (first[-1] == "s" and stem(first[:-1]) in known)):
            return True
    return False


def _rewritten(text: str) -> str:
    for pattern, said in _REWRITES:
        text = pattern.sub(said, text)
    return " ".join(text.split())


def _masked(text: str, spans: list[tuple[int, int]]) -> str:
    """The text with places blank: what denies a limit denies no finding."""
    for start, end in spans:
        text = text[:start] + " " * (end - start) + text[end:]
    return text


def _spelled(
    text: str, skip: list[tuple[int, int]], only: frozenset[str] | None = None
) -> tuple[str, list[tuple[str, str]]]:
    """The text with slips put right, and the slips.

    Args:
        text: One line.
        skip: Places that are left as they are.
        only: The words that may be put right; None for all.
    """
    pieces, slips, at, asked = [], [], 0, 0
    for match in _WORD.finditer(text):
        word = match.group()
        if any(a < match.end() and match.start() < b for a, b in skip) or (only is not None and word not in only):
            continue
        better = None if "-" in word else lexicon.hyphened().get(stem(word))
        if better is None:
            if _is_exact(word):
                continue
            if asked >= MOST_SLIPS:
                break
            asked += 1
            better = nearest_word(word, 1 if _is_domain(word) and len(word) < LONG else 2)
        if better is not None and fold(better) != fold(word):
            pieces += [text[at : match.start()], better]
            at = match.end()
            slips.append((word, better))
    return "".join([*pieces, text[at:]]), list(dict.fromkeys(slips))


def _findings(text: str) -> list[tuple[Finding, int, int]]:
    """What a text names, joined as it says."""
    hits = [hit for hit in find_names(text, lexicon.names()) if _counts(text, hit)]
    if not hits:
        return _only_normal(text)
    joints = _joints(text, hits[:MAX_FINDINGS])
    return [(_part(hit, joint), hit.start, hit.end) for hit, joint in zip(hits, joints, strict=False)]


def _counts(text: str, hit: FoundStatement) -> bool:
    """Whether a hit asks for anything: not "with or without AF", and "normal" only where no word of it follows."""
    if _EITHER_WAY.search(text[max(0, hit.start - 24) : hit.start]):
        return False
    if hit.code in _NOT_MEANT and hit.matched.lower() in _NOT_MEANT[hit.code]:
        return False
    return hit.code != "+NORMAL" or _STANDS_ALONE.match(text, hit.end) is not None


def _part(hit: FoundStatement, joint: Joint) -> Finding:
    stemi = _STEMI.search(hit.matched)
    if stemi is not None and hit.code.removeprefix("+") in _INFARCTS:
        # The statements of an archive say where an infarction is, not that the ST segment rises.
        return ConceptPart("NSTEMI" if stemi["non"] else "STEMI", hit.polarity, joint, hit.matched)
    if not hit.code.startswith("+"):
        return StatementPart(hit.code, hit.polarity, joint, hit.matched)
    concept = lexicon.concepts()[hit.code[1:]]
    if concept.denies:
        return StatementPart(concept.denies, "present" if hit.polarity == "absent" else "absent", joint, hit.matched)
    if len(concept.covers) == 1 and lexicon.is_statement(concept.covers[0]):
        return StatementPart(concept.covers[0], hit.polarity, joint, hit.matched)
    return ConceptPart(concept.code, hit.polarity, joint, hit.matched)


def _only_normal(text: str) -> list[tuple[Finding, int, int]]:
    """A text whose only word with a meaning is "normal" asks for normal ECGs."""
    denied = _NOT_NORMAL.search(text)
    if denied is not None:
        return [(StatementPart("NORM", "absent", "and", denied.group()), denied.start(), denied.end())]
    said = [match for match in _WORD.finditer(text) if not lexicon.is_everyday(match.group())]
    if len(said) == 1 and fold(said[0].group()) in _NORMAL:
        return [(StatementPart("NORM", text=said[0].group()), said[0].start(), said[0].end())]
    return []


def _joints(text: str, hits: list[FoundStatement]) -> list[Joint]:
    """How each hit is joined to the one before it; a comma as the next word that joins."""
    between = [text[a.end : b.start] for a, b in pairwise(hits)]
    joints: list[Joint] = []
    for i, words in enumerate(between):
        if _OR.search(words):
            joints.append("or")
        elif words.strip() == ",":
            following = next((w for w in between[i + 1 :] if w.strip() != ","), "")
            joints.append("or" if _OR.search(following) and not _AND.search(following) else "and")
        else:
            joints.append("and")
    return ["and", *joints]


def _rest(
    text: str, findings: list[tuple[Finding, int, int]], found: Limits
) -> tuple[str, float, list[str], tuple[int, int]]:
    """Words to embed, share of the words with a meaning that are known, those that are not; how many name, and all."""
    people = [(a, b) for _, a, b in (*found.people, *found.unused)]
    measured = [(a, b) for _, a, b in found.measures]
    named = [(a, b) for _, a, b in findings]
    cut = people + [(a, b) for part, a, b in found.measures if is_denied(part.text)]
    cues = [_with_cues(text, start, end) for part, start, end in findings if part.polarity == "absent"]
    cut += cues
    n_known = n_content = n_named = 0
    unknown: list[str] = []
    for match in _WORD.finditer(text):
        word, place = match.group(), (match.start(), match.end())
        if _inside(place, people) or (
            (lexicon.is_everyday(word) or lexicon.is_weak(word) or _inside(place, cues))
            and not _inside(place, named)
            and not _inside(place, measured)
        ):
            continue
        n_content += 1
        n_named += _inside(place, named)
        if _inside(place, named) or _inside(place, measured) or _is_domain(word):
            n_known += 1
        elif not word.isdigit() or n_content == 1:
            unknown.append(word[:60])
    kept = _without(text, cut)
    for part, start, end in findings:
        name = _long_name(part, text[start:end])
        if name and part.polarity != "absent":
            said = re.search(rf"(?<!\w){re.escape(text[start:end])}(?!\w)", kept)
            kept = kept if said is None else kept[: said.start()] + name + kept[said.end() :]
    kept = kept.strip(" ,;.:-&/()[]")
    nothing = all(lexicon.is_everyday(w) for w in _WORD.findall(kept))
    share = n_known / n_content if n_content else 0.0
    return ("" if nothing and cut else kept), share, list(dict.fromkeys(unknown)), (n_named, n_content)


def _long_name(part: Finding, said: str) -> str:
    """The English name for an abbreviation, which the encoder reads better; "" to keep what was said."""
    if " " in said or not (len(said) <= 4 or (len(said) <= 6 and said.isupper())):
        return ""
    return statement(part.code).name_en if isinstance(part, StatementPart) else lexicon.concepts()[part.code].name_en


def _inside(place: tuple[int, int], spans: list[tuple[int, int]]) -> bool:
    return any(a < place[1] and place[0] < b for a, b in spans)


def _with_unused(text: str, findings: list[tuple[Finding, int, int]], found: Limits) -> Limits:
    """Limits with what else is not asked for, and so is not embedded either.

    These are words that deny what is no finding here ("without blarg", which would be searched for as if it were asked
    for), how fresh an infarction or ischaemia is, which no statement says, and numbers that nothing was read from.
    """
    unused = list(found.unused)
    limited = [(a, b) for _, a, b in (*found.measures, *found.people, *found.unused)]
    named = sorted((a, b, part.polarity) for part, a, b in findings)
    absent = [_with_cues(text, a, b) for a, b, polarity in named if polarity == "absent"]
    taken = sorted([*limited, *absent, *((a, b) for a, b, _ in named)])
    # Words alone describe ("P waves without relation to the QRS") and are embedded as they are.
    asked = any(polarity != "absent" for _, _, polarity in named)
    for cue in islice(_DENIAL.finditer(text), _MOST_DENIALS if asked else 0):
        if _inside(cue.span(), taken) or _EITHER_WAY.search(text[: cue.end()][-24:]):
            continue
        end = min((a for a, _ in taken if a >= cue.end()), default=len(text))
        mark = _DENIAL_ENDS.search(text, cue.end(), end)
        stop = end if mark is None else mark.start()
        if any(a <= stop <= b and polarity == "absent" for a, b, polarity in named):
            continue  # the finding took the denial: "no previous infarct"
        words = _WORD.findall(text[cue.end() : stop])
        if all(lexicon.is_everyday(word) or fold(word) in _DENYING for word in words):
            continue
        span = (cue.start(), cue.start() + len(text[cue.start() : stop].rstrip()))
        unused.append((UnusedPart(text[slice(*span)]), *span))
        taken.append(span)
    for part, start, end in findings:
        if part.code not in _OF_ANY_AGE or part.polarity == "absent":
            continue
        fresh = _FRESH.search(text, max(0, start - 30), end)
        if fresh is not None and (fresh.start() >= start or _FRESH_BEFORE.fullmatch(text, fresh.start(), start)):
            unused.append((UnusedPart(fresh.group()), *fresh.span()))
    for number in islice(_NUMBER.finditer(text), _MOST_DENIALS if findings or limited else 0):
        if not _inside(number.span(), taken) and number.group() != text:
            unused.append((UnusedPart(number.group()), *number.span()))
    return replace(found, unused=tuple(unused))


def _with_cues(text: str, start: int, end: int) -> tuple[int, int]:
    """A denied name with the words around it that deny it."""
    before = list(_WORD.finditer(text, max(0, start - 80), start))
    for match in reversed(before):
        if fold(match.group()) not in _DENYING or re.search(r"[.;,]", text[match.end() : start]):
            break
        start = match.start()
    for match in _WORD.finditer(text, end, min(len(text), end + 60)):
        if fold(match.group()) not in _DENYING or re.search(r"[.;,]", text[end : match.start()]):
            break
        if fold(match.group()) in ("with", "mit", "and", "und", "och", "or", "oder"):
            break
        end = match.end()
    return start, end


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    kept, at = [], 0
    for start, end in sorted(spans):
        kept.append(text[at : max(at, start)])
        at = max(at, end)
    return " ".join(" ".join([*kept, text[at:]]).split())


def has_content(text: str) -> bool:
    """Whether there is a word with a meaning."""
    return any(not lexicon.is_everyday(word) for word in _WORD.findall(text))


def of_parts(parts: tuple[Part, ...]) -> Understood:
    """What a caller says was understood: the parts as they are, their words judged as those of a query."""
    words = " ".join(part.text for part in parts if isinstance(part, WordsPart))
    read = understand(words)
    return replace(read, parts=parts)
