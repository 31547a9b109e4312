"""A day in a hospital: mixed files in, search by photo, draft, FHIR out, backup, restore, move to Milvus, same answers.

    python scripts/hospital_day.py --samples DIR_OF_VENDOR_FILES --photos DIR --ptbxl DIR
    python scripts/hospital_day.py --quick                 # 6 simulated records, encoder without weights, Milvus Lite

Every step is a command of `ecgkin` as a person would type it, printed before it runs; the folder of the day (`--out`)
keeps what came of it. Without --milvus the last base is one of Milvus Lite in the folder of the day.

Steps: the vendor files and `--records` cases written out as WFDB, DICOM and CSV into one folder; `ingest folder
--deidentify` of it; search by each photo; draft; cases as FHIR; snapshot; restore; copy to Milvus; the same searches on
the three bases. The script ends with an error where an answer differs, where an identifier of the source is found in a
base, or where fewer cases came in than were written out.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ecgkin.index import open_base

FORMATS = ("wfdb", "dicom", "csv")
K = 5
SCORE_TOLERANCE = 1e-4
_PICTURES = (".png", ".jpg", ".jpeg")


class Day:
    """Runs commands in the folder of the day and remembers how long they took."""

    def __init__(self, folder: Path, encoder: str) -> None:
        self.folder = folder
        self.environment = {**os.environ, "ECGKIN_ENCODER": encoder, "ECGKIN_HOME": str(folder / "home")}
        self.steps: list[tuple[str, float, str]] = []

    def run(self, step: str, *words: object, said: str = "", partly: bool = False) -> Any:
        """One command; its JSON. With `partly` a status that says that something was left out is no failure."""
        command = [sys.executable, "-m", "ecgkin", *map(str, words), "--json"]
        print("$ ecgkin " + shlex.join(map(str, words)), flush=True)
        start = time.perf_counter()
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        took = time.perf_counter() - start
        if done.returncode and not (partly and done.stdout.strip()):
            sys.exit(f"{step} failed with status {done.returncode}:\n{done.stderr}")
        answer = json.loads(done.stdout)
        self.steps.append((step, took, said.format(answer=answer)))
        return answer


def origin(day: Day, ptbxl: Path | None, records: int) -> Path:
    """A base with the cases that will be written out: the first of PTB-XL, or simulated ones.

    Only its samples are used, so that its vectors need no trained encoder.
    """
    from ecgkin.index.ingest.pipeline import ingest_records, open_or_create
    from ecgkin.index.sources.ptbxl import ptbxl_items
    from ecgkin.retrieval.encoders.hashing import HashingEncoder
    from ecgkin.ui.demo.cases import simulated_gallery

    base, encoder = day.folder / "origin", HashingEncoder()
    items = list(simulated_gallery(records)) if ptbxl is None else ptbxl_items(ptbxl)[:records]
    with open_or_create(base, encoder) as opened:
        report = ingest_records(opened, items, encoder)
    if report.added != len(items):
        sys.exit(f"{len(items)} cases are to be written out, only {report.added} can be read: {report.failed[:5]}")
    return base


def photos_of(day: Day, given: Path | None, base: Path, n: int) -> list[Path]:
    """Pictures to search with: those that are given, or drawings of cases."""
    if given is not None:
        return sorted(path for path in given.iterdir() if path.suffix.lower() in _PICTURES)[:n]
    from ecgkin.retrieval.ecg.drawing.raster import render

    out: list[Path] = []
    with open_base(base) as opened:
        for case in opened.cases(limit=n):
            record = opened.record(case.case_id)
            if record is not None:
                out.append(day.folder / f"photo{len(out)}.png")
                render(record).save(out[-1])
    return out


def same_answers(one: Any, other: Any) -> bool:
    """The same cases with the same scores, up to ties."""
    mine, theirs = ([(hit["score"], hit["case"]["case_id"]) for hit in answer["hits"]] for answer in (one, other))
    if len(mine) != len(theirs) or any(abs(a[0] - b[0]) > SCORE_TOLERANCE for a, b in zip(mine, theirs, strict=True)):
        return False
    clear = {name for score, name in mine if score > mine[-1][0] + SCORE_TOLERANCE}
    return clear <= {name for _, name in theirs}


def identifiers_left(base: Path, known: set[str]) -> set[str]:
    """Identifiers of the source that are still a field of a case."""
    with open_base(base) as opened:
        held = {case.patient_id for case in opened.cases()} | {case.case_id for case in opened.cases()}
    return known & {name for name in held if name}


def main() -> None:
    """Run the day."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=Path, help="folder of vendor files")
    parser.add_argument("--photos", type=Path, help="folder of photos to search with; default: drawings of cases")
    parser.add_argument("--ptbxl", type=Path, help="PTB-XL, for the cases that are written out; default: simulated")
    parser.add_argument("--records", type=int, default=500)
    parser.add_argument("--n-photos", type=int, default=5)
    parser.add_argument("--encoder", default="default")
    parser.add_argument("--milvus", help="address where nothing is yet; default: Milvus Lite")
    parser.add_argument("--out", type=Path, help="folder of the day; default: a temporary one")
    parser.add_argument("--quick", action="store_true", help="6 simulated records, 2 drawings, encoder without weights")
    options = parser.parse_args()
    if options.quick:
        options.records, options.n_photos, options.encoder = 6, 2, "hashing"
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        run_day(Day(folder, options.encoder), options)


