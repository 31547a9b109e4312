"""Every name that comes from outside: keys, config fields and texts of the original layout and of transformers.

Sources: repository AIMedLab/PULSE at commit a439b6c (training flags, conversation template, eval settings) and
transformers 5.23.0 (module names). What is known about them, and how it was tried out, is in docs/pulse.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HUB_ID = "PULSE-ECG/PULSE-7B"

# what `convert` leaves beside the weights for the client that talks to the server
SETTINGS_FILE = "pulse.json"

# --- texts of the conversation template `llava_v1` (the training script names it; the module default would be another)
SYSTEM_TEXT = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
USER_MARK = "USER:"
ASSISTANT_MARK = "ASSISTANT:"
IMAGE_MARK = "<image>"
END_OF_TURN = "</s>"

# --- config.json of the original layout
ORIGINAL_MODEL_TYPES = ("llava_llama", "llava")
FLAT = "flat"
SPATIAL_UNPAD = "spatial_unpad"
MERGE_TYPES = (FLAT, SPATIAL_UNPAD)
MERGE_FIELD = "mm_patch_merge_type"
PINPOINTS_FIELD = "image_grid_pinpoints"
TOWER_FIELD = "mm_vision_tower"
TOWER_TUNED_FIELD = "unfreeze_mm_vision_tower"
SELECT_LAYER_FIELD = "mm_vision_select_layer"
CONTEXT_FIELD = "tokenizer_model_max_length"

# Fields whose other values change the arithmetic in a way that this loader does not know: field -> accepted values.
# None stands for "null or not there".
COVERED_VALUES: Mapping[str, tuple[Any, ...]] = {
    "mm_projector_type": ("mlp2x_gelu",),
    "mm_vision_select_feature": ("patch", None),
    "mm_use_im_start_end": (False, None),
    "mm_use_im_patch_token": (False, None),
    "mm_resampler_type": (None,),
    "image_aspect_ratio": ("anyres",),
    "rope_scaling": (None,),
    "hidden_act": ("silu", None),
    "attention_bias": (False, None),
    "tie_word_embeddings": (False, None),
}

# Fields that go to LlamaConfig under their own name; all but the last two must be there, because the defaults of
# LlamaConfig belong to another model (rms_norm_eps 1e-6, for one).
TEXT_FIELDS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "vocab_size",
    "max_position_embeddings",
    "rms_norm_eps",
)
TEXT_DEFAULTS: Mapping[str, Any] = {
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}

# --- the vision tower
TOWER_FOLDER = "vision_tower"
TOWER_FIELDS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "image_size",
    "patch_size",
    "hidden_act",
    "layer_norm_eps",
)
KNOWN_TOWERS: Mapping[str, Mapping[str, Any]] = {
    "openai/clip-vit-large-patch14-336": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 336,
        "patch_size": 14,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
    }
}
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
PINPOINTS_7B = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))  # (width, height)

# --- tensors: prefix in the original layout -> prefix in LlavaNextForConditionalGeneration (and, but for the newline,
# in LlavaForConditionalGeneration) of transformers 5
TENSOR_PREFIXES: tuple[tuple[str, str], ...] = (
    ("model.vision_tower.vision_tower.vision_model.", "model.vision_tower."),
    ("model.mm_projector.0.", "model.multi_modal_projector.linear_1."),
    ("model.mm_projector.2.", "model.multi_modal_projector.linear_2."),
    ("model.image_newline", "model.image_newline"),
    ("model.embed_tokens.", "model.language_model.embed_tokens."),
    ("model.layers.", "model.language_model.layers."),
    ("model.norm.", "model.language_model.norm."),
    ("lm_head.", "lm_head."),
)
# The layout in which LLaVA checkpoints are published for servers; transformers 4 and 5 both read it.
PUBLISHED_PREFIXES: tuple[tuple[str, str], ...] = (
    ("model.vision_tower.vision_tower.vision_model.", "vision_tower.vision_model."),
    ("model.mm_projector.0.", "multi_modal_projector.linear_1."),
    ("model.mm_projector.2.", "multi_modal_projector.linear_2."),
    ("model.image_newline", "image_newline"),
    ("model.embed_tokens.", "language_model.model.embed_tokens."),
    ("model.layers.", "language_model.model.layers."),
    ("model.norm.", "language_model.model.norm."),
    ("lm_head.", "language_model.lm_head."),
)
TOWER_PREFIX = TENSOR_PREFIXES[0][0]
NEWLINE = "model.image_newline"
EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"
PROJECTOR = "model.mm_projector.0.weight"
# Buffers that old files carry; today's classes compute them.
BUFFERS = re.compile(r"(\.rotary_emb\.inv_freq|\.embeddings\.position_ids)$")

# Modules that stay in 16 bit when the rest is quantized: full names inside LlavaNextForConditionalGeneration, because
# transformers compares them from the start.
NOT_QUANTIZED = ["model.vision_tower", "model.multi_modal_projector", "lm_head"]


def key_mapping() -> dict[str, str]:
    """The tensor names as regular expressions, in the form `from_pretrained(key_mapping=...)` reads."""
    return {f"^{re.escape(original)}": ours for original, ours in TENSOR_PREFIXES if original != ours}


def to_transformers(name: str, prefixes: tuple[tuple[str, str], ...] = TENSOR_PREFIXES) -> str | None:
    """Name of an original tensor in transformers, None for a name that the layout does not know.

    Args:
        name: Of a tensor in the original layout.
        prefixes: Original prefix to that of transformers, in the order in which they are tried.

    Returns:
        The name, or None.

    >>> to_transformers("model.mm_projector.2.bias")
    'model.multi_modal_projector.linear_2.bias'
    """
    for original, ours in prefixes:
        if name.startswith(original):
            return ours + name[len(original) :]
    return None


def to_original(name: str) -> str:
    """Inverse of `to_transformers`; an unknown name comes back as it is.

    >>> to_original("model.vision_tower.post_layernorm.bias")
    'model.vision_tower.vision_tower.vision_model.post_layernorm.bias'
    """
    for original, ours in TENSOR_PREFIXES:
        if name.startswith(ours):
            return original + name[len(ours) :]
    return name
