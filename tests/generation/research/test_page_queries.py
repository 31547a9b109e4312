"""Pictures as queries: what a gallery says of them, and the thresholds that are fitted on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from ecgkin.generation.research.retrieval.pages import (
    Gallery,
    PageQuery,
    ReadQuery,
    drawn_queries,
    fit_page_thresholds,
    folder_queries,
    read_queries,
    stranger_queries,
)
from ecgkin.retrieval.ecg import simulate
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.search.vote import Calibration, VoteRule


def row(number: int, label: str = "NORM") -> Any:
    return SimpleNamespace(ecg_id=number, patient_id=f"p{number // 2}", labels={label: 100.0}, report="")


def read(number: int | None, vector: np.ndarray, grade: str = "sure", label: str = "NORM") -> ReadQuery:
    query = PageQuery(str(number), np.zeros((60, 60, 3), np.uint8), None if number is None else row(number, label))
    vectors = {} if grade == "" else dict.fromkeys(("ink", "signals", "used"), vector.astype(np.float32))
    return ReadQuery(query, grade, vectors, 0.1)


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    """Six cases on the axes; two of each patient."""
    return Gallery([row(k, "NORM" if k < 3 else "AFIB") for k in range(6)], np.eye(6, dtype=np.float32))


def test_own_patients_do_not_count_but_for_the_same_record(gallery: Gallery) -> None:
    at = np.array([0.9, 0.3, 0.2, 0.1, 0.0, 0.0])
    one = read(0, at)
    assert gallery.best([one])[0] == pytest.approx(0.2)  # 0 and 1 are the same patient's
    assert gallery.best([read(None, at)])[0] == pytest.approx(0.9)
    assert gallery.first([one, read(1, at), read(0, at, grade="")]) == pytest.approx(1 / 3)
    assert np.isnan(gallery.first([read(99, at)]))
    assert gallery.best([read(0, at, grade="")])[0] == -1.0


def test_votes_rank_by_what_the_neighbours_carry(gallery: Gallery) -> None:
    rules = Calibration("x", VoteRule(2, 0.1), VoteRule(2, 0.1), {})
    near = [np.array([0, 0, 0.9, 0.1, 0.1, 0.1]), np.array([0.1, 0.1, 0.1, 0, 0.9, 0.8])] * 4
    queries = [read(k + 10, vector, label="NORM" if k % 2 == 0 else "AFIB") for k, vector in enumerate(near)]
    found = gallery.votes(queries, rules)
    assert found["statement AUC"] == 1.0


def test_thresholds_go_by_grade(gallery: Gallery) -> None:
    rng = np.random.default_rng(0)
    wild = [read(None, np.r_[value, np.zeros(5)]) for value in rng.uniform(0.6, 0.9, 200)]
    wild += [read(None, np.r_[0.7, np.zeros(5)], grade="fair")]
    strangers = [read(None, np.r_[0.88, np.zeros(5)], grade="poor"), read(None, np.r_[0.5, np.zeros(5)], grade="poor")]
    limits = fit_page_thresholds(wild, strangers, gallery, gallery)
    assert set(limits) == {"image:sure", "image:fair", "image:poor"}
    assert 0.6 < limits["image:sure"].score < 0.63 and limits["image:sure"].inside_refused <= 0.025
    assert limits["image:fair"].score == pytest.approx(0.75, abs=0.02) and limits["image:fair"].inside_refused == 1.0
    assert limits["image:poor"].score == pytest.approx(0.885) and limits["image:poor"].outside_refused == 1.0


def test_pictures_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "negatives").mkdir()
    for name in ("a.png", "b.jpg", "negatives/c.png", "d.txt"):
        (tmp_path / name).touch()
    assert [query.name for query in folder_queries(tmp_path)] == ["a.png", "b.jpg"]
    (tmp_path / "manifest.csv").write_text("file,ecg_id\nb.jpg,7\na.png,\nnegatives/c.png,\nd.txt,\ngone.png,\n")
    assert [query.name for query in folder_queries(tmp_path)] == ["b.jpg", "a.png"]
    data = cast("Any", SimpleNamespace(select=lambda folds: [row(7)]))
    assert [query.row and query.row.ecg_id for query in folder_queries(tmp_path, data)] == [7]


@pytest.mark.weights
def test_drawn_pages_are_read_as_a_search_reads_them() -> None:
    class OfPages(HashingEncoder):
        def encode_printed(self, printed: Any) -> np.ndarray:
            return self.encode_images([Image.fromarray(one.seen.trace_map) for one in printed])

    record = replace(simulate(["NORM"], np.random.default_rng(1)).record, record_id="1")
    data = cast("Any", SimpleNamespace(record=lambda _: record))
    for kind in ("clean", "photo"):
        (one,) = read_queries(OfPages(32), drawn_queries(data, [row(1)], kind))
        assert one.grade == "sure" and np.linalg.norm(one.vectors["used"]) == pytest.approx(1.0, abs=1e-5)
    (wild,) = drawn_queries(data, [row(1)], "wild")
    assert np.asarray(wild.picture).ndim == 3
    (stranger,) = read_queries(OfPages(32), stranger_queries(data, [row(1)]))
    assert stranger.grade == "poor"
    blank = PageQuery("blank", np.full((300, 400, 3), 255, np.uint8))
    (refused,) = read_queries(OfPages(32), [blank])
    assert refused.grade == "" and refused.said and not refused.vectors
