"""A picture read once: page, signals, their places, and what a case keeps of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from ecgkin.retrieval.ecg import RenderStyle, render, simulate
from ecgkin.retrieval.ecg.page import printed as module
from ecgkin.retrieval.ecg.page.corrections import Corrections
from ecgkin.retrieval.ecg.page.places import doubtful_share, lines_of
from ecgkin.retrieval.ecg.page.printed import PrintedEcg, read_printed
from ecgkin.retrieval.errors import ImageError
from ecgkin.retrieval.notes import Note, NoteCode

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return render(simulate(["NORM"], np.random.default_rng(4)).record, RenderStyle(px_per_mm=6))


@pytest.fixture(scope="module")
def printed(picture: Image.Image) -> PrintedEcg:
    return read_printed(picture)


def test_signals_and_page_are_of_one_reading(printed: PrintedEcg, picture: Image.Image) -> None:
    assert printed.picture is picture and printed.digitized is not None and printed.record is not None
    assert printed.page is printed.digitized.page and printed.page.layout == "3x4+1R"
    assert printed.record.missing_leads == () and printed.sure > 0.9


def test_what_a_case_keeps_says_that_it_was_read_off_a_picture(printed: PrintedEcg) -> None:
    kept, mark = printed.stored, printed.mark()
    assert kept is not None and isinstance(kept.notes[0], Note) and kept.notes[0].code is NoteCode.DIGITISED
    assert json.loads(json.dumps(mark)) == mark
    assert mark["layout"] == "3x4+1R" and mark["gain_mm_mv"] == 10.0 and set(mark["confidence"]) == set(kept.leads)


def test_curves_lie_on_the_ink_of_the_picture(printed: PrintedEcg, picture: Image.Image) -> None:
    assert printed.digitized is not None
    dark = np.asarray(picture.convert("L"))
    for stretch in printed.digitized.stretches:
        lines = lines_of(printed.digitized, stretch)
        assert lines and doubtful_share(printed.digitized, stretch) < 0.1
        points = np.concatenate([line.points for line in lines]).round().astype(int)
        assert (dark[points[:, 1], points[:, 0]] < 140).mean() > 0.9


def test_a_page_without_curves_goes_by_its_picture(
    picture: Image.Image, printed: PrintedEcg, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: object) -> None:
        raise ImageError("no curves")

    monkeypatch.setattr(module, "digitize_look", nothing)
    found = read_printed(picture)
    assert found.record is None and found.digitized is None and found.mark() == {} and found.stored is None
    assert [note.code for note in found.page.warnings][-1] is NoteCode.NOT_DIGITISED
    assert found.page.trace_map.any()
    # Somebody who put something right is told why it does not fit.
    with pytest.raises(ImageError, match="no curves"):
        read_printed(picture, Corrections(gain_mm_mv=5.0))


def test_curves_that_are_not_sure_are_left_out(printed: PrintedEcg, monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed.digitized is not None
    printed.digitized.confidence["V3"], before = 0.1, printed.digitized.confidence["V3"]
    try:
        kept = module.usable(printed.digitized)
        assert kept is not None and kept.missing_leads == ("V3",)
    finally:
        printed.digitized.confidence["V3"] = before
    monkeypatch.setattr(module, "SURE", 1.1)
    assert module.usable(printed.digitized) is None


def test_a_blank_page_is_refused() -> None:
    with pytest.raises(ImageError):
        read_printed(Image.new("RGB", (900, 600), "white"))
