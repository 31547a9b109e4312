"""Jobs over HTTP: many ECGs in, progress and results out, cancelled, full, told to others; a real server."""

from __future__ import annotations

import io
import json
import shutil
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from ecgkin.retrieval.ecg.drawing.raster import render
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.errors import QueryError
from ecgkin.ui.api.jobs import Webhooks
from ecgkin.ui.api.security import needed_role
from ecgkin.ui.api.state import State
from ecgkin.ui.demo.serve import write_csv
from ecgkin.ui.server.app import create_app
from ecgkin.ui.server.serving import in_thread
from ecgkin.ui.settings import load_settings

PATIENCE_S = 300.0


@pytest.fixture(scope="module")
def heard() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """The port of a server that takes webhooks, and what it was told."""
    told: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1], told
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def state(simulated_base: Path, tmp_path_factory: pytest.TempPathFactory, heard: tuple[int, Any]) -> State:
    """Of the server; two jobs at most, five ECGs a job."""
    folder = tmp_path_factory.mktemp("jobs") / "base"
    shutil.copytree(simulated_base, folder)
    settings = load_settings(
        api_port=0, api_max_seconds=PATIENCE_S, api_max_jobs=2, api_job_files=5, api_decode_seconds=PATIENCE_S,
        api_webhook_hosts=(f"127.0.0.1:{heard[0]}",),
    )  # fmt: skip
    made = State(folder, settings, HashingEncoder())
    made.settings = settings  # type: ignore[attr-defined]
    return made


