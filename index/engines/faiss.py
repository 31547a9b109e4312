"""The FAISS engine behind `VectorIndex`: exact while a case base is small, trained and approximate when it is large.

| kind       | structure                                | scores                              | removing         |
|------------|------------------------------------------|-------------------------------------|------------------|
| flat       | float32 rows                             | exact                               | at once          |
| hnsw       | graph over float32 rows                  | exact for what is found             | marked, then rebuilt |
| ivf_sq8    | inverted lists, 8 bits a number          | candidates re-scored by true vectors | at once         |
| ivf_pq     | inverted lists, dim/4 bytes              | "                                   | at once          |
| ivf_rabitq | inverted lists, 4 bits a number (RaBitQ) | "                                   | at once          |

Filters act inside the search (FAISS's ID selectors); where an approximate kind comes back with fewer hits than exist,
or few rows are allowed anyway, the allowed rows are searched exactly: k hits come back, or all there are.

The graphics card is unproven: with faiss-gpu and a GPU, unfiltered searches of the flat kind go to a copy there
(`device="auto"` or `"cuda"`), but this was written without either at hand.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from ecgkin.index.engines.protocol import FetchVectors, Ids, Vectors, check_ids, check_k, check_vectors, top_k
from ecgkin.retrieval.errors import CaseBaseError, QueryError

# Few queries, one thread: with two threads on busy cores one flat query over 17 k rows took 9.3 ms instead of .54.
SINGLE_THREAD_UP_TO = 8


def load_faiss() -> Any:
    """FAISS."""
    # Its type stubs lack half of what the Python layer adds.
    import faiss

    return cast(Any, faiss)


def gpu_resources(device: str) -> Any:
    """FAISS's handle of a graphics card; None where the processor is to be used."""
    if device not in ("auto", "cpu", "cuda"):
        raise QueryError(f"device is {device!r} (expected auto, cpu or cuda)")
    if device == "cpu":
        return None
    faiss = load_faiss()

    if hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0:
        return faiss.StandardGpuResources()
    if device == "cuda":
        raise QueryError(
            "device cuda: this FAISS has no GPU support or sees no GPU", hint="install the extra [gpu], or use auto"
        )
    return None


@contextmanager
def few_threads(n_queries: int) -> Iterator[None]:
    """One thread inside, if there are only few queries."""
    faiss = load_faiss()

    before = faiss.omp_get_max_threads()
    if n_queries > SINGLE_THREAD_UP_TO or before == 1:
        yield
        return
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


_FLAT_HEAD = 74  # bytes of FAISS's IndexIDMap2 and IndexFlat before the number of numbers
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

    Args:
        n: Number of vectors.
        dim: Length of a vector.

    Returns:
        One of `KINDS`.

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

    Returns:
        An index of FAISS.

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
    """Each row by falling score, ties to the smaller id.

    Args:
        scores: Shape (n_queries, k).
        ids: Shape (n_queries, k).

    Returns:
        Both in their new order.
    """
    order = np.lexsort((ids, -scores), axis=-1)
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)


# Reading this many rows and multiplying costs no more than an approximate search that has to look wider for them.
EXACT_BELOW = 2048
WIDEN_AT_MOST = 8  # a filter that lets one row in n through widens the search n-fold, up to this
_MAGIC = b"ECGKIN-FAISS-1\n"


