"""The dual encoder as an open_clip model: image tower by timm, text tower by Hugging Face, one joint space."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ecgkin.retrieval.errors import ModelError

CONFIGS = Path(__file__).parent / "configs"


@dataclass(frozen=True, slots=True)
class Architecture:
    """What is needed to build a model; travels with its checkpoint.

    Attributes:
        image_tower: Name in `towers.TOWERS`.
        dim: Length of the joint vectors.
        identity_dim, identity_share: Length of the identity and label maps that are appended to pictures' vectors,
            and their share of the squared length (see `train_join` and `space`).
        text: Keyword arguments of transformers' `BertConfig` (the vocabulary size follows from the tokenizer).
        signal_dim, signal_share: Length of what the signal network says of the samples, and its share of the squared
            length of a vector; 0 for an encoder that looks at pictures alone.
        signal_fs_hz: Samples a second that the signal network takes.
        signal_network: Its kind, as in `SignalNet`.
    """

    image_tower: str
    dim: int
    identity_dim: int
    identity_share: float
    text: dict[str, Any]
    signal_dim: int = 0
    signal_share: float = 0.0
    signal_fs_hz: float = 0.0
    signal_network: str = "conv"

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

    @property
    def identity_columns(self) -> slice:
        """Where the identity map lies in a vector of length dim + identity_dim (a third of what is appended)."""
        return slice(self.dim, self.dim + self.identity_dim // 3)

    @property
    def image_dim(self) -> int:
        """Length of what pictures alone say: the first columns of a vector."""
        return self.dim + self.identity_dim

    @property
    def vector_dim(self) -> int:
        """Length of a vector."""
        return self.image_dim + self.signal_dim

    @property
    def text_dim(self) -> int:
        """Length of the text tower's output: all columns but those of identity."""
        return self.dim + self.identity_dim - self.identity_dim // 3

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def build_image_tower(architecture: Architecture, picture: str = "paper") -> Any:
    """open_clip's image tower alone (`trunk` and `head`), random weights.

    Args:
        architecture: Names the tower.
        picture: "paper", (n, 1, 256, 512) -> (n, dim), or "fields", (n, 3, 256, 512) -> (n, dim).

    Returns:
        A torch module.
    """
    from ecgkin.retrieval.encoders.compat import prepare_torchvision

    prepare_torchvision()
    from open_clip.timm_model import TimmModel

    from ecgkin.retrieval.encoders import towers

    name = architecture.image_tower + ("" if picture == "paper" else f"_{picture}")
    return TimmModel(
        name, architecture.dim, image_size=towers.IMAGE_SIZE, pool="", proj="linear",
        pretrained=False,
    )  # fmt: skip


def build_text_tower(dim: int, folder: Path) -> Any:
    """open_clip's Hugging Face text tower, token ids (n, length) -> (n, dim), random weights.

    Args:
        dim: Length of its output.
        folder: Holds the `config.json` of `write_text_config`.

    Returns:
        A torch module.
    """
    from ecgkin.retrieval.encoders.compat import prepare_torchvision

    prepare_torchvision()
    from open_clip.hf_model import HFTextEncoder

    tower = HFTextEncoder(
        str(folder), dim, pooler_type="mean_pooler", proj_type="linear", pretrained=False
    )  # fmt: skip
    # PyTorch's fused attention now and then returns NaN for masked bfloat16 input on CPUs (seen with torch 2.13).
    tower.transformer.config._attn_implementation = "eager"
    return tower


def write_text_config(folder: Path, architecture: Architecture, vocab_size: int) -> None:
    """Write the `config.json` from which open_clip builds the text tower.

    Args:
        folder: Where it is written.
        architecture: Says depth and width.
        vocab_size: Word pieces of the tokenizer.
    """
    config = {"model_type": "bert", "vocab_size": vocab_size, **architecture.text}
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
