"""What every table carries beside the system: random, a constant list, log-spectra, the untrained encoder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgkin.generation.research.retrieval.labels import BoolMatrix, set_numbers
from ecgkin.generation.research.retrieval.ranking import Floats, Ints, Neighbours, unit_rows
from ecgkin.retrieval.ecg.record import EcgRecord

RANDOM_SEED = 12
_FS_HZ = 100.0
_SECONDS = 10.0
SPECTRUM_DIM = 256


def random_embeddings(n: int, dim: int, seed: int = RANDOM_SEED) -> Floats:
    """Unit rows in random directions, shape (n, dim): neighbours at random, without preference for any case.

    Args:
        n: Rows.
        dim: Columns.
        seed: Of the directions.

    Returns:
        Unit rows, float32 (n, dim).
    """
    return unit_rows(np.random.default_rng(seed).standard_normal((n, dim)))


def constant_list(n_queries: int, gallery_labels: BoolMatrix, k: int, seed: int = RANDOM_SEED) -> Neighbours:
    """The same k cases for every query, all of the commonest label set (in PTB-XL: NORM and SR).

    Args:
        n_queries: How many queries.
        gallery_labels: Multi-hot, (n_gallery, n_labels).
        k: Cases a query.
        seed: Picks among the cases with that label set.

    Returns:
        The same row numbers for every query, (n_queries, k).
    """
    (numbers,) = set_numbers(gallery_labels)
    counts = np.bincount(numbers)
    rng = np.random.default_rng(seed)
    # The commonest set first; where it has fewer than k cases the next commonest follows.
    order = np.lexsort((rng.permutation(len(numbers)), -counts[numbers]))
    rows = np.tile(order[:k], (n_queries, 1)).astype(np.int64)
    return Neighbours(rows, np.zeros(rows.shape, dtype=np.float32))


def commonest_texts(texts: Ints, k: int) -> Ints:
    """One row of each of the k commonest reports, commonest first, shape (<= k,).

    Args:
        texts: Number of each row's report, (n,).
        k: How many.

    Returns:
        Row numbers, (at most k,).
    """
    _, first, counts = np.unique(texts, return_index=True, return_counts=True)
    return np.asarray(first[np.argsort(-counts, kind="stable")[:k]], dtype=np.int64)


def log_spectra(records: Iterable[EcgRecord]) -> Floats:
    """Log power of the real FFT of each lead at 100 Hz over 10 s, shape (n, 12 * 501); a missing lead gives zeros.

    Shorter records are padded with zeros, longer ones cut.
    """
    length = int(_FS_HZ * _SECONDS)
    rows: list[NDArray[np.float32]] = []
    for record in records:
        signal = np.nan_to_num(record.resampled(_FS_HZ).standard()[:, :length])
        power = np.abs(np.fft.rfft(signal, n=length, axis=1)) ** 2
        # 1e-6 mV^2 keeps the logarithm finite and lies far below the noise floor of any device.
        rows.append(np.log(power + 1e-6).astype(np.float32).ravel())
    return np.stack(rows)


@dataclass(frozen=True)
class SpectrumSpace:
    """Standardisation and principal axes, fitted on the gallery.

    Attributes:
        mean, scale: Shape (n_features,).
        axes: Principal directions, shape (dim, n_features).
    """

    mean: Floats
    scale: Floats
    axes: Floats

    @classmethod
    def fit(cls, features: Floats, dim: int = SPECTRUM_DIM) -> SpectrumSpace:
        """Standardise and reduce to `dim` principal components (scikit-learn, randomised, seed 0).

        Args:
            features: Log-spectra, (n, n_features).
            dim: Components that are kept.

        Returns:
            The fitted space.
        """
        from sklearn.decomposition import PCA

        mean, scale = features.mean(axis=0), features.std(axis=0)
        scale = np.where(scale > 1e-6, scale, 1.0).astype(np.float32)
        reducer = PCA(min(dim, *features.shape), svd_solver="randomized", random_state=0)
        reducer.fit((features - mean) / scale)
        return cls(mean.astype(np.float32), scale, reducer.components_.astype(np.float32))

    def __call__(self, features: Floats) -> Floats:
        """Unit rows, shape (n, dim)."""
        return unit_rows((features - self.mean) / self.scale @ self.axes.T)


def spectrum_embeddings(
    gallery: Sequence[EcgRecord] | Iterable[EcgRecord], queries: Iterable[EcgRecord]
) -> tuple[Floats, Floats]:
    """Log-spectrum embeddings of gallery and queries; everything is fitted on the gallery.

    Args:
        gallery: Records of the cases.
        queries: Records that ask.

    Returns:
        Unit rows of gallery and queries.
    """
    gallery_features = log_spectra(gallery)
    space = SpectrumSpace.fit(gallery_features)
    return space(gallery_features), space(log_spectra(queries))
