"""Vote, reading and measurements in one probability; what a draft says of who is for a finding; stages; refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgkin.generation.consensus.assembly import Neighbour
from ecgkin.generation.consensus.consensus import write_consensus
from ecgkin.generation.consensus.findings import support, weigh, with_findings
from ecgkin.generation.consensus.phrases import ABSENT, WORDS, capital
from ecgkin.generation.consensus.thresholds import DraftThresholds
from ecgkin.generation.measures import Measurements
from ecgkin.generation.measures.evidence import MeasuredModel
from ecgkin.generation.measures.leads import LeadMeasures
from ecgkin.generation.types.draft import LANGUAGES, Draft, Language
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.statements.catalogue import CODES, SUPERCLASSES
from ecgkin.retrieval.ecg.statements.find import find_statements
from ecgkin.retrieval.search.vote import SUPER, Calibration, Vote, VoteRule, vote

LABELS = (*CODES, *(SUPER + name for name in SUPERCLASSES))
RULE = VoteRule(20, 0.1)
WEIGHED = Calibration(
    "x", RULE, RULE, dict.fromkeys(LABELS, (1.0, 0.0, 0.01)), n_gallery=20, joint=dict.fromkeys(LABELS, (0.5, 0.5, 0.0))
)
LIMITS = DraftThresholds(
    "x",
    dict.fromkeys(CODES, 0.4),
    dict.fromkeys(SUPERCLASSES, 0.4),
    dict.fromkeys(LABELS, 0.4),
    dict.fromkeys(LABELS, 0.3),
)


def plain(**values: object) -> Measurements:
    """An ECG with a level ST in every lead."""
    one = LeadMeasures(0.0, 0.0, 1.0, 0.2, 0.0, 0.0, 0.0, 0.0, 0.3, "positive", 0.005, 9)
    return Measurements(rate_bpm=70.0, qrs_ms=90.0, n_beats=9, leads=dict.fromkeys(LEADS, one), **values)  # type: ignore[arg-type]


def cases(*groups: tuple[int, str], stage: str = "") -> list[Neighbour]:
    codes = [frozenset(said.split()) for n, said in groups for _ in range(n)]
    return [Neighbour(f"x/{i}", 0.9 - 0.001 * i, one, stage=stage) for i, one in enumerate(codes)]  # type: ignore[arg-type]


def heard(found: list[Neighbour], reading: dict[str, float]) -> Vote:
    every = {**dict.fromkeys(LABELS, 0.01), **reading}
    return vote([n.score for n in found], [n.codes for n in found], calibration=WEIGHED, reading=every)


def drafted(found: list[Neighbour], reading: dict[str, float], language: Language = "en", **more: object) -> Draft:
    return write_consensus(heard(found, reading), found, language=language, thresholds=LIMITS, **more)  # type: ignore[arg-type]


@given(st.integers(0, 20), st.floats(0, 1), st.floats(0, 1))
def test_more_evidence_is_more_probable(n: int, low: float, high: float) -> None:
    """More of either witness never lowers the probability; it lies within 0 and 1."""
    low, high = sorted((low, high))
    found, more = cases((n, "AFIB"), (20 - n, "SR")), cases((min(20, n + 1), "AFIB"), (max(0, 19 - n), "SR"))
    p = [heard(found, {"AFIB": read}).statements["AFIB"] for read in (low, high)]
    assert 0 <= p[0] <= p[1] <= 1
    assert heard(more, {"AFIB": low}).statements["AFIB"] >= p[0] - 1e-12


def test_without_a_head_the_vote_stands_alone() -> None:
    found = cases((15, "AFIB"), (5, "SR"))
    alone = vote([n.score for n in found], [n.codes for n in found], calibration=WEIGHED)
    assert not alone.joint and not alone.reading and alone.statements["AFIB"] == alone.cases["AFIB"]
    both = heard(found, {"AFIB": 0.02})
    assert (
        both.joint and both.cases["AFIB"] == alone.cases["AFIB"] and both.statements["AFIB"] < alone.statements["AFIB"]
    )
    assert replace(WEIGHED, joint={}).probabilities(["AFIB"], np.array([0.5]), 20)[0] > 0
    nothing_fitted = vote(
        [n.score for n in found],
        [n.codes for n in found],
        calibration=replace(WEIGHED, joint={}),
        reading={"AFIB": 0.02},
    )
    assert nothing_fitted.statements == alone.statements and not nothing_fitted.joint


def test_who_is_for_it() -> None:
    many, few = cases((18, "AFIB"), (2, "SR")), cases((2, "AFIB"), (18, "SR"))
    said = [support(heard(f, {"AFIB": p}), "AFIB", LIMITS) for f in (many, few) for p in (0.9, 0.02)]
    assert said == ["both", "cases", "reading", "neither"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_disagreement_is_said_and_lowers_confidence(language: Language) -> None:
    """One of the two alone: the words say so, are read back as possible, and never stand plainly."""
    words = WORDS[language]
    for found, read, word in (
        (cases((19, "AFIB"), (1, "SR")), 0.2, "only_cases"),
        (cases((5, "AFIB"), (15, "SR")), 0.9999, "only_reading"),
    ):
        draft = drafted(found, {"AFIB": read, "SR": 0.05}, language)
        (said,) = [s for s in draft.sentences if s.section == "rhythm" and "AFIB" in dict(s.statements)]
        assert words[word] in said.text and said.support == word.removeprefix("only_")
        assert dict(said.statements)["AFIB"] == "possible" and said.citations
        assert ("AFIB", "possible") in {(f.code, f.polarity) for f in find_statements(said.text)}
        assert words["agree"] not in draft.text
    agreed = drafted(cases((19, "AFIB"), (1, "SR")), {"AFIB": 0.98}, language)
    assert words["agree"] in agreed.text and "AFIB" in agreed.codes("present")


def test_a_reading_without_a_case_is_told_as_such() -> None:
    draft = drafted(cases((20, "SR")), {"SR": 0.9, "LVH": 0.9999, "super:HYP": 0.9999})
    (said,) = [s for s in draft.sentences if "LVH" in dict(s.statements) and s.section == "hypertrophy"]
    assert said.basis == "picture" and not said.citations and said.support == "reading"


def test_one_probability_everywhere() -> None:
    """What is stated, what the draft lists and what bars show is one number, measurements included."""
    model = MeasuredModel(1.0, 0.0, {"long_pr": 1.5}, threshold=0.3)
    limits = replace(LIMITS, measured={"1AVB": model})
    found = cases((6, "SR 1AVB"), (14, "SR"))
    measured = Measurements(pr_ms=260.0, n_beats=9)
    votes = heard(found, {"SR": 0.95, "1AVB": 0.3})
    draft = write_consensus(votes, found, thresholds=limits, measurements=measured)
    shown = with_findings(votes, limits, measured)
    assert shown.statements["1AVB"] == draft.probabilities["1AVB"] > votes.statements["1AVB"]
    (item,) = [s for s in draft.statements if s.code == "1AVB"]
    assert item.probability == shown.statements["1AVB"]
    assert list(shown.statements.values()) == sorted(shown.statements.values(), reverse=True)
    assert weigh(votes, thresholds=limits).probabilities["1AVB"] == votes.statements["1AVB"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_stages(language: Language) -> None:
    """Old or recent where the cases agree; neither where they differ, nor for what is no infarction."""
    for stage, word in (("old", ("old", "alter")), ("acute", ("recent", "frischer")), ("", ("", ""))):
        found, reading = cases((20, "SR IMI"), stage=stage), {"IMI": 0.95, "SR": 0.9, "super:MI": 0.95}
        inverted = replace(plain(), leads={n: replace(one, t_mv=-0.3) for n, one in plain().leads.items()})
        draft = drafted(found, reading, language, measurements=inverted if stage == "acute" else plain())
        if stage == "acute":  # the cases are, this ECG shows nothing of it
            assert not {"recent", "frischer"} & set(
                drafted(found, reading, language, measurements=plain()).text.split()
            )
        if stage == "old":  # where ST was not measured, nobody knows
            assert "old" not in drafted(found, reading).text
        said = " ".join(s.text for s in draft.sentences if s.section == "infarction").lower()
        assert "IMI" in draft.codes("present")
        for other in ("old", "recent", "alter ", "frischer"):
            assert (other in said) == (bool(word[0]) and other.strip() == word[LANGUAGES.index(language)]), said
    mixed = [*cases((10, "SR IMI"), stage="old"), *cases((10, "SR IMI"), stage="acute")]
    assert "old" not in drafted(mixed, {"IMI": 0.95, "SR": 0.9, "super:MI": 0.95}, measurements=plain()).text


def test_old_needs_cited_cases_that_say_old() -> None:
    """Cases further away say old; the three that are cited leave the age undetermined."""
    reading = {"IMI": 0.95, "SR": 0.9, "super:MI": 0.95}
    for undetermined, said in ((0, True), (1, True), (2, False), (3, False)):
        every = [replace(n, stage="" if i < undetermined else "old") for i, n in enumerate(cases((20, "SR IMI")))]
        draft = drafted(every, reading, measurements=plain())
        (line,) = [s for s in draft.sentences if s.section == "infarction"]
        assert set(line.citations) == {"x/0", "x/1", "x/2"}
        assert ("old" in line.text.lower()) is said, (undetermined, line.text)


def test_reports_that_say_nothing_stand_behind() -> None:
    """Of equally similar cases those with a report are cited."""
    silent = [replace(n, score=0.9, reported=i >= 3) for i, n in enumerate(cases((6, "SR NORM")))]
    rest = [replace(n, case_id=f"y/{i}", score=0.5) for i, n in enumerate(cases((14, "SR NORM")))]
    draft = drafted([*silent, *rest], {"SR": 0.9, "NORM": 0.9, "super:NORM": 0.9})
    (said,) = [s for s in draft.sentences if s.section == "rhythm"]
    assert set(said.citations) == {"x/3", "x/4", "x/5"}


def test_a_refusal_has_no_bars_and_names_the_nearest() -> None:
    draft = drafted(cases((20, "AFIB")), {"AFIB": 0.9}, nothing_similar=True, k=3)
    assert draft.refusal and not draft.probabilities and not draft.calibrated
    assert [item.case_id for item in draft.evidence] == ["x/0", "x/1", "x/2"]


def test_numbers_are_those_of_cards() -> None:
    """With ten cards on the page, [n] is card n, and what lies beyond goes on from eleven."""
    found = cases((10, "SR"), (3, "SR LVH"), (7, "SR"))
    draft = drafted(found, {"SR": 0.9, "LVH": 0.99999, "super:HYP": 0.9999}, shown=[f"x/{i}" for i in range(10)])
    numbers = {item.case_id: item.number for item in draft.evidence}
    assert all(numbers[f"x/{i}"] == i + 1 for i in range(10) if f"x/{i}" in numbers)
    assert [numbers[f"x/{i}"] for i in (10, 11, 12)] == [11, 12, 13]
    assert "[11, 12, 13]" in draft.text
    # Cards stand in the order of the page, whatever the rank of a case among those that vote.
    turned = drafted(found, {"SR": 0.9}, shown=[f"x/{i}" for i in reversed(range(10))])
    assert {item.number for item in turned.evidence if item.case_id == "x/9"} <= {1}
    assert [item.number for item in turned.evidence] == sorted(item.number for item in turned.evidence)


def test_a_fast_uneven_rhythm_without_p_is_no_sinus_tachycardia() -> None:
    """Neighbours in sinus rhythm say nothing against what the intervals and the missing P wave show."""
    near = cases((20, "SR NORM"))
    fast = replace(plain(rr_variation=0.04, p_waves="absent"), rate_bpm=130.0)
    text = drafted(near, {"SR": 0.9, "STACH": 0.5}, measurements=fast).text.lower()
    assert "sinus" not in text
    for known in (replace(fast, rr_variation=0.02), replace(fast, p_waves="present")):
        assert "sinus tachycardia" in drafted(near, {"SR": 0.9, "STACH": 0.5}, measurements=known).text.lower()


@pytest.mark.parametrize("code", ["PACE", "CLBBB", "WPW"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_one_in_twenty_paced_is_enough_to_deny_nothing(code: str, language: Language) -> None:
    """Where any witness gives so much to pacing, LBBB or WPW, neither ST-T nor infarction is denied."""
    found = cases((20, "SR LAFB"))
    denied = {ABSENT[language][section].removesuffix(".") for section in ("st_t", "infarction")}
    sure = drafted(found, {"SR": 0.9, "LAFB": 0.9, "super:CD": 0.9, "NORM": 0.01, code: 0.02}, language)
    assert all(words in sure.text for words in denied)
    unsure = drafted(found, {"SR": 0.9, "LAFB": 0.9, "super:CD": 0.9, "NORM": 0.01, code: 0.06}, language)
    assert not any(words in unsure.text for words in denied)
    assert capital(WORDS[language]["maybe_veiled"]) in unsure.text


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_disagreement_is_told_at_length_once(language: Language) -> None:
    """The reading alone speaks for three findings: the first says so in full, the others in short."""
    found = cases((20, "SR"))
    reading = {"SR": 0.9, "AFIB": 0.01, "IMI": 0.9999, "LAFB": 0.9999, "LVH": 0.9999}
    supers = {"super:MI": 0.999, "super:CD": 0.999, "super:HYP": 0.999}
    text = drafted(found, {**reading, **supers}, language).text
    words = WORDS[language]
    assert text.count(words["only_reading"]) == 1 and text.count(words["again_reading"]) == 2
    assert text.index(words["only_reading"]) < text.index(words["again_reading"])
