"""Case retrieval, cross-modal recall, join ranks, baselines, text search and the runner."""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ecgkin.generation.research.retrieval import baselines, cross_modal, metrics, ranking, text_search
from ecgkin.generation.research.retrieval import protocol as strangers
from ecgkin.generation.research.retrieval.case_retrieval import evaluate_case_retrieval
from ecgkin.generation.research.retrieval.galleries import Embedder, draw_query, encode_pictures
from ecgkin.generation.research.retrieval.labels import default_space
from ecgkin.generation.research.retrieval.protocol import evaluate_retrieval
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.errors import ImageError, QueryError, RecordError
from ecgkin.retrieval.search.vote import Calibration


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
    short = EcgRecord(np.ones((2, 1000), dtype=np.float32), 500.0, ("I", "V2"))
    features = baselines.log_spectra([short, EcgRecord(np.ones((12, 7000), dtype=np.float32), 100.0, LEADS)])
    assert features.shape == (2, 12 * 501) and np.isfinite(features).all()


def test_constant_list_is_the_commonest_set() -> None:
    labels = np.array([[True, False]] * 4 + [[False, True]] * 6 + [[True, True]])
    listed = baselines.constant_list(3, labels, 6)
    assert (listed.rows >= 4).all() and (listed.rows < 10).all()
    assert metrics.identical_share(listed, labels[:3], labels, 6).tolist() == [0.0] * 3
    assert baselines.commonest_texts(np.array([3, 1, 1, 2]), 2).tolist() == [1, 3]


# ---------------------------------------------------------------- case retrieval


def labelled(n: int, seed: int) -> list[Row]:
    rng = np.random.default_rng(seed)
    kinds = ({"NORM": 100.0, "SR": 0.0}, {"IMI": 50.0, "SR": 0.0}, {"AFIB": 0.0}, {"LVH": 0.0, "SR": 0.0})
    return [Row(f"{seed}-{i // 2}", f"text {i}", kinds[int(k)]) for i, k in enumerate(rng.integers(0, 4, n))]


def test_embeddings_that_are_the_labels_score_perfectly() -> None:
    queries, gallery = labelled(60, 1), labelled(400, 2)
    space = default_space()
    emb = [
        ranking.unit_rows(space.statements([r.labels for r in rows]).astype(np.float32)) for rows in (queries, gallery)
    ]
    result = evaluate_case_retrieval(emb[0], emb[1], queries, gallery)
    assert result.aucs["superclasses"].interval.value == 1.0
    assert result.aucs["statements"].interval.value == 1.0
    assert result.aucs["statements"].n_labels == 5
    for name in ("P@10 superclass sets", "P@10 statement sets", "P@10 statement sets (>= 10)", "nDCG@10"):
        assert result.measures[name].value == pytest.approx(1.0)
    assert result.n_superclass_queries == sum("AFIB" not in row.labels for row in queries)
    assert result.share_with_ten == 1.0
    assert result.per_statement["AFIB"] == (1.0, sum("AFIB" in row.labels for row in queries))
    assert np.isnan(result.per_statement["PACE"][0])


def test_patients_on_both_sides_are_left_out() -> None:
    rows_ = labelled(80, 3)
    emb = baselines.random_embeddings(80, 16)
    result = evaluate_case_retrieval(emb, emb, rows_, rows_)
    patients = np.array([row.patient_id for row in rows_])
    found = result.neighbours.rows
    assert not ((patients[found] == patients[:, None]) & (found >= 0)).any()


def test_rows_and_embeddings_of_different_number_are_refused() -> None:
    with pytest.raises(QueryError, match="60"):
        evaluate_case_retrieval(
            baselines.random_embeddings(59, 4), baselines.random_embeddings(40, 4), labelled(60, 1), labelled(40, 2)
        )


# ---------------------------------------------------------------- text search


def test_text_search_counts_hits_that_carry_the_statement() -> None:
    queries = text_search.text_queries()
    assert len(queries) == 120 and len({text for _, _, text in queries}) == 120
    codes = sorted({code for code, _, _ in queries})
    assert set(text_search.COMMON) <= set(codes) <= {s.code for s in STATEMENTS}
    gallery = [Row(i, "", {code: 0.0}) for i, code in enumerate(codes * 12)]
    axes = np.eye(len(codes), dtype=np.float32)
    vectors = axes[[codes.index(code) for code, _, _ in queries]]
    vectors[0] = axes[codes.index("AFIB")]  # "normal ECG" goes astray
    results = text_search.evaluate_text_search(vectors, np.tile(axes, (12, 1)), gallery)
    assert [r.precision for r in results] == [0.0] + [1.0] * 119
    assert all(r.n_gallery == 12 for r in results)


