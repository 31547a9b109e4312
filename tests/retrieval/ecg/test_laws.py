"""Limb leads that contradict each other are said, whatever door they come through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import wfdb

from ecgkin.retrieval.ecg.formats.read import read_ecg
from ecgkin.retrieval.ecg.laws import law_notes, unlawful
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.retrieval.notes import Note, NoteCode
from ecgkin.ui.api.schemas import Signal


@pytest.fixture(scope="module")
def right() -> EcgRecord:
    return simulate(["NORM"], np.random.default_rng(3)).record


def _turned(signal: np.ndarray, lead: str) -> np.ndarray:
    return np.asarray(np.where(np.array(LEADS)[:, None] == lead, -1, 1) * signal)


WRONG: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "III is V3": lambda x: x[[0, 1, 8, *range(3, 12)]],
    "I and V1 exchanged": lambda x: x[[6, 1, 2, 3, 4, 5, 0, *range(7, 12)]],
    "all names moved by six": lambda x: np.roll(x, 6, axis=0),
    "aVR is not turned": lambda x: _turned(x, "aVR"),
    "II upside down": lambda x: _turned(x, "II"),
    "aVL and aVF exchanged": lambda x: x[[0, 1, 2, 3, 5, 4, *range(6, 12)]],
    "II a second later": lambda x: np.where(np.arange(12)[:, None] == 1, np.roll(x, 311, axis=1), x),
    "III of twice the gain": lambda x: x * np.where(np.arange(12)[:, None] == 2, 3, 1),
}


def _wfdb(record: EcgRecord, folder: Path) -> EcgRecord:
    wfdb.wrsamp(
        "x", fs=record.fs_hz, units=["mV"] * 12, sig_name=list(LEADS), p_signal=record.signal_mv.T.astype(float),
        fmt=["16"] * 12, write_dir=str(folder),
    )  # fmt: skip
    return read_ecg(folder / "x.hea")


def _csv(record: EcgRecord, folder: Path) -> EcgRecord:
    rows = "\n".join(",".join(f"{v:.4f}" for v in row) for row in record.signal_mv.T)
    (folder / "x.csv").write_text(f"# sampling rate {record.fs_hz:g} Hz\n{','.join(LEADS)}\n{rows}\n")
    return read_ecg(folder / "x.csv")


def _dicom(record: EcgRecord, folder: Path) -> EcgRecord:
    from ecgkin.index.case import Case
    from ecgkin.index.transfer.export_dicom import write_dicom

    return read_ecg(write_dicom(folder, Case("x"), record))


def _json(record: EcgRecord, folder: Path) -> EcgRecord:
    return Signal.of(record).record()


@pytest.mark.parametrize("door", [_wfdb, _csv, _dicom, _json])
def test_every_door_says_it(right: EcgRecord, tmp_path: Path, door: Callable[[EcgRecord, Path], EcgRecord]) -> None:
    def codes(signal: np.ndarray) -> list[str]:
        record = door(EcgRecord(signal.astype(np.float32), right.fs_hz, LEADS), tmp_path)
        return [n.code for n in record.notes if isinstance(n, Note) and n.code == NoteCode.LEADS_UNLAWFUL]

    assert codes(right.signal_mv) == []
    assert codes(WRONG["III is V3"](right.signal_mv)) == [NoteCode.LEADS_UNLAWFUL]
    assert codes(WRONG["I and V1 exchanged"](right.signal_mv)) == [NoteCode.LEADS_UNLAWFUL]


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_found(right: EcgRecord, what: str) -> None:
    wrong = WRONG[what](right.signal_mv)
    assert law_notes(dict(zip(LEADS, wrong, strict=True))), what


def test_what_may_be_is_not_accused(right: EcgRecord) -> None:
    """Exchanged electrodes, noise, an offset, gaps, few leads, a flat ECG; and columns of paper at their own times."""
    x = right.signal_mv
    swapped = np.vstack([-x[0], x[2], x[1], x[4], x[3], x[5], x[6:]])
    rng = np.random.default_rng(1)
    gaps = np.where(rng.random(x.shape) < 0.1, np.nan, x)
    for signal in (x, swapped, x + rng.normal(0, 0.008, x.shape), x + np.arange(12)[:, None], gaps, 0 * x):
        assert law_notes(dict(zip(LEADS, signal, strict=True))) == []
    assert law_notes({"I": x[0], "III": x[1]}) == law_notes({"V1": x[0]}) == []
    half = x.shape[1] // 2
    columns = dict(zip(LEADS, np.vstack([x[:3, :half], x[3:6, -half:], x[6:, :half]]), strict=True))
    assert unlawful(columns, by_column=True) is None and unlawful(columns) is not None
