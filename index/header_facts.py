"""What the header of a recording says, as fields of its case: only the gaps that the source of the case has left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ecgkin.index.case import Case
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.report_text import report_language


def filled_from(case: Case, record: EcgRecord) -> Case:
    """The case with patient, age, sex, date, report, labels and facts of the header where it says nothing itself.

    Args:
        case: What is known without opening the file: a table comes before the header.
        record: As `read_ecg` gave it.

    Returns:
        Names, birthdays and other identifiers of the header never become part of a case.
    """
    header = record.header
    sex = record.sex if record.sex in ("F", "M") else None
    facts: dict[str, Any] = {
        "patient_id": case.patient_id if case.patient_id is not None else record.patient_id,
        "age_years": case.age_years if case.age_years is not None else record.age_years,
        "sex": case.sex if case.sex is not None else sex,
    }
    if header is not None:
        said = {
            "format": header.format if header.format != "WFDB" else "",
            "device": header.device,
            "filters": header.filters,
            "codes": list(header.codes),
            "measurements": dict(header.measurements),
        }
        facts["recorded_at"] = case.recorded_at or header.recorded_at
        facts["labels"] = case.labels or dict(header.labels)
        facts["meta"] = {**{name: value for name, value in said.items() if value}, **case.meta}
        if not case.report and header.report:
            facts["report"] = header.report
            facts["language"] = case.language or report_language(header.report) or None
    return replace(case, **facts)
