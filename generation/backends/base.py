"""The door between a drafter and a language model, wherever the model runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ecgkin.retrieval.errors import GenerationError

if TYPE_CHECKING:
    from PIL.Image import Image


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
    max_new_tokens: int = 512
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
        """Tokens that the prompt takes in the context, template and visual tokens included."""
        ...
