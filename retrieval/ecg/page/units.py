"""Speed and gain of a page: by its grid, its calibration pulses, the length of its rows, and what it says in print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.page.calibration import GAINS_MM_MV, Calibration, find_cut_pulse, find_pulses, marked_pulses
from ecgkin.retrieval.ecg.page.columns import Extent, find_extent, in_step
from ecgkin.retrieval.ecg.page.corrections import Corrections
from ecgkin.retrieval.ecg.page.following import FineInk, Followed, along
from ecgkin.retrieval.ecg.page.roofs import find_roofs
from ecgkin.retrieval.ecg.page.scale import PaperScale
from ecgkin.retrieval.ecg.page.scale_text import PrintedScale
from ecgkin.retrieval.ecg.page.sheet import Sheet
from ecgkin.retrieval.ecg.page.tracks import Tracks

FloatArray = NDArray[np.float64]

_AS_PRINTED = 0.005  # share by which rows of ten seconds may seem longer or shorter on paper that lies flat
_OTHER = 0.25  # log of the ratio of heights


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The paper under the curves.

    Attributes:
        scale: Millimetres at any place of the fine page.
        x_mm: Millimetres of every fine column in each row, (n_rows, w).
        pulse: The calibration pulse.
        extent: Ends of the rows.
    """

    scale: PaperScale
    x_mm: FloatArray
    pulse: Calibration | None
    extent: Extent


@dataclass(frozen=True, slots=True)
class Units:
    """What a millimetre is.

    Attributes:
        speed_mm_s, gain_mm_mv: As known or assumed.
        speed_known, gain_known: Which of the two.
        per_mv: Fine px of a millivolt.
        duration_s: Time that the rows show.
        mm_per_s: Millimetres of the page in a second of it.
    """

    speed_mm_s: float
    speed_known: bool
    gain_mm_mv: float
    gain_known: bool
    per_mv: float
    duration_s: float
    mm_per_s: float


def measure_paper(page: Followed) -> Measured:
    """Scale, pulse and ends of a page's rows.

    Args:
        page: With its curves.
    """
    tracks, scale, box, sheet, ink = page.tracks, page.scale, page.box, page.sheet, page.ink
    area = (float(box[0]), float(box[2]))
    x_mm = along(tracks, scale)
    pulse = _pulse(tracks, x_mm, scale, box, sheet, ink)
    extent = find_extent(tracks, x_mm, scale.px_per_mm[0], pulse, area)
    if scale.found and not scale.certain and (pulse is None or not _most_usual(pulse, scale)):
        # Lines may be 10 mm apart, or 2.5: a pulse as high and as wide as most decides.
        for factor in (0.5, 2.0):
            other = scale.rescaled(factor)
            seen = _pulse(tracks, x_mm / factor, other, box, sheet, ink)
            if seen is not None and seen.rows >= 0.5 * len(x_mm) and _most_usual(seen, other):
                scale, x_mm, pulse = other, x_mm / factor, seen
                extent = find_extent(tracks, x_mm, scale.px_per_mm[0], pulse, area)
                break
    if not scale.found:  # as if the rows were ten seconds long
        per_mm = scale.px_per_mm[0] * extent.length / 250.0
        scale = replace(scale, px_per_mm=(per_mm, per_mm))
        x_mm = along(tracks, scale)
        pulse = _pulse(tracks, x_mm, scale, box, sheet, ink)
        extent = find_extent(tracks, x_mm, per_mm, pulse, area)
    if scale.found and not scale.flat:
        x_mm = in_step(x_mm, tracks.y, scale.px_per_mm[1], extent)
        extent = find_extent(tracks, x_mm, scale.px_per_mm[0], pulse, area)
    return Measured(scale, x_mm, pulse, extent)


