"""Attack a server on this machine with hostile payloads, and measure what its other clients and its memory notice.

    python scripts/attack_server.py --folder SHARED/hostile [--seconds 10] [--only bomb.pdf]

A server over 40 simulated cases (encoder without weights) is started on loopback. Four attackers send one payload again
and again, or hold connections open; one honest client searches by words every 50 ms. A line a payload: what the
attackers were answered, the honest client's median, 95th percentile and failures, peak memory of the server and of its
decoders, and whether an honest picture is answered afterwards. Bounded: seconds a payload, one machine, no other hosts.
"""

from __future__ import annotations

import argparse
import io
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np

from ecgkin.index.ingest.pipeline import ingest_records, open_or_create
from ecgkin.retrieval.ecg.drawing.raster import render
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.ui.demo.cases import simulated_gallery

ATTACKERS, CONNECTIONS = 4, 1200


def rss_mb(pid: int) -> float:
    """Resident memory of a process, MB."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:
        return 0.0


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
        except (OSError, ValueError):
            continue
    return found


class Server:
    """`ecgkin serve` over simulated cases."""

    def __init__(self, folder: Path) -> None:
        encoder = HashingEncoder()
        with open_or_create(folder / "base", encoder) as base:
            ingest_records(base, simulated_gallery(40), encoder)
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ecgkin", "serve", str(folder / "base"), "--port", "0"],
            stdout=subprocess.PIPE, stderr=self.log, env=os.environ | {"ECGKIN_HOME": str(folder)},
        )  # fmt: skip
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().decode().strip().removesuffix("/docs")
        self.lines_before = 0

    def log_lines(self) -> int:
        """Lines that were logged since the last call."""
        n = Path(self.log.name).read_bytes().count(b"\n")
        new, self.lines_before = n - self.lines_before, n
        return new

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(70)
        except subprocess.TimeoutExpired:
            self.process.kill()
            print("the server did not end by SIGTERM")
        self.log.close()


def slow_heads(url: str, until: float, answers: Counter[str]) -> None:
    """Connections that send a head byte by byte."""
    host, port = url.removeprefix("http://").split(":")
    held: list[socket.socket] = []
    while time.monotonic() < until:
        while len(held) < CONNECTIONS // ATTACKERS and time.monotonic() < until:
            try:
                made = socket.create_connection((host, int(port)), 2)
                made.sendall(b"GET /v1/info HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
                held.append(made)
            except OSError:
                answers["no connection"] += 1
                break
        for one in list(held):
            try:
                one.sendall(b"x")
            except OSError:
                answers["closed by the server"] += 1
                one.close()
                held.remove(one)
        time.sleep(0.2)
    for one in held:
        one.close()


def nothing(_: str, until: float, __: Counter[str]) -> None:
    """No attack, to compare with."""
    time.sleep(max(0.0, until - time.monotonic()))


def repeated(files: list[tuple[str, bytes]], json: bytes) -> Callable[[str, float, Counter[str]], None]:
    """Sends the same request again and again."""

    def attack(url: str, until: float, answers: Counter[str]) -> None:
        with httpx.Client(base_url=url, timeout=40, trust_env=False) as http:
            while time.monotonic() < until:
                try:
                    if json:
                        answer = http.post("/v1/search", content=json, headers={"Content-Type": "application/json"})
                    else:
                        answer = http.post("/v1/search", files=[("file", file) for file in files])
                    answers[str(answer.status_code)] += 1
                except httpx.HTTPError as error:
                    answers[type(error).__name__] += 1

    return attack


def forged_zip(members: int = 60_000) -> bytes:
    """Many members, whose end record holds another one's signature where the place of the directory stands."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for k in range(members):
            archive.writestr(zipfile.ZipInfo(f"{k}.csv"), b"")
    whole = bytearray(packed.getvalue())
    whole[-6:-2] = b"PK\x05\x06"
    return bytes(whole)


def measured(server: Server, name: str, attack: Callable[[str, float, Counter[str]], None], seconds: float) -> str:
    """One line of the table."""
    answers: Counter[str] = Counter()
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=attack, args=(server.url, until, answers)) for _ in range(ATTACKERS)]
    for thread in threads:
        thread.start()
    times, failed, peak, decoders = [], 0, 0.0, 0.0
    while any(thread.is_alive() for thread in threads):
        start = time.monotonic()
        try:
            good = httpx.post(f"{server.url}/v1/search", json={"text": "LBBB"}, timeout=35, trust_env=False)
            failed += good.status_code != 200
        except httpx.HTTPError:
            failed += 1
        times.append(1e3 * (time.monotonic() - start))
        peak = max(peak, rss_mb(server.process.pid))
        decoders = max(decoders, *(rss_mb(pid) for pid in children(server.process.pid)), 0.0)
        time.sleep(0.05)
    page = io.BytesIO()
    render(simulate(["SR"], np.random.default_rng(1)).record).save(page, "PNG")
    after = httpx.post(
        f"{server.url}/v1/search", files={"file": ("x.png", page.getvalue())}, timeout=70, trust_env=False
    )
    told = ", ".join(f"{n} x {what}" for what, n in sorted(answers.items()))
    p50, p95 = np.percentile(times, [50, 95])
    return (
        f"| {name} | {told} | {p50:.0f} | {p95:.0f} | {failed} of {len(times)} | {peak:.0f} | {decoders:.0f} "
        f"| {server.log_lines()} | {after.status_code} |"
    )


def main() -> None:
    """Attack, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="holds the payloads")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    attacks: dict[str, Callable[[str, float, Counter[str]], None]] = {"nothing": nothing}
    for path in sorted(asked.folder.iterdir()):
        if path.suffix in (".md", ".dat"):
            continue
        content = path.read_bytes()
        if path.suffix == ".json":
            attacks[path.name] = repeated([], content)
        else:
            beside = path.with_suffix(".dat")
            more = [(beside.name, beside.read_bytes())] if path.suffix == ".hea" and beside.exists() else []
            attacks[path.name] = repeated([(path.name, content), *more], b"")
    attacks["zip with a forged end"] = repeated([("a.zip", forged_zip())], b"")
    many = ",".join(f'"s{i}"' for i in range(300_000))
    attacks["where of 300,000 values"] = repeated([], f'{{"text": "x", "where": {{"source": [{many}]}}}}'.encode())
    attacks[f"{CONNECTIONS} slow heads"] = slow_heads
    print(
        "| payload | attackers were answered | p50 ms | p95 ms | failed | server MB | decoder MB | log lines | after |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        try:
            for name, attack in attacks.items():
                if asked.only in name:
                    print(measured(server, name, attack, asked.seconds), flush=True)
        finally:
            server.close()


if __name__ == "__main__":
    main()
