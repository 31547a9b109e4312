"""Cases written as WFDB, DICOM, CSV and FHIR, read back; and damaged files of every format."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import formats_made as made
import fuzz_formats as fuzzing
import numpy as np
import pytest

from ecgkin.index.case import DIGITISED, Case
from ecgkin.index.transfer.export import file_stem, write_csv, write_edf, write_wfdb
from ecgkin.index.transfer.export_dicom import write_dicom
from ecgkin.retrieval.ecg.formats.read import read_ecg
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.ui.cli.commands.common import FORMATS, writer_of
from ecgkin.ui.fhir.cases import write_fhir

CASE = Case(
    "clinic/a b/1",
    patient_id="P-1",
    source="clinic",
    age_years=54.0,
    sex="F",
    recorded_at="2020-01-02T03:04:05",
    labels={"AFIB": 100.0, "LVH": 50.0},
    report="Atrial fibrillation\nLeft ventricular hypertrophy",
)


@pytest.fixture
def gappy(made_record: EcgRecord) -> EcgRecord:
    """The made record with a gap in one lead and an amplitude beyond 16 bits of 1 uV in another."""
    signal = made_record.signal_mv.copy()
    signal[7, 100:130] = np.nan
    signal[8, 50] = 40.0
    return EcgRecord(signal, made_record.fs_hz, made_record.leads)


@pytest.mark.parametrize("form", ["wfdb", "dicom", "csv"])
def test_written_and_read_back(tmp_path: Path, gappy: EcgRecord, form: str) -> None:
    """Samples to half a step (1 uV, here 1.22 uV for the large one), the gap as a gap, and what the format can say."""
    back = read_ecg(writer_of(form)(tmp_path, CASE, gappy))
    assert back.leads == gappy.leads and back.fs_hz == 500
    assert np.array_equal(np.isnan(back.signal_mv), np.isnan(gappy.signal_mv))
    assert np.nanmax(np.abs(back.signal_mv - gappy.signal_mv)) < 0.0007
    if form != "csv":
        assert (back.patient_id, back.age_years, back.sex) == ("P-1", 54.0, "F")
    if form == "wfdb":
        assert back.header is not None and set(back.header.labels) == {"AFIB", "LVH"}
    if form == "dicom":
        assert back.header is not None and back.header.report == CASE.report
        assert back.header.recorded_at == "2020-01-02T03:04:05"


def test_dicom_is_what_pydicom_reads(tmp_path: Path, made_record: EcgRecord) -> None:
    """Scaled by pydicom itself; ten seconds of twelve leads are the 12-lead object, three minutes the general one."""
    import pydicom

    data = pydicom.dcmread(write_dicom(tmp_path, CASE, made_record))
    assert data.SOPClassUID.name == "12-lead ECG Waveform Storage" and data.file_meta.MediaStorageSOPInstanceUID
    assert np.abs(data.waveform_array(0).T / 1000 - made_record.signal_mv).max() < 0.0006
    long = EcgRecord(np.tile(made_record.signal_mv, 18), 500.0, made_record.leads)
    path = write_dicom(tmp_path, CASE, long)
    assert pydicom.dcmread(path).SOPClassUID.name == "General ECG Waveform Storage"
    assert read_ecg(path).n_samples == 90_000


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools' dciodvfy is not installed")
@pytest.mark.parametrize("seconds", [10, 180])
@pytest.mark.parametrize("when", [None, "1999", "1999-01-02", "2020-01-02T03:04:05"])
def test_dciodvfy_finds_no_error(tmp_path: Path, made_record: EcgRecord, seconds: int, when: str | None) -> None:
    """Whatever is known of the date: what may not be empty is not, and reading it back gives what was known."""
    record = EcgRecord(np.tile(made_record.signal_mv, seconds // 10), made_record.fs_hz, made_record.leads)
    path = write_dicom(tmp_path, replace(CASE, recorded_at=when, patient_id=None, sex=None), record)
    told = subprocess.run(["dciodvfy", path], capture_output=True, text=True, timeout=60)
    assert ("TwelveLeadECG" if seconds == 10 else "GeneralECG") in told.stderr + told.stdout
    assert "Error" not in told.stderr + told.stdout, told.stderr


@pytest.mark.parametrize(
    ("when", "back"),
    [(None, None), ("1999", None), ("1999-01-02", "1999-01-02"), ("2020-01-02T03:04:05", "2020-01-02T03:04:05")],
)
def test_dates_that_may_not_be_empty(
    tmp_path: Path, made_record: EcgRecord, when: str | None, back: str | None
) -> None:
    """DICOM wants a time of acquisition: where none is known a placeholder stands, which is read as no date."""
    path = write_dicom(tmp_path, replace(CASE, recorded_at=when), made_record)
    header = read_ecg(path).header
    assert header is not None and header.recorded_at == back


def test_fhir_bundle(tmp_path: Path, gappy: EcgRecord) -> None:
    """The sampled data decoded here by the rules of FHIR: (value * factor + origin), "E" for what is missing."""
    from fhir.resources.R4B.bundle import Bundle

    path = write_fhir(tmp_path, CASE, gappy)
    bundle = json.loads(Bundle.model_validate_json(path.read_bytes()).model_dump_json())
    patient, ecg, report = (entry["resource"] for entry in bundle["entry"])
    assert patient["identifier"][0]["value"] == "P-1" and patient["gender"] == "female"
    assert report["conclusion"] == CASE.report and report["status"] == "unknown"
    assert {coding["code"] for item in report["conclusionCode"] for coding in item["coding"]} >= {"164889003", "AFIB"}
    for component, row in zip(ecg["component"], gappy.signal_mv, strict=False):
        data = component["valueSampledData"]
        assert float(data["period"]) == 2.0
        values = [np.nan if v == "E" else float(v) * float(data["factor"]) for v in data["data"].split()]
        assert np.array_equal(np.isnan(values), np.isnan(row)) and np.nanmax(np.abs(values - row)) < 0.0007
    assert [c["code"]["coding"][0]["code"] for c in ecg["component"][:3]] == ["131329", "131330", "131389"]


def test_names_stay_in_the_folder(tmp_path: Path, made_record: EcgRecord) -> None:
    assert file_stem("../../etc/passwd") == "etc_passwd" and file_stem("..") == "case"
    for write in (write_csv, write_wfdb, write_dicom, write_edf, write_fhir):
        path = write(tmp_path, Case("x/...//..y\\..\\z:*?"), made_record)
        assert path.parent == tmp_path and path.is_file()
    assert len(FORMATS) == 5


# ---------------------------------------------------------------- damaged files


@pytest.fixture(scope="module")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A small file of every format that can be written here."""
    import edfio

    folder = tmp_path_factory.mktemp("small")
    record = EcgRecord(made.steps(400, leads=12).astype(np.float32) / np.float32(1000), 500.0, fuzz_leads())
    signals = [
        edfio.EdfSignal(row.astype(float), 500, label=lead, physical_dimension="mV", physical_range=(-5, 5))
        for lead, row in zip(record.leads, record.signal_mv, strict=True)
    ]
    edfio.Edf(signals, data_record_duration=0.8).write(folder / "a.edf")
    rows = {1: (400, list(bytes(800))), 2: (400, list(bytes(800)))}
    return [
        made.write_muse(folder / "muse.xml", made.steps(200)),
        made.write_ishne(folder / "a.ecg", made.steps(400, leads=3), (6, 11, 15)),
        made.write_scp(folder / "a.scp", rows, tables=None),
        write_dicom(folder, CASE, record),
        write_csv(folder, CASE, record),
        folder / "a.edf",
    ]


