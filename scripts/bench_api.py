"""Load on the API over loopback: throughput, latencies, errors, memory, and what sharing the encoder is worth.

    python scripts/bench_api.py [--quick] [--base DIR] [--encoder NAME] [--seconds S] [--clients 1,4,16] [--json FILE]

A server in a process of its own (`--base`, or 400 simulated cases), clients of this project in this one, each asking
again as soon as it has its answer: of ten requests five are searches by samples, two by words, one by a picture and
two are drafts. Every level runs twice, with batches of 8 and with batches of 1, in the same run. `--encoder tower`
is the image tower of the default architecture with random weights (as slow as the trained one, and it finds nothing);
`hashing` costs nothing to encode and shows what the server itself takes. Memory is the server's resident set.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
from numpy.typing import NDArray

from ecgkin.ui.client import ApiError, AsyncClient

if TYPE_CHECKING:
    from PIL import Image

    from ecgkin.retrieval.ecg.page import PageReading
    from ecgkin.retrieval.ecg.record import EcgRecord

Vectors = NDArray[np.float32]
MIX = ("record",) * 5 + ("text",) * 2 + ("image",) + ("draft",) * 2
WORDS = ("atrial fibrillation", "LBBB", "Vorhofflimmern", "left ventricular hypertrophy", "normal ECG")
N_CASES = 400


class RandomTower:
    """The image tower of the default architecture with random weights; words by hashing."""

    name = "random-tower"
    fingerprint = "random-tower-0"

    def __init__(self) -> None:
        import torch

        from ecgkin.retrieval.encoders.hashing import HashingEncoder
        from ecgkin.retrieval.encoders.model import Architecture, build_image_tower

        torch.manual_seed(0)
        architecture = Architecture.load("default")
        self.dim = architecture.dim
        self._tower = build_image_tower(architecture).eval()
        self._words = HashingEncoder(self.dim)

    def encode_pages(self, pages: Sequence[PageReading]) -> Vectors:
        """Trace maps of pages that were read."""
        return self._encode([page.trace_map for page in pages])

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Pictures."""
        from ecgkin.retrieval.ecg.page import read_page

        return self.encode_pages([read_page(image) for image in images])

    def encode_records(self, records: Sequence[EcgRecord]) -> Vectors:
        """Records, by one drawing each."""
        from ecgkin.retrieval.ecg.trace_map import draw_trace_map

        return self._encode([draw_trace_map(record) for record in records])

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Words."""
        return self._words.encode_texts(texts)

    def _encode(self, maps: Sequence[NDArray[np.uint8]]) -> Vectors:
        import torch

        with torch.inference_mode():
            out = self._tower(torch.from_numpy(np.stack(maps))[:, None].float() / 255)
            vectors: Vectors = torch.nn.functional.normalize(out, dim=1).numpy()
        return vectors


def encoder_of(name: str) -> Any:
    """The encoder that a name means here."""
    if name == "tower":
        return RandomTower()
    from ecgkin.retrieval.encoders import load_encoder

    return load_encoder(name)


def serve(base: Path, encoder: str, batch: int) -> None:
    """Serve until killed; the address goes to stdout."""
    from ecgkin.ui.api.app import create_app
    from ecgkin.ui.api.serving import address, bind, server
    from ecgkin.ui.api.state import State
    from ecgkin.ui.settings import load_settings

    settings = load_settings(api_port=0, api_batch=batch)
    listener = bind(settings)
    app = create_app(settings, State.open(base, settings, encoder_of(encoder)))
    print(address(listener), flush=True)
    server(app, settings).run([listener])


def make_base(folder: Path, encoder: Any) -> Path:
    """A base of simulated cases."""
    from ecgkin.index.ingest import ingest_records, open_or_create
    from ecgkin.ui.demo_cases import simulated_gallery

    with open_or_create(folder, encoder) as base:
        ingest_records(base, simulated_gallery(N_CASES), encoder)
    return folder


def resident_mb(pid: int) -> float:
    """Memory of a process, MB; NaN where the system does not say."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return float("nan")
    found = re.search(r"VmRSS:\s+(\d+)", text)
    return int(found[1]) / 1000 if found else float("nan")


