"""`convert` writes what stock classes compute exactly; `check_checkpoint` says what a folder is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ecgkin.generation.backends.openai.endpoint import EndpointBackend
from ecgkin.generation.backends.pulse import names
from ecgkin.generation.backends.pulse.build import expected_shapes, import_transformers
from ecgkin.generation.backends.pulse.check import DIFFERS, FAILED, OK, cache_bytes, check_checkpoint, memory_needed
from ecgkin.generation.backends.pulse.checkpoint import TensorHeader, read_config, read_headers
from ecgkin.generation.backends.pulse.convert import CHAT_TEMPLATE, convert
from ecgkin.generation.backends.pulse.counter import PulseCounter
from ecgkin.generation.backends.pulse.images import TileRule, cut_tiles, image_tokens, pulse_page_size
from ecgkin.generation.backends.pulse.prompt import IMAGE_SLOT, place_image
from ecgkin.generation.drafter import open_model
from ecgkin.retrieval.errors import InputError, ModelError, WeightsMissingError

torch = pytest.importorskip("torch")

FIXTURE = Path(__file__).parents[2] / "fixtures" / "pulse-tiny"
EXPECTED = json.loads((FIXTURE / "expected" / "expected.json").read_text())["cases"]
LOGITS = np.load(FIXTURE / "expected" / "last_logits.npz")
VOCABULARY = 448


def checkpoint(folder: Path, merge: str = "flat", **changes: Any) -> Path:
    """A copy of the fixture's checkpoint with changed fields in config.json."""
    shutil.copytree(FIXTURE, folder, ignore=shutil.ignore_patterns("expected", "images"))
    name = "config.json" if merge == "flat" else "config_spatial_unpad.json"
    (folder / "config.json").write_text(json.dumps(json.loads((FIXTURE / name).read_text()) | changes))
    return folder


def picture(case: str) -> Image.Image:
    with Image.open(FIXTURE / EXPECTED[case]["image"]) as image:
        return image.copy()


def question(case: str) -> str:
    text = EXPECTED[case]["prompt"].removeprefix(names.SYSTEM_TEXT + " USER: ").removesuffix(" ASSISTANT:")
    return str(text.removeprefix("<image>\n"))


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("convert")
    for merge in names.MERGE_TYPES:
        convert(checkpoint(root / f"{merge}-original", merge), root / merge)
    return {merge: root / merge for merge in names.MERGE_TYPES}


@pytest.fixture(scope="module")
def stock(converted: dict[str, Path]) -> dict[str, tuple[Any, Any]]:
    """Stock classes of transformers, loaded as a server does."""
    transformers = import_transformers()
    return {
        merge: (
            transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval(),
            transformers.AutoProcessor.from_pretrained(folder, use_fast=False),
        )
        for merge, folder in converted.items()
    }


def stock_inputs(processor: Any, case: str) -> Any:
    content: list[dict[str, Any]] = [{"type": "text", "text": question(case)}]
    images: list[Image.Image] = []
    if "image" in EXPECTED[case] and EXPECTED[case]["image"]:
        whole = picture(case)
        rule = read_config(FIXTURE).rule
        images = cut_tiles(whole, rule) if case.startswith("flat") else [whole.convert("RGB")]
        content = [{"type": "image"}] * len(images) + content
    text = processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
    return processor(images=images or None, text=text, return_tensors="pt")


@pytest.mark.parametrize("case", EXPECTED)
def test_stock_classes_compute_the_stored_case(stock: dict[str, tuple[Any, Any]], case: str) -> None:
    model, processor = stock[case.split("/")[0]]
    inputs = stock_inputs(processor, case)
    exact = place_image(EXPECTED[case]["input_ids"], EXPECTED[case].get("n_visual_tokens", 0), VOCABULARY)
    if case == "spatial_unpad/strip":  # the one deviation that convert warns of: rounding before truncating
        assert inputs["input_ids"][0].tolist() != exact
        return
    assert inputs["input_ids"][0].tolist() == exact
    with torch.inference_mode():
        logits = model(**inputs).logits[0, -1].numpy()
        tokens = model.generate(**inputs, max_new_tokens=16, do_sample=False)[0, len(exact) :].tolist()
    assert np.abs(logits[:VOCABULARY] - LOGITS[case.replace("/", "__")]).max() <= 1e-4
    assert (logits[VOCABULARY:] == logits[0]).all()  # the new rows repeat <unk>
    assert tokens == EXPECTED[case]["greedy_16"]


