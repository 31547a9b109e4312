"""The client: both kinds give the same answers, and every failure is an `ApiError` that says what happened."""

from __future__ import annotations

import asyncio
import inspect
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.ui.api.security import new_token
from ecgkin.ui.api.state import State
from ecgkin.ui.client import ApiError, AsyncClient, CaseFields, Client, calls
from ecgkin.ui.server.app import create_app
from ecgkin.ui.server.serving import in_thread
from ecgkin.ui.settings import load_settings

TOKEN, SETTING = new_token("write")


@pytest.fixture(scope="module")
def url(simulated_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that wants a token."""
    folder = tmp_path_factory.mktemp("client") / "base"
    shutil.copytree(simulated_base, folder)
    settings = load_settings(api_port=0, api_max_seconds=300, api_tokens=(SETTING,))
    with in_thread(create_app(settings, State(folder, settings, HashingEncoder())), settings) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    """With the token."""
    with Client(url, TOKEN, timeout_s=300) as made:
        yield made


def test_client_offers_what_the_api_takes() -> None:
    """Each option of a search and of a draft, in a body or beside a file, is an argument, and there is no other."""
    from ecgkin.ui.api.intake import FileOptions
    from ecgkin.ui.api.schemas import DraftOptions, SearchBody

    ours = {"file", "record", "take", "accept"}  # the ECG itself, and how the answer is read
    for call, models in ((calls.search, (SearchBody, FileOptions)), (calls.draft, (DraftOptions, FileOptions))):
        taken = {name for model in models for name in model.model_fields} - {"signal"}
        assert set(inspect.signature(call).parameters) - ours == taken, call.__name__


def test_every_method(client: Client, tmp_path: Path) -> None:
    """Each method of the client against the real server."""
    record = client.signal("simulated/4")
    assert record.signal_mv.dtype == np.float32 and record.leads[:2] == ("I", "II")
    found = client.search(record=record, k=3, where={"sex": "F"}, exclude_patient="simulated/9")
    assert len(found.hits) == 3 and all(hit.case.sex == "F" for hit in found.hits)
    page = tmp_path / "page.png"
    page.write_bytes(client.page("simulated/4", "png", width=800, layout="6x2"))
    assert client.search(page, text="AFIB", k=1, weight=0.2).query == "image+text"
    assert client.search(("p.png", page.read_bytes())).query == "image"
    assert client.search(text="AFIB").query == "text"
    assert client.page("simulated/4").startswith(b"<svg")

    ids = [hit.case.case_id for hit in found.hits]
    marked = client.feedback(found.query_id, similar=ids[:1], not_similar=ids[1:])
    assert [m.similar for m in marked.marks].count(True) == 1 and client.marks(found.query_id) == marked.marks
    assert client.search(query_id=found.query_id, similar=ids[2:]).query == "refined"

    added = client.add_case(CaseFields(case_id="new/1", report="x", labels={"AFIB": 100.0}), record=record)
    assert client.case("new/1") == added and client.cases("label:AFIB", limit=1).total >= 1
    assert client.add_case(CaseFields(case_id="new/2"), page).case_id == "new/2"
    for case_id in ("new/1", "new/2"):
        client.remove_case(case_id)
    assert client.embed(["a"]).dim == len(client.embed(record=record).embeddings[0]) == 64
    assert len(client.embed(file=page).embeddings) == 1

    draft = client.draft(record=record, k=2, question=None, language="en")
    events = list(client.draft_events(record=record, k=2))
    assert "".join(event.text for event in events) == draft.draft.text and events[-1].answer is not None
    assert client.draft_fhir(record=record)["status"] == "preliminary"
    assert client.info().tokens is True


def test_both_clients_answer_alike(url: str, client: Client) -> None:
    """The asynchronous one has the same methods with the same arguments, and gets the same answers."""
    names = [name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")]
    for name in names:
        theirs, ours = inspect.signature(getattr(AsyncClient, name)), inspect.signature(getattr(Client, name))
        assert list(theirs.parameters) == list(ours.parameters), name

    async def run() -> None:
        async with AsyncClient(url, TOKEN, timeout_s=300) as other:
            record = await other.signal("simulated/4")
            found, case, listed = await asyncio.gather(
                other.search(record=record, k=4), other.case("simulated/4"), other.cases(limit=5)
            )
            assert found.hits == client.search(record=record, k=4).hits
            assert case == client.case("simulated/4") and listed == client.cases(limit=5)
            assert await other.page("simulated/4") == client.page("simulated/4")
            assert (await other.embed(["x"])) == client.embed(["x"]) and (await other.info()) == client.info()
            await other.feedback(found.query_id, similar=["simulated/5"])
            assert [m.case_id for m in await other.marks(found.query_id)] == ["simulated/5"]
            assert (await other.add_case(CaseFields(case_id="new/3"), record=record)).case_id == "new/3"
            await other.remove_case("new/3")
            whole = await other.draft(record=record)
            pieces = [event async for event in other.draft_events(record=record)]
            assert "".join(piece.text for piece in pieces) == whole.draft.text
            assert (await other.draft_fhir(record=record))["resourceType"] == "DiagnosticReport"
            with pytest.raises(ApiError):
                await other.case("none")
            with pytest.raises(ApiError):
                _ = [event async for event in other.draft_events(record=record, model="x")]

    asyncio.run(run())


def test_errors_say_what_happened(url: str, client: Client, tmp_path: Path) -> None:
    """Problems keep status, kind, hint and request id; nobody there is an error, too, and not a traceback of httpx."""
    with pytest.raises(ApiError) as caught:
        client.case("none")
    assert (caught.value.status, caught.value.kind) == (404, "not-found") and len(caught.value.request_id) == 32
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(ApiError) as caught:
        client.search(tmp_path / "x.png")
    assert caught.value.kind == "image"
    with Client(url) as stranger, pytest.raises(ApiError) as caught:
        stranger.info()
    assert caught.value.status == 401 and "Bearer" in caught.value.hint
    with pytest.raises(ApiError) as caught:
        list(client.draft_events(record=client.signal("simulated/3"), model="x"))
    assert caught.value.status == 422
    with Client("http://127.0.0.1:9") as nobody, pytest.raises(ApiError, match="did not answer") as caught:
        nobody.info()
    assert caught.value.status == 0


def test_a_stream_that_breaks_off() -> None:
    """A problem in mid-stream is an error; comments and unknown events are passed over."""
    problem = '{"type": "/v1/problems#generation", "title": "t", "status": 502, "detail": "model gone"}'
    sent = (
        ": hello\n\nevent: news\ndata: {}\n\n"
        'event: token\ndata: {"text": "one\u2028line"}\n\n'  # a line end for str.splitlines, none for events
        f"event: problem\ndata: {problem}\n\n"
    )
    answer = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=sent.encode())
    told: list[str] = []
    record = simulate(["SR"], np.random.default_rng(0)).record
    with Client("http://127.0.0.1:9") as client, pytest.raises(ApiError, match="model gone") as caught:
        client._http = httpx.Client(base_url="http://x", transport=httpx.MockTransport(lambda request: answer))
        for event in client.draft_events(record=record):
            told.append(event.text)
    assert told == ["one\u2028line"]
    assert (caught.value.status, caught.value.kind) == (502, "generation")
