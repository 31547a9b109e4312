"""How a picture is cut for PULSE: which resolution, how many tiles and tokens, and that nothing of it is lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ecgkin.generation.backends.pulse.images import (
    TileRule,
    choose_resolution,
    cut_tiles,
    fitted_size,
    image_tokens,
    pulse_page_size,
    tile_count,
)
from ecgkin.retrieval.errors import ImageError

PINPOINTS = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
RULE = TileRule(336, 14, PINPOINTS, "flat")


@pytest.mark.parametrize("pinpoints", [((336, 672), (672, 336)), ((672, 336), (336, 672))])
def test_ties_keep_the_first_entry(pinpoints: tuple[tuple[int, int], ...]) -> None:
    """A square picture loses as much either way: the order of config.json decides."""
    assert choose_resolution(500, 500, pinpoints) == pinpoints[0]


@settings(max_examples=200, deadline=None)
@given(width=st.integers(1, 4000), height=st.integers(1, 4000))
def test_the_resolution_shows_most_of_the_picture_and_wastes_least(width: int, height: int) -> None:
    """Against the rule in its own words, over all entries; the fitted picture lies inside and touches two sides."""

    def shown(target: tuple[int, int]) -> int:
        scale = min(target[0] / width, target[1] / height)
        return min(int(width * scale) * int(height * scale), width * height)

    chosen = choose_resolution(width, height, PINPOINTS)
    best = max(PINPOINTS, key=lambda t: (shown(t), -(t[0] * t[1] - shown(t))))
    assert shown(chosen) == shown(best) and chosen[0] * chosen[1] == best[0] * best[1]
    fitted = fitted_size(width, height, chosen)
    assert fitted[0] <= chosen[0] and fitted[1] <= chosen[1] and (fitted[0] == chosen[0] or fitted[1] == chosen[1])
    tiles = (chosen[0] // 336) * (chosen[1] // 336) + 1
    assert tile_count(width, height, RULE) == tiles and image_tokens(width, height, RULE) == 576 * tiles


def test_tiles_put_together_are_the_picture() -> None:
    """First the whole, then the parts row by row; put together they are the fitted picture on black."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (336, 672, 3), dtype=np.uint8))
    whole, left, right = cut_tiles(picture, RULE)
    assert whole.size == left.size == right.size == (336, 336)
    np.testing.assert_array_equal(np.hstack([np.asarray(left), np.asarray(right)]), np.asarray(picture))


def test_a_page_is_exactly_two_to_one() -> None:
    assert pulse_page_size(2200) == (2200, 1100) and tile_count(*pulse_page_size(2200), RULE) == 3
    for width in (0, 1, 2201):
        with pytest.raises(ImageError):
            pulse_page_size(width)
