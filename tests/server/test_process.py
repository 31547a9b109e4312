"""`ecgkin serve` as a process: kill -9, SIGTERM, memory under bombs, its log, and schemathesis over its document."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal as signals
import socket
import struct
import subprocess
import sys
import sysconfig
import time
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from ecgkin.index import open_base
from ecgkin.retrieval.encoders.hashing import HashingEncoder

pytestmark = pytest.mark.slow
# How long a busy machine may take for anything at all.
PATIENCE_S = 300.0
PATIENT = "Mustermann"


@contextmanager
def serve(base: Path, home: Path, **more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`ecgkin serve` in a process of its own, and its address; stopped in the end. Its log goes to home/log."""
    command = [sys.executable, "-m", "ecgkin", "serve", str(base), "--port", "0", "--encoder", "hashing"]
    env = {**os.environ, "ECGKIN_HOME": str(home), "OMP_NUM_THREADS": "1", **more}
    with (home / "log").open("w") as log:
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=env)
    try:
        assert running.stdout is not None
        with running.stdout as told:
            url = told.readline().strip().removesuffix("/docs")
            assert url, (home / "log").read_text()
            until = time.monotonic() + PATIENCE_S
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
        running.wait(PATIENCE_S)


@pytest.fixture
def base(simulated_base: Path, tmp_path: Path) -> Path:
    """A copy of the simulated base."""
    shutil.copytree(simulated_base, tmp_path / "base")
    return tmp_path / "base"


def test_kill_under_write_load(base: Path, tmp_path: Path) -> None:
    """kill -9 while four clients add cases: every case that was acknowledged is there, and is found, afterwards."""
    acknowledged: list[str] = []

    def write(url: str, writer: int) -> None:
        with httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as http:
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
            assert not any(writer.done() for writer in writers), [writer.exception() for writer in writers]
            time.sleep(0.01)
        running.send_signal(signals.SIGKILL)
        for writer in writers:
            writer.result()
    with open_base(base, HashingEncoder()) as opened:
        opened.verify()
        assert all(case_id in opened for case_id in acknowledged)
        assert len(opened) - 40 - len(acknowledged) in range(5)  # one in flight for each writer
        vector = opened.vector(acknowledged[-1])
        assert acknowledged[-1] == opened.search(vector, 1)[0][0].case_id


def test_sigterm_finishes_what_was_begun(base: Path, tmp_path: Path) -> None:
    """A request whose body is still on its way when the process is told to end gets its answer; then it is gone."""
    body = json.dumps({"text": "AFIB", "k": 3}).encode()
    with serve(base, tmp_path) as (running, url):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
            head = (
                f"POST /v1/search HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
            )
            connection.sendall(head.encode())
            assert connection.recv(4096).startswith(b"HTTP/1.1 100 ")  # the server waits for the body: it is in flight
            running.send_signal(signals.SIGTERM)
            until = time.monotonic() + PATIENCE_S
            while True:  # until it takes no more
                try:
                    socket.create_connection((host, int(port)), timeout=PATIENCE_S).close()
                except ConnectionRefusedError:
                    break
                assert time.monotonic() < until
                time.sleep(0.02)
            connection.sendall(body)
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        assert answer.startswith(b"HTTP/1.1 200 ") and len(json.loads(answer.partition(b"\r\n\r\n")[2])["hits"]) == 3
        assert running.wait(PATIENCE_S) in (0, -signals.SIGTERM)


def test_the_log_holds_nothing_that_was_sent(base: Path, tmp_path: Path) -> None:
    """Whatever carries a patient's name, and however it goes wrong: the process does not repeat it."""
    rows = np.random.default_rng(0).normal(0, 0.3, (2, 500)).round(3).tolist()
    signal = {"signal_mv": rows, "fs_hz": 100, "leads": ["I", "II"]}
    case = {"case_id": f"{PATIENT}/1", "patient_id": PATIENT, "report": PATIENT, "meta": {PATIENT: PATIENT}}
    with serve(base, tmp_path, ECGKIN_LOG_LEVEL="DEBUG", ECGKIN_API_MAX_SECONDS="60") as (_, url):
        host, port = url.removeprefix("http://").split(":")
        with httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as http:
            asked = [
                http.post("/v1/search", json={"text": PATIENT, "where": f'patient="{PATIENT}"'}),
                http.post("/v1/search", json={"text": PATIENT, "where": PATIENT}),
                http.post("/v1/search", json={PATIENT: PATIENT}),
                http.post("/v1/search", json={"signal": signal | {"leads": [PATIENT, "II"]}}),
                http.post("/v1/cases", json={"case": case, "signal": signal}),
                http.post("/v1/cases", json={"case": case, "signal": signal}),
                http.get(f"/v1/cases/{PATIENT}/1/page.svg", params={"layout": PATIENT}),
                http.get("/v1/cases", params={"where": f'case="{PATIENT}/1"'}),
                http.post("/v1/drafts", json={"signal": signal, "question": PATIENT, "model": PATIENT}),
                http.post("/v1/drafts", json={"signal": signal, "question": PATIENT}),
                http.post("/v1/drafts", json={"signal": signal}, headers={"Accept": "application/fhir+json"}),
                http.post("/v1/drafts", json={"signal": signal}, headers={"Accept": "text/event-stream"}),
                http.post("/v1/search", files={"file": (f"{PATIENT}.png", PATIENT.encode())}),
                http.post("/v1/search", files={"file": (f"{PATIENT}.hea", f"{PATIENT} 1 500 9\n".encode())}),
                http.post(f"/{PATIENT}?{PATIENT}"),
                http.get("/healthz", headers={"X-Request-ID": f"a {PATIENT}"}),
            ]
            with http.stream("POST", "/v1/drafts", json={"signal": signal}, headers={"Accept": "text/event-stream"}):
                pass  # gone before the end
            assert http.delete(f"/v1/cases/{PATIENT}/1").status_code == 204
        for raw in (f"{PATIENT} nonsense\r\n\r\n", f"GET /{PATIENT} HTTP/9.9\r\nHost: x\r\n\r\n"):
            with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
                connection.sendall(raw.encode())
                connection.recv(4096)
    assert {200, 201, 404, 409, 422} == {answer.status_code for answer in asked}
    log = (tmp_path / "log").read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert sum(line["message"].startswith("request method=") for line in lines) >= len(asked) + 2
    assert all(line["request_id"] for line in lines if line["message"].startswith("request method="))
    assert PATIENT.lower() not in log.lower()


