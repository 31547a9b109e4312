"""Training pictures, drawn on the fly: each epoch every record has another layout, paper and damage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecgkin.retrieval.ecg.drawing.trace_map import CLEAN, TRAINING, draw_trace_map, random_style
from ecgkin.retrieval.encoders.training.corpus import Corpus
from ecgkin.retrieval.encoders.training.fields import field_map, training_field_map
from ecgkin.retrieval.encoders.training.settings import TrainSettings
from ecgkin.retrieval.errors import EcgkinError

_GRIDS = ("pink", "red", "blue", "green", "grey", "none")
_INKS = ((16, 16, 24), (0, 0, 0), (40, 40, 48), (30, 30, 110), (90, 90, 100))


def training_map(
    corpus: Corpus, row: int, seed: int, epoch: int, page_share: float, picture: str = "paper"
) -> NDArray[np.uint8]:
    """The picture of one record in one epoch, uint8 (channels, 256, 512); the same for the same arguments.

    Args:
        corpus: Where the records are.
        row: Corpus row of the record.
        seed: Of the training.
        epoch: Each has its own drawing.
        page_share: Share of the pictures that are drawn as a full page, photographed and read again.
        picture: "paper" or "fields".

    Returns:
        uint8 (channels, 256, 512).
    """
    rng = np.random.default_rng((seed, epoch, row))
    if picture == "fields":
        return training_field_map(corpus.record(row), rng)
    if rng.random() < page_share:
        try:
            return _page_map(corpus, row, rng)[None]
        except EcgkinError:
            pass  # a page that was damaged beyond reading teaches nothing; draw it plainly instead
    return draw_trace_map(corpus.record(row), random_style(rng), TRAINING, rng)[None]


def _page_map(corpus: Corpus, row: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A full page, photographed or scanned, and read again, as queries are."""
    from ecgkin.retrieval.ecg.augment.photograph import photograph
    from ecgkin.retrieval.ecg.drawing.raster import render_array
    from ecgkin.retrieval.ecg.page.reading import read_page

    style = replace(
        random_style(rng),
        grid=str(rng.choice(_GRIDS)),
        ink=_INKS[int(rng.integers(len(_INKS)))],
        width_px=1100,
        height_px=850,
        row_spacing_mm=None,
        lead_separators=bool(rng.random() < 0.5),
        line_width_mm=float(rng.uniform(0.2, 0.6)),
        start_s=float(rng.uniform(0, 0.3)),
    )
    page = render_array(corpus.record(row), style)
    kind = str(rng.choice(["clean", "scan", "photo", "hard"], p=[0.2, 0.25, 0.4, 0.15]))
    if kind != "clean":
        page = photograph(page, rng, kind)
    return read_page(page).trace_map


class _Drawn(torch.utils.data.Dataset[Tensor]):
    def __init__(self, corpus: Corpus, rows: Tensor, settings: TrainSettings, epoch: int) -> None:
        self._corpus, self._rows, self._settings, self._epoch = corpus, rows.tolist(), settings, epoch

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Tensor:
        of = self._settings
        row = self._rows[index]
        return torch.from_numpy(training_map(self._corpus, row, of.seed, self._epoch, of.page_share, of.picture))


def drawn_batches(corpus: Corpus, rows: Tensor, settings: TrainSettings, epoch: int) -> Iterator[Tensor]:
    """Batches of training pictures in the order of `rows` (corpus rows): uint8 (batch, channels, 256, 512).

    Args:
        corpus: Where the records are.
        rows: Corpus row of every picture, already shuffled and cut for this process.
        settings: Say the batch (a short one at the end is left out), what is drawn, and by how many processes
            (0 draws here).
        epoch: Each has its own drawings.

    Returns:
        Tensors uint8 (batch, channels, 256, 512), one after the other.
    """
    loader = torch.utils.data.DataLoader(
        _Drawn(corpus, rows, settings, epoch),
        batch_size=min(settings.batch, max(1, len(rows))),
        drop_last=True,
        num_workers=settings.workers,
        prefetch_factor=4 if settings.workers else None,
        worker_init_fn=_one_thread if settings.workers else None,
    )
    yield from loader


def _one_thread(_: int) -> None:
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def clean_maps(corpus: Corpus, rows: NDArray[np.int64], layout: str = "3x4+1R", picture: str = "paper") -> Tensor:
    """Undamaged trace maps in one layout, uint8 (n, 1, 256, 512), or fields, (n, 3, 256, 512).

    Args:
        corpus: Where the records are.
        rows: Corpus rows, (n,).
        layout: Of the pages.
        picture: "paper" or "fields".

    Returns:
        uint8 (n, 1, 256, 512), or (n, 3, 256, 512) for fields.
    """
    if picture == "fields":
        return torch.from_numpy(np.stack([field_map(corpus.record(int(r))) for r in rows]))
    from ecgkin.retrieval.ecg.drawing.geometry import RenderStyle

    style = RenderStyle(layout=layout)
    return torch.from_numpy(np.stack([draw_trace_map(corpus.record(int(r)), style, CLEAN) for r in rows]))[:, None]
