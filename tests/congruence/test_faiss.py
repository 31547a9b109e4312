"""Every FAISS kind against the NumPy twin: scores to 1e-5, ids up to ties, filters included."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgkin.index.engines.faiss import KINDS, QUANTISED, FaissIndex, choose_kind, load_faiss
from ecgkin.index.engines.protocol import ExactIndex, Ids, Vectors
from ecgkin.retrieval.errors import CaseBaseError, QueryError

DIM = 32
N = 5000


def clustered(n: int, dim: int, seed: int) -> Vectors:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((50, dim))
    rows = centres[rng.integers(0, 50, n)] + 0.6 * rng.standard_normal((n, dim))
    units: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return units


@pytest.fixture(scope="module")
def gallery() -> tuple[Ids, Vectors, ExactIndex]:
    ids = np.random.default_rng(1).permutation(3 * N)[:N].astype(np.int64)
    vectors = clustered(N, DIM, 2)
    exact = ExactIndex(DIM)
    exact.add(ids, vectors)
    return ids, vectors, exact


@pytest.fixture(scope="module", params=KINDS)
def index(request: pytest.FixtureRequest, gallery: tuple[Ids, Vectors, ExactIndex]) -> FaissIndex:
    ids, vectors, exact = gallery
    made = FaissIndex(DIM, request.param, fetch=exact.vectors, device="cpu")
    made.add(ids[: N - 100], vectors[: N - 100])
    made.add(ids[N - 100 :], vectors[N - 100 :])
    return made


def assert_same(got: tuple[Vectors, Ids], want: tuple[Vectors, Ids], *, recall: float = 1.0) -> None:
    """Scores are those of the ids that came back; ids agree except where scores tie, or to a share `recall`."""
    np.testing.assert_array_equal(np.isnan(got[0]), np.isnan(want[0]))
    np.testing.assert_array_equal(got[1] < 0, want[1] < 0)
    filled = want[1] >= 0
    if recall == 1.0:
        np.testing.assert_allclose(got[0][filled], want[0][filled], atol=1e-5)
    shared = [len(set(a[a >= 0]) & set(b[b >= 0])) for a, b in zip(got[1], want[1], strict=True)]
    ties = (
        sum(int((np.abs(row - row[-1]) < 1e-5).sum()) for row in np.where(filled, want[0], 9.0)) if recall == 1 else 0
    )
    assert sum(shared) + ties >= recall * filled.sum()


def assert_true_cosines(exact: ExactIndex, queries: Vectors, got: tuple[Vectors, Ids]) -> None:
    for query, scores, ids in zip(queries, *got, strict=True):
        keep = ids >= 0
        true = exact.vectors(ids[keep]).astype(np.float64) @ query.astype(np.float64)
        np.testing.assert_allclose(scores[keep], true, atol=1e-5)
        assert len(set(ids[keep])) == keep.sum()
        assert (np.diff(scores[keep]) <= 0).all()


@pytest.mark.parametrize("allowed_share", [None, 0.5, 0.1, 0.002])
def test_agrees_with_the_twin(
    index: FaissIndex, gallery: tuple[Ids, Vectors, ExactIndex], allowed_share: float | None
) -> None:
    ids, _, exact = gallery
    queries = clustered(30, DIM, 2)  # same centres as the gallery, other points after them
    rng = np.random.default_rng(5)
    allowed = None if allowed_share is None else rng.choice(ids, int(N * allowed_share), replace=False)
    for k in (1, 10, 25):
        got, want = index.search(queries, k, allowed), exact.search(queries, k, allowed)
        assert_true_cosines(exact, queries, got)
        assert_same(got, want, recall=1.0 if index.kind == "flat" else 0.93)
        if allowed is not None:
            assert np.isin(got[1][got[1] >= 0], allowed).all()


def test_single_query_equals_batch(index: FaissIndex) -> None:
    queries = clustered(20, DIM, 7)
    scores, _ = index.search(queries, 5)
    for i in range(len(queries)):
        one = index.search(queries[i : i + 1], 5)
        np.testing.assert_allclose(one[0][0], scores[i], atol=1e-5)


def test_k_beyond_what_is_there(index: FaissIndex, gallery: tuple[Ids, Vectors, ExactIndex]) -> None:
    ids, _, exact = gallery
    queries = clustered(3, DIM, 9)
    allowed = np.concatenate([ids[:7], [10**7]])
    scores, found = index.search(queries, 12, allowed)
    assert (np.sort(found[:, :7]) == np.sort(ids[:7])).all() and (found[:, 7:] == -1).all()
    assert np.isnan(scores[:, 7:]).all()
    everything = index.search(queries, N + 5)
    assert_same(everything, exact.search(queries, N + 5))
    assert (index.search(queries, 3, ids[:0])[1] == -1).all()


def test_far_rows_under_a_filter_come_back(index: FaissIndex, gallery: tuple[Ids, Vectors, ExactIndex]) -> None:
    """More rows are allowed than are searched exactly at once, and all of them are far from the query."""
    ids, vectors, exact = gallery
    query = clustered(1, DIM, 11)
    far = ids[np.argsort(vectors @ query[0])[:2600]]
    got = index.search(query, 40, far)
    assert (got[1] >= 0).all() and np.isin(got[1], far).all()
    assert_true_cosines(exact, query, got)


@pytest.mark.parametrize("kind", KINDS)
def test_remove_save_load(kind: str, tmp_path: Path, gallery: tuple[Ids, Vectors, ExactIndex]) -> None:
    ids, vectors, _ = gallery
    exact = ExactIndex(DIM)
    exact.add(ids, vectors)
    index = FaissIndex(DIM, kind, fetch=exact.vectors)
    index.add(ids, vectors)
    gone = ids[::3]
    index.remove(gone)
    exact.remove(gone)
    assert len(index) == len(exact)
    queries = vectors[:30]  # removed ones among them: they were their own best hits
    got = index.search(queries, 10)
    assert not np.isin(got[1], gone).any()
    assert_same(got, exact.search(queries, 10), recall=1.0 if kind == "flat" else 0.93)
    index.save(tmp_path / "i.faiss")
    again = FaissIndex.load(tmp_path / "i.faiss", fetch=exact.vectors)
    assert (again.kind, len(again), again.dim, len(again._dead)) == (kind, len(exact), DIM, len(index._dead))
    np.testing.assert_array_equal(again.search(queries, 10)[1], got[1])
    with pytest.raises(QueryError, match="not in the index"):
        again.remove(gone[:1])
    # An id may come back with another vector.
    back = clustered(1, DIM, 77)
    again.add(gone[:1], back)
    exact.add(gone[:1], back)
    assert again.search(back, 1)[1][0, 0] == gone[0]
    np.testing.assert_allclose(again.vectors(gone[:1]), back, atol=1e-6)
    again.rebuild()
    assert not len(again._dead) and len(again) == len(exact)
    assert_same(again.search(queries, 10), exact.search(queries, 10), recall=1.0 if kind == "flat" else 0.93)


@pytest.mark.parametrize("cut", [0, 5, 40, 0.5, -1])
def test_torn_file_is_refused(cut: float, tmp_path: Path) -> None:
    index = FaissIndex(8)
    index.add(np.arange(50), clustered(50, 8, 1))
    path = tmp_path / "i.faiss"
    index.save(path)
    whole = path.read_bytes()
    keep = int(len(whole) * cut) if isinstance(cut, float) else cut
    path.write_bytes(whole[:keep])
    with pytest.raises(CaseBaseError, match="not a whole index file"):
        FaissIndex.load(path)


@pytest.mark.parametrize("make", [ExactIndex, FaissIndex])
def test_what_is_refused(make: type[ExactIndex] | type[FaissIndex]) -> None:
    index = make(4)
    good = np.eye(4, dtype=np.float32)
    index.add(np.arange(4), good)
    for bad in (good * 2, good * np.nan, good * 0, np.where(good > 0, np.inf, good), good[:, :3], good[0]):
        with pytest.raises(QueryError):
            index.add(np.arange(10, 14)[: len(bad)], bad.astype(np.float32))
        with pytest.raises(QueryError):
            index.search(bad.astype(np.float32), 1)
    for ids in ([3], [-1], [[7]], [8, 9]):
        with pytest.raises(QueryError):
            index.add(np.array(ids), good[:1])
    with pytest.raises(QueryError):
        index.add(np.array([7, 7]), good[:2])
    for k in (0, -1, 1.5, True):
        with pytest.raises(QueryError, match="k is"):
            index.search(good, k)  # type: ignore[arg-type]
    with pytest.raises(QueryError):
        index.vectors(np.array([99]))
    assert len(index) == 4


def test_kinds_and_devices() -> None:
    for bad in ({"kind": "tree"}, {"kind": "ivf_pq"}, {"device": "tpu"}):
        with pytest.raises(QueryError):
            FaissIndex(8, **bad)  # type: ignore[arg-type]
    import faiss

    if not hasattr(faiss, "StandardGpuResources"):
        with pytest.raises(QueryError, match="GPU"):
            FaissIndex(8, device="cuda")
    assert choose_kind(20_000, 256) == "flat" and choose_kind(10**7, 256) in (*QUANTISED, "hnsw")


def test_the_benchmark_runs(project_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    script = project_root / "scripts" / "bench_index.py"
    command = [sys.executable, str(script), "--quick", "--kinds", "numpy", "flat", "ivf_rabitq", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = {row["kind"]: row for row in json.loads(out.read_text())["rows"]}
    assert rows["numpy"]["recall_at_10"] == rows["flat"]["recall_at_10"] == 1.0
    assert rows["ivf_rabitq"]["bytes_per_vector"] < rows["flat"]["bytes_per_vector"] / 4
    assert "| 5,000 | flat |" in done.stdout


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_add_then_remove_and_order_of_insertion(data: st.DataObject) -> None:
    """Flat: rows on a coarse grid, so that ties are common; ties compare by score."""
    n = data.draw(st.integers(1, 40))
    grid = data.draw(st.lists(st.lists(st.integers(-2, 2), min_size=4, max_size=4), min_size=n, max_size=n))
    rows = np.array(grid, dtype=np.float32) + np.array([0.5, 0, 0, 0], dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    ids = np.array(data.draw(st.lists(st.integers(0, 10**6), min_size=n, max_size=n, unique=True)), dtype=np.int64)
    order = np.array(data.draw(st.permutations(range(n))))
    k = data.draw(st.integers(1, n + 2))
    allowed = data.draw(st.none() | st.lists(st.sampled_from(ids.tolist())).map(lambda v: np.array(v, dtype=np.int64)))
    one, other, exact = FaissIndex(4), FaissIndex(4), ExactIndex(4)
    one.add(ids, rows)
    other.add(ids[order], rows[order])
    exact.add(ids, rows)
    queries = rows[:3]
    want = exact.search(queries, k, allowed)
    for index in (one, other):
        got = index.search(queries, k, allowed)
        np.testing.assert_allclose(got[0], want[0], atol=1e-5)
        for scores, found, true in zip(got[0], got[1], want[1], strict=True):
            clear = ~np.isnan(scores) & (scores > (np.nanmin(scores) if (found >= 0).any() else 0) + 1e-4)
            assert set(found[clear]) <= set(true)
    extra = np.setdiff1d(np.arange(n + 3), ids)[:3]
    one.add(extra, np.eye(4, dtype=np.float32)[: len(extra)])
    one.remove(extra)
    np.testing.assert_allclose(one.search(queries, k, allowed)[0], want[0], atol=1e-5)
    np.testing.assert_array_equal(one.ids, np.sort(ids))


@pytest.mark.parametrize("kind", KINDS)
def test_ties_go_to_the_smaller_id(kind: str) -> None:
    """Equal vectors come by rising id from every kind and from the twin, also when their number is cut."""
    vectors = clustered(400, DIM, 21)
    ids = np.random.default_rng(22).permutation(5000)[:400].astype(np.int64)
    same = np.sort(ids)[[7, 90, 200, 310, 399]]
    vectors[np.isin(ids, same)] = vectors[0]
    exact = ExactIndex(DIM)
    exact.add(ids, vectors)
    index = FaissIndex(DIM, kind, fetch=exact.vectors, device="cpu")
    index.add(ids, vectors)
    tied = np.sort(ids[(vectors == vectors[0]).all(axis=1)])
    for engine in (exact, index):
        scores, found = engine.search(vectors[:1], len(tied))
        assert found[0].tolist() == tied.tolist()
        assert np.ptp(scores[0]) < 1e-6


def test_an_exact_search_breaks_ties_over_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ties that lie in different blocks of an exact search still come by rising id."""
    from ecgkin.index.engines import faiss as module

    monkeypatch.setattr(module, "FETCH_BLOCK", 3)
    rows = np.arange(10, dtype=np.int64)
    vector = np.eye(1, DIM, dtype=np.float32)
    _, found = module.exact_search(lambda ids: np.repeat(vector, len(ids), axis=0), vector, rows, 4)
    assert found[0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "flat"])
