"""Signals as fields: Gramian angular field, recurrence plot, Markov transition field of each lead (Qiu et al. 2023).

The other way to make a picture of an ECG, as an arm of the comparison: the same tower, losses and budget see these
tiles in place of a page. As in the paper's "grid", a picture has one tile a lead and the encodings in three channels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.record import EcgRecord

TILE = 85  # three of them in 256 px: as much as the tower's picture holds
ROWS, COLUMNS = 3, 4
CHANNELS = 3
BINS = 8  # quantile bins of the transition field, as in Wang & Oates (2015)
RECURRENT = 0.2  # share of the pairs that count as recurrent
DELAY, DIMENSION = 1, 2
_HEIGHT, _WIDTH = 256, 512
_FS_HZ = 100.0


def averaged(lead: NDArray[np.floating], length: int = TILE) -> NDArray[np.float64]:
    """Piecewise means along the last axis, shape (..., length): what makes a field of 1,000 samples fit a tile.

    Args:
        lead: Samples, (..., n).
        length: Of the result, at most n.

    Returns:
        Piecewise means, (..., length).

    >>> averaged(np.array([0.0, 2.0, 4.0, 6.0, 8.0]), 2).tolist()
    [2.0, 7.0]
    """
    x = np.asarray(lead, dtype=np.float64)
    n = x.shape[-1]
    # The first n mod `length` parts have one sample more, as `numpy.array_split` cuts.
    ends = np.arange(1, length + 1) * (n // length) + np.minimum(np.arange(1, length + 1), n % length)
    sums = np.concatenate([np.zeros((*x.shape[:-1], 1)), np.cumsum(x, axis=-1)], axis=-1)
    starts = np.concatenate([[0], ends[:-1]])
    return np.asarray((sums[..., ends] - sums[..., starts]) / np.maximum(ends - starts, 1))


def angular_field(x: NDArray[np.floating]) -> NDArray[np.float64]:
    """Gramian angular summation fields: cos(phi_i + phi_j) with phi = arccos of a series in -1..1; (..., n, n).

    >>> angular_field(np.array([0.0, 1.0])).round(3).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    x = np.asarray(x, dtype=np.float64)
    low, span = x.min(axis=-1, keepdims=True), np.ptp(x, axis=-1, keepdims=True)
    scaled = np.where(span > 0, 2 * (x - low) / np.where(span > 0, span, 1.0) - 1, 0.0)
    other = np.sqrt(np.clip(1 - scaled**2, 0, 1))
    return np.asarray(scaled[..., :, None] * scaled[..., None, :] - other[..., :, None] * other[..., None, :])


def recurrence_plot(x: NDArray[np.floating]) -> NDArray[np.float64]:
    """1 where two delay vectors are among the nearest fifth of all pairs, else 0; shape (..., n - 1, n - 1)."""
    x = np.asarray(x, dtype=np.float64)
    span = x.shape[-1] - (DIMENSION - 1) * DELAY
    squares = np.zeros((*x.shape[:-1], span, span))
    for i in range(DIMENSION):
        part = x[..., i * DELAY : i * DELAY + span]
        squares += (part[..., :, None] - part[..., None, :]) ** 2
    distance = np.sqrt(squares)
    limit = np.quantile(distance.reshape(*x.shape[:-1], -1), RECURRENT, axis=-1)
    return np.asarray(distance <= limit[..., None, None], dtype=np.float64)


def transition_field(x: NDArray[np.floating], bins: int = BINS) -> NDArray[np.float64]:
    """Markov transition fields: at (i, j) the probability of going from the bin of sample i to that of sample j.

    Args:
        x: Samples, (..., n).
        bins: Quantile bins into which the samples fall.

    Returns:
        Probabilities, (..., n, n).

    >>> transition_field(np.array([0.0, 1.0, 0.0, 1.0]), bins=2)[0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    x = np.asarray(x, dtype=np.float64)
    flat = x.reshape(-1, x.shape[-1])
    edges = np.quantile(flat, np.linspace(0, 1, bins + 1)[1:-1], axis=-1).T
    of = (flat[:, :, None] > edges[:, None, :]).sum(axis=-1)
    counts = np.zeros((len(flat), bins, bins))
    series = np.arange(len(flat))[:, None]
    np.add.at(counts, (series, of[:, :-1], of[:, 1:]), 1.0)
    total = counts.sum(axis=-1, keepdims=True)
    matrix = counts / np.where(total > 0, total, 1.0)
    field = matrix[series[:, :, None], of[:, :, None], of[:, None, :]]
    return np.asarray(field.reshape(*x.shape, x.shape[-1]))


def field_map(record: EcgRecord) -> NDArray[np.uint8]:
    """The picture that the tower sees, uint8 (3, 256, 512): leads in standard order, row by row.

    Channels: angular field, recurrence plot, transition field. A missing lead gives empty tiles.
    """
    signal = record.resampled(_FS_HZ).standard()
    canvas = np.zeros((CHANNELS, _HEIGHT, _WIDTH), dtype=np.uint8)
    top, left = (_HEIGHT - ROWS * TILE) // 2, (_WIDTH - COLUMNS * TILE) // 2
    there = ~np.isnan(signal).all(axis=1)
    x = averaged(np.nan_to_num(signal[there]))
    if not len(x):
        return canvas
    plots = np.zeros((len(x), TILE, TILE))
    plots[:, : TILE - DELAY, : TILE - DELAY] = recurrence_plot(x)
    tiles = np.stack([(angular_field(x) + 1) / 2, plots, transition_field(x)])
    ink = np.round(255 * np.clip(tiles, 0, 1)).astype(np.uint8)
    for at, i in enumerate(np.flatnonzero(there)):
        row, column = top + (i // COLUMNS) * TILE, left + (i % COLUMNS) * TILE
        canvas[:, row : row + TILE, column : column + TILE] = ink[:, at]
    return canvas


def training_field_map(record: EcgRecord, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The same with what changes from recording to recording: noise, gain, and where the ten seconds begin.

    Args:
        record: The ECG.
        rng: Decides noise, gain and start.

    Returns:
        uint8 (3, 256, 512).
    """
    from dataclasses import replace

    signal = np.array(record.signal_mv, dtype=np.float32)
    shift = int(rng.integers(0, max(1, signal.shape[1] // 10)))
    signal = np.roll(signal, -shift, axis=1) * np.float32(rng.uniform(0.9, 1.1))
    noise = rng.standard_normal(signal.shape, dtype=np.float32) * np.float32(0.03 * rng.random())
    return field_map(replace(record, signal_mv=signal + noise))
