"""Twelve-lead signals for drawn pages: recorded or simulated, then changed as other machines would write them.

    python -m ecgkin.retrieval.ecg.page.training.signals --ptbxl FOLDER --out signals.npy

collects the recorded ones in one file.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.simulation.simulate import draw_codes, simulate

FS_HZ = 500.0
N_SAMPLES = 5000
EXTRA_LEADS: tuple[str, ...] = ("-aVR", "V3R", "V4R", "V7", "V8", "V9")

Signals = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class SignalSource:
    """Where signals come from.

    Attributes:
        recorded: Recorded ECGs in microvolts, int16, shape (n, 12, n_samples) in the order of `LEADS`, of 10 s each;
            None to use the simulator alone.
    """

    recorded: NDArray[np.int16] | None = None

    @classmethod
    def from_file(cls, path: Path | None) -> SignalSource:
        """Recorded ECGs from a NumPy file (memory-mapped), or the simulator alone where `path` is None."""
        return cls() if path is None else cls(np.load(path, mmap_mode="r"))

    def draw(self, rng: np.random.Generator) -> Signals:
        """Ten seconds of every lead at 500 Hz in mV, with the faults that recorders and electrodes add.

        Returns:
            Lead -> float32 of shape (5000,), the twelve leads and `EXTRA_LEADS`.
        """
        twelve = self._clean(rng)
        twelve = _machine(twelve, rng)
        signals = dict(zip(LEADS, twelve, strict=True))
        signals["-aVR"] = -signals["aVR"]
        signals["V3R"] = (0.6 * signals["V1"] - 0.2 * signals["V3"]).astype(np.float32)
        signals["V4R"] = (0.5 * signals["V1"] - 0.2 * signals["V4"]).astype(np.float32)
        for name, share in (("V7", 0.8), ("V8", 0.65), ("V9", 0.5)):
            signals[name] = (share * signals["V6"]).astype(np.float32)
        return signals

    def _clean(self, rng: np.random.Generator) -> NDArray[np.float32]:
        if self.recorded is None or rng.random() < 0.45:
            codes = draw_codes(100 + int(rng.integers(1_000_000)), rng)
            record = simulate(codes, rng, fs_hz=FS_HZ, noise=float(rng.choice((0.0, 0.5, 1.0, 2.0)))).record
            return np.asarray(record.signal_mv, dtype=np.float32)
        raw = np.asarray(self.recorded[int(rng.integers(len(self.recorded)))], dtype=np.float32) / 1000.0
        signal = _resampled(raw, N_SAMPLES)
        if rng.random() < 0.6:  # a QRS as steep as at 500 Hz: what a 40 Hz low-pass leaves out is put back, enlarged
            signal = signal + np.float32(rng.uniform(0.3, 1.2)) * (signal - _smooth(signal, 9))
        return signal.astype(np.float32)


def _resampled(signal: NDArray[np.float32], n_samples: int) -> NDArray[np.float32]:
    """Band-limited interpolation along the last axis; the ends are mirrored so that they do not ring."""
    n = signal.shape[-1]
    edge = n // 10
    padded = np.concatenate([signal[..., edge:0:-1], signal, signal[..., -2 : -edge - 2 : -1]], axis=-1)
    factor = n_samples // n
    spectrum = np.fft.rfft(padded, axis=-1)
    longer = np.fft.irfft(spectrum, n=padded.shape[-1] * factor, axis=-1) * factor
    return np.asarray(longer[..., edge * factor : edge * factor + n_samples], dtype=np.float32)


def _smooth(signal: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Running mean of `width` samples along the last axis."""
    half = width // 2
    padded = np.pad(signal, ((0, 0), (half + 1, half)), mode="edge")
    total = np.cumsum(padded, axis=-1, dtype=np.float64)
    return np.asarray((total[..., width:] - total[..., :-width]) / width, dtype=np.float32)


