"""Draw an ECG as a vector page in millimetres: the geometry of `drawing`, every sample kept, text as text."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.drawing.geometry import Colour, PageGeometry, Panel, RenderStyle, page_geometry
from ecgkin.retrieval.ecg.drawing.raster import MAJOR_MM, MINOR_MM, NOT_AVAILABLE
from ecgkin.retrieval.ecg.drawing.traces import drawable_leads, trace_groups
from ecgkin.retrieval.ecg.record import EcgRecord

# XML 1.0, section 2.2: these characters cannot be written, not even as references.
_NO_XML = dict.fromkeys([*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF, *range(0xD800, 0xE000)], " ")
_FONT = "Aileron, 'DejaVu Sans', Arial, Helvetica, sans-serif"


def render_svg(record: EcgRecord, style: RenderStyle = RenderStyle()) -> str:
    """Draw one ECG as an SVG document.

    One user unit is one millimetre, and printed without scaling the page has its true size. Each lead is a group
    `<g class="lead" data-lead="aVR">` (also `rhythm`, `inverted`, `missing` as classes) with a title and one path for
    each unbroken stretch.

    Args:
        record: The ECG; not changed.
        style: What the page looks like. `px_per_mm` only matters where it decides on the size of the page.

    Returns:
        The document, beginning with `<svg`.

    Raises:
        QueryError: The style asks for a page that cannot be (see `page_geometry`).
    """
    geometry = page_geometry(style)
    width, height = _number(geometry.width_mm), _number(geometry.height_mm)
    name = f"ECG {record.record_id}".strip()
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}mm" height="{height}mm" '
        f'viewBox="0 0 {width} {height}" role="img">',
        f"<title>{_text(name)}</title>",
        f'<rect class="paper" width="{width}" height="{height}" fill="{_hex(style.background)}"/>',
        *_grid(style, geometry, width, height),
        f'<g class="page" fill="none" stroke="{_hex(style.ink)}" stroke-width="{_number(style.line_width_mm)}" '
        'stroke-linecap="round" stroke-linejoin="round">',
    ]
    parts += [f'<path class="calibration" d="{_path(np.array(pulse))}"/>' for pulse in geometry.calibrations]
    parts += [
        f'<path class="separator" stroke-width="{_number(1.5 * style.line_width_mm)}" '
        f'd="M{_number(x)} {_number(top)}V{_number(bottom)}"/>'
        for x, top, bottom in geometry.separators
    ]
    paths: dict[Panel, list[str]] = {panel: [] for panel in geometry.panels}
    for panels, points in trace_groups(record, style, geometry):
        for panel, line in zip(panels, points, strict=True):
            paths[panel].append(_path(line))
    known = drawable_leads(record)
    for panel in geometry.panels:
        parts += _lead(panel, paths[panel], panel.lead not in known, style)
    parts.append("</g>")
    parts.append(f'<g class="text" fill="{_hex(style.ink)}" font-family="{_FONT}" font-size="{style.font_size_mm:g}">')
    parts += [
        f'<text class="{text.kind}" x="{_number(text.x_mm)}" y="{_number(text.y_mm)}" xml:space="preserve">'
        f"{_text(text.text)}</text>"
        for text in geometry.texts
    ]
    parts += ["</g>", "</svg>"]
    return "\n".join(parts) + "\n"


def _lead(panel: Panel, paths: list[str], missing: bool, style: RenderStyle) -> list[str]:
    flags = {"rhythm": panel.is_rhythm, "inverted": panel.sign < 0, "missing": missing}
    classes = " ".join(["lead", *(name for name, is_so in flags.items() if is_so)])
    until = panel.start_s + panel.length_s
    title = f"Lead {panel.label}, {panel.start_s:g} to {until:g} s" + (", not available" if missing else "")
    lines = [f'<g class="{classes}" data-lead={quoteattr(panel.lead)}>', f"<title>{_text(title)}</title>"]
    lines += [f'<path class="trace" data-lead={quoteattr(panel.lead)} d="{d}"/>' for d in paths]
    if missing:
        y = panel.baseline_y_mm + 0.3 * style.font_size_mm
        lines.append(
            f'<text class="missing" x="{_number(panel.x_mm + 2)}" y="{_number(y)}" stroke="none" opacity="0.6" '
            f'fill="{_hex(style.ink)}" font-family="{_FONT}" font-size="{0.8 * style.font_size_mm:g}">'
            f"{NOT_AVAILABLE}</text>"
        )
    return [*lines, "</g>"]


def _grid(style: RenderStyle, geometry: PageGeometry, width: str, height: str) -> list[str]:
    """Two patterns whose lines run through the beginning of the traces and through the first baseline."""
    colours = style.grid_colours
    if colours is None:
        return []
    parts = ["<defs>"]
    kinds = (("minor", 1, MINOR_MM, colours.minor), ("major", 5, MAJOR_MM, colours.major))
    for name, pitch, line, colour in kinds:
        # The lines stand in the middle of the tile, because a tile cuts off what reaches over its border.
        x, y = (_number(origin - pitch / 2) for origin in (geometry.trace_x_mm, geometry.row_y_mm[0]))
        half = _number(pitch / 2)
        parts.append(
            f'<pattern id="{name}" x="{x}" y="{y}" width="{pitch}" height="{pitch}" patternUnits="userSpaceOnUse">'
            f'<path d="M{half} 0V{pitch}M0 {half}H{pitch}" stroke="{_hex(colour)}" stroke-width="{line}"/></pattern>'
        )
    parts.append("</defs>")
    parts += [
        f'<rect class="grid {name}" width="{width}" height="{height}" fill="url(#{name})"/>' for name, *_ in kinds
    ]
    return parts


def _path(points: NDArray[np.float64]) -> str:
    """Path data with micrometres as the last digit; a lone sample becomes a dot."""
    pairs = [f"{x:.3f} {y:.3f}" for x, y in points.tolist()]
    return f"M{'L'.join(pairs)}" if len(pairs) > 1 else f"M{pairs[0]}h0"


def _number(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _text(text: str) -> str:
    return escape(text.translate(_NO_XML))
