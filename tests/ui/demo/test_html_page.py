"""The demo's page and the choice of its cases, without any search."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.ui.demo.cases import choose_cases, choose_query
from ecgkin.ui.demo.html_page import Card, Page, bars, chips, drawing_svg, page_html

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)> \x1b[2J {{ 7*7 }}"


@dataclass(frozen=True)
class Row:
    """The least that a row of a table is."""

    patient_id: str | None
    labels: dict[str, float] = field(default_factory=dict)


ROWS = st.lists(
    st.builds(
        Row,
        st.integers(0, 30).map(str),
        st.dictionaries(st.sampled_from(["NORM", "SR", "AFIB", "IMI", "LVH", "PACE"]), st.just(100.0), min_size=1),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, n=st.integers(1, 80), seed=st.integers(0, 5))
def test_choice_covers_every_statement(rows: list[Row], n: int, seed: int) -> None:
    """As many as asked for, none twice, in order, the same each time; where there is room, every statement."""
    chosen = choose_cases(rows, n, seed=seed, per_statement=2)
    assert len(chosen) == min(n, len(rows))
    assert chosen == choose_cases(rows, n, seed=seed, per_statement=2)
    places = [next(i for i, row in enumerate(rows) if row is one) for one in chosen]
    assert places == sorted(set(places))
    every = Counter(code for row in rows for code in row.labels)
    if n >= 2 * len(every):
        have = Counter(code for row in chosen for code in row.labels)
        assert all(have[code] >= min(2, every[code]) for code in every)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, gallery=ROWS, seed=st.integers(0, 5))
def test_query_is_a_stranger(rows: list[Row], gallery: list[Row], seed: int) -> None:
    """The query's patient has no case in the gallery; there is a query whenever there can be one."""
    query = choose_query(rows, gallery, seed=seed)
    known = {row.patient_id for row in gallery}
    if query is None:
        assert all(row.patient_id in known for row in rows)
    else:
        assert query.patient_id not in known


def test_query_shows_a_finding() -> None:
    """A normal ECG is not what a first look should show."""
    gallery = [Row(f"g{i}", {"AFIB": 100.0, "NORM": 0.0}) for i in range(12)]
    rows = [Row(f"q{i}", {"NORM": 100.0}) for i in range(20)] + [Row("q-afib", {"AFIB": 100.0})]
    found = choose_query(rows, gallery)
    assert found is not None and found.patient_id == "q-afib"


def page(record: EcgRecord) -> str:
    """A page with hostile text in every place that comes from a case base."""
    svg = drawing_svg(record)
    labels = {"AFIB": 100.0, "LVH": 50.0, EVIL: 1.0}
    card = Card(EVIL, svg, EVIL, chips(labels, {"AFIB"}), EVIL, 1, 0.987654, EVIL)
    vote = bars({"AFIB": 0.91, "LVH": 0.5, "NORM": 0.001}, {"AFIB"}, 5)
    return page_html(Page(card, [card, card], EVIL, 2, vote, vote, "Vote", [EVIL], [EVIL]))


def test_reports_cannot_act(made_record: EcgRecord) -> None:
    """Markup, templates and terminal codes in a report come out as plain letters."""
    html = page(made_record)
    assert "<script" not in html and "<img" not in html and "\x1b" not in html
    assert "&lt;script&gt;" in html and "{{ 7*7 }}" in html
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy and policy.group(1).startswith("default-src 'none'") and "script-src" not in policy.group(1)


def test_page_needs_nothing_else(made_record: EcgRecord) -> None:
    """No address is fetched: neither style sheet, picture nor font."""
    html = page(made_record)
    outside = set(re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?(https?:[^"\')\s]+)', html))
    assert not outside and "@import" not in html and "<link" not in html


def test_page_says_what_it_is(made_record: EcgRecord) -> None:
    """Notice, drawings, scores, shared statements and vote are there."""
    html = page(made_record)
    assert "Supports and does not replace a clinician" in html and "not for diagnosis" in html
    assert html.count("<svg") == 3 and html.count("aVR") >= 3
    assert "0.988" in html and "91 %" in html and "NORM" not in html
    assert html.count('class="shared"') == 2
    assert "atrial fibrillation" in html
