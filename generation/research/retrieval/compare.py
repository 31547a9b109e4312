"""Arm against arm on the same queries: paired bootstrap, permutation test, Holm; ranking measures by ir-measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgkin.generation.research.retrieval.bootstrap import Doubles, holm, paired_p
from ecgkin.generation.research.retrieval.labels import BoolMatrix, LabelledRow, default_space, set_numbers
from ecgkin.generation.research.retrieval.metrics import identical_share, ndcg_jaccard
from ecgkin.generation.research.retrieval.ranking import Ints, Neighbours

CURVE_KS: tuple[int, ...] = (1, 2, 3, 5, 10, 20, 50, 100)
_BATCH = 500


@dataclass(frozen=True)
class PairedTest:
    """One measure of two arms.

    Attributes:
        first, second, measure: What is compared.
        difference: Value of the first minus that of the second.
        bootstrap_p: Two-sided, over patients.
        permutation_p: Two-sided, signs of the patients' mean differences swapped; None for a measure that is no mean
            over queries (an AUC).
        holm_p: The permutation test's where there is one, else the bootstrap's, adjusted over all tests of a table. A
            bootstrap of n resamples knows no p below 2 / (n + 1): with many tests it takes thousands of them.
    """

    first: str
    second: str
    measure: str
    difference: float
    bootstrap_p: float
    permutation_p: float | None
    holm_p: float


def per_query(found: Neighbours, queries: Sequence[LabelledRow], gallery: Sequence[LabelledRow]) -> dict[str, Doubles]:
    """The measures that are means over queries, one number a query.

    Args:
        found: The ranking.
        queries, gallery: Labels of both sides.

    Returns:
        Measure -> one number a query, (n_queries,).
    """
    space = default_space()
    truth, known = (space.statements([row.labels for row in rows]) for rows in (queries, gallery))
    supers, known_supers = space.superclass_matrix(truth), space.superclass_matrix(known)
    return {
        "P@10 superclass sets": identical_share(found, supers, known_supers, 10),
        "P@10 statement sets": identical_share(found, truth, known, 10),
        "nDCG@10": ndcg_jaccard(found, truth, known),
    }


def permutation_p(values: Doubles, others: Doubles, patients: Ints, permutations: int, seed: int = 0) -> float:
    """Two-sided p of "no difference" by swapping the arms of whole patients (scipy's paired permutation test).

    Args:
        values: One number a query, (n_queries,).
        others: The other arm's.
        patients: Number of each query's patient.
        permutations: How many.
        seed: Of the permutations.

    Returns:
        p, 0 to 1.
    """
    from scipy.stats import permutation_test

    valid = ~(np.isnan(values) | np.isnan(others))
    _, of = np.unique(patients[valid], return_inverse=True)
    counts = np.bincount(of)
    a, b = (np.bincount(of, weights=x[valid]) / counts for x in (values, others))
    if np.allclose(a, b):
        return 1.0

    def statistic(x: Doubles, y: Doubles, axis: int) -> Any:
        return (x - y).mean(axis=axis)

    done = permutation_test(
        (a, b), statistic, permutation_type="samples", vectorized=True, n_resamples=permutations, batch=_BATCH,
        rng=np.random.default_rng(seed),
    )  # fmt: skip
    return float(done.pvalue)


def paired_tests(
    pairs: Sequence[tuple[str, str]],
    resampled: Mapping[str, Mapping[str, Doubles]],
    values: Mapping[str, Mapping[str, float]],
    singles: Mapping[str, Mapping[str, Doubles]],
    measures: Sequence[str],
    patients: Ints,
    permutations: int,
) -> list[PairedTest]:
    """Arms against arms, adjusted over all of these tests together.

    Args:
        pairs: Names of the arms to compare.
        resampled, values: Arm to measure to its resamples, and to its value.
        singles: Arm to measure to one number a query, where the measure is their mean.
        measures: Which.
        patients: Number of each query's patient.
        permutations: Of the permutation test.

    Returns:
        One test for each pair and measure.
    """
    raw: dict[str, float] = {}
    swapped: dict[str, float] = {}
    for one, other in pairs:
        for measure in measures:
            key = f"{one}|{other}|{measure}"
            raw[key] = paired_p(resampled[one][measure], resampled[other][measure])
            if measure in singles.get(one, {}) and measure in singles.get(other, {}):
                swapped[key] = permutation_p(singles[one][measure], singles[other][measure], patients, permutations)
    adjusted = holm(raw | swapped)
    return [
        PairedTest(
            one, other, measure, values[one][measure] - values[other][measure],
            raw[key], swapped.get(key), adjusted[key],
        )
        for one, other in pairs
        for measure in measures
        for key in (f"{one}|{other}|{measure}",)
    ]  # fmt: skip


def ranking_measures(found: Neighbours, truth: BoolMatrix, known: BoolMatrix) -> dict[str, float]:
    """Success, precision and reciprocal rank by ir-measures; relevant is a case with the query's own statement set.

    Queries without such a case in the gallery are left out, as trec_eval leaves out topics without a judgement.

    Args:
        found: The ranking.
        truth: Statement sets of the queries, (n_queries, n_labels).
        known: Statement sets of the gallery, (n_gallery, n_labels).

    Returns:
        Figures by the names that ir-measures gives them.
    """
    import ir_measures
    from ir_measures import RR, P, Success

    of_queries, of_gallery = set_numbers(truth, known)
    wanted = [Success @ k for k in CURVE_KS if k <= found.rows.shape[1]] + [P @ 10, RR]
    qrels: list[Any] = []
    run: list[Any] = []
    members: dict[int, NDArray[np.int64]] = {int(n): np.flatnonzero(of_gallery == n) for n in np.unique(of_queries)}
    for i, number in enumerate(of_queries.tolist()):
        relevant = members[number]
        if not len(relevant):
            continue
        rows = found.rows[i]
        # None of these measures asks how many relevant cases were not ranked: one of them is enough to make a topic,
        # where a full list of judgements would be millions of lines.
        judged = np.union1d(np.intersect1d(relevant, rows), relevant[:1])
        qrels += [ir_measures.Qrel(str(i), str(j), 1) for j in judged.tolist()]
        # Rank, not score: equal scores were put in their fair order already.
        run += [ir_measures.ScoredDoc(str(i), str(j), float(-r)) for r, j in enumerate(rows[rows >= 0].tolist())]
    found_values = ir_measures.calc_aggregate(wanted, qrels, run)
    return {str(m): float(found_values[m]) for m in wanted}


def abstention_curve(
    truth: BoolMatrix, votes: NDArray[np.floating], best: NDArray[np.floating], coverages: Sequence[float]
) -> dict[float, float]:
    """Macro-AUC of the vote on the share of the queries whose nearest case is nearest.

    Args:
        truth, votes: Shape (n, n_labels).
        best: Cosine of the nearest case, (n,).
        coverages: Shares of the queries.

    Returns:
        Coverage -> macro-AUC.
    """
    from ecgkin.generation.research.retrieval.bootstrap import macro_auc

    order = np.argsort(-best, kind="stable")
    out = {}
    for share in coverages:
        kept = order[: max(2, round(share * len(order)))]
        out[float(share)] = macro_auc(
            truth[kept], votes[kept], np.empty((0, len(kept)), dtype=np.float32)
        ).interval.value
    return out
