"""Search by words over a small base: exact statements first, filters, what is not carried, abstention."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ecgkin.index import create_base
from ecgkin.index.base import CaseBase
from ecgkin.index.case import Case
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.notes import NoteCode
from ecgkin.retrieval.search.hits import SearchResult
from ecgkin.retrieval.search.search import CaseSearch

ENCODER = HashingEncoder(32)
# Case, labels, sex, age, report, rate.
CASES: tuple[tuple[str, dict[str, float], str, float, str, float | None], ...] = (
    ("sure", {"CLBBB": 100}, "F", 71, "left bundle branch block", 70),
    ("unsure", {"CLBBB": 15}, "M", 45, "possible left bundle branch block", 64),
    ("both", {"CLBBB": 100, "AFIB": 0}, "M", 66, "atrial fibrillation, LBBB", 122),
    ("af", {"AFIB": 0}, "F", 64, "Vorhofflimmern", 131),
    ("paced af", {"AFIB": 0, "PACE": 0}, "M", 80, "Vorhofflimmern, Schrittmacher", 60),
    ("paced", {"PACE": 0}, "M", 77, "pacemaker", 70),
    ("block 3", {"3AVB": 100}, "F", 83, "third degree AV block", 38),
    ("normal", {"NORM": 100, "SR": 0}, "F", 25, "normal ECG", 66),
    ("normal man", {"NORM": 80, "SR": 0}, "M", 30, "normales EKG", None),
    ("runs", {"PVC": 100}, "M", 59, "short run of ventricular tachycardia", 90),
    ("no runs", {"SR": 0}, "M", 58, "no ventricular tachycardia", 90),
)


def engine_over(folder: Path, *, measured: bool = False, reports: bool = True) -> tuple[CaseBase, CaseSearch]:
    base = create_base(folder, "hashing", ENCODER.fingerprint, 32)
    made = [
        Case(
            f"x/{name}", patient_id=name, labels=labels, sex=sex, age_years=age, report=report if reports else "",
            meta={"measurements": {"rate_bpm": rate}} if measured and rate is not None else {},
        )
        for name, labels, sex, age, report, rate in CASES
    ]  # fmt: skip
    base.add(made, ENCODER.encode_texts([case.report or case.case_id for case in made]))
    return base, CaseSearch(base, ENCODER)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[CaseSearch]:
    base, search = engine_over(tmp_path / "base")
    yield search
    base.close()


def names(result: SearchResult, n: int | None = None) -> list[str]:
    return [hit.case.case_id.removeprefix("x/") for hit in result.hits[:n]]


def codes(result: SearchResult) -> set[NoteCode]:
    return {note.code for note in result.warnings}


def test_cases_that_carry_the_statement_come_first_the_surest_first(engine: CaseSearch) -> None:
    result = engine.by_text("LBBB")
    assert set(names(result, 3)) == {"sure", "both", "unsure"}
    assert len(result) == 10 and not result.nothing_similar
    assert result.understood is not None and result.understood.parts[0].kind == "statement"
    assert [hit.rank for hit in result.hits] == list(range(1, 11))
    assert NoteCode.WORDS_FEW_CARRY in codes(result)
    raised = [round(hit.score + 0.1 * hit.case.labels["CLBBB"] / 100, 2) for hit in result.hits[:3]]
    assert raised == sorted(raised, reverse=True)


def test_what_is_denied_is_left_out(engine: CaseSearch) -> None:
    for text in ("no atrial fibrillation", "ohne Vorhofflimmern", "utan förmaksflimmer", "everything except AF"):
        result = engine.by_text(text)
        assert len(result) == 8 and all("AFIB" not in hit.case.labels for hit in result), text
        assert not result.nothing_similar
        assert NoteCode.WORDS_ONLY_FILTER in codes(result) or NoteCode.FEW_CASES_PASS in codes(result)
    assert names(engine.by_text("AF without pacemaker"), 2) in (["af", "both"], ["both", "af"])


def test_and_or_and_their_lack(engine: CaseSearch) -> None:
    assert names(engine.by_text("AF and LBBB"), 1) == ["both"]
    either = engine.by_text("AF or third degree AV block")
    assert set(names(either, 4)) == {"af", "both", "paced af", "block 3"}
    none = engine.by_text("LBBB and third degree AV block")
    assert NoteCode.WORDS_NONE_CARRIES_ALL in codes(none)
    assert set(names(none, 4)) == {"sure", "both", "unsure", "block 3"}


def test_what_only_filtered_cases_carry_is_not_called_similar(engine: CaseSearch) -> None:
    for text in ("AF", "AF or atrial fibrillation"):
        result = engine.by_text(text, where="not label:AFIB")
        assert result.nothing_similar and result.abstained == "not_carried" and len(result) > 0
        assert NoteCode.WORDS_NONE_WITHIN in codes(result)
        assert NoteCode.WORDS_NONE_CARRIES_ALL not in codes(result)
    partly = engine.by_text("AF and LBBB", where="not label:AFIB")
    assert not partly.nothing_similar and NoteCode.WORDS_NONE_CARRIES_ALL in codes(partly)


def test_words_that_contradict_themselves_are_said_to(engine: CaseSearch) -> None:
    for text in ("AF and no AF", "AF without AF"):
        result = engine.by_text(text)
        assert NoteCode.WORDS_CONTRADICT in codes(result)
        assert NoteCode.WORDS_NONE_CARRIES_ALL not in codes(result)
        assert result.nothing_similar
    assert NoteCode.WORDS_CONTRADICT not in codes(engine.by_text("AF and no pacemaker"))


@pytest.mark.parametrize(
    "text", ["AF bei Frauen unter 3 Monaten", "AF, Alter unter 2 Wochen", "förmaksflimmer yngre än 6 månader"]
)
def test_months_are_no_years(engine: CaseSearch, text: str) -> None:
    result = engine.by_text(text)
    (note,) = [note for note in result.warnings if note.code is NoteCode.WORDS_UNUSED]
    assert any(unit in note for unit in ("Monaten", "Wochen", "månader"))
    assert all(hit.case.age_years is not None for hit in result.hits[:3]), "nobody is left out for the age"


def test_limits_that_are_denied_do_not_filter_for_themselves(engine: CaseSearch) -> None:
    assert set(names(engine.by_text("AF not in women"), 2)) == {"both", "paced af"}
    assert all((hit.case.age_years or 0) <= 70 for hit in engine.by_text("AF nicht älter als 70"))
    result = engine.by_text("AF except for women over 60")
    assert set(names(result, 3)) == {"af", "both", "paced af"}
    (note,) = [note for note in result.warnings if note.code is NoteCode.WORDS_UNUSED]
    assert "women over 60" in note and "nicht verwendet" in note.text("de")
    assert all((hit.case.age_years or 0) >= 65 for hit in engine.by_text("AF over 65"))


def test_wide_complexes_that_are_denied_do_not_come_first(engine: CaseSearch, tmp_path: Path) -> None:
    result = engine.by_text("not QRS > 120 ms")
    assert {NoteCode.WORDS_NOT_MEASURED, NoteCode.WORDS_IMPLY_NOT} <= codes(result)
    assert all("CLBBB" not in hit.case.labels for hit in result.hits[:6])
    base, search = engine_over(tmp_path / "measured", measured=True)
    assert all(hit.case.meta["measurements"]["rate_bpm"] <= 100 for hit in search.by_text("without rate over 100"))
    base.close()


def test_age_and_sex_filter(engine: CaseSearch) -> None:
    result = engine.by_text("women over 60 with atrial fibrillation")
    assert names(result, 1) == ["af"]
    assert all(hit.case.sex == "F" and (hit.case.age_years or 0) >= 60 for hit in result)
    with_own = engine.by_text("women with AF", where="age<70")
    assert all(hit.case.sex == "F" and (hit.case.age_years or 0) < 70 for hit in with_own)


@pytest.mark.parametrize(
    ("text", "edge", "shown_too"),
    [
        ("AF under 64", "af", False),
        ("AF up to 64", "af", True),
        ("AF over 80", "paced af", False),
        ("AF from 80", "paced af", True),
        ("Vorhofflimmern unter 64", "af", False),
        ("förmaksflimmer över 80", "paced af", False),
        ("over 80", "paced af", False),
        ("80+", "paced af", True),
    ],
)
def test_the_age_at_the_limit_is_shown_as_the_words_say(
    engine: CaseSearch, text: str, edge: str, shown_too: bool
) -> None:
    result = engine.by_text(text, k=11)
    assert (edge in names(result)) == shown_too
    assert result.abstained != "not_understood"


def test_the_value_at_the_limit_is_found_as_the_words_say(tmp_path: Path) -> None:
    base, search = engine_over(tmp_path / "measured", measured=True)
    assert "both" not in names(search.by_text("rate over 122", k=11))
    assert "both" in names(search.by_text("rate at least 122", k=11))
    assert "block 3" not in names(search.by_text("rate < 38"))
    assert "block 3" in names(search.by_text("rate <= 38"))
    base.close()


def test_what_no_case_carries_is_said_with_what_is_near(engine: CaseSearch) -> None:
    result = engine.by_text("torsade de pointes")
    assert result.nothing_similar and result.abstained == "not_carried"
    (note,) = [note for note in result.warnings if note.code is NoteCode.WORDS_NOT_CARRIED]
    assert "ventricular premature complex" in note and "ventrikuläre Extrasystole" in note.text("de")
    assert names(result, 1) == ["runs"]
    missing = engine.by_text("RBBB")
    assert missing.nothing_similar and NoteCode.WORDS_NOT_CARRIED in codes(missing)


def test_a_finding_that_only_reports_name_is_found_there(engine: CaseSearch, tmp_path: Path) -> None:
    result = engine.by_text("Kammertachykardie")
    assert names(result, 1) == ["runs"] and not result.nothing_similar
    assert NoteCode.WORDS_IN_REPORTS in codes(result)
    base, silent = engine_over(tmp_path / "silent", reports=False)
    assert silent.by_text("VT").abstained == "not_carried"
    base.close()


def test_a_label_of_another_archive_counts(engine: CaseSearch) -> None:
    case = Case("x/vt", labels={"VT": 100}, sex="F", age_years=50)
    engine.base.add([case], ENCODER.encode_texts(["x"]))
    result = engine.by_text("ventricular tachycardia")
    assert names(result, 1) == ["vt"] and not result.nothing_similar


def test_numbers_that_nobody_measured_are_said_to_be_unused(engine: CaseSearch) -> None:
    result = engine.by_text("AF with rate over 120")
    assert NoteCode.WORDS_NOT_MEASURED in codes(result)
    assert set(names(result, 3)) == {"af", "both", "paced af"}


def test_an_axis_that_nobody_measured_is_asked_for_by_its_name(engine: CaseSearch) -> None:
    none = engine.by_text("axis > 90")
    assert none.nothing_similar and NoteCode.WORDS_NOT_MEASURED in codes(none)
    engine.base.add([Case("x/right", report="right axis deviation")], ENCODER.encode_texts(["right axis deviation"]))
    for text in ("axis > 90", "axis 120"):
        result = engine.by_text(text)
        assert names(result, 1) == ["right"] and not result.nothing_similar
        assert {NoteCode.WORDS_NOT_MEASURED, NoteCode.WORDS_IMPLY} <= codes(result)


@pytest.mark.parametrize(
    ("text", "leads"),
    [
        ("LBBB in V1-V4", "V1-V4"), ("AF, deep Q in II, III and aVF", "II, III, aVF"), ("LBBB lead I", "I"),
        ("AV block II", ""), ("I want LBBB", ""), ("LBBB", ""), ("LBBB without V1", ""),
    ],
)  # fmt: skip
def test_leads_are_said_to_be_no_filter(engine: CaseSearch, text: str, leads: str) -> None:
    said = [str(note.values["leads"]) for note in engine.by_text(text).warnings if note.code is NoteCode.WORDS_LEADS]
    assert said == ([leads] if leads else [])


def test_words_without_a_finding_are_said_to_hold_none(engine: CaseSearch) -> None:
    assert NoteCode.WORDS_ONLY_NEAR in codes(engine.by_text("P waves hidden in the baseline"))
    for text in ("LBBB", "no pacemaker", "women", "heart rate over 100"):
        assert NoteCode.WORDS_ONLY_NEAR not in codes(engine.by_text(text)), text
    assert engine.by_text("heart").abstained == "not_understood"


def test_measured_numbers_filter(tmp_path: Path) -> None:
    base, search = engine_over(tmp_path / "base", measured=True)
    assert sorted(names(search.by_text("rate over 120"))) == ["af", "both"]
    assert names(search.by_text("AF, rate below 100"))[0] == "paced af"
    assert NoteCode.WORDS_NOT_MEASURED not in codes(search.by_text("rate 38"))
    assert "block 3" in names(search.by_text("rate 38"))
    base.close()


@pytest.mark.parametrize(
    "text", ["pizza", "xyz", "1234", "a" * 5000, "best restaurant in town", "北京烤鸭", "heart of gold"]
)
def test_nonsense_is_not_answered(engine: CaseSearch, text: str) -> None:
    result = engine.by_text(text)
    assert result.nothing_similar and result.abstained == "not_understood"
    assert {NoteCode.WORDS_NOT_UNDERSTOOD, NoteCode.WORDS_UNKNOWN} <= codes(result)


@pytest.mark.parametrize("text", ["normal ECG", "broad QRS complexes in V1", "no pacemaker", "men under 50"])
def test_what_speaks_of_ecgs_is_answered(engine: CaseSearch, text: str) -> None:
    assert not engine.by_text(text).nothing_similar


def test_slips_and_unknown_words_are_said(engine: CaseSearch) -> None:
    result = engine.by_text("atrial fibrilation blarg")
    said = {note.code: str(note) for note in result.warnings}
    assert said[NoteCode.WORDS_READ_AS] == '"fibrilation" was read as "fibrillation"'
    assert "blarg" in said[NoteCode.WORDS_UNKNOWN]


def test_parts_sent_back_stand_in_the_place_of_the_words(engine: CaseSearch) -> None:
    parts = [{"kind": "statement", "code": "PACE"}, {"kind": "statement", "code": "AFIB", "polarity": "absent"}]
    result = engine.by_text("AF", understood=parts)
    assert names(result, 1) == ["paced"]
    assert all("AFIB" not in hit.case.labels for hit in result)
    with pytest.raises(QueryError, match="XYZ"):
        engine.by_text("AF", understood=[{"kind": "statement", "code": "XYZ"}])
    with pytest.raises(QueryError, match="no concept"):
        engine.by_text("AF", understood=[{"kind": "concept", "code": "XYZ"}])


def test_raw_words_are_only_embedded(engine: CaseSearch) -> None:
    result = engine.by_text("no atrial fibrillation", raw=True)
    assert result.understood is None
    (vector,) = ENCODER.encode_texts(["no atrial fibrillation"])
    assert [hit.case.case_id for hit in result.hits] == [case.case_id for case, _ in engine.base.search(vector, 10)]


def test_words_beside_an_ecg_filter_and_leave_the_order_to_both(engine: CaseSearch) -> None:
    from ecgkin.retrieval.ecg.leads import LEADS
    from ecgkin.retrieval.ecg.record import EcgRecord

    record = EcgRecord((np.random.default_rng(0).standard_normal((12, 500)) * 0.3).astype(np.float32), 50.0, LEADS)
    result = engine.by_both(record, "LBBB without AF in men")
    assert result.hits and all("AFIB" not in hit.case.labels and hit.case.sex == "M" for hit in result)
    assert result.understood is not None
    assert engine.by_both(record, "LBBB without AF in men", raw=True).understood is None


def test_an_archive_that_grows_is_looked_through_again(engine: CaseSearch) -> None:
    assert engine.by_text("Brugada").abstained == "not_carried"
    engine.base.add([Case("x/new", report="Brugada type 1 pattern")], ENCODER.encode_texts(["Brugada"]))
    assert names(engine.by_text("Brugada"), 1) == ["new"]
