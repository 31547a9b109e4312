"""Reading lines of print: a small network says for each few pixels of a line which letter stands there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

LETTERS = " abcdefghijklmnopqrstuvwxyz0123456789./:-+%()="
"""What the network tells apart: capitals are read as small letters, a comma as a full stop."""
HEIGHT = 24  # px of a cut line
WIDEST = 640
STEP = 2  # px of a cut line for each answer
ROOM = 0.22  # of the height of a line's ink, above and below it in a cut
_FINEST = 4  # a line is cut out at most so many times as fine before it is averaged

ByteImage = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ReadLine:
    """A line as it was read.

    Attributes:
        text: Its letters (see `LETTERS`).
        sure: How sure each of them is, 0 to 1.
    """

    text: str
    sure: tuple[float, ...]


def plain(text: str) -> str:
    """A text as the network would read it: in its letters, without doubled blanks."""
    kept = "".join(letter for letter in text.lower().replace(",", ".") if letter in LETTERS)
    return " ".join(kept.split())


def cut_line(picture: ByteImage, corners: NDArray[np.float64]) -> ByteImage | None:
    """A line of print, level, at the height that the network looks at.

    Args:
        picture: RGB.
        corners: Of the line's ink in pixels of the picture, (4, 2): top left first, clockwise.

    Returns:
        uint8 (24, width, 3) with some room about the ink; None where the line is hardly longer than high, or too long.
    """
    down = (corners[3] - corners[0] + corners[2] - corners[1]) / 2
    along = (corners[1] - corners[0] + corners[2] - corners[3]) / 2
    tall, wide = float(np.hypot(*down)), float(np.hypot(*along))
    if tall < 4.0:
        return None
    room = ROOM * down
    beside = 0.35 * tall * along / max(wide, 1.0)
    source = corners + np.stack([-room - beside, -room + beside, room + beside, room - beside])
    scale = HEIGHT / (tall * (1.0 + 2.0 * ROOM))
    width = round((wide + 0.7 * tall) * scale)
    if not HEIGHT <= width <= WIDEST:
        return None
    finer = int(np.clip(round(1.0 / scale), 1, _FINEST))
    size = width * finer, HEIGHT * finer
    target = np.array([[0, 0], [size[0], 0], [size[0], size[1]], [0, size[1]]], dtype=np.float32) - 0.5
    onto = cv2.getPerspectiveTransform((source - 0.5).astype(np.float32), target)
    kind = cv2.INTER_LINEAR if scale <= 1.3 else cv2.INTER_CUBIC
    cut = cv2.warpPerspective(picture, onto, size, flags=kind, borderMode=cv2.BORDER_REPLICATE)
    if finer > 1:
        cut = cv2.resize(cut, (width, HEIGHT), interpolation=cv2.INTER_AREA)
    return np.asarray(cut, dtype=np.uint8)


def build_letter_reader(*, training: bool = False) -> torch.nn.Module:
    """The network with random weights: (n, 3, 24, width) to logits (n, 1 + letters, 1, width / 2), "no letter" first.

    With `training`, batch normalisation follows each convolution (see `model.folded`).
    """
    from torch import nn

    def conv(n_in: int, n_out: int, size: tuple[int, int], step: tuple[int, int], pad: tuple[int, int]) -> nn.Module:
        layers: list[nn.Module] = [nn.Conv2d(n_in, n_out, size, step, pad, bias=not training)]
        if training:
            layers.append(nn.BatchNorm2d(n_out))
        layers.append(nn.ReLU(inplace=True))
        return nn.Sequential(*layers)

    small = (3, 3)
    return nn.Sequential(
        conv(3, 16, small, (1, 1), (1, 1)), conv(16, 32, small, (2, STEP), (1, 1)),
        conv(32, 48, small, (2, 1), (1, 1)), conv(48, 64, small, (2, 1), (1, 1)),
        conv(64, 80, (3, 5), (1, 1), (0, 2)), conv(80, 80, (1, 7), (1, 1), (0, 3)),
        nn.Conv2d(80, 1 + len(LETTERS), 1),
    )  # fmt: skip


def decoded(chances: NDArray[np.float32]) -> ReadLine:
    """The likeliest letters, one after the other (the best path of connectionist temporal classification).

    Args:
        chances: Probabilities, (1 + letters, steps), "no letter" first.

    Returns:
        The text without blanks at its ends, each letter as sure as where it is surest.
    """
    best = chances.argmax(axis=0)
    sure = chances.max(axis=0)
    text: list[str] = []
    found: list[float] = []
    last = 0
    for which, chance in zip(best.tolist(), sure.tolist(), strict=True):
        if which and which == last:
            found[-1] = max(found[-1], chance)
        elif which:
            text.append(LETTERS[which - 1])
            found.append(chance)
        last = which
    first = next((k for k, letter in enumerate(text) if letter != " "), len(text))
    end = next((k for k in range(len(text), first, -1) if text[k - 1] != " "), first)
    return ReadLine("".join(text[first:end]), tuple(found[first:end]))
