"""Files that were read wrongly, in silence, or refused though others read them: each with its right values.

The files of `tests/fixtures/faults` are made by this project's simulator; tables are written here from their truth.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from formats_made import lead_of

from ecgkin.retrieval.ecg.assemble import assemble, millivolts_per
from ecgkin.retrieval.ecg.formats.dicom import MAX_INFLATED
from ecgkin.retrieval.ecg.formats.read import read_ecg
from ecgkin.retrieval.ecg.formats.stated import stated_rate, stated_scale
from ecgkin.retrieval.ecg.header import age_of, iso_time, sex_of
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
        *((name, "I", 1) for name in ("D I", "D1", "D-I", "I (mV)", '"I"', "Channel 1: I", "ch1_I", "ECG LA-RA")),
        ("I [µV]", "I", 1),
        *((name, "II", 1) for name in ("II_filtered", "II. Ableitung", "Abl. II", "leadII_raw", "第II導聯", "Отв. II")),
        *((f"{before} V5", "V5", 1) for before in ("Brustwand", "Brustwandableitung", "Brust", "ECG Lead")),
        ("Dérivation V5", "V5", 1),
        *((f"{before} V5", "V5", 1) for before in ("MDC_ECG_ELEC_POTL", "precordial lead", "Derivazione", "απαγωγή")),
        *((name, "aVF", 1) for name in ("a VF", "aV F", "ECG Lead aVF", "augmented lead aVF", "aVF (mV)", "{aVF}")),
        *((name, "aVR", -1) for name in ("aVR (inverted)", "minus aVR", "aVR_inv", "(-aVR)")),
        ("V05", "V5", 1), ("Ｖ５", "V5", 1), ("V₅", "V5", 1), ("EKG RA-LL", "II", -1),
        *((none, None, 1) for none in ("II median", "ST_II", "MDC_ECG_AMPL_ST_II", "Resp I", "Nehb D", "V (mV)", "D")),
        ("V I", None, 1),
        *((none, None, 1) for none in ("Channel 1", "ECG 1", "V1/V2", "LA", "C1", "VR", "V4R", "EEG C3", "mV")),
        ("aVR aVL", None, 1),
        *((none, None, 1) for none in ("аVR", "ΙΙ", "І", "ν1", "отведение аVF")),
        *((none, None, 1) for none in "CM5 CM1 MLII V3R V7 C3 I-II X - HR".split()),
        ("Frank Lead I", None, 1), ("", None, 1), ("Lead 1", None, 1),
    ],
)  # fmt: skip
def test_lead_names_of_other_makers_and_languages(name: str, lead: str | None, sign: int) -> None:
    assert signed_lead(name) == (lead, sign)
    assert canonical_lead(name) == (lead if sign > 0 else None)


def test_letters_that_only_look_latin_are_named(tmp_path: Path) -> None:
    """A Cyrillic a is not guessed at: the channel is left out or the file refused, and the letter is named."""
    rows = "\n".join(f"{0.1 * (k % 7):.2f},{0.2 * (k % 5):.2f},{0.1 * (k % 3):.2f}" for k in range(300))
    (tmp_path / "r.csv").write_text(f"I (mV),II (mV),аVR (mV)\n{rows}\n", encoding="utf-8")
    record = read_ecg(tmp_path / "r.csv", fs_hz=100)
    assert noted(record, "not Latin: CYRILLIC SMALL LETTER A") and "aVR" in record.leads  # computed from I and II
    (tmp_path / "r.csv").write_text(f"Ι,ΙΙ,І\n{rows}\n", encoding="utf-8")
    with pytest.raises(RecordError, match="GREEK CAPITAL LETTER IOTA"):
        read_ecg(tmp_path / "r.csv", fs_hz=100)


def test_a_plain_name_wins_over_one_with_words_beside_it() -> None:
    """Exports with raw and filtered columns: the lead under its plain name is read, the other named."""
    rows = np.random.default_rng(0).normal(0, 0.3, (4, 500)).astype(np.float32)
    channels = [("II_filtered", rows[0]), ("II", rows[1]), ("V1 raw", rows[2]), ("I", rows[3])]
    record = assemble(channels, 250.0, where="r")
    np.testing.assert_array_equal(record.signal_mv[record.leads.index("II")], rows[1])
    assert "V1" in record.leads and noted(record, "'II_filtered' is left out")
    with pytest.raises(RecordError, match="comes twice"):
        assemble([("II_filtered", rows[0]), ("II raw", rows[1])], 250.0, where="r")
    with pytest.raises(RecordError, match="CYRILLIC"):
        assemble([("аVR", rows[0])], 250.0, where="r")


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("54", 54), ("  54 ", 54), ("054Y", 54), ("003M", 0.25), ("3 months", 0.25), ("3 Monate", 0.25),
        ("8 days", 8 / 365.25),
        ("12W", 84 / 365.25), ("71 Jahre", 71), ("1,5", 1.5), (">89", 90), ("> 89 years", 90), ("≥90", 90), ("90+", 90),
        ("300", 90), ("69 sex: M", 69), ("200", None), (">50", None),
        ("unknown", None), ("", None), ("    ", None), ("-3", None), ("13 månader", 13 / 12),
        ("2 semaines", 14 / 365.25),
        ("5 dagar", 5 / 365.25), ("3 miesiące", None), ("1/2", None), ("60-70", None), ("1e2", None), ("1234", None),
        ("54 female", 54), ("62.04654321", 62.04654321), ("45 years 3 months", 45.25),
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
    np.testing.assert_allclose(lead_of(record, "II"), stored, atol=1e-6)
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
    ("gain", "says"), [("50000", "no lead spans more than"), ("50", "amplitudes reach"), ("1000", "")]
)
def test_impossible_gains_are_said(wfdb_record: Callable[[str], Path], gain: str, says: str) -> None:
    header = wfdb_record("age_days")
    header.write_text(header.read_text().replace(" 1000(0)/mV", f" {gain}(0)/mV"))
    record = read_ecg(header)
    assert noted(record, "the unit or the gain is probably wrong") == bool(says)
    assert not says or noted(record, says)


@pytest.mark.parametrize(
    ("gain", "says"), [("2000000", "no lead spans more than 0.00074 mV"), ("1", "half of the leads reach")]
)
def test_gains_that_no_ecg_has_are_refused(wfdb_record: Callable[[str], Path], gain: str, says: str) -> None:
    header = wfdb_record("age_days")
    header.write_text(header.read_text().replace(" 1000(0)/mV", f" {gain}(0)/mV"))
    with pytest.raises(RecordError, match=says) as refused:
        read_ecg(header)
    assert "microvolts" in refused.value.hint


# ---------------------------------------------------------------- DICOM


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("neg_avr", "lead aVR is recorded upside down"),
        ("frank_i", "'Frank Lead I (code 2:24)' is none of the twelve"),
        ("no_preamble", ""),
        ("groups_limb_chest", "leads come in 2 groups"),
    ],
)
def test_dicom_leads_by_their_codes_and_groups(faults: Path, truth: np.ndarray, name: str, says: str) -> None:
    record = read_ecg(faults / f"{name}.dcm")
    assert off(record, truth) < STEP_MV and record.fs_hz == 250 and noted(record, says)


def deflated(file: Path, data: bytes | None = None) -> bytes:
    """A DICOM file in the deflated transfer syntax."""
    import pydicom
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_file_meta_info

    plain, out = file.read_bytes(), DicomBytesIO()
    begins = 144 + int.from_bytes(plain[140:144], "little")
    meta = pydicom.filereader.read_file_meta_info(file)
    meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    write_file_meta_info(out, meta)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(plain[begins:] if data is None else data) + packer.flush()
    return plain[:128] + b"DICM" + out.getvalue() + packed + b"\0" * (len(packed) % 2)


def test_deflated_dicom(faults: Path, truth: np.ndarray, tmp_path: Path) -> None:
    """Read as it is without packing; never more than so many bytes of it; cut off and damaged are refused as such."""
    file = tmp_path / "r.dcm"
    packed = deflated(faults / "groups_limb_chest.dcm")
    file.write_bytes(packed)
    assert off(read_ecg(file), truth) < STEP_MV
    file.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(RecordError, match="deflated and cut off"):
        read_ecg(file)
    file.write_bytes(packed[:-300] + b"\xff" * 300)
    with pytest.raises(RecordError, match=r"deflated and|damaged"):
        read_ecg(file)
    file.write_bytes(deflated(faults / "groups_limb_chest.dcm", bytes(MAX_INFLATED + 1)))
    with pytest.raises(RecordError, match="unpacks to more than"):
        read_ecg(file)


def test_dicom_page_of_columns_and_a_strip(faults: Path) -> None:
    """Each lead at its own seconds, NaN where it was not recorded, lead II over the whole strip."""
    whole = np.loadtxt(faults / "truth_3x4_mv.csv", delimiter=",", skiprows=1).T
    record = read_ecg(faults / "groups_3x4_rhythm.dcm")
    assert record.leads == LEADS and record.n_samples == 2500
    for k, lead in enumerate(LEADS):
        first = 0 if lead == "II" else 625 * (k // 3)
        last = 2500 if lead == "II" else first + 625
        row = record.signal_mv[k]
        assert np.isfinite(row[first:last]).all() and np.isnan(row[:first]).all() and np.isnan(row[last:]).all()
        assert np.abs(row[first:last] - whole[k, first:last]).max() < STEP_MV
    assert noted(record, "aVR, aVL, aVF from 2.5 s for 2.5 s")


def test_dicom_leads_that_are_none_of_the_twelve_never_take_their_names(faults: Path) -> None:
    with pytest.raises(RecordError, match="Chest-manubrium lead per V5 placement"):
        read_ecg(faults / "holter_cm5.dcm")
    with pytest.raises(RecordError, match="without its unit"):
        read_ecg(faults / "no_unit.dcm")


def changed(faults: Path, target: Path, change: Callable[[object], None], **options: object) -> Path:
    import pydicom

    data = pydicom.dcmread(faults / "neg_avr.dcm")
    change(data)
    pydicom.dcmwrite(target, data, **options)  # type: ignore[arg-type]
    return target


def test_dicom_big_endian_samples(faults: Path, truth: np.ndarray, tmp_path: Path) -> None:
    import pydicom
    from pydicom.uid import ExplicitVRBigEndian

    data = pydicom.dcmread(faults / "neg_avr.dcm")
    group = data.WaveformSequence[0]
    group.WaveformData = np.frombuffer(group.WaveformData, "<i2").astype(">i2").tobytes()
    data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    pydicom.dcmwrite(tmp_path / "big.dcm", data, little_endian=False, implicit_vr=False)
    assert off(read_ecg(tmp_path / "big.dcm"), truth) < STEP_MV


def test_dicom_32_bits_catheter_laboratory_and_padding(faults: Path, truth: np.ndarray, tmp_path: Path) -> None:
    """32-bit samples; a hemodynamic object; zero as padding value leaves zeros that are samples."""

    def wide(data: object) -> None:
        group = data.WaveformSequence[0]  # type: ignore[attr-defined]
        table = np.frombuffer(group.WaveformData, "<i2").reshape(-1, 12).astype("<i4").copy()
        table[:, 0] = np.where(np.abs(table[:, 0]) < 3, 0, table[:, 0])  # single true zeros
        table[900:] = 0  # a tenth of a second and more in all channels: not recorded
        group.WaveformData, group.WaveformBitsAllocated, group.WaveformSampleInterpretation = table.tobytes(), 32, "SL"
        group.add_new("WaveformPaddingValue", "OW", bytes(4))
        data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.9.1.4"  # type: ignore[attr-defined]

    record = read_ecg(changed(faults, tmp_path / "wide.dcm", wide))
    assert np.isfinite(record.signal_mv[:, :900]).all() and np.isnan(record.signal_mv[:, 900:]).all()
    assert np.abs(record.signal_mv[1:, :900] - truth[1:, :900]).max() < STEP_MV

    def laboratory(data: object) -> None:
        data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.9.2.1"  # type: ignore[attr-defined]

    assert off(read_ecg(changed(faults, tmp_path / "lab.dcm", laboratory)), truth) < STEP_MV


def test_dicom_skew_of_whole_samples_is_undone(faults: Path, truth: np.ndarray, tmp_path: Path) -> None:
    def later(data: object) -> None:
        channels = data.WaveformSequence[0].ChannelDefinitionSequence  # type: ignore[attr-defined]
        channels[7].ChannelSampleSkew = "5"
        channels[8].ChannelSampleSkew = "0.4"

    record = read_ecg(changed(faults, tmp_path / "skew.dcm", later))
    assert np.isnan(record.signal_mv[7, :5]).all()
    assert np.abs(record.signal_mv[7, 5:] - truth[7, :-5]).max() < STEP_MV
    assert noted(record, "lead V2 begins 20 ms later") and noted(record, "1 leads lie up to 1.6 ms apart")


# ---------------------------------------------------------------- HL7 aECG


def aecg_set(leads: dict[str, np.ndarray], head: str) -> str:
    time = (
        '<component><sequence><code code="TIME_ABSOLUTE"/><value xsi:type="GLIST_TS">'
        f'<head value="{head}"/><increment value="0.004" unit="s"/></value></sequence></component>'
    )
    return (
        "<component><sequenceSet>"
        + time
        + "".join(
            f'<component><sequence><code code="MDC_ECG_LEAD_{name}"/><value xsi:type="SLIST_PQ"><origin value="0" '
            f'unit="uV"/><scale value="1" unit="uV"/><digits>{" ".join(str(v) for v in row)}</digits>'
            "</value></sequence></component>"
            for name, row in leads.items()
        )
        + "</sequenceSet></component>"
    )


def test_aecg_sequence_sets_go_on_one_time_axis(truth: np.ndarray, tmp_path: Path) -> None:
    steps = np.rint(truth * 1000).astype(int)
    limb = dict(zip(LEADS[:6], steps, strict=False))
    early = {name: row[:500] for name, row in zip(LEADS[6:9], steps[6:], strict=False)}
    late = {name: row[500:] for name, row in zip(LEADS[9:], steps[9:], strict=False)}
    sets = aecg_set(limb, "20200102103000.000") + aecg_set(early, "20200102103000.000")
    sets += aecg_set(late, "20200102103002.000")
    (tmp_path / "a.xml").write_text(
        '<AnnotatedECG xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><component><series>'
        f'<code code="RHYTHM"/>{sets}</series></component></AnnotatedECG>'
    )
    record = read_ecg(tmp_path / "a.xml")
    assert record.leads == LEADS and record.n_samples == 1000
    known = np.ones((12, 1000), dtype=bool)
    known[6:9, 500:] = known[9:, :500] = False
    assert (np.isfinite(record.signal_mv) == known).all()
    assert np.abs((record.signal_mv - truth)[known]).max() < STEP_MV
    assert noted(record, "V4, V5, V6 from 2 s for 2 s")


def test_pulse_of_a_converter_is_cut_off(truth: np.ndarray, tmp_path: Path) -> None:
    pulse = np.r_[np.zeros(20), np.full(60, 1000), np.zeros(20)].astype(int)
    steps = np.rint(truth * 1000).astype(int)
    leads = {
        name: np.r_[row, np.where(np.arange(100) % 7, pulse, pulse + 1)] for name, row in zip(LEADS, steps, strict=True)
    }
    (tmp_path / "a.xml").write_text(
        '<AnnotatedECG xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><component><series>'
        f'<code code="RHYTHM"/>{aecg_set(leads, "20200102103000")}</series></component></AnnotatedECG>'
    )
    record = read_ecg(tmp_path / "a.xml")
    assert abs(record.n_samples - 1000) < 5 and noted(record, "calibration pulse of 1 mV: left out")


# ---------------------------------------------------------------- EDF, XML


@pytest.mark.parametrize(
    ("name", "says"),
    [("dummy_channel", "channel '-' has an empty range: left out"), ("utf8_micro", ""), ("annotations_empty", "")],
)
def test_edf_as_it_comes(faults: Path, truth: np.ndarray, name: str, says: str) -> None:
    record = read_ecg(faults / f"{name}.edf")
    assert off(record, truth) < 0.0011 and record.fs_hz == 250
    assert noted(record, says)
    assert record.header is not None and record.header.recorded_at == "2020-01-02T10:30:00"


@pytest.mark.parametrize("unit", ["µV", "\u03bcV", "uV", "Microvolts", "\u00c2\u00b5V"])
def test_micro_signs_of_every_kind(unit: str) -> None:
    assert millivolts_per(unit) == 1e-3


def test_control_characters_in_xml_are_left_out_and_said(faults: Path, truth: np.ndarray) -> None:
    record = read_ecg(faults / "muse_control_char.xml")
    assert off(record, truth) < 0.005 and noted(record, "1 control characters that XML forbids are left out")
    assert record.header is not None and "Left ventricular" in record.header.report


@pytest.mark.parametrize(
    ("declared", "used", "says"),
    [
        ("UTF-16", "utf-8", "declares the encoding utf-16, it is read as utf-8"),
        ("UTF-8", "cp1252", "declares the encoding utf-8, it is read as windows-1252"),
        ("nonsense", "utf-8", "declares the encoding nonsense, it is read as utf-8"),
        ("UTF-8", "utf-8", ""),
    ],
)
def test_encodings_that_are_not_the_declared_ones(
    faults: Path, tmp_path: Path, declared: str, used: str, says: str
) -> None:
    text = (faults / "muse_control_char.xml").read_text(encoding="latin-1").replace("\x0b", "")
    text = text.replace("Sinus rhythm", "Sinusrhythmus, r\u00fcckl\u00e4ufig").replace("ISO-8859-1", declared)
    (tmp_path / "a.xml").write_bytes(text.encode(used))
    record = read_ecg(tmp_path / "a.xml")
    assert record.header is not None and "r\u00fcckl\u00e4ufig" in record.header.report
    assert noted(record, "declares the encoding") == bool(says)
    assert not says or noted(record, says)


# ---------------------------------------------------------------- CSV


def table(
    truth: np.ndarray, *, first: str = "", names: str = ",".join(LEADS), clock: Callable[[int], str] | None = None,
    cell: Callable[[float], str] = lambda v: f"{v:.3f}", sep: str = ",",
) -> str:  # fmt: skip
    """A table of the truth: lines before it, line of names, and a first column of times."""
    rows = []
    for k, row in enumerate(truth.T):
        cells = [cell(v) for v in row]
        rows.append(sep.join([*([clock(k)] if clock else []), *cells]))
    return "\n".join([*([first] if first else []), names, *rows]) + "\n"


NAMES = ",".join(LEADS)
COMMA = lambda v: f'"{v:.3f}"'.replace(".", ",")  # noqa: E731
MADE: dict[str, tuple[dict[str, object], float]] = {
    "kilohertz": ({"first": "# sampling rate: 0.25 kHz"}, 250),
    "decimal comma": ({"first": "Abtastrate: 0,25 kHz"}, 250),
    "thousands": ({"first": "# sampling rate: 1,000 Hz"}, 1000),
    "German thousands": ({"first": "# Abtastfrequenz 1.000 Hz"}, 1000),
    "names DI": ({"first": "# fs = 250 Hz", "names": "DI,DII,DIII,AVR,AVL,AVF,V1,V2,V3,V4,V5,V6"}, 250),
    "microseconds": ({"names": "time (us)," + NAMES, "clock": lambda k: f"{4000 * k}"}, 250),
    "milliseconds": ({"names": "time_ms," + NAMES, "clock": lambda k: f"{4 * k}"}, 250),
    "units below": ({"names": f"time,{NAMES}\ns{',mV' * 12}", "clock": lambda k: f"{0.004 * k:.3f}"}, 250),
    "rdsamp": (
        {
            "names": f"'Elapsed time',{NAMES}\n'hh:mm:ss.mmm'" + ",'mV'" * 12,
            "clock": lambda k: f"'0:{k // 250:02d}.{4 * (k % 250):03d}'",
        },
        250,
    ),
    "time stamps": (
        {"names": "timestamp," + NAMES, "clock": lambda k: f"2020-01-02 10:30:{k // 250:02d}.{4 * (k % 250):03d}"},
        250,
    ),
    "German stamps": (
        {
            "names": "Zeitstempel;" + NAMES.replace(",", ";"),
            "clock": lambda k: f"02.01.2020 10:30:{k // 250:02d},{4 * (k % 250):03d}",
            "cell": lambda v: f"{v:.3f}".replace(".", ","),
            "sep": ";",
        },
        250,
    ),
    "quoted commas": (
        {"names": "time," + NAMES, "clock": lambda k: f'"{0.004 * k:.3f}"'.replace(".", ","), "cell": COMMA},
        250,
    ),
    "blanks and commas": (
        {
            "first": "# fs 250 Hz",
            "names": " ".join(LEADS),
            "cell": lambda v: f"{v:.3f}".replace(".", ","),
            "sep": " ",
        },
        250,
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_tables_as_they_come(truth: np.ndarray, tmp_path: Path, name: str) -> None:
    options, fs_hz = MADE[name]
    (tmp_path / "a.csv").write_text(table(truth, **options), encoding="utf-8")  # type: ignore[arg-type]
    record = read_ecg(tmp_path / "a.csv")
    assert off(record, truth) < 1e-6 and record.fs_hz == pytest.approx(fs_hz, rel=1e-6)
    if "stamps" in name:
        assert record.header is not None and record.header.recorded_at == "2020-01-02T10:30:00"


def test_rates_and_units_of_time_that_cannot_be_are_refused(truth: np.ndarray, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(table(truth, first="# sampling rate: 25,000 Hz"))
    with pytest.raises(RecordError, match="may be 25 Hz or 25000 Hz"):
        read_ecg(file)
    file.write_text(table(truth, names="time (furlong)," + NAMES, clock=lambda k: f"{4 * k}"))
    with pytest.raises(RecordError, match="'furlong' of the time column is none of time"):
        read_ecg(file)


@pytest.mark.parametrize(
    ("words", "fs_hz"),
    [
        ("5e2 Hz", 500.0), ("2.5E+2 Hz", 250.0), (".25 kHz", 250.0), (",5kHz", 500.0), ("4 ms", 250.0),
        ("2000 \u00b5s", 500.0), ("30000/min", 500.0), ("500 samples/s", 500.0), ("250sps", 250.0),
    ],
)  # fmt: skip
def test_stated_rates_as_they_are_written(words: str, fs_hz: float) -> None:
    assert stated_rate([f"Sampling rate: {words}"]) == pytest.approx(fs_hz)


@pytest.mark.parametrize(
    "lines",
    [
        ["# Sampling rate: 100 Hz", "# Sampling rate: 500 Hz"],
        ["# original sampling rate 1000 Hz; sampling rate 100 Hz"],
        ["Abtastrate 500 Hz", "# 250 samples/s"],
    ],
)
def test_two_rates_are_not_chosen_from(lines: list[str]) -> None:
    with pytest.raises(RecordError, match="states several sampling rates: "):
        stated_rate(lines)


@pytest.mark.parametrize(
    "line",
    [
        "Sampling rate: 500 Hz, resampled to 100 Hz", "ADC sampling rate: 8000 Hz, stored at 100 Hz",
        "Total sampling rate 1200 Hz (12 channels)", "Sampling rate filter 150 Hz; sampled 100 Hz",
        "Low pass sampling frequency: 40 Hz, rate 100 Hz", "Sampling rate: -100 Hz", "Sampling rate: 100-500 Hz",
        "Sampling rate 100 to 500 Hz", "original sampling rate 1000 Hz", "fs: 500 (display), data decimated by 5",
        "Sampling rate per channel 100 Hz, 12 channels at 1200 Hz", "Abtastrate 1000 Hz (heruntergerechnet)",
        "Sampling rate: 100 bits", "Sampling rate = \u2212250 Hz", "sampling rate 250 Hz or 500 Hz",
        "Abtastrate (gesamt): 3000 Hz", "sampling rate: 500 Hz; downsampled", "upsampled from 250 Hz, fs=500 Hz",
        "fs: 500 Hz, every 5th sample kept", "Abtastrate 500 Hz, jeder zweite Wert", "fs 500 Hz, thinned by 5",
    ],
)  # fmt: skip
def test_a_rate_that_may_be_another_is_refused(line: str) -> None:
    """Before resampling, of all channels, of a filter, a range, below zero: not read as the rate of the numbers."""
    with pytest.raises(RecordError, match="sampling rate") as error:
        stated_rate([line])
    assert "--fs" in (error.value.hint or "")


@pytest.mark.parametrize(
    ("line", "fs_hz"),
    [
        ("Sampling rate: 100000 mHz", 100), ("Sampling rate: 0.0005 MHz", 500), ("Sampling rate (kHz): 0.5", 500),
        ("Sampling interval (ms): 10", 100), ("sampling_interval_ms = 4", 250), ("dt = 0.01", 100),
        ("Sampling interval [us]: 2000", 500), ("Sampling interval 2000 \u00b5s", 500), ("sampling time: 10 s", None),
        ("Sampling rate: 500 Hz, filter 0.05-150 Hz", 500), ("Filter: 0.05-150 Hz, sampling rate: 500 Hz", 500),
        ("Notch 50 Hz; sampling rate 500 Hz; low pass 100 Hz", 500), ("Abtastrate 500 Hz, Netzfilter 50 Hz", 500),
        ("Sampling rate 500 Hz, bandwidth 0.05 - 150 Hz, 12 bit", 500), ("500 samples/s, resampled to 500 Hz", 500),
        ("sampling rate 500 Hz (500 samples/s)", 500), ("Filter: none Sampling rate: 500 Hz", 500),
        ("original sampling rate 500 Hz, sampling rate 500 Hz", 500), ("Sampling rate: 500 Hz, 50 Hz notch", 500),
    ],
)  # fmt: skip
def test_a_rate_beside_other_amounts(line: str, fs_hz: float | None) -> None:
    assert stated_rate([line]) == (pytest.approx(fs_hz) if fs_hz else None)


@pytest.mark.parametrize(
    ("line", "mv"),
    [
        ("# Unit: 10 uV", 0.01), ("# resolution 4.88 uV/LSB", 0.00488), ("# gain 200 adu/mV", 0.005),
        ("# Amplitude in microvolts", 0.001), ("Einheit: Mikrovolt", 0.001),
        ("Aufl\u00f6sung 2,5 \u00b5V pro Bit", 0.0025),
        ("units=mV", 1.0), ("Gain: 1000 counts per mV", 0.001), ("LSB: 5 uV", 0.005), ("Values are in uV", 0.001),
        ("Unit\u00e9s : \u00b5V", 0.001), ("gain 10 mm/mV", None), ("resolution 12 bit", None), ("Gain: 1", None),
        ("Speed 25 mm/s, gain 10 mm/mV, units uV", 0.001), ("Sampling rate 500 Hz", None), ("1 LSB = 0.5 uV", 0.0005),
        ("# 1 mV = 200", 0.005), ("200 counts = 1 mV", 0.005), ("1 mV entspricht 200", 0.005),
        ("1 mV corresponds to 1000 units", 0.001), ("10 mm = 1 mV", None), ("1 mV = 10 mm", None),
        ("# AVM 4880 nV", 0.00488),
        ("200 units per mV", 0.005), ("Amplitude resolution: 1 nV per count", 1e-6), ("V1 is noisy", None),
    ],
)  # fmt: skip
def test_scales_that_a_line_states(line: str, mv: float | None) -> None:
    found = stated_scale([line])
    assert found is None if mv is None else found is not None and found[0] == pytest.approx(mv)


@pytest.mark.parametrize("lines", [["Unit: mV", "resolution 5 uV/LSB"], ["gain: 200"], ["Verst\u00e4rkung = 1000"]])
def test_scales_that_are_half_understood_are_refused(lines: list[str]) -> None:
    with pytest.raises(RecordError, match=r"several scales|does not say how many mV"):
        stated_scale(lines)


def test_a_rate_that_is_told_settles_what_the_lines_leave_open(truth: np.ndarray, tmp_path: Path) -> None:
    """As the hint says: by an argument, or by a column of times."""
    file = tmp_path / "resampled.csv"
    file.write_text(table(truth, first="# Sampling rate: 500 Hz, resampled to 250 Hz"))
    with pytest.raises(RecordError, match="states several sampling rates: 500 Hz and 250 Hz"):
        read_ecg(file)
    record = read_ecg(file, fs_hz=250)
    assert record.fs_hz == 250 and noted(record, "states several sampling rates")
    timed = table(
        truth, first="# original sampling rate: 500 Hz", names=f"time (s),{NAMES}", clock=lambda k: f"{k / 250:.3f}"
    )
    file.write_text(timed)
    assert read_ecg(file).fs_hz == pytest.approx(250)


def test_a_scale_before_the_table_is_applied(truth: np.ndarray, tmp_path: Path) -> None:
    """Values in steps of 10 uV; a unit in the names of the columns goes first, an argument before all."""
    file = tmp_path / "steps.csv"
    file.write_text(table(np.round(truth / 0.01), first="# sampling rate: 250 Hz\n# Unit: 10 uV"))
    record = read_ecg(file)
    assert off(record, truth) <= 0.0051 and noted(record, "as the lines before the table say: 10 uV")
    assert off(read_ecg(file, units="uV"), truth / 10) <= 0.0051
    file.write_text(table(np.round(truth / 0.01), first="# sampling rate: 250 Hz\n# gain: 100"))
    with pytest.raises(RecordError, match="gain: 100") as error:
        read_ecg(file)
    assert "--units" in (error.value.hint or "")


def test_clock_times_past_midnight(truth: np.ndarray, tmp_path: Path) -> None:
    def clock(k: int) -> str:
        ms = (86_398_000 + 4 * k) % 86_400_000
        return f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}.{ms % 1000:03d}"

    (tmp_path / "a.csv").write_text(table(truth, names=f"time,{NAMES}", clock=clock))
    record = read_ecg(tmp_path / "a.csv", units="mV")
    assert record.fs_hz == pytest.approx(250.0) and off(record, truth) < STEP_MV


def test_thousands_in_cells_are_said(truth: np.ndarray, tmp_path: Path) -> None:
    steps = np.rint(truth * 2000)
    steps[0, 3] = 1234
    text = table(steps, first="# fs 250 Hz", cell=lambda v: f'"{int(v):,}"' if abs(v) >= 1000 else f"{int(v)}")
    (tmp_path / "a.csv").write_text(text)
    record = read_ecg(tmp_path / "a.csv", units="uV")
    assert np.abs(record.signal_mv - steps / 1000).max() < 1e-5 and noted(record, "marks of thousands")


WATCH_EN = """Name,Erika Muster
Date of Birth,"Jan 2, 1980"
Recorded Date,2020-01-02 10:30:00 +0100
Classification,Sinus Rhythm
Symptoms,
Software Version,1.90
Device,"Watch4,1"
Sample Rate,512 hertz


