"""PULSE in process: an original-layout checkpoint in transformers' LLaVA-NeXT classes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ecgkin.generation.backend import Completion
from ecgkin.generation.pulse.checkpoint import PulseConfig
from ecgkin.generation.pulse.decoding import GrowingText, SeededChoice, TokenQueue, decode
from ecgkin.generation.pulse.images import image_tokens
from ecgkin.generation.pulse.prompt import IMAGE_SLOT, encode_prompt, place_image, render_prompt
from ecgkin.retrieval.errors import GenerationError

if TYPE_CHECKING:
    from PIL.Image import Image

_log = logging.getLogger(__name__)


class PulseModel:
    """A loaded PULSE checkpoint; a `TextBackend`. Make one with `loading.load_pulse`.

    One answer is computed at a time. In float32 an answer is the same alone and in a batch; in 16 bit, rounding
    may differ between batch sizes.

    Args:
        model: `LlavaNextForConditionalGeneration` with the packing of the checkpoint and one added token.
        tokenizer: Llama tokenizer, one BOS in front.
        image_processor: Pillow picture processor of LLaVA-NeXT.
        config: The checkpoint's configuration.
        name: Name for run files.
    """

    def __init__(self, model: Any, tokenizer: Any, image_processor: Any, config: PulseConfig, name: str) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.config = config
        self.name = name
        self._busy = threading.Lock()

    @property
    def context_length(self) -> int:
        """Longest prompt plus answer, in tokens (4096 for PULSE-7B)."""
        return self.config.context_length

    @property
    def device(self) -> Any:
        """Where the inputs go."""
        return self.model.device

    def encode(self, text: str) -> list[int]:
        """Ids of a conversation text from `render_prompt`, `IMAGE_SLOT` where the picture stands."""
        return encode_prompt(lambda piece: list(self.tokenizer(piece, verbose=False).input_ids), text)

    def count_tokens(self, prompt: str, image: Image | None = None) -> int:
        """Tokens of a prompt in the context, template and visual tokens included."""
        ids = self.encode(render_prompt(prompt, picture=image is not None))
        return len(ids) - 1 + self.image_tokens(image) if image is not None else len(ids)

    def image_tokens(self, image: Image | None) -> int:
        """Visual tokens of a picture, 0 without one."""
        return 0 if image is None else image_tokens(image.width, image.height, self.config.rule)

    def inputs(self, texts: Sequence[str], images: Sequence[Image | None]) -> dict[str, Any]:
        """Left-padded tensors for the model.

        Args:
            texts: Conversation texts, the picture marked (`render_prompt`).
            images: One picture or None per text.

        Returns:
            `input_ids` and `attention_mask` (n, longest); with pictures also `pixel_values`
            (n_pictures, most tiles, 3, tile, tile) and `image_sizes` (n_pictures, 2) as (height, width).

        Raises:
            GenerationError: A text with a picture mark and no picture, or the other way round.
        """
        import torch

        rows = []
        for text, image in zip(texts, images, strict=True):
            ids = self.encode(text)
            if (IMAGE_SLOT in ids) != (image is not None):
                raise GenerationError("a picture without a place in the prompt, or a place without a picture")
            rows.append(place_image(ids, self.image_tokens(image), self.config.vocab_size))
        longest = max(map(len, rows))
        # left: with padding on the right, generation in a batch continues from padding
        padded = [[self.config.text["pad_token_id"]] * (longest - len(row)) + row for row in rows]
        mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
        tensors = {"input_ids": torch.tensor(padded), "attention_mask": torch.tensor(mask)}
        pictures = [image.convert("RGB") for image in images if image is not None]
        if pictures:
            processed = self.image_processor(pictures, return_tensors="pt")
            tensors["pixel_values"] = processed["pixel_values"].to(self.model.dtype)
            tensors["image_sizes"] = torch.as_tensor(processed["image_sizes"])
        return {name: tensor.to(self.device) for name, tensor in tensors.items()}

    def generate(
        self,
        prompt: str,
        image: Image | None = None,
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> Completion:
        """See `TextBackend.generate`."""
        seeds = None if seed is None else [seed]
        return self.generate_batch(
            [prompt], [image], max_new_tokens=max_new_tokens, temperature=temperature, seeds=seeds
        )[0]

    def generate_batch(
        self,
        prompts: Sequence[str],
        images: Sequence[Image | None],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        seeds: Sequence[int] | None = None,
    ) -> list[Completion]:
        """Answers to several prompts computed together; `seconds` is that of the whole batch.

        Args:
            prompts: Plain user turns.
            images: One picture or None per prompt.
            max_new_tokens: Longest answer, 1 or more.
            temperature: 0 for greedy decoding.
            seeds: One seed per prompt; 0 for each if left out.

        Raises:
            GenerationError: A prompt does not fit, or the model failed.
        """
        started = time.perf_counter()
        tensors = self._prepare(prompts, images, max_new_tokens)
        output = self._run(tensors, max_new_tokens, self._choice(len(prompts), temperature, seeds))
        seconds = time.perf_counter() - started
        n_in = tensors["attention_mask"].sum(dim=1).tolist()
        done = []
        for row, tokens_in, image in zip(
            output[:, tensors["input_ids"].shape[1] :].tolist(), n_in, images, strict=True
        ):
            ended = self.tokenizer.eos_token_id in row
            answer = row[: row.index(self.tokenizer.eos_token_id)] if ended else row
            done.append(
                Completion(
                    text=decode(self.tokenizer, answer),
                    tokens_in=int(tokens_in),
                    tokens_out=len(answer) + ended,
                    image_tokens=self.image_tokens(image),
                    seconds=seconds,
                    finish_reason="stop" if ended else "length",
                )
            )
        _log.info(
            "generated n=%d tokens_in=%d tokens_out=%d seconds=%.2f", len(done), sum(n_in), output.shape[1], seconds
        )
        return done

    def stream(
        self,
        prompt: str,
        image: Image | None = None,
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> Iterator[str]:
        """See `TextBackend.stream`; closing the iterator stops the computation after the token at hand."""
        tensors = self._prepare([prompt], [image], max_new_tokens)
        choice = self._choice(1, temperature, None if seed is None else [seed])
        tokens = TokenQueue()

        def work() -> None:
            try:
                self._run(tensors, max_new_tokens, choice, tokens)
                tokens.items.put(None)
            except BaseException as error:  # handed to the reader, who raises it
                tokens.items.put(error)

        worker = threading.Thread(target=work, name="pulse-stream", daemon=True)
        worker.start()
        text = GrowingText(self.tokenizer)
        try:
            while True:
                item = tokens.items.get()
                if isinstance(item, BaseException):
                    raise item
                piece = text.finish() if item is None else text.add(item)
                if piece:
                    yield piece
                if item is None:
                    return
        finally:
            tokens.cancelled.set()
            worker.join()

    def _prepare(self, prompts: Sequence[str], images: Sequence[Image | None], max_new_tokens: int) -> dict[str, Any]:
        if max_new_tokens < 1:
            raise GenerationError(f"max_new_tokens is {max_new_tokens}, expected 1 or more")
        if not prompts:
            raise GenerationError("no prompt to answer")
        for prompt, image in zip(prompts, images, strict=True):
            length = self.count_tokens(prompt, image)
            if length + max_new_tokens > self.context_length:
                raise GenerationError(
                    f"the prompt takes {length} tokens ({self.image_tokens(image)} of them for the picture), with "
                    f"{max_new_tokens} for the answer more than the {self.context_length} of {self.name}",
                    hint="give fewer or shorter cases; draw the page at exactly 2:1",
                )
        texts = [render_prompt(p, picture=i is not None) for p, i in zip(prompts, images, strict=True)]
        return self.inputs(texts, images)

    @staticmethod
    def _choice(n: int, temperature: float, seeds: Sequence[int] | None) -> SeededChoice | None:
        if temperature < 0:
            raise GenerationError(f"temperature is {temperature}, expected 0 or more")
        if temperature == 0:
            return None
        if seeds is not None and len(seeds) != n:
            raise GenerationError(f"{len(seeds)} seeds for {n} prompts")
        return SeededChoice(seeds or [0] * n, temperature)

    def _run(
        self,
        tensors: dict[str, Any],
        max_new_tokens: int,
        choice: SeededChoice | None,
        tokens: TokenQueue | None = None,
    ) -> Any:
        import torch

        options: dict[str, Any] = {}
        if choice is not None:
            options["logits_processor"] = [choice]
        if tokens is not None:
            options |= {"streamer": tokens, "stopping_criteria": [tokens]}
        try:
            with self._busy, torch.inference_mode():
                return self.model.generate(**tensors, max_new_tokens=max_new_tokens, **options)
        except torch.OutOfMemoryError as error:
            raise GenerationError(
                f"{self.name} ran out of memory with {tensors['input_ids'].numel()} tokens",
                hint="quantize to 8bit or 4bit, or give fewer cases",
            ) from error
        except (RuntimeError, ValueError, IndexError) as error:
            raise GenerationError(f"{self.name} failed: {type(error).__name__}: {error}") from error
