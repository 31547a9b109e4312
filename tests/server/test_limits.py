"""Hostile and heavy use of one server: size, time, pixels, concurrency, broken and malicious uploads, shutdown.

No test here depends on how fast the machine is: an encoder that can be held replaces waiting, and what is waited for
is a state of the server, not a number of seconds.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socket
import struct
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies
from numpy.typing import NDArray
from PIL import Image

from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.encoders.queue import EncoderQueue, QueuedEncoder
from ecgkin.retrieval.errors import ModelError, QueryError
from ecgkin.ui.api import problems
from ecgkin.ui.api.limits import Limits, PixelBudget
from ecgkin.ui.api.state import State
from ecgkin.ui.server.app import create_app
from ecgkin.ui.server.serving import address, bind, in_thread, server
from ecgkin.ui.settings import load_settings

Vectors = NDArray[np.float32]
ANY_TEST = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
# How long a busy machine may take for anything at all; a test that gets there has failed.
PATIENCE_S = 300.0


class HeldEncoder(HashingEncoder):
    """Encodes while it is not held, and counts who asks together."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()
        self.free.set()
        self.batches: list[int] = []

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """As its parent, once it is free."""
        self._wait(len(texts))
        if any("poison" in text for text in texts):
            raise ModelError("this text cannot be encoded")
        return super().encode_texts(texts)

    def encode_records(self, records: Sequence[EcgRecord]) -> Vectors:
        """As its parent, once it is free."""
        self._wait(len(records))
        return super().encode_records(records)

    def _wait(self, n: int) -> None:
        self.batches.append(n)
        assert self.free.wait(PATIENCE_S)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing is encoded while this lasts."""
        self.batches = []
        self.free.clear()
        try:
            yield
        finally:
            self.free.set()


def wait_for(what: Callable[[], bool]) -> None:
    """Until something is so."""
    until = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)


@dataclass
class Small:
    """A server with small limits."""

    http: httpx.Client
    encoder: HeldEncoder
    state: State
    url: str
    root: Path

    @property
    def uploads(self) -> Path:
        """Where uploads go."""
        return self.root / "uploads"

    def in_flight(self) -> int:
        """Requests being answered, without the one that asks."""
        found = re.search(r"^ecgkin_requests_in_flight (\S+)", self.http.get("/metrics").text, re.MULTILINE)
        assert found is not None
        return int(float(found[1])) - 1


@contextmanager
def serving(base: Path, root: Path, **given: Any) -> Iterator[Small]:
    """A server over a copy of a base, with settings; uploads go to a folder of their own."""
    shutil.copytree(base, root / "base")
    (root / "uploads").mkdir()
    config = load_settings(api_port=0, **given)
    encoder = HeldEncoder()
    state = State(root / "base", config, encoder)
    before = tempfile.tempdir
    tempfile.tempdir = str(root / "uploads")
    try:
        with (
            in_thread(create_app(config, state), config) as url,
            httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as http,
        ):
            yield Small(http, encoder, state, url, root)
    finally:
        tempfile.tempdir = before


@pytest.fixture(scope="module")
def small(simulated_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    """1 MB bodies, 0.2 MB JSON and tables, 1 megapixel, 6 requests, 4 at work, no drafts."""
    limits = {"api_max_body_mb": 1.0, "api_max_json_mb": 0.2, "api_max_megapixels": 1.0, "api_max_requests": 6}
    more = {"api_workers": 4, "api_batch": 4, "api_drafters": (), "api_max_seconds": PATIENCE_S}
    with serving(simulated_base, tmp_path_factory.mktemp("limits"), **limits, **more) as made:
        yield made


def kind(answer: httpx.Response) -> tuple[int, str]:
    """Status and kind of a problem."""
    return answer.status_code, str(answer.json()["type"]).partition("#")[2]


def post(small: Small, name: str, content: bytes, **fields: str) -> httpx.Response:
    """A search by one file."""
    return small.http.post("/v1/search", files={"file": (name, content)}, data=fields)


def claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose head claims that size."""
    whole = io.BytesIO()
    Image.new("L", (8, 8)).save(whole, "PNG")
    honest = whole.getvalue()
    head = b"IHDR" + struct.pack(">II", width, height) + honest[24:29]
    return honest[:12] + head + struct.pack(">I", zlib.crc32(head)) + honest[33:]


