"""Visual tokens of a picture: what the image tower's last layer says, pooled for the decoder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

CLASS_TOKENS, GRID, POOLED = 4, (8, 32), (4, 8)
N_VISUAL = CLASS_TOKENS + POOLED[0] * POOLED[1]

Tokens = NDArray[np.float16]


class PatchEncoder(Protocol):
    """An encoder whose image tower can be asked for its tokens; `DualEncoder` is one."""

    @property
    def tower_fingerprint(self) -> str:
        """Hash over what changes a token."""

    def patch_tokens(self, maps: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Trace maps (256, 512) -> (n, 4 + 8 * 32, width)."""


def pooled(tokens: NDArray[np.float32]) -> Tokens:
    """Class tokens and the means of 2 x 4 patches each, (n, 36, width): 260 tokens would cost seven times as much.

    A pooled patch is a row of a 3x4 page high and an eighth of the page wide; every token has looked at all others.
    """
    n, _, width = tokens.shape
    patches = tokens[:, CLASS_TOKENS:].reshape(
        n, POOLED[0], GRID[0] // POOLED[0], POOLED[1], GRID[1] // POOLED[1], width
    )
    means = patches.mean(axis=(2, 4)).reshape(n, -1, width)
    return np.concatenate([tokens[:, :CLASS_TOKENS], means], axis=1).astype(np.float16)
