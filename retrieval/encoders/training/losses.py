"""Losses of the three training stages.

Nothing here treats two ECGs with the same report or the same label set as negatives: every target is soft.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def jaccard(a: Tensor, b: Tensor, weights: Tensor | None = None) -> Tensor:
    """Jaccard index of label sets, optionally with a weight for each label.

    Args:
        a, b: 0/1 labels, shapes (n, n_labels) and (m, n_labels).
        weights: Shape (n_labels,), positive; rare labels may count more than sinus rhythm.

    Returns:
        (n, m), 1 where the sets are equal; two empty sets give 0.

    >>> jaccard(torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])).tolist()
    [[0.5, 1.0]]
    """
    left = a if weights is None else a * weights
    right = b if weights is None else b * weights
    shared = left @ b.T
    union = left.sum(1)[:, None] + right.sum(1)[None] - shared
    return shared / union.clamp(min=1e-6)


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence from `target` (rows sum to 1) to softmax(`logits`), both (n, m).

    Args:
        logits: (n, m).
        target: Probabilities, (n, m), rows summing to 1.

    Returns:
        A scalar.
    """
    entropy = (target * target.clamp(min=1e-9).log()).sum(1)
    return (entropy - (target * F.log_softmax(logits, dim=1)).sum(1)).mean()


def label_contrastive(
    vectors: Tensor, bank: Tensor, similarity: Tensor, exclude: Tensor, *, temperature: float, sharpness: float
) -> Tensor:
    """Neighbours in the space should be neighbours by label set (supervised contrastive with soft targets).

    Args:
        vectors: Unit rows (n, dim).
        bank: Unit rows (m, dim) to compare with.
        similarity: Label similarity 0..1, (n, m), for example Jaccard.
        exclude: True where a pair does not count (a record with itself), (n, m).
        temperature: Of the cosine.
        sharpness: Of the target, softmax(similarity / sharpness).

    Returns:
        A scalar.
    """
    logits = (vectors @ bank.T / temperature).masked_fill(exclude, -1e4)
    target = torch.softmax((similarity / sharpness).masked_fill(exclude, -1e4), dim=1)
    return soft_cross_entropy(logits, target)


def text_contrastive(
    vectors: Tensor, texts: Tensor, same: Tensor, ignore: Tensor, keep: Tensor, scale: Tensor
) -> Tensor:
    """CLIP loss (Radford 2021) in which equal reports share the positive mass and equal label sets are left out.

    Args:
        vectors: Unit rows (n, dim) of ECGs.
        texts: Unit rows (n, dim) of their reports.
        same: True where two rows carry the same report, (n, n), True on the diagonal.
        ignore: True where a pair is neither positive nor negative, (n, n).
        keep: False for rows whose report says nothing, (n,).
        scale: Inverse temperature, a scalar.

    Returns:
        A scalar.
    """
    if not bool(keep.any()):
        return vectors.sum() * 0.0
    logits = (vectors @ texts.T * scale).masked_fill(ignore & ~same, -1e4)
    target = same.float() / same.float().sum(1, keepdim=True)
    rows = -(target * F.log_softmax(logits, dim=1)).sum(1)[keep].mean()
    columns = -(target * F.log_softmax(logits.T, dim=1)).sum(1)[keep].mean()
    return (rows + columns) / 2


def distillation(
    vectors: Tensor, rows: Tensor, bank: Tensor, *, temperature: float, own_share: float
) -> tuple[Tensor, Tensor]:
    """Pull drawings to the place that the signal network gives their record, and to its relations with all others.

    Args:
        vectors: Unit rows (n, dim) of drawings.
        rows: Row of each drawing's record in `bank`, (n,).
        bank: The signal network's unit vectors of all training records, (m, dim).
        temperature: Of both softmaxes over the bank.
        own_share: Share of the target that lies on the record itself: 0 keeps only relations, 1 only identity. It is
            what lets a photo find the same ECG among thousands of similar ones.

    Returns:
        Mean of 1 - cosine to the record's own place, and the divergence over the bank.
    """
    teacher = bank[rows]
    logits = vectors @ bank.T / temperature
    with torch.no_grad():
        target = torch.softmax(teacher @ bank.T / temperature, dim=1) * (1 - own_share)
        target[torch.arange(len(rows), device=rows.device), rows] += own_share
    return 1 - (vectors * teacher).sum(1).mean(), soft_cross_entropy(logits, target)
