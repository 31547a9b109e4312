"""What the searches of the FAISS engine share: filters as selectors, true vectors instead of rough ones, one order."""

from __future__ import annotations

from typing import Any

import numpy as np

from ecgkin.index.exact import top_k
from ecgkin.index.faiss_run import load_faiss
from ecgkin.index.protocol import FetchVectors, Ids, Vectors

FETCH_BLOCK = 16384  # rows that are fetched at a time for an exact search (16 MB at 256 dimensions)


def selector_of(allowed: Ids | None, dead: Ids) -> tuple[Any, Any]:
    """FAISS's filter for a search, and what it points to.

    Args:
        allowed: Ids that may be found, ascending; None for all but the dead.
        dead: Ids that are still in the graph, and are not among those allowed.

    Returns:
        The selector, None where every row counts; and an object that must live as long as the search, because FAISS
        holds a bare pointer to it.
    """
    faiss = load_faiss()

    if allowed is not None:
        bits = np.zeros(int(allowed[-1]) + 1, dtype=bool)
        bits[allowed] = True
        keep = np.packbits(bits, bitorder="little")
        return faiss.IDSelectorBitmap(keep), keep
    if dead.size:
        keep = faiss.IDSelectorBatch(dead)
        return faiss.IDSelectorNot(keep), keep
    return None, None


def rescored(vectors: FetchVectors, queries: Vectors, candidates: Ids, want: int) -> tuple[Vectors, Ids]:
    """The best of some candidates by their true vectors.

    Args:
        vectors: Gives the true vectors of ids, shape (n, dim).
        queries: Unit rows, shape (n_queries, dim).
        candidates: Ids, shape (n_queries, n_candidates), -1 where there is none.
        want: How many.

    Returns:
        Scores and ids, each of shape (n_queries, want), best first; NaN and -1 where there are too few.
    """
    needed = np.unique(candidates[candidates >= 0])
    true = vectors(needed)
    top = np.full((len(queries), want), np.nan, dtype=np.float32)
    hits = np.full((len(queries), want), -1, dtype=np.int64)
    for i, row in enumerate(candidates):
        ids = row[row >= 0]
        top[i : i + 1], hits[i : i + 1] = top_k(queries[i : i + 1], ids, true[np.searchsorted(needed, ids)], want)
    return top, hits


def exact_search(vectors: FetchVectors, queries: Vectors, rows: Ids, want: int) -> tuple[Vectors, Ids]:
    """Brute force over the true vectors of some rows, block by block.

    Args:
        vectors: Gives the true vectors of ids, shape (n, dim).
        queries: Unit rows, shape (n_queries, dim).
        rows: Ids that are searched, shape (n,).
        want: How many, at most n.

    Returns:
        Scores and ids, each of shape (n_queries, want), in the order of `in_order`.
    """
    top = np.empty((len(queries), 0), dtype=np.float32)
    hits = np.empty((len(queries), 0), dtype=np.int64)
    for start in range(0, len(rows), FETCH_BLOCK):
        block = rows[start : start + FETCH_BLOCK]
        more_top, more_hits = top_k(queries, block, vectors(block), min(want, len(block)))
        top, hits = in_order(np.hstack([top, more_top]), np.hstack([hits, more_hits]))
        top, hits = top[:, :want], hits[:, :want]
    return top, hits


def in_order(scores: Vectors, ids: Ids) -> tuple[Vectors, Ids]:
    """Each row by falling score, ties to the smaller id."""
    order = np.lexsort((ids, -scores), axis=-1)
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)
