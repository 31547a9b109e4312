"""Limits in words: measured values ("QRS > 120 ms"), age ("over 60", "65-jährig") and sex.

In English, German and Swedish; age and sex also in French, Spanish, Italian, Portuguese and Dutch. "Over 60" and
"under 60" leave out 60 itself; "from 60", "at least 60", "up to 60" hold it.

A limit that is denied is turned round ("not over 60" is up to 60, "not in women" is men); what has no other side that
one limit could say ("not a 60-year-old", "except for women over 60") is kept as unused, and no filter.

All repetitions in the patterns are bounded: the time they take grows with the length of the text and no faster.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from operator import itemgetter

from ecgkin.retrieval.search.words.parts import AgePart, Measure, MeasurePart, SexPart, UnusedPart

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
# "ge" and "le" hold the number itself, "gt" and "lt" leave it out.
_OPS = {
    "ge": r">=|≥|at least|not? (?:less|under|below) than|no fewer than|mindestens|wenigstens|minst|from|från|"
    r"starting at|ab|au moins|à partir de|al menos|por lo menos|a partir de|desde los|almeno|"
    r"a partire da(?:i|gli)?|pelo menos|minstens|ten minste|vanaf",
    "le": r"<=|≤|at most|up to|until|no more than|max(?:imum|imal|\.)?|höchstens|hoechstens|högst|bis(?: zu)?|"
    r"upp till|till och med|au plus|jusqu['’]à|como máximo|hasta(?: los)?|al massimo|fino a(?:i|gli)?|no máximo|até|"
    r"hoogstens|ten hoogste|maximaal|tot(?: en met)?",
    "gt": r">|over|above|more than|greater than|higher than|faster than|longer than|older than|exceeding|beyond|"
    r"über|ueber|mehr als|größer als|groesser als|höher als|hoeher als|schneller als|länger als|laenger als|älter als|"
    r"aelter als|oberhalb(?: von)?|jenseits(?: von)?|över|mer än|högre än|större än|snabbare än|längre än|äldre än|"
    r"plus (?:de|âgée?s? (?:de|que))|âgée?s? de plus de|más de|mayor(?:es)? (?:de|que)|"
    r"più (?:di|grandi di|vecchi[eo]? di)|mais de|mais velh[oa]s? (?:do )?que|maiores de|meer dan|"
    r"ouder dan|boven(?: de)?",
    "lt": r"<|under|below|less than|lower than|slower than|shorter than|younger than|unter|weniger als|kleiner als|"
    r"langsamer als|kürzer als|kuerzer als|niedriger als|jünger als|juenger als|unterhalb(?: von)?|mindre än|lägre än|"
    r"långsammare än|kortare än|yngre än|"
    r"moins (?:de|âgée?s? (?:de|que))|âgée?s? de moins de|menos de|menor(?:es)? (?:de|que)|meno di|più giovan[ei] di|"
    r"mais nov[oa]s? (?:do )?que|minder dan|jonger dan|onder(?: de)?",
    "in": r"between|zwischen|mellan|from|von|från|entre|tra|fra|tussen",
}
_OP = "|".join(f"(?P<{name}>{words})" for name, words in _OPS.items())
_TO = r"\s{0,2}(?:-|–|—|to|and|bis|und|till|och|et|y|e|en)\s{0,2}"
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
_NEVER = r"(?:(?P<never>not|no|never|nicht|nie|ej|inte)\s{1,2})?"
_VALUE = rf"{_NEVER}(?:(?:{_OP})\s{{0,2}})?(?P<a>{_NUM})(?:{_UNIT})?(?:{_TO}(?P<b>{_NUM})(?:{_UNIT})?)?{_MORE}{_LESS}"
_MEASURED = re.compile(rf"{_NAME}{_BETWEEN}{_VALUE}")
_BARE_RATE = re.compile(
    rf"(?:(?:{_OP})\s{{0,2}})?(?P<a>{_NUM})(?:{_TO}(?P<b>{_NUM}))?(?P<u>{_RATE_UNIT}){_MORE}{_LESS}"
    rf"|(?P<speed>(?:faster|slower) than|(?:schneller|langsamer) als|(?:snabbare|långsammare) än)\s{{0,2}}(?P<c>{_NUM})"
)
_YEARS = (
    r"(?:[- ]?(?:years?|yrs?|jahren?|jahre|år)(?:[- ]?(?:old|alt|gam(?:mal|la)|of age))?|"
    r"[- ]?y\.?/?o\.?(?!\w)|[- ]?[yj](?!\w)|"
    r"[- ]?jährig\w{0,3}|[- ]?jaehrig\w{0,3}|[- ]?åri?g?\w{0,2}|"
    r"\s(?:ans|años|anni|anos|jaar)(?: oud)?)(?!\w)"
)
_PERSON = (
    r"(?:women|woman|men|man|females?|males?|patients?|people|persons?|adults?|those|anyone|everyone|frau(?:en)?|"
    r"männer[n]?|mann|patient(?:en|innen|in)?|personen|leute|kvinnor|kvinna|män|patienter|age|aged|alter(?: von)?|"
    r"ålder|im alter|femmes?|hommes?|mujer(?:es)?|hombres?|donn[ae]|uomini|mulher(?:es)?|homens|vrouw(?:en)?|"
    r"mannen|pazienti|pacientes|patiënten)"
)
_AGED = r"\d{1,3}(?:[.,]\d{1,2}(?!\d))?"
_THE_AGE = (
    r"(?:(?:the |an? )?ages? (?:of )?|(?:dem |einem )?alter von |(?:en )?ålder (?:på |av )?|"
    r"l['’]âge de |los |les |i |gli |de |os )?"
)
_OLDER = (
    r"(?:\s(?:or|and|oder|und|eller|och)\s(?P<rel>older|over|above|more|younger|under|below|less|älter|darüber|mehr|"
    r"jünger|darunter|weniger|äldre|däröver|yngre|därunder)(?!\s{0,2}\d))"
)
_SHORTER = (
    r"(?:months?|monat\w{0,2}|månad\w{0,3}|weeks?|wochen?|veck\w{1,3}|days?|tagen?|dag(?:ar)?|mois|semaines?|jours?|"
    r"meses|semanas|días|mesi|settimane|giorni|maanden|weken|dagen)"
)
_AGE = re.compile(
    # "between 60 and 70 years", "60-70 jährige", "over 60 years", "65-year-old"
    rf"(?<!\w)(?:(?:(?P<op1>{'|'.join(_OPS.values())})|aged|im alter von|i åldern)\s{{0,2}}{_THE_AGE})?(?P<a>\b{_AGED})"
    rf"(?:{_TO}(?P<b>{_AGED}))?(?:{_YEARS}){_OLDER}?"
    # "women over 60", "age > 60", "aged 60 to 70", "over the age of 60"
    rf"|(?:\b{_PERSON}\s{{0,2}}(?:is|ist|of|von|:|=|who are|die|de|di)?\s{{0,2}}(?:(?P<op2>{'|'.join(_OPS.values())})"
    rf"\s{{0,2}}{_THE_AGE})"
    rf"|(?<!\w)(?P<op4>{'|'.join(_OPS.values())})\s{{1,2}}(?:the |an? )?(?:ages?(?: of)?|(?:dem |einem )?alter von|"
    rf"(?:en )?ålder(?: på| av)?)\s{{1,2}})"
    rf"(?P<c>{_AGED})(?!\w)(?:{_TO}(?P<d>{_AGED})(?!\w))?(?:{_YEARS})?"
    # "65F", "65 F", "70 or older"
    rf"|(?<![\w.,-])(?P<i>\d{{2,3}})(?=\s?[fm](?![\w/]))"
    rf"|(?<![\w.,-])(?P<j>\d{{2,3}}){_OLDER.replace('<rel>', '<rel2>')}(?!\w|\s\d)"
    # "man, 70", "a woman of 80", "f 45"
    r"|(?:\b(?:man|woman|male|female|mann|frau|kvinna)[,/ ]{1,2}|(?:^|(?<=[,;(] )|(?<=[,;(]))[mfw][,/ ]{1,2}|"
    rf"\b(?:{_PERSON}|lady|gentleman|boy|girl|dame|herrn?|dam|herre),?\s(?:of|von|på|who is|is|ist|är)\s)"
    rf"(?P<h>\d{{1,3}})\b(?:{_TO}(?P<k>\d{{1,3}})\b)?(?!\s?(?:ms|bpm|/|%|to|-|bis|beats|schl|slag|cases|{_SHORTER}))"
    rf"|\b(?:age|aged|alter|ålder)\s{{0,2}}[:=]?\s{{0,2}}(?P<e>{_AGED})(?!\w)(?:{_TO}(?P<f>{_AGED})(?!\w))?"
    # "older than 60", "älter als 60"
    r"|\b(?P<op3>older than|younger than|älter als|aelter als|jünger als|juenger als|äldre än|yngre än|ouder dan|"
    rf"jonger dan|mayores de|menores de)\s{{0,2}}(?P<g>{_AGED})(?!\w)|\bin (?:(?:her|his|their|the) )"
    r"(?P<decade>twenties|thirties|forties|fifties|sixties|seventies|eighties|nineties)\b"
)
_YOUNGER = ("younger", "under", "below", "less", "jünger", "darunter", "weniger", "yngre", "därunder")
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
_FEMALE = re.compile(  # a group `own` is the word itself, where others stand around it
    r"\b(?:women|woman|females?|lady|ladies|girls?|frau(?:en)?|weiblich\w{0,2}|patientinn?(?:en)?|mädchen|kvinnor|kvinna|"
    r"kvinnlig\w?|flick(?:a|or)|femmes?|mujer(?:es)?|donn[ae]|mulher(?:es)?|vrouw(?:en)?)\b|"
    r"(?<=\d)\s?(?:yo|y/o|yr)?\s?(?P<own>f)\b|\bsex\s?[:=]\s?f\b|"
    r"(?:^|(?<=[,;(] )|(?<=[,;(]))[fw](?=[,/ ]{1,2}\d)"
)
_MALE = re.compile(
    r"\b(?:men|males?|boys?|gentlem[ae]n|männer[n]?|mann|männlich\w{0,2}|knaben?|jungen|män|manlig\w?|pojk(?:e|ar)|"
    r"hommes?|hombres?|uomo|uomini|homem|homens|mannen)\b|"
    r"\b(?:a|an|old|young|elderly|en|äldre)\s(?P<own>man)\b|\bman\b(?=\s(?:with|over|aged|of|older|younger|above|below|"
    r"under|med|över)\b)|(?<=\d)\s?(?:yo|y/o|yr)?\s?(?P<letter>m)\b(?!/)|\bsex\s?[:=]\s?m\b|-old (?P<old>man)\b|"
    r"(?:^|(?<=[,;(] )|(?<=[,;(]))m(?=[,/ ]{1,2}\d)|\bman(?=[,/ ]{1,2}\d)"
)
# What stands directly before a limit and denies it; words that say nothing of their own may stand between.
_DENIES = re.compile(
    r"\b(?:not|non|no|never|nicht|nie|kein\w{0,2}|ej|inte|icke|ing(?:a|en|et)|without|ohne|utan)[- ]{1,2}"
    r"(?:(?:an?|the|any|all|in|at|of|for|from|with|is|are|those|patients?|people|persons?|cases|mit|bei|von|für|im|"
    r"de[rmn]|d[ia]e|das|eine?[rsmn]?|hos|med|en|ett|av|i)\s{1,2}){0,3}$"
)
_NO_YEARS = re.compile(rf"\s{{0,2}}{_SHORTER}\b")
_IN_SHORTER = re.compile(
    # "6-week-old", "3 Monate alt", "infants of 6 weeks", "under 3 months": an age, and none in years
    rf"(?<!\w)(?P<op>(?:{'|'.join(_OPS.values())}|aged|im alter von|i åldern|of|von|av|de|di|van)\s{{0,2}})?"
    rf"(?<![\w.,]){_AGED}(?:{_TO}{_AGED})?[- ]?{_SHORTER}"
    r"(?P<old>[- ](?:old|alte?[nrsm]?|gam(?:mal|la|malt)|of age|oud)\b)?(?!\w)"
)
_MOST_UNUSED = 20
_SIGHT = 60  # characters before a limit in which it may be denied
_ADULT, _OLDEST = 18, 99  # a number without a unit that is read as an age; from 100 on it is rather a rate
_COUNTED = re.compile(r"(?:tachy|brady|taky)\w{0,12}$")  # a number behind it is rather a rate
# What a number without a unit counts where it is no age, or the word for its unit.
_UNIT_OF_ELSE = (
    r"(?![\d.,:/]*\d)(?:\s?(?:%|°|/\s?\w{1,6}|(?:[mµu]?s|msec|sec|[mcµu]m|[mµu]v|mmhg|m?mol|hz|bpm|k?g|mg|h|seconds?|"
    r"min(?:utes?)?|hours?|days?|weeks?|months?|tagen?|wochen|monaten?|stunden|(?:per|pro)\s\w{1,12}|a\s(?:day|minute)|"
    r"beats?|leads?|ableitungen|percent|prozent|degrees?|grad|times|episodes?|pvcs?|pacs?|ves|e[ck]gs?)\b))"
)
_LIMIT = "|".join(words for key, words in _OPS.items() if key != "in")
_COMPARES = re.compile(_LIMIT)
_BARE_AGE = re.compile(
    # "60 to 70", "between 60 and 70"
    rf"(?<![\w.,])(?:(?P<between>{_OPS['in']})\s{{0,2}})?(?P<a>\d{{1,4}})"
    rf"(?:\s?[-–—]\s?|\s(?:to|bis|till)\s|\s(?P<and>and|und|och)\s)(?P<b>\d{{1,4}})(?!\w)(?P<unit>{_UNIT_OF_ELSE})?"
    # "over 60", ">80"
    rf"|(?<!\w)(?P<op>{_LIMIT})\s{{0,2}}(?P<c>\d{{1,4}})(?!\w)(?P<unit2>{_UNIT_OF_ELSE})?"
    # "80+"
    r"|(?<![\w.,])(?P<e>\d{2,3})\s?\+(?!\w)"
    # "60", which may be around or from there on
    r"|(?<=\s)(?P<f>\d{2,4})(?=\s?(?:$|[,;)]))"
)
_LEADS_UP = frozenset(
    """
    all everyone everybody anyone alle alla jeder or oder eller
    ages patients patient people persons adults cases those who that are is was age aged in of at and but only just with
    women men woman man nur und aber bei im alter von patienten sind die der mit frauen männer och hos som är i med
    kvinnor män patienter
    """.split()
)


_TENS: Mapping[str, int] = {
    **{word: 10 * n for n, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)},
    **{
        word: 10 * n
        for n, word in enumerate("zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split(), 2)
    },
    **{word: 10 * n for n, word in enumerate("tjugo trettio fyrtio femtio sextio sjuttio åttio nittio".split(), 2)},
}
_ONES = "one two three four five six seven eight nine".split()
_IN_WORDS = re.compile(
    rf"(?:(?<=\s)|^)(?P<tens>{'|'.join(_TENS)})(?:[- ](?P<ones>{'|'.join(_ONES)}))?(?!\w)", re.IGNORECASE
)
_BEFORE_AGE = re.compile(rf"(?:(?<!\w)(?:{'|'.join(_OPS.values())}|aged|ages?|of|to|and|bis|till|und|och|alter)\s)$")
_BEHIND_AGE = re.compile(r"[- ](?:years?|yrs?|jahren?|år|and|or|und|oder|och|to|bis|till)\b", re.IGNORECASE)


def in_figures(text: str) -> str:
    """The text with ages that were written as words in figures; in English with ones, in German and Swedish tens.

    >>> in_figures("LBBB aged over seventy-five"), in_figures("forty winks")
    ('LBBB aged over 75', 'forty winks')
    """

    def figure(match: re.Match[str]) -> str:
        before = text[max(0, match.start() - _SIGHT) : match.start()].lower()
        if _BEFORE_AGE.search(before) is None and _BEHIND_AGE.match(text, match.end()) is None:
            return match.group()
        return str(_TENS[match["tens"].lower()] + (1 + _ONES.index(match["ones"].lower()) if match["ones"] else 0))

    return _IN_WORDS.sub(figure, text)


@dataclass(frozen=True, slots=True)
class Limits:
    """What was found, and the text in which it was found with these places blank.

    Attributes:
        measures: Measured values and their places.
        people: Age and sex and their places.
        unused: What was read and can be no filter, and where.
    """

    measures: tuple[tuple[MeasurePart, int, int], ...]
    people: tuple[tuple[AgePart | SexPart, int, int], ...]
    unused: tuple[tuple[UnusedPart, int, int], ...] = ()

    @property
    def denied(self) -> list[tuple[int, int]]:
        """Places of limits that were denied, the words that deny them included."""
        return [(a, b) for part, a, b in (*self.measures, *self.people, *self.unused) if is_denied(part.text)]


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
    unused: list[tuple[UnusedPart, int, int]] = []
    for pattern in (_MEASURED, _BARE_RATE):
        for match in pattern.finditer(low):
            measured = _measure(match, text)
            if measured is None:
                continue
            start, end = _denied_from(low, match.start()), match.end()
            said = text[start:end].strip()
            # Denied twice is not denied: "not below 60" is one denial, "no rate not below 60" two.
            if (start < match.start()) == (match.groupdict().get("never") is not None):
                measures.append((replace(measured, text=said), start, end))
            elif (measured.low is None) != (measured.high is None):
                turned = replace(
                    measured,
                    low=measured.high,
                    high=measured.low,
                    over=measured.high is not None and not measured.under,
                    under=measured.low is not None and not measured.over,
                    text=said,
                )
                measures.append((turned, start, end))
            else:
                unused.append((UnusedPart(said), start, end))
        low = _blanked(low, [(a, b) for _, a, b in (*measures, *unused)])
    for match in _IN_SHORTER.finditer(low):
        if match["old"] or match["op"]:
            start, end = _denied_from(low, match.start()), match.end()
            unused.append((UnusedPart(text[start:end].strip()), start, end))
            if len(unused) >= _MOST_UNUSED:
                break
    low = _blanked(low, [(a, b) for _, a, b in unused])
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
    spans, kept, left = _persons(low, text, people)
    return Limits(tuple(measures), (*kept, *_sexes(spans, text)), (*unused, *left))


def is_denied(text: str) -> bool:
    """Whether the words of a limit deny it.

    >>> is_denied("not over 60"), is_denied("QRS nicht > 120"), is_denied("over 60")
    (True, True, False)
    """
    return (
        re.search(
            r"\b(?:not?|non|never|nicht|nie|kein\w{0,2}|ej|inte|icke|ing(?:a|en|et)|without|ohne|utan)\b", text.lower()
        )
        is not None
    )


def _denied_from(low: str, start: int) -> int:
    """Where the words begin that deny what begins at a place; that place where none do."""
    begin = max(0, start - _SIGHT)
    found = _DENIES.search(low[begin:start])
    return start if found is None else begin + found.start()


def _other_side(part: AgePart, text: str) -> AgePart | None:
    """The ages that an open limit leaves out; None where it is none."""
    if (part.low is None) == (part.high is None):
        return None
    gap = 0.0 if any(c.isdigit() for c in part.text) else 1.0  # "children" are 17 or younger: others are 18 or older
    if part.low is not None:
        return AgePart(None, part.low - gap, text, under=not part.over and not gap)
    return AgePart((part.high or 0.0) + gap, None, text, over=not part.under and not gap)


def _persons(
    low: str, text: str, ages: Sequence[tuple[AgePart | SexPart, int, int]]
) -> tuple[list[tuple[str, int, int]], list[tuple[AgePart | SexPart, int, int]], list[tuple[UnusedPart, int, int]]]:
    """Sexes that are asked for and their places, ages, and what was denied and has no other side.

    Args:
        low: The text in small letters, measured values blank.
        text: As it was written.
        ages: As they were found, whether denied or not.
    """
    sexes = [
        (sex, *m.span(m.lastgroup or 0))
        for sex, pattern in (("F", _FEMALE), ("M", _MALE))
        for m in pattern.finditer(low)
    ]
    kept_sexes, unused = [], []
    kept: list[tuple[AgePart | SexPart, int, int]] = []
    joined: set[tuple[str, int, int]] = set()
    for part, start, end in ages:
        assert isinstance(part, AgePart)
        in_months = _NO_YEARS.match(low, end)
        if in_months is not None:  # "unter 3 Monaten": ages are kept in years
            unused.append((UnusedPart(text[start : in_months.end()].strip()), start, in_months.end()))
            continue
        begin = _denied_from(low, start)
        beside = [one for one in sexes if one[1] <= end + 1 and start <= one[2] + 1]
        first = min([start, *(a for _, a, _ in beside)])
        before = _denied_from(low, first)
        compares = _COMPARES.match(low, start) is not None
        if before < first and beside and not (compares and first == start):
            # Not these women of this age: men of any age and women of another one, which no single limit says.
            last = max([end, *(b for _, _, b in beside)])
            unused.append((UnusedPart(text[before:last].strip()), before, last))
            joined.update(beside)
        elif begin == start:
            kept.append((part, start, end))
        else:
            said = text[begin:end].strip()
            turned = _other_side(part, said)
            if turned is None:
                unused.append((UnusedPart(said), begin, end))
            else:
                kept.append((turned, begin, end))
    for one in sexes:
        if one not in joined:
            sex, start, end = one
            begin = _denied_from(low, start)
            kept_sexes.append((sex if begin == start else {"F": "M", "M": "F"}[sex], begin, end))
    return kept_sexes, kept, unused


def bare_ages(text: str, named: Sequence[tuple[int, int]], found: Limits) -> Limits:
    """Limits, with numbers without a unit that stand beside a finding, or alone, read as ages ("LBBB over 60").

    Args:
        text: One line.
        named: Places of findings; without any a number is read where nothing but people is spoken of beside it.
        found: Limits of this text.

    Returns:
        The limits with these ages; a number that may be none (a unit stands behind it, it is below 18 or above 99, a
        word that is no finding or a tachycardia stands before it, an age was said beside it) is unused.
    """
    low = "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
    said_before = [(a, b) for _, a, b in (*found.people, *found.unused)]
    if not named and (found.measures or not _alone(_blanked(low, said_before))):
        return _either(text, low, found)
    taken = [(a, b) for _, a, b in (*found.measures, *found.people, *found.unused)] + list(named)
    people, unused = list(found.people), list(found.unused)
    for match in _BARE_AGE.finditer(low):
        start, end = _denied_from(low, match.start()), match.end()
        if any(a < end and start < b for a, b in taken):
            continue
        said, group = text[start:end].strip(), match.groupdict()
        values = [float(group[key]) for key in ("a", "b", "c", "e", "f") if group[key] is not None]
        if group["a"] is not None and (
            (group["and"] is not None and group["between"] is None) or min(values) < _ADULT or min(values) > _OLDEST
        ):
            continue  # "2 to 1 conduction"
        ages = [(part, b) for part, _, b in people if isinstance(part, AgePart)]
        behind = max((b for b in (*(b for _, b in named), *(b for _, b in ages)) if b <= start), default=0)
        beside = start - behind <= _SIGHT and _LEADS_UP.issuperset(re.findall(r"\w+", low[behind:start]))
        if group["f"] is not None and not beside:
            continue
        counted = group["f"] is not None or _COUNTED.search(low[max(0, behind - 40) : behind]) is not None
        is_age = (
            beside
            and not counted
            and not (group["unit"] or group["unit2"])
            and all(_ADULT <= v <= _OLDEST for v in values)
        )
        part: AgePart | None = None
        if is_age:
            if len(values) == 2:
                part = AgePart(min(values), max(values), said)
            else:
                part = _from_or_to(values[0], _direction(group["op"]) if group["op"] is not None else "ge", said)
            if start < match.start():
                part = _other_side(part, said)
        if part is not None and not all(_opposite(part, other) for other, _ in ages):
            part = None  # one age was said already
        if part is None:
            unused.append((UnusedPart(said), start, end))
            if len(unused) >= _MOST_UNUSED:
                break
        else:
            people.append((part, start, end))
    return _either(text, low, Limits(found.measures, tuple(people), tuple(unused)))


def _opposite(one: AgePart, other: AgePart) -> bool:
    """Whether one age is open upwards and the other downwards: "over 50", "under 60"."""
    return (
        (one.low is None) != (one.high is None)
        and (one.low, one.high) != (None, None)
        and ((one.low is None) == (other.low is not None) and (one.high is None) == (other.high is not None))
    )


def _either(text: str, low: str, found: Limits) -> Limits:
    """Limits without two ages that are joined by "or", which no single limit says: "under 50 or over 80"."""
    ages = sorted(((a, b, part) for part, a, b in found.people if isinstance(part, AgePart)), key=itemgetter(0))
    for (a, b, one), (c, d, other) in pairwise(ages):
        if _opposite(one, other) and re.fullmatch(r"\W*(?:years?|jahren?|år)?\W*(?:or|oder|eller)\W*", low[b:c]):
            people = tuple(item for item in found.people if item[1] not in (a, c) or not isinstance(item[0], AgePart))
            return Limits(found.measures, people, (*found.unused, (UnusedPart(text[a:d].strip()), a, d)))
    return found


def _alone(low: str) -> bool:
    """Whether a text compares one number, or two, and says nothing else but of whom."""
    matches = list(_BARE_AGE.finditer(low))
    if not matches or any(match["f"] is not None for match in matches):
        return False
    before = _DENIES.sub(" ", low[: matches[0].start()])
    rest = _blanked(low, [match.span() for match in matches])[matches[0].start() :]
    return _LEADS_UP.issuperset(re.findall(r"\w+", before + rest))


def _blanked(low: str, spans: Sequence[tuple[int, int]]) -> str:
    for start, end in spans:
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
        if slower:
            return MeasurePart("rate_bpm", None, value, shown, under=True)
        return MeasurePart("rate_bpm", value, None, shown, over=True)
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
        return MeasurePart(name, value, None, shown, over=said.get("gt") is not None)
    if said.get("lt") or said.get("le") or said.get("down"):
        return MeasurePart(name, None, value, shown, under=said.get("lt") is not None)
    return MeasurePart(name, value - _NEAR[name], value + _NEAR[name], shown)


def _from_or_to(age: float, op: str, text: str) -> AgePart:
    """Ages on one side of a number; `op` is one of `_OPS`, "gt" and "lt" leave the number itself out."""
    if op in ("lt", "le"):
        return AgePart(None, age, text, under=op == "lt")
    return AgePart(age, None, text, over=op == "gt")


def _direction(op: str) -> str:
    return next((kind for kind in ("gt", "lt", "le", "ge") if re.fullmatch(_OPS[kind], op)), "in")


def _age(match: re.Match[str], text: str) -> AgePart | None:
    said = match.groupdict()
    shown = text[match.start() : match.end()].strip()
    if said["decade"]:
        first = 20.0 + 10.0 * _DECADES.index(said["decade"])
        return AgePart(first, first + 9.0, shown)
    pairs = (("a", "b"), ("c", "d"), ("e", "f"), ("g", "g"), ("h", "k"), ("i", "i"), ("j", "j"))
    first_key, second_key = next(pair for pair in pairs if said[pair[0]] is not None)
    age = _number(said[first_key])
    other = _number(said[second_key]) if first_key != second_key and said[second_key] is not None else None
    if age > 130 or (other is not None and other > 130):
        return None
    if other is not None:
        return AgePart(min(age, other), max(age, other), shown)
    op = _direction(said["op1"] or said["op2"] or said["op3"] or said["op4"] or "")
    beyond = said["rel"] or said["rel2"]  # "60 and over": 60 belongs to it
    if op != "in" or beyond:
        return _from_or_to(age, op if op != "in" else "le" if beyond in _YOUNGER else "ge", shown)
    return AgePart(max(0.0, age - AROUND), age + AROUND, shown)


def _sexes(spans: Sequence[tuple[str, int, int]], text: str) -> tuple[tuple[SexPart, int, int], ...]:
    asked_for = {sex for sex, _, _ in spans}
    if len(asked_for) != 1:
        return ()  # both, or none
    return tuple((SexPart("F" if sex == "F" else "M", text[a:b].strip()), a, b) for sex, a, b in spans)
