"""Formats of ECG machines: every sample read, its units held against a second, independent reading."""

from __future__ import annotations

import csv
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from formats_made import lead_of

from ecgkin.retrieval.ecg.formats.read import read_ecg
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError


@pytest.fixture(scope="module")
def samples(shared_root: Path) -> Path:
    """Folder of the sample files."""
    folder = shared_root / "formats"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}")
    return folder


def off_einthoven(record: EcgRecord) -> float:
    """Largest distance in mV from III = II - I, aVR = -(I + II)/2, aVL = (I - III)/2, aVF = (II + III)/2."""
    one, two, three, avr, avl, avf = record.standard()[:6]
    pairs = ((three, two - one), (avr, -(one + two) / 2), (avl, (one - three) / 2), (avf, (two + three) / 2))
    return max(float(np.abs(a - b).max()) for a, b in pairs)


# File -> leads, samples, rate, step in uV, patient, age, sex, date, words of the report.
FACTS = {
    "dicom_mortara_12lead.dcm": (12, 10000, 1000, 1.25, "642341", 42, "F", "2013-01-25T10:59:19", "ECG NORMALE"),
    "scp_example_mortara.scp": (12, 5000, 500, 2.5, "SBJ-123", 49, "M", "2002-11-22T09:10:00", ""),
    "scp_demo_uncompressed.scp": (12, 10000, 1000, 0.183, "12-678-QW", 47, "M", "2004-06-24T16:52:16", ""),
    "scp_contec_converted.scp": (12, 32767, 800, 5, None, None, None, "2020-11-16T21:44:39", ""),
    "scp_wfdb_test.scp": (12, 5000, 500, 20, "0000000", 49, "M", "2004-01-01T02:13:18", "Left axis deviation"),
    "hl7_aecg_example.xml": (12, 5000, 500, 2.5, "SBJ-123", 46, "M", "2002-11-22T09:10:00", ""),
    "hl7_aecg_fda_subject1_0.xml": (12, 5000, 500, 2.5, "subject1", 46, "M", "2002-11-22T09:10:00", ""),
    "hl7_aecg_mindray.xml": (12, 1000, 100, 5, "25060897140", None, None, "2025-09-23T10:35:50", "Rythme sinusal"),
    "hl7_aecg_minimum.xml": (1, 13, 500, 2.5, "SBJ-123", None, None, "2002-11-22T09:10:00", ""),
    "philips_sierra_1_03.xml": (12, 5264, 500, 5, "1112010721168bdc", 50, "M", "2011-12-01T07:27:34", "Sinus brady"),
    "philips_sierra_1_03_repbeats.xml": (12, 5264, 500, 5, "1112010721168bdc", 50, "M", "2011-12-01T07:27:34", "acute"),
    "philips_sierra_1_04.xml": (12, 5300, 500, 5, "9999", 32, "F", "2008-12-23T19:44:46", "SINUS BRADYCARDIA"),
    "philips_sierra_1_04_demo.xml": (12, 5300, 500, 5, "9999", 60, "M", "2010-01-19T15:19:22", "PROBABLE LEFT VENT"),
    "philips_sierra_1_04_01.xml": (12, 5300, 500, 5, None, 69, None, "2020-05-18T15:48:11", "early transition"),
    "edf_contec.edf": (12, 37855, 800, 30.518, None, None, None, "2020-11-16T21:44:39", ""),
}


@pytest.mark.parametrize("name", FACTS)
def test_samples_and_header(samples: Path, name: str) -> None:
    leads, n, fs_hz, step_uv, patient, age, sex, when, words = FACTS[name]
    record = read_ecg(samples / name)
    assert (len(record.leads), record.n_samples, record.fs_hz) == (leads, n, fs_hz)
    assert (record.patient_id, record.age_years, record.sex) == (patient, age, sex)
    assert record.header is not None and record.header.recorded_at == when and words in record.header.report
    # Units, rate and filters are said first; the samples are whole steps of that size.
    assert f"steps of {step_uv:g} uV, {fs_hz:g} Hz, filters" in record.notes[0]
    stored = [lead for lead in record.leads if lead not in computed(record)]
    whole = np.stack([lead_of(record, lead) for lead in stored]) * 1000 / (5 if "wfdb" in name else step_uv)
    shift = (
        0.5 if name.endswith(".edf") else 0.0
    )  # EDF maps -32768..32767 onto -1000..1000: zero lies between two steps
    assert np.abs(whole - shift - np.rint(whole - shift)).max() < 0.02


