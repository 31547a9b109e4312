"""What was understood of a query by words: typed parts that can be shown, changed and sent back.

A part is one finding, one limit or some words. Findings that are denied and limits of age and sex filter; findings that
are asked for say which cases stand first; the rest is embedded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError

from ecgkin.retrieval.ecg.statements.find import Polarity
from ecgkin.retrieval.errors import QueryError, misfit

MAX_PARTS = 200
Joint = Literal["and", "or"]
Measure = Literal["rate_bpm", "pr_ms", "qrs_ms", "qt_ms", "qtc_ms", "axis_deg"]
Text = Annotated[str, Field(max_length=10_000)]
Bound = Annotated[float, Field(ge=-1_000, le=10_000, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class StatementPart:
    """One of the 71 statements.

    Attributes:
        code: SCP code.
        polarity: "present" or "possible" (asked for), "absent" (denied: such cases are left out).
        joined: To the finding before it; "and" binds tighter than "or".
        text: The words that said so.
    """

    code: Annotated[str, Field(min_length=1, max_length=40)]
    polarity: Polarity = "present"
    joined: Joint = "and"
    text: Text = ""
    kind: Literal["statement"] = "statement"


@dataclass(frozen=True, slots=True)
class ConceptPart:
    """A finding that is none of the 71: a family of them ("AV block"), or one that they do not hold ("Brugada").

    Attributes:
        code: Of `concepts.json`.
        polarity, joined, text: As of `StatementPart`.
    """

    code: Annotated[str, Field(min_length=1, max_length=40)]
    polarity: Polarity = "present"
    joined: Joint = "and"
    text: Text = ""
    kind: Literal["concept"] = "concept"


@dataclass(frozen=True, slots=True)
class SexPart:
    """Cases of one sex."""

    sex: Literal["F", "M"]
    text: Text = ""
    kind: Literal["sex"] = "sex"


@dataclass(frozen=True, slots=True)
class AgePart:
    """Cases of an age.

    Attributes:
        low, high: Years; None leaves that side open.
        text: The words that said so.
        over: Whether `low` itself is left out ("over 70").
        under: Whether `high` itself is left out ("under 50").
    """

    low: Bound | None = None
    high: Bound | None = None
    text: Text = ""
    kind: Literal["age"] = "age"
    over: bool = False
    under: bool = False


@dataclass(frozen=True, slots=True)
class MeasurePart:
    """Cases with a measured value between two bounds, in the unit of its name.

    Attributes:
        name: Of the value.
        low, high, text, over, under: As of `AgePart`.
    """

    name: Measure
    low: Bound | None = None
    high: Bound | None = None
    text: Text = ""
    kind: Literal["measure"] = "measure"
    over: bool = False
    under: bool = False

    def holds(self, value: float) -> bool:
        """Whether a value is within the bounds.

        >>> part = MeasurePart("qrs_ms", low=120, over=True)
        >>> part.holds(120), part.holds(121), MeasurePart("axis_deg", low=0).holds(-30)
        (False, True, False)
        """
        if self.low is not None and (value < self.low or (self.over and value == self.low)):
            return False
        return self.high is None or value < self.high or (value == self.high and not self.under)


@dataclass(frozen=True, slots=True)
class WordsPart:
    """Words that are embedded beside the names of what is asked for."""

    text: Text
    kind: Literal["words"] = "words"


@dataclass(frozen=True, slots=True)
class SpellingPart:
    """A word that was read as another one."""

    text: Text
    read_as: Text
    kind: Literal["spelling"] = "spelling"


@dataclass(frozen=True, slots=True)
class UnknownPart:
    """A word that nothing is known about; it is embedded with the others."""

    text: Text
    kind: Literal["unknown"] = "unknown"


@dataclass(frozen=True, slots=True)
class UnusedPart:
    """Words that were read and that no filter stands for: "not a 60-year-old", a number without a unit."""

    text: Text
    kind: Literal["unused"] = "unused"


Finding: TypeAlias = StatementPart | ConceptPart
Part: TypeAlias = Annotated[
    StatementPart | ConceptPart | SexPart | AgePart | MeasurePart | WordsPart | SpellingPart | UnknownPart | UnusedPart,
    Field(discriminator="kind"),
]


@dataclass(frozen=True, slots=True)
class Understood:
    """What was understood of words.

    Attributes:
        parts: In the order of the text; words that are embedded come behind them.
        known: Share of the words with a meaning that belong to the language of ECGs, 0 to 1.
        n_words: How many words with a meaning there are beside age and sex.
        is_sentence: Whether there are so many words, and so few of them names, that the names do not say it all.
    """

    parts: tuple[Part, ...]
    known: float = 1.0
    n_words: int = 1
    is_sentence: bool = False

    @property
    def wanted(self) -> tuple[tuple[Finding, ...], ...]:
        """What is asked for: one of these groups, all findings of it."""
        groups: list[list[Finding]] = []
        for part in self.parts:
            if isinstance(part, StatementPart | ConceptPart) and part.polarity != "absent":
                if part.joined == "or" or not groups:
                    groups.append([])
                groups[-1].append(part)
        return tuple(tuple(group) for group in groups)

    @property
    def denied(self) -> tuple[Finding, ...]:
        """What is denied."""
        return tuple(p for p in self.parts if isinstance(p, StatementPart | ConceptPart) and p.polarity == "absent")

    @property
    def measures(self) -> tuple[MeasurePart, ...]:
        """Limits of measured values."""
        return tuple(p for p in self.parts if isinstance(p, MeasurePart))

    @property
    def words(self) -> str:
        """The words that are embedded beside names."""
        return " ".join(p.text for p in self.parts if isinstance(p, WordsPart))

    @property
    def empty(self) -> bool:
        """Nothing but words was understood."""
        return not any(isinstance(p, StatementPart | ConceptPart | SexPart | AgePart | MeasurePart) for p in self.parts)

    def as_list(self) -> list[dict[str, Any]]:
        """The parts as plain JSON values."""
        return [asdict(part) for part in self.parts]


def parts_of(values: Iterable[Any]) -> tuple[Part, ...]:
    """Parts from plain JSON values, or as they are.

    Raises:
        QueryError: They are none, or more than 200.

    >>> parts_of([{"kind": "statement", "code": "AFIB", "polarity": "absent"}])[0].polarity
    'absent'
    """
    given = list(values)
    if len(given) > MAX_PARTS:
        raise QueryError(f"{len(given)} parts were understood (expected at most {MAX_PARTS})")
    plain = [asdict(value) if hasattr(value, "__dataclass_fields__") else value for value in given]
    try:
        return tuple(_adapter().validate_python(plain))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise QueryError(
            f"understood: {where}: {misfit(dict(first))}",
            hint='parts look like {"kind": "statement", "code": "AFIB", "polarity": "absent"}',
        ) from None


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[Sequence[Part]]:
    return TypeAdapter(Sequence[Part])
