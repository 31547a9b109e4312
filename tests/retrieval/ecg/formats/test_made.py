"""Formats without a sample file, by files written from their layouts; refusals by name; hostile files."""

from __future__ import annotations

import base64
import struct
from pathlib import Path

import formats_made as made
import numpy as np
import pytest
from formats_made import lead_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecgkin.retrieval.ecg.formats.huffman import standard_table
from ecgkin.retrieval.ecg.formats.read import read_ecg
from ecgkin.retrieval.ecg.formats.sierra import xli_lead
from ecgkin.retrieval.ecg.header import scale_note
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.errors import RecordError

tolerant = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


# ---------------------------------------------------------------- GE MUSE


def test_muse_eight_leads_make_twelve(tmp_path: Path) -> None:
    """4.88 uV a bit: a stored 205 is 1.0004 mV; III, aVR, aVL and aVF are computed and said to be."""
    values = made.steps()
    values[0, 0], values[1, 0] = 205, -100
    record = read_ecg(made.write_muse(tmp_path / "a.xml", values))
    assert record.leads == LEADS and record.fs_hz == 500
    assert lead_of(record, "I")[0] == pytest.approx(205 * 4.88 / 1000) == pytest.approx(1.0004)
    assert lead_of(record, "III")[0] == pytest.approx((-100 - 205) * 0.00488, abs=1e-6)
    assert lead_of(record, "aVF")[0] == pytest.approx((-100 - 205 / 2) * 0.00488, abs=1e-6)
    assert np.allclose(record.standard()[6:], values[2:] * 0.00488, atol=1e-6)
    assert "III, aVR, aVL, aVF computed from I and II" in record.notes
    assert record.notes[0].startswith(
        "GE MUSE XML: steps of 4.88 uV, 500 Hz, filters high pass setting 16, up to 150 Hz"
    )
    assert (record.patient_id, record.age_years, record.sex) == ("987654", 62.0, "F")
    head = record.header
    assert head is not None and head.recorded_at == "2017-09-22T14:05:09" and head.patient_name == "Erika Musterfrau"
    assert head.report == "Sinus rhythm\nLeft ventricular hypertrophy" and head.people == ("Weiss",)
    assert head.measurements == {"rate_bpm": 71.0, "qrs_ms": 98.0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"SampleType": "COMPRESSED_SAMPLES"}, "COMPRESSED_SAMPLES .read: CONTINUOUS"),
        ({"LeadSampleSize": "4"}, "samples of 4 bytes"),
        ({"LeadAmplitudeUnits": "FURLONGS"}, "does not say its scale"),
        ({"LeadAmplitudeUnitsPerBit": "0"}, "does not say its scale"),
        ({"LeadSampleCountTotal": "5000"}, "cut off: 1000 samples .expected 5000"),
        ({"SampleBase": "0"}, "sampling rate is 0"),
        ({"WaveformType": "Median"}, "no rhythm waveform"),
    ],
)
def test_muse_refusals(tmp_path: Path, changes: dict[str, str], words: str) -> None:
    with pytest.raises(RecordError, match=words):
        read_ecg(made.write_muse(tmp_path / "a.xml", made.steps(), made.EIGHT, **changes))


def test_muse_in_millivolts_and_with_an_electrode_off(tmp_path: Path) -> None:
    more = {"LeadAmplitudeUnits": "MILLIVOLTS", "LeadAmplitudeUnitsPerBit": "0.005", "LeadOff": "TRUE"}
    record = read_ecg(made.write_muse(tmp_path / "a.xml", made.steps(), made.EIGHT, **more))
    assert np.allclose(lead_of(record, "I"), made.steps()[0] * 0.005, atol=1e-6)
    assert any("electrode off" in note for note in record.notes)


# ---------------------------------------------------------------- ISHNE


