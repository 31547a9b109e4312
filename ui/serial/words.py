"""The words of a comparison's table, English and German."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from ecgkin.generation.types.serial import FindingState

Lang = Literal["en", "de"]
_NAMES: Mapping[str, tuple[str, str, str]] = {
    "rate_bpm": ("Rate", "Frequenz", "/min"),
    "pr_ms": ("PR", "PQ", "ms"),
    "qrs_ms": ("QRS", "QRS", "ms"),
    "qt_ms": ("QT", "QT", "ms"),
    "qtc_ms": ("QTc (Bazett)", "QTc (Bazett)", "ms"),
    "qtc_fridericia_ms": ("QTc (Fridericia)", "QTc (Fridericia)", "ms"),
    "axis_deg": ("QRS axis", "QRS-Achse", "°"),
    "t_axis_deg": ("T axis", "T-Achse", "°"),
    "st_j_mv": ("ST at J,", "ST am J-Punkt,", "mV"),
    "r_mv": ("R,", "R,", "mV"),
}
_STATES: Mapping[str, tuple[str, str]] = {
    "new": ("new", "neu"),
    "gone": ("no longer", "nicht mehr"),
    "increased": ("more than before", "ausgeprägter als vorher"),
    "unchanged": ("unchanged", "unverändert"),
    "borderline": ("about the limit in both", "bei beiden um den Grenzwert"),
    "not_compared": ("not compared", "nicht verglichen"),
}


class AnyRow(Protocol):
    """A row of a comparison, as it was made or as the API sends it."""

    @property
    def name(self) -> str:
        """Of the value."""

    @property
    def before(self) -> float | None:
        """Earlier."""

    @property
    def after(self) -> float | None:
        """Now."""

    @property
    def change(self) -> float | None:
        """The latter less the former."""


def row_texts(row: AnyRow, lang: Lang) -> tuple[str, str, str, str]:
    """Name with unit, value before, value after, change; a dash where there is none.

    Args:
        row: Of the comparison.
        lang: "en" or "de".

    Returns:
        Four texts.

    >>> from ecgkin.generation.types.serial import SerialRow
    >>> row_texts(SerialRow("qtc_ms", 431.2, 500.0, 68.8), "de")
    ('QTc (Bazett) ms', '431', '500', '+69')
    >>> row_texts(SerialRow("st_j_mv V2", 0.04, None, None), "en")
    ('ST at J, V2 mV', '0.04', '-', '-')
    >>> row_texts(SerialRow("rate_bpm", 42.6, 42.4, -0.2), "en")
    ('Rate /min', '43', '42', '-1')
    >>> row_texts(SerialRow("st_j_mv V1", -0.001, 0.002, -0.003), "en")
    ('ST at J, V1 mV', '0.00', '0.00', '+0.00')
    """
    key, _, lead = row.name.partition(" ")
    english, german, unit = _NAMES.get(key, (key, key, ""))
    name = " ".join(part for part in (german if lang == "de" else english, lead, unit) if part)
    digits = 2 if unit == "mV" else 0
    change = row.change
    if unit != "°" and row.before is not None and row.after is not None:  # axes go round; others as they are shown
        change = round(row.after, digits) - round(row.before, digits)
    values = [
        "-" if value is None else f"{value:{sign}z.{digits}f}"  # z: no minus before a zero
        for value, sign in ((row.before, ""), (row.after, ""), (change, "+"))
    ]
    return name, values[0], values[1], values[2]


def state_name(state: FindingState | str, lang: Lang, why: str = "") -> str:
    """How a finding stands to the earlier ECG, in words.

    Args:
        state: Of the finding.
        lang: "en" or "de".
        why: Of one that is not compared.

    Returns:
        The words.

    >>> state_name("not_compared", "de", "P zeigt in andere Richtung")
    'nicht verglichen (P zeigt in andere Richtung)'
    """
    return _STATES[state][lang == "de"] + (f" ({why})" if why else "")
