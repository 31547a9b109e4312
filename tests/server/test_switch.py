"""A server over a name: the base is switched, or written to by others, and requests go on without a fault."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ecgkin.index import open_base
from ecgkin.index.case import Case
from ecgkin.index.transfer.switching import switch
from ecgkin.retrieval import encoders
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.ui.api.state import State
from ecgkin.ui.server.app import create_app
from ecgkin.ui.server.serving import in_thread
from ecgkin.ui.settings import load_settings

PATIENCE_S = 300.0


class Other(HashingEncoder):
    """Another encoder: other vectors, another name."""

    name = "other"

    def __init__(self) -> None:
        super().__init__(32)


@pytest.fixture
def blue(simulated_base: Path, tmp_path: Path) -> Path:
    """A base behind a link."""
    folder = tmp_path / "blue"
    shutil.copytree(simulated_base, folder)
    switch(tmp_path / "name", folder)
    return folder


@pytest.fixture
def state(blue: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    """A server's state that looks after the name at each request; it loads the other encoder by its name."""
    monkeypatch.setattr(
        encoders, "load_encoder", lambda name, device: {"other": Other, "hashing": HashingEncoder}[name]()
    )
    settings = load_settings(api_port=0, api_max_seconds=PATIENCE_S)
    return State(blue.parent / "name", settings, HashingEncoder(), follow_s=0.0)


@pytest.fixture
def http(state: State) -> Iterator[httpx.Client]:
    """A client of a server over that name."""
    settings = load_settings(api_port=0, api_max_seconds=PATIENCE_S)
    with (
        in_thread(create_app(settings, state), settings) as url,
        httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as client,
    ):
        yield client


def green(folder: Path, encoder: HashingEncoder, n: int = 12) -> Path:
    """A base of other cases."""
    from ecgkin.index.ingest.pipeline import ingest_records, open_or_create
    from ecgkin.ui.demo.cases import simulated_gallery

    with open_or_create(folder, encoder) as base:
        ingest_records(base, simulated_gallery(n), encoder)
        base.add([Case("green/1", report="only here")], encoder.encode_texts(["only here"]))
    return folder


def until(condition: Callable[[], bool]) -> None:
    """Wait for it."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def search(http: httpx.Client, text: str = "only here") -> dict[str, Any]:
    """The answer to words."""
    answer = http.post("/v1/search", json={"text": text, "k": 3})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_other_processes_write_into_the_base(http: httpx.Client, blue: Path) -> None:
    """A case that came by another door is found by the next request; one that went is not."""
    assert search(http)["hits"][0]["case"]["case_id"] != "late/1"
    with open_base(blue) as writer:
        writer.add([Case("late/1", report="only here")], HashingEncoder().encode_texts(["only here"]))
    assert search(http)["hits"][0]["case"]["case_id"] == "late/1"
    assert http.get("/readyz").json()["cases"] == 41
    with open_base(blue) as writer:
        writer.remove(["late/1"])
    assert search(http)["hits"][0]["case"]["case_id"] != "late/1"


@pytest.mark.parametrize("made", [HashingEncoder, Other], ids=["same encoder", "another encoder"])
def test_switched_base_is_answered_from(http: httpx.Client, blue: Path, made: type[HashingEncoder]) -> None:
    """After `ecgkin base switch` all routes speak of the new base; queries of the old one are not known there."""
    before = search(http)
    mark = {"query_id": before["query_id"], "marks": [{"case_id": "simulated/3", "similar": True}]}
    assert http.post("/v1/feedback", json=mark).status_code == 200
    new = made()
    switch(blue.parent / "name", green(blue.parent / "green", new))
    assert search(http)["hits"][0]["case"]["case_id"] == "green/1"
    info = http.get("/v1/info").json()
    assert info["encoder"]["name"] == new.name and info["case_base"]["n_cases"] == 13
    ready = http.get("/readyz").json()
    assert (ready["status"], ready["cases"], ready["encoder"]) == ("ready", 13, new.name)
    assert f"{new.name} {new.fingerprint}" in http.get("/metrics").text
    assert len(http.post("/v1/embeddings", json={"texts": ["LBBB"]}).json()["embeddings"][0]) == new.dim
    assert http.get("/v1/cases/simulated/30").status_code == 404
    assert http.get("/v1/cases/simulated/3").status_code == 200
    signal = http.get("/v1/cases/simulated/3/signal").json()
    draft = http.post("/v1/drafts", json={"signal": signal})
    assert draft.status_code == 200 and draft.json()["search"]["hits"][0]["case"]["case_id"] == "simulated/3"
    # A vector of the old base means nothing here.
    again = http.post("/v1/search", json={"query_id": before["query_id"]})
    assert again.status_code == 404 and "search again" in again.text
    assert http.get("/v1/feedback").json() == []
    switch(blue.parent / "name", blue)
    # Marks are on the disk beside their base.
    assert [one["case_id"] for one in http.get("/v1/feedback").json()] == ["simulated/3"]
    assert http.post("/v1/search", json={"query_id": before["query_id"]}).status_code == 200


def test_request_ends_on_its_base(state: State, blue: Path) -> None:
    """What has begun before a switch ends on the old base, which is closed after that, with its encoder."""
    begun, go_on = threading.Event(), threading.Event()
    seen: list[int] = []

    def slow() -> None:
        seen.append(len(state.base))
        begun.set()
        go_on.wait(PATIENCE_S)
        seen.extend((len(state.base), len(state.search.by_text("only here", 1).hits)))

    running = state.work.start(slow)
    assert begun.wait(PATIENCE_S)
    old = state.search
    switch(blue.parent / "name", green(blue.parent / "green", Other()))
    with state.pinned() as served:
        assert served is not old and len(state.base) == 13
    assert old.queue is not state.queue
    go_on.set()
    running.result(PATIENCE_S)
    assert seen == [40, 40, 1]
    until(lambda: not old.queue._thread.is_alive())
    state.close()
    assert not state.search.queue._thread.is_alive()


def test_no_request_fails_over_switches(http: httpx.Client, blue: Path) -> None:
    """Switched to and fro under load: every answer is whole, and of one base or the other."""
    new = green(blue.parent / "green", Other())
    failed: list[str] = []
    sizes: set[int] = set()
    over = threading.Event()

    def ask(client: httpx.Client) -> None:
        while not over.is_set():
            answer = client.post("/v1/search", json={"text": "only here", "k": 1})
            if answer.status_code != 200:
                failed.append(answer.text)
                return
            sizes.add(int(answer.json()["hits"][0]["case"]["case_id"] == "green/1"))

    threads = [threading.Thread(target=ask, args=(http,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for n in range(6):
        switch(blue.parent / "name", (new, blue)[n % 2])
        seen = len(sizes)
        time.sleep(0.1 + 0.02 * seen)
    over.set()
    for thread in threads:
        thread.join()
    assert not failed and sizes == {0, 1}


def test_a_base_that_cannot_be_opened_changes_nothing(http: httpx.Client, blue: Path) -> None:
    """The old base goes on answering: the new one is damaged, or the name is gone."""
    damaged = green(blue.parent / "damaged", HashingEncoder())
    switch(blue.parent / "name", damaged)
    (damaged / "manifest.json").write_text("{")
    assert search(http, "LBBB")["hits"][0]["case"]["case_id"].startswith("simulated/")
    assert http.get("/readyz").json()["cases"] == 40
    (blue.parent / "name").unlink()
    assert http.get("/readyz").json()["cases"] == 40
