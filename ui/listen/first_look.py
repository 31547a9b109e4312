"""What can be told of a DICOM object before it is read: whether it holds an ECG at all, so that its sender is told.

Samples are not decoded and documents not drawn: that is done later, by the ingest, and what it cannot use is set aside.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from ecgkin.retrieval.ecg.formats.dicom import PDF_CLASS, WAVEFORMS

if TYPE_CHECKING:
    from pydicom import Dataset

TAGS = ("SOPClassUID", "SOPInstanceUID", "WaveformSequence", "MIMETypeOfEncapsulatedDocument", "EncapsulatedDocument")
"""Attributes that are looked at."""
_MOST_BYTES = 16_000_000  # of a document's streams, unpacked; more is taken for a drawing
_FEWEST_STROKES = 60  # lines and curves that a page with traces has at the least; rules and boxes of text have fewer
_STREAM = re.compile(rb"(?<!end)stream\r?\n")
_PREAMBLE = 128
_HEAD = 4_000  # bytes before a stream that its dictionary takes at most
_STROKE = re.compile(rb"(?<=[\d.\s])[lcvy]\s")
_PICTURE = re.compile(rb"/Image\b|(?:^|\s)BI\s")


def no_ecg(data: Dataset) -> str:
    """Why an object holds no ECG, in at most 64 characters; "" where it may hold one.

    Args:
        data: With `TAGS`, as far as it has them.
    """
    kind = str(data.get("SOPClassUID", ""))
    if kind in WAVEFORMS:
        groups = data.get("WaveformSequence") or ()
        held = any(
            group.get("WaveformData") and int(group.get("NumberOfWaveformSamples") or 0) > 0 and _channels(group)
            for group in groups
        )
        return "" if held else "no waveform data: set aside"
    if kind == PDF_CLASS:
        said = str(data.get("MIMETypeOfEncapsulatedDocument") or "application/pdf").lower()
        content = bytes(data.get("EncapsulatedDocument") or b"")
        if said != "application/pdf" or b"%PDF-" not in content[:1024]:
            return "no PDF document: set aside"
        return "" if may_show_traces(content) else "the document shows no traces: set aside"
    return ""


def file_has_no_ecg(path: Path) -> str:
    """As `no_ecg` of a file; "" for one that is no DICOM object, or whose attributes cannot be read.

    Args:
        path: The file.
    """
    from pydicom.filereader import dcmread

    with path.open("rb") as file:
        if file.read(_PREAMBLE + 4)[_PREAMBLE:] != b"DICM":
            return ""
    try:
        return no_ecg(dcmread(path, specific_tags=list(TAGS)))
    except Exception:  # whatever pydicom raises on a broken data set: the ingest says what is wrong with it
        return ""


def _channels(group: Dataset) -> int:
    return int(group.get("NumberOfWaveformChannels") or 0)


def may_show_traces(document: bytes) -> bool:
    """Whether a PDF document has a picture, or as many strokes as a trace takes; True where that cannot be told.

    Args:
        document: Its bytes; encrypted ones, and streams that are packed otherwise than by Flate, cannot be told.

    >>> may_show_traces(b"%PDF-1.4 1 0 obj << /Length 9 >> stream\\nBT (x) Tj ET\\nendstream endobj")
    False
    """
    if b"/Encrypt" in document or _PICTURE.search(document):
        return True
    strokes = n_bytes = 0
    for match in _STREAM.finditer(document):
        head = document[max(0, match.start() - _HEAD) : match.start()].rpartition(b"obj")[2]
        end = document.find(b"endstream", match.end())
        content = document[match.end() : end if end >= 0 else len(document)]
        if b"/Filter" in head:
            if re.search(rb"/(?:LZW|RunLength|ASCII85|ASCIIHex|CCITT|JBIG2|JPX|DCT|Crypt)", head):
                return True
            try:
                content = zlib.decompressobj().decompress(content, _MOST_BYTES - n_bytes + 1)
            except zlib.error:
                return True
        n_bytes += len(content)
        if n_bytes > _MOST_BYTES or _PICTURE.search(content):
            return True
        if b"/FontFile" not in head and b"/Length1" not in head and b"/XRef" not in head:
            strokes += len(_STROKE.findall(content))
        if strokes >= _FEWEST_STROKES:
            return True
    return False
