"""What an encoder itself says of the statements, beside the cases that it finds: a second witness.

The vote of the neighbours says which statements ECGs like this one carry; a witness reads this ECG alone. The shipped
encoder has a linear head on its vectors (`StatementHead`), ECGFounder its published classes (`published.ecgfounder`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.errors import EcgkinError, EncoderMismatchError, ModelError, why

_LOG = logging.getLogger(__name__)

FILE_NAME = "head.safetensors"
FORMAT = "ecgkin statement head 1"


@dataclass(frozen=True)
class Testimony:
    """What a witness says of some ECGs.

    Attributes:
        codes: What the columns mean: statement codes; superclasses have the prefix "super:".
        probabilities: float32, (n, n_codes); NaN where the witness knows nothing of a statement.
        covered: The codes that it knows.
    """

    codes: tuple[str, ...]
    probabilities: NDArray[np.float32]
    covered: tuple[str, ...]

    def of(self, row: int) -> dict[str, float]:
        """The probabilities of one ECG by code, what is not known left out.

        Args:
            row: Of the ECG.
        """
        return {code: float(p) for code, p in zip(self.codes, self.probabilities[row], strict=True) if np.isfinite(p)}


@runtime_checkable
class StatementWitness(Protocol):
    """Says of ECGs, from themselves alone, how probable each statement is."""

    @property
    def name(self) -> str:
        """What tables call it."""

    def of_records(self, records: Sequence[EcgRecord]) -> Testimony:
        """Probabilities for recorded ECGs.

        Args:
            records: ECGs in mV.
        """


@dataclass(frozen=True)
class StatementHead:
    """A linear head on the vectors of one encoder: log-odds = vector @ weight + bias.

    Attributes:
        image_fingerprint: Of the encoder whose vectors it reads.
        codes: 71 statements and, with the prefix "super:", 5 superclasses.
        weight: float32, (dim, n_codes).
        bias: float32, (n_codes,).
        about: Data, command and figures, in words.
        encoder: Makes the vectors of records; None where vectors are all that is asked about.
    """

    image_fingerprint: str
    codes: tuple[str, ...]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    about: Mapping[str, str] = field(default_factory=dict)
    encoder: Encoder | None = None

    @property
    def name(self) -> str:
        """See `StatementWitness`."""
        return "head"

    def of_vectors(self, vectors: NDArray[np.floating]) -> Testimony:
        """Probabilities from vectors of its encoder: of pictures, pages or records.

        Args:
            vectors: Unit rows, (n, dim).

        Raises:
            ModelError: They have another length.
        """
        if vectors.ndim != 2 or vectors.shape[1] != len(self.weight):
            raise ModelError(f"vectors have shape {vectors.shape} (expected (n, {len(self.weight)}) for this head)")
        z = np.clip(vectors.astype(np.float32) @ self.weight + self.bias, -30.0, 30.0)
        return Testimony(self.codes, np.asarray(1.0 / (1.0 + np.exp(-z)), dtype=np.float32), self.codes)

    def of_records(self, records: Sequence[EcgRecord]) -> Testimony:
        """See `StatementWitness`.

        Raises:
            ModelError: The head was loaded without its encoder.
            RecordError: A record holds no ECG.
        """
        if self.encoder is None:
            raise ModelError("this head was loaded without its encoder: it reads vectors only")
        return self.of_vectors(self.encoder.encode_records(records))

    def save(self, path: str | Path) -> None:
        """Write it in half precision.

        Args:
            path: Of the file; it is replaced in one step.
        """
        from safetensors.numpy import save_file

        meta = {"format": FORMAT, "encoder": self.image_fingerprint, "codes": json.dumps(list(self.codes))}
        meta |= {f"about.{key}": value for key, value in self.about.items()}
        partial = Path(path).with_suffix(".partial")
        tensors = {"weight": self.weight.astype(np.float16), "bias": self.bias.astype(np.float16)}
        save_file(tensors, partial, metadata=meta)
        partial.chmod(0o644)
        partial.replace(path)

    @classmethod
    def load(cls, path: str | Path, encoder: Encoder | None = None) -> StatementHead:
        """Read a head.

        Args:
            path: The file.
            encoder: Whose vectors it is to read; None takes any head.

        Raises:
            ModelError: The file is missing, damaged or no head.
            EncoderMismatchError: It was made for another encoder.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="numpy") as file:
                meta: Mapping[str, str] = file.metadata() or {}
                if meta.get("format") != FORMAT:
                    raise ValueError(f"format {meta.get('format')!r}, expected {FORMAT!r}")
                codes = tuple(str(code) for code in json.loads(meta["codes"]))
                weight = np.asarray(file.get_tensor("weight"), dtype=np.float32)
                bias = np.asarray(file.get_tensor("bias"), dtype=np.float32)
            if weight.ndim != 2 or bias.shape != (len(codes),) or weight.shape[1] != len(codes):
                raise ValueError(f"weight {weight.shape} and bias {bias.shape} for {len(codes)} codes")
            if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
                raise ValueError("weights are not finite")
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ModelError(
                f"{path} is no readable statement head: {why(error)}",
                hint="make it again: ecgkin evaluate drafts --fit FOLDER",
            ) from error
        if encoder is not None and meta["encoder"] != image_fingerprint(encoder):
            raise EncoderMismatchError(
                f"statement head {path} belongs to encoder {meta['encoder'][:12]}, "
                f"loaded is {encoder.name} {image_fingerprint(encoder)[:12]}",
                hint="fit one for this encoder, or go without: the vote of the cases then stands alone",
            )
        about = {key.removeprefix("about."): value for key, value in meta.items() if key.startswith("about.")}
        return cls(meta["encoder"], codes, weight, bias, about, encoder)


def image_fingerprint(encoder: Encoder) -> str:
    """Hash over what changes the vector of a picture or a record; another text tower leaves it as it is."""
    return str(getattr(encoder, "image_fingerprint", encoder.fingerprint))


def shipped_head(encoder: Encoder) -> StatementHead | None:
    """The head beside an encoder's weights, None where there is none that belongs to it."""
    folder: Any = getattr(encoder, "weights_dir", None)
    if folder is None:
        folder = Path(__file__).parent / "weights" / encoder.name
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        return None
    try:
        return StatementHead.load(path, encoder)
    except EcgkinError as error:
        _LOG.warning("the vote of the cases stands alone: %s", error)
        return None
