"""Measures of the protocol against hand-made cases, scikit-learn and ir_measures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecgkin.generation.research.retrieval import bootstrap, metrics, ranking
from ecgkin.generation.research.retrieval.labels import LabelSpace, set_numbers
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.search.vote import vote_weights

SPACE = LabelSpace(
    codes=("NORM", "IMI", "ASMI", "SR", "LVH"),
    superclass_of={"NORM": "NORM", "IMI": "MI", "ASMI": "MI", "SR": None, "LVH": "HYP"},
    subclass_of={"NORM": "NORM", "IMI": "IMI", "ASMI": "AMI", "SR": None, "LVH": "LVH"},
)


def problem(seed: int, n_queries: int = 40, n_gallery: int = 300, n_labels: int = 6) -> tuple[NDArray[Any], ...]:
    """Random unit embeddings and labels that follow them a little."""
    rng = np.random.default_rng(seed)
    axes = rng.standard_normal((8, n_labels))
    queries, gallery = (ranking.unit_rows(rng.standard_normal((n, 8))) for n in (n_queries, n_gallery))
    labels = [(x @ axes + rng.standard_normal((len(x), n_labels))) > 0.8 for x in (queries, gallery)]
    return queries, gallery, labels[0], labels[1]


# ---------------------------------------------------------------- labels


def test_likelihood_zero_counts_and_superclasses_are_a_union() -> None:
    statements = SPACE.statements([{"IMI": 100.0, "ASMI": 50.0, "SR": 0.0}, {"SR": 0.0}, {}])
    assert statements.tolist() == [[False, True, True, True, False], [False, False, False, True, False], [False] * 5]
    assert SPACE.superclasses == ("NORM", "MI", "HYP")
    assert SPACE.superclass_matrix(statements).tolist() == [[False, True, False], [False] * 3, [False] * 3]
    assert SPACE.subclass_matrix(statements).sum(axis=1).tolist() == [2, 0, 0]


def test_unknown_statement_is_refused() -> None:
    with pytest.raises(QueryError, match="XYZ"):
        SPACE.statements([{"XYZ": 0.0}])


def test_set_numbers_are_shared_between_matrices() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random((50, 11)) > 0.7, rng.random((80, 11)) > 0.7
    of_a, of_b = set_numbers(a, b)
    expected = np.array([[(x == y).all() for y in b] for x in a])
    assert ((of_a[:, None] == of_b[None, :]) == expected).all()
    assert expected.any() and not expected.all()


# ---------------------------------------------------------------- ranking


def test_nearest_equals_a_full_sort_and_respects_patients() -> None:
    queries, gallery, _, _ = problem(0)
    patients = ranking.patient_numbers([f"p{i % 7}" for i in range(40)], [f"p{i % 13}" for i in range(300)])
    found = ranking.nearest(queries, gallery, 10, query_patients=patients[0], gallery_patients=patients[1])
    scores = queries @ gallery.T
    scores[patients[0][:, None] == patients[1][None, :]] = -np.inf
    assert (found.rows == np.argsort(-scores, axis=1)[:, :10]).all()
    assert not (patients[1][found.rows] == patients[0][:, None]).any()


def test_nearest_says_where_fewer_than_k_are_allowed() -> None:
    gallery = ranking.unit_rows(np.eye(3, 4))
    mine = np.zeros(1, dtype=np.int64)
    found = ranking.nearest(gallery[:1], gallery, 3, query_patients=mine, gallery_patients=np.array([0, 0, 1]))
    assert found.rows.tolist() == [[2, -1, -1]]
    assert np.isneginf(found.scores[0, 1:]).all()
    assert metrics.vote_scores(found, np.array([[True], [True], [False]]), 3, 0.1).tolist() == [[0.0]]


def test_unknown_patients_are_nobody_s() -> None:
    queries, gallery = ranking.patient_numbers([None, "", "a"], [None, "", "a"])
    assert not (queries[:2, None] == gallery[None, :]).any()
    assert queries[2] == gallery[2]


def test_a_constant_encoder_is_ranked_like_chance() -> None:
    similarity = np.zeros((400, 400), dtype=np.float32)
    ranks = ranking.first_rank(similarity, np.eye(400, dtype=bool))
    assert sorted(ranks) == list(range(1, 401))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12))
def test_first_rank_equals_a_sorted_list(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.permutation(n * 5).reshape(5, n).astype(np.float32)
    relevant = rng.random((5, n)) > 0.6
    for row, right, rank in zip(scores, relevant, ranking.first_rank(scores, relevant), strict=True):
        listed = right[np.argsort(-row)]
        assert rank == (np.flatnonzero(listed)[0] + 1 if right.any() else n + 1)


@pytest.mark.parametrize("bad", [np.zeros((0, 4)), np.zeros(4), np.full((2, 4), np.nan), np.zeros((2, 5))])
def test_embeddings_that_do_not_fit_are_refused(bad: NDArray[np.float64]) -> None:
    with pytest.raises(QueryError):
        ranking.nearest(bad.astype(np.float32), np.ones((3, 4), dtype=np.float32), 1)
    with pytest.raises(QueryError):
        ranking.nearest(np.ones((3, 4), dtype=np.float32), np.ones((3, 4), dtype=np.float32), 0)


# ---------------------------------------------------------------- vote


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 3, 10]), st.sampled_from([0.02, 0.1, float("inf")]))
def test_vote_is_the_weighted_share(seed: int, k: int, tau: float) -> None:
    queries, gallery, _, labels = problem(seed, 4, 30)
    found = ranking.nearest(queries, gallery, 10)
    got = metrics.vote_scores(found, labels, k, tau)
    for i in range(4):
        weights = np.exp(found.scores[i, :k].astype(np.float64) / tau)
        expected = weights @ labels[found.rows[i, :k]] / weights.sum()
        np.testing.assert_allclose(got[i], expected, atol=1e-5)
    assert (got >= 0).all() and (got <= 1 + 1e-6).all()


def test_a_cold_vote_is_the_first_hit_and_nothing_overflows() -> None:
    weights = vote_weights(np.array([[1.0, 0.5, -1.0]], dtype=np.float32), 1e-4)
    assert weights.tolist() == [[1.0, 0.0, 0.0]]
    with pytest.raises(QueryError, match="tau"):
        vote_weights(np.array([[1.0]], dtype=np.float32), 0.0)


def test_vote_over_more_than_was_ranked_is_refused() -> None:
    queries, gallery, _, labels = problem(0)
    with pytest.raises(QueryError, match="20"):
        metrics.vote_scores(ranking.nearest(queries, gallery, 10), labels, 20, 0.1)


# ---------------------------------------------------------------- identical sets and nDCG


def test_a_hit_that_is_missing_is_wrong_whatever_stands_last_in_the_gallery() -> None:
    """Row -1 means "no hit", not the last row, even where that one has the query's own labels."""
    labels = np.array([[True, False], [False, True]])
    found = ranking.Neighbours(np.array([[0, -1]]), np.array([[0.9, -np.inf]], dtype=np.float32))
    assert metrics.identical_share(found, labels[1:], labels, 2).tolist() == [0.0]
    assert metrics.identical_share(found, labels[:1], labels, 2).tolist() == [0.5]
    assert metrics.ndcg_jaccard(found, labels[1:], labels, 2).tolist() == [0.0]


