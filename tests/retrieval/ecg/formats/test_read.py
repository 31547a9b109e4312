"""Readers: what is written comes back, what is broken is told in words, and nothing but EcgkinError ever comes out."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import wfdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecgkin.retrieval import ecg
from ecgkin.retrieval.ecg.assemble import MAX_SAMPLES
from ecgkin.retrieval.ecg.formats.read import read_ecg
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.errors import EcgkinError, RecordError


def signal(n: int = 500, leads: int = 12, seed: int = 0) -> NDArray[np.float64]:
    """Samples whose limb leads obey Einthoven's law, shape (n, leads), mV."""
    rng = np.random.default_rng(seed)
    one, two = rng.normal(0, 0.5, (2, n))
    limbs = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return np.stack(limbs + list(rng.normal(0, 0.7, (6, n))), axis=1)[:, :leads]


def write(
    folder: Path, values: NDArray[np.float64], names: list[str] | None = None, name: str = "rec", **more: object
) -> Path:
    names = list(LEADS[: values.shape[1]]) if names is None else names
    options: dict[str, object] = {
        "fmt": ["16"] * len(names),
        "adc_gain": [1000.0] * len(names),
        "baseline": [0] * len(names),
    }
    options.update(more)
    if options["adc_gain"] is None:
        del options["adc_gain"], options["baseline"]
    units = options.pop("units", ["mV"] * len(names))
    wfdb.wrsamp(name, 100, units, names, p_signal=values, write_dir=str(folder), **options)
    return folder / name


# ---------------------------------------------------------------- WFDB


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    n=st.integers(2, 900),
    gain=st.sampled_from([100.0, 200.0, 1000.0, 4880.0]),
    fmt=st.sampled_from(["16", "24", "32", "212"]),
    seed=st.integers(0, 99),
    order=st.permutations(range(12)),
)
def test_wfdb_round_trip_is_within_one_step(
    tmp_path: Path, n: int, gain: float, fmt: str, seed: int, order: list[int]
) -> None:
    step = 1.0 / gain
    values = signal(n, seed=seed)
    if fmt == "212":
        values = np.clip(values, -2000 * step, 2000 * step)
    names = [LEADS[k] for k in order]
    path = write(tmp_path, values[:, order], names, fmt=[fmt] * 12, adc_gain=[gain] * 12)
    record = read_ecg(path)
    assert record.leads == LEADS and record.fs_hz == 100 and record.n_samples == n
    assert np.abs(record.signal_mv - values.T).max() <= step / 2 + 1e-5


@pytest.mark.parametrize("suffix", ["", ".hea", ".dat"])
def test_every_way_to_name_a_record(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path, signal())
    assert read_ecg(str(path) + suffix).record_id == "rec"


def test_challenge_record_with_its_own_kind_of_date(tmp_path: Path) -> None:
    """A 24-byte MATLAB 4 head before the samples, a date WFDB does not know, facts in comments."""
    digital = np.round(signal() * 1000).astype("<i2")
    (tmp_path / "E00001.mat").write_bytes(bytes(24) + digital.tobytes())
    lines = ["E00001 12 100 500 05-Feb-2020 11:39:16 extra"]
    lines += [f"E00001.mat 16+24 1000/mV 16 0 {digital[0, k]} 0 0 {LEADS[k]}" for k in range(12)]
    (tmp_path / "E00001.hea").write_text("\n".join(lines) + "\n#Age: 67\n#Sex: Female\n#Dx: 426783006\n")
    record = read_ecg(tmp_path / "E00001.mat")
    assert np.abs(record.signal_mv - signal().T).max() < 6e-4
    assert (record.age_years, record.sex) == (67.0, "F")


def test_challenge_age_nan_is_unknown(tmp_path: Path) -> None:
    path = write(tmp_path, signal(), comments=["Age: NaN", "Sex: Unknown"])
    assert read_ecg(path).age_years is None and read_ecg(path).sex is None


def test_missing_samples_become_nan(tmp_path: Path) -> None:
    values = signal()
    values[10:30, 7] = np.nan
    record = read_ecg(write(tmp_path, values))
    assert np.isnan(record.standard()[7, 10:30]).all() and np.isfinite(record.standard()[7, 30:]).all()
    assert "V2: 20 of 500 samples are missing" in record.notes


def test_lead_of_nothing_but_nan_is_a_missing_lead(tmp_path: Path) -> None:
    values = signal()
    values[:, 8] = np.nan
    record = read_ecg(write(tmp_path, values))
    assert record.missing_leads == ("V3",) and "lead V3 holds no sample: missing" in record.notes


