"""What the tasks of `ecgkin evaluate run` share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.generation.research.retrieval.bootstrap import patient_weights
from ecgkin.generation.research.retrieval.case_retrieval import Rules
from ecgkin.generation.research.retrieval.galleries import Embedder
from ecgkin.generation.research.retrieval.ranking import patient_numbers
from ecgkin.generation.research.study.settings import StudySettings
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXlRow
from ecgkin.retrieval.search.vote import Calibration, VoteRule

Values = dict[str, Any]


def some_rows(rows: Sequence[PtbXlRow], n: int) -> list[PtbXlRow]:
    """At most n of them (0: all), drawn with a fixed seed, in their order; never fewer than 20 where there are 20.

    Args:
        rows: All of them.
        n: How many at most; 0 for all.

    Returns:
        The rows that were drawn.
    """
    if not n or n >= len(rows):
        return list(rows)
    chosen = np.random.default_rng(300).choice(len(rows), max(20, n) if len(rows) > 20 else len(rows), replace=False)
    return [rows[i] for i in np.sort(chosen)]


@dataclass(frozen=True)
class Study:
    """What the tasks share.

    Attributes:
        settings: Of the run.
        embedder: Data, encoder, cache, progress.
        queries, gallery: Rows of both sides.
        calibration: Of the encoder, or None.
        out: Folder of the run.
    """

    settings: StudySettings
    embedder: Embedder
    queries: Sequence[PtbXlRow]
    gallery: Sequence[PtbXlRow]
    calibration: Calibration | None
    out: Path

    @property
    def weights(self) -> Any:
        """Bootstrap weights over the queries' patients, the same in every task."""
        return patient_weights(self.patients, self.settings.resamples)

    @property
    def patients(self) -> Any:
        """Number of each query's patient."""
        return patient_numbers([row.patient_id for row in self.queries])[0]

    @property
    def rules(self) -> Rules:
        """Depths and temperatures of the votes."""
        if self.calibration is None:
            return Rules(VoteRule(), VoteRule())
        return Rules(self.calibration.superclasses, self.calibration.statements)

    def part(self, limit: int) -> Study:
        """At most `limit` gallery records and a quarter as many queries."""
        if not limit:
            return self
        return replace(self, queries=some_rows(self.queries, limit // 4), gallery=some_rows(self.gallery, limit))
