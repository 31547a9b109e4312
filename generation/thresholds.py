"""From which probability on the consensus drafter states a finding: per statement, fitted by cross-validation.

For calibrated probabilities the threshold with the best F1 is half of that F1 (Lipton et al. 2014, "Optimal
thresholding of classifiers to maximize F1 measure"), so that rare statements that are hard to tell want low ones. A
threshold is valid for one encoder; the file lies beside its weights.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.statements import STATEMENTS
from ecgkin.retrieval.errors import EcgkinError, EncoderMismatchError, ModelError, QueryError
from ecgkin.retrieval.vote import Vote

_LOG = logging.getLogger(__name__)

FILE_NAME = "draft_thresholds.json"
FORMAT = 1
# Without a fitted file: a finding with one chance in three is worth naming as possible, and it is what the rule "half
# of the best F1" gives for the mean F1 of the well-measured statements (about 0.65).
DEFAULT_THRESHOLD = 0.33
# No finding is stated below this, whatever its F1: nine of ten such sentences would be wrong.
FLOOR = 0.1
SUPERCLASS_OF: Mapping[str, str | None] = {s.code: s.superclass for s in STATEMENTS}
_FOLDS = 5
# How far a statement's own threshold is pulled to the pooled one, in pseudo-positives; chosen by cross-validation.
_PULLS: tuple[float, ...] = (0.0, 5.0, 20.0, 100.0, 1e9)


@dataclass(frozen=True)
class DraftThresholds:
    """Thresholds of one encoder.

    Attributes:
        encoder: Fingerprint; "" for the default that fits none in particular.
        calibrated, raw: Statement code to threshold, on calibrated probabilities and on raw shares.
        superclasses, raw_superclasses: Superclass to threshold, likewise.
        default: For statements that are not listed.
        fitted_on: Data, in words.
        f1: Cross-validated macro-F1 by the names of the mappings, NaN-free; empty for the default.
    """

    encoder: str = ""
    calibrated: Mapping[str, float] = field(default_factory=dict)
    raw: Mapping[str, float] = field(default_factory=dict)
    superclasses: Mapping[str, float] = field(default_factory=dict)
    raw_superclasses: Mapping[str, float] = field(default_factory=dict)
    default: float = DEFAULT_THRESHOLD
    fitted_on: str = ""
    f1: Mapping[str, float] = field(default_factory=dict)

    def of(self, code: str, *, calibrated: bool) -> float:
        """The threshold of a statement."""
        return (self.calibrated if calibrated else self.raw).get(code, self.default)

    def of_superclass(self, name: str, *, calibrated: bool) -> float:
        """The threshold of a superclass."""
        return (self.superclasses if calibrated else self.raw_superclasses).get(name, self.default)

    def passing(self, vote: Vote, carried: Collection[str] | None = None) -> dict[str, float]:
        """Statements to be stated, most probable first, with their probabilities.

        A statement passes by its own threshold, and a diagnostic one only where its superclass passes too; where a
        superclass passes and none of its statements does, the one nearest to its threshold is taken. With log-spectrum
        neighbours on fold 9 this lifts the superclass macro-F1 from .527 to .551 and leaves that of the statements
        (.129 and .128).

        Args:
            vote: Of the neighbours.
            carried: Statements that a neighbour carries; others do not pass. None for all with a vote.
        """
        known = {c: p for c, p in vote.statements.items() if (p > 0 if carried is None else c in carried)}
        out = {code: p for code, p in known.items() if p >= self.of(code, calibrated=vote.calibrated)}
        for name, probability in vote.superclasses.items():
            own = [code for code in known if SUPERCLASS_OF[code] == name]
            if probability < self.of_superclass(name, calibrated=vote.calibrated):
                for code in own:
                    out.pop(code, None)
            elif not any(code in out for code in own):
                likely = [code for code in own if known[code] >= FLOOR]
                if likely:
                    best = max(likely, key=lambda c: known[c] / self.of(c, calibrated=vote.calibrated))
                    out[best] = known[best]
        return dict(sorted(out.items(), key=lambda item: -item[1]))

    def save(self, path: str | Path) -> None:
        """Write the JSON file."""
        content = {"format": FORMAT, **{name: _plain(getattr(self, name)) for name in self.__dataclass_fields__}}
        Path(path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path, encoder: str | None = None) -> DraftThresholds:
        """Read the JSON file.

        Args:
            path: The file.
            encoder: Fingerprint that it must belong to; None to take any.

        Raises:
            ModelError: It is missing or no such file.
            EncoderMismatchError: It belongs to another encoder.
        """
        try:
            raw = json.loads(Path(path).read_text(encoding="utf-8"))
            if raw["format"] != FORMAT:
                raise ValueError(f"format {raw['format']!r}, expected {FORMAT}")
            numbers = {
                name: {str(key): float(value) for key, value in raw[name].items()}
                for name in ("calibrated", "raw", "superclasses", "raw_superclasses", "f1")
            }
            found = cls(
                encoder=str(raw["encoder"]), default=float(raw["default"]), fitted_on=str(raw["fitted_on"]), **numbers
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                f"{path} is no readable file of draft thresholds: {error}",
                hint="fit it again: scripts/bench_draft.py fit",
            ) from error
        if encoder is not None and found.encoder != encoder:
            raise EncoderMismatchError(
                f"draft thresholds {path} belong to encoder {found.encoder[:12]}, loaded is {encoder[:12]}",
                hint="fit them for this encoder, or go without",
            )
        return found


def shipped_thresholds(encoder: Any) -> DraftThresholds:
    """The thresholds beside an encoder's weights, the default where there are none that belong to it."""
    folder: Any = getattr(encoder, "weights_dir", None)
    if folder is None:
        import ecgkin.retrieval.encoders as encoders

        folder = Path(encoders.__path__[0]) / "weights" / encoder.name
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        return DraftThresholds()
    try:
        return DraftThresholds.load(path, encoder.fingerprint)
    except EcgkinError as error:
        _LOG.warning("draft thresholds are the default ones: %s", error)
        return DraftThresholds()


