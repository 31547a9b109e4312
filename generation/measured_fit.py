"""Fits what measurements add to the vote (`measured_evidence`), on a sample of the gallery, patients apart."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgkin.generation import measures, wave_limits
from ecgkin.generation.best_f1 import FOLDS, averaged_thresholds, patient_parts
from ecgkin.generation.measured_evidence import TERMS_OF, MeasuredModel, excess, share_logit
from ecgkin.generation.measures import NAMES, measure
from ecgkin.retrieval.ecg.ptbxl import PtbXl, PtbXlRow

_LOG = logging.getLogger(__name__)

# Measuring takes some 25 ms a record; a statement that one record in a hundred carries has 40 positives among these.
SAMPLE = 4_000
_SAMPLE_SEED = 11
_LEAST_POSITIVES = 15  # fewer leave a curve of three numbers to chance
# Weight of the ridge: one pseudo-observation's worth, enough to keep a weight finite where a value tells all.
_RIDGE = 1.0


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
    """Measurements of records by name; kept in `cache` for the same records and the same code that measures."""
    key = blake2b(digest_size=12)
    for module in (measures, wave_limits):
        key.update(inspect.getsource(module).encode())
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
