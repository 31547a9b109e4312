"""Kinds of files, told by their first bytes: an enum that code branches on, and its wording for people in one table."""

from __future__ import annotations

import os
import struct
from enum import Enum, auto
from pathlib import Path
from typing import Literal

HEAD_BYTES = 4096
"""As many bytes of a file as `kind_of` wants to see; fewer will do for all but PDF documents with bytes in front."""
_PDF_WITHIN = 1024  # mail gateways and web servers leave bytes in front; PDF readers look as far (ISO 32000, annex H)


class Kind(Enum):
    """What a file is, by its content."""

    EMPTY = auto()
    TEXT = auto()
    BINARY = auto()
    # Pictures that are decoded here.
    PNG = auto()
    JPEG = auto()
    TIFF = auto()
    WEBP = auto()
    GIF = auto()
    BMP = auto()
    HEIC = auto()
    AVIF = auto()
    # Pictures that are not: their decoders do more than decode, or no ECG comes in them.
    ICO = auto()
    EPS = auto()
    JPEG_2000 = auto()
    JPEG_XL = auto()
    PSD = auto()
    SVG = auto()
    # Documents and recordings.
    PDF = auto()
    DICOM = auto()
    SCP = auto()
    EDF = auto()
    BDF = auto()
    ISHNE = auto()
    MFER = auto()
    MATLAB = auto()
    XML = auto()
    # What people send by mistake.
    HTML = auto()
    JSON = auto()
    FILM = auto()
    HDF5 = auto()
    NUMPY = auto()
    ZIP = auto()
    GZIP = auto()
    OLE = auto()

    def words(self, language: Literal["en", "de"] = "en") -> str:
        """What to call it in a sentence, with its article: "a PNG picture", "ein PNG-Bild"."""
        return _WORDS[self][language == "de"]

    @property
    def is_picture(self) -> bool:
        """Whether it is a picture, decoded here or not."""
        return self in PILLOW_FORMATS or self in _OTHER_PICTURES


