"""Vectors of every record by a finished image stage: what the text stage aligns words with."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.paper import RenderStyle
from ecgkin.retrieval.ecg.trace_map import draw_trace_map
from ecgkin.retrieval.encoders.corpus import Corpus
from ecgkin.retrieval.encoders.model import Architecture
from ecgkin.retrieval.encoders.settings import TrainSettings
from ecgkin.retrieval.encoders.train_image import ImageStudent
from ecgkin.retrieval.encoders.training import Place, channels_last
from ecgkin.retrieval.errors import ModelError, WeightsMissingError

_log = logging.getLogger(__name__)

# The page that most queries show, and the one that shows all ten seconds of every lead.
GALLERY_LAYOUTS = ("3x4+1R", "12x1")
_BATCH = 64


def image_state(folder: Path) -> dict[str, Any]:
    """Averaged weights of a finished image stage, named `visual.*` and `label_head.*`.

    Raises:
        WeightsMissingError: The stage has not written them.
    """
    from safetensors.torch import load_file

    path = folder / "image.safetensors"
    if not path.is_file():
        raise WeightsMissingError(f"{path} is missing", hint="finish the image stage first")
    return load_file(path)


def view_vectors(folder: Path, corpus: Corpus, settings: TrainSettings, place: Place) -> dict[str, NDArray[np.float32]]:
    """Unit rows (n, dim) of all records of a corpus, for each gallery layout.

    Each view is kept in `vectors_VIEW.npz` of the folder, so that a run that was stopped goes on with the next view.
    """
    state = image_state(folder)
    digest = str(json.loads((folder / "image.json").read_text())["figures"])
    model: ImageStudent | None = None
    views = {}
    for name in GALLERY_LAYOUTS:
        path = folder / f"vectors_{name.replace('+', '-')}.npz"
        if path.is_file():
            with np.load(path) as stored:
                if str(stored["of"]) == digest and np.array_equal(stored["ecg_ids"], corpus.ecg_ids):
                    views[name] = stored["vectors"].astype(np.float32)
                    continue
        if model is None:
            model = ImageStudent(Architecture.load(settings.architecture))
            model.load_state_dict(state)
            model = channels_last(model.eval().to(place.device))
        views[name] = _encode(model, corpus, name, place)
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, of=digest, ecg_ids=corpus.ecg_ids, vectors=views[name].astype(np.float16))
        os.replace(partial, path)
        _log.info("encoded %s: %d records", name, len(corpus))
    return views


@torch.no_grad()
def _encode(model: ImageStudent, corpus: Corpus, layout: str, place: Place) -> NDArray[np.float32]:
    parts = []
    style = RenderStyle(layout=layout)
    for begin in range(0, len(corpus), _BATCH):
        rows = range(begin, min(begin + _BATCH, len(corpus)))
        maps = [draw_trace_map(corpus.record(row), style) for row in rows]
        pictures = torch.from_numpy(np.stack(maps))[:, None].to(place.device).float().div_(255)
        with place.autocast():
            vectors, _ = model(pictures)
        parts.append(vectors.float().cpu().numpy())
    found = np.concatenate(parts)
    if not np.isfinite(found).all():
        raise ModelError(f"the image tower gave vectors that are not finite for layout {layout}")
    return found


def gallery_vectors(views: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """Unit rows (n, dim): the mean over the gallery layouts, as `DualEncoder.encode_records` makes them."""
    total = np.sum([views[name] for name in GALLERY_LAYOUTS], axis=0)
    return np.asarray(total / np.linalg.norm(total, axis=1, keepdims=True), dtype=np.float32)
