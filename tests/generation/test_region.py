"""A stretch of one lead: where it lies about QRS, and how alike others are in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from ecgkin.generation.measures.arrays import FS
from ecgkin.generation.measures.measure import samples_and_beats
from ecgkin.generation.region import Stretch, likeness, stretch_of
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.retrieval.errors import QueryError


def made(code: str, seed: int = 3, **options: float) -> EcgRecord:
    return simulate([code], np.random.default_rng(seed), fs_hz=250.0, **options).record  # type: ignore[arg-type]


NORMAL, BLOCK = made("NORM", rate_bpm=70.0), made("CLBBB", rate_bpm=72.0)


def about_qrs(record: EcgRecord, lead: str, beat: int = 4, before: float = 0.1, after: float = 0.15) -> Stretch:
    at = samples_and_beats(record)[1].at[beat] / FS
    return stretch_of(record, lead, at - before, at + after)


def test_it_lies_about_the_onset_of_qrs_whichever_beat_is_framed() -> None:
    """Each beat of a regular rhythm gives the same stretch; it begins before the onset and ends after QRS."""
    found = [about_qrs(NORMAL, "V2", beat) for beat in (2, 4, 6)]
    assert len({(one.first, len(one.mv)) for one in found}) == 1
    assert found[0].begin_ms < -30 < 80 < found[0].end_ms
    np.testing.assert_array_equal(found[0].mv, found[1].mv)


def test_a_record_is_most_like_itself_and_a_block_is_told_from_it() -> None:
    """In a lead that a block changes: like itself, like another normal beat, least like the block."""
    stretch = about_qrs(NORMAL, "V1")
    own, other, block = (likeness(stretch, one) for one in (NORMAL, made("NORM", 5, rate_bpm=64.0), BLOCK))
    assert own is not None and other is not None and block is not None and own == pytest.approx(1.0)
    assert own >= other > block


@settings(max_examples=15, deadline=None)
@given(some.floats(0.3, 3.0), some.sampled_from(["I", "II", "V1", "V4"]))
def test_size_counts_and_upside_down_is_unlike(factor: float, lead: str) -> None:
    """Twice as high is less alike than equal; upside down is not alike."""
    stretch = about_qrs(NORMAL, lead)
    scaled = likeness(stretch, replace(NORMAL, signal_mv=NORMAL.signal_mv * factor))
    turned = likeness(stretch, replace(NORMAL, signal_mv=-NORMAL.signal_mv))
    assert scaled is not None and turned is not None
    assert scaled <= 1.0 + 1e-9 and turned < 0.5
    if abs(factor - 1) > 0.5:
        assert scaled < 0.99


def test_flat_is_like_flat() -> None:
    """Two stretches that are flat within noise are alike, though their noise has nothing in common."""
    beat = about_qrs(NORMAL, "V2")
    flat = Stretch("V2", beat.first, np.random.default_rng(1).normal(0.0, 0.003, 20))
    found = likeness(replace(flat, first=-80), NORMAL)
    assert found is not None and found > 0.5


def test_what_cannot_be_compared_is_said() -> None:
    """No such lead, too short, no beats, nothing known there; a record without that lead has no likeness."""
    with pytest.raises(QueryError, match="no lead"):
        stretch_of(NORMAL, "V9", 1.0, 1.2)
    with pytest.raises(QueryError, match="10 ms"):
        stretch_of(NORMAL, "V2", 1.0, 1.01)
    silent = replace(NORMAL, signal_mv=np.zeros_like(NORMAL.signal_mv))
    with pytest.raises(QueryError, match="no usual beat"):
        stretch_of(silent, "V2", 1.0, 1.2)
    kept = [lead != "V2" for lead in NORMAL.leads]
    without = replace(
        NORMAL, leads=tuple(np.array(NORMAL.leads)[kept].tolist()), signal_mv=NORMAL.signal_mv[np.array(kept)]
    )
    with pytest.raises(QueryError, match="V2"):
        stretch_of(without, "V2", 1.0, 1.2)
    stretch = about_qrs(NORMAL, "V2")
    assert likeness(stretch, without) is None and likeness(stretch, silent) is None
