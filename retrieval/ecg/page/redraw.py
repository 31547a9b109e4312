"""The trace map of a page that was understood: its curves redrawn as `draw_trace_map` draws a record.

Programs and machines place the same ten seconds differently: rows nearer or farther, columns with gaps, a pulse or
none, 25 or 50 mm/s, names on top of the traces. The image tower should see the ECG and not the stationery, so each
stretch of a lead is moved to where the default page of its layout has it, at 25 mm/s and 10 mm/mV, behind a pulse.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.drawing.geometry import PageGeometry, page_geometry
from ecgkin.retrieval.ecg.drawing.style import RenderStyle
from ecgkin.retrieval.ecg.page.curves import Curves, Spans, find_spans, polylines, trace_curves, without_ticks
from ecgkin.retrieval.ecg.page.pieces import page_side
from ecgkin.retrieval.ecg.page.pulse import Pulse, find_pulse
from ecgkin.retrieval.ecg.page.rows import CORRIDOR, TraceRows

ByteImage = NDArray[np.uint8]
FloatArray = NDArray[np.float64]

MAP_HEIGHT, MAP_WIDTH = 256, 512
_SHIFT = 4  # OpenCV's fixed-point bits: 1/16 px
# A row that was followed over less than this share of its length is not understood.
LEAST_FOLLOWED = 0.6
ROW_MM = 250.0  # ten seconds at 25 mm/s
MOST_MISFIT = 0.3  # log of how far a page may be from 250 or 500 mm of traces: one with its end cut off is shorter
GAINS_MM_MV = (2.5, 5.0, 10.0, 20.0)


@dataclass(frozen=True, slots=True)
class Redrawn:
    """A page redrawn.

    Attributes:
        trace_map: uint8 (256, 512).
        layout: The layout that was drawn: "12x1" where all columns of a page show the same ten seconds.
        px_per_mm: Scale of the straightened page, None where the grid does not tell it.
        speed_mm_s: Paper speed, None where grid and pulse do not tell it.
        gain_mm_mv: Height of a millivolt, None where grid and pulse do not tell it.
        pulse: The calibration pulse, None where none was seen.
    """

    trace_map: ByteImage
    layout: str
    px_per_mm: float | None
    speed_mm_s: float | None
    gain_mm_mv: float | None
    pulse: Pulse | None


def redraw(rows: TraceRows, layout: str, pitch: float | None) -> Redrawn | None:
    """The page redrawn, or None where it was not understood well enough for that.

    Args:
        rows: Rows of traces of a straightened page.
        layout: As `guess_layout` says.
        pitch: Distance of grid lines, px, None when no grid was seen.

    Returns:
        The trace map and what was understood, or None.
    """
    if layout == "other":
        return None
    side = page_side(rows.ink.shape)
    half = max(3, round(CORRIDOR * side))
    curves = trace_curves(rows.trace, rows.baselines, half)
    pulse = find_pulse(rows.solid, rows.baselines, rows.left, rows.right, curves.stroke_px)
    scales = () if pitch is None else (pitch, pitch / 5)
    swing = curves.bottom - curves.top
    spans = find_spans(curves.middle, swing, layout, pulse, curves.stroke_px, scales, (rows.left, rows.right))
    if spans is None:
        return None
    if pulse is not None:
        # The edges of a pulse are no part of a lead.
        first, last = round(pulse.left - curves.stroke_px) - 1, round(pulse.right + curves.stroke_px) + 1
        curves.top[:, max(0, first) : last + 1] = curves.bottom[:, max(0, first) : last + 1] = np.nan
    inner = sorted({left for _, column, left, _ in spans.panels if column})
    without_ticks(curves.top, curves.bottom, rows.baselines, inner, side)
    followed = [
        float(np.isfinite(curves.top[row, round(left) : round(right)]).mean()) for row, _, left, right in spans.panels
    ]
    if min(followed) < 0.3 or np.mean(followed) < LEAST_FOLLOWED:
        return None
    px_per_mm, together = page_scale(spans, pulse, scales)
    widths = [right - left for _, _, left, right in spans.panels]
    per_mm_x = (float(np.mean(widths)) if together else spans.right - spans.left) / ROW_MM
    per_mm_y, gain = _voltage_scale(per_mm_x, pulse, px_per_mm)
    drawn = "12x1" if together else layout
    speed = None
    if pulse is not None and px_per_mm is not None and gain is not None:
        wide_mm = (pulse.right - pulse.left) / px_per_mm
        speed = next((25.0 * k for k in (1, 2) if abs(np.log(wide_mm / (5.0 * k))) < 0.2), None)
    return Redrawn(_draw(curves, spans, drawn, together, per_mm_y, side), drawn, px_per_mm, speed, gain, pulse)


def pulse_stands(rows: TraceRows, pulse: Pulse | None) -> bool | None:
    """Whether the calibration pulses of a page stand on their rows; False where they hang, None where none are seen.

    Pulses that hang are those of a page that is upside down.

    Args:
        rows: Rows of traces of a straightened page.
        pulse: As `redraw` saw it: where it stands in every row, nothing else is looked for.

    Returns:
        True, False or None.
    """
    n, side = len(rows.baselines), page_side(rows.solid.shape)
    if _rows_of(pulse, side) == n:
        return True
    stroke_px = _stroke_px(rows)
    height, width = rows.solid.shape
    over = np.ascontiguousarray(rows.solid[::-1, ::-1])
    baselines = tuple(height - 1 - y for y in reversed(rows.baselines))
    upright = find_pulse(rows.solid, rows.baselines, rows.left, rows.right, stroke_px)
    hanging = find_pulse(over, baselines, width - rows.right, width - rows.left, stroke_px)
    stand, hang = _rows_of(upright, side), _rows_of(hanging, side)
    return None if not stand + hang else stand >= hang


def _rows_of(pulse: Pulse | None, side: int) -> int:
    """In how many rows a pulse was seen; 0 where it is none by its shape.

    Of 5 mm or more, as high as wide: waves and halves of pulses at the edge of a picture are flatter.
    """
    if pulse is None or pulse.height_px < max(0.018 * side, 0.9 * (pulse.right - pulse.left)):
        return 0
    return pulse.rows


def _stroke_px(rows: TraceRows) -> float:
    """Thickness of a stroke: most columns of a row have one that is nearly level."""
    depth = [
        np.count_nonzero(rows.trace[max(0, round(y) - 12) : round(y) + 13, rows.left : rows.right], axis=0)
        for y in rows.baselines
    ]
    inked = np.concatenate(depth)
    return float(np.median(inked[inked > 0])) if inked.any() else 1.0


def page_scale(spans: Spans, pulse: Pulse | None, scales: tuple[float, ...]) -> tuple[float | None, bool]:
    """Px per mm of the page, None where unknown, and whether each column of leads shows all ten seconds.

    A grid has lines every 1 mm or every 5 mm; rows of ten seconds are 250 or 500 mm long, and as long as that once for
    each column where the columns show the same seconds.

    Args:
        spans: Beginning and end of the leads.
        pulse: Of the page, or None.
        scales: Candidates, px a mm.

    Returns:
        The scale, and the flag.
    """
    length = spans.right - spans.left
    columns = 1 + max(column for _, column, _, _ in spans.panels)
    if not scales:
        return None, spans.in_step and spans.gaps
    fits = {(rows_mm, scale): abs(np.log(length / scale / rows_mm)) for rows_mm in (250.0, 500.0) for scale in scales}
    (_, scale), misfit = min(fits.items(), key=lambda item: item[1])
    if spans.in_step and columns > 1:
        whole = min((abs(np.log(length / s / (ROW_MM * columns))), s) for s in scales)
        slow = pulse is None or (pulse.right - pulse.left) / whole[1] < 7.5
        if whole[0] < 0.1 and slow and (whole[0] <= misfit + 0.02):
            return whole[1], True
    return (scale if misfit < MOST_MISFIT else None), False


def _voltage_scale(per_mm_x: float, pulse: Pulse | None, px_per_mm: float | None) -> tuple[float, float | None]:
    """Px for 0.1 mV, by the pulse, else by the grid, else as if ten seconds were 250 mm; and the gain."""
    scale = px_per_mm or per_mm_x
    if pulse is None:
        return scale, None
    tall_mm = pulse.height_px / scale
    gain = min(GAINS_MM_MV, key=lambda value: abs(np.log(tall_mm / value)))
    if abs(np.log(tall_mm / gain)) < 0.08:
        # The grid is longer than the pulse and tells the scale better.
        return scale * gain / 10.0, None if px_per_mm is None else gain
    return (pulse.height_px / 10.0 if px_per_mm is None or pulse.rows >= 3 else scale), None


def _draw(curves: Curves, spans: Spans, layout: str, together: bool, per_mm_y: float, side: int) -> ByteImage:
    geometry = page_geometry(RenderStyle(layout=layout))
    lines: list[FloatArray] = []
    bridge = 0.012 * side
    n_rows = curves.top.shape[0]
    for row, column, left, right in spans.panels:
        place = _place(geometry, layout, row, column, n_rows, together)
        x_mm, width_mm, y_mm = place
        first, last = max(0, round(left)), round(right) + 1
        top, bottom = curves.top[row, first:last], curves.bottom[row, first:last]
        if not np.isfinite(top).any():
            continue
        level = float(np.nanmedian((top + bottom) / 2))
        for line in polylines(top, bottom, bridge):
            moved = np.empty_like(line)
            moved[:, 0] = x_mm + (line[:, 0] + first - left) / (right - left) * width_mm
            moved[:, 1] = y_mm + (line[:, 1] - level) / per_mm_y
            lines.append(moved)
    lines.extend(np.asarray(pulse, dtype=np.float64) for pulse in geometry.calibrations)
    return draw_lines(lines, geometry)


def _place(
    geometry: PageGeometry, layout: str, row: int, column: int, n_rows: int, together: bool
) -> tuple[float, float, float]:
    """Left end, width and baseline of a stretch on the default page, mm."""
    if together:
        panel = geometry.panels[column * n_rows + row]
        return panel.x_mm, panel.width_mm, panel.baseline_y_mm
    for panel in geometry.panels:
        if panel.row == row and (panel.is_rhythm or _column_of(geometry, panel.x_mm, panel.width_mm) == column):
            return panel.x_mm, panel.width_mm, panel.baseline_y_mm
    raise AssertionError(f"{layout} has no panel in row {row}, column {column}")


def _column_of(geometry: PageGeometry, x_mm: float, width_mm: float) -> int:
    return round((x_mm - geometry.trace_x_mm) / width_mm)


def draw_lines(lines: list[FloatArray], geometry: PageGeometry) -> ByteImage:
    """Polylines in mm of a default page as a trace map, framed as `draw_trace_map` frames a record.

    Args:
        lines: Each (n, 2), mm.
        geometry: Of the default page.

    Returns:
        uint8 (256, 512).
    """
    xy = np.concatenate(lines)
    left, right = geometry.calibrations[0][0][0], geometry.trace_x_mm + geometry.trace_width_mm
    top, bottom = float(xy[:, 1].min()) - 1.5, float(xy[:, 1].max()) + 1.5
    scale_x = MAP_WIDTH / (right - left)
    scale_y = min(scale_x, MAP_HEIGHT / (bottom - top))
    offset_y = (MAP_HEIGHT - (bottom - top) * scale_y) / 2
    canvas = np.zeros((MAP_HEIGHT, MAP_WIDTH), dtype=np.uint8)
    for line in lines:
        x, y = (line[:, 0] - left) * scale_x, (line[:, 1] - top) * scale_y + offset_y
        points = (np.stack([x, y], axis=1) * (1 << _SHIFT)).astype(np.int32)
        cv2.polylines(canvas, [points], False, 255, 1, cv2.LINE_AA, _SHIFT)
    return canvas
