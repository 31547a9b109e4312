"""The page reader's network: weights on disk, folding, inference, and what it must do on drawn pages."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from ecgkin.retrieval.ecg.page.network import segment
from ecgkin.retrieval.ecg.page.network.classes import CLASSES, LEADS
from ecgkin.retrieval.ecg.page.network.model import ReaderConfig, build_reader, folded
from ecgkin.retrieval.ecg.page.network.names import CUT, NAMES, as_batch, build_name_reader, cut_out
from ecgkin.retrieval.ecg.page.network.segment import halved_towards, look
from ecgkin.retrieval.ecg.page.network.weights_file import (
    READER_FORMAT,
    load_name_reader,
    load_reader,
    weights_folder,
)
from ecgkin.retrieval.ecg.page.training.fit import FitConfig, export, losses
from ecgkin.retrieval.ecg.page.training.fit_names import export_names, name_cuts
from ecgkin.retrieval.ecg.page.training.measure import HELD_OUT_SEED, figures
from ecgkin.retrieval.ecg.page.training.pages import wild_page
from ecgkin.retrieval.ecg.page.training.signals import SignalSource
from ecgkin.retrieval.errors import ImageError, ModelError, WeightsMissingError

needs_weights = pytest.mark.skipif(
    not all((weights_folder() / name).is_file() for name in ("reader.safetensors", "names.safetensors")),
    reason="the reader's weights are not here",
)


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both networks, untrained."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("reader")
    export(build_reader(ReaderConfig(), training=True).state_dict(), folder / "reader.safetensors", {"step": "0"})
    export_names(build_name_reader(training=True).state_dict(), folder / "names.safetensors", {"crops": "0"})
    return folder


def _rewritten(source: Path, target: Path, change: str) -> Path:
    state = load_file(source / "reader.safetensors")
    header = {"format": READER_FORMAT, "classes": ",".join(CLASSES), "leads": ",".join(LEADS),
              "config": json.dumps(ReaderConfig().as_dict())}  # fmt: skip
    if change == "missing":
        del state["pixels.bias"]
    elif change == "extra":
        state["more"] = torch.zeros(1)
    elif change == "shape":
        state["pixels.bias"] = torch.zeros(3)
    elif change == "nan":
        state["stem.0.weight"][0, 0, 0, 0] = float("nan")
    elif change == "format":
        header["format"] = "other"
    elif change == "classes":
        header["classes"] = "paper,ink"
    elif change == "config":
        header["config"] = "{}"
    save_file(state, target / "reader.safetensors", metadata=header)
    return target


def test_folding_keeps_the_answers() -> None:
    torch.manual_seed(1)
    trained = build_reader(ReaderConfig(), training=True)
    for module in trained.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2.0)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.2)
    plain = build_reader(ReaderConfig())
    plain.load_state_dict(folded(trained.state_dict()), strict=True)
    page = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        for a, b in zip(trained.eval()(page), plain.eval()(page), strict=True):
            assert torch.allclose(a, b, atol=1e-3, rtol=1e-3)


def test_answers_have_their_sizes() -> None:
    with torch.no_grad():
        pixels, names, frame = build_reader(ReaderConfig())(torch.rand(1, 3, 64, 96))
    assert pixels.shape == (1, len(CLASSES), 32, 48)
    assert names.shape == (1, len(LEADS) + 1, 16, 24)
    assert frame.shape == (1, 4, 4, 6)


def test_every_tensor_is_accounted_for(random_weights: Path) -> None:
    for name, load in (("reader.safetensors", load_reader), ("names.safetensors", load_name_reader)):
        assert set(load_file(random_weights / name)) == set(load(random_weights).state_dict())
    assert sum(file.stat().st_size for file in random_weights.iterdir()) < 4_000_000


def test_a_file_names_its_folder(random_weights: Path) -> None:
    assert load_reader(random_weights / "reader.safetensors") is load_reader(random_weights)
    assert load_name_reader(random_weights / "reader.safetensors") is load_name_reader(random_weights)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("missing", "pixels.bias"), ("extra", "more"), ("shape", "pixels.bias"), ("nan", "stem.0.weight"),
        ("format", "other"), ("classes", "paper,ink"), ("config", "sizes"),
    ],
)  # fmt: skip
def test_damaged_weights_are_refused(random_weights: Path, tmp_path: Path, change: str, said: str) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        load_reader(_rewritten(random_weights, tmp_path, change))
    assert caught.value.hint


@pytest.mark.parametrize("keep", [0, 7, 1000, -1])
def test_cut_off_weights_are_refused(random_weights: Path, tmp_path: Path, keep: int) -> None:
    (tmp_path / "reader.safetensors").write_bytes((random_weights / "reader.safetensors").read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"reader\.safetensors"):
        load_reader(tmp_path)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    for load, name in ((load_reader, "reader"), (load_name_reader, "names")):
        with pytest.raises(WeightsMissingError, match=rf"{name}\.safetensors"):
            load(tmp_path)


@pytest.mark.parametrize(
    "page",
    [np.zeros((100, 100), np.uint8), np.zeros((100, 100, 4), np.uint8), np.zeros((100, 100, 3), np.float32),
     np.zeros((20, 100, 3), np.uint8)],
)  # fmt: skip
def test_odd_pages_are_refused(random_weights: Path, page: np.ndarray) -> None:
    with pytest.raises(ImageError, match="expected uint8"):
        look(page, weights=random_weights)


def test_looking_twice_gives_the_same(random_weights: Path) -> None:
    page = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    before = page.copy()
    one, two = look(page, weights=random_weights), look(page, weights=random_weights, threads=1)
    assert np.array_equal(one.probabilities, two.probabilities) and one.lead_names == two.lead_names
    assert np.array_equal(page, before)
    assert one.probabilities.shape == (len(CLASSES), one.size[1] // 2, one.size[0] // 2)
    assert np.abs(one.probabilities.astype(int).sum(axis=0) - 255).max() <= len(CLASSES)
    assert one.zoom == pytest.approx((one.size[0] / 300, one.size[1] / 200))
    assert one.frame.shape[0] == 4 and (one.frame[:2] > 0).all()


def test_cuts_show_the_letters() -> None:
    """Names are cut in the middle of the letters, whole, at one size, also over the picture's edge."""
    picture = np.full((100, 200, 3), 255, dtype=np.uint8)
    picture[40:56, 90:120] = 0
    cut = cut_out(picture, 105, 48, 16)
    assert cut.shape == (CUT[1], CUT[0], 3)
    assert (cut[12:28, 25:55] == 0).all() and (cut[:11] == 255).all() and (cut[:, :24] == 255).all()
    twice = cut_out(np.repeat(np.repeat(picture, 2, axis=0), 2, axis=1), 210, 96, 32)
    assert np.abs(twice.astype(int) - cut).mean() < 2
    assert (cut_out(picture, -50.0, 300.0, 10) == 255).all()
    batch = as_batch(np.stack([cut, twice]))
    assert batch.shape == (2, 3, CUT[1], CUT[0]) and float(batch.mean().abs()) < 1e-3


