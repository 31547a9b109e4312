"""XML files of ECG machines: which of the formats one is, told by its root."""

from __future__ import annotations

import os
from pathlib import Path

from ecgkin.retrieval.ecg.formats import aecg as aecg_io
from ecgkin.retrieval.ecg.formats import muse as muse_xml
from ecgkin.retrieval.ecg.formats import sierra as sierra_xml
from ecgkin.retrieval.ecg.formats.xml import parse_xml
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError

_FORMATS = {
    aecg_io.ROOT: aecg_io.record_from,
    muse_xml.ROOT: muse_xml.record_from,
    sierra_xml.ROOT: sierra_xml.record_from,
}


def read_xml(path: str | os.PathLike[str]) -> EcgRecord:
    """Read an HL7 aECG, a GE MUSE or a Philips Sierra XML file.

    Raises:
        RecordError: It is none of these, or see the reader of its format.
    """
    file = Path(path)
    root, notes = parse_xml(file)
    reader = _FORMATS.get(str(root.tag))
    if reader is None:
        known = ", ".join(f"<{name}>" for name in _FORMATS)
        raise RecordError(f"{file.name} is XML with <{str(root.tag)[:40]}> at its root (read: {known})")
    return reader(root, file.name, file.stem).noted(*notes)