Lead,Lead I
Unit,µV

"""
WATCH_DE = """Name,Erika Muster
Geburtsdatum,02.01.1980
Aufzeichnungsdatum,2020-01-02 10:30:00 +0100
Klassifizierung,Sinusrhythmus
Symptome,
Softwareversion,1.90
Gerät,"Watch6,2"
Messrate,"511,81 Hertz"

Ableitung,Ableitung I
Einheit,µV

"""


@pytest.mark.parametrize(
    ("words", "comma", "fs_hz"), [(WATCH_EN, ".", 512), (WATCH_DE, ",", 511.81), (WATCH_DE, '"', 511.81)]
)
def test_export_of_a_watch(truth: np.ndarray, tmp_path: Path, words: str, comma: str, fs_hz: float) -> None:
    lines = [f"{1000 * v:.3f}" for v in truth[0]]
    if comma != ".":
        lines = [line.replace(".", ",") for line in lines]
    if comma == '"':
        lines = [f'"{line}"' for line in lines]
    (tmp_path / "ecg.csv").write_text(words + "\n".join(lines) + "\n", encoding="utf-8")
    record = read_ecg(tmp_path / "ecg.csv")
    assert record.leads == ("I",) and record.fs_hz == pytest.approx(fs_hz) and record.age_years == 40
    assert np.abs(record.signal_mv[0] - truth[0]).max() < 1e-6
    assert record.header is not None and record.header.patient_name == "Erika Muster"
    assert record.header.recorded_at == "2020-01-02T10:30:00" and "Sinus" in record.header.report


@pytest.mark.parametrize(
    ("line", "fs_hz"),
    [
        ("sample rate 1 000 Hz", 1000), ("sample rate 1'000 Hz", 1000), ("SampleRate,500", 500), ("fs;250", 250),
        ("Sampling rate: 2x250 Hz", None), ("Sampling Interval: 2 ms", 500), ("dt=0.004 s", 250), ("dt: 4", None),
        ("sampling period 2000 us", 500), ("500 samples/s", 500), ("250 sps", 250), ("500 S/s", 500), ("25 mm/s", None),
        ("fréquence d'échantillonnage : 500 Hz", 500), ("Frecuencia de muestreo: 0,5 kHz", 500),
        ("Frequenza di campionamento 250 Hz", 250), ("sample rate .5 kHz", 500), ("Sampling rate: 500 s", 500),
        ("Filter 0.05-150 Hz", None), ("heart rate 72/min", None),
    ],
)  # fmt: skip
def test_more_words_for_a_rate(line: str, fs_hz: float | None) -> None:
    """Thousands set apart, a cell behind a comma, seconds from sample to sample, other languages; nothing guessed."""
    assert stated_rate([line]) == (pytest.approx(fs_hz) if fs_hz else None)


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("1 year 6 months", 1.5), ("1 Jahr 3 Monate", 1.25), ("2 ans et 6 mois", 2.5), ("2 y 3 m", 2.25),
        ("3 mos", 0.25),
        ("P3M", 0.25), ("P45Y", 45), ("36 hrs", 36 / 8766), ("45 years, male", 45), ("45 years 6 beers", 45),
        ("6 months 2 years", 0.5), ("1 an 3", 1),
    ],
)  # fmt: skip
def test_ages_of_several_parts(text: str, years: float) -> None:
    assert age_of(text) == pytest.approx(years)


def test_dates_and_sexes_of_more_countries() -> None:
    assert {
        iso_time(text) for text in ("2020/1/2", "2020-1-2", "2020年1月2日", "2 janvier 2020", "2 de enero de 2020")
    } == {"2020-01-02"}
    assert iso_time("2020/1/2 10:30") == iso_time("2 gennaio 2020 10:30") == "2020-01-02T10:30:00"
    assert iso_time("2020/13/1") is None and iso_time("2020/2/30") is None and iso_time("3 xyz 2020") is None
    assert {sex_of(text) for text in ("varón", "uomo", "Maschio", "mannelijk", "мужской", "男")} == {"M"}
    assert {sex_of(text) for text in ("donna", "vrouw", "Kvinna", "feminino", "женский", "女")} == {"F"}
    assert sex_of("O") is None and sex_of("divers") is None and sex_of("1") is None


def test_a_header_without_a_rate_says_so(wfdb_record: Callable[[str], Path], truth: np.ndarray) -> None:
    """WFDB's default is taken and named; a rate in kHz is asked about; the sex is read in other words."""
    path = wfdb_record("date_first")
    lines = path.read_text().splitlines()
    rest = [line for line in lines[1:] if not line.startswith("#")]
    path.write_text("\n".join([f"{lines[0].split()[0]} 12", *rest, "# Geschlecht: weiblich"]) + "\n")
    record = read_ecg(path)
    assert off(record, truth) < STEP_MV and record.fs_hz == 250 and record.sex == "F"
    assert noted(record, "no sampling rate is stated: taken as 250 Hz")
    path.write_text("\n".join([f"{lines[0].split()[0]} 12 0.25 1000", *rest]) + "\n")
    assert noted(read_ecg(path), "is it stated in kHz")
    assert millivolts_per("mVolt") == 1 and millivolts_per("uvolt") == 1e-3


