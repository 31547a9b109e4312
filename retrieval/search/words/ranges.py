"""Limits in words: measured values ("QRS > 120 ms"), age ("over 60", "65-jährig") and sex, in three languages.

All repetitions in the patterns are bounded: the time they take grows with the length of the text and no faster.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ecgkin.retrieval.search.words.parts import AgePart, Measure, MeasurePart, SexPart

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
