"""Fits `Calibration` on held-out queries: curves from vote to probability, and the "nothing similar" threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgkin.generation.research.retrieval.labels import BoolMatrix, LabelSpace
from ecgkin.generation.research.retrieval.metrics import vote_scores
from ecgkin.generation.research.retrieval.ranking import Floats, Ints, Neighbours
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.search.vote import Calibration, Threshold, VoteRule, smoothed_logit

Doubles = NDArray[np.float64]

# Standard deviations of the prior that pulls each label's slope and intercept to those pooled over all labels: a
# label with hundreds of positives overrules it, one with three hardly moves. Cross-fitted log loss over patients of
# fold 9 with log-spectrum neighbours, k = 50: .0969 at (.05, .1), .0944 at (.3, .5), .0933 at (.6, 1), .0930 at (3, 3),
# raw shares .1118: flat from here on, so the values keep some hold on labels with a handful of positives.
SLOPE_SD = 0.6
INTERCEPT_SD = 1.0
# A curve must rise, otherwise calibration would turn the order of queries round.
_LEAST_SLOPE = 0.05
# Share of genuine queries that may be told "nothing similar"; the smallest that turns enough strangers away is taken.
QUANTILES: tuple[float, ...] = (0.005, 0.01, 0.02, 0.05)
_ENOUGH_REFUSED = 0.95


@dataclass(frozen=True)
class CalibrationError:
    """How far probabilities are off, over all labels and queries.

    Attributes:
        brier: Mean squared difference between probability and truth.
        log_loss: Mean negative log likelihood, probabilities clipped to 1e-6.
        ece: Expected calibration error: mean |share of positives - mean probability| over ten bins with equal numbers
            of predictions, weighted by size.
    """

    brier: float
    log_loss: float
    ece: float


def calibration_error(truth: BoolMatrix, probabilities: NDArray[np.floating]) -> CalibrationError:
    """Errors of probabilities, shape (n_queries, n_labels) like the truth.

    Args:
        truth: (n_queries, n_labels).
        probabilities: Same shape, 0 to 1.

    Returns:
        Brier score, expected calibration error, and the bins behind them.
    """
    y, p = truth.ravel().astype(np.float64), np.clip(probabilities.ravel().astype(np.float64), 1e-6, 1 - 1e-6)
    order = np.argsort(p, kind="stable")
    gaps = [abs(y[part].mean() - p[part].mean()) * len(part) for part in np.array_split(order, 10) if len(part)]
    return CalibrationError(
        brier=float(((p - y) ** 2).mean()),
        log_loss=float(-(y * np.log(p) + (1 - y) * np.log1p(-p)).mean()),
        ece=float(sum(gaps) / len(y)),
    )


def fit_curves(x: Doubles, truth: BoolMatrix) -> tuple[Doubles, Doubles]:
    """Slope and intercept of each label's logistic curve, shrunk to the pooled one.

    Platt's form (two parameters) rather than isotonic steps: most statements have too few positives for steps.
    Penalised likelihood by Newton's method, all labels at once.

    Args:
        x: Smoothed logits, shape (n_queries, n_labels).
        truth: Same shape.

    Returns:
        Slopes and intercepts, both of shape (n_labels,).
    """
    # The pooled curve: one label made of all of them, with a prior (1, 0) that its many queries overrule.
    slope, intercept = _newton(x.reshape(-1, 1), truth.reshape(-1, 1), np.array([1.0]), np.array([0.0]))
    n = x.shape[1]
    slopes, intercepts = _newton(x, truth, np.repeat(slope, n), np.repeat(intercept, n))
    return np.maximum(slopes, _LEAST_SLOPE), intercepts


def _newton(x: Doubles, truth: BoolMatrix, slope0: Doubles, intercept0: Doubles) -> tuple[Doubles, Doubles]:
    """Maximum a posteriori of slope and intercept of each column."""
    a, b = slope0.copy(), intercept0.copy()
    y = truth.astype(np.float64)
    precision_a, precision_b = SLOPE_SD**-2, INTERCEPT_SD**-2

    def loss(a: Doubles, b: Doubles) -> Doubles:
        z = a * x + b
        fit = (np.logaddexp(0.0, z) - y * z).sum(axis=0)
        return np.asarray(fit + 0.5 * precision_a * (a - slope0) ** 2 + 0.5 * precision_b * (b - intercept0) ** 2)

    current = loss(a, b)
    for _ in range(100):
        p = 1.0 / (1.0 + np.exp(-np.clip(a * x + b, -500, 500)))
        w = p * (1.0 - p)
        ga = ((p - y) * x).sum(axis=0) + precision_a * (a - slope0)
        gb = (p - y).sum(axis=0) + precision_b * (b - intercept0)
        haa, hab, hbb = (w * x * x).sum(axis=0) + precision_a, (w * x).sum(axis=0), w.sum(axis=0) + precision_b
        det = haa * hbb - hab**2
        step_a, step_b = (hbb * ga - hab * gb) / det, (haa * gb - hab * ga) / det
        # A full Newton step may overshoot where curves are steep; halve it until the loss does not rise.
        size = np.ones_like(a)
        for _ in range(30):
            tried = loss(a - size * step_a, b - size * step_b)
            worse = tried > current + 1e-12
            if not worse.any():
                break
            size = np.where(worse, size / 2, size)
        a, b, current = a - size * step_a, b - size * step_b, tried
        if max(np.abs(size * step_a).max(), np.abs(size * step_b).max()) < 1e-8:
            break
    return a, b


def fit_threshold(
    inside: NDArray[np.floating],
    outside: NDArray[np.floating] | None = None,
    *,
    quantile: float | None = None,
    outside_words: str = "",
) -> Threshold:
    """The score below which the best hit is not called similar.

    Args:
        inside: Best scores of genuine queries (held-out ECGs), shape (n,).
        outside: Best scores of queries that have nothing similar (other pictures, noise), shape (m,).
        quantile: Share of genuine queries to give up; None takes the smallest of `QUANTILES` that turns 95 % of
            the outside queries away, the largest where none does, and 1 % where there are none.
        outside_words: What the outside queries are.

    Returns:
        The threshold with the shares that it refuses.

    Raises:
        QueryError: No genuine queries.
    """
    if len(inside) == 0:
        raise QueryError("no best scores of genuine queries to take a threshold from")
    out = np.asarray([] if outside is None else outside, dtype=np.float64)
    chosen = quantile
    if chosen is None:
        enough = [q for q in QUANTILES if len(out) and (out < np.quantile(inside, q)).mean() >= _ENOUGH_REFUSED]
        chosen = enough[0] if enough else QUANTILES[-1] if len(out) else 0.01
    score = float(np.quantile(inside, chosen))
    return Threshold(
        score=round(score, 4),
        quantile=chosen,
        inside_refused=float((np.asarray(inside) < score).mean()),
        outside_refused=float((out < score).mean()) if len(out) else float("nan"),
        n_inside=len(inside),
        n_outside=len(out),
        outside=outside_words,
    )


def _logits(neighbours: Neighbours, gallery: BoolMatrix, rule: VoteRule) -> tuple[Doubles, Doubles]:
    """Smoothed logits of the votes, and the priors: shares in the gallery, kept off 0."""
    prior = (gallery.sum(axis=0) + 0.5) / (len(gallery) + 1.0)
    votes = vote_scores(neighbours, gallery, rule.k, rule.tau)
    return np.asarray(smoothed_logit(votes.astype(np.float64), rule.k, prior)), np.asarray(prior)


def fit_calibration(
    neighbours: Neighbours,
    query_statements: BoolMatrix,
    gallery_statements: BoolMatrix,
    space: LabelSpace,
    *,
    encoder: str,
    statements: VoteRule,
    superclasses: VoteRule,
    thresholds: Mapping[str, Threshold] | None = None,
    fitted_on: str = "",
) -> Calibration:
    """Fit all curves on held-out queries.

    Args:
        neighbours: At least as deep as both rules, of queries that no training has seen.
        query_statements, gallery_statements: Multi-hot, columns in the order of `space.codes`.
        encoder: Fingerprint of the encoder that made the vectors.
        statements, superclasses: Depth and temperature of each family.
        thresholds: From `fit_threshold`, by kind of query.
        fitted_on: Data, in words.

    Returns:
        Curves, rules and thresholds of this encoder.
    """
    curves: dict[str, tuple[float, float, float]] = {}
    families = (
        (space.codes, query_statements, gallery_statements, statements, ""),
        (
            space.superclasses,
            space.superclass_matrix(query_statements),
            space.superclass_matrix(gallery_statements),
            superclasses,
            "super:",
        ),
    )
    for names, truth, gallery, rule, prefix in families:
        x, prior = _logits(neighbours, gallery, rule)
        slopes, intercepts = fit_curves(x, truth)
        for i, name in enumerate(names):
            curves[prefix + name] = (float(slopes[i]), float(intercepts[i]), float(prior[i]))
    return Calibration(
        encoder=encoder,
        statements=statements,
        superclasses=superclasses,
        curves=curves,
        thresholds=dict(thresholds or {}),
        n_gallery=len(gallery_statements),
        fitted_on=fitted_on,
    )


def cross_fitted(
    neighbours: Neighbours, truth: BoolMatrix, gallery: BoolMatrix, rule: VoteRule, patients: Ints, folds: int = 5
) -> Floats:
    """Calibrated probabilities of each query by curves that were fitted on other patients, shape like `truth`.

    The honest way to say how good a calibration is on the very queries it is fitted on in the end.

    Args:
        neighbours: Of the queries.
        truth: Their labels, (n_queries, n_labels).
        gallery: Labels of the cases, (n_gallery, n_labels).
        rule: Depth and temperature.
        patients: Number of each query's patient.
        folds: Parts of the cross-fitting.

    Returns:
        Probabilities, float32 (n_queries, n_labels).
    """
    x, _ = _logits(neighbours, gallery, rule)
    distinct, of = np.unique(patients, return_inverse=True)
    part = np.random.default_rng(0).permutation(len(distinct))[of] % folds
    out = np.empty(x.shape, dtype=np.float32)
    for i in range(folds):
        slopes, intercepts = fit_curves(x[part != i], truth[part != i])
        z = slopes * x[part == i] + intercepts
        out[part == i] = 1.0 / (1.0 + np.exp(-np.clip(z, -500, 500)))
    return out
