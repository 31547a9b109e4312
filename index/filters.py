"""`Where`: which cases may be found. A small language, its dictionary form, and their translation to SQL.

    age>=60 and sex=F and label:AFIB and not label:PACE and source=ptbxl and date<1990-01-01 and patient!=123
    (label:AFIB>=50 or label:AFLT) and case in (ptbxl/1, ptbxl/2)
    age=none or source="my folder"

Fields: age, sex, source, date, patient, case, language, label. A value with spaces, brackets or commas stands in
quotes (a doubled quote is a quote). `label:X` is true of every case that names X, whatever its likelihood;
`label:X>=50` compares the likelihood in percent. Dates compare at the precision that is written: `date<=1990` holds
the whole of 1990. What a case does not say is unequal to everything and neither smaller nor larger, so
`not age>=60` holds the cases of unknown age; `age=none` asks for them. Capitals do not matter in sex, label and
language (A to Z).

>>> where = Where.parse("age>=60 and not label:pace")
>>> where.matches(Case("x/1", age_years=71, labels={"AFIB": 100})), where.matches(Case("x/2"))
(True, False)
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ecgkin.index.case import Case, iso_date
from ecgkin.retrieval.errors import QueryError, RecordError

_HINT = 'write e.g. age>=60 and sex=F and label:AFIB and not label:PACE and date<1990-01-01, or source="my folder"'
# SQLite's parser stops at expressions 1,000 deep and 32,766 parameters; nobody types a tenth of that.
MAX_DEPTH = 60
MAX_TOKENS = 2000
MAX_PARTS = 2000  # comparisons in the dictionary form
OLDEST = 130  # years; PTB-XL's 300 (for "over 89") is read as such by its reader

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
        texts: list[str] = []
        values: list[Any] = []
        for part in self.parts:
            text, more = part.sql()
            texts.append(text)
            values += more
        # In pairs of pairs: SQLite reads "a OR b OR c ..." as deep as it has parts, and stops at 1,000.
        while len(texts) > 1:
            pairs = [f"({one} {self.op.upper()} {other})" for one, other in zip(texts[::2], texts[1::2], strict=False)]
            texts = pairs + texts[len(texts) // 2 * 2 :]
        return texts[0], values

    def matches(self, case: Case) -> bool:
        """The same in Python."""
        return (all if self.op == "and" else any)(part.matches(case) for part in self.parts)


Node: TypeAlias = Compare | HasLabel | Not | Join


def compare(name: str, op: str, value: Any) -> Node:
    """One comparison with its value checked and in the type of its field.

    Args:
        name: A field of `COLUMNS`, or "label".
        op: One of the six comparisons.
        value: Text or number; None for "the case does not say".

    Returns:
        The comparison, or its negation.

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
        years = number(value, "an age in years")
        if not 0 <= years <= OLDEST:
            raise QueryError(f"age {op} {value} (expected 0 to {OLDEST} years)", hint="over 89 is written age>89")
        return Compare(name, op, years)
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
    """The value as a finite number, or QueryError.

    Args:
        value: Text or number.
        what: What was expected, for the message.

    Returns:
        The number.
    """
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):  # JSON knows whole numbers of any length
        found = math.nan
    if not math.isfinite(found) or isinstance(value, bool):
        raise QueryError(f"found {value!r:.60}, expected {what}")
    return found


def _prefix(column: str, value: Any) -> str:
    # Only the length of a checked date (4 to 26) enters the text, never the date.
    return f"substr({column}, 1, {len(str(value))})"


