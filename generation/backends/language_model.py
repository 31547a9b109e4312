"""A language model as a drafter: prompt with cases in, answer out, every sentence of it held against its evidence."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ecgkin.generation.backends.base import DraftSettings, Request, TextBackend
from ecgkin.generation.prompt.context import Context, Counter, build_context
from ecgkin.generation.prompt.grounding import ground
from ecgkin.generation.prompt.pages import picture_for
from ecgkin.generation.prompt.untrusted import readable_answer
from ecgkin.generation.types.draft import Draft
from ecgkin.generation.types.task import Task
from ecgkin.retrieval.errors import GenerationError
from ecgkin.retrieval.notes import Note, NoteCode

if TYPE_CHECKING:
    from PIL.Image import Image

_LOG = logging.getLogger(__name__)


def prompt_for(task: Task, counter: Counter, settings: DraftSettings) -> tuple[Context, Image]:
    """What a model is asked, with its tokens counted, and the picture that goes along.

    Args:
        task: The query and its neighbours; `task.k` of them are shown.
        counter: Counts tokens by the rules of the model.
        settings: Of them the length of the answer counts.

    Raises:
        GenerationError: Even without cases the prompt does not fit, or the task has no ECG.
    """
    if task.ecg is None:
        raise GenerationError("a model cannot be asked about an ECG that is not at hand")
    image = picture_for(task.ecg, counter, settings.max_new_tokens)
    context = build_context(
        task.result.neighbours,
        task.result.vote if task.k else None,
        counter,
        k=task.k,
        question=task.question,
        language=task.language,
        measured=task.values,
        image=image,
        max_new_tokens=settings.max_new_tokens,
        shown=task.shown,
    )
    _LOG.info(
        "prompt name=%s cases=%d dropped=%d tokens=%d budget=%d",
        context.prompt_name, len(context.evidence), context.dropped, context.n_tokens, context.budget,
    )  # fmt: skip
    return context, image


class LanguageModelBackend:
    """Drafts by a language model, wherever it runs.

    Args:
        model: In this process, or behind a server.
    """

    exclusive = True

    def __init__(self, model: TextBackend) -> None:
        self.model = model

    @property
    def name(self) -> str:
        """That of the model."""
        return self.model.name

    def draft(self, task: Task, settings: DraftSettings) -> Draft:
        """See `DraftBackend.draft`."""
        context, request = self._request(task, settings)
        done = self.model.generate(request)
        draft = self._grounded(done.text, context, task, settings)
        cut = (Note(NoteCode.DRAFT_CUT),) if done.finish_reason == "length" else ()
        return replace(draft, tokens_in=done.tokens_in, tokens_out=done.tokens_out, warnings=(*draft.warnings, *cut))

    def stream(self, task: Task, settings: DraftSettings) -> Iterator[str | Draft]:
        """See `DraftBackend.stream`."""
        context, request = self._request(task, settings)
        parts: list[str] = []
        for piece in self.model.stream(request):
            parts.append(piece)
            yield piece
        yield self._grounded("".join(parts), context, task, settings)

    def _request(self, task: Task, settings: DraftSettings) -> tuple[Context, Request]:
        context, image = prompt_for(task, self.model, settings)
        return context, Request(context.prompt, image, settings.max_new_tokens, settings.temperature, settings.seed)

    def _grounded(self, text: str, context: Context, task: Task, settings: DraftSettings) -> Draft:
        answer = readable_answer(text)
        vote = task.result.vote
        found = ground(
            answer,
            context.evidence,
            vote=vote,
            neighbours=[hit.case.labels.keys() for hit in task.result.neighbours],
            thresholds=settings.thresholds,
            picture=True,
        )
        empty = () if answer else (Note(NoteCode.DRAFT_EMPTY),)
        uncited = found.sentences and context.evidence and not any(s.citations for s in found.sentences)
        return Draft(
            text=answer,
            language=task.language,
            model=self.name,
            question=task.question,
            sentences=found.sentences,
            statements=found.statements,
            evidence=context.evidence,
            unknown_citations=found.unknown_citations,
            warnings=(*empty, *found.warnings, *((Note(NoteCode.DRAFT_UNCITED),) if uncited else ())),
            probabilities=vote.probabilities,
            calibrated=vote.calibrated,
            measurements=task.values,
            prompt=context.prompt_name,
        )