def test_drawn_cuts_have_classes() -> None:
    signals = SignalSource().draw(np.random.default_rng(0))
    found = [c for seed in range(25) for c in name_cuts(np.random.default_rng(seed), signals)]
    assert len(found) > 20
    assert all(cut.shape == (CUT[1], CUT[0], 3) and 0 <= which < len(NAMES) for cut, which in found)
    assert len({which for _, which in found}) > 6


def test_losses_are_least_at_the_truth() -> None:
    """An answer that repeats the targets loses less than one that is empty or shifted."""
    wanted = torch.zeros(1, len(CLASSES), 16, 16)
    wanted[:, 0] = 255
    wanted[:, 0, 8], wanted[:, 2, 8] = 0, 255
    names = torch.zeros(1, len(LEADS) + 1, 8, 8)
    names[0, 3, 4, 4], names[0, -1, 4, 4] = 1.0, 2.5
    frame = torch.zeros(1, 5, 2, 2)
    frame[:, 0], frame[:, 4] = 1.5, 1.0
    batch = {"pixels": wanted, "names": names, "frame": frame}

    def total(pixels: torch.Tensor, name: torch.Tensor, scale: torch.Tensor) -> float:
        return float(sum(losses((pixels, name, scale), batch).values()))

    good = (wanted / 255 * 12 - 6, torch.cat([names[:, :-1] * 12 - 6, names[:, -1:]], dim=1), frame[:, :4])
    best = total(*good)
    assert best < 0.2
    assert total(good[0].roll(2, dims=2), *good[1:]) > best + 0.1
    assert total(good[0], good[1].roll(1, dims=1), good[2]) > best + 0.1
    assert total(*good[:2], good[2] + 0.5) > best + 0.02


