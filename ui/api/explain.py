"""Why a case is near: stretches of the query are flattened in turn, and what its similarity loses is told for each.

A recording is flattened lead by lead. Of a picture it is the trace map and the signals that were read off it that are
flattened, what the encoder sees: on the page itself a missing stretch would also change how the page is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ecgkin.ui.api.answers import StretchOut

if TYPE_CHECKING:
    from ecgkin.retrieval.ecg.page.digitized import Digitized
    from ecgkin.retrieval.ecg.page.digitized import Stretch as PrintedStretch
    from ecgkin.retrieval.ecg.page.printed import PrintedEcg
    from ecgkin.retrieval.ecg.page.reading import PageReading
    from ecgkin.retrieval.ecg.record import EcgRecord

Vectors = NDArray[np.float32]
# The strongest leads are cut into so many parts.
FINER, PARTS = 3, 4
# A row of an unknown layout is looked at in so many stretches.
STRETCHES = 4
_WHOLE = 0.9  # share of the width from which a panel is a rhythm strip, where there are shorter ones
_INK = 60  # of 255, what counts as part of a line in a trace map


@dataclass(frozen=True)
class Stretch:
    """Part of the query: a panel (a lead), from and to as shares of its length."""

    panel: int
    begin: float = 0.0
    end: float = 1.0

    def cut(self, parts: int) -> list[Stretch]:
        """The same in equal parts, first to last."""
        step = (self.end - self.begin) / parts
        return [Stretch(self.panel, self.begin + n * step, self.begin + (n + 1) * step) for n in range(parts)]


class Masks(Protocol):
    """What can be flattened."""

    n_panels: int

    def vectors(self, sets: Sequence[Sequence[Stretch]]) -> Vectors:
        """What the encoder makes of the query without each of these sets of stretches, (n, dim)."""
        ...

    def told(self, stretch: Stretch, loss: float) -> StretchOut:
        """A stretch as the answer has it.

        Args:
            stretch: Which part of which panel.
            loss: Cosine that is lost without it.
        """
        ...


class RecordMasks:
    """A recording: its panels are its leads.

    Args:
        record: As it is searched for (`searchable`).
        encode: Of the encoder.
    """

    def __init__(self, record: EcgRecord, encode: Callable[[Sequence[EcgRecord]], Vectors]) -> None:
        self._record = record
        self._encode = encode
        self.n_panels = len(record.leads)

    def vectors(self, sets: Sequence[Sequence[Stretch]]) -> Vectors:
        """Of the records with flat lines."""
        return self._encode([self.masked(stretches) for stretches in sets])

    def masked(self, stretches: Sequence[Stretch]) -> EcgRecord:
        """With the median of the lead in these stretches."""
        signal, length = self._record.signal_mv.copy(), self._record.signal_mv.shape[1]
        for part in stretches:
            values = self._record.signal_mv[part.panel]
            flat = float(np.nanmedian(values)) if np.isfinite(values).any() else np.nan
            signal[part.panel, round(part.begin * length) : round(part.end * length)] = flat
        return replace(self._record, signal_mv=signal)

    def told(self, stretch: Stretch, loss: float) -> StretchOut:
        """A stretch as the answer has it, with its seconds.

        Args:
            stretch: Which part of which lead.
            loss: Cosine that is lost without it.
        """
        begin_s, end_s = (share * self._record.duration_s for share in (stretch.begin, stretch.end))
        lead = self._record.leads[stretch.panel]
        return StretchOut(
            lead=lead, row=0, begin=stretch.begin, end=stretch.end, begin_s=begin_s, end_s=end_s, loss=loss, corners=[]
        )


@dataclass(frozen=True)
class _Panel:
    """Where a lead is: px of the trace map (left, right, top, baseline, bottom), shares of the signal area's width."""

    lead: str
    row: int
    map_px: tuple[int, int, int, int, int]
    across: tuple[float, float]


