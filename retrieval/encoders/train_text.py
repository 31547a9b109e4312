"""Stage 3: the text tower learns to point at the right ECGs among the finished image tower's vectors.

Texts are reports and what clinicians type: statement names, synonyms, abbreviations and sentences in English and
German (`statements.query_texts`), alone and two at a time. A text's target is spread over all ECGs that it fits, so
that neither the same report nor the same finding in another patient is ever a negative.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgkin.retrieval.ecg.report_text import has_findings
from ecgkin.retrieval.ecg.statements import CODES, query_texts
from ecgkin.retrieval.encoders.checkpoint import save_encoder
from ecgkin.retrieval.encoders.corpus import Corpus, load_corpus
from ecgkin.retrieval.encoders.losses import soft_cross_entropy
from ecgkin.retrieval.encoders.model import Architecture, build_text_tower, write_text_config
from ecgkin.retrieval.encoders.settings import TrainSettings
from ecgkin.retrieval.encoders.tokenizer import load_tokenizer, token_ids, train_tokenizer
from ecgkin.retrieval.encoders.training import (
    RunningAverage,
    TrainLog,
    find_place,
    learning_rate,
    load_checkpoint,
    save_checkpoint,
    seed_everything,
)
from ecgkin.retrieval.encoders.vectors import GALLERY_LAYOUTS, gallery_vectors, image_state, view_vectors

QUERY_SHARE = 0.45  # of the texts in a batch that are statement queries instead of reports
TEXTS_PER_EPOCH = 20_000


class TextSampler:
    """Draws texts and the ECGs that each fits.

    Args:
        corpus: Records, reports and labels.
        rows: Training rows of the corpus.
    """

    def __init__(self, corpus: Corpus, rows: NDArray[np.int64]) -> None:
        self.labels = corpus.labels[rows].astype(bool)
        self.reports = [corpus.reports[r] for r in rows]
        self.speaking = np.flatnonzero([has_findings(text) for text in self.reports])
        _, self.same = np.unique([corpus.normalised[r] for r in rows], return_inverse=True)
        self.queries = [query_texts(code) for code in CODES]
        counts = self.labels.sum(axis=0)
        # Rare statements are asked for more often than they occur, common ones less: the root of the count.
        share = np.where(counts > 0, np.sqrt(counts), 0.0)
        self.share = share / share.sum()
        weights = np.log((len(rows) + 1) / (counts + 1)).clip(0.3, 6.0) ** 0.5
        self.weighted = (self.labels * weights).astype(np.float32)
        self.plain = self.labels.astype(np.float32)
        self.mass = self.weighted.sum(axis=1)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[list[str], NDArray[np.float32]]:
        """`n` texts and their targets, (n, n_rows), rows summing to 1."""
        texts: list[str] = []
        targets = np.zeros((n, len(self.reports)), dtype=np.float32)
        reported: list[tuple[int, int]] = []
        for i in range(n):
            if rng.random() < QUERY_SHARE:
                text, chosen = self._query(rng)
                targets[i] = self.labels[:, chosen].all(axis=1)
            else:
                text, row = self._report(rng)
                reported.append((i, row))
            texts.append(text)
        if reported:
            at, rows = (np.array(column) for column in zip(*reported, strict=True))
            targets[at] = self._report_targets(rows)
        return texts, targets / targets.sum(axis=1, keepdims=True)

    def _query(self, rng: np.random.Generator) -> tuple[str, list[int]]:
        first = int(rng.choice(len(CODES), p=self.share))
        chosen = [first]
        if rng.random() < 0.3:
            # A second finding that occurs beside the first: take it from one of the records that carry the first.
            carrier = int(rng.choice(np.flatnonzero(self.labels[:, first])))
            others = [int(c) for c in np.flatnonzero(self.labels[carrier]) if c != first]
            if others:
                chosen.append(int(rng.choice(others)))
        words = [str(self.queries[c][int(rng.integers(len(self.queries[c])))]) for c in chosen]
        joiner = (", ", " and ", " mit ", " with ", " ", " und ")[int(rng.integers(6))]
        return joiner.join(words), chosen

    def _report(self, rng: np.random.Generator) -> tuple[str, int]:
        row = int(rng.choice(self.speaking))
        text = self.reports[row]
        if rng.random() < 0.3:
            words = text.split()
            kept = [w for w in words if rng.random() > 0.15]
            text = " ".join(kept or words)
        return text, row

    def _report_targets(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Most of the mass on ECGs with the same report, the rest on those with similar (rarity-weighted) labels."""
        shared = self.weighted[rows] @ self.plain.T
        union = self.mass[rows][:, None] + self.mass[None] - shared
        near = np.exp((shared / np.maximum(union, 1e-6) - 1) / 0.12)
        fits = (self.same[rows][:, None] == self.same[None]).astype(np.float32)
        mixed = 0.7 * fits / fits.sum(axis=1, keepdims=True) + 0.3 * near / near.sum(axis=1, keepdims=True)
        return np.asarray(mixed, dtype=np.float32)


