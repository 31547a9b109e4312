"""Files of formats of which no sample is at hand, written from their published layouts."""

from __future__ import annotations

import base64
import binascii
import struct
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord

EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
Steps = NDArray[np.int16]


def lead_of(record: EcgRecord, name: str) -> NDArray[np.float32]:
    """The samples of a lead that must be there, mV."""
    row = record.lead(name)
    assert row is not None, f"no lead {name}"
    return row


def steps(n: int = 1000, leads: int = 8, seed: int = 3) -> Steps:
    """Rounded noise with a slow wave, shape (leads, n)."""
    rng = np.random.default_rng(seed)
    slow = 200 * np.sin(np.arange(n) / 40)
    return np.rint(slow + rng.normal(0, 60, (leads, n))).astype(np.int16)


def write_muse(path: Path, values: Steps, names: tuple[str, ...] = EIGHT, **changes: str) -> Path:
    """GE MUSE XML: `RestingECG` with a median and a rhythm waveform, element names as in restecg.dtd.

    Args:
        path: Where to.
        values: Stored steps, shape (leads, n).
        names: LeadID of each.
        changes: Element name to text, in place of what is written otherwise.
    """
    told = {
        "PatientID": "987654", "PatientAge": "62", "AgeUnits": "YEARS", "Gender": "FEMALE",
        "PatientLastName": "Musterfrau", "PatientFirstName": "Erika", "AcquisitionTime": "14:05:09",
        "AcquisitionDate": "09-22-2017", "SampleType": "CONTINUOUS_SAMPLES", "SampleBase": "500",
        "SampleExponent": "0", "LeadAmplitudeUnitsPerBit": "4.88", "LeadAmplitudeUnits": "MICROVOLTS",
        "LeadSampleSize": "2", "HighPassFilter": "16", "LowPassFilter": "150", "ACFilter": "60",
        "WaveformType": "Rhythm", "LeadOff": "FALSE", **changes,
    }  # fmt: skip

    def tags(*some: str) -> str:
        return "".join(f"<{name}>{escape(told[name])}</{name}>" for name in some)

    def lead(name: str, row: Steps) -> str:
        data = base64.b64encode(row.astype("<i2").tobytes()).decode()
        count = told.get("LeadSampleCountTotal", str(row.size))
        return (
            f"<LeadData><LeadByteCountTotal>{2 * row.size}</LeadByteCountTotal>"
            f"<LeadSampleCountTotal>{count}</LeadSampleCountTotal>"
            + tags("LeadAmplitudeUnitsPerBit", "LeadAmplitudeUnits", "LeadSampleSize", "LeadOff")
            + f"<LeadID>{name}</LeadID><WaveFormData>\n{data}\n</WaveFormData></LeadData>"
        )

    wave = tags("SampleType", "SampleBase", "SampleExponent", "HighPassFilter", "LowPassFilter", "ACFilter")
    leads = "".join(lead(name, row) for name, row in zip(names, values, strict=True))
    median = "".join(lead(name, row[:300] * 0) for name, row in zip(names, values, strict=True))
    statements = (
        "<DiagnosisStatement><StmtFlag>ENDSLINE</StmtFlag><StmtText>Sinus rhythm</StmtText></DiagnosisStatement>"
        "<DiagnosisStatement><StmtText>Left ventricular</StmtText></DiagnosisStatement>"
        "<DiagnosisStatement><StmtFlag>ENDSLINE</StmtFlag><StmtText>hypertrophy</StmtText></DiagnosisStatement>"
    )
    text = (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<!DOCTYPE RestingECG SYSTEM "restecg.dtd">\n<RestingECG>'
        f"<PatientDemographics>{tags('PatientID', 'PatientAge', 'AgeUnits', 'Gender', 'PatientLastName')}"
        f"{tags('PatientFirstName')}</PatientDemographics>"
        f"<TestDemographics>{tags('AcquisitionTime', 'AcquisitionDate')}<OverreaderLastName>Weiss</OverreaderLastName>"
        "<AcquisitionDevice>MAC55</AcquisitionDevice></TestDemographics>"
        "<RestingECGMeasurements><VentricularRate>71</VentricularRate><QRSDuration>98</QRSDuration>"
        f"</RestingECGMeasurements><Diagnosis>{statements}</Diagnosis>"
        f"<Waveform><WaveformType>Median</WaveformType>{wave}{median}</Waveform>"
        f"<Waveform>{tags('WaveformType')}{wave}{leads}</Waveform></RestingECG>"
    )
    path.write_text(text, encoding="latin-1")
    return path


