"""ECG pages as the page shows them: coloured for light and dark, cropped, and as the addresses of pictures.

Everything goes to the browser as `<img src="data:...">`: what an SVG from a server might carry besides lines cannot
run there.
"""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ecgkin.retrieval.ecg.record import EcgRecord
    from ecgkin.ui.api.answers import PageOut
    from ecgkin.ui.web.shared.query import Query

# Paper, fine grid, coarse grid, ink. Dark: a page that does not glare beside dark text, grid kept readable.
_LIGHT = ("#ffffff", "#fad6d6", "#f0a0a5", "#101018")
_DARK = ("#151416", "#271c1f", "#54313a", "#f1f3f5")
# A card shows the page at about two fifths of its size: traces as strong as the eye is used to, no fine grid.
_CARD_LINE_MM = 0.55
# Kept around the traces of a picture, as a share of their width.
_ROOM = 0.03
_MARGIN_MM = 1.0  # kept beside pulses, names and traces
_PAPER_MM = 20.0  # kept above the first and below the last baseline
# What the viewer draws of two recordings laid over each other: two columns of six leads, on a phone one of twelve.
OVERLAY_MM, OVERLAY_PHONE_MM = (260.0, 144.0), (130.0, 288.0)
# Photos have more pixels than a screen; the width that stays sharp when zoomed in two and a half times.
PICTURE_PX = 2400
# Width of a printed page, for a picture whose grid was not seen.
LETTER_MM = 279.4


# What a page is taken to have where nothing on it says more: nearly every page that is printed has it.
USUAL_SPEED, USUAL_GAIN = 25.0, 10.0


@dataclass(frozen=True)
class Mark:
    """A patch of a sheet: its corners in mm of the sheet, drawn as strongly as `strength` says (0 to 1)."""

    points: tuple[tuple[float, float], ...]
    strength: float


@dataclass(frozen=True)
class Curve:
    """Part of a curve that was followed on a picture: points in mm of its sheet, a colour, a name at its beginning."""

    points: tuple[tuple[float, float], ...]
    colour: str
    doubtful: bool = False
    name: str = ""


@dataclass(frozen=True)
class Area:
    """Where a stretch of a lead is on a sheet: its left upper corner and size in mm, and the seconds it shows."""

    lead: str
    x: float
    y: float
    width: float
    height: float
    start_s: float
    length_s: float

    def part(self, begin_s: float, end_s: float) -> tuple[tuple[float, float], ...]:
        """Corners of what lies between two times, mm; none where nothing of it is shown here."""
        a, b = (min(1.0, max(0.0, (at - self.start_s) / self.length_s)) for at in (begin_s, end_s))
        if b <= a:
            return ()
        x0, x1, y1 = self.x + a * self.width, self.x + b * self.width, self.y + self.height
        return ((x0, self.y), (x1, self.y), (x1, y1), (x0, y1))


@dataclass(frozen=True)
class Sheet:
    """One picture in the viewer.

    Attributes:
        src: Address of the picture, with all of it inside.
        width_mm, height_mm: Its size; of a guess where `scaled` is False.
        scaled: Whether a millimetre on it is known, so that calipers can say ms and mV.
        outline: Corners of the signal area in mm, where one was read.
        marks: Patches that make the query near to a case.
        curves: What was followed on a picture.
        speed_mm_s, gain_mm_mv: Of the paper.
        assumed: Whether speed or gain is only the usual one.
        areas: Where which lead is, as far as that is known; a frame can be drawn on them.
        px_per_mm: Of the picture as it came; 0 for a drawing of ours.
        turned_px: Width of a picture that came lying on its side and is shown upright; 0 for all others.
    """

    src: str
    width_mm: float
    height_mm: float
    scaled: bool = True
    outline: tuple[tuple[float, float], ...] = ()
    marks: tuple[Mark, ...] = ()
    curves: tuple[Curve, ...] = ()
    speed_mm_s: float = USUAL_SPEED
    gain_mm_mv: float = USUAL_GAIN
    assumed: bool = False
    areas: tuple[Area, ...] = ()
    px_per_mm: float = 0.0
    turned_px: int = 0


