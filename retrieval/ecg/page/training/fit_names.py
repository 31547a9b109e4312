"""Training of the reader of lead names, on small drawn pieces of pages.

python -m ecgkin.retrieval.ecg.page.training.fit_names --crops 30000 --cache names.npz --export names.safetensors
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.network.model import folded
from ecgkin.retrieval.ecg.page.network.names import CUT, NAMES, NOTHING, as_batch, build_name_reader, cut_out
from ecgkin.retrieval.ecg.page.network.segment import suspected_places
from ecgkin.retrieval.ecg.page.network.weights_file import NAMES_FORMAT
from ecgkin.retrieval.ecg.page.training.camera import KINDS, expose, lay_on_table, place, to_picture, warp
from ecgkin.retrieval.ecg.page.training.layouts import draw_layout
from ecgkin.retrieval.ecg.page.training.pages import wild_page
from ecgkin.retrieval.ecg.page.training.sheets import INKS, draw_sheet
from ecgkin.retrieval.ecg.page.training.signals import Signals, SignalSource

if TYPE_CHECKING:
    import torch


def name_cuts(rng: np.random.Generator, signals: Signals) -> list[tuple[NDArray[np.uint8], int]]:
    """A few cuts with their index in `NAMES`, from the surroundings of one stretch of a drawn page.

    Args:
        rng: Draws the page.
        signals: Where signals come from.

    Returns:
        Cuts, uint8 (40, 80, 3), and classes.
    """
    plan = draw_layout(rng)
    s = plan.stretches[int(rng.integers(len(plan.stretches)))]
    x, y = s.x_mm + rng.uniform(-4, 4), s.y_mm + rng.uniform(-4, 4)
    scale = float(np.exp(rng.uniform(np.log(2.4), np.log(10.0))))
    sheet = draw_sheet(plan, signals, (x - 26, y - 26, x + 34, y + 24), scale, rng)
    tall, wide = sheet.rgb.shape[:2]
    kind = str(rng.choice(KINDS, p=(0.3, 0.2, 0.35, 0.05, 0.1)))
    edge = 5 * scale
    size = (max(64, round(50 * scale)), max(64, round(40 * scale)))
    view = place((wide, tall), (edge, edge, wide - edge, tall - edge), size, kind, rng)
    picture, _ = lay_on_table(sheet.rgb, view, rng)
    inks = warp(np.ascontiguousarray(np.moveaxis(sheet.inks, 0, -1)), view)
    picture = expose(picture, kind, view, rng, np.ascontiguousarray(inks[..., INKS.index("trace")]))
    found: list[tuple[NDArray[np.uint8], int]] = []
    middles = []
    for lead, (x0, y0, x1, y1) in sheet.names:
        corners = to_picture(view, np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float64))
        cx, cy = corners.mean(axis=0)
        height = float(np.hypot(*(corners[3] - corners[0])))
        middles.append((cx, cy))
        if (corners < 0).any() or (corners > picture.shape[1::-1]).any() or height < 4:
            continue
        at = rng.normal(0, 0.13, 2) * height
        found.append((cut_out(picture, cx + at[0], cy + at[1], height * float(np.exp(rng.normal(0, 0.14)))),
                      NAMES.index(lead)))  # fmt: skip
    if rng.random() < 0.6:
        marks = np.argwhere((inks[..., INKS.index("text")] > 100) | (inks[..., INKS.index("trace")] > 200))
        height = float(rng.uniform(6, 30))
        if len(marks):
            row, column = marks[int(rng.integers(len(marks)))]
            if all(abs(column - cx) > 2.0 * height or abs(row - cy) > 1.3 * height for cx, cy in middles):
                found.append((cut_out(picture, float(column), float(row), height), NAMES.index(NOTHING)))
    return found


def draw_cuts(n: int, seed: int, source: SignalSource) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """At least `n` cuts, uint8 (n, 40, 80, 3), and their classes.

    Args:
        n: How many at the least.
        seed: Of all drawings.
        source: Where signals come from.

    Returns:
        Cuts and classes.
    """
    rng = np.random.default_rng(seed)
    pool = [source.draw(rng) for _ in range(200)]
    cuts: list[NDArray[np.uint8]] = []
    classes: list[int] = []
    number = 0
    while len(cuts) < n:
        one = np.random.default_rng((seed, number))
        for cut, which in name_cuts(one, pool[number % len(pool)]):
            cuts.append(cut)
            classes.append(which)
        number += 1
    return np.stack(cuts), np.array(classes, dtype=np.int64)


def cuts_where_found(
    first: int, n_pages: int, seed: int, source: SignalSource, weights: Path
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Cuts at the places where the network for pages suspects names on whole drawn pages, right or wrong.

    Args:
        first, n_pages: Which pages of `seed`.
        seed: Start of chance.
        source: Signals.
        weights: Folder with `reader.safetensors`.

    Returns:
        As `draw_cuts`; most are places without a name, which single names on small pictures do not teach.
    """
    cuts: list[NDArray[np.uint8]] = []
    classes: list[int] = []
    for number in range(first, first + n_pages):
        page = wild_page(np.random.default_rng((seed, number)), source, truth=False)
        for x, y, height, _, _ in suspected_places(page.image, weights):
            which = NAMES.index(NOTHING)
            unsure = False
            for lead, corners in page.names:
                (cx, cy), (wide, tall) = corners.mean(axis=0), np.ptp(corners, axis=0)
                if abs(x - cx) < 0.45 * max(wide, tall) and abs(y - cy) < 0.6 * tall:
                    which = NAMES.index(lead)
                elif abs(x - cx) < wide + 0.6 * height and abs(y - cy) < tall + 0.6 * height:
                    unsure = True  # beside a name: neither the name nor surely nothing
            if which != NAMES.index(NOTHING) or not unsure:
                cuts.append(cut_out(page.image, x, y, height))
                classes.append(which)
    return np.stack(cuts), np.array(classes, dtype=np.int64)


