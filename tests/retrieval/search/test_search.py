"""`CaseSearch` over small bases on disk: queries, filters, the vote, warnings and errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ecgkin.retrieval
from ecgkin.index import create_base
from ecgkin.index.base import CaseBase
from ecgkin.index.case import Case
from ecgkin.retrieval.ecg.drawing.raster import render
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders import witness
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.errors import CaseBaseError, EncoderMismatchError, ImageError, QueryError, RecordError
from ecgkin.retrieval.search.search import CaseSearch, Hit, SearchResult, shipped_calibration
from ecgkin.retrieval.search.vote import DEFAULT_K, Calibration, Threshold, VoteRule

ENCODER = HashingEncoder(32)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., CaseBase]]:
    """Makes case bases on disk, and closes them."""
    made: list[CaseBase] = []

    def build(cases: Sequence[Case], vectors: np.ndarray, fingerprint: str = ENCODER.fingerprint) -> CaseBase:
        base = create_base(tmp_path / f"base{len(made)}", "hashing", fingerprint, 32)
        made.append(base)
        if cases:
            base.add(cases, vectors.astype(np.float32))
        return base

    yield build
    for base in made:
        base.close()


@pytest.fixture
def over_records(make: Callable[..., CaseBase]) -> Callable[..., CaseSearch]:
    """Makes a search over sixty made-up records."""

    def build(calibration: Calibration | None = None) -> CaseSearch:
        return CaseSearch(make(cases(60), ENCODER.encode_records([record(i) for i in range(60)])), ENCODER, calibration)

    return build


def record(seed: int) -> EcgRecord:
    rng = np.random.default_rng(seed)
    walk = rng.standard_normal((12, 500)).cumsum(axis=1) * 0.05
    beats = rng.normal(size=(12, 1)) * (np.arange(500) % 40 < 3)  # 75 a minute: what has none is no ECG
    return EcgRecord((walk + beats).astype(np.float32), 50.0, LEADS, record_id=str(seed))


def cases(n: int) -> list[Case]:
    labels = ({"NORM": 100.0, "SR": 0.0}, {"AFIB": 0.0}, {"IMI": 50.0, "SR": 0.0})
    return [
        Case(f"made/{i}", patient_id=f"p{i // 2}", age_years=30.0 + i, sex="FM"[i % 2], labels=labels[i % 3])
        for i in range(n)
    ]


def curves(k: int = 10, threshold: float = 0.5) -> Calibration:
    limit = Threshold(threshold, 0.01, 0.01, 0.9, 100, 100, "noise")
    return Calibration(
        ENCODER.fingerprint, VoteRule(k, 0.1), VoteRule(k, 0.1), {"AFIB": (1.0, 0.0, 0.3)},
        {"record": limit, "image": limit}, n_gallery=60,
    )  # fmt: skip


def test_a_stored_record_comes_first_with_score_one(over_records: Callable[..., CaseSearch]) -> None:
    result = over_records().by_ecg(record(7), k=5)
    assert isinstance(result, SearchResult) and len(result) == 5
    assert result[0].case.case_id == "made/7" and result[0].score == pytest.approx(1.0, abs=1e-5)
    assert [hit.rank for hit in result] == [1, 2, 3, 4, 5]
    assert [hit.score for hit in result] == sorted((hit.score for hit in result), reverse=True)
    assert isinstance(result[0], Hit) and [h.rank for h in result[1:3]] == [2, 3]
    assert result.hits[0].case.patient_id == "p3" and result[0].case.labels == {"AFIB": 0.0}
    assert not result.nothing_similar and result.threshold is None and result.query == "record"
    assert set(result.timings_ms) == {"read", "encode", "index", "vote", "total"}


def test_own_patient_and_filters_act_inside_the_search(over_records: Callable[..., CaseSearch]) -> None:
    search = over_records()
    without = search.by_ecg(record(7), k=10, exclude_patient="p3")
    assert len(without) == 10 and "p3" not in {hit.case.patient_id for hit in without}
    only = search.by_ecg(record(7), k=10, where="sex=M and label:AFIB")
    assert len(only) == 10 and all(h.case.sex == "M" and "AFIB" in h.case.labels for h in only)
    assert any("filter" in w for w in only.warnings) and not only.vote.calibrated
    few = search.by_ecg(record(7), k=10, where={"case": ["made/1", "made/2"]})
    assert len(few) == 2 and any("only 2 of the 10" in w for w in few.warnings)
    nobody = search.by_ecg(record(7), where="age>=120")
    assert len(nobody) == 0 and nobody.nothing_similar and nobody.warnings
    assert not any("filter" in w for w in search.by_ecg(record(7), where="").warnings)


def test_pictures_as_objects_and_as_files(tmp_path: Path, make: Callable[..., CaseBase]) -> None:
    pages = [render(record(i)) for i in range(6)]
    base = make(cases(6), ENCODER.encode_images(pages))
    search = CaseSearch(base, ENCODER)
    path = tmp_path / "page.png"
    pages[2].save(path)
    before = pages[2].tobytes()
    for query in (pages[2], path, str(path)):
        result = search.by_image(query, k=3)
        assert result[0].case.case_id == "made/2" and result.query == "image" and result.page is None
    assert pages[2].tobytes() == before
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no picture")
    for bad in ("empty.png", "text.png", "missing.png"):
        with pytest.raises(ImageError, match=bad):
            search.by_image(tmp_path / bad)


def test_the_page_reading_comes_along_where_the_encoder_takes_pages(make: Callable[..., CaseBase]) -> None:
    class PageEncoder(HashingEncoder):
        def encode_printed(self, printed: Sequence[Any]) -> np.ndarray:
            return self.encode_images([Image.fromarray(one.seen.trace_map) for one in printed])

    encoder = PageEncoder(32)
    rng = np.random.default_rng(0)
    t = np.arange(1000) / 100
    wave = np.maximum(0, np.sin(2 * np.pi * 1.2 * t)) ** 25
    page = render(EcgRecord(np.stack([a * wave for a in rng.uniform(0.5, 1.2, 12)]), 100.0, LEADS))
    base = make(cases(4), encoder.encode_images([render(record(i)) for i in range(4)]))
    result = CaseSearch(base, encoder).by_image(page, k=2)
    assert result.page is not None and result.page.trace_map.shape == (256, 512)
    assert set(result.page.warnings) <= set(result.warnings)
    with pytest.raises(ImageError):
        CaseSearch(base, encoder).by_image(Image.new("RGB", (400, 300), "white"))


def test_words_find_their_report(make: Callable[..., CaseBase]) -> None:
    texts = ["atrial fibrillation", "normal ecg", "inferior infarction"]
    base = make(cases(3), ENCODER.encode_texts(texts))
    result = CaseSearch(base, ENCODER, curves(3)).by_text("Infarction, inferior", k=1)
    assert result[0].case.case_id == "made/2" and result.query == "text"
    # No threshold and no curves were fitted for words.
    assert result.threshold is None and not result.nothing_similar and not result.vote.calibrated


def test_both_together_lie_between_the_two(make: Callable[..., CaseBase]) -> None:
    ecg, words = ENCODER.encode_records([record(0)])[0], ENCODER.encode_texts(["pacemaker"])[0]
    base = make(cases(4), np.stack([ecg, words, -ecg, -words]))
    search = CaseSearch(base, ENCODER)
    ids = {w: search.by_both(record(0), "pacemaker", k=4, weight=w) for w in (0.0, 0.3, 1.0)}
    assert ids[0.0][0].case.case_id == "made/1" and ids[1.0][0].case.case_id == "made/0"
    mixed = 0.3 * ecg + 0.7 * words
    expected = np.stack([ecg, words, -ecg, -words]) @ (mixed / np.linalg.norm(mixed))
    assert [h.score for h in ids[0.3]] == pytest.approx(sorted(expected, reverse=True), abs=1e-5)
    assert ids[0.3].query == "record+text"
    page = render(record(0))
    assert search.by_both(page, "pacemaker", k=1).query == "image+text"
    with pytest.raises(QueryError, match="weight"):
        search.by_both(record(0), "pacemaker", weight=1.5)


def test_calibrated_vote_and_nothing_similar(over_records: Callable[..., CaseSearch]) -> None:
    search = over_records(curves())
    near = search.by_ecg(record(7), k=3)
    assert near.vote.calibrated and near.vote.n_neighbours == 10 and len(near) == 3
    assert near.threshold == 0.5 and not near.nothing_similar
    far = over_records(curves(threshold=0.999)).by_ecg(record(1000))
    assert far.nothing_similar and len(far) == 10 and any("nothing similar" in w for w in far.warnings)
    assert not search.by_ecg(record(7), where="sex=F").vote.calibrated


def test_what_a_record_lacks_is_said(over_records: Callable[..., CaseSearch]) -> None:
    short = EcgRecord(record(1).signal_mv[:8], 50.0, LEADS[:8], notes=("lead II is flat",))
    warnings = over_records().by_ecg(short).warnings
    assert "lead II is flat" in warnings and any("V3, V4, V5, V6" in w for w in warnings)


@pytest.mark.parametrize("k", [0, -1, 1001, 2.5, True, "10", None])
def test_k_out_of_range_is_refused(k: Any, over_records: Callable[..., CaseSearch]) -> None:
    with pytest.raises(QueryError, match="k is"):
        over_records().by_ecg(record(0), k=k)


@pytest.mark.parametrize("text", ["", "  \n", "x" * 10_001, None])
def test_text_that_is_no_query_is_refused(text: Any, over_records: Callable[..., CaseSearch]) -> None:
    with pytest.raises(QueryError, match="query text"):
        over_records().by_text(text)


def test_filters_that_cannot_be_read_are_refused(over_records: Callable[..., CaseSearch]) -> None:
    with pytest.raises(QueryError):
        over_records().by_ecg(record(0), where="age>>>1")


def test_an_empty_base_says_so(make: Callable[..., CaseBase]) -> None:
    base = make([], np.empty((0, 32)))
    with pytest.raises(CaseBaseError, match="no cases"):
        CaseSearch(base, ENCODER).by_text("normal")


def test_another_encoder_is_refused(make: Callable[..., CaseBase]) -> None:
    base = make(cases(1), np.eye(1, 32), fingerprint="another")
    with pytest.raises(EncoderMismatchError, match="another"):
        CaseSearch(base, ENCODER)
    good = make(cases(1), np.eye(1, 32))
    foreign = Calibration("another", VoteRule(), VoteRule(), {})
    with pytest.raises(EncoderMismatchError, match="calibration"):
        CaseSearch(good, ENCODER, foreign)


def test_calibration_beside_the_weights_is_found_unless_it_is_foreign(tmp_path: Path) -> None:
    class Shipped(HashingEncoder):
        weights_dir = tmp_path

    assert shipped_calibration(ENCODER) is None and shipped_calibration(Shipped(32)) is None
    curves().save(tmp_path / "calibration.json")
    found = shipped_calibration(Shipped(32))
    assert found is not None and found.encoder == ENCODER.fingerprint
    assert shipped_calibration(Shipped(16)) is None


@pytest.mark.parametrize(("seed", "k"), [(0, 1), (1, 5), (2, 12)])
def test_order_of_the_base_does_not_matter(seed: int, k: int, make: Callable[..., CaseBase]) -> None:
    order = np.random.default_rng(seed).permutation(12)
    vectors = ENCODER.encode_records([record(i) for i in range(12)])
    one, two = make(cases(12), vectors), make([cases(12)[i] for i in order], vectors[order])
    first, second = (CaseSearch(base, ENCODER).by_ecg(record(3), k=k) for base in (one, two))
    assert [h.case.case_id for h in first] == [h.case.case_id for h in second]
    assert first.vote.statements == pytest.approx(dict(second.vote.statements))


def test_the_vote_looks_deeper_than_what_is_cited(
    make: Callable[..., CaseBase], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cases behind the 200 nearest vote on a record, and are not looked for where nothing is calibrated."""
    rng = np.random.default_rng(0)
    own = ENCODER.encode_records([record(7)])
    vectors = own + 0.01 * rng.normal(size=(400, own.shape[1])).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    nearest_first = np.argsort(-(vectors @ own[0]))
    labels = {int(row): {"AFIB": 100.0} if rank >= 200 else {"SR": 100.0} for rank, row in enumerate(nearest_first)}
    base = make([replace(case, labels=labels[i]) for i, case in enumerate(cases(400))], vectors)
    asked: list[int] = []
    search_base = base.search

    def counted(vector: np.ndarray, k: int, **how: Any) -> list[tuple[Case, float]]:
        asked.append(k)
        return search_base(vector, k, **how)

    monkeypatch.setattr(base, "search", counted)
    search = CaseSearch(base, ENCODER, curves(300))
    deep = search.by_ecg(record(7), k=5)
    assert deep.vote.n_neighbours == 300 and asked == [300]
    assert len(deep.neighbours) == 200 and all("AFIB" not in hit.case.labels for hit in deep.neighbours)
    assert 0.2 < deep.vote.raw["AFIB"] < 1 / 3
    assert len(search.by_ecg(record(7), k=250).neighbours) == 250
    search.by_text("atrial fibrillation", k=5, raw=True)
    assert asked[-1] == 200


