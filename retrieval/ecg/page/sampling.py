"""From the curves of a page to samples: stretches of leads at 500 Hz, their borders, strips and limb leads in step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.leads import LEADS, LIMB_LEADS
from ecgkin.retrieval.ecg.page.counts import median
from ecgkin.retrieval.ecg.page.digitized import Stretch
from ecgkin.retrieval.ecg.page.einthoven import beside, law_shifts, match, triple_weights
from ecgkin.retrieval.ecg.page.names import STRIPS, Layout, PlacedName, strip_names
from ecgkin.retrieval.ecg.page.scale import PaperScale
from ecgkin.retrieval.ecg.page.tracks import Tracks

FloatArray = NDArray[np.float64]

FS_HZ = 500.0
_ITSELF = 0.9  # correlation at which a strip shows the same as a lead of the page
_BORDER_MM = 4.0  # how far a border of columns may lie from where it should
# Waves a column: up to where the mean over a column is undone, and over what width that fades out.
_NOISE_FROM, _FADING = 0.4, 0.25
_FOREIGN_MM = 4.0  # how far from the ends of a lead what another hand drew takes the rest to the end with it
_END_S = 0.02  # beyond the first and the last ink of a lead its curve goes on level for no longer
_TIMES, _FEW = 8, 8  # places to a column in its Fourier interpolation, and columns that have none
_BRIDGED_S = 0.06  # gaps up to this long are bridged, longer ones stay missing


def in_step_by_law(sampler: Sampler, stretches: tuple[Stretch, ...]) -> dict[Stretch, tuple[float, float]]:
    """By how many seconds limb leads come too late where three of a column then fulfil their law."""
    out: dict[Stretch, tuple[float, float]] = {}
    for start in sorted({s.start_s for s in stretches if not s.strip}):
        column = [s for s in stretches if not s.strip and s.start_s == start]
        for k in range(0, len(column) - 2, 3):
            three = column[k : k + 3]
            if not all(s.lead in LIMB_LEADS for s in three):
                continue
            parts = [s.sign * sampler.samples(s)[1] for s in three]
            n = min(part.size for part in parts)
            late = law_shifts(
                np.stack([part[:n] for part in parts]), (three[0].lead, three[1].lead, three[2].lead), FS_HZ
            )
            if late is not None:
                out.update(zip(three, late, strict=True))
    return out


def strip_leads(
    sampler: Sampler, stretches: tuple[Stretch, ...], layout: Layout, names: tuple[PlacedName, ...], duration: float
) -> tuple[str, ...]:
    """Leads of the strips: the usual ones, unless a strip shows clearly another lead of the page or is so named."""
    read = strip_names(layout, names)
    out = []
    n = round(duration * FS_HZ)

    def samples(stretch: Stretch) -> FloatArray:
        whole = np.full(n, np.nan)
        first, values = sampler.samples(stretch)
        values = stretch.sign * values[: max(0, n - first)]
        whole[first : first + values.size] = values
        return whole

    strips = [s for s in stretches if s.strip]
    # Strips are II, V1 or V5 nearly always; another lead must be named.
    thought = {*STRIPS[3], *read.values(), *(layout.strip(s.row - layout.rows) for s in strips)}
    shown = {s.lead: samples(s) for s in stretches if not s.strip and s.lead in thought} if strips else {}
    for strip in strips:
        number = strip.row - layout.rows
        usual, named = layout.strip(number), read.get(number)
        whole = samples(strip)
        alike = {
            lead: match(part, whole, FS_HZ)[1] for lead, part in shown.items() if lead in (usual, named, *STRIPS[3])
        }
        best = max(alike, key=lambda lead: alike[lead]) if alike else usual
        if alike.get(best, -1.0) > _ITSELF:
            # The name that was read counts where it fits about as well.
            kept = [lead for lead in (usual, named) if lead is not None and alike.get(lead, -1.0) > alike[best] - 0.08]
            out.append(kept[0] if kept else best)
        else:
            out.append(named or usual)
    return tuple(out)


class Sampler:
    """Samples of stretches, from the rows' curves; without what is `foreign` near the ends of leads, where said."""

    def __init__(
        self,
        tracks: Tracks,
        x_mm: FloatArray,
        scale: PaperScale,
        mm_per_s: float,
        per_mv: float,
        strokes: FloatArray | None,
        *,
        foreign: NDArray[np.bool_] | None = None,
        rough: bool = False,
    ) -> None:
        self._strokes, self._rough = strokes, rough
        n_rows, width = tracks.y.shape
        self._x = np.arange(width, dtype=np.float64)
        self._known = np.isfinite(tracks.y)
        self._foreign = foreign
        self._bridged = np.zeros(tracks.y.shape, dtype=bool)
        self._mm: list[FloatArray] = []
        self._mv: list[FloatArray] = []
        self._mm_per_s = mm_per_s
        self._per_mm = scale.px_per_mm[0]
        self._tracks = tracks
        self._level = [median(y[known]) if known.any() else 0.0 for y, known in zip(tracks.y, self._known, strict=True)]
        self._fine: dict[tuple[int, int, int], FloatArray] = {}
        y_mm = per_mv / scale.px_per_mm[1]
        for row in range(n_rows):
            known = np.flatnonzero(self._known[row])
            y = np.interp(self._x, known, tracks.y[row, known]) if known.size else np.zeros(width)
            self._mm.append(x_mm[row])
            self._mv.append(-scale.y_mm(self._x, y) / y_mm)

    def late_borders(self, stretches: tuple[Stretch, ...]) -> float:
        """By how many mm the borders of columns come later than was thought, 0 without evidence.

        Left of the border of two columns of limb leads the law of the first holds, right of it that of the second.
        """
        starts = sorted({s.start_s for s in stretches if not s.strip})
        if len(starts) < 2:
            return 0.0
        pair = [[s for s in stretches if not s.strip and s.start_s == start] for start in starts[:2]]
        if any(len(column) != 3 or not all(s.lead in LIMB_LEADS for s in column) for column in pair):
            return 0.0
        about = float(np.mean([np.interp(s.left, self._x, self._mm[s.row]) for s in pair[1]]))
        step = 0.1
        near = about + np.arange(-_BORDER_MM, _BORDER_MM + step / 2, step)
        rest = []
        for column, side in zip(pair, (-1, 1), strict=True):
            names = (column[0].lead, column[1].lead, column[2].lead)
            inner = about + side * np.arange(_BORDER_MM, 55.0, 0.25)
            total, usual = np.zeros(near.size), np.zeros(inner.size)
            for weight, stretch in zip(triple_weights(names), column, strict=True):
                mm, mv = self._mm[stretch.row], stretch.sign * self._mv[stretch.row]
                level = float(np.median(np.interp(inner, mm, mv)))
                total += weight * (np.interp(near, mm, mv) - level)
                usual += weight * (np.interp(inner, mm, mv) - level)
            rest.append((total - np.median(usual)) ** 2)
        cost = np.concatenate([[0.0], np.cumsum(rest[0])]) + np.concatenate([np.cumsum(rest[1][::-1])[::-1], [0.0]])
        best, middle = int(cost.argmin()), near.size // 2
        late = (best - middle) * step
        if abs(late) < 0.35 or cost[best] > 0.4 * cost[middle]:
            return 0.0
        return float(late)

    def without_strokes(self, stretches: tuple[Stretch, ...]) -> None:
        """Bridge the upright strokes that stand between columns of leads: alike in all rows, above and below."""
        for column in sorted({s.start_s for s in stretches if not s.strip}):
            panels = [s for s in stretches if not s.strip and s.start_s == column]
            self._without_stroke(panels, [s.left for s in panels])
            if column + panels[0].length_s > max(s.start_s for s in stretches) + 1e-6:
                self._without_stroke(panels, [s.right for s in panels])

    def _without_stroke(self, panels: list[Stretch], edges: list[float]) -> None:
        reach = round(1.6 * self._per_mm)
        width = self._x.size
        rows = np.array([s.row for s in panels])
        columns = np.clip(np.round(edges).astype(int)[:, None] + np.arange(-reach, reach + 1)[None, :], 0, width - 1)
        level = np.array([self._level[row] for row in rows])[:, None]
        up = level - self._tracks.top[rows[:, None], columns]
        down = self._tracks.bottom[rows[:, None], columns] - level
        tall = (np.nan_to_num(up + down) > 2.0 * self._per_mm) & (up > 0.7 * self._per_mm) & (down > 0.7 * self._per_mm)
        marked = None if self._strokes is None else self._strokes[rows[:, None], columns] > 0.5
        for k in np.flatnonzero(tall.sum(axis=0) >= max(2, 0.6 * rows.size)):
            inside = tall[:, k]
            alike = np.std(up[inside, k]) + np.std(down[inside, k]) <= 0.8 * self._per_mm
            if not alike and (marked is None or np.median(marked[:, k]) < 1):
                continue
            for row, x in zip(rows[inside].tolist(), columns[inside, k].tolist(), strict=True):
                self._bridge(row, x)

    def _bridge(self, row: int, x: int) -> None:
        """Take a column of a row for lost, with the sides of the same stroke: about as tall, not beyond its ends."""
        top, bottom = self._tracks.top[row], self._tracks.bottom[row]
        ends = top[x] - 1.0, bottom[x] + 1.0
        tall = 0.4 * (bottom[x] - top[x])
        side = []
        for step in (-1, 1):
            at = x + step
            for _ in range(round(self._tracks.stroke) + 1):
                inside = (
                    0 <= at < top.size and bottom[at] - top[at] > tall and top[at] >= ends[0] and bottom[at] <= ends[1]
                )
                if not inside:
                    break
                at += step
            side.append(int(np.clip(at + step, 0, top.size - 1)))
        a, b = side
        self._fine.clear()
        self._bridged[row, a + 1 : b] = True
        self._mv[row][a : b + 1] = np.interp(np.arange(a, b + 1), [a, b], [self._mv[row][a], self._mv[row][b]])

    def cover(self, stretch: Stretch) -> float:
        """Share of a stretch's columns that hold ink, weighted by how sure each is."""
        columns = slice(max(0, round(stretch.left)), round(stretch.right) + 1)
        part = self._tracks.weight[stretch.row, columns] * self._known[stretch.row, columns]
        return float(part.mean()) if part.size else 0.0

    def signals(
        self, stretches: tuple[Stretch, ...], duration: float, late: Mapping[Stretch, tuple[float, float]] | None = None
    ) -> FloatArray:
        """All leads in standard order, (12, n), mV, each less its median.

        A strip gives what its lead does not show beside the others, in step with what it does.
        """
        out = np.full((12, round(duration * FS_HZ)), np.nan)
        for stretch in sorted(stretches, key=lambda s: s.strip):
            index = LEADS.index(stretch.lead)
            first, values = self.samples(stretch, (0.0, 0.0) if late is None else late.get(stretch, (0.0, 0.0)))
            values = stretch.sign * values[: max(0, out.shape[1] - first)]
            place = slice(first, first + values.size)
            if stretch.strip and np.isfinite(out[index]).any():
                values = beside(out[index, place], values)
            out[index, place] = values
        return out

    def samples(self, stretch: Stretch, late_s: tuple[float, float] = (0.0, 0.0)) -> tuple[int, FloatArray]:
        """Number of the first sample, and the samples; `late_s` is by how much the page shows its begin and
        its end too late."""
        first, last = round(stretch.start_s * FS_HZ), round((stretch.start_s + stretch.length_s) * FS_HZ)
        mm, mv, known = self._mm[stretch.row], self._mv[stretch.row], self._known[stretch.row]
        begin, end = np.interp([stretch.left, stretch.right], self._x, mm)
        seconds = np.arange(first, last) / FS_HZ - stretch.start_s
        if any(late_s):
            seconds = seconds + np.linspace(*late_s, last - first)
        at = begin + seconds * self._mm_per_s
        at = at[at <= end + self._mm_per_s / FS_HZ]
        place = np.interp(at, mm, self._x)
        # The columns at either end may hold ink of the neighbour.
        a, b = max(0, int(np.ceil(stretch.left)) + 1), min(mv.size, int(stretch.right))
        if a >= b:
            return first, np.full(at.size, np.nan)
        if self._foreign is not None:
            known = known.copy()
            known[a:b] &= ~self._ends_of(stretch.row, a, b)
        inked = known[a:b]
        if self._rough:
            part = self._followed(mv[a:b], inked)
            values = np.interp(place - a, np.arange(part.size), part)
        else:
            key = (stretch.row, a, b)
            if key not in self._fine:
                self._fine[key] = _band_limited(self._followed(mv[a:b], inked))
            values = _between(self._fine[key], b - a, place - a)
        if not inked.all():
            holes = ~known
            holes[:a] = holes[b:] = False
            per_s = self._mm_per_s * self._per_mm
            missing = _long_runs(holes, max(2.0, _BRIDGED_S * per_s))
            if inked.any():
                # Beyond its first or last ink nothing holds a curve.
                before, behind = int(inked.argmax()), int(inked[::-1].argmax())
                missing[: a + before] |= before > _END_S * per_s
                missing[b - behind :] |= behind > _END_S * per_s
            values[missing[np.clip(np.round(place).astype(int), 0, missing.size - 1)]] = np.nan
        shown = values[np.isfinite(values)]
        if shown.size:
            values = values - median(shown)
        return first, values

    def _ends_of(self, row: int, a: int, b: int) -> NDArray[np.bool_]:
        """What is foreign near the ends of columns `a` to `b` of a row."""
        assert self._foreign is not None
        return _near_ends(self._foreign[row, a:b], round(_FOREIGN_MM * self._per_mm))

    def left_out(self, stretches: tuple[Stretch, ...]) -> NDArray[np.bool_]:
        """Columns whose ink is no sample: strokes that were bridged and what is foreign, (n_rows, w)."""
        out = self._bridged.copy()
        if self._foreign is not None:
            for stretch in stretches:
                a, b = max(0, int(np.ceil(stretch.left)) + 1), min(self._x.size, int(stretch.right))
                if a < b:
                    out[stretch.row, a:b] |= self._ends_of(stretch.row, a, b)
        return out

    def _followed(self, part: FloatArray, inked: NDArray[np.bool_]) -> FloatArray:
        """The columns of a stretch, what is missing bridged, and its ends without leaps."""
        at = np.flatnonzero(inked)
        if at.size > 0:  # what is missing at an end goes on level: the neighbour says nothing about it
            part = np.interp(np.arange(part.size), at, part[at]) if at.size < part.size else part
        return _steady_ends(part, max(2, round(0.3 * self._per_mm)), 0.12)


