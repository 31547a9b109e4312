"""Names of D-BETA's tensors and files; everything that comes from outside.

Source: repository manhph2211/D-BETA at commit 92e07e7 (CC BY-NC 4.0, no code taken over), told in
`../shared/docs/encoders.md`.
"""

from __future__ import annotations

from ecgkin.retrieval.encoders.published.names.table import Names

SYSTEM = "D-BETA"
HUB_TEXT = "google/flan-t5-base"
TEXT_TYPE = "t5"
TEXT_WANTED = {"layer_norm_epsilon": 1e-6, "feed_forward_proj": "gated-gelu"}
MAX_TOKENS = 512
CONFIG_FILE = "config.json"
CONFIG_SECTION = "model"
# Fields of config.json: what other values would compute something else.
CONFIG_WANTED = {
    "normalize": False,
    "filter": False,
    "layer_norm_first": False,
    "extractor_mode": "default",
    "conv_bias": False,
    "in_d": 12,
}
HEADS_FIELD = "encoder_attention_heads"
PUBLISHED_HEADS = 12  # where no config.json lies beside the checkpoint and the width is the published one
PUBLISHED_WIDTH = 768
POSITION_GROUPS_FIELD = "conv_pos_groups"

SIGNATURE = ("class_embedding", "unimodal_ecg_pooler.dense.weight", "ecg_encoder.post_extract_proj.weight")
CONVOLUTION = "ecg_encoder.feature_extractor.conv_layers.{n}.0.weight"
PROJECTION = "ecg_encoder.post_extract_proj.weight"
POSITION_V = "ecg_encoder.conv_pos.pos_conv.0.weight_v"
POSITION_G = "ecg_encoder.conv_pos.pos_conv.0.weight_g"
# The newer spelling of weight norm in torch: the same tensors.
POSITION_RENAMED = {
    "ecg_encoder.conv_pos.pos_conv.0.parametrizations.weight.original0": POSITION_G,
    "ecg_encoder.conv_pos.pos_conv.0.parametrizations.weight.original1": POSITION_V,
}
# One tensor under two names; files that store each tensor once have one of them.
SHARED_TWICE = ("language_encoder.shared.weight", "language_encoder.encoder.embed_tokens.weight")
LAYER = "ecg_encoder.encoder.layers.{n}."
HIDDEN = "ecg_encoder.encoder.layers.0.fc1.weight"
SPARE = "ecg_encoder.mask_emb"
POOLER = "unimodal_ecg_pooler.dense.weight"

NAMES = Names(
    {
        "convolutions.{n}": "ecg_encoder.feature_extractor.conv_layers.{n}.0",
        "first_norm": "ecg_encoder.feature_extractor.conv_layers.0.2",
        "feature_norm": "ecg_encoder.layer_norm",
        "project": "ecg_encoder.post_extract_proj",
        "position.bias": "ecg_encoder.conv_pos.pos_conv.0.bias",
        "position.length": POSITION_G,
        "position.direction": POSITION_V,
        "class_token": "class_embedding",
        "norm": "ecg_encoder.encoder.layer_norm",
        "layers.{n}.query": "ecg_encoder.encoder.layers.{n}.self_attn.q_proj",
        "layers.{n}.key": "ecg_encoder.encoder.layers.{n}.self_attn.k_proj",
        "layers.{n}.value": "ecg_encoder.encoder.layers.{n}.self_attn.v_proj",
        "layers.{n}.out": "ecg_encoder.encoder.layers.{n}.self_attn.out_proj",
        "layers.{n}.attention_norm": "ecg_encoder.encoder.layers.{n}.self_attn_layer_norm",
        "layers.{n}.hidden": "ecg_encoder.encoder.layers.{n}.fc1",
        "layers.{n}.hidden_out": "ecg_encoder.encoder.layers.{n}.fc2",
        "layers.{n}.hidden_norm": "ecg_encoder.encoder.layers.{n}.final_layer_norm",
        "ecg_project": "multi_modal_ecg_proj",
        "ecg_pooler": "unimodal_ecg_pooler.dense",
        "text": "language_encoder",
        "text_project": "multi_modal_language_proj",
        "text_pooler": "unimodal_language_pooler.dense",
    },
    ignored=(
        # Read by the pretraining and by the matching head alone.
        r"ecg_encoder\.mask_emb",
        r"modality_type_embeddings\.weight",
        r"multi_modal_(ecg|language)_layers\..*",
        r"multi_modal_(ecg|language)_pooler\.dense\.(weight|bias)",
        r"(mlm|mim|itm)_head\..*",
    ),
)
PUBLISHED_SIZES = {"tensors": 645, "values": 346_258_242, "dim": 768}