def plain_text(text: str, what: str) -> str:
    """The text itself, if it can be stored and sent as UTF-8, or QueryError.

    Args:
        text: A value of a filter.
        what: The field, for the message.

    Returns:
        The text.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise QueryError(f"{what} is {text!r:.60}, which holds half a character (expected valid Unicode)") from None
    return text


@dataclass(frozen=True)
class Where:
    """A filter over cases; build it with `Where.parse`."""

    root: Node

    @classmethod
    def parse(cls, source: WhereLike) -> Where:
        """From the language, from the dictionary form, or a `Where` as it is. None and "" let every case through.

        The dictionary form joins its keys with "and": {"age": {">=": 60}, "sex": "F", "patient": {"!=": "123"},
        "label": ["AFIB", {"LVH": {">=": 50}}], "case": ["x/1", "x/2"], "not": {...}, "and": [...], "or": [...]}.
        A list of values means one of them; of labels, all of them.

        Raises:
            QueryError: It cannot be read; the message says where.
        """
        if isinstance(source, Where):
            return source
        if source is None:
            return cls(Join("and", ()))
        if isinstance(source, str):
            return cls(_Parser(source).parse())
        if isinstance(source, Mapping):
            root = _from_mapping(source, "where", 0) if source else Join("and", ())
            if _size(root) > MAX_PARTS:
                raise QueryError(f"filter has more than {MAX_PARTS} comparisons", hint=_HINT)
            return cls(root)
        raise QueryError(f"filter is a {type(source).__name__} (expected a text or an object)", hint=_HINT)

    @property
    def is_all(self) -> bool:
        """Nothing is filtered."""
        return self.root == Join("and", ())

    def sql(self) -> tuple[str, list[Any]]:
        """A condition over the table `cases` and its parameters; no part of the input is in the text."""
        return self.root.sql()

    def matches(self, case: Case) -> bool:
        """The same question, asked of one case in Python."""
        return self.root.matches(case)

    def named(self) -> list[HasLabel | Compare]:
        """The statements, patients, cases and sources that the filter names, each once, in its order.

        Where no case passes, one of these may be a slip of the pen: a base can be asked for each alone.
        """
        found: dict[HasLabel | Compare, None] = {}
        parts: list[Node] = [self.root]
        while parts:
            part = parts.pop(0)
            if isinstance(part, Not):
                parts.insert(0, part.part)
            elif isinstance(part, Join):
                parts[:0] = part.parts
            elif isinstance(part, HasLabel):
                found[HasLabel(part.statement)] = None
            elif part.field in ("patient", "case", "source") and part.op == "=" and part.value is not None:
                found[part] = None
        return list(found)

    def __and__(self, other: Where) -> Where:
        """Both."""
        if self.is_all or other.is_all:
            return other if self.is_all else self
        return Where(Join("and", (self.root, other.root)))


WhereLike: TypeAlias = "str | Mapping[str, Any] | Where | None"

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<quoted>"(?:[^"]|"")*"|'(?:[^']|'')*')
    | (?P<op><=|>=|!=|==|<>|=|<|>)
    | (?P<punct>[(),])
    | (?P<label>label\s*:)
    | (?P<word>[^\s()<>=!,"']+)
    )""",
    re.VERBOSE | re.IGNORECASE,
)


_LIKELIHOOD = re.compile(r"\d{1,3}(?:\.\d{1,6})?%?")  # "label:AFIB:50" means a likelihood, codes are longer


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int  # position from 1


