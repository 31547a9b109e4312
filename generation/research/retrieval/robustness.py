"""How much a damage costs: vote AUC and same-record recall against its strength, one damage at a time.

Every damage has five strengths, 1 to 5, from what nobody notices to what a careful person would photograph again.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ecgkin.generation.research.retrieval.bootstrap import AucTable, Interval, mean_interval, patient_weights
from ecgkin.generation.research.retrieval.cross_modal import join_rank
from ecgkin.generation.research.retrieval.galleries import PRIMARY, Embedder, draw_query, encode_pictures
from ecgkin.generation.research.retrieval.labels import default_space
from ecgkin.generation.research.retrieval.metrics import vote_scores
from ecgkin.generation.research.retrieval.ranking import Floats, nearest, patient_numbers
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXlRow
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import EcgkinError, QueryError
from ecgkin.retrieval.search.vote import VoteRule

Page = NDArray[np.uint8]
_VERSION = 1  # raised when a damage looks different, so that kept vectors are not mixed up
STRENGTHS: tuple[int, ...] = (1, 2, 3, 4, 5)
_TABLE = (180, 170, 160)  # the colour of what a page lies on
# Layouts from the gallery's own to the least like it.
_LAYOUTS: tuple[str, ...] = (PRIMARY, "cabrera", "6x2", "12x1", "50mm/s")


def rotated(page: Page, strength: int, rng: np.random.Generator) -> Page:
    """Turned by 1, 3, 6, 12 or 25 degrees to either side, on a table.

    Args:
        page: RGB, shape (h, w, 3), uint8.
        strength: One of the five steps, 1 to 5.
        rng: Of the side, place and size.

    Returns:
        The damaged page, RGB, uint8.
    """
    degrees = (1, 3, 6, 12, 25)[strength - 1] * float(rng.choice((-1, 1)))
    return np.asarray(Image.fromarray(page).rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=_TABLE))


def slanted(page: Page, strength: int, rng: np.random.Generator) -> Page:
    """Seen from the side: corners moved by up to 1, 3, 6, 10 or 15 % of the page.

    Args:
        page: RGB, shape (h, w, 3), uint8.
        strength: One of the five steps, 1 to 5.
        rng: Of the side, place and size.

    Returns:
        The damaged page, RGB, uint8.
    """
    import cv2

    h, w = page.shape[:2]
    share = (0.01, 0.03, 0.06, 0.10, 0.15)[strength - 1]
    square = np.array([[0, 0], [w, 0], [w, h], [0, h]], dtype=np.float32)
    moved = square + rng.uniform(-1, 1, (4, 2)).astype(np.float32) * np.float32(share) * np.array([w, h], np.float32)
    pad = int(share * max(h, w)) + 1
    matrix = cv2.getPerspectiveTransform(square, moved + pad)
    return np.asarray(cv2.warpPerspective(page, matrix, (w + 2 * pad, h + 2 * pad), borderValue=_TABLE), dtype=np.uint8)


def creased(page: Page, strength: int, rng: np.random.Generator) -> Page:
    """1, 2, 4, 6 or 9 folds: dark and bright lines across the page, with a shift of the paper at each.

    Args:
        page: RGB, shape (h, w, 3), uint8.
        strength: One of the five steps, 1 to 5.
        rng: Of the side, place and size.

    Returns:
        The damaged page, RGB, uint8.
    """
    out = page.astype(np.float32)
    h, w = page.shape[:2]
    for _ in range((1, 2, 4, 6, 9)[strength - 1]):
        across = rng.random() < 0.5
        at = int(rng.integers(int(0.1 * (h if across else w)), int(0.9 * (h if across else w))))
        band = np.abs(np.arange(h if across else w) - at)
        shade = 1 - 0.35 * np.exp(-((band / 6.0) ** 2)) + 0.1 * np.exp(-(((band - 10) / 6.0) ** 2))
        out *= shade[:, None, None] if across else shade[None, :, None]
        if across:
            out[at:] = np.roll(out[at:], int(rng.integers(-strength, strength + 1)), axis=1)
        else:
            out[:, at:] = np.roll(out[:, at:], int(rng.integers(-strength, strength + 1)), axis=0)
    return np.clip(out, 0, 255).astype(np.uint8)


def shaded(page: Page, strength: int, rng: np.random.Generator) -> Page:
    """A shadow from one side that leaves 85, 70, 55, 40 or 25 % of the light, with a soft edge.

    Args:
        page: RGB, shape (h, w, 3), uint8.
        strength: One of the five steps, 1 to 5.
        rng: Of the side, place and size.

    Returns:
        The damaged page, RGB, uint8.
    """
    h, w = page.shape[:2]
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[0:h, 0:w]
    along = (x / w - 0.5) * math.cos(angle) + (y / h - 0.5) * math.sin(angle)
    dark = 1 / (1 + np.exp(-(along - rng.uniform(-0.2, 0.2)) / 0.08))
    left = (0.85, 0.70, 0.55, 0.40, 0.25)[strength - 1]
    return np.asarray(np.clip(page * (1 - (1 - left) * dark)[:, :, None], 0, 255), dtype=np.uint8)


def blurred(page: Page, strength: int, rng: np.random.Generator) -> Page:
    """Out of focus: a Gaussian of 0.1, 0.2, 0.4, 0.7 or 1.1 mm on the page (280 mm wide).

    Args:
        page: RGB, shape (h, w, 3), uint8.
        strength: One of the five steps, 1 to 5.
        rng: Of the side, place and size.

    Returns:
        The damaged page, RGB, uint8.
    """
    from scipy.ndimage import gaussian_filter

    sigma = (0.1, 0.2, 0.4, 0.7, 1.1)[strength - 1] * page.shape[1] / 280
    return np.asarray(gaussian_filter(page, sigma=(sigma, sigma, 0)), dtype=np.uint8)


def compressed(page: Page, strength: int, rng: np.random.Generator) -> Page:
    """JPEG of quality 60, 30, 15, 8 or 4.

    Args:
        page: RGB, shape (h, w, 3), uint8.
        strength: One of the five steps, 1 to 5.
        rng: Of the side, place and size.

    Returns:
        The damaged page, RGB, uint8.
    """
    buffer = io.BytesIO()
    Image.fromarray(page).save(buffer, "JPEG", quality=(60, 30, 15, 8, 4)[strength - 1])
    return np.asarray(Image.open(buffer, formats=("JPEG",)).convert("RGB"))


def cropped(page: Page, strength: int, rng: np.random.Generator) -> Page:
    """A margin of 2, 5, 8, 12 or 18 % cut off one side: first paper is lost, then traces.

    Args:
        page: RGB, shape (h, w, 3), uint8.
        strength: One of the five steps, 1 to 5.
        rng: Of the side, place and size.

    Returns:
        The damaged page, RGB, uint8.
    """
    share = (0.02, 0.05, 0.08, 0.12, 0.18)[strength - 1]
    h, w = page.shape[:2]
    dy, dx = int(share * h), int(share * w)
    side = int(rng.integers(4))
    kept: Page = (page[dy:], page[: h - dy], page[:, dx:], page[:, : w - dx])[side]
    return kept


def coarse(page: Page, strength: int, rng: np.random.Generator) -> Page:
    """1,100, 800, 600, 450 or 320 px wide.

    Args:
        page: RGB, shape (h, w, 3), uint8.
        strength: One of the five steps, 1 to 5.
        rng: Of the side, place and size.

    Returns:
        The damaged page, RGB, uint8.
    """
    w = (1100, 800, 600, 450, 320)[strength - 1]
    height = max(1, round(page.shape[0] * w / page.shape[1]))
    return np.asarray(Image.fromarray(page).resize((w, height), Image.Resampling.BOX))


DAMAGES: Mapping[str, Callable[[Page, int, np.random.Generator], Page]] = {
    "rotation": rotated, "perspective": slanted, "creases": creased, "shade": shaded, "blur": blurred,
    "JPEG": compressed, "crop": cropped, "resolution": coarse,
}  # fmt: skip
LAYOUT = "layout"
ALL_DAMAGES: tuple[str, ...] = (*DAMAGES, LAYOUT)


@dataclass(frozen=True)
class DamagePoint:
    """One damage at one strength; strength 0 is the page as drawn.

    Attributes:
        damage, strength: Which.
        n, refused: Queries; pages that the reader turned away (they count as lost).
        superclass_auc: Neighbour vote.
        recall_1: Own record first among gallery and query fold.
    """

    damage: str
    strength: int
    n: int
    refused: int
    superclass_auc: Interval
    recall_1: Interval


def damaged_page(record: EcgRecord, damage: str, strength: int, seed: int = 0) -> Image.Image:
    """The drawn page of a record after one damage.

    Args:
        record: The ECG.
        damage: One of `ALL_DAMAGES`.
        strength: 1 to 5.
        seed: Of the chance.

    Returns:
        RGB picture.

    Raises:
        QueryError: No such damage or strength.
    """
    if damage not in ALL_DAMAGES or strength not in (0, *STRENGTHS):
        raise QueryError(f"damage {damage!r} at {strength} (expected one of {', '.join(ALL_DAMAGES)} at 0 to 5)")
    if damage == LAYOUT:
        return draw_query(record, _LAYOUTS[max(0, strength - 1)])
    page = draw_query(record, PRIMARY).convert("RGB")
    if strength == 0:
        return page
    rng = np.random.default_rng([seed, strength, *record.record_id.encode()[:8]])
    return Image.fromarray(np.ascontiguousarray(DAMAGES[damage](np.asarray(page), strength, rng)))


def evaluate_robustness(
    embedder: Embedder,
    queries: Sequence[PtbXlRow],
    gallery: Sequence[PtbXlRow],
    *,
    damages: Sequence[str] = ALL_DAMAGES,
    strengths: Sequence[int] = STRENGTHS,
    rule: VoteRule | None = None,
    limit: int = 300,
    resamples: int = 1_000,
) -> list[DamagePoint]:
    """Curves over damages.

    Args:
        embedder: Data, encoder, cache (each point is kept there).
        queries, gallery: Both sides; `limit` queries are drawn with a fixed seed.
        damages, strengths: Which; the page as drawn is always measured.
        rule: Of the vote on superclasses.
        limit: Queries a point.
        resamples: Of the bootstrap over patients.

    Returns:
        A point for each damage and strength.
    """
    rule = rule or VoteRule()
    some = list(queries)
    if limit < len(some):
        some = [some[i] for i in np.sort(np.random.default_rng(300).choice(len(some), limit, replace=False))]
    gallery_emb, own = embedder.gallery(gallery), embedder.gallery(some, queries)
    everything = np.concatenate([gallery_emb, own])
    space = default_space()
    truth, known = (space.superclass_matrix(space.statements([row.labels for row in rows])) for rows in (some, gallery))
    of_queries, of_gallery = patient_numbers([r.patient_id for r in some], [r.patient_id for r in gallery])
    weights = patient_weights(of_queries, resamples)
    has = truth.any(axis=1)
    points = []
    for damage, strength in [("none", 0), *((d, s) for d in damages for s in strengths)]:
        vectors = _damaged_vectors(embedder, some, damage, strength)
        found = nearest(vectors, gallery_emb, rule.k, query_patients=of_queries, gallery_patients=of_gallery)
        votes = vote_scores(found, known, min(rule.k, found.rows.shape[1]), rule.tau)
        refused = np.abs(vectors).sum(axis=1) == 0
        ranks = join_rank(vectors, everything, len(gallery_emb) + np.arange(len(some)))
        # A page that was turned away finds nothing, whatever its zero vector is nearest to.
        first = ((ranks == 1) & ~refused).astype(np.float64)
        auc = AucTable.of(truth[has], votes[has], weights[:, has]).macro().interval
        points.append(DamagePoint(damage, strength, len(some), int(refused.sum()), auc, mean_interval(first, weights)))
        if embedder.progress is not None:
            embedder.progress("robustness", len(points), 1 + len(damages) * len(strengths))
    return points


def _damaged_vectors(embedder: Embedder, rows: Sequence[PtbXlRow], damage: str, strength: int) -> Floats:
    """Vectors of damaged pages, kept like any other (the damage is part of the key)."""

    def encode(part: list[EcgRecord]) -> Floats:
        pages = []
        for record in part:
            name = damage if damage in ALL_DAMAGES else LAYOUT
            try:
                pages.append(damaged_page(record, name, strength))
            except EcgkinError:
                pages.append(Image.new("RGB", (64, 64), "white"))
        return encode_pictures(embedder.encoder, pages)

    return embedder.cached(f"damage|{_VERSION}|{damage}|{strength}", rows, encode)