def computed(record: EcgRecord) -> set[str]:
    """Leads that a note says were computed."""
    return {
        lead for note in record.notes if " computed from " in note for lead in note.split(" computed")[0].split(", ")
    }


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("edf_annotations.edf", "no signal is a standard lead"),
        ("csv_contec_12col.csv", "does not say its sampling rate"),
    ],
)
def test_what_holds_no_ecg_is_refused_by_name(samples: Path, name: str, words: str) -> None:
    with pytest.raises(RecordError, match=words):
        read_ecg(samples / name)


def test_no_header_shows_its_patient(samples: Path) -> None:
    """What logs and tracebacks print of a record."""
    shown = repr(read_ecg(samples / "scp_demo_uncompressed.scp").header)
    assert "Demo" not in shown and "SCP-ECG 1.3" in shown


# ---------------------------------------------------------------- one recording in several formats


def test_three_formats_of_one_contec_recording_agree(samples: Path) -> None:
    """CSV, SCP and EDF of the same recorder hold the same numbers; only SCP states steps that a recorder has.

    The CSV begins "-20,-25,-5": SCP's step of 5 uV makes -0.100 mV of that, EDF's range of 1,000 mV -0.595 mV (six
    times as much, and doubtful by its note).
    """
    with (samples / "csv_contec_12col.csv").open() as file:
        table = np.array([[int(cell or 0) for cell in row[:6]] for row in csv.reader(file)])
    scp, edf = read_ecg(samples / "scp_contec_converted.scp"), read_ecg(samples / "edf_contec.edf")
    n = len(table)
    assert n == 8000 and np.array_equal(np.rint(scp.standard()[:6, :n] / 0.005), table.T)
    assert np.array_equal(np.rint(edf.standard()[:6, :n] * 65535 / 2000 - 0.5), table.T)
    assert np.array_equal(
        np.rint(scp.standard() / 0.005), np.rint(edf.standard()[:, : scp.n_samples] * 65535 / 2000 - 0.5)
    )
    assert lead_of(scp, "I")[0] == pytest.approx(-0.100) and lead_of(edf, "I")[0] == pytest.approx(-0.595, abs=1e-3)
    assert any("physical range is doubtful" in note for note in edf.notes)
    assert any("32767 of 37855 samples are there" in note for note in scp.notes)
    assert "flat leads: V1, V2, V3, V4, V5, V6" in scp.notes
    given = read_ecg(samples / "csv_contec_12col.csv", fs_hz=800)
    assert np.allclose(given.standard()[:6] / 0.001, table.T, atol=1e-3)  # its own unit is not stated: a guess, noted
    assert any("unit not stated" in note for note in given.notes)


def test_scp_and_aecg_of_one_mortara_recording_agree(samples: Path) -> None:
    """The same ten seconds, Huffman-coded second differences here and decimal numbers there: equal to the last step."""
    scp, aecg = read_ecg(samples / "scp_example_mortara.scp"), read_ecg(samples / "hl7_aecg_example.xml")
    assert scp.leads == aecg.leads == LEADS
    assert np.array_equal(np.rint(scp.standard() / 0.0025), np.rint(aecg.standard() / 0.0025))
    assert off_einthoven(scp) < 0.008  # the maker's own derived leads, rounded to its steps of 2.5 uV


# ---------------------------------------------------------------- against another library


def test_edf_against_pyedflib(samples: Path) -> None:
    import pyedflib

    record = read_ecg(samples / "edf_contec.edf")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pyedflib.EdfReader(str(samples / "edf_contec.edf")) as other:
            assert [other.getPhysicalDimension(k) for k in range(12)] == ["mV"] * 12
            labels = [label.strip() for label in other.getSignalLabels()]
            rows = np.stack([other.readSignal(k) for k in range(12)])
    assert np.abs(record.standard() - rows[[labels.index(lead) for lead in LEADS]]).max() < 1e-4


@pytest.mark.parametrize("name", [name for name in FACTS if name.startswith("philips")])
def test_sierra_against_sierraecg(samples: Path, name: str) -> None:
    import sierraecg

    record, other = read_ecg(samples / name), sierraecg.read_file(str(samples / name))
    for lead in other.leads:
        mine = np.rint(lead_of(record, lead.label) / 0.005)
        assert np.array_equal(mine, lead.samples[: record.n_samples]), lead.label


def test_dicom_against_pydicoms_own_scaling(samples: Path) -> None:
    import pydicom

    file = samples / "dicom_mortara_12lead.dcm"
    record, other = read_ecg(file), pydicom.dcmread(file).waveform_array(0)
    assert np.abs(record.standard() * 1000 - other.T).max() < 1e-3  # its channels are I to V6 in order, in uV
    assert off_einthoven(record) < 0.003


# ---------------------------------------------------------------- against what the maker measured


