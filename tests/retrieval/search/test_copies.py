"""Near copies of one recording: found over noise, gain, rate, drift and length; other recordings stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ecgkin.index.case import Case
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.retrieval.search.copies import MOST_READ, NEAREST, Outlines, same_recording, without_near_copies


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


@pytest.mark.parametrize("sd_mv", [0.02, 0.05, 0.1])
def test_noise_makes_no_other_recording(sd_mv: float) -> None:
    """White noise of each copy, at two rates; noise alone is nobody's copy, and noise makes no two recordings one."""
    rng = np.random.default_rng(3)
    for step in (1, 5):
        records = [_with(r, r.signal_mv[:, ::step], r.fs_hz / step) for r in (_ecg("NORM", 5), _ecg("CLBBB", 6))]
        noisy = [[_with(r, r.signal_mv + rng.normal(0, sd_mv, r.signal_mv.shape)) for r in records] for _ in range(3)]
        for one, two in noisy:
            assert not same_recording(one, two)
            for r, copy in zip(records, (one, two), strict=True):
                assert same_recording(r, copy)
        if sd_mv <= 0.05:
            assert same_recording(noisy[0][0], noisy[1][0]) and same_recording(noisy[0][1], noisy[2][1])
    noise = [_with(records[0], rng.normal(0, sd_mv, records[0].signal_mv.shape)) for _ in range(2)]
    assert not same_recording(*noise)


def test_crops_vote_once_however_far_their_vectors_are() -> None:
    """Crops that overlap by less than 4 s are joined by those between them; leads and lengths may differ."""
    record, others = _ecg("NORM", 5), [_ecg("NORM", 6), _ecg("CLBBB", 7)]
    rate = record.fs_hz
    crops = [
        _with(record, record.signal_mv[:, round(0.617 * k * rate) : round((0.617 * k + 5.5) * rate)]) for k in range(8)
    ]
    crops[3] = replace(crops[3], signal_mv=crops[3].signal_mv[:8], leads=crops[3].leads[:8])
    assert not same_recording(crops[0], crops[-1])
    samples = {f"c/{k}": crop for k, crop in enumerate(crops)} | {f"o/{k}": other for k, other in enumerate(others)}
    found = [(Case(case_id), 0.9 - 0.01 * k) for k, case_id in enumerate(samples)]
    left = without_near_copies(found, np.eye(len(found), dtype=np.float32), samples.get)
    assert [case.case_id for case, _ in left] == ["c/0", "o/0", "o/1"]


@pytest.mark.parametrize("code", ["NORM", "AFIB", "CLBBB"])
def test_copies_stretched_in_time_vote_once(code: str) -> None:
    """Their leads vary together as before; recordings of few leads are not judged by that."""
    record, other = _ecg(code, 5), _ecg(code, 6)
    n = record.signal_mv.shape[1]
    stretched = [
        _with(record, np.stack([np.interp(np.arange(0, n - 1, by), np.arange(n), row) for row in record.signal_mv]))
        for by in (1.0, 1.01, 0.98, 1.03)
    ]
    samples = {f"c/{k}": copy for k, copy in enumerate(stretched)} | {"o/1": other}
    found = [(Case(case_id), 0.9 - 0.01 * k) for k, case_id in enumerate(samples)]
    apart = np.eye(len(found), dtype=np.float32)
    assert [case.case_id for case, _ in without_near_copies(found, apart, samples.get)] == ["c/0", "o/1"]
    few = {name: replace(r, signal_mv=r.signal_mv[:1], leads=r.leads[:1]) for name, r in samples.items()}
    assert len(without_near_copies(found, apart, few.get)) >= len(found) - 1


def _gains(record: EcgRecord, rng: np.random.Generator, low: float = 0.7, high: float = 1.3) -> EcgRecord:
    return _with(record, record.signal_mv * rng.uniform(low, high, (len(record.leads), 1)))


