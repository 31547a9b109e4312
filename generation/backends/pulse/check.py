"""What a checkpoint folder is, what it will need, and whether it loads: the checks of a first contact."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ecgkin.generation.backends.base import Request
from ecgkin.generation.backends.pulse import names
from ecgkin.generation.backends.pulse.build import load_image_processor, load_tokenizer
from ecgkin.generation.backends.pulse.checkpoint import (
    PulseConfig,
    TensorHeader,
    read_config,
    read_headers,
    tower_is_inside,
)
from ecgkin.generation.backends.pulse.images import choose_resolution, cut_tiles, image_tokens, pulse_page_size
from ecgkin.generation.backends.pulse.model import check_tensors, find_checkpoint, load_pulse
from ecgkin.generation.backends.pulse.prompt import IMAGE_SLOT, encode_prompt, render_prompt
from ecgkin.retrieval.errors import EcgkinError

OK, DIFFERS, FAILED = "ok", "differs", "failed"
PAGES = (pulse_page_size(), (2200, 1700), (1700, 2200), (3508, 2480), (1920, 1080))

# PULSE-7B by its training code and base model; another value is no error, but worth knowing at first contact.
PUBLISHED: Mapping[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    names.MERGE_FIELD: names.FLAT,
    names.TOWER_TUNED_FIELD: True,
    names.TOWER_FIELD: "openai/clip-vit-large-patch14-336",
    names.PINPOINTS_FIELD: [list(pair) for pair in names.PINPOINTS_7B],
}
PUBLISHED_TENSORS = (686, 687)
# Ids around the picture with Vicuna's vocabulary: ":", space piece, picture, space piece, newline byte.
PUBLISHED_IDS = (29901, 29871, IMAGE_SLOT, 29871, 13)

# Bits per weight of a linear layer, and the language model's share that is not quantized stays in 16 bit. nf4 with
# double quantization: 4 bits + 0.127 (one 8-bit scale per 64 weights, one 32-bit scale per 256 scales).
_BITS = {"float32": 32.0, "float16": 16.0, "bfloat16": 16.0, "8bit": 8.0, "4bit": 4.127}


@dataclass(frozen=True)
class Finding:
    """One check: `ok`, `differs` (from PULSE-7B as published; loads all the same) or `failed`."""

    check: str
    status: str
    found: str
    expected: str = ""


@dataclass(frozen=True)
class CheckReport:
    """What is known about a checkpoint folder.

    Attributes:
        folder: Where it is.
        kind: The layout and merge type in words.
        findings: All checks, in the order in which they were made.
        n_tensors, n_parameters: As stored.
        weight_bytes: Bytes of the weights alone, by type; computed, not measured.
        cache_bytes_per_token: Bytes of the key-value cache per token in 16 bit.
        context_length: Longest prompt plus answer in tokens.
        page_tokens: Visual tokens by page size `WxH`.
        loads: True or False after a load was tried, None if it was not.
    """

    folder: str
    kind: str
    findings: tuple[Finding, ...]
    n_tensors: int
    n_parameters: int
    weight_bytes: Mapping[str, int]
    cache_bytes_per_token: int
    context_length: int
    page_tokens: Mapping[str, int]
    loads: bool | None

    @property
    def ok(self) -> bool:
        """True if no check failed."""
        return all(finding.status != FAILED for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with `ok`."""
        return asdict(self) | {"ok": self.ok}

    def lines(self) -> list[str]:
        """For people."""
        out = [f"{self.folder}: {self.kind}"]
        for f in self.findings:
            wanted = f" (expected {f.expected})" if f.expected and f.status != OK else ""
            out.append(f"  {f.status:8}{f.check}: {f.found}{wanted}")
        if self.n_tensors:
            out.append(f"  {self.n_tensors} tensors, {self.n_parameters:,} parameters")
        if self.weight_bytes:
            cache = self.cache_bytes_per_token * self.context_length
            sizes = ", ".join(f"{dtype} {_amount(size)}" for dtype, size in self.weight_bytes.items())
            out.append(f"  weights (computed): {sizes}")
            out.append(f"  cache at {self.context_length} tokens in 16 bit: {_amount(cache)}")
        out += [f"  page {page}: {tokens} visual tokens" for page, tokens in self.page_tokens.items()]
        out.append("  loads: " + {True: "yes", False: "no", None: "not tried"}[self.loads])
        return out


