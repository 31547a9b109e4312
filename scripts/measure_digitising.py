"""Signals from pictures of ECG pages, against the recordings and against Einthoven's law.

    python scripts/measure_digitising.py --shared DIR --ptbxl DIR [--only NAMES] [--quick] [--pages] [--json FILE]

Sets: ludb, pictures (19 foreign drawings of PTB-XL records), own, photographed (fold 9, our renderer), libraries
(ecg-plot, wfdb, matplotlib), printouts (54 real pages), pages_real (160 real pages), negatives. `--before FILE` prints
the figures of an earlier `--json` run beside the new ones; `--pages` prints every page.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))


def libraries(records: list[Any], quick: bool) -> Iterator[Any]:
    """Pages of other programs (see `foreign_pages`), a way of drawing after the other."""
    from foreign_pages import PAGES

    from ecgkin.generation.research.digitising.pages import MeasuredPage, printed

    shows: dict[str, tuple[int, tuple[str, ...], float, bool]] = {
        "ecg-plot 12lead": (4, ("II",), 10.0, False),
        "ecg-plot sequential": (2, (), 10.0, False),
        "ecg-plot stacked bw": (1, (), 10.0, False),
        "wfdb grid": (1, (), 10.0, False),
        "6x2": (2, (), 10.0, False),
        "12x1": (1, (), 10.0, False),
        "12x1 plain": (1, (), 10.0, False),
        "3x4 no grid": (4, (), 10.0, False),
        "3x4 gaps": (4, (), 10.0, False),
        "3x4+3R": (4, ("V1", "II", "V5"), 10.0, False),
        "3x4+1R simultaneous": (4, ("II",), 10.0, True),
    }
    names = [n for n in PAGES if n in shows or n.startswith(("3x4+1R", "kit", "50 mm", "5 mm"))]
    for number, name in enumerate(names):
        for record in (records[number % len(records)],) if quick else records[:2]:
            columns, strips, seconds, together = shows.get(name, (4, ("II",), 10.0, False))
            try:
                page = PAGES[name](record)
            except ImportError as error:
                print(f"left out: {name} ({error})", file=sys.stderr)
                break
            yield MeasuredPage(name, page, printed(record.standard(), columns, strips, seconds, together))


def measure_truth(pages: Iterator[Any], digitise: Callable[[Any], Any], verbose: bool) -> dict[str, Any]:
    """Digitise pages whose samples are known."""
    from ecgkin.generation.research.digitising.metric import page_ratio
    from ecgkin.retrieval.errors import EcgkinError

    rows = []
    for page in pages:
        began = time.perf_counter()
        try:
            found = digitise(page.picture)
            guess, said = standard_10s(found, page.truth_mv.shape[1]), found.page.layout
        except EcgkinError as error:
            guess, said = np.full_like(page.truth_mv, np.nan), f"refused: {error}"
        row = {
            "name": page.name,
            "ratio": page_ratio(page.truth_mv, guess),
            "seconds": time.perf_counter() - began,
            "said": said,
        }
        if page.other_mv is not None:
            row["other"] = page_ratio(page.truth_mv, page.other_mv)
        rows.append(row)
        if verbose:
            other = f"  other {10 * np.log10(row['other']):5.1f}" if "other" in row else ""
            print(f"  {page.name:40s} {10 * np.log10(max(row['ratio'], 1e-9)):6.1f} dB{other}  {said}", flush=True)
    return {"pages": rows}


def standard_10s(found: Any, n: int) -> np.ndarray:
    """The digitised record as (12, n), cut or filled up with NaN."""
    signal = found.record.standard().astype(np.float64)
    out = np.full((12, n), np.nan)
    out[:, : min(n, signal.shape[1])] = signal[:, :n]
    return out


def measure_laws(pages: Iterator[Any], digitise: Callable[[Any], Any], verbose: bool) -> dict[str, Any]:
    """Digitise pages without truth: Einthoven's and Goldberger's laws on what was found."""
    from ecgkin.generation.research.digitising.metric import by_lead, einthoven_db
    from ecgkin.retrieval.errors import EcgkinError

    rows: list[dict[str, Any]] = []
    for page in pages:
        began = time.perf_counter()
        row: dict[str, Any] = {"name": page.name, "note": page.note}
        try:
            found = digitise(page.picture)
        except EcgkinError as error:
            row["refused"] = str(error)
        else:
            leads = by_lead(found.record.standard().astype(np.float64))
            row["einthoven"], row["goldberger"] = einthoven_db(leads)
            row |= {
                "leads": len(leads),
                "layout": found.page.layout,
                "speed": found.page.speed_mm_s,
                "gain": found.page.gain_mm_mv,
                "warnings": [str(warning) for warning in found.page.warnings],
            }
        row["seconds"] = time.perf_counter() - began
        rows.append(row)
        if verbose:
            print("  " + describe(row), flush=True)
    return {"pages": rows}


def describe(row: dict[str, Any]) -> str:
    """One line of a page without truth."""
    if "refused" in row:
        return f"{row['name'][:44]:44s} refused: {row['refused'][:90]}"
    db = ["    -" if row[k] is None else f"{row[k]:5.1f}" for k in ("einthoven", "goldberger")]
    said = "; ".join(row["warnings"])
    return (
        f"{row['name'][:44]:44s} {db[0]} {db[1]}  {row['layout']:9s} {row['leads']:2d} leads  "
        f"{row['speed']} mm/s {row['gain']} mm/mV  [{row['note'][:14]}] {said[:100]}"
    )


def laws(rows: list[dict[str, Any]]) -> str:
    """Summary of pages without truth."""
    if not rows:
        return "no pages"
    found = [row for row in rows if "refused" not in row]
    full = [row for row in found if row["leads"] == 12]
    out = []
    for law in ("einthoven", "goldberger"):
        values = np.array([row[law] for row in full if row[law] is not None])
        if values.size:
            out.append(f"{law} median {np.median(values):5.1f}, >= 6 dB {np.mean(values >= 6):4.0%}")
    known = np.mean([row["speed"] is not None and row["gain"] is not None for row in found]) if found else 0.0
    return (
        f"{'; '.join(out)} (of {len(full)} pages with 12 leads; {len(rows)} pages, "
        f"{len(rows) - len(found)} refused; speed and gain known {known:.0%})"
    )


def main() -> None:
    """Measure and print."""
    from ecgkin.generation.research.digitising import pages as sources
    from ecgkin.generation.research.digitising.metric import score
    from ecgkin.retrieval.ecg import digitize
    from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True, help="folder with ludb_pages, photos, ood, pages_real")
    parser.add_argument("--ptbxl", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=None)
    parser.add_argument("--quick", action="store_true", help="a fifth of the pages")
    parser.add_argument("--count", type=int, default=100, help="own pages of each kind")
    parser.add_argument("--pages", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--before", type=Path)
    arguments = parser.parse_args()

    data = PtbXl(arguments.ptbxl, fs_hz=None)
    count = arguments.count // 5 if arguments.quick else arguments.count
    shared = arguments.shared
    records = sources.fold_nine(data, count)
    every = 5 if arguments.quick else 1
    with_truth: dict[str, Callable[[], Iterator[Any]]] = {
        "ludb": lambda: sources.ludb(shared / "ludb_pages"),
        "pictures": lambda: sources.foreign_pictures(shared / "photos", data),
        "own": lambda: sources.own_pages(records, False),
        "photographed": lambda: sources.own_pages(records, True),
        "libraries": lambda: libraries(records, arguments.quick),
    }
    without: dict[str, Callable[[], Iterator[Any]]] = {
        "printouts": lambda: sources.real_pages(shared / "ood" / "printouts"),
        "pages_real": lambda: iter(list(sources.real_pages(shared / "pages_real"))[::every]),
    }
    wanted = arguments.only or [*with_truth, *without, "negatives"]
    before = json.loads(arguments.before.read_text()) if arguments.before else {}
    out: dict[str, Any] = {}
    for name in wanted:
        print(f"== {name}", flush=True)
        if name in with_truth:
            out[name] = measure_truth(with_truth[name](), digitize, arguments.pages)
            rows = out[name]["pages"]
            print(f"  new        {score(row['ratio'] for row in rows)}")
            if name in before:
                print(f"  before     {score(row['ratio'] for row in before[name]['pages'])}")
            if rows and "other" in rows[0]:
                print(f"  ECGMiner   {score(row['other'] for row in rows)}")
                print(f"  better than ECGMiner on {sum(r['ratio'] > r['other'] for r in rows)} of {len(rows)}")
        elif name in without:
            out[name] = measure_laws(without[name](), digitize, arguments.pages)
            print(f"  new        {laws(out[name]['pages'])}")
            if name in before:
                print(f"  before     {laws(before[name]['pages'])}")
        else:
            from ecgkin.retrieval.errors import EcgkinError

            files = sorted(f for f in (shared / "pages_real" / "negatives").iterdir() if f.suffix in sources.PICTURES)
            read = []
            for file in files:
                try:
                    digitize(file)
                    read.append(file.name)
                except EcgkinError:
                    pass
            out[name] = {"read": read, "count": len(files)}
            print(f"  refused {len(files) - len(read)} of {len(files)}  {read}")
        if name in out and "pages" in out[name] and out[name]["pages"]:
            spent = [row["seconds"] for row in out[name]["pages"]]
            print(f"  seconds a page: median {np.median(spent):.2f}, most {max(spent):.2f}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
