"""A page is read once for all requests about it: search, draft, curves over it; what was put right is another page."""

from __future__ import annotations

import io
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ecgkin.retrieval.ecg.drawing.raster import render
from ecgkin.retrieval.ecg.page import printed
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.errors import ImageError
from ecgkin.ui.api.readings import Readings
from ecgkin.ui.api.schemas import PageKnown
from ecgkin.ui.api.state import State
from ecgkin.ui.server.app import create_app
from ecgkin.ui.server.serving import in_thread
from ecgkin.ui.settings import load_settings


class PageEncoder(HashingEncoder):
    """One that is shown pages, as the shipped one is."""

    def encode_printed(self, pages: Any) -> NDArray[np.float32]:
        """Of their trace maps."""
        maps = [Image.fromarray((255 * one.page.trace_map).astype(np.uint8)) for one in pages]
        return self.encode_images(maps)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A list that grows by one with each reading of a page."""
    seen: list[Any] = []
    real = printed.read_printed

    def read(*given: Any, **more: Any) -> Any:
        seen.append(given)
        return real(*given, **more)

    monkeypatch.setattr(printed, "read_printed", read)
    return seen


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Readings that take a moment and hold only the picture; a picture one pixel wide cannot be read."""
    seen: list[Any] = []

    class Page:
        def __init__(self, picture: Image.Image) -> None:
            self.picture = picture

    def read(picture: Image.Image, known: Any) -> Any:
        seen.append((picture, known))
        time.sleep(0.05)
        if picture.width == 1:
            raise ImageError("no ECG")
        return Page(picture)

    monkeypatch.setattr(printed, "read_printed", read)
    yield seen


def test_search_draft_and_curves_read_a_page_once(
    simulated_base: Path, tmp_path: Path, made_record: EcgRecord, counted: list[Any]
) -> None:
    """One file, one reading; its time is said by the request that made it; a correction is read anew."""
    folder = tmp_path / "base"
    shutil.copytree(simulated_base, folder)
    settings = load_settings(api_port=0, api_max_seconds=300.0)
    packed = io.BytesIO()
    render(made_record).save(packed, "PNG")
    files = {"file": ("page.png", packed.getvalue())}
    state = State(folder, settings, PageEncoder())
    with (
        in_thread(create_app(settings, state), settings) as url,
        httpx.Client(base_url=url, timeout=300.0, trust_env=False) as http,
    ):
        counted.clear()  # the server has warmed up
        found = http.post("/v1/search", files=files)
        assert found.status_code == 200, found.text
        assert len(counted) == 1 and found.json()["timings_ms"]["read"] > 1
        assert found.json()["timings_ms"]["total"] >= found.json()["timings_ms"]["read"]
        drafted = http.post("/v1/drafts", files=files)
        assert drafted.status_code == 200, drafted.text
        assert drafted.json()["search"]["page"] == found.json()["page"]
        assert http.post("/v1/digitize", files=files, data={"curves": "true"}).status_code == 200
        assert len(counted) == 1
        assert http.post("/v1/search", files=files, data={"known": '{"speed_mm_s": 50}'}).status_code == 200
        assert len(counted) == 2


def test_who_asks_meanwhile_waits(fake: list[Any]) -> None:
    """Eight threads with one page: one reading, and the same page for all."""
    kept = Readings()
    picture = Image.new("RGB", (20, 10))
    got: list[Any] = []
    threads = [threading.Thread(target=lambda: got.append(kept.read(picture, "a"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fake) == 1 and len(got) == 8 and all(one is got[0] for one in got)


def test_what_makes_another_page(fake: list[Any]) -> None:
    """Another file, another page of a document, something put right; a file without a digest is read each time."""
    kept, picture = Readings(), Image.new("RGB", (20, 10))
    for digest, page, known in (
        ("a", None, None),
        ("b", None, None),
        ("a", 2, None),
        ("a", None, PageKnown(gain_mm_mv=5)),
    ):
        for _ in range(2):
            kept.read(picture, digest, page, known)
    assert len(fake) == 4
    kept.read(picture, "")
    kept.read(picture, "")
    assert len(fake) == 6


def test_failures_are_not_kept(fake: list[Any]) -> None:
    """What could not be read is tried again, and locks nobody out."""
    kept, picture = Readings(), Image.new("RGB", (1, 10))
    for _ in range(2):
        with pytest.raises(ImageError):
            kept.read(picture, "a")
    assert len(fake) == 2 and not kept._reading


def test_no_more_is_kept_than_allowed(fake: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """By number, by pixels, by age."""
    few = Readings(most=2)
    for digest in ("a", "b", "c", "c", "b"):
        few.read(Image.new("RGB", (20, 10)), digest)
    assert len(fake) == 3
    few.read(Image.new("RGB", (20, 10)), "a")
    assert len(fake) == 4
    small = Readings(most_pixels=150)
    small.read(Image.new("RGB", (20, 10)), "a")
    small.read(Image.new("RGB", (20, 10)), "a")
    assert len(fake) == 6 and not small._kept
    old = Readings(seconds=10.0)
    old.read(Image.new("RGB", (20, 10)), "a")
    now = time.monotonic()
    monkeypatch.setattr("ecgkin.ui.api.readings.time.monotonic", lambda: now + 60.0)
    old.read(Image.new("RGB", (20, 10)), "a")
    assert len(fake) == 8
