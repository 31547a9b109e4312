"""Files that are wrong are refused in one line that names what was found, and nothing in them is run."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published_made import FIXTURES, folders, shapes_in, state_of

from ecgkin.retrieval.encoders import load_encoder
from ecgkin.retrieval.encoders.published import SYSTEMS, load_published, parse_name
from ecgkin.retrieval.errors import ModelError, QueryError, WeightsMissingError

FILES = {
    "merl": "res18_best_ckpt.pth",
    "d-beta": "sample.pt",
    "ecgfounder": "12_lead_ECGFounder.pth",
    "more": "best_multimodel.pth",
}
QUERY = {"more": "?heads=4"}
LOST = {
    "merl": "att_pool_head.c_proj.bias",
    "d-beta": "ecg_encoder.encoder.layer_norm.bias",
    "ecgfounder": "stage_list.3.block_list.1.se_fc2.bias",
    "more": "ecg_model.vit_model.norm.bias",
}


class Places(dict[str, Path]):
    """A folder of each system for one test, copied when it is asked for."""

    def __init__(self, made: dict[str, Path], root: Path) -> None:
        super().__init__()
        self.made, self.root = made, root

    def __missing__(self, system: str) -> Path:
        self[system] = shutil.copytree(self.made[system], self.root / system)
        return self[system]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return folders(tmp_path_factory.mktemp("published"))


@pytest.fixture
def places(originals: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    return Places(originals, tmp_path)


def _file(places: dict[str, Path], system: str) -> Path:
    return places[system] / FILES[system]


def _open(places: dict[str, Path], system: str) -> Any:
    return load_encoder(f"{system}:{_file(places, system)}{QUERY.get(system, '')}")


def _state(path: Path) -> tuple[dict[str, Any], Callable[[], None]]:
    """The state dict of a file, and a function that writes it back as it lay."""
    raw = torch.load(path, weights_only=False)
    inside = next((raw[key] for key in ("model", "state_dict") if isinstance(raw.get(key), dict)), raw)
    return inside, lambda: torch.save(raw, path)


def _refused(places: dict[str, Path], system: str, match: str) -> ModelError:
    with pytest.raises(ModelError, match=match) as refusal:
        _open(places, system)
    assert "\n" not in str(refusal.value)
    assert refusal.value.hint
    assert "\n" not in refusal.value.hint
    return refusal.value


@pytest.mark.parametrize("system", FILES)
def test_missing_tensor(places: dict[str, Path], system: str) -> None:
    state, write = _state(_file(places, system))
    del state[LOST[system]]
    write()
    _refused(places, system, f"misses {LOST[system]}$")


@pytest.mark.parametrize("system", FILES)
def test_extra_tensor(places: dict[str, Path], system: str) -> None:
    state, write = _state(_file(places, system))
    state["adapter.weight"] = torch.zeros(3)
    write()
    _refused(places, system, r"does not know adapter\.weight$")


@pytest.mark.parametrize("system", FILES)
def test_misshapen_tensor(places: dict[str, Path], system: str) -> None:
    state, write = _state(_file(places, system))
    n = len(state[LOST[system]])
    state[LOST[system]] = torch.zeros(n + 1)
    write()
    _refused(places, system, rf"misshapen {LOST[system]} \({n + 1},\) instead of \({n},\)$")


@pytest.mark.parametrize("system", FILES)
def test_renamed_tensor(places: dict[str, Path], system: str) -> None:
    state, write = _state(_file(places, system))
    state["renamed.bias"] = state.pop(LOST[system])
    write()
    _refused(places, system, rf"misses {LOST[system]}; does not know renamed\.bias$")


@pytest.mark.parametrize("system", FILES)
def test_every_name_renamed(places: dict[str, Path], system: str) -> None:
    state, write = _state(_file(places, system))
    for name in list(state):
        state[f"net.{name}"] = state.pop(name)
    write()
    _refused(places, system, r"does not fit .*: misses .*; found net\..* more$")


@pytest.mark.parametrize("system", FILES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.complex64])
def test_other_precision(places: dict[str, Path], system: str, dtype: torch.dtype) -> None:
    state, write = _state(_file(places, system))
    for name, tensor in state.items():
        if tensor.is_floating_point():
            state[name] = tensor.to(dtype)
    write()
    _refused(places, system, rf"as {str(dtype)[6:]} \(expected float32\)$")


@pytest.mark.parametrize("system", FILES)
def test_values_that_are_not_finite(places: dict[str, Path], system: str) -> None:
    state, write = _state(_file(places, system))
    state[LOST[system]][0] = float("nan")
    write()
    _refused(places, system, f"tensor {LOST[system]} .* not finite$")


@pytest.mark.parametrize("system", FILES)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_cut_off(places: dict[str, Path], system: str, share: float) -> None:
    path = _file(places, system)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    _refused(places, system, rf"{path.name} \([\d,]+ bytes\) is damaged or cut off")


@pytest.mark.parametrize("system", FILES)
def test_flipped_bit(places: dict[str, Path], system: str) -> None:
    """torch reads such a file without a word; the archive's checksums tell."""
    path = _file(places, system)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(bytes(content))
    torch.load(path, weights_only=False)
    _refused(places, system, "damaged or cut off: the checksum of .* is wrong|damaged or cut off: Bad CRC")


