"""Read every picture of a folder as an ECG page and print what was understood of each.

    python scripts/read_pages.py FOLDER [--maps OUT]

With `--maps` the trace maps are written as PNG files (black on white) to OUT.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from ecgkin.retrieval.ecg.page.reading import load_image, read_page
from ecgkin.retrieval.errors import ImageError

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp"}


def main() -> int:
    """Print one line a picture, then the totals; exit code 1 where the folder holds no picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--maps", type=Path, help="folder for the trace maps")
    arguments = parser.parse_args()
    paths = sorted(path for path in arguments.folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        print(f"no picture in {arguments.folder}", file=sys.stderr)
        return 1
    if arguments.maps:
        arguments.maps.mkdir(parents=True, exist_ok=True)
    print("| picture | layout | rows | turned | px/mm | quality | ms | said |")
    print("|---|---|---|---|---|---|---|---|")
    times_ms: list[float] = []
    refused = 0
    for path in paths:
        try:
            image = load_image(path)
            start = time.thread_time()
            reading = read_page(image)
        except ImageError as error:
            refused += 1
            print(f"| {path.name} | refused | | | | | | {error} |")
            continue
        times_ms.append((time.thread_time() - start) * 1e3)
        scale = "-" if reading.px_per_mm is None else f"{reading.px_per_mm:.2f}"
        print(
            f"| {path.name} | {reading.layout} | {reading.n_rows} | {reading.rotation_deg:.1f} | {scale} "
            f"| {reading.quality:.2f} | {times_ms[-1]:.0f} | {'; '.join(reading.warnings)} |"
        )
        if arguments.maps:
            Image.fromarray(255 - reading.trace_map).save(arguments.maps / f"{path.stem}.png")
    if times_ms:
        p50, p95 = np.percentile(times_ms, (50, 95))
        print(f"\n{len(paths)} pictures, {refused} refused; processor time p50 {p50:.0f} ms, p95 {p95:.0f} ms a page")
    return 0


if __name__ == "__main__":
    sys.exit(main())
