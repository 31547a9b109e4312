"""Report clean-up: label leaks and device lines go, words stay."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgkin.retrieval.ecg.statements import report_text
from ecgkin.retrieval.ecg.statements.report_text import (
    clean_report,
    fold,
    has_findings,
    normalise_report,
    report_language,
)

LINE = "4.46                          unbestÄtigter bericht"


def test_docstrings_run() -> None:
    assert doctest.testmod(report_text).failed == 0


@pytest.mark.parametrize("cut", range(2, len(LINE) + 1))
def test_device_line_goes_wherever_the_field_width_cut_it(cut: int) -> None:
    end = LINE[:cut]
    cleaned = clean_report(f"rhythmus normal {end}")
    assert cleaned == ("rhythmus normal" if cut > 2 else "rhythmus normal 4.")


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("a b. Edit: NORM 100, (LVH 50)", "a b."),
        ("a b. edit:IMI 15", "a b."),
        (f"a b {LINE} Edit: ASMI 50", "a b"),
        (f"a {LINE}  b", "a b"),
        ("infarkt     alter unbest.", "infarkt alter unbest."),
        ("pr interval 0.22 sec", "pr interval 0.22 sec"),
        ("the editor was here", "the editor was here"),
        (None, ""),
        ("", ""),
    ],
)
def test_clean(raw: str | None, clean: str) -> None:
    assert clean_report(raw) == clean


@given(st.text(max_size=60))
def test_cleaning_twice_changes_nothing(text: str) -> None:
    once = clean_report(text)
    assert "edit:" not in once.lower()
    assert normalise_report(once) == normalise_report(text)


@given(st.text(max_size=60))
def test_normalised_text_is_words_and_single_blanks(text: str) -> None:
    normal = normalise_report(text)
    assert normal == " ".join(normal.split()) and normalise_report(normal) in (normal, clean_report(normal))


def test_umlauts_and_their_spellings_agree() -> None:
    assert normalise_report("IschÄmie mÖglich, Überleitung") == normalise_report("ischaemie moeglich ueberleitung")
    assert fold("Überleitung") == fold("ueberleitung") == "uberleitung"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Sinusrhythmus, Linkstyp, sonst normales EKG", "de"),
        ("VORHOFFLIMMERN", "de"),
        ("sinus rhythm. normal ecg.", "en"),
        ("sinusrytm vänster el-axel", "sv"),
        ("förmaksflimmer", "sv"),
        ("Ritmo sinusale. ECG nei limiti della norma.", ""),
        ("Fibrilación auricular, bloqueo de rama izquierda, eje normal", ""),
        ("fibrillation auriculaire, ECG anormal", ""),
        ("Sinusritme, normaal ECG", ""),
        ("LA enlargement, normal axis", "en"),
        ("atrial flutter", "en"),
        ("12345", ""),
        ("", ""),
    ],
)
def test_language(text: str, language: str) -> None:
    assert report_language(text) == language


def test_nothing_said() -> None:
    assert not has_findings("Trace only requested.") and not has_findings(None) and has_findings("normal ecg")


def test_ties_between_languages_go_to_the_commoner_one() -> None:
    """German before English before Swedish, the order of their shares in PTB-XL; whatever the order of the words."""
    for text in ("sinusrhythmus rhythm", "rhythm sinusrhythmus", "sinusrhythmus rytm", "rytm sinusrhythmus"):
        assert report_language(text) == "de"
    assert report_language("rytm rhythm") == report_language("rhythm rytm") == "en"
    assert report_language("rytm rytm rhythm") == "sv"
