"""Fits the drafter's thresholds for one encoder from the gallery alone: every record asks all other patients'.

Three parts: thresholds of best F1 with what they are worth on patients left out; models of what measurements add to the
vote, on a sample of the gallery; and both together for a PTB-XL folder.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgkin.generation import measures
from ecgkin.generation.consensus.thresholds import DraftThresholds
from ecgkin.generation.measures import NAMES, measure
from ecgkin.generation.measures.evidence import TERMS_OF, MeasuredModel, excess, share_logit
from ecgkin.generation.research.retrieval.labels import default_space
from ecgkin.generation.research.retrieval.metrics import vote_scores
from ecgkin.generation.research.retrieval.ranking import Floats, nearest, patient_numbers
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl, PtbXlRow
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.search.vote import Calibration, VoteRule

FOLDS = 5
# Thresholds are averaged over this many random halves of the patients: the best one on a sample jumps from one
# borderline record to the next where a statement has few.
_HALVES = 20

_LOG = logging.getLogger(__name__)

# Measuring takes some 25 ms a record; a statement that one record in a hundred carries has 40 positives among these.
SAMPLE = 4_000
_SAMPLE_SEED = 11
_LEAST_POSITIVES = 15  # fewer leave a curve of three numbers to chance
# Weight of the ridge: one pseudo-observation's worth, enough to keep a weight finite where a value tells all.
_RIDGE = 1.0


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


def _f1(hit: NDArray[np.floating], drafted: NDArray[np.floating], true: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(2 * hit / np.maximum(drafted + true, 1), dtype=np.float64)


def _logit(p: NDArray[np.floating]) -> NDArray[np.float64]:
    clipped = np.clip(p, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(clipped) - np.log1p(-clipped), dtype=np.float64)


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
        table = np.full((len(rows), len(NAMES)), np.nan)
        for i, row in enumerate(rows):
            values = measure(data.record(row)).values
            table[i] = [values.get(name, np.nan) for name in NAMES]
            if progress is not None:
                progress("measure", i + 1, len(rows))
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, table)
    return [{name: float(v) for name, v in zip(NAMES, row, strict=True) if np.isfinite(v)} for row in table]


def fit_measured(
    shares: NDArray[np.floating],
    truth: NDArray[np.bool_],
    values: Sequence[Mapping[str, float]],
    codes: Sequence[str],
    groups: NDArray[np.integer],
    *,
    seed: int = 0,
) -> dict[str, MeasuredModel]:
    """A curve for each statement that measurements tell better than the vote alone.

    Better means: a higher F1 on patients left out, with the thresholds chosen on the others.

    Args:
        shares: Of the neighbours, shape (n, n_codes), of records that did not vote for themselves.
        truth: Same shape.
        values: Measurements of each record.
        codes: Names of the columns.
        groups: Patient of each record.
        seed: Of the partition.

    Returns:
        Curves by statement; statements that measurements do not help are absent.
    """
    part = patient_parts(groups, FOLDS, seed)
    out = {}
    for code, terms in TERMS_OF.items():
        column = list(codes).index(code)
        beyond = [[excess(term, known) for term in terms] for known in values]
        usable = np.array([None not in row for row in beyond])
        y = truth[usable, column]
        if min(y.sum(), len(y) - y.sum()) < _LEAST_POSITIVES:
            continue
        share = shares[usable, column]
        x = np.array([[share_logit(s), *row] for s, row in zip(share, _known(beyond), strict=True)], dtype=np.float64)
        of, inner = groups[usable], part[usable]
        p = np.zeros(len(y))
        said = np.zeros((2, len(y)), dtype=np.bool_)
        for i in range(FOLDS):
            inside = inner != i
            if not y[inside].any() or inside.all():
                continue
            weights = _fit(x[inside], y[inside])
            p[~inside] = _predict(x[~inside], weights)
            for which, (train, test) in enumerate(
                ((share[inside], share[~inside]), (_predict(x[inside], weights), p[~inside]))
            ):
                (at,) = averaged_thresholds(train[:, None], y[inside, None], of[inside], seed)
                said[which, ~inside] = test >= at
        alone, together = (2 * (s & y).sum() / max(1, s.sum() + y.sum()) for s in said)
        _LOG.info("measured code=%s n=%d positives=%d f1=%.3f->%.3f", code, len(y), y.sum(), alone, together)
        if together > alone:
            slope, *others, intercept = _fit(x, y).tolist()
            (threshold,) = averaged_thresholds(p[:, None], y[:, None], of, seed)
            weights_of = dict(zip(terms, others, strict=True))
            out[code] = MeasuredModel(slope, intercept, weights_of, float(threshold))
    return out


def _known(rows: Sequence[Sequence[float | None]]) -> list[list[float]]:
    return [[v for v in row if v is not None] for row in rows if None not in row]


def _fit(x: NDArray[np.float64], y: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights and, last, intercept of a logistic curve."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1 / _RIDGE, max_iter=500).fit(x, y)
    return np.append(model.coef_[0], model.intercept_)


def _predict(x: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(x @ weights[:-1] + weights[-1], -30, 30))), dtype=np.float64)


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

    Returns:
        Thresholds and measured evidence.
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

    Returns:
        Thresholds and measured evidence.
    """
    from ecgkin.generation.research.retrieval.galleries import PRIMARY, Embedder
    from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl
    from ecgkin.retrieval.encoders.base import Encoder
    from ecgkin.retrieval.errors import QueryError

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
