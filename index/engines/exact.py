"""The NumPy twin of every index: plain matrix product and sort. It is the judge in tests, not meant to be fast."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ecgkin.index.engines.protocol import Ids, Vectors, check_ids, check_k, check_vectors
from ecgkin.retrieval.errors import QueryError


class ExactIndex:
    """Exact search by brute force; ties go to the smaller id."""

    kind = "exact"

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._ids: Ids = np.empty(0, dtype=np.int64)  # ascending
        self._vectors: Vectors = np.empty((0, dim), dtype=np.float32)

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add vectors, shape (n, dim), under new ids, shape (n,).

        Args:
            ids: Shape (n,), >= 0.
            vectors: Unit rows, shape (n, dim).
        """
        matrix = check_vectors(vectors, self.dim)
        new = check_ids(ids, len(matrix))
        taken = np.intersect1d(new, self._ids)
        if taken.size:
            raise QueryError(f"id {int(taken[0])} is taken already (expected new ids)")
        order = np.argsort(np.concatenate([self._ids, new]), kind="stable")
        self._ids = np.concatenate([self._ids, new])[order]
        self._vectors = np.concatenate([self._vectors, matrix])[order]

    def remove(self, ids: Ids) -> None:
        """Take ids out, shape (n,)."""
        keep = np.ones(len(self._ids), dtype=bool)
        keep[self._rows(check_ids(ids))] = False
        self._ids, self._vectors = self._ids[keep], self._vectors[keep]

    def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> tuple[Vectors, Ids]:
        """See `VectorIndex.search`."""
        matrix, k = check_vectors(queries, self.dim, "queries"), check_k(k)
        rows = np.arange(len(self._ids)) if allowed is None else np.flatnonzero(np.isin(self._ids, allowed))
        return top_k(matrix, self._ids[rows], self._vectors[rows], k)

    def vectors(self, ids: Ids) -> Vectors:
        """The stored vectors, shape (n, dim)."""
        return self._vectors[self._rows(np.asarray(ids, dtype=np.int64))]

    def save(self, path: Path) -> None:
        """Write a NumPy archive."""
        with open(path, "wb") as file:
            np.savez(file, ids=self._ids, vectors=self._vectors)

    @classmethod
    def load(cls, path: Path) -> ExactIndex:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as archive:
            index = cls(int(archive["vectors"].shape[1]))
            index._ids, index._vectors = archive["ids"], archive["vectors"]
        return index

    def _rows(self, ids: Ids) -> Ids:
        rows = np.searchsorted(self._ids, ids)
        found = rows < len(self._ids)
        found[found] = self._ids[rows[found]] == ids[found]
        if not found.all():
            raise QueryError(f"id {int(ids[~found][0])} is not in the index")
        return rows.astype(np.int64)


def top_k(queries: Vectors, ids: Ids, vectors: Vectors, k: int) -> tuple[Vectors, Ids]:
    """The k best of the given vectors for each query, padded with NaN and -1, ties to the smaller id.

    Args:
        queries: Unit rows, shape (n_queries, dim).
        ids: Ids of the vectors, shape (m,).
        vectors: Unit rows, shape (m, dim).
        k: >= 1.

    Returns:
        Scores (n_queries, k) float32 and ids (n_queries, k) int64.
    """
    scores = np.full((len(queries), k), np.nan, dtype=np.float32)
    found = np.full((len(queries), k), -1, dtype=np.int64)
    keep = min(k, len(ids))
    if not keep:
        return scores, found
    products = np.clip(queries @ vectors.T, -1.0, 1.0)
    for i, row in enumerate(products):
        order = np.lexsort((ids, -row))[:keep]
        scores[i, :keep], found[i, :keep] = row[order], ids[order]
    return scores, found