def plain(width: int, height: int) -> bytes:
    """A PNG that is that large."""
    whole = io.BytesIO()
    Image.new("L", (width, height)).save(whole, "PNG")
    return whole.getvalue()


def zip_of(*members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these members."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content, compress_type=method)
    return packed.getvalue()


def test_bodies_that_are_too_large(small: Small) -> None:
    """By what the header says, and by what comes without a header; JSON has its own limit."""
    assert kind(post(small, "a.png", b"x" * 1_100_000)) == (413, "too-large")
    assert kind(small.http.post("/v1/search", json={"text": "x" * 250_000})) == (413, "too-large")

    def endless() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        for _ in range(40):
            yield b"x" * 65_536

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert kind(small.http.post("/v1/search", content=endless(), headers=headers)) == (413, "too-large")
    table = b"I,II\n" + b"0.1,0.2\n" * 40_000
    assert kind(post(small, "a.csv", table, fs_hz="500")) == (413, "too-large")


def test_pixels(small: Small) -> None:
    """A small file with many pixels is refused by its head alone; what it claims is not there to be unpacked."""
    for width, height in ((20_000, 20_000), (65_535, 65_535), (1200, 1000)):
        assert kind(post(small, "bomb.png", claiming(width, height))) == (413, "too-large")
    embedded = small.http.post("/v1/embeddings", files={"file": ("h.png", plain(1200, 1000))})
    assert kind(embedded) == (413, "too-large")


def test_slow_bodies(simulated_base: Path, tmp_path: Path) -> None:
    """Who sends a byte now and then is told after the seconds that a body may take, and not before."""
    with serving(simulated_base, tmp_path, api_max_seconds=1.0, api_drafters=()) as slow:
        host, port = slow.url.removeprefix("http://").split(":")
        head = (
            f"POST /v1/search HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            "Content-Length: 1000\r\n\r\n"
        )
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
            start = time.monotonic()
            connection.sendall(head.encode() + b'{"text"')
            answer = connection.recv(65_536)
            assert b" 408 " in answer.split(b"\r\n")[0] and time.monotonic() - start > 0.9


def test_deadline(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that takes too long is a 504; the server goes on."""
    monkeypatch.setattr(small.state.work, "seconds", 0.3)
    with small.encoder.held():
        assert kind(small.http.post("/v1/search", json={"text": "slow"})) == (504, "deadline")
    monkeypatch.undo()
    assert small.http.post("/v1/search", json={"text": "quick"}).status_code == 200


def test_too_many_at_once(small: Small) -> None:
    """Six are served, the others are turned away at once with Retry-After; health still answers."""
    wait_for(lambda: small.in_flight() == 0)
    with ThreadPoolExecutor(16) as pool:
        with small.encoder.held():
            waiting = [pool.submit(small.http.post, "/v1/search", json={"text": f"t{i}"}) for i in range(16)]
            wait_for(lambda: sum(future.done() for future in waiting) == 10)
            busy = [future.result() for future in waiting if future.done()]
            assert small.http.get("/healthz").status_code == 200 and small.in_flight() == 6
        answers = [future.result() for future in waiting]
    assert all(kind(answer) == (503, "busy") and answer.headers["retry-after"] == "1" for answer in busy)
    assert sum(answer.status_code == 200 for answer in answers) == 6


def test_requests_share_the_encoder(small: Small) -> None:
    """Texts that come while the encoder is busy are encoded together; one that cannot be fails alone."""
    texts = ["first", "second", "third poison", "fourth"]

    def ask(text: str) -> httpx.Response:
        return small.http.post("/v1/search", json={"text": text, "k": 1})

    with ThreadPoolExecutor(4) as pool:
        with small.encoder.held():
            waiting = [pool.submit(ask, texts[0])]
            wait_for(lambda: small.encoder.batches == [1])
            waiting += [pool.submit(ask, text) for text in texts[1:]]
            wait_for(lambda: small.state.queue.depth == 3)
        together = [future.result() for future in waiting]
    assert small.encoder.batches[:2] == [1, 3]
    alone = [ask(text) for text in texts]
    assert [a.status_code for a in together] == [a.status_code for a in alone] == [200, 200, 503, 200]
    for a, b in zip(together, alone, strict=True):
        assert a.status_code == 503 or a.json()["hits"] == b.json()["hits"]


def test_queue_alone() -> None:
    """Same vectors as without it, all that is queued goes along, cancelled inputs are left out, close finishes."""
    encoder = HeldEncoder()
    queue = EncoderQueue(encoder, batch=8)
    facade = QueuedEncoder(queue)
    np.testing.assert_array_equal(facade.encode_texts(["x"]), HashingEncoder().encode_texts(["x"]))
    assert not hasattr(facade, "encode_printed") and facade.fingerprint == encoder.fingerprint
    queue.close()
    with pytest.raises(ModelError, match="closed"):
        queue.submit("encode_texts", "x")

    queue = EncoderQueue(encoder, batch=3)
    with encoder.held():
        first = queue.submit("encode_texts", "a")
        wait_for(lambda: encoder.batches == [1])
        rest = [queue.submit("encode_texts", f"b{i}") for i in range(5)]
        assert rest[1].cancel()
    queue.close()
    assert first.done() and all(future.done() for future in rest)
    assert max(encoder.batches) <= 3 and sum(encoder.batches) == 5


ZIP_CASES = {
    "slip": zip_of(("../../../evil.hea", b"x")),
    "absolute": zip_of(("/tmp/evil.csv", b"x")),
    "backslash": zip_of(("..\\..\\evil.csv", b"x")),
    "drive": zip_of(("C:\\evil.csv", b"x")),
    "twice": zip_of(("a/x.hea", b"x"), ("b/x.hea", b"x")),
    "bzip2": zip_of(("x.csv", b"1,2\n" * 9), method=zipfile.ZIP_BZIP2),
    "lzma": zip_of(("x.csv", b"1,2\n" * 9), method=zipfile.ZIP_LZMA),
    "empty": zip_of(),
    "nothing useful": zip_of(("readme.md", b"x"), ("x.exe", b"MZ")),
    "zip in zip": zip_of(("x.zip", zip_of(("x.csv", b"1,2")))),
    "two tables": zip_of(("x.csv", b"1,2"), ("y.csv", b"1,2")),
    "many": zip_of(*((f"f{i}-{'n' * 200}.csv", b"") for i in range(400))),
    "cut": zip_of(("x.csv", b"1,2\n" * 99))[:-30],
    "no name": zip_of(("x.csv", b"1,2\n" * 99)).replace(b"x.csv", b"\0.csv"),
    "damaged": zip_of(("x.csv", os.urandom(999))).replace(b"x.csv", b"y.csv", 1),
}


@pytest.mark.parametrize("name", ZIP_CASES)
def test_malicious_zips(small: Small, name: str, tmp_path: Path) -> None:
    """Every trick is a 4xx, nothing is written elsewhere, and nothing is left behind."""
    answer = post(small, "upload.zip", ZIP_CASES[name])
    assert answer.status_code == 422, answer.text
    assert str(small.uploads) not in answer.text
    assert not list(Path(tempfile.gettempdir()).rglob("*evil*"))


def test_zips_that_link_or_hide(small: Small) -> None:
    """A symbolic link and an encrypted member are refused by name."""
    link = zipfile.ZipInfo("x.csv")
    link.external_attr = 0o120777 << 16
    assert "link" in post(small, "l.zip", zip_of((link, b"/etc/passwd"))).json()["detail"]
    secret = bytearray(zip_of(("x.csv", b"1,2")))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        secret[secret.index(mark) + at] |= 1
    assert "encrypted" in post(small, "s.zip", bytes(secret)).json()["detail"]


def test_zip_bomb(small: Small) -> None:
    """A zip that unpacks to a thousand times its size is stopped at the limit, whatever its directory claims."""
    honest = zip_of(("x.csv", b"0" * 50_000_000))
    assert len(honest) < 100_000
    assert kind(post(small, "b.zip", honest)) == (413, "too-large")
    liar = bytearray(honest)
    at = liar.index(b"PK\x01\x02") + 24
    liar[at : at + 4] = (100).to_bytes(4, "little")  # "unpacks to 100 bytes"
    assert post(small, "b.zip", bytes(liar)).status_code in (413, 422)


def test_odd_records(small: Small) -> None:
    """Path tricks in WFDB names and headers, FLAC, mad numbers, NaN and infinity: never a 5xx."""
    head = b"r 1 500 10\n../../etc/passwd 16 1000/mV 16 0 0 0 0 II\n"
    pair = [("file", ("r.hea", head)), ("file", ("r.dat", b"\0" * 20))]
    assert small.http.post("/v1/search", files=pair).status_code == 422
    flac = b"r 1 500 99999999\nr.dat 516 1000/mV 16 0 0 0 0 II\n"
    answer = small.http.post("/v1/search", files=[("file", ("r.hea", flac)), ("file", ("r.dat", b"fLaC"))])
    assert answer.status_code == 422 and answer.json()["type"].endswith("#record")
    assert small.http.post("/v1/search", files=[("file", ("../a b.hea", head))]).status_code == 422
    odd: list[list[list[object]]] = [[["x"]], [[1e400]], [[1.0], [1.0, 2.0]], [], [[]], [[1e39, 0.0]]]
    for values in odd:
        body = {"signal": {"signal_mv": values, "fs_hz": 500, "leads": ["I", "II"][: max(1, len(values))]}}
        text = str(body).replace("'", '"').replace("inf", "1e400")
        got = small.http.post("/v1/search", content=text, headers={"Content-Type": "application/json"})
        assert got.status_code == 422, (values, got.text)
    wave = np.sin(np.arange(600) / 9)
    for scale in (3e38, 1e5, 500.0, 1e-4):  # no unit at all, nV, uV and V in the place of mV
        rows = (scale * np.stack([wave, -wave])).tolist()
        body = {"signal": {"signal_mv": rows, "fs_hz": 100, "leads": ["I", "II"]}}
        for path in ("/v1/search", "/v1/embeddings", "/v1/drafts"):
            got = small.http.post(path, json=body)
            assert kind(got) == (422, "record") and "mV" in got.json()["detail"], (scale, path, got.text)
    nothing = {"signal": {"signal_mv": [[None] * 600, [None] * 600], "fs_hz": 100, "leads": ["I", "II"]}}
    assert small.http.post("/v1/search", json=nothing).status_code in (200, 422)
    for text in ("I,II\nnan,inf\n" * 50, "I,II\n" + "1e308,1e308\n" * 50, "time,I\n0,1\n0,1\n"):
        assert post(small, "x.csv", text.encode(), fs_hz="500").status_code in (200, 422), text[:20]


def test_whole_numbers_of_any_length(small: Small) -> None:
    """JSON has them, Python keeps them, no float holds them: refused in filters, ignored in what is stored."""
    for where in ({"age": {">=": 10**400}}, {"age": -(10**400)}, {"label": {"LVH": {">=": 10**400}}}):
        got = small.http.post("/v1/search", json={"text": "LBBB", "where": where})
        assert kind(got) == (422, "query"), got.text
    signal = small.http.get("/v1/cases/simulated/3/signal").json()
    for case_id, value in (("long/1", 10**400), ("long/2", 480)):
        case = {"case_id": case_id, "meta": {"measurements": {"qtc_ms": value}}}
        sent = small.http.post("/v1/cases", json={"case": case, "signal": signal})
        assert sent.status_code == 201, sent.text
    try:
        found = small.http.post("/v1/search", json={"text": "QTc > 300 ms", "k": 40})
        assert found.status_code == 200, found.text
        assert [hit["case"]["case_id"] for hit in found.json()["hits"]] == ["long/2"]
    finally:
        for case_id in ("long/1", "long/2"):
            small.http.delete(f"/v1/cases/{case_id}")


def picture(kind_: str) -> bytes:
    """A small honest picture."""
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)).save(out, kind_)
    return out.getvalue()


def bomb_xml() -> bytes:
    """Ten entities, each ten times the one before."""
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 10))
    return f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e0 "ha">{entities}]><x>&e9;</x>'.encode()


SEEDS = (
    picture("PNG"), picture("JPEG"), picture("TIFF"), picture("WEBP"), picture("GIF"), picture("BMP"),
    b"I,II,V1\n" + b"0.1,0.2,0.3\n" * 30, b"I,II\n" + b"nan,-inf\n" * 400 + b"1e308,1e-308\n" * 400,
    zip_of(("x.csv", b"I,II\n" + b"0.1,0.2\n" * 30)), b"r 2 500 400\n" + b"r.dat 16 200 16 0 0 0 0 II\n" * 2,
    picture("PNG") + zip_of(("x.csv", b"1,2\n")), b"%PDF-1.7\n%\xe2\xe3", b"GIF89a" + picture("JPEG"),
    picture("JPEG") + picture("PNG"), b"\0" * 128 + b"DICM" + b"\x02\0\0\0UL\x04\0\xff\xff\xff\xff" * 9,
    bomb_xml(), b"\0" * 6 + b"\x88\0" + b"\0" * 8 + b"SCPECG" + b"\xff" * 200, b"ISHNE1.0" + b"\xff" * 600,
    b"0       " + b"9" * 600,
)  # fmt: skip
NAMES = (
    "x.png", "x.jpg", "x.tif", "x.csv", "x.zip", "x.hea", "x.dat", "x.xml", "x.dcm", "x.scp", "x.edf", "x.ecg", "x.pdf",
    "x", "../x.png", "x.png\x00.csv", "é" * 300,
)  # fmt: skip
# Where files go, the fields that belong to each, and what it says when all is well.
DOORS: tuple[tuple[str, dict[str, str], int], ...] = (
    ("/v1/search", {"fs_hz": "250"}, 200),
    ("/v1/embeddings", {}, 200),
    ("/v1/explanations", {"case_id": "simulated/3"}, 200),
    ("/v1/cases", {"case": '{"case_id": "../../fuzz"}'}, 201),
)


@given(
    seed=strategies.sampled_from(SEEDS),
    name=strategies.sampled_from(NAMES),
    door=strategies.sampled_from(DOORS),
    cut=strategies.floats(0.0, 1.0),
    changes=strategies.lists(
        strategies.tuples(strategies.floats(0.0, 0.999), strategies.binary(max_size=8)), max_size=6
    ),
)
@ANY_TEST
def test_fuzzed_uploads(
    small: Small,
    seed: bytes,
    name: str,
    door: tuple[str, dict[str, str], int],
    cut: float,
    changes: list[tuple[float, bytes]],
) -> None:
    """Cut, changed and misnamed files, polyglots, bombs: an answer or a 4xx, and no file left behind or elsewhere."""
    content = bytearray(seed[: round(len(seed) * (0.2 + 0.8 * cut))])
    for at, new in changes:
        place = int(at * len(content))
        content[place : place + len(new)] = new
    path, fields, good = door
    answer = small.http.post(path, files={"file": (name, bytes(content))}, data=fields)
    assert answer.status_code in (good, 400, 409, 413, 422), answer.text
    if answer.status_code == 201:
        small.state.base.remove(["../../fuzz"])
    assert sorted(entry.name for entry in small.root.iterdir()) == ["base", "uploads"]
    assert not list(small.uploads.glob("*/upload-*"))
    known = {"cases.sqlite", "manifest.json", "index", "writer.lock", "feedback.sqlite"}
    assert {entry.name.split("-")[0] for entry in (small.root / "base").iterdir()} <= known


@given(body=strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.floats() | strategies.text(max_size=20),
    lambda inner: strategies.lists(inner, max_size=4)
    | strategies.dictionaries(
        strategies.sampled_from("text k where signal age label and not signal_mv leads fs_hz".split()),
        inner, max_size=4,
    ),
    max_leaves=12,
))  # fmt: skip
@ANY_TEST
def test_fuzzed_json(small: Small, body: object) -> None:
    """Any JSON is an answer or a 4xx."""
    text = json.dumps(body if isinstance(body, dict) else {"text": "LBBB", "where": body})
    answer = small.http.post("/v1/search", content=text, headers={"Content-Type": "application/json"})
    assert answer.status_code in (200, 413, 422), answer.text


def test_shutdown_finishes_what_was_begun(simulated_base: Path, tmp_path: Path) -> None:
    """A search and a streamed draft in flight are answered after the server was told to stop; new ones find nobody."""
    shutil.copytree(simulated_base, tmp_path / "base")
    config = load_settings(api_port=0, api_max_seconds=PATIENCE_S)
    encoder = HeldEncoder()
    state = State(tmp_path / "base", config, encoder)
    state.preload()  # libraries that a first draft loads may take a busy machine minutes
    rows = np.random.default_rng(0).normal(0, 0.3, (2, 300)).round(3).tolist()
    body = {"signal": {"signal_mv": rows, "fs_hz": 100, "leads": ["I", "II"]}}
    listener = bind(config)
    running = server(create_app(config, state), config)
    thread = threading.Thread(target=running.run, args=([listener],), daemon=True)
    thread.start()
    url = address(listener)
    host, port = url.removeprefix("http://").split(":")

    def refused() -> bool:
        try:
            socket.create_connection((host, int(port)), timeout=PATIENCE_S).close()
        except ConnectionRefusedError:
            return True
        return False

    with httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as http, ThreadPoolExecutor(2) as pool:
        wait_for(lambda: running.started)
        with encoder.held():
            events = {"Accept": "text/event-stream"}
            drafted = pool.submit(http.post, "/v1/drafts", json=body, headers=events)
            wait_for(lambda: encoder.batches == [1])
            found = pool.submit(http.post, "/v1/search", json={"text": "AFIB"})
            wait_for(lambda: state.queue.depth == 1)
            running.should_exit = True
            wait_for(refused)
            assert not drafted.done() and not found.done()
        assert found.result().status_code == 200 and len(found.result().json()["hits"]) == 10
        assert drafted.result().text.splitlines()[-3] == "event: draft"
    thread.join(timeout=PATIENCE_S)
    assert not thread.is_alive() and state.closing
    listener.close()


# ---------------------------------------------------------------- the bounds themselves


def test_a_picture_that_takes_the_whole_budget_is_let_in() -> None:
    """Up to the limit is within it; one more pixel never is, and while all is taken others wait and are told so."""
    budget = PixelBudget(100, seconds=0.05)
    with budget.take(60), budget.take(40), pytest.raises(problems.BusyError), budget.take(1):
        pass
    with budget.take(100):
        pass
    with pytest.raises(problems.TooLargeError), budget.take(101):
        pass


@pytest.mark.parametrize(("decode", "answer", "wanted"), [(10.0, 30.0, 10.0), (10.0, 4.0, 4.0), (5.0, 5.0, 5.0)])
def test_decoding_never_takes_longer_than_an_answer(decode: float, answer: float, wanted: float) -> None:
    given = load_settings(api_decode_seconds=decode, api_max_seconds=answer, api_max_body_mb=1.5, api_max_megapixels=2)
    limits = Limits.of(given)
    assert limits.decode_seconds == wanted and limits.seconds == answer
    assert (limits.body_bytes, limits.pixels) == (1_500_000, 2_000_000)


@pytest.mark.parametrize(("k", "fine"), [(0, False), (1, True), (5, True), (6, False)])
def test_hits_up_to_the_limit(k: int, fine: bool) -> None:
    limits = Limits(k=5)
    if fine:
        assert limits.checked_k(k) == k
    else:
        with pytest.raises(QueryError, match="expected 1 to 5"):
            limits.checked_k(k)
