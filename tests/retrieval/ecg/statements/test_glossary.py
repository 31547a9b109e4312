"""The glossary: renderings, what is not known, and that nothing but words changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgkin.retrieval.ecg.statements.find import find_statements
from ecgkin.retrieval.ecg.statements.glossary import abbreviations, gloss, needs_gloss


@pytest.mark.parametrize(
    ("report", "target", "said"),
    [
        ("sinusrhythmus linkstyp", "en", "sinus rhythm left axis"),
        ("LLT, p-sinistrocardiale", "en", "left axis, left atrial P wave (P sinistrocardiale)"),
        ("Vorhofflimmern, überdrehter Linkstyp", "en", "atrial fibrillation, marked left axis deviation"),
        ("sinusrytm, p-våg, ischemi kan ej uteslutas", "en", "sinus rhythm, P wave, ischaemia cannot be excluded"),
        ("inferiorer infarkt, alter unbest.", "en", "inferior infarction, age undetermined."),
        ("sinus rhythm. left bundle branch block", "de", "Sinusrhythmus. Linksschenkelblock"),
        ("förmaksflimmer", "de", "Vorhofflimmern"),
        ("T abnorm in I, aVL, V4-6", "en", "abnormal T in I, aVL, V4-6"),
    ],
)
def test_renderings(report: str, target: str, said: str) -> None:
    found = gloss(report, target)  # type: ignore[arg-type]
    assert found.text == said and found.complete


def test_unknown_words_stay() -> None:
    found = gloss("Vorhofflimmern qwertzblock in V2")
    assert found.text == "atrial fibrillation qwertzblock in V2"
    assert found.unknown == ("qwertzblock",) and found.n_words == 5 and not found.complete


@given(st.text(max_size=200), st.sampled_from(["en", "de"]))
def test_any_text_is_rendered(text: str, target: str) -> None:
    found = gloss(text, target)  # type: ignore[arg-type]
    assert len(found.unknown) <= found.n_words


def test_a_gloss_says_the_same_statements() -> None:
    """What is found in the original is found in the rendering, negation and doubt included."""
    for report in (
        "kein Anhalt für Vorhofflimmern, Linksschenkelblock",
        "Vorhofflattern möglich, Sinustachykardie",
        "kompletter Rechtsschenkelblock, linksanteriorer Hemiblock",
    ):
        own = {(f.code, f.polarity) for f in find_statements(report)}
        assert own and own == {(f.code, f.polarity) for f in find_statements(gloss(report).text)}


def test_who_needs_one() -> None:
    assert needs_gloss("sinusrhythmus linkstyp", "en") and not needs_gloss("sinusrhythmus linkstyp", "de")
    assert not needs_gloss("trace only requested", "de") and not needs_gloss("", "en")
    assert abbreviations()["llt"][1] == "Linkslagetyp"
