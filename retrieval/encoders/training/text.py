"""Stage 4: the text tower learns to point at the right ECGs among the finished image tower's vectors.

Texts and the ECGs that they fit come from `text_sampler`. Words meet every column of a picture's vector but those of
identity (`space`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgkin.retrieval.ecg.statements.catalogue import CODES, query_texts, statement
from ecgkin.retrieval.ecg.statements.report_text import has_findings
from ecgkin.retrieval.encoders.checkpoint import save_encoder
from ecgkin.retrieval.encoders.model import Architecture, build_text_tower, write_text_config
from ecgkin.retrieval.encoders.roads import write_graphs
from ecgkin.retrieval.encoders.space import what_words_meet
from ecgkin.retrieval.encoders.tokenizer import load_tokenizer, token_ids, train_tokenizer
from ecgkin.retrieval.encoders.training.corpus import Corpus
from ecgkin.retrieval.encoders.training.loop import (
    Place,
    Resumable,
    RunningAverage,
    Stage,
)
from ecgkin.retrieval.encoders.training.losses import soft_cross_entropy
from ecgkin.retrieval.encoders.training.settings import TrainSettings
from ecgkin.retrieval.encoders.training.vectors import (
    GALLERY_LAYOUTS,
    gallery_vectors,
    image_state,
    join_state,
    view_vectors,
)
from ecgkin.retrieval.errors import QueryError

LANGUAGES: tuple[str, ...] = ("en", "de")


@cache
def _texts() -> dict[str, dict[str, list[str]]]:
    path = files("ecgkin.retrieval.encoders.training").joinpath("descriptions.json")
    raw: dict[str, dict[str, list[str]]] = json.loads(path.read_text("utf-8"))
    return raw


@cache
def descriptions(code: str, language: str | None = None) -> tuple[str, ...]:
    """Sentences that describe one statement, in the order of the file.

    Args:
        code: SCP code as PTB-XL writes it ("LAO/LAE", "NST_"); other cases of letters are understood.
        language: "en" or "de"; None for the English ones followed by the German ones.

    Returns:
        The sentences, English before German.

    Raises:
        QueryError: There is no such statement (the message names near codes) or no such language.
    """
    if language is not None and language not in LANGUAGES:
        raise QueryError(
            f"no descriptions in language {language!r}, expected one of {', '.join(LANGUAGES)}",
            hint="leave the language out for all of them",
        )
    of = _texts()[statement(code).code]
    return tuple(text for name in LANGUAGES if language in (None, name) for text in of[name])


QUERY_SHARE = 0.55  # of the texts in a batch that are statement queries instead of reports
DESCRIPTION_SHARE = 0.4  # of the queries that describe a finding instead of naming it
PAIR_SHARE = 0.25  # of the queries that ask for two findings
JOINERS = (", ", " and ", " mit ", " with ", " ", " und ")


@dataclass(frozen=True)
class TextBatch:
    """Texts and what they ask for.

    Attributes:
        texts: n texts.
        targets: What share of a text's mass lies on each ECG, (n, n_rows), rows summing to 1.
        statements: Number of the one statement that a text asks for; -1 for reports and for two findings, (n,).
        asks: Whether a text is a query instead of a report, (n,).
    """

    texts: list[str]
    targets: NDArray[np.float32]
    statements: NDArray[np.int64]
    asks: NDArray[np.bool_]


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
        self.names = [query_texts(code) for code in CODES]
        self.descriptions = [descriptions(code) for code in CODES]
        counts = self.labels.sum(axis=0)
        # Rare statements are asked for more often than they occur, common ones less: the root of the count.
        share = np.where(counts > 0, np.sqrt(counts), 0.0)
        self.share = share / share.sum()
        weights = np.log((len(rows) + 1) / (counts + 1)).clip(0.3, 6.0) ** 0.5
        self.weighted = (self.labels * weights).astype(np.float32)
        self.plain = self.labels.astype(np.float32)
        self.mass = self.weighted.sum(axis=1)

    def vocabulary(self) -> list[str]:
        """Every text that may be drawn, for the tokenizer."""
        return [*self.reports, *(t for group in (*self.names, *self.descriptions) for t in group)]

    def draw(self, n: int, rng: np.random.Generator) -> TextBatch:
        """`n` texts.

        Args:
            n: How many.
            rng: Decides which.

        Returns:
            Texts with the ECGs that each of them fits.
        """
        texts: list[str] = []
        targets = np.zeros((n, len(self.reports)), dtype=np.float32)
        statements = np.full(n, -1, dtype=np.int64)
        asks = np.zeros(n, dtype=bool)
        reported: list[tuple[int, int]] = []
        for i in range(n):
            if rng.random() < QUERY_SHARE:
                text, chosen = self._query(rng)
                targets[i] = self.labels[:, chosen].all(axis=1)
                asks[i] = True
                if len(chosen) == 1:
                    statements[i] = chosen[0]
            else:
                text, row = self._report(rng)
                reported.append((i, row))
            texts.append(text)
        if reported:
            at, rows = (np.array(column) for column in zip(*reported, strict=True))
            targets[at] = self._report_targets(rows)
        return TextBatch(texts, targets / targets.sum(axis=1, keepdims=True), statements, asks)

    def _query(self, rng: np.random.Generator) -> tuple[str, list[int]]:
        first = int(rng.choice(len(CODES), p=self.share))
        chosen = [first]
        if rng.random() < PAIR_SHARE:
            # A second finding that occurs beside the first: take it from one of the records that carry the first.
            carrier = int(rng.choice(np.flatnonzero(self.labels[:, first])))
            others = [int(c) for c in np.flatnonzero(self.labels[carrier]) if c != first]
            if others:
                chosen.append(int(rng.choice(others)))
        return JOINERS[int(rng.integers(len(JOINERS)))].join(self._words(c, rng) for c in chosen), chosen

    def _words(self, statement: int, rng: np.random.Generator) -> str:
        if rng.random() < DESCRIPTION_SHARE:
            group = self.descriptions[statement]
            return _thinned(group[int(rng.integers(len(group)))], rng)
        names = self.names[statement]
        return names[int(rng.integers(len(names)))]

    def _report(self, rng: np.random.Generator) -> tuple[str, int]:
        row = int(rng.choice(self.speaking))
        return _thinned(self.reports[row], rng), row

    def _report_targets(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Most of the mass on ECGs with the same report, the rest on those with similar (rarity-weighted) labels."""
        shared = self.weighted[rows] @ self.plain.T
        union = self.mass[rows][:, None] + self.mass[None] - shared
        near = np.exp((shared / np.maximum(union, 1e-6) - 1) / 0.12)
        fits = (self.same[rows][:, None] == self.same[None]).astype(np.float32)
        mixed = 0.7 * fits / fits.sum(axis=1, keepdims=True) + 0.3 * near / near.sum(axis=1, keepdims=True)
        return np.asarray(mixed, dtype=np.float32)


