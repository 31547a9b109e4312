"""The FHIR report: parsed back by fhir.resources, preliminary, coded, with its sources, and claiming no more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from pydantic import ValidationError

from ecgkin.generation.prompt.grounding import ground
from ecgkin.generation.types.draft import Draft, DraftedStatement, DraftFlag, Evidence, Sentence
from ecgkin.generation.types.serial import Serial, SerialChange, SerialRow
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.notes import Note
from ecgkin.retrieval.search.vote import vote
from ecgkin.ui.api.state import State
from ecgkin.ui.client import Client
from ecgkin.ui.fhir import draft as fhir
from ecgkin.ui.server.app import create_app
from ecgkin.ui.server.serving import in_thread
from ecgkin.ui.settings import load_settings

DRAFT = Draft(
    text="Sinus rhythm [1]. Possible <b>LVH</b> [2].\x07",
    language="en",
    model="consensus",
    sentences=(Sentence("Sinus rhythm [1].", citations=("a/1",)), Sentence("Possible LVH [2].", citations=("a/2",))),
    statements=(
        DraftedStatement("SR", "present", 0.9, "agrees", ("a/1",), ("a/1",)),
        DraftedStatement("LVH", "possible", 0.5, "agrees", ("a/2",), ("a/2",)),
        DraftedStatement("CLBBB", "absent", 0.01, "agrees"),
    ),
    evidence=(Evidence(1, "a/1", 0.91, ("SR",)), Evidence(2, "a/2", 0.81, ("LVH",))),
    measurements={"rate_bpm": 71.6, "pr_ms": 160.2, "qtc_ms": 431.0},
    warnings=(Note.of("scale unknown"),),
)


def report_of(draft: Draft) -> dict[str, Any]:
    """The report as JSON, after the library has parsed it."""
    text = fhir.diagnostic_report(draft, base_id="b1", encoder="hashing 12ab", generation=7, warnings=("old base",))
    parsed: dict[str, Any] = json.loads(DiagnosticReport.model_validate_json(text).model_dump_json())
    assert parsed == json.loads(text)
    return parsed


def test_flags_and_comparison_are_observations() -> None:
    """Title, criterion, leads and urgency of a flag; every value of a comparison with its change, rules as notes."""
    flag = DraftFlag("st_elevation", "urgent", "ST elevation in II, III", "ST elevation in II, III. Rule. [Source]",
                     ("II", "III"), {"II": 0.2})  # fmt: skip
    mild = replace(flag, severity="note", text=flag.title, leads=())
    serial = Serial(
        compared_with="a/7",
        rows=(SerialRow("qtc_ms", 430.0, 512.34567, 82.34567, True), SerialRow("pr_ms", 1.0, None, None)),
        changes=(SerialChange("qtc", "QTc 430 -> 512 ms", (), "ICH E14"),), sentence="Compared: QTc longer.",
    )  # fmt: skip
    report = report_of(replace(DRAFT, flags=(flag, mild), comparison=serial))
    parts = {part["id"]: part for part in report["contained"] if part.get("resourceType") == "Observation"}
    first = parts["flag-1"]
    assert first["interpretation"][0]["coding"][0]["code"] == "AA" and first["bodySite"]["text"] == "II, III"
    assert first["code"]["coding"][0]["code"] == "st_elevation" and first["method"]["text"] == "Rule. [Source]"
    assert parts["flag-2"]["interpretation"][0]["coding"][0]["code"] == "A" and "method" not in parts["flag-2"]
    told = parts["comparison"]
    assert [(c["code"]["text"], c["valueString"]) for c in told["component"]] == [
        ("qtc_ms", "430 -> 512.346 (+82.346)")
    ]
    assert told["component"][0]["interpretation"][0]["text"] == "beyond repeatability"
    assert told["note"][0]["text"] == "QTc 430 -> 512 ms: ICH E14" and told["valueString"] == "Compared: QTc longer."
    named = {reference["reference"] for reference in report["result"]}
    assert {"#flag-1", "#flag-2", "#comparison"} <= named
    assert "comparison" not in {part.get("id") for part in report_of(DRAFT)["contained"]}
    unmeasured = report_of(replace(DRAFT, comparison=Serial(sentence="No samples.")))
    assert "comparison" not in {part.get("id") for part in unmeasured["contained"]}


def test_what_the_standard_asks_for() -> None:
    """Status, category, code, no interpreter; the AI label; coded statements, measurements in UCUM units."""
    report = report_of(DRAFT)
    assert (report["resourceType"], report["status"]) == ("DiagnosticReport", "preliminary")
    assert report["category"][0]["coding"][0]["code"] == "EC"
    assert report["code"]["coding"][0] == {"system": "http://loinc.org", "code": "11524-6", "display": "EKG study"}
    assert report["meta"]["security"][0]["code"] == "AIAST"
    assert not {"resultsInterpreter", "performer", "subject"} & set(report)
    observed = {o["code"]["coding"][0]["code"]: o for o in report["contained"] if o["resourceType"] == "Observation"}
    assert {code: o["valueQuantity"]["value"] for code, o in observed.items()} == {
        "8867-4": 72,
        "8625-6": 160,
        "8636-3": 431,
    }
    assert all(o["status"] == "preliminary" for o in observed.values()) and len(report["result"]) == 3
    inside = {f"#{resource['id']}" for resource in report["contained"]}
    assert {result["reference"] for result in report["result"]} <= inside


def test_only_what_is_there_is_coded() -> None:
    """Present gets SNOMED and SCP codes; possible gets words alone; absent gets nothing."""
    present, possible = report_of(DRAFT)["conclusionCode"]
    systems = {coding["system"]: coding["code"] for coding in present["coding"]}
    assert systems == {fhir.SNOMED: "426783006", fhir.SCP: "SR"}
    assert "coding" not in possible and possible["text"].startswith("possible: ")
    refused = replace(DRAFT, text="", statements=(), refusal="Nothing similar was found.", measurements={}, evidence=())
    report = report_of(refused)
    assert not {"conclusionCode", "result"} & set(report) and "Nothing similar" in report["conclusion"]


@pytest.mark.parametrize(
    ("text", "coded"),
    [
        ("Vorhofflimmern liegt nicht vor. Neither LBBB nor RBBB [1].", []),
        ("Sinus rhythm [1]. No LBBB. AF: negative.", ["SR"]),
        ("Sinus rhythm [1]. Atrial fibrillation [1].", ["SR"]),  # no neighbour carries it
        ("LBBB [1]. Sinus rhythm [2].", ["SR"]),  # the case that is cited has no block
        ("LBBB [2]. There is no LBBB. Sinus rhythm [1].", ["SR"]),  # said and denied
        ("Sinus rhythm and LBBB [2].", ["SR", "CLBBB"]),
    ],
)
def test_nothing_denied_or_contradicted_is_coded(text: str, coded: list[str]) -> None:
    """Of a model's answer only what it states and its cases do not speak against becomes a code."""
    evidence = (Evidence(1, "a/1", 0.91, ("SR",)), Evidence(2, "a/2", 0.81, ("SR", "CLBBB")))
    votes = vote([0.91, 0.81], [item.statements for item in evidence])
    found = ground(text, evidence, vote=votes)
    draft = replace(
        DRAFT, text=text, model="m", sentences=found.sentences, statements=found.statements, evidence=evidence,
        warnings=found.warnings,
    )  # fmt: skip
    report = report_of(draft)
    codes = [c["code"] for item in report.get("conclusionCode", []) for c in item.get("coding", [])]
    assert [code for code in codes if not code.isdigit()] == coded
    assert text in report["conclusion"]