def test_classes_and_files(converted: dict[str, Path]) -> None:
    classes = {"flat": "LlavaForConditionalGeneration", "spatial_unpad": "LlavaNextForConditionalGeneration"}
    for merge, folder in converted.items():
        config = json.loads((folder / "config.json").read_text())
        assert config["architectures"] == [classes[merge]]
        assert config["dtype"] == "float16"
        stored = read_headers(folder)
        assert ("image_newline" in stored) == (merge == "spatial_unpad")
        assert stored["language_model.lm_head.weight"].shape == (512, 64)
        assert {header.dtype for header in stored.values()} == {"F16"}
        settings = json.loads((folder / "pulse.json").read_text())
        assert settings["send_tiles"] is (merge == "flat")
        assert {"preprocessor_config.json", "chat_template.jinja", "tokenizer.json"} <= {
            p.name for p in folder.iterdir()
        }


def test_settings_make_a_client(converted: dict[str, Path], tmp_path: Path) -> None:
    address = f"pulse:{converted['flat']}@http://localhost:1/v1#tiny"
    original = PulseCounter.of_folder(FIXTURE)
    page = Image.new("RGB", (220, 110))
    for backend in (
        EndpointBackend.for_pulse("http://localhost:1/v1", "tiny", converted["flat"], api_key="k"),
        open_model(address, api_key="k"),
    ):
        assert isinstance(backend, EndpointBackend) and backend.api_key == "k" and backend.counter is not None
        assert (backend.base_url, backend.model) == ("http://localhost:1/v1", "tiny")
        assert backend.send_tiles and backend.context_length == 4096
        assert backend.counter.rule == read_config(FIXTURE).rule and backend.counter.exact
        for picture in (None, page):
            assert backend.count_tokens("Vorhofflimmern? </s>", picture) == original.count_tokens(
                "Vorhofflimmern? </s>", picture
            )
    (tmp_path / "pulse.json").write_bytes((converted["spatial_unpad"] / "pulse.json").read_bytes())
    alone = EndpointBackend.for_pulse("http://localhost:1/v1", "tiny", tmp_path / "pulse.json")
    assert alone.counter is not None and not alone.counter.exact and not alone.send_tiles
    assert alone.count_tokens("Rhythm?", page) > original.count_tokens("Rhythm?", page)
    with pytest.raises(WeightsMissingError, match=r"pulse\.json is not there"):
        EndpointBackend.for_pulse("http://localhost:1/v1", "tiny", FIXTURE)


def test_weights_are_the_same_bits(converted: dict[str, Path]) -> None:
    from safetensors.torch import load_file

    before = {k: v for path in FIXTURE.glob("model-*.safetensors") for k, v in load_file(path).items()}
    after = {
        k: v for path in converted["spatial_unpad"].glob("model-*.safetensors") for k, v in load_file(path).items()
    }
    assert len(before) == len(after) == 106
    for name, tensor in before.items():
        ours = names.to_transformers(name, names.PUBLISHED_PREFIXES)
        assert ours is not None
        assert torch.equal(after[ours][: len(tensor)], tensor)


@pytest.mark.parametrize("kind", ["flat", "spatial_unpad"])
def test_report_says_what_a_server_gets_wrong(tmp_path: Path, kind: str) -> None:
    report = convert(checkpoint(tmp_path / "in", kind), tmp_path / "out")
    text = "\n".join(report.lines())
    assert report.merge == kind and (tmp_path / "out" / "README.md").read_text().count("add_special_tokens") == 1
    assert json.dumps(report.to_dict())
    if kind == "flat":
        assert "spatial_unpad only" in text and "5 pictures in one message" in text
        assert "must hold 320 visual tokens (268 means spatial_unpad)" in text
    else:
        assert "2768x2249" in text and "round to seven digits" in text and "200 visual tokens" in text


def test_a_two_to_one_page_is_the_same_after_rounding() -> None:
    """What the warning for spatial_unpad promises, for every even width."""
    rule = TileRule(336, 14, names.PINPOINTS_7B, "spatial_unpad")
    for width in range(700, 4000, 2):
        w, h = pulse_page_size(width)
        assert image_tokens(w, h, rule) == 576 + 24 * 49
        assert int(round(h * (48 / w), 7)) == 24


def test_template_with_history_and_system_text() -> None:
    import jinja2

    template = jinja2.Environment().from_string(CHAT_TEMPLATE)
    stored = json.loads((FIXTURE / "expected" / "tokenization.json").read_text())["items"][1]["prompt"]
    turns = [
        {"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": "What is the rate?"}]},
        {"role": "assistant", "content": "About 75 bpm."},
        {"role": "user", "content": "Any ST elevation?"},
    ]
    # the space before the newline stands for the piece that is lost when all is tokenized at once
    assert template.render(messages=turns) == stored.replace("<image>\n", "<image> \n")
    other = template.render(messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Rate?"}])
    assert other == "Be brief. USER: Rate? ASSISTANT:"


def test_target_is_not_overwritten_and_appears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = checkpoint(tmp_path / "in"), tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="not empty"):
        convert(source, out)
    (out / "mine.txt").unlink()
    import ecgkin.generation.backends.pulse.convert as module

    def full_disk(*_: Any) -> str:
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(module, "_write_config", full_disk)
        with pytest.raises(OSError, match="no space"):
            convert(source, tmp_path / "new")
    assert not (tmp_path / "new").exists() and not list(tmp_path.glob("*.part"))
    assert convert(source, out).n_tensors == 105


