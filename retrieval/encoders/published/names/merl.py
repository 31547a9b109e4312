"""Names of MERL's tensors, files and published sizes; everything that comes from outside.

Source: repository cheliu-computation/MERL-ICML2024 at commit 38799b7 (MIT), told in `../shared/docs/encoders.md`.
"""

from __future__ import annotations

from ecgkin.retrieval.encoders.published.names.table import Names

SYSTEM = "MERL"
HUB_TEXT = "ncbi/MedCPT-Query-Encoder"
TEXT_TYPE = "bert"
# Another value of these would compute something else than the model was trained with.
TEXT_WANTED = {"layer_norm_eps": 1e-12, "hidden_act": "gelu"}
MAX_TOKENS = 256
POOL_HEADS = 4  # not in the file
VIT_HEAD_SIZE = 64  # not in the file

# Keys by which the kind of a file is told.
RESNET_KEY = "downconv.weight"
VIT_KEY = "proj_e.0.weight"
SIGNATURE = ("lm_model.embeddings.word_embeddings.weight", "proj_t.0.weight", "linear1.weight")
# Backbone alone, as `*_best_encoder.pth`: no projection, no text.
RESNET_BACKBONE_SIGNATURE = ("conv1.weight", "layer1.0.conv1.weight", "linear.weight")
VIT_BACKBONE_SIGNATURE = ("to_patch_embedding.weight", "block0.attn.fn.to_qkv.weight")
CHECKPOINT_PATTERN = "_ckpt"
BACKBONE_PATTERN = "_encoder"

STEM = "ecg_encoder.conv1.weight"
STAGE = "ecg_encoder.layer{n}."
BLOCK = "ecg_encoder.layer{s}.{{n}}."
BLOCK_FIRST = "ecg_encoder.layer{s}.{b}.conv1.weight"
BOTTLENECK = "ecg_encoder.layer1.0.conv3.weight"
POSITIONS = "att_pool_head.positional_embedding"
PATCH = "ecg_encoder.to_patch_embedding.weight"
PATCH_POSITIONS = "ecg_encoder.pos_embedding"
VIT_BLOCK = "ecg_encoder.block{n}."
VIT_QKV = "ecg_encoder.block0.attn.fn.to_qkv.weight"
VIT_HIDDEN = "ecg_encoder.block0.ff.fn.net.0.weight"
VIT_PROJECTION = "proj_e.0.weight"
VIT_PROJECTION_OUT = "proj_e.3.weight"
TEXT_PROJECTION = "proj_t.0.weight"
TEXT_PROJECTION_OUT = "proj_t.2.weight"
BACKBONE_PREFIX = "ecg_encoder."

_RESNET = {
    "stem": "ecg_encoder.conv1",
    "stem_norm": "ecg_encoder.bn1",
    "stages.{s}.{b}.conv{i}": "ecg_encoder.layer{s}.{b}.conv{i}",
    "stages.{s}.{b}.norm{i}": "ecg_encoder.layer{s}.{b}.bn{i}",
    "stages.{s}.{b}.shortcut.{i}": "ecg_encoder.layer{s}.{b}.shortcut.{i}",
}
_VIT = {
    "patches": "ecg_encoder.to_patch_embedding",
    "positions": "ecg_encoder.pos_embedding",
    "blocks.{b}.attention_norm": "ecg_encoder.block{b}.attn.norm",
    "blocks.{b}.qkv": "ecg_encoder.block{b}.attn.fn.to_qkv",
    "blocks.{b}.out": "ecg_encoder.block{b}.attn.fn.to_out.0",
    "blocks.{b}.hidden_norm": "ecg_encoder.block{b}.ff.norm",
    "blocks.{b}.hidden": "ecg_encoder.block{b}.ff.fn.net.0",
    "blocks.{b}.hidden_out": "ecg_encoder.block{b}.ff.fn.net.3",
    "norm": "ecg_encoder.norm",
}
_POOL = {
    "narrow": "downconv",
    "pool.class_token": "att_pool_head.cls_token",
    "pool.positions": "att_pool_head.positional_embedding",
    "pool.attention": "att_pool_head.mhsa",
    "pool.out": "att_pool_head.c_proj",
}
_PROJECTION = {
    "head.hidden": "proj_e.0",
    "head.hidden_norm": "proj_e.1",
    "head.out": "proj_e.3",
    "head.out_norm": "proj_e.4",
}
_TEXT = {"text": "lm_model", "text_hidden": "proj_t.0", "text_out": "proj_t.2"}
# The unused classifier of the ResNet, the second training loss's branch, buffers.
_IGNORED = (
    r"ecg_encoder\.linear\.(weight|bias)",
    r"linear[12]\.weight",
    r"lm_model\.embeddings\.position_ids",
    r".*\.num_batches_tracked",
)


def _inside(prefix: str, table: dict[str, str]) -> dict[str, str]:
    return {f"{prefix}{own}": name for own, name in table.items()}


RESNET_NAMES = Names({**_inside("backbone.", _RESNET), **_POOL, **_TEXT}, _IGNORED)
VIT_NAMES = Names({**_inside("backbone.", _VIT), **_PROJECTION, **_TEXT}, _IGNORED)
RESNET_BACKBONE_NAMES = Names(_inside("backbone.", _RESNET), _IGNORED)
VIT_BACKBONE_NAMES = Names(_inside("backbone.", _VIT), _IGNORED)

# A buffer that older versions of transformers save.
OPTIONAL = ("lm_model.embeddings.position_ids",)
# Published sizes, for first contact: tensors and values of the whole file, length of a vector; by kind.
PUBLISHED_SIZES = {
    "ResNet": {"tensors": 337, "values": 114_280_478, "dim": 256},
    "ViT": {"tensors": 367, "values": 115_433_602, "dim": 256},
}
