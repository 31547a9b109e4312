"""Nearest cases of many queries at once, exactly, with the same-patient rule and fair ties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.errors import QueryError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Patients = Sequence[str | int | None]

# Scores of one chunk of queries against the gallery stay near 140 MB at 17,418 cases.
_CHUNK = 2_048
TIE_SEED = 20_240_601


@dataclass(frozen=True)
class Neighbours:
    """The nearest gallery rows of each query.

    Attributes:
        rows: Gallery row numbers, nearest first, shape (n_queries, k); -1 where fewer than k were allowed.
        scores: Their cosines, shape (n_queries, k), float32; -inf beside a -1.
    """

    rows: Ints
    scores: Floats


def check_embeddings(queries: Floats, gallery: Floats) -> None:
    """Refuses embeddings that are not two finite matrices of one width.

    Args:
        queries: Expected float32 (n_queries, dim).
        gallery: Expected float32 (n_gallery, dim).

    Raises:
        QueryError: Empty, not two-dimensional, of different width, or not finite.
    """
    for name, matrix in (("query", queries), ("gallery", gallery)):
        if matrix.ndim != 2 or matrix.size == 0:
            raise QueryError(f"{name} embeddings have shape {matrix.shape} (expected (n, dim), n >= 1)")
        if not np.isfinite(matrix).all():
            raise QueryError(f"{name} embeddings hold values that are not finite")
    if queries.shape[1] != gallery.shape[1]:
        raise QueryError(f"query embeddings have {queries.shape[1]} dimensions, the gallery's {gallery.shape[1]}")


def unit_rows(matrix: NDArray[np.floating]) -> Floats:
    """The rows scaled to length 1, float32; a row of zeros stays zero."""
    length = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.asarray(matrix / np.where(length > 0, length, 1), dtype=np.float32)


def patient_numbers(*groups: Patients) -> list[Ints]:
    """Patients as numbers shared by all groups; an unknown one (None or "") gets its own each time."""
    known: dict[str, int] = {}
    out: list[Ints] = []
    lonely = -1
    for group in groups:
        numbers = np.empty(len(group), dtype=np.int64)
        for i, patient in enumerate(group):
            if patient is None or patient == "":
                numbers[i], lonely = lonely, lonely - 1
            else:
                numbers[i] = known.setdefault(str(patient), len(known))
        out.append(numbers)
    return out


class OfPatient(Protocol):
    """A record of somebody."""

    @property
    def patient_id(self) -> str | int | None:
        """Who; None or "" where unknown."""


def nearest(
    queries: Floats,
    gallery: Floats,
    k: int,
    *,
    query_patients: Ints | None = None,
    gallery_patients: Ints | None = None,
    seed: int = TIE_SEED,
) -> Neighbours:
    """The k gallery rows with the largest inner product, exactly.

    Args:
        queries, gallery: Unit rows, float32, shapes (n_queries, dim) and (n_gallery, dim).
        k: Neighbours wanted, at least 1; cut to the size of the gallery.
        query_patients, gallery_patients: Numbers from `patient_numbers`; gallery rows of the query's own patient are
            dropped before ranking. Both or neither.
        seed: Equal scores are ordered by one permutation of the gallery drawn from this seed.

    Returns:
        Row numbers and scores, (n_queries, k), best first.

    Raises:
        QueryError: k below 1, or embeddings that do not fit together.
    """
    check_embeddings(queries, gallery)
    if k < 1:
        raise QueryError(f"k is {k} (expected at least 1)")
    k = min(k, len(gallery))
    order = np.random.default_rng(seed).permutation(len(gallery))
    shuffled = np.ascontiguousarray(gallery[order].T)
    shared: Ints | None = None
    if query_patients is not None and gallery_patients is not None:
        shared = gallery_patients[order] if np.isin(query_patients, gallery_patients).any() else None
    rows = np.empty((len(queries), k), dtype=np.int64)
    scores = np.empty((len(queries), k), dtype=np.float32)
    for start in range(0, len(queries), _CHUNK):
        part = slice(start, min(start + _CHUNK, len(queries)))
        similarity = queries[part] @ shuffled
        if shared is not None and query_patients is not None:
            similarity[query_patients[part, None] == shared[None, :]] = -np.inf
        best = _best(similarity, k)
        rows[part] = order[best]
        scores[part] = np.take_along_axis(similarity, best, axis=1)
    rows[np.isneginf(scores)] = -1
    return Neighbours(rows, scores)


def nearest_others(
    queries: Floats, gallery: Floats, k: int, query_rows: Sequence[OfPatient], gallery_rows: Sequence[OfPatient]
) -> Neighbours:
    """`nearest` for rows that know their patients: a query's own patient is dropped before ranking.

    Args:
        queries, gallery: Unit rows.
        k: Neighbours wanted.
        query_rows, gallery_rows: Who say their patient.

    Returns:
        Row numbers and scores, (n_queries, k), best first.
    """
    of_queries, of_gallery = patient_numbers([r.patient_id for r in query_rows], [r.patient_id for r in gallery_rows])
    return nearest(queries, gallery, k, query_patients=of_queries, gallery_patients=of_gallery)


def _best(similarity: Floats, k: int) -> Ints:
    """Column numbers of the k largest values of each row, largest first; equal values by column number."""
    n = similarity.shape[1]
    if k >= n:
        return np.argsort(-similarity, axis=1, kind="stable").astype(np.int64)
    best = np.sort(np.argpartition(similarity, n - k, axis=1)[:, n - k :], axis=1)
    by_score = np.argsort(-np.take_along_axis(similarity, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, by_score, axis=1).astype(np.int64)


def first_rank(similarity: Floats, relevant: NDArray[np.bool_], seed: int = TIE_SEED) -> Ints:
    """Rank (from 1) of the best relevant column in each row; ties are ordered by one seeded permutation.

    Args:
        similarity: Shape (n_queries, n_gallery); -inf for a column that is out of the question.
        relevant: Same shape; a relevant column that is out of the question does not count.

    Returns:
        Shape (n_queries,); n_gallery + 1 where no relevant column is left.

    >>> first_rank(np.float32([[0.1, 0.9, 0.5]]), np.array([[True, False, True]]))
    array([2])
    """
    order = np.random.default_rng(seed).permutation(similarity.shape[1])
    scores, right = similarity[:, order], relevant[:, order] & ~np.isneginf(similarity[:, order])
    top = np.where(right, scores, -np.inf).max(axis=1)
    # Columns strictly above the best relevant score, and those equal to it that come first in the permutation.
    first = np.argmax(right & (scores == top[:, None]), axis=1)
    before = np.arange(scores.shape[1])[None, :] < first[:, None]
    rank = 1 + (scores > top[:, None]).sum(axis=1) + ((scores == top[:, None]) & before).sum(axis=1)
    return np.asarray(np.where(right.any(axis=1), rank, similarity.shape[1] + 1), dtype=np.int64)
