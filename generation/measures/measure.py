"""Rate, PR, QRS, QT, QTc and frontal axis of a record: R peaks by NeuroKit2, wave limits on the median beat.

NeuroKit2's delineation works lead by lead and gave QRS of 54 to 177 ms where 92 to 108 ms are true, and PR of 120 ms
where 283 ms are true (24 simulated records, this project's simulator), so limits are taken as ECG machines do: from the
median beat of all leads together, which is a global measure in the sense of the AHA/ACC/HRS recommendations (Kligfield
2007). What cannot be measured is None with a reason, never a number.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.record import EcgRecord

Doubles = NDArray[np.float64]

FS = 500  # Hz, the working rate: that of standard recordings
BEFORE, AFTER = round(0.45 * FS), round(0.6 * FS)  # window of the median beat about R


def median_beats(leads: Doubles, peaks: NDArray[np.int64]) -> Doubles | None:
    """Median over beats of the commonest shape, shape (n_leads, BEFORE + AFTER), or None."""
    inside = [p for p in peaks if p >= BEFORE and p + AFTER <= leads.shape[1]]
    if len(inside) < 2:
        return None
    beats = np.stack([leads[:, p - BEFORE : p + AFTER] for p in inside])
    core = slice(BEFORE - round(0.08 * FS), BEFORE + round(0.08 * FS))
    flat = beats[:, :, core].reshape(len(beats), -1)
    likeness = np.atleast_2d(np.corrcoef(flat))
    alike = likeness[int(np.argmax(np.median(likeness, axis=1)))] > 0.8  # extrasystoles fall out
    if alike.sum() < 2:
        return None
    return np.asarray(np.median(beats[alike], axis=0), dtype=np.float64)


def qrs_limits(beats: Doubles) -> tuple[int, int]:
    """First and last sample of QRS in the median beats, shape (n_leads, n): where the vector is fast.

    The limit is where the speed falls below 12 % of its peak (or twice the speed of the rest of the beat) and stays
    there for 24 ms: set so that simulated QRS of 92 to 160 ms come out within 12 ms at the median.
    """
    from scipy.ndimage import uniform_filter1d

    speed = np.sqrt(np.square(np.gradient(uniform_filter1d(beats, 5, axis=1), axis=1)).sum(axis=0))
    near = slice(BEFORE - 50, BEFORE + 50)
    top = BEFORE - 50 + int(np.argmax(speed[near]))
    quiet = float(np.median(speed))
    limit = max(0.12 * float(speed[top]), 2.0 * quiet)
    slow = speed < limit
    hold = 12  # a notch of bundle branch block is slow for up to 20 ms
    start, end = top, top
    while start > hold and not slow[start - hold : start].all():
        start -= 1
    while end < len(speed) - hold - 1 and not slow[end + 1 : end + 1 + hold].all():
        end += 1
    return start, end


def t_end(beats: Doubles, qrs_end: int, last: int) -> int | None:
    """Where the steepest tangent after the peak of T meets the baseline (Lepeschkin and Surawicz 1952)."""
    first = qrs_end + round(0.08 * FS)
    last = min(last, beats.shape[1] - 5)
    if last - first < 40:
        return None
    from scipy.ndimage import uniform_filter1d

    level = beats[:, last : last + 5].mean(axis=1, keepdims=True)
    size = uniform_filter1d(np.sqrt(np.square(beats - level).mean(axis=0)), 15)
    peak = first + int(np.argmax(size[first:last]))
    floor = float(size[peak:last].min()) if last > peak else 0.0
    if peak >= last - 10 or size[peak] - floor < 0.03:
        return None
    slope = np.gradient(size)
    steepest = peak + int(np.argmin(slope[peak:last]))
    if slope[steepest] >= 0:
        return None
    end = round(steepest + (size[steepest] - floor) / -slope[steepest])
    return end if end <= last else None  # a tangent that flat belongs to no T wave


def p_start(beats: Doubles, qrs_start: int, free_s: float) -> int | None:
    """Where the size of P falls to a tenth of its peak; None where there is no P that stands out."""
    from scipy.ndimage import uniform_filter1d

    first = max(5, qrs_start - round(min(0.4, free_s) * FS))
    last = qrs_start - round(0.03 * FS)
    if last - first < 30:
        return None
    speed = np.gradient(uniform_filter1d(beats, 11, axis=1), axis=1)
    size = uniform_filter1d(np.sqrt(np.square(speed).sum(axis=0)), 11)
    window = size[first:last]
    quiet = float(np.percentile(window, 20))
    fast = int(np.argmax(window))
    if window[fast] < 2.5 * quiet:
        return None
    limit = quiet + 0.25 * (float(window[fast]) - quiet)
    at = fast
    gap = 0
    # P has two fast flanks with a slow top between them: look back over slow stretches of up to 40 ms.
    start = fast
    while at > 0 and gap < round(0.04 * FS):
        at -= 1
        if window[at] >= limit:
            start, gap = at, 0
        else:
            gap += 1
    return None if start == 0 else first + start


_MIN_SECONDS = 3.0
_MIN_BEATS = 3
_MAX_MISSING = 0.2  # share of NaN that a lead may have; the rest is bridged by straight lines
_FLAT_MV = 0.05  # a lead whose 1st and 99th percentile lie nearer together shows no heart beat
_MINFS_HZ = 100.0
# Outside of these (ms, beats/min) a value is an artefact, not a finding.
_PLAUSIBLE: Mapping[str, tuple[float, float]] = {
    "rate_bpm": (20.0, 300.0),
    "pr_ms": (80.0, 400.0),
    "qrs_ms": (50.0, 240.0),
    "qt_ms": (200.0, 700.0),
    "qtc_ms": (300.0, 600.0),
}
NAMES: tuple[str, ...] = ("rate_bpm", "rr_variation", "pr_ms", "qrs_ms", "qt_ms", "qtc_ms", "axis_deg")


@dataclass(frozen=True)
class Measurements:
    """What could be measured; None where it could not.

    Attributes:
        rate_bpm: Mean ventricular rate.
        rr_variation: Median change from one RR interval to the next as a share of the mean one, 0 for a clock; the
            median, so that single extrasystoles do not count.
        pr_ms, qrs_ms, qt_ms: On the median beat of all leads.
        qtc_ms: QT corrected by Bazett's formula with the mean RR interval.
        axis_deg: Frontal axis of QRS from net areas in I and aVF, -180 to 180.
        n_beats: R peaks found.
        reasons: Name of a value that is None -> why.
    """

    rate_bpm: float | None = None
    rr_variation: float | None = None
    pr_ms: float | None = None
    qrs_ms: float | None = None
    qt_ms: float | None = None
    qtc_ms: float | None = None
    axis_deg: float | None = None
    n_beats: int = 0
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, float]:
        """Those that are known, by name."""
        every = {name: getattr(self, name) for name in NAMES}
        return {name: float(value) for name, value in every.items() if value is not None}


def measure(record: EcgRecord) -> Measurements:
    """Measure a record; never raises for what is in the samples.

    Args:
        record: Any leads at any rate; missing leads and samples are left out.
    """
    if record.duration_s < _MIN_SECONDS:
        return _nothing(f"the record lasts {record.duration_s:.1f} s, {_MIN_SECONDS:.0f} s are needed")
    if record.fs_hz < _MINFS_HZ:
        return _nothing(f"sampled at {record.fs_hz:g} Hz, {_MINFS_HZ:.0f} Hz are needed")
    usable = {name: signal for name in record.leads if (signal := _usable(record, name)) is not None}
    if not usable:
        return _nothing("no lead with a signal")
    try:
        import neurokit2 as nk
    except ImportError:
        return _nothing("NeuroKit2 is not installed")
    with warnings.catch_warnings():
        # NeuroKit2 and pandas warn about what the checks below deal with.
        warnings.simplefilter("ignore")
        try:
            cleaned = {
                name: np.asarray(nk.ecg_clean(signal, sampling_rate=FS), dtype=np.float64)
                for name, signal in usable.items()
            }
            activity = qrs_activity(np.stack(list(cleaned.values())))
            found = nk.ecg_peaks(activity, sampling_rate=FS, correct_artifacts=False)[1]["ECG_R_Peaks"]
            peaks = _true_peaks(activity, np.asarray(found, dtype=np.int64))
        except (ValueError, IndexError, KeyError, TypeError, ZeroDivisionError) as error:
            return _nothing(f"no R peaks were found ({type(error).__name__})")
    if len(peaks) < _MIN_BEATS:
        return _nothing(f"only {len(peaks)} beats were found, {_MIN_BEATS} are needed")
    return _from_peaks(cleaned, peaks)


def qrs_activity(leads: Doubles) -> Doubles:
    """How fast the heart vector moves, smoothed over 60 ms: one hump for each QRS, whatever its shape, shape (n,).

    Args:
        leads: Shape (n_leads, n_samples), mV at 500 Hz.
    """
    from scipy.ndimage import uniform_filter1d

    # Differences over 10 ms: slower waves (P, T) count little, and so does noise of single samples.
    smooth = uniform_filter1d(leads, 5, axis=1)
    speed = np.sqrt(np.square(np.gradient(smooth, axis=1)).sum(axis=0))
    return np.asarray(uniform_filter1d(speed, round(0.06 * FS)), dtype=np.float64)


def _true_peaks(activity: Doubles, peaks: NDArray[np.int64]) -> NDArray[np.int64]:
    """The peaks without the humps of tall T waves, which are slower than any QRS.

    A hump counts as a beat from 0.3 of the upper quartile on: T waves reach 0.25 in simulated long QT, and normal beats
    between ventricular extrasystoles of three times their size still pass.
    """
    if len(peaks) == 0:
        return peaks
    return peaks[activity[peaks] >= 0.3 * np.percentile(activity[peaks], 75)]


def _from_peaks(cleaned: Mapping[str, Doubles], peaks: NDArray[np.int64]) -> Measurements:
    reasons: dict[str, str] = {}
    rr_s = float(np.diff(peaks).mean()) / FS
    values: dict[str, float | None] = {"rate_bpm": _plausible("rate_bpm", 60.0 / rr_s, reasons)}
    values["rr_variation"] = float(np.median(np.abs(np.diff(peaks, n=2)))) / float(np.diff(peaks).mean())
    beats = median_beats(np.stack(list(cleaned.values())), peaks)
    if beats is None:
        reasons |= dict.fromkeys(NAMES[2:], "no two whole beats of one shape")
        return Measurements(n_beats=len(peaks), reasons=reasons, **values)
    start, end = qrs_limits(beats)
    # The baseline is the level just before QRS.
    beats = beats - np.median(beats[:, max(0, start - 12) : max(1, start - 2)], axis=1, keepdims=True)
    values["qrs_ms"] = _plausible("qrs_ms", (end - start) * 1000.0 / FS, reasons)
    t_at = t_end(beats, end, min(beats.shape[1], BEFORE + round(0.68 * rr_s * FS)))
    values["qt_ms"] = _plausible("qt_ms", math.nan if t_at is None else (t_at - start) * 1000.0 / FS, reasons)
    # The T wave of the beat before ends a QT interval into its cycle.
    free_s = 0.45 * rr_s if t_at is None else rr_s - (t_at - start) / FS - 0.03
    p_at = p_start(beats, start, free_s)
    values["pr_ms"] = _plausible("pr_ms", math.nan if p_at is None else (start - p_at) * 1000.0 / FS, reasons)
    qt = values["qt_ms"]
    values["qtc_ms"] = _plausible("qtc_ms", math.nan if qt is None else qt / math.sqrt(rr_s), reasons)
    if qt is not None and values["qtc_ms"] is None:
        values["qt_ms"], reasons["qt_ms"] = None, reasons["qtc_ms"]  # one cannot be right without the other
    values["axis_deg"] = _axis(dict(zip(cleaned, beats, strict=True)), start, end, reasons)
    return Measurements(n_beats=len(peaks), reasons=reasons, **values)


def _axis(beats: Mapping[str, Doubles], start: int, end: int, reasons: dict[str, str]) -> float | None:
    """atan2 of the net areas of QRS; aVF, an augmented lead, is scaled back by 2/sqrt(3).

    In a wide QRS only the first 90 ms count: what follows in right bundle branch block is the late right ventricle,
    which the axis leaves out.
    """
    nets = []
    end = min(end, start + round(0.09 * FS))
    for name in ("I", "aVF"):
        if name not in beats:
            reasons["axis_deg"] = f"lead {name} is missing or flat"
            return None
        nets.append(float(beats[name][start : end + 1].sum()) / FS)
    if math.hypot(*nets) < 0.002:  # mV s; a normal QRS is above 0.01
        reasons["axis_deg"] = "QRS is too small in the limb leads"
        return None
    return math.degrees(math.atan2(2 / math.sqrt(3) * nets[1], nets[0]))


def _usable(record: EcgRecord, name: str) -> Doubles | None:
    """A lead at the working rate with its gaps bridged, None where it is missing, mostly missing or flat."""
    signal = record.lead(name)
    if signal is None:
        return None
    values = np.asarray(signal, dtype=np.float64)
    known = np.isfinite(values)
    if known.mean() < 1 - _MAX_MISSING:
        return None
    low, high = np.percentile(values[known], [1, 99])
    if high - low < _FLAT_MV:
        return None
    times = np.arange(len(values)) / record.fs_hz
    bridged = np.interp(times, times[known], values[known])
    if record.fs_hz == FS:
        return np.asarray(bridged, dtype=np.float64)
    # A spline keeps the wave limits where they are; there is nothing above the old Nyquist rate to invent.
    from scipy.interpolate import CubicSpline

    wanted = np.arange(round(record.duration_s * FS)) / FS
    return np.asarray(CubicSpline(times, bridged)(np.clip(wanted, 0, times[-1])), dtype=np.float64)


def _plausible(name: str, value: float, reasons: dict[str, str]) -> float | None:
    low, high = _PLAUSIBLE[name]
    if not math.isfinite(value):
        reasons[name] = "the wave could not be told from the rest"
        return None
    if not low <= value <= high:
        reasons[name] = f"{value:.0f} is outside {low:.0f} to {high:.0f}"
        return None
    return value


def _nothing(reason: str) -> Measurements:
    return Measurements(reasons=dict.fromkeys(NAMES, reason))
