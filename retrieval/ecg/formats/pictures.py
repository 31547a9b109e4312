"""Any file of an ECG: as samples where it holds them or draws them as lines, otherwise as a picture.

Pictures are picture files, PDF documents, and PDF documents wrapped into DICOM. What is to be said of how one was
opened (which page it is, why its lines were not read as numbers) travels in `Image.info` (`picture_notes`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ecgkin.retrieval.ecg.kinds import PICTURE_SUFFIXES, Kind, kind_of_file
from ecgkin.retrieval.errors import ImageError, RecordError, why
from ecgkin.retrieval.notes import Note, NoteCode

if TYPE_CHECKING:
    from PIL import Image

    from ecgkin.retrieval.ecg.record import EcgRecord

_NOTES = "ecgkin_notes"
_WITH_PAGES = (Kind.TIFF, Kind.GIF, Kind.PNG, Kind.WEBP, Kind.AVIF, Kind.HEIC)
_CHECK = "check the path and its permissions"


def is_picture(path: str | os.PathLike[str]) -> bool:
    """Whether a file shows an ECG rather than holding its samples, by its content, or else by its name.

    A DICOM file counts as a picture if it wraps a PDF document.
    """
    file = Path(path)
    by_name = file.suffix.lower() in PICTURE_SUFFIXES
    try:
        if not file.is_file():  # a pipe would be waited for without end
            return by_name
        kind = kind_of_file(file)
    except (OSError, ValueError):  # whoever reads it will say what is wrong with it
        return by_name
    if kind is Kind.DICOM:
        try:
            return _wrapped(file) is not None
        except RecordError:
            return False
    return kind.is_picture or kind is Kind.PDF or by_name


def open_ecg(path: str | os.PathLike[str], page: int | None = None) -> EcgRecord | Image.Image:
    """The ECG in a file: samples where the file holds them, or draws them as lines on a PDF page; else its picture.

    A page whose lines cannot be read as numbers without doubt comes as a picture whose notes say why.

    Args:
        path: Anything that `read_ecg` or `open_picture` takes.
        page: Of a document, from 1; None for the first that shows an ECG, others are named in the notes.

    Returns:
        A record, or an RGB picture.

    Raises:
        RecordError, ImageError: It is neither, or broken, or has no such page.
    """
    from ecgkin.retrieval.ecg.formats.pdf.traces import NoTracesError, read_pdf
    from ecgkin.retrieval.ecg.formats.read import read_ecg

    document = document_in(path)
    if document is None:
        return open_picture(path, page) if is_picture(path) else read_ecg(path)
    page, others = _chosen(document, page)
    try:
        return read_pdf(document, page).noted(*others)
    except NoTracesError:  # scanned
        return _page(document, page, *others)
    except RecordError as error:
        return _page(document, page, Note(NoteCode.LINES_NOT_READ, reason=str(error)), *others)


def _chosen(document: bytes, page: int | None) -> tuple[int, tuple[str, ...]]:
    """The page to read, and what to say of others that show an ECG as well."""
    from ecgkin.retrieval.ecg.formats.pdf.pages import page_count
    from ecgkin.retrieval.ecg.formats.pdf.traces import ecg_pages

    if page is not None or page_count(document) == 1:
        return page or 1, ()
    found = ecg_pages(document)
    if len(found) < 2:
        return (found or [1])[0], ()
    return found[0], (Note(NoteCode.ECG_PAGES, pages=", ".join(map(str, found))),)


def picture_notes(picture: Image.Image) -> tuple[str, ...]:
    """What `open_ecg` or `open_picture` has to say of a picture that it opened."""
    notes = picture.info.get(_NOTES, ())
    return notes if isinstance(notes, tuple) else ()


def with_notes(picture: Image.Image, notes: Sequence[str]) -> Image.Image:
    """The same picture, which `picture_notes` knows these notes of.

    Args:
        picture: Any.
        notes: What its reader found odd.

    Returns:
        The picture that was given.
    """
    picture.info[_NOTES] = tuple(notes)
    return picture


def open_picture(path: str | os.PathLike[str], page: int | None = None) -> Image.Image:
    """The picture, upright, as RGB.

    Args:
        path: A picture file, a PDF document, or a DICOM file that wraps one.
        page: Of a document, from 1; None for the first that shows an ECG, or the first.

    Returns:
        An RGB picture, turned as its EXIF data say.

    Raises:
        ImageError: It is none of these, is broken, or has no such page.
    """
    from PIL import Image as Pillow

    from ecgkin.retrieval.ecg.page.image import load_image

    document = document_in(path)
    if document is not None:
        page, others = _chosen(document, page)
        return _page(document, page, *others)
    page = page or 1
    n_pages = page_count_of(path)
    if not 1 <= page <= n_pages:
        raise ImageError(f"page is {page}, but {Path(path).name} has {n_pages} page{'s' * (n_pages > 1)}")
    picture = Pillow.fromarray(load_image(Path(path), page))
    if n_pages > 1:
        picture.info[_NOTES] = (Note(NoteCode.PAGE_OF_DOCUMENT, n_pages=n_pages, page=page),)
    return picture


def page_count_of(path: str | os.PathLike[str]) -> int:
    """Pages of a PDF document (wrapped into DICOM or not) or of a TIFF file, frames of an animation; else 1.

    Raises:
        ImageError: The file cannot be read, or is broken.
    """
    from ecgkin.retrieval.ecg.formats.pdf.pages import page_count
    from ecgkin.retrieval.ecg.page.image import count_pages

    document = document_in(path)
    if document is not None:
        return page_count(document)
    file = Path(path)
    try:
        if not file.is_file() or kind_of_file(file) not in _WITH_PAGES:
            return 1
        with file.open("rb") as stream:
            return count_pages(stream, file.name)
    except (OSError, ValueError) as error:
        raise ImageError(f"{str(file)!r} cannot be read: {why(error)}", hint=_CHECK) from error


def _page(document: bytes, page: int, *notes: str) -> Image.Image:
    from ecgkin.retrieval.ecg.formats.pdf.pages import page_count, page_picture

    picture = page_picture(document, page)
    n_pages = page_count(document)
    pages = (Note(NoteCode.PAGE_OF_DOCUMENT, n_pages=n_pages, page=page),) if n_pages > 1 else ()
    picture.info[_NOTES] = (*pages, *notes)
    return picture


def document_in(path: str | os.PathLike[str]) -> bytes | None:
    """The PDF document that a file is or wraps; None for everything else.

    Raises:
        ImageError: The file cannot be read, or is too large.
    """
    from ecgkin.retrieval.ecg.formats.pdf.pages import MAX_BYTES

    file = Path(path)
    try:
        if file.exists() and not file.is_file():
            return None  # folders, pipes and devices: whoever reads pictures says so
        kind = kind_of_file(file)
        if kind is Kind.PDF:
            if file.stat().st_size > MAX_BYTES:
                raise ImageError(f"{file.name} has {file.stat().st_size} bytes (at most {MAX_BYTES} are read as PDF)")
            return file.read_bytes()
        return _wrapped(file) if kind is Kind.DICOM else None
    except RecordError as error:
        raise ImageError(str(error), hint=error.hint) from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{str(file)!r} cannot be read: {why(error)}", hint=_CHECK) from error


def _wrapped(file: Path) -> bytes | None:
    from ecgkin.retrieval.ecg.formats.dicom import pdf_in

    return pdf_in(file)
