"""What the lines of words before a table of numbers state: its sampling rate, and how many millivolts a number is.

Nothing is chosen in silence. Two different rates in the same lines, a rate before and after resampling, a range, a
filter's frequency behind the word for a rate, or a scale that is half understood are errors, with what to do about it.

>>> stated_rate(["# 12 leads, sampling rate: 0.5 kHz, filter 0.05-150 Hz"]), stated_scale(["# resolution 4.88 uV/LSB"])
(500.0, (0.00488, '4.88 uV'))
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ecgkin.retrieval.ecg.assemble import millivolts_per
from ecgkin.retrieval.errors import RecordError

RATE_HINT = "say the samples a second: --fs 500 (fs_hz in Python and the API, column fs in cases.csv)"
UNITS_HINT = "say the unit: --units mV (units in Python and the API)"
_LONGEST_LINE = 300
_SLOWEST_HZ, _FASTEST_HZ = 20.0, 50_000.0
"""Between these lies what a stated rate can be; it tells thousands from decimals in "1,000 Hz" and "0,25 kHz"."""

_RATE_WORDS = re.compile(
    r"(?:sampl[a-z]{0,6}[ _-]{0,3}(?:rate|freq[a-z]{0,6})|abtastrate|abtastfrequenz|messrate|\bfs(?:_hz)?\b|"
    r"fr[e\u00e9]quence d[ '\u2019]?[e\u00e9]chantillonnage|^[#%;/\s]{0,9}hz(?= ?[:=] ?\d)|"
    r"frecuencia de muestreo|frequenza di campionamento|"
    r"frequ[e\u00ea]ncia de amostragem|(?:bemonsterings|sample)frequentie|samplingsfrekvens|"
    r"частота дискретизации|采样率|采样频率)|"
    r"(?P<interval>sampl[a-z]{0,6}[ _-]{0,3}(?:interval|period|time|distance)|abtastintervall|\bdt\b)",
    re.IGNORECASE,
)
_HZ_UNITS = r"khz|mhz|hz|hertz|1/s|1?/min|sps|(?:samples?|smp|sa|s) ?(?:/|per) ?s(?:ec(?:onds?)?)?"
_S_UNITS = r"msec|milliseconds?|millisekunden|ms|us|\u00b5s|\u03bcs|microseconds?|seconds?|sekunden|sec|s"
# "500 samples/s", "250 sps": the amount comes first.
_PER_SECOND = re.compile(
    r"(?<![\w.,])(\d{1,6}(?:[.,]\d{1,6})?) ?(?:(?:samples?|smp|sa|s) ?(?:/|per) ?s(?:ec(?:onds?)?)?|sps)\b",
    re.IGNORECASE,
)
# Blanks and apostrophes between thousands: "1 000 Hz", "1'000 Hz".
_GROUPED = re.compile(
    r"(?<![\d.,])(\d{1,3})(?:['\u2019\u00a0\u202f]|[ ](?=\d{3} ?(?:hz|hertz)))(\d{3})(?!\d)", re.IGNORECASE
)
_DIGITS = r"((?:\d|(?<![\w\"'])[.,]\d)[\d.,]{0,14})(?![\d.,]|[ ]?[x\u00d7*][ ]?\d)(?:e([+-]?\d{1,2}))?"
_AMOUNT = re.compile(
    rf"\D{{0,20}}?{_DIGITS}[ _]{{0,3}}(?:({_HZ_UNITS}|{_S_UNITS})(?![a-z/]))?",
    re.IGNORECASE,
)
# A unit that stands before its number: "sampling rate (kHz): 0.5", "sampling_interval_ms=10".
_UNIT_BEFORE = re.compile(rf"[ _]{{0,3}}[(\[ _]({_HZ_UNITS}|{_S_UNITS})\b[)\]]?", re.IGNORECASE)
# Amounts of hertz anywhere in a line, for second rates beside the first.
_HERTZ = re.compile(rf"{_DIGITS}[ _]{{0,3}}(khz|mhz|hz|hertz|sps|samples?/s)(?![a-z/])", re.IGNORECASE)
_FILTER = re.compile(
    r"filt|\bpass|pass\b|pa(?:ss|\u00df)|notch|cut ?-?off|band|grenzf|coupure|corte|taglio|hum\b|brumm|mains|"
    r"netz|baseline|muscle|\bemg\b|drift|\bac\b|\u0444\u0438\u043b\u044c\u0442\u0440|\u6ee4\u6ce2",
    re.IGNORECASE,
)
# Of a rate that need not be that of the numbers below, or not of one lead.
_ANOTHER = re.compile(
    r"\b(?:total|aggregate|overall|combined|gesamt\w{0,12}|original\w{0,6}|native|adc|a/d|hardware|internal|nominal|"
    r"urspr\w{1,12}|initial\w{0,4}|before|previous\w{0,3})\b",
    re.IGNORECASE,
)
_CHANGED = re.compile(
    r"(?:re|down|up|sub|over)-?sampl(?!ing (?:rate|freq)[^,;]{0,12}\d)|decimat|dezimi|interpol|"
    r"r[e\u00e9]-?[e\u00e9]chantillonn|heruntergerechnet|umgerechnet|\bdisplay|"
    # samples that were left out: "every 5th sample kept", "jeder zweite Wert", "un point sur deux"
    r"\b(?:every|each) (?:\d{1,4}(?:st|nd|rd|th)|other|second|third|fourth|fifth|eighth|tenth) "
    r"(?:sample|point|value|row)|"
    r"\bjede[rsn]? (?:\d{1,4}\.|zweite|dritte|vierte|f\u00fcnfte|achte|zehnte)[rsn]? ?(?:abtast|mess|wert|punkt|zeile|"
    r"sample)|\bun (?:\u00e9chantillon|point|sur) ?(?:sur )?(?:deux|trois|quatre|cinq|dix|\d)|\bvar(?:t|je) "
    r"(?:\d{1,4}|andra|tredje|femte|tionde):?e? (?:v\u00e4rde|sampel)|\bthinned|ausged\u00fcnnt|"
    r"(?:samples?|points?|values?) (?:skipped|dropped|left out|omitted)",
    re.IGNORECASE,
)
_NO_RATE = re.compile(
    r"[ _]{0,3}(?:bits?|bpm|mm|cm|[munμµ]v|%|db|bauds?|kbps|channels?|leads?|kan\u00e4le)\b", re.IGNORECASE
)
_MORE = re.compile(r"[ ]{0,2}(?:[-\u2013\u2212/]|to|bis|or|oder|\.\.)[ ]{0,2}\d")
_BAND = re.compile(r"\d[ ]{0,2}(?:hz|khz)?[ ]{0,2}(?:[-\u2013\u2212]|to|bis)[ ]{0,2}\Z", re.IGNORECASE)
_ASIDE = re.compile(r"\A[ ]{0,3}[(\[][^()\[\]]{0,40}[)\]]")  # "sampling rate (per lead): 500"
_PART = re.compile(r"[;|()\t]|[,.:](?=\s)|\s{3,}")
# Hz, or seconds from sample to sample where the unit is one of time.
_HZ_PER = {"khz": 1000.0, "/min": 1 / 60, "1/min": 1 / 60}
_MICRO = frozenset({"us", "\u00b5s", "\u03bcs", "microsecond", "microseconds"})
_MILLI = frozenset({"ms", "msec", "millisecond", "milliseconds", "millisekunden"})
_SECOND = frozenset({"s", "sec", "second", "seconds", "sekunden"})

_VOLTS = r"(?:(?:milli|mikro|micro|nano)volts?|volts?|[mnu\u00b5\u03bc]v|v)"
_NUMBER = r"(\d{1,9}(?:[.,]\d{1,9})?(?:e[+-]?\d{1,2})?)"
_COUNT = r"(?:lsb|bit|bits|counts?|cnts?|digits?|adu|adc units?|units?|steps?|samples?|einheit|schritt|d?iv)"
# "4.88 uV/LSB", "2,5 µV pro Bit", "5 uV per count"
_EACH = re.compile(rf"(?<![\w.,]){_NUMBER} ?({_VOLTS}) ?(?:/|per|pro|par|por|je) ?{_COUNT}\b", re.IGNORECASE)
# "200 adu/mV", "1000 counts per mV"
_COUNTS = re.compile(rf"(?<![\w.,]){_NUMBER} ?(?:{_COUNT} ?)?(?:/|per|pro) ?({_VOLTS})\b", re.IGNORECASE)
# "Unit: 10 uV", "Einheit: Mikrovolt", "Amplitude in microvolts", "resolution = 5 uV"
_UNIT = re.compile(
    r"\b(?:units?|einheit(?:en)?|unit\u00e9s?|unidad(?:es)?|unidades?|unit\u00e0|enhet|eenheid|amplituden?|amplitudes?|values?|"
    r"werte|voltages?|data|scal(?:e|ing)|skalierung|resolution|avm|value multiplier|"
    r"aufl\u00f6sung|r\u00e9solution|lsb|quantum|step size)\b"
    rf"[^\d;,|]{{0,25}}?(?:{_NUMBER} ?|\b)({_VOLTS})(?![\w/])",
    re.IGNORECASE,
)
# "1 mV = 200", "1 mV corresponds to 200 counts"; "200 counts = 1 mV". Millimetres are those of paper.
_IS = r"(?:=|\u2259|\u2258|:|is|equals|corresponds to|entspricht|correspond \u00e0|motsvarar|->)"
_VOLTS_ARE = re.compile(
    rf"(?<![\w.,]){_NUMBER} ?({_VOLTS}) ?{_IS} ?{_NUMBER}(?![\d.,]|e[+-]?\d)(?! ?(?:{_VOLTS}|mm|cm|k?hz|s|ms|%)\b)",
    re.IGNORECASE,
)
_ARE_VOLTS = re.compile(rf"(?<![\w.,]){_NUMBER} ?(?:{_COUNT} ?)?{_IS} ?{_NUMBER} ?({_VOLTS})(?![\w/])", re.IGNORECASE)
# A gain that is a bare number, of an amplifier or of the numbers below.
_BARE_GAIN = re.compile(
    r"\b(?:adc[ _]?)?(?:gain|verst\u00e4rkung|lsb|scale(?: factor)?|scaling(?: factor)?|skalierung|amplification)\b"
    rf"[ ]{{0,2}}(?:[:=]|is|of)?[ ]{{0,2}}(?:[x\u00d7] ?)?{_NUMBER}(?![\d.,])(?! ?(?:mm|cm|%|db))",
    re.IGNORECASE,
)


def stated_rate(lines: Sequence[str], where: str = "the table") -> float | None:
    """The sampling rate in Hz that lines of words state, None where none does.

    Args:
        lines: The first lines of a table.
        where: File name for messages.

    Returns:
        Hz, or None.

    Raises:
        RecordError: It may be read as two rates, or it is not clear that it is the rate of the numbers below.

    >>> stated_rate(["# sampling rate: 0.25 kHz"]), stated_rate(["fs = 1,000 Hz"]), stated_rate(["Abtastrate 0,5 kHz"])
    (250.0, 1000.0, 500.0)
    >>> stated_rate(["sampling rate: 5e2 Hz"]), stated_rate(["sample rate .5 kHz"]), stated_rate(["Sample rate: 2 ms"])
    (500.0, 500.0, 500.0)
    """
    stated: list[float] = []
    unclear: list[tuple[float, str]] = []
    changed = ""
    for line in lines:
        line = _GROUPED.sub(r"\1\2", line[:_LONGEST_LINE])
        found, doubtful = _rates_of(line, where)
        stated += found
        unclear += doubtful
        change = _CHANGED.search(line)
        if change is not None and not any(hz.start() > change.start() for hz in _HERTZ.finditer(line)):
            changed = changed or line
    several = list(dict.fromkeys(round(rate, 6) for rate in [*stated, *(rate for rate, _ in unclear)]))
    if len(several) > 1:
        choices = " and ".join(f"{rate:g} Hz" for rate in several)
        raise RecordError(f"{where} states several sampling rates: {choices}", hint=RATE_HINT)
    if (unclear and not stated) or (several and changed):
        words = (changed or unclear[0][1]).strip(" #\t")[:60]
        raise RecordError(f"{where}: is {words!r} the sampling rate of the numbers below?", hint=RATE_HINT)
    return stated[0] if stated else None


def _rates_of(line: str, where: str) -> tuple[list[float], list[tuple[float, str]]]:
    """The rates that one line states, Hz, and those that need not be of the numbers below, with their words."""
    words = [(word, amount) for word in _RATE_WORDS.finditer(line) if (amount := _AMOUNT.match(line, word.end()))]
    if not words:
        counted = _PER_SECOND.search(line)
        first = [] if counted is None else [float(counted[1].replace(",", "."))]
        return (first + _others(line, ())) if first or _CHANGED.search(line) else [], []
    rates: list[float] = []
    unclear: list[tuple[float, str]] = []
    for word, amount in words:
        begin = max((part.end() for part in _PART.finditer(line, 0, word.start())), default=0)
        between, own = line[word.end() : amount.start(1)], line[begin : amount.end()]
        if _PART.search(_ASIDE.sub("", between).strip(" :=|;(),-\u2212")) and not _UNIT_BEFORE.match(between):
            continue  # the number belongs to what is said next
        negative = re.search(r"(?:^|[\s:=])[-\u2212]\Z", between) is not None
        rate = _worded_rate(word, amount, between, where)
        if rate is None:
            continue
        if (
            negative
            or _MORE.match(line, amount.end(1))
            or _MORE.match(line, amount.end())
            or (amount[3] is None and _NO_RATE.match(line, amount.end(1)))
            or _FILTER.search(line, begin, word.start())
            or _FILTER.search(between)
        ):
            raise RecordError(
                f"{where}: {line[begin : amount.end() + 12].strip(' #')[:60]!r} is no sampling rate", hint=RATE_HINT
            )
        if _ANOTHER.search(own):
            unclear.append((rate, own))
        else:
            rates.append(rate)
    return rates + _others(line, [amount.span(1) for _, amount in words]), unclear


def _others(line: str, taken: Sequence[tuple[int, int]]) -> list[float]:
    """Amounts of hertz in a line beside those that are known, without those of filters and bands."""
    found: list[float] = []
    last = 0
    for amount in _HERTZ.finditer(line):
        before, last = line[last : amount.start()], amount.end()
        if any(start < amount.end(1) and amount.start(1) < end for start, end in taken):
            continue
        behind = _PART.split(line[amount.end() : amount.end() + 20], maxsplit=1)[0]
        if _BAND.search(before) or _MORE.match(line, amount.end()) or _FILTER.search(before) or _FILTER.search(behind):
            continue
        rates = {_hz(amount[3], value * 10.0 ** int(amount[2] or 0)) for value in _readings(amount[1].rstrip(".,"))}
        likely = {rate for rate in rates if _SLOWEST_HZ <= rate <= _FASTEST_HZ}
        found += sorted(likely)[:1] if len(likely) == 1 else []
    return found


def _hz(unit: str, value: float) -> float:
    """A frequency in Hz; "mHz" and "MHz" by their capitals, of which other spellings leave one that can be."""
    if unit.lower() == "mhz":
        milli, mega = value * 1e-3, value * 1e6
        if unit[0] == "M" and unit != "MHZ":
            return mega
        return milli if unit == "mHz" or _SLOWEST_HZ <= milli <= _FASTEST_HZ else mega
    return _HZ_PER.get(unit.lower(), 1.0) * value


def _worded_rate(word: re.Match[str], amount: re.Match[str], between: str, where: str) -> float | None:
    """The rate that an amount behind a word for it states, Hz; None where it states none.

    Raises:
        RecordError: It may be read as two rates.
    """
    digits, exponent, unit = amount.groups()
    ahead = _UNIT_BEFORE.match(between)
    unit = unit or (ahead[1] if ahead is not None else "")
    low = unit.lower()
    values = {value * 10.0 ** int(exponent or 0) for value in _readings(digits.rstrip(".,"))}
    if low in _MILLI or low in _MICRO or (low in _SECOND and word["interval"] is not None):
        step = 1e-3 if low in _MILLI else 1e-6 if low in _MICRO else 1.0
        rates = {1.0 / (step * value) for value in values if value > 0}
    elif word["interval"] is not None:
        if low:
            return None
        # Seconds where that gives a rate that can be; otherwise samples, or it does not say.
        rates = {1.0 / value for value in values if value > 0 and _SLOWEST_HZ <= 1.0 / value <= _FASTEST_HZ}
    else:
        rates = {_hz(unit, value) for value in values}
    likely = {rate for rate in rates if _SLOWEST_HZ <= rate <= _FASTEST_HZ}
    if not likely and word["interval"] is not None:
        return None  # "sampling time: 10 s" is how long it lasts
    likely = likely or rates
    if len(likely) > 1:
        choices = " or ".join(f"{rate:g} Hz" for rate in sorted(likely))
        raise RecordError(f"{where}: the sampling rate {amount.group(1)!r} may be {choices}", hint=RATE_HINT)
    return likely.pop() if likely else None


def _readings(digits: str) -> set[float]:
    """What "1,000" or "1.000" may mean: a thousand, or one."""
    marks = [c for c in digits if c in ".,"]
    if not marks:
        return {float(digits)}
    last = marks[-1]
    other = "," if last == "." else "."
    found = set()
    whole, _, rest = digits.rpartition(last)
    if marks.count(last) == 1:
        found.add(float(f"{whole.replace(other, '') or '0'}.{rest or '0'}"))
    if len(rest) == 3 and other not in marks and whole.lstrip("0"):
        found.add(float(digits.replace(last, "")))
    return found


def stated_scale(lines: Sequence[str], where: str = "the table") -> tuple[float, str] | None:
    """How many mV a number of the table is, as lines of words state it, and in which words.

    Args:
        lines: The first lines of a table.
        where: File name for messages.

    Returns:
        mV and the words; None where no line states a unit, a resolution or a gain.

    Raises:
        RecordError: Two lines state different ones, or a gain has no unit.

    >>> stated_scale(["# gain 200 adu/mV"]), stated_scale(["Einheit: Mikrovolt"]), stated_scale(["gain 10 mm/mV"])
    ((0.005, '200 adu/mV'), (0.001, 'Mikrovolt'), None)
    """
    found: dict[float, str] = {}
    bare = ""
    for line in lines:
        line = line[:_LONGEST_LINE]
        each = [(_millivolts(m[1], m[2]), m[0]) for m in _EACH.finditer(line)]
        each += [
            (1.0 / max(_millivolts(m[1], "mV"), 1e-30) * _millivolts("1", m[2]), m[0]) for m in _COUNTS.finditer(line)
        ]
        for said, volts, unit, steps in [
            *((m[0], m[1], m[2], m[3]) for m in _VOLTS_ARE.finditer(line)),
            *((m[0], m[2], m[3], m[1]) for m in _ARE_VOLTS.finditer(line)),
        ]:
            each.append((_millivolts(volts, unit) / max(_millivolts(steps, "mV"), 1e-30), said))
        if not each:
            each = [
                (_millivolts(m[1] or "1", m[2]), m[0][m.start(1 if m[1] else 2) - m.start() :])
                for m in _UNIT.finditer(line)
            ]
        if not each and (gain := _BARE_GAIN.search(line)) is not None and float(gain[1].replace(",", ".")) != 1.0:
            bare = bare or gain[0]
        for factor, words in each:
            found.setdefault(
                float(f"{factor:.6g}"), re.split(r" ?(?:/|per|pro) ?(?=\D)", words)[0] if _EACH.match(words) else words
            )
    if len(found) > 1:
        raise RecordError(f"{where} states several scales: {' and '.join(found.values())}", hint=UNITS_HINT)
    if bare and not found:
        raise RecordError(f"{where}: {bare!r} does not say how many mV a number is", hint=UNITS_HINT)
    return next(iter(found.items()), None)


def _millivolts(number: str, unit: str) -> float:
    spelled = unit.lower().replace("mikro", "micro")
    spelled = "nv" if spelled.startswith("nano") else spelled
    return float(number.replace(",", ".")) * (millivolts_per(spelled) or 1.0)