@pytest.mark.parametrize("code", ["NORM", "AFIB", "CLBBB"])
def test_copies_with_other_gains_vote_once(code: str) -> None:
    """Another gain for each lead, far ones too, with noise, and begun later; another recording stays."""
    rng = np.random.default_rng(7)
    record, other = _ecg(code, 5), _ecg(code, 6)
    chest = np.where(np.arange(12) < 6, 1.0, rng.uniform(0.7, 1.3, 12))[:, None]
    copies = [record, _with(record, record.signal_mv * chest), _gains(record, rng), _gains(record, rng, 0.3, 3.0)]
    noise = rng.normal(0, 0.03, record.signal_mv.shape)
    copies += [_with(record, _gains(record, rng).signal_mv + noise)]
    copies += [_with(record, _gains(record, rng).signal_mv[:, round(1.3 * record.fs_hz) :])]
    samples = {f"c/{k}": copy for k, copy in enumerate(copies)} | {"o/1": _gains(other, rng)}
    found = [(Case(case_id), 0.9 - 0.01 * k) for k, case_id in enumerate(samples)]
    apart = np.eye(len(found), dtype=np.float32)
    assert [case.case_id for case, _ in without_near_copies(found, apart, samples.get)] == ["c/0", "o/1"]
    for copy in copies[1:]:
        assert same_recording(record, copy) and not same_recording(copy, samples["o/1"])


@pytest.mark.parametrize("code", ["NORM", "AFIB", "CLBBB"])
def test_copies_with_exchanged_leads_vote_once(code: str) -> None:
    """Chest leads in another order or upside down, other gains besides; another recording stays."""
    rng = np.random.default_rng(8)
    record, other = _ecg(code, 5), _ecg(code, 6)
    orders = [[0, 1, 2, 3, 4, 5, *(6 + rng.permutation(6))] for _ in range(4)]
    copies = [record, *(_with(record, record.signal_mv[order]) for order in orders)]
    copies += [_gains(copies[1], rng), _with(record, record.signal_mv * rng.choice([-1, 1], (12, 1)))]
    samples = {f"c/{k}": copy for k, copy in enumerate(copies)} | {"o/1": _with(other, other.signal_mv[orders[0]])}
    found = [(Case(case_id), 0.9 - 0.01 * k) for k, case_id in enumerate(samples)]
    apart = np.eye(len(found), dtype=np.float32)
    assert [case.case_id for case, _ in without_near_copies(found, apart, samples.get)] == ["c/0", "o/1"]


def _alone(record: EcgRecord, what: str, rng: np.random.Generator) -> EcgRecord:
    """A copy of which each lead, or one alone, is altered for itself."""
    signal, rate = record.signal_mv.astype(np.float64).copy(), record.fs_hz
    at = np.arange(signal.shape[1]) / rate
    if what == "a lead of another":
        signal[rng.integers(6, 12)] = _ecg("CRBBB", int(rng.integers(90, 99))).signal_mv[7, : signal.shape[1]]
    elif what == "leads moved":
        signal = np.stack(
            [np.roll(row, round(by * rate)) for row, by in zip(signal, rng.uniform(-0.02, 0.02, 12), strict=True)]
        )
    elif what == "hum":
        signal += 0.1 * np.sin(2 * np.pi * 20.3 * at + rng.uniform(0, 6, (12, 1)))
    elif what == "artefacts":
        for row in signal:
            begin = rng.integers(round(rate), round(8 * rate))
            row[begin : begin + round(0.06 * rate)] += 2.0 * rng.choice([-1, 1])
    return _with(record, signal)


@pytest.mark.parametrize("what", ["a lead of another", "leads moved", "hum", "artefacts"])
@pytest.mark.parametrize("code", ["NORM", "AFIB", "CLBBB"])
def test_copies_with_leads_altered_one_by_one_vote_once(code: str, what: str) -> None:
    """The leads that agree are counted; other recordings stay, one of the same kind among them."""
    rng = np.random.default_rng(9)
    record = _ecg(code, 5)
    samples = {"c/0": record, **{f"c/{k}": _alone(record, what, rng) for k in range(1, 4)}}
    samples |= {f"o/{seed}": _ecg(code, seed) for seed in (6, 7)}
    found = [(Case(case_id), 0.9 - 0.01 * k) for k, case_id in enumerate(samples)]
    apart = np.eye(len(found), dtype=np.float32)
    assert [case.case_id for case, _ in without_near_copies(found, apart, samples.get)] == ["c/0", "o/6", "o/7"]
    assert same_recording(record, samples["c/1"]) and not same_recording(samples["c/1"], samples["o/6"])