@pytest.mark.parametrize("together", [False, True])
def test_ishne(tmp_path: Path, together: bool) -> None:
    """2,500 nV a step; the number of samples counted a lead or together, as recorders differ."""
    values = made.steps(600, leads=3)
    record = read_ecg(made.write_ishne(tmp_path / "a.ecg", values, (6, 11, 15), together=together))
    assert record.leads == ("II", "V1", "V5") and record.fs_hz == 200 and record.n_samples == 600
    assert np.allclose(record.signal_mv, values * 0.0025, atol=1e-6)
    assert (record.patient_id, record.age_years, record.sex) == ("H-77", 49.0, "F")
    assert record.header is not None and record.header.recorded_at == "2002-11-22T09:10:30"
    assert record.notes[0] == scale_note("ISHNE 1.0", 2.5, 200.0, "") and "checksum" not in "".join(record.notes)


def test_ishne_damage_is_told(tmp_path: Path) -> None:
    path = made.write_ishne(tmp_path / "a.ecg", made.steps(600, leads=3), (6, 11, 15))
    raw = path.read_bytes()
    path.write_bytes(raw[:-10])
    with pytest.raises(RecordError, match=r"cut off: 598 samples a lead .expected 600"):
        read_ecg(path)
    path.write_bytes(raw[:30] + b"X" + raw[31:])
    assert "the checksum of the header does not fit its content" in read_ecg(path).notes


# ---------------------------------------------------------------- SCP-ECG's codings


def encoded(values: list[int]) -> str:
    """Values by the standard's table, written down a second time: prefix codes, or 8 or 16 bits behind ones."""
    out = []
    for value in values:
        if value == 0:
            out.append("0")
        elif abs(value) <= 8:
            out.append("1" * abs(value) + "0" + ("1" if value < 0 else "0"))
        elif -128 <= value <= 127:
            out.append("1111111110" + format(value & 0xFF, "08b"))
        else:
            out.append("1111111111" + format(value & 0xFFFF, "016b"))
    return "".join(out)


@tolerant
@given(order=st.sampled_from([0, 1, 2]), seed=st.integers(0, 99), n=st.integers(3, 400))
def test_scp_huffman_round_trip(tmp_path: Path, order: int, seed: int, n: int) -> None:
    values = np.cumsum(np.random.default_rng(seed).integers(-30, 31, (2, n)), axis=1)
    rows = {}
    for code, row in zip((1, 2), values, strict=True):
        coded = np.concatenate([row[:order], np.diff(row, order)])
        rows[code] = (n, made.bits_to_bytes(encoded(coded.tolist())))
    path = made.write_scp(tmp_path / "a.scp", rows, tables=struct.pack("<H", 19999), order=order)
    record = read_ecg(path)
    assert np.array_equal(np.rint(record.standard()[:2] / 0.005), values)
    assert record.header is not None
    assert (record.patient_id, record.sex, record.header.recorded_at) == ("SCP-1", "F", "2020-02-29")
    assert not any("checksum" in note for note in record.notes)


def test_scp_standard_table_is_a_prefix_code() -> None:
    """Kraft's sum is 1: every sequence of bits means something, and one thing only."""
    codes = standard_table()
    assert sum(2.0 ** -len(code.bits) for code in codes) == 1.0
    assert {code.value for code in codes if not code.more} == set(range(-8, 9))