def test_a_converted_folder_is_not_converted_again(converted: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Hugging Face layout"):
        convert(converted["flat"], tmp_path / "again")


def test_named_tower_is_written_where_the_checkpoint_has_none(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    source = checkpoint(tmp_path / "in", unfreeze_mm_vision_tower=False)
    with pytest.raises(WeightsMissingError, match="no vision tower"):
        convert(source, tmp_path / "out")
    convert(source, tmp_path / "out", tower=FIXTURE / "vision_tower")
    wanted = load_file(FIXTURE / "vision_tower" / "model.safetensors")["vision_model.pre_layrnorm.weight"]
    found = [
        tensors["vision_tower.vision_model.pre_layrnorm.weight"]
        for tensors in map(load_file, (tmp_path / "out").glob("*.safetensors"))
        if "vision_tower.vision_model.pre_layrnorm.weight" in tensors
    ]
    assert len(found) == 1 and torch.equal(found[0], wanted)
    transformers = import_transformers()
    _, info = transformers.AutoModelForImageTextToText.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]


# --- check -----------------------------------------------------------------------------------------------------------


def test_check_of_the_fixture(tmp_path: Path) -> None:
    report = check_checkpoint(checkpoint(tmp_path / "c"), load=True)
    assert report.ok and report.loads is True
    assert (report.n_tensors, report.n_parameters) == (106, 228_128)
    assert report.page_tokens["2200x1100"] == 192
    by_name = {finding.check: finding for finding in report.findings}
    assert by_name["vocab_size"].status == DIFFERS
    assert by_name["mm_patch_merge_type"].status == OK
    assert by_name["load and answer"].found.startswith("294 tokens in")
    text = "\n".join(report.lines())
    assert "merge type flat" in text and "loads: yes" in text and "448 (expected 32000)" in text
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True


def test_check_does_not_raise_on_a_bad_checkpoint(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "c")
    (folder / "model-00002-of-00002.safetensors").unlink()
    (folder / "tokenizer.model").unlink()
    report = check_checkpoint(folder, load=True)
    failed = [finding.check for finding in report.findings if finding.status == FAILED]
    assert failed == ["tensor headers", "tokenizer", "load and answer"]
    assert not report.ok and report.loads is False
    (folder / "config.json").write_text("{}")
    report = check_checkpoint(folder)
    assert report.kind == "not readable as PULSE" and report.loads is None
    assert "failed" in "\n".join(report.lines())
    with pytest.raises(WeightsMissingError):
        check_checkpoint(tmp_path / "nowhere")


def test_check_names_a_hugging_face_folder(converted: dict[str, Path]) -> None:
    report = check_checkpoint(converted["flat"])
    assert not report.ok
    assert "Hugging Face layout" in report.findings[0].found


def test_check_finds_another_vocabulary(tmp_path: Path) -> None:
    """With 32,000 tokens the ids around the picture must be Vicuna's."""
    report = check_checkpoint(checkpoint(tmp_path / "c", vocab_size=32000))
    found = {finding.check: finding for finding in report.findings}
    assert found["tokenizer"].status == FAILED and str(IMAGE_SLOT) in found["tokenizer"].found
    assert found["every tensor by its shape"].status == FAILED


def test_memory_of_the_real_size(tmp_path: Path) -> None:
    """14.13 GB in 16 bit, 7.7 in 8 bit, 4.5 in 4 bit; 0.5 MiB of cache a token (pulse_loader.md, sections 6 and 10)."""
    real: dict[str, Any] = {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": 32000,
        "mm_vision_tower": "openai/clip-vit-large-patch14-336",
        "image_grid_pinpoints": [list(p) for p in names.PINPOINTS_7B],
    }
    folder = checkpoint(tmp_path / "c", **real)
    shutil.rmtree(folder / "vision_tower")
    config = read_config(folder)
    shapes = expected_shapes(config)
    headers = {names.to_original(name): TensorHeader(shape, "F16", "f") for name, shape in shapes.items()}
    assert len(headers) == 687
    assert sum(header.n_values for header in headers.values()) == 7_062_906_880
    needed = memory_needed(headers)
    assert needed["float16"] == needed["bfloat16"] == 2 * 7_062_906_880
    assert needed["float32"] == 4 * 7_062_906_880
    assert needed["8bit"] / 1e9 == pytest.approx(7.7, abs=0.06)
    assert needed["4bit"] / 1e9 == pytest.approx(4.5, abs=0.06)
    assert cache_bytes(config) == 512 * 1024
