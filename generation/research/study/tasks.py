"""The tasks of `ecgkin evaluate run`: each gives plain values for report.json, tables, and data for figures.

There are tasks on other pictures (photographs, damage, foreign records, print-outs, the map of all cases), tasks that
write (drafts, the mini generator, ECGBench), and those of retrieval itself; `RUNNERS` names them all.
"""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.generation.research.retrieval import compare
from ecgkin.generation.research.retrieval.arms import BM25, CONSTANT, ArmSetting, arm_neighbours
from ecgkin.generation.research.retrieval.bootstrap import mean_interval, patient_weights
from ecgkin.generation.research.retrieval.case_retrieval import RANKED, CaseRetrievalResult, Rules, evaluate_neighbours
from ecgkin.generation.research.retrieval.galleries import PHOTO, PRIMARY
from ecgkin.generation.research.retrieval.labels import default_space
from ecgkin.generation.research.retrieval.metrics import vote_scores
from ecgkin.generation.research.retrieval.ranking import patient_numbers
from ecgkin.generation.research.retrieval.report import HEADLINE
from ecgkin.generation.research.study.shared import Study, Values
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.search.vote import VoteRule

_ADDED_AT_ONCE = 2_000
COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
_RUN_DEPTH = 100
_PART_LIMIT = 4_000


def photo_identity(study: Study, options: Values) -> Values:
    """Where the same record comes for a photo of its page.

    Args:
        study: The run with its data, arms and embeddings.
        options: Of the task, from the run's YAML file.

    Returns:
        Plain values for report.json.
    """
    from ecgkin.generation.research.retrieval.cross_modal import join_rank

    rows = list(study.queries)[: int(options.get("limit", 300))]
    embedder = study.embedder
    everything = np.concatenate([embedder.gallery(study.gallery), embedder.gallery(rows, study.queries)])
    own = len(study.gallery) + np.arange(len(rows))
    weights = patient_weights(patient_numbers([r.patient_id for r in rows])[0], study.settings.resamples)
    out: Values = {}
    for layout in (PRIMARY, PHOTO):
        ranks = join_rank(embedder.queries(rows, layout, study.queries), everything, own)
        shares = {f"R@{k}": asdict(mean_interval((ranks <= k).astype(np.float64), weights)) for k in (1, 10)}
        out[layout] = {"n": len(rows), "n_gallery": len(everything), **shares, "median rank": float(np.median(ranks))}
    return out


def robustness(study: Study, options: Values) -> Values:
    """Curves over damages.

    Args:
        study: The run with its data, arms and embeddings.
        options: Of the task, from the run's YAML file.

    Returns:
        Plain values for report.json.
    """
    from ecgkin.generation.research.retrieval.robustness import ALL_DAMAGES, STRENGTHS, evaluate_robustness

    points = evaluate_robustness(
        study.embedder, study.queries, study.gallery,
        damages=options.get("damages", ALL_DAMAGES), strengths=options.get("strengths", STRENGTHS),
        rule=study.rules.superclasses, limit=int(options.get("limit", 300)), resamples=study.settings.resamples,
    )  # fmt: skip
    return {"points": [asdict(p) for p in points]}


def out_of_domain(study: Study, options: Values) -> Values:
    """Foreign databases as queries.

    Args:
        study: The run with its data, arms and embeddings.
        options: Of the task, from the run's YAML file.

    Returns:
        Plain values for report.json.
    """
    from ecgkin.generation.research.retrieval import out_of_domain as foreign

    root = _foreign_root("out_of_domain", options)
    records = foreign.foreign_records(root, limit=options.get("limit"))
    vectors, refusals = foreign.embed_foreign(
        study.embedder.encoder, records, study.embedder.progress, pages=bool(options.get("pages", False))
    )
    results = foreign.evaluate_out_of_domain(
        records, vectors, study.embedder.gallery(study.gallery), study.gallery, names=foreign.class_names(root),
        rule=study.rules.statements, resamples=study.settings.resamples,
    )  # fmt: skip
    home = foreign.home_aucs(
        study.embedder.gallery(study.queries), study.queries, study.embedder.gallery(study.gallery), study.gallery,
        list(results["all"].per_class), study.rules.statements,
    )  # fmt: skip
    return {
        name: {
            "n": r.n, "refused": r.refused, "macro": asdict(r.macro), "n_classes": r.n_classes,
            "why": sorted({w for w, item in zip(refusals, records, strict=True) if w and item.database == name}),
            "best_score": r.best_score, "k": r.k, "tau": r.tau,
            "per_class": {
                c: {**dict(zip(("name", "auc", "positives", "gallery"), v, strict=True)), "home": home.get(c)}
                for c, v in r.per_class.items()
            },
        }
        for name, r in results.items()
    }  # fmt: skip


