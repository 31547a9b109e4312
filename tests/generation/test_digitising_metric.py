"""The digitisation metric: what it forgives, what it counts, and its summary."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgkin.generation.research.digitising.metric import aligned, einthoven_db, page_ratio, score


def _wave(n: int = 1250) -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.convolve(rng.normal(size=n + 40), np.hanning(41) / 20, mode="valid")[:n]


def _page(*leads: np.ndarray) -> np.ndarray:
    out = np.full((12, 5000), np.nan)
    for row, lead in enumerate(leads):
        out[row, : lead.size] = lead
    return out


@given(st.integers(-60, 60), st.floats(-2, 2))
def test_a_shift_and_an_offset_cost_only_the_ends(lag: int, offset: float) -> None:
    truth = _wave()
    moved = aligned(truth, np.roll(truth, -lag) + offset, 100)
    inside = slice(70, -70)
    assert np.abs(moved[inside] - truth[inside]).max() < 0.02


def test_a_shift_beyond_a_fifth_of_a_second_is_an_error() -> None:
    truth = _wave()
    assert 10 * np.log10(page_ratio(_page(truth), _page(np.roll(truth, 160)))) < 3


def test_a_gain_error_of_ten_per_cent_gives_twenty_decibels() -> None:
    truth = _wave()
    assert 10 * np.log10(page_ratio(_page(truth), _page(1.1 * truth))) == pytest.approx(20, abs=0.05)


def test_missing_samples_count_as_zero_and_a_missing_lead_as_error() -> None:
    truth = _wave()
    nothing = np.full_like(truth, np.nan)
    assert page_ratio(_page(truth), _page(nothing)) == pytest.approx(1.0)
    assert page_ratio(_page(truth, truth), _page(truth, nothing)) == pytest.approx(2.0, rel=0.01)
    half = truth.copy()
    half[625:] = np.nan
    assert 1.2 < page_ratio(_page(truth), _page(half)) < 4


def test_leads_that_the_page_does_not_show_do_not_count() -> None:
    truth = _wave()
    assert page_ratio(_page(truth), _page(truth, 5 * truth)) > 1e9


def test_score_is_the_mean_of_linear_ratios() -> None:
    summary = score([10.0, 1000.0])
    assert summary.score_db == pytest.approx(10 * np.log10(505))
    assert summary.mean_db == pytest.approx(20) and summary.median_db == pytest.approx(20)
    assert summary.under_10 == 0.0 and score([1.0, 100.0]).under_10 == 0.5


def test_einthoven_counts_the_residual() -> None:
    one, three = _wave(), np.roll(_wave(), 300)
    two = one + three
    exact = einthoven_db({"I": one, "II": two + 3.0, "III": three})[0]
    off = einthoven_db({"I": one, "II": 1.1 * two, "III": three})[0]
    assert exact is not None and exact > 100
    assert off == pytest.approx(20 * np.log10(11), abs=0.1)
    assert einthoven_db({"I": one, "II": two}) == (None, None)


def test_goldberger_needs_a_shared_time() -> None:
    left, right = np.full(2000, np.nan), np.full(2000, np.nan)
    left[:1000], right[900:] = 1.0, 1.0
    assert einthoven_db({"aVR": left, "aVL": right, "aVF": left})[1] is None
