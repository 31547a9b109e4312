"""The one place that works round quirks of the libraries under the encoders."""

from __future__ import annotations

import importlib
import sys
from typing import Any

_KEPT_ALIVE: list[Any] = []


def prepare_torchvision() -> None:
    """Make `torchvision` importable beside a CPU-only torch; call before timm, open_clip or transformers' models.

    PyPI's torchvision wheels are built against the CUDA runtime. Beside a CPU build of torch their compiled part does
    not load, the operators `nms` and `qnms` stay undefined, and the import fails although nothing here detects boxes.
    The two schemas are then declared, without kernels, and the import is tried again. Where the wheels match, the
    first import succeeds and nothing is touched.
    """
    if "torchvision" in sys.modules:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "nms" not in str(error):
            raise
        import torch

        library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT_ALIVE.append(library)
        for name in [m for m in sys.modules if m == "torchvision" or m.startswith("torchvision.")]:
            del sys.modules[name]
        importlib.import_module("torchvision")
