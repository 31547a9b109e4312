"""Measurements: against the truth of simulated records, and on records that cannot be measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ecgkin.generation.measures import NAMES, Measurements, Reason, measure
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.simulation.simulate import simulate


def simulated(codes: list[str], seed: int, fs_hz: float) -> tuple[Measurements, object]:
    made = simulate(codes, np.random.default_rng(seed), fs_hz=fs_hz)
    return measure(made.record), made.truth


@pytest.mark.parametrize("fs_hz", [100.0, 500.0])
@pytest.mark.parametrize("code", ["NORM", "1AVB", "CLBBB", "CRBBB", "LAFB", "STACH", "SBRAD", "PVC", "LNGQT", "IMI"])
def test_against_the_truth(code: str, fs_hz: float) -> None:
    """Within what a person reads off paper: 3/min, 25 ms for PR and QT, 30 ms for QRS, 25 degrees (40 in blocks)."""
    found, truth = simulated([code], 3, fs_hz)
    assert found.rate_bpm == pytest.approx(truth.rate_bpm, abs=3)  # type: ignore[attr-defined]
    assert found.pr_ms == pytest.approx(truth.pr_ms, abs=25)  # type: ignore[attr-defined]
    assert found.qt_ms == pytest.approx(truth.qt_ms, abs=25)  # type: ignore[attr-defined]
    assert found.qrs_ms == pytest.approx(truth.qrs_ms, abs=30)  # type: ignore[attr-defined]
    assert found.axis_deg is not None
    turned = (found.axis_deg - truth.axis_deg + 180) % 360 - 180  # type: ignore[attr-defined]
    assert abs(turned) <= (40 if code in ("CLBBB", "CRBBB") else 25)
    assert not found.reasons and set(found.values) == set(NAMES)


def test_fibrillation_has_a_rate() -> None:
    found, truth = simulated(["AFIB"], 1, 500.0)
    assert found.rate_bpm == pytest.approx(truth.rate_bpm, abs=4)  # type: ignore[attr-defined]


def test_what_cannot_be_measured_says_why(made_record: EcgRecord) -> None:
    """Flat, missing, short, slow or noisy: None with a reason, never a number, never an exception."""
    rng = np.random.default_rng(0)
    shape = made_record.signal_mv.shape
    cases = {
        "flat": replace(made_record, signal_mv=np.zeros(shape, np.float32)),
        "missing": replace(made_record, signal_mv=np.full(shape, np.nan, np.float32)),
        "short": made_record.window(0.0, 1.5),
        "slow": made_record.resampled(50.0),
    }
    for name, record in cases.items():
        found = measure(record)
        assert not found.values and set(found.reasons) == set(NAMES), name
        assert all(found.reasons.values())
    noise = measure(replace(made_record, signal_mv=rng.normal(0, 0.3, shape).astype(np.float32)))
    assert all(getattr(noise, name) is not None or noise.reasons[name] for name in NAMES)


def test_gaps_and_few_leads(made_record: EcgRecord) -> None:
    """A gap of half a second is bridged; one lead gives a rate and says what it cannot give."""
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
