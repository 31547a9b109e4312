"""Fits the drafter's thresholds for one encoder from the gallery alone: every record asks all other patients'."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgkin.generation.best_f1 import FOLDS, fit_thresholds
from ecgkin.generation.measured_fit import fit_measured, measure_rows, sample_of
from ecgkin.generation.thresholds import DraftThresholds
from ecgkin.retrieval.ecg.ptbxl import PtbXlRow
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
    measured: tuple[NDArray[np.int64], Sequence[Mapping[str, float]]] | None = None,
    fitted_on: str = "",
) -> DraftThresholds:
    """Thresholds on the shares of the neighbours.

    Args:
        embeddings: Case vectors, shape (n, dim), unit rows.
        rows: Their records.
        encoder: Fingerprint.
        calibration: For its depths and temperatures; None takes the default rule.
        query_embeddings, query_rows: Records that ask instead of the gallery's own; None for leave-patient-out.
        measured: Numbers of asking records and the measurements of each; None leaves measurements out.
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
    groups = patients if own else asking_patients
    found = nearest(
        embeddings if query_embeddings is None else query_embeddings,
        embeddings,
        max(rule.k, super_rule.k),
        query_patients=groups,
        gallery_patients=patients,
    )
    ranked = found.rows.shape[1]  # fewer than asked for in a small gallery
    shares = vote_scores(found, gallery, min(rule.k, ranked), rule.tau)
    statements, statement_f1 = fit_thresholds(shares, truth, groups=groups)
    supers, gallery_supers = space.superclass_matrix(truth), space.superclass_matrix(gallery)
    of_supers = vote_scores(found, gallery_supers, min(super_rule.k, ranked), super_rule.tau)
    superclasses, superclass_f1 = fit_thresholds(of_supers, supers, groups=groups)
    models = {}
    if measured is not None:
        some, values = measured
        models = fit_measured(shares[some], truth[some], values, space.codes, groups[some])
    return DraftThresholds(
        encoder=encoder,
        measured=models,
        statements=dict(zip(space.codes, statements.tolist(), strict=True)),
        superclasses=dict(zip(space.superclasses, superclasses.tolist(), strict=True)),
        fitted_on=fitted_on,
        f1={"statements": round(statement_f1, 4), "superclasses": round(superclass_f1, 4)},
    )


def fit_from_ptbxl(
    root: str | Path,
    encoder: object,
    *,
    folds: Sequence[int] = tuple(range(1, 9)),
    query_folds: Sequence[int] = (),
    calibration: Calibration | None = None,
    cache_dir: str | Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> DraftThresholds:
    """`fit_draft_thresholds` on the folds of a PTB-XL folder; embeddings are cached as in the evaluations.

    Args:
        root: Folder with the official layout.
        encoder: An `Encoder`.
        folds: Whose records vote.
        query_folds: Whose drawn pages ask; empty for leave-patient-out within `folds`.
        calibration: Of the encoder.
        cache_dir: Where embeddings and measurements are kept.
        progress: Called with what is being done, and how many of how many are done.
    """
    from ecgkin.retrieval.ecg.ptbxl import PtbXl
    from ecgkin.retrieval.encoders.base import Encoder
    from ecgkin.retrieval.errors import QueryError
    from ecgkin.retrieval.evaluation.galleries import PRIMARY, Embedder

    if not isinstance(encoder, Encoder):
        raise QueryError(f"{encoder!r:.60} is no encoder")
    data = PtbXl(root)
    rows, asking = data.select(folds), data.select(query_folds)
    cache = Path(cache_dir) if cache_dir else None
    embedder = Embedder(data, encoder, cache, progress)
    sampled = asking or rows
    some = sample_of(sampled)
    way = f"asked by drawn pages of folds {list(query_folds)}" if asking else "leave-patient-out"
    return fit_draft_thresholds(
        embedder.gallery(rows),
        rows,
        encoder=encoder.fingerprint,
        calibration=calibration,
        query_embeddings=embedder.queries(asking, PRIMARY) if asking else None,
        query_rows=asking,
        measured=(some, measure_rows(data, [sampled[i] for i in some], cache, progress)),
        fitted_on=f"PTB-XL folds {list(folds)}, {len(rows)} records, {way}, {len(some)} of them measured; "
        f"{FOLDS}-fold cross-validation over patients",
    )
