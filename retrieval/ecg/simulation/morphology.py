"""The shape of one beat for a set of statements: which way the heart vector goes, and when.

The loops follow the textbook account of each disturbance (septum first to the right and front, free wall to the left
and down, base last; what a block or a scar takes from that or turns round); the numbers were set by looking at the
leads they give. Every heart is a little different: each number is drawn from a range.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ecgkin.retrieval.ecg.simulation.model import DOWER, FloatArray, Kernel, Wave, joined, turned_to_axis, wave

SOKOLOW_MV = 3.5  # S in V1 + R in V5 or V6 (Sokolow, Lyon 1949, Am Heart J 37:161-186)
_V1, _V5, _V6 = 2, 6, 7  # rows of DOWER


@dataclass(frozen=True, slots=True, eq=False)
class BeatShape:
    """One kind of beat; time 0 is the onset of QRS.

    Attributes:
        p: P wave, or None.
        qrs, t: QRS complex and T wave; their onsets and ends are those of `Wave.limits`.
        st: What fills the ST segment; None where it is flat.
        pr_ms, qrs_ms, qt_ms: Intervals from onset to onset or end; pr_ms is None without a P wave.
        axis_deg: Frontal axis of QRS (net area); in right bundle branch block without the late part due to the block.
        spikes_s: When a pacemaker fires.
    """

    p: Wave | None
    qrs: Wave
    st: Wave | None
    t: Wave
    pr_ms: float | None
    qrs_ms: float
    qt_ms: float
    axis_deg: float
    spikes_s: tuple[float, ...] = ()

    @property
    def waves(self) -> tuple[Wave, ...]:
        """All parts that are there."""
        return tuple(w for w in (self.p, self.qrs, self.st, self.t) if w is not None)


def draw_beat(codes: Set[str], rr_s: float, dower: FloatArray, rng: np.random.Generator) -> BeatShape:
    """The conducted (or paced) beat of a heart with these statements at a mean RR interval of `rr_s`.

    Args:
        codes: Statements that the beat is to show.
        rr_s: Mean RR interval in seconds, on which QT depends.
        dower: Projection of the heart vector onto the leads, (n_leads, 3).
        rng: Decides everything that is random.

    Returns:
        Waves with their onsets and lengths.
    """
    qrs, st_xyz, t_xyz, qrs_ms, axis = _ventricles(codes, rng)
    qrs = _sized(qrs, codes, dower, rng)
    if "LOWT" in codes:
        peak = float(np.abs(dower @ np.array(t_xyz)).max())
        t_xyz = tuple(v * rng.uniform(0.05, 0.08) / peak for v in t_xyz)
    elif "LVOLT" in codes:
        t_xyz = tuple(0.4 * v for v in t_xyz)
    if "STD_" in codes:
        depth = rng.uniform(0.10, 0.20)
        st_xyz = (st_xyz[0] - depth, st_xyz[1] - rng.uniform(0.4, 0.8) * depth, st_xyz[2])
        t_xyz = tuple(0.6 * v for v in t_xyz)
    qrs = qrs.placed(0.0, qrs_ms / 1000)
    secondary = bool(codes & {"CLBBB", "PACE", "CRBBB"})
    bazett = rng.uniform(0.505, 0.57) if "LNGQT" in codes else rng.uniform(0.375, 0.430) + (0.03 if secondary else 0.0)
    qt_s = bazett * float(np.sqrt(rr_s))
    t_length = min(rng.uniform(0.15, 0.19), 0.55 * (qt_s - qrs_ms / 1000))
    t = _t_wave(t_xyz).placed(qt_s - t_length, t_length)
    st = None
    if np.linalg.norm(st_xyz) > 0:
        first, last = qrs_ms / 1000 + 0.02, qt_s - 0.7 * t_length
        centres = np.linspace(first, max(last, first + 0.03), 4)
        st = Wave(centres, np.full(4, 0.75 * (centres[1] - centres[0])), np.tile(np.array(st_xyz) * 0.55, (4, 1)))
    p, pr_ms = None, None
    if not codes & {"AFIB", "AFLT"} and not ("PACE" in codes and "VVI" in codes):
        pr_ms = _pr_ms(codes, rr_s, rng)
        p = _p_wave(rng).placed(-pr_ms / 1000, min(rng.uniform(0.085, 0.108), pr_ms / 1000 - 0.015))
    spikes: tuple[float, ...] = ()
    if "PACE" in codes:
        spikes = (-0.006,) if pr_ms is None or rng.random() < 0.6 else (-pr_ms / 1000 - 0.008, -0.006)
    return BeatShape(p, qrs, st, t, pr_ms, qrs_ms, qt_s * 1000, axis, spikes)


def draw_extrasystole(like: BeatShape, rng: np.random.Generator) -> BeatShape:
    """A ventricular extrasystole: no P, broad QRS of another direction, ST and T turned against it.

    Args:
        like: The conducted beat of the same heart.
        rng: Decides its shape.

    Returns:
        A beat without P wave.
    """
    from_right = rng.random() < 0.6  # looks like a left bundle branch block, axis mostly down
    axis = float(rng.uniform(60, 100) if from_right else rng.uniform(-140, -70))
    depth = rng.uniform(0.7, 1.3) if from_right else -rng.uniform(0.6, 1.2)
    size = rng.uniform(0.75, 1.3)
    raw = wave(
        (0.20, 0.10, (0.25 * size, 0.2 * size, 0.15 * depth)),
        (0.42, 0.12, (size, size, depth)),
        (0.66, 0.13, (0.7 * size, 0.7 * size, 0.9 * depth)),
    )
    qrs = turned_to_axis(raw, (0, 1, 2), axis)
    qrs_ms = float(rng.uniform(140, 175))
    lean = qrs.vectors_mv[1]
    t_xyz = tuple(float(-v) for v in lean * rng.uniform(0.30, 0.45))
    qt_s = like.qt_ms / 1000 + rng.uniform(0.0, 0.02)
    t = _t_wave(t_xyz).placed(qt_s - 0.19, 0.19)
    st_at = np.linspace(qrs_ms / 1000, qt_s - 0.13, 4)
    st = Wave(st_at, np.full(4, 0.9 * (st_at[1] - st_at[0])), np.tile(-0.06 * lean, (4, 1)))
    return BeatShape(None, qrs.placed(0.0, qrs_ms / 1000), st, t, None, qrs_ms, qt_s * 1000, axis)


def draw_atrial_extrasystole(like: BeatShape, rng: np.random.Generator) -> BeatShape:
    """A conducted beat after a P wave from another place: flat or upside down, with a PR interval of its own.

    Args:
        like: The conducted beat of the same heart.
        rng: Decides its P wave and PR interval.

    Returns:
        A beat with the same QRS and T.
    """
    pr_ms = float(np.clip((like.pr_ms or 150.0) + rng.uniform(-25, 20), 120, 200))
    other = _p_wave(rng).scaled(np.array([rng.uniform(0.3, 0.9), rng.uniform(-0.9, 0.3), rng.uniform(0.5, 1.2)]))
    p = other.placed(-pr_ms / 1000, 0.09)
    return BeatShape(p, like.qrs, like.st, like.t, pr_ms, like.qrs_ms, like.qt_ms, like.axis_deg)


def sokolow_mv(qrs: Wave, dower: FloatArray) -> float:
    """S in V1 plus the larger R of V5 and V6, in mV.

    Args:
        qrs: The QRS wave as a heart vector.
        dower: Projection onto the leads, (n_leads, 3).

    Returns:
        The Sokolow-Lyon index in mV (3.5 and more counts as hypertrophy; Sokolow and Lyon 1949).
    """
    start, end = qrs.limits(dower)
    leads = dower[[_V1, _V5, _V6]] @ qrs.at(np.linspace(start, end, 200))
    return float(max(-leads[0].min(), 0.0) + max(leads[1].max(), leads[2].max(), 0.0))


def _pr_ms(codes: Set[str], rr_s: float, rng: np.random.Generator) -> float:
    if "1AVB" in codes:
        return float(rng.uniform(215, min(320, 460 * rr_s)))
    if "WPW" in codes:
        return float(rng.uniform(85, 112))
    return float(rng.uniform(130, min(190, 120 + 90 * rr_s)))


def _p_wave(rng: np.random.Generator) -> Wave:
    right, left = rng.uniform(0.8, 1.2, 2)
    return wave(
        (0.35, 0.13, (0.035 * right, 0.075 * right, -0.040 * right)),
        (0.62, 0.14, (0.060 * left, 0.055 * left, 0.035 * left)),
    )


def _t_wave(xyz: tuple[float, ...]) -> Wave:
    x, y, z = xyz
    # Slow up, faster down: a broad kernel before the main one.
    return wave((0.34, 0.16, (0.42 * x, 0.42 * y, 0.42 * z)), (0.58, 0.125, (0.85 * x, 0.85 * y, 0.85 * z)))


def _sized(qrs: Wave, codes: Set[str], dower: FloatArray, rng: np.random.Generator) -> Wave:
    """Voltage: low, high, or below the Sokolow-Lyon limit."""
    start, end = qrs.limits(dower)
    eight = dower @ qrs.at(np.linspace(start, end, 200))
    limb = np.stack([eight[0], eight[1], eight[1] - eight[0]])
    limb_span, chest_span = float(np.ptp(limb, axis=1).max()), float(np.ptp(eight[2:], axis=1).max())
    if "LVOLT" in codes:  # under 0.5 mV in every limb lead, under 1 mV in every chest lead
        return qrs.scaled(min(rng.uniform(0.28, 0.42) / limb_span, rng.uniform(0.65, 0.92) / chest_span))
    voltage = sokolow_mv(qrs, dower)
    if "LVH" in codes:
        return qrs.scaled(max(1.0, rng.uniform(3.75, 4.6) / voltage))
    narrow = not codes & {"CLBBB", "PACE", "WPW"}
    return qrs.scaled(min(1.0, rng.uniform(2.7, 3.2) / voltage)) if narrow else qrs


_Ventricles: TypeAlias = tuple[Wave, tuple[float, ...], tuple[float, ...], float, float]


def _paced(rng: np.random.Generator) -> _Ventricles:
    """From the tip of the right ventricle: left bundle branch block with the axis up."""
    u = rng.uniform
    axis, size, deep = float(u(-80, -55)), u(0.45, 0.65), u(0.8, 1.1)
    raw = wave(
        (0.20, 0.10, (0.3 * size, -0.3 * size, 0.2 * deep)),
        (0.44, 0.13, (size, -size, 0.9 * deep)),
        (0.68, 0.12, (0.7 * size, -0.7 * size, deep)),
    )
    qrs = turned_to_axis(raw, (0, 1, 2), axis)
    lean = qrs.vectors_mv[1]
    return qrs, tuple(-0.10 * lean), tuple(-u(0.32, 0.42) * lean), float(u(145, 180)), axis


def _left_block(rng: np.random.Generator) -> _Ventricles:
    """Complete left bundle branch block."""
    u = rng.uniform
    axis, size, deep = float(u(-20, 45)), u(0.8, 1.1), u(1.05, 1.35)
    raw = wave(
        (0.17, 0.09, (0.20, 0.06, -u(0.0, 0.08))),
        (0.40, 0.105, (size, 0.2, 0.85 * deep)),
        (0.66, 0.11, (0.95 * size, 0.1, deep)),
        (0.84, 0.09, (0.25 * size, 0.0, 0.25 * deep)),
    )
    qrs = turned_to_axis(raw, (1, 2), axis)
    lean = qrs.vectors_mv[1]
    return qrs, tuple(-u(0.10, 0.14) * lean), tuple(-u(0.30, 0.42) * lean), float(u(132, 168)), axis


def _frontal_axis(codes: Set[str], rng: np.random.Generator) -> float:
    """Of a QRS without bundle branch block on the left, degrees."""
    u = rng.uniform
    if "LAFB" in codes:
        return float(u(-72, -48))
    if "LVH" in codes:
        return float(u(-25, 40))
    if "IMI" in codes:
        return float(u(-25, 10))
    return float(u(5, 50) if "ASMI" in codes else u(5, 70))


def _infarcted(
    codes: Set[str],
    rng: np.random.Generator,
    kernels: list[Kernel],
    st: tuple[float, ...],
    t: tuple[float, ...],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Take away from septum, main part and base (`kernels`, changed in place) what dead walls no longer say; ST, T."""
    u = rng.uniform
    (_, _, septum), (_, _, (size, _, _)), (_, _, base) = kernels
    if "IMI" in codes:
        # The lower wall says nothing: the first 35 ms or so point up, R in II, III and aVF comes late and small.
        kernels[0] = (0.22, 0.100, (septum[0] * 0.5, -u(0.42, 0.60), septum[2]))
        kernels[2] = (0.66, 0.090, (-u(0.02, 0.08), u(0.30, 0.42), 0.8 * base[2]))
        t = (t[0], -u(0.10, 0.22), t[2])
    if "ASMI" in codes:
        # Septum and front wall say nothing: the vector points back from the start, no R in V1 to V3.
        first = kernels[0]
        kernels[0] = (first[0], first[1], (0.02, first[2][1], u(0.16, 0.26)))
        kernels[1] = (0.45, 0.105, (size, 0.5, u(0.95, 1.15) * size))
        st = (st[0], st[1], st[2] - u(0.03, 0.07))
        t = (0.75 * t[0], 0.7 * t[1], u(0.22, 0.34))
    return st, t


