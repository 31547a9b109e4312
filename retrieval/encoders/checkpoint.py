"""A finished encoder on disk: `model.safetensors` (half precision), `encoder.json`, the tokenizer, a model card.

The fingerprint is a hash over the weights, the settings of the drawing and the text preparation: everything that
changes a vector. Case bases remember it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecgkin.retrieval.encoders.model import Architecture
from ecgkin.retrieval.errors import ModelError, WeightsMissingError, why

WEIGHTS = Path(__file__).parent / "weights"
MAP_VERSION = 1  # of the trace maps that the image tower sees; raise it when page reading or drawing changes them
SIGNAL_VERSION = 1  # of the samples that the signal network is given (`signals.samples`)
TEXT_VERSION = 1  # of `tokenizer.prepare`


@dataclass(frozen=True, slots=True)
class EncoderFiles:
    """What `encoder.json` says.

    Attributes:
        folder: Where the files are.
        name: Of the encoder.
        architecture: To build it.
        gallery_layouts: Layouts whose vectors are averaged for a record of a gallery.
        fingerprint: See the module.
        image_fingerprint: The same without the text tower: what changes the vector of a picture or a record.
        tower_fingerprint: The same without the signal network: what changes what the image tower makes of a picture.
    """

    folder: Path
    name: str
    architecture: Architecture
    gallery_layouts: tuple[str, ...]
    fingerprint: str
    image_fingerprint: str
    tower_fingerprint: str


def save_encoder(
    folder: Path, name: str, architecture: Architecture, state: dict[str, Any], text_folder: Path,
    gallery_layouts: tuple[str, ...], about: dict[str, Any],
) -> EncoderFiles:  # fmt: skip
    """Write an encoder; floating-point weights become float16.

    Args:
        folder: Created where it is missing; files in it are replaced one by one.
        name: Of the encoder.
        architecture: Of the weights.
        state: Tensors named `visual.*`, `identity.*`, `text.*` and `label_head.*`; with a signal network also
            `signal.*` (see `SignalNet` and `samples.Expected`).
        text_folder: Holds the tokenizer and the text tower's config.
        gallery_layouts: See `EncoderFiles`.
        about: Training settings and figures, for the record.

    Returns:
        The files as they were written, with their fingerprint.
    """
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    half = {
        k: (v.to(torch.float16) if v.dtype.is_floating_point else v).contiguous().cpu()
        for k, v in sorted(state.items())
    }
    partial = folder / "model.partial"
    save_file(half, partial)
    partial.chmod(0o644)  # safetensors makes files that only their owner may read
    os.replace(partial, folder / "model.safetensors")
    for file in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copyfile(text_folder / file, folder / file)
    description = {
        "name": name, "architecture": architecture.to_dict(), "gallery_layouts": list(gallery_layouts), "about": about,
    }  # fmt: skip
    (folder / "encoder.json").write_text(json.dumps(description, indent=1) + "\n")
    return read_encoder_files(folder)


def read_encoder_files(folder: Path) -> EncoderFiles:
    """Read and check the description of an encoder.

    Raises:
        WeightsMissingError: A file is missing.
        ModelError: The description is damaged.
    """
    for file in ("encoder.json", "model.safetensors", "tokenizer.json", "config.json"):
        if not (folder / file).is_file():
            raise WeightsMissingError(
                f"{folder / file} is missing", hint="name a folder with a trained encoder, or reinstall ecgkin"
            )
    try:
        raw = json.loads((folder / "encoder.json").read_text())
        architecture = Architecture(**raw["architecture"])
        layouts = tuple(raw["gallery_layouts"])
        name = str(raw["name"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / 'encoder.json'} is damaged: {error!r}", hint="reinstall ecgkin") from error
    tower = hashlib.blake2b(digest_size=16)
    tower.update(
        json.dumps(
            [MAP_VERSION, list(layouts), architecture.image_tower, architecture.dim, architecture.identity_share]
        ).encode()
    )
    signal = hashlib.blake2b(digest_size=16)
    signal.update(
        json.dumps(
            [SIGNAL_VERSION, architecture.signal_network, architecture.signal_fs_hz, architecture.signal_share]
        ).encode()
    )
    whole = hashlib.blake2b(digest_size=16)
    whole.update(json.dumps([TEXT_VERSION, architecture.text]).encode())
    of = {"visual": tower, "identity": tower, "signal": signal}
    for part, name_, content in _tensor_bytes(folder / "model.safetensors"):
        digest = of.get(part, whole)
        digest.update(name_.encode())
        digest.update(content)
    image = tower.copy()
    if architecture.signal_dim:  # one without is what it was
        image.update(signal.digest())
    whole.update((folder / "tokenizer.json").read_bytes())
    whole.update(image.digest())
    return EncoderFiles(
        folder, name, architecture, layouts, whole.hexdigest(), image.hexdigest(), tower.hexdigest()
    )  # fmt: skip


def _tensor_bytes(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """First part of the name, name, and bytes of every tensor of a safetensors file, by name."""
    raw = path.read_bytes()
    try:
        length = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + length])
        for name in sorted(set(header) - {"__metadata__"}):
            begin, end = header[name]["data_offsets"]
            if 8 + length + end > len(raw):
                raise ValueError(f"{name} ends beyond the file")
            yield name.split(".")[0], name, raw[8 + length + begin : 8 + length + end]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is damaged: {error!r}", hint="reinstall ecgkin") from error


def load_state(files: EncoderFiles) -> dict[str, Any]:
    """Tensors of an encoder as float32; nothing is unpickled.

    Raises:
        ModelError: The file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return {
            k: v.float() if v.is_floating_point() else v
            for k, v in load_file(files.folder / "model.safetensors").items()
        }
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{files.folder / 'model.safetensors'} is damaged: {why(error)}", hint="reinstall ecgkin"
        ) from error
