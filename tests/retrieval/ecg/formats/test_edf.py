"""EDF's two-digit years and its fields of fixed width."""

from __future__ import annotations

from pathlib import Path

import edfio
import numpy as np
import pytest

from ecgkin.retrieval.ecg.formats.edf import _start
from ecgkin.retrieval.ecg.formats.read import read_ecg
from ecgkin.retrieval.errors import RecordError


def head(recording: str, date: str, clock: str) -> bytes:
    """The fixed part of a header; digits stand behind the clock, as the size of the header does in files."""
    return b"0       " + b" " * 80 + recording.ljust(80).encode() + date.encode() + clock.encode() + b"3328    "


@pytest.mark.parametrize(
    ("date", "clock", "wanted"),
    [
        ("05.11.02", "10.11.12", "2002-11-05T10:11:12"),
        ("05.11.84", "23.59.59", "2084-11-05T23:59:59"),
        ("05.11.85", "00.00.01", "1985-11-05T00:00:01"),  # the clipping date of the standard
        ("31.12.99", "10.11.12", "1999-12-31T10:11:12"),
        ("31.02.99", "10.11.12", None),
        ("xx.11.02", "10.11.12", None),
    ],
)
def test_dates_with_two_digits_of_the_year(date: str, clock: str, wanted: str | None) -> None:
    assert _start(head("X", date, clock)) == wanted


def test_the_recordings_field_knows_the_century() -> None:
    assert _start(head("Startdate 02-MAY-1951 X X X", "02.05.51", "08.30.00")) == "1951-05-02T08:30:00"


def test_a_decimal_comma_is_named(tmp_path: Path) -> None:
    signal = edfio.EdfSignal(np.sin(np.arange(2500) / 9), 250, label="II", physical_dimension="mV")
    path = tmp_path / "x.edf"
    edfio.Edf([signal]).write(path)
    raw = path.read_bytes()
    at = 256 + 16 + 80 + 8  # the physical minimum of the first signal
    path.write_bytes(raw[:at] + b"-1,25   " + raw[at + 8 :])
    with pytest.raises(RecordError, match="with a decimal comma") as error:
        read_ecg(path)
    assert "points" in (error.value.hint or "")
