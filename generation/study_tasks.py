"""The tasks of `ecgkin evaluate run`: each gives plain values for report.json, tables, and data for figures."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.generation.study_settings import StudySettings
from ecgkin.retrieval.ecg.ptbxl import PtbXlRow
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.evaluation import compare
from ecgkin.retrieval.evaluation.arms import ArmSetting, arm_neighbours
from ecgkin.retrieval.evaluation.bootstrap import mean_interval, patient_weights
from ecgkin.retrieval.evaluation.case_retrieval import RANKED, CaseRetrievalResult, Rules, evaluate_neighbours
from ecgkin.retrieval.evaluation.galleries import PHOTO, PRIMARY, Embedder
from ecgkin.retrieval.evaluation.labels import default_space
from ecgkin.retrieval.evaluation.metrics import vote_scores
from ecgkin.retrieval.evaluation.ranking import patient_numbers
from ecgkin.retrieval.evaluation.report import HEADLINE
from ecgkin.retrieval.vote import Calibration, VoteRule

COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
_RUN_DEPTH = 100
Values = dict[str, Any]


@dataclass(frozen=True)
class Study:
    """What the tasks share.

    Attributes:
        settings: Of the run.
        embedder: Data, encoder, cache, progress.
        queries, gallery: Rows of both sides.
        calibration: Of the encoder, or None.
        out: Folder of the run.
    """

    settings: StudySettings
    embedder: Embedder
    queries: Sequence[PtbXlRow]
    gallery: Sequence[PtbXlRow]
    calibration: Calibration | None
    out: Path

    @property
    def weights(self) -> Any:
        """Bootstrap weights over the queries' patients, the same in every task."""
        return patient_weights(self.patients, self.settings.resamples)

    @property
    def patients(self) -> Any:
        """Number of each query's patient."""
        return patient_numbers([row.patient_id for row in self.queries])[0]

    @property
    def rules(self) -> Rules:
        """Depths and temperatures of the votes."""
        if self.calibration is None:
            return Rules(VoteRule(), VoteRule())
        return Rules(self.calibration.superclasses, self.calibration.statements)


def _choice(study: Study) -> Rules | None:
    """On fold 9 every arm may choose its own vote; elsewhere the rules are fixed beforehand."""
    return None if {row.fold for row in study.queries} == {9} else study.rules


