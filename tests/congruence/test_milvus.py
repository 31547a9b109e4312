"""One judge for all engines: a folder (FAISS), Milvus Lite and a real Milvus server answer as the exact twin does."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgkin.index import create_base, open_base
from ecgkin.index.base import CaseBase
from ecgkin.index.case import Case
from ecgkin.index.engines.protocol import ExactIndex, Vectors
from ecgkin.index.filters import Where
from ecgkin.index.ingest.pipeline import ingest_records, open_or_create
from ecgkin.index.milvus.address import MilvusAddress, is_milvus
from ecgkin.index.milvus.filters import SPELLED_AT_MOST, expression, spelled
from ecgkin.index.milvus.table import choose_milvus_kind
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.errors import (
    CaseBaseError,
    EcgkinError,
    EncoderMismatchError,
    ManifestError,
    QueryError,
    RecordError,
)

pytest.importorskip("pymilvus", reason="extra [milvus] is not installed")
pytest.importorskip("milvus_lite", reason="extra [milvus] is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:::(pymilvus|milvus_lite|grpc|google|milvus)")

DIM = 16
N = 90
FILTERS = [
    "sex=F",
    "sex=none or age=none",
    "age>=60 and not age>80.5",
    "age!=20",
    "label:AFIB and age<40",
    "label:afib>=0 and not label:LVH<50",
    "label:LVH=50 or label:LVH!=50",
    "not label:NORM>=100",
    "not label:NORM",
    "date<=1985 or date=1990-01-02",
    "date>1985 and date<1990-01-02",
    "date!=1985",
    "date=none",
    "patient!=3 and patient!=none",
    'patient="o\'brien \\ "',
    'source="my ""ä"" folder"',
    "source=none",
    "language=DE",
    "language=none",
    "case in (made/1, made/2, made/1000)",
    "case!=made/1",
    "case=none",
    "(label:AFIB or sex=M) and not (age<30 or patient=5)",
]


def unit(n: int, seed: int = 0) -> Vectors:
    rows = np.random.default_rng(seed).standard_normal((n, DIM))
    units: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return units


def made_cases(n: int, first: int = 0) -> list[Case]:
    return [
        Case(
            f"made/{i}" if i % 11 else f'made "{i}" ü\\',
            patient_id=None if i % 13 == 0 else ("o'brien \\ " if i % 7 == 0 else str(i // 3)),
            source='my "ä" folder' if i % 5 == 0 else "made",
            age_years=None if i % 9 == 0 else float(20 + i % 70) + 0.5 * (i % 2),
            sex="FM"[i % 2] if i % 8 else None,
            recorded_at=(f"{1980 + i % 20}-01-02T03:04:05", f"{1980 + i % 20}-01", f"{1980 + i % 20}", None)[i % 4],
            labels={"NORM": 100.0} if i % 4 else {"AFIB": 0.0, "LVH": 50.0, "lvh": 80.0},
            report=f"Befund {i} äöü \u0000 \n ?😀",
            language="de" if i % 3 else None,
            meta={"fold": i % 10, "device": None},
            content_hash=f"{i:032x}",
        )
        for i in range(first, first + n)
    ]


def record(seed: int = 0, n: int = 500) -> EcgRecord:
    signal_mv = np.random.default_rng(seed).normal(0, 0.5, (12, n)).round(3).astype(np.float32)
    signal_mv[4, 10:20] = np.nan
    return EcgRecord(signal_mv, 100.0, LEADS, "r1", "p1", 60.0, "F", ("a note",))


class Server:
    """The standalone server of the package `milvus`, which can be killed and started again.

    Its etcd listens on fixed ports: one such server a machine.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._server: Any = None

    def start(self) -> None:
        from milvus import MilvusServer

        self._server = MilvusServer(**({"proxy_port": self.port} if self.port else {}))
        # On a busy machine the server misses its own heartbeats and gives itself up after 30 s; but a server that was
        # killed is believed alive for so long, and its collections are loaded only after that.
        self._server.config.set("common.session.ttl", 60)
        self._server.set_base_dir(str(self.folder))
        self._server.start()
        self.port = self._server.listen_port

    def kill(self) -> None:
        process = self._server.server_proc
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        self.kill()  # its own `stop` gives a busy machine four seconds
        self._server.server_proc = None


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that is up: the one at port MILVUS_TEST_PORT, or one that is started, in 11 s on two free cores."""
    made = Server(tmp_path_factory.mktemp("milvus"))
    if port := os.environ.get("MILVUS_TEST_PORT"):
        made.port = int(port)
        yield made
        return
    pytest.importorskip("milvus", reason="the server of the package milvus is not installed")
    made.start()
    yield made
    made.stop()


_COUNT = iter(range(10**6))
Place = Callable[[], "str | Path"]


@pytest.fixture(params=["folder", "lite", pytest.param("server", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Addresses where nothing is yet, on one engine."""
    if request.param == "folder":
        return lambda: tmp_path / f"base{next(_COUNT)}"
    if request.param == "lite":
        return lambda: str(tmp_path / f"base{next(_COUNT)}.db")
    up: Server = request.getfixturevalue("server")
    return lambda: f"milvus://127.0.0.1:{up.port}/t{next(_COUNT)}"


