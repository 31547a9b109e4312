"""`ecgkin demo` from each of its sources, on a made folder in PTB-XL's layout."""

from __future__ import annotations

import csv
import json
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.ui.cli.main import main
from ecgkin.ui.demo import cases as demo_source
from ecgkin.ui.download import ptbxl as download
from ecgkin.ui.download.fetcher import DownloadError

EVIL = "sinus rhythm <script>alert(1)</script> {{ 7*7 }}"
CODES = ("NORM", "AFIB", "IMI", "LVH", "CLBBB")


@pytest.fixture(scope="module")
def small_ptbxl(made_record: EcgRecord, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """45 records in PTB-XL's layout, made here: five a fold, one of each statement, patients of their own."""
    import wfdb

    root = tmp_path_factory.mktemp("small-ptbxl")
    rng = np.random.default_rng(0)
    plain = made_record.resampled(100.0).signal_mv
    rows = []
    for number in range(45):
        folder = root / "records100" / "00000"
        folder.mkdir(parents=True, exist_ok=True)
        gains = 0.4 + 0.3 * (number % 5) + 0.1 * rng.random((12, 1))
        signal = (plain * gains + 0.02 * rng.standard_normal(plain.shape)).T.astype(np.float64)
        names, units = [name.upper() for name in LEADS], ["mV"] * 12
        name = f"{number + 1:05d}_lr"
        wfdb.wrsamp(name, 100, units, names, p_signal=signal, fmt=["16"] * 12, write_dir=str(folder))
        code = CODES[number % 5]
        rows.append(
            {
                "ecg_id": number + 1,
                "patient_id": f"{number + 1000}.0",
                "age": 40 + number,
                "sex": number % 2,
                "device": "made",
                "recording_date": f"1990-01-{1 + number % 28:02d} 08:00:00",
                "report": EVIL if code == "AFIB" else f"{code} report {number}",
                "scp_codes": str({code: 100.0, "SR": 0.0}),
                "strat_fold": 1 + number // 5,
                "filename_lr": f"records100/00000/{name}",
                "filename_hr": "",
            }
        )
    with (root / "ptbxl_database.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return root


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty user folder, the encoder without weights, no PTB-XL."""
    monkeypatch.setenv("ECGKIN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ECGKIN_ENCODER", "hashing")
    monkeypatch.delenv("ECGKIN_PTBXL", raising=False)


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Status, stdout and stderr of `ecgkin WORDS`."""
    status = 0
    try:
        main([str(word) for word in words])
    except SystemExit as stopped:
        status = int(stopped.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_real_layout(small_ptbxl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten hits from folds 1 to 8 for an ECG of fold 9; a page with eleven drawings; the base is reused."""
    words = ("demo", "--ptbxl", small_ptbxl, "--out", tmp_path / "out", "--no-open", "--cases", 30, "--json")
    status, out, err = run(capsys, *words)
    assert status == 0, err
    shown = json.loads(out)
    numbers = [int(hit["case"]["case_id"].removeprefix("ptbxl/")) for hit in shown["search"]["hits"]]
    assert len(numbers) == 10 and max(numbers) <= 40 < int(shown["query_id"].removeprefix("ptbxl/"))
    assert [hit["rank"] for hit in shown["search"]["hits"]] == list(range(1, 11))
    assert shown["n_cases"] == 30 and shown["source"]["kind"] == "ptbxl"
    html = (tmp_path / "out" / "demo.html").read_text("utf-8")
    assert html.count("<svg") == 11 and "<script" not in html and "SIMULATED" not in html
    assert all(hit["case"]["case_id"] in html for hit in shown["search"]["hits"])
    assert "nothing was left out" not in html + err, "nobody asked for that"

    [base] = (tmp_path / "home" / "demo").iterdir()
    before = (base / "cases.sqlite").stat().st_mtime_ns
    status, again, _ = run(capsys, *words)
    assert status == 0 and json.loads(again)["search"]["hits"] == shown["search"]["hits"]
    assert (base / "cases.sqlite").stat().st_mtime_ns == before, "the case base was filled a second time"


def test_hostile_report_is_text(small_ptbxl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A report with markup is shown as it is written, on the page and in the terminal."""
    status, out, _ = run(
        capsys, "demo", "--ptbxl", small_ptbxl, "--out", tmp_path, "--no-open", "--cases", 40, "--seed", 1
    )
    html = (tmp_path / "demo.html").read_text("utf-8")
    assert status == 0 and "<script" not in html and "page: " in out
    assert "&lt;script&gt;" in html and "{{ 7*7 }}" in html


def test_damaged_cache_is_made_anew(small_ptbxl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A case base that a crash or an editor left behind costs time, not the demo."""
    words = ("demo", "--ptbxl", small_ptbxl, "--out", tmp_path, "--no-open", "--cases", 12, "--json")
    assert run(capsys, *words)[0] == 0
    [base] = (tmp_path / "home" / "demo").iterdir()
    (base / "manifest.json").write_text("{")
    status, out, err = run(capsys, *words)
    assert status == 0, err
    assert len(json.loads(out)["search"]["hits"]) == 10


def test_wrong_folder_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that was named is not silently replaced by something else."""
    status, out, err = run(capsys, "demo", "--ptbxl", tmp_path, "--out", tmp_path / "out", "--no-open")
    assert status == 2 and out == "" and "ptbxl_database.csv" in err and not (tmp_path / "out").exists()


def test_too_few_cases_is_an_error(small_ptbxl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten neighbours need more than ten cases."""
    status, _, err = run(capsys, "demo", "--ptbxl", small_ptbxl, "--out", tmp_path, "--no-open", "--cases", 10)
    assert status == 2 and "10" in err


def test_download_then_reuse(
    small_ptbxl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a network the records are fetched once; an unfinished download serves when the network is gone."""
    calls: list[str] = []

    def fetched(dest: Path, **options: object) -> None:
        calls.append(str(options["base_url"]))
        shutil.copytree(small_ptbxl, dest, dirs_exist_ok=True)

    def gone(dest: Path, **options: object) -> None:
        calls.append("gone")
        raise DownloadError("no network")

    monkeypatch.setattr(demo_source, "USABLE_RECORDS", 30)
    monkeypatch.setattr(download, "download_ptbxl", fetched)
    words = ("demo", "--out", tmp_path / "out", "--no-open", "--cases", 12, "--json")
    for _ in range(2):
        status, out, err = run(capsys, *words)
        assert status == 0, err
        assert json.loads(out)["source"]["kind"] == "download"
    assert calls == ["http://127.0.0.1:9/"]

    (tmp_path / "home" / "ptbxl-complete").unlink()
    monkeypatch.setattr(download, "download_ptbxl", gone)
    status, out, err = run(capsys, *words)
    assert status == 0 and json.loads(out)["source"]["kind"] == "download" and "no network" in err


def test_no_network_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody answers: within seconds the demo goes on with simulated cases, and says so on the page."""
    began = time.monotonic()
    status, out, err = run(capsys, "demo", "--out", tmp_path / "out", "--no-open", "--cases", 40)
    assert status == 0, err
    assert time.monotonic() - began < 30
    assert "no download" in err and "SIMULATED" in err
    assert len(set(re.findall(r"simulated/\d+", out))) == 10
    html = (tmp_path / "out" / "demo.html").read_text("utf-8")
    assert "SIMULATED" in html and html.count("<svg") == 11


def test_first_page_then_the_others(
    small_ptbxl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first page searches the first cases, all statements among them; the second one all, none encoded twice."""
    from ecgkin.index import open_base
    from ecgkin.retrieval.encoders.hashing import HashingEncoder
    from ecgkin.ui.console import say
    from ecgkin.ui.demo import demo
    from ecgkin.ui.settings import load_settings

    for module in (demo_source, demo):
        monkeypatch.setattr(module, "EARLY", 15)
    monkeypatch.setattr(demo, "BATCH", 4)
    encoded: list[int] = []
    encode = HashingEncoder.encode_records

    def counted(self: HashingEncoder, some: Sequence[EcgRecord]) -> NDArray[np.float32]:
        encoded.append(len(some))
        return encode(self, some)

    monkeypatch.setattr(HashingEncoder, "encode_records", counted)
    moves: list[tuple[int, int | None]] = []

    def moved(done: int, total: int | None = None, what: str = "") -> None:
        moves.append((done, total))

    first = demo.run_demo(load_settings(ptbxl=small_ptbxl), tmp_path, n_cases=36, say=say, moved=moved)
    assert first.n_cases == 15 and first.rest is not None and moves[-1] == (15, 15)
    html = first.page.read_text("utf-8")
    with open_base(first.folder) as base:
        found = {code for case in base.cases() for code in case.labels}
    assert html.count("<svg") == 11 and found >= set(CODES)

    class Stop(Exception):
        pass

    def stopped(done: int, total: int | None = None, what: str = "") -> None:
        raise Stop

    with pytest.raises(Stop):
        demo.complete(first, say=say, moved=stopped)
    again = demo.run_demo(load_settings(ptbxl=small_ptbxl), tmp_path, n_cases=36, say=say, moved=moved)
    assert again.n_cases == 19, "the batch in hand stays"
    whole = demo.complete(again, say=say, moved=moved)
    assert whole.n_cases == 36 and whole.rest is None and moves[-1] == (36, 36)
    assert sum(encoded) == 36, "a case was encoded twice"
    assert demo.complete(whole, say=say, moved=stopped) is whole
    capsys.readouterr()
    words = ("demo", "--ptbxl", small_ptbxl, "--out", tmp_path, "--no-open", "--cases", 36, "--json")
    assert json.loads(run(capsys, *words)[1])["n_cases"] == 36
