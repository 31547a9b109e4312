"""Visual tokens of many records, computed once: the image tower is frozen, so a training need not run it again."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.ptbxl import PtbXl, PtbXlRow
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import EcgkinError, QueryError
from ecgkin.retrieval.evaluation.galleries import PRIMARY, draw_query

_LOG = logging.getLogger(__name__)

# One view as the gallery is drawn, one with another layout and damage each, one that goes the way of a query: drawn as
# a full page and read again.
CLEAN, VARIED, PAGE = VIEWS = ("clean", "varied", "page")
CLASS_TOKENS, GRID, POOLED = 4, (8, 32), (4, 8)
N_VISUAL = CLASS_TOKENS + POOLED[0] * POOLED[1]
_CHUNK = 256
_SEED = 36

Tokens = NDArray[np.float16]
Progress = Callable[[str, int, int], None]


class PatchEncoder(Protocol):
    """An encoder whose image tower can be asked for its tokens; `DualEncoder` is one."""

    @property
    def image_fingerprint(self) -> str:
        """Hash over what changes a token."""

    def patch_tokens(self, maps: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Trace maps (256, 512) -> (n, 4 + 8 * 32, width)."""


def pooled(tokens: NDArray[np.float32]) -> Tokens:
    """Class tokens and the means of 2 x 4 patches each, (n, 36, width): 260 tokens would cost seven times as much.

    A pooled patch is a row of a 3x4 page high and an eighth of the page wide; every token has looked at all others.
    """
    n, _, width = tokens.shape
    patches = tokens[:, CLASS_TOKENS:].reshape(
        n, POOLED[0], GRID[0] // POOLED[0], POOLED[1], GRID[1] // POOLED[1], width
    )
    means = patches.mean(axis=(2, 4)).reshape(n, -1, width)
    return np.concatenate([tokens[:, :CLASS_TOKENS], means], axis=1).astype(np.float16)


def trace_map_of(record: EcgRecord, view: str) -> NDArray[np.uint8]:
    """The picture of a record in a view, uint8 (256, 512); the same each time.

    Raises:
        QueryError: No such view.
        ImageError: The drawn page cannot be read.
    """
    from ecgkin.retrieval.ecg.page import read_page
    from ecgkin.retrieval.ecg.trace_map import TRAINING, draw_trace_map, random_style

    if view == CLEAN:
        return draw_trace_map(record)
    if view == VARIED:
        number = int(blake2b(record.record_id.encode(), digest_size=4).hexdigest(), 16)
        rng = np.random.default_rng([_SEED, number])
        return draw_trace_map(record, random_style(rng), TRAINING, rng)
    if view == PAGE:
        return read_page(draw_query(record, PRIMARY)).trace_map
    raise QueryError(f"view is {view!r} (expected one of {', '.join(VIEWS)})")


def view_tokens(
    data: PtbXl,
    rows: Sequence[PtbXlRow],
    encoder: PatchEncoder,
    view: str,
    folder: Path,
    progress: Progress | None = None,
) -> Tokens:
    """Tokens of all rows in a view, (n, 36, width), memory-mapped from a file in `folder`.

    A run that was stopped goes on after its last 256 records; other weights or other records begin a new file. A page
    that cannot be read gives zeros.
    """
    ids = blake2b(",".join(str(row.ecg_id) for row in rows).encode(), digest_size=8).hexdigest()
    path = folder / f"tokens-{view}-{ids}-{encoder.image_fingerprint[:12]}.npy"
    state = path.with_suffix(".json")
    folder.mkdir(parents=True, exist_ok=True)
    done = json.loads(state.read_text())["done"] if state.is_file() and path.is_file() else 0
    out: Any = np.lib.format.open_memmap(path, mode="r+") if done else None
    for start in range(done, len(rows), _CHUNK):
        some = rows[start : start + _CHUNK]
        maps, at = [], []
        for i, row in enumerate(some):
            try:
                maps.append(trace_map_of(data.record(row), view))
                at.append(i)
            except EcgkinError as error:
                _LOG.warning("a record has no tokens in view %s: %s", view, error)
        part = pooled(encoder.patch_tokens(maps))
        if out is None:
            out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(len(rows), *part.shape[1:]))
        out[start + np.array(at)] = part
        out.flush()
        state.write_text(json.dumps({"done": start + len(some), "view": view}) + "\n")
        if progress is not None:
            progress(f"tokens {view}", start + len(some), len(rows))
    kept: Tokens = np.load(path, mmap_mode="r")
    return kept
