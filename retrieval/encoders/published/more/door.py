"""`load_encoder("more:DIR")`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from ecgkin.retrieval.encoders.published.checkpoint import load_into, read_checkpoint
from ecgkin.retrieval.encoders.published.door import PublishedEncoder, find_checkpoint
from ecgkin.retrieval.encoders.published.names import more as names
from ecgkin.retrieval.encoders.published.signals import LEAD_ORDERS, Samples, SignalRule, running_median
from ecgkin.retrieval.encoders.published.text import find_text_folder
from ecgkin.retrieval.encoders.published.wrong_system import check_system
from ecgkin.retrieval.errors import ModelError, QueryError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

BASELINE_SAMPLES = (21, 61)


def condition(rows: Samples) -> Samples:
    """Minus the baseline of each lead: a running median over 21 samples, and one over 61 of that; at 100 Hz."""
    baseline = rows
    for width in BASELINE_SAMPLES:
        baseline = running_median(baseline, width)
    return np.asarray(rows - baseline)


def scale(rows: Samples) -> Samples:
    """To -1..1, each lead by itself; a flat lead becomes -1."""
    low, high = rows.min(axis=1, keepdims=True), rows.max(axis=1, keepdims=True)
    return np.asarray(2.0 * (rows - low) / (high - low + 1e-10) - 1.0)


RULE = SignalRule(names.SYSTEM, LEAD_ORDERS["standard"], 100.0, condition=condition, scale=scale)


class MoreEncoder(PublishedEncoder):
    """MoRE's ECG and text side behind the `Encoder` protocol; compared by cosine, as it was trained."""

    max_tokens = names.MAX_TOKENS

    def text_vectors(self, texts: list[str]) -> Tensor:
        """Texts as they are -> (n, dim); padding counts in the mean, so all are padded to one length."""
        import torch

        assert self.text_folder is not None  # there is always one
        ids, mask = self.text_folder.padded(texts, self.max_tokens)
        out: Tensor = self.network.words(
            torch.from_numpy(ids).to(self._device), torch.from_numpy(mask).to(self._device)
        )
        return out

    def encode_xrays(self, images: Sequence[Image.Image]) -> NoReturn:
        """Chest X-rays: not opened here.

        Raises:
            QueryError: Always.
        """
        raise QueryError(
            f"MoRE's chest X-ray side is not opened: there are no X-rays to check it against ({len(images)} given)",
            hint="search with an ECG or with words",
        )


def load_more(place: Path, name: str, device: str = "cpu", settings: Mapping[str, str] | None = None) -> MoreEncoder:
    """Load MoRE's ECG and text side.

    Args:
        place: The checkpoint, or a folder with one; the folder also holds configuration and tokenizer of its text
            model.
        name: Of the encoder.
        device: "cpu", "cuda" or "cuda:N".
        settings: "leads": "standard" (as its PTB-XL script feeds; default) or "mimic" (as its training data lie);
            "tokens": "128" (its zero-shot script; default) or "512" (its retrieval script); "heads": of the ECG tower,
            where its width is not the published one.

    Raises:
        WeightsMissingError, ModelError: Something is missing, or does not fit.
    """
    from ecgkin.retrieval.encoders.published.more.network import build_more, merge_lora

    chosen = dict(settings or {})
    rule = replace(RULE, leads=LEAD_ORDERS[chosen.get("leads", "standard")])
    max_tokens = int(chosen.get("tokens", names.MAX_TOKENS))
    path = find_checkpoint(place, names.SYSTEM, ("best_", ""))
    checkpoint = read_checkpoint(path, names.SYSTEM)
    check_system(checkpoint, "more")
    text = find_text_folder(path.parent, names.TEXT_TYPE, names.HUB_TEXT, names.TEXT_WANTED, max_tokens)
    heads = _heads(chosen.get("heads"), checkpoint.size(names.PATCH_OUT))
    checkpoint = merge_lora(checkpoint)
    network = build_more(checkpoint, text, heads)
    load_into(network, checkpoint, names.NAMES)
    door = MoreEncoder(
        name, network, checkpoint, rule, dim=network.dim, kind="whole model; its X-ray side is not read", text=text,
        device=device, settings={**chosen, "heads": heads},
    )  # fmt: skip
    door.published_sizes = names.PUBLISHED_SIZES
    door.max_tokens = max_tokens
    return door


def _heads(given: str | None, width: int) -> int:
    """Attention heads of the ECG tower, which are in no file that the authors publish."""
    if given is None:
        if width == names.PUBLISHED_WIDTH:
            return names.PUBLISHED_HEADS
        raise ModelError(
            f"the ECG tower is {width} wide, published are {names.PUBLISHED_WIDTH}: its number of heads is not known",
            hint="name it: more:DIR?heads=N",
        )
    heads = int(given)
    if heads < 1 or width % heads:
        raise ModelError(f"heads is {heads}, which does not divide the width {width}", hint="name another number")
    return heads