def fit_names(
    cuts: NDArray[np.uint8], classes: NDArray[np.int64], export: Path, *, epochs: int, seed: int, notes: dict[str, str]
) -> float:
    """Train on all but the last tenth, write the weights, and return the share right in that tenth.

    Args:
        cuts: uint8 (n, 40, 80, 3).
        classes: int64 (n,).
        export: The safetensors file.
        epochs: How many.
        seed: Of weights and order.
        notes: Kept in the file's header.

    Returns:
        0 to 1.
    """
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    held = len(cuts) // 10
    train = np.arange(len(cuts) - held)
    model = build_name_reader(training=True)
    batch = 64
    steps = epochs * (len(train) // batch)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps + 1)
    model.train()
    for epoch in range(epochs):
        start, total = time.time(), 0.0
        order = rng.permutation(train)
        for at in range(0, len(order) - batch + 1, batch):
            which = np.sort(order[at : at + batch])
            some = cuts[which]
            if rng.random() < 0.2:
                some = 255 - some
            with torch.autocast("cpu", dtype=torch.bfloat16):
                answer = model(as_batch(some))
            loss = torch.nn.functional.cross_entropy(
                answer.float(), torch.from_numpy(classes[which]), label_smoothing=0.03
            )
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        sys.stdout.write(f"epoch {epoch} loss {total * batch / len(order):.3f} {time.time() - start:.0f} s\n")
        sys.stdout.flush()
    model.eval()
    half = _half(model.state_dict())
    plain = build_name_reader()
    plain.load_state_dict({k: v.float() for k, v in half.items()})
    plain.eval()
    with torch.no_grad():
        answers = np.concatenate(
            [plain(as_batch(cuts[i : i + 256])).argmax(dim=1).numpy() for i in range(len(train), len(cuts), 256)]
        )
    right = float((answers == classes[len(train) :]).mean())
    export_names(model.state_dict(), export, {"held_out_right": f"{right:.4f}", **notes})
    table = {name: round(float((answers[classes[len(train) :] == i] == i).mean()), 3)
             for i, name in enumerate(NAMES) if (classes[len(train) :] == i).any()}  # fmt: skip
    sys.stdout.write(json.dumps({"right": right, "by_name": table}) + "\n")
    return right


def _half(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Folded weights in half precision; fully connected layers stay as they are."""
    out = folded(state)
    for name, value in state.items():
        stem, _, last = name.rpartition(".")
        if value.ndim == 2 or (last == "bias" and state[f"{stem}.weight"].ndim == 2):
            out[name] = value
    return {k: v.half().contiguous() for k, v in out.items()}


def export_names(state: dict[str, torch.Tensor], path: Path, notes: dict[str, str]) -> None:
    """Write folded weights in half precision.

    Args:
        state: State of a network built with `training`.
        path: File to write.
        notes: Added to the header.
    """
    from safetensors.torch import save_file

    partial = path.with_suffix(".part")
    save_file(_half(state), partial, metadata={"format": NAMES_FORMAT, "names": ",".join(NAMES), **notes})
    partial.replace(path)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train the reader of lead names.")
    parser.add_argument("--crops", type=int, default=30_000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=18)
    parser.add_argument("--signals", type=Path)
    parser.add_argument("--cache", type=Path, required=True, help="NumPy file of the cuts; drawn where it is missing")
    parser.add_argument("--export", type=Path, required=True)
    parser.add_argument("--found-with", type=Path, help="folder of a trained reader.safetensors: its places are added")
    parser.add_argument("--pages", type=int, default=150, help="pages for --found-with")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    if not arguments.cache.exists():
        cuts, classes = draw_cuts(arguments.crops, arguments.seed, SignalSource.from_file(arguments.signals))
        np.savez(arguments.cache, cuts=cuts, classes=classes)
    stored = np.load(arguments.cache)
    cuts, classes = stored["cuts"], stored["classes"]
    if arguments.found_with is not None:
        more = arguments.cache.with_suffix(".found.npz")
        if not more.exists():
            found = cuts_where_found(
                200_000, arguments.pages, arguments.seed, SignalSource.from_file(arguments.signals),
                arguments.found_with,
            )  # fmt: skip
            np.savez(more, cuts=found[0], classes=found[1])
        second = np.load(more)
        cuts, classes = np.concatenate([cuts, second["cuts"]]), np.concatenate([classes, second["classes"]])
        order = np.random.default_rng(arguments.seed).permutation(len(cuts))
        cuts, classes = cuts[order], classes[order]
    assert cuts.shape[1:] == (CUT[1], CUT[0], 3)
    fit_names(
        cuts, classes, arguments.export, epochs=arguments.epochs, seed=arguments.seed,
        notes={"crops": str(len(cuts)), "seed": str(arguments.seed)},
    )  # fmt: skip


if __name__ == "__main__":
    main()
