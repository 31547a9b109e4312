"""What can happen to a page on its way through a camera or a scanner, and how often: `AugmentStyle` and its presets.

The ranges of "photo" were set by eye against hand-held photographs of ECG print-outs: there the paper fills the frame,
rows bow by about one per cent of the width, light falls off to one side by a fifth to a third, paper looks beige, grey
or lilac, and ink is grey rather than black. "hard" covers what is worse than that and still readable for people.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from ecgkin.retrieval.errors import QueryError


class Damage(NamedTuple):
    """One kind of damage: it happens with `chance`, its strength is then uniform between `low` and `high`."""

    chance: float = 0.0
    low: float = 0.0
    high: float = 0.0

    def draw(self, rng: np.random.Generator) -> float:
        """A strength, or 0.0 where the damage does not happen this time. Takes two numbers from `rng` in any case."""
        happens, where = rng.random(2)
        return float(self.low + (self.high - self.low) * where) if happens < self.chance else 0.0


_NEVER = Damage()
_FULL_SIZE = Damage(1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class AugmentStyle:
    """How often and how strongly each damage happens. Lengths are shares of the longer page side unless said.

    Attributes:
        scale: Output pixels per page pixel (camera resolution); never 0.
        margin: Room between frame and page edge; negative values cut into the page.
        perspective: How far each corner wanders.
        rotation_deg: Turn of the page, either way.
        turned: The picture is turned by 90, 180 or 270 degrees (strength unused).
        curl: Bow of straight lines, as of paper that does not lie flat.
        creases: Number of folds.
        crumple: Depth of light and shade on small facets of crumpled paper (1 = full).
        light_slope: Fall of the light across the picture, share of full brightness.
        light_spots: Soft uneven light, share of full brightness.
        shadow: Depth of a cast shadow with a soft edge.
        exposure: Brightness of the whole; 0 (not drawn) means 1.
        cast: Strength of a colour cast.
        grey: The picture has no colour (strength unused).
        fade: Share of contrast that ink and grid lose.
        stains: Number of coffee stains.
        handwriting: Number of written words.
        stamps: Number of stamps.
        pen_marks: Number of rings, arrows, underlines and strokes of a highlighter.
        bars: Number of black bars over text (anonymised pages).
        streaks: Number of scanner streaks.
        moire: Depth of the interference pattern of a photographed screen.
        defocus: Sigma of a Gaussian blur in output pixels.
        motion: Length of a motion blur in output pixels.
        noise: Standard deviation of sensor noise in grey levels.
        jpeg: JPEG quality (low quality is strong damage).
        bilevel: Black and white only, as of a fax (strength: offset of the threshold in grey levels).

    Raises:
        QueryError: On construction, when a chance is outside 0 to 1 or a range is upside down.
    """

    scale: Damage = _FULL_SIZE
    margin: Damage = _NEVER
    perspective: Damage = _NEVER
    rotation_deg: Damage = _NEVER
    turned: Damage = _NEVER
    curl: Damage = _NEVER
    creases: Damage = _NEVER
    crumple: Damage = _NEVER
    light_slope: Damage = _NEVER
    light_spots: Damage = _NEVER
    shadow: Damage = _NEVER
    exposure: Damage = _NEVER
    cast: Damage = _NEVER
    grey: Damage = _NEVER
    fade: Damage = _NEVER
    stains: Damage = _NEVER
    handwriting: Damage = _NEVER
    stamps: Damage = _NEVER
    pen_marks: Damage = _NEVER
    bars: Damage = _NEVER
    streaks: Damage = _NEVER
    moire: Damage = _NEVER
    defocus: Damage = _NEVER
    motion: Damage = _NEVER
    noise: Damage = _NEVER
    jpeg: Damage = _NEVER
    bilevel: Damage = _NEVER

    def __post_init__(self) -> None:
        for field in fields(self):
            damage = getattr(self, field.name)
            if not 0.0 <= damage.chance <= 1.0 or damage.low > damage.high:
                raise QueryError(
                    f"AugmentStyle.{field.name} is {tuple(damage)} (expected chance 0 to 1, then low <= high)"
                )
        if self.scale.chance < 1.0 or self.scale.low < 0.05:
            raise QueryError(f"AugmentStyle.scale is {tuple(self.scale)} (expected chance 1 and low >= 0.05)")


STYLES: dict[str, AugmentStyle] = {
    "clean": AugmentStyle(),
    "scan": AugmentStyle(
        scale=Damage(1.0, 0.7, 1.15),
        margin=Damage(0.8, -0.01, 0.03),
        perspective=Damage(0.2, 0.0, 0.004),
        rotation_deg=Damage(0.9, 0.0, 2.0),
        curl=Damage(0.3, 0.0, 0.002),
        creases=Damage(0.15, 1.0, 2.0),
        light_slope=Damage(0.3, 0.0, 0.08),
        exposure=Damage(0.5, 0.92, 1.06),
        cast=Damage(0.4, 0.1, 0.5),
        grey=Damage(0.3, 1.0, 1.0),
        fade=Damage(0.5, 0.0, 0.45),
        stains=Damage(0.04, 1.0, 1.0),
        handwriting=Damage(0.3, 1.0, 6.0),
        stamps=Damage(0.12, 1.0, 1.0),
        pen_marks=Damage(0.15, 1.0, 3.0),
        bars=Damage(0.05, 1.0, 2.0),
        streaks=Damage(0.2, 1.0, 5.0),
        defocus=Damage(0.5, 0.3, 0.9),
        noise=Damage(0.5, 1.0, 4.0),
        jpeg=Damage(0.5, 45.0, 92.0),
        bilevel=Damage(0.04, 15.0, 40.0),
    ),
    "photo": AugmentStyle(
        scale=Damage(1.0, 0.65, 1.15),
        margin=Damage(1.0, -0.025, 0.03),
        perspective=Damage(0.95, 0.0, 0.045),
        rotation_deg=Damage(0.9, 0.0, 4.0),
        curl=Damage(0.85, 0.001, 0.012),
        creases=Damage(0.35, 1.0, 3.0),
        crumple=Damage(0.25, 0.02, 0.10),
        light_slope=Damage(0.9, 0.03, 0.35),
        light_spots=Damage(0.8, 0.02, 0.16),
        shadow=Damage(0.25, 0.08, 0.35),
        exposure=Damage(0.9, 0.72, 1.05),
        cast=Damage(0.85, 0.1, 1.0),
        grey=Damage(0.05, 1.0, 1.0),
        fade=Damage(0.7, 0.05, 0.45),
        stains=Damage(0.06, 1.0, 2.0),
        handwriting=Damage(0.2, 1.0, 5.0),
        stamps=Damage(0.08, 1.0, 1.0),
        pen_marks=Damage(0.15, 1.0, 4.0),
        bars=Damage(0.05, 1.0, 2.0),
        moire=Damage(0.05, 0.03, 0.10),
        defocus=Damage(0.7, 0.3, 1.2),
        motion=Damage(0.1, 2.0, 5.0),
        noise=Damage(0.8, 1.0, 6.0),
        jpeg=Damage(0.5, 40.0, 92.0),
    ),
    "hard": AugmentStyle(
        scale=Damage(1.0, 0.45, 1.2),
        margin=Damage(1.0, -0.03, 0.14),
        perspective=Damage(1.0, 0.02, 0.10),
        rotation_deg=Damage(0.9, 0.0, 9.0),
        curl=Damage(0.9, 0.004, 0.025),
        creases=Damage(0.7, 1.0, 4.0),
        crumple=Damage(0.6, 0.04, 0.2),
        light_slope=Damage(0.9, 0.15, 0.55),
        light_spots=Damage(0.9, 0.05, 0.3),
        shadow=Damage(0.5, 0.2, 0.5),
        exposure=Damage(0.9, 0.5, 1.15),
        cast=Damage(0.9, 0.5, 1.3),
        grey=Damage(0.1, 1.0, 1.0),
        fade=Damage(0.8, 0.2, 0.65),
        stains=Damage(0.25, 1.0, 3.0),
        handwriting=Damage(0.5, 2.0, 10.0),
        stamps=Damage(0.2, 1.0, 2.0),
        pen_marks=Damage(0.4, 1.0, 6.0),
        bars=Damage(0.1, 1.0, 3.0),
        streaks=Damage(0.08, 1.0, 6.0),
        moire=Damage(0.15, 0.05, 0.18),
        defocus=Damage(0.8, 0.6, 2.0),
        motion=Damage(0.3, 3.0, 8.0),
        noise=Damage(0.9, 3.0, 12.0),
        jpeg=Damage(0.7, 18.0, 75.0),
        bilevel=Damage(0.02, 15.0, 40.0),
    ),
}


def style_named(style: AugmentStyle | str) -> AugmentStyle:
    """The preset of that name, or the style itself.

    Raises:
        QueryError: There is no preset of that name.
    """
    if isinstance(style, AugmentStyle):
        return style
    if style not in STYLES:
        raise QueryError(f"no augmentation style {style!r} (expected one of {', '.join(STYLES)})")
    return STYLES[style]
