"""Ingest: resumable, by content, with every failure named; PTB-XL and folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ecgkin.index import create_base
from ecgkin.index.case import Case
from ecgkin.index.ingest.pipeline import ingest_records, open_or_create
from ecgkin.index.sources.folder import folder_items
from ecgkin.index.sources.items import IngestItem, IngestReport
from ecgkin.index.sources.ptbxl import ptbxl_items
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.errors import EncoderMismatchError, QueryError, RecordError


def noise(seed: int, n: int = 200) -> EcgRecord:
    signal = np.random.default_rng(seed).normal(0, 0.4, (12, n)).round(3).astype(np.float32)
    return EcgRecord(signal, 100.0, LEADS, f"r{seed}", f"p{seed}", 50.0 + seed, "F")


def items(n: int, first: int = 0) -> list[IngestItem]:
    return [IngestItem(Case(f"x/{i}", labels={"NORM": 100.0}), lambda i=i: noise(i)) for i in range(first, first + n)]  # type: ignore[misc]


def write_wfdb(folder: Path, name: str, record: EcgRecord) -> None:
    """Header and 16-bit samples by the format's definition, without a library."""
    steps = np.rint(record.signal_mv * 1000).astype("<i2")
    (folder / f"{name}.dat").write_bytes(steps.T.tobytes())
    lines = [f"{name} 12 100 {record.n_samples}"]
    lines += [
        f"{name}.dat 16 1000/mV 16 0 {row[0]} {np.int16(np.sum(row, dtype=np.int64) & 0xFFFF)} 0 {lead}"
        for lead, row in zip(LEADS, steps.astype(np.uint16).astype(np.int16), strict=True)
    ]
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")


def test_the_first_cases_are_in_soon(tmp_path: Path) -> None:
    """The first batches are small, so that it is seen at once that it goes on: 8, 16, 32, then as many as asked for."""
    encoder = HashingEncoder(32)
    seen: list[int] = []
    with open_or_create(tmp_path / "b", encoder) as base:
        report = ingest_records(base, items(170), encoder, batch=64, progress=lambda r: seen.append(r.n_seen))
        assert seen == [8, 24, 56, 120, 170] and report.added == len(base) == 170
        base.verify()


def test_again_and_on(tmp_path: Path) -> None:
    encoder = HashingEncoder(32)
    seen: list[int] = []
    with open_or_create(tmp_path / "b", encoder) as base:
        first = ingest_records(base, items(10), encoder, batch=4, progress=lambda r: seen.append(r.n_seen))
        assert (first.added, first.skipped, first.failed) == (10, 0, [])
        assert seen == sorted(seen) and seen[-1] == 10
        case = base.get("x/3")
        assert (case.patient_id, case.age_years, case.sex) == ("p3", 53.0, "F")  # from the record
        np.testing.assert_allclose(base.vector("x/3"), encoder.encode_records([noise(3)])[0], atol=1e-6)
        kept = base.record("x/3")
        assert kept is not None
        np.testing.assert_allclose(kept.signal_mv, noise(3).signal_mv, atol=1e-6)
    with open_or_create(tmp_path / "b", encoder) as base:
        again = ingest_records(base, items(15), encoder)
        assert (again.added, again.updated, again.skipped) == (5, 0, 10)
        # The source says more now, or shows something else.
        changed = [replace(items(1)[0], case=Case("x/0", report="new")), replace(items(1)[0], case=Case("x/1"))]
        more = ingest_records(base, changed, encoder)
        assert (more.added, more.updated) == (0, 2) and len(base) == 15
        assert base.get("x/0").report == "new" and base.get("x/0").labels == {"NORM": 100.0}
        np.testing.assert_allclose(base.vector("x/1"), encoder.encode_records([noise(0)])[0], atol=1e-6)
        base.verify()
    with pytest.raises(EncoderMismatchError):
        open_or_create(tmp_path / "b", HashingEncoder(16))


class Fussy(HashingEncoder):
    """Cannot encode one of the records, which spoils its batch."""

    def encode_records(self, records):  # type: ignore[no-untyped-def]
        if any(r.record_id == "r2" for r in records):
            raise RuntimeError("no memory for this one")
        return super().encode_records(records)


