"""Loading a PULSE checkpoint: find it, check every tensor by its header, read it, make it ready to answer."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecgkin.generation.backends.pulse import names
from ecgkin.generation.backends.pulse.build import (
    expected_shapes,
    import_transformers,
    load_image_processor,
    load_tokenizer,
    model_config,
    use_packing,
)
from ecgkin.generation.backends.pulse.checkpoint import (
    SINGLE_FILE,
    PulseConfig,
    compare_tensors,
    read_config,
    read_headers,
    tower_is_inside,
)
from ecgkin.generation.backends.pulse.model import PulseModel
from ecgkin.retrieval.errors import ModelError, WeightsMissingError

DTYPES = ("float16", "bfloat16", "float32")
QUANTIZATIONS = ("8bit", "4bit")
_log = logging.getLogger(__name__)


def load_pulse(
    source: str | Path,
    *,
    dtype: str = "auto",
    quantize: str | None = None,
    device: str | None = None,
    device_map: str | Mapping[str, Any] | None = None,
    tower: str | Path | None = None,
) -> PulseModel:
    """Load a checkpoint in the original LLaVA-1.6 layout.

    Args:
        source: Folder, or a hub id such as `PULSE-ECG/PULSE-7B` (which is then fetched).
        dtype: `float16`, `bfloat16`, `float32`, or `auto`: float16 on a GPU (as in the published evaluation), float32
            on a CPU.
        quantize: `8bit` or `4bit` (nf4) for the language model, by bitsandbytes; tower and projector stay in 16 bit.
        device: Torch device; the GPU if there is one, otherwise the CPU. Not together with `device_map`.
        device_map: As in `from_pretrained`, to spread the model over devices.
        tower: Folder with the weights of the CLIP tower that config.json names; needed, and read, only where the
            checkpoint does not use a tower of its own.

    Raises:
        WeightsMissingError: Nothing there, a file is missing, or there is no tower.
        ModelError: Another layout, an unknown merge type, a tensor missing, extra or misshapen, or a missing library.
    """
    folder = find_checkpoint(source)
    config = read_config(folder)
    tower_folder = check_tensors(folder, config, tower)
    options = _load_options(dtype, quantize, device, device_map)
    model = _read_model(folder, config, options, tower_folder)
    if quantize is None and device_map is None:
        model = model.to(_device(device))
    name = f"pulse:{folder.name}"
    _log.info("loaded %s merge=%s dtype=%s device=%s", name, config.rule.merge, model.dtype, model.device)
    return PulseModel(model, load_tokenizer(folder), load_image_processor(config.rule), config, name)


def find_checkpoint(source: str | Path) -> Path:
    """The folder of a checkpoint; a hub id is fetched (weights, config and tokenizer only).

    Raises:
        WeightsMissingError: No such folder, and the hub does not give it either.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    text = str(source)
    if text.count("/") != 1 or text.startswith((".", "/", "~")):
        raise WeightsMissingError(f"{text} is no folder", hint=f"give a folder, or a hub id such as {names.HUB_ID}")
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.safetensors", "tokenizer.model"]
    try:
        return Path(snapshot_download(text, allow_patterns=patterns))
    except Exception as error:  # the hub client raises its own, httpx's and OS errors
        raise WeightsMissingError(
            f"{text} is no folder here, and the hub did not give it: {type(error).__name__}",
            hint="fetch the checkpoint elsewhere and give its folder",
        ) from error


def check_tensors(folder: Path, config: PulseConfig, tower: str | Path | None = None) -> Path | None:
    """Check every tensor by its header, and that there is a tower.

    Args:
        folder: Of the checkpoint.
        config: Read from it.
        tower: Folder of the CLIP tower, for a checkpoint without its own.

    Returns:
        The folder to take the tower from, None if the checkpoint's own is the one to use.

    Raises:
        WeightsMissingError: A file is missing or there is no tower.
        ModelError: A tensor is missing, extra or misshapen.
    """
    headers = read_headers(folder)
    inside = tower_is_inside(headers) and config.tower_tuned
    if not inside and tower is None:
        why = (
            f"{names.TOWER_TUNED_FIELD} is not true, so that the tower inside the checkpoint must not be used"
            if tower_is_inside(headers)
            else f"no tensor in {folder} starts with {names.TOWER_PREFIX}"
        )
        raise WeightsMissingError(f"no vision tower: {why}", hint=f"give the folder of {config.tower_name} as tower")
    newline = config.rule.merge == names.SPATIAL_UNPAD
    compare_tensors(headers, expected_shapes(config), tower=inside, newline=newline)
    if inside or tower is None:
        return None
    if not (Path(tower) / SINGLE_FILE).is_file():
        raise WeightsMissingError(f"{Path(tower) / SINGLE_FILE} is not there")
    return Path(tower)


