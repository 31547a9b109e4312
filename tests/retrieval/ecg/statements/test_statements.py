"""The 71 statements and how they are found in text."""

from __future__ import annotations

import csv
import doctest
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgkin.retrieval.ecg.statements import catalogue as statements
from ecgkin.retrieval.ecg.statements import find as statement_search
from ecgkin.retrieval.ecg.statements.catalogue import (
    CODES,
    STATEMENTS,
    SUPERCLASSES,
    Statement,
    query_texts,
    sentence_templates,
    statement,
)
from ecgkin.retrieval.ecg.statements.find import expand, find_statements, stem
from ecgkin.retrieval.errors import QueryError


def found(text: str) -> list[tuple[str, str]]:
    return [(f.code, f.polarity) for f in find_statements(text)]


@pytest.mark.parametrize("module", [statements, statement_search])
def test_docstrings_run(module: ModuleType) -> None:
    assert doctest.testmod(module).failed == 0


def test_seventy_one_with_names_in_two_languages() -> None:
    assert len(set(CODES)) == 71
    kinds = Counter(kind for s in STATEMENTS for kind in s.kinds)
    assert kinds == {"diagnostic": 44, "form": 19, "rhythm": 12}
    assert {s.superclass for s in STATEMENTS} == {*SUPERCLASSES, None} and len(statements.SUBCLASSES) == 23
    for s in STATEMENTS:
        assert s.name_en and s.name_de and s.name_sv and s.abbreviations
        assert len(s.synonyms_en) >= 3 and len(s.synonyms_de) >= 3, s.code
        assert (s.superclass is None) == ("diagnostic" not in s.kinds)
        assert s.snomed is None or s.snomed.isdigit()


def test_no_two_statements_share_a_name() -> None:
    owners: dict[str, set[str]] = {}
    for s in STATEMENTS:
        for term in (s.code, *s.terms(), *s.abbreviations):
            owners.setdefault(term.lower(), set()).add(s.code)
    assert {term: codes for term, codes in owners.items() if len(codes) > 1} == {}


def test_classes_agree_with_ptbxl(ptbxl_root: Path) -> None:
    with (ptbxl_root / "scp_statements.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(row[""] for row in rows) == CODES
    for row in rows:
        s = statement(row[""])
        assert (s.superclass or "", s.subclass or "") == (row["diagnostic_class"], row["diagnostic_subclass"])
        assert list(s.kinds) == [kind for kind in ("diagnostic", "form", "rhythm") if row[kind]]


@pytest.mark.parametrize("s", STATEMENTS, ids=lambda s: s.code)
def test_every_term_and_sentence_is_found_again(s: Statement) -> None:
    for text in (
        s.code,
        *s.terms(),
        *s.abbreviations,
        *(t for lang in ("en", "de", "sv") for t in sentence_templates(s.code, lang)),
    ):
        codes = {f.code for f in find_statements(text) if f.polarity != "absent"}
        assert s.code in codes, text
    for term in (s.code, *s.terms(), *s.abbreviations):
        assert {f.code for f in find_statements(term)} == {s.code}, term


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no atrial fibrillation", [("AFIB", "absent")]),
        ("kein Vorhofflimmern", [("AFIB", "absent")]),
        ("Kein Anhalt für frischen Hinterwandinfarkt.", [("IMI", "absent")]),
        ("inget förmaksflimmer", [("AFIB", "absent")]),
        ("Sinus rhythm without ST depression", [("SR", "present"), ("STD_", "absent")]),
        ("LBBB, no LVH. AV block I", [("CLBBB", "present"), ("LVH", "absent"), ("1AVB", "present")]),
        ("no ST elevation or inverted T waves", [("STE_", "absent"), ("INVT", "absent")]),
        ("no change; atrial fibrillation", [("AFIB", "present")]),
        ("Atrial fibrillation has been ruled out", [("AFIB", "absent")]),
        ("Vorhofflimmern nicht nachweisbar", [("AFIB", "absent")]),
        ("not in atrial fibrillation but sinus rhythm", [("AFIB", "absent"), ("SR", "present")]),
        ("possible inferior MI", [("IMI", "possible")]),
        ("Inferior infarct cannot be ruled out, LVH", [("IMI", "possible"), ("LVH", "present")]),
        ("Vorhofflimmern nicht auszuschließen", [("AFIB", "possible")]),
        ("V.a. Linkshypertrophie", [("LVH", "possible")]),
        ("anteroseptaler Infarkt möglich inferiorer Infarkt", [("ASMI", "possible"), ("IMI", "present")]),
        ("Linksschenkelblock Linkshypertrophie möglich", [("CLBBB", "present"), ("LVH", "possible")]),
        ("incomplete right bundle branch block", [("IRBBB", "present")]),
        ("Z.n. Hinterwandinfarkt", [("IMI", "present")]),
        ("AV-Block II. Grades", [("2AVB", "present")]),
        ("AV-Block III°", [("3AVB", "present")]),
        ("AFib with RVR", [("AFIB", "present")]),
        ("voltage criteria for LVH", [("VCLVH", "present")]),
        ("VORHOFFLIMMERN", [("AFIB", "present")]),
        ("ischaemie", [("ISC_", "present")]),
        ("vänster el-axel", []),
        ("EL", [("EL", "present")]),
        ("el", [("EL", "present")]),
        ("Patient mit Husten", []),
        ("", []),
    ],
)
def test_polarity_and_longest_match(text: str, expected: list[tuple[str, str]]) -> None:
    assert found(text) == expected


