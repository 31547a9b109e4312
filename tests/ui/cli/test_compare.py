"""`ecgkin compare`, and `--previous` of search and draft, called as a person would call them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ecgkin.index import open_base
from ecgkin.index.case import Case, content_hash
from ecgkin.retrieval.ecg.drawing.raster import render
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.ui.cli.main import main


def record(code: str) -> EcgRecord:
    return simulate([code], np.random.default_rng(4), fs_hz=250.0, rate_bpm=70.0).record


def as_csv(made: EcgRecord, path: Path) -> Path:
    times = np.arange(made.n_samples) / made.fs_hz
    header = ",".join(("time_s", *(f"{name} (mV)" for name in made.leads)))
    np.savetxt(
        path, np.column_stack([times, made.signal_mv.T]), delimiter=",", header=header, comments="", fmt="%.6f"
    )  # fmt: skip
    return path


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return as_csv(record("NORM"), tmp_path / "a.csv"), as_csv(record("CLBBB"), tmp_path / "b.csv")


@pytest.fixture
def base(simulated_base: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    shutil.copytree(simulated_base, folder)
    old = record("NORM")
    case = Case("own/1", "anna", recorded_at="2001-02-03", labels={"NORM": 100.0}, content_hash=content_hash(old))
    with open_base(folder, HashingEncoder()) as opened:
        opened.add([case], HashingEncoder().encode_records([old]), [old])
    return folder


def run(*words: object) -> None:
    """Run a command that ends without a mistake."""
    try:
        main([str(word) for word in words])
    except SystemExit as stopped:
        assert not stopped.code, stopped.code


def test_two_files(files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overlay = tmp_path / "beats.svg"
    run("compare", *files, "--overlay", overlay)
    told = capsys.readouterr()
    assert "new: LBBB" in told.out and "QRS" in told.out and "AHA" in told.err
    svg = overlay.read_text()
    assert svg.startswith("<svg") and svg.count("stroke-dasharray") == 13 and "V6" in svg
    run("compare", *reversed(files), "--lang", "de")
    assert "nicht mehr: Linksschenkelblock" in capsys.readouterr().out
    run("compare", files[0], files[0], "--json")
    same = json.loads(capsys.readouterr().out)
    assert same["changes"] == [] and same["rows"][0]["change"] == 0.0


def test_a_page_against_a_case(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.png"
    render(record("NORM")).save(page)
    run("compare", "own/1", page, "--base", base, "--json")
    told = json.loads(capsys.readouterr().out)
    assert told["recorded_at"] == "2001-02-03" and set(told["beats_mv"]) >= {"II", "V1", "V5"}
    with pytest.raises(SystemExit):
        main(["compare", "own/2", str(page), "--base", str(base)])
    assert "neither a file nor a case" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["compare", "own/1", str(page)])
    assert "--base" in capsys.readouterr().err


def test_previous_of_search_and_draft(
    base: Path, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECGKIN_ENCODER", "hashing")
    run("search", base, files[1], "--previous", "anna", "--json", "--encoder", "hashing")
    found = json.loads(capsys.readouterr().out)
    assert found["previous"]["compared_with"] == "own/1" and found["previous"]["earlier"][0]["case_id"] == "own/1"
    assert "own/1" not in [hit["case"]["case_id"] for hit in found["hits"]]
    page = base.parent / "page.png"
    render(record("NORM")).save(page)
    run("search", base, page, "--previous", "own/1", "--json", "--encoder", "hashing")
    assert json.loads(capsys.readouterr().out)["previous"]["rows"][0]["after"] == pytest.approx(70, abs=3)
    run("draft", base, files[1], "--previous", "own/1", "--encoder", "hashing")
    assert "new: LBBB" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit):
        main(["search", str(base), "--text", "LBBB", "--previous", "anna", "--encoder", "hashing"])
    assert "needs an ECG" in capsys.readouterr().err
