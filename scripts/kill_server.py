"""Kill a server under writes, take its disk, its clock, its lock away: is anything lost that it acknowledged?

    python scripts/kill_server.py [kills full readonly clock two] [--kills 50] [--writers 8] [--seed 0]

A line a fault: posts that were acknowledged (201), those of them that are not in the base afterwards or stand there
twice, cases beyond them (at most one a writer and kill: stored, the answer not sent), what other posts were answered,
and what was read meanwhile. Encoder without weights; servers on loopback; the bases lie in a temporary folder, for a
full and a read-only disk on one of 5 MB, which needs the right to mount, as the clock needs a C compiler. Linux.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faiss  # noqa: F401 - what is loaded before the forks is not loaded in each of them
import httpcore  # noqa: F401
import httpx
import numpy as np

from ecgkin.index import open_base
from ecgkin.index.ingest.pipeline import ingest_records, open_or_create
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.ui.api.state import State
from ecgkin.ui.demo.cases import simulated_gallery
from ecgkin.ui.server.app import create_app
from ecgkin.ui.server.serving import address, bind, server
from ecgkin.ui.settings import load_settings

_CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
#include <sys/time.h>
static int (*real)(clockid_t, struct timespec *);
static long jump(void) {  /* an hour further back every two seconds */
  struct timespec t; real(CLOCK_MONOTONIC, &t); return -3600L * (t.tv_sec / 2 % 1000);
}
int clock_gettime(clockid_t id, struct timespec *t) {
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int r = real(id, t); if (id == CLOCK_REALTIME) t->tv_sec += jump(); return r;
}
int gettimeofday(struct timeval *t, void *z) {
  struct timespec s; clock_gettime(CLOCK_REALTIME, &s); t->tv_sec = s.tv_sec; t->tv_usec = s.tv_nsec / 1000; return 0;
}
time_t time(time_t *out) {
  struct timespec s; clock_gettime(CLOCK_REALTIME, &s); if (out) *out = s.tv_sec; return s.tv_sec;
}
"""


@dataclass
class Told:
    """What clients were told."""

    acknowledged: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    reads: list[float] = field(default_factory=list)
    reads_failed: int = 0


def new_base(path: Path) -> Path:
    """A base of 20 simulated cases."""
    encoder = HashingEncoder()
    with open_or_create(path, encoder) as base:
        ingest_records(base, simulated_gallery(20), encoder)
        base.search(base.vector("simulated/1"), 1)
        base.verify()
    gc.collect()
    return path


