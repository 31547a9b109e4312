"""Millimetres of the paper, from the lines of its grid.

A grid prints lines every 5 mm, mostly every 1 mm as well. Their period is found as a comb in the spectrum of the page's
profiles; then the phase of the comb is followed over the page, so that a page that curls or was seen at an angle gets
its own millimetres everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

ByteImage = NDArray[np.uint8]
FloatArray = NDArray[np.float64]

BANDS = (6, 16)  # of upright and of level lines, each with its own profile
LEAST_PERIOD = 3.0  # px
_ALL_OVER = 0.985  # share of the page's windows that agree with a field of lines on paper that lies well
LEAST_COMB = 0.7  # log of the teeth's level over that between them


@dataclass(frozen=True, slots=True)
class Comb:
    """The lines of a grid in one direction.

    Attributes:
        period: Distance of its lines, px: of the strong ones where every fifth is stronger.
        fifth: Whether every fifth line is stronger (the period is 5 mm), None where lines are all alike.
        strength: Level of the teeth over that between them.
    """

    period: float
    fifth: bool | None
    strength: float


def profiles(lines: ByteImage, trace: ByteImage, axis: int, bands: int) -> tuple[FloatArray, FloatArray]:
    """Mean darkness of the paper along lines of pixels, band by band.

    Args:
        lines: Darkness of everything drawn, (h, w).
        trace: Not 0 where traces and print are, which are left out, (h, w).
        axis: 0 for profiles over x (upright lines), 1 for profiles over y.
        bands: How many profiles.

    Returns:
        Profiles less their local mean, (bands, n), and the middle of each band across, px.
    """
    height, width = lines.shape if axis == 0 else lines.shape[::-1]
    free = cv2.threshold(trace, 0, 255, cv2.THRESH_BINARY_INV)[1]
    quiet = cv2.bitwise_and(np.minimum(lines, np.uint8(160)), free)
    edges = np.linspace(0, height, bands + 1).astype(int)
    out = np.zeros((bands, width))
    for band in range(bands):
        part = slice(edges[band], edges[band + 1])
        total, count = (
            cv2.reduce(plane[part] if axis == 0 else plane[:, part], axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel()
            for plane in (quiet, free)
        )
        out[band] = total / np.maximum(count / 255.0, 0.05 * (part.stop - part.start))
    smooth = cv2.blur(out.astype(np.float32), (2 * (width // 40) + 1, 1), borderType=cv2.BORDER_REFLECT)
    out -= smooth
    # One dark stroke must not outweigh a hundred pale lines.
    limit = 1.5 * np.percentile(np.abs(out), 96, axis=1, keepdims=True) + 1e-6
    return np.clip(out, -limit, limit), (edges[:-1] + edges[1:]) / 2


def find_comb(profile: FloatArray, longest: float, near: float | None = None) -> Comb | None:
    """The comb of lines in the profiles, or None where there is none.

    Args:
        profile: Shape (bands, n).
        longest: Largest period that is looked for, px.
        near: Period that the lines of the other direction have: looked for within 15 % of it only.

    Returns:
        Period and phase, px, or None.
    """
    n = profile.shape[1]
    size = 4 * (1 << (n - 1).bit_length())
    power = np.abs(np.fft.rfft(profile * np.hanning(n)[None, :], size, axis=1))
    norm = np.median(power, axis=1, keepdims=True)
    spectrum = (power / np.maximum(norm, 1e-9)).mean(axis=0)
    # Level of the spectrum about each frequency, without its peaks.
    wide = max(9, 2 * (size // n) * 6 + 1)
    coarse = spectrum[::4].astype(np.float32)
    level = cv2.blur(np.minimum(coarse, np.float32(2 * np.median(coarse))).reshape(1, -1), (wide, 1)).ravel()
    level = np.repeat(level, 4)[: spectrum.size]
    white = spectrum / np.maximum(level, 1e-9)
    tallest = cv2.dilate(white.astype(np.float32).reshape(1, -1), np.ones((1, 2 * (size // n) // 2 + 1)))
    peak = np.asarray(tallest, dtype=np.float64).ravel()
    # The strongest line of the spectrum is a tooth of the comb: its first to fifth.
    first, last = int(np.ceil(size / longest)), int(size / LEAST_PERIOD)
    if last - first < 8:
        return None
    place = first + int(white[first:last].argmax())
    strongest = size / place
    periods: FloatArray = np.array([k * strongest for k in (1, 2, 3, 4, 5) if k * strongest <= longest])
    if near is not None:
        periods = near * np.exp(np.arange(-0.14, 0.141, 0.003))
    scores = np.array([_teeth(peak, size, period) for period in periods])
    top = float(scores.max())
    if top < (LEAST_COMB if near is None else 0.5 * LEAST_COMB):
        return None
    if near is not None:
        period = float(periods[scores.argmax()])
    else:
        # The largest multiple whose own teeth, which the strongest line's comb has not, are there.
        every = [
            k
            for k in (5, 4, 3, 2)
            if k * strongest <= longest and _own_teeth(peak, size, k * strongest, k) > LEAST_COMB
        ]
        period = strongest * (every[0] if every else 1)
    period = _refined(white, size, period)
    fifth: bool | None = None
    if period / 6 > 2.2:
        fives, others = _at(peak, size, period, (5,)), _at(peak, size, period, (3, 4, 6))
        fifth = True if fives > 1.5 * others and fives > 3.0 else None
    return Comb(period, fifth, top)


def _teeth(peak: FloatArray, size: int, period: float) -> float:
    """Mean level at the first teeth of a comb less that half way between."""
    last = int(min(6, period / 2.3))
    if last < 1:
        return 0.0
    teeth = np.arange(1, last + 1)
    on = np.log(np.maximum(peak[np.round(teeth * size / period).astype(int)], 1.0))
    off = np.log(np.maximum(peak[np.round((teeth - 0.5) * size / period).astype(int)], 1.0))
    # The first tooth must be there itself.
    return float(min(on.mean(), 1.7 * on[0]) - off.mean())


def _own_teeth(peak: FloatArray, size: int, period: float, times: int) -> float:
    """Log level of a comb's teeth that a comb `times` as fine has not, over that between them."""
    last = int(min(2 * times - 1, period / 2.3))
    teeth = np.array([m for m in range(1, last + 1) if m % times])
    if not teeth.size:
        return 0.0
    on = np.log(np.maximum(peak[np.round(teeth * size / period).astype(int)], 1.0))
    off = np.log(np.maximum(peak[np.round((teeth - 0.5) * size / period).astype(int)], 1.0))
    return float(min(on.mean(), 1.5 * on[0]) - off.mean())


