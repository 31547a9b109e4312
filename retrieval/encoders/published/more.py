"""`load_encoder("more:DIR")`: MoRE, ECG and report in one space of 128 dimensions; its chest X-ray side stays closed.

First the network, as inference needs it; then signals, texts and loading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgkin.retrieval.encoders.published.checkpoint import Checkpoint, load_into, read_checkpoint
from ecgkin.retrieval.encoders.published.door import PublishedEncoder, find_checkpoint
from ecgkin.retrieval.encoders.published.names import more as names
from ecgkin.retrieval.encoders.published.signals import LEAD_ORDERS, Samples, SignalRule, running_median
from ecgkin.retrieval.encoders.published.text import build_tower, find_text_folder
from ecgkin.retrieval.encoders.published.wrong_system import check_system
from ecgkin.retrieval.errors import ModelError, QueryError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from ecgkin.retrieval.encoders.published.text import TextFolder


class Block(nn.Module):
    """Pre-norm transformer block, no bias on queries, keys and values; eps 1e-6, exact GELU."""

    def __init__(self, width: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.hidden_norm = nn.LayerNorm(width, eps=1e-6)
        self.hidden = nn.Linear(width, hidden)
        self.hidden_out = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(n, t, width) -> (n, t, width)."""
        n, t, width = x.shape
        query, key, value = (
            part.view(n, t, self.heads, -1).transpose(1, 2)
            for part in self.qkv(self.attention_norm(x)).chunk(3, dim=-1)
        )
        x = x + self.out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(n, t, width))
        out: Tensor = x + self.hidden_out(F.gelu(self.hidden(self.hidden_norm(x))))
        return out


@dataclass(frozen=True)
class EcgVitSizes:
    """What the sizes of MoRE's ECG tower are.

    Attributes:
        leads, channels: Rows of the input, and of what the first convolution makes of it.
        taps: Samples that the two convolutions take.
        width, hidden: Of the transformer, and inside its blocks.
        positions: Patches and the class token.
        depth, heads: Of the transformer.
    """

    leads: int
    channels: int
    taps: tuple[int, int]
    width: int
    positions: int
    depth: int
    hidden: int
    heads: int


class EcgVit(nn.Module):
    """Two convolutions make 196 patches; the class token of the last block, normalised, stands for the ECG."""

    def __init__(self, sizes: EcgVitSizes) -> None:
        super().__init__()
        self.patch1 = nn.Conv1d(sizes.leads, sizes.channels, sizes.taps[0], stride=sizes.taps[0])
        self.patch1_norm = nn.BatchNorm1d(sizes.channels)
        self.patch2 = nn.Conv1d(sizes.channels, sizes.width, sizes.taps[1])
        self.patch2_norm = nn.BatchNorm1d(sizes.width)
        self.class_token = nn.Parameter(torch.zeros(1, 1, sizes.width))
        self.positions = nn.Parameter(torch.zeros(1, sizes.positions, sizes.width))
        self.blocks = nn.ModuleList(Block(sizes.width, sizes.hidden, sizes.heads) for _ in range(sizes.depth))
        self.norm = nn.LayerNorm(sizes.width, eps=1e-6)
        self.width = sizes.width

    def patches(self, x: Tensor) -> Tensor:
        """(n, leads, 1000) -> (n, 196, width); the norm comes after ReLU here."""
        x = self.patch1_norm(F.relu(self.patch1(x)))
        x = self.patch2_norm(F.relu(self.patch2(x)))
        return x.transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, leads, 1000) -> (n, width)."""
        patches = self.patches(x)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), patches], dim=1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.summary(x)

    def summary(self, x: Tensor) -> Tensor:
        """Tokens (n, t, width) -> (n, width)."""
        out: Tensor = self.norm(x)[:, 0]
        return out


class Projector(nn.Module):
    """Linear, norm, ReLU, linear, norm: (n, given) -> (n, dim)."""

    def __init__(self, given: int, hidden: int, dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(given, hidden, bias=False)
        self.hidden_norm = nn.BatchNorm1d(hidden)
        self.out = nn.Linear(hidden, dim, bias=False)
        self.out_norm = nn.BatchNorm1d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(n, given) -> (n, dim)."""
        out: Tensor = self.out_norm(self.out(F.relu(self.hidden_norm(self.hidden(x)))))
        return out


