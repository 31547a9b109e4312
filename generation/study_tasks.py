"""The tasks of `ecgkin evaluate run`: each gives plain values for report.json, tables, and data for figures."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ecgkin.generation.study_pictures import (
    embedding_map,
    out_of_domain,
    photo_identity,
    printouts,
    robustness,
)
from ecgkin.generation.study_shared import Study, Values
from ecgkin.generation.study_writing import drafts, ecgbench, mini
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.evaluation import compare
from ecgkin.retrieval.evaluation.arms import BM25, CONSTANT, ArmSetting, arm_neighbours
from ecgkin.retrieval.evaluation.case_retrieval import RANKED, CaseRetrievalResult, Rules, evaluate_neighbours
from ecgkin.retrieval.evaluation.galleries import PRIMARY
from ecgkin.retrieval.evaluation.labels import default_space
from ecgkin.retrieval.evaluation.metrics import vote_scores
from ecgkin.retrieval.evaluation.report import HEADLINE
from ecgkin.retrieval.vote import VoteRule

COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
_RUN_DEPTH = 100
_PART_LIMIT = 4_000


def _choice(study: Study) -> Rules | None:
    """On fold 9 every arm may choose its own vote; elsewhere the rules are fixed beforehand."""
    return None if {row.fold for row in study.queries} == {9} else study.rules


def retrieval(study: Study, options: Values) -> Values:
    """All arms on task A, paired tests against the first and between those asked for, run files."""
    return _compared(study, study.settings.arms, options, None)


def part(study: Study, options: Values) -> Values:
    """The same on a part of both sides, for arms that take long; the run's encoder is measured on that part too."""
    if "arms" not in options:
        raise QueryError("task part needs its arms", hint="part: {arms: [encoder, features, untrained:1]}")
    return _compared(study.part(int(options.get("limit", _PART_LIMIT))), options["arms"], options, study)


def _compared(study: Study, arms: Sequence[str], options: Values, whole: Study | None) -> Values:
    setting = ArmSetting(
        study.embedder, study.queries, study.gallery, (whole.queries, whole.gallery) if whole is not None else None
    )
    weights, results, singles = study.weights, {}, {}
    curves: dict[str, dict[str, float]] = {}
    space = default_space()
    truth, known = (space.statements([r.labels for r in rows]) for rows in (study.queries, study.gallery))
    for number, arm in enumerate(arms, 1):
        found = arm_neighbours(arm, setting, min(RANKED, len(study.gallery)))
        results[arm] = evaluate_neighbours(found, study.queries, study.gallery, rules=_choice(study), weights=weights)
        singles[arm] = compare.per_query(found, study.queries, study.gallery)
        curves[arm] = compare.ranking_measures(found, truth, known)
        _run_file(study, arm, results[arm], "part-" if whole is not None else "")
        if study.embedder.progress is not None:
            study.embedder.progress("arms", number, len(arms))
    pairs = [(arms[0], other) for other in arms[1:]] + [(a, b) for a, b in options.get("pairs", ())]
    values = {arm: {m: _value(r, m) for m in HEADLINE} for arm, r in results.items()}
    tests = compare.paired_tests(
        pairs, {arm: r.resampled for arm, r in results.items()}, values, singles, HEADLINE, study.patients,
        study.settings.permutations,
    )  # fmt: skip
    return {
        "n": len(study.queries),
        "n_gallery": len(study.gallery),
        "arms": {
            arm: {
                "measures": {
                    **{f"AUC {n}": asdict(a.interval) for n, a in r.aucs.items()},
                    **{n: asdict(i) for n, i in r.measures.items()},
                },
                "rules": {"superclasses": asdict(r.rules.superclasses), "statements": asdict(r.rules.statements)},
                "ranking": curves[arm],
                "per_statement": {c: {"auc": a, "positives": n} for c, (a, n) in r.per_statement.items()},
            }
            for arm, r in results.items()
        },
        "seeds": _over_seeds(values),
        "tests": [asdict(t) for t in tests],
    }


def _value(result: CaseRetrievalResult, measure: str) -> float:
    if measure.startswith("AUC "):
        return result.aucs[measure.removeprefix("AUC ")].interval.value
    return result.measures[measure].value


def _over_seeds(values: dict[str, dict[str, float]]) -> Values:
    """Mean and standard deviation of arms that differ in their seed alone.

    Those are "untrained:1", "untrained:2"; and folders "paper:runs/pair", "paper:runs/pair-1".
    """
    groups: dict[str, list[str]] = {}
    for arm in values:
        groups.setdefault(re.sub(r"(?:-|(?<=untrained):)\d+$", "", arm), []).append(arm)
    groups = {name: arms for name, arms in groups.items() if len(arms) > 1}
    return {
        name: {m: {"mean": float(np.mean(x)), "sd": float(np.std(x)), "seeds": len(x)}
               for m in HEADLINE if (x := [values[arm][m] for arm in arms])}
        for name, arms in groups.items()
    }  # fmt: skip


def _run_file(study: Study, arm: str, result: CaseRetrievalResult, prefix: str) -> None:
    folder = study.out / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    name = prefix + "".join(c if c.isalnum() else "-" for c in arm.rsplit("/", 1)[-1])
    with gzip.open(folder / f"{name}.txt.gz", "wt", encoding="utf-8") as stream:
        for row, rows, scores in zip(study.queries, result.neighbours.rows, result.neighbours.scores, strict=True):
            for rank, (r, s) in enumerate(zip(rows[:_RUN_DEPTH], scores[:_RUN_DEPTH], strict=True), 1):
                if r >= 0:
                    stream.write(f"{row.ecg_id} Q0 {study.gallery[r].ecg_id} {rank} {s:.6f} {name}\n")


