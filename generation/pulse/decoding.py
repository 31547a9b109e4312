"""Small parts of decoding: seeded choice of tokens, text that never has to be taken back, cancelling."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Sequence
from typing import Any

_BYTE_PIECE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


class SeededChoice:
    """Logits processor that makes greedy decoding sample at a temperature.

    Adding Gumbel noise to logits / temperature and taking the largest draws from exactly the softmax distribution.
    The noise comes from a generator of its own, so that neither other threads nor batch mates change the result.

    Args:
        seeds: One seed per row of the batch.
        temperature: Above 0; 1 leaves the model's own distribution.
    """

    def __init__(self, seeds: Sequence[int], temperature: float) -> None:
        import torch

        self._temperature = temperature
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        import torch

        # drawn on the CPU, in float32: the same numbers whatever the device
        uniform = torch.stack([torch.rand(scores.shape[-1], generator=g) for g in self._generators])
        noise = -torch.log(-torch.log(uniform.clamp(min=1e-20, max=1.0 - 6e-8)))
        return scores.float() / self._temperature + noise.to(scores.device)


class GrowingText:
    """Decodes a growing list of tokens into pieces of text whose concatenation is the text of the whole list.

    A run of byte tokens may be half a character, and a later byte may make readable what looked broken; such a run
    (special tokens, which leave no text, may stand in it) is held back until another token ends it.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._sent = 0
        self._silent = set(tokenizer.all_special_ids)

    def add(self, ids: Sequence[int]) -> str:
        """Text that became certain with these tokens, possibly empty."""
        self._ids += ids
        end = len(self._ids)
        while end and self._is_open(self._ids[end - 1]):
            end -= 1
        return self._rest(end)

    def _is_open(self, token: int) -> bool:
        piece = str(self._tokenizer.convert_ids_to_tokens(token))
        return token in self._silent or _BYTE_PIECE.fullmatch(piece) is not None

    def finish(self) -> str:
        """Text held back so far."""
        return self._rest(len(self._ids))

    def _rest(self, end: int) -> str:
        text = decode(self._tokenizer, self._ids[:end])
        piece, self._sent = text[self._sent :], max(self._sent, len(text))
        return piece


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """Text of generated tokens, without special ones."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


class TokenQueue:
    """Streamer for `generate`: hands new tokens from the thread that computes to the one that reads."""

    def __init__(self) -> None:
        self.items: queue.Queue[list[int] | BaseException | None] = queue.Queue()
        self.cancelled = threading.Event()
        self._prompt_seen = False

    def put(self, value: Any) -> None:
        """Called by `generate`: first with the prompt, then with each new token."""
        if self._prompt_seen:
            self.items.put([int(token) for token in value.reshape(-1).tolist()])
        self._prompt_seen = True

    def end(self) -> None:
        """Called by `generate` after the last token."""

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """Stopping criterion: True for each row once the reader has gone."""
        import torch

        return torch.full((input_ids.shape[0],), self.cancelled.is_set(), dtype=torch.bool, device=input_ids.device)
