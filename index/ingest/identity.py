"""What in a text may tell who a patient is: names that are known, and patterns for dates, numbers, addresses, people.

Used by `deidentify`. Words of the field (`medical_words`) are never taken for names by a pattern; a name that is known
from a header is taken out even where it is such a word, unless it names a ward or a technician ("Heart Station").
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS
from ecgkin.retrieval.ecg.statements.report_text import COMMON_WORDS, fold

GONE = "[...]"
SHORTEST = 3
"""Letters of a name that is looked for by itself."""
_WORD = re.compile(r"[^\W\d_]+(?:[-'\u2019][^\W\d_]+)*")
_CAP = r"(?:[A-Z\u00c0-\u00de][\w'\u2019-]{1,40})"
_MONTH = (
    r"(?:jan(?:uary|uar|\.)?|feb(?:ruary|ruar|\.)?|mar(?:ch|\.)?|m\u00e4r(?:z|\.)?|apr(?:il|\.)?|may|mai|jun(?:e|i|\.)?|"
    r"jul(?:y|i|\.)?|aug(?:ust|\.)?|sep(?:t|tember|\.)?|o[ck]t(?:ober|\.)?|nov(?:ember|\.)?|de[cz](?:ember|\.)?)"
)
# Each with bounded repeats: texts come from strangers.
_PATTERNS: tuple[re.Pattern[str], ...] = (
    re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64}){1,4}"),
    re.compile(r"\b(?:https?://|www\.)[^\s,;]{1,200}", re.IGNORECASE),
    # Dates: numbers in every order, with the month in words, month and year.
    re.compile(r"\b\d{4}[-./]\d{1,2}[-./]\d{1,2}(?:[T ]\d{1,2}:\d{2}(?::\d{2})?)?"),
    re.compile(r"\b\d{1,2}[./-] ?\d{1,2}[./-] ?(?:\d{4}|\d{2})\b"),
    re.compile(r"\b\d{1,2}\.\d{1,2}\.(?!\d)"),
    re.compile(
        rf"(?<![\w,.])\d{{1,2}}(?:st|nd|rd|th|\.)?[ -]{{0,2}}(?:of )?{_MONTH}[ ,.-]{{0,3}}(?:\d{{4}}|\d{{2}})?\b",
        re.IGNORECASE,
    ),
    re.compile(rf"\b{_MONTH} {{1,2}}\d{{1,2}}(?:st|nd|rd|th)?(?:,? {{1,2}}\d{{4}})?\b", re.IGNORECASE),
    re.compile(rf"\b{_MONTH} {{1,2}}\d{{4}}\b", re.IGNORECASE),
    re.compile(r"\b(?:0?[1-9]|1[0-2])/(?:19|20)\d{2}\b"),
    # Telephone and other long numbers; accession numbers and the like, letters and at least three digits.
    re.compile(r"(?<!\w)\+?\d[\d ()/-]{4,20}\d\b"),
    re.compile(
        r"\b(?!(?:QTc?|PR|PQ|RR|QRS|HR|ST|BPM|V|P|R|S|T)\d)[A-Za-z]{1,8}[-_/.]?\d{3,12}(?:[-_/.]?\w{1,12}){0,3}\b"
    ),
    re.compile(r"\b\d{1,6}[-_/][A-Za-z0-9]{1,10}[-_/]\d{2,10}\b"),
    re.compile(
        r"\b(?:MRN|ID|PID|Nr|No|Fall|Fallnummer|Fall-Nr|Aufnahmenummer|Patientennummer|Accession|Acc|Order|Auftrag|"
        r"Versichertennummer|SSN|Tel|Telefon|Phone|Fax)\b[.:# ]{1,4}(?=\S{0,30}\d)[^\s,;]{1,40}",
        re.IGNORECASE,
    ),
    # Addresses.
    re.compile(
        r"\b[A-Z\u00c0-\u00de][\w.-]{0,40}(?:stra(?:\u00df|ss)e|str\.|weg|platz|allee|gasse|ring|damm|ufer)"
        r" ?\d{1,4} ?[a-z]?\b"
    ),
    re.compile(
        r"\b\d{1,5} (?:[A-Z][\w.-]{1,30} ){1,3}"
        r"(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Way)\b\.?"
    ),
    re.compile(rf"\b(?:[A-Z]{{1,2}}[- ])?\d{{5}} {_CAP}(?: am {_CAP}| an der {_CAP})?"),
)
# People and houses behind a word that announces them: what follows goes, the announcing word stays in the text.
_ANNOUNCED = re.compile(
    r"(?P<cue>\b(?:Dr|Prof|Mr|Mrs|Ms|Miss|Herrn?|Frau|Hrn?|Fr|MUDr|Dott|Mme|Mlle|Sra?|Se\u00f1ora?|Schwester|Pfleger|Arzt|"
    r"\u00c4rztin|Oberarzt|Ober\u00e4rztin|Chefarzt|OA|CA|Nurse|Tech|Technician|MTA|Patient(?:in|en)?|Pat|Name|Vorname|"
    r"Nachname|Familienname|Surname|Signed|Signature|Reviewed by|Confirmed by|Reported by|Read by|Seen by|Referred by|"
    r"Interpreted by|Verified by|Dictated by|Electronically signed by|by|gez|Gez|Befundet von|befundet von|von|"
    r"\u00dcberwiesen von|f\u00fcr|for)\b\.?:?)(?P<who>(?: {1,3}(?:med|Dr|Prof|PD|habil)\b\.?){0,4}"
    rf"(?: {{1,3}}(?:(?:von|van|de|der|zu|di|la|le) ){{0,2}}{_CAP}){{1,3}})"
)
_TITLES = re.compile(
    r"\b(?:Dr|Prof|Mr|Mrs|Ms|Herrn?|Frau|Hrn?|Fr|MUDr|Dott)\b\.?(?: {1,3}(?:med|Dr|Prof)\b\.?){0,4}"
    r" {1,3}[^\W\d_][\w'-]{1,40}(?: [A-Z\u00c0-\u00de][\w'-]{1,40})?"
)
_HOUSE = re.compile(
    rf"(?:(?:\bSt\. )?\b{_CAP}[ -]){{0,3}}(?:\b[A-Z\u00c0-\u00de][\w-]{{0,30}}(?:klinik|klinikum|krankenhaus|spital)"
    rf"|\b(?:Hospital|Clinic|Klinik|Klinikum|Krankenhaus|Praxis|Spital|Medical Center|Medical Centre))\b"
    rf"(?: {_CAP}){{0,2}}"
)


@cache
def medical_words() -> frozenset[str]:
    """Folded words of the statements' names and synonyms, and the common ones of reports in three languages."""
    names = [name for s in STATEMENTS for name in (s.name_en, s.name_de, *s.synonyms_en, *s.synonyms_de)]
    found = {fold(word) for name in names for word in _WORD.findall(name)}
    more = (
        "heart station ecg ekg lead leads ableitung rate frequenz rhythm rhythmus herz wave waves axis lagetyp "
        "seen called born report befund confirmed unconfirmed electronic pacemaker schrittmacher compared previous "
        "tracing vergleich vorbefund anterior posterior lateral septal inferior apical acute chronic old new "
        "abnormal borderline atrial ventricular vorhof kammer sinus rechts links right left mild severe moderate "
        "possible probable consider cannot rule out"
    )
    return frozenset(found | set(more.split()) | COMMON_WORDS)


