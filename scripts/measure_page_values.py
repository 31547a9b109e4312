"""What is measured on digitised pages, against what is measured on the recordings that they print.

    python scripts/measure_page_values.py --ptbxl DIR [--count 500] [--fold 9] [--keep DIR] [--seconds S] [--worst QRS]

Records of a fold are drawn by our renderer in layouts, grids and gains as hospitals print them, clean and as a phone or
scanner sees them, read by the one road (`read_printed`) and measured. For each value: median and 95th percentile of the
absolute difference from the recording's own value, its bias (median difference), and the share that is missing on the
page though the recording has it, or the other way round. "Part" are the samples that the page prints, unspoilt: what
they differ by is owed to the page's short leads, not to reading it. With `--keep` what was read is not read again;
`--seconds` ends reading after that time (the next call goes on).
"""

from __future__ import annotations

import argparse
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ecgkin.generation.measures import Measurements, measure
from ecgkin.generation.measures.evidence import evidence_values
from ecgkin.generation.research.digitising.pages import FS, own_style, shown
from ecgkin.retrieval.ecg.augment.photograph import photograph
from ecgkin.retrieval.ecg.drawing.raster import render_array
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl, PtbXlRow
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.page.printed import read_printed
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import ImageError

KINDS = ("clean", "photographed")


def _voltage(measured: Measurements, name: str) -> float | None:
    """A voltage criterion in µV."""
    value = evidence_values(measured).get(name)
    return None if value is None else 1000 * value


# Name in the table -> value, unit in which it is printed.
VALUES: dict[str, tuple[Callable[[Measurements], float | None], str]] = {
    "rate": (lambda m: m.rate_bpm, "/min"),
    "PR": (lambda m: m.pr_ms, "ms"),
    "QRS": (lambda m: m.qrs_ms, "ms"),
    "QT": (lambda m: m.qt_ms, "ms"),
    "QTc": (lambda m: m.qtc_ms, "ms"),
    "axis": (lambda m: m.axis_deg, "°"),
    "Sokolow-Lyon": (lambda m: _voltage(m, "sokolow_mv"), "µV"),
    "Cornell": (lambda m: _voltage(m, "cornell_mv"), "µV"),
}


@dataclass(frozen=True)
class ReadPage:
    """A page as it was read.

    Attributes:
        ecg_id: Of PTB-XL.
        layout: It was drawn in.
        record: Read off it; None where nothing could be.
        grade: How well, "" where it was refused.
    """

    ecg_id: int
    layout: str
    record: EcgRecord | None
    grade: str


