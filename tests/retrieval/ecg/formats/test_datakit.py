"""Formats read through ecgdatakit, and ecgdatakit as a second reader of MUSE and ISHNE."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import formats_made as made
import numpy as np
import pytest
from formats_made import lead_of

from ecgkin.retrieval.ecg.formats.read import read_ecg
from ecgkin.retrieval.errors import RecordError


def kardia(values: np.ndarray) -> str:
    """A recording as Kardia's service hands it out: steps of 500 nV."""
    leads = dict(zip(("leadI", "leadII"), values.tolist(), strict=True))
    return json.dumps(
        {
            "id": "r1",
            "patientID": "K-1",
            "recordedAt": "2020-01-02T10:30:00Z",
            "duration": 1000 * values.shape[1] / 300,
            "algorithmDetermination": "normal",
            "data": {"raw": {"frequency": 300, "mainsFrequency": 50, "amplitudeResolution": 500, "samples": leads}},
        }
    )


def test_kardia_json_through_ecgdatakit(tmp_path: Path) -> None:
    pytest.importorskip("ecgdatakit")
    values = made.steps(900, leads=2)
    (tmp_path / "a.json").write_text(kardia(values))
    record = read_ecg(tmp_path / "a.json")
    assert record.fs_hz == 300 and record.patient_id == "K-1" and "read by ecgdatakit" in record.notes[0]
    for name, row in zip(("I", "II"), values, strict=True):
        np.testing.assert_allclose(lead_of(record, name), row * 0.0005, atol=1e-6)
    assert record.leads[:6] == ("I", "II", "III", "aVR", "aVL", "aVF")  # computed
    assert record.header is not None and record.header.recorded_at == "2020-01-02T10:30:00"
    assert "normal" in record.header.report


@pytest.mark.parametrize(
    "text", ["{}", '{"a": 1}', '[{"x": 2}]', kardia(np.zeros((2, 5)))[:100], "<ECG><CHANNEL/></ECG>"]
)
def test_other_json_and_xml_are_refused_in_words(tmp_path: Path, text: str) -> None:
    pytest.importorskip("ecgdatakit")
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(RecordError):
        read_ecg(tmp_path / "a.json")


def test_without_the_package_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ecgdatakit.parsing.parser", None)
    (tmp_path / "a.json").write_text(kardia(np.zeros((2, 5))))
    with pytest.raises(RecordError, match="needs the package ecgdatakit") as caught:
        read_ecg(tmp_path / "a.json")
    assert "ecgkin[formats]" in caught.value.hint


@pytest.mark.parametrize("form", ["muse", "ishne"])
def test_a_second_reader_of_muse_and_ishne(tmp_path: Path, form: str) -> None:
    parser = pytest.importorskip("ecgdatakit.parsing.parser")
    values = made.steps(1000)
    if form == "muse":
        path = made.write_muse(tmp_path / "a.xml", values)
    else:
        path = made.write_ishne(tmp_path / "a.ecg", values, (5, 6, 11, 12, 13, 14, 15, 16))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = parser.FileParser.parse(path, auto_scale=True, units="mV")
    record = read_ecg(path)
    compared = 0
    for lead in other.leads:
        mine = record.lead(lead.label)
        if mine is not None and lead.label in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6"):
            assert lead.sampling_rate == record.fs_hz
            np.testing.assert_allclose(mine, lead.samples, atol=1e-4)
            compared += 1
    assert compared == 8
