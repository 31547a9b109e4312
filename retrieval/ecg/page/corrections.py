"""What a person puts right on a page that was misread: layout, lead names, paper speed, gain, corners."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.errors import QueryError

ByteImage = NDArray[np.uint8]
Matrix = NDArray[np.float64]

SPEEDS = (5.0, 200.0)  # mm/s
GAINS = (1.0, 80.0)  # mm/mV
_LAYOUT = re.compile(r"([1-9]|1[0-2])x([1-9])(\+[1-3]R)?\Z")
_ROOM = 0.03  # of each side: curves may end at the very edge of what was outlined
_LEAST_SIDE = 100.0  # px; less holds no page


@dataclass(frozen=True, slots=True)
class Corrections:
    """What is known of a page better than its reading would say; None and empty where the reading is to find it.

    Attributes:
        layout: "3x4+1R", "6x2", "12x1" ...: rows x columns of leads, and rhythm strips.
        leads: What was read -> what stands there; each lead at most once on either side, two that are swapped both
            ways.
        speed_mm_s: Paper speed.
        gain_mm_mv: Height of a millivolt.
        corners: Of the part of the picture to read, px, (x, y) of top left, top right, bottom right, bottom left.

    Raises:
        QueryError: A value is none of these, or two leads would be called the same.
    """

    layout: str | None = None
    leads: Mapping[str, str] = field(default_factory=dict)
    speed_mm_s: float | None = None
    gain_mm_mv: float | None = None
    corners: tuple[tuple[float, float], ...] | None = None

    def __post_init__(self) -> None:
        if self.layout is not None and not _LAYOUT.match(self.layout):
            raise QueryError(f"layout is {self.layout!r:.40} (expected such as 3x4, 3x4+1R, 6x2 or 12x1)")
        for name, value, (low, high), unit in (
            ("speed", self.speed_mm_s, SPEEDS, "mm/s"), ("gain", self.gain_mm_mv, GAINS, "mm/mV")
        ):  # fmt: skip
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                raise QueryError(f"{name} is {value} {unit} (expected {low:g} to {high:g})")
        names = [*self.leads, *self.leads.values()]
        if unknown := [name for name in names if name not in LEADS]:
            raise QueryError(f"lead is {unknown[0]!r:.20} (expected one of {', '.join(LEADS)})")
        if set(self.leads) != set(self.leads.values()):
            raise QueryError(
                "two leads would have one name, or one would be missing",
                hint="name both of two leads that are swapped: V1 -> V2 and V2 -> V1",
            )
        if self.corners is not None:
            object.__setattr__(self, "corners", _checked_corners(self.corners))

    def __bool__(self) -> bool:
        """Whether there is anything to put right."""
        return self != Corrections()

    def called(self, lead: str) -> str:
        """What a lead that was read is called."""
        return self.leads.get(lead, lead)

    def read_as(self, lead: str) -> str:
        """By which name a lead was read."""
        return next((was for was, now in self.leads.items() if now == lead), lead)

    def cut(self, rgb: ByteImage) -> tuple[ByteImage, Matrix | None]:
        """The part of a picture to read, straightened, and the homography from the picture's px to its px.

        Args:
            rgb: uint8 (h, w, 3).

        Returns:
            The picture itself and None where no corners are given.

        Raises:
            QueryError: The corners lie outside of the picture.
        """
        if self.corners is None:
            return rgb, None
        height, width = rgb.shape[:2]
        quad = np.array(self.corners, dtype=np.float64)
        if quad.min() < -0.5 or quad[:, 0].max() > width + 0.5 or quad[:, 1].max() > height + 0.5:
            raise QueryError(f"a corner lies outside of the picture (it has {width} x {height} px)")
        sides = np.linalg.norm(np.roll(quad, -1, axis=0) - quad, axis=1)
        wide, tall = float(max(sides[0], sides[2])), float(max(sides[1], sides[3]))
        room = (_ROOM * wide, _ROOM * tall)
        size = (round(wide + 2 * room[0]), round(tall + 2 * room[1]))
        left, top, right, bottom = room[0], room[1], room[0] + wide, room[1] + tall
        target = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
        onto = cv2.getPerspectiveTransform(quad.astype(np.float32), target.astype(np.float32))
        part = cv2.warpPerspective(rgb, onto, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(part, dtype=np.uint8), np.asarray(onto, dtype=np.float64)


def _checked_corners(corners: Sequence[Sequence[float]]) -> tuple[tuple[float, float], ...]:
    try:
        quad = np.array(corners, dtype=np.float64)
    except (TypeError, ValueError):
        quad = np.empty(0)
    if quad.shape != (4, 2) or not np.isfinite(quad).all():
        raise QueryError(
            "corners are not four pairs of numbers (expected x and y of top left, top right, bottom right and bottom "
            "left, px)"
        )
    sides = np.roll(quad, -1, axis=0) - quad
    turns = sides[:, 0] * np.roll(sides[:, 1], -1) - sides[:, 1] * np.roll(sides[:, 0], -1)
    if not (turns > 0).all() or np.linalg.norm(sides, axis=1).min() < _LEAST_SIDE:
        raise QueryError(
            "the corners do not outline a page (expected top left, top right, bottom right, bottom left, "
            f"{_LEAST_SIDE:.0f} px or more apart)"
        )
    return tuple((float(x), float(y)) for x, y in quad)
