"""Relevance feedback: how far marks move a query, how many queries are remembered, what is kept on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.search.feedback import FeedbackStore, RecentQueries, refine


def unit(seed: int, n: int = 1) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    rows = np.random.default_rng(seed).standard_normal((n, 16))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


@settings(max_examples=50, deadline=None)
@given(near=st.integers(0, 4), far=st.integers(0, 4), seed=st.integers(0, 99))
def test_rocchio_with_its_usual_weights(near: int, far: int, seed: int) -> None:
    """1 for the query, .75 for the mean of what is similar, .15 against the mean of what is not; unit length."""
    query, similar, dissimilar = unit(seed)[0], unit(seed + 1, 4)[:near], unit(seed + 2, 4)[:far]
    wanted = query.astype(np.float64)
    wanted = wanted + (0.75 * similar.mean(axis=0) if near else 0) - (0.15 * dissimilar.mean(axis=0) if far else 0)
    moved = refine(query, similar, dissimilar)
    assert moved.dtype == np.float32
    np.testing.assert_allclose(moved, wanted / np.linalg.norm(wanted), atol=1e-6)


def test_marks_that_cancel_the_query_out() -> None:
    query = np.eye(1, 4, dtype=np.float32)[0]
    with pytest.raises(QueryError, match="cancel"):
        refine(query, -query[None] / np.float32(0.75), np.empty((0, 4), dtype=np.float32))


def test_exactly_so_many_queries_are_remembered_the_oldest_go() -> None:
    recent = RecentQueries(keep=3)
    for number in range(5):
        recent.put(str(number), "text", unit(number)[0])
        assert sum(recent.get(str(n)) is not None for n in range(5)) == min(number + 1, 3)
    assert [recent.get(str(n)) is not None for n in range(5)] == [False, False, True, True, True]


def test_marks_are_kept_and_the_last_word_counts(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path)
    store.add("q", "image", unit(3)[0], {"b": True, "a": False})
    store.add("q", "image", unit(3)[0], {"b": False})
    store.close()
    again = FeedbackStore(tmp_path)
    assert [(mark.case_id, mark.similar, mark.kind) for mark in again.marks("q")] == [
        ("a", False, "image"), ("b", False, "image"),
    ]  # fmt: skip
    kind, vector = again.query("q") or ("", np.zeros(1))
    assert kind == "image" and np.array_equal(vector, unit(3)[0]) and again.query("other") is None
    again.close()