@pytest.fixture(scope="module")
def http(state: State) -> Iterator[httpx.Client]:
    """A client of it."""
    settings = state.settings  # type: ignore[attr-defined]
    with (
        in_thread(create_app(settings, state), settings) as url,
        httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def ecgs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Two recordings, a picture, and a file that is none."""
    folder = tmp_path_factory.mktemp("ecgs")
    out = {}
    for number, code in enumerate(("AFIB", "NORM")):
        record = simulate([code], np.random.default_rng(number), fs_hz=250.0).record
        write_csv(record, folder / f"{code}.csv")
        out[f"{code}.csv"] = (folder / f"{code}.csv").read_bytes()
    page = io.BytesIO()
    render(record).save(page, "PNG")
    return {**out, "page.png": page.getvalue(), "broken.csv": b"no ECG"}


def over(http: httpx.Client, job_id: str) -> dict[str, Any]:
    """The job once it is over."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        found: dict[str, Any] = http.get(f"/v1/jobs/{job_id}").raise_for_status().json()
        if found["state"] in ("done", "cancelled"):
            return found
        time.sleep(0.1)
    raise AssertionError("the job does not end")


def test_zip_and_files_are_searched(
    http: httpx.Client, ecgs: dict[str, bytes], heard: tuple[int, list[dict[str, Any]]]
) -> None:
    """Each ECG has the answer of a single search; a broken one has its problem; the webhook hears numbers alone."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("AFIB.csv", "broken.csv"):
            archive.writestr(f"folder/{name}", ecgs[name])
    files = [("file", ("a.zip", packed.getvalue())), ("file", ("NORM.csv", ecgs["NORM.csv"]))]
    fields = {"kind": "search", "k": "3", "where": "age>=0", "callback": f"http://127.0.0.1:{heard[0]}/done"}
    answer = http.post("/v1/jobs", data=fields, files=files)
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['job_id']}" and job["n_items"] == 3
    done = over(http, job["job_id"])
    assert (done["state"], done["n_done"], done["n_failed"]) == ("done", 3, 1) and done["finished_at"]
    results = http.get(f"/v1/jobs/{job['job_id']}/results").json()["results"]
    by_name = {one["name"]: one for one in results}
    assert set(by_name) == {"NORM.csv", "folder/AFIB.csv", "folder/broken.csv"}
    assert by_name["folder/broken.csv"]["answer"] is None
    assert by_name["folder/broken.csv"]["problem"]["status"] == 422
    single = http.post("/v1/search", data={"k": "3", "where": "age>=0"}, files={"file": ("x.csv", ecgs["AFIB.csv"])})
    assert by_name["folder/AFIB.csv"]["answer"]["hits"] == single.json()["hits"]
    page = http.get(f"/v1/jobs/{job['job_id']}/results", params={"first": 1, "limit": 1}).json()["results"]
    assert page == [results[1]]
    until = time.monotonic() + PATIENCE_S
    while not heard[1] and time.monotonic() < until:
        time.sleep(0.05)
    assert heard[1] == [{"job_id": job["job_id"], "state": "done", "n_items": 3, "n_done": 3, "n_failed": 1}]


def test_a_header_with_another_name_than_its_samples(http: httpx.Client, tmp_path: Path) -> None:
    """What the header names belongs to it, also beside a record whose files share their name."""
    wfdb = pytest.importorskip("wfdb")
    record = simulate(["NORM"], np.random.default_rng(3), fs_hz=250.0).record
    for name in ("00017_lr", "other"):
        wfdb.wrsamp(
            name, fs=250.0, units=["mV"] * 12, sig_name=list(record.leads), p_signal=record.signal_mv.T.astype(float),
            fmt=["16"] * 12, adc_gain=[1000.0] * 12, baseline=[0] * 12, write_dir=str(tmp_path),
        )  # fmt: skip
    sent = {
        "recording.hea": "00017_lr.hea",
        "00017_lr.dat": "00017_lr.dat",
        "other.dat": "other.dat",
        "other.hea": "other.hea",
    }
    files = [("file", (name, (tmp_path / own).read_bytes())) for name, own in sent.items()]
    job = http.post("/v1/jobs", data={"kind": "search", "k": "2"}, files=files).json()
    assert job["n_items"] == 2
    results = http.get(f"/v1/jobs/{over(http, job['job_id'])['job_id']}/results").json()["results"]
    assert {one["name"] for one in results} == {"recording.hea", "other.hea"}
    assert [one["problem"] for one in results] == [None, None]


def test_drafts_and_digitizing(http: httpx.Client, ecgs: dict[str, bytes]) -> None:
    """The other two kinds answer as their single requests do."""
    made = http.post("/v1/jobs", data={"kind": "draft", "language": "de"}, files={"file": ("a.csv", ecgs["AFIB.csv"])})
    [one] = http.get(f"/v1/jobs/{over(http, made.json()['job_id'])['job_id']}/results").json()["results"]
    assert one["answer"]["draft"]["status"] == "preliminary" and one["answer"]["draft"]["language"] == "de"
    fields = {"kind": "digitize", "samples": "false"}
    made = http.post("/v1/jobs", data=fields, files={"file": ("p.png", ecgs["page.png"])})
    [one] = http.get(f"/v1/jobs/{over(http, made.json()['job_id'])['job_id']}/results").json()["results"]
    single = http.post("/v1/digitize", data={"samples": "false"}, files={"file": ("p.png", ecgs["page.png"])}).json()
    assert one["problem"] is None and one["answer"]["page"] == single["page"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 422),
        ({"kind": "everything"}, 422),
        ({"kind": "search", "k": "100000"}, 422),
        ({"kind": "search", "colour": "red"}, 422),
        ({"kind": "search", "callback": "https://elsewhere.example/x"}, 422),
        ({"kind": "search", "callback": "http://169.254.169.254/latest"}, 422),
    ],
)
def test_mistakes_are_said_before_the_queue(
    http: httpx.Client, ecgs: dict[str, bytes], fields: dict[str, str], status: int
) -> None:
    """Nothing is queued, and nothing stays on the disk."""
    answer = http.post("/v1/jobs", data=fields, files={"file": ("a.csv", ecgs["AFIB.csv"])})
    assert answer.status_code == status and answer.headers["content-type"] == "application/problem+json"


def test_too_many_ecgs(http: httpx.Client, ecgs: dict[str, bytes]) -> None:
    """Six where five may be, as files and in a zip."""
    six = [("file", (f"{i}.csv", ecgs["AFIB.csv"])) for i in range(6)]
    assert http.post("/v1/jobs", data={"kind": "search"}, files=six).status_code == 422
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(6):
            archive.writestr(f"{number}.csv", ecgs["AFIB.csv"])
    assert (
        http.post("/v1/jobs", data={"kind": "search"}, files={"file": ("a.zip", packed.getvalue())}).status_code == 422
    )


def test_full_cancelled_and_forgotten(
    http: httpx.Client, state: State, ecgs: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one runs and one waits a third is turned away; cancelled ones begin no further ECG."""
    go, begun = threading.Event(), threading.Event()
    start = state.work.start

    def held(*given: Any) -> Any:
        begun.set()
        assert go.wait(PATIENCE_S)
        return start(*given)

    two = [("file", (f"{i}.csv", ecgs["AFIB.csv"])) for i in range(2)]
    with monkeypatch.context() as patched:
        patched.setattr(state.work, "start", held)
        running = http.post("/v1/jobs", data={"kind": "search"}, files=two).json()["job_id"]
        assert begun.wait(PATIENCE_S)
        waiting = http.post("/v1/jobs", data={"kind": "search"}, files=two).json()["job_id"]
        full = http.post("/v1/jobs", data={"kind": "search"}, files=two)
        assert full.status_code == 503 and full.headers["retry-after"]
        assert http.get(f"/v1/jobs/{running}").json()["state"] == "running"
        assert http.post(f"/v1/jobs/{waiting}/cancel").json()["state"] == "cancelled"
        assert http.post(f"/v1/jobs/{running}/cancel").status_code == 200
    go.set()
    done = over(http, running)
    assert (done["state"], done["n_done"]) == ("cancelled", 1)
    assert len(http.get(f"/v1/jobs/{running}/results").json()["results"]) == 1
    folder = state.jobs.get(running).upload.folder
    assert http.delete(f"/v1/jobs/{running}").status_code == 204 and not folder.exists()
    for address in (f"/v1/jobs/{running}", f"/v1/jobs/{running}/results", "/v1/jobs/unknown"):
        assert http.get(address).status_code == 404
    assert "end with their server" in http.get(f"/v1/jobs/{running}").json()["hint"]


def test_hosts_of_webhooks() -> None:
    """Exactly those that are named, encrypted but on this machine, without names and passwords in the address."""
    hooks = Webhooks(("hooks.example.org", "other.example.org:8443", "127.0.0.1:9000"))
    for good in ("https://hooks.example.org/a?b=c", "https://HOOKS.example.org:443/", "https://other.example.org:8443/x",
                 "http://127.0.0.1:9000/"):  # fmt: skip
        assert hooks.checked(good) == good
    for bad in ("http://hooks.example.org/", "https://hooks.example.org:8443/", "https://other.example.org/",
                "https://hooks.example.org.evil.example/", "https://evil.example/hooks.example.org",
                "https://hooks.example.org@evil.example/", "https://user@hooks.example.org/", "file:///etc/passwd",
                "http://127.0.0.1:22/", "http://[::1]:9000/", "https://hooks.example.org:99999/", "//hooks.example.org",
                "gopher://hooks.example.org/", ""):  # fmt: skip
        with pytest.raises(QueryError):
            hooks.checked(bad)
    with pytest.raises(QueryError):
        Webhooks(("https://hooks.example.org/x",))
    with pytest.raises(QueryError):
        Webhooks(()).checked("https://hooks.example.org/")


def test_redirections_are_not_followed(heard: tuple[int, list[dict[str, Any]]]) -> None:
    """An allowed host cannot send the server on to another address."""
    asked: list[str] = []

    class Away(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.send_response(307)
            self.send_header("Location", f"http://127.0.0.1:{heard[0]}/inside")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    before = len(heard[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Away)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = f"127.0.0.1:{server.server_address[1]}"
    hooks = Webhooks((host,))
    assert not hooks.tell(hooks.checked(f"http://{host}/x"), {"job_id": "1"})
    server.shutdown()
    server.server_close()
    assert asked == ["/x"] and len(heard[1]) == before


def test_roles_and_home(http: httpx.Client) -> None:
    """A read token may ask, look, cancel and forget; `/` leads to the documentation."""
    for method, path in (("POST", "/v1/jobs"), ("GET", "/v1/jobs/a"), ("POST", "/v1/jobs/a/cancel"),
                         ("DELETE", "/v1/jobs/a")):  # fmt: skip
        assert needed_role(method, path) == "read"
    assert needed_role("DELETE", "/v1/jobs/a/b") == "write" and needed_role("POST", "/v1/jobs/a") == "read"
    home = http.get("/")
    assert home.status_code == 307 and http.get("/", follow_redirects=True).url.path == "/docs"