def _at(peak: FloatArray, size: int, period: float, teeth: tuple[int, ...]) -> float:
    places = np.round(np.array(teeth) * size / period).astype(int)
    places = places[places < peak.size]
    return float(peak[places].mean()) if places.size else 0.0


def _refined(white: FloatArray, size: int, period: float) -> float:
    """The period by the centre of the highest tooth that is clear."""
    for tooth in (5, 4, 3, 2, 1):
        if period / tooth < 2.3:
            continue
        centre = tooth * size / period
        reach = max(2, round(0.006 * centre))
        first = max(1, round(centre) - reach)
        part = white[first : round(centre) + reach + 1]
        if part.size < 3 or part.max() < 2.0:
            continue
        k = int(part.argmax())
        if 0 < k < part.size - 1:
            a, b, c = part[k - 1 : k + 2]
            bend = a - 2 * b + c
            offset = 0.5 * (a - c) / bend if bend < 0 else 0.0
            return tooth * size / (first + k + float(offset))
    return period


def follow_phase(
    profile: FloatArray, across: FloatArray, period: float, degree: tuple[int, int]
) -> tuple[FloatArray, float] | None:
    """Number of grid periods from the page's origin, as a polynomial of the place.

    Args:
        profile: Shape (bands, n).
        across: Middle of each band, px.
        period: Distance of lines, px.
        degree: Of the polynomial along the profile and across the bands.

    Returns:
        Coefficients (degree + 1) each way in coordinates scaled to -1..1 (see `evaluate`), and the share of the page's
        windows that agree with them; None where they do not.
    """
    bands, n = profile.shape
    x = np.arange(n)
    wave = np.exp(-2j * np.pi * x / period)
    width = int(min(n, max(9, round(7 * period)))) | 1
    kernel = np.hanning(width + 2)[1:-1]
    step = max(1, width // 6)
    at = np.arange(width // 2, n - width // 2, step)
    if at.size < 4:
        return None
    # Only every `step`-th place of the convolution with the kernel, which is symmetric.
    windows = np.lib.stride_tricks.sliding_window_view
    z = windows(profile * wave, width, axis=1)[:, ::step][:, : at.size] @ kernel
    at = at[: z.shape[1]]
    loud = np.abs(z)
    # Share of the window's energy that is the comb's: 0 to 1.
    energy = np.sqrt((windows(profile**2, width, axis=1)[:, ::step][:, : at.size] @ kernel) * kernel.sum())
    clear = loud / np.maximum(energy, 1e-9)
    weight = clear**2
    # Bands are brought together from the clearest one outwards.
    phase = np.angle(z)
    start = int(weight.sum(axis=1).argmax())
    middle = int(weight[start].argmax())
    total = np.zeros_like(phase)
    order = sorted(range(bands), key=lambda k: abs(k - start))
    for band in order:
        total[band] = _unwrap_from(phase[band], weight[band], middle)
        if band != start:
            beside = band + (1 if band < start else -1)
            shared = weight[band] * weight[beside]
            turn = float(np.angle((shared * np.exp(1j * (total[beside] - total[band]))).sum()))
            gap = (shared * (total[beside] - total[band])).sum() / max(1e-12, shared.sum())
            total[band] += 2 * np.pi * np.round((gap - turn) / (2 * np.pi))
    u = at / n * 2 - 1
    v = across / max(1.0, across.max()) * 2 - 1
    design = np.stack(
        [(u[None, :] ** i) * (v[:, None] ** j) for i in range(degree[0] + 1) for j in range(degree[1] + 1)], axis=-1
    ).reshape(-1, (degree[0] + 1) * (degree[1] + 1))
    target = total.ravel()
    robust = weight.ravel().copy()
    fit = np.zeros(design.shape[1])
    for _ in range(5):
        root = np.sqrt(robust)[:, None]
        # Terms of higher order must earn their place.
        order = [max(0, i + j - 1) for i in range(degree[0] + 1) for j in range(degree[1] + 1)]
        ridge = 1e-3 * robust.sum() * np.diag(np.array(order, dtype=np.float64))
        fit = np.linalg.solve((design * root).T @ (design * root) + 0.05 * ridge, design.T @ (robust * target))
        residual = np.abs(design @ fit - target)
        robust = weight.ravel() / (1 + (residual / 0.5) ** 2)
    residual = np.angle(np.exp(1j * (design @ fit - phase.ravel())))
    agree = float((weight.ravel() * (np.abs(residual) < 0.7)).sum() / max(1e-9, weight.sum()))
    coefficients = fit.reshape(degree[0] + 1, degree[1] + 1) / (2 * np.pi)
    # Add the carrier: x / period = (u + 1) / 2 * n / period.
    coefficients[0, 0] += n / (2 * period)
    coefficients[1, 0] += n / (2 * period)
    return coefficients, agree


def _unwrap_from(phase: FloatArray, weight: FloatArray, start: int) -> FloatArray:
    """Phases made continuous from a window that is clear; windows that are not clear follow their neighbours."""
    # Plain floats: NumPy takes a hundred times as long over single numbers.
    out: list[float] = phase.tolist()
    clear = 0.15 * float(np.percentile(weight, 80)) + 1e-12
    sure: list[float] = np.minimum(1.0, weight / clear).tolist()
    remainder, turn = math.remainder, math.tau
    for order in (range(start + 1, phase.size), range(start - 1, -1, -1)):
        last, slope = out[start], 0.0
        for k in order:
            guess = last + slope
            value = guess + remainder(out[k] - guess, turn) * sure[k]
            slope = 0.7 * slope + 0.3 * (value - last)
            if slope > 0.8:
                slope = 0.8
            elif slope < -0.8:
                slope = -0.8
            out[k] = last = value
    return np.array(out)


def evaluate(coefficients: FloatArray, along: FloatArray, across: FloatArray, n: int, last: float) -> FloatArray:
    """Grid periods at places of the page.

    Args:
        coefficients: From `follow_phase`.
        along, across: Coordinates along the profile and across the bands, px, same shape.
        n: Length of the profile, px.
        last: Middle of the last band, px.

    Returns:
        Periods, the shape of `along`.
    """
    u, v = along / n * 2 - 1, across / max(1.0, last) * 2 - 1
    out = np.zeros(np.broadcast(u, v).shape)
    for row in coefficients[::-1]:
        out = out * u + np.polynomial.polynomial.polyval(v, row)
    return np.asarray(out, dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class PaperScale:
    """Millimetres of the paper at every place of the fine page.

    Attributes:
        box: Left, top, right, bottom of the part of the page that was measured, fine px.
        px_per_mm: Mean scale along and across the rows.
        along, across: Polynomials of `follow_phase` in periods, or None where the scale is uniform.
        period_mm: Distance of the lines that they count.
        last: Middle of the last band of each.
        found: Whether a grid was seen.
        certain: Whether lines every 5 mm were told from lines every 1 mm.
        flat: Whether nearly all upright lines lie where `along` says, as on paper that lies flat.
    """

    box: tuple[int, int, int, int]
    px_per_mm: tuple[float, float]
    along: FloatArray | None
    across: FloatArray | None
    period_mm: float
    last: tuple[float, float]
    found: bool
    certain: bool
    flat: bool = False

    def x_mm(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Distance from the left, mm."""
        left, top, right, _ = self.box
        if self.along is None:
            return np.asarray((x - left) / self.px_per_mm[0] + 0.0 * y)
        return self.period_mm * evaluate(self.along, x - left, y - top, right - left, self.last[0])

    def y_mm(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Distance from the top, mm."""
        left, top, _, bottom = self.box
        if self.across is None:
            return np.asarray((y - top) / self.px_per_mm[1] + 0.0 * x)
        return self.period_mm * evaluate(self.across, y - top, x - left, bottom - top, self.last[1])

    def rescaled(self, factor: float) -> PaperScale:
        """The same paper with so many times as many px in a millimetre."""
        return replace(
            self,
            px_per_mm=(self.px_per_mm[0] * factor, self.px_per_mm[1] * factor),
            period_mm=self.period_mm / factor,
        )


def paper_scale(lines: ByteImage, drawn: ByteImage, box: tuple[int, int, int, int]) -> PaperScale:
    """The scale of the page by its grid; where no grid is seen, as if the traces were 250 mm long.

    Args:
        lines: Darkness of everything drawn, (h, w).
        drawn: Not 0 where traces and print are, (h, w).
        box: Left, top, right, bottom of the traces, px, ends exclusive.

    Returns:
        Millimetres of any place of the page.
    """
    left, top, right, bottom = box
    part = (slice(top, bottom), slice(left, right))
    length = float(right - left)
    sides = [profiles(lines[part], drawn[part], axis, BANDS[axis]) for axis in (0, 1)]
    longest = min(0.1 * length, 120.0)
    combs = [find_comb(profile, longest) for profile, _ in sides]
    five = _five_mm(combs, length)
    if five is None:
        per_mm = length / 250.0
        return PaperScale(box, (per_mm, per_mm), None, None, 5.0, (1.0, 1.0), False, False)
    certain = any(comb is not None and comb.fifth for comb in combs)
    periods: list[float] = []
    unit = 5.0
    for comb, (profile, _) in zip(combs, sides, strict=True):
        ratio = 0.0 if comb is None else np.log(comb.period / five)
        if comb is not None and abs(ratio) < 0.15:
            periods.append(comb.period)
        elif comb is not None and abs(ratio + np.log(5)) < 0.15:
            periods.append(5 * comb.period)
        else:
            again = find_comb(profile, longest, five)
            periods.append(five if again is None else again.period)
    fits: list[FloatArray | None] = []
    flat = True
    for (profile, across), period, degree in zip(sides, periods, ((3, 1), (2, 4)), strict=True):
        found = followed(profile, across, period, degree)
        flat &= found is not None and found[1] > _ALL_OVER
        fits.append(found[0] if found is not None and found[1] >= 0.45 else None)
    sizes = (right - left, bottom - top)
    mean = []
    for fit, period, size, other in zip(fits, periods, sizes, sizes[::-1], strict=True):
        if fit is None:
            mean.append(period / unit)
        else:
            ends = evaluate(fit, np.array([0.0, float(size)]), np.full(2, other / 2), size, 1.0 * other)
            mean.append(size / (float(ends[1] - ends[0]) * unit))
    last = (float(sides[0][1].max()), float(sides[1][1].max()))
    return PaperScale(box, (mean[0], mean[1]), fits[0], fits[1], unit, last, True, certain, flat)


def followed(
    profile: FloatArray, across: FloatArray, period: float, degree: tuple[int, int]
) -> tuple[FloatArray, float] | None:
    """Number of 5 mm periods along the page (see `follow_phase`), by the lines that tell it best.

    Where lines every 1 mm agree all over the page they are five times as exact, and where all lines are alike those
    every 5 mm have no phase of their own; on paper that curls only those every 5 mm can be followed.
    """
    finer = follow_phase(profile, across, period / 5, degree) if period / 5 > LEAST_PERIOD else None
    if finer is not None and finer[1] > _ALL_OVER:
        return finer[0] / 5, finer[1]
    found = follow_phase(profile, across, period, degree)
    if finer is not None and (found is None or (found[1] < 0.6 and finer[1] > 0.7)):
        return finer[0] / 5, finer[1]
    return found


def _five_mm(combs: list[Comb | None], length: float) -> float | None:
    """Px of 5 mm by the combs of both directions; where lines are all alike, by the length of the traces."""
    options: list[tuple[float, float]] = []
    for comb in combs:
        if comb is None:
            continue
        options.append((comb.period, comb.strength * (1.5 if comb.fifth else 0.6)))
        if comb.fifth is None:
            options.append((5 * comb.period, comb.strength * 0.6))
    if not options:
        return None
    best, most = None, -np.inf
    for period, _ in options:
        support = sum(strength for other, strength in options if abs(np.log(other / period)) < 0.12)
        # Ten seconds are 250 mm; a page may show half or twice that.
        mm = length / period * 5
        plausible = 1.0 / (1.0 + (max(0.0, abs(np.log(mm / 240.0)) - 0.15) / 0.5) ** 2)
        if support * plausible > most:
            best, most = period, support * plausible
    return best
