"""From which evidence on the consensus drafter states a finding: per statement, one encoder each.

Where the encoder has a head, the threshold is on the probability that vote and head give together; without one it is on
the raw share of the neighbours. Head, weights and thresholds are all fitted on the gallery by cross-fitting over
patients (`generation.research.fit`), so that nothing was fitted on the queries that drafts are measured on. The file
lies beside the encoder's weights.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecgkin.generation.measures.evidence import MeasuredModel
from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS
from ecgkin.retrieval.errors import EcgkinError, EncoderMismatchError, ModelError, why
from ecgkin.retrieval.search.vote import SUPER, Vote

_LOG = logging.getLogger(__name__)

FILE_NAME = "draft_thresholds.json"
FORMAT = 3
# Without a fitted file: a finding that one neighbour in three carries is worth naming as possible, and it is what the
# rule "half of the best F1" (Lipton et al. 2014) gives for the mean F1 of the well-measured statements, about 0.65.
DEFAULT_THRESHOLD = 0.33
# No finding is stated whose probability is below this, whatever its F1: six of seven such sentences would be wrong.
FLOOR = 0.15
_LEAST_SHARE = 0.005
SUPERCLASS_OF: Mapping[str, str | None] = {s.code: s.superclass for s in STATEMENTS}


@dataclass(frozen=True)
class Passing:
    """What may be stated of one ECG.

    Attributes:
        statements: Code to probability, most probable first.
        margins: Code to the log-odds by which its share lies above its threshold, of all 71.
        superclass_margins: The same for the five superclasses.
    """

    statements: Mapping[str, float]
    margins: Mapping[str, float] = field(default_factory=dict)
    superclass_margins: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class DraftThresholds:
    """Thresholds of one encoder.

    Attributes:
        encoder: Fingerprint; "" for the default that fits none in particular.
        statements: Statement code to threshold on the share of the neighbours.
        superclasses: Superclass to threshold, likewise.
        reading: Statement, or "super:" superclass, to threshold on the probability of the encoder's head.
        joint: The same on the probability of vote and head together.
        measured: What measurements of the samples add to vote and head, by statement or "super:" superclass; empty
            where that was not fitted.
        default: For what is not listed.
        fitted_on: Data, in words.
        f1: Cross-validated macro-F1 by the names of the mappings, NaN-free; empty for the default.
    """

    encoder: str = ""
    statements: Mapping[str, float] = field(default_factory=dict)
    superclasses: Mapping[str, float] = field(default_factory=dict)
    reading: Mapping[str, float] = field(default_factory=dict)
    joint: Mapping[str, float] = field(default_factory=dict)
    measured: Mapping[str, MeasuredModel] = field(default_factory=dict)
    default: float = DEFAULT_THRESHOLD
    fitted_on: str = ""
    f1: Mapping[str, float] = field(default_factory=dict)

    def share_margin(self, vote: Vote, code: str) -> float:
        """Log-odds by which the share of a statement lies above its threshold; negative below it.

        Args:
            vote: Of the neighbours.
            code: SCP code.

        Returns:
            Log-odds.
        """
        return _logit(vote.raw[code]) - _logit(self.statements.get(code, self.default))

    def reading_margin(self, vote: Vote, code: str) -> float:
        """The same for the probability that the encoder's head gives.

        Args:
            vote: With a reading.
            code: SCP code.

        Returns:
            Log-odds; 0 and more is above the threshold.
        """
        return _logit(vote.reading.get(code, 0.0)) - _logit(self.reading.get(code, self.default))

    def margin(self, vote: Vote, code: str) -> float:
        """The same for what is decided by: vote and head together, or the share where there is no head.

        Args:
            vote: Of the neighbours.
            code: SCP code.

        Returns:
            Log-odds; 0 and more is above the threshold.
        """
        if vote.joint and self.joint:
            return _logit(vote.statements[code]) - _logit(self.joint.get(code, self.default))
        return self.share_margin(vote, code)

    def superclass_margin(self, vote: Vote, name: str) -> float:
        """The same for a superclass.

        Args:
            vote: Of the neighbours.
            name: One of the five superclasses.

        Returns:
            Log-odds.
        """
        if vote.joint and self.joint:
            return _logit(vote.superclasses[name]) - _logit(self.joint.get(SUPER + name, self.default))
        return _logit(vote.raw[SUPER + name]) - _logit(self.superclasses.get(name, self.default))

    def supports(self, vote: Vote, code: str) -> bool:
        """Whether the vote is for a statement.

        Args:
            vote: Of the neighbours.
            code: SCP code.

        Returns:
            True where share and probability reach their limits.
        """
        return self.margin(vote, code) >= 0 and vote.statements[code] >= FLOOR

    def passing(self, vote: Vote, carried: Collection[str] | None = None, refined: Refined | None = None) -> Passing:
        """What is to be stated.

        A statement passes by its own threshold, and a diagnostic one only where its superclass passes too; where a
        superclass passes and none of its statements does, the one nearest to its threshold is taken.

        Args:
            vote: Of the neighbours.
            carried: Statements that a neighbour carries; others pass only where the encoder's head reads them. None
                for all with a vote.
            refined: Probability and margin of statements that measurements had a say in, from `refine`.

        Returns:
            Codes with probability and margin.
        """
        own = refined or {}
        margins = {code: own[code][1] if code in own else self.margin(vote, code) for code in vote.statements}
        supers = {
            name: own[SUPER + name][1] if SUPER + name in own else self.superclass_margin(vote, name)
            for name in vote.superclasses
        }
        read = {code for code in vote.statements if vote.joint and self.reading_margin(vote, code) >= 0}
        known = {
            code: own[code][0] if code in own else p
            for code, p in vote.statements.items()
            if (p > 0 if carried is None else code in carried) or code in own or code in read
        }
        out = {code: p for code, p in known.items() if margins[code] >= 0 and p >= FLOOR}
        for name, margin in supers.items():
            members = [code for code in known if SUPERCLASS_OF[code] == name]
            if margin < 0:
                for code in members:
                    # What was measured does not need the neighbours' consent, unless its superclass was measured, too.
                    if code not in own or SUPER + name in own:
                        out.pop(code, None)
            elif not any(code in out for code in members):
                likely = [code for code in members if known[code] >= FLOOR]
                if likely:
                    best = max(likely, key=lambda c: margins[c])
                    out[best] = known[best]
        return Passing(dict(sorted(out.items(), key=lambda item: -item[1])), margins, supers)

    def refine(self, vote: Vote, values: Mapping[str, float]) -> Refined:
        """Probability and margin of the statements that measurements have a say in.

        Args:
            vote: Of the neighbours.
            values: From `measures.evidence.evidence_values`; empty where nothing was measured, and then nothing is
                refined.

        Returns:
            Probabilities and margins by code.
        """
        if not values:
            return {}
        out = {}
        for code, model in self.measured.items():
            name = code.removeprefix(SUPER)
            own = vote.superclasses[name] if name != code else vote.statements[code]
            # No neighbour in fifty is no proof that there is none in a thousand.
            p = model.probability(own if vote.calibrated else max(own, _LEAST_SHARE), values)
            out[code] = (p, _logit(p) - _logit(model.threshold))
        return out

    def save(self, path: str | Path) -> None:
        """Write the JSON file."""
        content: dict[str, Any] = {"format": FORMAT, "encoder": self.encoder, "fitted_on": self.fitted_on}
        content |= {"default": self.default, "f1": _rounded(self.f1)}
        content |= {"superclasses": _rounded(self.superclasses), "statements": _rounded(self.statements)}
        content |= {"reading": _rounded(self.reading), "joint": _rounded(self.joint)}
        content["measured"] = {code: model.as_dict() for code, model in self.measured.items()}
        Path(path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path, encoder: str | None = None) -> DraftThresholds:
        """Read the JSON file.

        Args:
            path: The file.
            encoder: Fingerprint that it must belong to; None to take any.

        Returns:
            The thresholds.

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
                for name in ("statements", "superclasses", "reading", "joint", "f1")
            }
            found = cls(
                encoder=str(raw["encoder"]),
                default=float(raw["default"]),
                fitted_on=str(raw["fitted_on"]),
                measured={str(code): MeasuredModel.of(value) for code, value in raw["measured"].items()},
                **numbers,
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                f"{path} is no readable file of draft thresholds: {why(error)}",
                hint="fit it again: ecgkin evaluate drafts --fit",
            ) from error
        if encoder is not None and found.encoder != encoder:
            raise EncoderMismatchError(
                f"draft thresholds {path} belong to encoder {found.encoder[:12]}, loaded is {encoder[:12]}",
                hint="fit them for this encoder, or go without",
            )
        return found


# Statement code -> probability and margin, where measurements had a say.
Refined = Mapping[str, tuple[float, float]]


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


def _logit(p: float) -> float:
    # A share of 0 lies below every threshold, however low.
    clipped = min(max(p, 1e-6), 1 - 1e-6)
    return math.log(clipped) - math.log1p(-clipped)


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {key: round(float(value), 4) for key, value in values.items()}
