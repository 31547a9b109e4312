"""PDF pages with known signals: the project's own vector drawing put into a document, and one drawn by matplotlib."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from xml.etree import ElementTree

import numpy as np

from ecgkin.retrieval.ecg.drawing.style import RenderStyle
from ecgkin.retrieval.ecg.drawing.svg import render_svg
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord

_SVG = "{http://www.w3.org/2000/svg}"


def from_svg(
    record: EcgRecord,
    style: RenderStyle = RenderStyle(),
    *,
    fit: float = 1.0,
    turned: bool = False,
    grid: bool = True,
    pages: int = 1,
    words: bool = True,
    names: Mapping[str, str] | None = None,
    one_line: bool = False,
    compressed: bool = True,
) -> bytes:
    """`render_svg` of a record as a PDF document by fpdf2: each path a polyline, each text a text.

    Args:
        record: What is drawn.
        style: How.
        fit: Scale of the print-out; 1 keeps millimetres.
        turned: Whether everything is turned by a quarter, as landscape pages on portrait paper are.
        grid: Whether lines 1 and 5 mm apart are drawn.
        pages: How often the page is there.
        words: Whether names and scales are written.
        names: What is written in place of a text.
        one_line: Whether pulse and leads of a row are one line, as carts draw them that never lift the pen.
        compressed: Whether the content is packed.
    """
    from fpdf import FPDF

    root = ElementTree.fromstring(render_svg(record, style))
    _, _, width, height = (fit * float(v) for v in root.attrib["viewBox"].split())
    sheet = FPDF(unit="mm", format=(height, width) if turned else (width, height))
    sheet.set_margin(0)
    sheet.set_auto_page_break(False)
    sheet.set_compression(compressed)
    if one_line:
        _joined(root)
    for _ in range(pages):
        sheet.add_page()
        if not turned:
            _page(sheet, root, fit, width, height, grid, words, names or {})
            continue
        with sheet.rotation(90, 0, 0), sheet.local_context():  # about the corner, then down into the page
            _page(sheet, root, fit, width, height, grid, words, names or {}, left=-width)
    return bytes(sheet.output())


def _page(
    sheet: object, root: ElementTree.Element, fit: float, width: float, height: float, grid: bool, words: bool,
    names: Mapping[str, str], left: float = 0.0,
) -> None:  # fmt: skip
    from fpdf import FPDF

    assert isinstance(sheet, FPDF)
    for mm, weight in ((1, 0.05), (5, 0.15)) if grid else ():
        sheet.set_draw_color(240, 160, 160)
        sheet.set_line_width(weight)
        for k in range(1, int(width / fit / mm)):
            sheet.line(left + fit * mm * k, 0, left + fit * mm * k, height)
        for k in range(1, int(height / fit / mm)):
            sheet.line(left, fit * mm * k, left + width, fit * mm * k)
    sheet.set_draw_color(0, 0, 0)
    sheet.set_line_width(0.3)
    for path in root.iter(f"{_SVG}path"):
        if path.get("class") not in ("trace", "calibration"):
            continue
        numbers = [fit * float(v) for v in re.findall(r"-?\d+\.?\d*", path.attrib["d"])]
        sheet.polyline([(left + x, y) for x, y in zip(numbers[::2], numbers[1::2], strict=True)])
    for text in root.iter(f"{_SVG}text") if words else ():
        sheet.set_font("helvetica", size=10 * fit)
        sheet.text(
            left + fit * float(text.attrib["x"]),
            fit * float(text.attrib["y"]),
            names.get(text.text or "", text.text or ""),
        )


def _joined(root: ElementTree.Element) -> None:
    """Calibration pulse and leads of each row become the path of its first lead."""
    rows: dict[float, list[ElementTree.Element]] = {}
    for path in root.iter(f"{_SVG}path"):
        if path.get("class") == "calibration":
            rows[float(path.attrib["d"].split()[1].split("L")[0])] = [path]
    for path in root.iter(f"{_SVG}path"):
        if path.get("class") == "trace":
            heights = [float(y) for y in re.findall(r" (-?[\d.]+)", path.attrib["d"])]
            rows[min(rows, key=lambda base: abs(base - float(np.median(heights))))].append(path)
    for row in rows.values():
        row[0].set("class", "none")
        row[1].set("d", "".join(path.attrib["d"].replace("M", "L") for path in row).replace("L", "M", 1))
        for path in row[2:]:
            path.set("class", "none")


def by_matplotlib(
    record: EcgRecord, layout: str = "12x1", *, grid: bool = True, simplify: bool = True, dpi: int = 100
) -> bytes:
    """Twelve rows of 10 s, or three rows of four leads, at 25 mm/s and 10 mm/mV, with matplotlib's writer."""
    import matplotlib as mpl
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.figure import Figure

    n_columns = 1 if layout == "12x1" else 4
    n_rows = 12 // n_columns
    spacing = 16.0 if n_columns == 1 else 35.0
    width, height = 290.0, n_rows * spacing + 30
    with mpl.rc_context({"path.simplify": simplify}):
        figure = Figure(figsize=(width / 25.4, height / 25.4), dpi=dpi)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        axes.set_axis_off()
        if grid:
            for x in np.arange(0, width, 5):
                axes.plot([x, x], [0, height], color="pink", lw=0.4)
            for y in np.arange(0, height, 5):
                axes.plot([0, width], [y, y], color="pink", lw=0.4)
        axes.text(10, height - 4, "25 mm/s 10 mm/mV 0.05-150 Hz")
        length = record.n_samples // n_columns
        for k, name in enumerate(LEADS):
            column, row = divmod(k, n_rows)
            values = record.lead(name)
            if values is None:
                continue
            part = values[column * length : (column + 1) * length]
            x = 25 + 250 / n_columns * column + np.arange(len(part)) * 25 / record.fs_hz
            y = 20 + spacing * row
            axes.plot(x, y - 10 * part, color="black", lw=0.8)
            axes.text(x[0] + 1 if n_columns > 1 else 8, y - (8 if n_columns > 1 else 0), name)
        target = io.BytesIO()
        FigureCanvasPdf(figure).print_pdf(target)
    return target.getvalue()
