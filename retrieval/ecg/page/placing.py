"""Where on a page which lead stands: the layout that names, borders and the limb leads' laws speak for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.leads import LEADS, LIMB_LEADS
from ecgkin.retrieval.ecg.page.arrangement import BETTER, Columns, arrangements
from ecgkin.retrieval.ecg.page.columns import Extent
from ecgkin.retrieval.ecg.page.digitized import Stretch
from ecgkin.retrieval.ecg.page.einthoven import triple_db
from ecgkin.retrieval.ecg.page.names import Layout, PlacedName, agreement, cabrera, layouts_of
from ecgkin.retrieval.ecg.page.sampling import Sampler, strip_leads
from ecgkin.retrieval.ecg.page.sheet import Sheet
from ecgkin.retrieval.ecg.page.tracks import Tracks
from ecgkin.retrieval.ecg.page.units import Measured, Units
from ecgkin.retrieval.errors import ImageError

FloatArray = NDArray[np.float64]

_AWAY, _ABOVE = 0.62, 1.15  # of the distance of rows: how far from its row a name may stand
_LEAST_BELOW = 3  # names that tell whether all stand above their rows
_AGAINST_NAMES_DB = 3.0  # what limb leads' laws may count where names speak against them
_LEAST_FIT, _MOST_FIT = -3.0, 12.0  # dB that count


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """Leads at their places.

    Attributes:
        layout: Of the page.
        stretches: What is printed where.
        columns: Its columns; None where nothing is placed.
        named: Whether any name was read.
    """

    layout: Layout
    stretches: tuple[Stretch, ...]
    columns: Columns | None
    named: bool


def place_leads(
    sheet: Sheet,
    tracks: Tracks,
    factor: float,
    paper: Measured,
    units: Units,
    strokes: FloatArray | None,
    layouts: tuple[str, str | None],
) -> Placed:
    """The arrangement of leads that most speaks for.

    Args:
        sheet: The page with its names.
        tracks: Curves of the rows, without pulses.
        factor: Fine px per working px.
        paper: Its scale and ends.
        units: Its speed and gain.
        strokes: Of `strokes_between`.
        layouts: The layout that the rows suggest, and the one that is known.

    Raises:
        ImageError: The page has another number of rows than the layout that is known.
    """
    scale, x_mm, extent, duration = paper.scale, paper.x_mm, paper.extent, units.duration_s
    n_rows = tracks.y.shape[0]
    candidates = _candidates(n_rows, *layouts)
    names = _placed_names(sheet, x_mm, extent, factor, candidates)
    best: tuple[float, Layout, tuple[Stretch, ...], Columns] | None = None
    plans = arrangements(candidates, tracks, x_mm, extent, names, strokes, free=layouts[1] is None)
    hopes = [_most(agreement(layout, names, columns.begins(extent)), names) - less for layout, columns, less in plans]
    for place, (layout, columns, less) in enumerate(plans):
        if best is not None and hopes[place] <= best[0]:
            continue  # whatever its signals are
        stretches = stretches_of(layout, extent, columns, duration, x_mm)
        sampler = Sampler(tracks, x_mm, scale, units.mm_per_s, units.per_mv, strokes, rough=True)
        sampler.without_strokes(stretches)
        shown = shown_s(stretches, duration)
        strips = strip_leads(sampler, stretches, layout, names, shown)
        if strips != tuple(layout.strip(number) for number in range(layout.strips)):
            layout = replace(layout, strip_leads=strips)
            stretches = tuple(replace(s, lead=layout.strip(s.row - layout.rows)) if s.strip else s for s in stretches)
        named = agreement(layout, names, columns.begins(extent))
        rank = 3.0 * named - less
        rest = max([best[0] if best else -np.inf, *hopes[place + 1 :]])
        if rank + _LEAST_FIT <= rest:  # else its signals change nothing
            limbs = tuple(s for s in stretches if s.lead in LIMB_LEADS)
            fit = _fit(layout, sampler.signals(limbs, shown))
            # Chest leads that change evenly fulfil the laws of Cabrera's order, too.
            rank += min(fit, _AGAINST_NAMES_DB) if named < 0.0 and len(names) >= 3 else fit
        if best is None or rank > best[0]:
            best = (rank, layout, stretches, columns)
    if best is None:
        return Placed(Layout(n_rows, 1, 0, ()), (), None, bool(names))
    return Placed(*best[1:], bool(names))


def _candidates(n_rows: int, guess: str, known: str | None = None) -> list[Layout]:
    every = layouts_of(n_rows)
    if known is not None:
        every = [layout for layout in every if layout.name == known]
        if not every:
            raise ImageError(
                f"the page shows {n_rows} rows of traces (layout {known} has another number)",
                hint="outline the rows that belong to it by their corners, or choose another layout",
            )
    every.sort(key=lambda layout: layout.name != guess)
    out: list[Layout] = []
    for layout in every:
        out.append(layout)
        if (other := cabrera(layout)) is not None:
            out.append(other)
    return out


def _most(agreed: float, names: tuple[PlacedName, ...]) -> float:
    """The highest rank that a layout may reach: strips may yet be named as is read, limb leads fit as well as any."""
    return 3.0 * (agreed + 0.4 * sum(name.score for name in names)) + _MOST_FIT


def _fit(layout: Layout, signal: FloatArray) -> float:
    """How well the limb leads of the columns fit together under a layout, dB, -3 to 12 each, 0 where not testable."""
    found = []
    signals = dict(zip(LEADS, signal, strict=True))
    for column in range(layout.columns):
        names = [layout.lead(row, column).lstrip("-") for row in range(layout.rows)]
        for first in range(0, len(names) - 2, 3):
            three = names[first : first + 3]
            if all(name in LIMB_LEADS for name in three):
                value = triple_db(signals, (three[0], three[1], three[2]))
                if value is not None:
                    found.append(float(np.clip(value, _LEAST_FIT, _MOST_FIT)))
    return float(np.mean(found)) if found else 0.0


def _placed_names(
    sheet: Sheet, x_mm: FloatArray, extent: Extent, factor: float, layouts: list[Layout]
) -> tuple[PlacedName, ...]:
    """The names that the network read, with their rows and their places along them.

    A name stands above, on or under its trace: the nearest row is its own, a little in favour of the one below it; or,
    where rows stand so close that all names are nearer to the row above, the one below it, if layouts agree better so.
    """
    if sheet.marks is None:
        return ()
    baselines = np.array(sheet.rows.baselines)
    pitch = float(np.median(np.diff(baselines))) if baselines.size > 1 else 0.3 * sheet.shape[0]
    columns = np.arange(x_mm.shape[1])
    near: list[PlacedName] = []
    below: list[PlacedName] = []
    for name in sheet.marks.names:
        away = baselines - (name.y + 0.1 * pitch)
        rows = int(np.abs(away).argmin()), int(np.where(away >= 0.0, away, np.inf).argmin())
        for row, out, most in ((rows[0], near, _AWAY), (rows[1], below, _ABOVE)):
            if abs(away[row]) <= most * pitch:
                x = np.interp((name.x + 0.5) * factor - 0.5, columns, x_mm[row])
                out.append(PlacedName(name.lead, row, float((x - extent.left) / extent.length), name.score))
    if len(below) < _LEAST_BELOW:
        return tuple(near)
    said = [max((agreement(layout, tuple(names)) for layout in layouts), default=0.0) for names in (near, below)]
    return tuple(below) if said[1] > said[0] + BETTER else tuple(near)


def strokes_between(sheet: Sheet, tracks: Tracks, factor: float) -> FloatArray | None:
    """Likelihood of a stroke between leads in every fine column of each row."""
    if sheet.marks is None:
        return None
    baselines = sheet.rows.baselines
    pitch = float(np.median(np.diff(baselines))) if len(baselines) > 1 else 0.3 * sheet.shape[0]
    width = tracks.y.shape[1]
    source = np.clip(((np.arange(width) + 0.5) / factor).astype(int), 0, sheet.shape[1] - 1)
    out = []
    for y in baselines:
        zone = sheet.marks.stroke[max(0, round(y - 0.4 * pitch)) : round(y + 0.4 * pitch) + 1]
        # A stroke of 2 mm or more: the mean of its darkest part.
        deepest = max(2, round(0.06 * pitch))
        deep = np.partition(zone, max(0, len(zone) - deepest), axis=0)[-deepest:].mean(axis=0) / 255.0
        out.append(deep[source])
    return np.stack(out)


def shown_s(stretches: tuple[Stretch, ...], otherwise: float) -> float:
    """Seconds that a page shows; what was thought where its columns do not say otherwise."""
    shown = max((s.start_s + s.length_s for s in stretches), default=otherwise)
    return otherwise if abs(shown - otherwise) < 0.02 * otherwise else shown


def stretches_of(
    layout: Layout, extent: Extent, columns: Columns, duration: float, x_mm: FloatArray
) -> tuple[Stretch, ...]:
    """Places of all leads of a layout.

    Args:
        layout: The leads.
        extent: Ends of the rows.
        columns: Columns of the layout.
        duration: Seconds between the ends.
        x_mm: Millimetres of every fine column in each row, (n_rows, w).
    """
    out = []
    places = np.arange(x_mm.shape[1])
    length = columns.length_mm * duration / extent.length
    for column, ends in enumerate(columns.parts):
        # A gap between columns is no time; borders that were taken for each other leave nothing between them.
        shown = float(np.clip((ends[1] - ends[0]) * duration / extent.length, 0.0, length))
        for row in range(layout.rows):
            label = layout.lead(row, column)
            lead = label.lstrip("-")
            left, right = np.interp(ends, x_mm[row], places)
            sign = -1 if label != lead else 1
            out.append(Stretch(lead, sign, row, float(left), float(right), column * length, shown, False))
    for row in range(layout.rows, layout.rows + layout.strips):
        lead = layout.strip(row - layout.rows)
        left, right = np.interp([extent.left, extent.right], x_mm[row], places)
        out.append(Stretch(lead, 1, row, float(left), float(right), 0.0, duration, True))
    return tuple(out)
