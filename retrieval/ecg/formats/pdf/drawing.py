"""What a PDF page is drawn of: its lines and its words, upright, for whoever reads traces as numbers (`pdf_traces`)."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.formats.pdf.pages import MAX_DEPTH, MAX_OBJECTS, opened_document
from ecgkin.retrieval.errors import ImageError, why

Points = NDArray[np.float64]
MM_PER_POINT = 25.4 / 72
"""PDF 32000-1, 8.3.2.3: a unit of user space is 1/72 inch."""
# Twelve leads of 10 s at 1,000 Hz, drawn twice, with a grid: less than a third of this.
_MAX_SEGMENTS = 1_000_000
_MAX_CHARS = 50_000
_JOINT_PT = 0.02  # coordinates are written with two digits or more
# A new word begins where the gap to the next letter is wider than this share of the letters' height.
_WORD_GAP = 0.6


@dataclass(frozen=True, slots=True)
class Line:
    """An open or closed polyline.

    Attributes:
        points: Corners (x, y) in points of 1/72 inch, x to the right, y downwards, shape (n, 2).
        style: Colour and width of the stroke; lines of one kind share it.
    """

    points: Points
    style: tuple[int, int, int, float]


@dataclass(frozen=True, slots=True)
class Word:
    """Letters without a blank: their text, the left end of their base line and the middle of their height (points)."""

    text: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """The strokes and words of one page.

    Attributes:
        lines: In drawing order; pieces that go on where the one before ends are joined.
        words: In the order of the file.
        text: All text of the page.
        n_pages: Pages of the document.
    """

    lines: tuple[Line, ...]
    words: tuple[Word, ...]
    text: str
    n_pages: int


def drawing_on(source: str | os.PathLike[str] | bytes, page: int = 1) -> Drawing:
    """The lines and words of a page, turned so that its text is upright.

    Args:
        source: Path or bytes of the document.
        page: Which one, from 1.

    Returns:
        Lines and words in points of 1/72 inch, y downwards.

    Raises:
        ImageError: No readable document, no such page, or more on it than an ECG is drawn of.
    """
    document = opened_document(source)
    try:
        n_pages = len(document)
        if not 1 <= page <= n_pages:
            raise ImageError(f"page is {page} (the document has {n_pages})")
        try:
            sheet = document[page - 1]
            letters, text = _letters(sheet)
            turn = _turn(letters)
            lines = [Line(_upright(line.points, turn), line.style) for line in _joined(_lines(sheet, page))]
        except (RuntimeError, ValueError, MemoryError) as error:  # PdfiumError is a RuntimeError
            raise ImageError(f"page {page} of the PDF document cannot be read: {why(error)}") from None
    finally:
        document.close()
    return Drawing(tuple(lines), tuple(_words(letters, turn)), text, n_pages)


def _lines(sheet: object, page: int) -> Iterator[Line]:
    """Stroked polylines in page coordinates; curves are left out, as no machine draws samples with them."""
    from ctypes import c_float, c_int, c_uint

    from pypdfium2 import raw

    n_segments = 0
    x, y, width = c_float(), c_float(), c_float()
    red, green, blue, alpha, fill, stroke = c_uint(), c_uint(), c_uint(), c_uint(), c_int(), c_int()
    for count, thing in enumerate(sheet.get_objects(max_depth=MAX_DEPTH)):  # type: ignore[attr-defined]
        if count > MAX_OBJECTS:
            raise ImageError(f"page {page} of the PDF document has more than {MAX_OBJECTS} objects")
        if thing.type != raw.FPDF_PAGEOBJ_PATH:
            continue
        n = raw.FPDFPath_CountSegments(thing)
        n_segments += n
        if n_segments > _MAX_SEGMENTS:
            raise ImageError(f"page {page} of the PDF document has more than {_MAX_SEGMENTS} strokes")
        if n < 2 or not raw.FPDFPath_GetDrawMode(thing, fill, stroke) or not stroke.value:
            continue
        raw.FPDFPageObj_GetStrokeColor(thing, red, green, blue, alpha)
        raw.FPDFPageObj_GetStrokeWidth(thing, width)
        style = (red.value, green.value, blue.value, round(width.value, 2))
        matrix = _matrix(thing)
        run: list[tuple[float, float]] = []
        for k in range(n):
            segment = raw.FPDFPath_GetPathSegment(thing, k)
            kind = raw.FPDFPathSegment_GetType(segment)
            raw.FPDFPathSegment_GetPoint(segment, x, y)
            if kind == raw.FPDF_SEGMENT_LINETO:
                run.append((x.value, y.value))
                continue
            if len(run) > 1:
                yield Line(_mapped(run, matrix), style)
            run = [(x.value, y.value)] if kind == raw.FPDF_SEGMENT_MOVETO else []
        if len(run) > 1:
            yield Line(_mapped(run, matrix), style)


def _matrix(thing: object) -> NDArray[np.float64]:
    """From the coordinates of an object to those of the page, through all forms that hold it, shape (3, 2)."""
    total = np.eye(3)
    while thing is not None:
        a, b, c, d, e, f = thing.get_matrix().get()  # type: ignore[attr-defined]
        total = total @ np.array([[a, b, 0.0], [c, d, 0.0], [e, f, 1.0]])
        thing = thing.container  # type: ignore[attr-defined]
    return total[:, :2]


def _mapped(run: list[tuple[float, float]], matrix: NDArray[np.float64]) -> Points:
    points = np.asarray(run, dtype=np.float64)
    mapped: Points = points @ matrix[:2] + matrix[2]
    return mapped


def _joined(lines: Iterator[Line]) -> list[Line]:
    """Lines of one style that go on where the one before ends become one: some writers stroke sample by sample."""
    out: list[Line] = []
    open_: list[Points] = []
    style: tuple[int, int, int, float] | None = None

    def close() -> None:
        if open_ and style is not None:
            out.append(Line(np.concatenate(open_), style))

    for line in lines:
        if open_ and line.style == style and np.abs(open_[-1][-1] - line.points[0]).max() <= _JOINT_PT:
            open_.append(line.points[1:])
            continue
        close()
        open_, style = [line.points], line.style
    close()
    finite = [line for line in out if np.isfinite(line.points).all()]
    return finite


def _letters(sheet: object) -> tuple[list[tuple[str, float, float, float, float]], str]:
    """Each letter of the page with its origin, its height and its angle (quarter turns)."""
    from ctypes import c_double

    from pypdfium2 import raw

    textpage = sheet.get_textpage()  # type: ignore[attr-defined]
    n = min(textpage.count_chars(), _MAX_CHARS)
    x, y = c_double(), c_double()
    out = []
    for k in range(n):
        letter = chr(raw.FPDFText_GetUnicode(textpage, k) or 32)
        raw.FPDFText_GetCharOrigin(textpage, k, x, y)
        turn = -raw.FPDFText_GetCharAngle(textpage, k) / (math.pi / 2)  # pdfium counts clockwise
        out.append((letter, x.value, y.value, _size(textpage, k), turn))
    return out, "".join(letter for letter, *_ in out)


def _size(textpage: object, k: int) -> float:
    """Height of a letter's box across its base line; 0 for blanks."""
    from ctypes import c_double

    from pypdfium2 import raw

    left, right, bottom, top = c_double(), c_double(), c_double(), c_double()
    if not raw.FPDFText_GetCharBox(textpage, k, left, right, bottom, top):
        return 0.0
    return float(max(right.value - left.value, top.value - bottom.value))


