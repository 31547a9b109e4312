"""A training that goes on after a kill at any moment: weights, their average, optimiser and step in one file."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgkin.retrieval.encoders.training.corpus import Corpus, load_corpus
from ecgkin.retrieval.encoders.training.settings import TrainSettings
from ecgkin.retrieval.errors import ModelError, why
from ecgkin.retrieval.graphs import has_fast_bfloat16

_log = logging.getLogger(__name__)


M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Place:
    """Where this process computes.

    Attributes:
        device: torch device.
        rank, world: This process and how many there are (torchrun sets them).
        dtype: Of matrix products.
    """

    device: torch.device
    rank: int
    world: int
    dtype: torch.dtype

    @property
    def first(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def autocast(self) -> AbstractContextManager[None]:
        """Mixed precision where it is on."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)


def find_place(settings: TrainSettings) -> Place:
    """Device and process of a training; starts the process group under torchrun (RANK, WORLD_SIZE)."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    cuda = settings.device == "cuda" or (settings.device == "auto" and torch.cuda.is_available())
    if cuda and not torch.cuda.is_available():
        raise ModelError("device is 'cuda', but torch sees no GPU", hint="set device: cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if settings.threads:
        torch.set_num_threads(settings.threads)
    if world > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if cuda else "gloo")
    if settings.precision == "fp32":
        dtype = torch.float32
    elif settings.precision == "bf16" or cuda or has_fast_bfloat16():
        dtype = torch.bfloat16
    else:
        dtype = torch.float32
    return Place(device, rank, world, dtype)


def channels_last(model: M) -> M:
    """The model with convolution weights in the memory order that CPUs and tensor cores like best."""
    laid_out: M = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return laid_out


def seed_everything(seed: int) -> None:
    """Seed torch; NumPy generators are made from seed, epoch and row where they are used."""
    torch.manual_seed(seed)


class Schedule(Protocol):
    """Settings that decide a learning rate."""

    @property
    def lr(self) -> float:
        """The highest one."""

    @property
    def warmup_steps(self) -> int:
        """Steps until it is reached."""


def learning_rate(step: int, total: int, settings: Schedule) -> float:
    """Linear warm-up, then a cosine down to a thousandth.

    Args:
        step: From 0.
        total: Steps of the whole training.
        settings: Say the peak rate and the length of the warm-up.

    Returns:
        The learning rate of this step.
    """
    warmup = min(settings.warmup_steps, max(1, total // 5))
    if step < warmup:
        return settings.lr * (step + 1) / warmup
    return settings.lr * (0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup))) + 1e-3)


def epoch_order(n: int, epoch: int, settings: TrainSettings, place: Place) -> Tensor:
    """Rows of one epoch for this process, the same after a resume.

    Args:
        n: Rows of the training set.
        epoch: From 0.
        settings: Say the seed.
        place: Says which process this is, and how many there are.

    Returns:
        Row numbers of this process, int64.
    """
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
    order = torch.randperm(n, generator=generator)
    usable = n // (settings.batch * place.world) * settings.batch * place.world
    return order[place.rank : usable : place.world] if usable else order


def batches(order: Tensor, batch: int, first: int = 0) -> Iterator[Tensor]:
    """Cut rows into batches, beginning with batch number `first`; a short one at the end is left out.

    Args:
        order: Rows of an epoch.
        batch: Rows a batch.
        first: Batch number to begin with.

    Returns:
        Rows of one batch after the other.
    """
    for begin in range(first * batch, len(order) - min(batch, len(order)) + 1, batch):
        yield order[begin : begin + batch]


def macro_auc(truth: NDArray[np.floating[Any]], scores: NDArray[np.floating[Any]]) -> float:
    """Mean area under the ROC curve over the columns that have both classes; both (n, n_labels).

    Args:
        truth: 0 or 1, (n, n_labels).
        scores: Larger for more likely, (n, n_labels).

    Returns:
        The mean over the labels that have both classes; NaN when there are none.
    """
    from sklearn.metrics import roc_auc_score

    both = (truth.max(axis=0) > 0) & (truth.min(axis=0) < 1)
    if not both.any():
        return float("nan")
    return float(np.mean(roc_auc_score(truth[:, both], scores[:, both], average=None)))


class TrainLog:
    """One JSON line per event in `log.jsonl`, and a short line for people."""

    def __init__(self, folder: Path, place: Place) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "log.jsonl" if place.first else None
        self._begin = time.monotonic()

    def write(self, event: str, **values: Any) -> None:
        """Append an event; floats are rounded to five digits."""
        if self._path is None:
            return
        row = {"event": event, "seconds": round(time.monotonic() - self._begin, 1)}
        row |= {k: round(v, 5) if isinstance(v, float) else v for k, v in values.items()}
        with self._path.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        _log.info("%s", " ".join(f"{k}={v}" for k, v in row.items()))


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """What every stage of an encoder's training begins with.

    Attributes:
        place: Device and process.
        out: Folder of the stage.
        log: Of the stage.
        corpus: Records of all folds that it needs.
        train, held_out: Rows of the corpus, those of training cut by the setting `limit`.
    """

    place: Place
    out: Path
    log: TrainLog
    corpus: Corpus
    train: NDArray[np.int64]
    held_out: NDArray[np.int64]

    @staticmethod
    def begin(settings: TrainSettings, data: Path) -> Stage:
        """Seed torch, open the log and load the records.

        Args:
            settings: Of the stage.
            data: PTB-XL folder.

        Returns:
            Place, log and rows.
        """
        place = find_place(settings)
        seed_everything(settings.seed)
        out = Path(settings.out)
        log = TrainLog(out, place)
        corpus = load_corpus(data, (*settings.train_folds, *settings.validation_folds))
        train = corpus.rows_of(settings.train_folds)
        if settings.limit:
            train = train[: settings.limit]
        return Stage(place, out, log, corpus, train, corpus.rows_of(settings.validation_folds))


class RunningAverage:
    """Exponential moving average of the weights; it is what is evaluated and shipped."""

    def __init__(self, model: nn.Module, horizon: float = 0.999) -> None:
        self.horizon = horizon
        self.state = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the model; fast at the beginning of a training.

        Args:
            model: The model after its step.
            step: From 0; early averages are short.
        """
        decay = min(self.horizon, (step + 1) / (step + 10))
        for name, value in model.state_dict().items():
            if value.dtype.is_floating_point:
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)

    @contextmanager
    def lent_to(self, model: nn.Module) -> Iterator[None]:
        """The model computes with the averaged weights, in evaluation mode, while the context lasts."""
        backup = {k: v.detach().clone() for k, v in model.state_dict().items()}
        training = model.training
        model.load_state_dict(self.state)
        model.eval()
        try:
            yield
        finally:
            model.load_state_dict(backup)
            model.train(training)


