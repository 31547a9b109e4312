"""The case base: what goes in comes out, searches equal the twin's, files that do not belong together are refused."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgkin.index import create_base, open_base
from ecgkin.index.base import CaseBase
from ecgkin.index.case import Case, content_hash, iso_date
from ecgkin.index.engines.faiss import KINDS
from ecgkin.index.engines.protocol import ExactIndex, Vectors
from ecgkin.index.folder.base import FolderBase
from ecgkin.index.folder.store import STORE
from ecgkin.index.manifest import MANIFEST
from ecgkin.index.waveform import pack_record, unpack_record
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.errors import (
    CaseBaseError,
    EncoderMismatchError,
    ManifestError,
    QueryError,
    RecordError,
)

DIM = 16


def unit(n: int, seed: int = 0) -> Vectors:
    rows = np.random.default_rng(seed).standard_normal((n, DIM))
    units: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return units


def made_cases(n: int, first: int = 0) -> list[Case]:
    return [
        Case(
            f"made/{i}",
            patient_id=str(i // 3),
            source="made",
            age_years=float(20 + i % 70),
            sex="FM"[i % 2],
            recorded_at=f"{1980 + i % 20}-01-02 03:04:05",
            labels={"NORM": 100.0} if i % 4 else {"AFIB": 0.0, "LVH": 50.0},
            report=f"Befund {i} äöü \u0000 ?",
            language="de",
            meta={"fold": i % 10, "device": None},
            content_hash=f"{i:032x}",
        )
        for i in range(first, first + n)
    ]


def made(path: Path, n: int = 60, kind: str = "auto") -> CaseBase:
    base = create_base(path, "hashing", "abc", DIM, drawing_version="1", preprocessing={"px": 2}, kind=kind)
    if n:
        base.add(made_cases(n), unit(n))
    return base


def noisy_record(seed: int = 0) -> EcgRecord:
    signal = np.random.default_rng(seed).normal(0, 0.5, (12, 500)).round(3).astype(np.float32)
    signal[4] = np.nan
    signal[5, 100:200] = np.nan
    return EcgRecord(signal, 100.0, LEADS, "r1", "p1", 60.0, "F", ("a note",))


def test_round_trip(tmp_path: Path) -> None:
    cases, vectors = made_cases(60), unit(60)
    with made(tmp_path / "b") as base:
        base.add([Case("bare")], unit(1, 9), [noisy_record()])
    with open_base(tmp_path / "b") as base:
        assert len(base) == 61
        assert base.cases(limit=60) == cases
        assert base.cases(offset=59, limit=1) == cases[59:60]
        assert base.get("made/7") == cases[7]
        assert "made/7" in base and "made/99" not in base and 7 not in base
        np.testing.assert_array_equal(base.vector("made/7"), vectors[7])
        np.testing.assert_array_equal(base.vectors(["made/7", "made/3", "made/7"]), vectors[[7, 3, 7]])
        assert base.ids_by_content([f"{5:032x}", "x", ""]) == {f"{5:032x}": ["made/5"]}
        assert base.record("made/1") is None
        kept = base.record("bare")
        assert kept is not None
        np.testing.assert_allclose(kept.signal_mv, noisy_record().signal_mv, atol=1e-6)
        assert (kept.leads, kept.fs_hz, kept.patient_id, kept.notes) == (LEADS, 100.0, "p1", ("a note",))
        base.verify()
        info = base.info()
        assert (info["n_cases"], info["dim"], info["encoder"], info["preprocessing"]) == (61, DIM, "hashing", {"px": 2})
        assert info["labels"]["AFIB"] == 15 and info["n_records"] == 1
        assert json.loads(json.dumps(info)) == info


@pytest.mark.parametrize("kind", KINDS)
def test_search_equals_the_twin(tmp_path: Path, kind: str) -> None:
    cases, vectors = made_cases(400), unit(400)
    made(tmp_path / "b", 400, kind).close()
    twin = ExactIndex(DIM)
    twin.add(np.arange(400), vectors)
    with open_base(tmp_path / "b") as base:
        assert base.info()["index_kind"] == kind
        for where in (None, "sex=F", "label:AFIB and age<40", "case=made/3", "age>125"):
            through = {c.case_id for c in base.cases(where)}
            allowed = np.array([i for i, c in enumerate(cases) if c.case_id in through], dtype=np.int64)
            for query in unit(5, 3):
                scores, ids = twin.search(query[None], 10, allowed)
                found = base.search(query, 10, where)
                np.testing.assert_allclose([s for _, s in found], scores[0][ids[0] >= 0], atol=1e-5)
                assert [c.case_id for c, _ in found] == [f"made/{i}" for i in ids[0] if i >= 0]
        query = vectors[9]
        assert base.search(query, 1)[0][0].case_id == "made/9"
        left = base.search(query, 400, exclude_patient="3", exclude_case="made/50")
        assert len(left) == 396 and not {c.case_id for c, _ in left} & {"made/9", "made/10", "made/11", "made/50"}
        assert len(base.search(query, 10, exclude_patient="nobody")) == 10
        many = base.search_many(vectors[:3], 5, exclude_cases=["made/0", None, "made/2"])
        assert [hits[0][0].case_id == f"made/{i}" for i, hits in enumerate(many)] == [False, True, False]
        base.verify()


def test_excluding_a_patient_with_hundreds_of_cases(tmp_path: Path) -> None:
    with made(tmp_path / "b", 0) as base:
        cases = [replace(c, patient_id="one" if i < 500 else "other") for i, c in enumerate(made_cases(520))]
        base.add(cases, unit(520))
        found = base.search(unit(520)[0], 50, exclude_patient="one")
        assert {c.patient_id for c, _ in found} == {"other"} and len(found) == 20


def test_a_case_that_a_reader_changes_stays_as_it_is_stored(tmp_path: Path) -> None:
    stored = Case("x/1", labels={"AFIB": 100.0}, meta={"digitised": {"layout": "6x2"}, "device": "A"})
    with made(tmp_path / "base", 0) as base:
        base.add([stored], unit(1))
        for _ in range(2):
            case = base.get("x/1")
            assert case.as_dict() == {**stored.as_dict(), "content_hash": case.content_hash}
            case.labels.clear()
            case.meta["device"] = "B"
            case.meta["digitised"]["layout"] = "3x4"


def test_update_and_remove(tmp_path: Path) -> None:
    with made(tmp_path / "b") as base:
        base.update([replace(base.get("made/3"), report="new", labels={"PACE": 1.0})])
        np.testing.assert_array_equal(base.vector("made/3"), unit(60)[3])
        assert base.get("made/3").report == "new" and base.count("label:PACE") == 1
        base.update([replace(base.get("made/4"), report="moved")], unit(1, 44), [noisy_record()])
        assert base.search(unit(1, 44)[0], 1)[0][0].report == "moved"
        base.update([base.get("made/4")], unit(1, 45))
        assert base.record("made/4") is not None and base.count("label:AFIB") == 15
        base.remove(["made/4", "made/5"])
        assert len(base) == 58 and "made/4" not in base and len(base.search(unit(1)[0], 100)) == 58
        base.verify()
        base.add([made_cases(5)[4]], unit(1, 46))
        assert base.search(unit(1, 46)[0], 1)[0][0].case_id == "made/4"
        assert base.record("made/4") is None
        base.compact()
        base.verify()
    with open_base(tmp_path / "b") as base:
        assert len(base) == 59
        base.verify()


def test_what_is_refused_changes_nothing(tmp_path: Path) -> None:
    with made(tmp_path / "b", 5) as base:
        new, v = made_cases(2, 5), unit(2, 5)
        tries: list[Callable[[], object]] = [
            lambda: base.add([new[0], new[0]], v),
            lambda: base.add([new[0], made_cases(1)[0]], v),
            lambda: base.add(new, v[:1]),
            lambda: base.add(new, v * 2),
            lambda: base.add(new, np.full_like(v, np.nan)),
            lambda: base.add(new, unit(2)[:, :8]),
            lambda: base.add(new, v, [noisy_record()]),
            lambda: base.add([new[0], replace(new[1], meta={"x": object()})], v),
            lambda: base.update(new),
            lambda: base.remove(["made/1", "made/77"]),
            lambda: base.get("nobody"),
            lambda: base.vector("nobody"),
            lambda: base.record("nobody"),
            lambda: base.search(unit(1)[0], 0),
            lambda: base.search(unit(1)[0] * 3, 1),
            lambda: base.search(unit(2), 1),
            lambda: base.search(unit(1)[0][:4], 1),
            lambda: base.search(unit(1)[0], 1, "age>"),
            lambda: base.cases(offset=-1),
        ]
        for attempt in tries:
            with pytest.raises((QueryError, RecordError)):
                attempt()
        infinite = EcgRecord(np.full((1, 5), np.inf, dtype=np.float32), 100.0, ("I",))
        with pytest.raises(RecordError):
            base.add(new, v, [None, infinite])
        assert base.cases() == made_cases(5)
        base.verify()


def test_cases_and_dates_are_checked() -> None:
    bad: list[dict[str, object]] = [
        {"case_id": " "}, {"age_years": -1.0}, {"age_years": float("nan")}, {"sex": "f"}, {"recorded_at": "12.3.2020"},
        {"labels": {"A": float("nan")}}, {"report": "\ud800"}, {"patient_id": 7},
    ]  # fmt: skip
    for wrong in bad:
        with pytest.raises(RecordError):
            Case(**{"case_id": "x", **wrong})  # type: ignore[arg-type]
    assert iso_date("1984-11-09 09:17") == "1984-11-09T09:17"
    for text in ("1984-13", "1984-02-30", "84", "", "1984-11-09T25:00"):
        with pytest.raises(RecordError):
            iso_date(text)


def test_readers_see_what_a_writer_adds(tmp_path: Path) -> None:
    with made(tmp_path / "b", 10) as writer, open_base(tmp_path / "b") as reader:
        assert len(reader) == 10
        writer.add(made_cases(5, 10), unit(5, 1))
        writer.remove(["made/0"])
        assert len(reader) == 14 and reader.search(unit(5, 1)[2], 1)[0][0].case_id == "made/12"
        writer.compact()
        writer.add(made_cases(1, 15), unit(1, 2))
        assert len(reader) == 15 and len(reader.search(unit(1, 2)[0], 99)) == 15
        reader.verify()
        with writer.exclusive(), pytest.raises(CaseBaseError, match="somebody else is writing"):
            reader.remove(["made/1"])
        assert "made/1" in reader
        reader.remove(["made/1"])  # the lock is held for a batch, not for ever
        assert "made/1" not in writer


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "b").close()
    before = sorted((p.name, p.stat().st_mtime_ns) for p in (tmp_path / "b").iterdir())
    # Whoever runs the tests may write anywhere, so the answer is made up.
    monkeypatch.setattr("ecgkin.index.folder.store.os.access", lambda path, mode: False)
    with open_base(tmp_path / "b") as base:
        assert base.search(unit(60)[4], 1)[0][0].case_id == "made/4"
        with pytest.raises(CaseBaseError):
            base.remove(["made/4"])
    after = sorted((p.name, p.stat().st_mtime_ns) for p in (tmp_path / "b").iterdir())
    assert [x for x in after if x[0] != "writer.lock"] == [x for x in before if x[0] != "writer.lock"]


def test_threads_take_turns(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def search(base: CaseBase) -> None:
        try:
            for query in unit(40, 5):
                found = base.search(query, 10, "sex=F")
                assert len(found) == 10 and all(c.sex == "F" for c, _ in found)
        except BaseException as error:
            failures.append(error)

    with made(tmp_path / "b", 200) as base:
        threads = [threading.Thread(target=search, args=(base,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for i in range(20):
            base.add(made_cases(1, 200 + i), unit(1, 100 + i))
        for thread in threads:
            thread.join()
    assert not failures


def test_another_encoder_is_refused(tmp_path: Path) -> None:
    made(tmp_path / "b").close()
    encoder = HashingEncoder(DIM)
    with pytest.raises(EncoderMismatchError, match="built with encoder hashing abc"):
        open_base(tmp_path / "b", encoder)
    create_base(tmp_path / "c", encoder.name, encoder.fingerprint, DIM).close()
    open_base(tmp_path / "c", encoder).close()
    with pytest.raises(EncoderMismatchError):
        open_base(tmp_path / "c", HashingEncoder(DIM * 2))


Damage = Callable[[Path, Path], object]


def _swap(name: str) -> Damage:
    return lambda base, other: shutil.copy(next(other.glob(name)), next(base.glob(name)))


def _cut(name: str, keep: float) -> Damage:
    def cut(base: Path, other: Path) -> None:
        path = next(base.glob(name))
        path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])

    return cut


def _edit_manifest(base: Path, other: Path) -> None:
    path = base / MANIFEST
    path.write_text(path.read_text().replace('"abc"', '"abd"'))


def _flip_index(base: Path, other: Path) -> None:
    path = next(base.glob("index*"))
    content = bytearray(path.read_bytes())
    content[-200] ^= 1
    path.write_bytes(content)


def _edit_store(base: Path, other: Path) -> None:
    with sqlite3.connect(base / STORE) as db:
        db.execute("DELETE FROM cases WHERE case_id = 'made/3'")
    db.close()


def _older_store(base: Path, other: Path) -> None:
    shutil.copy(base / STORE, base / "kept")
    with open_base(base) as opened:
        opened.add(made_cases(1, 70), unit(1, 70))
    (base / "kept").replace(base / STORE)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (_swap(MANIFEST), MANIFEST),
        (_swap(STORE), STORE),
        (_swap("index*"), "index"),
        (_cut(MANIFEST, 0.5), MANIFEST),
        (_cut(STORE, 0.5), STORE),
        (_cut(STORE, 0.0), STORE),
        (_cut("index*", 0.5), "index"),
        (_edit_manifest, MANIFEST),
        (_flip_index, "index"),
        (_edit_store, STORE),
        (_older_store, STORE),
        (lambda base, other: (base / MANIFEST).unlink(), MANIFEST),
        (lambda base, other: (base / STORE).unlink(), STORE),
        (lambda base, other: next(base.glob("index*")).unlink(), "index"),
        (lambda base, other: (base / STORE).write_text("not a data base, though long enough for one" * 99), STORE),
    ],
)  # fmt: skip
def test_files_that_do_not_belong_together(tmp_path: Path, damage: Damage, named: str) -> None:
    made(tmp_path / "b").close()
    made(tmp_path / "other", 61).close()
    damage(tmp_path / "b", tmp_path / "other")
    with pytest.raises(ManifestError) as caught:
        open_base(tmp_path / "b")
    assert named in str(caught.value)


def test_repair(tmp_path: Path) -> None:
    damages: list[Damage] = [_cut(MANIFEST, 0.5), _flip_index, lambda base, other: (base / MANIFEST).unlink()]
    for i, damage in enumerate(damages):
        made(tmp_path / f"b{i}").close()
        damage(tmp_path / f"b{i}", tmp_path)
        with FolderBase.repair(tmp_path / f"b{i}") as base:
            assert base.cases() == made_cases(60)
            base.verify()
        open_base(tmp_path / f"b{i}").close()
    _edit_store(tmp_path / "b0", tmp_path)
    with pytest.raises(ManifestError):
        FolderBase.repair(tmp_path / "b0")


def test_places_that_are_no_base(tmp_path: Path) -> None:
    for path in (tmp_path / "no", tmp_path):
        with pytest.raises(CaseBaseError):
            open_base(path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    for path in (tmp_path / "file", tmp_path / "full", tmp_path / "file" / "b"):
        with pytest.raises(CaseBaseError):
            create_base(path, "e", "f", 4)
    (tmp_path / "empty").mkdir()
    create_base(tmp_path / "empty", "e", "f", 4).close()
    with open_base(tmp_path / "empty") as base:
        assert len(base) == 0 and base.search(np.eye(1, 4, dtype=np.float32)[0]) == []
    for use in (base.cases, base.info, base.verify):
        with pytest.raises(CaseBaseError, match="was closed"):
            use()
    with pytest.raises(QueryError):
        create_base(tmp_path / "new", "e", "f", 0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "file", "full"]


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_add_then_remove_leaves_the_base_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    n, extra = data.draw(st.integers(0, 12)), data.draw(st.integers(1, 6))
    order = data.draw(st.permutations(range(n)))
    cases, vectors = made_cases(n), unit(max(n, 1))[:n]
    folder = tmp_path_factory.mktemp("h")
    with made(folder / "a", 0) as one, made(folder / "b", 0) as other:
        one.add(cases, vectors)
        for i in order:
            other.add([cases[i]], vectors[i : i + 1])
        before = [one.search(q, 5, "sex=F") for q in unit(3, 8)]
        one.add(made_cases(extra, n), unit(extra, 4), [noisy_record()] * extra)
        one.remove([f"made/{n + i}" for i in range(extra)])
        assert one.cases() == cases and [one.search(q, 5, "sex=F") for q in unit(3, 8)] == before
        assert [other.search(q, 5, "sex=F") for q in unit(3, 8)] == before  # ties do not happen among these vectors
        one.verify()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 50), st.floats(0.001, 200), st.integers(0, 2**32 - 1), st.booleans())
def test_waveforms_keep_their_samples(leads: int, n: int, scale: float, seed: int, holes: bool) -> None:
    rng = np.random.default_rng(seed)
    signal = (scale * rng.standard_normal((leads, n))).astype(np.float32)
    if holes:
        signal[rng.random(signal.shape) < 0.3] = np.nan
    record = EcgRecord(signal, 250.0, LEADS[:leads])
    back = unpack_record(*pack_record(record))
    np.testing.assert_array_equal(np.isnan(back.signal_mv), np.isnan(signal))
    peak = float(np.nanmax(np.abs(signal))) if not np.isnan(signal).all() else 0.0
    step = max(0.001, peak / 32767)
    np.testing.assert_allclose(back.signal_mv, signal, atol=step * 0.51 + peak * 1e-6)


def test_damaged_samples_are_an_error() -> None:
    head, blob = pack_record(noisy_record())
    for bad in ((head, blob[:-9]), ("{}", blob), (head, b"")):
        with pytest.raises(CaseBaseError):
            unpack_record(*bad)


def test_content_hash() -> None:
    record = noisy_record()
    assert content_hash(record) == content_hash(replace(record, record_id="x", notes=(), patient_id=None))
    changed = record.signal_mv.copy()
    changed[0, 0] += 0.001
    others = [replace(record, signal_mv=changed), replace(record, fs_hz=200.0), record.window(0, 1)]
    assert len({content_hash(r) for r in (record, *others)}) == 4


def test_hashing_encoder_keeps_the_protocol(made_record: EcgRecord) -> None:
    from PIL import Image

    encoder: Encoder = HashingEncoder(32)
    assert isinstance(encoder, Encoder)
    pictures = [Image.new("RGB", (40, 30), "white"), Image.effect_noise((300, 200), 60)]
    for vectors in (
        encoder.encode_images(pictures),
        encoder.encode_texts(["", "sinus rhythm"]),
        encoder.encode_records([made_record, noisy_record()]),
    ):
        assert vectors.shape == (2, 32) and vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert encoder.encode_images([]).shape == encoder.encode_texts([]).shape == (0, 32)
    again = HashingEncoder(32)
    np.testing.assert_array_equal(again.encode_texts(["a b"]), encoder.encode_texts(["B a"]))
    assert again.fingerprint == encoder.fingerprint != HashingEncoder(16).fingerprint