def test_unknown_configuration_keys_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "reader.yaml"
    file.write_text("steps: 5\nbatsch: 3\n")
    with pytest.raises(ValueError, match="batsch"):
        FitConfig.from_yaml(file)
    file.write_text("steps: 5\n")
    assert FitConfig.from_yaml(file, folder="x") == FitConfig(steps=5, folder="x")


@needs_weights
def test_drawn_pages_are_read() -> None:
    """Floor on six held-out pages: share of trace pixels found within a pixel, trace IoU, lead names."""
    rows = [
        figures(page, look(page.image))
        for page in (wild_page(np.random.default_rng((HELD_OUT_SEED, n)), negatives=0.0, kind=kind)
                     for n, kind in enumerate(("screenshot", "scan", "photo", "screenshot", "scan", "photo")))
    ]  # fmt: skip
    trace = CLASSES.index("trace")
    iou = sum(int(r.both[trace]) for r in rows) / sum(int(r.either[trace]) for r in rows)
    recall = sum(r.near_truth[1] for r in rows) / sum(r.near_truth[0] for r in rows)
    printed, _, right = (sum(r.names[i] for r in rows) for i in range(3))
    assert iou > 0.6
    assert recall > 0.9
    assert right > 0.4 * printed  # many are too small or too damaged to read


def test_threads_are_put_back(random_weights: Path) -> None:
    """However lookers overlap, torch has as many threads as before when the last has gone."""
    page = np.random.default_rng(1).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    begin = torch.get_num_threads()
    asked: list[bool] = []

    def beside() -> bool:
        asked.append(len(asked) < 3)
        return asked[-1]

    def looker() -> None:
        look(page, weights=random_weights, local=False, beside=beside)

    lookers = [threading.Thread(target=looker) for _ in range(4)]
    for thread in lookers:
        thread.start()
    for thread in lookers:
        thread.join()
    found: list[int] = []
    last = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    last.start()
    last.join()
    assert len(asked) > 4 and found == [begin] and torch.get_num_threads() == begin


def test_without_the_local_scale_all_else_is_the_same(random_weights: Path) -> None:
    page = np.random.default_rng(2).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    one, two = look(page, weights=random_weights), look(page, weights=random_weights, local=False)
    assert np.array_equal(one.probabilities, two.probabilities) and one.lead_names == two.lead_names
    assert one.frame.size and not two.frame.size


@pytest.mark.parametrize("size", [(100, 70), (51, 40), (25, 17)])
def test_halving_averages_and_stops_in_time(size: tuple[int, int]) -> None:
    page = np.random.default_rng(3).integers(0, 256, (143, 205, 3), dtype=np.uint8)
    small = halved_towards(page, size)
    assert size[0] <= small.shape[1] < 2 * size[0] or size[1] <= small.shape[0] < 2 * size[1]
    times = round(143 / small.shape[0])
    block = page[:times, :times].astype(float).mean(axis=(0, 1))
    assert np.abs(small[0, 0] - block).max() <= 1.0


@pytest.mark.parametrize(
    ("width", "height", "size"), [(611, 480, (384, 288)), (500, 391, (448, 352)), (401, 97, (256, 64))]
)
def test_without_torch_a_page_is_smoothed_in_halves_as_it_would_be_whole(
    width: int, height: int, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment, "_has_torch", lambda: False)
    page = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    whole = np.asarray(Image.fromarray(page).resize(size, Image.Resampling.BILINEAR))
    assert np.abs(segment.resized_bytes(page, size).astype(int) - whole).max() <= 1
