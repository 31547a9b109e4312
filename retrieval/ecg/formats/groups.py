"""Leads that a file keeps in several groups, each with its own begin, as one record on one time axis.

DICOM's multiplex groups and the sequence sets of HL7 aECG: a 3x4 page is four groups of 2.5 s one after the other and a
rhythm strip of 10 s; other carts keep limb leads and chest leads of the same seconds apart (DICOM PS3.3, A.34.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.assemble import MAX_SAMPLES, named
from ecgkin.retrieval.ecg.leads import LEADS, signed_lead
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError

Channels = list[tuple[str, NDArray[np.float32]]]
_LONGEST_PAGE_S = 60.0  # groups of one page lie within it; what is further away is another recording


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Channels that were sampled together.

    Attributes:
        channels: (name, samples in mV), all of one length.
        fs_hz: Samples a second.
        start_s: When the first sample was taken, in seconds on the clock of the file; None where it does not say.
    """

    channels: Channels
    fs_hz: float
    start_s: float | None = None

    @property
    def n_samples(self) -> int:
        """Samples of a channel."""
        return self.channels[0][1].size if self.channels else 0

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.fs_hz

    @property
    def leads(self) -> tuple[str, ...]:
        """Standard names of its leads."""
        return tuple(lead for name, _ in self.channels if (lead := signed_lead(name)[0]) is not None)


def merged(groups: Sequence[Group], where: str, notes: list[str]) -> tuple[Channels, float]:
    """The longest group, and of the others the leads that it lacks, where they belong in time.

    Seconds in which a lead was not recorded are NaN. A group that brings no new lead, or lies further away than a page
    is long, is another stretch and is left out. Groups that state no time count as recorded together.

    Args:
        groups: At least one; each has at least one channel.
        where: File name for messages.
        notes: What was done is added.

    Returns:
        Channels of one length, and their rate: that of the longest group, to which others are resampled.

    Raises:
        RecordError: The record would have more than `MAX_SAMPLES`.
    """
    with_leads = [group for group in groups if group.leads] or list(groups)
    best = max(with_leads, key=lambda group: group.duration_s)
    fs_hz = best.fs_hz
    chosen: list[tuple[Group, set[str]]] = [(best, set(best.leads))]
    have = set(best.leads)
    first, last = best.start_s or 0.0, (best.start_s or 0.0) + best.duration_s
    for group in sorted(with_leads, key=lambda g: g.start_s or 0.0):
        begin = group.start_s or 0.0
        span = max(last, begin + group.duration_s) - min(first, begin)
        new = set(group.leads) - have
        if group is best or not new or span > max(_LONGEST_PAGE_S, best.duration_s):
            continue
        chosen.append((group, new))
        have |= new
        first, last = min(first, begin), max(last, begin + group.duration_s)
    n = round((last - first) * fs_hz)
    if n * len(have) > MAX_SAMPLES:
        raise RecordError(f"{where} holds more than {MAX_SAMPLES} samples in its groups of leads")
    if len(chosen) == 1:
        if len(groups) > 1:
            notes.append(f"{len(groups)} stretches in the file: the longest is used")
        return best.channels, fs_hz
    channels: Channels = []
    for group, wanted in chosen:
        at = round(((group.start_s or 0.0) - first) * fs_hz)
        if group.fs_hz != fs_hz:
            notes.append(f"{named(_ordered(wanted))}: resampled from {group.fs_hz:g} to {fs_hz:g} Hz")
        for name, samples in group.channels:
            lead = signed_lead(name)[0]
            if lead is None:
                channels.append((name, samples))
            elif lead in wanted:
                row = np.full(n, np.nan, dtype=np.float32)
                known = _at_rate(samples, group.fs_hz, fs_hz)[: max(0, n - at)]
                row[at : at + known.size] = known
                channels.append((name, row))
    said = "; ".join(
        f"{', '.join(_ordered(wanted))} from {(group.start_s or 0.0) - first:g} s for {group.duration_s:g} s"
        for group, wanted in sorted(chosen, key=lambda pair: pair[0].start_s or 0.0)
    )
    notes.append(f"leads come in {len(chosen)} groups: {said}")
    if any(group.start_s is None for group, _ in chosen):
        notes.append("groups of leads state no times: taken as recorded together")
    return channels, fs_hz


def _ordered(leads: set[str]) -> list[str]:
    return [lead for lead in LEADS if lead in leads]


def _at_rate(samples: NDArray[np.float32], fs_hz: float, wanted_hz: float) -> NDArray[np.float32]:
    if fs_hz == wanted_hz:
        return samples
    resampled: NDArray[np.float32] = EcgRecord(samples[None], fs_hz, ("I",)).resampled(wanted_hz).signal_mv[0]
    return resampled
