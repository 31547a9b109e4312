"""Reading lead names: a small network looks at the letters that the page's network found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.network.classes import LEADS

if TYPE_CHECKING:
    import torch

NOTHING = "none"  # letters that are no lead name, or no letters
NAMES: tuple[str, ...] = (*LEADS, NOTHING)
CUT = (80, 40)  # px, width and height of what the network sees
_LETTER = 16.0  # px of the cut that a letter is high


def cut_out(picture: NDArray[np.uint8], x: float, y: float, height_px: float) -> NDArray[np.uint8]:
    """The surroundings of a name, five letter heights wide and two and a half high.

    Args:
        picture: RGB.
        x, y: Middle of the name in pixels of the picture.
        height_px: Height of its letters.

    Returns:
        uint8, shape (40, 80, 3); beyond the picture its edge is repeated.
    """
    half_w, half_h = CUT[0] / _LETTER * height_px / 2, CUT[1] / _LETTER * height_px / 2
    x0, x1, y0, y1 = round(x - half_w), round(x + half_w), round(y - half_h), round(y + half_h)
    x1, y1 = max(x1, x0 + 4), max(y1, y0 + 2)
    rows = np.clip(np.arange(y0, y1), 0, picture.shape[0] - 1)
    columns = np.clip(np.arange(x0, x1), 0, picture.shape[1] - 1)
    part = np.ascontiguousarray(picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    if part.shape[:2] != (len(rows), len(columns)):
        part = part[rows - rows[0]][:, columns - columns[0]]
    how = cv2.INTER_AREA if part.shape[1] > CUT[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(part), CUT, interpolation=how), dtype=np.uint8)


def as_batch(cuts: NDArray[np.uint8]) -> torch.Tensor:
    """Cuts (n, 40, 80, 3) as the network wants them, `standardised`."""
    import torch

    return standardised(torch.from_numpy(np.ascontiguousarray(cuts)))


def standardised(cuts: torch.Tensor) -> torch.Tensor:
    """Bytes (n, height, width, 3) -> each cut with mean 0 and standard deviation 1, (n, 3, height, width)."""
    batch = cuts.permute(0, 3, 1, 2).float()
    mean = batch.mean(dim=(1, 2, 3), keepdim=True)
    spread = batch.std(dim=(1, 2, 3), keepdim=True)
    return (batch - mean) / (spread + 4.0)


def build_name_reader(*, training: bool = False) -> torch.nn.Module:
    """The network with random weights: (n, 3, 40, 80) to logits of `NAMES`.

    With `training`, batch normalisation follows each convolution (see `model.folded`).
    """
    from torch import nn

    def conv(n_in: int, n_out: int, step: int = 1) -> nn.Module:
        layers: list[nn.Module] = [nn.Conv2d(n_in, n_out, 3, step, 1, bias=not training)]
        if training:
            layers.append(nn.BatchNorm2d(n_out))
        layers.append(nn.ReLU(inplace=True))
        return nn.Sequential(*layers)

    return nn.Sequential(
        conv(3, 20), conv(20, 32, 2), conv(32, 32), conv(32, 48, 2), conv(48, 48), conv(48, 64, 2), conv(64, 64),
        nn.Flatten(), nn.Dropout(0.3 if training else 0.0), nn.Linear(64 * 5 * 10, 64), nn.ReLU(inplace=True),
        nn.Linear(64, len(NAMES)),
    )  # fmt: skip