def test_flat_lead_is_noted_and_kept(tmp_path: Path) -> None:
    values = signal()
    values[:, 9] = 0.0
    record = read_ecg(write(tmp_path, values))
    assert "flat leads: V4" in record.notes and record.missing_leads == ()


def test_eight_leads_give_twelve_and_say_so(tmp_path: Path) -> None:
    keep = [0, 1, 6, 7, 8, 9, 10, 11]
    record = read_ecg(write(tmp_path, signal()[:, keep], [LEADS[k] for k in keep]))
    assert record.leads == LEADS and np.abs(record.signal_mv - signal().T).max() < 2e-3
    assert "III, aVR, aVL, aVF computed from I and II" in record.notes


def test_without_two_limb_leads_nothing_is_made_up(tmp_path: Path) -> None:
    keep = [1, 6, 7, 8]
    record = read_ecg(write(tmp_path, signal()[:, keep], [LEADS[k] for k in keep]))
    assert record.leads == ("II", "V1", "V2", "V3")
    assert "missing leads: I, III, aVR, aVL, aVF, V4, V5, V6" in record.notes


def test_microvolts_and_foreign_channels(tmp_path: Path) -> None:
    values = signal(leads=3)
    values[:, 0] *= 1000
    path = write(
        tmp_path, values, ["I", "II", "RESP"], units=["uV", "mV", "NU"], adc_gain=[1.0, 1000.0, 100.0], baseline=[0] * 3
    )
    record = read_ecg(path)
    assert np.abs(record.standard()[0] - signal()[:, 0]).max() < 1e-3
    assert "channel 'RESP' is in NU, no voltage: left out" in record.notes


def test_gain_zero_is_taken_as_the_default_and_noted(tmp_path: Path) -> None:
    path = write(tmp_path, signal())
    header = (tmp_path / "rec.hea").read_text().replace("1000.0(0)/mV", "0(0)/mV")
    (tmp_path / "rec.hea").write_text(header)
    record = read_ecg(path)
    assert np.abs(record.signal_mv - signal().T * 5).max() < 1e-2
    (said,) = [note for note in record.notes if "gain is 0 or missing, taken as 200 per mV" in note]
    assert said.startswith("leads I, II, III, aVR, aVL, aVF, V1, V2, V3, V4, V5, V6:")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.replace(" 0 aVR", " 0 X1").replace(" 0 I\n", " 0 foo\n"), None),
        (lambda t: t.replace(" 0 V2", " 0 V1"), "lead V1 comes twice"),
        (lambda t: t.replace("rec 12 100 500", "rec 12 100 99999999999"), f"at most {MAX_SAMPLES}"),
        (lambda t: t.replace("rec 12 100 500", "rec 12 0 500"), "sampling rate is 0"),
        (lambda t: t.replace("rec 12 100 500", "rec 12 nan 500"), "sampling rate is nan"),
        (lambda t: t.replace("rec 12 100 500", "rec/3 12 100 500"), "several segments"),
        (lambda t: t.replace("rec 12", "rec 0"), "declares 0 signals"),
        (lambda t: t.replace(" 16 1000", " 999 1000"), "format 999 is unknown"),
        (lambda t: t.replace("rec.dat", "../rec.dat"), "is not WFDB"),
        (lambda t: t.replace("rec.dat", "other.dat"), "other.dat of rec.hea is missing"),
        (lambda t: t[:200], "signals"),
        (lambda t: "", "is empty"),
        (lambda t: "hello world", "no WFDB header"),
    ],
)
def test_wrong_headers(tmp_path: Path, change: Callable[[str], str], says: str | None) -> None:
    path = write(tmp_path, signal())
    header = tmp_path / "rec.hea"
    header.write_text(change(header.read_text()))
    if says is None:
        record = read_ecg(path)
        assert "channel 'X1' is none of the twelve leads: left out" in record.notes
        assert record.leads[0] != "I" or "computed" in " ".join(record.notes)
        return
    with pytest.raises(RecordError, match=says):
        read_ecg(path)


def test_no_standard_lead_names_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="found 'ch1', 'ch2'"):
        read_ecg(write(tmp_path, signal(leads=2), ["ch1", "ch2"]))


def test_cut_off_data(tmp_path: Path) -> None:
    path = write(tmp_path, signal())
    whole = (tmp_path / "rec.dat").read_bytes()
    (tmp_path / "rec.dat").write_bytes(whole[:5000])
    with pytest.raises(RecordError, match=r"cut off: 208 samples a lead, rec\.hea says 500"):
        read_ecg(path)
    (tmp_path / "rec.dat").write_bytes(b"")
    with pytest.raises(RecordError, match=r"rec\.dat is empty"):
        read_ecg(path)


