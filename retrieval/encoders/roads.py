"""The towers of a dual encoder, on torch or as graphs in onnxruntime: maps and token ids in, vectors out."""

from __future__ import annotations

import logging
import threading
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.encoders.checkpoint import EncoderFiles, load_state
from ecgkin.retrieval.encoders.space import Vectors
from ecgkin.retrieval.errors import ModelError
from ecgkin.retrieval.graphs import MANY, Graph, has_fast_bfloat16, may_load_torch, open_graph, runs_graphs, write_graph

if TYPE_CHECKING:
    import torch

    from ecgkin.retrieval.encoders.signals import SignalNet

_LOG = logging.getLogger(__name__)
_BATCH = 16  # drawings that come together
_WORTH_TORCH = 4 * MANY  # drawings in batches after which torch is loaded, in 4 s
_IMAGE, _TEXT, _SIGNAL = "image.onnx", "text.onnx", "signal.onnx"


class Towers(Protocol):
    """What an encoder asks of its networks."""

    def images(self, maps: NDArray[np.uint8]) -> tuple[Vectors, Vectors]:
        """Trace maps, uint8 (n, 256, 512) -> joint map (n, dim), identity and label map in their shares."""

    def tokens(self, maps: NDArray[np.uint8]) -> Vectors:
        """Trace maps, uint8 (n, 256, 512) -> (n, 4 + n_patches, width)."""

    def words(self, ids: NDArray[np.int64]) -> Vectors:
        """Token numbers (n, length), padded with 0 -> (n, text_dim)."""

    def samples(self, signals: NDArray[np.float32]) -> Vectors:
        """Samples (n, 12, t) in mV, 0 where one is missing -> unit rows (n, signal_dim); of encoders that have them."""


class TorchTowers:
    """Open_clip's towers with weights, for GPUs and training.

    Args:
        files: Of the encoder.
        device: "cpu", "cuda" or "cuda:N".
        exact: In float32 even where bfloat16 is faster: what graphs are written from and compared with.

    Raises:
        ModelError: Weights and architecture do not fit, or the device is not there.
    """

    def __init__(self, files: EncoderFiles, device: str = "cpu", *, exact: bool = False) -> None:
        import torch

        from ecgkin.retrieval.encoders.identity import IdentityHead
        from ecgkin.retrieval.encoders.model import build_image_tower, build_text_tower

        architecture = files.architecture
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ModelError(f"device is {device!r}, but torch sees no GPU", hint="use the device cpu")
        self._device = torch.device(device)
        self.visual = build_image_tower(architecture)
        self.text = build_text_tower(architecture.text_dim, files.folder)
        self.identity = IdentityHead(self.visual.trunk.num_features, architecture.identity_dim)
        state = load_state(files)
        parts = [(self.visual, "visual."), (self.text, "text."), (self.identity, "identity.")]
        self.signal: SignalNet | None = None
        if architecture.signal_dim:
            from ecgkin.retrieval.encoders import signals

            self.signal = signals.SignalNet(architecture.signal_dim, signals.N_LABELS, kind=architecture.signal_network)
            parts.append((self.signal, "signal.net."))
        for module, prefix in parts:
            part = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
            missing, unexpected = module.load_state_dict(part, strict=False)
            if missing or unexpected:
                raise ModelError(
                    f"weights in {files.folder} do not fit: missing {missing[:3]}, unexpected {unexpected[:3]}",
                    hint="weights and code are of different versions; reinstall ecgkin",
                )
            module.eval().requires_grad_(False).to(self._device)
        self.visual = self.visual.to(memory_format=torch.channels_last)
        # bfloat16 moves a vector by about 1e-3 of its length; only worth it where the processor has it in hardware.
        self._bf16 = not exact and (self._device.type == "cuda" or has_fast_bfloat16())
        if self._bf16:
            # Autocast would convert the weights anew for every batch: a fifth of the time of a single picture.
            for module in self.visual.modules():
                if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
                    module.to(torch.bfloat16)

    def images(self, maps: NDArray[np.uint8]) -> tuple[Vectors, Vectors]:
        """See `Towers`."""
        import torch

        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            features = self.visual.trunk(self._pictures(maps))
            joint = self.visual.head(features)
        with torch.inference_mode():
            appended = self.identity(features)
        return joint.float().cpu().numpy(), appended.float().cpu().numpy()

    def tokens(self, maps: NDArray[np.uint8]) -> Vectors:
        """See `Towers`."""
        import torch

        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            found = self.visual.trunk.forward_tokens(self._pictures(maps))
        return np.asarray(found.float().cpu().numpy(), dtype=np.float32)

    def words(self, ids: NDArray[np.int64]) -> Vectors:
        """See `Towers`."""
        import torch

        with torch.inference_mode():
            found = self.text(torch.from_numpy(ids).to(self._device))
        return np.asarray(found.float().cpu().numpy(), dtype=np.float32)

    def samples(self, signals: NDArray[np.float32]) -> Vectors:
        """See `Towers`."""
        import torch

        assert self.signal is not None  # its encoder asks only where it has one
        with torch.inference_mode():
            found, _ = self.signal(torch.from_numpy(signals).to(self._device))
        return np.asarray(found.cpu().numpy(), dtype=np.float32)

    def _pictures(self, maps: NDArray[np.uint8]) -> torch.Tensor:
        import torch

        return torch.from_numpy(maps)[:, None].to(self._device).float().div_(255)


