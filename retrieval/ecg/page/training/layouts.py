"""Which leads a drawn page shows, and where: rows, columns, rhythm strips, pulses, strokes and names in millimetres."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ecgkin.retrieval.ecg.leads import CABRERA_LEADS, LEADS

_STRIP_LEADS = ("II", "II", "II", "V1", "V5", "I", "III", "V2", "aVF", "V6")
_SINGLE = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
_POSTERIOR = ("V3R", "V4R", "V7", "V8", "V9")


@dataclass(frozen=True, slots=True)
class Stretch:
    """One printed piece of a lead.

    Attributes:
        lead: Its name.
        row, column: Where it stands; strips have column 0.
        t0_s, duration_s: Which part of the recording it shows.
        x_mm, y_mm: Page place of its first sample at 0 mV.
        strip: Whether it is a rhythm strip below the columns.
    """

    lead: str
    row: int
    column: int
    t0_s: float
    duration_s: float
    x_mm: float
    y_mm: float
    strip: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """The plan of a page in millimetres, the origin at its upper left corner.

    Attributes:
        name: Such as "3x4+1R".
        stretches: What is printed.
        width_mm, height_mm: Of the page.
        area_mm: (x0, y0, x1, y1) of the part for curves.
        column_x_mm: Where each column begins.
        row_y_mm: 0 mV of each row.
        speed_mm_s, gain_mm_mv: Scale of the page.
        gains: Lead -> gain where it differs.
    """

    name: str
    stretches: tuple[Stretch, ...]
    width_mm: float
    height_mm: float
    area_mm: tuple[float, float, float, float]
    column_x_mm: tuple[float, ...]
    row_y_mm: tuple[float, ...]
    speed_mm_s: float
    gain_mm_mv: float
    pulse_room_mm: tuple[float, float] = (0.0, 0.0)
    gains: dict[str, float] = field(default_factory=dict)

    def gain_of(self, lead: str) -> float:
        """Millimetres per millivolt of a lead."""
        return self.gains.get(lead, self.gain_mm_mv)


def draw_layout(rng: np.random.Generator) -> Layout:
    """A random plan of the kinds that occur."""
    speed = float(rng.choice((25.0, 25.0, 25.0, 25.0, 25.0, 25.0, 25.0, 25.0, 25.0, 50.0, 50.0, 12.5)))
    gain = float(rng.choice((10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 5.0, 5.0, 20.0)))
    name, rows, strips = _plan(rng)
    n_rows, n_columns = len(rows), max(len(r) for r in rows)
    seconds = _column_seconds(n_columns, speed, rng)
    gap_mm = float(rng.choice((0.0, 0.0, 0.0, 0.0, rng.uniform(0.2, 3.0), rng.uniform(6.0, 14.0))))
    before = float(rng.choice((rng.uniform(0.0, 2.0), rng.uniform(4.0, 9.0), rng.uniform(8.0, 22.0))))
    after = float(rng.choice((rng.uniform(0.0, 2.0), rng.uniform(4.0, 18.0))))
    left = float(rng.choice((0.0, rng.uniform(0.0, 12.0), rng.uniform(0.0, 25.0))))
    right = float(rng.choice((0.0, rng.uniform(0.0, 8.0), rng.uniform(0.0, 20.0))))
    total = n_rows + len(strips)
    pitch = float(rng.uniform(*((9.0, 20.0) if total > 8 else (14.0, 34.0) if total > 4 else (18.0, 42.0))))
    header = float(rng.choice((0.0, rng.uniform(0.0, 10.0), rng.uniform(15.0, 60.0))))
    footer = float(rng.choice((0.0, rng.uniform(4.0, 10.0), rng.uniform(8.0, 25.0))))
    top = header + pitch * rng.uniform(0.45, 0.8)
    jitter = 0.04 * pitch
    row_y = [float(top + pitch * i + rng.normal(0.0, jitter)) for i in range(total)]
    x0 = left + before
    column_x = [x0 + c * (seconds * speed + gap_mm) for c in range(n_columns)]
    same_time = rng.random() < (0.1 if n_columns == 4 else 0.4)
    stretches = []
    for i, row in enumerate(rows):
        for c, lead in enumerate(row):
            if not lead:
                continue
            start = 0.0 if same_time else min(c * seconds, max(0.0, 10.0 - seconds))
            stretches.append(Stretch(lead, i, c, start, seconds, column_x[c], row_y[i]))
    whole = n_columns * (seconds * speed + gap_mm) - gap_mm
    for i, lead in enumerate(strips):
        duration = min(10.0, whole / speed)
        stretches.append(Stretch(lead, n_rows + i, 0, 0.0, duration, x0, row_y[n_rows + i], strip=True))
    width = x0 + whole + after + right
    height = row_y[-1] + pitch * rng.uniform(0.35, 0.7) + footer
    cut = [rng.random() < 0.5, rng.random() < 0.6, rng.random() < 0.5, rng.random() < 0.5]
    area = (
        left if left < 6 or cut[0] else 0.0,
        header if cut[1] else 0.0,
        width - (right if cut[2] else 0.0),
        height - (footer if cut[3] else 0.0),
    )
    gains = dict.fromkeys(LEADS[6:], gain / 2) if rng.random() < 0.03 else {}
    return Layout(
        name, tuple(stretches), width, height, area, tuple(column_x), tuple(row_y), speed, gain, (before, after), gains
    )


def _column_seconds(n_columns: int, speed: float, rng: np.random.Generator) -> float:
    usual = {4: 2.5, 2: 5.0, 1: 10.0, 3: 3.3, 6: 1.6}[n_columns]
    if n_columns == 4:
        seconds = float(rng.choice((2.5, 2.5, 2.5, 2.5, 2.4, 3.0, rng.uniform(1.5, 2.5))))
    elif n_columns == 2:
        seconds = float(rng.choice((5.0, 5.0, 5.0, 2.5, rng.uniform(2.5, 5.0))))
    elif n_columns == 1:
        seconds = float(rng.choice((10.0, 10.0, rng.uniform(4.0, 10.0), rng.uniform(2.5, 5.0))))
    else:
        seconds = usual
    if speed > 25 and n_columns == 1:
        seconds = min(seconds, float(rng.uniform(3.0, 7.0)))
    return seconds


def _plan(rng: np.random.Generator) -> tuple[str, list[list[str]], list[str]]:
    """Name, leads of the rows by column, and leads of the strips."""
    cabrera = rng.random() < 0.08
    limb = list(CABRERA_LEADS[:6] if cabrera else LEADS[:6])
    if cabrera and rng.random() < 0.3:
        limb[2] = "aVR"
    chest = list(LEADS[6:])
    mark = " Cabrera" if cabrera else ""

    def strips(weights: tuple[float, ...]) -> list[str]:
        count = int(rng.choice(len(weights), p=weights))
        names = list(dict.fromkeys(_STRIP_LEADS[int(rng.integers(len(_STRIP_LEADS)))] for _ in range(12)))
        if count == 1 and rng.random() < 0.7:
            return ["II"]
        return ["V1", "II", "V5"] if count == 3 and rng.random() < 0.6 else names[:count]

    kind = rng.random()
    if kind < 0.52:
        below = strips((0.32, 0.44, 0.11, 0.13))
        columns = [limb[:3], limb[3:], chest[:3], chest[3:]]
        return f"3x4+{len(below)}R{mark}", [[col[r] for col in columns] for r in range(3)], below
    if kind < 0.66:
        below = strips((0.6, 0.35, 0.05))
        return f"6x2+{len(below)}R{mark}", [[limb[r], chest[r]] for r in range(6)], below
    if kind < 0.73:
        return f"12x1{mark}", [[lead] for lead in limb + chest], []
    if kind < 0.80:
        half = limb if rng.random() < 0.5 else chest
        return f"6x1{mark}", [[lead] for lead in half], strips((0.8, 0.2))
    if kind < 0.86:
        half = limb if rng.random() < 0.5 else chest
        below = strips((0.7, 0.3))
        return f"3x2+{len(below)}R{mark}", [[half[r], half[r + 3]] for r in range(3)], below
    if kind < 0.89:
        return f"2x6{mark}", [limb, chest], strips((0.6, 0.4))
    if kind < 0.92:
        rows = [[limb[r], (limb + chest)[r + 4], chest[r + 2]] for r in range(4)]
        return f"4x3{mark}", rows, strips((0.6, 0.4))
    pool = list(_SINGLE) + (list(_POSTERIOR) if rng.random() < 0.3 else [])
    count = int(rng.integers(1, 6))
    first = int(rng.integers(len(pool) - count + 1))
    chosen = pool[first : first + count]
    if kind < 0.97:
        return f"{count}x1", [[lead] for lead in chosen], []
    pairs = [[lead, pool[(first + i + 3) % len(pool)]] for i, lead in enumerate(chosen)]
    return f"{count}x2", pairs, []
