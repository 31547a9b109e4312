"""The filter language: what it means, where it complains, and that SQL and Python agree on random cases."""

from __future__ import annotations

import itertools
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgkin.index import create_base
from ecgkin.index.base import CaseBase
from ecgkin.index.case import Case
from ecgkin.index.filters import COLUMNS, MAX_DEPTH, MAX_PARTS, Where
from ecgkin.index.folder.store import STORE
from ecgkin.retrieval.errors import QueryError

CASE = Case(
    "ptbxl/7",
    patient_id="123",
    source="ptbxl",
    age_years=71.0,
    sex="F",
    recorded_at="1989-06-01 09:17:34",
    labels={"AFIB": 100.0, "LVH": 35.0, "1AVB": 0.0},
    language="de",
)
BARE = Case("own folder/a, b")

YES = [
    "",
    "  ",
    "age>=60 and sex=F and label:AFIB and not label:PACE and source=ptbxl and date<1990-01-01 and patient!=12",
    "AGE >= 60 AND Sex = f",
    "sex=female",
    "label:afib",
    "label : 1AVB",
    "label=AFIB and label!=PACE",
    "label:LVH>30 and label:LVH<=35 and not label:LVH>=50",
    "label:PACE or label:AFIB",
    "label:PACE and label:AFIB or sex=F",
    "sex=F or label:PACE and label:NORM",
    "not (label:PACE or sex=M)",
    "not not sex=F",
    "case in (ptbxl/1, 'ptbxl/7')",
    "date=1989 and date<=1989 and date>=1989-06-01 and date<1989-06-02 and date!=1990",
    "date>1989-05 and date>1989-06-01T09:00 and not date>1989-06-01",
    "age<>70 and age==71",
    "language=DE",
    'source="ptbxl"',
]
NO = [
    "age<60",
    "label:PACE",
    "label:LVH>=50",
    "sex=M",
    "age=none",
    "date>1989",
    "source=PTBXL",
    "patient=12",
    "case in (x)",
]


@pytest.mark.parametrize("text", YES)
def test_true_of_the_case(text: str) -> None:
    assert Where.parse(text).matches(CASE)


@pytest.mark.parametrize("text", NO)
def test_false_of_the_case(text: str) -> None:
    assert not Where.parse(text).matches(CASE)


def test_what_is_not_known() -> None:
    for text in ("age<60", "age>=60", "sex=F", "date<2100", "patient=123", "label:AFIB"):
        assert not Where.parse(text).matches(BARE)
        assert Where.parse(f"not {text}").matches(BARE)
    for text in ("age=none", "patient!=123", "sex=none and date=none", "not age!=none", "case='own folder/a, b'"):
        assert Where.parse(text).matches(BARE)
    assert Where.parse("patient='none'").matches(Case("a", patient_id="none"))
    assert Where.parse('source="say ""no"""').matches(Case("a", source='say "no"'))


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("age>", 5), ("foo=1", 1), ("age=abc", 5), ("(age>1", 7), ("sex=x", 5), ("date<1990-02-31", 6),
        ("age>=1 sex=F", 8),
        ("label:A>=b", 10), ('source="x', 8), (")", 1), ("a ! b", 3), ("sex>F", 5), ("age>none", 5), ("age in 5", 8),
        ("case in (a b)", 12), ("age>=60 and", 12), ("not", 4), ("label:", 7), ("age>=nan", 6), ("date=yesterday", 6),
        ("sex=F; DROP TABLE cases", 6), ("age>=1e999", 6), ("source=\ud800", 8),
    ],
)  # fmt: skip
def test_complaints_say_where(text: str, at: int) -> None:
    if text.startswith("sex=F;"):
        at = 5  # the value is "F;" as a whole
    with pytest.raises(QueryError) as caught:
        Where.parse(text)
    assert f"character {at}:" in str(caught.value)
    assert caught.value.hint


def test_depth_and_length_are_bounded() -> None:
    Where.parse("(" * MAX_DEPTH + "age>1" + ")" * MAX_DEPTH)
    for text in ("(" * 5000 + "age>1" + ")" * 5000, "not " * 5000 + "age>1", " or ".join(["age>1"] * 5000)):
        with pytest.raises(QueryError):
            Where.parse(text)
    nested: dict[str, Any] = {"age": 1}
    for _ in range(200):
        nested = {"not": nested}
    with pytest.raises(QueryError):
        Where.parse(nested)


