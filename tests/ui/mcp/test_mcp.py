"""`ecgkin mcp` as an agent meets it: sessions of the mcp package's client over memory, stdio and HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published_made import folders, names_of

from ecgkin.index.case import Case
from ecgkin.index.transfer.export_dicom import write_dicom
from ecgkin.retrieval.ecg.drawing.raster import render
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.encoders.published import load_witness
from ecgkin.retrieval.errors import InputError, QueryError
from ecgkin.ui.api.security import new_token
from ecgkin.ui.mcp.files import Files
from ecgkin.ui.mcp.server import http_app, make_server
from ecgkin.ui.mcp.tools import Tools
from ecgkin.ui.server.serving import in_thread
from ecgkin.ui.settings import load_settings

SECRET = "Mustermann"


def made(code: str) -> EcgRecord:
    return simulate([code], np.random.default_rng(4), fs_hz=250.0, rate_bpm=70.0).record


@pytest.fixture
def ecg(tmp_path: Path) -> Path:
    return write_dicom(tmp_path, Case(f"{SECRET}/1"), made("NORM")).rename(tmp_path / f"{SECRET}.dcm")


@pytest.fixture
def tools(simulated_base: Path) -> Iterator[Tools]:
    opened = Tools(simulated_base, Files(None, 10_000_000), encoder=HashingEncoder())
    yield opened
    opened.close()


def talk(server: Any, *calls: tuple[str, dict[str, Any]]) -> list[Any]:
    """The results of calls in one session."""
    from mcp import Client

    async def session() -> list[Any]:
        async with Client(server) as client:
            return [await client.call_tool(name, arguments) for name, arguments in calls]

    return asyncio.run(session())


def test_tools_and_their_schemas(tools: Tools) -> None:
    from mcp import Client

    async def listed() -> Any:
        async with Client(make_server(tools)) as client:
            return (await client.list_tools()).tools

    found = {tool.name: tool for tool in asyncio.run(listed())}
    assert set(found) == {"search", "compare", "measure", "draft", "case"}
    for tool in found.values():
        assert tool.output_schema and tool.output_schema["properties"] and tool.annotations.read_only_hint
        assert tool.description and "Args" in tool.description
    assert "nothing_similar" in json.dumps(found["search"].output_schema)
    assert set(found["draft"].input_schema["required"]) == {"file"}


def test_a_session(tools: Tools, ecg: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = write_dicom(tmp_path, Case("b/1"), made("CLBBB"))
    page = tmp_path / "page.png"
    render(made("NORM")).save(page)
    sent = f"data:;name={SECRET}.dcm;base64,{base64.b64encode(ecg.read_bytes()).decode()}"
    with caplog.at_level(logging.DEBUG):
        by_file, by_data, by_text, both, compared, measured, read_off, drafted, shown = talk(
            make_server(tools),
            ("search", {"file": str(ecg), "k": 3}),
            ("search", {"file": sent, "k": 3, "where": "not label:PACE"}),
            ("search", {"text": "left bundle branch block", "k": 2}),
            ("search", {"file": str(page), "text": "LBBB", "k": 2}),
            ("compare", {"earlier": str(ecg), "later": str(other)}),
            ("measure", {"file": str(ecg)}),
            ("measure", {"file": str(page)}),
            ("draft", {"file": str(ecg), "language": "de"}),
            ("case", {"case_id": "simulated/1"}),
        )
    assert not any(one.is_error for one in (by_file, by_data, by_text, both, compared, measured, drafted, shown))
    assert [hit["rank"] for hit in by_file.structured_content["hits"]] == [1, 2, 3]
    assert len(by_data.structured_content["hits"]) == 3 and len(by_text.structured_content["hits"]) == 2
    assert compared.structured_content["beats_mv"] == {} and "QRS" in json.dumps(compared.structured_content["changes"])
    assert measured.structured_content["read_from"] == "recording"
    assert measured.structured_content["rate_bpm"] == pytest.approx(70, abs=2)
    assert read_off.structured_content["read_from"] == "picture"
    assert read_off.structured_content["rate_bpm"] == pytest.approx(70, abs=3)
    assert drafted.structured_content["status"] == "preliminary" and drafted.structured_content["language"] == "de"
    assert shown.structured_content["case"]["case_id"] == "simulated/1"
    assert shown.structured_content["samples"]["fs_hz"] > 0
    assert SECRET not in caplog.text and "bundle branch" not in caplog.text


def test_another_classifier_is_heard(simulated_base: Path, ecg: Path, tmp_path: Path) -> None:
    """What a witness says of the samples stands in the answer of a search, under its name."""
    witness = load_witness(names_of(folders(tmp_path / "published"))["ecgfounder"])
    tools = Tools(simulated_base, Files(None, 10_000_000), encoder=HashingEncoder(), witness=witness)
    try:
        [found, words] = talk(make_server(tools), ("search", {"file": str(ecg)}), ("search", {"text": "LBBB"}))
    finally:
        tools.close()
    said = found.structured_content["testimony"]
    assert set(said) == {"ecgfounder"} and 0 <= said["ecgfounder"]["AFIB"] <= 1
    assert words.structured_content["testimony"] == {}


def test_mistakes_are_told_to_the_agent_and_not_logged(
    tools: Tools, ecg: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / f"{SECRET}.xml"
    broken.write_text("<nothing/>")
    calls: list[tuple[str, dict[str, Any], str]] = [
        ("search", {}, "nothing to search for\nhint: give a file"),
        ("search", {"text": "x", "k": 1000}, "k is 1000"),
        ("search", {"text": "x", "where": "age>>3"}, "hint:"),
        ("measure", {"file": str(broken)}, f"{SECRET}.xml"),
        ("measure", {"file": str(tmp_path / "none.xml")}, "is no file"),
        ("measure", {"file": "data:,abc"}, "no data URI in base64"),
        ("measure", {"file": "data:;base64,$$$$"}, "no base64"),
        ("compare", {"earlier": str(ecg), "later": str(broken)}, "later: "),
        ("case", {"case_id": "none"}, "holds no case"),
        ("draft", {"file": str(ecg), "previous": "nobody"}, "nobody"),
        ("draft", {}, "draft needs the argument file\nhint: arguments of draft: file (needed), question, language"),
        ("search", {"text": "x", "k": "many"}, "search: k is 'many' (it should be a valid integer"),
        (
            "search",
            {"text": "x", "top_k": 3},
            "search takes no argument 'top_k'\nhint: arguments of search: file, text, k",
        ),
        ("measure", {"file": str(ecg), "language": "fr"}, "measure: language is 'fr' (it should be 'en' or 'de')"),
        ("case", {"case_id": ["a"]}, "case: case_id is 'list' (it should be a valid string)"),
        ("cases", {}, "there is no tool 'cases'\nhint: the tools are search, compare, measure, draft, case"),
    ]
    with caplog.at_level(logging.DEBUG):
        answers = talk(make_server(tools), *(call[:2] for call in calls))
        for (name, _, said), told in zip(calls, answers, strict=True):
            assert told.is_error, name
            assert said in told.content[0].text, told.content[0].text
            assert "pydantic" not in told.content[0].text and "://" not in told.content[0].text
        monkeypatch.setattr(tools._live, "current", lambda: 1 / 0)
        (fault,) = talk(make_server(tools), ("case", {"case_id": SECRET}))
    assert fault.is_error and fault.content[0].text.endswith("a fault of ecgkin; its log says where")
    assert "ZeroDivisionError" in caplog.text
    assert SECRET not in caplog.text


def test_which_files_are_let_in(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "a.xml").write_text("abc")
    (tmp_path / "b.xml").write_text("abc")
    (inside / "link.xml").symlink_to(tmp_path / "b.xml")
    files = Files([inside], 5)
    with files.opened(str(inside / "a.xml")) as path:
        assert path.read_text() == "abc"
    for outside in (tmp_path / "b.xml", inside / ".." / "b.xml", inside / "link.xml"):
        with pytest.raises(QueryError, match="not open to agents"), files.opened(str(outside)):
            pass
    with files.opened("data:text/xml;name=x%2Fy.XML;base64,YWJj") as path:
        kept = path
        assert path.read_text() == "abc" and path.suffix == ".xml"
    assert not kept.exists()
    (inside / "a.xml").write_text("abcdef")
    for large in (str(inside / "a.xml"), "data:;base64," + base64.b64encode(b"x" * 50).decode()):
        with pytest.raises(InputError, match="at most 5"), files.opened(large):
            pass


# --- HTTP


def over_http(url: str, token: str = "", *calls: tuple[str, dict[str, Any]]) -> list[Any]:
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    async def session() -> list[Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as http,
            Client(streamable_http_client(f"{url}/mcp", http_client=http)) as client,
        ):
            return [await client.call_tool(name, arguments) for name, arguments in calls]

    return asyncio.run(session())


def test_over_http_with_tokens(simulated_base: Path, ecg: Path) -> None:
    import httpx

    token, setting = new_token("read")
    settings = load_settings(api_port=0, api_tokens=(setting,))
    tools = Tools(simulated_base, Files([], 10_000_000), encoder=HashingEncoder())
    app: Any = http_app(make_server(tools), settings)
    data = f"data:;base64,{base64.b64encode(ecg.read_bytes()).decode()}"
    with in_thread(app, settings) as url:
        measured, refused = over_http(url, token, ("measure", {"file": data}), ("measure", {"file": str(ecg)}))
        assert measured.structured_content["rate_bpm"] == pytest.approx(70, abs=2)
        assert refused.is_error and "not open to agents" in refused.content[0].text
        assert httpx.get(f"{url}/healthz").json() == {"status": "ok"}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            assert httpx.post(f"{url}/mcp", json=body, headers=headers).status_code == 401
        with pytest.raises(BaseException):  # noqa: B017 - the library's group of errors
            over_http(url, "wrong", ("case", {"case_id": "simulated/1"}))
    tools.close()


def test_a_document_without_end_does_not_stop_the_tools(tools: Tools, ecg: Path, monkeypatch: Any) -> None:
    """The tools take turns: one hostile file would have kept all callers waiting for ever."""
    from ecgkin.retrieval.ecg.formats import tried

    ended = tried._Trial.ended
    monkeypatch.setattr(tried._Trial, "ended", lambda self, path, page, seconds: ended(self, path, page, 0.5))
    bomb = (Path(__file__).parents[2] / "fixtures" / "hostile" / "bomb.pdf").read_bytes()
    data = f"data:;name=a.pdf;base64,{base64.b64encode(bomb).decode()}"
    refused, measured = talk(make_server(tools), ("search", {"file": data}), ("measure", {"file": str(ecg)}))
    assert refused.is_error and "cannot be decoded within" in refused.content[0].text
    assert measured.structured_content["rate_bpm"] == pytest.approx(70, abs=2)


def test_over_http_without_tokens_this_machine_alone(simulated_base: Path) -> None:
    import httpx

    settings = load_settings(api_port=0)
    tools = Tools(simulated_base, Files([], 10_000_000), encoder=HashingEncoder())
    app: Any = http_app(make_server(tools), settings)
    with in_thread(app, settings) as url:
        (shown,) = over_http(url, "", ("case", {"case_id": "simulated/1"}))
        assert shown.structured_content["case"]["case_id"] == "simulated/1"
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
            assert httpx.post(f"{url}/mcp", json=body, headers=headers).status_code == 403
    tools.close()


# --- the command


def test_a_missing_library_names_its_extra(
    simulated_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ecgkin.ui.cli.main import main

    for name in [name for name in sys.modules if name == "mcp" or name.startswith("mcp.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(SystemExit) as stopped:
        main(["mcp", str(simulated_base), "--encoder", "hashing"])
    assert stopped.value.code == 1 and "ecgkin[hospital]" in capsys.readouterr().err


@pytest.mark.slow
def test_over_stdio(simulated_base: Path, ecg: Path, tmp_path: Path) -> None:
    from mcp import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client

    words = ["-c", "from ecgkin.ui.cli.main import main; main()", "mcp", str(simulated_base), "--encoder", "hashing"]
    server = StdioServerParameters(command=sys.executable, args=words, env=dict(os.environ))
    log = tmp_path / "log"

    async def session(errors: Any) -> list[Any]:
        async with Client(stdio_client(server, errors)) as client:
            calls = (("measure", {"file": str(ecg)}), ("case", {"case_id": SECRET}), ("search", {"text": "LBBB"}))
            return [await client.call_tool(name, arguments) for name, arguments in calls]

    with log.open("w") as errors:
        measured, unknown, found = asyncio.run(session(errors))
    assert measured.structured_content["rate_bpm"] == pytest.approx(70, abs=2)
    assert unknown.is_error and "holds no case" in unknown.content[0].text
    assert len(found.structured_content["hits"]) == 10
    assert SECRET not in log.read_text() and "MCP over stdio" in log.read_text()


@pytest.mark.slow
def test_the_command_over_http(simulated_base: Path, ecg: Path) -> None:
    words = ["mcp", str(simulated_base), "--http", "--port", "0", "--encoder", "hashing", "--files", str(ecg.parent)]
    command = [sys.executable, "-c", "from ecgkin.ui.cli.main import main; main()", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        url = process.stdout.readline().strip()
        (measured,) = over_http(url.removesuffix("/mcp"), "", ("measure", {"file": str(ecg)}))
        process.send_signal(signal.SIGINT)
        log = process.stderr.read()
        assert process.wait(60) == 130, log  # as `ecgkin serve`
    assert measured.structured_content["read_from"] == "recording"
    assert SECRET not in log
