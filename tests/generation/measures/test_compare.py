"""Serial comparison: nothing changes against itself, each rule fires beyond its limit and not within."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ecgkin.generation.measures import Measurements, measure
from ecgkin.generation.measures.compare import NOT_COMPARABLE, RULES, Change, ChangeCode, change_text, compare
from ecgkin.generation.measures.leads import LeadMeasures
from ecgkin.generation.measures.p_train import PTrain
from ecgkin.generation.measures.pacing import Pacing
from ecgkin.generation.measures.rhythm import AtrialActivity
from ecgkin.generation.types.draft import LANGUAGES
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.simulation.simulate import simulate

C = ChangeCode


def lead(**values: float) -> LeadMeasures:
    """R of 1 mV, T of 0.3 mV, flat ST, changed where named."""
    usual = dict.fromkeys(("q_mv", "q_ms", "s_mv", "r2_mv", "st_j_mv", "st_60_mv", "st_80_mv"), 0.0)
    return LeadMeasures(
        **{**usual, "r_mv": 1.0, "t_mv": 0.3, "noise_mv": 0.002, **values}, t_polarity="positive", n_beats=9
    )


def ecg(leads: dict[str, LeadMeasures] | None = None, **values: object) -> Measurements:
    """An unremarkable ECG, changed where named."""
    usual: dict[str, object] = {
        "rate_bpm": 70.0, "rr_variation": 0.02, "pr_ms": 160.0, "qrs_ms": 90.0, "qt_ms": 390.0, "qtc_ms": 421.0,
        "qtc_fridericia_ms": 410.0, "axis_deg": 40.0, "p_axis_deg": 50.0, "n_beats": 12, "p_waves": "present",
        "regular": True, "rr_ms": (857.0,) * 11, "slow_start_ms": 10.0,
    }  # fmt: skip
    return Measurements(**{**usual, "leads": {n: lead() for n in LEADS} | (leads or {}), **values})  # type: ignore[arg-type]


def changed(before: Measurements, after: Measurements) -> set[ChangeCode]:
    return {change.code for change in compare(before, after).changes}


def test_nothing_changes_against_itself() -> None:
    for code in ("NORM", "CLBBB", "AFIB", "IMI", "PACE"):
        found = measure(simulate([code], np.random.default_rng(1)).record)
        result = compare(found, found)
        assert not result.changes and all(row.change in (None, 0.0) for row in result.rows)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"qtc_ms": 482.0, "qtc_fridericia_ms": 471.0}, C.QTC),
        ({"qrs_ms": 111.0}, C.QRS),
        ({"pr_ms": 201.0}, C.PR),
        ({"rate_bpm": 91.0}, C.RATE),
        ({"axis_deg": 71.0}, C.AXIS),
    ],
)
def test_numbers_beyond_their_limits(values: dict[str, float], code: ChangeCode) -> None:
    """One unit beyond the limit fires, two less do not; in both directions."""
    old = ecg()
    new = replace(old, **values)  # type: ignore[arg-type]
    assert changed(old, new) == {code} == changed(new, old)
    nearer = {name: value - 2.0 for name, value in values.items()}
    assert changed(old, replace(old, **nearer)) == set()  # type: ignore[arg-type]


def test_axes_turn_the_shorter_way() -> None:
    left, right = ecg(axis_deg=-175.0), ecg(axis_deg=170.0)
    (row,) = (r for r in compare(left, right).rows if r.name == "axis_deg")
    assert row.change == pytest.approx(-15.0) and changed(left, right) == set()


def test_st_t_and_q() -> None:
    """Two contiguous leads and 0.1 mV beyond chance; not where the QRS itself explains ST."""
    old = ecg()
    up = {name: lead(st_j_mv=0.13) for name in ("II", "aVF")}
    assert changed(old, ecg(up)) == {C.ST_UP} and changed(old, ecg({"II": up["II"]})) == set()
    assert changed(old, ecg({name: lead(st_j_mv=-0.13) for name in ("V5", "V6")})) == {C.ST_DOWN}
    assert changed(old, ecg({name: lead(t_mv=-0.2) for name in ("V4", "V5")})) == {C.T_INVERSION}
    assert changed(old, ecg({name: lead(q_mv=0.3, q_ms=40.0) for name in ("III", "aVF")})) == {C.NEW_Q}
    assert changed(ecg({name: lead(t_mv=-0.2) for name in ("V4", "V5")}), old) == {C.T_UPRIGHT}
    assert changed(ecg({name: lead(q_mv=0.3, q_ms=40.0) for name in ("III", "aVF")}), old) == {C.Q_GONE}
    noisy = {name: lead(st_j_mv=0.13, noise_mv=0.03) for name in ("II", "aVF")}
    assert changed(old, ecg(noisy)) == set()
    wide = compare(old, ecg(up, qrs_ms=150.0))
    assert C.ST_UP not in {c.code for c in wide.changes} and "repolarisation" in wide.not_comparable


def test_blocks_and_rhythms() -> None:
    block = {"V1": lead(r_mv=0.1, s_mv=1.5), "V6": lead(r_mv=1.5, t_mv=-0.3)}
    result = compare(ecg(), ecg(block, qrs_ms=150.0))
    assert [(c.code, c.detail) for c in result.changes if c.code is C.NEW_BLOCK] == [(C.NEW_BLOCK, "LBBB")]
    assert C.BLOCK_GONE in changed(ecg(block, qrs_ms=150.0), ecg())
    uneven = (600.0, 900.0, 700.0, 1000.0, 650.0, 800.0, 940.0, 610.0, 720.0)
    fibrillation = ecg(rr_variation=0.2, p_waves="absent", regular=False, rr_ms=uneven, pr_ms=None, p_axis_deg=None)
    (change,) = compare(ecg(), fibrillation).changes
    assert (change.code, change.detail) == (C.RHYTHM, "with P waves -> fibrillation")
    paced = ecg(pacing=Pacing((1.0, 2.0, 3.0), 1.0, 0.0, 0.05), qrs_ms=150.0)
    assert C.RHYTHM in changed(ecg(), paced)


def test_the_shape_of_a_paced_qrs_is_no_block() -> None:
    """Neither new nor gone, and PR under pacing is nothing that has changed."""
    block = {"V1": lead(r_mv=0.1, s_mv=1.5), "V6": lead(r_mv=1.5, t_mv=-0.3)}
    paced = ecg(block, pacing=Pacing((1.0, 2.0, 3.0), 1.0, 0.0, 0.05), qrs_ms=150.0, pr_ms=90.0)
    for one, other in ((ecg(), paced), (paced, ecg())):
        codes = changed(one, other)
        assert {C.RHYTHM, C.QRS} <= codes and not codes & {C.NEW_BLOCK, C.BLOCK_GONE, C.PR}


def test_one_bundle_branch_is_blocked() -> None:
    """A QRS that meets both patterns is called by that of the left."""
    both = {"V1": lead(r_mv=0.1, s_mv=0.9, r2_mv=0.2), "V6": lead(r_mv=1.5, t_mv=-0.3, s_mv=0.2)}
    details = [c.detail for c in compare(ecg(), ecg(both, qrs_ms=150.0)).changes if c.code is C.NEW_BLOCK]
    assert details == ["LBBB"]
    right = {"V1": lead(r_mv=0.2, s_mv=0.3, r2_mv=0.8), "V6": lead(s_mv=0.5)}
    details = [c.detail for c in compare(ecg(), ecg(right, qrs_ms=150.0)).changes if c.code is C.NEW_BLOCK]
    assert details == ["RBBB"]


def test_what_must_not_be_missed_comes_first() -> None:
    """ST before the rate; and a QTc that is longer by QRS alone is not long."""
    down = {name: lead(st_j_mv=-0.2, st_60_mv=-0.2) for name in ("V3", "V4", "V5")}
    assert [c.code for c in compare(ecg(), ecg(down, rate_bpm=100.0)).changes] == [C.ST_DOWN, C.RATE]
    long: dict[str, Any] = {"qtc_ms": 490.0, "qtc_fridericia_ms": 480.0}
    assert C.QTC in changed(ecg(), ecg(**long)) and C.QTC not in changed(ecg(), ecg(**long, qrs_ms=150.0))
    slow: dict[str, Any] = {"rate_bpm": 45.0}
    assert C.QTC not in changed(ecg(**slow), ecg(qtc_ms=490.0, qtc_fridericia_ms=450.0))


def test_what_repeats_badly_is_no_change() -> None:
    """A PR that crosses 200 ms by a little, an axis of a small or paced QRS, P waves that were not told, flutter."""
    for after, new in ((216.0, False), (236.0, False), (236.5, True)):
        details = {c.detail for c in compare(ecg(pr_ms=200.0), ecg(pr_ms=after)).changes}
        assert ("first degree AV block" in details) is new
    small = {"I": lead(r_mv=0.2), "aVF": lead(r_mv=0.3)}
    assert changed(ecg(), ecg(small, axis_deg=120.0)) == set()
    assert changed(ecg(), ecg({**small, "I": lead(r_mv=0.3)}, axis_deg=120.0)) == {C.AXIS}
    driven: dict[str, Any] = {"pacing": Pacing((1.0, 2.0, 3.0), 1.0, 0.0, 0.05), "qrs_ms": 150.0}
    assert changed(ecg(**driven), ecg(**driven, axis_deg=120.0)) == set()
    assert changed(ecg(), ecg(p_waves="absent", pr_ms=None, p_axis_deg=None)) == set()
    uneven = (600.0, 900.0, 700.0, 1000.0, 650.0, 800.0, 940.0, 610.0, 720.0)
    chaos: dict[str, Any] = {"rr_variation": 0.2, "p_waves": "absent", "rr_ms": uneven, "pr_ms": None}
    flutter = ecg(atrial=AtrialActivity(300.0, 0.8, 60.0, 0.1), pr_ms=None, p_waves="absent")
    assert changed(ecg(**chaos), flutter) == set() and C.RHYTHM in changed(ecg(), flutter)
    block = PTrain(84.0, 1.0, 0.9, (), (2, 2, 2), 0.3)
    slow: dict[str, Any] = {"rate_bpm": 55.0, "rr_variation": 0.01, "p_waves": "absent", "pr_ms": None}
    apart = compare(ecg(), ecg(**slow, p_train=block)).changes
    assert [(c.code, c.detail) for c in apart] == [(C.NEW_BLOCK, "AV block of higher degree")]
    assert changed(ecg(**chaos), ecg(**slow, p_train=block)) == set()


def test_what_forbids_a_comparison() -> None:
    assert compare(Measurements(), ecg()).not_comparable == ("not_measured",)
    moved = compare(ecg(), ecg(p_axis_deg=150.0, axis_deg=140.0))
    assert "lead_placement" in moved.not_comparable and C.AXIS not in {c.code for c in moved.changes}
    for rate, limited in ((110.0, False), (110.5, True), (29.5, True), (30.0, False), (None, False)):
        assert ("rate" in compare(ecg(), ecg(rate_bpm=rate)).not_comparable) is limited
        assert ("rate" in compare(ecg(rate_bpm=rate), ecg()).not_comparable) is limited
    for turn, moved_leads in ((124.0, False), (126.0, True), (-26.0, True), (-24.0, False)):
        placed = compare(ecg(), ecg(p_axis_deg=turn)).not_comparable
        assert ("lead_placement" in placed) is moved_leads
    assert all(set(words) == set(LANGUAGES) for words in NOT_COMPARABLE.values())


@pytest.mark.parametrize("code", ChangeCode)
def test_every_change_has_words_and_a_rule(code: ChangeCode) -> None:
    for language in LANGUAGES:
        text = change_text(Change(code, ("II", "aVF"), 1.0, 2.0, "with P waves -> flutter"), language)
        assert "{" not in text and len(text) > 4
    assert RULES[code][1]