def test_many_values_are_searched_or_refused(base: CaseBase) -> None:
    """As many as are allowed reach SQLite, which stops at expressions 1,000 deep; more are the caller's mistake."""
    base.remove([case.case_id for case in base.cases()])
    base.add([replace(CASE, case_id="v/1500")], np.array([[1, 0]], dtype=np.float32))
    many = [f"v/{i}" for i in range(MAX_PARTS)]
    for where in (
        {"case": many},
        {"or": [{"case": name} for name in many]},
        {"and": [{"case": {"!=": f"w/{i}"}} for i in range(MAX_PARTS)]},
        f"case in ({', '.join(many[1200:1700])})",
    ):
        assert base.count(where) == 1
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    for wrong in ({"case": [*many, "x"]}, {"case": many, "source": ["a"]}, {"case": ["x"] * 300_000}, {"case": deep},
                  {"label": {f"L{i}": {">": 1} for i in range(3000)}}, {"or": [{"age": 1}] * 300_000}):  # fmt: skip
        with pytest.raises(QueryError, match=r"comparisons|values|levels"):
            Where.parse(wrong)


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        ({}, ""),
        ({"age": {">=": 60, "<": 80}, "sex": "F"}, "(age>=60 and age<80) and sex=F"),
        ({"label": ["AFIB", {"LVH": {">=": 30}}]}, "label:AFIB and (label:LVH>=30)"),
        ({"patient": {"!=": "123"}, "not": {"label": "PACE"}}, "patient!=123 and not label:PACE"),
        ({"or": [{"sex": "M"}, {"source": ["a", "ptbxl"]}]}, "sex=M or (source=a or source=ptbxl)"),
        ({"age": None}, "age=none"),
        ({"case": ["x/1", "x/2"]}, "case in (x/1, x/2)"),
    ],
)
def test_dictionary_form_means_the_same(mapping: dict[str, Any], text: str) -> None:
    one, other = Where.parse(mapping), Where.parse(text)
    for case in (CASE, BARE, Case("x/1", sex="M", age_years=80)):
        assert one.matches(case) == other.matches(case)
    assert one.sql()[1] == other.sql()[1]


@pytest.mark.parametrize(
    "bad",
    [{"foo": 1}, {"age": "x"}, {"age": {"~": 1}}, {"and": "x"}, {"not": 3}, {"label": {"LVH": 3}}, {"age": {">": [1]}},
     {"or": [1]}, {"age": True}, 7, ["age>1"], {"age": {}}, {"and": [{"age": [60]}, {}]}, {"not": {}},
     {"label": {}}, {"label": {"LVH": {}}}],
)  # fmt: skip
def test_bad_dictionaries(bad: Any) -> None:
    with pytest.raises(QueryError):
        Where.parse(bad)


TEXTS = ["", "a", "A", "b c", "' OR 1=1 --", '"; DROP TABLE cases;', "%", "_", "none", "ä", "and", "x)", "\x00"]
NAMES = ["AFIB", "afib", "LVH", "1AVB", "x' OR '1'='1", "Ä"]
DATES = ["1989", "1989-06", "1989-06-01", "1989-06-01T09:17:34", "1990-01-01"]

cases = st.builds(
    lambda patient, source, age, sex, date, labels, language: Case(
        "c", patient, source, age, sex, date, labels, language=language
    ),
    st.none() | st.sampled_from(TEXTS),
    st.sampled_from(TEXTS),
    st.none() | st.sampled_from([0.0, 59.5, 60.0, 90.0]),
    st.sampled_from([None, "F", "M"]),
    st.none() | st.sampled_from(DATES),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from([0.0, 50.0, 100.0]), max_size=3),
    st.sampled_from([None, "de", "DE", "en"]),
)
equal = st.sampled_from(["=", "!="])
ordered = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


