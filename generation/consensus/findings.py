"""One probability a finding: vote, the encoder's reading and measurements weighed together, for draft, bars and API.

What is shown beside a search and what a draft states come from here, so that they cannot differ.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from ecgkin.generation.consensus.measured import MeasuredFindings, measured_findings
from ecgkin.generation.consensus.sections import not_normal
from ecgkin.generation.consensus.thresholds import FLOOR, DraftThresholds
from ecgkin.generation.measures import Measurements
from ecgkin.generation.measures.evidence import evidence_values
from ecgkin.generation.types.draft import Support
from ecgkin.retrieval.search.vote import SUPER, Vote

# Probability of what the measured rhythm excludes, and the margin of what was measured.
_EXCLUDED, _SURE_MARGIN = 0.02, 2.0
# How probable a normal ECG is at most where a flag is raised: of the flagged records of PTB-XL folds 1 to 9 5.4 % are
# NORM (384 of 7,163), of those with an urgent flag 10 %.
_NORMAL_THOUGH_FLAGGED = 0.1
# How many are called normal of the records of PTB-XL folds 1-8 without a flag that have a value which a normal ECG does
# not have (QTc 18 of 96, PR 100 of 294, rate 78 of 180, axis 27 of 395).
_NORMAL_BESIDE: Mapping[str, float] = {"qtc_ms": 0.19, "pr_ms": 0.34, "rate_bpm": 0.43, "axis_deg": 0.07}


@dataclass(frozen=True)
class Findings:
    """What is known of one ECG before anything is worded.

    Attributes:
        probabilities: Of statements, and of superclasses (NORM is both, and stands for the statement).
        candidates: Statements that pass their thresholds, with their probability.
        margins: Code -> log-odds by which it lies above its threshold, of all statements.
        superclass_margins: The same for the five superclasses.
        support: Statement -> which of vote and reading is for it; empty without a reading.
    """

    probabilities: Mapping[str, float]
    candidates: Mapping[str, float]
    margins: Mapping[str, float]
    superclass_margins: Mapping[str, float]
    support: Mapping[str, Support] = field(default_factory=dict)


def weigh(
    vote: Vote,
    carried: Collection[str] | None = None,
    *,
    thresholds: DraftThresholds,
    measurements: Measurements | None = None,
    found: MeasuredFindings | None = None,
) -> Findings:
    """Put together what neighbours, head and measurements say.

    Args:
        vote: Of the neighbours, with the encoder's reading where it has one.
        carried: Statements that a neighbour carries; without a reading others do not pass. None for all with a vote.
        thresholds: From where on a finding is stated.
        measurements: Of the query.
        found: What they say, where that is known already.

    Returns:
        Probabilities, and what measurements state or rule out.
    """
    known = found if found is not None else measured_findings(measurements)
    refined = thresholds.refine(vote, evidence_values(measurements))
    probabilities = {**vote.statements, **{c: p for c, (p, _) in refined.items() if c in vote.statements}}
    supers = {**vote.superclasses}
    for code, (p, _) in refined.items():
        if code.startswith(SUPER):
            supers[code.removeprefix(SUPER)] = p
    # What was measured is at least as probable as the measurement is right; what it excludes is not probable.
    probabilities |= {c: max(probabilities[c], p) for c, p in known.added.items()}
    probabilities |= {c: min(probabilities[c], _EXCLUDED) for c in known.ruled_out}
    if known.not_normal and "NORM" in probabilities:
        probabilities["NORM"] = min(probabilities["NORM"], _NORMAL_THOUGH_FLAGGED)
    for name in not_normal(measurements.values if measurements is not None else {}):
        if "NORM" in probabilities and name in _NORMAL_BESIDE:
            probabilities["NORM"] = min(probabilities["NORM"], _NORMAL_BESIDE[name])
    supers["NORM"] = probabilities.get("NORM", supers.get("NORM", 0.0))
    passing = thresholds.passing(vote, carried, refined)
    candidates = {c: probabilities[c] for c in passing.statements if c not in known.ruled_out}
    candidates |= {c: probabilities[c] for c in known.added if probabilities[c] >= FLOOR}
    for code in (*known.untold, *(("NORM",) if known.not_normal else ())):
        candidates.pop(code, None)
    return Findings(
        probabilities={**supers, **probabilities},
        candidates=candidates,
        margins={**passing.margins, **dict.fromkeys(known.added, _SURE_MARGIN)},
        superclass_margins=passing.superclass_margins,
        support={code: support(vote, code, thresholds) for code in vote.statements} if vote.joint else {},
    )


def support(vote: Vote, code: str, thresholds: DraftThresholds) -> Support:
    """Which of the two witnesses is for a statement, each by its own threshold.

    Args:
        vote: With a reading.
        code: Of the statement.
        thresholds: Of the encoder.

    Returns:
        "both", "cases", "reading" or "neither".
    """
    cases = thresholds.share_margin(vote, code) >= 0
    reading = thresholds.reading_margin(vote, code) >= 0
    if cases:
        return "both" if reading else "cases"
    return "reading" if reading else "neither"


def with_findings(vote: Vote, thresholds: DraftThresholds, measurements: Measurements | None) -> Vote:
    """The vote with the probabilities that a draft of the same ECG states, most probable first.

    Args:
        vote: Of a search.
        thresholds: Of the encoder.
        measurements: Of the query; None where it was not measured.

    Returns:
        The vote with these probabilities in place of its own.
    """
    found = weigh(vote, thresholds=thresholds, measurements=measurements).probabilities
    statements = {code: found[code] for code in vote.statements}
    superclasses = {name: found[name] for name in vote.superclasses}
    return replace(
        vote,
        statements=MappingProxyType(dict(sorted(statements.items(), key=lambda item: -item[1]))),
        superclasses=MappingProxyType(dict(sorted(superclasses.items(), key=lambda item: -item[1]))),
    )