class RunSettings(Schedule, Protocol):
    """Settings of any training that can be stopped and gone on with."""

    @property
    def out(self) -> str:
        """Folder of the checkpoint."""

    @property
    def max_steps(self) -> int:
        """Stop after that many steps in all (0: run to the end)."""

    @property
    def max_minutes(self) -> float:
        """Stop after that long in this process (0: no limit)."""

    @property
    def checkpoint_minutes(self) -> float:
        """At most this long passes between checkpoints."""

    def to_dict(self) -> dict[str, Any]:
        """Kept beside the weights."""


class Resumable:
    """The state of one stage.

    Attributes:
        step: Steps done.
        total: Steps of the whole training.
        figures: The last validation figures.
        extra: Whatever else a stage must remember; tensors and plain values.
        average: Of the weights.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, settings: RunSettings, place: Place, log: TrainLog,
        *, total: int, horizon: float = 0.999, extra: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Go on from `checkpoint.pt` of the stage's folder where there is one.

        Raises:
            ModelError: The checkpoint cannot be read, or is of another model.
        """
        self._model, self._optimizer, self._settings, self._place = model, optimizer, settings, place
        self._path = Path(settings.out) / "checkpoint.pt"
        self.total = total
        self.step, self.figures, self.extra = 0, {}, dict(extra or {})
        # Wall and processor seconds of all processes so far; the latter without those that draw.
        self._before = self._spent = (0.0, 0.0)
        self.average = RunningAverage(model, horizon)
        stored = load_checkpoint(self._path, place)
        if stored is not None:
            try:
                model.load_state_dict(stored["model"])
                optimizer.load_state_dict(stored["optimizer"])
                self.average.state = stored["average"]
                self.step, self.figures, self.extra = int(stored["step"]), dict(stored["figures"]), stored["extra"]
                # A checkpoint of before this was kept has spent it all the same, but nobody knows how much.
                self._before = self._spent = (
                    float(stored.get("seconds", 0.0)), float(stored.get("cpu_seconds", 0.0)),
                )  # fmt: skip
            except (KeyError, ValueError, RuntimeError) as error:
                raise ModelError(
                    f"the checkpoint {self._path} is of another training: {error}",
                    hint="name another folder in 'out', or delete the checkpoint to begin this stage anew",
                ) from error
            log.write("resumed", step=self.step, total=total)
        self._began = self._last_save = time.monotonic()
        self._cpu_began = time.process_time()
        self._complete = self.done

    figures: dict[str, Any]
    extra: dict[str, Any]

    @property
    def running(self) -> bool:
        """Whether steps are left to do."""
        of = self._settings
        late = bool(of.max_minutes) and time.monotonic() - self._began > 60 * of.max_minutes
        return self.step < self.total and not late and not (of.max_steps and self.step >= of.max_steps)

    @property
    def done(self) -> bool:
        """Whether the training reached its end."""
        return self.step >= self.total

    def spent(self) -> dict[str, Any]:
        """For the summary beside the result; as of the last save, so that reading a finished run adds nothing."""
        return {
            "steps": self.step, "of_steps": self.total, "finished": self.done,
            "seconds": round(self._spent[0]), "cpu_seconds": round(self._spent[1]),
        }  # fmt: skip

    def descend(self, loss: Tensor, clip: float) -> None:
        """One step of the optimiser at the schedule's rate; a gradient that is not finite is left out.

        Args:
            loss: A scalar.
            clip: Largest norm of the gradient.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.total, self._settings)
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(self._model.parameters(), clip)
        if torch.isfinite(norm):
            self._optimizer.step()
            self.average.update(self._model, self.step)
        self.step += 1

    def save(self) -> None:
        """Write the checkpoint; the first process alone does."""
        self._last_save = time.monotonic()
        if not self._complete:  # reading a finished run again is no part of its budget
            wall, cpu = self._last_save - self._began, time.process_time() - self._cpu_began
            self._spent = (self._before[0] + wall, self._before[1] + cpu)
        if self._place.first:
            content = {
                "model": self._model.state_dict(), "average": self.average.state, "step": self.step,
                "optimizer": self._optimizer.state_dict(), "figures": self.figures, "extra": self.extra,
                "settings": self._settings.to_dict(), "seconds": self._spent[0], "cpu_seconds": self._spent[1],
            }  # fmt: skip
            save_checkpoint(self._path, content)

    def save_if_due(self) -> None:
        """Write the checkpoint when `checkpoint_minutes` have passed since the last one."""
        if time.monotonic() - self._last_save > 60 * self._settings.checkpoint_minutes:
            self.save()


def write_summary(path: Path, recipe: Mapping[str, Any], run: Resumable) -> None:
    """JSON beside a stage's result: what made it, how well it does, what it cost.

    Args:
        path: The JSON file.
        recipe: Settings and whatever else made the result.
        run: The finished run.
    """
    summary = {"settings": dict(recipe), "figures": run.figures, **run.spent()}
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint so that a kill at any moment leaves the old one or the new one.

    Args:
        path: The file; replaced in one step.
        content: Tensors and plain values.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".partial{os.getpid()}")
    with partial.open("wb") as stream:
        torch.save(dict(content), stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(partial, path)


def load_checkpoint(path: Path, place: Place) -> dict[str, Any] | None:
    """The last checkpoint, or None where there is none. Only tensors and plain values are read (`weights_only`).

    Args:
        path: The file.
        place: Says where tensors go.

    Returns:
        What `save_checkpoint` wrote, None where there is no file.
    """
    for stale in path.parent.glob(path.stem + ".partial*"):
        if place.first:
            stale.unlink(missing_ok=True)
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = torch.load(path, map_location=place.device, weights_only=True)
    except Exception as error:
        raise ModelError(
            f"the checkpoint {path} cannot be read: {why(error)}", hint="delete it to begin this stage anew"
        ) from error
    return content
