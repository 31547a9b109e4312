"""What the training stages share: devices and processes, schedule, order of rows, logs. `resumable`: checkpoints."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgkin.retrieval.encoders.settings import TrainSettings
from ecgkin.retrieval.errors import ModelError

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


def has_fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware (AVX512-BF16 or AMX)."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


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
    """Linear warm-up, then a cosine down to a thousandth."""
    warmup = min(settings.warmup_steps, max(1, total // 5))
    if step < warmup:
        return settings.lr * (step + 1) / warmup
    return settings.lr * (0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup))) + 1e-3)


def epoch_order(n: int, epoch: int, settings: TrainSettings, place: Place) -> Tensor:
    """Rows of one epoch for this process, the same after a resume."""
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
    order = torch.randperm(n, generator=generator)
    usable = n // (settings.batch * place.world) * settings.batch * place.world
    return order[place.rank : usable : place.world] if usable else order


def batches(order: Tensor, batch: int, first: int = 0) -> Iterator[Tensor]:
    """Cut rows into batches, beginning with batch number `first`; a short one at the end is left out."""
    for begin in range(first * batch, len(order) - min(batch, len(order)) + 1, batch):
        yield order[begin : begin + batch]


def macro_auc(truth: NDArray[np.floating[Any]], scores: NDArray[np.floating[Any]]) -> float:
    """Mean area under the ROC curve over the columns that have both classes; both (n, n_labels)."""
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
