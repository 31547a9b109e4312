"""Fresh or old: stages of tables and words of reports."""

from __future__ import annotations

import pytest

from ecgkin.retrieval.ecg.statements.infarction import stage_of_report, stage_of_stadium


@pytest.mark.parametrize(
    ("report", "stage"),
    [
        ("akuter anteriorer Infarkt", "acute"),
        ("Infarkt Stadium I", "acute"),
        ("Infarkt Stadium II", "recent"),
        ("Infarkt Stadium III", "old"),
        ("subakuter inferiorer Infarkt", "recent"),
        ("infarkt, wahrscheinlich alt", "old"),
        ("inferior infarkt, ålder obestämbar", ""),
        ("gammal inferior infarkt", "old"),
        ("acute pericarditis", ""),
        ("Infarkt Alter unbest.", ""),
        ("anterior infarkt MÖJLIGEN FÄRSK", "acute"),
        ("R-S-transition förskjuten åt höger, anteroseptal myokardskada kan ej uteslutas", ""),
        ("gammal anteroseptal myokardskada", "old"),
        ("anteroseptal damage which may be recent", "recent"),
        ("recent anteroseptal damage cannot be excluded", "recent"),
        ("Infarkt anteroseptal, keine Hinweise für frischen Infarkt", ""),
        ("old inferior infarct. no ECG evidence of recent ischaemia", "old"),
        ("recent infarction unlikely", ""),
        ("infarct of uncertain age. in view of recent chest pain suggest repeat", ""),
        ("no longer suggestive of old inferior infarct", ""),
        ("sinus rhythm", ""),
        ("", ""),
    ],
)
def test_words_of_reports(report: str, stage: str) -> None:
    assert stage_of_report(report) == stage


def test_the_freshest_stage_counts() -> None:
    assert stage_of_stadium(["Stadium I-II"]) == "recent"
    assert stage_of_stadium(["Stadium III", "Stadium II"]) == "recent"
    assert stage_of_stadium(["Stadium II-III"]) == stage_of_stadium([]) == stage_of_stadium(["unknown"]) == ""
