"""Write the graphs of the shipped networks again, or those of an encoder's folder: after their code has changed.

    python scripts/write_graphs.py [FOLDER ...]

A training writes the graphs of its encoder itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ecgkin.retrieval.ecg.page.network.graphs import write_reader_graphs
from ecgkin.retrieval.ecg.page.network.weights_file import weights_folder
from ecgkin.retrieval.encoders.checkpoint import WEIGHTS, read_encoder_files
from ecgkin.retrieval.encoders.roads import write_graphs


def main() -> None:
    folders = [Path(name) for name in sys.argv[1:]]
    for folder in folders or sorted(path for path in WEIGHTS.iterdir() if path.is_dir()):
        write_graphs(read_encoder_files(folder))
    if not folders:
        write_reader_graphs(weights_folder())


if __name__ == "__main__":
    main()
