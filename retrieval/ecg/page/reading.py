"""Any picture of an ECG -> what the image tower sees, and what was understood of the page."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ecgkin.retrieval.beside import Beside
from ecgkin.retrieval.ecg.page.damage import row_bow, straighten_rows, without_creases
from ecgkin.retrieval.ecg.page.image import LARGEST_FILE, LARGEST_MPX, load_image
from ecgkin.retrieval.ecg.page.ink import (
    has_upright_lines,
    is_dark,
    on_paper,
    paper_normalised,
    quarter,
    sharpened,
    trace_ink,
    without_grid,
    without_lines,
    working_copy,
)
from ecgkin.retrieval.ecg.page.network.segment import FoundName, PageLooks
from ecgkin.retrieval.ecg.page.paper import (
    LineField,
    find_paper,
    flatten,
    grid_pitch,
    inner_mask,
    line_field,
    straighten,
)
from ecgkin.retrieval.ecg.page.pieces import find_pieces
from ecgkin.retrieval.ecg.page.prepared import Prepared, prepare
from ecgkin.retrieval.ecg.page.redraw import Redrawn, pulse_stands, redraw
from ecgkin.retrieval.ecg.page.rows import TraceRows, check_rows, find_rows, guess_layout, has_layout
from ecgkin.retrieval.ecg.page.sheet import Marks, Sheet
from ecgkin.retrieval.errors import ImageError
from ecgkin.retrieval.notes import Note, NoteCode, without

_log = logging.getLogger(__name__)

ByteImage = NDArray[np.uint8]
Matrix = NDArray[np.float64]

__all__ = ["LARGEST_FILE", "LARGEST_MPX", "PageReading", "load_image", "read_page", "to_trace_map"]

MAP_HEIGHT, MAP_WIDTH = 256, 512
_SHARP = 3  # which look at a page is the sharpened one
_SURE_NAME, _LEAST_NAMES = 0.5, 3  # what the network must read before its map alone makes a page
# Of what the network takes for traces, real pages (233 of them) have .9 and more in their rows, and .67 and more of
# their rows' ink is taken for traces; where less is, rows were lost or are none.
_LEAST_TAKEN, _LEAST_RIGHT, _CLEARLY_MORE = 0.8, 0.5, 0.08
_HINTED = 2.5  # by how much what the network says of faint traces is raised
_DOUBTFUL = 0.88  # quality under which a page is looked at again for coloured traces


@dataclass(frozen=True, slots=True, eq=False)
class PageReading:
    """What was understood of a picture.

    Attributes:
        trace_map: uint8 (256, 512), 255 = ink, 0 = paper.
        corners: Corners of the signal area in the picture's px, (4, 2) x and y, top left first, clockwise.
        rotation_deg: How far the page was turned clockwise.
        px_per_mm: Scale of the picture at the page's centre by its grid, None when no grid was seen.
        layout: "3x4", "3x4+1R", "3x4+3R", "6x2", "12x1" or "other".
        n_rows: Rows of traces.
        leads: Names of the leads that such a layout shows, () when unknown.
        quality: 0 (barely readable) to 1.
        warnings: What was odd about the page, as notes with codes (`retrieval.notes`).
        speed_mm_s: Paper speed, None where grid and calibration pulse do not tell it.
        gain_mm_mv: Height of a millivolt, None where grid and calibration pulse do not tell it.
    """

    trace_map: ByteImage
    corners: Matrix
    rotation_deg: float
    px_per_mm: float | None
    layout: str
    n_rows: int
    leads: tuple[str, ...]
    quality: float
    warnings: tuple[Note, ...]
    speed_mm_s: float | None = None
    gain_mm_mv: float | None = None


def read_page(image: Image.Image | NDArray[Any] | str | Path | bytes) -> PageReading:
    """Find, straighten and clean the traces of an ECG page.

    A page that lies on its side or upside down is turned; where it has no calibration pulse, which of its ends is the
    top cannot be told, and the reading of a page on its side says so.

    Args:
        image: PIL image, RGB or gray array, encoded bytes, or a path; never modified.

    Raises:
        ImageError: The picture cannot be read or shows no ECG.
    """
    return look_at(load_image(image), marked=False).reading


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A page found in a picture.

    Attributes:
        reading: What was understood of it.
        sheet: The page straightened, of the picture turned upright.
        turns: Quarter turns counter-clockwise by which the picture was turned.
        stands: Whether its calibration pulses stand (see `pulse_stands`).
        ready: `sheet` made ready for digitising while the network looked at the picture; None where it was not.
    """

    reading: PageReading
    sheet: Sheet
    turns: int
    stands: bool | None
    ready: Prepared | None = None


