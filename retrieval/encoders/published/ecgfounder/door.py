"""`load_encoder("ecgfounder:FILE")`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.published.checkpoint import load_into, read_checkpoint
from ecgkin.retrieval.encoders.published.door import PublishedEncoder, Vectors, find_checkpoint
from ecgkin.retrieval.encoders.published.names import ecgfounder as names
from ecgkin.retrieval.encoders.published.signals import STANDARD_LEADS, Samples, SignalRule, running_median
from ecgkin.retrieval.encoders.published.wrong_system import check_system
from ecgkin.retrieval.errors import ModelError

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
        import torch

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
        import torch

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

    Raises:
        WeightsMissingError, ModelError: Something is missing, or does not fit.
    """
    from ecgkin.retrieval.encoders.published.ecgfounder.network import build_ecgfounder

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
