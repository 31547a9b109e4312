"""`load_encoder("ecgfounder:FILE")`: ECGFounder, vectors of 1024 dimensions and 150 named classes; no text tower.

First the network, as inference needs it; then signals and loading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.published.checkpoint import load_into, read_checkpoint
from ecgkin.retrieval.encoders.published.door import PublishedEncoder, Vectors, find_checkpoint
from ecgkin.retrieval.encoders.published.names import ecgfounder as names
from ecgkin.retrieval.encoders.published.signals import STANDARD_LEADS, Samples, SignalRule, running_median
from ecgkin.retrieval.encoders.published.wrong_system import check_system
from ecgkin.retrieval.errors import ModelError

if TYPE_CHECKING:
    from ecgkin.retrieval.encoders.published.checkpoint import Checkpoint


@dataclass(frozen=True)
class BlockSizes:
    """Widths of one block: in, inner, out, of the squeeze; channels of one group; taps of the middle convolution."""

    given: int
    inner: int
    made: int
    squeezed: int
    group: int
    kernel: int


class SameConvolution(nn.Conv1d):
    """Convolution whose output has ceil(t / stride) steps; of an odd amount of padding the right gets one more."""

    def sides(self, t: int) -> tuple[int, int]:
        """Zeros on the left and right of an input of t steps."""
        taps, stride = self.kernel_size[0], self.stride[0]
        total = max(0, (-(-t // stride) - 1) * stride + taps - t)
        return total // 2, total - total // 2

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102 - see the class
        out: Tensor = super().forward(F.pad(x, self.sides(x.shape[2])))
        return out


class GroupedBlock(nn.Module):
    """1x1, grouped, 1x1 convolutions with Swish before each, squeeze and excitation, plus the shortcut."""

    def __init__(self, sizes: BlockSizes, stride: int, is_first: bool) -> None:
        super().__init__()
        self.is_first, self.stride, self.made = is_first, stride, sizes.made
        self.conv1 = SameConvolution(sizes.given, sizes.inner, 1)
        groups = sizes.inner // sizes.group
        self.conv2 = SameConvolution(sizes.inner, sizes.inner, sizes.kernel, stride=stride, groups=groups)
        self.conv3 = SameConvolution(sizes.inner, sizes.made, 1)
        self.squeeze = nn.Linear(sizes.made, sizes.squeezed)
        self.excite = nn.Linear(sizes.squeezed, sizes.made)

    def forward(self, x: Tensor) -> Tensor:
        """(n, given, t) -> (n, made, t / stride)."""
        y = x if self.is_first else self.act(x)
        y = self.conv1(y)
        y = self.conv2(self.act(y))
        y = self.conv3(self.act(y))
        out: Tensor = y * self.gates(y) + self.shortcut(x)
        return out

    def act(self, x: Tensor) -> Tensor:
        """Swish."""
        return F.silu(x)

    def gates(self, y: Tensor) -> Tensor:
        """A factor a channel, (n, made, 1)."""
        out: Tensor = torch.sigmoid(self.excite(self.squeeze_act(self.squeeze(y.mean(dim=2)))))
        return out[:, :, None]

    def squeeze_act(self, x: Tensor) -> Tensor:
        """Swish here too."""
        return F.silu(x)

    def shortcut(self, x: Tensor) -> Tensor:
        """Halved by the larger of two with a zero behind; missing channels half before, half after."""
        if self.stride > 1:
            x = self.pool(x)
        return self.widen(x)

    def pool(self, x: Tensor) -> Tensor:
        """(n, c, t) -> (n, c, ceil(t / 2))."""
        return F.max_pool1d(F.pad(x, (0, self.stride - 1)), self.stride)

    def widen(self, x: Tensor) -> Tensor:
        """(n, given, t) -> (n, made, t)."""
        more = self.made - x.shape[1]
        return F.pad(x, (0, 0, more // 2, more - more // 2))


class EcgFounder(nn.Module):
    """Stem, stages, time mean, classes."""

    text_parts = ("classify",)  # what changes no vector of a record

    def __init__(
        self, leads: int, stem: int, kernel: int, stages: Sequence[Sequence[BlockSizes]], classes: int
    ) -> None:
        super().__init__()
        self.stem = SameConvolution(leads, stem, kernel, stride=names.STRIDE)
        self.stages = nn.ModuleList()
        for number, blocks in enumerate(stages):
            self.stages.append(
                nn.ModuleList(
                    GroupedBlock(sizes, names.STRIDE if place == 0 else 1, number == 0 and place == 0)
                    for place, sizes in enumerate(blocks)
                )
            )
        self.dim = stages[-1][-1].made
        self.classify = nn.Linear(self.dim, classes)

    def steps(self, x: Tensor) -> Tensor:
        """Signals (n, leads, t) -> the last stage, (n, dim, steps)."""
        x = F.silu(self.stem(x))
        for stage in self.stages:
            for block in stage:  # type: ignore[attr-defined]
                x = block(x)
        return x

    def ecg(self, x: Tensor) -> Tensor:
        """Signals (n, leads, t) -> features (n, dim)."""
        return self.summary(self.steps(x))

    def summary(self, x: Tensor) -> Tensor:
        """Mean over time."""
        return x.mean(dim=2)

    def logits(self, x: Tensor) -> Tensor:
        """Signals (n, leads, t) -> one logit a class, (n, classes)."""
        out: Tensor = self.classify(self.ecg(x))
        return out


def build_ecgfounder(checkpoint: Checkpoint) -> EcgFounder:
    """The network of the sizes that a checkpoint says, not filled yet.

    Raises:
        ModelError: A tensor that the sizes are read from is missing.
    """
    size = checkpoint.size
    stages = []
    for s in range(checkpoint.count(names.STAGE)):
        blocks = []
        for b in range(checkpoint.count(names.BLOCK.format(s=s))):

            def of(part: str, dimension: int, s: int = s, b: int = b) -> int:
                return size(names.BLOCK_PART.format(s=s, b=b, part=part), dimension)

            blocks.append(
                BlockSizes(
                    given=of("conv1.conv", 1),
                    inner=of("conv1.conv", 0),
                    made=of("conv3.conv", 0),
                    squeezed=of("se_fc1", 0),
                    group=max(1, of("conv2.conv", 1)),
                    kernel=of("conv2.conv", 2),
                )
            )
        stages.append(blocks)
    return EcgFounder(size(names.STEM, 1), size(names.STEM), size(names.STEM, 2), stages, size(names.CLASSES))


FS_HZ = 500.0
NOTCH_HZ, NOTCH_Q = 50.0, 30.0
BAND_HZ, BAND_ORDER = (0.67, 40.0), 4
BASELINE_SAMPLES = 201


def condition(rows: Samples) -> Samples:
    """The filters of the authors' dataset.py, at 500 Hz: mains notch, band-pass, minus a running median."""
    from scipy.signal import butter, filtfilt, iirnotch

    rows = filtfilt(*iirnotch(NOTCH_HZ, NOTCH_Q, FS_HZ), rows, axis=1)
    rows = filtfilt(*butter(BAND_ORDER, BAND_HZ, btype="bandpass", fs=FS_HZ), rows, axis=1)
    return np.asarray(rows - running_median(rows, BASELINE_SAMPLES))


