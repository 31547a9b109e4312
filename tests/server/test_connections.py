"""Slow and silent clients: heads that never end, answers that nobody reads, more connections than there is room."""

from __future__ import annotations

import logging
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.ui.api.state import State
from ecgkin.ui.logs import Repeats
from ecgkin.ui.server.app import create_app
from ecgkin.ui.server.serving import in_thread, room_for_connections
from ecgkin.ui.settings import load_settings

PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def url(simulated_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a second for heads, two for answers, and room for 16 connections."""
    root = tmp_path_factory.mktemp("slow")
    shutil.copytree(simulated_base, root / "base")
    limits = {"api_header_seconds": 1.0, "api_max_seconds": 2.0, "api_max_connections": 16}
    config = load_settings(api_port=0, api_drafters=(), **limits)
    with in_thread(create_app(config, State(root / "base", config, HashingEncoder())), config) as address:
        yield address


def connected(url: str, sent: bytes = b"") -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    made = socket.create_connection((host, int(port)), PATIENCE_S)
    made.sendall(sent)
    return made


def rest(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    out = b""
    try:
        while chunk := connection.recv(1 << 16):
            out += chunk
    except ConnectionResetError:
        pass
    return out


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "])
def test_a_head_that_does_not_come_is_answered_408(url: str, sent: bytes) -> None:
    """Whether it was begun or not; and a byte now and then makes it no faster."""
    with connected(url, sent) as slow:
        slow.settimeout(0.2)
        out = b""
        while True:
            try:
                chunk = slow.recv(1000)
            except TimeoutError:
                if sent:
                    slow.sendall(b"x")
                continue
            except ConnectionResetError:
                break
            out += chunk
            if not chunk:
                break
    assert out.startswith(b"HTTP/1.1 408 ")


def test_a_second_head_on_the_same_connection_is_timed_as_well(url: str) -> None:
    """The first answer is whole, then 408."""
    with connected(url, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /healthz HT") as kept:
        out = rest(kept)
    assert out.startswith(b"HTTP/1.1 200 ") and b'{"status":"alive"}' in out and b"HTTP/1.1 408 " in out


def test_many_slow_connections_make_room(url: str) -> None:
    """Sixty open heads, far more than there is room for: others are answered, the oldest are gone."""
    slow = [connected(url, b"GET /v1/info HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ") for _ in range(60)]
    try:
        for _ in range(5):
            assert httpx.get(f"{url}/healthz", timeout=PATIENCE_S, trust_env=False).status_code == 200
        assert all(answer == b"" or answer.startswith(b"HTTP/1.1 408 ") for answer in map(rest, slow))
    finally:
        for connection in slow:
            connection.close()


def test_an_answer_that_nobody_reads_is_cut(url: str) -> None:
    """Requests for megabytes, none of them read: the server closes instead of keeping them for ever."""
    asked = b"GET /v1/cases/simulated%2F1/signal HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with connected(url) as greedy:
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        greedy.settimeout(0.5)
        until, cut = time.monotonic() + PATIENCE_S, False
        while not cut:
            assert time.monotonic() < until, "still connected"
            try:
                greedy.sendall(asked * 50)
                time.sleep(0.05)
            except TimeoutError:  # the server has stopped reading: it waits for us to read
                continue
            except OSError:  # cut
                cut = True
    assert httpx.get(f"{url}/healthz", timeout=PATIENCE_S, trust_env=False).status_code == 200


def test_room_follows_file_descriptors() -> None:
    """Never more connections than can be opened."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert 16 <= room_for_connections(1000) <= 1000
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] == before[1]


def test_repeated_log_lines_are_held_back() -> None:
    """Twice, then counted; after a minute the count is told."""
    now = [0.0]
    repeats = Repeats(2, 60.0, lambda: now[0])

    def line(text: str) -> logging.LogRecord:
        return logging.LogRecord("asyncio", logging.ERROR, "f", 1, text, None, None)

    assert [repeats.filter(line("a")) for _ in range(5)] == [True, True, False, False, False]
    assert repeats.filter(line("b"))
    now[0] = 61.0
    told = line("a")
    assert repeats.filter(told) and told.getMessage() == "a (3 more of these were not logged)"
    assert repeats.filter(line("a")) and not repeats.filter(line("a"))


def test_a_request_half_sent_does_not_hold_up_the_end(simulated_base: Path, tmp_path: Path) -> None:
    """A demo ends within its patience although a body may take ten minutes to come, and what it held is let go."""
    shutil.copytree(simulated_base, tmp_path / "base")
    config = load_settings(api_port=0, api_drafters=(), api_max_seconds=300.0)
    state = State(tmp_path / "base", config, HashingEncoder())
    head = (
        b"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{"
    )
    with ExitStack() as held:
        address = held.enter_context(in_thread(create_app(config, state), config, 1))
        half = connected(address, head)
        httpx.get(f"{address}/healthz", trust_env=False).raise_for_status()  # the half request has been taken up by now
        begun = time.monotonic()
        held.close()
        assert time.monotonic() - begun < PATIENCE_S
        half.close()
    with pytest.raises(RuntimeError, match="shutdown"):
        state.work.start(lambda: None)
