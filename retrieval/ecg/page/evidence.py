"""How sure it is that a page shows an ECG that was read as one: names at their leads, limb leads that agree, beats."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.searchable import steep_energy
from ecgkin.retrieval.notes import NoteCode

if TYPE_CHECKING:
    from ecgkin.retrieval.ecg.page.digitized import Digitized
    from ecgkin.retrieval.ecg.page.network.segment import FoundName

FloatArray = NDArray[np.float64]
Grade: TypeAlias = Literal["sure", "fair", "poor"]

_NAME_SCORE = 0.5
_BEFORE, _AFTER = 0.15, 0.65  # where a name stands along its lead, shares of the lead's length
_AWAY, _ABOVE = 0.62, 1.05  # of the distance of rows: how far it stands below and above the baseline
_WINDOW_S = 2.5
_KNOWN = 0.9
_BORDER_S = 0.2  # at either end of a window: strokes between columns and edges of pulses are steep in all rows at once
_TOGETHER, _CLEARLY = 0.3, 0.7
_LAW_DB = 6.0  # three quarters of the energy is explained: chance gives 0
_NAMED, _SOME_NAMED = 0.6, 0.3
_FOLLOWED, _HARDLY = 0.9, 0.6
_REPEATED = 5  # rhythm strips repeat up to three
_APART = 3.0  # heights of letters
_ONE_SIZE = 1.5  # ratio of heights: one machine prints all names alike, what is taken for a name in a curve is not
_SOME_ROWS = 4  # of so many leads one may be out of step with the others


class PrintedStretch(Protocol):
    """What is asked of a stretch of a lead (`digitize.Stretch`)."""

    @property
    def lead(self) -> str:
        """Its name."""

    @property
    def sign(self) -> int:
        """-1 where it is printed upside down."""

    @property
    def row(self) -> int:
        """Of the page."""

    @property
    def left(self) -> float:
        """Its first column, fine px."""

    @property
    def right(self) -> float:
        """Its last column, fine px."""

    @property
    def strip(self) -> bool:
        """Whether it is a rhythm strip."""


@dataclass(frozen=True, slots=True)
class PageEvidence:
    """What speaks for an ECG on a page, apart from what it resembles.

    Attributes:
        named: Share of the leads of the layout whose name was read at their beginning, 0 to 1.
        law_db: How well the limb leads fulfil their laws; None where that cannot be tested.
        together: How much leads that are shown at the same time are steep at the same time, -1 to 1 (`synchrony`); None
            where no two are.
        followed: Mean share of the curves that was followed on ink, 0 to 1.
        inked: Whether the rows were found by their ink, not by the network's map alone.
        dark: Whether they are light on a dark ground, as drawings and screens are, too.
        repeated: Leads whose name stands in more than one place: more than two ECGs' strips have.
    """

    named: float
    law_db: float | None
    together: float | None
    followed: float
    inked: bool
    dark: bool = False
    repeated: int = 0

    @property
    def several(self) -> bool:
        """Whether more than one ECG stands on the sheet."""
        return self.repeated >= _REPEATED

    @property
    def nothing(self) -> bool:
        """Whether next to nothing speaks for an ECG: rows of a chart, a table, a diagram, or curves without beats."""
        if not self.inked:
            # Rows that the network alone sees, and names in stains, are nothing without beats.
            lawful = self.law_db is not None and self.law_db >= _LAW_DB
            least = _TOGETHER if self.named >= _SOME_NAMED else _CLEARLY
            together = self.together is not None and self.together >= least
            # Diagrams on a dark ground may have beats, too, but not names and limb leads that agree.
            return not (lawful or together) or (self.dark and not (lawful and together and self.named >= _NAMED))
        if self.together is None:
            return self.named < _SOME_NAMED and self.law_db is None and self.followed < _HARDLY
        if self.together < _TOGETHER:
            return self.named < _NAMED
        unlawful = self.law_db is None or self.law_db < _LAW_DB / 2
        return self.named < _SOME_NAMED / 2 and unlawful and self.together < _CLEARLY

    @property
    def grade(self) -> Grade:
        """What the evidence amounts to.

        Returns:
            "sure" (an ECG, and read as one), "fair" (an ECG, of which something was not read), "poor" (rows of curves).
        """
        lawful = self.law_db is not None and self.law_db >= _LAW_DB
        together = self.together is not None and self.together >= _TOGETHER
        # A dark drawing is doubted unless its limb leads agree at least a little: diagrams are dark, too.
        lit = not self.dark or (self.law_db is not None and self.law_db >= 0.0)
        plain = self.inked and not self.several and lit
        if together and plain and (self.named >= _NAMED or lawful):
            return "sure"
        if (together and (self.named >= _SOME_NAMED or lawful)) or (lawful and self.together is None):
            return "fair"
        return "poor"


def doubts(evidence: PageEvidence | None) -> tuple[str, str]:
    """Why a page is not taken for an ECG that was read, in English and German.

    Args:
        evidence: Of the page; None where its curves could not be followed.
    """
    if evidence is None:
        return "no curves could be followed", "keine Kurve ließ sich verfolgen"
    said = [
        (evidence.named < _NAMED, "lead names not read", "Namen der Ableitungen nicht gelesen"),
        (evidence.together is None or evidence.together < _TOGETHER, "leads do not beat together",
         "Ableitungen schlagen nicht im Takt"),
        (evidence.law_db is not None and evidence.law_db < _LAW_DB, "limb leads contradict each other",
         "Extremitätenableitungen widersprechen sich"),
        (evidence.followed < _FOLLOWED, "curves with gaps", "Kurven mit Lücken"),
        (evidence.several, "more than one ECG on the sheet", "mehr als ein EKG auf dem Blatt"),
        (not evidence.inked, "traces stand out too little", "Kurven heben sich zu wenig ab"),
    ]  # fmt: skip
    found = [(english, german) for holds, english, german in said if holds]
    english, german = zip(*(found or [("too little to compare", "zu wenig zum Vergleichen")]), strict=True)
    return ", ".join(english), ", ".join(german)


def page_evidence(found: Digitized) -> PageEvidence:
    """The evidence of a digitised page.

    Args:
        found: The page.
    """
    shares = list(found.confidence.values())
    return PageEvidence(
        named=_named(found),
        law_db=found.einthoven_db,
        together=synchrony(found.record.signal_mv, found.record.fs_hz),
        followed=float(np.mean(shares)) if shares else 0.0,
        inked=not found.sheet.by_network,
        dark=any(note.code is NoteCode.PAGE_DARK for note in found.page.warnings),
        repeated=_repeated(found),
    )


def synchrony(signal_mv: NDArray[np.float32], fs_hz: float) -> float | None:
    """How much the leads of a page are steep at the same moments, as only leads of one heart are.

    In each 2.5 s, less 0.2 s at either end, where leads of a column begin and end, the energy between 5 and 25 Hz of
    every lead that is known there, averaged over 0.1 s, is correlated with that of every other; the median of the
    windows' means counts. Of four leads or more the one that agrees least is left out: a rhythm strip may be out of
    step with the rows above it, be the page curled or seen from the side. Noise of several kinds and steps of no common
    clock reach .17 (the most of 36 pages), charts and diagrams about as much; of 131 real pages half reach .93 and all
    but 2 % .3.

    Args:
        signal_mv: Shape (n_leads, n_samples), NaN where not known.
        fs_hz: Samples a second.

    Returns:
        -1 to 1; None where no two leads are known at the same time.

    >>> t = np.arange(1250) / 500.0
    >>> beats = np.exp(-((t % 0.8 - 0.4) ** 2) / 0.0002)
    >>> pair = np.stack([beats, -0.3 * beats + 0.1 * np.sin(t)]).astype(np.float32)
    >>> round(synchrony(pair, 500.0), 1), synchrony(pair[:1], 500.0)
    (1.0, None)
    """
    size = round(_WINDOW_S * fs_hz)
    said = []
    for begin in range(0, max(1, signal_mv.shape[1] - size // 2), size):
        part = signal_mv[:, begin : begin + size]
        rows = part[np.isfinite(part).mean(axis=1) > _KNOWN]
        if part.shape[1] < size // 2 or len(rows) < 2:
            continue
        energy = steep_energy(np.nan_to_num(rows).astype(np.float64), fs_hz)
        border = round(_BORDER_S * fs_hz)
        energy = energy[:, border : energy.shape[1] - border]
        energy = energy[energy.std(axis=1) > 1e-9]
        if len(energy) > 1:
            alike = np.corrcoef(energy)
            if len(energy) >= _SOME_ROWS:
                kept = np.arange(len(energy)) != alike.sum(axis=1).argmin()
                alike = alike[kept][:, kept]
            said.append(float(alike[np.triu_indices(len(alike), 1)].mean()))
    return float(np.median(said)) if said else None


def _repeated(found: Digitized) -> int:
    """Leads whose name was read in places that lie apart, in letters of one size."""
    marks = found.sheet.marks
    if marks is None:
        return 0
    sure: dict[str, list[FoundName]] = {}
    for name in marks.names:
        if name.score >= _NAME_SCORE:
            sure.setdefault(name.lead, []).append(name)
    return sum(any(_twice(a, b) for a, b in combinations(names, 2)) for names in sure.values())


def _twice(one: FoundName, other: FoundName) -> bool:
    """Whether two names stand in places of their own and are printed alike."""
    apart = abs(one.x - other.x) + abs(one.y - other.y) > _APART * min(one.height_px, other.height_px)
    return apart and max(one.height_px, other.height_px) <= _ONE_SIZE * min(one.height_px, other.height_px)


def _named(found: Digitized) -> float:
    """Share of the leads, strips apart, that have their name at their beginning."""
    marks, rows = found.sheet.marks, found.sheet.rows
    leads = [stretch for stretch in found.stretches if not stretch.strip]
    if marks is None or not leads:
        return 0.0
    factor = found.fine.factor
    pitch = float(np.median(np.diff(rows.baselines))) if len(rows.baselines) > 1 else 0.3 * found.sheet.shape[0]
    hits = 0
    for stretch in leads:
        left, right = ((x + 0.5) / factor - 0.5 for x in (stretch.left, stretch.right))
        label = f"-{stretch.lead}" if stretch.sign < 0 else stretch.lead
        y = rows.baselines[stretch.row]
        hits += any(
            name.lead == label and name.score >= _NAME_SCORE and -_ABOVE * pitch <= name.y - y <= _AWAY * pitch
            and left - _BEFORE * (right - left) <= name.x <= left + _AFTER * (right - left)
            for name in marks.names
        )  # fmt: skip
    return hits / len(leads)
