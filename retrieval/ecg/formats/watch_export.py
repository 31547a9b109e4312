"""The ECG that a watch exports as CSV (Apple Health): facts as "word, value", then one number a line."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass

from ecgkin.retrieval.ecg.assemble import MAX_SAMPLES
from ecgkin.retrieval.ecg.header import SourceHeader, age_at, iso_time, plain_text
from ecgkin.retrieval.ecg.leads import canonical_lead
from ecgkin.retrieval.errors import RecordError

_MAX_FACTS = 40
_LONGEST_LINE = 300
# The words of the export in English, German, French, Spanish and Italian, in small letters.
_WORDS: dict[str, str] = {
    **dict.fromkeys(("name", "nom", "nombre", "nome"), "name"),
    **dict.fromkeys(
        ("date of birth", "geburtsdatum", "date de naissance", "fecha de nacimiento", "data di nascita"), "birth"
    ),
    **dict.fromkeys(
        (
            *("recorded date", "aufzeichnungsdatum", "aufgezeichnetes datum", "aufgezeichnet am"),
            *(
                "date d\u2019enregistrement",
                "date d'enregistrement",
                "fecha de grabaci\u00f3n",
                "data di registrazione",
            ),
        ),
        "recorded",
    ),
    **dict.fromkeys(
        ("classification", "klassifizierung", "klassifikation", "clasificaci\u00f3n", "classificazione"), "finding"
    ),
    **dict.fromkeys(("device", "ger\u00e4t", "appareil", "dispositivo"), "device"),
    **dict.fromkeys(
        (
            *("sample rate", "sampling rate", "messrate", "abtastrate", "abtastfrequenz", "samplerate"),
            *("fr\u00e9quence d\u2019\u00e9chantillonnage", "fr\u00e9quence d'\u00e9chantillonnage"),
            *("frecuencia de muestreo", "frequenza di campionamento"),
        ),
        "rate",
    ),
    **dict.fromkeys(("lead", "ableitung", "d\u00e9rivation", "derivaci\u00f3n", "derivazione"), "lead"),
    **dict.fromkeys(("unit", "einheit", "unit\u00e9", "unidad", "unit\u00e0"), "unit"),
}
_RATE = re.compile(r"(\d{2,5})(?:[.,](\d{1,3}))?")
_NUMBER = re.compile(r"[-+\u2212]?\d+(?:[.,]\d+)?(?:[eE][-+]?\d+)?\Z")


@dataclass(frozen=True, slots=True)
class Export:
    """What an export says.

    Attributes:
        lead: Name of the lead, as written.
        unit: Of the values, as written; "uV" where it does not say, which is what watches write.
        fs_hz: Samples a second; None where it does not say.
        values: Samples in that unit.
        age_years: Of the wearer at the recording.
        header: Everything else.
    """

    lead: str
    unit: str
    fs_hz: float | None
    values: list[float]
    age_years: float | None
    header: SourceHeader


def export_in(text: str, where: str) -> Export | None:
    """The export that a text is; None where it is another table.

    Args:
        text: Of the file.
        where: File name for messages.

    Returns:
        Lead, unit, rate and samples, or None.

    Raises:
        RecordError: It is such an export, but a line of it is no number.
    """
    lines = text.splitlines()
    facts: dict[str, str] = {}
    begin = 0
    for at, line in enumerate(lines[:_MAX_FACTS]):
        cells = _cells(line[:_LONGEST_LINE])
        word = _WORDS.get(cells[0].lower()) if cells else None
        if word is not None and len(cells) > 1:
            facts.setdefault(word, cells[1])
        elif cells and _number(line) is not None and "lead" in facts:
            begin = at
            break
    if "lead" not in facts or canonical_lead(facts["lead"]) is None or not {"rate", "unit"} & set(facts):
        return None
    values: list[float] = []
    if len(lines) > MAX_SAMPLES:
        raise RecordError(f"{where} holds more than {MAX_SAMPLES} samples")
    for number, line in enumerate(lines[begin:], begin + 1):
        if line.strip(' ,;"'):
            value = _number(line)
            if value is None:
                raise RecordError(f"{where} line {number}: {line[:30]!r} is no number")
            values.append(value)
    if not values:
        raise RecordError(f"{where} holds no sample", hint="is the export complete?")
    rate = _RATE.search(facts.get("rate", ""))
    birth, recorded = iso_time(facts.get("birth", "")), iso_time(facts.get("recorded", ""))
    header = SourceHeader(
        "CSV of a watch",
        patient_name=plain_text(facts.get("name", "")),
        birth_date=birth,
        recorded_at=recorded,
        report=plain_text(facts.get("finding", "")),
        device=plain_text(facts.get("device", "")),
    )
    fs_hz = float(f"{rate.group(1)}.{rate.group(2) or 0}") if rate else None
    return Export(facts["lead"], facts.get("unit") or "uV", fs_hz, values, age_at(birth, recorded), header)


def _cells(line: str) -> list[str]:
    """Cells between commas or semicolons, those in quotation marks whole."""
    delimiter = ";" if ";" in line and "," not in line.partition(";")[0] else ","
    try:
        rows = list(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
    except csv.Error:
        return []
    return [cell.strip() for cell in rows[0]] if rows else []


def _number(line: str) -> float | None:
    """A line that is one number, with point or comma, perhaps in quotation marks."""
    cell = line[:_LONGEST_LINE].strip(" ;\"'\ufeff").rstrip(",").strip(' "')
    return float(cell.replace(",", ".").replace("\u2212", "-")) if _NUMBER.match(cell) else None
