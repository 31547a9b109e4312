"""The network for pages in bytes: every activation one byte, every weight of a convolution one byte.

Post-training static quantisation (Jacob et al., CVPR 2018): weights symmetric, a scale for each channel that goes out;
activations with a scale and a zero point for each tensor, which are chosen on drawn pages so that the mean squared
error of what they round and cut off is smallest. Processors with VNNI or Arm's dot product multiply bytes at four times
the pace of float32 and at twice that of bfloat16.

The graph is written by hand for onnxruntime's kernels that keep the channels of a pixel together: pixels of the page
are read in pairs of RGBA, so that the first convolution has eight channels, and coarse maps are doubled along the rows
by a convolution that says everything twice, and across them by adding with broadcasting.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.graphs import OPSET, save_graph

if TYPE_CHECKING:
    import torch

_INTERNAL = "com.microsoft"  # onnxruntime's own operators, which take channels last
_SAMPLE = 200_000  # values of each tensor and page that the ranges are chosen by
_SHRINK = np.linspace(0.3, 1.0, 36)  # shares of the largest value at which a range may end
_BINS = 4096


@dataclass(frozen=True, slots=True)
class _Step:
    """One tensor of the network: a convolution of another, or another plus a coarse one twice as large.

    Attributes:
        name: Of the tensor.
        source: Tensor that is convolved or added to.
        layer: Name of the convolution's parameters.
        stride: Of the convolution.
        clipped: Whether what is below 0 is cut off.
        coarse: Tensor whose `layer` is enlarged and added, "" for a convolution.
    """

    name: str
    source: str
    layer: str
    stride: int = 1
    clipped: bool = True
    coarse: str = ""


def _down(level: int) -> list[_Step]:
    first = _Step(f"d{level}0", f"x{level - 1}", f"down{level}.0.0", 2)
    return [first, _Step(f"d{level}1", f"d{level}0", f"down{level}.1.0"),
            _Step(f"x{level}", f"d{level}1", f"down{level}.2.0")]  # fmt: skip


def _up(level: int, coarse: str) -> list[_Step]:
    added = _Step(f"s{level}", f"x{level}", f"side{level}", clipped=False, coarse=coarse)
    if level == 2:
        return [added, _Step("u2", "s2", "up2.0.0"), _Step("y2", "u2", "up2.1.0")]
    return [added, _Step(f"y{level}", f"s{level}", f"up{level}.0")]


STEPS: tuple[_Step, ...] = (
    _Step("x0", "page", "stem.0", 2), _Step("x1", "x0", "down1.0"),
    *(step for level in (2, 3, 4) for step in _down(level)),
    _Step("d50", "x4", "down5.0.0", 2), _Step("d51", "d50", "down5.1.0"), _Step("x5", "d51", "down5.2.0"),
    *_up(4, "x5"), *_up(3, "y4"), *_up(2, "y3"), *_up(1, "y2"),
    _Step("n2", "y2", "names.0.0"),
)  # fmt: skip


@lru_cache(maxsize=1)
def multiplies_bytes() -> bool:
    """Whether this processor has instructions that multiply bytes and sum into 32 bits (VNNI, Arm's dot product).

    Others sum pairs of products into 16 bits, where they overflow.
    """
    if platform.machine().lower() in ("arm64", "aarch64"):
        return True
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_vnni" in flags or "avx_vnni" in flags


@dataclass(frozen=True, slots=True)
class Range:
    """How bytes stand for numbers: (byte - zero) * scale."""

    scale: float
    zero: int


def ranges(network: torch.nn.Module, pages: Iterable[NDArray[np.uint8]]) -> dict[str, Range]:
    """The range of every tensor, chosen on pages.

    Args:
        network: The reader, float32, in evaluation mode.
        pages: RGB, uint8 (height, width, 3), sides multiples of 32.

    Returns:
        By name of the tensor; what `layer` gives of a coarse tensor by the layer's name.
    """
    import torch

    seen: dict[str, list[NDArray[np.float32]]] = {}
    rng = np.random.default_rng(0)
    with torch.inference_mode():
        for page in pages:
            tensors = {
                "page": torch.from_numpy(np.require(page, requirements="W")).permute(2, 0, 1)[None].float() / 255
            }
            for step in STEPS:
                tensors |= _computed(network, step, tensors)
            for name, tensor in tensors.items():
                values = tensor.numpy().reshape(-1)
                picked = values if values.size <= _SAMPLE else values[rng.integers(0, values.size, _SAMPLE)]
                seen.setdefault(name, []).append(np.append(picked, [values.min(), values.max()]).astype(np.float32))
    found = {name: best_range(np.concatenate(values)) for name, values in seen.items()}
    found["page"] = Range(1 / 255, 0)
    return found


def _computed(network: torch.nn.Module, step: _Step, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensor of a step in float32, and of a sum also its coarse part."""
    from torch.nn import functional

    layer: Any = network.get_submodule(step.layer)
    if step.coarse:
        coarse = layer(tensors[step.coarse])
        added = tensors[step.source] + functional.interpolate(coarse, scale_factor=2, mode="nearest")
        return {step.layer: coarse, step.name: added}
    out = layer(tensors[step.source])
    return {step.name: functional.relu(out) if step.clipped else out}


def best_range(values: NDArray[np.float32]) -> Range:
    """The range of bytes with the smallest mean squared error for these values.

    Args:
        values: Some of a tensor, any shape.
    """
    low, high = min(0.0, float(values.min())), max(1e-6, float(values.max()))
    counts, edges = np.histogram(values, bins=_BINS, range=(low, high))
    middles = (edges[:-1] + edges[1:]) / 2
    best: tuple[float, Range] | None = None
    for below in _SHRINK if low < 0.0 else (1.0,):
        for above in _SHRINK:
            scale = (above * high - below * low) / 255
            zero = int(np.clip(round(-below * low / scale), 0, 255))
            rounded = (np.clip(np.round(middles / scale) + zero, 0, 255) - zero) * scale
            error = float((counts * (middles - rounded) ** 2).sum())
            if best is None or error < best[0]:
                best = error, Range(scale, zero)
    assert best is not None  # there is at least one share
    return best[1]


def write_quantised(
    path: Path, network: torch.nn.Module, pages: Iterable[NDArray[np.uint8]], layout: str
) -> dict[str, Range]:
    """Write the reader as a graph in bytes: `page`, RGBA bytes (height, width / 2, 8) -> `pixels` and `names`.

    Args:
        path: Of the `.onnx` file.
        network: The reader, float32, in evaluation mode.
        pages: That the ranges are chosen by, see `ranges`.
        layout: Kept in the graph: says for which weights it was written.

    Returns:
        The ranges.
    """
    import onnx

    found = ranges(network, pages)
    graph = _Graph(network, found)
    for step in STEPS:
        graph.add(step)
    graph.finish()
    helper, kinds = onnx.helper, onnx.TensorProto
    inputs = [helper.make_tensor_value_info("page", kinds.UINT8, ["height", "half_width", 8])]
    outputs = [
        helper.make_tensor_value_info("pixels", kinds.UINT8, [None] * 3),
        helper.make_tensor_value_info("names", kinds.FLOAT, [None] * 3),
    ]
    whole = helper.make_graph(graph.nodes, "reader", inputs, outputs, graph.constants)
    versions = [helper.make_opsetid("", OPSET), helper.make_opsetid(_INTERNAL, 1)]
    model = helper.make_model(whole, opset_imports=versions, ir_version=10, producer_name="ecgkin")
    save_graph(path, model, layout)
    return found


class _Graph:
    """Nodes and constants of the graph, step by step."""

    def __init__(self, network: torch.nn.Module, found: Mapping[str, Range]) -> None:
        self._network, self._ranges = network, found
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        for name, one in found.items():
            self._constant(f"{name}.scale", np.float32(one.scale))
            self._constant(f"{name}.zero", np.uint8(one.zero))
        self._constant("one", np.array([0], dtype=np.int64))
        self._node("Unsqueeze", ["page", "one"], "page.4d")

    def _constant(self, name: str, value: Any) -> str:
        import onnx

        self.constants.append(onnx.numpy_helper.from_array(np.asarray(value), name))
        return name

    def _node(self, kind: str, inputs: list[str], output: str, **facts: Any) -> str:
        import onnx

        self.nodes.append(onnx.helper.make_node(kind, inputs, [output], name=output, **facts))
        return output

    def _of(self, name: str) -> list[str]:
        return [f"{name}.scale", f"{name}.zero"]

    def _parameters(self, layer: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        part: Any = self._network.get_submodule(layer)
        return part.weight.detach().numpy(), part.bias.detach().numpy()

    def _convolved(
        self, source: str, given: str, target: str, output: str, layer: str,
        weight: NDArray[np.float32], bias: NDArray[np.float32], strides: list[int], pads: list[int],
    ) -> str:  # fmt: skip
        """A convolution of bytes; `given` and `target` name the ranges of what goes in and comes out."""
        largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
        scale = (np.maximum(largest, 1e-8) / 127).astype(np.float32)
        stored = np.clip(np.round(weight / scale[:, None, None, None]), -127, 127).astype(np.int8)
        rounded = np.round(bias / (scale.astype(np.float64) * self._ranges[given].scale))
        inputs = [
            source, *self._of(given),
            self._constant(f"{layer}.weight", stored), self._constant(f"{layer}.weight.scale", scale),
            self._constant(f"{layer}.weight.zero", np.zeros(len(scale), dtype=np.int8)), *self._of(target),
            self._constant(f"{layer}.bias", np.clip(rounded, -(2**31), 2**31 - 1).astype(np.int32)),
        ]  # fmt: skip
        return self._node("QLinearConv", inputs, output, domain=_INTERNAL, channels_last=1,
                          kernel_shape=list(weight.shape[2:]), strides=strides, pads=pads)  # fmt: skip

    def add(self, step: _Step) -> None:
        """The nodes of a step."""
        weight, bias = self._parameters(step.layer)
        if step.coarse:
            self._enlarged(step, weight, bias)
            return
        if step.source == "page":
            # Pairs of RGBA pixels in place of pixels: two rows above, one below; a pair on either side.
            pairs = np.zeros((len(weight), 8, 5, 3), dtype=np.float32)
            for column in range(5):
                pairs[:, 4 * (column % 2) : 4 * (column % 2) + 3, :, column // 2] = weight[:, :, :, column]
            self._convolved("page.4d", "page", step.name, step.name, step.layer, pairs, bias, [2, 1], [2, 1, 1, 1])
            return
        pads = [weight.shape[2] // 2] * 4
        self._convolved(
            step.source, step.source, step.name, step.name, step.layer, weight, bias, [step.stride] * 2, pads
        )

    def _enlarged(self, step: _Step, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        """A coarse tensor, said twice along each row, plus a fine one with its rows taken in pairs."""
        double, biases = np.concatenate([weight, weight]), np.concatenate([bias, bias])
        self._convolved(step.coarse, step.coarse, step.layer, step.layer, step.layer, double, biases, [1, 1], [0] * 4)
        # (1, h, w, 2 c) -> (1, h, 1, w * 2 c); (1, 2 h, 2 w, c) -> (1, h, 2, 2 w * c): "0" keeps, "-1" is what is left.
        shape = self._node("Shape", [step.source], f"{step.name}.shape")
        height = self._node("Shape", [step.layer], f"{step.layer}.height", start=1, end=2)
        one, two, rest = (
            self._constant(f"{step.name}.{word}", np.array([value], dtype=np.int64))
            for word, value in (("one", 1), ("two", 2), ("rest", -1))
        )
        fine_shape = self._node("Concat", [one, height, two, rest], f"{step.name}.fine_shape", axis=0)
        coarse_shape = self._node("Concat", [one, height, one, rest], f"{step.name}.coarse_shape", axis=0)
        fine = self._node("Reshape", [step.source, fine_shape], f"{step.name}.fine")
        coarse = self._node("Reshape", [step.layer, coarse_shape], f"{step.name}.coarse")
        inputs = [fine, *self._of(step.source), coarse, *self._of(step.layer), *self._of(step.name)]
        total = self._node("QLinearAdd", inputs, f"{step.name}.pairs", domain=_INTERNAL)
        self._node("Reshape", [total, shape], step.name)

    def _planes(self, source: str, layer: str) -> str:
        """A convolution of 1 x 1 in float32 with its planes first, (channels, h * w)."""
        weight, bias = self._parameters(layer)
        channels = weight.shape[1]
        flat = self._constant(f"{layer}.flat", np.array([-1, channels], dtype=np.int64))
        pixels = self._node("Reshape", [source, flat], f"{layer}.pixels")
        numbers = self._node("DequantizeLinear", [pixels, *self._of(source)], f"{layer}.numbers")
        inputs = [
            self._constant(f"{layer}.weight", weight[:, :, 0, 0]), numbers,
            self._constant(f"{layer}.bias", bias[:, None]),
        ]  # fmt: skip
        return self._node("Gemm", inputs, f"{layer}.planes", transB=1)

    def _shaped(self, planes: str, source: str, output: str) -> None:
        """Planes (channels, h * w) -> (channels, h, w) of the tensor `source`, (1, h, w, c)."""
        shape = self._node("Shape", [source], f"{output}.shape", start=1, end=3)
        first = self._constant(f"{output}.first", np.array([0], dtype=np.int64))
        wanted = self._node("Concat", [first, shape], f"{output}.wanted", axis=0)
        self._node("Reshape", [planes, wanted], output)

    def finish(self) -> None:
        """Probabilities of the classes in bytes, and of the names."""
        import onnx

        logits = self._planes("y1", "pixels")
        # Logits of a softmax stay far below what float32 can raise e to.
        raised = self._node("Exp", [logits], "pixels.raised")
        axis = self._constant("axis", np.array([0], dtype=np.int64))
        total = self._node("ReduceSum", [raised, axis], "pixels.total", keepdims=1)
        part = self._node("Div", [self._constant("full", np.float32(255)), total], "pixels.part")
        shares = self._node("Mul", [raised, part], "pixels.shares")
        nearest = self._node("Add", [shares, self._constant("half", np.float32(0.5))], "pixels.nearest")
        self._node("Cast", [nearest], "pixels.bytes", to=onnx.TensorProto.UINT8)
        self._shaped("pixels.bytes", "y1", "pixels")
        found = self._planes("n2", "names.1")
        n_leads = self._parameters("names.1")[0].shape[0] - 1
        ends = self._constant("names.ends", np.array([n_leads, 1], dtype=np.int64))
        split = onnx.helper.make_node(
            "Split", [found, ends], ["names.logits", "names.height"], name="names.split", axis=0
        )
        self.nodes.append(split)
        self._node("Sigmoid", ["names.logits"], "names.scores")
        both = self._node("Concat", ["names.scores", "names.height"], "names.both", axis=0)
        self._shaped(both, "n2", "names")
