"""Time of a draft from image file to finished text; and the fit of the drafter's thresholds.

    python scripts/bench_draft.py time BASE PICTURE... [--repeat 30] [--json FILE]
    python scripts/bench_draft.py time --quick            (a made base of 200 cases, hashing encoder; under 30 s)
    python scripts/bench_draft.py fit PTBXL ENCODER OUT/draft_thresholds.json [--cache DIR] [--query-folds 9]

The fit lets every record of folds 1 to 8 ask the records of all other patients there; put the file beside the weights.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def time_drafts(base: Path, pictures: Sequence[Path], repeat: int) -> dict[str, Any]:
    """Milliseconds from the file to the finished draft, one query at a time, after a warm-up."""
    from ecgkin.generation.drafter import Drafter

    with Drafter.open(base) as drafter:
        n_cases = len(drafter.search.base)
        drafter.draft(pictures[0])
        total, steps = [], []
        for i in range(repeat):
            start = time.perf_counter()
            draft = drafter.draft(pictures[i % len(pictures)])
            total.append(1000 * (time.perf_counter() - start))
            steps.append(len(draft.sentences))
        prompt_seconds = float(np.mean(steps))
    return {
        "cases": n_cases,
        "drafts": repeat,
        "p50_ms": float(np.median(total)),
        "p95_ms": float(np.percentile(total, 95)),
        "sentences": prompt_seconds,
        "processor": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
    }


def made_base(folder: Path, n: int = 200) -> tuple[Path, list[Path]]:
    """A base of simulated cases with the hashing encoder, and four pictures that are not in it."""
    from ecgkin.index.case import Case
    from ecgkin.index.casebase import CaseBase
    from ecgkin.retrieval.ecg.drawing import render
    from ecgkin.retrieval.ecg.simulate import simulate_corpus
    from ecgkin.retrieval.encoders.hashing import HashingEncoder

    encoder = HashingEncoder()
    made = list(simulate_corpus(n + 4, 3))
    cases = [Case(f"sim/{i}", labels=one.labels, report=one.report_en) for i, one in enumerate(made[:n])]
    with CaseBase.create(folder / "base", encoder.name, encoder.fingerprint, encoder.dim) as base:
        base.add(cases, encoder.encode_records([one.record for one in made[:n]]))
    pictures = []
    for i, one in enumerate(made[n:]):
        pictures.append(folder / f"{i}.png")
        render(one.record).save(pictures[-1])
    return folder / "base", pictures


def fit(ptbxl: Path, encoder: str, out: Path, cache: Path | None, query_folds: Sequence[int]) -> dict[str, Any]:
    """Fit and write the thresholds."""
    from ecgkin.generation.threshold_fit import fit_from_ptbxl
    from ecgkin.retrieval.encoders import load_encoder
    from ecgkin.retrieval.search import shipped_calibration

    loaded = load_encoder(encoder, device="cpu")
    fitted = fit_from_ptbxl(
        ptbxl, loaded, query_folds=query_folds, calibration=shipped_calibration(loaded), cache_dir=cache
    )
    fitted.save(out)
    return {"file": str(out), "fitted_on": fitted.fitted_on, "f1": dict(fitted.f1)}


def main() -> None:
    """Read the words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    timed = verbs.add_parser("time")
    timed.add_argument("base", type=Path, nargs="?")
    timed.add_argument("pictures", type=Path, nargs="*")
    timed.add_argument("--repeat", type=int, default=30)
    timed.add_argument("--quick", action="store_true")
    timed.add_argument("--json", type=Path)
    fitted = verbs.add_parser("fit")
    fitted.add_argument("ptbxl", type=Path)
    fitted.add_argument("encoder")
    fitted.add_argument("out", type=Path)
    fitted.add_argument("--cache", type=Path)
    fitted.add_argument("--query-folds", type=int, nargs="*", default=[])
    words = parser.parse_args()
    if words.verb == "fit":
        print(json.dumps(fit(words.ptbxl, words.encoder, words.out, words.cache, words.query_folds), indent=1))
        return
    with tempfile.TemporaryDirectory() as folder:
        if words.quick:
            base, pictures = made_base(Path(folder))
        elif words.base is None or not words.pictures:
            parser.error("time needs BASE and at least one PICTURE, or --quick")
        else:
            base, pictures = words.base, words.pictures
        result = time_drafts(base, pictures, words.repeat)
    if words.json:
        words.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
