"""`ecgkin base copy`, `reencode` and `switch`: equal by checksum, resumable, and nobody who searches notices."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecgkin.index import create_base, open_base
from ecgkin.index.base import CaseBase
from ecgkin.index.case import Case
from ecgkin.index.engines.protocol import Vectors
from ecgkin.index.transfer.copy import base_digest, case_digest, copy_base
from ecgkin.index.transfer.switching import meant_by, switch
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.errors import CaseBaseError, EncoderMismatchError, QueryError
from ecgkin.retrieval.search.live import LiveSearch
from ecgkin.retrieval.search.search import CaseSearch

pytest.importorskip("pymilvus", reason="extra [milvus] is not installed")
pytest.importorskip("milvus_lite", reason="extra [milvus] is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:::(pymilvus|milvus_lite|grpc|google)")

DIM = 16


def unit(n: int, seed: int = 0) -> Vectors:
    rows = np.random.default_rng(seed).standard_normal((n, DIM))
    units: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return units


def record(seed: int, n: int = 1000) -> EcgRecord:
    signal_mv = np.random.default_rng(seed).normal(0, 0.4, (12, n)).round(3).astype(np.float32)
    return EcgRecord(signal_mv, 100.0, LEADS, f"r{seed}")


def cases(n: int, first: int = 0) -> list[Case]:
    return [
        Case(f"c/{i}", patient_id=str(i // 2), labels={"NORM": 100.0}, report=f"é {i}") for i in range(first, first + n)
    ]


def made(path: str | Path, n: int = 40, with_records: bool = True, encoder: Encoder | None = None) -> CaseBase:
    if encoder is None:
        base = create_base(path, "hashing", "abc", DIM, drawing_version="7", preprocessing={"px": 2})
        vectors = unit(n)
    else:
        base = create_base(path, encoder.name, encoder.fingerprint, encoder.dim)
        vectors = encoder.encode_records([record(i) for i in range(n)])
    base.add(cases(n), vectors, [record(i) if with_records else None for i in range(n)])
    return base


Place = Callable[[Path, str], str]
FOLDER: Place = lambda root, name: str(root / name)  # noqa: E731
LITE: Place = lambda root, name: str(root / f"{name}.db")  # noqa: E731


@pytest.mark.parametrize(("source", "target"), [(FOLDER, LITE), (LITE, FOLDER), (FOLDER, FOLDER)])
def test_a_copy_is_equal(tmp_path: Path, source: Place, target: Place) -> None:
    goal = target(tmp_path, "goal")
    with made(source(tmp_path, "from")) as base:
        base.update([replace(base.get("c/3"), report="new")], unit(1, 3))
        first = copy_base(base, goal, batch=7)
        assert (first.added, first.updated, first.removed, first.passes, first.n_cases) == (40, 0, 0, 2, 40)
        again = copy_base(base, goal)
        assert (again.added, again.updated, again.passes, again.digest) == (0, 0, 1, first.digest)
        with open_base(goal) as copy:
            assert base_digest(copy) == base_digest(base) == first.digest
            assert copy.cases() == base.cases()
            assert (copy.manifest.fingerprint, copy.manifest.drawing_version) == ("abc", "7")
            query = unit(1, 9)[0]
            for (one, score), (other, same) in zip(base.search(query, 9), copy.search(query, 9), strict=True):
                assert one == other and abs(score - same) < 1e-4
            copy.remove(["c/5"])
            copy.update([replace(copy.get("c/6"), report="spoilt")])
            copy.add([Case("strange")], unit(1, 8))
        with pytest.raises(CaseBaseError, match="does not, the first is 'strange'"):
            copy_base(base, goal)
        mended = copy_base(base, goal, mirror=True)
        assert mended.digest == first.digest and mended.removed == 1
    with create_base(target(tmp_path, "other"), "else", "xyz", DIM), open_base(goal) as base:
        pass
    with open_base(goal) as base, pytest.raises(EncoderMismatchError):
        copy_base(base, target(tmp_path, "other"))


def test_a_copy_that_was_killed_goes_on(tmp_path: Path) -> None:
    made(tmp_path / "from", 120).close()
    command = [sys.executable, "-m", "ecgkin", "base", "copy", str(tmp_path / "from"), str(tmp_path / "to")]
    with subprocess.Popen([*command, "--batch", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as copying:
        for _ in range(2000):
            time.sleep(0.02)
            if (tmp_path / "to").exists():
                with open_base(tmp_path / "to") as there:
                    if len(there) >= 10:
                        break
        os.kill(copying.pid, signal.SIGKILL)
    with open_base(tmp_path / "to") as there:
        there.verify()
        n = len(there)
    assert 10 <= n < 120, "the kill did not come in the middle"
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert (report["added"], report["n_cases"]) == (120 - n, 120)
    with open_base(tmp_path / "from") as base:
        assert base_digest(base) == report["digest"]


def test_a_copy_catches_up_with_a_writer(tmp_path: Path) -> None:
    with made(tmp_path / "from", 60) as base:
        written = iter(range(60, 80))

        def meddle(turn: int, done: int, total: int) -> None:
            if turn == 1 and (number := next(written, None)) is not None:
                base.add(cases(1, number), unit(1, number))
                base.remove([f"c/{number - 60}"])

        report = copy_base(base, tmp_path / "to", batch=5, progress=meddle)
        assert report.passes >= 3 and report.removed > 0
        with open_base(tmp_path / "to") as copy:
            assert {c.case_id for c in copy.cases()} == {c.case_id for c in base.cases()}
            assert base_digest(copy) == base_digest(base) == report.digest


def test_digests_tell_what_differs() -> None:
    case, vector, ecg = cases(1)[0], unit(1)[0], record(0)
    other = ecg.signal_mv.copy()
    other[0, 0] += 0.001
    moved = vector.copy()
    moved[0] = np.nextafter(moved[0], np.float32(1))
    variants = [
        (case, vector, ecg), (replace(case, report="x"), vector, ecg), (case, moved, ecg), (case, None, ecg),
        (case, vector, None), (case, vector, replace(ecg, signal_mv=other)), (case, vector, replace(ecg, notes=("n",))),
    ]  # fmt: skip
    assert len({case_digest(*variant) for variant in variants}) == len(variants)


class Other(HashingEncoder):
    """A new encoder: other vectors, another name."""

    name = "other"

    def __init__(self) -> None:
        super().__init__(32)


def test_new_encoder_under_query_load(tmp_path: Path) -> None:
    """Blue and green: encoded anew, caught up, switched, while threads search without a pause or a failed request."""
    old, new = HashingEncoder(DIM), Other()
    name, green = str(tmp_path / "live"), str(tmp_path / "green")
    made(tmp_path / "blue", 50, encoder=old).close()
    switch(name, tmp_path / "blue")
    encoders: dict[str, Encoder] = {old.name: old, new.name: new}
    failures: list[BaseException] = []
    answered: list[str] = []
    over = threading.Event()
    live: LiveSearch[CaseSearch] = LiveSearch(name, encoders.__getitem__, every_s=0.02)

    def ask() -> None:
        i = 0
        while not over.is_set():
            i += 1
            try:
                with live.current() as search:
                    top = search.by_ecg(record(i % 50), 3)
                    answered.append(search.encoder.name)
                assert top.hits[0].case.case_id == f"c/{i % 50}" and top.hits[0].score > 0.999
            except BaseException as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    while not answered and not failures:
        time.sleep(0.01)
    with open_base(name) as blue:
        report = copy_base(blue, green, encoder=new, batch=8)
        blue.add(cases(2, 50), old.encode_records([record(50), record(51)]), [record(50), record(51)])
        assert copy_base(blue, green, encoder=new).added == 2
    assert report.n_cases == 50 and set(answered) == {old.name}
    switch(name, green)
    deadline = time.monotonic() + 20
    while answered[-1] != new.name and time.monotonic() < deadline and not failures:
        time.sleep(0.01)
    at = len(answered)
    while len(answered) < at + 40 and not failures:
        time.sleep(0.01)
    over.set()
    for thread in threads:
        thread.join()
    live.close()
    assert not failures, failures[0]
    # Requests that were under way at the switch, one a thread, may still be answered by the old base.
    assert set(answered) == {old.name, new.name} and answered[at:].count(old.name) < len(threads)
    assert set(answered[-10:]) == {new.name}
    with CaseSearch.open(name, new) as search:
        assert search.by_ecg(record(51), 1).hits[0].case.case_id == "c/51"


def test_what_cannot_be_switched_or_encoded(tmp_path: Path) -> None:
    made(tmp_path / "a", 3, with_records=False).close()
    with open_base(tmp_path / "a") as base, pytest.raises(CaseBaseError, match="3 cases have no stored samples"):
        copy_base(base, tmp_path / "b", encoder=HashingEncoder(8))
    with pytest.raises(CaseBaseError, match="is a folder itself"):
        switch(tmp_path / "a", tmp_path / "a")
    with pytest.raises(CaseBaseError, match="does not exist"):
        switch(tmp_path / "link", tmp_path / "none")
    with pytest.raises(QueryError, match="not of one kind"):
        switch("milvus://127.0.0.1:9/x", tmp_path / "a")
    switch(tmp_path / "link", tmp_path / "a")
    assert meant_by(tmp_path / "link") == str((tmp_path / "a").resolve())
    live: LiveSearch[CaseSearch] = LiveSearch(tmp_path / "link", lambda name: _Named(), every_s=0.0)
    (tmp_path / "link").unlink()
    assert not live.refresh()
    with live.current() as search:  # the base that it has goes on answering
        assert len(search.base) == 3
    live.close()


class _Named(HashingEncoder):
    """Says that it is the encoder of `made`."""

    def __init__(self) -> None:
        super().__init__(DIM)
        self.fingerprint = "abc"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "last"),
    [("hospital_day.py", "2 photos, the same answers"), ("bench_scale.py", "| 2 process(es) | 24 |")],
)
def test_scripts_run(project_root: Path, script: str, last: str) -> None:
    """A day in a hospital and the scale benchmark, on small numbers."""
    command = [sys.executable, str(project_root / "scripts" / script), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert last in done.stdout.strip().splitlines()[-1]
