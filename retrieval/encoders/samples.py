"""Samples as a part of an encoder: what its signal network is given, and the places of what comes without samples.

The network itself is one of the towers (`roads`); nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.checkpoint import EncoderFiles
from ecgkin.retrieval.encoders.space import Vectors, unit
from ecgkin.retrieval.errors import ModelError, why

_BATCH = 32


def samples(record: EcgRecord, fs_hz: float) -> NDArray[np.float32]:
    """What the signal network is given of a record.

    Args:
        record: ECG in mV.
        fs_hz: Samples a second that the network takes.

    Returns:
        float32 (12, t), mV, standard lead order; 0 where a lead or a sample is missing.
    """
    return np.nan_to_num(record.resampled(fs_hz).standard())


def places(
    network: Callable[[NDArray[np.float32]], Vectors], records: Sequence[EcgRecord], fs_hz: float, dim: int
) -> Vectors:
    """Where the signal network puts records; those of equal length go through it together.

    Args:
        network: Samples (n, 12, t) -> (n, dim).
        records: ECGs in mV.
        fs_hz: Samples a second that it takes.
        dim: Length of what it says.

    Returns:
        float32 (n, dim).
    """
    made = [samples(record, fs_hz) for record in records]
    out = np.empty((len(made), dim), dtype=np.float32)
    for length in {one.shape[1] for one in made}:
        rows = [row for row, one in enumerate(made) if one.shape[1] == length]
        for begin in range(0, len(rows), _BATCH):
            some = rows[begin : begin + _BATCH]
            out[some] = network(np.stack([made[row] for row in some]))
    return out


@dataclass(frozen=True, slots=True, eq=False)
class LinearMap:
    """x @ weight.T + bias.

    Attributes:
        weight: float32 (n_out, n_in).
        bias: float32 (n_out,).
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def __call__(self, rows: Vectors) -> Vectors:
        """Rows (n, n_in) -> unit rows (n, n_out)."""
        return unit((rows @ self.weight.T + self.bias).astype(np.float32))


@dataclass(frozen=True, slots=True)
class Expected:
    """The place that an ECG without samples is given: the one that its other columns let expect.

    Attributes:
        of_pictures: Unit rows (n, image_dim) -> unit rows (n, signal_dim).
        of_words: Unit rows (n, text_dim) -> unit rows (n, signal_dim).
    """

    of_pictures: LinearMap
    of_words: LinearMap

    @staticmethod
    def load(files: EncoderFiles) -> Expected:
        """Read the maps beside the other weights.

        Args:
            files: Of an encoder with a signal network.

        Raises:
            ModelError: The file is damaged or does not hold them.
        """
        from safetensors import SafetensorError, safe_open

        path = files.folder / "model.safetensors"
        try:
            with safe_open(path, "np") as stored:
                maps = [
                    LinearMap(*(stored.get_tensor(f"signal.{name}.{part}").astype(np.float32) for part in _PARTS))
                    for name in _NAMES
                ]
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path} is damaged: {why(error)}", hint="reinstall ecgkin") from error
        return Expected(*maps)

    def state(self) -> dict[str, NDArray[np.float32]]:
        """Tensors by their names in the weights' file."""
        maps = zip(_NAMES, (self.of_pictures, self.of_words), strict=True)
        return {f"signal.{name}.{part}": getattr(one, part) for name, one in maps for part in _PARTS}


_NAMES = ("from_pictures", "from_words")
_PARTS = ("weight", "bias")
