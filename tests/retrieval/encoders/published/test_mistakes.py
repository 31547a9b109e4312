"""Mistakes of loaders of these systems, planted one by one: each must move an output away from what is stored.

The list is the one of the fixtures' own descriptions. A mistake changes one thing of a working door; `deviations`
compares the door with the stored outputs, stage by stage, at the tolerances of `test_outputs.test_stage`, so a mistake
that moves a stage would fail that test. Controls are changes that must move nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from published_made import FIXTURES, deviations, folders, names_of
from torch import Tensor, nn

from ecgkin.retrieval.encoders import load_encoder
from ecgkin.retrieval.encoders.published import more as more_door
from ecgkin.retrieval.encoders.published.ecgfounder import door as founder
from ecgkin.retrieval.encoders.published.signals import LEAD_ORDERS, Prepared, running_median

Mistake = Callable[[Any], Any]
STANDARD, MIMIC = LEAD_ORDERS["standard"], LEAD_ORDERS["mimic"]


class Doors:
    """Loaded once; every mistake gets a copy of its own."""

    def __init__(self, root: Path) -> None:
        self.names = names_of(folders(root))
        self.made: dict[str, Any] = {}

    def fresh(self, system: str) -> Any:
        """A door that nothing was done to."""
        if system not in self.made:
            self.made[system] = load_encoder(self.names[system])
        door = copy.copy(self.made[system])
        door.network = copy.deepcopy(door.network)
        return door


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Doors:
    return Doors(tmp_path_factory.mktemp("mistakes"))


def _tensors(door: Any) -> dict[str, Tensor]:
    raw = torch.load(door.checkpoint_path, weights_only=False)
    for key in ("model", "state_dict"):
        if isinstance(raw.get(key), dict):
            raw = raw[key]
    return dict(raw)


def _rule(**changes: Any) -> Mistake:
    def plant(door: Any) -> None:
        door.rule = replace(door.rule, **changes)

    return plant


def _swap(at: str, **methods: Any) -> Mistake:
    """Put a function, or a value, in place of an attribute of one part of the network."""

    def plant(door: Any) -> None:
        part = door.network.get_submodule(at)
        for name, value in methods.items():
            assert hasattr(part, name), f"{at} has no {name}"
            setattr(part, name, value)

    return plant


def _net(change: Callable[[Any], Any]) -> Mistake:
    return lambda door: change(door.network)


def _each(
    kind: type[nn.Module] | tuple[type[nn.Module], ...], change: Callable[[Any], Any], within: str = ""
) -> Mistake:
    def plant(door: Any) -> None:
        found = [part for part in door.network.get_submodule(within).modules() if isinstance(part, kind)]
        assert found
        for part in found:
            change(part)

    return plant


def _halved(kind: torch.dtype) -> Mistake:
    def plant(door: Any) -> None:
        for tensor in [*door.network.parameters(), *door.network.buffers()]:
            if tensor.is_floating_point():
                tensor.data = tensor.data.to(kind).to(torch.float32)

    return plant


def _text_train(door: Any) -> None:
    torch.manual_seed(0)
    door.network.text.train()


def _decoy(folder: str) -> Mistake:
    def plant(door: Any) -> None:
        from safetensors.torch import load_file

        door.network.text.load_state_dict(load_file(FIXTURES / folder / "model.safetensors"), strict=False)

    return plant


def _untrained(net: Any) -> None:
    torch.manual_seed(0)
    for part in net.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()


def _record_minmax(x: Any) -> Any:
    return (x - x.min()) / (x.max() - x.min() + 1e-8)


def _lead_minmax(x: Any) -> Any:
    low, high = x.min(1, keepdims=True), x.max(1, keepdims=True)
    return (x - low) / (high - low + 1e-8)


def _record_z(x: Any) -> Any:
    return (x - x.mean()) / (x.std() + 1e-8)


def _lead_z(x: Any) -> Any:
    return (x - x.mean(1, keepdims=True)) / (x.std(1, keepdims=True) + 1e-8)


def _padded_after(x: Any) -> Any:
    """Scaled before the zeros are put behind."""
    last = int(np.flatnonzero(np.any(x != 0, axis=0))[-1]) + 1
    return np.pad(_record_minmax(x[:, :last]), ((0, 0), (0, x.shape[1] - last)))


def _stretched_pool(x: Tensor) -> Tensor:
    return F.interpolate(F.max_pool1d(x, 3, 2, 1), size=x.shape[2])


# --- MERL ------------------------------------------------------------------------------------------------------------


def _one_position(net: Any) -> None:
    pool = net.pool
    pool.tokens = lambda s: torch.cat([pool.class_token.expand(len(s), -1, -1), s], dim=1) + pool.positions


def _time_mean(net: Any) -> None:
    net.ecg = lambda x: net.narrow(net.backbone(x)).mean(dim=2)


def _unimodal(door: Any) -> None:
    weight, net = _tensors(door)["linear1.weight"], door.network
    net.ecg = lambda x: F.linear(net.narrow(net.backbone(x)).mean(dim=2), weight)


def _no_projection(door: Any) -> None:
    weight, net = _tensors(door)["linear1.weight"], door.network
    net.ecg = lambda x: F.linear(net.backbone(x), weight)


def _text_first(net: Any) -> None:
    net.pooled_words = lambda ids, mask: net.text(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]


def _text_mean(net: Any) -> None:
    def mean(ids: Tensor, mask: Tensor) -> Tensor:
        states = net.text(input_ids=ids, attention_mask=mask).last_hidden_state
        return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)

    net.pooled_words = mean


def _no_mask(net: Any) -> None:
    right = net.pooled_words
    net.pooled_words = lambda ids, mask: right(ids, torch.ones_like(mask))


def _long_texts(door: Any) -> None:
    from tokenizers import Tokenizer

    wide = Tokenizer.from_str(door.text_folder.tokenizer.to_str())
    wide.enable_truncation(300)
    door.text_folder = replace(door.text_folder, tokenizer=wide)
    right = door.text_folder.padded
    folder = door.text_folder

    class Wide:
        def padded(self, texts: Any, length: Any) -> Any:
            return right(texts, 300)

        def __getattr__(self, name: str) -> Any:
            return getattr(folder, name)

    door.text_folder = Wide()


def _act(name: str) -> Callable[[Any], Any]:
    def change(net: Any) -> None:
        acts: dict[str, Callable[[Any], Any]] = {"tanh": lambda x: F.gelu(x, approximate="tanh"), "relu": F.relu}
        act = acts[name]
        net.words = lambda ids, mask: net.text_out(act(net.text_hidden(net.pooled_words(ids, mask))))

    return change


def _eps(value: float) -> Callable[[Any], Any]:
    def change(part: Any) -> None:
        part.eps = value

    return change


def _reset_statistics(part: Any) -> None:
    part.reset_running_stats()


def _vit_norm_first(net: Any) -> None:
    net.backbone.summary = lambda x: net.backbone.norm(x).mean(dim=1)


MERL_TEXT: dict[str, Mistake] = {
    "text: first token without the pooler": _net(_text_first),
    "text: mean over tokens": _net(_text_mean),
    "text: attention mask not passed": _net(_no_mask),
    "text: 300 tokens instead of 256": _long_texts,
    "text: weights of the hub folder": _decoy("merl/text_model"),
    "text: tanh GELU in the projection": _net(_act("tanh")),
    "text: ReLU in the projection": _net(_act("relu")),
    "text: dropout left on": _text_train,
    "text: LayerNorm eps 1e-5 instead of 1e-12": _each(nn.LayerNorm, _eps(1e-5), "text"),
}
MERL_ECG: dict[str, Mistake] = {
    "aVL and aVF not exchanged": _rule(leads=STANDARD),
    "min-max per lead": _rule(scale=_lead_minmax),
    "z-score over the record": _rule(scale=_record_z),
    "scaled to -1..1": _rule(scale=lambda x: 2 * _record_minmax(x) - 1),
    "not scaled": _rule(scale=None),
    "thousandths, truncated": _rule(scale=lambda x: np.trunc(1000 * _record_minmax(x)) / 1000),
    "padded after the scaling": _rule(scale=_padded_after),
    "left in training mode": _net(lambda net: net.backbone.train()),
    "running statistics not loaded": _each(nn.BatchNorm1d, _reset_statistics),
    "BatchNorm eps 1e-3": _each(nn.BatchNorm1d, _eps(1e-3)),
    "no positions": _net(lambda net: (net.pool if hasattr(net, "pool") else net.backbone).positions.zero_()),
    "bfloat16": _halved(torch.bfloat16),
    "float16": _halved(torch.float16),
}
MISTAKES: dict[str, dict[str, Mistake]] = {
    "merl": {
        **MERL_ECG,
        **MERL_TEXT,
        "position 0 added once": _net(_one_position),
        "2 heads": _swap("pool.attention", num_heads=2, head_dim=20),
        "8 heads": _swap("pool.attention", num_heads=8, head_dim=5),
        "mean over time": _net(_time_mean),
        "last linear of the pool left out": _swap("pool", out=nn.Identity()),
        "unimodal head as the embedding": _unimodal,
        "max-pool after the stem": _swap("backbone", after_stem=_stretched_pool),
    },
    "merl-vit": {
        **{name: mistake for name, mistake in MERL_ECG.items() if name != "left in training mode"},
        **MERL_TEXT,
        "left in training mode": _net(lambda net: net.head.train()),
        "norm before the mean": _net(_vit_norm_first),
        "first patch instead of the mean": _net(
            lambda net: setattr(net.backbone, "summary", lambda x: net.backbone.norm(x[:, 0]))
        ),
        "last norm left out": _swap("backbone", norm=nn.Identity()),
        "projection left out": _no_projection,
        "4 heads of 32": _net(lambda net: [setattr(block, "heads", 4) for block in net.backbone.blocks]),
    },
}


# --- D-BETA ----------------------------------------------------------------------------------------------------------


def _dropout(net: Any) -> None:
    torch.manual_seed(0)
    right = net.embed
    net.embed = lambda features: F.dropout(right(features), 0.1, training=True)


def _class_before(net: Any) -> None:
    def embed(features: Tensor) -> Tensor:
        x = net.project(net.feature_norm(features.transpose(1, 2)))
        x = torch.cat([net.class_token.expand(len(x), 1, -1), x], dim=1)
        return x + net.position(x)

    net.embed, net.with_class_token = embed, lambda x: x


def _class_last(net: Any) -> None:
    net.with_class_token = lambda x: torch.cat([x, net.class_token.expand(len(x), 1, -1)], dim=1)


def _other_pooler(door: Any) -> None:
    tensors, net = _tensors(door), door.network
    name = "multi_modal_ecg_pooler.dense"
    net.pool_ecg = lambda t: torch.tanh(F.linear(t[:, 0], tensors[f"{name}.weight"], tensors[f"{name}.bias"]))


def _pre_norm(layer: Any) -> None:
    def forward(x: Tensor) -> Tensor:
        x = x + layer.attend(layer.attention_norm(x))
        return x + layer.hidden_out(F.gelu(layer.hidden(layer.hidden_norm(x))))

    layer.forward = forward


def _weight_norm(dims: tuple[int, ...]) -> Callable[[Any], Any]:
    def change(net: Any) -> None:
        part = net.position
        norm = part.direction.pow(2).sum(dim=dims, keepdim=True).sqrt()
        length = part.length if dims == (0, 1) else part.length.mean()
        weight = part.direction if not dims else length * part.direction / norm
        part.weight = lambda: weight

    return change


def _no_end_token(door: Any) -> None:
    folder = door.text_folder
    right = folder.ids

    class Open:
        def ids(self, texts: Any) -> Any:
            return [row[:-1] for row in right(texts)]

        def padded(self, texts: Any, length: Any) -> Any:
            ids, mask = folder.padded(texts, length)
            for row, seen in zip(ids, mask, strict=True):
                seen[int(seen.sum()) - 1] = 0
                row[seen == 0] = 0
            return ids, mask

    door.text_folder = Open()


def _own_case(door: Any) -> None:
    def vectors(texts: list[str]) -> Tensor:
        ids, mask = door.text_folder.padded(texts, None)
        out: Tensor = door.network.words(torch.from_numpy(ids), torch.from_numpy(mask))
        return out

    door.text_vectors = vectors


def _raw_as_unit(door: Any) -> None:
    right = door.raw_records

    def scaled(records: Any) -> Any:
        rows = right(records)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    door.raw_records = scaled


def _masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    return (tokens * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def _last_token(net: Any) -> None:
    def pool(tokens: Tensor, mask: Tensor) -> Tensor:
        last = tokens[torch.arange(len(tokens)), mask.sum(1) - 1]
        return torch.tanh(net.text_pooler(last))

    net.pool_words = pool


def _unmasked(net: Any) -> None:
    right = net.text_tokens
    net.text_tokens = lambda ids, mask: right(ids, torch.ones_like(mask))


def _t5(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def plant(net: Any) -> None:
        for block in net.text.encoder.block:
            change(block.layer[1].DenseReluDense)

    return plant


def _rms(net: Any) -> None:
    found = [part for part in net.text.modules() if hasattr(part, "variance_epsilon")]
    assert found
    for part in found:
        part.variance_epsilon = 1e-5


def _identity(name: str) -> Mistake:
    return _net(lambda net: setattr(net, name, nn.Identity()))


MISTAKES["d-beta"] = {
    "aVL and aVF exchanged": _rule(leads=MIMIC),
    "V1-V6 first": _rule(leads=(*STANDARD[6:], *STANDARD[:6])),
    "microvolts": _rule(scale=lambda x: 1000 * x),
    "tenths of mV": _rule(scale=lambda x: 10 * x),
    "min-max over the record": _rule(scale=_record_minmax),
    "z-score per lead": _rule(scale=_lead_z),
    "z-score over the record": _rule(scale=_record_z),
    "min-max per lead": _rule(scale=_lead_minmax),
    "dropout on (eval() forgotten)": _net(_dropout),
    "first norm left out": _identity("first_norm"),
    "norm after the convolutions left out": _identity("feature_norm"),
    "norm before the layers left out": _identity("norm"),
    "class token left out": _net(lambda net: setattr(net, "with_class_token", lambda x: x)),
    "class token before the positional convolution": _net(_class_before),
    "class token at the end": _net(_class_last),
    "positional convolution left out": _net(lambda net: setattr(net.position, "forward", torch.zeros_like)),
    "first instead of last step cut": _net(lambda net: setattr(net.position, "trim", lambda y, extra: y[:, :, extra:])),
    "mean over tokens": _net(
        lambda net: setattr(net, "pool_ecg", lambda tokens: torch.tanh(net.ecg_pooler(tokens.mean(dim=1))))
    ),
    "tanh left out": _net(lambda net: setattr(net, "pool_ecg", lambda tokens: net.ecg_pooler(tokens[:, 0]))),
    "pooler of the fused tower": _other_pooler,
    "weight norm ignored": _net(_weight_norm(())),
    "weight norm over dim 0": _net(_weight_norm((1, 2))),
    "norm first": _net(lambda net: [_pre_norm(layer) for layer in net.layers]),
    "LayerNorm eps 1e-12": _net(
        lambda net: [setattr(part, "eps", 1e-12) for part in net.modules() if isinstance(part, nn.LayerNorm)]
    ),
    "8 heads": _net(lambda net: [setattr(layer, "heads", 8) for layer in net.layers]),
    "checkpoint not loaded": _net(_untrained),
    "unit length instead of raw": _raw_as_unit,
    "text: end token left out": _no_end_token,
    "text: not lower-cased": _own_case,
    "text: maximum over tokens": _net(
        lambda net: setattr(
            net,
            "pool_words",
            lambda tokens, mask: tokens.masked_fill(mask[..., None] == 0, -1e9).max(dim=1).values,
        )
    ),
    "text: mean over tokens": _net(lambda net: setattr(net, "pool_words", _masked_mean)),
    "text: pooler on the last token": _net(_last_token),
    "text: padded without a mask": _net(_unmasked),
    "text: weights of the hub folder": _decoy("d-beta/flan-t5"),
    "text: pooler of the ECG side": _net(lambda net: setattr(net, "text_pooler", net.ecg_pooler)),
    "text: dropout left on": _text_train,
    "text: RMS norm eps 1e-5": _net(_rms),
    "text: ReLU": _net(_t5(lambda part: setattr(part, "act", nn.ReLU()))),
    "text: exact GELU": _net(_t5(lambda part: setattr(part, "act", nn.GELU()))),
    "bfloat16": _halved(torch.bfloat16),
    "float16": _halved(torch.float16),
}


# --- ECGFounder ------------------------------------------------------------------------------------------------------


def _filters(*, notch: bool = True, forward: bool = False, median: str = "constant", paper: bool = False) -> Any:
    from scipy.ndimage import median_filter
    from scipy.signal import butter, filtfilt, iirnotch, lfilter

    def condition(x: Any) -> Any:
        run = lfilter if forward else filtfilt
        if paper:
            x = filtfilt(*butter(2, 0.5, btype="highpass", fs=500), x, axis=1)
            x = filtfilt(*butter(2, 50, btype="lowpass", fs=500), x, axis=1)
            return filtfilt(*iirnotch(50, 30, 500), x, axis=1)
        if notch:
            x = run(*iirnotch(50, 30, 500), x, axis=1)
        x = run(*butter(4, (0.67, 40), btype="bandpass", fs=500), x, axis=1)
        if median == "none":
            return x
        return x - np.stack([median_filter(row, 201, mode=median) for row in x])

    return condition


def _norms(door: Any) -> None:
    tensors = _tensors(door)

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            tensors[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, weight, bias)

    def planted(block: Any, at: str) -> Any:
        def forward(x: Tensor) -> Tensor:
            y = x if block.is_first else block.act(norm(x, f"{at}.bn1"))
            y = block.conv2(block.act(norm(block.conv1(y), f"{at}.bn2")))
            y = block.conv3(block.act(norm(y, f"{at}.bn3")))
            return y * block.gates(y) + block.shortcut(x)

        return forward

    stem = door.network.stem
    right = stem.forward
    stem.forward = lambda x: norm(right(x), "first_bn")
    for s, blocks in enumerate(door.network.stages):
        for b, block in enumerate(blocks):
            block.forward = planted(block, f"stage_list.{s}.block_list.{b}")


def _blocks(change: Callable[[Any], Any]) -> Mistake:
    return _net(lambda net: [change(block) for blocks in net.stages for block in blocks])


def _convolutions(sides: Callable[[Any, int], tuple[int, int]]) -> Mistake:
    def plant(door: Any) -> None:
        for part in door.network.modules():
            if hasattr(part, "sides"):
                part.sides = lambda t, part=part: sides(part, t)

    return plant


def _half_kernel(part: Any, t: int) -> tuple[int, int]:
    return part.kernel_size[0] // 2, part.kernel_size[0] // 2


def _larger_left(part: Any, t: int) -> tuple[int, int]:
    left, right = type(part).sides(part, t)
    return right, left


def _cut(door: Any) -> None:
    """Symmetric padding makes one step too many; the original's sum needs as many as the shortcut."""
    _convolutions(_half_kernel)(door)
    for blocks in door.network.stages:
        for block in blocks:
            right = block.conv2.forward
            block.conv2.forward = lambda x, right=right, block=block: right(x)[:, :, : -(-x.shape[2] // block.stride)]
    stem = door.network.stem
    whole = stem.forward
    stem.forward = lambda x: whole(x)[:, :, : -(-x.shape[2] // 2)]


def _pooling(pool: Callable[[Tensor], Tensor]) -> Mistake:
    return _blocks(lambda block: setattr(block, "pool", pool))


def _all_behind(block: Any) -> None:
    block.widen = lambda x: F.pad(x, (0, 0, 0, block.made - x.shape[1]))


def _founder_dropout(net: Any) -> None:
    torch.manual_seed(0)
    for blocks in net.stages:
        for block in blocks:
            block.act = lambda x: F.dropout(F.silu(x), 0.5, training=True)


MISTAKES["ecgfounder"] = {
    "no filter": _rule(condition=None),
    "z-score per lead": _rule(scale=_lead_z),
    "no z-score": _rule(scale=None),
    "z-score before the filter only": _rule(condition=lambda x: founder.condition(_record_z(x)), scale=None),
    "min-max after the filter": _rule(scale=_record_minmax),
    "aVL and aVF exchanged": _rule(leads=MIMIC),
    "filters forward only": _rule(condition=_filters(forward=True)),
    "median baseline not subtracted": _rule(condition=_filters(median="none")),
    "notch left out": _rule(condition=_filters(notch=False)),
    "median with reflected edges": _rule(condition=_filters(median="reflect")),
    "filters of the paper's text": _rule(condition=_filters(paper=True)),
    "BatchNorm applied": _norms,
    "dropout on": _net(_founder_dropout),
    "first block treated like the others": _net(lambda net: setattr(net.stages[0][0], "is_first", False)),
    "symmetric padding k // 2": _cut,
    "larger half of the padding left": _convolutions(_larger_left),
    "max-pool with ceil_mode": _pooling(lambda x: F.max_pool1d(x, 2, ceil_mode=True)),
    "average pooling in the shortcut": _pooling(lambda x: F.avg_pool1d(F.pad(x, (0, 1)), 2)),
    "new channels all at the end": _blocks(_all_behind),
    "squeeze and excitation left out": _blocks(
        lambda block: setattr(block, "gates", lambda y: torch.ones_like(y[:, :, :1]))
    ),
    "ReLU in squeeze and excitation": _blocks(lambda block: setattr(block, "squeeze_act", F.relu)),
    "ReLU everywhere": _blocks(lambda block: [setattr(block, name, F.relu) for name in ("squeeze_act", "act")]),
    "maximum over time": _net(lambda net: setattr(net, "summary", lambda x: x.amax(dim=2))),
    "weights not loaded": _net(_untrained),
    "bfloat16": _halved(torch.bfloat16),
    "float16": _halved(torch.float16),
}
MISTAKES["ecgfounder-unfiltered"] = {
    "filtered": _rule(condition=founder.condition, stretch=False),
    "stretched before the z-score": _rule(stretch=False),
}


# --- MoRE ------------------------------------------------------------------------------------------------------------


def _prepared(work: Callable[[Any, float], Any]) -> Mistake:
    """The samples made by a function of mV (12, n) and the rate."""

    def plant(door: Any) -> None:
        right = door.prepare

        def prepare(record: Any) -> Prepared:
            if record.fs_hz == 100:
                return right(record)
            rows = np.nan_to_num(record.standard().astype(np.float64))
            return Prepared(more_door.scale(work(rows, record.fs_hz)).astype(np.float32))

        door.prepare = prepare

    return plant


def _early_baseline(x: Any, fs_hz: float) -> Any:
    from scipy.signal import resample_poly

    return resample_poly(more_door.condition(x), 1, 5, axis=1)


def _xray_projector(door: Any) -> None:
    tensors = _tensors(door)
    part = door.network.ecg_projector
    for ours, theirs in (("hidden", "0.linear"), ("hidden_norm", "0.bn"), ("out", "2.linear"), ("out_norm", "2.bn")):
        module = part.get_submodule(ours)
        for name in module.state_dict():
            if name != "num_batches_tracked":
                getattr(module, name).data = tensors[f"projector_xray_text.layers.{theirs}.{name}"]


def _lora(factor: float) -> Mistake:
    """0.5 is right."""

    def plant(door: Any) -> None:
        tensors = _tensors(door)
        for n, layer in enumerate(door.network.text.encoder.layer):
            for part in ("query", "value"):
                at = f"text_model.base_model.model.encoder.layer.{n}.attention.self.{part}"
                down, up = tensors[f"{at}.lora_A.default.weight"], tensors[f"{at}.lora_B.default.weight"]
                base = tensors[f"{at}.base_layer.weight"]
                layer.attention.self.get_submodule(part).weight.data = base + factor * (up @ down)

    return plant


def _tokens(count: int | None) -> Mistake:
    def plant(door: Any) -> None:
        door.max_tokens = count

    return plant


def _real_mean(net: Any) -> None:
    net.mean_words = lambda ids, mask: _masked_mean(
        net.text(input_ids=ids, attention_mask=mask).last_hidden_state, mask
    )


def _lower(door: Any) -> None:
    right = door.text_vectors
    door.text_vectors = lambda texts: right([text.lower() for text in texts])


def _norm_first(net: Any) -> None:
    vit = net.vit

    def patches(x: Tensor) -> Tensor:
        x = F.relu(vit.patch1_norm(vit.patch1(x)))
        return F.relu(vit.patch2_norm(vit.patch2(x))).transpose(1, 2)

    vit.patches = patches


MISTAKES["more"] = {
    "aVL and aVF exchanged": _rule(leads=MIMIC),
    "baseline not removed": _rule(condition=None),
    "scaled over the record": _rule(scale=lambda x: 2 * _record_minmax(x) - 1),
    "0..1 instead of -1..1": _rule(scale=_lead_minmax),
    "not scaled": _rule(scale=None),
    "every fifth sample": _prepared(lambda x, fs_hz: more_door.condition(x[:, ::5])),
    "baseline removed at 500 Hz": _prepared(_early_baseline),
    "one median instead of two": _rule(condition=lambda x: x - running_median(x, 61)),
    "training mode": _net(lambda net: [part.train() for part in (net.vit, net.ecg_projector)]),
    "projector of the X-ray side": _xray_projector,
    "mean of the patches": _net(lambda net: setattr(net.vit, "summary", lambda x: net.vit.norm(x)[:, 1:].mean(dim=1))),
    "last norm left out": _net(lambda net: setattr(net.vit, "norm", nn.Identity())),
    "no positions": _net(lambda net: net.vit.positions.zero_()),
    "LayerNorm eps 1e-5": _each(nn.LayerNorm, _eps(1e-5), "vit"),
    "norm before ReLU": _net(_norm_first),
    "projector left out": _net(lambda net: setattr(net, "ecg", lambda x: net.vit(x)[:, : net.dim])),
    "text: mean over real tokens": _net(_real_mean),
    "text: padded to 512": _tokens(512),
    "text: not padded": _tokens(None),
    "text: LoRA not merged": _lora(0.0),
    "text: LoRA merged with factor 1": _lora(1.0),
    "text: lower-cased": _lower,
    "bfloat16": _halved(torch.bfloat16),
    "float16": _halved(torch.float16),
}

CONTROLS: dict[str, dict[str, Mistake]] = {
    "merl": {
        "untouched": lambda door: None,
        "microvolts": _rule(scale=lambda x: _record_minmax(1000 * x)),
    },
    "d-beta": {
        "untouched": lambda door: None,
        "training mode of a tower without dropout": _net(lambda net: net.layers.train()),
    },
    "ecgfounder": {"untouched": lambda door: None, "training mode": _net(lambda net: net.train())},
    "more": {"untouched": lambda door: None, "LoRA merged again with 0.5": _lora(0.5)},
}


def _cases(table: dict[str, dict[str, Mistake]]) -> list[Any]:
    return [pytest.param(s, name, id=f"{s}: {name}") for s, mistakes in table.items() for name in mistakes]


@pytest.mark.parametrize(("system", "mistake"), _cases(MISTAKES))
def test_mistake_is_caught(doors: Doors, system: str, mistake: str) -> None:
    door = doors.fresh(system)
    with torch.no_grad():
        MISTAKES[system][mistake](door)
    assert _failing(door, system, first=True), f"{mistake} moves nothing"


@pytest.mark.parametrize(("system", "control"), _cases(CONTROLS))
def test_control_moves_nothing(doors: Doors, system: str, control: str) -> None:
    door = doors.fresh(system)
    with torch.no_grad():
        CONTROLS[system][control](door)
    assert _failing(door, system) == []


def _failing(door: Any, system: str, *, first: bool = False) -> list[str]:
    return [stage for stage, off in deviations(door, system, first=first).items() if off > 1]


def main() -> None:
    """Print which of `test_outputs.test_stage` each mistake would fail; `python test_mistakes.py`."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        doors = Doors(Path(folder))
        print("| System | Mistake | Fails `test_stage[...]` |\n|---|---|---|")
        for system, mistakes in MISTAKES.items():
            for name, plant in mistakes.items():
                door = doors.fresh(system)
                with torch.no_grad():
                    plant(door)
                print(f"| {system} | {name} | {', '.join(_failing(door, system))} |", flush=True)


if __name__ == "__main__":
    main()
