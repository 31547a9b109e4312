"""From hits to statement probabilities: the weighted vote of the neighbours, calibrated where a calibration is known.

Where the encoder has a statement head (`retrieval.encoders.witness`), what it reads off the query itself is weighed
with the vote: one log-odds of each, with weights fitted on records that neither has seen.

The raw vote for a statement is the share of the neighbours that carry it, each weighted by exp(cos / tau). It ranks
well and is badly scaled: neighbours of a rare finding are mostly without it. A calibration, fitted on held-out
records with one encoder and valid for that encoder only, maps it to a probability, and says from which best score on
a case counts as similar at all.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, PlainSerializer, TypeAdapter

from ecgkin.retrieval.errors import EncoderMismatchError, ModelError, QueryError, why
from ecgkin.retrieval.notes import Note, NoteCode

# Without a calibration: depth and temperature that do reasonably with any encoder (issue 7: k = 50 for votes).
DEFAULT_K = 50
DEFAULT_TAU = 0.1
FORMAT: Literal[1] = 1

Doubles = NDArray[np.float64]
# JSON has neither inf nor NaN: null stands for them.
Temperature = Annotated[float, BeforeValidator(lambda value: math.inf if value is None else value), Field(gt=0)]
Share = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
Curve = Annotated[tuple[float, float, float], PlainSerializer(lambda curve: [round(value, 6) for value in curve])]
SUPER = "super:"  # before the name of a superclass, NORM being a statement too
# So many neighbours are enough for the curves, whatever depth they were fitted with: those behind them weigh little.
ENOUGH = 200
_CLIPPED = 1e-5  # of a probability before its log-odds are taken


@dataclass(frozen=True)
class VoteRule:
    """How one family of labels is voted on.

    Attributes:
        k: Neighbours that vote.
        tau: Temperature of their weights exp(cos / tau); inf gives every neighbour the same weight.
    """

    k: Annotated[int, Field(ge=1)] = DEFAULT_K
    tau: Temperature = DEFAULT_TAU


@dataclass(frozen=True)
class Threshold:
    """From which best score on something similar was found.

    Attributes:
        score: A best hit below this says "nothing similar".
        quantile: Share of genuine queries that lie below it, as it was asked for.
        inside_refused, outside_refused: Measured shares below it; NaN where none were at hand.
        n_inside, n_outside: How many of each were measured.
        outside: What the outside queries were, in words.
    """

    score: float
    quantile: float
    inside_refused: Share
    outside_refused: Share
    n_inside: int
    n_outside: int
    outside: str = ""


@dataclass(frozen=True)
class Calibration:
    """What was fitted for one encoder; see `generation.research.retrieval.calibrate.fit_calibration`.

    Attributes:
        encoder: Fingerprint of the encoder whose vectors were voted on.
        statements, superclasses: Depth and temperature for each family.
        curves: Label to (slope, intercept, prior): probability = sigmoid(slope * logit(smoothed vote) + intercept).
        joint: Label to (weight of the vote, weight of the reading, intercept): probability = sigmoid(weight * smoothed
            logit of the vote + weight * log-odds of the encoder's head + intercept). Empty for an encoder without one.
        thresholds: By kind of query: "record", "text", "image", and of pictures by how well they were read
            "image:sure", "image:fair", "image:poor" (see `PageEvidence.grade`); "image" where these are not given.
        n_gallery: Cases that voted when it was fitted.
        fitted_on: Data, in words.
        format: Of the file.
    """

    encoder: str
    statements: VoteRule
    superclasses: VoteRule
    curves: Mapping[str, Curve]
    thresholds: Mapping[str, Threshold] = field(default_factory=dict)
    n_gallery: int = 0
    fitted_on: str = ""
    joint: Mapping[str, Curve] = field(default_factory=dict)
    format: Literal[1] = FORMAT

    @property
    def depth(self) -> int:
        """Neighbours that both families were fitted with."""
        return max(self.statements.k, self.superclasses.k)

    @property
    def least(self) -> int:
        """Neighbours from which on the curves hold; with fewer the shares are told as they are."""
        return min(self.depth, ENOUGH)

    def probabilities(self, labels: Sequence[str], shares: Doubles, n_neighbours: int) -> Doubles:
        """The calibrated probabilities of raw votes; a label that was not fitted keeps its share.

        Args:
            labels: Statement codes, and superclasses with the prefix "super:".
            shares: Their votes, 0 to 1, shape (n_labels,).
            n_neighbours: How many voted.

        Returns:
            Shape (n_labels,).
        """
        fitted = [label in self.curves for label in labels]
        slope, intercept, prior = np.array([self.curves.get(label, (1.0, 0.0, 0.5)) for label in labels]).T
        x = slope * smoothed_logit(shares, n_neighbours, prior) + intercept
        return np.where(fitted, 1.0 / (1.0 + np.exp(-np.clip(x, -500.0, 500.0))), shares)

    def joint_probabilities(self, labels: Sequence[str], shares: Doubles, n_neighbours: int, read: Doubles) -> Doubles:
        """What vote and reading say together; a label without a reading, or not fitted, gets the vote's probability.

        Args:
            labels, shares, n_neighbours: As in `probabilities`.
            read: Probabilities of the encoder's head, shape (n_labels,); NaN where it says nothing.

        Returns:
            Shape (n_labels,).
        """
        alone = self.probabilities(labels, shares, n_neighbours)
        fitted = np.array([label in self.joint for label in labels]) & np.isfinite(read)
        of_vote, of_reading, intercept = np.array([self.joint.get(label, (0.0, 0.0, 0.0)) for label in labels]).T
        prior = np.array([self.curves.get(label, (1.0, 0.0, 0.5))[2] for label in labels])
        x = of_vote * smoothed_logit(shares, n_neighbours, prior) + intercept
        x = x + of_reading * log_odds(np.where(np.isfinite(read), read, 0.5))
        return np.where(fitted, 1.0 / (1.0 + np.exp(-np.clip(x, -500.0, 500.0))), alone)

    def as_json(self) -> str:
        """The calibration as a JSON text; `inf` and NaN are written as null."""
        return _document().dump_json(self, indent=1).decode() + "\n"

    def save(self, path: str | Path) -> None:
        """Write it beside the weights that it belongs to."""
        Path(path).write_text(self.as_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path, encoder: str | None = None) -> Calibration:
        """Read a calibration.

        Args:
            path: JSON file.
            encoder: Fingerprint that it must belong to; None to take any.

        Returns:
            The calibration.

        Raises:
            ModelError: The file is missing or not a calibration of this format.
            EncoderMismatchError: It was fitted for another encoder.
        """
        try:
            found = _document().validate_json(Path(path).read_bytes())
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{path} is no readable calibration: {why(error)}",
                hint="fit it again with `ecgkin evaluate retrieval --fit`",
            ) from error
        if encoder is not None and found.encoder != encoder:
            raise EncoderMismatchError(
                f"calibration {path} belongs to encoder {found.encoder[:12]}, loaded is {encoder[:12]}",
                hint="fit a calibration for this encoder, or go without: the raw vote is then shown",
            )
        return found


@lru_cache(maxsize=1)
def _document() -> TypeAdapter[Calibration]:
    """Reads and writes the JSON of a calibration."""
    return TypeAdapter(Calibration)


@dataclass(frozen=True)
class Vote:
    """What the neighbours say, and with them the encoder's own reading where it has one.

    Attributes:
        statements: Statement code to probability (or raw share), most probable first: of vote and reading together
            where both are there.
        superclasses: The same for the five superclasses.
        raw: Uncalibrated shares of all of them; superclasses have the prefix "super:".
        cases: The same by the vote alone, calibrated where the numbers are.
        reading: The same by the encoder's head alone; empty where there is none.
        n_neighbours: How many voted on the statements.
        calibrated: Whether the numbers are probabilities fitted on held-out records.
        note: Why not, or what limits them; None when there is nothing to say.
    """

    statements: Mapping[str, float]
    superclasses: Mapping[str, float]
    raw: Mapping[str, float]
    n_neighbours: int
    calibrated: bool
    note: Note | None = None
    cases: Mapping[str, float] = field(default_factory=dict)
    reading: Mapping[str, float] = field(default_factory=dict)

    @property
    def joint(self) -> bool:
        """Whether the probabilities are those of vote and reading together."""
        return self.calibrated and bool(self.reading)

    @property
    def probabilities(self) -> dict[str, float]:
        """Statements and superclasses in one mapping (NORM is both, and stands for the statement)."""
        return {**self.superclasses, **self.statements}

    def top(self, n: int = 10, at_least: float = 0.0) -> list[tuple[str, float]]:
        """The most probable statements, at most n, none below `at_least`.

        Args:
            n: Most statements.
            at_least: Least probability.

        Returns:
            Code and probability.
        """
        return [(code, p) for code, p in self.statements.items() if p >= at_least][:n]


def log_odds(p: NDArray[np.floating] | float) -> Any:
    """Log-odds of probabilities, finite at 0 and 1.

    Args:
        p: 0 to 1, any shape.

    >>> round(float(log_odds(0.5)), 3), round(float(log_odds(0.0)), 1)
    (0.0, -11.5)
    """
    clipped = np.clip(p, _CLIPPED, 1.0 - _CLIPPED)
    return np.log(clipped) - np.log1p(-clipped)


def smoothed_logit(share: NDArray[np.floating], n_neighbours: int, prior: NDArray[np.floating] | float) -> Any:
    """Logit of a vote to which one more neighbour was added that carries each label at its prior.

    Without that neighbour a share of 0 or 1, the rule for rare statements, would be infinite.

    Args:
        share: Votes, 0 to 1, any shape.
        n_neighbours: How many voted.
        prior: Share of each label in the gallery, above 0; broadcast to `share`.

    Returns:
        Logits, shape of `share`.
    """
    # Shares come from float32 sums and may pass 1 by a rounding error.
    clipped = np.clip(share, 0.0, 1.0)
    smooth = (n_neighbours * clipped + prior) / (n_neighbours + 1.0)
    return np.log(smooth) - np.log1p(-smooth)


def vote_weights(scores: NDArray[np.floating], tau: float) -> Doubles:
    """Weights exp(cos / tau) of the neighbours, summing to 1 a query.

    Args:
        scores: Cosines, shape (n_queries, k); -inf where there is no neighbour.
        tau: Temperature; inf gives every neighbour the same weight.

    Returns:
        Shape (n_queries, k); zeros for a query without neighbours.

    Raises:
        QueryError: tau is not positive.

    >>> vote_weights(np.array([[0.9, 0.9, 0.1]]), 0.01).round(3).tolist()
    [[0.5, 0.5, 0.0]]
    """
    if not tau > 0:
        raise QueryError(f"tau is {tau} (expected a positive number or inf)")
    present = np.isfinite(scores)
    best = np.where(present, scores, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    # Shifting by the best score leaves the ratios alone and keeps exp() from overflowing.
    shifted = np.where(present, scores - np.where(np.isfinite(best), best, 0.0), 0.0)
    weights = np.where(present, np.exp(shifted / np.float64(tau)), 0.0)
    total = weights.sum(axis=1, keepdims=True)
    return np.asarray(weights / np.where(total > 0, total, 1.0), dtype=np.float64)


def vote_shares(
    rows: NDArray[np.int64],
    scores: NDArray[np.floating],
    labels: NDArray[np.bool_],
    rule: VoteRule,
    dtype: type[np.floating] = np.float64,
) -> NDArray[np.floating]:
    """Share of each label among the nearest neighbours of each query, weighted by exp(cos / tau).

    Args:
        rows: Positions of the neighbours in the gallery, nearest first, shape (n_queries, n).
        scores: Their cosines, shape (n_queries, n); -inf where there is no neighbour.
        labels: Multi-hot labels of the gallery, shape (n_gallery, n_labels).
        rule: Depth and temperature.
        dtype: Of the sums; float32 halves the memory of large evaluations.

    Returns:
        Shape (n_queries, n_labels), of that type.
    """
    rows = rows[:, : rule.k]
    weights = vote_weights(scores[:, : rule.k], rule.tau).astype(dtype)
    values = labels.astype(dtype)
    out = np.empty((len(rows), labels.shape[1]), dtype=dtype)
    for start in range(0, len(rows), 512):
        part = slice(start, start + 512)
        out[part] = np.matmul(weights[part, None, :], values[rows[part]])[:, 0, :]
    return out


def _note(calibration: Calibration | None, n_scores: int, n_cases: int | None) -> Note | None:
    """Why a vote says less than it does where the calibration was fitted."""
    if calibration is None:
        return Note(NoteCode.VOTE_NOT_CALIBRATED)
    if n_scores < calibration.least:
        return Note(NoteCode.VOTE_TOO_SHALLOW, n=n_scores, depth=calibration.least)
    if n_cases is not None and n_cases * 4 < calibration.n_gallery:
        return Note(NoteCode.VOTE_OTHER_SIZE, n_gallery=calibration.n_gallery, n_cases=n_cases)
    return None


def vote(
    scores: Sequence[float],
    labels: Sequence[Collection[str]],
    *,
    calibration: Calibration | None = None,
    rule: VoteRule | None = None,
    n_cases: int | None = None,
    reading: Mapping[str, float] | None = None,
) -> Vote:
    """The vote of the neighbours on the 71 statements and 5 superclasses.

    Args:
        scores: Cosines of the neighbours, best first.
        labels: The statement codes that each of them carries (a mapping counts by its keys).
        calibration: Gives depth, temperature and curves. None: the raw shares are returned, and said to be raw.
        rule: Depth and temperature without a calibration.
        n_cases: Size of the case base, to say where it is much smaller than the one calibrated on.
        reading: What the encoder's head says of the query, by statement and "super:" superclass; it counts where the
            calibration has weights for it.

    Returns:
        Shares or probabilities, most probable first.

    Raises:
        QueryError: Scores and labels differ in number.
    """
    from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS, SUPERCLASSES

    if len(scores) != len(labels):
        raise QueryError(f"{len(scores)} scores and {len(labels)} label sets do not pair up")
    of_statements = calibration.statements if calibration else rule or VoteRule()
    of_superclasses = calibration.superclasses if calibration else rule or VoteRule()
    n = min(len(scores), of_statements.k)
    note = _note(calibration, len(scores), n_cases)
    fitted = calibration if calibration is not None and len(scores) >= calibration.least else None

    codes = [s.code for s in STATEMENTS]
    column = {code: i for i, code in enumerate(codes)}
    carried = np.zeros((len(labels), len(codes)), dtype=bool)
    # Labels outside the vocabulary have no column.
    held = [(row, column[code]) for row, case in enumerate(labels) for code in case if code in column]
    carried[tuple(np.array(held, dtype=np.int64).reshape(-1, 2).T)] = True
    belongs = np.array([[s.superclass == name for name in SUPERCLASSES] for s in STATEMENTS])
    rows, cosines = np.arange(len(labels))[None], np.asarray(scores, dtype=np.float64)[None]
    raw: dict[str, float] = {}
    alone: dict[str, float] = {}
    read = dict(reading or {})
    heard = read if fitted is not None and fitted.joint else {}
    if fitted is not None and reading is None and note is None:
        note = Note(NoteCode.READING_MISSING)
    final: list[dict[str, float]] = []
    for family, names, prefix, multi_hot in (
        (of_statements, codes, "", carried),
        (of_superclasses, list(SUPERCLASSES), SUPER, carried @ belongs),
    ):
        full_names = [prefix + name for name in names]
        shares = vote_shares(rows, cosines, multi_hot, family)[0]
        raw |= dict(zip(full_names, shares.tolist(), strict=True))
        shares = np.minimum(shares, 1.0)  # a sum of weights may pass 1 by a rounding error
        chances = fitted.probabilities(full_names, shares, family.k) if fitted else shares
        alone |= dict(zip(full_names, chances.tolist(), strict=True))
        if fitted and heard:
            said = np.array([heard.get(name, math.nan) for name in full_names])
            chances = fitted.joint_probabilities(full_names, shares, family.k, said)
        final.append(dict(sorted(zip(names, chances.tolist(), strict=True), key=lambda item: -item[1])))
    return Vote(
        statements=MappingProxyType(final[0]),
        superclasses=MappingProxyType(final[1]),
        raw=MappingProxyType(raw),
        n_neighbours=n,
        calibrated=fitted is not None,
        note=note,
        cases=MappingProxyType(alone),
        reading=MappingProxyType(heard),
    )
