"""The signal network: samples of the twelve leads -> features, unit vectors and label logits.

It is the teacher of the image tower, and a part of an encoder that has one (`Architecture.signal_dim`): a recording, or
a page whose curves were followed, is then compared by its samples as well.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgkin.retrieval.ecg.statements.catalogue import CODES, SUPERCLASSES

N_LABELS = len(CODES) + len(SUPERCLASSES)
FEATURES = 512


class SignalBlock(nn.Module):
    """Two convolutions along time with a skip. (1, k) kernels on 4-D tensors: CPUs have a fast path for these."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 7, stride: int = 1) -> None:
        super().__init__()
        pad = (0, kernel // 2)
        self.conv1 = nn.Conv2d(c_in, c_out, (1, kernel), stride=(1, stride), padding=pad, bias=False)
        self.norm1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, (1, kernel), padding=pad, bias=False)
        self.norm2 = nn.BatchNorm2d(c_out)
        nn.init.zeros_(self.norm2.weight)
        self.skip: nn.Module = nn.Identity()
        if c_in != c_out or stride != 1:
            pool = nn.AvgPool2d((1, stride), ceil_mode=True) if stride > 1 else nn.Identity()
            self.skip = nn.Sequential(pool, nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        """(n, c_in, 1, t) -> (n, c_out, 1, t / stride)."""
        out = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(out + self.skip(x))


class AttentionBlock(nn.Module):
    """Pre-norm self-attention over time with rotary positions (Su et al. 2021), then a gated feed-forward layer."""

    def __init__(self, width: int, heads: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.rise, self.fall = nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(n, t, width) -> (n, t, width)."""
        n, t, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(_rotated(q), _rotated(k), v)
        x = x + self.dropout(self.out(mixed.transpose(1, 2).reshape(n, t, width)))
        gate, value = self.rise(self.norm2(x)).chunk(2, dim=-1)
        out: Tensor = x + self.dropout(self.fall(F.silu(gate) * value))
        return out


def _rotated(x: Tensor) -> Tensor:
    """Rotary positions on (n, heads, t, width)."""
    t, width = x.shape[-2:]
    rate = 200.0 ** (-torch.arange(0, width, 2, device=x.device) / width)
    angle = torch.arange(t, device=x.device)[:, None] * rate
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


class SignalNet(nn.Module):
    """Samples (n, 12, t) in mV, 0 where a lead is missing -> unit vectors and label logits.

    Args:
        dim: Length of the vectors.
        n_labels: Columns of the label head.
        widths: Channels of the stages, two convolution blocks each.
        kind: "conv" (residual convolutions alone) or "attention" (one block less in the last stages, then four of
            attention).
    """

    def __init__(
        self, dim: int, n_labels: int, widths: tuple[int, ...] = (64, 128, 256, 256), kind: str = "conv"
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(12, widths[0], (1, 9), stride=(1, 2), padding=(0, 4), bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        blocks: list[nn.Module] = []
        channels = widths[0]
        for stage, width in enumerate(widths):
            blocks.append(SignalBlock(channels, width, stride=1 if stage == 0 else 2))
            if kind == "conv" or stage < 2:
                blocks.append(SignalBlock(width, width))
            channels = width
        self.body = nn.Sequential(*blocks)
        deep = [AttentionBlock(channels) for _ in range(4)] if kind == "attention" else []
        self.deep = nn.Sequential(*deep)
        self.attention = nn.Sequential(nn.Conv2d(channels, 64, 1), nn.Tanh(), nn.Conv2d(64, 4, 1))
        self.neck = nn.Sequential(
            nn.Linear(6 * channels, FEATURES), nn.BatchNorm1d(FEATURES), nn.ReLU(), nn.Dropout(0.25)
        )
        self.label_head = nn.Linear(FEATURES, n_labels)
        self.project = nn.Linear(FEATURES, dim)

    def features(self, signals: Tensor) -> Tensor:
        """Samples (n, 12, t) -> what vectors and label logits are read from, (n, FEATURES), float32."""
        hidden = self.body(self.stem(signals[:, :, None]))
        if len(self.deep):
            hidden = self.deep(hidden[:, :, 0].transpose(1, 2)).transpose(1, 2)[:, :, None]
        weights = self.attention(hidden)[:, :, 0].float().softmax(-1)
        time = hidden[:, :, 0].float()
        pooled = torch.einsum("bct,bkt->bkc", time, weights).flatten(1)
        features: Tensor = self.neck(torch.cat([pooled, time.mean(-1), time.amax(-1)], dim=1))
        return features

    def forward(self, signals: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors (n, dim) and logits (n, n_labels), float32."""
        features = self.features(signals)
        return F.normalize(self.project(features).float(), dim=-1), self.label_head(features).float()
