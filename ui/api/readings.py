"""Pages that were read a moment ago: a search, the draft under it and the curves over it come from one reading."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

    from ecgkin.retrieval.ecg.page.printed import PrintedEcg
    from ecgkin.ui.api.schemas import PageKnown

MOST, MOST_PIXELS, SECONDS = 8, 40_000_000, 600.0


class Readings:
    """Reads pictures, each once for as long as it is kept. For threads: who asks for a page that is being read waits.

    Nothing of it goes to disk, and a page is only found by who sends the same file again.

    Args:
        most: Pages that are kept.
        most_pixels: Of them together; a larger one is read and not kept.
        seconds: How long one is kept after it was read.
    """

    def __init__(self, most: int = MOST, most_pixels: int = MOST_PIXELS, seconds: float = SECONDS) -> None:
        self.most, self.most_pixels, self.seconds = most, most_pixels, seconds
        self._turn = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[float, PrintedEcg]] = OrderedDict()
        self._reading: dict[Hashable, threading.Lock] = {}

    def read(self, picture: Image, digest: str, page: int | None = None, known: PageKnown | None = None) -> PrintedEcg:
        """What `read_printed` makes of a picture.

        Args:
            picture: Upright, RGB; not changed.
            digest: Of the file that it came from.
            page: Of a document.
            known: What its reading got wrong, put right.

        Returns:
            The page; the same object for everyone.

        Raises:
            ImageError, QueryError: As `read_printed`; a failure is not kept.
        """
        from ecgkin.retrieval.ecg.page.corrections import Corrections
        from ecgkin.retrieval.ecg.page.printed import read_printed

        corrections = Corrections() if known is None else known.corrections()
        if not digest:
            return read_printed(picture, corrections)
        key = (digest, page, picture.size, None if known is None else known.model_dump_json())
        with self._turn:
            mine = self._reading.setdefault(key, threading.Lock())
        with mine:
            try:
                found = self._found(key)
                if found is None:
                    found = read_printed(picture, corrections)
                    self._keep(key, found)
            finally:
                with self._turn:
                    if self._reading.get(key) is mine:
                        del self._reading[key]
        return found

    def _found(self, key: Hashable) -> PrintedEcg | None:
        with self._turn:
            self._trim()
            kept = self._kept.get(key)
            return None if kept is None else kept[1]

    def _keep(self, key: Hashable, printed: PrintedEcg) -> None:
        with self._turn:
            self._kept[key] = (time.monotonic(), printed)
            self._kept.move_to_end(key)
            self._trim()

    def _trim(self) -> None:
        """Let go of what is old or too much; the oldest first."""
        now = time.monotonic()
        pixels = sum(one.picture.width * one.picture.height for _, one in self._kept.values())
        for key, (read_at, one) in list(self._kept.items()):
            if now - read_at <= self.seconds and len(self._kept) <= self.most and pixels <= self.most_pixels:
                return
            pixels -= one.picture.width * one.picture.height
            del self._kept[key]
