"""The dual encoder as an open_clip model: image tower by timm, text tower by Hugging Face, one joint space."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgkin.retrieval.errors import ModelError

if TYPE_CHECKING:
    import torch

CONFIGS = Path(__file__).parent / "configs"


@dataclass(frozen=True, slots=True)
class Architecture:
    """What is needed to build a model; travels with its checkpoint.

    Attributes:
        image_tower: Name in `towers.TOWERS`.
        dim: Length of the joint vectors.
        text: Keyword arguments of transformers' `BertConfig` (the vocabulary size follows from the tokenizer).
    """

    image_tower: str
    dim: int
    text: dict[str, Any]

    @staticmethod
    def load(name: str) -> Architecture:
        """An architecture of the folder `configs` by name.

        Raises:
            ModelError: There is no such file.
        """
        path = CONFIGS / f"{name}.json"
        if not path.is_file():
            known = sorted(p.stem for p in CONFIGS.glob("*.json"))
            raise ModelError(f"no architecture called {name!r} (expected one of {', '.join(known)})")
        return Architecture(**json.loads(path.read_text()))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def build_model(architecture: Architecture, tokenizer_dir: Path) -> torch.nn.Module:
    """Build the open_clip model (random weights).

    Args:
        architecture: Towers and sizes.
        tokenizer_dir: Folder with the word-piece tokenizer (`tokenizer.json` and its config); the text tower's
            configuration is written beside it where it is missing.

    Returns:
        `open_clip.CustomTextCLIP` with `visual` ((n, 1, 256, 512) -> (n, dim)) and `text` (token ids -> (n, dim)).
    """
    from ecgkin.retrieval.encoders.compat import prepare_torchvision

    prepare_torchvision()
    import open_clip
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg

    from ecgkin.retrieval.encoders import towers

    vision = CLIPVisionCfg(
        timm_model_name=architecture.image_tower,
        timm_model_pretrained=False,
        timm_pool="",
        timm_proj="linear",
        image_size=towers.IMAGE_SIZE,
    )
    text = CLIPTextCfg(
        hf_model_name=str(tokenizer_dir),
        hf_tokenizer_name=str(tokenizer_dir),
        hf_model_pretrained=False,
        hf_proj_type="linear",
        hf_pooler_type="mean_pooler",
    )
    return open_clip.CustomTextCLIP(embed_dim=architecture.dim, vision_cfg=vision, text_cfg=text)


def write_text_config(folder: Path, architecture: Architecture, vocab_size: int) -> None:
    """Write the `config.json` from which open_clip builds the text tower."""
    config = {"model_type": "bert", "vocab_size": vocab_size, **architecture.text}
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
