"""How well a page reader does on drawn pages that it has not seen.

python -m ecgkin.retrieval.ecg.page.training.measure --pages 60
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.network.classes import CLASSES
from ecgkin.retrieval.ecg.page.network.segment import PageLooks, look
from ecgkin.retrieval.ecg.page.training.pages import WildPage, wild_page
from ecgkin.retrieval.ecg.page.training.signals import SignalSource

HELD_OUT_SEED = 90_018  # training pages come from the seed of its configuration, never from this one


@dataclass(frozen=True, slots=True, eq=False)
class PageFigures:
    """Counts of one page: per class pixels in both, in truth or answer, and the lead names."""

    both: NDArray[np.int64]
    either: NDArray[np.int64]
    near_truth: tuple[int, int]  # trace pixels of the truth, and how many of them have an answer within 1 px
    near_found: tuple[int, int]
    names: tuple[int, int, int]  # printed, found, right
    confused: tuple[tuple[str, str], ...]
    scale_error: float  # median relative error of px/mm on gridded paper, NaN without
    angle_error_deg: float


def truth_at(page: WildPage, looks: PageLooks) -> NDArray[np.uint8]:
    """The class of each pixel at the resolution of the answer.

    Args:
        page: Drawn, with its truth.
        looks: The answer, whose resolution is taken.

    Returns:
        uint8 (h, w).
    """
    shape = (looks.size[0] // 2, looks.size[1] // 2)
    planes = [cv2.resize(p, shape, interpolation=cv2.INTER_AREA) for p in page.planes]
    return np.asarray(np.stack(planes).argmax(axis=0), dtype=np.uint8)


def figures(page: WildPage, looks: PageLooks) -> PageFigures:
    """Compare one answer with the truth.

    Args:
        page: Drawn, with its truth.
        looks: The network's answer.

    Returns:
        Recall, precision and names of this page.
    """
    truth, found = truth_at(page, looks), looks.probabilities.argmax(axis=0)
    both = np.array([np.count_nonzero((truth == i) & (found == i)) for i in range(len(CLASSES))])
    either = np.array([np.count_nonzero((truth == i) | (found == i)) for i in range(len(CLASSES))])
    trace = CLASSES.index("trace")
    t, f = (truth == trace).astype(np.uint8), (found == trace).astype(np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    near_truth = int(t.sum()), int((t & cv2.dilate(f, kernel)).sum())
    near_found = int(f.sum()), int((f & cv2.dilate(t, kernel)).sum())
    left = list(looks.lead_names)
    right, confused = 0, []
    for lead, corners in page.names:
        cx, cy = corners.mean(axis=0)
        wide, tall = np.ptp(corners[:, 0]), np.ptp(corners[:, 1])
        here = [n for n in left if abs(n.x - cx) < max(wide * 0.6, 8) and abs(n.y - cy) < max(tall * 0.8, 8)]
        if not here:
            confused.append((lead, "-"))
            continue
        best = max(here, key=lambda n: n.score)
        left.remove(best)
        if best.lead == lead:
            right += 1
        else:
            confused.append((lead, best.lead))
    confused += [("-", n.lead) for n in left]
    scale, angle = np.nan, np.nan
    if page.view is not None:
        rows, columns = (min(a, b) for a, b in zip(page.frame.shape[1:], looks.frame.shape[1:], strict=True))
        cells = looks.frame.shape[1:]
        truth_frame = np.stack([cv2.resize(p, cells[::-1], interpolation=cv2.INTER_LINEAR) for p in page.frame])
        known = cv2.resize(page.known, cells[::-1], interpolation=cv2.INTER_LINEAR) > 0.9
        if known.sum() > 20 and rows and columns:
            ratio = np.log(looks.frame[:2][:, known]) - truth_frame[:2][:, known]
            scale = float(np.median(np.abs(ratio)))
            angle = float(np.rad2deg(np.median(np.abs(looks.frame[2:][:, known] - truth_frame[2:][:, known]))))
    return PageFigures(
        both, either, near_truth, near_found, (len(page.names), len(looks.lead_names), right), tuple(confused), scale,
        angle,
    )  # fmt: skip


def measure(n_pages: int, source: SignalSource | None, weights: Path | None, threads: int) -> dict[str, Any]:
    """Figures over the first `n_pages` held-out pages, as plain values.

    Args:
        n_pages: How many.
        source: Where signals come from.
        weights: Of the reader.
        threads: Of torch.

    Returns:
        Figure -> value.
    """
    rows: list[PageFigures] = []
    seconds = []
    for number in range(n_pages):
        page = wild_page(np.random.default_rng((HELD_OUT_SEED, number)), source)
        start = time.perf_counter()
        looks = look(page.image, threads=threads, weights=weights)
        seconds.append(time.perf_counter() - start)
        rows.append(figures(page, looks))
    both, either = (np.sum([getattr(r, k) for r in rows], axis=0) for k in ("both", "either"))
    printed, found, right = (sum(r.names[i] for r in rows) for i in range(3))
    near = [(sum(r.near_truth[i] for r in rows), sum(r.near_found[i] for r in rows)) for i in range(2)]
    trace = CLASSES.index("trace")
    by_page = [r.both[trace] / r.either[trace] for r in rows if r.either[trace] > 200]
    confused = Counter(pair for r in rows for pair in r.confused)
    return {
        "pages": n_pages,
        "iou": {c: round(float(b / max(1, e)), 3) for c, b, e in zip(CLASSES, both, either, strict=True)},
        "trace_recall_1px": round(near[1][0] / max(1, near[0][0]), 4),
        "trace_precision_1px": round(near[1][1] / max(1, near[0][1]), 4),
        "trace_iou_pages_p10_50_90": [round(float(np.quantile(by_page, q)), 3) for q in (0.1, 0.5, 0.9)],
        "names_printed": printed,
        "names_recall": round(right / max(1, printed), 4),
        "names_precision": round(right / max(1, found), 4),
        "confused": [f"{a}>{b} {n}" for (a, b), n in confused.most_common(14)],
        "scale_error_median": round(float(np.nanmedian([r.scale_error for r in rows])), 4),
        "scale_error_p90": round(float(np.nanquantile([r.scale_error for r in rows], 0.9)), 4),
        "angle_error_deg_median": round(float(np.nanmedian([r.angle_error_deg for r in rows])), 3),
        "look_ms_median": round(1000 * float(np.median(seconds)), 1),
    }  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Measure the page reader on drawn pages.")
    parser.add_argument("--pages", type=int, default=60)
    parser.add_argument("--signals", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    source = SignalSource.from_file(arguments.signals)
    found = measure(arguments.pages, source, arguments.weights, arguments.threads)
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
