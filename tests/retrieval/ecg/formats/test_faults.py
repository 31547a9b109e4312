"""Files that were read wrongly, in silence, or refused though others read them: each with its right values.

The files of `tests/fixtures/faults` are made by this project's simulator; tables are written here from their truth.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ecgkin.retrieval.ecg.formats.header import age_of, iso_time
from ecgkin.retrieval.ecg.formats.read import read_ecg
from ecgkin.retrieval.ecg.leads import LEADS, canonical_lead, signed_lead
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError

STEP_MV = 0.00101


@pytest.fixture(scope="module")
def faults(project_root: Path) -> Path:
    """Folder of the files."""
    return project_root / "tests" / "fixtures" / "faults"


@pytest.fixture(scope="module")
def truth(faults: Path) -> np.ndarray:
    """The samples in mV, shape (12, 1000)."""
    return np.loadtxt(faults / "truth_mv.csv", delimiter=",", skiprows=1).T


@pytest.fixture
def wfdb_record(faults: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A header of the folder beside its samples."""

    def placed(name: str) -> Path:
        shutil.copy(faults / f"{name}.hea", tmp_path)
        shutil.copy(faults / "upper" / "R1.DAT", tmp_path / f"{name}.dat")
        return tmp_path / f"{name}.hea"

    return placed


def off(record: EcgRecord, truth: np.ndarray) -> float:
    """Largest distance from the truth in mV."""
    assert record.leads == LEADS and record.n_samples == truth.shape[1], (record.leads, record.n_samples)
    return float(np.abs(record.signal_mv - truth).max())


def noted(record: EcgRecord, words: str) -> bool:
    return any(words in note for note in record.notes)


# ---------------------------------------------------------------- names, ages, dates


@pytest.mark.parametrize(
    ("name", "lead", "sign"),
    [
        *((f"{before}{lead}", lead, 1) for lead in LEADS for before in ("", "Lead ", "ECG_LEAD_", "MDC_ECG_LEAD_")),
        *((f"D{roman}", roman, 1) for roman in ("I", "II", "III")),
        ("D2", "II", 1), ("Einthoven I", "I", 1), ("Ableitung II", "II", 1), ("II-Ref", "II", 1), ("V5-REF", "V5", 1),
        ("dérivation DIII", "III", 1), ("Goldberger aVR", "aVR", 1), ("II导联", "II", 1), ("Ⅲ", "III", 1),
        ("aV-L", "aVL", 1),
        ("V 3", "V3", 1), ("ECG-aVR", "aVR", 1), ("-aVR", "aVR", -1), ("ECG -aVR", "aVR", -1), ("aVRneg", "aVR", -1),
        ("MDC_ECG_LEAD_AVRneg", "aVR", -1), ("\u2212aVR", "aVR", -1),
        *((none, None, 1) for none in "CM5 CM1 MLII V3R V7 C3 I-II X - HR".split()),
        ("Frank Lead I", None, 1), ("", None, 1), ("Lead 1", None, 1),
    ],
)  # fmt: skip
def test_lead_names_of_other_makers_and_languages(name: str, lead: str | None, sign: int) -> None:
    assert signed_lead(name) == (lead, sign)
    assert canonical_lead(name) == (lead if sign > 0 else None)


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("54", 54), ("  54 ", 54), ("054Y", 54), ("003M", 0.25), ("3 months", 0.25), ("3 Monate", 0.25),
        ("8 days", 8 / 365.25),
        ("12W", 84 / 365.25), ("71 Jahre", 71), ("1,5", 1.5), (">89", 90), ("> 89 years", 90), ("≥90", 90), ("90+", 90),
        ("300", 90), ("69 sex: M", 69), ("200", None), (">50", None),
        ("unknown", None), ("", None), ("    ", None), ("-3", None),
    ],
)  # fmt: skip
def test_ages_with_units_and_limits(text: str, years: float | None) -> None:
    assert age_of(text) == (None if years is None else pytest.approx(years))


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("05-May-2020 09:49:17", "2020-05-05T09:49:17"), ("02.01.2020", "2020-01-02"), ("2. Januar 2020", "2020-01-02"),
        ("02-MAY-1951", "1951-05-02"), ("25/04/2020", "2020-04-25"), ("04/25/2020", "2020-04-25"), ("03/04/2020", None),
        ("32.01.2020", None), ("20021122091000.000", "2002-11-22T09:10:00"), ("nonsense", None),
    ],
)  # fmt: skip
def test_dates_of_other_countries(text: str, iso: str | None) -> None:
    assert iso_time(text) == iso


