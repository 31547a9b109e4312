"""The signal network: a 1-D residual network on samples, the teacher of the image tower.

Input is what 2 px/mm keep of an ECG: twelve leads at 50 samples a second. It sees all ten seconds of all leads, more
than any page shows.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

NET_FS_HZ = 50.0
CROP = 420  # samples of a training crop, 8.4 s


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


class SignalNet(nn.Module):
    """Samples (n, 12, t) in mV at 50 Hz, 0 where a lead is missing -> unit vectors and label logits.

    Args:
        dim: Length of the vectors.
        n_labels: Columns of the label head.
        widths: Channels of the four stages, two blocks each.
    """

    def __init__(self, dim: int, n_labels: int, widths: tuple[int, ...] = (64, 128, 256, 256)) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(12, widths[0], (1, 9), stride=(1, 2), padding=(0, 4), bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        blocks: list[nn.Module] = []
        channels = widths[0]
        for stage, width in enumerate(widths):
            blocks += [SignalBlock(channels, width, stride=1 if stage == 0 else 2), SignalBlock(width, width)]
            channels = width
        self.body = nn.Sequential(*blocks)
        self.attention = nn.Sequential(nn.Conv2d(channels, 64, 1), nn.Tanh(), nn.Conv2d(64, 4, 1))
        self.neck = nn.Sequential(nn.Linear(6 * channels, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Dropout(0.25))
        self.label_head = nn.Linear(512, n_labels)
        self.project = nn.Linear(512, dim)

    def forward(self, signals: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors (n, dim) and logits (n, n_labels), float32."""
        hidden = self.body(self.stem(signals[:, :, None]))
        weights = self.attention(hidden)[:, :, 0].float().softmax(-1)
        time = hidden[:, :, 0].float()
        pooled = torch.einsum("bct,bkt->bkc", time, weights).flatten(1)
        features = self.neck(torch.cat([pooled, time.mean(-1), time.amax(-1)], dim=1))
        return F.normalize(self.project(features).float(), dim=-1), self.label_head(features).float()


def network_signals(signals: NDArray[np.float16], fs_hz: float) -> Tensor:
    """Signals (n, 12, t) in mV -> float32 tensor at 50 Hz; missing samples become 0."""
    from scipy.signal import resample_poly

    up, down = int(NET_FS_HZ), round(fs_hz)
    factor = math.gcd(up, down)
    parts = []
    for begin in range(0, len(signals), 500):
        block = np.nan_to_num(signals[begin : begin + 500].astype(np.float32))
        parts.append(resample_poly(block, up // factor, down // factor, axis=2).astype(np.float32))
    return torch.from_numpy(np.concatenate(parts))


def damaged(signals: Tensor, crop: int = CROP) -> Tensor:
    """A random crop with other gains, offsets, drift, noise, and a lead missing now and then; (n, 12, t)."""
    n, _, samples = signals.shape
    out = signals * (1 + 0.15 * torch.randn(n, 1, 1)).clamp(0.6, 1.5)
    out = out + 0.03 * torch.randn(n, 12, 1) + 0.02 * torch.rand(n, 1, 1) * torch.randn_like(out)
    time = torch.arange(samples) / NET_FS_HZ
    drift = torch.sin(2 * math.pi * (0.1 + 0.4 * torch.rand(n, 1, 1)) * time + 2 * math.pi * torch.rand(n, 12, 1))
    out = out + 0.1 * torch.rand(n, 12, 1) * drift
    begin = int(torch.randint(0, max(1, samples - crop + 1), (1,)))
    return out[:, :, begin : begin + crop].masked_fill(torch.rand(n, 12, 1) < 0.04, 0.0)
