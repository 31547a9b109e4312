"""What a base holds, exported and ingested again: nothing is lost on the way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ecgkin.index import open_base
from ecgkin.index.case import Case
from ecgkin.index.ingest.pipeline import ingest_records, open_or_create
from ecgkin.index.sources.case_table import read_table, write_table
from ecgkin.index.sources.folder import folder_items
from ecgkin.index.transfer.export import write_csv, write_wfdb
from ecgkin.retrieval.ecg.formats.read import read_ecg
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.ui.cli.main import main

CASES = (
    Case("clinic/a b/1", "P-1", "clinic", 54.0, "F", "2020-01-02T03:04:05", {"AFIB": 100.0, "LVH": 50.0},
         'Vorhofflimmern, "neu"\nlinksventrikuläre Hypertrophie; s. Vorbefund'),
    Case("clinic/2", None, "ward 3", None, None, None, {}, ""),
    Case("clinic/3", "P-1", "clinic", 89.5, "M", "1999-12-31", {"site own": 15.0}, "Sinus rhythm, age > 80"),
)  # fmt: skip


@pytest.mark.parametrize("form", ["wfdb", "csv", "edf", "dicom"])
def test_export_and_ingest_again(tmp_path: Path, made_record: EcgRecord, form: str) -> None:
    """Every field of three cases comes back equal, and samples to a microvolt, from each format that is read."""
    encoder = HashingEncoder()
    records = [
        EcgRecord(np.roll(made_record.signal_mv, 400 * i, axis=1), made_record.fs_hz, made_record.leads)
        for i in range(len(CASES))
    ]
    with open_or_create(tmp_path / "base", encoder) as base:
        base.add(CASES, encoder.encode_records(records), records)
    with pytest.raises(SystemExit):
        main(["export", str(tmp_path / "base"), "--out", str(tmp_path / "out"), "--format", form, "--json"])
    with open_or_create(tmp_path / "again", encoder) as base:
        report = ingest_records(base, folder_items(tmp_path / "out"), encoder)
        assert (report.added, report.failed) == (3, [])
    with open_base(tmp_path / "again") as base:
        for case, record in zip(CASES, records, strict=True):
            back = base.get(case.case_id)
            for name in ("patient_id", "source", "age_years", "sex", "recorded_at", "labels", "report"):
                assert getattr(back, name) == getattr(case, name), (form, case.case_id, name)
            samples = base.record(case.case_id)
            assert samples is not None and samples.fs_hz == pytest.approx(record.fs_hz)
            assert np.abs(samples.signal_mv - record.signal_mv).max() < 0.002


def test_a_wfdb_header_alone_says_what_is_known(tmp_path: Path, made_record: EcgRecord) -> None:
    """Without the table, too: report line by line, statements with their likelihoods, date, patient, age and sex."""
    for case in CASES:
        back = read_ecg(write_wfdb(tmp_path, case, made_record))
        assert back.header is not None
        known = {code: value for code, value in case.labels.items() if code != "site own"}
        assert (back.header.report, back.header.labels) == (case.report, known)
        assert (back.header.recorded_at, back.patient_id) == (case.recorded_at, case.patient_id)
        assert (back.age_years, back.sex) == (case.age_years, case.sex)


@pytest.mark.parametrize("labels", ["[1]", "{", '{"AFIB": true}', '{"AFIB": 101}', '{"AFIB": NaN}', "[" * 5000])
def test_labels_of_a_header_that_are_none(tmp_path: Path, made_record: EcgRecord, labels: str) -> None:
    path = write_wfdb(tmp_path, CASES[1], made_record)
    path.write_text(f"{path.read_text()}#Labels: {labels}\n#Recorded: yesterday\n")
    header = read_ecg(path).header
    assert header is not None and not header.labels and header.recorded_at is None


def test_table_keeps_lines_of_earlier_exports(tmp_path: Path) -> None:
    """Two exports into one folder: both are in the table, the later one wins for a file of the same name."""
    write_table(tmp_path, {"a.csv": CASES[0], "b.csv": CASES[1]})
    write_table(tmp_path, {"b.csv": CASES[2]})
    lines = read_table(tmp_path / "cases.csv")
    assert [lines[name]["case_id"] for name in ("a.csv", "b.csv")] == ["clinic/a b/1", "clinic/3"]
    assert json.dumps(lines["a.csv"]["report"], ensure_ascii=False).count("neu") == 1


def test_rate_of_recordings_that_do_not_say(tmp_path: Path, made_record: EcgRecord) -> None:
    """--fs for all, the column fs for one; a rate that is none is reported for its file alone."""
    header = ",".join(f"{name} (mV)" for name in made_record.leads)
    for name in "abc":
        np.savetxt(tmp_path / f"{name}.csv", made_record.signal_mv.T + ord(name) / 1e4, delimiter=",", header=header,
                   comments="", fmt="%.5f")  # fmt: skip
    (tmp_path / "cases.csv").write_text("file,fs\na.csv,250\nc.csv,fast\n")
    encoder = HashingEncoder()
    with open_or_create(tmp_path.with_name("base"), encoder) as base:
        report = ingest_records(base, folder_items(tmp_path, fs_hz=500.0), encoder)
        assert report.added == 2 and [name for name, _ in report.failed] == [str(tmp_path / "c.csv")]
        rates = {case.case_id[-5:]: base.record(case.case_id) for case in base.cases()}
        assert {name: record.fs_hz for name, record in rates.items() if record} == {"a.csv": 250.0, "b.csv": 500.0}


def test_tables_of_folders_below(tmp_path: Path, made_record: EcgRecord) -> None:
    """Two exports side by side: each table speaks of its own files, and is no recording itself."""
    for folder, case in (("a", CASES[0]), ("b", CASES[2])):
        (tmp_path / "all" / folder).mkdir(parents=True)
        file = write_csv(tmp_path / "all" / folder, case, made_record)
        write_table(file.parent, {file.name: case})
    (tmp_path / "all" / "c").mkdir()
    (tmp_path / "all" / "c" / "cases.csv").write_text("no table\n")
    items = folder_items(tmp_path / "all")
    known = {item.case.case_id: item.case for item in items}
    assert [known[case.case_id].report for case in (CASES[0], CASES[2])] == [CASES[0].report, CASES[2].report]
    assert len(items) == 3 and "all/c/cases.csv" in known