def made(address: str | Path, n: int = N) -> CaseBase:
    base = create_base(address, "hashing", "abc", DIM, drawing_version="1", preprocessing={"px": 2})
    if n:
        base.add(made_cases(n), unit(n))
    return base


def test_round_trip(place: Place) -> None:
    address = place()
    cases, vectors = made_cases(N), unit(N)
    with made(address) as base:
        base.add([Case("bare")], unit(1, 99), [record()])
        base.add([Case("long")], unit(1, 98), [record(1, 20_000)])
    with open_base(address) as base:
        assert len(base) == N + 2 == base.count()
        assert base.cases(limit=N) == cases and base.cases(offset=N - 1, limit=2) == [cases[-1], Case("bare")]
        assert base.get("made/7") == cases[7] and "made/7" in base and "made/x" not in base and 7 not in base
        np.testing.assert_array_equal(base.vectors(["made/7", "made/3", "made/7"]), vectors[[7, 3, 7]])
        assert base.ids_by_content([f"{5:032x}", "x", ""]) == {f"{5:032x}": ["made/5"]}
        assert base.record("made/1") is None
        for case_id, kept in (("bare", record()), ("long", record(1, 20_000))):
            back = base.record(case_id)
            assert back is not None and (back.leads, back.fs_hz, back.notes) == (LEADS, 100.0, ("a note",))
            np.testing.assert_allclose(back.signal_mv, kept.signal_mv, atol=1e-6)
        read = list(base.blocks(40))
        assert [case for block in read for case in block[0]] == [*cases, Case("bare"), Case("long")]
        np.testing.assert_array_equal(np.concatenate([block[1] for block in read])[:N], vectors)
        assert [sum(r is not None for r in block[2]) for block in read] == [0, 0, 2]
        base.verify()
        info = base.info()
        assert (info["n_cases"], info["dim"], info["encoder"], info["preprocessing"]) == (
            N + 2,
            DIM,
            "hashing",
            {"px": 2},
        )
        assert info["n_records"] == 2 and info["labels"]["AFIB"] == len(range(0, N, 4))
        assert json.loads(json.dumps(info)) == info


def test_search_and_filters_equal_the_twin(place: Place) -> None:
    cases, vectors = made_cases(N), unit(N)
    twin = ExactIndex(DIM)
    twin.add(np.arange(N), vectors)
    with made(place()) as base:
        for text in ("", *FILTERS):
            where = Where.parse(text)
            allowed = np.array([i for i, case in enumerate(cases) if where.matches(case)], dtype=np.int64)
            assert base.cases(text) == [cases[i] for i in allowed], text
            assert base.count(text) == len(allowed)
            query = unit(1, 3)
            scores, ids = twin.search(query, 10, allowed)
            found = base.search(query[0], 10, text)
            assert [case.case_id for case, _ in found] == [cases[i].case_id for i in ids[0] if i >= 0], text
            np.testing.assert_allclose([score for _, score in found], scores[0][ids[0] >= 0], atol=1e-4)
        left = base.search(vectors[8], N, exclude_patient="2", exclude_case="made/50")
        assert len(left) == N - 1 - sum(case.patient_id == "2" for case in cases)
        assert not {"made/6", "made/8", "made/50"} & {case.case_id for case, _ in left}
        many = base.search_many(vectors[:4], 5, exclude_cases=[None, "made/1", None, "made/3"])
        assert [hits[0][0] == cases[i] for i, hits in enumerate(many)] == [True, False, True, False]


