"""How fast a PULSE-sized LLaVA-NeXT answers, and how near that is to what the memory bandwidth allows.

    python scripts/bench_pulse.py              7B, bfloat16, random weights; needs a GPU
    python scripts/bench_pulse.py --tiny       the fixture's checkpoint on the CPU: proves the road, not the speed

A token needs every weight of the language model once, so bandwidth / bytes is the limit of tokens per second at batch
size 1. The bandwidth is measured here, by copying a large tensor. Random weights cost the same time as trained ones.
Prints a table and writes JSON with --out.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ecgkin.generation.backends.pulse import names
from ecgkin.generation.backends.pulse.build import import_transformers, load_image_processor, model_config
from ecgkin.generation.backends.pulse.checkpoint import PulseConfig
from ecgkin.generation.backends.pulse.images import TileRule, pulse_page_size
from ecgkin.generation.backends.pulse.model import PulseModel, load_pulse, make_ready
from ecgkin.generation.backends.pulse.prompt import render_prompt

ROOT = Path(__file__).resolve().parent.parent
FIXTURE = ROOT / "tests" / "fixtures" / "pulse-tiny"
PROMPT = "Write the report of this ECG: rhythm, axis, conduction, hypertrophy, ST-T, conclusion."
UNPROVEN = "unproven: no GPU"


class Letters:
    """Stands in for Vicuna's tokenizer, which is not at hand: one token a character, the ids in its range."""

    bos_token_id, eos_token_id = 1, 2
    all_special_ids = (0, 1, 2)

    def __call__(self, text: str, **_: Any) -> Any:
        return argparse.Namespace(input_ids=[1, *(100 + ord(letter) % 20000 for letter in text)])

    def decode(self, ids: list[int], **_: Any) -> str:
        return "".join(chr(33 + token % 90) for token in ids if token > 2)

    def convert_ids_to_tokens(self, token: int) -> str:
        return f"t{token}"


def config_7b(merge: str) -> PulseConfig:
    """The geometry of PULSE-7B."""
    text = {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": 32000,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
    } | dict(names.TEXT_DEFAULTS)
    tower = names.KNOWN_TOWERS["openai/clip-vit-large-patch14-336"]
    rule = TileRule(336, 14, names.PINPOINTS_7B, merge)
    return PulseConfig(rule, text, tower, "openai/clip-vit-large-patch14-336", True, -2, 4096, {})


def build_random(config: PulseConfig, dtype: str, device: str) -> PulseModel:
    """A model of this geometry with random weights, made where it will run."""
    import torch

    transformers = import_transformers()
    torch.manual_seed(0)
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with torch.device(device):
            model = transformers.LlavaNextForConditionalGeneration(model_config(config))
    finally:
        torch.set_default_dtype(torch.float32)
    ready = make_ready(model, config)
    return PulseModel(ready, Letters(), load_image_processor(config.rule), config, f"random-{config.rule.merge}")


def bandwidth_gb_s(device: str) -> float:
    """Bytes per second that a copy reads and writes, best of five."""
    import torch

    n = 2**30 if device == "cuda" else 2**26
    source = torch.ones(n, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = 0.0
    for _ in range(6):
        _wait(device)
        started = time.perf_counter()
        target.copy_(source)
        _wait(device)
        best = max(best, 2 * n / (time.perf_counter() - started))
    return best / 1e9


def _wait(device: str) -> None:
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def one_answer(pulse: PulseModel, page: Image.Image, n_new: int) -> tuple[float, float, int]:
    """Seconds to the first token, tokens per second after it, tokens of the prompt."""
    import torch

    times: list[float] = []

    class Clock:
        prompt_seen = False

        def put(self, _: Any) -> None:
            if self.prompt_seen:
                times.append(time.perf_counter())
            self.prompt_seen = True

        def end(self) -> None:
            pass

    started = time.perf_counter()
    inputs = pulse.inputs([render_prompt(PROMPT, picture=True)], [page])
    with torch.inference_mode():
        pulse.model.generate(**inputs, max_new_tokens=n_new, min_new_tokens=n_new, streamer=Clock())
    return times[0] - started, (len(times) - 1) / (times[-1] - times[0]), inputs["input_ids"].shape[1]


def language_bytes(pulse: PulseModel) -> int:
    """Bytes read for each token: the layers and the output table (the embedding table is only looked up)."""
    model = pulse.model
    parts = [*model.model.language_model.layers.parameters(), *model.lm_head.parameters()]
    return sum(p.numel() * p.element_size() for p in parts)


def measure(pulse: PulseModel, pages: list[tuple[int, int]], n_new: int, repeats: int) -> list[dict[str, Any]]:
    """One row per page size, medians over `repeats` answers after one that warms up."""
    rng = np.random.default_rng(0)
    rows = []
    for width, height in pages:
        page = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        one_answer(pulse, page, min(8, n_new))
        runs = [one_answer(pulse, page, n_new) for _ in range(repeats)]
        rows.append(
            {
                "page": f"{width}x{height}",
                "image_tokens": pulse.image_tokens(page),
                "tokens_in": runs[0][2],
                "first_token_s": statistics.median(run[0] for run in runs),
                "tokens_per_s": statistics.median(run[1] for run in runs),
            }
        )
    return rows


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="the fixture's checkpoint on the CPU")
    parser.add_argument("--merge", choices=names.MERGE_TYPES, default=names.FLAT)
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16"))
    parser.add_argument("--tokens", type=int, default=128, help="new tokens per answer")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    import torch

    if not options.tiny and not torch.cuda.is_available():
        print(f"{UNPROVEN} (speed and memory of a 7B model were not measured on this machine; try --tiny)")
        return 0
    device = "cpu" if options.tiny else "cuda"
    started = time.perf_counter()
    if options.tiny:
        pulse = load_pulse(FIXTURE, dtype="float32", device="cpu")
    else:
        torch.cuda.reset_peak_memory_stats()
        pulse = build_random(config_7b(options.merge), options.dtype, "cuda")
    build_s = time.perf_counter() - started
    rows = measure(pulse, [pulse_page_size(), (2200, 1700)], options.tokens, options.repeats)
    bandwidth, size = bandwidth_gb_s(device), language_bytes(pulse)
    limit = bandwidth * 1e9 / size
    report = {
        "model": pulse.name,
        "merge": pulse.config.rule.merge,
        "dtype": str(pulse.model.dtype),
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": import_transformers().__version__,
        "build_s": build_s,
        "new_tokens": options.tokens,
        "repeats": options.repeats,
        "bandwidth_gb_s": bandwidth,
        "bytes_per_token": size,
        "limit_tokens_per_s": limit,
        "peak_memory_gb": torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else None,
        "rows": rows,
    }
    print(f"{report['model']} {report['dtype']} on {report['device']}, torch {torch.__version__}")
    if options.tiny:
        print(f"tiny random model: these times prove the road only; a 7B model is {UNPROVEN}")
    print(f"bandwidth {bandwidth:.0f} GB/s, {size / 1e9:.3f} GB a token: at most {limit:.0f} tokens/s")
    print("page        visual   prompt   first token s   tokens/s   of the limit")
    for row in rows:
        share = row["tokens_per_s"] / limit
        print(
            f"{row['page']:<12}{row['image_tokens']:6}{row['tokens_in']:9}{row['first_token_s']:16.3f}"
            f"{row['tokens_per_s']:11.1f}{share:14.1%}"
        )
    if report["peak_memory_gb"] is not None:
        print(f"peak GPU memory {report['peak_memory_gb']:.1f} GB")
    if options.out:
        options.out.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
