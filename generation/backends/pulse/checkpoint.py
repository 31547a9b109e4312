"""Reading a checkpoint folder in the original layout without loading its weights: configuration and tensor headers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecgkin.generation.backends.pulse import names
from ecgkin.generation.backends.pulse.images import TileRule
from ecgkin.retrieval.errors import ModelError, WeightsMissingError

CONFIG_FILE = "config.json"
INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"


@dataclass(frozen=True)
class PulseConfig:
    """What config.json of the original layout says, checked.

    Attributes:
        rule: Tiles, resolutions and merge type.
        text: Arguments of `LlamaConfig`.
        tower: Arguments of `CLIPVisionConfig`.
        tower_name: Value of `mm_vision_tower`.
        tower_tuned: True if the tower inside the checkpoint is the one to use (`unfreeze_mm_vision_tower`).
        select_layer: Which hidden state of the tower is read, counted from the end (-2).
        context_length: Longest sequence in tokens, pictures included.
        raw: The file as it is.
    """

    rule: TileRule
    text: Mapping[str, Any]
    tower: Mapping[str, Any]
    tower_name: str
    tower_tuned: bool
    select_layer: int
    context_length: int
    raw: Mapping[str, Any]

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding table in the checkpoint; the first free token id."""
        return int(self.text["vocab_size"])