def scale(rows: Samples) -> Samples:
    """z-score over the whole record, all leads together."""
    return np.asarray((rows - rows.mean()) / (rows.std() + 1e-8))


RULE = SignalRule(names.SYSTEM, STANDARD_LEADS, FS_HZ, condition=condition, scale=scale)
"""As the authors' README demands (dataset.py)."""
UNFILTERED_RULE = SignalRule(names.SYSTEM, STANDARD_LEADS, FS_HZ, scale=scale, stretch=True)
"""As their ptbxl_eval.py does: no filter; scaled first, then stretched to 500 Hz."""


class EcgFounderEncoder(PublishedEncoder):
    """ECGFounder behind the `Encoder` protocol; words cannot be placed, 150 classes can be asked for (`witness`)."""

    class_names: tuple[str, ...] = ()

    def without_text(self) -> str:
        """What to do instead."""
        return "ECGFounder knows 150 classes (`ecgkin.retrieval.encoders.published.ecgfounder.witness`), not words"

    def logits(self, records: Sequence[EcgRecord]) -> Vectors:
        """Logits of the 150 classes, (n, 150), in the order of the authors' tasks.txt."""
        return self.logits_of(self.raw_records(records))

    def own_checks(self) -> list[tuple[str, bool, str, str]]:
        """First logits of a straight line, and whether tasks.txt reads like the file that statements were found in."""
        line = torch.linspace(-1.0, 1.0, 60_000).view(1, 12, 5000)[:, : len(self.rule.leads)].to(self._device)
        out = []
        if len(self.rule.leads) == len(STANDARD_LEADS):
            with self._exact():
                found = self.network.logits(line)[0, : len(names.LINSPACE_LOGITS)].float().cpu().numpy()
            worst = float(np.abs(found - np.asarray(names.LINSPACE_LOGITS)).max())
            said = f"off by at most {worst:.4g}, first {found[0]:.4f}"
            wanted = f"within {names.LINSPACE_TOLERANCE:g} of the published file's, first {names.LINSPACE_LOGITS[0]}"
            out.append(("ten logits of a straight line", worst <= names.LINSPACE_TOLERANCE, said, wanted))
        if self.class_names:
            strange = disagreeing_names(self.class_names)
            said = "; ".join(strange[:3]) or f"{len(names.EXPECTED_WORDS)} lines read like their statements"
            out.append(("tasks.txt", not strange, said, "the authors' file, by whose lines statements are found"))
        return out

    def logits_of(self, features: Vectors) -> Vectors:
        """Logits of the 150 classes from raw features (n, dim)."""
        with self._exact():
            out = self.network.classify(torch.from_numpy(features).to(self._device))
            return np.asarray(out.float().cpu().numpy(), dtype=np.float32)


