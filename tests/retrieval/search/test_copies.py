"""Near copies of one recording: found over noise, gain, rate, drift and length; other recordings stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ecgkin.index.case import Case
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.retrieval.search.copies import MOST_READ, same_recording, without_near_copies


def _ecg(code: str, seed: int) -> EcgRecord:
    return simulate([code], np.random.default_rng(seed)).record


def _with(record: EcgRecord, signal: np.ndarray, fs_hz: float | None = None) -> EcgRecord:
    return replace(record, signal_mv=np.asarray(signal, dtype=np.float32), fs_hz=fs_hz or record.fs_hz)


def _changed(record: EcgRecord) -> dict[str, EcgRecord]:
    signal, rate = record.signal_mv, record.fs_hz
    at = np.arange(signal.shape[1])
    noise = np.random.default_rng(1).normal(0, 0.01, signal.shape)
    new = np.arange(0, signal.shape[1] - 1, rate / 360.0)
    return {
        "the same": record,
        "10 uV of noise": _with(record, signal + noise),
        "another gain": _with(record, signal * 1.3),
        "gains of leads": _with(record, signal * np.linspace(0.93, 1.07, len(signal))[:, None]),
        "drift": _with(record, signal + 0.1 * np.sin(at / rate * 2.0)),
        "360 Hz": _with(record, np.stack([np.interp(new, at, row) for row in signal]), 360.0),
        "half the rate": _with(record, signal[:, ::2], rate / 2),
        "begun later": _with(record, signal[:, round(1.7 * rate) :]),
        "its second half": _with(record, signal[:, signal.shape[1] // 2 :]),
        "other leads as well": replace(record, signal_mv=signal[:8], leads=record.leads[:8]),
    }


@pytest.mark.parametrize("code", ["NORM", "AFIB", "CLBBB"])
def test_a_changed_copy_is_the_same_recording(code: str) -> None:
    record = _ecg(code, 5)
    for what, other in _changed(record).items():
        assert same_recording(record, other) and same_recording(other, record), what


def test_other_recordings_are_none() -> None:
    records = [_ecg(code, seed) for code in ("NORM", "CLBBB", "AFIB") for seed in range(6)]
    for i, one in enumerate(records):
        for other in records[:i]:
            assert not same_recording(one, other)
    short = _with(records[0], records[0].signal_mv[:, : round(2 * records[0].fs_hz)])
    flat = _with(records[0], np.zeros_like(records[0].signal_mv))
    assert not same_recording(short, short) and not same_recording(flat, flat)


def test_of_near_copies_the_nearest_votes() -> None:
    record, other = _ecg("NORM", 5), _ecg("NORM", 6)
    samples = {f"c/{i}": r for i, r in enumerate(_changed(record).values())} | {"o/1": other}
    found = [(Case(case_id), 0.9 - 0.001 * i) for i, case_id in enumerate(samples)]
    near = np.tile(np.eye(4, dtype=np.float32)[0], (len(found), 1))
    assert [case.case_id for case, _ in without_near_copies(found, near, samples.get)] == ["c/0", "o/1"]
    # Far vectors are not looked at, cases without samples stay, and no search reads without end.
    apart = np.eye(len(found), dtype=np.float32)
    assert without_near_copies(found, apart, samples.get) == found
    assert without_near_copies(found, near, lambda _: None) == found
    assert without_near_copies([], np.zeros((0, 4), dtype=np.float32), samples.get) == []
    asked: list[str] = []
    many = [(Case(f"m/{i}"), 0.5) for i in range(300)]

    def read(case_id: str) -> EcgRecord:
        asked.append(case_id)
        return other if case_id == "m/0" else _with(record, record.signal_mv[:, : len(asked) + 2000])

    without_near_copies(many, np.ones((300, 1), dtype=np.float32), read)
    assert len(asked) <= MOST_READ and len(set(asked)) == len(asked)
