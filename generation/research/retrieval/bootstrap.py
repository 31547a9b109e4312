"""Cluster bootstrap over patients: all records of a drawn patient come along, the gallery stays as it is.

Weights (how often each query is drawn) are made once from patients and seed, so that every system is measured on
the same resamples and differences are paired.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ecgkin.generation.research.retrieval.labels import BoolMatrix
from ecgkin.generation.research.retrieval.ranking import Ints

Doubles = NDArray[np.float64]

RESAMPLES = 1_000
SEED = 1_997


@dataclass(frozen=True)
class Interval:
    """A measured value with its 95 % percentile interval.

    Attributes:
        value: On the queries as they are.
        low, high: 2.5th and 97.5th percentile over the resamples; NaN without resamples.
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "n/a"
        return f"{self.value:.3f}" if np.isnan(self.low) else f"{self.value:.3f} ({self.low:.3f}-{self.high:.3f})"


def interval(value: float, resampled: Doubles) -> Interval:
    """The value beside the percentiles of its resamples (NaN resamples are left out).

    Args:
        value: The figure itself.
        resampled: The same in each resample, (resamples,).

    Returns:
        Value, 2.5th and 97.5th percentile.
    """
    valid = resampled[~np.isnan(resampled)]
    if len(valid) == 0:
        return Interval(float(value))
    low, high = np.percentile(valid, [2.5, 97.5])
    return Interval(float(value), float(low), float(high))


def patient_weights(patients: Ints, resamples: int = RESAMPLES, seed: int = SEED) -> NDArray[np.float32]:
    """How often each query occurs in each resample of patients, shape (resamples, n_queries).

    Args:
        patients: Number of each query's patient, (n_queries,).
        resamples: How many.
        seed: Of the draw.

    Returns:
        Counts, float32 (resamples, n_queries).

    >>> patient_weights(np.array([7, 7, 9]), resamples=2, seed=0).sum(axis=1) > 0
    array([ True,  True])
    """
    distinct, of = np.unique(patients, return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(distinct), np.full(len(distinct), 1 / len(distinct)), size=resamples)
    return np.asarray(drawn[:, of], dtype=np.float32)


def resampled_mean(values: Doubles, weights: NDArray[np.float32]) -> Doubles:
    """Weighted mean of the values in each resample, shape (resamples,); NaN values belong to no query.

    Args:
        values: One number a query, (n_queries,), NaN where it is no query.
        weights: Of `patient_weights`.

    Returns:
        (resamples,).
    """
    valid = ~np.isnan(values)
    total = weights[:, valid].sum(axis=1, dtype=np.float64)
    summed = weights[:, valid].astype(np.float64) @ values[valid]
    return np.asarray(np.where(total > 0, summed / np.where(total > 0, total, 1.0), np.nan))


def mean_interval(values: Doubles, weights: NDArray[np.float32]) -> Interval:
    """Mean of one number a query (NaN: not a query) with its bootstrap interval.

    Args:
        values: One number a query, (n_queries,).
        weights: Of `patient_weights`.

    Returns:
        The mean with its interval.
    """
    valid = values[~np.isnan(values)]
    if len(valid) == 0:
        return Interval(float("nan"))
    return interval(float(valid.mean()), resampled_mean(values, weights))


def resampled_auc(truth: BoolMatrix, scores: NDArray[np.floating], weights: NDArray[np.float32]) -> Doubles:
    """AUC of each column in each resample, shape (resamples, n_labels); NaN where a class is missing there.

    As a matrix product: with M the comparisons of positives and negatives (1 won, 1/2 tied), the pairs won in a
    resample are w_positive M w_negative, so that 1,000 resamples of 71 columns are a second or two of BLAS.

    Args:
        truth: (n_queries, n_labels).
        scores: Larger for more likely, same shape.
        weights: Of `patient_weights`.

    Returns:
        (resamples, n_labels).
    """
    out = np.full((len(weights), truth.shape[1]), np.nan)
    for column in range(truth.shape[1]):
        positive = truth[:, column]
        if not positive.any() or positive.all():
            continue
        high, low = scores[positive, column][:, None], scores[~positive, column][None, :]
        won = (high > low).astype(np.float32)
        won += np.float32(0.5) * (high == low)
        own, others = weights[:, positive], weights[:, ~positive]
        # Halves and whole numbers below 2^24 are exact in float32; only the last sum may pass that.
        total = ((own @ won) * others).sum(axis=1, dtype=np.float64)
        pairs = own.sum(axis=1, dtype=np.float64) * others.sum(axis=1, dtype=np.float64)
        out[:, column] = np.where(pairs > 0, total / np.where(pairs > 0, pairs, 1.0), np.nan)
    return out


