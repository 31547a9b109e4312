"""Which lead a line on a PDF page is: names stand at the same place beside all traces.

That place is not known beforehand (left of the trace, above its beginning, below it): it is the one at which most
traces have a name. Rows that are drawn in one line are cut where the next name stands; what goes on behind a gap
belongs to the lead before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ecgkin.retrieval.ecg.formats.pdf.drawing import Points, Word
from ecgkin.retrieval.ecg.formats.pdf.scale import Pulse, Scale
from ecgkin.retrieval.ecg.leads import canonical_lead
from ecgkin.retrieval.errors import RecordError

LEAST_LEADS = 3
LEAST_MM = 15.0
"""0.6 s at 25 mm/s: less than a beat."""
_LEAST_PIECE_MM = 3.0  # between two gaps
# Where a lead's name may stand from the beginning of its trace: left of it, or above or below its first second, mm.
_REACH_LEFT, _REACH_RIGHT, _REACH_UP = 30.0, 15.0, 25.0
_SAME_PLACE = 5.0  # names of all leads stand alike to their traces, within so many mm
_SAME_COLUMN = 2.0
_SAME_ROW = 8.0  # a piece with one complex in it has a middle of its own


@dataclass(frozen=True, slots=True)
class Trace:
    """One stretch of one lead: corners in mm (x, y downwards), and the height of 0 mV."""

    points: Points
    zero_y: float
    lead: str = ""
    sign: int = 1

    @property
    def x(self) -> float:
        """Where it begins."""
        return float(self.points[0, 0])

    @property
    def end(self) -> float:
        """Where it ends."""
        return float(self.points[-1, 0])


@dataclass(frozen=True, slots=True)
class _Label:
    """A lead's name as it is written, and where (mm)."""

    lead: str
    sign: int
    place: tuple[float, float]


def named_traces(
    lines: Sequence[Points],
    words: Sequence[Word],
    pulses: Sequence[Pulse],
    scale: Scale,
    where: str,
    notes: list[str],
) -> list[Trace]:
    """Traces in mm with the names that stand beside them.

    Args:
        lines: Lines that run from left to right, in points of the file.
        words: What is written on the page.
        pulses, scale: Of the page.
        where: What to call it in messages.
        notes: What is odd is added here.

    Returns:
        One or more stretches a lead.

    Raises:
        RecordError: Names are missing, or it is open to which traces they belong.
    """
    mm = scale.points_per_mm
    feet = np.array([pulse.base_y / mm for pulse in pulses])
    traces = []
    for points in lines:
        scaled = points / mm
        if scaled[-1, 0] - scaled[0, 0] < _LEAST_PIECE_MM:
            continue
        middle = float(np.median(scaled[:, 1]))
        near = feet[np.abs(feet - middle) <= 0.5 * scale.gain_limb] if feet.size else feet
        zero = float(near[np.abs(near - middle).argmin()]) if near.size else middle
        traces.append(Trace(scaled, zero))
    traces.sort(key=lambda trace: (trace.zero_y, trace.x))
    labels = []
    for word in words:
        lead = canonical_lead(word.text.strip(":;,.()-"))
        if lead is not None:
            labels.append(_Label(lead, -1 if word.text.startswith("-") else 1, (word.x / mm, word.y / mm)))
    if not traces or not labels:
        raise RecordError(f"{where}: {len(traces)} traces, {len(labels)} names of leads are written (expected both)")
    long = [trace for trace in traces if trace.end - trace.x >= LEAST_MM]
    owner = _assigned(long, [label.place for label in labels], where)
    parts = _cut(long, owner, labels, where)
    if len(parts) > len(long):
        notes.append(f"{len(long)} lines hold several leads each: cut into equal parts")
        owner = _assigned(parts, [label.place for label in labels], where)
    pairs = list(zip(parts, owner, strict=True))
    out = [replace(trace, lead=labels[k].lead, sign=labels[k].sign) for trace, k in pairs if k is not None]
    free = [label for j, label in enumerate(labels) if j not in owner]
    unnamed = [trace for trace, k in pairs if k is None]
    unnamed += [trace for trace in traces if trace.end - trace.x < LEAST_MM]
    left_out = 0
    for trace in sorted(unnamed, key=lambda trace: trace.x):
        rest = _goes_on(trace, out, free, long)
        if rest is not None:
            out.append(replace(trace, lead=rest.lead, sign=rest.sign, zero_y=rest.zero_y))
        elif trace.end - trace.x >= LEAST_MM:
            left_out += 1
    if left_out:
        notes.append(f"{left_out} trace(s) without the name of a lead: left out")
    if left_out > len(parts) // 3 or len({trace.lead for trace in out}) < LEAST_LEADS:
        raise RecordError(f"{where}: {left_out} of {len(parts)} traces have no lead's name beside them")
    return out


