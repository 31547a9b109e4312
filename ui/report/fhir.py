"""An accepted report on its way to a FHIR R4 server: one transaction with a DiagnosticReport and its Observations.

A transaction is all or nothing, and `ifNoneExist` with the report's own identifiers makes sending it again harmless.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from typing import Any
from urllib.parse import urlsplit

from ecgkin import __version__
from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS, statement
from ecgkin.retrieval.errors import EcgkinError, QueryError, why_unreachable
from ecgkin.ui.fhir.draft import LOINC, MEASUREMENTS, MEDIA_TYPE, SCP, SNOMED, TERMINOLOGY, UCUM
from ecgkin.ui.hosts import is_loopback
from ecgkin.ui.report.accepted import AcceptedReport

REPORT_SYSTEM = "urn:ecgkin:report"
TRIES = 3


class DeliveryError(EcgkinError):
    """A server did not take a report."""

    exit_code = 5
    http_status = 502


def bundle(report: AcceptedReport, document: bytes | None = None) -> dict[str, Any]:
    """The transaction, checked by the models of fhir.resources.

    Args:
        report: Signed.
        document: Its PDF, carried along.

    Returns:
        A Bundle as plain values.
    """
    from fhir.resources.R4B.bundle import Bundle

    subject = _subject(report)
    when = {"effectiveDateTime": _instant(report.study.performed_at)} if report.study.performed_at else {}
    observations: list[dict[str, Any]] = [
        {
            "resourceType": "Observation",
            "identifier": [{"system": REPORT_SYSTEM, "value": f"{report.key}-{name}"}],
            "status": "final",
            "category": [
                {"coding": [{"system": f"{TERMINOLOGY}/observation-category", "code": "procedure"}]}
            ],
            "code": {"coding": [{"system": LOINC, "code": code, "display": display}]},
            **subject,
            **when,
            "performer": [{"display": _name(report.signed_by)}],
            "device": {"display": f"ecgkin {__version__}"},
            "valueQuantity": {"value": round(report.values[name]), "unit": unit, "system": UCUM, "code": unit},
            **({"method": {"text": "Bazett"}} if name == "qtc_ms" else {}),
        }
        for name, (code, display, unit) in MEASUREMENTS.items()
        if name in report.values
    ]  # fmt: skip
    entries = [(_urn(report, item["identifier"][0]["value"]), item) for item in observations]
    diagnostic: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        "identifier": [{"system": REPORT_SYSTEM, "value": report.key}],
        "language": report.language,
        "status": "final",
        "category": [
            {"coding": [{"system": f"{TERMINOLOGY}/v2-0074", "code": "EC",
                         "display": "Electrocardiac (e.g., EKG, EEC, Holter)"}]}
        ],
        "code": {"coding": [{"system": LOINC, "code": "11524-6", "display": "EKG study"}], "text": report.title},
        **subject,
        **when,
        "issued": report.signed_at.isoformat(),
        "performer": [{"display": report.organization or _name(report.signed_by)}],
        "resultsInterpreter": [{"display": _name(report.signed_by)}],
        "conclusion": f"{report.text}\n{report.origin}",
    }  # fmt: skip
    if report.study.accession_number:
        diagnostic["identifier"].append({
            "type": {"coding": [{"system": f"{TERMINOLOGY}/v2-0203", "code": "ACSN"}]},
            "value": report.study.accession_number,
        })  # fmt: skip
    if report.study.study_instance_uid:
        study = {"system": "urn:dicom:uid", "value": f"urn:oid:{report.study.study_instance_uid}"}
        diagnostic["imagingStudy"] = [{"identifier": study}]
    codes = [coded for line in report.lines for pair in line.codes if (coded := _coded(*pair)) is not None]
    if codes:
        diagnostic["conclusionCode"] = list({json.dumps(code): code for code in codes}.values())
    if entries:
        diagnostic["result"] = [{"reference": urn} for urn, _ in entries]
    if document is not None:
        diagnostic["presentedForm"] = [
            {"contentType": "application/pdf", "language": report.language, "title": report.title,
             "data": base64.b64encode(document).decode()}
        ]  # fmt: skip
    entries.append((_urn(report, report.key), diagnostic))
    content = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": urn,
                "resource": item,
                "request": {
                    "method": "POST",
                    "url": item["resourceType"],
                    "ifNoneExist": f"identifier={REPORT_SYSTEM}|{item['identifier'][0]['value']}",
                },
            }
            for urn, item in entries
        ],
    }
    checked: dict[str, Any] = json.loads(Bundle.model_validate(content).model_dump_json())
    return checked


def post(
    url: str, content: dict[str, Any], *, token: str | None = None, timeout_s: float = 30.0, pause_s: float = 1.0
) -> list[str]:
    """Send a transaction to a server.

    Args:
        url: Base address of the server, https, or http on this machine.
        content: Of `bundle`.
        token: Sent as a bearer token.
        timeout_s: For each try; a server that does not answer or answers 5xx or 429 is asked `TRIES` times.
        pause_s: Before the second try; doubled after each.

    Returns:
        Where the server has put each entry ("DiagnosticReport/17/_history/1").

    Raises:
        QueryError: The address cannot be used.
        DeliveryError: The server cannot be reached, or did not take it.
    """
    import httpx

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise QueryError(f"{url[:200]!r} is no address of a FHIR server", hint="https://host/fhir")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise QueryError("a report would be sent in clear text to another machine", hint="use https")
    headers = {"Content-Type": MEDIA_TYPE, "Accept": MEDIA_TYPE, "Prefer": "return=minimal"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    problem = ""
    with httpx.Client(timeout=timeout_s, headers=headers, follow_redirects=False) as client:
        for number in range(TRIES):
            if number:
                time.sleep(pause_s * 2 ** (number - 1))
            try:
                answer = client.post(url.rstrip("/"), content=json.dumps(content).encode())
            except httpx.HTTPError as error:
                problem = why_unreachable(error)
                continue
            if answer.status_code in (200, 201):
                return _locations(answer, len(content["entry"]))
            problem = f"status {answer.status_code}{_outcome(answer)}"
            if answer.status_code < 500 and answer.status_code != 429:
                raise DeliveryError(f"{parts.hostname} did not take the report: {problem}", hint=_hint(answer))
    hint = "nothing was lost: send it again, what is there already is not made twice"
    raise DeliveryError(f"{parts.hostname} did not take the report in {TRIES} tries: {problem}", hint=hint)


def _locations(answer: Any, n: int) -> list[str]:
    try:
        entries = [entry["response"] for entry in answer.json()["entry"]]
        bad = [entry["status"] for entry in entries if not str(entry["status"]).startswith(("200", "201"))]
        places = [str(entry.get("location", "")) for entry in entries]
    except (ValueError, KeyError, TypeError):
        raise DeliveryError("the server's answer is no response to a transaction") from None
    if bad or len(entries) != n:
        raise DeliveryError(f"the server took {len(entries) - len(bad)} of {n} entries: {', '.join(map(str, bad))}")
    return places


def _outcome(answer: Any) -> str:
    """What an OperationOutcome says, for the message."""
    try:
        issues = answer.json()["issue"]
        said = "; ".join(str(issue.get("diagnostics") or issue.get("code")) for issue in issues[:3])
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return f", {said[:300]}"


def _hint(answer: Any) -> str:
    if answer.status_code in (401, 403):
        return "set ECGKIN_FHIR_TOKEN to a token that may write"
    return "is it the base address of a FHIR R4 server?" if answer.status_code in (301, 302, 307, 308, 404, 405) else ""


def _subject(report: AcceptedReport) -> dict[str, Any]:
    """The patient by his identifier: which Patient that is, the server knows."""
    patient = report.patient
    if not patient.patient_id:
        return {}
    return {"subject": {"type": "Patient", "identifier": {"system": patient.system, "value": patient.patient_id}}}


def _coded(code: str, polarity: str) -> dict[str, Any] | None:
    """A statement that is there; what is possible or absent stands in the words alone."""
    if polarity != "present" or code not in {one.code for one in STATEMENTS}:
        return None
    one = statement(code)
    codings = [{"system": SNOMED, "code": one.snomed}] if one.snomed else []
    return {"coding": [*codings, {"system": SCP, "code": code, "display": one.name_en}], "text": one.name_en}


def _instant(iso: str) -> str:
    """FHIR wants a zone behind a time; without one the day alone is passed on."""
    return iso if len(iso) <= len("2000-01-01") or iso.endswith("Z") or "+" in iso else iso[:10]


def _name(person: str) -> str:
    family, _, given = person.partition("^")
    return " ".join(filter(None, [given.replace("^", " ").strip(), family.strip()]))


def _urn(report: AcceptedReport, value: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{REPORT_SYSTEM}:{report.key}:{value}").urn
