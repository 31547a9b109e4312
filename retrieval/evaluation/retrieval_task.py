"""`ecgkin evaluate retrieval`: the whole protocol on a PTB-XL folder with one encoder.

Galleries are made as an ingest makes them, queries are full drawn pages (or "photos" of them) that go the way of any
uploaded picture. Folds that the folder does not hold are left out; the query fold 9 is where k, tau, curves and
thresholds may be chosen, any other takes them from the calibration or the defaults.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from ecgkin.retrieval.ecg.ptbxl import PtbXl, PtbXlRow
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.errors import QueryError, RecordError
from ecgkin.retrieval.evaluation import baselines
from ecgkin.retrieval.evaluation.bootstrap import holm, mean_interval, paired_p, patient_weights
from ecgkin.retrieval.evaluation.case_retrieval import (
    RANKED,
    CaseRetrievalResult,
    Rules,
    evaluate_case_retrieval,
    evaluate_neighbours,
)
from ecgkin.retrieval.evaluation.cross_modal import (
    evaluate_cross_modal,
    evaluate_similarity,
    join_rank,
    text_numbers,
)
from ecgkin.retrieval.evaluation.galleries import (
    ALL_LAYOUTS,
    PHOTO,
    PRIMARY,
    Embedder,
    Progress,
    draw_query,
    encode_pictures,
)
from ecgkin.retrieval.evaluation.labels import default_space
from ecgkin.retrieval.evaluation.metrics import jaccard
from ecgkin.retrieval.evaluation.ranking import Floats, patient_numbers
from ecgkin.retrieval.evaluation.report import HEADLINE, JoinResult, Latency, RetrievalReport, write_report
from ecgkin.retrieval.evaluation.retrieval_fit import fitted_calibration
from ecgkin.retrieval.evaluation.text_search import evaluate_text_search, text_queries
from ecgkin.retrieval.vote import Calibration, VoteRule

_LOG = logging.getLogger(__name__)

VALIDATION_FOLD = 9
JOIN_PHOTOS = 300
_TIMED = 40
_SEED = 300


def evaluate_retrieval(
    ptbxl_root: str | Path,
    encoder: Encoder,
    *,
    query_folds: Collection[int] = (VALIDATION_FOLD,),
    gallery_folds: Collection[int] = range(1, 9),
    layouts: Sequence[str] = ALL_LAYOUTS,
    limit: int | None = None,
    out_dir: str | Path | None = None,
    cache_dir: str | Path | None = None,
    rules: Rules | None = None,
    calibration: Calibration | None = None,
    untrained: Sequence[Encoder] = (),
    fit: bool = False,
    resamples: int = 1_000,
    progress: Progress | None = None,
) -> RetrievalReport:
    """Run the protocol of field.md section 5.

    Args:
        ptbxl_root: Folder with the official layout.
        encoder: What is measured.
        query_folds, gallery_folds: Cut to the folds that the folder holds; a patient never stands on both sides.
        layouts: Query layouts besides the primary one (which is always measured); see `galleries.ALL_LAYOUTS`.
        limit: At most this many gallery records, and a quarter as many queries, drawn with a fixed seed; None for all.
        out_dir: Where tables (report.md), figures (report.json), run files and, with `fit`, calibration.json go.
        cache_dir: Where embeddings are kept between runs; None keeps nothing.
        rules: Depth and temperature of the votes; None chooses them on fold 9, and elsewhere takes those of
            `calibration`, or the defaults.
        calibration: Only for its rules.
        untrained: Encoders of the same architecture without training, for the rows of that name.
        fit: Fit a calibration on these queries.
        resamples: Bootstrap resamples over patients.
        progress: Called with (what, done, total).

    Raises:
        RecordError: The folder is no PTB-XL folder, or holds none of the folds.
        QueryError: An unknown layout, or folds on both sides.
    """
    unknown = [layout for layout in layouts if layout not in ALL_LAYOUTS]
    if unknown:
        raise QueryError(f"layouts {unknown} are not known (expected some of {', '.join(ALL_LAYOUTS)})")
    if set(query_folds) & set(gallery_folds):
        raise QueryError(f"folds {sorted(set(query_folds) & set(gallery_folds))} are both query and gallery")
    data = PtbXl(ptbxl_root, fs_hz=None)
    queries, gallery = _chosen(data, query_folds, gallery_folds, limit)
    began = time.perf_counter()
    embedder = Embedder(data, encoder, Path(cache_dir) if cache_dir else None, progress)
    weights = patient_weights(patient_numbers([row.patient_id for row in queries])[0], resamples)
    on_validation = {row.fold for row in queries} == {VALIDATION_FOLD}
    fixed = rules or (None if on_validation else _rules_of(calibration))

    gallery_emb = embedder.gallery(gallery)
    query_emb = {PRIMARY: embedder.queries(queries, PRIMARY)}
    result = evaluate_case_retrieval(query_emb[PRIMARY], gallery_emb, queries, gallery, rules=fixed, weights=weights)
    by_layout = {PRIMARY: result}
    for layout in layouts:
        if layout != PRIMARY:
            query_emb[layout] = embedder.queries(queries, layout)
            by_layout[layout] = evaluate_case_retrieval(
                query_emb[layout], gallery_emb, queries, gallery, rules=result.rules, weights=weights
            )
    systems = {encoder.name: result, **_baselines(embedder, untrained, queries, gallery, fixed, weights)}

    texts = embedder.texts([row.report for row in queries])
    similarity = _oracle_similarity(queries)
    cross = {
        encoder.name: evaluate_cross_modal(query_emb[PRIMARY], texts, queries, weights=weights),
        "random": evaluate_similarity(_random_similarity(len(queries)), queries, weights=weights),
        # Without sub-galleries: a list of fixed cases means nothing where some of them are not drawn.
        "commonest reports": evaluate_similarity(
            _constant_similarity(queries), queries, sub_gallery=len(queries), weights=weights
        ),
        "label oracle": evaluate_similarity(similarity, queries, weights=weights),
    }
    if PHOTO in query_emb:
        cross[f"{encoder.name}, photos"] = evaluate_cross_modal(query_emb[PHOTO], texts, queries, weights=weights)
    text_emb = embedder.texts([text for _, _, text in text_queries()])
    report = RetrievalReport(
        about={
            "data": f"PTB-XL, table of {data.n_listed} records (version 1.0.3 has 21799), {data.fs_hz} Hz",
            "query folds": sorted({row.fold for row in queries}),
            "gallery folds": sorted({row.fold for row in gallery}),
            "limit": limit,
            "encoder": encoder.name,
            "fingerprint": encoder.fingerprint,
            "dim": encoder.dim,
            "index bytes (float32, flat)": 4 * encoder.dim * len(gallery),
            "vote": "chosen on these queries" if fixed is None else "fixed beforehand",
            "resamples": resamples,
        },
        encoder=encoder.name,
        systems=systems,
        layouts=by_layout,
        cross_modal=cross,
        text=evaluate_text_search(text_emb, gallery_emb, gallery),
        join=_join(embedder, query_emb, queries, gallery_emb, weights),
        p_values=_p_values(systems, encoder.name),
        latency=_latency(embedder, queries, gallery_emb),
    )
    if fit:
        report.calibration, report.calibration_errors = fitted_calibration(
            embedder, report, queries, gallery, query_emb, gallery_emb
        )
    report.about["seconds"] = round(time.perf_counter() - began, 1)
    if out_dir is not None:
        write_report(report, Path(out_dir), queries, gallery)
    return report


def _chosen(
    data: PtbXl, query_folds: Collection[int], gallery_folds: Collection[int], limit: int | None
) -> tuple[list[PtbXlRow], list[PtbXlRow]]:
    present = sorted({row.fold for row in data.rows})
    sides = []
    for name, folds, share in (("query", query_folds, 4), ("gallery", gallery_folds, 1)):
        rows = data.select(folds)
        if not rows:
            raise RecordError(
                f"{data.root} holds none of the {name} folds {sorted(folds)} (it holds {present})",
                hint="choose other folds, or unpack the rest of PTB-XL",
            )
        if limit is not None:
            # Fewer than ten hits or a handful of queries measure nothing.
            n = min(len(rows), max(20, limit // share))
            some = np.sort(np.random.default_rng(_SEED).choice(len(rows), size=n, replace=False))
            rows = [rows[i] for i in some]
        sides.append(rows)
    return sides[0], sides[1]


def _rules_of(calibration: Calibration | None) -> Rules:
    if calibration is None:
        return Rules(VoteRule(), VoteRule())
    return Rules(calibration.superclasses, calibration.statements)


def _baselines(
    embedder: Embedder,
    untrained: Sequence[Encoder],
    queries: Sequence[PtbXlRow],
    gallery: Sequence[PtbXlRow],
    rules: Rules | None,
    weights: Floats,
) -> dict[str, CaseRetrievalResult]:
    """Rows beside the system; each may choose its own vote where the system may."""
    out: dict[str, CaseRetrievalResult] = {}
    random = baselines.random_embeddings(len(queries) + len(gallery), 64)
    out["random"] = evaluate_case_retrieval(
        random[: len(queries)], random[len(queries) :], queries, gallery, rules=rules, weights=weights
    )
    labels = default_space().statements([row.labels for row in gallery])
    constant = baselines.constant_list(len(queries), labels, min(RANKED, len(gallery)))
    out["constant list"] = evaluate_neighbours(constant, queries, gallery, rules=rules, weights=weights)
    if embedder.progress is not None:
        embedder.progress("log-spectra", 0, 1)
    data = embedder.data
    spectra, query_spectra = baselines.spectrum_embeddings(
        (data.record(row) for row in gallery), (data.record(row) for row in queries)
    )
    out["log-spectrum"] = evaluate_case_retrieval(
        query_spectra, spectra, queries, gallery, rules=rules, weights=weights
    )
    for i, encoder in enumerate(untrained):
        other = Embedder(data, encoder, embedder.cache, embedder.progress)
        out[f"untrained {i + 1}"] = evaluate_case_retrieval(
            other.queries(queries, PRIMARY), other.gallery(gallery), queries, gallery, rules=rules, weights=weights
        )
    return out


def _random_similarity(n: int) -> Floats:
    return np.random.default_rng(baselines.RANDOM_SEED).random((n, n), dtype=np.float32)


def _constant_similarity(rows: Sequence[PtbXlRow]) -> Floats:
    """The same order for every query: each distinct report once, the commonest first."""
    texts = text_numbers([row.report for row in rows])
    listed = baselines.commonest_texts(texts, len(rows))
    scores = np.zeros(len(rows), dtype=np.float32)
    scores[listed] = np.arange(len(listed), 0, -1, dtype=np.float32)
    return np.tile(scores, (len(rows), 1))


def _oracle_similarity(rows: Sequence[PtbXlRow]) -> Floats:
    """What matching by the true statements would reach: Jaccard of the label sets, ties at random."""
    labels = default_space().statements([row.labels for row in rows])
    return jaccard(labels, labels)


def _join(
    embedder: Embedder,
    query_emb: dict[str, Floats],
    queries: Sequence[PtbXlRow],
    gallery_emb: Floats,
    weights: Floats,
) -> dict[str, JoinResult]:
    """Where the same record comes when another picture of it is asked for, among gallery and query fold together."""
    everything = np.concatenate([gallery_emb, embedder.gallery(queries)])
    n = min(JOIN_PHOTOS, len(queries))
    some = np.sort(np.random.default_rng(_SEED).choice(len(queries), size=n, replace=False))
    out: dict[str, JoinResult] = {}
    for layout, vectors in query_emb.items():
        ranks = join_rank(vectors[some], everything, some + len(gallery_emb))
        shares = {k: mean_interval((ranks <= k).astype(np.float64), weights[:, some]) for k in (1, 10)}
        out[layout] = JoinResult(n, len(everything), shares[1], shares[10], float(np.median(ranks)), ranks)
    return out


def _p_values(systems: dict[str, CaseRetrievalResult], name: str) -> dict[str, float]:
    """Holm-adjusted two-sided p of "no difference to log-spectrum neighbours" for the headline measures."""
    own, other = systems[name].resampled, systems["log-spectrum"].resampled
    return holm({measure: paired_p(own[measure], other[measure]) for measure in HEADLINE})


def _latency(embedder: Embedder, queries: Sequence[PtbXlRow], gallery_emb: Floats) -> Latency:
    """From a picture in memory to the ten best rows, one at a time."""
    pages = [draw_query(embedder.data.record(row), PRIMARY) for row in queries[:_TIMED]]
    took = []
    for page in pages:
        start = time.perf_counter()
        vector = encode_pictures(embedder.encoder, [page])
        (gallery_emb @ vector[0]).argpartition(-min(10, len(gallery_emb)))
        took.append(1000.0 * (time.perf_counter() - start))
    return Latency(float(np.percentile(took, 50)), float(np.percentile(took, 95)), len(took))