def test_leads_that_are_altered_each_in_a_large_part_are_no_copies() -> None:
    """Four of eight leads of another recording: not enough agree."""
    record, other = _ecg("NORM", 5), _ecg("NORM", 6)
    half = record.signal_mv.copy()
    half[6:10] = other.signal_mv[6:10, : half.shape[1]]
    assert not same_recording(record, _with(record, half))


def test_two_recordings_of_one_patient_are_two() -> None:
    """The same leads that vary together alike, beats at other times: each is an observation of its own."""
    record = _ecg("NORM", 5)
    rng, rate = np.random.default_rng(4), record.fs_hz
    n = record.signal_mv.shape[1]
    # Beats at other times, and a slightly other heart: lead by lead another height and width.
    at = np.cumsum(1.0 + 0.04 * np.sin(np.arange(n) / rate * 1.7))
    at = at / at[-1] * (n - 1)
    other = np.stack([np.interp(at, np.arange(n), row) for row in record.signal_mv])
    other = 0.95 * other + 0.05 * np.roll(other, 1, axis=0) + rng.normal(0, 0.01, other.shape)
    assert not same_recording(record, _with(record, other))


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
    # Of the nearest far vectors are looked at as well; cases without samples stay, and no search reads without end.
    apart = np.eye(len(found), dtype=np.float32)
    assert [case.case_id for case, _ in without_near_copies(found, apart, samples.get)] == ["c/0", "o/1"]
    behind = [(Case(f"f/{i}"), 0.95) for i in range(NEAREST)] + found
    assert without_near_copies(behind, np.eye(len(behind), dtype=np.float32), samples.get) == behind
    assert without_near_copies(found, near, lambda _: None) == found
    assert without_near_copies([], np.zeros((0, 4), dtype=np.float32), samples.get) == []
    asked: list[str] = []
    many = [(Case(f"m/{i}"), 0.5) for i in range(300)]

    def read(case_id: str) -> EcgRecord:
        asked.append(case_id)
        return other if case_id == "m/0" else _with(record, record.signal_mv[:, : len(asked) + 2000])

    without_near_copies(many, np.ones((300, 1), dtype=np.float32), read)
    assert len(asked) <= MOST_READ and len(set(asked)) == len(asked)


def test_what_was_looked_at_is_not_read_again() -> None:
    record, other = _ecg("NORM", 5), _ecg("CLBBB", 7)
    half = _with(record, record.signal_mv[:, record.signal_mv.shape[1] // 2 :])
    half = replace(half, signal_mv=half.signal_mv[:11], leads=half.leads[:11])  # without V6 its samples decide
    samples = {"a": record, "b": other, "c": half}
    found = [(Case(name, content_hash=name), 0.9 - 0.1 * k) for k, name in enumerate(samples)]
    apart, kept = np.eye(3, dtype=np.float32), Outlines()
    read: list[str] = []

    def record_of(name: str) -> EcgRecord:
        read.append(name)
        return samples[name]

    def left() -> list[str]:
        read.clear()
        return [case.case_id for case, _ in without_near_copies(found, apart, record_of, kept)]

    assert left() == ["a", "b"] and read == ["a", "b", "c"]
    assert left() == ["a", "b"] and read == ["a", "c"], "only what is alike is compared sample by sample"
    # The same id with another content is another recording; without a content nothing is kept.
    samples["b"] = _with(record, record.signal_mv * 1.2)
    found[1] = (Case("b", content_hash="new"), 0.8)
    assert left() == ["a"] and "b" in read
    found[1] = (Case("b"), 0.8)
    assert left() == ["a"]
    samples["b"] = other
    assert left() == ["a", "b"]
