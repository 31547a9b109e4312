"""Pictures that become cases: their signals are stored, marked, drawn and encoded again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ecgkin.index import create_base, open_base
from ecgkin.index.case import DIGITISED, Case
from ecgkin.index.ingest.pipeline import ingest_records
from ecgkin.index.sources.folder import folder_items
from ecgkin.index.sources.items import IngestItem
from ecgkin.index.transfer.copy import copy_base
from ecgkin.retrieval.ecg import EcgRecord, RenderStyle, render, simulate
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.notes import NoteCode

pytestmark = pytest.mark.weights
ENCODER = HashingEncoder(32)


@pytest.fixture(scope="module")
def records() -> list[EcgRecord]:
    return [simulate([code], np.random.default_rng(seed)).record for seed, code in enumerate(("NORM", "AFIB"))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, records: list[EcgRecord]) -> Path:
    """A page as PNG, and two pages in one TIFF file."""
    root = tmp_path_factory.mktemp("paper")
    pages = [render(record, RenderStyle(px_per_mm=6)) for record in records]
    pages[0].save(root / "one.png")
    pages[1].save(root / "two.tiff", save_all=True, append_images=[pages[0].copy()])
    return root


def test_their_signals_are_stored_and_marked(folder: Path, tmp_path: Path, records: list[EcgRecord]) -> None:
    base = create_base(tmp_path / "base", ENCODER.name, ENCODER.fingerprint, ENCODER.dim)
    with base:
        report = ingest_records(base, folder_items(folder), ENCODER)
        assert report.added == 3 and not report.failed
        names = sorted(case.case_id.rpartition("/")[2] for case in base.cases())
        assert names == ["one.png", "two.tiff#1", "two.tiff#2"]
        case = next(case for case in base.cases() if case.case_id.endswith("one.png"))
        assert case.is_digitised and case.meta[DIGITISED]["layout"] == "3x4+1R"
        kept = base.record(case.case_id)
        assert kept is not None and kept.fs_hz == 500.0 and str(kept.notes[0]).startswith("read off a picture")
        truth = records[0].resampled(500.0).lead("II")
        strip = kept.lead("II")
        assert truth is not None and strip is not None
        n = min(len(truth), len(strip))
        known = np.isfinite(strip[:n])
        assert known.mean() > 0.95 and np.corrcoef(strip[:n][known], truth[:n][known])[0, 1] > 0.97
        again = ingest_records(base, folder_items(folder), ENCODER)
        assert again.skipped == 3 and not again.added
    # What was read off them is enough for another encoder, of signals or of drawings.
    other = HashingEncoder(48)
    with open_base(tmp_path / "base") as base:
        assert copy_base(base, tmp_path / "anew", encoder=other).added == 3


def test_samples_are_left_out_where_they_are_not_wanted(folder: Path, tmp_path: Path) -> None:
    with create_base(tmp_path / "base", ENCODER.name, ENCODER.fingerprint, ENCODER.dim) as base:
        ingest_records(base, folder_items(folder), ENCODER, keep_records=False)
        assert all(base.record(case.case_id) is None for case in base.cases())


def test_what_shows_no_ecg_is_left_to_the_encoder(tmp_path: Path) -> None:
    """An encoder of plain pictures takes it without samples; one of pages refuses it."""
    item = IngestItem(Case("x/blank"), lambda: Image.new("RGB", (400, 300), "white"))
    with create_base(tmp_path / "base", ENCODER.name, ENCODER.fingerprint, ENCODER.dim) as base:
        assert ingest_records(base, [item], ENCODER).added == 1 and base.record("x/blank") is None
        assert not base.get("x/blank").is_digitised

    class OfPages(HashingEncoder):
        def encode_printed(self, printed: object) -> np.ndarray:
            raise AssertionError("a picture without an ECG was encoded")

    of_pages = OfPages(32)
    with create_base(tmp_path / "pages", of_pages.name, of_pages.fingerprint, of_pages.dim) as base:
        failed = ingest_records(base, [item], of_pages).failed
        assert [name for name, _ in failed] == ["x/blank"]


def test_a_search_names_the_other_page(folder: Path) -> None:
    from ecgkin.retrieval.ecg.formats.pictures import open_picture, picture_notes

    (note,) = picture_notes(open_picture(folder / "two.tiff"))
    assert getattr(note, "code", None) is NoteCode.PAGE_OF_DOCUMENT and "2 pages" in note
    assert open_picture(folder / "two.tiff", 2).size == open_picture(folder / "one.png").size