@dataclass(frozen=True)
class TensorHeader:
    """Shape, type and file of one stored tensor, as the safetensors header gives them."""

    shape: tuple[int, ...]
    dtype: str
    file: str

    @property
    def n_values(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        WeightsMissingError: There is no such file.
        ModelError: It is no JSON object.
    """
    if not path.is_file():
        raise WeightsMissingError(
            f"{path} is not there", hint="point to the folder that holds config.json and *.safetensors"
        )
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds a {type(value).__name__}, expected an object")
    return value


def read_config(folder: Path) -> PulseConfig:
    """Read and check config.json (and the configuration of the tower).

    Raises:
        WeightsMissingError: No config.json, or no configuration of the tower.
        ModelError: Another layout, an unknown merge type, or a value that this loader does not cover.
    """
    raw = read_json(folder / CONFIG_FILE)
    kind = raw.get("model_type")
    if kind in ("llava_next",) or (kind == "llava" and "text_config" in raw):
        raise ModelError(
            f"{folder} is in the Hugging Face layout ({kind}), expected the original one (llava_llama)",
            hint="serve that folder with an OpenAI-compatible server and draft with --model http://...",
        )
    if kind not in names.ORIGINAL_MODEL_TYPES:
        raise ModelError(f"model_type {kind!r} in {folder / CONFIG_FILE}, expected {names.ORIGINAL_MODEL_TYPES[0]!r}")
    tower_name = raw.get(names.TOWER_FIELD)
    if not isinstance(tower_name, str) or not tower_name:
        raise ModelError(f"{folder / CONFIG_FILE} names no vision tower ({names.TOWER_FIELD} is {tower_name!r})")
    merge = raw.get(names.MERGE_FIELD) or names.FLAT
    if merge not in names.MERGE_TYPES:
        raise ModelError(
            f"{names.MERGE_FIELD} is {merge!r} in {folder / CONFIG_FILE}, known are {', '.join(names.MERGE_TYPES)}",
            hint="another merge type needs another packing of the visual tokens; nothing else will do",
        )
    for field, accepted in names.COVERED_VALUES.items():
        if raw.get(field) not in accepted:
            raise ModelError(
                f"{field} is {raw.get(field)!r} in {folder / CONFIG_FILE}, covered: {', '.join(map(repr, accepted))}",
                hint="this loader would compute something else than the model was trained for",
            )
    missing = [field for field in names.TEXT_FIELDS if not isinstance(raw.get(field), int | float)]
    if missing:
        raise ModelError(f"{folder / CONFIG_FILE} lacks {', '.join(missing)}")
    text = {field: raw[field] for field in names.TEXT_FIELDS}
    text["num_key_value_heads"] = raw.get("num_key_value_heads") or raw["num_attention_heads"]
    text |= {field: raw.get(field, usual) for field, usual in names.TEXT_DEFAULTS.items()}
    tower = _read_tower_config(folder, tower_name)
    try:
        pinpoints = tuple((int(w), int(h)) for w, h in raw[names.PINPOINTS_FIELD])
        select_layer = int(raw[names.SELECT_LAYER_FIELD])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{folder / CONFIG_FILE}: {names.PINPOINTS_FIELD} (list of pairs) or {names.SELECT_LAYER_FIELD} (integer) "
            f"cannot be read: {error!r}"
        ) from error
    if not -int(tower["num_hidden_layers"]) - 1 <= select_layer <= -1:
        raise ModelError(
            f"{names.SELECT_LAYER_FIELD} is {select_layer}, expected -1 to -{tower['num_hidden_layers'] + 1}"
        )
    longest = int(raw["max_position_embeddings"])
    return PulseConfig(
        rule=TileRule(int(tower["image_size"]), int(tower["patch_size"]), pinpoints, str(merge)),
        text=text,
        tower=tower,
        tower_name=tower_name,
        tower_tuned=raw.get(names.TOWER_TUNED_FIELD) is True,
        select_layer=select_layer,
        context_length=min(longest, int(raw.get(names.CONTEXT_FIELD) or longest)),
        raw=raw,
    )


def _read_tower_config(folder: Path, tower_name: str) -> Mapping[str, Any]:
    """Geometry of the tower: from a folder beside the weights, the known towers, or a local folder of that name."""
    for place in (folder / names.TOWER_FOLDER, Path(tower_name)):
        if (place / CONFIG_FILE).is_file():
            values = read_json(place / CONFIG_FILE)
            values = values.get("vision_config", values)
            missing = [field for field in names.TOWER_FIELDS if field not in values]
            if missing:
                raise ModelError(f"{place / CONFIG_FILE} lacks {', '.join(missing)}")
            return {field: values[field] for field in names.TOWER_FIELDS}
    if tower_name in names.KNOWN_TOWERS:
        return dict(names.KNOWN_TOWERS[tower_name])
    raise WeightsMissingError(
        f"the geometry of the vision tower {tower_name!r} is not known",
        hint=f"put its config.json into {folder / names.TOWER_FOLDER}",
    )


def read_headers(folder: Path) -> dict[str, TensorHeader]:
    """Name, shape and type of every tensor in the safetensors files of a folder; reads headers only.

    Raises:
        WeightsMissingError: No safetensors file, or one that the index names is not there.
        ModelError: A damaged file, a tensor stored twice, or index and files that do not belong together.
    """
    index: dict[str, str] | None = None
    if (folder / INDEX_FILE).is_file():
        index = read_json(folder / INDEX_FILE).get("weight_map")
        if not isinstance(index, dict) or not index:
            raise ModelError(f"{folder / INDEX_FILE} has no weight_map")
        files = sorted(set(index.values()))
    elif (folder / SINGLE_FILE).is_file():
        files = [SINGLE_FILE]
    else:
        pickled = sorted(p.name for p in folder.glob("pytorch_model*.bin"))
        found = f"only {pickled[0]}, which is a pickle and is not opened" if pickled else "none"
        raise WeightsMissingError(
            f"no safetensors in {folder} (found {found})", hint="convert the weights to safetensors"
        )
    headers: dict[str, TensorHeader] = {}
    for file in files:
        for name, header in _read_file(folder, file).items():
            if name in headers:
                raise ModelError(f"tensor {name} is stored twice, in {headers[name].file} and {file}")
            headers[name] = header
    if index is not None:
        lost = sorted(name for name, file in index.items() if name not in headers or headers[name].file != file)
        if lost:
            raise ModelError(f"{len(lost)} tensors are not where the index says, first {lost[0]} ({index[lost[0]]})")
        stray = sorted(set(headers) - set(index))
        if stray:
            raise ModelError(f"{len(stray)} tensors are in no index, first {stray[0]} ({headers[stray[0]].file})")
    return headers


def _read_file(folder: Path, file: str) -> dict[str, TensorHeader]:
    from safetensors import SafetensorError, safe_open

    if Path(file).name != file:
        raise ModelError(f"the index of {folder} names {file!r}, expected a file in the same folder")
    path = folder / file
    if not path.is_file():
        raise WeightsMissingError(f"{path} is not there, but the index names it", hint="the download is not complete")
    try:
        with safe_open(path, framework="numpy") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
            return {n: TensorHeader(tuple(s.get_shape()), str(s.get_dtype()), file) for n, s in slices.items()}
    except SafetensorError as error:
        raise ModelError(f"{path} is damaged: {error}", hint="fetch the file again") from error


def tower_is_inside(headers: Mapping[str, TensorHeader]) -> bool:
    """True if the checkpoint carries tensors of the vision tower."""
    return any(name.startswith(names.TOWER_PREFIX) for name in headers)


def compare_tensors(
    headers: Mapping[str, TensorHeader], expected: Mapping[str, tuple[int, ...]], *, tower: bool, newline: bool
) -> None:
    """Refuse a checkpoint whose tensors are not exactly those of the model.

    Args:
        headers: What is stored, original names.
        expected: Shape of every tensor of the model, transformers' names.
        tower: True if the tower's tensors must be there.
        newline: True if the vector that ends a row is needed (`spatial_unpad`); a flat checkpoint may have dropped it.

    Raises:
        ModelError: A tensor is missing, extra or has another shape; the message names the first.
    """
    stored = {name: header for name, header in headers.items() if not names.BUFFERS.search(name)}
    wanted = {names.to_original(name): shape for name, shape in expected.items()}
    if not tower:
        wanted = {name: shape for name, shape in wanted.items() if not name.startswith(names.TOWER_PREFIX)}
        stored = {name: header for name, header in stored.items() if not name.startswith(names.TOWER_PREFIX)}
    if not newline and names.NEWLINE not in stored:
        wanted.pop(names.NEWLINE, None)
    for what, odd in (("lacks", sorted(set(wanted) - set(stored))), ("has", sorted(set(stored) - set(wanted)))):
        if odd:
            word = "tensors of the model" if what == "lacks" else "tensors that the model does not know"
            raise ModelError(
                f"the checkpoint {what} {len(odd)} {word}, first {odd[0]}", hint="is it a LLaVA-1.6 checkpoint?"
            )
    for name, header in stored.items():
        if header.shape != wanted[name]:
            raise ModelError(f"tensor {name} has shape {header.shape}, config.json implies {wanted[name]}")
