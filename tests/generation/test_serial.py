"""Serial comparison from records and from a base: whose ECGs are found, what is new, gone or about the limit."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecgkin.generation import serial
from ecgkin.generation.drafter import Drafter
from ecgkin.generation.measures import measure
from ecgkin.generation.measures.compare import Change, ChangeCode, Comparison, Row, compare, rule_text
from ecgkin.generation.measures.flags import Flag, FlagCode
from ecgkin.generation.measures.values import Measurements
from ecgkin.generation.serial import compare_records, compare_with_earlier, earlier_cases, patient_of, record_of
from ecgkin.generation.types.serial import Serial
from ecgkin.index import open_base
from ecgkin.index.base import CaseBase
from ecgkin.index.case import Case, content_hash
from ecgkin.retrieval.ecg.drawing.raster import render
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.notes import Language
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


def _measured(record: EcgRecord, *, qrs_ms: float | None = None, **st_mv: float) -> Measurements:
    """Of a record, with other ST levels at J and 60 ms after it in some leads, and another QRS."""
    measured = measure(record)
    leads = {
        name: replace(lead, st_j_mv=st_mv[name], st_60_mv=st_mv[name], st_80_mv=st_mv[name], noise_mv=0.01)
        if name in st_mv
        else lead
        for name, lead in measured.leads.items()
    }
    return replace(measured, leads=leads, qrs_ms=measured.qrs_ms if qrs_ms is None else qrs_ms)


def _compared(
    monkeypatch: pytest.MonkeyPatch, before: Measurements, after: Measurements, language: Language = "en"
) -> Serial:
    both = iter((before, after))
    monkeypatch.setattr(serial, "measure", lambda _record: next(both))
    return compare_records(OLD, NEW, language=language)


def test_an_elevation_that_was_not_there_is_new_where_conduction_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a left bundle branch block with ST at the baseline, now ST up by 0.8 mV: new, and said first."""
    before = _measured(BLOCK, V2=0.1, V3=0.04, V4=0.0)
    after = _measured(NEW, V2=0.42, V3=0.84, V4=1.0)
    done = _compared(monkeypatch, before, after)
    found = {f.code: f for f in done.findings}["st_elevation"]
    assert (found.state, found.urgent) == ("new", True)
    assert done.sentence.startswith(f"Compared with the ECG: new: {found.name}; ")
    assert {"st_j_mv V3", "st_j_mv V4"} <= {row.name for row in done.rows if row.beyond}
    assert done.limits, "that ST may follow conduction is said all the same"


def test_what_was_not_compared_is_called_so_and_stays_in_the_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """ST as high under the block before: nothing tells whether the elevation is new."""
    levels = {"V2": 0.5, "V3": 0.5, "V4": 0.5}
    before, after = _measured(BLOCK, **levels), _measured(NEW, **levels)
    done = _compared(monkeypatch, before, after)
    found = {f.code: f for f in done.findings}["st_elevation"]
    assert found.state == "not_compared" and found.why
    assert f"not compared ({found.why}): {found.name}" in done.sentence
    back = _compared(monkeypatch, after, before)
    found = {f.code: f for f in back.findings}["st_elevation"]
    assert found.state == "not_compared" and found.name.endswith("in the earlier ECG")
    assert found.name in back.sentence
    german = _compared(monkeypatch, before, after, "de")
    found = {f.code: f for f in german.findings}["st_elevation"]
    assert f"nicht verglichen ({found.why}): {found.name}" in german.sentence


