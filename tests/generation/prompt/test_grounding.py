"""Answers of models made structure: sentences, statements, citations, agreement."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgkin.generation.prompt.grounding import citations_in, ground, split_sentences, without_marks
from ecgkin.generation.types.draft import Evidence
from ecgkin.retrieval.search.vote import vote

EVIDENCE = (
    Evidence(1, "ptbxl/17", 0.95, ("CLBBB", "SR")),
    Evidence(2, "ptbxl/18", 0.93, ("CLBBB", "SR")),
    Evidence(3, "x-1/a.b", 0.9, ("SR", "NORM")),
)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Sinus rhythm [1]. LBBB. [2]", ["Sinus rhythm [1].", "LBBB. [2]"]),
        ("- Sinus rhythm\n- LBBB [1, 2]\n\n", ["Sinus rhythm", "LBBB [1, 2]"]),
        ("1. Rhythm: SR.\n2. Axis normal.", ["Rhythm: SR.", "Axis normal."]),
        ("AV-Block I. Grades. Z. n. Infarkt, ca. 3 Jahre alt. PQ 0.22 s.",
         ["AV-Block I. Grades.", "Z. n. Infarkt, ca. 3 Jahre alt.", "PQ 0.22 s."]),
        ("", []),
        ("...\n!!", []),
    ],
)  # fmt: skip
def test_sentences(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


@pytest.mark.parametrize(
    ("text", "known", "unknown"),
    [
        ("LBBB [1].", ["ptbxl/17"], []),
        ("LBBB [1, 2] and [case 3]", ["ptbxl/17", "ptbxl/18", "x-1/a.b"], []),
        ("as in (case 2) and [ptbxl/17]", ["ptbxl/18", "ptbxl/17"], []),
        ("as in [7], [0], [ptbxl/99] and [1]", ["ptbxl/17"], ["7", "0", "ptbxl/99"]),
        ("QRS [ms] 120 [see above] (2 mm)", [], []),
        ("[01] [1][1]", ["ptbxl/17"], []),
    ],
)
def test_citations(text: str, known: list[str], unknown: list[str]) -> None:
    assert citations_in(text, EVIDENCE) == (tuple(known), tuple(unknown))
    assert "[1" not in without_marks(text)


def test_a_good_answer() -> None:
    votes = vote([0.95, 0.93, 0.9], [("CLBBB", "SR"), ("CLBBB", "SR"), ("SR", "NORM")])
    found = ground("Sinus rhythm [1, 2, 3]. Complete LBBB [1]. No atrial fibrillation.", EVIDENCE, vote=votes)
    by_code = {s.code: s for s in found.statements}
    assert {c: s.polarity for c, s in by_code.items()} == {"SR": "present", "CLBBB": "present", "AFIB": "absent"}
    assert by_code["CLBBB"].supported_by == ("ptbxl/17",) and by_code["CLBBB"].agreement == "agrees"
    assert by_code["AFIB"].agreement == "agrees" and by_code["AFIB"].probability == 0.0
    assert found.warnings == () and found.unknown_citations == ()
    assert [s.basis for s in found.sentences] == ["cases", "cases", "nothing"]
    assert found.sentences[1].probability == pytest.approx(votes.statements["CLBBB"])
    assert [s.basis for s in ground("Normal axis.", EVIDENCE, picture=True).sentences] == ["picture"]


def test_contradictions_are_warned_about() -> None:
    """Against every neighbour; cited for what it does not have; never given."""
    votes = vote([0.95, 0.93, 0.9], [("CLBBB", "SR"), ("CLBBB", "SR"), ("SR", "NORM")])
    found = ground("Atrial fibrillation [3]. No sinus rhythm. LVH [9].", EVIDENCE, vote=votes)
    assert {s.code: s.agreement for s in found.statements} == dict.fromkeys(("AFIB", "SR", "LVH"), "contradicts")
    assert found.unknown_citations == ("9",)
    told = " | ".join(found.warnings)
    assert "states atrial fibrillation, none of the 3" in told and "denies sinus rhythm, all of the 3" in told
    assert "cited for atrial fibrillation do not carry it" in told and "never given: 9" in told
    unsure = ground("Normal ECG.", EVIDENCE, vote=votes).statements[0]
    assert unsure.agreement == ("agrees" if votes.statements["NORM"] >= 0.33 else "differs")
    assert ground("LBBB", ()).statements[0].agreement == "unknown"


@pytest.mark.parametrize(
    "text", ["Possible LBBB [1]. LBBB [2].", "LBBB [1]. Possible LBBB [2].", "LBBB; possible LBBB."]
)
def test_the_firmer_of_two_mentions_counts(text: str) -> None:
    """Said plainly once, a finding is stated, whatever comes before or after."""
    found = ground(text, EVIDENCE)
    assert [(s.code, s.polarity) for s in found.statements] == [("CLBBB", "present")]
    assert {p for s in found.sentences for _, p in s.statements} <= {"present", "possible"}
    assert ground("No LBBB. Possible LBBB.", EVIDENCE).statements[0].polarity == "possible"


def test_an_answer_against_itself_contradicts() -> None:
    """What is both stated and denied is no agreement with anything, though every neighbour carries it."""
    votes = vote([0.95, 0.93, 0.9], [("CLBBB", "SR"), ("CLBBB", "SR"), ("CLBBB", "NORM")])
    for text in ("LBBB [1]. No LBBB.", "Neither LBBB nor RBBB; LBBB."):
        found = ground(text, EVIDENCE, vote=votes, neighbours=[("CLBBB",)] * 3)
        assert {s.code: s.agreement for s in found.statements}["CLBBB"] == "contradicts"
        assert any("both states and denies" in warning for warning in found.warnings)
    assert ground("LBBB. Possible LBBB.", EVIDENCE, vote=votes).statements[0].agreement == "agrees"


def test_clauses_have_their_own_cases() -> None:
    found = ground("Abnormal ECG: complete LBBB [1]; sinus rhythm [3].", EVIDENCE)
    assert {s.code: s.citations for s in found.statements} == {"CLBBB": ("ptbxl/17",), "SR": ("x-1/a.b",)}


@given(st.text(max_size=400))
def test_any_text_is_read(text: str) -> None:
    """Garbage gives structure without exceptions, and never a case that was not given."""
    found = ground(text, EVIDENCE)
    ids = {e.case_id for e in EVIDENCE}
    assert all(set(s.citations) <= ids for s in found.sentences)
    assert all(s.text.strip() for s in found.sentences)


def test_a_list_of_leads_ends_a_sentence() -> None:
    """Measured findings end in leads; the citations of the next sentence are none of theirs."""
    said = "ST elevation in II, III. ST depression in V5, V6. Abnormal ECG (98 %): LBBB [1]. AV-Block I. Grades [2]."
    assert split_sentences(said) == [
        "ST elevation in II, III.",
        "ST depression in V5, V6.",
        "Abnormal ECG (98 %): LBBB [1].",
        "AV-Block I. Grades [2].",
    ]