def test_open_from_a_folder(make: Callable[..., CaseBase], tmp_path: Path) -> None:
    make(cases(12), ENCODER.encode_records([record(i) for i in range(12)])).close()
    curves().save(tmp_path / "fitted.json")
    with CaseSearch.open(tmp_path / "base0", ENCODER, calibration=tmp_path / "fitted.json") as search:
        assert search.by_ecg(record(5), k=1)[0].case.case_id == "made/5"
        assert search.calibration is not None and search.calibration.depth == 10
    with pytest.raises(CaseBaseError):
        CaseSearch.open(tmp_path / "nowhere", ENCODER)


def test_the_package_loads_its_names_on_first_use() -> None:
    assert ecgkin.retrieval.CaseSearch is CaseSearch
    assert {"CaseSearch", "Hit", "SearchResult"} <= set(dir(ecgkin.retrieval))
    with pytest.raises(AttributeError, match="nonsense"):
        ecgkin.retrieval.nonsense  # noqa: B018


def test_copies_of_one_recording_vote_once(make: Callable[..., CaseBase]) -> None:
    """A recording stored under thirty ids weighs in the vote as it does under one, and neighbours behind it vote."""
    own = [replace(case, content_hash=f"{i:032x}") for i, case in enumerate(cases(60))]
    vectors = ENCODER.encode_records([record(i) for i in range(60)])
    copies = [Case(f"copy/{i}", labels={"AMI": 100.0}, content_hash="f" * 32) for i in range(30)]
    copied = np.repeat(ENCODER.encode_records([record(7)]), 30, axis=0)
    few = make([*own, copies[0]], np.concatenate([vectors, copied[:1]]))
    many = make([*own, *copies], np.concatenate([vectors, copied]))
    once, often = (CaseSearch(base, ENCODER).by_ecg(record(7), k=20) for base in (few, many))
    assert often.vote.raw == once.vote.raw and often.vote.n_neighbours == once.vote.n_neighbours == DEFAULT_K
    assert 0.4 < often.vote.statements["AMI"] < 0.5, "the recording itself, and one copy of it, are nearest"
    assert sum(hit.case.case_id.startswith("copy/") for hit in often) == 19, "hits are shown as they are stored"
    without = [replace(case, content_hash="") for case in copies]
    base = make([*own, *without], np.concatenate([vectors, copied]))
    assert CaseSearch(base, ENCODER).by_ecg(record(7)).vote.statements["AMI"] > 0.9, "unknown contents are not equal"


