"""A printed ECG as signals: what `digitize` gives back, with where on the page and in the picture it was read."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.reading import PageReading
from ecgkin.retrieval.ecg.page.sheet import FineSheet, Sheet
from ecgkin.retrieval.ecg.page.tracks import Tracks
from ecgkin.retrieval.ecg.record import EcgRecord

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stretch:
    """One lead printed in one place.

    Attributes:
        lead: Standard name; `sign` is -1 where it is printed upside down (-aVR).
        row: Row of the page, from 0.
        left, right: Its columns on the fine page, px.
        start_s, length_s: Its place in time.
        strip: Whether it is a rhythm strip.
    """

    lead: str
    sign: int
    row: int
    left: float
    right: float
    start_s: float
    length_s: float
    strip: bool


@dataclass(frozen=True, slots=True, eq=False)
class Digitized:
    """A printed ECG as signals.

    Attributes:
        record: Leads in standard order at 500 Hz over the time that the page shows, mV, NaN where it shows nothing.
        page: What was understood of the page.
        confidence: For each lead of the record how sure its curve is, 0 to 1.
        einthoven_db: How well the limb leads fulfil Einthoven's and Goldberger's laws; None where that cannot be
            tested.
        stretches: Where on the page each lead was read.
        curves: The rows' curves as they were followed, on the straightened page.
        fine: The straightened page on which they were followed.
        sheet: How it lies in the picture, turned counter-clockwise by `turns` quarters.
        cut: Homography from the picture's px to those of the part that was read (`Corrections.corners`); None for all.
    """

    record: EcgRecord
    page: PageReading
    confidence: dict[str, float]
    einthoven_db: float | None
    stretches: tuple[Stretch, ...]
    curves: Tracks
    fine: FineSheet
    sheet: Sheet
    turns: int
    cut: NDArray[np.float64] | None = None

    def on_picture(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Places of the straightened fine page in the picture that was given, (n, 2), px.

        Args:
            x, y: Fine px.
        """
        factor = self.fine.factor
        column, line = (x + 0.5) / factor - 0.5, (y + 0.5) / factor - 0.5
        out = self.sheet.in_picture(column, line)
        tall, wide = self.sheet.rgb.shape[:2]
        for _ in range(self.turns):
            # One quarter turn back: column x of the picture had become row (its width - 1 - x).
            out = np.stack([tall - 1 - out[:, 1], out[:, 0]], axis=1)
            tall, wide = wide, tall
        if self.cut is not None:
            out = np.asarray(cv2.perspectiveTransform(out[None], np.linalg.inv(self.cut))[0], dtype=np.float64)
        return out


def moved_back(found: Digitized, cut: FloatArray) -> Digitized:
    """What was read of a part of a picture, with its places in the whole picture.

    Args:
        found: Of the part.
        cut: Homography from the picture's px to those of the part.
    """
    return replace(found, cut=cut, page=page_moved_back(found.page, cut))


def page_moved_back(page: PageReading, cut: FloatArray) -> PageReading:
    """`moved_back` of what was understood of the page."""
    corners = cv2.perspectiveTransform(page.corners[None], np.linalg.inv(cut))[0]
    return replace(page, corners=np.asarray(corners, dtype=np.float64))
