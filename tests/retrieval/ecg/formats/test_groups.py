"""Leads that were recorded in groups: at other rates, at other times, one stretch beside another."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.formats.groups import Group, merged


def group(leads: str, seconds: float, fs_hz: float, start_s: float | None = None) -> Group:
    """Each lead is a slow sine, the same at every rate."""
    t: NDArray[np.float64] = np.arange(round(seconds * fs_hz)) / fs_hz + (start_s or 0.0)
    wave = np.sin(2 * np.pi * 0.7 * t).astype(np.float32)
    return Group([(lead, wave) for lead in leads.split()], fs_hz, start_s)


def test_the_longest_in_seconds_decides_not_the_one_with_most_samples() -> None:
    """Ten seconds at 250 Hz are more of an ECG than four at 1,000 Hz."""
    notes: list[str] = []
    channels, fs_hz = merged([group("V1 V2", 4, 1000.0, 0.0), group("I II", 10, 250.0, 0.0)], "x", notes)
    assert fs_hz == 250.0
    rows = dict(channels)
    assert list(rows) == ["I", "II", "V1", "V2"] and {row.size for row in rows.values()} == {2500}
    assert np.isfinite(rows["I"]).all() and np.isnan(rows["V1"][1000:]).all() and np.isfinite(rows["V1"][:1000]).all()
    t = np.arange(2500) / 250
    np.testing.assert_allclose(rows["V1"][20:980], np.sin(2 * np.pi * 0.7 * t)[20:980], atol=0.02)
    assert any("resampled from 1000 to 250 Hz" in note for note in notes)


def test_groups_one_after_the_other_keep_their_times() -> None:
    notes: list[str] = []
    parts = [
        group("I II III", 2.5, 500.0, 0.0),
        group("aVR aVL aVF", 2.5, 500.0, 2.5),
        group("V1 V2 V3", 2.5, 500.0, 5.0),
    ]
    channels, fs_hz = merged(parts, "x", notes)
    assert fs_hz == 500.0
    for name, row in channels:
        first = next(round((part.start_s or 0) * 500) for part in parts if name in part.leads)
        there = np.flatnonzero(np.isfinite(row))
        assert row.size == 3750 and (there[0], there[-1]) == (first, first + 1249)


def test_another_stretch_of_the_same_leads_is_left_out() -> None:
    notes: list[str] = []
    channels, _ = merged([group("I II", 10, 500.0, 0.0), group("I II", 8, 500.0, 10.0)], "x", notes)
    assert [name for name, _ in channels] == ["I", "II"] and channels[0][1].size == 5000
    assert notes == ["2 stretches in the file: the longest is used"]


@pytest.mark.parametrize(("begin", "kept"), [(10.0, True), (3600.0, False)])
def test_what_lies_further_away_than_a_page_is_another_recording(begin: float, kept: bool) -> None:
    channels, _ = merged([group("I II", 10, 500.0, 0.0), group("V1", 10, 500.0, begin)], "x", [])
    assert ("V1" in dict(channels)) is kept