atoms = st.one_of(
    st.tuples(
        st.sampled_from(["patient", "source", "case", "language"]),
        equal,
        st.sampled_from([*TEXTS, "c", "de"]).map(quoted),
    ),
    st.tuples(st.just("age"), ordered, st.sampled_from(["0", "60", "59.5"])),
    st.tuples(st.just("date"), ordered, st.sampled_from(DATES)),
    st.tuples(st.just("sex"), equal, st.sampled_from(["F", "m"])),
    st.tuples(st.sampled_from(["age", "sex", "patient", "date"]), equal, st.just("none")),
    st.tuples(st.just("label:"), st.sampled_from(NAMES).map(quoted), st.just("")),
    st.tuples(st.just("label:"), st.sampled_from(NAMES).map(quoted), st.tuples(ordered, st.just("50")).map("".join)),
).map("".join)
filters = st.recursive(
    atoms,
    lambda part: st.one_of(
        part.map(lambda text: f"not ({text})"),
        st.tuples(part, part).map(lambda two: f"({two[0]}) and {two[1]}"),
        st.tuples(part, part).map(lambda two: f"({two[0]} or {two[1]})"),
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CaseBase]:
    with create_base(tmp_path_factory.mktemp("filters") / "base", "none", "0", 2) as made:
        yield made


@settings(max_examples=150, deadline=None)
@given(st.lists(cases, min_size=1, max_size=6), st.lists(filters, min_size=1, max_size=6))
def test_sql_and_python_agree(base: CaseBase, some: list[Case], texts: list[str]) -> None:
    base.remove([case.case_id for case in base.cases()])
    numbered = [replace(case, case_id=f"c{i}" if i else "c") for i, case in enumerate(some)]
    base.add(numbered, np.tile(np.array([[1, 0]], dtype=np.float32), (len(some), 1)))
    assert base.cases() == numbered
    for text in texts:
        where = Where.parse(text)
        want = [case.case_id for case in numbered if where.matches(case)]
        assert [case.case_id for case in base.cases(text)] == want
        assert base.count(text) == len(want)
        found = base.search(np.array([1, 0], dtype=np.float32), 10, where=where)
        assert sorted(case.case_id for case, _ in found) == sorted(want)


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=40)
    | st.lists(st.sampled_from(["age", ">=", "60", "(", ")", "and", "not", "label:", "'", ","])).map(" ".join)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        sql, values = Where.parse(text).sql()
    except QueryError:
        return
    assert sql.count("?") == len(values)
    # Nothing of the input can be in the statement: it is built of these words alone.
    allowed = {*COLUMNS.values(), "cases.row", "labels", "row", "statement", "likelihood", "substr"}
    allowed |= {"IS", "NOT", "NULL", "AND", "OR", "IN", "SELECT", "FROM", "WHERE"}
    assert set(re.findall(r"[A-Za-z_.]+", sql)) <= allowed


@pytest.mark.parametrize("value", [10**400, -(10**400), 1e999, "1" * 400, float("nan"), True])
def test_numbers_that_no_float_holds_are_refused(value: object) -> None:
    for where in ({"age": {">=": value}}, {"label": {"LVH": {">=": value}}}):
        with pytest.raises(QueryError):
            Where.parse(where)


def test_values_do_not_reach_the_statement(base: CaseBase, tmp_path: Path) -> None:
    base.add([Case("evil'--", source="'; DROP TABLE cases; --")], np.array([[0, 1]], dtype=np.float32))
    assert base.count('source="\'; DROP TABLE cases; --"') == 1
    assert base.count({"source": "x' OR 1=1 --"}) == 0
    with closing(sqlite3.connect(f"file:{base.path / STORE}?mode=ro", uri=True)) as db:
        assert db.execute("SELECT count(*) FROM cases").fetchone()[0] == len(base)
    base.remove(["evil'--"])


# a, b, c are true, false, true and so on: what binds first decides each of these.
_BINDING = [
    ("not sex=M and age>=60", lambda sex, old, label: not sex and old),
    ("not sex=M or age>=60", lambda sex, old, label: (not sex) or old),
    ("sex=M or age>=60 and label:AFIB", lambda sex, old, label: sex or (old and label)),
    ("sex=M and age>=60 or label:AFIB", lambda sex, old, label: (sex and old) or label),
    ("not (sex=M and age>=60)", lambda sex, old, label: not (sex and old)),
    ("not sex=M and not age>=60 or label:AFIB", lambda sex, old, label: ((not sex) and (not old)) or label),
    ("not not sex=M and label:AFIB", lambda sex, old, label: sex and label),
]


@pytest.mark.parametrize(("text", "meaning"), _BINDING, ids=[text for text, _ in _BINDING])
def test_not_binds_before_and_and_before_or(text: str, meaning: Callable[[bool, bool, bool], bool]) -> None:
    where = Where.parse(text)
    for sex, old, label in itertools.product((False, True), repeat=3):
        case = Case(
            "c", sex="M" if sex else "F", age_years=70.0 if old else 40.0, labels={"AFIB": 100.0} if label else {}
        )
        assert where.matches(case) == meaning(sex, old, label), (sex, old, label)


@pytest.mark.parametrize(
    "where",
    [
        {"age": [60, [70]]}, {"label": ["AFIB", ["LVH"]]}, {"sex": [["F"]]}, "label:AFIB:50",
        "not label:AFIB:50.5 and sex=F",
    ],
)  # fmt: skip
def test_what_nobody_means_is_refused(where: Any) -> None:
    """A list in a list, a likelihood behind a colon: not another filter that is answered."""
    with pytest.raises(QueryError, match=r"filter.*(a list in a list|expected label:AFIB >= 50)"):
        Where.parse(where)


def test_codes_with_colons_are_labels() -> None:
    case = Case("x", labels={"SNOMED:426783006": 100.0})
    assert Where.parse("label:SNOMED:426783006").matches(case) and Where.parse('label:"A:50"') is not None
