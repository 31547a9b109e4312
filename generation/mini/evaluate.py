"""`ecgkin evaluate mini`: picture, neighbours, or both, on the same held-out ECGs, beside drafters without a model."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.generation.draft_arms import CONSENSUS, NEAREST, Asked, Setting, run_arm
from ecgkin.generation.draft_runs import DraftLine
from ecgkin.generation.instruct import neighbour_prompt
from ecgkin.generation.instruct_rows import language_of
from ecgkin.generation.measures import Measurements
from ecgkin.generation.mini.backend import MiniGenerator
from ecgkin.generation.mini.report import (
    CASES_ONLY,
    CASES_VOTE_ONLY,
    PICTURE,
    RANDOM_CASES,
    WITH_CASES,
    WITH_VOTE,
    WITHOUT,
    MiniReport,
    compare_arms,
    write_report,
)
from ecgkin.generation.mini.tokens import PAGE, Tokens, view_tokens
from ecgkin.generation.mini.wording import MiniPrompt, parse_prompt
from ecgkin.generation.thresholds import DraftThresholds, shipped_thresholds
from ecgkin.retrieval.ecg.ptbxl import PtbXl, PtbXlRow
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.evaluation.galleries import PRIMARY, Embedder, Progress
from ecgkin.retrieval.evaluation.ranking import nearest_others
from ecgkin.retrieval.vote import Calibration, VoteRule

_LOG = logging.getLogger(__name__)

MINI_ARMS = (PICTURE, *WITH_CASES, WITH_VOTE, RANDOM_CASES, CASES_ONLY, CASES_VOTE_ONLY)
ARMS = (*MINI_ARMS, WITHOUT, CONSENSUS, NEAREST)
_BATCH = 64
_RANDOM_SEED = 71


def evaluate_mini(
    ptbxl_root: str | Path,
    encoder: Any,
    generator: MiniGenerator,
    *,
    query_folds: Collection[int] = (9,),
    gallery_folds: Collection[int] = range(1, 9),
    arms: Sequence[str] | None = None,
    without: MiniGenerator | None = None,
    calibration: Calibration | None = None,
    thresholds: DraftThresholds | None = None,
    limit: int | None = None,
    out_dir: str | Path | None = None,
    cache_dir: str | Path | None = None,
    resamples: int = 1_000,
    progress: Progress | None = None,
) -> MiniReport:
    """Run the arms on drawn pages that are read as any picture is.

    Args:
        ptbxl_root: Folder with the official layout.
        encoder: Whose neighbours they are, and whose patch tokens the generator reads.
        generator: The mini generator.
        query_folds, gallery_folds: As in `evaluate_retrieval`; queries are never of the training folds.
        arms: Some of `ARMS`; None takes all that there is a generator for.
        without: A generator that was trained without cases; it is shown the picture alone.
        calibration, thresholds: Of the encoder, for vote and consensus.
        limit: At most this many queries, drawn with a fixed seed.
        out_dir: Where report.md, report.json and one run file an arm go.
        cache_dir: Where embeddings and tokens are kept.
        resamples: Of the bootstrap.
        progress: Called with (what, done, total).

    Raises:
        QueryError: Folds on both sides, unknown arms, or no records.
    """
    if arms is None:
        arms = [arm for arm in ARMS if arm != WITHOUT or without is not None]
    unknown = [arm for arm in arms if arm not in ARMS or (arm == WITHOUT and without is None)]
    if unknown:
        raise QueryError(f"arms {unknown} are not known, or lack their generator (expected some of {', '.join(ARMS)})")
    if set(query_folds) & set(gallery_folds):
        raise QueryError(f"folds {sorted(set(query_folds) & set(gallery_folds))} are both query and gallery")
    began = time.perf_counter()
    data = PtbXl(ptbxl_root, fs_hz=None)
    whole, gallery = data.select(query_folds), data.select(gallery_folds)
    queries = whole
    if not queries or not gallery:
        raise QueryError(f"{ptbxl_root} holds {len(queries)} query records and {len(gallery)} of the gallery")
    if limit is not None and limit < len(queries):
        drawn = np.random.default_rng(_RANDOM_SEED).choice(len(queries), limit, replace=False)
        queries = [queries[i] for i in sorted(drawn.tolist())]
    cache = Path(cache_dir) if cache_dir else Path(out_dir or ".")
    embedder = Embedder(data, encoder, Path(cache_dir) if cache_dir else None, progress)
    setting = Setting(gallery, calibration, thresholds or shipped_thresholds(encoder))
    depth = max(setting.depth, VoteRule().k)
    found = nearest_others(
        embedder.queries(queries, PRIMARY, whole), embedder.gallery(gallery), depth, queries, gallery
    )
    hits = [
        [(gallery[r], float(s)) for r, s in zip(found.rows[i], found.scores[i], strict=True) if r >= 0]
        for i in range(len(queries))
    ]
    tokens = view_tokens(data, queries, encoder, PAGE, cache, progress)
    lines: dict[str, list[DraftLine]] = {}
    for arm in arms:
        if arm in MINI_ARMS:
            lines[arm] = _mini_lines(arm, queries, hits, gallery, tokens, generator, calibration, progress)
        elif arm == WITHOUT and without is not None:
            lines[arm] = _mini_lines(PICTURE, queries, hits, gallery, tokens, without, calibration, progress)
        else:
            lines[arm] = [
                DraftLine.of(row.ecg_id, run_arm(arm, Asked(row, h, lambda: data.record(row), _unmeasured), setting))  # noqa: B023
                for row, h in zip(queries, hits, strict=True)
            ]
    parts = compare_arms(lines, queries, resamples)
    about = {
        **({"trained without cases": _told(without)} if without is not None else {}),
        "data": f"PTB-XL, {len(queries)} queries of folds {sorted(set(query_folds))}, {len(gallery)} cases",
        "encoder": f"{encoder.name} {encoder.fingerprint[:12]}",
        "generator": _told(generator),
        "vote": "calibrated" if calibration else "raw shares",
        "text": "words are compared with the record's report, findings with its labels; greedy decoding",
        "seconds": round(time.perf_counter() - began),
    }
    report = MiniReport(about, *parts)
    if out_dir is not None:
        write_report(report, lines, Path(out_dir))
    return report


def _told(generator: MiniGenerator) -> str:
    of = generator.about
    return f"{of.get('data')}, cases: {of.get('cases')}, {of.get('steps')} of {of.get('of_steps')} steps"


def _unmeasured() -> Measurements:
    raise QueryError("no arm of `evaluate mini` measures the signal")


def mini_prompt(
    arm: str,
    row: PtbXlRow,
    hits: Sequence[tuple[PtbXlRow, float]],
    gallery: Sequence[PtbXlRow],
    calibration: Calibration | None,
) -> MiniPrompt:
    """What the generator is told in an arm; random cases are drawn by the record's number."""
    language = language_of(row)
    if arm == PICTURE:
        return MiniPrompt(language=language)
    shown = list(hits)
    if arm == RANDOM_CASES:
        rng = np.random.default_rng([_RANDOM_SEED, row.ecg_id])
        shown = [(gallery[int(i)], 0.0) for i in rng.choice(len(gallery), min(20, len(gallery)), replace=False)]
    k = int(arm.split("k=")[1].split()[0].rstrip(","))
    # Through the words of a drafter's prompt and back, so that every arm goes through the door that users take.
    return parse_prompt(
        neighbour_prompt(
            shown, k, language=language, calibration=calibration, with_vote="vote" in arm, n_cases=len(gallery)
        )
    )


