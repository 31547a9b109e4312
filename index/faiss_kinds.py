"""The kinds of FAISS index: which there are, how each is built, and which one suits a number of vectors."""

from __future__ import annotations

import math
from typing import Any

from ecgkin.index.faiss_run import load_faiss
from ecgkin.retrieval.errors import QueryError

KINDS = ("flat", "hnsw", "ivf_sq8", "ivf_pq", "ivf_rabitq")
QUANTISED = ("ivf_sq8", "ivf_pq", "ivf_rabitq")

HNSW_LINKS = 32  # FAISS's and hnswlib's usual M
HNSW_EF_BUILD = 100
HNSW_EF_SEARCH = 96
# With 32 of 283 lists recall@10 was .94 on one draw of 20,000 made vectors and 1.0 on another.
IVF_PROBE = 64
IVF_CANDIDATES = 10  # candidates per hit wanted that are scored again by their true vectors ...
IVF_MIN_CANDIDATES = 200  # ... and at least so many
# k-means on 64 points a centroid instead of FAISS's 256: a quarter of the time to train.
IVF_TRAIN_POINTS = 64
PQ_ROUNDS = 10  # of k-means for each part of a vector; with FAISS's 25 most of the time to build went there
# Real vectors of 448 numbers and jittered copies, one core, processor time (scripts/bench_index.py, docs/scale.md): a
# flat query took 3.1 ms at 20,000 and 43 ms at 200,000, ivf_sq8 1.3 and 2.3 ms (472 bytes a vector), ivf_rabitq 1.7 and
# 3.1 ms (268 bytes, 2.7 times as long to build), all at recall@10 1.0; ivf_pq at 20,000 took 20 times as long to train.
FLAT_BYTES = 200_000 * 256 * 4


def choose_kind(n: int, dim: int) -> str:
    """The kind for n vectors, by measurements (see FLAT_BYTES).

    >>> choose_kind(20_000, 256), choose_kind(1_000_000, 256)
    ('flat', 'ivf_sq8')
    """
    return "flat" if n * dim * 4 <= FLAT_BYTES else "ivf_sq8"


def training_rows(n: int) -> int:
    """How many of n vectors the quantised kinds are trained on.

    >>> training_rows(1_000), training_rows(1_000_000)
    (1000, 128000)
    """
    return min(n, max(256, IVF_TRAIN_POINTS * n_lists(n)))


def new_index(kind: str, dim: int, n: int) -> Any:
    """An empty index of FAISS, to be trained where `kind` is quantised.

    Args:
        kind: One of `KINDS`.
        dim: Length of a vector.
        n: Vectors that will come; decides how many lists there are.

    Raises:
        QueryError: They are too few to train it.
    """
    faiss = load_faiss()

    if kind == "flat":
        return faiss.IndexIDMap2(faiss.IndexFlatIP(dim))
    if kind == "hnsw":
        graph = faiss.IndexHNSWFlat(dim, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = HNSW_EF_BUILD
        return faiss.IndexIDMap2(graph)
    lists = n_lists(n)
    if kind == "ivf_pq":
        if n < 256:
            raise QueryError(f"{n} vectors cannot train ivf_pq (expected at least 256)", hint="use kind flat")
        # "np": without FAISS's polysemous training, which took 30 s for 5,000 vectors and serves
        # Hamming scans alone.
        code = f"PQ{max(m for m in range(1, dim // 4 + 1) if dim % m == 0)}np"
    else:
        code = {"ivf_sq8": "SQ8", "ivf_rabitq": "RaBitQ4"}[kind]
    index = faiss.index_factory(dim, f"IVF{lists},{code}", faiss.METRIC_INNER_PRODUCT)
    index.cp.max_points_per_centroid = IVF_TRAIN_POINTS
    if kind == "ivf_pq":
        index.pq.cp.max_points_per_centroid = IVF_TRAIN_POINTS
        index.pq.cp.niter = PQ_ROUNDS
    return index


def n_lists(n: int) -> int:
    """Lists of an inverted file over n vectors.

    FAISS wants 39 points a list; 2 sqrt(n) lists balance finding the lists against reading them.
    """
    return max(1, min(math.isqrt(4 * n), n // 39))
