"""`Where` as a Milvus expression, and the spelling of texts that such expressions may hold.

Milvus has no parameters in expressions that every supported version knows, and no null in the versions before 2.5. So
each text that filters compare is stored in a spelling of its own: "" where the case does not say, else "=" and the text
if that is plain, or "~" and the text in hexadecimal digits. Nothing that somebody has typed reaches an expression.

>>> spelled(None), spelled("ptbxl"), spelled('a"b')
('', '=ptbxl', '~612262')
"""

from __future__ import annotations

import hashlib
import re

from ecgkin.index.filters import Compare, HasLabel, Join, Node, Not, Where, fold

MISSING_AGE = -1.0  # stored for "does not say"; no case has such an age (see `Case`)
SPELLED_AT_MOST = 200
_PLAIN = re.compile(r"[A-Za-z0-9 ._/:@+,;#-]*")
_FIELDS = {"age": "age", "sex": "sex", "source": "source", "date": "date", "patient": "patient", "language": "language"}
ALL, NONE = "sequence >= 0", "sequence < 0"


def spelled(text: str | None) -> str:
    """The text as it is stored and compared, at most `SPELLED_AT_MOST` characters; different texts differ."""
    if text is None:
        return ""
    if _PLAIN.fullmatch(text) and len(text) < SPELLED_AT_MOST:
        return f"={text}"
    raw = text.encode()
    if 2 * len(raw) < SPELLED_AT_MOST:
        return f"~{raw.hex()}"
    return f"#{hashlib.blake2b(raw, digest_size=16).hexdigest()}"


def label_key(code: str) -> str:
    """Key of a statement in the JSON field of labels: capitals do not matter, and no character is special.

    >>> label_key("AFIB") == label_key("afib") == "k61666962"
    True
    """
    return "k" + fold(code).encode().hex()


def label_values(labels: dict[str, float]) -> dict[str, list[float]]:
    """The JSON field of labels: for each key the largest likelihood, the smallest, then all.

    >>> label_values({"A": 100.0, "a": 50.0})
    {'k61': [100.0, 50.0, 100.0, 50.0]}
    """
    out: dict[str, list[float]] = {}
    for code, likelihood in labels.items():
        out.setdefault(label_key(code), []).append(likelihood)
    return {key: [max(values), min(values), *values] for key, values in out.items()}


def expression(where: Where, tenant: str) -> str:
    """The Milvus expression that is true of the same cases of one tenant.

    Args:
        where: The filter.
        tenant: Name of the partition, part of each primary key.

    Returns:
        Text for Milvus's parser.
    """
    return _of(where.root, tenant)


def primary_key(tenant: str, case_id: str) -> str:
    """Primary key of a case: unique in the collection, whatever the tenant.

    Args:
        tenant: Name of the partition.
        case_id: The case.

    Returns:
        The key.
    """
    return f"{tenant}|{spelled(case_id)}"


def _of(node: Node, tenant: str) -> str:
    if isinstance(node, Not):
        return f"(not {_of(node.part, tenant)})"
    if isinstance(node, HasLabel):
        return _label(node)
    if isinstance(node, Compare):
        return _compare(node, tenant)
    if not node.parts:
        return f"({ALL if node.op == 'and' else NONE})"
    listed = _as_list(node, tenant)
    return listed or "(" + f" {node.op} ".join(_of(part, tenant) for part in node.parts) + ")"


def _as_list(node: Join, tenant: str) -> str | None:
    """ "case in (a, b, ...)" as one membership: Milvus's parser recurses once for each "or"."""
    first = node.parts[0]
    if node.op != "or" or not isinstance(first, Compare) or first.field in ("age", "date"):
        return None
    values = []
    for part in node.parts:
        same = isinstance(part, Compare) and part.field == first.field and part.op == "=" and part.value is not None
        if not same:
            return None
        values.append(_value(first.field, part.value, tenant))  # type: ignore[union-attr]
    return f"({_column(first.field)} in [{', '.join(values)}])"


def _label(node: HasLabel) -> str:
    field = f'labels["{label_key(node.statement)}"]'
    if node.op is None:
        return f"(exists {field})"
    value = _number(node.likelihood)
    test = {
        "=": f"json_contains({field}, {value})",
        "!=": f"({field}[0] != {value} or {field}[1] != {value})",
    }.get(node.op, f"{field}[{0 if node.op.startswith('>') else 1}] {node.op} {value}")
    # Both halves: where the key is missing one engine says false, the other "unknown".
    return f"((exists {field}) and ({test}))"


def _compare(node: Compare, tenant: str) -> str:
    column = _column(node.field)
    if node.value is None:
        op = "==" if node.op == "=" else "!="
        if node.field == "case":
            return f"({NONE if node.op == '=' else ALL})"
        return (
            f"({column} < 0)"
            if node.field == "age" and op == "=="
            else (f"({column} >= 0)" if node.field == "age" else f'({column} {op} "")')
        )
    if node.field == "age":
        value = _number(float(node.value))
        if node.op in ("=", "!="):
            same = f"({column} >= 0 and {column} == {value})"
            return same if node.op == "=" else f"(not {same})"
        return f"({column} >= 0 and {column} {node.op} {value})"
    if node.field == "date":
        return _date(column, node.op, str(node.value))
    return f"({column} {'==' if node.op == '=' else '!='} {_value(node.field, node.value, tenant)})"


def _date(column: str, op: str, value: str) -> str:
    # A date is compared at the precision that is written. It holds digits, "-", ":", "T" and "." alone (`iso_date`).
    begins = f'{column} like "{value}%"'
    return {
        "=": f"({begins})",
        "!=": f"(not ({begins}))",
        "<": f'({column} != "" and {column} < "{value}")',
        "<=": f'({column} != "" and ({column} < "{value}" or {begins}))',
        ">": f'({column} > "{value}" and not ({begins}))',
        ">=": f'({column} >= "{value}")',
    }[op]


def _column(field: str) -> str:
    return _FIELDS.get(field, "pk")


def _value(field: str, value: object, tenant: str) -> str:
    text = str(value)
    if field == "case":
        return f'"{primary_key(tenant, text)}"'
    return f'"{spelled(fold(text) if field in ("sex", "language") else text)}"'


def _number(value: float) -> str:
    # Milvus reads neither "1e+300" everywhere nor integers beside doubles in JSON.
    text = repr(float(value))
    return text.replace("e+", "e")
