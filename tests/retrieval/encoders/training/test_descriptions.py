"""The training texts that describe a finding: complete, varied, of one statement each, unknown to the evaluation."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from itertools import combinations

import pytest

from ecgkin.retrieval.ecg.statements.catalogue import CODES
from ecgkin.retrieval.encoders.training.text import LANGUAGES, descriptions
from ecgkin.retrieval.errors import QueryError

# Infarcts of three walls and ischaemia or injury by region: few records, and only the leads tell them apart.
RARE = frozenset("ISCIN ISCIL ISCAS ISCLA ISCAN INJAS INJAL INJIN INJLA INJIL IPMI IPLMI".split())

# None is a word of the other language, as "in" and "an" are. (`report_language` knows the words of reports only.)
FUNCTION_WORDS = {
    "en": set(
        "the with without of and or is are than no not by from to for at as but too show find both after".split()
    ),
    "de": set(
        "und mit ohne der die das von vom im ist nicht kein keine zu zum nach bei oder zeige uber auf nur".split()
    ),
}


def normal(text: str) -> str:
    """Words alone, without case and accents."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return " ".join(re.findall(r"[^\W_]+", "".join(c for c in plain if not unicodedata.combining(c))))


@pytest.mark.parametrize("code", CODES)
def test_every_statement_has_enough(code: str) -> None:
    """At least 25 English and 15 German texts, 8 each for the rare ones."""
    least = (8, 8) if code in RARE else (25, 15)
    assert len(descriptions(code, "en")) >= least[0]
    assert len(descriptions(code, "de")) >= least[1]
    assert descriptions(code) == descriptions(code, "en") + descriptions(code, "de")


def test_texts_look_like_what_is_typed() -> None:
    """One line of 3 to 20 words, no space too many, and not all of the same length."""
    texts = [text for code in CODES for text in descriptions(code)]
    lengths = Counter(len(text.split()) for text in texts)
    assert min(lengths) >= 3 and max(lengths) <= 20
    assert max(lengths.values()) < 0.3 * len(texts)
    assert not [text for text in texts if text != " ".join(text.split())]


def test_no_text_twice() -> None:
    """A text that two statements share would pull their records together."""
    seen: dict[str, str] = {}
    for code in CODES:
        for text in descriptions(code):
            assert normal(text) not in seen, f"{text!r} of {code} also stands under {seen[normal(text)]}"
            seen[normal(text)] = code


def test_texts_of_a_statement_differ() -> None:
    """No two texts of a statement hold the same words in another order."""
    for code in CODES:
        bags = [(text, Counter(normal(text).split())) for text in descriptions(code)]
        assert not [(a, b) for (a, bag), (b, other) in combinations(bags, 2) if bag == other]


@pytest.mark.parametrize(("language", "other"), [("en", "de"), ("de", "en")])
def test_languages_are_kept_apart(language: str, other: str) -> None:
    """No function word of the other language, no umlaut in English, and many of the language's own words."""
    texts = [text for code in CODES for text in descriptions(code, language)]
    told = [set(normal(text).split()) for text in texts]
    assert not [text for text, words in zip(texts, told, strict=True) if words & FUNCTION_WORDS[other]]
    assert sum(bool(words & FUNCTION_WORDS[language]) for words in told) > 0.4 * len(texts)
    assert any(letter in text for text in texts for letter in "äöüß") == (language == "de")


def test_evaluation_queries_stay_unseen() -> None:
    """None of the texts is a query of the text search evaluation."""
    from ecgkin.generation.research.retrieval.text_search import QUERIES

    held_out = {normal(query) for queries in QUERIES.values() for query in queries}
    written = {normal(text) for code in CODES for text in descriptions(code)}
    assert len(held_out) > 50
    assert not len(held_out & written)  # counted only: a failure must not print the queries


def test_codes_and_languages_are_checked() -> None:
    """Lower case is understood; what is unknown says so."""
    assert descriptions("afib") == descriptions("AFIB")
    assert LANGUAGES == ("en", "de")
    with pytest.raises(QueryError, match="no statement 'AFIBB'") as unknown:
        descriptions("AFIBB")
    assert "AFIB" in unknown.value.hint
    with pytest.raises(QueryError, match="expected one of en, de"):
        descriptions("AFIB", "sv")
