"""Any arm's vectors aligned with the same language model: what a way to see an ECG gives for its report.

Qiu et al. aligned a vision transformer with a language model. Training text towers for every arm would cost hours, so
all arms are aligned alike and in closed form: whitened principal components of both sides, then the singular vectors of
their cross-covariance (canonical correlation in those subspaces), fitted on the gallery alone. All parts are
scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgkin.generation.research.retrieval.bootstrap import (
    Doubles,
    Interval,
    holm,
    mean_interval,
    paired_p,
    resampled_mean,
)
from ecgkin.generation.research.retrieval.cross_modal import RECALL_KS, evaluate_cross_modal
from ecgkin.generation.research.retrieval.ranking import Floats, unit_rows
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXlRow
from ecgkin.retrieval.errors import QueryError

COMPONENTS, SHARED = 128, 64
_LEAST_VARIANCE = 1e-6
MEASURED = (("ecg->report", "strict"), ("report->ecg", "strict"), ("ecg->report", "duplicates"))


@dataclass(frozen=True)
class AlignedResult:
    """One arm.

    Attributes:
        recall: "ecg->report strict R@10" and its like.
        resampled: R@10 of each of `MEASURED` over the resamples.
    """

    recall: Mapping[str, Interval]
    resampled: Mapping[str, Doubles]


def align(ecgs: Floats, texts: Floats, new_ecgs: Floats, new_texts: Floats) -> tuple[Floats, Floats]:
    """Both sides of new pairs in the space that pairs at hand agree on, unit rows, (n, <= 64).

    Args:
        ecgs, texts: Vectors of the pairs at hand, shapes (n, dim_e) and (n, dim_t).
        new_ecgs, new_texts: Vectors to place.

    Returns:
        Unit rows of ECGs and of texts, each (n, at most 64).

    Raises:
        QueryError: Fewer than 8 pairs, or sides of different length.
    """
    from sklearn.cross_decomposition import PLSSVD
    from sklearn.decomposition import PCA

    if len(ecgs) != len(texts) or len(ecgs) < 8:
        raise QueryError(f"{len(ecgs)} ECGs and {len(texts)} texts to align (expected as many, 8 or more)")
    sides = []
    for known, new in ((ecgs, new_ecgs), (texts, new_texts)):
        n = min(COMPONENTS, known.shape[1], len(known) - 1)
        reducer = PCA(n, whiten=True, svd_solver="randomized", random_state=0).fit(known)
        # A component without variance would be blown up by whitening until it is all that is heard.
        real = int((reducer.explained_variance_ > _LEAST_VARIANCE * reducer.explained_variance_[0]).sum())
        sides.append((reducer.transform(known)[:, :real], reducer.transform(new)[:, :real]))
    shared = min(SHARED, sides[0][0].shape[1], sides[1][0].shape[1])
    joint = PLSSVD(n_components=shared, scale=False).fit(sides[0][0], sides[1][0])
    # Directions count by how well the two sides agree on them: the last ones are noise as loud as the first otherwise.
    left, right = joint.transform(sides[0][0], sides[1][0])
    weight = np.clip((left * right).mean(axis=0) / (left.std(axis=0) * right.std(axis=0) + 1e-9), 0, 1)
    ecg, text = joint.transform(sides[0][1], sides[1][1])
    return unit_rows(np.asarray(ecg * weight, dtype=np.float32)), unit_rows(np.asarray(text * weight, dtype=np.float32))


def evaluate_aligned(
    ecgs: Floats,
    texts: Floats,
    new_ecgs: Floats,
    new_texts: Floats,
    rows: Sequence[PtbXlRow],
    weights: NDArray[np.float32],
) -> AlignedResult:
    """Recall between new ECGs and their reports after `align`.

    Args:
        ecgs, texts, new_ecgs, new_texts: See `align`.
        rows: Records of the new pairs.
        weights: Bootstrap weights, (resamples, n).

    Returns:
        Recalls with intervals, both ways.
    """
    joint = align(ecgs, texts, new_ecgs, new_texts)
    found = evaluate_cross_modal(*joint, rows, weights=weights, sub_gallery=len(rows))
    recall: dict[str, Interval] = {}
    resampled: dict[str, Doubles] = {}
    for key in MEASURED:
        for k in RECALL_KS:
            hit = (found.ranks[key] <= k).astype(np.float64)
            recall[f"{key[0]} {key[1]} R@{k}"] = mean_interval(hit, weights)
        resampled[f"{key[0]} {key[1]} R@10"] = resampled_mean(hit, weights)
    return AlignedResult(recall, resampled)


def aligned_tests(
    results: Mapping[str, AlignedResult], pairs: Sequence[tuple[str, str]]
) -> dict[str, tuple[float, float, float]]:
    """ "one - other: measure" -> (difference of R@10, p, Holm-adjusted p over all of them).

    Args:
        results: By arm.
        pairs: Names of the arms to compare.

    Returns:
        Key "one - other: measure"; difference of R@10, p, Holm-adjusted p.
    """
    raw, differences = {}, {}
    for one, other in pairs:
        for measure, drawn in results[one].resampled.items():
            name = f"{one} - {other}: {measure}"
            raw[name] = paired_p(drawn, results[other].resampled[measure])
            differences[name] = results[one].recall[measure].value - results[other].recall[measure].value
    adjusted = holm(raw)
    return {name: (differences[name], raw[name], adjusted[name]) for name in raw}
