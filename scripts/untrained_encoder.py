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

    from ecgkin.generation.research.retrieval.arm_weights import untrained_encoder

    print(untrained_encoder(arguments.out, arguments.seed, arguments.like))


if __name__ == "__main__":
    main()