def framed(outline: Sequence[tuple[float, float]], size: tuple[float, float]) -> tuple[float, float, float, float]:
    """The part of a sheet that is looked at: where its traces are, with some room, else all of it.

    Args:
        outline: Corners of the signal area, mm; none where it is not known.
        size: Width and height of the sheet, mm.

    Returns:
        x, y, width, height, mm.

    >>> framed((), (200, 100)), framed(((10, 10), (110, 10), (110, 60), (10, 60)), (200, 100))
    ((0.0, 0.0, 200, 100), (7.0, 7.0, 106.0, 56.0))
    """
    if not outline:
        return 0.0, 0.0, *size
    xs, ys = [x for x, _ in outline], [y for _, y in outline]
    room = _ROOM * (max(xs) - min(xs))
    return min(xs) - room, min(ys) - room, max(xs) - min(xs) + 2 * room, max(ys) - min(ys) + 2 * room


def case_sheet(svg: str, layout: str, dark: bool, speed_mm_s: float = USUAL_SPEED, gain: float = USUAL_GAIN) -> Sheet:
    """A page of the API, in full size, its empty margins cut off.

    Args:
        svg: From the API.
        layout: Of the page: "3x4", "3x4+1R", "6x2" ...
        dark: Whether the page is dark.
        speed_mm_s: Paper speed it was drawn at.
        gain: Its gain, mm/mV.

    Returns:
        The sheet.
    """
    _, _, width, height = crop(layout)
    return Sheet(svg_address(_styled(svg, layout, dark)), width, height, speed_mm_s=speed_mm_s, gain_mm_mv=gain)


def card_address(svg: str, layout: str, dark: bool) -> str:
    """A page of the API as a small picture.

    Args:
        svg: From the API.
        layout: Of the page: "3x4", "3x4+1R", "6x2" ...
        dark: Whether the page is dark.

    Returns:
        A data: address.
    """
    # Names stay readable where a trace runs through them.
    halo = f"paint-order:stroke;stroke:{(_DARK if dark else _LIGHT)[0]};stroke-width:1.6"
    text = f"g.text{{font-size:6.5px;font-weight:600;{halo}}}"
    css = f"g.page{{stroke-width:{_CARD_LINE_MM}}} .grid.minor{{display:none}} {text}"
    return svg_address(_styled(_shortened(svg), layout, dark, css))


def record_sheet(record: EcgRecord, dark: bool, layout: str = "3x4+1R") -> Sheet:
    """A recording that was dropped onto the page.

    Args:
        record: The recording.
        dark: Whether the page is dark.
        layout: Of the page: "3x4", "3x4+1R", "6x2" ...

    Returns:
        The sheet.
    """
    from ecgkin.retrieval.ecg.drawing.style import RenderStyle
    from ecgkin.retrieval.ecg.drawing.svg import render_svg

    sheet = case_sheet(render_svg(record, RenderStyle(layout=layout)), layout, dark)
    return replace(sheet, areas=areas_of(layout))


def areas_of(layout: str) -> tuple[Area, ...]:
    """Where which lead is on a sheet of `record_sheet`, the height of a row each.

    Args:
        layout: Of the page.

    Returns:
        Areas in the order of reading, rhythm strips last.
    """
    from ecgkin.retrieval.ecg.drawing.geometry import page_geometry
    from ecgkin.retrieval.ecg.drawing.style import RenderStyle

    geometry = page_geometry(RenderStyle(layout=layout))
    left, top, _, _ = crop(layout)
    height = geometry.row_spacing_mm
    return tuple(
        Area(
            panel.lead, panel.x_mm - left, panel.baseline_y_mm - top - height / 2, panel.width_mm, height,
            panel.start_s, panel.length_s,
        )
        for panel in geometry.panels
    )  # fmt: skip


