"""The network: a small U-Net with the answer at half the resolution of the page it looks at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ecgkin.retrieval.ecg.page.network.classes import CLASSES, LEADS

if TYPE_CHECKING:
    import torch

FRAME_STEP = 16  # px of the working page per cell of the frame
NAME_STEP = 4  # px of the working page per cell of the name maps


@dataclass(frozen=True, slots=True)
class ReaderConfig:
    """Sizes of the network.

    Attributes:
        widths: Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the resolution.
        n_classes: Classes of pixels.
        n_leads: Lead names; one more map holds the height of the letters.
    """

    widths: tuple[int, int, int, int, int] = (16, 32, 48, 80, 96)
    n_classes: int = len(CLASSES)
    n_leads: int = len(LEADS)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a file's header."""
        return asdict(self)


def build_reader(config: ReaderConfig, *, training: bool = False) -> torch.nn.Module:
    """The network with random weights.

    With `training` each convolution is followed by batch normalisation, which `folded` takes into the convolutions.

    The module maps RGB from 0 to 1, shape (batch, 3, height, width) with sides that are multiples of 32, to: logits of
    the classes at half the resolution; logits of the lead names and, last, log of the letter height in px at a
    quarter; and at 1/16 the frame (log px/mm along and across the rows, angles of both axes in radians), nothing of
    it where `local` is False. `between` is called between its stages.

    Args:
        config: Sizes.
        training: With batch norms, which `folded` takes into the convolutions afterwards.

    Returns:
        The network.
    """
    import torch
    from torch import nn

    def conv(n_in: int, n_out: int, size: int = 3, step: int = 1) -> nn.Module:
        layers: list[nn.Module] = [nn.Conv2d(n_in, n_out, size, step, size // 2, bias=not training)]
        if training:
            layers.append(nn.BatchNorm2d(n_out, momentum=0.02))
        layers.append(nn.ReLU(inplace=True))
        return nn.Sequential(*layers)

    def grown(small: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(small, scale_factor=2, mode="nearest")

    a, b, c, d, e = config.widths

    class Reader(nn.Module):
        """See `build_reader`."""

        def __init__(self) -> None:
            super().__init__()
            self.stem = conv(3, a, 5, 2)
            self.down1 = conv(a, a)
            self.down2 = nn.Sequential(conv(a, b, 3, 2), conv(b, b), conv(b, b))
            self.down3 = nn.Sequential(conv(b, c, 3, 2), conv(c, c), conv(c, c))
            self.down4 = nn.Sequential(conv(c, d, 3, 2), conv(d, d), conv(d, d))
            self.down5 = nn.Sequential(conv(d, e, 3, 2), conv(e, e), conv(e, e))
            self.side4, self.up4 = nn.Conv2d(e, d, 1), conv(d, d)
            self.side3, self.up3 = nn.Conv2d(d, c, 1), conv(c, c)
            self.side2, self.up2 = nn.Conv2d(c, b, 1), nn.Sequential(conv(b, b), conv(b, b))
            self.side1, self.up1 = nn.Conv2d(b, a, 1), conv(a, a)
            self.pixels = nn.Conv2d(a, config.n_classes, 1)
            last = nn.Conv2d(b, config.n_leads + 1, 1)
            self.names = nn.Sequential(conv(b, b), last)
            self.frame = nn.Sequential(conv(d, c), nn.Conv2d(c, 4, 1))
            if last.bias is not None:
                # Names are rare: begin with 1 in 100 (focal loss, Lin et al. 2017); letters with 15 px.
                last.bias.data = torch.tensor([-4.6] * config.n_leads + [2.7])

        def forward(
            self, page: torch.Tensor, *, local: bool = True, between: Callable[[], None] | None = None
        ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            passed = between or (lambda: None)
            x1 = self.down1(self.stem(page))
            passed()
            x2 = self.down2(x1)
            passed()
            x3 = self.down3(x2)
            passed()
            x4 = self.down4(x3)
            y4 = self.up4(x4 + grown(self.side4(self.down5(x4))))
            passed()
            y3 = self.up3(x3 + grown(self.side3(y4)))
            passed()
            y2 = self.up2(x2 + grown(self.side2(y3)))
            passed()
            y1 = self.up1(x1 + grown(self.side1(y2)))
            return self.pixels(y1), self.names(y2), self.frame(y4) if local else y4[:, :4, :0, :0]

    return Reader()


def in_channels_last(model: torch.nn.Module) -> None:
    """Lay the weights of convolutions out as CPUs convolve fastest, in place."""
    import torch

    for weight in model.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)


def folded(state: dict[str, torch.Tensor], epsilon: float = 1e-5) -> dict[str, torch.Tensor]:
    """Weights of a trained network with its batch normalisation taken into the convolutions.

    Args:
        state: State of a module built with `training`.
        epsilon: Of the normalisation.

    Returns:
        State for a module built without.
    """
    import torch

    out: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        stem, _, last = name.rpartition(".")
        if value.ndim == 4:
            head, _, index = stem.rpartition(".")
            norm = f"{head}.1" if index == "0" else ""
            if norm and f"{norm}.running_mean" in state:
                scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + epsilon)
                out[name] = value * scale[:, None, None, None]
                out[f"{stem}.bias"] = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
            else:
                out[name] = value
        elif last == "bias" and state.get(f"{stem}.weight", value).ndim == 4:
            out[name] = value
    return out