def _machine(signal: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Size, filters, wander, hum, tremor, steps, pacing spikes and lost electrodes; shape (12, n) kept."""
    n_leads, n = signal.shape
    changed: NDArray[Any] = signal - np.median(signal, axis=1, keepdims=True)
    t = np.arange(n, dtype=np.float32) / np.float32(FS_HZ)
    changed = changed * np.float32(np.exp(rng.normal(0.0, 0.35)))
    if rng.random() < 0.15:  # deep and tall chest leads that reach into the rows beside them
        changed[6:] *= np.float32(rng.uniform(1.3, 2.5))
    if rng.random() < 0.3:
        rate = rng.uniform(0.05, 0.5)
        depth = rng.uniform(0.03, 0.5) * np.abs(rng.normal(0.0, 1.0, (n_leads, 1)))
        changed = changed + depth * np.sin(2 * np.pi * rate * t + rng.uniform(0, 6.3, (n_leads, 1)))
    if rng.random() < 0.1:
        changed = changed + rng.normal(0.0, 0.4, (n_leads, 1)) * (t - 5.0) / 5.0
    if rng.random() < 0.18:
        hum = float(rng.choice((50.0, 60.0)))
        level = rng.uniform(0.01, 0.12) * (rng.random((n_leads, 1)) < rng.uniform(0.2, 1.0))
        changed = changed + level * np.sin(2 * np.pi * hum * t + rng.uniform(0, 6.3, (n_leads, 1)))
    if rng.random() < 0.25:
        level = rng.uniform(0.005, 0.08) * (rng.random((n_leads, 1)) < rng.uniform(0.2, 1.0))
        changed = changed + level * rng.standard_normal((n_leads, n))
    if rng.random() < 0.08:  # narrow pacing spikes, not through the low-pass
        period = rng.uniform(0.6, 1.3)
        size = rng.normal(0.0, 1.2, (n_leads, 1))
        for at in np.arange(rng.uniform(0, period), 10.0, period):
            i = int(at * FS_HZ)
            changed[:, i : i + 1 + int(rng.integers(2))] += size
    if rng.random() < 0.06:  # an electrode comes off: a jump, then the way back
        lead, at = int(rng.integers(n_leads)), int(rng.integers(n))
        changed[lead, at:] += rng.normal(0.0, 2.0) * np.exp(-(t[: n - at]) / rng.uniform(0.2, 3.0))
    if rng.random() < 0.06:
        lead = int(rng.integers(n_leads))
        changed[lead] = rng.normal(0.0, 0.01, n)
    if rng.random() < 0.05:  # saturated
        limit = rng.uniform(0.5, 1.5)
        changed = np.clip(changed, -limit, limit)
    if rng.random() < 0.12:
        changed = _smooth(np.asarray(changed, dtype=np.float32), int(rng.choice((5, 7, 9, 13))))
    return np.asarray(changed, dtype=np.float32)


def collect(ptbxl: Path, out: Path, *, last_fold: int = 8, every: int = 2) -> int:
    """Put PTB-XL's 100 Hz records into one NumPy file for `SignalSource.from_file`.

    Args:
        ptbxl: Folder with `ptbxl_database.csv` and `records100`.
        out: File to write: int16 microvolts, shape (n, 12, 1000).
        last_fold: Folds 1 to this one are taken; 9 and 10 stay unseen.
        every: Every how manieth record of them.

    Returns:
        How many records were written.
    """
    import wfdb

    with (ptbxl / "ptbxl_database.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(float(row["strat_fold"])) <= last_fold][::every]
    signals = np.zeros((len(rows), len(LEADS), 1000), dtype=np.int16)
    kept = 0
    for row in rows:
        signal = wfdb.rdrecord(str(ptbxl / row["filename_lr"])).p_signal
        if signal is not None and signal.shape == (1000, len(LEADS)):
            signals[kept] = np.clip(np.nan_to_num(signal.T) * 1000.0, -32_000, 32_000)
            kept += 1
    np.save(out, signals[:kept])
    return kept


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Collect recorded signals for drawn pages.")
    parser.add_argument("--ptbxl", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    sys.stdout.write(f"{collect(arguments.ptbxl, arguments.out)} records\n")


if __name__ == "__main__":
    main()
