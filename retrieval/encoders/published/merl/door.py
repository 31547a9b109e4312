"""`load_encoder("merl:DIR")`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecgkin.retrieval.encoders.published.checkpoint import Checkpoint, load_into, read_checkpoint
from ecgkin.retrieval.encoders.published.door import PublishedEncoder, find_checkpoint
from ecgkin.retrieval.encoders.published.names import merl as names
from ecgkin.retrieval.encoders.published.signals import LEAD_ORDERS, Samples, SignalRule
from ecgkin.retrieval.encoders.published.text import find_text_folder
from ecgkin.retrieval.encoders.published.wrong_system import check_system

if TYPE_CHECKING:
    from torch import Tensor


def scale(rows: Samples) -> Samples:
    """To 0..1 over the whole record, all leads together."""
    low, high = rows.min(), rows.max()
    return np.asarray((rows - low) / (high - low + 1e-8))


RULE = SignalRule(names.SYSTEM, LEAD_ORDERS["mimic"], 500.0, scale=scale)


class MerlEncoder(PublishedEncoder):
    """MERL behind the `Encoder` protocol; compared by cosine, as it was trained."""

    def text_vectors(self, texts: list[str]) -> Tensor:
        """Texts, each as a whole -> (n, dim)."""
        import torch

        assert self.text_folder is not None  # raw_texts refused otherwise
        ids, mask = self.text_folder.padded(texts, names.MAX_TOKENS)
        out: Tensor = self.network.words(
            torch.from_numpy(ids).to(self._device), torch.from_numpy(mask).to(self._device)
        )
        return out

    def without_text(self) -> str:
        """What to do instead."""
        return "this file is the backbone alone; words need the whole model, *_best_ckpt.pth"


def load_merl(place: Path, name: str, device: str = "cpu", settings: Mapping[str, str] | None = None) -> MerlEncoder:
    """Load MERL.

    Args:
        place: The checkpoint, or a folder with one `*_ckpt.pth`; the folder also holds configuration and tokenizer of
            the text model. A backbone file (`*_encoder.pth`) gives vectors of another space, and no words.
        name: Of the encoder.
        device: "cpu", "cuda" or "cuda:N".
        settings: "leads": "mimic" (the order it was trained with; default) or "standard", to see what it is worth.

    Raises:
        WeightsMissingError, ModelError: Something is missing, or does not fit.
    """
    chosen = dict(settings or {})
    rule = replace(RULE, leads=LEAD_ORDERS[chosen.get("leads", "mimic")])
    path = find_checkpoint(place, names.SYSTEM, (names.CHECKPOINT_PATTERN, ""))
    checkpoint = read_checkpoint(path, names.SYSTEM)
    from ecgkin.retrieval.encoders.published.merl.network import Backbone, build_backbone, build_merl

    for signature, its_names, tower in (
        (names.RESNET_BACKBONE_SIGNATURE, names.RESNET_BACKBONE_NAMES, "ResNet"),
        (names.VIT_BACKBONE_SIGNATURE, names.VIT_BACKBONE_NAMES, "ViT"),
    ):
        if all(key in checkpoint for key in signature):
            whole = {f"{names.BACKBONE_PREFIX}{key}": tensor for key, tensor in checkpoint.tensors.items()}
            checkpoint = Checkpoint(path, names.SYSTEM, whole, checkpoint.wrapper, checkpoint.beside)
            alone = Backbone(build_backbone(checkpoint))
            load_into(alone, checkpoint, its_names)
            kind = f"{tower}, backbone alone: no projection, no text, not the space of the whole model"
            return MerlEncoder(name, alone, checkpoint, rule, dim=alone.dim, kind=kind, device=device, settings=chosen)
    check_system(checkpoint, "merl")
    text = find_text_folder(path.parent, names.TEXT_TYPE, names.HUB_TEXT, names.TEXT_WANTED, names.MAX_TOKENS)
    network = build_merl(checkpoint, text)
    is_resnet = names.RESNET_KEY in checkpoint
    load_into(network, checkpoint, names.RESNET_NAMES if is_resnet else names.VIT_NAMES)
    tower = "ResNet" if is_resnet else "ViT"
    door = MerlEncoder(
        name,
        network,
        checkpoint,
        rule,
        dim=network.dim,
        kind=f"{tower}, whole model",
        text=text,
        device=device,
        settings=chosen,
    )
    door.published_sizes = names.PUBLISHED_SIZES[tower]
    return door
