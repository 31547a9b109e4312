"""Bases that were damaged, made by a stranger or replaced: said in one line, never read wrongly, never waited for."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecgkin.index import create_base, open_base
from ecgkin.index.atomic import checksum, file_digest
from ecgkin.index.base import CaseBase
from ecgkin.index.case import Case, check_case_id, safe_case_id
from ecgkin.index.engines.protocol import Vectors
from ecgkin.index.folder import base as folder_base
from ecgkin.index.folder import store
from ecgkin.index.folder.base import FolderBase
from ecgkin.index.folder.store import STORE
from ecgkin.index.manifest import MANIFEST, Manifest, _checksum
from ecgkin.index.transfer.backup import FILE, read_snapshot, take_snapshot
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import CaseBaseError, ManifestError, RecordError
from ecgkin.retrieval.search.live import LiveSearch

DIM = 16
N = 20


def unit(n: int, seed: int = 0) -> Vectors:
    rows = np.random.default_rng(seed).standard_normal((n, DIM))
    units: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return units


def case(i: int) -> Case:
    return Case(
        f"c/{i}", report=f"Befund {i}", labels={"NORM": 100.0}, age_years=60, meta={"a": i}, content_hash=str(i)
    )


def record(i: int) -> EcgRecord:
    signal = np.random.default_rng(i).normal(0, 0.5, (12, 100)).round(3).astype(np.float32)
    return EcgRecord(signal, 100.0, LEADS, record_id=str(i))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    with create_base(tmp_path / "b", "none", "0", DIM) as made:
        made.add([case(i) for i in range(N)], unit(N), [record(i) for i in range(N)])
    return tmp_path / "b"


def execute(base: Path, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(base / STORE)) as db, db:
        db.execute(sql, values)


@pytest.mark.parametrize(
    ("sql", "read"),
    [
        ("UPDATE cases SET report = 'Befund 8' WHERE row = 8", lambda base: base.get("c/7")),
        ("UPDATE cases SET labels = '{\"AFIB\": 100.0}' WHERE row = 8", lambda base: base.cases()),
        ("UPDATE cases SET labels = '{\"AF' WHERE row = 8", lambda base: base.search(unit(N)[7], 1)),
        ("UPDATE cases SET meta = '[1]' WHERE row = 8", lambda base: base.find(["c/7"])),
        ("UPDATE cases SET age_years = 61 WHERE row = 8", lambda base: base.some(["c/7"])),
        ("UPDATE cases SET sex = 'F' WHERE row = 8", lambda base: list(base.blocks())),
        ("UPDATE cases SET content_hash = x'00' WHERE row = 8", lambda base: base.get("c/7")),
        ("UPDATE vectors SET vector = zeroblob(64) WHERE row = 8", lambda base: base.vector("c/7")),
        ("UPDATE vectors SET vector = 'text' WHERE row = 8", lambda base: base.vector("c/7")),
        ("UPDATE vectors SET vector = x'00' WHERE row = 8", lambda base: base.vector("c/7")),
        ("UPDATE records SET head = replace(head, '100', '500') WHERE row = 8", lambda base: base.record("c/7")),
        ("UPDATE records SET samples = zeroblob(99) WHERE row = 8", lambda base: base.record("c/7")),
        ("UPDATE checksums SET text = zeroblob(8) WHERE row = 8", lambda base: base.get("c/7")),
        ("DELETE FROM checksums WHERE row = 8", lambda base: base.get("c/7")),
        ("DELETE FROM records WHERE row = 8", lambda base: base.record("c/7")),
        ("UPDATE labels SET code = 'AFIB', statement = 'AFIB' WHERE row = 8", None),
        ("DELETE FROM labels WHERE row = 8", None),
    ],
)  # fmt: skip
def test_what_was_changed_is_not_read(base: Path, sql: str, read: Callable[[CaseBase], object] | None) -> None:
    """Each part of a case has a checksum: compared when it is read, and by --verify."""
    execute(base, sql)
    with open_base(base) as opened:
        if read is not None:
            with pytest.raises(ManifestError, match=r"is damaged: .* row 8"):
                read(opened)
        assert opened.get("c/3") == case(3)
        with pytest.raises(ManifestError, match=r"row 8|rows of cases|samples of 1 cases"):
            opened.verify()


def test_random_flips_are_found(base: Path) -> None:
    """Bits of texts, vectors and samples flipped where they lie: --verify finds each, or the file does not open."""
    whole = (base / STORE).read_bytes()
    rng = np.random.default_rng(5)
    places = [(table, column) for table, column in (("cases", "report"), ("vectors", "vector"), ("records", "samples"))]
    for turn in range(12):
        table, column = places[turn % 3]
        with closing(sqlite3.connect(base / STORE)) as db:
            (value,) = db.execute(f"SELECT {column} FROM {table} WHERE row = ?", (turn + 1,)).fetchone()
        raw = value.encode() if isinstance(value, str) else value
        at = whole.find(raw)
        assert at > 0
        flipped = bytearray(whole)
        flipped[at + int(rng.integers(len(raw)))] ^= 1 << int(rng.integers(7))
        (base / STORE).write_bytes(flipped)
        with open_base(base) as opened, pytest.raises(ManifestError, match="damaged"):
            opened.verify()
        (base / STORE).write_bytes(whole)
    with open_base(base) as opened:
        opened.verify()


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM labels", "DELETE FROM labels WHERE row = 3", "UPDATE labels SET statement = 'SRx' WHERE row = 3",
        "UPDATE labels SET statement = lower(statement) WHERE row = 3", "UPDATE labels SET code = 'x' WHERE row = 3",
        "UPDATE labels SET likelihood = 7 WHERE row = 3", "UPDATE labels SET row = 1003 WHERE row = 3",
        "INSERT INTO labels VALUES ('MORE', 3, 'MORE', 100)", "UPDATE cases SET sex = 'X' WHERE row = 4",
        "UPDATE cases SET patient_id = 'other' WHERE row = 4", "UPDATE cases SET age_years = 1 WHERE row = 4",
    ],
)  # fmt: skip
def test_a_filter_does_not_answer_from_damaged_tables(base: Path, sql: str) -> None:
    """What a filter would leave out in silence is found when the first filter is asked; what needs none goes on."""
    with open_base(base) as opened:
        whole = opened.count("label:NORM"), opened.count("sex=F")
        assert opened.count("not label:NORM") == len(opened) - whole[0] and len(opened.cases("label:NORM")) == whole[0]
    execute(base, sql)
    asks: list[Callable[[CaseBase], object]] = [
        lambda opened: opened.count("label:NORM"),
        lambda opened: opened.count("not label:X"),
        lambda opened: opened.cases("label:NORM", 0, 3),
        lambda opened: opened.search(unit(1)[0], 3, where="sex=F"),
        lambda opened: opened.search(unit(1)[0], 3, exclude_patient="p1"),
    ]
    for ask in asks:
        with open_base(base) as opened:
            assert opened.search(unit(1)[0], 1) is not None
            for _ in range(2):
                with pytest.raises(ManifestError, match=r"damaged") as error:
                    ask(opened)
            assert "restore" in (error.value.hint or "")


def test_flipped_bits_in_what_filters_ask_are_found(base: Path) -> None:
    """Pages of the labels' table and of the patients' index, byte by byte: an error, or the same answers as before."""
    with open_base(base) as opened:
        labels = [{"AFIB": 80.0, "LVH": float(i)} for i in range(25)]
        more = [
            Case(f"d/{i}", patient_id=f"p{i % 7}", age_years=40 + i, sex="FM"[i % 2], labels=said)
            for i, said in enumerate(labels)
        ]
        opened.add(more, unit(25, 8))
    whole = (base / STORE).read_bytes()
    asked = ["label:NORM", "not label:NORM", "label:AFIB", "patient=p1", "sex=F", "age>=50"]
    with open_base(base) as opened:
        right = [opened.count(where) for where in asked]
    with closing(sqlite3.connect(base / STORE)) as db:
        size = db.execute("PRAGMA page_size").fetchone()[0]
        roots = dict(db.execute("SELECT name, rootpage FROM sqlite_master WHERE rootpage > 0").fetchall())
    rng = np.random.default_rng(6)
    found = 0
    for name in ("labels", "cases_patient", "labels_row", "cases_age"):
        begin = (roots[name] - 1) * size
        written = [at for at in range(begin, begin + size) if whole[at]]
        for _ in range(12):
            flipped = bytearray(whole)
            flipped[int(rng.choice(written))] ^= 1 << int(rng.integers(8))
            (base / STORE).write_bytes(flipped)
            try:
                with open_base(base) as opened:
                    assert [opened.count(where) for where in asked] == right, name
            except CaseBaseError:
                found += 1
    assert found >= 24
    (base / STORE).write_bytes(whole)


def test_a_filter_in_an_older_base_is_checked_without_checksums(base: Path) -> None:
    execute(base, "DROP TABLE checksums")
    with open_base(base) as opened:
        assert opened.count("label:NORM") > 0
    execute(base, "DELETE FROM labels WHERE row = 3")
    with open_base(base) as opened, pytest.raises(ManifestError, match="labels in the filters' table"):
        opened.count("label:NORM")


def test_odd_labels_are_no_damage(base: Path) -> None:
    """Keys and numbers that JSON and SQLite spell in ways of their own."""
    labels = {
        "A'B\"C": 33.333333333333336,
        "\u00e4\U0001f600": 1e-7,
        "ami": 1.0,
        "AMI": 99.99999999999999,
        "a\\b": 0.1 + 0.2,
    }
    with open_base(base) as opened:
        opened.add([Case("odd/1", labels=labels)], unit(1, 70))
    with open_base(base) as opened:
        assert opened.count("label:ami") == 1 and opened.get("odd/1").labels == labels
        opened.verify()


def test_a_vector_that_is_none(base: Path) -> None:
    """NaN with a checksum that fits, as a stranger would write it."""
    bad = np.full(DIM, np.nan, dtype="<f4").tobytes()
    execute(base, "UPDATE vectors SET vector = ? WHERE row = 8", bad)
    execute(base, "UPDATE checksums SET vector = ? WHERE row = 8", checksum(bad))
    with open_base(base) as opened, pytest.raises(ManifestError, match="damaged vector of 1 cases"):
        opened.verify()
    for path in base.glob("index-*"):
        path.unlink()
    with pytest.raises(ManifestError, match=r"row 0 has NaN|damaged vector"):
        FolderBase.repair(base)


def test_an_older_base_gets_checksums_when_it_is_compacted(base: Path) -> None:
    execute(base, "DROP TABLE checksums")
    with open_base(base) as opened:
        opened.add([case(50)], unit(1, 50), [record(50)])
        opened.update([case(3)], unit(1, 51))
        opened.remove(["c/4"])
        opened.verify()
        opened.compact()
        opened.verify()
        opened.add([case(51)], unit(1, 52))
        opened.update([Case("c/51", report="new")])
        opened.verify()
    execute(base, "UPDATE cases SET report = 'x' WHERE case_id = 'c/50'")
    with open_base(base) as opened, pytest.raises(ManifestError, match="damaged text of 1 cases"):
        opened.verify()


VIEW = "CREATE VIEW cases AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"


@pytest.mark.parametrize(
    "statements",
    [
        ["ALTER TABLE cases RENAME TO old", VIEW],
        [VIEW.replace("VIEW cases", "VIEW more")],
        ["CREATE TRIGGER t AFTER UPDATE ON meta BEGIN DELETE FROM cases; END"],
        ["CREATE TABLE more (a)"],
        ["DROP TABLE labels"],
        ["ALTER TABLE cases ADD COLUMN x"],
    ],
)
def test_tables_that_are_not_ours(base: Path, statements: list[str]) -> None:
    """A view that never ends must not be asked for a row."""
    for statement in statements:
        execute(base, statement)
    with pytest.raises(ManifestError, match="is not a case store"):
        open_base(base)


@pytest.mark.parametrize("value", ["-1", "x", "", "1e3", str(10**30), b"\x00", None, "٣"])
@pytest.mark.parametrize("key", ["dim", "generation", "n_cases", "next_row"])
def test_numbers_of_the_store(base: Path, key: str, value: object) -> None:
    sql = (
        "UPDATE meta SET value = ? WHERE key = ?"
        if value is not None
        else "DELETE FROM meta WHERE ? IS NULL AND key = ?"
    )
    execute(base, sql, value, key)
    with pytest.raises(ManifestError):
        open_base(base)


WRONG: list[tuple[str, Any]] = [
    ("dim", "16"), ("dim", 1e400), ("dim", -1), ("dim", None), ("dim", 10**40), ("generation", 1.5), ("n_cases", [3]),
    ("index_file", "../../etc/passwd"), ("index_file", 7), ("index_bytes", "x"), ("preprocessing", "x"),
    ("encoder_name", {}), ("base_id", None), ("max_row", True), ("more", 1),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), WRONG)
@pytest.mark.parametrize("fits", [True, False])
def test_fields_of_the_manifest(base: Path, field: str, value: object, fits: bool) -> None:
    """One line that names the file, whether or not the checksum was made to fit."""
    content = json.loads((base / MANIFEST).read_text())
    checksum = content.pop("checksum")
    content[field] = value
    content["checksum"] = _checksum(content) if fits else checksum
    (base / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(ManifestError, match=MANIFEST) as caught:
        open_base(base)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "7", "{", '{"format": "ecgkin-casebase"}', "[" * 100_000, "\ud800"])
def test_manifests_that_are_none(base: Path, text: str) -> None:
    (base / MANIFEST).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ManifestError, match=MANIFEST):
        Manifest.read(base)


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(base: Path, tmp_path: Path) -> None:
    take_snapshot(base, tmp_path / "s")
    for folder, name in ((base, MANIFEST), (tmp_path / "s", FILE)):
        (folder / name).unlink()
        os.mkfifo(folder / name)
    with pytest.raises(ManifestError, match="no file"):
        open_base(base)
    with pytest.raises(CaseBaseError, match="no file"):
        read_snapshot(tmp_path / "s")


BAD_IDS = ["", " ", "\n", "a\n", "a\tb", ".", "..", "../x", "a/../b", "a/.", " a", "a ", "\x00", "a\x7f", "a\u2028b",
           "a\u202eb", "x" * 501, "\ud800"]  # fmt: skip


@pytest.mark.parametrize("case_id", BAD_IDS)
def test_ids_that_could_never_be_fetched(case_id: str) -> None:
    with pytest.raises(RecordError, match="case id"):
        Case(case_id)
    check_case_id(safe_case_id(case_id))


def test_ids_that_are_allowed() -> None:
    for case_id in ("ptbxl/1", "ward 3/ä b.scp#2", 'say "x" \\', "a//b", "...", ".hidden", "x" * 500, "心電図/1"):
        assert Case(case_id).case_id == safe_case_id(case_id) == case_id


def test_a_folder_that_was_replaced(base: Path, tmp_path: Path) -> None:
    """What is written into files that nobody will find is not acknowledged, and a server goes over to the new ones."""
    shutil.copytree(base, tmp_path / "other")
    with open_base(tmp_path / "other") as other:
        other.remove(["c/0"])
    opened = open_base(base)
    live: LiveSearch[Any] = LiveSearch(base, every_s=0.0, serve=_Served)
    with live.current() as now:
        assert len(now.base) == N
    shutil.move(base, tmp_path / "away")
    for call in (lambda: opened.add([case(99)], unit(1, 99)), lambda: len(opened), lambda: opened.get("c/1")):
        with pytest.raises(CaseBaseError, match="was removed while it was open"):
            call()
    (tmp_path / "other").rename(base)
    with pytest.raises(CaseBaseError, match="was replaced while it was open"):
        opened.remove(["c/1"])
    opened.close()
    with live.current() as now:
        assert len(now.base) == N - 1
    live.close()


class _Served:
    """What `LiveSearch` asks of a search."""

    def __init__(self, base: CaseBase) -> None:
        self.base, self.encoder = base, self
        self.name = "none"

    def close(self) -> None:
        self.base.close()


LOCKER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
"""


