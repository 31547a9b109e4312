"""What all doors to published encoders share: the `Encoder` protocol over a network, a signal rule and a tokenizer."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.published.signals import Prepared, SignalRule, prepare
from ecgkin.retrieval.errors import ImageError, ModelError, QueryError, RecordError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor, nn

    from ecgkin.retrieval.encoders.published.checkpoint import Checkpoint
    from ecgkin.retrieval.encoders.published.text import TextFolder

Vectors = NDArray[np.float32]
RULE_VERSION = 1  # of signals.py and of the systems' scaling; raise it when an input changes
_BATCH = 16
_LOG = logging.getLogger(__name__)


class PublishedEncoder:
    """A published encoder with the user's own copy of its weights.

    Vectors of the protocol's methods have unit length; `raw_records` and `raw_texts` give them as the system computes
    them. There is no calibration for such an encoder: votes are raw shares.

    Attributes:
        name: What `load_encoder` knows it by, with the absolute path ("merl:/weights/merl").
        dim: Length of a vector.
        fingerprint: Hash over the tensors that are read, the tokenizer, the settings and the signal rules.
        image_fingerprint: The same without words.
        weights_dir: Folder of the checkpoint; a calibration would lie there.
        system: Name of the system ("MERL").
        kind: What the file is, in words ("ResNet, whole model").
        rule: How its signals are prepared.
        checkpoint_path: The file.
        has_text: Whether it can place words.
        n_tensors, n_values: Of the file, as stored.
        published_sizes: "tensors", "values" and "dim" of the published file, as far as they are known.
        reads_signals: It knows no pages: a picture is searched by the signals that were read off it.
    """

    reads_signals = True

    def __init__(
        self,
        name: str,
        network: nn.Module,
        checkpoint: Checkpoint,
        rule: SignalRule,
        *,
        dim: int,
        kind: str,
        text: TextFolder | None = None,
        device: str = "cpu",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        import torch

        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ModelError(f"device is {device!r}, but torch sees no GPU", hint="use the device cpu")
        self.name, self.dim, self.kind, self.system = name, dim, kind, checkpoint.system
        self.rule = rule
        self.checkpoint_path = checkpoint.path
        self.weights_dir = checkpoint.path.parent
        self.settings = dict(settings or {})
        self.text_folder = text
        self.has_text = text is not None
        self.n_tensors, self.n_values = checkpoint.n_tensors, checkpoint.n_values
        self.published_sizes: Mapping[str, int] = {}
        self._device = torch.device(device)
        self.image_fingerprint, self.fingerprint = _fingerprints(self, network, text)
        self.network: Any = network.eval().requires_grad_(False).to(self._device)

    @property
    def cautions(self) -> tuple[str, ...]:
        """What every answer found with this encoder must say."""
        have = {"tensors": self.n_tensors, "values": self.n_values, "dim": self.dim}
        if all(have[key] == value for key, value in self.published_sizes.items()):
            return ()
        return (f"these are not {self.system}'s published weights (other sizes): what is similar here means nothing",)

    def prepare(self, record: EcgRecord) -> Prepared:
        """The samples that the network sees of a record, and what was done to them.

        Raises:
            RecordError: The record is too short, or too much of it is missing.
        """
        return prepare(record, self.rule)

    def record_notes(self, record: EcgRecord) -> tuple[str, ...]:
        """What was derived, filled, cut, padded or resampled for this encoder, for people."""
        return self.prepare(record).notes

    def encode_records(self, records: Sequence[EcgRecord]) -> Vectors:
        """Records -> unit rows (n, dim).

        Raises:
            RecordError: A record is too short, or too much of it is missing.
        """
        return _unit(self.raw_records(records))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Texts -> unit rows (n, dim).

        Raises:
            QueryError: The system has no text tower.
        """
        return _unit(self.raw_texts(texts))

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Pictures of pages -> unit rows (n, dim), by digitising them: the system itself reads no pages.

        Raises:
            ImageError: Pages cannot be digitised here, or a page shows too little of the ten seconds that the system
                reads (a page in 3x4 shows 2.5 s of a lead).
        """
        return self.encode_records([self._digitised(image) for image in images])

    def raw_records(self, records: Sequence[EcgRecord]) -> Vectors:
        """Records -> rows (n, dim) as the system computes them."""
        inputs = []
        for record in records:
            prepared = self.prepare(record)
            for note in prepared.notes:
                _LOG.info("%s %s: %s", self.name, record.record_id or "record", note)
            inputs.append(prepared.samples)
        return self.raw_inputs(inputs)

    def raw_inputs(self, inputs: Sequence[NDArray[np.float32]]) -> Vectors:
        """Prepared samples, (n_leads, n) each and not all of one length -> rows (n, dim)."""
        import torch

        out = np.empty((len(inputs), self.dim), dtype=np.float32)
        by_length: dict[int, list[int]] = {}
        for place, samples in enumerate(inputs):
            by_length.setdefault(samples.shape[1], []).append(place)
        for places in by_length.values():
            for start in range(0, len(places), _BATCH):
                some = places[start : start + _BATCH]
                batch = torch.from_numpy(np.stack([inputs[place] for place in some])).to(self._device)
                with self._exact():
                    out[some] = self.ecg_vectors(batch).float().cpu().numpy()
        return out

    def raw_texts(self, texts: Sequence[str]) -> Vectors:
        """Texts -> rows (n, dim) as the system computes them.

        Raises:
            QueryError: The system has no text tower.
        """
        if self.text_folder is None:
            raise QueryError(
                f"{self.name} has no text tower: it cannot be searched with words", hint=self.without_text()
            )
        out = np.empty((len(texts), self.dim), dtype=np.float32)
        for start in range(0, len(texts), _BATCH):
            with self._exact():
                part = self.text_vectors(list(texts[start : start + _BATCH]))
                out[start : start + _BATCH] = part.float().cpu().numpy()
        return out

    def ecg_vectors(self, batch: Tensor) -> Tensor:
        """Prepared samples (n, n_leads, t) -> (n, dim)."""
        out: Tensor = self.network.ecg(batch)
        return out

    def text_vectors(self, texts: list[str]) -> Tensor:
        """Texts -> (n, dim)."""
        raise NotImplementedError

    def without_text(self) -> str:
        """What to do instead of searching with words, one sentence."""
        return "search with a recording, or with an encoder that has a text tower"

    @contextmanager
    def _exact(self) -> Iterator[None]:
        """No gradients, no autocast, no TensorFloat-32: the published figures are float32."""
        import torch

        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, enabled=False),
            torch.backends.cudnn.flags(enabled=True, deterministic=True, benchmark=False, allow_tf32=False),
        ):
            yield

    def own_checks(self) -> list[tuple[str, bool, str, str]]:
        """What can be compared with a published figure without labelled data: check, agrees, found, expected."""
        return []

    def _digitised(self, image: Image.Image) -> EcgRecord:
        from ecgkin.retrieval.ecg.page.printed import read_printed

        record = read_printed(image).record
        if record is None:
            raise ImageError(
                f"the curves of this page could not be read, and {self.system} compares signals",
                hint="give a sharper picture, or the recording",
            )
        try:
            self.prepare(record)
        except RecordError as error:
            raise ImageError(f"the page shows too little for {self.system}: {error}", hint=error.hint) from error
        return record


def _unit(rows: Vectors) -> Vectors:
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    if rows.size and not np.isfinite(norms).all():
        raise ModelError("the encoder gave a vector that is not finite", hint="please report the record's kind")
    return np.asarray(rows / np.maximum(norms, 1e-12), dtype=np.float32)


def _fingerprints(door: PublishedEncoder, network: nn.Module, text: TextFolder | None) -> tuple[str, str]:
    """Hash of what changes the vector of a record, and of that and the words."""
    rule = door.rule
    facts = [door.system, door.kind, RULE_VERSION, rule.leads, rule.fs_hz, rule.pad, rule.stretch, door.settings]
    image = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16)
    whole = hashlib.blake2b(digest_size=16)
    words = tuple(getattr(network, "text_parts", ("text",)))
    for name, tensor in sorted(network.state_dict().items()):
        if name.endswith(".num_batches_tracked"):
            continue
        digest = whole if name.startswith(words) else image
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    if text is not None:
        whole.update(text.content())
    whole.update(image.digest())
    return image.hexdigest(), whole.hexdigest()


def find_checkpoint(place: Path, system: str, patterns: Sequence[str] = ("",)) -> Path:
    """The checkpoint file that the user means: the file itself, or the only one in a folder.

    Args:
        place: File or folder.
        system: For messages.
        patterns: Parts of file names, most wanted first: the first that fits any file decides.

    Returns:
        The file.

    Raises:
        WeightsMissingError: There is none.
        ModelError: There are several.
    """
    from ecgkin.retrieval.encoders.published.checkpoint import SUFFIXES
    from ecgkin.retrieval.errors import WeightsMissingError

    if place.is_file():
        return place
    if not place.is_dir():
        raise WeightsMissingError(
            f"{place} is not there (expected a folder or file with {system}'s checkpoint)",
            hint="`ecgkin encoder list` says where it is published",
        )
    files = sorted(p for p in place.iterdir() if p.is_file() and p.suffix in SUFFIXES)
    for pattern in patterns:
        found = [p for p in files if pattern in p.name]
        if len(found) == 1:
            return found[0]
        if found:
            raise ModelError(
                f"{place} holds several checkpoints: {', '.join(p.name for p in found)}",
                hint=f"name one, for example {next((p for p in found if 'best' in p.name), found[0])}",
            )
    raise WeightsMissingError(
        f"no checkpoint of {system} in {place} (expected a file that ends in {', '.join(SUFFIXES)})",
        hint="`ecgkin encoder list` says where it is published",
    )