def fit_thresholds(
    votes: NDArray[np.floating],
    labels: NDArray[np.bool_],
    *,
    groups: Sequence[int] | NDArray[np.integer] | None = None,
    seed: int = 0,
) -> tuple[NDArray[np.float64], float]:
    """The threshold of each column with the best F1, by cross-validation over groups.

    A column's own best threshold is averaged, in logits, with the best one of all columns together; how far it is
    pulled there (by how many pseudo-positives) is what gives the best macro-F1 on the parts left out.

    Args:
        votes: Probabilities or shares, shape (n, n_labels), of records that did not vote for themselves.
        labels: Truth, same shape.
        groups: Patient of each row; rows of one patient stay together. None: every row for itself.
        seed: Of the partition.

    Returns:
        Thresholds, shape (n_labels,), at least `FLOOR`; and the cross-validated macro-F1 over columns with a positive.

    Raises:
        QueryError: The shapes differ, or there are fewer rows than parts.
    """
    if votes.shape != labels.shape or votes.ndim != 2 or len(votes) < _FOLDS:
        raise QueryError(
            f"votes {votes.shape} and labels {labels.shape} (expected equal shapes, {_FOLDS} rows or more)"
        )
    of = np.arange(len(votes)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    part = np.random.default_rng(seed).permutation(int(of.max()) + 1)[of] % _FOLDS
    usable = labels.any(axis=0)
    hits = {pull: np.zeros((3, labels.shape[1])) for pull in _PULLS}
    for i in range(_FOLDS):
        inside = part != i
        for pull, thresholds in _pulled(votes[inside], labels[inside]).items():
            drafted = votes[~inside] >= thresholds
            truth = labels[~inside]
            hits[pull] += [(drafted & truth).sum(axis=0), drafted.sum(axis=0), truth.sum(axis=0)]
    scores = {pull: float(_f1(*counts)[usable].mean()) if usable.any() else 0.0 for pull, counts in hits.items()}
    best = max(_PULLS, key=lambda pull: (scores[pull], pull))
    return _pulled(votes, labels)[best], scores[best]


def _pulled(votes: NDArray[np.floating], labels: NDArray[np.bool_]) -> dict[float, NDArray[np.float64]]:
    """Thresholds of each column for each strength of the pull."""
    pooled = _best_threshold(votes.ravel(), labels.ravel())
    own = np.array([_best_threshold(votes[:, c], labels[:, c]) for c in range(votes.shape[1])])
    own = np.where(labels.any(axis=0), own, pooled)
    positives = labels.sum(axis=0)
    out = {}
    for pull in _PULLS:
        share = positives / np.maximum(positives + pull, 1e-9)
        mixed = share * _logit(own) + (1 - share) * _logit(np.asarray(pooled))
        out[pull] = np.maximum(1 / (1 + np.exp(-mixed)), FLOOR)
    return out


def _best_threshold(votes: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    """Half-way between the two votes where F1 is largest; 0.5 where nothing is true."""
    if not truth.any():
        return 0.5
    order = np.argsort(-votes, kind="stable")
    sorted_votes, right = votes[order].astype(np.float64), np.cumsum(truth[order])
    f1 = 2 * right / (np.arange(1, len(votes) + 1) + truth.sum())
    last = np.append(sorted_votes[1:] < sorted_votes[:-1], True)  # equal votes are drafted together
    at = int(np.argmax(np.where(last, f1, -1.0)))
    below = sorted_votes[at + 1] if at + 1 < len(votes) else 0.0
    return float((sorted_votes[at] + below) / 2)


def _f1(hit: NDArray[np.floating], drafted: NDArray[np.floating], true: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(2 * hit / np.maximum(drafted + true, 1), dtype=np.float64)


def _logit(p: NDArray[np.floating]) -> NDArray[np.float64]:
    clipped = np.clip(p, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(clipped) - np.log1p(-clipped), dtype=np.float64)


def _plain(value: Any) -> Any:
    return {key: round(float(item), 4) for key, item in value.items()} if isinstance(value, Mapping) else value