def test_identical_share_by_hand() -> None:
    gallery = np.array([[True, False], [True, True], [True, False], [False, False]])
    found = ranking.Neighbours(np.array([[0, 1], [2, -1]]), np.array([[1, 0], [1, -np.inf]], dtype=np.float32))
    queries = np.array([[True, False], [True, False]])
    assert metrics.identical_share(found, queries, gallery, 2).tolist() == [0.5, 0.5]
    assert metrics.identical_in_gallery(queries, gallery).tolist() == [2, 2]
    assert metrics.identical_in_gallery(np.array([[False, True]]), gallery).tolist() == [0]


def test_shared_labels_by_hand() -> None:
    gallery = np.array([[True, False, True], [True, True, False], [False, False, True]])
    found = ranking.Neighbours(np.array([[2, 0], [2, -1]]), np.array([[1, 0], [1, -np.inf]], dtype=np.float32))
    queries = np.array([[True, True, False], [True, True, False]])
    for k, any_of_them, overlap in ((1, [0, 0], [0, 0]), (2, [1, 0], [1 / 6, 0])):
        hit, mean = metrics.shared_labels(found, queries, gallery, k)
        assert hit.tolist() == any_of_them
        assert mean == pytest.approx(overlap)
    with pytest.raises(QueryError, match="k = 3"):
        metrics.shared_labels(found, queries, gallery, 3)


def test_ndcg_equals_scikit_learn() -> None:
    from sklearn.metrics import ndcg_score

    queries, gallery, query_labels, labels = problem(3)
    query_labels[0] = True
    got = metrics.ndcg_jaccard(ranking.nearest(queries, gallery, 10), query_labels, labels)
    gains, scores = metrics.jaccard(query_labels, labels), queries @ gallery.T
    for i in range(len(queries)):
        if gains[i].any():
            assert got[i] == pytest.approx(ndcg_score(gains[i : i + 1], scores[i : i + 1], k=10), abs=1e-6)
        else:
            assert np.isnan(got[i])


