"""A draft as a FHIR R4 DiagnosticReport, checked by the models of fhir.resources.

fhir.resources has no package for 4.0.1; its R4B (4.3.0) left DiagnosticReport, Observation, Device and Provenance as
they were in R4. The report is preliminary and unsigned: `resultsInterpreter` stays empty, a contained Device and a
Provenance say that software asserted it, from which case base and from which cases.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

from ecgkin import __version__
from ecgkin.retrieval.ecg.statements.catalogue import statement

if TYPE_CHECKING:
    from ecgkin.generation.types.draft import Draft

MEDIA_TYPE = "application/fhir+json"
SNOMED = "http://snomed.info/sct"
LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
SCP = "urn:ecgkin:scp-statement"
FLAG = "urn:ecgkin:flag"
DEVICE = "ecgkin"
# Severity of a flag -> HL7's interpretation of an observation.
_INTERPRETATION = {"urgent": ("AA", "Critical abnormal"), "important": ("A", "Abnormal"), "note": ("A", "Abnormal")}
# Measurement -> LOINC code, its display, UCUM unit (field.md 1; the axis is LOINC's "QRS axis").
MEASUREMENTS = {
    "rate_bpm": ("8867-4", "Heart rate", "/min"),
    "pr_ms": ("8625-6", "P-R Interval", "ms"),
    "qrs_ms": ("8633-0", "QRS duration", "ms"),
    "qt_ms": ("8634-8", "Q-T interval", "ms"),
    "qtc_ms": ("8636-3", "Q-T interval corrected", "ms"),
    "axis_deg": ("8632-2", "QRS axis", "deg"),
}


def diagnostic_report(
    draft: Draft, *, base_id: str, encoder: str, generation: int, warnings: tuple[str, ...] = ()
) -> str:
    """The draft as JSON.

    Args:
        draft: What was written, a refusal included.
        base_id: Of the case base: the cases are named within it.
        encoder: Name and fingerprint of what found the cases.
        generation: State of the case base.
        warnings: What the search said, beside the draft's own warnings.

    Returns:
        A DiagnosticReport with contained Device, Provenance and Observations.
    """
    from fhir.resources.R4B.diagnosticreport import DiagnosticReport

    now = datetime.now(tz=UTC).isoformat(timespec="seconds")
    observations = [*_observations(draft), *_flags(draft), *_comparison(draft)]
    said = _conclusion(draft, warnings)
    content: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        "meta": {
            # HL7's security label for what an artificial intelligence asserted.
            "security": [_coding(f"{TERMINOLOGY}/v3-ObservationValue", "AIAST", "Artificial Intelligence asserted")]
        },
        "language": draft.language,
        "text": {"status": "generated", "div": _narrative(said)},
        "contained": [_device(draft, encoder), *observations, _provenance(draft, base_id, generation, now)],
        "status": "preliminary",
        "category": [{"coding": [_coding(f"{TERMINOLOGY}/v2-0074", "EC", "Electrocardiac (e.g., EKG, EEC, Holter)")]}],
        "code": {"coding": [_coding(LOINC, "11524-6", "EKG study")], "text": "12-lead ECG, draft by software"},
        "issued": now,
        "conclusion": said,
    }
    if observations:
        content["result"] = [{"reference": f"#{observation['id']}"} for observation in observations]
    codes = list(_codes(draft))
    if codes:
        content["conclusionCode"] = codes
    text: str = DiagnosticReport.model_validate(content).model_dump_json()
    return text


def _coding(system: str, code: str, display: str) -> dict[str, str]:
    return {"system": system, "code": code, "display": display}


def _conclusion(draft: Draft, warnings: tuple[str, ...]) -> str:
    parts = [draft.disclaimer, draft.text or draft.refusal]
    parts += [flag.text for flag in draft.flags if flag.text not in draft.text]
    parts += [f"[{item.number}] {item.case_id}" for item in draft.evidence if item.case_id in draft.citations]
    parts += dict.fromkeys((*draft.warnings, *warnings))
    return "\n".join(_printable(part) for part in parts if part.strip())


def _printable(text: str) -> str:
    """FHIR strings hold no control characters but tab and line ends."""
    return "".join(c if c >= " " or c in "\t\n" else "\ufffd" for c in text.replace("\r\n", "\n").replace("\r", "\n"))


def _narrative(text: str) -> str:
    lines = "".join(f"<p>{escape(line)}</p>" for line in text.splitlines())
    return f'<div xmlns="http://www.w3.org/1999/xhtml">{lines}</div>'


def _codes(draft: Draft) -> Iterator[dict[str, Any]]:
    """The statements that are there. What is only possible gets words and no code: a code would say that it is so.

    Nothing that the draft denies anywhere, or that its evidence speaks against, is among them.
    """
    denied = {code for sentence in draft.sentences for code, said in sentence.statements if said == "absent"}
    for item in draft.statements:
        unsupported = item.citations and not item.supported_by and item.agreement != "agrees"
        if item.code in denied or item.agreement == "contradicts" or unsupported:
            continue
        name = statement(item.code).name(draft.language)
        if item.polarity == "present":
            codings = [_coding(SCP, item.code, statement(item.code).name_en)]
            snomed = statement(item.code).snomed
            if snomed:
                codings.insert(0, {"system": SNOMED, "code": snomed})
            yield {"coding": codings, "text": name}
        elif item.polarity == "possible":
            yield {"text": f"{'possible' if draft.language == 'en' else 'möglich'}: {name}"}


def _device(draft: Draft, encoder: str) -> dict[str, Any]:
    return {
        "resourceType": "Device",
        "id": DEVICE,
        "status": "active",
        "deviceName": [{"name": f"ecgkin, drafter {draft.model}", "type": "model-name"}],
        "version": [
            {"type": {"text": "software"}, "value": __version__},
            {"type": {"text": "encoder"}, "value": encoder},
            *([{"type": {"text": "prompt"}, "value": draft.prompt}] if draft.prompt else []),
        ],
        "note": [{"text": "Software with machine learning. For research and education, not for diagnosis."}],
    }


def _observations(draft: Draft) -> Iterator[dict[str, Any]]:
    for name, (code, display, unit) in MEASUREMENTS.items():
        value = draft.measurements.get(name)
        if value is not None:
            yield {
                "resourceType": "Observation",
                "id": name.replace("_", "-"),
                "status": "preliminary",
                "code": {"coding": [_coding(LOINC, code, display)]},
                "device": {"reference": f"#{DEVICE}"},
                "valueQuantity": {"value": round(float(value)), "unit": unit, "system": UCUM, "code": unit},
                **({"method": {"text": "Bazett"}} if name == "qtc_ms" else {}),
            }


def _flags(draft: Draft) -> Iterator[dict[str, Any]]:
    """Red flags: what was measured, by which criterion, and how soon somebody must look."""
    for number, flag in enumerate(draft.flags, 1):
        code, name = _INTERPRETATION[flag.severity]
        criterion = _printable(flag.text.removeprefix(flag.title).lstrip("(. "))
        yield {
            "resourceType": "Observation",
            "id": f"flag-{number}",
            "status": "preliminary",
            "code": {"coding": [_coding(FLAG, flag.code, flag.title)], "text": _printable(flag.title)},
            "device": {"reference": f"#{DEVICE}"},
            "valueString": _printable(flag.title),
            "interpretation": [{"coding": [_coding(f"{TERMINOLOGY}/v3-ObservationInterpretation", code, name)]}],
            **({"method": {"text": criterion}} if criterion else {}),
            **({"bodySite": {"text": ", ".join(flag.leads)}} if flag.leads else {}),
        }


def _comparison(draft: Draft) -> Iterator[dict[str, Any]]:
    """What has changed since an earlier ECG, and beside it the values of both."""
    serial = draft.comparison
    if serial is None or not serial.compared_with:
        return
    parts = []
    for row in serial.rows:
        if row.before is None or row.after is None or row.change is None:
            continue
        code, name = ("A", "Abnormal") if row.beyond else ("N", "Normal")
        parts.append(
            {
                "code": {"text": row.name},
                "valueString": f"{round(row.before, 3):g} -> {round(row.after, 3):g} ({round(row.change, 3):+g})",
                "interpretation": [
                    {
                        "coding": [_coding(f"{TERMINOLOGY}/v3-ObservationInterpretation", code, name)],
                        "text": "beyond repeatability" if row.beyond else "within repeatability",
                    }
                ],
            }
        )
    yield {
        "resourceType": "Observation",
        "id": "comparison",
        "status": "preliminary",
        "code": {"coding": [_coding(LOINC, "18844-1", "EKG impression Narrative")], "text": "serial comparison"},
        "device": {"reference": f"#{DEVICE}"},
        "valueString": _printable(serial.sentence),
        **({"component": parts} if parts else {}),
        **({"note": [{"text": _printable(f"{c.text}: {c.rule}")} for c in serial.changes]} if serial.changes else {}),
    }


def _provenance(draft: Draft, base_id: str, generation: int, now: str) -> dict[str, Any]:
    entities = []
    for item in draft.evidence:
        what = f"[{item.number}] similar case, cosine {item.score:.3f}, {' '.join(item.statements) or 'no statements'}"
        case = {"system": f"urn:ecgkin:case-base:{base_id}", "value": item.case_id}
        entities.append({"role": "source", "what": {"identifier": case, "display": what}})
    agent = {
        "type": {"coding": [_coding(f"{TERMINOLOGY}/provenance-participant-type", "assembler", "Assembler")]},
        "who": {"reference": f"#{DEVICE}"},
    }
    found = {
        "role": "source",
        "what": {
            "identifier": {"system": "urn:ecgkin:case-base", "value": base_id},
            "display": f"case base, generation {generation}",
        },
    }
    return {
        "resourceType": "Provenance",
        "id": "provenance",
        "target": [{"reference": "#"}],
        "recorded": now,
        "agent": [agent],
        "entity": [found, *entities],
    }


def summary(report: str) -> dict[str, Any]:
    """Status, codes and sources of a report, parsed back by the library; for people who check one.

    Args:
        report: JSON of a DiagnosticReport.
    """
    from fhir.resources.R4B.diagnosticreport import DiagnosticReport

    parsed = json.loads(DiagnosticReport.model_validate_json(report).model_dump_json())
    codes = [coding["code"] for item in parsed.get("conclusionCode", []) for coding in item.get("coding", [])]
    provenance = next(item for item in parsed["contained"] if item["resourceType"] == "Provenance")
    sources = [entity["what"]["identifier"]["value"] for entity in provenance["entity"][1:]]
    return {"status": parsed["status"], "codes": codes, "sources": sources}
