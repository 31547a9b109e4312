"""What measurements add to vote and head: how far values lie beyond their limits, weighed in one logistic curve.

For a statement that numbers define or are a sign of (first degree AV block is a PR interval above 200 ms), one curve:
log-odds = slope * log-odds of vote and head together + intercept + sum of weight * excess, and a weight of its own for
a value that could not be measured: where there is no PR interval there may be no P wave. Every part can be shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ecgkin.generation.measures.leads import LeadMeasures
from ecgkin.generation.measures.values import Measurements

# Each term: value, direction, limit, unit. The excess is (value - limit) / unit, with "below" its sign turned, kept
# within -1 to 4: what is far inside the normal range is no more normal for it. Limits are those of the AHA/ACC/HRS
# statements: rate 60 and 100/min, PR 200 ms, QRS 110 ms (incomplete blocks), QTc 450 ms, axis -30 and 90 degrees;
# Sokolow-Lyon 3.5 mV, Cornell 2.4 mV (between the limits of the sexes), limb leads 0.5 mV. From one RR interval to the
# next the change has a median of 1.4 % in sinus rhythm, 5.5 % in sinus arrhythmia, 19 % in AFIB (4,000 records of
# PTB-XL folds 1-8). Age and sex shift what amplitudes mean; they are terms beside measurements only.
TERMS: Mapping[str, tuple[str, bool, float, float]] = {
    "fast": ("rate_bpm", True, 100.0, 10.0),
    "slow": ("rate_bpm", False, 60.0, 5.0),
    "long_pr": ("pr_ms", True, 200.0, 20.0),
    "short_pr": ("pr_ms", False, 120.0, 10.0),
    "wide_qrs": ("qrs_ms", True, 110.0, 15.0),
    "long_qt": ("qtc_ms", True, 450.0, 20.0),
    "left_axis": ("axis_deg", False, -30.0, 15.0),
    "right_axis": ("axis_deg", True, 90.0, 15.0),
    "uneven": ("rr_variation", True, 0.06, 0.03),
    "slow_start": ("slow_start_ms", True, 22.0, 4.0),
    "paced": ("paced_share", True, 0.2, 0.2),
    "no_p": ("p_present", False, 0.5, 0.5),
    "premature_v": ("premature_ventricular", True, 0.5, 1.0),
    "premature_a": ("premature_atrial", True, 0.5, 1.0),
    "sokolow": ("sokolow_mv", True, 3.5, 0.5),
    "cornell": ("cornell_mv", True, 2.4, 0.4),
    "small_limb": ("limb_mv", False, 0.5, 0.15),
    "tall_r_v1": ("r_v1_mv", True, 0.5, 0.2),
    "deep_s_v6": ("s_v6_mv", True, 0.5, 0.2),
    "t_down_lateral": ("t_lateral_mv", False, 0.0, 0.1),
    "t_low_lateral": ("t_lateral_mv", False, 0.2, 0.1),
    "t_down_anterior": ("t_anterior_mv", False, 0.0, 0.1),
    "t_down_inferior": ("t_inferior_mv", False, 0.0, 0.1),
    "st_down_lateral": ("st_low_lateral_mv", False, -0.05, 0.03),
    "st_down_inferior": ("st_low_inferior_mv", False, -0.05, 0.03),
    "st_up_anterior": ("st_high_anterior_mv", True, 0.15, 0.05),
    "st_up_inferior": ("st_high_inferior_mv", True, 0.08, 0.04),
    "q_inferior": ("q_inferior", True, 0.5, 1.0),
    "q_lateral": ("q_lateral", True, 0.5, 1.0),
    "small_r_anterior": ("r_v3_mv", False, 0.3, 0.1),
    "qs_anterior": ("qs_anterior", True, 0.5, 1.0),
    "aged": ("age_years", True, 60.0, 12.0),
    "woman": ("woman", True, 0.5, 0.5),
}
_VOLTAGE = ("sokolow", "cornell")
_ANTERIOR_Q = ("small_r_anterior", "qs_anterior", "st_up_anterior", "t_down_anterior")
_INFERIOR_Q = ("q_inferior", "st_up_inferior", "t_down_inferior")
_BLOCK = ("wide_qrs", "paced")
# Which terms a statement, or a superclass, is told by; others stay with vote and head.
TERMS_OF: Mapping[str, tuple[str, ...]] = {
    "STACH": ("fast", "no_p"),
    "SBRAD": ("slow", "no_p"),
    "SR": ("fast", "slow", "uneven", "no_p", "paced"),
    "SARRH": ("uneven", "fast", "slow", "no_p"),
    "AFIB": ("uneven", "fast", "no_p", "paced"),
    "AFLT": ("fast", "no_p", "uneven"),
    "PACE": ("paced", "wide_qrs", "no_p"),
    "PVC": ("premature_v", "uneven"),
    "PAC": ("premature_a", "uneven", "no_p"),
    "PRC(S)": ("premature_a", "premature_v"),
    "BIGU": ("premature_v", "uneven"),
    "1AVB": ("long_pr", "no_p"),
    "LPR": ("long_pr", "no_p"),
    "WPW": ("short_pr", "slow_start", "wide_qrs"),
    "LNGQT": ("long_qt", "wide_qrs"),
    "CLBBB": (*_BLOCK, "left_axis"),
    "CRBBB": (*_BLOCK, "tall_r_v1", "deep_s_v6"),
    "IVCD": (*_BLOCK, "left_axis"),
    "IRBBB": (*_BLOCK, "tall_r_v1", "deep_s_v6"),
    "ILBBB": _BLOCK,
    "LAFB": ("left_axis", "wide_qrs"),
    "LPFB": ("right_axis", "wide_qrs"),
    "LVH": (*_VOLTAGE, "t_down_lateral", "wide_qrs", "aged", "woman"),
    "VCLVH": (*_VOLTAGE, "t_down_lateral", "aged", "woman"),
    "HVOLT": _VOLTAGE,
    "LVOLT": ("small_limb", "sokolow"),
    "RVH": ("right_axis", "tall_r_v1", "deep_s_v6"),
    "LOWT": ("t_low_lateral", "t_down_lateral"),
    "INVT": ("t_down_lateral", "t_down_anterior", "t_down_inferior"),
    "NDT": ("t_low_lateral", "t_down_lateral", "st_down_lateral"),
    "NT_": ("t_low_lateral", "t_down_lateral", "t_down_inferior"),
    "TAB_": ("t_down_lateral", "t_down_anterior", "t_down_inferior"),
    "STD_": ("st_down_lateral", "st_down_inferior"),
    "NST_": ("st_down_lateral", "st_down_inferior"),
    "STE_": ("st_up_anterior", "st_up_inferior"),
    "ISC_": ("t_down_lateral", "st_down_lateral"),
    "ISCAL": ("t_down_lateral", "t_down_anterior", "st_down_lateral"),
    "ISCAS": ("t_down_anterior", "st_down_lateral"),
    "ISCIN": ("t_down_inferior", "st_down_inferior"),
    "ISCIL": ("t_down_inferior", "t_down_lateral", "st_down_lateral"),
    "ISCLA": ("t_down_lateral", "st_down_lateral"),
    "IMI": (*_INFERIOR_Q, "left_axis"),
    "ILMI": (*_INFERIOR_Q, "q_lateral"),
    "ASMI": _ANTERIOR_Q,
    "AMI": _ANTERIOR_Q,
    "ALMI": (*_ANTERIOR_Q, "q_lateral"),
    "LMI": ("q_lateral", "t_down_lateral"),
    "QWAVE": ("q_inferior", "q_lateral", "qs_anterior"),
    "NORM": (
        "wide_qrs", "left_axis", "right_axis", "sokolow", "t_low_lateral", "t_down_inferior", "st_down_lateral",
        "q_inferior", "small_r_anterior", "qs_anterior", "long_pr", "no_p", "aged", "woman",
    ),
    "super:CD": ("wide_qrs", "left_axis", "right_axis", "long_pr", "tall_r_v1", "deep_s_v6", "no_p", "paced", "aged"),
    "super:HYP": (*_VOLTAGE, "t_down_lateral", "tall_r_v1", "right_axis", "aged", "woman"),
    "super:STTC": (
        "t_low_lateral", "t_down_lateral", "t_down_anterior", "t_down_inferior", "st_down_lateral", "st_down_inferior",
        "long_qt", "wide_qrs", "aged", "woman",
    ),
    "super:MI": (*_INFERIOR_Q, *_ANTERIOR_Q, "q_lateral", "wide_qrs", "aged", "woman"),
}  # fmt: skip
_LEAST, _MOST = -1.0, 4.0
_LATERAL, _INFERIOR, _ANTERIOR = ("I", "V5", "V6"), ("II", "III", "aVF"), ("V2", "V3", "V4")
_LIMB = ("I", "II", "III", "aVR", "aVL", "aVF")
# A Q wave of the Fourth Universal Definition: 30 ms wide and 0.1 mV deep.
_Q_MS, _Q_MV = 30.0, 0.1


def evidence_values(measured: Measurements | None) -> dict[str, float]:
    """The numbers that terms look at, by name; what could not be measured is absent.

    Args:
        measured: Of the query; None gives none.
    """
    if measured is None or not measured.values:
        return {}
    out = dict(measured.values)
    if measured.slow_start_ms is not None:
        out["slow_start_ms"] = float(measured.slow_start_ms)
    out["paced_share"] = max(measured.pacing.ventricular, measured.pacing.atrial) if measured.pacing.paced else 0.0
    if measured.p_waves != "unclear":
        out["p_present"] = float(measured.p_waves == "present")
    out["premature_ventricular"] = float(measured.premature_ventricular)
    out["premature_atrial"] = float(measured.premature_atrial)
    if measured.age_years is not None:
        out["age_years"] = float(measured.age_years)
    if measured.sex is not None:
        out["woman"] = float(measured.sex == "F")
    leads = measured.leads

    def known(*names: str) -> list[LeadMeasures]:
        return [leads[name] for name in names if name in leads]

    if len(left := known("V5", "V6")) and "V1" in leads:
        out["sokolow_mv"] = leads["V1"].s_mv + leads["V1"].q_mv * leads["V1"].qs + max(lead.r_mv for lead in left)
    if "aVL" in leads and "V3" in leads:
        out["cornell_mv"] = leads["aVL"].r_mv + max(leads["V3"].s_mv, leads["V3"].q_mv)
    if len(limb := known(*_LIMB)) >= 4:
        out["limb_mv"] = max(max(lead.r_mv, lead.r2_mv) + max(lead.q_mv, lead.s_mv) for lead in limb)
    if "V1" in leads:
        out["r_v1_mv"] = max(leads["V1"].r_mv, leads["V1"].r2_mv)
    if "V6" in leads:
        out["s_v6_mv"] = leads["V6"].s_mv
    if "V3" in leads:
        out["r_v3_mv"] = max(leads["V3"].r_mv, leads["V3"].r2_mv)
    for name, of in (("lateral", _LATERAL), ("inferior", _INFERIOR), ("anterior", _ANTERIOR)):
        here = known(*of)
        if len(here) < 2:
            continue
        # The second most: one lead alone is noise, or its place on the chest.
        out[f"t_{name}_mv"] = sorted(lead.t_mv for lead in here)[1]
        out[f"st_low_{name}_mv"] = sorted(lead.st_60_mv for lead in here)[1]
        out[f"st_high_{name}_mv"] = sorted((lead.st_j_mv for lead in here), reverse=True)[1]
        out[f"q_{name}"] = float(sum(lead.q_ms >= _Q_MS and lead.q_mv >= _Q_MV for lead in here))
        out[f"qs_{name}"] = float(sum(lead.qs for lead in here))
    return out


def excess(term: str, values: Mapping[str, float]) -> float | None:
    """How far a value lies beyond its limit, in units of its term; None where it was not measured.

    Args:
        term: Of `TERMS`.
        values: From `evidence_values`.

    Returns:
        Units of the term, negative within the limit.

    >>> excess("long_pr", {"pr_ms": 240.0}), excess("slow", {"rate_bpm": 80.0}), excess("fast", {})
    (2.0, -1.0, None)
    """
    name, above, limit, unit = TERMS[term]
    if name not in values:
        return None
    distance = (values[name] - limit) / unit
    return max(_LEAST, min(_MOST, distance if above else -distance))


def row_of(label: str, values: Mapping[str, float]) -> tuple[list[float], list[float]]:
    """The excess of each term of a label, and 1 for each of its values that is missing (0 elsewhere).

    Args:
        label: Of `TERMS_OF`.
        values: From `evidence_values`.

    Returns:
        Two lists: by term, and by value.
    """
    beyond = [excess(term, values) for term in TERMS_OF[label]]
    missing = [float(name not in values) for name in names_of(TERMS_OF[label])]
    return [0.0 if one is None else one for one in beyond], missing


def names_of(terms: tuple[str, ...]) -> tuple[str, ...]:
    """The values that terms look at, each once."""
    return tuple(dict.fromkeys(TERMS[term][0] for term in terms))


@dataclass(frozen=True)
class MeasuredModel:
    """The curve of one statement or superclass.

    Attributes:
        slope, intercept: Of the log-odds of vote and head together.
        weights: By term.
        missing: By value that could not be measured.
        threshold: From which probability the statement is made.
    """

    slope: float
    intercept: float
    weights: Mapping[str, float] = field(default_factory=dict)
    missing: Mapping[str, float] = field(default_factory=dict)
    threshold: float = 0.5

    def probability(self, before: float, values: Mapping[str, float]) -> float:
        """Probability of the statement.

        Args:
            before: What vote and head give it.
            values: From `evidence_values`.

        Returns:
            0 to 1.
        """
        clipped = min(max(before, 1e-5), 1 - 1e-5)
        z = self.slope * (math.log(clipped) - math.log1p(-clipped)) + self.intercept
        for term, weight in self.weights.items():
            beyond = excess(term, values)
            z += 0.0 if beyond is None else weight * beyond
        z += sum(weight for name, weight in self.missing.items() if name not in values)
        return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, z))))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, rounded."""
        return {
            "slope": round(self.slope, 4),
            "intercept": round(self.intercept, 4),
            "weights": {term: round(weight, 4) for term, weight in self.weights.items()},
            "missing": {name: round(weight, 4) for name, weight in self.missing.items()},
            "threshold": round(self.threshold, 4),
        }

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> MeasuredModel:
        """The model of `as_dict`.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: A part is missing or no number, or a term is unknown.
        """
        weights = {str(term): float(weight) for term, weight in values["weights"].items()}
        missing = {str(name): float(weight) for name, weight in values["missing"].items()}
        if unknown := weights.keys() - TERMS.keys():
            raise ValueError(f"unknown terms {sorted(unknown)}")
        if unknown := missing.keys() - {name for name, *_ in TERMS.values()}:
            raise ValueError(f"unknown values {sorted(unknown)}")
        return cls(float(values["slope"]), float(values["intercept"]), weights, missing, float(values["threshold"]))
