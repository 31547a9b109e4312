"""Foreign pictures whose PTB-XL record is known: where does the same record come among the drawings of all folds?

    python scripts/evaluate_photos.py --photos DIR --ptbxl DIR [--cache DIR] [--out FILE.json]

DIR holds `manifest.csv` with the columns `file` and `ecg_id`. Gallery: every record of folds 1 to 9, drawn as an
ingest draws it. With --cache the vectors of `ecgkin evaluate retrieval --cache` are used again.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np


def main() -> None:
    """Print a row per picture and the shares below."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--ptbxl", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--encoder", default="default")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    from ecgkin.generation.research.retrieval.galleries import Embedder
    from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl
    from ecgkin.retrieval.ecg.page.printed import read_printed
    from ecgkin.retrieval.encoders import load_encoder
    from ecgkin.retrieval.errors import ImageError

    encoder = load_encoder(arguments.encoder)
    data = PtbXl(arguments.ptbxl, fs_hz=None)
    embedder = Embedder(data, encoder, arguments.cache)
    parts = [data.select(range(1, 9)), data.select([9])]
    gallery = np.concatenate([embedder.gallery(rows) for rows in parts])
    ids = [row.ecg_id for rows in parts for row in rows]
    labels = [row.labels for rows in parts for row in rows]
    rows = []
    with (arguments.photos / "manifest.csv").open(newline="") as stream:
        listed = [row for row in csv.DictReader(stream) if row.get("ecg_id")]
    for item in listed:
        own = int(item["ecg_id"])
        try:
            printed = read_printed(arguments.photos / item["file"])
        except ImageError as error:
            rows.append({"file": item["file"], "ecg_id": own, "rank": None, "refused": str(error)})
            continue
        vector = encoder.encode_printed([printed])[0]  # type: ignore[attr-defined]
        scores = gallery @ vector
        place = ids.index(own)
        rank = int((scores > scores[place]).sum()) + 1
        best = int(scores.argmax())
        rows.append(
            {
                "file": item["file"],
                "ecg_id": own,
                "rank": rank,
                "score": round(float(scores[place]), 3),
                "best": ids[best],
                "best_score": round(float(scores[best]), 3),
                "layout": printed.page.layout,
                "quality": round(printed.page.quality, 2),
                "labels": ",".join(labels[place]),
                "best_labels": ",".join(labels[best]),
            }
        )
        print(rows[-1], flush=True)
    ranks = np.array([row["rank"] or 10**9 for row in rows], dtype=np.int64)
    summary = {
        "n": len(ranks),
        "gallery": len(ids),
        "first": int((ranks == 1).sum()),
        "first 10": int((ranks <= 10).sum()),
    }
    print(summary)
    if arguments.out:
        arguments.out.write_text(json.dumps({"summary": summary, "pictures": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
