"""Runs, or goes on with, one stage of an encoder's training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ecgkin.retrieval.encoders.training.settings import TrainSettings
from ecgkin.retrieval.errors import InputError


def run_stage(settings: TrainSettings, data: Path | None = None) -> dict[str, Any]:
    """Run one stage, from its last checkpoint where there is one.

    Args:
        settings: Of the stage.
        data: PTB-XL folder; None takes that of the settings, then the environment variable ECGKIN_PTBXL.

    Returns:
        Validation figures of the averaged weights.

    Raises:
        InputError: There is no data, or it cannot be read.
        ModelError: An earlier stage is missing, or a checkpoint is damaged.
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
        from ecgkin.retrieval.encoders.training.signal import train_ensemble

        return train_ensemble(settings, root)
    if settings.stage == "image":
        from ecgkin.retrieval.encoders.training.image import train_image

        return train_image(settings, root)
    if settings.stage == "join":
        from ecgkin.retrieval.encoders.training.join import train_join

        return train_join(settings, root)
    if settings.stage == "fuse":
        from ecgkin.retrieval.encoders.training.fuse import train_fuse

        return train_fuse(settings, root)
    from ecgkin.retrieval.encoders.training.text import train_text

    return train_text(settings, root)
