"""The consensus drafter: wording, sections, contradictions, abstention, citations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgkin.generation.consensus.assembly import Neighbour
from ecgkin.generation.consensus.consensus import ABSENT_BELOW, CITED, axis_phrase, write_consensus
from ecgkin.generation.consensus.phrases import (
    ABSENT,
    ACUTE,
    FINDINGS,
    MAY_BE_ACUTE,
    PLAIN_FROM,
    PROBABLE_FROM,
    SHOWN_BY,
    TITLES,
    UNUSUAL,
    WALLS,
    WORDS,
    alternative,
    capital,
    finding,
    polarity,
)
from ecgkin.generation.consensus.sections import EXCLUSIVE, RHYTHMS, SECTION_OF, SECTIONS, settle
from ecgkin.generation.consensus.thresholds import FLOOR, DraftThresholds, shipped_thresholds
from ecgkin.generation.measures import Measurements
from ecgkin.generation.measures.evidence import MeasuredModel
from ecgkin.generation.measures.leads import LeadMeasures
from ecgkin.generation.measures.p_train import PTrain
from ecgkin.generation.measures.pacing import Pacing
from ecgkin.generation.prompt.grounding import ground, without_marks
from ecgkin.generation.research.fit.thresholds import fit_thresholds
from ecgkin.generation.types.draft import DISCLAIMER, LANGUAGES, Draft, Language
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.statements.catalogue import CODES
from ecgkin.retrieval.ecg.statements.find import find_statements
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.errors import EncoderMismatchError, ModelError, QueryError
from ecgkin.retrieval.search.vote import vote


def neighbours(*groups: tuple[int, str]) -> list[Neighbour]:
    """`(3, "SR NORM")` stands for three cases with these statements, nearest first."""
    labels = [frozenset(codes.split()) for n, codes in groups for _ in range(n)]
    return [Neighbour(f"x/{i}", 0.9 - 0.001 * i, codes) for i, codes in enumerate(labels)]


def drafted(found: list[Neighbour], language: Language = "en", **options: object) -> Draft:
    votes = vote([n.score for n in found], [n.codes for n in found])
    return write_consensus(votes, found, language=language, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("code", CODES)
def test_every_finding_is_read_back(code: str, language: Language) -> None:
    """What the drafter writes, the statement search finds, with the polarity that was meant, and nothing else."""
    for p in (0.9, 0.5, 0.2, 0.06):
        found = {(f.code, f.polarity) for f in find_statements(capital(finding(code, language, p)) + ".")}
        assert found == {(code, polarity(p))}
    for p, differential in ((0.3, True), (0.9, False), (0.06, True)):
        text = capital(alternative(code, language, p, differential=differential)) + "."
        assert {(f.code, f.polarity) for f in find_statements(text)} == {(code, "possible")}, text


@pytest.mark.parametrize("language", LANGUAGES)
def test_denials_are_read_back(language: Language) -> None:
    """ "No evidence of ..." is read as absent for every statement."""
    for code in CODES:
        denied = capital(WORDS[language]["no"].format(finding=finding(code, language))) + "."
        assert {(f.code, f.polarity) for f in find_statements(denied)} == {(code, "absent")}, denied


@pytest.mark.parametrize("language", LANGUAGES)
def test_other_words_say_no_finding(language: Language) -> None:
    """Titles, negations, abstentions and axes are no findings."""
    texts = [f"{title}:" for title in TITLES[language].values()] + list(ABSENT[language].values())
    texts += [text for name, text in WORDS[language].items() if name != "otherwise"]
    texts += [axis_phrase(a, language) for a in (-150, -60, 0, 45, 80, 100, 150)]
    for text in texts:
        assert all(f.polarity == "absent" for f in find_statements(text)), text
    assert set(FINDINGS[language]) == set(CODES) == set(SECTION_OF)


def test_a_clear_case_in_both_languages() -> None:
    """Sections in order, cited and with probabilities; the status is preliminary."""
    found = neighbours((9, "SR CLBBB"), (1, "SR LVH"))
    english, german = drafted(found), drafted(found, "de")
    assert english.text.startswith("Rhythm: Sinus rhythm (100 %) [1, 2, 3].\n")
    assert "Complete left bundle branch block (9" in english.text
    assert "Kompletter Linksschenkelblock (9" in german.text
    assert "Infarction: Not to be judged: the usual criteria do not hold" in english.text
    assert "Infarkt: Nicht zu beurteilen: bei anderem Erregungsweg" in german.text
    assert [s.name for s in english.sections] == list(SECTIONS)
    assert english.status == "preliminary" and english.disclaimer == DISCLAIMER["en"]
    assert "does not replace a clinician" in english.as_dict()["disclaimer"]
    assert set(english.codes()) == set(german.codes()) == {"SR", "CLBBB"}
    for sentence in english.sentences:
        assert sentence.citations and sentence.basis == "cases" and 0 < (sentence.probability or 0) <= 1


def test_contradictions_are_settled() -> None:
    """One rhythm; no normal ECG beside a block; no P wave finding in fibrillation."""
    mixed = drafted(neighbours((6, "AFIB CLBBB 1AVB"), (5, "SR NORM"), (5, "SR NORM CLBBB")))
    assert len(RHYTHMS & set(mixed.codes("present"))) <= 1 and "Differential diagnosis: possible" in mixed.text
    assert not {"NORM", "CLBBB"} <= set(mixed.codes())
    fibrillation = drafted(neighbours((9, "AFIB 1AVB LAO/LAE PAC"), (1, "SR")))
    assert set(fibrillation.codes()) == {"AFIB"}


@pytest.mark.parametrize(("normal", "said"), [(9, False), (11, False), (16, True)])
def test_otherwise_normal_is_said_from_a_probability_on(normal: int, said: bool) -> None:
    """Beside extrasystoles the ECG is called otherwise normal only where that is probable, from 60 %."""
    rare = ("IMI", "LVH", "CLBBB", "ISCAL", "LAFB", "RVH", "WPW", "ASMI")
    rest = [(2, f"SR {rare[i]}") for i in range((25 - normal) // 2)]
    draft = drafted(neighbours((normal, "SR NORM PVC"), *rest))
    assert "PVC" in draft.codes() and draft.probabilities["NORM"] < PLAIN_FROM
    assert (draft.probabilities["NORM"] >= PROBABLE_FROM) is said
    assert ("therwise normal ECG" in draft.text) is said and ("NORM" in draft.codes()) is said
    conclusion = draft.sections[-1]
    # Else the conclusion names what was found, and how probable it is that anything is wrong.
    assert ("premature complexes" in conclusion.sentences[-1].text) is not said and not conclusion.abstained


@given(st.dictionaries(st.sampled_from(CODES), st.floats(0.01, 1.0), max_size=20))
@settings(max_examples=200, deadline=None)
def test_settled_statements_can_stand_together(candidates: dict[str, float]) -> None:
    """Whatever the candidates, no two of a group are left, and every one is either kept or dropped with a reason."""
    settled = settle(candidates)
    kept, alternatives, dropped = settled.kept, settled.alternatives, settled.dropped
    assert len(RHYTHMS & kept.keys()) <= 1
    assert all(len(group & kept.keys()) <= 1 for group in EXCLUSIVE)
    assert set(kept) | set(dropped) | set(alternatives) == set(candidates) and all(dropped.values())
    assert len(kept) + len(dropped) + len(alternatives) == len(candidates)
    assert not alternatives.keys() & {"NORM"} and all(0 < p <= 1 for p in alternatives.values())
    assert not ("NORM" in kept and {"IMI", "CLBBB", "LVH", "AFIB"} & kept.keys())
    assert settle(kept).kept == kept


def test_of_two_names_for_one_thing_the_diagnosis_is_said() -> None:
    """Unless the other is twice as probable; of two that are no diagnosis the likelier."""
    assert set(settle({"NDT": 0.31, "NT_": 0.6}).kept) == {"NDT"}
    assert set(settle({"NDT": 0.29, "NT_": 0.6}).kept) == {"NT_"}
    assert set(settle({"NST_": 0.4, "STD_": 0.7}).kept) == {"NST_"}
    assert set(settle({"NST_": 0.2, "STD_": 0.78}).kept) == {"STD_"}
    assert set(settle({"LOWT": 0.4, "INVT": 0.5}).kept) == {"INVT"}


@pytest.mark.parametrize(
    ("axis", "kept"), [(-69.0, {"LAFB"}), (-20.0, {"LAFB"}), (-100.0, {"LAFB", "LPFB"}), (100.0, {"LPFB"})]
)
def test_a_left_axis_is_no_left_posterior_fascicular_block(axis: float, kept: set[str]) -> None:
    settled = settle({"LAFB": 0.6, "LPFB": 0.8}, {"axis_deg": axis})
    assert set(settled.kept) | set(settled.alternatives) == kept


def test_measurements_rule_out_and_are_said_once() -> None:
    """No bradycardia at 80/min, no PR in fibrillation, one rate in the text."""
    values = Measurements(rate_bpm=80.0, pr_ms=160.0, qrs_ms=90.0, qt_ms=380.0, qtc_ms=438.0, axis_deg=40.0, n_beats=13)
    slow = drafted(neighbours((6, "SBRAD"), (4, "SR NORM")), measurements=values)
    assert "SBRAD" not in slow.codes() and slow.text.count("80/min") == 1
    assert "Normal axis (40°), PR 160 ms, QRS 90 ms, QT/QTc 380/438 ms." in slow.text
    flimmer = drafted(neighbours((10, "AFIB")), "de", measurements=values)
    assert "Vorhofflimmern, Kammerfrequenz 80/min" in flimmer.text and "PQ" not in flimmer.text
    fast = drafted(neighbours((10, "SR")), measurements=Measurements(rate_bpm=120.0, n_beats=20))
    assert fast.codes("present") == ("STACH",) and fast.citations
    wide = drafted(neighbours((10, "SR NORM")), measurements=Measurements(qrs_ms=150.0, pr_ms=250.0, n_beats=9))
    assert "NORM" not in wide.codes() and "PR 250 ms (long), QRS 150 ms (wide)" in wide.text
    assert set(drafted(neighbours((9, "PACE 1AVB CLBBB"), (1, "SR"))).codes()) == {"PACE"}
    (sentence,) = [s for s in slow.sentences if s.section == "axis_intervals"]
    assert sentence.basis == "measurement" and not sentence.citations


def test_thin_evidence_is_left_open_section_by_section() -> None:
    """A finding that one in four has is neither stated nor denied."""
    draft = drafted(neighbours((8, "SR"), (3, "SR LVH"), (3, "SR IMI")))
    by_name = {section.name: section for section in draft.sections}
    assert by_name["hypertrophy"].abstained and not by_name["hypertrophy"].sentences
    assert "not settled" in by_name["infarction"].abstained
    assert by_name["conduction"].sentences and not by_name["conduction"].abstained
    assert ABSENT_BELOW < 2 / 13  # two of thirteen is what was left open
    few = drafted(neighbours((3, "SR NORM")))
    assert not few.codes() and all("too few" in s.abstained or s.name == "axis_intervals" for s in few.sections)


def test_refusal_where_nothing_is_near() -> None:
    """No sentence, no statement, a text that says so."""
    found = neighbours((10, "SR NORM"))
    draft = drafted(found, "de", nothing_similar=True)
    assert draft.refusal == draft.text == WORDS["de"]["nothing_similar"]
    assert not draft.sentences and not draft.statements and draft.evidence
    votes = vote([], [])
    assert write_consensus(votes, []).refusal


def test_questions() -> None:
    """Yes with the cases that have it, no with cases that have not, neither where it is open."""
    yes = drafted(neighbours((9, "AFIB"), (1, "SR")), question="Is there atrial fibrillation?")
    assert yes.text.startswith("Rhythm: Atrial fibrillation (") and yes.codes("present") == ("AFIB",)
    no = drafted(neighbours((1, "SR CLBBB"), (9, "SR")), "de", question="Besteht ein Hinterwandinfarkt?")
    assert no.codes("absent") == ("IMI",) and "Inferiorer Myokardinfarkt nicht nachweisbar (100 %)" in no.text
    unsure = drafted(neighbours((2, "AFIB"), (8, "SR")), question="AFIB?")
    assert not unsure.codes() and "Not settled" in unsure.text and "any finding: 21 %" in unsure.text
    report = drafted(neighbours((10, "SR NORM")), question="Please write the report." + " why?" * 20_000)
    assert [s.name for s in report.sections] == list(SECTIONS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_questions_are_not_answered_by_no_against_what_was_measured(language: Language) -> None:
    """Cases without a statement are no evidence where measuring finds it, or did not look; alarms are told beside."""
    near = neighbours((20, "SR NORM"))
    limits = DraftThresholds("x", default=0.3)

    def asked(question: str, measurements: Measurements | None) -> Draft:
        return drafted(near, language, thresholds=limits, measurements=measurements, question=question)

    def at(mv: float) -> Measurements:
        level = {name: mv if name in ("V2", "V3") else 0.0 for name in LEADS}
        leads = {name: lead(st_j_mv=one, st_60_mv=one) for name, one in level.items()}
        return measured(leads=leads, sex="M", p_waves="present", regular=True)

    raised = asked("Is there ST elevation?", at(0.4))
    assert "STE_" not in raised.codes("absent") and "V2, V3" in raised.text
    assert "V2, V3" in asked("Is there atrial fibrillation?", at(0.4)).text
    assert not asked("Is there ST elevation?", None).codes("absent")
    level = asked("Is there ST elevation?", at(0.0))
    (said,) = level.sentences
    assert level.codes("absent") == ("STE_",) and said.basis == "measurement" and said.probability is None
    unclear = replace(at(0.0), p_waves="unclear")
    assert asked("Is there atrial fibrillation?", at(0.0)).codes("absent") == ("AFIB",)
    assert not asked("Is there atrial fibrillation?", unclear).codes("absent")
    assert not asked("Is there a long QT interval?", replace(at(0.0), qtc_ms=510.0)).codes("absent")


@given(st.lists(st.sets(st.sampled_from(CODES), max_size=6), min_size=5, max_size=40), st.sampled_from(LANGUAGES))
@settings(max_examples=60, deadline=None)
def test_any_neighbourhood_gives_a_grounded_draft(labels: list[set[str]], language: Language) -> None:
    """The text, read back, says what the structure says; what is cited was given and carries it."""
    found = [Neighbour(f"x/{i}", 0.9 - 0.01 * i, frozenset(codes)) for i, codes in enumerate(labels)]
    draft = drafted(found, language)
    given_ids = {e.case_id for e in draft.evidence}
    assert [e.number for e in draft.evidence] == list(range(1, len(draft.evidence) + 1))
    assert set(draft.citations) <= given_ids and not draft.unknown_citations
    read = ground(draft.text, draft.evidence)
    assert {s.code for s in read.statements if s.polarity != "absent"} == set(draft.codes())
    assert not read.unknown_citations
    by_id = {n.case_id: n.codes for n in found}
    for statement in draft.statements:
        if statement.polarity != "absent" and statement.code != "STACH":
            assert statement.supported_by == statement.citations != ()
            assert all(statement.code in by_id[case] for case in statement.citations)
            assert len(statement.citations) <= CITED
    assert "@" not in draft.text and "nan" not in without_marks(draft.text).lower()


def test_the_draft_never_reads_reports() -> None:
    """Neighbours have no text at all, so that none can steer the draft; codes that a report names only veto."""
    assert set(Neighbour.__dataclass_fields__) == {"case_id", "score", "codes", "named", "stage", "reported"}


def test_thresholds_find_the_best_f1(tmp_path: Path) -> None:
    """A column that is told apart at 0.6 gets about that; file and encoder are checked."""
    rng = np.random.default_rng(0)
    truth = rng.random((2000, 3)) < [0.5, 0.1, 0.3]
    shares = np.where(truth, 0.6, 0.2) + rng.uniform(-0.15, 0.15, truth.shape)
    shares[:, 2] = rng.random(2000)  # says nothing: best F1 is to draft nearly all
    thresholds, f1 = fit_thresholds(shares, truth)
    assert 0.35 <= thresholds[0] <= 0.45 and 0.35 <= thresholds[1] <= 0.45 and thresholds[2] < 0.35
    assert 0.75 < f1 < 0.9
    model = MeasuredModel(1.0, 0.0, {"slow": 1.5}, {"rate_bpm": -0.5}, 0.4)
    made = DraftThresholds(
        "abc", {"SR": 0.5}, {"MI": 0.3}, {"SR": 0.6}, {"super:MI": 0.2}, {"SBRAD": model}, fitted_on="made",
        f1={"statements": 0.5},
    )  # fmt: skip
    made.save(tmp_path / "t.json")
    assert DraftThresholds.load(tmp_path / "t.json", "abc") == made
    with pytest.raises(EncoderMismatchError):
        DraftThresholds.load(tmp_path / "t.json", "other")
    for wrong in ("{}", (tmp_path / "t.json").read_text().replace('"slow"', '"sideways"')):
        (tmp_path / "t.json").write_text(wrong)
        with pytest.raises(ModelError):
            DraftThresholds.load(tmp_path / "t.json")
    with pytest.raises(QueryError):
        fit_thresholds(shares, truth[:, :2])
    assert shipped_thresholds(HashingEncoder()) == DraftThresholds()


def test_thresholds_are_on_shares() -> None:
    """Each statement by its own, a diagnostic one with its superclass, the nearest where only that passes."""
    found = neighbours((4, "SR IMI"), (6, "SR"))
    votes = vote([n.score for n in found], [n.codes for n in found])
    low = DraftThresholds("x", {"IMI": 0.3, "SR": 0.5}, {"MI": 0.3})
    assert set(low.passing(votes).statements) == {"SR", "IMI"} and low.supports(votes, "IMI")
    assert set(DraftThresholds("x", {"IMI": 0.3, "SR": 0.5}, {"MI": 0.6}).passing(votes).statements) == {"SR"}
    filled = DraftThresholds("x", {"IMI": 0.9, "SR": 0.5}, {"MI": 0.3}).passing(votes)
    assert set(filled.statements) == {"SR", "IMI"} and filled.margins["IMI"] < 0 < filled.superclass_margins["MI"]
    lowest = DraftThresholds("x", {"IMI": 0.01}, {"MI": 0.01})
    assert "IMI" in lowest.passing(votes).statements
    assert "IMI" not in lowest.passing(votes, carried=["SR"]).statements
    rare = neighbours((1, "SR PMI"), (49, "SR"))
    votes = vote([n.score for n in rare], [n.codes for n in rare])
    assert 0 < votes.statements["PMI"] < FLOOR
    assert "PMI" not in DraftThresholds("x", {"PMI": 0.001}, {"MI": 0.001}).passing(votes).statements


def test_what_excludes_is_said_as_differential_diagnosis() -> None:
    """Two rhythms are never stated side by side; both are read back, the weaker as possible."""
    both = drafted(neighbours((8, "AFIB"), (5, "AFLT")), thresholds=DraftThresholds("x", {}, default=0.2))
    assert "robable atrial fibrillation (" in both.text
    assert "Differential diagnosis: possible atrial flutter (" in both.text
    assert {s.code: s.polarity for s in both.statements}["AFLT"] == "possible"
    assert "Vorhofflattern" in drafted(neighbours((6, "AFIB"), (4, "AFLT")), "de").text
    sinus = drafted(neighbours((6, "SR"), (4, "SARRH")))
    assert "Possible sinus arrhythmia (" in sinus.text and "ifferential" not in sinus.text
    settled = settle({"IMI": 0.5, "ILMI": 0.4, "NDT": 0.3, "NT_": 0.2, "ISC_": 0.6, "ISCAL": 0.2})
    assert set(settled.kept) == {"IMI", "NDT", "ISC_"} and set(settled.alternatives) == {"ILMI"}
    asked = drafted(neighbours((6, "AFIB"), (4, "AFLT")), question="Is there atrial flutter?")
    assert asked.codes("possible") == ("AFLT",)


def test_wording_follows_the_probability() -> None:
    """Three firm steps for a finding, nothing below 15 %, three for the conclusion; a plainly normal ECG leaves no
    section open.
    """
    limits = DraftThresholds("x", {}, default=0.05)
    words = {
        40: "Infarction: Inferior myocardial infarction (",
        30: "Infarction: Probable inferior myocardial infarction (",
        15: "Infarction: Possible inferior myocardial infarction (",
        4: "Infarction: No sign of infarction (",
    }
    for n, said in words.items():
        draft = drafted(neighbours((n, "SR IMI"), (50 - n, "SR")), thresholds=limits)
        assert said in draft.text, draft.text
        assert ("Conclusion: Abnormal ECG (100 %)" in draft.text) == (n > 4)
        assert "annot exclude" not in draft.text
    for n, said in ((20, "Borderline ECG (abnormal with "), (35, "Probably abnormal ECG ("), (45, "Abnormal ECG (")):
        mixed = DraftThresholds("x", {"NORM": 0.9}, {"NORM": 0.9}, default=0.05)
        assert said in drafted(neighbours((n, "SR IMI"), (50 - n, "SR NORM")), thresholds=mixed).text
    normal = DraftThresholds("x", {"NORM": 0.5}, {"NORM": 0.5}, default=0.4)
    open_elsewhere = drafted(neighbours((40, "SR NORM"), (10, "SR CLBBB")), thresholds=normal)
    assert "No conduction disturbance (" in open_elsewhere.text and "Normal ECG (" in open_elsewhere.text
    beside = drafted(neighbours((40, "SR"), (10, "SR CLBBB")), thresholds=normal)
    assert "Conduction: Not settled by the similar cases (any finding: " in beside.text
    many = drafted(neighbours((20, "SR LVH LAO/LAE RAO/RAE VCLVH HVOLT SEHYP")), thresholds=limits)
    assert len([s for s in many.sentences if s.section == "hypertrophy"]) == 3


def test_a_rhythm_is_named() -> None:
    """The likeliest one even below its threshold, what passed beside it; nothing where none is likely."""
    limits = DraftThresholds("x", {"SR": 0.6, "SARRH": 0.2}, default=0.5)
    text = drafted(neighbours((25, "SR"), (15, "SARRH"), (12, "AFIB")), thresholds=limits).text
    assert text.startswith("Rhythm: Possible sinus rhythm (") and "Possible sinus arrhythmia (" in text
    none = drafted(neighbours((10, "SR"), (10, "AFIB"), (10, "PACE"), (10, "AFLT")), thresholds=limits)
    assert not RHYTHMS & set(none.codes())


def test_a_measurement_has_its_say() -> None:
    """A PR of 260 ms states the block that one neighbour in ten has; a missing one leaves it to the vote."""
    found = neighbours((2, "SR 1AVB"), (18, "SR"))
    model = MeasuredModel(1.0, 0.0, {"long_pr": 1.5}, threshold=0.4)
    limits = DraftThresholds("x", {"SR": 0.5, "1AVB": 0.3}, {"CD": 0.3}, measured={"1AVB": model})
    long = drafted(found, thresholds=limits, measurements=Measurements(pr_ms=260.0, n_beats=9))
    assert "1AVB" in long.codes() and long.probabilities["1AVB"] > 0.8
    (said,) = [s for s in long.sentences if ("1AVB", "present") in s.statements and s.section == "conduction"]
    assert said.basis == "cases" and len(said.citations) == 2
    alone = drafted(neighbours((20, "SR")), thresholds=limits, measurements=Measurements(pr_ms=290.0, n_beats=9))
    (said,) = [s for s in alone.sentences if s.section == "conduction"]
    assert said.basis == "measurement" and said.statements == (("1AVB", "possible"),) and not said.citations
    for values in (None, Measurements(pr_ms=160.0, n_beats=9), Measurements(rate_bpm=70.0, n_beats=9)):
        assert "1AVB" not in drafted(found, thresholds=limits, measurements=values).codes()


@given(st.floats(0, 1), st.floats(-50, 400), st.floats(-50, 400))
def test_more_excess_is_more_probable(share: float, one: float, other: float) -> None:
    model = MeasuredModel(0.8, -0.2, {"long_pr": 1.2})
    low, high = (model.probability(share, {"pr_ms": v}) for v in sorted((one, other)))
    assert 0 < low <= high < 1
    missing = MeasuredModel(0.8, -0.2, {"long_pr": 1.2}, {"pr_ms": -1.0})
    assert missing.probability(share, {"qrs_ms": 100.0}) <= model.probability(share, {"qrs_ms": 100.0})


def measured(**values: object) -> Measurements:
    """Numbers of an unremarkable ECG, changed where named."""
    usual: dict[str, object] = {
        "rate_bpm": 75.0, "rr_variation": 0.02, "pr_ms": 160.0, "qrs_ms": 90.0, "qt_ms": 380.0, "qtc_ms": 425.0,
        "qtc_fridericia_ms": 409.0, "axis_deg": 40.0, "n_beats": 12, "p_waves": "present", "regular": True,
        "rr_ms": (800.0,) * 11,
    }  # fmt: skip
    return Measurements(**{**usual, **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(("code", "kept"), [("AFLT", False), ("AFIB", False), ("SR", True)])
def test_where_no_p_wave_leads_pr_is_not_handed_on(code: str, kept: bool) -> None:
    """Neither in words nor among the values that reports, FHIR and HL7 take from a draft."""
    uneven: dict[str, object] = {
        "rr_variation": 0.2,
        "regular": False,
        "p_waves": "absent",
        "rr_ms": (600.0, 950.0) * 5,
    }
    uneven = {} if kept else uneven
    found = measured(**{"pr_ms": 150.0, **uneven})
    draft = drafted(neighbours((40, code)), measurements=found)
    assert ("pr_ms" in draft.measurements) is kept, draft.text
    assert ("PR 150" in draft.text) is kept
    assert draft.measurements["qrs_ms"] == 90.0


def lead(**values: float) -> LeadMeasures:
    """A lead with R of 1 mV and T of 0.3 mV, changed where named."""
    usual = dict.fromkeys(("q_mv", "q_ms", "s_mv", "r2_mv", "st_j_mv", "st_60_mv", "st_80_mv"), 0.0)
    usual |= {"r_mv": 1.0, "t_mv": 0.3, "noise_mv": 0.005, **values}
    return LeadMeasures(**usual, t_polarity="positive", n_beats=10)


def test_measured_danger_opens_the_conclusion() -> None:
    """Neighbours that are all normal do not hide a QTc of 577 ms or ST elevation, and no negative contradicts them."""
    normal = neighbours((40, "SR NORM"))
    long = drafted(normal, measurements=measured(qt_ms=600.0, qtc_ms=577.0, qtc_fridericia_ms=580.0))
    first = next(s for s in long.sentences if s.section == "conclusion")
    assert "QTc 577 ms" in first.text and first.basis == "measurement"
    assert "NORM" not in long.codes() and "No ST-T abnormality" not in long.text
    assert [f.code for f in long.flags] == ["qtc_above_500"] and "Drew 2010" in long.flags[0].text
    up = {name: lead(st_j_mv=0.25, st_60_mv=0.3) for name in ("II", "III", "aVF")}
    raised = drafted(normal, "de", measurements=measured(leads=up))
    assert "ST-Hebung in II, III, aVF" in raised.text and raised.flags[0].severity == "urgent"
    assert "Keine ST-T" not in raised.text and "Kein Anhalt für Infarkt" not in raised.text
    assert "ormales EKG" not in raised.text
    plain = drafted(normal, measurements=measured(leads={name: lead() for name in LEADS}))
    assert "Normal ECG (" in plain.text and "No ST-T abnormality (" in plain.text and plain.flags == ()


@pytest.mark.parametrize(("language", "words"), [("en", "borderline"), ("de", "grenzwertig")])
def test_a_qtc_above_the_limit_is_not_normal(language: Language, words: str) -> None:
    """From 460 ms on neither the ECG nor ST-T is called normal, and the reason is the value; other sections stay."""
    for qtc, normal in ((458.0, True), (462.0, False), (478.0, False)):
        values = measured(qtc_ms=qtc, leads={name: lead() for name in LEADS})
        draft = drafted(neighbours((40, "SR NORM")), language, measurements=values)
        by_name = {section.name: section for section in draft.sections}
        assert ("NORM" in draft.codes(), f"{qtc:.0f} ms ({words})" in draft.text) == (normal, not normal)
        for name in ("st_t", "conclusion"):
            assert (f"(QTc {qtc:.0f} ms)" in by_name[name].abstained) is not normal, draft.text
        assert by_name["infarction"].sentences
        assert (draft.probabilities["NORM"] > 0.8, draft.probabilities["NORM"] < 0.2) == (normal, not normal)
    long = drafted(neighbours((40, "SR NORM")), language, measurements=measured(qtc_ms=482.0))
    assert words not in long.text and f"482 ms ({WORDS[language]['long']})" in long.text
    wide = drafted(neighbours((40, "SR NORM")), language, measurements=measured(qrs_ms=129.0))
    assert "(QRS 129 ms)" in wide.sections[-1].abstained


def test_no_negative_under_pacing() -> None:
    """Spikes before every beat: paced, and nothing is said about conduction, ST-T or infarction."""
    spikes = Pacing(tuple(float(i) for i in range(10)), 1.0, 0.0, 0.05)
    paced = drafted(neighbours((40, "SR")), measurements=measured(qrs_ms=160.0, p_waves="absent", pacing=spikes))
    assert "PACE" in paced.codes() and not {"CLBBB", "IVCD"} & set(paced.codes())
    assert not any(words in paced.text for words in ("No conduction", "No ST-T", "No sign of infarction"))
    by_vote = drafted(neighbours((30, "SR"), (12, "PACE")))
    assert not any(words in by_vote.text for words in ("No ST-T", "No sign of infarction"))


def test_a_refusal_still_measures() -> None:
    """Nothing similar: no vote-based sentence, but flags and numbers."""
    draft = drafted(
        neighbours((40, "SR NORM")), measurements=measured(rate_bpm=33.0, rr_ms=(1800.0,) * 5), nothing_similar=True
    )
    assert draft.refusal and draft.flags[0].code == "rate_below_40" and not draft.sentences
    assert "Rate 33/min" in draft.text and "QRS 90 ms" in draft.text


def test_a_report_vetoes_its_case() -> None:
    """A case whose report names ST depression is not cited for "No ST-T abnormality"."""
    nearest = Neighbour("y/0", 0.99, frozenset({"SR", "NORM"}), frozenset({"STD_"}))
    draft = drafted([nearest, *neighbours((30, "SR NORM"))])
    (said,) = (s for s in draft.sentences if s.text.startswith("No ST-T"))
    assert "y/0" not in said.citations and len(said.citations) == CITED


def test_a_section_says_what_was_measured_in_it() -> None:
    """Flags stand in their sections too; where one only keeps a section open, the reason names it."""
    down = {name: lead(st_j_mv=-0.15, st_60_mv=-0.15, st_80_mv=-0.15) for name in ("V4", "V5", "V6")}
    flat = {name: lead() for name in LEADS}
    draft = drafted(neighbours((40, "SR NORM")), measurements=measured(leads={**flat, **down}))
    by_name = {section.name: section for section in draft.sections}
    assert [s.text for s in by_name["st_t"].sentences] == ["ST depression in V4, V5, V6."]
    assert by_name["infarction"].abstained == "left open (ST depression in V4, V5, V6)"
    slow = drafted(neighbours((40, "SR NORM")), measurements=measured(qrs_ms=114.0, pr_ms=212.0, leads=flat))
    assert "Conduction: Left open (QRS 114 ms; PR 212 ms)." in slow.text
    twice = drafted(neighbours((40, "SR STD_")), measurements=measured(leads={**flat, **down}))
    (line,) = [s.text for s in twice.sentences if s.section == "st_t"]
    assert line.startswith("ST depression in V4, V5, V6 (")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_conclusion_says_what_raised_st_may_mean(language: Language) -> None:
    """Where no infarction is stated over that wall; a stated one is not said a second time, and comes first."""
    may_be = MAY_BE_ACUTE[language].format(wall=WALLS[language]["inferior"])
    up = {name: lead(st_j_mv=0.25, st_60_mv=0.3) for name in ("II", "III", "aVF")}
    leads = {**{name: lead() for name in LEADS}, **up}
    limits = DraftThresholds("x", default=0.3)
    other = drafted(neighbours((20, "SR ASMI")), language, thresholds=limits, measurements=measured(leads=leads))
    first = next(s for s in other.sentences if s.section == "conclusion")
    assert may_be in first.text and first.basis == "measurement"
    both = neighbours((8, "SR ASMI IMI"), (12, "SR ASMI"))
    named = drafted(both, language, thresholds=limits, measurements=measured(leads=leads))
    conclusion = [s for s in named.sentences if s.section == "conclusion"]
    assert may_be not in named.text
    assert [code for code, _ in conclusion[-1].statements] == ["IMI", "ASMI"]


def test_a_block_is_no_fibrillation_and_danger_stands_in_the_conclusion() -> None:
    """P waves that QRS does not follow rule fibrillation out; an excluded WPW is named; a flagged ECG is not normal."""
    limits = DraftThresholds("x", default=0.2)
    train = PTrain(82.0, 1.0, 0.9, (), (2, 2, 2), 0.3)
    free = measured(rate_bpm=38.0, rr_ms=(1580.0,) * 5, p_waves="absent", pr_ms=None, rr_variation=0.004, p_train=train)
    block = drafted(neighbours((20, "AFIB")), thresholds=limits, measurements=free)
    assert "high_grade_block" in [flag.code for flag in block.flags] and "AFIB" not in block.codes()
    two = drafted(neighbours((12, "SR CRBBB"), (8, "SR WPW")), thresholds=limits)
    assert "possible Wolff-Parkinson-White pattern" in two.sections[-1].sentences[-1].text
    normal = drafted(neighbours((40, "SR NORM")), measurements=free)
    assert normal.probabilities["NORM"] <= 0.1 and "orderline" not in normal.text


def test_p_waves_of_a_fast_even_rhythm_may_be_flutter() -> None:
    """Up to 140/min a P wave before every QRS speaks against flutter, above it may be every other of its waves."""
    limits = DraftThresholds("x", default=0.2)
    for rate, named in ((125.0, False), (139.0, False), (140.0, True), (150.0, True)):
        fast = measured(rate_bpm=rate, rr_ms=(60_000 / rate,) * 20, n_beats=21, rr_variation=0.005)
        assert ("AFLT" in drafted(neighbours((20, "AFLT")), thresholds=limits, measurements=fast).codes()) is named
        assert "AFIB" not in drafted(neighbours((20, "AFIB")), thresholds=limits, measurements=fast).codes()


@pytest.mark.parametrize(("variation", "named"), [(0.01, False), (0.024, False), (0.026, True), (0.05, True)])
def test_an_even_narrow_rhythm_above_150_is_no_fibrillation(variation: float, named: bool) -> None:
    """Where no P wave was told: as even as a clock it is supraventricular tachycardia or flutter."""
    rr = tuple(60_000 / 170 * (1 + variation * (-1) ** i / 2) for i in range(27))
    fast = measured(
        rate_bpm=170.0, rr_variation=variation, rr_ms=rr, n_beats=28, p_waves="unclear", pr_ms=None, regular=False
    )
    limits = DraftThresholds("x", default=0.2)
    assert ("AFIB" in drafted(neighbours((20, "AFIB")), thresholds=limits, measurements=fast).codes()) is named
    assert "AFLT" in drafted(neighbours((20, "AFLT")), thresholds=limits, measurements=fast).codes()


@pytest.mark.parametrize(("pr_ms", "named"), [(110.0, True), (168.0, True), (172.0, False), (240.0, False)])
def test_no_pre_excitation_beside_a_long_pr(pr_ms: float, named: bool) -> None:
    draft = drafted(neighbours((40, "SR WPW")), measurements=measured(pr_ms=pr_ms, qrs_ms=108.0))
    assert ("WPW" in draft.codes()) is named


def test_nothing_is_said_of_beats_where_there_are_none() -> None:
    """A chaotic rhythm has no AV conduction, hypertrophy, ST or infarction, whatever similar cases carry."""
    limits = DraftThresholds("x", default=0.2)
    near = neighbours((20, "SR 1AVB LVH ASMI NST_"))
    chaos = measured(rate_bpm=220.0, n_beats=36, alike=0.2, rr_ms=(270.0,) * 35, p_waves="absent", pr_ms=None)
    draft = drafted(near, thresholds=limits, measurements=chaos)
    assert "no_qrs" in [flag.code for flag in draft.flags]
    assert not {"1AVB", "LVH", "ASMI", "NST_"} & set(draft.codes())
    beside = drafted(near, thresholds=limits, measurements=measured(pr_ms=240.0))
    assert {"1AVB", "LVH", "ASMI", "NST_"} <= set(beside.codes())


def test_right_bundle_branch_block_leaves_infarction_open() -> None:
    """It is not said that nothing can be judged: QRS is named as what keeps the section open."""
    block = {"V1": lead(r_mv=0.2, s_mv=0.1, r2_mv=0.8), "I": lead(s_mv=0.3), "V6": lead(s_mv=0.3)}
    leads = {**{name: lead() for name in LEADS}, **block}
    draft = drafted(neighbours((40, "SR CRBBB")), measurements=measured(qrs_ms=140.0, leads=leads))
    assert "Infarction: Left open (QRS 140 ms)." in draft.text and "Not to be judged" not in draft.text


@pytest.mark.parametrize("language", LANGUAGES)
def test_walls_and_unusual_values_are_no_statement_of_the_cited_cases(language: Language) -> None:
    for wall in WALLS[language].values():
        for words in (ACUTE[language].format(wall=wall, shown="x"), MAY_BE_ACUTE[language].format(wall=wall)):
            assert not find_statements(capital(words) + "."), words
    for words in UNUSUAL[language].values():
        assert not find_statements(words.format(value="V5, V6")), words


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_infarction_under_raised_st_is_acute_or_recent(language: Language) -> None:
    """Over its wall with how much and where; elsewhere never old, and a line of its own says where ST is up."""
    old = [replace(n, stage="old") for n in neighbours((20, "SR ASMI"))]
    limits = DraftThresholds("x", default=0.3)
    words = {"en": "Acute or recent anteroseptal myocardial infarction", "de": "Akuter oder frischer anteroseptaler"}

    def up(*names: str) -> Measurements:
        level = {name: 0.31 if name in names else 0.0 for name in LEADS}
        return measured(leads={name: lead(st_j_mv=mv, st_60_mv=mv) for name, mv in level.items()}, sex="M")

    raised = up("V2", "V3")
    draft = drafted(old, language, thresholds=limits, measurements=raised)
    (line,) = [s.text for s in draft.sentences if s.section == "infarction"]
    most = "0.31 mV in V2, V3" if language == "en" else "0,31 mV angehoben in V2, V3"
    assert line.startswith(words[language]) and most in line
    draft = drafted(old, language, thresholds=limits, measurements=up("II", "III", "aVF"))
    lines = [s.text for s in draft.sentences if s.section == "infarction"]
    assert len(lines) == 2 and lines[0].startswith("Anteros") and "II, III, aVF" in lines[1]
    named = drafted(neighbours((20, "SR NORM")), language, thresholds=limits, measurements=raised)
    (line,) = [s.text for s in named.sentences if s.section == "infarction"]
    assert most in line and line.startswith(("Possible acute or recent", "Möglicherweise akuter"))
    flat = drafted(old, language, thresholds=limits, measurements=up())
    (line,) = [s.text for s in flat.sentences if s.section == "infarction"]
    assert line.startswith(("Old ", "Alter "))


def test_cited_cases_that_are_fresh_say_so() -> None:
    near = [replace(n, stage="acute" if i < 2 else "old") for i, n in enumerate(neighbours((20, "SR IMI")))]
    draft = drafted(near, thresholds=DraftThresholds("x", default=0.3), measurements=measured())
    assert "Acute or recent inferior myocardial infarction" in draft.text and "Old" not in draft.text


def test_a_wide_rhythm_without_form_is_no_sinus_rhythm() -> None:
    """Nor does it carry an infarction or ST-T finding of its neighbours."""
    limits = DraftThresholds("x", default=0.3)
    near = neighbours((20, "SR IMI NST_"))
    wide = measured(qrs_ms=140.0, p_waves="absent", pr_ms=None, leads={name: lead() for name in LEADS})
    draft = drafted(near, thresholds=limits, measurements=wide)
    assert not {"SR", "IMI", "NST_"} & set(draft.codes())
    assert "ventricular pacing or ventricular escape cannot be excluded" in draft.text
    assert {"SR", "IMI"} <= set(drafted(near, thresholds=limits, measurements=measured()).codes())


@pytest.mark.parametrize("code", ["SR", "STACH", "SBRAD", "SARRH"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_rhythm_is_read_back_behind_its_title(code: str, language: Language) -> None:
    text = f"{TITLES[language]['rhythm']}: {capital(finding(code, language))}."
    assert [found.code for found in find_statements(text)] == [code]


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_shows_a_fresh_infarction_is_no_finding_of_the_cited_cases(language: Language) -> None:
    for kind in SHOWN_BY[language]:
        shown = SHOWN_BY[language][kind].format(most="0.21", leads="V2, V3")
        line = f"{capital(finding('ASMI', language, stage='recent'))} ({shown}) (99 %) [1]."
        assert [found.code for found in find_statements(line)] == ["ASMI"], line