def _thinned(text: str, rng: np.random.Generator) -> str:
    """Now and then some words are missing: nobody types a report or a description to the letter."""
    if rng.random() >= 0.3:
        return text
    words = text.split()
    kept = [w for w in words if rng.random() > 0.15]
    return " ".join(kept or words)


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

    Returns:
        A scalar.
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
    """Run or continue the text stage; needs a finished image stage. Writes the whole encoder to `encoder/`.

    Args:
        settings: Of the stage.
        data: PTB-XL folder.

    Returns:
        The last validation figures.
    """
    stage = Stage.begin(settings, data)
    place, log, corpus = stage.place, stage.log, stage.corpus
    architecture = Architecture.load(settings.architecture)
    views = view_vectors(Path(settings.image), Path(settings.join), corpus, settings, place)
    gallery = gallery_vectors(views, architecture)
    # Words meet the vectors of case bases and those of single pages.
    met = [what_words_meet(v, architecture) for v in (gallery, *views.values())]
    banks = [torch.from_numpy(v[stage.train]) for v in met]
    sampler = TextSampler(corpus, stage.train)
    anchors = anchor_vectors(banks[0], torch.from_numpy(sampler.plain))
    log.write("anchors", mean_cosine=float((banks[0] @ anchors.T).max(0).values.mean()))
    folder = stage.out / "text"
    if not (folder / "tokenizer.json").is_file():
        tokenizer = train_tokenizer(sampler.vocabulary(), folder)
        write_text_config(folder, architecture, tokenizer.get_vocab_size())
    tokenizer = load_tokenizer(folder)
    model = nn.ModuleDict({"text": build_text_tower(architecture.text_dim, folder)}).to(place.device)
    model.register_parameter("log_scale", nn.Parameter(torch.tensor(3.0)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    steps = max(1, TEXTS_PER_EPOCH // settings.batch) if not settings.limit else 2
    run = Resumable(model, optimizer, settings, place, log, total=steps * settings.epochs, horizon=0.998)
    sums = np.zeros(3)
    while run.running:
        rng = np.random.default_rng((settings.seed, run.step))
        drawn = sampler.draw(settings.batch, rng)
        bank = banks[int(rng.integers(len(banks)))]
        # Seeded by step, so that a resumed training goes on as if it had not been stopped.
        torch.manual_seed(settings.seed * 1_000_003 + run.step)
        model.train()
        forward, backward, anchor = _losses(model, drawn, token_ids(tokenizer, drawn.texts), bank, anchors, place)
        run.descend(forward + settings.contrast_weight * backward + settings.anchor_weight * anchor, 1.0)
        sums += [float(part.detach()) for part in (forward, backward, anchor)]
        if run.step % 50 == 0:
            means = {
                name: sum_ / 50 for name, sum_ in zip(("forward", "backward", "anchor"), sums.tolist(), strict=True)
            }
            log.write("step", step=run.step, total=run.total, **means)
            sums = np.zeros(3)
        if run.step % (steps * 2) == 0 or run.done:
            held_out = stage.held_out
            run.figures = _validate(model, run.average, tokenizer, corpus, held_out, met[1][held_out])
            log.write("epoch", epoch=run.step // steps, **run.figures)
        run.save_if_due()
    run.save()
    _write_encoder(settings, architecture, run)
    return run.figures


def _losses(
    model: nn.ModuleDict, drawn: TextBatch, ids: NDArray[np.int64], bank: Tensor, anchors: Tensor, place: Place
) -> tuple[Tensor, Tensor, Tensor]:
    """Texts that point at ECGs, ECGs that point at texts, and texts that lie at the anchors of their statements."""
    with place.autocast():
        vectors = model["text"](torch.from_numpy(ids))
    vectors = F.normalize(vectors.float(), dim=-1)
    scale = model.get_parameter("log_scale").clamp(max=4.6).exp()
    target = torch.from_numpy(drawn.targets)
    forward = text_loss(vectors, bank, target, torch.from_numpy(drawn.asks), scale)
    one = torch.from_numpy(drawn.statements)
    anchor = (1 - (vectors * anchors[one.clamp(min=0)]).sum(1))[one >= 0].sum() / len(one)
    # The other direction: among the batch's texts, an ECG should prefer those that fit it best.
    fits = target.T
    weight = fits.sum(1)
    some = torch.multinomial(weight + 1e-12, min(256, len(weight)))
    share = fits[some] / fits[some].sum(1, keepdim=True).clamp(min=1e-12)
    return forward, soft_cross_entropy(bank[some] @ vectors.T * scale, share), anchor


def _write_encoder(settings: TrainSettings, architecture: Architecture, run: Resumable) -> None:
    """The whole encoder, from the results of all stages, to `encoder/`."""
    out = Path(settings.out)
    state = {k: v for k, v in run.average.state.items() if k.startswith("text.")}
    state |= image_state(Path(settings.image)) | join_state(Path(settings.join))
    about = {
        "join": json.loads((Path(settings.join) / "join.json").read_text()),
        "image": json.loads((Path(settings.image) / "image.json").read_text()),
        "text": {"settings": settings.recipe(), "figures": run.figures},
    }
    files = save_encoder(
        out / "encoder", settings.architecture, architecture, state, out / "text", GALLERY_LAYOUTS, about
    )
    write_graphs(files)


@torch.no_grad()
def encode(model: nn.Module, tokenizer: Any, texts: list[str], batch: int = 256) -> NDArray[np.float32]:
    """Unit rows (n, dim) of texts by the text tower of `model`.

    Args:
        model: Holds the text tower.
        tokenizer: Its tokenizer.
        texts: What is encoded.
        batch: Texts at a time.

    Returns:
        Unit rows, float32 (n, dim).
    """
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
