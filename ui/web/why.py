"""Why a case is near: the stretches of the query that the server found, as patches on the viewer and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ecgkin.retrieval.ecg.record import EcgRecord
    from ecgkin.ui.api.answers import StretchOut
    from ecgkin.ui.web.drawings import Mark, Sheet
    from ecgkin.ui.web.texts import Words

# The strongest stretch's colour; weaker ones in proportion.
STRONGEST = 0.5
# A page with every lead over its whole length: each stretch of a recording has its place on it.
LAYOUT = "12x1"

Points: TypeAlias = tuple[tuple[float, float], ...]


def on_record(record: EcgRecord, part: StretchOut) -> Points:
    """Corners of a stretch of a recording on a page of `LAYOUT`, mm of its sheet; none where it is not shown.

    Args:
        record: The recording.
        part: From the API.

    Returns:
        x and y, mm.
    """
    from ecgkin.retrieval.ecg.drawing.geometry import page_geometry
    from ecgkin.retrieval.ecg.drawing.style import RenderStyle
    from ecgkin.ui.web.drawings import crop

    geometry = page_geometry(RenderStyle(layout=LAYOUT))
    left, top, _, _ = crop(LAYOUT)
    panel = next((panel for panel in geometry.panels if panel.lead == part.lead), None)
    if panel is None or part.begin_s is None or part.end_s is None or part.lead not in record.leads:
        return ()
    a, b = (min(1.0, max(0.0, (at - panel.start_s) / panel.length_s)) for at in (part.begin_s, part.end_s))
    x = panel.x_mm - left
    middle, half = panel.baseline_y_mm - top, geometry.row_spacing_mm / 2
    x0, x1, y0, y1 = x + a * panel.width_mm, x + b * panel.width_mm, middle - half, middle + half
    return ((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def on_picture(sheet: Sheet, part: StretchOut) -> Points:
    """Corners of a stretch of a picture, mm of its sheet.

    Args:
        sheet: The picture as it is shown.
        part: From the API.

    Returns:
        x and y, mm.
    """
    from ecgkin.ui.web.drawings import points_mm

    return points_mm(part.corners, sheet.px_per_mm, sheet.turned_px)


def name(part: StretchOut, word: Words) -> str:
    """A stretch for people: lead, and which part of it.

    Args:
        part: From the API.
        word: Looks up texts in the language of the page.
    """
    lead = part.lead or word("why_row", part=str(part.row))
    if part.end - part.begin >= 1:
        return lead
    if part.begin_s is not None and part.end_s is not None:
        return f"{lead} {part.begin_s:.1f}-{part.end_s:.1f} s"
    return f"{lead} {100 * part.begin:.0f}-{100 * part.end:.0f} %"


def marks(parts: Sequence[StretchOut], places: Sequence[Points]) -> tuple[Mark, ...]:
    """Patches for the viewer: the more similarity goes with a length of a lead, the stronger.

    Args:
        parts: From the API.
        places: Corners of each, mm; empty for one that is not shown.
    """
    from ecgkin.ui.web.drawings import Mark

    weights = [part.loss / (part.end - part.begin) for part in parts]
    most = max(weights, default=0.0)
    if most <= 0:
        return ()
    found = zip(weights, places, strict=True)
    return tuple(Mark(points, STRONGEST * weight / most) for weight, points in found if weight > 0 and points)