def _turn(letters: list[tuple[str, float, float, float, float]]) -> int:
    """Quarter turns by which most letters are turned."""
    turns = Counter(round(turn) % 4 for letter, *_, turn in letters if not letter.isspace() and math.isfinite(turn))
    return turns.most_common(1)[0][0] if turns else 0


def _upright(points: Points, turn: int) -> Points:
    """Turned back, with y downwards."""
    x, y = points[:, 0], points[:, 1]
    x, y = ((x, y), (y, -x), (-x, -y), (-y, x))[turn]
    return np.stack([x, -y], axis=1)


def _words(letters: list[tuple[str, float, float, float, float]], turn: int) -> Iterator[Word]:
    """Letters in a row without a gap."""
    word, start, last, tallest = "", (0.0, 0.0), (0.0, 0.0), 0.0
    for letter, x, y, size, _ in [*letters, (" ", 0.0, 0.0, 0.0, 0.0)]:
        x, y = _upright(np.array([[x, y]]), turn)[0].tolist()
        far = bool(word) and (
            abs(y - last[1]) > _WORD_GAP * tallest or not -tallest < x - last[0] < (1 + _WORD_GAP) * tallest
        )
        if word and (letter.isspace() or far):
            yield Word(word, start[0], start[1] - 0.5 * tallest)
            word, tallest = "", 0.0
        if not letter.isspace():
            if not word:
                start = (x, y)
            word, last, tallest = word + letter, (x, y), max(tallest, size)