def printouts(study: Study, options: Values) -> Values:
    """Labelled print-outs of other devices as queries: where their own findings stand among PTB-XL's queries.

    Args:
        study: The run with its data, arms and embeddings.
        options: Of the task, from the run's YAML file.

    Returns:
        Plain values for report.json.
    """
    from ecgkin.generation.research.retrieval import printouts as prints
    from ecgkin.generation.research.retrieval.out_of_domain import class_names

    root = _foreign_root("printouts", options)
    names = class_names(root)
    pictures = prints.read_printouts(root / "printouts", names)
    vectors = prints.embed_printouts(study.embedder.encoder, pictures, study.embedder.progress)
    found = prints.evaluate_printouts(
        pictures, vectors, study.embedder.queries(study.queries, PRIMARY), study.queries,
        study.embedder.gallery(study.gallery), study.gallery, rule=study.rules.statements,
        resamples=study.settings.resamples,
    )  # fmt: skip
    said = {item.path.name: item for item in pictures}
    return {
        "pictures": len(pictures), "n": found.n, "refused": found.refused, "mean": asdict(found.mean),
        "per_picture": {
            name: {
                "label": said[name].label, "best_score": found.best[name][0],
                "best_labels": sorted(study.gallery[found.best[name][1]].labels) if found.best[name][1] >= 0 else [],
                "classes": [
                    {"name": names.get(code, code), "share": share, "vote": vote, "gallery": cases}
                    for code, share, vote, cases in rows
                ],
            }
            for name, rows in found.per_picture.items()
        },
    }  # fmt: skip


def _foreign_root(task: str, options: Values) -> Path:
    # Where other people's records lie is no business of a settings file that is shared.
    where = os.path.expandvars(str(options.get("root", "$ECGKIN_OOD")))
    if "$" in where or not Path(where).is_dir():
        raise QueryError(
            f"task {task} finds no folder {where}",
            hint="set ECGKIN_OOD (or root:) to the folder of the Challenge's databases, or take the task out",
        )
    return Path(where)