def name_words(texts: Iterable[str]) -> set[str]:
    """Words of texts that may be names: capitals first, three letters and more, no word of the field.

    >>> sorted(name_words(["Meier_Anna_1953", "sinus rhythm", "Atrial fibrillation"]))
    ['Anna', 'Meier']
    """
    found = {word for text in texts for word in _WORD.findall(text.replace("_", " ")[:2000])}
    return {w for w in found if len(w) >= SHORTEST and w[0].isupper() and fold(w) not in medical_words()}


def without(text: str, whole: Iterable[str], words: Iterable[str]) -> str:
    """A text without the values and the words that are known, and without what a pattern finds.

    Args:
        text: A report, a note, a field.
        whole: Values that go wherever they stand: names, numbers, dates.
        words: Single words that go.
    """
    for value in sorted({v.strip() for v in whole if len(v.strip()) >= SHORTEST}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", GONE, text, flags=re.IGNORECASE)
    text = _TITLES.sub(lambda match: GONE, text)
    for pattern in _PATTERNS:
        text = pattern.sub(GONE, text)
    text = _ANNOUNCED.sub(_kept_or_gone, text)
    text = _HOUSE.sub(lambda match: match.group() if _is_medical(match.group()) else GONE, text)
    known = {word.casefold() for word in words}
    if known:
        text = _WORD.sub(lambda match: GONE if _is_known(match.group(), known) else match.group(), text)
    return text


def _kept_or_gone(match: re.Match[str]) -> str:
    """The announcing word, and of what follows it only what is a word of the field."""
    who = match.group("who")
    medical = next((w.start() for w in _WORD.finditer(who) if fold(w.group()) in medical_words()), None)
    name, rest = (who, "") if medical is None else (who[:medical], who[medical:])
    if not name.strip() or name.islower():
        return match.group()
    return f"{match.group('cue')} {GONE}{' ' * bool(rest)}{rest}"


def _is_medical(text: str) -> bool:
    return all(fold(word) in medical_words() for word in _WORD.findall(text))


def _is_known(word: str, known: set[str]) -> bool:
    """Whether a word, a part of a hyphenated one, or one with a genitive s is known."""
    parts = {word.casefold(), *re.split(r"[-'\u2019]", word.casefold())}
    return bool(parts & known) or any(part.endswith("s") and part[:-1] in known for part in parts)
