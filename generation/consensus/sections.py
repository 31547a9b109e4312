"""Where each of the 71 statements belongs in a report, and which of them cannot stand side by side.

The rules follow what the statements mean (a rhythm is sinus or fibrillation, not both) and were checked against the
labels of PTB-XL, folds 1 to 8: of 17,418 records none has two of `RHYTHMS` but 1 with SR and SARRH, 3 with SR and PACE,
3 with AFIB and PACE and 8 with SVTAC and PSVT.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS
from ecgkin.retrieval.ecg.statements.find import Polarity

_SUPERCLASS: Mapping[str, str | None] = {s.code: s.superclass for s in STATEMENTS}
_ORDER = {s.code: i for i, s in enumerate(STATEMENTS)}
SECTIONS: tuple[str, ...] = (
    "rhythm",
    "axis_intervals",
    "conduction",
    "hypertrophy",
    "st_t",
    "infarction",
    "conclusion",
)

RHYTHMS = frozenset({"SR", "STACH", "SBRAD", "SARRH", "AFIB", "AFLT", "PACE", "SVARR", "SVTAC", "PSVT"})
SINUS = frozenset({"SR", "STACH", "SBRAD", "SARRH"})
# Without regular P waves nothing can be said about them.
NO_P_WAVE = frozenset({"AFIB", "AFLT"})
# No P wave, or none that belongs to the QRS: a measured PR interval means nothing.
WITHOUT_PR = NO_P_WAVE | {"PACE", "3AVB"}
# Measured values of the P wave.
P_VALUES = ("pr_ms", "p_axis_deg")
_OF_P_WAVE = frozenset({"1AVB", "2AVB", "LPR", "PAC", "LAO/LAE", "RAO/RAE"})

_MEMBERS: Mapping[str, frozenset[str]] = {
    "rhythm": RHYTHMS | {"PVC", "PAC", "PRC(S)", "BIGU", "TRIGU"},
    "axis_intervals": frozenset({"LPR", "LNGQT"}),
    "conduction": frozenset(
        {"1AVB", "2AVB", "3AVB", "WPW", "CLBBB", "CRBBB", "ILBBB", "IRBBB", "IVCD", "LAFB", "LPFB", "ABQRS"}
    ),
    "hypertrophy": frozenset({"LVH", "VCLVH", "RVH", "SEHYP", "LAO/LAE", "RAO/RAE", "HVOLT", "LVOLT"}),
    "infarction": frozenset("IMI ASMI ILMI AMI ALMI LMI IPLMI IPMI PMI QWAVE INJAS INJAL INJIN INJLA INJIL".split()),
    "conclusion": frozenset({"NORM"}),
}
SECTION_OF: Mapping[str, str] = {
    s.code: next((name for name, codes in _MEMBERS.items() if s.code in codes), "st_t") for s in STATEMENTS
}
# The superclass whose absence a section may state.
SUPERCLASS_OF_SECTION: Mapping[str, str] = {
    "conduction": "CD",
    "hypertrophy": "HYP",
    "st_t": "STTC",
    "infarction": "MI",
}

# Of each group at most one is stated, others are its differential diagnosis: they exclude one another, or are
# neighbouring territories.
EXCLUSIVE: tuple[frozenset[str], ...] = (
    frozenset({"BIGU", "TRIGU"}),
    frozenset({"1AVB", "2AVB", "3AVB"}),
    frozenset({"CLBBB", "CRBBB", "ILBBB", "IRBBB", "WPW"}),
    frozenset({"CLBBB", "CRBBB", "IVCD"}),
    frozenset({"CLBBB", "LAFB", "LPFB"}),
    frozenset({"HVOLT", "LVOLT"}),
    frozenset({"IMI", "ILMI", "IPLMI", "IPMI", "PMI"}),
    frozenset({"ASMI", "AMI", "ALMI"}),
    frozenset({"LMI", "ILMI", "ALMI", "IPLMI"}),
    frozenset({"INJAS", "INJLA"}),
    frozenset({"INJAL", "INJLA"}),
    frozenset({"INJIN", "INJIL"}),
    frozenset({"ISCAL", "ISCLA", "ISCAN"}),
    frozenset({"ISCAL", "ISCAS"}),
    frozenset({"ISCIN", "ISCIL"}),
)
# Of each of these one is said and no other: a reader would take two of them for the same thing said twice.
SAME: tuple[frozenset[str], ...] = (
    frozenset({"ISC_", "ISCAL", "ISCLA", "ISCAN", "ISCAS", "ISCIN", "ISCIL"}),
    frozenset({"NDT", "NT_", "TAB_"}),
    frozenset({"TAB_", "LOWT"}),
    frozenset({"TAB_", "INVT"}),
    frozenset({"LOWT", "INVT"}),
    frozenset({"NST_", "STD_"}),
    frozenset({"NST_", "STE_"}),
)
# What may stand beside "otherwise normal ECG"; everything else that is found makes the ECG abnormal.
BESIDE_NORMAL = (
    SINUS
    | {"PVC", "PAC", "PRC(S)", "SVARR", "IRBBB", "IVCD", "1AVB", "LPR", "LVOLT", "HVOLT", "VCLVH"}
    | {
        "NT_",
        "QWAVE",
    }
)

# What a measurement rules out: statement -> (measurement, and the two values between which it does so). The limits are
# those of the AHA/ACC/HRS statements (rate 60 and 100/min, PR 200 ms, QRS 120 ms, axis -45 and 90 degrees, QTc 450 ms)
# with room for the error of measuring, some 20 ms on simulated records; a left axis speaks against a left posterior
# fascicular block, which turns it to the right (beyond -90 degrees it may have turned all the way).
RULED_OUT: Mapping[str, tuple[str, float, float]] = {
    "SBRAD": ("rate_bpm", 63.0, math.inf),
    "STACH": ("rate_bpm", -math.inf, 95.0),
    "SVTAC": ("rate_bpm", -math.inf, 95.0),
    "PSVT": ("rate_bpm", -math.inf, 95.0),
    "1AVB": ("pr_ms", -math.inf, 180.0),
    "LPR": ("pr_ms", -math.inf, 180.0),
    "WPW": ("pr_ms", 170.0, math.inf),
    "CLBBB": ("qrs_ms", -math.inf, 100.0),
    "CRBBB": ("qrs_ms", -math.inf, 100.0),
    "LAFB": ("axis_deg", -15.0, math.inf),
    "LPFB": ("axis_deg", -90.0, 0.0),
    "LNGQT": ("qtc_ms", -math.inf, 430.0),
}
# What a normal ECG does not have, with more room: a measurement -> lowest and highest value beside "normal ECG".
NORMAL_RANGE: Mapping[str, tuple[float, float]] = {
    "rate_bpm": (40.0, 110.0),
    "pr_ms": (90.0, 230.0),
    "qrs_ms": (0.0, 128.0),
    # Prolonged is 460 ms in women, 450 in men. Of 89 records of PTB-XL folds 7 and 8 beyond that, QRS narrow, one was
    # called normal, a man's of 450 to 460 ms, rightly.
    "qtc_ms": (0.0, 460.0),
    "axis_deg": (-45.0, 115.0),
}
_SINUS_IS_TACHYCARDIA_ABOVE = 105.0
# Beats that a pacemaker begins show neither the heart's own conduction nor its PR interval.
_OF_CONDUCTION = frozenset({"1AVB", "2AVB", "LPR", "CLBBB", "CRBBB", "ILBBB", "IRBBB", "IVCD", "LAFB", "LPFB", "WPW"})


# Statements whose criteria do not hold where the ventricles are excited another way, and from where on that is likely.
_ST_T = frozenset(code for code, home in SECTION_OF.items() if home == "st_t")
_INFARCTIONS = _MEMBERS["infarction"]
_LIKELY, _PLAIN = 0.6, 0.7
# How many less probable members of a group are named beside its strongest.
_ALTERNATIVES = 2
_HALF = 0.5


@dataclass(frozen=True)
class Settled:
    """What is left of the candidates.

    Attributes:
        kept: Code to probability: what is stated.
        alternatives: Code to probability: what excludes something that is kept and is less probable, but passed by its
            own threshold: the differential diagnosis.
        dropped: Code to the reason, for people who check a draft.
    """

    kept: Mapping[str, float]
    alternatives: Mapping[str, float]
    dropped: Mapping[str, str]


def settle(
    candidates: Mapping[str, float],
    measured: Mapping[str, float] | None = None,
    margins: Mapping[str, float] | None = None,
    superclass_margins: Mapping[str, float] | None = None,
) -> Settled:
    """Statements that can stand in one report, of several that exclude each other the most probable one.

    Args:
        candidates: Code to probability, those that pass their thresholds.
        measured: Values of `Measurements` by name; None or empty where there are none.
        margins: How far candidates lie above their thresholds, in log-odds; None compares probabilities. A normal ECG
            is weighed against the others by this: half of all ECGs are normal, one in fifty has a lateral infarction,
            so their probabilities themselves do not compare.
        superclass_margins: The same for superclasses: many doubtful findings of one kind weigh more against a normal
            ECG than the likeliest of them alone.

    Returns:
        What is kept, and what comes into question beside it.

    >>> settled = settle({"SR": 0.6, "AFIB": 0.7, "NORM": 0.5})
    >>> sorted(settled.kept), sorted(settled.alternatives)
    (['AFIB'], ['SR'])
    """
    kept = dict(candidates)
    alternatives: dict[str, float] = {}
    dropped: dict[str, str] = {}

    def drop(codes: Collection[str], reason: str) -> None:
        for code in codes:
            if kept.pop(code, None) is not None or alternatives.pop(code, None) is not None:
                dropped[code] = reason

    known = measured or {}
    for code, (name, low, high) in RULED_OUT.items():
        value = known.get(name)
        if value is not None and low < value < high:
            drop((code,), f"measured {name} {value:.0f}")
    for name in not_normal(known):
        drop(("NORM",), f"measured {name} {known[name]:.0f}")
    if "SR" in kept and known.get("rate_bpm", 0.0) > _SINUS_IS_TACHYCARDIA_ABOVE:
        kept["STACH"] = max(kept.get("STACH", 0.0), kept["SR"])
        drop(("SR",), f"measured rate_bpm {known['rate_bpm']:.0f}")
    others = set(kept) - {"NORM"} - BESIDE_NORMAL
    if "NORM" in kept and others:
        own, supers = margins or kept, superclass_margins or {}
        normal = own.get("NORM", kept["NORM"])
        strongest = max(max(own.get(c, kept[c]), supers.get(_SUPERCLASS[c] or "", -9.0)) for c in others)
        if normal > strongest:
            drop(others, "less probable than NORM")
        else:
            drop(("NORM",), f"abnormal by {max(others, key=kept.__getitem__)}")
    rhythm = _strongest(kept, RHYTHMS)
    for group in SAME:
        best = _strongest(kept, group)
        # Of two names for one thing the diagnosis is said, unless the other is twice as probable.
        diagnosis = _strongest(kept, [code for code in group if _SUPERCLASS[code]])
        if best is not None and diagnosis is not None and kept[diagnosis] >= _HALF * kept[best]:
            best = diagnosis
        if "ISC_" in group and best != "ISC_":
            group = frozenset({"ISC_"})  # a territory says more than "ischemia"; two territories are for the next step
        drop(group & kept.keys() - {best}, f"the same as {best}")
    for group in (RHYTHMS, *EXCLUSIVE):
        best = _strongest(kept, group)
        weaker = sorted((c for c in group & kept.keys() if c != best), key=lambda c: (-kept[c], _ORDER[c]))
        for code in weaker[:_ALTERNATIVES]:
            alternatives[code] = kept.pop(code)
        drop(weaker[_ALTERNATIVES:], f"less probable than {best}")
    if rhythm in NO_P_WAVE:
        drop(_OF_P_WAVE, f"not to be told in {rhythm}")
    if rhythm == "PACE":
        drop(_OF_CONDUCTION, "not to be told in PACE")
    for cause, likely in ((rhythm, 0.0), ("CLBBB", _LIKELY), ("WPW", _LIKELY)):
        # What follows another way of excitation is secondary: no ischaemia, and only a plain infarction.
        if cause in ("PACE", "CLBBB", "WPW") and kept.get(cause, -1.0) >= likely:
            drop(_ST_T, f"secondary in {cause}")
            weak = [c for c in _INFARCTIONS if max(kept.get(c, 0.0), alternatives.get(c, 0.0)) < _PLAIN]
            drop(weak, f"open in {cause}")
    return Settled(kept, alternatives, dropped)


def not_normal(measured: Mapping[str, float]) -> list[str]:
    """Names of the measured values that a normal ECG does not have."""
    return [n for n, (low, high) in NORMAL_RANGE.items() if n in measured and not low <= measured[n] <= high]


def _strongest(probabilities: Mapping[str, float], group: Collection[str]) -> str | None:
    # Ties go by the order of the statements, so that a draft does not depend on the order of a mapping.
    present = [s.code for s in STATEMENTS if s.code in group and s.code in probabilities]
    return max(present, key=lambda code: probabilities[code]) if present else None


def leaves_out_pr(said: Mapping[str, Polarity], measured: Collection[str] = ()) -> bool:
    """Whether PR and P axis mean nothing in a draft: no P wave, or none that belongs to the QRS.

    Args:
        said: Statement -> polarity, of what the draft says.
        measured: Statements that measuring adds.

    Returns:
        True where such a rhythm is said or measured, or is possible and no sinus rhythm is said beside it.
    """
    there = {code for code, polarity in said.items() if polarity == "present"} | set(measured)
    possible = {code for code, polarity in said.items() if polarity == "possible"}
    if WITHOUT_PR & there or "3AVB" in possible:
        return True
    return bool(WITHOUT_PR & possible) and not SINUS & there


def without_p_values(values: Mapping[str, float]) -> dict[str, float]:
    """What is handed on, in words and in exports, where `leaves_out_pr`: what was taken for a P wave is none."""
    return {name: value for name, value in values.items() if name not in P_VALUES}