def test_clocks_of_twelve_hours_and_years_that_cannot_be() -> None:
    assert iso_time("02.01.2020 10:30 PM") == iso_time("2020-01-02 10:30 p.m.") == "2020-01-02T22:30:00"
    assert iso_time("2020-01-02", "10:30:05 PM") == "2020-01-02T22:30:05"
    assert iso_time("2020-01-02 12:05 AM") == "2020-01-02T00:05:00"
    assert iso_time("2020-01-02 12:05 pm") == "2020-01-02T12:05:00"
    assert iso_time("2020-01-02 22:30 PM") == "2020-01-02T22:30:00" and iso_time("2020-01-02 AM") == "2020-01-02"
    assert iso_time("2563-01-02") is iso_time("9999-12-31") is iso_time("02.01.2999") is None
    assert iso_time("2180-07-23") == "2180-07-23", "as MIMIC moves its dates"


@pytest.mark.parametrize(
    ("name", "lead", "sign"),
    [
        ("aVR-", "aVR", -1), ("aVR\u2212", "aVR", -1), ("II -", "II", 1), ("-aVR-", "aVR", 1), ("Afl. V1", "V1", 1),
        ("Avl. II", "II", 1), ("Dériv. V4", "V4", 1), ("Deriv V2", "V2", 1), ("bröst V1", "V1", 1),
        ("Einthoven 2", "II", 1), ("Brustwandableitung 3", "V3", 1), ("précordiale 6", "V6", 1),
        ("Einthoven 4", None, 1), ("Brustwandableitung 7", None, 1), ("Lead 2", None, 1),
    ],
)  # fmt: skip
def test_lead_names_of_more_countries(name: str, lead: str | None, sign: int) -> None:
    assert signed_lead(name) == (lead, sign)


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("1y6m", 1.5), ("1J 6M", 1.5), ("71ys", 71), ("ca. 70", 70), ("~70", 70), ("3 \u00bd", 3.5), ("60-70", None),
        ("1y6", None), ("about 5 months", 5 / 12), ("12345", None),
    ],
)  # fmt: skip
def test_ages_as_they_are_noted(text: str, years: float | None) -> None:
    assert age_of(text) == (None if years is None else pytest.approx(years))


