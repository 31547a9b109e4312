"""Networks as ONNX graphs: equal to torch, tied to their weights, and what keeps torch out of a short command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ecgkin.retrieval import graphs
from ecgkin.retrieval.ecg.drawing.raster import render_array
from ecgkin.retrieval.ecg.drawing.style import RenderStyle
from ecgkin.retrieval.ecg.page.network.graphs import PAGE_OUTPUTS, bytes_graph, names_graph, page_graph
from ecgkin.retrieval.ecg.page.network.names import as_batch
from ecgkin.retrieval.ecg.page.network.quantised import best_range, multiplies_bytes
from ecgkin.retrieval.ecg.page.network.segment import look
from ecgkin.retrieval.ecg.page.network.weights_file import load_name_reader, load_reader, weights_folder
from ecgkin.retrieval.encoders import load_encoder, roads
from ecgkin.retrieval.encoders.checkpoint import WEIGHTS, EncoderFiles, read_encoder_files
from ecgkin.retrieval.encoders.dual import DualEncoder
from ecgkin.retrieval.encoders.roads import GraphTowers, TorchTowers, open_graph_towers, open_towers, write_graphs
from ecgkin.retrieval.errors import ModelError, QueryError
from ecgkin.ui.demo.cases import simulated_query

needs_encoder = pytest.mark.skipif(not (WEIGHTS / "default").is_dir(), reason="the shipped weights are not here")
needs_reader = pytest.mark.skipif(
    not (weights_folder() / "reader.safetensors").is_file(), reason="the reader's weights are not here"
)

needs_bytes = pytest.mark.skipif(not multiplies_bytes(), reason="this processor does not multiply bytes")


@pytest.fixture(autouse=True)
def _road_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing speaks for one road or the other, whatever ran before."""
    monkeypatch.delenv("ECGKIN_NETWORKS", raising=False)
    monkeypatch.setattr(graphs, "_torch_wanted", threading.Event())
    monkeypatch.setattr(graphs, "_one_thread", threading.Event())


@pytest.fixture(scope="module")
def shipped() -> EncoderFiles:
    return read_encoder_files(WEIGHTS / "default")


@pytest.fixture(scope="module")
def exact(shipped: EncoderFiles) -> TorchTowers:
    return TorchTowers(shipped, exact=True)


@pytest.fixture(scope="module")
def by_graph(shipped: EncoderFiles) -> GraphTowers:
    found = open_graph_towers(shipped)
    assert found is not None, "the shipped encoder has no graphs that fit its weights: run scripts/write_graphs.py"
    return found


@needs_encoder
@settings(max_examples=6, deadline=None)
@given(n=st.integers(1, 3), seed=st.integers(0, 2**32 - 1), ink=st.floats(0.0, 0.3))
def test_pictures_are_equal_to_torch(by_graph: GraphTowers, exact: TorchTowers, n: int, seed: int, ink: float) -> None:
    rng = np.random.default_rng(seed)
    maps = (rng.integers(0, 256, (n, 256, 512)) * (rng.random((n, 256, 512)) < ink)).astype(np.uint8)
    for one, other in zip(by_graph.images(maps), exact.images(maps), strict=True):
        assert one.shape == other.shape and one.dtype == np.float32
        np.testing.assert_allclose(one, other, atol=1e-4)
    np.testing.assert_allclose(by_graph.tokens(maps), exact.tokens(maps), atol=1e-4)