def _preexcited(
    rng: np.random.Generator, middle: tuple[float, float], base: tuple[float, float, float], t: tuple[float, ...]
) -> tuple[float, float, list[Kernel], tuple[float, ...], tuple[float, ...]]:
    """Axis, QRS duration, QRS, ST and T where an accessory pathway begins the QRS slowly, before all else.

    Args:
        rng: Draws.
        middle: Of the usual QRS, to the left and back.
        base: The usual end of the QRS.
        t: The usual T vector.
    """
    size, back = middle
    axis = float(rng.uniform(-20, 70))
    front = rng.uniform(-0.30, 0.15)
    qrs_ms = float(rng.uniform(122, 150))
    kernels: list[Kernel] = [
        (0.16, 0.085, (0.13, 0.08, 0.40 * front)),
        (0.32, 0.105, (0.30, 0.2, front)),
        (0.54, 0.105, (size, 0.5, back)),
        (0.76, 0.080, (base[0], base[1], base[2] * (0.4 if front < 0 else 1.0))),
    ]
    return axis, qrs_ms, kernels, (-0.05, -0.03, 0.0), (0.1 * t[0], 0.4 * t[1], t[2] * (-0.4 if front < 0 else 1.0))


def _ventricles(codes: Set[str], rng: np.random.Generator) -> _Ventricles:
    """QRS in units of its own length, ST vector, T vector (mV), QRS duration in ms, frontal axis in degrees."""
    u = rng.uniform
    if "PACE" in codes:
        return _paced(rng)
    if "CLBBB" in codes:
        return _left_block(rng)

    infarct = codes & {"IMI", "ASMI"}
    axis = _frontal_axis(codes, rng)
    qrs_ms = float(u(98, 116) if codes & {"LAFB", "LVH"} or infarct else u(80, 102))
    size, back = u(0.85, 1.25), u(0.05, 0.22)
    septum = (-u(0.06, 0.12), -u(0.0, 0.05), -u(0.17, 0.26))
    base = (-u(0.08, 0.20), -u(0.02, 0.10), u(0.36, 0.52))
    if "LAFB" in codes:
        septum = (-u(0.14, 0.22), u(0.22, 0.34), -u(0.12, 0.20))
        base = (-u(0.0, 0.12), -u(0.25, 0.40), u(0.35, 0.50))
    down = 0.4 + 0.8 * max(0.0, float(np.sin(np.radians(axis))))  # T follows the axis of QRS at some distance
    st: tuple[float, ...] = (0.0, 0.0, 0.0)
    t: tuple[float, ...] = (u(0.28, 0.40), down * u(0.16, 0.24), -u(0.16, 0.30))
    if "LVH" in codes:
        back = u(0.6, 0.9)
        base = (base[0], base[1], u(0.5, 0.7))
        st, t = (-u(0.06, 0.11), -0.03, -u(0.04, 0.08)), (-u(0.22, 0.34), -u(0.05, 0.12), -u(0.18, 0.3))
    kernels: list[Kernel] = [(0.18, 0.080, septum), (0.45, 0.105, (size, 0.5, back)), (0.70, 0.095, base)]
    main: tuple[int, ...] = (1,)
    late_kernels: tuple[Kernel, ...] = ()
    if infarct:
        st, t = _infarcted(codes, rng, kernels, st, t)
    if "WPW" in codes:
        axis, qrs_ms, kernels, st, t = _preexcited(rng, (size, back), base, t)
        main = (0, 1, 2)
    if "CRBBB" in codes or "IRBBB" in codes:
        complete = "CRBBB" in codes
        # The left side goes its way first; what is left over at the end is the right ventricle, to the right and front.
        squeeze = 0.66 if complete else 0.80
        kernels = [(c * squeeze, s * squeeze, v) for c, s, v in kernels]
        kernels[2] = (kernels[2][0] * 0.97, kernels[2][1] * 0.9, (base[0] * 0.5, base[1], base[2] * 0.9))
        late = u(0.45, 0.62) if complete else u(0.22, 0.32)
        if complete:
            late_kernels = (
                (0.64, 0.075, (-0.85 * late, 0.05, -0.95 * late)),
                (0.80, 0.085, (-0.75 * late, 0.05, -0.60 * late)),
            )
            t = (t[0] + 0.05, t[1], u(0.10, 0.2))
            qrs_ms = float(u(124, 156))
        else:
            late_kernels = ((0.80, 0.065, (-0.8 * late, 0.03, -1.2 * late)),)
            qrs_ms = float(u(104, 117))
    if not codes & {"LVH", "LAFB", "WPW", "CRBBB"} and not infarct:
        t = (t[0] * size, t[1] * size, t[2])
    return joined(turned_to_axis(wave(*kernels), main, axis), wave(*late_kernels)), st, t, qrs_ms, axis


def chest_gains(rng: np.random.Generator) -> FloatArray:
    """Dower's matrix with chest electrodes a little nearer to or farther from the heart, shape (8, 3)."""
    gains = np.r_[1.0, 1.0, rng.uniform(0.92, 1.08, 6)]
    return np.asarray(DOWER * gains[:, None], dtype=np.float64)
