"""PDF pages whose traces are drawn as lines, read as numbers: no picture in between, each corner a sample.

Scanned pages hold no lines, and some writers draw what cannot be told apart with certainty: such pages are refused
with the reason, and `pictures.open_ecg` takes them as pictures. What is read is checked by the page itself: speed and
gain by grid and pulse (`scale`), the names of the leads by Einthoven's law where the limb leads stand in a column.

Which lead a line is: names stand at the same place beside all traces. That place is not known beforehand (left of the
trace, above its beginning, below it): it is the one at which most traces have a name. Rows that are drawn in one line
are cut where the next name stands; what goes on behind a gap belongs to the lead before it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.assemble import assemble, named
from ecgkin.retrieval.ecg.formats.pdf.drawing import Drawing, Line, Points, Word, drawing_on
from ecgkin.retrieval.ecg.formats.pdf.pages import page_count, pages_of_pictures
from ecgkin.retrieval.ecg.formats.pdf.scale import Pulse, Scale, pulse_at_start, scale_of
from ecgkin.retrieval.ecg.header import SourceHeader
from ecgkin.retrieval.ecg.leads import canonical_lead
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import ImageError, RecordError
from ecgkin.retrieval.notes import Note, NoteCode

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


_LEAST_POINTS = 24
_BACK = 0.01  # share of its width that a line may go back in all: writers that leave out points do so by a hair
_RATES = (100, 125, 128, 150, 200, 240, 250, 256, 300, 360, 400, 480, 500, 512, 600, 720, 800, 960, 1000, 1024, 2000)
_RATE_OFF = 0.004
_USUAL_HZ = 500.0  # for lines whose corners are not evenly spaced
_FASTEST_HZ = 1000.0
_DIFFERENT_MV = 0.1
# Part of the signal that Einthoven's law may leave unexplained: swapped names leave as much as there was.
_EINTHOVEN = 0.35
_LONGEST_S = 60.0
_MOST_PAGES = 20  # of a document that are looked at for ECGs
# A trace of 2.5 s at the least: 62 mm of paper at 25 mm/s, printed small; samples at 50 Hz; two complexes, up and down.
_TRACE_PT, _TRACE_POINTS, _TRACE_TURNS = 100.0, 100, 6


class NoTracesError(RecordError):
    """Nothing on the page looks like traces drawn as lines: a scan, or no ECG."""


def read_pdf(source: str | os.PathLike[str] | bytes, page: int = 1) -> EcgRecord:
    """The ECG on a page whose traces are lines.

    Args:
        source: Path or bytes of the document.
        page: Which one, from 1.

    Returns:
        The record; time counts from the left end of the traces, as on the page: of a lead in the third of four columns
        there are samples from 5 to 7.5 s, and NaN elsewhere. 0 mV is the foot of the row's calibration pulse, or else
        the trace's median.

    Raises:
        RecordError: The page cannot be read as numbers without doubt; the message says why.
    """
    where = "the PDF document" if isinstance(source, bytes) else Path(source).name
    try:
        drawing = drawing_on(source, page)
    except ImageError as error:
        raise RecordError(str(error), hint=error.hint) from error
    where = f"{where} page {page}" if drawing.n_pages > 1 else where
    notes: list[str] = []
    if drawing.n_pages > 1:
        notes.append(Note(NoteCode.PAGE_OF_DOCUMENT, n_pages=drawing.n_pages, page=page))
    lines, pulses = _candidates(drawing)
    if len(lines) < LEAST_LEADS:
        raise NoTracesError(
            f"{where}: {len(lines)} lines look like traces (expected at least {LEAST_LEADS})",
            hint="a scanned page is searched as a picture",
        )
    scale = scale_of(drawing, pulses, where)
    traces = named_traces(lines, drawing.words, pulses, scale, where, notes)
    channels, fs_hz = _channels(traces, scale, where, notes)
    _check_einthoven(channels, where)
    form = "PDF, traces drawn as lines"
    return assemble(
        channels, fs_hz, where=where, notes=[f"{form}: {scale.said}", *notes], header=SourceHeader(format=form)
    )


def ecg_pages(source: str | os.PathLike[str] | bytes) -> list[int]:
    """The pages of a document that show an ECG, from 1: those with traces drawn as lines, else those that are pictures.

    Exports of carts and watches begin with a cover of words, and go on over several pages.

    Args:
        source: Path or bytes of the document; at most `_MOST_PAGES` of it are looked at.

    Returns:
        Ascending; empty where no page is one by these signs.

    Raises:
        ImageError: It is no readable document.
    """
    drawn: list[int] = []
    for page in range(1, min(page_count(source), _MOST_PAGES) + 1):
        try:
            lines = drawing_on(source, page).lines
        except ImageError:  # more on it than an ECG is drawn of
            continue
        if any(_is_trace(line) for line in lines):
            drawn.append(page)
    return drawn or pages_of_pictures(source, _MOST_PAGES)


def _is_trace(line: Line) -> bool:
    """Whether a line runs from left to right over a good part of the page and bends often up and down."""
    points = _left_to_right(line)
    if points is None or len(points) < _TRACE_POINTS:
        return False
    rises = np.sign(np.diff(points[:, 1]))
    turns = int((np.diff(rises[rises != 0]) != 0).sum())
    return float(points[-1, 0] - points[0, 0]) >= _TRACE_PT and turns >= _TRACE_TURNS


def _candidates(drawing: Drawing) -> tuple[list[Points], list[Pulse]]:
    """Long lines that run from left to right, without the pulses that they begin with; and all pulses."""
    long: list[Points] = []
    pulses: list[Pulse] = []
    seen: set[tuple[float, ...]] = set()
    for line in drawing.lines:
        points = _left_to_right(line)
        if points is None:
            continue
        pulse = pulse_at_start(points)
        if pulse is not None:
            pulses.append(pulse)
            points = points[pulse.n_points :]
        if len(points) < _LEAST_POINTS:
            continue
        place = tuple(np.round([*points[0], *points[-1], points[:, 1].min(), points[:, 1].max()], 1).tolist())
        if place not in seen:  # some writers draw each line twice, the first one as a light edge
            seen.add(place)
            long.append(points)
    return long, pulses


def _left_to_right(line: Line) -> Points | None:
    points = line.points
    if len(points) < 4:
        return None
    if points[-1, 0] < points[0, 0]:
        points = points[::-1]
    width = float(points[-1, 0] - points[0, 0])
    steps = np.diff(points[:, 0])
    if width <= 0 or -float(steps[steps < 0].sum()) > _BACK * width:
        return None
    return np.stack([np.maximum.accumulate(points[:, 0]), points[:, 1]], axis=1)


def _channels(
    traces: Sequence[Trace], scale: Scale, where: str, notes: list[str]
) -> tuple[list[tuple[str, NDArray[np.float32]]], float]:
    """Samples in mV on one time axis that begins with the leftmost trace."""
    origin = min(trace.x for trace in traces)
    longest_s = (max(trace.end for trace in traces) - origin) / scale.speed_mm_s
    if longest_s > _LONGEST_S:
        raise RecordError(f"{where}: the traces last {longest_s:.0f} s (a page shows at most {_LONGEST_S:g} s)")
    rates = [_rate(trace.points, scale.speed_mm_s) for trace in traces]
    even = sorted(rate for rate in rates if rate is not None)
    printed_hz = fs_hz = _USUAL_HZ
    if len(even) <= len(rates) // 2:
        notes.append(f"corners of the lines are not evenly spaced: samples at {fs_hz:g} Hz lie between them")
    elif even[len(even) // 2] > _FASTEST_HZ:
        printed_hz = fs_hz = _FASTEST_HZ
    else:  # the rate of the machine, which the print-out stretches by a hair
        printed_hz = even[len(even) // 2]
        fs_hz = next((float(r) for r in _RATES if abs(printed_hz / r - 1) <= _RATE_OFF), printed_hz)
    n = round(longest_s * printed_hz) + 1
    leads: dict[str, NDArray[np.float32]] = {}
    for trace, rate in sorted(zip(traces, rates, strict=True), key=lambda pair: pair[0].end - pair[0].x):
        at = (trace.points[:, 0] - origin) / scale.speed_mm_s * printed_hz
        if rate is not None and abs(rate / printed_hz - 1) <= _RATE_OFF:
            at = round(float(at[0])) + np.arange(len(at), dtype=np.float64)  # its own samples, none between them
        first, last = round(float(at[0])), min(n - 1, round(float(at[-1])))
        heights = trace.sign * (trace.zero_y - trace.points[:, 1]) / scale.gain_of(trace.lead)
        values = np.interp(np.arange(first, last + 1), at, heights).astype(np.float32)
        row = leads.setdefault(trace.lead, np.full(n, np.nan, dtype=np.float32))
        before = row[first : last + 1]
        both = np.isfinite(before)
        if both.any() and float(np.median(np.abs(before[both] - values[both]))) > _DIFFERENT_MV:
            notes.append(f"lead {trace.lead} is drawn twice and differs: the longer trace is taken")
        row[first : last + 1] = values
    if max(trace.x for trace in traces) > origin + LEAST_MM:
        notes.append("leads that stand side by side are taken as recorded one after the other")
    inverted = [trace.lead for trace in traces if trace.sign < 0]
    if inverted:
        notes.append(f"{named(inverted)}: drawn upside down (-{inverted[0]}), turned back")
    return list(leads.items()), fs_hz


def _rate(points: Points, speed_mm_s: float) -> float | None:
    """Samples a second of a line whose corners are evenly spaced; None for others."""
    x = points[:, 0]
    step = float(x[-1] - x[0]) / (len(x) - 1)
    even = x[0] + step * np.arange(len(x))
    if float(np.abs(x - even).max()) > 0.75 * step:
        return None
    return speed_mm_s / step


def _check_einthoven(channels: Sequence[tuple[str, NDArray[np.float32]]], where: str) -> None:
    """Whether names fit to traces, as far as the limb leads can tell: I + III = II, aVR + aVL + aVF = 0.

    Raises:
        RecordError: They do not.
    """
    leads = dict(channels)
    for names, signs in ((("I", "II", "III"), (1, -1, 1)), (("aVR", "aVL", "aVF"), (1, 1, 1))):
        if not all(name in leads for name in names):
            continue
        rows = np.array([sign * leads[name] for name, sign in zip(names, signs, strict=True)], dtype=np.float64)
        rows = rows[:, np.isfinite(rows).all(axis=0)]
        if rows.shape[1] < _LEAST_POINTS:
            continue
        rows -= np.median(rows, axis=1, keepdims=True)
        rest = rows.sum(axis=0)  # a constant, as each row was drawn about a zero of its own
        whole, left = float(np.abs(rows).sum(axis=0).mean()) / 2, float(np.abs(rest - np.median(rest)).mean())
        if left > _EINTHOVEN * whole and left > 0.02:
            raise RecordError(
                f"{where}: {', '.join(names)} contradict Einthoven's law by {100 * left / whole:.0f} %: "
                "are they named rightly, and recorded at the same time?"
            )