def _mini_lines(
    arm: str,
    queries: Sequence[PtbXlRow],
    hits: Sequence[Sequence[tuple[PtbXlRow, float]]],
    gallery: Sequence[PtbXlRow],
    tokens: Tokens,
    generator: MiniGenerator,
    calibration: Calibration | None,
    progress: Callable[[str, int, int], None] | None,
) -> list[DraftLine]:
    from ecgkin.generation.grounding import ground
    from ecgkin.generation.mini.wording import findings_line

    out = []
    for begin in range(0, len(queries), _BATCH):
        some = queries[begin : begin + _BATCH]
        started = time.perf_counter()
        prompts = [
            mini_prompt(arm, row, near, gallery, calibration)
            for row, near in zip(some, hits[begin : begin + _BATCH], strict=True)
        ]
        written = generator.write(prompts, np.asarray(tokens[begin : begin + len(some)]), blank="no picture" in arm)
        seconds = (time.perf_counter() - started) / len(some)
        for row, (codes, words) in zip(some, written, strict=True):
            # As a drafter reads any answer: what its text says counts, words and findings alike.
            read = ground(f"{words}\n{findings_line(codes, 'en')}", ())
            statements = {s.code: s.polarity for s in read.statements}
            out.append(DraftLine(row.ecg_id, words, statements, {}, 0, 0, 0, (), seconds, None, None))
        if progress is not None:
            progress(arm, begin + len(some), len(queries))
    return out