class FaissIndex:
    """A FAISS index of one of `KINDS` under int64 ids.

    Args:
        dim: Length of a vector.
        kind: One of `KINDS`.
        fetch: Gives the true vectors of ids, shape (n, dim); needed by the quantised kinds, which do not keep them.
        device: "cpu", "cuda" (an error where there is none) or "auto".

    Raises:
        QueryError: Unknown kind or device, a quantised kind without `fetch`, or no GPU where one is asked for.
    """

    def __init__(
        self, dim: int, kind: str = "flat", *, fetch: FetchVectors | None = None, device: str = "auto"
    ) -> None:
        if kind not in KINDS:
            raise QueryError(f"index kind is {kind!r} (expected one of {', '.join(KINDS)})")
        if kind in QUANTISED and fetch is None:
            raise QueryError(f"index kind {kind} keeps no true vectors (expected `fetch`, which reads them elsewhere)")
        self.dim = dim
        self.kind = kind
        self._fetch = fetch
        self._gpu_resources = gpu_resources(device)
        self._gpu: Any = None
        self._ids: Ids = np.empty(0, dtype=np.int64)  # live, ascending
        self._dead: Ids = np.empty(0, dtype=np.int64)  # still in the graph, never found
        self._index: Any = None if kind in QUANTISED else new_index(self.kind, self.dim, 0)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def ids(self) -> Ids:
        """The live ids, ascending, shape (n,)."""
        return self._ids

    @property
    def outgrown(self) -> bool:
        """`rebuild` would pay: a fifth of the graph is dead, or the lists suit another size."""
        if self.kind == "hnsw":
            return 4 * len(self._dead) > len(self._ids)
        if self.kind not in QUANTISED or self._index is None:
            return False
        return not 0.5 <= n_lists(len(self._ids)) / int(self._index.nlist) <= 2.0

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add vectors, shape (n, dim), under new ids, shape (n,). The first ones train the quantised kinds.

        Args:
            ids: Shape (n,), >= 0.
            vectors: Unit rows, shape (n, dim).
        """
        matrix = check_vectors(vectors, self.dim)
        new = check_ids(ids, len(matrix))
        if not len(new):
            return
        taken = new[self._live(new)]
        if taken.size:
            raise QueryError(f"id {int(taken[0])} is taken already (expected new ids)")
        if self._dead.size and np.isin(new, self._dead).any():
            self.rebuild()
        if self._index is None:
            self.train(matrix, len(matrix))
        self._index.add_with_ids(matrix, new)
        self._gpu = None
        rising = not self._ids.size or (int(new.min()) > int(self._ids[-1]))
        self._ids = np.concatenate([self._ids, np.sort(new)])
        if not rising:
            self._ids.sort()

    def train(self, sample: Vectors, n: int) -> None:
        """Lay out the lists for n vectors and train them on some, before the first `add`: the rest may come in blocks.

        Args:
            sample: Unit rows, shape (m, dim); `training_rows(n)` of them are enough.
            n: How many vectors will be there.

        Raises:
            QueryError: The index holds vectors already, or the sample cannot be used.
        """
        if len(self._ids):
            raise QueryError(f"the index holds {len(self._ids)} vectors (expected none before it is trained)")
        matrix = check_vectors(sample, self.dim, "training vectors")
        if self.kind in QUANTISED:
            self._index = new_index(self.kind, self.dim, n)
            self._index.train(matrix)

    def remove(self, ids: Ids) -> None:
        """Take ids out, shape (n,)."""
        faiss = load_faiss()

        gone = check_ids(ids)
        known = self._live(gone)
        if not known.all():
            raise QueryError(f"id {int(gone[~known][0])} is not in the index")
        if not len(gone):
            return
        self._ids = np.setdiff1d(self._ids, gone, assume_unique=True)
        if self.kind == "hnsw":
            self._dead = np.concatenate([self._dead, gone])
        else:
            self._index.remove_ids(faiss.IDSelectorBatch(gone))
            self._gpu = None

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
        if allowed is not None:
            allowed = np.unique(np.asarray(allowed, dtype=np.int64))
            allowed = allowed[self._live(allowed)]
        rows = self._ids if allowed is None else allowed
        want = min(k, len(rows))
        scores = np.full((len(matrix), k), np.nan, dtype=np.float32)
        found = np.full((len(matrix), k), -1, dtype=np.int64)
        if not want or not len(matrix):
            return scores, found
        if self.kind != "flat" and len(rows) <= max(EXACT_BELOW, 2 * want):
            scores[:, :want], found[:, :want] = exact_search(self.vectors, matrix, rows, want)
            return scores, found
        with few_threads(len(matrix)):
            top, hits = self._approximate(matrix, want, allowed, len(rows))
        short = np.flatnonzero((hits < 0).any(axis=1))
        if short.size:
            top[short], hits[short] = exact_search(self.vectors, matrix[short], rows, want)
        scores[:, :want], found[:, :want] = in_order(top, hits)
        return scores, found

    def vectors(self, ids: Ids) -> Vectors:
        """The true vectors, shape (n, dim)."""
        wanted = np.ascontiguousarray(ids, dtype=np.int64)
        known = self._live(wanted)
        if not known.all():
            raise QueryError(f"id {int(wanted[~known][0])} is not in the index")
        if self._fetch is not None and self.kind in QUANTISED:
            return self._fetch(wanted)
        if not len(wanted):
            return np.empty((0, self.dim), dtype=np.float32)
        return np.asarray(self._index.reconstruct_batch(wanted), dtype=np.float32)

    def rebuild(self) -> None:
        """Build the structure anew from the live vectors: sheds removed ids (hnsw), trains again (ivf)."""
        ids, vectors = self._ids, self.vectors(self._ids)
        self._index = None if self.kind in QUANTISED else new_index(self.kind, self.dim, 0)
        self._ids, self._dead, self._gpu = ids[:0], ids[:0], None
        self.add(ids, vectors)

    def save(self, path: Path) -> None:
        """Write one file: a head, the live ids, then FAISS's own format."""
        faiss = load_faiss()

        head = {"kind": self.kind, "dim": self.dim, "n": len(self._ids), "empty": self._index is None}
        with open(path, "wb") as file:
            file.write(_MAGIC + json.dumps(head).encode() + b"\n" + self._ids.astype("<i8").tobytes())
            if self._index is not None:
                faiss.write_index(self._index, faiss.PyCallbackIOWriter(_writer(file), 1 << 20))

    @classmethod
    def load(cls, path: Path, *, fetch: FetchVectors | None = None, device: str = "auto") -> FaissIndex:
        """Read what `save` wrote.

        Args:
            path: The file.
            fetch: Gives the true vectors of ids, shape (n, dim); needed by the quantised kinds.
            device: "cpu", "cuda" or "auto".

        Returns:
            The index.

        Raises:
            CaseBaseError: It is no such file, or it is cut short. (A file that was edited may load: check its sum.)
        """
        faiss = load_faiss()

        with open(path, "rb") as file:
            try:
                if file.read(len(_MAGIC)) != _MAGIC:
                    raise ValueError("it does not begin as an index of ecgkin does")
                head = json.loads(file.readline(4096))
                index = cls(int(head["dim"]), str(head["kind"]), fetch=fetch, device=device)
                ids = np.frombuffer(file.read(8 * int(head["n"])), dtype="<i8").astype(np.int64)
                if not head["empty"]:
                    _check_sizes(path, file.tell(), index.kind, len(ids), index.dim)
                    index._index = faiss.read_index(faiss.PyCallbackIOReader(file.read, 1 << 20))
                stored = 0 if index._index is None else int(index._index.ntotal)
                if len(ids) != head["n"] or stored < len(ids):
                    raise ValueError(f"it holds {stored} vectors and {len(ids)} ids (expected {head['n']})")
                _check_loaded(index._index, index.kind, index.dim, ids)
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RuntimeError, MemoryError) as error:
                raise CaseBaseError(f"{path} is not a whole index file: {str(error)[:200]}") from error
        index._ids = ids
        if index.kind == "hnsw" and stored > len(ids):
            index._dead = np.setdiff1d(faiss.vector_to_array(index._index.id_map), ids)
        return index

    def _live(self, ids: Ids) -> np.ndarray[Any, np.dtype[np.bool_]]:
        at = np.searchsorted(self._ids, ids)
        live = at < len(self._ids)
        live[live] = self._ids[at[live]] == ids[live]
        return live

    def _approximate(self, queries: Vectors, want: int, allowed: Ids | None, n_rows: int) -> tuple[Vectors, Ids]:
        """What FAISS finds, -1 where nothing; exact for flat, candidates scored by true vectors for quantised kinds."""
        faiss = load_faiss()

        # FAISS holds bare pointers: what is kept must live as long as the search.
        selector, keep = selector_of(allowed, self._dead)
        wider = min(WIDEN_AT_MOST, -(-len(self._ids) // n_rows))
        if self.kind == "flat":
            if selector is None and self._gpu_resources is not None:
                return self._on_gpu(queries, want)
            params = None if selector is None else faiss.SearchParameters(sel=selector)
            top, hits = self._index.search(queries, want, params=params)
        elif self.kind == "hnsw":
            breadth = max(HNSW_EF_SEARCH, 2 * want) * wider
            top, hits = self._index.search(
                queries, want, params=faiss.SearchParametersHNSW(sel=selector, efSearch=breadth)
            )
        else:
            options = {"sel": selector, "nprobe": min(IVF_PROBE * wider, int(self._index.nlist))}
            make = faiss.IVFRaBitQSearchParameters if self.kind == "ivf_rabitq" else faiss.SearchParametersIVF
            n_candidates = min(n_rows, max(IVF_CANDIDATES * want, IVF_MIN_CANDIDATES))
            _, candidates = self._index.search(queries, n_candidates, params=make(**options))
            top, hits = rescored(self.vectors, queries, candidates, want)
        del keep
        return np.clip(top, -1.0, 1.0), hits

    def _on_gpu(self, queries: Vectors, want: int) -> tuple[Vectors, Ids]:
        faiss = load_faiss()

        if self._gpu is None:
            positions = faiss.vector_to_array(self._index.id_map)
            self._gpu = faiss.index_cpu_to_gpu(self._gpu_resources, 0, self._index.index), positions
        copy, positions = self._gpu
        top, at = copy.search(queries, want)
        return np.clip(top, -1.0, 1.0), np.where(at >= 0, positions[at], -1)


def _check_sizes(path: Path, at: int, kind: str, n: int, dim: int) -> None:
    """Refuse a flat index that names more numbers than it holds: FAISS takes the memory that a file names.

    Raises:
        ValueError: Sizes do not fit, or it is not laid out as FAISS lays out a flat index under ids.
    """
    if kind != "flat":
        return
    with path.open("rb") as file:
        file.seek(at)
        head = file.read(_FLAT_HEAD + 8)
        file.seek(4 * n * dim, 1)
        named = file.read(8)
    sizes = int.from_bytes(head[_FLAT_HEAD:], "little"), int.from_bytes(named, "little")
    if head[:4] != b"IxM2" or head[37:41] != b"IxFI" or len(named) != 8 or sizes != (n * dim, n):
        raise ValueError(f"it names {sizes[0]} numbers of {sizes[1]} vectors (expected {n * dim} of {n})")


def _check_loaded(loaded: Any, kind: str, dim: int, ids: Ids) -> None:
    """Refuse what FAISS has read where it is not an index of this kind, size and ids.

    Raises:
        ValueError: It is not.
    """
    if loaded is None:
        return
    faiss = load_faiss()
    if int(loaded.d) != dim or loaded.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise ValueError(f"it holds vectors of {loaded.d} numbers (expected {dim}, compared by their product)")
    if kind not in QUANTISED:
        named = np.sort(faiss.vector_to_array(loaded.id_map))
        if len(named) != loaded.ntotal or loaded.index.ntotal != loaded.ntotal or int(loaded.index.d) != dim:
            raise ValueError(f"it holds {loaded.index.ntotal} vectors under {len(named)} ids")
        if not np.isin(ids, named).all() or (kind == "flat" and len(ids) != len(named)):
            raise ValueError("its ids are not those of its vectors")


def _writer(file: BinaryIO) -> Callable[[bytes], int]:
    def write(block: bytes) -> int:
        return int(file.write(block))

    return write
