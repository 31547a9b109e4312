"""Red flags: each criterion at its limit, what it does not apply to, and the words for all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ecgkin.generation.measures import Measurements, Reason, measure
from ecgkin.generation.measures.flag_texts import FLAG_TEXTS, flag_text, flag_title
from ecgkin.generation.measures.flags import SEVERITY, Flag, FlagCode, Severity, red_flags, st_limit_mv
from ecgkin.generation.measures.leads import LeadMeasures
from ecgkin.generation.measures.pacing import Pacing
from ecgkin.generation.measures.rhythm import AtrialActivity
from ecgkin.generation.types.draft import LANGUAGES
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.simulation.simulate import simulate

F = FlagCode


def lead(polarity: str = "positive", **values: float) -> LeadMeasures:
    """R of 1 mV, T of 0.3 mV, flat ST, changed where named; J+60 and J+80 follow J."""
    level = values.get("st_j_mv", 0.0)
    usual = dict.fromkeys(("q_mv", "q_ms", "s_mv", "r2_mv"), 0.0)
    usual |= {"st_j_mv": level, "st_60_mv": level, "st_80_mv": level, "r_mv": 1.0, "t_mv": 0.3, "noise_mv": 0.005}
    return LeadMeasures(**{**usual, **values}, t_polarity=polarity, n_beats=10)  # type: ignore[arg-type]


def measured(leads: dict[str, LeadMeasures] | None = None, **values: object) -> Measurements:
    """An unremarkable ECG, changed where named."""
    usual: dict[str, object] = {
        "rate_bpm": 75.0, "rr_variation": 0.02, "pr_ms": 160.0, "qrs_ms": 90.0, "qt_ms": 380.0, "qtc_ms": 425.0,
        "qtc_fridericia_ms": 409.0, "axis_deg": 40.0, "p_axis_deg": 50.0, "n_beats": 12, "p_waves": "present",
        "regular": True, "rr_ms": (800.0,) * 11, "slow_start_ms": 10.0, "age_years": 60.0, "sex": "M",
    }  # fmt: skip
    every = {name: lead() for name in LEADS} | (leads or {})
    return Measurements(**{**usual, "leads": every, **values})  # type: ignore[arg-type]


def codes(found: Measurements) -> set[str]:
    return {str(flag.code) for flag in red_flags(found)}


def test_nothing_is_flagged_on_an_unremarkable_ecg() -> None:
    assert red_flags(measured()) == ()


@pytest.mark.parametrize(
    ("where", "age", "sex", "limit"),
    [("V2", 60, "M", 0.2), ("V2", 35, "M", 0.25), ("V2", 60, "F", 0.15), ("II", 60, "M", 0.1), ("V2", 60, None, 0.2)],
)
def test_st_elevation_at_its_limit(where: str, age: float, sex: str | None, limit: float) -> None:
    """Two contiguous leads at the limit for lead, age and sex; just below, in one lead or in distant ones: nothing."""
    other = "V3" if where == "V2" else "aVF"
    assert st_limit_mv(where, age, sex) == limit
    person = {"age_years": age, "sex": sex}
    up, low = lead(st_j_mv=limit + 0.001), lead(st_j_mv=limit - 0.01)
    assert codes(measured({where: up, other: up}, **person)) == {"st_elevation"}
    assert codes(measured({where: low, other: low}, **person)) == set()
    assert codes(measured({where: up}, **person)) == set()
    assert codes(measured({where: up, "V6": up}, **person)) == set()
    # A level that does not last is the end of QRS.
    short = lead(st_j_mv=limit + 0.01, st_60_mv=0.0, st_80_mv=0.0)
    assert codes(measured({where: short, other: short}, **person)) == set()
    noisy = lead(st_j_mv=limit + 0.1, noise_mv=0.06)
    assert codes(measured({where: noisy, other: noisy}, **person)) == set()


def test_with_q_waves_less_elevation_is_enough() -> None:
    late = lead(st_j_mv=0.07, q_mv=0.3, q_ms=40.0, r_mv=0.4)
    found = red_flags(measured({"III": late, "aVF": late}))
    assert [(f.code, f.variant) for f in found] == [(F.ST_ELEVATION, "with_q"), (F.Q_WAVES, "")]
    assert found[0].leads == ("III", "aVF") and found[0].severity is Severity.URGENT


def left_bundle(**leads: LeadMeasures) -> Measurements:
    block = {"V1": lead(r_mv=0.1, s_mv=1.5, st_j_mv=0.15), "V6": lead(r_mv=1.5, st_j_mv=-0.1, t_mv=-0.3)}
    return measured(block | leads, qrs_ms=150.0)


def test_left_bundle_branch_block_has_rules_of_its_own() -> None:
    """Discordant ST elevation below a quarter of S says nothing; concordant, excessive or V1-V3 depression does."""
    assert codes(left_bundle()) == {"left_bundle_branch_block"}
    for name, changed, variant in (
        ("V5", lead(r_mv=1.2, st_j_mv=0.12), "concordant"),
        ("V2", lead(r_mv=0.1, s_mv=1.8, st_j_mv=-0.12), "depression"),
        ("V3", lead(r_mv=0.1, s_mv=1.0, st_j_mv=0.26), "excessive"),
    ):
        found = red_flags(left_bundle(**{name: changed}))
        assert [(f.variant, f.leads) for f in found if f.code is F.SGARBOSSA] == [(variant, (name,))]
    paced = Pacing((1.0, 2.0), 1.0, 0.0, 0.05)
    raised = lead(st_j_mv=0.3)
    assert "st_elevation" not in codes(measured({"II": raised, "aVF": raised}, pacing=paced, qrs_ms=160.0))


def test_depression_and_its_mirror() -> None:
    """Horizontal counts, rising does not; in V1-V3 with upright T and tall R it may be a posterior infarction."""
    down = lead(st_j_mv=-0.08)
    assert codes(measured({"V5": down, "V6": down})) == {"st_depression"}
    rising = lead(st_j_mv=-0.08, st_60_mv=0.0, st_80_mv=0.02)
    assert codes(measured({"V5": rising, "V6": rising})) == set()
    assert codes(measured({"V2": down, "V3": down})) == {"posterior_pattern", "st_depression"}
    assert codes(measured({"V2": down, "V3": down}, qrs_ms=150.0)) == set()
    wide = {name: lead(st_j_mv=-0.15) for name in ("I", "II", "V3", "V4", "V5", "V6")}
    everywhere = measured(wide | {"aVR": lead(r_mv=0.1, q_mv=0.8, st_j_mv=0.15)})
    assert codes(everywhere) == {"avr_elevation", "st_depression"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"rate_bpm": 39.0}, {"rate_below_40"}),
        ({"rate_bpm": 40.0}, set()),
        ({"rate_bpm": 151.0}, {"rate_above_150"}),
        ({"qtc_ms": 501.0}, {"qtc_above_500"}),
        ({"qtc_ms": 500.0}, set()),
        ({"pauses_ms": (2500.0,)}, set()),
        ({"pauses_ms": (2500.0, 3100.0)}, {"pause"}),
        ({"rate_bpm": 125.0, "qrs_ms": 140.0}, {"wide_qrs_tachycardia"}),
        ({"rate_bpm": 110.0, "qrs_ms": 140.0}, set()),
        ({"rate_bpm": 110.0, "qrs_ms": 140.0, "p_waves": "absent"}, {"wide_qrs_tachycardia"}),
        ({"pr_ms": 110.0, "qrs_ms": 120.0, "slow_start_ms": 35.0}, {"preexcitation"}),
        ({"pr_ms": 110.0, "qrs_ms": 85.0, "slow_start_ms": 35.0}, set()),
    ],
)
def test_numbers_at_their_limits(values: dict[str, Any], expected: set[str]) -> None:
    assert codes(measured(**values)) == expected


def test_rhythms() -> None:
    """Irregular without P, regular fast atrial waves, more atrial waves than QRS; bigeminy is none of them."""
    uneven = (600.0, 900.0, 700.0, 1000.0, 650.0, 800.0, 940.0, 610.0, 720.0)
    chaos: dict[str, Any] = {"rr_variation": 0.25, "p_waves": "absent", "regular": False, "rr_ms": uneven}
    assert codes(measured(**chaos)) == {"atrial_fibrillation"}
    assert codes(measured(**chaos, rate_bpm=130.0)) == {"fast_atrial_fibrillation"}
    assert codes(measured(**{**chaos, "rr_ms": (600.0, 1000.0) * 5})) == set()
    assert codes(measured(**{**chaos, "p_waves": "present"})) == set()
    flutter = AtrialActivity(290.0, 0.7, 80.0, 0.3)
    assert codes(measured(atrial=flutter)) == {"atrial_flutter"}
    block = AtrialActivity(300.0, 0.0, 84.0, 0.4)
    slow: dict[str, Any] = {"rate_bpm": 42.0, "rr_variation": 0.01, "p_waves": "absent", "atrial": block}
    assert codes(measured(**slow)) == {"high_grade_block"}
    assert codes(measured(**{**slow, "rate_bpm": 72.0})) == set()


def test_shapes() -> None:
    """Coved ST, very tall T, biphasic T, leads turned round."""
    coved = lead("negative", r_mv=0.1, r2_mv=0.25, st_j_mv=0.25, st_60_mv=0.15, st_80_mv=0.1, t_mv=-0.2)
    assert "brugada_type_1" in codes(measured({"V1": coved}))
    peaked = lead(t_mv=1.3, r_mv=0.9)
    assert codes(measured({"V3": peaked, "V4": peaked})) == {"tall_peaked_t"}
    assert codes(measured({"V3": peaked})) == set()
    biphasic = lead("positive-negative", t_mv=-0.2)
    assert codes(measured({"V2": biphasic, "V3": biphasic})) == {"wellens"}
    turned = lead("negative", r_mv=0.05, s_mv=0.8, t_mv=-0.2)
    assert codes(measured({"I": turned}, p_axis_deg=150.0)) == {"limb_lead_reversal"}
    assert codes(measured({"II": lead("flat", r_mv=0.03, t_mv=0.01)})) == {"limb_lead_reversal"}


def test_an_unreadable_rhythm_is_flagged() -> None:
    assert codes(Measurements(reasons={"rate_bpm": Reason.NO_BEATS})) == {"no_qrs"}
    assert codes(Measurements(reasons={"rate_bpm": Reason.NO_SIGNAL})) == set()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("code", FlagCode)
def test_every_flag_has_words(code: FlagCode, language: str) -> None:
    """Title, criterion and source; nothing left to fill in; the two languages differ."""
    values = dict.fromkeys(
        ("rate_bpm", "qrs_ms", "pr_ms", "qtc_ms", "qtc_fridericia_ms", "atrial_bpm", "pause_ms", "V2"), 123.0
    )
    flag = Flag(code, ("V2", "V3"), values)
    text = flag_text(flag, language)  # type: ignore[arg-type]
    assert FLAG_TEXTS[code].source in text and "{" not in text and text.startswith(flag_title(flag, language)[:10])  # type: ignore[arg-type]
    assert FLAG_TEXTS[code].en.criterion != FLAG_TEXTS[code].de.criterion
    assert code in SEVERITY


@pytest.mark.parametrize(
    ("code", "expected", "least"),
    [
        ("CLBBB", "left_bundle_branch_block", 7), ("CRBBB", "right_bundle_branch_block", 7),
        ("PACE", "paced_rhythm", 8), ("STD_", "st_depression", 7), ("IMI", "pathological_q_waves", 4),
        ("WPW", "preexcitation", 4),
    ],
)  # fmt: skip
def test_simulated_findings_are_flagged(code: str, expected: str, least: int) -> None:
    """Of eight simulated records so many carry the flag of their statement; normal ones carry none."""
    hits = 0
    for seed in range(8):
        made = simulate([code], np.random.default_rng(seed), fs_hz=250.0)
        hits += expected in codes(measure(made.record))
        normal = simulate(["NORM"], np.random.default_rng(seed), fs_hz=250.0, age_years=60, sex="M")
        assert codes(measure(normal.record)) == set()
    assert hits >= least
