"""What others have written, as the page shows it: warnings in its language, reports with their umlauts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ecgkin.ui.web.texts import Lang

# The warnings that are met every day; others are shown in English, as they come.
GERMAN: tuple[tuple[str, str], ...] = (
    (r"grid not found: scale unknown", "kein Raster gefunden: Maßstab unbekannt"),
    (r"paper found on a background and straightened", "Papier auf einem Hintergrund gefunden und entzerrt"),
    (r"page was rotated by (-?[\d.]+) degrees", r"Blatt war um \1 Grad gedreht"),
    (r"page was upside down: turned by 180 degrees", "Blatt stand auf dem Kopf: um 180 Grad gedreht"),
    (
        r"page lay on its side: turned by 90 degrees, it may be upside down",
        "Blatt lag auf der Seite: um 90 Grad gedreht, es kann auf dem Kopf stehen",
    ),
    (r"page lay on its side: turned by 90 degrees", "Blatt lag auf der Seite: um 90 Grad gedreht"),
    (r"(\d+) rows of traces: layout unknown", r"\1 Zeilen mit Kurven: Anordnung nicht erkannt"),
    (r"rows were bent or sloped and were levelled", "Zeilen waren gebogen oder schräg und wurden begradigt"),
    (r"traces are hard to tell from the paper", "Kurven heben sich kaum vom Papier ab"),
    (r"no case passes the filter", "kein Fall passt zu den Filtern"),
    (r"only (\d+) of the (\d+) cases asked for pass the filter", r"nur \1 von \2 Fällen passen zu den Filtern"),
    (r"only (\d+) of the (\d+) cases asked for are there", r"nur \1 von \2 gewünschten Fällen sind da"),
    (r"the vote counts only cases that pass the filter", "das Votum zählt nur Fälle, die zu den Filtern passen"),
    (r"missing(?: leads)?: (.+)", r"Ableitungen fehlen: \1"),
    (
        r"calibrated with (\d+) cases; this case base holds (\d+)",
        r"kalibriert mit \1 Fällen; diese Sammlung hat \2",
    ),
    (
        r"not calibrated: shares of the neighbours, not probabilities",
        "nicht kalibriert: Anteile der Nachbarn, keine Wahrscheinlichkeiten",
    ),
)
# The page says that in a box of its own.
_SAID_ELSEWHERE = "nothing similar: "
_LOST_CASE = re.compile(r"(?<=[a-zßäöü])[ÄÖÜ]")


def note_text(text: str, lang: Lang) -> str:
    """A warning of the server for people; "" for one that the page shows elsewhere.

    >>> note_text("5 rows of traces: layout unknown", "de")
    '5 Zeilen mit Kurven: Anordnung nicht erkannt'
    """
    if text.startswith(_SAID_ELSEWHERE):
        return ""
    if lang == "de":
        for pattern, german in GERMAN:
            found = re.fullmatch(pattern, text)
            if found:
                return found.expand(german)
    return text


def as_said(report: str) -> str:
    """A report with small umlauts within small words: PTB-XL's reports were made small but for these.

    >>> as_said("mÖgliche ischÄmie, Übergang verzögert")
    'mögliche ischämie, Übergang verzögert'
    """
    return _LOST_CASE.sub(lambda match: match[0].lower(), report)
