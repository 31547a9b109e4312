"""Thresholds with the best F1, and what they are worth on patients left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.errors import QueryError

FOLDS = 5
# Thresholds are averaged over this many random halves of the patients: the best one on a sample jumps from one
# borderline record to the next where a statement has few.
_HALVES = 20


def fit_thresholds(
    shares: NDArray[np.floating],
    labels: NDArray[np.bool_],
    *,
    groups: Sequence[int] | NDArray[np.integer] | None = None,
    seed: int = 0,
) -> tuple[NDArray[np.float64], float]:
    """The threshold of each column with the best F1, and what it gives on patients left out.

    Args:
        shares: Of the neighbours, shape (n, n_labels), of records that did not vote for themselves.
        labels: Truth, same shape.
        groups: Patient of each row; rows of one patient stay together. None: every row for itself.
        seed: Of the partitions.

    Returns:
        Thresholds, shape (n_labels,), 0.5 where nothing is true; and the cross-validated macro-F1 over columns with a
        positive.

    Raises:
        QueryError: The shapes differ, or there are fewer rows than parts.
    """
    if shares.shape != labels.shape or shares.ndim != 2 or len(shares) < FOLDS:
        raise QueryError(
            f"shares {shares.shape} and labels {labels.shape} (expected equal shapes, {FOLDS} rows or more)"
        )
    of = np.arange(len(shares)) if groups is None else np.asarray(groups)
    part = patient_parts(of, FOLDS, seed)
    counts = np.zeros((3, labels.shape[1]))
    for i in range(FOLDS):
        inside = part != i
        drafted = shares[~inside] >= averaged_thresholds(shares[inside], labels[inside], of[inside], seed)
        truth = labels[~inside]
        counts += [(drafted & truth).sum(axis=0), drafted.sum(axis=0), truth.sum(axis=0)]
    hit, said, true = counts
    usable = true > 0
    f1 = float((2 * hit / np.maximum(said + true, 1))[usable].mean()) if usable.any() else 0.0
    return averaged_thresholds(shares, labels, of, seed), f1


def patient_parts(groups: NDArray[np.integer], n: int, seed: int) -> NDArray[np.int64]:
    """The part, 0 to n - 1, that each row falls into; rows of one group stay together."""
    distinct, of = np.unique(groups, return_inverse=True)
    return np.asarray(np.random.default_rng(seed).permutation(len(distinct))[of] % n, dtype=np.int64)


def averaged_thresholds(
    shares: NDArray[np.floating], labels: NDArray[np.bool_], groups: NDArray[np.integer], seed: int
) -> NDArray[np.float64]:
    """Best threshold of each column, averaged in log-odds over random halves of the groups.

    A half without a positive counts as 0.5: the rarer a statement, the more cautious.
    """
    distinct, of = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(seed)
    out = np.zeros((_HALVES, shares.shape[1]))
    for i in range(_HALVES):
        half = (rng.random(len(distinct)) < 0.5)[of]
        if not half.any():
            half[:] = True
        for column in range(shares.shape[1]):
            at = min(max(_best_threshold(shares[half, column], labels[half, column]), 1e-4), 1 - 1e-4)
            out[i, column] = np.log(at) - np.log1p(-at)
    return np.asarray(1 / (1 + np.exp(-out.mean(axis=0))))


def _best_threshold(votes: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    """Half-way between the two votes where F1 is largest; 0.5 where nothing is true."""
    if not truth.any():
        return 0.5
    order = np.argsort(-votes, kind="stable")
    sorted_votes, right = votes[order].astype(np.float64), np.cumsum(truth[order])
    f1 = 2 * right / (np.arange(1, len(votes) + 1) + truth.sum())
    last = np.append(sorted_votes[1:] < sorted_votes[:-1], True)  # equal votes are drafted together
    at = int(np.argmax(np.where(last, f1, -1.0)))
    below = sorted_votes[at + 1] if at + 1 < len(votes) else 0.0
    return float((sorted_votes[at] + below) / 2)


def _f1(hit: NDArray[np.floating], drafted: NDArray[np.floating], true: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(2 * hit / np.maximum(drafted + true, 1), dtype=np.float64)


def _logit(p: NDArray[np.floating]) -> NDArray[np.float64]:
    clipped = np.clip(p, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(clipped) - np.log1p(-clipped), dtype=np.float64)