def test_readers_do_not_wait_for_a_writer_that_waits(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program keeps SQLite's lock: the write fails after its time, and reads go on meanwhile."""
    monkeypatch.setattr(folder_base, "WRITE_WAIT_S", 1.5)
    command = [sys.executable, "-c", LOCKER, str(base / STORE)]
    errors: list[Exception] = []
    with (
        open_base(base) as opened,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as locker,
    ):
        assert locker.stdout is not None and locker.stdin is not None
        assert locker.stdout.readline() == "locked\n"

        def write() -> None:
            try:
                opened.remove(["c/1"])
            except CaseBaseError as error:
                errors.append(error)

        writer = threading.Thread(target=write)
        writer.start()
        reads = 0
        while writer.is_alive():
            assert opened.get("c/1") == case(1)
            reads += 1
            time.sleep(0.01)
        writer.join()
        assert reads > 10, "reads waited for the writer"
        assert len(errors) == 1 and "keeps" in str(errors[0]) and "locked" in str(errors[0])
        locker.stdin.write("\n")
        locker.stdin.flush()
        locker.wait()
        opened.remove(["c/1"])
        assert len(opened) == N - 1


def test_two_objects_take_turns(base: Path) -> None:
    """After one write nobody keeps the lock."""
    with open_base(base) as one, open_base(base) as other:
        for i in range(6):
            (one, other)[i % 2].add([case(100 + i)], unit(1, 100 + i))
        assert len(one) == len(other) == N + 6
        one.compact()
        other.remove(["c/100"])
        one.verify()
        other.verify()
    with open_base(base) as again:
        assert len(again) == N + 5
        again.verify()


def test_what_is_removed_is_overwritten(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by a build of SQLite that leaves what is deleted where it is."""

    def careless(path: Path, *, write: bool = False) -> sqlite3.Connection:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA secure_delete=OFF")
        return db

    monkeypatch.setattr(store, "connect", careless)
    with open_base(base) as opened:
        opened.remove(["c/7"])
    stored = b"".join(path.read_bytes() for path in base.iterdir() if path.is_file())
    assert b"Befund 8" in stored and b"Befund 7" not in stored


def _changed_index(base: Path, change: Callable[[bytearray, int], None]) -> None:
    """Put another index into the base, with the checksum that its manifest asks for."""
    manifest = Manifest.read(base)
    file = base / manifest.index_file
    data = bytearray(file.read_bytes())
    change(data, data.index(b"IxM2"))
    file.write_bytes(data)
    digest = file_digest(file)
    manifest.model_copy(update={"index_bytes": len(data), "index_digest": digest}).write(base)


def _put(offset: int, form: str, value: int) -> Callable[[bytearray, int], None]:
    return lambda data, at: struct.pack_into(form, data, at + offset, value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_put(74, "<q", 2**33), "names 8589934592 numbers"),  # FAISS would take 32 GB
        (_put(4, "<i", 9999), "vectors of 9999 numbers"),
        (_put(41, "<i", 9999), "is not a whole index file"),
        (_put(33, "<i", 1), "compared by their product"),
        (_put(-8, "<q", 2**40), "not those of its vectors"),
        (_put(8, "<q", 2), "is not a whole index file"),
        (lambda data, at: data.__setitem__(slice(-8, None), struct.pack("<q", 2**40)), "not those of its vectors"),
        (lambda data, at: data.__delitem__(slice(-8, None)), "is not a whole index file"),
        (lambda data, at: data.__setitem__(slice(at, at + 4), b"IxPT"), "is not a whole index file"),
    ],
)
def test_an_index_made_by_a_stranger(base: Path, change: Callable[[bytearray, int], None], says: str) -> None:
    """Its checksum fits, its content does not: refused by name, whatever FAISS would have made of it."""
    _changed_index(base, change)
    with pytest.raises(ManifestError, match=says) as refused:
        open_base(base)
    assert "repair" in refused.value.hint
    FolderBase.repair(base).close()
    with open_base(base) as opened:
        opened.verify()


def test_an_index_of_cases_that_are_not_there(base: Path) -> None:
    """Ids and vectors agree with each other and not with the store: a search says so."""

    def change(data: bytearray, at: int) -> None:
        for place in (at - 8, len(data) - 8):
            struct.pack_into("<q", data, place, 2**40)

    _changed_index(base, change)
    with open_base(base) as opened, pytest.raises(ManifestError, match="names 1 cases that are not there"):
        opened.search(opened.vector(opened.cases()[-1].case_id), 50)
