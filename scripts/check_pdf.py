"""PDF print-outs against the records they were printed from: how many come back, and how far off their samples are.

    python scripts/check_pdf.py PTBXL [--fold 9] [--records 40]

Pages are written by fpdf2 from ecgkin's own SVG and by matplotlib (`tests/pdf_made.py`), read by `read_pdf`, and
compared lead by lead, less the offset of each lead. Prints a row for each way of writing: pages read, and the worst
sample of a record in uV (median and largest over the records).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ecgkin.retrieval.ecg import EcgRecord
from ecgkin.retrieval.ecg.drawing.style import RenderStyle
from ecgkin.retrieval.ecg.formats.pdf.traces import read_pdf
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl
from ecgkin.retrieval.errors import EcgkinError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from pdf_made import by_matplotlib, from_svg

WRITERS: dict[str, Callable[[EcgRecord], bytes]] = {
    "fpdf2 3x4+1R": from_svg,
    "fpdf2 6x2 at 80 %": lambda record: from_svg(record, RenderStyle(layout="6x2"), fit=0.8),
    "fpdf2 12x1": lambda record: from_svg(record, RenderStyle(layout="12x1")),
    "fpdf2 50 mm/s": lambda record: from_svg(record, RenderStyle(speed_mm_s=50.0, window_s=5.0)),
    "matplotlib 3x4": lambda record: by_matplotlib(record, "3x4"),
    "matplotlib 12x1": by_matplotlib,
}


def worst_sample(record: EcgRecord, read: EcgRecord) -> float:
    """Largest difference of any lead less its median, mV; infinite where a lead is missing."""
    worst = 0.0
    for name in record.leads:
        signal, true = read.lead(name), record.lead(name)
        if signal is None or true is None:
            return float("inf")
        shown = np.isfinite(signal)
        at = np.flatnonzero(shown) / read.fs_hz
        off = np.interp(at, np.arange(record.n_samples) / record.fs_hz, true) - signal[shown]
        inside = off[at <= (record.n_samples - 1) / record.fs_hz]
        worst = max(worst, float(np.abs(inside - np.median(inside)).max()))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ptbxl", type=Path)
    parser.add_argument("--fold", type=int, default=9)
    parser.add_argument("--records", type=int, default=40)
    given = parser.parse_args()
    data = PtbXl(given.ptbxl)
    records = [data.record(row) for row in data.select([given.fold])[: given.records]]
    print("| writer | read | median uV | largest uV |\n|---|--:|--:|--:|")
    for name, write in WRITERS.items():
        worst = []
        for record in records:
            try:
                worst.append(1000 * worst_sample(record, read_pdf(write(record))))
            except EcgkinError as error:
                print(f"{name}: {error}", file=sys.stderr)
        median, largest = (np.median(worst), max(worst)) if worst else (np.nan, np.nan)
        print(f"| {name} | {len(worst)} of {len(records)} | {median:.1f} | {largest:.1f} |", flush=True)


if __name__ == "__main__":
    main()
