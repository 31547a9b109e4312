"""Case retrieval (field task A): queries of one fold against the gallery of the others, all measures at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ecgkin.generation.research.retrieval import metrics
from ecgkin.generation.research.retrieval.bootstrap import (
    AucTable,
    Doubles,
    Interval,
    MacroAuc,
    macro_auc,
    mean_interval,
    patient_weights,
    resampled_mean,
)
from ecgkin.generation.research.retrieval.labels import BoolMatrix, LabelledRow, LabelSpace, default_space
from ecgkin.generation.research.retrieval.ranking import Floats, Neighbours, nearest_others, patient_numbers
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.search.vote import VoteRule

RANKED = max(metrics.VOTE_KS)


@dataclass(frozen=True)
class Rules:
    """Depth and temperature of the vote, for each family its own."""

    superclasses: VoteRule
    statements: VoteRule


@dataclass(frozen=True)
class CaseRetrievalResult:
    """Measures of one system; intervals are 95 % over patients.

    Attributes:
        n_queries, n_gallery, n_superclass_queries: Sizes; superclass AUC takes queries with a superclass only.
        rules: The vote that the headline figures were taken with.
        grid_superclasses, grid_statements: Macro-AUC by (k, tau).
        measures: Means with intervals by name: "P@10 superclass sets", "P@10 statement sets", the same with " (>= 10)"
            for queries with at least ten identical sets in the gallery, "nDCG@10", "nDCG@10 without SR, NORM".
        aucs: Macro-AUCs by name: "superclasses", "statements", "statements (>= 10 positives)", and those with
            " k=10".
        share_with_ten: Share of the queries with ten identical statement sets in the gallery.
        per_statement: Code to (AUC, positives among the queries).
        neighbours: The ranking itself, for run files and calibration.
        resampled: Resampled values by measure, for paired tests.
    """

    n_queries: int
    n_gallery: int
    n_superclass_queries: int
    rules: Rules
    grid_superclasses: dict[tuple[int, float], float]
    grid_statements: dict[tuple[int, float], float]
    measures: dict[str, Interval]
    aucs: dict[str, MacroAuc]
    share_with_ten: float
    per_statement: dict[str, tuple[float, int]]
    neighbours: Neighbours = field(repr=False)
    resampled: dict[str, Doubles] = field(repr=False)


def evaluate_case_retrieval(
    query_emb: Floats,
    gallery_emb: Floats,
    query_rows: Sequence[LabelledRow],
    gallery_rows: Sequence[LabelledRow],
    *,
    space: LabelSpace | None = None,
    rules: Rules | None = None,
    weights: NDArray[np.float32] | None = None,
) -> CaseRetrievalResult:
    """All measures of field.md 5.4.1 to 5.4.3 for embeddings.

    Args:
        query_emb, gallery_emb: Unit rows, float32, shapes (n_queries, dim) and (n_gallery, dim).
        query_rows, gallery_rows: Labels and patients in the same order.
        space: The statements; None for the 71.
        rules: Depths and temperatures; None chooses the best of the grid on these very queries, which is right for
            the validation fold only.
        weights: Bootstrap weights, shape (resamples, n_queries); drawn over patients when None.

    Returns:
        Figures with intervals.

    Raises:
        QueryError: Embeddings and rows do not fit together.
    """
    if len(query_emb) != len(query_rows) or len(gallery_emb) != len(gallery_rows):
        raise QueryError(
            f"{len(query_emb)} query and {len(gallery_emb)} gallery embeddings for {len(query_rows)} and "
            f"{len(gallery_rows)} rows"
        )
    found = nearest_others(query_emb, gallery_emb, RANKED, query_rows, gallery_rows)
    return evaluate_neighbours(found, query_rows, gallery_rows, space=space, rules=rules, weights=weights)


def evaluate_neighbours(
    found: Neighbours,
    query_rows: Sequence[LabelledRow],
    gallery_rows: Sequence[LabelledRow],
    *,
    space: LabelSpace | None = None,
    rules: Rules | None = None,
    weights: NDArray[np.float32] | None = None,
) -> CaseRetrievalResult:
    """The same for a ranking that is there already (at least 10 deep; depths beyond it are left out).

    Args:
        found: The ranking.
        query_rows, gallery_rows: Labels and patients, in its order.
        space: The statements; None for the 71.
        rules: See `evaluate_case_retrieval`.
        weights: See `evaluate_case_retrieval`.

    Returns:
        Figures with intervals.
    """
    space = space or default_space()
    truth, gallery = (space.statements([row.labels for row in rows]) for rows in (query_rows, gallery_rows))
    supers, gallery_supers = space.superclass_matrix(truth), space.superclass_matrix(gallery)
    if weights is None:
        weights = patient_weights(patient_numbers([row.patient_id for row in query_rows])[0])
    ranked = found.rows.shape[1]
    ks = [k for k in metrics.VOTE_KS if k <= ranked] or [ranked]
    has_super = supers.any(axis=1)
    grid_supers: dict[tuple[int, float], float] = {}
    grid_statements: dict[tuple[int, float], float] = {}
    none = np.empty((0, len(truth)), dtype=np.float32)
    both = np.concatenate([gallery, gallery_supers], axis=1)
    for tau in metrics.VOTE_TAUS:
        for k in ks:
            votes = metrics.vote_scores(found, both, k, tau)
            grid_statements[k, tau] = macro_auc(truth, votes[:, : truth.shape[1]], none).interval.value
            grid_supers[k, tau] = macro_auc(
                supers[has_super], votes[has_super, truth.shape[1] :], none[:, has_super]
            ).interval.value
    if rules is None:
        rules = Rules(superclasses=best_rule(grid_supers), statements=best_rule(grid_statements))
    aucs, columns = _aucs(found, truth, gallery, supers, gallery_supers, rules, weights)
    values, ten = _per_query(found, truth, gallery, supers, gallery_supers, space)
    return CaseRetrievalResult(
        n_queries=len(truth),
        n_gallery=len(gallery),
        n_superclass_queries=int(has_super.sum()),
        rules=rules,
        grid_superclasses=grid_supers,
        grid_statements=grid_statements,
        measures={name: mean_interval(value, weights) for name, value in values.items()},
        aucs=aucs,
        share_with_ten=float(ten.mean()),
        per_statement={c: (float(a), int(n)) for c, a, n in zip(space.codes, columns, truth.sum(axis=0), strict=True)},
        neighbours=found,
        resampled={
            **{f"AUC {name}": auc.resampled for name, auc in aucs.items()},
            **{name: resampled_mean(value, weights) for name, value in values.items()},
        },
    )


def best_rule(grid: dict[tuple[int, float], float]) -> VoteRule:
    """The (k, tau) with the largest AUC to three decimals; equal ones in favour of the smaller k, then the better."""
    k, tau = max(grid, key=lambda key: (round(float(np.nan_to_num(grid[key], nan=-1.0)), 3), -key[0], grid[key]))
    return VoteRule(k, tau)


def _aucs(
    found: Neighbours,
    truth: BoolMatrix,
    gallery: BoolMatrix,
    supers: BoolMatrix,
    gallery_supers: BoolMatrix,
    rules: Rules,
    weights: NDArray[np.float32],
) -> tuple[dict[str, MacroAuc], Doubles]:
    """Macro-AUCs at the chosen depth and at ten, and the AUC of each statement at the chosen depth."""
    ranked = found.rows.shape[1]
    has_super = supers.any(axis=1)
    clean = metrics.clean_columns(truth)
    out: dict[str, MacroAuc] = {}
    by_depth: list[Doubles] = []
    for suffix, depth in (("", RANKED), (" k=10", 10)):
        rule = rules.superclasses
        votes = metrics.vote_scores(found, gallery_supers, min(rule.k, depth, ranked), rule.tau)
        out["superclasses" + suffix] = macro_auc(supers[has_super], votes[has_super], weights[:, has_super])
        rule = rules.statements
        votes = metrics.vote_scores(found, gallery, min(rule.k, depth, ranked), rule.tau)
        table = AucTable.of(truth, votes, weights)
        out["statements" + suffix] = table.macro()
        out["statements (>= 10 positives)" + suffix] = table.macro(clean)
        by_depth.append(table.plain)
    return out, by_depth[0]


def _per_query(
    found: Neighbours,
    truth: BoolMatrix,
    gallery: BoolMatrix,
    supers: BoolMatrix,
    gallery_supers: BoolMatrix,
    space: LabelSpace,
) -> tuple[dict[str, Doubles], NDArray[np.bool_]]:
    """One number a query for each measure (NaN: not a query of it), and which queries have ten identical sets."""
    ten = metrics.identical_in_gallery(truth, gallery) >= 10
    ten_supers = metrics.identical_in_gallery(supers, gallery_supers) >= 10
    same = metrics.identical_share(found, truth, gallery, 10)
    same_supers = metrics.identical_share(found, supers, gallery_supers, 10)
    less, gallery_less, says_more = metrics.without_rhythm_and_normal(truth, gallery, space.codes)
    graded = metrics.ndcg_jaccard(found, less, gallery_less)
    shared = {k: metrics.shared_labels(found, truth, gallery, k) for k in metrics.SHARED_KS if k <= found.rows.shape[1]}
    return {
        "P@10 superclass sets": same_supers,
        "P@10 superclass sets (>= 10)": np.where(ten_supers, same_supers, np.nan),
        "P@10 statement sets": same,
        "P@10 statement sets (>= 10)": np.where(ten, same, np.nan),
        "nDCG@10": metrics.ndcg_jaccard(found, truth, gallery),
        "nDCG@10 without SR, NORM": np.where(says_more, graded, np.nan),
        **{f"hit@{k}": any_of_them for k, (any_of_them, _) in shared.items()},
        **{f"Jaccard@{k}": overlap for k, (_, overlap) in shared.items()},
    }, ten
