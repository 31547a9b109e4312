"""An encoder without weights: deterministic, quick, knows nothing about ECGs. For tests and dry runs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord

_THUMB = (24, 12)  # width, height of the thumbnail that stands for a picture: slightly changed pictures stay near
_RECORD_POINTS = 64  # samples that stand for a lead


class HashingEncoder:
    """Vectors from thumbnails, hashed words and thinned samples, each through a fixed random projection.

    Equal input gives equal vectors on every machine and slightly changed pictures stay near each other; pictures and
    words do NOT meet in this space.
    """

    name = "hashing"

    def __init__(self, dim: int = 64) -> None:
        self.dim = dim
        self.fingerprint = hashlib.blake2b(f"hashing-1-{dim}".encode(), digest_size=16).hexdigest()

    def encode_images(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Shape (n, dim), unit rows."""
        thumbs = [np.asarray(im.convert("L").resize(_THUMB, Image.Resampling.BOX), dtype=np.float64) for im in images]
        return self._project([(t / 255.0).ravel() for t in thumbs], "image", _THUMB[0] * _THUMB[1])

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Shape (n, dim), unit rows; word order does not count."""
        rows = []
        for text in texts:
            row = np.zeros(self.dim)
            for word in re.findall(r"\w+", text.lower()):
                row += _noise(f"word|{word}", self.dim)
            rows.append(row)
        return _unit(rows, self.dim)

    def encode_records(self, records: Sequence[EcgRecord]) -> NDArray[np.float32]:
        """Shape (n, dim), unit rows; missing samples count as 0."""
        rows = []
        for record in records:
            at = np.linspace(0, record.n_samples - 1, _RECORD_POINTS).round().astype(int)
            rows.append(np.nan_to_num(record.standard()[:, at]).astype(np.float64).ravel())
        return self._project(rows, "record", len(LEADS) * _RECORD_POINTS)

    def _project(self, rows: Sequence[NDArray[np.float64]], space: str, width: int) -> NDArray[np.float32]:
        if not rows:
            return np.empty((0, self.dim), dtype=np.float32)
        matrix = _noise(f"{space}|{self.dim}", width * self.dim).reshape(width, self.dim)
        # The mean of a row says only how bright or how far from the baseline it is.
        return _unit([(row - row.mean()) @ matrix for row in rows], self.dim)


def _noise(seed: str, n: int) -> NDArray[np.float64]:
    number = int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=8).digest(), "little")
    return np.random.Generator(np.random.PCG64(number)).standard_normal(n)


def _unit(rows: Sequence[NDArray[np.float64]], dim: int) -> NDArray[np.float32]:
    out = np.asarray(rows, dtype=np.float64).reshape(len(rows), dim)
    norms = np.linalg.norm(out, axis=1, keepdims=True)
    # Empty text, blank picture: one fixed direction, because a unit vector is promised.
    out = np.where(norms > 1e-12, out / np.maximum(norms, 1e-12), np.eye(1, dim))
    return out.astype(np.float32)