def load_ecgfounder(
    place: Path, name: str, device: str = "cpu", settings: Mapping[str, str] | None = None
) -> EcgFounderEncoder:
    """Load ECGFounder.

    Args:
        place: The checkpoint, or a folder with one. A `tasks.txt` beside it gives the classes their names.
        name: Of the encoder.
        device: "cpu", "cuda" or "cuda:N".
        settings: "filter": "on" (the authors' README; default) or "off" (their PTB-XL script).

    Returns:
        The encoder, ready to use.

    Raises:
        WeightsMissingError, ModelError: Something is missing, or does not fit.
    """
    chosen = dict(settings or {})
    rule = RULE if chosen.get("filter", "on") == "on" else UNFILTERED_RULE
    path = find_checkpoint(place, names.SYSTEM, ("12_lead", ""))
    checkpoint = read_checkpoint(path, names.SYSTEM)
    check_system(checkpoint, "ecgfounder")
    leads = checkpoint.size(names.STEM, 1)
    if leads == 1:
        rule = replace(rule, leads=("I",))
    elif leads != len(STANDARD_LEADS):
        raise ModelError(
            f"{path.name} reads {leads} leads (expected 12, or 1: lead I)", hint="is this a published ECGFounder file?"
        )
    network = build_ecgfounder(checkpoint)
    load_into(network, checkpoint, names.NAMES)
    kind = f"{'12 leads' if leads > 1 else 'lead I alone'}, {checkpoint.size(names.CLASSES)} classes"
    door = EcgFounderEncoder(
        name, network, checkpoint, rule, dim=network.dim, kind=kind, device=device, settings=chosen
    )
    door.published_sizes = names.PUBLISHED_SIZES if leads > 1 else {"dim": names.PUBLISHED_SIZES["dim"]}
    door.class_names = read_class_names(path.parent, checkpoint.size(names.CLASSES))
    return door


def read_class_names(folder: Path, n_classes: int) -> tuple[str, ...]:
    """Names of the classes from the user's tasks.txt; () where there is none.

    Args:
        folder: Where the checkpoint lies.
        n_classes: How many the network has.

    Returns:
        Names in the order of the network's outputs.

    Raises:
        ModelError: It has another number of lines than the checkpoint has classes.
    """
    path = folder / names.TASKS_FILE
    if not path.is_file():
        return ()
    lines = tuple(line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    lines = lines[:-1] if lines and not lines[-1] else lines
    if len(lines) != n_classes:
        raise ModelError(
            f"{path} has {len(lines)} lines, the checkpoint {n_classes} classes",
            hint="copy tasks.txt from the authors' repository, or take it away",
        )
    return lines


def disagreeing_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Statements whose line in a tasks.txt does not read like them: the file is another one than the mapping's.

    Args:
        class_names: As many lines as the checkpoint has classes.
    """
    out = []
    for code, word in names.EXPECTED_WORDS.items():
        line = names.STATEMENT_LINES[code][0]
        said = class_names[line - 1] if line <= len(class_names) else "no such line"
        if word not in said.lower():
            out.append(f"{code} (line {line}: {said})")
    return tuple(out)
