"""Fits what a draft weighs, for one encoder and from the gallery alone: every record asks all other patients'.

The parts: thresholds of best F1 with what they are worth on patients left out; the encoder's head, cross-fitted; the
weights of vote and head beside each other; what measurements add to them; and all of it for a PTB-XL folder.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgkin.generation import measures
from ecgkin.generation.consensus.thresholds import FILE_NAME, DraftThresholds
from ecgkin.generation.measures import measure
from ecgkin.generation.measures.evidence import TERMS, TERMS_OF, MeasuredModel, evidence_values, names_of, row_of
from ecgkin.generation.research.fit import head as heads
from ecgkin.generation.research.retrieval.labels import BoolMatrix, default_space
from ecgkin.generation.research.retrieval.metrics import vote_scores
from ecgkin.generation.research.retrieval.ranking import Floats, nearest, patient_numbers
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl, PtbXlRow
from ecgkin.retrieval.encoders import witness
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.encoders.witness import StatementHead
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.search.vote import SUPER, Calibration, VoteRule, log_odds, smoothed_logit

FOLDS = 5
# Thresholds are averaged over this many random halves of the patients: the best one on a sample jumps from one
# borderline record to the next where a statement has few.
_HALVES = 20

_LOG = logging.getLogger(__name__)

# Measuring takes some 17 ms a record: all of PTB-XL's folds 1 to 8 in five minutes.
SAMPLE = 20_000
_SAMPLE_SEED = 11
# What terms look at.
_VALUES = tuple(dict.fromkeys(name for name, *_ in TERMS.values()))
_LEAST_POSITIVES = 15  # fewer leave a curve of some numbers to chance
# Precision of the prior that pulls weights of vote and head to those pooled over all labels, and weights of terms to 0.
_JOINT_PRECISION = np.array([4.0, 4.0, 1.0])
_TERM_PRECISION = 4.0


def fit_thresholds(
    shares: NDArray[np.floating],
    labels: NDArray[np.bool_],
    *,
    groups: Sequence[int] | NDArray[np.integer] | None = None,
    seed: int = 0,
) -> tuple[NDArray[np.float64], float]:
    """The threshold of each column with the best F1, and what it gives on patients left out.

    Args:
        shares: Of the neighbours, shape (n, n_labels), of records that did not vote for themselves.
        labels: Truth, same shape.
        groups: Patient of each row; rows of one patient stay together. None: every row for itself.
        seed: Of the partitions.

    Returns:
        Thresholds, shape (n_labels,), 0.5 where nothing is true; and the cross-validated macro-F1 over columns with a
        positive.

    Raises:
        QueryError: The shapes differ, or there are fewer rows than parts.
    """
    if shares.shape != labels.shape or shares.ndim != 2 or len(shares) < FOLDS:
        raise QueryError(
            f"shares {shares.shape} and labels {labels.shape} (expected equal shapes, {FOLDS} rows or more)"
        )
    of = np.arange(len(shares)) if groups is None else np.asarray(groups)
    part = patient_parts(of, FOLDS, seed)
    counts = np.zeros((3, labels.shape[1]))
    for i in range(FOLDS):
        inside = part != i
        drafted = shares[~inside] >= averaged_thresholds(shares[inside], labels[inside], of[inside], seed)
        truth = labels[~inside]
        counts += [(drafted & truth).sum(axis=0), drafted.sum(axis=0), truth.sum(axis=0)]
    hit, said, true = counts
    usable = true > 0
    f1 = float((2 * hit / np.maximum(said + true, 1))[usable].mean()) if usable.any() else 0.0
    return averaged_thresholds(shares, labels, of, seed), f1


def patient_parts(groups: NDArray[np.integer], n: int, seed: int) -> NDArray[np.int64]:
    """The part, 0 to n - 1, that each row falls into; rows of one group stay together.

    Args:
        groups: Patient of each row, (n_rows,).
        n: How many parts.
        seed: Of the partition.

    Returns:
        Part of each row, (n_rows,).
    """
    distinct, of = np.unique(groups, return_inverse=True)
    return np.asarray(np.random.default_rng(seed).permutation(len(distinct))[of] % n, dtype=np.int64)


def averaged_thresholds(
    shares: NDArray[np.floating], labels: NDArray[np.bool_], groups: NDArray[np.integer], seed: int
) -> NDArray[np.float64]:
    """Best threshold of each column, averaged in log-odds over random halves of the groups.

    A half without a positive counts as 0.5: the rarer a statement, the more cautious.

    Args:
        shares: Of the neighbours, 0 to 1, (n, n_codes).
        labels: Truth, (n, n_codes).
        groups: Patient of each row, (n,).
        seed: Of the halves.

    Returns:
        One threshold a column, (n_codes,).
    """
    distinct, of = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(seed)
    out = np.zeros((_HALVES, shares.shape[1]))
    for i in range(_HALVES):
        half = (rng.random(len(distinct)) < 0.5)[of]
        if not half.any():
            half[:] = True
        for column in range(shares.shape[1]):
            at = min(max(_best_threshold(shares[half, column], labels[half, column]), 1e-4), 1 - 1e-4)
            out[i, column] = np.log(at) - np.log1p(-at)
    return np.asarray(1 / (1 + np.exp(-out.mean(axis=0))))


def _best_threshold(votes: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    """Half-way between the two votes where F1 is largest; 0.5 where nothing is true."""
    if not truth.any():
        return 0.5
    order = np.argsort(-votes, kind="stable")
    sorted_votes, right = votes[order].astype(np.float64), np.cumsum(truth[order])
    f1 = 2 * right / (np.arange(1, len(votes) + 1) + truth.sum())
    last = np.append(sorted_votes[1:] < sorted_votes[:-1], True)  # equal votes are drafted together
    at = int(np.argmax(np.where(last, f1, -1.0)))
    below = sorted_votes[at + 1] if at + 1 < len(votes) else 0.0
    return float((sorted_votes[at] + below) / 2)


def sample_of(rows: Sequence[PtbXlRow]) -> NDArray[np.int64]:
    """Row numbers of the records that are measured, always the same ones."""
    n = min(SAMPLE, len(rows))
    return np.sort(np.random.default_rng(_SAMPLE_SEED).choice(len(rows), n, replace=False)).astype(np.int64)


def measure_rows(
    data: PtbXl,
    rows: Sequence[PtbXlRow],
    cache: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[dict[str, float]]:
    """Measurements of records by name; kept in `cache` for the same records and the same code that measures.

    Args:
        data: PTB-XL.
        rows: Which records.
        cache: Folder; None keeps nothing.
        progress: Called with (what, done, total).

    Returns:
        One mapping a record, from name to number; what cannot be measured is absent.
    """
    key = blake2b(digest_size=12)
    for source in sorted(Path(measures.__path__[0]).glob("*.py")):
        key.update(source.read_bytes())
    key.update(",".join(str(row.ecg_id) for row in rows).encode())
    path = cache / f"measured-{key.hexdigest()}.npy" if cache else None
    if path is not None and path.is_file():
        table = np.load(path)
    else:
        table = np.full((len(rows), len(_VALUES)), np.nan)
        for i, row in enumerate(rows):
            values = evidence_values(measure(data.record(row)))
            table[i] = [values.get(name, np.nan) for name in _VALUES]
            if progress is not None:
                progress("measure", i + 1, len(rows))
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, table)
    return [{name: float(v) for name, v in zip(_VALUES, row, strict=True) if np.isfinite(v)} for row in table]


def fit_logistic(
    x: NDArray[np.float64], y: NDArray[np.bool_], mean: NDArray[np.float64], precision: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weights of a logistic curve, the most probable ones under a normal prior; by Newton's method with halved steps.

    Args:
        x: (n, m), a column of ones where an intercept is wanted.
        y: Truth, (n,).
        mean, precision: Of the prior, (m,).
    """
    w, t = mean.astype(np.float64).copy(), y.astype(np.float64)

    def loss(v: NDArray[np.float64]) -> float:
        z = x @ v
        return float((np.logaddexp(0.0, z) - t * z).sum() + 0.5 * (precision * (v - mean) ** 2).sum())

    current = loss(w)
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(x @ w, -30.0, 30.0)))
        slope = x.T @ (p - t) + precision * (w - mean)
        step = np.linalg.solve((x * (p * (1.0 - p))[:, None]).T @ x + np.diag(precision + 1e-9), slope)
        size = 1.0
        while size > 1e-6 and loss(w - size * step) > current + 1e-9:
            size /= 2
        w = w - size * step
        before, current = current, loss(w)
        if before - current < 1e-7 * (1.0 + abs(current)):
            break
    return w


