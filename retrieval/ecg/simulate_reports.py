"""Short reports on simulated ECGs in English and German, in sentences of this project."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

_EN: dict[str, tuple[str, ...]] = {
    "SR": ("Sinus rhythm, {rate}/min.", "Sinus rhythm at {rate} per minute.", "Regular sinus rhythm, rate {rate}."),
    "AFIB": ("Atrial fibrillation, ventricular rate {rate}/min.", "Atrial fibrillation, mean rate {rate}/min."),
    "AFLT": ("Atrial flutter, ventricular rate {rate}/min.", "Atrial flutter with a rate of {rate}/min."),
    "STACH": ("Sinus tachycardia, {rate}/min.", "Sinus tachycardia at {rate} per minute."),
    "SBRAD": ("Sinus bradycardia, {rate}/min.", "Sinus bradycardia at {rate} per minute."),
    "SARRH": ("Sinus arrhythmia, {rate}/min.", "Sinus arrhythmia with the breath, mean rate {rate}."),
    "PACE": ("Pacemaker rhythm, {rate}/min.", "Ventricular pacemaker rhythm at {rate} per minute."),
    "PVC": ("Ventricular premature complexes.", "Ventricular extrasystoles."),
    "BIGU": ("Ventricular bigeminy.", "Bigeminal pattern."),
    "PAC": ("Atrial premature complexes.", "Atrial extrasystoles."),
    "1AVB": ("First degree AV block (PR {pr} ms).", "First degree AV block, PR interval {pr} ms."),
    "CLBBB": ("Complete left bundle branch block, QRS {qrs} ms.", "Left bundle branch block (QRS {qrs} ms)."),
    "CRBBB": ("Complete right bundle branch block, QRS {qrs} ms.", "Right bundle branch block (QRS {qrs} ms)."),
    "IRBBB": ("Incomplete right bundle branch block.", "Incomplete right bundle branch block, QRS {qrs} ms."),
    "LAFB": ("Left anterior fascicular block.", "Left axis deviation, left anterior fascicular block."),
    "LVH": ("Left ventricular hypertrophy with strain.", "Left ventricular hypertrophy, Sokolow-Lyon {sokolow} mV."),
    "IMI": ("Inferior myocardial infarction, old.", "Q waves in II, III and aVF: inferior myocardial infarction."),
    "ASMI": ("Anteroseptal myocardial infarction.", "Loss of R in V1 to V3: anteroseptal myocardial infarction."),
    "LOWT": ("Low T waves throughout.", "Low amplitude T waves."),
    "LVOLT": ("Low QRS voltage.", "Low voltage in the limb leads."),
    "STD_": ("ST depression in II and V4 to V6.", "ST segment depression."),
    "WPW": ("Short PR and delta wave: Wolff-Parkinson-White syndrome.", "WPW pattern with delta wave, PR {pr} ms."),
    "LNGQT": ("Long QT interval, QTc {qtc} ms.", "Prolonged QT interval (QTc {qtc} ms)."),
    "NORM": ("Normal ECG.", "Within normal limits, normal ECG."),
}
_DE: dict[str, tuple[str, ...]] = {
    "SR": ("Sinusrhythmus, {rate}/min.", "Sinusrhythmus mit {rate} pro Minute."),
    "AFIB": ("Vorhofflimmern, Kammerfrequenz {rate}/min.", "Vorhofflimmern, mittlere Frequenz {rate}/min."),
    "AFLT": ("Vorhofflattern, Kammerfrequenz {rate}/min.", "Vorhofflattern mit einer Frequenz von {rate}/min."),
    "STACH": ("Sinustachykardie, {rate}/min.", "Sinustachykardie mit {rate} pro Minute."),
    "SBRAD": ("Sinusbradykardie, {rate}/min.", "Sinusbradykardie mit {rate} pro Minute."),
    "SARRH": ("Sinusarrhythmie, {rate}/min.", "Respiratorische Sinusarrhythmie, im Mittel {rate}/min."),
    "PACE": ("Schrittmacherrhythmus, {rate}/min.", "Ventrikulärer Schrittmacherrhythmus mit {rate} pro Minute."),
    "PVC": ("Ventrikuläre Extrasystolen.", "Einzelne ventrikuläre Extrasystolen."),
    "BIGU": ("Ventrikulärer Bigeminus.", "Bigeminus."),
    "PAC": ("Supraventrikuläre Extrasystolen.", "Einzelne supraventrikuläre Extrasystolen."),
    "1AVB": ("AV-Block I. Grades (PQ {pr} ms).", "AV-Block I. Grades, PQ-Zeit {pr} ms."),
    "CLBBB": ("Kompletter Linksschenkelblock, QRS {qrs} ms.", "Linksschenkelblock (QRS {qrs} ms)."),
    "CRBBB": ("Kompletter Rechtsschenkelblock, QRS {qrs} ms.", "Rechtsschenkelblock (QRS {qrs} ms)."),
    "IRBBB": ("Inkompletter Rechtsschenkelblock.", "Inkompletter Rechtsschenkelblock, QRS {qrs} ms."),
    "LAFB": ("Linksanteriorer Hemiblock.", "Überdrehter Linkstyp, linksanteriorer Hemiblock."),
    "LVH": ("Linksventrikuläre Hypertrophie mit Strain.", "Linksventrikuläre Hypertrophie, Sokolow {sokolow} mV."),
    "IMI": ("Inferiorer Myokardinfarkt, alt.", "Q in II, III und aVF: inferiorer Myokardinfarkt."),
    "ASMI": ("Anteroseptaler Myokardinfarkt.", "R-Verlust V1 bis V3: anteroseptaler Myokardinfarkt."),
    "LOWT": ("Niedrige T-Wellen.", "Durchweg niedrige T-Wellen."),
    "LVOLT": ("Niederspannung.", "Niedervoltage, Niederspannung der Extremitätenableitungen."),
    "STD_": ("ST-Senkung in II und V4 bis V6.", "ST-Senkung."),
    "WPW": ("Kurze PQ-Zeit, Deltawelle: Wolff-Parkinson-White-Syndrom.", "WPW mit Deltawelle, PQ {pr} ms."),
    "LNGQT": ("Verlängertes QT-Intervall, QTc {qtc} ms.", "QT-Verlängerung (QTc {qtc} ms)."),
    "NORM": ("Normales EKG.", "Unauffälliger Befund, normales EKG."),
}
_ORDER = (
    "SR", "AFIB", "AFLT", "STACH", "SBRAD", "SARRH", "PACE", "BIGU", "PVC", "PAC", "1AVB", "WPW", "AXIS", "LVOLT",
    "CLBBB", "CRBBB", "IRBBB", "LAFB", "LVH", "ASMI", "IMI", "STD_", "LOWT", "LNGQT", "NORM",
)  # fmt: skip


def axis_words(axis_deg: float) -> tuple[str, str]:
    """What English and German reports call a frontal axis (German: Lagetyp, limits at -30, 30, 60, 90, 120 degrees).

    >>> axis_words(45), axis_words(-60)[1]
    (('Normal axis.', 'Indifferenztyp.'), 'Überdrehter Linkstyp.')
    """
    if axis_deg < -90 or axis_deg > 120:
        return "Right axis deviation.", "Überdrehter Rechtstyp."
    if axis_deg < -30:
        return "Left axis deviation.", "Überdrehter Linkstyp."
    if axis_deg < 30:
        return "Normal axis.", "Linkstyp."
    if axis_deg <= 60:
        return "Normal axis.", "Indifferenztyp."
    if axis_deg <= 90:
        return "Normal axis.", "Steiltyp."
    return "Right axis deviation.", "Rechtstyp."


def write_reports(
    codes: Collection[str], figures: dict[str, str], axis_deg: float, rng: np.random.Generator
) -> tuple[str, str]:
    """Report in English and in German.

    Args:
        codes: The statements, each of them gets a sentence.
        figures: Words for {rate}, {pr}, {qrs}, {qtc} and {sokolow}.
        axis_deg: Frontal axis.
        rng: Picks among the wordings, the same pick for both languages.
    """
    english, german = [], []
    for code in _ORDER:
        pick = int(rng.integers(6))
        if code == "AXIS":
            if not set(codes) & {"LAFB", "PACE"}:
                words = axis_words(axis_deg)
                english.append(words[0])
                german.append(words[1])
        elif code in codes:
            english.append(_EN[code][pick % len(_EN[code])].format(**figures))
            german.append(_DE[code][pick % len(_DE[code])].format(**figures))
    return " ".join(english), " ".join(german)