async def load(url: str, clients: int, seconds: float, records: list[EcgRecord], page: bytes) -> dict[str, Any]:
    """Ask from so many clients for so long."""
    took: dict[str, list[float]] = {kind: [] for kind in dict.fromkeys(MIX)}
    errors: Counter[str] = Counter()
    until = time.perf_counter() + seconds

    async def one(number: int) -> None:
        rng = random.Random(number)
        async with AsyncClient(url) as client:
            while time.perf_counter() < until:
                kind = rng.choice(MIX)
                start = time.perf_counter()
                try:
                    if kind == "record":
                        await client.search(record=rng.choice(records))
                    elif kind == "text":
                        await client.search(text=rng.choice(WORDS))
                    elif kind == "image":
                        await client.search(("page.png", page))
                    else:
                        await client.draft(record=rng.choice(records))
                except ApiError as error:
                    errors[f"{error.status} {error.kind}"] += 1
                    continue
                took[kind].append(time.perf_counter() - start)

    start = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(clients)))
    wall = time.perf_counter() - start
    every = np.array([t for times in took.values() for t in times])
    p50, p95, p99 = (1e3 * np.percentile(every, q) for q in (50, 95, 99)) if len(every) else (np.nan,) * 3
    return {
        "clients": clients, "requests": len(every), "errors": dict(errors), "per_second": len(every) / wall,
        "p50_ms": p50, "p95_ms": p95, "p99_ms": p99,
        "p50_ms_by_kind": {kind: 1e3 * float(np.median(times)) for kind, times in took.items() if times},
    }  # fmt: skip


def mean_batch(url: str) -> float:
    """Inputs in each call of the encoder so far."""
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    sums = {
        name: sum(map(float, re.findall(rf"^ecgkin_batch_size_{name}{{.*}} (\S+)", text, re.M)))
        for name in ("sum", "count")
    }
    return sums["sum"] / max(1.0, sums["count"])


def run(
    base: Path, args: argparse.Namespace, batch: int, records: list[EcgRecord], page: bytes
) -> list[dict[str, Any]]:
    """All levels against one server."""
    command = [sys.executable, __file__, "--serve", str(batch), "--base", str(base), "--encoder", args.encoder]
    env = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    rows = []
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        for _ in range(600):
            try:
                httpx.get(f"{url}/readyz", trust_env=False)
                break
            except httpx.HTTPError:
                time.sleep(0.1)
        asyncio.run(load(url, 2, 2.0, records, page))  # warm: libraries load on first use
        for clients in args.clients:
            before = resident_mb(process.pid)
            row = asyncio.run(load(url, clients, args.seconds, records, page))
            row |= {
                "batch": batch,
                "mean_batch": mean_batch(url),
                "mb_before": before,
                "mb_after": resident_mb(process.pid),
            }
            rows.append(row)
            print(
                f"{batch:5d} {clients:7d} {row['requests']:8d} {sum(row['errors'].values()):6d} "
                f"{row['per_second']:8.1f} {row['p50_ms']:8.0f} {row['p95_ms']:8.0f} {row['p99_ms']:8.0f} "
                f"{row['mean_batch']:10.2f} {row['mb_before']:8.0f} {row['mb_after']:7.0f}",
                flush=True,
            )
    finally:
        process.terminate()
        process.wait(timeout=90)
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two levels of two seconds")
    parser.add_argument("--base", type=Path)
    parser.add_argument("--encoder", default="hashing")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=lambda text: [int(n) for n in text.split(",")], default=[1, 4, 16, 64])
    parser.add_argument("--threads", type=int, default=1, help="of the server's numerical libraries")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve is not None:
        serve(args.base, args.encoder, args.serve)
        return
    if args.quick:
        args.clients, args.seconds = [1, 8], 2.0
    from ecgkin.ui.demo_cases import simulated_query

    records = [simulated_query(seed)[1] for seed in range(4)]
    from ecgkin.retrieval.ecg.drawing import render
    from ecgkin.retrieval.ecg.paper import RenderStyle

    drawn = io.BytesIO()
    render(records[0], RenderStyle(width_px=1100, height_px=850)).save(drawn, "PNG")
    with tempfile.TemporaryDirectory() as folder:
        base = args.base or make_base(Path(folder) / "base", encoder_of(args.encoder))
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        print(f"encoder {args.encoder}, {args.seconds:g} s a level, {cores} cores, {platform.platform()}")
        print("batch clients requests errors    req/s   p50 ms   p95 ms   p99 ms mean batch  MB from      to")
        rows = [row for batch in (8, 1) for row in run(base, args, batch, records, drawn.getvalue())]
    if args.json:
        args.json.write_text(json.dumps({"encoder": args.encoder, "seconds": args.seconds, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
