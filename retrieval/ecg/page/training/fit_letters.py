"""Training of the reader of lines of print, on drawn lines.

python -m ecgkin.retrieval.ecg.page.training.fit_letters --lines 60000 --cache lines.npz --export letters.safetensors
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.network.letters import (
    HEIGHT,
    LETTERS,
    WIDEST,
    build_letter_reader,
    cut_line,
    decoded,
    plain,
)
from ecgkin.retrieval.ecg.page.network.model import folded
from ecgkin.retrieval.ecg.page.network.names import standardised
from ecgkin.retrieval.ecg.page.network.weights_file import LETTERS_FORMAT
from ecgkin.retrieval.ecg.page.training.camera import KINDS, expose, lay_on_table, place, to_picture
from ecgkin.retrieval.ecg.page.training.grids import draw_grid, draw_grid_style
from ecgkin.retrieval.ecg.page.training.lettering import draw_lettering, paste, text_mask
from ecgkin.retrieval.ecg.page.training.wording import any_text, scale_text

if TYPE_CHECKING:
    import torch

ByteImage = NDArray[np.uint8]
_SHARE_OF_SCALES = 0.6
_BATCH = 48
_ROUND = 32  # px to which widths are rounded up, so that a batch holds lines of one width


def drawn_lines(rng: np.random.Generator) -> list[tuple[ByteImage, str]]:
    """Cuts of the lines of one drawn piece of paper, as `cut_line` makes them, with their texts.

    Args:
        rng: Draws paper, letters, words and camera.

    Returns:
        uint8 (24, width, 3) each, and text in the network's letters; "" where there is none.
    """
    tall = float(np.exp(rng.uniform(np.log(7.0), np.log(30.0))))  # px of a capital letter
    per_mm = tall / float(rng.uniform(1.6, 3.4))
    height, width = round(13.0 * tall), round(36.0 * tall)
    style = draw_grid_style(rng)
    page, _, _ = draw_grid(style, (height, width), (-1.0, -1.0, width + 1.0, height + 1.0), per_mm, rng)
    if rng.random() < 0.35:
        page[:] = style.paper
    ink = rng.uniform(150, 255, 3) if style.dark else rng.choice((0.0, 0.0, rng.uniform(0, 110))) + rng.normal(0, 8, 3)
    plane = np.zeros((height, width), dtype=np.uint8)
    lettering = draw_lettering(rng)
    size = max(6, round(tall / 0.72))
    found: list[tuple[tuple[int, int, int, int], str]] = []
    y = float(rng.uniform(0.5, 1.5)) * tall
    while y < height - 2.0 * tall:
        x = float(rng.uniform(0.5, 8.0)) * tall
        text = scale_text(rng) if rng.random() < _SHARE_OF_SCALES else any_text(rng)
        if rng.random() < 0.06:  # paper alone
            found.append(((round(x), round(y), round(x + rng.uniform(3, 15) * tall), round(y + tall)), ""))
        elif plain(text):
            mask = text_mask(text, size, lettering)
            if x + mask.shape[1] < width - 0.5 * tall:
                found.append((paste(plane, mask, x, y), plain(text)))
        y += float(rng.uniform(1.7, 3.2)) * tall
    if rng.random() < 0.3:
        _curve(plane, tall, rng)
    strength = float(rng.choice((1.0, rng.uniform(0.5, 1.0)), p=(0.6, 0.4)))
    alpha = plane[..., None].astype(np.float32) * np.float32(strength / 255)
    page = np.clip(page + (ink.astype(np.float32) - page) * alpha, 0, 255).astype(np.uint8)
    kind = str(rng.choice(KINDS, p=(0.35, 0.22, 0.28, 0.05, 0.1)))
    view = place((width, height), (0.0, 0.0, float(width), float(height)), (width, height), kind, rng)
    picture, _ = lay_on_table(page, view, rng)
    picture = expose(picture, kind, view, rng)
    if rng.random() < 0.1:
        picture = np.asarray(255 - picture, dtype=np.uint8)
    out: list[tuple[ByteImage, str]] = []
    for (x0, y0, x1, y1), text in found:
        corners = to_picture(view, np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float64))
        if (corners < 0).any() or (corners > picture.shape[1::-1]).any():
            continue
        cut = cut_line(picture, _as_found(corners, y1 - y0, rng))
        if cut is not None:
            out.append((cut, text))
    return out


def _curve(plane: ByteImage, tall: float, rng: np.random.Generator) -> None:
    """A curve through the lines, as traces run through print."""
    height, width = plane.shape
    n = max(8, round(width / tall))
    y = np.cumsum(rng.normal(0.0, 0.25, n)) * tall + rng.uniform(0.1, 0.9) * height
    y -= np.where(rng.random(n) < 0.12, rng.uniform(1.0, 6.0, n) * tall, 0.0)
    points = np.stack([np.linspace(0, width, n), y], axis=1).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(plane, [points], False, 255, max(1, round(0.12 * tall)), cv2.LINE_AA)


def _as_found(corners: NDArray[np.float64], tall: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A line's corners as inexact as they are found on a page: ends, height and slope are off by some of its height."""
    down = corners[3] - corners[0]
    along = (corners[1] - corners[0]) / max(1.0, float(np.hypot(*(corners[1] - corners[0])))) * tall
    up, low = rng.uniform(-0.12, 0.25, 2)
    left, right = rng.uniform(-0.05, 0.6, 2)
    turn = rng.normal(0.0, 0.05, 2)
    out = corners + np.stack([-up * down, -up * down, low * down, low * down])
    out += np.stack([turn[0] * down, turn[1] * down, turn[1] * down, turn[0] * down])
    return np.asarray(out + np.stack([-left * along, right * along, right * along, -left * along]))