@given(st.text(max_size=80))
def test_any_text_gives_places_inside_it(text: str) -> None:
    for f in find_statements(text):
        assert f.code in CODES and f.start < f.end and f.matched


@given(st.sampled_from(["Vorhofflimmern", "LBBB", "first degree AV block"]), st.text("abc xyz.,", max_size=20))
def test_place_in_the_text(term: str, before: str) -> None:
    text = before + " " + term
    f = find_statements(text)[-1]
    assert text[f.start : f.end] == f.matched == term


def test_words_are_whole() -> None:
    assert found("nonsinusrhythmus") == [] and found("lbbbx") == []


def test_query_texts_are_many_and_distinct() -> None:
    for code in CODES:
        texts = query_texts(code)
        assert len(texts) == len(set(texts)) >= 60
    texts = query_texts("AFIB")
    assert {"AFib", "VHF", "Vorhofflimmern", "förmaksflimmer", "Patient mit Vorhofflimmern"} <= set(texts)


def test_wrong_questions() -> None:
    with pytest.raises(QueryError, match="no statement 'AFIBB'") as caught:
        statement("AFIBB")
    assert "AFIB" in caught.value.hint
    with pytest.raises(QueryError, match="language is 'fr'"):
        sentence_templates("AFIB", "fr")
    assert statement("afib").code == "AFIB"


def test_superclasses_and_subclasses() -> None:
    assert statements.superclasses(["CLBBB", "IMI", "SR", "unknown"]) == ("MI", "CD")
    assert statements.subclasses(["LAFB", "LPFB", "SR"]) == ("LAFB/LPFB",)
    assert statement("IMI").name("de") == "inferiorer Myokardinfarkt" and statement("IMI").name("fr").startswith(
        "inferior"
    )


def test_expand_nested() -> None:
    assert sorted(set(expand("{a,b{c,d}}"))) == ["a", "bc", "bd"]


def test_reports_name_what_they_are_labelled_with(ptbxl_root: Path) -> None:
    """Common statements whose words stand in the reports; floors a little under what was measured on folds 8 and 9."""
    from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl

    hits: dict[str, Counter[str]] = {"both": Counter(), "text": Counter(), "label": Counter()}
    for row in PtbXl(ptbxl_root).select([8, 9]):
        text = {f.code for f in find_statements(row.report) if f.polarity != "absent"}
        hits["both"].update(text & row.labels.keys())
        hits["text"].update(text)
        hits["label"].update(row.labels.keys())
    floors = {"SR": (0.99, 0.98), "AFIB": (0.97, 0.95), "NORM": (0.75, 0.9), "STACH": (0.97, 0.9), "CLBBB": (0.85, 0.7)}
    for code, (recall, precision) in floors.items():
        assert hits["both"][code] / hits["label"][code] >= recall, code
        assert hits["both"][code] / hits["text"][code] >= precision, code


@pytest.mark.parametrize(
    "forms",
    [
        "wave waves", "complex complexes", "depression depressions", "elevation elevations", "inversion inversions",
        "hypertrophy hypertrophies", "arrhythmia arrhythmias", "pacemaker pacemakers", "contraction contractions",
        "Welle Wellen", "Zacke Zacken", "Block Blöcke Blocks", "Senkung Senkungen", "Hebung Hebungen",
        "Rhythmus Rhythmen", "Sinusrhythmus Sinusrhythmen", "Schrittmacher Schrittmachern Schrittmachers",
        "våg vågor vågen vågorna", "deltavåg deltavågor", "block blocket blocken", "komplex komplexet komplexen",
        "slag slaget slagen", "infarkt infarkter infarkten infarkterna", "sänkning sänkningen sänkningar",
        "höjning höjningar höjningarna", "förändring förändringar", "störning störningar", "pacemaker pacemakrar",
        "patologisk patologiska patologiskt", "negativ negativa negativt", "låg låga lågt",
        "förmaksflimmer förmaksflimret",
    ],
)  # fmt: skip
def test_singular_and_plural_are_one(forms: str) -> None:
    assert len({stem(form) for form in forms.split()}) == 1