class More(nn.Module):
    """ECG and text towers with their projectors."""

    text_parts = ("text",)

    def __init__(self, vit: EcgVit, text: nn.Module, text_width: int, hidden: int, dim: int) -> None:
        super().__init__()
        self.vit = vit
        self.text = text
        self.ecg_projector = Projector(vit.width, hidden, dim)
        self.text_projector = Projector(text_width, hidden, dim)
        self.dim = dim

    def ecg(self, x: Tensor) -> Tensor:
        """Signals (n, 12, 1000) -> vectors (n, dim), not normalised."""
        out: Tensor = self.ecg_projector(self.vit(x))
        return out

    def words(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids and mask (n, t) -> vectors (n, dim), not normalised."""
        out: Tensor = self.text_projector(self.mean_words(ids, mask))
        return out

    def mean_words(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Mean of the last hidden states over all positions, padding included, as it was trained: (n, text_width)."""
        states: Tensor = self.text(input_ids=ids, attention_mask=mask).last_hidden_state
        return states.mean(dim=1)


def merge_lora(checkpoint: Checkpoint) -> Checkpoint:
    """The same checkpoint with low-rank updates added to the weights that they update.

    W + (alpha / rank) * up @ down, Hu et al., arXiv 2106.09685.

    Raises:
        ModelError: A weight that MoRE updated has no update here, a part of one is missing, or not float32.
    """
    tensors = dict(checkpoint.tensors)
    for n in range(checkpoint.count(names.TEXT_LAYER)):
        for part in names.LORA_PARTS:
            layer = names.LORA_ON.format(n=n, part=part)
            base, down, up = f"{layer}{names.BASE_LAYER}weight", layer + names.LORA_DOWN, layer + names.LORA_UP
            lost = [name for name in (base, down, up) if name not in tensors]
            if lost:
                raise ModelError(
                    f"{checkpoint.path.name} does not fit {checkpoint.system}: misses {', '.join(lost)}",
                    hint="MoRE tuned queries and values by LoRA: each needs its base layer and both low-rank parts",
                )
            weight, one, two = (checkpoint.float32(name) for name in (base, down, up))
            for name in (base, down, up):
                del tensors[name]
            if one.ndim != 2 or two.ndim != 2 or two.shape[1] != one.shape[0] or len(two) != len(weight):
                raise ModelError(
                    f"{checkpoint.path.name} does not fit {checkpoint.system}: misshapen {down} {tuple(one.shape)}, "
                    f"{up} {tuple(two.shape)} for {tuple(weight.shape)}",
                    hint="the file is damaged or of another version",
                )
            tensors[f"{layer}.weight"] = merged(weight, one, two)
            bias = f"{layer}{names.BASE_LAYER}bias"
            if bias in tensors:
                tensors[f"{layer}.bias"] = tensors.pop(bias)
    return Checkpoint(checkpoint.path, checkpoint.system, tensors, checkpoint.wrapper, checkpoint.beside)


def merged(weight: Tensor, down: Tensor, up: Tensor) -> Tensor:
    """One updated weight.

    Args:
        weight: (out, in).
        down: Of the low-rank update, (rank, in).
        up: The same, (out, rank).

    Returns:
        (out, in).
    """
    return weight + (names.LORA_ALPHA / len(down)) * (up @ down)


def build_more(checkpoint: Checkpoint, text: TextFolder, heads: int) -> More:
    """Both towers of the sizes that a checkpoint says, not filled yet.

    Args:
        checkpoint: The file, updates merged.
        text: Configuration of the RoBERTa model.
        heads: Of the ECG tower; not in the file.

    Returns:
        The network.

    Raises:
        ModelError: A tensor that the sizes are read from is missing.
    """
    from ecgkin.retrieval.encoders.compat import prepare_torchvision

    prepare_torchvision()
    from transformers import RobertaConfig, RobertaModel

    size = checkpoint.size
    sizes = EcgVitSizes(
        leads=size(names.PATCH, 1),
        channels=size(names.PATCH),
        taps=(size(names.PATCH, 2), size(names.PATCH_OUT, 2)),
        width=size(names.PATCH_OUT),
        positions=size(names.POSITIONS, 1),
        depth=checkpoint.count(names.BLOCK),
        hidden=size(names.HIDDEN),
        heads=heads,
    )
    vit = EcgVit(sizes)
    roberta = build_tower(lambda config: RobertaModel(RobertaConfig(**config)), text, names.HUB_TEXT)
    return More(vit, roberta, int(text.config["hidden_size"]), size(names.PROJECTOR_HIDDEN), size(names.PROJECTOR_OUT))


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

    Returns:
        The encoder, ready to use.

    Raises:
        WeightsMissingError, ModelError: Something is missing, or does not fit.
    """
    chosen = dict(settings or {})
    rule = replace(RULE, leads=LEAD_ORDERS[chosen.get("leads", "standard")])
    max_tokens = int(chosen.get("tokens", names.MAX_TOKENS))
    path = find_checkpoint(place, names.SYSTEM, ("best_", ""))
    checkpoint = read_checkpoint(path, names.SYSTEM)
    check_system(checkpoint, "more")
    text = find_text_folder(
        path.parent,
        names.TEXT_TYPE,
        names.HUB_TEXT,
        names.TEXT_WANTED,
        max_tokens,
        tokenizer_of=names.HUB_TOKENIZER,
    )
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
