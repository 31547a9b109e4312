"""`measure`: everything that is measured on one record.

Limits are taken as ECG machines take them: on the median beat of all leads together, a global measure in the sense of
the AHA/ACC/HRS recommendations (Kligfield 2007). What cannot be measured is None with a reason, never a number.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from ecgkin.generation.measures.arrays import FS
from ecgkin.generation.measures.beats import Beats, find_beats, qrs_activity, spikes_with_qrs
from ecgkin.generation.measures.columns import in_step
from ecgkin.generation.measures.leads import lead_measures
from ecgkin.generation.measures.median_beat import BEFORE, MedianBeat, median_beat, slow_start_ms
from ecgkin.generation.measures.p_train import PTrain, p_train
from ecgkin.generation.measures.pacing import Pacing, pacing_of
from ecgkin.generation.measures.rhythm import Intervals, atrial_activity, intervals_of
from ecgkin.generation.measures.signals import Samples, samples_of
from ecgkin.generation.measures.values import NAMES, PLAUSIBLE, Measurements, PWaves, Reason
from ecgkin.generation.measures.waves import PWave, TWave, p_wave, t_peak, t_wave
from ecgkin.retrieval.ecg.record import EcgRecord

_MIN_SECONDS = 2.0
_MIN_BEATS = 2
_MIN_FS_HZ = 100.0
_CLEAR_BEATS = 1.7  # QRS complexes less clear than this are noise or ventricular fibrillation
# Of 2,442 records of PTB-XL folds 1-8: P waves of sinus rhythm are alike by 0.85 (5th percentile of normal ECGs) and
# more, what stands before QRS in atrial fibrillation by 0.8 (95th percentile) and less.
_P_CONSTANT, _P_CONSTANT_IRREGULAR = 0.6, 0.75
_P_ABSENT = 0.45
_IRREGULAR = 0.08
_REGULAR = 0.05
_P_LEAST_MV = 0.015
_BLOCK_BELOW_BPM = 80.0
# Curves that were read off paper tremble where lines cross, in two or three beats at one place by chance.
_LEADS_FOR_SPIKES = 3
_SPIKES_ON_PAPER = 0.5
_R_WAVES_AS_SPIKES, _CONDUCTED_MS = 3, 100.0
_IN_QRS_S = 0.03  # from a "spike" to the middle of QRS: its tip may be meant
# Of 30 records of PTB-XL folds 1-9 with spikes and a QRS below 110 ms 4 are above 100/min, none of a pacemaker; of the
# others 19 are.
_NARROW_MS, _NARROW_BPM = 110.0, 100.0
# No T ends behind the QRS that follows it: from this share of shorter RR intervals on QT is held to be too long.
_OVERRUN, _FEWEST_INTERVALS = 0.2, 5
# Above 100/min a depressed ST segment passes for T and makes QT far too short: of PTB-XL folds 1-8 all 8 records with a
# Fridericia interval below this are of atrial fibrillation, flutter or supraventricular tachycardia; no normal ECG is.
_T_TOO_SOON_MS, _T_TOO_SOON_BPM = 280.0, 100.0


def measure(record: EcgRecord) -> Measurements:
    """Measure a record; never raises for what is in the samples.

    Args:
        record: Any leads at any rate; missing leads and samples are left out. Leads may be known at different times,
            as on paper; then a lead that is known throughout (a rhythm strip) ties the beats together.
    """
    return replace(_measured(record), age_years=record.age_years, sex=record.sex)


def samples_and_beats(record: EcgRecord, spikes_s: tuple[float, ...] | None = None) -> tuple[Samples, Beats]:
    """The samples without pacemaker spikes, columns of a page in step, and the beats in them.

    Args:
        record: Any leads at any rate.
        spikes_s: Pacemaker spikes to take out; None to look for them.

    Returns:
        Samples and beats.
    """
    samples = samples_of(record, spikes_s)
    if not samples.names:
        return samples, find_beats(samples)
    curve = qrs_activity(samples)
    if samples.spikes_s:
        kept = spikes_with_qrs(samples.spikes_s, curve)
        if len(kept) < 2:
            kept = ()
        if kept != samples.spikes_s:
            samples = samples_of(record, kept)
            curve = qrs_activity(samples)
    beats = find_beats(samples, curve)
    stepped = in_step(samples, beats)
    if stepped is samples:
        return samples, beats
    # In step the beats are at least as like each other as before, or it was no step.
    again = find_beats(stepped)
    usual, now = (sum(kind != "V" for kind in found.kinds) / max(1, len(found)) for found in (beats, again))
    return (stepped, again) if now >= usual else (samples, beats)


def usual_beat(record: EcgRecord) -> MedianBeat | None:
    """The median beat that `measure` measures, None where it measures none; to be drawn."""
    if record.duration_s < _MIN_SECONDS or record.fs_hz < _MIN_FS_HZ:
        return None
    samples, beats = samples_and_beats(record)
    if len(samples.spikes_s) >= _R_WAVES_AS_SPIKES and _no_pacemaker(_measured(record, samples.spikes_s), record):
        samples, beats = samples_and_beats(record, ())
    if not samples.names or len(beats) < _MIN_BEATS or beats.clearness < _CLEAR_BEATS:
        return None
    return median_beat(samples, beats)


def _measured(record: EcgRecord, spikes_s: tuple[float, ...] | None = None) -> Measurements:
    if record.duration_s < _MIN_SECONDS:
        return _nothing(Reason.SHORT)
    if record.fs_hz < _MIN_FS_HZ:
        return _nothing(Reason.SAMPLED_TOO_SLOWLY)
    samples, beats = samples_and_beats(record, spikes_s)
    if not samples.names:
        return _nothing(Reason.NO_SIGNAL)
    if len(beats) < _MIN_BEATS:
        return replace(_nothing(Reason.FEW_BEATS), n_beats=len(beats))
    if beats.clearness < _CLEAR_BEATS:
        return _nothing(Reason.NO_BEATS)
    intervals = intervals_of(beats)
    values: dict[str, Any] = {"rr_variation": intervals.variation}
    reasons: dict[str, Reason] = {}
    sure = {"rate_bpm": _rate_confidence(beats), "rr_variation": _rate_confidence(beats)}
    values["rate_bpm"] = _plausible("rate_bpm", intervals.rate_bpm, reasons)
    common = Measurements(
        n_beats=len(beats),
        rr_ms=intervals.rr_ms,
        pauses_ms=intervals.pauses_ms,
        regular=intervals.normal_variation < _REGULAR if len(beats) >= 4 else None,
        premature_ventricular=intervals.premature_ventricular,
        premature_atrial=intervals.premature_atrial,
        longest_run=intervals.longest_run,
        alike=sum(kind != "V" for kind in beats.kinds) / len(beats),
    )
    pacing = pacing_of(samples.spikes_s, beats.at)
    if samples.complete.sum() < _LEADS_FOR_SPIKES and max(pacing.ventricular, pacing.atrial) < _SPIKES_ON_PAPER:
        pacing = Pacing(samples.spikes_s)
    common = replace(common, pacing=pacing)
    beat = median_beat(samples, beats)
    if beat is None:
        reasons |= dict.fromkeys(NAMES[2:], Reason.NO_USUAL_BEAT)
        return replace(common, reasons=reasons, confidence=sure, **values)
    if common.pacing.ventricular >= 0.5:  # QRS begins with the spike, not with what its removal has left
        spike = BEFORE - round(common.pacing.latency_s * FS)
        beat = replace(beat, onset=max(beat.onset, min(spike, beat.offset - 30)))
    found = _from_beat(replace(common, **values), samples, beats, beat, intervals, reasons, sure)
    # Their R waves, taken for spikes, had been taken out.
    return _measured(record, ()) if spikes_s is None and _no_pacemaker(found, record) else found


def _no_pacemaker(m: Measurements, record: EcgRecord) -> bool:
    """Whether "spikes" are steep R waves, or noise: no pacemaker drives a heart that conducts so well.

    Beats that are all alike, narrow, and each led by a P wave: of PTB-XL folds 8 and 9 this is so in three of the five
    records with neither report nor label of a pacemaker, and in none with one. What stands in the middle of QRS is
    asked as well whether it is so with these "spikes" left in: of folds 1-9 in four of five that no report calls paced,
    in none of two others. And a narrow QRS above 100/min.
    """
    if not m.pacing.paced or len(m.pacing.spikes_s) < _R_WAVES_AS_SPIKES:
        return False
    if _conducted(m):
        return True
    narrow = m.qrs_ms is not None and m.qrs_ms < _NARROW_MS
    if narrow and m.rate_bpm is not None and m.rate_bpm > _NARROW_BPM:
        return True
    in_qrs = 0.0 < m.pacing.latency_s <= _IN_QRS_S and m.pacing.ventricular > 0
    return narrow and in_qrs and _conducted(_measured(record, ()))


def _conducted(m: Measurements) -> bool:
    """Beats that are all alike, narrow, and each led by a P wave."""
    return (
        m.p_waves == "present"
        and m.qrs_ms is not None
        and m.qrs_ms < _CONDUCTED_MS
        and m.alike is not None
        and m.alike >= 0.95
    )


def _from_beat(
    common: Measurements,
    samples: Samples,
    beats: Beats,
    beat: MedianBeat,
    intervals: Intervals,
    reasons: dict[str, Reason],
    sure: dict[str, float],
) -> Measurements:
    """Intervals, axes and amplitudes of the median beat."""
    values: dict[str, Any] = {}  # floats, None where not measurable
    p, t = _waves(beat, intervals)
    values["qrs_ms"] = _plausible("qrs_ms", (beat.offset - beat.onset) * 1000.0 / FS, reasons)
    many = 1.0 - 0.5 ** float(np.median(beat.n_beats[beat.n_beats > 0])) if (beat.n_beats > 0).any() else 0.0
    sure["qrs_ms"] = many * _from_noise(beat)
    values["qt_ms"] = _plausible("qt_ms", math.nan if t is None else (t.end - beat.onset) * 1000.0 / FS, reasons)
    if t is None:
        reasons["qt_ms"] = Reason.T_UNCLEAR
    rr_s = 60.0 / intervals.rate_bpm
    qt = values["qt_ms"]
    if qt is not None and qt / rr_s ** (1 / 3) < _T_TOO_SOON_MS and intervals.rate_bpm > _T_TOO_SOON_BPM:
        qt, values["qt_ms"], reasons["qt_ms"] = None, None, Reason.T_UNCLEAR
    values["qtc_ms"] = _plausible("qtc_ms", math.nan if qt is None else qt / math.sqrt(rr_s), reasons)
    if qt is None:
        reasons["qtc_ms"] = reasons["qt_ms"]
    elif values["qtc_ms"] is None:
        values["qt_ms"], reasons["qt_ms"] = None, reasons["qtc_ms"]  # one cannot be right without the other
    fridericia = None if values["qt_ms"] is None else values["qt_ms"] / rr_s ** (1 / 3)
    values["qtc_fridericia_ms"] = fridericia
    if fridericia is None:
        reasons["qtc_fridericia_ms"] = reasons["qt_ms"]
    for name in ("qt_ms", "qtc_ms", "qtc_fridericia_ms"):
        sure[name] = 0.0 if t is None else many * (1.0 - math.exp(-t.clear / 12.0))
    state = _p_state(p, intervals)
    values["pr_ms"] = None
    if p is not None and state == "present":
        values["pr_ms"] = _plausible("pr_ms", (beat.onset - p.onset) * 1000.0 / FS, reasons)
        sure["pr_ms"] = many * (1.0 - math.exp(-p.clear / 6.0)) * (1.0 if p.limits else 0.5) * max(0.0, p.constant)
    else:
        reasons["pr_ms"] = Reason.NO_P_WAVE
    early = min(beat.offset, beat.onset + round(0.09 * FS))
    values["axis_deg"] = _axis("axis_deg", beat, beat.onset, early, 0.002, reasons)
    if p is not None and state == "present":
        values["p_axis_deg"] = _axis("p_axis_deg", beat, p.onset, p.end, 0.0005, reasons)
    else:
        values["p_axis_deg"], reasons["p_axis_deg"] = None, Reason.NO_P_WAVE
    if t is not None:
        values["t_axis_deg"] = _axis("t_axis_deg", beat, beat.offset + round(0.06 * FS), t.end, 0.002, reasons)
    else:
        values["t_axis_deg"], reasons["t_axis_deg"] = None, Reason.T_UNCLEAR
    for name in ("axis_deg", "p_axis_deg", "t_axis_deg"):
        sure[name] = many if values[name] is not None else 0.0
    return replace(
        common,
        **values,
        reasons=reasons,
        confidence={name: value for name, value in sure.items() if name not in reasons},
        p_waves=state,
        p_constant=None if p is None or not math.isfinite(p.constant) else p.constant,
        slow_start_ms=None if samples.stepped else slow_start_ms(beat),
        p_train=_p_train(common, state, intervals, samples, beats, beat, None if t is None else t.end),
        atrial=atrial_activity(samples, beats, beat, None if t is None else t.end),
        leads=lead_measures(beat, None if t is None else t.end),
    )


def _waves(beat: MedianBeat, intervals: Intervals) -> tuple[PWave | None, TWave | None]:
    """P between the T wave before it and QRS, T between QRS and the P wave after it."""
    top = t_peak(beat, intervals.next_s)
    after_t_s = 0.3 * math.sqrt(intervals.before_s) if top is None else (top - beat.onset) / FS
    p = p_wave(beat, intervals.before_s - after_t_s - 0.06)
    if top is None:
        return p, None
    found = p is not None and p.constant >= _P_CONSTANT
    before_p = p.onset if p is not None and found else beat.onset - round(0.12 * FS)
    cycle = round(intervals.next_s * FS)
    last = min(BEFORE + round((0.78 if found else 0.68) * cycle), before_p + cycle - 3)
    t = t_wave(beat, top, last)
    if t is not None and t.end - beat.onset > _room(intervals):
        t = None  # the QRS complexes that come early were taken for the end of T
    return p, t


def _room(intervals: Intervals) -> int:
    """Samples that all but the shortest RR intervals between usual beats leave for QT; no bound where these are few."""
    ordered = sorted(intervals.usual_ms)
    if len(ordered) < _FEWEST_INTERVALS:
        return round(10 * FS)
    return round(ordered[round(_OVERRUN * (len(ordered) - 1))] * FS / 1000.0)


def _p_train(
    common: Measurements,
    state: PWaves,
    intervals: Intervals,
    samples: Samples,
    beats: Beats,
    beat: MedianBeat,
    t_end: int | None,
) -> PTrain | None:
    """Looked for only where some P wave may not be followed by QRS: it takes a fifth of the time of all else."""
    if common.pacing.paced or intervals.rate_bpm >= _BLOCK_BELOW_BPM:
        return None
    usual = float(np.median(intervals.rr_ms))
    if state == "present" and intervals.rate_bpm >= 52 and max(intervals.rr_ms) < 1.2 * usual:
        return None
    return p_train(samples, beats, beat, t_end)


def _p_state(p: PWave | None, intervals: Intervals) -> PWaves:
    if p is None or not math.isfinite(p.constant):
        return "unclear"
    irregular = intervals.normal_variation >= _IRREGULAR
    needed = _P_CONSTANT_IRREGULAR if irregular else _P_CONSTANT
    if p.constant >= needed and p.size_mv >= _P_LEAST_MV:
        return "present"
    return "absent" if p.constant < _P_ABSENT or irregular else "unclear"


def _axis(
    name: str, beat: MedianBeat, first: int, last: int, least_mv_s: float, reasons: dict[str, Reason]
) -> float | None:
    """atan2 of the net areas; aVF, an augmented lead, is scaled back by 2/sqrt(3).

    Of a wide QRS only the first 90 ms count: what follows in right bundle branch block is the late right ventricle,
    which the axis leaves out.
    """
    nets = []
    for lead in ("I", "aVF"):
        row = beat.mv[beat.names.index(lead)] if lead in beat.names else None
        if row is None or not np.isfinite(row[first : last + 1]).all():
            reasons[name] = Reason.LEAD_MISSING
            return None
        nets.append(float(row[first : last + 1].sum()) / FS)
    if math.hypot(*nets) < least_mv_s:
        reasons[name] = Reason.TOO_SMALL
        return None
    return math.degrees(math.atan2(2 / math.sqrt(3) * nets[1], nets[0]))


def _rate_confidence(beats: Beats) -> float:
    return float(np.clip((beats.clearness - 1.5) / 4.0, 0.0, 1.0)) * (1.0 - 0.5 ** (len(beats) - 1))


def _from_noise(beat: MedianBeat) -> float:
    """How well QRS stands above the noise of the median beat, 0 to 1."""
    part = beat.mv[:, beat.onset : beat.offset + 1]
    known = np.isfinite(part).all(axis=1)
    if not known.any():
        return 0.0
    size = float(np.median(np.ptp(part[known], axis=1)))
    noise = float(np.median(beat.noise_mv[known] / np.sqrt(np.maximum(1, beat.n_beats[known]))))
    return 1.0 - math.exp(-size / max(noise, 1e-4) / 25.0)


def _plausible(name: str, value: float, reasons: dict[str, Reason]) -> float | None:
    low, high = PLAUSIBLE[name]
    if not (math.isfinite(value) and low <= value <= high):
        reasons[name] = Reason.IMPLAUSIBLE
        return None
    return value


def _nothing(reason: Reason) -> Measurements:
    return Measurements(reasons=dict.fromkeys(NAMES, reason))
