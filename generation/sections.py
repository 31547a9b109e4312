"""Where each of the 71 statements belongs in a report, and which of them cannot stand side by side.

The rules follow what the statements mean (a rhythm is sinus or fibrillation, not both) and were checked against the
labels of PTB-XL, folds 1 to 8: of 17,418 records none has two of `RHYTHMS` but 1 with SR and SARRH, 3 with SR and PACE,
3 with AFIB and PACE and 8 with SVTAC and PSVT.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ecgkin.retrieval.ecg.statements import STATEMENTS

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
_OF_P_WAVE = frozenset({"1AVB", "2AVB", "LPR", "PAC", "LAO/LAE", "RAO/RAE"})

_MEMBERS: Mapping[str, frozenset[str]] = {
    "rhythm": RHYTHMS | {"PVC", "PAC", "PRC(S)", "BIGU", "TRIGU"},
    "axis_intervals": frozenset({"LPR", "LNGQT"}),
    "conduction": frozenset(
        {"1AVB", "2AVB", "3AVB", "WPW", "CLBBB", "CRBBB", "ILBBB", "IRBBB", "IVCD", "LAFB", "LPFB", "ABQRS"}
    ),
    "hypertrophy": frozenset({"LVH", "VCLVH", "RVH", "SEHYP", "LAO/LAE", "RAO/RAE", "HVOLT", "LVOLT"}),
    "infarction": frozenset(
        "IMI ASMI ILMI AMI ALMI LMI IPLMI IPMI PMI QWAVE INJAS INJAL INJIN INJLA INJIL".split()
    ),
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

# Of each group at most one is said: they exclude or contain one another, or mean nearly the same.
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
    frozenset({"ISC_", "ISCAL", "ISCLA", "ISCAN"}),
    frozenset({"ISC_", "ISCAL", "ISCAS"}),
    frozenset({"ISC_", "ISCIN", "ISCIL"}),
    frozenset({"NDT", "NT_", "TAB_"}),
    frozenset({"TAB_", "LOWT"}),
    frozenset({"TAB_", "INVT"}),
    frozenset({"LOWT", "INVT"}),
    frozenset({"NST_", "STD_"}),
    frozenset({"NST_", "STE_"}),
)
# What may stand beside "otherwise normal ECG"; everything else that is found makes the ECG abnormal.
BESIDE_NORMAL = SINUS | {"PVC", "PAC", "PRC(S)", "SVARR", "IRBBB", "IVCD", "1AVB", "LPR", "LVOLT", "HVOLT", "VCLVH"} | {
    "NT_",
    "QWAVE",
}

# A rate that is measured decides between the three; AHA/ACC/HRS limits 60 and 100/min, with 5 % for measuring.
BRADYCARDIA_BELOW, TACHYCARDIA_ABOVE, RATE_SLACK = 60.0, 100.0, 0.05


@dataclass(frozen=True)
class Settled:
    """What is left of the candidates.

    Attributes:
        kept: Code to probability.
        dropped: Code to the reason, for people who check a draft.
    """

    kept: Mapping[str, float]
    dropped: Mapping[str, str]


def settle(candidates: Mapping[str, float], rate_bpm: float | None = None) -> Settled:
    """Statements that can stand in one report, of several that exclude each other the most probable one.

    Args:
        candidates: Code to probability, those above their thresholds.
        rate_bpm: Measured ventricular rate, None where there is none.

    >>> sorted(settle({"SR": 0.6, "AFIB": 0.7, "NORM": 0.5}).kept)
    ['AFIB']
    """
    kept = dict(candidates)
    dropped: dict[str, str] = {}

    def drop(codes: Collection[str], reason: str) -> None:
        for code in codes:
            if kept.pop(code, None) is not None:
                dropped[code] = reason

    if rate_bpm is not None:
        if rate_bpm > BRADYCARDIA_BELOW * (1 + RATE_SLACK):
            drop(("SBRAD",), f"measured rate {rate_bpm:.0f}/min")
        if rate_bpm < TACHYCARDIA_ABOVE * (1 - RATE_SLACK):
            drop(("STACH", "SVTAC", "PSVT"), f"measured rate {rate_bpm:.0f}/min")
    rhythm = _strongest(kept, RHYTHMS)
    if rhythm is not None:
        drop(RHYTHMS & kept.keys() - {rhythm}, f"less probable than {rhythm}")
    if rhythm in NO_P_WAVE:
        drop(_OF_P_WAVE, f"not to be told in {rhythm}")
    for group in EXCLUSIVE:
        best = _strongest(kept, group)
        if best is not None:
            drop(group & kept.keys() - {best}, f"less probable than {best}")
    others = set(kept) - {"NORM"} - BESIDE_NORMAL
    if "NORM" in kept and others:
        strongest = max(kept[code] for code in others)
        if kept["NORM"] > strongest and strongest < 0.5:
            drop(others, "less probable than NORM")
        else:
            drop(("NORM",), f"abnormal by {max(others, key=kept.__getitem__)}")
    return Settled(kept, dropped)


def _strongest(probabilities: Mapping[str, float], group: Collection[str]) -> str | None:
    # Ties go by the order of the statements, so that a draft does not depend on the order of a mapping.
    present = [s.code for s in STATEMENTS if s.code in group and s.code in probabilities]
    return max(present, key=lambda code: probabilities[code]) if present else None