def look_at(rgb: ByteImage, *, marked: bool = True) -> Look:
    """The page in a picture, turned the right way up.

    Args:
        rgb: uint8 (h, w, 3).
        marked: Ask the network for lead names, print, pulses and strokes, and for traces where their ink is not found.

    Returns:
        What was seen: ink, rows, layout.

    Raises:
        ImageError: The picture shows no ECG.
    """
    if is_dark(rgb):
        look = look_at(on_paper(rgb), marked=marked)
        said = (Note(NoteCode.PAGE_DARK), *look.reading.warnings)
        return replace(look, reading=replace(look.reading, warnings=said))
    try:
        return _upright(rgb, marked)[0]
    except ImageError as error:
        try:
            look, sure = _upright(np.ascontiguousarray(np.rot90(rgb)), marked)
        except ImageError:
            raise error from None
        turned = look.reading
        # Much is a curve in one of two directions: on its side only a clear page counts.
        if turned.n_rows < 3 or turned.quality < 0.75:
            raise
    # np.rot90 turns counter-clockwise: column x of the picture became row (width - 1 - x).
    corners = np.stack([rgb.shape[1] - 1 - turned.corners[:, 1], turned.corners[:, 0]], axis=1)
    said = without(turned.warnings, NoteCode.PAGE_ROTATED, NoteCode.PAGE_UPSIDE_DOWN)
    side = Note(NoteCode.PAGE_ON_ITS_SIDE if sure else NoteCode.PAGE_ON_ITS_SIDE_UNSURE)
    reading = replace(
        turned,
        corners=corners,
        rotation_deg=turned.rotation_deg + (-270.0 if turned.rotation_deg > 90.0 else 90.0),
        warnings=(side, *said),
    )
    return replace(look, reading=reading, turns=look.turns + 1)


def _upright(rgb: ByteImage, marked: bool) -> tuple[Look, bool]:
    """The page read the right way up by its calibration pulses, and whether it had any."""
    look = _read(rgb, marked)
    if look.stands is not False:
        return look, bool(look.stands)
    reading = look.reading
    try:
        over = _read(np.ascontiguousarray(rgb[::-1, ::-1]), marked)
    except ImageError:
        return look, False
    turned = over.reading
    if not over.stands or turned.quality < reading.quality - 0.05:
        return look, False
    said = without(turned.warnings, NoteCode.PAGE_ROTATED)
    turned = replace(
        turned,
        corners=np.array([rgb.shape[1] - 1, rgb.shape[0] - 1]) - turned.corners,
        rotation_deg=turned.rotation_deg + 180.0,
        warnings=(Note(NoteCode.PAGE_UPSIDE_DOWN), *said),
    )
    return replace(over, reading=turned, turns=2), True