def test_changed_samples_do_not_add_up(tmp_path: Path) -> None:
    path = write(tmp_path, signal())
    assert read_ecg(path).notes == ()
    raw = bytearray((tmp_path / "rec.dat").read_bytes())
    raw[48] ^= 0x55
    (tmp_path / "rec.dat").write_bytes(raw)
    assert "lead I: samples do not add up to the header's checksum" in read_ecg(path).notes


# ---------------------------------------------------------------- CSV


def csv_text(
    values: NDArray[np.float64], names: list[str] | None, sep: str = ",", comma: bool = False, fs: float | None = None
) -> str:
    rows = [] if names is None else [sep.join((["time (s)"] if fs else []) + names)]
    for i, row in enumerate(values):
        cells = ([f"{i / fs:.4f}"] if fs else []) + [f"{v:.4f}" for v in row]
        rows.append(sep.join(c.replace(".", ",") if comma else c for c in cells))
    return "\n".join(rows) + "\n"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    form=st.sampled_from([(",", False), (";", False), (";", True), ("\t", False), ("\t", True), (" ", False)]),
    fs=st.sampled_from([100.0, 250.0, 500.0, 800.0]),
    ending=st.sampled_from(["\n", "\r\n"]),
    order=st.permutations(range(12)),
    mark=st.sampled_from(["", "\ufeff", "# made by a test\n"]),
)
def test_csv_round_trip(
    tmp_path: Path, form: tuple[str, bool], fs: float, ending: str, order: list[int], mark: str
) -> None:
    sep, comma = form
    values = signal(60)
    text = csv_text(values[:, order], [LEADS[k].upper() for k in order], sep, comma, fs if sep != " " else None)
    file = tmp_path / "a.csv"
    file.write_bytes((mark + text).replace("\n", ending).encode())
    record = read_ecg(file, fs_hz=fs if sep == " " else None)
    assert record.leads == LEADS and record.fs_hz == pytest.approx(fs, rel=1e-3)
    assert np.abs(record.signal_mv - values.T).max() < 1e-4


