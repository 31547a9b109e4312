"""Training of the page reader: one command, resumable.

    python -m ecgkin.retrieval.ecg.page.training.fit --config scripts/training/reader.yaml

Pages are drawn by a second process while the network learns; each page gives a few crops, which are shuffled in a
buffer. A checkpoint (weights, averaged weights, optimiser, step) is written every few minutes; starting again with the
same folder goes on from there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.network.classes import CLASSES, LEADS
from ecgkin.retrieval.ecg.page.network.model import (
    FRAME_STEP,
    NAME_STEP,
    ReaderConfig,
    build_reader,
    folded,
    in_channels_last,
)
from ecgkin.retrieval.ecg.page.network.weights_file import READER_FORMAT
from ecgkin.retrieval.ecg.page.training.pages import WildPage, wild_page
from ecgkin.retrieval.ecg.page.training.signals import SignalSource

if TYPE_CHECKING:
    import torch

_CLASS_WEIGHTS = {"paper": 0.35, "grid": 0.5, "trace": 2.0, "text": 1.2, "pulse": 2.5, "stroke": 1.5, "outside": 0.4}
_SPREAD = 1.2  # cells; width of the bell over a name's middle


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How to train.

    Attributes:
        folder: Where checkpoints and the log go.
        signals: NumPy file of recorded signals (see `SignalSource`), or empty for the simulator alone.
        export: Where the folded weights go after every checkpoint, or empty.
        seed: Start of all chance; page number n depends on it and n alone.
        steps: Length of the training.
        batch: Crops a step.
        crop: Side of a crop in px, a multiple of 32.
        crops_per_page: Crops that one page gives.
        about_names: Share of crops that are laid about a printed lead name, where there is one.
        buffer: Crops kept for shuffling.
        uses: How often each crop is shown, every time in other tones.
        workers: Processes that draw pages.
        peak_rate: Peak learning rate of AdamW, reached after `warm_steps`, then falling as a half cosine.
        warm_steps: Steps of warming up.
        save_s: Seconds between checkpoints.
        threads: Threads of the network.
    """

    folder: str = "runs/reader"
    signals: str = ""
    export: str = ""
    seed: int = 18
    steps: int = 20_000
    batch: int = 8
    crop: int = 512
    crops_per_page: int = 6
    about_names: float = 0.6
    buffer: int = 600
    uses: int = 3
    workers: int = 1
    peak_rate: float = 3e-3
    warm_steps: int = 200
    save_s: float = 240.0
    threads: int = 1

    @classmethod
    def from_yaml(cls, path: Path, **changes: Any) -> FitConfig:
        """Read a file of plain values; unknown keys are refused."""
        import yaml

        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"{path}: unknown keys {', '.join(unknown)} (known: {', '.join(sorted(known))})")
        return cls(**{**values, **{k: v for k, v in changes.items() if v is not None}})