def _read(rgb: ByteImage, marked: bool) -> Look:
    """A page taken as it lies."""
    # The network looks at the picture while its ink is found.
    looking = _Looking(rgb) if marked else None
    work, scale = working_copy(rgb)
    warnings: list[Note] = []
    # Pixel centres: working x + 0.5 = scale * (x + 0.5).
    to_work = np.array([[scale, 0.0, 0.5 * scale - 0.5], [0.0, scale, 0.5 * scale - 0.5], [0.0, 0.0, 1.0]])

    small = quarter(work)
    quad, paper = find_paper(small)
    if quad is not None:
        flat, size = flatten((quad + 0.5) * 4 - 0.5)
        work = np.asarray(cv2.warpPerspective(work, flat, size, flags=cv2.INTER_LINEAR), dtype=np.uint8)
        to_work = flat @ to_work
        small = quarter(work)
        paper = np.full(small.shape[:2], 255, dtype=np.uint8)
    mask = None if paper is None else inner_mask(paper, (work.shape[1], work.shape[0]))
    ink, lines = paper_normalised(work, small)
    field = line_field(lines, mask)
    found = _found(looking, _Work(rgb, np.asarray(to_work), scale, ink, lines, mask, field))
    to_work = found.onto @ to_work
    straight, bow, rows, pitch, quality = found.straight, found.bow, found.rows, found.pitch, found.quality
    box = np.array([[rows.left, rows.top], [rows.right, rows.top], [rows.right, rows.bottom], [rows.left, rows.bottom]])
    corners = cv2.perspectiveTransform(box.astype(np.float64)[None], np.linalg.inv(to_work))[0]
    top_side = corners[1] - corners[0]
    rotation = float(np.degrees(np.arctan2(top_side[1], top_side[0])))
    layout, leads, redrawn = found.drawn or _drawn(found)
    found_scale = redrawn.px_per_mm if redrawn else None if pitch is None else _scale(pitch, rows.right - rows.left)
    # Of the picture, not of the straightened copy.
    px_per_mm = (
        None if found_scale is None else found_scale * float(np.linalg.norm(top_side)) / (rows.right - rows.left)
    )
    if pitch is None:
        warnings.append(Note(NoteCode.GRID_NOT_FOUND))
    if quad is not None:
        warnings.append(Note(NoteCode.PAPER_STRAIGHTENED))
    if abs(rotation) > 1.0:
        warnings.append(Note(NoteCode.PAGE_ROTATED, degrees=round(rotation, 1)))
    if layout == "other":
        warnings.append(Note(NoteCode.LAYOUT_UNKNOWN, n_rows=len(rows.baselines)))
    if bow is not None and float(np.ptp(bow, axis=1).max()) > 0.015 * max(straight.shape):
        warnings.append(Note(NoteCode.ROWS_LEVELLED))
    if quality < 0.7:
        warnings.append(Note(NoteCode.TRACES_FAINT))
    if redrawn is None:
        trace_map = to_trace_map(rows.ink[rows.top : rows.bottom, rows.left : rows.right])
    else:
        trace_map = redrawn.trace_map
    reading = PageReading(
        trace_map=trace_map,
        corners=np.asarray(corners, dtype=np.float64),
        rotation_deg=rotation,
        px_per_mm=px_per_mm,
        layout=layout,
        n_rows=len(rows.baselines),
        leads=leads,
        quality=quality,
        warnings=tuple(warnings),
        speed_mm_s=redrawn.speed_mm_s if redrawn else None,
        gain_mm_mv=redrawn.gain_mm_mv if redrawn else None,
    )
    sheet = Sheet(rgb, to_work, bow, rows, found.lines, scale, quality, found.marks, by_network=found.by_network)
    return Look(reading, sheet, 0, pulse_stands(rows, redrawn.pulse if redrawn else None), found.ready)


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    """A picture with its paper flat and its colours parted, at working size, and how the lines on it run."""

    rgb: ByteImage
    to_work: Matrix
    scale: float
    ink: ByteImage
    lines: ByteImage
    mask: ByteImage | None
    field: LineField


@dataclass(frozen=True, slots=True)
class _Found:
    """Traces on the straightened page: its ink, all lines, how it was straightened, the rows, and how sure that is."""

    straight: ByteImage
    lines: ByteImage
    onto: Matrix
    bow: Matrix | None
    rows: TraceRows
    pitch: float | None
    quality: float
    marks: Marks | None = None
    by_network: bool = False
    drawn: tuple[str, tuple[str, ...], Redrawn | None] | None = None
    ready: Prepared | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Learned:
    """What the network says: maps of classes, names, and how both lie on the page before it is straightened."""

    looks: PageLooks
    onto: Matrix  # from the px of its maps to working px
    to_work: Matrix

    def planes(self, onto: Matrix, size: tuple[int, int]) -> ByteImage:
        """Likelihood of traces, pulses, print and strokes, (h, w, 4), moved from working px by a homography."""
        of = self.looks.of
        planes = cv2.merge([of("trace"), of("pulse"), cv2.max(of("text"), of("outside")), of("stroke")])
        return np.asarray(cv2.warpPerspective(planes, onto @ self.onto, size, flags=cv2.INTER_LINEAR), dtype=np.uint8)


class _Looking:
    """The network's look at a picture, beside the search for its ink."""

    def __init__(self, rgb: ByteImage) -> None:
        self._waited_for = False
        self._look = Beside(partial(self._seen, rgb))

    def _seen(self, rgb: ByteImage) -> PageLooks:
        from ecgkin.retrieval.ecg.page.network.segment import look

        return look(rgb, local=False, beside=lambda: not self._waited_for)

    def result(self) -> PageLooks:
        """What it says.

        Raises:
            EcgkinError: As `look`.
        """
        self._waited_for = True
        return self._look.result()


