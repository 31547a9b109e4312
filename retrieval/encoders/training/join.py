"""Stage 3: linear maps of the frozen tower's features, appended to the joint vector: one for identity, one for labels.

The joint space puts alike ECGs close together, which is what neighbours are for and what hides the one record that is
the same. The identity map is trained to tell records apart (drawings of one record together, all others away), so that
a photo finds the very ECG that it shows. The label map is trained, as a metric, so that neighbours share their labels
(soft Jaccard targets, as in the signal stage). Both are unit vectors with fixed shares of the squared length.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ecgkin.retrieval.encoders.identity import IdentityHead
from ecgkin.retrieval.encoders.model import Architecture
from ecgkin.retrieval.encoders.training.loop import RunningAverage, Stage, learning_rate
from ecgkin.retrieval.encoders.training.losses import jaccard, label_contrastive
from ecgkin.retrieval.encoders.training.settings import TrainSettings
from ecgkin.retrieval.encoders.training.vectors import DAMAGED, GALLERY_LAYOUTS, view_features

TEMPERATURE = 0.07
LABEL_BATCH = 384
BANK = 6000  # records that a batch is compared with by labels
SHARPNESS = 0.12  # as in the signal stage
DAMAGED_AT = len(GALLERY_LAYOUTS)  # place of the damaged view after the gallery's


def train_join(settings: TrainSettings, data: Path) -> dict[str, Any]:
    """Train the identity head on the features of a finished image stage; writes `join.safetensors`.

    Args:
        settings: Of the stage.
        data: PTB-XL folder.

    Returns:
        The last validation figures.
    """
    from safetensors.torch import save_file

    stage = Stage.begin(settings, data)
    out, log, corpus, train = stage.out, stage.log, stage.corpus, stage.train
    features = view_features(Path(settings.image), corpus, settings, stage.place)
    views = [torch.from_numpy(features[name]) for name in (*GALLERY_LAYOUTS, DAMAGED)]
    sample = torch.cat([view[torch.from_numpy(train)].float() for view in views])
    sample = sample[torch.isfinite(sample).all(dim=1)]
    head = IdentityHead(sample.shape[1], Architecture.load(settings.architecture).identity_dim)
    head.get_buffer("mean").copy_(sample.mean(0))
    head.get_buffer("scale").copy_(sample.std(0).clamp(min=1e-4))
    labels = torch.from_numpy(corpus.labels).float()
    rarity = torch.log((len(train) + 1) / (labels[torch.from_numpy(train)].sum(0) + 1)).clamp(0.3, 6.0).sqrt()
    average = RunningAverage(head, horizon=0.99)
    optimizer = torch.optim.AdamW(head.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    batch = min(settings.batch, len(train))
    total = settings.epochs * max(1, len(train) // batch)
    for step in range(min(total, settings.max_steps or total)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, total, settings)
        found = _losses(head, views, (labels, rarity), train, step, settings)
        if found is None:
            continue
        identity, contrast = found
        loss = identity + settings.contrast_weight * contrast
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        average.update(head, step)
        if step % 100 == 99:
            log.write("step", step=step + 1, total=total, loss=float(loss.detach()))
    head.load_state_dict(average.state)
    figures = _figures(head, views, stage.held_out)
    log.write("finished", **figures)
    partial = out / "join.partial"
    save_file({f"identity.{k}": v.contiguous() for k, v in average.state.items()}, partial)
    os.replace(partial, out / "join.safetensors")
    (out / "join.json").write_text(json.dumps({"settings": settings.recipe(), "figures": figures}, indent=1) + "\n")
    return figures


def _losses(
    head: IdentityHead,
    views: list[Tensor],
    targets: tuple[Tensor, Tensor],
    train: NDArray[np.int64],
    step: int,
    settings: TrainSettings,
) -> tuple[Tensor, Tensor] | None:
    """Losses of the identity and of the label map in one step; None where no drawings of a record could be read."""
    labels, rarity = targets
    middle = head.get_buffer("mean")
    batch = min(settings.batch, len(train))
    rows = torch.from_numpy(np.random.default_rng((settings.seed, step)).choice(train, batch, replace=False))
    # The damaged view was drawn for a part of the records only; the others bring their two clean pages.
    first, second = views[step % 2][rows], views[DAMAGED_AT if step % 4 < 2 else 1 - step % 2][rows]
    both = torch.isfinite(first).all(dim=1) & torch.isfinite(second).all(dim=1)
    if int(both.sum()) < 2:
        return None
    (left, _), (right, _) = head.parts(first[both]), head.parts(second[both])
    logits = left @ right.T / TEMPERATURE
    own = torch.arange(len(left))
    identity = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    # The label map meets clean pages in two layouts; dropout, because the tower knows these records by heart.
    rng = np.random.default_rng((settings.seed, step, 1))
    some = torch.from_numpy(rng.choice(train, min(LABEL_BATCH, len(train)), replace=False))
    others = torch.from_numpy(rng.choice(train, min(BANK, len(train)), replace=False))
    torch.manual_seed(settings.seed * 1_000_003 + step)
    _, near = head.parts(F.dropout(views[step % DAMAGED_AT][some].float() - middle, 0.3) + middle)
    _, far = head.parts(views[(step + 1) % DAMAGED_AT][others])
    alike = 0.5 * jaccard(labels[some], labels[others]) + 0.5 * jaccard(labels[some], labels[others], rarity)
    itself = some[:, None] == others[None]
    contrast = label_contrastive(near, far, alike, itself, temperature=TEMPERATURE, sharpness=SHARPNESS)
    return identity, contrast


@torch.no_grad()
def _figures(head: IdentityHead, views: list[Tensor], rows: NDArray[np.int64]) -> dict[str, float]:
    """How often a damaged drawing of a held-out record finds its clean page among all held-out ones."""
    at = torch.from_numpy(rows)
    at = at[torch.isfinite(views[DAMAGED_AT][at]).all(dim=1)]
    clean = F.normalize(torch.stack([head.parts(views[i][at])[0] for i in range(DAMAGED_AT)]).sum(0), dim=-1)
    similarity = head.parts(views[DAMAGED_AT][at])[0] @ clean.T
    ranks = (similarity > similarity.diagonal()[:, None]).sum(1)
    return {"own_first": float((ranks < 1).float().mean()), "own_first_10": float((ranks < 10).float().mean())}
