"""PDF pages whose traces are drawn as lines, read as numbers: no picture in between, each corner a sample.

Scanned pages hold no lines, and some writers draw what cannot be told apart with certainty: such pages are refused
with the reason, and `pictures.open_ecg` takes them as pictures. What is read is checked by the page itself: speed and
gain by grid and pulse (`pdf_scale`), the names of the leads by Einthoven's law where the limb leads stand in a column.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.assemble import assemble, named
from ecgkin.retrieval.ecg.formats.pdf.drawing import Drawing, Line, Points, drawing_on
from ecgkin.retrieval.ecg.formats.pdf.names import LEAST_LEADS, LEAST_MM, Trace, named_traces
from ecgkin.retrieval.ecg.formats.pdf.pages import page_count, pages_of_pictures
from ecgkin.retrieval.ecg.formats.pdf.scale import Pulse, Scale, pulse_at_start, scale_of
from ecgkin.retrieval.ecg.header import SourceHeader
from ecgkin.retrieval.ecg.laws import unlawful
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import ImageError, RecordError
from ecgkin.retrieval.notes import Note, NoteCode

_LEAST_POINTS = 24
_BACK = 0.01  # share of its width that a line may go back in all: writers that leave out points do so by a hair
_RATES = (100, 125, 128, 150, 200, 240, 250, 256, 300, 360, 400, 480, 500, 512, 600, 720, 800, 960, 1000, 1024, 2000)
_RATE_OFF = 0.004
_USUAL_HZ = 500.0  # for lines whose corners are not evenly spaced
_FASTEST_HZ = 1000.0
_DIFFERENT_MV = 0.1
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
    found = unlawful(dict(channels), by_column=True)
    if found is not None:
        names, left = found
        raise RecordError(
            f"{where}: {', '.join(names)} contradict Einthoven's law by {100 * left:.0f} %: "
            "are they named rightly, and recorded at the same time?"
        )
