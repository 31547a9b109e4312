"""HL7 v2 messages read back by two libraries, and cards in the form of CDS Hooks."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from ecgkin.retrieval.errors import QueryError
from ecgkin.ui.api.answers import DraftOut
from ecgkin.ui.cli.main import main
from ecgkin.ui.report.accepted import AcceptedReport, Line, Patient, Study
from ecgkin.ui.report.cds import SUMMARY, cards
from ecgkin.ui.report.hl7v2 import escaped, oru

HOSTILE = "ST in II & III | 60^50 ~ \\ end\rOBX|9|TX|evil\nPID|2"


@pytest.fixture
def report() -> AcceptedReport:
    """Signed, with words that look like segments."""
    return AcceptedReport(
        title="ECG", language="en", lines=[Line(text="Sinus rhythm."), Line(text=HOSTILE)],
        values={"rate_bpm": 71.6, "qrs_ms": 92.0, "axis_deg": -12.0}, signed_by="Curie^Marie", organization="Hôpital",
        signed_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), drafted_by="consensus", rejected=0,
        patient=Patient(patient_id="P|17", name="Müller^Anna", birth_date=date(1960, 1, 2), sex="F"),
        study=Study(accession_number="ACC1", performed_at="2025-03-04T05:06:07"),
    )  # fmt: skip


def test_oru_is_read_by_hl7(report: AcceptedReport) -> None:
    """Every value comes back as it was, and no word became a segment."""
    hl7 = pytest.importorskip("hl7")
    message = hl7.parse(oru(report, to="KIS"))
    assert [str(segment[0]) for segment in message] == ["MSH", "PID", "OBR"] + ["OBX"] * 6
    assert str(message.segment("MSH")[9]) == "ORU^R01^ORU_R01" and str(message.segment("MSH")[5]) == "KIS"
    pid, obr = message.segment("PID"), message.segment("OBR")
    assert message.unescape(str(pid[3][0][0])) == "P|17" and str(pid[5]) == "Müller^Anna" and str(pid[8]) == "F"
    assert (str(obr[2]), str(obr[7]), str(obr[25])) == ("ACC1", "20250304050607", "F")
    found = [(str(one[2]), message.unescape(str(one[5])), str(one[11])) for one in message.segments("OBX")]
    assert found[:3] == [("NM", "72", "F"), ("NM", "92", "F"), ("NM", "-12", "F")]
    assert found[3] == ("TX", "Sinus rhythm.", "F")
    assert found[4][1] == HOSTILE.replace("\r", " ").replace("\n", " ")
    assert "accepted" in found[5][1]


def test_oru_fits_the_standard(report: AcceptedReport) -> None:
    """hl7apy finds what 2.5.1 asks of an ORU^R01 in it."""
    pytest.importorskip("hl7apy")
    from hl7apy.consts import VALIDATION_LEVEL
    from hl7apy.parser import parse_message

    for one in (report, report.model_copy(update={"patient": Patient(), "study": Study(), "values": {}})):
        message = parse_message(oru(one), validation_level=VALIDATION_LEVEL.STRICT, find_groups=True)
        assert message.validate()
    assert oru(report) == oru(report.model_copy(deep=True))


def test_nothing_is_left_of_separators() -> None:
    assert not set(escaped(HOSTILE)) & set("|^&~\r\n")


def draft(**given: Any) -> DraftOut:
    """A small draft."""
    content: dict[str, Any] = {
        "status": "preliminary", "disclaimer": "Not for diagnosis.", "text": "Atrial fibrillation [1].",
        "language": "en", "model": "consensus", "question": None, "sections": [], "statements": [],
        "unknown_citations": [],
        "sentences": [{"text": "Atrial fibrillation [1].", "section": "rhythm", "statements": [("AFIB", "present")],
                       "citations": ["a/1"], "unknown_citations": [], "basis": "cases", "probability": 0.9}],
        "evidence": [{"number": 1, "case_id": "a/1", "score": 0.9, "statements": ["AFIB"]}],
        "warnings": [], "refusal": "", "probabilities": {}, "calibrated": True, "measurements": {"rate_bpm": 130.0},
        "prompt": "", "tokens_in": None, "tokens_out": None, "seconds": 0.1, "citations": ["a/1"],
    }  # fmt: skip
    return DraftOut.model_validate(content | given)


def flag(severity: str) -> dict[str, Any]:
    return {
        "code": "X",
        "severity": severity,
        "title": f"{severity} flag",
        "text": "why <b>",
        "leads": [],
        "measured": {},
    }


def test_cards_have_what_cds_hooks_asks() -> None:
    """Summary of at most 140 characters, an indicator, a source, a uuid; preliminary; the most urgent first."""
    made = cards(draft(flags=[flag("note"), flag("important"), flag("urgent")]), "https://ecg.example.org/?query=1")
    assert [card["indicator"] for card in made["cards"]] == ["critical", "critical", "warning"]
    assert [card["summary"] for card in made["cards"]] == [
        "Preliminary ECG draft: Atrial fibrillation [1].", "urgent flag", "important flag",
    ]  # fmt: skip
    for card in made["cards"]:
        assert card["source"]["label"] == "ecgkin (consensus)" and "Not for diagnosis." in card["detail"]
        assert card["links"] == [{"label": "ECG", "url": "https://ecg.example.org/?query=1", "type": "absolute"}]
    assert len({card["uuid"] for card in made["cards"]}) == 3 and made == cards(
        draft(flags=[flag("note"), flag("important"), flag("urgent")]), "https://ecg.example.org/?query=1"
    )
    [plain] = cards(draft())["cards"]
    assert plain["indicator"] == "info" and "links" not in plain and "\\[1\\] a/1" in plain["detail"]
    [refused] = cards(draft(refusal="Nothing similar.", text="", sentences=[], language="de"))["cards"]
    assert refused["summary"] == "Vorläufiger EKG-Entwurf: kein Entwurf. Nothing similar."


def test_words_of_strangers_are_no_markdown() -> None:
    """A link, a picture or a tag in a text is shown as it is written; a long summary is cut at a word."""
    evil = "![x](https://evil.example/a.png) <script>alert(1)</script> " + "word " * 60
    sentence = draft().sentences[0].model_copy(update={"text": evil})
    [card] = cards(draft(text=evil, sentences=[sentence]))["cards"]
    assert len(card["summary"]) <= SUMMARY and card["summary"].endswith("word…")
    assert "![" not in card["detail"] and "\\<script\\>" in card["detail"]
    for bad in ("http://x.example/", "javascript:alert(1)", "https://", "x"):
        with pytest.raises(QueryError):
            cards(draft(), bad)


def test_commands(report: AcceptedReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.json").write_text(report.model_dump_json(), encoding="utf-8")
    (tmp_path / "d.json").write_text(draft().model_dump_json(), encoding="utf-8")
    for words in (
        ["export", str(tmp_path / "r.json"), "--hl7", str(tmp_path / "r.hl7")],
        ["cards", str(tmp_path / "d.json")],
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["report", *words])
        assert not stopped.value.code
    assert (tmp_path / "r.hl7").read_bytes().decode() == oru(report)
    out = capsys.readouterr().out
    assert json.loads(out[out.index("{") :]) == cards(draft())


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "Measured: rate 152 /min, QTc (Fridericia) 426 ms, T axis -47 °"),
        ("de", "Gemessen: Frequenz 152 /min, QTc (Fridericia) 426 ms, T-Achse -47 °"),
    ],
)
def test_cards_call_values_by_their_names(language: str, said: str) -> None:
    """Not by those of the code, and no share of a cycle as 0."""
    values = {"rate_bpm": 152.2, "rr_variation": 0.0101, "qtc_fridericia_ms": 426.0, "t_axis_deg": -47.0}
    [card] = cards(draft(language=language, measurements=values))["cards"]
    assert said in card["detail"] and "rr" not in card["detail"] and "_bpm" not in card["detail"]
