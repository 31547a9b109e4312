"""Pages drawn by other programs: where does their record come in a gallery, and how near is its own drawing?

    python scripts/evaluate_foreign.py --ptbxl DIR (--gallery FILE.npz | --cache DIR) [--records 30] [--pages NAME ...]

Draws records of fold 9 in every way that `foreign_pages.PAGES` names (ecg-plot, WFDB, NeuroKit2, plain matplotlib),
with `--damage` also with each simple damage of `foreign_pages.DAMAGES` on `--damaged-page`. Gallery: every record of
folds 1 to 9 as an ingest draws it, from the cache of `ecgkin evaluate retrieval`; `--gallery` keeps it as one file
(`vectors`, `ids`), written where it does not exist, so that page reading can change without a new gallery.
Prints a row for each way of drawing: R@1 and R@10 (a refused page counts as lost), mean cosine to the record's own
clean drawing over the pages that were read, and how many were read and refused. Needs the extra `peers`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from foreign_pages import DAMAGES, PAGES, Picture, damaged

from ecgkin.generation.research.retrieval.galleries import Embedder
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl
from ecgkin.retrieval.ecg.page.printed import PrintedEcg, read_printed
from ecgkin.retrieval.encoders import load_encoder
from ecgkin.retrieval.errors import ImageError


def gallery_of(path: Path | None, cache: Path | None, data: PtbXl, encoder: Any) -> tuple[Any, Any]:
    """Vectors (n, dim) and record numbers (n,) of folds 1 to 9."""
    if path is not None and path.is_file():
        with np.load(path) as kept:
            return kept["vectors"], kept["ids"]
    embedder = Embedder(data, encoder, cache)
    parts = [data.select(range(1, 9)), data.select([9])]
    vectors = np.concatenate([embedder.gallery(rows) for rows in parts])
    ids = np.array([row.ecg_id for rows in parts for row in rows])
    if path is not None:
        np.savez(path, vectors=vectors, ids=ids)
    return vectors, ids


def main() -> None:
    """Print a row for each way of drawing and the mean over them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ptbxl", type=Path, required=True)
    parser.add_argument("--gallery", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--encoder", default="default")
    parser.add_argument("--records", type=int, default=30)
    parser.add_argument("--pages", nargs="*", default=sorted(PAGES), choices=sorted(PAGES), metavar="NAME")
    parser.add_argument("--damage", action="store_true")
    parser.add_argument("--damaged-page", default="3x4+1R plain", choices=sorted(PAGES), metavar="NAME")
    arguments = parser.parse_args()
    data = PtbXl(arguments.ptbxl, fs_hz=None)
    encoder = load_encoder(arguments.encoder)
    gallery, ids = gallery_of(arguments.gallery, arguments.cache, data, encoder)
    place = {int(number): row for row, number in enumerate(ids)}
    rows = data.select([9])
    chosen = np.random.default_rng(0).choice(len(rows), min(arguments.records, len(rows)), replace=False)
    records = [(rows[k].ecg_id, data.record(rows[k])) for k in sorted(chosen.tolist())]
    clean = encoder.encode_records([record for _, record in records])

    ways: dict[str, Callable[[Any], Picture]] = {name: PAGES[name] for name in arguments.pages}
    if arguments.damage:
        for kind in DAMAGES:
            rng = np.random.default_rng(1)
            page = PAGES[arguments.damaged_page]

            def way(record: Any, kind: str = kind, rng: np.random.Generator = rng, page: Any = page) -> Picture:
                return damaged(page(record), kind, rng)

            ways[f"{arguments.damaged_page}, {kind}"] = way
    print("| page | R@1 | R@10 | cosine | read | refused |\n|---|---|---|---|---|---|")
    shares = []
    for name, draw in ways.items():
        pages: list[PrintedEcg] = []
        own: list[int] = []
        for index, (_, record) in enumerate(records):
            try:
                pages.append(read_printed(draw(record)))
                own.append(index)
            except ImageError:
                continue
        ranks, cosine = np.array([], dtype=np.int64), float("nan")
        if pages:
            vectors = encoder.encode_printed(pages)  # type: ignore[attr-defined]
            scores = vectors @ gallery.T
            mine = scores[np.arange(len(own)), [place[records[k][0]] for k in own]]
            ranks = (scores > mine[:, None]).sum(axis=1) + 1
            cosine = float((vectors * clean[own]).sum(axis=1).mean())
        n = len(records)
        shares.append(((ranks == 1).sum() / n, (ranks <= 10).sum() / n))
        print(
            f"| {name} | {shares[-1][0]:.2f} | {shares[-1][1]:.2f} | {cosine:.3f} | {len(own)} | {n - len(own)} |",
            flush=True,
        )
    first, ten = np.mean(shares, axis=0)
    print(f"| mean | {first:.2f} | {ten:.2f} | | | |")


if __name__ == "__main__":
    main()
