"""Pictures as vectors: each encoder is given what it looks at, and both maps of a page count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ecgkin.retrieval.ecg import EcgRecord, RenderStyle, render, simulate
from ecgkin.retrieval.ecg.page.corrections import Corrections
from ecgkin.retrieval.ecg.page.printed import PrintedEcg, read_printed
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.encoders.pictures import encode_printed, reads_pages
from ecgkin.retrieval.errors import ImageError

pytestmark = pytest.mark.weights


class OfPages(HashingEncoder):
    """Its vector of a page is where the ink is."""

    def encode_printed(self, printed: Sequence[PrintedEcg]) -> np.ndarray:
        maps = [one.seen.trace_map for one in printed]
        rows = np.stack([ink.reshape(16, 16, 32, 16).mean(axis=(1, 3)).ravel()[: self.dim] for ink in maps])
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture(scope="module")
def record() -> EcgRecord:
    return simulate(["NORM"], np.random.default_rng(4)).record


@pytest.fixture(scope="module")
def printed(record: EcgRecord) -> PrintedEcg:
    return read_printed(render(record, RenderStyle(px_per_mm=6)))


def test_the_signals_draw_what_the_page_shows(printed: PrintedEcg) -> None:
    drawn = printed.signal_page
    assert drawn is not None
    one, two = (page.trace_map > 100 for page in (printed.page, drawn))
    from scipy.ndimage import binary_dilation

    assert (one & binary_dilation(two, iterations=2)).sum() > 0.93 * one.sum()
    assert (two & binary_dilation(one, iterations=2)).sum() > 0.93 * two.sum()


def test_an_encoder_of_pages_is_shown_the_ink(printed: PrintedEcg) -> None:
    encoder = OfPages(64)
    assert printed.seen is printed.page
    vectors = encode_printed(encoder, [printed, printed])
    np.testing.assert_array_equal(vectors, encoder.encode_printed([printed, printed]))
    assert encode_printed(encoder, []).shape == (0, 64)


def test_what_was_put_right_is_known_to_the_signals_alone(printed: PrintedEcg) -> None:
    put = replace(printed, known=Corrections(gain_mm_mv=5.0))
    assert put.seen.trace_map is not put.page.trace_map
    cut = replace(printed, known=Corrections(corners=((0.0, 0.0), (900.0, 0.0), (900.0, 700.0), (0.0, 700.0))))
    assert cut.seen is cut.page
    without = replace(put, record=None, digitized=None)
    assert without.seen is without.page


def test_an_encoder_of_signals_is_given_signals(printed: PrintedEcg) -> None:
    asked: list[EcgRecord] = []

    def encode_records(records: Sequence[EcgRecord]) -> np.ndarray:
        asked.extend(records)
        return np.ones((len(records), 3), dtype=np.float32)

    encoder: Any = SimpleNamespace(name="signals", dim=3, reads_signals=True, encode_records=encode_records)
    assert reads_pages(encoder) and encode_printed(encoder, [printed]).shape == (1, 3)
    assert asked == [printed.record]
    with pytest.raises(ImageError, match="compares signals"):
        encode_printed(encoder, [replace(printed, record=None)])


def test_any_other_is_given_the_picture(printed: PrintedEcg) -> None:
    encoder = HashingEncoder(32)
    assert not reads_pages(encoder)
    np.testing.assert_array_equal(encode_printed(encoder, [printed]), encoder.encode_images([printed.picture]))
    assert isinstance(printed.picture, Image.Image)
