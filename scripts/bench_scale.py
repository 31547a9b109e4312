"""What a case base costs at 20,000, a million, ten million cases: measured where it can be, the rest by arithmetic.

    python scripts/bench_scale.py plan --measured scale.json           # written by scripts/bench_index.py --out
    python scripts/bench_scale.py milvus --base bench.db --n 5000      # Milvus Lite; or milvus://host:port/name
    python scripts/bench_scale.py ingest --cases 240 --workers 1 2     # cases a second; --ray: on a cluster, too
    python scripts/bench_scale.py --quick                              # all three on small numbers (CI)

`plan` takes bytes a vector, processor time to build and to ask from one measured row an engine, and scales them by what
each engine does with n vectors of d numbers (docs/scale.md says why):

    flat        memory n (4 d + 16)          build n              query n
    hnsw        memory n (measured bytes)    build n log n        query log n
    ivf_*       memory n (measured bytes)    build n sqrt(n)      query sqrt(n)    (2 sqrt(n) lists, 64 of them read)
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.index import create_base, open_base
from ecgkin.index.case import Case
from ecgkin.index.engines.protocol import Vectors
from ecgkin.index.ingest.pipeline import ingest_records, open_or_create
from ecgkin.index.sources.items import IngestItem
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.base import Encoder

SEED = 20240607
K = 10
# What a case takes besides its index (docs/scale.md): true vector, row and report, samples of 10 s at 500 Hz (60,000
# samples at about one byte each, see `ecgkin.index.waveform`).
ROW_BYTES, SAMPLE_BYTES = 2_000, 60_000
_ID_BYTES, _GRAPH_BYTES = 16, 8 * 32 + 32  # besides the 4 d of a vector: flat, and HNSW with M = 32
ENCODE_S = 0.05  # one drawing on one core of a workstation (issue 11); `ingest` measures this machine's
SIZES = (20_000, 200_000, 1_000_000, 10_000_000)


def scaled(row: dict[str, Any], n: int) -> dict[str, float]:
    """Memory, time to build and time to ask at n vectors, from a measured row.

    >>> scaled({"kind": "flat", "n": 100, "bytes_per_vector": 8, "build_cpu_s": 1.0, "p50_ms": 2.0, "p95_ms": 3.0}, 200)
    {'bytes': 1600, 'build_s': 2.0, 'p50_ms': 4.0, 'p95_ms': 6.0}
    """
    times = n / row["n"]
    graph = row["kind"] in ("hnsw", "hnswlib", "usearch", "milvus_hnsw")
    lists = row["kind"].startswith("ivf")
    ask = math.log(n) / math.log(row["n"]) if graph else math.sqrt(times) if lists else times
    build = times * ask if graph or lists else times
    size = n * row["bytes_per_vector"]
    if row.get(
        "server"
    ):  # its process holds much besides: what it took, and for each vector more what the engine needs
        size = 1e6 * row["ram_mb"] + (n - row["n"]) * (4 * row["dim"] + (_GRAPH_BYTES if graph else _ID_BYTES))
    return {
        "bytes": size,
        "build_s": row["build_cpu_s"] * build,
        "p50_ms": row["p50_ms"] * ask,
        "p95_ms": row["p95_ms"] * ask,
    }


def plan(measured: Path, at: int | None) -> list[str]:
    """The tables of the plan, as Markdown."""
    rows = [row for row in json.loads(measured.read_text())["rows"] if "unfinished" not in row]
    largest = {kind: max(r["n"] for r in rows if r["kind"] == kind) for kind in {r["kind"] for r in rows}}
    lines = [
        "| kind | cases | measured at | recall@10 there | memory GB | build, core-hours | p50 ms | p95 ms |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        if row["n"] != (at or largest[row["kind"]]) or row["kind"] == "numpy":
            continue
        for n in SIZES:
            s = scaled(row, n)
            lines.append(
                f"| {row['kind']} | {n:,} | {row['n']:,} | {row['recall_at_10']:.3f} | {s['bytes'] / 1e9:,.2f} "
                f"| {s['build_s'] / 3600:,.2f} | {s['p50_ms']:,.1f} | {s['p95_ms']:,.1f} |"
            )
    dim = rows[0]["dim"]
    lines += [
        "",
        "| cases | vectors GB | rows and reports GB | samples GB | encoding, core-hours | on 64 cores, hours |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    for n in SIZES:
        hours = n * ENCODE_S / 3600
        gb = [n * size / 1e9 for size in (4 * dim, ROW_BYTES, SAMPLE_BYTES)]
        lines.append(f"| {n:,} | {gb[0]:,.2f} | {gb[1]:,.2f} | {gb[2]:,.1f} | {hours:,.1f} | {hours / 64:,.2f} |")
    return lines


def made_vectors(n: int, dim: int) -> Vectors:
    """Clusters with jitter, unit rows."""
    rng = np.random.default_rng(SEED)
    centres = rng.standard_normal((max(20, n // 200), dim), dtype=np.float32)
    rows = centres[rng.integers(0, len(centres), n)] + 0.7 * rng.standard_normal((n, dim), dtype=np.float32)
    units: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return units


def milvus(address: str, n: int, dim: int, n_queries: int) -> list[str]:
    """Fill a base on Milvus, ask it, compare with brute force; the base stays."""
    vectors = made_vectors(n + n_queries, dim)
    queries, vectors = vectors[:n_queries], vectors[n_queries:]
    with create_base(address, "bench", "0", dim) as base:
        wall = time.perf_counter()
        for start in range(0, n, 1000):
            some = range(start, min(n, start + 1000))
            base.add([Case(f"b/{i}", sex="FM"[i % 2]) for i in some], vectors[some.start : some.stop])
        filled = time.perf_counter() - wall
        wall = time.perf_counter()
        base.compact()
        compacted = time.perf_counter() - wall
        lines = ["| base | cases | index | filter | recall@10 | p50 ms | p95 ms | cases/s in | compact s |"]
        lines.append("|---|--:|---|---|--:|--:|--:|--:|--:|")
        for where in ("", "sex=F"):
            own = np.arange(n) % 2 == 0 if where else np.ones(n, dtype=bool)
            times, hits = [], 0
            for query in queries:
                tenth = np.sort(vectors[own] @ query)[-K]
                wall = time.perf_counter()
                found = base.search(query, K, where)
                times.append(1e3 * (time.perf_counter() - wall))
                hits += sum(score >= tenth - 1e-4 for _, score in found)
            p50, p95 = np.percentile(times, [50, 95])
            name, kind = address.rpartition("/")[2], base.info()["index_kind"]
            lines.append(
                f"| {name} | {n:,} | {kind} | {where or '-'} "
                f"| {hits / K / n_queries:.4f} | {p50:.1f} | {p95:.1f} | {n / filled:.0f} | {compacted:.1f} |"
            )
    return lines


def gallery(n: int) -> list[IngestItem]:
    """Simulated records, each made when it is read."""
    return [IngestItem(Case(f"made/{i}", source="made"), lambda i=i: made_record(i)) for i in range(n)]  # type: ignore[misc]


def made_record(number: int) -> EcgRecord:
    """One simulated record."""
    from ecgkin.retrieval.ecg.simulation.simulate import simulate

    return simulate(("NORM",), np.random.default_rng(number)).record


def ingest(n: int, workers: list[int], encoder: Encoder, ray: bool) -> Iterator[str]:
    """Cases a second, by number of processes; each line as soon as it is measured."""
    yield "| how | cases | seconds | cases/s | in the base |"
    yield "|---|--:|--:|--:|--:|"
    with tempfile.TemporaryDirectory() as folder:
        for number in workers:
            with open_or_create(Path(folder) / f"w{number}", encoder) as base:
                start = time.perf_counter()
                report = ingest_records(base, gallery(n), encoder, workers=number)
                took = time.perf_counter() - start
                if len(base) != n:
                    sys.exit(f"{n} cases went in, {len(base)} came out: {report.failed[:3]}")
                yield f"| {number} process(es) | {n} | {took:.1f} | {report.added / took:.1f} | {len(base)} |"
        if ray:
            yield _on_ray(n, Path(folder), encoder)


def _on_ray(n: int, folder: Path, encoder: Encoder) -> str:
    # Ray's workers step back behind everything else on the machine unless told otherwise.
    os.environ.update(RAY_worker_niceness="0", RAY_USAGE_STATS_ENABLED="0")
    import ray
    import wfdb
    from ray.cluster_utils import Cluster

    from ecgkin.index.ingest.ray import ray_ingest, write_manifest

    (folder / "records").mkdir()
    for i in range(n):
        made = made_record(i)
        wfdb.wrsamp(
            f"r{i}", fs=made.fs_hz, units=["mV"] * 12, sig_name=list(made.leads), fmt=["16"] * 12,
            adc_gain=[1000.0] * 12, p_signal=made.signal_mv.T.astype(float), baseline=[0] * 12,
            write_dir=str(folder / "records"),
        )  # fmt: skip
    write_manifest("folder", folder / "records", folder / "manifest.jsonl")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        second = cluster.add_node(num_cpus=1)
        killed = False

        def progress(now: Any) -> None:
            nonlocal killed
            if not killed and now.n_seen >= n // 2:
                killed = True
                cluster.remove_node(second, allow_graceful=False)

        start = time.perf_counter()
        report = ray_ingest(
            folder / "manifest.jsonl", folder / "ray", encoder.name, address=cluster.address, chunk=8, progress=progress
        )
        took = time.perf_counter() - start
    finally:
        ray.shutdown()  # a cluster is not stopped while somebody is connected to it
        cluster.shutdown()
    with open_base(folder / "ray") as base:
        how = "Ray, two nodes, one killed half way"
        return f"| {how} | {n} | {took:.1f} | {report.added / took:.1f} | {len(base)} |"


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["plan", "milvus", "ingest"])
    parser.add_argument("--quick", action="store_true", help="all on small numbers, below 30 s")
    parser.add_argument("--measured", type=Path, help="JSON of scripts/bench_index.py")
    parser.add_argument("--measured-n", type=int, help="rows of this size; default: the largest of each kind")
    parser.add_argument("--base", help="address on Milvus where nothing is yet")
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--dim", type=int, default=448)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--cases", type=int, default=240)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--encoder", default="default")
    parser.add_argument("--ray", action="store_true", help="also on a Ray cluster of two nodes on this machine")
    options = parser.parse_args()
    if not options.quick and options.what is None:
        parser.error("say plan, milvus or ingest, or --quick")
    if options.what == "plan":
        print("\n".join(plan(options.measured, options.measured_n)))
    if options.what == "milvus":
        print("\n".join(milvus(options.base, options.n, options.dim, options.queries)))
    if options.what == "ingest":
        from ecgkin.retrieval.encoders import load_encoder

        for line in ingest(options.cases, options.workers, load_encoder(options.encoder), options.ray):
            print(line, flush=True)
    if options.quick:
        from ecgkin.retrieval.encoders.hashing import HashingEncoder

        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "measured.json"
            script = Path(__file__).with_name("bench_index.py")
            command = [sys.executable, str(script), "--quick", "--kinds", "flat", "--out", str(out)]
            subprocess.run(command, check=True, capture_output=True)
            print("\n".join(plan(out, None)))
            lines = [*ingest(24, [1, 2], HashingEncoder(), ray=False)]  # before Milvus: gRPC is not for forking
            print("\n".join(milvus(f"{folder}/quick.db", 600, 32, 20)))
        print("\n".join(lines))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
