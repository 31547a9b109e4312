"""MFER, Schiller SEMA, Bionet Cardio7 and GE CardioSoft: written from their layouts here, and real samples."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from formats_made import lead_of

from ecgkin.retrieval.ecg.formats.read import read_ecg
from ecgkin.retrieval.ecg.leads import LEADS, canonical_lead
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError

EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


def steps(leads: int, n: int = 600) -> np.ndarray:
    """Rounded waves of 1 uV a step, shape (leads, n)."""
    t = np.arange(n) / 250
    return np.stack([np.rint(300 * (k + 1) * np.sin(2 * np.pi * (1 + k / 9) * t)) for k in range(leads)]).astype(int)


# ---------------------------------------------------------------- MFER


def tag(number: int, value: bytes) -> bytes:
    size = len(value)
    return bytes([number]) + (bytes([size]) if size < 128 else b"\x84" + struct.pack(">I", size)) + value


def mfer(
    values: np.ndarray, order: str = "<", *, block: int | None = None, dtype: str = "i2",
    codes: list[int] | None = None, more: bytes = b"", interval: bytes = b"\x01\xfd", sensitivity: bytes = b"\x00\xfa",
) -> bytes:  # fmt: skip
    """A file of 4 ms and 1 uV a step; channels in blocks, or interleaved."""
    leads, n = values.shape
    block = n if block is None else block
    kinds = {"i2": 0, "i4": 2}
    body = values.reshape(leads, n // block, block).swapaxes(0, 1).astype(f"{order}{dtype}").tobytes()
    number = struct.Struct(f"{order}I").pack
    half = struct.Struct(f"{order}H").pack
    codes = codes or [1, 2, 3, 4, 5, 6, 7, 8]
    return (
        tag(64, b"MFR Standard 12 leads ECG".ljust(32))
        + tag(23, b"MAKER^CART^1.0")
        + tag(1, bytes([order == "<"]))
        + tag(8, b"\x01")
        + tag(11, interval + half(4))
        + tag(12, sensitivity + half(1))
        + tag(4, number(block))
        + tag(5, number(leads))
        + tag(6, number(n // block))
        + tag(10, bytes([kinds[dtype]]))
        + b"".join(b"\x3f" + bytes([k]) + bytes([3]) + tag(9, bytes([code])) for k, code in enumerate(codes[:leads]))
        + tag(129, b"Muster^Erika")
        + tag(130, b"J-77")
        + tag(131, bytes([49]) + half(0) + half(1953) + bytes([5, 8]))
        + tag(132, b"\x02")
        + tag(133, half(2002) + bytes([11, 22, 9, 10, 30]) + half(0) + half(0))
        + more
        + tag(30, body)
        + b"\x80"
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("block", "dtype"), [(None, "i2"), (1, "i2"), (100, "i4")])
def test_mfer_in_every_layout(tmp_path: Path, order: str, block: int | None, dtype: str) -> None:
    values = steps(8)
    (tmp_path / "a.mwf").write_bytes(mfer(values, order, block=block, dtype=dtype))
    record = read_ecg(tmp_path / "a.mwf")
    assert record.leads == LEADS and record.fs_hz == 250
    for name, row in zip(EIGHT, values, strict=True):
        np.testing.assert_allclose(lead_of(record, name), row / 1000, atol=1e-6)
    assert (record.patient_id, record.age_years, record.sex) == ("J-77", 49, "F")
    assert record.header is not None
    assert (record.header.patient_name, record.header.birth_date) == ("Muster Erika", "1953-05-08")
    assert (record.header.recorded_at, record.header.device) == ("2002-11-22T09:10:30", "MAKER CART 1.0")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d[:-700], "is cut off in tag 30"),
        (lambda d: mfer(steps(8), more=tag(18, b"\x01")), "is compressed"),
        (lambda d: mfer(steps(8), more=tag(10, b"\x07")), "samples are of type 7"),
        (lambda d: mfer(steps(8), sensitivity=b"\x01\xfa"), "no channel is in volts"),
        (lambda d: mfer(steps(2), codes=[20, 21]), "no channel is a standard lead"),
        (lambda d: d[: d.index(b"MAKER") - 2], "holds no waveform"),
        (lambda d: mfer(steps(8), more=tag(5, b"\xff\xff\xff\x7f")), "channels"),
        (lambda d: mfer(steps(8), interval=b"\x01\x7f"), "sampling rate"),
    ],
)
def test_mfer_refusals(tmp_path: Path, change: Callable[[bytes], bytes], says: str) -> None:
    (tmp_path / "a.mwf").write_bytes(change(mfer(steps(8))))
    with pytest.raises(RecordError, match=says):
        read_ecg(tmp_path / "a.mwf")


# ---------------------------------------------------------------- XML with numbers in the text


def sema(values: np.ndarray, unit: str = "UV") -> str:
    def wave(kind: str, scale: int) -> str:
        channels = "".join(
            f"<channel><name>{name.upper()}</name><data>{','.join(str(scale * v) for v in row)}</data>"
            "<datastype>COMMASEPARATE</datastype></channel>"
            for name, row in zip(LEADS, values, strict=True)
        )
        return (
            f"<wavedata><type>{kind}</type><resolution><samplerate><exponent>1</exponent><value>250</value></samplerate>"
            f"<yres><unitperbit>2.0</unitperbit><units>{unit}</units></yres></resolution>{channels}</wavedata>"
        )

    return (
        "<com.xiriuz.sema.xml.schillerEDI.SchillerEDI><patdata><id>S-1</id><lastname>Muster</lastname>"
        "<firstname>Erika</firstname><birthdate>19530508</birthdate><gender>FEMALE</gender></patdata><examdescript>"
        "<startdatetime><date>20060502</date><time>140610000</time></startdatetime><idu><aquiring_user>"
        "<name>Weiss</name></aquiring_user></idu></examdescript><eventdata><event>"
        + wave("ECG_AVERAGES", 0)
        + wave("ECG_RHYTHMS", 1)
        + "<annotation_global><name>HR</name><value>59</value></annotation_global><textdata><type>INTERPRETATION</type>"
        "<textdata>Sinus rhythm</textdata></textdata></event></eventdata></com.xiriuz.sema.xml.schillerEDI.SchillerEDI>"
    )


def cardio7(values: np.ndarray, unit: str = "<uV>2</uV>") -> str:
    leads = "".join(
        f"<WaveData><Channel>Lead {name}</Channel><Data>{' '.join(map(str, row))}</Data></WaveData>"
        for name, row in zip(LEADS, values, strict=True)
    )
    return (
        "<Cardio7><PatientInfo><Id>S-1</Id><Name>Erika</Name><FamilyName>Muster</FamilyName><Gender>Female</Gender>"
        "<Age>52</Age></PatientInfo><StudyInfo><Id>9</Id><Date>2006-05-02</Date><Time>14:06:10</Time>"
        "<ShortMeasurementSegment><HeartRate>59</HeartRate></ShortMeasurementSegment><RecordInfo><Institution>Weiss"
        "</Institution></RecordInfo><Interpretation><statement>Sinus rhythm</statement></Interpretation><WaveInfo>"
        f"<SampleRate><Hz>250</Hz></SampleRate><DataUnit>{unit}</DataUnit><Encoding/></WaveInfo>{leads}</StudyInfo>"
        "</Cardio7>"
    )


def cardiosoft(values: np.ndarray, unit: str = "uVperLsb") -> str:
    leads = "".join(
        f'<WaveformData lead="{name}">{",".join(map(str, row))}</WaveformData>'
        for name, row in zip(LEADS, values, strict=True)
    )
    return (
        "<CardiologyXML><ObservationDateTime><Hour>14</Hour><Minute>6</Minute><Second>10</Second><Day>2</Day>"
        "<Month>5</Month><Year>2006</Year></ObservationDateTime><ClinicalInfo><Technician><FamilyName>Weiss</FamilyName>"
        "</Technician></ClinicalInfo><PatientInfo><PID>S-1</PID><Name><FamilyName>Muster</FamilyName><GivenName>Erika"
        '</GivenName></Name><Age units="years">52</Age><Gender>FEMALE</Gender></PatientInfo><Interpretation><Diagnosis>'
        "<DiagnosisText>Sinus rhythm</DiagnosisText></Diagnosis></Interpretation><RestingECGMeasurements>"
        '<VentricularRate units="BPM">59</VentricularRate><MedianSamples><WaveformData lead="I">0,0</WaveformData>'
        '</MedianSamples></RestingECGMeasurements><StripData><SampleRate units="Hz">250</SampleRate>'
        f'<Resolution units="{unit}">2</Resolution>{leads}</StripData></CardiologyXML>'
    )


@pytest.mark.parametrize("write", [sema, cardio7, cardiosoft])
def test_numbers_in_text(tmp_path: Path, write: Callable[[np.ndarray], str]) -> None:
    values = steps(12)
    (tmp_path / "a.xml").write_text(write(values))
    record = read_ecg(tmp_path / "a.xml")
    assert record.leads == LEADS and record.fs_hz == 250
    np.testing.assert_allclose(record.signal_mv, values * 0.002, atol=1e-5)
    header = record.header
    assert header is not None
    assert (record.patient_id, record.age_years, record.sex) == ("S-1", 52, "F")
    assert header.recorded_at == "2006-05-02T14:06:10" and header.report == "Sinus rhythm"
    assert header.measurements == {"rate_bpm": 59} and "Muster" in header.patient_name
    assert header.people == ("Weiss",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (sema(steps(12), unit="MMHG"), "does not say the scale"),
        (sema(steps(12)).replace("ECG_RHYTHMS", "OTHER"), "holds no rhythm"),
        (sema(steps(12)).replace("COMMASEPARATE", "ZIPPED"), "stored as ZIPPED"),
        (cardio7(steps(12), unit="<mmHg>1</mmHg>"), "does not say the unit"),
        (cardio7(steps(12)).replace("<Encoding/>", "<Encoding>Base64</Encoding>"), "encoded as Base64"),
        (cardio7(steps(12)).replace("<Hz>250</Hz>", ""), "sampling rate is 0"),
        (cardiosoft(steps(12), unit="parsec"), "does not say the resolution"),
        (cardiosoft(steps(12)).replace("StripData", "Other"), "holds no rhythm strip"),
        (cardiosoft(steps(12)).replace('lead="I">0,', 'lead="I">zero,').replace('"II">0', '"II">zero'), "is no number"),
    ],
)
def test_numbers_in_text_refusals(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(RecordError, match=says):
        read_ecg(tmp_path / "a.xml")


# ---------------------------------------------------------------- samples of the makers


@pytest.fixture(scope="module")
def more(shared_root: Path) -> Path:
    """Folder of real files, with samples decoded by another reader."""
    folder = shared_root / "formats" / "more"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}")
    return folder


@pytest.mark.parametrize(
    "name", [*(f"mfer_dekopon_0{k}.mwf" for k in (1, 2, 4)), "cardio7_1.xml", "cardio7_2.xml", "cvrg_schiller.xml"]
)
def test_vendor_samples_against_another_reader(more: Path, name: str) -> None:
    expected = np.load(more / "expected" / f"{name}.npz")
    record = read_ecg(more / name)
    assert record.fs_hz == expected["fs_hz"] and record.n_samples == expected["signal_uv"].shape[1]
    for lead, row in zip(expected["leads"], expected["signal_uv"], strict=True):
        found = record.lead(str(canonical_lead(str(lead)))) if row.any() else np.zeros(row.size)
        assert found is not None and np.abs(1000 * found - row).max() < 0.51  # the other one rounds to 1 uV


def test_cardiosoft_sample_against_the_machines_amplitudes(more: Path) -> None:
    """R of lead I 1.58 mV, S of lead III -1.43 mV in the median beat, by the file's own table."""
    record = read_ecg(more / "heartwise_dummy_ecg.xml")
    one, three = record.lead("I"), record.lead("III")
    assert one is not None and three is not None
    assert abs(float(one.max()) - 1.58) < 0.1 and abs(float(three.min()) + 1.43) < 0.2


def test_other_files_of_the_set(more: Path) -> None:
    """What is no SCP-ECG says so; a catheter laboratory's leads, a watch's lead and a converter's file are read."""
    for name in ("scp_healforce_62.scp", "scp_healforce_63.scp"):
        with pytest.raises(RecordError, match="is no SCP-ECG file"):
            read_ecg(more / name)
    laboratory = read_ecg(more / "dcm_arturrod_test_ecg.dcm")
    assert (laboratory.leads, laboratory.fs_hz, laboratory.n_samples) == (LEADS, 240, 2400)
    toolkit = read_ecg(more / "dcm_ecgtoolkit_Example.dcm")
    twin = read_ecg(more.parent / "scp_example_mortara.scp")
    assert np.isfinite(toolkit.signal_mv).all()
    assert np.abs(toolkit.signal_mv - twin.signal_mv).max() < 1e-5
    assert read_ecg(more / "kardia_1l.edf").leads == ("I",)
    matrix: EcgRecord = read_ecg(more / "cvrg_J123456_10sec.txt", fs_hz=500, units="uV")
    assert (matrix.leads, matrix.n_samples) == (LEADS, 5000)