def _goes_on(trace: Trace, named: Sequence[Trace], free: Sequence[_Label], long: Sequence[Trace]) -> Trace | None:
    """The lead that goes on with this stretch behind a gap: the last one of its row, unless another one begins between
    them, drawn or only written, or a column of leads begins here in other rows, too."""
    row = [t for t in named if abs(t.zero_y - trace.zero_y) <= _SAME_ROW and t.x <= trace.x]
    last = max(row, key=lambda t: t.end, default=None)
    if last is None or last.end > trace.x or any(t.x > last.x and t.lead != last.lead for t in row):
        return None
    if any(abs(t.x - trace.x) <= _SAME_COLUMN and abs(t.zero_y - trace.zero_y) > _SAME_ROW for t in long):
        return None
    between = [x for x, y in (f.place for f in free) if abs(y - trace.zero_y) <= _REACH_UP and last.x < x <= trace.end]
    return None if between else last


def _assigned(traces: Sequence[Trace], labels: Sequence[tuple[float, float]], where: str) -> list[int | None]:
    """The name of each trace, by number: names stand at the same place beside all traces, and that place is found as
    the one where most traces have a name.

    Raises:
        RecordError: Two places explain the page equally well.
    """
    places = np.array([[trace.x, trace.zero_y] for trace in traces])
    away = np.array(labels)[None] - places[:, None]  # (n_traces, n_labels, 2)
    reach = (away[..., 0] >= -_REACH_LEFT) & (away[..., 0] <= _REACH_RIGHT) & (np.abs(away[..., 1]) <= _REACH_UP)
    tried: list[tuple[int, float, list[int | None]]] = []
    for place in away[reach]:
        off = np.linalg.norm((away - place) / (2.0, 1.0), axis=2)  # names of the first column may stand farther left
        found: list[int | None] = []
        for row in off:
            k = int(row.argmin())
            found.append(k if row[k] <= _SAME_PLACE and k not in found else None)
        tried.append((sum(k is not None for k in found), -float(np.abs(place[1])), found))
    if not tried:
        return [None] * len(traces)
    most = max(n for n, *_ in tried)
    best = max((t for t in tried if t[0] == most), key=lambda t: t[1])
    for n, nearness, found in tried:
        if n == most and found != best[2] and nearness > 1.5 * best[1] - 1.0:
            raise RecordError(f"{where}: names of leads stand between traces, so that it is open to which they belong")
    return best[2]


def _cut(
    traces: Sequence[Trace],
    owner: Sequence[int | None],
    labels: Sequence[_Label],
    where: str,
) -> list[Trace]:
    """Rows that are drawn in one line, cut where the next lead begins.

    Raises:
        RecordError: Names stand along a line, but not where equal parts of it begin.
    """
    out: list[Trace] = []
    for trace, k in zip(traces, owner, strict=True):
        if k is None:
            out.append(trace)
            continue
        own_x, own_y = labels[k].place
        along = []
        for j, label in enumerate(labels):
            x, y = label.place
            inside = own_x + LEAST_MM < x < trace.end and abs(y - own_y) <= _SAME_PLACE
            if inside and j not in owner and label.lead != labels[k].lead:
                along.append(x)
        if not along:
            out.append(trace)
            continue
        part = (trace.end - trace.x) / (len(along) + 1)
        off = np.diff([own_x, *sorted(along)]) - part
        if np.abs(off).max() > _SAME_PLACE:
            raise RecordError(f"{where}: {len(along) + 1} leads share a line, and it is open where each begins")
        edges = trace.x + part * np.arange(1, len(along) + 1)
        pieces = np.split(trace.points, np.searchsorted(trace.points[:, 0], edges - 1e-6))
        out += [replace(trace, points=_once(piece)) for piece in pieces if len(piece) > 3]
    return out


def _once(points: Points) -> Points:
    """Without the stroke from one lead's last sample to the next one's first, where both stand at the border."""
    first = 1 if points[1, 0] - points[0, 0] < 1e-3 else 0
    last = len(points) - (1 if points[-1, 0] - points[-2, 0] < 1e-3 else 0)
    return points[first:last]