def test_update_remove_and_compact(place: Place) -> None:
    address = place()
    with made(address) as base:
        base.update([replace(base.get("made/3"), report="new", labels={"PACE": 1.0})])
        np.testing.assert_array_equal(base.vector("made/3"), unit(N)[3])
        assert base.get("made/3").report == "new" and base.count("label:PACE") == 1
        assert base.cases()[3].report == "new"
        base.update([replace(base.get("made/4"), report="moved")], unit(1, 44), [record()])
        assert base.search(unit(1, 44)[0], 1)[0][0].report == "moved" and base.cases()[-1].report == "moved"
        base.update([base.get("made/4")], unit(1, 45))
        assert base.record("made/4") is not None
        base.remove(["made/4", "made/5"])
        assert len(base) == N - 2 and "made/4" not in base and len(base.search(unit(1)[0], 999)) == N - 2
        base.add([made_cases(5)[4]], unit(1, 46))
        assert base.search(unit(1, 46)[0], 1)[0][0].case_id == "made/4" and base.record("made/4") is None
        base.compact()
        base.verify()
        assert len(base.search(unit(1)[0], 999)) == N - 1
    with open_base(address) as base:
        assert len(base) == N - 1
        base.verify()


def test_what_is_refused_changes_nothing(place: Place) -> None:
    address = place()
    with made(address, 5) as base:
        new, v = made_cases(2, 5), unit(2, 5)
        tries: list[Callable[[], object]] = [
            lambda: base.add([new[0], new[0]], v),
            lambda: base.add([new[0], made_cases(2)[1]], v),
            lambda: base.add(new, v[:1]),
            lambda: base.add(new, v * 2),
            lambda: base.add(new, unit(2)[:, :8]),
            lambda: base.add([new[0], replace(new[1], meta={"x": object()})], v),
            lambda: base.update(new),
            lambda: base.remove(["made/1", "made/77"]),
            lambda: base.get("nobody"),
            lambda: base.record("nobody"),
            lambda: base.search(unit(1)[0], 0),
            lambda: base.search(unit(1)[0], 1, "age>"),
            lambda: base.cases(offset=-1),
        ]
        for attempt in tries:
            with pytest.raises((QueryError, RecordError)):
                attempt()
        assert base.cases() == made_cases(5)
    with pytest.raises(CaseBaseError, match="was closed"):
        base.cases()
    with pytest.raises(CaseBaseError, match="there already"):
        made(address, 0)
    with pytest.raises(CaseBaseError, match="does not exist"):
        open_base(place())
    with pytest.raises(EncoderMismatchError, match="built with encoder hashing abc"):
        open_base(address, HashingEncoder(DIM))


