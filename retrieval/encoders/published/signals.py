"""From an `EcgRecord` to the samples that a published encoder was trained on.

One road for all systems: leads by name and in the system's order, limb leads that follow from two others derived, the
system's rate, missing samples as 0 mV, at most ten seconds, zeros behind shorter records, then the system's own
filters and scaling. Nothing trusts the order of rows.

Missing samples: 0 mV before filters and scaling (as ECGFounder and MoRE do; MERL and D-BETA would give NaN for the
whole ECG), said in a note, and refused when more than `MOST_MISSING` of the samples of the leads that the system reads
are missing. A lead that cannot be derived counts as missing samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.leads import LEADS, derive_limb_leads
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.searchable import SHORTEST_S
from ecgkin.retrieval.errors import RecordError

STANDARD_LEADS: tuple[str, ...] = LEADS
"""Rows of PTB-XL, CODE-test, HEEDB."""
MIMIC_LEADS: tuple[str, ...] = (*LEADS[:4], "aVF", "aVL", *LEADS[6:])
"""Rows of MIMIC-IV-ECG: aVF before aVL."""
LEAD_ORDERS: dict[str, tuple[str, ...]] = {"standard": STANDARD_LEADS, "mimic": MIMIC_LEADS}
WINDOW_S = 10.0
MOST_MISSING = 0.25
"""Three leads of twelve, or 2.5 s of ten: our choice, none of the systems states one."""

Samples = NDArray[np.float64]
Step = Callable[[Samples], Samples]


@dataclass(frozen=True)
class SignalRule:
    """What a system wants of a signal.

    Attributes:
        system: Its name, for messages.
        leads: Rows of its input, by name.
        fs_hz: Its sampling rate.
        pad: True if shorter records get zeros behind up to ten seconds; False if it reads them as they are.
        condition: Filters, (n_leads, n) in mV -> the same shape; before the zeros are put behind.
        scale: Scaling of the whole input, after the zeros.
        stretch: True for ECGFounder's second rule: scaled at the record's own rate, then stretched linearly so that
            first and last sample keep their places.
    """

    system: str
    leads: tuple[str, ...]
    fs_hz: float
    pad: bool = True
    condition: Step | None = None
    scale: Step | None = None
    stretch: bool = False

    @property
    def n_samples(self) -> int:
        """Samples of a full window."""
        return round(self.fs_hz * WINDOW_S)


@dataclass(frozen=True)
class Prepared:
    """An input of a network.

    Attributes:
        samples: float32, (n_leads, n_samples), in the rule's order and scaling.
        notes: What was derived, filled, cut, padded or resampled, for people.
    """

    samples: NDArray[np.float32]
    notes: tuple[str, ...] = ()


def prepare(record: EcgRecord, rule: SignalRule) -> Prepared:
    """The samples that a system sees of a record.

    Args:
        record: In mV, at any rate, leads in any order; not changed.
        rule: Of the system.

    Returns:
        Samples (n_leads, n_samples), and notes for people.

    Raises:
        RecordError: The record is shorter than a second, or too much of it is missing.
    """
    if record.duration_s < SHORTEST_S:
        raise RecordError(
            f"the record lasts {record.duration_s:g} s (expected at least {SHORTEST_S:g} s)",
            hint=f"{rule.system} reads {WINDOW_S:g} s",
        )
    notes: list[str] = []
    rows = _by_name(record, rule, notes)
    within = rows[:, : round(WINDOW_S * record.fs_hz)]
    if within.shape[1] < rows.shape[1]:
        notes.append(f"{rule.system} reads the first {WINDOW_S:g} s of {record.duration_s:g} s")
    within = _without_gaps(within, rule, notes)
    if not np.ptp(within, axis=1).any():
        notes.append("no lead of this record changes: its vector says nothing of a heart")
    if record.fs_hz != rule.fs_hz:
        change = f"resampled from {record.fs_hz:g} to {rule.fs_hz:g} Hz for {rule.system}"
        if record.fs_hz < rule.fs_hz:
            change += f": nothing above {record.fs_hz / 2:g} Hz comes back, so this is not the published protocol"
        notes.append(change)
    if rule.stretch:
        samples = _scaled(_padded(within, round(WINDOW_S * record.fs_hz), rule, notes), rule)
        samples = _stretched(samples, rule.n_samples) if record.fs_hz != rule.fs_hz else samples
    else:
        samples = _resampled(within, record.fs_hz, rule.fs_hz)[:, : rule.n_samples]
        if rule.condition is not None:
            samples = rule.condition(samples)
        samples = _scaled(_padded(samples, rule.n_samples, rule, notes), rule)
    return Prepared(np.ascontiguousarray(samples, dtype=np.float32), tuple(notes))


def _by_name(record: EcgRecord, rule: SignalRule, notes: list[str]) -> Samples:
    """Rows of the rule's leads, NaN where the record does not know them."""
    known = {name: row for name in LEADS if (row := record.lead(name)) is not None}
    wanted = [name for name in rule.leads if name not in known]
    derived = {name: row for name, row in derive_limb_leads(known).items() if name in wanted} if wanted else {}
    if derived:
        notes.append(f"derived from two other limb leads: {', '.join(derived)}")
    out = np.full((len(rule.leads), record.n_samples), np.nan)
    for place, name in enumerate(rule.leads):
        row = known.get(name, derived.get(name))
        if row is not None:
            out[place] = row
    return out


