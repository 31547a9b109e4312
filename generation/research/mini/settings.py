"""Settings of `ecgkin train` for the mini generator."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ecgkin.retrieval.encoders.training.settings import read_settings
from ecgkin.retrieval.errors import QueryError

STAGE = "mini"
CASES = ("mixed", "always", "never")
FOLDERS = ("out", "data", "tokens", "embeddings")


@dataclass(frozen=True, slots=True)
class MiniSettings:
    """One training.

    Attributes:
        stage: "mini".
        out: Folder for checkpoints, log and the finished model; a later run with the same folder goes on.
        data: PTB-XL folder; "" takes the environment variable ECGKIN_PTBXL.
        encoder: Whose image tower is looked through.
        tokens: Folder of cached visual tokens, shared by several trainings; "" takes `out`.
        embeddings: Folder of cached case vectors (as of `ecgkin evaluate`); "" takes `out`.
        cases: "never" shows no neighbours, "always" shows them in every report row, "mixed" in half of them: neighbour
            dropout, which makes one model of both.
        question_share: Questions beside each report, drawn anew each epoch.
        blank_share: Share of the rows with cases whose picture is blanked.
        varied_share: Share of the rows whose picture is the varied view.
        vocabulary: Tokens, all marks included.
        width, layers, inner: Of the decoder; heads are 64 wide.
        epochs, batch, lr, weight_decay, warmup_steps, dropout: The usual; dropout acts on the visual tokens.
        seed: Of everything.
        train_folds, validation_folds: PTB-XL folds.
        limit: Use only that many training records (0: all); for tests.
        threads: CPU threads (0: torch's default).
        max_steps: Stop after that many steps in all (0: run to the end); for tests.
        max_minutes: Stop after that long in this process and keep a checkpoint (0: no limit).
        checkpoint_minutes: At most this long passes between checkpoints.
        judged: Held-out records whose reports are written after each epoch.
        precision: "auto", "bf16" or "fp32".
    """

    out: str
    stage: str = STAGE
    data: str = ""
    encoder: str = "default"
    tokens: str = ""
    embeddings: str = ""
    cases: str = "mixed"
    question_share: float = 0.25
    blank_share: float = 0.1
    varied_share: float = 0.5
    vocabulary: int = 3168
    width: int = 256
    layers: int = 5
    inner: int = 704
    epochs: int = 8
    batch: int = 32
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup_steps: int = 200
    dropout: float = 0.1
    seed: int = 0
    train_folds: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    validation_folds: tuple[int, ...] = (9,)
    limit: int = 0
    threads: int = 0
    max_steps: int = 0
    max_minutes: float = 0.0
    checkpoint_minutes: float = 3.0
    judged: int = 256
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name in ("train_folds", "validation_folds"):
            object.__setattr__(self, name, tuple(int(f) for f in getattr(self, name)))
        if self.stage != STAGE:
            raise QueryError(f"stage is {self.stage!r} (expected {STAGE!r})")
        if self.cases not in CASES:
            raise QueryError(f"cases is {self.cases!r} (expected one of {', '.join(CASES)})")
        if self.width % 64:
            raise QueryError(f"width is {self.width} (expected a multiple of 64)")
        for name in ("epochs", "batch", "layers"):
            if getattr(self, name) < 1:
                raise QueryError(f"{name} is {getattr(self, name)} (expected 1 or more)")

    def to_dict(self) -> dict[str, Any]:
        """For YAML and JSON."""
        return asdict(self)

    def recipe(self) -> dict[str, Any]:
        """What another machine needs to repeat the training: the settings less the folders of this one."""
        return {name: value for name, value in self.to_dict().items() if name not in FOLDERS}


def load_mini_settings(path: Path, **overrides: Any) -> MiniSettings:
    """Read a YAML file of `MiniSettings`; see `retrieval.encoders.settings.read_settings`."""
    return read_settings(MiniSettings, path, **overrides)
