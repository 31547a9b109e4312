"""`ecgkin train CONFIG`: run or continue one stage of the training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ecgkin.retrieval.encoders.training.settings import TrainSettings, load_settings
from ecgkin.retrieval.errors import InputError


def train(config: Path, *, data: Path | None = None, **overrides: Any) -> dict[str, Any]:
    """Run the stage that a YAML file describes, from its last checkpoint where there is one.

    Args:
        config: YAML of `TrainSettings`.
        data: PTB-XL folder; None takes the file's `data`, then the environment variable ECGKIN_PTBXL.
        overrides: Settings that replace the file's.

    Returns:
        Validation figures of the averaged weights.

    Raises:
        InputError: Settings or data cannot be read.
        ModelError: An earlier stage is missing, or a checkpoint is damaged.
    """
    return run_stage(load_settings(config, **overrides), data)


def run_stage(settings: TrainSettings, data: Path | None = None) -> dict[str, Any]:
    """Run one stage with settings that are at hand; see `train`.

    Args:
        settings: Name the stage.
        data: PTB-XL folder; None takes it from the settings or the environment.

    Returns:
        The last validation figures.
    """
    root = data or Path(settings.data or os.environ.get("ECGKIN_PTBXL", ""))
    if not str(root) or str(root) == ".":
        raise InputError(
            "no training data", hint="pass --data, set 'data' in the file, or set ECGKIN_PTBXL to a PTB-XL folder"
        )
    if settings.stage == "signal":
        from ecgkin.retrieval.encoders.training.signal import train_signal

        return train_signal(settings, root)
    if settings.stage == "ensemble":
        from ecgkin.retrieval.encoders.training.ensemble import train_ensemble

        return train_ensemble(settings, root)
    if settings.stage == "image":
        from ecgkin.retrieval.encoders.training.image import train_image

        return train_image(settings, root)
    if settings.stage == "join":
        from ecgkin.retrieval.encoders.training.join import train_join

        return train_join(settings, root)
    from ecgkin.retrieval.encoders.training.text import train_text

    return train_text(settings, root)
