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

from ecgkin.retrieval.ecg.leads import LEADS, LIMB_LEADS
from ecgkin.retrieval.ecg.page.corrections import Corrections
from ecgkin.retrieval.ecg.page.counts import median
from ecgkin.retrieval.ecg.page.digitized import Digitized, Stretch, moved_back
from ecgkin.retrieval.ecg.page.einthoven import LAWS, Law, law_db
from ecgkin.retrieval.ecg.page.evidence import doubts, page_evidence
from ecgkin.retrieval.ecg.page.following import Followed, follow_rows
from ecgkin.retrieval.ecg.page.image import load_image
from ecgkin.retrieval.ecg.page.pieces import NOT_ECG
from ecgkin.retrieval.ecg.page.placing import Placed, place_leads, shown_s, stretches_of, strokes_between
from ecgkin.retrieval.ecg.page.prepared import prepare
from ecgkin.retrieval.ecg.page.reading import Look, look_at
from ecgkin.retrieval.ecg.page.sampling import FS_HZ, Sampler, in_step_by_law
from ecgkin.retrieval.ecg.page.scale_text import printed_scale
from ecgkin.retrieval.ecg.page.sheet import Sheet
from ecgkin.retrieval.ecg.page.tracks import Tracks
from ecgkin.retrieval.ecg.page.units import Measured, Units, find_units, measure_paper
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import ImageError
from ecgkin.retrieval.notes import Note, NoteCode

FloatArray = NDArray[np.float64]

_LAWFUL_DB = 6.0  # three quarters of the energy explained
_UNLAWFUL_DB, _MENDED_DB = 14.0, 1.5  # laws that let ends of leads be doubted, and what leaving those out must earn
_MENDED_MORE_DB, _NOT_QUITE = 3.0, 0.9  # the same where nothing but the network's doubt speaks against a curve
_STRUCK_MM, _LEAST_STRUCK_MM, _STRUCK_TIMES, _STRUCK = 1.6, 4.0, 1.3, 0.5  # strokes taken for the ends of leads
_MARKED, _HARDLY = 0.3, 0.75  # likelihood of print or a stroke, and of a trace, of what is none


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
    page = follow_rows(look.ready or prepare(look.sheet), look.sheet.marks)
    sheet, fine, tracks = page.sheet, page.fine, page.tracks
    paper = measure_paper(page)
    units = find_units(paper, known, lambda: printed_scale(sheet))
    if paper.pulse is not None:
        edge = (tracks.stroke + 1) / paper.scale.px_per_mm[0]
        tracks.y[(paper.x_mm >= paper.pulse.left - edge) & (paper.x_mm <= paper.pulse.right + edge)] = np.nan
    strokes = strokes_between(sheet, tracks, fine.factor)
    placed = place_leads(sheet, tracks, fine.factor, paper, units, strokes, (look.reading.layout, known.layout))
    if known.leads:
        called = tuple(replace(stretch, lead=known.called(stretch.lead)) for stretch in placed.stretches)
        placed = replace(placed, stretches=called)
    signals = _signals(page, paper, units, placed, strokes)
    tracks.y[signals.sampler.left_out(signals.stretches)] = np.nan  # curves are shown as far as they are samples
    reading = replace(
        look.reading,
        layout=placed.layout.name,
        leads=tuple(name for name in LEADS if name in {s.lead for s in signals.stretches}),
        speed_mm_s=units.speed_mm_s if units.speed_known else None,
        gain_mm_mv=units.gain_mm_mv if units.gain_known else None,
        warnings=_said(look, paper, units, placed, signals.law_db),
    )
    confidence = _confidence(signals.sampler, signals.stretches, signals.record)
    return Digitized(
        signals.record, reading, confidence, signals.law_db, signals.stretches, tracks, fine, sheet, look.turns
    )


