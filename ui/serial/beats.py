"""Median beats of two ECGs laid over each other, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Protocol

_MM_S, _MM_MV = 50.0, 10.0  # paper, so that a square millimetre means what it does on a page
_WIDE_MM, _HIGH_MM, _GAP_MM = 40.0, 26.0, 3.0
_COLUMNS = 4
# Columns as on a page of three rows.
_ORDER = ("I", "aVR", "V1", "V4", "II", "aVL", "V2", "V5", "III", "aVF", "V3", "V6")
BEFORE_COLOUR, AFTER_COLOUR = "#8a6d00", "#0b3d91"

Beat = Sequence[float | None]


class WithBeats(Protocol):
    """A comparison, as it was made or as the API sends it."""

    @property
    def beats_mv(self) -> Mapping[str, tuple[Beat, Beat]]:
        """Lead to the beats before and after, mV."""

    @property
    def beats_hz(self) -> float:
        """Samples a second."""


def beats_svg(serial: WithBeats, names: tuple[str, str] = ("before", "after")) -> str:
    """All leads that both have, the earlier beat dashed and the later one drawn through, 50 mm/s and 10 mm/mV.

    Args:
        serial: The comparison.
        names: Of the two, for the legend.

    Returns:
        An SVG picture; "" where there are no beats.
    """
    leads = [lead for lead in _ORDER if lead in serial.beats_mv]
    if not leads:
        return ""
    rows = (len(leads) + _COLUMNS - 1) // _COLUMNS
    width = _COLUMNS * _WIDE_MM + (_COLUMNS - 1) * _GAP_MM
    height = rows * (_HIGH_MM + _GAP_MM) + 6.0
    parts = []
    for number, lead in enumerate(leads):
        x = (number % _COLUMNS) * (_WIDE_MM + _GAP_MM)
        y = (number // _COLUMNS) * (_HIGH_MM + _GAP_MM)
        parts.append(_panel(lead, serial.beats_mv[lead], serial.beats_hz, x, y))
    y = height - 1.5
    for x, colour, dashes, name in (
        (0.0, BEFORE_COLOUR, ' stroke-dasharray="1.2 0.8"', names[0]),
        (width / 2, AFTER_COLOUR, "", names[1]),
    ):
        parts.append(
            f'<path d="M{x:.1f} {y - 1:.1f}h8" stroke="{colour}" stroke-width="0.5" fill="none"{dashes}/>'
            f'<text x="{x + 10:.1f}" y="{y:.1f}" font-size="3.2" fill="currentColor">{escape(name)}</text>'
        )
    return (
        # Half a line's width beyond the outermost panels.
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-0.2 -0.2 {width + 0.4:g} {height + 0.4:g}" '
        f'width="{width:g}mm" height="{height:g}mm" font-family="sans-serif" color="#222" role="img">'
        f"{''.join(parts)}</svg>"
    )


def _panel(lead: str, beats: tuple[Beat, Beat], hz: float, x: float, y: float) -> str:
    known = [value for beat in beats for value in beat if value is not None]
    top, bottom = max(known, default=0.5), min(known, default=-0.5)
    # The panel holds 2.6 mV; what goes beyond is drawn smaller, and says so.
    scale = min(1.0, _HIGH_MM / _MM_MV / max(top - bottom, 1e-6))
    zero = y + _HIGH_MM / 2 + (top + bottom) / 2 * _MM_MV * scale
    squares = "".join(
        f'<path d="M{x + k * 5:.1f} {y:.1f}v{_HIGH_MM:g}" stroke="#e7b9b9" stroke-width="0.12"/>'
        for k in range(1, int(_WIDE_MM // 5))
    )
    name = lead if scale == 1.0 else f"{lead} ({scale * _MM_MV:.1f} mm/mV)"
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{_WIDE_MM:g}" height="{_HIGH_MM:g}" fill="none" stroke="#c99" '
        f'stroke-width="0.2"/>{squares}<path d="M{x:.1f} {zero:.2f}h{_WIDE_MM:g}" stroke="#c99" stroke-width="0.15"/>'
        f'<text x="{x + 1:.1f}" y="{y + 4:.1f}" font-size="3.2" fill="currentColor">{escape(name)}</text>'
        + _line(beats[0], hz, x, zero, scale, BEFORE_COLOUR, ' stroke-dasharray="1.2 0.8"')
        + _line(beats[1], hz, x, zero, scale, AFTER_COLOUR, "")
    )


def _line(beat: Beat, hz: float, x: float, zero: float, scale: float, colour: str, dashes: str) -> str:
    path, pen = "", "M"
    for k, value in enumerate(beat):
        if value is None:
            pen = "M"
            continue
        path += f"{pen}{x + 1 + k / hz * _MM_S:.2f} {zero - value * _MM_MV * scale:.2f}"
        pen = "L"
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="0.35" stroke-linejoin="round"{dashes}/>'
