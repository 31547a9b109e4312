"""How the ventricles are excited: bundle branch block, pacing, pre-excitation, or wide without a known form.

Most criteria of ST, T and Q ask for usual conduction; whether they can be put to an ECG is told here.
"""

from __future__ import annotations

from typing import Literal

from ecgkin.generation.measures.leads import LeadMeasures
from ecgkin.generation.measures.values import Measurements

WideRhythm = Literal["", "without_p", "with_p"]

WIDE_MS = 120.0
SURELY_BLOCKED_MS = 134.0


def has_left_bundle(m: Measurements) -> bool:
    """QRS of 120 ms and more, V1 mainly negative, V6 or I positive without Q (AHA/ACCF/HRS 2009, part III)."""
    if m.qrs_ms is None or m.qrs_ms < WIDE_MS or "V1" not in m.leads:
        return False
    v1 = m.leads["V1"]
    lateral = [m.leads[name] for name in ("I", "V6", "V5") if name in m.leads]
    negative = max(v1.s_mv, v1.q_mv) > 2.5 * max(v1.r_mv, 1e-3) and v1.r2_mv < 0.5 * max(v1.s_mv, v1.q_mv)
    if not negative or not any(_plain_r(lead) for lead in lateral):
        return False
    # Left anterior block and a delayed QRS after infarction are as wide as this: lateral leads on both sides of the
    # heart must be plain then. Of 62 CLBBB of PTB-XL folds 1-8 55, of 13 others that were taken for it 4 are left.
    if m.qrs_ms >= SURELY_BLOCKED_MS:
        return True
    high = any(_plain_r(m.leads[name]) for name in ("I", "aVL") if name in m.leads)
    return high and any(_plain_r(m.leads[name]) for name in ("V5", "V6") if name in m.leads)


def _plain_r(lead: LeadMeasures) -> bool:
    return lead.r_mv > 0.2 and lead.q_mv < 0.06 and lead.s_mv < 0.5 * lead.r_mv


def has_right_bundle(m: Measurements) -> bool:
    """QRS of 120 ms and more, V1 ending positive, S in I or V6 (AHA/ACCF/HRS 2009, part III)."""
    if m.qrs_ms is None or m.qrs_ms < WIDE_MS or "V1" not in m.leads:
        return False
    v1 = m.leads["V1"]
    ends_up = v1.r2_mv > 0.1 or (v1.r_mv > 0.15 and v1.s_mv < 0.3 * v1.r_mv)
    return ends_up and any(m.leads[name].s_mv > 0.1 for name in ("I", "V6", "V5") if name in m.leads)


def ventricular_pacing(m: Measurements) -> bool:
    """Whether a pacemaker drives the ventricles, by its spikes or by the look of the beats."""
    return m.pacing.ventricular >= 0.15 or looks_paced(m)


def looks_paced(m: Measurements) -> bool:
    """QRS of 160 ms and more, as regular as a clock, no P wave before it, and an axis beyond 60 degrees either way.

    Spikes are lost at 100 Hz, behind filters and on paper, and those of bipolar leads are small; of PTB-XL folds 8 and
    9 this finds six paced records without spikes and nothing else.
    """
    return (
        m.qrs_ms is not None
        and m.qrs_ms >= 160
        and m.rr_variation is not None
        and m.rr_variation < 0.008
        and m.n_beats >= 5
        and m.rate_bpm is not None
        and m.rate_bpm <= 120
        and m.p_waves != "present"
        and m.axis_deg is not None
        and abs(m.axis_deg) > 60
    )


def is_preexcited(m: Measurements) -> bool:
    """A short PR interval and a QRS that begins slowly (a delta wave).

    The definition asks for PR below 120 and QRS above 110 ms. A delta wave begins so slowly that its first 10 to 20 ms
    go to the PR interval here, and half of the records called WPW in PTB-XL folds 1-8 have a QRS of 103 ms and less:
    what tells them is that QRS takes 36 ms and more to half of its speed (38 ms at the median of WPW, 20 without).
    After a PR interval of 125 ms and less 30 ms are enough, for a QRS of 90 ms and more (of 4,089 records of folds 1-8
    one more of WPW and no other). Bundle branch block is slow throughout: the start is a share of QRS, too.
    """
    if m.pr_ms is None or m.qrs_ms is None or m.slow_start_ms is None or m.pr_ms >= 150:
        return False
    least = 30 if m.pr_ms <= 125 and m.qrs_ms >= 90 else 36
    return m.slow_start_ms >= max(least, 0.24 * m.qrs_ms)


def repolarisation_secondary(m: Measurements) -> bool:
    """Whether ST and T follow from the way of excitation, so that neither can be called normal or ischaemic by itself:
    paced beats, left bundle branch block, pre-excitation, a QRS of 130 ms and more.
    """
    wide = m.qrs_ms is not None and m.qrs_ms >= 130
    return ventricular_pacing(m) or has_left_bundle(m) or is_preexcited(m) or wide


_NO_FORM_MS, _NO_FORM_WITH_P_MS = 130.0, 150.0
_REGULAR, _FASTEST_BPM = 0.05, 100.0  # faster it is a tachycardia with wide QRS


def unclear_wide(m: Measurements) -> WideRhythm:
    """A regular rhythm with a wide QRS of neither bundle branch form, without spikes: paced, or from the ventricles?

    Pacing spikes are lost on paper, behind filters and at 100 Hz; an escape rhythm of the ventricles has none. Without
    P waves 130 ms are enough; with them, as where a pacemaker follows the atria, delayed conduction is likelier, and
    150 ms are asked for.

    Args:
        m: Of one record.

    Returns:
        "without_p", "with_p", or "" where QRS is narrow, has a form of its own, or its form was not seen.
    """
    if m.qrs_ms is None or m.qrs_ms < _NO_FORM_MS or m.rate_bpm is None or m.rate_bpm > _FASTEST_BPM:
        return ""
    if m.rr_variation is None or m.rr_variation >= _REGULAR or m.n_beats < 4 or "V1" not in m.leads:
        return ""
    if not {"I", "V5", "V6"} & m.leads.keys():
        return ""
    if ventricular_pacing(m) or has_left_bundle(m) or has_right_bundle(m) or is_preexcited(m):
        return ""
    if m.p_waves != "present":
        return "without_p"
    return "with_p" if m.qrs_ms >= _NO_FORM_WITH_P_MS else ""
