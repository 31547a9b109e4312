"""The tasks of `ecgkin evaluate run` with other pictures: photographed, damaged, foreign; and the map of all."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ecgkin.generation.study_shared import Study, Values
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.evaluation.bootstrap import mean_interval, patient_weights
from ecgkin.retrieval.evaluation.galleries import PHOTO, PRIMARY
from ecgkin.retrieval.evaluation.ranking import patient_numbers


def photo_identity(study: Study, options: Values) -> Values:
    """Where the same record comes for a photo of its page."""
    from ecgkin.retrieval.evaluation.cross_modal import join_rank

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
    """Labelled print-outs of other devices as queries: where their own findings stand among PTB-XL's queries."""
    from ecgkin.retrieval.evaluation import printouts as prints
    from ecgkin.retrieval.evaluation.out_of_domain import class_names

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
