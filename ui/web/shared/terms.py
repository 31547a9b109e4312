"""Short explanations of the terms of a draft, shown where they are pointed at."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ecgkin.ui.web.shared.texts import Lang

# Term as it is written (English, German) and what it means in both languages. Limits: AHA/ACCF/HRS 2009, adults.
TERMS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("QT/QTc",), "QT as measured, and corrected for the rate", "QT wie gemessen, und auf die Frequenz korrigiert"),
    (
        ("QTc",),
        "QT corrected for the heart rate; long from 450 ms in men and 460 ms in women on",
        "auf die Herzfrequenz korrigiertes QT; lang ab 450 ms bei Männern, 460 ms bei Frauen",
    ),
    (("QT",), "from the onset of QRS to the end of T", "vom Beginn von QRS bis zum Ende von T"),
    (
        ("PR", "PQ"),
        "from the onset of P to the onset of QRS; normal 120 to 200 ms",
        "vom Beginn von P bis zum Beginn von QRS; normal 120 bis 200 ms",
    ),
    (
        ("QRS",),
        "depolarisation of the ventricles; below 110 ms in adults, wide from 120 ms on",
        "Erregung der Kammern; bei Erwachsenen unter 110 ms, breit ab 120 ms",
    ),
    (
        ("ST-T",),
        "ST segment and T wave: repolarisation of the ventricles",
        "ST-Strecke und T-Welle: Rückbildung der Kammererregung",
    ),
    (
        ("ST",),
        "segment between QRS and T, level at the J point where QRS ends",
        "Strecke zwischen QRS und T, Höhe am J-Punkt, wo QRS endet",
    ),
    (("Bazett",), "QTc = QT / square root of RR (s)", "QTc = QT / Wurzel aus RR (s)"),
    (("Fridericia",), "QTc = QT / cube root of RR (s)", "QTc = QT / dritte Wurzel aus RR (s)"),
    (
        ("left axis deviation", "Left axis deviation", "überdrehter Linkstyp", "Überdrehter Linkstyp"),
        "mean direction of QRS in the frontal plane beyond -30°",
        "mittlere Richtung von QRS in der Frontalebene jenseits von -30°",
    ),
    (
        ("right axis deviation", "Right axis deviation", "Rechtstyp"),
        "mean direction of QRS in the frontal plane beyond +90°",
        "mittlere Richtung von QRS in der Frontalebene jenseits von +90°",
    ),
    (
        ("left bundle branch block", "Linksschenkelblock"),
        "delay in the left bundle: QRS from 120 ms on, broad R in V6, ST and T against QRS",
        "Verzögerung im linken Schenkel: QRS ab 120 ms, breites R in V6, ST und T gegen QRS",
    ),
    (
        ("right bundle branch block", "Rechtsschenkelblock"),
        "delay in the right bundle: QRS from 120 ms on, second R in V1, broad S in I and V6",
        "Verzögerung im rechten Schenkel: QRS ab 120 ms, zweites R in V1, breites S in I und V6",
    ),
    (
        ("atrial fibrillation", "Atrial fibrillation", "Vorhofflimmern"),
        "no P waves, irregular intervals between beats",
        "keine P-Wellen, unregelmäßige Abstände der Schläge",
    ),
    (
        ("atrial flutter", "Atrial flutter", "Vorhofflattern"),
        "regular atrial waves at about 250 to 330/min",
        "regelmäßige Vorhofwellen mit etwa 250 bis 330/min",
    ),
    (
        ("Sinus bradycardia", "sinus bradycardia", "Sinusbradykardie"),
        "sinus rhythm below 60/min (50/min in newer definitions)",
        "Sinusrhythmus unter 60/min (in neueren Definitionen 50/min)",
    ),
    (("Sinus tachycardia", "sinus tachycardia", "Sinustachykardie"), "sinus rhythm above 100/min",
     "Sinusrhythmus über 100/min"),
    (
        ("Sgarbossa",),
        "criteria of infarction where the left bundle is blocked",
        "Kriterien des Infarkts bei Linksschenkelblock",
    ),
)  # fmt: skip
_MEANS = {name: (english, german) for names, english, german in TERMS for name in names}
_NAMES = "|".join(re.escape(name) for name in sorted(_MEANS, key=len, reverse=True))
_ANY = re.compile(rf"(?<![\w-])(?:{_NAMES})(?![\w-])")


def explained(text: str, lang: Lang) -> str:
    """A text as HTML, its terms with their explanations; escaped.

    Args:
        text: Of a draft.
        lang: Of the explanations.

    Returns:
        HTML.

    >>> explained("PR <b>", "en")
    '<abbr title="from the onset of P to the onset of QRS; normal 120 to 200 ms">PR</abbr> &lt;b&gt;'
    """
    out, at = "", 0
    for match in _ANY.finditer(text):
        title = escape(_MEANS[match[0]][lang == "de"], quote=True)
        out += f'{escape(text[at : match.start()])}<abbr title="{title}">{escape(match[0])}</abbr>'
        at = match.end()
    return out + escape(text[at:])
