"""XML from strangers: no entities, nothing fetched, bounded size; and the few look-ups that the ECG formats need."""

from __future__ import annotations

import binascii
import os
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from ecgkin.retrieval.errors import RecordError

MAX_BYTES = 64 << 20
"""A twelve-lead ECG of ten seconds takes 0.5 MB as HL7 aECG, the wordiest of the formats: this is twenty minutes."""
# Elements and attributes take some hundred bytes each in memory, however short they are in the file. The largest sample
# file has 6,000 elements.
MAX_MARKS = 1_000_000


def parse_xml(path: str | os.PathLike[str]) -> Element:
    """The root of a file, tags without their namespaces.

    A document type is let through (GE MUSE writes one), but nothing it names is read, and entities are refused.

    Raises:
        RecordError: It cannot be read, is too large, is not well-formed, or declares entities.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    file = Path(path)
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise RecordError(f"{file.name} has {size} bytes (at most {MAX_BYTES} are read as XML)")
        raw = file.read_bytes()
    except (OSError, ValueError) as error:
        raise RecordError(f"{str(file)!r} cannot be read: {error}") from error
    marks = max(raw.count(b"<"), raw.count(b'"') + raw.count(b"'"))
    if marks > MAX_MARKS:
        raise RecordError(f"{file.name} holds {marks} elements and attributes (at most {MAX_MARKS} are read)")
    try:
        root: Element = fromstring(raw, forbid_dtd=False, forbid_entities=True, forbid_external=True)
    except DefusedXmlException as error:
        raise RecordError(
            f"{file.name} declares entities, which are not read ({type(error).__name__})",
            hint="an ECG export needs none: remove the declarations",
        ) from error
    except (ParseError, ValueError, LookupError) as error:
        # LookupError: an encoding that Python does not know.
        raise RecordError(f"{file.name} is no well-formed XML: {error}", hint="is the file complete?") from error
    for element in root.iter():
        if isinstance(element.tag, str) and "}" in element.tag:
            element.tag = element.tag.rsplit("}", 1)[1]
    return root


def text_of(root: Element | None, *paths: str) -> str:
    """Text of the first element that one of the paths finds and that is not empty; "" where none is.

    Args:
        root: Where the paths begin; None finds nothing.
        paths: ElementTree paths, tried in this order.
    """
    if root is None:
        return ""
    for path in paths:
        for element in root.iterfind(path):
            said = "".join(element.itertext()).strip()
            if said:
                return said
    return ""


def base64_bytes(text: str, where: str, what: str) -> bytes:
    """The bytes that a text spells.

    Raises:
        RecordError: It is not Base64.
    """
    try:
        return binascii.a2b_base64("".join(text.split()).encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise RecordError(f"{where}: {what} is not Base64: {error}", hint="is the file complete?") from None
