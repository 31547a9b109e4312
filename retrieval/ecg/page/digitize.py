"""The signals of a printed ECG: `digitize` follows every curve of a page and gives it back in mV and seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ecgkin.retrieval.beside import Beside
from ecgkin.retrieval.ecg.leads import LEADS, LIMB_LEADS
from ecgkin.retrieval.ecg.page.arrangement import BETTER, Columns, arrangements
from ecgkin.retrieval.ecg.page.calibration import GAINS_MM_MV, Calibration, find_cut_pulse, find_pulses, marked_pulses
from ecgkin.retrieval.ecg.page.claims import claim_ink
from ecgkin.retrieval.ecg.page.columns import Extent, find_extent, in_step
from ecgkin.retrieval.ecg.page.corrections import Corrections
from ecgkin.retrieval.ecg.page.counts import byte_percentile, median
from ecgkin.retrieval.ecg.page.digitized import Digitized, Stretch, moved_back
from ecgkin.retrieval.ecg.page.einthoven import LAWS, einthoven_db, law_db, triple_db
from ecgkin.retrieval.ecg.page.evidence import doubts, page_evidence
from ecgkin.retrieval.ecg.page.image import load_image
from ecgkin.retrieval.ecg.page.names import (
    Layout,
    PlacedName,
    agreement,
    cabrera,
    layouts_of,
)
from ecgkin.retrieval.ecg.page.pieces import NOT_ECG
from ecgkin.retrieval.ecg.page.prepared import Box, fine_box, prepare, scale_within
from ecgkin.retrieval.ecg.page.reading import Look, look_at
from ecgkin.retrieval.ecg.page.roofs import find_roofs
from ecgkin.retrieval.ecg.page.rows import signal_ends
from ecgkin.retrieval.ecg.page.sampling import FS_HZ, Sampler, in_step_by_law, strip_leads
from ecgkin.retrieval.ecg.page.scale import PaperScale
from ecgkin.retrieval.ecg.page.sheet import FineSheet, Sheet, with_marks
from ecgkin.retrieval.ecg.page.tracks import InkRuns, Tracks, follow, ink_runs, path_costs, trace_tracks
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import ImageError
from ecgkin.retrieval.notes import Note, NoteCode

ByteImage = NDArray[np.uint8]
FloatArray = NDArray[np.float64]

_AWAY, _ABOVE = 0.62, 1.15  # of the distance of rows: how far from its row a name may stand
_LEAST_BELOW = 3  # names that tell whether all stand above their rows
_AGAINST_NAMES_DB = 3.0  # what limb leads' laws may count where names speak against them
_LAWFUL_DB = 6.0  # three quarters of the energy explained
_UNLAWFUL_DB, _MENDED_DB = 14.0, 1.5  # laws that let ends of leads be doubted, and what leaving those out must earn
_MENDED_MORE_DB, _NOT_QUITE = 3.0, 0.9  # the same where nothing but the network's doubt speaks against a curve
_MARKED, _HARDLY = 0.3, 0.75  # likelihood of print or a stroke, and of a trace, of what is none
_SURE_INK, _SEEN_TRACE = 200, 60  # of 255: likelihood of trace that ink has, and that the network gives
_AS_PRINTED = 0.005  # share by which rows of ten seconds may seem longer or shorter on paper that lies flat
_LEAST_FIT, _MOST_FIT = -3.0, 12.0  # dB that count
_HINT = 40  # of 255: likelihood of a trace under which ink is none


def digitize(
    picture: Image.Image | NDArray[Any] | str | Path | bytes,
    *,
    layout: str | None = None,
    leads: Mapping[str, str] | None = None,
    speed: float | None = None,
    gain: float | None = None,
    corners: Sequence[tuple[float, float]] | None = None,
) -> Digitized:
    """Read the signals off a picture of an ECG page.

    Args:
        picture: PIL image, RGB or gray array, encoded bytes, or a path; never modified.
        layout, leads, speed, gain, corners: What is known better than the page would be read, see `Corrections`
            (speed in mm/s, gain in mm/mV).

    Returns:
        The printed leads as samples, with what was understood of the page.

    Raises:
        ImageError: The picture cannot be read or shows no ECG, or not the layout that was given.
        QueryError: What is given to be known is not possible.
    """
    known = Corrections(layout, leads or {}, speed, gain, None if corners is None else tuple(corners))
    part, cut = known.cut(load_image(picture))
    found = digitize_look(look_at(part), known)
    evidence = page_evidence(found)
    if evidence.nothing and not known:
        raise ImageError(
            f"what is drawn in the picture does not look like the leads of an ECG ({doubts(evidence)[0]})", hint=NOT_ECG
        )
    return found if cut is None else moved_back(found, cut)


def digitize_look(look: Look, known: Corrections = Corrections()) -> Digitized:
    """Signals of a page that was found (see `digitize`).

    Args:
        look: The page.
        known: What is known of it.

    Raises:
        ImageError: It has another number of rows than the layout that is known.
    """
    ready = look.ready or prepare(look.sheet)
    fine, sheet = ready.fine, with_marks(ready.sheet, look.sheet.marks)
    rows = sheet.rows
    width = sheet.shape[1]
    darkness = _without_marks(sheet, fine)
    half = _likely(sheet, darkness)
    baselines = (np.array(rows.baselines) + 0.5) / 2 - 0.5
    k = fine.factor
    box = fine_box(sheet, fine, _traced(sheet))
    aside = Beside(lambda: _beside_paths(sheet, fine, darkness, ready.scale, box))
    costs = path_costs(half, baselines, 0, width // 2)
    paths = claim_ink(follow(half, baselines, 0, width // 2, costs), costs, _surely(sheet, half), baselines)
    level, runs, scale = aside.result()
    ink = FineInk(fine.darkness, level, k)
    tracks = trace_tracks(darkness, paths, 2 * k, level, runs)
    tracks = replace(tracks, weight=_supported(tracks, sheet, k))
    x_mm = _along(tracks, scale)
    pulse = _pulse(tracks, x_mm, scale, box, sheet, ink)
    extent = find_extent(tracks, x_mm, scale.px_per_mm[0], pulse, (float(box[0]), float(box[2])))
    warnings = list(look.reading.warnings)
    if scale.found and not scale.certain and (pulse is None or not _most_usual(pulse, scale)):
        # Lines may be 10 mm apart, or 2.5: a pulse as high and as wide as most decides.
        for factor in (0.5, 2.0):
            other = scale.rescaled(factor)
            seen = _pulse(tracks, x_mm / factor, other, box, sheet, ink)
            if seen is not None and seen.rows >= 0.5 * len(x_mm) and _most_usual(seen, other):
                scale, x_mm, pulse = other, x_mm / factor, seen
                extent = find_extent(tracks, x_mm, scale.px_per_mm[0], pulse, (float(box[0]), float(box[2])))
                break
    if not scale.found:  # as if the rows were ten seconds long
        per_mm = scale.px_per_mm[0] * extent.length / 250.0
        scale = replace(scale, px_per_mm=(per_mm, per_mm))
        x_mm = _along(tracks, scale)
        pulse = _pulse(tracks, x_mm, scale, box, sheet, ink)
        extent = find_extent(tracks, x_mm, per_mm, pulse, (float(box[0]), float(box[2])))
    if scale.found and not scale.flat:
        x_mm = in_step(x_mm, tracks.y, scale.px_per_mm[1], extent)
        extent = find_extent(tracks, x_mm, scale.px_per_mm[0], pulse, (float(box[0]), float(box[2])))
    gain, gain_known, per_mv = _gain(pulse, scale)
    if known.gain_mm_mv is not None:
        gain, gain_known = known.gain_mm_mv, True
        if scale.found or pulse is None:  # a pulse is a millivolt high, whatever a millimetre is
            per_mv = gain * scale.px_per_mm[1]
    speed, speed_known = _speed(pulse, scale, extent)
    if known.speed_mm_s is not None:
        speed, speed_known = known.speed_mm_s, True
    if not gain_known:
        warnings.append(Note(NoteCode.GAIN_ASSUMED))
    if not speed_known:
        warnings.append(Note(NoteCode.SPEED_ASSUMED))
    n_rows = tracks.y.shape[0]
    duration = extent.length / speed
    if abs(duration - 10.0) < 0.1 or (not scale.found and known.speed_mm_s is None):
        duration = 10.0
    mm_per_s = extent.length / duration
    if scale.flat and abs(mm_per_s / speed - 1.0) < _AS_PRINTED:
        mm_per_s = speed  # the grid is more exact than the ends of the ink, which reach half a pen farther
    if pulse is not None:
        edge = (tracks.stroke + 1) / scale.px_per_mm[0]
        tracks.y[(x_mm >= pulse.left - edge) & (x_mm <= pulse.right + edge)] = np.nan
    candidates = _candidates(n_rows, look.reading.layout, known.layout)
    names = _placed_names(sheet, x_mm, extent, k, candidates)
    strokes = _strokes(sheet, tracks, k)
    plan: Columns | None = None
    best: tuple[float, Layout, tuple[Stretch, ...], Columns] | None = None
    plans = arrangements(candidates, tracks, x_mm, extent, names, strokes, free=known.layout is None)
    hopes = [_most(agreement(layout, names, columns.begins(extent)), names) - less for layout, columns, less in plans]
    for place, (layout, columns, less) in enumerate(plans):
        if best is not None and hopes[place] <= best[0]:
            continue  # whatever its signals are
        stretches = _stretches(layout, extent, columns, duration, x_mm)
        sampler = Sampler(tracks, x_mm, scale, mm_per_s, per_mv, strokes, rough=True)
        sampler.without_strokes(stretches)
        shown = _shown_s(stretches, duration)
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
    _, layout, stretches, plan = best or (0.0, Layout(n_rows, 1, 0, ()), (), None)
    parts = () if plan is None else plan.parts
    shown = _shown_s(stretches, duration)
    if known.leads:
        stretches = tuple(replace(stretch, lead=known.called(stretch.lead)) for stretch in stretches)
    sampler = Sampler(tracks, x_mm, scale, mm_per_s, per_mv, strokes)
    late_mm = sampler.late_borders(stretches)
    record, law = _sampled(sampler, stretches, shown)
    if late_mm and plan is not None:
        borders = tuple((a + late_mm * (k > 0), b + late_mm * (k < len(parts) - 1)) for k, (a, b) in enumerate(parts))
        again = _stretches(layout, extent, replace(plan, parts=borders), duration, x_mm)
        later = tuple(replace(s, lead=old.lead) for s, old in zip(again, stretches, strict=True))
        later_sampler = Sampler(tracks, x_mm, scale, mm_per_s, per_mv, strokes)
        moved_record, better = _sampled(later_sampler, later, shown)
        if better is not None and (law is None or better > law):
            record, stretches, sampler, law = moved_record, later, later_sampler, better
    if law is not None and law < _UNLAWFUL_DB:
        # Strokes, names and edges of pulses may have been taken for the ends of leads: without them the rest is lawful.
        for doubted, earned in ((_foreign(sheet, tracks, strokes, k), _MENDED_DB), (_hardly(tracks), _MENDED_MORE_DB)):
            clean = Sampler(tracks, x_mm, scale, mm_per_s, per_mv, strokes, foreign=doubted)
            clean_record, better = _sampled(clean, stretches, shown)
            if better is not None and better >= law + earned:
                record, sampler, law = clean_record, clean, better
    if law is not None and law < 3.0:
        warnings.append(Note(NoteCode.LIMB_LEADS_CONTRADICT))
    if scale.found:
        warnings = [note for note in warnings if note.code is not NoteCode.GRID_NOT_FOUND]
    leads = {s.lead for s in stretches}
    if layout.leads and (n_rows > 1 or names):
        warnings = [note for note in warnings if note.code is not NoteCode.LAYOUT_UNKNOWN]
    page = replace(
        look.reading,
        px_per_mm=look.reading.px_per_mm,
        layout=layout.name,
        leads=tuple(name for name in LEADS if name in leads),
        speed_mm_s=speed if speed_known else None,
        gain_mm_mv=gain if gain_known else None,
        warnings=tuple(warnings),
    )
    confidence = _confidence(sampler, stretches, record)
    return Digitized(record, page, confidence, law, stretches, tracks, fine, sheet, look.turns)


def _sampled(sampler: Sampler, stretches: tuple[Stretch, ...], shown_s: float) -> tuple[EcgRecord, float | None]:
    """The record of a page by a sampler, without strokes and in step, and how well limb leads keep their laws there."""
    sampler.without_strokes(stretches)
    signal = sampler.signals(stretches, shown_s, in_step_by_law(sampler, stretches))
    record = EcgRecord(signal.astype(np.float32), FS_HZ, LEADS)
    return record, _laws_of(record)


def _beside_paths(
    sheet: Sheet, fine: FineSheet, darkness: ByteImage, scale: PaperScale, box: Box
) -> tuple[float, InkRuns, PaperScale]:
    """What is found out about a page while the rough courses of its rows are: from which darkness on something is ink,
    the runs of that, and the scale within the box of its traces."""
    level = _ink_level(sheet, fine.darkness)
    return level, ink_runs(darkness, level), scale if scale.box == box else scale_within(sheet, fine, box)


@dataclass(frozen=True, slots=True, eq=False)
class FineInk:
    """Darkness of the fine page, from which level on it is ink, and fine px per working px."""

    darkness: ByteImage
    level: float
    factor: float


def _confidence(sampler: Sampler, stretches: tuple[Stretch, ...], record: EcgRecord) -> dict[str, float]:
    """How sure each lead is: the share of its curve that is sure, less where the limb leads contradict each other.

    A law that holds says that the page was read as it is; one that does not leaves its leads in doubt, and the others a
    little.
    """
    signals = dict(zip(record.leads, record.signal_mv, strict=True))
    found = [law_db(signals, law) for law in LAWS]
    trust = [1.0 if db is None else float(np.clip(0.6 + 0.4 * db / _LAWFUL_DB, 0.6, 1.0)) for db in found]
    out: dict[str, float] = {}
    for stretch in stretches:
        if stretch.lead in out and stretch.strip:
            continue
        mine = [t for law, t in zip(LAWS, trust, strict=True) if stretch.lead in {name for name, _ in law}]
        factor = mine[0] if mine else 0.5 + 0.5 * float(np.mean(trust))
        out[stretch.lead] = sampler.cover(stretch) * factor
    return out


def _laws_of(record: EcgRecord) -> float | None:
    """How well the limb leads of a record fulfil their laws, dB (see `einthoven_db`)."""
    rows = zip(record.leads, record.signal_mv, strict=True)
    return einthoven_db({name: row for name, row in rows if np.isfinite(row).any()})


def _supported(tracks: Tracks, sheet: Sheet, factor: float) -> FloatArray:
    """How sure each column of a curve is, 0 to 1: whether the network sees a trace where the ink was followed."""
    known = np.isfinite(tracks.y)
    if sheet.marks is None:
        return known.astype(np.float64)
    near = cv2.dilate(cv2.max(sheet.marks.trace, sheet.marks.pulse), np.ones((5, 5), np.uint8))
    rows, columns = np.nonzero(known)
    y = np.clip(((tracks.y[rows, columns] + 0.5) / factor).astype(int), 0, near.shape[0] - 1)
    x = np.clip(((columns + 0.5) / factor).astype(int), 0, near.shape[1] - 1)
    out = np.zeros(tracks.y.shape)
    out[rows, columns] = np.minimum(1.0, near[y, x] / 110.0)
    return out


def _traced(sheet: Sheet) -> tuple[int, int]:
    """First and last column (exclusive) of the traces, working px: as the network sees them, where it does."""
    rows = sheet.rows
    if sheet.marks is None:
        return rows.left, rows.right
    seen = np.asarray(cv2.threshold(sheet.marks.trace, 110, 255, cv2.THRESH_BINARY)[1], dtype=np.uint8)
    left, right = signal_ends(seen, rows.baselines, (rows.left, rows.right))
    near = max(abs(left - rows.left), abs(right - rows.right)) < 0.01 * (rows.right - rows.left)
    return (rows.left, rows.right) if near or right - left < 0.5 * (rows.right - rows.left) else (left, right)


def _likely(sheet: Sheet, darkness: ByteImage) -> ByteImage:
    """Likelihood of trace at half the working size: full for what was taken for traces, less for other ink."""
    height, width = sheet.shape
    size = (width // 2, height // 2)
    trace = cv2.resize(sheet.rows.trace, size, interpolation=cv2.INTER_AREA)
    solid = cv2.resize(sheet.rows.solid, size, interpolation=cv2.INTER_AREA)
    dark = cv2.resize(cv2.dilate(darkness, np.ones((3, 3), np.uint8)), size, interpolation=cv2.INTER_AREA)
    out = cv2.max(cv2.convertScaleAbs(solid, alpha=1.2), cv2.convertScaleAbs(dark, alpha=0.8))
    return np.asarray(
        cv2.max(cv2.min(out, np.full_like(out, 150)), cv2.convertScaleAbs(trace, alpha=2.0)), dtype=np.uint8
    )


def _surely(sheet: Sheet, likely: ByteImage) -> ByteImage:
    """255 where ink is taken for traces and the network does not object, at half the working size, else 0."""
    out = cv2.threshold(likely, _SURE_INK, 255, cv2.THRESH_BINARY)[1]
    if sheet.marks is not None:
        seen = cv2.resize(sheet.marks.trace, (likely.shape[1], likely.shape[0]), interpolation=cv2.INTER_AREA)
        near = cv2.dilate(seen, np.ones((3, 3), np.uint8))
        out = cv2.bitwise_and(out, cv2.threshold(near, _SEEN_TRACE, 255, cv2.THRESH_BINARY)[1])
    return np.asarray(out, dtype=np.uint8)


def _ink_level(sheet: Sheet, darkness: ByteImage) -> float:
    """Darkness from which on something is ink: above nearly all of the paper and its grid.

    Fast strokes are thin and pale, so that as little as stands out of the paper counts where a path touches it.
    """
    rows = sheet.rows
    free = cv2.bitwise_not(cv2.dilate(rows.solid, np.ones((9, 9), np.uint8)))
    size = (rows.solid.shape[1], rows.solid.shape[0])
    coarse = cv2.resize(darkness, size, interpolation=cv2.INTER_NEAREST)
    part = (slice(rows.top, rows.bottom), slice(rows.left, rows.right))
    paper = np.asarray(coarse, dtype=np.uint8)[part][free[part] > 0]
    return float(np.clip(1.2 * byte_percentile(paper, 99), 50.0, 115.0)) if paper.size > 100 else 100.0


def _without_marks(sheet: Sheet, fine: FineSheet) -> ByteImage:
    """Darkness where the network sees at least a hint of a trace or of a pulse."""
    if sheet.marks is None:
        return fine.darkness
    # Strokes between leads stay whole, so that they can be told from beats.
    hint = cv2.max(cv2.max(sheet.marks.trace, sheet.marks.pulse), sheet.marks.stroke)
    near = cv2.dilate(hint, np.ones((5, 5), np.uint8))
    size = (fine.darkness.shape[1], fine.darkness.shape[0])
    wide = cv2.resize(near, size, interpolation=cv2.INTER_LINEAR)
    keep = cv2.threshold(wide, _HINT, 255, cv2.THRESH_BINARY)[1]
    return np.asarray(cv2.bitwise_and(fine.darkness, keep), dtype=np.uint8)


def _pulse(
    tracks: Tracks, x_mm: FloatArray, scale: PaperScale, box: tuple[int, int, int, int], sheet: Sheet, ink: FineInk
) -> Calibration | None:
    """The calibration pulse: by its edges, by its roof where the picture cuts it or none else stays, or as the network
    marked it."""
    found = find_pulses(tracks, x_mm, scale.px_per_mm, (float(box[0]), float(box[2])))
    if found is not None and found.rows >= 0.75 * len(x_mm):
        return found
    others = [find_cut_pulse(tracks, x_mm, scale.px_per_mm, scale.found)]
    if sheet.marks is not None and scale.found:
        baselines = np.array(sheet.rows.baselines)
        others.append(marked_pulses(sheet.marks.pulse, baselines, x_mm, scale.px_per_mm, ink.factor))
    if scale.found:
        others.append(find_roofs(ink.darkness, ink.level, tracks, x_mm, scale, (float(box[0]), float(box[2]))))
    for other in others:
        if other is not None and (
            found is None or (other.rows > found.rows and _most_usual(found, scale) <= _most_usual(other, scale))
        ):
            found = other
    return found


def _most_usual(pulse: Calibration, scale: PaperScale) -> bool:
    """Whether a pulse is 10 mm high and, where it is whole, 5 mm wide."""
    tall, wide = pulse.height_px / scale.px_per_mm[1], pulse.right - pulse.left
    return abs(np.log(tall / 10.0)) < 0.1 and (pulse.cut or abs(np.log(wide / 5.0)) < 0.25)


def _gain(pulse: Calibration | None, scale: PaperScale) -> tuple[float, bool, float]:
    """Gain in mm/mV, whether it is known, and px per mV."""
    mm = scale.px_per_mm[1]
    if pulse is None:
        return 10.0, False, 10.0 * mm
    tall = pulse.height_px / mm
    gain = min(GAINS_MM_MV, key=lambda value: abs(np.log(tall / value)))
    if not scale.found:
        return 10.0, False, pulse.height_px
    if abs(np.log(tall / gain)) < 0.12:
        return gain, True, gain * mm
    return 10.0, False, 10.0 * mm


def _speed(pulse: Calibration | None, scale: PaperScale, extent: Extent) -> tuple[float, bool]:
    if not scale.found:
        return 25.0, False
    length = extent.length
    wide = None if pulse is None or pulse.cut else pulse.right - pulse.left
    if wide is not None and wide > 7.5 and length > 400:
        return 50.0, True
    return 25.0, wide is not None or abs(length / 250 - 1) < 0.1


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


def _strokes(sheet: Sheet, tracks: Tracks, factor: float) -> FloatArray | None:
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


def _foreign(sheet: Sheet, tracks: Tracks, strokes: FloatArray | None, factor: float) -> NDArray[np.bool_] | None:
    """Columns in which a curve is hardly a trace to the network, but print or a stroke between leads, (n_rows, w)."""
    if sheet.marks is None or strokes is None:
        return None
    near = cv2.dilate(sheet.marks.text, np.ones((3, 3), np.uint8))
    rows, columns = np.nonzero(np.isfinite(tracks.y))
    y = np.clip(((tracks.y[rows, columns] + 0.5) / factor).astype(int), 0, near.shape[0] - 1)
    x = np.clip(((columns + 0.5) / factor).astype(int), 0, near.shape[1] - 1)
    out = np.zeros(tracks.y.shape, dtype=bool)
    out[rows, columns] = near[y, x] > 255 * _MARKED
    return np.asarray((out | (strokes > _MARKED)) & (tracks.weight < _HARDLY))


def _hardly(tracks: Tracks) -> NDArray[np.bool_]:
    """Columns in which a curve is not quite sure, (n_rows, w)."""
    return np.asarray(np.isfinite(tracks.y) & (tracks.weight < _NOT_QUITE))


def _along(tracks: Tracks, scale: PaperScale) -> FloatArray:
    """Millimetres of every fine column in each row, (n_rows, w)."""
    x = np.arange(tracks.y.shape[1], dtype=np.float64)
    out = []
    for y in tracks.y:
        known = y[np.isfinite(y)]
        level = median(known) if known.size else 0.0
        out.append(np.maximum.accumulate(scale.x_mm(x, np.full(x.size, level))))
    return np.stack(out)


def _shown_s(stretches: tuple[Stretch, ...], otherwise: float) -> float:
    """Seconds that a page shows; what was thought where its columns do not say otherwise."""
    shown = max((s.start_s + s.length_s for s in stretches), default=otherwise)
    return otherwise if abs(shown - otherwise) < 0.02 * otherwise else shown


def _stretches(
    layout: Layout, extent: Extent, columns: Columns, duration: float, x_mm: FloatArray
) -> tuple[Stretch, ...]:
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
