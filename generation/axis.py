"""The frontal axis in words, English by deviation, German by Lagetyp."""

from __future__ import annotations

from ecgkin.generation.draft import Language


def axis_phrase(axis_deg: float, language: Language) -> str:
    """The frontal axis in words and degrees; German by Lagetyp (limits at -30, 30, 60, 90 and 120 degrees).

    >>> axis_phrase(45.2, "en"), axis_phrase(-50, "de")
    ('normal axis (45°)', 'überdrehter Linkstyp (-50°)')
    """
    if language == "de":
        if axis_deg < -90 or axis_deg > 120:
            words = "überdrehter Rechtstyp"
        elif axis_deg < -30:
            words = "überdrehter Linkstyp"
        elif axis_deg < 30:
            words = "Linkstyp"
        elif axis_deg <= 60:
            words = "Indifferenztyp"
        else:
            words = "Steiltyp" if axis_deg <= 90 else "Rechtstyp"
    elif axis_deg < -90:
        words = "extreme axis deviation"
    elif axis_deg < -30:
        words = "left axis deviation"
    else:
        words = "normal axis" if axis_deg <= 90 else "right axis deviation"
    return f"{words} ({axis_deg:.0f}°)"
