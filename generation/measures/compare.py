"""Serial comparison: what has changed from one ECG of a person to the next, and which changes exceed repeatability.

Thresholds are published where there are any (`RULES` names the source of each); the others are this project's, to be
held against the change between two ECGs of one person on one day (scripts/measure_measures.py pairs).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from ecgkin.generation.measures.excitation import (
    has_left_bundle,
    has_right_bundle,
    is_preexcited,
    looks_paced,
    repolarisation_secondary,
)
from ecgkin.generation.measures.flags import CONTIGUOUS, block_of, is_fibrillating, is_fluttering, pathological_q
from ecgkin.generation.measures.values import Measurements
from ecgkin.retrieval.notes import Language

RhythmClass = Literal["with P waves", "fibrillation", "flutter", "paced", "without P waves", "unknown"]


class ChangeCode(StrEnum):
    """A change that exceeds repeatability."""

    QTC = "qtc"
    QRS = "qrs"
    PR = "pr"
    RATE = "rate"
    AXIS = "axis"
    ST_UP = "st_up"
    ST_DOWN = "st_down"
    T_INVERSION = "t_inversion"
    T_UPRIGHT = "t_upright"
    NEW_Q = "new_q"
    Q_GONE = "q_gone"
    NEW_BLOCK = "new_block"
    BLOCK_GONE = "block_gone"
    RHYTHM = "rhythm"


@dataclass(frozen=True)
class Change:
    """One change.

    Attributes:
        code: Its kind.
        leads: Where it shows.
        before, after: The value that changed; NaN where the change is not one of a number.
        detail: Of a block or rhythm: its name, or "from -> to".
    """

    code: ChangeCode
    leads: tuple[str, ...] = ()
    before: float = float("nan")
    after: float = float("nan")
    detail: str = ""


@dataclass(frozen=True)
class Row:
    """A line of the table of values: None where one of the two could not be measured."""

    name: str
    before: float | None
    after: float | None

    @property
    def change(self) -> float | None:
        """After less before; axes the shorter way round."""
        if self.before is None or self.after is None:
            return None
        difference = self.after - self.before
        return (difference + 180.0) % 360.0 - 180.0 if self.name.endswith("_deg") else difference


@dataclass(frozen=True)
class Comparison:
    """Two ECGs of one person.

    Attributes:
        rows: Values before and after.
        changes: What exceeds repeatability.
        not_comparable: Codes of `NOT_COMPARABLE` that limit the comparison; empty where nothing does.
    """

    rows: tuple[Row, ...]
    changes: tuple[Change, ...]
    not_comparable: tuple[str, ...] = ()


# What a reader must not miss comes first.
_ORDER: tuple[ChangeCode, ...] = (
    ChangeCode.RHYTHM, ChangeCode.NEW_BLOCK, ChangeCode.BLOCK_GONE, ChangeCode.ST_UP, ChangeCode.ST_DOWN,
    ChangeCode.NEW_Q, ChangeCode.Q_GONE, ChangeCode.T_INVERSION, ChangeCode.T_UPRIGHT, ChangeCode.QTC, ChangeCode.QRS,
    ChangeCode.PR, ChangeCode.AXIS, ChangeCode.RATE,
)  # fmt: skip
RATES_APART_BPM = 40.0
PR_REPEATS_MS = 36.0
_LEAST_AXIS_MV = 0.4  # net QRS in I and aVF below which the axis turns by chance
_ST_LEADS = ("I", "II", "III", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
_NAMES = ("rate_bpm", "pr_ms", "qrs_ms", "qt_ms", "qtc_ms", "qtc_fridericia_ms", "axis_deg", "t_axis_deg")

# Limits: value, and where it comes from.
RULES: Mapping[ChangeCode, tuple[float, str]] = {
    ChangeCode.QTC: (60.0, "ICH E14 (2005): QTc longer by more than 60 ms, or above 500 ms"),
    ChangeCode.QRS: (20.0, "more than 20 ms; 95 % of the ECGs of one person on one day differ by 16 ms and less"),
    ChangeCode.PR: (40.0, "more than 40 ms; 95 % of the ECGs of one person on one day differ by 36 ms and less"),
    ChangeCode.RATE: (20.0, "more than 20/min; rest or excitement alone can do that"),
    ChangeCode.AXIS: (30.0, "more than 30 degrees, QRS of 0.4 mV and more in I and aVF in both, not paced"),
    ChangeCode.ST_UP: (0.1, "Thygesen 2018: new elevation of 0.1 mV at the J point in two contiguous leads"),
    ChangeCode.ST_DOWN: (0.1, "Thygesen 2018 asks for 0.05 mV; 0.1 mV here, like elevation, against false alarms"),
    ChangeCode.T_INVERSION: (0.1, "Thygesen 2018: T inverted by more than 0.1 mV in two contiguous leads with R"),
    ChangeCode.T_UPRIGHT: (
        0.1,
        "Thygesen 2018: T inverted by more than 0.1 mV in two contiguous leads before, not now",
    ),
    ChangeCode.NEW_Q: (0.0, "Thygesen 2018: criteria of prior infarction, met now and not before, Q deeper by 0.08 mV"),
    ChangeCode.Q_GONE: (
        0.0,
        "Thygesen 2018: criteria of prior infarction, met before and not now, Q less deep by 0.08 mV",
    ),
    ChangeCode.NEW_BLOCK: (
        120.0,
        "QRS of 120 ms with the pattern of AHA/ACCF/HRS part III (2009), 15 ms wider; PR of 200 ms, 36 ms longer",
    ),
    ChangeCode.BLOCK_GONE: (
        120.0,
        "the pattern of AHA/ACCF/HRS part III (2009) before and not now, QRS changed by 15 ms",
    ),
    ChangeCode.RHYTHM: (0.0, "by P waves, RR intervals, flutter waves and spikes"),
}
_RULES_DE: Mapping[ChangeCode, str] = {
    ChangeCode.QTC: "ICH E14 (2005): QTc um mehr als 60 ms länger, oder über 500 ms",
    ChangeCode.QRS: "mehr als 20 ms; 95 % der EKGs einer Person an einem Tag weichen um höchstens 16 ms ab",
    ChangeCode.PR: "mehr als 40 ms; 95 % der EKGs einer Person an einem Tag weichen um höchstens 36 ms ab",
    ChangeCode.RATE: "mehr als 20/min; Ruhe oder Aufregung allein kann das bewirken",
    ChangeCode.AXIS: "mehr als 30 Grad, QRS in I und aVF in beiden mindestens 0,4 mV, kein Schrittmacher",
    ChangeCode.ST_UP: "Thygesen 2018: neue Hebung um 0,1 mV am J-Punkt in zwei benachbarten Ableitungen",
    ChangeCode.ST_DOWN: "Thygesen 2018 verlangt 0,05 mV; hier 0,1 mV wie bei der Hebung, gegen Fehlalarme",
    ChangeCode.T_INVERSION: "Thygesen 2018: T um mehr als 0,1 mV negativ in zwei benachbarten Ableitungen mit R",
    ChangeCode.T_UPRIGHT: "Thygesen 2018: T vorher um mehr als 0,1 mV negativ in zwei Nachbarableitungen, jetzt nicht",
    ChangeCode.NEW_Q: "Thygesen 2018: Kriterien des alten Infarkts jetzt erfüllt, vorher nicht, Q um 0,08 mV tiefer",
    ChangeCode.Q_GONE: "Thygesen 2018: Kriterien des alten Infarkts vorher erfüllt, jetzt nicht, Q um 0,08 mV flacher",
    ChangeCode.NEW_BLOCK: "QRS ab 120 ms mit dem Muster nach AHA/ACCF/HRS Teil III (2009), 15 ms breiter; "
    "PQ über 200 ms, 36 ms länger",
    ChangeCode.BLOCK_GONE: "das Muster nach AHA/ACCF/HRS Teil III (2009) vorher, jetzt nicht, QRS um 15 ms anders",
    ChangeCode.RHYTHM: "nach P-Wellen, RR-Abständen, Flatterwellen und Schrittmacherimpulsen",
}
NOT_COMPARABLE: Mapping[str, Mapping[Language, str]] = {
    "not_measured": {"en": "one of the two could not be measured", "de": "eines der beiden war nicht messbar"},
    "lead_placement": {
        "en": "P points another way: the leads may lie differently",
        "de": "P zeigt in andere Richtung: die Ableitungen können anders liegen",
    },
    "repolarisation": {
        "en": "ST and T follow the way of excitation in one of the two and are not compared",
        "de": "ST und T folgen in einem der beiden dem Erregungsweg und werden nicht verglichen",
    },
    "rate": {
        "en": "the rates differ by more than 40/min: intervals and ST change with the rate alone",
        "de": "die Frequenzen weichen um über 40/min ab: Intervalle und ST ändern sich allein damit",
    },
}


def compare(before: Measurements, after: Measurements) -> Comparison:
    """Compare two ECGs of one person.

    Args:
        before, after: Measurements of the earlier and the later one.

    Returns:
        Changes, each with its rule, and what cannot be compared.
    """
    old, new = before.values, after.values
    rows = [Row(name, old.get(name), new.get(name)) for name in _NAMES]
    for lead in _ST_LEADS:
        a, b = before.leads.get(lead), after.leads.get(lead)
        rows.append(Row(f"st_j_mv {lead}", a.st_j_mv if a else None, b.st_j_mv if b else None))
    for lead in ("V1", "V2", "V3", "V4"):
        a, b = before.leads.get(lead), after.leads.get(lead)
        rows.append(Row(f"r_mv {lead}", a.r_mv if a else None, b.r_mv if b else None))
    if not old or not new:
        return Comparison(tuple(rows), (), ("not_measured",))
    limits = []
    p_turn = Row("p_axis_deg", old.get("p_axis_deg"), new.get("p_axis_deg")).change
    if p_turn is not None and abs(p_turn) > 75:
        limits.append("lead_placement")
    rates = old.get("rate_bpm"), new.get("rate_bpm")
    if rates[0] is not None and rates[1] is not None and abs(rates[0] - rates[1]) > RATES_APART_BPM:
        limits.append("rate")
    secondary = repolarisation_secondary(before) or repolarisation_secondary(after)
    if secondary:
        limits.append("repolarisation")
    changes = [*_numbers({row.name: row for row in rows}), *_blocks(before, after), *_rhythm(before, after)]
    rhythms = {rhythm_class(before), rhythm_class(after)}
    if "paced" in rhythms or not (_axis_holds(before) and _axis_holds(after)):
        changes = [c for c in changes if c.code is not ChangeCode.AXIS]
    if rhythms & {"paced", "fibrillation", "flutter"}:  # nothing is conducted from P to QRS in one of the two
        changes = [c for c in changes if c.code is not ChangeCode.PR]
    if "lead_placement" not in limits:
        if not secondary:
            changes += _st_t(before, after)
        changes += _q(before, after)
    else:
        changes = [c for c in changes if c.code is not ChangeCode.AXIS]
    changes.sort(key=lambda change: _ORDER.index(change.code))
    return Comparison(tuple(rows), tuple(changes), tuple(limits))


def _axis_holds(m: Measurements) -> bool:
    """Whether QRS is large enough in the frontal plane for its direction to mean something."""
    nets = [m.leads[lead].net_mv for lead in ("I", "aVF") if lead in m.leads]
    return len(nets) < 2 or math.hypot(*nets) >= _LEAST_AXIS_MV


def _numbers(rows: Mapping[str, Row]) -> list[Change]:
    out = []
    for code, name in (
        (ChangeCode.QTC, "qtc_ms"),
        (ChangeCode.QRS, "qrs_ms"),
        (ChangeCode.PR, "pr_ms"),
        (ChangeCode.RATE, "rate_bpm"),
        (ChangeCode.AXIS, "axis_deg"),
    ):
        row = rows[name]
        if row.change is None or row.before is None or row.after is None:
            continue
        beyond = abs(row.change) > RULES[code][0]
        if code is ChangeCode.QTC:
            # Shorter is no alarm, but worth saying; Bazett's formula is not to be trusted above 90/min and below 50.
            other = rows["qtc_fridericia_ms"].change
            rate = rows["rate_bpm"].before or 0.0, rows["rate_bpm"].after or 0.0
            beyond = beyond and (
                (max(rate) <= 90 and min(rate) >= 50) or (other is not None and abs(other) > RULES[code][0])
            )
            wider = rows["qrs_ms"].change or 0.0
            if abs(wider) > RULES[ChangeCode.QRS][0]:  # QRS alone may do it: what follows QRS must have changed as well
                beyond = beyond and abs(row.change - wider) > RULES[code][0]
            beyond = beyond or (row.after > 500 >= row.before and row.change > 30)
        if beyond:
            out.append(Change(code, (), row.before, row.after))
    return out


def _blocks(before: Measurements, after: Measurements) -> list[Change]:
    out = []
    rhythms = {rhythm_class(before), rhythm_class(after)}
    tests = (("LBBB", has_left_bundle), ("RBBB", _right_alone), ("pre-excitation", is_preexcited))
    # The shape of a paced QRS is no block, and says nothing of what lies under it.
    for name, test in () if "paced" in rhythms else tests:
        old, new = test(before), test(after)
        # A QRS that only crosses the limit is no new block.
        grown = abs((after.qrs_ms or 0.0) - (before.qrs_ms or 0.0)) >= 15 or name == "pre-excitation"
        if new and not old and grown:
            out.append(Change(ChangeCode.NEW_BLOCK, (), before.qrs_ms or 0.0, after.qrs_ms or 0.0, name))
        elif old and not new and grown:
            out.append(Change(ChangeCode.BLOCK_GONE, (), before.qrs_ms or 0.0, after.qrs_ms or 0.0, name))
    # Under pacing and fibrillation there is no conduction from P to QRS to be compared.
    if rhythms.isdisjoint(("paced", "fibrillation", "flutter")):
        if block_of(after) and not block_of(before):
            out.append(Change(ChangeCode.NEW_BLOCK, detail="AV block of higher degree"))
        elif block_of(before) and not block_of(after):
            out.append(Change(ChangeCode.BLOCK_GONE, detail="AV block of higher degree"))
    # The limit of 200 ms, and a change that two ECGs of one day do not show (95 % are within 36 ms).
    if (
        rhythms.isdisjoint(("paced", "fibrillation", "flutter"))
        and before.pr_ms is not None
        and after.pr_ms is not None
        and before.pr_ms <= 200 < after.pr_ms - 15
        and (after.pr_ms - before.pr_ms > PR_REPEATS_MS)
    ):
        out.append(Change(ChangeCode.NEW_BLOCK, (), before.pr_ms, after.pr_ms, "first degree AV block"))
    return out


def _right_alone(m: Measurements) -> bool:
    """Right bundle branch block and no left one: a QRS that meets the pattern of both is one of the left."""
    return has_right_bundle(m) and not has_left_bundle(m)


def rhythm_class(m: Measurements) -> RhythmClass:
    """The rhythm as far as measurements tell it."""
    if m.rate_bpm is None:
        return "unknown"
    if m.pacing.paced or looks_paced(m):
        return "paced"
    if is_fluttering(m):
        return "flutter"
    if is_fibrillating(m):
        return "fibrillation"
    if m.p_waves == "present":
        return "with P waves"
    return "without P waves" if m.p_waves == "absent" else "unknown"


def _rhythm(before: Measurements, after: Measurements) -> list[Change]:
    old, new = rhythm_class(before), rhythm_class(after)
    # P waves too small to be told come and go, and fibrillation and flutter turn into each other: neither is a change.
    if {old, new} & {"unknown", "without P waves"} or old == new or {old, new} == {"fibrillation", "flutter"}:
        return []
    return [Change(ChangeCode.RHYTHM, detail=f"{old} -> {new}")]


def _st_t(before: Measurements, after: Measurements) -> list[Change]:
    common = [lead for lead in _ST_LEADS if lead in before.leads and lead in after.leads]
    limit = RULES[ChangeCode.ST_UP][0]
    shift = {lead: after.leads[lead].st_j_mv - before.leads[lead].st_j_mv for lead in common}
    # A shift counts beyond what chance in the median beats allows.
    chance = {lead: chance_mv(before, after, lead) for lead in common}
    up = {n for n in common if shift[n] >= limit + chance[n] and after.leads[n].st_j_mv >= 0.05}
    down = {n for n in common if shift[n] <= -limit - chance[n] and after.leads[n].st_j_mv <= -0.05}
    turned, upright = _turned(before, after, common), _turned(after, before, common)
    out = []
    for code, leads in (
        (ChangeCode.ST_UP, up),
        (ChangeCode.ST_DOWN, down),
        (ChangeCode.T_INVERSION, turned),
        (ChangeCode.T_UPRIGHT, upright),
    ):
        both = _contiguous(leads)
        if both:
            first = both[0]
            key = "st_j_mv" if code in (ChangeCode.ST_UP, ChangeCode.ST_DOWN) else "t_mv"
            out.append(Change(code, both, getattr(before.leads[first], key), getattr(after.leads[first], key)))
    return out


def chance_mv(before: Measurements, after: Measurements, lead: str) -> float:
    """By how much the levels of a lead that both have may differ by chance in the median beats, mV."""
    return 2 * max(before.leads[lead].noise_mv, after.leads[lead].noise_mv)


def _turned(one: Measurements, other: Measurements, common: Sequence[str]) -> set[str]:
    """Leads with a tall R in which T points down in the other and not in the one, by far."""
    return {
        n
        for n in common
        if other.leads[n].t_mv <= -RULES[ChangeCode.T_INVERSION][0]
        and one.leads[n].t_mv > -0.05
        and other.leads[n].t_mv - one.leads[n].t_mv <= -RULES[ChangeCode.T_INVERSION][0]
        and (other.leads[n].r_mv > other.leads[n].s_mv or other.leads[n].r_mv >= 0.5)
    }


def _q(before: Measurements, after: Measurements) -> list[Change]:
    if any(has_left_bundle(m) or m.pacing.paced or is_preexcited(m) for m in (before, after)):
        return []
    out = []
    for code, one, other in ((ChangeCode.NEW_Q, before, after), (ChangeCode.Q_GONE, after, before)):
        new = {
            lead
            for lead in _ST_LEADS
            if lead in one.leads
            and lead in other.leads
            and pathological_q(lead, other.leads[lead])
            and not pathological_q(lead, one.leads[lead])
            and other.leads[lead].q_mv - one.leads[lead].q_mv >= 0.08
        }
        both = _contiguous(new)
        if both:
            out.append(Change(code, both, before.leads[both[0]].q_mv, after.leads[both[0]].q_mv))
    return out


def _contiguous(leads: set[str]) -> tuple[str, ...]:
    kept = {lead for pair in CONTIGUOUS if leads.issuperset(pair) for lead in pair}
    return tuple(lead for lead in _ST_LEADS if lead in kept)


def rule_text(code: ChangeCode, language: Language = "en") -> str:
    """Limit and source of a change.

    Args:
        code: Its kind.
        language: "en" or "de".

    Returns:
        One phrase.

    >>> rule_text(ChangeCode.RATE, "de")
    'mehr als 20/min; Ruhe oder Aufregung allein kann das bewirken'
    """
    return _RULES_DE[code] if language == "de" else RULES[code][1]


_CHANGE_TEXTS: Mapping[ChangeCode, Mapping[Language, str]] = {
    ChangeCode.QTC: {"en": "QTc {before:.0f} -> {after:.0f} ms", "de": "QTc {before:.0f} -> {after:.0f} ms"},
    ChangeCode.QRS: {"en": "QRS {before:.0f} -> {after:.0f} ms", "de": "QRS {before:.0f} -> {after:.0f} ms"},
    ChangeCode.PR: {"en": "PR {before:.0f} -> {after:.0f} ms", "de": "PQ {before:.0f} -> {after:.0f} ms"},
    ChangeCode.RATE: {"en": "rate {before:.0f} -> {after:.0f}/min", "de": "Frequenz {before:.0f} -> {after:.0f}/min"},
    ChangeCode.AXIS: {"en": "axis {before:.0f} -> {after:.0f}°", "de": "Lagetyp {before:.0f} -> {after:.0f}°"},
    ChangeCode.ST_UP: {
        "en": "ST higher in {leads} ({before:+.2f} -> {after:+.2f} mV)",
        "de": "ST höher in {leads} ({before:+.2f} -> {after:+.2f} mV)",
    },
    ChangeCode.ST_DOWN: {
        "en": "ST lower in {leads} ({before:+.2f} -> {after:+.2f} mV)",
        "de": "ST tiefer in {leads} ({before:+.2f} -> {after:+.2f} mV)",
    },
    ChangeCode.T_INVERSION: {"en": "T newly inverted in {leads}", "de": "T neu negativ in {leads}"},
    ChangeCode.T_UPRIGHT: {"en": "T no longer inverted in {leads}", "de": "T nicht mehr negativ in {leads}"},
    ChangeCode.Q_GONE: {"en": "no longer Q waves in {leads}", "de": "keine Q-Zacken mehr in {leads}"},
    ChangeCode.NEW_Q: {"en": "new Q waves in {leads}", "de": "neue Q-Zacken in {leads}"},
    ChangeCode.NEW_BLOCK: {"en": "new: {detail}", "de": "neu: {detail}"},
    ChangeCode.BLOCK_GONE: {"en": "no longer: {detail}", "de": "nicht mehr: {detail}"},
    ChangeCode.RHYTHM: {"en": "rhythm {detail}", "de": "Rhythmus {detail}"},
}
_DETAILS_DE: Mapping[str, str] = {
    "LBBB": "Linksschenkelblock",
    "RBBB": "Rechtsschenkelblock",
    "pre-excitation": "Präexzitation",
    "first degree AV block": "AV-Block I. Grades",
    "AV block of higher degree": "AV-Block höheren Grades",
    "with P waves": "mit P-Wellen",
    "without P waves": "ohne P-Wellen",
    "fibrillation": "Vorhofflimmern",
    "flutter": "Vorhofflattern",
    "paced": "Schrittmacher",
}


def change_text(change: Change, language: Language = "en") -> str:
    """A change in words.

    Args:
        change: Of `compare`.
        language: "en" or "de".

    Returns:
        One sentence.

    >>> change_text(Change(ChangeCode.QTC, (), 430.0, 512.0))
    'QTc 430 -> 512 ms'
    """
    detail = change.detail
    if language == "de":
        detail = " -> ".join(_DETAILS_DE.get(part, part) for part in detail.split(" -> "))
    return _CHANGE_TEXTS[change.code][language].format(
        before=change.before, after=change.after, leads=", ".join(change.leads), detail=detail
    )