def _drawn(found: _Found) -> tuple[str, tuple[str, ...], Redrawn | None]:
    """Layout by the rows, its leads, and the page redrawn."""
    rows = found.rows
    layout, leads = guess_layout(rows.ink, rows.baselines, rows.left, rows.right)
    return layout, leads, redraw(rows, layout, found.pitch)


def _ahead(found: _Found, work: _Work) -> _Found:
    """With what can be done for the page before the network has spoken."""
    onto = found.onto @ work.to_work
    sheet = Sheet(work.rgb, onto, found.bow, found.rows, found.lines, work.scale, found.quality)
    try:
        ready = prepare(sheet)
    except (ValueError, IndexError, ArithmeticError, np.linalg.LinAlgError, cv2.error):
        ready = None  # whoever digitises the page will meet it again
    return replace(found, drawn=_drawn(found), ready=ready)


def _found(looking: _Looking | None, work: _Work) -> _Found:
    """The traces by their ink, and the lead names by the network; by its map the traces as well where ink tells none.

    Curves followed on the ink were nearer to the truth than curves followed on the network's map or on ink less what
    it takes for print (own pages 20.9 dB against 20.0 and 19.7, LUDB's 20.5, 19.7 and 20.5): its names are what counts.
    """
    if looking is None:
        return _find(work)
    try:
        found = _find(work)
    except ImageError:
        looks = looking.result()
        seen = replace(_find_learned(_learned(looks, work.to_work), work), by_network=True)
        # Charts and tables have lines that look like traces; only an ECG has the names of its leads beside them, or
        # rows that hold nearly all that looks like a trace.
        named = sum(name.score >= _SURE_NAME for name in looks.lead_names) >= _LEAST_NAMES
        if not named and (len(seen.rows.baselines) < 2 or _agreement(seen)[0] < _LEAST_TAKEN):
            raise
        return seen
    found = _ahead(found, work)
    learned = _learned(looking.result(), work.to_work)
    height, width = found.straight.shape
    onto = found.onto @ learned.to_work
    names = tuple(_moved_name(name, onto, found.bow, height) for name in learned.looks.lead_names)
    planes = learned.planes(found.onto, (width, height))
    found = replace(found, marks=_marks(planes if found.bow is None else straighten_rows(planes, found.bow), names))
    taken, right = _agreement(found)
    lost = _rows_named(learned.looks.lead_names) > len(found.rows.baselines)
    if not lost and taken >= _LEAST_TAKEN and right >= _LEAST_RIGHT:
        return found
    # Rows were lost in a dark grid or in shadows, or something else was taken for them.
    try:
        other = replace(_find_learned(learned, work), by_network=True)
    except ImageError:
        return found
    if lost and len(other.rows.baselines) > len(found.rows.baselines):
        return other
    more = _agreement(other)[0] - taken
    return other if more > _CLEARLY_MORE or (right < _LEAST_RIGHT and more > -_CLEARLY_MORE) else found


def _agreement(found: _Found) -> tuple[float, float]:
    """Share of what the network takes for traces that was taken for rows, and share of the rows' ink that it takes for
    traces."""
    marks, trace = found.marks, found.rows.trace
    assert marks is not None
    seen = cv2.threshold(cv2.max(marks.trace, marks.pulse), 128, 255, cv2.THRESH_BINARY)[1]
    near = np.ones((7, 7), np.uint8)
    shared = [
        cv2.countNonZero(cv2.bitwise_and(one, cv2.dilate(other, near))) / max(1, cv2.countNonZero(one))
        for one, other in ((seen, trace), (trace, seen))
    ]
    return shared[0], shared[1]


def _marks(planes: ByteImage, names: tuple[FoundName, ...]) -> Marks:
    trace, pulse, text, stroke = (np.asarray(plane, dtype=np.uint8) for plane in cv2.split(planes))
    return Marks(trace, pulse, text, stroke, names)