def run_day(day: Day, options: argparse.Namespace) -> None:
    """All steps."""
    source, mixed, base = origin(day, options.ptbxl, options.records), day.folder / "mixed", day.folder / "hospital"
    n_written = 0
    for form in FORMATS:
        words = ("export", source, "--out", mixed / form, "--format", form, "--limit", options.records)
        n_written += len(day.run(f"write {form}", *words, said=f"{options.records} as {form}")["written"])
        # The same cases in three formats stand for those of three machines, which bring no table.
        (mixed / form / "cases.csv").unlink()
    if options.samples is not None:
        shutil.copytree(options.samples, mixed / "vendor")
    report = day.run(
        "ingest", "ingest", "folder", mixed, "--base", base, "--deidentify",
        said="{answer[added]} added", partly=True,
    )  # fmt: skip
    if report["added"] + len(report["duplicates"]) < n_written:
        sys.exit(f"{n_written} cases were written out, only {report['added']} came in: {report['failed'][:5]}")
    with open_base(source) as opened:
        known = {case.patient_id for case in opened.cases() if case.patient_id} | {c.case_id for c in opened.cases()}
    left = identifiers_left(base, known)
    if left:
        sys.exit(f"{len(left)} identifiers of the source are in the base, though --deidentify was said")
    photos = photos_of(day, options.photos, source, options.n_photos)
    asked = {path: day.run("search by photo", "search", base, path, "-k", K, "--as", "picture") for path in photos}
    day.run("draft", "draft", base, photos[0], said="{answer[model]}")
    day.run("FHIR out", "export", base, "--out", day.folder / "fhir", "--format", "fhir", "--limit", 5, said="5 cases")
    day.run("snapshot", "base", "snapshot", base, day.folder / "snapshot", said="{answer[n_cases]} cases")
    restored, moved = day.folder / "restored", options.milvus or str(day.folder / "moved.db")
    day.run("restore", "base", "restore", day.folder / "snapshot", restored, said="checksum {answer[digest]}")
    day.run("copy to Milvus", "base", "copy", restored, moved, said="checksum {answer[digest]}")
    for where in (restored, moved):
        for path, answer in asked.items():
            if not same_answers(answer, day.run("search again", "search", where, path, "-k", K, "--as", "picture")):
                sys.exit(f"{where} answers {path.name} otherwise than {base}")
    print("\n| step | seconds | |\n|---|--:|---|")
    for step, took, said in day.steps:
        print(f"| {step} | {took:.1f} | {said} |")
    print(f"\n{len(photos)} photos, the same answers from the base, the restored one and {moved}")


if __name__ == "__main__":
    main()
