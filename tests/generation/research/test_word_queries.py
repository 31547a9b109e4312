"""Queries by words for the evaluation: their shares, halves and slips."""

from __future__ import annotations

from collections import Counter

import pytest

from ecgkin.generation.research.retrieval.word_queries import Half, word_queries
from ecgkin.retrieval.ecg.statements.catalogue import CODES


@pytest.mark.parametrize("half", ["fit", "held"])
def test_a_quarter_is_nonsense_and_a_quarter_denies(half: Half) -> None:
    queries = word_queries(half, 1)
    kinds = Counter(query.kind for query in queries)
    assert len(queries) == len({query.text for query in queries}) == 400
    assert kinds["nonsense"] == kinds["denied"] == 100
    assert 60 <= sum(query.slip for query in queries) <= 140


def test_the_halves_share_no_phrase_of_nonsense_and_seeds_differ() -> None:
    texts = {half: {q.text for seed in range(5) for q in word_queries(half, seed)} for half in ("fit", "held")}
    assert "pizza" in texts["fit"] and "pizza" not in texts["held"]
    assert {q.text for q in word_queries("fit", 1)} != {q.text for q in word_queries("fit", 2)}


def test_every_code_is_a_statement_and_denied_queries_deny() -> None:
    for query in word_queries("fit", 3):
        codes = {code for group in (*query.any_of, query.none_of) for code in group}
        assert codes <= set(CODES)
        assert bool(query.none_of) == (query.kind == "denied")
