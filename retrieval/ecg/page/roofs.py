"""Calibration pulses seen in the ink of a page: level roofs of a usual height over the rows, with edges that fall.

The curves that are followed (`calibration.find_pulses`) say nothing of a pulse beside which no curve runs, whose pale
edges broke, or that the border of the picture cuts. The roof of a pulse stays: it is level, short, and ends at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.calibration import GAINS_MM_MV, Calibration
from ecgkin.retrieval.ecg.page.scale import PaperScale
from ecgkin.retrieval.ecg.page.tracks import Tracks

ByteImage = NDArray[np.uint8]
FloatArray = NDArray[np.float64]

_OUTSIDE_MM, _INSIDE_MM = 20.0, 14.0  # how far from the ends of the traces roofs are looked for
_LENGTH_MM = (1.6, 12.0)
_WHOLE_MM = (5.0, 10.0)  # 0.2 s at 25 and at 50 mm/s
_LEAST_BETWEEN_MM, _LEAST_OPEN_MM = 3.3, 2.2  # length of a roof between two edges, and with one or none
_HEIGHT = 0.09  # log of the height over that of a usual gain
_ALIKE_MM = 1.0  # roofs of one pulse end as near to one another, row by row
_NEAR_MM = 40.0  # of a row: what tells its level
_BROKEN_MM = 1.6  # longest gap in an edge
_PALE = 0.7  # of the level of ink: what an upright stroke may be
_EDGE = 0.8  # share of the lines below a roof's end that hold ink where an edge falls there
_AT_BORDER_MM = 1.0
_HOLLOW = 0.3  # most of the lines below a roof that hold ink half way between its edges


@dataclass(frozen=True, slots=True)
class _Roof:
    """A level stroke over a row: its ends and height above the row's level, and what falls from its ends."""

    row: int
    left_mm: float
    right_mm: float
    gain: float
    tall_mm: float
    edges: tuple[bool, bool]
    cut: tuple[bool, bool]
    hollow: bool


def find_roofs(
    darkness: ByteImage,
    level: float,
    tracks: Tracks,
    x_mm: FloatArray,
    scale: PaperScale,
    area: tuple[float, float],
) -> Calibration | None:
    """The pulse whose roofs stand over the rows at one place, or over one row with both of its edges; or None.

    Args:
        darkness: 0 = paper, 255 = middle of a stroke, uint8 (h, w), fine px.
        level: Darkness from which on something is ink.
        tracks: Curves of the rows.
        x_mm: Millimetres of every fine column in each row, (n_rows, w).
        scale: Millimetres of the paper.
        area: Left and right end of the traces, fine px.
    """
    n_rows = x_mm.shape[0]
    best: Calibration | None = None
    for at_end in (False, True):
        roofs = _roofs(darkness, level, tracks, x_mm, scale, area, at_end)
        group = _largest(roofs, at_end)
        rows = len({roof.row for roof in group})
        whole = [roof for roof in group if _is_whole(roof)]
        if rows >= max(2, 0.5 * n_rows):
            # Without an edge anywhere only the most usual height will do, in most rows.
            edged = sum(any(roof.edges) for roof in group)
            if not edged and (group[0].gain != GAINS_MM_MV[0] or rows < 0.6 * n_rows):
                continue
            if group[0].gain == GAINS_MM_MV[1] and edged < 2:
                continue
        elif not any(roof.gain == GAINS_MM_MV[0] and (_is_whole(roof) or _is_half(roof, at_end)) for roof in group):
            continue
        if best is not None and best.rows >= rows:
            continue
        sides = np.median([(roof.left_mm, roof.right_mm, roof.tall_mm) for roof in whole or group], axis=0)
        places = np.full(n_rows, np.nan)
        for roof in group:
            places[roof.row] = (roof.left_mm + roof.right_mm) / 2
        best = Calibration(
            float(sides[0]), float(sides[1]), float(sides[2] * scale.px_per_mm[1]), at_end, rows, places,
            cut=not whole,
        )  # fmt: skip
    return best


def _is_whole(roof: _Roof) -> bool:
    """Whether a roof has both edges, nothing between them, and the width of a pulse."""
    wide = roof.right_mm - roof.left_mm
    usual = min(abs(np.log(wide / whole)) for whole in _WHOLE_MM) < 0.28  # corners are round
    return all(roof.edges) and roof.hollow and usual


