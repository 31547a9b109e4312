"""ECGs pulled from a stub of QIDO-RS and WADO-RS."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from ecgkin.index.case import Case
from ecgkin.index.transfer.export_dicom import write_dicom
from ecgkin.retrieval.ecg import read_ecg
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.ui.cli.main import main

pytest.importorskip("dicomweb_client")


class Archive(BaseHTTPRequestHandler):
    """One study with two ECGs, the second of which is answered by another object; ids of a hostile third."""

    objects: ClassVar[dict[str, bytes]] = {}
    study: ClassVar[str] = "1.2.3"
    asked: ClassVar[list[str]] = []
    hostile: ClassVar[bool] = False

    def do_GET(self) -> None:
        """QIDO for series and instances, WADO for instances."""
        parts = urlsplit(self.path)
        Archive.asked.append(self.path)
        if self.headers.get("Authorization") != "Bearer good":
            self._answer(401, b"Frau Mustermann", "text/plain")
            return
        pieces = parts.path.strip("/").split("/")
        if pieces[-1] == "series":
            wanted = parse_qs(parts.query)
            series = {"0020000D": {"vr": "UI", "Value": [self.study]}, "0020000E": {"vr": "UI", "Value": ["1.2.3.4"]}}
            self._json([series] if wanted["Modality"] == ["ECG"] else [])
        elif pieces[-1] == "instances":
            names = [*self.objects, *(["../../evil"] if self.hostile else [])]
            self._json([{"00080018": {"vr": "UI", "Value": [name]}} for name in names])
        else:
            content = self.objects.get(pieces[-1])
            if content is None:
                self._answer(404, b"", "text/plain")
                return
            body = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--x--\r\n"
            self._answer(200, body, 'multipart/related; type="application/dicom"; boundary=x')

    def _json(self, content: Any) -> None:
        self._answer(200, json.dumps(content).encode(), "application/dicom+json")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The archive with two ECGs."""
    import pydicom

    Archive.objects, Archive.asked, Archive.hostile = {}, [], False
    for number in range(2):
        record = simulate(["AFIB"], np.random.default_rng(number), fs_hz=250.0).record
        (tmp_path / "made").mkdir(exist_ok=True)
        path = write_dicom(tmp_path / "made", Case(f"a/{number}", "P1"), record)
        stream = io.BytesIO(path.read_bytes())
        Archive.objects[str(pydicom.dcmread(stream).SOPInstanceUID)] = path.read_bytes()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Archive)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/dicom-web"
    server.shutdown()
    server.server_close()


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["download", "dicomweb", *map(str, words)])
    return int(stopped.value.code or 0)


def test_pull_once(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both objects come and can be read; a second pull fetches none of them."""
    monkeypatch.setenv("ECGKIN_DICOMWEB_TOKEN", "good")
    out = tmp_path / "in"
    assert run(url, out, "--since", "2026-01-01", "--until", "2026-01-31", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["fetched"], said["skipped"], said["failed"]) == (2, 0, 0)
    assert {path.stem for path in out.iterdir()} == set(Archive.objects)
    assert all(read_ecg(path).fs_hz == 250.0 for path in out.iterdir())
    assert any("StudyDate=20260101-20260131" in path for path in Archive.asked)
    before = len(Archive.asked)
    assert run(url, out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["skipped"] == 2 and len(Archive.asked) == before + 2


def test_what_an_archive_may_do_wrong(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object under another's id is not kept, no id that is a path is asked for; its words stay away."""
    monkeypatch.setenv("ECGKIN_DICOMWEB_TOKEN", "good")
    first, second = Archive.objects
    Archive.objects[second], Archive.hostile = Archive.objects[first], True
    out = tmp_path / "in"
    assert run(url, out) == 5
    assert [path.stem for path in out.iterdir()] == [first]
    assert f"not fetched: {second}: the archive sent another object" in capsys.readouterr().err
    assert not any("evil" in path for path in Archive.asked)
    monkeypatch.setenv("ECGKIN_DICOMWEB_TOKEN", "bad")
    assert run(url, out) == 5
    err = capsys.readouterr().err
    assert "status 401" in err and "Mustermann" not in err
    for words in (("http://archive.example/x", out), ("ftp://x/", out), (url, out, "--study", "../1"),
                  (url, out, "--since", "soon")):  # fmt: skip
        assert run(*words) == 2