# ---------------------------------------------------------------- WFDB


def test_several_samples_a_frame(faults: Path) -> None:
    """The rate is the leads' own, not that of the frames; nothing is averaged."""
    record = read_ecg(faults / "frames32.hea")
    assert record.fs_hz == 496 and record.n_samples == 3968 and record.leads[:2] == ("I", "II")
    stored = np.fromfile(faults / "frames32.dat", "<i2").reshape(124, 97)[:, 32:64].ravel() / 1000
    np.testing.assert_allclose(record.lead("II"), stored, atol=1e-6)
    assert stored.max() > 0.8
    assert noted(record, "'HR' is in bpm")


@pytest.mark.parametrize(
    "name", ["age_months", "age_days", "date_first", "inline_comment", "latin1_micro", "with_path"]
)
def test_headers_as_they_come(wfdb_record: Callable[[str], Path], truth: np.ndarray, name: str) -> None:
    record = read_ecg(wfdb_record(name))
    assert off(record, truth) < STEP_MV and record.fs_hz == 250
    assert record.age_years == {"age_months": 0.25, "age_days": pytest.approx(8 / 365.25)}.get(name)
    assert record.header is not None
    assert record.header.recorded_at == ("2020-05-05T09:49:17" if name == "date_first" else None)
    assert noted(record, "remarks 'noisy'") == (name == "inline_comment")


@pytest.mark.parametrize("name", ["R1.HEA", "R1.DAT", "R1", "r1.hea"])
def test_names_in_capitals(faults: Path, truth: np.ndarray, name: str) -> None:
    assert off(read_ecg(faults / "upper" / ("R1.HEA" if name == "r1.hea" else name)), truth) < STEP_MV


def test_missing_file_of_other_signals_is_said(wfdb_record: Callable[[str], Path], truth: np.ndarray) -> None:
    """PTB's headers name a .xyz of Frank leads that many copies lack; a missing file of the twelve is an error."""
    header = wfdb_record("age_days")
    lines = header.read_text().replace("age_days 12", "age_days 14").splitlines()
    lines[13:13] = [f"age_days.xyz 16 2000 16 0 0 0 0 {name}" for name in ("vx", "vy")]
    header.write_text("\n".join(lines))
    record = read_ecg(header)
    assert off(record, truth) < STEP_MV and noted(record, "age_days.xyz is missing: vx, vy left out")
    header.write_text(
        header.read_text().replace("age_days.dat 16 1000(0)/mV 16 0 58", "other.dat 16 1000(0)/mV 16 0 58")
    )
    with pytest.raises(RecordError, match=r"data file other\.dat"):
        read_ecg(header)


def test_lines_end_where_the_decoder_ends_them(wfdb_record: Callable[[str], Path]) -> None:
    """A comment with a vertical tab hides no second header; samples packed with FLAC are bounded."""
    header = wfdb_record("age_days")
    plain = header.read_text()
    header.write_text("# hidden\v" + plain.replace("\n", "\n# ") + "\n" + plain.replace("1000", "900", 1))
    assert read_ecg(header).n_samples == 900
    header.write_text(plain.replace(".dat 16 ", ".dat 516 ").replace("250 1000", "250 8000000"))
    with pytest.raises(RecordError, match="packed with FLAC"):
        read_ecg(header)
    header.write_text(plain.replace(".dat 16 ", ".dat 516 ").replace("250 1000", "250"))
    with pytest.raises(RecordError, match="packed with FLAC"):
        read_ecg(header)


@pytest.mark.parametrize(
    ("gain", "says"), [("2000000", "no lead spans more than"), ("20", "amplitudes reach"), ("1000", "")]
)
def test_impossible_gains_are_said(wfdb_record: Callable[[str], Path], gain: str, says: str) -> None:
    header = wfdb_record("age_days")
    header.write_text(header.read_text().replace(" 1000(0)/mV", f" {gain}(0)/mV"))
    record = read_ecg(header)
    assert noted(record, "the unit or the gain is probably wrong") == bool(says)
    assert not says or noted(record, says)
