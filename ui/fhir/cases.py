"""A case as a FHIR R4 bundle: patient, the ECG as an Observation with sampled data, and its report as it stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.index.case import Case, digitised_words
from ecgkin.index.transfer.export import file_stem, steps_of
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS, statement

_LOINC, _SNOMED, _MDC = "http://loinc.org", "http://snomed.info/sct", "urn:iso:std:iso:11073:10101"
_UCUM = "http://unitsofmeasure.org"
_STATEMENTS = "urn:ecgkin:scp-statement"
# MDC_ECG_ELEC_POTL of ISO 11073-10101, term 256 of partition 2; that of a lead is its number in SCP-ECG further on.
_FIRST_LEAD = 131328
_NUMBERS = {"I": 1, "II": 2, **{f"V{k}": k + 2 for k in range(1, 7)}, "III": 61, "aVR": 62, "aVL": 63, "aVF": 64}
_SEX = {"F": "female", "M": "male"}


def write_fhir(folder: Path, case: Case, record: EcgRecord) -> Path:
    """Write the bundle, checked by the models of fhir.resources.

    The report's status is "unknown": a case base does not say who signed it.

    Args:
        folder: Where the file goes.
        case: Report and statements.
        record: Its samples.

    Returns:
        The file.
    """
    from fhir.resources.R4B.bundle import Bundle

    path = folder / f"{file_stem(case.case_id)}.fhir.json"
    content = {"resourceType": "Bundle", "type": "collection", "entry": [
        {"fullUrl": f"urn:ecgkin:{item['resourceType'].lower()}", "resource": item} for item in _resources(case, record)
    ]}  # fmt: skip
    path.write_text(Bundle.model_validate(content).model_dump_json(indent=1), encoding="utf-8")
    return path


def _resources(case: Case, record: EcgRecord) -> list[dict[str, Any]]:
    patient: dict[str, Any] = {"resourceType": "Patient"}
    if case.patient_id:
        patient["identifier"] = [{"system": f"urn:ecgkin:source:{case.source or 'unknown'}", "value": case.patient_id}]
    if case.sex:
        patient["gender"] = _SEX[case.sex]
    subject = {"reference": "urn:ecgkin:patient"}
    steps, step = steps_of(record)
    when = {"effectiveDateTime": _instant(case.recorded_at)} if case.recorded_at else {}
    observation = {
        "resourceType": "Observation",
        "status": "unknown",
        "identifier": [{"system": "urn:ecgkin:case", "value": case.case_id}],
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category",
                                  "code": "procedure"}]}],
        "code": {"coding": [{"system": _LOINC, "code": "34534-8", "display": "12 lead EKG panel"}]},
        "subject": subject,
        **when,
        "component": [
            _component(lead, row, record.fs_hz, step) for lead, row in zip(record.leads, steps, strict=True)
        ],
    }  # fmt: skip
    if case.age_years is not None:
        observation["component"].append(  # type: ignore[attr-defined]
            {"code": {"coding": [{"system": _LOINC, "code": "21612-7", "display": "Age - Reported"}]},
             "valueQuantity": {"value": case.age_years, "unit": "a", "system": _UCUM, "code": "a"}}
        )  # fmt: skip
    if case.is_digitised:
        observation["note"] = [{"text": digitised_words(case)}]
    report: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        "status": "unknown",
        "code": {"coding": [{"system": _LOINC, "code": "11524-6", "display": "EKG study"}]},
        "subject": subject,
        **when,
        "result": [{"reference": "urn:ecgkin:observation"}],
    }
    if case.report:
        report["conclusion"] = case.report
    if case.labels:
        report["conclusionCode"] = [_finding(code) for code in case.labels]
    return [patient, observation, report]


def _instant(text: str) -> str:
    """FHIR wants a zone behind a time; the source has none: the day alone is passed on."""
    return text[:10]


def _component(lead: str, row: Any, fs_hz: float, step_mv: float) -> dict[str, Any]:
    data = " ".join("E" if value == -32768 else str(value) for value in np.asarray(row).tolist())
    code = {"system": _MDC, "code": str(_FIRST_LEAD + _NUMBERS[lead]), "display": f"MDC_ECG_ELEC_POTL_{lead.upper()}"}
    return {
        "code": {"coding": [code]},
        "valueSampledData": {
            "origin": {"value": 0, "unit": "mV", "system": _UCUM, "code": "mV"},
            "period": json.loads(f"{1000 / fs_hz:.10g}"),
            "factor": json.loads(f"{step_mv:.10g}"),
            "dimensions": 1,
            "data": data,
        },
    }


def _finding(code: str) -> dict[str, Any]:
    known = {s.code for s in STATEMENTS}
    if code not in known:
        return {"text": code}
    found = statement(code)
    codings = [{"system": _SNOMED, "code": found.snomed}] if found.snomed else []
    return {
        "coding": [*codings, {"system": _STATEMENTS, "code": code, "display": found.name_en}],
        "text": found.name_en,
    }