def find_units(paper: Measured, known: Corrections, printed: Callable[[], PrintedScale]) -> Units:
    """Speed and gain of a page.

    A calibration pulse tells best; what it does not tell, print may, where a grid tells what a millimetre is.

    Args:
        paper: Its scale, pulse and ends.
        known: What is known of it.
        printed: Reads what it says in print; asked only where that may count.
    """
    scale, pulse, extent = paper.scale, paper.pulse, paper.extent
    gain, gain_known, per_mv = _gain(pulse, scale)
    speed, speed_known = _speed(pulse, scale, extent)
    by_pulse = speed_known and pulse is not None and not pulse.cut
    ask_gain, ask_speed = not gain_known and known.gain_mm_mv is None, not by_pulse and known.speed_mm_s is None
    if scale.found and (ask_gain or ask_speed):
        said = printed()
        if ask_gain and said.gain_mm_mv is not None and not _contradicts(pulse, scale, said.gain_mm_mv):
            gain, gain_known, per_mv = said.gain_mm_mv, True, said.gain_mm_mv * scale.px_per_mm[1]
        if ask_speed and said.speed_mm_s is not None:
            speed, speed_known = said.speed_mm_s, True
    if known.gain_mm_mv is not None:
        gain, gain_known = known.gain_mm_mv, True
        if scale.found or pulse is None:  # a pulse is a millivolt high, whatever a millimetre is
            per_mv = gain * scale.px_per_mm[1]
    if known.speed_mm_s is not None:
        speed, speed_known = known.speed_mm_s, True
    duration = extent.length / speed
    if abs(duration - 10.0) < 0.1 or (not scale.found and known.speed_mm_s is None):
        duration = 10.0
    mm_per_s = extent.length / duration
    if scale.flat and abs(mm_per_s / speed - 1.0) < _AS_PRINTED:
        mm_per_s = speed  # the grid is more exact than the ends of the ink, which reach half a pen farther
    return Units(speed, speed_known, gain, gain_known, per_mv, duration, mm_per_s)


def _contradicts(pulse: Calibration | None, scale: PaperScale, gain: float) -> bool:
    """Whether a whole pulse is clearly of another height than a gain would make it."""
    if pulse is None or pulse.cut:
        return False
    return bool(abs(np.log(pulse.height_px / scale.px_per_mm[1] / gain)) > _OTHER)


def _pulse(
    tracks: Tracks, x_mm: FloatArray, scale: PaperScale, box: tuple[int, int, int, int], sheet: Sheet, ink: FineInk
) -> Calibration | None:
    """The calibration pulse: by its edges, by its roof where the picture cuts it or none else stays, or as the network
    marked it."""
    found = find_pulses(tracks, x_mm, scale.px_per_mm, (float(box[0]), float(box[2])))
    if found is not None and found.rows >= 0.75 * len(x_mm):
        return found
    others = [find_cut_pulse(tracks, x_mm, scale.px_per_mm, scale.found)]
    if sheet.marks is not None and scale.found:
        baselines = np.array(sheet.rows.baselines)
        others.append(marked_pulses(sheet.marks.pulse, baselines, x_mm, scale.px_per_mm, ink.factor))
    if scale.found:
        others.append(find_roofs(ink.darkness, ink.level, tracks, x_mm, scale, (float(box[0]), float(box[2]))))
    for other in others:
        if other is not None and (
            found is None or (other.rows > found.rows and _most_usual(found, scale) <= _most_usual(other, scale))
        ):
            found = other
    return found


def _most_usual(pulse: Calibration, scale: PaperScale) -> bool:
    """Whether a pulse is 10 mm high and, where it is whole, 5 mm wide."""
    tall, wide = pulse.height_px / scale.px_per_mm[1], pulse.right - pulse.left
    return abs(np.log(tall / 10.0)) < 0.1 and (pulse.cut or abs(np.log(wide / 5.0)) < 0.25)


def _gain(pulse: Calibration | None, scale: PaperScale) -> tuple[float, bool, float]:
    """Gain in mm/mV, whether it is known, and px per mV."""
    mm = scale.px_per_mm[1]
    if pulse is None:
        return 10.0, False, 10.0 * mm
    tall = pulse.height_px / mm
    gain = min(GAINS_MM_MV, key=lambda value: abs(np.log(tall / value)))
    if not scale.found:
        return 10.0, False, pulse.height_px
    if abs(np.log(tall / gain)) < 0.12:
        return gain, True, gain * mm
    return 10.0, False, 10.0 * mm


def _speed(pulse: Calibration | None, scale: PaperScale, extent: Extent) -> tuple[float, bool]:
    if not scale.found:
        return 25.0, False
    length = extent.length
    wide = None if pulse is None or pulse.cut else pulse.right - pulse.left
    if wide is not None and wide > 7.5 and length > 400:
        return 50.0, True
    return 25.0, wide is not None or abs(length / 250 - 1) < 0.1