def png(width: int, height: int) -> bytes:
    """A PNG of zeros that claims, and unpacks to, that size; made from one packed piece that is repeated."""
    piece = bytes(1 << 20)
    pieces, rest = divmod((width + 1) * height, len(piece))
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
    last = zlib.compressobj(9, zlib.DEFLATED, -15)
    end = last.compress(bytes(rest)) + last.flush()
    # Adler-32 of n zeros: one in the low half, n modulo 65521 in the high one.
    check = struct.pack(">I", ((width + 1) * height % 65_521) << 16 | 1)
    data = b"\x78\xda" + first * pieces + end + check
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d)) for name, d in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def bomb_zip() -> bytes:
    """A hundred megabytes of one letter."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.csv", b"0" * 100_000_000)
    return packed.getvalue()


def peak_mb(pid: int) -> float:
    """The most memory that a process has held, MB."""
    found = re.search(r"^VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_stays_bounded(base: Path, tmp_path: Path) -> None:
    """Bombs and large uploads, five at a time: one picture of 49 megapixels and little more, and nothing lies about."""
    columns = ",".join(["-0.123"] * 12)
    uploads = [
        ("a.png", png(30_000, 30_000)),
        ("a.png", png(7_000, 7_000)),
        ("a.zip", bomb_zip()),
        ("a.csv", ("I,II,III,aVR,aVL,aVF,V1,V2,V3,V4,V5,V6\n" + f"{columns}\n" * 45_000).encode()),
        ("a.bin", os.urandom(60_000_000)),
    ]

    def send(url: str, number: int) -> int:
        with httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as http:
            files = {"file": uploads[number % len(uploads)]}
            return http.post("/v1/search", files=files, data={"fs_hz": "500"}).status_code

    uploads_to = tmp_path / "uploads"
    uploads_to.mkdir()
    more = {"TMPDIR": str(uploads_to), "ECGKIN_API_MAX_SECONDS": str(PATIENCE_S)}
    with serve(base, tmp_path, **more) as (running, url):
        idle = peak_mb(running.pid)
        with ThreadPoolExecutor(5) as pool:
            statuses = list(pool.map(lambda number: send(url, number), range(15)))
        grown = peak_mb(running.pid) - idle
        print(f"idle {idle:.0f} MB, grew by {grown:.0f} MB, statuses {sorted(set(statuses))}")
        assert set(statuses) <= {200, 413, 422} and grown < 1500
        assert httpx.get(f"{url}/readyz", trust_env=False, timeout=PATIENCE_S).status_code == 200
    left = {file.name.split("-")[0] for file in base.iterdir()}
    assert left <= {"cases.sqlite", "manifest.json", "index", "writer.lock", "feedback.sqlite"}
    assert not [entry for entry in uploads_to.iterdir() if entry.name.startswith("ecgkin")]
    assert running.returncode in (0, -signals.SIGTERM)


def test_schema_driven_requests(base: Path, tmp_path: Path) -> None:
    """schemathesis over the OpenAPI document: no 5xx, and every answer is what the document says."""
    program = Path(sysconfig.get_path("scripts")) / "schemathesis"
    if not program.exists():
        pytest.skip("schemathesis is not installed")
    checks = (
        "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
        "response_schema_conformance,unsupported_method"
    )
    with serve(base, tmp_path, ECGKIN_API_MAX_SECONDS=str(PATIENCE_S)) as (_, url):
        done = subprocess.run(
            [
                str(program), "run", f"{url}/openapi.json", "--checks", checks, "--max-examples", "15", "--workers",
                "2", "--seed", "1", "--request-timeout", str(PATIENCE_S), "--phases", "examples,coverage,fuzzing",
                "--generation-database", "none", "--suppress-health-check", "all", "--no-color",
            ],
            cwd=tmp_path, capture_output=True, text=True, timeout=3600, check=False,
        )  # fmt: skip
        print(done.stdout[-1500:])
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        assert httpx.get(f"{url}/readyz", trust_env=False, timeout=PATIENCE_S).status_code == 200