class GraphTowers:
    """The same networks as graphs."""

    def __init__(self, image: Graph, text: Graph, signal: Graph | None = None) -> None:
        self._image, self._text, self._signal = image, text, signal

    def images(self, maps: NDArray[np.uint8]) -> tuple[Vectors, Vectors]:
        """See `Towers`."""
        joint, appended = self._image.run(["joint", "appended"], maps=maps)
        return joint, appended

    def tokens(self, maps: NDArray[np.uint8]) -> Vectors:
        """See `Towers`."""
        return np.asarray(self._image.run(["tokens"], maps=maps)[0], dtype=np.float32)

    def words(self, ids: NDArray[np.int64]) -> Vectors:
        """See `Towers`."""
        return np.asarray(self._text.run(["words"], ids=ids)[0], dtype=np.float32)

    def samples(self, signals: NDArray[np.float32]) -> Vectors:
        """See `Towers`."""
        assert self._signal is not None  # its encoder asks only where it has one
        return np.asarray(self._signal.run(["places"], signals=signals)[0], dtype=np.float32)


class GrowingTowers(GraphTowers):
    """Graphs for the few drawings of a question; torch, loaded when many have come in batches, for more of such.

    A server that only answers does without torch's 350 MB; on a processor that multiplies bfloat16 torch takes half
    as long for each drawing of a batch (26 ms of one core against 48).

    Args:
        graphs: The networks as graphs.
        files: Of the encoder.
    """

    def __init__(self, graphs: GraphTowers, files: EncoderFiles) -> None:
        super().__init__(graphs._image, graphs._text, graphs._signal)
        self._files = files
        self._torch: TorchTowers | None = None
        self._batched = 0
        self._lock = threading.Lock()

    def images(self, maps: NDArray[np.uint8]) -> tuple[Vectors, Vectors]:
        """See `Towers`."""
        if len(maps) < _BATCH:
            return super().images(maps)
        with self._lock:
            self._batched += len(maps)
            if self._torch is None and self._batched > _WORTH_TORCH:
                self._torch = TorchTowers(self._files)
            towers = self._torch
        return super().images(maps) if towers is None else towers.images(maps)


def open_towers(files: EncoderFiles, device: str = "cpu") -> Towers:
    """Load the networks of an encoder on the road that suits (`graphs.runs_graphs`).

    Args:
        files: Of the encoder.
        device: "cpu", "cuda" or "cuda:N".

    Raises:
        ModelError: See `TorchTowers`.
    """
    if device == "cpu" and runs_graphs() and (found := open_graph_towers(files)) is not None:
        return GrowingTowers(found, files) if may_load_torch() else found
    return TorchTowers(files, device)


def open_graph_towers(files: EncoderFiles) -> GraphTowers | None:
    """The towers as graphs, None where there are none that belong to the weights."""
    weights, about = files.folder / "model.safetensors", files.architecture.to_dict()
    found = []
    for name in (_IMAGE, _TEXT, *([_SIGNAL] if files.architecture.signal_dim else [])):
        graph = open_graph(files.folder / name, weights, about)
        if graph is None:
            return None
        found.append(graph)
    return GraphTowers(*found)


def write_graphs(files: EncoderFiles) -> None:
    """Write the towers of an encoder as graphs beside its weights: the last step of a training.

    Args:
        files: Of the encoder, as `save_encoder` returned them.

    Raises:
        ModelError: See `graphs.write_graph`.
    """
    if find_spec("onnx") is None:
        _LOG.warning("onnx is not installed: no graphs; searches with this encoder load torch")
        return
    import torch
    from torch import nn

    towers = TorchTowers(files, exact=True)

    class Picture(nn.Module):
        """Trace maps in bytes -> joint map, appended maps, tokens."""

        def __init__(self) -> None:
            super().__init__()
            self.visual, self.identity = towers.visual, towers.identity

        def forward(self, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            tokens = self.visual.trunk.forward_tokens(maps[:, None].float() / 255)
            features = self.visual.trunk.pool(tokens)
            return self.visual.head(features), self.identity(features), tokens

    class Words(nn.Module):
        """Token numbers -> what the text tower says."""

        def __init__(self) -> None:
            super().__init__()
            self.text = towers.text

        def forward(self, ids: torch.Tensor) -> Any:
            return self.text(ids)

    class Samples(nn.Module):
        """Samples -> where the signal network puts them."""

        def __init__(self) -> None:
            super().__init__()
            assert towers.signal is not None  # written for encoders that have one
            self.signal = nn.ModuleDict({"net": towers.signal})

        def forward(self, signals: torch.Tensor) -> Any:
            return self.signal["net"](signals)[0]

    weights, about = files.folder / "model.safetensors", files.architecture.to_dict()
    maps, ids = torch.zeros(2, 256, 512, dtype=torch.uint8), torch.ones(2, 7, dtype=torch.int64)
    ids[1, 4:] = 0
    write_graph(
        files.folder / _IMAGE, Picture().eval(), {"maps": maps}, ["joint", "appended", "tokens"],
        {"maps": {0: "n"}}, weights, about,
    )  # fmt: skip
    write_graph(
        files.folder / _TEXT, Words().eval(), {"ids": ids}, ["words"], {"ids": {0: "n", 1: "length"}}, weights, about
    )
    if files.architecture.signal_dim:
        signals = torch.zeros(2, 12, round(10 * files.architecture.signal_fs_hz))
        write_graph(
            files.folder / _SIGNAL, Samples().eval(), {"signals": signals}, ["places"],
            {"signals": {0: "n", 2: "t"}}, weights, about,
        )  # fmt: skip
