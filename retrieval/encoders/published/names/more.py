"""Names of MoRE's tensors and files; everything that comes from outside.

Source: repository svthapa/MoRE at commit 62c1cec (no licence, no code taken over), told in
`../shared/docs/encoders.md`.
"""

from __future__ import annotations

from ecgkin.retrieval.encoders.published.names.table import Names

SYSTEM = "MoRE"
HUB_TEXT = "RoBERTa-base-PM-M3-Voc-distill-align-hf"
HUB_TOKENIZER = "roberta-base"
TEXT_TYPE = "roberta"
TEXT_WANTED = {"layer_norm_eps": 1e-5, "hidden_act": "gelu"}
PUBLISHED_SIZES = {"dim": 128}
MAX_TOKENS = 128  # zero-shot; its retrieval script pads to 512
LONG_TOKENS = 512
PUBLISHED_HEADS = 12  # of the ECG tower; not in the file
PUBLISHED_WIDTH = 768
LORA_ALPHA = 8.0  # not in the file; the factor is alpha / rank

SIGNATURE = (
    "ecg_model.vit_model.cls_token",
    "projector_ecg_text.layers.0.linear.weight",
    "text_model.base_model.model.embeddings.word_embeddings.weight",
)
PATCH = "ecg_model.vit_model.patch_embed.conv1.0.weight"
PATCH_OUT = "ecg_model.vit_model.patch_embed.conv2.0.weight"
POSITIONS = "ecg_model.vit_model.pos_embed"
BLOCK = "ecg_model.vit_model.blocks.{n}."
HIDDEN = "ecg_model.vit_model.blocks.0.mlp.fc1.weight"
PROJECTOR_HIDDEN = "projector_ecg_text.layers.0.linear.weight"
PROJECTOR_OUT = "projector_ecg_text.layers.2.linear.weight"
BASE_LAYER = ".base_layer."
LORA_DOWN = ".lora_A.default.weight"
LORA_UP = ".lora_B.default.weight"
TEXT_LAYER = "text_model.base_model.model.encoder.layer.{n}."
LORA_ON = "text_model.base_model.model.encoder.layer.{n}.attention.self.{part}"
LORA_PARTS = ("query", "value")

_PROJECTORS = {
    f"{own}.{mine}": f"{theirs}.layers.{part}"
    for own, theirs in (("ecg_projector", "projector_ecg_text"), ("text_projector", "projector_text"))
    for mine, part in (("hidden", "0.linear"), ("hidden_norm", "0.bn"), ("out", "2.linear"), ("out_norm", "2.bn"))
}
NAMES = Names(
    {
        "vit.class_token": "ecg_model.vit_model.cls_token",
        "vit.positions": "ecg_model.vit_model.pos_embed",
        "vit.patch1": "ecg_model.vit_model.patch_embed.conv1.0",
        "vit.patch1_norm": "ecg_model.vit_model.patch_embed.conv1.2",
        "vit.patch2": "ecg_model.vit_model.patch_embed.conv2.0",
        "vit.patch2_norm": "ecg_model.vit_model.patch_embed.conv2.2",
        "vit.blocks.{n}.attention_norm": "ecg_model.vit_model.blocks.{n}.norm1",
        "vit.blocks.{n}.qkv": "ecg_model.vit_model.blocks.{n}.attn.qkv",
        "vit.blocks.{n}.out": "ecg_model.vit_model.blocks.{n}.attn.proj",
        "vit.blocks.{n}.hidden_norm": "ecg_model.vit_model.blocks.{n}.norm2",
        "vit.blocks.{n}.hidden": "ecg_model.vit_model.blocks.{n}.mlp.fc1",
        "vit.blocks.{n}.hidden_out": "ecg_model.vit_model.blocks.{n}.mlp.fc2",
        "vit.norm": "ecg_model.vit_model.norm",
        "text": "text_model.base_model.model",
        **_PROJECTORS,
    },
    ignored=(
        r"xray_model\..*",
        r"projector_xray_text\..*",
        r"text_model\.base_model\.model\.embeddings\.(position_ids|token_type_ids)",
        r".*\.num_batches_tracked",
    ),
)
