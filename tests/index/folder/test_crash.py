"""kill -9 and broken disks: a base always opens and holds every acknowledged case exactly once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecgkin.index import create_base, manifest, open_base
from ecgkin.index.case import Case
from ecgkin.index.engines.faiss import FaissIndex
from ecgkin.index.engines.protocol import ExactIndex, Vectors
from ecgkin.index.folder import live_index
from ecgkin.index.folder.store import Store
from ecgkin.retrieval.errors import CaseBaseError

DIM = 16
BATCH = 8

# Reads "first number" lines; each time a child adds and removes for ever from there, compacts and reopens now and
# then, and says what is done only after it is done. One process that has everything imported is their parent.
WRITERS = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_crash import BATCH, DIM, case, vector
from ecgkin.index import create_base, open_base
import faiss
import numpy as np

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def write(path, n):
    base = open_base(path) if path.exists() else create_base(path, "none", "0", DIM)
    step = 0
    while True:
        batch = range(n, n + BATCH)
        say("adding", *batch)
        base.add([case(i) for i in batch], np.stack([vector(i) for i in batch]))
        say("added", *batch)
        n += BATCH
        step += 1
        if step % 3 == 0:
            gone = n - BATCH - 1
            say("removing", gone)
            base.remove([f"c/{gone}"])
            say("removed", gone)
        if step % 4 == 0:
            base.close()
            base = open_base(path)
        if step % 9 == 0:
            base.compact()

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        say("ready", os.getpid())
        try:
            write(Path(sys.argv[1]), int(line))
        finally:
            os._exit(1)
    say("dead", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def case(i: int) -> Case:
    return Case(f"c/{i}", patient_id=str(i), source="crash", labels={"NORM": float(i % 100)}, content_hash=f"{i:032x}")


def vector(i: int) -> Vectors:
    row = np.random.default_rng(i).standard_normal(DIM)
    return (row / np.linalg.norm(row)).astype(np.float32)


def killed_writer(writers: subprocess.Popen[str], first: int, after_lines: int, after_s: float) -> list[list[str]]:
    """What a writer said before it was killed, `after_s` seconds after that many lines."""
    assert writers.stdin is not None and writers.stdout is not None
    writers.stdin.write(f"{first}\n")
    writers.stdin.flush()
    said: list[list[str]] = []
    pid = 0
    while not said or said[-1][0] != "dead":
        words = writers.stdout.readline().split()
        assert words, "the parent of the writers ended"
        said.append(words)
        if words[0] == "ready":
            pid = int(words[1])
        if pid and len(said) > after_lines:
            time.sleep(after_s)
            os.kill(pid, signal.SIGKILL)
            pid = 0
    assert said[-1] == ["dead", str(-signal.SIGKILL)]
    return said[1:-1]


def check_base(path: Path, sure: set[int], unsure: set[int]) -> set[int]:
    """Opens the base; every sure case is there once, nothing else but unsure ones; search equals the twin's."""
    with open_base(path) as base:
        ids = [int(c.case_id.removeprefix("c/")) for c in base.cases()]
        assert len(set(ids)) == len(ids) == len(base)
        assert sure <= set(ids) <= sure | unsure
        # A batch is there as a whole or not at all.
        assert len(set(ids) & unsure) in (0, len(unsure))
        base.verify()
        twin = ExactIndex(DIM)
        twin.add(np.array(sorted(ids), dtype=np.int64), np.stack([vector(i) for i in sorted(ids)]) if ids else _none())
        for query in (vector(10**6), *(vector(i) for i in ids[:2])):
            scores, near = twin.search(query[None], 5)
            found = base.search(query, 5)
            assert [c.case_id for c, _ in found] == [f"c/{i}" for i in near[0] if i >= 0]
            np.testing.assert_allclose([s for _, s in found], scores[0][near[0] >= 0], atol=1e-5)
    return set(ids)


def _none() -> Vectors:
    return np.empty((0, DIM), dtype=np.float32)


