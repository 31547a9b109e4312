"""`ecgkin encoder list` and `ecgkin encoder check`."""

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
    """Run `ecgkin encoder WORDS`: exit status, stdout, stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        status = 0
        try:
            main(["encoder", *(str(word) for word in words)])
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