class PageMasks:
    """A page that was read: its panels are the leads of its layout, or stretches of rows where that is not known.

    Args:
        printed: What was read of the picture.
        encode: Of the encoder.
    """

    def __init__(self, printed: PrintedEcg, encode: Callable[[Sequence[PrintedEcg]], Vectors]) -> None:
        page = printed.seen
        self._printed = printed
        self._page = page
        self._encode = encode
        self._found = printed.digitized
        self._panels = _panels_of_layout(page) or _panels_of_rows(page)
        self.n_panels = len(self._panels)

    def vectors(self, sets: Sequence[Sequence[Stretch]]) -> Vectors:
        """Of the pages with flat lines, in the trace map and in the signals."""
        from ecgkin.retrieval.ecg.page.corrections import Corrections

        return self._encode(
            [
                # The map is what is seen already: what was put right is not to be drawn over it again.
                replace(
                    self._printed,
                    page=replace(self._page, trace_map=self.masked(stretches)),
                    record=self._silenced(stretches),
                    known=Corrections(),
                )
                for stretches in sets
            ]
        )

    def _silenced(self, stretches: Sequence[Stretch]) -> EcgRecord | None:
        """The signals with the median of the lead in these stretches; None where there are none."""
        record = self._printed.record
        if record is None:
            return None
        signal, rate = record.signal_mv.copy(), record.fs_hz
        for part in stretches:
            place = _place(self._found, self._panels[part.panel])
            if place is None or place.lead not in record.leads:
                continue
            row = record.leads.index(place.lead)
            known = record.signal_mv[row][np.isfinite(record.signal_mv[row])]
            first, last = (round(rate * (place.start_s + share * place.length_s)) for share in (part.begin, part.end))
            signal[row, first:last] = float(np.median(known)) if len(known) else np.nan
        return replace(record, signal_mv=signal)

    def masked(self, stretches: Sequence[Stretch]) -> NDArray[np.uint8]:
        """The trace map with a line at the baseline in these stretches; shape (256, 512)."""
        import cv2

        ink = self._page.trace_map.copy()
        lines = {panel.map_px[3] for panel in self._panels}
        for part in stretches:
            left, right, top, baseline, bottom = self._panels[part.panel].map_px
            x0, x1 = (round(left + share * (right - left)) for share in (part.begin, part.end))
            strip = ink[:, x0:x1]
            # Peaks that reach into other rows go as well, unless they touch what is drawn there.
            labels = cv2.connectedComponents((strip > _INK).astype(np.uint8))[1]
            others = [labels[max(0, y - 2) : y + 3] for y in lines if y != baseline]
            kept = np.unique(np.concatenate([part.ravel() for part in others])) if others else np.zeros(1, int)
            own = np.setdiff1d(np.unique(labels[top:bottom]), kept)
            strip[np.isin(labels, own[own > 0])] = 0
            strip[top:bottom] = 0
            strip[baseline : baseline + 1] = 255
        return ink

    def told(self, stretch: Stretch, loss: float) -> StretchOut:
        """A stretch as the answer has it, with its place on the picture as it came.

        Args:
            stretch: Which part of which panel.
            loss: Cosine that is lost without it.
        """
        panel = self._panels[stretch.panel]
        a, b = panel.across
        x0, x1 = (a + share * (b - a) for share in (stretch.begin, stretch.end))
        y0, y1 = (n / max(1, self._page.n_rows) for n in (panel.row, panel.row + 1))
        corners = _where_followed(self._found, panel, stretch) or _on_picture(
            self._page, ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
        )
        return StretchOut(
            lead=panel.lead, row=panel.row + 1, begin=stretch.begin, end=stretch.end, begin_s=None, end_s=None,
            loss=loss, corners=corners,
        )  # fmt: skip


def _place(found: Digitized | None, panel: _Panel) -> PrintedStretch | None:
    """Where the curve of a panel was followed; None where it was not."""
    if found is None:
        return None
    strip = panel.across[1] - panel.across[0] > _WHOLE and any(not one.strip for one in found.stretches)
    return next((one for one in found.stretches if one.lead == panel.lead and one.strip == strip), None)


def _where_followed(found: Digitized | None, panel: _Panel, part: Stretch) -> list[tuple[float, float]]:
    """Corners of a stretch on the picture by where its curve was followed; none where it was not."""
    place = _place(found, panel)
    if found is None or place is None:
        return []
    baselines, factor = found.sheet.rows.baselines, found.fine.factor
    pitch = float(np.median(np.diff(baselines))) if len(baselines) > 1 else 0.3 * found.sheet.shape[0]
    y = (baselines[place.row] + 0.5) * factor - 0.5
    x0, x1 = (place.left + share * (place.right - place.left) for share in (part.begin, part.end))
    half = 0.5 * pitch * factor
    points = found.on_picture(np.array([x0, x1, x1, x0]), np.array([y - half, y - half, y + half, y + half]))
    return [(float(x), float(y)) for x, y in points]