def draw_lines(n: int, seed: int) -> tuple[list[ByteImage], list[str]]:
    """At least `n` cuts and their texts.

    Args:
        n: How many at the least.
        seed: Of all drawings.

    Returns:
        Cuts, uint8 (24, width, 3) each, and texts.
    """
    cuts: list[ByteImage] = []
    texts: list[str] = []
    number = 0
    while len(cuts) < n:
        for cut, text in drawn_lines(np.random.default_rng((seed, number))):
            cuts.append(cut)
            texts.append(text)
        number += 1
    return cuts, texts


def _batch(cuts: list[ByteImage], width: int) -> torch.Tensor:
    """Lines made as wide as `width` by repeating their last column, (n, 24, width, 3)."""
    import torch

    out = np.empty((len(cuts), HEIGHT, width, 3), dtype=np.uint8)
    for row, cut in zip(out, cuts, strict=True):
        row[:, : cut.shape[1]] = cut
        row[:, cut.shape[1] :] = cut[:, -1:]
    return torch.from_numpy(out)


def fit_letters(
    cuts: list[ByteImage], texts: list[str], export: Path, *, epochs: int, seed: int, start: Path | None = None
) -> float:
    """Train on all but the last twentieth, write the weights, and return the share of lines read right in that.

    Args:
        cuts: uint8 (24, width, 3) each.
        texts: What they say.
        export: The safetensors file; the state of the training is kept beside it (`.pt`).
        epochs: How many.
        seed: Of weights and order.
        start: State to go on from.

    Returns:
        0 to 1.
    """
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    held = len(cuts) // 20
    train = np.arange(len(cuts) - held)
    widths = np.array([-(-cut.shape[1] // _ROUND) * _ROUND for cut in cuts])
    model = build_letter_reader(training=True)
    if start is not None:
        model.load_state_dict(torch.load(start, weights_only=True))
    most = 3e-3
    optimiser = torch.optim.AdamW(model.parameters(), lr=most, weight_decay=1e-3)
    steps = sum(-(-int((widths[train] == w).sum()) // _BATCH) for w in np.unique(widths[train])) * epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, most, total_steps=steps + 1)
    model.train()
    for epoch in range(epochs):
        begun, total, count = time.time(), 0.0, 0
        order = rng.permutation(train)
        groups = [g[at : at + _BATCH] for w in np.unique(widths[train]) for g in [order[widths[order] == w]]
                  for at in range(0, len(g), _BATCH)]  # fmt: skip
        for index in rng.permutation(len(groups)):
            which = groups[index].tolist()
            lines = standardised(_batch([cuts[k] for k in which], int(widths[which[0]])))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                answer = model(lines)
            logs = torch.log_softmax(answer.float()[:, :, 0], dim=1).permute(2, 0, 1)
            letters = [[1 + LETTERS.index(letter) for letter in texts[k]] for k in which]
            loss = torch.nn.functional.ctc_loss(
                logs, torch.tensor([n for line in letters for n in line], dtype=torch.long),
                torch.full((len(which),), logs.shape[0], dtype=torch.long),
                torch.tensor([len(line) for line in letters], dtype=torch.long), zero_infinity=True,
            )  # fmt: skip
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            total, count = total + float(loss.detach()), count + 1
        sys.stdout.write(f"epoch {epoch} loss {total / count:.3f} {time.time() - begun:.0f} s\n")
        sys.stdout.flush()
    torch.save(model.state_dict(), export.with_suffix(".pt"))
    model.eval()
    half = {name: value.half().contiguous() for name, value in folded(model.state_dict()).items()}
    network = build_letter_reader()
    network.load_state_dict({name: value.float() for name, value in half.items()})
    network.eval()
    right = 0
    with torch.no_grad():
        for k in range(len(train), len(cuts)):
            chances = torch.softmax(network(standardised(torch.from_numpy(cuts[k])[None]))[0, :, 0], dim=0)
            right += decoded(chances.numpy()).text == texts[k]
    share = right / max(1, held)
    export_letters(half, export, {"lines": str(len(cuts)), "seed": str(seed), "held_out_right": f"{share:.4f}"})
    sys.stdout.write(f"lines read right: {share:.4f} of {held}\n")
    return share


def export_letters(half: dict[str, torch.Tensor], path: Path, notes: dict[str, str]) -> None:
    """Write folded weights in half precision.

    Args:
        half: State of a network without batch normalisation.
        path: File to write.
        notes: Added to the header.
    """
    from safetensors.torch import save_file

    partial = path.with_suffix(".part")
    save_file(half, partial, metadata={"format": LETTERS_FORMAT, "letters": LETTERS, **notes})
    partial.replace(path)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train the reader of lines of print.")
    parser.add_argument("--lines", type=int, default=60_000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=18)
    parser.add_argument("--cache", type=Path, required=True, help="NumPy file of the cuts; drawn where it is missing")
    parser.add_argument("--export", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="state to go on from, as an earlier run left it (.pt)")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    if not arguments.cache.exists():
        cuts, texts = draw_lines(arguments.lines, arguments.seed)
        ends = np.cumsum([cut.shape[1] for cut in cuts])
        np.savez(arguments.cache, pixels=np.concatenate(cuts, axis=1), ends=ends, texts=np.array(texts))
    stored = np.load(arguments.cache)
    cuts = [np.ascontiguousarray(part) for part in np.split(stored["pixels"], stored["ends"][:-1], axis=1)]
    assert max(cut.shape[1] for cut in cuts) <= WIDEST
    texts = [str(text) for text in stored["texts"]]
    fit_letters(cuts, texts, arguments.export, epochs=arguments.epochs, seed=arguments.seed, start=arguments.start)


if __name__ == "__main__":
    main()
