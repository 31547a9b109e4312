"""Stage 2: the image tower learns to put every drawing of a record where the signal network puts the record."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgkin.retrieval.encoders.model import Architecture
from ecgkin.retrieval.encoders.training.corpus import Corpus
from ecgkin.retrieval.encoders.training.drawings import clean_maps, drawn_batches
from ecgkin.retrieval.encoders.training.loop import (
    Resumable,
    RunningAverage,
    Stage,
    channels_last,
    epoch_order,
    macro_auc,
    write_summary,
)
from ecgkin.retrieval.encoders.training.losses import distillation
from ecgkin.retrieval.encoders.training.settings import TrainSettings
from ecgkin.retrieval.errors import ModelError

N_HEAD = 71 + 5
VALIDATION_RECORDS = 1000


class ImageStudent(nn.Module):
    """The image tower of the dual encoder with a label head beside its projection."""

    def __init__(self, architecture: Architecture, picture: str = "paper") -> None:
        super().__init__()
        from ecgkin.retrieval.encoders.model import build_image_tower

        self.visual = build_image_tower(architecture, picture)
        self.label_head = nn.Linear(self.visual.trunk.num_features, N_HEAD)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (n, channels, 256, 512) in 0..1 -> unit vectors (n, dim) and label logits (n, 76), float32."""
        features = self.visual.trunk(pictures)
        vectors = F.normalize(self.visual.head(features).float(), dim=-1)
        return vectors, self.label_head(features).float()


def load_teacher(folder: Path, corpus: Corpus, device: torch.device) -> tuple[Tensor, Tensor]:
    """The signal network's vectors (n, dim) and label probabilities (n, 76) for the rows of a corpus.

    Args:
        folder: Of a finished signal stage.
        corpus: Whose rows are wanted.
        device: Where the tensors go.

    Returns:
        Unit rows (n, dim) and label probabilities (n, n_labels), in the order of the corpus.

    Raises:
        ModelError: The signal stage is not finished or does not know these records.
    """
    path = folder / "targets.npz"
    if not path.is_file():
        raise ModelError(f"{path} is missing", hint="train the signal stage first: ecgkin train configs/signal.yaml")
    with np.load(path) as stored:
        row_of = {int(e): i for i, e in enumerate(stored["ecg_ids"])}
        missing = [int(e) for e in corpus.ecg_ids if int(e) not in row_of]
        if missing:
            raise ModelError(f"{path} lacks {len(missing)} of the records, {missing[0]} among them")
        rows = np.array([row_of[int(e)] for e in corpus.ecg_ids])
        vectors = torch.from_numpy(stored["vectors"][rows]).float()
        logits = torch.from_numpy(stored["logits"][rows]).float()
    return F.normalize(vectors, dim=-1).to(device), torch.sigmoid(logits).to(device)


