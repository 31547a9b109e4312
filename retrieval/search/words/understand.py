"""Words of a query -> what they ask for: findings asked for and denied, limits, words to embed, words not known.

Names are those of `lexicon`, found with the negation that reports are read with (`statements.find`). Words that are
not known are read as the nearest known one where one or two letters differ. Limits are measured values ("QRS > 120
ms"), age ("over 60", "65-jährig") and sex, in three languages; all repetitions in their patterns are bounded: the time
they take grows with the length of the text and no faster.

>>> found = understand("LBBB without atrial fibrilation in women over 60")
>>> [(p.kind, getattr(p, "code", ""), getattr(p, "polarity", "")) for p in found.parts][:2]
[('statement', 'CLBBB', 'present'), ('statement', 'AFIB', 'absent')]
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from itertools import pairwise

from ecgkin.retrieval.ecg.statements.catalogue import statement
from ecgkin.retrieval.ecg.statements.find import FoundStatement, find_names, stem
from ecgkin.retrieval.ecg.statements.report_text import fold
from ecgkin.retrieval.search.words import lexicon
from ecgkin.retrieval.search.words.lexicon import LONGEST, nearest_word
from ecgkin.retrieval.search.words.parts import (
    MAX_PARTS,
    AgePart,
    ConceptPart,
    Finding,
    Joint,
    Measure,
    MeasurePart,
    Part,
    SexPart,
    SpellingPart,
    StatementPart,
    Understood,
    UnknownPart,
    WordsPart,
)

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
            r"\b(?:excluding|exclud(?:es?|ed)(?: all)?(?=\s\w)|except(?: for)?|other than|apart from|minus|"
            r"leav(?:e|ing) out)\s",
            "without ",
        ),
        (r"(?<!\w)w/?o(?:ut)?\.?\s|(?<!\w)w/out\s", "without "),
        (r"(?<!\w)w/\s?(?=\w)", "with "),
        (r"\bunpaced\b", "without pacing"),
        (r"\b(?:ausgenommen|außer|ausser|exklusive|abgesehen von)\s", "ohne "),
        (r"\b(?:förutom|utom|exklusive|exkludera)\s", "utan "),
        (
            r"\bnon[- ](?=(?:af|afib|afl|aflt|sinus|paced?|pacemaker|lbbb|rbbb|lvh|wpw|norm|normal|fibrillation)\b)",
            "without ",
        ),
        (r"(?<![^\s(,])[-!]([A-Za-z1-3][A-Za-z]{1,5})\b", r"without \1;"),
        (r"\b(?:and|und|och)\s(with|mit|med)\s", r"; \1 "),
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
    ist sind wird werden tecken pa the a an der die das dem den ein eine or and und oder eller och with mit
    """.split()
)
# Words that lose an ending and become a name: German waves, Swedish ventricles.
_NOT_MEANT = {"+WELLENS": ("welle", "wellen"), "PVC": ("kammar", "kammare", "kammaren", "kammarens")}
_STANDS_ALONE = re.compile(
    r"\s*(?:$|[,;.!?)]|(?:and|but|or|without|with|no|und|aber|oder|ohne|mit|och|men|eller|utan|excluding|in|im|hos|bei)\b)",
    re.IGNORECASE,
)
_NORMAL = frozenset(
    "normal normales normaler normale normalt norm unauffallig unauffalliges gesund healthy unremarkable frisk "
    "normalbefund".split()
)
_NOT_NORMAL = re.compile(
    r"\b(?:not|nicht|ej|inte|isn['’]t)\s(?:\w+\s)?(?:normal\w{0,2}|unauffällig\w{0,2}|healthy)\b", re.IGNORECASE
)
ELDERLY, YOUNG, CHILD = 65.0, 40.0, 17.0  # years
AROUND = 5.0  # years on either side of an age that is given as one number
# On either side of a value that is given as one number.
_NEAR: dict[Measure, float] = {
    "rate_bpm": 10.0, "pr_ms": 20.0, "qrs_ms": 10.0, "qt_ms": 20.0, "qtc_ms": 20.0, "axis_deg": 15.0
}  # fmt: skip
_POSSIBLE: dict[Measure, tuple[float, float]] = {
    "rate_bpm": (10, 400), "pr_ms": (20, 800), "qrs_ms": (20, 400), "qt_ms": (100, 1000), "qtc_ms": (100, 1000),
    "axis_deg": (-180, 270),
}  # fmt: skip

