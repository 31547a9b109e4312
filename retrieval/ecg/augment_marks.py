"""What people leave on a page: words in handwriting, stamps, rings and arrows, highlighter, black bars."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.augment_style import AugmentStyle

_PENS = ((25, 35, 130), (20, 20, 30), (40, 40, 45), (150, 25, 30), (20, 90, 50))  # blue, black, pencil, red, green
_STAMP_INKS = ((120, 30, 110), (30, 50, 150), (170, 30, 40))
_STAMP_WORDS = ("SEEN", "GESEHEN", "COPY", "KOPIE", "RECEIVED", "EINGEGANGEN", "CARDIOLOGY", "AMBULANZ", "FILED")
_SHIFT = 3  # fractional bits of OpenCV's drawing coordinates


def mark_page(page: NDArray[np.uint8], rng: np.random.Generator, style: AugmentStyle) -> NDArray[np.uint8]:
    """A copy of the page (uint8, (height, width, 3)) with marks on it; the page itself where there are none."""
    counts = [round(d.draw(rng)) for d in (style.handwriting, style.stamps, style.pen_marks, style.bars)]
    if not any(counts):
        return page
    marked = page.copy()
    for draw, count in zip((_word, _stamp, _pen_mark, _bar), counts, strict=True):
        for _ in range(count):
            draw(marked, rng)
    return marked


def _stroke(page: NDArray[np.uint8], points: NDArray[np.float64], colour: tuple[int, ...], thickness: int) -> None:
    fixed = np.rint(points * (1 << _SHIFT)).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(page, [fixed], False, colour, thickness, cv2.LINE_AA, _SHIFT)


def _pen(rng: np.random.Generator) -> tuple[int, ...]:
    return _PENS[int(rng.integers(len(_PENS)))]


def _word(page: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """A joined-up scribble: loops of changing height strung along a slightly rising line, mostly at the page's edge."""
    height, width = page.shape[:2]
    size = width * rng.uniform(0.005, 0.013)
    letters = int(rng.integers(3, 10))
    t = np.linspace(0.0, letters, letters * 10)
    tall = np.repeat(rng.choice((0.5, 0.6, 0.7, 1.5, 1.8), letters), 10)
    loop = np.repeat(rng.uniform(0.1, 0.5, letters), 10)
    x = 1.1 * t + loop * np.sin(2 * np.pi * t) + 0.3 * np.cos(1.3 * t)
    y = -tall * (0.5 - 0.5 * np.cos(2 * np.pi * t)) + np.repeat(rng.choice((0.0, 0.0, 0.0, 0.6), letters), 10) * np.sin(
        2 * np.pi * t
    )
    x = x - 0.3 * y  # written forward
    edge = rng.random() < 0.75
    left = rng.uniform(0.02, 0.85) * width
    top = (rng.choice((rng.uniform(0.03, 0.14), rng.uniform(0.9, 0.97))) if edge else rng.uniform(0.1, 0.9)) * height
    rise = rng.normal(0.0, 0.06)
    points = np.stack([left + size * x, top + size * (y + rise * x)], axis=1)
    _stroke(page, points, _pen(rng), max(1, round(width * rng.uniform(0.0008, 0.002))))


def _stamp(page: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """A framed word, turned a little, in thin ink."""
    height, width = page.shape[:2]
    w, h = round(width * rng.uniform(0.08, 0.16)), round(width * rng.uniform(0.03, 0.05))
    reach = w + 4
    cx, cy = (int(v) for v in (rng.uniform(0.1, 0.9) * width, rng.choice((0.08, 0.9, rng.uniform(0.1, 0.9))) * height))
    mask = np.zeros((2 * reach, 2 * reach), dtype=np.uint8)
    line = max(1, w // 60)
    corner = (reach - w // 2, reach - h // 2), (reach + w // 2, reach + h // 2)
    cv2.rectangle(mask, corner[0], corner[1], 255, line, cv2.LINE_AA)
    word = _STAMP_WORDS[int(rng.integers(len(_STAMP_WORDS)))]
    (tw, th), _ = cv2.getTextSize(word, cv2.FONT_HERSHEY_DUPLEX, 1.0, 1)
    font = min(0.85 * w / tw, 0.5 * h / th)
    origin = (round(reach - font * tw / 2), round(reach + font * th / 2))
    cv2.putText(mask, word, origin, cv2.FONT_HERSHEY_DUPLEX, font, 255, line, cv2.LINE_AA)
    turn = cv2.getRotationMatrix2D((reach, reach), rng.uniform(-25, 25), 1.0)
    mask = np.asarray(cv2.warpAffine(mask, turn, (2 * reach, 2 * reach)), dtype=np.uint8)
    y0, y1, x0, x1 = max(0, cy - reach), min(height, cy + reach), max(0, cx - reach), min(width, cx + reach)
    if y0 >= y1 or x0 >= x1:
        return
    part = mask[y0 - cy + reach : y1 - cy + reach, x0 - cx + reach : x1 - cx + reach]
    alpha = part[..., None].astype(np.float32) * np.float32(rng.uniform(0.35, 0.85) / 255.0)
    ink = np.array(_STAMP_INKS[int(rng.integers(len(_STAMP_INKS)))], dtype=np.float32)
    region = page[y0:y1, x0:x1]
    region[...] = np.rint(region * (1 - alpha) + ink * alpha).astype(np.uint8)


def _pen_mark(page: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """A ring, an arrow, an underline or a stroke of a highlighter, anywhere."""
    height, width = page.shape[:2]
    x, y = rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height
    size = width * rng.uniform(0.015, 0.06)
    thickness = max(1, round(width * rng.uniform(0.001, 0.0022)))
    kind = int(rng.integers(4))
    if kind == 0:
        t = np.linspace(0.0, 2 * np.pi * rng.uniform(0.9, 1.15), 50) + rng.uniform(0, 6)
        radius = size * (1 + 0.08 * np.sin(2 * t + rng.uniform(0, 6)))
        _stroke(page, np.stack([x + radius * np.cos(t), y + 0.7 * radius * np.sin(t)], axis=1), _pen(rng), thickness)
    elif kind == 1:
        angle = rng.uniform(0, 2 * np.pi)
        tip = (round(x + size * np.cos(angle)), round(y + size * np.sin(angle)))
        cv2.arrowedLine(page, (round(x), round(y)), tip, _pen(rng), thickness, cv2.LINE_AA, tipLength=0.25)
    elif kind == 2:
        t = np.linspace(0.0, 1.0, 20)
        wavy = 0.03 * size * np.sin(9 * t + rng.uniform(0, 6))
        _stroke(page, np.stack([x + 2 * size * t, y + wavy], axis=1), _pen(rng), thickness)
    else:
        y0, y1 = round(max(0.0, y)), round(min(height, y + 0.25 * size + 2))
        x0, x1 = round(x), round(min(width, x + 3 * size))
        tint = np.array(((1.0, 0.95, 0.35), (0.6, 1.0, 0.6), (1.0, 0.65, 0.85))[int(rng.integers(3))])
        page[y0:y1, x0:x1] = np.rint(page[y0:y1, x0:x1] * tint).astype(np.uint8)


def _bar(page: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """A black bar at the upper edge, where names stand."""
    height, width = page.shape[:2]
    x0, y0 = round(rng.uniform(0.0, 0.8) * width), round(rng.uniform(0.0, 0.06) * height)
    x1, y1 = x0 + round(rng.uniform(0.05, 0.2) * width), y0 + round(rng.uniform(0.01, 0.03) * height)
    page[y0:y1, x0:x1] = rng.integers(0, 30)
