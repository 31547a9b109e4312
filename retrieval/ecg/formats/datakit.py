"""Formats that are read through the package ecgdatakit: Mortara EL250 XML, Edan ARC, Kardia JSON, XLE.

The package is the optional extra `[formats]`. What it reads is taken over lead by lead, in mV, with its warnings as
notes; formats that ecgkin reads itself never come here.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecgkin.retrieval.ecg.assemble import MAX_SAMPLES, assemble, checked_rate, levelled, millivolts_per
from ecgkin.retrieval.ecg.formats.groups import Channels, Group, merged
from ecgkin.retrieval.ecg.header import SourceHeader, age_at, plain_text, plausible_age, report_lines, sex_of
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import EcgkinError, RecordError

if TYPE_CHECKING:
    from datetime import datetime

MAX_BYTES = 64 << 20
# Parser of the package -> what the format is called here.
_PARSERS = {
    "MortaraEL250Parser": "Mortara EL250 XML",
    "EDANARCHolterParser": "Edan ARC",
    "AliveCorKardiaParser": "Kardia JSON",
    "XLEParser": "XLE",
}
_MEASURES = {
    "heart_rate": "rate_bpm",
    "pr_interval": "pr_ms",
    "qrs_duration": "qrs_ms",
    "qt_interval": "qt_ms",
    "qtc_bazett": "qtc_ms",
}


def read_with_datakit(path: str | os.PathLike[str]) -> EcgRecord:
    """Read a file of one of the formats above.

    Raises:
        RecordError: The package is not installed, does not know the file, or cannot read it.
    """
    file = Path(path)
    try:
        from ecgdatakit.parsing.parser import FileParser
    except ImportError:
        raise RecordError(
            f"{file.name} needs the package ecgdatakit to be read, if it is an ECG at all",
            hint="pip install 'ecgkin[formats]'",
        ) from None
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise RecordError(f"{file.name} has {size} bytes (at most {MAX_BYTES} are read in this format)")
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            known = FileParser.detect_format(file)
            form = _PARSERS.get(str(known["parser"])) if known else None
            if form is None:
                raise RecordError(
                    f"{file.name} is none of {', '.join(_PARSERS.values())}", hint="is it an ECG, under its own name?"
                )
            found = FileParser.parse(file, auto_scale=True, units="mV")
        notes = list(dict.fromkeys(plain_text(str(w.message)) for w in said))
        return _record(found, form, file, notes)
    except EcgkinError:
        raise
    except Exception as error:  # the package raises whatever its parsing runs into
        text = plain_text(str(error).replace(str(file), file.name), 160)
        raise RecordError(f"{file.name} cannot be read: {type(error).__name__}: {text}") from None


def _record(found: Any, form: str, file: Path, notes: list[str]) -> EcgRecord:
    by_rate: dict[float, Channels] = {}
    total = 0
    for lead in found.leads:
        label = plain_text(str(lead.label), 60)
        factor = None if lead.is_raw else millivolts_per(str(lead.units or lead.resolution_unit) or "none")
        if factor is None:
            notes.append(f"channel {label!r} has no scale in volts: left out")
            continue
        samples = np.asarray(lead.samples, dtype=np.float64)
        total += samples.size
        if total > MAX_SAMPLES:
            raise RecordError(f"{file.name} holds more than {MAX_SAMPLES} samples")
        rate = checked_rate(float(lead.sampling_rate), file.name)
        by_rate.setdefault(rate, []).append((label, (samples * factor).astype(np.float32)))
    if not by_rate:
        raise RecordError(f"{file.name}: no channel has a scale in volts")
    groups = [Group(levelled(rows), rate, 0.0) for rate, rows in by_rate.items()]
    channels, fs_hz = merged(groups, file.name, notes)
    header = _header(found, form)
    notes.insert(0, f"{form}, read by ecgdatakit: {fs_hz:g} Hz")
    person = found.patient
    age = plausible_age(float(person.age)) if person.age is not None else None
    return assemble(
        channels,
        fs_hz,
        where=file.name,
        record_id=file.stem,
        patient_id=plain_text(str(person.patient_id or "")) or None,
        age_years=age if age is not None else age_at(header.birth_date, header.recorded_at),
        sex=sex_of(str(person.sex or "")),
        notes=notes,
        header=header,
    )


def _header(found: Any, form: str) -> SourceHeader:
    def iso(moment: datetime | None, *, day: bool = False) -> str | None:
        if moment is None:
            return None
        return moment.date().isoformat() if day else moment.replace(tzinfo=None, microsecond=0).isoformat()

    person, taken = found.patient, found.recording
    device = taken.device
    people = (taken.technician, taken.referring_physician, taken.room, taken.location, device.institution,
              device.department, found.interpretation.interpreter)  # fmt: skip
    values = {name: getattr(found.measurements, key, None) for key, name in _MEASURES.items()}
    return SourceHeader(
        form,
        patient_name=plain_text(f"{person.first_name} {person.last_name}"),
        birth_date=iso(person.birth_date, day=True),
        recorded_at=iso(taken.date),
        report=report_lines([" ".join(filter(None, map(str, line))) for line in found.interpretation.statements]),
        measurements={name: float(value) for name, value in values.items() if value},
        device=plain_text(" ".join(filter(None, (device.manufacturer, device.model, device.software_version)))),
        people=tuple(plain_text(str(name)) for name in people if name),
        identifiers=tuple(filter(None, [plain_text(str(device.serial_number or ""))])),
    )
