"""Hostile and heavy use: size, time, pixels, concurrency, broken and malicious uploads, shutdown, kill -9."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal as signals
import socket
import struct
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies
from numpy.typing import NDArray
from PIL import Image

from ecgkin.index.casebase import CaseBase
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.errors import ModelError
from ecgkin.ui.api.app import create_app
from ecgkin.ui.api.queue import EncoderQueue, QueuedEncoder
from ecgkin.ui.api.serving import address, bind, in_thread, server
from ecgkin.ui.api.state import State
from ecgkin.ui.settings import load_settings

Vectors = NDArray[np.float32]
ANY_TEST = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class SlowEncoder(HashingEncoder):
    """Takes its time over words, and counts who asks together."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        self.batches: list[int] = []

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """As its parent, later."""
        self.batches.append(len(texts))
        time.sleep(self.seconds)
        if any("poison" in text for text in texts):
            raise ModelError("this text cannot be encoded")
        return super().encode_texts(texts)


@dataclass
class Small:
    """A server with small limits."""

    http: httpx.Client
    encoder: SlowEncoder
    state: State
    url: str
    uploads: Path


@pytest.fixture(scope="module")
def small(simulated_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    """1 MB bodies, 0.2 MB JSON and tables, 1 megapixel, 2 s, 6 requests, 4 at work; uploads in their own folder."""
    root = tmp_path_factory.mktemp("limits")
    shutil.copytree(simulated_base, root / "base")
    (root / "uploads").mkdir()
    config = load_settings(
        api_port=0, api_max_body_mb=1.0, api_max_json_mb=0.2, api_max_megapixels=1.0, api_max_seconds=2.0,
        api_max_requests=6, api_workers=4, api_batch=4, api_drafters=(),
    )  # fmt: skip
    encoder = SlowEncoder()
    state = State.open(root / "base", config, encoder)
    before = tempfile.tempdir
    tempfile.tempdir = str(root / "uploads")
    try:
        with (
            in_thread(create_app(config, state), config) as url,
            httpx.Client(base_url=url, timeout=30.0, trust_env=False) as http,
        ):
            yield Small(http, encoder, state, url, root / "uploads")
    finally:
        tempfile.tempdir = before


def kind(answer: httpx.Response) -> tuple[int, str]:
    """Status and kind of a problem."""
    return answer.status_code, str(answer.json()["type"]).partition("#")[2]


def post(small: Small, name: str, content: bytes, **fields: str) -> httpx.Response:
    """A search by one file."""
    return small.http.post("/v1/search", files={"file": (name, content)}, data=fields)


def png(width: int, height: int) -> bytes:
    """A PNG of zeros that claims, and unpacks to, that size."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = b"\0" * (width + 1)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    chunks = ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d)) for name, d in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


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
    """A small file with many pixels is refused by its head alone, before anything is unpacked."""
    bomb = png(20_000, 20_000)
    assert len(bomb) < 1_000_000
    start = time.perf_counter()
    assert kind(post(small, "bomb.png", bomb)) == (413, "too-large")
    assert time.perf_counter() - start < 2.0
    assert kind(post(small, "huge.png", png(1200, 1000))) == (413, "too-large")
    assert kind(small.http.post("/v1/embeddings", files={"file": ("h.png", png(1200, 1000))})) == (413, "too-large")


def test_slow_bodies(small: Small) -> None:
    """Who sends a byte now and then is told after the seconds that a body may take, and not before."""
    host, port = small.url.removeprefix("http://").split(":")
    head = (
        f"POST /v1/search HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        "Content-Length: 1000\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head.encode())
        start = time.perf_counter()
        connection.sendall(b'{"text"')
        answer = connection.recv(65_536)
        assert b" 408 " in answer.split(b"\r\n")[0] and 1.5 < time.perf_counter() - start < 8


def test_deadline(small: Small) -> None:
    """An answer that takes too long is a 504; the server goes on."""
    small.encoder.seconds = 3.0
    try:
        start = time.perf_counter()
        assert kind(small.http.post("/v1/search", json={"text": "slow"})) == (504, "deadline")
        assert time.perf_counter() - start < 2.9
    finally:
        small.encoder.seconds = 0.0
    time.sleep(1.2)
    assert small.http.post("/v1/search", json={"text": "quick"}).status_code == 200


def test_too_many_at_once(small: Small) -> None:
    """Six are served, the others are turned away at once with Retry-After; health still answers."""
    small.encoder.seconds = 0.4
    try:
        with ThreadPoolExecutor(16) as pool:
            waiting = [pool.submit(small.http.post, "/v1/search", json={"text": f"t{i}"}) for i in range(16)]
            time.sleep(0.3)
            assert small.http.get("/healthz").status_code == 200
            answers = [future.result() for future in waiting]
    finally:
        small.encoder.seconds = 0.0
    busy = [answer for answer in answers if answer.status_code == 503]
    assert sum(answer.status_code == 200 for answer in answers) >= 6 and len(busy) >= 1
    assert len(answers) == len(busy) + sum(answer.status_code == 200 for answer in answers)
    assert all(kind(answer) == (503, "busy") and answer.headers["retry-after"] == "1" for answer in busy)


def test_requests_share_the_encoder(small: Small) -> None:
    """Texts that come while the encoder is busy are encoded together; one that cannot be fails alone."""
    small.encoder.seconds, small.encoder.batches = 0.3, []
    try:
        with ThreadPoolExecutor(5) as pool:
            texts = ["first", "second", "third poison", "fourth"]
            waiting = [pool.submit(small.http.post, "/v1/search", json={"text": t, "k": 1}) for t in texts]
            together = [future.result() for future in waiting]
    finally:
        small.encoder.seconds = 0.0
    assert max(small.encoder.batches) >= 2
    alone = [small.http.post("/v1/search", json={"text": t, "k": 1}) for t in texts]
    assert [a.status_code for a in together] == [a.status_code for a in alone] == [200, 200, 503, 200]
    for a, b in zip(together, alone, strict=True):
        assert a.status_code == 503 or a.json()["hits"] == b.json()["hits"]


def test_queue_alone() -> None:
    """Same vectors as without it, nobody waits on an idle queue, cancelled inputs are left out, close finishes."""
    encoder = SlowEncoder()
    queue = EncoderQueue(encoder, batch=8, wait_s=5.0)
    facade = QueuedEncoder(queue)
    start = time.perf_counter()
    np.testing.assert_array_equal(facade.encode_texts(["x"]), HashingEncoder().encode_texts(["x"]))
    assert time.perf_counter() - start < 2.0
    assert not hasattr(facade, "encode_pages") and facade.fingerprint == encoder.fingerprint
    queue.close()
    with pytest.raises(ModelError, match="closed"):
        queue.submit("encode_texts", "x")

    queue = EncoderQueue(encoder, batch=3, wait_s=0.0)
    encoder.seconds, encoder.batches = 0.2, []
    first = queue.submit("encode_texts", "a")
    time.sleep(0.1)
    rest = [queue.submit("encode_texts", f"b{i}") for i in range(5)]
    assert rest[1].cancel()
    queue.close()
    assert first.done() and encoder.batches[0] == 1 and max(encoder.batches) <= 3
    assert all(future.done() for future in rest) and sum(encoder.batches) == 5


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
    assert "FLAC" in answer.json()["detail"]
    assert small.http.post("/v1/search", files=[("file", ("../a b.hea", head))]).status_code == 422
    odd: list[list[list[object]]] = [[["x"]], [[1e400]], [[1.0], [1.0, 2.0]], [], [[]], [[1e39, 0.0]]]
    for values in odd:
        body = {"signal": {"signal_mv": values, "fs_hz": 500, "leads": ["I", "II"][: max(1, len(values))]}}
        text = str(body).replace("'", '"').replace("inf", "1e400")
        got = small.http.post("/v1/search", content=text, headers={"Content-Type": "application/json"})
        assert got.status_code == 422, (values, got.text)
    nothing = {"signal": {"signal_mv": [[None] * 600, [None] * 600], "fs_hz": 100, "leads": ["I", "II"]}}
    assert small.http.post("/v1/search", json=nothing).status_code in (200, 422)
    for text in ("I,II\nnan,inf\n" * 50, "I,II\n" + "1e308,1e308\n" * 50, "time,I\n0,1\n0,1\n"):
        assert post(small, "x.csv", text.encode(), fs_hz="500").status_code in (200, 422), text[:20]


def picture(kind_: str) -> bytes:
    """A small honest picture."""
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)).save(out, kind_)
    return out.getvalue()


SEEDS = (
    picture("PNG"), picture("JPEG"), picture("TIFF"), picture("WEBP"), picture("GIF"), picture("BMP"),
    b"I,II,V1\n" + b"0.1,0.2,0.3\n" * 30, zip_of(("x.csv", b"I,II\n" + b"0.1,0.2\n" * 30)),
    picture("PNG") + zip_of(("x.csv", b"1,2\n")), b"%PDF-1.7\n%\xe2\xe3", b"GIF89a" + picture("JPEG"),
)  # fmt: skip
NAMES = ("x.png", "x.jpg", "x.tif", "x.csv", "x.zip", "x.hea", "x.dat", "x", "../x.png", "x.png\x00.csv", "é" * 300)


@given(
    seed=strategies.sampled_from(SEEDS),
    name=strategies.sampled_from(NAMES),
    cut=strategies.floats(0.0, 1.0),
    changes=strategies.lists(
        strategies.tuples(strategies.floats(0.0, 0.999), strategies.binary(max_size=8)), max_size=6
    ),
)
@ANY_TEST
def test_fuzzed_uploads(small: Small, seed: bytes, name: str, cut: float, changes: list[tuple[float, bytes]]) -> None:
    """Cut, changed and misnamed files, polyglots: an answer or a 4xx, and no file left behind."""
    content = bytearray(seed[: round(len(seed) * (0.2 + 0.8 * cut))])
    for at, new in changes:
        place = int(at * len(content))
        content[place : place + len(new)] = new
    answer = post(small, name, bytes(content), fs_hz="250")
    assert answer.status_code in (200, 400, 413, 422), answer.text
    assert not list(small.uploads.iterdir())


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
    """A request in flight gets its answer after the server was told to stop; a new one finds nobody."""
    shutil.copytree(simulated_base, tmp_path / "base")
    config = load_settings(api_port=0, api_drafters=())
    encoder = SlowEncoder()
    encoder.seconds = 1.0
    state = State.open(tmp_path / "base", config, encoder)
    listener = bind(config)
    running = server(create_app(config, state), config)
    thread = threading.Thread(target=running.run, args=([listener],), daemon=True)
    thread.start()
    url = address(listener)
    with httpx.Client(base_url=url, timeout=10.0, trust_env=False) as http, ThreadPoolExecutor(1) as pool:
        while not running.started:
            time.sleep(0.01)
        waiting = pool.submit(http.post, "/v1/search", json={"text": "AFIB"})
        time.sleep(0.4)
        running.should_exit = True
        assert waiting.result().status_code == 200
    thread.join(timeout=10)
    assert not thread.is_alive() and state.closing
    listener.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz", trust_env=False)


@contextmanager
def serve(base: Path, home: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`ecgkin serve` in a process of its own, and its address; stopped in the end."""
    command = [sys.executable, "-m", "ecgkin.ui.cli", "serve", str(base), "--port", "0", "--encoder", "hashing"]
    env = {**os.environ, "ECGKIN_HOME": str(home), "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)
    try:
        assert running.stdout is not None
        with running.stdout as told:
            url = told.readline().strip().removesuffix("/docs")
            until = time.monotonic() + 60
            while True:
                try:
                    if httpx.get(f"{url}/readyz", trust_env=False).status_code == 200:
                        break
                except httpx.HTTPError:
                    assert time.monotonic() < until, "the server did not start"
                    time.sleep(0.05)
            yield running, url
    finally:
        running.terminate()
        running.wait(60)


@pytest.mark.slow
def test_kill_under_write_load(simulated_base: Path, tmp_path: Path) -> None:
    """kill -9 while four clients add cases: every case that was acknowledged is there, and is found, afterwards."""
    base = tmp_path / "base"
    shutil.copytree(simulated_base, base)
    acknowledged: list[str] = []

    def write(url: str, writer: int) -> None:
        with httpx.Client(base_url=url, timeout=10.0, trust_env=False) as http:
            for i in range(10_000):
                case_id = f"load/{writer}-{i}"
                values = np.random.default_rng((writer, i)).normal(0, 0.3, (2, 300)).round(3)
                signal = {"signal_mv": values.tolist(), "fs_hz": 100, "leads": ["I", "II"]}
                try:
                    done = http.post("/v1/cases", json={"case": {"case_id": case_id}, "signal": signal})
                except httpx.HTTPError:
                    return
                assert done.status_code == 201, done.text
                acknowledged.append(case_id)

    with serve(base, tmp_path) as (running, url), ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, url, i) for i in range(4)]
        while len(acknowledged) < 40:
            time.sleep(0.01)
        running.send_signal(signals.SIGKILL)
        for writer in writers:
            writer.result()
    with CaseBase.open(base, HashingEncoder()) as opened:
        opened.verify()
        assert all(case_id in opened for case_id in acknowledged)
        assert len(opened) - 40 - len(acknowledged) in range(5)  # one in flight for each writer
        vector = opened.vector(acknowledged[-1])
        assert acknowledged[-1] == opened.search(vector, 1)[0][0].case_id


