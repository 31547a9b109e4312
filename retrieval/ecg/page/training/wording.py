"""What is written on pages: spellings of lead names, headers, footers, notes. All of it made up."""

from __future__ import annotations

import numpy as np

from ecgkin.retrieval.ecg.page.training.layouts import Layout

_ROMAN = ("I", "II", "III")
_LABELS = (
    "Vent. rate", "PR interval", "QRS duration", "QT/QTc", "P-R-T axes", "HR", "RR", "PQ", "QRS", "QTcB", "P axis",
    "Herzfrequenz", "RV5/SV1", "P", "T axis", "Sokolow", "Rate",
)  # fmt: skip
_UNITS = ("ms", "BPM", "/min", "", "mV", "deg", "bpm", "mmHg")
_PHRASES = (
    "Normal sinus rhythm", "Possible left atrial enlargement", "Abnormal ECG", "Unconfirmed", "Sinus bradycardia",
    "Left axis deviation", "ST elevation in V1-V3", "T inversion III aVF", "Otherwise normal ECG", "Fibrillation",

    "*** Poor data quality ***", "Confirmed by", "Referred by:", "Technician:", "ID:", "Name:", "Male", "Female",
    "Years", "Room", "Dept.", "Medication", "Report Confirmed by", "ECG REPORT", "Sinusrhythmus", "Lagetyp links",
    "I II III aVR aVL aVF", "V1 V2 V3", "RSR' in V1", "Department of Cardiology", "Comment", "Page 1 of 1",
    "No previous ECGs", "Test ind:", "Loc:2", "Med:", "12-lead ECG", "Rhythmus", "Normal variant", "QTc prolonged",
)  # fmt: skip
_FILTERS = ("0.05-150 Hz", "0.05 - 40 Hz", "100Hz", "40Hz", "W 0.15-100 Hz F 50", "0.5-35 Hz", "~ 0.16-100")
_NOTES = (
    "RHYTHM STRIP: II", "25 mm/sec; 1 cm/mV", "*** UNCONFIRMED ***", "10 mm/mV", "x1.0", "x0.5", "Lead off", "10mm/mV",
    "LP 40Hz", "F 50", "AC", "25", "BDR", "seq", "ADS", "CAL", "1 mV", "HR 72", "RR 810",
)  # fmt: skip


