"""XML from strangers: no entities, nothing fetched, bounded size; and the few look-ups that the ECG formats need."""

from __future__ import annotations

import binascii
import os
import re
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.assemble import MAX_SAMPLES
from ecgkin.retrieval.errors import RecordError, why

MAX_BYTES = 64 << 20
"""A twelve-lead ECG of ten seconds takes 0.5 MB as HL7 aECG, the wordiest of the formats: this is twenty minutes."""
# Elements and attributes take some hundred bytes each in memory, however short they are in the file. The largest sample
# file has 6,000 elements.
MAX_MARKS = 1_000_000
_LONGEST_DECLARATION = 400
_ENCODING = re.compile(rb"""encoding\s{0,5}=\s{0,5}["']([\w.-]{1,40})""")
_FORBIDDEN = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF))  # XML 1.0, production 2
_REFERENCE = re.compile(r"&#(?:[xX][0-9a-fA-F]{1,6}|[0-9]{1,7});")


def parse_xml(path: str | os.PathLike[str]) -> tuple[Element, list[str]]:
    """The root of a file, tags without their namespaces, and notes on what had to be mended to read it.

    A document type is let through (GE MUSE writes one), but nothing it names is read, and entities are refused. Control
    characters and a wrongly declared encoding are mended where the file is no XML otherwise.

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
        raise RecordError(f"{str(file)!r} cannot be read: {why(error)}") from error
    marks = max(raw.count(b"<"), raw.count(b'"') + raw.count(b"'"))
    if marks > MAX_MARKS:
        raise RecordError(f"{file.name} holds {marks} elements and attributes (at most {MAX_MARKS} are read)")
    notes: list[str] = []

    def parsed(content: bytes | str) -> Element:
        root: Element = fromstring(content, forbid_dtd=False, forbid_entities=True, forbid_external=True)
        return root

    try:
        try:
            root = parsed(raw)
        except (ParseError, ValueError, LookupError) as error:
            if isinstance(error, DefusedXmlException):
                raise
            text, notes = _mended(raw)
            if not notes:
                raise
            root = parsed(text)
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
    return root, notes


def _mended(raw: bytes) -> tuple[str, list[str]]:
    """The text of a file that is no XML as it stands, and what was done to it; nothing done: no notes.

    Two faults are common in exports of machines: another encoding than declared, and control characters in statements.
    """
    notes: list[str] = []
    declared = _ENCODING.search(raw[:_LONGEST_DECLARATION].replace(b"\0", b""))
    said = declared.group(1).decode("ascii").lower() if declared else "utf-8"
    text, used = _decoded(raw, said)
    if not said.startswith(used):
        notes.append(f"the file declares the encoding {said}, it is read as {used}")
    if text.startswith("<?xml"):
        text = text[max(0, text.find("?>", 0, _LONGEST_DECLARATION) + 2) :]
    plain = text.translate(_FORBIDDEN)
    plain = _REFERENCE.sub(lambda match: "" if _is_forbidden(match.group()) else match.group(), plain)
    if plain != text:
        notes.append(f"{len(text) - len(plain)} control characters that XML forbids are left out")
    return plain, notes


def _decoded(raw: bytes, said: str) -> tuple[str, str]:
    """Text, and the encoding that its bytes are in: the declared one where it can be."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", errors="replace"), "utf-16"
    if raw[1:2] == b"\0" or raw[:1] == b"\0":
        return raw.decode("utf-16-le" if raw[1:2] == b"\0" else "utf-16-be", errors="replace"), "utf-16"
    try:
        if not said.startswith("utf"):
            return raw.decode(said), said
    except (LookupError, ValueError):  # an encoding that Python does not know, or not the one of these bytes
        pass
    try:
        return raw.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace"), "windows-1252"


def _is_forbidden(reference: str) -> bool:
    digits = reference[2:-1]
    return (int(digits[1:], 16) if digits[:1] in "xX" else int(digits)) in _FORBIDDEN


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

    Args:
        text: Base64, white space allowed.
        where: File name for messages.
        what: What is spelled, for messages: "lead V1".

    Returns:
        The bytes.

    Raises:
        RecordError: It is not Base64.
    """
    try:
        return binascii.a2b_base64("".join(text.split()).encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise RecordError(f"{where}: {what} is not Base64: {error}", hint="is the file complete?") from None


def numbers_in(text: str, factor: float, what: str) -> NDArray[np.float32]:
    """Samples that stand as numbers in a text, between commas or blanks, times a factor.

    Args:
        text: "12,14,-3" or "12 14 -3".
        factor: From a step to mV.
        what: For messages: file and lead.

    Returns:
        float32 (n,).

    Raises:
        RecordError: One is no number, or they are more than `MAX_SAMPLES`.
    """
    try:
        values = np.array(text.replace(",", " ").replace(";", " ").split(), dtype=np.float64)
    except ValueError as error:
        raise RecordError(f"{what}: a sample is no number ({str(error)[-40:]})") from None
    if values.size > MAX_SAMPLES:
        raise RecordError(f"{what}: {values.size} samples (at most {MAX_SAMPLES} are read)")
    with np.errstate(over="ignore", invalid="ignore"):
        return (values * factor).astype(np.float32)
