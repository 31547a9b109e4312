"""Load on the API over loopback: throughput, latencies, errors, memory, and what sharing the encoder is worth.

    python scripts/bench_api.py [--quick] [--base DIR] [--encoder NAME] [--device cuda] [--seconds 60]
        [--clients 1,4,16,64] [--batch 8] [--json FILE]

Two servers, each a process of its own over the same cases (`--base`, or 400 simulated ones): one encodes up to
`--batch` queries together, one encodes each by itself. Clients in this process ask again as soon as they have their
answer: of ten requests five are searches by samples, two by words, one by a picture, two are drafts.
Every level is run on both servers, one right after the other, in turns of who is first, so that what else the machine
does falls on both alike; the server's processor time a request does not depend on that at all. `--encoder default` is
the shipped encoder; `tower` its image tower with random weights; `hashing` costs nothing to encode and shows what the
server itself takes. Memory is the server's resident set, read four times a second. The tables are Markdown; the last
one says where a request's time goes, from the servers' own figures (/metrics).
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
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import httpx
import numpy as np
from numpy.typing import NDArray

from ecgkin.ui.api.schemas import Signal

if TYPE_CHECKING:
    from PIL import Image

    from ecgkin.retrieval.ecg.page.printed import PrintedEcg
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

    def encode_printed(self, printed: Sequence[PrintedEcg]) -> Vectors:
        """Trace maps of pages that were read."""
        return self._encode([one.seen.trace_map for one in printed])

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Pictures."""
        from ecgkin.retrieval.ecg.page.printed import read_printed

        return self.encode_printed([read_printed(image) for image in images])

    def encode_records(self, records: Sequence[EcgRecord]) -> Vectors:
        """Records, by one drawing each."""
        from ecgkin.retrieval.ecg.drawing.trace_map import draw_trace_map

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


def encoder_of(name: str, device: str) -> Any:
    """The encoder that a name means here."""
    if name == "tower":
        return RandomTower()
    from ecgkin.retrieval.encoders import load_encoder

    return load_encoder(name, device=device)


def serve(base: Path, encoder: str, batch: int, device: str) -> None:
    """Serve until killed; the address goes to stdout when everything is loaded."""
    from ecgkin.ui.api.state import State
    from ecgkin.ui.server.app import create_app
    from ecgkin.ui.server.serving import address, bind, server
    from ecgkin.ui.settings import load_settings

    settings = load_settings(api_port=0, api_batch=batch, device=device)
    listener = bind(settings)
    state = State(base, settings, encoder_of(encoder, device))
    state.preload()
    app = create_app(settings, state)
    print(address(listener), flush=True)
    server(app, settings).run([listener])


def make_base(folder: Path, encoder: Any) -> Path:
    """A base of simulated cases."""
    from ecgkin.index.ingest.pipeline import ingest_records, open_or_create
    from ecgkin.ui.demo.cases import simulated_gallery

    with open_or_create(folder, encoder) as base:
        ingest_records(base, simulated_gallery(N_CASES), encoder)
    return folder


@dataclass(frozen=True)
class Server:
    """A server under load."""

    batch: int
    url: str
    pid: int

    def figures(self) -> dict[str, float]:
        """Sums and counts of its own figures: by stage, and of the encoder's batches."""
        text = httpx.get(f"{self.url}/metrics", trust_env=False, timeout=60.0).text
        found: dict[str, float] = {}
        pattern = r'^ecgkin_(stage_seconds|batch_size)_(sum|count){\w+="(\w+)"} (\S+)'
        for figure, what, label, value in re.findall(pattern, text, re.MULTILINE):
            name = label if figure == "stage_seconds" else "batch"
            found[f"{name} {what}"] = found.get(f"{name} {what}", 0.0) + float(value)
        return found


@contextmanager
def started(base: Path, args: argparse.Namespace, batch: int) -> Iterator[Server]:
    """A server in a process of its own, ready, and ended at the end."""
    command = [sys.executable, __file__, "--serve", str(batch), "--base", str(base)]
    command += ["--encoder", args.encoder, "--device", args.device]
    env = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise SystemExit("the server did not start")
        yield Server(batch, url, process.pid)
    finally:
        process.terminate()
        process.wait(timeout=90)