def _is_half(roof: _Roof, at_end: bool) -> bool:
    """Whether a roof comes from outside of the picture and falls at its other end."""
    outer, inner = (1, 0) if at_end else (0, 1)
    return roof.cut[outer] and roof.edges[inner] and roof.hollow and roof.right_mm - roof.left_mm > 2.0


def _largest(roofs: list[_Roof], at_end: bool) -> list[_Roof]:
    """Roofs of one height that end at one place, one a row: of the most rows, those with the most edges."""
    best: list[_Roof] = []
    rank = (0, 0)
    for entry in roofs:
        side = "left_mm" if at_end else "right_mm"
        group: dict[int, _Roof] = {}
        for roof in roofs:
            off = abs(getattr(roof, side) - getattr(entry, side))
            if roof.gain != entry.gain or off > _ALIKE_MM or abs(np.log(roof.tall_mm / entry.tall_mm)) > _HEIGHT:
                continue
            other = group.get(roof.row)
            if other is None or sum(roof.edges) > sum(other.edges):
                group[roof.row] = roof
        mine = (len(group), sum(sum(roof.edges) for roof in group.values()))
        if mine > rank:
            rank, best = mine, list(group.values())
    return best


def _roofs(
    darkness: ByteImage,
    level: float,
    tracks: Tracks,
    x_mm: FloatArray,
    scale: PaperScale,
    area: tuple[float, float],
    at_end: bool,
) -> list[_Roof]:
    """Level strokes of a pulse's size near one end of the rows, each with the rows under it that fit."""
    mm_x, mm_y = scale.px_per_mm
    width = darkness.shape[1]
    end = area[1] if at_end else area[0]
    before, behind = (_INSIDE_MM, _OUTSIDE_MM) if at_end else (_OUTSIDE_MM, _INSIDE_MM)
    first, last = max(0, round(end - before * mm_x)), min(width, round(end + behind * mm_x))
    least = max(4, round(_LENGTH_MM[0] * mm_x))
    if last - first < 2 * least:
        return []
    dark = np.ascontiguousarray(darkness[:, first:last])
    pale = np.asarray(cv2.threshold(dark, _PALE * level, 255, cv2.THRESH_BINARY)[1], dtype=np.uint8)
    inked = cv2.threshold(dark, level - 1, 255, cv2.THRESH_BINARY)[1]
    part = np.asarray(cv2.morphologyEx(inked, cv2.MORPH_CLOSE, np.ones((1, 3), np.uint8)), dtype=np.uint8)
    runs = cv2.morphologyEx(cv2.dilate(part, np.ones((3, 1), np.uint8)), cv2.MORPH_OPEN, np.ones((1, least), np.uint8))
    count, _, stats, _ = cv2.connectedComponentsWithStats(runs, connectivity=8, ltype=cv2.CV_32S)
    levels = _levels(tracks, x_mm, mm_x, end, at_end)
    thick = 2.2 * tracks.stroke + 4 + 0.2 * mm_y
    out = []
    for x, y, wide, tall, _ in stats[1:count].tolist():
        if wide > _LENGTH_MM[1] * mm_x or tall > thick:
            continue
        cut = (first + x < _AT_BORDER_MM * mm_x, first + x + wide > width - _AT_BORDER_MM * mm_x)
        roof_y = y + (tall - 1) / 2
        for row, foot in enumerate(levels):
            if not np.isfinite(foot) or foot <= roof_y:
                continue
            middle = np.full(2, first + x + wide / 2)
            mm = scale.y_mm(middle, np.array([roof_y, foot]))
            high_mm = float(mm[1] - mm[0])
            found = _over_row((part, pale), (x, y, wide, tall), float(foot), high_mm, (mm_x, mm_y), tracks.stroke)
            if found is None:
                continue
            gain, tall_mm, edges, hollow = found
            length = (wide - tracks.stroke) / mm_x
            if length < (_LEAST_BETWEEN_MM if all(edges) else 0.0 if any(cut) else _LEAST_OPEN_MM):
                continue  # the top of a beat, or of a wave
            if not all(edge or away for edge, away in zip(edges, cut, strict=True)) and not _open(
                part, (x, y, wide, tall), edges, cut, (mm_x, mm_y)
            ):
                continue
            ends = np.array([first + x + tracks.stroke / 2, first + x + wide - 1 - tracks.stroke / 2])
            left, right = np.interp(ends, np.arange(width), x_mm[row])
            out.append(_Roof(row, float(left), float(right), gain, tall_mm, edges, cut, hollow))
    return out


