"""A draft's sentences signed for one by one, and the report as PDF, DICOM and FHIR, read back by other libraries."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import warnings
from collections.abc import Iterator
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecgkin.index.case import Case
from ecgkin.index.transfer.export_dicom import write_dicom
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.retrieval.errors import InputError, QueryError
from ecgkin.ui.api.answers import DraftOut, SectionOut, SentenceOut
from ecgkin.ui.cli.main import main
from ecgkin.ui.report.accepted import AcceptedReport, Patient, Study, about_dicom, accept, read_report
from ecgkin.ui.report.dicom import structured_report, wrapped_pdf
from ecgkin.ui.report.document import pdf_of
from ecgkin.ui.report.fhir import DeliveryError, bundle, post
from ecgkin.ui.report.hl7v2 import oru

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def sentence(text: str, *statements: tuple[str, str], citations: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "text": text, "section": "rhythm", "statements": statements, "citations": citations, "unknown_citations": [],
        "basis": "cases", "probability": 0.9,
    }  # fmt: skip


@pytest.fixture
def draft() -> DraftOut:
    sentences = [
        sentence("Atrial fibrillation (93 %) [1, 2].", ("AFIB", "present"), citations=("a/1", "a/2")),
        sentence("Complete left bundle branch block [3].", ("CLBBB", "present"), citations=("a/3",)),
        sentence("Possible left ventricular hypertrophy [1].", ("LVH", "possible"), citations=("a/1",)),
        sentence("No pacemaker.", ("PACE", "absent")),
    ]
    return DraftOut(
        status="preliminary", disclaimer="d", text="t", language="en", model="consensus", question=None, sections=[],
        sentences=[SentenceOut.model_validate(one) for one in sentences],
        statements=[], evidence=[], unknown_citations=[], warnings=[], refusal="",
        probabilities={}, calibrated=True, measurements={"rate_bpm": 91.4, "qrs_ms": 142.0, "qtc_ms": 460.2},
        prompt="", tokens_in=None, tokens_out=None, seconds=0.1, citations=["a/1", "a/2", "a/3"],
    )  # fmt: skip


@pytest.fixture
def ecg(tmp_path: Path) -> Path:
    import pydicom

    record = simulate(["AFIB"], np.random.default_rng(4), fs_hz=250.0).record
    path = write_dicom(tmp_path, Case("a/9", "P-17", sex="F", recorded_at="2025-03-04T05:06:07"), record)
    data = pydicom.dcmread(path)
    data.PatientName, data.PatientBirthDate, data.AccessionNumber = "Müller^Anna", "19600102", "ACC1"
    data.save_as(path)
    return path


@pytest.fixture
def report(draft: DraftOut, ecg: Path) -> AcceptedReport:
    patient, study = about_dicom(ecg)
    return accept(
        draft, accepted=[1, 3, 4], changes={2: "Incomplete LBBB."}, own=["Compare with 2024."], values=True,
        signed_by="Curie^Marie", organization="Hôpital", patient=patient, study=study, now=NOW,
    )  # fmt: skip


def test_sentences_stand_under_their_headings(
    draft: DraftOut, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """In the list that `accept` prints, and in what leaves as text: the same words in two sections are told apart."""
    one = draft.sentences[0]
    twice = [
        one.model_copy(update={"text": "ST depression in II.", "section": name})
        for name in ("st_t", "st_t", "conclusion")
    ]
    sections = [
        SectionOut(name="st_t", title="ST-T", sentences=twice[:2], abstained=""),
        SectionOut(name="conclusion", title="Impression", sentences=twice[2:], abstained=""),
    ]
    long = draft.model_copy(update={"sentences": twice, "sections": sections})
    file = tmp_path / "draft.json"
    file.write_text(long.model_dump_json())
    assert run("report", "accept", file) == 0
    assert capsys.readouterr().err.splitlines() == [
        "ST-T", "  1. ST depression in II.", "  2. ST depression in II.", "Impression", "  3. ST depression in II.",
    ]  # fmt: skip
    signed = accept(long, accepted=[1, 3], changes={2: "T flat."}, own=["Own."], signed_by="X", now=NOW)
    assert signed.text.splitlines() == [
        "ST-T: ST depression in II. T flat.",
        "Impression: ST depression in II.",
        "Own.",
    ]
    assert "Impression: ST depression in II." in oru(signed)


def test_nothing_is_in_it_that_was_not_accepted(draft: DraftOut, report: AcceptedReport) -> None:
    assert [line.text for line in report.lines] == [
        "Atrial fibrillation (93 %).", "Incomplete LBBB.", "Possible left ventricular hypertrophy.", "No pacemaker.",
        "Compare with 2024.",
    ]  # fmt: skip
    assert report.lines[1].codes == [] and report.lines[1].rewritten and report.cases == ["a/1", "a/2"]
    assert report.origin.endswith("3 sentences accepted, 2 changed or added, 0 left out.")
    few = accept(draft, accepted=[2], changes={}, signed_by="X", now=NOW)
    assert few.rejected == 3 and few.cases == ["a/3"] and few.values == {} and few.key != report.key
    mistakes: tuple[tuple[dict[str, Any], str], ...] = (
        ({"accepted": [9]}, "sentence 9 does not exist"),
        ({"accepted": [1], "changes": {1: "x"}}, "sentence 1 is accepted as it stands and rewritten"),
        ({"accepted": []}, "no sentence was accepted"),
    )
    for wrong, said in mistakes:
        with pytest.raises(QueryError, match=said):
            accept(draft, **{"changes": {}, "signed_by": "X", **wrong})


def test_patient_and_study_of_the_ecg(report: AcceptedReport, tmp_path: Path) -> None:
    assert report.patient == Patient(patient_id="P-17", name="Müller^Anna", birth_date=date(1960, 1, 2), sex="F")
    assert report.study.accession_number == "ACC1" and report.study.performed_at.startswith("2025-03-04")
    (tmp_path / "no.dcm").write_text("x")
    with pytest.raises(InputError, match="as DICOM"):
        about_dicom(tmp_path / "no.dcm")


def test_pdf(report: AcceptedReport) -> None:
    import pypdfium2

    text = "".join(page.get_textpage().get_text_range() for page in pypdfium2.PdfDocument(pdf_of(report)))
    for part in (
        "ECG report",
        "Müller Anna P-17",
        "Incomplete LBBB.",
        "Rate 91 /min",
        "Curie Marie Hôpital",
        "a/1; a/2",
    ):
        assert part in text, part


def test_wrapped_pdf_is_read_back(report: AcceptedReport, ecg: Path, tmp_path: Path) -> None:
    import pydicom

    document = pdf_of(report)
    path = tmp_path / "r.dcm"
    wrapped_pdf(report, document).save_as(path, enforce_file_format=True)
    data, source = pydicom.dcmread(path), pydicom.dcmread(ecg)
    assert data.EncapsulatedDocument[: data.EncapsulatedDocumentLength] == document
    assert data.StudyInstanceUID == source.StudyInstanceUID and data.PatientName == "Müller^Anna"
    assert data.SourceInstanceSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert data.VerificationFlag == "VERIFIED" and data.ContentDate == "20260102"
    again = wrapped_pdf(report, document)
    assert again.SOPInstanceUID == data.SOPInstanceUID != source.SOPInstanceUID
    from ecgkin.retrieval.ecg.formats.dicom import pdf_in

    assert pdf_in(path)


def test_structured_report_is_read_back(report: AcceptedReport, ecg: Path, tmp_path: Path) -> None:
    import pydicom
    from highdicom.sr import EnhancedSR, srread

    path = tmp_path / "sr.dcm"
    structured_report(report).save_as(path, enforce_file_format=True)
    found = srread(path)
    assert isinstance(found, EnhancedSR)
    source = pydicom.dcmread(ecg)
    assert (found.CompletionFlag, found.VerificationFlag, found.PreliminaryFlag) == ("COMPLETE", "VERIFIED", "FINAL")
    assert found.VerifyingObserverSequence[0].VerifyingObserverName == "Curie^Marie"
    assert str(found.VerifyingObserverSequence[0].VerificationDateTime).startswith("20260102030405")
    assert found.StudyInstanceUID == source.StudyInstanceUID and found.PatientID == "P-17"
    evidence = found.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert evidence.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    items = {item.ConceptNameCodeSequence[0].CodeMeaning: item for item in found.ContentSequence}
    assert items["Source of Measurement"].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    values = {
        item.ConceptNameCodeSequence[0].CodeMeaning: float(item.MeasuredValueSequence[0].NumericValue)
        for item in items["ECG Global Measurements"].ContentSequence
    }
    assert values == {"Heart rate": 91, "QRS duration global": 142, "QTc global using Bazett formula": 460}
    texts = [str(item.get("TextValue", "")) for item in items["Findings"].ContentSequence]
    codes = [item.ConceptCodeSequence[0].CodeMeaning for item in items["Findings"].ContentSequence
             if item.ValueType == "CODE"]  # fmt: skip
    assert texts[:5] == [line.text for line in report.lines]
    assert codes == ["atrial fibrillation"], "what is possible, absent or rewritten has no code"
    assert "possible: left ventricular hypertrophy" in texts


def test_without_an_ecg_in_the_archive(draft: DraftOut) -> None:
    bare = accept(draft, accepted=[1], changes={}, signed_by="X", organization="Y", now=NOW)
    made = structured_report(bare)
    assert "CurrentRequestedProcedureEvidenceSequence" not in made and made.StudyInstanceUID
    assert made.StudyInstanceUID == wrapped_pdf(bare, b"%PDF-").StudyInstanceUID
    with pytest.raises(QueryError, match="organization"):
        structured_report(bare.model_copy(update={"organization": ""}))


@pytest.mark.skipif(shutil.which("dcmdump") is None, reason="dcmtk's dcmdump is not installed")
def test_dcmdump_and_dsrdump_read_both(report: AcceptedReport, tmp_path: Path) -> None:
    for name, data in (("pdf", wrapped_pdf(report, pdf_of(report))), ("sr", structured_report(report))):
        path = tmp_path / name
        data.save_as(path, enforce_file_format=True)
        told = subprocess.run(["dcmdump", "--quiet", path], capture_output=True, timeout=60)
        assert told.returncode == 0 and not told.stderr and b"P-17" in told.stdout, told.stderr
    if shutil.which("dsrdump"):  # dcmtk's reader of SR checks the relations between the items
        told = subprocess.run(["dsrdump", tmp_path / "sr"], capture_output=True, timeout=60)
        assert told.returncode == 0 and b"E:" not in told.stderr, told.stderr
        assert b"Incomplete LBBB." in told.stdout


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools' dciodvfy is not installed")
def test_dciodvfy_finds_no_error(report: AcceptedReport, tmp_path: Path) -> None:
    """The checker of information object definitions: every attribute that is wanted is there, none is malformed."""
    bare = report.model_copy(update={"patient": Patient(), "study": Study()})
    made = {
        "pdf": wrapped_pdf(report, pdf_of(report)), "sr": structured_report(report),
        "bare-pdf": wrapped_pdf(bare, pdf_of(bare)), "bare-sr": structured_report(bare),
    }  # fmt: skip
    for name, data in made.items():
        data.save_as(tmp_path / name, enforce_file_format=True)
        told = subprocess.run(["dciodvfy", tmp_path / name], capture_output=True, text=True, timeout=60)
        kind = "EncapsulatedPDF" if name.endswith("pdf") else "EnhancedSR"
        assert kind in told.stderr + told.stdout and "Error" not in told.stderr, told.stderr
    del made["pdf"].MIMETypeOfEncapsulatedDocument
    made["pdf"].save_as(tmp_path / "broken", enforce_file_format=True)
    told = subprocess.run(["dciodvfy", tmp_path / "broken"], capture_output=True, text=True, timeout=60)
    assert "Error" in told.stderr, "a missing attribute is seen"


# --- FHIR


class Stub(BaseHTTPRequestHandler):
    """As much of a FHIR server as a transaction needs: validates by fhir.resources, honours ifNoneExist."""

    kept: dict[str, tuple[str, dict[str, Any]]]
    seen: list[dict[str, str]]
    fails: list[int]

    def do_POST(self) -> None:
        from fhir.resources.R4B.bundle import Bundle

        raw = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append({name.lower(): value for name, value in self.headers.items()})
        if self.fails:
            self._answer(self.fails.pop(0), {"resourceType": "OperationOutcome", "issue": [{"diagnostics": "not now"}]})
            return
        if self.headers.get("Authorization") == "Bearer bad":
            self._answer(403, {})
            return
        try:
            sent = json.loads(Bundle.model_validate_json(raw).model_dump_json())
            assert sent["type"] == "transaction" and self.path == "/fhir"
        except Exception as error:
            self._answer(422, {"resourceType": "OperationOutcome", "issue": [{"diagnostics": str(error)[:200]}]})
            return
        entries = []
        for entry in sent["entry"]:
            key = entry["request"]["ifNoneExist"]
            status = "200 OK" if key in self.kept else "201 Created"
            place, _ = self.kept.setdefault(key, (f"{entry['request']['url']}/{len(self.kept)}", entry["resource"]))
            entries.append({"response": {"status": status, "location": place}})
        self._answer(200, {"resourceType": "Bundle", "type": "transaction-response", "entry": entries})

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/fhir+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def fhir() -> Iterator[tuple[str, type[Stub]]]:
    kind = type("OwnStub", (Stub,), {"kept": {}, "seen": [], "fails": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/fhir", kind
    server.shutdown()
    thread.join()
    server.server_close()


def test_fhir_post_once_however_often(report: AcceptedReport, fhir: tuple[str, type[Stub]]) -> None:
    url, stub = fhir
    places = post(url, bundle(report, pdf_of(report)), token="good")
    assert [place.partition("/")[0] for place in places] == ["Observation"] * 3 + ["DiagnosticReport"]
    assert stub.seen[0]["authorization"] == "Bearer good" and stub.seen[0]["content-type"] == "application/fhir+json"
    assert post(url + "/", bundle(report)) == places and len(stub.kept) == 4
    resources = [resource for _, resource in stub.kept.values()]
    diagnostic = next(one for one in resources if one["resourceType"] == "DiagnosticReport")
    assert diagnostic["status"] == "final" and diagnostic["resultsInterpreter"] == [{"display": "Marie Curie"}]
    assert diagnostic["subject"]["identifier"]["value"] == "P-17" and len(diagnostic["result"]) == 3
    assert diagnostic["effectiveDateTime"] == "2025-03-04" and "Incomplete LBBB." in diagnostic["conclusion"]
    coded = [coding["code"] for code in diagnostic["conclusionCode"] for coding in code["coding"]]
    assert "AFIB" in coded and not {"CLBBB", "LVH", "PACE"} & set(coded)
    assert {one["valueQuantity"]["value"] for one in resources if "valueQuantity" in one} == {91, 142, 460}


def test_fhir_tries_again_and_says_what_the_server_says(report: AcceptedReport, fhir: tuple[str, type[Stub]]) -> None:
    url, stub = fhir
    content = bundle(report)
    stub.fails[:] = [503, 429]
    assert len(post(url, content, pause_s=0)) == 4
    stub.fails[:] = [500, 500, 500]
    with pytest.raises(DeliveryError, match="in 3 tries: status 500, not now") as failed:
        post(url, content, pause_s=0)
    assert failed.value.exit_code == 5 and "send it again" in failed.value.hint
    with pytest.raises(DeliveryError, match="status 403") as failed:
        post(url, content, token="bad")
    assert "ECGKIN_FHIR_TOKEN" in failed.value.hint
    with pytest.raises(DeliveryError, match="status 422"):
        post(url, {**content, "type": "wrong"})
    with pytest.raises(DeliveryError, match="3 tries"):
        post("http://127.0.0.1:9/fhir", content, pause_s=0)
    for wrong, said in (
        ("ftp://x", "no address"),
        ("http://example.org/fhir", "clear text"),
        ("https://", "no address"),
    ):
        with pytest.raises(QueryError, match=said):
            post(wrong, content)


# --- the commands


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return int(stopped.value.code or 0)


def test_the_commands(
    draft: DraftOut, ecg: Path, tmp_path: Path, fhir: tuple[str, type[Stub]], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    file, signed = tmp_path / "draft.json", tmp_path / "report.json"
    file.write_text(draft.model_dump_json())
    assert run("report", "accept", file) == 0 and not signed.exists()
    assert "2. Complete left bundle branch block [3]." in capsys.readouterr().err
    assert run("report", "accept", file, "--accept", "1", "--out", signed) == 2
    assert "--signed-by says who" in capsys.readouterr().err
    words = ["report", "accept", file, "--signed-by", "Curie^Marie", "--organization", "H", "--ecg", ecg,
             "--accept", "1,3-4", "--change", "2=Incomplete LBBB.", "--with-values", "--accession", "B2",
             "--out", signed]  # fmt: skip
    assert run(*words) == 0
    assert read_report(signed).study.accession_number == "B2" and "3 sentences accepted" in capsys.readouterr().out
    out = [tmp_path / name for name in ("r.pdf", "r.dcm", "sr.dcm", "r.json")]
    assert (
        run("report", "export", signed, "--pdf", out[0], "--dicom-pdf", out[1], "--dicom-sr", out[2], "--fhir", out[3])
        == 0
    )
    assert all(path.stat().st_size > 500 for path in out)
    monkeypatch.setenv("ECGKIN_FHIR_TOKEN", "good")
    capsys.readouterr()
    assert run("report", "post", signed, fhir[0], "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["locations"]) == 4
    monkeypatch.setenv("ECGKIN_FHIR_TOKEN", "bad")
    assert run("report", "post", signed, fhir[0]) == 5
    empty, torn, other, raw = (tmp_path / f"{name}.json" for name in ("empty", "torn", "other", "raw"))
    for place, content in ((empty, b""), (torn, b"{ x"), (other, b'{"a": 1}'), (raw, b"\xff\xfe\x00")):
        place.write_bytes(content)
    for words, said in (
        (["export", signed], "nothing to write"),
        (["export", signed, "--pdf", tmp_path / "no" / "x"], "cannot be written"),
        (["export", file, "--pdf", out[0]], "no accepted report"),
        (["accept", signed, "--signed-by", "x", "--out", out[0]], "is a report that was accepted already"),
        (["accept", empty, "--signed-by", "x", "--out", out[0]], "is empty (expected JSON)"),
        (["accept", torn, "--signed-by", "x", "--out", out[0]], "is no JSON (line 1, column 3)"),
        (["accept", other, "--signed-by", "x", "--out", out[0]], "is no draft: status: is missing"),
        (["accept", raw, "--signed-by", "x", "--out", out[0]], "is no text (expected JSON)"),
        (["export", empty, "--pdf", out[0]], "is empty (expected JSON)"),
        (["accept", file, "--signed-by", "x", "--out", out[0], "--change", "x"], "--change is 'x'"),
        (["accept", file, "--signed-by", "x", "--out", out[0], "--birth-date", "x", "--accept", 1], "--birth-date"),
    ):
        assert run("report", *words) == 2, words
        told = capsys.readouterr().err
        assert said in told and ("JSON" not in said or "hint: " in told)


def test_a_real_draft_goes_all_the_way(simulated_base: Path, ecg: Path, tmp_path: Path, capsys: Any) -> None:
    assert run("draft", simulated_base, ecg, "--json", "--encoder", "hashing") == 0
    (tmp_path / "d.json").write_text(capsys.readouterr().out)
    words = ("report", "accept", tmp_path / "d.json", "--signed-by", "X", "--organization", "Y", "--accept", "1")
    assert run(*words, "--ecg", ecg, "--with-values", "--out", tmp_path / "r.json") == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run("report", "export", tmp_path / "r.json", "--dicom-sr", tmp_path / "sr.dcm") == 0