def test_scp_own_tables_and_a_switch_between_them(tmp_path: Path) -> None:
    """Table 1: 0 -> 5, 10 -> 4 plain bits, 11 -> switch to table 2. Table 2: 1 -> -7, 01 -> 9, 00 -> back."""

    def line(bits: str, more: int, mode: int, value: int) -> bytes:
        first_lowest = sum(1 << k for k, bit in enumerate(bits) if bit == "1")
        return struct.pack("<BBBhI", len(bits), len(bits) + more, mode, value, first_lowest)

    one = struct.pack("<H", 3) + line("0", 0, 1, 5) + line("10", 4, 1, 0) + line("11", 0, 0, 2)
    two = struct.pack("<H", 3) + line("1", 0, 1, -7) + line("01", 0, 1, 9) + line("00", 0, 0, 1)
    bits = "0" + "10" + "1110" + "11" + "1" + "01" + "00" + "0"  # 5, -2, [to 2] -7, 9, [to 1] 5
    rows = {6: (5, made.bits_to_bytes(bits)), 1: (5, made.bits_to_bytes(bits))}
    record = read_ecg(made.write_scp(tmp_path / "a.scp", rows, tables=struct.pack("<H", 2) + one + two))
    assert np.rint(lead_of(record, "V4") / 0.005).tolist() == [5, -2, -7, 9, 5]


def test_scp_refusals(tmp_path: Path) -> None:
    rows = {1: (4, [1, 0, 2, 0, 3, 0, 4, 0])}
    path = made.write_scp(tmp_path / "a.scp", rows, tables=None)
    assert np.rint(lead_of(read_ecg(path), "I") / 0.005).tolist() == [1, 2, 3, 4]
    raw = bytearray(path.read_bytes())
    at = raw.index(struct.pack("<HHBB", 5000, 2000, 0, 0))
    for place, value, words in ((at + 5, 1, "bimodal compression is not read"), (at + 4, 3, "differences of order 3")):
        damaged = bytearray(raw)
        damaged[place] = value
        (tmp_path / "b.scp").write_bytes(damaged)
        with pytest.raises(RecordError, match=words):
            read_ecg(tmp_path / "b.scp")
    (tmp_path / "b.scp").write_bytes(raw[:-4])
    with pytest.raises(RecordError, match="cut off"):
        read_ecg(tmp_path / "b.scp")
    raw[at + 8] ^= 1  # a sample: only the checksum can tell
    (tmp_path / "b.scp").write_bytes(raw)
    assert "the checksum of the file does not fit its content" in read_ecg(tmp_path / "b.scp").notes


# ---------------------------------------------------------------- EDF+, BDF


@pytest.mark.parametrize("kind", ["Edf", "Bdf"])
def test_edf_plus_and_bdf(tmp_path: Path, kind: str) -> None:
    """Written by edfio: leads in uV and mV, another channel and another rate left out, the patient's fields."""
    import datetime

    import edfio

    values = made.steps(1000, leads=3).astype(float)
    one = getattr(edfio, f"{kind}Signal")
    signals = [
        one(
            values[0],
            500,
            label="ECG I",
            physical_dimension="uV",
            physical_range=(-3000, 3000),
            prefiltering="HP:0.05Hz",
        ),
        one(values[1], 500, label="ECG II", physical_dimension="uV", physical_range=(-3000, 3000)),
        one(values[2] / 1000, 500, label="V2", physical_dimension="mV", physical_range=(-3, 3)),
        one(values[0], 500, label="RESP", physical_dimension="L/min", physical_range=(-3000, 3000)),
        one(values[0][::2], 250, label="V3", physical_dimension="uV", physical_range=(-3000, 3000)),
    ]
    who = edfio.Patient(code="E-5", sex="M", birthdate=datetime.date(1960, 5, 2), name="Max_Muster")
    file = getattr(edfio, kind)(signals, patient=who, recording=edfio.Recording(startdate=datetime.date(2011, 4, 4)),
                                starttime=datetime.time(12, 57, 2))  # fmt: skip
    path = tmp_path / f"a.{kind.lower()}"
    file.write(path)
    record = read_ecg(path)
    assert np.abs(lead_of(record, "I") * 1000 - values[0]).max() < 0.1
    assert np.abs(lead_of(record, "V2") * 1000 - values[2]).max() < 0.1
    assert (record.patient_id, record.age_years, record.sex) == ("E-5", 50.0, "M")
    assert record.header is not None and record.header.patient_name == "Max Muster"
    assert record.header.recorded_at == "2011-04-04T12:57:02" and "HP:0.05Hz" in record.notes[0]
    assert any("'RESP' is in L/min" in note for note in record.notes)
    assert any("'V3' has 250 Hz: left out" in note for note in record.notes)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RecordError, match="cut off"):
        read_ecg(path)