def _without_gaps(rows: Samples, rule: SignalRule, notes: list[str]) -> Samples:
    missing = ~np.isfinite(rows)
    if not missing.any():
        return rows
    share = float(missing.mean())
    absent = [name for name, gone in zip(rule.leads, missing, strict=True) if gone.all()]
    found = f"{_percent(share)} of the samples that {rule.system} reads are missing"
    if absent:
        found += f" (no {', '.join(absent)})"
    if share > MOST_MISSING:
        raise RecordError(
            f"{found}; at most {MOST_MISSING:.0%} are replaced by 0 mV",
            hint="give a recording of all twelve leads over ten seconds; a 3x4 page shows 2.5 s of a lead",
        )
    notes.append(f"{found}: taken as 0 mV")
    return np.where(missing, 0.0, rows)


def _percent(share: float) -> str:
    """With a decimal where rounding would make it none, or as much as the limit."""
    return f"{share:.0%}" if round(share, 2) not in (0.0, MOST_MISSING) else f"{share:.2%}"


def _resampled(rows: Samples, fs_hz: float, to_hz: float) -> Samples:
    if fs_hz == to_hz:
        return rows
    from fractions import Fraction

    from scipy.signal import resample_poly

    ratio = Fraction(to_hz / fs_hz).limit_denominator(1000)
    out: Samples = resample_poly(rows, ratio.numerator, ratio.denominator, axis=1)
    return out


def _padded(rows: Samples, n_samples: int, rule: SignalRule, notes: list[str]) -> Samples:
    short = n_samples - rows.shape[1]
    if short <= 0:
        return rows
    if not rule.pad:
        notes.append(
            f"{rows.shape[1] / n_samples * WINDOW_S:.3g} s long, of {WINDOW_S:g} s: {rule.system} reads it as it is"
        )
        return rows
    notes.append(f"{rows.shape[1] / n_samples * WINDOW_S:.3g} s long: zeros behind up to {WINDOW_S:g} s")
    return np.pad(rows, ((0, 0), (0, short)))


def _scaled(rows: Samples, rule: SignalRule) -> Samples:
    return rows if rule.scale is None else rule.scale(rows)


def _stretched(rows: Samples, n_samples: int) -> Samples:
    places = np.linspace(0.0, rows.shape[1] - 1.0, n_samples)
    return np.stack([np.interp(places, np.arange(rows.shape[1]), row) for row in rows])


def running_median(rows: Samples, width: int) -> Samples:
    """Median over `width` samples (odd) of each row, zeros beyond the edges, as `scipy.signal.medfilt` takes them.

    Args:
        rows: (n_leads, n).
        width: Samples, odd.

    Returns:
        The same shape.
    """
    from scipy.ndimage import median_filter

    # One row at a time: scipy has a twenty times faster path for one dimension.
    return np.stack([median_filter(row, size=width, mode="constant", cval=0.0) for row in rows])