class Memory:
    """The resident set of a process while this lasts, MB; empty where the system does not say."""

    def __init__(self, pid: int) -> None:
        self.mb: list[float] = []
        self._status = Path(f"/proc/{pid}/status")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.25):
            try:
                found = re.search(r"VmRSS:\s+(\d+)", self._status.read_text())
            except OSError:
                return
            if found:
                self.mb.append(int(found[1]) / 1000)

    def told(self) -> str:
        """At the beginning, then the mean of each quarter of the time, and at the end: flat, or growing."""
        if len(self.mb) < 4:
            return "-"
        quarters = (np.mean(part) for part in np.array_split(np.array(self.mb), 4))
        return " ".join(f"{mb:.0f}" for mb in (self.mb[0], *quarters, self.mb[-1]))


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used; NaN where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


Sent: TypeAlias = tuple[str, bytes, dict[str, str]]


def requests(records: list[EcgRecord], page: bytes) -> dict[str, list[Sent]]:
    """What is sent, by kind: path, body and headers, made once; making them is not what is measured."""
    signals = [Signal.of(record).model_dump() for record in records]

    def sent(path: str, **body: Any) -> Sent:
        made = httpx.Request("POST", f"http://x{path}", **body)
        return path, made.read(), {"Content-Type": made.headers["content-type"]}

    return {
        "record": [sent("/v1/search", json={"signal": signal}) for signal in signals],
        "text": [sent("/v1/search", json={"text": text}) for text in WORDS],
        "image": [sent("/v1/search", files={"file": ("page.png", page)})],
        "draft": [sent("/v1/drafts", json={"signal": signal}) for signal in signals],
    }


async def load(url: str, clients: int, seconds: float, made: dict[str, list[Sent]]) -> dict[str, Any]:
    """Ask from so many clients for so long."""
    took: dict[str, list[float]] = {kind: [] for kind in made}
    errors: Counter[str] = Counter()

    async def one(client: httpx.AsyncClient, rng: random.Random, until: float) -> None:
        while time.perf_counter() < until:
            kind = rng.choice(MIX)
            path, content, headers = rng.choice(made[kind])
            start = time.perf_counter()
            try:
                answer = await client.post(path, content=content, headers=headers)
            except httpx.HTTPError as error:
                errors[type(error).__name__] += 1
                continue
            if answer.status_code == 200:
                took[kind].append(time.perf_counter() - start)
            else:
                errors[str(answer.status_code)] += 1

    async with AsyncExitStack() as stack:
        given: dict[str, Any] = {"base_url": url, "timeout": 300.0, "trust_env": False, "verify": False}
        every_client = [await stack.enter_async_context(httpx.AsyncClient(**given)) for _ in range(clients)]
        start = time.perf_counter()
        asking = (one(client, random.Random(n), start + seconds) for n, client in enumerate(every_client))
        await asyncio.gather(*asking)
        wall = time.perf_counter() - start
    every = np.array([t for times in took.values() for t in times])
    p50, p95, p99 = (1e3 * np.percentile(every, q) for q in (50, 95, 99)) if len(every) else (np.nan,) * 3
    return {
        "clients": clients, "requests": len(every), "errors": dict(errors), "seconds": wall,
        "per_second": len(every) / wall, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99,
        "p50_ms_by_kind": {kind: 1e3 * float(np.median(times)) for kind, times in took.items() if times},
    }  # fmt: skip


