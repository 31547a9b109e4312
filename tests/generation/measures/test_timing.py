"""Records at another rate than the stated one: the factor is found, real rates are left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecgkin.generation.consensus.phrases import WORDS
from ecgkin.generation.drafter import Drafter
from ecgkin.generation.measures import Measurements, measure
from ecgkin.generation.measures.timing import time_factor, time_note, wrong_rate
from ecgkin.index import open_base
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.notes import NoteCode
from ecgkin.retrieval.search.search import CaseSearch


@pytest.mark.parametrize("factor", [0.4, 0.5, 2.0, 2.5])
def test_the_factor_is_found(factor: float) -> None:
    m = Measurements(rate_bpm=70.0 / factor, qrs_ms=90.0 * factor, qt_ms=390.0 * factor, pr_ms=160.0 * factor)
    assert time_factor(m)[0] == factor and wrong_rate(m)
    note = time_note(m)
    assert note is not None and note.code is NoteCode.TIME_IMPLAUSIBLE and f"{factor:g} times" in note


@pytest.mark.parametrize(
    "m",
    [
        Measurements(rate_bpm=70.0, qrs_ms=90.0, qt_ms=390.0, pr_ms=160.0),
        Measurements(rate_bpm=38.0, qrs_ms=150.0, qt_ms=520.0, pr_ms=200.0),  # complete block, escape from below
        Measurements(rate_bpm=45.0, qrs_ms=90.0, qt_ms=560.0, pr_ms=230.0),  # long QT, slow
        Measurements(rate_bpm=160.0, qrs_ms=85.0, qt_ms=270.0, pr_ms=120.0),  # sinus tachycardia
        Measurements(rate_bpm=150.0, qrs_ms=65.0, qt_ms=255.0, pr_ms=100.0),  # an infant
        Measurements(rate_bpm=190.0, qrs_ms=85.0),  # supraventricular tachycardia
        Measurements(rate_bpm=70.0, qrs_ms=200.0, qt_ms=500.0),  # paced
    ],
)
def test_disease_is_no_other_rate(m: Measurements) -> None:
    assert time_note(m) is None and not wrong_rate(m)


def test_too_little_says_nothing() -> None:
    assert time_note(None) is None and time_note(Measurements()) is None
    assert time_note(Measurements(rate_bpm=300.0)) is None and time_note(Measurements(qrs_ms=30.0, qt_ms=100.0)) is None


def test_a_record_at_half_its_rate_is_not_drafted(simulated_base: Path) -> None:
    record = simulate(("NORM",), np.random.default_rng(3)).record
    with open_base(simulated_base) as base:
        drafter = Drafter(CaseSearch(base, HashingEncoder()))
        for fs_hz, wrong in ((record.fs_hz, False), (record.fs_hz / 2, True), (record.fs_hz * 2, True)):
            asked = EcgRecord(record.signal_mv, fs_hz, record.leads)
            assert wrong_rate(measure(asked)) == wrong
            for k in (0, 3):
                draft = drafter.draft(asked, k=k).draft
                assert (draft.refusal == WORDS["en"]["wrong_rate"]) == wrong
                noted = {note.code for note in draft.warnings if hasattr(note, "code")}
                assert (NoteCode.TIME_IMPLAUSIBLE in noted) == wrong
                assert not wrong or not draft.codes("present")
