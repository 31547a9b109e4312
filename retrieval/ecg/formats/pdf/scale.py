"""How large a millimetre, a second and a millivolt are on a drawn PDF page: by its words, its grid and its pulses.

A page is often printed "to fit", so that a point of the file is not 1/72 inch of the paper that was recorded. The grid
or the calibration pulse says what a millimetre is; words say speed and gain. Where two of them are there they must
agree; where they do not, or where one is missing that nothing else says, the page is not read as numbers.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.formats.pdf.drawing import MM_PER_POINT, Drawing, Line, Points
from ecgkin.retrieval.ecg.leads import CHEST_LEADS
from ecgkin.retrieval.errors import RecordError

_SPEED = re.compile(r"(\d+(?:[.,]\d+)?)\s*mm\s*/\s*s(?:ec)?\b", re.IGNORECASE)
_GAIN = re.compile(
    r"(?:\b(limb|chest|precordial|extremit\w*|brust\w*)\W{0,3})?(\d+(?:[.,]\d+)?)\s*mm\s*/\s*mV\b", re.IGNORECASE
)
_SPEEDS = (5.0, 10.0, 12.5, 25.0, 50.0, 100.0)
_GAINS = (2.5, 5.0, 10.0, 20.0, 40.0)
# Grid lines and pulses are drawn to a tenth of a millimetre at best.
_AGREE = 0.04
_LEAST_LINES = 8  # of one kind, before their distance counts as a grid's
_EVEN = 0.8  # share of distances that must be the usual one: a border or a frame lies between
_PULSE_POINTS = 200  # at most so many at the beginning of a line belong to its pulse
_PULSE_S, _PULSE_MM = 0.2, 5.0  # width of a pulse: some machines keep the time at 50 mm/s, others the length


@dataclass(frozen=True, slots=True)
class Pulse:
    """A calibration pulse: place and size in points; `n_points` of the line belong to it."""

    x: float
    base_y: float
    width: float
    height: float
    n_points: int


@dataclass(frozen=True, slots=True)
class Scale:
    """What lengths on the page mean.

    Attributes:
        points_per_mm: Points of the file for a millimetre of the recorded paper.
        speed_mm_s: Paper speed.
        gain_limb, gain_chest: Millimetres a millivolt.
        said: Where this comes from, in words.
    """

    points_per_mm: float
    speed_mm_s: float
    gain_limb: float
    gain_chest: float
    said: str

    def gain_of(self, lead: str) -> float:
        """mm per mV of one lead."""
        return self.gain_chest if lead in CHEST_LEADS else self.gain_limb


def stated(text: str, where: str) -> tuple[float | None, tuple[float, float] | None]:
    """Speed and the gains of limb and chest leads as the page writes them; None where it does not.

    Args:
        text: All that is written on the page.
        where: What to call it in messages.

    Returns:
        Speed in mm/s, and gains of limb and chest leads in mm/mV; None for what is not said.

    Raises:
        RecordError: It says two that cannot both be true, or one that no machine has.

    >>> stated("25 mm/s   limb 10 mm/mV   chest 5 mm/mV", "a.pdf")
    (25.0, (10.0, 5.0))
    >>> stated("Geschw.: 50mm/sec  10,0 mm/mV", "a.pdf")
    (50.0, (10.0, 10.0))
    """
    speeds = {float(found.replace(",", ".")) for found in _SPEED.findall(text)}
    gains = {(name.lower()[:4], float(value.replace(",", "."))) for name, value in _GAIN.findall(text)}
    if len(speeds) > 1 or not speeds <= set(_SPEEDS):
        raise RecordError(f"{where}: paper speed is {sorted(speeds)} mm/s (expected one of {_SPEEDS})")
    speed = speeds.pop() if speeds else None
    values = {value for _, value in gains}
    if not values <= set(_GAINS):
        raise RecordError(f"{where}: gain is {sorted(values)} mm/mV (expected {_GAINS})")
    if not values:
        return speed, None
    limb = {value for name, value in gains if name in ("limb", "extr")}
    chest = {value for name, value in gains if name in ("ches", "prec", "brus")}
    if len(values) > 1 and (len(limb) != 1 or len(chest) != 1):
        raise RecordError(f"{where}: gain is {sorted(values)} mm/mV, and not said for which leads")
    one = next(iter(values))
    return speed, (limb.pop() if len(limb) == 1 else one, chest.pop() if len(chest) == 1 else one)


def pulse_at_start(points: Points) -> Pulse | None:
    """The rectangular pulse that a line is or begins with; None where it begins with anything else."""
    some = points[:_PULSE_POINTS]
    if len(some) < 4:
        return None
    x, y = some[:, 0], some[:, 1]
    if len(points) > len(some):  # the pulse ends where the first complexes begin
        some = some[x <= x[0] + 0.1 * (points[-1, 0] - x[0])]
        if len(some) < 4:
            return None
        x, y = some[:, 0], some[:, 1]
    top = float(y.min())
    height = float(y[0]) - top
    if height <= 0:
        return None
    near = 0.04 * height
    at_top = np.flatnonzero(y - top <= near)
    first = last = int(at_top[0])
    while last + 1 < len(y) and y[last + 1] - top <= near:
        last += 1
    before = np.flatnonzero(np.abs(y[:first] - y[0]) <= near)
    after = np.flatnonzero(np.abs(y[last + 1 :] - y[0]) <= near)
    if not before.size or not after.size or last == first:
        return None
    up, down = int(before[-1]), last + 1 + int(after[0])
    width = float(x[last] + x[down] - x[up] - x[first]) / 2
    steep = max(x[first] - x[up], x[down] - x[last]) <= 0.2 * max(width, 1e-9)
    if not steep or (np.abs(y[: up + 1] - y[0]) > near).any() or not 0.1 <= width / height <= 2.5:
        return None
    end = down
    # The straight line behind it; what comes in small steps are samples already.
    while end + 1 < len(y) and abs(float(y[end + 1] - y[0])) <= near and x[end + 1] - x[end] > 0.15 * width:
        end += 1
    return Pulse(float(x[0]), float(y[0]), width, height, end + 1)


def grid_pitches(lines: Sequence[Line]) -> list[float]:
    """Distances of evenly spaced straight lines of one kind (points), ascending; both directions must agree."""
    places: dict[tuple[bool, tuple[int, int, int, float]], list[float]] = defaultdict(list)
    for line in lines:
        if len(line.points) != 2:
            continue
        dx, dy = np.abs(line.points[1] - line.points[0]).tolist()
        if min(dx, dy) <= 0.01 * max(dx, dy) and max(dx, dy) >= 20:
            upright = dy > dx
            places[upright, line.style].append(float(line.points[0, 0 if upright else 1]))
    found: dict[bool, list[float]] = {True: [], False: []}
    for (upright, _), values in places.items():
        pitch = _even(np.array(values))
        if pitch is not None:
            found[upright].append(pitch)
    if not found[True] or not found[False]:
        return sorted(set(found[True] + found[False]))
    return sorted(a for a in found[True] if any(abs(a - b) <= _AGREE * a for b in found[False]))


def _even(values: NDArray[np.float64]) -> float | None:
    values = np.sort(values)
    steps = np.diff(values[np.concatenate(([True], np.diff(values) > 0.1))])
    if len(steps) < _LEAST_LINES - 1:
        return None
    pitch = float(np.median(steps))
    even = np.abs(steps - pitch) <= _AGREE * pitch
    # Every fifth line may be missing, because it is drawn as a thick one.
    doubled = np.abs(steps - 2 * pitch) <= _AGREE * pitch
    return float(steps[even].mean()) if (even | doubled).mean() >= _EVEN else None


def scale_of(drawing: Drawing, pulses: Sequence[Pulse], where: str) -> Scale:
    """Millimetres, seconds and millivolts of a page.

    Args:
        drawing: The page.
        pulses: Its calibration pulses.
        where: What to call it in messages.

    Returns:
        Points a millimetre, speed, gains, and where they come from.

    Raises:
        RecordError: Speed or gain is not said, neither grid nor pulse says what a millimetre is, or they contradict
            each other.
    """
    speed, gains = stated(drawing.text, where)
    if speed is None or gains is None:
        missing = " and ".join(
            name for name, value in (("speed in mm/s", speed), ("gain in mm/mV", gains)) if value is None
        )
        raise RecordError(f"{where}: the page does not say its {missing}")
    heights = np.array([pulse.height for pulse in pulses])
    allowed = _by_grid(grid_pitches(drawing.lines))
    by_pulse = None
    if heights.size:
        expected = {gain: heights / gain for gain in set(gains)}
        # With two gains each row's pulse has one of two heights; the larger ones belong to the larger gain.
        by_pulse = float(np.median(expected[max(gains)][heights >= 0.9 * heights.max()]))
    if by_pulse is None and allowed is None:
        raise RecordError(f"{where}: neither a grid nor a calibration pulse says how long a millimetre is")
    if by_pulse is None and allowed is not None and len(allowed) > 1:
        raise RecordError(f"{where}: it cannot be told whether the grid's lines are 1 mm or 5 mm apart")
    if allowed is None and by_pulse is not None:
        found = pulses[int(heights.argmax())].width / by_pulse
        if not any(abs(found - mm) <= 0.1 * mm for mm in (_PULSE_S * speed, _PULSE_MM)):
            raise RecordError(
                f"{where}: the calibration pulse is {found:.1f} mm wide at {speed:g} mm/s (expected 5 mm)"
            )
        millimetre, by = by_pulse, ""
    elif allowed is not None:
        millimetre = min(allowed, key=lambda p: abs(p - (by_pulse or p)))
        by = "grid"
        if by_pulse is not None and abs(millimetre - by_pulse) > _AGREE * by_pulse:
            raise RecordError(
                f"{where}: by the grid the calibration pulse is {by_pulse * max(gains) / millimetre:.1f} mm high, "
                f"the page says {max(gains):g} mm/mV"
            )
    kinds = [name for name in (by, f"{len(pulses)} calibration pulse(s)" if by_pulse is not None else "") if name]
    written = f"{gains[0]:g} mm/mV" if gains[0] == gains[1] else f"{gains[0]:g} (limb) and {gains[1]:g} mm/mV (chest)"
    said = f"{speed:g} mm/s, {written}; 1 mm is {millimetre:.4g} points by {' and '.join(kinds)}"
    return Scale(float(millimetre), speed, *gains, said)


def _by_grid(pitches: Sequence[float]) -> list[float] | None:
    """Points a millimetre that the lines allow: one where there are thin and thick ones, or where the paper has its
    true size, otherwise two."""
    for small in pitches:
        if any(abs(large / small - 5) <= 5 * _AGREE for large in pitches):
            return [small]
    if not pitches:
        return None
    pitch = pitches[0]
    true = [pitch / mm for mm in (1, 5) if abs(pitch / mm * MM_PER_POINT - 1) <= _AGREE]
    return true or [pitch, pitch / 5]
