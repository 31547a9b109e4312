"""Which lead is printed where: by the names that were read, else by the usual layouts, checked by the limb leads' laws.

A layout is a number of columns of leads and of rhythm strips below them. Leads run down the columns in the order of
the recording (I, II, III, aVR, ... V6) or in Cabrera's (aVL, I, -aVR, II, aVF, III).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from ecgkin.retrieval.ecg.leads import CABRERA_LEADS, LEADS

_BEFORE, _AFTER = 0.15, 0.42  # of a column: how far before and behind its beginning a name may stand
_IN_THE_MIDDLE = 0.5  # what such a name says
_AT_START = 0.15  # of a row: where the name of its first lead stands
STRIPS: dict[int, tuple[str, ...]] = {0: (), 1: ("II",), 2: ("V1", "II"), 3: ("V1", "II", "V5")}


@dataclass(frozen=True, slots=True)
class Layout:
    """Where leads stand on a page.

    Attributes:
        rows: Rows of leads, without rhythm strips.
        columns: Columns of leads.
        strips: Rhythm strips below them.
        leads: Name of each lead, row by row within a column, column by column; "-aVR" is turned over.
        strip_leads: Names of the strips, the usual ones where empty.
    """

    rows: int
    columns: int
    strips: int
    leads: tuple[str, ...]
    strip_leads: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As pages are called: "3x4+1R", "6x2", "12x1"."""
        return f"{self.rows}x{self.columns}" + (f"+{self.strips}R" if self.strips else "")

    def lead(self, row: int, column: int) -> str:
        """What stands in a row of leads and a column."""
        return self.leads[column * self.rows + row]

    def strip(self, number: int) -> str:
        """Lead of a rhythm strip, from the upper one, 0."""
        return (self.strip_leads or STRIPS[self.strips])[number]


def strip_names(layout: Layout, names: tuple[PlacedName, ...]) -> dict[int, str]:
    """Leads of the strips as they were read beside them, by number of the strip."""
    out: dict[int, str] = {}
    for name in sorted(names, key=lambda n: n.score):
        number = name.row - layout.rows
        if 0 <= number < layout.strips and name.share < 0.15 and name.score > 0.5:
            out[number] = name.lead.lstrip("-")
    return out


def named_layout(n_rows: int, names: tuple[PlacedName, ...]) -> Layout | None:
    """Rows of one lead each, called as is read at their beginnings; None unless every row has a name of its own."""
    leads: dict[int, str] = {}
    for name in sorted(names, key=lambda n: n.score):
        if name.share < _AT_START and name.score > 0.5 and name.lead.lstrip("-") in LEADS:
            leads[name.row] = name.lead
    if set(leads) != set(range(n_rows)) or len(set(leads.values())) < n_rows:
        return None
    return Layout(n_rows, 1, 0, tuple(leads[row] for row in range(n_rows)))


def layouts_of(n_rows: int) -> list[Layout]:
    """Layouts that have so many rows of traces, the most usual first."""
    out = []
    for rows, columns in ((3, 4), (6, 2), (12, 1)):
        strips = n_rows - rows
        if 0 <= strips <= 3:
            out.append(Layout(rows, columns, strips, LEADS))
    if n_rows == 6:
        out.append(Layout(6, 1, 0, LEADS[:6]))
        out.append(Layout(6, 1, 0, LEADS[6:]))
    if n_rows == 3:
        out.append(Layout(3, 2, 0, LEADS[6:]))
        out.append(Layout(3, 2, 0, LEADS[:6]))
    if n_rows == 1:
        out.append(Layout(1, 1, 0, ("II",)))  # what a single strip shows most often
    if n_rows == 2:
        out.append(Layout(2, 6, 0, LEADS))
    return out


@dataclass(frozen=True, slots=True)
class PlacedName:
    """A lead name that was read on the page.

    Attributes:
        lead: As printed ("-aVR" included).
        row: Row of traces that it belongs to.
        share: Where its middle stands between the ends of the rows, 0 to 1.
        score: How sure it is, 0 to 1.
    """

    lead: str
    row: int
    share: float
    score: float


def agreement(layout: Layout, names: tuple[PlacedName, ...], begins: tuple[float, ...] | None = None) -> float:
    """How well a layout agrees with the names that were read: their scores where they agree less where they do not.

    A name stands at the beginning of its lead, at most a little before it; some machines print it above the middle.

    Args:
        layout: A candidate.
        names: What was read, with places and scores.
        begins: Where each column begins, as a share of the rows' length; None where columns divide the rows evenly.

    Returns:
        Larger for the better layout.
    """
    begins = begins or tuple(column / layout.columns for column in range(layout.columns))
    wide = (begins[-1] - begins[0]) / (layout.columns - 1) if layout.columns > 1 else 1.0
    total = 0.0
    seen: set[tuple[int, int]] = set()
    for name in names:
        if name.row >= layout.rows:
            strip = layout.strip(name.row - layout.rows) if name.row - layout.rows < layout.strips else None
            if name.share < 0.15:
                total += 0.3 * name.score if name.lead == strip else -0.1 * name.score
            continue
        column = max(0, bisect_right(begins, name.share + _BEFORE * wide) - 1)
        behind = (name.share - begins[column]) / wide
        if layout.lead(name.row, column) != name.lead or behind > 1.0 - _BEFORE:
            total -= 0.6 * name.score
        else:
            total += name.score if behind < _AFTER else _IN_THE_MIDDLE * name.score
        seen.add((name.row, column))
    # Where names were read, leads without one speak against a layout that has them.
    if len(names) >= 3:
        total -= 0.3 * (layout.rows * layout.columns - len(seen))
    return total


def cabrera(layout: Layout) -> Layout | None:
    """The same layout with Cabrera's order of the limb leads; None where it has not all of them."""
    if layout.leads != LEADS:
        return None
    return Layout(layout.rows, layout.columns, layout.strips, CABRERA_LEADS)
