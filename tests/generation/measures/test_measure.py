"""Measurements: against the truth of simulated records, on pages' leads, and on records that cannot be measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ecgkin.generation.measures import NAMES, Measurements, Reason, measure, reason_text
from ecgkin.generation.measures.beats import _left_of_spikes
from ecgkin.generation.measures.columns import in_step
from ecgkin.generation.measures.measure import _no_pacemaker, _waves, samples_and_beats, usual_beat
from ecgkin.generation.measures.median_beat import median_beat
from ecgkin.generation.measures.pacing import Pacing
from ecgkin.generation.measures.rhythm import intervals_of
from ecgkin.generation.measures.values import REASON_TEXTS
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.simulation.model import DOWER, to_twelve
from ecgkin.retrieval.ecg.simulation.simulate import SimulatedEcg, simulate


def made(codes: list[str], seed: int, fs_hz: float = 500.0, **options: float) -> SimulatedEcg:
    return simulate(codes, np.random.default_rng(seed), fs_hz=fs_hz, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("fs_hz", [100.0, 500.0])
@pytest.mark.parametrize(
    "code", ["NORM", "1AVB", "CLBBB", "CRBBB", "LAFB", "STACH", "SBRAD", "PVC", "LNGQT", "IMI", "BIGU", "LVOLT", "WPW"]
)
def test_against_the_truth(code: str, fs_hz: float) -> None:
    """Within what a person reads off paper: 2 %, 20 ms for PR, QRS and QT, 25 degrees (40 in blocks)."""
    ecg = made([code], 3, fs_hz)
    found, truth = measure(ecg.record), ecg.truth
    assert found.rate_bpm == pytest.approx(truth.rate_bpm, rel=0.02)
    assert found.pr_ms == pytest.approx(truth.pr_ms, abs=20)
    assert found.qt_ms == pytest.approx(truth.qt_ms, abs=25)
    assert found.qrs_ms == pytest.approx(truth.qrs_ms, abs=20)
    assert found.axis_deg is not None
    turned = (found.axis_deg - truth.axis_deg + 180) % 360 - 180
    assert abs(turned) <= (40 if code in ("CLBBB", "CRBBB") else 25)
    assert not found.reasons and set(found.values) == set(NAMES)
    assert found.p_waves == "present" and all(value > 0.3 for value in found.confidence.values())
    assert found.qt_ms is not None and found.rate_bpm is not None
    assert found.qtc_fridericia_ms == pytest.approx(found.qt_ms / (60 / found.rate_bpm) ** (1 / 3))


@pytest.mark.parametrize("seed", [0, 1, 2, 6, 8])
def test_a_p_wave_far_before_qrs_is_measured_whole(seed: int) -> None:
    """PR of 245 to 318 ms: the whole P wave lies in the window in which it is looked for."""
    made = simulate(["1AVB"], np.random.default_rng(seed), fs_hz=(100.0, 500.0)[seed % 2])
    assert made.truth.pr_ms is not None and made.truth.pr_ms > 240
    assert measure(made.record).pr_ms == pytest.approx(made.truth.pr_ms, abs=6)


@given(
    rate=st.floats(30, 300),
    code=st.sampled_from(["SR", "AFIB", "LVH", "CRBBB", "STD_"]),
    seed=st.integers(0, 50),
    noise=st.sampled_from([0.0, 1.0, 3.0]),
)
@example(rate=140.0, code="AFIB", seed=43, noise=0.0)  # T waves of the longer intervals alone stood out
@example(rate=128.3, code="AFIB", seed=28, noise=3.0)  # a QRS cut off by the end lay between T waves and QRS in height
@example(rate=133.0, code="AFIB", seed=45, noise=0.0)  # two T waves of 25, half as fast as QRS, 0.18 s after it
@settings(max_examples=40, deadline=None)
def test_any_rate_is_not_halved_or_doubled(rate: float, code: str, seed: int, noise: float) -> None:
    """Within 5 % of the rate of the beats that the record holds whole; one that its end cuts off may be left out."""
    ecg = made([code], seed, 250.0, rate_bpm=rate, noise=noise)
    found = measure(ecg.record).rate_bpm
    whole = ecg.truth.r_peaks_s[(ecg.truth.r_peaks_s > 0.1) & (ecg.truth.r_peaks_s < ecg.record.duration_s - 0.1)]
    of_whole = 60.0 * (len(whole) - 1) / (whole[-1] - whole[0])
    assert found == pytest.approx(ecg.truth.rate_bpm, rel=0.05) or found == pytest.approx(of_whole, rel=0.05)


@pytest.mark.parametrize("rate", [55.0, 75.0, 95.0])
@pytest.mark.parametrize("width_s", [0.035, 0.045])
@pytest.mark.parametrize("height_mv", [1.0, 1.8])
def test_sharp_tall_t_waves_are_no_beats(rate: float, width_s: float, height_mv: float) -> None:
    """T as tall as R and nearly as quick (hyperkalaemia) leaves the rate as it is; so does bigeminy."""
    ecg = made(["NORM"], 2, 500.0, rate_bpm=rate)
    times = np.arange(ecg.record.n_samples) / 500.0
    signal = ecg.record.signal_mv.astype(np.float64)
    size = np.array([0.4, 0.7, -0.6, 0.1, 0.5, 0.3, -0.2, 0.8, 1.0, 1.0, 0.8, 0.6])
    for beat in samples_and_beats(ecg.record)[1].at / 500.0:
        top = beat + 0.27 * np.sqrt(60.0 / rate)
        signal += height_mv * size[:, None] * np.exp(-0.5 * np.square((times - top) / width_s))
    found = measure(replace(ecg.record, signal_mv=signal.astype(np.float32)))
    assert found.rate_bpm == pytest.approx(ecg.truth.rate_bpm, rel=0.05)


@pytest.mark.parametrize(
    ("at", "moves", "left"),
    [
        # Spike and QRS; two spikes and QRS; QRS and a notch that moves less; a tachycardia; one pair only.
        ([0, 90] * 5, [0.1, 1.0] * 5, [True, False] * 5),
        ([0, 115, 200] * 4, [0.1, 0.9, 1.0] * 4, [True, True, False] * 4),
        ([0, 90] * 5, [1.0, 0.5] * 5, [False, True] * 5),
        ([0, 110, 220, 330] * 4, [1.0] * 16, [False] * 16),
        ([0, 90, 500, 1000, 1500, 2000, 2500, 3000], [0.1] + [1.0] * 7, [False] * 8),
    ],
)
def test_what_is_left_of_spikes_is_no_beat(at: list[int], moves: list[float], left: list[bool]) -> None:
    cycle = at.index(0, 1) if 0 in at[1:] else len(at)
    length = 500 if at[:3] != [0, 110, 220] else 440
    places = np.array([place + length * (k // cycle) for k, place in enumerate(at)], dtype=np.int64)
    assert _left_of_spikes(places, np.array(moves)).tolist() == left


def test_a_fast_tachycardia_of_the_shared_files(shared_root: Path) -> None:
    """220/min, which two beats a cycle would make 110."""
    from ecgkin.retrieval.ecg.formats.read import read_ecg

    found = measure(read_ecg(shared_root / "faults" / "svt220.hea"))
    assert found.rate_bpm == pytest.approx(220, abs=1) and found.n_beats == 37


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_extrasystoles_are_counted_and_not_measured(seed: int) -> None:
    """In bigeminy every second beat is broad; the narrow ones are measured, and the beats told apart as simulated."""
    ecg = made(["BIGU"], seed)
    _, beats = samples_and_beats(ecg.record)
    found = measure(ecg.record)
    assert found.qrs_ms == pytest.approx(ecg.truth.qrs_ms, abs=20)
    expected = [kind for kind, at in zip(ecg.truth.beat_kinds, ecg.truth.r_peaks_s, strict=True) if 0.2 < at < 9.8]
    told = [kind for kind, at in zip(beats.kinds, beats.at / 500, strict=True) if 0.2 < at < 9.8]
    assert told == expected
    assert found.premature_ventricular == pytest.approx(expected.count("V"), abs=1)
    alone = made(["PAC"], seed)
    assert measure(alone.record).premature_atrial == alone.truth.beat_kinds.count("A")


@pytest.mark.parametrize("fs_hz", [100.0, 500.0])
def test_spikes_are_found_and_do_not_widen_beats(fs_hz: float) -> None:
    for seed in range(4):
        ecg = made(["PACE"], seed, fs_hz)
        found = measure(ecg.record)
        assert found.pacing.paced, seed
        assert found.qrs_ms == pytest.approx(ecg.truth.qrs_ms, abs=25)
        assert found.rate_bpm == pytest.approx(ecg.truth.rate_bpm, rel=0.02)
    for code in ("NORM", "CLBBB", "LVH", "AFIB"):
        assert not measure(made([code], 1, fs_hz).record).pacing.paced


@pytest.mark.parametrize("seed", range(4))
def test_steep_r_waves_are_no_spikes(seed: int) -> None:
    """Something narrow at the R wave of narrow, conducted beats drives none of them, and widens none."""
    ecg = made(["NORM"], seed, 100.0)
    signal = ecg.record.signal_mv.copy()
    signal[:, np.round(ecg.truth.r_peaks_s * 100.0).astype(int) - 2] += 0.8
    found = measure(replace(ecg.record, signal_mv=signal))
    assert not found.pacing.paced and found.p_waves == "present"
    assert found.rate_bpm == pytest.approx(ecg.truth.rate_bpm, rel=0.05)
    drawn = usual_beat(replace(ecg.record, signal_mv=signal))
    assert drawn is not None and (drawn.offset - drawn.onset) * 2.0 == found.qrs_ms


@pytest.mark.parametrize("fs_hz", [100.0, 500.0])
def test_fibrillation_has_a_rate_and_no_p(fs_hz: float) -> None:
    for seed in range(4):
        ecg = made(["AFIB"], seed, fs_hz)
        found = measure(ecg.record)
        assert found.rate_bpm == pytest.approx(ecg.truth.rate_bpm, rel=0.02)
        assert found.pr_ms is None and found.reasons["pr_ms"] is Reason.NO_P_WAVE and found.p_waves == "absent"
        assert not found.regular


def test_amplitudes_by_lead(made_record: EcgRecord) -> None:
    """Bumps of known height: in II P .165, R 1.1, T .33 mV; in V1 everything upside down."""
    found = measure(made_record)
    two, v1 = found.leads["II"], found.leads["V1"]
    assert two.r_mv == pytest.approx(1.03, abs=0.08) and two.t_mv == pytest.approx(0.33, abs=0.04)
    assert two.t_polarity == "positive" and v1.t_polarity == "negative" and v1.net_mv < -0.3
    assert abs(two.st_j_mv) < 0.05 and abs(two.st_80_mv) < 0.05
    shifted = made_record.signal_mv.copy()
    times = np.arange(shifted.shape[1]) / 500
    phase = (times * 75 / 60) % 1.0
    up = (phase > 0.45) & (phase < 0.75)  # from the end of QRS to that of T
    shifted[LEADS.index("V4"), up] += 0.3
    raised = measure(replace(made_record, signal_mv=shifted)).leads["V4"]
    assert raised.st_60_mv == pytest.approx(0.3, abs=0.06) and found.leads["V4"].st_60_mv < 0.05


def test_leads_at_different_times() -> None:
    """Paper with 2.5 s a lead: the rhythm strip gives the beats, every lead its amplitudes; also without a strip."""
    for strip in (True, False):
        ecg = made(["NORM"], 5)
        paper = np.full_like(ecg.record.signal_mv, np.nan)
        for column in range(4):
            part = slice(column * 1250, (column + 1) * 1250)
            paper[column * 3 : column * 3 + 3, part] = ecg.record.signal_mv[column * 3 : column * 3 + 3, part]
        if strip:
            paper[1] = ecg.record.signal_mv[1]
        found, whole = measure(replace(ecg.record, signal_mv=paper)), measure(ecg.record)
        assert found.rate_bpm == pytest.approx(ecg.truth.rate_bpm, rel=0.03)
        assert set(found.leads) >= set(LEADS) - {"V6"}
        for name in ("II", "V2", "V5"):
            assert found.leads[name].r_mv == pytest.approx(whole.leads[name].r_mv, abs=0.12)
            assert found.leads[name].st_j_mv == pytest.approx(whole.leads[name].st_j_mv, abs=0.06)
        if strip:
            assert found.qrs_ms == pytest.approx(ecg.truth.qrs_ms, abs=25)
            assert found.pr_ms == pytest.approx(ecg.truth.pr_ms, abs=25)


def test_what_cannot_be_measured_says_why(made_record: EcgRecord) -> None:
    """Flat, missing, short, slow or noisy: None with a reason, never a number, never an exception."""
    rng = np.random.default_rng(0)
    shape = made_record.signal_mv.shape
    cases = {
        Reason.NO_SIGNAL: replace(made_record, signal_mv=np.full(shape, np.nan, np.float32)),
        Reason.SHORT: made_record.window(0.0, 1.5),
        Reason.SAMPLED_TOO_SLOWLY: made_record.resampled(50.0),
    }
    for reason, record in cases.items():
        found = measure(record)
        assert not found.values and set(found.reasons) == set(NAMES) and set(found.reasons.values()) == {reason}
    assert measure(replace(made_record, signal_mv=np.zeros(shape, np.float32))).reasons["rate_bpm"] is Reason.NO_SIGNAL
    for size in (0.1, 0.3, 2.0):
        noise = measure(replace(made_record, signal_mv=rng.normal(0, size, shape).astype(np.float32)))
        assert noise.rate_bpm is None and noise.reasons["rate_bpm"] is Reason.NO_BEATS
    assert set(REASON_TEXTS) == set(Reason) and all(reason_text(r, "de") for r in Reason)


@given(
    st.integers(1, 12), st.sampled_from([100.0, 125.0, 250.0, 360.0, 500.0, 1000.0]), st.floats(2.0, 12.0),
    st.sampled_from(["noise", "steps", "spikes", "constant", "beats"]), st.floats(0.0, 0.9), st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_never_raises(leads: int, fs_hz: float, seconds: float, kind: str, missing: float, seed: int) -> None:
    """Whatever the samples, with whatever holes: numbers or reasons for all of them."""
    rng = np.random.default_rng(seed)
    n = round(fs_hz * seconds)
    kinds: dict[str, Callable[[], np.ndarray[Any, Any]]] = {
        "noise": lambda: rng.normal(0, 1, (leads, n)),
        "steps": lambda: np.repeat(rng.normal(0, 5, (leads, n // 20 + 1)), 20, axis=1)[:, :n],
        "spikes": lambda: (rng.random((leads, n)) < 0.01) * 1e6,
        "constant": lambda: np.full((leads, n), 3.0),
        "beats": lambda: made(["NORM"], seed, 500.0).record.resampled(fs_hz).signal_mv[:leads, :n],
    }
    signal = np.array(kinds[kind](), dtype=np.float32)
    start = int(rng.integers(0, signal.shape[1]))
    signal[rng.random(leads) < 0.5, start : start + int(missing * signal.shape[1])] = np.nan
    found = measure(EcgRecord(signal, fs_hz, LEADS[:leads]))
    assert all(getattr(found, name) is not None or name in found.reasons for name in NAMES)
    assert all(np.isfinite(value) for value in found.values.values())
    assert all(0 <= value <= 1 for value in found.confidence.values())
    assert found.as_dict()["n_beats"] == found.n_beats


def test_gaps_and_few_leads(made_record: EcgRecord) -> None:
    """A gap of half a second is left out; one lead gives a rate and says what it cannot give."""
    signal = made_record.signal_mv.copy()
    signal[:, 1000:1250] = np.nan
    assert measure(replace(made_record, signal_mv=signal)).rate_bpm == pytest.approx(75, abs=8)
    one = EcgRecord(made_record.signal_mv[LEADS.index("II")][None], made_record.fs_hz, ("II",))
    found = measure(one)
    assert found.rate_bpm == pytest.approx(75, abs=2)
    assert found.axis_deg is None and found.reasons["axis_deg"] is Reason.LEAD_MISSING
    spiky = made_record.signal_mv.copy()
    spiky[:, 2500] = 1e6
    assert isinstance(measure(replace(made_record, signal_mv=spiky)), Measurements)


def test_the_rhythm_strip_counts_the_beats() -> None:
    """A page with raised ST segments that end as steeply as QRS: twice as many edges as beats, but not in the strip."""
    fs, cycle = 500, 390  # 77/min
    t = np.arange(5000)
    beat = np.zeros(cycle)
    beat[50:70] = np.interp(np.arange(20), [0, 10, 19], [0.0, 1.0, 0.0])
    tombstone = beat.copy()
    tombstone[60:190] = 1.0
    tombstone[190:200] = np.linspace(1.0, 0.0, 10)
    signal = np.full((12, t.size), np.nan, dtype=np.float32)
    for lead in range(12):
        column = lead // 3
        shown = slice(1250 * column, 1250 * (column + 1))
        signal[lead, shown] = (tombstone if column >= 2 else beat)[t % cycle][shown]
    signal[1] = beat[t % cycle]
    signal += np.random.default_rng(0).normal(0, 0.01, signal.shape).astype(np.float32)
    found = measure(EcgRecord(signal, float(fs), LEADS))
    assert found.rate_bpm == pytest.approx(60 * fs / cycle, rel=0.02)


def test_a_strip_with_a_small_qrs_does_not_count_t_waves() -> None:
    """A rate of 38/min on a page whose strip shows a QRS of 0.15 mV and now and then a T wave that is as fast."""
    fs, at = 500, (450, 1240, 2040, 2830, 3620, 4410)
    signal = np.full((12, 5000), np.nan, dtype=np.float32)
    qrs, t_wave = np.interp(np.arange(30), [0, 12, 29], [0.0, 1.0, 0.0]), np.hanning(60)
    for lead in (0, 3, 4, 6, 9):  # a lead or two a column
        shown = slice(1250 * (lead // 3), 1250 * (lead // 3 + 1))
        clear = np.zeros(5000)
        for start in at:
            clear[start : start + 30] += 0.7 * qrs
            clear[start + 120 : start + 260] += 0.15 * np.hanning(140)
        signal[lead, shown] = clear[shown]
    strip = np.zeros(5000)
    for i, start in enumerate(at):
        strip[start : start + 30] += 0.15 * qrs
        if i in (0, 1, 3):
            strip[start + 140 : start + 200] += 0.35 * t_wave
    signal[1] = strip
    signal += np.random.default_rng(1).normal(0, 0.005, signal.shape).astype(np.float32)
    found = measure(EcgRecord(signal, float(fs), LEADS))
    assert found.n_beats == len(at)
    assert found.rate_bpm == pytest.approx(60 * fs / 792, rel=0.02)


def with_raised_st(ecg: SimulatedEcg, height_mv: float, xyz: tuple[float, float, float], fall_s: float) -> EcgRecord:
    """The record with an injury current: it comes while the ventricles are excited, domes, and goes with T."""
    t = np.arange(ecg.record.signal_mv.shape[1]) / ecg.record.fs_hz
    course = np.zeros_like(t)
    limits = zip(ecg.truth.qrs_onsets_s, ecg.truth.qrs_ends_s, ecg.truth.t_ends_s, strict=True)
    for onset, end, t_end in limits:
        rise = np.clip((t - onset - 0.4 * (end - onset)) / (0.6 * (end - onset)), 0, 1)
        decay = np.clip((t - (t_end - fall_s)) / fall_s, 0, 1)
        dome = 1 + 0.3 * np.sin(np.pi * np.clip((t - end) / (t_end - fall_s - end), 0, 1))
        inside = (t >= onset) & (t <= t_end)
        course += inside * dome * (0.5 - 0.5 * np.cos(np.pi * rise)) * (0.5 + 0.5 * np.cos(np.pi * decay))
    lead = DOWER @ np.array(xyz)
    added = to_twelve((lead / np.abs(lead).max() * height_mv)[:, None] * course[None])
    return replace(ecg.record, signal_mv=(ecg.record.signal_mv + added).astype(np.float32))


@given(
    code=st.sampled_from(["NORM", "LAFB", "IMI", "LVH"]),
    towards=st.sampled_from([(0.35, 0.0, -1.0), (-0.2, 1.0, 0.1), (1.0, 0.1, -0.1)]),
    height_mv=st.floats(0.1, 1.0),
    fall_s=st.floats(0.06, 0.12),
    seed=st.integers(0, 30),
)
@settings(max_examples=30, deadline=None)
def test_tombstones_do_not_widen_qrs(
    code: str, towards: tuple[float, float, float], height_mv: float, fall_s: float, seed: int
) -> None:
    ecg = made([code], seed)
    found = measure(with_raised_st(ecg, height_mv, towards, fall_s))
    assert found.qrs_ms == pytest.approx(ecg.truth.qrs_ms, abs=24)


@pytest.mark.parametrize(("rate", "too_soon"), [(155.0, True), (170.0, True), (90.0, False)])
def test_a_depressed_st_segment_in_a_fast_rhythm_is_no_t_wave(rate: float, too_soon: bool) -> None:
    """Where it stands out beside a small T, QT would come out 40 ms and more too short: it is left out, with QTc."""
    ecg = simulate(["NORM"], np.random.default_rng(2), fs_hz=500.0, rate_bpm=rate)
    found = measure(with_raised_st(ecg, -0.6, (1.0, 0.1, -0.1), 0.12))
    if too_soon:
        assert found.qt_ms is None and found.qtc_ms is None and found.qtc_fridericia_ms is None
        assert found.reasons["qt_ms"] is Reason.T_UNCLEAR and "qt_ms" not in found.confidence
    else:
        assert found.qt_ms == pytest.approx(ecg.truth.qt_ms, abs=30)
    usual = measure(ecg.record)
    assert usual.qt_ms == pytest.approx(ecg.truth.qt_ms, abs=25)


@pytest.mark.parametrize(("early", "told"), [(1, True), (2, True), (3, False), (5, False)])
def test_t_does_not_end_behind_the_next_qrs(early: int, told: bool) -> None:
    """Of eleven intervals between usual beats a fifth and more are shorter than QT: what was taken for T is a QRS."""
    ecg = made(["NORM"], 2, 500.0, rate_bpm=70.0)
    samples, beats = samples_and_beats(ecg.record)
    beat, intervals = median_beat(samples, beats), intervals_of(beats)
    assert beat is not None
    uneven = replace(intervals, usual_ms=(300.0,) * early + (860.0,) * (11 - early))
    assert (_waves(beat, uneven)[1] is not None) is told
    assert _waves(beat, replace(intervals, usual_ms=(300.0,) * 4))[1] is not None  # too few to tell


def test_intervals_of_a_drifting_strip_count_all() -> None:
    """Where most beats are taken for other shapes, the intervals between the usual ones do not speak for the rest."""
    beats = samples_and_beats(made(["NORM"], 2, 500.0, rate_bpm=70.0).record)[1]
    n = len(beats)
    most = replace(beats, kinds=tuple("N" if i in (1, 2, n - 1) else "V" for i in range(n)))
    few = replace(beats, kinds=tuple("V" if i in (1, 5) else "N" for i in range(n)))
    assert len(intervals_of(most).usual_ms) == n - 1 and len(intervals_of(few).usual_ms) == n - 1 - 4


def test_a_late_part_of_qrs_is_no_st() -> None:
    """Right bundle branch block has a slow stretch before its second R: it is measured to the end of that."""
    for seed in range(6):
        ecg = made(["CRBBB"], seed)
        assert measure(ecg.record).qrs_ms == pytest.approx(ecg.truth.qrs_ms, abs=20)


@pytest.mark.parametrize("late_s", [-0.09, 0.07])
def test_columns_beside_the_strip_are_put_in_step(late_s: float) -> None:
    """A page whose columns are printed some hundredths of a second off: QRS is that of the recording."""
    ecg = made(["NORM"], 5)
    whole = ecg.record.standard()
    by = round(late_s * 500)
    signal = np.full((12, 5000), np.nan, dtype=np.float32)
    for lead in range(12):
        column = slice(1250 * (lead // 3) + 100, 1250 * (lead // 3 + 1) - 100)
        signal[lead, column] = np.roll(whole[lead], by)[column]
    signal[LEADS.index("II")] = whole[LEADS.index("II")]
    found, truth = measure(EcgRecord(signal, 500.0, LEADS)), measure(ecg.record)
    assert truth.qrs_ms is not None and truth.axis_deg is not None
    assert found.qrs_ms == pytest.approx(truth.qrs_ms, abs=16)
    assert found.axis_deg == pytest.approx(truth.axis_deg, abs=12)
    samples, beats = samples_and_beats(EcgRecord(signal, 500.0, LEADS))
    assert in_step(samples, beats) is samples  # once is enough


@pytest.mark.parametrize(
    ("code", "seed", "late_s"),
    [("NORM", 5, -0.06), ("NORM", 5, 0.08), ("LAFB", 2, -0.06), ("CRBBB", 1, 0.08), ("CRBBB", 1, 0.0)],
)
def test_strips_beside_each_other_are_put_in_step(code: str, seed: int, late_s: float) -> None:
    """Three strips under the columns, one of which begins some hundredths of a second off."""
    ecg = made([code], seed)
    whole = ecg.record.standard()
    signal = np.full((12, 5000), np.nan, dtype=np.float32)
    for lead in range(12):
        column = slice(1250 * (lead // 3) + 100, 1250 * (lead // 3 + 1) - 100)
        signal[lead, column] = whole[lead][column]
    for name in ("V1", "II", "V5"):
        signal[LEADS.index(name)] = np.roll(whole[LEADS.index(name)], round(late_s * 500) if name == "V1" else 0)
    found, truth = measure(EcgRecord(signal, 500.0, LEADS)), measure(ecg.record)
    assert found.qrs_ms == pytest.approx(truth.qrs_ms, abs=16)


def test_a_narrow_qrs_in_a_fast_heart_is_not_paced() -> None:
    """Noise that keeps time with the beats by chance; a wide QRS or a slower heart may be paced."""
    record = made(["NORM"], 1).record
    spikes = Pacing((1.0, 2.0, 3.0), 0.3, 0.0, 0.06)
    for rate, qrs, driven in ((129.0, 76.0, False), (129.0, 150.0, True), (80.0, 76.0, True)):
        found = Measurements(rate_bpm=rate, qrs_ms=qrs, pacing=spikes, p_waves="absent", alike=1.0)
        assert _no_pacemaker(found, record) is not driven
    # In the middle of QRS: with them left in, the beats are narrow, alike, and follow P.
    found = Measurements(rate_bpm=70.0, qrs_ms=60.0, pacing=replace(spikes, latency_s=0.004), alike=0.6)
    assert _no_pacemaker(found, record) and not _no_pacemaker(found, made(["PACE"], 3).record)
