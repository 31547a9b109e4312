"""Reading a published checkpoint safely, and accounting for every tensor in it.

Pickles are opened with `weights_only=True`: nothing in them is run. Only numpy scalars are let through besides, because
training scripts save their best figure as one. A checkpoint fits a network when each of the network's tensors is in the
file with the right shape in float32, and when whatever else is in the file is known not to matter (named per system).
"""

from __future__ import annotations

import re
import textwrap
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgkin.retrieval.encoders.published.names.table import Names
from ecgkin.retrieval.errors import ModelError, WeightsMissingError

if TYPE_CHECKING:
    from torch import Tensor, nn

SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")
WRAPPERS = ("model", "state_dict", "model_state_dict")
PREFIX = "module."  # DistributedDataParallel puts it before every name
_SHOWN = 3  # names of tensors in one message
# What a download leaves in the place of a file that it did not get.
_IN_ITS_PLACE = {
    b"version https://git-lfs": "the pointer of git-lfs to a file",
    b"<!doctype": "a web page",
    b"<html": "a web page",
}


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file, without wrapper and without `module.`.

    Attributes:
        path: The file.
        system: Which system's checkpoint is wanted, for messages.
        tensors: By name, as stored.
        wrapper: Key under which they lay; "" where the file is the plain state dict.
        beside: What else the wrapper held ("optimizer", "epoch").
    """

    path: Path
    system: str
    tensors: Mapping[str, Tensor]
    wrapper: str = ""
    beside: tuple[str, ...] = field(default=())

    @property
    def n_tensors(self) -> int:
        """How many tensors are stored."""
        return len(self.tensors)

    @property
    def n_values(self) -> int:
        """How many numbers are stored."""
        return sum(tensor.numel() for tensor in self.tensors.values())

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def without(self, optional: Collection[str]) -> Checkpoint:
        """The same without tensors that some versions of a library save and others do not."""
        kept = {name: tensor for name, tensor in self.tensors.items() if name not in optional}
        return replace(self, tensors=kept)

    def float32(self, name: str) -> Tensor:
        """A tensor that the network computes with.

        Raises:
            ModelError: It is stored as something else.
        """
        import torch

        tensor = self.tensors[name]
        if tensor.dtype != torch.float32:
            raise ModelError(
                f"{self.path.name} stores {name} as {str(tensor.dtype).removeprefix('torch.')} (expected float32)",
                hint="another type moves vectors; use the file as published, nothing is converted in silence",
            )
        return tensor

    def size(self, name: str, dimension: int = 0) -> int:
        """Length of one dimension of a tensor from which sizes of the network are read.

        Args:
            name: Of the tensor in the file.
            dimension: From 0.

        Returns:
            The length.

        Raises:
            ModelError: The tensor is not there, or has fewer dimensions.
        """
        if name not in self.tensors:
            raise ModelError(
                f"{self.path.name} lacks tensor {name} (expected in every {self.system} checkpoint)",
                hint="the file is damaged, renamed or of another system; get it again from where it is published",
            )
        shape = tuple(self.tensors[name].shape)
        if not -len(shape) <= dimension < len(shape):
            raise ModelError(
                f"tensor {name} in {self.path.name} has shape {shape} (expected more dimensions)",
                hint=f"is this a {self.system} checkpoint?",
            )
        return shape[dimension]

    def count(self, template: str) -> int:
        """How many of a numbered part there are: the first number `n` from 0 on without `template.format(n=n)`."""
        n = 0
        while any(name.startswith(template.format(n=n)) for name in self.tensors):
            n += 1
        return n


def read_checkpoint(path: Path, system: str) -> Checkpoint:
    """Open a checkpoint file; nothing in it is executed.

    Args:
        path: `.safetensors`, or a pickle of torch (`.pth`, `.pt`, `.bin`, `.ckpt`).
        system: Which system's checkpoint is wanted, for messages.

    Returns:
        Its tensors by name.

    Raises:
        WeightsMissingError: There is no such file.
        ModelError: It is damaged or may not be read, holds code, holds no tensors, or one that is not finite or holds
            its numbers in another way than one behind the other.
    """
    if not path.is_file():
        raise WeightsMissingError(
            f"{path} is not there (expected a {system} checkpoint)",
            hint="`ecgkin encoder list` says where it is published",
        )
    import torch

    raw = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    tensors, wrapper = _unwrapped(raw, path)
    if all(name.startswith(PREFIX) for name in tensors):
        tensors = {name[len(PREFIX) :]: tensor for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
            kind = "quantised" if tensor.is_quantized else "without values" if tensor.is_meta else "sparse"
            raise ModelError(
                f"tensor {name} in {path.name} is {kind} (expected plain numbers)",
                hint="ask its authors for a plain state dict or safetensors",
            )
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ModelError(
                f"tensor {name} in {path.name} holds values that are not finite",
                hint="the file is damaged or its training diverged; get it again",
            )
    beside = tuple(str(key) for key in raw if key != wrapper) if wrapper else ()
    return Checkpoint(path, system, tensors, wrapper, beside)


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except PermissionError:
        raise
    except (SafetensorError, OSError) as error:
        raise _damaged(path, str(error)) from error


def _read_pickle(path: Path) -> Mapping[str, Any]:
    import pickle

    import torch

    if path.stat().st_size == 0:
        raise _damaged(path, "it is empty")
    with path.open("rb") as stream:
        start = stream.read(512).lstrip().lower()
    for sign, what in _IN_ITS_PLACE.items():
        if start.startswith(sign):
            raise ModelError(f"{path.name} is {what} (expected a checkpoint)", hint="download the file itself")
    if zipfile.is_zipfile(path):
        # torch's reader does not look at the checksums: a flipped bit would pass as a weight.
        try:
            with zipfile.ZipFile(path) as archive:
                bad = archive.testzip()
        except (zipfile.BadZipFile, EOFError, OSError) as error:
            raise _damaged(path, str(error)) from error
        if bad is not None:
            raise _damaged(path, f"the checksum of {bad} is wrong")
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            raw = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        foreign = _foreign_globals(path, str(error))
        if foreign:
            raise ModelError(
                f"{path.name} holds {foreign} beside its tensors and was not opened: a pickle can run code",
                hint="ask its authors for a plain state dict or safetensors",
            ) from error
        raise _damaged(path, str(error)) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(raw, Mapping):
        raise ModelError(
            f"{path.name} holds a {type(raw).__name__} (expected a dictionary of tensors)",
            hint="is this a checkpoint at all?",
        )
    return raw


def _numpy_scalars() -> list[Any]:
    """What lets numpy scalars through, under their old and new names; none of it runs foreign code."""
    import numpy as np

    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    kinds = [getattr(np.dtypes, f"{name}DType") for name in ("Float64", "Float32", "Int64", "Int32", "Bool")]
    return [(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar"), np.dtype, *kinds]


def _foreign_globals(path: Path, message: str) -> str:
    """Names of what a refused pickle would import, in words; "" where it would import nothing."""
    import torch

    try:
        found = list(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # reads the same damaged or hostile bytes; any failure only costs the list of names
        found = []
    named = sorted(name for name in found if not name.startswith(("numpy.core.multiarray", "numpy._core.multiarray")))
    if not named:
        named = re.findall(r"GLOBAL (\S+) (?:was not an allowed global|whose module)", message)
    return ", ".join(named[:_SHOWN])


def _damaged(path: Path, why: str) -> ModelError:
    said = re.search(r"WeightsUnpickler error:\s+(.+)", why)  # torch puts advice about its own settings before it
    first = said[1] if said else next((line.strip() for line in why.splitlines() if line.strip()), "it cannot be read")
    return ModelError(
        f"{path.name} ({path.stat().st_size:,} bytes) is damaged or cut off: {textwrap.shorten(first, 160)}",
        hint="get the file again and compare its size with where it is published",
    )


def _unwrapped(raw: Mapping[str, Any], path: Path) -> tuple[dict[str, Tensor], str]:
    """The state dict inside a training checkpoint, and the key under which it lay."""
    import torch

    for wrapper in WRAPPERS:
        inside = raw.get(wrapper)
        if isinstance(inside, Mapping) and inside and all(isinstance(v, torch.Tensor) for v in inside.values()):
            return {str(name): tensor for name, tensor in inside.items()}, wrapper
    if raw and all(isinstance(v, torch.Tensor) for v in raw.values()):
        return {str(name): tensor for name, tensor in raw.items()}, ""
    keys = ", ".join(str(key) for key in list(raw)[:6]) or "nothing"
    raise ModelError(
        f"{path.name} holds no state dict (found {keys}; expected tensors by name, or one of {', '.join(WRAPPERS)})",
        hint="is this a checkpoint of this system?",
    )


def load_into(network: nn.Module, checkpoint: Checkpoint, names: Names) -> None:
    """Fill a network and switch it to inference: every tensor of the file is used or known not to matter.

    Args:
        network: Of the sizes that the checkpoint says.
        checkpoint: The file.
        names: Which tensor is which.

    Raises:
        ModelError: A tensor is missing, misshapen, not float32, or unknown; the first ones are named.
    """
    state: dict[str, Tensor] = {}
    missing: list[str] = []
    misshapen: list[str] = []
    used: set[str] = set()
    for own, wanted in network.state_dict().items():
        if own.endswith(".num_batches_tracked"):
            state[own] = wanted
            continue
        name = names.original(own)
        used.add(name)
        given = checkpoint.tensors.get(name)
        if given is None:
            missing.append(name)
        elif given.shape != wanted.shape:
            misshapen.append(f"{name} {tuple(given.shape)} instead of {tuple(wanted.shape)}")
        else:
            state[own] = given
    extra = [name for name in checkpoint.tensors if name not in used and not names.is_ignored(name)]
    faults = [
        f"{what} {_listed(found)}"
        for what, found in (("misses", missing), ("misshapen", misshapen), ("does not know", extra))
        if found
    ]
    if faults:
        raise ModelError(
            f"{checkpoint.path.name} does not fit {checkpoint.system}: {'; '.join(faults)}",
            hint="a file of another version or system, or renamed tensors; nothing is filled in at random",
        )
    for name in sorted(used):
        checkpoint.float32(name)
    network.load_state_dict(state, strict=True)
    network.eval().requires_grad_(False)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
