"""Write an encoder of the shipped architecture with random weights: the "untrained" rows of the evaluation.

    python scripts/untrained_encoder.py OUT --seed 1
    ecgkin evaluate retrieval --untrained OUT ...

The tokenizer is the shipped one.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    """Build, seed, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--like", default="default", help="encoder whose architecture and tokenizer are taken")
    arguments = parser.parse_args()

    import torch

    from ecgkin.retrieval.encoders.checkpoint import WEIGHTS, read_encoder_files, save_encoder
    from ecgkin.retrieval.encoders.model import build_image_tower, build_text_tower

    files = read_encoder_files(WEIGHTS / arguments.like)
    torch.manual_seed(arguments.seed)
    visual, text = build_image_tower(files.architecture), build_text_tower(files.architecture, files.folder)
    state = {f"visual.{k}": v for k, v in visual.state_dict().items()}
    state |= {f"text.{k}": v for k, v in text.state_dict().items()}
    saved = save_encoder(
        arguments.out, f"untrained-{arguments.seed}", files.architecture, state, files.folder, files.gallery_layouts,
        {"seed": arguments.seed, "trained": False},
    )  # fmt: skip
    print(saved.folder, saved.fingerprint)


if __name__ == "__main__":
    main()
