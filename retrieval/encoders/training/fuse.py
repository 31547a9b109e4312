"""Stage 5: a finished encoder of pictures and words is given the signal network, so that samples are compared as well.

Nothing is trained by steps here: the places that pictures and words without samples are given (`samples.Expected`) are
fitted by ridge regression.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ecgkin.retrieval.encoders.checkpoint import load_state, read_encoder_files, save_encoder
from ecgkin.retrieval.encoders.dual import DualEncoder
from ecgkin.retrieval.encoders.roads import write_graphs
from ecgkin.retrieval.encoders.samples import Expected, LinearMap
from ecgkin.retrieval.encoders.signals import N_LABELS, SignalNet
from ecgkin.retrieval.encoders.space import unit, what_words_meet
from ecgkin.retrieval.encoders.training.corpus import Corpus
from ecgkin.retrieval.encoders.training.image import load_teacher
from ecgkin.retrieval.encoders.training.loop import Place, Stage, load_checkpoint
from ecgkin.retrieval.encoders.training.settings import TrainSettings
from ecgkin.retrieval.encoders.training.text import TextSampler
from ecgkin.retrieval.errors import ModelError, WeightsMissingError

Floats = NDArray[np.float32]

RIDGE = 1e-2  # of the regressions, beside the mean square of the inputs' columns
TEXTS = 12_000  # that are drawn for the words' regression
_BATCH = 128
_TEXTS_AT_ONCE = 1_000


def train_fuse(settings: TrainSettings, data: Path) -> dict[str, Any]:
    """Put signal network and encoder together; writes the whole encoder to `encoder/`.

    Args:
        settings: Of the stage: `encoder` is the finished encoder, `teacher` the signal stage.
        data: PTB-XL folder.

    Returns:
        Figures on the held-out records: mean cosine between the place that a picture lets expect and the one that its
        samples have, and between words and the samples of their own record.

    Raises:
        ModelError: The signal stage has another architecture.
        WeightsMissingError: A stage has not written its weights.
    """
    stage = Stage.begin(settings, data)
    files = read_encoder_files(Path(settings.encoder))
    encoder = DualEncoder(files, stage.place.device.type)
    stored = _signal_stage(Path(settings.teacher), stage.place)
    own = dict(stored["settings"])
    architecture = replace(
        files.architecture,
        signal_dim=files.architecture.dim,
        signal_share=settings.signal_share,
        signal_fs_hz=float(own["fs_hz"]),
        signal_network=str(own["network"]),
    )
    network = SignalNet(architecture.signal_dim, N_LABELS, kind=architecture.signal_network)
    weights = {k.removeprefix("signal."): v for k, v in stored["average"].items() if k.startswith("signal.")}
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(f"the signal stage in {settings.teacher} does not fit: {error}") from error
    signals = load_teacher(Path(settings.teacher), stage.corpus, torch.device("cpu"))[0].numpy()
    pictures = _pictures(encoder, stage.corpus, stage.out, files.tower_fingerprint)
    expected = Expected(
        _fitted(pictures[stage.train], signals[stage.train]),
        _fitted(*_asked(encoder, stage, signals[stage.train], settings)),
    )

    held = stage.held_out
    reports = _words(encoder, [stage.corpus.reports[row] for row in held])
    figures = {
        "expected_of_pictures": _cosine(expected.of_pictures(pictures[held]), signals[held]),
        "expected_of_words": _cosine(expected.of_words(reports), signals[held]),
    }
    stage.log.write("fused", step=int(stored["step"]), **figures)
    state = {k: v for k, v in load_state(files).items() if not k.startswith("signal.")}
    state |= {f"signal.net.{k}": v for k, v in network.state_dict().items()}
    state |= {k: torch.from_numpy(v) for k, v in expected.state().items()}
    about = {**json.loads((files.folder / "encoder.json").read_text())["about"]}
    about["signal"] = {"settings": own, "step": int(stored["step"]), "figures": dict(stored["figures"])}
    about["fuse"] = {"settings": settings.recipe(), "figures": figures}
    fused = save_encoder(
        stage.out / "encoder", files.name, architecture, state, files.folder, files.gallery_layouts, about
    )
    write_graphs(fused)
    return figures


def _signal_stage(folder: Path, place: Place) -> dict[str, Any]:
    stored = load_checkpoint(folder / "checkpoint.pt", place)
    if stored is None:
        raise WeightsMissingError(f"{folder / 'checkpoint.pt'} is missing", hint="train the signal stage first")
    return stored


def _pictures(encoder: DualEncoder, corpus: Corpus, out: Path, fingerprint: str) -> Floats:
    """What the image tower says of the gallery's drawings of all records, (n, image_dim); kept in `pictures.npz`."""
    path = out / "pictures.npz"
    if path.is_file():
        with np.load(path) as stored:
            if str(stored["of"]) == fingerprint and np.array_equal(stored["ecg_ids"], corpus.ecg_ids):
                return np.asarray(stored["vectors"], dtype=np.float32)
    vectors = np.concatenate(
        [
            encoder.encode_drawings([corpus.record(row) for row in range(begin, min(begin + _BATCH, len(corpus)))])
            for begin in range(0, len(corpus), _BATCH)
        ]
    )
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, of=fingerprint, ecg_ids=corpus.ecg_ids, vectors=vectors)
    os.replace(partial, path)
    return vectors


def _words(encoder: DualEncoder, texts: list[str]) -> Floats:
    """What the text tower says, (n, text_dim)."""
    width = encoder.architecture.image_dim
    return what_words_meet(unit(encoder.encode_texts(texts)[:, :width]), encoder.architecture)


def _asked(
    encoder: DualEncoder, stage: Stage, signals: Floats, settings: TrainSettings
) -> tuple[Floats, NDArray[np.floating]]:
    """Texts as the text stage draws them, and the mean place of the ECGs that each of them fits."""
    sampler = TextSampler(stage.corpus, stage.train)
    rng = np.random.default_rng(settings.seed)
    words, places = [], []
    for _ in range(0, TEXTS if not settings.limit else _TEXTS_AT_ONCE, _TEXTS_AT_ONCE):
        drawn = sampler.draw(_TEXTS_AT_ONCE, rng)
        words.append(_words(encoder, drawn.texts))
        places.append(drawn.targets @ signals)
    return np.concatenate(words), np.concatenate(places)


def _fitted(inputs: Floats, outputs: NDArray[np.floating]) -> LinearMap:
    """Ridge regression of unit rows on others."""
    x, y = inputs.astype(np.float64), outputs.astype(np.float64)
    y = y / np.maximum(np.linalg.norm(y, axis=1, keepdims=True), 1e-9)
    mean, middle = x.mean(axis=0), y.mean(axis=0)
    x, y = x - mean, y - middle
    square = x.T @ x
    square[np.diag_indices_from(square)] += RIDGE * np.trace(square) / len(square)
    weight = np.linalg.solve(square, x.T @ y).T
    return LinearMap(weight.astype(np.float32), (middle - weight @ mean).astype(np.float32))


def _cosine(left: Floats, right: Floats) -> float:
    return float((unit(left) * unit(right)).sum(axis=1).mean())
