"""ECG to report and report to ECG: recall at 1, 5 and 10, strict and duplicate-aware (field task B).

Gallery and queries are the records of one fold. Four in ten reports are word for word those of another record, so a
strict measure has a ceiling well below 1, which is computed and belongs beside every figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ecgkin.generation.research.retrieval.bootstrap import Interval, mean_interval, patient_weights
from ecgkin.generation.research.retrieval.labels import LabelledRow
from ecgkin.generation.research.retrieval.ranking import Floats, Ints, check_embeddings, first_rank, patient_numbers
from ecgkin.retrieval.errors import QueryError

RECALL_KS: tuple[int, ...] = (1, 5, 10)
# Gallery size that the hit counts of Qiu et al. (2023) point to (inferred there from their percentages).
SUB_GALLERY = 1_269
SUB_DRAWS = 20
SUB_SEED = 1_269


@dataclass(frozen=True)
class CrossModalResult:
    """Recalls of one system on one fold.

    Attributes:
        n: Pairs, which is also the size of the gallery before the same-patient rule.
        distinct_reports: Normalised texts among them.
        recall: By (direction, kind, k): direction "ecg->report" or "report->ecg", kind "strict" or "duplicates".
        sub_recall: The same, mean and standard deviation over the sub-gallery draws; empty for a smaller fold.
        sub_size: Pairs in a sub-gallery.
        ceiling: Best possible strict recall by k.
        ranks: Ranks (from 1) of each query by (direction, kind), for run files and paired tests.
    """

    n: int
    distinct_reports: int
    recall: dict[tuple[str, str, int], Interval]
    sub_recall: dict[tuple[str, str, int], tuple[float, float]]
    sub_size: int
    ceiling: dict[int, float]
    ranks: dict[tuple[str, str], Ints] = field(repr=False)


def text_numbers(reports: Sequence[str]) -> Ints:
    """One number a distinct normalised report, shape (n,)."""
    from ecgkin.retrieval.ecg.statements.report_text import normalise_report

    known: dict[str, int] = {}
    return np.array([known.setdefault(normalise_report(text), len(known)) for text in reports], dtype=np.int64)


def strict_ceiling(texts: Ints, ks: Sequence[int] = RECALL_KS) -> dict[int, float]:
    """Best strict recall that any system can have when equal texts cannot be told apart.

    Of n_t equal texts, k can be among the first k: sum over distinct texts of min(k, n_t), over all pairs.

    Args:
        texts: Number of each pair's report, (n,); equal texts have equal numbers.
        ks: Depths.

    Returns:
        Depth -> recall.

    >>> strict_ceiling(np.array([0, 0, 0, 1]), [1, 2])
    {1: 0.5, 2: 0.75}
    """
    counts = np.bincount(texts)
    return {k: float(np.minimum(counts, k).sum() / len(texts)) for k in ks}


def _ranks(similarity: Floats, texts: Ints, patients: Ints, seed: int) -> dict[tuple[str, str], Ints]:
    """First ranks in both directions; other records of the query's patient are out of the gallery."""
    own = np.eye(len(texts), dtype=np.bool_)
    barred = (patients[:, None] == patients[None, :]) & ~own
    equal = texts[:, None] == texts[None, :]
    out: dict[tuple[str, str], Ints] = {}
    for direction, scores in (("ecg->report", similarity), ("report->ecg", similarity.T)):
        allowed = np.where(barred, np.float32(-np.inf), scores)
        out[direction, "strict"] = first_rank(allowed, own, seed)
        out[direction, "duplicates"] = first_rank(allowed, equal, seed)
    return out


def _shares(ranks: Mapping[tuple[str, str], Ints]) -> dict[tuple[str, str, int], NDArray[np.float64]]:
    return {(*key, k): (rank <= k).astype(np.float64) for key, rank in ranks.items() for k in RECALL_KS}