def write_ishne(
    path: Path, values: Steps, codes: tuple[int, ...], *, step_nv: int = 2500, together: bool = False
) -> Path:
    """ISHNE 1.0: 10 bytes of magic number and checksum, 512 of fixed block, 16-bit samples, leads in turn.

    Args:
        path: Where to.
        values: Stored steps, shape (leads, n).
        codes: Lead codes of the standard's table (5 is I, 6 is II, 11 is V1).
        step_nv: Resolution.
        together: Whether the number of samples counts all leads, as some recorders have it.
    """
    n_leads, n = values.shape
    twelve = [*codes, *[-9] * (12 - n_leads)]
    fixed = struct.pack("<4ih", 0, n * n_leads if together else n, 522, 522, 1)
    fixed += b"Erika".ljust(40, b"\0") + b"Musterfrau".ljust(40, b"\0") + b"H-77".ljust(20, b"\0")
    fixed += struct.pack("<2h3h3h3h3h", 2, 1, 8, 5, 1953, 22, 11, 2002, 23, 11, 2002, 9, 10, 30)
    fixed += struct.pack("<h12h12h", n_leads, *twelve, *[0] * 12)
    fixed += struct.pack("<12h", *[step_nv] * n_leads, *[0] * (12 - n_leads))
    fixed += struct.pack("<h40sh80s80s88s", 0, b"recorder X", 200, b"", b"", b"")
    assert len(fixed) == 512
    crc = binascii.crc_hqx(fixed, 0xFFFF)
    path.write_bytes(b"ISHNE1.0" + struct.pack("<H", crc) + fixed + values.T.astype("<i2").tobytes())
    return path


def write_scp(
    path: Path, rows: dict[int, tuple[int, list[int]]], *, tables: bytes | None, order: int = 0, step_nv: int = 5000
) -> Path:
    """SCP-ECG 2.0 with sections 0, 1, 3, 6 and, where given, 2.

    Args:
        path: Where to.
        rows: Lead code to (number of samples, bytes of its data).
        tables: Body of section 2; None for plain samples.
        order: Of the differences.
        step_nv: Step in nV.
    """
    lead_table = bytes([len(rows), 4 | len(rows) << 3])
    lead_table += b"".join(struct.pack("<IIB", 1, n, code) for code, (n, _) in rows.items())
    rhythm = struct.pack("<HHBB", step_nv, 2000, order, 0)
    rhythm += b"".join(struct.pack("<H", len(data)) for _, data in rows.values())
    rhythm += b"".join(bytes(data) for _, data in rows.values())
    patient = b"".join(
        struct.pack("<BH", tag, len(value)) + value
        for tag, value in ((0, b"Muster\0"), (2, b"SCP-1\0"), (8, b"\2"), (25, struct.pack("<HBB", 2020, 2, 29)))
    )
    bodies = {1: patient + b"\xff\0\0", 3: lead_table, 6: rhythm}
    if tables is not None:
        bodies[2] = tables
    at = 6 + 16 + 120
    pointers, content = {0: (136, 7)}, b""
    for number in sorted(bodies):
        body = bodies[number] + b"\0" * (len(bodies[number]) % 2)
        pointers[number] = (16 + len(body), at + len(content) + 1)
        content += struct.pack("<HHIBB6x", 0, number, 16 + len(body), 20, 20) + body
    table = b"".join(struct.pack("<HII", number, *pointers.get(number, (0, 0))) for number in range(12))
    inside = struct.pack("<HHIBB6s", 0, 0, 136, 20, 20, b"SCPECG") + table + content
    inside = struct.pack("<I", 6 + len(inside)) + inside
    path.write_bytes(struct.pack("<H", binascii.crc_hqx(inside, 0xFFFF)) + inside)
    return path


def bits_to_bytes(bits: str) -> list[int]:
    """Bits, first one first, as bytes; the last byte is filled with ones."""
    padded = bits + "1" * (-len(bits) % 8)
    return [int(padded[k : k + 8], 2) for k in range(0, len(padded), 8)]


def write_mimic(root: Path, values: Steps) -> Path:
    """MIMIC-IV-ECG's layout, one record, aVF stored before aVL; values in standard order, shape (12, n), 200 a mV."""
    import wfdb

    order = ("I", "II", "III", "aVR", "aVF", "aVL", *LEADS[6:])
    folder = root / "files" / "p1000" / "p10000032" / "s40689238"
    folder.mkdir(parents=True)
    stored = np.stack([values[LEADS.index(name)] for name in order])
    wfdb.wrsamp("40689238", 500, ["mV"] * 12, list(order), d_signal=stored.T.astype(int), fmt=["16"] * 12,
                adc_gain=[200.0] * 12, baseline=[0] * 12, write_dir=str(folder))  # fmt: skip
    path = "files/p1000/p10000032/s40689238/40689238"
    (root / "record_list.csv").write_text(
        f"subject_id,study_id,file_name,ecg_time,path\n10000032,40689238,40689238,2180-07-23 08:44:00,{path}\n"
    )
    (root / "machine_measurements.csv").write_text(
        f"subject_id,study_id,cart_id,ecg_time,{','.join(f'report_{k}' for k in range(18))},bandwidth,filtering,"
        "rr_interval\n10000032,40689238,6848296,2180-07-23 08:44:00,Sinus rhythm,Left atrial abnormality"
        f"{',' * 16}Abnormal ECG,0.05-150 Hz,,659\n"
    )
    return root
