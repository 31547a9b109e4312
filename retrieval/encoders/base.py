"""What the rest of ecgkin asks of an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ecgkin.retrieval.ecg.record import EcgRecord


@runtime_checkable
class Encoder(Protocol):
    """Pictures, words and records in one space, compared by cosine.

    All three methods return float32 of shape (n, dim) with rows of unit length, in the order given; no input is
    modified.
    """

    @property
    def name(self) -> str:
        """What `load_encoder` knows it by."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    @property
    def fingerprint(self) -> str:
        """Hash over everything that changes a vector: weights and preprocessing."""

    def encode_images(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Vectors of pictures of ECG pages, drawings or photos, of any size."""

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of reports, questions, statement names or abbreviations."""

    def encode_records(self, records: Sequence[EcgRecord]) -> NDArray[np.float32]:
        """Vectors for a gallery: each record by the picture of it that says most."""
