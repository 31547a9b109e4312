"""`Task`: what a drafter works on, the query read, its neighbours found, its samples measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ecgkin.generation.types.draft import Language
from ecgkin.retrieval.ecg.record import EcgRecord

if TYPE_CHECKING:
    from PIL import Image

    from ecgkin.generation.measures import Measurements
    from ecgkin.retrieval.search.hits import SearchResult


@dataclass(frozen=True)
class Task:
    """One draft to be made.

    Attributes:
        ecg: The query; None where only its neighbours are at hand, and then no model can be asked.
        result: The search for it; drafts cite from its `neighbours`.
        measured: Of the samples, of a picture those read off its page; None where none could be read.
        question: What is asked, on one line without control characters; None for the report.
        k: Cases that a model is shown, or that are listed beside those cited.
        language: Of the draft.
        shown: Ids of the hits that the reader sees as cards, in order, so that citation [n] is card n.
    """

    ecg: EcgRecord | Image.Image | None
    result: SearchResult
    measured: Measurements | None
    question: str | None
    k: int
    language: Language
    shown: tuple[str, ...] = ()

    @property
    def no_ecg(self) -> bool:
        """The samples show no ECG, or not at the rate that they are said to have."""
        return self.result.abstained == "no_ecg" or self.wrong_rate

    @property
    def wrong_rate(self) -> bool:
        """A record whose intervals only another sampling rate explains; of pages this is only noted."""
        from ecgkin.generation.measures.timing import wrong_rate

        return isinstance(self.ecg, EcgRecord) and self.measured is not None and wrong_rate(self.measured)

    @property
    def refused(self) -> bool:
        """No ECG, or nothing near: no evidence to condition on. With k = 0 a model was asked for without any."""
        return self.no_ecg or (self.k > 0 and (self.result.nothing_similar or not self.result.neighbours))

    @property
    def values(self) -> dict[str, float]:
        """Measurements by name; empty where nothing could be measured."""
        return self.measured.values if self.measured else {}
