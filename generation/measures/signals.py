"""The samples to measure: at one rate, with what is missing marked, and without leads that show nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ecgkin.generation.measures.arrays import FS, Bools, Doubles
from ecgkin.generation.measures.pacing import find_spikes, without_spikes
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord

_FLAT_MV = 0.05  # a lead whose 1st and 99th percentile lie nearer together shows no heart beat
_LEAST_S = 0.8  # a lead that is known for less cannot hold a whole beat
_BRIDGED_S = 0.06  # a gap this short is bridged by a line and counts as known
_LARGEST_MV = 15.0  # farther from the median is no ECG but an electrode that came off


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Leads at `FS`.

    Attributes:
        names: Of the leads that show a signal, in standard order.
        mv: Shape (n_leads, n_samples), mV; bridged by lines where samples are missing, so that filters can run.
        known: Same shape; False where `mv` is bridged over more than a moment.
        spikes_s: When pacemaker spikes stand, which are taken out of `mv`.
        stepped: Whether columns of a page were moved in time, by what QRS shows, which is exact to some 20 ms.
    """

    names: tuple[str, ...]
    mv: Doubles
    known: Bools
    spikes_s: tuple[float, ...] = ()
    stepped: bool = False

    @property
    def complete(self) -> Bools:
        """Leads that are known nearly throughout, shape (n_leads,)."""
        return np.asarray(self.known.mean(axis=1) >= 0.9)

    @property
    def seconds(self) -> float:
        """Length."""
        return float(self.mv.shape[1] / FS)

    def row(self, name: str) -> int | None:
        """Row of a lead, None where it is missing."""
        return self.names.index(name) if name in self.names else None

    def masked(self) -> Doubles:
        """`mv` with NaN where it is not known."""
        return self.mv if self.known.all() else np.where(self.known, self.mv, np.nan)


def samples_of(record: EcgRecord, spikes_s: tuple[float, ...] | None = None) -> Samples:
    """The usable leads of a record at the working rate; `names` is empty where no lead shows a signal.

    Args:
        record: Any leads at any rate.
        spikes_s: Pacemaker spikes to take out; None to look for them.

    Returns:
        mV by lead at the working rate.
    """
    rows = [(name, record.leads.index(name)) for name in LEADS if name in record.leads]
    signal = np.asarray(record.signal_mv, dtype=np.float64)[[row for _, row in rows]]
    names = [name for name, _ in rows]
    if spikes_s is None:
        spikes = find_spikes(signal, record.fs_hz)
    else:
        spikes = np.round(np.array(spikes_s, dtype=np.float64) * record.fs_hz).astype(np.int64)
    signal = without_spikes(signal, spikes, record.fs_hz)
    known = np.isfinite(signal)
    if not known.all():
        signal, known, names = _bridged(signal, known, names, record.fs_hz)
    if names:
        # Percentiles of every fourth sample: this decides about flat leads, not about amplitudes.
        low, middle, high = np.percentile(signal[:, :: max(1, signal.shape[1] // 1500)], [1, 50, 99], axis=1)
        lively = high - low >= _FLAT_MV
        signal, known = signal[lively], known[lively]
        names = [name for name, good in zip(names, lively, strict=True) if good]
        middle = middle[lively, None]
        signal = np.clip(signal, middle - _LARGEST_MV, middle + _LARGEST_MV)
    if not names:
        return Samples((), np.zeros((0, 0)), np.zeros((0, 0), dtype=np.bool_), ())
    mv, known = _resampled(signal, known, record.fs_hz)
    return Samples(tuple(names), mv, known, tuple(float(at / record.fs_hz) for at in spikes))


def _bridged(signal: Doubles, known: Bools, names: list[str], fs_hz: float) -> tuple[Doubles, Bools, list[str]]:
    kept = [i for i in range(len(names)) if known[i].sum() >= _LEAST_S * fs_hz]
    signal, known = signal[kept], known[kept]
    places = np.arange(signal.shape[1])
    shortest = max(1, round(_BRIDGED_S * fs_hz))
    for i in range(len(kept)):
        if known[i].all():
            continue
        signal[i] = np.interp(places, places[known[i]], signal[i][known[i]])
        # Runs of missing samples: where they begin and end.
        edges = np.flatnonzero(np.diff(np.r_[0, (~known[i]).astype(np.int8), 0]))
        for start, end in edges.reshape(-1, 2):
            if end - start <= shortest and start > 0 and end < len(places):
                known[i, start:end] = True
    return signal, known, [names[i] for i in kept]


def _resampled(signal: Doubles, known: Bools, fs_hz: float) -> tuple[Doubles, Bools]:
    if fs_hz == FS:
        return signal, known
    n = round(signal.shape[1] * FS / fs_hz)
    if fs_hz > FS:
        from fractions import Fraction

        from scipy.signal import resample_poly

        ratio = Fraction(FS / fs_hz).limit_denominator(500)
        out = np.asarray(resample_poly(signal, ratio.numerator, ratio.denominator, axis=1, padtype="line"))
    else:
        # A spline keeps the wave limits where they are; there is nothing above the old Nyquist rate to invent.
        from scipy.interpolate import CubicSpline

        places = np.minimum(np.arange(n) * (fs_hz / FS), signal.shape[1] - 1)
        out = np.asarray(CubicSpline(np.arange(signal.shape[1]), signal, axis=1)(places))
    nearest = np.minimum(np.round(np.arange(out.shape[1]) * (fs_hz / FS)).astype(np.int64), signal.shape[1] - 1)
    return out, known[:, nearest] if not known.all() else np.ones(out.shape, dtype=np.bool_)