def fuzz_leads() -> tuple[str, ...]:
    """Standard order."""
    from ecgkin.retrieval.ecg.leads import LEADS

    return LEADS


def test_damaged_small_files(small_files: list[Path], tmp_path: Path) -> None:
    """30 mutations of each: an error in words or a sound record."""
    for path in small_files:
        found, wrong = fuzzing.fuzz(path, 30, 7, tmp_path)
        assert not wrong, wrong[0]
        assert found["record"] + found["error"] == 30 and found["error"] >= 3, (path.name, found)


def test_truncated_files_at_every_length(small_files: list[Path], tmp_path: Path) -> None:
    for path in small_files:
        raw = path.read_bytes()
        for n in {*range(0, 40, 7), *np.linspace(40, len(raw) - 1, 12).astype(int).tolist()}:
            (tmp_path / path.name).write_bytes(raw[:n])
            assert fuzzing.verdict(tmp_path / path.name) in ("record", "error")


@pytest.mark.slow
@pytest.mark.parametrize("part", range(6))
def test_damaged_samples(shared_root: Path, tmp_path: Path, part: int) -> None:
    """30 mutations of every sample file (1,000: scripts/fuzz_formats.py)."""
    samples = sorted(f for f in (shared_root / "formats").iterdir() if f.is_file())
    files = [f for f in samples if f.name != "manifest.csv"][part::6]
    for path in files:
        found, wrong = fuzzing.fuzz(path, 30, part, tmp_path, 800.0)
        assert not wrong, wrong[0]
        assert sum(found.values()) == 30


def test_the_judge_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that raises something else than an error of ecgkin is seen."""
    path = made.write_muse(tmp_path / "muse.xml", made.steps(50))
    monkeypatch.setattr(fuzzing, "open_ecg", lambda *_, **__: dict[str, int]()["x"])
    found, wrong = fuzzing.fuzz(path, 3, 0, tmp_path / "..")
    assert found["fault"] == 3 and "KeyError" in wrong[0]


@pytest.mark.parametrize("form", FORMATS)
def test_what_was_read_off_a_picture_says_so(tmp_path: Path, gappy: EcgRecord, form: str) -> None:
    """The mark is in the file for those who open it, and not in that of a recording."""
    mark = {"layout": "6x2", "speed_mm_s": 25.0, "gain_mm_mv": None, "confidence": {}}
    said = "read off a picture, not recorded (layout 6x2, 25 mm/s, gain assumed)"
    digitised = replace(CASE, case_id="clinic/picture", meta={DIGITISED: mark})
    with_mark, without = (writer_of(form)(tmp_path, case, gappy).read_bytes() for case in (digitised, CASE))
    assert said.encode() in with_mark and b"read off a picture" not in without
    if form in ("wfdb", "dicom", "csv"):
        paths = {"wfdb": "clinic_picture.hea", "dicom": "clinic_picture.dcm", "csv": "clinic_picture.csv"}
        assert read_ecg(tmp_path / paths[form]).leads == gappy.leads


def test_a_statement_with_several_codes_leaves_under_the_first(tmp_path: Path) -> None:
    """The usual code of a finding stands first in the table; and what is written is read back as the same statement."""
    from ecgkin.retrieval.ecg.formats.snomed import STATEMENT_OF

    first: dict[str, str] = {}
    for code, label in STATEMENT_OF.items():
        first.setdefault(label, code)
    assert sum(list(STATEMENT_OF.values()).count(label) > 1 for label in first) >= 5
    record = EcgRecord(np.zeros((1, 500), dtype=np.float32), 500.0, ("I",))
    for label, code in first.items():
        path = write_wfdb(tmp_path, Case(label, labels={label: 100.0}), record)
        assert f"# Dx: {code}" in path.read_text().replace("#Dx", "# Dx").splitlines()
        header = read_ecg(path).header
        assert header is not None and dict(header.labels) == {label: 100.0}
