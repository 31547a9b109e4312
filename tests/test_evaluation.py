"""Cross-modal recall, join ranks and baselines."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.evaluation import baselines, cross_modal, metrics, ranking


@dataclass
class Row:
    """The least that a row must have."""

    patient_id: str | int | None
    report: str
    labels: dict[str, float] = field(default_factory=dict)


def rows(n: int, texts: int) -> list[Row]:
    return [Row(f"p{i}", f"befund {i % texts}") for i in range(n)]


def test_perfect_encoder_reaches_the_ceiling_but_not_more() -> None:
    some = rows(60, 20)
    same = np.eye(20, 20, dtype=np.float32)[np.arange(60) % 20]
    result = cross_modal.evaluate_cross_modal(same, same, some, sub_gallery=30, draws=2)
    assert result.distinct_reports == 20
    assert result.ceiling == {1: pytest.approx(1 / 3), 5: 1.0, 10: 1.0}
    for direction in ("ecg->report", "report->ecg"):
        assert result.recall[direction, "duplicates", 1].value == 1.0
        assert result.recall[direction, "strict", 1].value == pytest.approx(1 / 3)
        assert result.recall[direction, "strict", 5].value == 1.0
        assert result.sub_recall[direction, "duplicates", 1][0] == 1.0
    assert result.sub_size == 30


def test_random_pairs_are_at_chance_and_a_large_sub_gallery_is_left_out() -> None:
    some = rows(500, 500)
    a, b = baselines.random_embeddings(500, 32, 1), baselines.random_embeddings(500, 32, 2)
    result = cross_modal.evaluate_cross_modal(a, b, some)
    assert result.recall["ecg->report", "strict", 10].value == pytest.approx(10 / 500, abs=0.02)
    assert result.sub_recall == {} and result.sub_size == 0


def test_other_records_of_the_patient_leave_the_gallery() -> None:
    some = [Row("a", "eins"), Row("a", "zwei"), Row("b", "drei")]
    images = ranking.unit_rows(np.array([[1.0, 0], [1, 0.1], [0, 1]]))
    # The report of record 1 lies on the image of record 0: only the same-patient rule lets record 0 find its own.
    texts = ranking.unit_rows(np.array([[0.8, 0.6], [1.0, 0], [0, 1]]))
    result = cross_modal.evaluate_cross_modal(images, texts, some)
    assert result.ranks["ecg->report", "strict"].tolist() == [1, 1, 1]


def test_equal_texts_of_one_patient_do_not_count_twice() -> None:
    some = [Row("a", "normal"), Row("a", "normal"), Row("b", "anders")]
    images = ranking.unit_rows(np.array([[0.0, 1], [1, 0], [0, 1]]))
    texts = ranking.unit_rows(np.array([[1.0, 0], [1, 0], [0, 1]]))
    result = cross_modal.evaluate_cross_modal(images, texts, some)
    # Record 1 carries the same text, but it is of the same patient; the own report comes second, after "anders".
    assert result.ranks["ecg->report", "duplicates"][0] == 2


def test_rows_that_do_not_pair_up_are_refused() -> None:
    with pytest.raises(QueryError, match="pair up"):
        cross_modal.evaluate_cross_modal(np.ones((2, 3), np.float32), np.ones((3, 3), np.float32), rows(2, 2))


def test_join_rank_counts_what_is_nearer() -> None:
    gallery = ranking.unit_rows(np.array([[1.0, 0], [1, 0.2], [0, 1]]))
    photos = ranking.unit_rows(np.array([[1.0, 0.01], [1, 0.01], [0.1, 1]]))
    assert cross_modal.join_rank(photos, gallery, np.array([0, 1, 2])).tolist() == [1, 2, 1]
    constant = np.ones((3, 2), dtype=np.float32)
    assert cross_modal.join_rank(constant, constant, np.array([0, 1, 2])).tolist() == [2, 2, 2]
    with pytest.raises(QueryError):
        cross_modal.join_rank(photos, gallery, np.array([0, 1, 3]))


def test_log_spectra_find_the_heart_rate_again() -> None:
    rng = np.random.default_rng(0)
    time = np.arange(1000) / 100

    def record(rate_hz: float) -> EcgRecord:
        wave = np.maximum(0, np.sin(2 * np.pi * (rate_hz * time + rng.random()))) ** 9
        return EcgRecord(np.stack([wave + 0.02 * rng.standard_normal(1000) for _ in LEADS]), 100.0, LEADS)

    gallery = [record(1.0 + 0.5 * (i % 3)) for i in range(30)]
    found, queries = baselines.spectrum_embeddings(gallery, [record(1.0 + 0.5 * i) for i in range(3)])
    nearest = ranking.nearest(queries, found, 5)
    assert (nearest.rows % 3 == np.arange(3)[:, None]).all()


def test_log_spectra_bear_missing_leads_and_other_lengths() -> None:
    short = EcgRecord(np.ones((2, 1000)), 500.0, ("I", "V2"))
    features = baselines.log_spectra([short, EcgRecord(np.ones((12, 7000)), 100.0, LEADS)])
    assert features.shape == (2, 12 * 501) and np.isfinite(features).all()


def test_constant_list_is_the_commonest_set() -> None:
    labels = np.array([[True, False]] * 4 + [[False, True]] * 6 + [[True, True]])
    listed = baselines.constant_list(3, labels, 6)
    assert (listed.rows >= 4).all() and (listed.rows < 10).all()
    assert metrics.identical_share(listed, labels[:3], labels, 6).tolist() == [0.0] * 3
    assert baselines.commonest_texts(np.array([3, 1, 1, 2]), 2).tolist() == [1, 3]
