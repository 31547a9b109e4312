"""ECGFounder's network: seven stages of grouped convolutions with squeeze and excitation, no norms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgkin.retrieval.encoders.published.names import ecgfounder as names

if TYPE_CHECKING:
    from ecgkin.retrieval.encoders.published.checkpoint import Checkpoint


@dataclass(frozen=True)
class BlockSizes:
    """Widths of one block: in, inner, out, of the squeeze; channels of one group; taps of the middle convolution."""

    given: int
    inner: int
    made: int
    squeezed: int
    group: int
    kernel: int


class SameConvolution(nn.Conv1d):
    """Convolution whose output has ceil(t / stride) steps; of an odd amount of padding the right gets one more."""

    def sides(self, t: int) -> tuple[int, int]:
        """Zeros on the left and right of an input of t steps."""
        taps, stride = self.kernel_size[0], self.stride[0]
        total = max(0, (-(-t // stride) - 1) * stride + taps - t)
        return total // 2, total - total // 2

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102 - see the class
        out: Tensor = super().forward(F.pad(x, self.sides(x.shape[2])))
        return out


class GroupedBlock(nn.Module):
    """1x1, grouped, 1x1 convolutions with Swish before each, squeeze and excitation, plus the shortcut."""

    def __init__(self, sizes: BlockSizes, stride: int, is_first: bool) -> None:
        super().__init__()
        self.is_first, self.stride, self.made = is_first, stride, sizes.made
        self.conv1 = SameConvolution(sizes.given, sizes.inner, 1)
        groups = sizes.inner // sizes.group
        self.conv2 = SameConvolution(sizes.inner, sizes.inner, sizes.kernel, stride=stride, groups=groups)
        self.conv3 = SameConvolution(sizes.inner, sizes.made, 1)
        self.squeeze = nn.Linear(sizes.made, sizes.squeezed)
        self.excite = nn.Linear(sizes.squeezed, sizes.made)

    def forward(self, x: Tensor) -> Tensor:
        """(n, given, t) -> (n, made, t / stride)."""
        y = x if self.is_first else self.act(x)
        y = self.conv1(y)
        y = self.conv2(self.act(y))
        y = self.conv3(self.act(y))
        out: Tensor = y * self.gates(y) + self.shortcut(x)
        return out

    def act(self, x: Tensor) -> Tensor:
        """Swish."""
        return F.silu(x)

    def gates(self, y: Tensor) -> Tensor:
        """A factor a channel, (n, made, 1)."""
        out: Tensor = torch.sigmoid(self.excite(self.squeeze_act(self.squeeze(y.mean(dim=2)))))
        return out[:, :, None]

    def squeeze_act(self, x: Tensor) -> Tensor:
        """Swish here too."""
        return F.silu(x)

    def shortcut(self, x: Tensor) -> Tensor:
        """Halved by the larger of two with a zero behind; missing channels half before, half after."""
        if self.stride > 1:
            x = self.pool(x)
        return self.widen(x)

    def pool(self, x: Tensor) -> Tensor:
        """(n, c, t) -> (n, c, ceil(t / 2))."""
        return F.max_pool1d(F.pad(x, (0, self.stride - 1)), self.stride)

    def widen(self, x: Tensor) -> Tensor:
        """(n, given, t) -> (n, made, t)."""
        more = self.made - x.shape[1]
        return F.pad(x, (0, 0, more // 2, more - more // 2))


class EcgFounder(nn.Module):
    """Stem, stages, time mean, classes."""

    text_parts = ("classify",)  # what changes no vector of a record

    def __init__(
        self, leads: int, stem: int, kernel: int, stages: Sequence[Sequence[BlockSizes]], classes: int
    ) -> None:
        super().__init__()
        self.stem = SameConvolution(leads, stem, kernel, stride=names.STRIDE)
        self.stages = nn.ModuleList()
        for number, blocks in enumerate(stages):
            self.stages.append(
                nn.ModuleList(
                    GroupedBlock(sizes, names.STRIDE if place == 0 else 1, number == 0 and place == 0)
                    for place, sizes in enumerate(blocks)
                )
            )
        self.dim = stages[-1][-1].made
        self.classify = nn.Linear(self.dim, classes)

    def steps(self, x: Tensor) -> Tensor:
        """Signals (n, leads, t) -> the last stage, (n, dim, steps)."""
        x = F.silu(self.stem(x))
        for stage in self.stages:
            for block in stage:  # type: ignore[attr-defined]
                x = block(x)
        return x

    def ecg(self, x: Tensor) -> Tensor:
        """Signals (n, leads, t) -> features (n, dim)."""
        return self.summary(self.steps(x))

    def summary(self, x: Tensor) -> Tensor:
        """Mean over time."""
        return x.mean(dim=2)

    def logits(self, x: Tensor) -> Tensor:
        """Signals (n, leads, t) -> one logit a class, (n, classes)."""
        out: Tensor = self.classify(self.ecg(x))
        return out


def build_ecgfounder(checkpoint: Checkpoint) -> EcgFounder:
    """The network of the sizes that a checkpoint says, not filled yet.

    Raises:
        ModelError: A tensor that the sizes are read from is missing.
    """
    size = checkpoint.size
    stages = []
    for s in range(checkpoint.count(names.STAGE)):
        blocks = []
        for b in range(checkpoint.count(names.BLOCK.format(s=s))):

            def of(part: str, dimension: int, s: int = s, b: int = b) -> int:
                return size(names.BLOCK_PART.format(s=s, b=b, part=part), dimension)

            blocks.append(
                BlockSizes(
                    given=of("conv1.conv", 1),
                    inner=of("conv1.conv", 0),
                    made=of("conv3.conv", 0),
                    squeezed=of("se_fc1", 0),
                    group=max(1, of("conv2.conv", 1)),
                    kernel=of("conv2.conv", 2),
                )
            )
        stages.append(blocks)
    return EcgFounder(size(names.STEM, 1), size(names.STEM), size(names.STEM, 2), stages, size(names.CLASSES))
