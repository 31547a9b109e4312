"""`ecgkin ingest` stopped by Ctrl-C: what is kept is said, and an ingest that took nothing in leaves nothing."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ecgkin.index import open_base
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.ui.cli.main import main

Ingest = Callable[[Path], tuple[int, str, str]]


@pytest.fixture
def ingest(made_ptbxl: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ingest:
    """Run `ecgkin ingest ptbxl ... --base PATH` in batches of eight; status, stdout and stderr."""
    monkeypatch.setenv("ECGKIN_ENCODER", "hashing")

    def run(base: Path) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(["ingest", "ptbxl", str(made_ptbxl), "--base", str(base), "--batch", "8", "--json"])
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts: where the tests run in the background it would be ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted_at(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Press Ctrl-C while the batch with this number is encoded."""
    encode, seen = HashingEncoder.encode_records, 0

    def encode_records(self: HashingEncoder, records: Sequence[EcgRecord]) -> NDArray[np.float32]:
        nonlocal seen
        seen += 1
        if seen == call:
            signal.raise_signal(signal.SIGINT)
        return encode(self, records)

    monkeypatch.setattr(HashingEncoder, "encode_records", encode_records)


def test_what_is_kept_is_said_and_goes_on(ingest: Ingest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches of eight are in when the third is interrupted; the same command takes the rest."""
    base = tmp_path / "base"
    with monkeypatch.context() as patched:
        interrupted_at(3, patched)
        status, out, err = ingest(base)
    assert (status, out) == (130, "")
    assert f"kept: 16 cases in {base}; the same command goes on from there" in err and "ecgkin: stopped" in err
    with open_base(base) as opened:
        opened.verify()
        assert len(opened) == 16
    status, out, err = ingest(base)
    assert status == 0, err
    assert json.loads(out)["added"] == 44 and json.loads(out)["skipped"] == 16


def test_nothing_kept_leaves_no_folder(ingest: Ingest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted in the first batch, a base that was made for it is gone; an empty folder that was there stays."""
    interrupted_at(1, monkeypatch)
    status, _, err = ingest(tmp_path / "new")
    assert status == 130 and "nothing was kept" in err and not (tmp_path / "new").exists()
    (tmp_path / "mine").mkdir()
    interrupted_at(1, monkeypatch)
    assert ingest(tmp_path / "mine")[0] == 130
    assert list((tmp_path / "mine").iterdir()) == []


def test_nothing_readable_leaves_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder in which no file is an ECG makes no case base, one that stood before is left alone."""
    monkeypatch.setenv("ECGKIN_ENCODER", "hashing")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.csv").write_text("no ECG\n")
    words = ["ingest", "folder", str(tmp_path / "files"), "--base", str(tmp_path / "base")]
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2 and "a.csv" in capsys.readouterr().err
    assert not (tmp_path / "base").exists()