def picture_sheet(rgb: NDArray[np.uint8], page: PageOut | None) -> Sheet:
    """A picture that was dropped onto the page: upright, as calipers need it, and no larger than a screen can use.

    Args:
        rgb: The picture, shape (h, w, 3).
        page: What the server understood of it.

    Returns:
        The sheet.
    """
    import numpy as np
    from PIL import Image

    lies = page is not None and abs(page.rotation_deg - 90) < 45
    picture = Image.fromarray(np.ascontiguousarray(np.rot90(rgb)) if lies else rgb)
    px_per_mm = page.px_per_mm if page is not None else None
    per_mm = px_per_mm or picture.width / LETTER_MM
    width_mm, height_mm = picture.width / per_mm, picture.height / per_mm
    turned_px = picture.height if lies else 0
    outline = points_mm(page.corners, per_mm, turned_px) if page is not None else ()
    if picture.width > PICTURE_PX:
        picture = picture.resize((PICTURE_PX, round(picture.height * PICTURE_PX / picture.width)), Image.Resampling.BOX)
    packed = io.BytesIO()
    picture.save(packed, "JPEG", quality=88)
    src = f"data:image/jpeg;base64,{base64.b64encode(packed.getvalue()).decode()}"
    speed, gain, assumed = paper_scale(page)
    return Sheet(
        src, width_mm, height_mm, px_per_mm is not None, outline, speed_mm_s=speed, gain_mm_mv=gain, assumed=assumed,
        px_per_mm=per_mm, turned_px=turned_px,
    )  # fmt: skip


def points_mm(
    points: Sequence[tuple[float, float]], px_per_mm: float, turned_px: int
) -> tuple[tuple[float, float], ...]:
    """Points of a picture as it came (px) on its sheet (mm).

    Args:
        points: x and y.
        px_per_mm: Scale.
        turned_px: Width of the picture as it came, where the sheet shows it turned by 90 degrees; else 0.

    Returns:
        x and y of each point, mm.
    """
    if turned_px:
        points = [(y, turned_px - 1 - x) for x, y in points]
    return tuple((x / px_per_mm, y / px_per_mm) for x, y in points)


def paper_scale(page: PageOut | None) -> tuple[float, float, bool]:
    """Speed (mm/s), gain (mm/mV) of a page, and whether one of them is only assumed."""
    speed, gain = (None, None) if page is None else (page.speed_mm_s, page.gain_mm_mv)
    return speed or USUAL_SPEED, gain or USUAL_GAIN, not (speed and gain)


def jpeg(query: Query, width_px: int = 1700) -> bytes:
    """A query as a JPEG: the picture that came, or the recording on a page.

    Args:
        query: With one ECG in its files.
        width_px: At most; 1700 px over the width of A4 are 220 dpi.

    Returns:
        The file.

    Raises:
        EcgkinError: It cannot be read.
    """
    from PIL import Image

    from ecgkin.retrieval.ecg.drawing.raster import render
    from ecgkin.retrieval.ecg.record import EcgRecord

    asked = read_query(query)
    if isinstance(asked, EcgRecord):
        picture = render(asked).convert("RGB")
        x, y, width, height = (value * picture.width / LETTER_MM for value in crop("3x4+1R"))
        picture = picture.crop((round(x), round(y), round(x + width), round(y + height)))
    else:
        picture = Image.fromarray(asked)
    picture.thumbnail((width_px, width_px))
    packed = io.BytesIO()
    picture.save(packed, "JPEG", quality=82)
    return packed.getvalue()


