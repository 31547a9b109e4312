"""What a page says of its own scale in print: "25 mm/s", "10 mm/mV", "1 cm/mV".

The network for pages marks print; what lies in one line is cut out of the picture and read letter by letter. Only whole
statements of usual speeds and gains count, each of whose letters is sure, and none where two contradict each other.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.network.letters import ReadLine, cut_line
from ecgkin.retrieval.ecg.page.network.segment import read_lines
from ecgkin.retrieval.ecg.page.pieces import page_side
from ecgkin.retrieval.ecg.page.sheet import Sheet
from ecgkin.retrieval.errors import WeightsMissingError

_LOG = logging.getLogger(__name__)

ByteImage = NDArray[np.uint8]

SPEEDS_MM_S = (5.0, 6.25, 10.0, 12.5, 25.0, 50.0, 100.0)
GAINS_MM_MV = (2.5, 5.0, 10.0, 20.0, 40.0)
_SURE = 0.85  # the least sure letter of a statement
_PRINT = 110  # of 255
_HEIGHTS = (0.005, 0.045)  # of the page's side: lines of print
_LEAST_LONG = 2.2  # heights of a line
_GAP = 0.012  # of the page's side: between words of one line
_THIN = 0.2  # of a block's widest line of px: what parts its lines of print
_MOST_LINES = 48
# No part of a number, be it one that was read with a blank in it.
_NUMBER = r"(?<![\d.:/-])(?<!\d )(?<!\d\. )(\d{1,3}(?:\.\d{1,2})?) ?"
_SPEED = re.compile(_NUMBER + r"mm ?/ ?s(?:ec|eg|ek|n)?(?![a-z0-9])")
_GAIN = re.compile(_NUMBER + r"(mm|cm) ?/ ?mv(?:olt)?(?![a-z0-9])")


@dataclass(frozen=True, slots=True)
class PrintedScale:
    """What a page says of its scale.

    Attributes:
        speed_mm_s: Paper speed, None where it says none or two.
        gain_mm_mv: Millimetres a millivolt, None likewise.
    """

    speed_mm_s: float | None = None
    gain_mm_mv: float | None = None


def printed_scale(sheet: Sheet) -> PrintedScale:
    """Speed and gain as a page names them.

    Args:
        sheet: The page, with what the network marked on it.
    """
    cuts = []
    for left, top, right, bottom in lines_of_print(sheet):
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=np.float64)
        # Edges of pixels on the page, where `in_picture` takes their middles.
        cut = cut_line(sheet.rgb, sheet.in_picture(corners[:, 0] - 0.5, corners[:, 1] - 0.5) + 0.5)
        if cut is not None:
            cuts.append(cut)
    try:
        return stated_scale(read_lines(cuts))
    except WeightsMissingError as error:  # a folder of weights of one's own may be without those for letters
        _LOG.info("print is not read: %s", error)
        return PrintedScale()


def stated_scale(lines: Iterable[ReadLine]) -> PrintedScale:
    """The speed and the gain that lines of print agree on.

    Args:
        lines: As they were read.
    """
    speeds: list[tuple[float, bool]] = []
    gains: list[tuple[float, bool]] = []
    for line in lines:
        for found in _SPEED.finditer(line.text):
            speeds.append((float(found[1]), _sure(line, found)))
        for found in _GAIN.finditer(line.text):
            gains.append((float(found[1]) * (10.0 if found[2] == "cm" else 1.0), _sure(line, found)))
    return PrintedScale(_agreed(speeds, SPEEDS_MM_S), _agreed(gains, GAINS_MM_MV))


def _sure(line: ReadLine, found: re.Match[str]) -> bool:
    return min(line.sure[found.start() : found.end()]) >= _SURE


def _agreed(stated: list[tuple[float, bool]], usual: tuple[float, ...]) -> float | None:
    """The one usual value that is stated surely, unless another is stated as well, be it less surely."""
    values = {value for value, _ in stated if value in usual}
    sure = {value for value, certain in stated if certain and value in usual}
    return sure.pop() if len(values) == 1 and sure else None


def lines_of_print(sheet: Sheet) -> list[tuple[int, int, int, int]]:
    """Boxes of lines of print: left, top, right, bottom (exclusive), working px; those near the page's edges first.

    Args:
        sheet: The page, with what the network marked on it.
    """
    if sheet.marks is None:
        return []
    side = page_side(sheet.shape)
    mask = cv2.threshold(sheet.marks.text, _PRINT, 255, cv2.THRESH_BINARY)[1]
    gap = 2 * round(0.5 * _GAP * side) + 1
    joined = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((1, gap), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8, ltype=cv2.CV_32S)
    least, most = (share * side for share in _HEIGHTS)
    found: list[tuple[int, int, int, int]] = []
    for number, (left, top, wide, tall, _) in enumerate(stats[1:count].tolist(), 1):
        if wide < _LEAST_LONG * least or tall < least:
            continue
        ink = mask[top : top + tall, left : left + wide] * (labels[top : top + tall, left : left + wide] == number)
        for first, last in _bands((ink > 0).sum(axis=1), least):
            if least <= last - first <= most:
                columns = np.flatnonzero(ink[first:last].any(axis=0))
                box = left + int(columns[0]), top + first, left + int(columns[-1]) + 1, top + last
                if box[2] - box[0] >= _LEAST_LONG * (last - first):
                    found.append(box)
    middle = sheet.shape[0] / 2
    found.sort(key=lambda box: -abs((box[1] + box[3]) / 2 - middle))
    return found[:_MOST_LINES]


def _bands(ink: NDArray[np.int64], least: float) -> list[tuple[int, int]]:
    """First and last row (exclusive) of the lines of print in a block, by the ink in each of its rows of pixels."""
    dense = np.concatenate([[False], ink > _THIN * ink.max(), [False]])
    edges = np.flatnonzero(np.diff(dense.astype(np.int8))).reshape(-1, 2)
    return [(int(a), int(b)) for a, b in edges if b - a >= least]
