"""PULSE in process: an original-layout checkpoint in transformers' LLaVA-NeXT classes.

`load_pulse` finds a checkpoint, checks every tensor by its header, reads it and makes it ready to answer. `PulseModel`
is the back end. The parts of decoding that transformers lacks stand before it: sampling by a seed of its
own, text in pieces that never have to be taken back, and tokens handed from the thread that computes to the one that
reads.
"""

from __future__ import annotations

import importlib.util
import logging
import queue
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgkin.generation.backends.base import Completion, Request
from ecgkin.generation.backends.pulse import names
from ecgkin.generation.backends.pulse.build import (
    expected_shapes,
    import_transformers,
    load_image_processor,
    load_tokenizer,
    model_config,
    use_packing,
)
from ecgkin.generation.backends.pulse.checkpoint import (
    SINGLE_FILE,
    PulseConfig,
    compare_tensors,
    read_config,
    read_headers,
    tower_is_inside,
)
from ecgkin.generation.backends.pulse.images import image_tokens
from ecgkin.generation.backends.pulse.prompt import IMAGE_SLOT, encode_prompt, place_image, render_prompt
from ecgkin.retrieval.errors import GenerationError, ModelError, WeightsMissingError, why

if TYPE_CHECKING:
    from PIL.Image import Image

_log = logging.getLogger(__name__)

_KEPT = 4  # conversation texts whose ids are kept
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
        """Scores (n, vocabulary) with Gumbel noise: their largest is a sample of the distribution."""
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
    """Text of generated tokens, without special ones.

    Args:
        tokenizer: Of the checkpoint.
        ids: Generated tokens.

    Returns:
        Text.
    """
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
        # A drafter counts a prompt before it asks: the same text is tokenised once.
        self._encoded = lru_cache(maxsize=_KEPT)(self._encode)

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
        return list(self._encoded(text))

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(encode_prompt(lambda piece: list(self.tokenizer(piece, verbose=False).input_ids), text))

    def count_tokens(self, prompt: str, image: Image | None = None) -> int:
        """Tokens of a prompt in the context, template and visual tokens included.

        Args:
            prompt: The user's turn.
            image: The picture that goes along, or None.

        Returns:
            Tokens.
        """
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


DTYPES = ("float16", "bfloat16", "float32")
QUANTIZATIONS = ("8bit", "4bit")


def load_pulse(
    source: str | Path,
    *,
    dtype: str = "auto",
    quantize: str | None = None,
    device: str | None = None,
    device_map: str | Mapping[str, Any] | None = None,
    tower: str | Path | None = None,
) -> PulseModel:
    """Load a checkpoint in the original LLaVA-1.6 layout.

    Args:
        source: Folder, or a hub id such as `PULSE-ECG/PULSE-7B` (which is then fetched).
        dtype: `float16`, `bfloat16`, `float32`, or `auto`: float16 on a GPU (as in the published evaluation), float32
            on a CPU.
        quantize: `8bit` or `4bit` (nf4) for the language model, by bitsandbytes; tower and projector stay in 16 bit.
        device: Torch device; the GPU if there is one, otherwise the CPU. Not together with `device_map`.
        device_map: As in `from_pretrained`, to spread the model over devices.
        tower: Folder with the weights of the CLIP tower that config.json names; needed, and read, only where the
            checkpoint does not use a tower of its own.

    Returns:
        The backend, ready to answer.

    Raises:
        WeightsMissingError: Nothing there, a file is missing, or there is no tower.
        ModelError: Another layout, an unknown merge type, a tensor missing, extra or misshapen, or a missing library.
    """
    folder = find_checkpoint(source)
    config = read_config(folder)
    tower_folder = check_tensors(folder, config, tower)
    options = _load_options(dtype, quantize, device, device_map)
    model = _read_model(folder, config, options, tower_folder)
    if quantize is None and device_map is None:
        model = model.to(_device(device))
    name = f"pulse:{folder.name}"
    _log.info("loaded %s merge=%s dtype=%s device=%s", name, config.rule.merge, model.dtype, model.device)
    return PulseModel(model, load_tokenizer(folder), load_image_processor(config.rule), config, name)