def test_ingest_search_and_command_line(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """What stands on a case base takes an address as it takes a folder."""
    from ecgkin.retrieval.search.search import CaseSearch
    from ecgkin.ui.cli.main import main
    from ecgkin.ui.demo.cases import simulated_gallery

    address, encoder, gallery = place(), HashingEncoder(), list(simulated_gallery(12))
    with open_or_create(address, encoder) as base:
        assert ingest_records(base, gallery[:8], encoder, batch=4).added == 8
    with open_or_create(address, encoder) as base:
        report = ingest_records(base, gallery, encoder)
        assert (report.added, report.skipped, report.duplicates) == (4, 8, [])
    with CaseSearch.open(address, encoder) as search:
        loaded = gallery[3].load()
        assert isinstance(loaded, EcgRecord)
        assert search.by_ecg(loaded, 3).hits[0].case.case_id == gallery[3].case.case_id
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main(["info", str(address), "--json", "--verify"])
    assert left.value.code == 0 and json.loads(capsys.readouterr().out)["n_cases"] == 12


def test_both_kinds_do_what_the_protocol_says() -> None:
    """Folder and Milvus are siblings: neither knows the other, and each defines what the protocol leaves open."""
    import inspect

    from ecgkin.index.base import CaseBase
    from ecgkin.index.folder.base import FolderBase
    from ecgkin.index.milvus.base import MilvusBase

    assert not issubclass(MilvusBase, FolderBase) and not issubclass(FolderBase, MilvusBase)
    for kind in (FolderBase, MilvusBase):
        assert not inspect.isabstract(kind)
        left_open = {"path", "manifest", "search_many", "get", "find", "cases", "count", "vectors", "record", "blocks",
                     "some", "ids_by_content", "add", "update", "remove", "compact", "info", "verify", "close",
                     "__len__", "__contains__"}  # fmt: skip
        assert left_open <= set(vars(kind))
        for name in left_open - {"path", "manifest"}:
            own, said = (inspect.signature(getattr(owner, name)).parameters for owner in (kind, CaseBase))
            assert list(own) == list(said), f"{kind.__name__}.{name} takes other arguments"


@pytest.mark.parametrize("damage", ["text", "vector", "samples"])
def test_damaged_rows_are_not_read(tmp_path: Path, damage: str) -> None:
    """Text, vector and samples of a case on Milvus carry checksums, as they do in a folder."""
    from ecgkin.index.milvus.base import MilvusBase

    with made(f"{tmp_path}/b.db", 5) as base:
        assert isinstance(base, MilvusBase)
        base.add([Case("bare", report="Befund 1")], unit(1, 99), [record()])
        base.update([Case("bare", report="Befund 2")])
        base.verify()
        table = base._table()
        (row,) = table.by_key([base._key("bare")], ["*"])
        if damage == "samples":
            (piece,) = table.by_key([f"{row['samples']}.0"], ["*"], samples=True)
            text = piece["piece"]
            table.write(
                [{**piece, "piece": text[:999] + ("B" if text[999] == "A" else "A") + text[1000:]}], samples=True
            )
        else:
            changed = {"text": {"body": row["body"].replace("Befund 2", "Befund 3")}, "vector": {"vector": unit(1)[0]}}
            table.write([{**row, **changed[damage]}])
        reads: dict[str, Callable[[], object]] = {
            "text": lambda: base.get("bare"),
            "vector": lambda: base.vector("bare"),
            "samples": lambda: base.record("bare"),
        }
        for read in (reads[damage], base.verify):
            with pytest.raises(ManifestError, match="damaged"):
                read()
        assert base.get("made/1") == made_cases(2)[1]


def test_tenants_do_not_see_each_other(tmp_path: Path) -> None:
    one, other = f"{tmp_path}/shared.db?tenant=one", f"{tmp_path}/shared.db?tenant=other"
    made(one, 9).close()
    with pytest.raises(CaseBaseError, match="no such tenant"):
        open_base(other)
    with made(other, 4) as base:
        base.remove(["made/1"])
        assert [case.case_id for case in base.cases()] == [made_cases(4)[i].case_id for i in (0, 2, 3)]
        assert len(base.search(unit(1)[0], 99)) == 3
    with open_base(one) as base:
        assert len(base) == 9 and "made/1" in base and len(base.search(unit(1)[0], 99)) == 9
    with pytest.raises(EncoderMismatchError):
        create_base(f"{tmp_path}/shared.db?tenant=third", "else", "xyz", DIM)


def test_addresses() -> None:
    parse = MilvusAddress.parse
    assert str(parse("milvus://h.x:1/a?tenant=b")) == "milvus://h.x:1/a?tenant=b"
    assert parse(Path("milvus://127.0.0.1:19530/cases")) == MilvusAddress("http://127.0.0.1:19530", "cases")
    assert parse(Path("milvus:///a/b.db")).uri == parse("/a/b.db").uri == "/a/b.db" and parse("b.db").is_lite
    assert not is_milvus("folder") and not is_milvus(3) and is_milvus("x.db?tenant=y")
    assert parse("milvus://h/x") == MilvusAddress("http://h:19530", "x")
    for wrong in ("milvus:///x", "milvus://h:0/x", "milvus://h:99999/x", "milvus://h:1/", "milvus://h:1/a-b",
                  "milvus://h:1/a?x=1", "milvus://h:1/a?tenant=a b", "x.db?tenant="):  # fmt: skip
        with pytest.raises((QueryError, ValueError)):
            parse(wrong)
    with pytest.raises(CaseBaseError):
        open_base("milvus://127.0.0.1:9/cases")
    assert choose_milvus_kind(10**8, "2.5.4") == "diskann"


@given(st.text(max_size=60), st.text(max_size=60))
def test_spellings_are_safe_and_different(one: str, other: str) -> None:
    first, second = spelled(one), spelled(other)
    assert (first == second) == (one == other)
    assert len(first) <= SPELLED_AT_MOST and first.isascii() and not set(first) & set("\"'\\\n\0")
    assert spelled(None) not in (first, second)


_ATOMS = st.sampled_from([Where.parse(text).root for text in FILTERS])


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_filter_means_the_same(lite_base: CaseBase, data: st.DataObject) -> None:
    from ecgkin.index.filters import Join, Not

    tree = st.recursive(
        _ATOMS,
        lambda part: st.one_of(
            part.map(Not),
            st.tuples(st.sampled_from(["and", "or"]), st.lists(part, max_size=3)).map(
                lambda pair: Join(pair[0], tuple(pair[1]))
            ),
        ),
        max_leaves=6,
    )
    where = Where(data.draw(tree))
    assert expression(where, "main").isascii()
    assert lite_base.cases(where) == [case for case in made_cases(N) if where.matches(case)]


@pytest.fixture(scope="module")
def lite_base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CaseBase]:
    with made(tmp_path_factory.mktemp("lite") / "base.db") as base:
        yield base