def test_what_any_sentence_denies_is_not_coded() -> None:
    """Whatever the list of statements says, by whoever wrote the draft."""
    denied = replace(DRAFT, sentences=(*DRAFT.sentences, Sentence("No SR.", statements=(("SR", "absent"),))))
    assert [item.get("coding") for item in report_of(denied)["conclusionCode"]] == [None]
    assert report_of(DRAFT)["conclusionCode"][0]["coding"]


def test_words_and_sources() -> None:
    """Disclaimer first, warnings last, markup harmless, control characters gone; the cases are the sources."""
    report = report_of(DRAFT)
    assert report["conclusion"].startswith(DRAFT.disclaimer) and report["conclusion"].endswith(
        "scale unknown\nold base"
    )
    assert "\x07" not in report["conclusion"] and "&lt;b&gt;LVH" in report["text"]["div"]
    assert fhir.summary(json.dumps(report)) == {
        "status": "preliminary",
        "codes": ["426783006", "SR"],
        "sources": ["a/1", "a/2"],
    }
    device = next(r for r in report["contained"] if r["resourceType"] == "Device")
    assert "hashing 12ab" in json.dumps(device) and "consensus" in json.dumps(device)


def test_the_library_would_notice() -> None:
    """The check is one: a report with a wrong member is refused by the same model."""
    wrong = report_of(DRAFT) | {"status": 5, "nonsense": True}
    with pytest.raises(ValidationError):
        DiagnosticReport.model_validate(wrong)


@pytest.fixture(scope="module")
def client(simulated_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a server over the simulated base."""
    folder = tmp_path_factory.mktemp("fhir") / "base"
    shutil.copytree(simulated_base, folder)
    settings = load_settings(api_port=0, api_max_seconds=300)
    app = create_app(settings, State(folder, settings, HashingEncoder()))
    with in_thread(app, settings) as url, Client(url, timeout_s=300) as made:
        yield made


def test_through_the_server(client: Client) -> None:
    """The report of a simulated ECG over HTTP: what the JSON draft says, coded; German where asked."""
    record = client.signal("simulated/3")
    report = client.draft_fhir(record=record, language="de")
    DiagnosticReport.model_validate(report)
    draft = client.draft(record=record, language="de").draft
    codes = [c["code"] for item in report["conclusionCode"] for c in item.get("coding", []) if c["system"] == fhir.SCP]
    assert codes == [item.code for item in draft.statements if item.polarity == "present"] and codes
    assert report["language"] == "de" and draft.text.splitlines()[0] in report["conclusion"]
    assert fhir.summary(json.dumps(report))["sources"] == [item.case_id for item in draft.evidence]


def test_what_the_evidence_speaks_against_is_not_coded() -> None:
    """A code must not outlive the doubt: contradicted by the neighbours, denied elsewhere, or cited without support."""
    one = DRAFT.statements[0]

    def codes(*statements: DraftedStatement, **more: Any) -> list[str]:
        report = report_of(replace(DRAFT, statements=statements, **more))
        return [coding["code"] for item in report.get("conclusionCode", []) for coding in item.get("coding", [])]

    assert "SR" in codes(one)
    assert codes(replace(one, agreement="contradicts")) == []
    assert codes(replace(one, agreement="contradicts", polarity="possible")) == []
    assert codes(replace(one, supported_by=(), agreement="differs")) == []
    assert "SR" in codes(replace(one, supported_by=(), agreement="agrees"))
    denied = Sentence("No sinus rhythm.", statements=(("SR", "absent"),))
    assert codes(one, sentences=(*DRAFT.sentences, denied)) == []
