"""The image tower: a convolutional stem that turns a trace map into tokens, and a vision transformer over them.

Registered with timm under the names of `TOWERS`, so that open_clip builds it by `timm_model_name`. Input is one
channel, (n, 1, 256, 512), 1 = ink, 0 = paper. A stroke is one or two pixels wide and a beat is a few dozen pixels long:
plain 16 x 16 patches cut through both, and a plain ViT overfits on 17 thousand records (stack.md, issue 7). So four
strided convolutions with residual blocks look at strokes, and the transformer relates 8 x 32 tokens, each 32 px high
(half a row of a 3x4 page) and 16 px wide (8 mm, a third of a second at 25 mm/s).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ecgkin.retrieval.encoders.compat import prepare_torchvision

prepare_torchvision()

import torch  # noqa: E402
from timm.models import register_model  # noqa: E402
from timm.models.vision_transformer import Block  # noqa: E402
from torch import nn  # noqa: E402

if TYPE_CHECKING:
    from torch import Tensor

IMAGE_SIZE = (256, 512)
TOWERS = ("ecgkin_hybrid_s", "ecgkin_hybrid_test")


class ConvNorm(nn.Sequential):
    """3 x 3 (or other) convolution, batch norm, optional GELU."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int = 3, stride: int | tuple[int, int] = 1, *, act: bool = True
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(c_out),
        ]
        if act:
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class ResidualConv(nn.Module):
    """Two 3 x 3 convolutions with a skip; starts as the identity (last norm at zero)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = ConvNorm(channels, channels, act=False)
        norm = self.second[1]
        assert isinstance(norm, nn.BatchNorm2d)
        nn.init.zeros_(norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out, (n, channels, h, w)."""
        return torch.relu(x + self.second(self.first(x)))


class HybridViT(nn.Module):
    """Convolutional stem, then transformer blocks over its tokens; the pooled output has `num_features` channels.

    Args:
        channels: Of the picture: 1 for ink, 3 for fields.
        widths: Channels after the 4x4 patch convolution and each later stride-2 step.
        depths: Residual blocks after each of them.
        dim: Width of the transformer.
        blocks: Number of transformer blocks.
        heads: Attention heads.
        drop_path: Stochastic depth at the last block, rising linearly.
    """

    def __init__(
        self,
        *,
        channels: int = 1,
        widths: tuple[int, int, int] = (32, 64, 128),
        depths: tuple[int, int, int] = (0, 1, 1),
        dim: int = 256,
        blocks: int = 6,
        heads: int = 4,
        drop_path: float = 0.1,
        num_classes: int = 0,
        global_pool: str = "avg",
    ) -> None:
        super().__init__()
        if num_classes or global_pool not in ("", "avg"):
            raise ValueError("the tower only pools: num_classes must be 0")
        layers: list[nn.Module] = [ConvNorm(channels, widths[0], kernel=7, stride=4)]
        layers += [ResidualConv(widths[0]) for _ in range(depths[0])]
        for before, after, depth in zip(widths, widths[1:], depths[1:], strict=False):
            layers.append(ConvNorm(before, after, stride=2))
            layers += [ResidualConv(after) for _ in range(depth)]
        self.stem = nn.Sequential(*layers)
        # The last step halves the height only: time keeps its resolution, rows get two tokens each on a 3x4 page.
        self.patch = nn.Conv2d(widths[-1], dim, kernel_size=(2, 1), stride=(2, 1))
        self.grid = (IMAGE_SIZE[0] // 32, IMAGE_SIZE[1] // 16)
        self.pos_embed = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1], dim))
        self.cls_token = nn.Parameter(torch.zeros(1, 4, dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        rates = [drop_path * i / max(1, blocks - 1) for i in range(blocks)]
        self.blocks = nn.Sequential(*(Block(dim, heads, qkv_bias=True, drop_path=r) for r in rates))
        self.norm = nn.LayerNorm(dim)
        block: Any
        for block in self.blocks:
            # On CPUs the fused kernel is slower than two matrix products in bfloat16 (64 against 54 ms an image).
            block.attn.fused_attn = False
        self.num_features = 3 * dim
        self.default_cfg: dict[str, Any] = {}
        self.keep_tokens = 1.0

    def forward_tokens(self, x: Tensor) -> Tensor:
        """All tokens after the last norm: (n, 4 + n_patches, dim), the four class tokens first."""
        tokens = self.patch(self.stem(x)).flatten(2).transpose(1, 2)
        # Under autocast everything stays in the convolutions' type: a float32 residual stream costs a cast a product.
        tokens = tokens + self.pos_embed.to(tokens.dtype)
        if self.training and self.keep_tokens < 1.0:
            # A random share of the tokens (the same columns and rows for the whole batch): regularises and saves work.
            keep = torch.randperm(tokens.shape[1], device=x.device)[: int(tokens.shape[1] * self.keep_tokens)]
            tokens = tokens[:, keep.sort().values]
        tokens = torch.cat([self.cls_token.to(tokens.dtype).expand(x.shape[0], -1, -1), tokens], dim=1)
        out: Tensor = self.norm(self.blocks(tokens))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (n, channels, 256, 512) in 0..1 -> features (n, 3 * dim), see `pool`."""
        return self.pool(self.forward_tokens(x))

    def pool(self, tokens: Tensor) -> Tensor:
        """All tokens (n, 4 + n_patches, dim) -> features (n, 3 * dim): two class tokens and the mean patch."""
        return torch.cat([tokens[:, 0], tokens[:, 1], tokens[:, 4:].mean(dim=1)], dim=1)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Part of open_clip's tower interface; the tower is small enough to do without."""

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Part of timm's tower interface: there is no classifier to reset.

        Args:
            num_classes: Ignored.
            global_pool: Ignored.
        """


def _build(defaults: dict[str, Any], kwargs: dict[str, Any]) -> HybridViT:
    for name in ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "in_chans", "patch_drop_rate"):
        kwargs.pop(name, None)
    kwargs.pop("drop_rate", None)
    rate = kwargs.pop("drop_path_rate", None)
    if rate is not None:
        kwargs["drop_path"] = rate
    return HybridViT(**{**defaults, **kwargs})


@register_model
def ecgkin_hybrid_s(pretrained: bool = False, **kwargs: Any) -> HybridViT:
    """The tower that is shipped: 6 blocks of width 256 on 256 tokens."""
    return _build({}, kwargs)


@register_model
def ecgkin_hybrid_s_fields(pretrained: bool = False, **kwargs: Any) -> HybridViT:
    """The same for the three channels of `fields`, an arm of the comparison."""
    return _build({"channels": 3}, kwargs)


_TEST: dict[str, Any] = {"widths": (8, 8, 16), "depths": (0, 0, 0), "dim": 32, "blocks": 1, "heads": 2}


@register_model
def ecgkin_hybrid_test(pretrained: bool = False, **kwargs: Any) -> HybridViT:
    """A few thousand parameters, for tests of the training loop."""
    return _build(_TEST, kwargs)


@register_model
def ecgkin_hybrid_test_fields(pretrained: bool = False, **kwargs: Any) -> HybridViT:
    """The same for the three channels of `fields`."""
    return _build({**_TEST, "channels": 3}, kwargs)
