"""Snapshots: the state of one moment while somebody writes, checked when it is restored, to a folder or to Milvus."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecgkin.index import create_base, open_base
from ecgkin.index.atomic import file_digest
from ecgkin.index.base import CaseBase
from ecgkin.index.case import Case
from ecgkin.index.engines.faiss import FaissIndex
from ecgkin.index.engines.protocol import Vectors
from ecgkin.index.folder.store import STORE
from ecgkin.index.transfer.backup import FILE, read_snapshot, restore_snapshot, take_snapshot
from ecgkin.index.transfer.copy import base_digest
from ecgkin.retrieval.errors import CaseBaseError, ManifestError

DIM = 8
PAIR = 2


def unit(n: int, seed: int = 0) -> Vectors:
    rows = np.random.default_rng(seed).standard_normal((n, DIM))
    units: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return units


def made(path: str | Path, n: int = 30) -> CaseBase:
    base = create_base(path, "none", "0", DIM)
    base.add([Case(f"c/{i}", report=f"r {i}") for i in range(n)], unit(n))
    return base


def test_snapshot_and_restore(tmp_path: Path) -> None:
    with made(tmp_path / "b") as base:
        taken = take_snapshot(tmp_path / "b", tmp_path / "s")
        assert taken == read_snapshot(tmp_path / "s") and taken.n_cases == 30 and taken.digest == base_digest(base)
        before = [(case.case_id, score) for case, score in base.search(unit(1, 5)[0], 7)]
        base.remove(["c/1"])
    with pytest.raises(CaseBaseError, match="there already"):
        take_snapshot(tmp_path / "b", tmp_path / "s")
    assert restore_snapshot(tmp_path / "s", tmp_path / "again") == taken
    with open_base(tmp_path / "again") as back:
        back.verify()
        assert [(case.case_id, score) for case, score in back.search(unit(1, 5)[0], 7)] == before
        back.add([Case("new")], unit(1, 6))
    assert read_snapshot(tmp_path / "s") == taken
    with pytest.raises(CaseBaseError, match="there already"):
        restore_snapshot(tmp_path / "s", tmp_path / "again")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "b", "s"]


def test_snapshots_under_writes_are_of_one_moment(tmp_path: Path) -> None:
    """A writer adds pairs and removes pairs: a snapshot holds whole pairs, and all that was there before it."""
    over = threading.Event()
    done = [0]
    with made(tmp_path / "b", 0) as base:

        def write() -> None:
            while not over.is_set():
                first = PAIR * done[0]
                base.add([Case(f"p/{first + i}") for i in range(PAIR)], unit(PAIR, first))
                done[0] += 1
                if done[0] % 3 == 0:
                    base.remove([f"p/{first - PAIR + i}" for i in range(PAIR)])

        writer = threading.Thread(target=write)
        writer.start()
        try:
            sizes = []
            for number in range(4):
                while done[0] < 5 * (number + 1):
                    over.wait(0.005)
                at_least = done[0]
                taken = take_snapshot(tmp_path / "b", tmp_path / f"s{number}")
                with open_base(tmp_path / f"s{number}") as copy:
                    copy.verify()
                    numbers = {int(case.case_id.removeprefix("p/")) for case in copy.cases()}
                assert len(numbers) == taken.n_cases
                assert all(n ^ 1 in numbers for n in numbers), "half a pair"
                assert max(numbers) >= PAIR * at_least - 1
                sizes.append(len(numbers))
        finally:
            over.set()
            writer.join()
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]


@pytest.mark.parametrize("damage", ["edit", "cut", "delete", "head"])
def test_a_damaged_snapshot_is_refused(tmp_path: Path, damage: str) -> None:
    made(tmp_path / "b").close()
    take_snapshot(tmp_path / "b", tmp_path / "s")
    path = tmp_path / "s" / (FILE if damage == "head" else STORE)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    damages: dict[str, Callable[[], object]] = {
        "edit": lambda: path.write_bytes(content),
        "cut": lambda: path.write_bytes(content[:-100]),
        "delete": path.unlink,
        "head": lambda: path.write_text("{}"),
    }
    damages[damage]()
    with pytest.raises((CaseBaseError, ManifestError), match=r"cases\.sqlite|no snapshot"):
        restore_snapshot(tmp_path / "s", tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.filterwarnings("ignore:::(pymilvus|milvus_lite|grpc|google)")
def test_milvus_snapshot_and_restore(tmp_path: Path) -> None:
    pytest.importorskip("milvus_lite", reason="extra [milvus] is not installed")
    with made(f"{tmp_path}/b.db") as base:
        digest = base_digest(base)
    taken = take_snapshot(f"{tmp_path}/b.db", tmp_path / "s")
    assert (taken.n_cases, taken.digest) == (30, digest)
    restore_snapshot(tmp_path / "s", f"{tmp_path}/again.db")
    with open_base(f"{tmp_path}/again.db") as back:
        assert base_digest(back) == digest


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ecgkin.ui.cli.main import main

    def said(*words: object) -> str:
        with pytest.raises(SystemExit) as left:
            main(["base", *map(str, words)])
        assert left.value.code == 0
        return capsys.readouterr().out

    made(tmp_path / "b").close()
    taken = json.loads(said("snapshot", tmp_path / "b", tmp_path / "s", "--json"))
    assert taken["n_cases"] == 30 and taken["digest"] in said("restore", tmp_path / "s", tmp_path / "r")
    assert str(tmp_path / "r") in said("switch", tmp_path / "live", tmp_path / "r")
    assert "30 cases, index flat" in said("compact", tmp_path / "live")
    copied = json.loads(said("copy", tmp_path / "live", tmp_path / "c", "--json"))
    assert (copied["added"], copied["passes"], copied["digest"]) == (30, 2, taken["digest"])


def hostile(tmp_path: Path, change: Callable[[dict[str, Any], Path], None]) -> Path:
    """A snapshot whose head, or whose files, were changed by somebody who made the checksums fit."""
    made(tmp_path / "b").close()
    take_snapshot(tmp_path / "b", tmp_path / "s")
    head = json.loads((tmp_path / "s" / FILE).read_text())
    change(head, tmp_path / "s")
    (tmp_path / "s" / FILE).write_text(json.dumps(head))
    return tmp_path / "s"


def outside(head: dict[str, Any], folder: Path) -> None:
    (folder.parent / "evil").write_text("x")
    head["files"]["../evil"] = file_digest(folder.parent / "evil")


def hidden(head: dict[str, Any], folder: Path) -> None:
    (folder / ".bashrc").write_text("x")
    head["files"][".bashrc"] = file_digest(folder / ".bashrc")


def absolute(head: dict[str, Any], folder: Path) -> None:
    head["files"]["/etc/hostname"] = "0" * 32


def link(head: dict[str, Any], folder: Path) -> None:
    (folder / STORE).rename(folder.parent / "elsewhere")
    (folder / STORE).symlink_to(folder.parent / "elsewhere")


def head_link(head: dict[str, Any], folder: Path) -> None:
    (folder / FILE).rename(folder.parent / "head.json")
    (folder / FILE).symlink_to(folder.parent / "head.json")


def counts(head: dict[str, Any], folder: Path) -> None:
    head["n_cases"] = "30"


def fewer(head: dict[str, Any], folder: Path) -> None:
    head["n_cases"] = 29


def no_store(head: dict[str, Any], folder: Path) -> None:
    del head["files"][STORE]


def lists(head: dict[str, Any], folder: Path) -> None:
    head["files"] = [STORE]


def view(head: dict[str, Any], folder: Path) -> None:
    with closing(sqlite3.connect(folder / STORE)) as db, db:
        db.execute("CREATE VIEW more AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT i FROM n")
    head["files"][STORE] = file_digest(folder / STORE)


@pytest.mark.parametrize("change", [outside, hidden, absolute, link, head_link, counts, fewer, no_store, lists, view])
def test_a_hostile_snapshot_writes_nothing(tmp_path: Path, change: Callable[[dict[str, Any], Path], None]) -> None:
    """No path outside the target, no link followed, one line that says why, and nothing left behind."""
    snapshot = hostile(tmp_path, change)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(CaseBaseError) as caught:
        restore_snapshot(snapshot, tmp_path / "deep" / "again")
    assert "\n" not in str(caught.value)
    left = sorted(path.name for path in tmp_path.iterdir() if path.name != "deep")
    assert left == before and not list((tmp_path / "deep").glob("*"))


def test_an_index_that_a_stranger_made_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAISS's own format is not safe to read: it is built anew from the vectors."""
    made(tmp_path / "b").close()
    take_snapshot(tmp_path / "b", tmp_path / "s")
    read: list[Path] = []
    load = FaissIndex.load

    def noted(path: Path, **options: Any) -> FaissIndex:
        read.append(path)
        return load(path, **options)

    monkeypatch.setattr(FaissIndex, "load", noted)
    theirs = {path.name: file_digest(path) for path in (tmp_path / "s").glob("index-*")}
    restore_snapshot(tmp_path / "s", tmp_path / "again")
    assert theirs and not {path.name for path in read} & set(theirs)
    with open_base(tmp_path / "again") as back:
        back.verify()


def test_snapshot_of_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "b").close()
    # Whoever runs the tests may write anywhere, so the answer is made up.
    real = os.access
    monkeypatch.setattr(
        "ecgkin.index.folder.store.os.access", lambda path, mode: Path(path) != tmp_path / "b" and real(path, mode)
    )
    before = sorted(path.name for path in (tmp_path / "b").iterdir())
    assert take_snapshot(tmp_path / "b", tmp_path / "s").n_cases == 30
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == before


@pytest.mark.parametrize("change", [link, head_link])
def test_links_are_no_snapshot(tmp_path: Path, change: Callable[[dict[str, Any], Path], None]) -> None:
    """Looking at it is enough to refuse it: what a link points at may change after its sum was taken."""
    with pytest.raises(CaseBaseError, match="is a link"):
        read_snapshot(hostile(tmp_path, change))
