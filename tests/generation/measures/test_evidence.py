"""What measurements add to the vote: fitted where it helps, kept between runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ecgkin.generation.measures import NAMES, Measurements
from ecgkin.generation.measures.evidence import TERMS, TERMS_OF, evidence_values, excess
from ecgkin.generation.measures.leads import LeadMeasures
from ecgkin.generation.research.fit import thresholds as measured_fit
from ecgkin.generation.research.fit.thresholds import fit_measured, measure_rows, patient_parts, sample_of
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.statements.catalogue import CODES, SUPERCLASSES


def test_terms_are_measurements_of_statements() -> None:
    everything = measured_sine()
    assert {name for name, *_ in TERMS.values()} <= set(evidence_values(everything)) | set(NAMES)
    labels = set(CODES) | {f"super:{name}" for name in SUPERCLASSES}
    assert set(TERMS_OF) <= labels and {t for terms in TERMS_OF.values() for t in terms} == set(TERMS)
    assert excess("left_axis", {"axis_deg": -60.0}) == 2.0 and excess("uneven", {"rr_variation": 9.0}) == 4.0


def measured_sine() -> Measurements:
    """Every lead with R of 1 mV, S of 0.4 mV and T of 0.3 mV."""
    one = LeadMeasures(0.0, 0.0, 1.0, 0.4, 0.0, 0.0, 0.0, 0.0, 0.3, "positive", 0.005, 9)
    return Measurements(
        rate_bpm=70.0, n_beats=9, slow_start_ms=12.0, p_waves="present", leads=dict.fromkeys(LEADS, one),
        age_years=61.0, sex="F",
    )  # fmt: skip


def test_values_of_leads() -> None:
    """Amplitudes are put together as the criteria say; without leads there are none."""
    values = evidence_values(measured_sine())
    assert values["sokolow_mv"] == 1.4 and values["cornell_mv"] == 1.4 and values["limb_mv"] == 1.4
    assert values["t_lateral_mv"] == 0.3 and values["q_inferior"] == 0.0 and values["p_present"] == 1.0
    few = evidence_values(Measurements(rate_bpm=70.0, n_beats=9))
    assert "sokolow_mv" not in few and "p_present" not in few
    assert evidence_values(None) == {} == evidence_values(Measurements())


def test_a_curve_is_kept_where_it_helps_patients_left_out() -> None:
    """A PR interval that defines the block is used; one that was drawn by lot is not; nor are missing values."""
    rng = np.random.default_rng(0)
    n = 1500
    groups = np.repeat(np.arange(n // 2), 2)
    truth = rng.random((n, 2)) < 0.1
    shares = np.clip(rng.normal(0.15, 0.08, truth.shape) + 0.03 * truth, 0, 1)
    values = [
        {"pr_ms": float(rng.normal(240 if block else 160, 15)), "qtc_ms": float(rng.normal(420, 20))}
        | ({} if i % 10 else {"rate_bpm": 70.0})
        for i, block in enumerate(truth[:, 0])
    ]
    codes = [code for code in CODES if code not in ("1AVB", "STACH")]
    table, right = np.zeros((n, len(CODES))), np.zeros((n, len(CODES)), dtype=bool)
    order = ["1AVB", "STACH", *codes]
    table[:, :2], right[:, :2] = shares, truth
    fitted = fit_measured(table, right, values, order, groups)
    model = fitted["1AVB"]
    assert model.weights["long_pr"] > 0.5
    low, high = (model.probability(0.15, {"pr_ms": pr}) for pr in (150.0, 260.0))
    assert low < model.threshold < high
    by_chance = fitted.get("STACH")
    assert by_chance is None or abs(by_chance.weights["fast"]) < 0.5


def test_patients_stay_together() -> None:
    groups = np.repeat([7, 3, 9, 1], 5)
    part = patient_parts(groups, 2, seed=0)
    assert all(len(set(part[groups == g])) == 1 for g in groups) and set(part) == {0, 1}


@dataclass(frozen=True)
class Row:
    ecg_id: int


class Data:
    """Counts how often a record is read."""

    read = 0

    def record(self, row: Row) -> int:
        self.read += 1
        return row.ecg_id


def test_measurements_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same records are measured once; what is missing stays missing; others are measured anew."""
    monkeypatch.setattr(measured_fit, "measure", lambda number: Measurements(rate_bpm=float(60 + number), n_beats=9))
    data, rows = Data(), [Row(i) for i in range(5)]
    first = measure_rows(data, rows, tmp_path)  # type: ignore[arg-type]
    assert first == measure_rows(data, rows, tmp_path)  # type: ignore[arg-type]
    assert [one["rate_bpm"] for one in first] == [60.0 + i for i in range(5)] and "pr_ms" not in first[0]
    assert data.read == 5
    measure_rows(data, rows[:2], tmp_path)  # type: ignore[arg-type]
    assert data.read == 7
    monkeypatch.setattr(measured_fit, "SAMPLE", 3)
    assert len(sample_of(rows)) == 3 and sample_of(rows).tolist() == sorted(set(sample_of(rows).tolist()))  # type: ignore[arg-type]
