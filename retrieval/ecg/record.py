"""`EcgRecord`: one ECG as samples, with what is known to be missing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.header import SourceHeader
from ecgkin.retrieval.ecg.leads import LEADS, canonical_lead
from ecgkin.retrieval.errors import RecordError


@dataclass(frozen=True, slots=True, eq=False)
class EcgRecord:
    """One ECG.

    Attributes:
        signal_mv: Samples in millivolts, shape (n_leads, n_samples), float32; NaN where a sample is missing.
        fs_hz: Samples a second.
        leads: Standard names of the rows (see `leads.LEADS`), each at most once. Leads that are not named here are
            missing; they are never filled with zeros.
        record_id: What the source calls the record; "" where it does not say.
        patient_id, age_years, sex: As the source gives them ("F" or "M"); None where it does not say.
        notes: What the reader had to do or found odd, in words for people ("lead V3 is flat").
        header: What the file says beside the samples; None where it says nothing, and after storing.

    Raises:
        RecordError: On construction, when shapes, rate or names do not fit together.
    """

    signal_mv: NDArray[np.float32]
    fs_hz: float
    leads: tuple[str, ...]
    record_id: str = ""
    patient_id: str | None = None
    age_years: float | None = None
    sex: str | None = None
    notes: tuple[str, ...] = ()
    header: SourceHeader | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        signal = np.asarray(self.signal_mv, dtype=np.float32)
        if signal.ndim != 2 or signal.shape[0] != len(self.leads) or signal.size == 0:
            raise RecordError(
                f"signal of shape {signal.shape} does not fit {len(self.leads)} lead names "
                "(expected (n_leads, n_samples) with at least one sample)"
            )
        if not np.isfinite(self.fs_hz) or self.fs_hz <= 0:
            raise RecordError(f"sampling rate is {self.fs_hz} Hz (expected a positive number)")
        unknown = [name for name in self.leads if name not in LEADS]
        if unknown:
            meant = [name for name in map(canonical_lead, unknown) if name is not None]
            rest = f"did you mean {', '.join(meant)}?" if meant else f"expected some of {', '.join(LEADS)}"
            raise RecordError(f"lead names {unknown} are not standard ({rest})")
        if len(set(self.leads)) != len(self.leads):
            raise RecordError(f"a lead is named twice: {list(self.leads)}")
        object.__setattr__(self, "signal_mv", signal)

    @property
    def n_samples(self) -> int:
        """Samples per lead."""
        return int(self.signal_mv.shape[1])

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.fs_hz

    @property
    def missing_leads(self) -> tuple[str, ...]:
        """Standard leads that the record does not hold, or holds only as NaN."""
        present = {n for n, row in zip(self.leads, self.signal_mv, strict=True) if not np.isnan(row).all()}
        return tuple(name for name in LEADS if name not in present)

    def lead(self, name: str) -> NDArray[np.float32] | None:
        """Samples of one lead in mV, shape (n_samples,), or None where it is missing."""
        if name not in self.leads:
            return None
        row = self.signal_mv[self.leads.index(name)]
        return None if np.isnan(row).all() else row

    def standard(self) -> NDArray[np.float32]:
        """All twelve leads in standard order, shape (12, n_samples), mV; rows of missing leads are NaN."""
        out = np.full((len(LEADS), self.n_samples), np.nan, dtype=np.float32)
        for name, row in zip(self.leads, self.signal_mv, strict=True):
            out[LEADS.index(name)] = row
        return out

    def window(self, start_s: float, length_s: float) -> EcgRecord:
        """The part from `start_s` on, `length_s` seconds long (shorter where the record ends before).

        Args:
            start_s: Seconds from the first sample on.
            length_s: Seconds; one sample at the least.

        Returns:
            A record that shares the samples.
        """
        first = max(0, round(start_s * self.fs_hz))
        last = min(self.n_samples, first + max(1, round(length_s * self.fs_hz)))
        if first >= last:
            raise RecordError(f"window at {start_s} s is outside the record of {self.duration_s:.2f} s")
        return replace(self, signal_mv=self.signal_mv[:, first:last])

    def resampled(self, fs_hz: float) -> EcgRecord:
        """The same ECG at another rate (polyphase filter of scipy); NaN stretches stay NaN."""
        if fs_hz == self.fs_hz:
            return self
        from scipy.signal import resample_poly

        ratio = Fraction(fs_hz / self.fs_hz).limit_denominator(1000)
        missing = np.isnan(self.signal_mv)
        filled = np.where(missing, 0.0, self.signal_mv)
        signal = resample_poly(filled, ratio.numerator, ratio.denominator, axis=1).astype(np.float32)
        if missing.any():
            source = np.minimum((np.arange(signal.shape[1]) / float(ratio)).astype(int), self.n_samples - 1)
            signal[missing[:, source]] = np.nan
        return replace(self, signal_mv=signal, fs_hz=fs_hz)

    def noted(self, *notes: str) -> EcgRecord:
        """The same record with more notes."""
        return replace(self, notes=(*self.notes, *notes))
