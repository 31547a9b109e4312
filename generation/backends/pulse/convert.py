"""From the original layout to the one that servers load, tensor by tensor, without building the model.

A `flat` checkpoint becomes one for the LLaVA-1.5 classes: a flat merge is the same as several pictures in a row, so
the client cuts the picture into tiles and sends each as a picture of its own, and stock classes compute exactly what
the original code does. A `spatial_unpad` checkpoint becomes one for the LLaVA-NeXT classes.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ecgkin.generation.backends.pulse import names
from ecgkin.generation.backends.pulse.build import (
    import_transformers,
    load_image_processor,
    load_tokenizer,
    model_config,
)
from ecgkin.generation.backends.pulse.checkpoint import INDEX_FILE, PulseConfig, read_config, read_headers
from ecgkin.generation.backends.pulse.images import TileRule, image_tokens, pulse_page_size
from ecgkin.generation.backends.pulse.model import check_tensors, find_checkpoint
from ecgkin.retrieval.errors import InputError, ModelError

# As in published LLaVA checkpoints: a multiple of 64 above the vocabulary, with room for the picture's token.
_ROW_MULTIPLE = 64

# One user turn after the other; the picture's tokens stand before the question, then a space and a newline. The space
# stands for SentencePiece's leading space piece, which is lost when the whole prompt is tokenized at once.
CHAT_TEMPLATE = (
    "{%- set ns = namespace(system=" + json.dumps(names.SYSTEM_TEXT) + ") -%}"
    "{%- for m in messages if m['role'] == 'system' -%}"
    "{%- set ns.system = m['content'] if m['content'] is string else m['content'][0]['text'] -%}"
    "{%- endfor -%}"
    "{{- ns.system + ' ' -}}"
    "{%- for m in messages if m['role'] != 'system' -%}"
    "{%- if m['role'] == 'assistant' -%}"
    "{{- ' ' + (m['content'] if m['content'] is string else m['content'][0]['text']) + '</s>' -}}"
    "{%- else -%}"
    "{{- 'USER: ' -}}"
    "{%- if m['content'] is string -%}{{- m['content'] -}}"
    "{%- else -%}"
    "{%- set pictures = m['content'] | selectattr('type', 'in', ['image', 'image_url']) | list -%}"
    "{%- for p in pictures -%}{{- '<image>' -}}{%- endfor -%}"
    "{%- if pictures -%}{{- ' \\n' -}}{%- endif -%}"
    "{%- for p in m['content'] if p['type'] == 'text' -%}{{- p['text'] -}}{%- endfor -%}"
    "{%- endif -%}"
    "{{- ' ASSISTANT:' -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
)


@dataclass(frozen=True)
class ConvertReport:
    """What was written and what to know about it."""

    source: str
    target: str
    merge: str
    model_class: str
    files: tuple[str, ...]
    n_tensors: int
    n_bytes: int
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"{self.source} ({self.merge}) -> {self.target}",
            f"class {self.model_class}, {self.n_tensors} tensors, {self.n_bytes / 1e9:.2f} GB, {len(self.files)} files",
            *self.warnings,
        ]


def convert(source: str | Path, target: str | Path, *, tower: str | Path | None = None) -> ConvertReport:
    """Write the Hugging Face layout of an original-layout checkpoint.

    Every tensor keeps its type; embedding and output table get further rows, of which the first is the picture's
    token. The new output rows repeat the row of `<unk>`, so that no new token ever has a larger logit than `<unk>`.

    Args:
        source: Folder or hub id of the checkpoint.
        target: Folder to write; must not be there, or be empty. It appears only when all is written.
        tower: As in `load_pulse`.

    Returns:
        What was written, and what a server could get wrong.

    Raises:
        WeightsMissingError: A file is missing, or there is no tower.
        ModelError: The checkpoint is damaged or of another kind.
        InputError: The target is not empty.
    """
    folder, out = find_checkpoint(source), Path(target)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is there and not empty", hint="give a new folder")
    config = read_config(folder)
    tower_folder = check_tensors(folder, config, tower)
    part = out.with_name(out.name + ".part")
    if part.exists():
        shutil.rmtree(part)
    part.mkdir(parents=True)
    try:
        n_tensors, n_bytes = _write_weights(folder, part, config, tower_folder)
        model_class = _write_config(folder, part, config)
        warnings = server_warnings(config)
        (part / "README.md").write_text(_readme(config, model_class, warnings), encoding="utf-8")
        if out.exists():
            out.rmdir()
        os.replace(part, out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    files = tuple(sorted(p.name for p in out.iterdir()))
    return ConvertReport(
        str(folder), str(out), config.rule.merge, model_class, files, n_tensors, n_bytes, tuple(warnings)
    )


def server_warnings(config: PulseConfig) -> list[str]:
    """What a server would get wrong with this checkpoint, with the numbers by which it shows."""
    rule = config.rule
    letter = (2200, 1700)
    page = pulse_page_size()
    if rule.merge == names.FLAT:
        other = TileRule(rule.tile_px, rule.patch_px, rule.pinpoints_wh, names.SPATIAL_UNPAD)
        return [
            "This checkpoint was trained with merge type flat. LLaVA-NeXT classes of servers know spatial_unpad only: "
            "they would load these weights without a message, cut off the borders and put in line ends that the model "
            "never saw in training. Hence the LLaVA-1.5 class here, and a client that sends each tile as a picture.",
            f"Check: the prompt of a {letter[0]}x{letter[1]} picture must hold {image_tokens(*letter, rule)} visual "
            f"tokens ({image_tokens(*letter, other)} means spatial_unpad), that of a {page[0]}x{page[1]} page "
            f"{image_tokens(*page, rule)} ({image_tokens(*page, other)} means spatial_unpad).",
            f"Check: the server must accept {1 + max(_tiles(rule))} pictures in one message (vLLM: "
            "--limit-mm-per-prompt).",
            _BOS_WARNING,
        ]
    return [
        "This checkpoint was trained with merge type spatial_unpad, which LLaVA-NeXT classes of servers know. "
        "They round to seven digits before truncating, the original does not: rare sizes get another number of rows (2 "
        f"of 488,686 sampled, 2768x2249 for one). A page of exactly 2:1, {page[0]}x{page[1]}, is not affected.",
        "A server with torchvision resizes on tensors: grey levels of thin lines differ from training.",
        f"Check: the prompt of a {page[0]}x{page[1]} page must hold {image_tokens(*page, rule)} visual tokens.",
        _BOS_WARNING,
    ]


_BOS_WARNING = (
    "The chat template writes no <s>, the tokenizer adds it. A server that tokenizes chat prompts without special "
    "tokens (vLLM unless told otherwise) needs add_special_tokens: true in the request."
)


def _tiles(rule: TileRule) -> list[int]:
    return [(w // rule.tile_px) * (h // rule.tile_px) for w, h in rule.pinpoints_wh]


def _write_weights(folder: Path, part: Path, config: PulseConfig, tower: Path | None) -> tuple[int, int]:
    """One output file per input file, so that no more than one is in memory."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    files = sorted({header.file for header in read_headers(folder).values()})
    sources = [folder / file for file in files] + ([tower / "model.safetensors"] if tower is not None else [])
    where: dict[str, str] = {}
    n_bytes = 0
    for number, path in enumerate(sources, start=1):
        file = f"model-{number:05d}-of-{len(sources):05d}.safetensors"
        tensors = {}
        with safe_open(path, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - not a dict
                from_tower = tower is not None and path == sources[-1]
                target = _target_name(name, config, own_tower=tower is None, from_tower=from_tower)
                if target is not None:
                    tensors[target] = _with_rows(name, opened.get_tensor(name), config)
        save_file(tensors, part / file, metadata={"format": "pt"})
        where |= dict.fromkeys(tensors, file)
        n_bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    index = {"metadata": {"total_size": n_bytes}, "weight_map": dict(sorted(where.items()))}
    (part / INDEX_FILE).write_text(json.dumps(index, indent=1), encoding="utf-8")
    return len(where), n_bytes


def _target_name(name: str, config: PulseConfig, *, own_tower: bool, from_tower: bool) -> str | None:
    """Published name of a tensor, None for one that is not taken over."""
    if names.BUFFERS.search(name):
        return None
    if from_tower:
        return f"vision_tower.{name}" if name.startswith("vision_model.") else None
    if name.startswith(names.TOWER_PREFIX) and not own_tower:
        return None
    if name == names.NEWLINE and config.rule.merge == names.FLAT:
        return None
    target = names.to_transformers(name, names.PUBLISHED_PREFIXES)
    if target is None:
        raise ModelError(f"tensor {name} has no name in the published layout")
    return target


def _with_rows(name: str, tensor: Any, config: PulseConfig) -> Any:
    import torch

    if name not in (names.EMBEDDING, names.HEAD):
        return tensor.contiguous()
    # id 0 is <unk> in every Llama vocabulary: with byte fallback it is never produced
    extra = tensor[:1].expand(_n_rows(config) - config.vocab_size, -1)
    return torch.cat([tensor, extra if name == names.HEAD else torch.zeros_like(extra)]).contiguous()


def _n_rows(config: PulseConfig) -> int:
    return (config.vocab_size // _ROW_MULTIPLE + 1) * _ROW_MULTIPLE


def _write_config(folder: Path, part: Path, config: PulseConfig) -> str:
    transformers = import_transformers()
    rule, flat = config.rule, config.rule.merge == names.FLAT
    full = model_config(config)
    full.text_config.vocab_size = _n_rows(config)
    dtype = _stored_dtype(folder)
    kind = transformers.LlavaForConditionalGeneration if flat else transformers.LlavaNextForConditionalGeneration
    if flat:
        shared = ("image_token_index", "projector_hidden_act", "vision_feature_layer", "vision_feature_select_strategy")
        values = {field: getattr(full, field) for field in (*shared, "image_seq_length", "multimodal_projector_bias")}
        full = transformers.LlavaConfig(
            text_config=full.text_config, vision_config=full.vision_config, tie_word_embeddings=False, **values
        )
    full.architectures, full.dtype = [kind.__name__], dtype
    full.save_pretrained(part)
    transformers.GenerationConfig(
        do_sample=False,
        bos_token_id=config.text["bos_token_id"],
        eos_token_id=config.text["eos_token_id"],
        pad_token_id=config.text["pad_token_id"],
        suppress_tokens=list(range(config.vocab_size, _n_rows(config))),
    ).save_pretrained(part)
    tokenizer = load_tokenizer(folder)
    tokenizer.add_tokens(
        [transformers.AddedToken(names.IMAGE_MARK, special=True, normalized=False)], special_tokens=True
    )
    if tokenizer.convert_tokens_to_ids(names.IMAGE_MARK) != config.vocab_size:
        raise ModelError(
            f"{names.IMAGE_MARK} did not become token {config.vocab_size}: the tokenizer has other extra tokens"
        )
    tokenizer.padding_side = "left"
    side = rule.tile_px
    options: dict[str, Any] = {
        "tokenizer": tokenizer,
        "patch_size": rule.patch_px,
        "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,  # the class token, which the strategy takes off again
        "chat_template": CHAT_TEMPLATE,
    }
    if flat:
        pictures = transformers.CLIPImageProcessorPil(
            size={"shortest_edge": side},
            crop_size={"height": side, "width": side},
            image_mean=list(names.CLIP_MEAN),
            image_std=list(names.CLIP_STD),
        )
        transformers.LlavaProcessor(image_processor=pictures, **options).save_pretrained(part)
    else:
        pictures = load_image_processor(rule)
        transformers.LlavaNextProcessor(image_processor=pictures, **options).save_pretrained(part)
    # older readers look for this file, and know the class without the suffix
    older = pictures.to_dict() | {"image_processor_type": type(pictures).__name__.removesuffix("Pil")}
    (part / "preprocessor_config.json").write_text(json.dumps(older, indent=1, default=str), encoding="utf-8")
    settings = rule.to_dict() | {"send_tiles": flat, "context_length": config.context_length}
    (part / names.SETTINGS_FILE).write_text(json.dumps(settings, indent=1), encoding="utf-8")
    return str(kind.__name__)


def _stored_dtype(folder: Path) -> str:
    """The type most values are stored in, by torch's name."""
    totals: dict[str, int] = {}
    for header in read_headers(folder).values():
        totals[header.dtype] = totals.get(header.dtype, 0) + header.n_values
    most = max(totals, key=lambda dtype: totals[dtype])
    return {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}.get(most, "float16")


def _readme(config: PulseConfig, model_class: str, warnings: list[str]) -> str:
    name = Path(str(config.raw.get("_name_or_path") or "checkpoint")).name
    points = "\n".join(f"- {warning}" for warning in warnings)
    return (
        f"# {name} for servers ({model_class})\n\nWritten by `ecgkin pulse convert` from the original LLaVA-1.6 "
        f"layout. `{names.SETTINGS_FILE}` tells ecgkin's client how to cut pictures.\n\n{points}\n"
    )