def test_an_elevation_lower_than_under_the_block_is_not_called_new(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = _measured(BLOCK, V2=0.9, V3=0.9), _measured(NEW, V2=0.4, V3=0.4)
    assert {f.code: f.state for f in _compared(monkeypatch, before, after).findings}["st_elevation"] == "not_compared"


def test_an_elevation_that_grew_is_not_called_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a wide QRS in both ST is not among the changes; the finding says it."""
    block = made("CRBBB", rate_bpm=72.0)
    before, after = _measured(block, qrs_ms=140.0, V4=0.3, V5=0.3), _measured(block, qrs_ms=140.0, V4=0.9, V5=0.9)
    done = _compared(monkeypatch, before, after)
    assert "st_up" not in {change.code for change in done.changes}
    found = {f.code: f for f in done.findings}["st_elevation"]
    assert found.state == "increased" and f"more than before: {found.name}" in done.sentence
    same = _compared(monkeypatch, before, before)
    assert {f.code: f.state for f in same.findings}["st_elevation"] == "unchanged"


def test_sgarbossa_with_a_new_block_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = _measured(NEW, V5=0.0, V6=0.0), _measured(BLOCK, V5=0.3, V6=0.3)
    done = _compared(monkeypatch, before, after)
    found = {f.code: f for f in done.findings}["sgarbossa"]
    assert found.state == "new" and done.sentence.startswith(f"Compared with the ECG: new: {found.name}; ")


def test_an_urgent_finding_about_the_limit_is_in_the_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """QTc of 510 before and 493 now: within repeatability, and said, with whose it was."""
    now = replace(measure(NEW), qtc_ms=493.0, qtc_fridericia_ms=466.0, qt_ms=440.0)
    done = _compared(monkeypatch, replace(now, qtc_ms=510.0, qtc_fridericia_ms=500.0), now)
    found = {f.code: f for f in done.findings}["qtc_above_500"]
    assert found.state == "borderline" and "in the earlier ECG" in found.name
    assert f"about the limit in both: {found.name}" in done.sentence


def test_what_is_flagged_beside_an_ecg_that_could_not_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is new or gone then, and the urgent ones are said."""
    raised = _measured(NEW, V2=0.5, V3=0.5, V4=0.5)
    for pair in ((Measurements(), raised), (raised, Measurements())):
        done = _compared(monkeypatch, *pair)
        found = {f.code: f for f in done.findings if f.code != "no_qrs"}
        assert {f.state for f in found.values()} == {"not_compared"}
        assert found["st_elevation"].name in done.sentence


def test_nothing_is_said_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a finding says with its leads is not said as a change once more; its value stands in brackets."""
    low, high = _measured(NEW, V2=0.0, V3=0.0, V4=0.0), _measured(NEW, V2=0.5, V3=0.5, V4=0.5)
    for language, before in (("en", "ms before"), ("de", "vorher ")):
        done = _compared(monkeypatch, low, high, language)  # type: ignore[arg-type]
        found = {f.code: f for f in done.findings}["st_elevation"]
        assert {change.code for change in done.changes} >= {"st_up"}
        assert done.sentence.count("V2, V3, V4") == 1 and f"{found.name} (" in done.sentence
        assert " -> +" in done.sentence
        slow = replace(measure(NEW), qtc_ms=551.0, qtc_fridericia_ms=539.0, qt_ms=520.0)
        done = _compared(monkeypatch, measure(NEW), slow, language)  # type: ignore[arg-type]
        assert done.sentence.count("QTc") == 1 and before in done.sentence and "551" in done.sentence


def test_of_a_block_the_change_alone_is_in_the_sentence() -> None:
    done = compare_records(OLD, BLOCK)
    assert "new: LBBB" in done.sentence and "bundle branch block pattern" not in done.sentence
    assert any(f.code == "left_bundle_branch_block" for f in done.findings), "the table has it"


@pytest.mark.parametrize("code", ["t_inversion", "pathological_q_waves"])
def test_a_finding_is_not_lost_with_the_change_that_it_says(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    change = ChangeCode.T_INVERSION if code == "t_inversion" else ChangeCode.NEW_Q
    flag = Flag(FlagCode(code), ("V4", "V5", "V6"), {})
    flags = iter(((), (flag,)))
    monkeypatch.setattr(serial, "red_flags", lambda _measured: next(flags))
    real = compare
    monkeypatch.setattr(serial, "compare", lambda *both: replace(real(*both), changes=(Change(change, ("V4", "V5")),)))
    done = compare_records(OLD, OLD)
    assert done.findings[0].state == "new"
    assert done.sentence == f"Compared with the ECG: new: {done.findings[0].name}."


def test_a_block_of_higher_degree_than_before_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are AV blocks, so that no block is new among the changes; the dangerous one is all the same."""
    flags = iter(((Flag(FlagCode.SECOND_DEGREE_BLOCK),), (Flag(FlagCode.HIGH_GRADE_BLOCK),)))
    monkeypatch.setattr(serial, "red_flags", lambda _measured: next(flags))
    monkeypatch.setattr(serial, "flag_title", lambda flag, _language: str(flag.code))
    done = compare_records(OLD, OLD)
    assert {f.code: f.state for f in done.findings} == {"high_grade_block": "new", "second_degree_block": "gone"}
    assert done.sentence.startswith("Compared with the ECG: new: high_grade_block")


def test_a_lead_is_starred_from_a_tenth_of_a_millivolt_on() -> None:
    """A flag is new in V5 and V6: what moved less in a lead than a shift that counts is no change of that lead."""
    nothing = Comparison((), ())
    for after, starred in ((-0.12, False), (-0.14, True), (0.05, False), (0.06, True)):
        assert serial._row(Row("st_j_mv V5", -0.04, after), nothing, {"V5", "V6"}).beyond is starred
        assert not serial._row(Row("st_j_mv V4", -0.04, after), nothing, {"V5", "V6"}).beyond
    shifted = Comparison((), (Change(ChangeCode.ST_DOWN, ("V5",)),))
    assert serial._row(Row("st_j_mv V5", -0.04, -0.12), shifted, ()).beyond


def test_reasons_are_german_where_german_is_asked_for() -> None:
    done = compare_records(OLD, BLOCK, language="de")
    back = compare_records(BLOCK, OLD, language="de")
    for change in (*done.changes, *back.changes):
        assert change.rule == rule_text(ChangeCode(change.code), "de") != rule_text(ChangeCode(change.code), "en")
