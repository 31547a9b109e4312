"""`load_encoder("merl:DIR")`: MERL, two kinds of ECG tower (ResNet with attention pool, ViT) and a text tower.

First the network, as inference needs it; then signals, texts and loading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgkin.retrieval.encoders.published.checkpoint import Checkpoint, load_into, read_checkpoint
from ecgkin.retrieval.encoders.published.door import PublishedEncoder, find_checkpoint
from ecgkin.retrieval.encoders.published.names import merl as names
from ecgkin.retrieval.encoders.published.signals import LEAD_ORDERS, Samples, SignalRule
from ecgkin.retrieval.encoders.published.text import build_tower, find_text_folder
from ecgkin.retrieval.encoders.published.wrong_system import check_system

if TYPE_CHECKING:
    from torch import Tensor

    from ecgkin.retrieval.encoders.published.checkpoint import Checkpoint
    from ecgkin.retrieval.encoders.published.text import TextFolder


class ResidualBlock(nn.Module):
    """Two convolutions of width 3 (or 1, 3, 1 in a bottleneck) with norms, plus the shortcut; ReLU last."""

    def __init__(self, width_in: int, width: int, width_out: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        widths = [(width_in, width), (width, width), (width, width_out)] if bottleneck else []
        widths = widths or [(width_in, width), (width, width_out)]
        strided = 1 if bottleneck else 0
        self.n = len(widths)
        for place, (given, made) in enumerate(widths):
            kernel = 3 if not bottleneck or place == 1 else 1
            by = stride if place == strided else 1
            convolution = nn.Conv1d(given, made, kernel, stride=by, padding=kernel // 2, bias=False)
            self.add_module(f"conv{place + 1}", convolution)
            self.add_module(f"norm{place + 1}", nn.BatchNorm1d(made))
        changes = stride != 1 or width_in != width_out
        self.shortcut = nn.Sequential()
        if changes:
            self.shortcut = nn.Sequential(
                nn.Conv1d(width_in, width_out, 1, stride=stride, bias=False), nn.BatchNorm1d(width_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(n, width_in, t) -> (n, width_out, t / stride)."""
        y = x
        for place in range(1, self.n + 1):
            y = self.get_submodule(f"norm{place}")(self.get_submodule(f"conv{place}")(y))
            if place < self.n:
                y = F.relu(y)
        out: Tensor = F.relu(y + self.shortcut(x))
        return out


class ResNetBackbone(nn.Module):
    """A residual network over time whose stem is not pooled: (n, 12, 5000) -> (n, width, 313)."""

    def __init__(self, leads: int, stem: int, stages: Sequence[Sequence[tuple[int, int]]], bottleneck: bool) -> None:
        """Build it.

        Args:
            leads: Rows of the input.
            stem: Width of the first convolution.
            stages: Inner and outer width of every block, stage by stage; all but the first stage halve the time.
            bottleneck: Three convolutions a block in place of two.
        """
        super().__init__()
        self.stem = nn.Conv1d(leads, stem, 7, stride=2, padding=3, bias=False)
        self.stem_norm = nn.BatchNorm1d(stem)
        self.stages = nn.ModuleDict()
        width = stem
        for number, blocks in enumerate(stages, 1):
            made = []
            for place, (inner, outer) in enumerate(blocks):
                stride = 2 if number > 1 and place == 0 else 1
                made.append(ResidualBlock(width, inner, outer, stride, bottleneck))
                width = outer
            self.stages[str(number)] = nn.Sequential(*made)
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        """(n, leads, 5000) -> (n, width, 313)."""
        x = self.after_stem(F.relu(self.stem_norm(self.stem(x))))
        for stage in self.stages.values():
            x = stage(x)
        return x

    def after_stem(self, x: Tensor) -> Tensor:
        """Nothing: image networks would pool here, MERL does not."""
        return x

    def pooled(self, x: Tensor) -> Tensor:
        """Mean over time, (n, width): what the published encoder files give without a projection."""
        out: Tensor = self(x).mean(dim=2)
        return out


class AttentionPool(nn.Module):
    """One query, the class token, looks at itself and at all steps: (n, t, width) -> (n, width).

    Position 0 is added to the class token twice, once before it is put in front and once with all positions: so it was
    trained.
    """

    def __init__(self, steps: int, width: int, heads: int) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, steps + 1, width))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.out = nn.Linear(width, width)

    def tokens(self, steps: Tensor) -> Tensor:
        """Class token and steps with their positions, (n, t + 1, width)."""
        first = (self.class_token + self.positions[:, :1]).expand(len(steps), -1, -1)
        return torch.cat([first, steps], dim=1) + self.positions

    def forward(self, steps: Tensor) -> Tensor:
        """(n, t, width) -> (n, width)."""
        tokens = self.tokens(steps)
        seen, _ = self.attention(tokens[:, :1], tokens, tokens, need_weights=False)
        out: Tensor = self.out(seen[:, 0])
        return out


