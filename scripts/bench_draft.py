"""Time from the file of a picture or record to hits and to a finished draft; and the fit of what a draft weighs.

    python scripts/bench_draft.py time BASE PICTURE_OR_RECORD... [--repeat 30] [--json FILE]
    python scripts/bench_draft.py time --quick            (a made base of 200 cases, hashing encoder; under 30 s)
    python scripts/bench_draft.py fit PTBXL ENCODER OUT [--cache DIR]

The fit lets every record of folds 1 to 8 ask the records of all other patients there, and measures them (five minutes
of processor time, kept in DIR); put head.safetensors, calibration.json and draft_thresholds.json from the folder OUT
beside the weights. `ecgkin evaluate drafts --fit OUT` does the same and measures the drafts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ecgkin.retrieval.cores import share_cores


def time_drafts(base: Path, pictures: Sequence[Path], repeat: int) -> dict[str, Any]:
    """Milliseconds from the file to the ten best cases, and to the finished draft, one at a time, after a warm-up.

    Wall time is what a person waits; processor time is what the work takes, and the one to read on a busy machine.
    """
    import numpy as np

    from ecgkin.generation.drafter import Drafter
    from ecgkin.generation.prompt.pages import page_of
    from ecgkin.retrieval.ecg.record import EcgRecord

    with Drafter.open(base) as drafter:
        n_cases = len(drafter.search.base)
        drafter.draft(pictures[0])
        hits: list[float] = []
        recorded = [isinstance(page_of(path), EcgRecord) for path in pictures]
        for i in range(repeat):
            began, at = time.perf_counter(), i % len(pictures)
            (drafter.search.by_ecg if recorded[at] else drafter.search.by_image)(pictures[at], k=10)
            hits.append(1000 * (time.perf_counter() - began))
        wall: list[float] = []
        spent: list[float] = []
        sentences: list[int] = []
        steps: dict[str, list[float]] = {}
        for i in range(repeat):
            began, cpu = time.perf_counter(), time.process_time()
            with timed_steps(steps):
                draft = drafter.draft(pictures[i % len(pictures)]).draft
            wall.append(1000 * (time.perf_counter() - began))
            spent.append(1000 * (time.process_time() - cpu))
            sentences.append(len(draft.sentences))
    return {
        "cases": n_cases,
        "drafts": repeat,
        "hits_p50_ms": float(np.median(hits)),
        "hits_p95_ms": float(np.percentile(hits, 95)),
        "p50_ms": float(np.median(wall)),
        "p95_ms": float(np.percentile(wall, 95)),
        "cpu_p50_ms": float(np.median(spent)),
        "cpu_p95_ms": float(np.percentile(spent, 95)),
        "cpu_p50_ms_by_step": {name: round(float(np.median(each)), 2) for name, each in steps.items()},
        "sentences": float(np.mean(sentences)),
        "processor": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
    }


@contextlib.contextmanager
def timed_steps(steps: dict[str, list[float]]) -> Iterator[None]:
    """Adds the processor time of each step of a draft; the steps are those of one query, none inside another."""
    import ecgkin.generation.backends.consensus as consensus
    import ecgkin.generation.drafter as drafter
    import ecgkin.retrieval.ecg.page.reading as page
    from ecgkin.index.base import CaseBase
    from ecgkin.retrieval.encoders.dual import DualEncoder

    places: list[tuple[Any, str, str]] = [
        (drafter, "page_of", "open the file"),
        (page, "read_page", "read the page"),
        (DualEncoder, "encode_printed", "encode"),
        (CaseBase, "search", "search"),
        (consensus, "write_consensus", "write"),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in places]

    def timing(work: Any, step: str) -> Any:
        def run(*words: Any, **more: Any) -> Any:
            began = time.process_time()
            try:
                return work(*words, **more)
            finally:
                steps.setdefault(step, []).append(1000 * (time.process_time() - began))

        return run

    for owner, name, step in places:
        setattr(owner, name, timing(getattr(owner, name), step))
    try:
        yield
    finally:
        for owner, name, work in before:
            setattr(owner, name, work)


def made_base(folder: Path, n: int = 200) -> tuple[Path, list[Path]]:
    """A base of simulated cases with the hashing encoder, and four pictures that are not in it."""
    from ecgkin.index import create_base
    from ecgkin.index.case import Case
    from ecgkin.retrieval.ecg.drawing.raster import render
    from ecgkin.retrieval.ecg.simulation.simulate import simulate_corpus
    from ecgkin.retrieval.encoders.hashing import HashingEncoder

    encoder = HashingEncoder()
    made = list(simulate_corpus(n + 4, 3))
    cases = [Case(f"sim/{i}", labels=one.labels, report=one.report_en) for i, one in enumerate(made[:n])]
    with create_base(folder / "base", encoder.name, encoder.fingerprint, encoder.dim) as base:
        base.add(cases, encoder.encode_records([one.record for one in made[:n]]))
    pictures = []
    for i, one in enumerate(made[n:]):
        pictures.append(folder / f"{i}.png")
        render(one.record).save(pictures[-1])
    return folder / "base", pictures


def fit(ptbxl: Path, encoder: str, out: Path, cache: Path | None) -> dict[str, Any]:
    """Fit and write head, weights and thresholds."""
    from ecgkin.generation.research.fit.thresholds import fit_from_ptbxl
    from ecgkin.retrieval.encoders import load_encoder
    from ecgkin.retrieval.search.search import shipped_calibration

    loaded = load_encoder(encoder, device="cpu")
    fitted = fit_from_ptbxl(ptbxl, loaded, calibration=shipped_calibration(loaded), cache_dir=cache)
    fitted.save(out)
    limits = fitted.thresholds
    return {"folder": str(out), "fitted_on": limits.fitted_on, "f1": dict(limits.f1), "measured": list(limits.measured)}


def main() -> None:
    share_cores()  # as the command line does, before NumPy is loaded
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
    words = parser.parse_args()
    if words.verb == "fit":
        print(json.dumps(fit(words.ptbxl, words.encoder, words.out, words.cache), indent=1))
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