# ---------------------------------------------------------------- MIMIC-IV-ECG's order of leads


def test_mimic_lead_order_trap(tmp_path: Path) -> None:
    """aVF is stored before aVL: leads go by name; the patient is the folder's."""
    values = made.steps(500, leads=12)
    record = read_ecg(next(made.write_mimic(tmp_path, values).rglob("*.hea")))
    assert record.leads == LEADS and np.allclose(record.standard(), values / 200, atol=1e-6)
    assert record.patient_id == "10000032"


# ---------------------------------------------------------------- hostile XML, hostile packings

AECG = '<?xml version="1.0"?>{doctype}<AnnotatedECG xmlns="urn:hl7-org:v3">{body}</AnnotatedECG>'
LEAD = (
    '<component><sequence><code code="MDC_ECG_LEAD_II"/><value xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    'xsi:type="{kind}"><origin value="0" unit="uV"/><scale value="5" unit="{unit}"/><digits>{digits}</digits></value>'
    "</sequence></component>"
)
TIME = (
    '<component><sequence><code code="TIME_ABSOLUTE"/><value><increment value="{step}" unit="s"/></value>'
    "</sequence></component>"
)


def aecg(
    step: str = "0.002", kind: str = "SLIST_PQ", unit: str = "uV", digits: str = "1 2 3", doctype: str = ""
) -> str:
    inside = TIME.format(step=step) + LEAD.format(kind=kind, unit=unit, digits=digits)
    series = f'<component><series><code code="RHYTHM"/><component><sequenceSet>{inside}</sequenceSet></component>'
    return AECG.format(doctype=doctype, body=f"{series}</series></component>")