def test_evaluation_sentences_are_not_in_the_vocabulary_that_training_reads(project_root: Path) -> None:
    vocabulary = (
        (project_root / "retrieval" / "ecg" / "statements" / "statements.json").read_text(encoding="utf-8").lower()
    )
    for *_, sentence in text_search.QUERIES.values():
        assert sentence.lower().rstrip(".") not in vocabulary


# ---------------------------------------------------------------- strangers


def test_strangers_keep_the_spectrum_but_not_the_beats(made_record: EcgRecord) -> None:
    made = strangers.stranger_records([made_record] * 5)
    assert [m.record_id for m in made] == [f"stranger-{i}" for i in range(5)]
    shuffled = made[0].standard()
    own, other = (np.abs(np.fft.rfft(x - x.mean(axis=1, keepdims=True))) for x in (made_record.standard(), shuffled))
    assert np.corrcoef(own[1, 1:-1], other[1, 1:-1])[0, 1] > 0.99
    peak = [np.abs(x[1]).max() / x[1].std() for x in (made_record.standard(), shuffled)]
    assert peak[0] > 1.3 * peak[1]
    assert all(np.isfinite(m.signal_mv).all() and np.abs(m.signal_mv).max() < 12 for m in made)


# ---------------------------------------------------------------- the runner


def write_ptbxl(root: Path, n: int = 48) -> Path:
    """A folder in PTB-XL's layout with made-up records: 100 Hz, 16 bit, folds 1 and 9, some patients twice."""
    rng = np.random.default_rng(5)
    t = np.arange(1000) / 100
    kinds = (
        ("NORM", 1.0, "sinusrhythmus normales ekg"),
        ("STACH", 2.2, "sinus tachycardia"),
        ("AFIB", 1.5, "vorhofflimmern"),
    )
    lines = [
        "ecg_id,patient_id,age,sex,device,recording_date,report,scp_codes,strat_fold,filename_lr,filename_hr",
    ]
    (root / "records100" / "00000").mkdir(parents=True)
    for i in range(n):
        code, rate, report = kinds[i % 3]
        wave = np.maximum(0, np.sin(2 * np.pi * (rate * t + rng.random()))) ** 15
        signal = np.stack([a * wave + 0.01 * rng.standard_normal(1000) for a in np.linspace(0.5, 1.5, 12)])
        name = f"records100/00000/{i + 1:05d}_lr"
        (signal.T * 1000).astype("<i2").tofile(root / f"{name}.dat")
        head = [f"{i + 1:05d}_lr 12 100 1000"]
        head += [f"{i + 1:05d}_lr.dat 16 1000.0(0)/mV 16 0 0 0 0 {lead.upper()}" for lead in LEADS]
        (root / f"{name}.hea").write_text("\n".join(head) + "\n")
        fold = 9 if i % 4 == 0 else 1
        patient = i // 8 * 2 + (fold == 9)
        lines.append(f"{i + 1},{patient},60,1,made,1990-01-01 00:00:00,{report},\"{{'{code}': 100.0}}\",{fold},{name},")
    (root / "ptbxl_database.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def test_the_whole_protocol_on_a_small_folder(tmp_path: Path) -> None:
    root = write_ptbxl(tmp_path / "ptbxl")
    calls: list[tuple[str, int, int]] = []
    encoder = HashingEncoder(32)
    report = evaluate_retrieval(
        root, encoder, layouts=("6x2", "photo"), out_dir=tmp_path / "out", cache_dir=tmp_path / "cache",
        untrained=[HashingEncoder(16)], fit=True, resamples=50, progress=lambda *a: calls.append(a),
    )  # fmt: skip
    assert set(report.systems) == {"hashing", "random", "constant list", "log-spectrum", "untrained 1"}
    assert set(report.layouts) == {"3x4+1R", "6x2", "photo"} == set(report.join)
    assert report.systems["log-spectrum"].measures["P@10 statement sets"].value == 1.0
    assert report.systems["random"].measures["P@10 statement sets"].value < 0.6
    assert report.layouts["photo"].rules == report.layouts["3x4+1R"].rules
    assert calls and calls[0][1:] == (36, 36)
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    for part in ("3x4+1R", "log-spectrum", "untrained 1", "Text search", "ceiling of strict recall", "Calibration"):
        assert part in text
    figures = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert figures["systems"]["hashing"]["n_gallery"] == 36 and "NaN" not in json.dumps(figures)
    with gzip.open(tmp_path / "out" / "run-3x4-1R.txt.gz", "rt") as stream:
        first = stream.readline().split()
    assert first[1] == "Q0" and first[3] == "1" and first[5] == "hashing"
    calibration = Calibration.load(tmp_path / "out" / "calibration.json", encoder.fingerprint)
    assert set(calibration.thresholds) == {"image", "record", "text"} and len(calibration.curves) == 76


def test_cached_embeddings_are_found_again_and_only_for_the_same_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = PtbXl(write_ptbxl(tmp_path / "ptbxl", 8))
    first = Embedder(data, HashingEncoder(16), tmp_path / "cache").queries(data.rows, "6x2")
    other = Embedder(data, HashingEncoder(32), tmp_path / "cache").queries(data.rows, "6x2")
    assert other.shape == (8, 32)

    def never(*_: object) -> None:
        raise AssertionError("encoded anew")

    monkeypatch.setattr(HashingEncoder, "encode_images", never)
    again = Embedder(data, HashingEncoder(16), tmp_path / "cache").queries(data.rows, "6x2")
    assert (again == first).all()
    with pytest.raises(AssertionError, match="anew"):
        Embedder(data, HashingEncoder(16), tmp_path / "cache").queries(data.rows[:7], "6x2")
    with pytest.raises(QueryError, match="7x7"):
        Embedder(data, HashingEncoder(16)).queries(data.rows, "7x7")


def test_folds_that_are_not_there_are_named(tmp_path: Path) -> None:
    root = write_ptbxl(tmp_path / "ptbxl", 8)
    with pytest.raises(RecordError, match=r"\[10\].*\[1, 9\]"):
        evaluate_retrieval(root, HashingEncoder(16), query_folds=(10,))
    with pytest.raises(QueryError, match="both"):
        evaluate_retrieval(root, HashingEncoder(16), query_folds=(1, 9))
    with pytest.raises(QueryError, match="7x7"):
        evaluate_retrieval(root, HashingEncoder(16), layouts=("7x7",))


class Picky(HashingEncoder):
    """Refuses small pictures, like a page reader that sees no ECG."""

    def encode_images(self, images):  # type: ignore[no-untyped-def]
        if any(image.width < 50 for image in images):
            raise ImageError("no ECG")
        return super().encode_images(images)


def test_a_refused_picture_counts_as_lost() -> None:
    pictures = [Image.new("RGB", (width, 60), "white") for width in (80, 20, 90)]
    vectors = encode_pictures(Picky(8), pictures)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 0, 1])