def _panels_of_layout(page: PageReading) -> list[_Panel]:
    """The leads of a page that was redrawn in its layout (`page_redraw`); none where it was not."""
    from ecgkin.retrieval.ecg.drawing.geometry import page_geometry
    from ecgkin.retrieval.ecg.drawing.style import LAYOUTS, RenderStyle

    if page.layout not in LAYOUTS:
        return []
    geometry = page_geometry(RenderStyle(layout=page.layout))
    left, right = geometry.calibrations[0][0][0], geometry.trace_x_mm + geometry.trace_width_mm
    height, width = page.trace_map.shape
    per_mm = width / (right - left)
    # A redrawn page has a pulse at the left of each row, which begins on its baseline.
    inked = (page.trace_map[:, : max(2, round(per_mm))] > _INK).any(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], inked, [False])).astype(int)))
    baselines = [int((a + b) // 2) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    if len(baselines) != len(geometry.row_y_mm):
        return []
    half = max(4, round(np.median(np.diff(baselines)) / 2)) if len(baselines) > 1 else height // 2
    # The signal area of the picture begins with a pulse only where there is one.
    origin = left if page.gain_mm_mv is not None else geometry.trace_x_mm
    panels = []
    for panel in geometry.panels:
        ends = (panel.x_mm, panel.x_mm + panel.width_mm)
        x0, x1 = (round((x - left) * per_mm) for x in ends)
        y = baselines[panel.row]
        across = tuple(min(1.0, max(0.0, (x - origin) / (right - origin))) for x in ends)
        lead = panel.lead if page.leads else ""
        place = (x0, min(x1, width), max(0, y - half), y, min(height, y + half))
        panels.append(_Panel(lead, panel.row, place, (across[0], across[1])))
    return panels


def _panels_of_rows(page: PageReading) -> list[_Panel]:
    """Stretches of equal rows."""
    height, width = page.trace_map.shape
    inked = np.flatnonzero((page.trace_map > _INK).any(axis=1))
    top, bottom = (int(inked[0]), int(inked[-1]) + 1) if inked.size else (0, height)
    n_rows = max(1, page.n_rows)
    edges = np.linspace(top, bottom, n_rows + 1).round().astype(int)
    panels = []
    for row in range(n_rows):
        y0, y1 = int(edges[row]), int(edges[row + 1])
        weight = page.trace_map[y0:y1].sum(axis=1)
        baseline = y0 + int(np.argmax(weight)) if weight.size else y0
        for n in range(STRETCHES):
            shares = (n / STRETCHES, (n + 1) / STRETCHES)
            x0, x1 = (round(share * width) for share in shares)
            panels.append(_Panel("", row, (x0, x1, y0, baseline, y1), shares))
    return panels


def _on_picture(page: PageReading, shares: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Shares of the signal area as px of the picture."""
    import cv2

    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], dtype=np.float32)
    onto = cv2.getPerspectiveTransform(square, np.asarray(page.corners, dtype=np.float32))
    found = cv2.perspectiveTransform(np.array([shares], dtype=np.float64), onto)[0]
    return [(float(x), float(y)) for x, y in found]


def explain(masks: Masks, case: Vectors) -> tuple[float, list[StretchOut]]:
    """What the similarity of query and case loses without each stretch of the query.

    Args:
        masks: The query.
        case: Vector of the case, unit length, shape (dim,).

    Returns:
        The similarity (cosine), and the stretches, those first that cost most; a loss is below 0 where the case gets
        nearer. Leads that were looked at in parts are replaced by these.
    """
    coarse = [Stretch(panel) for panel in range(masks.n_panels)]
    near = np.asarray(masks.vectors([[], *([part] for part in coarse)]), dtype=np.float64) @ case
    score = float(near[0])
    found = {part: score - float(value) for part, value in zip(coarse, near[1:], strict=True)}
    strongest = [part for part in sorted(found, key=lambda part: -found[part])[:FINER] if found[part] > 0]
    finer = [part for parent in strongest for part in parent.cut(PARTS)]
    if finer:
        near = np.asarray(masks.vectors([[part] for part in finer]), dtype=np.float64) @ case
        for parent in strongest:
            del found[parent]
        found |= {part: score - float(value) for part, value in zip(finer, near, strict=True)}
    return score, [masks.told(part, found[part]) for part in sorted(found, key=lambda part: -found[part])]