def vote(study: Study, options: Values) -> Values:
    """Reliability and abstention of the first arm's vote on superclasses."""
    from ecgkin.retrieval.evaluation.calibrate import calibration_error, cross_fitted

    found = arm_neighbours(study.settings.arms[0], ArmSetting(study.embedder, study.queries, study.gallery))
    space = default_space()
    truth, known = (
        space.superclass_matrix(space.statements([r.labels for r in rows])) for rows in (study.queries, study.gallery)
    )
    rule = study.rules.superclasses
    rule = VoteRule(min(rule.k, found.rows.shape[1]), rule.tau)
    raw = vote_scores(found, known, rule.k, rule.tau)
    fitted = cross_fitted(found, truth, known, rule, study.patients)
    has = truth.any(axis=1)
    return {
        "errors": {
            "raw share": asdict(calibration_error(truth, raw)),
            "calibrated": asdict(calibration_error(truth, fitted)),
        },
        "reliability": {"raw share": _bins(truth, raw), "calibrated": _bins(truth, fitted)},
        "abstention": compare.abstention_curve(truth[has], raw[has], found.scores[has, 0], COVERAGES),
    }


def _bins(truth: Any, probabilities: Any) -> list[list[float]]:
    """(mean probability, share of positives, number) of ten bins with equal numbers of predictions."""
    p, y = probabilities.ravel(), truth.ravel()
    parts = np.array_split(np.argsort(p, kind="stable"), 10)
    return [[float(p[i].mean()), float(y[i].mean()), len(i)] for i in parts if len(i)]


def cross_modal(study: Study, options: Values) -> Values:
    """ECG to report and back."""
    from ecgkin.retrieval.evaluation.cross_modal import evaluate_cross_modal

    found = evaluate_cross_modal(
        study.embedder.queries(study.queries, PRIMARY),
        study.embedder.texts([row.report for row in study.queries]),
        study.queries,
        weights=study.weights,
    )
    return {
        "n": found.n,
        "ceiling": {f"R@{k}": v for k, v in found.ceiling.items()},
        "recall": {f"{d} {kind} R@{k}": asdict(v) for (d, kind, k), v in found.recall.items()},
        "sub_size": found.sub_size,
        "sub_recall": {f"{d} {kind} R@{k}": list(v) for (d, kind, k), v in found.sub_recall.items()},
    }


def aligned(study: Study, options: Values) -> Values:
    """ECG and report for any arm with vectors: all are aligned with the same language model in the same way."""
    from ecgkin.retrieval.evaluation.aligned import aligned_tests, evaluate_aligned
    from ecgkin.retrieval.evaluation.arms import arm_vectors, report_vectors

    arms = list(options.get("arms", study.settings.arms[:1]))
    if {CONSTANT, BM25} & set(arms):
        raise QueryError(f"task aligned has arms {arms} (expected arms with vectors, not {CONSTANT!r} or {BM25!r})")
    setting = ArmSetting(study.embedder, study.queries, study.gallery)
    texts, known_texts = (
        report_vectors([row.report for row in rows], study.embedder.cache) for rows in (study.queries, study.gallery)
    )
    results = {}
    for arm in arms:
        vectors, known = arm_vectors(arm, setting)
        results[arm] = evaluate_aligned(known, known_texts, vectors, texts, study.queries, study.weights)
    pairs = [(arms[0], other) for other in arms[1:]] + [(a, b) for a, b in options.get("pairs", ())]
    tests = aligned_tests(results, pairs)
    return {
        "n": len(study.queries),
        "arms": {arm: {name: asdict(value) for name, value in r.recall.items()} for arm, r in results.items()},
        "tests": {name: {"difference": d, "p": p, "p_holm": h} for name, (d, p, h) in tests.items()},
    }


def zero_shot(study: Study, options: Values) -> Values:
    """AUC of the cosine between pictures and words."""
    from ecgkin.retrieval.evaluation.zero_shot import evaluate_zero_shot

    vectors = study.embedder.queries(study.queries, PRIMARY)
    results = evaluate_zero_shot(study.embedder.encoder, vectors, study.queries, weights=study.weights)
    return {
        f"{r.group}, {r.prompts}": {
            "n": r.n, "macro": asdict(r.macro), "clean": asdict(r.clean), "n_labels": r.n_labels, "n_clean": r.n_clean,
            "per_label": {k: {"auc": a, "positives": n} for k, (a, n) in r.per_label.items()},
        }
        for r in results
    }  # fmt: skip


def text_search(study: Study, options: Values) -> Values:
    """P@10 of words for cases."""
    from ecgkin.retrieval.evaluation.text_search import FORMS, evaluate_text_search, text_queries

    vectors = study.embedder.texts([text for _, _, text in text_queries()])
    found = evaluate_text_search(vectors, study.embedder.gallery(study.gallery), study.gallery)
    return {form: {"P@10": float(np.mean([r.precision for r in found if r.form == form]))} for form in FORMS}


RUNNERS: dict[str, Callable[[Study, Values], Values]] = {
    "retrieval": retrieval, "part": part, "vote": vote, "cross_modal": cross_modal,
    "aligned": aligned, "zero_shot": zero_shot,
    "text_search": text_search, "photo_identity": photo_identity, "robustness": robustness,
    "out_of_domain": out_of_domain, "printouts": printouts, "map": embedding_map,
    "drafts": drafts, "mini": mini, "ecgbench": ecgbench,
}  # fmt: skip
