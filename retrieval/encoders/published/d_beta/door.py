"""`load_encoder("d-beta:DIR")`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgkin.retrieval.encoders.published.checkpoint import Checkpoint, load_into, read_checkpoint
from ecgkin.retrieval.encoders.published.door import PublishedEncoder, find_checkpoint
from ecgkin.retrieval.encoders.published.names import d_beta as names
from ecgkin.retrieval.encoders.published.signals import LEAD_ORDERS, SignalRule
from ecgkin.retrieval.encoders.published.text import find_text_folder
from ecgkin.retrieval.encoders.published.wrong_system import check_system
from ecgkin.retrieval.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

# mV as they are; shorter records are read without padding, as the network allows and the original was tried with.
RULE = SignalRule(names.SYSTEM, LEAD_ORDERS["standard"], 500.0, pad=False)


class DBetaEncoder(PublishedEncoder):
    """D-BETA behind the `Encoder` protocol.

    It was trained with the plain dot product of its raw vectors, which `raw_records` and `raw_texts` give; ecgkin
    compares unit vectors. Within one ECG the order of texts differs by the lengths of the text vectors alone.
    """

    def text_vectors(self, texts: list[str]) -> Tensor:
        """Texts, lower-cased -> (n, dim)."""
        import torch

        assert self.text_folder is not None  # there is always one
        ids, mask = self.text_folder.padded([text.lower() for text in texts], None)
        out: Tensor = self.network.words(
            torch.from_numpy(ids).to(self._device), torch.from_numpy(mask).to(self._device)
        )
        return out


def load_d_beta(place: Path, name: str, device: str = "cpu", settings: Mapping[str, str] | None = None) -> DBetaEncoder:
    """Load D-BETA.

    Args:
        place: The checkpoint, or a folder with one; the folder also holds its config.json, and configuration and
            tokenizer of flan-t5.
        name: Of the encoder.
        device: "cpu", "cuda" or "cuda:N".
        settings: "leads": "standard" (as its public example is fed; default) or "mimic" (aVF before aVL, as its
            training data lie). Which one it was trained with is not published: measure both.

    Raises:
        WeightsMissingError, ModelError: Something is missing, or does not fit.
    """
    from ecgkin.retrieval.encoders.published.d_beta.network import build_d_beta

    chosen = dict(settings or {})
    rule = replace(RULE, leads=LEAD_ORDERS[chosen.get("leads", "standard")])
    path = find_checkpoint(place, names.SYSTEM)
    raw = read_checkpoint(path, names.SYSTEM)
    tensors = {names.POSITION_RENAMED.get(key, key): tensor for key, tensor in raw.tensors.items()}
    for one, other in (names.SHARED_TWICE, names.SHARED_TWICE[::-1]):
        if one in tensors:
            tensors.setdefault(other, tensors[one])
    checkpoint = Checkpoint(path, names.SYSTEM, tensors, raw.wrapper, raw.beside)
    check_system(checkpoint, "d-beta")
    text = find_text_folder(path.parent, names.TEXT_TYPE, names.HUB_TEXT, names.TEXT_WANTED, names.MAX_TOKENS)
    width = checkpoint.size(names.PROJECTION)
    config = _read_config(path.parent, width)
    heads = int(config[names.HEADS_FIELD])
    if heads < 1 or width % heads:
        raise ModelError(
            f"{names.HEADS_FIELD} is {heads} in {path.parent / names.CONFIG_FILE}, which does not divide {width}",
            hint="configuration and checkpoint are of different models",
        )
    channels_in = checkpoint.size(names.POSITION_V, 1)
    network = build_d_beta(checkpoint, text, heads, width // max(1, channels_in))
    load_into(network, checkpoint, names.NAMES)
    door = DBetaEncoder(
        name, network, checkpoint, rule, dim=network.dim, kind="whole model", text=text, device=device,
        settings={**chosen, "heads": heads},
    )  # fmt: skip
    spare = checkpoint.tensors.get(names.SPARE)  # saved or not; the original drops it before its strict load
    if spare is not None:
        door.n_tensors, door.n_values = door.n_tensors - 1, door.n_values - spare.numel()
    door.published_sizes = names.PUBLISHED_SIZES
    return door


def _read_config(folder: Path, width: int) -> Mapping[str, Any]:
    """The model section of config.json; without the file the published values, if the width is the published one."""
    path = folder / names.CONFIG_FILE
    if not path.is_file():
        if width == names.PUBLISHED_WIDTH:
            return {names.HEADS_FIELD: names.PUBLISHED_HEADS}
        raise ModelError(
            f"{path} is not there, and a width of {width} is not the published {names.PUBLISHED_WIDTH}",
            hint="the number of attention heads is only in config.json: copy it from the authors' configs/",
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))[names.CONFIG_SECTION]
        heads = int(config[names.HEADS_FIELD])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ModelError(
            f"{path} cannot be read as D-BETA's configuration: {error!r}", hint="copy it from the authors' configs/"
        ) from error
    for field, wanted in names.CONFIG_WANTED.items():
        if config.get(field, wanted) != wanted:
            raise ModelError(
                f"{field} is {config[field]!r} in {path} (expected {wanted!r})",
                hint="another value would compute something else than this loader does",
            )
    return {**config, names.HEADS_FIELD: heads}