def train_image(settings: TrainSettings, data: Path) -> dict[str, Any]:
    """Run or continue the image stage; returns the last validation figures.

    Args:
        settings: Of the stage.
        data: PTB-XL folder.

    Returns:
        The last validation figures.
    """
    stage = Stage.begin(settings, data)
    place, log, corpus, train = stage.place, stage.log, stage.corpus, stage.train
    validation = stage.held_out[:VALIDATION_RECORDS]
    vectors, probabilities = load_teacher(Path(settings.teacher), corpus, place.device)
    bank = vectors[torch.from_numpy(train)]
    hard = torch.from_numpy(np.concatenate([corpus.labels, corpus.superclasses], axis=1)).float().to(place.device)
    soft = 0.5 * hard + 0.5 * probabilities

    model = ImageStudent(Architecture.load(settings.architecture), settings.picture).to(place.device)
    model = channels_last(model)
    runner: nn.Module = model
    if place.world > 1:
        devices = [place.device.index] if place.device.type == "cuda" else None
        runner = nn.parallel.DistributedDataParallel(model, device_ids=devices)
    steps = max(1, len(epoch_order(len(train), 0, settings, place)) // settings.batch)
    run = Resumable(model, _optimizer(model, settings), settings, place, log, total=steps * settings.epochs)
    validation_maps = clean_maps(corpus, validation, picture=settings.picture) if place.first else None
    sums, began = torch.zeros(4), time.monotonic()
    while run.running:
        epoch, first = divmod(run.step, steps)
        order = epoch_order(len(train), epoch, settings, place)[first * settings.batch :]
        early = run.step < settings.full_tokens_from * run.total
        model.visual.trunk.keep_tokens = settings.keep_tokens if early else 1.0
        pictures = drawn_batches(corpus, torch.from_numpy(train)[order], settings, epoch)
        for number, batch in enumerate(pictures):
            places = order[number * settings.batch : number * settings.batch + len(batch)].to(place.device)
            rows = torch.from_numpy(train)[places.cpu()].to(place.device)
            runner.train()
            inputs = batch.to(place.device, non_blocking=True).float().div_(255)
            with place.autocast():
                out_vectors, logits = runner(inputs)
            near, relation = distillation(
                out_vectors, places, bank, temperature=settings.temperature, own_share=settings.own_share
            )
            # 8: the mean over 76 mostly empty columns is small beside the other losses.
            label = 8 * F.binary_cross_entropy_with_logits(logits, soft[rows])
            loss = settings.label_weight * label + settings.distil_weight * near + settings.relation_weight * relation
            run.descend(loss, 3.0)
            sums += torch.tensor([float(label.detach()), float(near.detach()), float(relation.detach()), 1.0])
            if run.step % 50 == 0:
                label_mean, near_mean, relation_mean = (sums[:3] / sums[3]).tolist()
                log.write(
                    "step", step=run.step, total=run.total, epoch=epoch, label=label_mean, distance=near_mean,
                    relation=relation_mean, images_per_s=50 * settings.batch * place.world / (time.monotonic() - began),
                )  # fmt: skip
                sums, began = torch.zeros(4), time.monotonic()
            run.save_if_due()
            if not run.running:
                break
        if place.first and validation_maps is not None and run.step % steps == 0:
            run.figures = _validate(model, run.average, validation_maps, vectors, stage)
            log.write("epoch", epoch=epoch + 1, **run.figures)
            run.save()
            began = time.monotonic()
    run.save()
    if place.first:
        finish(stage.out, settings, run)
    return run.figures


def _optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.AdamW:
    """Biases and norms do not decay."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=settings.lr,
    )


def finish(out: Path, settings: TrainSettings, run: Resumable) -> None:
    """Write the averaged weights as safetensors (`image.safetensors`) with the summary beside them (`image.json`).

    Args:
        out: Folder of the stage.
        settings: Of the stage.
        run: The finished run.
    """
    from safetensors.torch import save_file

    partial = out / "image.partial"
    save_file({k: v.detach().cpu().contiguous() for k, v in run.average.state.items()}, partial)
    os.replace(partial, out / "image.safetensors")
    write_summary(out / "image.json", settings.recipe(), run)


@torch.no_grad()
def _validate(
    model: ImageStudent, average: RunningAverage, maps: Tensor, vectors: Tensor, stage: Stage
) -> dict[str, float]:
    """Figures of the averaged weights on clean validation drawings, against the teacher's places of the training set.

    head_*: macro-AUC of the label head. vote_*: of 200 neighbours among the training records' teacher vectors.
    own_rank1: how often the record's own teacher vector is nearest among all validation and training records.
    """
    corpus, train, validation = stage.corpus, stage.train, stage.held_out[: len(maps)]
    parts = []
    with average.lent_to(model):
        for begin in range(0, len(maps), 64):
            with stage.place.autocast():
                parts.append(model(maps[begin : begin + 64].to(stage.place.device).float() / 255))
    found, logits = torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
    labels = torch.from_numpy(np.concatenate([corpus.labels, corpus.superclasses], axis=1)).float()
    bank = vectors[torch.from_numpy(train)]
    near = (found @ bank.T).topk(min(200, len(train)), dim=1)
    weights = torch.softmax(near.values / 0.05, dim=1)
    votes = torch.einsum("nk,nkc->nc", weights.cpu(), labels[torch.from_numpy(train)][near.indices.cpu()])
    truth = labels[torch.from_numpy(validation)].numpy()
    has = truth[:, 71:].sum(1) > 0
    own = (found * vectors[torch.from_numpy(validation)]).sum(1, keepdim=True)
    everyone = torch.cat([vectors[torch.from_numpy(validation)], bank])
    first = ((found @ everyone.T) > own + 1e-7).sum(1) == 0
    scores = logits.cpu().numpy()
    return {
        "head_super": macro_auc(truth[has][:, 71:], scores[has][:, 71:]),
        "head_71": macro_auc(truth[:, :71], scores[:, :71]),
        "vote_super": macro_auc(truth[has][:, 71:], votes.numpy()[has][:, 71:]),
        "vote_71": macro_auc(truth[:, :71], votes.numpy()[:, :71]),
        "own_rank1": float(first.float().mean()),
        "cosine": float(own.mean()),
    }
