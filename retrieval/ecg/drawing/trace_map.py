"""Trace maps drawn straight from a record: what `read_page` would leave of a good page, a hundred times faster.

A trace map is uint8 (256, 512), 255 = ink, 0 = paper; `page.read_page` makes the same from any picture. The width of
the traces (with the calibration pulse, where there is one) fills 512 px; the scale is the same in both directions
unless the rows would not fit into 256 px, then the height alone is squeezed; the rows are centred.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.drawing.geometry import PageGeometry, page_geometry
from ecgkin.retrieval.ecg.drawing.style import LAYOUTS, RenderStyle
from ecgkin.retrieval.ecg.drawing.traces import trace_groups
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError

MAP_HEIGHT, MAP_WIDTH = 256, 512
_SHIFT = 4  # OpenCV's fixed-point bits: 1/16 px
_FAR_PX = 4e6  # amplitudes in a wrong unit lie far off the map: points stay within 32 bits

# How often a training drawing takes each layout. Most archives print 3x4 with one rhythm strip (field.md section 1).
LAYOUT_SHARES = {"3x4+1R": 0.42, "3x4": 0.12, "3x4+3R": 0.12, "6x2": 0.17, "12x1": 0.17}


@dataclass(frozen=True, slots=True)
class MapDamage:
    """What page reading leaves undone: how a training map differs from a perfect one. All zeros: a clean map."""

    crop: float = 0.0  # share of the width by which the crop may be off on each side
    squeeze: float = 0.0  # relative error of the height
    tilt_deg: float = 0.0
    bow: float = 0.0  # share of the height by which rows may be bent
    shift_s: float = 0.0  # the page may begin this much later in the record
    gaps: float = 0.0  # chance of holes where ink was lost
    specks: float = 0.0  # chance of left-over specks, letters and lines
    blur: float = 0.0  # chance of a soft picture
    noise_mv: float = 0.0
    row_jitter: float = 0.0  # relative spread of row distances


CLEAN = MapDamage()
TRAINING = MapDamage(0.03, 0.12, 1.0, 0.012, 0.4, 0.35, 0.6, 0.3, 0.01, 0.1)


def random_style(rng: np.random.Generator) -> RenderStyle:
    """A page style as archives have them; the colours do not matter for a trace map."""
    names = list(LAYOUT_SHARES)
    layout = str(rng.choice(names, p=list(LAYOUT_SHARES.values())))
    fast = rng.random() < 0.12
    strips = LAYOUTS[layout][1]
    rhythm: tuple[str, ...] | None = None
    if strips == 1 and rng.random() < 0.15:
        rhythm = (str(rng.choice(["V1", "V5", "I"])),)
    return RenderStyle(
        layout=layout,
        order="cabrera" if rng.random() < 0.12 else "standard",
        speed_mm_s=50.0 if fast else 25.0,
        window_s=5.0 if fast and rng.random() < 0.7 else 10.0,
        gain_mm_mv=float(rng.choice([10.0, 5.0, 20.0], p=[0.92, 0.05, 0.03])),
        gain_chest_mm_mv=5.0 if rng.random() < 0.02 else None,
        simultaneous=bool(rng.random() < 0.08),
        rhythm_leads=rhythm,
        row_spacing_mm=float(rng.uniform(20, 40) if layout != "12x1" else rng.uniform(11, 22)),
        calibration=str(rng.choice(["left", "right", "none"], p=[0.45, 0.1, 0.45])),  # type: ignore[arg-type]
    )


def draw_trace_map(
    record: EcgRecord,
    style: RenderStyle | None = None,
    damage: MapDamage = CLEAN,
    rng: np.random.Generator | None = None,
) -> NDArray[np.uint8]:
    """Draw the trace map of a record.

    Args:
        record: The ECG; missing leads stay blank. Never modified.
        style: Layout, order, speed, gains, row distance; None for the default page.
        damage: Faults to add; needs `rng`.
        rng: Source of chance.

    Returns:
        uint8 (256, 512), 255 = ink.

    Raises:
        RecordError: The style shows nothing of the record.
    """
    style = style or RenderStyle()
    rng = rng or np.random.default_rng(0)
    if damage.shift_s:
        room = max(0.0, record.duration_s - style.window_s)
        style = replace(style, start_s=float(min(rng.uniform(0, damage.shift_s), room + 0.3)))
    geometry = page_geometry(style)
    lines, weights = _lines(record, style, geometry, damage, rng)
    xy = np.concatenate(lines)
    left = min(geometry.trace_x_mm, float(xy[:, 0].min()))
    right = geometry.trace_x_mm + geometry.trace_width_mm
    if style.calibration == "left":
        left = min(left, geometry.calibrations[0][0][0])
    elif style.calibration == "right":
        right = geometry.calibrations[0][-1][0]
    width = right - left
    left -= rng.uniform(-0.3, 1) * damage.crop * width
    right += rng.uniform(-0.3, 1) * damage.crop * width
    top, bottom = float(xy[:, 1].min()) - 1.5, float(xy[:, 1].max()) + 1.5
    scale_x = MAP_WIDTH / (right - left)
    scale_y = scale_x * (1 + rng.uniform(-1, 1) * damage.squeeze)
    scale_y = min(scale_y, MAP_HEIGHT / (bottom - top))
    offset_y = (MAP_HEIGHT - (bottom - top) * scale_y) / 2
    tilt = np.tan(np.radians(rng.uniform(-1, 1) * damage.tilt_deg))
    bow = rng.uniform(-1, 1) * damage.bow * MAP_HEIGHT

    canvas = np.zeros((MAP_HEIGHT, MAP_WIDTH), dtype=np.uint8)
    # OpenCV's thinnest smooth line covers about 1.4 px, which is what a 0.3 mm stroke leaves at 2 px/mm.
    thickness = 1 if not damage.blur or rng.random() < 0.8 else 2
    middle = MAP_WIDTH / 2
    for line, weight in zip(lines, weights, strict=True):
        x = (line[:, 0] - left) * scale_x
        y = (line[:, 1] - top) * scale_y + offset_y
        if tilt or bow:
            u = (x - middle) / middle
            y = y + tilt * (x - middle) + bow * (1 - u * u)
        points = (np.stack([x, y], axis=1).clip(-_FAR_PX, _FAR_PX) * (1 << _SHIFT)).astype(np.int32)
        cv2.polylines(canvas, [points], False, weight, thickness, cv2.LINE_AA, _SHIFT)
    if damage.specks and rng.random() < damage.specks:

        def to_px(x_mm: float, y_mm: float) -> tuple[int, int]:
            return int((x_mm - left) * scale_x), int((y_mm - top) * scale_y + offset_y)

        _specks(canvas, geometry, to_px, rng)
    if damage.gaps and rng.random() < damage.gaps:
        _gaps(canvas, rng)
    if damage.blur and rng.random() < damage.blur:
        canvas = cv2.GaussianBlur(canvas, (0, 0), float(rng.uniform(0.4, 1.0)))  # type: ignore[assignment]
    if damage.blur:
        canvas = cv2.convertScaleAbs(canvas, alpha=float(rng.uniform(0.8, 1.5)))  # type: ignore[assignment]
    return canvas


def _lines(
    record: EcgRecord, style: RenderStyle, geometry: PageGeometry, damage: MapDamage, rng: np.random.Generator
) -> tuple[list[NDArray[Any]], list[int]]:
    """All polylines in mm, and how dark each is."""
    if damage.noise_mv:
        noise = rng.standard_normal(record.signal_mv.shape, dtype=np.float32) * (damage.noise_mv * rng.random())
        record = replace(record, signal_mv=record.signal_mv + noise)
    row_shift = rng.normal(0, damage.row_jitter, len(geometry.row_y_mm)) * geometry.row_spacing_mm
    lines: list[NDArray[Any]] = []
    for panels, points in trace_groups(record, style, geometry):
        for panel, line in zip(panels, points, strict=True):
            shifted = np.asarray(line, dtype=np.float64)
            shifted[:, 1] += row_shift[panel.row]
            lines.append(shifted)
    if not lines:
        raise RecordError(
            f"nothing of the record ({record.duration_s:g} s) lies in the page's window from {style.start_s:g} s on",
            hint="choose an earlier start_s",
        )
    weights = [255] * len(lines)
    for row, pulse in enumerate(geometry.calibrations):
        lines.append(np.asarray(pulse, dtype=np.float64) + np.array([0.0, row_shift[row]]))
        weights.append(255)
    if style.lead_separators and damage.specks and rng.random() < 0.5:
        for x, y_top, y_bottom in geometry.separators:
            lines.append(np.array([[x, y_top], [x, y_bottom]]))
            weights.append(255)
    return lines, weights


def _specks(
    canvas: NDArray[np.uint8],
    geometry: PageGeometry,
    to_px: Callable[[float, float], tuple[int, int]],
    rng: np.random.Generator,
) -> None:
    """Letters of lead names, dots and line pieces that page reading took for traces."""
    height, width = canvas.shape
    if rng.random() < 0.6:
        size = float(rng.uniform(0.2, 0.32))
        lift, along = rng.uniform(-10, 8), rng.uniform(-2, 6)
        for panel in geometry.panels:
            at = to_px(panel.x_mm + along, panel.baseline_y_mm + lift)
            cv2.putText(canvas, panel.label, at, cv2.FONT_HERSHEY_SIMPLEX, size, 255, 1, cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 25))):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        cv2.circle(canvas, (x, y), int(rng.integers(0, 2)), int(rng.integers(60, 255)), -1)
    for _ in range(int(rng.integers(0, 4))):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        dx, dy = (int(rng.integers(5, 60)), 0) if rng.random() < 0.6 else (0, int(rng.integers(5, 30)))
        cv2.line(canvas, (x, y), (x + dx, y + dy), int(rng.integers(40, 200)), 1)


def _gaps(canvas: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Holes: vertical and horizontal stripes where a crease or a grid line took the ink with it."""
    height, width = canvas.shape
    for _ in range(int(rng.integers(1, 12))):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        w, h = (int(rng.integers(1, 5)), int(rng.integers(10, 100))) if rng.random() < 0.6 else (
            int(rng.integers(10, 100)), int(rng.integers(1, 3)))  # fmt: skip
        canvas[y : y + h, x : x + w] //= int(rng.integers(1, 5))
    if rng.random() < 0.15:
        x, w = int(rng.integers(0, width)), int(rng.integers(10, 80))
        canvas[:, x : x + w] = 0