def test_sexes_as_they_are_noted() -> None:
    assert {sex_of(text) for text in ("weibl.", "Mme", "Mlle", "f.", "Mrs.")} == {"F"}
    assert {sex_of(text) for text in ("männl.", "Herr", "Monsieur", "m.")} == {"M"}
    assert sex_of("m/w") is sex_of("not male") is sex_of(".") is None


def test_a_time_column_since_1970(truth: np.ndarray, tmp_path: Path) -> None:
    """Microseconds, milliseconds and seconds of an epoch are told by their size."""
    file = tmp_path / "epoch.csv"
    for unit, scale in (("us", 1e6), ("ms", 1e3), ("s", 1.0)):
        stamps = lambda k, scale=scale: f"{(1577934000 + k / 250) * scale:.3f}"  # noqa: E731
        file.write_text(table(truth, names=f"timestamp,{NAMES}", clock=stamps))
        record = read_ecg(file)
        assert record.fs_hz == pytest.approx(250, rel=1e-4) and noted(record, f"counts from 1970: taken as {unit}")


def test_a_dicom_file_whose_leads_are_turned_over_says_so(faults: Path, tmp_path: Path) -> None:
    """A negative sensitivity is applied as it stands, and named with its leads."""
    import pydicom

    plain = read_ecg(faults / "neg_avr.dcm")
    assert not noted(plain, "sensitivity is negative")
    data = pydicom.dcmread(faults / "neg_avr.dcm")
    for channel in data.WaveformSequence[0].ChannelDefinitionSequence:
        channel.ChannelSensitivity = str(-float(channel.ChannelSensitivity))
        channel.ChannelBaseline = str(-float(channel.get("ChannelBaseline") or 0))
    pydicom.dcmwrite(tmp_path / "turned.dcm", data)
    turned = read_ecg(tmp_path / "turned.dcm")
    assert noted(turned, "sensitivity is negative") and noted(turned, "V1")
    assert np.allclose(turned.signal_mv, -plain.signal_mv, atol=1e-4, equal_nan=True)