def evaluate_cross_modal(
    image_emb: Floats,
    text_emb: Floats,
    rows: Sequence[LabelledRow],
    *,
    sub_gallery: int = SUB_GALLERY,
    draws: int = SUB_DRAWS,
    weights: NDArray[np.float32] | None = None,
    seed: int = SUB_SEED,
) -> CrossModalResult:
    """Recalls of ECG images against reports within one fold, and in smaller drawn galleries.

    Args:
        image_emb, text_emb: Unit rows, float32, shape (n, dim); row i of both belongs to `rows[i]`.
        rows: The records, with cleaned reports.
        sub_gallery, draws: Size and number of the seeded sub-galleries (without replacement).
        weights: Bootstrap weights, shape (resamples, n); drawn over patients when None.
        seed: For ties and draws.

    Returns:
        Recalls with intervals, both ways.

    Raises:
        QueryError: Embeddings and rows do not fit together.
    """
    check_embeddings(image_emb, text_emb)
    if not len(image_emb) == len(text_emb) == len(rows):
        raise QueryError(f"{len(image_emb)} images, {len(text_emb)} texts and {len(rows)} rows do not pair up")
    texts = text_numbers([row.report for row in rows])
    # Equal texts have equal vectors up to rounding in batches of different make-up; one column stands for all of
    # them, so that their order is decided by the seeded draw and not by noise in the last bit.
    _, first = np.unique(texts, return_index=True)
    similarity = np.asarray(image_emb @ text_emb[first[texts]].T, dtype=np.float32)
    return evaluate_similarity(similarity, rows, sub_gallery=sub_gallery, draws=draws, weights=weights, seed=seed)


def evaluate_similarity(
    similarity: Floats,
    rows: Sequence[LabelledRow],
    *,
    sub_gallery: int = SUB_GALLERY,
    draws: int = SUB_DRAWS,
    weights: NDArray[np.float32] | None = None,
    seed: int = SUB_SEED,
) -> CrossModalResult:
    """The same for a matrix of scores, shape (n ECGs, n reports), larger is nearer.

    Args:
        similarity: Larger is nearer, (n ECGs, n reports).
        rows: The records, in the order of both.
        sub_gallery, draws: See `evaluate_cross_modal`.
        weights: See `evaluate_cross_modal`.
        seed: For ties and draws.

    Returns:
        Recalls with intervals, both ways.
    """
    if similarity.shape != (len(rows), len(rows)):
        raise QueryError(f"similarity of shape {similarity.shape} for {len(rows)} rows")
    texts = text_numbers([row.report for row in rows])
    (patients,) = patient_numbers([row.patient_id for row in rows])
    weights = patient_weights(patients) if weights is None else weights
    ranks = _ranks(similarity, texts, patients, seed)
    recall = {key: mean_interval(values, weights) for key, values in _shares(ranks).items()}
    sub: dict[tuple[str, str, int], list[float]] = {}
    if sub_gallery < len(rows):
        rng = np.random.default_rng(seed)
        for draw in range(draws):
            some = np.sort(rng.choice(len(rows), size=sub_gallery, replace=False))
            part = _ranks(similarity[np.ix_(some, some)], texts[some], patients[some], seed + draw)
            for key, values in _shares(part).items():
                sub.setdefault(key, []).append(float(values.mean()))
    return CrossModalResult(
        n=len(rows),
        distinct_reports=int(texts.max()) + 1,
        recall=recall,
        sub_recall={key: (float(np.mean(values)), float(np.std(values))) for key, values in sub.items()},
        sub_size=sub_gallery if sub else 0,
        ceiling=strict_ceiling(texts),
        ranks=ranks,
    )


def join_rank(photo_emb: Floats, gallery_emb: Floats, own_index: Ints) -> Ints:
    """Rank (from 1) of each photo's own record among the gallery's drawings, shape (n_photos,).

    No same-patient rule here: the own record must be found. Cases that score exactly as high count as half before
    it, rounded up, so that a constant encoder gains nothing.

    Args:
        photo_emb: Unit rows, (n_photos, dim).
        gallery_emb: Unit rows, (n_gallery, dim).
        own_index: Gallery row of each photo's own record.

    Returns:
        Ranks from 1, (n_photos,).

    Raises:
        QueryError: An index lies outside the gallery, or there is not one for each photo.
    """
    check_embeddings(photo_emb, gallery_emb)
    if len(own_index) != len(photo_emb) or own_index.min() < 0 or own_index.max() >= len(gallery_emb):
        raise QueryError(f"{len(own_index)} own rows for {len(photo_emb)} photos and {len(gallery_emb)} drawings")
    ranks = np.empty(len(photo_emb), dtype=np.int64)
    for start in range(0, len(photo_emb), 256):
        part = slice(start, start + 256)
        scores = photo_emb[part] @ gallery_emb.T
        own = np.take_along_axis(scores, own_index[part, None], axis=1)
        ranks[part] = 1 + (scores > own).sum(axis=1) + ((scores == own).sum(axis=1)) // 2
    return ranks