def fit_joint(
    shares: NDArray[np.floating], read: Floats, truth: BoolMatrix, prior: NDArray[np.float64], k: int
) -> NDArray[np.float64]:
    """Weights of vote and head and an intercept for each label, pulled to those pooled over all labels.

    Args:
        shares: Of the neighbours, (n, n_labels), of records that did not vote for themselves.
        read: Probabilities of a head that had not seen the record's patient, same shape.
        truth: Same shape.
        prior: Share of each label in the gallery, (n_labels,).
        k: Neighbours that voted.

    Returns:
        (n_labels, 3).
    """
    votes, reads = smoothed_logit(shares.astype(np.float64), k, prior), log_odds(read.astype(np.float64))
    ones = np.ones(len(truth))
    flat = np.stack([votes.ravel(), reads.ravel(), np.ones(votes.size)], axis=1)
    some = np.random.default_rng(0).choice(len(flat), min(200_000, len(flat)), replace=False)
    pooled = fit_logistic(flat[some], truth.ravel()[some], np.array([0.5, 0.5, 0.0]), np.full(3, 1e-3))
    out = np.empty((truth.shape[1], 3))
    for i in range(truth.shape[1]):
        x = np.stack([votes[:, i], reads[:, i], ones], axis=1)
        out[i] = fit_logistic(x, truth[:, i], pooled, _JOINT_PRECISION)
    return out


