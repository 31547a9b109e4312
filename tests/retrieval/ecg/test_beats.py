"""Records without heartbeats are told from ECGs: noise of several colours and an EEG; rhythms without rest are ECGs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from ecgkin.generation.consensus.phrases import WORDS
from ecgkin.generation.drafter import Drafter
from ecgkin.generation.types.draft import Language
from ecgkin.index import open_base
from ecgkin.retrieval.ecg.leads import LEADS, derive_limb_leads
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.searchable import has_beats, searchable
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.notes import Note, NoteCode
from ecgkin.retrieval.search.search import CaseSearch

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
        later = np.roll(wave, 30)  # the vector turns: leads that were one curve would be copies
        signal = rng.normal(size=(12, 1)) * wave + rng.normal(size=(12, 1)) * later + 0.02 * rng.normal(size=(12, 5000))
        assert has_beats(EcgRecord(signal.astype(np.float32), 500.0, LEADS))
    noise = rng.normal(size=(12, 5000)).astype(np.float32)
    assert has_beats(EcgRecord(noise[:2], 500.0, LEADS[:2])) and has_beats(EcgRecord(noise[:, :1000], 500.0, LEADS))


def mixed(rng: np.random.Generator, n: int, fs_hz: float) -> NDArray[np.float64]:
    """Eight channels of an EEG at ten times its size: sources that all see, alpha waves that come and go, blinks."""
    t = np.arange(n) / fs_hz
    sources = np.stack([pink(rng, n, fs_hz) for _ in range(5)])
    sources /= sources.std(axis=1, keepdims=True)
    slow = np.abs(filtered(rng, n, fs_hz))
    alpha = slow / slow.std() * np.sin(2 * np.pi * 9.5 * t)
    blinks = sum(5 * np.exp(-0.5 * ((t - at) / 0.08) ** 2) for at in rng.uniform(0, 10, size=4))
    own = np.stack([pink(rng, n, fs_hz) for _ in range(8)])
    own /= own.std(axis=1, keepdims=True)
    rows = 0.5 * rng.normal(size=(8, 5)) @ sources + np.outer(rng.normal(1, 0.3, 8), alpha)
    return np.asarray(0.3 * (rows + np.outer(rng.uniform(0, 1, 8), blinks) + 0.5 * own))


def bursts(rng: np.random.Generator, n: int, fs_hz: float) -> NDArray[np.float64]:
    """Muscle artefacts, 48 bursts a minute in all channels at once."""
    on = np.sin(2 * np.pi * 0.8 * np.arange(n) / fs_hz) > 0.3
    return np.asarray(0.3 * rng.normal(size=(8, n)) * on + 0.03 * rng.normal(size=(8, n)))


def common(rng: np.random.Generator, n: int, fs_hz: float) -> NDArray[np.float64]:
    """One noise in all channels, and a little of their own."""
    return np.asarray(rng.uniform(0.3, 1.2, (8, 1)) * 0.25 * rng.normal(size=n) + 0.05 * rng.normal(size=(8, n)))


def of_eight(rows: NDArray[np.float64], fs_hz: float) -> EcgRecord:
    leads = {
        n: r.astype(np.float32) for n, r in zip(("I", "II", "V1", "V2", "V3", "V4", "V5", "V6"), rows, strict=True)
    }
    leads.update(derive_limb_leads(leads))
    return EcgRecord(np.stack([leads[name] for name in LEADS]), fs_hz, LEADS)


@pytest.mark.parametrize("fs_hz", [100.0, 500.0])
@pytest.mark.parametrize("made", [mixed, bursts, common], ids=lambda f: f.__name__)
def test_what_moves_in_all_leads_is_no_ecg_either(
    made: Callable[[np.random.Generator, int, float], NDArray[np.float64]], fs_hz: float
) -> None:
    for seed in range(5):
        assert not has_beats(of_eight(made(np.random.default_rng(seed), round(10 * fs_hz), fs_hz), fs_hz))


@pytest.mark.parametrize("noise_mv", [0.0, 0.01])
def test_one_lead_in_the_place_of_all_is_said(noise_mv: float) -> None:
    """Copied, or scaled and turned round; as twelve leads, or as eight from which others follow."""
    rng = np.random.default_rng(1)
    record = simulate(("NORM",), rng).record
    two = record.standard()[1].astype(np.float64)
    for scales in (np.ones(12), np.tile([1, -0.7, 0.4], 4)):
        rows = np.outer(scales, two) + noise_mv * rng.normal(size=(12, two.size))
        for copied in (EcgRecord(rows.astype(np.float32), record.fs_hz, LEADS), of_eight(rows[:8], record.fs_hz)):
            notes = searchable(copied).notes
            assert [note.code for note in notes if isinstance(note, Note)] == [NoteCode.LEADS_ALIKE]
    assert not any(note.code is NoteCode.LEADS_ALIKE for note in searchable(record).notes if isinstance(note, Note))


@pytest.mark.parametrize("lang", ["en", "de"])
def test_no_ecg_is_not_drafted(simulated_base: Path, lang: Language) -> None:
    """White noise of 0.2 to 0.3 mV, and lead II in all leads: the search abstains, the draft says why, flags stay."""
    encoder = HashingEncoder()
    with open_base(simulated_base) as base:
        drafter = Drafter(CaseSearch(base, encoder))
        copied = simulate(("NORM",), np.random.default_rng(1)).record
        copied = EcgRecord(np.tile(copied.standard()[1], (12, 1)), copied.fs_hz, LEADS)
        for record in (*(record_of(white, fs, 1) for fs in (100.0, 250.0, 500.0)), copied):
            done = drafter.draft(record, lang=lang)
            assert done.search.nothing_similar and done.search.abstained == "no_ecg"
            assert done.draft.refusal == WORDS[lang]["no_ecg"] and done.draft.text.startswith(done.draft.refusal)
            assert not done.draft.codes("present")
        assert not drafter.draft(record_of(white, 100.0, 2), lang=lang, k=0).draft.codes("present")