class VitBlock(nn.Module):
    """Pre-norm transformer block with heads of 64 and exact GELU."""

    def __init__(self, width: int, inner: int, hidden: int, head_size: int) -> None:
        super().__init__()
        self.heads = inner // head_size
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * inner)
        self.out = nn.Linear(inner, width)
        self.hidden_norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, hidden)
        self.hidden_out = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(n, t, width) -> (n, t, width)."""
        n, t, _ = x.shape
        query, key, value = (
            part.view(n, t, self.heads, -1).transpose(1, 2)
            for part in self.qkv(self.attention_norm(x)).chunk(3, dim=-1)
        )
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(n, t, -1)
        x = x + self.out(seen)
        out: Tensor = x + self.hidden_out(F.gelu(self.hidden(self.hidden_norm(x))))
        return out


@dataclass(frozen=True)
class VitSizes:
    """What the sizes of MERL's ViT are.

    Attributes:
        leads: Rows of the input.
        width, hidden: Of the transformer, and inside its blocks.
        patch, patches: Samples of one, and how many there are.
        depth: Blocks.
        inner, head_size: Of the attention: all heads together, and one.
    """

    leads: int
    width: int
    patch: int
    patches: int
    depth: int
    inner: int
    hidden: int
    head_size: int


class VitBackbone(nn.Module):
    """Patches of a tenth of a second, no class token; mean over patches, then norm: (n, 12, 5000) -> (n, width)."""

    def __init__(self, sizes: VitSizes) -> None:
        super().__init__()
        self.patches = nn.Conv1d(sizes.leads, sizes.width, sizes.patch, stride=sizes.patch, bias=False)
        self.positions = nn.Parameter(torch.zeros(1, sizes.patches, sizes.width))
        self.blocks = nn.ModuleList(
            VitBlock(sizes.width, sizes.inner, sizes.hidden, sizes.head_size) for _ in range(sizes.depth)
        )
        self.norm = nn.LayerNorm(sizes.width)
        self.width = sizes.width

    def forward(self, x: Tensor) -> Tensor:
        """(n, leads, 5000) -> (n, width)."""
        x = self.patches(x).transpose(1, 2)
        x = x + self.positions
        for block in self.blocks:
            x = block(x)
        return self.summary(x)

    def summary(self, x: Tensor) -> Tensor:
        """Patches (n, t, width) -> (n, width): mean first, norm after."""
        out: Tensor = self.norm(x.mean(dim=1))
        return out

    def pooled(self, x: Tensor) -> Tensor:
        """The same as `forward`."""
        out: Tensor = self(x)
        return out


class VitHead(nn.Module):
    """Linear, norm, ReLU, linear, norm: (n, width) -> (n, dim)."""

    def __init__(self, width: int, hidden: int, dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, hidden)
        self.hidden_norm = nn.BatchNorm1d(hidden)
        self.out = nn.Linear(hidden, dim)
        self.out_norm = nn.BatchNorm1d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(n, width) -> (n, dim)."""
        out: Tensor = self.out_norm(self.out(F.relu(self.hidden_norm(self.hidden(x)))))
        return out