def _rows_named(names: tuple[FoundName, ...]) -> int:
    """How many different lead names stand below one another: so many rows a page has at least."""
    sure = [name for name in names if name.score >= _SURE_NAME]
    most = 0
    for name in sure:
        column: list[FoundName] = []
        for other in sorted(sure, key=lambda n: -n.score):
            if abs(other.x - name.x) > 2.5 * name.height_px or other.lead in {n.lead for n in column}:
                continue
            if all(abs(other.y - n.y) > 2.5 * name.height_px for n in column):
                column.append(other)
        most = max(most, len(column))
    return most


def _learned(looks: PageLooks, to_work: Matrix) -> _Learned:
    # Half the network's px (continuous, first middle .5) -> the picture -> working px.
    sx, sy = 2.0 / looks.zoom[0], 2.0 / looks.zoom[1]
    back = np.array([[sx, 0.0, 0.5 * sx - 0.5], [0.0, sy, 0.5 * sy - 0.5], [0.0, 0.0, 1.0]])
    return _Learned(looks, np.asarray(to_work @ back), to_work)


def _find_learned(learned: _Learned, work: _Work) -> _Found:
    """Traces by the network's map of them; where they are faint in it, by what it hints at."""
    try:
        found = _find_hinted(learned, work, 1.0)
    except ImageError:
        return _find_hinted(learned, work, _HINTED)
    if _agreement(found)[0] >= _LEAST_TAKEN:
        return found
    try:
        other = _find_hinted(learned, work, _HINTED)
    except ImageError:
        return found
    return other if _agreement(other)[0] > _agreement(found)[0] + _CLEARLY_MORE else found


def _find_hinted(learned: _Learned, work: _Work, times: float) -> _Found:
    """Traces where the network sees `times` as much of them as it says."""
    ink, field = work.ink, work.field
    planes = learned.planes(np.eye(3), (ink.shape[1], ink.shape[0]))
    trace, pulse, other, _ = cv2.split(planes)
    # Lines of print that look a little like traces are no rows.
    traced = np.asarray(cv2.subtract(cv2.max(trace, pulse), other), dtype=np.uint8)
    traced = np.asarray(cv2.convertScaleAbs(traced, alpha=times), dtype=np.uint8)
    straight, onto = straighten(traced, field.to_picture, field.angle_deg, field.perspective)
    size = (straight.shape[1], straight.shape[0])
    moved = straight is not traced

    def upright(plane: ByteImage) -> ByteImage:
        return np.asarray(cv2.warpPerspective(plane, onto, size) if moved else plane, dtype=np.uint8)

    pieces = find_pieces(straight)
    bow = row_bow(pieces.strands)
    planes = upright(planes)
    if bow is not None:
        straight, planes = straighten_rows(straight, bow), straighten_rows(planes, bow)
        pieces = find_pieces(straight)
    rows = find_rows(pieces)
    # Calibration pulses are told by their edges, for which the network's map is too coarse.
    try:
        sharp = trace_ink(without_creases(upright(ink)))[0]
        sharp = sharp if bow is None else straighten_rows(sharp, bow)
    except ImageError:  # a grid as dark as the traces
        sharp = straight
    names = tuple(_moved_name(name, onto @ learned.to_work, bow, size[1]) for name in learned.looks.lead_names)
    marks = replace(_marks(planes, names), trace=straight)
    drawn = cv2.threshold(cv2.subtract(sharp, marks.text), 90, 255, cv2.THRESH_BINARY)[1]
    rows = replace(rows, solid=np.asarray(cv2.bitwise_or(rows.solid, drawn), dtype=np.uint8))
    lines = upright(work.lines)
    pitch = grid_pitch(lines, straight)
    return _Found(straight, lines, onto, bow, rows, pitch, check_rows(rows, pitch is not None), marks)


def _moved_name(name: FoundName, onto: Matrix, bow: Matrix | None, height: int) -> FoundName:
    """A name with its place on the straightened page, working px (pixel centres are whole numbers)."""
    at = np.array([[[name.x - 0.5, name.y - 0.5]]])
    x, y = cv2.perspectiveTransform(at, onto)[0, 0]
    scale = float(np.sqrt(abs(np.linalg.det(onto[:2, :2]))))
    if bow is not None:
        column = int(np.clip(round(x), 0, bow.shape[1] - 1))
        y -= bow[0, column] + (bow[1, column] - bow[0, column]) * y / height
    return replace(name, x=float(x), y=float(y), height_px=name.height_px * scale)