def kill_often(path: Path, times: int, seed: int) -> None:
    rng = random.Random(seed)
    there: set[int] = set()
    command = [sys.executable, "-c", WRITERS, str(path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writers:
        for _ in range(times):
            first = max(there, default=-1) + 1 + BATCH
            sure, unsure = set(there), set[int]()
            # Now and then at once, while it opens or makes the base.
            said = killed_writer(writers, first, rng.choice([0, *range(1, 30)]), rng.choice([0, 0.03]) * rng.random())
            for verb, *numbers in said:
                cases = {int(n) for n in numbers}
                if verb in ("adding", "removing"):
                    unsure = cases
                    sure -= cases
                else:
                    unsure = set()
                    sure = sure | cases if verb == "added" else sure - cases
            if not path.exists():
                assert not sure
                continue
            there = check_base(path, sure, unsure)
        assert writers.stdin is not None
        writers.stdin.close()
    assert len(there) > times


def test_killed_fifteen_times(tmp_path: Path) -> None:
    kill_often(tmp_path / "base", 15, 1)


@pytest.mark.slow
def test_killed_a_hundred_times(tmp_path: Path) -> None:
    kill_often(tmp_path / "base", 100, 2)


class PowerCut(BaseException):
    """What no handler of the package catches."""


def _cut_before(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, at_call: int) -> None:
    real: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def broken(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at_call:
            raise PowerCut
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, broken)


STEPS: list[tuple[Any, str, int]] = [
    (Store, "insert", 1),
    (Store, "set_meta", 1),
    (Store, "set_meta", 3),  # the generation: the last statement before the commit
    (Store, "delete", 1),
    (Store, "prune", 1),
    (Store, "shrink", 1),
    (FaissIndex, "add", 1),
    (FaissIndex, "remove", 1),
    (FaissIndex, "save", 1),
    (FaissIndex, "save", 2),
    (os, "fsync", 1),
    (os, "fsync", 2),
    (os, "fsync", 3),
    (os, "fsync", 4),
    (os, "replace", 1),
    (os, "replace", 2),
    (os, "replace", 3),
    (live_index, "file_digest", 1),
    (manifest, "write_atomic", 1),
    (live_index.LiveIndex, "sweep", 2),
]


@pytest.mark.parametrize(("owner", "name", "at_call"), STEPS)
def test_power_cut_between_the_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, at_call: int
) -> None:
    path = tmp_path / "base"
    with create_base(path, "none", "0", DIM) as base:
        base.add([case(i) for i in range(20)], np.stack([vector(i) for i in range(20)]))
    sure, unsure = set(range(20)), set[int]()
    base = open_base(path)
    with monkeypatch.context() as patch:
        _cut_before(patch, owner, name, at_call)
        with pytest.raises(PowerCut):
            unsure = set(range(20, 28))
            base.add([case(i) for i in sorted(unsure)], np.stack([vector(i) for i in sorted(unsure)]))
            sure, unsure = sure | unsure, {3}
            sure -= unsure
            base.remove(["c/3"])
            unsure = set()
            base.compact()
            base.close()
            raise AssertionError("the step was never reached")
    # The process is gone without a word: its lock with it, nothing closed.
    base._lock.release()  # type: ignore[attr-defined]
    leftovers = check_base(path, sure, unsure)
    with open_base(path) as again:
        again.add([case(99)], vector(99)[None])
        # The next writer sweeps away what was left half-written.
        assert not list(path.glob("*.tmp"))
    assert len(list(path.glob("index-*"))) == 1
    check_base(path, leftovers | {99}, set())
    if (name, at_call) in (("save", 2), ("replace", 3)):  # that was in `close`
        with pytest.raises(CaseBaseError, match="was closed"):
            len(base)
        return
    # The object that met the cut, too, is at one with the disk.
    assert len(base) == len(leftovers) + 1
    assert len(base.search(vector(1), 99)) == len(leftovers) + 1
    base.close()


@pytest.mark.parametrize("name", ["replace", "fsync"])
def test_full_disk_while_the_index_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    base = create_base(tmp_path / "base", "none", "0", DIM)
    base.add([case(1)], vector(1)[None])

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, name, full)
        base.close()
    assert "index of" in caplog.text
    check_base(tmp_path / "base", {1}, set())


@pytest.mark.parametrize(("owner", "name"), [(Store, "create"), (manifest.Manifest, "write"), (os, "rename")])
def test_power_cut_while_a_base_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    with monkeypatch.context() as patch:
        _cut_before(patch, owner, name, 1)
        with pytest.raises(PowerCut):
            create_base(tmp_path / "base", "none", "0", DIM)
    assert not (tmp_path / "base").exists()
    create_base(tmp_path / "base", "none", "0", DIM).close()
    check_base(tmp_path / "base", set(), set())