class Refusing:
    """A classifier that knows one statement, and wants 10 s."""

    name = "other"

    def of_records(self, records: Sequence[EcgRecord]) -> witness.Testimony:
        for one in records:
            if one.duration_s < 10:
                raise RecordError(f"{one.duration_s:g} s (expected 10)")
        said = np.array([[0.9, np.nan]] * len(records), dtype=np.float32)
        return witness.Testimony(("AFIB", "QWAVE"), said, ("AFIB",))


def test_another_classifier_is_heard_beside_the_vote(over_records: Callable[..., CaseSearch]) -> None:
    search = over_records()
    alone = search.by_ecg(record(3))
    assert alone.testimony == {}
    heard = CaseSearch(search.base, ENCODER, witness=Refusing())
    result = heard.by_ecg(record(3))
    assert result.testimony == {"other": {"AFIB": pytest.approx(0.9)}}
    assert result.vote == alone.vote
    assert heard.by_text("atrial fibrillation").testimony == {}


def test_a_classifier_that_refuses_says_why(over_records: Callable[..., CaseSearch]) -> None:
    search = CaseSearch(over_records().base, ENCODER, witness=Refusing())
    short = record(3)
    result = search.by_ecg(replace(short, signal_mv=short.signal_mv[:, :250]))
    assert result.testimony == {}
    assert "other says nothing of this ECG: 5 s (expected 10)" in result.warnings
    assert result.hits