@pytest.mark.parametrize("name", [name for name in FACTS if name.startswith("philips")])
def test_sierra_ends_in_its_makers_calibration_pulse(samples: Path, name: str) -> None:
    """Each lead is followed by a pulse of 1 mV, which says what a step is; without it the leads obey Einthoven."""
    import sierraecg

    record, other = read_ecg(samples / name), sierraecg.read_file(str(samples / name))
    for lead in other.leads:
        assert lead.samples[5350:5450].tolist() == [200] * 100  # 200 steps of 5 uV, 0.2 s
    assert any(note.endswith("s are the machine's calibration pulse of 1 mV: left out") for note in record.notes)
    assert off_einthoven(record) <= 0.0101  # halves are rounded down twice: two steps


def test_sierra_amplitudes_are_those_that_the_machine_measured(samples: Path) -> None:
    """R and S of the machine's averaged beat in uV, against the largest and smallest sample near each beat."""
    from ecgkin.retrieval.ecg.formats.xml import parse_xml

    for name, leads in (
        ("philips_sierra_1_03.xml", ("I", "III", "aVL")),
        ("philips_sierra_1_04_01.xml", ("I", "V4", "V5")),
    ):
        (root, _), record = parse_xml(samples / name), read_ecg(samples / name)
        for lead in leads:
            told = root.find(f".//leadmeasurement[@leadname='{lead}']/qrsppk")
            assert told is not None and told.text
            trace = lead_of(record, lead)
            windows = [np.ptp(trace[k : k + 75]) for k in range(0, trace.size - 75, 10)]
            assert np.percentile(windows, 98) * 1000 == pytest.approx(float(told.text), rel=0.2), (name, lead)


def test_scp_with_reference_beats_against_the_machines_measurements(samples: Path) -> None:
    """Section 10 of the file, read here by hand, holds the amplitudes that the machine measured, in uV.

    In its body (12 leads, then a block each: lead code and length, then 16-bit numbers) Q and R stand at places 9 and
    10. Beats of type 2, at samples 1618, 2066, 3427 and 4341, look like the machine's average. The rhythm's step is 20
    uV; with the reference beat's 5 uV for it they would come out four times too small.
    """
    file = samples / "scp_wfdb_test.scp"
    raw, record = file.read_bytes(), read_ecg(file)
    at = 15755 - 1 + 16 + 4
    names = {1: "I", 3: "V1", 4: "V2", 5: "V3", 6: "V4", 7: "V5"}
    compared = 0
    for _ in range(12):
        code, size = struct.unpack_from("<HH", raw, at)
        q, r = struct.unpack_from("<2h", raw, at + 4 + 2 * 9)
        at += 4 + size
        if code in names:
            beats = [lead_of(record, names[code])[place - 60 : place + 60] for place in (1618, 2066, 3427, 4341)]
            found = np.median([beat.max() if r > -q else beat.min() for beat in beats]) * 1000
            assert found == pytest.approx(r if r > -q else q, rel=0.1), (code, q, r, found)
            compared += 1
    assert compared == len(names)


def test_scp_reference_beats_leave_no_edge(samples: Path) -> None:
    """Where the beat was taken out, the stored samples jump by its first and last values; put back, they do not.

    Section 4 says from where to where (counted from 1); the beat begins with -6, 2, -3 and ends with -7, 5, 6 steps of
    5 uV in leads I, V1, V2.
    """
    record = read_ecg(samples / "scp_wfdb_test.scp")
    assert "a reference beat had been subtracted: added again" in record.notes
    zones = ((109, 457), (973, 1321), (2295, 2643), (3707, 4055))
    for lead, first, last in (("I", -30, -35), ("V1", 10, 25), ("V2", -15, 30)):
        trace = lead_of(record, lead) * 1000
        into = np.mean([trace[a - 1 : a + 4].mean() - trace[a - 6 : a - 1].mean() for a, _ in zones])
        out = np.mean([trace[b : b + 5].mean() - trace[b - 5 : b].mean() for _, b in zones])
        # Without the beat the steps would be `into - first` and `out + last`: larger than what is left.
        assert np.hypot(into, out) < 0.75 * np.hypot(into - first, out + last), (lead, into, out)


def test_foreign_database_and_its_codes(shared_root: Path) -> None:
    """A record of the Challenges: MATLAB samples, age, sex, and #Dx as statements."""
    file = shared_root / "ood" / "chapman_ningbo" / "JS00077.hea"
    record = read_ecg(file)
    assert record.header is not None and record.leads == LEADS and (record.age_years, record.sex) == (77.0, "F")
    assert record.header.codes and set(record.header.labels) == {"SBRAD"}
    first = [int(line.split()[5]) for line in file.read_text().splitlines()[1:13]]  # "initial value" of the header
    assert np.rint(record.standard()[:, 0] * 1000).tolist() == first
