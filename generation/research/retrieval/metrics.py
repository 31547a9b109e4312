"""The measures of the protocol: neighbour vote and its AUC, identical label sets, graded relevance.

All of them work on the `Neighbours` of `ranking`, return one number a query where they can (the bootstrap needs
them), and leave averages to the caller.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecgkin.generation.research.retrieval.labels import BoolMatrix, set_numbers
from ecgkin.generation.research.retrieval.ranking import Floats, Ints, Neighbours
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.search.vote import VoteRule, vote_shares

Doubles = NDArray[np.float64]

# Depths and temperatures that may be chosen from (on fold 9).
VOTE_KS: tuple[int, ...] = (10, 20, 50, 100, 200, 500, 1000)
SHARED_KS: tuple[int, ...] = (1, 3, 5, 10)
VOTE_TAUS: tuple[float, ...] = (0.02, 0.05, 0.1, float("inf"))
# A statement with fewer positives than this has an AUC too loose to average in; the cleaned macro leaves it out.
CLEAN_POSITIVES = 10


def vote_scores(neighbours: Neighbours, gallery_labels: BoolMatrix, k: int, tau: float) -> Floats:
    """The vote of `retrieval.search.vote` for many queries, in float32.

    Args:
        neighbours: Of the queries.
        gallery_labels: Multi-hot, shape (n_gallery, n_labels).
        k: Neighbours that vote.
        tau: Temperature of their weights.

    Returns:
        Share of each label among the k nearest, weighted by exp(cos / tau), shape (n_queries, n_labels).

    Raises:
        QueryError: tau is not positive, or more neighbours are asked for than were ranked.
    """
    if not 1 <= k <= neighbours.rows.shape[1]:
        raise QueryError(f"vote over k = {k} neighbours, but {neighbours.rows.shape[1]} were ranked")
    shares = vote_shares(neighbours.rows, neighbours.scores, gallery_labels, VoteRule(k, tau), np.float32)
    return np.asarray(shares, dtype=np.float32)


def clean_columns(truth: BoolMatrix) -> NDArray[np.bool_]:
    """Columns with at least `CLEAN_POSITIVES` positives (and as many negatives), shape (n_labels,)."""
    positives = truth.sum(axis=0)
    return np.asarray((positives >= CLEAN_POSITIVES) & (len(truth) - positives >= CLEAN_POSITIVES))


def _first(neighbours: Neighbours, k: int, what: str) -> Ints:
    """Rows of the first k hits, (n_queries, k).

    Raises:
        QueryError: Fewer were ranked.
    """
    if not 1 <= k <= neighbours.rows.shape[1]:
        raise QueryError(f"{what} k = {k} hits, but {neighbours.rows.shape[1]} were ranked")
    return neighbours.rows[:, :k]


def identical_share(neighbours: Neighbours, query_labels: BoolMatrix, gallery_labels: BoolMatrix, k: int) -> Doubles:
    """Share of the first k hits whose label set equals the query's, shape (n_queries,).

    A hit that is missing (fewer than k allowed) counts as wrong.

    Args:
        neighbours: Of the queries.
        query_labels: Multi-hot, shape (n_queries, n_labels).
        gallery_labels: Multi-hot, shape (n_gallery, n_labels).
        k: Hits that count.

    Returns:
        0 to 1, (n_queries,).
    """
    own, others = set_numbers(query_labels, gallery_labels)
    rows = _first(neighbours, k, "share among")
    same = (others[rows] == own[:, None]) & (rows >= 0)
    return np.asarray(same.sum(axis=1) / k, dtype=np.float64)


def identical_in_gallery(query_labels: BoolMatrix, gallery_labels: BoolMatrix) -> Ints:
    """How many gallery rows have exactly the label set of each query, shape (n_queries,).

    Args:
        query_labels: Multi-hot, shape (n_queries, n_labels).
        gallery_labels: Multi-hot, shape (n_gallery, n_labels).

    Returns:
        Counts, (n_queries,).
    """
    own, others = set_numbers(query_labels, gallery_labels)
    counts = np.bincount(others, minlength=int(max(own.max(initial=0), others.max(initial=0))) + 1)
    return np.asarray(counts[own], dtype=np.int64)


def jaccard(queries: BoolMatrix, gallery: BoolMatrix) -> Floats:
    """Size of the intersection over size of the union of label sets, shape (n_queries, n_gallery); 0 for two empty.

    Args:
        queries: Multi-hot, shape (n_queries, n_labels).
        gallery: Multi-hot, shape (n_gallery, n_labels).

    Returns:
        0 to 1, float32 (n_queries, n_gallery).
    """
    both = queries.astype(np.float32) @ gallery.astype(np.float32).T
    either = queries.sum(axis=1, dtype=np.float32)[:, None] + gallery.sum(axis=1, dtype=np.float32)[None, :] - both
    return np.asarray(both / np.maximum(either, 1.0), dtype=np.float32)


def shared_labels(
    neighbours: Neighbours, query_labels: BoolMatrix, gallery_labels: BoolMatrix, k: int
) -> tuple[Doubles, Doubles]:
    """Whether one of the first k hits shares any label with the query, and how much they share on average.

    The first is hit@k as comparable systems define it: generous, since nearly every ECG carries a common label. A hit
    that is missing shares nothing.

    Args:
        neighbours: Of the queries.
        query_labels: Multi-hot, shape (n_queries, n_labels).
        gallery_labels: Multi-hot, shape (n_gallery, n_labels).
        k: Hits that count.

    Returns:
        0 or 1, (n_queries,); mean Jaccard index of the label sets, 0 to 1, (n_queries,).
    """
    rows = _first(neighbours, k, "labels shared with")
    hits = gallery_labels[rows] & (rows >= 0)[:, :, None]
    both = (hits & query_labels[:, None]).sum(axis=2)
    either = (hits | query_labels[:, None]).sum(axis=2)
    overlap = both / np.maximum(either, 1)
    return (both > 0).any(axis=1).astype(np.float64), np.asarray(overlap.mean(axis=1), dtype=np.float64)


def ndcg_jaccard(neighbours: Neighbours, query_labels: BoolMatrix, gallery_labels: BoolMatrix, k: int = 10) -> Doubles:
    """nDCG@k with the Jaccard index of the label sets as gain and the ideal list from the whole gallery.

    Gain is linear and the discount 1 / log2(rank + 1) (Järvelin and Kekäläinen 2002), as in `sklearn.ndcg_score`.
    The query's own patient is not taken out of the ideal list: on the official folds there is none in the gallery.

    Args:
        neighbours: Of the queries.
        query_labels: Multi-hot, shape (n_queries, n_labels).
        gallery_labels: Multi-hot, shape (n_gallery, n_labels).
        k: Hits that count.

    Returns:
        Shape (n_queries,); NaN where no gallery row shares a label with the query.
    """
    if not 1 <= k <= neighbours.rows.shape[1]:
        raise QueryError(f"nDCG at k = {k}, but {neighbours.rows.shape[1]} hits were ranked")
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    # Label sets repeat a lot (17,418 records hold under 2,500 sets), so gains are computed between distinct sets.
    own, others = set_numbers(query_labels, gallery_labels)
    own_sets, own_first, own_of = np.unique(own, return_index=True, return_inverse=True)
    other_sets, other_first, counts = np.unique(others, return_index=True, return_counts=True)
    gains = jaccard(query_labels[own_first], gallery_labels[other_first])
    ideal = np.empty(len(own_sets))
    for i, row in enumerate(gains):
        best = np.argsort(-row, kind="stable")[:k]
        ideal[i] = np.repeat(row[best], counts[best])[:k] @ discount[: min(k, int(counts[best].sum()))]
    column_of = np.zeros(int(others.max()) + 1, dtype=np.int64)
    column_of[other_sets] = np.arange(len(other_sets))
    rows = neighbours.rows[:, :k]
    found = np.where(rows >= 0, gains[own_of[:, None], column_of[others[rows]]], 0.0) @ discount
    best_possible = ideal[own_of]
    return np.asarray(np.where(best_possible > 0, found / np.where(best_possible > 0, best_possible, 1.0), np.nan))


def without_rhythm_and_normal(
    query_labels: BoolMatrix, gallery_labels: BoolMatrix, codes: tuple[str, ...]
) -> tuple[BoolMatrix, BoolMatrix, NDArray[np.bool_]]:
    """Label sets without SR, and which queries then still say more than "normal".

    SR (77 % of the records) and NORM (44 %) carry most of an unweighted Jaccard; the second nDCG column is taken on
    what is left.

    Args:
        query_labels: Multi-hot, shape (n_queries, n_labels).
        gallery_labels: Multi-hot, shape (n_gallery, n_labels).
        codes: Of the columns.

    Returns:
        Query and gallery labels with the SR column cleared, and a mask of the queries whose set is then neither
        empty nor NORM alone, shape (n_queries,).
    """
    keep = np.array([code != "SR" for code in codes])
    normal = np.array([code == "NORM" for code in codes])
    queries, gallery = query_labels & keep, gallery_labels & keep
    return queries, gallery, np.asarray((queries & ~normal).any(axis=1))