_NUM = r"(?<![\w.,])[-−]?\d{1,4}(?:[.,]\d{1,3})?(?![\d])"
_OPS = {
    "ge": r">=|≥|at least|not? (?:less|under|below) than|mindestens|minst|from|ab",
    "le": r"<=|≤|at most|up to|no more than|höchstens|hoechstens|maximal|högst|bis zu",
    "gt": r">|over|above|more than|greater than|higher than|faster than|longer than|older than|exceeding|beyond|"
    r"über|ueber|mehr als|größer als|groesser als|höher als|hoeher als|schneller als|länger als|laenger als|älter als|"
    r"aelter als|oberhalb(?: von)?|jenseits(?: von)?|över|mer än|högre än|större än|snabbare än|längre än|äldre än",
    "lt": r"<|under|below|less than|lower than|slower than|shorter than|younger than|unter|weniger als|kleiner als|"
    r"langsamer als|kürzer als|kuerzer als|niedriger als|jünger als|juenger als|unterhalb(?: von)?|mindre än|lägre än|"
    r"långsammare än|kortare än|yngre än",
    "in": r"between|zwischen|mellan|from|von|från",
}
_OP = "|".join(f"(?P<{name}>{words})" for name, words in _OPS.items())
_TO = r"\s{0,2}(?:-|–|—|to|and|bis|und|till|och)\s{0,2}"
_UNIT = (
    r"\s{0,2}(?:bpm|ms(?:ec)?|millisekunden|milliseconds|s(?:ec)?\b|°|degrees?|grad|/\s?min(?:ute)?|"
    r"(?:beats?|schläge|schlaege|slag)?\s?(?:per|a|pro|die|in der|/)\s?min(?:ute?)?|beats)"
)
_RATE_UNIT = (
    r"\s{0,2}(?:bpm|/\s?min(?:ute)?|min-1|"
    r"(?:beats?|schläge|schlaege|slag)?\s?(?:per|a|pro|die|in der|/)\s?min(?:ute?)?)\b"
)
_NAME = (
    r"\b(?:(?P<rate_bpm>(?:(?:heart|ventricular|pulse)[- ]?)?rate|hr|hf|pulse|puls(?:frequenz)?|"
    r"(?:herz|kammer|ventrikel)?frequenz|(?:hjärt|hjart|kammar)?frekvens|"
    r"(?:beats?|tachycardia|bradycardia|tachykardie|bradykardie|takykardi|bradykardi|rhythm) (?:at|of|von|um|på))|"
    r"(?P<pr_ms>p[rq])|(?P<qrs_ms>qrs)|(?P<qtc_ms>qt\s?c)|(?P<qt_ms>qt)|"
    r"(?P<axis_deg>(?:qrs[- ])?(?:axis|achse|elaxel|axel)))"
)
_BETWEEN = (
    r"(?:[\s,:=(~-]{0,3}(?:intervall?s?|duration|dauer|zeit|tid|time|width|breite|bredd|duration|is|ist|är|was|war|of|"
    r"at|bei|mit|with|about|around|approx\.?|ca\.?|circa|etwa|ungefähr|omkring|wert|value|stays|remains|bleibt|the|a|"
    r"far|too|long|prolonged|verlängert|lang|deviation)(?!\w)){0,5}[\s,:=(~]{0,3}"
)
_MORE = r"(?P<up>\s?\+|\s(?:or|and|oder|und|eller|och) (?:more|above|higher|over|mehr|darüber|höher|mer|över))?"
_LESS = r"(?P<down>\s(?:or|and|oder|und|eller|och) (?:less|below|lower|under|weniger|darunter|mindre))?"
_VALUE = rf"(?:(?:{_OP})\s{{0,2}})?(?P<a>{_NUM})(?:{_UNIT})?(?:{_TO}(?P<b>{_NUM})(?:{_UNIT})?)?{_MORE}{_LESS}"
_MEASURED = re.compile(rf"{_NAME}{_BETWEEN}{_VALUE}")
_BARE_RATE = re.compile(
    rf"(?:(?:{_OP})\s{{0,2}})?(?P<a>{_NUM})(?:{_TO}(?P<b>{_NUM}))?(?P<u>{_RATE_UNIT}){_MORE}{_LESS}"
    rf"|(?P<speed>(?:faster|slower) than|(?:schneller|langsamer) als|(?:snabbare|långsammare) än)\s{{0,2}}(?P<c>{_NUM})"
)
_YEARS = (
    r"(?:[- ]?(?:years?|yrs?|jahren?|jahre|år)(?:[- ]?(?:old|alt|gam(?:mal|la)|of age))?|"
    r"[- ]?y\.?/?o\.?(?!\w)|[- ]?[yj](?!\w)|"
    r"[- ]?jährig\w{0,3}|[- ]?jaehrig\w{0,3}|[- ]?åri?g?\w{0,2})(?!\w)"
)
_PERSON = (
    r"(?:women|woman|men|man|females?|males?|patients?|people|persons?|adults?|those|anyone|frau(?:en)?|männer[n]?|mann|"
    r"patient(?:en|innen|in)?|personen|leute|kvinnor|kvinna|män|patienter|age|aged|alter(?: von)?|ålder|im alter)"
)
_AGE = re.compile(
    # "between 60 and 70 years", "60-70 jährige", "over 60 years", "65-year-old"
    rf"(?:(?:(?P<op1>{'|'.join(_OPS.values())})|aged|im alter von|i åldern)\s{{0,2}})?(?P<a>\b\d{{1,3}})"
    rf"(?:{_TO}(?P<b>\d{{1,3}}))?(?:{_YEARS})(?:\s(?P<than>or|and|oder|und|eller|och)\s(?P<rel>older|over|above|younger|"
    rf"under|älter|darüber|jünger|darunter|äldre|yngre))?"
    # "women over 60", "age > 60", "aged 60 to 70"
    rf"|\b{_PERSON}\s{{0,2}}(?:is|ist|of|von|:|=|who are|die)?\s{{0,2}}(?:(?P<op2>{'|'.join(_OPS.values())})\s{{0,2}})"
    rf"(?P<c>\d{{1,3}})\b(?:{_TO}(?P<d>\d{{1,3}})\b)?(?:{_YEARS})?"
    # "man, 70", "f 45"
    r"|(?:\b(?:man|woman|male|female|mann|frau|kvinna)|(?:^|(?<=[,;(] )|(?<=[,;(]))[mfw])[,/ ]{1,2}(?P<h>\d{1,3})\b"
    r"(?!\s?(?:ms|bpm|/|%|to|-|bis))"
    rf"|\b(?:age|aged|alter|ålder)\s{{0,2}}[:=]?\s{{0,2}}(?P<e>\d{{1,3}})\b(?:{_TO}(?P<f>\d{{1,3}})\b)?"
    # "older than 60", "älter als 60"
    r"|\b(?P<op3>older than|younger than|älter als|aelter als|jünger als|juenger als|äldre än|yngre än)\s{0,2}"
    r"(?P<g>\d{1,3})\b|\bin (?:(?:her|his|their|the) )"
    r"(?P<decade>twenties|thirties|forties|fifties|sixties|seventies|eighties|nineties)\b"
)
_DECADES = ("twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties", "nineties")
_OLD = re.compile(
    r"\b(?:elderly|geriatric|old (?:people|patients?|person|woman|women|man|men|lady)|senioren|geriatrisch\w{0,3}|"
    r"(?:ältere|alte)[nrsm]? (?=frau|mann|männer|mensch|patient)|äldre(?= (?:patient|kvinn|män|man|person)|$))"
)
_YOUNG = re.compile(
    r"\b(?:young(?= (?:people|patients?|person|woman|women|man|men|adult|female|male|athlete)|$)|"
    r"junge[nrsm]?(?= (?:frau|mann|männer|mensch|patient|erwachsen))|unga?(?= (?:patient|kvinn|män|man|person|vuxn)))"
)
_CHILD = re.compile(
    r"\b(?:child(?:ren)?|kids?|infants?|adolescents?|teenagers?|paediatric|pediatric|pädiatrisch\w{0,2}|kind(?:er|ern)?|"
    r"jugendliche[nr]?|säugling(?:e|en)?|barn|ungdomar)\b"
)
_FEMALE = re.compile(
    r"\b(?:women|woman|females?|lady|ladies|girls?|frau(?:en)?|weiblich\w{0,2}|patientinn?(?:en)?|mädchen|kvinnor|kvinna|"
    r"kvinnlig\w?|flick(?:a|or))\b|(?<=\d)\s?(?:yo|y/o|yr)?\s?f\b|\bsex\s?[:=]\s?f\b|"
    r"(?:^|(?<=[,;(] )|(?<=[,;(]))[fw](?=[,/ ]{1,2}\d)"
)
_MALE = re.compile(
    r"\b(?:men|males?|boys?|gentlem[ae]n|männer[n]?|mann|männlich\w{0,2}|knaben?|jungen|män|manlig\w?|pojk(?:e|ar))\b|"
    r"\b(?:a|an|old|young|elderly|en|äldre)\s(?P<man>man)\b|\bman\b(?=\s(?:with|over|aged|of|older|younger|above|below|"
    r"under|med|över)\b)|(?<=\d)\s?(?:yo|y/o|yr)?\s?m\b(?!/)|\bsex\s?[:=]\s?m\b|-old man\b|"
    r"(?:^|(?<=[,;(] )|(?<=[,;(]))m(?=[,/ ]{1,2}\d)|\bman(?=[,/ ]{1,2}\d)"
)
_NOT_THESE = re.compile(r"(?:not|non|no|nicht|kein\w{0,2}|ej|inte|inga|without|ohne)[- ]$")


