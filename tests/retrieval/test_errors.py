"""Reasons that errors give, in words: of files, of sockets, of HTTP libraries."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import threading
from collections.abc import Callable

import httpx
import pytest
import requests

from ecgkin.retrieval.errors import why, why_unreachable


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(2, "No such file or directory", "x"), "no such file or directory"),
        (KeyError("name"), "'name' is missing"),
        (ValueError("two\nlines"), "two lines"),
        (OSError(), "OSError"),
    ],
)
def test_why(error: Exception, said: str) -> None:
    assert why(error) == said


def get_by_httpx(url: str) -> None:
    httpx.get(url, timeout=0.5, trust_env=False)


def get_by_requests(url: str) -> None:
    session = requests.Session()
    session.trust_env = False
    session.get(url, timeout=0.5)


@pytest.mark.parametrize("get", [get_by_httpx, get_by_requests])
def test_why_a_server_cannot_be_reached(get: Callable[[str], None]) -> None:
    """Nothing listens, no such name, silence, an end before the answer, no TLS: neither number nor class is said."""
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as rude:
        free = socket.create_server(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()

        def hang_up() -> None:
            with contextlib.suppress(OSError):  # closed at the end of the test, while it waits for another line
                for _ in range(2):
                    line, _ = rude.accept()
                    line.recv(10)
                    line.close()

        threading.Thread(target=hang_up, daemon=True).start()
        for url, said in (
            (f"http://127.0.0.1:{port}/", "nothing listens there"),
            ("http://no-such-host.invalid/", "its name is not known here"),
            (f"http://127.0.0.1:{silent.getsockname()[1]}/", "it was silent for too long"),
            (f"http://127.0.0.1:{rude.getsockname()[1]}/", "it broke off the connection"),
        ):
            with pytest.raises((httpx.HTTPError, requests.RequestException)) as caught:
                get(url)
            found = why_unreachable(caught.value)
            assert found.startswith(said), (url, caught.value)
            assert "Errno" not in found and "Error" not in found


def test_other_reasons() -> None:
    assert why_unreachable(OSError(errno.ENETUNREACH, "Network is unreachable")).endswith("network is unreachable")
    assert why_unreachable(ssl.SSLError(1, "wrong version number")).startswith("it does not speak TLS")
    assert why_unreachable(RuntimeError("Bearer secret")) == "there is no way to it"
