"""Training settings: read from YAML, checked, kept beside every checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ecgkin.retrieval.errors import InputError, QueryError, why

PICTURES = ("paper", "fields")
if TYPE_CHECKING:
    from _typeshed import DataclassInstance

S = TypeVar("S", bound="DataclassInstance")
FOLDERS = ("out", "data", "teacher", "teachers", "image", "join", "encoder")
STAGES = ("signal", "ensemble", "image", "join", "text", "fuse")
NETWORKS = ("conv", "attention")


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """One training stage.

    Attributes:
        stage: "signal" (1-D network on samples, a teacher), "ensemble" (several of them as one), "image" (image tower
            towards the teacher's space),
            "join" (identity directions of the finished tower), "text" (text tower towards it), or "fuse" (a signal
            network beside the finished encoder).
        out: Folder for checkpoints, logs and results; a later run with the same folder goes on where it stopped.
        data: PTB-XL folder in its official layout; "" takes the environment variable ECGKIN_PTBXL.
        architecture: Name in `configs/`.
        train_folds, validation_folds: PTB-XL folds.
        epochs, batch, lr, weight_decay, warmup_steps: The usual. Batch is per process.
        seed: Of everything.
        teacher: Folder of the signal stage (image and fuse stages).
        image: Folder of the finished image stage (join and text stages).
        join: Folder of the finished join stage (text stage, which writes the whole encoder).
        encoder: Folder of the finished encoder (fuse stage).
        signal_share: Share of the squared length of a vector that the samples get (fuse stage).
        picture: What the image tower sees: "paper" (drawn pages), or "fields" (the encodings of Qiu et al., see
            `fields`; an arm of the evaluation, no finished encoder comes of it).
        network: Kind of signal network, "conv" or "attention" (signal stage).
        fs_hz: Samples a second that it takes.
        domain_share: Part of each batch that is made to look as if another machine had recorded it (signal stage).
        likelihoods: Learn how sure the reader was in place of whether a statement stands in the report (signal stage).
        teachers: Folders of the finished signal stages (ensemble stage).
        page_share: Share of training pictures that are full pages, photographed and read; the rest are drawn as trace
            maps.
        keep_tokens: Share of image tokens kept during training.
        full_tokens_from: Share of the training after which all tokens are kept.
        label_weight, distil_weight, relation_weight, contrast_weight, text_weight, anchor_weight: Of the losses.
        temperature: Of the losses over the bank.
        own_share: See `losses.distillation`.
        workers: Processes that draw; 0 draws in the training process.
        checkpoint_minutes: At most this long passes between checkpoints.
        precision: "auto" (bfloat16 where the processor has it), "bf16" or "fp32".
        device: "auto", "cpu" or "cuda".
        limit: Use only that many training records (0: all); for tests.
        threads: CPU threads of a process (0: torch's default).
        max_steps: Stop after that many steps in all (0: run to the end); for tests.
        max_minutes: Stop after that long in this process and keep a checkpoint (0: no limit).
    """

    stage: str
    out: str
    data: str = ""
    architecture: str = "default"
    train_folds: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    validation_folds: tuple[int, ...] = (9,)
    epochs: int = 12
    batch: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.03
    warmup_steps: int = 300
    seed: int = 0
    teacher: str = ""
    image: str = ""
    join: str = ""
    encoder: str = ""
    signal_share: float = 0.4
    picture: str = "paper"
    network: str = "conv"
    fs_hz: float = 50.0
    domain_share: float = 0.0
    likelihoods: bool = False
    teachers: tuple[str, ...] = ()
    page_share: float = 0.1
    keep_tokens: float = 1.0
    full_tokens_from: float = 1.0
    label_weight: float = 1.0
    distil_weight: float = 1.0
    relation_weight: float = 1.0
    contrast_weight: float = 0.5
    text_weight: float = 0.3
    anchor_weight: float = 4.0
    temperature: float = 0.05
    own_share: float = 0.2
    workers: int = 1
    checkpoint_minutes: float = 4.0
    precision: str = "auto"
    device: str = "auto"
    limit: int = 0
    threads: int = 0
    max_steps: int = 0
    max_minutes: float = 0.0

    def __post_init__(self) -> None:
        for name in ("train_folds", "validation_folds"):
            object.__setattr__(self, name, tuple(int(f) for f in getattr(self, name)))
        if self.stage not in STAGES:
            raise QueryError(f"stage is {self.stage!r} (expected one of {', '.join(STAGES)})")
        object.__setattr__(self, "teachers", tuple(str(folder) for folder in self.teachers))
        if self.network not in NETWORKS:
            raise QueryError(f"network is {self.network!r} (expected {' or '.join(NETWORKS)})")
        if not 0 <= self.domain_share <= 1:
            raise QueryError(f"domain_share is {self.domain_share} (expected 0 to 1)")
        if not 25 <= self.fs_hz <= 500:
            raise QueryError(f"fs_hz is {self.fs_hz} (expected 25 to 500)")
        if self.stage == "ensemble" and not self.teachers:
            raise QueryError("the ensemble stage needs 'teachers' (folders of signal stages)", hint="train those first")
        if self.picture not in PICTURES:
            raise QueryError(f"picture is {self.picture!r} (expected {' or '.join(PICTURES)})")
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise QueryError(f"{name} is {getattr(self, name)} (expected 1 or more)")
        if not 0 < self.signal_share < 1:
            raise QueryError(f"signal_share is {self.signal_share} (expected between 0 and 1)")
        if self.stage == "fuse" and not (self.encoder and self.teacher):
            raise QueryError(
                "the fuse stage needs 'encoder' (folder of a finished encoder) and 'teacher' (folder of a signal stage)"
            )
        if self.stage == "image" and not self.teacher:
            raise QueryError("the image stage needs 'teacher' (folder of the signal stage)", hint="train that first")
        if self.stage in ("join", "text") and not self.image:
            raise QueryError(
                f"the {self.stage} stage needs 'image' (folder of the image stage)", hint="train that first"
            )
        if self.stage == "text" and not self.join:
            raise QueryError("the text stage needs 'join' (folder of the join stage)", hint="train that first")

    def to_dict(self) -> dict[str, Any]:
        """For YAML and JSON."""
        return asdict(self)

    def recipe(self) -> dict[str, Any]:
        """What another machine needs to repeat the stage: the settings less the folders of this one."""
        return {name: value for name, value in self.to_dict().items() if name not in FOLDERS}


def load_settings(path: Path, **overrides: Any) -> TrainSettings:
    """Read a YAML file of `TrainSettings`; see `read_settings`."""
    return read_settings(TrainSettings, path, **overrides)


def read_settings(kind: type[S], path: Path, **overrides: Any) -> S:
    """Read a YAML file of training settings.

    Args:
        kind: Dataclass of the settings.
        path: The file.
        overrides: Settings that win over those of the file.

    Returns:
        The settings.

    Raises:
        InputError: The file cannot be read or is no YAML mapping.
        QueryError: A name is unknown or a value out of range.
    """
    import yaml

    try:
        raw = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"cannot read the training settings {path}: {why(error)}") from error
    if not isinstance(raw, dict):
        raise InputError(f"{path} holds no settings (expected 'name: value' lines)")
    given = {**raw, **overrides}
    known = {f.name for f in fields(kind)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise QueryError(f"{path} sets {', '.join(unknown)}, which are no settings (expected some of {sorted(known)})")
    try:
        return kind(**given)
    except TypeError as error:
        raise QueryError(f"{path}: {error}") from error
