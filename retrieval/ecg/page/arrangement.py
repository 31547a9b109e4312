"""Which leads stand in which columns of a page, and where those begin.

The usual layouts divide their rows evenly. Other pages leave room between columns, so that strips end before the rows
of leads do, show a part of a page, or print leads in columns of another number; there gaps and names tell the columns,
and the names which stretch of the usual order of leads they show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.leads import CABRERA_LEADS, LEADS
from ecgkin.retrieval.ecg.page.columns import Extent, boundaries
from ecgkin.retrieval.ecg.page.names import Layout, PlacedName, agreement, named_layout
from ecgkin.retrieval.ecg.page.tracks import Tracks

FloatArray = NDArray[np.float64]
Parts = tuple[tuple[float, float], ...]

_STEP_MM = 0.1
_ROOM_MM = 1.5  # room between columns that is no lost ink
_LEAST_MM = 15.0  # of a column: six tenths of a second
_EVEN = 0.12  # share by which columns of a page may differ in length
_THROUGH = 0.012  # share of the rows' length by which columns and their gaps may miss ten seconds
_EVENLY = 0.05  # of the rows' length: columns that miss it by less divide it evenly
_SURE = 0.5
_LEAST_AGREEMENT = 1.2  # two sure names, and none against them
_MOST_COLUMNS = 6
_BEFORE = 0.45  # of a column: how far behind its beginning a name may stand
_SAME = 0.06  # of the rows' length: names nearer than that stand in one column
_UNUSUAL = 2.0  # how much more must speak for a layout that is none of the usual ones
BETTER = 0.8  # by how much names must agree better with an unusual page


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of leads.

    Attributes:
        parts: Begin and end of each, mm.
        length_mm: Paper that a column's time takes.
    """

    parts: Parts
    length_mm: float

    def begins(self, extent: Extent) -> tuple[float, ...]:
        """Where they begin, as shares of the rows' length."""
        return tuple((begin - extent.left) / extent.length for begin, _ in self.parts)


def arrangements(
    candidates: list[Layout],
    tracks: Tracks,
    x_mm: FloatArray,
    extent: Extent,
    names: tuple[PlacedName, ...],
    strokes: FloatArray | None,
    *,
    free: bool,
) -> list[tuple[Layout, Columns, float]]:
    """What a page may be: layouts, their columns, and how much more must speak for each than for the first.

    Args:
        candidates: Usual layouts of so many rows, the likeliest first.
        tracks: Curves of the rows.
        x_mm: Millimetres of every fine column in each row, (n_rows, w).
        extent: Ends of the rows.
        names: What was read.
        strokes: Likelihood of a stroke in every fine column of each row, 0 to 1, (n_rows, w), or None.
        free: Whether it may be another layout than the candidates.

    Returns:
        In the order of the candidates, then the others.
    """
    n_rows = tracks.y.shape[0]
    usual = list(candidates)
    alone = named_layout(n_rows, names) if free else None
    if alone is not None and alone not in usual:
        usual.append(alone)
    if n_rows == 2 and len(names) > 1 and free:
        # Two rows are two leads as often as twelve: names decide.
        usual = [layout for layout in usual if agreement(layout, names) > 0.0]
    step = 3.0 if len(names) < 3 else 0.5
    by_gaps = {rows: columns_by_gaps(tracks, x_mm, extent, rows) for rows in range(max(1, n_rows - 3), n_rows + 1)}
    out = []
    for place, layout in enumerate(usual):
        columns = by_gaps.get(layout.rows)
        if columns is None or len(columns.parts) != layout.columns:
            parts = boundaries(tracks, x_mm, extent, layout.columns, layout.rows, strokes)
            columns = Columns(parts, extent.length / layout.columns)
        out.append((layout, columns, step * place))
    most = max((agreement(layout, names, columns.begins(extent)) for layout, columns, _ in out), default=0.0)
    if not free or sum(name.score for name in names) <= most + BETTER:
        return out  # no layout can agree better
    others = [columns for columns in by_gaps.values() if columns is not None]
    others += [columns for rows in by_gaps if (columns := columns_by_names(names, extent, rows)) is not None]
    even = [
        tuple(extent.left + extent.length * k / count for k in range(count + 1))
        for count in range(1, _MOST_COLUMNS + 1)
    ]
    others += [Columns(tuple(pairwise(borders)), borders[1] - borders[0]) for borders in even]
    for columns in dict.fromkeys(others):
        count = len(columns.parts)
        other = named_layouts(n_rows, count, names, columns.begins(extent))
        if other is None or agreement(other, names, columns.begins(extent)) <= most + BETTER:
            continue
        if columns.parts == tuple(pairwise(even[count - 1])):
            parts = boundaries(tracks, x_mm, extent, count, other.rows, strokes)
            columns = Columns(parts, columns.length_mm)
        out.append((other, columns, _UNUSUAL))
    return out


