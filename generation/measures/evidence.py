"""What a measurement adds to the vote: the share of the neighbours and how far a value lies beyond its limit.

For a statement that a number defines (first degree AV block is a PR interval above 200 ms), one logistic curve:
log-odds = slope * log-odds of the share + intercept + sum of weight * excess. Both parts can be shown: the cases that
carry the statement, and the value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Each term: measurement, direction, limit, unit. The excess is (value - limit) / unit, with "below" its sign turned,
# kept within -1 to 4: what is far inside the normal range is no more normal for it. Limits are those of the AHA/ACC/HRS
# statements: rate 60 and 100/min, PR 200 ms, QRS 110 ms (incomplete blocks), QTc 450 ms, axis -30 and 90 degrees. From
# one RR interval to the next the change has a median of 1.4 % in sinus rhythm, 5.5 % in sinus arrhythmia, 19 % in AFIB
# (the 4,000 records of PTB-XL folds 1-8 that scripts/bench_draft.py fit measures).
TERMS: Mapping[str, tuple[str, bool, float, float]] = {
    "fast": ("rate_bpm", True, 100.0, 10.0),
    "slow": ("rate_bpm", False, 60.0, 5.0),
    "long_pr": ("pr_ms", True, 200.0, 20.0),
    "wide_qrs": ("qrs_ms", True, 110.0, 15.0),
    "long_qt": ("qtc_ms", True, 450.0, 20.0),
    "left_axis": ("axis_deg", False, -30.0, 15.0),
    "right_axis": ("axis_deg", True, 90.0, 15.0),
    "uneven": ("rr_variation", True, 0.06, 0.03),
}
# Which terms a statement is told by; others stay with the vote.
TERMS_OF: Mapping[str, tuple[str, ...]] = {
    "STACH": ("fast",),
    "SBRAD": ("slow",),
    "SR": ("fast", "slow", "uneven"),
    "SARRH": ("uneven", "fast", "slow"),
    "AFIB": ("uneven", "fast"),
    "1AVB": ("long_pr",),
    "LPR": ("long_pr",),
    "LNGQT": ("long_qt",),
    "CLBBB": ("wide_qrs",),
    "CRBBB": ("wide_qrs",),
    "IVCD": ("wide_qrs",),
    "IRBBB": ("wide_qrs",),
    "LAFB": ("left_axis",),
    "LPFB": ("right_axis",),
}
_LEAST, _MOST = -1.0, 4.0
# A share is smoothed by one neighbour in this many, so that 0 and 1 have log-odds.
_SMOOTHING = 200.0


def excess(term: str, values: Mapping[str, float]) -> float | None:
    """How far a measurement lies beyond its limit, in units of its term; None where it was not measured.

    >>> excess("long_pr", {"pr_ms": 240.0}), excess("slow", {"rate_bpm": 80.0}), excess("fast", {})
    (2.0, -1.0, None)
    """
    name, above, limit, unit = TERMS[term]
    if name not in values:
        return None
    distance = (values[name] - limit) / unit
    return max(_LEAST, min(_MOST, distance if above else -distance))


def share_logit(share: float) -> float:
    """Log-odds of a share, finite at 0 and 1."""
    p = (min(max(share, 0.0), 1.0) * _SMOOTHING + 0.5) / (_SMOOTHING + 1.0)
    return math.log(p) - math.log1p(-p)


@dataclass(frozen=True)
class MeasuredModel:
    """The curve of one statement.

    Attributes:
        slope, intercept: Of the log-odds of the share.
        weights: By term.
        threshold: From which probability the statement is made.
    """

    slope: float
    intercept: float
    weights: Mapping[str, float] = field(default_factory=dict)
    threshold: float = 0.5

    def probability(self, share: float, values: Mapping[str, float]) -> float | None:
        """Probability of the statement; None where one of its measurements is missing."""
        z = self.slope * share_logit(share) + self.intercept
        for term, weight in self.weights.items():
            beyond = excess(term, values)
            if beyond is None:
                return None
            z += weight * beyond
        return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, z))))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, rounded."""
        return {
            "slope": round(self.slope, 4),
            "intercept": round(self.intercept, 4),
            "weights": {term: round(weight, 4) for term, weight in self.weights.items()},
            "threshold": round(self.threshold, 4),
        }

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> MeasuredModel:
        """The model of `as_dict`.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: A part is missing or no number, or a term is unknown.
        """
        weights = {str(term): float(weight) for term, weight in values["weights"].items()}
        if unknown := weights.keys() - TERMS.keys():
            raise ValueError(f"unknown terms {sorted(unknown)}")
        return cls(float(values["slope"]), float(values["intercept"]), weights, float(values["threshold"]))