def retrieval(study: Study, options: Values) -> Values:
    """All arms on task A, paired tests against the first, run files."""
    setting = ArmSetting(study.embedder, study.queries, study.gallery)
    weights, results, singles = study.weights, {}, {}
    curves: dict[str, dict[str, float]] = {}
    space = default_space()
    truth, known = (space.statements([r.labels for r in rows]) for rows in (study.queries, study.gallery))
    for arm in study.settings.arms:
        found = arm_neighbours(arm, setting, min(RANKED, len(study.gallery)))
        results[arm] = evaluate_neighbours(found, study.queries, study.gallery, rules=_choice(study), weights=weights)
        singles[arm] = compare.per_query(found, study.queries, study.gallery)
        curves[arm] = compare.ranking_measures(found, truth, known)
        _run_file(study, arm, results[arm])
    first = study.settings.arms[0]
    values = {arm: {m: _value(r, m) for m in HEADLINE} for arm, r in results.items()}
    tests = compare.paired_tests(
        first, {arm: r.resampled for arm, r in results.items()}, values, singles, HEADLINE, study.patients,
        study.settings.permutations,
    )  # fmt: skip
    return {
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
    """Mean and standard deviation of arms that differ in their seed alone ("untrained:1", "untrained:2")."""
    groups: dict[str, list[str]] = {}
    for arm in values:
        prefix, _, rest = arm.partition(":")
        if rest.isdigit():
            groups.setdefault(prefix, []).append(arm)
    return {
        name: {m: {"mean": float(np.mean(x)), "sd": float(np.std(x)), "seeds": len(x)}
               for m in HEADLINE if (x := [values[arm][m] for arm in arms])}
        for name, arms in groups.items()
    }  # fmt: skip


def _run_file(study: Study, arm: str, result: CaseRetrievalResult) -> None:
    folder = study.out / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    name = "".join(c if c.isalnum() else "-" for c in arm.rsplit("/", 1)[-1])
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


def photo_identity(study: Study, options: Values) -> Values:
    """Where the same record comes for a photo of its page."""
    from ecgkin.retrieval.evaluation.cross_modal import join_rank

    rows = list(study.queries)[: int(options.get("limit", 300))]
    everything = np.concatenate([study.embedder.gallery(study.gallery), study.embedder.gallery(rows)])
    own = len(study.gallery) + np.arange(len(rows))
    weights = patient_weights(patient_numbers([r.patient_id for r in rows])[0], study.settings.resamples)
    out: Values = {}
    for layout in (PRIMARY, PHOTO):
        ranks = join_rank(study.embedder.queries(rows, layout), everything, own)
        shares = {f"R@{k}": asdict(mean_interval((ranks <= k).astype(np.float64), weights)) for k in (1, 10)}
        out[layout] = {"n": len(rows), "n_gallery": len(everything), **shares, "median rank": float(np.median(ranks))}
    return out


def robustness(study: Study, options: Values) -> Values:
    """Curves over damages."""
    from ecgkin.retrieval.evaluation.robustness import ALL_DAMAGES, STRENGTHS, evaluate_robustness

    points = evaluate_robustness(
        study.embedder, study.queries, study.gallery,
        damages=options.get("damages", ALL_DAMAGES), strengths=options.get("strengths", STRENGTHS),
        rule=study.rules.superclasses, limit=int(options.get("limit", 300)), resamples=study.settings.resamples,
    )  # fmt: skip
    return {"points": [asdict(p) for p in points]}


def out_of_domain(study: Study, options: Values) -> Values:
    """Foreign databases as queries."""
    from ecgkin.retrieval.evaluation import out_of_domain as foreign

    if "root" not in options:
        raise QueryError("task out_of_domain needs its root", hint="out_of_domain: {root: DIR with Challenge records}")
    root = Path(options["root"])
    records = foreign.foreign_records(root, limit=options.get("limit"))
    vectors, _ = foreign.embed_foreign(study.embedder.encoder, records, study.embedder.progress)
    results = foreign.evaluate_out_of_domain(
        records, vectors, study.embedder.gallery(study.gallery), study.gallery, names=foreign.class_names(root),
        rule=study.rules.statements, resamples=study.settings.resamples,
    )  # fmt: skip
    return {
        name: {
            "n": r.n, "refused": r.refused, "macro": asdict(r.macro), "n_classes": r.n_classes,
            "best_score": r.best_score, "k": r.k, "tau": r.tau,
            "per_class": {
                c: dict(zip(("name", "auc", "positives", "gallery"), v, strict=True)) for c, v in r.per_class.items()
            },
        }
        for name, r in results.items()
    }  # fmt: skip


def embedding_map(study: Study, options: Values) -> Values:
    """Two dimensions for the queries (t-SNE by scikit-learn, cosine), with the first superclass of each."""
    from sklearn.manifold import TSNE

    from ecgkin.retrieval.ecg.statements import superclasses

    rows = list(study.queries)[: int(options.get("limit", 1_500))]
    vectors = study.embedder.queries(study.queries, PRIMARY)[: len(rows)]
    places = TSNE(
        metric="cosine", init="random", perplexity=min(30, max(2, len(rows) // 4)), random_state=0
    ).fit_transform(vectors)
    names = [next(iter(superclasses(row.labels)), "none") for row in rows]
    return {"x": places[:, 0].round(2).tolist(), "y": places[:, 1].round(2).tolist(), "superclass": names}


def drafts(study: Study, options: Values) -> Values:
    """Drafts without a model, as `ecgkin evaluate drafts`."""
    from ecgkin.generation.draft_arms import BUILT_IN
    from ecgkin.generation.evaluate_drafts import evaluate_drafts

    report = evaluate_drafts(
        study.embedder.data.root, study.embedder.encoder,
        query_folds=study.settings.query_folds, gallery_folds=study.settings.gallery_folds,
        arms=options.get("arms", BUILT_IN), calibration=study.calibration, limit=options.get("limit"),
        out_dir=study.out / "drafts", cache_dir=study.embedder.cache, resamples=study.settings.resamples,
        progress=study.embedder.progress,
    )  # fmt: skip
    return {"markdown": report.as_markdown(), **report.as_dict()}


def mini(study: Study, options: Values) -> Values:
    """Retrieval, generation, both: the generator that was trained here."""
    from ecgkin.generation.mini.backend import MiniGenerator
    from ecgkin.generation.mini.evaluate import ARMS, evaluate_mini

    encoder: Any = study.embedder.encoder
    folder = Path(options["model"]) if "model" in options else None
    report = evaluate_mini(
        study.embedder.data.root, encoder, MiniGenerator(folder, encoder),
        query_folds=study.settings.query_folds, gallery_folds=study.settings.gallery_folds,
        arms=options.get("arms", ARMS), calibration=study.calibration, limit=options.get("limit"),
        out_dir=study.out / "mini", cache_dir=study.embedder.cache, resamples=study.settings.resamples,
        progress=study.embedder.progress,
    )  # fmt: skip
    return {"markdown": report.as_markdown(), **report.as_dict()}


def ecgbench(study: Study, options: Values) -> Values:
    """ECGBench: sets at hand, and the PTB-XL parts rebuilt, answered by drafters over a case base."""
    from ecgkin.generation import ecgbench as bench
    from ecgkin.generation.drafter import Drafter
    from ecgkin.generation.ecgbench_rebuild import rebuild

    if "base" not in options:
        raise QueryError("task ecgbench needs a case base", hint="ecgbench: {base: DIR, models: [consensus]}")
    files = {name: Path(path) for name, path in dict(options.get("files", {})).items()}
    for split in options.get("rebuild", ()):
        files[split] = rebuild(
            study.embedder.data, study.out / "ecgbench", split=split, folds=study.settings.query_folds,
            limit=options.get("limit"), progress=study.embedder.progress,
        )  # fmt: skip
    out: Values = {}
    for model in options.get("models", ["consensus"]):
        with Drafter.open(options["base"], model) as drafter:
            answerer = bench.drafter_answerer(drafter, int(options.get("k", 3)))
            for split, path in files.items():
                rows = bench.load_split(path)
                answers = bench.answer_split(
                    split, rows, answerer, study.out / "ecgbench", model, study.embedder.progress
                )
                out[f"{model}, {split}"] = bench.score_split(split, rows, bench.read_answers(answers))
    return out


RUNNERS: dict[str, Callable[[Study, Values], Values]] = {
    "retrieval": retrieval, "vote": vote, "cross_modal": cross_modal, "zero_shot": zero_shot,
    "text_search": text_search, "photo_identity": photo_identity, "robustness": robustness,
    "out_of_domain": out_of_domain, "map": embedding_map, "drafts": drafts, "mini": mini, "ecgbench": ecgbench,
}  # fmt: skip
