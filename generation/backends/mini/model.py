"""The network: patch tokens of the frozen image tower -> projector -> a decoder of the Llama kind, from scratch.

Built of library classes by functions, because torch may not be imported when this module is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgkin.retrieval.errors import ModelError, WeightsMissingError

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, WEIGHTS = "config.json", "mini.safetensors"
_STEP = 8


@dataclass(frozen=True, slots=True)
class MiniShape:
    """Sizes; the defaults have 5.0 million weights, 10 MB in half precision.

    Attributes:
        vocabulary: Tokens.
        visual: Visual tokens a picture.
        visual_dim: Width of the image tower.
        width, layers, heads, inner: Of the decoder.
        context: Most tokens of picture, prompt and answer.
    """

    vocabulary: int
    visual: int = 36
    visual_dim: int = 256
    width: int = 256
    layers: int = 5
    heads: int = 4
    inner: int = 704
    context: int = 512


def build_mini(shape: MiniShape) -> Any:
    """An `nn.ModuleDict` of "projector", "slots" and "decoder" with random weights."""
    from ecgkin.retrieval.encoders.compat import prepare_torchvision

    prepare_torchvision()
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    nn = torch.nn
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
    )
    # Fused attention now and then returns NaN for masked bfloat16 input on CPUs (seen with torch 2.13).
    config._attn_implementation = "eager"
    projector = nn.Sequential(
        nn.LayerNorm(shape.visual_dim),
        nn.Linear(shape.visual_dim, shape.width),
        nn.GELU(),
        nn.Linear(shape.width, shape.width),
    )
    return nn.ModuleDict(
        {"projector": projector, "slots": nn.Embedding(shape.visual, shape.width), "decoder": LlamaForCausalLM(config)}
    )


def visual_embeddings(model: Any, tokens: Tensor, shown: Tensor) -> Tensor:
    """Visual tokens as the decoder reads them, (n, visual, width).

    Args:
        model: Of `build_mini`.
        tokens: Patch tokens (n, visual, visual_dim).
        shown: bool (n,); False blanks the picture, and only its empty slots are left.

    Returns:
        (n, visual, width).
    """
    projected: Tensor = model["projector"](tokens.float()) * shown[:, None, None]
    slots: Tensor = model["slots"].weight
    return projected + slots[None]


def answer_logits(model: Any, tokens: Tensor, shown: Tensor, ids: Tensor, wanted: Tensor, pad: int) -> Tensor:
    """Logits of the next token at the wanted places, (n_wanted, vocabulary).

    Args:
        model: Of `build_mini`.
        tokens, shown: See `visual_embeddings`.
        ids: Prompt and answer, padded at the right, (n, length).
        wanted: bool (n, length); True where the following token is to be predicted.
        pad: Token of padding.

    Returns:
        (n_wanted, vocabulary).
    """
    import torch

    words = model["decoder"].get_input_embeddings()(ids)
    visual = visual_embeddings(model, tokens, shown)
    mask = torch.cat([torch.ones(visual.shape[:2], dtype=torch.long, device=ids.device), (ids != pad).long()], dim=1)
    hidden = (
        model["decoder"]
        .model(inputs_embeds=torch.cat([visual, words], dim=1), attention_mask=mask, use_cache=False)
        .last_hidden_state
    )
    chosen = hidden[:, visual.shape[1] :][wanted]
    # Rows are filled up as lengths are (`batch_length`): a new shape of a matrix product costs memory for good.
    filled = torch.nn.functional.pad(chosen, (0, 0, 0, -len(chosen) % (_STEP * len(ids))))
    out: Tensor = model["decoder"].lm_head(filled)[: len(chosen)]
    return out


def batch_length(longest: int) -> int:
    """To how many tokens a batch is filled up.

    oneDNN keeps kernels and buffers for every shape that it has met: with all lengths as they come, a training of 4,000
    steps grew to 9 GB.

    >>> batch_length(17), batch_length(24)
    (24, 24)
    """
    return -(-longest // _STEP) * _STEP


def decode_steps(
    model: Any,
    tokens: Tensor,
    shown: Tensor,
    prompts: Sequence[Sequence[int]],
    *,
    pad: int,
    end: int,
    max_new: int,
    temperature: float = 0.0,
    seed: int | None = None,
) -> Iterator[list[int]]:
    """The next token of each answer, step by step, until all have ended; an answer that has ended gives `pad`.

    Args:
        model: Of `build_mini`, in eval mode.
        tokens, shown: See `visual_embeddings`.
        prompts: Tokens of each prompt.
        pad, end: Tokens.
        max_new: Most tokens of an answer.
        temperature: 0 takes the likeliest token.
        seed: Of the draw.
    """
    import torch

    n, longest = len(prompts), max(len(p) for p in prompts)
    ids = torch.tensor([[pad] * (longest - len(p)) + list(p) for p in prompts])
    words = model["decoder"].get_input_embeddings()(ids)
    visual = visual_embeddings(model, tokens, shown)
    n_visual = visual.shape[1]
    mask = torch.cat([torch.ones((n, n_visual), dtype=torch.long), (ids != pad).long()], dim=1)
    # Padding stands between picture and prompt; positions count what is there, as in training.
    places = (mask.cumsum(dim=1) - 1).clamp(min=0)
    generator = torch.Generator().manual_seed(seed if seed is not None else 0)
    feed: dict[str, Any] = {"inputs_embeds": torch.cat([visual, words], dim=1)}
    past, ended = None, torch.zeros(n, dtype=torch.bool)
    for _ in range(max_new):
        out = model["decoder"](
            **feed, attention_mask=mask, position_ids=places, past_key_values=past, use_cache=True, logits_to_keep=1
        )
        past = out.past_key_values
        logits = out.logits[:, -1].float()
        if temperature > 0:
            drawn = torch.multinomial((logits / temperature).softmax(dim=-1), 1, generator=generator)[:, 0]
        else:
            drawn = logits.argmax(dim=-1)
        drawn = torch.where(ended, pad, drawn)
        yield drawn.tolist()
        ended |= drawn == end
        if bool(ended.all()):
            return
        mask = torch.cat([mask, torch.ones((n, 1), dtype=torch.long)], dim=1)
        places = places[:, -1:] + 1
        feed = {"input_ids": drawn[:, None]}


def save_mini(folder: Path, state: dict[str, Tensor], shape: MiniShape, about: dict[str, Any]) -> None:
    """Write config and weights (half precision) of a finished training.

    Args:
        folder: Where to; made where it is missing.
        state: Weights by name.
        shape: Sizes of the model.
        about: What goes into config.json beside them: data, image tower, training.
    """
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    # The output layer is the input embedding; it is stored once.
    half = {k: v.detach().to(torch.float16).contiguous() for k, v in state.items() if k != "decoder.lm_head.weight"}
    partial = folder / (WEIGHTS + ".partial")
    save_file(half, partial)
    partial.replace(folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps({"shape": asdict(shape), **about}, indent=1, sort_keys=True) + "\n")


def weights_fingerprint(folder: Path) -> str:
    """Hash over the weights of a finished model; "" where there are none."""
    path = folder / WEIGHTS
    return blake2b(path.read_bytes(), digest_size=6).hexdigest() if path.is_file() else ""


def load_mini(folder: Path) -> tuple[Any, MiniShape, dict[str, Any]]:
    """Model in eval mode (float32), its sizes, and what its config says besides.

    Raises:
        WeightsMissingError: The folder holds no finished model.
        ModelError: Config and weights do not fit.
    """
    from safetensors.torch import load_file

    if not (folder / WEIGHTS).is_file() or not (folder / CONFIG).is_file():
        raise WeightsMissingError(
            f"{folder} holds no {WEIGHTS} with its {CONFIG}", hint="train it: ecgkin train scripts/training/mini.yaml"
        )
    about: dict[str, Any] = json.loads((folder / CONFIG).read_text())
    shape = MiniShape(**about.pop("shape"))
    model = build_mini(shape)
    state = {k: v.float() for k, v in load_file(folder / WEIGHTS).items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or set(missing) - {"decoder.lm_head.weight"}:
        raise ModelError(
            f"weights in {folder} do not fit: missing {missing[:3]}, unexpected {unexpected[:3]}",
            hint="config and weights are of different trainings; train again, or reinstall ecgkin",
        )
    model["decoder"].tie_weights()
    return model.eval().requires_grad_(False), shape, about
