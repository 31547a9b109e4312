"""Damage to pages: the same chance gives the same picture, points land where the geometry says, nothing is modified."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgkin.retrieval.ecg.augment.photograph import STYLES, AugmentStyle, Damage, photograph, photograph_with_geometry
from ecgkin.retrieval.errors import ImageError, QueryError


def _page(width: int = 560, height: int = 420) -> np.ndarray:
    page = np.full((height, width, 3), 250, np.uint8)
    page[::20] = (250, 190, 190)
    page[:, ::20] = (250, 190, 190)
    return page


@pytest.mark.parametrize("style", sorted(STYLES))
def test_same_seed_same_picture_and_page_untouched(style: str) -> None:
    page = _page()
    before = page.copy()
    first = photograph(page, np.random.default_rng(5), style)
    second = photograph(page, np.random.default_rng(5), style)
    assert first.dtype == np.uint8 and first.ndim == 3 and first.shape[2] == 3
    assert np.array_equal(first, second)
    assert np.array_equal(page, before)
    if style != "clean":
        other = photograph(page, np.random.default_rng(6), style)
        assert other.shape != first.shape or not np.array_equal(other, first)


def test_clean_is_an_equal_copy() -> None:
    page = _page()
    out = photograph(page, np.random.default_rng(0), "clean")
    assert np.array_equal(out, page) and not np.shares_memory(out, page)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), name=st.sampled_from(["scan", "photo", "hard"]))
def test_points_land_where_the_geometry_says(seed: int, name: str) -> None:
    """Green dots on a page, found again in the picture by colour, lie within 2 px of `to_photo`."""
    preset = STYLES[name]
    plain = AugmentStyle(
        scale=preset.scale,
        margin=preset.margin,
        perspective=preset.perspective,
        rotation_deg=preset.rotation_deg,
        turned=Damage(0.3, 1.0, 1.0),
        curl=preset.curl,
        creases=preset.creases,
    )
    page = np.full((480, 640, 3), 255, np.uint8)
    dots = np.array([(x, y) for x in (120, 320, 520) for y in (110, 240, 370)], dtype=np.float64)
    for x, y in dots:
        cv2.circle(page, (int(x), int(y)), 7, (0, 255, 0), -1, cv2.LINE_AA)
    picture, geometry = photograph_with_geometry(page, np.random.default_rng(seed), plain)
    assert picture.shape == (geometry.photo_size[1], geometry.photo_size[0], 3)
    for x, y in geometry.to_photo(dots):
        near = picture[max(0, int(y) - 14) : int(y) + 15, max(0, int(x) - 14) : int(x) + 15].astype(float)
        weight = np.clip(near[..., 1] - near[..., 0] - 40, 0, None)
        assert weight.sum() > 0
        cy, cx = (np.indices(weight.shape) * weight).sum(axis=(1, 2)) / weight.sum()
        assert abs(cx + max(0, int(x) - 14) - x) < 2 and abs(cy + max(0, int(y) - 14) - y) < 2
    assert np.allclose(geometry.to_page(geometry.to_photo(dots)), dots, atol=0.01)


def test_every_damage_alone_changes_the_picture() -> None:
    strength = {
        "scale": (0.5, 0.5), "margin": (0.05, 0.05), "rotation_deg": (3, 3), "turned": (1, 1), "creases": (2, 2),
        "exposure": (0.7, 0.7), "grey": (1, 1), "stains": (1, 1), "handwriting": (2, 2), "stamps": (1, 1),
        "pen_marks": (2, 2), "bars": (1, 1), "streaks": (4, 4), "defocus": (1.5, 1.5), "motion": (5, 5),
        "noise": (8, 8), "jpeg": (30, 30), "bilevel": (20, 20), "curl": (0.01, 0.01), "perspective": (0.04, 0.04),
    }  # fmt: skip
    page = _page()
    for field in AugmentStyle.__dataclass_fields__:
        low, high = strength.get(field, (0.4, 0.4))
        style = AugmentStyle(**{field: Damage(1.0, low, high)})
        out = photograph(page, np.random.default_rng(3), style)
        assert out.shape != page.shape or not np.array_equal(out, page), field


def test_photos_keep_the_page_readable() -> None:
    """The middle of the page stays in the frame and keeps some of its contrast."""
    page = np.full((480, 640, 3), 245, np.uint8)
    page[100:380:8, 100:540] = 20
    for seed in range(20):
        picture, geometry = photograph_with_geometry(page, np.random.default_rng(seed), "photo")
        corners = geometry.to_photo(np.array([(100.0, 100.0), (540.0, 100.0), (540.0, 380.0), (100.0, 380.0)]))
        assert (corners > 0).all() and (corners < np.array(geometry.photo_size)).all()
        x0, y0 = corners.min(axis=0).astype(int)
        x1, y1 = corners.max(axis=0).astype(int)
        grey = picture[y0:y1, x0:x1].mean(axis=2)
        assert np.quantile(grey, 0.95) - np.quantile(grey, 0.05) > 15


def test_what_cannot_be_photographed_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ImageError, match="float64"):
        photograph(np.zeros((50, 50, 3)), rng)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="shape"):
        photograph(np.zeros((50, 50), np.uint8), rng)
    with pytest.raises(QueryError, match="expected one of"):
        photograph(_page(), rng, "polaroid")
    with pytest.raises(QueryError, match="jpeg"):
        AugmentStyle(jpeg=Damage(0.5, 90, 40))


def test_fast_enough_for_training() -> None:
    """A page of 1100 x 850 px in processor time: 10 to 20 ms were measured; 80 leaves room for slow machines."""
    page, rng = _page(1100, 850), np.random.default_rng(0)
    photograph(page, rng, "photo")
    start = time.process_time()
    for _ in range(10):
        photograph(page, rng, "photo")
    assert (time.process_time() - start) / 10 < 0.080 * max(1, cv2.getNumThreads())


def test_a_margin_is_room_on_every_side() -> None:
    """Neither turned nor tilted, the page lies inside its picture with as much table around it as was asked for."""
    style = AugmentStyle(margin=Damage(1.0, 0.1, 0.1))
    for seed in range(8):
        picture, geometry = photograph_with_geometry(_page(), np.random.default_rng(seed), style)
        height, width = picture.shape[:2]
        corners = geometry.to_photo(np.array([[0.0, 0.0], [560.0, 0.0], [560.0, 420.0], [0.0, 420.0]]))
        left, top = corners.min(axis=0)
        right, bottom = corners.max(axis=0)
        # A tenth of the longer side all round; where the frame is held wanders by half of that either way.
        assert (width, height) == pytest.approx((560 + 2 * 56, 420 + 2 * 56), abs=2)
        for room in (left, top, width - right, height - bottom):
            assert 27 <= room <= 85
