"""From samples to the points of a page: the polylines of every panel, for rasters and for vector pages alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.drawing.geometry import PageGeometry, Panel, RenderStyle
from ecgkin.retrieval.ecg.record import EcgRecord

_EDGE = 1e-6  # of a sample: keeps a panel's last sample when 2.5 s * 100 Hz comes out as 249.9999999


@dataclass(frozen=True, slots=True)
class _Pen:
    """How samples become points: units of one sample and of one mm, samples of which two are kept (0: all)."""

    style: RenderStyle
    step: float
    scale: float
    chunk: int


def drawable_leads(record: EcgRecord) -> dict[str, int]:
    """Row of each lead of the record that holds at least one finite sample.

    Args:
        record: Any ECG; its samples are not changed.
    """
    # The sum is finite exactly when every sample is, short of an overflow that the slow look then settles.
    sums = record.signal_mv.sum(axis=1)
    return {
        name: row
        for row, name in enumerate(record.leads)
        if np.isfinite(sums[row]) or np.isfinite(record.signal_mv[row]).any()
    }


def trace_groups(
    record: EcgRecord, style: RenderStyle, geometry: PageGeometry, scale: float = 1.0, finest: float = 0.0
) -> Iterator[tuple[tuple[Panel, ...], NDArray[np.float64]]]:
    """Polylines of all panels, in groups of equal length (so that one array operation serves many panels).

    A panel shows the samples from its start to its end, both included, so that neighbouring stretches meet. It is
    shorter, or absent, where the record ends; it falls into several polylines where samples are not finite.

    Args:
        record: The ECG.
        style: Says gain, speed and centring.
        geometry: `page_geometry(style)`.
        scale: Units per mm of the points: 1 for mm, `px_per_mm` for continuous pixels (see `paper`).
        finest: Where at least three samples fall into this many units, each such stretch is reduced to its lowest
            and its highest sample, in their order and at their own times; 0 keeps every sample.

    Yields:
        Panels and their points (x, y), shape (n_panels, n_points, 2).
    """
    rows = drawable_leads(record)
    groups: dict[int, list[tuple[Panel, int]]] = {}
    for panel in geometry.panels:
        if panel.lead not in rows:
            continue
        first = max(0, ceil(panel.start_s * record.fs_hz - _EDGE))
        last = min(record.n_samples - 1, floor((panel.start_s + panel.length_s) * record.fs_hz + _EDGE))
        if first <= last:
            groups.setdefault(last - first + 1, []).append((panel, first))

    step = style.speed_mm_s / record.fs_hz * scale
    pen = _Pen(style, step, scale, int(finest / step) if finest else 0)
    for length, members in groups.items():
        values = np.empty((len(members), length))
        for index, (panel, first) in enumerate(members):
            values[index] = record.signal_mv[rows[panel.lead], first : first + length]
        panels = tuple(panel for panel, _ in members)
        starts = np.array([(p.x_mm + (f / record.fs_hz - p.start_s) * style.speed_mm_s) * scale for p, f in members])
        whole = np.isfinite(values.sum(axis=1))
        if whole.all():
            yield panels, _points(panels, starts, values, pen)
            continue
        if whole.any():
            some = tuple(panel for panel, ok in zip(panels, whole, strict=True) if ok)
            yield some, _points(some, starts[whole], values[whole], pen)
        for index in np.flatnonzero(~whole).tolist():
            yield from _broken(panels[index], float(starts[index]), values[index], pen)


def _broken(
    panel: Panel, start: float, values: NDArray[np.float64], pen: _Pen
) -> Iterator[tuple[tuple[Panel, ...], NDArray[np.float64]]]:
    """The finite runs of one panel, each a polyline of its own."""
    finite = np.isfinite(values)
    if not finite.any():
        return
    shift = float(np.median(values[finite])) if pen.style.center else 0.0
    edges = np.flatnonzero(np.diff(np.concatenate(([False], finite, [False])).astype(np.int8)))
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        run = values[None, begin:end]
        at = np.array([start + begin * pen.step])
        yield (panel,), _points((panel,), at, run, pen, np.array([[shift]]))


def _points(
    panels: tuple[Panel, ...],
    starts: NDArray[np.float64],
    values: NDArray[np.float64],
    pen: _Pen,
    shift: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Points of panels whose samples are all finite; `starts` is the x of their first samples."""
    n = values.shape[1]
    if shift is None and pen.style.center:
        shift = np.partition(values, n // 2, axis=1)[:, n // 2, None]
    if pen.chunk >= 3 and n > 2 * pen.chunk:
        index, values = _extremes(values, pen.chunk)
    else:
        index = np.arange(n)[None]
    per_mv = np.array([[p.sign * p.gain_mm_mv * pen.scale] for p in panels])
    zero = np.array([[p.baseline_y_mm * pen.scale] for p in panels])
    if shift is not None:
        zero = zero + shift * per_mv
    points = np.empty((*values.shape, 2))
    np.add(starts[:, None], index * pen.step, out=points[..., 0])
    np.subtract(zero, values * per_mv, out=points[..., 1])
    return points


def _extremes(values: NDArray[np.float64], chunk: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Index and value of the lowest and highest of every `chunk` samples, in time order, with both ends kept."""
    p, n = values.shape
    n_chunks = -(-n // chunk)
    padded = np.pad(values, ((0, 0), (0, n_chunks * chunk - n)), mode="edge").reshape(p, n_chunks, chunk)
    pair = np.stack([padded.argmin(axis=2), padded.argmax(axis=2)], axis=2)
    pair.sort(axis=2)
    index = np.minimum((pair + np.arange(n_chunks)[None, :, None] * chunk).reshape(p, -1), n - 1)
    index = np.concatenate([np.zeros((p, 1), np.int64), index, np.full((p, 1), n - 1)], axis=1)
    return index, np.take_along_axis(values, index, axis=1)
