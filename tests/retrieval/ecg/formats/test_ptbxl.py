"""PTB-XL's official layout: a folder made here with wfdb, broken in many ways, and the real one where it is."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import wfdb
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.errors import RecordError

COLUMNS = ["ecg_id", "patient_id", "age", "sex", "device", "recording_date", "report", "scp_codes", "strat_fold"]
COLUMNS += ["filename_lr", "filename_hr"]
ROWS = [
    (
        "1",
        "15709.0",
        "56.0",
        "1",
        "CS-12   E",
        "1984-11-09 09:17:34",
        "rhythmus a Edit: LVH 50",
        "{'NORM': 100.0, 'SR': 0.0}",
        "3",
    ),
    ("2", "13243.0", "300.0", "0", "", "", "", "{'AFIB': 0.0}", "9"),
    ("1001", "7.0", "", "", "AT-6", "1990-01-01 00:00:00", "x", "{}", "10"),
]


def names_of(ecg_id: int) -> tuple[str, str]:
    folder = f"{ecg_id // 1000 * 1000:05d}"
    return f"records100/{folder}/{ecg_id:05d}_lr", f"records500/{folder}/{ecg_id:05d}_hr"


def signal(ecg_id: int, fs: int) -> NDArray[np.float64]:
    """A sum of slow sines, so that both rates show the same curve; shape (10 * fs, 12), mV."""
    t = np.arange(10 * fs)[:, None] / fs
    return np.sin(2 * np.pi * (0.5 + np.arange(12) / 4) * t + ecg_id) * (1 + np.arange(12) / 10)


def build(root: Path, rates: tuple[int, ...] = (100,), rows: Sequence[tuple[str, ...]] = ROWS) -> Path:
    root.mkdir(exist_ok=True)
    with (root / "ptbxl_database.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows((*row, *names_of(int(row[0]))) for row in rows)
    for row in rows:
        for rate in rates:
            path = root / names_of(int(row[0]))[rate == 500]
            path.parent.mkdir(parents=True, exist_ok=True)
            upper = [name.upper() for name in LEADS]
            wfdb.wrsamp(path.name, rate, ["mV"] * 12, upper, signal(int(row[0]), rate), fmt=["16"] * 12,
                        adc_gain=[1000.0] * 12, baseline=[0] * 12, write_dir=str(path.parent))  # fmt: skip
    return root


def test_table(tmp_path: Path) -> None:
    data = PtbXl(build(tmp_path / "d"))
    first, second, third = data.rows
    assert (first.ecg_id, first.patient_id, first.age_years, first.sex, first.fold) == (1, "15709", 56.0, "F", 3)
    assert (first.device, first.recording_date) == ("CS-12 E", "1984-11-09 09:17:34")
    assert first.report == "rhythmus a" and "Edit" in first.raw_report
    assert first.labels == {"NORM": 100.0, "SR": 0.0} and second.labels == {"AFIB": 0.0} and third.labels == {}
    assert second.age_years == 90 and second.sex == "M" and third.age_years is None and third.sex is None
    assert [row.ecg_id for row in data.select([9, 10])] == [2, 1001] and len(data) == data.n_listed == 3


def test_both_readers_agree_with_wfdb(tmp_path: Path) -> None:
    data = PtbXl(build(tmp_path / "d"))
    bulk = data.signals(data.rows)
    assert bulk.shape == (3, 12, 1000) and bulk.dtype == np.float32
    for row, block in zip(data.rows, bulk, strict=True):
        expected = wfdb.rdrecord(str(row.path)).p_signal.T
        np.testing.assert_allclose(block, expected, atol=1e-6)
        record = data.record(row)
        np.testing.assert_array_equal(record.signal_mv, block)
        assert record.leads == LEADS and record.fs_hz == 100 and record.record_id == str(row.ecg_id)


def test_rates(tmp_path: Path) -> None:
    root = build(tmp_path / "d", (100, 500))
    both, low, high = PtbXl(root), PtbXl(root, fs_hz=100), PtbXl(root, fs_hz=500)
    assert (both.fs_hz, low.fs_hz, high.fs_hz) == (500, 100, 500)
    assert both.record(both.rows[0]).n_samples == 5000
    at_100 = both.signals(both.rows)
    np.testing.assert_array_equal(at_100, low.signals(low.rows))
    shutil.rmtree(root / "records100")
    only = PtbXl(root)
    resampled = only.signals(only.rows)
    assert resampled.shape == (3, 12, 1000)
    np.testing.assert_allclose(resampled[:, :, 50:-50], at_100[:, :, 50:-50], atol=0.02)
    assert only.signals(only.rows[:1], fs_hz=250).shape == (1, 12, 2500)
    with pytest.raises(RecordError, match="no folder records100"):
        PtbXl(root, fs_hz=100)


def test_int16_missing_code_is_nan(tmp_path: Path) -> None:
    data = PtbXl(build(tmp_path / "d"))
    dat = data.rows[0].path.with_suffix(".dat")
    digital = np.fromfile(dat, dtype="<i2")
    digital[12 * 5 + 7] = -32768
    digital.tofile(dat)
    block = data.signals(data.rows[:1])[0]
    assert np.argwhere(np.isnan(block)).tolist() == [[7, 5]]


def test_partial_folder_gives_what_is_there(tmp_path: Path) -> None:
    root = build(tmp_path / "d")
    for suffix in (".hea", ".dat"):
        (root / (names_of(2)[0] + suffix)).unlink()
    data = PtbXl(root)
    assert [row.ecg_id for row in data.rows] == [1, 1001] and data.n_listed == 3


def test_other_formats_go_through_the_wfdb_reader(tmp_path: Path) -> None:
    root = build(tmp_path / "d")
    path = root / names_of(1)[0]
    wfdb.wrsamp(path.name, 100, ["mV"] * 12, list(LEADS), signal(1, 100), fmt=["24"] * 12, write_dir=str(path.parent))
    np.testing.assert_allclose(PtbXl(root).signals(PtbXl(root).rows[:1])[0], signal(1, 100).T, atol=1e-3)


def test_broken_record_says_which(tmp_path: Path) -> None:
    data = PtbXl(build(tmp_path / "d"))
    dat = data.rows[0].path.with_suffix(".dat")
    dat.write_bytes(dat.read_bytes()[:1001])
    for read in (lambda: data.record(data.rows[0]), lambda: data.signals(data.rows)):
        with pytest.raises(RecordError, match=r"00001_lr\.dat holds 500 samples, its header says 12000"):
            read()
    data.rows[1].path.with_suffix(".dat").unlink()
    with pytest.raises(RecordError, match="missing"):
        data.record(data.rows[1])
    data.rows[2].path.with_suffix(".hea").write_text("rubbish")
    with pytest.raises(RecordError, match="no WFDB header"):
        data.record(data.rows[2])


def test_record_of_another_length_is_refused_in_bulk(tmp_path: Path) -> None:
    root = build(tmp_path / "d")
    path = root / names_of(1)[0]
    wfdb.wrsamp(
        path.name, 100, ["mV"] * 12, list(LEADS), signal(1, 100)[:500], fmt=["16"] * 12, write_dir=str(path.parent)
    )
    with pytest.raises(RecordError, match=r"lasts 5\.00 s"):
        PtbXl(root).signals(PtbXl(root).rows)


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ({7: "{'NORM': "}, "line 2 cannot be read"),
        ({7: "[1, 2]"}, "line 2 cannot be read"),
        ({7: "__import__('os')"}, "line 2 cannot be read"),
        ({2: "old"}, "line 2 cannot be read"),
        ({8: ""}, "line 2 cannot be read"),
        ({0: "x"}, "line 2 cannot be read"),
    ],
)
def test_broken_cells(tmp_path: Path, cells: dict[int, str], says: str) -> None:
    root = build(tmp_path / "d")
    row = [*ROWS[0], *names_of(1)]
    for k, text in cells.items():
        row[k] = text
    with (root / "ptbxl_database.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, row])
    with pytest.raises(RecordError, match=says):
        PtbXl(root)


def test_broken_folders(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"ptbxl_database\.csv is missing"):
        PtbXl(tmp_path)
    root = build(tmp_path / "d")
    with pytest.raises(RecordError, match="100 and at 500"):
        PtbXl(root, fs_hz=250)  # type: ignore[arg-type]
    table = root / "ptbxl_database.csv"
    text = table.read_text()
    table.write_text(text.replace("strat_fold", "fold"))
    with pytest.raises(RecordError, match="no column strat_fold"):
        PtbXl(root)
    table.write_bytes(text.encode() + b"\xff\xfe\x00")
    with pytest.raises(RecordError, match=r"not a readable table|cannot be read"):
        PtbXl(root)
    table.write_text(text.replace("records100/00000/00001_lr", "../../etc/passwd"))
    with pytest.raises(RecordError, match="cannot be read: file name"):
        PtbXl(root)
    table.write_text(text)
    shutil.rmtree(root / "records100")
    with pytest.raises(RecordError, match="no folder records100 or records500"):
        PtbXl(root)
    (root / "records100").mkdir()
    with pytest.raises(RecordError, match="none of the 3 records"):
        PtbXl(root)


def test_the_real_folder(ptbxl_root: Path) -> None:
    data = PtbXl(ptbxl_root)
    assert len(data) >= 1000 and {row.sex for row in data.rows} <= {"F", "M", None}
    assert not any("edit:" in row.report.lower() or "unbestätigter" in row.report.lower() for row in data.rows)
    assert all(row.labels for row in data.rows[:100]) and {row.fold for row in data.rows} <= set(range(1, 11))
    some = data.rows[:: max(1, len(data) // 5)]
    for row, block in zip(some, data.signals(some), strict=True):
        record = wfdb.rdrecord(str(row.path))
        if record.fs == 100:
            np.testing.assert_allclose(block, record.p_signal.T, atol=1e-6)
