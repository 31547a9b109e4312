"""`ecgkin encoder list`, `ecgkin encoder check`, `ecgkin evaluate zero-shot`, `ecgkin evaluate regen`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from published_made import FIXTURES, record

from ecgkin.index.case import Case
from ecgkin.index.transfer.export import write_wfdb
from ecgkin.ui.cli.main import main


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `ecgkin encoder WORDS` (or `ecgkin evaluate WORDS`): exit status, stdout, stderr."""

    def run(*words: object, group: str = "encoder") -> tuple[int, str, str]:
        status = 0
        try:
            main([group, *(str(word) for word in words)])
        except SystemExit as stopped:
            status = int(stopped.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_list(call: Callable[..., tuple[int, str, str]]) -> None:
    status, out, _ = call("list")
    assert status == 0
    for word in ("default", "merl:DIR", "d-beta:DIR", "ecgfounder:FILE", "more:DIR", "res18_best_ckpt", "CC BY-NC 4.0"):
        assert word in out
    listed = json.loads(call("list", "--json")[1])
    assert [one["key"] for one in listed["published"]] == ["merl", "d-beta", "ecgfounder", "more"]
    assert "hashing" in listed["shipped"]


def test_check(call: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    place = f"d-beta:{FIXTURES / 'd-beta'}"
    heas = [write_wfdb(tmp_path, Case(case_id=case), record(case)) for case in ("sinus", "wander")]
    options = [word for path in heas for word in ("--ecg", path)]
    status, out, _ = call("check", place, *options)
    assert status == 0
    assert "not the published file" in out
    assert "between 2 given ECGs" in out
    said = json.loads(call("check", place, "--json", *options)[1])
    assert (said["ok"], said["is_published_file"], said["dim"]) == (True, False, 40)


def test_check_of_nothing(call: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    status, out, err = call("check", f"merl:{tmp_path}")
    assert status == 4
    assert "no checkpoint of MERL" in out
    assert "cannot be used as it is: loads" in err
    status, _, err = call("check", "clip:/weights")
    assert status == 2
    assert "no published encoder 'clip'" in err


def test_zero_shot(call: Callable[..., tuple[int, str, str]], made_ptbxl: Path, tmp_path: Path) -> None:
    words = ("zero-shot", "--ptbxl", made_ptbxl, "--encoder", "hashing", "--encoder", "merl", "--resamples", 10)
    status, out, _ = call(*words, "--query-folds", "7-9", "--gallery-folds", "1-6", "--out", tmp_path, group="evaluate")
    assert status == 0
    assert "weights not at hand" in out
    assert "Retrieval, recordings among recordings" in out
    assert json.loads((tmp_path / "zero_shot.json").read_text())["rows"]["MERL"]["form"]["why"] == "weights not at hand"
    assert (tmp_path / "zero_shot.md").read_text().startswith("# Zero-shot")
    status, _, err = call(*words, "--split", "cpsc=here", group="evaluate")
    assert status == 2
    assert "expected cpsc2018=FILE@FOLDER" in err


def test_regen(call: Callable[..., tuple[int, str, str]], made_ptbxl: Path, tmp_path: Path) -> None:
    words = ("regen", "--ptbxl", made_ptbxl, "--encoder", "hashing", "--resamples", 10, "--ks", "1,3")
    status, out, _ = call(*words, "--out", tmp_path, group="evaluate")
    assert status == 0
    assert "most frequent report" in out
    assert set(json.loads((tmp_path / "regen.json").read_text())) == {"about", "arms", "answers", "unread", "examples"}
