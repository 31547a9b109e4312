"""Networks behind the arms of a comparison: those that were trained for it, by their folders, and untrained ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.generation.research.retrieval.ranking import Floats, unit_rows
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXlRow
from ecgkin.retrieval.errors import ModelError, QueryError, WeightsMissingError

# A file of each kind of trained arm that is another one after another training.
_SUMMARIES = {"fields": "image.json", "paper": "image.json", "signal": "targets.npz"}


def trained_fingerprint(name: str) -> str:
    """Hash over the weights behind an arm that names a folder; "" for other arms, and where there is nothing yet."""
    prefix, _, folder = name.partition(":")
    path = Path(folder) / _SUMMARIES.get(prefix, "")
    if prefix not in _SUMMARIES or not path.is_file():
        return ""
    return hashlib.blake2b(path.read_bytes(), digest_size=6).hexdigest()


def image_stage(folder: Path, picture: str) -> Callable[[Iterable[Any]], Floats]:
    """A finished image stage as a function of records; both kinds of picture are made without a page.

    Args:
        folder: Of the stage.
        picture: "paper" or "fields".

    Returns:
        Records -> unit rows (n, dim).

    Raises:
        WeightsMissingError: There is none.
        ModelError: It stopped before its end, or saw another kind of picture.
    """
    import json

    if not (folder / "image.json").is_file():
        raise WeightsMissingError(
            f"{folder} holds no finished image stage", hint=f"ecgkin train scripts/training/pair_{picture}.yaml"
        )
    summary = json.loads((folder / "image.json").read_text())
    settings = summary["settings"]
    if not summary["finished"]:
        raise ModelError(
            f"the image stage in {folder} stopped before its end", hint="run its training again: it goes on"
        )
    if settings.get("picture", "paper") != picture:
        raise ModelError(f"{folder} was trained on {settings.get('picture', 'paper')!r} (expected {picture!r})")
    import torch

    from ecgkin.retrieval.ecg.drawing.trace_map import draw_trace_map
    from ecgkin.retrieval.encoders.model import Architecture
    from ecgkin.retrieval.encoders.training.fields import field_map
    from ecgkin.retrieval.encoders.training.image import ImageStudent
    from ecgkin.retrieval.encoders.training.vectors import image_state
    from ecgkin.retrieval.graphs import has_fast_bfloat16

    def drawn(record: Any) -> Any:
        return field_map(record) if picture == "fields" else draw_trace_map(record)[None]

    model = ImageStudent(Architecture.load(settings["architecture"]), picture)
    model.load_state_dict(image_state(folder))
    model.eval()

    def encode(records: Iterable[Any]) -> Floats:
        maps = np.stack([drawn(record) for record in records])
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bfloat16()):
            parts = [
                model(torch.from_numpy(maps[i : i + 64]).float().div_(255))[0].float().numpy()
                for i in range(0, len(maps), 64)
            ]
        return unit_rows(np.concatenate(parts))

    return encode


def signal_vectors(folder: Path, rows: Sequence[PtbXlRow]) -> Floats:
    """Unit vectors of records as a finished signal stage left them.

    Args:
        folder: Of the stage.
        rows: Which records.

    Returns:
        Unit rows (n, dim).

    Raises:
        WeightsMissingError: The stage is not finished.
        QueryError: It was not trained and validated on all of these records.
    """
    path = folder / "targets.npz"
    if not path.is_file():
        raise WeightsMissingError(f"{path} is missing", hint="ecgkin train scripts/training/signal.yaml")
    with np.load(path) as stored:
        at = {int(e): i for i, e in enumerate(stored["ecg_ids"])}
        missing = [row.ecg_id for row in rows if row.ecg_id not in at]
        if missing:
            raise QueryError(
                f"{path} lacks {len(missing)} of {len(rows)} records, {missing[0]} among them",
                hint="train it with these folds as validation folds",
            )
        return unit_rows(stored["vectors"][[at[row.ecg_id] for row in rows]].astype(np.float32))


def untrained_encoder(folder: Path, seed: int, like: str = "default") -> Path:
    """An encoder of a known architecture with random weights, written once; returns its folder.

    Args:
        folder: Where it is written.
        seed: Of the weights.
        like: Encoder or architecture that it takes after.

    Returns:
        The encoder's folder.
    """
    if (folder / "encoder.json").is_file() or any(folder.glob("*.safetensors")):
        return folder
    from ecgkin.retrieval.encoders.checkpoint import WEIGHTS, read_encoder_files, save_encoder
    from ecgkin.retrieval.encoders.identity import IdentityHead
    from ecgkin.retrieval.encoders.model import build_image_tower, build_text_tower

    files = read_encoder_files(WEIGHTS / like)
    import torch

    torch.manual_seed(seed)
    visual, text = build_image_tower(files.architecture), build_text_tower(files.architecture.text_dim, files.folder)
    identity = IdentityHead(visual.trunk.num_features, files.architecture.identity_dim)
    state = {f"{part}.{k}": v for part, module in (("visual", visual), ("text", text), ("identity", identity))
             for k, v in module.state_dict().items()}  # fmt: skip
    saved = save_encoder(
        folder, f"untrained-{seed}", files.architecture, state, files.folder, files.gallery_layouts,
        {"seed": seed, "trained": False},
    )  # fmt: skip
    return Path(saved.folder)
