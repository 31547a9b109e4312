"""Who may do what: tokens and roles, loopback without them, other origins."""

from __future__ import annotations

import hmac
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ecgkin.retrieval import errors
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.ui.api import security
from ecgkin.ui.api.state import State
from ecgkin.ui.server.app import create_app
from ecgkin.ui.server.serving import bind, in_thread
from ecgkin.ui.settings import load_settings


def test_only_this_machine_without_tokens(simulated_base: Path, tmp_path: Path) -> None:
    """Another Host (DNS rebinding) and other origins are refused; the server's own pages are not."""
    shutil.copytree(simulated_base, tmp_path / "base")
    settings = load_settings(api_port=0, api_max_seconds=300)
    state = State(tmp_path / "base", settings, HashingEncoder())
    with (
        in_thread(create_app(settings, state), settings) as url,
        httpx.Client(base_url=url, timeout=300.0, trust_env=False) as http,
    ):
        host = url.removeprefix("http://")
        assert http.get("/v1/info", headers={"Host": "evil.example"}).status_code == 403
        assert http.get("/v1/info", headers={"Host": f"localhost:{host.split(':')[1]}"}).status_code == 200
        assert http.post("/v1/search", json={"text": "x"}, headers={"Origin": "http://evil.example"}).status_code == 403
        assert http.post("/v1/search", json={"text": "x"}, headers={"Origin": f"http://{host}"}).status_code == 200
        assert "access-control-allow-origin" not in http.get("/healthz", headers={"Origin": f"http://{host}"}).headers
    for address in ("0.0.0.0", "192.168.0.1", "::"):
        with pytest.raises(errors.QueryError, match="no tokens"):
            bind(load_settings(api_host=address, api_port=0))


@pytest.fixture(scope="module")
def guarded(simulated_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, str, str]]:
    """A server with a read and a write token, open to one origin; and the two tokens."""
    folder = tmp_path_factory.mktemp("guarded") / "base"
    shutil.copytree(simulated_base, folder)
    (read, of_read), (write, of_write) = security.new_token("read"), security.new_token("write")
    settings = load_settings(
        api_port=0, api_max_seconds=300, api_tokens=(of_read, of_write), api_cors_origins=("https://page.example",)
    )
    state = State(folder, settings, HashingEncoder())
    with (
        in_thread(create_app(settings, state), settings) as url,
        httpx.Client(base_url=url, timeout=300.0, trust_env=False) as client,
    ):
        yield client, read, write


def test_tokens(guarded: tuple[httpx.Client, str, str]) -> None:
    """Missing, wrong, read-only on a write route, right; health and documents stay open, figures do not."""
    http, read, write = guarded

    def status(method: str, path: str, token: str | None) -> int:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return http.request(method, path, headers=headers, json={"text": "x"} if method == "POST" else None).status_code

    missing = http.get("/v1/info")
    assert (missing.status_code, missing.headers["www-authenticate"]) == (401, "Bearer")
    assert http.get("/v1/info", headers={"Authorization": f"Basic {read}"}).status_code == 401
    assert status("GET", "/v1/info", read[:-1]) == status("GET", "/v1/info", "x") == 401
    assert status("GET", "/v1/info", read) == status("GET", "/v1/info", write) == 200
    assert status("POST", "/v1/search", read) == 200
    assert status("POST", "/v1/explanations", read) == 422  # a question: it may be asked, and is incomplete
    for method, path in (("POST", "/v1/cases"), ("DELETE", "/v1/cases/simulated/1"), ("POST", "/v1/feedback")):
        assert status(method, path, None) == 401
        assert status(method, path, read) == 403
    assert status("DELETE", "/v1/cases/simulated/1", write) == 204
    assert (
        status("GET", "/healthz", None) == status("GET", "/openapi.json", None) == status("GET", "/docs", None) == 200
    )
    assert missing.headers["cross-origin-resource-policy"] == "same-origin"
    assert status("GET", "/metrics", None) == 401
    operation = http.get("/openapi.json").json()["paths"]["/v1/cases"]["post"]
    assert operation["security"] == [{"token": []}] and "401" in operation["responses"]


def test_other_origins_when_allowed(guarded: tuple[httpx.Client, str, str]) -> None:
    """The one origin of the settings gets its preflight, another does not."""
    http = guarded[0]
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "Authorization"}
    good = http.options("/v1/search", headers={"Origin": "https://page.example", **asked})
    assert (good.status_code, good.headers["access-control-allow-origin"]) == (200, "https://page.example")
    bad = http.options("/v1/search", headers={"Origin": "https://evil.example", **asked})
    assert "access-control-allow-origin" not in bad.headers


def test_tokens_are_compared_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every known token is compared by `hmac.compare_digest`, whether or not one before it fits; write wins."""
    calls = []

    def counted(a: str, b: str) -> bool:
        calls.append((a, b))
        return a == b

    monkeypatch.setattr(hmac, "compare_digest", counted)
    known = security.parse_tokens([f"read:{security.hashed('a')}", f"write:{security.hashed('a')}", f"read:{'0' * 64}"])
    assert security.role_of("a", known) == "write" and len(calls) == 3
    assert security.role_of("b", known) is None and len(calls) == 6
    for text in ("read:abc", "admin:" + "0" * 64, "0" * 64):
        with pytest.raises(errors.QueryError, match="token 1"):
            security.parse_tokens([text])
