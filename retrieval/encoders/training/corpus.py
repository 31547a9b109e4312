"""PTB-XL as arrays for training: signals, labels, report texts, folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.statements.catalogue import CODES, SUPERCLASSES
from ecgkin.retrieval.ecg.statements.catalogue import superclasses as superclasses_of
from ecgkin.retrieval.ecg.statements.report_text import normalise_report

CORPUS_FS_HZ = 100.0


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """Records of some folds as arrays, row by row.

    Attributes:
        signals: float16 (n, 12, 1000), mV at 100 Hz, standard lead order.
        labels: uint8 (n, 71), statements in the order of `CODES`; every key of `scp_codes` counts.
        likelihoods: float32 (n, 71), the same as soft targets: how sure the reader was (`soft_target`).
        superclasses: uint8 (n, 5) in the order of `SUPERCLASSES`.
        reports: Cleaned report texts, as written.
        normalised: The same, normalised (field.md 5.4.5): equal strings are the same report.
        folds, ecg_ids: int (n,).
        patients: Patient identifiers.
    """

    signals: NDArray[np.float16]
    labels: NDArray[np.uint8]
    likelihoods: NDArray[np.float32]
    superclasses: NDArray[np.uint8]
    reports: tuple[str, ...]
    normalised: tuple[str, ...]
    folds: NDArray[np.int64]
    ecg_ids: NDArray[np.int64]
    patients: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.folds)

    def record(self, row: int) -> EcgRecord:
        """One row as a record."""
        return EcgRecord(self.signals[row].astype(np.float32), CORPUS_FS_HZ, LEADS, record_id=str(self.ecg_ids[row]))

    def rows_of(self, folds: Sequence[int]) -> NDArray[np.int64]:
        """Row numbers of the given folds."""
        return np.flatnonzero(np.isin(self.folds, list(folds)))


def soft_target(percent: float) -> float:
    """What a network is to say of a statement that a reader was so sure of.

    PTB-XL gives likelihoods of 15, 35, 50, 80 and 100 %, read off words such as "possible"; 0 means that the report
    names the statement without such a word (rhythm and form statements always do). Half of the doubt is passed on: a
    statement that stands in a report is seen in the ECG more often than its word says.

    >>> soft_target(0.0), soft_target(100.0), soft_target(50.0)
    (1.0, 1.0, 0.75)
    """
    return 1.0 if percent == 0 else 0.5 + 0.005 * percent


def load_corpus(root: Path, folds: Sequence[int]) -> Corpus:
    """Read the given folds of an official-layout PTB-XL folder (8 s for all nine at 100 Hz).

    Args:
        root: The folder.
        folds: Which of the folds 1 to 10.

    Returns:
        Signals, labels and reports as arrays.

    Raises:
        RecordError: The folder is not PTB-XL, or holds none of the folds.
    """
    ptbxl = PtbXl(root)
    rows = ptbxl.select(folds=folds)
    signals = ptbxl.signals(rows, fs_hz=CORPUS_FS_HZ).astype(np.float16)
    column = {code: i for i, code in enumerate(CODES)}
    labels = np.zeros((len(rows), len(CODES)), dtype=np.uint8)
    likelihoods = np.zeros((len(rows), len(CODES)), dtype=np.float32)
    superclasses = np.zeros((len(rows), len(SUPERCLASSES)), dtype=np.uint8)
    for i, row in enumerate(rows):
        for code, percent in row.labels.items():
            labels[i, column[code]] = 1
            likelihoods[i, column[code]] = soft_target(percent)
        for owner in superclasses_of(row.labels):
            superclasses[i, SUPERCLASSES.index(owner)] = 1
    return Corpus(
        signals=signals,
        labels=labels,
        likelihoods=likelihoods,
        superclasses=superclasses,
        reports=tuple(row.report for row in rows),
        normalised=tuple(normalise_report(row.report) for row in rows),
        folds=np.array([row.fold for row in rows]),
        ecg_ids=np.array([row.ecg_id for row in rows]),
        patients=tuple(row.patient_id for row in rows),
    )
