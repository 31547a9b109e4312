"""Reasons that errors give, in words: of files, of sockets, of HTTP libraries."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import date
from typing import Literal

import httpx
import pytest
import requests
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ecgkin.retrieval.errors import misfit, why, why_unreachable


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


class Asked(BaseModel):
    """Values of every kind that requests have."""

    model_config = ConfigDict(extra="forbid")

    k: int = Field(default=1, ge=1, le=10)
    share: float = Field(default=0.5, gt=0, lt=1)
    name: str = Field(default="ab", min_length=2, max_length=3)
    names: list[str] = Field(default=["a"], min_length=1, max_length=2)
    kind: Literal["a", "b"] = "a"
    flag: bool = False
    when: date | None = None
    own: int = 0

    @field_validator("own")
    @classmethod
    def _own(cls, value: int) -> int:
        if value > 3:
            raise ValueError("more than there are")
        return value


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"k": 0}, "expected 1 or more"), ({"k": 11}, "expected 10 or less"), ({"k": "x"}, "expected a whole number"),
        ({"k": 1.5}, "expected a whole number"), ({"k": None}, "expected a whole number"),
        ({"share": 0}, "expected more than 0.0"), ({"share": 1}, "expected less than 1.0"),
        ({"share": "x"}, "expected a number"), ({"name": "a"}, "expected at least 2 characters"),
        ({"name": "abcd"}, "expected at most 3 characters"), ({"name": 1}, "expected text"),
        ({"names": []}, "expected at least 1 entries"), ({"names": ["a"] * 3}, "expected at most 2 entries"),
        ({"names": 1}, "expected a list"), ({"kind": "c"}, "expected 'a' or 'b'"),
        ({"flag": "x"}, "expected true or false"),
        ({"when": "soon"}, "expected a date, 2026-01-31"), ({"colour": 1}, "is not known here"),
        ({"own": 4}, "more than there are"), (["no object"], "expected an object"),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_are_told_in_words_of_ours(given: object, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Asked.model_validate(given)
    assert [misfit(dict(fault)) for fault in caught.value.errors()] == [said]
