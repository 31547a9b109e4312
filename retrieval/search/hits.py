"""What a search brings back: `Hit` and `SearchResult`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from ecgkin.index.case import Case
from ecgkin.retrieval.notes import Note, NoteCode
from ecgkin.retrieval.search.vote import Vote

if TYPE_CHECKING:
    from ecgkin.retrieval.ecg.page.printed import PrintedEcg
    from ecgkin.retrieval.ecg.page.reading import PageReading
    from ecgkin.retrieval.search.words.parts import Understood


Abstained: TypeAlias = Literal["", "no_case", "no_ecg", "unlike", "unreadable", "not_carried", "not_understood"]
# Cases near enough to be shown, cited and compared with each other; the vote counts those behind them, too, by less.
NEIGHBOURS = 200
_SAYS_SO = frozenset(
    {
        NoteCode.NOTHING_SIMILAR,
        NoteCode.PAGE_UNREADABLE,
        NoteCode.NO_BEATS,
        NoteCode.LEADS_ALIKE,
        NoteCode.WORDS_NOT_CARRIED,
        NoteCode.WORDS_NONE_WITHIN,
        NoteCode.WORDS_NOT_UNDERSTOOD,
    }
)


@dataclass(frozen=True, slots=True)
class Hit:
    """One case that was found.

    Attributes:
        rank: From 1.
        score: Cosine of query and case, -1 to 1.
        case: The stored case.
    """

    rank: int
    score: float
    case: Case


@dataclass(frozen=True, eq=False)
class SearchResult(Sequence[Hit]):
    """The hits, best first (index it, iterate over it), and what is to be said about them.

    Attributes:
        hits: At most k.
        neighbours: The nearest of the cases that voted, best first: the hits, and as a rule more, 200.
        vote: What the neighbours say.
        nothing_similar: True when there is no hit, or the best one is not near enough by the calibrated threshold.
        threshold: That threshold; None without a calibration, and then `nothing_similar` only says "no hit".
        printed: What was read of a picture: page, signals, places; None for other queries, or where the encoder
            looks at the picture alone.
        abstained: Why: "no_case" (none passes the filter), "no_ecg" (the samples show no heartbeats, or one curve in
            all leads), "unlike" (the ECG was read, no case is like it), "unreadable" (the picture was not read well
            enough to say), "not_carried" (no case carries what the words ask for), "not_understood" (the words say too
            little about ECGs); "" where there is something similar.
        warnings: What was odd about the query or limits the answer, as notes with codes.
        timings_ms: Milliseconds by step ("read", "encode", "index", "vote", "total").
        query: "image", "record", "text", "image+text", "record+text", or what `by_vector` was told.
        vector: The unit vector that was searched with, shape (dim,).
        understood: Parts of a query by words; None for other queries and for words that were only embedded. Cases that
            carry what was asked for come first, so that scores fall within such groups alone.
        testimony: What another classifier says of the ECG (`CaseSearch.witness`): its name to statement codes and
            probabilities as it gives them, not fitted to these cases.
    """

    hits: tuple[Hit, ...]
    neighbours: tuple[Hit, ...]
    vote: Vote
    nothing_similar: bool
    threshold: float | None
    printed: PrintedEcg | None
    warnings: tuple[Note, ...]
    timings_ms: Mapping[str, float]
    query: str
    vector: NDArray[np.float32]
    abstained: Abstained = ""
    understood: Understood | None = None
    testimony: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def page(self) -> PageReading | None:
        """What was understood of a picture; None where none was read."""
        return None if self.printed is None else self.printed.page

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Hit]: ...
    def __getitem__(self, index: int | slice) -> Hit | Sequence[Hit]:
        return self.hits[index]

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)


@dataclass(frozen=True)
class Nearness:
    """Whether anything near was found, as the first search of a query says it.

    Attributes:
        nothing_similar, best_score, threshold, reason: Of `SearchResult`; the best score is None without a hit.
        warnings: Those that say so.
    """

    nothing_similar: bool
    best_score: float | None
    threshold: float | None
    warnings: tuple[Note, ...] = ()
    reason: Abstained = ""

    @classmethod
    def of(cls, result: SearchResult) -> Nearness:
        """Of a search that refines no other."""
        said = tuple(note for note in result.warnings if note.code in _SAYS_SO)
        best = result.hits[0].score if result.hits else None
        return cls(result.nothing_similar, best, result.threshold, said, result.abstained)
