"""The drafter without a model as a back end: the calibrated vote of the neighbours in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ecgkin.generation.backends.base import DraftSettings
from ecgkin.generation.consensus.assembly import neighbours_of
from ecgkin.generation.consensus.consensus import MODEL, write_consensus
from ecgkin.generation.consensus.phrases import WORDS
from ecgkin.generation.types.draft import Draft
from ecgkin.generation.types.task import Task


class ConsensusBackend:
    """Writes drafts from votes, statements and measurements; see `consensus.write_consensus`. For threads."""

    name = MODEL
    exclusive = False

    def draft(self, task: Task, settings: DraftSettings) -> Draft:
        """See `DraftBackend.draft`; a refusal where nothing similar was found."""
        result = task.result
        written = write_consensus(
            result.vote,
            neighbours_of(result.neighbours),
            language=task.language,
            thresholds=settings.thresholds,
            measurements=task.measured,
            question=task.question,
            k=task.k,
            shown=task.shown,
            nothing_similar=result.nothing_similar or not result.neighbours or task.no_ecg,
        )
        why = "wrong_rate" if task.wrong_rate and result.abstained != "no_ecg" else result.abstained
        if not written.refusal or why not in ("unreadable", "no_ecg", "wrong_rate"):
            return written
        # Whether a case is like it cannot be told of a page that was not read, or of what is no ECG.
        said = WORDS[task.language][why]
        return replace(written, refusal=said, text=said + written.text.removeprefix(written.refusal))

    def stream(self, task: Task, settings: DraftSettings) -> Iterator[str | Draft]:
        """See `DraftBackend.stream`; line by line."""
        draft = self.draft(task, settings)
        yield from draft.text.splitlines(keepends=True)
        yield draft