def joint_probabilities(
    shares: NDArray[np.floating], read: Floats, prior: NDArray[np.float64], k: int, weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What the weights of `fit_joint`, whose arguments these are, make of votes and readings; (n, n_labels)."""
    votes, reads = smoothed_logit(shares.astype(np.float64), k, prior), log_odds(read.astype(np.float64))
    z = weights[:, 0] * votes + weights[:, 1] * reads + weights[:, 2]
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(z, -30.0, 30.0))))


def fit_measured(
    before: NDArray[np.floating],
    truth: NDArray[np.bool_],
    values: Sequence[Mapping[str, float]],
    labels: Sequence[str],
    groups: NDArray[np.integer],
    *,
    seed: int = 0,
) -> dict[str, MeasuredModel]:
    """A curve for each label that measurements tell better than vote and head without them.

    Better means: a smaller log loss on patients left out.

    Args:
        before: Probabilities of vote and head, shape (n, n_labels), of records that neither had seen.
        truth: Same shape.
        values: What was measured of each record, from `evidence_values`.
        labels: Names of the columns; superclasses with the prefix "super:".
        groups: Patient of each record.
        seed: Of the partition.

    Returns:
        Curves by label; labels that measurements do not help are absent.
    """
    part = patient_parts(groups, FOLDS, seed)
    measured = np.array([bool(known) for known in values])
    out = {}
    for label, terms in TERMS_OF.items():
        if label not in labels:
            continue
        column = list(labels).index(label)
        y, of, inner = truth[measured, column], groups[measured], part[measured]
        if min(y.sum(), len(y) - y.sum()) < _LEAST_POSITIVES:
            continue
        rows = [row_of(label, known) for known in values if known]
        names = names_of(terms)
        base = log_odds(before[measured, column].astype(np.float64))
        beyond = np.array([one for one, _ in rows]).reshape(len(y), len(terms))
        missing = np.array([one for _, one in rows]).reshape(len(y), len(names))
        # A limit that nothing exceeds, or a value that is never missing, has no weight to be found.
        x = np.column_stack([base, beyond, missing, np.ones(len(y))])
        mean = np.zeros(x.shape[1])
        mean[0] = 1.0
        precision = np.full(x.shape[1], _TERM_PRECISION)
        precision[-1] = 0.01
        p = np.zeros(len(y))
        for i in range(FOLDS):
            inside = inner != i
            p[~inside] = _predict(x[~inside], fit_logistic(x[inside], y[inside], mean, precision))
        alone, together = (_log_loss(q, y) for q in (before[measured, column], p))
        _LOG.info("measured label=%s n=%d log_loss=%.4f->%.4f", label, len(y), alone, together)
        if together < alone:
            w = fit_logistic(x, y, mean, precision)
            (threshold,) = averaged_thresholds(p[:, None], y[:, None], of, seed)
            ends = 1 + len(terms)
            out[label] = MeasuredModel(
                float(w[0]),
                float(w[-1]),
                dict(zip(terms, w[1:ends].tolist(), strict=True)),
                {n: v for n, v in zip(names, w[ends:-1].tolist(), strict=True) if abs(v) >= 1e-3},
                float(threshold),
            )
    return out


def _log_loss(p: NDArray[np.floating], y: NDArray[np.bool_]) -> float:
    q = np.clip(p.astype(np.float64), 1e-6, 1 - 1e-6)
    return float(-(np.log(q[y]).sum() + np.log1p(-q[~y]).sum()) / len(y))


def _predict(x: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(x @ weights, -30, 30))), dtype=np.float64)


@dataclass(frozen=True)
class Fitted:
    """What belongs beside the weights of an encoder.

    Attributes:
        head: Reads statements off its vectors; None where it was not fitted.
        calibration: As it was, with the weights of vote and head; None where there was none.
        thresholds: Of drafts.
    """

    head: StatementHead | None
    calibration: Calibration | None
    thresholds: DraftThresholds

    def save(self, folder: str | Path) -> None:
        """Write head.safetensors, calibration.json and draft_thresholds.json.

        Args:
            folder: That of the weights, or another; it is made.
        """
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        if self.head is not None:
            self.head.save(place / witness.FILE_NAME)
        if self.calibration is not None:
            self.calibration.save(place / "calibration.json")
        self.thresholds.save(place / FILE_NAME)


def fit_drafts(
    vectors: Floats,
    rows: Sequence[PtbXlRow],
    *,
    encoder: str,
    image_fingerprint: str = "",
    calibration: Calibration | None = None,
    measured: tuple[NDArray[np.int64], Sequence[Mapping[str, float]]] | None = None,
    fitted_on: str = "",
) -> Fitted:
    """Head, weights and thresholds from case vectors, each record leaving its own patient out.

    Args:
        vectors: Case vectors, shape (n, dim), unit rows.
        rows: Their records.
        encoder: Fingerprint.
        image_fingerprint: What changes vectors of pictures; "" for the same.
        calibration: For its depths and temperatures; None takes the default rule, and then there is no head: raw
            shares and probabilities do not mix.
        measured: Numbers of measured records and what was measured of each; None leaves measurements out.
        fitted_on: Data, in words.

    Returns:
        Thresholds; head and weights where there is a calibration.
    """
    space = default_space()
    labels = (*space.codes, *(SUPER + name for name in space.superclasses))
    statements = space.statements([row.labels for row in rows])
    supers = space.superclass_matrix(statements)
    truth = np.concatenate([statements, supers], axis=1)
    (groups,) = patient_numbers([row.patient_id for row in rows])
    rule = calibration.statements if calibration else VoteRule()
    super_rule = calibration.superclasses if calibration else VoteRule()
    found = nearest(vectors, vectors, max(rule.k, super_rule.k), query_patients=groups, gallery_patients=groups)
    ranked = found.rows.shape[1]  # fewer than asked for in a small gallery
    shares = vote_scores(found, statements, min(rule.k, ranked), rule.tau)
    of_supers = vote_scores(found, supers, min(super_rule.k, ranked), super_rule.tau)
    by_share, share_f1 = fit_thresholds(shares, statements, groups=groups)
    by_super, super_f1 = fit_thresholds(of_supers, supers, groups=groups)
    thresholds = DraftThresholds(
        encoder=encoder,
        statements=dict(zip(space.codes, by_share.tolist(), strict=True)),
        superclasses=dict(zip(space.superclasses, by_super.tolist(), strict=True)),
        fitted_on=fitted_on,
        f1={"statements": round(share_f1, 4), "superclasses": round(super_f1, 4)},
    )
    if calibration is None:
        return Fitted(None, None, thresholds)
    parts = patient_parts(groups, heads.PARTS, 0)
    read = heads.cross_fitted(vectors, truth, parts)
    every = np.concatenate([shares, of_supers], axis=1)
    prior = np.array([calibration.curves[label][2] for label in labels])
    n = len(space.codes)
    weights, joint = np.empty((len(labels), 3)), np.empty(truth.shape)
    for part, k in ((slice(0, n), rule.k), (slice(n, None), super_rule.k)):
        weights[part] = fit_joint(every[:, part], read[:, part], truth[:, part], prior[part], k)
        joint[:, part] = joint_probabilities(every[:, part], read[:, part], prior[part], k, weights[part])
    models: Mapping[str, MeasuredModel] = {}
    if measured is not None:
        some, values = measured
        models = fit_measured(joint[some], truth[some], values, labels, groups[some])
    head = heads.fit_head(
        vectors, truth, labels, image_fingerprint or encoder, about={"fitted_on": fitted_on, "ridge": f"{heads.RIDGE}"}
    )
    curves = {label: (float(a), float(b), float(c)) for label, (a, b, c) in zip(labels, weights, strict=True)}
    fitted = replace(_with_head(thresholds, labels, read, joint, truth, groups), measured=models)
    return Fitted(head, replace(calibration, joint=curves), fitted)


def _with_head(
    thresholds: DraftThresholds,
    labels: Sequence[str],
    read: Floats,
    joint: NDArray[np.floating],
    truth: BoolMatrix,
    groups: NDArray[np.integer],
) -> DraftThresholds:
    """And those of the head alone and of vote and head together."""
    by_read, read_f1 = fit_thresholds(read, truth, groups=groups)
    by_joint, joint_f1 = fit_thresholds(joint, truth, groups=groups)
    return replace(
        thresholds,
        reading=dict(zip(labels, by_read.tolist(), strict=True)),
        joint=dict(zip(labels, by_joint.tolist(), strict=True)),
        f1={**thresholds.f1, "reading": round(read_f1, 4), "joint": round(joint_f1, 4)},
    )


def fit_from_ptbxl(
    root: str | Path,
    encoder: Encoder,
    *,
    folds: Sequence[int] = tuple(range(1, 9)),
    calibration: Calibration | None = None,
    cache_dir: str | Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Fitted:
    """`fit_drafts` on the folds of a PTB-XL folder; embeddings and measurements are cached as in the evaluations.

    Args:
        root: Folder with the official layout.
        encoder: Whose vectors are read.
        folds: Whose records vote and ask.
        calibration: Of the encoder.
        cache_dir: Where embeddings and measurements are kept.
        progress: Called with what is being done, and how many of how many are done.

    Returns:
        As `fit_drafts`.
    """
    from ecgkin.generation.research.retrieval.galleries import Embedder

    data = PtbXl(root)
    rows = data.select(folds)
    cache = Path(cache_dir) if cache_dir else None
    some = sample_of(rows)
    return fit_drafts(
        Embedder(data, encoder, cache, progress).gallery(rows),
        rows,
        encoder=encoder.fingerprint,
        image_fingerprint=witness.image_fingerprint(encoder),
        calibration=calibration,
        measured=(some, measure_rows(data, [rows[i] for i in some], cache, progress)),
        fitted_on=f"PTB-XL folds {list(folds)}, {len(rows)} records, leave-patient-out, {len(some)} of them measured; "
        f"{FOLDS}-fold cross-validation over patients",
    )