PILLOW_FORMATS: dict[Kind, tuple[str, ...]] = {
    Kind.PNG: ("PNG",),
    Kind.JPEG: ("JPEG", "MPO"),  # phones write several frames into one JPEG; Pillow calls that MPO
    Kind.TIFF: ("TIFF",),
    Kind.WEBP: ("WEBP",),
    Kind.GIF: ("GIF",),
    Kind.BMP: ("BMP",),
    Kind.HEIC: ("HEIF",),
    Kind.AVIF: ("AVIF",),
}
"""The kinds of pictures that are decoded, and Pillow's names of the decoders that may do it."""
PICTURE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".heic", ".heif", ".avif"),
    ".pdf",
)
"""Endings of files that show an ECG, in lower case."""
_OTHER_PICTURES = frozenset({Kind.ICO, Kind.EPS, Kind.JPEG_2000, Kind.JPEG_XL, Kind.PSD, Kind.SVG})
_WORDS: dict[Kind, tuple[str, str]] = {
    Kind.EMPTY: ("nothing (empty)", "nichts (leer)"),
    Kind.TEXT: ("text", "Text"),
    Kind.BINARY: ("binary data", "Binärdaten"),
    Kind.PNG: ("a PNG picture", "ein PNG-Bild"),
    Kind.JPEG: ("a JPEG picture", "ein JPEG-Bild"),
    Kind.TIFF: ("a TIFF picture", "ein TIFF-Bild"),
    Kind.WEBP: ("a WebP picture", "ein WebP-Bild"),
    Kind.GIF: ("a GIF picture", "ein GIF-Bild"),
    Kind.BMP: ("a BMP picture", "ein BMP-Bild"),
    Kind.HEIC: ("a HEIC picture", "ein HEIC-Bild"),
    Kind.AVIF: ("an AVIF picture", "ein AVIF-Bild"),
    Kind.ICO: ("a Windows icon", "ein Windows-Symbol (ICO)"),
    Kind.EPS: ("a PostScript program", "ein PostScript-Programm"),
    Kind.JPEG_2000: ("a JPEG 2000 picture", "ein JPEG-2000-Bild"),
    Kind.JPEG_XL: ("a JPEG XL picture", "ein JPEG-XL-Bild"),
    Kind.PSD: ("a Photoshop picture", "ein Photoshop-Bild"),
    Kind.SVG: ("an SVG drawing", "eine SVG-Zeichnung"),
    Kind.PDF: ("a PDF document", "ein PDF-Dokument"),
    Kind.DICOM: ("a DICOM file", "eine DICOM-Datei"),
    Kind.SCP: ("an SCP-ECG file", "eine SCP-ECG-Datei"),
    Kind.EDF: ("an EDF file", "eine EDF-Datei"),
    Kind.BDF: ("a BDF file", "eine BDF-Datei"),
    Kind.ISHNE: ("an ISHNE file", "eine ISHNE-Datei"),
    Kind.MFER: ("an MFER file", "eine MFER-Datei"),
    Kind.MATLAB: ("a MATLAB file", "eine MATLAB-Datei"),
    Kind.XML: ("XML", "XML"),
    Kind.HTML: ("HTML", "HTML"),
    Kind.JSON: ("JSON", "JSON"),
    Kind.FILM: ("a film", "ein Film"),
    Kind.HDF5: ("an HDF5 file", "eine HDF5-Datei"),
    Kind.NUMPY: ("a NumPy array", "ein NumPy-Feld"),
    Kind.ZIP: ("a ZIP archive", "ein ZIP-Archiv"),
    Kind.GZIP: ("a gzip archive", "ein gzip-Archiv"),
    Kind.OLE: ("an old Office document", "ein altes Office-Dokument"),
}
_MAGIC: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"\x89PNG\r\n", Kind.PNG),
    (0, b"\xff\xd8\xff", Kind.JPEG),
    (0, b"GIF8", Kind.GIF),
    (0, b"II*\x00", Kind.TIFF),
    (0, b"MM\x00*", Kind.TIFF),
    (0, b"II+\x00", Kind.TIFF),  # BigTIFF
    (0, b"MM\x00+", Kind.TIFF),
    (8, b"WEBP", Kind.WEBP),
    (0, b"\x00\x00\x01\x00", Kind.ICO),
    (0, b"\x00\x00\x02\x00", Kind.ICO),  # a pointer
    (0, b"%!PS", Kind.EPS),
    (0, b"\xc5\xd0\xd3\xc6", Kind.EPS),  # EPS with a preview
    (4, b"jP  \r\n", Kind.JPEG_2000),
    (0, b"\xff\x4f\xff\x51", Kind.JPEG_2000),
    (0, b"\xff\x0a", Kind.JPEG_XL),
    (4, b"JXL \r\n", Kind.JPEG_XL),
    (0, b"8BPS", Kind.PSD),
    (0, b"%PDF", Kind.PDF),
    (128, b"DICM", Kind.DICOM),
    (16, b"SCPECG", Kind.SCP),
    (0, b"0       ", Kind.EDF),
    (0, b"\xffBIOSEMI", Kind.BDF),
    (0, b"ISHNE1.0", Kind.ISHNE),
    (0, b"\x89HDF\r\n", Kind.HDF5),
    (0, b"\x93NUMPY", Kind.NUMPY),
    (0, b"PK\x03\x04", Kind.ZIP),
    (0, b"PK\x05\x06", Kind.ZIP),  # without members
    (0, b"\x1f\x8b", Kind.GZIP),
    (0, b"MATLAB 5.0", Kind.MATLAB),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Kind.OLE),
)
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})


def kind_of(head: bytes) -> Kind:
    """The kind of a file by its first bytes.

    Args:
        head: Up to `HEAD_BYTES` from its begin.

    >>> kind_of(b"%PDF-1.7").name, kind_of(b"I,II,III").name, kind_of(b"").name
    ('PDF', 'TEXT', 'EMPTY')
    """
    if not head:
        return Kind.EMPTY
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":
        return Kind.BMP
    for at, magic, kind in _MAGIC:
        if head[at : at + len(magic)] == magic:
            return kind
    if head[4:8] == b"ftyp":
        return _by_brand(head)
    if is_scp(head):
        return Kind.SCP
    if is_mfer(head):
        return Kind.MFER
    if is_bare_dicom(head):
        return Kind.DICOM
    if b"%PDF-" in head[:_PDF_WITHIN]:
        return Kind.PDF
    return _by_text(head)