def svg_address(svg: str) -> str:
    """An SVG as the address of a picture."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def read_query(query: Query) -> EcgRecord | NDArray[np.uint8]:
    """The samples of a query, or its picture, upright, (h, w, 3). They are decoded in a process of its own.

    Raises:
        EcgkinError: The files cannot be read.
    """
    from ecgkin.retrieval.ecg.page.reading import load_image
    from ecgkin.retrieval.ecg.record import EcgRecord
    from ecgkin.ui.api import decoding
    from ecgkin.ui.api.uploads import Upload

    upload = Upload()
    try:
        for name, content in query.files:
            upload.place(name).write_bytes(content)
        read = upload.decoded(decoding.shared(), query.fs_hz).query
        return read if isinstance(read, EcgRecord) else load_image(read)
    finally:
        upload.close()


def _styled(svg: str, layout: str, dark: bool, css: str = "") -> str:
    """The page with colours and crop of ours; rules beat the attributes that the drawing carries."""
    paper, minor, major, ink = _DARK if dark else _LIGHT
    rules = (
        f".paper{{fill:{paper}}} #minor path{{stroke:{minor}}} #major path{{stroke:{major}}} "
        f"g.page{{stroke:{ink}}} g.text,text{{fill:{ink}}} text.footer{{display:none}} {css}"
    )
    x, y, width, height = crop(layout)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{x:g} {y:g} {width:g} {height:g}"><style>{rules}</style>'
    return re.sub(r"^<svg[^>]*>", head, svg, count=1)


def crop(layout: str) -> tuple[float, float, float, float]:
    """Part of a page of the API that holds traces: x, y, width, height in mm."""
    from ecgkin.retrieval.ecg.drawing.geometry import page_geometry
    from ecgkin.retrieval.ecg.drawing.style import RenderStyle

    geometry = page_geometry(RenderStyle(layout=layout))
    top = max(0.0, geometry.row_y_mm[0] - 1.2 * _PAPER_MM)
    bottom = min(geometry.height_mm, geometry.row_y_mm[-1] + _PAPER_MM)
    xs = [x for pulse in geometry.calibrations for x, _ in pulse]
    xs += [text.x_mm for text in geometry.texts if text.kind == "lead"]
    left = max(0.0, min([geometry.trace_x_mm, *xs]) - _MARGIN_MM)
    right = min(geometry.width_mm, geometry.trace_x_mm + geometry.trace_width_mm + _MARGIN_MM)
    return left, top, right - left, bottom - top


def _shortened(svg: str) -> str:
    """Path data to a tenth of a millimetre: a card cannot show more, and ten cards travel at once."""

    def path(match: re.Match[str]) -> str:
        points: list[str] = []
        for pair in match[2].split("L"):
            x, y = (f"{float(value):.1f}" for value in pair.split())
            if not points or points[-1] != f"{x} {y}":
                points.append(f"{x} {y}")
        return f'{match[1]}M{"L".join(points)}"'

    return re.sub(r'(<path class="trace"[^>]* d=")M([\d. L-]+)"', path, svg)


def overlay_data(query: EcgRecord, case: EcgRecord, names: tuple[str, str]) -> dict[str, Any]:
    """Both recordings for the viewer, at one rate, every lead without its median.

    Args:
        query: The recording that was asked about.
        case: The case's recording.
        names: What to call the two.

    Returns:
        leads, a and b (values in mV by lead, None where a lead or a sample is missing), fs, names, and shift_ms: how
        far to move the case, so that the R peaks after the first half second meet.
    """
    import numpy as np

    from ecgkin.retrieval.ecg.leads import LEADS

    fs = min(250.0, query.fs_hz, case.fs_hz)
    one, two = (r.resampled(fs) if r.fs_hz > fs else r for r in (query, case))

    def rows(record: EcgRecord) -> list[list[float | None] | None]:
        out: list[list[float | None] | None] = []
        for lead in LEADS:
            if lead not in record.leads:
                out.append(None)
                continue
            values = record.signal_mv[record.leads.index(lead)]
            values = values - np.nanmedian(values) if np.isfinite(values).any() else values
            out.append([round(float(v), 3) if np.isfinite(v) else None for v in values])
        return out

    shift = 1000.0 * (_first_beat_s(one) - _first_beat_s(two))
    return {
        "leads": list(LEADS), "a": rows(one), "b": rows(two), "fs": fs, "names": list(names),
        "shift_ms": float(np.clip(shift, -1000, 1000)),
    }  # fmt: skip


def _first_beat_s(record: EcgRecord) -> float:
    """Time of the steepest moment of all leads between 0.5 and 1.7 s: there is a beat at 35 and more a minute."""
    import numpy as np

    steep = np.nansum(np.abs(np.diff(record.signal_mv, axis=1)), axis=0)
    begin, end = int(0.5 * record.fs_hz), int(1.7 * record.fs_hz)
    part = steep[begin:end]
    return (begin + int(np.argmax(part))) / record.fs_hz if part.size else 0.0
