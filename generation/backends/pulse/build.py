"""From a checked configuration to transformers' objects: model configuration, tokenizer, picture processor, packing."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ecgkin.generation.backends.pulse import names
from ecgkin.generation.backends.pulse.checkpoint import PulseConfig
from ecgkin.generation.backends.pulse.images import TileRule, choose_resolution, cut_borders
from ecgkin.retrieval.encoders.compat import prepare_torchvision
from ecgkin.retrieval.errors import ModelError, WeightsMissingError


def import_transformers() -> Any:
    """The package transformers, of a version whose module names this loader knows.

    Raises:
        ModelError: It is older than 5, where the tensors of the tower have other names.
    """
    prepare_torchvision()
    import transformers

    if int(transformers.__version__.split(".")[0]) < 5:
        raise ModelError(
            f"transformers {transformers.__version__} is installed, PULSE needs 5 or newer",
            hint="pip install 'transformers>=5,<6'",
        )
    return transformers


def model_config(config: PulseConfig) -> Any:
    """`LlavaNextConfig` of a checkpoint; the token of the picture is the first free id."""
    transformers = import_transformers()
    side = config.rule.patches_per_side
    return transformers.LlavaNextConfig(
        text_config=transformers.LlamaConfig(**config.text, tie_word_embeddings=False, attention_bias=False),
        vision_config=transformers.CLIPVisionConfig(**config.tower),
        image_token_index=config.vocab_size,
        projector_hidden_act="gelu",
        vision_feature_layer=config.select_layer,
        vision_feature_select_strategy="default",
        image_grid_pinpoints=pinpoints_hw(config.rule),
        image_seq_length=side * side,
        multimodal_projector_bias=True,
        tie_word_embeddings=False,
    )


def pinpoints_hw(rule: TileRule) -> list[list[int]]:
    """Resolutions as transformers wants them: (height, width), in the same order, because ties take the first."""
    return [[height, width] for width, height in rule.pinpoints_wh]


def expected_shapes(config: PulseConfig) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of the model, by transformers' names; allocates nothing."""
    import torch

    transformers = import_transformers()
    with torch.device("meta"):
        model = transformers.LlavaNextForConditionalGeneration(model_config(config))
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def load_tokenizer(folder: Path) -> Any:
    """The Llama tokenizer of a checkpoint, to be used piece by piece (`prompt.encode_prompt`).

    Raises:
        WeightsMissingError: The folder holds no tokenizer.
        ModelError: It does not put one BOS in front, or cannot be read.
    """
    if not any((folder / name).is_file() for name in ("tokenizer.model", "tokenizer.json")):
        raise WeightsMissingError(f"{folder} has neither tokenizer.model nor tokenizer.json")
    if not (folder / "tokenizer.json").is_file() and importlib.util.find_spec("sentencepiece") is None:
        raise ModelError(
            f"reading {folder / 'tokenizer.model'} needs sentencepiece, which is not installed",
            hint="pip install sentencepiece",
        )
    transformers = import_transformers()
    try:
        tokenizer = transformers.LlamaTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # the converters of transformers raise nearly anything on a damaged file
        raise ModelError(f"the tokenizer in {folder} cannot be read: {type(error).__name__}: {error}") from error
    ids = tokenizer("a").input_ids
    if (
        not ids
        or ids[0] != tokenizer.bos_token_id
        or tokenizer.bos_token_id in ids[1:]
        or ids[-1] == tokenizer.eos_token_id
    ):
        raise ModelError(f"the tokenizer in {folder} turns 'a' into {ids}, expected one BOS in front and no EOS")
    return tokenizer


def load_image_processor(rule: TileRule) -> Any:
    """Transformers' picture processor in its Pillow version; the one on tensors gives other pixels on thin lines."""
    transformers = import_transformers()
    side = rule.tile_px
    return transformers.LlavaNextImageProcessorPil(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_grid_pinpoints=pinpoints_hw(rule),
        image_mean=list(names.CLIP_MEAN),
        image_std=list(names.CLIP_STD),
    )


def pack_features(features: Sequence[Any], image_sizes: Any, rule: TileRule, newline: Any) -> tuple[list[Any], Any]:
    """Visual vectors of each picture in the order in which the language model reads them.

    Args:
        features: One tensor a picture, shape (tiles, patches, hidden), the overview first.
        image_sizes: (height, width) of the original pictures in pixels, shape (n_pictures, 2).
        rule: Merge type and geometry.
        newline: Vector that ends each row in `spatial_unpad`, shape (hidden,); not read for `flat`.

    Returns:
        One tensor (n_tokens, hidden) a picture, and a tensor of the n_tokens.
    """
    import torch

    if rule.merge == names.FLAT:
        packed = [tiles.flatten(0, 1) for tiles in features]
    else:
        sizes = [(int(width), int(height)) for height, width in torch.as_tensor(image_sizes).tolist()]
        packed = [
            _pack_spatial(tiles, size, rule, newline.to(tiles)) for tiles, size in zip(features, sizes, strict=True)
        ]
    lengths = torch.tensor([len(tokens) for tokens in packed], dtype=torch.long, device=features[0].device)
    return packed, lengths


def _pack_spatial(tiles: Any, size_wh: tuple[int, int], rule: TileRule, newline: Any) -> Any:
    import torch

    side = rule.patches_per_side
    target_w, target_h = choose_resolution(*size_wh, rule.pinpoints_wh)
    across, down = target_w // rule.tile_px, target_h // rule.tile_px
    grid = tiles[1:].view(down, across, side, side, -1).permute(0, 2, 1, 3, 4)
    grid = grid.reshape(down * side, across * side, -1)
    cut_x, cut_y = cut_borders(*size_wh, across * side, down * side)
    grid = grid[cut_y : grid.shape[0] - cut_y, cut_x : grid.shape[1] - cut_x]
    rows = torch.cat([grid, newline.expand(grid.shape[0], 1, -1)], dim=1)
    return torch.cat([tiles[0], rows.flatten(0, 1)])


def use_packing(model: Any, rule: TileRule) -> None:
    """Make a `LlavaNextForConditionalGeneration` merge as its checkpoint was trained; stock it knows one way only.

    Args:
        model: Changed in place.
        rule: How the checkpoint cuts pictures and merges their tiles.
    """

    def pack(image_features: Sequence[Any], image_sizes: Any, *_: Any, image_newline: Any = None, **__: Any) -> Any:
        return pack_features(image_features, image_sizes, rule, image_newline)

    model.model.pack_image_features = pack