def _device(device: str | None) -> str:
    import torch

    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def _load_options(
    dtype: str, quantize: str | None, device: str | None, device_map: str | Mapping[str, Any] | None
) -> dict[str, Any]:
    import torch

    transformers = import_transformers()
    if device is not None and device_map is not None:
        raise ModelError("both device and device_map are given", hint="give one of them")
    if dtype == "auto":
        dtype = "float32" if device_map is None and _device(device) == "cpu" and quantize is None else "float16"
    if dtype not in DTYPES:
        raise ModelError(f"dtype {dtype!r}, expected auto, {', '.join(DTYPES)}")
    options: dict[str, Any] = {"dtype": getattr(torch, dtype)}
    if device_map is not None:
        options["device_map"] = device_map
    if quantize is None:
        return options
    if quantize not in QUANTIZATIONS:
        raise ModelError(f"quantize {quantize!r}, expected {' or '.join(QUANTIZATIONS)}")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(f"{quantize} needs bitsandbytes, which is not installed", hint="pip install bitsandbytes")
    kind = (
        {"load_in_8bit": True}
        if quantize == "8bit"
        else {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": True,
            "bnb_4bit_compute_dtype": options["dtype"],
        }
    )
    options["quantization_config"] = transformers.BitsAndBytesConfig(**kind, llm_int8_skip_modules=names.NOT_QUANTIZED)
    options.setdefault("device_map", {"": _device(device)})
    return options


def _read_model(folder: Path, config: PulseConfig, options: dict[str, Any], tower: Path | None) -> Any:
    transformers = import_transformers()
    try:
        model, info = transformers.LlavaNextForConditionalGeneration.from_pretrained(
            str(folder),
            config=model_config(config),
            key_mapping=names.key_mapping(),
            output_loading_info=True,
            local_files_only=True,
            use_safetensors=True,
            **options,
        )
    except (RuntimeError, ValueError, OSError, ImportError) as error:
        raise ModelError(f"{folder} cannot be loaded: {type(error).__name__}: {error}") from error
    missing = {name for name in info["missing_keys"] if name != names.NEWLINE}
    if tower is not None:
        missing = {name for name in missing if not name.startswith("model.vision_tower.")}
        _read_tower(model, tower)
    unexpected = {name for name in info["unexpected_keys"] if not names.BUFFERS.search(name)}
    for what, odd in (("random", missing), ("unused", unexpected), ("misshapen", info["mismatched_keys"])):
        if odd:
            raise ModelError(f"transformers left {len(odd)} tensors {what}, first {sorted(map(str, odd))[0]}")
    return make_ready(model, config)


def _read_tower(model: Any, tower: Path) -> None:
    from safetensors.torch import load_file

    stored = load_file(tower / SINGLE_FILE)
    prefix = "vision_model."
    weights = {
        n.removeprefix(prefix): t for n, t in stored.items() if n.startswith(prefix) and not names.BUFFERS.search(n)
    }
    try:
        model.model.vision_tower.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(f"the tower in {tower} does not fit: {error}") from error


def make_ready(model: Any, config: PulseConfig) -> Any:
    """Packing, a row for the picture's token, and greedy decoding that can never emit that token.

    Args:
        model: As transformers loaded it; changed in place.
        config: Of the checkpoint.

    Returns:
        The model in eval mode.
    """
    transformers = import_transformers()
    use_packing(model, config.rule)
    # transformers looks the placeholder up in the embedding table before it overwrites the rows
    model.resize_token_embeddings(config.vocab_size + 1, mean_resizing=False)
    model.config.text_config.use_cache = True  # checkpoints of a running training carry false
    # checkpoints carry Vicuna's sampling settings; the published evaluation is greedy
    model.generation_config = transformers.GenerationConfig(
        do_sample=False,
        bos_token_id=config.text["bos_token_id"],
        eos_token_id=config.text["eos_token_id"],
        pad_token_id=config.text["pad_token_id"],
        suppress_tokens=[config.vocab_size],
    )
    return model.eval()
