"""What becomes of a picture: the grid it is cut into, the tiles, the visual tokens, and the page size that costs least.

The rules are those of the original code ("anyres"), not of transformers where the two differ. Sizes are pixels;
`resolution` and `pinpoints` are (width, height), as in the original config.json.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ecgkin.generation.backends.pulse.names import FLAT, MERGE_TYPES
from ecgkin.retrieval.errors import ImageError, ModelError

Size = tuple[int, int]


@dataclass(frozen=True)
class TileRule:
    """How a checkpoint cuts pictures.

    Attributes:
        tile_px: Side of a square tile (336 for PULSE-7B).
        patch_px: Side of one patch inside a tile (14 for PULSE-7B).
        pinpoints_wh: Resolutions to choose from, (width, height), in the order of config.json: ties go to the first.
        merge: `flat` or `spatial_unpad`.
    """

    tile_px: int
    patch_px: int
    pinpoints_wh: tuple[Size, ...]
    merge: str

    def __post_init__(self) -> None:
        if self.merge not in MERGE_TYPES:
            raise ModelError(
                f"unknown merge type {self.merge!r} (known: {', '.join(MERGE_TYPES)})",
                hint="read mm_patch_merge_type in the checkpoint's config.json",
            )
        if self.tile_px <= 0 or self.patch_px <= 0 or self.tile_px % self.patch_px:
            raise ModelError(f"tiles of {self.tile_px} px cannot be cut into patches of {self.patch_px} px")
        if not self.pinpoints_wh:
            raise ModelError("no resolutions to choose from: image_grid_pinpoints is empty")
        for width, height in self.pinpoints_wh:
            if width <= 0 or height <= 0 or width % self.tile_px or height % self.tile_px:
                raise ModelError(f"resolution {width}x{height} is not made of whole tiles of {self.tile_px} px")

    @property
    def patches_per_side(self) -> int:
        """Patches along one side of a tile (24 for PULSE-7B)."""
        return self.tile_px // self.patch_px

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {
            "tile_px": self.tile_px,
            "patch_px": self.patch_px,
            "pinpoints_wh": [list(p) for p in self.pinpoints_wh],
            "merge": self.merge,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TileRule:
        """Read what `to_dict` wrote.

        Raises:
            ModelError: A value is missing or of the wrong kind.
        """
        try:
            pinpoints = tuple((int(w), int(h)) for w, h in values["pinpoints_wh"])
            return cls(int(values["tile_px"]), int(values["patch_px"]), pinpoints, str(values["merge"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"the tile rule cannot be read: {error!r}") from error


def choose_resolution(width: int, height: int, pinpoints_wh: tuple[Size, ...]) -> Size:
    """The resolution (width, height) a picture is fitted into: most picture area first, then least waste.

    Scaled sides are truncated, the area counted is never larger than the picture's own, and ties keep the first entry.

    Args:
        width: Of the picture, pixels.
        height: Of the picture, pixels.
        pinpoints_wh: Resolutions to choose from, (width, height).

    Returns:
        One of them.

    >>> choose_resolution(2200, 1700, ((336, 672), (672, 336), (672, 672)))
    (672, 672)
    """
    if width < 1 or height < 1:
        raise ImageError(f"a picture of {width}x{height} px has no area")
    best, best_area, best_waste = pinpoints_wh[0], 0, math.inf
    for target_w, target_h in pinpoints_wh:
        scale = min(target_w / width, target_h / height)
        area = min(int(width * scale) * int(height * scale), width * height)
        waste = target_w * target_h - area
        if area > best_area or (area == best_area and waste < best_waste):
            best, best_area, best_waste = (target_w, target_h), area, waste
    return best


def fitted_size(width: int, height: int, resolution: Size) -> Size:
    """Size (width, height) of a picture scaled into `resolution`: one side fills it, the other is rounded up.

    Args:
        width: Of the picture, pixels.
        height: Of the picture, pixels.
        resolution: (width, height) that it is fitted into.

    Returns:
        (width, height), pixels.
    """
    target_w, target_h = resolution
    scale_w, scale_h = target_w / width, target_h / height
    if scale_w < scale_h:
        return target_w, min(math.ceil(height * scale_w), target_h)
    return min(math.ceil(width * scale_h), target_w), target_h


def cut_borders(width: int, height: int, columns: int, rows: int) -> Size:
    """How many (columns, rows) of a map are dropped at EACH end, because they show only the black border.

    Truncation as in the original code; transformers rounds to seven digits before truncating and so keeps another
    number of rows in rare sizes (376x47 on a 24x8 map, 2768x2249 on 48x48).

    Args:
        width: Of the picture, pixels.
        height: Of the picture, pixels.
        columns: Of the map of patches.
        rows: Of the map of patches.

    Returns:
        Columns and rows to drop at each end.
    """
    if width / height > columns / rows:
        keep = int(height * (columns / width))
        return 0, (rows - keep) // 2
    keep = int(width * (rows / height))
    return (columns - keep) // 2, 0


def tile_count(width: int, height: int, rule: TileRule) -> int:
    """Tiles of a picture, the overview included.

    Args:
        width: Of the picture, pixels.
        height: Of the picture, pixels.
        rule: Of the checkpoint.

    Returns:
        1 and more.
    """
    target_w, target_h = choose_resolution(width, height, rule.pinpoints_wh)
    return 1 + (target_w // rule.tile_px) * (target_h // rule.tile_px)


def image_tokens(width: int, height: int, rule: TileRule) -> int:
    """Visual tokens that a picture of this size costs.

    Args:
        width: Of the picture, pixels.
        height: Of the picture, pixels.
        rule: Of the checkpoint.

    Returns:
        Tokens in the language model's context.

    >>> rule = TileRule(336, 14, ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008)), "flat")
    >>> image_tokens(2200, 1700, rule), image_tokens(2200, 1100, rule)
    (2880, 1728)
    """
    side = rule.patches_per_side
    if rule.merge == FLAT:
        return side * side * tile_count(width, height, rule)
    target_w, target_h = choose_resolution(width, height, rule.pinpoints_wh)
    columns, rows = side * (target_w // rule.tile_px), side * (target_h // rule.tile_px)
    cut_columns, cut_rows = cut_borders(width, height, columns, rows)
    return side * side + (rows - 2 * cut_rows) * (columns - 2 * cut_columns + 1)


def pulse_page_size(width: int = 2200) -> Size:
    """Size (width, height) of a page for PULSE: exactly 2:1.

    Only exactly 2:1 is cut into 2x1 tiles; one pixel row more costs 2x2 tiles, one less 3x1 (with 576 patches a tile:
    1,728 visual tokens instead of 2,880 or 2,304).

    Raises:
        ImageError: `width` is odd or not positive, so that no height makes it 2:1.
    """
    if width < 2 or width % 2:
        raise ImageError(f"no page of exactly 2:1 is {width} px wide", hint="take an even width, 2200 for example")
    return width, width // 2


def cut_tiles(image: Image.Image, rule: TileRule) -> list[Image.Image]:
    """The pictures of `tile_px` x `tile_px` px that a model of this rule sees: the overview, then tiles row by row.

    For servers: a `flat` checkpoint behind a LLaVA-1.5 class reads them as so many pictures in a row, with the same
    result as the original code.

    Args:
        image: Any size and mode.
        rule: Of the checkpoint.

    Returns:
        RGB pictures of one size.
    """
    picture = image.convert("RGB")
    side = rule.tile_px
    resolution = choose_resolution(picture.width, picture.height, rule.pinpoints_wh)
    fitted = picture.resize(fitted_size(picture.width, picture.height, resolution), Image.Resampling.BICUBIC)
    canvas = Image.new("RGB", resolution)
    canvas.paste(fitted, ((resolution[0] - fitted.width) // 2, (resolution[1] - fitted.height) // 2))
    tiles = [picture.resize((side, side), Image.Resampling.BICUBIC)]
    for top in range(0, resolution[1], side):
        for left in range(0, resolution[0], side):
            tiles.append(canvas.crop((left, top, left + side, top + side)))
    return tiles