def forked(work: Callable[[], None]) -> int:
    """Its process number."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    finally:
        os._exit(0)


def start_server(base: Path) -> tuple[int, str]:
    """Process and address of a server."""
    config = load_settings(api_port=0)
    listener = bind(config)

    def work() -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        encoder = HashingEncoder()
        server(create_app(config, State(base, config, encoder)), config).run([listener])

    url = address(listener)
    child = forked(work)
    listener.close()  # the child has it; connections wait there until it serves
    return child, url


def write(urls: list[str], name: str, writers: int, out: int, until: float) -> None:
    """Clients that add cases until the server is gone; lines to `out`, one an answer, as they come."""

    def one(writer: int) -> None:
        rng = np.random.default_rng((abs(hash(name)) % 2**32, writer))
        with httpx.Client(base_url=urls[writer % len(urls)], timeout=60, trust_env=False) as http:
            for i in range(100_000):
                if time.monotonic() > until:
                    return
                case_id = f"{name}/{writer}-{i}"
                signal_mv = rng.normal(0, 0.3, (2, 100)).round(3).tolist()
                body = {
                    "case": {"case_id": case_id},
                    "signal": {"signal_mv": signal_mv, "fs_hz": 100, "leads": ["I", "II"]},
                }
                try:
                    answer = http.post("/v1/cases", json=body)
                except httpx.HTTPError:
                    return
                line = case_id
                if answer.status_code != 201:
                    line = f"!{answer.status_code} {answer.json()['type'].partition('#')[2]}"
                    time.sleep(0.2)
                os.write(out, f"{line}\n".encode())

    threads = [threading.Thread(target=one, args=(k,)) for k in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def clients(urls: list[str], name: str, writers: int, seconds: float = 3600.0) -> Iterator[Iterator[str]]:
    """Writers in a process of their own, and the lines of what they were told."""
    ours, theirs = os.pipe()
    child = forked(lambda: write(urls, name, writers, theirs, time.monotonic() + seconds))
    os.close(theirs)
    try:
        with os.fdopen(ours) as lines:
            yield (line.strip() for line in lines)
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def take(line: str, told: Told) -> None:
    """One answer."""
    if line.startswith("!"):
        told.others[line[1:]] += 1
    else:
        told.acknowledged.append(line)


def check(base: Path, acknowledged: list[str], full: bool) -> dict[str, Any]:
    """What is in the base, found out in a process of its own."""
    ours, theirs = os.pipe()

    def work() -> None:
        found: dict[str, Any] = {}
        try:
            with open_base(base) as opened:
                if full:
                    opened.verify()
                ids = [case.case_id for case in opened.cases()]
                known = set(ids)
                found = {
                    "n": len(ids),
                    "lost": sum(case_id not in known for case_id in acknowledged),
                    "twice": len(ids) - len(known),
                }
                if acknowledged:
                    last = acknowledged[-1]
                    hit = opened.search(opened.vector(last), 1)[0][0].case_id
                    found["unfound"] = int(hit != last)
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {error}"}
        os.write(theirs, json.dumps(found).encode())

    child = forked(work)
    os.close(theirs)
    with os.fdopen(ours) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return dict(json.loads(said or '{"error": "the check died"}'))


def stop(child: int, how: int = signal.SIGTERM) -> None:
    """End a server."""
    with suppress(ProcessLookupError):
        os.kill(child, how)
    os.waitpid(child, 0)


def reading(url: str, told: Told, ended: threading.Event) -> None:
    """Searches by words, every 50 ms."""
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
        while not ended.is_set():
            begun = time.monotonic()
            try:
                told.reads_failed += http.post("/v1/search", json={"text": "LBBB", "k": 3}).status_code != 200
            except httpx.HTTPError:
                told.reads_failed += 1
            told.reads.append(time.monotonic() - begun)
            ended.wait(0.05)


@contextmanager
def read_meanwhile(urls: Sequence[str], told: Told) -> Iterator[None]:
    """Searches at each address as long as this lasts; clients have to be there: they are forked without threads."""
    ended = threading.Event()
    threads = [threading.Thread(target=reading, args=(url, told, ended)) for url in urls]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def line(name: str, told: Told, found: dict[str, Any], note: str = "") -> str:
    """Of the table."""
    if "error" in found:
        return f"| {name} | {len(told.acknowledged)} | {found['error']} | | | | {note} |"
    beyond = found["n"] - 20 - len(told.acknowledged) + found["lost"]
    others = ", ".join(f"{n} x {what}" for what, n in sorted(told.others.items())) or "none"
    read = f"{len(told.reads)}, {told.reads_failed} failed" if told.reads else ""
    if told.reads:
        read += f", p95 {1e3 * float(np.percentile(told.reads, 95)):.0f} ms"
    lost = f"{found['lost']} lost, {found['twice']} twice, {found.get('unfound', 0)} not found"
    return f"| {name} | {len(told.acknowledged)} | {lost} | {beyond} | {others} | {read} | {note} |"


def kills(folder: Path, times: int, writers: int, rng: random.Random) -> str:
    """kill -9 again and again under load, at any moment: from the start of the server on."""
    base = new_base(folder / "base")
    told = Told()
    for k in range(times):
        child, url = start_server(base)
        with clients([url], f"k{k}", writers) as lines:
            wanted = rng.choice((0, 1, rng.randrange(1, 30), rng.randrange(1, 90)))
            seen = 0
            if wanted == 0:  # before it serves, or just then
                time.sleep(rng.random() * 1.0)
            else:
                for answer in lines:
                    take(answer, told)
                    seen += 1
                    if seen >= wanted:
                        break
                time.sleep(rng.choice((0.0, 0.02)) * rng.random())
            stop(child, signal.SIGKILL)
            for answer in lines:
                take(answer, told)
        found = check(base, told.acknowledged, full=k % 10 == 9 or k == times - 1)
        if found.get("error") or found["lost"] or found["twice"] or found.get("unfound"):
            return line(f"kill -9, {k + 1} of {times}", told, found, "stopped here")
    return line(f"{times} x kill -9 under {writers} writers", told, check(base, told.acknowledged, True))


@contextmanager
def small_disk(folder: Path, megabytes: int = 5) -> Iterator[Path]:
    """A file system of its own."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "ecgkin", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def full(folder: Path, writers: int) -> str:
    """The disk fills up while clients write, and is given room again."""
    with small_disk(folder / "disk") as disk:
        base = new_base(disk / "base")
        (disk / "ballast").write_bytes(bytes(1_500_000))
        child, url = start_server(base)
        told = Told()
        with clients([url], "full", writers, 60.0) as lines:
            refused = 0
            again = ""
            with read_meanwhile([url], told):
                for answer in lines:
                    take(answer, told)
                    refused += answer.startswith("!")
                    if refused == 40 and not again:
                        (disk / "ballast").unlink()
                        again = f"written again after room was made, {len(told.acknowledged)} before"
                        stopped_at = len(told.acknowledged)
                    if again and len(told.acknowledged) > stopped_at + 100:
                        break
            stop(child, signal.SIGKILL)
            for answer in lines:
                take(answer, told)
        return line("disk full, then room, then kill -9", told, check(base, told.acknowledged, True), again)


