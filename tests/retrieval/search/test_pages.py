"""Searches by pictures: read once, thresholds by how well they were read, unreadable apart from unlike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ecgkin.generation.drafter import Drafter
from ecgkin.generation.research.retrieval.protocol import stranger_records
from ecgkin.index import create_base
from ecgkin.index.case import Case
from ecgkin.retrieval.ecg import EcgRecord, RenderStyle, render, simulate
from ecgkin.retrieval.ecg.page import printed as module
from ecgkin.retrieval.ecg.page import reading
from ecgkin.retrieval.ecg.page.corrections import Corrections
from ecgkin.retrieval.ecg.page.printed import PrintedEcg
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.notes import NoteCode
from ecgkin.retrieval.search.search import CaseSearch
from ecgkin.retrieval.search.vote import Calibration, Threshold, VoteRule

pytestmark = pytest.mark.weights


class OfPages(HashingEncoder):
    """Its vector of a page is where the ink is."""

    def encode_printed(self, printed: Sequence[PrintedEcg]) -> np.ndarray:
        maps = [one.seen.trace_map for one in printed]
        blocks = [ink.reshape(16, 16, 32, 16).mean(axis=(1, 3)).ravel()[: self.dim] for ink in maps]
        rows = np.stack(blocks) + 1e-3
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


ENCODER = OfPages(64)


def record(seed: int, code: str = "NORM") -> EcgRecord:
    return simulate([code], np.random.default_rng(seed)).record


def page(of: EcgRecord) -> Image.Image:
    return render(of, RenderStyle(px_per_mm=6))


def calibration(**scores: float) -> Calibration:
    limits = {f"image:{grade}": Threshold(score, 0.05, 0.05, 0.9, 9, 9) for grade, score in scores.items()}
    limits["image"] = Threshold(3.0, 0.05, 0.05, 0.9, 9, 9)
    return Calibration(ENCODER.fingerprint, VoteRule(5, 0.1), VoteRule(5, 0.1), {}, limits, n_gallery=8)


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CaseSearch]:
    """Over eight normal pages."""
    base = create_base(tmp_path_factory.mktemp("pages") / "base", ENCODER.name, ENCODER.fingerprint, ENCODER.dim)
    read = [module.read_printed(page(record(seed))) for seed in range(8)]
    cases = [Case(f"page/{seed}", labels={"NORM": 100.0}, content_hash=f"{seed:032x}") for seed in range(8)]
    base.add(cases, np.concatenate([ENCODER.encode_printed([one]) for one in read]))
    with CaseSearch(base, ENCODER) as made:
        yield made


def test_a_picture_is_read_once_for_search_and_measurement(search: CaseSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    original = reading.look_at

    def counted(*given: Any, **named: Any) -> Any:
        seen.append(1)
        return original(*given, **named)

    monkeypatch.setattr(module, "look_at", counted)
    done = Drafter(search).draft(page(record(3)), hits=3)
    assert len(seen) == 1 and done.search[0].case.case_id == "page/3"
    assert done.search.printed is not None and done.search.page is done.search.printed.page
    assert 40 < done.draft.measurements["rate_bpm"] < 120
    # What has been read is not read again.
    again = search.by_image(done.search.printed, 3)
    assert len(seen) == 1 and [hit.case.case_id for hit in again] == [hit.case.case_id for hit in done.search]


def test_thresholds_go_by_how_well_a_page_was_read(search: CaseSearch) -> None:
    ecg = page(record(11))
    (noise,) = stranger_records([record(2).resampled(500.0)])
    for limits, picture, abstained in (
        ({"sure": 0.1, "poor": 2.0}, ecg, ""),
        ({"sure": 2.0, "poor": 0.1}, ecg, "unlike"),
        ({"sure": 0.1, "poor": 2.0}, page(noise), "unreadable"),
    ):
        found = CaseSearch(search.base, ENCODER, calibration(**limits)).by_image(picture)
        assert found.abstained == abstained and found.nothing_similar == bool(abstained)
        codes = {note.code for note in found.warnings}
        assert (NoteCode.PAGE_UNREADABLE in codes) == (abstained == "unreadable")
        assert (NoteCode.NOTHING_SIMILAR in codes) == bool(abstained)
    # Without thresholds for grades that of pictures counts.
    assert CaseSearch(search.base, ENCODER, calibration()).by_image(ecg).threshold == 3.0


def test_without_a_similar_case_there_are_numbers_where_the_page_was_read(search: CaseSearch) -> None:
    (noise,) = stranger_records([record(2).resampled(500.0)])
    strict = Drafter(CaseSearch(search.base, ENCODER, calibration(sure=2.0, poor=2.0, fair=2.0)))
    unlike, unread = (strict.draft(picture).draft for picture in (page(record(11)), page(noise)))
    assert unlike.refusal and unlike.measurements["rate_bpm"] > 30 and "/min" in unlike.text
    assert unread.refusal and not unread.measurements
    assert "could not be read" in unread.text and "nothing similar" in unlike.text


def test_what_was_put_right_is_searched(search: CaseSearch) -> None:
    put = module.read_printed(page(record(3)), Corrections(speed_mm_s=50.0))
    found = search.by_image(put, 3)
    assert found.page is not None and found.page.speed_mm_s == 50.0
    assert found[0].score < search.by_image(page(record(3)), 3)[0].score


def test_a_page_that_cannot_be_followed_is_searched_by_its_picture(
    search: CaseSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "usable", lambda found: None)
    found = search.by_image(page(record(3)), 3)
    assert found[0].case.case_id == "page/3" and found.printed is not None and found.printed.record is None
    assert NoteCode.NOT_DIGITISED in {note.code for note in found.warnings}


def test_an_encoder_of_signals_finds_pictures_by_their_signals(tmp_path: Path) -> None:
    class OfSignals(HashingEncoder):
        reads_signals = True

    encoder = OfSignals(32)
    base = create_base(tmp_path / "base", encoder.name, encoder.fingerprint, encoder.dim)
    printed = module.read_printed(page(record(3)))
    assert printed.record is not None
    base.add([Case("x/1")], encoder.encode_records([replace(printed.record)]))
    with CaseSearch(base, encoder) as search:
        assert search.by_image(page(record(3)))[0].score == pytest.approx(1.0, abs=1e-4)