def test_csv_without_names_says_how_it_was_read(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(csv_text(signal(100), None))
    record = read_ecg(file, fs_hz=500)
    assert record.leads == LEADS and record.fs_hz == 500
    assert any("columns carry no names" in note for note in record.notes)
    file.write_text(csv_text(np.column_stack([np.arange(100) / 500, signal(100)]), None))
    assert read_ecg(file).fs_hz == pytest.approx(500)


def test_csv_rate_must_come_from_somewhere(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(csv_text(signal(50), list(LEADS)))
    with pytest.raises(RecordError, match="does not say its sampling rate") as caught:
        read_ecg(file)
    assert "fs_hz" in caught.value.hint
    file.write_text("Sampling rate: 250 Hz\n" + csv_text(signal(50), list(LEADS)))
    assert read_ecg(file).fs_hz == 250


def test_csv_units_stated_guessed_and_given(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(csv_text(signal(100) * 1000, [f"{name} (uV)" for name in LEADS]))
    stated = read_ecg(file, fs_hz=100)
    assert np.abs(stated.signal_mv - signal(100).T).max() < 1e-3 and not any("unit" in n for n in stated.notes)
    file.write_text(csv_text(signal(100) * 1000, list(LEADS)))
    guessed = read_ecg(file, fs_hz=100)
    assert any("taken as uV" in note for note in guessed.notes)
    np.testing.assert_allclose(guessed.signal_mv, stated.signal_mv, atol=1e-6)
    with pytest.raises(RecordError, match="half of the leads reach"):
        read_ecg(file, fs_hz=100, units="mV")
    np.testing.assert_allclose(read_ecg(file, fs_hz=100, units="uV").signal_mv, stated.signal_mv, rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("I,II,V1\n0.1,0.2,0.3\n0.1,abc,0.3\n0.1,0.2,0.3\n", "line 3: 'abc' is no number"),
        ("I,II,V1\n0.1,0.2,0.3\n0.1,0.2\n0.1,0.2,0.3\n", "line 3 has 2 columns"),
        ("x,y,z\n0.1,0.2,0.3\n0.1,0.2,0.3\n", "no column is a standard lead"),
        ("0.1,0.2,0.3\n0.1,0.2,0.3\n", "3 columns without names"),
        ("time,I\n0,1\n0.01,2\n0.5,3\n", "steps of the time column differ"),
        ("time,I\n0,1\n0.2,2\n0.1,3\n", "does not rise"),
        ("only words here\nand here\n", "holds no table of numbers"),
        ("I (mmHg),II\n1,2\n2,3\n", "'mmHg' in a column name is no voltage"),
    ],
)
def test_broken_tables(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "a.csv"
    file.write_text(text)
    with pytest.raises(RecordError, match=says):
        read_ecg(file, fs_hz=None if text.startswith("time") else 100)


def test_csv_last_line_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(csv_text(signal(100), list(LEADS))[:-40])
    record = read_ecg(file, fs_hz=100)
    assert record.n_samples == 99 and "line 101 is cut off: left out" in record.notes


def test_empty_cells_are_nan_and_empty_columns_missing_leads(tmp_path: Path) -> None:
    rows = "\n".join(f"{i % 7 / 10},{'' if i == 3 else 0.2 + i / 100}" + "," * 10 for i in range(60))
    (tmp_path / "a.csv").write_text(rows)
    record = read_ecg(tmp_path / "a.csv", fs_hz=800)
    assert record.leads == ("I", "II", "III", "aVR", "aVL", "aVF")
    assert np.isnan(record.standard()[1, 3]) and "lead V1 holds no sample: missing" in record.notes


# ---------------------------------------------------------------- the door


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(50), "a PNG picture"),
        ("a.csv", b"\xff\xd8\xff\xe0" + bytes(50), "a JPEG picture"),
        ("a.pdf", b"%PDF-1.7\n", "the PDF document cannot be opened"),
        ("a.dcm", bytes(128) + b"DICM" + bytes(50), "a DICOM file"),
        ("a.xml", '<?xml version="1.0"?><a/>'.encode("utf-16"), "XML"),
        ("a.bin", bytes(range(256)), "binary data"),
        ("a.dat", b"just some words\n", "a.dat looks like text and has no WFDB header a.hea"),
        ("a.dat", bytes(range(256)), "looks like binary data and has no WFDB header"),
        ("a.doc", b"words and words\n", "looks like text, not like an ECG record"),
        ("a.csv", b"", "is empty"),
    ],
)
def test_what_is_no_record_is_named(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RecordError, match=says):
        read_ecg(tmp_path / name)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="nor a WFDB record"):
        read_ecg(tmp_path / "none")
    with pytest.raises(RecordError, match="is a folder"):
        read_ecg(tmp_path)
    with pytest.raises(RecordError):
        read_ecg("a\0b")


def test_numbers_under_a_strange_name_are_read_as_a_table(tmp_path: Path) -> None:
    (tmp_path / "export.log").write_text(csv_text(signal(80), list(LEADS), fs=500))
    assert read_ecg(tmp_path / "export.log").fs_hz == pytest.approx(500)


@pytest.mark.parametrize("name", ["rec.hea", "rec.dat", "a.csv"])
@pytest.mark.filterwarnings("error")
def test_mutated_files_raise_nothing_but_our_errors(tmp_path: Path, name: str) -> None:
    """100 cut, overwritten or stuffed copies of each; a mad header must not allocate either (MAX_SAMPLES)."""
    write(tmp_path, signal(200))
    (tmp_path / "a.csv").write_text(csv_text(signal(60), list(LEADS), fs=100))
    original = (tmp_path / name).read_bytes()
    rng = random.Random(name)
    outcomes = {"record": 0, "error": 0}
    for _ in range(100):
        raw = bytearray(original)
        kind = rng.randrange(4)
        if kind == 0:
            raw = raw[: rng.randrange(len(raw))]
        elif kind == 3:
            at = rng.randrange(len(raw))
            raw[at:at] = bytes(rng.choices(b"0123456789 ,;\n\t/x+e", k=rng.randrange(1, 30)))
        else:
            for _ in range(rng.randrange(1, 6)):
                raw[rng.randrange(len(raw))] = (
                    rng.randrange(256) if kind == 1 else rng.choice(b"0123456789 ./+-()#\n,;x:e")
                )
        (tmp_path / name).write_bytes(raw)
        try:
            read_ecg(tmp_path / name)
            outcomes["record"] += 1
        except EcgkinError as error:
            assert str(error)
            outcomes["error"] += 1
    assert outcomes["record"] > 0 and outcomes["error"] > 0


def test_public_names_are_exactly_those_declared() -> None:
    assert sorted(ecg.__all__) == sorted(ecg._MODULE) == dir(ecg)
    assert ecg.read_ecg is read_ecg
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = ecg.nonsense
