"""Pictures through the one road: how they are read, what they find, what is refused, and how long it takes.

    python scripts/measure_road.py --ptbxl DIR --shared DIR [--base DIR] [--count 150] [--only NAMES] [--fit FILE]

Sets: clean, photo, wild (fold 9, our drawings), foreign (`photos`), strangers (no heartbeats), printouts,
real (`pages_real`), negatives. `--base` is a case base of PTB-XL records, as `ecgkin ingest ptbxl` makes one;
without it the vectors of folds 8 and 9 are made, kept with `--cache`. Three vectors are compared: of the ink,
of the map that the signals draw, and what is used. `--fit` writes the thresholds of "nothing similar" for pages into
that calibration file; `--speed` times pictures to hits one by one.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

SETS = ("clean", "photo", "wild", "foreign", "strangers", "printouts", "real", "negatives")


def gallery_of(arguments: argparse.Namespace, data: Any, encoder: Any) -> Any:
    """The cases that are asked."""
    from ecgkin.generation.research.retrieval.galleries import Embedder
    from ecgkin.generation.research.retrieval.pages import Gallery

    if arguments.base is None:
        rows = [*data.select([8]), *data.select([9])]
        return Gallery(rows, Embedder(data, encoder, arguments.cache).gallery(rows))
    from ecgkin.index import open_base

    by_id = {row.ecg_id: row for row in data.select(range(1, 11))}
    with open_base(arguments.base) as base:
        found = [case.case_id for case in base.cases() if case.case_id.startswith("ptbxl/")]
        vectors = np.asarray(base.vectors(found), dtype=np.float32)
    return Gallery([by_id[int(case_id.partition("/")[2])] for case_id in found], vectors)


def queries_of(name: str, arguments: argparse.Namespace, data: Any, rows: Any) -> Any:
    """The pictures of a set."""
    from ecgkin.generation.research.retrieval import pages

    shared = arguments.shared
    if name in pages.DRAWN:
        return pages.drawn_queries(data, rows, name)
    if name == "strangers":
        return pages.stranger_queries(data, rows[: max(20, len(rows) // 3)])
    folder = {
        "foreign": shared / "photos", "printouts": shared / "ood" / "printouts", "real": shared / "pages_real",
        "negatives": shared / "pages_real" / "negatives",
    }[name]  # fmt: skip
    return pages.folder_queries(folder, data if name == "foreign" else None)


def read_all(name: str, arguments: argparse.Namespace, data: Any, rows: Any, encoder: Any) -> list[Any]:
    """A set read and encoded; with `--keep` what was read before a stop is not read again."""
    import pickle
    from dataclasses import replace

    from ecgkin.generation.research.retrieval.pages import read_queries

    path = None if arguments.keep is None else arguments.keep / f"{name}-{arguments.count}.pickle"
    done: list[Any] = pickle.loads(path.read_bytes()) if path is not None and path.is_file() else []
    for number, query in enumerate(queries_of(name, arguments, data, rows)):
        if number < len(done):
            continue
        # The pixels are not looked at again.
        blank = np.zeros((1, 1, 3), dtype=np.uint8)
        done += [replace(one, query=replace(one.query, picture=blank)) for one in read_queries(encoder, [query])]
        if path is not None and len(done) % 5 == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pickle.dumps(done))
    if path is not None:
        path.write_bytes(pickle.dumps(done))
    return done


def told(name: str, read: list[Any], gallery: Any, calibration: Any) -> dict[str, Any]:
    """A set in figures, printed."""
    grades = {grade: sum(one.grade == grade for one in read) for grade in ("sure", "fair", "poor", "")}
    limits = {grade: calibration.thresholds.get(f"image:{grade}", calibration.thresholds["image"]).score
              for grade in ("sure", "fair", "poor")}  # fmt: skip
    best = gallery.best(read)
    below = np.array([not one.grade or score < limits[one.grade] for one, score in zip(read, best, strict=True)])
    unlike = int(sum(low and one.grade == "sure" for one, low in zip(read, below, strict=True)))
    row: dict[str, Any] = {
        "n": len(read), "refused by the reader": grades.pop(""), **grades, "unlike": unlike,
        "no draft": int(below.sum()), "read s (median)": round(float(np.median([one.read_s for one in read])), 3),
    }  # fmt: skip
    if any(one.query.row is not None for one in read):
        for arm in ("ink", "signals", "used"):
            found = {"same record first": gallery.first(read, arm)}
            if len(read) >= 50:
                found |= gallery.votes(read, calibration, arm)
            row[arm] = {key: round(value, 3) for key, value in found.items()}
    print(name, json.dumps(row), flush=True)
    row["pages"] = [
        {"name": one.query.name, "grade": one.grade, "best": round(float(score), 3), "no draft": bool(low),
         "said": one.said}
        for one, score, low in zip(read, best, below, strict=True)
    ]  # fmt: skip
    return row


def fitted(arguments: argparse.Namespace, parts: dict[str, Any], gallery: Any, large: Any, encoder: Any) -> None:
    """Thresholds for pages, put into a calibration file."""
    from dataclasses import replace

    from ecgkin.generation.research.retrieval import pages
    from ecgkin.retrieval.search.vote import Calibration

    known = Calibration.load(arguments.fit, encoder.fingerprint)
    limits = pages.fit_page_thresholds(parts["wild"], parts["strangers"], gallery, large)
    replace(known, thresholds={**known.thresholds, **limits}).save(arguments.fit)
    for name, limit in limits.items():
        print("fitted", name, limit, flush=True)


def speed(base: Path, data: Any, rows: Any) -> None:
    """Bytes of a picture to hits, one after the other: milliseconds, median of 15 after 3 warm ones."""
    from PIL import Image

    from ecgkin.generation.research.retrieval.galleries import PHOTO, draw_query
    from ecgkin.retrieval.ecg.drawing.raster import render
    from ecgkin.retrieval.ecg.page.image import load_image
    from ecgkin.retrieval.search.search import CaseSearch

    record = data.record(rows[0])
    page, photo = render(record), draw_query(record, PHOTO)
    large = photo.resize((4032, round(4032 * photo.height / photo.width)), Image.Resampling.BICUBIC)
    with CaseSearch.open(base) as search:
        for name, picture, form in (
            ("2200 x 1700 PNG", page, "PNG"), ("photograph", photo, "JPEG"), ("photograph of 12 MP", large, "JPEG")
        ):  # fmt: skip
            packed = io.BytesIO()
            picture.save(packed, form, **({"quality": 90} if form == "JPEG" else {}))
            spent: list[tuple[float, ...]] = []
            for _ in range(18):
                began = time.perf_counter()
                opened = Image.fromarray(load_image(packed.getvalue()))
                ready = time.perf_counter()
                result = search.by_image(opened, 10)
                steps = (result.timings_ms["read"], result.timings_ms["encode"])
                spent.append((1e3 * (time.perf_counter() - began), 1e3 * (ready - began), *steps))
            total, opening, reading, encoding = np.median(np.array(spent[3:]), axis=0)
            print(f"{name} {picture.size}: to hits {total:.0f} ms (open {opening:.0f}, read {reading:.0f}, "
                  f"encode {encoding:.0f})", flush=True)  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ptbxl", type=Path, required=True)
    parser.add_argument("--shared", type=Path, required=True, help="folder with photos, ood, pages_real")
    parser.add_argument("--base", type=Path)
    parser.add_argument(
        "--large", type=Path, help="a larger base, for the thresholds of pages that are not surely read"
    )
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--count", type=int, default=150, help="records of fold 9")
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--fit", type=Path)
    parser.add_argument("--keep", type=Path, help="folder for what was read, so that a run that was stopped goes on")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl
    from ecgkin.retrieval.encoders import load_encoder
    from ecgkin.retrieval.search.search import shipped_calibration

    data = PtbXl(arguments.ptbxl, fs_hz=None)
    held_out = data.select([9])
    chosen = np.random.default_rng(18).choice(len(held_out), min(arguments.count, len(held_out)), replace=False)
    rows = [held_out[k] for k in sorted(chosen.tolist())]
    if arguments.speed:
        if arguments.base is None:
            parser.error("--speed needs --base")
        speed(arguments.base, data, rows)
        return
    encoder = load_encoder("default")
    gallery = gallery_of(arguments, data, encoder)
    calibration = shipped_calibration(encoder)
    assert calibration is not None  # it is shipped with this encoder
    parts = {name: read_all(name, arguments, data, rows, encoder) for name in arguments.only}
    if arguments.fit:
        large = gallery
        if arguments.large is not None:
            large = gallery_of(argparse.Namespace(**{**vars(arguments), "base": arguments.large}), data, encoder)
        fitted(arguments, parts, gallery, large, encoder)
        calibration = shipped_calibration(encoder) or calibration
    out = {name: told(name, read, gallery, calibration) for name, read in parts.items()}
    if arguments.json:
        arguments.json.write_text(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
