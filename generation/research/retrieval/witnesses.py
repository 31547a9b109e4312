"""Three rows for every table of votes: the neighbours' vote, the encoder's own reading, and both weighed together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ecgkin.generation.research.retrieval.bootstrap import AucTable, Interval
from ecgkin.generation.research.retrieval.labels import default_space
from ecgkin.generation.research.retrieval.metrics import clean_columns, vote_scores
from ecgkin.generation.research.retrieval.ranking import Floats, Neighbours
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXlRow
from ecgkin.retrieval.encoders.witness import StatementHead
from ecgkin.retrieval.search.vote import SUPER, Calibration

VOTE, HEAD, BOTH = "vote", "head", "vote and head"


def evaluate_witnesses(
    vectors: Floats,
    found: Neighbours,
    queries: Sequence[PtbXlRow],
    gallery: Sequence[PtbXlRow],
    *,
    head: StatementHead,
    calibration: Calibration,
    weights: NDArray[np.float32],
) -> dict[str, Mapping[str, Interval]]:
    """Macro-AUCs of each, by "superclasses", "statements" and "statements (>= 10 positives)".

    Args:
        vectors: Of the queries, (n, dim).
        found: Their neighbours, as deep as the calibration votes.
        queries, gallery: Rows.
        head: Of the encoder.
        calibration: Says how deep the vote goes, and weighs vote and head where that was fitted.
        weights: How often each query is drawn, (n_resamples, n).

    Returns:
        "vote", "head" and "vote and head" (where it was fitted) -> family -> interval.
    """
    space = default_space()
    truth, known = (space.statements([row.labels for row in rows]) for rows in (queries, gallery))
    supers, known_supers = space.superclass_matrix(truth), space.superclass_matrix(known)
    said = head.of_vectors(vectors)
    place = {code: i for i, code in enumerate(said.codes)}
    has_super = np.asarray(supers.any(axis=1))
    out: dict[str, dict[str, Interval]] = {VOTE: {}, HEAD: {}, **({BOTH: {}} if calibration.joint else {})}
    ranked = found.rows.shape[1]
    for family, y, cases, rule, names in (
        ("superclasses", supers, known_supers, calibration.superclasses, [SUPER + n for n in space.superclasses]),
        ("statements", truth, known, calibration.statements, list(space.codes)),
    ):
        shares = vote_scores(found, cases, min(rule.k, ranked), rule.tau).astype(np.float64)
        read = said.probabilities[:, [place[name] for name in names]].astype(np.float64)
        scores = {VOTE: shares, HEAD: read}
        if calibration.joint:
            scores[BOTH] = np.array(
                [
                    calibration.joint_probabilities(names, *one)
                    for one in zip(shares, [rule.k] * len(y), read, strict=True)
                ]
            )
        rows = has_super if family == "superclasses" else np.ones(len(y), dtype=np.bool_)
        for name, score in scores.items():
            table = AucTable.of(y[rows], score[rows].astype(np.float32), weights[:, rows])
            out[name][family] = table.macro().interval
            if family == "statements":
                out[name]["statements (>= 10 positives)"] = table.macro(clean_columns(y)).interval
    return dict(out)
