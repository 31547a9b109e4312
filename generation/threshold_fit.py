"""Fits the drafter's thresholds for one encoder from the gallery alone: every record asks all other patients'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ecgkin.generation.thresholds import DraftThresholds, fit_thresholds
from ecgkin.retrieval.ecg.ptbxl import PtbXlRow
from ecgkin.retrieval.evaluation.calibrate import cross_fitted
from ecgkin.retrieval.evaluation.labels import default_space
from ecgkin.retrieval.evaluation.metrics import vote_scores
from ecgkin.retrieval.evaluation.ranking import Floats, nearest, patient_numbers
from ecgkin.retrieval.vote import Calibration, VoteRule


def fit_draft_thresholds(
    embeddings: Floats,
    rows: Sequence[PtbXlRow],
    *,
    encoder: str,
    calibration: Calibration | None = None,
    query_embeddings: Floats | None = None,
    query_rows: Sequence[PtbXlRow] = (),
    fitted_on: str = "",
) -> DraftThresholds:
    """Thresholds for calibrated probabilities and for raw shares.

    Probabilities come from curves that were fitted on other patients of the same records, with the depth and
    temperature of the calibration: the curves of the calibration itself were fitted on fold 9, whose neighbours are
    farther than those of records that the encoder was trained on.

    Args:
        embeddings: Case vectors, shape (n, dim), unit rows.
        rows: Their records.
        encoder: Fingerprint.
        calibration: For its depths and temperatures; None takes the default rule.
        query_embeddings, query_rows: Records that ask instead of the gallery's own; None for leave-patient-out.
        fitted_on: Data, in words.
    """
    space = default_space()
    gallery = space.statements([row.labels for row in rows])
    asking = list(query_rows) if query_embeddings is not None else list(rows)
    truth = space.statements([row.labels for row in asking])
    asking_patients, patients = patient_numbers([row.patient_id for row in asking], [row.patient_id for row in rows])
    rule = calibration.statements if calibration else VoteRule()
    super_rule = calibration.superclasses if calibration else VoteRule()
    # A record without a known patient gets a number of its own on each side, so it is told apart by its row instead.
    own = query_embeddings is None
    found = nearest(
        embeddings if query_embeddings is None else query_embeddings,
        embeddings,
        max(rule.k, super_rule.k),
        query_patients=patients if own else asking_patients,
        gallery_patients=patients,
    )
    groups = patients if own else asking_patients
    ranked = found.rows.shape[1]  # fewer than asked for in a small gallery
    rule, super_rule = VoteRule(min(rule.k, ranked), rule.tau), VoteRule(min(super_rule.k, ranked), super_rule.tau)
    f1: dict[str, float] = {}

    def named(names: Sequence[str], thresholds: np.ndarray) -> Mapping[str, float]:
        return {name: round(float(t), 4) for name, t in zip(names, thresholds, strict=True)}

    probabilities = cross_fitted(found, truth, gallery, rule, groups)
    calibrated, f1["calibrated"] = fit_thresholds(probabilities, truth, groups=groups)
    raw, f1["raw"] = fit_thresholds(vote_scores(found, gallery, rule.k, rule.tau), truth, groups=groups)
    supers, gallery_supers = space.superclass_matrix(truth), space.superclass_matrix(gallery)
    of_supers = cross_fitted(found, supers, gallery_supers, super_rule, groups)
    superclasses, f1["superclasses"] = fit_thresholds(of_supers, supers, groups=groups)
    raw_supers = vote_scores(found, gallery_supers, super_rule.k, super_rule.tau)
    raw_superclasses, f1["raw_superclasses"] = fit_thresholds(raw_supers, supers, groups=groups)
    return DraftThresholds(
        encoder=encoder,
        calibrated=named(space.codes, calibrated),
        raw=named(space.codes, raw),
        superclasses=named(space.superclasses, superclasses),
        raw_superclasses=named(space.superclasses, raw_superclasses),
        fitted_on=fitted_on,
        f1={name: round(value, 4) for name, value in f1.items()},
    )


def fit_from_ptbxl(
    root: str | Path,
    encoder: object,
    *,
    folds: Sequence[int] = tuple(range(1, 9)),
    query_folds: Sequence[int] = (),
    calibration: Calibration | None = None,
    cache_dir: str | Path | None = None,
) -> DraftThresholds:
    """`fit_draft_thresholds` on the folds of a PTB-XL folder; embeddings are cached as in the evaluations.

    Args:
        root: Folder with the official layout.
        encoder: An `Encoder`.
        folds: Whose records vote.
        query_folds: Whose drawn pages ask; empty for leave-patient-out within `folds`.
        calibration: Of the encoder.
        cache_dir: Where embeddings are kept.
    """
    from ecgkin.retrieval.ecg.ptbxl import PtbXl
    from ecgkin.retrieval.encoders.base import Encoder
    from ecgkin.retrieval.errors import QueryError
    from ecgkin.retrieval.evaluation.galleries import PRIMARY, Embedder

    if not isinstance(encoder, Encoder):
        raise QueryError(f"{encoder!r:.60} is no encoder")
    data = PtbXl(root)
    rows, asking = data.select(folds), data.select(query_folds)
    embedder = Embedder(data, encoder, Path(cache_dir) if cache_dir else None)
    way = f"asked by drawn pages of folds {list(query_folds)}" if asking else "leave-patient-out"
    return fit_draft_thresholds(
        embedder.gallery(rows),
        rows,
        encoder=encoder.fingerprint,
        calibration=calibration,
        query_embeddings=embedder.queries(asking, PRIMARY) if asking else None,
        query_rows=asking,
        fitted_on=f"PTB-XL folds {list(folds)}, {len(rows)} records, {way}; 5-fold cross-validation over patients",
    )
