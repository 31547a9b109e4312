"""What digitising needs of a page and the network says nothing about: made while the network still looks at it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ecgkin.retrieval.ecg.page.scale import PaperScale, paper_scale
from ecgkin.retrieval.ecg.page.sheet import FineSheet, Sheet, fine_sheet, upright_sheet

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A page ready to have its curves followed.

    Attributes:
        sheet: The page with its upright lines upright.
        fine: Its fine picture.
        scale: Millimetres of its paper, within the ends of its rows.
    """

    sheet: Sheet
    fine: FineSheet
    scale: PaperScale


def prepare(sheet: Sheet) -> Prepared:
    """A page made ready.

    Args:
        sheet: As it was found.
    """
    upright = upright_sheet(sheet)
    fine = fine_sheet(upright)
    box = fine_box(upright, fine, (upright.rows.left, upright.rows.right))
    return Prepared(upright, fine, scale_within(upright, fine, box))


def fine_box(sheet: Sheet, fine: FineSheet, ends: tuple[int, int]) -> Box:
    """Left, top, right, bottom of the traces on the fine page.

    Args:
        sheet: The page.
        fine: Its fine picture.
        ends: First and last column (exclusive) of the traces, working px.
    """
    height, width = fine.darkness.shape
    k = fine.factor
    return (
        max(0, round(ends[0] * k)), max(0, round(sheet.rows.top * k)),
        min(width, round(ends[1] * k)), min(height, round(sheet.rows.bottom * k)),
    )  # fmt: skip


def scale_within(sheet: Sheet, fine: FineSheet, box: Box) -> PaperScale:
    """The scale of a page by the grid in a part of it.

    Args:
        sheet: The page.
        fine: Its fine picture.
        box: Left, top, right, bottom of the part, fine px.
    """
    size = (fine.darkness.shape[1], fine.darkness.shape[0])
    thick = cv2.dilate(sheet.rows.solid, np.ones((3, 3), np.uint8))
    drawn = cv2.resize(thick, size, interpolation=cv2.INTER_NEAREST)
    return paper_scale(fine.lines, np.asarray(drawn, dtype=np.uint8), box)