def _said(look: Look, paper: Measured, units: Units, placed: Placed, law_db: float | None) -> tuple[Note, ...]:
    """What is odd about a page: as it was found, less what its curves told, and what they could not tell."""
    warnings = list(look.reading.warnings)
    if not units.gain_known:
        warnings.append(Note(NoteCode.GAIN_ASSUMED))
    if not units.speed_known:
        warnings.append(Note(NoteCode.SPEED_ASSUMED))
    if law_db is not None and law_db < 3.0:
        warnings.append(Note(NoteCode.LIMB_LEADS_CONTRADICT))
    if paper.scale.found:
        warnings = [note for note in warnings if note.code is not NoteCode.GRID_NOT_FOUND]
    if placed.layout.leads and (len(paper.x_mm) > 1 or placed.named):
        warnings = [note for note in warnings if note.code is not NoteCode.LAYOUT_UNKNOWN]
    return tuple(warnings)


@dataclass(frozen=True, slots=True, eq=False)
class _Signals:
    """Samples of a page with their laws, where they were taken, and by what."""

    record: EcgRecord
    law_db: float | None
    stretches: tuple[Stretch, ...]
    sampler: Sampler


def _signals(page: Followed, paper: Measured, units: Units, placed: Placed, strokes: FloatArray | None) -> _Signals:
    """The samples of a page: between the borders, and up to the ends, with which the limb leads keep their laws best.

    Args:
        page: With its curves, less pulses.
        paper: Its scale and ends.
        units: Its speed and gain.
        placed: Its leads.
        strokes: Of `strokes_between`.
    """
    tracks, stretches, duration = page.tracks, placed.stretches, units.duration_s
    shown = shown_s(stretches, duration)

    def sampler(foreign: NDArray[np.bool_] | None = None) -> Sampler:
        return Sampler(tracks, paper.x_mm, paper.scale, units.mm_per_s, units.per_mv, strokes, foreign=foreign)

    def sampled(by: Sampler, where: tuple[Stretch, ...]) -> _Signals:
        by.without_strokes(where)
        signal = by.signals(where, shown, in_step_by_law(by, where))
        record = EcgRecord(signal.astype(np.float32), FS_HZ, LEADS)
        laws = [db for db in _laws(record) if db is not None]
        return _Signals(record, float(np.mean(laws)) if laws else None, where, by)

    def struck(where: tuple[Stretch, ...]) -> NDArray[np.bool_] | None:
        return None if strokes is None else _struck(tracks, strokes, where, paper.scale.px_per_mm)

    first = sampler(struck(stretches))
    late_mm = first.late_borders(stretches)  # by the curves with their strokes
    best = sampled(first, stretches)
    if late_mm and placed.columns is not None:
        parts = placed.columns.parts
        borders = tuple((a + late_mm * (k > 0), b + late_mm * (k < len(parts) - 1)) for k, (a, b) in enumerate(parts))
        again = stretches_of(placed.layout, paper.extent, replace(placed.columns, parts=borders), duration, paper.x_mm)
        moved = tuple(replace(s, lead=old.lead) for s, old in zip(again, stretches, strict=True))
        later = sampled(sampler(struck(moved)), moved)
        if later.law_db is not None and (best.law_db is None or later.law_db > best.law_db):
            best = later
    # Strokes, names and edges of pulses may have been taken for the ends of leads: without them the rest is lawful.
    limbs = tuple(s for s in best.stretches if s.lead in LIMB_LEADS)
    laws = _laws(best.record)
    if min((db for db in laws if db is not None), default=_UNLAWFUL_DB) >= _UNLAWFUL_DB:
        return best
    begun = struck(best.stretches)
    left_out = np.zeros(tracks.y.shape, dtype=bool) if begun is None else begun
    mended = False
    foreign = _foreign(page.sheet, tracks, strokes, page.fine.factor)
    for doubted, earned in ((foreign, _MENDED_DB), (_hardly(tracks), _MENDED_MORE_DB)):
        if doubted is None:
            continue
        without = _laws(sampled(sampler(left_out | doubted), limbs).record)
        leads = _leads_mended(laws, without, earned)
        if leads:
            mended = True
            left_out |= _within(doubted, best.stretches, leads)
            laws = tuple(new if _of(law) <= leads else old for law, old, new in zip(LAWS, laws, without, strict=True))
    return sampled(sampler(left_out), best.stretches) if mended else best