def test_ranking_measures_equal_ir_measures() -> None:
    ir = pytest.importorskip("ir_measures")
    queries, gallery, query_labels, labels = problem(4)
    found = ranking.nearest(queries, gallery, 10)
    gains = metrics.jaccard(query_labels, labels)
    scores = queries @ gallery.T
    # Judgements are integers there: Jaccard in steps of 1/60 is exact for unions of up to six statements.
    judged = [
        ir.Qrel(str(i), str(j), round(60 * float(gains[i, j])))
        for i in range(40)
        for j in range(300)
        if gains[i, j] > 0
    ]
    run = [ir.ScoredDoc(str(i), str(j), float(scores[i, j])) for i in range(40) for j in range(300)]
    theirs = {m.query_id: m.value for m in ir.iter_calc([ir.nDCG @ 10], judged, run)}
    ours = metrics.ndcg_jaccard(found, query_labels, labels)
    assert {str(i) for i in np.flatnonzero(~np.isnan(ours))} == set(theirs)
    for query, value in theirs.items():
        assert ours[int(query)] == pytest.approx(value, abs=1e-6)

    same = (query_labels[:, None] == labels[None]).all(axis=2)
    judged = [ir.Qrel(str(i), str(j), int(same[i, j])) for i in range(40) for j in range(300)]
    precision = ir.calc_aggregate([ir.P @ 10], judged, run)[ir.P @ 10]
    assert metrics.identical_share(found, query_labels, labels, 10).mean() == pytest.approx(precision)
    ranks = ranking.first_rank(scores, same)
    success = ir.calc_aggregate([ir.Success @ 5], judged, run)[ir.Success @ 5]
    assert (ranks <= 5).mean() == pytest.approx(success)


def test_second_ndcg_column_leaves_sinus_rhythm_and_plain_normal_out() -> None:
    labels = SPACE.statements([{"NORM": 1, "SR": 1}, {"SR": 1}, {"IMI": 1, "SR": 1}, {"NORM": 1, "LVH": 1}])
    queries, gallery, counts = metrics.without_rhythm_and_normal(labels, labels, SPACE.codes)
    assert not queries[:, 3].any() and not gallery[:, 3].any()
    assert counts.tolist() == [False, False, True, True]
    assert labels[:, 3].any()


# ---------------------------------------------------------------- AUC and bootstrap


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_resampled_auc_equals_scikit_learn_with_weights(seed: int) -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(seed)
    truth = rng.random((30, 3)) > 0.6
    scores = rng.integers(0, 5, (30, 3)).astype(np.float32)
    weights = bootstrap.patient_weights(rng.integers(0, 12, 30), resamples=5, seed=seed)
    got = bootstrap.resampled_auc(truth, scores, weights)
    for r, w in enumerate(weights):
        for c in range(3):
            kept = w > 0
            if len(set(truth[kept, c])) < 2:
                assert np.isnan(got[r, c])
            else:
                expected = roc_auc_score(truth[kept, c], scores[kept, c], sample_weight=w[kept])
                assert got[r, c] == pytest.approx(expected, abs=1e-9)


def test_macro_auc_equals_the_mean_of_columns_and_counts_dropped_ones() -> None:
    queries, gallery, truth, labels = problem(5)
    truth[:, 0] = False
    truth[:, 1] = False
    truth[3, 1] = True
    scores = metrics.vote_scores(ranking.nearest(queries, gallery, 50), labels, 50, 0.1)
    weights = bootstrap.patient_weights(np.arange(40), resamples=400, seed=3)
    result = bootstrap.macro_auc(truth, scores, weights)
    assert result.n_labels == 5
    from sklearn.metrics import roc_auc_score

    by_hand = [roc_auc_score(truth[:, i], scores[:, i]) for i in np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0))]
    assert result.interval.value == pytest.approx(np.mean(by_hand))
    assert result.interval.low < result.interval.value < result.interval.high
    # One positive is left out of a resample of n patients with probability (1 - 1/n)^n = 0.363 for n = 40.
    assert result.dropped == pytest.approx(0.363, abs=0.08)
    assert metrics.clean_columns(truth)[:2].tolist() == [False, False]


def test_weights_come_by_patient_and_by_seed() -> None:
    patients = np.array([5, 5, 8, 9, 9, 9])
    weights = bootstrap.patient_weights(patients, resamples=50, seed=2)
    assert (weights[:, 0] == weights[:, 1]).all() and (weights[:, 3] == weights[:, 5]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()
    assert (weights == bootstrap.patient_weights(patients, resamples=50, seed=2)).all()
    assert (weights != bootstrap.patient_weights(patients, resamples=50, seed=3)).any()


def test_interval_of_a_mean_has_its_coverage_and_ignores_what_is_no_query() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(2.0, 1.0, 400)
    values[::4] = np.nan
    found = bootstrap.mean_interval(values, bootstrap.patient_weights(np.arange(400), 1000))
    assert found.value == pytest.approx(np.nanmean(values))
    # Half-width of a 95 % interval of a mean: 1.96 sd / sqrt(n).
    assert found.high - found.low == pytest.approx(2 * 1.96 / np.sqrt(300), rel=0.15)
    assert str(bootstrap.Interval(float("nan"))) == "n/a"


def test_paired_p_and_holm() -> None:
    rng = np.random.default_rng(0)
    better = rng.normal(0.1, 0.01, 1000)
    assert bootstrap.paired_p(better, np.zeros(1000)) == pytest.approx(2 / 1001)
    assert bootstrap.paired_p(np.zeros(1000), np.zeros(1000)) == 1.0
    assert bootstrap.holm({"a": 0.2, "b": 0.9}) == {"a": 0.4, "b": 0.9}
