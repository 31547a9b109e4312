"""Records without heartbeats are told from ECGs: noise of several colours and an EEG; rhythms without rest are ECGs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from ecgkin.retrieval.ecg.leads import LEADS, derive_limb_leads
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.searchable import has_beats, searchable
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.retrieval.notes import Note, NoteCode

Noise = Callable[[np.random.Generator, int, float], NDArray[np.float64]]


def white(rng: np.random.Generator, n: int, fs_hz: float) -> NDArray[np.float64]:
    return 0.25 * rng.normal(size=n)


def filtered(rng: np.random.Generator, n: int, fs_hz: float) -> NDArray[np.float64]:
    return np.asarray(sosfiltfilt(butter(2, [0.5, 15], btype="band", fs=fs_hz, output="sos"), rng.normal(size=n)))


def pink(rng: np.random.Generator, n: int, fs_hz: float) -> NDArray[np.float64]:
    spectrum = np.fft.rfft(rng.normal(size=n)) / np.sqrt(np.maximum(np.fft.rfftfreq(n, 1 / fs_hz), 0.5))
    return np.asarray(np.fft.irfft(spectrum, n))


def record_of(noise: Noise, fs_hz: float, seed: int) -> EcgRecord:
    """Eight independent channels, limb leads computed from two, as any reader does."""
    rng = np.random.default_rng(seed)
    n = round(10 * fs_hz)
    leads = {name: noise(rng, n, fs_hz).astype(np.float32) for name in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")}
    leads.update(derive_limb_leads(leads))
    return EcgRecord(np.stack([leads[name] for name in LEADS]), fs_hz, LEADS)


@pytest.mark.parametrize("fs_hz", [100.0, 500.0])
@pytest.mark.parametrize("noise", [white, filtered, pink], ids=lambda f: f.__name__)
def test_noise_has_no_beats(noise: Noise, fs_hz: float) -> None:
    for seed in range(5):
        record = record_of(noise, fs_hz, seed)
        assert not has_beats(record)
        notes = searchable(record).notes
        assert [note.code for note in notes if isinstance(note, Note)] == [NoteCode.NO_BEATS]


@pytest.mark.parametrize("codes", [("NORM",), ("AFIB",), ("CLBBB",), ("STACH",), ("SBRAD",), ("AFLT",), ("LVOLT",)])
def test_rhythms_have_beats(codes: tuple[str, ...]) -> None:
    for seed in range(3):
        record = simulate(codes, np.random.default_rng(seed)).record
        assert has_beats(record) and has_beats(record.resampled(100.0))


def test_tachycardia_without_rest_is_an_ecg() -> None:
    """Waves in all leads at once, as ventricular tachycardia moves; few leads and short records are not judged."""
    rng = np.random.default_rng(0)
    t = np.arange(5000) / 500
    for wave in (np.sin(2 * np.pi * 4 * t), np.sin(2 * np.pi * (5 * t + 0.5 * np.sin(2 * np.pi * 0.4 * t)))):
        signal = rng.normal(size=(12, 1)) * wave + 0.02 * rng.normal(size=(12, 5000))
        assert has_beats(EcgRecord(signal.astype(np.float32), 500.0, LEADS))
    noise = rng.normal(size=(12, 5000)).astype(np.float32)
    assert has_beats(EcgRecord(noise[:2], 500.0, LEADS[:2])) and has_beats(EcgRecord(noise[:, :1000], 500.0, LEADS))