def level(server: Server, clients: int, seconds: float, made: dict[str, list[Sent]]) -> dict[str, Any]:
    """One level of load on one server, with what the server says of it."""
    before, cpu = server.figures(), cpu_seconds(server.pid)
    with Memory(server.pid) as memory:
        row = asyncio.run(load(server.url, clients, seconds, made))
    cpu = cpu_seconds(server.pid) - cpu
    after = server.figures()
    gone = {name: after[name] - before.get(name, 0.0) for name in after}
    calls = gone.get("batch count", 0.0)
    stages = {name.removesuffix(" sum"): seconds for name, seconds in gone.items() if name.endswith(" sum")}
    return row | {
        "batch": server.batch,
        "cpu_ms": 1e3 * cpu / row["requests"] if row["requests"] else float("nan"),
        "mean_batch": gone["batch sum"] / calls if calls else float("nan"),
        "stage_ms": {
            name: 1e3 * total / gone[f"{name} count"]
            for name, total in stages.items()
            if name != "batch" and gone[f"{name} count"]
        },
        "mb": memory.mb,
        "mb_told": memory.told(),
    }


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right."""
    lines = [heads, ["---:"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def tables(rows: list[dict[str, Any]], batch: int) -> str:
    """What was measured: load, gain, and where the time goes."""
    heads = ["clients", "batch", "requests", "errors", "req/s", "p50 ms", "p95 ms", "p99 ms", "mean batch"]
    by_load = [
        [
            str(row["clients"]), str(row["batch"]), str(row["requests"]), str(sum(row["errors"].values())),
            f"{row['per_second']:.1f}", *(f"{row[f'p{q}_ms']:.0f}" for q in (50, 95, 99)), f"{row['mean_batch']:.2f}",
            f"{100 * sum(row['errors'].values()) / max(1, row['requests'] + sum(row['errors'].values())):.1f} %",
            row["mb_told"],
        ]
        for row in rows
    ]  # fmt: skip
    pairs = {(row["clients"], row["batch"]): row for row in rows}
    gains = []
    for clients in dict.fromkeys(row["clients"] for row in rows):
        together, alone = pairs[clients, batch], pairs[clients, 1]
        gains.append([
            str(clients),
            *(f"{row['per_second']:.1f}" for row in (together, alone)),
            *(f"{row['p95_ms']:.0f}" for row in (together, alone)),
            *(f"{row['cpu_ms']:.0f}" for row in (together, alone)),
            f"{together['per_second'] / alone['per_second']:.2f}" if alone["per_second"] else "-",
            f"{alone['cpu_ms'] / together['cpu_ms']:.2f}",
        ])  # fmt: skip
    compared = [f"{what}, batch {n}" for what in ("req/s", "p95 ms", "CPU ms a request") for n in (batch, 1)]
    stages = list(dict.fromkeys(name for row in rows for name in row["stage_ms"]))
    kinds = list(dict.fromkeys(MIX))
    times = [
        [
            str(row["clients"]), str(row["batch"]),
            *(f"{row['stage_ms'].get(name, float('nan')):.0f}" for name in stages),
            *(f"{row['p50_ms_by_kind'].get(kind, float('nan')):.0f}" for kind in kinds),
        ]
        for row in rows
    ]  # fmt: skip
    return "\n\n".join((
        table([*heads, "error rate", "MB at start, by quarter, at end"], by_load),
        table(["clients", *compared, "gain in req/s", "gain in CPU"], gains),
        table(["clients", "batch", *(f"{name} ms" for name in stages), *(f"p50 {kind} ms" for kind in kinds)], times),
    ))  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two levels of two seconds")
    parser.add_argument("--base", type=Path)
    parser.add_argument("--encoder", default="hashing")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=lambda text: [int(n) for n in text.split(",")], default=[1, 4, 16, 64])
    parser.add_argument("--batch", type=int, default=8, help="most queries encoded together by the first server")
    parser.add_argument("--threads", type=int, default=1, help="of the servers' numerical libraries")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve is not None:
        serve(args.base, args.encoder, args.serve, args.device)
        return
    if args.quick:
        args.clients, args.seconds = [1, 8], 2.0
    from ecgkin.retrieval.ecg.drawing.geometry import RenderStyle
    from ecgkin.retrieval.ecg.drawing.raster import render
    from ecgkin.ui.demo.cases import simulated_query

    records = [simulated_query(seed)[1] for seed in range(4)]
    drawn = io.BytesIO()
    render(records[0], RenderStyle(width_px=1100, height_px=850)).save(drawn, "PNG")
    made = requests(records, drawn.getvalue())
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        base = args.base or make_base(Path(folder) / "base", encoder_of(args.encoder, args.device))
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        about = f"encoder {args.encoder} on {args.device}, {args.seconds:g} s a level, {cores} cores, "
        about += f"{args.threads} threads, {platform.platform()}"
        print(f"{about}\n", flush=True)
        with started(base, args, args.batch) as together, started(base, args, 1) as alone:
            for number, clients in enumerate(args.clients):
                for server in (together, alone) if number % 2 == 0 else (alone, together):
                    rows.append(level(server, clients, args.seconds, made))
                    print(
                        f"{clients} clients, batch {server.batch}: {rows[-1]['errors'] or 'no errors'}", file=sys.stderr
                    )
    rows.sort(key=lambda row: (row["clients"], -row["batch"]))
    print(tables(rows, args.batch))
    if args.json:
        args.json.write_text(json.dumps({"about": about, "seconds": args.seconds, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