def half_planes(page: WildPage) -> NDArray[np.uint8]:
    """Coverage of the classes at half the resolution of the page."""
    shape = (page.image.shape[1] // 2, page.image.shape[0] // 2)
    return np.stack([cv2.resize(plane, shape, interpolation=cv2.INTER_AREA) for plane in page.planes])


def targets(page: WildPage, planes: NDArray[np.uint8], x0: int, y0: int, side: int) -> dict[str, NDArray[Any]]:
    """One square crop with what the network should answer, all as small integer or half-precision arrays.

    Args:
        page: A page.
        planes: Its `half_planes`.
        x0, y0: Upper left corner of the crop, multiples of 16.
        side: Its side, a multiple of 32.

    Returns:
        image uint8 (3, side, side); pixels uint8 (n_classes, side/2, side/2), coverage; names float16
        (n_leads + 1, side/4, side/4): bells over the middles, and at the middles the log of the letter height, else 0;
        frame float16 (5, side/16, side/16), its weight last.
    """
    height, width = page.image.shape[:2]
    x1, y1 = min(width, x0 + side), min(height, y0 + side)
    image = np.zeros((3, side, side), dtype=np.uint8)
    image[:, : y1 - y0, : x1 - x0] = np.moveaxis(page.image[y0:y1, x0:x1], -1, 0)
    half = np.zeros((len(CLASSES), side // 2, side // 2), dtype=np.uint8)
    half[CLASSES.index("outside")] = 255
    half[:, : (y1 - y0) // 2, : (x1 - x0) // 2] = planes[:, y0 // 2 : y1 // 2, x0 // 2 : x1 // 2]
    n = side // NAME_STEP
    names = np.zeros((len(LEADS) + 1, n, n), dtype=np.float16)
    grid = (np.arange(n) + 0.5) * NAME_STEP
    for lead, corners in page.names:
        cx, cy = corners.mean(axis=0) - (x0, y0)
        if not (0 <= cx < x1 - x0 and 0 <= cy < y1 - y0):
            continue
        across = np.exp(-0.5 * np.square((grid - cx) / (_SPREAD * NAME_STEP)))
        down = np.exp(-0.5 * np.square((grid - cy) / (_SPREAD * NAME_STEP)))
        bell = down[:, None] * across[None, :]
        row, column = int(cy // NAME_STEP), int(cx // NAME_STEP)
        bell[row, column] = 1.0
        channel = LEADS.index(lead)
        names[channel] = np.maximum(names[channel], bell.astype(np.float16))
        tall = float(np.hypot(*(corners[3] - corners[0]) + corners[2] - corners[1])) / 2
        names[-1, row, column] = np.log(max(tall, 2.0))
    m = side // FRAME_STEP
    frame = np.zeros((5, m, m), dtype=np.float16)
    r0, c0 = y0 // FRAME_STEP, x0 // FRAME_STEP
    part = page.frame[:, r0 : r0 + m, c0 : c0 + m]
    known = page.known[r0 : r0 + m, c0 : c0 + m]
    frame[:4, : part.shape[1], : part.shape[2]] = part
    frame[4, : known.shape[0], : known.shape[1]] = known
    return {"image": image, "pixels": half, "names": names, "frame": frame}


def page_crops(
    config: FitConfig, number: int, source: SignalSource, rng: np.random.Generator
) -> list[dict[str, NDArray[Any]]]:
    """The crops of page `number`.

    Args:
        config: Of the training.
        number: Of the page; decides what is drawn with `rng`.
        source: Of signals.
        rng: Draws the page.

    Returns:
        Pictures with their targets.
    """
    page = wild_page(np.random.default_rng((config.seed, number)), source, truth=False)
    planes = half_planes(page)
    height, width = page.image.shape[:2]
    crops = []
    room = max(1, width - config.crop + 33), max(1, height - config.crop + 33)
    for _ in range(config.crops_per_page):
        corner = rng.integers(0, room).astype(np.float64)
        if page.names and rng.random() < config.about_names:  # names, pulses and strokes are rare elsewhere
            middle = page.names[int(rng.integers(len(page.names)))][1].mean(axis=0)
            corner = np.clip(middle - rng.uniform(0.05, 0.95, 2) * config.crop, 0, np.array(room) - 1)
        x0, y0 = (int(v) // FRAME_STEP * FRAME_STEP for v in corner)
        crops.append(targets(page, planes, x0, y0, config.crop))
    return crops


def stream(config: FitConfig, first_page: int, worker: int = 0, n_workers: int = 1) -> Iterator[dict[str, Any]]:
    """Shuffled crops of pages first_page + worker, + n_workers, ... without end; each carries its page's number.

    Args:
        config: Of the training.
        first_page: Where this pass begins.
        worker: Number of this process.
        n_workers: How many there are.

    Returns:
        Crops, one by one.
    """
    source = SignalSource.from_file(Path(config.signals) if config.signals else None)
    rng = np.random.default_rng((config.seed, first_page, worker, 1))
    held: list[tuple[dict[str, Any], int]] = []
    number = first_page + worker
    while True:
        for crop in page_crops(config, number, source, rng):
            crop["page"] = np.array(number)
            held.append((crop, config.uses))
        number += n_workers
        # The buffer fills while it is used: early on half as many leave as come.
        full = len(held) >= config.buffer // n_workers
        for _ in range(config.crops_per_page * config.uses // (1 if full else 2)):
            at = int(rng.integers(len(held)))
            crop, uses = held[at]
            if uses > 1:
                held[at] = crop, uses - 1
            else:
                held[at] = held[-1]
                held.pop()
            yield {**crop, "image": other_tones(crop["image"], rng)}


def other_tones(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The picture (3, height, width) with another gamma and gain in each channel, now and then channels changed.

    Args:
        image: uint8 (3, h, w).
        rng: Draws.

    Returns:
        uint8 (3, h, w).
    """
    base, spread = rng.normal(0.0, 0.15), 0.06
    out = np.empty_like(image)
    order = rng.permutation(3) if rng.random() < 0.3 else np.arange(3)
    levels = np.arange(256) / 255.0
    for to, source in enumerate(order):
        gamma = np.exp(base + rng.normal(0.0, spread))
        gain = 255 * (1 + rng.normal(0.0, 0.05))
        out[to] = cv2.LUT(image[source], np.clip(gain * levels**gamma, 0, 255).astype(np.uint8))
    if rng.random() < 0.04:
        out = 255 - out
    return out


def losses(
    answer: tuple[torch.Tensor, torch.Tensor, torch.Tensor], batch: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Parts of the loss: weighted cross-entropy and Dice over soft classes, focal loss over names, L1 over the rest.

    Args:
        answer: Outputs of the network by name.
        batch: Pictures and targets.

    Returns:
        Part -> its loss, a scalar.
    """
    import torch
    from torch.nn import functional

    pixels, names, frame = (a.float() for a in answer)
    wanted = batch["pixels"].float() / 255
    weights = torch.tensor([_CLASS_WEIGHTS[c] for c in CLASSES])
    logs = functional.log_softmax(pixels, dim=1)
    cross = -(weights[:, None, None] * wanted * logs).sum(dim=1).mean()
    share = logs.exp()
    ink = [CLASSES.index(c) for c in ("trace", "text", "pulse", "stroke")]
    p, w = share[:, ink], wanted[:, ink]
    all_but_class = (0, 2, 3)
    dice = 1 - (2 * (p * w).sum(all_but_class) + 20) / ((p * p).sum(all_but_class) + (w * w).sum(all_but_class) + 20)
    bells, tall = batch["names"][:, :-1].float(), batch["names"][:, -1].float()
    found = torch.sigmoid(names[:, :-1]).clamp(1e-4, 1 - 1e-4)
    middle = (bells > 0.999).float()
    n_names = middle.sum().clamp(min=4.0)
    hit = -(middle * (1 - found) ** 2 * found.log()).sum()
    miss = -((1 - middle) * (1 - bells) ** 4 * found**2 * (1 - found).log()).sum()
    height = ((names[:, -1] - tall).abs() * (tall > 0)).sum() / n_names
    truth, known = batch["frame"][:, :4].float(), batch["frame"][:, 4:].float()
    scale = torch.tensor([1.0, 1.0, 2.0, 2.0])[:, None, None]
    off = (functional.smooth_l1_loss(frame, truth, reduction="none", beta=0.05) * scale * known).sum()
    return {
        "cross": cross,
        "dice": 0.5 * dice.mean(),
        "names": 0.25 * (hit + miss) / n_names,
        "height": 0.05 * height,
        "frame": 0.25 * off / known.sum().clamp(min=32.0),
    }


def fit(config: FitConfig) -> Path:
    """Train, or go on training; returns the file of the last checkpoint."""
    import torch

    torch.set_num_threads(config.threads)
    cv2.setNumThreads(1)
    folder = Path(config.folder)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "checkpoint.pt"
    torch.manual_seed(config.seed)
    model = build_reader(ReaderConfig(), training=True)
    in_channels_last(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.peak_rate, weight_decay=1e-4)
    averaged = {k: v.clone() for k, v in model.state_dict().items()}
    step, first_page, spent = 0, 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        averaged, step, first_page, spent = saved["averaged"], saved["step"], saved["next_page"], saved["seconds"]

    class Crops(torch.utils.data.IterableDataset[dict[str, Any]]):
        """The stream as PyTorch's loader wants it."""

        def __iter__(self) -> Iterator[dict[str, Any]]:
            cv2.setNumThreads(1)
            info = torch.utils.data.get_worker_info()
            return stream(config, first_page, info.id if info else 0, info.num_workers if info else 1)

    loader = torch.utils.data.DataLoader(
        Crops(), batch_size=config.batch, num_workers=config.workers, prefetch_factor=4 if config.workers else None
    )
    log = (folder / "log.jsonl").open("a", encoding="utf-8")
    sums: dict[str, float] = {}
    started, last_saved, last_log = time.time(), time.time(), time.time()
    model.train()
    newest = first_page

    def save() -> None:
        state = {"model": model.state_dict(), "averaged": averaged, "optimiser": optimiser.state_dict(), "step": step,
                 "next_page": newest + 1, "seconds": spent + time.time() - started}  # fmt: skip
        partial = checkpoint.with_suffix(".part")
        torch.save(state, partial)
        partial.replace(checkpoint)
        if config.export:
            export(averaged, Path(config.export), {"step": str(step), "seed": str(config.seed)})

    for batch in loader:
        if step >= config.steps:
            break
        rise = min(1.0, (step + 1) / config.warm_steps)
        fall = 0.5 * (1 + np.cos(np.pi * step / config.steps))
        for group in optimiser.param_groups:
            group["lr"] = float(config.peak_rate * rise * (0.01 + 0.99 * fall))
        newest = max(newest, int(batch.pop("page").max()))
        image = (batch["image"].to(torch.float32) / 255).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            answer = model(image)
        parts = losses(answer, batch)
        total = torch.stack(list(parts.values())).sum()
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        step += 1
        keep = min(0.995, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in model.state_dict().items():
                if value.is_floating_point():
                    averaged[name].lerp_(value, 1 - keep)
                else:
                    averaged[name].copy_(value)
        for name, part in parts.items():
            sums[name] = sums.get(name, 0.0) + float(part.detach())
        if step % 50 == 0:
            now = time.time()
            line = {"step": step, "page": newest, "s_per_step": round((now - last_log) / 50, 3),
                    "rate": optimiser.param_groups[0]["lr"]}  # fmt: skip
            line |= {k: round(v / 50, 4) for k, v in sums.items()}
            log.write(json.dumps(line) + "\n")
            log.flush()
            sums, last_log = {}, now
        if time.time() - last_saved > config.save_s:
            save()
            last_saved = time.time()
    save()
    log.close()
    return checkpoint


def export(state: dict[str, torch.Tensor], path: Path, notes: dict[str, str]) -> None:
    """Write folded weights in half precision with the network's sizes in the header.

    Args:
        state: Of the trained network.
        path: The safetensors file.
        notes: Kept in its header.
    """
    from safetensors.torch import save_file

    half = {k: v.half().contiguous() for k, v in folded(state).items()}
    header = {"format": READER_FORMAT, "config": json.dumps(ReaderConfig().as_dict()),
              "classes": ",".join(CLASSES), "leads": ",".join(LEADS), **notes}  # fmt: skip
    partial = path.with_suffix(".part")
    save_file(half, partial, metadata=header)
    partial.replace(path)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train the page reader.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--folder")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--export")
    arguments = parser.parse_args()
    fit(FitConfig.from_yaml(arguments.config, folder=arguments.folder, steps=arguments.steps, export=arguments.export))


if __name__ == "__main__":
    main()