@needs_encoder
@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 64), min_size=1, max_size=5), seed=st.integers(0, 2**32 - 1))
def test_words_are_equal_to_torch(by_graph: GraphTowers, exact: TorchTowers, lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = np.zeros((len(lengths), max(lengths)), dtype=np.int64)
    for row, length in enumerate(lengths):
        ids[row, :length] = rng.integers(1, 4000, length)
    np.testing.assert_allclose(by_graph.words(ids), exact.words(ids), atol=1e-4)


@needs_encoder
@settings(max_examples=6, deadline=None)
@given(n=st.integers(1, 3), length=st.integers(100, 1200), seed=st.integers(0, 2**32 - 1))
def test_samples_are_equal_to_torch(by_graph: GraphTowers, exact: TorchTowers, n: int, length: int, seed: int) -> None:
    signals = np.random.default_rng(seed).normal(0, 0.4, (n, 12, length)).astype(np.float32)
    signals[0, 6:] = 0
    one, other = by_graph.samples(signals), exact.samples(signals)
    assert one.shape == other.shape == (n, 256)
    np.testing.assert_allclose(one, other, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5)


@needs_reader
@pytest.mark.parametrize("size", [(96, 160), (352, 224)])
def test_the_page_reader_is_equal_to_torch(size: tuple[int, int]) -> None:
    page = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    page[20:24], page[:, 30:33] = 0, 255
    graph = page_graph(None, 1)
    assert graph is not None
    pixels, names, frame = graph.run(PAGE_OUTPUTS, page=page)
    with torch.inference_mode():
        wanted = load_reader()(torch.from_numpy(page).permute(2, 0, 1)[None].float() / 255)
    shares = torch.softmax(wanted[0][0], dim=0).numpy() * 255
    assert pixels.dtype == np.uint8 and np.abs(pixels - shares).max() <= 0.51
    np.testing.assert_allclose(names[:-1], torch.sigmoid(wanted[1][0, :-1]).numpy(), atol=1e-4)
    np.testing.assert_allclose(names[-1], wanted[1][0, -1].numpy(), atol=1e-4)
    np.testing.assert_allclose(frame, wanted[2][0].numpy(), atol=1e-4)


def _drawn(number: int) -> np.ndarray:
    """A page of a simulated ECG, 1344 x 1056 px."""
    record = simulated_query(number)[1]
    return np.asarray(Image.fromarray(render_array(record, RenderStyle(width_px=1344))).resize((1344, 1056)))


@needs_reader
@needs_bytes
@pytest.mark.parametrize("number", [0, 1])
def test_the_page_reader_in_bytes_is_near_torch(number: int) -> None:
    """Rounded to bytes, probabilities of drawn pages differ by .004 in the mean and nowhere that matters by more."""
    page = _drawn(number)
    graph = bytes_graph(None, 1)
    assert graph is not None
    pairs = np.dstack([page, np.full(page.shape[:2], number, np.uint8)]).reshape(1056, 672, 8)  # alpha says nothing
    pixels, names = graph.run(PAGE_OUTPUTS[:2], page=pairs)
    with torch.inference_mode():
        wanted = load_reader()(torch.from_numpy(page.copy()).permute(2, 0, 1)[None].float() / 255, local=False)
    shares = torch.softmax(wanted[0][0], dim=0).numpy() * 255
    assert pixels.shape == shares.shape and pixels.dtype == np.uint8
    assert np.abs(pixels - shares).mean() < 1.0
    assert np.percentile(np.abs(pixels - shares), 99.5) < 16
    assert (pixels.argmax(axis=0) == shares.argmax(axis=0)).mean() > 0.995
    scores = torch.sigmoid(wanted[1][0, :-1]).numpy()
    assert names.shape == wanted[1][0].shape and np.abs(names[:-1] - scores).max() < 0.2
    sure = scores.max(axis=0) > 0.35
    assert sure.any() and np.abs(names[-1] - wanted[1][0, -1].numpy())[sure].max() < 0.15


@needs_reader
@needs_bytes
def test_the_reader_in_bytes_is_bound_to_the_weights(tmp_path: Path) -> None:
    """Weights of the same shapes and other values have no graph in bytes."""
    for name in ("reader.safetensors", "reader_bytes.onnx"):
        shutil.copy(weights_folder() / name, tmp_path / name)
    assert bytes_graph(tmp_path, 1) is not None
    raw = bytearray((tmp_path / "reader.safetensors").read_bytes())
    raw[-1] ^= 1
    (tmp_path / "reader.safetensors").write_bytes(raw)
    assert bytes_graph(tmp_path, 1) is None


@needs_reader
@needs_bytes
def test_who_asks_for_torch_gets_no_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECGKIN_NETWORKS", "torch")
    assert bytes_graph(None, 1) is None and names_graph(None, 1, many=True) is None


@given(st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=40))
def test_ranges_of_bytes_hold_their_values(values: list[float]) -> None:
    """Zero is exact, and the values are off by less than a step of the range that holds all of them."""
    given_values = np.array(values, dtype=np.float32)
    found = best_range(given_values)
    assert 0 <= found.zero <= 255 and found.scale > 0

    def rounded(values: np.ndarray) -> np.ndarray:
        return (np.clip(np.round(values / found.scale) + found.zero, 0, 255) - found.zero) * found.scale

    assert rounded(np.zeros(1))[0] == 0.0
    span = max(0.0, float(given_values.max())) - min(0.0, float(given_values.min()))
    whole = span / 255
    assert np.square(rounded(given_values) - given_values).mean() <= np.square(1.1 * whole + 1e-5).mean()


@needs_reader
def test_names_are_equal_to_torch() -> None:
    cuts = np.random.default_rng(2).integers(0, 256, (5, 40, 80, 3), dtype=np.uint8)
    cuts[0] = 255  # no contrast at all
    graph = names_graph(None, 1)
    assert graph is not None
    with torch.inference_mode():
        wanted = torch.softmax(load_name_reader()(as_batch(cuts)), dim=1).numpy()
    np.testing.assert_allclose(graph.run(["chances"], cuts=cuts)[0], wanted, atol=1e-4)