def _leads_mended(laws: tuple[float | None, ...], without: tuple[float | None, ...], earned: float) -> frozenset[str]:
    """Leads whose ends are better left out.

    Args:
        laws: How well the leads keep each of `LAWS`, dB.
        without: The same without the ends that are doubted.
        earned: What leaving them out must earn, dB.

    Returns:
        All leads where the limb leads' laws gain together, those of a law where it alone does, or none.
    """

    def gains(before: Sequence[float], after: Sequence[float]) -> bool:
        now = float(np.mean(before))
        return now < _UNLAWFUL_DB and float(np.mean(after)) >= now + earned

    pairs = [
        (law, old, new)
        for law, old, new in zip(LAWS, laws, without, strict=True)
        if old is not None and new is not None
    ]
    if pairs and gains([old for _, old, _ in pairs], [new for _, _, new in pairs]):
        return frozenset(LEADS)
    return frozenset().union(*(_of(law) for law, old, new in pairs if gains([old], [new])))


def _confidence(sampler: Sampler, stretches: tuple[Stretch, ...], record: EcgRecord) -> dict[str, float]:
    """How sure each lead is: the share of its curve that is sure, less where the limb leads contradict each other.

    A law that holds says that the page was read as it is; one that does not leaves its leads in doubt, and the others a
    little.
    """
    found = _laws(record)
    trust = [1.0 if db is None else float(np.clip(0.6 + 0.4 * db / _LAWFUL_DB, 0.6, 1.0)) for db in found]
    out: dict[str, float] = {}
    for stretch in stretches:
        if stretch.lead in out and stretch.strip:
            continue
        mine = [t for law, t in zip(LAWS, trust, strict=True) if stretch.lead in {name for name, _ in law}]
        factor = mine[0] if mine else 0.5 + 0.5 * float(np.mean(trust))
        out[stretch.lead] = sampler.cover(stretch) * factor
    return out


def _of(law: Law) -> frozenset[str]:
    """The leads of a law."""
    return frozenset(name for name, _ in law)


def _laws(record: EcgRecord) -> tuple[float | None, ...]:
    """How well the limb leads of a record keep each of `LAWS`, dB; None where that cannot be tested."""
    signals = dict(zip(record.leads, record.signal_mv, strict=True))
    return tuple(law_db(signals, law) for law in LAWS)


def _within(flags: NDArray[np.bool_], stretches: tuple[Stretch, ...], leads: frozenset[str]) -> NDArray[np.bool_]:
    """Flags of columns, (n_rows, w), where these leads stand."""
    out = np.zeros_like(flags)
    for s in stretches:
        if s.lead in leads:
            place = slice(max(0, round(s.left)), round(s.right) + 1)
            out[s.row, place] = flags[s.row, place]
    return out


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


def _struck(
    tracks: Tracks, strokes: FloatArray, stretches: tuple[Stretch, ...], px_per_mm: tuple[float, float]
) -> NDArray[np.bool_]:
    """Columns at the ends of leads where a curve follows a stroke between leads, (n_rows, w).

    There it is farther from the lead's level than anywhere else, and to the network a stroke and hardly a trace.

    Args:
        tracks: Curves of the rows.
        strokes: Of `strokes_between`.
        stretches: The leads.
        px_per_mm: Scale along and across the rows.
    """
    out = np.zeros(tracks.y.shape, dtype=bool)
    end = round(_STRUCK_MM * px_per_mm[0])
    for s in stretches:
        place = slice(max(0, round(s.left)), round(s.right) + 1)
        y = tracks.y[s.row, place]
        known = np.isfinite(y)
        if s.strip or y.size <= 6 * end or not known.any():
            continue
        away = np.nan_to_num(np.abs(y - median(y[known])))
        usual = float(away[2 * end : -2 * end].max())
        far = away > max(_LEAST_STRUCK_MM * px_per_mm[1], _STRUCK_TIMES * usual)
        far &= (strokes[s.row, place] > _STRUCK) & (tracks.weight[s.row, place] < _STRUCK)
        far[end:-end] = False
        for side in (slice(0, end), slice(y.size - end, y.size)):
            if far[side].any():  # the stroke's foot as well as its tip
                out[s.row, place][side] = (away[side] > usual) | far[side]
    return out


def _hardly(tracks: Tracks) -> NDArray[np.bool_]:
    """Columns in which a curve is not quite sure, (n_rows, w)."""
    return np.asarray(np.isfinite(tracks.y) & (tracks.weight < _NOT_QUITE))