def readonly(folder: Path) -> str:
    """A base on a disk that is read only."""
    with small_disk(folder / "disk") as disk:
        base = new_base(disk / "base")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        child, url = start_server(base)
        told = Told()
        with clients([url], "ro", 4, 5.0) as lines, read_meanwhile([url], told):
            for answer in lines:
                take(answer, told)
        stop(child)
        done = subprocess.run(
            [sys.executable, "-m", "ecgkin", "base", "snapshot", str(base), str(folder / "copy")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return line("read-only disk", told, check(base, told.acknowledged, True), f"snapshot: status {done.returncode}")


def clock(folder: Path, writers: int, seconds: float) -> str:
    """The clock of the server goes back an hour every two seconds; it is killed and started again once."""
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(_CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    base, told = new_base(folder / "base"), Told()
    for half in range(2):
        command = [sys.executable, "-m", "ecgkin", "serve", str(base), "--port", "0", "--encoder", "hashing"]
        environment = {**os.environ, "LD_PRELOAD": str(library), "ECGKIN_HOME": str(folder)}
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
        assert running.stdout is not None
        url = running.stdout.readline().decode().strip().removesuffix("/docs")
        with clients([url], f"clock{half}", writers, seconds) as lines, read_meanwhile([url], told):
            for answer in lines:
                take(answer, told)
        running.kill()
        running.wait()
    return line("clock back an hour every 2 s, kill -9 twice", told, check(base, told.acknowledged, True))


def two(folder: Path, writers: int, seconds: float) -> str:
    """Two servers on one base, and clients of both."""
    base, told = new_base(folder / "base"), Told()
    (one, url), (other, url_2) = start_server(base), start_server(base)
    with clients([url, url_2], "two", writers, seconds) as lines, read_meanwhile([url, url_2], told):
        for answer in lines:
            take(answer, told)
    stop(one, signal.SIGKILL)
    stop(other, signal.SIGKILL)
    return line("two servers on one base", told, check(base, told.acknowledged, True))


def main() -> None:
    """Break what was asked for, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    every = ("kills", "full", "readonly", "clock", "two")
    parser.add_argument("faults", nargs="*", choices=[*every, []], default=every)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print("| fault | acknowledged | lost | beyond | other posts | searches meanwhile | |")
    print("|---|--:|---|--:|---|---|---|")
    for fault in asked.faults or every:
        folder = Path(tempfile.mkdtemp(prefix="ecgkin-broken-"))
        os.environ["ECGKIN_HOME"] = str(folder)
        try:
            ways: dict[str, Callable[[Path], Any]] = {
                "kills": lambda at: kills(at, asked.kills, asked.writers, random.Random(asked.seed)),
                "full": lambda at: full(at, asked.writers),
                "readonly": readonly,
                "clock": lambda at: clock(at, asked.writers, asked.seconds),
                "two": lambda at: two(at, asked.writers, asked.seconds),
            }
            print(ways[fault](folder), flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
