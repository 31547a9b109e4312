"""`Serial`: one ECG beside an earlier one of the same person, as drafts, searches and the page carry it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# "borderline": met on one side of a limit only, by a change that is within repeatability; "not_compared": there in one,
# and what would tell whether it is new or gone cannot be held against the other; "increased": in both, and further
# out by more than repeatability.
FindingState = Literal["new", "gone", "increased", "unchanged", "borderline", "not_compared"]


@dataclass(frozen=True)
class EarlierEcg:
    """An earlier ECG of the person in the case base.

    Attributes:
        case_id: Its case.
        recorded_at: ISO date or date and time; None where the source does not say.
        statements: Codes that it carries.
        report: Its report.
        samples: Whether it can be measured.
    """

    case_id: str
    recorded_at: str | None = None
    statements: tuple[str, ...] = ()
    report: str = ""
    samples: bool = True


@dataclass(frozen=True)
class SerialRow:
    """One value before and after.

    Attributes:
        name: "qtc_ms", "st_j_mv V2", ...
        before, after: None where it could not be measured.
        change: After less before, axes the shorter way round.
        beyond: Whether the change exceeds repeatability.
    """

    name: str
    before: float | None
    after: float | None
    change: float | None
    beyond: bool = False


@dataclass(frozen=True)
class SerialChange:
    """A change that exceeds repeatability.

    Attributes:
        code: Of `measures.compare.ChangeCode`.
        text: In words.
        leads: Where it shows.
        rule: Limit and source.
    """

    code: str
    text: str
    leads: tuple[str, ...]
    rule: str


@dataclass(frozen=True)
class SerialFinding:
    """A finding of either ECG.

    Attributes:
        code: Of a flag ("st_elevation") or a statement ("CLBBB").
        name: For people.
        state: How it stands to the earlier ECG.
        by: "measurement" of both, or "statements": of the draft now and of the report then.
        why: Of one that is not compared, in words.
        urgent: Whether somebody must look at once.
    """

    code: str
    name: str
    state: FindingState
    by: Literal["measurement", "statements"]
    why: str = ""
    urgent: bool = False


@dataclass(frozen=True)
class Serial:
    """A comparison with an earlier ECG.

    Attributes:
        earlier: All earlier ECGs of the person in the base, the newest first; empty outside a base.
        compared_with: Case id (or name) of the one that the rest is about; "" where none could be measured.
        recorded_at: When that one was recorded.
        rows: Values of both.
        changes: What exceeds repeatability.
        findings: New, gone, increased, unchanged and borderline ones, and those not compared; the most dangerous first.
        limits: Why the comparison is limited, in words.
        sentence: All of it in one sentence.
        beats_mv: Lead -> (before, after): median beats on their level before QRS, mV, None where unknown, sampled at
            `beats_hz` and laid over each other at the onset of QRS.
        beats_hz: Their rate.
    """

    earlier: tuple[EarlierEcg, ...] = ()
    compared_with: str = ""
    recorded_at: str | None = None
    rows: tuple[SerialRow, ...] = ()
    changes: tuple[SerialChange, ...] = ()
    findings: tuple[SerialFinding, ...] = ()
    limits: tuple[str, ...] = ()
    sentence: str = ""
    beats_mv: Mapping[str, tuple[tuple[float | None, ...], tuple[float | None, ...]]] = field(default_factory=dict)
    beats_hz: float = 250.0