def embedding_map(study: Study, options: Values) -> Values:
    """Two dimensions for the queries (t-SNE by scikit-learn, cosine), with the first superclass of each.

    Args:
        study: The run with its data, arms and embeddings.
        options: Of the task, from the run's YAML file.

    Returns:
        Plain values for report.json.
    """
    from sklearn.manifold import TSNE

    from ecgkin.retrieval.ecg.statements.catalogue import superclasses

    rows = list(study.queries)[: int(options.get("limit", 1_500))]
    vectors = study.embedder.queries(study.queries, PRIMARY)[: len(rows)]
    places = TSNE(
        metric="cosine", init="random", perplexity=min(30, max(2, len(rows) // 4)), random_state=0
    ).fit_transform(vectors)
    names = [next(iter(superclasses(row.labels)), "none") for row in rows]
    return {"x": places[:, 0].round(2).tolist(), "y": places[:, 1].round(2).tolist(), "superclass": names}


def drafts(study: Study, options: Values) -> Values:
    """Drafts without a model, as `ecgkin evaluate drafts`.

    Args:
        study: The run with its data, arms and embeddings.
        options: Of the task, from the run's YAML file.

    Returns:
        Plain values for report.json.
    """
    from ecgkin.generation.research.drafts.arms import BUILT_IN
    from ecgkin.generation.research.drafts.evaluate import evaluate_drafts

    report = evaluate_drafts(
        study.embedder.data.root, study.embedder.encoder,
        query_folds=study.settings.query_folds, gallery_folds=study.settings.gallery_folds,
        arms=options.get("arms", BUILT_IN), calibration=study.calibration, limit=options.get("limit"),
        out_dir=study.out / "drafts", cache_dir=study.embedder.cache, resamples=study.settings.resamples,
        progress=study.embedder.progress,
    )  # fmt: skip
    return {"markdown": report.as_markdown(), **report.as_dict()}


def mini(study: Study, options: Values) -> Values:
    """Retrieval, generation, both: the generator that was trained here, and the one that was trained without cases.

    Args:
        study: The run with its data, arms and embeddings.
        options: Of the task, from the run's YAML file.

    Returns:
        Plain values for report.json.
    """
    from ecgkin.generation.backends.mini.backend import MiniGenerator
    from ecgkin.generation.research.mini.evaluate import evaluate_mini
    from ecgkin.generation.research.scope import Scope

    encoder: Any = study.embedder.encoder
    model, without = (Path(options[name]) if options.get(name) else None for name in ("model", "without"))
    scope = Scope(
        study.settings.query_folds, study.settings.gallery_folds, limit=options.get("limit"),
        resamples=study.settings.resamples, cache_dir=study.embedder.cache, progress=study.embedder.progress,
    )  # fmt: skip
    report = evaluate_mini(
        study.embedder.data.root, encoder, MiniGenerator(model, encoder), scope,
        without=MiniGenerator(without, encoder) if without else None,
        arms=options.get("arms"), calibration=study.calibration, out_dir=study.out / "mini",
    )  # fmt: skip
    return {"markdown": report.as_markdown(), **report.as_dict()}


def ecgbench(study: Study, options: Values) -> Values:
    """ECGBench: sets at hand, and the PTB-XL parts rebuilt, answered by drafters over a case base of the gallery.

    Args:
        study: The run with its data, arms and embeddings.
        options: Of the task, from the run's YAML file.

    Returns:
        Plain values for report.json.
    """
    from ecgkin.generation.drafter import Drafter
    from ecgkin.generation.research.ecgbench import bench
    from ecgkin.generation.research.ecgbench.rebuild import rebuild
    from ecgkin.generation.research.ecgbench.score import score_split

    files = {name: Path(path) for name, path in dict(options.get("files", {})).items()}
    for split in options.get("rebuild", ()):
        files[split] = rebuild(
            study.embedder.data, study.out / "ecgbench", split=split, folds=study.settings.query_folds,
            limit=options.get("limit"), progress=study.embedder.progress,
        )  # fmt: skip
    base = Path(options["base"]) if options.get("base") else gallery_base(study)
    out: Values = {}
    for model in options.get("models", ["consensus"]):
        with Drafter.open(base, model) as drafter:
            answerer = bench.drafter_answerer(drafter, int(options.get("k", 3)))
            for split, path in files.items():
                rows = bench.load_split(path)
                # Answers are kept by row: those of another encoder must not be taken for this one's.
                folder = study.out / "ecgbench" / study.embedder.encoder.fingerprint[:12]
                answers = bench.answer_split(split, rows, answerer, folder, model, study.embedder.progress)
                out[f"{model}, {split}"] = score_split(split, rows, bench.read_answers(answers))
    return out


def gallery_base(study: Study) -> Path:
    """A case base of the run's gallery, made once from vectors that are kept anyway."""
    from ecgkin.index import create_base
    from ecgkin.index.sources.ptbxl import ptbxl_items

    encoder, rows = study.embedder.encoder, study.gallery
    folder = study.out / "base" / f"{encoder.fingerprint[:12]}-{len(rows)}"
    if (folder / "done").is_file():
        return folder / "cases"
    import shutil

    shutil.rmtree(folder, ignore_errors=True)  # what a run left behind that was stopped while it filled the base
    vectors = study.embedder.gallery(rows)
    items = ptbxl_items(study.embedder.data.root, study.settings.gallery_folds)
    case_of = {item.case.case_id: item.case for item in items}
    cases = [case_of[f"ptbxl/{row.ecg_id}"] for row in rows]
    folder.mkdir(parents=True)
    with create_base(folder / "cases", encoder.name, encoder.fingerprint, encoder.dim) as base:
        for start in range(0, len(cases), _ADDED_AT_ONCE):
            base.add(cases[start : start + _ADDED_AT_ONCE], vectors[start : start + _ADDED_AT_ONCE])
    (folder / "done").touch()
    return folder / "cases"


def _choice(study: Study) -> Rules | None:
    """On fold 9 every arm may choose its own vote; elsewhere the rules are fixed beforehand."""
    return None if {row.fold for row in study.queries} == {9} else study.rules


def retrieval(study: Study, options: Values) -> Values:
    """All arms on task A, paired tests against the first and between those asked for, run files.

    Args:
        study: The run with its data, arms and embeddings.
        options: Of the task, from the run's YAML file.

    Returns:
        Plain values for report.json.
    """
    return _compared(study, study.settings.arms, options, None)


def part(study: Study, options: Values) -> Values:
    """The same on a part of both sides, for arms that take long; the run's encoder is measured on that part too.

    Args:
        study: The run with its data, arms and embeddings.
        options: Of the task, from the run's YAML file.

    Returns:
        Plain values for report.json.
    """
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
    """Reliability and abstention of the first arm's vote on superclasses.

    Args:
        study: The run with its data, arms and embeddings.
        options: Of the task, from the run's YAML file.

    Returns:
        Plain values for report.json.
    """
    from ecgkin.generation.research.retrieval.calibrate import calibration_error, cross_fitted

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
    """ECG to report and back.

    Args:
        study: The run with its data, arms and embeddings.
        options: Of the task, from the run's YAML file.

    Returns:
        Plain values for report.json.
    """
    from ecgkin.generation.research.retrieval.cross_modal import evaluate_cross_modal

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
    """ECG and report for any arm with vectors: all are aligned with the same language model in the same way.

    Args:
        study: The run with its data, arms and embeddings.
        options: Of the task, from the run's YAML file.

    Returns:
        Plain values for report.json.
    """
    from ecgkin.generation.research.retrieval.aligned import aligned_tests, evaluate_aligned
    from ecgkin.generation.research.retrieval.arms import arm_vectors, report_vectors

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
    """AUC of the cosine between pictures and words.

    Args:
        study: The run with its data, arms and embeddings.
        options: Of the task, from the run's YAML file.

    Returns:
        Plain values for report.json.
    """
    from ecgkin.generation.research.retrieval.zero_shot import evaluate_zero_shot

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
    """P@10 of words for cases.

    Args:
        study: The run with its data, arms and embeddings.
        options: Of the task, from the run's YAML file.

    Returns:
        Plain values for report.json.
    """
    from ecgkin.generation.research.retrieval.text_search import FORMS, evaluate_text_search, text_queries

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
