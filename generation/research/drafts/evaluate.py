"""`ecgkin evaluate drafts`: what retrieval gives to a draft, arm against arm on held-out ECGs.

`evaluate_drafts` embeds, retrieves, runs the arms of `drafts.arms` and scores them; `DraftsReport` shows them side by
side as tables and as plain values, with paired tests against the consensus.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.generation.backends.base import TextBackend
from ecgkin.generation.consensus.thresholds import DraftThresholds, shipped_thresholds
from ecgkin.generation.measures import Measurements, measure
from ecgkin.generation.prompt import wording as prompts
from ecgkin.generation.research.drafts.arms import (
    BUILT_IN,
    CONSENSUS,
    RECORDING,
    STATEMENT_ARMS,
    Asked,
    Setting,
    run_arm,
)
from ecgkin.generation.research.drafts.runs import DraftLine, RunFile
from ecgkin.generation.research.drafts.scores import ArmScores, score_arm
from ecgkin.generation.research.retrieval.bootstrap import holm, paired_p
from ecgkin.generation.research.retrieval.galleries import PRIMARY, Embedder
from ecgkin.generation.research.retrieval.ranking import Floats, nearest_others
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl, PtbXlRow
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.encoders.witness import StatementHead, shipped_head
from ecgkin.retrieval.errors import GenerationError, QueryError
from ecgkin.retrieval.search.vote import Calibration

_LOG = logging.getLogger(__name__)

# Raised when the wording or the rules of the built-in drafters change, so that older run files are not mixed in.
DRAFTER_VERSION = 3
COMPARED: tuple[str, ...] = ("superclass macro-F1", "statement macro-F1")
_SEED = 9
_TINY_NOTE = "model arms with random weights (the tiny checkpoint) prove the road, not the quality"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class DraftsReport:
    """All arms.

    Attributes:
        about: Data, encoder, folds and settings, in words.
        arms: Scores by arm.
        tests: "arm against consensus: measure" -> (difference, two-sided p, Holm-adjusted p).
    """

    about: Mapping[str, str]
    arms: Mapping[str, ArmScores]
    tests: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "about": dict(self.about),
            "arms": {
                name: {
                    "n": arm.n,
                    "measures": {m: vars(v) for m, v in arm.measures.items()},
                    "abstention": {str(c): v for c, v in arm.abstention.items()},
                    "abstained": dict(arm.abstained),
                    "per_statement": {c: {"f1": f, "positives": n} for c, (f, n) in arm.per_statement.items()},
                    "cost": dict(arm.cost),
                }
                for name, arm in self.arms.items()
            },
            "tests": {name: {"difference": d, "p": p, "p_holm": h} for name, (d, p, h) in self.tests.items()},
        }

    def as_markdown(self) -> str:
        """Tables for people."""
        names = list(dict.fromkeys(m for arm in self.arms.values() for m in arm.measures))
        lines = [f"- {key}: {value}" for key, value in self.about.items()]
        lines += ["", f"| measure | {' | '.join(self.arms)} |", f"|---|{'---|' * len(self.arms)}"]
        lines.append(f"| queries | {' | '.join(str(arm.n) for arm in self.arms.values())} |")
        for name in names:
            cells = [str(arm.measures[name]) if name in arm.measures else "-" for arm in self.arms.values()]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        costs = list(dict.fromkeys(c for arm in self.arms.values() for c in arm.cost))
        for name in costs:
            cells = [f"{arm.cost[name]:.4g}" if name in arm.cost else "-" for arm in self.arms.values()]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        curves = {name: arm.abstention for name, arm in self.arms.items() if arm.abstention}
        if curves:
            coverages = list(next(iter(curves.values())))
            lines += ["", f"| superclass macro-F1 at coverage | {' | '.join(f'{c:.0%}' for c in coverages)} |"]
            lines.append(f"|---|{'---|' * len(coverages)}")
            lines += [f"| {n} | {' | '.join(f'{v:.3f}' for v in curve.values())} |" for n, curve in curves.items()]
        for name, arm in self.arms.items():
            if arm.abstained:
                shares = ", ".join(f"{section} {share:.0%}" for section, share in arm.abstained.items())
                lines += ["", f"Sections left open by {name}: {shares}."]
        if self.tests:
            lines += ["", "| against consensus | difference | p | p (Holm) |", "|---|---|---|---|"]
            lines += [f"| {n} | {d:+.3f} | {p:.3f} | {h:.3f} |" for n, (d, p, h) in self.tests.items()]
        return "\n".join(lines) + "\n"


def evaluate_drafts(
    ptbxl_root: str | Path,
    encoder: Encoder,
    *,
    query_folds: Collection[int] = (9,),
    gallery_folds: Collection[int] = range(1, 9),
    arms: Sequence[str] = BUILT_IN,
    backend: TextBackend | None = None,
    calibration: Calibration | None = None,
    thresholds: DraftThresholds | None = None,
    head: StatementHead | None = None,
    limit: int | None = None,
    out_dir: str | Path | None = None,
    cache_dir: str | Path | None = None,
    max_new_tokens: int = 256,
    resamples: int = 1_000,
    bert: str | Path | None = None,
    progress: Progress | None = None,
) -> DraftsReport:
    """Run the arms and score them.

    Args:
        ptbxl_root: Folder with the official layout.
        encoder: Whose neighbours they are.
        query_folds, gallery_folds: As in `evaluate_retrieval`.
        arms: Names, see `draft_arms`; those of a model need a backend.
        backend: The model.
        calibration, thresholds: Of the encoder; None for raw votes, and for the thresholds beside its weights.
        head: Of the encoder; None for the one beside its weights, if there is one.
        limit: At most this many queries, drawn with a fixed seed.
        out_dir: Where run files, report.md and report.json go; arms whose run file is there are not run again.
        cache_dir: Where embeddings are kept.
        max_new_tokens: Longest answer of a model.
        resamples: Of the bootstrap.
        bert: Folder of a BERT model for BERTScore; None leaves it out.
        progress: Called with (what, done, total).

    Raises:
        RecordError: No PTB-XL folder.
        QueryError: Unknown arm, folds on both sides, or run files of another run.
    """
    data = PtbXl(ptbxl_root)
    if set(query_folds) & set(gallery_folds):
        raise QueryError(f"folds {sorted(set(query_folds) & set(gallery_folds))} are both query and gallery")
    queries, gallery = data.select(query_folds), data.select(gallery_folds)
    if not queries or not gallery:
        raise QueryError(f"{ptbxl_root} holds {len(queries)} records of the query folds, {len(gallery)} of the gallery")
    if limit is not None and limit < len(queries):
        drawn = np.random.default_rng(_SEED).choice(len(queries), limit, replace=False)
        queries = [queries[i] for i in sorted(drawn.tolist())]
    embedder = Embedder(data, encoder, Path(cache_dir) if cache_dir else None, progress)
    recorded = embedder.gallery(queries) if RECORDING in arms else None
    # Drawing and reading pages takes most of the time: where only recordings ask, there are none.
    pages = recorded if recorded is not None and set(arms) == {RECORDING} else embedder.queries(queries, PRIMARY)
    return evaluate_embedded(
        data,
        queries,
        gallery,
        pages,
        embedder.gallery(gallery),
        encoder_name=encoder.name,
        fingerprint=encoder.fingerprint,
        head=head if head is not None else shipped_head(encoder),
        record_emb=recorded,
        arms=arms,
        setting=Setting(gallery, calibration, thresholds or shipped_thresholds(encoder), backend, max_new_tokens),
        out_dir=Path(out_dir) if out_dir else None,
        resamples=resamples,
        bert=bert,
        progress=progress,
    )


def evaluate_embedded(
    data: PtbXl,
    queries: Sequence[PtbXlRow],
    gallery: Sequence[PtbXlRow],
    query_emb: Floats,
    gallery_emb: Floats,
    *,
    encoder_name: str,
    fingerprint: str,
    arms: Sequence[str],
    setting: Setting,
    head: StatementHead | None = None,
    record_emb: Floats | None = None,
    out_dir: Path | None = None,
    resamples: int = 1_000,
    bert: str | Path | None = None,
    progress: Progress | None = None,
) -> DraftsReport:
    """The same for embeddings that are there already, shapes (n, dim); other arguments as in `evaluate_drafts`.

    `record_emb` are vectors of the same queries as recordings, for the arm of that name.
    """
    began = time.perf_counter()
    found = nearest_others(query_emb, gallery_emb, setting.depth, queries, gallery)
    said = head.of_vectors(query_emb) if head is not None else None
    recorded = (
        _recorded(record_emb, gallery_emb, queries, gallery, head, setting.depth) if record_emb is not None else None
    )
    asked = [
        Asked(
            row,
            [(gallery[r], float(s)) for r, s in zip(found.rows[i], found.scores[i], strict=True) if r >= 0],
            lambda row=row: data.record(row),  # type: ignore[misc]
            lru_cache(maxsize=1)(lambda row=row: _measured(data, row)),
            said.of(i) if said is not None else {},
            recorded[i] if recorded is not None else None,
        )
        for i, row in enumerate(queries)
    ]
    key = {
        "version": DRAFTER_VERSION,
        "encoder": fingerprint,
        "gallery": _hash(r.ecg_id for r in gallery),
        "thresholds": _hash(*_parts(setting.thresholds)),
        "calibrated": _hash([setting.calibration.as_json()]) if setting.calibration else "",
        "head": _hash(head.weight.ravel().tolist()[:999]) if head is not None else "",
    }
    scores: dict[str, ArmScores] = {}
    for arm in arms:
        lines = _lines(arm, asked, setting, out_dir, key, progress)
        scores[arm] = score_arm(
            arm,
            lines,
            queries,
            resamples,
            texts=arm not in STATEMENT_ARMS,
            bert=None if arm in STATEMENT_ARMS else bert,
        )
    about = {
        "data": f"PTB-XL, {len(queries)} queries of fold {_folds(queries)}, {len(gallery)} cases of {_folds(gallery)}",
        "encoder": f"{encoder_name} {fingerprint[:12]}",
        "vote": "calibrated" if setting.calibration else f"raw shares, k = {setting.depth}",
        "head": head.about.get("fitted_on", "of unknown making") if head is not None else "none",
        "thresholds": setting.thresholds.fitted_on or f"default {setting.thresholds.default}",
        "text": "hedged findings count as stated; drafts are in the language of the report they are scored with",
        "intervals": f"95 %, {resamples} bootstrap resamples over patients",
        "seconds": f"{time.perf_counter() - began:.0f} for all arms, embeddings apart",
    }
    if any(arm.startswith("model") for arm in arms) and setting.backend is not None:
        about["model"] = f"{setting.backend.name}; {_TINY_NOTE}"
    report = DraftsReport(about, scores, _tests(scores))
    if out_dir is not None:
        (out_dir / "report.md").write_text(report.as_markdown(), encoding="utf-8")
        text = json.dumps(report.as_dict(), indent=1, default=float).replace("NaN", "null")
        (out_dir / "report.json").write_text(text + "\n", encoding="utf-8")
    return report


def _recorded(
    record_emb: Floats,
    gallery_emb: Floats,
    queries: Sequence[PtbXlRow],
    gallery: Sequence[PtbXlRow],
    head: StatementHead | None,
    depth: int,
) -> list[tuple[list[tuple[PtbXlRow, float]], Mapping[str, float]]]:
    """Hits and reading of each query asked as a recording."""
    found = nearest_others(record_emb, gallery_emb, depth, queries, gallery)
    said = head.of_vectors(record_emb) if head is not None else None
    return [
        (
            [(gallery[r], float(s)) for r, s in zip(found.rows[i], found.scores[i], strict=True) if r >= 0],
            said.of(i) if said is not None else {},
        )
        for i in range(len(queries))
    ]


def _lines(
    arm: str,
    asked: Sequence[Asked],
    setting: Setting,
    out_dir: Path | None,
    key: Mapping[str, Any],
    progress: Progress | None,
) -> list[DraftLine]:
    """The drafts of an arm, those from its run file first."""
    own = dict(key)
    if arm.startswith("model"):
        if setting.backend is None:
            raise QueryError(f"arm {arm!r} needs a model", hint="pass --model pulse:DIR or an address")
        prompt = prompts.prompt_name(question=False, cases=arm != "model")
        own |= {"model": setting.backend.name, "prompt": prompt, "max_new_tokens": setting.max_new_tokens}
        arm_file = f"{arm} {blake2b(setting.backend.name.encode(), digest_size=3).hexdigest()}"
    else:
        arm_file = arm
    run = None
    done: dict[int, DraftLine] = {}
    if out_dir is not None:
        (out_dir / "runs").mkdir(parents=True, exist_ok=True)
        run = RunFile(out_dir / "runs", arm_file, own)
        done = run.read()
    out = []
    for i, item in enumerate(asked):
        line = done.get(item.row.ecg_id)
        if line is None:
            try:
                line = DraftLine.of(item.row.ecg_id, run_arm(arm, item, setting))
            except GenerationError as error:
                _LOG.warning("arm %s failed on one query: %s", arm, type(error).__name__)
                line = DraftLine.failed(item.row.ecg_id, type(error).__name__)
            if run is not None:
                run.append(line)
        out.append(line)
        if progress is not None:
            progress(arm, i + 1, len(asked))
    return out


def _tests(scores: Mapping[str, ArmScores]) -> dict[str, tuple[float, float, float]]:
    """Each arm against the consensus, paired over the same resamples; Holm over all comparisons."""
    if CONSENSUS not in scores:
        return {}
    base = scores[CONSENSUS]
    raw: dict[str, float] = {}
    differences: dict[str, float] = {}
    for name, arm in scores.items():
        for measure_name in COMPARED:
            if name != CONSENSUS and arm.n == base.n:
                label = f"{name}: {measure_name}"
                raw[label] = paired_p(arm.resampled[measure_name], base.resampled[measure_name])
                differences[label] = arm.measures[measure_name].value - base.measures[measure_name].value
    adjusted = holm(raw)
    return {name: (differences[name], raw[name], adjusted[name]) for name in raw}


def _parts(thresholds: DraftThresholds) -> list[list[Any]]:
    """What of the thresholds decides about drafts."""
    measured = sorted((code, model.as_dict()) for code, model in thresholds.measured.items())
    plain = (thresholds.statements, thresholds.superclasses, thresholds.reading, thresholds.joint)
    return [*(sorted(part.items()) for part in plain), measured]


def _measured(data: PtbXl, row: PtbXlRow) -> Measurements:
    return measure(data.record(row))


def _hash(*parts: Any) -> str:
    return blake2b(repr([list(part) for part in parts]).encode(), digest_size=8).hexdigest()


def _folds(rows: Sequence[PtbXlRow]) -> str:
    return ", ".join(map(str, sorted({row.fold for row in rows})))
