"""Anything that shows an ECG as a picture: picture files, PDF documents, and PDF documents wrapped into DICOM."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ecgkin.retrieval.errors import ImageError, RecordError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".heic", ".pdf")
_HEAD_BYTES = 512


def is_picture(path: str | os.PathLike[str]) -> bool:
    """Whether a file shows an ECG rather than holding its samples, by its content, or else by its name.

    A DICOM file counts as a picture if it wraps a PDF document.
    """
    from ecgkin.retrieval.ecg.read import looks_like

    file = Path(path)
    if not file.is_file():  # a pipe would be waited for without end
        return file.suffix.lower() in SUFFIXES
    try:
        with file.open("rb") as stream:
            kind = looks_like(stream.read(_HEAD_BYTES))
    except (OSError, ValueError):  # whoever reads it will say what is wrong with it
        return file.suffix.lower() in SUFFIXES
    if kind == "a DICOM file":
        try:
            return _wrapped(file) is not None
        except RecordError:
            return False
    return kind.endswith(("picture", "PDF document")) or file.suffix.lower() in SUFFIXES


def open_picture(path: str | os.PathLike[str], page: int = 1) -> Image.Image:
    """The picture, upright, as RGB.

    Args:
        path: A picture file, a PDF document, or a DICOM file that wraps one.
        page: Of a document, from 1.

    Raises:
        ImageError: It is none of these, is broken, or has no such page.
    """
    from PIL import Image as Pillow

    from ecgkin.retrieval.ecg.page import load_image
    from ecgkin.retrieval.ecg.pdf_pages import page_picture

    document = document_in(path)
    if document is not None:
        return page_picture(document, page)
    if page != 1:
        raise ImageError(f"page is {page}, but {Path(path).name} is a single picture")
    return Pillow.fromarray(load_image(Path(path)))


def document_in(path: str | os.PathLike[str]) -> bytes | None:
    """The PDF document that a file is or wraps; None for everything else.

    Raises:
        ImageError: The file cannot be read, or is too large.
    """
    from ecgkin.retrieval.ecg.pdf_pages import MAX_BYTES
    from ecgkin.retrieval.ecg.read import looks_like

    file = Path(path)
    if file.exists() and not file.is_file():
        return None  # folders, pipes and devices: whoever reads pictures says so
    try:
        with file.open("rb") as stream:
            kind = looks_like(stream.read(_HEAD_BYTES))
        if kind == "a PDF document":
            if file.stat().st_size > MAX_BYTES:
                raise ImageError(f"{file.name} has {file.stat().st_size} bytes (at most {MAX_BYTES} are read as PDF)")
            return file.read_bytes()
        return _wrapped(file) if kind == "a DICOM file" else None
    except RecordError as error:
        raise ImageError(str(error), hint=error.hint) from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{str(file)!r} cannot be read: {error}") from error


def _wrapped(file: Path) -> bytes | None:
    from ecgkin.retrieval.ecg.dicom_io import pdf_in

    return pdf_in(file)