class Backbone(nn.Module):
    """A tower alone, as in the published `*_best_encoder.pth`: no projection, no text."""

    def __init__(self, backbone: ResNetBackbone | VitBackbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.dim = backbone.width

    def ecg(self, x: Tensor) -> Tensor:
        """(n, 12, 5000) -> (n, width)."""
        return self.backbone.pooled(x)


class Merl(nn.Module):
    """Both towers; `narrow` and `pool` for the ResNet, `head` for the ViT."""

    def __init__(
        self, backbone: ResNetBackbone | VitBackbone, ecg_head: nn.Module, text: nn.Module, hidden: int, dim: int
    ) -> None:
        super().__init__()
        self.backbone = backbone
        if isinstance(ecg_head, AttentionPool):
            self.narrow = nn.Conv1d(backbone.width, dim, 1)
            self.pool = ecg_head
        else:
            self.head = ecg_head
        self.text = text
        self.text_hidden = nn.Linear(text.config.hidden_size, hidden)  # type: ignore[union-attr, arg-type]
        self.text_out = nn.Linear(hidden, dim)
        self.dim = dim

    def ecg(self, x: Tensor) -> Tensor:
        """Signals (n, 12, 5000) -> vectors (n, dim), not normalised."""
        out: Tensor
        if isinstance(self.backbone, ResNetBackbone):
            out = self.pool(self.narrow(self.backbone(x)).transpose(1, 2))
        else:
            out = self.head(self.backbone(x))
        return out

    def words(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids and mask (n, t) -> vectors (n, dim), not normalised."""
        out: Tensor = self.text_out(F.gelu(self.text_hidden(self.pooled_words(ids, mask))))
        return out

    def pooled_words(self, ids: Tensor, mask: Tensor) -> Tensor:
        """What BERT's pooler makes of the first token, (n, hidden)."""
        out: Tensor = self.text(input_ids=ids, attention_mask=mask).pooler_output
        return out


def build_backbone(checkpoint: Checkpoint) -> ResNetBackbone | VitBackbone:
    """A tower of the sizes that a checkpoint says; of a backbone file the names have been given their prefix.

    Raises:
        ModelError: A tensor that the sizes are read from is missing.
    """
    size = checkpoint.size
    if names.PATCH in checkpoint:
        sizes = VitSizes(
            leads=size(names.PATCH, 1),
            width=size(names.PATCH),
            patch=size(names.PATCH, 2),
            patches=size(names.PATCH_POSITIONS, 1),
            depth=checkpoint.count(names.VIT_BLOCK),
            inner=size(names.VIT_QKV) // 3,
            hidden=size(names.VIT_HIDDEN),
            head_size=names.VIT_HEAD_SIZE,
        )
        return VitBackbone(sizes)
    bottleneck = names.BOTTLENECK in checkpoint
    last = "conv3" if bottleneck else "conv2"
    stages = []
    for s in range(1, 5):
        first = names.BLOCK_FIRST.format(s=s, b=0)
        size(first)
        widths = []
        for b in range(checkpoint.count(names.BLOCK.format(s=s))):
            name = names.BLOCK_FIRST.format(s=s, b=b)
            widths.append((size(name), size(name.replace("conv1", last))))
        stages.append(widths)
    return ResNetBackbone(size(names.STEM, 1), size(names.STEM), stages, bottleneck)


def build_merl(checkpoint: Checkpoint, text: TextFolder) -> Merl:
    """Both towers of the sizes that a checkpoint says, not filled yet.

    Args:
        checkpoint: The file.
        text: Configuration of the BERT model.

    Returns:
        The network.

    Raises:
        ModelError: A tensor that the sizes are read from is missing.
    """
    from ecgkin.retrieval.encoders.compat import prepare_torchvision

    prepare_torchvision()
    from transformers import BertConfig, BertModel

    backbone = build_backbone(checkpoint)
    size = checkpoint.size
    dim = size(names.TEXT_PROJECTION_OUT)
    head: nn.Module
    if isinstance(backbone, ResNetBackbone):
        head = AttentionPool(size(names.POSITIONS, 1) - 1, size(names.POSITIONS, 2), names.POOL_HEADS)
    else:
        head = VitHead(backbone.width, size(names.VIT_PROJECTION), size(names.VIT_PROJECTION_OUT))
    bert = build_tower(lambda config: BertModel(BertConfig(**config)), text, names.HUB_TEXT)
    return Merl(backbone, head, bert, size(names.TEXT_PROJECTION), dim)


def scale(rows: Samples) -> Samples:
    """To 0..1 over the whole record, all leads together."""
    low, high = rows.min(), rows.max()
    return np.asarray((rows - low) / (high - low + 1e-8))


RULE = SignalRule(names.SYSTEM, LEAD_ORDERS["mimic"], 500.0, scale=scale)


class MerlEncoder(PublishedEncoder):
    """MERL behind the `Encoder` protocol; compared by cosine, as it was trained."""

    def text_vectors(self, texts: list[str]) -> Tensor:
        """Texts, each as a whole -> (n, dim)."""
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

    Returns:
        The encoder, ready to use.

    Raises:
        WeightsMissingError, ModelError: Something is missing, or does not fit.
    """
    chosen = dict(settings or {})
    rule = replace(RULE, leads=LEAD_ORDERS[chosen.get("leads", "mimic")])
    path = find_checkpoint(place, names.SYSTEM, (names.CHECKPOINT_PATTERN, ""))
    checkpoint = read_checkpoint(path, names.SYSTEM)
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
    checkpoint = checkpoint.without(names.OPTIONAL)
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