@pytest.mark.parametrize("system", FILES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.int32, torch.bool])
def test_one_tensor_of_another_type(places: dict[str, Path], system: str, dtype: torch.dtype) -> None:
    state, write = _state(_file(places, system))
    state[LOST[system]] = state[LOST[system]].to(dtype)
    write()
    _refused(places, system, rf"stores {LOST[system]} as {str(dtype)[6:]} \(expected float32\)$")


def test_half_precision_does_not_hide_behind_a_low_rank_update(places: dict[str, Path]) -> None:
    state, write = _state(_file(places, "more"))
    name = "text_model.base_model.model.encoder.layer.0.attention.self.query.base_layer.weight"
    state[name] = state[name].half()
    write()
    _refused(places, "more", rf"stores {name} as float16 \(expected float32\)$")


def test_tensors_that_are_no_plain_numbers(places: dict[str, Path]) -> None:
    state, write = _state(_file(places, "merl"))
    whole = state[LOST["merl"]]
    for other, kind in ((whole.to_sparse(), "sparse"), (torch.empty_like(whole, device="meta"), "without values")):
        state[LOST["merl"]] = other
        write()
        _refused(places, "merl", rf"tensor {LOST['merl']} in .* is {kind} \(expected plain numbers\)$")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"not a checkpoint", "damaged or cut off"),
        (b"PK\x03\x04", "damaged or cut off"),
        (b"\x80\x04.", "damaged or cut off"),
        (b"<html>quota exceeded</html>", r"is a web page \(expected a checkpoint\)$"),
        (b"<!DOCTYPE html><html>", r"is a web page \(expected a checkpoint\)$"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is the pointer of git-lfs to a file"),
    ],
)
def test_something_else(places: dict[str, Path], content: bytes, match: str) -> None:
    _file(places, "merl").write_bytes(content)
    assert "PyTorch" not in str(_refused(places, "merl", match))


def test_a_file_that_may_not_be_read(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = _file(places, "merl")
    opened = Path.open

    def open_(self: Path, *arguments: Any, **named: Any) -> Any:
        if self == path:
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *arguments, **named)

    monkeypatch.setattr(Path, "open", open_)
    assert "right to read" in _refused(places, "merl", r"res18_best_ckpt\.pth may not be read by this user$").hint