def check_checkpoint(
    source: str | Path,
    *,
    pages: Sequence[tuple[int, int]] = PAGES,
    load: bool = False,
    dtype: str = "auto",
    tower: str | Path | None = None,
) -> CheckReport:
    """Look at a checkpoint folder without changing anything; nothing that is wrong with it raises.

    Args:
        source: Folder or hub id.
        pages: Page sizes (width, height) in pixels to count visual tokens for.
        load: Load the weights as well and answer one question.
        dtype: For loading.
        tower: As in `load_pulse`.

    Returns:
        What was found, line by line.

    Raises:
        WeightsMissingError: There is no such folder.
    """
    folder = find_checkpoint(source)
    findings: list[Finding] = []

    def attempt(check: str, work: Callable[[], str]) -> bool:
        try:
            findings.append(Finding(check, OK, work()))
        except EcgkinError as error:
            hint = f"; {error.hint}" if error.hint else ""
            findings.append(Finding(check, FAILED, f"{error}{hint}"))
        return findings[-1].status == OK

    config: PulseConfig | None = None
    headers: dict[str, TensorHeader] = {}

    def configuration() -> str:
        nonlocal config
        config = read_config(folder)
        return f"original layout, {config.rule.merge}, tiles of {config.rule.tile_px} px"

    def tensors() -> str:
        headers.update(read_headers(folder))
        return f"{len(headers)} in {len({h.file for h in headers.values()})} files"

    attempt("config.json", configuration)
    attempt("tensor headers", tensors)
    loads: bool | None = None
    if config is not None:
        findings += _compare_published(config, headers)
        known: PulseConfig = config
        if headers:
            attempt("every tensor by its shape", lambda: _check_tensors(folder, known, tower))
        attempt("tokenizer", lambda: _check_tokenizer(folder, known))
        attempt("pixels", lambda: _check_pixels(known))
        if load:
            loads = attempt("load and answer", lambda: _check_load(folder, dtype, tower))
    elif load:
        loads = False
    return CheckReport(
        folder=str(folder),
        kind=f"LLaVA-1.6 in the original layout, merge type {config.rule.merge}" if config else "not readable as PULSE",
        findings=tuple(findings),
        n_tensors=len(headers),
        n_parameters=sum(h.n_values for n, h in headers.items() if not names.BUFFERS.search(n)),
        weight_bytes=memory_needed(headers) if headers else {},
        cache_bytes_per_token=cache_bytes(config) if config else 0,
        context_length=config.context_length if config else 0,
        page_tokens={f"{w}x{h}": image_tokens(w, h, config.rule) for w, h in pages} if config else {},
        loads=loads,
    )


def memory_needed(headers: Mapping[str, TensorHeader]) -> dict[str, int]:
    """Bytes of the weights by type; 8bit and 4bit with tower, projector, embeddings and output table in 16 bit."""
    total = sum(header.n_values for name, header in headers.items() if not names.BUFFERS.search(name))
    linear = sum(h.n_values for name, h in headers.items() if name.startswith("model.layers.") and len(h.shape) == 2)
    quantized = {dtype: linear if dtype in ("8bit", "4bit") else 0 for dtype in _BITS}
    rest_bits = {dtype: bits if bits >= 16 else 16.0 for dtype, bits in _BITS.items()}
    return {
        dtype: round((quantized[dtype] * bits + (total - quantized[dtype]) * rest_bits[dtype]) / 8)
        for dtype, bits in _BITS.items()
    }


def cache_bytes(config: PulseConfig) -> int:
    """Bytes of keys and values per token in 16 bit: 2 x layers x key-value heads x head size x 2."""
    text = config.text
    head = int(text["hidden_size"]) // int(text["num_attention_heads"])
    return 2 * int(text["num_hidden_layers"]) * int(text["num_key_value_heads"]) * head * 2


