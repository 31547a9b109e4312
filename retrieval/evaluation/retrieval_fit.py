"""What `ecgkin evaluate retrieval --fit` adds: a calibration from the protocol's own queries, and how far it is off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ecgkin.retrieval.ecg.ptbxl import PtbXlRow
from ecgkin.retrieval.evaluation import calibrate, strangers
from ecgkin.retrieval.evaluation.galleries import PRIMARY, Embedder, draw_query, encode_pictures
from ecgkin.retrieval.evaluation.labels import default_space
from ecgkin.retrieval.evaluation.metrics import vote_scores
from ecgkin.retrieval.evaluation.ranking import Floats, nearest, patient_numbers
from ecgkin.retrieval.evaluation.report import RetrievalReport
from ecgkin.retrieval.evaluation.text_search import text_queries
from ecgkin.retrieval.vote import Calibration, Threshold

_STRANGERS = 200


def fitted_calibration(
    embedder: Embedder,
    report: RetrievalReport,
    queries: Sequence[PtbXlRow],
    gallery: Sequence[PtbXlRow],
    query_emb: dict[str, Floats],
    gallery_emb: Floats,
) -> tuple[Calibration, dict[str, calibrate.CalibrationError]]:
    """Curves on the primary layout, thresholds for each kind of query.

    Args:
        embedder: The encoder over its data.
        report: What was measured on these queries.
        queries, gallery: The rows behind it.
        query_emb: Query vectors by layout, each of shape (n_queries, dim); zeros where a picture was refused.
        gallery_emb: Case vectors, shape (n_gallery, dim).

    Returns:
        The calibration, and how far raw and (cross-fitted over patients) calibrated votes are off.
    """
    result = report.layouts[PRIMARY]
    space = default_space()
    truth, known = (space.statements([row.labels for row in rows]) for rows in (queries, gallery))
    calibration = calibrate.fit_calibration(
        result.neighbours,
        truth,
        known,
        space,
        encoder=embedder.encoder.fingerprint,
        statements=result.rules.statements,
        superclasses=result.rules.superclasses,
        thresholds=_thresholds(embedder, queries, query_emb, gallery_emb),
        fitted_on=f"PTB-XL folds {report.about['query folds']} against {report.about['gallery folds']}, "
        f"{len(queries)} queries",
    )
    (patients,) = patient_numbers([row.patient_id for row in queries])
    errors: dict[str, calibrate.CalibrationError] = {}
    families = (
        ("statements", truth, known, result.rules.statements),
        (
            "superclasses",
            space.superclass_matrix(truth),
            space.superclass_matrix(known),
            result.rules.superclasses,
        ),
    )
    for name, own, others, rule in families:
        raw = vote_scores(result.neighbours, others, rule.k, rule.tau)
        errors[f"{name}, raw share"] = calibrate.calibration_error(own, raw)
        crossed = calibrate.cross_fitted(result.neighbours, own, others, rule, patients)
        errors[f"{name}, calibrated (cross-fitted)"] = calibrate.calibration_error(own, crossed)
    return calibration, errors


def _thresholds(
    embedder: Embedder, queries: Sequence[PtbXlRow], query_emb: dict[str, Floats], gallery_emb: Floats
) -> dict[str, Threshold]:
    def best(vectors: Floats) -> Floats:
        # A refused picture has a zero vector; the reader has turned it away already.
        return nearest(vectors[np.abs(vectors).sum(axis=1) > 0], gallery_emb, 1).scores[:, 0]

    made = strangers.stranger_records([embedder.data.record(row) for row in queries[:_STRANGERS]])
    pages = encode_pictures(embedder.encoder, [draw_query(record, PRIMARY) for record in made])
    words = embedder.texts([text for _, _, text in text_queries()] + [row.report for row in queries if row.report])
    read = np.abs(pages).sum(axis=1) > 0
    refused = f"; {len(made) - int(read.sum())} of {len(made)} already refused by the page reader"
    return {
        "image": calibrate.fit_threshold(
            np.concatenate([best(vectors) for vectors in query_emb.values()]),
            best(pages) if read.any() else None,
            outside_words=strangers.WORDS + refused,
        ),
        "record": calibrate.fit_threshold(
            best(embedder.gallery(queries)), best(embedder.encoder.encode_records(made)), outside_words=strangers.WORDS
        ),
        "text": calibrate.fit_threshold(
            best(words), best(embedder.texts(strangers.SENTENCES)), outside_words="sentences without an ECG in them"
        ),
    }
