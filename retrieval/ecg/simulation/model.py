"""Waves as sums of Gaussians in a 3-D heart vector, and their projection onto the leads.

The heart vector has Frank's axes: x to the left, y to the feet, z to the back. That beats are sums of Gaussians is the
idea of McSharry et al. 2003 (IEEE Trans Biomed Eng 50:289-294), a vector instead of one lead that of Sameni et al. 2007
(EURASIP J Adv Signal Process 43407). Here each Gaussian is a short stretch of a loop with a direction of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Kernel = tuple[float, float, tuple[float, ...]]  # centre, sigma, (x, y, z)

EIGHT_LEADS: tuple[str, ...] = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")  # the other four follow from I and II

# Dower, Machado, Osborne 1980 (Clin Cardiol 3:87-95): heart vector in Frank's axes to lead, mV per mV.
DOWER: FloatArray = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)
_FRONTAL: FloatArray = np.stack([DOWER[0], DOWER[1] - DOWER[0] / 2])  # leads I and aVF
ONSET_SHARE = 0.04  # a wave begins and ends where its largest lead passes this share of its peak


@dataclass(frozen=True, slots=True, eq=False)
class Wave:
    """A sum of Gaussians: v(t) = sum of vectors * exp(-((t - centre) / sigma)^2 / 2).

    Attributes:
        centres_s, sigmas_s: Time and width of each Gaussian in seconds, shape (n,).
        vectors_mv: Its height along x, y, z in mV, shape (n, 3).
    """

    centres_s: FloatArray
    sigmas_s: FloatArray
    vectors_mv: FloatArray

    def at(self, times_s: FloatArray) -> FloatArray:
        """Heart vector in mV at the times, shape (3, n_times)."""
        u = (times_s[None, :] - self.centres_s[:, None]) / self.sigmas_s[:, None]
        return np.asarray(self.vectors_mv.T @ np.exp(-0.5 * u * u), dtype=np.float64)

    def limits(self, dower: FloatArray = DOWER) -> tuple[float, float]:
        """Onset and end in seconds: where the largest of the leads passes `ONSET_SHARE` of its own peak."""
        low = float((self.centres_s - 4 * self.sigmas_s).min())
        high = float((self.centres_s + 4 * self.sigmas_s).max())
        times = np.linspace(low, high, 801)
        size = np.abs(dower @ self.at(times)).max(axis=0)
        inside = np.flatnonzero(size >= ONSET_SHARE * size.max())
        return float(times[inside[0]]), float(times[inside[-1]])

    def placed(self, onset_s: float, length_s: float) -> Wave:
        """The wave stretched and shifted so that it begins at `onset_s` and lasts `length_s`.

        Args:
            onset_s: Where it is to begin, in seconds.
            length_s: How long it is to last, in seconds.

        Returns:
            A new wave.
        """
        start, end = self.limits()
        ratio = length_s / (end - start)
        return Wave(onset_s + (self.centres_s - start) * ratio, self.sigmas_s * ratio, self.vectors_mv)

    def shifted(self, by_s: float) -> Wave:
        """The wave, later by so many seconds."""
        return replace(self, centres_s=self.centres_s + by_s)

    def scaled(self, by: float | FloatArray) -> Wave:
        """The wave with its vectors multiplied by a number, or by one number per axis."""
        return replace(self, vectors_mv=self.vectors_mv * by)

    def axis_deg(self) -> float:
        """Frontal axis in degrees, -180 to 180, from the net areas in I and aVF (0 = left, 90 = to the feet)."""
        area = (self.sigmas_s[:, None] * self.vectors_mv).sum(axis=0)
        one, avf = _FRONTAL @ area
        return float(np.degrees(np.arctan2(avf * 2 / np.sqrt(3), one)))


def wave(*kernels: Kernel) -> Wave:
    """A wave from (centre, sigma, (x, y, z)) in any unit of time; `Wave.placed` gives it seconds."""
    return Wave(
        np.array([k[0] for k in kernels], dtype=np.float64),
        np.array([k[1] for k in kernels], dtype=np.float64),
        np.array([k[2] for k in kernels], dtype=np.float64).reshape(-1, 3),
    )


def joined(first: Wave, second: Wave) -> Wave:
    """Both waves as one.

    Args:
        first, second: Waves of one beat.

    Returns:
        A wave with the kernels of both.
    """
    return Wave(
        np.r_[first.centres_s, second.centres_s],
        np.r_[first.sigmas_s, second.sigmas_s],
        np.concatenate([first.vectors_mv, second.vectors_mv]),
    )


def frontal_vector(axis_deg: float, size_mv: float, z_mv: float) -> tuple[float, float, float]:
    """The heart vector with depth `z_mv` that shows `size_mv` along `axis_deg` in the frontal plane.

    Args:
        axis_deg: Direction in the frontal plane, degrees clockwise from lead I.
        size_mv: Length in the frontal plane, mV.
        z_mv: Component from back to front, mV.

    Returns:
        Components (x, y, z) in mV.
    """
    theta = np.radians(axis_deg)
    want = np.array([size_mv * np.cos(theta), size_mv * np.sin(theta) * np.sqrt(3) / 2]) - _FRONTAL[:, 2] * z_mv
    x, y = np.linalg.solve(_FRONTAL[:, :2], want)
    return float(x), float(y), z_mv


def turned_to_axis(qrs: Wave, main: tuple[int, ...], axis_deg: float) -> Wave:
    """The wave with its kernels `main` replaced by frontal vectors of the same size, so that its net axis fits.

    The size of each main kernel in the frontal plane and its depth stay as they are.

    Args:
        qrs: The wave.
        main: Numbers of its main kernels.
        axis_deg: Net frontal axis that is wanted, degrees.

    Returns:
        A new wave.
    """
    vectors = qrs.vectors_mv.copy()
    one_avf = vectors @ _FRONTAL.T * np.array([1.0, 2 / np.sqrt(3)])
    sizes = np.hypot(one_avf[:, 0], one_avf[:, 1])
    aim = axis_deg
    for _ in range(12):
        for k in main:
            vectors[k] = frontal_vector(aim, float(sizes[k]), float(qrs.vectors_mv[k, 2]))
        turned = replace(qrs, vectors_mv=vectors.copy())
        miss = (axis_deg - turned.axis_deg() + 180.0) % 360.0 - 180.0
        if abs(miss) < 0.01:
            break
        aim += miss
    return turned


def to_twelve(eight: FloatArray) -> FloatArray:
    """The twelve leads in standard order, shape (12, n), from `EIGHT_LEADS`, shape (8, n)."""
    one, two = eight[0], eight[1]
    return np.concatenate([[one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2], eight[2:]])
