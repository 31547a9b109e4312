"""Signals as fields: Gramian angular field, recurrence plot, Markov transition field of each lead (Qiu et al. 2023).

The other way to make a picture of an ECG, as an arm of the comparison: the same tower, losses and budget see these
tiles in place of a page. The paper put the three encodings into three colour channels of a 12-tile grid; the tower here
has one channel, so they stand side by side: four rows of nine tiles, three leads by three encodings.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.record import EcgRecord

TILE = 56  # nine of them in 512 px, four in 256 px
ROWS, COLUMNS = 4, 3
BINS = 8  # quantile bins of the transition field, as in Wang & Oates (2015)
RECURRENT = 0.2  # share of the pairs that count as recurrent
DELAY, DIMENSION = 1, 2
_HEIGHT, _WIDTH = 256, 512
_FS_HZ = 100.0


def averaged(lead: NDArray[np.floating], length: int = TILE) -> NDArray[np.float64]:
    """Piecewise means, shape (length,): what makes a field of 1,000 samples fit a tile."""
    parts = np.array_split(np.asarray(lead, dtype=np.float64), length)
    return np.array([part.mean() if len(part) else 0.0 for part in parts])


def angular_field(x: NDArray[np.floating]) -> NDArray[np.float64]:
    """Gramian angular summation field of a series: cos(phi_i + phi_j) with phi = arccos of the series in -1..1.

    >>> angular_field(np.array([0.0, 1.0])).round(3).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    low, high = float(x.min()), float(x.max())
    scaled = 2 * (x - low) / (high - low) - 1 if high > low else np.zeros_like(x, dtype=np.float64)
    other = np.sqrt(np.clip(1 - scaled**2, 0, 1))
    return np.asarray(np.outer(scaled, scaled) - np.outer(other, other))


def recurrence_plot(x: NDArray[np.floating]) -> NDArray[np.float64]:
    """1 where two delay vectors are among the nearest fifth of all pairs, else 0; shape (n - 1, n - 1)."""
    span = len(x) - (DIMENSION - 1) * DELAY
    vectors = np.stack([x[i * DELAY : i * DELAY + span] for i in range(DIMENSION)], axis=1)
    distance = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    return np.asarray(distance <= np.quantile(distance, RECURRENT), dtype=np.float64)


def transition_field(x: NDArray[np.floating], bins: int = BINS) -> NDArray[np.float64]:
    """Markov transition field: at (i, j) the probability of going from the bin of sample i to that of sample j.

    >>> transition_field(np.array([0.0, 1.0, 0.0, 1.0]), bins=2)[0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    edges = np.quantile(x, np.linspace(0, 1, bins + 1)[1:-1])
    of = np.searchsorted(edges, x, side="left")
    counts = np.zeros((bins, bins))
    np.add.at(counts, (of[:-1], of[1:]), 1.0)
    total = counts.sum(axis=1, keepdims=True)
    matrix = counts / np.where(total > 0, total, 1.0)
    return np.asarray(matrix[np.ix_(of, of)])


def field_map(record: EcgRecord) -> NDArray[np.uint8]:
    """The picture that the tower sees, uint8 (256, 512): leads in standard order, row by row, encodings side by side.

    A missing lead gives empty tiles.
    """
    signal = record.resampled(_FS_HZ).standard()
    canvas = np.zeros((_HEIGHT, _WIDTH), dtype=np.uint8)
    top, left = (_HEIGHT - ROWS * TILE) // 2, (_WIDTH - 3 * COLUMNS * TILE) // 2
    for i, lead in enumerate(signal):
        if np.isnan(lead).all():
            continue
        x = averaged(np.nan_to_num(lead))
        plot = np.zeros((TILE, TILE))
        recurrent = recurrence_plot(x)
        plot[: len(recurrent), : len(recurrent)] = recurrent
        for kind, tile in enumerate(((angular_field(x) + 1) / 2, plot, transition_field(x))):
            row = top + (i // COLUMNS) * TILE
            column = left + (kind * COLUMNS + i % COLUMNS) * TILE
            canvas[row : row + TILE, column : column + TILE] = np.round(255 * np.clip(tile, 0, 1)).astype(np.uint8)
    return canvas


def training_field_map(record: EcgRecord, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The same with what changes from recording to recording: noise, gain, and where the ten seconds begin."""
    from dataclasses import replace

    signal = np.array(record.signal_mv, dtype=np.float32)
    shift = int(rng.integers(0, max(1, signal.shape[1] // 10)))
    signal = np.roll(signal, -shift, axis=1) * np.float32(rng.uniform(0.9, 1.1))
    noise = rng.standard_normal(signal.shape, dtype=np.float32) * np.float32(0.03 * rng.random())
    return field_map(replace(record, signal_mv=signal + noise))
