"""How long it takes to read a page, step by step, and how much memory that needs.

    python scripts/bench_reading.py [--base DIR] [--real FILE...] [--repeat 9] [--quick] [--json FILE]

Kinds: a page of this project's renderer (2200 x 1700, PNG), a photograph of one, a photograph of 12 megapixels (both
JPEG), all of simulated ECGs; and real pictures where they are given. Each kind is read in a process of its own. The
columns are medians in milliseconds, wall clock and, behind a stroke, processor time of all threads: "open" decodes the
file, "ink" finds the rows by their ink, "network" looks for names and marks, "ready" makes the fine picture and its
scale, "curves" follows and samples them; "signals" is the whole of `read_printed`, in which the network works beside
ink and ready, and "hits" the search in the base given with `--base`. Memory is the most that the process ever held
while it read, with the networks and this script's libraries in it ("before": when they were loaded). Networks
and the threads of libraries are those of `ecgkin serve`; ECGKIN_NETWORKS=torch measures without the graphs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ecgkin.retrieval.cores import share_cores

STEPS = ("open", "ink", "network", "ready", "curves", "signals", "hits")
LARGE = 12e6  # px


def made_pages(folder: Path, count: int) -> dict[str, list[Path]]:
    """Files of each kind."""
    import cv2
    import numpy as np
    from PIL import Image

    from ecgkin.retrieval.ecg.augment.photograph import photograph
    from ecgkin.retrieval.ecg.drawing.raster import render_array
    from ecgkin.retrieval.ecg.drawing.style import RenderStyle
    from ecgkin.ui.demo.cases import simulated_query

    kinds: dict[str, list[Path]] = {"page 2200 x 1700": [], "photograph": [], "photograph of 12 MP": []}
    for number in range(count):
        _, record = simulated_query(number)
        page = render_array(record, RenderStyle(width_px=2200))
        seen = photograph(page, np.random.default_rng([5, number]), "photo")
        factor = (LARGE / (seen.shape[0] * seen.shape[1])) ** 0.5
        large = cv2.resize(seen, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        for (kind, files), picture in zip(kinds.items(), (page, seen, large), strict=True):
            file = folder / f"{len(kind)}_{number}.{'png' if picture is page else 'jpg'}"
            Image.fromarray(np.asarray(picture, dtype=np.uint8)).save(file, quality=90)
            files.append(file)
    return kinds


def measured(files: list[str], base: str | None, repeat: int) -> dict[str, Any]:
    """Medians of each step, (wall, processor) in ms, and memory in MB."""
    from ecgkin.retrieval.ecg.page.digitize import digitize_look
    from ecgkin.retrieval.ecg.page.image import load_image
    from ecgkin.retrieval.ecg.page.network.segment import look
    from ecgkin.retrieval.ecg.page.prepared import prepare
    from ecgkin.retrieval.ecg.page.printed import read_printed
    from ecgkin.retrieval.ecg.page.reading import look_at

    took: dict[str, list[tuple[float, float]]] = {step: [] for step in STEPS}

    def timed(step: str, call: Callable[..., Any], *given: Any) -> Any:
        wall, used = time.perf_counter(), time.process_time()
        out = call(*given)
        took[step].append((1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - used)))
        return out

    hits: Callable[[Path], Any] | None = None
    if base is not None:
        from ecgkin.retrieval.search.search import CaseSearch

        hits = CaseSearch.open(base).by_image
    read_printed(Path(files[0]))
    before = held_mb()
    for file in map(Path, files):
        for _ in range(repeat):
            timed("signals", read_printed, file)
        if hits is not None:
            hits(file)
            for _ in range(repeat):
                timed("hits", hits, file)
    most = held_mb()
    for file in map(Path, files):
        for _ in range(repeat):
            rgb = timed("open", load_image, file)
            found = timed("ink", partial(look_at, marked=False), rgb)
            timed("network", partial(look, local=False), rgb)
            timed("ready", prepare, found.sheet)
            whole = look_at(rgb)
            timed("curves", digitize_look, whole)
    medians = {
        step: [statistics.median(pair[k] for pair in pairs) for k in (0, 1)] for step, pairs in took.items() if pairs
    }
    return {"ms": medians, "before_mb": before, "most_mb": most, "files": len(files)}


def held_mb() -> float:
    """The most memory that this process held so far."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Markdown."""
    steps = [step for step in STEPS if any(step in row["ms"] for row in rows.values())]
    lines = [f"| kind | {' | '.join(steps)} | memory, MB (before) |", f"| :--- |{' ---: |' * (len(steps) + 1)}"]
    for kind, row in rows.items():
        cells = [
            " / ".join(f"{value:.0f}" for value in row["ms"][step]) if step in row["ms"] else "-" for step in steps
        ]
        lines.append(
            f"| {kind} ({row['files']}) | {' | '.join(cells)} | {row['most_mb']:.0f} ({row['before_mb']:.0f}) |"
        )
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", help="case base of the encoder that comes with ecgkin, for the column hits")
    parser.add_argument("--real", nargs="+", type=Path, default=[], help="pictures of ECG pages, or folders of them")
    parser.add_argument("--repeat", type=int, default=9, help="times that each page is read")
    parser.add_argument("--quick", action="store_true", help="one page of a kind, three times")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    share_cores()
    repeat = 3 if arguments.quick else arguments.repeat
    rows: dict[str, dict[str, Any]] = {}
    # A fresh process each: the most memory that a process held never falls.
    fresh = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        kinds = made_pages(Path(folder), 1 if arguments.quick else 4)
        if arguments.real:
            found = [file for path in arguments.real for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
            kinds["real"] = [file for file in found if file.suffix.lower() in (".png", ".jpg", ".jpeg")]
        for kind, files in kinds.items():
            with fresh.Pool(1) as pool:
                rows[kind] = pool.apply(measured, ([str(file) for file in files], arguments.base, repeat))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{cores} cores{load}, {platform.platform()}; wall / processor, median ms\n\n{table(rows)}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
