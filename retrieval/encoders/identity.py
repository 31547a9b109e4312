"""Linear maps of the image tower's frozen features, appended to the joint vector: one for identity, one for labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IDENTITY_SHARE = 0.3  # of the appended part's squared length; chosen on fold 9, like the part's own share


class IdentityHead(nn.Module):
    """Frozen tower features (n, features) -> unit vectors (n, dim): a third for identity, the rest for labels."""

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.project = nn.Linear(features, dim)

    def parts(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Unit rows of the identity map (n, dim / 3) and of the label map (n, 2 dim / 3), float32."""
        mean, scale = self.get_buffer("mean"), self.get_buffer("scale")
        both = self.project((features.float() - mean) / scale).float()
        cut = both.shape[1] // 3
        return F.normalize(both[:, :cut], dim=-1), F.normalize(both[:, cut:], dim=-1)

    def forward(self, features: Tensor) -> Tensor:
        """Unit rows, float32."""
        identity, label = self.parts(features)
        return torch.cat([IDENTITY_SHARE**0.5 * identity, (1 - IDENTITY_SHARE) ** 0.5 * label], dim=1)
