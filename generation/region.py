"""How alike two ECGs are in one stretch of one lead: the part of the usual beat that a reader has framed.

A vector of an encoder is of the whole ECG; what lies in a frame is compared on the samples. The stretch is told by its
place about the onset of QRS, so that it means the same part of the beat in another ECG, and is compared there in the
median beat, whose zero is the level before QRS. Levels count: a raised ST segment is not like a flat one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ecgkin.generation.measures.arrays import FS, Doubles
from ecgkin.generation.measures.measure import samples_and_beats, usual_beat
from ecgkin.generation.measures.median_beat import AFTER, BEFORE
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import QueryError

# Shorter than a narrow R wave shows no shape.
LEAST_S = 0.04
# Repolarisation takes longer where the rate is low: the same part may lie this much earlier or later.
_SHIFT_S = 0.04
# Noise of a recording: two stretches that are flat within it are alike.
_NOISE_MV = 0.03


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Part of the usual beat in one lead.

    Attributes:
        lead: Its name.
        first: Its first sample at `FS`, counted from the onset of QRS.
        mv: The median beat there, shape (n,).
    """

    lead: str
    first: int
    mv: Doubles

    @property
    def begin_ms(self) -> float:
        """Where it begins, ms after the onset of QRS."""
        return 1000.0 * self.first / FS

    @property
    def end_ms(self) -> float:
        """Where it ends, ms after the onset of QRS."""
        return 1000.0 * (self.first + len(self.mv)) / FS


def stretch_of(record: EcgRecord, lead: str, begin_s: float, end_s: float) -> Stretch:
    """The part of the usual beat that lies under a stretch of the record.

    The beat whose QRS is nearest to the middle of the stretch counts; what reaches beyond that beat is cut off.

    Args:
        record: The ECG; leads that are known at different times, as on paper, have the times of the record.
        lead: One of the twelve.
        begin_s, end_s: The stretch, seconds of the record.

    Returns:
        The stretch.

    Raises:
        QueryError: There is no usual beat, not in this lead, or the stretch shows less than 40 ms of it.
    """
    if lead not in LEADS:
        raise QueryError(f"{lead!r} is no lead, expected one of {' '.join(LEADS)}")
    if end_s - begin_s < LEAST_S:
        raise QueryError(
            f"a stretch of {1000 * (end_s - begin_s):.0f} ms, expected {1000 * LEAST_S:.0f} ms and more",
            hint="frame a longer part",
        )
    beat = usual_beat(record)
    row = None if beat is None or lead not in beat.names else beat.mv[beat.names.index(lead)]
    if beat is None or row is None:
        raise QueryError(f"no usual beat was found in lead {lead}", hint="choose another lead")
    _, beats = samples_and_beats(record)
    nearest = beats.at[np.argmin(np.abs(beats.at - (begin_s + end_s) / 2 * FS))]
    first, last = (round(at * FS) - int(nearest) + BEFORE for at in (begin_s, end_s))
    first, last = max(0, first), min(BEFORE + AFTER, last)
    part = row[first:last]
    known = np.flatnonzero(np.isfinite(part))
    if len(known) and len(known) == known[-1] - known[0] + 1:
        first, part = first + int(known[0]), part[known[0] : known[-1] + 1]
    if len(part) < LEAST_S * FS or not np.isfinite(part).all():
        raise QueryError(
            f"lead {lead} shows no usual beat from {begin_s:g} to {end_s:g} s", hint="frame a part of a usual beat"
        )
    return Stretch(lead, first - beat.onset, np.asarray(part, dtype=np.float64))


def likeness(stretch: Stretch, record: EcgRecord) -> float | None:
    """How alike a record is in a stretch, the best of all places within 40 ms.

    Twice the product over the sum of squares of both: 1 where they are equal in shape and size, 0 where one is flat
    or they have nothing in common, -1 where one is the other upside down.

    Args:
        stretch: From `stretch_of`.
        record: Another ECG.

    Returns:
        -1 to 1; None where the record has no usual beat there.
    """
    beat = usual_beat(record)
    if beat is None or stretch.lead not in beat.names:
        return None
    row, n = beat.mv[beat.names.index(stretch.lead)], len(stretch.mv)
    noise = n * _NOISE_MV**2
    best: float | None = None
    for shift in range(-round(_SHIFT_S * FS), round(_SHIFT_S * FS) + 1, 2):
        first = beat.onset + stretch.first + shift
        other = row[max(0, first) : max(0, first + n)]
        if first < 0 or len(other) < n or not np.isfinite(other).all():
            continue
        both = float(stretch.mv @ other) * 2 + noise
        value = both / (float(stretch.mv @ stretch.mv) + float(other @ other) + noise)
        best = value if best is None else max(best, value)
    return best
