"""What the case base asks of an engine that finds neighbours, and its NumPy twin, plain matrix product and sort.

FAISS is the engine today, a server's if ever one is needed. The twin is the judge in tests, not meant to be fast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.errors import QueryError

Vectors: TypeAlias = NDArray[np.float32]
Ids: TypeAlias = NDArray[np.int64]
FetchVectors: TypeAlias = Callable[[Ids], Vectors]

# float32 sums of 1,000 squares are off by some 1e-6; half-precision encoders by 1e-3 before they normalise in float32.
UNIT_TOLERANCE = 1e-3


class VectorIndex(Protocol):
    """Unit vectors under int64 ids (>= 0), searched by cosine.

    Every engine answers like `ExactIndex`: same scores to 1e-5, same ids up to ties
    (approximate kinds: up to their recall). Methods raise QueryError for vectors that are not finite, not of unit
    length or of another dimension, for ids that are taken (add) or unknown (remove, vectors), and for k < 1.
    """

    @property
    def kind(self) -> str:
        """Name of the structure: "exact", "flat", "hnsw", ..."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    def __len__(self) -> int:
        """How many vectors can be found."""

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add vectors, shape (n, dim), under ids, shape (n,).

        Args:
            ids: New ones, shape (n,), >= 0.
            vectors: Unit rows, shape (n, dim).
        """

    def remove(self, ids: Ids) -> None:
        """Take ids out, shape (n,)."""

    def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> tuple[Vectors, Ids]:
        """The k nearest of each query among the allowed ids, best first.

        Args:
            queries: Unit rows, shape (n_queries, dim).
            k: How many, >= 1.
            allowed: Ids that may be found, shape (m,); those that are not stored are ignored. None: all.

        Returns:
            Scores (true cosines) and ids, both of shape (n_queries, k). Where fewer than k exist the rest is NaN
            and -1; with an approximate kind, too, nothing is missing that a smaller k would leave out.
        """

    def vectors(self, ids: Ids) -> Vectors:
        """The stored vectors of these ids, shape (n, dim)."""

    def save(self, path: Path) -> None:
        """Write to one file; durable when this returns is the caller's affair (`atomic.write_atomic`)."""


def check_vectors(vectors: Vectors, dim: int, what: str = "vectors") -> Vectors:
    """The vectors as a C-ordered float32 matrix, shape (n, dim).

    Args:
        vectors: What a caller gave.
        dim: Length of a vector.
        what: What to call them in messages.

    Returns:
        float32, shape (n, dim).

    Raises:
        QueryError: Wrong shape, NaN or infinity, or rows that are not of unit length (to 1e-3).
    """
    matrix = np.ascontiguousarray(vectors, dtype=np.float32)
    if matrix.ndim != 2 or matrix.shape[1] != dim:
        raise QueryError(f"{what} have shape {matrix.shape} (expected (n, {dim}))", hint="use the base's own encoder")
    square = np.einsum("ij,ij->i", matrix, matrix)
    # NaN and infinity fail this comparison, too.
    bad = np.flatnonzero(~(np.abs(square - 1.0) <= 2 * UNIT_TOLERANCE))
    if bad.size:
        row = int(bad[0])
        found = "NaN or infinity" if not np.isfinite(matrix[row]).all() else f"length {float(square[row]) ** 0.5:.4g}"
        raise QueryError(
            f"{what}: row {row} has {found} (expected unit length; {bad.size} such rows of {len(matrix)})",
            hint="divide each row by its norm before it comes here",
        )
    return matrix


def check_ids(ids: Ids, n: int | None = None) -> Ids:
    """The ids as int64, shape (n,).

    Args:
        ids: What a caller gave.
        n: How many there must be; None for any number.

    Returns:
        int64, shape (n,).

    Raises:
        QueryError: Not a vector of n different numbers >= 0.
    """
    array = np.ascontiguousarray(ids, dtype=np.int64)
    if array.ndim != 1 or (n is not None and len(array) != n):
        raise QueryError(f"ids have shape {array.shape} (expected ({'n' if n is None else n},))")
    if array.size and (int(array.min()) < 0 or len(np.unique(array)) != len(array)):
        raise QueryError("ids hold a negative number or one number twice (expected different numbers >= 0)")
    return array


def check_k(k: int) -> int:
    """k itself.

    Raises:
        QueryError: It is not a whole number >= 1.
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise QueryError(f"k is {k!r} (expected a whole number >= 1)")
    return int(k)


def check_exclusions(
    n: int, patients: Sequence[str | None] | None, cases: Sequence[str | None] | None
) -> tuple[Sequence[str | None], Sequence[str | None]]:
    """The patient and the case that each of `n` queries leaves out; None for all of them where none are given.

    Args:
        n: Number of queries.
        patients: For each query a patient to leave out, or None; None for no exclusion at all.
        cases: The same for cases.

    Returns:
        Patients and cases, n of each.

    Raises:
        QueryError: There are not as many as queries.
    """
    left, out = ([None] * n if some is None else some for some in (patients, cases))
    if not len(left) == len(out) == n:
        raise QueryError(f"{len(left)} and {len(out)} exclusions for {n} queries")
    return left, out


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
        """See `VectorIndex.search`.

        Args:
            queries: Unit vectors, (n, dim).
            k: Hits a query.
            allowed: Ids that may be found, ascending; None for all.

        Returns:
            Cosines and ids, each (n, k), best first.
        """
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
