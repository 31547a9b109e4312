"""The 71 SCP-ECG statements of PTB-XL: codes, classes, and the words people use for them.

The words stand in `statements.json` beside this file. Codes, kinds, superclasses and subclasses are PTB-XL's (a test
compares them with `scp_statements.csv` where that file is at hand); names, synonyms and wordings were written for this
project; SNOMED CT codes are those of the PhysioNet/CinC Challenge 2021 for the same records (field.md 7).

>>> len(STATEMENTS), statement("AFIB").name_de, superclasses({"IMI": 50.0, "SR": 0.0, "CLBBB": 100.0})
(71, 'Vorhofflimmern', ('MI', 'CD'))
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from ecgkin.retrieval.errors import QueryError

SUPERCLASSES: tuple[str, ...] = ("NORM", "MI", "STTC", "CD", "HYP")
SUPERCLASS_NAMES: dict[str, tuple[str, str]] = {
    "NORM": ("normal ECG", "normales EKG"),
    "MI": ("myocardial infarction", "Myokardinfarkt"),
    "STTC": ("ST/T changes", "ST-T-Veränderungen"),
    "CD": ("conduction disturbance", "Erregungsleitungsstörung"),
    "HYP": ("hypertrophy", "Hypertrophie"),
}


@dataclass(frozen=True, slots=True)
class Statement:
    """One of the 71 statements.

    Attributes:
        code: SCP code as PTB-XL writes it ("LAO/LAE", "NST_").
        name_en, name_de, name_sv: The name to show.
        superclass, subclass: PTB-XL's diagnostic classes; None for statements that are not diagnostic.
        kinds: Some of "diagnostic", "form", "rhythm", in this order.
        synonyms_en, synonyms_de, synonyms_sv, abbreviations: What people write instead, without the name itself.
        snomed: SNOMED CT code; None where the Challenge has none. Several statements share one (all infarcts).
        wording: Patterns for `find_statements` alone, stems and `{a,b}` alternatives, not fit to be shown.
    """

    code: str
    name_en: str
    name_de: str
    name_sv: str
    superclass: str | None
    subclass: str | None
    kinds: tuple[str, ...]
    synonyms_en: tuple[str, ...]
    synonyms_de: tuple[str, ...]
    synonyms_sv: tuple[str, ...]
    abbreviations: tuple[str, ...]
    snomed: str | None
    wording: tuple[str, ...]

    def name(self, language: str = "en") -> str:
        """Name in "en", "de" or "sv"; English for any other language."""
        return {"de": self.name_de, "sv": self.name_sv}.get(language, self.name_en)

    def terms(self, language: str | None = None) -> tuple[str, ...]:
        """Name and synonyms of one language, or of all three, without doubles."""
        of = {
            "en": (self.name_en, *self.synonyms_en),
            "de": (self.name_de, *self.synonyms_de),
            "sv": (self.name_sv, *self.synonyms_sv),
        }
        chosen = of.get(language, ()) if language is not None else sum(of.values(), ())
        return tuple(dict.fromkeys(chosen))


def _load() -> tuple[Statement, ...]:
    raw: list[dict[str, Any]] = json.loads(
        files("ecgkin.retrieval.ecg.statements").joinpath("statements.json").read_text("utf-8")
    )
    items: list[dict[str, Any]] = [{k: tuple(v) if isinstance(v, list) else v for k, v in i.items()} for i in raw]
    return tuple(Statement(**item) for item in items)


STATEMENTS: tuple[Statement, ...] = _load()
CODES: tuple[str, ...] = tuple(s.code for s in STATEMENTS)
SUBCLASSES: tuple[str, ...] = tuple(dict.fromkeys(s.subclass for s in STATEMENTS if s.subclass))
_BY_CODE = {s.code: s for s in STATEMENTS}

# Sentences in which a name stands as a query would have it. English ones take English names, German ones German names;
# the German ones keep the name in the nominative, except those below.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "en": (
        "ECG showing {name}",
        "Patient with {name}.",
        "find similar cases of {name}",
        "a 12-lead ECG with {name}",
        "This tracing shows {name}.",
        "{name} on the resting ECG",
        "Findings are consistent with {name}.",
        "Which ECGs look like {name}?",
    ),
    "de": (
        "Das EKG zeigt: {name}.",
        "Befund: {name}",
        "ähnliche Fälle: {name}",
        "Ruhe-EKG, {name}",
        "12-Kanal-EKG: {name}",
        "{name} im EKG",
    ),
    "sv": ("EKG visar {name}", "liknande fall: {name}", "{name} på EKG"),
}
# For German terms that begin with their noun ("Vorhofflimmern", not "kompletter ..."): no ending to bend after "mit".
_GERMAN_NOUN_TEMPLATES = ("EKG mit {name}", "Patient mit {name}", "Zeige Fälle mit {name}", "Kontrolle bei {name}")


def statement(code: str) -> Statement:
    """The statement with this code.

    Raises:
        QueryError: There is none; the message names near codes.
    """
    found = _BY_CODE.get(code) or _BY_CODE.get(code.strip().upper())
    if found is None:
        from difflib import get_close_matches

        near = get_close_matches(code.strip().upper(), CODES, n=3, cutoff=0.4)
        raise QueryError(f"no statement {code!r} among the 71", hint=f"did you mean {', '.join(near)}?" if near else "")
    return found


def superclasses(codes: Iterable[str]) -> tuple[str, ...]:
    """Diagnostic superclasses of a set of codes, in the order of `SUPERCLASSES`; unknown codes count for none."""
    found = {_BY_CODE[c].superclass for c in codes if c in _BY_CODE}
    return tuple(name for name in SUPERCLASSES if name in found)


def subclasses(codes: Iterable[str]) -> tuple[str, ...]:
    """Diagnostic subclasses of a set of codes, in the order of `SUBCLASSES`."""
    found = {_BY_CODE[c].subclass for c in codes if c in _BY_CODE}
    return tuple(name for name in SUBCLASSES if name in found)


def sentence_templates(code: str, language: str = "en") -> tuple[str, ...]:
    """Short free sentences around every term of a statement in one language ("en", "de" or "sv").

    Args:
        code: SCP code, such as "AFIB".
        language: "en", "de" or "sv".

    Returns:
        The templates of the language with all terms, templates changing slowest, without doubles.

    Raises:
        QueryError: Unknown code or language.
    """
    if language not in TEMPLATES:
        raise QueryError(f"language is {language!r} (expected one of {', '.join(TEMPLATES)})")
    terms = statement(code).terms(language)
    sentences = [template.format(name=term) for template in TEMPLATES[language] for term in terms]
    if language == "de":
        nouns = [term for term in terms if term[0].isupper()]
        sentences += [template.format(name=term) for template in _GERMAN_NOUN_TEMPLATES for term in nouns]
    return tuple(dict.fromkeys(sentences))


def query_texts(code: str) -> list[str]:
    """What people might type to find a statement: names, synonyms, abbreviations, and sentences with them.

    Returns:
        Distinct texts in a fixed order: terms of all languages, abbreviations, abbreviations in English and German
        sentences, then `sentence_templates` in English, German and Swedish.

    >>> texts = query_texts("CLBBB")
    >>> all(t in texts for t in ("LBBB", "Linksschenkelblock", "Patient mit Linksschenkelblock"))
    True
    """
    item = statement(code)
    texts = [*item.terms(), *item.abbreviations]
    for language in ("en", "de"):
        texts += [t.format(name=short) for t in TEMPLATES[language][:3] for short in item.abbreviations]
    for language in TEMPLATES:
        texts += sentence_templates(code, language)
    return list(dict.fromkeys(texts))
