"""The parts a filter is made of: each can say itself in SQL and can be asked of one case in Python."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from ecgkin.index.case import Case, iso_date
from ecgkin.retrieval.errors import QueryError, RecordError

COLUMNS = {
    "age": "age_years",
    "sex": "sex",
    "source": "source",
    "date": "recorded_at",
    "patient": "patient_id",
    "case": "case_id",
    "language": "language",
}
_OPS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ORDERED = ("age", "date")
_FOLDED = ("sex", "label", "language")
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


def fold(text: str) -> str:
    """Lower case for A to Z alone, as SQLite's NOCASE compares."""
    return text.translate(_LOWER)


@dataclass(frozen=True)
class Compare:
    """field op value; value None stands for "the case does not say"."""

    field: str
    op: str
    value: float | str | None

    def sql(self) -> tuple[str, list[Any]]:
        """Never NULL, so that NOT, AND and OR have two values as in Python."""
        column = COLUMNS[self.field]
        if self.value is None:
            return f"{column} IS {'NOT ' if self.op == '!=' else ''}NULL", []
        if self.op == "=":
            side = _prefix(column, self.value) if self.field == "date" else column
            return f"({column} IS NOT NULL AND {side} = ?)", [self.value]
        if self.op == "!=":
            side = _prefix(column, self.value) if self.field == "date" else column
            return f"({side} IS NOT ?)", [self.value]
        side = _prefix(column, self.value) if self.field == "date" else column
        return f"({column} IS NOT NULL AND {side} {self.op} ?)", [self.value]

    def matches(self, case: Case) -> bool:
        """The same in Python."""
        have = getattr(case, COLUMNS[self.field])
        if self.value is None or have is None:
            return (have is self.value) if self.op == "=" else (self.op == "!=" and have is not self.value)
        if self.field == "date":
            have = have[: len(str(self.value))]
        if self.field in _FOLDED:
            return _OPS[self.op](fold(have), fold(str(self.value)))
        return _OPS[self.op](have, self.value)


@dataclass(frozen=True)
class HasLabel:
    """The case names a statement, and its likelihood compares as said."""

    statement: str
    op: str | None = None
    likelihood: float = 0.0

    def sql(self) -> tuple[str, list[Any]]:
        """A look-up in the side table of labels, by its primary key."""
        extra, values = (
            ("", [self.statement])
            if self.op is None
            else (
                f" AND likelihood {self.op} ?",
                [self.statement, self.likelihood],
            )
        )
        return f"(cases.row IN (SELECT row FROM labels WHERE statement = ?{extra}))", values

    def matches(self, case: Case) -> bool:
        """The same in Python."""
        wanted = fold(self.statement)
        found = [likelihood for code, likelihood in case.labels.items() if fold(code) == wanted]
        return any(self.op is None or _OPS[self.op](value, self.likelihood) for value in found)


@dataclass(frozen=True)
class Not:
    """The part is false."""

    part: Node

    def sql(self) -> tuple[str, list[Any]]:
        """NOT (...)."""
        text, values = self.part.sql()
        return f"(NOT {text})", values

    def matches(self, case: Case) -> bool:
        """The same in Python."""
        return not self.part.matches(case)


@dataclass(frozen=True)
class Join:
    """All parts ("and") or at least one ("or"); no parts: true and false."""

    op: str
    parts: tuple[Node, ...]

    def sql(self) -> tuple[str, list[Any]]:
        """(... AND ...)."""
        if not self.parts:
            return ("(1)" if self.op == "and" else "(0)"), []
        texts, values = zip(*(part.sql() for part in self.parts), strict=True)
        return "(" + f" {self.op.upper()} ".join(texts) + ")", [v for more in values for v in more]

    def matches(self, case: Case) -> bool:
        """The same in Python."""
        return (all if self.op == "and" else any)(part.matches(case) for part in self.parts)


Node: TypeAlias = Compare | HasLabel | Not | Join


def compare(name: str, op: str, value: Any) -> Node:
    """One comparison with its value checked and in the type of its field.

    Raises:
        QueryError: The field has no such order, or the value is not of its kind.
    """
    if value is not None and not isinstance(value, str | int | float):
        raise QueryError(f"{name} is compared with a {type(value).__name__} (expected a text or a number)")
    if name == "label":
        found: Node = HasLabel(plain_text(str(value), name))
        if value is None or op not in ("=", "!="):
            raise QueryError("labels compare with = or != and a name (or write label:NAME>=50)")
        return found if op == "=" else Not(found)
    if op not in ("=", "!=") and (name not in _ORDERED or value is None):
        raise QueryError(f"{name} {op} {'none' if value is None else value} has no meaning (expected = or !=)")
    if value is None:
        return Compare(name, op, None)
    if name == "age":
        return Compare(name, op, number(value, "an age in years"))
    text = plain_text(str(value), name)
    if name == "date":
        try:
            text = iso_date(text)
        except RecordError as error:
            raise QueryError(str(error)) from None
    if name == "sex":
        text = {"female": "F", "male": "M"}.get(fold(text), text.upper())
        if text not in ("F", "M"):
            raise QueryError(f"sex is {value!r:.60} (expected F, M or none)")
    return Compare(name, op, text)


def operation(text: str) -> str:
    """One of the six comparisons in its usual spelling, or QueryError."""
    op = {"==": "=", "<>": "!="}.get(text, text)
    if op not in _OPS:
        raise QueryError(f"unknown comparison {text!r} (expected {' '.join(_OPS)})")
    return op


def number(value: Any, what: str) -> float:
    """The value as a finite number, or QueryError."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found) or isinstance(value, bool):
        raise QueryError(f"found {value!r:.60}, expected {what}")
    return found


def _prefix(column: str, value: Any) -> str:
    # Only the length of a checked date (4 to 26) enters the text, never the date.
    return f"substr({column}, 1, {len(str(value))})"


def plain_text(text: str, what: str) -> str:
    """The text itself, if it can be stored and sent as UTF-8, or QueryError."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise QueryError(f"{what} is {text!r:.60}, which holds half a character (expected valid Unicode)") from None
    return text
