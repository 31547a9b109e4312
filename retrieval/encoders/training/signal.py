"""Stage 1: the signal network learns labels, label neighbourhoods and reports at once; its space is the joint space.

Networks of two kinds are the teachers of the image tower, so that their errors differ. Several of them are one teacher
by their mean relations between records and their mean label logits: networks of other seeds and kinds put records into
spaces that are turned against each other, so vectors cannot be averaged column by column. Put side by side and scaled,
their inner products are the mean of the networks' cosines; the leading principal directions keep that within the
dimension of the joint space.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgkin.retrieval.ecg.statements.report_text import has_findings
from ecgkin.retrieval.encoders.model import Architecture, build_text_tower, write_text_config
from ecgkin.retrieval.encoders.signals import N_LABELS, SignalNet
from ecgkin.retrieval.encoders.tokenizer import load_tokenizer, token_ids, train_tokenizer
from ecgkin.retrieval.encoders.training.corpus import CORPUS_FS_HZ, Corpus, load_corpus
from ecgkin.retrieval.encoders.training.domain import other_machine
from ecgkin.retrieval.encoders.training.loop import (
    Place,
    Resumable,
    RunningAverage,
    Stage,
    batches,
    epoch_order,
    macro_auc,
    write_summary,
)
from ecgkin.retrieval.encoders.training.losses import jaccard, label_contrastive, text_contrastive
from ecgkin.retrieval.encoders.training.settings import TrainSettings
from ecgkin.retrieval.errors import ModelError

KINDS = ("conv", "attention")


CROP_S = 8.4  # length of a training crop


def network_signals(signals: NDArray[np.float16], fs_hz: float, net_fs_hz: float = 50.0) -> Tensor:
    """Signals (n, 12, t) in mV at the rate of a network; missing samples become 0.

    Args:
        signals: mV, (n, 12, t); NaN where there is no sample.
        fs_hz: Samples a second, as they are.
        net_fs_hz: Samples a second, as the network takes them.

    Returns:
        float32 (n, 12, t'), 0 where there is no sample.
    """
    from scipy.signal import resample_poly

    up, down = round(net_fs_hz), round(fs_hz)
    factor = math.gcd(up, down)
    parts = []
    for begin in range(0, len(signals), 500):
        block = np.nan_to_num(signals[begin : begin + 500].astype(np.float32))
        parts.append(resample_poly(block, up // factor, down // factor, axis=2).astype(np.float32))
    return torch.from_numpy(np.concatenate(parts))


def damaged(signals: Tensor, fs_hz: float = 50.0, domain_share: float = 0.0) -> Tensor:
    """A random crop with other gains, offsets, drift, noise, and a lead missing now and then; (n, 12, t).

    Args:
        signals: mV, (n, 12, t).
        fs_hz: Samples a second.
        domain_share: Part of the batch that goes through `domain.other_machine` besides.

    Returns:
        (n, 12, crop), mV.
    """
    n, _, samples = signals.shape
    crop = round(CROP_S * fs_hz)
    if domain_share:
        signals = other_machine(signals, fs_hz, domain_share)
    there = signals != 0
    out = signals * (1 + 0.15 * torch.randn(n, 1, 1)).clamp(0.6, 1.5)
    out = out + 0.03 * torch.randn(n, 12, 1) + 0.02 * torch.rand(n, 1, 1) * torch.randn_like(out)
    time = torch.arange(samples) / fs_hz
    drift = torch.sin(2 * math.pi * (0.1 + 0.4 * torch.rand(n, 1, 1)) * time + 2 * math.pi * torch.rand(n, 12, 1))
    out = (out + 0.1 * torch.rand(n, 12, 1) * drift) * there
    begin = int(torch.randint(0, max(1, samples - crop + 1), (1,)))
    return out[:, :, begin : begin + crop].masked_fill(torch.rand(n, 12, 1) < 0.04, 0.0)


QUEUE = 8192  # earlier vectors that a batch is compared with (He 2020): 8192 hold most statements many times
SHARPNESS = 0.12  # of the label target: a set that shares 88 % weighs 1/e of an equal one
TEMPERATURE = 0.08


@dataclass(frozen=True, eq=False)
class _Lessons:
    """What the signal network learns of each row of the corpus.

    Attributes:
        soft: Targets of the label heads, (n, 76).
        statements: 0 or 1, (n, 71).
        rarity: Weight of each statement among the label neighbourhoods, (71,).
        text_number: The same for rows with the same report, (n,).
        speaks: Whether the report says anything, (n,).
        ids: Token ids of the reports, (n, 48), 0 behind their end.
    """

    soft: Tensor
    statements: Tensor
    rarity: Tensor
    text_number: Tensor
    speaks: Tensor
    ids: Tensor

    def alike(self, own: Tensor, others: Tensor) -> Tensor:
        """How much of their statements rows (n, 71) share with others (m, 71), rare ones counting more: (n, m)."""
        return 0.5 * jaccard(own, others) + 0.5 * jaccard(own, others, self.rarity)


def _lessons(corpus: Corpus, train: NDArray[np.int64], folder: Path, settings: TrainSettings) -> _Lessons:
    """Targets of all rows; `folder` holds the tokenizer."""
    labels = torch.from_numpy(np.concatenate([corpus.labels, corpus.superclasses], axis=1)).float()
    soft = labels.clone()
    if settings.likelihoods:
        soft[:, :71] = torch.from_numpy(corpus.likelihoods)
    statements = labels[:, :71]
    rarity = torch.log((len(train) + 1) / (statements[torch.from_numpy(train)].sum(0) + 1)).clamp(0.3, 6.0).sqrt()
    _, same_text = np.unique(corpus.normalised, return_inverse=True)
    speaks = torch.tensor([has_findings(text) for text in corpus.reports])
    ids = torch.from_numpy(token_ids(load_tokenizer(folder), corpus.reports, length=48))
    return _Lessons(soft, statements, rarity, torch.from_numpy(same_text), speaks, ids)


def train_signal(settings: TrainSettings, data: Path) -> dict[str, Any]:
    """Run or continue the signal stage; writes `targets.npz` (vectors and logits of every record) and `signal.json`.

    Args:
        settings: Of the stage.
        data: PTB-XL folder.

    Returns:
        The last validation figures.
    """
    stage = Stage.begin(settings, data)
    place, log, corpus, train = stage.place, stage.log, stage.corpus, stage.train
    signals = network_signals(corpus.signals, CORPUS_FS_HZ, settings.fs_hz)
    architecture = Architecture.load(settings.architecture)
    folder = stage.out / "text"
    if not (folder / "tokenizer.json").is_file():
        tokenizer = train_tokenizer((corpus.reports[r] for r in train), folder)
        write_text_config(folder, architecture, tokenizer.get_vocab_size())
    lessons = _lessons(corpus, train, folder, settings)
    model = nn.ModuleDict(
        {
            "signal": SignalNet(architecture.dim, N_LABELS, kind=settings.network),
            "text": build_text_tower(architecture.dim, folder),
        }
    ).to(place.device)
    model.register_parameter("log_scale", nn.Parameter(torch.tensor(2.66)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    steps = max(1, len(epoch_order(len(train), 0, settings, place)) // settings.batch)
    empty = {"vectors": torch.zeros(0, architecture.dim), "labels": torch.zeros(0, 71)}
    run = Resumable(model, optimizer, settings, place, log, total=steps * settings.epochs, extra=empty)
    while run.running:
        epoch, first = divmod(run.step, steps)
        sums = torch.zeros(3)
        for chosen in batches(epoch_order(len(train), epoch, settings, place), settings.batch, first):
            rows = torch.from_numpy(train)[chosen]
            # Seeded by step, so that a resumed training goes on as if it had not been stopped.
            torch.manual_seed(settings.seed * 1_000_003 + run.step)
            model.train()
            vectors, parts = _losses(model, signals[rows], rows, lessons, run.extra, settings, place)
            label, contrast, match = parts
            loss = settings.label_weight * label + settings.contrast_weight * contrast + settings.text_weight * match
            run.descend(loss, 2.0)
            run.extra = {
                "vectors": torch.cat([vectors.detach().cpu(), run.extra["vectors"]])[:QUEUE],
                "labels": torch.cat([lessons.statements[rows], run.extra["labels"]])[:QUEUE],
            }
            sums += torch.tensor([float(part.detach()) for part in parts])
            if run.step % 50 == 0:
                now = {"label": float(label.detach()), "text": float(match.detach())}
                log.write("step", step=run.step, total=run.total, **now)
            run.save_if_due()
            if not run.running:
                break
        if run.step % steps == 0:
            _, logits = _encode(model, run.average, signals[torch.from_numpy(stage.held_out)], place)
            run.figures = _figures(corpus, logits)
            means = (sums / steps).tolist()
            log.write("epoch", epoch=epoch + 1, label=means[0], contrast=means[1], text=means[2], **run.figures)
            run.save()
    run.save()
    vectors, logits = _encode(model, run.average, signals, place)
    _write_targets(stage.out, corpus, vectors, logits)
    if place.first:
        write_summary(stage.out / "signal.json", settings.recipe(), run)
    return run.figures


def _losses(
    model: nn.ModuleDict,
    signals: Tensor,
    rows: Tensor,
    lessons: _Lessons,
    earlier: Mapping[str, Tensor],
    settings: TrainSettings,
    place: Place,
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Vectors of a batch, and its losses: labels, label neighbourhoods (among `earlier` vectors, too), reports."""
    words = lessons.ids[rows]
    words = words[:, : max(1, int((words != 0).sum(1).max()))].to(place.device)
    with place.autocast():
        vectors, logits = model["signal"](damaged(signals, settings.fs_hz, settings.domain_share).to(place.device))
    texts = F.normalize(model["text"](words).float(), dim=-1)
    truth = lessons.soft[rows].to(place.device)
    label = 8 * F.binary_cross_entropy_with_logits(logits[:, :71], truth[:, :71])
    label = label + 1.5 * F.binary_cross_entropy_with_logits(logits[:, 71:], truth[:, 71:])
    own = lessons.statements[rows]
    bank = torch.cat([vectors, earlier["vectors"].to(place.device)])
    alike = lessons.alike(own, torch.cat([own, earlier["labels"]]))
    itself = torch.zeros(alike.shape, dtype=torch.bool)
    itself[:, : len(rows)] = torch.eye(len(rows), dtype=torch.bool)
    contrast = label_contrastive(
        vectors, bank, alike.to(place.device), itself.to(place.device), temperature=TEMPERATURE, sharpness=SHARPNESS
    )
    same = lessons.text_number[rows][:, None] == lessons.text_number[rows][None]
    equal_sets = jaccard(own, own) > 0.999
    match = text_contrastive(
        vectors, texts, same.to(place.device), equal_sets.to(place.device), lessons.speaks[rows].to(place.device),
        model.get_parameter("log_scale").clamp(max=3.9).exp(),
    )  # fmt: skip
    return vectors, (label, contrast, match)


def _figures(corpus: Corpus, logits: Any) -> dict[str, float]:
    held_out = np.flatnonzero(np.isin(corpus.folds, [int(corpus.folds.max())]))[: len(logits)]
    truth = np.concatenate([corpus.labels, corpus.superclasses], axis=1)[held_out].astype(np.float64)
    has = truth[:, 71:].sum(1) > 0
    return {
        "head_super": macro_auc(truth[has][:, 71:], logits[has][:, 71:]),
        "head_71": macro_auc(truth[:, :71], logits[:, :71]),
    }


@torch.no_grad()
def _encode(model: nn.Module, average: RunningAverage, signals: Tensor, place: Any) -> tuple[Any, Any]:
    """Vectors and logits of records by the averaged weights; samples (n, 12, t)."""
    parts = []
    with average.lent_to(model):
        for begin in range(0, len(signals), 256):
            with place.autocast():
                parts.append(model["signal"](signals[begin : begin + 256].to(place.device)))  # type: ignore[index]
    return torch.cat([p[0] for p in parts]).cpu().numpy(), torch.cat([p[1] for p in parts]).cpu().numpy()


def _write_targets(out: Path, corpus: Corpus, vectors: Any, logits: Any) -> None:
    partial = out / "targets.partial.npz"
    np.savez(
        partial, ecg_ids=corpus.ecg_ids, vectors=vectors.astype(np.float16), logits=logits.astype(np.float16)
    )  # fmt: skip
    os.replace(partial, out / "targets.npz")


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
