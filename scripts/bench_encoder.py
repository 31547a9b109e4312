"""Pictures a second through the image tower, against what this machine can multiply.

    python scripts/bench_encoder.py [--encoder default] [--threads 1] [--batches 1 4 16]

Peak: the best of a few products of two 2,048 x 2,048 matrices in the tower's number format. Work of a picture: multiply
and add of every matrix product and convolution, counted by torch's FlopCounterMode. Trace maps are ready in memory, so
page reading is not in it. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np


def peak_flops(seconds: float = 2.0) -> float:
    """Floating-point operations a second of a square matrix product, in bfloat16 where the processor has it."""
    import torch

    from ecgkin.retrieval.graphs import has_fast_bfloat16

    kind = torch.bfloat16 if has_fast_bfloat16() else torch.float32
    left, right = (torch.randn(2048, 2048).to(kind) for _ in range(2))
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < seconds:
        start = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - start)
    return 2 * 2048**3 / best


def work_of_a_picture(encoder: Any) -> float:
    """Floating-point operations of one trace map."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        encoder.encode_maps([np.zeros((256, 512), dtype=np.uint8)])
    return float(counter.get_total_flops())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="default")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()

    from ecgkin.retrieval.encoders import load_encoder

    encoder: Any = load_encoder(given.encoder)
    import torch

    torch.set_num_threads(given.threads)
    peak, work = peak_flops(), work_of_a_picture(encoder)
    print(f"{given.threads} threads; matrix product {peak / 1e9:,.0f} GFLOP/s; a picture takes {work / 1e9:.2f} GFLOP")
    print("\n| pictures in a batch | pictures a second | ms a picture | share of the peak |\n|--:|--:|--:|--:|")
    noise = np.random.default_rng(0).integers(0, 256, (max(given.batches), 256, 512), dtype=np.uint8)
    for batch in given.batches:
        maps = list(noise[:batch])
        encoder.encode_maps(maps)
        spent: list[float] = []
        began = time.perf_counter()
        while time.perf_counter() - began < given.seconds:
            start = time.perf_counter()
            encoder.encode_maps(maps)
            spent.append(time.perf_counter() - start)
        each = float(np.median(spent)) / batch
        print(f"| {batch} | {1 / each:.1f} | {1000 * each:.1f} | {work / each / peak:.1%} |", flush=True)


if __name__ == "__main__":
    main()
