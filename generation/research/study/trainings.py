"""Trainings by their YAML files: one (`ecgkin train`), or all that a comparison lacks (`train:` of a study)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecgkin.generation.research.mini.settings import STAGE as MINI
from ecgkin.generation.research.mini.settings import MiniSettings, load_mini_settings
from ecgkin.retrieval.encoders.training.settings import TrainSettings, load_settings
from ecgkin.retrieval.errors import InputError, QueryError, why

_LOG = logging.getLogger(__name__)
Progress = Callable[[str, int, int], None]
# What a finished training leaves behind, by stage, below its folder.
_SUMMARIES: Mapping[str, str] = {"signal": "signal.json", "image": "image.json", MINI: "mini/config.json"}
# Settings that decide how fast, and not what comes of it.
_NEUTRAL = frozenset({"threads", "workers", "checkpoint_minutes", "max_minutes", "device"})


@dataclass(frozen=True)
class Planned:
    """One training that a comparison needs.

    Attributes:
        config: Its YAML file.
        settings: The file's, with the comparison's changes.
    """

    config: Path
    settings: TrainSettings | MiniSettings

    @property
    def summary(self) -> Path:
        """What is there once it has ended."""
        return Path(self.settings.out) / _SUMMARIES[self.settings.stage]


def read_training(config: Path, **changes: Any) -> TrainSettings | MiniSettings:
    """Settings of a training; the file's stage says of which kind.

    Raises:
        InputError: The file cannot be read or is no YAML mapping.
        QueryError: A setting is unknown or out of range.
    """
    import yaml

    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"cannot read the training settings {config}: {why(error)}") from error
    stage = {**content, **changes}.get("stage") if isinstance(content, dict) else None
    return load_mini_settings(config, **changes) if stage == MINI else load_settings(config, **changes)


def train_stage(
    settings: TrainSettings | MiniSettings, data: Path | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Run or continue one training; its validation figures.

    Args:
        settings: Of the stage.
        data: PTB-XL folder; None takes it from the settings or the environment.
        progress: Called with (what, done, total).

    Returns:
        The last validation figures.

    Raises:
        InputError: There is no data.
        ModelError: An earlier stage is missing, or a checkpoint is damaged.
    """
    if isinstance(settings, MiniSettings):
        from ecgkin.generation.research.mini.train import train_mini

        return train_mini(settings, data, progress=progress)
    from ecgkin.retrieval.encoders.training import run_stage

    return run_stage(settings, data)


def plan(entries: Sequence[Mapping[str, Any]]) -> list[Planned]:
    """The trainings of a study, in their order.

    Args:
        entries: Each with `config` (path of a YAML file); its other names replace the file's settings.

    Raises:
        InputError, QueryError: A file cannot be read, or the training cannot stand in a study.
    """
    out = []
    for entry in entries:
        changes = {name: value for name, value in entry.items() if name != "config"}
        config = Path(str(entry.get("config", "")))
        if not config.is_file():
            raise QueryError(f"train: has no file {config} (expected config: a training's YAML file)")
        settings = read_training(config, **changes)
        if settings.stage not in _SUMMARIES:
            raise QueryError(f"{config} is of stage {settings.stage!r} (a study trains {', '.join(_SUMMARIES)})")
        out.append(Planned(config, settings))
    folders = [planned.settings.out for planned in out]
    if len(set(folders)) < len(folders):
        raise QueryError(f"two trainings write to the same folder: {sorted(folders)}", hint="give each its own `out`")
    return out


def train_missing(planned: Sequence[Planned], data: Path, progress: Progress | None = None) -> list[dict[str, Any]]:
    """Run the trainings that have not ended yet, each from its last checkpoint.

    Args:
        planned: In the order in which they need each other.
        data: PTB-XL folder.
        progress: Called with (what, done, total).

    Returns:
        For each: "name", "stage", "picture", "seed", "epochs", "batch", "steps", "seconds", "cpu_seconds" (None where
        it was not kept), "figures".

    Raises:
        QueryError: A folder holds a finished training with other settings.
        InputError, ModelError: As `train_stage`.
    """
    out = []
    for number, item in enumerate(planned):
        if progress is not None:
            progress(f"training {item.settings.out}", number, len(planned))
        summary = _summary(item)
        if summary is None:
            _LOG.info("training %s", item.config.name)
            train_stage(item.settings, data, progress)
            summary = _summary(item)
            if summary is None:
                raise QueryError(
                    f"{item.config} stopped before its end", hint="leave max_steps and max_minutes at 0 in a study"
                )
        out.append(_row(item, summary))
    return out


def _summary(item: Planned) -> dict[str, Any] | None:
    """What a finished training left, or None."""
    if not item.summary.is_file():
        return None
    found: dict[str, Any] = json.loads(item.summary.read_text(encoding="utf-8"))
    if not found.get("finished", found.get("steps") == found.get("of_steps")):
        return None
    wanted, had = item.settings.recipe(), dict(found.get("settings", {}))
    other = [
        f"{name} {had[name]!r} (asked {value!r})"
        for name, value in json.loads(json.dumps(wanted)).items()
        if name in had and name not in _NEUTRAL and had[name] != value
    ]
    if other:
        raise QueryError(
            f"{item.summary.parent} was trained with other settings: {', '.join(other)}",
            hint="give another `out`, or remove that folder",
        )
    return found


def _row(item: Planned, summary: Mapping[str, Any]) -> dict[str, Any]:
    of = item.settings
    return {
        "name": of.out, "config": item.config.name, "stage": of.stage, "picture": getattr(of, "picture", None),
        "seed": of.seed, "epochs": of.epochs, "batch": of.batch, "steps": summary.get("steps"),
        "seconds": summary.get("seconds"), "cpu_seconds": summary.get("cpu_seconds"),
        "figures": summary.get("figures", summary.get("validation", {})),
    }  # fmt: skip
