"""Index kinds against brute force, hnswlib and usearch: recall@10, latency, bytes a vector, time to build.

    python scripts/bench_index.py                       # 20,000 vectors, every kind
    python scripts/bench_index.py --n 1000000 --kinds flat ivf_rabitq
    python scripts/bench_index.py --vectors v.npy       # real embeddings, filled up with jittered copies
    python scripts/bench_index.py --quick               # below 30 s

Every engine gets the same vectors, the same queries and one thread for a query. Recall is counted against NumPy's
matrix product. Bytes a vector: the file of the index; for the quantised kinds the true vectors, which they score with,
stay in SQLite (`fetch`; here: in memory), `true on disk` says so. `choose_kind` is chosen from this table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.index.faiss_index import HNSW_EF_BUILD, HNSW_EF_SEARCH, HNSW_LINKS, KINDS, QUANTISED, FaissIndex
from ecgkin.index.protocol import Ids, Vectors

SEED = 20240607
K = 10
OTHERS = ("hnswlib", "usearch")
# Spread of made vectors around their centres, and of copies around real ones, as a share of the length.
CLUSTER_SPREAD = 0.7
JITTER = 0.3
Search = Callable[[Vectors], Ids]


def unit(rows: Any) -> Vectors:
    """Rows of length 1, float32."""
    units: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return units


def made_vectors(n: int, dim: int, rng: np.random.Generator) -> Vectors:
    """Clusters of uneven size (one for some 200 vectors) with jitter."""
    n_centres = max(20, n // 200)
    centres = unit(rng.standard_normal((n_centres, dim), dtype=np.float32))
    weights = rng.pareto(1.5, n_centres) + 0.1
    which = rng.choice(n_centres, n, p=weights / weights.sum())
    out = np.empty((n, dim), dtype=np.float32)
    for start in range(0, n, 100_000):
        part = slice(start, min(n, start + 100_000))
        noise = rng.standard_normal((part.stop - part.start, dim), dtype=np.float32) / np.float32(dim**0.5)
        out[part] = unit(centres[which[part]] + CLUSTER_SPREAD * noise)
    return out


def filled_up(real: Vectors, n: int, rng: np.random.Generator) -> Vectors:
    """Real vectors, then jittered copies of them."""
    rows = [unit(real[:n])]
    missing = n - len(rows[0])
    for start in range(0, missing, 100_000):
        m = min(100_000, missing - start)
        noise = rng.standard_normal((m, real.shape[1]), dtype=np.float32) / np.float32(real.shape[1] ** 0.5)
        rows.append(unit(rows[0][rng.integers(0, len(rows[0]), m)] + JITTER * noise))
    return np.concatenate(rows)


def truth(vectors: Vectors, queries: Vectors) -> Vectors:
    """Scores of the K best by brute force in blocks, shape (n_queries, K)."""
    best = np.full((len(queries), K), -2.0, dtype=np.float32)
    for start in range(0, len(vectors), 100_000):
        scores = queries @ vectors[start : start + 100_000].T
        best = np.sort(np.hstack([best, scores]), axis=1)[:, : -K - 1 : -1]
    return best


def build(kind: str, vectors: Vectors, folder: Path) -> tuple[Search, int]:
    """A search over the vectors and the bytes of its file."""
    ids = np.arange(len(vectors), dtype=np.int64)
    path = folder / kind
    if kind == "numpy":
        return lambda q: np.argsort(-(vectors @ q[0]), kind="stable")[None, :K], vectors.nbytes
    if kind == "hnswlib":
        import hnswlib  # type: ignore[import-untyped, unused-ignore]

        index = hnswlib.Index(space="ip", dim=vectors.shape[1])
        index.init_index(len(vectors), ef_construction=HNSW_EF_BUILD, M=HNSW_LINKS, random_seed=SEED)
        index.add_items(vectors, ids)
        index.set_ef(HNSW_EF_SEARCH)
        index.save_index(str(path))
        return lambda q: index.knn_query(q, k=K, num_threads=1)[0].astype(np.int64), path.stat().st_size
    if kind == "usearch":
        from usearch.index import Index

        other = Index(
            ndim=vectors.shape[1], metric="ip", dtype="f32", connectivity=HNSW_LINKS,
            expansion_add=HNSW_EF_BUILD, expansion_search=HNSW_EF_SEARCH,
        )  # fmt: skip
        other.add(ids, vectors)
        other.save(str(path))
        return lambda q: np.asarray(other.search(q[0], K).keys, dtype=np.int64)[None], path.stat().st_size
    own = FaissIndex(vectors.shape[1], kind, fetch=lambda wanted: vectors[wanted], device="cpu")
    own.add(ids, vectors)
    own.save(path)
    return lambda q: own.search(q, K)[1], path.stat().st_size


def measure(kind: str, vectors: Vectors, queries: Vectors, best: Vectors) -> dict[str, Any]:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        search, size = build(kind, vectors, Path(folder))
        build_s = time.perf_counter() - start
    for query in queries[:10]:
        search(query[None])
    times, hits = [], 0
    for query, scores in zip(queries, best, strict=True):
        start = time.perf_counter()
        found = search(query[None])[0]
        times.append(1e3 * (time.perf_counter() - start))
        # A hit is anything as near as the tenth best: ties have no order.
        hits += int((vectors[found[found >= 0]] @ query >= scores[-1] - 1e-5).sum())
    return {
        "kind": kind,
        "n": len(vectors),
        "recall_at_10": hits / (K * len(queries)),
        "p50_ms": float(np.percentile(times, 50)),
        "p95_ms": float(np.percentile(times, 95)),
        "bytes_per_vector": size / len(vectors),
        "true_vectors_elsewhere": kind in QUANTISED,
        "build_s": build_s,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| vectors | kind | recall@10 | p50 ms | p95 ms | bytes a vector | build s |",
        "|--:|---|--:|--:|--:|--:|--:|",
    ]
    for r in rows:
        size = f"{r['bytes_per_vector']:,.0f}" + (" (+ true on disk)" if r["true_vectors_elsewhere"] else "")
        lines.append(
            f"| {r['n']:,} | {r['kind']} | {r['recall_at_10']:.4f} | {r['p50_ms']:.3f} | {r['p95_ms']:.3f} | {size} "
            f"| {r['build_s']:.1f} |"
        )
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    names = ("numpy", "faiss-cpu", "hnswlib", "usearch")
    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except ImportError:
            versions[name] = "not installed"
    model = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    load = os.getloadavg()[0]
    return {
        "processor": model[0] if model else platform.processor(),
        "cores": os.cpu_count(),
        "threads_a_query": 1,
        "load_at_start": round(load, 2),
        "python": platform.python_version(),
        **versions,
    }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[20_000], help="numbers of vectors")
    parser.add_argument("--dim", type=int, default=256, help="length of a vector (of --vectors, if given)")
    parser.add_argument(
        "--kinds", nargs="+", choices=["numpy", *KINDS, *OTHERS], help="default: all that are installed"
    )
    parser.add_argument("--vectors", type=Path, help=".npy of real embeddings, shape (n, dim)")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--quick", action="store_true", help="5,000 vectors, 50 queries, no ivf_pq")
    options = parser.parse_args()
    if options.quick:
        options.n, options.queries = [5000], 50
    about = machine()
    kinds = options.kinds or ["numpy", *KINDS, *(name for name in OTHERS if about[name] != "not installed")]
    if options.quick and not options.kinds:
        kinds.remove("ivf_pq")
    rng = np.random.default_rng(SEED)
    real = None if options.vectors is None else np.load(options.vectors, allow_pickle=False).astype(np.float32)
    rows = []
    for n in options.n:
        m = n + options.queries
        every = made_vectors(m, options.dim, rng) if real is None else filled_up(real, m, rng)
        # Queries are held out: a real vector and its jittered copies may fall on both sides, as cases of a patient do.
        held = rng.choice(m, options.queries, replace=False)
        queries, vectors = every[held], np.delete(every, held, axis=0)
        del every
        best = truth(vectors, queries)
        for kind in kinds:
            rows.append(measure(kind, vectors, queries, best))
            print(table(rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    result = {"machine": about, "source": str(options.vectors or "made clusters"), "rows": rows}
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(about))
    print(table(rows))


if __name__ == "__main__":
    main()