class _Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("system", FILES)
@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_not_run(places: dict[str, Path], system: str, zipped: bool, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    path = _file(places, system)
    state, _ = _state(path)
    if zipped:
        torch.save({"model": state, "args": _Bomb(mark)}, path)
    else:
        path.write_bytes(pickle.dumps({"model": {}, "args": _Bomb(mark)}, protocol=2))
    named = r"(.*pathlib\S*|getattr)"
    _refused(places, system, rf"holds {named} beside its tensors and was not opened: a pickle can run code")
    assert not mark.exists()
    torch.load(path, weights_only=False) if zipped else pickle.loads(path.read_bytes())
    assert mark.exists()  # it would have run


def test_numpy_scalars_are_let_through(places: dict[str, Path]) -> None:
    """ECGFounder's training saves its best figure as one; both spellings of numpy's module occur."""
    path = _file(places, "ecgfounder")
    raw = torch.load(path, weights_only=False)
    assert isinstance(raw["val_auroc"], np.float64)
    first = _open(places, "ecgfounder").fingerprint
    torch.save(raw | {"val_auroc": np.float32(0.5), "step": np.int64(3)}, path)
    assert _open(places, "ecgfounder").fingerprint == first


@pytest.mark.parametrize("system", FILES)
@pytest.mark.parametrize("other", FILES)
def test_another_systems_checkpoint(places: dict[str, Path], system: str, other: str) -> None:
    if system == other:
        _open(places, system)
        return
    shutil.copy(_file(places, other), _file(places, system))
    titles = {"merl": "MERL", "d-beta": "D-BETA", "ecgfounder": "ECGFounder", "more": "MoRE"}
    error = _refused(places, system, rf"is a checkpoint of {titles[other]} \(expected {titles[system]}\)$")
    assert f"{other}:" in error.hint


@pytest.mark.parametrize("system", FILES)
def test_no_state_dict(places: dict[str, Path], system: str) -> None:
    torch.save({"epoch": 3, "config": {"width": 5}}, _file(places, system))
    _refused(places, system, r"holds no state dict \(found epoch, config; expected")
    torch.save([1, 2], _file(places, system))
    _refused(places, system, "holds a list")


@pytest.mark.parametrize("system", FILES)
@pytest.mark.parametrize("wrapper", ["", "model", "state_dict", "model_state_dict", "module."])
def test_wrappers(places: dict[str, Path], system: str, wrapper: str) -> None:
    path = _file(places, system)
    first = _open(places, system).fingerprint
    state, _ = _state(path)
    if wrapper == "module.":
        torch.save({f"module.{name}": tensor for name, tensor in state.items()}, path)
    else:
        torch.save({wrapper: dict(state)} if wrapper else dict(state), path)
    assert _open(places, system).fingerprint == first


def test_safetensors(places: dict[str, Path]) -> None:
    from safetensors.torch import save_file

    for system, file in FILES.items():
        path = places[system] / file
        first = _open(places, system).fingerprint
        state, _ = _state(path)
        path.unlink()
        kept = {k: v.clone().contiguous() for k, v in state.items() if not k.endswith("encoder.embed_tokens.weight")}
        save_file(kept, path.with_suffix(".safetensors"))
        again = load_encoder(f"{system}:{path.with_suffix('.safetensors')}{QUERY.get(system, '')}")
        assert again.fingerprint == first
    whole = path.with_suffix(".safetensors").read_bytes()
    path.with_suffix(".safetensors").write_bytes(whole[:-100])
    with pytest.raises(ModelError, match="damaged or cut off"):
        load_encoder(f"more:{path.with_suffix('.safetensors')}?heads=4")


def test_new_spelling_of_weight_norm(places: dict[str, Path]) -> None:
    first = _open(places, "d-beta").fingerprint
    state, write = _state(_file(places, "d-beta"))
    at = "ecg_encoder.conv_pos.pos_conv.0."
    state[f"{at}parametrizations.weight.original0"] = state.pop(f"{at}weight_g")
    state[f"{at}parametrizations.weight.original1"] = state.pop(f"{at}weight_v")
    write()
    assert _open(places, "d-beta").fingerprint == first


@pytest.mark.parametrize("part", ["lora_A.default.weight", "lora_B.default.weight", "base_layer.weight"])
def test_half_a_lora(places: dict[str, Path], part: str) -> None:
    state, write = _state(_file(places, "more"))
    name = f"text_model.base_model.model.encoder.layer.1.attention.self.value.{part}"
    del state[name]
    write()
    _refused(places, "more", f"misses {name}$")


# --- folders ---------------------------------------------------------------------------------------------------------


def test_nothing_there(tmp_path: Path) -> None:
    for system in FILES:
        with pytest.raises(WeightsMissingError, match="is not there") as refusal:
            load_encoder(f"{system}:{tmp_path / 'no'}")
        assert "encoder list" in refusal.value.hint
        with pytest.raises(WeightsMissingError, match="no checkpoint of"):
            load_encoder(f"{system}:{tmp_path}")


def test_two_checkpoints(places: dict[str, Path]) -> None:
    shutil.copy(_file(places, "merl"), places["merl"] / "vit_tiny_best_ckpt.pth")
    with pytest.raises(
        ModelError, match=r"several checkpoints: res18_best_ckpt\.pth, vit_tiny_best_ckpt\.pth"
    ) as error:
        load_encoder(f"merl:{places['merl']}")
    assert "name one" in error.value.hint
    _file(places, "merl").rename(places["merl"] / "res18_7_ckpt.pth")
    with pytest.raises(ModelError, match="several checkpoints") as error:
        load_encoder(f"merl:{places['merl']}")
    assert error.value.hint.endswith("vit_tiny_best_ckpt.pth"), "not what a training saved on its way"


@pytest.mark.parametrize(("system", "folder"), [("merl", "text_model"), ("d-beta", "flan-t5"), ("more", "roberta")])
def test_text_folder(places: dict[str, Path], system: str, folder: str) -> None:
    here = places[system] / folder
    config = json.loads((here / "config.json").read_text())
    eps = "layer_norm_epsilon" if system == "d-beta" else "layer_norm_eps"
    (here / "config.json").write_text(json.dumps(config | {eps: 0.5}))
    _refused(places, system, rf"{eps} is 0\.5 in .*config\.json \(expected")
    (here / "config.json").write_text(json.dumps(config | {"vocab_size": 10}))
    _refused(places, system, r"the tokenizer in .* has \d+ tokens, its configuration 10$")
    (here / "config.json").write_text("{")
    _refused(places, system, "is no JSON")
    width, heads = ("d_model", "num_heads") if system == "d-beta" else ("hidden_size", "num_attention_heads")
    for field, value in ((width, "big"), *(((heads, 7),) if system != "d-beta" else ())):
        (here / "config.json").write_text(json.dumps(config | {field: value}))
        _refused(places, system, r"config\.json describes no network: ")
    (here / "config.json").write_text(json.dumps(config | {"vocab_size": None}))
    _refused(places, system, r"vocab_size is None in .*config\.json \(expected a whole number\)$")
    (here / "config.json").write_text(json.dumps(config | {"vocab_size": config["vocab_size"] + 1}))
    _refused(places, system, "misshapen .*(word_embeddings|shared)")
    (here / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))
    _refused(places, system, "no folder with the configuration of")
    (here / "config.json").write_text(json.dumps(config))
    (here / "tokenizer.json").write_text("{}")
    _refused(places, system, r"tokenizer\.json is damaged")
    (here / "tokenizer.json").unlink()
    (here / "vocab.txt").unlink(missing_ok=True)
    _refused(places, system, r"holds no tokenizer\.json$")
    shutil.copytree(here, places[system] / "another")
    _refused(places, system, "several configurations")
    shutil.rmtree(here)
    shutil.rmtree(places[system] / "another")
    _refused(places, system, "no folder with the configuration of")


