"""Serial comparison from records and from a base: whose ECGs are found, what is new, gone or about the limit."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecgkin.generation.drafter import Drafter
from ecgkin.generation.serial import compare_records, compare_with_earlier, earlier_cases, patient_of, record_of
from ecgkin.index import open_base
from ecgkin.index.base import CaseBase
from ecgkin.index.case import Case, content_hash
from ecgkin.retrieval.ecg.drawing.raster import render
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.search.search import CaseSearch


def made(code: str, seed: int = 3, **options: float) -> EcgRecord:
    return simulate([code], np.random.default_rng(seed), fs_hz=250.0, **options).record  # type: ignore[arg-type]


OLD, NEW = made("NORM", rate_bpm=70.0), made("NORM", rate_bpm=71.0)
BLOCK = made("CLBBB", rate_bpm=72.0)


@pytest.fixture
def base(simulated_base: Path, tmp_path: Path) -> Iterator[CaseBase]:
    """The simulated base, and three ECGs of one person: without samples, usual, with a block."""
    folder = tmp_path / "base"
    shutil.copytree(simulated_base, folder)
    encoder = HashingEncoder()
    records = [OLD, BLOCK]
    vectors = np.concatenate([encoder.encode_records(records), encoder.encode_records([OLD])])
    cases = [
        Case("own/1", "anna", recorded_at="2001-02-03", labels={"NORM": 100.0}, report="Normal ECG.",
             content_hash=content_hash(OLD)),
        Case("own/2", "anna", recorded_at="2004-05-06T07:08:09", labels={"CLBBB": 100.0}, report="LBBB.",
             content_hash=content_hash(BLOCK)),
        Case("own/3", "anna", recorded_at="2003-01-01", report="Paper only."),
    ]  # fmt: skip
    with open_base(folder, encoder) as opened:
        opened.add(cases, vectors, [*records, None])
        yield opened


def test_the_same_twice_has_not_changed() -> None:
    done = compare_records(OLD, OLD, name="x/1", recorded_at="2001-02-03")
    assert not done.changes and not any(row.beyond for row in done.rows)
    assert done.sentence == "Compared with the ECG of 2001-02-03 (x/1): no change beyond repeatability."
    for before, after in done.beats_mv.values():
        assert before == after and len(before) == 190
    assert set(done.beats_mv) == set(OLD.leads) and done.beats_hz == 250.0
    german = compare_records(OLD, OLD, language="de").sentence
    assert german == "Verglichen mit dem EKG: keine Änderung über die Wiederholbarkeit hinaus."


def test_a_new_block_is_new_and_one_that_went_is_gone() -> None:
    done = compare_records(OLD, BLOCK)
    states = {finding.code: finding.state for finding in done.findings}
    assert states["left_bundle_branch_block"] == "new"
    assert {"new_block", "qrs"} <= {change.code for change in done.changes}
    assert {row.name for row in done.rows if row.beyond} >= {"qrs_ms"}
    assert done.limits and "new: LBBB" in done.sentence
    back = compare_records(BLOCK, OLD)
    assert {f.code: f.state for f in back.findings}["left_bundle_branch_block"] == "gone"
    same = compare_records(BLOCK, made("CLBBB", rate_bpm=72.0, noise=1.2))
    assert {f.code: f.state for f in same.findings}["left_bundle_branch_block"] == "unchanged"


def test_a_limit_crossed_by_a_hair_is_not_new() -> None:
    """ST of 0.09 mV before and 0.12 now: flagged now, and called borderline."""

    def raised(by_mv: float) -> EcgRecord:
        signal = OLD.signal_mv.astype(np.float64)
        from ecgkin.generation.measures.measure import samples_and_beats

        times = np.arange(signal.shape[1]) / OLD.fs_hz
        for beat in samples_and_beats(OLD)[1].at / 500.0:
            bump = np.exp(-0.5 * np.square((times - beat - 0.13) / 0.06)) * (times > beat + 0.03)
            for lead in ("II", "III", "aVF"):
                signal[OLD.leads.index(lead)] += by_mv * bump
        return replace(OLD, signal_mv=signal.astype(np.float32))

    flagged = [by for by in np.arange(0.04, 0.3, 0.01) if "st_elevation" in _flags(raised(by))]
    assert flagged
    below, above = raised(flagged[0] - 0.02), raised(flagged[0] + 0.01)
    assert {f.code: f.state for f in compare_records(below, above).findings}["st_elevation"] == "borderline"
    far = compare_records(raised(0.0), raised(flagged[0] + 0.25))
    assert {f.code: f.state for f in far.findings}["st_elevation"] == "new"
    assert "st_up" in {change.code for change in far.changes}


def _flags(record: EcgRecord) -> set[str]:
    from ecgkin.generation.measures import measure
    from ecgkin.generation.measures.flags import red_flags

    return {str(flag.code) for flag in red_flags(measure(record))}


def test_whose_ecgs_are_found(base: CaseBase) -> None:
    """By a case or by the person, newest first; the ECG itself is no earlier one; strangers are refused."""
    assert [case.case_id for case in earlier_cases(base, "anna")] == ["own/2", "own/3", "own/1"]
    assert [case.case_id for case in earlier_cases(base, "own/1")] == ["own/2", "own/3", "own/1"]
    assert [case.case_id for case in earlier_cases(base, "anna", BLOCK)] == ["own/3", "own/1"]
    assert patient_of(base, "own/1") == patient_of(base, "anna") == "anna"
    with pytest.raises(QueryError, match="nobody"):
        earlier_cases(base, "nobody")
    with pytest.raises(QueryError):
        earlier_cases(base, 'x" or patient!="')


def test_the_newest_with_samples_is_compared_unless_one_is_named(base: CaseBase) -> None:
    newest = compare_with_earlier(base, NEW, "anna", statements=("NORM", "nonsense"))
    assert (newest.compared_with, newest.recorded_at) == ("own/2", "2004-05-06T07:08:09")
    assert [(case.case_id, case.samples) for case in newest.earlier] == [
        ("own/2", True), ("own/3", False), ("own/1", True),
    ]  # fmt: skip
    said = {f.code: f.state for f in newest.findings if f.by == "statements"}
    assert said == {"NORM": "new", "CLBBB": "gone"}
    named = compare_with_earlier(base, NEW, "own/1")
    assert named.compared_with == "own/1" and not named.changes
    paper = compare_with_earlier(base, NEW, "own/3")
    assert paper.compared_with == "own/2"


def test_pictures_are_compared_by_what_is_read_off_them(base: CaseBase) -> None:
    page = render(NEW)
    assert record_of(page) is not None and record_of(NEW) is NEW and record_of("text") is None
    done = compare_with_earlier(base, page, "own/1", language="de")
    assert done.compared_with == "own/1" and done.beats_mv
    rate = next(row for row in done.rows if row.name == "rate_bpm")
    assert rate.change == pytest.approx(1.0, abs=3.0)
    nothing = compare_with_earlier(base, render(NEW).resize((40, 30)), "own/1")
    assert not nothing.rows and nothing.earlier and nothing.limits


def test_a_draft_says_what_has_changed(base: CaseBase) -> None:
    """In text and structure; the person's own ECGs do not vote."""
    drafter = Drafter(CaseSearch.open(base, HashingEncoder()))
    drafted = drafter.draft(NEW, previous="anna")
    assert drafted.draft.comparison is not None and drafted.draft.comparison.compared_with == "own/2"
    assert drafted.draft.text.endswith(drafted.draft.comparison.sentence)
    assert not [hit for hit in drafted.search.hits if hit.case.patient_id == "anna"]
    stream = drafter.stream(NEW, previous="own/1")
    list(stream)
    assert stream.result is not None and stream.result.draft.comparison is not None
    assert drafter.draft(NEW).draft.comparison is None
    plain = drafted.draft.as_dict()["comparison"]
    assert plain["compared_with"] == "own/2" and plain["rows"][0]["name"] == "rate_bpm"
