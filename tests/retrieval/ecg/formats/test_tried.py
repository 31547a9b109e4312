"""Documents that come unattended: one that would never end costs seconds, and what comes after it is read."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from pdf_made import from_svg
from PIL import Image

from ecgkin.index.ingest.pipeline import ingest_records, open_or_create
from ecgkin.index.sources.folder import folder_items
from ecgkin.retrieval.ecg.formats import tried
from ecgkin.retrieval.ecg.formats.pictures import is_picture, open_ecg
from ecgkin.retrieval.ecg.formats.tried import check_document, check_file, open_unattended
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.errors import ImageError, InputError

HOSTILE = Path(__file__).parents[3] / "fixtures" / "hostile"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "pages" / "page.pdf"
    path.parent.mkdir()
    path.write_bytes(from_svg(simulate(("NORM",), np.random.default_rng(1)).record))
    return path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second of processor time for a page, whoever asks."""
    monkeypatch.setattr(tried, "_PATIENCE", 100.0)
    ended = tried._Trial.ended
    monkeypatch.setattr(tried._Trial, "ended", lambda self, path, page, seconds: ended(self, path, page, 0.5))


@pytest.mark.usefixtures("quick")
def test_a_document_without_end_is_refused_and_the_next_is_read(page: Path) -> None:
    bomb = HOSTILE / "bomb.pdf"
    with pytest.raises(ImageError, match=r"bomb\.pdf cannot be decoded within"):
        open_unattended(bomb)
    found = open_unattended(page)
    assert isinstance(found, EcgRecord) and found.n_samples > 1000
    check_document(bomb, 0)  # counting its pages is no work


def test_what_is_wrong_with_a_document_is_said_by_who_opens_it(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4 nothing")
    check_document(tmp_path / "a.pdf")
    with pytest.raises(ImageError, match="cannot be opened"):
        open_unattended(tmp_path / "a.pdf")
    Image.new("RGB", (200, 100), "white").save(tmp_path / "b.png")
    assert isinstance(open_unattended(tmp_path / "b.png"), Image.Image)


def test_a_trial_that_was_killed_is_replaced(page: Path) -> None:
    check_document(page)
    first = tried._TRIAL._process
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    check_document(page)
    assert tried._TRIAL._process is not None and tried._TRIAL._process.pid != first.pid


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked on POSIX")
def test_a_forked_process_has_its_own(page: Path) -> None:
    check_document(page)
    assert tried._TRIAL._process is not None
    ours = tried._TRIAL._process.pid
    child = os.fork()
    if child == 0:
        check_document(page)
        process = tried._TRIAL._process
        assert process is not None
        own = process.pid != ours
        process.kill()
        os._exit(0 if own else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    check_document(page)
    assert tried._TRIAL._process.pid == ours


def test_none_can_be_started(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tried, "_TRIAL", tried._Trial())
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(ImageError, match="cannot be started"):
        check_document(page)


@pytest.mark.usefixtures("quick")
def test_an_ingest_goes_on(page: Path, tmp_path: Path) -> None:
    """One hostile document among others is named in the report."""
    (page.parent / "bomb.pdf").write_bytes((HOSTILE / "bomb.pdf").read_bytes())
    encoder = HashingEncoder()
    with open_or_create(tmp_path / "base", encoder) as base:
        report = ingest_records(base, folder_items(page.parent), encoder)
    assert report.added == 1
    assert [title.rpartition("/")[2] for title, _ in report.failed] == ["bomb.pdf"]
    assert "cannot be decoded within" in report.failed[0][1]


@pytest.mark.parametrize("name", ["a" * 600, "a" * 600 + ".pdf", "a\0b.pdf"])
def test_names_that_no_disk_takes_are_refused(name: str) -> None:
    assert not is_picture(name) or name.endswith(".pdf")
    for opened in (check_file, open_ecg, open_unattended):
        with pytest.raises(InputError, match="cannot be read"):
            opened(name)
