"""Write the graphs of the shipped networks again, or those of an encoder's folder: after their code has changed.

    python scripts/write_graphs.py [FOLDER ...]

A training writes the graphs of its encoder itself. The page reader in bytes takes the ranges of its activations from
drawn pages of simulated ECGs, in the fonts of this machine, from the seed below.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.network.classes import working_size
from ecgkin.retrieval.ecg.page.network.graphs import write_reader_bytes, write_reader_graphs
from ecgkin.retrieval.ecg.page.network.segment import resized_bytes
from ecgkin.retrieval.ecg.page.network.weights_file import weights_folder
from ecgkin.retrieval.ecg.page.training.pages import wild_page
from ecgkin.retrieval.encoders.checkpoint import WEIGHTS, read_encoder_files
from ecgkin.retrieval.encoders.roads import write_graphs

_SEED, _PAGES = 23, 24


def drawn_pages() -> Iterator[NDArray[np.uint8]]:
    """Wild pages at the size at which the network looks at them."""
    for number in range(_PAGES):
        page = wild_page(np.random.default_rng([_SEED, number]), truth=False).image
        yield resized_bytes(page, working_size(*page.shape[:2]))


def main() -> None:
    folders = [Path(name) for name in sys.argv[1:]]
    for folder in folders or sorted(path for path in WEIGHTS.iterdir() if path.is_dir()):
        write_graphs(read_encoder_files(folder))
    if not folders:
        write_reader_graphs(weights_folder())
        write_reader_bytes(weights_folder(), drawn_pages())


if __name__ == "__main__":
    main()
