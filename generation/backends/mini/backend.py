"""The mini generator behind the same door as every language model (`generation.backend`)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecgkin.generation.backends.base import Completion, Request
from ecgkin.generation.backends.mini.model import decode_steps, load_mini
from ecgkin.generation.backends.mini.tokens import PatchEncoder, Tokens, pooled
from ecgkin.generation.backends.mini.vocabulary import MAX_REPORT, Vocabulary
from ecgkin.generation.backends.mini.wording import MiniPrompt, parse_prompt
from ecgkin.retrieval.errors import GenerationError, ModelError

if TYPE_CHECKING:
    from PIL.Image import Image

NAME = "mini"
SHIPPED = Path(__file__).parent / "weights"
_ROOM = MAX_REPORT + 32  # an answer: its findings, then its words
# Prompts in words are longer than what is kept of them; a drafter budgets in this unit, so it is generous.
_BUDGET = 4096


class MiniGenerator:
    """Decoder, vocabulary and image tower; a `TextBackend`.

    Args:
        folder: Holds `mini.safetensors`, `config.json`, `tokenizer.json`; None takes the shipped one.
        encoder: Whose image tower it was trained with; None loads the shipped encoder.

    Raises:
        WeightsMissingError: The folder holds no model.
        ModelError: It was trained with another image tower.
    """

    def __init__(self, folder: Path | None = None, encoder: PatchEncoder | None = None) -> None:
        from ecgkin.retrieval.encoders import load_encoder

        where = folder or SHIPPED
        self._model, self.shape, self.about = load_mini(where)
        self._vocabulary = Vocabulary.load(where)
        seen: Any = encoder if encoder is not None else load_encoder("default")
        if self.about.get("image_fingerprint") != seen.tower_fingerprint:
            raise ModelError(
                f"the mini generator in {where} was trained with image tower "
                f"{str(self.about.get('image_fingerprint'))[:12]}, the encoder has {seen.tower_fingerprint[:12]}",
                hint="train it again: ecgkin train scripts/training/mini.yaml",
            )
        self._encoder: PatchEncoder = seen
        # A drafter counts a prompt before it asks: the same text is tokenised once.
        self._prompt_ids = lru_cache(maxsize=4)(lambda prompt: self._ids(parse_prompt(prompt)))
        self._name = NAME if folder is None else f"{NAME}:{folder.name}"

    @property
    def name(self) -> str:
        """ "mini", or "mini:FOLDER" for weights of one's own."""
        return self._name

    @property
    def context_length(self) -> int:
        """Longest prompt in words plus answer that a drafter may send; see `_BUDGET`."""
        return _BUDGET

    def visual_tokens(self, images: Sequence[Image]) -> Tokens:
        """What the image tower says of pictures, (n, 36, width).

        Raises:
            ImageError: A picture shows no ECG.
        """
        from ecgkin.retrieval.ecg.page.reading import read_page

        return pooled(self._encoder.patch_tokens([read_page(image).trace_map for image in images]))

    def generate(self, request: Request) -> Completion:
        """The whole answer; without a picture it leans on the cases alone."""
        began = time.perf_counter()
        said, image = parse_prompt(request.prompt), request.image
        ids = self._prompt_ids(request.prompt)
        limits = (request.max_new_tokens, request.temperature, request.seed)
        (answer,) = self._answers([ids], self._look([image]), *limits)
        ended = self._vocabulary.end in answer
        return Completion(
            text=self._vocabulary.text(answer, said.language),
            tokens_in=len(ids) + (self.shape.visual if image is not None else 0),
            tokens_out=len(answer),
            image_tokens=self.shape.visual if image is not None else 0,
            seconds=time.perf_counter() - began,
            finish_reason="stop" if ended else "length",
        )

    def stream(self, request: Request) -> Iterator[str]:
        """The same answer in pieces.

        The findings are written first and stand last: a piece is what the text has gained, the last line comes whole.
        """
        said = parse_prompt(request.prompt)
        shown = ""
        tokens, visible = self._look([request.image])
        limits = (request.max_new_tokens, request.temperature, request.seed)
        answer: list[int] = []
        for drawn in self._steps([self._prompt_ids(request.prompt)], tokens, visible, *limits):
            answer.append(drawn[0])
            words = self._vocabulary.words(answer)
            if words.startswith(shown) and len(words) > len(shown):
                yield words[len(shown) :]
                shown = words
        rest = self._vocabulary.text(answer, said.language).removeprefix(shown)
        if rest:
            yield rest

    def count_tokens(self, prompt: str, image: Image | None = None) -> int:
        """What a prompt takes of the context.

        Args:
            prompt: The user's turn.
            image: The picture that goes along, or None.

        Returns:
            Tokens, visual ones included.
        """
        return len(self._prompt_ids(prompt)) + (self.shape.visual if image is not None else 0)

    def write(
        self,
        prompts: Sequence[MiniPrompt],
        tokens: Tokens,
        *,
        blank: bool = False,
        max_new_tokens: int = _ROOM,
    ) -> list[tuple[tuple[str, ...], str]]:
        """Findings and words for many prompts at once, for evaluations.

        Args:
            prompts: One a picture.
            tokens: Of `visual_tokens`, (n, 36, width).
            blank: Whether the pictures are left out.
            max_new_tokens: Longest answer.

        Returns:
            Codes of the findings, and words, for each prompt.
        """
        shown = np.full(len(prompts), not blank)
        answers = self._answers([self._ids(p) for p in prompts], (tokens, shown), max_new_tokens, 0.0, None)
        return [(self._vocabulary.codes(answer), self._vocabulary.words(answer)) for answer in answers]

    def _ids(self, prompt: MiniPrompt) -> list[int]:
        ids = self._vocabulary.prompt_ids(prompt)
        room = self.shape.context - self.shape.visual - _ROOM
        for most in range(len(prompt.cases), -1, -1):
            if len(ids) <= room:
                return ids
            ids = self._vocabulary.prompt_ids(prompt, most)
        if len(ids) <= room:
            return ids
        raise GenerationError(f"the prompt has {len(ids)} tokens (at most {room} fit)", hint="ask a shorter question")

    def _look(self, images: Sequence[Image | None]) -> tuple[Tokens, np.ndarray[Any, np.dtype[np.bool_]]]:
        shown = np.array([image is not None for image in images])
        tokens: Tokens = np.zeros((len(images), self.shape.visual, self.shape.visual_dim), dtype=np.float16)
        seen = [image for image in images if image is not None]
        if seen:
            tokens[shown] = self.visual_tokens(seen)
        return tokens, shown

    def _steps(
        self,
        prompts: Sequence[Sequence[int]],
        tokens: Tokens,
        shown: np.ndarray[Any, np.dtype[np.bool_]],
        max_new: int,
        temperature: float,
        seed: int | None,
    ) -> Iterator[list[int]]:
        import torch

        longest = max(len(prompt) for prompt in prompts)
        with torch.inference_mode():
            yield from decode_steps(
                self._model, torch.from_numpy(np.asarray(tokens, dtype=np.float32)), torch.from_numpy(shown), prompts,
                pad=self._vocabulary.pad, end=self._vocabulary.end, temperature=temperature, seed=seed,
                max_new=max(1, min(max_new, self.shape.context - self.shape.visual - longest)),
            )  # fmt: skip

    def _answers(
        self,
        prompts: Sequence[Sequence[int]],
        seen: tuple[Tokens, np.ndarray[Any, np.dtype[np.bool_]]],
        max_new: int,
        temperature: float,
        seed: int | None,
    ) -> list[list[int]]:
        out: list[list[int]] = [[] for _ in prompts]
        for drawn in self._steps(prompts, *seen, max_new, temperature, seed):
            for answer, token in zip(out, drawn, strict=True):
                if token != self._vocabulary.pad:
                    answer.append(token)
        return out