def kind_of_file(path: str | os.PathLike[str]) -> Kind:
    """The kind of a file.

    Raises:
        OSError, ValueError: It cannot be read.
    """
    with Path(path).open("rb") as stream:
        return kind_of(stream.read(HEAD_BYTES))


def _by_brand(head: bytes) -> Kind:
    """HEIC, AVIF or a film, by the brands of an ISO base media file (ISO 14496-12)."""
    size = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, size, 4))]
    if _AVIF_BRANDS & set(brands):
        return Kind.AVIF
    return Kind.HEIC if _HEIC_BRANDS & set(brands) else Kind.FILM


def _by_text(head: bytes) -> Kind:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16
        head = head[: len(head) // 2 * 2].decode("utf-16", errors="replace").encode()
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1000].lower()
    if start.startswith(b"<"):
        if b"<html" in start[:200] or b"<!doctype html" in start[:200]:
            return Kind.HTML
        return Kind.SVG if b"<svg" in start else Kind.XML
    if any(byte < 9 or 13 < byte < 32 for byte in head):
        return Kind.BINARY
    return Kind.JSON if start.startswith((b"{", b"[{", b"[[")) else Kind.TEXT


def is_scp(head: bytes) -> bool:
    """Whether the first bytes are those of an SCP-ECG file: a section 0 that stands where it must.

    Some machines leave out the word SCPECG; then number and length of section 0, and the first entry of its table, must
    be what the standard says (EN 1064, 5.2 and 5.3).

    >>> is_scp(bytes(200)), is_scp(b"0" * 200)
    (False, False)
    """
    if len(head) < 48:
        return False
    _, number, length = struct.unpack_from("<HHI", head, 6)
    first, own_length, index = struct.unpack_from("<HII", head, 22)
    return bool(number == 0 and first == 0 and index == 7 and own_length == length and length >= 26)


def is_mfer(head: bytes) -> bool:
    """Whether the first bytes are those of an MFER file (ISO 22077-1): its preamble, tag 64 with the word MFR or MFER.

    >>> is_mfer(b"@ MFR Standard 12 leads ECG"), is_mfer(b"@ MF")
    (True, False)
    """
    return head[:1] == b"@" and head[2:10].lstrip(b" ").startswith((b"MFR ", b"MFER "))


def is_bare_dicom(head: bytes) -> bool:
    """Whether the first bytes are a DICOM data set without the preamble and the word DICM of a file.

    Such data sets come from network captures and old archives. They begin with an element of group 2 or 8; the length
    of its value must fit what follows it, another element of these groups.

    >>> is_bare_dicom(b"\\x08\\x00\\x16\\x00\\x04\\x00\\x00\\x001.2\\x00\\x08\\x00\\x18\\x00\\x00\\x00\\x00\\x00")
    True
    """
    return any(_elements_of_group_8(head, order) for order in "<>")


def _elements_of_group_8(head: bytes, order: str) -> bool:
    """Whether two elements of group 2 or 8 follow each other, their numbers rising."""
    at, before = 0, (0, -1)
    for _ in range(2):
        if at + 8 > len(head):
            return False
        group, element = struct.unpack_from(f"{order}HH", head, at)
        if group not in (2, 8) or (group, element) <= before:
            return False
        before = (group, element)
        explicit = head[at + 4 : at + 6]
        if explicit.isalpha() and explicit.isupper():
            long = explicit in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC", b"UR")
            (size,) = (
                struct.unpack_from(f"{order}I", head, at + 8)
                if long and at + 12 <= len(head)
                else (struct.unpack_from(f"{order}H", head, at + 6))
            )
            at += (12 if long else 8) + size
        else:
            (size,) = struct.unpack_from(f"{order}I", head, at + 4)
            at += 8 + size
        if size % 2:
            return False
    return True
