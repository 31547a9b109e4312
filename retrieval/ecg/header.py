"""What the header of a vendor's file says beside the samples: who, when, by which machine, with which report.

It travels with a record as `EcgRecord.header` up to the ingest, which makes a case of it. It is not stored with the
samples, and its `repr` shows nothing of a patient.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

_YEAR_FIRST = re.compile(r"(\d{4})[-./\u5e74] ?(\d{1,2})[-./\u6708] ?(\d{1,2})(?!\d)")  # "2020/1/2"
_DIGITS = re.compile(r"(\d{4})[-./]?(\d{2})[-./]?(\d{2})(?:[T\s]{0,4}(\d{2}):?(\d{2})(?::?(\d{2}))?)?")
# Day first, as Europe writes it and WFDB and EDF do: "02.01.2020", "05-May-2020", "2. Januar 2020"; and its clock.
_DAY_FIRST = re.compile(
    r"(\d{1,2})\.?(?:er|\u00ba)?[ \-./]{1,2}(?:de )?(\d{1,2}|[^\W\d_]{3,10})\.?[ \-./]{1,2}(?:del? )?(\d{4})(?!\d)"
)
_MONTH_FIRST = re.compile(r"([^\W\d_]{3,9})\.?[ ]{1,3}(\d{1,2}),?[ ]{1,3}(\d{4})(?!\d)")  # "Jan 2, 1980"
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_HALF_DAY = re.compile(r"\d[ \u00a0\u202f]{0,2}([ap])\.?m\b", re.IGNORECASE)  # "10:30 PM", "10:30 p.m."
LATEST_YEAR = 2299
"""Dates of MIMIC are moved into the years 2100 to 2212; what is later is no date, or one of another calendar."""
_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan january januar januari janvier janv enero ene gennaio gen janeiro",
            "feb february februar februari février fevr févr febrero febbraio fevereiro fev",
            "mar march mär märz mrz mars maart mrt marzo março", "apr april avril avr abril abr aprile",
            "may mai maj mei mayo maggio mag maio", "jun june juni juin junio giugno giu junho",
            "jul july juli juillet juil julio luglio lug julho", "aug august augusti augustus août aout agosto ago",
            "sep sept september septembre septiembre settembre setembro set",
            "oct october okt oktober octobre octubre ottobre ott outubro out",
            "nov november novembre noviembre novembro",
            "dec december dez dezember décembre déc diciembre dic dicembre dezembro",
        ),
        1,
    )
    for name in names.split()
}  # fmt: skip
_SEXES = {
    **dict.fromkeys(
        "f female w weiblich woman frau femme feminin féminin mujer femenino femenina "
        "donna femmina femminile mulher "
        "weibl mme mlle madame mrs "
        "feminino feminina vrouw vrouwelijk kvinna kvinnlig kvinde kobieta žena женский "
        "жен ж 女 女性 여".split(),
        "F",
    ),
    **dict.fromkeys(
        "m male männl herr monsieur männlich maennlich man mann homme masculin hombre "
        "masculino varón varon uomo maschio maschile homem "
        "mannelijk manlig mand mężczyzna muž мужской муж м 男 男性 남".split(),
        "M",
    ),
}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_LONGEST_DATE = 40
LONGEST_REPORT = 20_000
"""Characters of a report that are kept: ten times the longest statement list of a cart."""
OLDEST_YEARS = 150.0
OVER_89 = 90.0
"""What an age above 89 is given as: such ages are one in de-identified data (45 CFR 164.514(b)(2)(i)(C))."""
_PTBXL_OVER_89 = 300.0  # what PTB-XL, and data made from it, write for patients above 89
_AGE = re.compile(
    r"(>=|>|\u2265|over|über)?[ \t]{0,20}(\d{1,3}(?:[.,]\d{1,15})?)[ \t]{0,20}(\+|[^\W\d_]{1,12})?", re.IGNORECASE
)
_MORE_DIGITS = re.compile(r"[.,:]?\d|[ \t]{0,3}[-\u2013/][ \t]{0,3}\d")  # "60-70", "1/2", "1e2", "1234": no age
_ABOUT = re.compile(
    r"\A(?:~|\u2248|(?:ca|circa|approx|approximately|about|etwa|ungef\u00e4hr|env|environ)\b\.?)[ ]{0,3}", re.IGNORECASE
)
_AND_PARTS = re.compile(r"[ \t,]{0,3}(?:(?:and|und|et|y|e|en|och) )?(\d{1,3})[ \t]{0,3}([^\W\d_]{1,12})", re.IGNORECASE)
_YEARS_PER = {
    **dict.fromkeys("y ys yr yrs year years j jahr jahre jahren yo a an ans año años anno anni år jaar".split(), 1.0),
    **dict.fromkeys(
        "m mo mos mon month months monat monate monaten mois mån månad månader mese mesi mes meses maand "
        "maanden".split(),
        1 / 12,
    ),
    **dict.fromkeys(
        "w wk wks week weeks woche wochen vecka veckor semaine semaines settimana settimane semana semanas".split(),
        7 / 365.25,
    ),
    **dict.fromkeys(
        "d dy day days t tag tage tagen dag dagar dagen jour jours giorno giorni día dia días dias".split(), 1 / 365.25
    ),
    **dict.fromkeys(
        "h hr hrs hour hours std stunde stunden timme timmar heure heures ora ore hora horas uur".split(), 1 / 8766
    ),
}
# "69 sex: M", "54 year-old", "60 weiblich": what may follow a number of years that has no unit.
_NO_UNIT = frozenset("old alt sex gender f w male female mann frau männlich weiblich homme femme man kvinna".split())


@dataclass(frozen=True, slots=True)
class SourceHeader:
    """What a file says about its ECG.

    Attributes:
        format: Format with its version, "SCP-ECG 2.0".
        patient_name: As written; "" where it does not say.
        birth_date, recorded_at: ISO date, or date and time; None where it does not say.
        report: Statements of the machine or the reader, one a line.
        labels: Statement code (one of the 71) to likelihood in percent, where the file codes its findings.
        codes: Codes of findings as the file gives them, "SNOMED:426783006".
        measurements: rate_bpm, pr_ms, qrs_ms, qt_ms, qtc_ms as the machine measured them.
        device: Maker, model and software.
        filters: High pass, low pass, notch, in words.
        people: Other names in the header: physicians, technicians, institutions.
        identifiers: Other identifiers of the patient or the order: admission, accession, second id.
    """

    format: str
    patient_name: str = field(default="", repr=False)
    birth_date: str | None = field(default=None, repr=False)
    recorded_at: str | None = field(default=None, repr=False)
    report: str = field(default="", repr=False)
    labels: Mapping[str, float] = field(default_factory=dict, repr=False)
    codes: tuple[str, ...] = ()
    measurements: Mapping[str, float] = field(default_factory=dict, repr=False)
    device: str = ""
    filters: str = ""
    people: tuple[str, ...] = field(default=(), repr=False)
    identifiers: tuple[str, ...] = field(default=(), repr=False)


def plain_text(text: str, limit: int = 200) -> str:
    """A field of a header on one line, without control characters, at most `limit` characters.

    Args:
        text: As the file gives it.
        limit: Most characters.

    Returns:
        One line, runs of white space squeezed to one blank.

    >>> plain_text("  ELI250\\x00\\x00 rev\\n2 ")
    'ELI250 rev 2'
    """
    return " ".join(_CONTROL.sub(" ", text).split())[:limit]


def report_lines(lines: list[str]) -> str:
    """Statements as one report: a line each, empty ones left out, at most `LONGEST_REPORT` characters."""
    return "\n".join(filter(None, (plain_text(line, 500) for line in lines)))[:LONGEST_REPORT]


def iso_time(text: str, clock: str = "", *, day_first: bool = False) -> str | None:
    """A date, with its time where there is one, as ISO text; None for what is no date.

    Args:
        text: "20021122091000.000", "2011-12-01", "2011-12-01 07:27:34", "05-May-2020 09:49:17", "02.01.2020". Of
            "03/04/2020" nobody knows which is the day: that is no date, "25/04/2020" is one.
        clock: The time of day where it stands in a field of its own: "072734" or "07:27:34".
        day_first: The format itself says that "03/04/2020" is the third of April.

    Returns:
        "2011-12-01", "2011-12-01T07:27:34", or None.

    >>> iso_time("20021122091000.000"), iso_time("2011-12-01", "07:27:34"), iso_time("432432")
    ('2002-11-22T09:10:00', '2011-12-01T07:27:34', None)
    >>> iso_time("2020-01-02 10:30 PM"), iso_time("2563-01-02")
    ('2020-01-02T22:30:00', None)
    """
    text, clock = text.strip()[:_LONGEST_DATE], clock.strip()[:_LONGEST_DATE]
    found = _time_in(text, clock, day_first)
    if found is None or int(found[:4]) > LATEST_YEAR:
        return None
    half = _HALF_DAY.search(clock or text)
    if half is None or len(found) < len("2020-01-02T10"):
        return found
    hour = int(found[11:13])
    if not 1 <= hour <= 12:
        return found  # "22:30 PM"
    return f"{found[:11]}{hour % 12 + 12 * (half[1] in 'pP'):02}{found[13:]}"


def _time_in(text: str, clock: str, day_first: bool) -> str | None:
    """`iso_time` by the clock of 24 hours."""
    match = _DIGITS.match(f"{text}T{clock}" if clock else text)
    if match is None and (shorter := _YEAR_FIRST.match(text)) is not None:
        year, month, day = shorter.groups()
        return _time_in(f"{year}-{month:0>2}-{day:0>2}{text[shorter.end() :].lstrip(chr(0x65E5))}", clock, False)
    if match is None:
        return _day_first(text, clock, day_first)
    year, month, day, hour, minute, second = match.groups()
    try:
        if hour is None:
            return date(int(year), int(month), int(day)).isoformat()
        return datetime(int(year), int(month), int(day), int(hour), int(minute), int(second or 0)).isoformat()
    except ValueError:
        return None


def _day_first(text: str, clock: str, sure: bool) -> str | None:
    match = _DAY_FIRST.search(text)
    if match is not None:
        day, month, year = match.groups()
    else:
        match = _MONTH_FIRST.search(text)
        if match is None:
            return None
        month, day, year = match.groups()
    number = int(month) if month.isdigit() else _MONTHS.get(month.lower(), 0)
    if "/" in match.group() and month.isdigit() and not sure:
        if int(day) <= 12 and number <= 12 and int(day) != number:
            return None  # American or European
        if int(day) <= 12:
            day, number = str(number), int(day)
    time = _CLOCK.search(clock or text[: match.start()] + " " + text[match.end() :])
    try:
        on = date(int(year), number, int(day))
        if time is None:
            return on.isoformat()
        hour, minute, second = (int(part or 0) for part in time.groups())
        return datetime(on.year, on.month, on.day, hour, minute, second).isoformat()
    except ValueError:
        return None


def age_of(text: str, unit: str = "") -> float | None:
    """Age in years from what a file or a table says; None where it says none, or none that can be.

    Args:
        text: "54", "054Y", "3 months", "8 Tage", ">89", "90+". 300 stands for ages above 89, as in PTB-XL.
        unit: Where it stands in a field of its own: "YEARS", "M".

    Returns:
        Years, or None.

    >>> age_of("54"), age_of("3 months"), age_of(">89"), age_of("300"), age_of("200"), age_of("60-70")
    (54.0, 0.25, 90.0, 90.0, None, None)
    """
    text = _ABOUT.sub("", text.strip()).replace(" \u00bd", ".5").replace("\u00bd", ".5")
    text = text[1:] if text[:1] in "Pp" and text[1:2].isdigit() else text  # ISO 8601: "P3M"
    match = _AGE.match(text)
    if match is None:
        return None
    if _MORE_DIGITS.match(text, match.end()) and not (match[3] and _AND_PARTS.match(text, match.end())):
        return None  # "1y6m" goes on
    above, digits, word = match.groups()
    per = _YEARS_PER.get((unit or ("" if word == "+" else word) or "y").strip().lower())
    if per is None and not unit and (word.lower() in _NO_UNIT or text[match.end() :].lstrip()[:1] in (":", "=")):
        per = 1.0
    if per is None:  # a unit that is not known, of years or of days
        return None
    years = float(digits.replace(",", ".")) * per
    at = match.end()
    while per < 1.01 and (more := _AND_PARTS.match(text, at)) is not None:  # "1 year 6 months", "2y 3m"
        part = _YEARS_PER.get(more[2].lower())
        if part is None or part >= per:
            break
        years, per, at = years + float(more[1]) * part, part, more.end()
    if above or word == "+":
        return OVER_89 if years >= OVER_89 - 1 else None  # a bound is no age
    if years == _PTBXL_OVER_89:
        return OVER_89
    return plausible_age(years)


def age_at(birth_date: str | None, recorded_at: str | None) -> float | None:
    """Whole years between two ISO dates, None where one is missing or the result is no age.

    Args:
        birth_date: ISO date, or date and time.
        recorded_at: The same of the recording.

    Returns:
        Years, or None.

    >>> age_at("1953-05-08", "2002-11-22T09:10:00"), age_at("1953-05-08", None)
    (49.0, None)
    """
    if birth_date is None or recorded_at is None:
        return None
    born, then = date.fromisoformat(birth_date[:10]), date.fromisoformat(recorded_at[:10])
    return plausible_age(then.year - born.year - ((then.month, then.day) < (born.month, born.day)))


def plausible_age(years: float) -> float | None:
    """The age where it can be one.

    >>> plausible_age(54), plausible_age(-1), plausible_age(300)
    (54.0, None, None)
    """
    return float(years) if math.isfinite(years) and 0 <= years <= OLDEST_YEARS else None


def sex_of(text: str) -> str | None:
    """ "F" or "M" from what files write; None for everything else.

    >>> sex_of("Female"), sex_of(" m "), sex_of("UN"), sex_of("männlich")
    ('F', 'M', None, 'M')
    """
    return _SEXES.get(text.strip().lower().rstrip("."))


def number(text: str | None) -> float | None:
    """A finite number from a field, None for anything else ("Failed", "", "---").

    >>> number(" 2.5 "), number("Failed"), number("nan"), number(None)
    (2.5, None, None, None)
    """
    try:
        value = float((text or "").strip())
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def band(high_pass_hz: float | None, low_pass_hz: float | None, *notch: float | str | None) -> str:
    """Filters in words; "" where none is known.

    Args:
        high_pass_hz: Corner frequency; None or 0 where it is unknown.
        low_pass_hz: The same.
        notch: Frequencies in Hz, or words.

    Returns:
        "0.05 to 150 Hz, notch 60 Hz".

    >>> band(0.05, 150, 60), band(None, 40, None)
    ('0.05 to 150 Hz, notch 60 Hz', 'up to 40 Hz')
    """
    parts = []
    if high_pass_hz and low_pass_hz:
        parts.append(f"{high_pass_hz:g} to {low_pass_hz:g} Hz")
    elif low_pass_hz:
        parts.append(f"up to {low_pass_hz:g} Hz")
    elif high_pass_hz:
        parts.append(f"from {high_pass_hz:g} Hz")
    named = [f"{n:g} Hz" if isinstance(n, float | int) else n for n in notch if n]
    if named:
        parts.append("notch " + " and ".join(named))
    return ", ".join(parts)


def scale_note(form: str, step_uv: float | list[float], fs_hz: float, filters: str) -> str:
    """What the samples are, as a note of the record.

    Args:
        form: Format with its version.
        step_uv: Size of a step in microvolts, or of each channel's.
        fs_hz: Samples a second.
        filters: Of `band`.

    Returns:
        The note.

    >>> scale_note("SCP-ECG 2.0", 2.5, 500.0, "0.05 to 150 Hz")
    'SCP-ECG 2.0: steps of 2.5 uV, 500 Hz, filters 0.05 to 150 Hz'
    >>> scale_note("EDF", [1.0, 4.88], 500.0, "")
    'EDF: steps of 1 to 4.88 uV, 500 Hz, filters not stated'
    """
    steps = [step_uv] if isinstance(step_uv, float | int) else step_uv
    low, high = min(steps), max(steps)
    size = f"{low:g}" if math.isclose(low, high) else f"{low:g} to {high:g}"
    return f"{form}: steps of {size} uV, {fs_hz:g} Hz, filters {filters or 'not stated'}"
