"""PULSE in process: an original-layout checkpoint in transformers' LLaVA-NeXT classes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ecgkin.generation.backend import Completion, Request
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

    def generate(self, request: Request) -> Completion:
        """See `TextBackend.generate`."""
        return self.generate_batch([request])[0]

    def generate_batch(self, requests: Sequence[Request]) -> list[Completion]:
        """Answers to several requests of one length and temperature, computed together.

        `seconds` of each is that of the whole batch; a request without a seed counts as seed 0.

        Raises:
            GenerationError: Lengths or temperatures differ, a prompt does not fit, or the model failed.
        """
        started = time.perf_counter()
        tensors = self._prepare(requests)
        output = self._run(tensors, requests[0].max_new_tokens, self._choice(requests))
        seconds = time.perf_counter() - started
        n_in = tensors["attention_mask"].sum(dim=1).tolist()
        done = []
        for row, tokens_in, request in zip(
            output[:, tensors["input_ids"].shape[1] :].tolist(), n_in, requests, strict=True
        ):
            ended = self.tokenizer.eos_token_id in row
            answer = row[: row.index(self.tokenizer.eos_token_id)] if ended else row
            done.append(
                Completion(
                    text=decode(self.tokenizer, answer),
                    tokens_in=int(tokens_in),
                    tokens_out=len(answer) + ended,
                    image_tokens=self.image_tokens(request.image),
                    seconds=seconds,
                    finish_reason="stop" if ended else "length",
                )
            )
        _log.info(
            "generated n=%d tokens_in=%d tokens_out=%d seconds=%.2f", len(done), sum(n_in), output.shape[1], seconds
        )
        return done

    def stream(self, request: Request) -> Iterator[str]:
        """See `TextBackend.stream`; closing the iterator stops the computation after the token at hand."""
        tensors = self._prepare([request])
        choice = self._choice([request])
        tokens = TokenQueue()

        def work() -> None:
            try:
                self._run(tensors, request.max_new_tokens, choice, tokens)
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

    def _prepare(self, requests: Sequence[Request]) -> dict[str, Any]:
        if not requests:
            raise GenerationError("no prompt to answer")
        if len({(request.max_new_tokens, request.temperature) for request in requests}) > 1:
            raise GenerationError("requests of different length or temperature cannot be computed together")
        for request in requests:
            length, room = self.count_tokens(request.prompt, request.image), request.max_new_tokens
            if length + room > self.context_length:
                raise GenerationError(
                    f"the prompt takes {length} tokens ({self.image_tokens(request.image)} of them for the picture), "
                    f"with {room} for the answer more than the {self.context_length} of {self.name}",
                    hint="give fewer or shorter cases; draw the page at exactly 2:1",
                )
        texts = [render_prompt(request.prompt, picture=request.image is not None) for request in requests]
        return self.inputs(texts, [request.image for request in requests])

    @staticmethod
    def _choice(requests: Sequence[Request]) -> SeededChoice | None:
        temperature = requests[0].temperature
        return None if temperature == 0 else SeededChoice([request.seed or 0 for request in requests], temperature)

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
