"""Index kinds against brute force, hnswlib and usearch: recall@10, latency, bytes a vector, memory, time to build.

    python scripts/bench_index.py                                      # 20,000 made vectors, every kind
    python scripts/bench_index.py --vectors v.npy --n 20000 200000     # real embeddings, and jittered copies
    python scripts/bench_index.py --vectors v.npy --n 1000000 --total-s 1200 --out scale.json  # can be started again
    python scripts/bench_index.py --vectors v.npy --n 20000 --milvus   # a Milvus server, too
    python scripts/bench_index.py --quick                              # below 30 s

Every engine gets the same vectors and queries and one thread, in a process of its own that is fed in blocks from a file
(`--work`), so that memory holds one engine and never the vectors besides. Each row of the table is written to `--out`
when it is there; a run with the same `--out` passes over the rows that it finds. An engine that is not built within
`--limit-s` is stopped, and its row says how far it came; after `--total-s` nothing new is begun.

Recall is counted against NumPy's matrix product. Times are those of the processor (`thread_time`), which other programs
on the same core change little, beside wall time. Bytes a vector: the file of the index; the quantised kinds score with
the true vectors, which stay on the disk (SQLite in a case base, the vectors' file here). `choose_kind` follows this
table.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.index.engines.faiss import (
    HNSW_EF_BUILD,
    HNSW_EF_SEARCH,
    HNSW_LINKS,
    KINDS,
    QUANTISED,
    FaissIndex,
    training_rows,
)
from ecgkin.index.engines.protocol import Ids, Vectors

SEED = 20240607
K = 10
OTHERS = ("hnswlib", "usearch")
# A case base on a server (scripts/bench_milvus.py), up to so many vectors: the flat one ends where
# `choose_milvus_kind` ends it, the other where filling it would take as long as all the rest.
SERVERS = {"milvus_flat": 100_000, "milvus_hnsw": 200_000}
# Cheap to build first, so that a run that ends early has said most.
ORDER = ("numpy", "flat", "ivf_rabitq", "ivf_sq8", "hnswlib", "hnsw", "ivf_pq", "usearch")
# Spread of made vectors around their centres, and of copies around real ones, as a share of the length.
CLUSTER_SPREAD = 0.7
JITTER = 0.3
BLOCK = 20_000  # vectors in memory at a time besides the engine's own: 36 MB at 448 dimensions
Search = Callable[[Vectors], Ids]


class OutOfTime(Exception):
    """An engine was not built in time; the argument is the number of vectors that it holds."""


@dataclass(frozen=True)
class Gallery:
    """Vectors on the disk, with queries and what they should find.

    Attributes:
        vectors: Unit rows, shape (n, dim), mapped from a file.
        queries: Unit rows, shape (n_queries, dim).
        tenth: Score of the K-th best of each query, shape (n_queries,).
    """

    vectors: Vectors
    queries: Vectors
    tenth: Vectors

    def blocks(self) -> Iterator[tuple[Ids, Vectors]]:
        """Ids and vectors, block by block."""
        for start in range(0, len(self.vectors), BLOCK):
            rows = np.array(self.vectors[start : start + BLOCK])
            yield np.arange(start, start + len(rows), dtype=np.int64), rows


def unit(rows: Any) -> Vectors:
    """Rows of length 1, float32."""
    units: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return units


def jittered(sources: Vectors, spread: float, n: int, weights: Any, rng: np.random.Generator) -> Iterator[Vectors]:
    """Copies of the sources, each moved by `spread` of its length in a direction of its own."""
    for start in range(0, n, BLOCK):
        m = min(BLOCK, n - start)
        noise = rng.standard_normal((m, sources.shape[1]), dtype=np.float32) / np.float32(sources.shape[1] ** 0.5)
        yield unit(sources[rng.choice(len(sources), m, p=weights)] + np.float32(spread) * noise)


def stream(real: Vectors | None, n: int, dim: int, rng: np.random.Generator) -> Iterator[Vectors]:
    """n vectors: clusters of uneven size (one for some 200 vectors), or real ones and then jittered copies of them."""
    if real is None:
        n_centres = max(20, n // 200)
        weights = rng.pareto(1.5, n_centres) + 0.1
        centres = unit(rng.standard_normal((n_centres, dim), dtype=np.float32))
        yield from jittered(centres, CLUSTER_SPREAD, n, weights / weights.sum(), rng)
        return
    first = unit(real[rng.permutation(len(real))[:n]])
    yield first
    yield from jittered(first, JITTER, n - len(first), None, rng)


def prepared(work: Path, real: Vectors | None, n: int, dim: int, n_queries: int) -> Path:
    """The folder of a gallery, made if it is not there. Queries are held out: a real vector and its copies may fall on
    both sides, as cases of a patient do."""
    source = (
        "made" if real is None else hashlib.blake2b(np.ascontiguousarray(real).tobytes(), digest_size=6).hexdigest()
    )
    dim = dim if real is None else int(real.shape[1])
    folder = work / f"{source}-{n}-{dim}-{n_queries}"
    if (folder / "tenth.npy").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SEED)
    m = n + n_queries
    held = np.zeros(m, dtype=bool)
    held[rng.choice(m, n_queries, replace=False)] = True
    out = np.lib.format.open_memmap(folder / "vectors.npy", mode="w+", dtype=np.float32, shape=(n, dim))
    queries, at, done = [], 0, 0
    for rows in stream(real, m, dim, rng):
        out_of_these = held[at : at + len(rows)]
        queries.append(rows[out_of_these])
        kept = rows[~out_of_these]
        out[done : done + len(kept)] = kept
        at, done = at + len(rows), done + len(kept)
    out.flush()
    every = np.concatenate(queries)
    np.save(folder / "queries.npy", every)
    best = np.full((len(every), K), -2.0, dtype=np.float32)
    for start in range(0, n, BLOCK):
        best = -np.sort(-np.hstack([best, every @ np.array(out[start : start + BLOCK]).T]), axis=1)[:, :K]
    np.save(folder / "tenth.npy", best[:, -1])
    return folder


def opened(folder: Path) -> Gallery:
    """The gallery in a folder."""
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    return Gallery(vectors, np.load(folder / "queries.npy"), np.load(folder / "tenth.npy"))


def in_time(gallery: Gallery, deadline: float) -> Iterator[tuple[Ids, Vectors]]:
    """The blocks, until the deadline."""
    for ids, rows in gallery.blocks():
        if time.perf_counter() > deadline:
            raise OutOfTime(int(ids[0]))
        yield ids, rows


def build(kind: str, gallery: Gallery, path: Path, deadline: float) -> tuple[Search, int]:
    """A search over the vectors and the bytes of its file."""
    n, dim = gallery.vectors.shape
    if kind == "numpy":
        every = np.concatenate([rows for _, rows in in_time(gallery, deadline)])
        return lambda q: _first(every @ q[0]), every.nbytes
    if kind == "hnswlib":
        import hnswlib  # type: ignore[import-untyped, unused-ignore]

        graph = hnswlib.Index(space="ip", dim=dim)
        graph.init_index(n, ef_construction=HNSW_EF_BUILD, M=HNSW_LINKS, random_seed=SEED)
        for ids, rows in in_time(gallery, deadline):
            graph.add_items(rows, ids, num_threads=1)
        graph.set_ef(HNSW_EF_SEARCH)
        graph.save_index(str(path))
        return lambda q: graph.knn_query(q, k=K, num_threads=1)[0].astype(np.int64), path.stat().st_size
    if kind == "usearch":
        from usearch.index import Index

        other = Index(
            ndim=dim, metric="ip", dtype="f32", connectivity=HNSW_LINKS,
            expansion_add=HNSW_EF_BUILD, expansion_search=HNSW_EF_SEARCH,
        )  # fmt: skip
        for ids, rows in in_time(gallery, deadline):
            other.add(ids, rows, threads=1)
        other.save(str(path))
        return lambda q: np.asarray(other.search(q[0], K, threads=1).keys, dtype=np.int64)[None], path.stat().st_size
    own = FaissIndex(dim, kind, fetch=lambda wanted: np.array(gallery.vectors[wanted]), device="cpu")
    if kind in QUANTISED:
        own.train(np.array(gallery.vectors[:: max(1, n // training_rows(n))]), n)
    for ids, rows in in_time(gallery, deadline):
        own.add(ids, rows)
    own.save(path)
    return lambda q: own.search(q, K)[1], path.stat().st_size


def _first(scores: Vectors) -> Ids:
    best = np.argpartition(-scores, K)[:K]
    return best[np.argsort(-scores[best])][None].astype(np.int64)


def measure(kind: str, gallery: Gallery, limit_s: float) -> dict[str, Any]:
    """One row of the table."""
    n = len(gallery.vectors)
    row: dict[str, Any] = {"kind": kind, "n": n, "dim": gallery.vectors.shape[1], "queries": len(gallery.queries)}
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            search, size = build(kind, gallery, Path(folder) / kind, wall + limit_s)
        except OutOfTime as stopped:
            return {
                **row,
                "unfinished": int(stopped.args[0]),
                "build_s": time.perf_counter() - wall,
                "limit_s": limit_s,
            }
        row |= {"build_s": time.perf_counter() - wall, "build_cpu_s": time.process_time() - cpu}
    row |= {"bytes_per_vector": size / n, "ram_mb": _anonymous_mb(), "true_vectors_elsewhere": kind in QUANTISED}
    for query in gallery.queries[:10]:
        search(query[None])
    walls, cpus, hits = [], [], 0
    for query, tenth in zip(gallery.queries, gallery.tenth, strict=True):
        wall, cpu = time.perf_counter(), time.thread_time()
        found = search(query[None])[0]
        cpus.append(1e3 * (time.thread_time() - cpu))
        walls.append(1e3 * (time.perf_counter() - wall))
        # A hit is anything as near as the tenth best: ties have no order.
        hits += int((gallery.vectors[found[found >= 0]] @ query >= tenth - 1e-5).sum())
    return row | {
        "recall_at_10": hits / (K * len(gallery.queries)),
        "p50_ms": float(np.percentile(cpus, 50)),
        "p95_ms": float(np.percentile(cpus, 95)),
        "wall_p50_ms": float(np.percentile(walls, 50)),
        "wall_p95_ms": float(np.percentile(walls, 95)),
    }


def _anonymous_mb() -> float:
    # Pages of the vectors' file are not counted: the system takes them back when it needs them.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| vectors | kind | recall@10 | p50 ms | p95 ms | wall p50 | wall p95 | bytes a vector | memory MB | build s |",
        "|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for r in rows:
        if "unfinished" in r:
            told = f"not built in {r['limit_s']:,.0f} s: {r['unfinished']:,} of {r['n']:,} vectors"
            lines.append(f"| {r['n']:,} | {r['kind']} | - | - | - | - | - | - | - | {told} |")
            continue
        # A server's processor time is not that of its client.
        own = {name: "-" if r.get("server") else f"{r[name]:.2f}" for name in ("p50_ms", "p95_ms")}
        size = f"{r['bytes_per_vector']:,.0f}" + (" (+ true on disk)" if r["true_vectors_elsewhere"] else "")
        lines.append(
            f"| {r['n']:,} | {r['kind']} | {r['recall_at_10']:.4f} | {own['p50_ms']} | {own['p95_ms']} "
            f"| {r['wall_p50_ms']:.2f} | {r['wall_p95_ms']:.2f} | {size} | {r['ram_mb']:,.0f} "
            f"| {r['build_cpu_s']:.1f} |"
        )
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    versions = {}
    for name in ("numpy", "faiss-cpu", *OTHERS):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    text = Path("/proc/cpuinfo").read_text()
    model = [line.split(":")[1].strip() for line in text.splitlines() if "model name" in line]
    return {
        "processor": model[0] if model else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": 1,
        "load_at_start": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **versions,
    }


def in_its_own_process(kind: str, folder: Path, limit_s: float) -> dict[str, Any]:
    """`measure` in a child with one thread, whose memory is gone when it ends."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, __file__, "--one", kind, str(folder), "--limit-s", str(limit_s)]
    if kind in SERVERS:
        script = Path(__file__).with_name("bench_milvus.py")
        command = [sys.executable, str(script), kind, str(folder), "--limit-s", str(limit_s)]
    done = subprocess.run(command, env={**os.environ, **one_thread}, stdout=subprocess.PIPE, text=True, check=True)
    row: dict[str, Any] = json.loads(done.stdout)
    return row


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[20_000], help="numbers of vectors")
    parser.add_argument("--dim", type=int, default=448, help="length of a vector (of --vectors, if given)")
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=["numpy", *KINDS, *OTHERS, *SERVERS],
        help="default: all that are installed, servers by --milvus",
    )
    parser.add_argument("--vectors", type=Path, help=".npy of real embeddings, shape (n, dim); or .npz with them as v")
    parser.add_argument("--milvus", action="store_true", help="also on the server of the package `milvus`")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--work", type=Path, help="folder for the vectors' files; default: a temporary one")
    parser.add_argument("--limit-s", type=float, default=300, help="to build one engine")
    parser.add_argument("--total-s", type=float, default=1e9, help="after that many seconds no engine is begun")
    parser.add_argument("--out", type=Path, help="JSON file; rows that it holds are not measured again")
    parser.add_argument("--quick", action="store_true", help="5,000 vectors, 50 queries, no ivf_pq")
    parser.add_argument("--one", nargs=2, metavar=("KIND", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], opened(Path(options.one[1])), options.limit_s)))
        return
    if options.quick:
        options.n, options.queries = [5000], 50
    begun = time.perf_counter()
    about = machine()
    kinds = options.kinds or [kind for kind in ORDER if about.get(kind) != "not installed"]
    kinds += [kind for kind in SERVERS if options.milvus and kind not in kinds]
    if options.quick and not options.kinds:
        kinds.remove("ivf_pq")
    real = None
    if options.vectors is not None:
        loaded = np.load(options.vectors, allow_pickle=False)
        real = (loaded["v"] if options.vectors.suffix == ".npz" else loaded).astype(np.float32)
    result: dict[str, Any] = {"machine": about, "source": str(options.vectors or "made clusters"), "rows": []}
    if options.out is not None and options.out.exists():
        result["rows"] = json.loads(options.out.read_text())["rows"]
    with tempfile.TemporaryDirectory() as temporary:
        for n in options.n:
            folder = prepared(options.work or Path(temporary), real, n, options.dim, options.queries)
            there = {row["kind"] for row in result["rows"] if row["n"] == n and "unfinished" not in row}
            for kind in (kind for kind in kinds if kind not in there and n <= SERVERS.get(kind, n)):
                left = options.total_s - (time.perf_counter() - begun)
                if left <= 0:
                    print(f"{kind} at {n:,}: not begun, {options.total_s:.0f} s are over", file=sys.stderr, flush=True)
                    continue
                row = in_its_own_process(kind, folder, min(options.limit_s, left))
                result["rows"] = [r for r in result["rows"] if (r["n"], r["kind"]) != (n, kind)] + [row]
                print(table([row]).splitlines()[-1], file=sys.stderr, flush=True)
                if options.out is not None:
                    beside = options.out.with_name(options.out.name + ".tmp")
                    beside.write_text(json.dumps(result, indent=1) + "\n")
                    beside.replace(options.out)
    print(json.dumps(about))
    print(table(sorted(result["rows"], key=lambda row: row["n"])))


if __name__ == "__main__":
    main()
