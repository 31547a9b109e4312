"""One row of scripts/bench_index.py for a case base on the standalone Milvus server of the PyPI package `milvus`.

    python scripts/bench_milvus.py milvus_flat FOLDER [--limit-s 300]    # FOLDER as bench_index.py --work leaves it

The server is started in a temporary folder and stopped in the end. A query goes the whole way that `ecgkin search`
takes: over the network to the server, and back with the cases. Its times are wall times (the server has threads of its
own); time to build is processor time of server and client together.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.index import create_base
from ecgkin.index.case import Case

K = 10
BATCH = 4000  # the most that is written in one transaction


def processor_s(pid: int) -> float:
    """Processor time of a process with all its threads, s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Memory of a process, MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def measure(kind: str, folder: Path, limit_s: float) -> dict[str, Any]:
    """The row.

    Args:
        kind: "milvus_" and a kind of `ecgkin.index.milvus.table.INDEXES`.
        folder: With vectors.npy, queries.npy and tenth.npy (score of the tenth best case of each query).
        limit_s: To fill and index the base.
    """
    from milvus import MilvusServer

    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    queries, tenth = np.load(folder / "queries.npy"), np.load(folder / "tenth.npy")
    n, dim = vectors.shape
    row: dict[str, Any] = {"kind": kind, "n": n, "dim": dim, "queries": len(queries)}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        server = MilvusServer()
        server.config.set("common.session.ttl", 60)  # a busy machine misses heartbeats
        server.set_base_dir(place)
        server.start()
        pid = server.server_proc.pid
        try:
            address = f"milvus://127.0.0.1:{server.listen_port}/bench"
            wall, cpu = time.perf_counter(), processor_s(pid) + time.process_time()
            with create_base(address, "bench", "0", dim, kind=kind.removeprefix("milvus_")) as base:
                for start in range(0, n, BATCH):
                    if time.perf_counter() - wall > limit_s:
                        return {**row, "unfinished": start, "build_s": time.perf_counter() - wall, "limit_s": limit_s}
                    some = np.array(vectors[start : start + BATCH])
                    base.add([Case(str(i)) for i in range(start, start + len(some))], some)
                base.compact()
                row |= {
                    "build_s": time.perf_counter() - wall,
                    "build_cpu_s": processor_s(pid) + time.process_time() - cpu,
                }
                for query in queries[:10]:
                    base.search(query, K)
                walls, hits = [], 0
                for query, least in zip(queries, tenth, strict=True):
                    begun = time.perf_counter()
                    found = base.search(query, K)
                    walls.append(1e3 * (time.perf_counter() - begun))
                    ids = [int(case.case_id) for case, _ in found]
                    hits += int((vectors[ids] @ query >= least - 1e-5).sum())
                memory, size = resident_mb(pid), sum(f.stat().st_size for f in Path(place).rglob("*") if f.is_file())
        finally:
            server.server_proc.kill()
            server.server_proc.wait()
            server.server_proc = None
    p50, p95 = np.percentile(walls, [50, 95]).tolist()
    return row | {
        "bytes_per_vector": size / n,
        "ram_mb": memory,
        "true_vectors_elsewhere": False,
        "recall_at_10": hits / (K * len(queries)),
        "p50_ms": p50,
        "p95_ms": p95,
        "wall_p50_ms": p50,
        "wall_p95_ms": p95,
        "server": True,
    }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", help="milvus_flat, milvus_hnsw, milvus_ivf_sq8")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit-s", type=float, default=300)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of pymilvus and grpc
    print(json.dumps(measure(options.kind, options.folder, options.limit_s)))


if __name__ == "__main__":
    main()