def _near_ends(flags: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """From either end up to the last flag within `reach`."""
    reach = min(reach, flags.size // 4)
    out = np.zeros_like(flags)
    first, last = np.flatnonzero(flags[:reach]), np.flatnonzero(flags[::-1][:reach])
    if first.size:
        out[: first[-1] + 1] = True
    if last.size:
        out[out.size - 1 - last[-1] :] = True
    return out


def _steady_ends(values: FloatArray, reach: int, jump: float) -> FloatArray:
    """Values whose ends, where they leap within `reach`, go on as they were before the leap.

    Such a leap leads from one lead to the next: behind it the curve stays where it is. A beat comes back.
    """
    out = values
    if values.size < 8 * reach or reach < 1:
        return out
    for ends in (slice(None), slice(None, None, -1)):
        part = out[ends]
        leaps = np.flatnonzero(np.abs(np.diff(part[: reach + 1])) > jump)
        if not leaps.size:
            continue
        keep = int(leaps[-1]) + 1
        leap = abs(float(part[keep] - part[0]))
        ahead = part[keep : keep + 5 * reach]
        if float(np.abs(ahead - part[keep]).max()) > 0.6 * leap:
            continue
        out = out.copy()
        part = out[ends]
        part[:keep] = float(np.median(part[keep : keep + max(2, reach // 2)]))
    return out


def _band_limited(values: FloatArray) -> FloatArray:
    """Values at eighths of the evenly spaced columns, by Fourier interpolation; fewer than eight columns as they are.

    A column shows the mean of the time that it covers: fast waves come out too low by sinc(frequency), which is undone
    where signals have their energy, and left where there is little but noise.
    """
    n = values.size
    if n < _FEW:
        return values
    padded = np.concatenate([values, values[::-1]])  # even, so that the ends do not jump
    waves = np.fft.rfft(padded)
    frequency = np.arange(waves.size) / padded.size
    waves *= 1.0 + (1.0 / np.sinc(frequency) - 1.0) * np.clip((_NOISE_FROM - frequency) / _FADING, 0.0, 1.0)
    fine = np.fft.irfft(waves, _TIMES * padded.size) * _TIMES
    return np.asarray(fine[: _TIMES * (n - 1) + 1], dtype=np.float64)


def _between(fine: FloatArray, n: int, at: FloatArray) -> FloatArray:
    """Values at fractional places among `n` columns, from what `_band_limited` made of them."""
    if n < _FEW:
        return np.interp(at, np.arange(n), fine)
    return np.interp(at * _TIMES, np.arange(fine.size), fine)


def _long_runs(flags: NDArray[np.bool_], least: float) -> NDArray[np.bool_]:
    """Only the runs of True that are longer than `least`."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8))).reshape(-1, 2)
    out = np.zeros_like(flags)
    for a, b in edges:
        if b - a > least:
            out[a:b] = True
    return out