WRITER = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[2])
from test_milvus import DIM, made_cases, unit
from ecgkin.index import create_base, open_base
from ecgkin.index.base import CaseBase
from ecgkin.index.ingest.pipeline import base_exists
address, first = sys.argv[1], int(sys.argv[3])
base = open_base(address) if base_exists(address) else create_base(address, "hashing", "abc", DIM)
for n in range(first, 10**6, 4):
    print("adding", n, flush=True)
    base.add(made_cases(4, n), unit(4, n))
    print("added", n, flush=True)
"""


def check_after_kill(address: str, sure: set[int], unsure: set[int]) -> set[int]:
    """First numbers of the batches that are there: all that were acknowledged, whole, and none twice."""
    number = {case.case_id: i for i, case in enumerate(made_cases(4000))}
    with open_base(address) as base:
        there = [number[case.case_id] for case in base.cases()]
        assert len(set(there)) == len(there) == len(base)
        assert {case.case_id for case, _ in base.search(unit(1)[0], len(there) + 1)} == {
            case.case_id for case in base.cases()
        }
    batches = {i - i % 4 for i in there}
    assert len(there) == 4 * len(batches), "a batch is there in part"
    assert sure <= batches <= sure | unsure
    return batches


CHECKER = """
import sys
sys.path.insert(0, sys.argv[2])
from test_milvus import check_after_kill
sure, unsure = ({int(n) for n in text.split(",") if n} for text in sys.argv[3:5])
print(*sorted(check_after_kill(sys.argv[1], sure, unsure)))
"""


def checked_elsewhere(address: str, sure: set[int], unsure: set[int]) -> set[int]:
    """`check_after_kill` in a process of its own: Milvus Lite stays with the process that opened it until that ends."""
    numbers = [",".join(map(str, sorted(some))) for some in (sure, unsure)]
    command = [sys.executable, "-c", CHECKER, address, str(Path(__file__).parent), *numbers]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return {int(word) for word in done.stdout.split()}


def test_lite_killed_while_writing(tmp_path: Path) -> None:
    address = str(tmp_path / "killed.db")
    sure: set[int] = set()
    for lines in (7, 16):
        command = [sys.executable, "-c", WRITER, address, str(Path(__file__).parent), str(max(sure, default=-4) + 4)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            said = [writer.stdout.readline().split() for _ in range(lines)]
            os.kill(writer.pid, signal.SIGKILL)
            said += [line.split() for line in writer.stdout]
        acknowledged = {int(words[1]) for words in said if words[0] == "added"}
        sure = checked_elsewhere(address, sure | acknowledged, {int(words[1]) for words in said})
    assert len(sure) >= 10


@pytest.mark.slow
def test_server_killed_while_ingesting(server: Server) -> None:
    """SIGKILL for the server in the middle of the writing: nothing that was acknowledged is lost, nothing is twice."""
    if os.environ.get("MILVUS_TEST_PORT"):
        pytest.skip("MILVUS_TEST_PORT names a server that is not ours to kill")
    rng = random.Random(5)
    address = f"milvus://127.0.0.1:{server.port}/killed"
    sure: set[int] = set()
    made(address, 0).close()
    for _ in range(int(os.environ.get("MILVUS_TEST_KILLS", "2"))):
        killer = threading.Timer(1.0 + 2.0 * rng.random(), server.kill)
        tried: set[int] = set()
        with open_base(address) as base:
            killer.start()
            with pytest.raises(EcgkinError):
                for first in range(max(sure, default=-4) + 4, 10**6, 4):
                    tried.add(first)
                    base.add(made_cases(4, first), unit(4, first))
                    sure.add(first)
        killer.join()
        time.sleep(0.5)
        server.start()
        sure = check_after_kill(address, sure, tried)
    assert len(sure) > 4


@pytest.mark.slow
def test_names_are_switched_on_a_server(server: Server) -> None:
    """An alias goes over to another collection; a base that is open stays what it was."""
    from ecgkin.index.transfer.switching import meant_by, switch

    root = f"milvus://127.0.0.1:{server.port}/"
    made(root + "blue", 5).close()
    with made(root + "green", 9):
        switch(root + "live", root + "blue")
    with open_base(root + "live") as before:
        switch(root + "live", root + "green")
        with open_base(root + "live") as after:
            assert (len(before), len(after)) == (5, 9)
            assert meant_by(root + "live") == meant_by(root + "green") != meant_by(root + "blue")