def _compare_published(config: PulseConfig, headers: Mapping[str, TensorHeader]) -> list[Finding]:
    found = dict(config.raw)
    found[names.MERGE_FIELD] = config.rule.merge
    rows = [(field, found.get(field, config.text.get(field)), wanted) for field, wanted in PUBLISHED.items()]
    findings = [Finding(f, OK if value == wanted else DIFFERS, repr(value), repr(wanted)) for f, value, wanted in rows]
    if headers:
        n = len([name for name in headers if not names.BUFFERS.search(name)])
        status = OK if n in PUBLISHED_TENSORS else DIFFERS
        findings.append(Finding("number of tensors", status, str(n), " or ".join(map(str, PUBLISHED_TENSORS))))
        shapes = [(names.EMBEDDING, (32000, 4096)), (names.PROJECTOR, (4096, 1024))]
        for name, wanted in shapes:
            shape = headers[name].shape if name in headers else None
            findings.append(Finding(f"shape of {name}", OK if shape == wanted else DIFFERS, str(shape), str(wanted)))
        inside = "inside the checkpoint" if tower_is_inside(headers) else "not in the checkpoint"
        findings.append(
            Finding("vision tower", OK if tower_is_inside(headers) else DIFFERS, inside, "inside the checkpoint")
        )
    return findings


def _check_tensors(folder: Path, config: PulseConfig, tower: str | Path | None) -> str:
    other = check_tensors(folder, config, tower)
    return "all there, none extra" + (f", tower from {other}" if other else "")


def _check_tokenizer(folder: Path, config: PulseConfig) -> str:
    tokenizer = load_tokenizer(folder)
    ids = encode_prompt(lambda text: list(tokenizer(text).input_ids), render_prompt("a", picture=True))
    at = ids.index(IMAGE_SLOT)
    around = tuple(ids[at - 2 : at + 3])
    same = "as published" if around == PUBLISHED_IDS else "another vocabulary than Vicuna's"
    if config.vocab_size == PUBLISHED["vocab_size"] and around != PUBLISHED_IDS:
        from ecgkin.retrieval.errors import ModelError

        raise ModelError(f"ids around the picture are {around}, expected {PUBLISHED_IDS}")
    legacy = getattr(tokenizer, "legacy", None)
    return (
        f"one BOS, ids around the picture {around} ({same}), legacy {legacy}, {len(ids) - 1} tokens besides the picture"
    )


def _check_pixels(config: PulseConfig) -> str:
    """Two independent ways from picture to tiles must agree: Pillow here, and transformers' processor."""
    import numpy as np
    from PIL import Image

    from ecgkin.retrieval.errors import ModelError

    processor = load_image_processor(config.rule)
    rng = np.random.default_rng(0)
    for size in ((220, 170), (240, 120)):
        picture = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
        tiles = np.stack([np.asarray(tile) for tile in cut_tiles(picture, config.rule)]).astype(np.float32) / 255
        ours = (tiles - np.array(names.CLIP_MEAN, np.float32)) / np.array(names.CLIP_STD, np.float32)
        theirs = np.asarray(processor([picture], return_tensors="np")["pixel_values"][0]).transpose(0, 2, 3, 1)
        if ours.shape != theirs.shape or np.abs(ours - theirs).max() > 1e-5:
            raise ModelError(
                f"the tiles of a {size[0]}x{size[1]} picture differ between Pillow and transformers",
                hint="use the version of transformers that the constraints file names",
            )
    target = choose_resolution(*pulse_page_size(), config.rule.pinpoints_wh)
    return f"equal by two ways; a page of exactly 2:1 becomes {target[0]}x{target[1]}"


def _check_load(folder: Path, dtype: str, tower: str | Path | None) -> str:
    from PIL import Image

    model = load_pulse(folder, dtype=dtype, tower=tower)
    side = model.config.rule.tile_px
    page = Image.new("RGB", (2 * side, side), "white")
    done = model.generate(Request("Is there an ECG in the picture?", page, max_new_tokens=4))
    return f"{done.tokens_in} tokens in, {done.tokens_out} out, {done.seconds:.2f} s on {model.device}"


def _amount(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.2f} MB"
