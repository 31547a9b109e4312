"""An accepted report as an HL7 v2.5.1 message ORU^R01, in the way of systems that know nothing newer.

One order (OBR) with an observation (OBX) for each measured value, each sentence, and what the report came from. Names
and words may hold any character: those that HL7 uses as separators are escaped, line ends cannot begin a segment.
"""

from __future__ import annotations

from datetime import datetime

from ecgkin import __version__
from ecgkin.ui.fhir.draft import MEASUREMENTS
from ecgkin.ui.report.accepted import AcceptedReport

_ESCAPES = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}
_SYSTEM = "LN"  # LOINC in HL7's table 0396


def escaped(text: str) -> str:
    r"""Text as a component of a field.

    Args:
        text: Any; line ends and other control characters become blanks.

    >>> print(escaped("II & III | 60^50"))
    II \T\ III \F\ 60\S\50
    """
    plain = "".join(character if character.isprintable() else " " for character in text)
    return "".join(_ESCAPES.get(character, character) for character in plain)


def oru(report: AcceptedReport, *, to: str = "", facility: str = "") -> str:
    """The message.

    Args:
        report: Signed.
        to: Receiving application (MSH-5).
        facility: Receiving facility (MSH-6).

    Returns:
        Segments, each ended by a carriage return; UTF-8 is declared in MSH-18. The same report gives the same control
        id (MSH-10) and filler order number.
    """
    patient, study = report.patient, report.study
    signed = report.signed_at.strftime("%Y%m%d%H%M%S%z")
    performed = _time(study.performed_at)
    name = "^".join(escaped(part) for part in patient.name.split("^"))
    reader = "&".join(["", *(escaped(part) for part in report.signed_by.split("^"))])
    birth = patient.birth_date.strftime("%Y%m%d") if patient.birth_date else ""
    filler = f"{report.key[:24]}^ecgkin"
    segments = [
        ["MSH", "^~\\&", "ecgkin", escaped(report.organization), escaped(to), escaped(facility), signed, "",
         "ORU^R01^ORU_R01", report.key[:20], "P", "2.5.1", "", "", "", "", "", "UNICODE UTF-8"],
        ["PID", "1", "", f"{escaped(patient.patient_id)}^^^{escaped(patient.system)}^MR", "", name or "^", "", birth,
         patient.sex or "U"],
        ["OBR", "1", escaped(study.accession_number), filler, f"11524-6^EKG study^{_SYSTEM}", "", "", performed, "", "",
         "", "", "", "", "", "", "", "", "", "", "", "", signed, "", "EC", "F", "", "", "", "", "", "", reader],
    ]  # fmt: skip
    observed = []
    for measured, (code, display, unit) in MEASUREMENTS.items():
        if measured in report.values:
            what = f"{code}^{escaped(display)}^{_SYSTEM}"
            observed.append(["NM", what, str(round(report.values[measured])), f"{escaped(unit)}^^UCUM"])
    for line in report.lines:
        said = f"{line.section}: {line.text}" if line.section else line.text
        observed.append(["TX", f"18844-1^EKG impression^{_SYSTEM}", escaped(said), ""])
    observed.append(
        ["TX", f"48767-8^Annotation comment^{_SYSTEM}", escaped(f"{report.origin} ecgkin {__version__}"), ""]
    )
    for number, (kind, what, value, unit) in enumerate(observed, 1):
        segments.append(
            ["OBX", str(number), kind, what, str(number), value, unit, "", "", "", "", "F", "", "", performed]
        )
    return "".join("|".join(fields).rstrip("|") + "\r" for fields in segments)


def _time(iso: str) -> str:
    """A date, or date and time, as HL7 writes it; "" where there is none."""
    if not iso:
        return ""
    when = datetime.fromisoformat(iso)
    return when.strftime("%Y%m%d") if len(iso) == 10 else when.strftime("%Y%m%d%H%M%S%z")