@dataclass(frozen=True)
class MacroAuc:
    """Mean AUC over label columns.

    Attributes:
        interval: The mean and its interval.
        n_labels: Columns that have both classes.
        dropped: Columns left without a class in a resample, mean over the resamples.
        resampled: The mean in each resample, for paired tests.
    """

    interval: Interval
    n_labels: int
    dropped: float
    resampled: Doubles = field(repr=False, default_factory=lambda: np.empty(0))


@dataclass(frozen=True)
class AucTable:
    """AUCs of all columns.

    Attributes:
        plain: On the queries as they are, shape (n_labels,); NaN where a column has one class only.
        drawn: In each resample, shape (resamples, n_labels).
    """

    plain: Doubles
    drawn: Doubles

    @classmethod
    def of(cls, truth: BoolMatrix, scores: NDArray[np.floating], weights: NDArray[np.float32]) -> AucTable:
        """Measure truth and scores of shape (n_queries, n_labels) with weights of shape (resamples, n_queries).

        Args:
            truth: (n_queries, n_labels).
            scores: Larger for more likely, same shape.
            weights: Of `patient_weights`.

        Returns:
            AUC of each column, as it is and in each resample.
        """
        every = np.concatenate([np.ones((1, len(truth)), dtype=np.float32), weights])
        aucs = resampled_auc(truth, scores, every)
        return cls(aucs[0], aucs[1:])

    def macro(self, columns: NDArray[np.bool_] | None = None) -> MacroAuc:
        """Mean over the columns; in a resample, columns left without a class are dropped and counted."""
        usable = ~np.isnan(self.plain) if columns is None else ~np.isnan(self.plain) & columns
        if not usable.any():
            return MacroAuc(Interval(float("nan")), 0, 0.0, np.full(len(self.drawn), np.nan))
        drawn = self.drawn[:, usable]
        count = (~np.isnan(drawn)).sum(axis=1)
        means = np.where(count > 0, np.nansum(drawn, axis=1) / np.maximum(count, 1), np.nan)
        dropped = float((drawn.shape[1] - count).mean()) if len(count) else 0.0
        value = float(self.plain[usable].mean())
        return MacroAuc(interval(value, means), int(usable.sum()), dropped, means)


def macro_auc(
    truth: BoolMatrix,
    scores: NDArray[np.floating],
    weights: NDArray[np.float32],
    columns: NDArray[np.bool_] | None = None,
) -> MacroAuc:
    """Mean over the columns of the AUC, see `AucTable`.

    Args:
        truth: (n_queries, n_labels).
        scores: Larger for more likely, same shape.
        weights: Of `patient_weights`.
        columns: Which count, (n_labels,); None takes those that have both classes.

    Returns:
        The mean with its interval.
    """
    return AucTable.of(truth, scores, weights).macro(columns)


def paired_p(values: Doubles, others: Doubles) -> float:
    """Two-sided bootstrap p of "no difference" between two systems on the same resamples, at least 2 / (n + 1).

    Args:
        values: One system's figure in each resample, (resamples,).
        others: The other's, in the same resamples.

    Returns:
        p, 0 to 1.
    """
    difference = values - others
    difference = difference[~np.isnan(difference)]
    n = len(difference)
    smaller = min(int((difference <= 0).sum()), int((difference >= 0).sum()))
    return float(min(1.0, 2 * (smaller + 1) / (n + 1)))


def holm(p_values: dict[str, float]) -> dict[str, float]:
    """Holm's step-down adjusted p values (Holm 1979), by the names given.

    >>> {k: round(v, 3) for k, v in holm({"a": 0.01, "b": 0.04, "c": 0.03}).items()}
    {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    adjusted: dict[str, float] = {}
    running = 0.0
    for i, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        running = max(running, min(1.0, p * (len(p_values) - i)))
        adjusted[name] = running
    return {name: adjusted[name] for name in p_values}
