"""ECGFounder's 150 classes as a witness for PTB-XL's statements, beside vote and head.

Which class says which statement is our reading of the authors' tasks.txt (by line number), not published. The classes
were learnt with labels on other data (HEEDB): an answer of this witness is a supervised classifier's, no zero-shot.
Serial statements ("no longer", "has replaced") compare with an earlier ECG, which a single one cannot show, and
fragments ("blocked", "acute") name nothing by themselves: both are hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.statements.catalogue import CODES
from ecgkin.retrieval.encoders.published.ecgfounder.door import EcgFounderEncoder
from ecgkin.retrieval.encoders.published.names.ecgfounder import (
    FRAGMENTS,
    N_CLASSES,
    SERIAL_LINES,
    STATEMENT_LINES,
)
from ecgkin.retrieval.encoders.witness import Testimony
from ecgkin.retrieval.errors import ModelError, QueryError


@dataclass(frozen=True)
class EcgFounderWitness:
    """ECGFounder's classes behind the `StatementWitness` protocol.

    Attributes:
        encoder: With the published 150 classes.
    """

    encoder: EcgFounderEncoder

    @property
    def name(self) -> str:
        """See `StatementWitness`."""
        return "ecgfounder"

    @property
    def cautions(self) -> tuple[str, ...]:
        """What must stand beside whatever it says."""
        return tuple(f"{self.name}: {caution}" for caution in self.encoder.cautions)

    def check(self) -> None:
        """That its classes are the published ones.

        Raises:
            ModelError: They are others.
        """
        _check_classes(int(self.encoder.network.classify.out_features))

    def of_records(self, records: Sequence[EcgRecord]) -> Testimony:
        """Probabilities of the statements that ECGFounder has a class for.

        Args:
            records: Any ECGs.

        Raises:
            ModelError: The checkpoint has other classes.
            RecordError: A record is too short, or too much of it is missing.
        """
        return from_logits(self.encoder.logits(records))


def from_logits(logits: NDArray[np.float32]) -> Testimony:
    """Probabilities of the statements from logits (n, 150).

    Raises:
        ModelError: Another number of classes.
    """
    _check_classes(logits.shape[-1])
    with np.errstate(over="ignore"):
        every = 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))
    out = np.full((len(logits), len(CODES)), np.nan, dtype=np.float32)
    for code, lines in STATEMENT_LINES.items():
        out[:, CODES.index(code)] = every[:, [line - 1 for line in lines]].max(axis=1)
    return Testimony(CODES, out, tuple(code for code in CODES if code in STATEMENT_LINES))


def _check_classes(n: int) -> None:
    if n != N_CLASSES:
        raise ModelError(
            f"{n} classes (expected ECGFounder's {N_CLASSES})",
            hint="a fine-tuned checkpoint has other classes; the witness knows the published ones",
        )


def visible_classes(class_names: Sequence[str] = ()) -> tuple[tuple[int, str], ...]:
    """Line and name of the classes that may be shown: serial statements and fragments are left out.

    Args:
        class_names: The 150 lines of the user's tasks.txt; without them the lines that say a statement have its code
            for a name, and the rest is left out.

    Raises:
        QueryError: Another number of names.
    """
    if class_names and len(class_names) != N_CLASSES:
        raise QueryError(f"{len(class_names)} class names (expected {N_CLASSES})", hint="use the authors' tasks.txt")
    if class_names:
        shown = ((n, name) for n, name in enumerate(class_names, 1) if n not in SERIAL_LINES)
        return tuple((n, name) for n, name in shown if name.strip().lower() not in FRAGMENTS)
    return tuple(sorted((line, code) for code, lines in STATEMENT_LINES.items() for line in lines))
