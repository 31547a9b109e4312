"""Embeddings of many records: drawn in a layout, or photographed, and kept on disk between runs.

A cached part is found again only for the same encoder (its fingerprint), the same way of drawing (style, and the
sources that draw, damage and read) and the same records.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from ecgkin.generation.research.retrieval.ranking import Floats
from ecgkin.retrieval.ecg.drawing.style import RenderStyle
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl, PtbXlRow
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.errors import ImageError, QueryError

_LOG = logging.getLogger(__name__)

PRIMARY = "3x4+1R"
PHOTO_SEED = 9
_GALLERY = "gallery"
# Modules of ecgkin.retrieval.ecg that a record's trace map comes from, and those besides that a page comes from.
_MAP_SOURCES = (
    "leads.py", "record.py", "searchable.py", "ptbxl.py",
    "drawing/geometry.py", "drawing/style.py", "drawing/traces.py",
    "drawing/trace_map.py",
)  # fmt: skip
_PAGE_SOURCES = ("augment/*.py", "drawing/raster.py", "page/**/*.py")
_PART = 512  # records in a cached part: about half a minute of work that a kill can lose
_BATCH = 32

# 127 dpi: a page of 1400 x 1080 px. Reading a page works at 1100 px anyway, and drawing takes a third of the time that
# it takes at 200 dpi.
_PX_PER_MM = 5.0

LAYOUTS: dict[str, RenderStyle] = {
    PRIMARY: RenderStyle(px_per_mm=_PX_PER_MM),
    "6x2": RenderStyle(layout="6x2", px_per_mm=_PX_PER_MM),
    "12x1": RenderStyle(layout="12x1", px_per_mm=_PX_PER_MM),
    "cabrera": RenderStyle(order="cabrera", px_per_mm=_PX_PER_MM),
    "50mm/s": RenderStyle(speed_mm_s=50.0, px_per_mm=_PX_PER_MM),
}
PHOTO = "photo"
ALL_LAYOUTS: tuple[str, ...] = (*LAYOUTS, PHOTO)

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Embedder:
    """One encoder over one PTB-XL folder, with a cache.

    Attributes:
        data: The folder.
        encoder: Encoder of pictures, records and texts.
        cache: Folder for cached parts; None keeps nothing.
        progress: Called with what is being done, and how many of how many are done.
    """

    data: PtbXl
    encoder: Encoder
    cache: Path | None = None
    progress: Progress | None = None

    def gallery(self, rows: Sequence[PtbXlRow], whole: Sequence[PtbXlRow] | None = None) -> Floats:
        """Case vectors as an ingest makes them (`Encoder.encode_records`), shape (n, dim); `whole`: see `queries`.

        Args:
            rows: The cases.
            whole: See `queries`.

        Returns:
            Unit rows, float32 (n, dim).
        """
        return self._part_of(_GALLERY, rows, whole, self.encoder.encode_records)

    def queries(self, rows: Sequence[PtbXlRow], layout: str, whole: Sequence[PtbXlRow] | None = None) -> Floats:
        """Query vectors: each record drawn as a full page in a layout, then read like any picture, shape (n, dim).

        "photo" is the primary layout after `augment.photograph`, seeded by the record's number.

        Args:
            rows: The queries.
            layout: One of `ALL_LAYOUTS`.
            whole: Rows of which `rows` are a part: where their vectors are kept, nothing is drawn and read again.

        Returns:
            Unit rows, float32 (n, dim); zeros where a page was refused.

        Raises:
            QueryError: No such layout.
        """
        if layout not in ALL_LAYOUTS:
            raise QueryError(f"layout is {layout!r} (expected one of {', '.join(ALL_LAYOUTS)})")
        style = LAYOUTS.get(layout, LAYOUTS[PRIMARY])
        what = f"query|{layout}|{style!r}" + (f"|seed {PHOTO_SEED}" if layout == PHOTO else "")

        def encode(part: list[EcgRecord]) -> Floats:
            return encode_pictures(self.encoder, [draw_query(record, layout) for record in part])

        return self._part_of(what, rows, whole, encode)

    def _part_of(
        self,
        what: str,
        rows: Sequence[PtbXlRow],
        whole: Sequence[PtbXlRow] | None,
        encode: Callable[[list[EcgRecord]], Floats],
    ) -> Floats:
        starts = range(0, len(whole or ()), _PART)
        paths = [self._path(what, (whole or ())[start : start + _PART]) for start in starts]
        if whole is None or not all(path is not None and path.is_file() for path in paths):
            return self.cached(what, rows, encode)
        at = {row.ecg_id: i for i, row in enumerate(whole)}
        return self.cached(what, whole, encode)[[at[row.ecg_id] for row in rows]]

    def texts(self, texts: Sequence[str]) -> Floats:
        """Text vectors, shape (n, dim); each distinct text is encoded once, so equal texts have equal vectors."""
        distinct = list(dict.fromkeys(texts))
        vectors = np.concatenate(
            [self.encoder.encode_texts(distinct[i : i + 256]) for i in range(0, len(distinct), 256)]
        )
        at = {text: i for i, text in enumerate(distinct)}
        return np.asarray(vectors[[at[text] for text in texts]], dtype=np.float32)

    def cached(self, what: str, rows: Sequence[PtbXlRow], encode: Callable[[list[EcgRecord]], Floats]) -> Floats:
        """Vectors made from records in parts, each kept under what it is, the encoder, the drawing and the records.

        Args:
            what: Names the kind of vectors.
            rows: Which records.
            encode: Makes vectors of some records.

        Returns:
            float32 (n, dim).
        """
        parts: list[Floats] = []
        for start in range(0, len(rows), _PART):
            some = rows[start : start + _PART]
            path = self._path(what, some)
            if path is not None and path.is_file():
                parts.append(np.load(path))
            else:
                began = time.perf_counter()
                vectors = np.concatenate(
                    [
                        encode([self.data.record(row) for row in some[i : i + _BATCH]])
                        for i in range(0, len(some), _BATCH)
                    ]
                ).astype(np.float32)
                _LOG.info("embedded %s n=%d s=%.1f", what.split("|")[0], len(some), time.perf_counter() - began)
                if path is not None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    partial = path.with_suffix(f".{os.getpid()}.tmp")
                    with partial.open("wb") as stream:
                        np.save(stream, vectors)
                    partial.replace(path)
                parts.append(vectors)
            if self.progress is not None:
                self.progress(" ".join(what.split("|")[:2]), min(start + _PART, len(rows)), len(rows))
        return np.concatenate(parts)

    def _path(self, what: str, rows: Sequence[PtbXlRow]) -> Path | None:
        if self.cache is None:
            return None
        ids = ",".join(str(row.ecg_id) for row in rows)
        # Another text tower leaves pictures where they are.
        of = getattr(self.encoder, "image_fingerprint", self.encoder.fingerprint)
        source = drawing_fingerprint(pages=what != _GALLERY)
        key = "\n".join((of, source, str(self.data.fs_hz), what, ids))
        return self.cache / f"{hashlib.blake2b(key.encode(), digest_size=12).hexdigest()}.npy"


def encode_pictures(encoder: Encoder, pictures: Sequence[Image.Image]) -> Floats:
    """Vectors of pictures, shape (n, dim); a picture that is refused gets zeros, which no ranking is kind to.

    An evaluation must count such a query as lost, neither skip it nor stop.

    Args:
        encoder: Who encodes.
        pictures: RGB pictures.

    Returns:
        float32 (n, dim).
    """
    try:
        return encoder.encode_images(pictures)
    except ImageError as error:
        if len(pictures) == 1:
            _LOG.warning("a query picture was refused and counts as lost: %s", error)
            return np.zeros((1, encoder.dim), dtype=np.float32)
        return np.concatenate([encode_pictures(encoder, [picture]) for picture in pictures])


def draw_query(record: EcgRecord, layout: str) -> Image.Image:
    """The page that stands for a record in a layout; "photo" is the same picture on every machine and in every run.

    Args:
        record: The ECG.
        layout: One of `ALL_LAYOUTS`, or "photo".

    Returns:
        RGB picture.
    """
    from ecgkin.retrieval.ecg.drawing.raster import render, render_array

    if layout != PHOTO:
        return render(record, LAYOUTS[layout])
    from ecgkin.retrieval.ecg.augment.photograph import photograph

    number = int(hashlib.blake2b(record.record_id.encode(), digest_size=4).hexdigest(), 16)
    rng = np.random.default_rng([PHOTO_SEED, number])
    return Image.fromarray(photograph(render_array(record, LAYOUTS[PRIMARY]), rng))


@lru_cache(maxsize=2)
def drawing_fingerprint(*, pages: bool) -> str:
    """Hash over the sources that decide what a picture looks like.

    Args:
        pages: Whether full pages are drawn, damaged and read again; case vectors come from trace maps alone.
    """
    import ecgkin.retrieval.ecg as package

    digest = hashlib.blake2b(digest_size=12)
    folder = Path(package.__path__[0])
    for pattern in (*_MAP_SOURCES, *(_PAGE_SOURCES if pages else ())):
        for path in sorted(folder.glob(pattern)):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