def columns_by_gaps(tracks: Tracks, x_mm: FloatArray, extent: Extent, rows: int) -> Columns | None:
    """Columns with room between them, None where rows run through or the room is as much time as it is paper.

    Args:
        tracks: Curves of the rows.
        x_mm: Millimetres of every fine column in each row, (n_rows, w).
        extent: Ends of the rows.
        rows: Rows of leads: the upper ones.
    """
    ends = extent.rows[:rows][np.isfinite(extent.rows[:rows, 0])]
    if not len(ends):
        return None
    left, right = float(np.median(ends[:, 0])), float(ends[:, 1].max())
    # Ends of rows that stop at the first gap are no ends of the rows.
    inked = np.isfinite(tracks.y[:rows])
    last = [x_mm[row][np.flatnonzero(inked[row])[-1]] for row in range(rows) if inked[row].any()]
    right = max(right, float(np.median(last)))
    at = np.arange(left, right, _STEP_MM)
    if at.size < 100:
        return None
    places = np.arange(tracks.y.shape[1])
    share = np.mean([inked[row, np.round(np.interp(at, x_mm[row], places)).astype(int)] for row in range(rows)], axis=0)
    blank = share <= 0.34
    edges = np.flatnonzero(np.diff(np.concatenate([[0], blank.astype(np.int8), [0]]))).reshape(-1, 2)
    gaps = [(a, b) for a, b in edges.tolist() if (b - a) * _STEP_MM >= _ROOM_MM and a > 0 and b < at.size]
    cuts = [0, *(place for gap in gaps for place in gap), at.size]
    parts = [(left + a * _STEP_MM, left + b * _STEP_MM) for a, b in zip(cuts[::2], cuts[1::2], strict=True)]
    parts = [part for part in parts if part[1] - part[0] >= _LEAST_MM]
    if not 2 <= len(parts) <= _MOST_COLUMNS:
        return None
    begins = np.array([part[0] for part in parts])
    lengths = np.array([part[1] - part[0] for part in parts])
    pitch = float(np.median(np.diff(begins)))
    length = float(np.median(lengths[:-1] if len(parts) > 2 else lengths))
    if np.abs(np.diff(begins) / pitch - 1).max() > _EVEN or np.abs(lengths[:-1] / length - 1).max() > _EVEN:
        return None
    if lengths[-1] > (1 + _EVEN) * length:
        return None
    whole = pitch * len(parts)
    if any(abs(whole / seconds - 1) < _THROUGH for seconds in (250.0, 500.0)):
        return None  # the room is ink that a machine leaves out
    return Columns(tuple(parts), length)


def columns_by_names(names: tuple[PlacedName, ...], extent: Extent, rows: int) -> Columns | None:
    """Columns that begin where names stand below one another; None where these are fewer than two, or divide the rows
    evenly.

    Args:
        names: What was read.
        extent: Ends of the rows.
        rows: Rows of leads.
    """
    sure = sorted(name.share for name in names if name.row < rows and name.score >= _SURE)
    clusters: list[list[float]] = []
    for share in sure:
        if clusters and share - clusters[-1][-1] < _SAME:
            clusters[-1].append(share)
        else:
            clusters.append([share])
    places = [float(np.median(cluster)) for cluster in clusters if len(cluster) >= min(2, rows)]
    if len(places) < 2:
        return None
    steps = np.diff(places)
    pitch = float(steps.min())
    times = np.round(steps / pitch)
    pitch = float((steps / times).mean())
    if np.abs(steps / (times * pitch) - 1).max() > _EVEN:
        return None
    if abs(round(1.0 / pitch) * pitch - 1.0) < _EVENLY:
        return None
    first, last = places[0], places[-1]
    if first < _BEFORE * pitch:
        begin = 0.0
    elif 0.0 <= last + pitch - 1.0 <= _BEFORE * pitch:  # the last column is whole
        begin = first - (last + pitch - 1.0)
    else:
        begin = first - 0.06 * pitch
    before = int(np.ceil(begin / pitch - 0.15)) if begin > 0 else 0
    begins = begin + pitch * np.arange(-before, _MOST_COLUMNS + 1)
    begins = begins[begins < 1.0 - 0.3 * pitch]
    if not 2 <= begins.size <= _MOST_COLUMNS:
        return None
    mm = [max(extent.left, extent.left + share * extent.length) for share in (*begins.tolist(), 9.0)]
    mm[-1] = min(extent.right, mm[-2] + pitch * extent.length)
    return Columns(tuple(pairwise(mm)), pitch * extent.length)


def named_layouts(n_rows: int, columns: int, names: tuple[PlacedName, ...], begins: tuple[float, ...]) -> Layout | None:
    """The layout of so many columns that agrees best with the names, whatever part of the usual order it shows.

    Args:
        n_rows: Rows of traces, strips with them.
        columns: Columns of leads.
        names: What was read.
        begins: Where the columns begin, as shares of the rows' length.
    """
    best, most = None, _LEAST_AGREEMENT
    for rows in range(max(1, n_rows - 3), n_rows + 1):
        if columns == 1 and rows < n_rows:
            continue
        for leads in _orders(rows, columns):
            layout = Layout(rows, columns, n_rows - rows, leads)
            fits = agreement(layout, names, begins)
            if fits > most + 1e-9:
                best, most = layout, fits
    return best


def _orders(rows: int, columns: int) -> Iterator[tuple[str, ...]]:
    """Stretches of the usual orders of leads, row by row within a column, column by column."""
    for order in (LEADS, CABRERA_LEADS):
        for down, along in dict.fromkeys(((1, rows), (1, 3), (1, 6), (1, 4), (6, 1))):
            if (down == 1 and along < rows) or (down > 1 and rows > 2):
                continue
            span = down * (rows - 1) + along * (columns - 1)
            for first in range(len(order) - span):
                places = [first + down * row + along * column for column in range(columns) for row in range(rows)]
                yield tuple(order[place] for place in places)
