"""The vote, its calibration, and the threshold of "nothing similar"."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgkin.generation.research.retrieval import calibrate, metrics, ranking
from ecgkin.generation.research.retrieval.labels import LabelSpace, default_space
from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS
from ecgkin.retrieval.errors import EncoderMismatchError, ModelError, QueryError
from ecgkin.retrieval.notes import NoteCode
from ecgkin.retrieval.search.vote import Calibration, Threshold, VoteRule, vote

CODES = [s.code for s in STATEMENTS]


def world(seed: int = 0, n: int = 1500) -> tuple[ranking.Floats, np.ndarray, LabelSpace]:
    """Embeddings in which labels live in regions, labels, and their space; columns of unequal frequency."""
    rng = np.random.default_rng(seed)
    space = LabelSpace(
        codes=("NORM", "IMI", "AFIB", "LVH"),
        superclass_of={"NORM": "NORM", "IMI": "MI", "AFIB": None, "LVH": "HYP"},
        subclass_of={"NORM": "NORM", "IMI": "IMI", "AFIB": None, "LVH": "LVH"},
    )
    points = rng.standard_normal((n, 4))
    logits = 2.0 * points @ np.random.default_rng(99).standard_normal((4, 4)) + np.array([0.5, -1.5, -3.0, -5.0])
    labels = rng.random((n, 4)) < 1 / (1 + np.exp(-logits))
    return ranking.unit_rows(points), labels, space


def fitted(seed: int = 0) -> tuple[Calibration, ranking.Neighbours, np.ndarray, np.ndarray, LabelSpace]:
    points, labels, space = world(seed)
    found = ranking.nearest(points[:500], points[500:], 50)
    calibration = calibrate.fit_calibration(
        found, labels[:500], labels[500:], space, encoder="abc", statements=VoteRule(50, 0.1),
        superclasses=VoteRule(20, math.inf), thresholds={"image": calibrate.fit_threshold(found.scores[:, 0])},
        fitted_on="made up",
    )  # fmt: skip
    return calibration, found, labels[:500], labels[500:], space


def test_raw_vote_is_said_to_be_raw() -> None:
    found = vote([0.9, 0.8, 0.1], [{"AFIB": 0.0}, {"IMI", "SR"}, ["AFIB", "NORM"]], rule=VoteRule(2, math.inf))
    assert not found.calibrated and "not calibrated" in str(found.note)
    assert found.n_neighbours == 2
    assert found.statements["AFIB"] == 0.5 and found.statements["IMI"] == 0.5 and found.statements["NORM"] == 0.0
    assert found.superclasses["MI"] == 0.5 and found.superclasses["HYP"] == 0.0
    assert len(found.statements) == 71 and len(found.superclasses) == 5
    assert {code for code, _ in found.top(at_least=0.4)} == {"AFIB", "IMI", "SR"}
    assert found.probabilities["MI"] == 0.5


def test_labels_outside_the_vocabulary_do_not_break_the_vote() -> None:
    assert vote([0.5], [{"my own label": 1.0, "AFIB": 1.0}]).top(1) == [("AFIB", 1.0)]


def test_no_neighbours_give_zeros_and_unequal_lengths_an_error() -> None:
    nobody = vote([], [])
    assert set(nobody.statements.values()) == {0.0} and nobody.n_neighbours == 0
    with pytest.raises(QueryError, match="pair up"):
        vote([0.5], [])


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1, 1), st.sets(st.sampled_from(CODES), max_size=4)), min_size=1, max_size=30),
    st.sampled_from([0.02, 0.1, math.inf]),
)
def test_vote_equals_the_vote_of_the_evaluation(hits: list[tuple[float, set[str]]], tau: float) -> None:
    hits.sort(key=lambda hit: -hit[0])
    space = default_space()
    labels = space.statements([dict.fromkeys(codes, 0.0) for _, codes in hits])
    neighbours = ranking.Neighbours(
        np.arange(len(hits))[None], np.array([[score for score, _ in hits]], dtype=np.float32)
    )
    expected = metrics.vote_scores(neighbours, labels, len(hits), tau)[0]
    got = vote([float(s) for s in neighbours.scores[0]], [codes for _, codes in hits], rule=VoteRule(len(hits), tau))
    np.testing.assert_allclose([got.statements[code] for code in space.codes], expected, atol=1e-6)
    supers = metrics.vote_scores(neighbours, space.superclass_matrix(labels), len(hits), tau)[0]
    np.testing.assert_allclose([got.superclasses[name] for name in space.superclasses], supers, atol=1e-6)
    # By hand, neighbour by neighbour.
    weights = [math.exp((float(score) - float(neighbours.scores[0, 0])) / tau) for score in neighbours.scores[0]]
    for code in CODES:
        share = sum(w for w, (_, codes) in zip(weights, hits, strict=True) if code in codes) / sum(weights)
        assert got.raw[code] == pytest.approx(share, abs=1e-9)


def test_two_hundred_are_enough_for_curves_of_a_deeper_vote() -> None:
    deep = replace(fitted()[0], statements=VoteRule(1000, 0.05))
    assert (deep.depth, deep.least) == (1000, 200)
    scores, labels = np.linspace(0.9, 0.4, 1000).tolist(), [{"AFIB"} if i % 3 else {"NORM"} for i in range(1000)]
    for n, calibrated in ((1000, True), (200, True), (199, False)):
        found = vote(scores[:n], labels[:n], calibration=deep, reading={})
        assert found.calibrated is calibrated
        assert ("the calibration needs 200" in str(found.note)) is not calibrated
    shallow = replace(deep, statements=VoteRule(10, 0.05))
    assert shallow.least == shallow.depth == 20


def test_calibration_lowers_the_error_on_other_patients() -> None:
    _, found, truth, gallery, _ = fitted()
    rule = VoteRule(50, 0.1)
    raw = calibrate.calibration_error(truth, metrics.vote_scores(found, gallery, rule.k, rule.tau))
    crossed = calibrate.cross_fitted(found, truth, gallery, rule, np.arange(500))
    better = calibrate.calibration_error(truth, crossed)
    assert better.log_loss < raw.log_loss
    assert better.ece < 0.02


def test_curves_rise_and_rare_labels_keep_to_the_pooled_curve() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(-2, 1, (800, 3))
    truth = rng.random((800, 3)) < 1 / (1 + np.exp(-(1.5 * x + 0.5)))
    truth[:, 2] = False
    truth[np.argmin(x[:, 2]), 2] = True  # one positive, and in the wrong place: nearly a falling curve
    slopes, intercepts = calibrate.fit_curves(x, truth)
    assert (slopes > 0).all()
    np.testing.assert_allclose(slopes[:2], 1.5, atol=0.35)
    alone, _ = calibrate._newton(x[:, 2:], truth[:, 2:], np.array([0.0]), np.array([0.0]))
    assert slopes[2] > alone[0]
    assert intercepts[2] < intercepts[0]


def test_curves_equal_scikit_learn_where_the_prior_is_weak(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.linear_model import LogisticRegression

    monkeypatch.setattr(calibrate, "SLOPE_SD", 1e4)
    monkeypatch.setattr(calibrate, "INTERCEPT_SD", 1e4)
    rng = np.random.default_rng(1)
    x = rng.normal(-1, 2, (600, 1))
    truth = rng.random((600, 1)) < 1 / (1 + np.exp(-(0.7 * x - 0.2)))
    slope, intercept = calibrate._newton(x, truth, np.array([1.0]), np.array([0.0]))
    theirs = LogisticRegression(C=1e9, tol=1e-8).fit(x, truth[:, 0])
    assert slope[0] == pytest.approx(theirs.coef_[0, 0], abs=1e-3)
    assert intercept[0] == pytest.approx(theirs.intercept_[0], abs=1e-3)


def test_a_saved_calibration_gives_the_same_numbers(tmp_path: Path) -> None:
    calibration, found, _, gallery, space = fitted()
    path = tmp_path / "calibration.json"
    calibration.save(path)
    again = Calibration.load(path, "abc")
    assert again.statements == calibration.statements and again.superclasses.tau == math.inf
    assert again.thresholds["image"].score == calibration.thresholds["image"].score
    assert math.isnan(again.thresholds["image"].outside_refused)
    labels = [{c for c, on in zip(space.codes, row, strict=True) if on} for row in gallery[found.rows[0]]]
    scores = [float(s) for s in found.scores[0]]
    one, two = vote(scores, labels, calibration=calibration), vote(scores, labels, calibration=again)
    assert one.calibrated and one.note is not None and one.note.code is NoteCode.READING_MISSING
    assert all(one.statements[c] == pytest.approx(two.statements[c], abs=1e-5) for c in space.codes)
    assert all(0.0 < one.statements[c] < 1.0 for c in space.codes)
    # A label that was never fitted keeps its raw share.
    assert one.statements["PACE"] == 0.0


def test_calibrated_vote_is_what_the_curve_says() -> None:
    calibration, found, _, gallery, space = fitted()
    rule = calibration.statements
    share = metrics.vote_scores(found, gallery, rule.k, rule.tau)[3, 2]
    labels = [{c for c, on in zip(space.codes, row, strict=True) if on} for row in gallery[found.rows[3]]]
    got = vote([float(s) for s in found.scores[3]], labels, calibration=calibration)
    assert got.statements["AFIB"] == pytest.approx(
        calibration.probabilities(["AFIB"], np.array([share]), rule.k)[0], abs=1e-6
    )
    slope, intercept, prior = calibration.curves["AFIB"]
    smoothed = (rule.k * float(share) + prior) / (rule.k + 1)
    by_hand = 1 / (1 + math.exp(-(slope * math.log(smoothed / (1 - smoothed)) + intercept)))
    assert got.statements["AFIB"] == pytest.approx(by_hand, abs=1e-6)


def test_too_few_neighbours_or_a_small_base_are_said() -> None:
    calibration, *_ = fitted()
    few = vote([0.9] * 49, [{"AFIB"}] * 49, calibration=calibration)
    assert not few.calibrated and "49 neighbours" in str(few.note) and few.statements["AFIB"] == pytest.approx(1.0)
    small = vote([0.9] * 50, [{"AFIB"}] * 50, calibration=calibration, n_cases=60)
    assert small.calibrated and "60" in str(small.note)
    # Said of a base of less than a quarter of the 1000 cases that were calibrated with.
    for n_cases, said in ((249, True), (250, False), (1000, False), (None, False)):
        found = vote([0.9] * 50, [{"AFIB"}] * 50, calibration=calibration, n_cases=n_cases)
        assert found.calibrated and ("this case base holds" in str(found.note)) is said


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": 99}', "not json", "[" * 100_000])
def test_a_broken_calibration_is_a_clear_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(content)
    with pytest.raises(ModelError, match="calibration"):
        Calibration.load(path)


@pytest.mark.parametrize(
    "wrong",
    [{"format": 2}, {"statements": {"k": 0, "tau": 0.1}}, {"superclasses": {"k": 10, "tau": -1.0}},
     {"curves": {"AFIB": [1.0, 2.0]}}, {"thresholds": {"image": {"score": 0.5}}}, {"encoder": None}],
)  # fmt: skip
def test_a_calibration_with_a_wrong_part_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    path = tmp_path / "calibration.json"
    calibration, *_ = fitted()
    path.write_text(json.dumps(json.loads(calibration.as_json()) | wrong))
    with pytest.raises(ModelError, match=next(iter(wrong))):
        Calibration.load(path)


def test_a_calibration_of_another_encoder_is_refused(tmp_path: Path) -> None:
    calibration, *_ = fitted()
    calibration.save(tmp_path / "c.json")
    assert json.loads((tmp_path / "c.json").read_text())["encoder"] == "abc"
    with pytest.raises(EncoderMismatchError):
        Calibration.load(tmp_path / "c.json", "def")


def test_threshold_takes_the_smallest_quantile_that_turns_strangers_away() -> None:
    rng = np.random.default_rng(0)
    inside = rng.normal(0.8, 0.05, 4000)
    far = calibrate.fit_threshold(inside, rng.normal(0.3, 0.05, 500), outside_words="noise")
    assert far.quantile == calibrate.QUANTILES[0] and far.outside_refused == 1.0 and far.outside == "noise"
    assert far.inside_refused == pytest.approx(0.005, abs=0.001)
    near = calibrate.fit_threshold(inside, rng.normal(0.8, 0.05, 500))
    assert near.quantile == calibrate.QUANTILES[-1] and near.outside_refused < 0.2
    alone = calibrate.fit_threshold(inside)
    assert isinstance(alone, Threshold) and alone.quantile == 0.01 and math.isnan(alone.outside_refused)
    assert calibrate.fit_threshold(inside, quantile=0.5).score == pytest.approx(0.8, abs=0.01)
    with pytest.raises(QueryError):
        calibrate.fit_threshold(np.array([]))


def test_top_keeps_what_just_reaches_the_least() -> None:
    """At least is at least: a statement exactly at the bound is shown."""
    voted = vote([1.0, 1.0, 1.0, 1.0], [{"AFIB"}, {"AFIB", "LVH"}, set(), set()], rule=VoteRule(4, 0.1))
    assert voted.statements["AFIB"] == 0.5 and voted.statements["LVH"] == 0.25
    assert [code for code, _ in voted.top(at_least=0.5)] == ["AFIB"]
    assert [code for code, _ in voted.top(at_least=0.25)] == ["AFIB", "LVH"]
    assert [code for code, _ in voted.top(1, at_least=0.25)] == ["AFIB"]
