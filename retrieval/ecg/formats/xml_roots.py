"""XML files of ECG machines: which of the formats one is, told by its root element."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from xml.etree.ElementTree import Element

from ecgkin.retrieval.ecg.formats.datakit import read_with_datakit
from ecgkin.retrieval.ecg.formats.xml import parse_xml
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError

# Root element, without its namespace -> format, and the module whose `record_from` reads it.
ROOTS: dict[str, tuple[str, str]] = {
    "AnnotatedECG": ("HL7 aECG", "aecg"),
    "RestingECG": ("GE MUSE", "muse"),
    "restingecgdata": ("Philips Sierra", "sierra"),
    "CardiologyXML": ("GE CardioSoft", "cardiosoft"),
    "com.xiriuz.sema.xml.schillerEDI.SchillerEDI": ("Schiller SEMA", "sema"),
    "Cardio7": ("Bionet Cardio7", "cardio7"),
}
_BY_DATAKIT = frozenset({"ECG"})  # Mortara EL250


def read_xml(path: str | os.PathLike[str]) -> EcgRecord:
    """Read an XML file of one of the `ROOTS`.

    Raises:
        RecordError: It is none of these, or see the reader of its format.
    """
    file = Path(path)
    root, notes = parse_xml(file)
    if root.tag in _BY_DATAKIT:
        return read_with_datakit(file)
    known = ROOTS.get(str(root.tag))
    if known is None:
        names = ", ".join(f"<{name}>" for name in ROOTS)
        raise RecordError(f"{file.name} is XML with <{str(root.tag)[:40]}> at its root (read: {names})")
    read: Callable[[Element, str, str], EcgRecord] = import_module(
        f"ecgkin.retrieval.ecg.formats.{known[1]}"
    ).record_from
    return read(root, file.name, file.stem).noted(*notes)