class _Parser:
    """Recursive descent: or < and < not < atom."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.tokens: list[_Token] = []
        self.next = 0
        at = 0
        end = len(source.rstrip())
        while at < end:
            match = _TOKEN.match(source, at)
            if match is None or match.lastgroup is None:
                start = at + len(source[at:]) - len(source[at:].lstrip())
                raise self._error(f"{source[start : start + 12]!r} cannot be read", start + 1)
            kind = match.lastgroup
            self.tokens.append(_Token(kind, match.group(kind), match.start(kind) + 1))
            at = match.end()
            if len(self.tokens) > MAX_TOKENS:
                raise self._error(f"filter is longer than {MAX_TOKENS} words", match.start(kind) + 1)

    def parse(self) -> Node:
        if not self.tokens:
            return Join("and", ())
        node = self._or(0)
        if self.next < len(self.tokens):
            token = self.tokens[self.next]
            raise self._error(f"found {token.text!r:.60}, expected 'and', 'or' or the end", token.at)
        return node

    def _error(self, what: str, at: int) -> QueryError:
        return QueryError(f"filter, character {at}: {what}, in {self.source[:200]!r}", hint=_HINT)

    def _peek(self) -> _Token:
        if self.next < len(self.tokens):
            return self.tokens[self.next]
        return _Token("end", "the end", len(self.source.rstrip()) + 1)

    def _take(self) -> _Token:
        token = self._peek()
        self.next += 1
        return token

    def _keyword(self, word: str) -> bool:
        token = self._peek()
        if token.kind == "word" and fold(token.text) == word:
            self.next += 1
            return True
        return False

    def _or(self, depth: int) -> Node:
        return self._joined("or", depth)

    def _joined(self, op: str, depth: int) -> Node:
        parts = [self._below(op, depth)]
        while self._keyword(op):
            parts.append(self._below(op, depth))
        return parts[0] if len(parts) == 1 else Join(op, tuple(parts))

    def _below(self, op: str, depth: int) -> Node:
        return self._joined("and", depth) if op == "or" else self._not(depth)

    def _not(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self._error(f"more than {MAX_DEPTH} levels of brackets and 'not'", self._peek().at)
        if self._keyword("not"):
            return Not(self._not(depth + 1))
        if self._peek().text == "(" and self._peek().kind == "punct":
            opened = self._take()
            node = self._or(depth + 1)
            if self._peek().text != ")" or self._peek().kind != "punct":
                raise self._error(
                    f"found {self._peek().text!r:.60}, expected ')' for the bracket at {opened.at}", self._peek().at
                )
            self.next += 1
            return node
        return self._atom()

    def _atom(self) -> Node:
        token = self._take()
        if token.kind == "label":
            return self._label()
        name = fold(token.text)
        if token.kind != "word" or (name not in COLUMNS and name != "label"):
            raise self._error(
                f"found {token.text!r:.60}, expected a field ({', '.join(COLUMNS)}) or label:NAME", token.at
            )
        if self._keyword("in"):
            return self._member(name)
        op = self._take()
        if op.kind != "op":
            raise self._error(f"found {op.text!r:.60} after {token.text!r:.60}, expected = != < <= > >= or in", op.at)
        value = self._value()
        return self._compare(name, op, value)

    def _label(self) -> Node:
        statement = self._value()
        code, colon, likelihood_said = statement.text.rpartition(":")
        if statement.kind == "word" and colon and _LIKELIHOOD.fullmatch(likelihood_said):
            raise self._error(
                f"found {statement.text!r:.60} (expected label:{code[:40]} >= {likelihood_said})", statement.at
            )
        if self._peek().kind != "op":
            return HasLabel(plain_text(_unquoted(statement), "label"))
        op, likelihood = self._take(), self._value()
        try:
            return HasLabel(
                plain_text(_unquoted(statement), "label"),
                operation(op.text),
                number(likelihood.text, "a likelihood in percent"),
            )
        except QueryError as error:
            raise self._error(str(error), likelihood.at) from None

    def _member(self, name: str) -> Node:
        opened = self._take()
        if opened.text != "(" or opened.kind != "punct":
            raise self._error(f"found {opened.text!r:.60}, expected '(' after 'in'", opened.at)
        equals = _Token("op", "=", opened.at)
        parts = [self._compare(name, equals, self._value())]
        while self._peek().kind == "punct" and self._peek().text == ",":
            self.next += 1
            parts.append(self._compare(name, equals, self._value()))
        closed = self._take()
        if closed.text != ")" or closed.kind != "punct":
            raise self._error(f"found {closed.text!r:.60}, expected ',' or ')'", closed.at)
        return Join("or", tuple(parts))

    def _value(self) -> _Token:
        token = self._take()
        if token.kind not in ("word", "quoted"):
            raise self._error(f"found {token.text!r:.60}, expected a value", token.at)
        return token

    def _compare(self, name: str, op: _Token, value: _Token) -> Node:
        text = _unquoted(value)
        missing = value.kind == "word" and fold(text) == "none"
        try:
            return compare(name, operation(op.text), None if missing else text)
        except QueryError as error:
            raise self._error(str(error), value.at) from None


def _from_mapping(source: Mapping[str, Any], where: str, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise QueryError(f"filter has more than {MAX_DEPTH} levels, at {where[:80]}", hint=_HINT)
    if not source:  # would let every case through, unsaid
        raise QueryError(f"filter, {where[:80]}: an object without comparisons", hint=_HINT)
    parts: list[Node] = []
    for key, value in source.items():
        at = f"{where}.{key}"
        try:
            parts.append(_from_item(str(key), value, at, depth))
        except QueryError as error:
            message = str(error)
            raise QueryError(
                message if message.startswith("filter") else f"filter, {at}: {message}", hint=_HINT
            ) from None
    return parts[0] if len(parts) == 1 else Join("and", tuple(parts))


def _size(node: Node) -> int:
    """Comparisons in a filter."""
    if isinstance(node, Not):
        return _size(node.part)
    return sum(map(_size, node.parts)) if isinstance(node, Join) else 1


def _from_item(key: str, value: Any, at: str, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise QueryError(f"filter has more than {MAX_DEPTH} levels, at {at[:80]}")
    if isinstance(value, Sequence | Mapping) and not isinstance(value, str) and len(value) > MAX_PARTS:
        raise QueryError(f"{len(value)} values (expected at most {MAX_PARTS})")
    if key in ("and", "or"):
        if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(v, Mapping) for v in value):
            raise QueryError(f"{value!r:.60} is not a list of objects")
        return Join(key, tuple(_from_mapping(v, f"{at}[{i}]", depth + 1) for i, v in enumerate(value)))
    if key == "not":
        if not isinstance(value, Mapping):
            raise QueryError(f"{value!r:.60} is not an object")
        return Not(_from_mapping(value, at, depth + 1))
    if key not in COLUMNS and key != "label":
        raise QueryError(f"unknown field (expected {', '.join(COLUMNS)}, label, and, or, not)")
    if isinstance(value, Sequence) and not isinstance(value, str):
        if any(isinstance(v, Sequence) and not isinstance(v, str) for v in value):
            raise QueryError("a list in a list (expected single values)")
        return Join("and" if key == "label" else "or", tuple(_from_item(key, v, at, depth + 1) for v in value))
    if not isinstance(value, Mapping):
        return compare(key, "=", value)
    if not value or (key == "label" and any(isinstance(test, Mapping) and not test for test in value.values())):
        raise QueryError('an object without comparisons (expected one such as {">=": 50})')
    if key == "label":
        likelihoods = [
            HasLabel(plain_text(str(name), "label"), operation(str(op)), number(test, "a likelihood in percent"))
            for name, tests in value.items()
            for op, test in (tests.items() if isinstance(tests, Mapping) else _not_tests(tests))
        ]
        return Join("and", tuple(likelihoods))
    return Join("and", tuple(compare(key, operation(str(op)), test) for op, test in value.items()))


def _not_tests(tests: Any) -> list[tuple[str, Any]]:
    raise QueryError(f'{tests!r:.60} is not a comparison such as {{">=": 50}}')


def _unquoted(token: _Token) -> str:
    if token.kind != "quoted":
        return token.text
    quote = token.text[0]
    return token.text[1:-1].replace(quote * 2, quote)