def test_a_filter_widens_the_search(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter that lets one row in four through makes an approximate kind look four times as wide."""
    ids = np.arange(N, dtype=np.int64)
    vectors = clustered(N, DIM, 23)
    exact = ExactIndex(DIM)
    exact.add(ids, vectors)
    index = FaissIndex(DIM, kind, fetch=exact.vectors, device="cpu")
    index.add(ids, vectors)
    from ecgkin.index.engines import faiss as module

    monkeypatch.setattr(module, "EXACT_BELOW", 10)  # the filtered rows are to be searched approximately
    monkeypatch.setattr(module, "IVF_PROBE", 4)
    monkeypatch.setattr(module, "HNSW_EF_SEARCH", 12)
    library = load_faiss()
    asked: list[int] = []
    for name in ("SearchParametersHNSW", "SearchParametersIVF", "IVFRaBitQSearchParameters"):
        make = getattr(library, name)

        def record(*args: object, _make: Any = make, **words: Any) -> Any:
            asked.append(int(words.get("efSearch", words.get("nprobe", 0))))
            return _make(*args, **words)

        monkeypatch.setattr(library, name, record)
    index.search(vectors[:1], 5)
    index.search(vectors[:1], 5, ids[::4])
    assert asked[1] == 4 * asked[0]
