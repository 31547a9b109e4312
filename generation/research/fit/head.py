"""Fits the statement head of an encoder: one logistic curve a label on its vectors, by cross-fitting over patients.

The curves are fitted together on standardised vectors with a ridge. Predictions for the records themselves come from
curves that have not seen the record's patient: they are what the weights of vote and head are fitted on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgkin.generation.research.retrieval.labels import BoolMatrix
from ecgkin.generation.research.retrieval.ranking import Floats
from ecgkin.retrieval.encoders.witness import StatementHead
from ecgkin.retrieval.errors import QueryError

_LOG = logging.getLogger(__name__)

RIDGE = 300.0
"""Weight of the squared coefficients (of standardised vectors) beside the summed log loss; chosen on PTB-XL fold 9."""
PARTS = 5
_STEPS = 60


@dataclass(frozen=True)
class Curves:
    """Log-odds = vector @ weight + bias.

    Attributes:
        weight: float32, (dim, n_labels).
        bias: float32, (n_labels,).
    """

    weight: Floats
    bias: Floats

    def log_odds(self, vectors: NDArray[np.floating]) -> Floats:
        """Of vectors (n, dim), shape (n, n_labels)."""
        return np.asarray(vectors @ self.weight + self.bias, dtype=np.float32)


def fit_curves(vectors: Floats, labels: BoolMatrix, ridge: float = RIDGE) -> Curves:
    """All curves at once, by L-BFGS on the whole table.

    Args:
        vectors: Unit rows, (n, dim).
        labels: Truth, (n, n_labels).
        ridge: See `RIDGE`.

    Returns:
        Weights (dim, n_labels) and biases.

    Raises:
        QueryError: The numbers of rows differ.
    """
    import torch

    if len(vectors) != len(labels) or not len(labels):
        raise QueryError(f"{len(vectors)} vectors and {len(labels)} rows of labels do not pair up")
    mean, spread = vectors.mean(axis=0), vectors.std(axis=0) + 1e-6
    x = torch.from_numpy(np.ascontiguousarray((vectors - mean) / spread, dtype=np.float32))
    y = torch.from_numpy(labels.astype(np.float32))
    share = (labels.sum(axis=0) + 0.5) / (len(labels) + 1.0)
    weight = torch.zeros((x.shape[1], y.shape[1]), requires_grad=True)
    bias = torch.tensor(np.log(share / (1 - share)), dtype=torch.float32, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        solver.zero_grad()
        z = torch.addmm(bias, x, weight)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(z, y, reduction="sum")
        loss = (loss + 0.5 * ridge * weight.square().sum()) / len(x)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]
    scaled = weight.detach().numpy() / spread[:, None]
    return Curves(scaled.astype(np.float32), (bias.detach().numpy() - mean @ scaled).astype(np.float32))


def cross_fitted(vectors: Floats, labels: BoolMatrix, parts: NDArray[np.integer], ridge: float = RIDGE) -> Floats:
    """Probabilities of each row by curves that were fitted on the other parts, (n, n_labels).

    Args:
        vectors, labels, ridge: As in `fit_curves`.
        parts: Part of each row; the records of one patient are in one part.

    Returns:
        Probabilities, float32 (n, n_labels).
    """
    out = np.empty(labels.shape, dtype=np.float32)
    for part in np.unique(parts):
        inside = parts != part
        z = fit_curves(vectors[inside], labels[inside], ridge).log_odds(vectors[~inside])
        out[~inside] = 1.0 / (1.0 + np.exp(-np.clip(z, -30.0, 30.0)))
        _LOG.info("head cross-fitted part=%d n=%d", part, int((~inside).sum()))
    return out


def fit_head(
    vectors: Floats,
    labels: BoolMatrix,
    codes: Sequence[str],
    image_fingerprint: str,
    *,
    about: Mapping[str, str],
    ridge: float = RIDGE,
) -> StatementHead:
    """The head to be shipped.

    Args:
        vectors, labels, ridge: As in `fit_curves`.
        codes: Names of the columns.
        image_fingerprint: Of the encoder that made the vectors.
        about: Data, command and figures, in words.

    Returns:
        The head, as it is kept beside the encoder's weights.
    """
    curves = fit_curves(vectors, labels, ridge)
    return StatementHead(image_fingerprint, tuple(codes), curves.weight, curves.bias, dict(about))
