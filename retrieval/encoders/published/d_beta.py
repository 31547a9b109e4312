"""`load_encoder("d-beta:DIR")`: D-BETA (first published as C-MELT), ECG and report in one space of 768 dimensions.

First the network, as inference needs it; then signals, texts and loading.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgkin.retrieval.encoders.published.checkpoint import Checkpoint, load_into, read_checkpoint
from ecgkin.retrieval.encoders.published.door import PublishedEncoder, find_checkpoint
from ecgkin.retrieval.encoders.published.names import d_beta as names
from ecgkin.retrieval.encoders.published.signals import LEAD_ORDERS, SignalRule
from ecgkin.retrieval.encoders.published.text import build_tower, find_text_folder
from ecgkin.retrieval.encoders.published.wrong_system import check_system
from ecgkin.retrieval.errors import ModelError, why

if TYPE_CHECKING:
    from torch import Tensor

    from ecgkin.retrieval.encoders.published.checkpoint import Checkpoint
    from ecgkin.retrieval.encoders.published.text import TextFolder


class PositionalConvolution(nn.Module):
    """A grouped convolution over time whose kernel is kept as direction and length, one length per tap.

    Weight = length * direction / |direction|, the norm taken over the first two dimensions.
    """

    def __init__(self, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.zeros(width, width // groups, kernel))
        self.length = nn.Parameter(torch.ones(1, 1, kernel))
        self.bias = nn.Parameter(torch.zeros(width))
        self.groups = groups

    def weight(self) -> Tensor:
        """The kernel, (width, width / groups, taps)."""
        norm = self.direction.pow(2).sum(dim=(0, 1), keepdim=True).sqrt()
        return self.length * self.direction / norm

    def forward(self, x: Tensor) -> Tensor:
        """(n, t, width) -> (n, t, width)."""
        taps = self.direction.shape[2]
        y = F.conv1d(x.transpose(1, 2), self.weight(), self.bias, padding=taps // 2, groups=self.groups)
        return F.gelu(self.trim(y, 1 - taps % 2)).transpose(1, 2)

    def trim(self, y: Tensor, extra: int) -> Tensor:
        """An even number of taps gives one step too many: the last one goes."""
        return y[:, :, : y.shape[2] - extra]


class PostNormLayer(nn.Module):
    """Transformer layer whose norms come after the sums; eps 1e-5, exact GELU."""

    def __init__(self, width: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.attention_norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, hidden)
        self.hidden_out = nn.Linear(hidden, width)
        self.hidden_norm = nn.LayerNorm(width)

    def attend(self, x: Tensor) -> Tensor:
        """Self-attention, (n, t, width) -> the same shape."""
        n, t, width = x.shape
        query, key, value = (
            part(x).view(n, t, self.heads, -1).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(n, t, width)
        out: Tensor = self.out(seen)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """(n, t, width) -> (n, t, width)."""
        x = self.attention_norm(x + self.attend(x))
        out: Tensor = self.hidden_norm(x + self.hidden_out(F.gelu(self.hidden(x))))
        return out


@dataclass(frozen=True)
class DBetaSizes:
    """What the sizes of D-BETA's ECG tower are.

    Attributes:
        leads, channels: Rows of the input and of what the convolutions make of it.
        convolutions, kernel: How many, and the samples that each takes.
        width, hidden: Of the transformer, and inside its layers.
        layers, heads: Of the transformer.
        position_kernel, position_groups: Of the convolution that gives steps their positions.
        dim: Of the vectors.
    """

    leads: int
    channels: int
    convolutions: int
    kernel: int
    width: int
    layers: int
    hidden: int
    heads: int
    position_kernel: int
    position_groups: int
    dim: int


class DBeta(nn.Module):
    """Both towers up to the pooled vectors that are compared."""

    text_parts = ("text",)

    def __init__(self, sizes: DBetaSizes, text: nn.Module, text_width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(
                sizes.leads if place == 0 else sizes.channels,
                sizes.channels,
                sizes.kernel,
                stride=sizes.kernel,
                bias=False,
            )
            for place in range(sizes.convolutions)
        )
        self.first_norm = nn.GroupNorm(sizes.channels, sizes.channels)
        self.feature_norm = nn.LayerNorm(sizes.channels)
        self.project = nn.Linear(sizes.channels, sizes.width)
        self.position = PositionalConvolution(sizes.width, sizes.position_kernel, sizes.position_groups)
        self.class_token = nn.Parameter(torch.zeros(sizes.width))
        self.norm = nn.LayerNorm(sizes.width)
        self.layers = nn.ModuleList(PostNormLayer(sizes.width, sizes.hidden, sizes.heads) for _ in range(sizes.layers))
        self.ecg_project = nn.Linear(sizes.width, sizes.dim)
        self.ecg_pooler = nn.Linear(sizes.dim, sizes.dim)
        self.text = text
        self.text_project = nn.Linear(text_width, sizes.dim)
        self.text_pooler = nn.Linear(sizes.dim, sizes.dim)
        self.dim = sizes.dim

    def convolve(self, x: Tensor) -> Tensor:
        """Signals (n, 12, t) -> (n, channels, t / 16); gain and offset of a channel end at the first norm."""
        for place, convolution in enumerate(self.convolutions):
            x = convolution(x)
            if place == 0:
                x = self.first_norm(x)
            x = F.gelu(x)
        return x

    def embed(self, features: Tensor) -> Tensor:
        """(n, channels, t) -> (n, t, width), with positions."""
        x = self.project(self.feature_norm(features.transpose(1, 2)))
        out: Tensor = x + self.position(x)
        return out

    def with_class_token(self, steps: Tensor) -> Tensor:
        """The class token, which has no position, in front: (n, t + 1, width)."""
        return torch.cat([self.class_token.expand(len(steps), 1, -1), steps], dim=1)

    def encode(self, steps: Tensor) -> Tensor:
        """Steps (n, t, width) -> tokens (n, t + 1, width), class token first."""
        x: Tensor = self.norm(self.with_class_token(steps))
        for layer in self.layers:
            x = layer(x)
        return x

    def ecg(self, x: Tensor) -> Tensor:
        """Signals (n, 12, t) -> vectors (n, dim), between -1 and 1, not normalised."""
        return self.pool_ecg(self.ecg_project(self.encode(self.embed(self.convolve(x)))))

    def pool_ecg(self, tokens: Tensor) -> Tensor:
        """Projected tokens (n, t + 1, dim) -> (n, dim), by the class token."""
        return torch.tanh(self.ecg_pooler(tokens[:, 0]))

    def words(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids and mask (n, t) -> vectors (n, dim), not normalised.

        Args:
            ids: Token ids, int64 (n, t).
            mask: 1 for tokens, 0 behind them, (n, t).

        Returns:
            (n, dim).
        """
        return self.pool_words(self.text_project(self.text_tokens(ids, mask)), mask)

    def text_tokens(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Last hidden states, (n, t, text_width).

        Args:
            ids: Token ids, int64 (n, t).
            mask: 1 for tokens, 0 behind them, (n, t).

        Returns:
            (n, t, text_width).
        """
        out: Tensor = self.text(input_ids=ids, attention_mask=mask).last_hidden_state
        return out

    def pool_words(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Projected tokens (n, t, dim) -> (n, dim), by the first word piece.

        Args:
            tokens: Projected, (n, t, dim).
            mask: Which tokens count; the first always does.

        Returns:
            Vectors, (n, dim).
        """
        return torch.tanh(self.text_pooler(tokens[:, 0]))


def build_d_beta(checkpoint: Checkpoint, text: TextFolder, heads: int, position_groups: int) -> DBeta:
    """Both towers of the sizes that a checkpoint says, not filled yet.

    Args:
        checkpoint: The file.
        text: Configuration of the T5 encoder.
        heads: Of the ECG transformer; not in the file.
        position_groups: Of the positional convolution; not in the file where its width is not known.

    Returns:
        The network.

    Raises:
        ModelError: A tensor that the sizes are read from is missing.
    """
    from ecgkin.retrieval.encoders.compat import prepare_torchvision

    prepare_torchvision()
    from transformers import T5Config, T5EncoderModel

    size = checkpoint.size
    first = names.CONVOLUTION.format(n=0)
    t5 = build_tower(lambda config: T5EncoderModel(T5Config(**config)), text, names.HUB_TEXT)
    sizes = DBetaSizes(
        leads=size(first, 1),
        channels=size(first),
        convolutions=checkpoint.count(names.CONVOLUTION),
        kernel=size(first, 2),
        width=size(names.PROJECTION),
        layers=checkpoint.count(names.LAYER),
        hidden=size(names.HIDDEN),
        heads=heads,
        position_kernel=size(names.POSITION_V, 2),
        position_groups=position_groups,
        dim=size(names.POOLER),
    )
    return DBeta(sizes, t5, int(text.config["d_model"]))


# mV as they are; shorter records are read without padding, as the network allows and the original was tried with.
RULE = SignalRule(names.SYSTEM, LEAD_ORDERS["standard"], 500.0, pad=False)


class DBetaEncoder(PublishedEncoder):
    """D-BETA behind the `Encoder` protocol.

    It was trained with the plain dot product of its raw vectors, which `raw_records` and `raw_texts` give; ecgkin
    compares unit vectors. Within one ECG the order of texts differs by the lengths of the text vectors alone.
    """

    def text_vectors(self, texts: list[str]) -> Tensor:
        """Texts, lower-cased -> (n, dim)."""
        assert self.text_folder is not None  # there is always one
        ids, mask = self.text_folder.padded([text.lower() for text in texts], None)
        out: Tensor = self.network.words(
            torch.from_numpy(ids).to(self._device), torch.from_numpy(mask).to(self._device)
        )
        return out


def load_d_beta(place: Path, name: str, device: str = "cpu", settings: Mapping[str, str] | None = None) -> DBetaEncoder:
    """Load D-BETA.

    Args:
        place: The checkpoint, or a folder with one; the folder also holds its config.json, and configuration and
            tokenizer of flan-t5.
        name: Of the encoder.
        device: "cpu", "cuda" or "cuda:N".
        settings: "leads": "standard" (as its public example is fed; default) or "mimic" (aVF before aVL, as its
            training data lie). Which one it was trained with is not published: measure both.

    Returns:
        The encoder, ready to use.

    Raises:
        WeightsMissingError, ModelError: Something is missing, or does not fit.
    """
    chosen = dict(settings or {})
    rule = replace(RULE, leads=LEAD_ORDERS[chosen.get("leads", "standard")])
    path = find_checkpoint(place, names.SYSTEM)
    raw = read_checkpoint(path, names.SYSTEM)
    tensors = {names.POSITION_RENAMED.get(key, key): tensor for key, tensor in raw.tensors.items()}
    for one, other in (names.SHARED_TWICE, names.SHARED_TWICE[::-1]):
        if one in tensors:
            tensors.setdefault(other, tensors[one])
    checkpoint = Checkpoint(path, names.SYSTEM, tensors, raw.wrapper, raw.beside)
    check_system(checkpoint, "d-beta")
    text = find_text_folder(path.parent, names.TEXT_TYPE, names.HUB_TEXT, names.TEXT_WANTED, names.MAX_TOKENS)
    width = checkpoint.size(names.PROJECTION)
    config = _read_config(path.parent, width)
    heads = int(config[names.HEADS_FIELD])
    if heads < 1 or width % heads:
        raise ModelError(
            f"{names.HEADS_FIELD} is {heads} in {path.parent / names.CONFIG_FILE}, which does not divide {width}",
            hint="configuration and checkpoint are of different models",
        )
    channels_in = checkpoint.size(names.POSITION_V, 1)
    network = build_d_beta(checkpoint, text, heads, width // max(1, channels_in))
    load_into(network, checkpoint, names.NAMES)
    checkpoint = checkpoint.without([names.SPARE])  # saved or not; the original drops it before its strict load
    door = DBetaEncoder(
        name, network, checkpoint, rule, dim=network.dim, kind="whole model", text=text, device=device,
        settings={**chosen, "heads": heads},
    )  # fmt: skip
    door.published_sizes = names.PUBLISHED_SIZES
    return door


def _read_config(folder: Path, width: int) -> Mapping[str, Any]:
    """The model section of config.json; without the file the published values, if the width is the published one."""
    path = folder / names.CONFIG_FILE
    if not path.is_file():
        if width == names.PUBLISHED_WIDTH:
            return {names.HEADS_FIELD: names.PUBLISHED_HEADS}
        raise ModelError(
            f"{path} is not there, and a width of {width} is not the published {names.PUBLISHED_WIDTH}",
            hint="the number of attention heads is only in config.json: copy it from the authors' configs/",
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))[names.CONFIG_SECTION]
        heads = int(config[names.HEADS_FIELD])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ModelError(
            f"{path} cannot be read as D-BETA's configuration: {why(error)}", hint="copy it from the authors' configs/"
        ) from error
    for field, wanted in names.CONFIG_WANTED.items():
        if config.get(field, wanted) != wanted:
            raise ModelError(
                f"{field} is {config[field]!r} in {path} (expected {wanted!r})",
                hint="another value would compute something else than this loader does",
            )
    return {**config, names.HEADS_FIELD: heads}