def test_failures_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    encoder = Fussy(32)

    def missing() -> EcgRecord:
        raise RecordError("lead V3 is missing")

    def odd() -> EcgRecord:
        raise KeyError("x")

    batch = items(5)
    batch[3:3] = [IngestItem(Case("x/bad"), missing, name="bad.hea"), IngestItem(Case("x/odd"), odd), batch[0]]
    batch.append(IngestItem(Case("x/twin"), lambda: noise(1)))
    with open_or_create(tmp_path / "b", encoder) as base:
        report = ingest_records(base, batch, encoder)
        assert report.added == 4 == len(base)
        assert sorted(report.failed) == [
            ("bad.hea", "lead V3 is missing"),
            ("x/0", "case id 'x/0' comes twice"),
            ("x/2", "RuntimeError: no memory for this one"),
            ("x/odd", "KeyError: 'x'"),
        ]
        assert report.duplicates == [("x/twin", "x/1")]
        assert report.n_seen == len(batch)


def test_folder(tmp_path: Path) -> None:
    root = tmp_path / "ward"
    (root / "deep").mkdir(parents=True)
    write_wfdb(root, "a", noise(1))
    write_wfdb(root / "deep", "b", noise(2))
    write_wfdb(root / "deep", "copy", noise(1))
    Image.effect_noise((320, 200), 50).save(root / "page.png")
    (root / "text.png").write_text("no picture")
    (root / "notes.md").write_text("# nothing to see")
    (root / "empty.csv").write_bytes(b"")
    (root / ".hidden").write_text("x")
    (root / "cases.csv").write_text(
        "file;case_id;age;sex;labels;report;date;ward\n"
        "a.hea;first;61;w;AFIB:80, LVH;Vorhofflimmern;2020-01-02;7\n"
        "deep/b;;;;;;;\n"
        "gone.csv;;;;;;;\n"
        "page.png;;old;;;;;\n".replace(",", "|")
    )
    encoder = HashingEncoder(32)
    with open_or_create(tmp_path / "b", encoder) as base:
        report = ingest_records(base, folder_items(root), encoder)
        assert sorted(c.case_id for c in base.cases()) == ["first", "ward/deep/b"]
        first = base.get("first")
        assert (first.age_years, first.sex, first.labels) == (61.0, "F", {"AFIB": 80.0, "LVH": 100.0})
        assert (first.recorded_at, first.language, first.meta) == ("2020-01-02", "de", {"ward": "7", "file": "a.hea"})
        assert report.duplicates == [(str(root / "deep" / "copy.hea"), "first")]
        failed = {Path(name).name: reason for name, reason in report.failed}
        assert set(failed) == {"text.png", "notes.md", "empty.csv", "gone.csv", "page.png"}
        assert "age" in failed["page.png"] and "not below" in failed["gone.csv"] and "empty" in failed["empty.csv"]
        (root / "cases.csv").unlink()
        report = ingest_records(base, folder_items(root), encoder)
        # Without the table "a" has another id, but its content is known.
        assert (report.added, report.skipped) == (1, 1) and len(report.duplicates) == 2
        assert base.get("ward/page.png").source == "ward" and base.record("ward/page.png") is None
        base.verify()


@pytest.mark.parametrize("table", ["", "a,b\n1,2\n", "file\na\na.hea\n", 'file,age\n"a', "\x00\xff"])
def test_tables_that_cannot_be_read(tmp_path: Path, table: str) -> None:
    (tmp_path / "t.csv").write_bytes(table.encode("latin-1"))
    with pytest.raises(RecordError):
        folder_items(tmp_path, tmp_path / "t.csv")
    with pytest.raises(RecordError):
        folder_items(tmp_path / "nowhere")


def test_ptbxl(tmp_path: Path, ptbxl_root: Path) -> None:
    encoder = HashingEncoder(32)
    some = ptbxl_items(ptbxl_root, [9])[:30]
    with create_base(tmp_path / "b", encoder.name, encoder.fingerprint, 32) as base:
        report = ingest_records(base, some, encoder, keep_records=False)
        assert report == IngestReport(added=30)
        case = base.get(some[0].case.case_id)
        assert case.case_id.startswith("ptbxl/") and case.patient_id and case.labels and case.source == "ptbxl"
        assert case.meta["fold"] == 9 and base.record(case.case_id) is None
        assert ingest_records(base, some, encoder).skipped == 30
    with pytest.raises(QueryError, match="fold"):
        ptbxl_items(ptbxl_root, [11])