def understand(text: str) -> Understood:
    """What words ask for.

    Args:
        text: At most 10,000 characters, in English, German or Swedish, or a mixture.

    Returns:
        Parts in the order of the text, then words that were read as others, unknown words, and the words to embed.
    """
    plain = cleaned(text)
    found_limits = limits(plain)
    spans = [(a, b) for _, a, b in (*found_limits.measures, *found_limits.people)]
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
    findings = _findings(read)
    words, known, unknown, (n_named, n_content) = _rest(read, findings, found_limits)
    said = {(part.code, part.polarity): part for part, _, _ in reversed(findings)}
    parts: list[Part] = [part for part, _, _ in findings if said.pop((part.code, part.polarity), None) is not None]
    parts += [part for part, _, _ in found_limits.measures]
    parts += list(dict.fromkeys(part for part, _, _ in found_limits.people))
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
    if not hit.code.startswith("+"):
        return StatementPart(hit.code, hit.polarity, joint, hit.matched)
    concept = lexicon.concepts()[hit.code[1:]]
    if concept.code == "ANY_MI" and "stemi" in hit.matched.lower():
        concept = lexicon.concepts()["NSTEMI" if "nstemi" in hit.matched.lower() else "STEMI"]
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
    people = [(a, b) for _, a, b in found.people]
    measured = [(a, b) for _, a, b in found.measures]
    named = [(a, b) for _, a, b in findings]
    cut = list(people)
    for part, start, end in findings:
        if part.polarity == "absent":
            cut.append(_with_cues(text, start, end))
    n_known = n_content = n_named = 0
    unknown: list[str] = []
    for match in _WORD.finditer(text):
        word, place = match.group(), (match.start(), match.end())
        if _inside(place, people) or (
            (lexicon.is_everyday(word) or lexicon.is_weak(word))
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


@dataclass(frozen=True, slots=True)
class Limits:
    """What was found, and the text in which it was found with these places blank.

    Attributes:
        measures: Measured values and their places.
        people: Age and sex and their places.
    """

    measures: tuple[tuple[MeasurePart, int, int], ...]
    people: tuple[tuple[AgePart | SexPart, int, int], ...]


def limits(text: str) -> Limits:
    """Every measured value, age and sex that a text asks for.

    Args:
        text: One line.

    >>> found = limits("women over 60 with QRS > 120 ms")
    >>> [(p.name, p.low) for p, _, _ in found.measures], sorted(p.kind for p, _, _ in found.people)
    ([('qrs_ms', 120.0)], ['age', 'sex'])
    """
    low = "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
    measures: list[tuple[MeasurePart, int, int]] = []
    for pattern in (_MEASURED, _BARE_RATE):
        for match in pattern.finditer(low):
            measured = _measure(match, text)
            if measured is not None:
                measures.append((measured, match.start(), match.end()))
        low = _blanked(low, measures)
    people: list[tuple[AgePart | SexPart, int, int]] = []
    for match in _AGE.finditer(low):
        aged = _age(match, text)
        if aged is not None:
            people.append((aged, match.start(), match.end()))
    if not people:
        for pattern, years, up in ((_OLD, ELDERLY, True), (_CHILD, CHILD, False), (_YOUNG, YOUNG, False)):
            found = pattern.search(low)
            if found is not None:
                part = AgePart(years if up else None, None if up else years, text[found.start() : found.end()])
                people.append((part, found.start(), found.end()))
                break
    sexes = _sexes(low, text)
    return Limits(tuple(measures), (*people, *sexes))


def _blanked(low: str, spans: list[tuple[MeasurePart, int, int]]) -> str:
    for _, start, end in spans:
        low = low[:start] + " " * (end - start) + low[end:]
    return low


def _number(text: str) -> float:
    return float(text.replace("−", "-").replace(",", "."))


def _measure(match: re.Match[str], text: str) -> MeasurePart | None:
    said = match.groupdict()
    if said.get("c") is not None:
        slower = said["speed"].startswith(("slow", "lang", "lång"))
        value = _number(said["c"])
        shown = text[match.start() : match.end()]
        return MeasurePart("rate_bpm", None if slower else value, value if slower else None, shown)
    name: Measure = next((n for n in _NEAR if said.get(n) is not None), "rate_bpm")
    values = [_number(said[key]) for key in ("a", "b") if said.get(key) is not None]
    if name.endswith("_ms"):
        values = [1000.0 * v if v < 3 else v for v in values]  # seconds
    least, most = _POSSIBLE[name]
    if any(not least <= v <= most for v in values):
        return None
    shown = text[match.start() : match.end()].strip()
    if len(values) == 2:
        return MeasurePart(name, min(values), max(values), shown)
    value = values[0]
    if said.get("gt") or said.get("ge") or said.get("up"):
        return MeasurePart(name, value, None, shown)
    if said.get("lt") or said.get("le") or said.get("down"):
        return MeasurePart(name, None, value, shown)
    return MeasurePart(name, value - _NEAR[name], value + _NEAR[name], shown)


def _direction(op: str) -> str:
    return next((kind for kind in ("gt", "lt", "le", "ge") if re.fullmatch(_OPS[kind], op)), "in")


def _age(match: re.Match[str], text: str) -> AgePart | None:
    said = match.groupdict()
    shown = text[match.start() : match.end()].strip()
    if said["decade"]:
        first = 20.0 + 10.0 * _DECADES.index(said["decade"])
        return AgePart(first, first + 9.0, shown)
    pairs = (("a", "b"), ("c", "d"), ("e", "f"), ("g", "g"), ("h", "h"))
    first_key, second_key = next(pair for pair in pairs if said[pair[0]] is not None)
    age = float(said[first_key])
    other = float(said[second_key]) if first_key != second_key and said[second_key] is not None else None
    if age > 130 or (other is not None and other > 130):
        return None
    if other is not None:
        return AgePart(min(age, other), max(age, other), shown)
    op = _direction(said["op1"] or said["op2"] or said["op3"] or "")
    younger = ("younger", "under", "jünger", "darunter", "yngre")
    if op in ("gt", "ge") or (said["rel"] and said["rel"] not in younger):
        return AgePart(age, None, shown)
    if op in ("lt", "le") or said["rel"]:
        return AgePart(None, age, shown)
    return AgePart(max(0.0, age - AROUND), age + AROUND, shown)


def _sexes(low: str, text: str) -> tuple[tuple[SexPart, int, int], ...]:
    spans: dict[str, list[tuple[int, int]]] = {"F": [], "M": []}
    for sex, pattern in (("F", _FEMALE), ("M", _MALE)):
        for match in pattern.finditer(low):
            other = _NOT_THESE.search(low[max(0, match.start() - 12) : match.start()])
            asked = sex if other is None else {"F": "M", "M": "F"}[sex]
            begin = match.start() if other is None else match.start() - len(other.group())
            spans[asked].append((begin, match.end()))
    asked_for = [sex for sex in spans if spans[sex]]
    if len(asked_for) != 1:
        return ()  # both, or none
    sex = asked_for[0]
    return tuple((SexPart("F" if sex == "F" else "M", text[a:b].strip()), a, b) for a, b in spans[sex])