def _find(work: _Work) -> _Found:
    """Traces by what is dark in every channel.

    A page that shows little so is looked at again: less the lines of a grey grid, then by what is dark in any channel,
    as coloured traces are, then sharpened, as a picture out of focus needs it.
    """
    ink, lines = work.ink, work.lines
    best: _Found | None = None
    refusal: ImageError | None = None
    looks: tuple[tuple[Callable[[], ByteImage], bool], ...] = (
        (lambda: ink, False), (lambda: ink, True), (lambda: lines, True), (lambda: sharpened(ink), False)
    )  # fmt: skip
    for look, (plane, grid_off) in enumerate(looks):
        try:
            found = _find_in(plane(), grid_off, work)
        except ImageError as error:
            refusal = refusal or error
            continue
        # Later looks show more of everything, shadows and print as well: alone they count on a clear page only.
        clear = len(found.rows.baselines) >= 3 and found.quality >= 0.75
        if look == _SHARP:  # which turns ruled paper with a curve on it into rows
            clear &= found.pitch is not None and has_layout(len(found.rows.baselines))
        # Sharpening breaks pale rows: it may not cost one of a page that was understood.
        rows = 0 if best is None or look < _SHARP else len(best.rows.baselines)
        loses = has_layout(rows) and len(found.rows.baselines) < rows
        if (best is None and (clear or look == 0)) or (
            best is not None and found.quality > best.quality + 0.05 and not loses
        ):
            best = found
        if best is not None and best.quality >= _DOUBTFUL:
            break
    if best is None:
        raise refusal or ImageError("the picture shows no traces", hint="give a picture of an ECG page")
    return best


def _find_in(plane: ByteImage, grid_off: bool, work: _Work) -> _Found:
    lines, mask, field = work.lines, work.mask, work.field
    upright, onto = straighten(plane, field.to_picture, field.angle_deg, field.perspective)
    moved = upright is not plane
    size = (upright.shape[1], upright.shape[0])
    if moved:
        mask = np.full(plane.shape, 255, dtype=np.uint8) if mask is None else mask
        mask = np.asarray(cv2.warpPerspective(mask, onto, size, flags=cv2.INTER_NEAREST), dtype=np.uint8)
    smooth = without_creases(upright)
    clean = without_grid(smooth) if grid_off else smooth
    straight, grey = trace_ink(clean, mask)
    if grey > 0.28 or clean is not smooth or has_upright_lines(straight):
        straight = without_lines(straight)
    pieces = find_pieces(straight)
    bow = row_bow(pieces.strands)
    if bow is not None:
        straight = straighten_rows(straight, bow)
        pieces = find_pieces(straight)
    rows = find_rows(pieces)
    moved_lines = cv2.warpPerspective(lines, onto, size) if moved else lines
    pitch = grid_pitch(np.asarray(moved_lines, dtype=np.uint8), straight)
    return _Found(
        straight, np.asarray(moved_lines, dtype=np.uint8), onto, bow, rows, pitch, check_rows(rows, pitch is not None)
    )


def _scale(pitch: float, span: int) -> float:
    """Working px per mm: the grid shows 1 mm or 5 mm boxes, and traces are 250 mm long (10 s at 25 mm/s)."""
    candidates = (pitch, pitch / 5, pitch / 10)
    return min(candidates, key=lambda px: abs(np.log(span / px / 250.0)))


def to_trace_map(ink: ByteImage) -> ByteImage:
    """Ink of the signal area as the image tower sees it.

    Args:
        ink: uint8 (h, w), 255 = middle of a stroke, cropped to the signal area.

    Returns:
        uint8 (256, 512).
    """
    height, width = ink.shape
    new_height = max(1, min(MAP_HEIGHT, round(height * MAP_WIDTH / width)))
    area = cv2.resize(ink, (MAP_WIDTH, new_height), interpolation=cv2.INTER_AREA).astype(np.float32)
    inked = area[area > 40]
    if inked.size:
        area *= 255.0 / max(60.0, float(np.percentile(inked, 75)))
    out = np.zeros((MAP_HEIGHT, MAP_WIDTH), dtype=np.uint8)
    top = (MAP_HEIGHT - new_height) // 2
    out[top : top + new_height] = np.clip(area, 0, 255).astype(np.uint8)
    return out
