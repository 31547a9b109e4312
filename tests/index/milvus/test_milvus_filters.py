"""The filter language as Milvus reads it: labels as they are stored and as they are asked say the same as Python."""

from __future__ import annotations

import operator
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgkin.index.case import Case
from ecgkin.index.filters import Where
from ecgkin.index.milvus.filters import expression, label_key, label_values

_OPS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
_TEST = re.compile(r'\(\(exists labels\["(\w+)"\]\) and \(labels\["\1"\]\[(\d)\] (>=|<=|>|<) ([\d.]+)\)\)')


@settings(max_examples=200, deadline=None)
@given(
    labels=st.dictionaries(st.sampled_from(["AFIB", "afib", "Afib", "LVH"]), st.sampled_from([0.0, 35.0, 50.0, 100.0])),
    op=st.sampled_from(sorted(_OPS)), bound=st.sampled_from([0, 35, 50, 99, 100]),
)  # fmt: skip
def test_a_label_that_is_spelled_twice_is_asked_as_python_asks_it(
    labels: dict[str, float], op: str, bound: int
) -> None:
    """Likelihoods of one statement under two spellings: any of them may pass, at either end."""
    where = Where.parse(f"label:AFIB{op}{bound}")
    found = _TEST.fullmatch(expression(where, "t"))
    assert found is not None, expression(where, "t")
    key, place, asked, value = found.groups()
    assert key == label_key("AFIB") and asked == op and float(value) == bound
    stored = label_values(labels)
    said = key in stored and _OPS[op](stored[key][int(place)], float(value))
    assert said is where.matches(Case("c", labels=labels))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("age>=60", "(age >= 0 and age >= 60.0)"),  # an unknown age is stored below 0
        ("age<60", "(age >= 0 and age < 60.0)"),
        ("date<=1989-06", '(date != "" and (date < "1989-06" or date like "1989-06%"))'),
        ("date>1989-06", '(date > "1989-06" and not (date like "1989-06%"))'),
    ],
)
def test_what_is_unknown_is_neither_above_nor_below(text: str, wanted: str) -> None:
    assert expression(Where.parse(text), "t") == wanted
