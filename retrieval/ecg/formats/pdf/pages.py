"""PDF pages as pictures, by pypdfium2: vector traces and scanned pages alike, for the page reader."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ecgkin.retrieval.errors import ImageError, why

if TYPE_CHECKING:
    import pypdfium2
    from PIL import Image

MAX_BYTES = 200 << 20
MAX_PAGES = 500
# 200 dots an inch draw a grid line of 0.1 mm one px wide; an A3 sheet then has 3,300 px, all the page reader needs.
_DPI = 200.0
_LONGEST_PX = 3400
_LARGEST_MPX = 100.0  # of a picture inside the page, as for picture files
_SCAN = 0.3  # share of a page that a scanned ECG covers at the least
MAX_OBJECTS = 200_000
MAX_DEPTH = 4  # of forms inside forms


def page_count(source: str | os.PathLike[str] | bytes) -> int:
    """How many pages a PDF document has.

    Raises:
        ImageError: It is no readable PDF document, is encrypted, too large, or has more than `MAX_PAGES` pages.
    """
    document = opened_document(source)
    try:
        return len(document)
    finally:
        document.close()


def page_picture(source: str | os.PathLike[str] | bytes, page: int = 1) -> Image.Image:
    """One page as an RGB picture of 200 dpi, less where the paper is large.

    Args:
        source: Path or bytes of the document.
        page: Which one, from 1.

    Returns:
        An RGB picture.

    Raises:
        ImageError: As in `page_count`; there is no such page, or it cannot be drawn.
    """
    document = opened_document(source)
    try:
        if not 1 <= page <= len(document):
            raise ImageError(f"page is {page} (the document has {len(document)})")
        try:
            sheet = document[page - 1]
            _check_content(sheet, page)
            width, height = sheet.get_size()
            scale = min(_DPI / 72, _LONGEST_PX / max(width, height, 1.0))
            picture: Image.Image = sheet.render(scale=scale, rev_byteorder=True).to_pil()
        except (RuntimeError, ValueError, MemoryError) as error:  # PdfiumError is a RuntimeError
            raise ImageError(f"page {page} of the PDF document cannot be drawn: {error}") from None
        return picture.convert("RGB")
    finally:
        document.close()


def pages_of_pictures(source: str | os.PathLike[str] | bytes, most: int) -> list[int]:
    """Pages, from 1, that are a scan: a picture covers `_SCAN` of the page or more.

    Args:
        source: Path or bytes of the document.
        most: So many pages are looked at.

    Returns:
        Numbers of pages in their order.

    Raises:
        ImageError: As in `page_count`.
    """
    import pypdfium2.raw as raw

    document = opened_document(source)
    found: list[int] = []
    try:
        for number in range(min(most, len(document))):
            try:
                sheet = document[number]
                width, height = sheet.get_size()
                for count, thing in enumerate(sheet.get_objects(max_depth=MAX_DEPTH)):
                    if count > MAX_OBJECTS:
                        break
                    if thing.type != raw.FPDF_PAGEOBJ_IMAGE:
                        continue
                    left, bottom, right, top = thing.get_bounds()
                    if (right - left) * (top - bottom) >= _SCAN * width * height:
                        found.append(number + 1)
                        break
            except (RuntimeError, ValueError):  # a page that cannot be opened is none
                continue
    finally:
        document.close()
    return found


def opened_document(source: str | os.PathLike[str] | bytes) -> pypdfium2.PdfDocument:
    """The document, to be closed by the caller.

    Raises:
        ImageError: As in `page_count`.
    """
    import pypdfium2

    try:
        if not isinstance(source, bytes):
            file = Path(source)
            if file.stat().st_size > MAX_BYTES:
                raise ImageError(f"{file.name} has {file.stat().st_size} bytes (at most {MAX_BYTES} are read as PDF)")
            source = file.read_bytes()
        document = pypdfium2.PdfDocument(source)
        n_pages = len(document)
    except pypdfium2.PdfiumError as error:
        raise ImageError(
            f"the PDF document cannot be opened: {why(error)}", hint="is it complete, and not encrypted?"
        ) from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{str(source)[:200]!r} cannot be read: {why(error)}") from error
    if not 1 <= n_pages <= MAX_PAGES:
        document.close()
        raise ImageError(f"the PDF document has {n_pages} pages (expected 1 to {MAX_PAGES})")
    return document


def _check_content(sheet: pypdfium2.PdfPage, page: int) -> None:
    """No picture on the page that fills the memory when it is unpacked."""
    import pypdfium2.raw as raw

    for count, thing in enumerate(sheet.get_objects(max_depth=MAX_DEPTH)):
        if count > MAX_OBJECTS:
            raise ImageError(f"page {page} of the PDF document has more than {MAX_OBJECTS} objects")
        if thing.type == raw.FPDF_PAGEOBJ_IMAGE:
            width, height = thing.get_px_size()
            if width * height > _LARGEST_MPX * 1e6:
                raise ImageError(f"page {page} holds a picture of {width} x {height} px (at most {_LARGEST_MPX:g} Mpx)")