def rows_of(data: PtbXl, fold: int, count: int) -> list[PtbXlRow]:
    """Every k-th record of a fold."""
    rows = data.select([fold])
    return rows[:: max(1, len(rows) // count)][:count]


def drawn_and_read(data: PtbXl, row: PtbXlRow, kind: str) -> ReadPage:
    """Draw a record, read the page; the same page on every run."""
    record = data.record(row).resampled(FS)
    rng = np.random.default_rng([18, row.ecg_id])
    style = own_style(rng)
    page = render_array(record, style)
    if kind == "photographed":
        page = photograph(page, rng, "photo")
    try:
        printed = read_printed(page)
    except ImageError:
        return ReadPage(row.ecg_id, style.layout, None, "")
    return ReadPage(row.ecg_id, style.layout, printed.record, printed.grade)


def read_pages(data: PtbXl, rows: Sequence[PtbXlRow], kind: str, keep: Path | None, until: float) -> list[ReadPage]:
    """The pages of a kind as far as time reaches."""
    out: list[ReadPage] = []
    for row in rows:
        path = None if keep is None else keep / kind / f"{row.ecg_id}.pkl"
        if path is not None and path.is_file():
            out.append(ReadPage(*pickle.loads(path.read_bytes())))
            continue
        if time.monotonic() > until:
            continue
        page = drawn_and_read(data, row, kind)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pickle.dumps((page.ecg_id, page.layout, page.record, page.grade)))
        out.append(page)
    return out


def part_of(data: PtbXl, row: PtbXlRow) -> EcgRecord:
    """The samples that the page of a record prints."""
    record = data.record(row).resampled(FS)
    rng = np.random.default_rng([18, row.ecg_id])
    return replace(record, signal_mv=shown(record, own_style(rng)).astype(np.float32), leads=LEADS)


def _st_of(lead: str) -> Callable[[Measurements], float | None]:
    """Reads ST at J+60 of a lead, µV."""
    return lambda m: 1000 * m.leads[lead].st_60_mv if lead in m.leads else None


def differences(
    found: Mapping[int, Measurements | None], truth: Mapping[int, Measurements]
) -> dict[str, tuple[list[float], int, int, int]]:
    """By value: differences, how many are missing on the page, in the recording, and how many pages there are."""
    readers = {name: of for name, (of, _) in VALUES.items()} | {f"ST J+60 {lead}": _st_of(lead) for lead in LEADS}
    out = {}
    for name, of in readers.items():
        errors: list[float] = []
        lost = more = 0
        for ecg_id, got in found.items():
            mine, true = None if got is None else of(got), of(truth[ecg_id])
            if mine is None or true is None:
                lost += true is not None
                more += mine is not None
                continue
            off = mine - true
            errors.append((off + 180) % 360 - 180 if name == "axis" else off)
        out[name] = errors, lost, more, len(found)
    return out


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table."""
    print("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print(flush=True)


def told(name: str, found: Mapping[int, Measurements | None], truth: Mapping[int, Measurements]) -> None:
    """Print one group."""
    rows = []
    pooled: list[float] = []
    for value, (errors, lost, more, n) in differences(found, truth).items():
        if value.startswith("ST"):
            pooled += errors
        rows.append(_row(value, errors, lost, more, n))
    rows.append(_row("ST J+60, all leads", pooled, 0, 0, 0))
    print(f"{name}: {len(found)} pages")
    table(("value", "n", "median |difference|", "95 %", "bias", "missing on the page %", "only on the page %"), rows)


def _row(value: str, errors: list[float], lost: int, more: int, n: int) -> tuple[object, ...]:
    unit = "µV" if value.startswith("ST") else VALUES[value][1]
    if not errors:
        return value, 0, "-", "-", "-", "-", "-"
    size = np.abs(errors)
    shares = [f"{100 * count / n:.1f}" if n else "" for count in (lost, more)]
    return (value, len(errors), f"{np.median(size):.1f} {unit}", f"{np.percentile(size, 95):.1f}",
            f"{np.median(errors):+.1f}", *shares)  # fmt: skip


def worst(
    value: str, pages: Sequence[ReadPage], found: Mapping[int, Measurements | None], truth: Mapping[int, Measurements]
) -> None:
    """Print the pages that are farthest off in a value."""
    of = VALUES[value][0]
    layouts = {page.ecg_id: page.layout for page in pages}
    rows = []
    for ecg_id, got in found.items():
        mine, true = None if got is None else of(got), of(truth[ecg_id])
        if mine is not None and true is not None:
            rows.append((mine - true, ecg_id, layouts[ecg_id], round(mine), round(true)))
    rows.sort(key=lambda row: -abs(row[0]))
    table(("off", "ecg", "layout", "page", "recording"), [(f"{row[0]:+.0f}", *row[1:]) for row in rows[:15]])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ptbxl", type=Path, required=True)
    parser.add_argument("--fold", type=int, default=9)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--keep", type=Path, help="folder for what was read; remake it when the page reader changes")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop reading new pages after this time")
    parser.add_argument("--worst", choices=list(VALUES), help="print the pages that are farthest off in this value")
    asked = parser.parse_args()
    data = PtbXl(asked.ptbxl, fs_hz=None)
    rows = rows_of(data, asked.fold, asked.count)
    truth = {row.ecg_id: measure(data.record(row).resampled(FS)) for row in rows}
    told("part", {row.ecg_id: measure(part_of(data, row)) for row in rows}, truth)
    until = time.monotonic() + asked.seconds
    for kind in asked.kinds:
        pages = read_pages(data, rows, kind, asked.keep, until)
        # As `measure_printed`: curves that do not beat together are not measured.
        found = {
            page.ecg_id: None if page.record is None or page.grade == "poor" else measure(page.record) for page in pages
        }
        told(kind, found, {ecg_id: truth[ecg_id] for ecg_id in found})
        if asked.worst:
            worst(asked.worst, pages, found, truth)


if __name__ == "__main__":
    main()