def test_the_tokenizer_of_another_kind(places: dict[str, Path]) -> None:
    shutil.copy(places["merl"] / "text_model" / "tokenizer.json", places["more"] / "roberta" / "tokenizer.json")
    refusal = _refused(places, "more", r"is a WordPiece \(expected the BPE of roberta-base\)$")
    assert "roberta-base" in refusal.hint
    (places["more"] / "roberta" / "tokenizer.json").unlink()
    assert "copy it from roberta-base" in _refused(places, "more", r"holds no tokenizer\.json$").hint


def test_a_buffer_that_older_libraries_save_makes_no_other_weights(places: dict[str, Path]) -> None:
    plain: Any = _open(places, "merl")
    state, write = _state(_file(places, "merl"))
    state["lm_model.embeddings.position_ids"] = torch.arange(512)[None]
    write()
    door: Any = _open(places, "merl")
    assert (door.n_tensors, door.n_values) == (plain.n_tensors, plain.n_values)
    assert door.fingerprint == plain.fingerprint


def test_d_beta_config(places: dict[str, Path]) -> None:
    path = places["d-beta"] / "config.json"
    config = json.loads(path.read_text())
    for field, value, match in (
        ("layer_norm_first", True, "layer_norm_first is True"),
        ("normalize", True, "normalize is True"),
        ("encoder_attention_heads", 5, "which does not divide 32"),
    ):
        path.write_text(json.dumps({"model": config["model"] | {field: value}}))
        _refused(places, "d-beta", match)
    path.write_text("[]")
    _refused(places, "d-beta", r"config\.json holds a list \(expected an object\)")
    path.write_text(json.dumps({"model": {}}))
    _refused(places, "d-beta", "cannot be read as D-BETA's configuration")
    path.unlink()
    _refused(places, "d-beta", "a width of 32 is not the published 768")