def text_loss(vectors: Tensor, bank: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    """Divergence from the target to the softmax over all ECGs; vectors (n, dim), bank (m, dim), target (n, m)."""
    return soft_cross_entropy(vectors @ bank.T * scale, target)


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
    views = view_vectors(Path(settings.image), corpus, settings, place)
    gallery = gallery_vectors(views)
    # Words meet the vectors of case bases and those of single pages.
    banks = [torch.from_numpy(v[train]) for v in (gallery, *views.values())]
    sampler = TextSampler(corpus, train)
    architecture = Architecture.load(settings.architecture)
    folder = out / "text"
    if not (folder / "tokenizer.json").is_file():
        every = [text for texts in sampler.queries for text in texts]
        tokenizer = train_tokenizer([*sampler.reports, *every], folder)
        write_text_config(folder, architecture, tokenizer.get_vocab_size())
    tokenizer = load_tokenizer(folder)
    model = nn.ModuleDict({"text": build_text_tower(architecture, folder)}).to(place.device)
    log_scale = nn.Parameter(torch.tensor(3.0))
    model.register_parameter("log_scale", log_scale)
    average = RunningAverage(model, horizon=0.998)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    steps = max(1, TEXTS_PER_EPOCH // settings.batch) if not settings.limit else 2
    total = steps * settings.epochs
    step, figures = 0, {}
    checkpoint = out / "checkpoint.pt"
    stored = load_checkpoint(checkpoint, place)
    if stored is not None:
        model.load_state_dict(stored["model"])
        average.state = stored["average"]
        optimizer.load_state_dict(stored["optimizer"])
        step, figures = int(stored["step"]), dict(stored["figures"])
        log.write("resumed", step=step, total=total)

    def save() -> None:
        save_checkpoint(
            checkpoint,
            {"model": model.state_dict(), "average": average.state, "optimizer": optimizer.state_dict(),
             "step": step, "figures": figures},
        )  # fmt: skip

    last_save, sums = time.monotonic(), [0.0, 0.0]
    while step < total and not (settings.max_steps and step >= settings.max_steps):
        rng = np.random.default_rng((settings.seed, step))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, total, settings)
        texts, targets = sampler.draw(settings.batch, rng)
        bank = banks[int(rng.integers(len(banks)))]
        ids = torch.from_numpy(token_ids(tokenizer, texts))
        model.train()
        with place.autocast():
            vectors = model["text"](ids)
        vectors = F.normalize(vectors.float(), dim=-1)
        scale = log_scale.clamp(max=4.6).exp()
        target = torch.from_numpy(targets)
        forward = text_loss(vectors, bank, target, scale)
        # The other direction: among the batch's texts, an ECG should prefer those that fit it best.
        fits = target.T
        weight = fits.sum(1)
        some = torch.multinomial(weight + 1e-12, min(256, len(weight)))
        share = fits[some] / fits[some].sum(1, keepdim=True).clamp(min=1e-12)
        backward = soft_cross_entropy(bank[some] @ vectors.T * scale, share)
        loss = forward + settings.contrast_weight * backward
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if torch.isfinite(norm):
            optimizer.step()
            average.update(model, step)
        step += 1
        sums[0] += float(forward.detach())
        sums[1] += float(backward.detach())
        if step % 50 == 0:
            log.write("step", step=step, total=total, forward=sums[0] / 50, backward=sums[1] / 50)
            sums = [0.0, 0.0]
        if step % (steps * 2) == 0 or step == total:
            figures = _validate(model, average, tokenizer, corpus, held_out, views[GALLERY_LAYOUTS[0]][held_out])
            log.write("epoch", epoch=step // steps, **figures)
        if time.monotonic() - last_save > 60 * settings.checkpoint_minutes or step == total:
            save()
            last_save = time.monotonic()
    save()
    state = {k: v for k, v in average.state.items() if k.startswith("text.")}
    from safetensors.torch import load_file

    state |= image_state(Path(settings.image)) | load_file(Path(settings.join) / "join.safetensors")
    about = {
        "join": json.loads((Path(settings.join) / "join.json").read_text()),
        "image": json.loads((Path(settings.image) / "image.json").read_text()),
        "text": {"settings": settings.to_dict(), "figures": figures},
    }
    save_encoder(
        out / "encoder", settings.architecture, architecture, image_state(Path(settings.image)) | state, folder,
        GALLERY_LAYOUTS, about,
    )  # fmt: skip
    return figures


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
    backup = {k: v.detach().clone() for k, v in model.state_dict().items()}
    model.load_state_dict(average.state)
    model.eval()
    texts = encode(model, tokenizer, [corpus.reports[r] for r in rows])
    model.load_state_dict(backup)
    similarity = image @ texts.T
    own = np.diag(similarity)
    to_report = (similarity > own[:, None]).sum(1)
    to_ecg = (similarity > own[None]).sum(0)
    figures = {}
    for k in (1, 5, 10):
        figures[f"ecg_to_report_r{k}"] = float((to_report < k).mean() * 100)
        figures[f"report_to_ecg_r{k}"] = float((to_ecg < k).mean() * 100)
    return figures
