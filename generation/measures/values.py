"""What was measured, how sure that is, and why the rest could not be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from ecgkin.generation.measures.leads import LeadMeasures
from ecgkin.generation.measures.p_train import PTrain
from ecgkin.generation.measures.pacing import Pacing
from ecgkin.generation.measures.rhythm import AtrialActivity

NAMES: tuple[str, ...] = (
    "rate_bpm", "rr_variation", "pr_ms", "qrs_ms", "qt_ms", "qtc_ms", "qtc_fridericia_ms", "axis_deg", "p_axis_deg",
    "t_axis_deg",
)  # fmt: skip
# Outside of these a value is an artefact, not a finding.
PLAUSIBLE: Mapping[str, tuple[float, float]] = {
    "rate_bpm": (15.0, 330.0),
    "pr_ms": (60.0, 420.0),
    "qrs_ms": (40.0, 260.0),
    "qt_ms": (140.0, 720.0),
    "qtc_ms": (270.0, 720.0),
}


class Reason(StrEnum):
    """Why a value is missing."""

    SHORT = "short"
    SAMPLED_TOO_SLOWLY = "sampled_too_slowly"
    NO_SIGNAL = "no_signal"
    NO_BEATS = "no_beats"
    FEW_BEATS = "few_beats"
    NO_USUAL_BEAT = "no_usual_beat"
    NO_P_WAVE = "no_p_wave"
    P_NOT_OF_QRS = "p_not_of_qrs"
    T_UNCLEAR = "t_unclear"
    IMPLAUSIBLE = "implausible"
    LEAD_MISSING = "lead_missing"
    TOO_SMALL = "too_small"


REASON_TEXTS: Mapping[Reason, Mapping[str, str]] = {
    Reason.SHORT: {"en": "the record is too short", "de": "die Aufzeichnung ist zu kurz"},
    Reason.SAMPLED_TOO_SLOWLY: {"en": "sampled below 100 Hz", "de": "Abtastrate unter 100 Hz"},
    Reason.NO_SIGNAL: {"en": "no lead shows a signal", "de": "keine Ableitung zeigt ein Signal"},
    Reason.NO_BEATS: {"en": "no QRS complexes stand out", "de": "keine abgrenzbaren QRS-Komplexe"},
    Reason.FEW_BEATS: {"en": "too few beats", "de": "zu wenige Herzschläge"},
    Reason.NO_USUAL_BEAT: {"en": "no two whole beats of one shape", "de": "keine zwei ganzen Schläge gleicher Form"},
    Reason.NO_P_WAVE: {"en": "no constant P wave before QRS", "de": "keine konstante P-Welle vor QRS"},
    Reason.P_NOT_OF_QRS: {"en": "no P wave leads to QRS in this rhythm", "de": "kein QRS folgt hier auf eine P-Welle"},
    Reason.T_UNCLEAR: {"en": "the end of T could not be told", "de": "das Ende von T ist nicht bestimmbar"},
    Reason.IMPLAUSIBLE: {"en": "the value found is implausible", "de": "der gefundene Wert ist unplausibel"},
    Reason.LEAD_MISSING: {"en": "lead I or aVF is missing", "de": "Ableitung I oder aVF fehlt"},
    Reason.TOO_SMALL: {"en": "too small in the limb leads", "de": "zu klein in den Extremitätenableitungen"},
}

PWaves = Literal["present", "absent", "unclear"]


@dataclass(frozen=True)
class Measurements:
    """What could be measured; None where it could not.

    Attributes:
        rate_bpm: Mean ventricular rate.
        rr_variation: Median change from one RR interval to the next as a share of the mean one, 0 for a clock; the
            median, so that single extrasystoles do not count.
        pr_ms, qrs_ms, qt_ms: On the median beat of all leads; premature and paced-in beats of another shape left out.
        qtc_ms, qtc_fridericia_ms: QT corrected with the mean RR interval by Bazett's and Fridericia's formula.
        axis_deg, p_axis_deg, t_axis_deg: Frontal axes from net areas in I and aVF, -180 to 180; of a QRS longer than
            90 ms the first 90 ms.
        n_beats: QRS complexes found.
        rr_ms: Every RR interval.
        pauses_ms: Those above 2 s.
        regular: Whether RR intervals between usual beats change by less than 5 %; None without enough of them.
        premature_ventricular, premature_atrial: Premature beats, counted and not measured.
        longest_run: Most beats of another shape in a row.
        alike: Share of the beats that are of the usual shape.
        p_waves: Whether a P wave stands before every usual QRS.
        p_constant: How like these P waves are to each other, -1 to 1; None where it could not be told.
        slow_start_ms: From the onset of QRS to half of its fastest movement; None where columns of a page were moved.
        atrial: Trains of atrial waves; None where the record is too short.
        p_train: P waves that keep a time of their own; looked for where AV block is possible, None without one.
        pacing: Pacemaker spikes.
        leads: Amplitudes by lead.
        confidence: Name of a value -> 0 to 1.
        reasons: Name of a value that is None -> why.
        age_years, sex: Of the person, from the record: criteria depend on them.
    """

    rate_bpm: float | None = None
    rr_variation: float | None = None
    pr_ms: float | None = None
    qrs_ms: float | None = None
    qt_ms: float | None = None
    qtc_ms: float | None = None
    axis_deg: float | None = None
    n_beats: int = 0
    reasons: Mapping[str, Reason] = field(default_factory=dict)
    qtc_fridericia_ms: float | None = None
    p_axis_deg: float | None = None
    t_axis_deg: float | None = None
    rr_ms: tuple[float, ...] = ()
    pauses_ms: tuple[float, ...] = ()
    regular: bool | None = None
    premature_ventricular: int = 0
    premature_atrial: int = 0
    longest_run: int = 0
    alike: float | None = None
    p_waves: PWaves = "unclear"
    p_constant: float | None = None
    slow_start_ms: float | None = None
    atrial: AtrialActivity | None = None
    p_train: PTrain | None = None
    pacing: Pacing = field(default_factory=Pacing)
    leads: Mapping[str, LeadMeasures] = field(default_factory=dict)
    confidence: Mapping[str, float] = field(default_factory=dict)
    age_years: float | None = None
    sex: str | None = None

    @property
    def values(self) -> dict[str, float]:
        """The known numbers of `NAMES`, by name."""
        every = {name: getattr(self, name) for name in NAMES}
        return {name: float(value) for name, value in every.items() if value is not None}

    def as_dict(self) -> dict[str, Any]:
        """Plain values, rounded, as an API shows them."""
        out: dict[str, Any] = {name: round(value, 4) for name, value in self.values.items()}
        out |= {
            "n_beats": self.n_beats,
            "rr_ms": [round(v) for v in self.rr_ms],
            "pauses_ms": [round(v) for v in self.pauses_ms],
            "regular": self.regular,
            "premature_ventricular": self.premature_ventricular,
            "premature_atrial": self.premature_atrial,
            "p_waves": self.p_waves,
            "paced": self.pacing.paced,
            "confidence": {name: round(value, 2) for name, value in self.confidence.items()},
            "not_measured": {name: str(reason) for name, reason in self.reasons.items()},
        }
        if self.atrial is not None:
            out["atrial_bpm"] = round(self.atrial.train_bpm)
        out["leads"] = {
            name: {
                "q_mv": round(lead.q_mv, 3), "q_ms": round(lead.q_ms), "r_mv": round(lead.r_mv, 3),
                "s_mv": round(lead.s_mv, 3), "st_j_mv": round(lead.st_j_mv, 3), "st_60_mv": round(lead.st_60_mv, 3),
                "st_80_mv": round(lead.st_80_mv, 3), "t_mv": round(lead.t_mv, 3), "t": lead.t_polarity,
            }
            for name, lead in self.leads.items()
        }  # fmt: skip
        return out


def reason_text(reason: Reason, language: str = "en") -> str:
    """Why a value is missing, in words.

    Args:
        reason: Why.
        language: "en" or "de".

    Returns:
        A few words.

    >>> reason_text(Reason.NO_P_WAVE, "de")
    'keine konstante P-Welle vor QRS'
    """
    return REASON_TEXTS[reason][language]
