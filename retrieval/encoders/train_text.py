"""Stage 4: the text tower learns to point at the right ECGs among the finished image tower's vectors.

Texts and the ECGs that they fit come from `text_sampler`. Words meet every column of a picture's vector but those of
identity (`space`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgkin.retrieval.encoders.checkpoint import save_encoder
from ecgkin.retrieval.encoders.corpus import Corpus, load_corpus
from ecgkin.retrieval.encoders.losses import soft_cross_entropy
from ecgkin.retrieval.encoders.model import Architecture, build_text_tower, write_text_config
from ecgkin.retrieval.encoders.resumable import Resumable, RunningAverage
from ecgkin.retrieval.encoders.settings import TrainSettings
from ecgkin.retrieval.encoders.space import what_words_meet
from ecgkin.retrieval.encoders.text_sampler import TextSampler
from ecgkin.retrieval.encoders.tokenizer import load_tokenizer, token_ids, train_tokenizer
from ecgkin.retrieval.encoders.training import (
    TrainLog,
    find_place,
    seed_everything,
)
from ecgkin.retrieval.encoders.vectors import GALLERY_LAYOUTS, gallery_vectors, image_state, join_state, view_vectors

TEXTS_PER_EPOCH = 20_000


def text_loss(vectors: Tensor, bank: Tensor, target: Tensor, asks: Tensor, scale: Tensor) -> Tensor:
    """How badly texts point at the ECGs that they fit.

    For all: the divergence from the target to the softmax over all ECGs. For queries besides: the log of the mass that
    lies on any ECG that fits (Miech 2020, MIL-NCE), which cares for the first hits being right more than for every
    fitting ECG, also the doubtful ones, being near. Half of each; on free vectors in place of words it raised P@10 of
    30 statements on fold 9 from .547 to .583.

    Args:
        vectors: Unit rows (n, dim) of texts.
        bank: (m, dim) of ECGs.
        target: (n, m), rows summing to 1.
        asks: Whether a text is a query, (n,).
        scale: Inverse temperature.
    """
    shares = F.log_softmax(vectors @ bank.T * scale, dim=1)
    entropy = (target * target.clamp(min=1e-9).log()).sum(1)
    spread = entropy - (target * shares).sum(1)
    found = -torch.logsumexp(shares.masked_fill(target <= 0, -1e4), dim=1)
    return torch.where(asks, 0.5 * spread + found, spread).mean()


def anchor_vectors(bank: Tensor, labels: Tensor, steps: int = 300) -> Tensor:
    """The best query vector for each statement, found without words: what its texts should be near.

    Args:
        bank: ECGs, (m, dim).
        labels: 0/1, (m, n_labels).
        steps: Of Adam.

    Returns:
        Unit rows (n_labels, dim); zeros for a statement that no ECG carries.
    """
    carried = labels.sum(0) > 0
    target = (labels / labels.sum(0).clamp(min=1)).T[carried]
    query = nn.Parameter(F.normalize(target @ bank, dim=1))
    log_scale = nn.Parameter(torch.tensor(3.0))
    optimizer = torch.optim.Adam([query, log_scale], lr=1e-2)
    asks = torch.ones(len(target), dtype=torch.bool)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / steps)
        loss = text_loss(F.normalize(query, dim=1), bank, target, asks, log_scale.exp())
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
    out = torch.zeros(labels.shape[1], bank.shape[1])
    out[carried] = F.normalize(query.detach(), dim=1)
    return out


def train_text(settings: TrainSettings, data: Path) -> dict[str, Any]:
    """Run or continue the text stage; needs a finished image stage. Writes the whole encoder to `encoder/`."""
    place = find_place(settings)
    seed_everything(settings.seed)
    out = Path(settings.out)
    log = TrainLog(out, place)
    corpus = load_corpus(data, (*settings.train_folds, *settings.validation_folds))
    train = corpus.rows_of(settings.train_folds)
    if settings.limit:
        train = train[: settings.limit]
    held_out = corpus.rows_of(settings.validation_folds)
    architecture = Architecture.load(settings.architecture)
    views = view_vectors(Path(settings.image), Path(settings.join), corpus, settings, place)
    gallery = gallery_vectors(views, architecture)
    # Words meet the vectors of case bases and those of single pages.
    met = [what_words_meet(v, architecture) for v in (gallery, *views.values())]
    banks = [torch.from_numpy(v[train]) for v in met]
    sampler = TextSampler(corpus, train)
    anchors = anchor_vectors(banks[0], torch.from_numpy(sampler.plain))
    log.write("anchors", mean_cosine=float((banks[0] @ anchors.T).max(0).values.mean()))
    folder = out / "text"
    if not (folder / "tokenizer.json").is_file():
        tokenizer = train_tokenizer(sampler.vocabulary(), folder)
        write_text_config(folder, architecture, tokenizer.get_vocab_size())
    tokenizer = load_tokenizer(folder)
    model = nn.ModuleDict({"text": build_text_tower(architecture.text_dim, folder)}).to(place.device)
    log_scale = nn.Parameter(torch.tensor(3.0))
    model.register_parameter("log_scale", log_scale)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    steps = max(1, TEXTS_PER_EPOCH // settings.batch) if not settings.limit else 2
    run = Resumable(model, optimizer, settings, place, log, total=steps * settings.epochs, horizon=0.998)
    sums = [0.0, 0.0, 0.0]
    while run.running:
        rng = np.random.default_rng((settings.seed, run.step))
        drawn = sampler.draw(settings.batch, rng)
        bank = banks[int(rng.integers(len(banks)))]
        ids = torch.from_numpy(token_ids(tokenizer, drawn.texts))
        # Seeded by step, so that a resumed training goes on as if it had not been stopped.
        torch.manual_seed(settings.seed * 1_000_003 + run.step)
        model.train()
        with place.autocast():
            vectors = model["text"](ids)
        vectors = F.normalize(vectors.float(), dim=-1)
        scale = log_scale.clamp(max=4.6).exp()
        target = torch.from_numpy(drawn.targets)
        forward = text_loss(vectors, bank, target, torch.from_numpy(drawn.asks), scale)
        one = torch.from_numpy(drawn.statements)
        anchor = (1 - (vectors * anchors[one.clamp(min=0)]).sum(1))[one >= 0].sum() / len(one)
        # The other direction: among the batch's texts, an ECG should prefer those that fit it best.
        fits = target.T
        weight = fits.sum(1)
        some = torch.multinomial(weight + 1e-12, min(256, len(weight)))
        share = fits[some] / fits[some].sum(1, keepdim=True).clamp(min=1e-12)
        backward = soft_cross_entropy(bank[some] @ vectors.T * scale, share)
        loss = forward + settings.contrast_weight * backward + settings.anchor_weight * anchor
        run.descend(loss, 1.0)
        sums[0] += float(forward.detach())
        sums[1] += float(backward.detach())
        sums[2] += float(anchor.detach())
        if run.step % 50 == 0:
            means = {name: sum_ / 50 for name, sum_ in zip(("forward", "backward", "anchor"), sums, strict=True)}
            log.write("step", step=run.step, total=run.total, **means)
            sums = [0.0, 0.0, 0.0]
        if run.step % (steps * 2) == 0 or run.done:
            run.figures = _validate(model, run.average, tokenizer, corpus, held_out, met[1][held_out])
            log.write("epoch", epoch=run.step // steps, **run.figures)
        run.save_if_due()
    run.save()
    state = {k: v for k, v in run.average.state.items() if k.startswith("text.")}
    state |= image_state(Path(settings.image)) | join_state(Path(settings.join))
    about = {
        "join": json.loads((Path(settings.join) / "join.json").read_text()),
        "image": json.loads((Path(settings.image) / "image.json").read_text()),
        "text": {"settings": settings.recipe(), "figures": run.figures},
    }
    save_encoder(out / "encoder", settings.architecture, architecture, state, folder, GALLERY_LAYOUTS, about)
    return run.figures


@torch.no_grad()
def encode(model: nn.Module, tokenizer: Any, texts: list[str], batch: int = 256) -> NDArray[np.float32]:
    """Unit rows (n, dim) of texts by the text tower of `model`."""
    parts = []
    for begin in range(0, len(texts), batch):
        ids = torch.from_numpy(token_ids(tokenizer, texts[begin : begin + batch]))
        parts.append(F.normalize(model["text"](ids).float(), dim=-1))  # type: ignore[index]
    return torch.cat(parts).numpy()


def _validate(
    model: nn.Module, average: RunningAverage, tokenizer: Any, corpus: Corpus, rows: NDArray[np.int64],
    image: NDArray[np.float32],
) -> dict[str, float]:  # fmt: skip
    """Strict recall in both directions within the validation fold, in per cent."""
    with average.lent_to(model):
        texts = encode(model, tokenizer, [corpus.reports[r] for r in rows])
    similarity = image @ texts.T
    own = np.diag(similarity)
    to_report = (similarity > own[:, None]).sum(1)
    to_ecg = (similarity > own[None]).sum(0)
    figures = {}
    for k in (1, 5, 10):
        figures[f"ecg_to_report_r{k}"] = float((to_report < k).mean() * 100)
        figures[f"report_to_ecg_r{k}"] = float((to_ecg < k).mean() * 100)
    return figures