def peak_mb(pid: int) -> float:
    """The most memory that a process has held, MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1000
    raise AssertionError("no VmHWM")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_stays_bounded(simulated_base: Path, tmp_path: Path) -> None:
    """Bombs and large uploads, five at a time: one picture of 49 megapixels and little more, and nothing lies about."""
    base = tmp_path / "base"
    shutil.copytree(simulated_base, base)
    columns = ",".join(["-0.123"] * 12)
    uploads = [
        ("a.png", png(30_000, 30_000)),
        ("a.png", png(7_000, 7_000)),
        ("a.zip", zip_of(("x.csv", b"0" * 100_000_000))),
        ("a.csv", ("I,II,III,aVR,aVL,aVF,V1,V2,V3,V4,V5,V6\n" + f"{columns}\n" * 45_000).encode()),
        ("a.bin", os.urandom(60_000_000)),
    ]

    def send(url: str, number: int) -> int:
        with httpx.Client(base_url=url, timeout=90.0, trust_env=False) as http:
            files = {"file": uploads[number % len(uploads)]}
            return http.post("/v1/search", files=files, data={"fs_hz": "500"}).status_code

    with serve(base, tmp_path) as (running, url):
        idle = peak_mb(running.pid)
        with ThreadPoolExecutor(5) as pool:
            statuses = list(pool.map(lambda number: send(url, number), range(15)))
        grown = peak_mb(running.pid) - idle
        print(f"idle {idle:.0f} MB, grew by {grown:.0f} MB, statuses {sorted(set(statuses))}")
        assert set(statuses) <= {200, 413, 422} and grown < 1500
        assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    left = {file.name.split("-")[0] for file in base.iterdir()}
    assert left <= {"cases.sqlite", "manifest.json", "index", "writer.lock", "feedback.sqlite"}
    assert running.returncode in (0, -signals.SIGTERM)


@pytest.mark.slow
def test_schema_driven_requests(simulated_base: Path, tmp_path: Path) -> None:
    """schemathesis over the OpenAPI document: no 5xx, and every answer is what the document says."""
    folder = Path(sysconfig.get_path("scripts")) / "schemathesis"
    if not folder.exists():
        pytest.skip("schemathesis is not installed")
    base = tmp_path / "base"
    shutil.copytree(simulated_base, base)
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    with serve(base, tmp_path) as (_, url):
        done = subprocess.run(
            [
                str(folder), "run", f"{url}/openapi.json", "--checks", checks, "--max-examples", "15", "--workers", "2",
                "--seed", "1", "--request-timeout", "30", "--phases", "examples,coverage,fuzzing",
                "--generation-database", "none", "--suppress-health-check", "all", "--no-color",
            ],
            cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