def name_spelling(lead: str, scheme: int, rng: np.random.Generator) -> str:
    """One of the spellings of a lead; `scheme` keeps a page to one way of writing.

    Args:
        lead: Standard name.
        scheme: Number of a way of writing.
        rng: Draws among what is left.

    Returns:
        The spelling.
    """
    minus = "-" if lead.startswith("-") else ""
    plain = lead.lstrip("-")
    if plain in _ROMAN:
        number = len(plain)
        kind = scheme % 20
        if kind == 0:
            text = f"L{number}"
        elif kind == 1:
            text = f"D{number}"
        elif kind == 2:
            text = f"D{plain}"
        elif kind == 3:
            text = f"Lead {plain}"
        else:
            text = plain
    elif plain.startswith("aV"):
        kind = (scheme // 20) % 10
        text = {0: plain.upper(), 1: plain.upper(), 2: "aV" + plain[2].lower(), 3: "AV" + plain[2].lower()}.get(
            kind, plain
        )
    else:
        kind = (scheme // 200) % 10
        text = {0: "C" + plain[1:], 1: "v" + plain[1:], 2: "V " + plain[1:]}.get(kind, plain)
    text = minus + text
    if scheme % 37 == 0:
        text += ":"
    elif scheme % 41 == 0:
        text = f"{text} {rng.choice(('10 mm/mV', '1.0', '(10)'))}"
    return text


def _digits(rng: np.random.Generator) -> str:
    kind = int(rng.integers(5))
    if kind == 0:
        return f"{rng.integers(30, 220)}"
    if kind == 1:
        return f"{rng.integers(300, 500)}/{rng.integers(300, 500)}"
    if kind == 2:
        return f"{rng.integers(1, 29):02d}.{rng.integers(1, 13):02d}.{rng.integers(1990, 2026)}"
    if kind == 3:
        return f"{rng.integers(24):02d}:{rng.integers(60):02d}:{rng.integers(60):02d}"
    return f"{rng.integers(-90, 200)} {rng.integers(-90, 100)} {rng.integers(-20, 100)}"


def header_lines(
    width_mm: float, height_mm: float, line_mm: float, rng: np.random.Generator
) -> list[tuple[str, float, float]]:
    """Blocks of lines: text and upper left corner in mm.

    Args:
        width_mm: Of the page.
        height_mm: Of the header.
        line_mm: Distance of lines.
        rng: Draws the words.

    Returns:
        Texts with places.
    """
    found: list[tuple[str, float, float]] = []
    for _ in range(int(rng.integers(1, 5))):
        x, y = rng.uniform(0.0, 0.8) * width_mm, rng.uniform(0.0, 0.5) * height_mm
        table = rng.random() < 0.45
        for _ in range(int(rng.integers(1, 9))):
            if y > height_mm - line_mm:
                break
            if table:
                found.append((str(rng.choice(_LABELS)), x, y))
                found.append((f"{_digits(rng)} {rng.choice(_UNITS)}", x + 28.0, y))
            else:
                text = str(rng.choice(_PHRASES))
                if rng.random() < 0.3:
                    text += f" {_digits(rng)}"
                found.append((text, x, y))
            y += line_mm
    return found


def footer_lines(layout: Layout, rng: np.random.Generator) -> list[tuple[str, float, float]]:
    """Speed, gain and filter as machines print them at the lower edge.

    Args:
        layout: Says speed and gain.
        rng: Draws the words.

    Returns:
        Texts with places.
    """
    speed, gain = layout.speed_mm_s, layout.gain_mm_mv
    number = f"{speed:.1f}" if rng.random() < 0.3 or speed < 20 else f"{speed:.0f}"
    pieces = [
        str(rng.choice((f"{number} mm/s", f"{number}mm/s", f"Speed: {number} mm/sec", f"{number} mm/sec"))),
        str(rng.choice((f"{gain:.0f} mm/mV", f"{gain:.0f}mm/mV", f"{gain:.1f} mm/mV", f"Chest: {gain:.1f} mm/mV"))),
        str(rng.choice(_FILTERS)),
        str(rng.choice(("MAC55 009C", "12SL v239", "PH090A", "Unconfirmed", "50 Hz", "SN 00481", "4x2.5x3_25_R1"))),
        _digits(rng),
    ]  # fmt: skip
    y = layout.height_mm - float(rng.uniform(2.0, 6.0))
    if rng.random() < 0.15:
        y = float(rng.uniform(0.5, 4.0))
    x = float(rng.uniform(0.0, 30.0))
    found = []
    for piece in pieces[: int(rng.integers(2, 6))]:
        found.append((piece, x, y))
        x += float(rng.uniform(25.0, 60.0))
    return found


def note(rng: np.random.Generator) -> str:
    """A word or two that stand among the curves."""
    return str(rng.choice(_NOTES if rng.random() < 0.7 else _PHRASES))


_SPEEDS = ("25", "25", "25", "50", "12.5", "10", "5", "100", "6.25", "25.0", "50.0", "25,0")
_GAINS = ("10", "10", "5", "20", "2.5", "10.0", "5.0", "20.0", "10,0", "15", "40", "7.5")
_PER_S = (
    "mm/s", "mm/s", "mm/sec", "mm/Sec", "MM/SEC", "mm / s", "mm/seg", "mm/sek.", "mm/sn", "mm/sec.", "mm/S", "mm/s.",
)  # fmt: skip
_PER_MV = ("mm/mV", "mm/mV", "mm/mV", "MM/MV", "mm/mv", "mm / mV", "mm/mV.", "mm/mVolt")
_BEFORE_SPEED = (
    "", "", "", "", "Speed: ", "Speed ", "Paper speed: ", "Vel. ", "V: ", "Vitesse ", "Vorschub: ", "AUTO ", "x1.0 ",
)  # fmt: skip
_BEFORE_GAIN = (
    "", "", "", "", "Limb: ", "Chest: ", "Gain: ", "Gain ", "Sens. ", "Ampl.: ", "C: ", "L: ", "Sensitivity: ",
)  # fmt: skip
_FILTERED = (
    "0.05-150 Hz", "~ 40 Hz", "0.15-100Hz", "100 Hz", "F 50", "50Hz", "ADS", "PF 0.05-35 Hz", "35Hz", "W 0.5-40",
)  # fmt: skip
_SIGNS = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    "0123456789012345678901234567890123456789./:-+%()=,mmVs/  "
)  # fmt: skip


def scale_text(rng: np.random.Generator) -> str:
    """Speed, gain and filter in one line, in one of the ways in which machines print them.

    Args:
        rng: Draws numbers, units and order.

    Returns:
        The line.
    """

    def number(usual: tuple[str, ...]) -> str:
        # Odd numbers as well, so that digits are read and not guessed.
        if rng.random() < 0.7:
            return str(rng.choice(usual))
        odd = (str(rng.integers(1, 10)), str(rng.integers(10, 100)), f"{rng.uniform(0.5, 60.0):.1f}")
        return str(rng.choice(odd))

    room = " " if rng.random() < 0.65 else ""
    speed = f"{rng.choice(_BEFORE_SPEED)}{number(_SPEEDS)}{room}{rng.choice(_PER_S)}"
    if rng.random() < 0.12:
        gain = f"{rng.choice(_BEFORE_GAIN)}{rng.choice(('1', '0.5', '2', '1.0', '0,5'))}{room}cm/mV"
    else:
        gain = f"{rng.choice(_BEFORE_GAIN)}{number(_GAINS)}{room}{rng.choice(_PER_MV)}"
    parts = [speed, gain] if rng.random() < 0.7 else [gain, speed]
    if rng.random() < 0.5:
        parts.insert(int(rng.integers(3)), str(rng.choice(_FILTERED)))
    parts = parts[: int(rng.integers(1, 4))]
    return str(rng.choice(("  ", " ", "   ", "  |  ", ", ", "; "))).join(parts)


def any_text(rng: np.random.Generator) -> str:
    """A line of anything else: phrases, tables, numbers, letters at random.

    Args:
        rng: Draws it.

    Returns:
        The line.
    """
    kind = rng.random()
    if kind < 0.35:
        return f"{rng.choice(_PHRASES)} {_digits(rng)}"
    if kind < 0.6:
        return f"{rng.choice(_LABELS)} {_digits(rng)} {rng.choice(_UNITS)}"
    return "".join(_SIGNS[int(k)] for k in rng.integers(0, len(_SIGNS), int(rng.integers(3, 22))))