def test_photos_are_the_same_in_every_run(made_record: EcgRecord) -> None:
    one, two = (np.asarray(draw_query(made_record, "photo")) for _ in range(2))
    assert (one == two).all() and (np.asarray(draw_query(made_record, "6x2")).shape != one.shape)


# ---------------------------------------------------------------- real PTB-XL


def test_label_space_equals_the_table_of_the_folder(ptbxl_root: Path) -> None:
    ours = default_space()
    with (ptbxl_root / "scp_statements.csv").open(encoding="utf-8", newline="") as file:
        rows = {row[""]: row for row in csv.DictReader(file)}
    diagnostic = {code for code, row in rows.items() if row["diagnostic"]}
    assert set(ours.codes) == set(rows)
    for of_codes, column in ((ours.superclass_of, "diagnostic_class"), (ours.subclass_of, "diagnostic_subclass")):
        assert of_codes == {code: row[column] or None if code in diagnostic else None for code, row in rows.items()}
    assert set(ours.superclasses) == {rows[code]["diagnostic_class"] for code in diagnostic}
    assert len(ours.subclasses) == 23


def test_chance_levels_of_fold_9_are_the_known_ones(ptbxl_root: Path) -> None:
    data = PtbXl(ptbxl_root)
    queries, gallery = data.select([9]), data.select(range(1, 9))
    if (len(queries), len(gallery)) != (2183, 17418):
        pytest.skip("folds 1-9 are not complete")
    space = default_space()
    own, others = (space.statements([row.labels for row in rows_]) for rows_ in (queries, gallery))
    # field.md 5.5: P@10 of identical statement sets by chance, the constant list, queries with ten identical sets.
    count = metrics.identical_in_gallery(own, others)
    assert count.mean() / len(gallery) == pytest.approx(0.104, abs=5e-4)
    assert (count >= 10).mean() == pytest.approx(0.67, abs=5e-3)
    constant = baselines.constant_list(len(queries), others, 10)
    assert metrics.identical_share(constant, own, others, 10).mean() == pytest.approx(0.307, abs=1e-3)
    assert (own.any(axis=0).sum(), metrics.clean_columns(own).sum()) == (71, 50)
    texts = cross_modal.text_numbers([row.report for row in queries])
    ceiling = cross_modal.strict_ceiling(texts)
    assert texts.max() + 1 == pytest.approx(1265, abs=3)
    assert ceiling[1] == pytest.approx(0.579, abs=2e-3) and ceiling[10] == pytest.approx(0.764, abs=2e-3)
