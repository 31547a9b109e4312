"""Several signal networks as one teacher: their mean relations between records, and their mean label logits.

Networks of other seeds and kinds put records into spaces that are turned against each other, so vectors cannot be
averaged column by column. Put side by side and scaled, their inner products are the mean of the networks' cosines; the
leading principal directions keep that within the dimension of the joint space.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.encoders.model import Architecture
from ecgkin.retrieval.encoders.training.corpus import load_corpus
from ecgkin.retrieval.encoders.training.loop import macro_auc
from ecgkin.retrieval.encoders.training.settings import TrainSettings
from ecgkin.retrieval.errors import ModelError

Floats = NDArray[np.float32]


def joint_vectors(spaces: list[Floats], dim: int, fit_on: NDArray[np.int64]) -> tuple[Floats, float]:
    """One space of unit vectors whose cosines are, as nearly as `dim` columns allow, the mean of those of several.

    Args:
        spaces: Unit rows of the same records, each (n, dim_i).
        dim: Columns of the result.
        fit_on: Rows from which the principal directions are taken.

    Returns:
        Unit rows (n, dim) and the share of the squared length that they keep.
    """
    side_by_side = np.concatenate(spaces, axis=1).astype(np.float64) / np.sqrt(len(spaces))
    # Not centred: cosines to the origin are what is searched.
    values, directions = np.linalg.eigh(side_by_side[fit_on].T @ side_by_side[fit_on])
    order = np.argsort(values)[::-1][:dim]
    kept = side_by_side @ directions[:, order]
    if kept.shape[1] < dim:
        kept = np.pad(kept, ((0, 0), (0, dim - kept.shape[1])))
    unit = kept / np.maximum(np.linalg.norm(kept, axis=1, keepdims=True), 1e-9)
    return unit.astype(np.float32), float(values[order].sum() / values.sum())


def train_ensemble(settings: TrainSettings, data: Path) -> dict[str, Any]:
    """Join finished signal stages; writes `targets.npz` as one of them would, and `signal.json`.

    Args:
        settings: Of the stage; `teachers` are the folders.
        data: PTB-XL folder.

    Returns:
        Validation figures of the mean logits and of each network alone, and the share of length that the joint
        space keeps.

    Raises:
        ModelError: A network is not finished, or knows other records than the first.
    """
    corpus = load_corpus(data, (*settings.train_folds, *settings.validation_folds))
    spaces, logits = [], []
    for folder in map(Path, settings.teachers):
        path = folder / "targets.npz"
        if not path.is_file():
            raise ModelError(f"{path} is missing", hint="finish that signal stage first")
        with np.load(path) as stored:
            if not np.array_equal(stored["ecg_ids"], corpus.ecg_ids):
                raise ModelError(f"{path} was made from other records", hint="train all networks on the same folds")
            spaces.append(stored["vectors"].astype(np.float32))
            logits.append(stored["logits"].astype(np.float32))
    train, held_out = corpus.rows_of(settings.train_folds), corpus.rows_of(settings.validation_folds)
    vectors, kept = joint_vectors(spaces, Architecture.load(settings.architecture).dim, train)
    mean = np.mean(logits, axis=0)
    truth = np.concatenate([corpus.labels, corpus.superclasses], axis=1)[held_out].astype(np.float64)
    figures: dict[str, Any] = {"kept": kept, "head_71": macro_auc(truth[:, :71], mean[held_out][:, :71])}
    for number, alone in enumerate(logits):
        figures[f"head_71_{number}"] = macro_auc(truth[:, :71], alone[held_out][:, :71])
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    partial = out / "targets.partial.npz"
    np.savez(partial, ecg_ids=corpus.ecg_ids, vectors=vectors.astype(np.float16), logits=mean.astype(np.float16))
    os.replace(partial, out / "targets.npz")
    summary = {"settings": settings.recipe(), "figures": figures}
    (out / "signal.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return figures
