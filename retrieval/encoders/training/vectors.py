"""Vectors of every record by a finished image stage: what the text stage aligns words with."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.drawing.geometry import RenderStyle
from ecgkin.retrieval.ecg.drawing.trace_map import draw_trace_map
from ecgkin.retrieval.encoders.identity import IdentityHead
from ecgkin.retrieval.encoders.model import Architecture
from ecgkin.retrieval.encoders.space import join_parts
from ecgkin.retrieval.encoders.training.corpus import Corpus
from ecgkin.retrieval.encoders.training.drawings import training_map
from ecgkin.retrieval.encoders.training.image import ImageStudent
from ecgkin.retrieval.encoders.training.loop import Place, channels_last
from ecgkin.retrieval.encoders.training.settings import TrainSettings
from ecgkin.retrieval.errors import ModelError, WeightsMissingError

_log = logging.getLogger(__name__)

# The page that most queries show, and the one that shows all ten seconds of every lead.
GALLERY_LAYOUTS = ("3x4+1R", "12x1")
DAMAGED = "damaged"
_BATCH = 64


def image_state(folder: Path) -> dict[str, Any]:
    """Averaged weights of a finished image stage, named `visual.*` and `label_head.*`.

    Raises:
        WeightsMissingError: The stage has not written them.
    """
    return _stage_weights(folder, "image")


def join_state(folder: Path) -> dict[str, Any]:
    """Averaged weights of a finished join stage, named `identity.*`.

    Raises:
        WeightsMissingError: The stage has not written them.
    """
    return _stage_weights(folder, "join")


def _stage_weights(folder: Path, stage: str) -> dict[str, Any]:
    from safetensors.torch import load_file

    path = folder / f"{stage}.safetensors"
    if not path.is_file():
        raise WeightsMissingError(f"{path} is missing", hint=f"finish the {stage} stage first")
    return load_file(path)


def view_features(
    folder: Path,
    corpus: Corpus,
    settings: TrainSettings,
    place: Place,
    names: tuple[str, ...] = (*GALLERY_LAYOUTS, DAMAGED),
) -> dict[str, NDArray[np.float16]]:
    """Tower features (n, features) of all records of a corpus, for each gallery layout and one damaged drawing.

    The damaged drawing is made for a third of the records; other rows are NaN. Each view is kept in
    `features_VIEW.npz` of the folder, so that a run that was stopped goes on with the next one.

    Args:
        folder: Of a finished image stage; features are kept there.
        corpus: The records.
        settings: Of the stage that asks.
        place: Where to compute.
        names: Views: layouts of the gallery, or "damaged".

    Returns:
        Features by view, float16 (n, features).
    """
    state = image_state(folder)
    digest = (folder / "image.json").read_text()
    model: ImageStudent | None = None
    views = {}
    for name in names:
        path = folder / f"features_{name.replace('+', '-')}.npz"
        if path.is_file():
            with np.load(path) as stored:
                if str(stored["of"]) == digest and np.array_equal(stored["ecg_ids"], corpus.ecg_ids):
                    views[name] = stored["features"]
                    continue
        if model is None:
            model = ImageStudent(Architecture.load(settings.architecture))
            model.load_state_dict(state)
            model = channels_last(model.eval().to(place.device))
        views[name] = _features(model, corpus, name, settings, place)
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, of=digest, ecg_ids=corpus.ecg_ids, features=views[name])
        os.replace(partial, path)
        _log.info("features of %s: %d records", name, len(corpus))
    return views


@torch.no_grad()
def _features(
    model: ImageStudent, corpus: Corpus, view: str, settings: TrainSettings, place: Place
) -> NDArray[np.float16]:
    out = np.full((len(corpus), model.visual.trunk.num_features), np.nan, dtype=np.float16)
    rows = np.arange(len(corpus))
    if view == DAMAGED:
        rows = np.sort(np.random.default_rng(settings.seed).permutation(rows)[: len(rows) // 3])
    style = None if view == DAMAGED else RenderStyle(layout=view)
    for begin in range(0, len(rows), _BATCH):
        some = rows[begin : begin + _BATCH]
        if style is None:
            maps = [training_map(corpus, int(row), settings.seed, 10_000, settings.page_share) for row in some]
        else:
            maps = [draw_trace_map(corpus.record(int(row)), style)[None] for row in some]
        pictures = torch.from_numpy(np.stack(maps)).to(place.device).float().div_(255)
        with place.autocast():
            features = model.visual.trunk(pictures)
        out[some] = features.float().cpu().numpy()
    return out


@torch.no_grad()
def view_vectors(
    folder: Path, join_folder: Path, corpus: Corpus, settings: TrainSettings, place: Place
) -> dict[str, NDArray[np.float32]]:
    """Unit rows (n, dim + identity_dim) of all records of a corpus for each gallery layout, as the encoder gives them.

    Args:
        folder, join_folder: Finished image and join stages.
        corpus, settings, place: See `view_features`.

    Returns:
        Unit rows by layout, float32 (n, dim + identity_dim).

    Raises:
        ModelError: The tower gave values that are not finite.
        WeightsMissingError: A stage has not written its weights.
    """
    features = view_features(folder, corpus, settings, place, GALLERY_LAYOUTS)
    architecture = Architecture.load(settings.architecture)
    model = ImageStudent(architecture)
    model.load_state_dict(image_state(folder))
    model.eval()
    appended = load_head(join_folder, model.visual.trunk.num_features, architecture)
    views = {}
    for name in GALLERY_LAYOUTS:
        rows = torch.from_numpy(features[name]).float()
        vectors = join_parts(model.visual.head(rows).numpy(), appended(rows).numpy(), architecture)
        if not np.isfinite(vectors).all():
            raise ModelError(f"the image tower gave vectors that are not finite for layout {name}")
        views[name] = vectors
    return views


def load_head(join_folder: Path, features: int, architecture: Architecture) -> IdentityHead:
    """The identity and label maps of a finished join stage.

    Args:
        join_folder: Of a finished join stage.
        features: Width of the tower's features.
        architecture: Says the sizes of the maps.

    Returns:
        A torch module.
    """
    head = IdentityHead(features, architecture.identity_dim)
    head.load_state_dict({k.removeprefix("identity."): v for k, v in join_state(join_folder).items()})
    return head.eval().requires_grad_(False)


def gallery_vectors(views: dict[str, NDArray[np.float32]], architecture: Architecture) -> NDArray[np.float32]:
    """Unit rows (n, dim + identity_dim): the mean over the gallery layouts, as `DualEncoder.encode_records` has it.

    Args:
        views: Unit rows by layout, each (n, dim + identity_dim).
        architecture: Says which columns are which.

    Returns:
        Unit rows, float32 (n, dim + identity_dim).
    """
    total = np.sum([views[name] for name in GALLERY_LAYOUTS], axis=0)
    return join_parts(total[:, : architecture.dim], total[:, architecture.dim :], architecture)
