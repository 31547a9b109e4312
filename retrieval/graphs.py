"""Networks as ONNX graphs beside their weights: what a command looks at a few ECGs with, without waiting for torch.

A graph holds no weights. Its large initialisers name byte ranges of the safetensors file beside it (external data of
the ONNX format), in that file's number format, and are cast to float32 when the graph is loaded. So a graph of some
100 kB is all that is added to a checkpoint, and weights that were trained on need no new graph as long as the file is
laid out as before: `layout` is kept in the graph and compared.

Training, GPUs and whoever reads many ECGs on a processor that multiplies bfloat16 stay with torch (`runs_graphs`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.cores import cores
from ecgkin.retrieval.errors import ModelError, QueryError

if TYPE_CHECKING:
    import onnx
    import torch

_LOG = logging.getLogger(__name__)
_LAYOUT = "ecgkin.layout"  # in the metadata of a graph
OPSET = 18
_SMALL = 1024  # bytes of a constant that may stay in a graph
MANY = 100  # ECGs: torch takes 4 s longer to start and, in bfloat16, 15 ms less for each of up to four drawings
_torch_wanted = threading.Event()
_one_thread = threading.Event()
_LEFT_ALONE: list[Any] = []  # sessions of a parent process


def runs_graphs() -> bool:
    """Whether networks on the CPU run as graphs: onnxruntime is there and nothing speaks for torch.

    The variable ECGKIN_NETWORKS settles it: "onnx" or "torch"; "auto" and unset leave it to `expect_many`.

    Raises:
        QueryError: The variable says something else, or "onnx" without onnxruntime.
    """
    return serves_graphs() and (_named() == "onnx" or not _torch_wanted.is_set())


def serves_graphs() -> bool:
    """Whether graphs may be used, however many ECGs are read: onnxruntime is there and torch was not asked for.

    Raises:
        QueryError: As `runs_graphs`.
    """
    named = _named()
    there = find_spec("onnxruntime") is not None
    if named == "onnx" and not there:
        raise QueryError("ECGKIN_NETWORKS is onnx, but onnxruntime is not installed", hint="pip install 'ecgkin[cpu]'")
    return there and named != "torch"


def _named() -> str:
    named = os.environ.get("ECGKIN_NETWORKS") or "auto"
    if named not in ("auto", "onnx", "torch"):
        raise QueryError(f"ECGKIN_NETWORKS is {named!r} (expected auto, onnx or torch)")
    return named


def expect_many(n: int = MANY) -> None:
    """Say that this process reads many ECGs: torch is worth its start where the processor multiplies bfloat16.

    Args:
        n: How many; few change nothing.
    """
    if n >= MANY and has_fast_bfloat16():
        _torch_wanted.set()


def use_one_thread() -> None:
    """Keep graphs that are loaded from here on to one thread: for one of several processes that share the cores."""
    _one_thread.set()


def may_load_torch() -> bool:
    """Whether torch is worth loading once many ECGs have come: it is installed, faster here, and not ruled out."""
    return _named() == "auto" and has_fast_bfloat16() and find_spec("torch") is not None


@lru_cache(maxsize=1)
def has_fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware (AVX512-BF16 or AMX)."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def layout(weights: Path, about: Mapping[str, Any]) -> str:
    """Hash over the header of a safetensors file (names, shapes and places of its tensors) and facts of the network.

    Args:
        weights: The file.
        about: What shapes do not say, such as the number of attention heads.

    Raises:
        ModelError: The file is damaged.
    """
    with weights.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(length) if length < 100_000_000 else b""  # the bound of the format itself
    try:
        tensors = {k: v for k, v in json.loads(header).items() if k != "__metadata__"}
    except ValueError as error:
        raise ModelError(f"{weights} is damaged: {error}", hint="reinstall ecgkin") from error
    return hashlib.blake2b(json.dumps([length, tensors, about], sort_keys=True).encode(), digest_size=16).hexdigest()


class Graph:
    """A network that runs in onnxruntime on the CPU.

    Args:
        path: Of the `.onnx` file; the weights that it names lie beside it.
        expected: `layout` of these weights.
        threads: Of one call; as many as `OMP_NUM_THREADS` says or as there are cores where None.

    Raises:
        ModelError: Graph and weights do not belong together, or onnxruntime cannot load them.
    """

    def __init__(self, path: Path, expected: str, threads: int | None = None) -> None:
        self._path, self._threads = path, threads
        self._session, self._process = self._open(), os.getpid()
        found = self._session.get_modelmeta().custom_metadata_map.get(_LAYOUT)
        if found != expected:
            raise ModelError(
                f"{path} was written for weights laid out as {found} (found {expected})",
                hint="write it again: scripts/write_graphs.py",
            )

    def _open(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads or default_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads give way
        try:
            return onnxruntime.InferenceSession(str(self._path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no common base of their own
            raise ModelError(f"{self._path} cannot be loaded: {error}", hint="reinstall ecgkin") from error

    def run(self, outputs: Sequence[str], **inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """Run once.

        Args:
            outputs: Names of what is wanted.
            inputs: Arrays by name.

        Returns:
            One array for each of `outputs`.
        """
        if os.getpid() != self._process:
            # A fork copies no threads: the parent's session would wait for them for ever, and so would its end.
            _LEFT_ALONE.append(self._session)
            self._session, self._process = self._open(), os.getpid()
        found: list[NDArray[Any]] = self._session.run(list(outputs), inputs)
        return found


def default_threads() -> int:
    """Threads of a network: one where `use_one_thread` was said, else OMP_NUM_THREADS, else the cores given to us."""
    if _one_thread.is_set():
        return 1
    named = os.environ.get("OMP_NUM_THREADS", "")
    if named.isdigit() and int(named) > 0:
        return int(named)
    return cores()


def threads_beside() -> int:
    """Threads of a network while its caller is at work beside it: a core is left to the caller.

    A thread of the network that has to wait for a core keeps the others waiting.
    """
    return max(1, default_threads() - 1)


def open_graph(path: Path, weights: Path, about: Mapping[str, Any], threads: int | None = None) -> Graph | None:
    """The graph at `path` where it belongs to these weights; None, and a line in the log, where it does not.

    Args:
        path: Of the `.onnx` file.
        weights: The safetensors file beside it.
        about: As it was written with.
        threads: See `Graph`.

    Returns:
        The graph, or None: torch has to do it.
    """
    if not path.is_file():
        _LOG.info("there is no %s: torch is loaded", path)
        return None
    try:
        return Graph(path, layout(weights, about), threads)
    except ModelError as error:
        _LOG.warning("%s: torch is loaded (%s)", error, error.hint)
        return None


def write_graph(
    path: Path, network: torch.nn.Module, inputs: Mapping[str, torch.Tensor], outputs: Sequence[str],
    varying: Mapping[str, Mapping[int, str]], weights: Path, about: Mapping[str, Any],
) -> None:  # fmt: skip
    """Write a network as a graph that refers to its weights.

    Args:
        path: Of the `.onnx` file, in the folder of `weights`.
        network: float32 on the CPU, in evaluation mode. Its parameters and buffers are named as in `weights`.
        inputs: Examples of its arguments, in order.
        outputs: Names for what it returns.
        varying: Dimensions whose length is free, by input: {"maps": {0: "n"}}.
        weights: The safetensors file whose tensors it holds, in half or single precision.
        about: Goes into `layout`.

    Raises:
        ModelError: A weight of the network is not in the file, or has other values there.
    """
    import io
    import warnings

    import onnx
    import torch

    stream = io.BytesIO()
    # The exporter that goes by tracing: the one by torch.export takes fifteen times as long and writes graphs of
    # five times the size for the same networks.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, tuple(inputs.values()), stream, dynamo=False,  # type: ignore[arg-type]
            do_constant_folding=False, opset_version=OPSET,
            input_names=list(inputs), output_names=list(outputs), dynamic_axes={k: dict(v) for k, v in varying.items()},
        )  # fmt: skip
    model = onnx.load_from_string(stream.getvalue())
    raw = weights.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    casts = []
    for one in model.graph.initializer:
        value = onnx.numpy_helper.to_array(one)
        if one.name not in header:
            if value.nbytes > _SMALL:
                raise ModelError(f"{one.name} {value.shape} of the network is not in {weights}")
            continue
        casts.append(_refer(one, value, header[one.name], raw, 8 + length, weights))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
    save_graph(path, model, layout(weights, about))


def save_graph(path: Path, model: onnx.ModelProto, laid_out: str) -> None:
    """Write a graph whole or not at all.

    Args:
        path: Of the `.onnx` file.
        model: The graph; says afterwards for which weights it was written.
        laid_out: Of `layout`.
    """
    import onnx

    onnx.helper.set_model_props(model, {_LAYOUT: laid_out})
    partial = path.with_suffix(".partial")
    partial.write_bytes(model.SerializeToString(deterministic=True))
    os.replace(partial, path)


def _refer(one: Any, value: NDArray[Any], place: Mapping[str, Any], raw: bytes, start: int, weights: Path) -> Any:
    """Let an initialiser name the bytes of the weights' file; the node that casts them to float32."""
    import onnx

    kinds = {"F16": (np.float16, onnx.TensorProto.FLOAT16), "F32": (np.float32, onnx.TensorProto.FLOAT)}
    if place["dtype"] not in kinds:
        raise ModelError(f"{one.name} in {weights} is {place['dtype']} (expected F16 or F32)")
    kind, number = kinds[place["dtype"]]
    begin, end = (start + at for at in place["data_offsets"])
    stored = np.frombuffer(raw[begin:end], dtype=kind).reshape(place["shape"])
    if stored.shape != value.shape or not np.array_equal(stored.astype(np.float32), value):
        raise ModelError(f"{one.name} of the network is not what {weights} holds")
    name = one.name
    one.Clear()
    one.name, one.data_type = f"{name}.stored", number
    one.dims.extend(stored.shape)
    one.data_location = onnx.TensorProto.EXTERNAL
    for key, text in (("location", weights.name), ("offset", str(begin)), ("length", str(end - begin))):
        entry = one.external_data.add()
        entry.key, entry.value = key, text
    return onnx.helper.make_node("Cast", [one.name], [name], name=f"{name}.cast", to=onnx.TensorProto.FLOAT)
