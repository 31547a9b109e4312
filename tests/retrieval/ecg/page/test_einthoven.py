"""Leads of one page brought into step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.einthoven import beside, law_shifts, match

FS = 500.0
T = np.arange(1250) / FS


def beats(height: float, width_s: float = 0.02, late_s: float = 0.0) -> NDArray[np.float64]:
    phase = (T - late_s) % 0.8 - 0.4
    shape = height * np.exp(-((phase / width_s) ** 2)) + 0.2 * height * np.exp(-(((phase - 0.25) / 0.06) ** 2))
    return np.asarray(shape)


def limb_leads(late: tuple[float, float, float]) -> NDArray[np.float64]:
    """I, II and III of an axis that turns, each late by so many seconds."""

    def one(late_s: float) -> NDArray[np.float64]:
        return beats(0.7, 0.02, late_s) - beats(0.3, 0.015, late_s + 0.03)

    def three(late_s: float) -> NDArray[np.float64]:
        return beats(0.4, 0.03, late_s) + beats(-0.5, 0.02, late_s - 0.02)

    return np.stack([one(late[0]), one(late[1]) + three(late[1]), three(late[2])])


@settings(max_examples=25, deadline=None)
@given(st.floats(-0.04, 0.04), st.floats(-0.04, 0.04))
def test_limb_leads_that_are_late_are_told_by_their_law(first: float, third: float) -> None:
    found = law_shifts(limb_leads((first, 0.0, third)), ("I", "II", "III"), FS)
    if found is None:  # in step already, or nearly so
        assert max(abs(first), abs(third), abs(first - third)) < 0.012
        return
    late = np.array(found).mean(axis=1)
    wanted = np.array([first, 0.0, third])
    assert late - late[1] == pytest.approx(wanted - wanted[1], abs=0.006)


def test_leads_that_fulfil_no_law_stay_where_they_are() -> None:
    noise = np.random.default_rng(3).normal(size=(3, 1250))
    assert law_shifts(noise, ("I", "II", "III"), FS) is None
    assert law_shifts(limb_leads((0.0, 0.0, 0.0)), ("I", "II", "III"), FS) is None


@pytest.mark.filterwarnings("error")
def test_leads_that_share_little_time_say_nothing_of_lags() -> None:
    parts = limb_leads((0.02, 0.0, -0.02))
    for row, hidden in enumerate((slice(0, 450), slice(450, 700), slice(950, None))):
        parts[row, hidden] = np.nan
    assert law_shifts(parts, ("I", "II", "III"), FS) is None


def test_lags_that_grow_along_the_column_are_followed() -> None:
    parts = limb_leads((0.0, 0.0, 0.0))
    stretched = T + np.linspace(-0.02, 0.02, T.size)
    parts[0] = np.interp(stretched, T, parts[0])
    found = law_shifts(parts, ("I", "II", "III"), FS)
    assert found is not None
    begin, end = np.array(found)[0] - np.array(found)[1]
    assert begin == pytest.approx(0.02, abs=0.01)
    assert end == pytest.approx(-0.02, abs=0.01)


def test_a_strip_goes_on_where_its_lead_ends() -> None:
    whole = np.interp(np.arange(5000) / FS % 0.8, T, beats(1.0))
    shown = np.full(5000, np.nan)
    shown[:1250] = whole[:1250]
    strip = np.roll(whole, 40) + 0.3  # drawn 80 ms late and higher
    lag, alike = match(shown, strip, FS)
    assert lag == 40
    assert alike > 0.99
    both = beside(shown, strip, FS)
    assert both[:1250] == pytest.approx(whole[:1250])
    assert both[1300:4900] == pytest.approx(whole[1300:4900], abs=0.02)


def test_a_strip_of_something_else_stays_whole() -> None:
    shown = np.full(5000, np.nan)
    shown[:1250] = beats(1.0)
    other = np.random.default_rng(0).normal(size=5000)
    assert beside(shown, other, FS) == pytest.approx(other)
