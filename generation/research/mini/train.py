"""`ecgkin train scripts/training/mini.yaml`: rows, tokens, vocabulary, then the decoder; resumable at every point.

`Example` is an instruction row as the decoder is trained on it: prompt tokens, answer tokens, which record.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.generation.backends.mini.model import (
    MiniShape,
    answer_logits,
    batch_length,
    build_mini,
    decode_steps,
    save_mini,
)
from ecgkin.generation.backends.mini.tokens import Tokens
from ecgkin.generation.backends.mini.vocabulary import Vocabulary, train_vocabulary
from ecgkin.generation.backends.mini.wording import parse_prompt, split_answer
from ecgkin.generation.research.instruct.build import build_instructions
from ecgkin.generation.research.instruct.rows import FILE, IMAGE_TOKEN, Row, read_rows
from ecgkin.generation.research.mini.settings import MiniSettings
from ecgkin.generation.research.mini.views import CLEAN, VARIED, Progress, view_tokens
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl, PtbXlRow
from ecgkin.retrieval.errors import InputError, ModelError

PLAIN, RETRIEVED, ASKED = "plain", "retrieved", "question"

_JUDGED_CODES = 24  # tokens that a judged answer may take: its findings come first


@dataclass(frozen=True, slots=True)
class Example:
    """One row.

    Attributes:
        ecg_id: The record.
        kind: A report without cases, a report with cases, or a question.
        prompt, answer: Tokens; the answer ends with its end mark.
    """

    ecg_id: int
    kind: str
    prompt: tuple[int, ...]
    answer: tuple[int, ...]


def turns(row: Row) -> tuple[str, str]:
    """Question (without the image token) and answer of a row."""
    human, reply = (turn["value"] for turn in row["conversations"][:2])
    return human.replace(IMAGE_TOKEN, "", 1), reply


def ecg_id_of(row: Row) -> int:
    """ "ptb-xl-00017-3" -> 17."""
    return int(row["id"].split("-")[2])


def texts_of(rows: Iterable[Row]) -> Iterable[str]:
    """What the vocabulary is learnt from: plain questions and all answers, without the names of statements."""
    for row in rows:
        question, answer = turns(row)
        if not row["metadata"].get("cases"):
            yield question
            yield split_answer(answer)[1]


def examples_of(rows: Sequence[Row], vocabulary: Vocabulary) -> list[Example]:
    """All rows in token numbers.

    Args:
        rows: Of `ecgkin instruct build`.
        vocabulary: Of the generator.

    Returns:
        One example a row, in the same order.
    """
    out = []
    for row in rows:
        question, answer = turns(row)
        prompt = parse_prompt(question)
        codes, words = split_answer(answer)
        kind = ASKED if row["metadata"]["subtask"] != "report" else RETRIEVED if prompt.cases else PLAIN
        out.append(
            Example(
                ecg_id_of(row),
                kind,
                tuple(vocabulary.prompt_ids(prompt)),
                tuple(vocabulary.answer_ids(codes, words)),
            )
        )
    return out


def epoch_examples(examples: Sequence[Example], settings: MiniSettings, epoch: int) -> list[Example]:
    """The rows of one epoch in their order: each record's report once, plain or with cases, and some questions.

    Args:
        examples: All of them.
        settings: Say how many questions, and whether with cases.
        epoch: From 0.

    Returns:
        The examples of that epoch, shuffled.
    """
    rng = np.random.default_rng([settings.seed, epoch])
    plain = {e.ecg_id: e for e in examples if e.kind == PLAIN}
    retrieved = {e.ecg_id: e for e in examples if e.kind == RETRIEVED}
    share = {"mixed": 0.5, "always": 1.0, "never": 0.0}[settings.cases]
    chosen = [retrieved[i] if i in retrieved and rng.random() < share else one for i, one in plain.items()]
    asked = [e for e in examples if e.kind == ASKED]
    n_asked = min(len(asked), round(settings.question_share * len(chosen)))
    if n_asked:
        chosen += [asked[i] for i in rng.choice(len(asked), n_asked, replace=False)]
    # Batches of similar length waste less on padding; which batch comes when stays random.
    order = sorted(range(len(chosen)), key=lambda i: len(chosen[i].prompt) + len(chosen[i].answer) + 8 * rng.random())
    groups = [order[i : i + settings.batch] for i in range(0, len(order), settings.batch)]
    return [chosen[i] for g in rng.permutation(len(groups)) for i in groups[g]]


def train_mini(
    settings: MiniSettings, data: Path | None = None, *, encoder: Any = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Run or continue a training; the finished model stands in `out`/mini.

    Args:
        settings: All of it.
        data: PTB-XL folder; None takes that of the settings, then ECGKIN_PTBXL.
        encoder: Instead of the one that the settings name.
        progress: Called with (what, done, total).

    Returns:
        Figures on the validation fold: "loss", "statement micro-F1", "statement macro-F1" (plain prompts).

    Raises:
        InputError: There is no data.
        ModelError: The encoder has no patch tokens, or a checkpoint is of another training.
    """
    root = data or Path(settings.data or os.environ.get("ECGKIN_PTBXL", ""))
    if str(root) in ("", "."):
        raise InputError("no training data", hint="pass --ptbxl, set 'data', or set ECGKIN_PTBXL to a PTB-XL folder")
    from ecgkin.retrieval.encoders import load_encoder
    from ecgkin.retrieval.encoders.compat import prepare_torchvision

    prepare_torchvision()
    import torch

    if settings.threads:
        torch.set_num_threads(settings.threads)
    out = Path(settings.out)
    ptbxl = PtbXl(root, fs_hz=None)
    seen: Any = encoder if encoder is not None else load_encoder(settings.encoder)
    if not hasattr(seen, "patch_tokens"):
        raise ModelError(f"encoder {settings.encoder!r} has no patch tokens", hint="use a dual encoder")
    rows, held_out = ptbxl.select(settings.train_folds), ptbxl.select(settings.validation_folds)
    if settings.limit:
        rows, held_out = rows[: settings.limit], held_out[: max(8, settings.limit // 8)]
    instructions = instruction_rows(ptbxl, rows, seen, settings, progress)
    vocabulary = _vocabulary(instructions, out, settings)
    folder = Path(settings.tokens or settings.out)
    views = [view_tokens(ptbxl, rows, seen, CLEAN, folder, progress)]
    if settings.varied_share > 0:
        views.append(view_tokens(ptbxl, rows, seen, VARIED, folder, progress))
    held = view_tokens(ptbxl, held_out, seen, CLEAN, folder, progress)
    shape = MiniShape(
        vocabulary.size, visual=views[0].shape[1], visual_dim=views[0].shape[2], width=settings.width,
        layers=settings.layers, heads=settings.width // 64, inner=settings.inner,
    )  # fmt: skip
    material = _Material(vocabulary, examples_of(instructions, vocabulary), rows, views, held_out, held)
    return _run(settings, shape, material, seen.tower_fingerprint, progress)


def instruction_rows(
    data: PtbXl, rows: Sequence[PtbXlRow], encoder: Any, settings: MiniSettings, progress: Progress | None
) -> list[dict[str, Any]]:
    """The rows of `ecgkin instruct build` for these records, made once.

    Args:
        data: PTB-XL.
        rows: Which records.
        encoder: Whose neighbours go into the prompts.
        settings: Of the training.
        progress: Called with (what, done, total).

    Returns:
        Rows of the build.
    """
    from ecgkin.generation.research.retrieval.galleries import Embedder
    from ecgkin.retrieval.search.search import shipped_calibration

    folder = Path(settings.out) / "instruct"
    if not (folder / FILE).is_file():
        embedder = Embedder(data, encoder, Path(settings.embeddings or settings.out), progress)
        chosen = {row.ecg_id for row in rows}

        def vectors(some: Sequence[PtbXlRow]) -> Any:
            # The cache is kept by parts of all rows of the folds, as `ecgkin evaluate` asks for them.
            every = data.select(settings.train_folds) if not settings.limit else list(rows)
            at = {row.ecg_id: i for i, row in enumerate(every)}
            return embedder.gallery(every)[[at[row.ecg_id] for row in some]]

        limited = _Some(data, chosen) if settings.limit else data
        build_instructions(
            limited,  # type: ignore[arg-type]
            folder,
            folds=settings.train_folds,
            vectors=vectors,
            calibration=shipped_calibration(encoder),
            measure_every=0,
            seed=settings.seed,
            progress=progress,
        )
    return read_rows(folder / FILE)


class _Some:
    """A PTB-XL folder cut to some records."""

    def __init__(self, data: PtbXl, chosen: set[int]) -> None:
        self.root, self.record = data.root, data.record
        self._rows = [row for row in data.rows if row.ecg_id in chosen]

    def select(self, folds: Sequence[int]) -> list[PtbXlRow]:
        return [row for row in self._rows if row.fold in set(folds)]


def _vocabulary(rows: Sequence[dict[str, Any]], out: Path, settings: MiniSettings) -> Vocabulary:
    folder = out / "mini"
    if not (folder / "tokenizer.json").is_file():
        train_vocabulary(texts_of(rows), folder, settings.vocabulary)
    return Vocabulary.load(folder)


@dataclass(frozen=True, eq=False)
class _Material:
    """What the generator learns from and is judged by.

    Attributes:
        vocabulary: Of its texts.
        examples: All rows in token numbers.
        rows, views: Records of the training, and their patch tokens, view by view.
        held_out, held: The same of the validation, clean.
    """

    vocabulary: Vocabulary
    examples: Sequence[Example]
    rows: Sequence[PtbXlRow]
    views: Sequence[Tokens]
    held_out: Sequence[PtbXlRow]
    held: Tokens

    @cached_property
    def at(self) -> dict[int, int]:
        """Record number -> its row in `views`."""
        return {row.ecg_id: i for i, row in enumerate(self.rows)}


def _run(
    settings: MiniSettings, shape: MiniShape, material: _Material, fingerprint: str, progress: Progress | None
) -> dict[str, Any]:
    import torch

    from ecgkin.retrieval.encoders.training.loop import Place, Resumable, TrainLog
    from ecgkin.retrieval.graphs import has_fast_bfloat16

    out, place = Path(settings.out), Place(torch.device("cpu"), 0, 1, torch.float32)
    torch.manual_seed(settings.seed)
    model, rows, examples = build_mini(shape), material.rows, material.examples
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": settings.weight_decay}, {"params": rest, "weight_decay": 0.0}],
        lr=settings.lr,
    )
    steps = -(-len(epoch_examples(examples, settings, 0)) // settings.batch)
    log = TrainLog(out, place)
    run = Resumable(
        model, optimizer, settings, place, log, total=steps * settings.epochs, horizon=0.998,
        extra={"fingerprint": fingerprint},
    )  # fmt: skip
    if run.extra["fingerprint"] != fingerprint:
        raise ModelError(
            f"the checkpoint in {out} was trained on the tokens of another encoder",
            hint="give another out folder, or remove the checkpoint",
        )
    fast = settings.precision == "bf16" or (settings.precision == "auto" and has_fast_bfloat16())
    running = 0.0
    while run.running:
        epoch, first = divmod(run.step, steps)
        chosen = epoch_examples(examples, settings, epoch)
        for begin in range(first * settings.batch, len(chosen), settings.batch):
            batch = chosen[begin : begin + settings.batch]
            loss = _loss(model, batch, material, settings, run.step, fast)
            run.descend(loss, 1.0)
            running = 0.95 * running + 0.05 * float(loss.detach()) if running else float(loss.detach())
            if run.step % 25 == 0:
                log.write("step", step=run.step, total=run.total, loss=running)
                if progress is not None:
                    progress("steps", run.step, run.total)
            run.save_if_due()
            if not run.running:
                break
        run.figures = _judge(shape, run.average.state, material, settings)
        log.write("epoch", epoch=run.step / steps, loss=running, **run.figures)
        run.save()
    about = {
        "image_fingerprint": fingerprint, "cases": settings.cases, **run.spent(), "validation": run.figures,
        "settings": settings.recipe(),
        "data": f"PTB-XL folds {sorted({row.fold for row in rows})}, {len(rows)} records",
    }  # fmt: skip
    save_mini(out / "mini", run.average.state, shape, about)
    return run.figures


def _loss(
    model: Any, batch: Sequence[Example], material: _Material, settings: MiniSettings, step: int, fast: bool
) -> Any:
    """Mean negative log-likelihood of the answers' tokens."""
    import torch

    views, at, pad = material.views, material.at, material.vocabulary.pad

    # Seeded by step, so that a resumed training goes on as if it had not been stopped.
    rng = np.random.default_rng([settings.seed, 7, step])
    torch.manual_seed(settings.seed * 1_000_003 + step)
    picked = [views[int(len(views) > 1 and rng.random() < settings.varied_share)][at[e.ecg_id]] for e in batch]
    tokens = torch.from_numpy(np.stack(picked).astype(np.float32))
    if settings.dropout:
        tokens = tokens * (torch.rand(tokens.shape[:2])[:, :, None] >= settings.dropout)
    blank = np.array([e.kind == RETRIEVED and rng.random() < settings.blank_share for e in batch])
    longest = batch_length(max(len(e.prompt) + len(e.answer) for e in batch) - 1)
    ids = torch.full((len(batch), longest), pad)
    wanted = torch.zeros((len(batch), longest), dtype=torch.bool)
    truth: list[int] = []
    for i, e in enumerate(batch):
        line = [*e.prompt, *e.answer]
        ids[i, : len(line) - 1] = torch.tensor(line[:-1])
        wanted[i, len(e.prompt) - 1 : len(line) - 1] = True
        truth += e.answer
    model.train()
    with torch.autocast("cpu", torch.bfloat16, enabled=fast):
        logits = answer_logits(model, tokens, torch.from_numpy(~blank), ids, wanted, pad)
    return torch.nn.functional.cross_entropy(logits.float(), torch.tensor(truth))


def _judge(shape: MiniShape, state: dict[str, Any], material: _Material, settings: MiniSettings) -> dict[str, float]:
    """F1 of the findings that the averaged weights write for held-out pictures without cases."""
    import torch
    from sklearn.metrics import f1_score

    from ecgkin.generation.backends.mini.wording import MiniPrompt
    from ecgkin.generation.research.instruct.rows import language_of
    from ecgkin.generation.research.retrieval.labels import default_space

    vocabulary, held_out, held = material.vocabulary, material.held_out, material.held
    model = build_mini(shape)
    model.load_state_dict(state)
    model.eval()
    n = min(settings.judged, len(held_out))
    some = np.sort(np.random.default_rng(settings.seed).choice(len(held_out), n, replace=False))
    codes: list[tuple[str, ...]] = []
    with torch.inference_mode():
        for begin in range(0, n, 64):
            part = some[begin : begin + 64]
            tokens = torch.from_numpy(np.asarray(held[part], dtype=np.float32))
            prompts = [vocabulary.prompt_ids(MiniPrompt(language=language_of(held_out[i]))) for i in part]
            answers: list[list[int]] = [[] for _ in part]
            for drawn in decode_steps(
                model, tokens, torch.ones(len(part), dtype=torch.bool), prompts, pad=vocabulary.pad, end=vocabulary.end,
                max_new=_JUDGED_CODES,
            ):  # fmt: skip
                for answer, token in zip(answers, drawn, strict=True):
                    answer.append(token)
            codes += [vocabulary.codes(answer) for answer in answers]
    space = default_space()
    truth = space.statements([held_out[i].labels for i in some])
    said = space.statements([dict.fromkeys(c, 1.0) for c in codes])
    present = truth.any(axis=0)
    return {
        "statement micro-F1": float(f1_score(truth, said, average="micro", zero_division=0)),
        "statement macro-F1": float(f1_score(truth[:, present], said[:, present], average="macro", zero_division=0)),
    }