def test_heads_of_more(places: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match="number of heads is not known") as refusal:
        load_encoder(f"more:{places['more']}")
    assert "?heads=N" in refusal.value.hint
    with pytest.raises(ModelError, match="does not divide"):
        load_encoder(f"more:{places['more']}?heads=5")


def test_class_names(places: dict[str, Path]) -> None:
    path = places["ecgfounder"] / "tasks.txt"
    path.write_text("".join(f"CLASS {n}\n" for n in range(1, 151)))
    door = _open(places, "ecgfounder")
    assert door.class_names[0] == "CLASS 1"
    assert len(door.class_names) == 150
    path.write_text("A\nB\n")
    _refused(places, "ecgfounder", r"has 2 lines, the checkpoint 150 classes$")


@pytest.mark.parametrize(
    "name",
    ["merl:", "merl:/x?leads=other", "merl:/x?filter=on", "more:/x?heads=many", "d-beta:/x?leads", "ecgfounder:/x?a=b"],
)
def test_names_that_mean_nothing(name: str) -> None:
    with pytest.raises(QueryError) as refusal:
        load_published(name)
    assert refusal.value.hint


def test_unknown_system() -> None:
    with pytest.raises(QueryError, match="no published encoder 'clip'"):
        parse_name("clip:/weights")
    with pytest.raises(WeightsMissingError, match="no encoder called 'clip:/weights'"):
        load_encoder("clip:/weights")


def test_names_are_absolute(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(places["merl"].parent)
    door = load_encoder("merl:merl")
    assert door.name == f"merl:{places['merl'].resolve()}"
    assert load_encoder(door.name).fingerprint == door.fingerprint
    assert set(SYSTEMS) == set(FILES)


# --- published sizes -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_published_size_of_ecgfounder(tmp_path: Path) -> None:
    """The 124 MB of the published architecture, weights from their names, against the original code's outputs."""
    from published_made import record

    torch.save({"state_dict": state_of(shapes_in("ecgfounder/full_shapes.json"))}, tmp_path / "12_lead_ECGFounder.pth")
    want = np.load(FIXTURES / "ecgfounder" / "expected_full.npz")
    door: Any = load_encoder(f"ecgfounder:{tmp_path}")
    assert (door.n_tensors, door.n_values, door.dim) == tuple(door.published_sizes.values())
    records = [record(case) for case in ("sinus", "wander", "flat", "nan")]
    np.testing.assert_allclose(door.raw_records(records), want["full_features_filtered"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(door.logits(records), want["full_logits_filtered"], rtol=0, atol=1e-4)


@pytest.mark.slow
def test_published_size_of_merl(tmp_path: Path) -> None:
    """The published ResNet and its head; the text model has one layer of the published twelve."""
    from published_made import record

    folder = tmp_path / "text_model"
    folder.mkdir()
    shutil.copy(FIXTURES / "merl" / "text_model" / "tokenizer.json", folder)
    shutil.copy(FIXTURES / "merl" / "full_text_config.json", folder / "config.json")
    torch.save(state_of(shapes_in("merl/full_res18_shapes.json")), tmp_path / "res18_best_ckpt.pth")
    want = np.load(FIXTURES / "merl" / "expected_full.npz")
    door: Any = load_encoder(f"merl:{tmp_path}")
    records = [record(case) for case in ("sinus", "wander", "flat", "sinus_5s_padded")]
    texts = [str(text) for text in np.load(FIXTURES / "merl" / "expected.npz")["prompts"]]
    rows, words = door.encode_records(records), door.encode_texts(texts)
    np.testing.assert_allclose(rows, want["full_res18__ecg"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(words, want["full_res18__text"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(rows @ words.T, want["full_res18__similarity"], rtol=0, atol=2e-5)
