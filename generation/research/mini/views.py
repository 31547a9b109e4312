"""Visual tokens of many records, computed once: the image tower is frozen, so a training need not run it again."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgkin.generation.backends.mini.tokens import PatchEncoder, Tokens, pooled
from ecgkin.generation.research.retrieval.galleries import PRIMARY, draw_query
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl, PtbXlRow
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import EcgkinError, QueryError

_LOG = logging.getLogger(__name__)

# One view as the gallery is drawn, one with another layout and damage each, one that goes the way of a query: drawn as
# a full page and read again.
CLEAN, VARIED, PAGE = VIEWS = ("clean", "varied", "page")
_CHUNK = 256
_SEED = 36

Progress = Callable[[str, int, int], None]


def trace_map_of(record: EcgRecord, view: str) -> NDArray[np.uint8]:
    """The picture of a record in a view, uint8 (256, 512); the same each time.

    Args:
        record: The ECG.
        view: One of `VIEWS`.

    Returns:
        uint8 (256, 512).

    Raises:
        QueryError: No such view.
        ImageError: The drawn page cannot be read.
    """
    from ecgkin.retrieval.ecg.drawing.trace_map import TRAINING, draw_trace_map, random_style
    from ecgkin.retrieval.ecg.page.reading import read_page

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

    Args:
        data: PTB-XL.
        rows: Which records.
        encoder: Whose tokens.
        view: One of `VIEWS`.
        folder: Where they are kept.
        progress: Called with (what, done, total).

    Returns:
        float16 (n, 36, width), memory-mapped.
    """
    ids = blake2b(",".join(str(row.ecg_id) for row in rows).encode(), digest_size=8).hexdigest()
    path = folder / f"tokens-{view}-{ids}-{encoder.tower_fingerprint[:12]}.npy"
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
