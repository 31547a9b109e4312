"""`ecgkin ingest` killed with SIGKILL at random moments: the base opens, keeps what was acknowledged, and goes on."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from ecgkin.index import open_base

BATCH = 3

# One process with everything imported; for each line of words it forks a child that is `ecgkin WORDS`. The progress bar
# becomes lines on stdout: what it counts as done is acknowledged.
COMMANDS = """
import os, sys
from contextlib import contextmanager
import faiss, pandas, wfdb
from ecgkin.index.ingest import pipeline as ingest
from ecgkin.index.sources import folder, ptbxl as ptbxl_source
from ecgkin.retrieval.ecg.formats import csv as csv_io
from ecgkin.retrieval.ecg.page import reading as page
from ecgkin.retrieval.ecg.formats import ptbxl
from ecgkin.retrieval.ecg.formats import wfdb as wfdb_io
from ecgkin.retrieval.encoders import hashing
from ecgkin.ui.cli import main as cli
from ecgkin.ui import console
from ecgkin.ui import settings

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

@contextmanager
def progress(label):
    yield lambda done, total=None, what="": say("done", done)

console.progress = progress
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        say("ready", os.getpid())
        try:
            cli.main(line.split())
        except SystemExit as stopped:
            os._exit(stopped.code or 0)
        finally:
            os._exit(1)
    say("dead", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


class Commands:
    """Runs the command line in children that can be killed."""

    def __init__(self) -> None:
        environment = {**os.environ, "ECGKIN_ENCODER": "hashing"}
        self._parent = subprocess.Popen(
            [sys.executable, "-c", COMMANDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def close(self) -> None:
        assert self._parent.stdin is not None and self._parent.stdout is not None
        self._parent.stdin.close()
        self._parent.wait(timeout=60)
        self._parent.stdout.close()

    def killed(self, words: list[str], after_lines: int, after_s: float) -> int:
        """Run, kill `after_s` seconds after that many lines of progress; the count that was acknowledged last."""
        stdin, stdout = self._parent.stdin, self._parent.stdout
        assert stdin is not None and stdout is not None
        stdin.write(" ".join(words) + "\n")
        stdin.flush()
        ready, pid = stdout.readline().split()
        assert ready == "ready"
        acknowledged = 0
        for seen, line in enumerate(iter(stdout.readline, ""), start=1):
            word, _, number = line.partition(" ")
            if word == "dead":
                # 2: all is in but a file that is no ECG.
                assert int(number) in (0, 2, -signal.SIGKILL), "the command failed before it was killed"
                return acknowledged
            if word == "done":
                acknowledged = int(number)
            if seen == after_lines + 1:
                time.sleep(after_s)
                with suppress(ProcessLookupError):  # it came to its end just now
                    os.kill(int(pid), signal.SIGKILL)
        raise AssertionError("the parent of the commands is gone")


def checked(path: Path, everything: set[str], sure: set[str], acknowledged: int) -> set[str]:
    """The ids in the base, which opens and is whole."""
    if not path.exists():
        assert not sure and not acknowledged
        return set()
    with open_base(path) as base:
        base.verify()
        ids = [case.case_id for case in base.cases()]
        assert len(set(ids)) == len(ids) == len(base)
        assert sure <= set(ids) <= everything
        assert len(ids) >= min(acknowledged, len(everything)), "what was counted as done is not there"
        assert len(ids) in (len(everything), len(ids) // BATCH * BATCH), "a batch is there as a whole or not at all"
        query = np.eye(base.dim, dtype=np.float32)[0]
        assert {case.case_id for case, _ in base.search(query, len(everything) + 1)} == set(ids)
    return set(ids)


def kill_often(words: list[str], path: Path, everything: set[str], times: int, seed: int) -> None:
    """Kill the same command again and again; where it has come to its end, it begins anew with an empty base."""
    rng = random.Random(seed)
    commands = Commands()
    interrupted = 0
    sure: set[str] = set()
    try:
        for _ in range(times):
            after_lines = rng.choice([0, rng.randrange(len(everything) // 2), len(sure) + rng.randrange(8)])
            acknowledged = commands.killed(words, after_lines, rng.choice([0.0, 0.02]) * rng.random())
            sure = checked(path, everything, sure, acknowledged)
            interrupted += 0 < len(sure) < len(everything)
            if sure == everything and rng.random() < 0.7:
                shutil.rmtree(path)
                sure = set()
    finally:
        commands.close()
    assert interrupted >= times // 4, "hardly a kill came in the middle: nothing was proved"
    # A last run, in a process as a person starts it, completes the base; one more finds nothing to do.
    environment = {**os.environ, "ECGKIN_ENCODER": "hashing"}
    command = [sys.executable, "-m", "ecgkin", *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    report = json.loads(done.stdout)
    assert done.returncode == (2 if report["failed"] else 0)
    assert (report["skipped"], report["added"]) == (len(sure), len(everything) - len(sure))
    assert report["n_cases"] == len(everything) and not report["updated"] and not report["duplicates"]
    assert checked(path, everything, everything, len(everything)) == everything
    assert sorted(path.parent.iterdir()) == [path], "something was left beside the base"


def ptbxl_words(root: Path, base: Path) -> tuple[list[str], Path, set[str]]:
    """`ecgkin ingest ptbxl` of the made folder, its base, and the cases that belong there."""
    base.parent.mkdir()
    words = ["ingest", "ptbxl", str(root), "--base", str(base), "--batch", str(BATCH)]
    return words, base, {f"ptbxl/{number}" for number in range(1, 61)}


def folder_words(root: Path, folder: Path, base: Path) -> tuple[list[str], Path, set[str]]:
    """`ecgkin ingest folder` of 30 of the made records and, at the end, a file that is none."""
    base.parent.mkdir()
    folder.mkdir()
    for number in range(1, 31):
        for suffix in (".hea", ".dat"):
            shutil.copy(root / "records100" / "00000" / f"{number:05d}_lr{suffix}", folder)
    (folder / "zz.csv").write_text("no numbers\n")
    words = ["ingest", "folder", str(folder), "--base", str(base), "--batch", str(BATCH)]
    return words, base, {f"{folder.name}/{number:05d}_lr" for number in range(1, 31)}


def test_ptbxl_killed_four_times(made_ptbxl: Path, tmp_path: Path) -> None:
    """Four kills, and a last run."""
    kill_often(*ptbxl_words(made_ptbxl, tmp_path / "out" / "base"), times=4, seed=3)


@pytest.mark.slow
def test_ptbxl_killed_sixty_times(made_ptbxl: Path, tmp_path: Path) -> None:
    """The same, for long."""
    kill_often(*ptbxl_words(made_ptbxl, tmp_path / "out" / "base"), times=60, seed=4)


@pytest.mark.slow
def test_folder_killed_forty_times(made_ptbxl: Path, tmp_path: Path) -> None:
    """A folder, whose content is hashed as it is read."""
    kill_often(*folder_words(made_ptbxl, tmp_path / "clinic", tmp_path / "out" / "base"), times=40, seed=5)