def find_checkpoint(source: str | Path) -> Path:
    """The folder of a checkpoint; a hub id is fetched (weights, config and tokenizer only).

    Raises:
        WeightsMissingError: No such folder, and the hub does not give it either.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    text = str(source)
    if text.count("/") != 1 or text.startswith((".", "/", "~")):
        raise WeightsMissingError(f"{text} is no folder", hint=f"give a folder, or a hub id such as {names.HUB_ID}")
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.safetensors", "tokenizer.model"]
    try:
        return Path(snapshot_download(text, allow_patterns=patterns))
    except Exception as error:  # the hub client raises its own, httpx's and OS errors
        raise WeightsMissingError(
            f"{text} is no folder here, and the hub did not give it: {type(error).__name__}",
            hint="fetch the checkpoint elsewhere and give its folder",
        ) from error


def check_tensors(folder: Path, config: PulseConfig, tower: str | Path | None = None) -> Path | None:
    """Check every tensor by its header, and that there is a tower.

    Args:
        folder: Of the checkpoint.
        config: Read from it.
        tower: Folder of the CLIP tower, for a checkpoint without its own.

    Returns:
        The folder to take the tower from, None if the checkpoint's own is the one to use.

    Raises:
        WeightsMissingError: A file is missing or there is no tower.
        ModelError: A tensor is missing, extra or misshapen.
    """
    headers = read_headers(folder)
    inside = tower_is_inside(headers) and config.tower_tuned
    if not inside and tower is None:
        why = (
            f"{names.TOWER_TUNED_FIELD} is not true, so that the tower inside the checkpoint must not be used"
            if tower_is_inside(headers)
            else f"no tensor in {folder} starts with {names.TOWER_PREFIX}"
        )
        raise WeightsMissingError(f"no vision tower: {why}", hint=f"give the folder of {config.tower_name} as tower")
    newline = config.rule.merge == names.SPATIAL_UNPAD
    compare_tensors(headers, expected_shapes(config), tower=inside, newline=newline)
    if inside or tower is None:
        return None
    if not (Path(tower) / SINGLE_FILE).is_file():
        raise WeightsMissingError(f"{Path(tower) / SINGLE_FILE} is not there")
    return Path(tower)


def _device(device: str | None) -> str:
    import torch

    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def _load_options(
    dtype: str, quantize: str | None, device: str | None, device_map: str | Mapping[str, Any] | None
) -> dict[str, Any]:
    import torch

    transformers = import_transformers()
    if device is not None and device_map is not None:
        raise ModelError("both device and device_map are given", hint="give one of them")
    if dtype == "auto":
        dtype = "float32" if device_map is None and _device(device) == "cpu" and quantize is None else "float16"
    if dtype not in DTYPES:
        raise ModelError(f"dtype {dtype!r}, expected auto, {', '.join(DTYPES)}")
    options: dict[str, Any] = {"dtype": getattr(torch, dtype)}
    if device_map is not None:
        options["device_map"] = device_map
    if quantize is None:
        return options
    if quantize not in QUANTIZATIONS:
        raise ModelError(f"quantize {quantize!r}, expected {' or '.join(QUANTIZATIONS)}")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(f"{quantize} needs bitsandbytes, which is not installed", hint="pip install bitsandbytes")
    kind = (
        {"load_in_8bit": True}
        if quantize == "8bit"
        else {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": True,
            "bnb_4bit_compute_dtype": options["dtype"],
        }
    )
    options["quantization_config"] = transformers.BitsAndBytesConfig(**kind, llm_int8_skip_modules=names.NOT_QUANTIZED)
    options.setdefault("device_map", {"": _device(device)})
    return options


def _read_model(folder: Path, config: PulseConfig, options: dict[str, Any], tower: Path | None) -> Any:
    transformers = import_transformers()
    try:
        model, info = transformers.LlavaNextForConditionalGeneration.from_pretrained(
            str(folder),
            config=model_config(config),
            key_mapping=names.key_mapping(),
            output_loading_info=True,
            local_files_only=True,
            use_safetensors=True,
            **options,
        )
    except (RuntimeError, ValueError, OSError, ImportError) as error:
        raise ModelError(f"{folder} cannot be loaded: {why(error)}") from error
    missing = {name for name in info["missing_keys"] if name != names.NEWLINE}
    if tower is not None:
        missing = {name for name in missing if not name.startswith("model.vision_tower.")}
        _read_tower(model, tower)
    unexpected = {name for name in info["unexpected_keys"] if not names.BUFFERS.search(name)}
    for what, odd in (("random", missing), ("unused", unexpected), ("misshapen", info["mismatched_keys"])):
        if odd:
            raise ModelError(f"transformers left {len(odd)} tensors {what}, first {sorted(map(str, odd))[0]}")
    return make_ready(model, config)


def _read_tower(model: Any, tower: Path) -> None:
    from safetensors.torch import load_file

    stored = load_file(tower / SINGLE_FILE)
    prefix = "vision_model."
    weights = {
        n.removeprefix(prefix): t for n, t in stored.items() if n.startswith(prefix) and not names.BUFFERS.search(n)
    }
    try:
        model.model.vision_tower.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(f"the tower in {tower} does not fit: {error}") from error


def make_ready(model: Any, config: PulseConfig) -> Any:
    """Packing, a row for the picture's token, and greedy decoding that can never emit that token.

    Args:
        model: As transformers loaded it; changed in place.
        config: Of the checkpoint.

    Returns:
        The model in eval mode.
    """
    transformers = import_transformers()
    use_packing(model, config.rule)
    # transformers looks the placeholder up in the embedding table before it overwrites the rows
    model.resize_token_embeddings(config.vocab_size + 1, mean_resizing=False)
    model.config.text_config.use_cache = True  # checkpoints of a running training carry false
    # checkpoints carry Vicuna's sampling settings; the published evaluation is greedy
    model.generation_config = transformers.GenerationConfig(
        do_sample=False,
        bos_token_id=config.text["bos_token_id"],
        eos_token_id=config.text["eos_token_id"],
        pad_token_id=config.text["pad_token_id"],
        suppress_tokens=[config.vocab_size],
    )
    return model.eval()