def _levels(tracks: Tracks, x_mm: FloatArray, mm_x: float, end: float, at_end: bool) -> FloatArray:
    """Level of every row near one of its ends, fine px, NaN where it shows nothing."""
    near = round(_NEAR_MM * mm_x)
    columns = slice(max(0, round(end) - near), round(end)) if at_end else slice(round(end), round(end) + near)
    out = np.full(x_mm.shape[0], np.nan)
    for row, y in enumerate(tracks.y[:, columns]):
        known = y[np.isfinite(y)]
        if known.size > 0.2 * near:
            out[row] = float(np.median(known))
    return out


def _over_row(
    inks: tuple[ByteImage, ByteImage],
    box: tuple[int, int, int, int],
    foot: float,
    mm: float,
    per_mm: tuple[float, float],
    stroke: float,
) -> tuple[float, float, tuple[bool, bool], bool] | None:
    """Gain and height in mm of a roof over a row, whether edges fall from its ends, and whether it is hollow.

    Args:
        inks: What is ink, 0 or 255, and what may be: upright strokes are paler than level ones.
        box: Left, top, width, height of the roof.
        foot: Level of the row, px.
        mm: Height of the roof above it.
        per_mm: Scale along and across the rows.
        stroke: Thickness of a stroke.
    """
    mm_x, mm_y = per_mm
    if not 0.6 * GAINS_MM_MV[1] < mm < 1.4 * max(GAINS_MM_MV):
        return None
    part, pale = inks
    x, y, wide, tall = box
    reach = round(0.6 * mm_x + stroke / 2)
    top = y + tall
    ends = []
    fallen = []
    for at in (x, x + wide - 1):
        strip = _down(pale[top : round(foot) + round(3.0 * mm_y)], at, reach)
        free = max(2, round(_BROKEN_MM * mm_y))
        gaps = np.convolve(~strip, np.ones(free), mode="valid") > free - 0.5
        length = int(gaps.argmax()) if gaps.any() else strip.size
        inside = strip[: max(1, round(foot) - top)]
        ends.append(bool(inside.mean() >= _EDGE))
        fallen.append((length + tall / 2 - stroke / 2) / mm_y)
    # The level of the row, which may not be the pulse's own, or where its edges end.
    heights = [mm, *(fall for fall, edge in zip(fallen, ends, strict=True) if edge or fall > 0.5 * mm)]
    choices = [(abs(np.log(max(h, 0.1) / gain)), gain, h) for h in heights for gain in GAINS_MM_MV]
    away, gain, best = min(choices)
    if away > _HEIGHT:
        return None
    if best != mm:
        ends = [fall > (1.0 - 1.2 * _HEIGHT) * best for fall in fallen]
    a, b = x + round(0.3 * wide), x + round(0.7 * wide) + 1
    under = part[top + round(0.6 * mm_y) : max(top + 1, round(top + (best - 1.5) * mm_y)), a:b].any(axis=1)
    hollow = not under.size or float(under.mean()) <= _HOLLOW
    return gain, float(best), (ends[0], ends[1]), hollow


def _down(part: ByteImage, at: int, reach: int) -> NDArray[np.bool_]:
    """Whether each line holds ink near a stroke that begins at a column and may lean."""
    out = np.zeros(part.shape[0], dtype=bool)
    place = float(at)
    for line, values in enumerate(part):
        first = max(0, round(place) - reach)
        inked = np.flatnonzero(values[first : round(place) + reach + 1])
        if inked.size:
            out[line] = True
            place += float(np.clip(first + inked.mean() - place, -0.5, 0.5))
    return out


def _open(
    part: ByteImage,
    box: tuple[int, int, int, int],
    edges: tuple[bool, bool],
    cut: tuple[bool, bool],
    per_mm: tuple[float, float],
) -> bool:
    """Whether ends of a roof without an edge lie in the open: the top of a wave goes on slanting there."""
    mm_x, mm_y = per_mm
    x, y, wide, tall = box
    lines = slice(max(0, round(y - mm_y)), round(y + tall + 3.0 * mm_y))
    for side, (edge, away) in enumerate(zip(edges, cut, strict=True)):
        if edge or away:
            continue
        at = x - round(1.6 * mm_x) if side == 0 else x + wide + round(0.6 * mm_x)
        beside = part[lines, max(0, at) : max(0, at + round(mm_x))]
        if beside.size and beside.any(axis=0).mean() > 0.35:
            return False
    return True
