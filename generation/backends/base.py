"""Protocols of back ends: `TextBackend`, a language model that continues a prompt; `DraftBackend` writes drafts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ecgkin.generation.consensus.thresholds import DraftThresholds
from ecgkin.generation.types.draft import Draft
from ecgkin.generation.types.task import Task
from ecgkin.retrieval.errors import GenerationError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_NEW_TOKENS = 512


@dataclass(frozen=True)
class Request:
    """What a model is asked.

    Attributes:
        prompt: Plain text: the question and whatever context goes with it.
        image: The picture that goes along, or None.
        max_new_tokens: Longest answer, 1 or more.
        temperature: 0 for greedy decoding.
        seed: Of a sampled answer; None lets the model choose.

    Raises:
        GenerationError: A length below 1, or a temperature below 0.
    """

    prompt: str
    image: Image | None = None
    max_new_tokens: int = MAX_NEW_TOKENS
    temperature: float = 0.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or not self.temperature >= 0:
            raise GenerationError(
                f"max_new_tokens is {self.max_new_tokens} and temperature {self.temperature} "
                "(expected 1 or more, and 0 or more)"
            )


@dataclass(frozen=True)
class Completion:
    """One answer of a model.

    Attributes:
        text: The answer, without special tokens.
        tokens_in: Tokens of the prompt, visual tokens included; None where a server does not say.
        tokens_out: Tokens of the answer; None where a server does not say.
        image_tokens: Visual tokens among `tokens_in`; None where that is not known.
        seconds: From the call to the last token.
        finish_reason: `stop` (the model ended its answer), `length` (cut at `max_new_tokens`), or a server's own word.
    """

    text: str
    tokens_in: int | None
    tokens_out: int | None
    image_tokens: int | None
    seconds: float
    finish_reason: str


@runtime_checkable
class TextBackend(Protocol):
    """A model that continues one user turn, with or without a picture.

    The backend puts a prompt into the conversation template of its model and takes the meaning from strings that the
    template would read as structure.
    """

    @property
    def name(self) -> str:
        """Short name for run files and messages; no secrets."""
        ...

    @property
    def context_length(self) -> int:
        """Longest prompt plus answer, in tokens."""
        ...

    def generate(self, request: Request) -> Completion:
        """The whole answer; greedy at temperature 0, otherwise sampled, the same for the same seed.

        Raises:
            GenerationError: The prompt is too long, or the model failed.
            BackendTimeoutError: No answer in time.
        """
        ...

    def stream(self, request: Request) -> Iterator[str]:
        """Pieces of the same answer as they come; together they are `generate(...).text`. Raises as `generate`."""
        ...

    def count_tokens(self, prompt: str, image: Image | None = None) -> int:
        """Tokens that the prompt takes in the context, template and visual tokens included.

        Args:
            prompt: The user's turn.
            image: The picture that goes along, or None.

        Returns:
            Tokens.
        """
        ...


@dataclass(frozen=True)
class DraftSettings:
    """How drafts are written.

    Attributes:
        thresholds: From which share of the neighbours on a finding is stated.
        max_new_tokens: Longest answer of a model, 1 or more.
        temperature: 0 for greedy decoding.
        seed: Of a sampled answer; None lets the model choose.
    """

    thresholds: DraftThresholds = field(default_factory=DraftThresholds)
    max_new_tokens: int = MAX_NEW_TOKENS
    temperature: float = 0.0
    seed: int | None = None


@runtime_checkable
class DraftBackend(Protocol):
    """What writes drafts: the consensus, or a language model with its prompt."""

    @property
    def name(self) -> str:
        """Short name for run files and messages; no secrets."""
        ...

    @property
    def exclusive(self) -> bool:
        """Whether it writes one draft at a time."""
        ...

    def draft(self, task: Task, settings: DraftSettings) -> Draft:
        """The draft for a task.

        Args:
            task: The query, its neighbours and what is asked.
            settings: Thresholds, and length, temperature and seed of a model's answer.

        Raises:
            GenerationError: The model failed, or the prompt does not fit.
        """
        ...

    def stream(self, task: Task, settings: DraftSettings) -> Iterator[str | Draft]:
        """Pieces of its text as they come, then the whole draft. Raises as `draft`.

        Args:
            task: The query, its neighbours and what is asked.
            settings: Thresholds, and length, temperature and seed of a model's answer.

        Returns:
            Text, then one `Draft`.
        """
        ...