@needs_reader
@pytest.mark.parametrize("size", [(500, 700), (1700, 2200)])
def test_a_page_looks_alike_on_both_roads(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture is brought to size by other libraries, and torch may go by bfloat16: alike, not equal."""
    page = np.full((*size, 3), 255, dtype=np.uint8)
    page[:: size[0] // 40], page[:, :: size[1] // 50] = (255, 180, 180), (255, 180, 180)
    page[size[0] // 2 : size[0] // 2 + 4] = 0
    found = {}
    for road in ("onnx", "torch"):
        monkeypatch.setenv("ECGKIN_NETWORKS", road)
        found[road] = look(page, threads=1)
    one, other = found["onnx"], found["torch"]
    assert one.size == other.size and one.zoom == other.zoom
    assert np.abs(one.probabilities.astype(int) - other.probabilities).mean() < 1.0
    np.testing.assert_allclose(one.frame[:2], other.frame[:2], rtol=0.1)


@needs_encoder
def test_the_road_follows_device_library_and_work(shipped: EncoderFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(open_towers(shipped), GraphTowers)
    monkeypatch.setattr(graphs, "has_fast_bfloat16", lambda: False)
    graphs.expect_many()
    assert graphs.runs_graphs()
    monkeypatch.setattr(graphs, "has_fast_bfloat16", lambda: True)
    graphs.expect_many(graphs.MANY - 1)
    assert graphs.runs_graphs()
    graphs.expect_many()
    assert not graphs.runs_graphs()
    assert isinstance(open_towers(shipped), TorchTowers)
    monkeypatch.setenv("ECGKIN_NETWORKS", "onnx")
    assert graphs.runs_graphs()
    monkeypatch.setattr(graphs, "find_spec", lambda name: None)
    with pytest.raises(QueryError, match="onnxruntime is not installed") as caught:
        graphs.runs_graphs()
    assert "ecgkin[cpu]" in caught.value.hint
    monkeypatch.setenv("ECGKIN_NETWORKS", "auto")
    assert not graphs.runs_graphs()
    monkeypatch.setenv("ECGKIN_NETWORKS", "tensorrt")
    with pytest.raises(QueryError, match="tensorrt"):
        graphs.runs_graphs()


@needs_encoder
def test_a_server_loads_torch_when_many_drawings_have_come_in_batches(
    shipped: EncoderFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "has_fast_bfloat16", lambda: True)
    towers = open_towers(shipped)
    assert isinstance(towers, roads.GrowingTowers)
    monkeypatch.setattr(roads, "_WORTH_TORCH", 40)
    loaded: list[EncoderFiles] = []

    class Counted(TorchTowers):
        def __init__(self, files: EncoderFiles) -> None:
            loaded.append(files)
            super().__init__(files)

    monkeypatch.setattr(roads, "TorchTowers", Counted)
    maps = np.zeros((20, 256, 512), dtype=np.uint8)
    maps[:, 120:124, 20:490] = 255
    by_graph = [towers.images(maps[:n])[0] for n in (1, 20, 20)]
    assert not loaded
    by_torch = [towers.images(maps)[0] for _ in range(2)]
    assert loaded == [shipped]
    for found in (*by_graph, *by_torch):
        unit = found[0] / np.linalg.norm(found[0])
        assert unit @ by_graph[0][0] / np.linalg.norm(by_graph[0][0]) > 0.999
    monkeypatch.setenv("ECGKIN_NETWORKS", "onnx")
    assert not isinstance(open_towers(shipped), roads.GrowingTowers)


def test_a_network_beside_something_leaves_it_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    for threads, expected in (("1", 1), ("2", 1), ("8", 7)):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        assert graphs.threads_beside() == expected


@needs_encoder
def test_weights_of_another_layout_go_by_torch(
    shipped: EncoderFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Other weights in the same places are read by the same graph; moved ones are not."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(shipped.folder, tmp_path / "moved")
    state = load_file(shipped.folder / "model.safetensors")
    doubled = {k: v * 2 if k == "visual.head.proj.weight" else v for k, v in state.items()}
    save_file(doubled, tmp_path / "moved" / "model.safetensors")
    maps = np.random.default_rng(3).integers(0, 256, (1, 256, 512), dtype=np.uint8)
    other = load_encoder(str(tmp_path / "moved"))
    assert isinstance(other, DualEncoder)
    towers = other._towers
    assert isinstance(towers, GraphTowers)
    own = open_graph_towers(shipped)
    assert own is not None
    np.testing.assert_allclose(towers.images(maps)[0], 2 * own.images(maps)[0], rtol=1e-3, atol=1e-4)
    save_file({**state, "visual.aaa": torch.zeros(3)}, tmp_path / "moved" / "model.safetensors")
    assert open_graph_towers(read_encoder_files(tmp_path / "moved")) is None
    assert "laid out" in caplog.text and "torch is loaded" in caplog.text


def test_a_graph_is_only_written_from_its_weights(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = torch.nn.Linear(40, 40)
    network.weight.data = network.weight.data.half().float()
    network.bias.data = network.bias.data.half().float()
    state = {k: v.half() for k, v in network.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    example, free = {"x": torch.rand(2, 40)}, {"x": {0: "n"}}
    weights, path = tmp_path / "w.safetensors", tmp_path / "w.onnx"
    graphs.write_graph(path, network, example, ["y"], free, weights, {"heads": 1})
    assert path.stat().st_size < weights.stat().st_size / 2
    x = np.random.default_rng(4).random((7, 40), dtype=np.float32)
    graph = graphs.open_graph(path, weights, {"heads": 1})
    assert graph is not None
    np.testing.assert_allclose(graph.run(["y"], x=x)[0], network(torch.from_numpy(x)).detach().numpy(), atol=1e-5)
    assert graphs.open_graph(path, weights, {"heads": 2}) is None
    for broken, said in (
        ({**state, "weight": state["weight"] * 2}, "not what"),
        ({"bias": state["bias"]}, "not in"),
        ({**state, "weight": state["weight"].to(torch.int32)}, "I32"),
    ):
        save_file(broken, weights)
        with pytest.raises(ModelError, match=said):
            graphs.write_graph(path, network, example, ["y"], free, weights, {"heads": 1})


@needs_encoder
def test_graphs_can_be_written_again(shipped: EncoderFiles, tmp_path: Path) -> None:
    for file in shipped.folder.iterdir():
        if file.suffix != ".onnx":
            (tmp_path / file.name).symlink_to(file)
    files = read_encoder_files(tmp_path)
    assert open_graph_towers(files) is None
    os.remove(tmp_path / "model.safetensors")
    shutil.copyfile(shipped.folder / "model.safetensors", tmp_path / "model.safetensors")
    write_graphs(files)
    again = open_graph_towers(files)
    assert again is not None
    ids = np.arange(1, 9, dtype=np.int64)[None]
    own = open_graph_towers(shipped)
    assert own is not None
    np.testing.assert_allclose(again.words(ids), own.words(ids), atol=1e-6)


def test_a_graph_outlives_a_fork(tmp_path: Path) -> None:
    """Threads of the parent's session are not in the child: it opens its own, instead of waiting for ever."""
    code = """
import os, sys, numpy as np, torch
from pathlib import Path
from safetensors.torch import save_file
from ecgkin.retrieval import graphs
from ecgkin.retrieval.ecg.drawing.raster import render_array
from ecgkin.retrieval.ecg.drawing.style import RenderStyle
folder = Path(sys.argv[1])
network = torch.nn.Linear(512, 512)
save_file(network.state_dict(), folder / "w.safetensors")
graphs.write_graph(folder / "w.onnx", network, {"x": torch.rand(2, 512)}, ["y"], {"x": {0: "n"}},
                   folder / "w.safetensors", {})
graph = graphs.Graph(folder / "w.onnx", graphs.layout(folder / "w.safetensors", {}), threads=2)
x = np.ones((600, 512), dtype=np.float32)
before = graph.run(["y"], x=x)[0]
pid = os.fork()
if pid == 0:
    os._exit(0 if np.allclose(graph.run(["y"], x=x)[0], before, atol=1e-5) else 7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "0", done.stderr[-500:]


@needs_encoder
@needs_reader
def test_what_a_search_needs_does_without_torch(shipped: EncoderFiles) -> None:
    """Words, a recording and a page become vectors, and a recording is measured, without the libraries of training."""
    code = """
import json, sys
from ecgkin.retrieval.encoders import load_encoder
from ecgkin.retrieval.ecg.simulation.simulate import simulate_corpus
from ecgkin.retrieval.ecg.drawing.raster import render
from ecgkin.generation.measures import measure
record = next(iter(simulate_corpus(1, seed=3, fs_hz=500))).record
encoder = load_encoder("default")
vectors = [encoder.encode_texts(["LBBB"]), encoder.encode_records([record]), encoder.encode_images([render(record)])]
measure(record)
heavy = {"torch", "torchvision", "open_clip", "timm", "transformers"} & set(sys.modules)
print(json.dumps([sorted(heavy), [list(v.shape) for v in vectors]]))
"""
    environment = {k: v for k, v in os.environ.items() if k != "ECGKIN_NETWORKS"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-800:]
    heavy, shapes = json.loads(done.stdout)
    assert heavy == [] and shapes == [[1, shipped.architecture.vector_dim]] * 3