def test_aecg_plain(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(aecg(digits="100 -200 0"))
    assert lead_of(read_ecg(tmp_path / "a.xml"), "II").tolist() == pytest.approx([0.5, -1.0, 0.0])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (aecg(kind="GLIST_PQ"), "coded as GLIST_PQ .read: SLIST_PQ"),
        (aecg(step="0"), "time increment is '0'"),
        (aecg(unit="mmHg"), "no channel is a standard lead"),
        (aecg(digits="1 zwei 3"), "a sample is no number"),
        (aecg(digits=""), "no sample"),
        ("<AnnotatedECG/>", "no rhythm waveforms"),
        ("<unknown/>", "XML with <unknown> at its root"),
        ("<AnnotatedECG><a>", "no well-formed XML"),
        (aecg(doctype='<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>', digits="&a;"), "declares entities"),
        (aecg(doctype='<!DOCTYPE x [<!ENTITY a "1"><!ENTITY b "&a;&a;">]>', digits="&b;"), "declares entities"),
        ("<AnnotatedECG>" + "<a/>" * 1_000_001 + "</AnnotatedECG>", "elements and attributes"),
        ('<?xml version="1.0" encoding="klingon"?><AnnotatedECG/>', "no rhythm waveforms"),
    ],
)
def test_xml_refusals(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(RecordError, match=words):
        read_ecg(tmp_path / "a.xml")


def sierra(data: bytes, packed: str = "XLI", version: str = "1.04", encoding: str = "Base64") -> str:
    return (
        f"<restingecgdata><documentinfo><documenttype>PhilipsECG</documenttype><documentversion>{version}</documentversion>"
        "</documentinfo><waveforms><parsedwaveforms "
        f'dataencoding="{encoding}" compression="{packed}" numberofleads="1" leadlabels="V2" durationperchannel="8" '
        f'samplespersecond="500" resolution="5" bitspersample="16">{base64.b64encode(data).decode()}</parsedwaveforms>'
        "</waveforms></restingecgdata>"
    )


def test_sierra_plain_and_refusals(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(sierra(struct.pack("<4h", 200, -100, 0, 7), packed="Uncompressed"))
    assert lead_of(read_ecg(path), "V2").tolist() == pytest.approx([1.0, -0.5, 0.0, 0.035])
    for text, words in (
        (sierra(b"", packed="zlib"), "compressed by zlib .read: XLI"),
        (sierra(b"", version="2.00"), "PhilipsECG 2.00"),
        (sierra(b"", encoding="Plain"), "encoded as Plain"),
        (sierra(b"\1\0\0"), "packed lead 1 is cut off"),
        (sierra(struct.pack("<2h", 1, 2), packed="Uncompressed"), "cut off: 2 of 4"),
    ):
        path.write_text(text)
        with pytest.raises(RecordError, match=words):
            read_ecg(path)


def lzw(data: bytes) -> bytes:
    """LZW with codes of 10 bits, as Philips packs: the coding half, written for this test."""
    words = {bytes([k]): k for k in range(256)}
    codes, word = [], b""
    for k in range(len(data)):
        longer = word + data[k : k + 1]
        if longer in words:
            word = longer
            continue
        codes.append(words[word])
        if len(words) <= 1022:
            words[longer] = len(words)
        word = data[k : k + 1]
    bits = "".join(format(code, "010b") for code in [*codes, words[word], 1023])
    return bytes(int(bits[k : k + 8].ljust(8, "0"), 2) for k in range(0, len(bits), 8))


@tolerant
@given(seed=st.integers(0, 99), n=st.integers(3, 700))
def test_xli_round_trip_and_sierraecg(seed: int, n: int) -> None:
    """Packed here, unpacked by the reader and by the package sierraecg: the same samples."""
    from sierraecg.xli import xli_decode

    rng = np.random.default_rng(seed)
    samples = np.cumsum(rng.integers(-20, 21, n))
    bends = 2 * samples[1:-1] - samples[:-2] - samples[2:]
    stored = np.concatenate([samples[:2], bends[1:] + 64, [64]]).astype(np.int16)
    halves = stored.view(np.uint16)
    chunk = lzw(bytes((halves >> 8).astype(np.uint8)) + bytes((halves & 0xFF).astype(np.uint8)))
    unpacked = xli_lead(chunk, int(bends[0]))
    assert unpacked is not None and unpacked.tolist() == samples.tolist()
    framed = struct.pack("<ihh", len(chunk), 1, int(bends[0])) + chunk
    (other,) = xli_decode(framed, ["V1"])
    assert other.tolist() == samples.tolist()


def test_xli_bomb_stays_small() -> None:
    """A megabyte of codes that stand for 700 bytes each is given up, not unpacked."""
    run = [0, *range(256, 1023)]
    bits = "".join(format(code, "010b") for code in run) + format(1022, "010b") * 100_000
    chunk = bytes(int(bits[k : k + 8].ljust(8, "0"), 2) for k in range(0, len(bits), 8))
    assert xli_lead(chunk, 0) is None
    assert xli_lead(b"", 0) is None and xli_lead(b"\xff\xff\xff", 0) is None


def test_names_do_not_matter(tmp_path: Path) -> None:
    """Content goes before the name: formats are known by their first bytes."""
    for name in ("upload-1", "a.bin", "a.csv", "a.dcm"):
        made.write_ishne(tmp_path / name, made.steps(600, leads=3), (6, 11, 15))
        assert read_ecg(tmp_path / name).leads == ("II", "V1", "V5")
        made.write_muse(tmp_path / name, made.steps())
        assert read_ecg(tmp_path / name).leads == LEADS
        made.write_scp(tmp_path / name, {1: (2, [100, 0, 200, 0])}, tables=None)
        assert read_ecg(tmp_path / name).leads == ("I",)
