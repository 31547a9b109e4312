"""Simulated ECGs obey the criteria a cardiologist would check, and their truth is true."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.simulation.simulate import (
    SUPPORTED,
    SimulatedEcg,
    compatible,
    complete_codes,
    draw_codes,
    simulate,
    simulate_corpus,
)
from ecgkin.retrieval.errors import QueryError

SEEDS = st.integers(0, 100_000)
few = settings(max_examples=12, deadline=None)


def _clean(codes: list[str], seed: int) -> SimulatedEcg:
    return simulate(codes, np.random.default_rng(seed), noise=0.0)


def _qrs(ecg: SimulatedEcg, kind: str = "N") -> dict[str, np.ndarray]:
    """Each lead between QRS onset and end of a middle beat of that kind, minus its level at the onset."""
    truth = ecg.truth
    k = next(
        i
        for i, (on, end) in enumerate(zip(truth.qrs_onsets_s, truth.qrs_ends_s, strict=True))
        if truth.beat_kinds[i] == kind and on > 0.3 and end < ecg.record.duration_s - 0.3
    )
    first, last = (round(t[k] * ecg.record.fs_hz) for t in (truth.qrs_onsets_s, truth.qrs_ends_s))
    part = ecg.record.signal_mv[:, first : last + 1]
    return {name: row - row[0] for name, row in zip(LEADS, part, strict=True)}


def _t_peak(ecg: SimulatedEcg, lead: str) -> float:
    """Largest deflection of the T wave of the second whole beat, mV, against the level before QRS."""
    fs, truth = ecg.record.fs_hz, ecg.truth
    k = next(i for i, on in enumerate(truth.qrs_onsets_s) if on > 0.3)
    row = ecg.record.signal_mv[LEADS.index(lead)]
    part = row[round(truth.t_onsets_s[k] * fs) : round(truth.t_ends_s[k] * fs)] - row[round(truth.qrs_onsets_s[k] * fs)]
    return float(part[np.abs(part).argmax()])


def _first_deflection(row: np.ndarray, threshold: float = 0.03) -> float:
    beyond = np.flatnonzero(np.abs(row) > threshold)
    return float(row[beyond[0]]) if len(beyond) else 0.0


@few
@given(SEEDS)
def test_left_bundle_branch_block(seed: int) -> None:
    ecg = _clean(["CLBBB"], seed)
    qrs = _qrs(ecg)
    assert ecg.truth.qrs_ms >= 120
    for lead in ("I", "V6"):
        assert qrs[lead].max() > 0.3 and qrs[lead].min() > -0.1 * qrs[lead].max(), "no q, no deep s"
        assert _first_deflection(qrs[lead]) > 0
        assert np.mean(qrs[lead] > 0.3 * qrs[lead].max()) > 0.45, "R is broad"
        assert _t_peak(ecg, lead) < 0
    assert qrs["V1"].min() < -0.6 and qrs["V1"].max() < 0.3 * -qrs["V1"].min()
    assert _t_peak(ecg, "V1") > 0


@few
@given(SEEDS)
def test_right_bundle_branch_block(seed: int) -> None:
    ecg = _clean(["CRBBB"], seed)
    qrs = _qrs(ecg)
    v1 = qrs["V1"]
    bottom = int(v1.argmin())
    assert ecg.truth.qrs_ms >= 120
    assert v1[:bottom].max() > 0.03 and v1[bottom] < v1[:bottom].max() - 0.1, "r, then S"
    assert v1[bottom:].max() > 0.25 and v1[bottom:].max() > v1[:bottom].max(), "then a larger R'"
    for lead in ("I", "V6"):
        tail = qrs[lead][int(qrs[lead].argmax()) :]
        assert tail.min() < -0.1 and np.sum(tail < -0.03) / ecg.record.fs_hz >= 0.04, "S of 40 ms or more"
    assert _t_peak(ecg, "V1") < 0


@few
@given(SEEDS)
def test_incomplete_right_bundle_branch_block(seed: int) -> None:
    ecg = _clean(["IRBBB"], seed)
    v1 = _qrs(ecg)["V1"]
    bottom = int(v1.argmin())
    assert 100 <= ecg.truth.qrs_ms < 120
    assert v1[:bottom].max() > 0.03 and v1[bottom:].max() > 0.05, "rSr'"


@few
@given(SEEDS)
def test_left_anterior_fascicular_block(seed: int) -> None:
    ecg = _clean(["LAFB"], seed)
    qrs = _qrs(ecg)
    area = {lead: float(row.sum()) for lead, row in qrs.items()}
    axis = np.degrees(np.arctan2(area["aVF"] * 2 / np.sqrt(3), area["I"]))
    assert -90 <= axis <= -45 and abs(axis - ecg.truth.axis_deg) < 5
    assert ecg.truth.qrs_ms < 120
    assert _first_deflection(qrs["aVL"]) < 0 < qrs["aVL"].max(), "qR in aVL"
    for lead in ("II", "III", "aVF"):
        assert _first_deflection(qrs[lead]) > 0 and -qrs[lead].min() > qrs[lead].max(), "rS below"


@few
@given(SEEDS)
def test_left_ventricular_hypertrophy(seed: int) -> None:
    ecg = _clean(["LVH"], seed)
    qrs = _qrs(ecg)
    assert -qrs["V1"].min() + max(qrs["V5"].max(), qrs["V6"].max()) > 3.5
    assert _t_peak(ecg, "V6") < 0 and _t_peak(ecg, "V2") > 0


@few
@given(SEEDS)
def test_inferior_infarction(seed: int) -> None:
    ecg = _clean(["IMI"], seed)
    qrs = _qrs(ecg)
    for lead in ("II", "III", "aVF"):
        row = qrs[lead]
        assert _first_deflection(row) < 0, f"Q in {lead}"
        first_r = int(np.argmax(row[int(row.argmin()) :] > 0.0)) + int(row.argmin())
        end = first_r if row[first_r] > 0 else len(row)
        assert np.sum(row[:end] < -0.02) / ecg.record.fs_hz >= 0.03, f"Q of 30 ms or more in {lead}"
        assert -row.min() > 0.25 * row.max(), f"Q a quarter of R in {lead}"
    assert _t_peak(ecg, "III") < 0


@few
@given(SEEDS)
def test_anteroseptal_infarction(seed: int) -> None:
    ecg = _clean(["ASMI"], seed)
    qrs = _qrs(ecg)
    for lead in ("V1", "V2", "V3"):
        assert _first_deflection(qrs[lead]) < 0, f"Q or QS in {lead}"
        assert -qrs[lead].min() > 0.4
    assert qrs["V5"].max() > 0.3
    assert _t_peak(ecg, "V2") < 0


@few
@given(SEEDS)
def test_normal(seed: int) -> None:
    ecg = _clean(["NORM"], seed)
    qrs, truth = _qrs(ecg), ecg.truth
    assert 60 <= truth.rate_bpm <= 100 and -30 <= truth.axis_deg <= 90
    assert truth.pr_ms is not None and 120 <= truth.pr_ms <= 200
    assert 70 <= truth.qrs_ms < 110 and 350 <= truth.qtc_ms <= 450
    assert truth.sokolow_mv < 3.5
    ratio = [qrs[lead].max() / (qrs[lead].max() - qrs[lead].min()) for lead in ("V1", "V2", "V3", "V4")]
    assert max(ratio[:2]) < 0.5 < ratio[3] and max(ratio[:2]) < ratio[2] < ratio[3], "R takes over from S"
    height = [qrs[lead].max() for lead in ("V1", "V2", "V3", "V4")]
    assert height == sorted(height), "R grows from V1 to V4"
    assert _first_deflection(qrs["V1"], 0.02) > 0
    for lead in ("I", "II", "V3", "V4", "V5", "V6"):
        assert _t_peak(ecg, lead) > 0.05
    assert _t_peak(ecg, "aVR") < 0


@few
@given(SEEDS)
def test_irregular_without_p_in_fibrillation(seed: int) -> None:
    truth = _clean(["AFIB"], seed).truth
    rr = np.diff(truth.r_peaks_s)
    assert rr.std() / rr.mean() > 0.06 and np.ptp(rr) > 0.12
    assert truth.pr_ms is None and np.isnan(truth.p_onsets_s).all()


@few
@given(SEEDS)
def test_flutter_has_its_line_in_the_spectrum(seed: int) -> None:
    ecg = _clean(["AFLT"], seed)
    truth = ecg.truth
    rr = np.diff(truth.r_peaks_s)
    assert truth.pr_ms is None and 45 <= truth.rate_bpm <= 170
    unit = rr.min() / round(rr.min() * 4.8)  # the flutter cycle
    assert 1 / 5.6 < unit < 1 / 4.0
    assert np.allclose(rr / unit, np.round(rr / unit), atol=0.05), "RR intervals are whole flutter cycles"


@few
@given(SEEDS, st.sampled_from([("SR", 60, 100), ("STACH", 100, 150), ("SBRAD", 38, 60), ("PACE", 58, 82)]))
def test_rates(seed: int, case: tuple[str, int, int]) -> None:
    code, low, high = case
    assert low <= _clean([code], seed).truth.rate_bpm <= high


@few
@given(SEEDS)
def test_other_statements(seed: int) -> None:
    block = _clean(["1AVB"], seed).truth
    assert block.pr_ms is not None and block.pr_ms > 200
    assert np.nanmin(block.p_onsets_s[1:] - block.t_ends_s[:-1]) > -0.15, "P comes about after T"
    assert _clean(["LNGQT"], seed).truth.qtc_ms > 500
    low = _clean(["LVOLT"], seed)
    assert all(np.ptp(_qrs(low)[lead]) < 0.5 for lead in LEADS[:6])
    assert all(np.ptp(_qrs(low)[lead]) < 1.0 for lead in LEADS[6:])
    assert all(abs(_t_peak(_clean(["LOWT"], seed), lead)) < 0.1 for lead in ("I", "II", "V5", "V6"))
    breath = np.diff(_clean(["SARRH"], seed).truth.r_peaks_s)
    assert np.ptp(breath) > 0.12
    wpw = _clean(["WPW"], seed)
    assert wpw.truth.pr_ms is not None and wpw.truth.pr_ms < 120 and wpw.truth.qrs_ms >= 110
    paced = _clean(["PACE"], seed)
    assert paced.truth.qrs_ms >= 120 and set(paced.truth.beat_kinds) == {"P"} and paced.truth.axis_deg < -45


@few
@given(SEEDS)
def test_st_depression(seed: int) -> None:
    ecg = _clean(["STD_"], seed)
    fs, truth = ecg.record.fs_hz, ecg.truth
    k = next(i for i, on in enumerate(truth.qrs_onsets_s) if on > 0.3)
    for lead in ("II", "V4", "V5", "V6"):
        row = ecg.record.signal_mv[LEADS.index(lead)]
        level = row[round((truth.qrs_onsets_s[k] - 0.01) * fs)]
        assert row[round((truth.qrs_ends_s[k] + 0.04) * fs)] - level < -0.05, lead


@few
@given(SEEDS)
def test_extrasystoles(seed: int) -> None:
    for code, kind in (("PVC", "V"), ("PAC", "A")):
        truth = _clean([code], seed).truth
        assert kind in truth.beat_kinds
        for k in (i for i, name in enumerate(truth.beat_kinds) if name == kind):
            # QRS onsets: the R peak of another shape lies elsewhere in the complex.
            early, pause = np.diff(truth.qrs_onsets_s)[k - 1 : k + 1]
            usual = np.median(np.diff(truth.qrs_onsets_s))
            assert early < 0.85 * usual
            if code == "PVC":
                assert abs(early + pause - 2 * usual) < 0.12 * usual, "compensatory pause"
                assert np.isnan(truth.p_onsets_s[k])
                assert truth.qrs_ends_s[k] - truth.qrs_onsets_s[k] >= 0.12
            else:
                assert early + pause < 1.95 * usual, "the sinus node is reset"
                assert truth.p_onsets_s[k] < truth.qrs_onsets_s[k]
    kinds = "".join(_clean(["BIGU"], seed).truth.beat_kinds)
    assert "NVNVNV" in kinds and "VV" not in kinds and "NN" not in kinds.lstrip("N")


@few
@given(SEEDS, st.sampled_from([100.0, 250.0, 500.0]), st.sampled_from(SUPPORTED))
def test_identities_labels_and_order(seed: int, fs_hz: float, code: str) -> None:
    ecg = simulate([code], np.random.default_rng(seed), fs_hz=fs_hz, duration_s=8.0)
    record, truth = ecg.record, ecg.truth
    assert record.leads == LEADS and record.signal_mv.shape == (12, round(8 * fs_hz))
    assert np.isfinite(record.signal_mv).all() and np.abs(record.signal_mv).max() < 6
    one, two = record.signal_mv[0], record.signal_mv[1]
    wanted = np.stack([two - one, -(one + two) / 2, one - two / 2, two - one / 2])
    assert np.allclose(record.signal_mv[2:6], wanted, atol=1e-5)
    assert code in truth.codes and set(ecg.labels) == set(truth.codes)
    assert (np.diff(truth.r_peaks_s) > 0.25).all()
    assert (truth.qrs_onsets_s < truth.r_peaks_s).all() and (truth.r_peaks_s < truth.qrs_ends_s).all()
    assert (truth.qrs_ends_s < truth.t_ends_s).all()
    there = ~np.isnan(truth.p_onsets_s)
    assert (truth.p_ends_s[there] < truth.qrs_onsets_s[there]).all()
    normal = np.array([k != "V" and k != "A" for k in truth.beat_kinds])
    assert np.allclose((truth.qrs_ends_s - truth.qrs_onsets_s)[normal] * 1000, truth.qrs_ms, atol=1.0)
    assert np.allclose((truth.t_ends_s - truth.qrs_onsets_s)[normal] * 1000, truth.qt_ms, atol=2.0)
    if truth.pr_ms is not None and there.any():
        assert np.allclose((truth.qrs_onsets_s - truth.p_onsets_s)[there & normal] * 1000, truth.pr_ms, atol=2.0)
    again = simulate([code], np.random.default_rng(seed), fs_hz=fs_hz, duration_s=8.0)
    assert np.array_equal(again.record.signal_mv, record.signal_mv) and again.report_de == ecg.report_de


@pytest.mark.slow  # importing NeuroKit2 takes most of it
def test_neurokit_finds_the_r_peaks_of_sinus_rhythm() -> None:
    nk = pytest.importorskip("neurokit2")
    for seed in range(6):
        ecg = simulate(["NORM"], np.random.default_rng(seed))
        lead_two = nk.ecg_clean(ecg.record.signal_mv[1].astype(float), sampling_rate=500)
        _, info = nk.ecg_peaks(lead_two, sampling_rate=500)
        found = np.asarray(info["ECG_R_Peaks"]) / 500
        inside = ecg.truth.r_peaks_s[(ecg.truth.r_peaks_s > 0.3) & (ecg.truth.r_peaks_s < 9.7)]
        away = np.abs(found[None, :] - inside[:, None]).min(axis=1)
        assert away.max() < 0.020, seed
        assert abs(len(found) - len(ecg.truth.r_peaks_s)) <= 1


def test_what_does_not_go_together_is_refused() -> None:
    rng = np.random.default_rng(0)
    for pair in (["NORM", "CLBBB"], ["AFIB", "SR"], ["AFIB", "1AVB"], ["CLBBB", "CRBBB"], ["LVH", "LVOLT"]):
        with pytest.raises(QueryError, match="cannot be simulated together"):
            simulate(pair, rng)
    with pytest.raises(QueryError, match="not simulated"):
        simulate(["RVH"], rng)
    with pytest.raises(QueryError, match="unknown statement"):
        simulate(["LBBB"], rng)
    with pytest.raises(QueryError, match="no statement"):
        simulate([], rng)
    with pytest.raises(QueryError, match="too short"):
        simulate(["PVC"], rng, duration_s=4)
    with pytest.raises(QueryError, match="fs_hz"):
        simulate(["SR"], rng, fs_hz=10)


def test_every_allowed_pair_can_be_simulated() -> None:
    pairs = [pair for pair in combinations(SUPPORTED, 2) if compatible(pair)]
    assert ("AFIB", "CLBBB") in pairs and len(pairs) > 80
    for number, pair in enumerate(pairs):
        ecg = simulate(pair, np.random.default_rng(number), fs_hz=100, duration_s=8)
        assert set(pair) <= set(ecg.truth.codes) and len(ecg.truth.r_peaks_s) >= 4
        if "PVC" in pair:
            assert "V" in ecg.truth.beat_kinds, pair
        if "PAC" in pair:
            assert "A" in ecg.truth.beat_kinds, pair


def test_reports_name_their_statements() -> None:
    from ecgkin.retrieval.ecg.statements.find import find_statements

    for number in range(200):
        rng = np.random.default_rng(number)
        ecg = simulate(draw_codes(number, rng), rng, fs_hz=100, duration_s=8)
        for report in (ecg.report_en, ecg.report_de):
            found = {f.code for f in find_statements(report) if f.polarity == "present"}
            assert set(ecg.truth.codes) - found == set(), report


def test_corpus_holds_every_statement_and_repeats_itself() -> None:
    corpus = list(simulate_corpus(60, seed=3))
    assert {code for ecg in corpus for code in ecg.truth.codes} == set(SUPPORTED)
    assert all(ecg.record.fs_hz == 100 and ecg.record.n_samples == 1000 for ecg in corpus)
    again = list(simulate_corpus(5, seed=3))
    assert all(np.array_equal(a.record.signal_mv, b.record.signal_mv) for a, b in zip(again, corpus, strict=False))
    assert complete_codes(corpus[0].truth.codes) == corpus[0].truth.codes
