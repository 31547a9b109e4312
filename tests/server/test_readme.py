"""What README says about the API is run as it stands: the curl lines in bash, the Python lines in Python."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.ui.api.state import State
from ecgkin.ui.client import Client
from ecgkin.ui.fhir import draft as fhir
from ecgkin.ui.server.app import create_app
from ecgkin.ui.server.serving import in_thread
from ecgkin.ui.settings import load_settings

WRITTEN = "http://127.0.0.1:8000"
# Each answer goes to a file of its own, too; an HTTP error ends the script.
SHELL = """set -euo pipefail
n=0
curl() { n=$((n + 1)); command curl --fail-with-body --max-time 300 "$@" | tee "answer.$n"; }
"""


@pytest.fixture(scope="module")
def section(project_root: Path) -> str:
    """README's section on the API."""
    text = (project_root / "README.md").read_text(encoding="utf-8")
    return text.partition("## The HTTP API\n")[2].partition("\n## ")[0]


@pytest.fixture(scope="module")
def url(simulated_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server over a copy of the simulated base."""
    folder = tmp_path_factory.mktemp("readme") / "base"
    shutil.copytree(simulated_base, folder)
    settings = load_settings(api_port=0, api_max_seconds=300)
    state = State(folder, settings, HashingEncoder())
    state.preload()
    with in_thread(create_app(settings, state), settings) as address:
        yield address


@pytest.fixture
def folder(url: str, tmp_path: Path) -> Path:
    """A folder with the files that README names."""
    import io

    import wfdb
    from PIL import Image

    with Client(url) as client:
        record, page = client.signal("simulated/3"), client.page("simulated/3", "png", width=1100)
    Image.open(io.BytesIO(page)).convert("RGB").save(tmp_path / "photo.jpg", quality=90)
    n = len(record.leads)
    wfdb.wrsamp(
        "recording", fs=record.fs_hz, units=["mV"] * n, sig_name=list(record.leads), fmt=["16"] * n,
        p_signal=record.signal_mv.T.astype(float), adc_gain=[1000.0] * n, baseline=[0] * n, write_dir=str(tmp_path),
    )  # fmt: skip
    return tmp_path


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="curl or jq is not installed")
def test_curl_lines(section: str, url: str, folder: Path) -> None:
    """Every curl line answers, and with what the comment above it promises."""
    (script,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    assert f"api={WRITTEN}/v1\n" in script and script.count("curl ") == 18
    done = subprocess.run(
        ["bash", "-c", SHELL + script.replace(WRITTEN, url)], cwd=folder, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    texts = [(folder / f"answer.{number}").read_text() for number in range(1, 19)]
    picture, recording, words, digitized, german, stream, report, added, one, _, removed, _, marked, refined = texts[
        :14
    ]
    _, job, results, forgotten = texts[14:]
    assert json.loads(job)["n_items"] == 2 and not forgotten
    assert all(len(hit["answer"]["hits"]) == 3 for hit in json.loads(results)["results"])
    assert len(json.loads(picture)["hits"]) == len(json.loads(words)["hits"]) == 5
    assert json.loads(picture)["page"] is not None or json.loads(picture)["query"] == "image"
    read = json.loads(digitized)
    assert read["digitized"] and read["page"]["gain_mm_mv"] == 10 and len(read["signal"]["leads"]) == 12
    found = json.loads(recording)["hits"]
    assert found and all(hit["case"]["sex"] == "F" and hit["case"]["age_years"] >= 60 for hit in found)
    assert (json.loads(german)["draft"]["language"], json.loads(german)["draft"]["status"]) == ("de", "preliminary")
    assert stream.startswith("event: token\n") and "event: draft\n" in stream
    assert fhir.summary(report)["status"] == "preliminary" and fhir.summary(report)["sources"]
    assert json.loads(added) == json.loads(one) and json.loads(one)["case_id"] == "clinic/17" and not removed
    assert (folder / "page.svg").read_text().startswith("<svg")
    assert [mark["similar"] for mark in json.loads(marked)["marks"]].count(True) == 1
    first, again = json.loads((folder / "found.json").read_text()), json.loads(refined)
    scores = [{hit["case"]["case_id"]: hit["score"] for hit in answer["hits"]} for answer in (first, again)]
    near = first["hits"][2]["case"]["case_id"]
    assert again["query"] == "refined" and scores[1][near] > scores[0][near]


def test_python_lines(
    section: str, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The client as README shows it."""
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert f'Client("{WRITTEN}")' in code
    monkeypatch.chdir(folder)
    exec(compile(code.replace(WRITTEN, url), "README.md", "exec"), {})
    said = capsys.readouterr().out
    assert "simulated/" in said and "Rhythmus" in said
