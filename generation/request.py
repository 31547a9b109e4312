"""What a drafter is asked: the query read, its neighbours found, its samples measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ecgkin.generation.consensus.assembly import Neighbour
from ecgkin.generation.draft import LANGUAGES, Language
from ecgkin.generation.measures import Measurements, measure
from ecgkin.generation.prompt.pages import page_of
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.search.vote import DEFAULT_K

if TYPE_CHECKING:
    from PIL import Image

    from ecgkin.index.filters import WhereLike
    from ecgkin.retrieval.search.hits import SearchResult
    from ecgkin.retrieval.search.search import CaseSearch

MAX_K = 20


@dataclass(frozen=True)
class Task:
    """One draft to be made.

    Attributes:
        ecg: The query.
        result: As many neighbours as the vote looks at.
        measured: Of the samples; None for a picture.
        question: What is asked; None for the report.
        k: Cases that a model is shown.
        language: Of the draft.
    """

    ecg: EcgRecord | Image.Image
    result: SearchResult
    measured: Measurements | None
    question: str | None
    k: int
    language: Language

    @property
    def refused(self) -> bool:
        """Nothing near: no evidence to condition on. With k = 0 a model was asked for without any."""
        return self.k > 0 and (self.result.nothing_similar or not self.result.hits)

    @property
    def values(self) -> dict[str, float]:
        """Measurements by name; empty for a picture."""
        return self.measured.values if self.measured else {}


def open_task(
    search: CaseSearch,
    query: EcgRecord | Image.Image | str | Path,
    question: str | None,
    k: int,
    lang: Language,
    where: WhereLike,
    exclude_patient: str | None,
) -> Task:
    """Read the query and retrieve for it; arguments and errors as in `Drafter.draft`."""
    if isinstance(k, bool) or not isinstance(k, int) or not 0 <= k <= MAX_K:
        raise QueryError(f"k is {k!r} (expected a whole number from 0 to {MAX_K})")
    if lang not in LANGUAGES:
        raise QueryError(f"language is {lang!r} (expected {' or '.join(LANGUAGES)})")
    depth = search.calibration.depth if search.calibration else DEFAULT_K
    ecg = page_of(query)
    # As deep as the vote looks: a rare finding may be carried by the thirtieth case only, and is to be cited.
    if isinstance(ecg, EcgRecord):
        result = search.by_ecg(ecg, depth, where, exclude_patient)
        return Task(ecg, result, measure(ecg), question, k, lang)
    return Task(ecg, search.by_image(ecg, depth, where, exclude_patient), None, question, k, lang)


def neighbours_of(result: SearchResult) -> Sequence[Neighbour]:
    """The hits as the consensus reads them."""
    return [Neighbour(hit.case.case_id, hit.score, frozenset(hit.case.labels)) for hit in result.hits]
